//! Interfaces and what passes through them: `ifTable` and `ifXTable` (RFC 2863).

use super::system::ticks;
use super::{Mac, Profile, columns_of, mib_2, single};
use crate::poll::oid::Oid;
use crate::poll::table::{Cells, Rows};
use crate::poll::value::Value;

pub use bailey_rules::device::interface::{Counter, Counters, Growth, Interface, Link};

/// The profile.
pub struct Interfaces;

/// Columns of `ifTable`: `ifDescr`, `ifType`, `ifSpeed`, `ifPhysAddress`, `ifAdminStatus`,
/// `ifOperStatus`, `ifInOctets`, `ifInDiscards`, `ifInErrors`, `ifOutOctets`, `ifOutDiscards`,
/// `ifOutErrors`, `ifInUcastPkts`, `ifOutUcastPkts`.
const NARROW: [u32; 14] = [2, 3, 5, 6, 7, 8, 10, 13, 14, 16, 19, 20, 11, 17];
/// Columns of `ifXTable`: `ifName`, `ifHCInOctets`, `ifHCOutOctets`, `ifHighSpeed`, `ifAlias`,
/// `ifCounterDiscontinuityTime`, `ifHCInUcastPkts`, `ifHCOutUcastPkts`.
const WIDE: [u32; 8] = [1, 6, 10, 15, 18, 19, 7, 11];

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
    let counter = |column| row.get(column).and_then(counter_of);
    Some(Interface {
        index,
        name,
        alias: row.text(NAME + 4).unwrap_or_default(),
        kind: row.number(1),
        mac: row.octets(3).and_then(|octets| octets.try_into().ok().map(Mac)),
        wanted: Link::from_number(row.number(4)),
        link: Link::from_number(row.number(5)),
        speed: speed(row.number(2), row.number(NAME + 3)),
        counters: Counters {
            in_octets: counter(NAME + 1).or_else(|| counter(6)),
            in_packets: counter(NAME + 6).or_else(|| counter(12)),
            out_packets: counter(NAME + 7).or_else(|| counter(13)),
            in_discards: counter(7),
            in_errors: counter(8),
            out_octets: counter(NAME + 2).or_else(|| counter(9)),
            out_discards: counter(10),
            out_errors: counter(11),
            discontinuity: row.number(NAME + 5).map(ticks),
        },
    })
}

/// A counter by what the device sent: some send a gauge.
fn counter_of(value: &Value) -> Option<Counter> {
    match *value {
        Value::Counter32(value) | Value::Gauge(value) => Some(Counter::Narrow(value)),
        Value::Counter64(value) => Some(Counter::Wide(value)),
        _ => None,
    }
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
    use std::time::Duration;

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
            (14, Value::Octets(b"Gi0/7".to_vec())),
            (15, Value::Counter64(1 << 40)),
            (17, Value::Gauge(10_000)),
            (18, Value::Octets("到二层".as_bytes().to_vec())),
        ]);
        let interface = read(&new).unwrap();
        assert_eq!((interface.name.as_str(), interface.alias.as_str()), ("Gi0/7", "到二层"));
        assert_eq!(interface.speed, Some(10_000_000_000));
        assert_eq!(interface.counters.in_octets, Some(Counter::Wide(1 << 40)));
    }

    #[test]
    fn what_is_left_of_a_port_that_is_gone_is_no_interface() {
        assert_eq!(read(&[(18, Value::Octets(b"old".to_vec()))]), None);
    }

    #[test]
    fn nothing_is_said_across_a_restart_or_a_discontinuity() {
        let cells = |octets, discontinuity| {
            [
                (4, Value::Integer(1)),
                (15, Value::Counter64(octets)),
                (17, Value::Gauge(1000)),
                (19, Value::Ticks(discontinuity)),
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
