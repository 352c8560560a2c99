//! Simulated agents: real keys, real enrolment, real sessions over TLS, made-up facts.
//!
//! The benches in `tests/bench/` drive it; it speaks only to loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bailey_rules::compile;
use bailey_rules::digest::FactDigest;
use bailey_rules::fact::enforcement::{Enforcement, OrderRef, PendingOrder};
use bailey_rules::fact::{Fact, ProbeName, backup, host};
use bailey_rules::name::{BootId, HostName};
use bailey_rules::policy::{Policy, REFERENCE};
use bailey_rules::report::{Place, ProbeRun, Report};
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;
use bailey_wire::identity::AgentKey;
use bailey_wire::token::Token;
use bailey_wire::{convert, tls, v1};
use clap::{Parser, Subcommand};
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint, Uri};

/// Size of a report and of a plain message, octets.
const OCTETS: usize = 2048;
/// Reports on the way at once, all agents together.
const IN_FLIGHT: usize = 6_400;
/// Handshakes under way at once.
const CONNECTING: usize = 64;
/// Enrolments from one address; the collector takes ten a minute.
const ENROLMENTS_AN_ADDRESS: usize = 8;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Enrols agents and keeps their keys in a file.
    Provision {
        /// The collector's state folder.
        #[arg(long)]
        state: PathBuf,
        /// How many.
        #[arg(long)]
        agents: usize,
        /// Where the keys go.
        #[arg(long)]
        keys: PathBuf,
    },
    /// Connects every agent and reports as fast as it is acknowledged.
    Reports {
        /// The file of `provision`.
        #[arg(long)]
        keys: PathBuf,
        /// How long.
        #[arg(long)]
        seconds: u64,
        /// The collector's process, to read its memory while all are connected.
        #[arg(long)]
        pid: u32,
    },
    /// Connects every agent and follows signed orders as a host with an enforcer does: says that it
    /// is in force, dials anew, and says that it is confirmed. Ends with its input.
    Follow {
        /// The file of `provision`.
        #[arg(long)]
        keys: PathBuf,
        /// Whose orders: the identity of the public key, as `bailey policy key` prints it.
        #[arg(long)]
        key_id: String,
    },
    /// Compiles the shipped policy for many hosts, and one with as many networks as there may be.
    Compile {
        /// How many hosts.
        #[arg(long)]
        hosts: usize,
        /// Networks of the large policy.
        #[arg(long)]
        networks: usize,
        /// Where the ruleset of the large policy goes.
        #[arg(long)]
        ruleset: PathBuf,
    },
    /// The same size of message over plain TLS, one answer each.
    Plain {
        /// Connections at once.
        #[arg(long)]
        connections: usize,
        /// How long.
        #[arg(long)]
        seconds: u64,
    },
}

/// One agent's secrets, as kept between `provision` and `reports`.
#[derive(Serialize, Deserialize)]
struct Kept {
    address: String,
    key: Vec<u8>,
    leaf: Vec<u8>,
    ca: Vec<u8>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Load::Provision { state, agents, keys } => provision(&state, agents, &keys).await,
            Load::Reports { keys, seconds, pid } => {
                reports(&keys, Duration::from_secs(seconds), pid).await
            }
            Load::Follow { keys, key_id } => follow(&keys, &key_id).await,
            Load::Compile { hosts, networks, ruleset } => compile_all(hosts, networks, &ruleset),
            Load::Plain { connections, seconds } => {
                plain(connections, Duration::from_secs(seconds)).await
            }
        }
    })
}

#[allow(clippy::print_stdout)] // A bench's figures are its output.
fn say(line: &str) {
    println!("  {line}");
}

/// A channel over our own TLS from an address of loopback.
async fn channel(
    address: SocketAddr,
    from: Ipv4Addr,
    config: Arc<rustls::ClientConfig>,
) -> anyhow::Result<Channel> {
    let connector = tokio_rustls::TlsConnector::from(config);
    let connect = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(tls::COLLECTOR_NAME).expect("a DNS name");
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Ok(Endpoint::from_static("http://collector.bailey.internal")
        .connect_with_connector(connect)
        .await?)
}

