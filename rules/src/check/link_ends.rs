//! Do both ends of a link agree about speed and duplex? ([`crate::topology::ends`]) It is judged for the
//! whole site at once, and stands with the device that one of the ends is of.

use super::{Absence, Alerts, Check, Judged, Verdict, bounded};
use crate::text::Text;

/// One subject for each port whose link has ends that do not agree.
pub const CHECK: Check = Check {
    name: "link_ends",
    title: || Text::new("Both ends of links", "链路两端"),
    component: "network",
    alert: Alerts::both("BaileyDuplexMismatch"),
    probes: &[],
    absence: Absence::Resolves,
    // A host alone cannot tell.
    judge: |_| Vec::new(),
};

/// What the ends show of a device. `fresh`: whether it was asked lately; only then does what is gone
/// resolve.
#[must_use]
pub fn judged(verdicts: &[Verdict], fresh: bool) -> Judged {
    Judged { check: &CHECK, fresh, verdicts: bounded(verdicts.to_vec()) }
}
