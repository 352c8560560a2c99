//! Who a device is and since when it runs: `system` (RFC 3418).

use std::time::Duration;

use bailey_rules::device::seconds;
use serde::Serialize;

use super::{Profile, columns_of, mib_2};
use crate::poll::oid::Oid;
use crate::poll::table::Rows;
use crate::poll::value::Value;

/// The profile.
pub struct System;

/// What a device tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// `sysDescr`.
    pub description: Option<String>,
    /// `sysObjectID`: which product it is.
    pub product: Option<Oid>,
    /// `sysUpTime`: since when the agent runs. It wraps after 497 days.
    #[serde(serialize_with = "seconds")]
    pub up: Option<Duration>,
    /// `sysContact`.
    pub contact: Option<String>,
    /// `sysName`.
    pub name: Option<String>,
    /// `sysLocation`.
    pub location: Option<String>,
}

/// Hundredths of a second (RFC 2578 7.1.8).
pub(super) fn ticks(number: u64) -> Duration {
    Duration::from_millis(number.saturating_mul(10))
}

impl Profile for System {
    type Facts = Identity;

    fn root() -> Oid {
        mib_2(&[1])
    }

    fn columns() -> Vec<Oid> {
        columns_of(&Self::root(), &[1, 2, 3, 4, 5, 6])
    }

    fn read(rows: &Rows) -> Identity {
        let Some(row) = rows.get([0].as_slice()) else { return Identity::default() };
        Identity {
            description: row.text(0),
            product: row.get(1).and_then(Value::oid).cloned(),
            up: row.number(2).map(ticks),
            contact: row.text(3),
            name: row.text(4),
            location: row.text(5),
        }
    }
}
