//! SNMPv3 messages with the user-based security model, as the receiver of notifications takes them
//! in (RFC 3414 3.2).
//!
//! Codec, hashes and ciphers are those of the crate `async-snmp`; what stands here is the order of
//! the steps, and who must prove what. The crate's own receiver was not taken: it reads its socket
//! itself, so that nobody can be kept to his share before his message costs a hash, and it says of
//! most of what it drops neither that nor why.

use std::collections::HashMap;
use std::time::Instant;

use async_snmp::ber::Decoder;
use async_snmp::message::{
    MsgFlags, MsgGlobalData, RawMsgData, RawV3Message, ScopedPdu, V3Message,
};
use async_snmp::v3::auth::{authenticate_message, verify_message};
use async_snmp::v3::{
    LocalizedKey, MAX_ENGINE_TIME, PrivKey, SaltCounter, TIME_WINDOW, UsmSecurityParams,
    in_authoritative_time_window, report_oids, validate_engine_id,
};
use async_snmp::{
    DecodeConfig, DesSaltState, MasterKeys, MessageSize, Oid, Pdu, PrivProtocol, ResponsePdu,
    SecurityLevel, Value, VarBind,
};
use bailey_rules::trap::Proof;
use bytes::Bytes;

use super::engine::Engine;
use crate::counters::TrapResult;
use crate::poll::credentials::User;
use crate::poll::snmp::SnmpError;
use crate::poll::snmp::udp::{des_salts, keys};

/// The most octets of an answer, and of a datagram that is taken: what UDP carries over IPv4.
pub(super) const MAX_MESSAGE: usize = 65_507;

/// The most senders whose time is remembered. Only who holds a key can add one; beyond this the one that
/// was heard of longest ago is forgotten.
const MAX_SENDERS: usize = 4_096;

/// The octets of padding that DES leaves behind a message.
const MAX_PADDING: usize = 7;

/// Users, this engine, and the time of every other one.
pub(super) struct Usm {
    engine: Engine,
    users: HashMap<Vec<u8>, Known>,
    senders: HashMap<Bytes, SenderTime>,
    salts: SaltCounter,
    des: DesSaltState,
    /// The counters of `usmStats`, as reports tell them (RFC 3414 5).
    stats: HashMap<Refused, u32>,
}

/// A user and his keys. The passphrases are stretched once, at the start.
struct Known {
    level: SecurityLevel,
    keys: Option<MasterKeys>,
}

/// Another engine's boots and time (RFC 3414 2.2.1, 2.3).
#[derive(Debug, Clone, Copy)]
struct SenderTime {
    boots: u32,
    /// The highest time that was received in these boots, and when that was.
    latest: u32,
    at: Instant,
}

/// Why a message is refused, and what the sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Refused {
    UnknownEngine,
    UnknownUser,
    UnsupportedLevel,
    WrongDigest,
    NotInTime,
    Decryption,
}

impl Refused {
    fn counter(self) -> Oid {
        match self {
            Self::UnknownEngine => report_oids::unknown_engine_ids(),
            Self::UnknownUser => report_oids::unknown_user_names(),
            Self::UnsupportedLevel => report_oids::unsupported_sec_levels(),
            Self::WrongDigest => report_oids::wrong_digests(),
            Self::NotInTime => report_oids::not_in_time_windows(),
            Self::Decryption => report_oids::decryption_errors(),
        }
    }

    const fn result(self) -> TrapResult {
        match self {
            Self::UnknownEngine => TrapResult::Discovery,
            Self::UnknownUser => TrapResult::UnknownUser,
            Self::UnsupportedLevel => TrapResult::SecurityLevel,
            Self::WrongDigest => TrapResult::WrongKey,
            Self::NotInTime => TrapResult::NotInTime,
            Self::Decryption => TrapResult::Decryption,
        }
    }
}

/// What became of a message.
pub(super) enum Opened {
    /// Every step was passed.
    Message(Box<Message>),
    /// It was refused; perhaps the sender is told why.
    Refused(TrapResult, Option<Bytes>),
}

/// When a message was sealed: no two messages that a key seals have the same, but copies of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sealed {
    boots: u32,
    time: u32,
    number: i32,
}

/// A message that passed every step.
pub(super) struct Message {
    /// What it says.
    pub(super) pdu: Pdu,
    /// The engine whose time and key it uses.
    pub(super) engine: Bytes,
    /// The user.
    pub(super) user: Bytes,
    /// How much that proves.
    pub(super) proof: Proof,
    /// Whether it was sent to this engine, as informs must be.
    pub(super) to_us: bool,
    /// When its sender sealed it.
    pub(super) sealed: Sealed,
    number: i32,
    level: SecurityLevel,
    keys: Option<(LocalizedKey, Option<PrivKey>)>,
    context_engine: Bytes,
    context: Bytes,
}

