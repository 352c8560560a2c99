//! Who gets in: every certificate of the table goes through a real TLS handshake on loopback, and
//! the side that must refuse it refuses it and says why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bailey_rules::time::Timestamp;
use bailey_wire::identity::{AgentKey, Certificate, host_key_of, key_pin_of};
use bailey_wire::tls::{
    COLLECTOR_NAME, Clock, KeyPin, MAX_CHAIN, Refusal, agent_client_config, agent_server_config,
    enrol_client_config, provider, web_client_config, web_server_config, why_refused,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, HandshakeKind, ServerConfig, SignatureScheme};
use time::OffsetDateTime;
use time::ext::NumericalDuration as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// 2026-11-23T14:30:00+08:00.
const NOW: i64 = 1_795_415_400;

#[derive(Debug)]
struct StandingClock(i64);

impl TimeProvider for StandingClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

fn clock() -> Clock {
    Arc::new(StandingClock(NOW))
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap()
}

fn key_name(key: &KeyPair) -> String {
    format!("{:02x?}", &key.public_key_raw()[1..9])
}

/// What a certificate is for.
#[derive(Clone, Copy)]
enum Use {
    Client,
    Server,
}

/// A CA as a collector makes it at its first start.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

/// A certificate with its key and what is sent along.
#[derive(Clone)]
struct Held {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<AgentKey>,
}

impl Ca {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = now() - 30.days();
        params.not_after = now() + 3650.days();
        // Every collector's CA has a name of its own; `impostor` is the one that has not.
        let name = format!("Bailey CA {}", key_name(&key));
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), der }
    }

    fn pin(&self) -> KeyPin {
        key_pin_of(&self.der).unwrap()
    }

    /// Another CA under the same name.
    fn impostor(&self) -> Self {
        let name = self.name();
        Self::with(|params| params.distinguished_name.push(DnType::CommonName, name))
    }

    fn name(&self) -> String {
        let (_, parsed) = X509Certificate::from_der(&self.der).unwrap();
        let name = parsed.subject().iter_common_name().next().unwrap();
        name.as_str().unwrap().to_owned()
    }

    /// A certificate that holds now, for `what`, as `change` leaves it. Made from a request, as the
    /// collector makes it: only the key is taken.
    fn issue(&self, what: Use, change: impl FnOnce(&mut CertificateParams)) -> Held {
        let key = AgentKey::generate().unwrap();
        let request = CertificateSigningRequestDer::from(key.request().unwrap());
        let mut request = CertificateSigningRequestParams::from_der(&request).unwrap();
        request.params = leaf(what);
        change(&mut request.params);
        let certificate = request.signed_by(&self.issuer).unwrap();
        Held { chain: vec![certificate.der().clone()], key: Arc::new(key) }
    }

    fn agent(&self) -> Held {
        self.issue(Use::Client, |_| ())
    }

    fn collector(&self) -> Held {
        self.issue(Use::Server, |_| ()).with(&self.der)
    }
}

impl Held {
    fn with(mut self, certificate: &CertificateDer<'static>) -> Self {
        self.chain.push(certificate.clone());
        self
    }

    /// Its own certificate and this one, whatever was there.
    fn with_only(mut self, certificate: &CertificateDer<'static>) -> Self {
        self.chain.truncate(1);
        self.with(certificate)
    }

    fn tls_key(&self) -> PrivateKeyDer<'static> {
        self.key.for_tls()
    }
}

fn leaf(what: Use) -> CertificateParams {
    let (name, purpose) = match what {
        Use::Client => ("oa-17", ExtendedKeyUsagePurpose::ClientAuth),
        Use::Server => (COLLECTOR_NAME, ExtendedKeyUsagePurpose::ServerAuth),
    };
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = now() - 12.hours();
    params.not_after = now() + 12.hours();
    params
}

fn self_signed(what: Use) -> Held {
    let key = KeyPair::generate().unwrap();
    let der = leaf(what).self_signed(&key).unwrap().der().clone();
    let key = AgentKey::from_pkcs8_der(key.serialized_der()).unwrap();
    Held { chain: vec![der], key: Arc::new(key) }
}

fn server(ca: &Ca, held: &Held) -> Arc<ServerConfig> {
    agent_server_config(&ca.der, held.chain.clone(), held.tls_key(), &clock()).unwrap()
}

fn client(ca: &Ca, held: &Held) -> Arc<ClientConfig> {
    agent_client_config(&ca.der, held.chain.clone(), held.tls_key(), &clock()).unwrap()
}

/// Why a side refused, as it is counted and as it is logged.
#[derive(Debug)]
struct Said {
    why: Refusal,
    words: String,
}

