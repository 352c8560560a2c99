//! The command line of `bailey-agent`.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bailey_rules::name::HostKey;
use bailey_rules::text::{Lang, Text};
use bailey_rules::time::{Timestamp, spoken};
use bailey_wire::identity::host_key_of;
use bailey_wire::order::{MAX_KEY_FILE, MAX_SIGNED, OrderDigest, SignedOrder, VerifyingKey};
use bailey_wire::token::{MAX_TOKEN, Token};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::Agent;
use crate::enforce;
use crate::enforce::socket::{Answer, Request, Status, ask};
use crate::enforce::state::{Ended, OrderRef};
use crate::enroll::pin::{PinnedAt, pin_at_enrolment};
use crate::enroll::{Outcome, enroll};
use crate::folder::StateFolder;
use crate::probe::Roots;
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
        /// The enforcer's socket; holds against the settings. 执行程序的套接字，优先于配置文件。
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Shows what waits in the spool of an agent that is stopped. 显示已停止的代理程序的待发队列。
    Spool(Places),
    /// Puts ordered rulesets into the kernel until it is stopped. 将签名下发的规则集写入内核，直到被停止。
    Enforce {
        /// Where the enforcer keeps its state. 状态目录。
        #[arg(long, value_name = "DIR", default_value = enforce::DEFAULT_STATE)]
        state: PathBuf,
        #[command(flatten)]
        socket: Socket,
        /// The agent's state folder: its owner may speak to the enforcer. 代理程序的状态目录，其属主可与执行程序通信。
        #[arg(long, value_name = "DIR")]
        agent: Option<PathBuf>,
        /// Loads the confirmed ruleset and ends. 仅加载已确认的规则集后退出。
        #[arg(long)]
        boot: bool,
    },
    /// Makes the enforcer follow the orders of this public key; only root, only once.
    /// 令执行程序只听从此公钥签名的命令；仅限 root，且仅一次。
    Pin {
        /// The security role's public key, PEM. 安全管理员公钥文件（PEM）。
        #[arg(value_name = "FILE")]
        key: PathBuf,
        /// This host's key; read from its certificate when not given. 本机标识，默认取自本机证书。
        #[arg(long, value_name = "HEX")]
        host: Option<HostKey>,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        socket: Socket,
    },
    /// Gives the enforcer a signed order from a file, such as on removable media.
    /// 将文件（如移动介质）中的签名命令交给执行程序。
    Apply {
        /// The signed order. 签名命令文件。
        #[arg(value_name = "FILE")]
        order: PathBuf,
        #[command(flatten)]
        socket: Socket,
    },
    /// Confirms the ruleset that waits for it. 确认等待确认的规则集。
    Confirm {
        /// Its number. 命令序号。
        version: u64,
        /// Its digest, as `apply` showed it. 命令摘要，见 `apply` 的输出。
        digest: OrderDigest,
        #[command(flatten)]
        socket: Socket,
    },
    /// Shows what is enforced. 显示当前执行状态。
    Enforced {
        #[command(flatten)]
        socket: Socket,
    },
}

