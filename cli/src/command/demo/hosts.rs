//! The hosts of the demo: enrolled by tokens like any other, each with an agent and an enforcer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bailey_agent::clock::{Clock as _, SystemClock};
use bailey_agent::enforce::socket::{Answer, Request, apply, ask};
use bailey_agent::enforce::state::OrderName;
use bailey_agent::enroll::{Outcome, enroll};
use bailey_agent::folder::StateFolder;
use bailey_rules::compile;
use bailey_rules::name::HostKey;
use bailey_wire::order::{Order, SignedOrder, SigningKey, What, sign};
use bailey_wire::token::Token;
use serde_json::json;

use super::folder::Folder;
use super::process::Part;
use super::site::{COLLECTOR, Site, Watched};
use crate::client::Door;

/// How long an enforcer may take until it listens.
const LISTEN_LIMIT: Duration = Duration::from_secs(20);

/// How long a ruleset waits to be confirmed. Every agent is asked for over the new rules before.
const CONFIRM_WITHIN: Duration = Duration::from_mins(2);

/// How long an order can be followed.
const ORDER_LIFE: Duration = Duration::from_mins(10);

/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The number of the first orders.
const FIRST: u64 = 1;

/// A host that is enrolled.
#[derive(Debug)]
pub(super) struct Enrolled {
    watched: Watched,
    key: HostKey,
    socket: PathBuf,
}

/// Enrols every host and starts its enforcer and its agent.
///
/// # Errors
/// What went wrong with the first that could not.
pub(super) async fn start(
    site: &Site,
    folder: &Folder,
    door: &Door,
    parts: &mut Vec<Part>,
) -> anyhow::Result<Vec<Enrolled>> {
    let mut hosts = Vec::new();
    for watched in site.watched() {
        let at = folder.host(watched.host.as_str());
        std::fs::create_dir_all(at.join("backup")).with_context(|| at.display().to_string())?;
        let host = enrol(&watched, &at, door).await;
        let host = host.with_context(|| format!("host {}", watched.host))?;
        let text = |path: &Path| path.display().to_string();
        let (agent, settings) = (text(&at.join("agent")), at.join("agent.yaml"));
        std::fs::write(&settings, agent_settings(&at))?;
        let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (state, socket) = (text(&at.join("enforce")), text(&host.socket));
        let enforcer =
            words(&["agent", "enforce", "--state", &state, "--socket", &socket, "--agent", &agent]);
        let reporter = words(&["agent", "run", "--state", &agent, "--settings", &text(&settings)]);
        for (what, line) in [("enforcer", enforcer), ("agent", reporter)] {
            let name = format!("{}.{what}", watched.host);
            parts.push(Part::start(&name, watched.netns.clone(), line, folder.path())?);
        }
        hosts.push(host);
    }
    Ok(hosts)
}

async fn enrol(watched: &Watched, at: &Path, door: &Door) -> anyhow::Result<Enrolled> {
    let wish = json!({"host": watched.host, "zone": watched.zone, "ttl_seconds": 600});
    let made = door.ask("/api/v1/enroll/tokens", Some(&wish)).await;
    let made = made.map_err(|failure| anyhow::anyhow!("{}", failure.words.en))?;
    let token: Token = made["token"].as_str().context("the collector gives a token")?.parse()?;
    let agent = at.join("agent");
    let netns = watched.netns.clone();
    let asking = move || {
        netns.inside(|| {
            let folder = StateFolder::open(&agent)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            match runtime.block_on(enroll(&token, &folder, None))? {
                Outcome::Enrolled(_) => Ok(folder.credentials()?.key.host_key()),
                Outcome::Waiting { .. } => bail!("its name belongs to another key"),
            }
        })
    };
    let key = tokio::task::spawn_blocking(asking).await??;
    Ok(Enrolled { watched: watched.clone(), key, socket: at.join("enforce.sock") })
}

