//! What is wrong with a device that does not answer as it should.
//!
//! Agents say little: silence for a wrong community, a bare counter for a wrong key. The doctor
//! asks again with one thing changed until only one explanation is left. It never sends a secret in
//! a weaker form than the credentials say: a community is only asked in the other version of the
//! same plain text, and a passphrase for AES is never used with DES, whose 56 bits would give
//! the AES key away. Whether a device uses DES is learnt with a random key instead: a block cipher
//! refuses lengths that are no multiple of its block (RFC 3414 8.1.1.2), a stream cipher takes all.

pub mod fault;

use std::time::Duration;

use bailey_rules::text::Text;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use rand::Rng as _;

use crate::poll::credentials::{
    AuthProtocol, Credentials, Key, Level, PrivProtocol, Secret, User, Version,
};
use crate::poll::oid::{Oid, known};
use crate::poll::snmp::udp::Patience;
use crate::poll::snmp::{Dial, Engine, Refusal, Snmp as _, SnmpError, Status};
use crate::poll::value::{Value, VarBind};
use fault::Fault;

/// How long each question waits: six of them one after the other stay below [`LONGEST`].
pub const PATIENCE: Patience = Patience { timeout: Duration::from_millis(1200), retries: 1 };

/// How long an examination takes at most.
pub const LONGEST: Duration = Duration::from_secs(18);

/// The most steps that an examination tells of.
const MAX_STEPS: usize = 64;

/// Where a count of starts stays for ever, and no message is in time any more (RFC 3414 2.2.2).
const LAST_BOOTS: u32 = 2_147_483_647;

/// What the doctor found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What is wrong; nothing when the device is healthy.
    pub fault: Option<Fault>,
    /// Who the device says it is, where it said it.
    pub engine: Option<Engine>,
    /// What it tells of itself, where the credentials show it.
    pub about: About,
    /// What was asked and what came, in order.
    pub steps: Vec<Text>,
}

/// What a device tells of itself (RFC 3418 2, `system`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// `sysDescr`.
    pub description: Option<String>,
    /// `sysName`.
    pub name: Option<String>,
    /// `sysObjectID`: which product it is.
    pub product: Option<Oid>,
    /// `sysUpTime`: since when the agent runs; it wraps after 497 days.
    pub up: Option<Duration>,
}

/// Examines a device. The dialler must hear refusals.
pub async fn examine<D: Dial>(dial: &D, credentials: &Credentials) -> Diagnosis {
    let mut examination = Examination {
        dial,
        diagnosis: Diagnosis {
            fault: None,
            engine: None,
            about: About::default(),
            steps: Vec::new(),
        },
    };
    let outcome = tokio::time::timeout(LONGEST, examination.of(credentials)).await;
    let mut diagnosis = examination.diagnosis;
    diagnosis.fault = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(fault)) => Some(fault),
        Err(_) => Some(Fault::NoAnswer),
    };
    diagnosis
}

/// The `system` group (RFC 3418), and what it holds.
fn system() -> Oid {
    known(&[1, 3, 6, 1, 2, 1, 1])
}

/// `sysDescr.0`, `sysObjectID.0`, `sysUpTime.0`, `sysName.0`.
fn about_names() -> [Oid; 4] {
    [1, 2, 3, 5].map(|object| system().then(&[object, 0]))
}

/// What every device must show, and its name.
fn needed() -> [(Oid, &'static str); 2] {
    [
        (system(), "system (1.3.6.1.2.1.1)"),
        (known(&[1, 3, 6, 1, 2, 1, 2]), "interfaces (1.3.6.1.2.1.2)"),
    ]
}

/// An answer from an authenticated device, whatever it says: the keys are right.
const fn is_authentic(answer: &Result<Vec<VarBind>, SnmpError>) -> bool {
    matches!(answer, Ok(_) | Err(SnmpError::Status { .. }))
}

struct Examination<'a, D> {
    dial: &'a D,
    diagnosis: Diagnosis,
}

