//! The command line of `bailey-agent`.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bailey_rules::text::{Lang, Text};
use bailey_wire::token::{MAX_TOKEN, Token};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::Agent;
use crate::enroll::{Outcome, enroll};
use crate::folder::StateFolder;
use crate::settings::{DEFAULT_STATE, Settings};
use crate::spool::inspect;

/// How often an agent that is not enrolled looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How long a thread waits for more work: longer than the probes' intervals, since making one anew
/// costs as much as a round does.
const THREADS_KEPT: Duration = Duration::from_secs(90);

/// Watches this host for Bailey. 为 Bailey 监测本机。
#[derive(Debug, Parser)]
#[command(name = "bailey-agent", version)]
struct Arguments {
    /// Language of messages; from the locale when not given. 消息语言，默认取自系统区域设置。
    #[arg(long, global = true)]
    lang: Option<Language>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    En,
    Zh,
}

#[derive(Debug, clap::Args)]
struct Places {
    /// The settings file, agent.yaml. 配置文件 agent.yaml。
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The state folder; holds against the settings. 状态目录，优先于配置文件。
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads facts and reports them until it is stopped. 采集并上报，直到被停止。
    Run(Places),
    /// Makes this host known to the collector; reads the token from standard input.
    /// 向采集器注册本机，令牌从标准输入读取。
    Enroll {
        #[command(flatten)]
        places: Places,
        /// A file with the token, instead of standard input. 含令牌的文件，代替标准输入。
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Waits until a person has approved, where that is needed. 需要批准时一直等待。
        #[arg(long)]
        wait: bool,
    },
    /// Shows what waits in the spool of an agent that is stopped. 显示已停止的代理程序的待发队列。
    Spool(Places),
}

/// Runs the program and gives its exit code: 0, 1 for an error, 2 for wrong usage, 5 when a person
/// must approve the enrolment.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let lang = match arguments.lang {
        Some(Language::En) => Lang::En,
        Some(Language::Zh) => Lang::Zh,
        None => locale(),
    };
    let result = match arguments.command {
        Command::Run(places) => run(&places),
        Command::Enroll { places, token_file, wait } => {
            enroll_host(&places, token_file.as_deref(), wait, lang)
        }
        Command::Spool(places) => show_spool(&places, lang),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("bailey-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn locale() -> Lang {
    let named = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    if named.is_some_and(|value| value.starts_with("zh")) { Lang::Zh } else { Lang::En }
}

#[allow(clippy::print_stdout)] // The program's answer.
fn say(text: &Text, lang: Lang) {
    println!("{}", text.in_lang(lang));
}

#[allow(clippy::print_stderr)] // The program's complaint.
fn complain(text: &str) {
    eprintln!("{text}");
}

fn settings(places: &Places) -> anyhow::Result<Settings> {
    let state = places.state.as_deref();
    Ok(match &places.settings {
        Some(file) => Settings::read(file, state)?,
        None => Settings::in_folder(state.unwrap_or(Path::new(DEFAULT_STATE)).to_owned()),
    })
}

/// One thread does everything; what waits for a disk or a program is handed to others.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_keep_alive(THREADS_KEPT)
        .thread_stack_size(512 * 1024)
        .build()?)
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

fn run(places: &Places) -> anyhow::Result<ExitCode> {
    tell_what_happens();
    let settings = settings(places)?;
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            waited = enrolled(&settings) => waited?,
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
        }
        let agent = Agent::start(settings, places.settings.clone()).await?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        agent.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Completes when the host is enrolled, which another process does.
async fn enrolled(settings: &Settings) -> anyhow::Result<()> {
    let folder = StateFolder::open(&settings.state)?;
    if !folder.is_enrolled() {
        tracing::warn!(
            state = %folder.path().display(),
            "this host is not enrolled; waiting for `bailey-agent enroll`"
        );
    }
    while !folder.is_enrolled() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

fn token(file: Option<&Path>) -> anyhow::Result<Token> {
    let mut text = String::new();
    let most = u64::try_from(MAX_TOKEN).unwrap_or(u64::MAX) + 64;
    match file {
        Some(file) => std::fs::File::open(file)
            .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?
            .take(most)
            .read_to_string(&mut text)?,
        None => std::io::stdin().take(most).read_to_string(&mut text)?,
    };
    Ok(text.trim().parse()?)
}

fn enroll_host(
    places: &Places,
    token_file: Option<&Path>,
    wait: bool,
    lang: Lang,
) -> anyhow::Result<ExitCode> {
    let settings = settings(places)?;
    let token = token(token_file)?;
    let folder = StateFolder::open(&settings.state)?;
    runtime()?.block_on(async {
        loop {
            match enroll(&token, &folder, settings.collector.as_deref()).await? {
                Outcome::Enrolled(enrolled) => {
                    let (host, zone, site) = (enrolled.host, enrolled.zone, enrolled.site);
                    say(
                        &Text::new(
                            format!("{host} is enrolled in zone {zone} of {site}"),
                            format!("{host} 已注册到 {site} 的 {zone} 区域"),
                        ),
                        lang,
                    );
                    return Ok(ExitCode::SUCCESS);
                }
                Outcome::Waiting { ask_again } => {
                    let host = &token.host;
                    let text = Text::new(
                        format!(
                            "the name {host} belongs to another machine; approve this one at the \
                             collector with `bailey enroll approve {host}`, then run this again"
                        ),
                        format!(
                            "名称 {host} 已属于另一台机器；请在采集器上执行 \
                             `bailey enroll approve {host}` 批准本机，然后重新运行本命令"
                        ),
                    );
                    complain(text.in_lang(lang));
                    if !wait {
                        return Ok(ExitCode::from(5));
                    }
                    tokio::time::sleep(ask_again).await;
                }
            }
        }
    })
}

fn show_spool(places: &Places, lang: Lang) -> anyhow::Result<ExitCode> {
    let settings = settings(places)?;
    let view = inspect(&StateFolder::open(&settings.state)?.spool())?;
    let records: usize = view.segments.iter().map(|segment| segment.records).sum();
    let damaged: u64 = view.segments.iter().map(|segment| segment.damaged).sum();
    let (segments, gaps, aside) = (view.segments.len(), view.gaps.len(), view.quarantined);
    say(
        &Text::new(
            format!(
                "{segments} segments, {records} reports, {damaged} damaged octets, {gaps} gaps to \
                 tell, {aside} segments in quarantine"
            ),
            format!(
                "{segments} 个段，{records} 份报告，{damaged} 个损坏字节，{gaps} 个待上报缺口，\
                 {aside} 个隔离段"
            ),
        ),
        lang,
    );
    for segment in view.segments {
        let places = segment.places.map_or_else(String::new, |(first, last)| {
            format!("{} {}..{}", first.boot, first.seq, last.seq)
        });
        let line = format!("{} {} {} {places}", segment.name, segment.size, segment.records);
        say(&Text::new(line.clone(), line), lang);
    }
    Ok(ExitCode::SUCCESS)
}
