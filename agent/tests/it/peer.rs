//! A collector that speaks the real protocol over real TLS, and that the tests play.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bailey_agent::clock::SystemClock;
use bailey_agent::folder::{Enrolled, StateFolder};
use bailey_agent::listings::NewestListings;
use bailey_agent::own::Own;
use bailey_agent::settings::SpoolBounds;
use bailey_agent::spool::Spool;
use bailey_agent::uplink::{Order, SharedSpool, Uplink};
use bailey_rules::listing::{ListingDigest, ListingSource};
use bailey_rules::report::Place;
use bailey_rules::unit::Bytes as Octets;
use bailey_wire::PROTOCOL;
use bailey_wire::convert::{listings_held_to_wire, place_from_wire, place_to_wire};
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
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Nothing here takes so long, unless it hangs.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// An authority that signs what a test wants.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    /// A certificate for the key of a request, from `hours.0` to `hours.1` from now.
    pub(crate) fn host(&self, request: &[u8], hours: (i64, i64)) -> CertificateDer<'static> {
        let request = CertificateSigningRequestDer::from(request);
        let mut wanted = CertificateSigningRequestParams::from_der(&request).unwrap();
        let now = OffsetDateTime::now_utc();
        wanted.params.not_before = now + time::Duration::hours(hours.0);
        wanted.params.not_after = now + time::Duration::hours(hours.1);
        wanted.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        wanted.signed_by(&self.issuer).unwrap().der().clone()
    }

    pub(crate) fn collector(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![COLLECTOR_NAME.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![leaf, self.der.clone()], key)
    }
}

/// One session as the collector has it.
pub(crate) struct Session {
    pub(crate) from: Streaming<v1::FromAgent>,
    pub(crate) to: mpsc::Sender<Result<v1::FromCollector, Status>>,
    pub(crate) certificate: Vec<u8>,
}

impl Session {
    pub(crate) async fn next(&mut self) -> from_agent::Message {
        let message = timeout(SOON, self.from.message()).await.expect("no message came");
        message.unwrap().expect("the agent hung up").message.unwrap()
    }

    pub(crate) async fn answer(&self, message: from_collector::Message) {
        self.to.send(Ok(v1::FromCollector { message: Some(message) })).await.unwrap();
    }

    /// Hears the hello and welcomes the host, from whom `acknowledged` is already here.
    pub(crate) async fn welcome(&mut self, acknowledged: Option<Place>) -> v1::Hello {
        self.welcome_with(acknowledged, BTreeMap::new()).await
    }

    /// The same, from a collector that has these listings of the host.
    pub(crate) async fn welcome_with(
        &mut self,
        acknowledged: Option<Place>,
        held: BTreeMap<ListingSource, ListingDigest>,
    ) -> v1::Hello {
        let from_agent::Message::Hello(hello) = self.next().await else { panic!("no hello") };
        let acknowledged = acknowledged.map(place_to_wire);
        let collector_version = "test".to_owned();
        let listings = Some(listings_held_to_wire(held));
        let welcome = v1::Welcome { protocol: PROTOCOL, collector_version, acknowledged, listings };
        self.answer(from_collector::Message::Welcome(welcome)).await;
        hello
    }

    pub(crate) async fn report(&mut self) -> v1::Report {
        match self.next().await {
            from_agent::Message::Report(report) => report,
            other => panic!("{other:?} instead of a report"),
        }
    }

    pub(crate) async fn acknowledge(&self, place: Place) {
        let acknowledged = v1::Acknowledged { place: Some(place_to_wire(place)) };
        self.answer(from_collector::Message::Acknowledged(acknowledged)).await;
    }
}

pub(crate) struct Service {
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
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) sessions: mpsc::Receiver<Session>,
    pub(crate) refuse: Arc<AtomicBool>,
    pub(crate) attempts: Arc<AtomicU32>,
    pub(crate) server: JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start(ca: &Arc<Ca>) -> Self {
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

    pub(crate) async fn session(&mut self) -> Session {
        timeout(SOON, self.sessions.recv()).await.expect("no session came").unwrap()
    }
}

/// A state folder as enrolment leaves it.
pub(crate) fn enrol(ca: &Ca, folder: &Path, address: SocketAddr, hours: (i64, i64)) -> StateFolder {
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
pub(crate) struct Host {
    _folder: tempfile::TempDir,
    pub(crate) state: StateFolder,
    pub(crate) spool: SharedSpool,
    pub(crate) news: Arc<Notify>,
    pub(crate) orders: Mutex<mpsc::Receiver<Order>>,
    pub(crate) own: Arc<Own>,
    pub(crate) listings: Arc<NewestListings>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) uplink: JoinHandle<()>,
}

impl Host {
    /// Enrolled with `ca` for `hours` from now, dialling `address`.
    pub(crate) fn start(
        ca: &Ca,
        address: SocketAddr,
        hours: (i64, i64),
        bounds: SpoolBounds,
    ) -> Self {
        Self::beside(Path::new("/nonexistent/enforcer"), ca, address, hours, bounds)
    }

    /// The same, beside the enforcer that listens at `enforcer`.
    pub(crate) fn beside(
        enforcer: &Path,
        ca: &Ca,
        address: SocketAddr,
        hours: (i64, i64),
        bounds: SpoolBounds,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = enrol(ca, folder.path(), address, hours);
        let mut rng = StdRng::seed_from_u64(7);
        let spool = Spool::open(&state.spool(), bounds, "boot", &mut rng, Instant::now()).unwrap();
        let spool = SharedSpool::new(spool);
        let news = Arc::new(Notify::new());
        let (send_orders, orders) = mpsc::channel(16);
        let own = Arc::new(Own::default());
        let listings = Arc::new(NewestListings::default());
        let (_, address) = watch::channel(None);
        let uplink = Uplink {
            folder: state.clone(),
            address,
            spool: spool.clone(),
            news: Arc::clone(&news),
            orders: send_orders,
            own: Arc::clone(&own),
            listings: Arc::clone(&listings),
            clock: Arc::new(SystemClock),
            machine: [3; 32],
            enforcer: enforcer.to_owned(),
        };
        let (stop, stopping) = watch::channel(false);
        let uplink = tokio::spawn(uplink.run(stopping));
        let orders = Mutex::new(orders);
        Self { _folder: folder, state, spool, news, orders, own, listings, stop, uplink }
    }

    /// Keeps `count` reports and gives the place of the last.
    pub(crate) async fn keep(&self, count: u32) -> Place {
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

    pub(crate) async fn order(&self) -> Order {
        let mut orders = self.orders.lock().await;
        timeout(SOON, orders.recv()).await.expect("no order came").unwrap()
    }

    /// Waits until the spool says that nothing waits.
    pub(crate) async fn emptied(&self) {
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

pub(crate) const DAY: (i64, i64) = (-1, 23);

pub(crate) fn bounds(size: u64) -> SpoolBounds {
    SpoolBounds { size: Octets(size), ..SpoolBounds::default() }
}

pub(crate) fn roomy() -> SpoolBounds {
    bounds(64 << 20)
}

pub(crate) fn place_of(report: &v1::Report) -> Place {
    place_from_wire(report.place.as_ref().unwrap()).unwrap()
}
