//! Power over Ethernet: POWER-ETHERNET-MIB (RFC 3621).

use super::{Profile, mib_2, single};
use crate::poll::oid::Oid;
use crate::poll::table::Rows;

pub use bailey_rules::device::poe::{FedPort, Feeding, Poe, Supply, SupplyState};

/// The profile.
pub struct PowerEthernet;

/// Columns below `powerEthernetMIB`: of `pethPsePortTable` what a port does, and the class of what it
/// feeds; of `pethMainPseTable` what a supply can give, how it is, and what it gives.
const COLUMNS: [&[u32]; 5] =
    [&[1, 1, 1, 6], &[1, 1, 1, 10], &[1, 3, 1, 1, 2], &[1, 3, 1, 1, 3], &[1, 3, 1, 1, 4]];

impl Profile for PowerEthernet {
    type Facts = Poe;

    fn root() -> Oid {
        mib_2(&[105])
    }

    fn columns() -> Vec<Oid> {
        COLUMNS.iter().map(|below| Self::root().then(below)).collect()
    }

    fn read(rows: &Rows) -> Poe {
        let supplies = rows.iter().filter_map(|(index, row)| {
            let group = single(index)?;
            let state = match row.number(3) {
                Some(1) => Some(SupplyState::On),
                Some(2) => Some(SupplyState::Off),
                Some(3) => Some(SupplyState::Faulty),
                Some(_) | None => None,
            };
            Some(Supply { group, state, watts: row.number(2), used: row.number(4) })
        });
        let ports = rows.iter().filter_map(|(index, row)| {
            let [group, port] = *index.as_slice() else { return None };
            let feeding = match row.number(0)? {
                1 => Feeding::Disabled,
                2 => Feeding::Searching,
                3 => Feeding::Delivering,
                4 => Feeding::Fault,
                5 => Feeding::Testing,
                6 => Feeding::OtherFault,
                _ => return None,
            };
            // It means something only while the port feeds; class 0 is the number 1.
            let class = row.number(1).filter(|_| feeding == Feeding::Delivering);
            let class = class.and_then(|number| u8::try_from(number.checked_sub(1)?).ok());
            Some(FedPort { group, port, feeding, class })
        });
        Poe { supplies: supplies.collect(), ports: ports.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::table::Cells;
    use crate::poll::value::Value;

    fn row(cells: &[(usize, Value)]) -> Cells {
        cells.iter().cloned().collect()
    }

    #[test]
    fn supplies_and_ports_are_told_apart_and_a_class_belongs_to_what_is_fed() {
        let supply = [(2, Value::Gauge(370)), (3, Value::Integer(1)), (4, Value::Gauge(112))];
        let rows = Rows::from([
            (vec![1], row(&supply)),
            (vec![1, 7], row(&[(0, Value::Integer(3)), (1, Value::Integer(4))])),
            (vec![1, 8], row(&[(0, Value::Integer(2)), (1, Value::Integer(4))])),
            (vec![1, 9], row(&[(0, Value::Integer(4))])),
            // No state that the RFC knows.
            (vec![1, 10], row(&[(0, Value::Integer(9))])),
        ]);
        let poe = PowerEthernet::read(&rows);
        let one =
            Supply { group: 1, state: Some(SupplyState::On), watts: Some(370), used: Some(112) };
        assert_eq!(poe.supplies, [one]);
        let ports: Vec<_> = poe.ports.iter().map(|p| (p.port, p.feeding, p.class)).collect();
        assert_eq!(
            ports,
            [
                (7, Feeding::Delivering, Some(3)),
                (8, Feeding::Searching, None),
                (9, Feeding::Fault, None)
            ]
        );
    }

    #[test]
    fn a_device_without_the_module_feeds_nobody() {
        assert!(PowerEthernet::read(&Rows::new()).is_empty());
    }
}
