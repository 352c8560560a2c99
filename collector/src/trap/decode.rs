//! From a datagram to a trap, or to the reason why it is none.

use std::path::Path;
use std::time::Instant;

use async_snmp::ber::Decoder;
use async_snmp::message::{CommunityMessage, CommunityPdu};
use async_snmp::{Community, DecodeConfig, Pdu, PduType, ResponsePdu, TrapV1Pdu};
use bailey_rules::fact::bounded;
use bailey_rules::snmp::oid::Oid;
use bailey_rules::snmp::value::VarBind;
use bailey_rules::trap::{Proof, Trap};
use bytes::Bytes;

use super::TrapsError;
use super::engine::Engine;
use super::usm::{MAX_MESSAGE, Opened, Usm};
use crate::counters::TrapResult;
use crate::poll::credentials::Credentials;
use crate::poll::snmp::udp::{ours, taken};

pub use super::usm::Sealed;

/// `sysUpTime.0` and `snmpTrapOID.0` (RFC 3418).
const UPTIME: &[u32] = &[1, 3, 6, 1, 2, 1, 1, 3, 0];
const TRAP_OID: &[u32] = &[1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0];

/// The version of the protocol that a trap came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `SNMPv1`.
    V1,
    /// `SNMPv2c`.
    V2c,
    /// `SNMPv3`.
    V3,
}

impl Version {
    /// The word in files and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2c => "v2c",
            Self::V3 => "v3",
        }
    }
}

/// A trap or inform that may be believed as far as its proof goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What it says.
    pub trap: Trap,
    /// The version of the protocol.
    pub version: Version,
    /// The user of `SNMPv3`; a community is a secret and is not kept.
    pub user: Option<String>,
    /// The engine id in whose name it was sealed and when, where a key proves it: a copy has the same.
    pub sealed: Option<(Bytes, Sealed)>,
    /// Its number (RFC 3416 3), by which an inform that comes again is known; `SNMPv1` has none.
    pub number: Option<i32>,
    /// `sysUpTime`, in hundredths of a second.
    pub uptime: u32,
    /// What an inform is answered with, once it is kept.
    pub answer: Option<Bytes>,
}

/// What became of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is a trap.
    Notification(Box<Notification>),
    /// It is none that is taken; perhaps the sender is told so.
    Dropped(TrapResult, Option<Bytes>),
}

/// Reads datagrams.
pub struct Receiver {
    communities: Vec<Community>,
    usm: Usm,
}

impl Receiver {
    /// A receiver that takes what these credentials allow, and nothing else. Its engine is that of the
    /// state folder, started once more.
    ///
    /// # Errors
    /// When the engine cannot be started, or a credential cannot be used.
    pub fn new(state: &Path, credentials: &[Credentials]) -> Result<Self, TrapsError> {
        let mut communities = Vec::new();
        let mut users = Vec::new();
        for each in credentials {
            match each {
                Credentials::Community { community, .. } => {
                    communities.push(Community::from(community.octets().to_vec()));
                }
                Credentials::User(user) => users.push(user.clone()),
            }
        }
        Ok(Self { communities, usm: Usm::new(Engine::start(state)?, &users)? })
    }

    /// What a datagram says, that came at `now`.
    pub fn take(&mut self, datagram: &[u8], now: Instant) -> Taken {
        let datagram = Bytes::copy_from_slice(datagram);
        let outcome = match version_of(&datagram) {
            Some(0 | 1) => self.with_community(datagram),
            Some(3) => self.with_user(&datagram, now),
            Some(_) | None => None,
        };
        outcome.unwrap_or(Taken::Dropped(TrapResult::Malformed, None))
    }

