//! The uplink against a peer that speaks the real protocol over real TLS, and that the tests play.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bailey_agent::Agent;
use bailey_agent::clock::SystemClock;
use bailey_agent::folder::{Enrolled, StateFolder};
use bailey_agent::own::Own;
use bailey_agent::settings::{Settings, SpoolBounds};
use bailey_agent::spool::Spool;
use bailey_agent::uplink::{Order, SharedSpool, Uplink};
use bailey_rules::fact::{FactValue, ProbeName};
use bailey_rules::name::BootId;
use bailey_rules::report::Place;
use bailey_rules::unit::Bytes as Octets;
use bailey_wire::PROTOCOL;
use bailey_wire::convert::{intervals_to_wire, place_from_wire, place_to_wire, report_from_wire};
use bailey_wire::identity::{goodbye_bytes, verify};
use bailey_wire::tls::{self, COLLECTOR_NAME};
use bailey_wire::v1::uplink_server::UplinkServer;
use bailey_wire::v1::{self, from_agent, from_collector};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Nothing here takes so long, unless it hangs.
const SOON: Duration = Duration::from_secs(20);

/// An authority that signs what a test wants.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// A certificate for the key of a request, from `hours.0` to `hours.1` from now.
    fn host(&self, request: &[u8], hours: (i64, i64)) -> CertificateDer<'static> {
        let request = CertificateSigningRequestDer::from(request);
        let mut wanted = CertificateSigningRequestParams::from_der(&request).unwrap();
        let now = OffsetDateTime::now_utc();
        wanted.params.not_before = now + time::Duration::hours(hours.0);
        wanted.params.not_after = now + time::Duration::hours(hours.1);
        wanted.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        wanted.signed_by(&self.issuer).unwrap().der().clone()
    }

    fn collector(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![COLLECTOR_NAME.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![leaf, self.der.clone()], key)
    }
}

/// One session as the collector has it.
struct Session {
    from: Streaming<v1::FromAgent>,
    to: mpsc::Sender<Result<v1::FromCollector, Status>>,
    certificate: Vec<u8>,
}

impl Session {
    async fn next(&mut self) -> from_agent::Message {
        let message = timeout(SOON, self.from.message()).await.expect("no message came");
        message.unwrap().expect("the agent hung up").message.unwrap()
    }

    async fn answer(&self, message: from_collector::Message) {
        self.to.send(Ok(v1::FromCollector { message: Some(message) })).await.unwrap();
    }

    /// Hears the hello and welcomes the host, from whom `acknowledged` is already here.
    async fn welcome(&mut self, acknowledged: Option<Place>) -> v1::Hello {
        let from_agent::Message::Hello(hello) = self.next().await else { panic!("no hello") };
        let acknowledged = acknowledged.map(place_to_wire);
        let collector_version = "test".to_owned();
        let welcome = v1::Welcome { protocol: PROTOCOL, collector_version, acknowledged };
        self.answer(from_collector::Message::Welcome(welcome)).await;
        hello
    }

    async fn report(&mut self) -> v1::Report {
        match self.next().await {
            from_agent::Message::Report(report) => report,
            other => panic!("{other:?} instead of a report"),
        }
    }

    async fn acknowledge(&self, place: Place) {
        let acknowledged = v1::Acknowledged { place: Some(place_to_wire(place)) };
        self.answer(from_collector::Message::Acknowledged(acknowledged)).await;
    }
}