impl<D: Dial> Examination<'_, D> {
    async fn of(&mut self, credentials: &Credentials) -> Result<(), Fault> {
        match credentials {
            Credentials::Community { version, community } => {
                self.community(*version, community).await?;
            }
            Credentials::User(user) => self.user(user).await?,
        }
        self.view(credentials).await
    }

    fn step(&mut self, en: impl Into<String>, zh: impl Into<String>) {
        if self.diagnosis.steps.len() < MAX_STEPS {
            self.diagnosis.steps.push(Text::new(en, zh));
        }
    }

    /// Asks for `system` with these credentials, and notes what came.
    async fn ask(
        &mut self,
        how: &str,
        credentials: &Credentials,
    ) -> Result<Vec<VarBind>, SnmpError> {
        let answer = self.quietly(credentials).await;
        let came = match &answer {
            Ok(_) => Text::new("an answer", "有应答"),
            Err(error) => Text::new(error.to_string(), error.to_string()),
        };
        self.step(format!("{how}: {}", came.en), format!("{how}：{}", came.zh));
        answer
    }

    async fn quietly(&self, credentials: &Credentials) -> Result<Vec<VarBind>, SnmpError> {
        self.dial.dial(credentials).await?.get(&about_names()).await
    }

    async fn discover(&mut self) -> Result<Engine, SnmpError> {
        let found = self.dial.discover().await;
        match &found {
            Ok(engine) => {
                let id = engine.hexadecimal();
                let (boots, up) = (engine.boots, engine.up.as_secs());
                self.step(
                    format!("SNMPv3 discovery: engine {id}, started {boots} times, {up} s ago"),
                    format!("SNMPv3 发现：引擎 {id}，启动 {boots} 次，已运行 {up} 秒"),
                );
                self.diagnosis.engine = Some(engine.clone());
            }
            Err(error) => {
                self.step(format!("SNMPv3 discovery: {error}"), format!("SNMPv3 发现：{error}"));
            }
        }
        found
    }

    async fn community(&mut self, version: Version, community: &Secret) -> Result<(), Fault> {
        let with = |version| Credentials::Community { version, community: community.clone() };
        let answer = self.ask(&format!("GET system, {}", version.name()), &with(version)).await;
        match answer {
            // What SNMPv1 hides it calls missing; the view is looked at next.
            Ok(_) | Err(SnmpError::Status { status: Status::NoSuchName, .. }) => return Ok(()),
            Err(SnmpError::Silent { .. } | SnmpError::Status { status: Status::Denied, .. }) => {}
            Err(error) => return Err(plainly(error)),
        }
        // Somebody may be there who does not like the community, or the version.
        let found = self.discover().await;
        if let Err(SnmpError::PortClosed | SnmpError::Network { .. }) = &found {
            return found.map(|_| ()).map_err(plainly);
        }
        let other = match version {
            Version::V1 => Version::V2c,
            Version::V2c => Version::V1,
        };
        let by_other = self.ask(&format!("GET system, {}", other.name()), &with(other)).await;
        match by_other {
            // It answered to the community, and shows nothing by either version.
            Err(_) if !matches!(answer, Err(SnmpError::Silent { .. })) => {
                Err(Fault::View { missing: needed()[0].1 })
            }
            Err(SnmpError::Silent { .. }) => Err(match found {
                Ok(_) => Fault::Community,
                Err(error) => plainly(error),
            }),
            Ok(_) | Err(SnmpError::Status { .. }) => Err(Fault::Version { speaks: other.name() }),
            Err(error) => Err(plainly(error)),
        }
    }

    async fn user(&mut self, user: &User) -> Result<(), Fault> {
        let engine = self.discover().await.map_err(plainly)?;
        if user.engine_id.as_ref().is_some_and(|wanted| *wanted != engine.id) {
            return Err(Fault::EngineId { device: engine.hexadecimal() });
        }
        let how = format!("GET system, v3 {}", user.level.name());
        match self.ask(&how, &Credentials::User(user.clone())).await {
            Ok(_) => Ok(()),
            Err(SnmpError::Refused(Refusal::UnsupportedLevel)) => Err(self.level(user).await),
            Err(SnmpError::Refused(Refusal::WrongDigest)) => Err(self.auth(user).await),
            Err(SnmpError::Refused(Refusal::DecryptionError)) => Err(self.privacy(user).await),
            Err(SnmpError::Status { status: Status::Denied, .. }) => Err(self.access(user).await),
            Err(SnmpError::Silent { .. }) => Err(self.silence(user).await),
            Err(error) => Err(plainly(error)),
        }
    }

    /// The device has no key for the level: which has it?
    async fn level(&mut self, user: &User) -> Fault {
        let Level::AuthPriv(auth, _) = &user.level else {
            return Fault::LevelTooHigh { has: "noAuthNoPriv" };
        };
        let lower = with(user, Level::AuthNoPriv(auth.clone()));
        let answer = self.ask("GET system, v3 authNoPriv", &lower).await;
        match answer {
            Err(SnmpError::Refused(Refusal::UnsupportedLevel)) => {
                Fault::LevelTooHigh { has: "noAuthNoPriv" }
            }
            Ok(_) | Err(_) => Fault::LevelTooHigh { has: "authNoPriv" },
        }
    }

    /// The digest is wrong: by another protocol, is it right?
    async fn auth(&mut self, user: &User) -> Fault {
        let Some(auth) = user.level.auth() else { return Fault::AuthKey };
        let others = AuthProtocol::ALL.iter().copied().filter(|other| *other != auth.protocol);
        let tried = others.map(async |other| {
            let key = Key { protocol: other, passphrase: auth.passphrase.clone() };
            let answer = self.quietly(&with(user, Level::AuthNoPriv(key))).await;
            (other, is_authentic(&answer))
        });
        let fits = first_that_fits(tried).await;
        match fits {
            Some(device) => {
                self.step(
                    format!("GET system, v3 authNoPriv with {device}: an authentic answer"),
                    format!("GET system，v3 authNoPriv，{device}：应答认证通过"),
                );
                Fault::AuthProtocol { device }
            }
            None => {
                self.step(
                    "GET system, v3 authNoPriv with every other protocol: refused",
                    "GET system，v3 authNoPriv，其余各认证协议：均被拒绝",
                );
                Fault::AuthKey
            }
        }
    }

    /// Authenticated, and refused: for want of a higher level, or of a view?
    async fn access(&mut self, user: &User) -> Fault {
        let view = Fault::View { missing: needed()[0].1 };
        // A random key shows whether the user has one there, and tells nothing about it.
        let (asked, wants, higher) = match &user.level {
            Level::AuthPriv(..) => return view,
            Level::AuthNoPriv(auth) => (
                "authNoPriv",
                "authPriv",
                Level::AuthPriv(auth.clone(), random(PrivProtocol::Aes128)),
            ),
            Level::NoAuthNoPriv => {
                ("noAuthNoPriv", "authNoPriv", Level::AuthNoPriv(random(AuthProtocol::Sha256)))
            }
        };
        let how = format!("GET system, v3 {wants} with a random key");
        match self.ask(&how, &with(user, higher)).await {
            Err(SnmpError::Refused(Refusal::UnsupportedLevel)) => view,
            Ok(_) | Err(_) => Fault::LevelTooLow { asked, wants },
        }
    }

    /// Silence, although the device answers to discovery.
    async fn silence(&mut self, user: &User) -> Fault {
        let run_out = |engine: &Engine| engine.boots >= LAST_BOOTS;
        if user.level.auth().is_some() && self.diagnosis.engine.as_ref().is_some_and(run_out) {
            return Fault::EngineTime;
        }
        if let Level::AuthPriv(auth, _) = &user.level {
            let lower = with(user, Level::AuthNoPriv(auth.clone()));
            let answer = self.ask("GET system, v3 authNoPriv", &lower).await;
            if is_authentic(&answer) {
                return self.privacy(user).await;
            }
            if matches!(answer, Err(SnmpError::Refused(Refusal::WrongDigest))) {
                return self.auth(user).await;
            }
        }
        if !user.context.is_empty() {
            let plain = Credentials::User(User { context: String::new(), ..user.clone() });
            let answer = self.ask("GET system, v3 without the context", &plain).await;
            if is_authentic(&answer) {
                return Fault::Context;
            }
        }
        Fault::NoAnswer
    }

    /// Authentication is right, privacy is not.
    async fn privacy(&mut self, user: &User) -> Fault {
        let Level::AuthPriv(auth, privacy) = &user.level else {
            return Fault::PrivacyKey { perhaps_des: false };
        };
        let others = PrivProtocol::ALL.iter().copied().filter(|other| {
            *other != privacy.protocol
                && *other != PrivProtocol::Des
                && !is_same_key(*other, privacy.protocol, auth.protocol)
        });
        let tried = others.map(async |other| {
            let key = Key { protocol: other, passphrase: privacy.passphrase.clone() };
            let answer = self.quietly(&with(user, Level::AuthPriv(auth.clone(), key))).await;
            (other, is_authentic(&answer))
        });
        let fits = first_that_fits(tried).await;
        if let Some(device) = fits {
            self.step(
                format!("GET system, v3 authPriv with {device}: an answer"),
                format!("GET system，v3 authPriv，{device}：有应答"),
            );
            return Fault::PrivacyProtocol { device, proven: true };
        }
        self.step(
            "GET system, v3 authPriv with every other AES: no answer",
            "GET system，v3 authPriv，其余各种 AES：无应答",
        );
        if privacy.protocol == PrivProtocol::Des {
            return Fault::PrivacyKey { perhaps_des: false };
        }
        match self.cipher(user, auth).await {
            Cipher::Block => {
                self.step(
                    "random octets of every length: the device takes only whole blocks, as DES does",
                    "各种长度的随机数据：设备只接受整块数据，与 DES 相符",
                );
                Fault::PrivacyProtocol { device: PrivProtocol::Des, proven: false }
            }
            Cipher::Stream => {
                self.step(
                    "random octets of every length: the device takes any, as AES does",
                    "各种长度的随机数据：设备均接受，与 AES 相符",
                );
                Fault::PrivacyKey { perhaps_des: false }
            }
            Cipher::Unknown => Fault::PrivacyKey { perhaps_des: true },
        }
    }

    /// What kind of cipher the device has for the user, learnt with a random key.
    async fn cipher(&self, user: &User, auth: &Key<AuthProtocol>) -> Cipher {
        let credentials = with(user, Level::AuthPriv(auth.clone(), random(PrivProtocol::Aes128)));
        let Ok(session) = self.dial.dial(&credentials).await else { return Cipher::Unknown };
        let questions = lengths();
        let answers = join_all(questions.iter().map(|names| session.get(names))).await;
        let refused = |answer: &&Result<_, _>| {
            matches!(answer, Err(SnmpError::Refused(Refusal::DecryptionError)))
        };
        let silent = |answer: &&Result<_, _>| matches!(answer, Err(SnmpError::Silent { .. }));
        let refused = answers.iter().filter(refused).count();
        let silent = answers.iter().filter(silent).count();
        // One length of the eight is whole blocks. A lost datagram or two change nothing.
        if silent > 0 && refused * 2 > questions.len() {
            Cipher::Block
        } else if refused == 0 && silent == questions.len() {
            Cipher::Stream
        } else {
            Cipher::Unknown
        }
    }

    /// The credentials are right: do they show what is needed?
    async fn view(&mut self, credentials: &Credentials) -> Result<(), Fault> {
        let session = self.dial.dial(credentials).await.map_err(plainly)?;
        for (root, name) in needed() {
            let next = session.get_next(std::slice::from_ref(&root)).await;
            let shown = match next {
                Ok(next) => next.first().is_some_and(|varbind| {
                    varbind.oid.is_under(&root) && varbind.value != Value::EndOfMib
                }),
                Err(SnmpError::Status { status: Status::NoSuchName | Status::Denied, .. }) => false,
                Err(error) => return Err(plainly(error)),
            };
            if !shown {
                self.step(
                    format!("GETNEXT {root}: nothing below it"),
                    format!("GETNEXT {root}：其下没有内容"),
                );
                return Err(Fault::View { missing: name });
            }
            self.step(format!("GETNEXT {root}: an answer"), format!("GETNEXT {root}：有应答"));
        }
        for name in about_names() {
            // One by one: SNMPv1 fails a question for one missing value.
            if let Ok(answer) = session.get(std::slice::from_ref(&name)).await {
                self.diagnosis.about.learn(&answer);
            }
        }
        Ok(())
    }
}

