//! Devices asked over UDP, with the crate `async-snmp`.
//!
//! Everything in which that crate is lenient by default is set to strict: a length that lies, a
//! number that does not fit, an answer from another address or to another question is no answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_snmp::message::V3Message;
use async_snmp::v3::{ReportStatus, UsmSecurityParams};
use async_snmp::{
    Auth, ClientBuilder, CommunityResponsePolicy, DecodeConfig, DesSaltState, EngineCache, Error,
    ErrorStatus, MasterKeys, PersistedDesSaltState, ResponseShapePolicy, Retry, UdpHandle,
    UdpTransport, UsmConfig,
};
use bytes::Bytes;
use rand::Rng as _;
use tokio::net::UdpSocket;

use crate::poll::credentials::{
    AuthProtocol, Credentials, Key, Level, PrivProtocol, User, Version,
};
use crate::poll::oid::Oid;
use crate::poll::snmp::{
    Dial, Engine, MAX_NAMES, MAX_REPETITIONS, Refusal, Snmp, SnmpError, Status, VarBinds,
};
use crate::poll::value::{Value, VarBind};

/// The port of agents (RFC 3417 3.1).
pub const PORT: u16 = 161;

/// The most octets of one datagram (RFC 768).
const MAX_DATAGRAM: usize = 65_535;

/// How long to wait for an answer, and how often to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long one question waits.
    pub timeout: Duration,
    /// How often it is asked again.
    pub retries: u32,
}

impl Default for Patience {
    /// Old switches need a second for their first SNMPv3 answer.
    fn default() -> Self {
        Self { timeout: Duration::from_millis(1500), retries: 1 }
    }
}

/// What a shared socket buffers of answers that wait to be read, in octets, as far as the system lets it.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// Sockets of each family that all devices share.
const SHARED: usize = 2;

/// A few sockets, over which thousands of devices are asked. Cheap to clone.
#[derive(Clone)]
pub struct Sockets {
    v4: Vec<UdpTransport>,
    /// None where this machine has no IPv6.
    v6: Vec<UdpTransport>,
    engines: Arc<EngineCache>,
}

impl Sockets {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When this machine has no IPv4 socket for them.
    pub async fn open() -> Result<Self, SnmpError> {
        let mut v4 = Vec::with_capacity(SHARED);
        for _ in 0..SHARED {
            v4.push(shared(Ipv4Addr::UNSPECIFIED.into()).await.map_err(|e| told(&e))?);
        }
        let mut v6 = Vec::with_capacity(SHARED);
        for _ in 0..SHARED {
            v6.extend(shared(Ipv6Addr::UNSPECIFIED.into()).await.ok());
        }
        Ok(Self { v4, v6, engines: Arc::new(EngineCache::new()) })
    }

    /// The socket for a device: always the same.
    fn of(&self, device: SocketAddr) -> Option<&UdpTransport> {
        let (sockets, octet) = match device.ip() {
            IpAddr::V4(ip) => (&self.v4, ip.octets()[3]),
            IpAddr::V6(ip) => (&self.v6, ip.octets()[15]),
        };
        sockets.get(usize::from(octet) % sockets.len().max(1))
    }
}

async fn shared(any: IpAddr) -> Result<UdpTransport, Box<Error>> {
    UdpTransport::builder()
        .bind(SocketAddr::new(any, 0).to_string())
        .recv_buffer_size(RECEIVE_BUFFER)
        .warn_on_source_mismatch(false)
        .build()
        .await
}

/// One device's address, and the socket over which it is asked. Sessions of one dialler share it.
pub struct Dialler {
    device: SocketAddr,
    transport: UdpTransport,
    engines: Arc<EngineCache>,
    patience: Patience,
    hears_refusals: bool,
}

impl Dialler {
    /// A dialler to the device at this address.
    ///
    /// # Errors
    /// When this machine has no socket for it.
    pub async fn new(device: SocketAddr, patience: Patience) -> Result<Self, SnmpError> {
        let transport =
            UdpTransport::bind(any_port(device).to_string()).await.map_err(|e| told(&e))?;
        Ok(Self {
            device,
            transport,
            engines: Arc::new(EngineCache::new()),
            patience,
            hears_refusals: false,
        })
    }

