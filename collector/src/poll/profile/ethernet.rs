//! Duplex and errors of Ethernet ports: `dot3StatsTable` (RFC 3635).

use std::collections::BTreeMap;

use super::{Profile, columns_of, mib_2, single};
use crate::poll::oid::Oid;
use crate::poll::table::Rows;

pub use bailey_rules::device::ethernet::{Duplex, Port, disagree};

/// The profile.
pub struct Ethernet;

impl Profile for Ethernet {
    /// By `ifIndex`.
    type Facts = BTreeMap<u32, Port>;

    fn root() -> Oid {
        mib_2(&[10, 7, 2])
    }

    fn columns() -> Vec<Oid> {
        columns_of(&mib_2(&[10, 7, 2, 1]), &[3, 8, 19])
    }

    fn read(rows: &Rows) -> Self::Facts {
        let ports = rows.iter().filter_map(|(index, row)| {
            let duplex = match row.number(2) {
                Some(2) => Some(Duplex::Half),
                Some(3) => Some(Duplex::Full),
                Some(_) | None => None,
            };
            let port = Port { duplex, damaged: row.number(0), late_collisions: row.number(1) };
            Some((single(index)?, port))
        });
        ports.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::table::Cells;
    use crate::poll::value::Value;

    #[test]
    fn a_port_without_a_link_has_no_duplex_and_disagrees_with_nobody() {
        let mut rows = Rows::new();
        for (index, duplex) in [(1, 1), (2, 2), (3, 3)] {
            let mut row = Cells::default();
            row.set(0, Value::Counter32(4));
            row.set(2, Value::Integer(duplex));
            rows.insert(vec![index], row);
        }
        let ports = Ethernet::read(&rows);
        assert_eq!(ports[&1].duplex, None);
        assert_eq!(ports[&2].damaged, Some(4));
        assert_eq!(disagree(&ports[&2], &ports[&3]), Some(true));
        assert_eq!(disagree(&ports[&3], &ports[&3]), Some(false));
        assert_eq!(disagree(&ports[&1], &ports[&3]), None);
    }
}
