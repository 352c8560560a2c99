//! Checks of what only switches can tell ([`crate::topology::isolation`]): they are judged for the whole
//! site at once, and stand here with each asset that they are about.

use super::{Absence, Alerts, Check, Judged};
use crate::topology::isolation::{Concern, Kind};

/// What a check of the wires has in common with those of hosts.
const fn named(kind: Kind, title: fn() -> crate::text::Text) -> Check {
    Check {
        name: kind.as_str(),
        title,
        component: "isolation",
        alert: Alerts::both("BaileyIsolationViolation"),
        probes: &[],
        absence: Absence::Resolves,
        // A host alone cannot tell.
        judge: |_| Vec::new(),
    }
}

/// Every check of the wires, in the order of [`Kind::ALL`].
pub const CHECKS: &[Check] = &[
    named(Kind::TwoZones, || Kind::TwoZones.title()),
    named(Kind::NewAddress, || Kind::NewAddress.title()),
    named(Kind::ForeignNeighbour, || Kind::ForeignNeighbour.title()),
    named(Kind::ForeignVlan, || Kind::ForeignVlan.title()),
];

/// What the wires show of one asset, whose concerns these are. `fresh`: whether it was asked lately;
/// only then does a concern that is gone resolve.
#[must_use]
pub fn judged(concerns: &[Concern], fresh: bool) -> Vec<Judged> {
    let of = |(check, kind): (&'static Check, Kind)| Judged {
        check,
        fresh,
        verdicts: concerns
            .iter()
            .filter(|concern| concern.kind == kind)
            .map(|concern| concern.verdict.clone())
            .collect(),
    };
    CHECKS.iter().zip(Kind::ALL).map(of).collect()
}
