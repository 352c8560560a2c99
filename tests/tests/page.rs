//! The page as a person sees it: `bailey up` on this machine and a headless Chromium, in both
//! languages and at both sizes. Pictures are kept in `target/screenshots/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bailey_tests::browser::Browser;
use bailey_tests::process::{self, Process, run};
use bailey_tests::wait::until;
use serde_json::Value;

const SOON: Duration = Duration::from_mins(1);
const WALL: (u32, u32) = (1920, 1080);
const LAPTOP: (u32, u32) = (1366, 768);

struct Up {
    _process: Process,
    state: PathBuf,
    host: String,
}

impl Up {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let state = folder.join("state");
        let mut command = Command::new(process::bailey("bailey"));
        command.args(["-o", "json", "--state"]).arg(&state);
        command.args(["up", "--web", "127.0.0.1:0", "--agents", "127.0.0.1:0"]);
        let mut process = Process::start("up", command, folder)?;
        let (said, _) = until("the first verdict", SOON, || {
            process.check_alive().expect("up runs");
            let text = process.output();
            let json = text.find('{').map(|at| &text[at..]).context("nothing said yet")?;
            let mut values = serde_json::Deserializer::from_str(json).into_iter::<Value>();
            values.next().context("nothing said yet")?.context("not all said yet")
        });
        let host = said["host"].as_str().context("a host")?.to_owned();
        Ok(Self { _process: process, state, host })
    }

    fn signin(&self) -> anyhow::Result<String> {
        let mut command = Command::new(process::bailey("bailey"));
        command.args(["-o", "json", "--state"]).arg(&self.state).arg("signin");
        let answer: Value = serde_json::from_str(&run(&mut command)?)?;
        Ok(answer["url"].as_str().context("a link")?.to_owned())
    }
}

fn pictures() -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// No page may need scrolling sideways, and none may ask anybody else for anything.
async fn is_well_made(browser: &Browser, page: &str) -> anyhow::Result<()> {
    let wide =
        browser.script("return document.documentElement.scrollWidth - window.innerWidth").await?;
    ensure!(wide.as_i64().is_some_and(|wide| wide <= 0), "{page} is {wide} pixels too wide");
    let foreign = browser
        .script(
            "return performance.getEntriesByType('resource').map(e => e.name) \
             .filter(name => !name.startsWith(location.origin + '/'))",
        )
        .await?;
    ensure!(foreign == serde_json::json!([]), "{page} asks {foreign}");
    Ok(())
}

async fn visit(up: &Up, size: (u32, u32), lang: &str, words: &[&str]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let browser = Browser::start(size, lang, folder.path()).await?;
    let name = |page: &str| format!("{page}-{lang}-{}.png", size.0);
    browser.goto(&up.signin()?).await?;
    browser.screenshot(&pictures()?.join(name("signin"))).await?;
    browser.click("form[action='/signin'] button").await?;

    browser.shown(&format!("[id='host-{}']", up.host)).await?;
    let text = browser.text().await?;
    for word in words {
        ensure!(text.contains(word), "the page has no {word}:\n{text}");
    }
    is_well_made(&browser, "the hosts page").await?;
    // The page lives: its numbers have ages, and the stream of events is open.
    browser.shown("#live").await?;
    browser.screenshot(&pictures()?.join(name("hosts"))).await?;

    browser.click("a.row-link").await?;
    browser.shown("main h1").await?;
    let text = browser.text().await?;
    ensure!(text.contains(&up.host), "the host's page names it:\n{text}");
    ensure!(text.contains("eth0") || text.contains("lo"), "it shows facts:\n{text}");
    is_well_made(&browser, "the host's page").await?;
    browser.screenshot(&pictures()?.join(name("host"))).await?;

    let here = browser.here().await?;
    for page in ["alerts", "isolation", "network", "messages"] {
        browser.goto(here.join(&format!("/{page}"))?.as_str()).await?;
        browser.shown("main").await?;
        is_well_made(&browser, page).await?;
        browser.screenshot(&pictures()?.join(name(page))).await?;
    }

    // A link is good once.
    browser.forget_cookies().await?;
    browser.goto(here.as_str()).await?;
    let text = browser.text().await?;
    ensure!(!text.contains("eth0"), "nothing is shown to strangers:\n{text}");
    browser.close().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_this_machine_in_both_languages() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(folder.path())?;
    visit(&up, WALL, "en", &["Hosts", "Alerts", "Firewall", "Backup", &up.host]).await?;
    visit(&up, LAPTOP, "en", &["Hosts"]).await?;
    visit(&up, WALL, "zh-CN", &["主机", "告警", "防火墙", "备份", &up.host]).await?;
    visit(&up, LAPTOP, "zh-CN", &["主机"]).await?;
    Ok(())
}
