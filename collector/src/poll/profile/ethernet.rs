//! Duplex and errors of Ethernet ports: `dot3StatsTable` (RFC 3635); and which of them are parts of an
//! aggregate: `dot3adAggPortTable` (IEEE8023-LAG-MIB).

use std::collections::BTreeMap;

use super::{Profile, columns_of, mib_2, single};
use crate::poll::oid::{Oid, known};
use crate::poll::table::Rows;

pub use bailey_rules::device::ethernet::{Duplex, Port, disagree};

/// The profile.
pub struct Ethernet;

/// `dot3adAggPortAttachedAggID`: the `ifIndex` of the aggregate, or zero.
const ATTACHED: [u32; 11] = [1, 2, 840, 10_006, 300, 43, 1, 2, 1, 1, 13];

impl Profile for Ethernet {
    /// By `ifIndex`.
    type Facts = BTreeMap<u32, Port>;

    fn root() -> Oid {
        mib_2(&[10, 7, 2])
    }

    fn columns() -> Vec<Oid> {
        let mut columns = columns_of(&mib_2(&[10, 7, 2, 1]), &[3, 8, 19]);
        columns.push(known(&ATTACHED));
        columns
    }

    fn read(rows: &Rows) -> Self::Facts {
        let ports = rows.iter().filter_map(|(index, row)| {
            let duplex = match row.number(2) {
                Some(2) => Some(Duplex::Half),
                Some(3) => Some(Duplex::Full),
                Some(_) | None => None,
            };
            let index = single(index)?;
            // A port that goes alone may be called an aggregate of its own.
            let aggregate = row.number(3).and_then(|number| u32::try_from(number).ok());
            let aggregate = aggregate.filter(|number| *number != 0 && *number != index);
            let (damaged, late_collisions) = (row.number(0), row.number(1));
            Some((index, Port { duplex, damaged, late_collisions, aggregate }))
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

    #[test]
    fn a_port_is_a_part_of_the_aggregate_that_it_is_attached_to() {
        let rows = [(1, 100), (2, 0), (3, 3)].map(|(index, attached)| {
            let mut row = Cells::default();
            row.set(3, Value::Integer(attached));
            (vec![index], row)
        });
        let ports = Ethernet::read(&Rows::from(rows));
        let aggregates = ports.values().map(|port| port.aggregate);
        assert_eq!(aggregates.collect::<Vec<_>>(), [Some(100), None, None]);
    }
}
