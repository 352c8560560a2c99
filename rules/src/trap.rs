//! Traps and informs of devices (RFC 3416 4.2.6, 4.2.7): what one says ([`catalogue`]) and what
//! stays true of its sender after many of them ([`ledger`]), which [`checks`] turns into verdicts;
//! [`polled`] holds it against what polling says.
//!
//! A trap is a hint, not a fact: it may be lost, come twice, come late, or come from somebody else.
//! Whoever can send a datagram can forge one of `SNMPv1` or v2c, whose community anybody on the way
//! reads. So a trap opens findings of its own and never touches those of polling, and
//! [`Proof`] bounds what it may say.

pub mod catalogue;
pub mod checks;
pub mod ledger;
pub mod polled;

use serde::{Deserialize, Serialize};

use crate::fact::{MAX_TEXT, bounded};
use crate::snmp::oid::Oid;
use crate::snmp::value::{Value, VarBind};

/// The most values of one trap that are looked at; what a device sends beyond them is left out.
pub const MAX_VALUES: usize = 64;

/// How much is known of who sent a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Nothing but a source address and at most a community or a user's bare name: `SNMPv1`, v2c, and
    /// v3 without authentication. Anybody can forge it.
    None,
    /// A user of `SNMPv3` with his key, in time (RFC 3414): it is of a holder of that key.
    Key,
}

/// One trap or inform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// Which notification it is: `snmpTrapOID.0`; of an `SNMPv1` trap, what RFC 3584 3.1 makes of it.
    pub oid: Oid,
    /// What it says, at most [`MAX_VALUES`] values, without the two that every trap has.
    pub values: Vec<VarBind>,
    /// How much is known of who sent it.
    pub proof: Proof,
}

impl Trap {
    /// A trap of which at most [`MAX_VALUES`] values are kept.
    #[must_use]
    pub fn new(oid: Oid, mut values: Vec<VarBind>, proof: Proof) -> Self {
        values.truncate(MAX_VALUES);
        Self { oid, values, proof }
    }

    /// The first value at `name` or below it, with the numbers below: the row of a column.
    #[must_use]
    pub fn value(&self, name: &Oid) -> Option<(&[u32], &Value)> {
        self.values.iter().find_map(|bound| Some((bound.oid.below(name)?, &bound.value)))
    }
}

/// A value as people read it: numbers as they are, text bounded and cleaned, other octets in
/// hexadecimal digits. `None` where there is no value.
#[must_use]
pub fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Octets(octets) if is_text(octets) => value.text(),
        Value::Octets(octets) | Value::Opaque(octets) => Some(digits(octets)),
        Value::Oid(oid) => Some(bounded(&oid.to_string())),
        Value::Address(address) => Some(address.to_string()),
        Value::Integer(_)
        | Value::Counter32(_)
        | Value::Gauge(_)
        | Value::Ticks(_)
        | Value::Counter64(_) => value.integer().map(|number| number.to_string()),
        Value::Null | Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMib => None,
    }
}

/// Whether octets are meant to be read: UTF-8 without control characters but those that end a line,
/// and the zero octets with which some agents end a string.
fn is_text(octets: &[u8]) -> bool {
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    let readable = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    std::str::from_utf8(&octets[..end]).is_ok_and(|text| text.chars().all(readable))
}

/// Octets as MAC addresses are written, as many as fit [`MAX_TEXT`].
fn digits(octets: &[u8]) -> String {
    let fitting = octets.iter().take(MAX_TEXT / 3);
    fitting.map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snmp::oid::known;

    #[test]
    fn a_value_is_shown_as_people_read_it_and_never_longer_than_device_text_may_be() {
        for (value, text) in [
            (Value::Integer(-3), Some("-3")),
            (Value::Octets(b"GigabitEthernet0/7\0".to_vec()), Some("GigabitEthernet0/7")),
            (Value::Octets(vec![0, 0x1b, 0x21, 0xff, 0xee, 1]), Some("00:1b:21:ff:ee:01")),
            (Value::Octets("端口".into()), Some("端口")),
            (Value::Oid(known(&[1, 3, 6])), Some("1.3.6")),
            (Value::Address([10, 1, 0, 2].into()), Some("10.1.0.2")),
            (Value::Null, None),
            (Value::NoSuchInstance, None),
        ] {
            assert_eq!(shown(&value).as_deref(), text, "{value:?}");
        }
        for long in [vec![b'x'; 70_000], vec![1; 70_000]] {
            assert!(shown(&Value::Octets(long)).unwrap().len() <= MAX_TEXT);
        }
    }

    #[test]
    fn more_values_than_are_looked_at_are_left_out() {
        let value = VarBind::new(known(&[1, 3, 6]), Value::Integer(1));
        let trap = Trap::new(known(&[1, 3, 6]), vec![value; MAX_VALUES + 1], Proof::None);
        assert_eq!(trap.values.len(), MAX_VALUES);
    }
}
