//! What can be asked of a device by SNMP, and every way in which asking can fail.
//!
//! [`Snmp`] is all that the rest of Bailey knows of the protocol: profiles, tables and the doctor
//! are written against it. [`udp`] implements it for devices.

pub mod udp;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bailey_rules::text::Text;

use crate::poll::credentials::Credentials;
use crate::poll::oid::{self, Oid};
use crate::poll::value::{Value, VarBind};

/// The most names in one question. Old switches refuse more, and an answer must fit one datagram.
pub const MAX_NAMES: usize = 24;

/// The most repetitions asked for in one GETBULK.
pub const MAX_REPETITIONS: u16 = 64;

/// What can be asked of one device. An answer is whole and belongs to the question, or it is an
/// error: implementations never give a part, another device's answer, or one that lies about its
/// lengths.
pub trait Snmp: Send + Sync {
    /// Whether the device can be asked with GETBULK: not in SNMPv1.
    fn knows_bulk(&self) -> bool;

    /// The values of exactly these names, in their order; 1 to [`MAX_NAMES`] of them. In SNMPv1 one
    /// that is missing fails the question with [`Status::NoSuchName`].
    fn get(&self, names: &[Oid]) -> impl Future<Output = Result<Vec<VarBind>, SnmpError>> + Send;

    /// What follows each of these names in the device's order; each is after its name, or
    /// [`Value::EndOfMib`].
    fn get_next(
        &self,
        names: &[Oid],
    ) -> impl Future<Output = Result<Vec<VarBind>, SnmpError>> + Send;

    /// What follows each of these names, `repetitions` times (at most [`MAX_REPETITIONS`]): first
    /// the next of every name, then the one after of every name. Devices may stop anywhere after
    /// the first (RFC 3416 4.2.3).
    fn get_bulk(
        &self,
        names: &[Oid],
        repetitions: u16,
    ) -> impl Future<Output = Result<VarBinds, SnmpError>> + Send;

    /// Sets a value. It is set when this returns.
    fn set(&self, name: &Oid, value: &Value) -> impl Future<Output = Result<(), SnmpError>> + Send;
}

/// What came of a question that has hundreds of answers, in its order. All names lie in one piece: a
/// piece for each of them would take longer than reading them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VarBinds {
    arcs: Vec<u32>,
    /// Each value, and where its name ends among the numbers.
    values: Vec<(usize, Value)>,
}

impl VarBinds {
    /// Nothing yet, with room for so many.
    #[must_use]
    pub fn with_room(count: usize) -> Self {
        /// Numbers in the name of a value of `ifXTable`.
        const USUAL: usize = 12;
        Self { arcs: Vec::with_capacity(count * USUAL), values: Vec::with_capacity(count) }
    }

    /// Adds a value by its name.
    ///
    /// # Errors
    /// When the numbers are no name.
    pub fn push(&mut self, name: &[u32], value: Value) -> Result<(), SnmpError> {
        oid::check(name).map_err(|e| SnmpError::Malformed { why: e.to_string() })?;
        self.arcs.extend_from_slice(name);
        self.values.push((self.arcs.len(), value));
        Ok(())
    }

    /// Those of a list.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn of(list: Vec<VarBind>) -> Result<Self, SnmpError> {
        let mut all = Self::with_room(list.len());
        for VarBind { oid, value } in list {
            all.push(oid.arcs(), value)?;
        }
        Ok(all)
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Gives each to `take`: its place, its name and its value.
    ///
    /// # Errors
    /// The first that `take` gives.
    pub fn each<E>(
        self,
        mut take: impl FnMut(usize, &[u32], Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut begin = 0;
        for (nth, (end, value)) in self.values.into_iter().enumerate() {
            take(nth, &self.arcs[begin..end], value)?;
            begin = end;
        }
        Ok(())
    }
}

/// Gives a way to ask the same device with any credentials.
pub trait Dial: Sync {
    /// The way to ask.
    type Session: Snmp;

