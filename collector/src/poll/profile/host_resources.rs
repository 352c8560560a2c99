//! Minicomputers and servers: processors, memory and file systems of HOST-RESOURCES-MIB (RFC 2790).

use bailey_rules::unit::Bytes;

use super::system::ticks;
use super::{Profile, mib_2, single};
use crate::poll::oid::Oid;
use crate::poll::table::{Cells, Rows};
use crate::poll::value::Value;

pub use bailey_rules::device::resources::{Kind, Resources, Storage};

/// The profile.
pub struct HostResources;

/// Columns below `host`: `hrSystemUptime`, `hrSystemProcesses`, `hrProcessorLoad`; of
/// `hrStorageTable`: type, description, unit, size, used.
const COLUMNS: [&[u32]; 8] = [
    &[1, 1],
    &[1, 6],
    &[3, 3, 1, 2],
    &[2, 3, 1, 2],
    &[2, 3, 1, 3],
    &[2, 3, 1, 4],
    &[2, 3, 1, 5],
    &[2, 3, 1, 6],
];

impl Profile for HostResources {
    type Facts = Resources;

    fn root() -> Oid {
        mib_2(&[25])
    }

    fn columns() -> Vec<Oid> {
        COLUMNS.iter().map(|below| Self::root().then(below)).collect()
    }

    fn read(rows: &Rows) -> Resources {
        let scalar = |column| rows.get([0].as_slice()).and_then(|row: &Cells| row.number(column));
        Resources {
            up: scalar(0).map(ticks),
            processes: scalar(1),
            processors: rows.values().filter_map(|row| row.number(2)).collect(),
            storage: rows.iter().filter_map(|(index, row)| storage(single(index)?, row)).collect(),
        }
    }
}

/// A room; none where the device does not say how large it is, or says less than nothing: large
/// disks overflow the numbers of some agents.
fn storage(index: u32, row: &Cells) -> Option<Storage> {
    let kind = match row.get(3).and_then(Value::oid)?.below(&mib_2(&[25, 2, 1])) {
        Some([2]) => Kind::Memory,
        Some([3]) => Kind::VirtualMemory,
        Some([4]) => Kind::Disk,
        Some(_) | None => Kind::Other,
    };
    let unit = row.number(5).filter(|unit| *unit > 0)?;
    let size = row.number(6).filter(|size| *size > 0)?;
    let used = row.number(7)?;
    Some(Storage {
        index,
        name: row.text(4)?,
        kind,
        size: Bytes(size.saturating_mul(unit)),
        used: Bytes(used.saturating_mul(unit)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: u32, unit: i32, size: i32, used: i32) -> Cells {
        let mut row = Cells::default();
        row.set(3, Value::Oid(mib_2(&[25, 2, 1, kind])));
        row.set(4, Value::Octets(b"/oracle".to_vec()));
        row.set(5, Value::Integer(unit));
        row.set(6, Value::Integer(size));
        row.set(7, Value::Integer(used));
        row
    }

    #[test]
    fn a_disk_has_its_size_in_octets_and_one_that_overflows_is_not_there() {
        let rows = Rows::from([
            (vec![1], row(4, 4096, 1000, 250)),
            (vec![2], row(4, 4096, -5, 250)),
            (vec![3], row(4, 4096, 0, 0)),
            (vec![4], row(9, 1, 10, 1)),
        ]);
        let storage = HostResources::read(&rows).storage;
        let read: Vec<_> = storage.iter().map(|s| (s.index, s.kind, s.size, s.used)).collect();
        assert_eq!(
            read,
            [
                (1, Kind::Disk, Bytes(4_096_000), Bytes(1_024_000)),
                (4, Kind::Other, Bytes(10), Bytes(1)),
            ]
        );
    }
}
