//! Interfaces and what passes through them: `ifTable` and `ifXTable` (RFC 2863).

use std::time::Duration;

use serde::Serialize;

use super::system::ticks;
use super::{Mac, Profile, columns_of, mib_2, seconds, single};
use crate::poll::oid::Oid;
use crate::poll::table::{Cells, Rows};
use crate::poll::value::Value;

/// The profile.
pub struct Interfaces;

/// The state of an interface, as wanted or as it is (`ifAdminStatus`, `ifOperStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// It passes packets.
    Up,
    /// It does not.
    Down,
    /// It is in some mode of testing.
    Testing,
    /// It waits for something, such as an incoming call.
    Dormant,
    /// A part is missing.
    NotPresent,
    /// The interface below it is down.
    LowerLayerDown,
    /// The device does not say, or says what the RFC does not know.
    Unknown,
}

impl Link {
    fn of(number: Option<u64>) -> Self {
        match number {
            Some(1) => Self::Up,
            Some(2) => Self::Down,
            Some(3) => Self::Testing,
            Some(5) => Self::Dormant,
            Some(6) => Self::NotPresent,
            Some(7) => Self::LowerLayerDown,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// A counter with its width: the narrow one wraps within half a minute at 1 Gbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// It wraps at 2³².
    Narrow(u32),
    /// It wraps at 2⁶⁴.
    Wide(u64),
}

impl Counter {
    fn of(value: &Value) -> Option<Self> {
        match *value {
            Value::Counter32(value) | Value::Gauge(value) => Some(Self::Narrow(value)),
            Value::Counter64(value) => Some(Self::Wide(value)),
            _ => None,
        }
    }

    /// How much it grew. `None` when that cannot be known: its width changed, or it may have
    /// wrapped more than once at `most` per second within `elapsed`.
    #[must_use]
    pub fn grown_since(self, before: Self, elapsed: Duration, most: Option<u64>) -> Option<u64> {
        let (grown, width) = match (before, self) {
            (Self::Narrow(before), Self::Narrow(now)) => {
                (u64::from(now.wrapping_sub(before)), f64::from(u32::MAX))
            }
            (Self::Wide(before), Self::Wide(now)) => (now.wrapping_sub(before), u64::MAX as f64),
            (Self::Narrow(_), Self::Wide(_)) | (Self::Wide(_), Self::Narrow(_)) => return None,
        };
        let possible = most.map(|most| most as f64 * elapsed.as_secs_f64());
        match possible {
            Some(possible) if possible >= width => None,
            // More than the line can carry: it was set back, whatever the device says.
            Some(possible) if grown as f64 > possible * TOLERANCE + SLACK => None,
            // Without a speed, a narrow counter that went back may have wrapped once or many times.
            None if matches!((before, self), (Self::Narrow(b), Self::Narrow(n)) if n < b) => None,
            // No line carries 2⁶³ octets between two polls.
            None if grown > u64::MAX / 2 => None,
            Some(_) | None => Some(grown),
        }
    }
}

/// How much faster than its speed a line may seem, for polls are not timed exactly.
const TOLERANCE: f64 = 1.25;
/// Octets that may come at once besides, from buffers.
const SLACK: f64 = 16_777_216.0;

/// What passed through an interface since its discontinuity; what the device does not count is
/// absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Octets received.
    pub in_octets: Option<Counter>,
    /// Octets sent.
    pub out_octets: Option<Counter>,
    /// Packets received and thrown away although they were good.
    pub in_discards: Option<Counter>,
    /// Packets received with errors.
    pub in_errors: Option<Counter>,
    /// Packets thrown away instead of being sent.
    pub out_discards: Option<Counter>,
    /// Packets that could not be sent for errors.
    pub out_errors: Option<Counter>,
    /// `sysUpTime` when the counters last began anew.
    #[serde(serialize_with = "seconds")]
    pub discontinuity: Option<Duration>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// `ifIndex`.
    pub index: u32,
    /// `ifName`, or `ifDescr` of devices without `ifXTable`.
    pub name: String,
    /// `ifAlias`: what an administrator wrote.
    pub alias: String,
    /// `ifType` (IANA ifType-MIB): 6 is Ethernet.
    pub kind: Option<u64>,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// As it is wanted.
    pub wanted: Link,
    /// As it is.
    pub link: Link,
    /// Bits per second; absent when the device does not know.
    pub speed: Option<u64>,
    /// What passed.
    pub counters: Counters,
}

/// What passed through an interface between two polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// Octets received.
    pub in_octets: Option<u64>,
    /// Octets sent.
    pub out_octets: Option<u64>,
}