#[derive(Debug, clap::Args)]
struct Socket {
    /// The enforcer's socket. 执行程序的套接字。
    #[arg(long, value_name = "PATH", default_value = enforce::DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the program with a command line, its name first, and gives its exit code: 0, 1 for an
/// error, 2 for wrong usage, 3 when the enforcer refused, 5 when a person must approve the enrolment.
#[must_use]
pub fn run(line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = Arguments::parse_from(line);
    let lang = match arguments.lang {
        Some(Language::En) => Lang::En,
        Some(Language::Zh) => Lang::Zh,
        None => locale(),
    };
    let result = match arguments.command {
        Command::Run(places) => watch(&places),
        Command::Enroll { places, token_file, wait, socket } => {
            enroll_host(&places, token_file.as_deref(), wait, socket.as_deref(), lang)
        }
        Command::Spool(places) => show_spool(&places, lang),
        Command::Enforce { state, socket, agent, boot } => {
            let (folder, socket) = (state, socket.socket);
            enforce_rules(
                &enforce::Settings { folder, socket, agent, roots: Roots::default() },
                boot,
            )
        }
        Command::Pin { key, host, places, socket } => {
            pin(&key, host, &places, &socket.socket, lang)
        }
        Command::Apply { order, socket } => apply(&order, &socket.socket, lang),
        Command::Confirm { version, digest, socket } => {
            let order = OrderRef { version, digest };
            asked(&socket.socket, &Request::Confirm(order), &[], lang)
        }
        Command::Enforced { socket } => asked(&socket.socket, &Request::Status, &[], lang),
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

fn watch(places: &Places) -> anyhow::Result<ExitCode> {
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
    socket: Option<&Path>,
    lang: Lang,
) -> anyhow::Result<ExitCode> {
    let settings = settings(places)?;
    let socket = socket.unwrap_or(&settings.enforcer);
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
                    let Some(key) = &token.security_key else { return Ok(ExitCode::SUCCESS) };
                    return pin_of_token(key, &folder, socket, lang).await;
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

/// Has the enforcer follow the key that came with the token; where there is none that could be told
/// now, keeps the key and says how to tell it later.
async fn pin_of_token(
    key: &VerifyingKey,
    folder: &StateFolder,
    socket: &Path,
    lang: Lang,
) -> anyhow::Result<ExitCode> {
    match pin_at_enrolment(key, folder, socket).await? {
        PinnedAt::Enforcer => {
            let key = key.id();
            say(
                &Text::new(
                    format!("orders of key {key} are followed"),
                    format!("听从密钥 {key} 的命令"),
                ),
                lang,
            );
            Ok(ExitCode::SUCCESS)
        }
        PinnedAt::Folder { file, why } => {
            let (file, state) = (file.display(), folder.path().display());
            let run = format!("sudo bailey-agent pin {file} --state {state}");
            complain(
                Text::new(
                    format!(
                        "nobody follows orders here yet ({why}); once the enforcer runs: {run}"
                    ),
                    format!("本机尚无执行程序听从命令（{why}）；执行程序启动后请执行：{run}"),
                )
                .in_lang(lang),
            );
            Ok(ExitCode::SUCCESS)
        }
        PinnedAt::Nowhere { why } => {
            complain(
                Text::new(
                    format!("the host is enrolled, but its enforcer refused the key: {why}"),
                    format!("主机已注册，但执行程序拒绝了该公钥：{why}"),
                )
                .in_lang(lang),
            );
            Ok(ExitCode::from(3))
        }
    }
}

fn enforce_rules(settings: &enforce::Settings, boot: bool) -> anyhow::Result<ExitCode> {
    tell_what_happens();
    runtime()?.block_on(async {
        if boot {
            enforce::boot(settings).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        enforce::run(settings, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The whole file, which may have at most `most` octets.
fn octets_of(file: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let failed = |error: std::io::Error| anyhow::anyhow!("{}: {error}", file.display());
    let mut octets = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(file)
        .and_then(|opened| opened.take(bound).read_to_end(&mut octets))
        .map_err(failed)?;
    if octets.len() > most {
        anyhow::bail!("{}: more than {most} octets", file.display());
    }
    Ok(octets)
}

fn pin(
    key: &Path,
    host: Option<HostKey>,
    places: &Places,
    socket: &Path,
    lang: Lang,
) -> anyhow::Result<ExitCode> {
    let key = String::from_utf8(octets_of(key, MAX_KEY_FILE)?)
        .map_err(|_| anyhow::anyhow!("{}: not a PEM file", key.display()))?;
    let host = match host {
        Some(host) => host,
        None => {
            let folder = StateFolder::open(&settings(places)?.state)?;
            host_key_of(&folder.credentials()?.certificate)?
        }
    };
    asked(socket, &Request::Pin { key, host }, &[], lang)
}

fn apply(order: &Path, socket: &Path, lang: Lang) -> anyhow::Result<ExitCode> {
    // The beginning of the file, which says what it is, comes on top.
    let octets = octets_of(order, MAX_SIGNED + 64)?;
    let signed = SignedOrder::from_file(&octets)
        .map_err(|error| anyhow::anyhow!("{}: {error}", order.display()))?;
    let body = signed.to_bytes();
    asked(socket, &Request::Apply { octets: body.len() }, &body, lang)
}

/// Asks the enforcer and shows how things stand, or why it refused.
fn asked(socket: &Path, request: &Request, body: &[u8], lang: Lang) -> anyhow::Result<ExitCode> {
    match runtime()?.block_on(ask(socket, request, body))? {
        Answer::Done(status) => {
            for line in enforced(&status) {
                say(&line, lang);
            }
            Ok(ExitCode::SUCCESS)
        }
        Answer::Refused { error: _, why } => {
            let text = Text::new(format!("refused: {why}"), format!("已拒绝：{why}"));
            complain(text.in_lang(lang));
            Ok(ExitCode::from(3))
        }
    }
}

/// How things stand with the enforcer, for a person.
fn enforced(status: &Status) -> Vec<Text> {
    let mut lines = Vec::new();
    let mut line = |en: String, zh: String| lines.push(Text::new(en, zh));
    match &status.key {
        Some(key) => {
            line(format!("orders of key {key} are followed"), format!("听从密钥 {key} 的命令"));
        }
        None => line("no key is pinned".into(), "尚未绑定公钥".into()),
    }
    match &status.in_force {
        Some(OrderRef { version, digest }) => line(
            format!("in force: order {version} {digest}"),
            format!("生效：命令 {version} {digest}"),
        ),
        None => line("in force: nothing of ours".into(), "生效：无".into()),
    }
    if let (Some(pending), Some(left)) = (&status.pending, status.reverts_in_millis) {
        let OrderRef { version, digest } = pending.order;
        let left = spoken(Duration::from_millis(left));
        let (en, zh) = (left.in_lang(Lang::En), left.in_lang(Lang::Zh));
        line(
            format!("reverts in {en} unless: bailey-agent confirm {version} {digest}"),
            format!("{zh}后回退，除非执行：bailey-agent confirm {version} {digest}"),
        );
    }
    if let Some(quarantine) = &status.quarantine {
        let until = Timestamp::from_millis(quarantine.until_millis);
        let reason = &quarantine.reason;
        line(format!("in quarantine until {until}: {reason}"), format!("隔离至 {until}：{reason}"));
    }
    if let Some(last) = &status.last {
        let at = Timestamp::from_millis(last.at_millis);
        let what = ended(last.what);
        let version = last.version;
        line(
            format!("{at}: order {version} {}", what.in_lang(Lang::En)),
            format!("{at}：命令 {version} {}", what.in_lang(Lang::Zh)),
        );
    }
    if let Some(drift) = &status.drift {
        let at = Timestamp::from_millis(drift.since_millis);
        let by = drift.by.as_deref();
        let (en, zh) = match drift.ended {
            Some(_) => ("was changed, which is over", "曾被改动，现已恢复"),
            None => ("is changed", "被改动"),
        };
        line(
            format!("{at}: the table {en}, by {}", by.unwrap_or("somebody unknown")),
            format!("{at}：规则表{zh}，改动者：{}", by.unwrap_or("未知")),
        );
        for (sign, changed) in [("+", &drift.added), ("-", &drift.removed)] {
            for text in changed {
                line(format!("  {sign} {text}"), format!("  {sign} {text}"));
            }
        }
        if drift.more > 0 {
            line(format!("  and {} lines more", drift.more), format!("  另有 {} 行", drift.more));
        }
    }
    if let Some(problem) = &status.problem {
        line(format!("problem: {problem}"), format!("问题：{problem}"));
    }
    lines
}

fn ended(what: Ended) -> Text {
    match what {
        Ended::Confirmed => Text::new("was confirmed", "已确认"),
        Ended::NotConfirmed => {
            Text::new("was not confirmed in time and reverted", "未及时确认，已回退")
        }
        Ended::Rebooted => {
            Text::new("was not confirmed before the boot and reverted", "重启前未确认，已回退")
        }
        Ended::RefusedByKernel => Text::new("was refused by the kernel", "被内核拒绝"),
        Ended::Superseded => Text::new("gave way to a newer one", "被更新的命令取代"),
        Ended::Quarantined => Text::new("gave way to a quarantine", "因隔离而中止"),
        Ended::QuarantineOver => Text::new("reached the end of its quarantine", "隔离到期"),
        Ended::Released => Text::new("was released from quarantine", "隔离已解除"),
    }
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
        say(&Text::quoted(line), lang);
    }
    Ok(ExitCode::SUCCESS)
}