impl Usm {
    /// A receiver for these users. Stretching a passphrase takes the processor some milliseconds.
    pub(super) fn new(engine: Engine, users: &[User]) -> Result<Self, SnmpError> {
        let unaskable = |why: String| SnmpError::Unaskable { why };
        let mut known = HashMap::new();
        for user in users {
            let keys = keys(&user.level).map_err(|error| unaskable(error.to_string()))?;
            let level = match &keys {
                None => SecurityLevel::NoAuthNoPriv,
                Some(keys) if keys.priv_protocol().is_some() => SecurityLevel::AuthPriv,
                Some(_) => SecurityLevel::AuthNoPriv,
            };
            known.insert(user.name.clone().into_bytes(), Known { level, keys });
        }
        Ok(Self {
            engine,
            users: known,
            senders: HashMap::new(),
            salts: SaltCounter::new().map_err(|error| unaskable(error.to_string()))?,
            des: des_salts()?,
            stats: HashMap::new(),
        })
    }

    /// Takes a message in. `None` when it is no message of SNMPv3.
    pub(super) fn open(&mut self, datagram: &Bytes, now: Instant) -> Option<Opened> {
        let outer = RawV3Message::decode(datagram.clone(), DecodeConfig::STRICT).ok()?.value;
        let params =
            UsmSecurityParams::decode(outer.security_params().clone(), DecodeConfig::STRICT)
                .ok()?
                .value;
        let refuse = |usm: &mut Self, why: Refused, key: Option<&LocalizedKey>| {
            let report = usm.report(&outer, &params, why, key, now);
            Some(Opened::Refused(why.result(), report))
        };
        if validate_engine_id(params.engine_id()).is_err() {
            return refuse(self, Refused::UnknownEngine, None);
        }
        let Some(user) = self.users.get(params.username().as_ref()) else {
            return refuse(self, Refused::UnknownUser, None);
        };
        let level = outer.security_level();
        if level > user.level {
            return refuse(self, Refused::UnsupportedLevel, None);
        }
        // Whoever knows a user's name could else leave his key away, and be believed.
        if level < user.level {
            return Some(Opened::Refused(TrapResult::SecurityLevel, None));
        }
        let keys = match &user.keys {
            None => None,
            Some(keys) => Some(keys.localize(params.engine_id()).ok()?),
        };
        let to_us = params.engine_id().as_ref() == self.engine.id();
        if let Some((auth, _)) = &keys {
            let place = UsmSecurityParams::find_auth_params_offset(datagram);
            let authentic = place.is_some_and(|(offset, length)| {
                verify_message(auth, datagram, offset, length).unwrap_or(false)
            });
            if !authentic {
                return refuse(self, Refused::WrongDigest, None);
            }
            if !self.is_in_time(&params, to_us, now) {
                // Nobody but this engine may tell the time of this engine (RFC 3414 3.2 (7)).
                return if to_us {
                    refuse(self, Refused::NotInTime, Some(auth))
                } else {
                    Some(Opened::Refused(TrapResult::NotInTime, None))
                };
            }
        }
        let privacy = keys.as_ref().and_then(|(_, privacy)| privacy.as_ref());
        let (plain, padding) = match (outer.msg_data(), privacy) {
            (RawMsgData::Plaintext { data, .. }, _) => (data.clone(), 0),
            (RawMsgData::Encrypted(data), Some(key)) => {
                let (boots, time) = (params.engine_boots(), params.engine_time());
                let Ok(plain) = key.decrypt(data, boots, time, params.priv_params()) else {
                    return refuse(self, Refused::Decryption, None);
                };
                let padded = matches!(key.protocol(), PrivProtocol::Des | PrivProtocol::Des3);
                (plain, if padded { MAX_PADDING } else { 0 })
            }
            (RawMsgData::Encrypted(_), None) => {
                return refuse(self, Refused::UnsupportedLevel, None);
            }
        };
        let mut decoder = Decoder::new(plain).with_decode_config(DecodeConfig::STRICT);
        let scoped = ScopedPdu::decode(&mut decoder);
        let whole = decoder.remaining() <= padding;
        let ScopedPdu { context_engine_id, context_name, pdu } = match scoped {
            Ok(scoped) if whole => scoped,
            // The right digest over octets that mean nothing: the passphrases of privacy differ.
            Ok(_) | Err(_) if privacy.is_some() => {
                return refuse(self, Refused::Decryption, None);
            }
            Ok(_) | Err(_) => return None,
        };
        Some(Opened::Message(Box::new(Message {
            pdu,
            engine: params.engine_id().clone(),
            user: params.username().clone(),
            proof: if keys.is_some() { Proof::Key } else { Proof::None },
            to_us,
            sealed: Sealed {
                boots: params.engine_boots(),
                time: params.engine_time(),
                number: outer.msg_id(),
            },
            number: outer.msg_id(),
            level,
            keys,
            context_engine: context_engine_id,
            context: context_name,
        })))
    }

