//! `bailey-collector`: settings, parts, run, drain.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bailey_collector::Collector;
use bailey_collector::settings::{DialAddress, Endpoint, Given, Settings, local_offset};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Takes the reports of Bailey's agents, judges them, and tells people, Prometheus and Alertmanager.
#[derive(Debug, Parser)]
#[command(name = "bailey-collector", version)]
struct Arguments {
    /// The settings file; deploy/collector.yaml shows every key
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The state folder [default: bailey in the user's data folder]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Where the page, the API and the metrics are served [default: 127.0.0.1:7711]
    #[arg(long, value_name = "ADDRESS")]
    web: Option<SocketAddr>,
    /// Where agents are awaited [default: 127.0.0.1:7710]
    #[arg(long, value_name = "ADDRESS")]
    agents: Option<SocketAddr>,
    /// Where agents dial, as enrolment tokens carry it [default: the address above]
    #[arg(long, value_name = "HOST:PORT")]
    public_address: Option<DialAddress>,
    /// An Alertmanager that is told of findings; may be given more than once
    #[arg(long, value_name = "URL")]
    alertmanager: Vec<Endpoint>,
    /// The policy file [default: policy.yaml in the state folder]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The folder of the site's rule files [default: rules in the state folder]
    #[arg(long, value_name = "FOLDER")]
    rules: Option<PathBuf>,
}

impl Arguments {
    fn settings(self) -> anyhow::Result<Settings> {
        let file = self.settings.as_deref().map(Given::read).transpose()?.unwrap_or_default();
        let given = Given {
            state: self.state,
            web: self.web,
            agents: self.agents,
            public_address: self.public_address,
            alertmanagers: (!self.alertmanager.is_empty()).then_some(self.alertmanager),
            policy: self.policy,
            rules: self.rules,
            ..Given::default()
        };
        Ok(given.over(file).settle(local_offset())?)
    }
}

/// Says on standard error what happens: as much as `BAILEY_LOG` asks for, else what is of note.
fn tell_what_happens() {
    let wanted = std::env::var("BAILEY_LOG").ok().and_then(|wanted| wanted.parse().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

fn main() -> ExitCode {
    tell_what_happens();
    match Arguments::parse().settings().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let collector = Collector::start(settings).await?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        collector.shutdown().await;
        Ok(())
    })
}
