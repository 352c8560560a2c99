//! A headless Chromium, driven as a person would drive it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tempfile::TempDir;
use thirtyfour::extensions::query::ElementQueryable as _;
use thirtyfour::{By, Capabilities, WebDriver, WebElement};

use crate::process::Process;
use crate::wait;

/// How long chromedriver may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long a page may take to show something, and how often it is looked for.
const SHOW_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A browser with a profile of its own. Its processes end with this value.
#[derive(Debug)]
pub struct Browser {
    /// Drives it.
    pub client: WebDriver,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one whose window has this size and whose preferred language is `language`.
    pub async fn start(size: (u32, u32), language: &str, folder: &Path) -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let driver = Process::start("chromedriver", command, folder)?;
        let (port, _) = wait::until("chromedriver", START_LIMIT, || {
            let said = driver.output();
            let (_, rest) = said.rsplit_once("successfully on port ").context("not started")?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u16>().context("no port")
        });
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("acceptInsecureCerts".into(), json!(true));
        capabilities.insert(
            "goog:chromeOptions".into(),
            json!({
                "args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic",
                    "--no-first-run", "--disable-background-networking",
                    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                    format!("--user-data-dir={}", profile.path().display()),
                    format!("--window-size={},{}", size.0, size.1),
                ],
                "prefs": {"intl.accept_languages": language},
            }),
        );
        let capabilities = Capabilities::from(capabilities);
        let client = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities)
            .await
            .context("chromedriver gives no session")?;
        Ok(Self { client, _driver: driver, _profile: profile })
    }

    /// The text that a person sees on the page.
    pub async fn text(&self) -> anyhow::Result<String> {
        let text = self.script("return document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Runs a script in the page and gives what it returns.
    pub async fn script(&self, script: &str) -> anyhow::Result<serde_json::Value> {
        Ok(self.client.execute(script, Vec::new()).await?.json().clone())
    }

    /// The first element that `css` selects, as soon as there is one.
    pub async fn shown(&self, css: &str) -> anyhow::Result<WebElement> {
        let query = self.client.query(By::Css(css)).wait(SHOW_LIMIT, LOOK_EVERY);
        query.first().await.with_context(|| format!("the page shows no {css}"))
    }

    /// Keeps a picture of the page.
    pub async fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, self.client.screenshot_as_png().await?)?;
        Ok(())
    }
}