impl About {
    fn learn(&mut self, answer: &[VarBind]) {
        let [description, product, up, name] = about_names();
        for varbind in answer {
            let value = &varbind.value;
            if varbind.oid == description {
                self.description = value.text();
            } else if varbind.oid == product {
                self.product = value.oid().cloned();
            } else if varbind.oid == up {
                let ticks = value.number();
                self.up = ticks.map(|ticks| Duration::from_millis(ticks.saturating_mul(10)));
            } else if varbind.oid == name {
                self.name = value.text();
            }
        }
    }
}

/// What a device does with ciphertext.
enum Cipher {
    /// It takes whole blocks only.
    Block,
    /// It takes any length.
    Stream,
    /// It cannot be told.
    Unknown,
}

/// Eight questions whose messages have eight different lengths modulo 8, the block of DES: none to
/// three names that take 14 octets besides one, which takes 14 or 15.
fn lengths() -> Vec<Vec<Oid>> {
    let short = system().then(&[1, 0]);
    let long = system().then(&[9, 1, 0]);
    let with = |first: &Oid| {
        let first = first.clone();
        let short = short.clone();
        (0..4).map(move |more| {
            let mut names = vec![first.clone()];
            names.extend(std::iter::repeat_n(short.clone(), more));
            names
        })
    };
    with(&short).chain(with(&long)).collect()
}