impl From<std::io::Error> for Said {
    fn from(error: std::io::Error) -> Self {
        Self { why: Refusal::of(&error), words: why_refused(&error) }
    }
}

/// What came of a handshake on both sides.
#[derive(Debug)]
struct Met {
    /// The certificate that the server saw, or why it refused.
    server: Result<Option<CertificateDer<'static>>, Said>,
    /// What the client read, or why it refused or what it was told.
    client: Result<Vec<u8>, Said>,
    kind: Option<HandshakeKind>,
    tickets: u32,
}

/// One connection: a handshake, four octets there and four back.
async fn meet(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Met {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(socket).await.map_err(Said::from)?;
        let shown =
            stream.get_ref().1.peer_certificates().map(|chain| chain[0].clone().into_owned());
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await.map_err(Said::from)?;
        stream.write_all(&heard).await.map_err(Said::from)?;
        stream.shutdown().await.map_err(Said::from)?;
        Ok(shown)
    };
    let ask = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = COLLECTOR_NAME.try_into().unwrap();
        let mut stream = match TlsConnector::from(client).connect(name, socket).await {
            Ok(stream) => stream,
            Err(error) => return (Err(error.into()), None, 0),
        };
        let mut back = Vec::new();
        let talk = async {
            stream.write_all(b"ping").await?;
            stream.read_to_end(&mut back).await
        };
        let talked = talk.await.map_err(Said::from);
        let tls = stream.get_ref().1;
        (talked.map(|_| back), tls.handshake_kind(), tls.tls13_tickets_received())
    };
    let (server, (client, kind, tickets)) = tokio::join!(serve, ask);
    Met { server, client, kind, tickets }
}

