//! The hosts of the demo: enrolled by tokens like any other, each with an agent and an enforcer that
//! follows the demo's key, and the policy that is pushed to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bailey_agent::enroll::pin::{PinnedAt, pin_at_enrolment};
use bailey_agent::enroll::{Outcome, enroll};
use bailey_agent::folder::StateFolder;
use bailey_wire::token::Token;
use serde_json::json;

use super::folder::Folder;
use super::process::Part;
use super::site::{COLLECTOR, Site, Watched};
use crate::client::Door;
use crate::key_file;
use crate::netns::run;

/// How long an enforcer may take until it listens, and a host until the collector knows its key.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// How long a host's token is good: it is used at once.
const TOKEN_SECONDS: u64 = 600;

/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Enrols every host, and starts its enforcer and its agent. `key` is the public key whose orders
/// they follow.
///
/// # Errors
/// What went wrong with the first that could not.
pub(super) async fn start(
    site: &Site,
    folder: &Folder,
    door: &Door,
    key: &str,
    parts: &mut Vec<Part>,
) -> anyhow::Result<()> {
    let text = |path: &Path| path.display().to_string();
    let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let watched = site.watched();
    for host in &watched {
        let at = folder.host(host.host.as_str());
        std::fs::create_dir_all(at.join("backup")).with_context(|| text(&at))?;
        let (state, agent) = (text(&at.join("enforce")), text(&at.join("agent")));
        let line = ["agent", "enforce", "--state", &state, "--socket", &text(&socket(&at))];
        let line = words(&[&line[..], &["--agent", &agent]].concat());
        let name = format!("{}.enforcer", host.host);
        parts.push(Part::start(&name, host.netns.clone(), line, folder.path())?);
    }
    for host in &watched {
        let at = folder.host(host.host.as_str());
        enrol(host, &at, door, key).await.with_context(|| format!("host {}", host.host))?;
        let settings = at.join("agent.yaml");
        std::fs::write(&settings, agent_settings(&at)).with_context(|| text(&settings))?;
        let (state, settings) = (text(&at.join("agent")), text(&settings));
        let line = words(&["agent", "run", "--state", &state, "--settings", &settings]);
        let name = format!("{}.agent", host.host);
        parts.push(Part::start(&name, host.netns.clone(), line, folder.path())?);
    }
    Ok(())
}

/// The socket of a host's enforcer.
fn socket(at: &Path) -> PathBuf {
    at.join("enforce.sock")
}

async fn enrol(host: &Watched, at: &Path, door: &Door, key: &str) -> anyhow::Result<()> {
    let wish = json!({
        "host": host.host, "zone": host.zone, "ttl_seconds": TOKEN_SECONDS, "security_key": key,
    });
    let made = door.ask("/api/v1/enroll/tokens", Some(&wish)).await;
    let made = made.map_err(|failure| anyhow::anyhow!("{}", failure.words.en))?;
    let token: Token = made["token"].as_str().context("the collector gives a token")?.parse()?;
    let (agent, socket, netns) = (at.join("agent"), socket(at), host.netns.clone());
    let asking = move || {
        netns.inside(|| {
            let folder = StateFolder::open(&agent)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                match enroll(&token, &folder, None).await? {
                    Outcome::Enrolled(_) => pinned(&token, &folder, &socket).await,
                    Outcome::Waiting { .. } => bail!("its name belongs to another key"),
                }
            })
        })
    };
    tokio::task::spawn_blocking(asking).await?
}

/// Has the enforcer, which may not listen yet, follow the key of the token.
async fn pinned(token: &Token, folder: &StateFolder, socket: &Path) -> anyhow::Result<()> {
    let key = token.security_key.as_ref().context("the token carries the key")?;
    let until = Instant::now() + READY_LIMIT;
    loop {
        match pin_at_enrolment(key, folder, socket).await? {
            PinnedAt::Enforcer => return Ok(()),
            PinnedAt::Nowhere { why } => bail!("the enforcer refuses the key: {why}"),
            PinnedAt::Folder { why, .. } if Instant::now() >= until => {
                bail!("the enforcer does not answer: {why}")
            }
            PinnedAt::Folder { .. } => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// Pushes the policy to every host, as a person would by this program, and waits until all have
/// confirmed it.
///
/// # Errors
/// What refused, or did not come back.
pub(super) async fn push(folder: &Folder, hosts: usize, door: &Door) -> anyhow::Result<()> {
    ready(hosts, door).await?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["--lang", "en", "--no-input", "--state"]).arg(folder.collector());
    command.args(["policy", "push"]).arg(folder.collector().join("policy.yaml"));
    command.arg("--key").arg(folder.key()).args(["--at-once", "--yes"]);
    tokio::task::spawn_blocking(move || run(&mut command)).await?.map(drop)
}

/// Waits until every host has said whose orders it follows.
async fn ready(hosts: usize, door: &Door) -> anyhow::Result<()> {
    let until = Instant::now() + READY_LIMIT;
    loop {
        let answer = door.ask("/api/v1/enforcement", None).await;
        let answer = answer.map_err(|failure| anyhow::anyhow!("{}", failure.words.en))?;
        let known = answer["hosts"].as_array().into_iter().flatten();
        let count = known.filter(|host| host["key_id"].is_string() && host["connected"] == true);
        let count = count.count();
        if count == hosts {
            return Ok(());
        }
        if Instant::now() >= until {
            bail!("only {count} of {hosts} hosts say whose orders they follow");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What a host's `agent.yaml` says. Life signs come more often than usual, so that nobody who watches
/// has to wait long for silence to be noticed.
fn agent_settings(at: &Path) -> String {
    format!(
        "# Made by `bailey demo`.\nenforcer: {}\nprobes: {{host: {{interval: 5 s, limit: 4 s}}}}\n\
         backup: {{drop_directory: {}/backup}}\n",
        socket(at).display(),
        at.display()
    )
}

/// What `collector.yaml` says.
pub(super) fn collector_settings(folder: &Folder, web: std::net::SocketAddr) -> String {
    let state = folder.collector();
    format!(
        "# Made by `bailey demo`, on machine {COLLECTOR}.\nstate: {}\nweb: 127.0.0.1:{}\nagents: 0.0.0.0:{}\n\
         public_address: {}\nsecurity_key: {}\n",
        state.display(),
        web.port(),
        super::site::AGENTS.rsplit_once(':').map_or("7710", |(_, port)| port),
        super::site::AGENTS,
        key_file::public_beside(&folder.key()).display(),
    )
}