/// The first of some protocols, tried at the same time, that fits.
async fn first_that_fits<P>(tried: impl Iterator<Item: Future<Output = (P, bool)>>) -> Option<P> {
    let mut tried: FuturesUnordered<_> = tried.collect();
    while let Some((protocol, fits)) = tried.next().await {
        if fits {
            return Some(protocol);
        }
    }
    None
}

/// Whether two protocols have the same key and cipher: where the digest is long enough, keys are
/// not lengthened, and the two ways of doing so do not differ.
fn is_same_key(one: PrivProtocol, other: PrivProtocol, auth: AuthProtocol) -> bool {
    let digest = match auth {
        AuthProtocol::Md5 => 16,
        AuthProtocol::Sha1 => 20,
        AuthProtocol::Sha224 => 28,
        AuthProtocol::Sha256 => 32,
        AuthProtocol::Sha384 => 48,
        AuthProtocol::Sha512 => 64,
    };
    let bits = |protocol| match protocol {
        PrivProtocol::Des => 64,
        PrivProtocol::Aes128 => 128,
        PrivProtocol::Aes192 | PrivProtocol::Aes192Reeder => 192,
        PrivProtocol::Aes256 | PrivProtocol::Aes256Reeder => 256,
    };
    one == other || (bits(one) == bits(other) && digest * 8 >= bits(one))
}

