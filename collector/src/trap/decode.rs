//! From a datagram to a trap, or to the reason why it is none.

use std::time::Instant;

use async_snmp::ber::Decoder;
use async_snmp::message::{CommunityMessage, CommunityPdu};
use async_snmp::{Community, DecodeConfig, Pdu, PduType, ResponsePdu, TrapV1Pdu};
use bailey_rules::fact::bounded;
use bailey_rules::snmp::oid::Oid;
use bailey_rules::snmp::value::VarBind;
use bailey_rules::trap::{Proof, Trap};
use bytes::Bytes;

use super::engine::Engine;
use super::usm::{MAX_MESSAGE, Opened, Usm};
use crate::counters::TrapResult;
use crate::poll::credentials::Credentials;
use crate::poll::snmp::SnmpError;
use crate::poll::snmp::udp::{ours, taken};

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
    /// Who sent it by his own word, where he proves it: the engine id.
    pub engine: Option<Bytes>,
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
    /// A receiver that takes what these credentials allow, and nothing else.
    pub(super) fn new(engine: Engine, credentials: &[Credentials]) -> Result<Self, SnmpError> {
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
        Ok(Self { communities, usm: Usm::new(engine, &users)? })
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
            engine: Some(Bytes::copy_from_slice(&message.engine)),
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
        engine: None,
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
        engine: None,
        number: Some(pdu.request_id()),
        uptime,
        answer: None,
    })
}

fn values(varbinds: &[async_snmp::VarBind]) -> Option<Vec<VarBind>> {
    let most = bailey_rules::trap::MAX_VALUES;
    varbinds.iter().take(most).map(|bound| taken(bound.clone()).ok()).collect()
}