    /// Whether an authentic message is in time (RFC 3414 3.2 (7)).
    fn is_in_time(&mut self, params: &UsmSecurityParams, to_us: bool, now: Instant) -> bool {
        let (boots, time) = (params.engine_boots(), params.engine_time());
        if to_us {
            let own = (self.engine.boots(), self.engine.time(now));
            return in_authoritative_time_window(own.0, own.1, boots, time);
        }
        let told = SenderTime { boots, latest: time, at: now };
        let Some(known) = self.senders.get_mut(params.engine_id()) else {
            if self.senders.len() >= MAX_SENDERS {
                let oldest = self.senders.iter().min_by_key(|(_, sender)| sender.at);
                if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                    self.senders.remove(&oldest);
                }
            }
            // A copy, so that what is remembered does not keep the datagram.
            self.senders.insert(Bytes::copy_from_slice(params.engine_id()), told);
            return boots < MAX_ENGINE_TIME;
        };
        if boots > known.boots || (boots == known.boots && time > known.latest) {
            *known = told;
        }
        let passed = now.saturating_duration_since(known.at).as_secs();
        let estimated = known.latest.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        known.boots < MAX_ENGINE_TIME
            && boots == known.boots
            && time >= estimated.saturating_sub(TIME_WINDOW)
    }

    /// The report that tells a sender why his message was refused, if he wants one (RFC 3412 7.1
    /// (3)). With `key` it is authentic.
    fn report(
        &mut self,
        outer: &RawV3Message,
        params: &UsmSecurityParams,
        why: Refused,
        key: Option<&LocalizedKey>,
        now: Instant,
    ) -> Option<Bytes> {
        let count = self.stats.entry(why).or_default();
        *count = count.wrapping_add(1);
        if !outer.global_data().msg_flags().reportable {
            return None;
        }
        let told = VarBind::new(why.counter(), Value::Counter32(*count));
        let pdu = ResponsePdu::report(0, vec![told]).ok()?.into_raw();
        let level =
            if key.is_some() { SecurityLevel::AuthNoPriv } else { SecurityLevel::NoAuthNoPriv };
        let id = Bytes::copy_from_slice(self.engine.id());
        let scoped = ScopedPdu::new(id.clone(), Bytes::new(), pdu);
        let usm = UsmSecurityParams::new(
            id,
            self.engine.boots(),
            self.engine.time(now),
            params.username().clone(),
        )
        .ok()?;
        sealed(outer.msg_id(), level, usm, scoped, key, None)
    }

    /// The answer to an inform, at the inform's own level.
    pub(super) fn answer(&self, inform: &Message, now: Instant) -> Option<Bytes> {
        let varbinds = inform.pdu.varbinds().to_vec();
        let number = inform.pdu.request_id();
        let pdu = ResponsePdu::success(async_snmp::Version::V3, number, varbinds).ok()?.into_raw();
        let (boots, time) = (self.engine.boots(), self.engine.time(now));
        let id = Bytes::copy_from_slice(self.engine.id());
        let usm = UsmSecurityParams::new(id, boots, time, inform.user.clone()).ok()?;
        let scoped = ScopedPdu::new(inform.context_engine.clone(), inform.context.clone(), pdu);
        let (auth, privacy) = match &inform.keys {
            None => (None, None),
            Some((auth, privacy)) => (Some(auth), privacy.as_ref()),
        };
        let hidden = match privacy {
            None => None,
            Some(key) => {
                let plain = scoped.encode_to_bytes().ok()?;
                Some(match key.protocol() {
                    PrivProtocol::Des | PrivProtocol::Des3 => {
                        key.encrypt_des_family(&plain, &self.des).ok()?
                    }
                    _ => key.encrypt_aes(&plain, boots, time, &self.salts).ok()?,
                })
            }
        };
        sealed(inform.number, inform.level, usm, scoped, auth, hidden)
    }
}

/// A message, encrypted where `hidden` is given and signed where `key` is. `None` where it would
/// not fit a datagram.
fn sealed(
    number: i32,
    level: SecurityLevel,
    mut usm: UsmSecurityParams,
    scoped: ScopedPdu,
    key: Option<&LocalizedKey>,
    hidden: Option<(Bytes, Bytes)>,
) -> Option<Bytes> {
    let size = MessageSize::new(MAX_MESSAGE).ok()?;
    let head = MsgGlobalData::new(number, size, MsgFlags::new(level, false)).ok()?;
    if let Some(key) = key {
        usm = usm.with_auth_placeholder(key.mac_len()).ok()?;
    }
    let message = match hidden {
        None => V3Message::new(head, usm.encode().ok()?, scoped).ok()?,
        Some((octets, salt)) => {
            let usm = usm.with_priv_params(salt).ok()?.encode().ok()?;
            V3Message::new_with_opaque_encrypted_scoped_pdu(head, usm, octets).ok()?
        }
    };
    let mut octets = message.encode().ok()?.to_vec();
    if let Some(key) = key {
        let (offset, length) = UsmSecurityParams::find_auth_params_offset(&octets)?;
        authenticate_message(key, &mut octets, offset, length).ok()?;
    }
    (octets.len() <= MAX_MESSAGE).then(|| octets.into())
}