async fn provision(state: &Path, agents: usize, keys: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    // The client wants a provider even where it never speaks TLS.
    let _ = tls::provider().as_ref().clone().install_default();
    let client = reqwest::Client::builder().unix_socket(state.join("bailey.sock")).build()?;
    let kept: Vec<anyhow::Result<Kept>> = futures::stream::iter(0..agents)
        .map(|number| {
            let client = client.clone();
            async move { enrol(&client, number).await }
        })
        .buffer_unordered(CONNECTING)
        .collect()
        .await;
    let mut file = std::fs::File::create(keys)?;
    for kept in kept {
        writeln!(file, "{}", serde_json::to_string(&kept?)?)?;
    }
    let rate = agents as f64 / began.elapsed().as_secs_f64();
    say(&format!("enrolled {agents} agents, {rate:.0}/s"));
    Ok(())
}

async fn enrol(client: &reqwest::Client, number: usize) -> anyhow::Result<Kept> {
    let answer: serde_json::Value = client
        .post("http://localhost/api/v1/enroll/tokens")
        .json(&serde_json::json!({
            "host": format!("load-{number}"), "zone": "inner", "ttl_seconds": 600,
        }))
        .send()
        .await?
        .json()
        .await?;
    let token: Token =
        answer["token"].as_str().with_context(|| format!("no token: {answer}"))?.parse()?;
    let source = u32::from(Ipv4Addr::new(127, 1, 0, 1))
        + u32::try_from(number / ENROLMENTS_AN_ADDRESS).context("too many agents")?;
    let config = tls::enrol_client_config(token.pin, &tls::system_clock())?;
    let channel = channel(token.address.parse()?, Ipv4Addr::from(source), config).await?;
    let key = AgentKey::generate()?;
    let reply = v1::enrolment_client::EnrolmentClient::new(channel)
        .enrol(v1::EnrolRequest { secret: token.secret.to_vec(), request: key.request()? })
        .await?
        .into_inner();
    let Some(v1::enrol_reply::Answer::Enrolled(enrolled)) = reply.answer else {
        bail!("not enrolled: {reply:?}");
    };
    let certificate = enrolled.certificate.context("no certificate")?;
    Ok(Kept {
        address: token.address,
        key: key.pkcs8_der().to_vec(),
        leaf: certificate.leaf,
        ca: certificate.ca,
    })
}

/// Facts of about [`OCTETS`] octets in all, and their entries on the wire.
fn facts(number: u64) -> (Vec<v1::FactEntry>, FactDigest) {
    let mut digest = FactDigest::EMPTY;
    let mut entries = Vec::new();
    let mut size = 0;
    for subject in 0.. {
        let memory = host::Memory {
            total: Bytes(24 << 30),
            available: Bytes((12 << 30) + number),
            swap_total: Bytes(0),
            swap_free: Bytes(0),
        };
        let fact = if subject == 0 {
            Fact::known("", memory)
        } else {
            Fact::known(
                &format!("job-{subject}"),
                backup::Job {
                    tool: "restic".into(),
                    started_at: Timestamp::from_seconds(1_790_000_000),
                    finished_at: Timestamp::from_seconds(1_790_000_600),
                    success: true,
                    size: Some(Bytes(1 << 30)),
                    files: Some(31_000),
                    destination: "sftp:backup@10.1.9.9:/srv/restic".into(),
                    message: "processed 31000 files in 10:00".into(),
                    last_success_at: Some(Timestamp::from_seconds(1_790_000_600)),
                    sizes: vec![Bytes(1 << 30); 4],
                },
            )
        };
        let (entry, share) = convert::encode_fact(&fact);
        size += prost::Message::encoded_len(&entry);
        digest.add(share);
        entries.push(entry);
        if size >= OCTETS - 160 {
            break;
        }
    }
    (entries, digest)
}