    /// A way to ask with these credentials. Nothing is sent yet.
    ///
    /// # Errors
    /// When the credentials cannot be used.
    fn dial(
        &self,
        credentials: &Credentials,
    ) -> impl Future<Output = Result<Self::Session, SnmpError>> + Send;

    /// Asks the device for its engine id (RFC 3414 4), which every agent of SNMPv3 tells everybody.
    /// Unlike [`Snmp`] it says of a closed port that it is closed.
    fn discover(&self) -> impl Future<Output = Result<Engine, SnmpError>> + Send;
}

/// Who a device says it is, before any proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// The engine id (RFC 3411 5).
    pub id: Vec<u8>,
    /// How often it has been started (RFC 3414 2.2.2).
    pub boots: u32,
    /// Since when it runs.
    pub up: Duration,
}

impl Engine {
    /// The engine id as files and devices write it.
    #[must_use]
    pub fn hexadecimal(&self) -> String {
        hexadecimal(&self.id)
    }
}

/// Octets as two digits each.
#[must_use]
pub fn hexadecimal(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Why there is no answer that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text().en)]
pub enum SnmpError {
    /// Nothing came.
    Silent {
        /// How long was waited in all.
        waited: Duration,
        /// How often was asked.
        tries: u32,
    },
    /// The machine is there, and says that nobody listens at the port.
    PortClosed,
    /// The network does not lead there.
    Network {
        /// What the system said.
        why: String,
    },
    /// The device's security model refused (RFC 3414 3.2).
    Refused(Refusal),
    /// The device answered with an error (RFC 3416 3).
    Status {
        /// The error.
        status: Status,
        /// The name it is about, where the device says it.
        at: Option<Oid>,
    },
    /// What came is no answer to the question, or no SNMP at all.
    Malformed {
        /// What is wrong with it.
        why: String,
    },
    /// The device names values out of order: a walk would never end.
    Looping {
        /// What was asked after.
        after: Oid,
        /// What came.
        with: Oid,
    },
    /// The table ended in an error; what had come of it is no table.
    Partial {
        /// The table.
        table: Oid,
        /// What ended it.
        why: Box<SnmpError>,
    },
    /// The device has more values than are taken.
    TooMany {
        /// The table.
        table: Oid,
        /// How many are taken.
        most: usize,
    },
    /// The question cannot be asked.
    Unaskable {
        /// Why.
        why: String,
    },
}

impl SnmpError {
    /// Why, in both languages. What the system or a device said stays as it was said, and so do the words
    /// of the protocol.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::Silent { waited, tries } => {
                let waited = waited.as_millis();
                Text::new(
                    format!("no answer within {waited} ms ({tries} tries)"),
                    format!("{waited} 毫秒内没有应答（共尝试 {tries} 次）"),
                )
            }
            Self::PortClosed => Text::new("nobody listens at the port", "该端口无人监听"),
            Self::Network { why } => {
                Text::new(format!("cannot be reached: {why}"), format!("网络不可达：{why}"))
            }
            Self::Refused(refusal) => {
                let why = refusal.text();
                Text::new(format!("refused: {}", why.en), format!("被拒绝：{}", why.zh))
            }
            Self::Status { status, at: None } => {
                Text::new(format!("the device answered {status}"), format!("设备应答 {status}"))
            }
            Self::Status { status, at: Some(at) } => Text::new(
                format!("the device answered {status} for {at}"),
                format!("设备对 {at} 应答 {status}"),
            ),
            Self::Malformed { why } => {
                Text::new(format!("the answer is malformed: {why}"), format!("应答格式有误：{why}"))
            }
            Self::Looping { after, with } => Text::new(
                format!("the device does not advance after {after}: it answers {with}"),
                format!("设备在 {after} 之后不再前进：应答 {with}"),
            ),
            Self::Partial { table, why } => {
                let why = why.text();
                Text::new(
                    format!("only a part of the table {table} came: {}", why.en),
                    format!("表 {table} 只收到一部分：{}", why.zh),
                )
            }
            Self::TooMany { table, most } => Text::new(
                format!("the table {table} has more than {most} values"),
                format!("表 {table} 的值超过 {most} 个"),
            ),
            Self::Unaskable { why } => {
                Text::new(format!("cannot be asked: {why}"), format!("无法查询：{why}"))
            }
        }
    }
}