struct Service {
    sessions: mpsc::Sender<Session>,
    ca: Arc<Ca>,
    refuse: Arc<AtomicBool>,
    attempts: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl v1::uplink_server::Uplink for Service {
    type SessionStream = ReceiverStream<Result<v1::FromCollector, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::FromAgent>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if self.refuse.load(Ordering::Relaxed) {
            return Err(Status::permission_denied("this host was revoked"));
        }
        let certificate = request.peer_certs().expect("mutual TLS")[0].to_vec();
        let (to, answers) = mpsc::channel(64);
        let session = Session { from: request.into_inner(), to, certificate };
        self.sessions.send(session).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::Certificate>, Status> {
        let leaf = self.ca.host(&request.into_inner().request, (0, 24)).to_vec();
        let ca = self.ca.der.to_vec();
        Ok(Response::new(v1::Certificate { leaf, ca }))
    }
}

/// A collector that the test plays.
struct Peer {
    address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    refuse: Arc<AtomicBool>,
    attempts: Arc<AtomicU32>,
    server: JoinHandle<()>,
}

impl Peer {
    async fn start(ca: &Arc<Ca>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (chain, key) = ca.collector();
        let config = tls::agent_server_config(&ca.der, chain, key, &tls::system_clock()).unwrap();
        let acceptor = TlsAcceptor::from(config);
        let (accepted, incoming) = mpsc::channel(8);
        let (tell, sessions) = mpsc::channel(8);
        let refuse = Arc::new(AtomicBool::new(false));
        let attempts = Arc::new(AtomicU32::new(0));
        let service = Service {
            sessions: tell,
            ca: Arc::clone(ca),
            refuse: Arc::clone(&refuse),
            attempts: Arc::clone(&attempts),
        };
        let server = tokio::spawn(async move {
            let accepting = async {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = accepted.send(Ok::<_, std::io::Error>(stream)).await;
                    }
                }
            };
            let serving = tonic::transport::Server::builder()
                .add_service(UplinkServer::new(service))
                .serve_with_incoming(ReceiverStream::new(incoming));
            tokio::select! {
                () = accepting => {}
                served = serving => served.unwrap(),
            }
        });
        Self { address, sessions, refuse, attempts, server }
    }

    async fn session(&mut self) -> Session {
        timeout(SOON, self.sessions.recv()).await.expect("no session came").unwrap()
    }
}

/// A state folder as enrolment leaves it.
fn enrol(ca: &Ca, folder: &Path, address: SocketAddr, hours: (i64, i64)) -> StateFolder {
    let state = StateFolder::open(folder).unwrap();
    let request = state.key().unwrap().request().unwrap();
    let enrolled = Enrolled {
        site: "jiaxing".to_owned(),
        host: "oa-17".parse().unwrap(),
        zone: "inner".parse().unwrap(),
        collector: address.to_string(),
    };
    state.keep_enrolment(&ca.host(&request, hours), &ca.der, &enrolled).unwrap();
    state
}

/// An uplink with its spool, as the agent has them.
struct Host {
    _folder: tempfile::TempDir,
    state: StateFolder,
    spool: SharedSpool,
    news: Arc<Notify>,
    orders: Mutex<mpsc::Receiver<Order>>,
    own: Arc<Own>,
    stop: watch::Sender<bool>,
    uplink: JoinHandle<()>,
}

impl Host {
    /// Enrolled with `ca` for `hours` from now, dialling `address`.
    fn start(ca: &Ca, address: SocketAddr, hours: (i64, i64), bounds: SpoolBounds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = enrol(ca, folder.path(), address, hours);
        let mut rng = StdRng::seed_from_u64(7);
        let spool = Spool::open(&state.spool(), bounds, "boot", &mut rng, Instant::now()).unwrap();
        let spool = SharedSpool::new(spool);
        let news = Arc::new(Notify::new());
        let (send_orders, orders) = mpsc::channel(16);
        let own = Arc::new(Own::default());
        let (_, address) = watch::channel(None);
        let uplink = Uplink {
            folder: state.clone(),
            address,
            spool: spool.clone(),
            news: Arc::clone(&news),
            orders: send_orders,
            own: Arc::clone(&own),
            clock: Arc::new(SystemClock),
            machine: [3; 32],
        };
        let (stop, stopping) = watch::channel(false);
        let uplink = tokio::spawn(uplink.run(stopping));
        let orders = Mutex::new(orders);
        Self { _folder: folder, state, spool, news, orders, own, stop, uplink }
    }

