//! What runs on a minicomputer: `hrSWRunTable` and `hrSWRunPerfTable` of HOST-RESOURCES-MIB (RFC 2790).
//!
//! `hrSWRunParameters` is not asked for: passwords stand on command lines.

use std::collections::BTreeMap;
use std::time::Duration;

use bailey_rules::unit::Bytes;

use super::{Profile, mib_2};
use crate::poll::oid::Oid;
use crate::poll::table::Rows;

pub use bailey_rules::device::processes::{MAX_PROCESSES, Process, Processes};

/// The profile.
pub struct Running;

/// Columns below `host`: of `hrSWRunTable` name, path and status; of `hrSWRunPerfTable` processor time
/// and memory.
const COLUMNS: [&[u32]; 5] =
    [&[4, 2, 1, 2], &[4, 2, 1, 4], &[4, 2, 1, 7], &[5, 1, 1, 1], &[5, 1, 1, 2]];

/// `invalid` in `hrSWRunStatus`: loaded, and not running.
const INVALID: u64 = 4;

/// Name and path.
type Kind = (String, String);

impl Profile for Running {
    type Facts = Processes;

    fn root() -> Oid {
        mib_2(&[25, 4])
    }

    fn columns() -> Vec<Oid> {
        COLUMNS.iter().map(|below| mib_2(&[25]).then(below)).collect()
    }

    fn read(rows: &Rows) -> Processes {
        let mut kinds: BTreeMap<Kind, Process> = BTreeMap::new();
        for row in rows.values().filter(|row| row.number(2) != Some(INVALID)) {
            // A process that ended while the table was read has a part of its row.
            let Some(name) = row.text(0) else { continue };
            let path = row.text(1).unwrap_or_default();
            let busy = row
                .number(3)
                .map(|hundredths| Duration::from_millis(hundredths.saturating_mul(10)));
            let memory = row.number(4).map(|kib| Bytes(kib.saturating_mul(1024)));
            let kind = kinds.entry((name.clone(), path.clone())).or_insert(Process {
                name,
                path,
                count: 0,
                memory: None,
                busy: None,
            });
            kind.count = kind.count.saturating_add(1);
            kind.memory = sum(kind.memory, memory, |a, b| Bytes(a.0.saturating_add(b.0)));
            kind.busy = sum(kind.busy, busy, Duration::saturating_add);
        }
        let left_out = kinds.len().saturating_sub(MAX_PROCESSES);
        Processes { list: kinds.into_values().take(MAX_PROCESSES).collect(), left_out }
    }
}

/// Both together, as far as they are known.
fn sum<T>(one: Option<T>, other: Option<T>, add: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(add(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::table::Cells;
    use crate::poll::value::Value;

    fn row(name: &str, path: &str, status: i32) -> Cells {
        let mut row = Cells::default();
        row.set(0, Value::Octets(name.as_bytes().to_vec()));
        row.set(1, Value::Octets(path.as_bytes().to_vec()));
        row.set(2, Value::Integer(status));
        row.set(3, Value::Integer(250));
        row.set(4, Value::Integer(2048));
        row
    }

    #[test]
    fn processes_of_one_name_and_path_are_counted_and_summed_up_and_dead_ones_are_not() {
        let mut ending = Cells::default();
        ending.set(2, Value::Integer(1));
        let rows = Rows::from([
            (vec![1], row("init", "/sbin/init", 1)),
            (vec![70], row("oracle", "ora_pmon_GIS", 2)),
            (vec![71], row("oracle", "ora_pmon_GIS", 3)),
            (vec![72], row("oracle", "ora_smon_GIS", 2)),
            (vec![73], row("oracle", "ora_pmon_GIS", 4)),
            (vec![74], ending),
        ]);
        let processes = Running::read(&rows);
        let told: Vec<_> =
            processes.list.iter().map(|p| (p.name.as_str(), p.path.as_str(), p.count)).collect();
        assert_eq!(
            told,
            [
                ("init", "/sbin/init", 1),
                ("oracle", "ora_pmon_GIS", 2),
                ("oracle", "ora_smon_GIS", 1)
            ]
        );
        let pmon = &processes.list[1];
        assert_eq!(pmon.memory, Some(Bytes(4 << 20)));
        assert_eq!(pmon.busy, Some(Duration::from_secs(5)));
        assert_eq!(processes.left_out, 0);
    }

    #[test]
    fn a_device_that_invents_names_is_held_to_a_bound_and_the_rest_is_counted() {
        let many = u32::try_from(MAX_PROCESSES).unwrap() + 17;
        let rows = (0..many).map(|index| (vec![index], row(&format!("p{index}"), "", 1))).collect();
        let processes = Running::read(&rows);
        assert_eq!((processes.list.len(), processes.left_out), (MAX_PROCESSES, 17));
    }
}