async fn accepted(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> Met {
    let met = meet(server, client).await;
    assert!(matches!(&met.client, Ok(back) if back == b"ping"), "{met:?}");
    assert!(met.server.is_ok(), "{met:?}");
    met
}

/// The server refuses, says why, and the client's octets go nowhere.
async fn server_refuses(server: Arc<ServerConfig>, client: Arc<ClientConfig>, why: Refusal) {
    let met = meet(server, client).await;
    assert_eq!(met.server.as_ref().map_err(|said| said.why), Err(why), "{met:?}");
    assert!(met.client.is_err(), "{met:?}");
}

/// The client refuses, says why, and the server never gets a session.
async fn client_refuses(server: Arc<ServerConfig>, client: Arc<ClientConfig>, why: Refusal) {
    let met = meet(server, client).await;
    assert_eq!(met.client.as_ref().map_err(|said| said.why), Err(why), "{met:?}");
    assert!(met.server.is_err(), "{met:?}");
}

#[tokio::test]
async fn an_enrolled_host_gets_in_as_the_owner_of_its_key() {
    let ca = Ca::new();
    let agent = ca.agent();
    let met = accepted(server(&ca, &ca.collector()), client(&ca, &agent)).await;
    let shown = met.server.unwrap().expect("the host presented its certificate");
    assert_eq!(host_key_of(&shown).unwrap(), agent.key.host_key());
    assert!(agent.key.fits(&shown));
}

#[tokio::test]
async fn a_host_may_send_the_ca_along() {
    let ca = Ca::new();
    let agent = ca.agent().with(&ca.der);
    accepted(server(&ca, &ca.collector()), client(&ca, &agent)).await;
}

#[tokio::test]
async fn the_collector_refuses_every_client_certificate_that_is_not_good() {
    let ca = Ca::new();
    let config = server(&ca, &ca.collector());
    let expired = ca.issue(Use::Client, |leaf| leaf.not_after = now() - 1.seconds());
    let early = ca.issue(Use::Client, |leaf| leaf.not_before = now() + 1.minutes());
    let stranger = Ca::new().agent();
    // A sub-CA that an agent would have to be: the CA's path length forbids it.
    let mut parent = leaf(Use::Client);
    parent.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parent.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let parent_key = KeyPair::generate().unwrap();
    let parent_der = parent.signed_by(&parent_key, &ca.issuer).unwrap().der().clone();
    let child = Ca { issuer: Issuer::new(parent, parent_key), der: parent_der.clone() };
    let grandchild = child.agent().with(&parent_der);
    let mut from_agent = Ca::with(|params| params.is_ca = IsCa::ExplicitNoCa);
    from_agent.der = ca.agent().chain.remove(0);

    for (bad, why) in [
        (expired, Refusal::Expired),
        (early, Refusal::NotYetValid),
        (stranger, Refusal::OtherCa),
        (ca.impostor().agent(), Refusal::BadSignature),
        (self_signed(Use::Client), Refusal::OtherCa),
        (ca.collector(), Refusal::WrongUse),
        (grandchild, Refusal::OtherCa),
        (from_agent.agent().with(&from_agent.der), Refusal::OtherCa),
        (
            ca.issue(Use::Client, |leaf| {
                leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
            Refusal::Unfit,
        ),
    ] {
        server_refuses(Arc::clone(&config), client(&ca, &bad), why).await;
    }
}

#[tokio::test]
async fn a_chain_of_a_hundred_is_refused_before_it_is_verified() {
    let ca = Ca::new();
    let mut agent = ca.agent();
    agent.chain.resize(100, ca.der.clone());
    let config = server(&ca, &ca.collector());
    server_refuses(config, client(&ca, &agent), Refusal::TooLong).await;

    agent.chain.truncate(MAX_CHAIN);
    accepted(server(&ca, &ca.collector()), client(&ca, &agent)).await;
}

#[tokio::test]
async fn a_certificate_beyond_its_bound_is_refused() {
    let ca = Ca::new();
    let large = ca.issue(Use::Client, |leaf| {
        let names = (0..200).map(|n| format!("name-{n}.of.many.example").try_into().unwrap());
        leaf.subject_alt_names = names.map(rcgen::SanType::DnsName).collect();
    });
    server_refuses(server(&ca, &ca.collector()), client(&ca, &large), Refusal::TooLong).await;
}

/// A certificate without its key: what a thief has who could only listen.
#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let ca = Ca::new();
    let (victim, thief) = (ca.agent(), ca.agent());
    let mut config = (*client(&ca, &thief)).clone();
    let key = provider().key_provider.load_private_key(thief.tls_key()).unwrap();
    let stolen = CertifiedKey::new(victim.chain.clone(), key);
    config.client_auth_cert_resolver = Arc::new(Stolen(Arc::new(stolen)));
    server_refuses(server(&ca, &ca.collector()), Arc::new(config), Refusal::BadSignature).await;

    let pair = agent_client_config(&ca.der, victim.chain, thief.tls_key(), &clock());
    let error = pair.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot set up TLS with the host's certificate and key: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_refuses_every_collector_that_is_not_its_own() {
    let ca = Ca::new();
    let other = Ca::new();
    let expired = ca.issue(Use::Server, |leaf| leaf.not_after = now() - 1.seconds());
    let early = ca.issue(Use::Server, |leaf| leaf.not_before = now() + 1.minutes());
    let named = ca.issue(Use::Server, |leaf| {
        leaf.subject_alt_names = vec![rcgen::SanType::DnsName("oa-17".try_into().unwrap())];
    });
    // What a host that was taken over can present: its own good certificate.
    let agent_as_collector = ca.agent();
    let agent_with_the_name = ca.issue(Use::Client, |leaf| {
        let name = COLLECTOR_NAME.try_into().unwrap();
        leaf.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    });
    for (bad, why) in [
        (expired, Refusal::Expired),
        (early, Refusal::NotYetValid),
        (named, Refusal::WrongName),
        (other.collector(), Refusal::OtherCa),
        (ca.impostor().collector(), Refusal::BadSignature),
        (self_signed(Use::Server), Refusal::OtherCa),
        (agent_as_collector, Refusal::WrongUse),
        (agent_with_the_name, Refusal::WrongUse),
    ] {
        client_refuses(server(&ca, &bad), client(&ca, &ca.agent()), why).await;
        // At enrolment the same holds; there the CA comes with the chain.
        let bad = bad.with_only(&ca.der);
        client_refuses(server(&ca, &bad), enrol_client_config(ca.pin(), &clock()).unwrap(), why)
            .await;
    }
}

#[tokio::test]
async fn a_host_that_enrols_shows_no_certificate_and_knows_the_collector_by_the_pin() {
    let ca = Ca::new();
    let config = enrol_client_config(ca.pin(), &clock()).unwrap();
    let met = accepted(server(&ca, &ca.collector()), config).await;
    assert!(matches!(met.server, Ok(None)), "{met:?}");
}

#[tokio::test]
async fn a_host_that_enrols_refuses_a_collector_without_the_pinned_key() {
    let (ca, other) = (Ca::new(), Ca::new());
    let enrol = || enrol_client_config(ca.pin(), &clock()).unwrap();
    let why = Refusal::OtherKey;

    let met = meet(server(&other, &other.collector()), enrol()).await;
    let said = met.client.unwrap_err();
    assert_eq!(said.why, why);
    assert_eq!(
        said.words,
        format!(
            "invalid peer certificate: no CA certificate with the key {}; the token is of another \
             collector, or somebody stands between",
            ca.pin()
        )
    );
    // The collector's own CA is missing from the chain.
    let bare = ca.issue(Use::Server, |_| ());
    client_refuses(server(&ca, &bare), enrol(), why).await;
    // Somebody between shows the real CA certificate, which is no secret, above his own.
    let between = other.issue(Use::Server, |_| ()).with(&ca.der);
    client_refuses(server(&other, &between), enrol(), Refusal::OtherCa).await;
    // The pin of the collector's own key does not make that key a CA.
    let leaf = ca.collector();
    let pin = key_pin_of(&leaf.chain[0]).unwrap();
    let doubled = leaf.clone().with_only(&leaf.chain[0]);
    let config = enrol_client_config(pin, &clock()).unwrap();
    client_refuses(server(&ca, &doubled), config, Refusal::OtherCa).await;
}

#[tokio::test]
async fn a_host_that_enrols_looks_at_the_dates_of_the_ca_too() {
    let expired = Ca::with(|ca| ca.not_after = now() - 1.seconds());
    let early = Ca::with(|ca| ca.not_before = now() + 1.minutes());
    for (ca, why) in [(expired, Refusal::Expired), (early, Refusal::NotYetValid)] {
        let config = enrol_client_config(ca.pin(), &clock()).unwrap();
        client_refuses(server(&ca, &ca.collector()), config, why).await;
    }
}

#[tokio::test]
async fn nothing_is_ever_resumed_between_agents_and_collector() {
    let ca = Ca::new();
    let server = server(&ca, &ca.collector());
    let mut config = (*client(&ca, &ca.agent())).clone();
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    for _ in 0..3 {
        let met = accepted(Arc::clone(&server), Arc::clone(&config)).await;
        assert_eq!(met.tickets, 0);
        // With a second round where the groups did not fit at once.
        assert!(
            matches!(
                met.kind,
                Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
            ),
            "{met:?}"
        );
    }
}

/// A `ClientHello` of TLS 1.2 (RFC 5246 7.4.1.2) with one cipher suite, and no `supported_versions`.
fn hello_of_tls12() -> Vec<u8> {
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups: secp256r1
        0, 13, 0, 4, 0, 2, 4, 3, // signature_algorithms: ecdsa_secp256r1_sha256
    ];
    let mut body = vec![3, 3];
    body.extend([0x5a; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[tokio::test]
async fn a_client_that_only_speaks_tls_1_2_is_told_the_version_is_wrong() {
    let ca = Ca::new();
    let collector = ca.collector();
    let web = web_server_config(collector.chain.clone(), collector.tls_key()).unwrap();
    for config in [server(&ca, &collector), web] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (socket, _) = listener.accept().await.unwrap();
            let refused = TlsAcceptor::from(config).accept(socket).await.unwrap_err();
            assert_eq!(Refusal::of(&refused), Refusal::OldTls, "{refused}");
        };
        let ask = async {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(&hello_of_tls12()).await.unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await.unwrap();
            // A fatal alert, protocol_version (RFC 8446 section 6).
            assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
        };
        tokio::join!(serve, ask);
    }
}

#[tokio::test]
async fn the_page_is_verified_against_the_sites_own_ca() {
    let real_now = OffsetDateTime::now_utc();
    let ca = Ca::with(|ca| ca.not_before = real_now - 1.days());
    let page = ca.issue(Use::Server, |leaf| {
        leaf.not_before = real_now - 1.hours();
        leaf.not_after = real_now + 1.hours();
    });
    let server = web_server_config(page.chain.clone(), page.tls_key()).unwrap();
    accepted(Arc::clone(&server), web_client_config(&ca.der).unwrap()).await;
    client_refuses(server, web_client_config(&Ca::new().der).unwrap(), Refusal::OtherCa).await;
}

#[test]
fn a_certificate_tells_its_life_and_its_owner() {
    let ca = Ca::new();
    let agent = ca.agent();
    let certificate = Certificate::read(&agent.chain[0]).unwrap();
    assert_eq!(certificate.key, agent.key.host_key());
    assert_eq!(certificate.not_before, Timestamp::from_seconds(NOW - 12 * 3600));
    assert_eq!(certificate.not_after, Timestamp::from_seconds(NOW + 12 * 3600));
    assert_eq!(certificate.half_life(), Timestamp::from_seconds(NOW));
    assert!(!certificate.is_ca);
    assert!(!certificate.serial.is_empty());
    assert!(Certificate::read(&ca.der).unwrap().is_ca);
}