    /// `SNMPv1` and v2c. `None` when it is malformed.
    fn with_community(&self, datagram: Bytes) -> Option<Taken> {
        let message = CommunityMessage::decode(datagram, DecodeConfig::STRICT).ok()?.value;
        // Every community is compared, so that the time tells nothing of which one it was.
        let known = self.communities.iter().fold(false, |known, community| {
            known | community.matches(message.community().as_bytes())
        });
        if !known {
            return Some(Taken::Dropped(TrapResult::WrongCommunity, None));
        }
        let (version, community, pdu) = message.into_parts();
        match pdu {
            CommunityPdu::TrapV1(trap) => Some(Taken::Notification(Box::new(of_v1(&trap)?))),
            CommunityPdu::Standard(pdu) if version == async_snmp::Version::V2c => {
                let inform = match pdu.pdu_type() {
                    PduType::TrapV2 => false,
                    PduType::InformRequest => true,
                    _ => return Some(Taken::Dropped(TrapResult::NotATrap, None)),
                };
                let mut notification = of_v2(&pdu, Proof::None)?;
                if inform {
                    let varbinds = pdu.varbinds().to_vec();
                    let answer = ResponsePdu::success(version, pdu.request_id(), varbinds);
                    notification.answer = answer
                        .and_then(|answer| CommunityMessage::v2c(community, answer.into_raw()))
                        .and_then(|message| message.encode())
                        .ok()
                        .filter(|answer| answer.len() <= MAX_MESSAGE);
                }
                Some(Taken::Notification(Box::new(notification)))
            }
            CommunityPdu::Standard(_) => Some(Taken::Dropped(TrapResult::NotATrap, None)),
        }
    }

    /// SNMPv3. `None` when it is malformed.
    fn with_user(&mut self, datagram: &Bytes, now: Instant) -> Option<Taken> {
        let message = match self.usm.open(datagram, now)? {
            Opened::Message(message) => message,
            Opened::Refused(why, report) => return Some(Taken::Dropped(why, report)),
        };
        let inform = match message.pdu.pdu_type() {
            PduType::TrapV2 => false,
            // An inform in another engine's time proves nothing here (RFC 3413 3.4).
            PduType::InformRequest if message.to_us => true,
            _ => return Some(Taken::Dropped(TrapResult::NotATrap, None)),
        };
        let notification = of_v2(&message.pdu, message.proof)?;
        let answer = if inform { self.usm.answer(&message, now) } else { None };
        Some(Taken::Notification(Box::new(Notification {
            version: Version::V3,
            user: Some(bounded(&String::from_utf8_lossy(&message.user))),
            sealed: (message.proof == Proof::Key)
                .then(|| (Bytes::copy_from_slice(&message.engine), message.sealed)),
            answer,
            ..notification
        })))
    }
}

/// The number of the version that a message begins with, in all versions.
fn version_of(datagram: &Bytes) -> Option<i32> {
    let mut decoder = Decoder::new(datagram.clone()).with_decode_config(DecodeConfig::STRICT);
    decoder.read_sequence().ok()?.read_integer().ok()
}

/// What an `SNMPv1` trap is in the words of the later versions (RFC 3584 3.1).
fn of_v1(trap: &TrapV1Pdu) -> Option<Notification> {
    let oid = ours(&trap.v2_trap_oid().ok()?).ok()?;
    Some(Notification {
        trap: Trap::new(oid, values(trap.varbinds())?, Proof::None),
        version: Version::V1,
        user: None,
        sealed: None,
        number: None,
        uptime: trap.time_stamp(),
        answer: None,
    })
}

/// A trap or inform of v2c or v3. Its first two values are the time and its name (RFC 3416 4.2.6).
fn of_v2(pdu: &Pdu, proof: Proof) -> Option<Notification> {
    let [time, name, rest @ ..] = pdu.varbinds() else { return None };
    if time.oid.arcs() != UPTIME || name.oid.arcs() != TRAP_OID {
        return None;
    }
    let (async_snmp::Value::TimeTicks(uptime), async_snmp::Value::ObjectIdentifier(oid)) =
        (&time.value, &name.value)
    else {
        return None;
    };
    let (uptime, oid): (u32, Oid) = (*uptime, ours(oid).ok()?);
    Some(Notification {
        trap: Trap::new(oid, values(rest)?, proof),
        version: Version::V2c,
        user: None,
        sealed: None,
        number: Some(pdu.request_id()),
        uptime,
        answer: None,
    })
}

