//! A headless Chromium, driven as a person would drive it, by the few words of `WebDriver` (W3C) that this
//! takes. The libraries for it are under another licence than ours allows, or change how others of ours work.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::wait;

/// How long chromedriver may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long one command may take.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// How long a page may take to show something, and how often it is looked for.
const SHOW_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A browser with a profile of its own. Its processes end with this value.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    session: Url,
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
        let options = json!({
            "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                format!("--user-data-dir={}", profile.path().display()),
                format!("--window-size={},{}", size.0, size.1),
            ],
            "prefs": {"intl.accept_languages": language},
        });
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:chromeOptions": options,
        }}});
        // The client wants to know who would encrypt, though nothing is encrypted here.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(ANSWER_LIMIT).build()?;
        let sessions: Url = format!("http://127.0.0.1:{port}/session/").parse()?;
        let begin = sessions.join("/session")?;
        let session = command_of(&client, Method::POST, begin, wanted).await?;
        let id = session["sessionId"].as_str().context("chromedriver gives no session")?;
        let session = sessions.join(&format!("{id}/"))?;
        Ok(Self { client, session, _driver: driver, _profile: profile })
    }

    async fn tell(&self, method: Method, what: &str, with: Value) -> anyhow::Result<Value> {
        command_of(&self.client, method, self.session.join(what)?, with).await
    }

    /// Goes to an address, and waits until the page is there.
    pub async fn goto(&self, url: &str) -> anyhow::Result<()> {
        self.tell(Method::POST, "url", json!({"url": url})).await.map(drop)
    }

    /// The address of the page.
    pub async fn here(&self) -> anyhow::Result<Url> {
        let here = self.tell(Method::GET, "url", Value::Null).await?;
        Ok(here.as_str().context("no address")?.parse()?)
    }

    /// The text that a person sees on the page.
    pub async fn text(&self) -> anyhow::Result<String> {
        let text = self.script("return document.body.innerText").await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Runs a script in the page and gives what it returns.
    pub async fn script(&self, script: &str) -> anyhow::Result<Value> {
        self.tell(Method::POST, "execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until something on the page fits a selector of CSS. Gives the first that does, by the name
    /// that the driver has for it.
    pub async fn shown(&self, css: &str) -> anyhow::Result<String> {
        let wanted = json!({"using": "css selector", "value": css});
        let began = Instant::now();
        loop {
            let found = self.tell(Method::POST, "elements", wanted.clone()).await?;
            // A reference to an element is an object of one entry (`WebDriver`, 12.1).
            let first = found[0].as_object().and_then(|first| first.values().next());
            if let Some(element) = first.and_then(Value::as_str) {
                return Ok(element.to_owned());
            }
            if began.elapsed() > SHOW_LIMIT {
                bail!("the page shows no {css}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Clicks on the first that fits a selector, as soon as there is one.
    pub async fn click(&self, css: &str) -> anyhow::Result<()> {
        let element = self.shown(css).await?;
        self.tell(Method::POST, &format!("element/{element}/click"), json!({})).await.map(drop)
    }

    /// Forgets who is signed in.
    pub async fn forget_cookies(&self) -> anyhow::Result<()> {
        self.tell(Method::DELETE, "cookie", Value::Null).await.map(drop)
    }

    /// Keeps a picture of the page.
    pub async fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        let picture = self.tell(Method::GET, "screenshot", Value::Null).await?;
        let octets = STANDARD.decode(picture.as_str().context("no picture")?)?;
        Ok(std::fs::write(path, octets)?)
    }

    /// Closes the browser.
    pub async fn close(self) -> anyhow::Result<()> {
        let session: Url = self.session.as_str().trim_end_matches('/').parse()?;
        command_of(&self.client, Method::DELETE, session, Value::Null).await.map(drop)
    }
}

/// One command, and its answer (`WebDriver`, 6.3).
async fn command_of(
    client: &Client,
    method: Method,
    url: Url,
    with: Value,
) -> anyhow::Result<Value> {
    let mut request = client.request(method, url.clone());
    if !with.is_null() {
        request = request.header("content-type", "application/json").body(with.to_string());
    }
    let answer = request.send().await?;
    let status = answer.status();
    let mut said: Value = serde_json::from_str(&answer.text().await?)?;
    if !status.is_success() {
        bail!("{url}: {}", said["value"]["message"]);
    }
    Ok(said["value"].take())
}
