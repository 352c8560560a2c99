//! Duplex and errors of Ethernet ports: `dot3StatsTable` (RFC 3635); and which of them are parts of an
//! aggregate: `dot3adAggPortTable` (IEEE8023-LAG-MIB), and where that does not say it, `ifStackTable`
//! (RFC 2863).

use std::collections::{BTreeMap, BTreeSet};

use bailey_rules::device::aggregate;
use bailey_rules::device::interface::Interface;

use super::{Profile, columns_of, mib_2, single, take};
use crate::poll::oid::{Oid, known};
use crate::poll::snmp::{Snmp, SnmpError};
use crate::poll::table::{Learned, Rows};

pub use bailey_rules::device::ethernet::{Duplex, Port, disagree};

/// Asks a device, which has these interfaces, for its Ethernet ports.
///
/// # Errors
/// As [`take`]. A device that has none is no error: then there are none.
pub async fn ethernet(
    session: &impl Snmp,
    learned: &mut Learned,
    interfaces: &[Interface],
) -> Result<BTreeMap<u32, Port>, SnmpError> {
    let mut ports = take::<Ethernet>(session, learned).await?;
    let by_lacp: BTreeSet<u32> = ports.values().filter_map(|port| port.aggregate).collect();
    let named = interfaces.iter().filter(|one| one.kind == Some(aggregate::KIND));
    let aggregates: BTreeSet<u32> = named.map(|one| one.index).chain(by_lacp.clone()).collect();
    // What lies on what holds all VLANs too: it is asked only where there is an aggregate. A member that is
    // down may be one there and nowhere else.
    if !aggregates.is_empty() {
        for (higher, lower) in take::<Stack>(session, learned).await? {
            let untold = ports.get_mut(&lower).filter(|port| port.aggregate.is_none());
            if let Some(port) = untold.filter(|_| aggregates.contains(&higher)) {
                port.aggregate = Some(higher);
                port.detached = by_lacp.contains(&higher);
            }
        }
    }
    Ok(ports)
}

/// `dot3StatsTable` and `dot3adAggPortTable`.
struct Ethernet;
/// `ifStackTable`.
struct Stack;

/// `dot3adAggPortEntry`.
const AGGREGATED: [u32; 10] = [1, 2, 840, 10_006, 300, 43, 1, 2, 1, 1];

impl Profile for Ethernet {
    /// By `ifIndex`.
    type Facts = BTreeMap<u32, Port>;

    fn root() -> Oid {
        mib_2(&[10, 7, 2])
    }

    fn columns() -> Vec<Oid> {
        let mut columns = columns_of(&mib_2(&[10, 7, 2, 1]), &[3, 8, 19]);
        // dot3adAggPortSelectedAggID and dot3adAggPortAttachedAggID: an ifIndex, or zero.
        columns.extend(columns_of(&known(&AGGREGATED), &[12, 13]));
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
            let aggregate = |column: usize| {
                let number = row.number(column).and_then(|number| u32::try_from(number).ok());
                number.filter(|number| *number != 0 && *number != index)
            };
            let (selected, attached) = (aggregate(3), aggregate(4));
            let detached = attached.is_none() && selected.is_some() && row.get(4).is_some();
            let aggregate = attached.or(selected);
            let (damaged, late_collisions) = (row.number(0), row.number(1));
            Some((index, Port { duplex, damaged, late_collisions, aggregate, detached }))
        });
        ports.collect()
    }
}

impl Profile for Stack {
    /// The `ifIndex` of what is above, and of what is below it.
    type Facts = BTreeSet<(u32, u32)>;

    fn root() -> Oid {
        mib_2(&[31, 1, 2])
    }

    /// `ifStackStatus`.
    fn columns() -> Vec<Oid> {
        columns_of(&Self::root().then(&[1]), &[3])
    }

    fn read(rows: &Rows) -> Self::Facts {
        const ACTIVE: u64 = 1;
        let active = rows.iter().filter(|(_, row)| row.number(0) == Some(ACTIVE));
        let pairs = active.filter_map(|(index, _)| match index[..] {
            // Nothing is above the first, nothing below the last.
            [0, _] | [_, 0] => None,
            [higher, lower] => Some((higher, lower)),
            _ => None,
        });
        pairs.collect()
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
        let told = [(1, 100, 100), (2, 0, 0), (3, 3, 3), (4, 100, 0), (5, 0, 100)];
        let rows = told.map(|(index, selected, attached)| {
            let mut row = Cells::default();
            row.set(3, Value::Integer(selected));
            row.set(4, Value::Integer(attached));
            (vec![index], row)
        });
        let ports = Ethernet::read(&Rows::from(rows));
        let aggregates = ports.values().map(|port| (port.aggregate, port.detached));
        let one = Some(100);
        assert_eq!(
            aggregates.collect::<Vec<_>>(),
            [(one, false), (None, false), (None, false), (one, true), (one, false)]
        );
    }

    #[test]
    fn what_lies_on_what_is_read_where_it_is_active() {
        let told = [([100, 1], 1), ([100, 2], 1), ([100, 3], 2), ([0, 100], 1), ([1, 0], 1)];
        let rows = told.map(|(index, status)| {
            let mut row = Cells::default();
            row.set(0, Value::Integer(status));
            (index.to_vec(), row)
        });
        let stacked = Stack::read(&Rows::from(rows));
        assert_eq!(stacked.into_iter().collect::<Vec<_>>(), [(100, 1), (100, 2)]);
    }
}
