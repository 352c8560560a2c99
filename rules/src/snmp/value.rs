//! Values that devices answer with.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::fact;

use crate::snmp::oid::Oid;

/// A value of SMIv2 (RFC 2578 7.1), or the reason why there is none (RFC 3416 4.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// `INTEGER`.
    Integer(i32),
    /// `OCTET STRING`: text or any octets.
    Octets(#[serde(with = "digits")] Vec<u8>),
    /// `NULL`.
    Null,
    /// `OBJECT IDENTIFIER`.
    Oid(Oid),
    /// `IpAddress`.
    Address(Ipv4Addr),
    /// `Counter32`: it wraps at 2³².
    Counter32(u32),
    /// `Gauge32` or `Unsigned32`: it stops at its ends.
    Gauge(u32),
    /// `TimeTicks`: hundredths of a second.
    Ticks(u32),
    /// `Opaque`: octets that SMIv2 does not explain.
    Opaque(#[serde(with = "digits")] Vec<u8>),
    /// `Counter64`: it wraps at 2⁶⁴.
    Counter64(u64),
    /// The agent knows no such object, or does not show it.
    NoSuchObject,
    /// The agent knows the object, but not this instance.
    NoSuchInstance,
    /// Nothing follows in the agent's order.
    EndOfMib,
}

impl Value {
    /// Whether there is a value at all.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        !matches!(self, Self::Null | Self::NoSuchObject | Self::NoSuchInstance | Self::EndOfMib)
    }

    /// A number that cannot be below zero: a gauge, a counter, ticks, or an `INTEGER` from 0 on.
    /// Agents disagree about which of these they send.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        match *self {
            Self::Integer(value) => u64::try_from(value).ok(),
            Self::Counter32(value) | Self::Gauge(value) | Self::Ticks(value) => Some(value.into()),
            Self::Counter64(value) => Some(value),
            Self::Octets(_)
            | Self::Null
            | Self::Oid(_)
            | Self::Address(_)
            | Self::Opaque(_)
            | Self::NoSuchObject
            | Self::NoSuchInstance
            | Self::EndOfMib => None,
        }
    }

    /// A number that can be below zero.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Self::Integer(value) => Some(value.into()),
            _ => self.number().and_then(|value| i64::try_from(value).ok()),
        }
    }

    /// The octets of a string.
    #[must_use]
    pub fn octets(&self) -> Option<&[u8]> {
        match self {
            Self::Octets(octets) => Some(octets),
            _ => None,
        }
    }

    /// A string as text that is safe to show: at most [`fact::MAX_TEXT`] octets, nothing that moves
    /// a cursor or turns the writing, without the zero octets with which some agents end it.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let octets = self.octets()?;
        let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        Some(fact::bounded(String::from_utf8_lossy(&octets[..end]).trim()))
    }

    /// An object identifier.
    #[must_use]
    pub const fn oid(&self) -> Option<&Oid> {
        match self {
            Self::Oid(oid) => Some(oid),
            _ => None,
        }
    }
}

/// Octets as two hexadecimal digits each, as files keep them.
mod digits {
    use std::fmt::Write as _;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(octets: &[u8], out: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(octets.len() * 2);
        for octet in octets {
            // Writing to a string does not fail.
            let _ = write!(text, "{octet:02x}");
        }
        out.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(input)?;
        let digits = |at: usize| text.get(at..at + 2).and_then(|d| u8::from_str_radix(d, 16).ok());
        let octets: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digits).collect();
        octets.ok_or_else(|| de::Error::custom("not hexadecimal digits, two for each octet"))
    }
}

/// A value and its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VarBind {
    /// The name.
    pub oid: Oid,
    /// The value.
    pub value: Value,
}

impl VarBind {
    /// `value` by the name of `oid`.
    #[must_use]
    pub const fn new(oid: Oid, value: Value) -> Self {
        Self { oid, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_as_agents_send_them_and_never_below_zero() {
        for (value, number) in [
            (Value::Integer(7), Some(7)),
            (Value::Integer(-1), None),
            (Value::Gauge(u32::MAX), Some(u64::from(u32::MAX))),
            (Value::Counter64(u64::MAX), Some(u64::MAX)),
            (Value::Octets(b"7".to_vec()), None),
            (Value::NoSuchInstance, None),
        ] {
            assert_eq!(value.number(), number, "{value:?}");
        }
        assert_eq!(Value::Integer(-5).integer(), Some(-5));
        assert_eq!(Value::Counter64(u64::MAX).integer(), None);
    }

    #[test]
    fn a_value_that_was_kept_is_the_same_again() {
        for value in [
            Value::Integer(-7),
            Value::Octets(b"core-1\0\xff".to_vec()),
            Value::Opaque(Vec::new()),
            Value::Oid(crate::snmp::oid::known(&[1, 3, 6])),
            Value::Address([10, 1, 0, 2].into()),
            Value::Counter64(u64::MAX),
            Value::NoSuchInstance,
        ] {
            let kept = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), value, "{kept}");
        }
        for wrong in ["{\"octets\":\"0\"}", "{\"octets\":\"zz\"}", "{\"octets\":\"端口\"}"] {
            assert!(serde_json::from_str::<Value>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_devices_text_is_bounded_and_cannot_speak_to_a_terminal() {
        let text = |octets: &[u8]| Value::Octets(octets.to_vec()).text();
        assert_eq!(text(b" core-1\0\0").as_deref(), Some("core-1"));
        assert_eq!(text(b"a\x1b[2Jb\xff").as_deref(), Some("a\u{fffd}[2Jb\u{fffd}"));
        assert!(text(&vec![b'x'; 70_000]).is_some_and(|text| text.len() == fact::MAX_TEXT));
        assert_eq!(Value::Integer(1).text(), None);
    }
}