fn report(place: Place, facts: &(Vec<v1::FactEntry>, FactDigest), at: Timestamp) -> v1::Report {
    let report = Report {
        place,
        taken_at: at,
        complete: place.seq == 1,
        probes: vec![
            ProbeRun {
                probe: ProbeName::Host,
                read_at: at,
                interval: Duration::from_secs(15),
                failed: None,
            },
            ProbeRun {
                probe: ProbeName::Backup,
                read_at: at,
                interval: Duration::from_mins(1),
                failed: None,
            },
        ],
        changed: Vec::new(),
        removed: Vec::new(),
        digest: facts.1,
    };
    convert::report_to_wire(&report, facts.0.clone())
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// One agent's session: `window` reports on the way at once, until `stop`.
async fn session(
    kept: Kept,
    number: usize,
    window: usize,
    go: Arc<tokio::sync::Semaphore>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    connected: mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let key = AgentKey::from_pkcs8_der(&kept.key)?;
    let config = tls::agent_client_config(
        &CertificateDer::from(kept.ca),
        vec![CertificateDer::from(kept.leaf)],
        key.for_tls(),
        &tls::system_clock(),
    )?;
    let source = Ipv4Addr::from(
        u32::from(Ipv4Addr::new(127, 2, 0, 1)) + u32::try_from(number / 1000).unwrap_or(0),
    );
    let channel = {
        let _turn = go.acquire().await?;
        channel(kept.address.parse()?, source, config).await?
    };
    let (send, receive) = mpsc::channel(window.max(2));
    let mut answers = v1::uplink_client::UplinkClient::new(channel)
        .session(tokio_stream::wrappers::ReceiverStream::new(receive))
        .await?
        .into_inner();
    let from_agent =
        |message| v1::FromAgent { sent_at_millis: now().as_millis(), message: Some(message) };
    let hello = v1::Hello { protocol: bailey_wire::PROTOCOL, ..Default::default() };
    send.send(from_agent(v1::from_agent::Message::Hello(hello))).await?;
    let boot = BootId::from_bytes(u128::try_from(number)?.wrapping_add(1 << 64).to_be_bytes());
    let variants = [facts(1), facts(2)];
    let mut brought = 0;
    let mut done = 0;
    let mut told = false;
    loop {
        while told && brought - done < window as u64 && !stop.load(Ordering::Relaxed) {
            brought += 1;
            let place = Place { boot, seq: brought };
            let facts = &variants[usize::try_from(brought % 2)?];
            let message = v1::from_agent::Message::Report(report(place, facts, now()));
            send.send(from_agent(message)).await?;
        }
        if stop.load(Ordering::Relaxed) && brought == done {
            return Ok(());
        }
        let answer = answers.message().await?.context("the collector hung up")?;
        match answer.message {
            Some(v1::from_collector::Message::Welcome(_)) => {
                connected.send(()).await?;
                // The first report waits until every agent is connected.
                told = true;
                let _all_connected = go.acquire_many(u32::try_from(CONNECTING)?).await;
            }
            Some(v1::from_collector::Message::Acknowledged(ack)) => {
                let seq = ack.place.context("a place")?.seq;
                ensure!(seq <= brought, "acknowledged what was never brought");
                acknowledged.fetch_add(seq - done, Ordering::Relaxed);
                done = seq;
            }
            Some(v1::from_collector::Message::SendEverything(_)) => {
                bail!("the collector lost a fact of agent {number}")
            }
            // This host has no enforcer, and nobody sends it orders.
            Some(
                v1::from_collector::Message::Intervals(_)
                | v1::from_collector::Message::ListingsHeld(_)
                | v1::from_collector::Message::OrderPart(_)
                | v1::from_collector::Message::ConfirmOrder(_),
            )
            | None => {}
        }
    }
}

/// Connects every agent, tells when all are, and follows orders until the input ends.
async fn follow(keys: &Path, key_id: &str) -> anyhow::Result<()> {
    let lines: Vec<String> =
        BufReader::new(std::fs::File::open(keys)?).lines().collect::<Result<_, _>>()?;
    let agents = lines.len();
    let (tell, mut connected) = mpsc::channel(agents);
    let mut followers = tokio::task::JoinSet::new();
    for (number, line) in lines.iter().enumerate() {
        let kept: Kept = serde_json::from_str(line)?;
        followers.spawn(follower(kept, number, key_id.to_owned(), tell.clone()));
    }
    for _ in 0..agents {
        tokio::select! {
            welcome = connected.recv() => welcome.context("all followers ended")?,
            Some(ended) = followers.join_next() => bail!("a follower ended: {ended:?}"),
        }
    }
    say(&format!("{agents} agents follow orders"));
    let mut input = tokio::io::stdin();
    let over = async { input.read_to_end(&mut Vec::new()).await };
    tokio::select! {
        _ = over => Ok(()),
        Some(ended) = followers.join_next() => bail!("a follower ended: {ended:?}"),
    }
}

/// One host that follows orders; nothing is filtered.
async fn follower(
    kept: Kept,
    number: usize,
    key_id: String,
    connected: mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let key = AgentKey::from_pkcs8_der(&kept.key)?;
    let config = tls::agent_client_config(
        &CertificateDer::from(kept.ca),
        vec![CertificateDer::from(kept.leaf)],
        key.for_tls(),
        &tls::system_clock(),
    )?;
    let source = Ipv4Addr::from(
        u32::from(Ipv4Addr::new(127, 3, 0, 1)) + u32::try_from(number / 100).unwrap_or(0),
    );
    let mut confirmed = None;
    let mut pending = None;
    for seq in 1.. {
        let channel = channel(kept.address.parse()?, source, Arc::clone(&config)).await?;
        let (send, receive) = mpsc::channel(4);
        let mut answers = v1::uplink_client::UplinkClient::new(channel)
            .session(tokio_stream::wrappers::ReceiverStream::new(receive))
            .await?
            .into_inner();
        let from_agent =
            |message| v1::FromAgent { sent_at_millis: now().as_millis(), message: Some(message) };
        let outcome = |order, result| {
            let outcome = convert::outcome_to_wire(&convert::OrderOutcome { order, result });
            from_agent(v1::from_agent::Message::OrderOutcome(outcome))
        };
        let hello = v1::Hello {
            protocol: bailey_wire::PROTOCOL,
            pending: pending.map(convert::order_ref_to_wire),
            ..Default::default()
        };
        send.send(from_agent(v1::from_agent::Message::Hello(hello))).await?;
        let mut gathering = convert::OrderGathering::default();
        loop {
            let answer = answers.message().await?.context("the collector hung up")?;
            match answer.message {
                Some(v1::from_collector::Message::Welcome(_)) => {
                    let report = enforcing(number, seq, &key_id, confirmed, pending)?;
                    send.send(from_agent(v1::from_agent::Message::Report(report))).await?;
                    if seq == 1 {
                        connected.send(()).await?;
                    }
                }
                Some(v1::from_collector::Message::OrderPart(part)) => {
                    if let Some((order, _)) = gathering.take(&part)? {
                        send.send(outcome(order, convert::OrderResult::Applied)).await?;
                        pending = Some(order);
                        break;
                    }
                }
                Some(v1::from_collector::Message::ConfirmOrder(confirm)) => {
                    let order = convert::named_order(confirm.order.as_ref())?;
                    ensure!(pending == Some(order), "another order is confirmed");
                    send.send(outcome(order, convert::OrderResult::Confirmed)).await?;
                    confirmed = pending.take();
                }
                Some(v1::from_collector::Message::SendEverything(_)) => {
                    bail!("the collector lost a fact of agent {number}")
                }
                Some(
                    v1::from_collector::Message::Acknowledged(_)
                    | v1::from_collector::Message::Intervals(_)
                    | v1::from_collector::Message::ListingsHeld(_),
                )
                | None => {}
            }
        }
        // What was sent goes out before the connection ends.
        drop(send);
        while answers.message().await.is_ok_and(|message| message.is_some()) {}
    }
    Ok(())
}

/// The report of a host of which nothing is known but what it enforces.
fn enforcing(
    number: usize,
    seq: u64,
    key_id: &str,
    confirmed: Option<OrderRef>,
    pending: Option<OrderRef>,
) -> anyhow::Result<v1::Report> {
    let until = now() + Duration::from_mins(2);
    let enforcement = Enforcement {
        key: Some(key_id.to_owned()),
        highest: pending.or(confirmed).map_or(0, |order| order.version),
        in_force: pending.or(confirmed),
        confirmed,
        pending: pending.map(|order| PendingOrder { order, until }),
        ..Enforcement::default()
    };
    let (entry, digest) = convert::encode_fact(&Fact::known("", enforcement));
    let boot = BootId::from_bytes(u128::try_from(number)?.wrapping_add(1 << 65).to_be_bytes());
    let at = now();
    let run = ProbeRun {
        probe: ProbeName::Enforcement,
        read_at: at,
        interval: Duration::from_mins(1),
        failed: None,
    };
    let report = Report {
        place: Place { boot, seq },
        taken_at: at,
        complete: true,
        probes: vec![run],
        changed: Vec::new(),
        removed: Vec::new(),
        digest,
    };
    Ok(convert::report_to_wire(&report, vec![entry]))
}

/// How often each thing is measured.
const TIMES: usize = 5;

fn median_of(mut measured: Vec<Duration>) -> Duration {
    measured.sort_unstable();
    measured[measured.len() / 2]
}

fn measured<T>(mut what: impl FnMut() -> T) -> Duration {
    let once = |_| {
        let began = Instant::now();
        std::hint::black_box(what());
        began.elapsed()
    };
    median_of((0..TIMES).map(once).collect())
}

fn compile_all(hosts: usize, networks: usize, ruleset: &Path) -> anyhow::Result<()> {
    let read = |text: &str| Policy::parse("policy.yaml", text).map_err(|e| anyhow::anyhow!("{e}"));
    let zone = "inner".parse()?;
    let names: Vec<HostName> =
        (0..hosts).map(|number| format!("oa-{number}").parse()).collect::<Result<_, _>>()?;
    let reference = read(REFERENCE)?;
    let took = measured(|| {
        let all = names.iter().map(|host| compile::ruleset(&reference, "p", host, &zone));
        all.map(|compiled| compiled.text.len()).sum::<usize>()
    });
    let each = took.as_secs_f64() * 1e6 / hosts as f64;
    say(&format!("shipped policy for {hosts} hosts: {took:?}, {each:.0} microseconds a host"));

    let text = large(networks);
    let reading = measured(|| read(&text).is_ok());
    let policy = read(&text)?;
    let compiling = measured(|| compile::ruleset(&policy, "p", &names[0], &zone));
    let compiled = compile::ruleset(&policy, "p", &names[0], &zone).text;
    say(&format!(
        "policy of {networks} networks, 2000 flows, 2000 invariants: read {reading:?}, compiled \
         {compiling:?} to {} octets",
        compiled.len()
    ));
    Ok(std::fs::write(ruleset, compiled)?)
}

/// A policy at its bounds: every network apart from the next, so that nothing can be joined.
fn large(networks: usize) -> String {
    let network = |nth: usize| format!("10.{}.{}.{}/26", nth / 500, nth / 2 % 250, nth % 2 * 128);
    let list: Vec<String> = (0..networks / 2).map(network).collect();
    let other: Vec<String> = (networks / 2..networks).map(network).collect();
    let mut text = format!(
        "site: bench\nzones:\n  inner: {{networks: [{}], mode: enforce}}\n  outer: {{networks: [{}]}}\n\
         services:\n  web: {{tcp: [80, 443]}}\nmanagement:\n  inner: {{from: {}, service: web}}\nflows:\n",
        list.join(", "),
        other.join(", "),
        list[0],
    );
    for nth in 0..2000 {
        text += &format!("  - {{from: {}, to: inner, service: web}}\n", list[nth % list.len()]);
    }
    text += "invariants:\n";
    for nth in 0..2000 {
        text += &format!("  INV-{nth}: {{never: [{}, outer]}}\n", list[nth % list.len()]);
    }
    text
}

fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

/// Time on processors of all threads of a process.
fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').context("a name in parentheses")?;
    let ticks = |field: usize| -> anyhow::Result<u64> {
        Ok(after_name.split_whitespace().nth(field).context("a field")?.parse()?)
    };
    // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second (USER_HZ).
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

async fn reports(keys: &Path, time: Duration, pid: u32) -> anyhow::Result<()> {
    let lines: Vec<String> =
        BufReader::new(std::fs::File::open(keys)?).lines().collect::<Result<_, _>>()?;
    let agents = lines.len();
    let window = (IN_FLIGHT / agents).clamp(1, 64);
    let go = Arc::new(tokio::sync::Semaphore::new(CONNECTING));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (tell, mut connected) = mpsc::channel(agents);
    let before = resident_kib(pid)?;
    let began = Instant::now();
    let mut sessions = tokio::task::JoinSet::new();
    for (number, line) in lines.iter().enumerate() {
        sessions.spawn(session(
            serde_json::from_str(line)?,
            number,
            window,
            Arc::clone(&go),
            Arc::clone(&stop),
            Arc::clone(&acknowledged),
            tell.clone(),
        ));
    }
    for _ in 0..agents {
        tokio::select! {
            welcome = connected.recv() => welcome.context("all sessions ended")?,
            Some(ended) = sessions.join_next() => bail!("a session ended: {ended:?}"),
        }
    }
    let rate = agents as f64 / began.elapsed().as_secs_f64();
    let resident = resident_kib(pid)?;
    let each = resident.saturating_sub(before) / agents as u64;
    say(&format!(
        "connected {agents} agents, {rate:.0} handshakes/s; resident {resident} KiB, {each} KiB an agent"
    ));
    // Two seconds to get up to speed, then count.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (from, start) = (acknowledged.load(Ordering::Relaxed), Instant::now());
    let processor = processor_time(pid)?;
    tokio::time::sleep(time).await;
    let count = acknowledged.load(Ordering::Relaxed) - from;
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let spent = processor_time(pid)?.saturating_sub(processor);
    let each = spent.as_secs_f64() * 1e6 / count as f64;
    say(&format!(
        "{rate:.0} reports/s of {OCTETS} octets acknowledged as durable, window {window}"
    ));
    say(&format!(
        "  {each:.0} microseconds of a processor for each in the collector: {:.0} reports/s on two cores of its own; resident {} KiB under load",
        2e6 / each,
        resident_kib(pid)?
    ));
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = sessions.join_next().await {
        ended??;
    }
    Ok(())
}

/// A server and clients on plain TLS: what this machine can do at most.
async fn plain(connections: usize, time: Duration) -> anyhow::Result<()> {
    let key = rcgen::KeyPair::generate()?;
    let parameters = rcgen::CertificateParams::new(vec![tls::COLLECTOR_NAME.to_owned()])?;
    let certificate = parameters.self_signed(&key)?;
    let provider = tls::provider();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der())
                .map_err(anyhow::Error::msg)?,
        )?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut message = vec![0; OCTETS];
                loop {
                    stream.read_exact(&mut message).await?;
                    stream.write_all(&message[..8]).await?;
                    stream.flush().await?;
                }
                #[allow(unreachable_code)] // Gives the block its type.
                Ok::<(), std::io::Error>(())
            });
        }
    });
    let answered = Arc::new(AtomicU64::new(0));
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (connector, answered) = (connector.clone(), Arc::clone(&answered));
        clients.spawn(async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from(tls::COLLECTOR_NAME).expect("a DNS name");
            let (mut read, mut write) = tokio::io::split(connector.connect(name, stream).await?);
            let window = Arc::new(tokio::sync::Semaphore::new(64));
            let permits = Arc::clone(&window);
            let writing = async move {
                let message = vec![7; OCTETS];
                while let Ok(permit) = permits.acquire().await {
                    permit.forget();
                    write.write_all(&message).await?;
                    write.flush().await?;
                }
                Ok::<(), std::io::Error>(())
            };
            let reading = async move {
                let mut answer = [0; 8];
                loop {
                    read.read_exact(&mut answer).await?;
                    window.add_permits(1);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                #[allow(unreachable_code)] // Gives the block its type.
                Ok::<(), std::io::Error>(())
            };
            tokio::try_join!(writing, reading).map(|_| ())
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (from, start) = (answered.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(time).await;
    let rate = (answered.load(Ordering::Relaxed) - from) as f64 / start.elapsed().as_secs_f64();
    say(&format!(
        "{rate:.0} messages/s of {OCTETS} octets on {connections} connections, nothing kept"
    ));
    ensure!(clients.try_join_next().is_none(), "a connection ended before its time");
    clients.shutdown().await;
    serving.abort();
    Ok(())
}
