//! A collector in this process and machines that speak to it over real TLS: what every test of this
//! folder begins with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bailey_collector::clock::{Clock, SystemClock};
use bailey_collector::enrolment::Actor;
use bailey_collector::settings::{Given, Settings};
use bailey_collector::{Collector, CollectorHandle};
use bailey_rules::digest::FactDigest;
use bailey_rules::fact::enforcement::OrderRef;
use bailey_rules::fact::host::Memory;
use bailey_rules::fact::{Fact, FactKey, ProbeName};
use bailey_rules::name::BootId;
use bailey_rules::report::{Gap, Place, ProbeRun, Report};
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;
use bailey_wire::convert;
use bailey_wire::identity::AgentKey;
use bailey_wire::tls::{self, COLLECTOR_NAME};
use bailey_wire::token::Token;
use bailey_wire::v1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

pub(crate) const POLICY: &str = "
site: jiaxing
zones:
  inner: {name: 内网, networks: [10.1.0.0/16]}
  outer: {name: 外网, networks: [172.20.0.0/16]}
hosts:
  core-1: {zone: outer, addresses: [172.20.0.1]}
";

/// Longer than anything here takes on a slow machine; a test that waits for it has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The system's clock, moved.
#[derive(Default)]
pub(crate) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().shifted(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn settings(state: &Path) -> Settings {
    let any = Some("127.0.0.1:0".parse().unwrap());
    let given = Given { state: Some(state.to_owned()), web: any, agents: any, ..Given::default() };
    given.settle(None).unwrap()
}

/// A state folder with a policy.
pub(crate) fn state() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    folder
}

pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) collector: CollectorHandle,
    pub(crate) clock: Arc<MovedClock>,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_in(state(), change).await
    }

    /// Starts a collector on a state folder that there is already.
    pub(crate) async fn start_in(
        folder: tempfile::TempDir,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let clock = Arc::new(MovedClock::default());
        let mut settings = settings(folder.path());
        change(&mut settings);
        let collector = Collector::start_at(settings, clock.clone()).await.unwrap();
        Self { folder, collector, clock }
    }

    pub(crate) fn agents(&self) -> SocketAddr {
        self.collector.addresses().agents
    }

    pub(crate) async fn token(&self, host: &str, zone: &str) -> Token {
        let made = self.collector.enrolment().make_token(
            host.parse().unwrap(),
            zone.parse().unwrap(),
            Duration::from_mins(10),
            Actor::uid(0),
        );
        made.await.unwrap().token
    }

    pub(crate) async fn enrolled(&self, host: &str) -> Machine {
        enrolled_at(&self.collector, host).await
    }

    pub(crate) fn failures(&self, reason: &str) -> u64 {
        let counters = self.collector.site().counters();
        counters.auth_failures.each().find(|(word, _)| word.as_str() == reason).unwrap().1
    }

    /// Waits for an event: it is written a moment after what it tells of is shown.
    pub(crate) async fn event(&self, kind: &str) {
        let began = std::time::Instant::now();
        while self.events(kind).await.is_empty() {
            assert!(began.elapsed() < LIMIT, "no event {kind}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn events(&self, kind: &str) -> Vec<String> {
        let query = bailey_collector::site::EventQuery { limit: 200, ..Default::default() };
        let events = self.collector.site().events(query).await.unwrap();
        events.into_iter().filter(|e| e.kind.as_str() == kind).map(|e| e.text.en).collect()
    }
}

/// A machine that a collector has just enrolled.
pub(crate) async fn enrolled_at(collector: &CollectorHandle, host: &str) -> Machine {
    let made = collector.enrolment().make_token(
        host.parse().unwrap(),
        "inner".parse().unwrap(),
        Duration::from_mins(10),
        Actor::uid(0),
    );
    let token = made.await.unwrap().token;
    Machine::enrol(&token, AgentKey::generate().unwrap()).await.unwrap()
}

/// Waits until `what` holds.
pub(crate) async fn until(name: &str, mut what: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !what() {
        assert!(began.elapsed() < LIMIT, "{name}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn channel(
    address: &str,
    config: Arc<rustls::ClientConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let connector = tokio_rustls::TlsConnector::from(config);
    let address = address.to_owned();
    let dial = move |_: http::Uri| {
        let (connector, address) = (connector.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(COLLECTOR_NAME).unwrap();
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    };
    Endpoint::from_static("http://collector").connect_with_connector(tower::service_fn(dial)).await
}

/// A connection without a certificate.
pub(crate) async fn stranger(token: &Token) -> Channel {
    let config = tls::enrol_client_config(token.pin, &tls::system_clock()).unwrap();
    channel(&token.address, config).await.unwrap()
}

/// What came of an enrolment.
pub(crate) async fn ask(token: &Token, key: &AgentKey) -> Result<v1::enrol_reply::Answer, Status> {
    let mut client = v1::enrolment_client::EnrolmentClient::new(stranger(token).await);
    let request =
        v1::EnrolRequest { secret: token.secret.to_vec(), request: key.request().unwrap() };
    Ok(client.enrol(request).await?.into_inner().answer.unwrap())
}

/// An enrolled machine.
pub(crate) struct Machine {
    pub(crate) key: AgentKey,
    pub(crate) certificate: Vec<u8>,
    pub(crate) ca: Vec<u8>,
    pub(crate) address: String,
    pub(crate) run: [u8; 32],
}

impl Machine {
    pub(crate) async fn enrol(token: &Token, key: AgentKey) -> Result<Self, Status> {
        match ask(token, &key).await? {
            v1::enrol_reply::Answer::Enrolled(enrolled) => {
                assert_eq!(enrolled.host, token.host.as_str());
                assert_eq!(enrolled.zone, token.zone.as_str());
                let certificate = enrolled.certificate.unwrap();
                Ok(Self {
                    key,
                    certificate: certificate.leaf,
                    ca: certificate.ca,
                    address: token.address.clone(),
                    run: [1; 32],
                })
            }
            v1::enrol_reply::Answer::Waiting(_) => Err(Status::unavailable("waiting")),
        }
    }

    pub(crate) fn config(&self) -> Arc<rustls::ClientConfig> {
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        let ca = CertificateDer::from(self.ca.clone());
        tls::agent_client_config(&ca, chain, self.key.for_tls(), &tls::system_clock()).unwrap()
    }

    pub(crate) async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        channel(&self.address, self.config()).await
    }

    pub(crate) async fn connect(&self) -> Link {
        self.try_connect().await.unwrap()
    }

    pub(crate) async fn try_connect(&self) -> Result<Link, Status> {
        self.try_connect_with(None).await
    }

    /// Connects as an agent does that a ruleset which waits to be confirmed let through.
    pub(crate) async fn connect_over(&self, pending: OrderRef) -> Link {
        self.try_connect_with(Some(pending)).await.unwrap()
    }

    async fn try_connect_with(&self, pending: Option<OrderRef>) -> Result<Link, Status> {
        let channel =
            self.channel().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = v1::uplink_client::UplinkClient::new(channel);
        let (sender, receiver) = mpsc::channel(64);
        let mut link = Link { sender, answers: None, welcome: None };
        link.send(v1::from_agent::Message::Hello(v1::Hello {
            protocol: bailey_wire::PROTOCOL,
            agent_version: "0.1.0".into(),
            machine: self.run.to_vec(),
            oldest: None,
            pending: pending.map(convert::order_ref_to_wire),
        }))
        .await;
        let answers = client.session(ReceiverStream::new(receiver)).await?.into_inner();
        link.answers = Some(answers);
        match link.next().await? {
            v1::from_collector::Message::Welcome(welcome) => link.welcome = Some(welcome),
            other => panic!("{other:?} came before a welcome"),
        }
        Ok(link)
    }
}

/// An open session.
pub(crate) struct Link {
    sender: mpsc::Sender<v1::FromAgent>,
    answers: Option<Streaming<v1::FromCollector>>,
    pub(crate) welcome: Option<v1::Welcome>,
}

impl Link {
    pub(crate) async fn send(&self, message: v1::from_agent::Message) {
        self.send_at(SystemClock.now(), message).await;
    }

    /// Sends a message of a host whose clock shows `sent_at`.
    pub(crate) async fn send_at(&self, sent_at: Timestamp, message: v1::from_agent::Message) {
        let message = v1::FromAgent { sent_at_millis: sent_at.as_millis(), message: Some(message) };
        // The collector may have ended the session; what follows shows that.
        let _ = self.sender.send(message).await;
    }

    pub(crate) async fn report(&self, report: v1::Report) {
        self.send(v1::from_agent::Message::Report(report)).await;
    }

    pub(crate) async fn lose(&self, gap: &Gap) {
        self.send(v1::from_agent::Message::Loss(convert::loss_to_wire(gap))).await;
    }

    /// The next answer, or why there is none.
    pub(crate) async fn next(&mut self) -> Result<v1::from_collector::Message, Status> {
        let answers = self.answers.as_mut().unwrap();
        let answer = tokio::time::timeout(LIMIT, answers.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no answer came"))??;
        answer.and_then(|a| a.message).ok_or_else(|| Status::aborted("the collector ended it"))
    }

    /// Waits until everything up to `place` is acknowledged.
    pub(crate) async fn acknowledged(&mut self, place: Place) -> Result<(), Status> {
        loop {
            if let v1::from_collector::Message::Acknowledged(told) = self.next().await? {
                let told = convert::place_from_wire(&told.place.unwrap()).unwrap();
                if told.boot == place.boot && told.seq >= place.seq {
                    return Ok(());
                }
            }
        }
    }

    /// Waits until the session ends, and gives why.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

/// The facts of a machine and its numbering: makes reports as an agent does.
pub(crate) struct Facts {
    pub(crate) boot: BootId,
    pub(crate) seq: u64,
    held: BTreeMap<FactKey, (v1::FactEntry, FactDigest)>,
    pub(crate) interval: Duration,
}

impl Facts {
    pub(crate) fn new(boot: u8) -> Self {
        Self {
            boot: BootId::from_bytes([boot; 16]),
            seq: 0,
            held: BTreeMap::new(),
            interval: Duration::from_secs(15),
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place { boot: self.boot, seq: self.seq }
    }

    fn digest(&self) -> FactDigest {
        let mut digest = FactDigest::EMPTY;
        self.held.values().for_each(|(_, share)| digest.add(*share));
        digest
    }

    fn report(&mut self, entries: Vec<v1::FactEntry>, complete: bool) -> v1::Report {
        self.report_at(entries, complete, SystemClock.now())
    }

    fn report_at(
        &mut self,
        entries: Vec<v1::FactEntry>,
        complete: bool,
        now: Timestamp,
    ) -> v1::Report {
        self.seq += 1;
        let run = |probe| ProbeRun { probe, read_at: now, interval: self.interval, failed: None };
        let report = Report {
            place: self.place(),
            taken_at: now,
            complete,
            probes: ProbeName::ALL.into_iter().map(run).collect(),
            changed: Vec::new(),
            removed: Vec::new(),
            digest: self.digest(),
        };
        convert::report_to_wire(&report, entries)
    }

    fn hold(&mut self, facts: impl IntoIterator<Item = Fact>) -> Vec<v1::FactEntry> {
        let mut entries = Vec::new();
        for fact in facts {
            let (entry, share) = convert::encode_fact(&fact);
            entries.push(entry.clone());
            self.held.insert(fact.key, (entry, share));
        }
        entries
    }

    /// A report of everything, with `facts` new or changed.
    pub(crate) fn complete(&mut self, facts: impl IntoIterator<Item = Fact>) -> v1::Report {
        self.hold(facts);
        let all = self.held.values().map(|(entry, _)| entry.clone()).collect();
        self.report(all, true)
    }

    /// A report of `facts` alone.
    pub(crate) fn changed(&mut self, facts: impl IntoIterator<Item = Fact>) -> v1::Report {
        let entries = self.hold(facts);
        self.report(entries, false)
    }
}

/// How much memory there is, as a fact that can be told apart.
pub(crate) fn memory(available: u64) -> Fact {
    let memory = Memory {
        total: Bytes(1 << 34),
        available: Bytes(available),
        swap_total: Bytes(0),
        swap_free: Bytes(0),
    };
    Fact::known("", memory)
}

/// The available memory that the collector holds of a host.
pub(crate) fn held_memory(collector: &CollectorHandle, host: &str) -> Option<u64> {
    let status = collector.site().host(&host.parse().unwrap())?;
    status.view.facts.value::<Memory>("").map(|memory| memory.available.0)
}

pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_bailey-collector").into()
}