/// Puts the policy in force on every host: signed orders, confirmed once every agent reports over the
/// new rules.
///
/// # Errors
/// What refused, or did not come back.
pub(super) async fn put_in_force(
    site: &Site,
    hosts: &[Enrolled],
    key: &SigningKey,
    door: &Door,
) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let public = key.verifying_key().to_pem();
    let mut waiting = Vec::new();
    for host in hosts {
        let Watched { host: name, zone, .. } = &host.watched;
        let compiled = compile::ruleset(&site.policy, "policy.yaml", name, zone);
        let what = What::Ruleset {
            text: compiled.text,
            confirm_within: CONFIRM_WITHIN,
            restore: compiled.restore,
        };
        let order = Order {
            host: host.key,
            version: FIRST,
            issued_at: now,
            expires_at: now + ORDER_LIFE,
            what,
        };
        let order = sign(&order, key)?;
        let pin = Request::Pin { key: public.clone(), host: host.key };
        heard(host, listening(host, &pin).await?)?;
        heard(host, apply(&host.socket, &order.to_bytes()).await?)?;
        waiting.push((host, order));
    }
    let in_force = SystemClock.now();
    for (host, order) in waiting {
        reports_since(host, in_force, door).await?;
        let confirmed = Request::Confirm(order_name(&order));
        heard(host, ask(&host.socket, &confirmed, &[]).await?)?;
    }
    Ok(())
}

fn order_name(order: &SignedOrder) -> OrderName {
    OrderName { version: FIRST, digest: order.digest() }
}

/// Asks an enforcer that may not listen yet.
async fn listening(host: &Enrolled, request: &Request) -> anyhow::Result<Answer> {
    let until = Instant::now() + LISTEN_LIMIT;
    loop {
        match ask(&host.socket, request, &[]).await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= until => return Err(error.into()),
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

fn heard(host: &Enrolled, answer: Answer) -> anyhow::Result<()> {
    match answer {
        Answer::Done(_) => Ok(()),
        Answer::Refused { why, .. } => {
            bail!("the enforcer of {} refuses: {why}", host.watched.host)
        }
    }
}

/// Waits until a report of the host has come since `then`, and its agent is connected.
async fn reports_since(
    host: &Enrolled,
    then: bailey_rules::time::Timestamp,
    door: &Door,
) -> anyhow::Result<()> {
    let name = &host.watched.host;
    let until = Instant::now() + CONFIRM_WITHIN;
    loop {
        let answer = door.ask(&format!("/api/v1/hosts/{name}"), None).await;
        let answer = answer.map_err(|failure| anyhow::anyhow!("{}", failure.words.en))?;
        let session = &answer["session"];
        let last = session["last_report_at"].as_str().and_then(|at| at.parse().ok());
        if session["connected"] == true && last.is_some_and(|at| then < at) {
            return Ok(());
        }
        if Instant::now() >= until {
            bail!("{name} does not report over its new rules; they go by themselves");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What a host's `agent.yaml` says. Life signs come more often than usual, so that nobody who watches
/// has to wait long for silence to be noticed.
fn agent_settings(at: &Path) -> String {
    format!(
        "# Made by `bailey demo`.\nprobes: {{host: {{interval: 5 s, limit: 4 s}}}}\n\
         backup: {{drop_directory: {}/backup}}\n",
        at.display()
    )
}

/// What `collector.yaml` says.
pub(super) fn collector_settings(folder: &Folder, web: std::net::SocketAddr) -> String {
    let state = folder.collector();
    format!(
        "# Made by `bailey demo`, on machine {COLLECTOR}.\nstate: {}\nweb: 127.0.0.1:{}\nagents: 0.0.0.0:{}\n\
         public_address: {}\n",
        state.display(),
        web.port(),
        super::site::AGENTS.rsplit_once(':').map_or("7710", |(_, port)| port),
        super::site::AGENTS,
    )
}