    /// Keeps `count` reports and gives the place of the last.
    async fn keep(&self, count: u32) -> Place {
        let mut last = None;
        for _ in 0..count {
            let make = |place| {
                last = Some(place);
                Some(v1::Report { place: Some(place_to_wire(place)), ..v1::Report::default() })
            };
            self.spool.keep(make).await.unwrap();
        }
        self.news.notify_one();
        last.unwrap()
    }

    async fn order(&self) -> Order {
        let mut orders = self.orders.lock().await;
        timeout(SOON, orders.recv()).await.expect("no order came").unwrap()
    }

    /// Waits until the spool says that nothing waits.
    async fn emptied(&self) {
        for _ in 0..2000 {
            self.spool.tell(&self.own).await;
            if self.own.spool().0 == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} still wait", self.own.spool());
    }
}

const DAY: (i64, i64) = (-1, 23);

fn bounds(size: u64) -> SpoolBounds {
    SpoolBounds { size: Octets(size), ..SpoolBounds::default() }
}

fn roomy() -> SpoolBounds {
    bounds(64 << 20)
}

fn place_of(report: &v1::Report) -> Place {
    place_from_wire(report.place.as_ref().unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_acknowledged_leaves_the_spool() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let first = host.keep(3).await;
    let mut session = peer.session().await;
    let hello = session.welcome(None).await;
    assert_eq!(hello.protocol, PROTOCOL);
    assert_eq!(hello.machine, [3; 32]);
    assert_eq!(hello.oldest, Some(place_to_wire(Place { seq: 1, ..first })));
    assert_eq!(host.order().await, Order::SendEverything, "a new session begins with everything");
    for seq in 1..=3 {
        assert_eq!(place_of(&session.report().await).seq, seq);
    }
    session.acknowledge(first).await;
    host.emptied().await;
    // And live, without a new connection.
    let next = host.keep(1).await;
    assert_eq!(place_of(&session.report().await), next);
}

#[tokio::test]
async fn a_cut_connection_goes_on_where_the_collector_is() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(10).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    for _ in 1..=6 {
        session.report().await;
    }
    session.acknowledge(Place { seq: 2, ..last }).await;
    drop(session);
    // Four were written here, but the acknowledgement was lost with the connection.
    let mut session = peer.session().await;
    session.welcome(Some(Place { seq: 4, ..last })).await;
    for seq in 5..=10 {
        assert_eq!(place_of(&session.report().await).seq, seq);
    }
    session.acknowledge(last).await;
    host.emptied().await;
}

#[tokio::test]
async fn no_more_is_on_its_way_than_the_window_holds() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(100).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    let window = u64::try_from(bailey_agent::spool::MAX_HANDED).unwrap();
    for seq in 1..=window {
        assert_eq!(place_of(&session.report().await).seq, seq);
    }
    let more = timeout(Duration::from_millis(300), session.from.message()).await;
    assert!(more.is_err(), "{more:?}");
    let mut seq = window;
    while seq < 100 {
        session.acknowledge(Place { seq, ..last }).await;
        let next = place_of(&session.report().await).seq;
        assert_eq!(next, seq + 1);
        seq = next;
    }
}

#[tokio::test]
async fn a_loss_is_told_in_its_place() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, bounds(16 << 10));
    host.keep(400).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    let from_agent::Message::Loss(loss) = session.next().await else { panic!("no loss") };
    assert_eq!((loss.from, loss.reason()), (1, v1::LossReason::SpoolFull));
    assert_eq!(place_of(&session.report().await).seq, loss.to + 1);
    let boot = BootId::try_from(loss.boot.as_ref()).unwrap();
    session.acknowledge(Place { boot, seq: loss.to }).await;
    assert_eq!(place_of(&session.report().await).seq, loss.to + 2);
}