fn values(varbinds: &[async_snmp::VarBind]) -> Option<Vec<VarBind>> {
    let most = bailey_rules::trap::MAX_VALUES;
    varbinds.iter().take(most).map(|bound| taken(bound.clone()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What net-snmp's `snmptrap` and `snmpinform` sent, in hexadecimal digits.
    const CORPUS: [(&str, &str); 10] = [
        ("v1-link-down", include_str!("corpus/v1-link-down.hex")),
        ("v1-enterprise", include_str!("corpus/v1-enterprise.hex")),
        ("v2c-link-down", include_str!("corpus/v2c-link-down.hex")),
        ("v2c-every-type", include_str!("corpus/v2c-every-type.hex")),
        ("v2c-inform", include_str!("corpus/v2c-inform.hex")),
        ("v3-no-auth", include_str!("corpus/v3-no-auth.hex")),
        ("v3-md5", include_str!("corpus/v3-md5.hex")),
        ("v3-sha-512-aes-256", include_str!("corpus/v3-sha-512-aes-256.hex")),
        ("v3-sha-des", include_str!("corpus/v3-sha-des.hex")),
        ("v3-discovery", include_str!("corpus/v3-discovery.hex")),
    ];

    const AUTH: &str = "passphrase: a passphrase for authentication";
    const PRIV: &str = "passphrase: a passphrase for privacy";

    fn octets(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(pair).collect()
    }

    fn corpus() -> Vec<(&'static str, Vec<u8>)> {
        CORPUS.into_iter().map(|(name, text)| (name, octets(text))).collect()
    }

    fn receiver() -> Receiver {
        let folder = tempfile::tempdir().unwrap();
        let texts = [
            "community: let-me-in".to_owned(),
            "user: nobody".to_owned(),
            format!("user: md5\nauth: {{protocol: MD5, {AUTH}}}"),
            format!(
                "user: sha512\nauth: {{protocol: SHA-512, {AUTH}}}\npriv: {{protocol: AES-256, {PRIV}}}"
            ),
            format!("user: des\nauth: {{protocol: SHA, {AUTH}}}\npriv: {{protocol: DES, {PRIV}}}"),
        ];
        let read = |text: &String| Credentials::parse("f", text).unwrap();
        let credentials: Vec<Credentials> = texts.iter().map(read).collect();
        Receiver::new(folder.path(), &credentials).unwrap()
    }

    fn told(taken: &Taken) -> String {
        match taken {
            Taken::Dropped(why, answer) => {
                let answered = if answer.is_some() { ", and says so" } else { "" };
                format!("dropped as {}{answered}", why.as_str())
            }
            Taken::Notification(notification) => {
                let Notification { trap, version, user, number, uptime, answer, .. } =
                    &**notification;
                let values: Vec<String> = trap
                    .values
                    .iter()
                    .map(|bound| format!("{}={:?}", bound.oid, bound.value))
                    .collect();
                format!(
                    "{} {} of {user:?}, proof {:?}, number given: {}, uptime given: {}, answered: {}\n    {}",
                    version.as_str(),
                    trap.oid,
                    trap.proof,
                    number.is_some(),
                    *uptime > 0,
                    answer.is_some(),
                    values.join("\n    "),
                )
            }
        }
    }

    #[test]
    fn what_net_snmp_sends_is_read_in_every_version() {
        let mut receiver = receiver();
        let lines = corpus().into_iter().map(|(name, datagram)| {
            format!("{name}: {}", told(&receiver.take(&datagram, Instant::now())))
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
    }

    /// One change of a datagram: octets set, cut off, doubled or put in.
    #[derive(Debug, Clone)]
    enum Change {
        Set(prop::sample::Index, u8),
        Flip(prop::sample::Index, u8),
        Cut(prop::sample::Index),
        Double(prop::sample::Index, u8),
        Insert(prop::sample::Index, Vec<u8>),
    }

    impl Change {
        fn of(&self, datagram: &mut Vec<u8>) {
            if datagram.is_empty() {
                return;
            }
            let end = datagram.len();
            match self {
                Self::Set(at, to) => datagram[at.index(end)] = *to,
                Self::Flip(at, bit) => datagram[at.index(end)] ^= 1 << (bit % 8),
                Self::Cut(at) => datagram.truncate(at.index(end)),
                Self::Double(at, length) => {
                    let from = at.index(end);
                    let piece = datagram[from..end.min(from + usize::from(*length))].to_vec();
                    datagram.splice(from..from, piece);
                }
                Self::Insert(at, octets) => {
                    let from = at.index(end);
                    datagram.splice(from..from, octets.iter().copied());
                }
            }
        }
    }

    fn change() -> impl Strategy<Value = Change> {
        let at = any::<prop::sample::Index>;
        // Lengths and tags that say more than there is, and what BER has at its edges.
        let odd =
            prop::sample::select(vec![0, 1, 0x7f, 0x80, 0x81, 0x82, 0x84, 0x88, 0xff, 0x30, 0xa7]);
        prop_oneof![
            (at(), odd).prop_map(|(at, to)| Change::Set(at, to)),
            (at(), any::<u8>()).prop_map(|(at, to)| Change::Set(at, to)),
            (at(), any::<u8>()).prop_map(|(at, bit)| Change::Flip(at, bit)),
            at().prop_map(Change::Cut),
            (at(), 1..40_u8).prop_map(|(at, length)| Change::Double(at, length)),
            (at(), prop::collection::vec(any::<u8>(), 1..12))
                .prop_map(|(at, o)| Change::Insert(at, o)),
        ]
    }

    /// Runs `test` on many cases, more where `PROPTEST_CASES` asks for more.
    fn many() -> ProptestConfig {
        let asked = ProptestConfig::default().cases;
        ProptestConfig { cases: asked.max(20_000), ..ProptestConfig::default() }
    }

    #[test]
    fn no_change_of_a_datagram_panics_and_none_of_a_proven_one_is_believed() {
        let receiver = std::cell::RefCell::new(receiver());
        let now = Instant::now();
        let originals = corpus();
        let strategy = (0..originals.len(), prop::collection::vec(change(), 1..5));
        let mut runner = proptest::test_runner::TestRunner::new(many());
        runner
            .run(&strategy, |(which, changes)| {
                let original = &originals[which].1;
                let mut datagram = original.clone();
                for change in &changes {
                    change.of(&mut datagram);
                }
                if let Taken::Notification(taken) = receiver.borrow_mut().take(&datagram, now)
                    && taken.trap.proof == Proof::Key
                {
                    prop_assert_eq!(&datagram, original, "believed, and is another");
                }
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn no_octets_at_all_panic() {
        let receiver = std::cell::RefCell::new(receiver());
        let now = Instant::now();
        let anything = prop::collection::vec(any::<u8>(), 0..300);
        let mut runner = proptest::test_runner::TestRunner::new(many());
        runner
            .run(&anything, |mut datagram| {
                let taken = receiver.borrow_mut().take(&datagram, now);
                prop_assert!(matches!(taken, Taken::Dropped(..)));
                // As the inside of a message, where more of it is read.
                let mut message = vec![0x30, 0x82];
                let length = u16::try_from(datagram.len() + 3).unwrap_or(u16::MAX);
                message.extend(length.to_be_bytes());
                message.extend([2, 1, 3]);
                message.append(&mut datagram);
                receiver.borrow_mut().take(&message, now);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn a_receiver_without_credentials_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut receiver = Receiver::new(folder.path(), &[]).unwrap();
        for (name, datagram) in corpus() {
            let taken = receiver.take(&datagram, Instant::now());
            assert!(matches!(taken, Taken::Dropped(..)), "{name}");
        }
    }
}