/// Why a device's security model refused: the counter its Report names (RFC 3414 3.2, RFC 3412
/// 7.2, RFC 3413 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `usmStatsUnknownUserNames`.
    UnknownUser,
    /// `usmStatsWrongDigests`.
    WrongDigest,
    /// `usmStatsUnsupportedSecLevels`: the user has no key for this level.
    UnsupportedLevel,
    /// `usmStatsNotInTimeWindows`, after its time was taken over.
    NotInTimeWindow,
    /// `usmStatsDecryptionErrors`.
    DecryptionError,
    /// `usmStatsUnknownEngineIDs`, after its engine id was taken over.
    UnknownEngine,
    /// `snmpUnknownContexts` or `snmpUnavailableContexts`.
    UnknownContext,
    /// A counter of another kind.
    Other(Oid),
}

impl Refusal {
    /// Why, in both languages.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::UnknownUser => Text::new("unknown user", "用户未知"),
            Self::WrongDigest => Text::new("wrong digest", "认证摘要错误"),
            Self::UnsupportedLevel => Text::new("unsupported security level", "不支持该安全级别"),
            Self::NotInTimeWindow => Text::new("not in the time window", "不在时间窗口内"),
            Self::DecryptionError => Text::new("decryption error", "解密失败"),
            Self::UnknownEngine => Text::new("unknown engine id", "引擎标识未知"),
            Self::UnknownContext => Text::new("unknown context", "上下文未知"),
            Self::Other(counter) => {
                Text::new(format!("report {counter}"), format!("报告 {counter}"))
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text().en)
    }
}

/// An error that a device answers with (RFC 3416 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `tooBig`: the answer would not fit.
    TooBig,
    /// `noSuchName`: SNMPv1's word for what is missing or hidden, and for the end.
    NoSuchName,
    /// `authorizationError` or `noAccess`: these credentials may not.
    Denied,
    /// Another one, by its number.
    Other(i32),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooBig => f.write_str("tooBig"),
            Self::NoSuchName => f.write_str("noSuchName"),
            Self::Denied => f.write_str("authorizationError"),
            Self::Other(5) => f.write_str("genErr"),
            Self::Other(17) => f.write_str("notWritable"),
            Self::Other(number) => write!(f, "error {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_device_gave_no_answer_is_said_in_both_languages() {
        let table: Oid = "1.3.6.1.2.1.2.2".parse().unwrap();
        let silent = SnmpError::Silent { waited: Duration::from_millis(4500), tries: 3 };
        let partial = SnmpError::Partial { table: table.clone(), why: Box::new(silent.clone()) };
        let refused = SnmpError::Refused(Refusal::UnknownUser);
        let status = SnmpError::Status { status: Status::Denied, at: Some(table) };
        for (error, en, zh) in [
            (silent, "no answer within 4500 ms (3 tries)", "4500 毫秒内没有应答（共尝试 3 次）"),
            (
                partial,
                "only a part of the table 1.3.6.1.2.1.2.2 came: no answer within 4500 ms (3 tries)",
                "表 1.3.6.1.2.1.2.2 只收到一部分：4500 毫秒内没有应答（共尝试 3 次）",
            ),
            (refused, "refused: unknown user", "被拒绝：用户未知"),
            (
                status,
                "the device answered authorizationError for 1.3.6.1.2.1.2.2",
                "设备对 1.3.6.1.2.1.2.2 应答 authorizationError",
            ),
        ] {
            assert_eq!(error.text(), Text::new(en, zh));
            assert_eq!(error.to_string(), en, "logs are in English");
        }
    }
}