#[tokio::test]
async fn the_collector_orders_everything_and_intervals() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let mut session = peer.session().await;
    session.welcome(None).await;
    assert_eq!(host.order().await, Order::SendEverything);
    session.answer(from_collector::Message::SendEverything(v1::SendEverything {})).await;
    assert_eq!(host.order().await, Order::SendEverything);
    let every = Duration::from_secs(5);
    let intervals = intervals_to_wire(&[(ProbeName::Host, every)]);
    session.answer(from_collector::Message::Intervals(intervals)).await;
    assert_eq!(host.order().await, Order::Intervals(vec![(ProbeName::Host, Some(every))]));
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_not_sent_ends_the_session() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(1).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    session.report().await;
    session.acknowledge(Place { seq: 7, boot: BootId::from_bytes([1; 16]) }).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    assert_eq!(place_of(&session.report().await), last, "nothing was forgotten");
}

#[tokio::test]
async fn a_collector_of_another_ca_hears_nothing() {
    let (ours, theirs) = (Arc::new(Ca::new()), Arc::new(Ca::new()));
    let mut peer = Peer::start(&theirs).await;
    let host = Host::start(&ours, peer.address, DAY, roomy());
    host.keep(1).await;
    assert!(timeout(Duration::from_secs(2), peer.sessions.recv()).await.is_err());
    assert_eq!(peer.attempts.load(Ordering::Relaxed), 0);
    host.spool.tell(&host.own).await;
    assert!(host.own.spool().0 > 0, "it still waits");
}

#[tokio::test]
async fn a_host_that_is_refused_does_not_knock_all_the_time() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    peer.refuse.store(true, Ordering::Relaxed);
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let attempts = peer.attempts.load(Ordering::Relaxed);
    assert!((1..=20).contains(&attempts), "{attempts} attempts in 3 s");
    // Once it is let in again, nothing is missing.
    peer.refuse.store(false, Ordering::Relaxed);
    let mut session = peer.session().await;
    session.welcome(None).await;
    assert_eq!(place_of(&session.report().await), last);
}

#[tokio::test]
async fn the_goodbye_is_signed_and_comes_after_everything_was_acknowledged() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, DAY, roomy());
    let last = host.keep(2).await;
    let mut session = peer.session().await;
    session.welcome(None).await;
    session.report().await;
    session.report().await;
    host.stop.send_replace(true);
    session.acknowledge(last).await;
    let from_agent::Message::Goodbye(goodbye) = session.next().await else { panic!("no goodbye") };
    assert_eq!((goodbye.boot.as_ref(), goodbye.last_seq), (&last.boot.as_bytes()[..], last.seq));
    let said = goodbye_bytes(last.boot, goodbye.last_seq, goodbye.at_millis);
    verify(&session.certificate, &said, &goodbye.signature).unwrap();
    let forged = goodbye_bytes(last.boot, goodbye.last_seq + 1, goodbye.at_millis);
    assert!(verify(&session.certificate, &forged, &goodbye.signature).is_err());
    drop(session);
    timeout(SOON, host.uplink).await.expect("the uplink ends").unwrap();
    peer.server.abort();
}

#[tokio::test]
async fn a_stop_without_a_collector_does_not_wait_for_one() {
    let ca = Arc::new(Ca::new());
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Host::start(&ca, nobody.local_addr().unwrap(), DAY, roomy());
    host.keep(1).await;
    let began = Instant::now();
    host.stop.send_replace(true);
    timeout(SOON, host.uplink).await.expect("the uplink ends").unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_certificate_past_its_half_is_renewed_and_used_at_once() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let host = Host::start(&ca, peer.address, (-20, 4), roomy());
    let old = host.state.credentials().unwrap().certificate;
    let mut session = peer.session().await;
    assert_eq!(session.certificate, old.as_ref());
    session.welcome(None).await;
    let mut session = peer.session().await;
    assert_ne!(session.certificate, old.as_ref());
    assert_eq!(session.certificate, host.state.credentials().unwrap().certificate.as_ref());
    session.welcome(None).await;
    let last = host.keep(1).await;
    assert_eq!(place_of(&session.report().await), last);
    assert!(host.own.problems().is_empty());
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up_within_half_a_minute() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    // Between the two, a wire that can be cut without either hearing of it.
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, behind) = (wire.local_addr().unwrap(), peer.address);
    let (cut, is_cut) = watch::channel(false);
    let relay = tokio::spawn(async move {
        loop {
            let (near, _) = wire.accept().await.unwrap();
            let far = TcpStream::connect(behind).await.unwrap();
            let mut is_cut = is_cut.clone();
            // A connection that was cut stays so; a new one gets through.
            let _ = is_cut.borrow_and_update();
            tokio::spawn(async move {
                let (mut near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = far.into_split();
                tokio::select! {
                    _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                    _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
                    _ = is_cut.changed() => std::future::pending::<()>().await,
                }
                let _ = near_write.shutdown().await;
            });
        }
    });
    let host = Host::start(&ca, address, DAY, roomy());
    let mut session = peer.session().await;
    session.welcome(None).await;
    host.order().await;
    cut.send_replace(true);
    let last = host.keep(1).await;
    let began = Instant::now();
    let next = timeout(Duration::from_secs(40), peer.sessions.recv()).await;
    let mut next = next.expect("it connects again").unwrap();
    assert!(began.elapsed() <= Duration::from_secs(30), "{:?}", began.elapsed());
    next.welcome(None).await;
    assert_eq!(place_of(&next.report().await), last);
    relay.abort();
    assert!(host.own.problems().is_empty());
}

