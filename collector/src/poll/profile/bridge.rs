//! Which MAC address is behind which port: BRIDGE-MIB (RFC 4188) and Q-BRIDGE-MIB (RFC 4363).

use std::collections::{BTreeMap, BTreeSet};

use super::{Mac, Profile, mac_of, mib_2, single};
use crate::poll::oid::Oid;
use crate::poll::table::Rows;

pub use bailey_rules::device::bridge::{Learned, Station};

/// The profile.
pub struct Bridge;

/// Columns below `dot1dBridge`: `dot1dBasePortIfIndex`, `dot1dStpTopChanges`; port and status of
/// `dot1dTpFdbTable` and of `dot1qTpFdbTable`; `dot1qVlanStaticName`; `dot1dBaseBridgeAddress`;
/// `dot1qVlanCurrentEgressPorts`.
const COLUMNS: [&[u32]; 9] = [
    &[1, 4, 1, 2],
    &[2, 4],
    &[4, 3, 1, 2],
    &[4, 3, 1, 3],
    &[7, 1, 2, 2, 1, 2],
    &[7, 1, 2, 2, 1, 3],
    &[7, 1, 4, 3, 1, 1],
    &[1, 1],
    &[7, 1, 4, 2, 1, 4],
];

/// `learned` in the status of an entry.
const LEARNED: u64 = 3;

impl Profile for Bridge {
    type Facts = Learned;

    fn root() -> Oid {
        mib_2(&[17])
    }

    fn columns() -> Vec<Oid> {
        COLUMNS.iter().map(|below| Self::root().then(below)).collect()
    }

    fn read(rows: &Rows) -> Learned {
        let of_ports = rows.iter().filter_map(|(index, row)| {
            Some((u64::from(single(index)?), u32::try_from(row.number(0)?).ok()?))
        });
        let interfaces: BTreeMap<u64, u32> = of_ports.collect();
        let itself = rows.get([0].as_slice());
        let address = itself.and_then(|row| row.octets(7)?.try_into().ok().map(Mac));
        let mut learned = Learned {
            address,
            topology_changes: itself.and_then(|row| row.number(1)),
            ..Learned::default()
        };
        // The table without VLANs repeats the other one on switches that have both.
        let mut plain = BTreeSet::new();
        for (index, row) in rows {
            let behind = |column: usize| interfaces.get(&row.number(column)?).copied();
            match index.as_slice() {
                [vlan] => {
                    if let Some(name) = row.text(6) {
                        learned.vlans.insert(*vlan, name);
                    }
                }
                // Since when the VLAN is as it is, and its number.
                [_, vlan] if row.octets(8).is_some() => {
                    let ports = row.octets(8).into_iter().flat_map(ports_of);
                    let ports = ports.filter_map(|port| interfaces.get(&port).copied());
                    learned.carried.entry(*vlan).or_default().extend(ports);
                }
                mac if mac.len() == 6 && row.number(3) == Some(LEARNED) => {
                    let station = mac_of(mac).zip(behind(2));
                    plain.extend(station.map(|(mac, interface)| Station {
                        mac,
                        vlan: None,
                        interface,
                    }));
                }
                [vlan, mac @ ..] if mac.len() == 6 && row.number(5) == Some(LEARNED) => {
                    let station = mac_of(mac).zip(behind(4));
                    learned.stations.extend(station.map(|(mac, interface)| Station {
                        mac,
                        vlan: Some(*vlan),
                        interface,
                    }));
                }
                _ => {}
            }
        }
        if learned.stations.is_empty() {
            learned.stations = plain;
        }
        learned
    }
}

/// The ports of a list of ports: one bit each, the first of an octet the highest (RFC 4363, `PortList`).
fn ports_of(list: &[u8]) -> impl Iterator<Item = u64> {
    /// The most octets of a list that are looked at.
    const MAX_LIST: usize = 1024;
    let octets = (0_u64..).zip(list.iter().take(MAX_LIST));
    octets.flat_map(|(nth, octet)| {
        let has = move |bit: &u64| octet & (0x80 >> bit) != 0;
        (0..8).filter(has).map(move |bit| nth * 8 + bit + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Mac;
    use super::*;
    use crate::poll::table::Cells;
    use crate::poll::value::Value;

    fn row(cells: &[(usize, Value)]) -> Cells {
        cells.iter().cloned().collect()
    }

    #[test]
    fn a_station_is_behind_the_interface_of_its_bridge_port() {
        let mut rows = Rows::from([
            (vec![1], row(&[(0, Value::Integer(10_101)), (6, Value::Octets(b"oa".to_vec()))])),
            (vec![0, 17, 34, 51, 68, 85], row(&[(2, Value::Integer(1)), (3, Value::Integer(3))])),
            // The switch's own address.
            (vec![0, 17, 34, 51, 68, 86], row(&[(2, Value::Integer(1)), (3, Value::Integer(4))])),
            // Behind a port that has no interface.
            (vec![0, 17, 34, 51, 68, 87], row(&[(2, Value::Integer(9)), (3, Value::Integer(3))])),
            // No MAC address at all.
            (vec![0, 17, 34, 51, 68, 300], row(&[(2, Value::Integer(1)), (3, Value::Integer(3))])),
        ]);
        let mac = Mac([0, 0x11, 0x22, 0x33, 0x44, 0x55]);
        let only = |vlan| BTreeSet::from([Station { mac, vlan, interface: 10_101 }]);
        assert_eq!(Bridge::read(&rows).stations, only(None));
        rows.insert(
            vec![20, 0, 17, 34, 51, 68, 85],
            row(&[(4, Value::Integer(1)), (5, Value::Integer(3))]),
        );
        let learned = Bridge::read(&rows);
        assert_eq!(learned.stations, only(Some(20)));
        assert_eq!(learned.vlans[&1], "oa");
        assert_eq!(learned.carried, BTreeMap::new());
        // Ports 1 and 9 of VLAN 20; the other one has no interface.
        rows.insert(vec![4711, 20], row(&[(8, Value::Octets(vec![0x80, 0x80]))]));
        let carried = Bridge::read(&rows).carried;
        assert_eq!(carried, BTreeMap::from([(20, BTreeSet::from([10_101]))]));
        assert_eq!(mac.to_string(), "00:11:22:33:44:55");
    }
}
