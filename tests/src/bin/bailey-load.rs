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
use bailey_rules::digest::FactDigest;
use bailey_rules::fact::{Fact, ProbeName, backup, host};
use bailey_rules::name::BootId;
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
                | v1::from_collector::Message::OrderPart(_)
                | v1::from_collector::Message::ConfirmOrder(_),
            )
            | None => {}
        }
    }
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