impl Interface {
    /// What passed since `before`, which was read `elapsed` ago when the agent ran since
    /// `up_before`. `None` when the counters began anew in between: a restart of the agent or a
    /// discontinuity of this interface (RFC 2863 3.1.5).
    #[must_use]
    pub fn since(
        &self,
        before: &Self,
        elapsed: Duration,
        up_before: Duration,
        up: Duration,
    ) -> Option<Growth> {
        let restarted = up < up_before;
        if restarted || self.counters.discontinuity != before.counters.discontinuity {
            return None;
        }
        let octets_per_second = self.speed.map(|bits| bits / 8);
        let grown = |before: Option<Counter>, now: Option<Counter>| {
            now?.grown_since(before?, elapsed, octets_per_second)
        };
        Some(Growth {
            in_octets: grown(before.counters.in_octets, self.counters.in_octets),
            out_octets: grown(before.counters.out_octets, self.counters.out_octets),
        })
    }
}

/// Columns of `ifTable`: `ifDescr`, `ifType`, `ifSpeed`, `ifPhysAddress`, `ifAdminStatus`,
/// `ifOperStatus`, `ifInOctets`, `ifInDiscards`, `ifInErrors`, `ifOutOctets`, `ifOutDiscards`,
/// `ifOutErrors`.
const NARROW: [u32; 12] = [2, 3, 5, 6, 7, 8, 10, 13, 14, 16, 19, 20];
/// Columns of `ifXTable`: `ifName`, `ifHCInOctets`, `ifHCOutOctets`, `ifHighSpeed`, `ifAlias`,
/// `ifCounterDiscontinuityTime`.
const WIDE: [u32; 6] = [1, 6, 10, 15, 18, 19];

impl Profile for Interfaces {
    type Facts = Vec<Interface>;

    fn root() -> Oid {
        mib_2(&[2, 2])
    }

    fn columns() -> Vec<Oid> {
        let mut columns = columns_of(&mib_2(&[2, 2, 1]), &NARROW);
        columns.extend(columns_of(&mib_2(&[31, 1, 1, 1]), &WIDE));
        columns
    }

    fn read(rows: &Rows) -> Vec<Interface> {
        rows.iter().filter_map(|(index, row)| interface(single(index)?, row)).collect()
    }
}

/// An interface of its row; none when the row has only what another table left of a port that is
/// gone.
fn interface(index: u32, row: &Cells) -> Option<Interface> {
    const NAME: usize = NARROW.len();
    let described = row.text(0);
    let named = row.text(NAME).filter(|name| !name.is_empty());
    let name = named.or(described).unwrap_or_else(|| index.to_string());
    // At least the states must be there.
    row.get(4).or(row.get(5))?;
    let counter = |column| row.get(column).and_then(Counter::of);
    Some(Interface {
        index,
        name,
        alias: row.text(NAME + 4).unwrap_or_default(),
        kind: row.number(1),
        mac: row.octets(3).and_then(|octets| octets.try_into().ok().map(Mac)),
        wanted: Link::of(row.number(4)),
        link: Link::of(row.number(5)),
        speed: speed(row.number(2), row.number(NAME + 3)),
        counters: Counters {
            in_octets: counter(NAME + 1).or_else(|| counter(6)),
            in_discards: counter(7),
            in_errors: counter(8),
            out_octets: counter(NAME + 2).or_else(|| counter(9)),
            out_discards: counter(10),
            out_errors: counter(11),
            discontinuity: row.number(NAME + 5).map(ticks),
        },
    })
}

