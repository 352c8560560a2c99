//! ARP and neighbour discovery: `ipNetToPhysicalTable` (RFC 4293), and of older devices
//! `ipNetToMediaTable` (RFC 1213).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Mac, Profile, mib_2, octets};
use crate::poll::oid::Oid;
use crate::poll::table::{Cells, Rows};

pub use bailey_rules::device::addresses::Resolved;

/// The profile.
pub struct Addresses;

/// Columns below `ip`: of `ipNetToMediaTable` the address and the type; of `ipNetToPhysicalTable` the
/// same.
const COLUMNS: [&[u32]; 4] = [&[22, 1, 2], &[22, 1, 4], &[35, 1, 4], &[35, 1, 6]];

/// `invalid` among the types of both tables.
const INVALID: u64 = 2;

impl Profile for Addresses {
    /// In order, each once.
    type Facts = BTreeSet<Resolved>;

    fn root() -> Oid {
        mib_2(&[4])
    }

    fn columns() -> Vec<Oid> {
        COLUMNS.iter().map(|below| Self::root().then(below)).collect()
    }

    fn read(rows: &Rows) -> Self::Facts {
        rows.iter().filter_map(|(index, row)| resolved(index, row)).collect()
    }
}

fn resolved(index: &[u32], row: &Cells) -> Option<Resolved> {
    let (interface, address, mac, kind) = match index {
        [interface, a, b, c, d] => (*interface, v4(&[*a, *b, *c, *d])?, 0, 1),
        // Type of the address, its length, its octets (RFC 4001).
        [interface, 1, 4, octets @ ..] => (*interface, v4(octets)?, 2, 3),
        [interface, 2, 16, octets @ ..] => (*interface, v6(octets)?, 2, 3),
        _ => return None,
    };
    if row.number(kind) == Some(INVALID) {
        return None;
    }
    let mac = Mac(row.octets(mac)?.try_into().ok()?);
    Some(Resolved { interface, address, mac })
}

fn v4(index: &[u32]) -> Option<IpAddr> {
    octets::<4>(index).map(|octets| Ipv4Addr::from(octets).into())
}

fn v6(index: &[u32]) -> Option<IpAddr> {
    octets::<16>(index).map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::value::Value;

    #[test]
    fn entries_of_both_tables_are_read_and_invalid_ones_are_not() {
        let row = |mac: usize, octets: &[u8], kind: i32| {
            let mut row = Cells::default();
            row.set(mac, Value::Octets(octets.to_vec()));
            row.set(mac + 1, Value::Integer(kind));
            row
        };
        let mac = [0x52, 0x54, 0, 1, 2, 3];
        let mut six = vec![7, 2, 16, 0xfd, 0];
        six.extend([0; 13]);
        six.push(9);
        let rows = Rows::from([
            (vec![7, 10, 1, 0, 17], row(0, &mac, 3)),
            (vec![7, 1, 4, 10, 1, 0, 17], row(2, &mac, 3)),
            (six, row(2, &mac, 3)),
            (vec![7, 10, 1, 0, 18], row(0, &mac, 2)),
            (vec![7, 10, 1, 0, 300], row(0, &mac, 3)),
            (vec![7, 10, 1, 0, 19], row(0, b"", 3)),
        ]);
        let read: Vec<String> =
            Addresses::read(&rows).iter().map(|entry| entry.address.to_string()).collect();
        assert_eq!(read, ["10.1.0.17", "fd00::9"]);
    }
}