    /// A dialler to the device at this address, over shared sockets.
    ///
    /// # Errors
    /// When this machine has no socket of its family.
    pub fn over(
        sockets: &Sockets,
        device: SocketAddr,
        patience: Patience,
    ) -> Result<Self, SnmpError> {
        let transport = sockets
            .of(device)
            .cloned()
            .ok_or_else(|| SnmpError::Network { why: "this machine has no IPv6".to_owned() })?;
        let engines = Arc::clone(&sockets.engines);
        Ok(Self { device, transport, engines, patience, hears_refusals: false })
    }

    /// Believes refusals without proof. A device that refuses a key cannot prove that it is the one
    /// (RFC 3414 3.2), so that anybody on the way can forge a refusal: the doctor must hear them, a
    /// poller need not.
    #[must_use]
    pub fn hearing_refusals(self) -> Self {
        Self { hears_refusals: true, ..self }
    }

    /// The device's address.
    #[must_use]
    pub const fn device(&self) -> SocketAddr {
        self.device
    }
}

/// Any free port, in the family of the device's address.
const fn any_port(device: SocketAddr) -> SocketAddr {
    match device {
        SocketAddr::V4(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

impl Dial for Dialler {
    type Session = Session;

    async fn dial(&self, credentials: &Credentials) -> Result<Session, SnmpError> {
        let (auth, knows_bulk) = match credentials {
            Credentials::Community { version: Version::V1, community } => {
                (Auth::v1(community.octets().to_vec()), false)
            }
            Credentials::Community { version: Version::V2c, community } => {
                (Auth::v2c(community.octets().to_vec()), true)
            }
            Credentials::User(user) => (Auth::from(usm(user).await?), true),
        };
        let retry = Retry::fixed(self.patience.retries, Duration::ZERO)
            .map_err(|e| SnmpError::Unaskable { why: e.to_string() })?;
        let mut builder = ClientBuilder::new(auth)
            .request_timeout(self.patience.timeout)
            .retry(retry)
            .max_oids_per_request(MAX_NAMES)
            .engine_cache(Arc::clone(&self.engines))
            .decode_config(DecodeConfig::STRICT)
            .response_shape_policy(ResponseShapePolicy::Strict)
            .community_response_policy(CommunityResponsePolicy::Exact)
            // The switch by which the crate takes reports without a digest. Of those it follows the
            // one about time, for one message.
            .allow_unauthenticated_v3_time_correction(self.hears_refusals);
        if uses_des(credentials) {
            builder = builder.des_salt_state(des_salts()?);
        }
        let client = builder
            .target(self.device)
            .strict_source(true)
            .build_with(&self.transport)
            .await
            .map_err(|e| told(&e))?;
        Ok(Session { client, knows_bulk })
    }

    async fn discover(&self) -> Result<Engine, SnmpError> {
        // A connected socket, which hears of closed ports; the shared one does not.
        let socket = UdpSocket::bind(any_port(self.device)).await.map_err(|e| network(&e))?;
        socket.connect(self.device).await.map_err(|e| network(&e))?;
        let began = Instant::now();
        let mut datagram = vec![0; MAX_DATAGRAM];
        let mut malformed = None;
        for _ in 0..=self.patience.retries {
            let number = rand::rng().random_range(1..i32::MAX);
            let question = V3Message::discovery_request(number, discovery_size()?)
                .and_then(|message| message.encode())
                .map_err(|e| told(&e))?;
            let until = tokio::time::Instant::now() + self.patience.timeout;
            let sent = socket.send(&question).await;
            if let Err(error) = sent {
                return Err(network(&error));
            }
            while let Ok(received) =
                tokio::time::timeout_at(until, socket.recv(&mut datagram)).await
            {
                let length = received.map_err(|e| network(&e))?;
                match engine_told(&datagram[..length], number) {
                    Ok(engine) => return Ok(engine),
                    // A late answer, or somebody's rubbish: the true one may still come.
                    Err(why) => malformed = Some(why),
                }
            }
        }
        Err(malformed.unwrap_or(SnmpError::Silent {
            waited: began.elapsed(),
            tries: self.patience.retries + 1,
        }))
    }
}

/// What size of answer is offered in a discovery.
fn discovery_size() -> Result<async_snmp::MessageSize, SnmpError> {
    async_snmp::MessageSize::new(1472).map_err(|e| SnmpError::Unaskable { why: e.to_string() })
}

/// The engine that a datagram tells of, if it answers discovery `number`.
fn engine_told(datagram: &[u8], number: i32) -> Result<Engine, SnmpError> {
    let malformed = |why: String| SnmpError::Malformed { why };
    let message = V3Message::decode(Bytes::copy_from_slice(datagram), DecodeConfig::STRICT)
        .map_err(|e| malformed(e.to_string()))?
        .value;
    if message.msg_id() != number {
        return Err(malformed("it answers another question".to_owned()));
    }
    let usm = UsmSecurityParams::decode(message.security_params().clone(), DecodeConfig::STRICT)
        .map_err(|e| malformed(e.to_string()))?
        .value;
    async_snmp::v3::validate_engine_id(usm.engine_id()).map_err(|e| malformed(e.to_string()))?;
    Ok(Engine {
        id: usm.engine_id().to_vec(),
        boots: usm.engine_boots(),
        up: Duration::from_secs(usm.engine_time().into()),
    })
}

const fn uses_des(credentials: &Credentials) -> bool {
    match credentials {
        Credentials::Community { .. } => false,
        Credentials::User(user) => match &user.level {
            Level::NoAuthNoPriv | Level::AuthNoPriv(_) => false,
            Level::AuthPriv(_, privacy) => matches!(privacy.protocol, PrivProtocol::Des),
        },
    }
}

/// The salts of DES begin at a random place each time, so that none is used twice under one key
/// although nothing is kept on disk (RFC 3414 8.1.1.1).
pub(crate) fn des_salts() -> Result<DesSaltState, SnmpError> {
    let unaskable = |why: String| SnmpError::Unaskable { why };
    let begin = rand::rng().random_range(1..i32::MAX.unsigned_abs());
    let before = PersistedDesSaltState::new(begin).map_err(|e| unaskable(e.to_string()))?;
    DesSaltState::restart(before, |_| Ok::<(), std::io::Error>(()))
        .map_err(|e| unaskable(e.to_string()))
}

/// The keys of a user. A passphrase is stretched to a mebibyte and hashed (RFC 3414 A.2), which
/// takes the processor long enough to do it aside.
async fn usm(user: &User) -> Result<UsmConfig, SnmpError> {
    let user = user.clone();
    let unaskable = |why: String| SnmpError::Unaskable { why };
    let made = tokio::task::spawn_blocking(move || {
        let keys = keys(&user.level)?;
        let config = UsmConfig::new(user.name.into_bytes()).context_name(user.context.into_bytes());
        match keys {
            None => Ok(config),
            Some(keys) => config.with_master_keys(keys),
        }
    });
    made.await.map_err(|e| unaskable(e.to_string()))?.map_err(|e| unaskable(e.to_string()))
}

/// The keys of a level before they are bound to one engine; none where there is no authentication.
pub(crate) fn keys(level: &Level) -> async_snmp::CryptoResult<Option<MasterKeys>> {
    let auth = |key: &Key<AuthProtocol>| {
        MasterKeys::new(auth_protocol(key.protocol), key.passphrase.octets())
    };
    Ok(match level {
        Level::NoAuthNoPriv => None,
        Level::AuthNoPriv(key) => Some(auth(key)?),
        Level::AuthPriv(key, privacy) => {
            let protocol = priv_protocol(privacy.protocol);
            Some(auth(key)?.with_privacy(protocol, privacy.passphrase.octets())?)
        }
    })
}

const fn auth_protocol(protocol: AuthProtocol) -> async_snmp::AuthProtocol {
    match protocol {
        AuthProtocol::Md5 => async_snmp::AuthProtocol::Md5,
        AuthProtocol::Sha1 => async_snmp::AuthProtocol::Sha1,
        AuthProtocol::Sha224 => async_snmp::AuthProtocol::Sha224,
        AuthProtocol::Sha256 => async_snmp::AuthProtocol::Sha256,
        AuthProtocol::Sha384 => async_snmp::AuthProtocol::Sha384,
        AuthProtocol::Sha512 => async_snmp::AuthProtocol::Sha512,
    }
}

const fn priv_protocol(protocol: PrivProtocol) -> async_snmp::PrivProtocol {
    match protocol {
        PrivProtocol::Des => async_snmp::PrivProtocol::Des,
        PrivProtocol::Aes128 => async_snmp::PrivProtocol::Aes128,
        PrivProtocol::Aes192 => async_snmp::PrivProtocol::Aes192Blumenthal,
        PrivProtocol::Aes192Reeder => async_snmp::PrivProtocol::Aes192Reeder,
        PrivProtocol::Aes256 => async_snmp::PrivProtocol::Aes256Blumenthal,
        PrivProtocol::Aes256Reeder => async_snmp::PrivProtocol::Aes256Reeder,
    }
}

/// One device asked with certain credentials.
pub struct Session {
    client: async_snmp::Client<UdpHandle>,
    knows_bulk: bool,
}

impl Snmp for Session {
    fn knows_bulk(&self) -> bool {
        self.knows_bulk
    }

    async fn get(&self, names: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        let answer = self.client.get_many(&asked(names)?).await.map_err(|e| told(&e))?;
        answer.varbinds.into_iter().map(taken).collect()
    }

    async fn get_next(&self, names: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        let answer = self.client.get_next_many(&asked(names)?).await.map_err(|e| told(&e))?;
        answer.varbinds.into_iter().map(taken).collect()
    }

    async fn get_bulk(&self, names: &[Oid], repetitions: u16) -> Result<VarBinds, SnmpError> {
        let repetitions = repetitions.clamp(1, MAX_REPETITIONS);
        let answer = self
            .client
            .get_bulk(&asked(names)?, 0, repetitions.into())
            .await
            .map_err(|e| told(&e))?;
        let most = names.len() * usize::from(repetitions);
        if answer.len() > most {
            let why = format!("{} values where at most {most} were asked for", answer.len());
            return Err(SnmpError::Malformed { why });
        }
        let mut taken = VarBinds::with_room(answer.len());
        for varbind in answer {
            taken.push(varbind.oid.arcs(), value_taken(varbind.value)?)?;
        }
        Ok(taken)
    }

    async fn set(&self, name: &Oid, value: &Value) -> Result<(), SnmpError> {
        let answer = self.client.set(&theirs(name), given(value)?).await.map_err(|e| told(&e))?;
        match answer.single() {
            Some(_) => Ok(()),
            None => Err(SnmpError::Malformed { why: "it does not repeat what was set".to_owned() }),
        }
    }
}

fn asked(names: &[Oid]) -> Result<Vec<async_snmp::Oid>, SnmpError> {
    if names.is_empty() || names.len() > MAX_NAMES {
        let why = format!("1 to {MAX_NAMES} names fit a question, not {}", names.len());
        return Err(SnmpError::Unaskable { why });
    }
    Ok(names.iter().map(theirs).collect())
}

fn theirs(name: &Oid) -> async_snmp::Oid {
    async_snmp::Oid::from_slice(name.arcs())
}

pub(crate) fn ours(name: &async_snmp::Oid) -> Result<Oid, SnmpError> {
    Oid::new(name.arcs().to_vec()).map_err(|e| SnmpError::Malformed { why: e.to_string() })
}

pub(crate) fn taken(varbind: async_snmp::VarBind) -> Result<VarBind, SnmpError> {
    let value = value_taken(varbind.value)?;
    Ok(VarBind::new(ours(&varbind.oid)?, value))
}

fn value_taken(value: async_snmp::Value) -> Result<Value, SnmpError> {
    use async_snmp::Value as Theirs;
    Ok(match value {
        Theirs::Integer(value) => Value::Integer(value),
        Theirs::OctetString(octets) | Theirs::Nsap(octets) => Value::Octets(octets.to_vec()),
        Theirs::Null => Value::Null,
        Theirs::ObjectIdentifier(oid) => Value::Oid(ours(&oid)?),
        Theirs::IpAddress(octets) => Value::Address(Ipv4Addr::from(octets)),
        Theirs::Counter32(value) => Value::Counter32(value),
        Theirs::Gauge32(value) | Theirs::UInteger32(value) => Value::Gauge(value),
        Theirs::TimeTicks(value) => Value::Ticks(value),
        Theirs::Opaque(octets) => Value::Opaque(octets.to_vec()),
        Theirs::Counter64(value) => Value::Counter64(value),
        Theirs::NoSuchObject => Value::NoSuchObject,
        Theirs::NoSuchInstance => Value::NoSuchInstance,
        Theirs::EndOfMibView => Value::EndOfMib,
        // Their enum is open.
        other => {
            let why = format!("a value of an unknown kind: {:?}", other.kind());
            return Err(SnmpError::Malformed { why });
        }
    })
}

fn given(value: &Value) -> Result<async_snmp::Value, SnmpError> {
    use async_snmp::Value as Theirs;
    Ok(match value {
        Value::Integer(value) => Theirs::Integer(*value),
        Value::Octets(octets) => Theirs::OctetString(Bytes::copy_from_slice(octets)),
        Value::Oid(oid) => Theirs::ObjectIdentifier(theirs(oid)),
        Value::Address(address) => Theirs::IpAddress(address.octets()),
        Value::Gauge(value) => Theirs::Gauge32(*value),
        Value::Ticks(value) => Theirs::TimeTicks(*value),
        Value::Null
        | Value::Counter32(_)
        | Value::Counter64(_)
        | Value::Opaque(_)
        | Value::NoSuchObject
        | Value::NoSuchInstance
        | Value::EndOfMib => {
            let why = "nothing of this kind can be set".to_owned();
            return Err(SnmpError::Unaskable { why });
        }
    })
}

fn network(error: &std::io::Error) -> SnmpError {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => SnmpError::PortClosed,
        _ => SnmpError::Network { why: error.to_string() },
    }
}

/// Their error in our words.
fn told(error: &Error) -> SnmpError {
    match error.exchange_source() {
        Error::Timeout { elapsed, retries, .. } => {
            SnmpError::Silent { waited: *elapsed, tries: retries + 1 }
        }
        Error::Network { source, .. } => network(source),
        Error::Report { status, .. } => refused(status),
        Error::Snmp { status, oid, .. } => SnmpError::Status {
            status: status_told(*status),
            at: oid.as_deref().and_then(|oid| ours(oid).ok()),
        },
        Error::Config(why) | Error::InvalidMessage(why) | Error::InvalidOid(why) => {
            SnmpError::Unaskable { why: why.to_string() }
        }
        Error::ResponseShape { response, .. } => {
            let why = match response.anomalies.first() {
                Some(anomaly) => format!("{anomaly:?}"),
                None => "it does not have the shape of an answer".to_owned(),
            };
            SnmpError::Malformed { why: bailey_rules::fact::bounded(&why) }
        }
        Error::Auth { .. } => {
            SnmpError::Malformed { why: "its authentication or its time is wrong".to_owned() }
        }
        // Their enum is open; what is left says that an answer is none.
        other => SnmpError::Malformed { why: bailey_rules::fact::bounded(&other.to_string()) },
    }
}

fn refused(status: &ReportStatus) -> SnmpError {
    /// `snmpUnavailableContexts` and `snmpUnknownContexts` (RFC 3413 3.2).
    const CONTEXTS: [[u32; 10]; 2] =
        [[1, 3, 6, 1, 6, 3, 12, 1, 4, 0], [1, 3, 6, 1, 6, 3, 12, 1, 5, 0]];
    let refusal = match status {
        ReportStatus::UnsupportedSecurityLevel { .. } => Refusal::UnsupportedLevel,
        ReportStatus::NotInTimeWindow { .. } => Refusal::NotInTimeWindow,
        ReportStatus::UnknownUserName { .. } => Refusal::UnknownUser,
        ReportStatus::UnknownEngineId { .. } => Refusal::UnknownEngine,
        ReportStatus::WrongDigest { .. } => Refusal::WrongDigest,
        ReportStatus::DecryptionError { .. } => Refusal::DecryptionError,
        ReportStatus::Other { oid, .. } if CONTEXTS.iter().any(|is| oid.arcs() == is) => {
            Refusal::UnknownContext
        }
        ReportStatus::Other { oid, .. } => match ours(oid) {
            Ok(oid) => Refusal::Other(oid),
            Err(malformed) => return malformed,
        },
        // Their enum is open.
        other => return SnmpError::Malformed { why: other.to_string() },
    };
    SnmpError::Refused(refusal)
}

fn status_told(status: ErrorStatus) -> Status {
    match status {
        ErrorStatus::TooBig => Status::TooBig,
        ErrorStatus::NoSuchName => Status::NoSuchName,
        ErrorStatus::NoAccess | ErrorStatus::AuthorizationError => Status::Denied,
        other => Status::Other(other.as_i32()),
    }
}