/// Bits per second: `ifSpeed` ends at 2³²-1, from where on `ifHighSpeed` counts millions.
fn speed(bits: Option<u64>, millions: Option<u64>) -> Option<u64> {
    const END: u64 = u32::MAX as u64;
    let high = millions.filter(|millions| *millions > 0).map(|millions| millions * 1_000_000);
    match bits.filter(|bits| *bits > 0) {
        Some(bits) if bits < END => Some(bits),
        Some(_) | None => high,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn port(cells: &[(usize, Value)]) -> Rows {
        let mut row = Cells::default();
        for (column, value) in cells {
            row.set(*column, value.clone());
        }
        Rows::from([(vec![7], row)])
    }

    fn read(cells: &[(usize, Value)]) -> Option<Interface> {
        Interfaces::read(&port(cells)).pop()
    }

    #[test]
    fn wide_counters_and_names_are_preferred_and_narrow_ones_do() {
        let old = [
            (0, Value::Octets(b"Ethernet0/7".to_vec())),
            (2, Value::Gauge(100_000_000)),
            (4, Value::Integer(1)),
            (5, Value::Integer(2)),
            (6, Value::Counter32(5)),
        ];
        let interface = read(&old).unwrap();
        assert_eq!(interface.name, "Ethernet0/7");
        assert_eq!((interface.wanted, interface.link), (Link::Up, Link::Down));
        assert_eq!(interface.speed, Some(100_000_000));
        assert_eq!(interface.counters.in_octets, Some(Counter::Narrow(5)));
        assert_eq!(interface.counters.out_octets, None);
        let mut new = old.to_vec();
        new.extend([
            (2, Value::Gauge(u32::MAX)),
            (12, Value::Octets(b"Gi0/7".to_vec())),
            (13, Value::Counter64(1 << 40)),
            (15, Value::Gauge(10_000)),
            (16, Value::Octets("到二层".as_bytes().to_vec())),
        ]);
        let interface = read(&new).unwrap();
        assert_eq!((interface.name.as_str(), interface.alias.as_str()), ("Gi0/7", "到二层"));
        assert_eq!(interface.speed, Some(10_000_000_000));
        assert_eq!(interface.counters.in_octets, Some(Counter::Wide(1 << 40)));
    }

    #[test]
    fn what_is_left_of_a_port_that_is_gone_is_no_interface() {
        assert_eq!(read(&[(16, Value::Octets(b"old".to_vec()))]), None);
    }

    #[test]
    fn a_counter_that_wrapped_grew_and_one_that_was_set_back_did_not() {
        let gigabit = Some(125_000_000);
        for (before, now, elapsed, most, grown) in [
            (Counter::Narrow(u32::MAX - 9), Counter::Narrow(10), 10, Some(12_500_000), Some(20)),
            (Counter::Narrow(5), Counter::Narrow(9), 10, gigabit, Some(4)),
            // At this speed it may have wrapped twice in a minute.
            (Counter::Narrow(5), Counter::Narrow(9), 60, gigabit, None),
            (Counter::Narrow(9), Counter::Narrow(5), 10, None, None),
            (Counter::Narrow(5), Counter::Narrow(9), 10, None, Some(4)),
            (Counter::Wide(u64::MAX), Counter::Wide(1), 60, gigabit, Some(2)),
            // Set back without a word.
            (Counter::Wide(1 << 50), Counter::Wide(7), 60, gigabit, None),
            (Counter::Wide(1 << 50), Counter::Wide(7), 60, None, None),
            (Counter::Narrow(5), Counter::Wide(9), 60, gigabit, None),
        ] {
            let elapsed = Duration::from_secs(elapsed);
            assert_eq!(
                now.grown_since(before, elapsed, most),
                grown,
                "{before:?} {now:?} {most:?}"
            );
        }
    }

    #[test]
    fn nothing_is_said_across_a_restart_or_a_discontinuity() {
        let cells = |octets, discontinuity| {
            [
                (4, Value::Integer(1)),
                (13, Value::Counter64(octets)),
                (15, Value::Gauge(1000)),
                (17, Value::Ticks(discontinuity)),
            ]
        };
        let before = read(&cells(100, 0)).unwrap();
        let now = read(&cells(350, 0)).unwrap();
        let (first, second) = (Duration::from_secs(1000), Duration::from_secs(1060));
        let growth = now.since(&before, MINUTE, first, second).unwrap();
        assert_eq!((growth.in_octets, growth.out_octets), (Some(250), None));
        assert_eq!(now.since(&before, MINUTE, first, Duration::from_secs(5)), None);
        let anew = read(&cells(350, 90_000)).unwrap();
        assert_eq!(anew.since(&before, MINUTE, first, second), None);
    }
}