fn with(user: &User, level: Level) -> Credentials {
    Credentials::User(User { level, ..user.clone() })
}

/// A key that nobody has.
fn random<P>(protocol: P) -> Key<P> {
    let passphrase: String =
        rand::rng().sample_iter(rand::distr::Alphanumeric).take(32).map(char::from).collect();
    Key { protocol, passphrase: Secret::new(passphrase) }
}

/// The fault that an error means by itself.
fn plainly(error: SnmpError) -> Fault {
    match error {
        SnmpError::Silent { .. } => Fault::NoAnswer,
        SnmpError::PortClosed => Fault::PortUnreachable,
        SnmpError::Network { why } => Fault::NetworkUnreachable { why },
        SnmpError::Refused(Refusal::UnknownUser) => Fault::User,
        SnmpError::Refused(Refusal::WrongDigest) => Fault::AuthKey,
        SnmpError::Refused(Refusal::UnsupportedLevel) => {
            Fault::LevelTooHigh { has: "noAuthNoPriv" }
        }
        SnmpError::Refused(Refusal::NotInTimeWindow | Refusal::UnknownEngine) => Fault::EngineTime,
        SnmpError::Refused(Refusal::DecryptionError) => Fault::PrivacyKey { perhaps_des: false },
        SnmpError::Refused(Refusal::UnknownContext) => Fault::Context,
        SnmpError::Status { status: Status::Denied, .. } => Fault::View { missing: needed()[0].1 },
        SnmpError::Refused(Refusal::Other(_)) | SnmpError::Status { .. } => {
            Fault::Device { why: error.text() }
        }
        SnmpError::Malformed { why } => Fault::Malformed { why },
        SnmpError::Looping { .. }
        | SnmpError::Partial { .. }
        | SnmpError::TooMany { .. }
        | SnmpError::Unaskable { .. } => Fault::Device { why: error.text() },
    }
}
