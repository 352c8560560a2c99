//! Neighbours: LLDP-MIB (IEEE 802.1AB-2005). What a neighbour says of itself is its own word.

use bailey_rules::fact;
use bailey_rules::topology::Protocol;

use super::{Mac, Profile};
use crate::poll::oid::{Oid, known};
use crate::poll::snmp::hexadecimal;
use crate::poll::table::{Cells, Rows};

pub use bailey_rules::device::neighbour::Neighbour;

/// The profile.
pub struct Lldp;

/// Columns below `lldpObjects`; of `lldpLocPortTable`: id and description; of `lldpRemTable`: kind
/// of chassis, chassis, kind of port, port, description of the port, name.
const COLUMNS: [&[u32]; 8] = [
    &[3, 7, 1, 3],
    &[3, 7, 1, 4],
    &[4, 1, 1, 4],
    &[4, 1, 1, 5],
    &[4, 1, 1, 6],
    &[4, 1, 1, 7],
    &[4, 1, 1, 8],
    &[4, 1, 1, 9],
];

/// `macAddress` among the kinds of a chassis and of a port.
const MAC_CHASSIS: u64 = 4;
const MAC_PORT: u64 = 3;

impl Profile for Lldp {
    type Facts = Vec<Neighbour>;

    fn root() -> Oid {
        known(&[1, 0, 8802, 1, 1, 2, 1])
    }

    fn columns() -> Vec<Oid> {
        COLUMNS.iter().map(|below| Self::root().then(below)).collect()
    }

    fn read(rows: &Rows) -> Vec<Neighbour> {
        let neighbour = |(index, row): (&Vec<u32>, &Cells)| {
            // Time of the last change, port, number of the neighbour.
            let [_, local_port, _] = index.as_slice() else { return None };
            let here = rows.get([*local_port].as_slice());
            let said = |text: Option<String>| text.filter(|text| !text.is_empty());
            let here = |column| said(here?.text(column));
            Some(Neighbour {
                protocol: Protocol::Lldp,
                local_port: *local_port,
                local_name: here(1).or_else(|| here(0)),
                chassis: named(row.octets(3)?, row.number(2) == Some(MAC_CHASSIS)),
                port: named(row.octets(5)?, row.number(4) == Some(MAC_PORT)),
                port_description: said(row.text(6)),
                name: said(row.text(7)),
            })
        };
        rows.iter().filter_map(neighbour).collect()
    }
}

/// An id as text: a MAC address where it is one, hexadecimal where it is no text.
pub(super) fn named(octets: &[u8], is_mac: bool) -> String {
    if let (true, Ok(mac)) = (is_mac, <[u8; 6]>::try_from(octets)) {
        return Mac(mac).to_string();
    }
    match std::str::from_utf8(octets) {
        Ok(text) if !text.chars().any(fact::disturbs) => fact::bounded(text),
        Ok(_) | Err(_) => hexadecimal(&octets[..octets.len().min(fact::MAX_TEXT / 2)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::value::Value;

    #[test]
    fn a_neighbour_is_named_at_its_port_and_cannot_disturb() {
        let mut here = Cells::default();
        here.set(0, Value::Octets(b"Gi1/0/48".to_vec()));
        here.set(1, Value::Octets(Vec::new()));
        let mut there = Cells::default();
        for (column, value) in [
            (2, Value::Integer(4)),
            (3, Value::Octets(vec![0, 0x1b, 0x21, 0, 0, 1])),
            (4, Value::Integer(5)),
            (5, Value::Octets(b"ge0/1\x1b[2J".to_vec())),
            (7, Value::Octets(b"core-1".to_vec())),
        ] {
            there.set(column, value);
        }
        let rows = Rows::from([(vec![48], here), (vec![120, 48, 1], there)]);
        assert_eq!(
            Lldp::read(&rows),
            [Neighbour {
                protocol: Protocol::Lldp,
                local_port: 48,
                local_name: Some("Gi1/0/48".to_owned()),
                chassis: "00:1b:21:00:00:01".to_owned(),
                port: "6765302f311b5b324a".to_owned(),
                port_description: None,
                name: Some("core-1".to_owned()),
            }]
        );
    }
}
