//! Neighbours of Cisco devices: CISCO-CDP-MIB. What a neighbour says of itself is its own word.

use bailey_rules::topology::Protocol;

use super::{Profile, mib_2};
use crate::poll::oid::{Oid, known};
use crate::poll::profile::lldp::{Neighbour, named};
use crate::poll::table::{Cells, Rows};

/// The profile.
pub struct Cdp;

/// Columns: of `cdpCacheTable` the device's id and its port; `ifName`, for the port here.
const CACHE: [u32; 2] = [6, 7];
const IF_NAME: usize = CACHE.len();

/// What products of Cisco begin with.
const CISCO: [u32; 7] = [1, 3, 6, 1, 4, 1, 9];

impl Cdp {
    /// Whether a product may know CDP.
    #[must_use]
    pub fn is_spoken_by(product: Option<&Oid>) -> bool {
        product.is_some_and(|product| product.arcs().starts_with(&CISCO))
    }
}

impl Profile for Cdp {
    type Facts = Vec<Neighbour>;

    fn root() -> Oid {
        known(&CISCO).then(&[9, 23, 1, 2, 1, 1])
    }

    fn columns() -> Vec<Oid> {
        let mut columns: Vec<Oid> =
            CACHE.iter().map(|column| Self::root().then(&[*column])).collect();
        columns.push(mib_2(&[31, 1, 1, 1, 1]));
        columns
    }

    fn read(rows: &Rows) -> Vec<Neighbour> {
        let neighbour = |(index, row): (&Vec<u32>, &Cells)| {
            // `ifIndex`, and the number of the neighbour.
            let [local_port, _] = index.as_slice() else { return None };
            let here = rows.get([*local_port].as_slice());
            let id = row.octets(0)?;
            Some(Neighbour {
                protocol: Protocol::Cdp,
                local_port: *local_port,
                local_name: here.and_then(|row| row.text(IF_NAME)),
                chassis: named(id, false),
                port: named(row.octets(1)?, false),
                port_description: None,
                name: row.text(0).filter(|text| !text.is_empty()),
            })
        };
        rows.iter().filter_map(neighbour).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::value::Value;

    #[test]
    fn a_neighbour_is_named_at_its_port() {
        let mut here = Cells::default();
        here.set(2, Value::Octets(b"Gi0/1".to_vec()));
        let mut there = Cells::default();
        there.set(0, Value::Octets(b"core-1.example".to_vec()));
        there.set(1, Value::Octets(b"GigabitEthernet1/0/3".to_vec()));
        let rows = Rows::from([(vec![10_101], here), (vec![10_101, 4], there)]);
        let read = Cdp::read(&rows);
        let [neighbour] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!(
            (neighbour.local_port, neighbour.local_name.as_deref()),
            (10_101, Some("Gi0/1"))
        );
        assert_eq!(neighbour.name.as_deref(), Some("core-1.example"));
        assert_eq!(neighbour.port, "GigabitEthernet1/0/3");
        assert_eq!(neighbour.protocol, Protocol::Cdp);
        assert!(Cdp::is_spoken_by(Some(&"1.3.6.1.4.1.9.1.1208".parse().unwrap())));
        assert!(!Cdp::is_spoken_by(Some(&"1.3.6.1.4.1.2011.2".parse().unwrap())));
    }
}