/// What the agent says is wrong with itself, if the report tells.
fn problems(report: &v1::Report) -> Option<Vec<String>> {
    let decoded = report_from_wire(report.clone()).unwrap();
    decoded.report.changed.iter().find_map(|fact| match fact.reading.known() {
        Some(FactValue::Agent(agent)) => Some(agent.problems.clone()),
        _ => None,
    })
}

#[tokio::test]
async fn the_whole_agent_reports_everything_at_once_takes_up_its_settings_and_says_goodbye() {
    let ca = Arc::new(Ca::new());
    let mut peer = Peer::start(&ca).await;
    let folder = tempfile::tempdir().unwrap();
    enrol(&ca, folder.path(), peer.address, DAY);
    let file = folder.path().join("agent.yaml");
    let write = |text: &str| {
        let beside = folder.path().join("agent.yaml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &file).unwrap();
    };
    write("probes: {host: {interval: 1 s}}");
    let settings = Settings::read(&file, Some(folder.path())).unwrap();
    let agent = Agent::start(settings, Some(file.clone())).await.unwrap();
    let mut session = peer.session().await;
    session.welcome(None).await;
    let first = session.report().await;
    assert!(first.complete);
    assert_eq!(first.probes.len(), ProbeName::ALL.len());
    session.acknowledge(place_of(&first)).await;

    write("probes: {hots: {interval: 1 s}}");
    let mut told = Vec::new();
    while told.is_empty() {
        let report = session.report().await;
        told = problems(&report).unwrap_or_default();
        session.acknowledge(place_of(&report)).await;
    }
    assert!(told[0].contains("agent.yaml:1:") && told[0].contains("did you mean"), "{told:?}");
    write("probes: {host: {interval: 1 s, limit: 5 s}}");
    loop {
        let report = session.report().await;
        session.acknowledge(place_of(&report)).await;
        if problems(&report).is_some_and(|told| told.is_empty()) {
            break;
        }
    }

    let stopping = tokio::spawn(agent.shutdown());
    loop {
        match session.next().await {
            from_agent::Message::Report(report) => session.acknowledge(place_of(&report)).await,
            from_agent::Message::Goodbye(_) => break,
            other => panic!("{other:?}"),
        }
    }
    drop(session);
    timeout(SOON, stopping).await.expect("it stops").unwrap();
}

#[tokio::test]
async fn two_agents_never_share_a_state_folder() {
    let ca = Arc::new(Ca::new());
    let peer = Peer::start(&ca).await;
    let folder = tempfile::tempdir().unwrap();
    enrol(&ca, folder.path(), peer.address, DAY);
    let settings = Settings::in_folder(folder.path().to_owned());
    let first = Agent::start(settings.clone(), None).await.unwrap();
    let second = Agent::start(settings, None).await;
    assert!(second.unwrap_err().to_string().contains("another agent"));
    first.shutdown().await;
}
