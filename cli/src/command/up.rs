//! `bailey up`: a collector that watches this machine, in one process.

mod agent;
mod policy;
pub(super) mod ports;
mod state;
pub(super) mod welcome;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bailey_collector::settings::{Given, Settings, local_offset};
use bailey_collector::{Collector, CollectorHandle, StartError};
use bailey_rules::check::State;
use bailey_rules::fact::ProbeName;
use bailey_rules::name::HostName;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use self::agent::LocalAgent;
use self::welcome::Welcome;
use crate::arguments::{Format, Global, Up};
use crate::client::{Door, chain, state_folder};
use crate::exit::{Done, Exit, Failure};
use crate::screen::Screen;

/// The collector's settings file in the state folder, for what the options do not say.
const SETTINGS: &str = "collector.yaml";

/// How long to wait for the first verdict on this machine before going on without it.
const FIRST_VERDICT_LIMIT: Duration = Duration::from_secs(20);

/// How long each part may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Starts everything and runs until it is told to stop.
pub(super) fn run(up: &Up, global: &Global, screen: Screen) -> Result<Done, Failure> {
    if global.url.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "`up` starts a collector here; --url names one elsewhere",
            "`up` 在本机启动采集器，不能使用 --url",
        ));
    }
    let state = state_folder(global.state.as_deref(), |name| std::env::var_os(name))?;
    let state = state::open(&state)?;
    // Read while there is one thread: the C library reads the environment for the local time.
    let settings = settings(up, &state)?;
    log_to_stderr(up.verbose);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::error(format!("cannot start: {e}"), format!("无法启动：{e}")))?
        .block_on(watch(up, global, settings, screen))
}

/// The options over the settings file, and defaults below both.
fn settings(up: &Up, state: &Path) -> Result<Settings, Failure> {
    let wrong = |error: &dyn std::error::Error| {
        Failure::error(format!("the settings are wrong: {error}"), format!("设置有误：{error}"))
    };
    let file = state.join(SETTINGS);
    let file =
        if file.exists() { Given::read(&file).map_err(|e| wrong(&e))? } else { Given::default() };
    let options = Given {
        state: Some(state.to_owned()),
        web: up.web,
        agents: up.agents,
        public_address: up.public_address.clone(),
        alertmanagers: (!up.alertmanager.is_empty()).then(|| up.alertmanager.clone()),
        ..Given::default()
    };
    options.over(file).settle(local_offset()).map_err(|e| wrong(&e))
}

/// Logs to standard error: warnings, or more.
pub(super) fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2.. => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
}

async fn watch(
    up: &Up,
    global: &Global,
    settings: Settings,
    screen: Screen,
) -> Result<Done, Failure> {
    let mut stop = Stop::new()?;
    let state = settings.state.clone();
    state::refuse_a_second_one(&state).await?;
    ports::try_to_listen("--web", settings.web)?;
    ports::try_to_listen("--agents", settings.agents)?;
    let policy = policy::present(&settings.policy, up.zone.as_ref())?;
    let public = settings.public_address.is_some();

    let collector = Collector::start(settings).await.map_err(|e| not_started(&e, &state))?;
    let agent = agent::start(&collector, &state, &policy, up.zone.as_ref()).await;
    let ended = match &agent {
        Ok(agent) => {
            let said = tokio::select! {
                said = greet(global, &collector, agent, &state, public, screen) => said,
                () = stop.asked() => Ok(false),
            };
            if matches!(said, Ok(true)) {
                stop.asked().await;
            }
            said.map(drop)
        }
        Err(failure) => Err(failure.clone()),
    };

    if let Ok(LocalAgent { running: Ok(running), .. }) = agent {
        in_time("the agent", running.shutdown()).await;
    }
    in_time("the collector", collector.shutdown()).await;
    ended.map(|()| Done::said(""))
}

fn not_started(error: &StartError, state: &Path) -> Failure {
    if let StartError::InUse(_) = error {
        return state::already_running(state);
    }
    let error = chain(error);
    Failure::error(
        format!("the collector did not start: {error}"),
        format!("采集器未能启动：{error}"),
    )
}

/// Says where everything is, once this machine was judged. Gives `true` when it was said.
async fn greet(
    global: &Global,
    collector: &CollectorHandle,
    agent: &LocalAgent,
    state: &Path,
    public: bool,
    screen: Screen,
) -> Result<bool, Failure> {
    let verdict = match agent.running {
        Ok(_) => first_verdict(collector, &agent.host).await,
        Err(_) => None,
    };
    let link = Door::in_state(state).ask("/api/v1/signin", Some(&json!({}))).await?;
    let found_anyway = state_folder(None, |name| std::env::var_os(name))
        .and_then(|at| at.canonicalize().map_err(|e| Failure::error(e.to_string(), e.to_string())));
    let welcome = Welcome {
        program: std::env::args().next().unwrap_or_else(|| "bailey".to_owned()),
        web: collector.addresses().web,
        agents: collector.addresses().agents,
        public,
        signin: link["url"].as_str().unwrap_or_default().to_owned(),
        state: state.to_owned(),
        state_is_default: found_anyway.is_ok_and(|found| found == state),
        host: agent.host.clone(),
        zone: agent.zone.clone(),
        verdict,
        unwatched: agent.running.as_ref().err().cloned(),
    };
    let text = match global.output {
        Format::Table => welcome.in_words(screen),
        Format::Json => format!("{:#}\n", welcome.in_json()),
        Format::Ndjson => format!("{}\n", welcome.in_json()),
    };
    // Whoever started this may not read it; the page is there all the same.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(true)
}

/// Waits until every probe of this machine has been read since the start, and gives its state; after
/// the limit the state there is, or none.
async fn first_verdict(collector: &CollectorHandle, host: &HostName) -> Option<State> {
    let site = collector.site();
    let mut revision = site.revision();
    let judged = async {
        loop {
            revision.borrow_and_update();
            if let Some(status) = site.host(host) {
                let facts = &status.view.facts;
                let read = |probe: &ProbeName| {
                    facts.probe(*probe).is_some_and(|held| held.read_at >= site.started_at())
                };
                if ProbeName::ALL.iter().all(read) {
                    return;
                }
            }
            if revision.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(FIRST_VERDICT_LIMIT, judged).await.is_err() {
        warn!(%host, "not every probe has been read yet; the page shows what is there");
    }
    site.host(host).map(|status| status.state)
}

/// What ends the program.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Catches the signals that ask to stop.
    pub(super) fn new() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind)
                .map_err(|e| Failure::error(format!("cannot start: {e}"), format!("无法启动：{e}")))
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// Ends when somebody asks to stop.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => info!("asked to stop (SIGTERM)"),
            _ = self.interrupt.recv() => info!("asked to stop (SIGINT)"),
        }
    }
}

/// Waits for a part to stop, within a bound.
pub(super) async fn in_time(part: &str, stopping: impl Future<Output = ()>) {
    if tokio::time::timeout(STOP_LIMIT, stopping).await.is_err() {
        warn!(
            "{part} did not stop in time; what it had not written yet comes again from the spool"
        );
    }
}
