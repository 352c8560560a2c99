//! Checks of what traps tell. They judge a [`Ledger`] and rest on no probe: what the collector has
//! heard, it has heard, and what it has not heard is no fact.
//!
//! They stand beside the checks of polling and never in their place: a trap that something is well
//! resolves only what a trap has opened.

use super::catalogue::About;
use super::ledger::Ledger;
use crate::check::{Absence, Alerts, Check, Judged};
use crate::text::Text;
use crate::time::Timestamp;

const fn check(name: &'static str, title: fn() -> Text) -> Check {
    Check {
        name,
        title,
        component: "network",
        alert: Alerts { critical: "BaileyDeviceTrap", warning: "BaileyDeviceTrap" },
        probes: &[],
        absence: Absence::Resolves,
        // They are judged from a ledger, which is no fact of a host.
        judge: |_| Vec::new(),
    }
}

/// Every check of traps, each with what it is about.
pub static CHECKS: [(About, Check); 4] = [
    (About::Device, check("trap_device", || Text::new("Traps: device", "陷阱：设备"))),
    (About::Link, check("trap_link", || Text::new("Traps: links", "陷阱：链路"))),
    (About::Power, check("trap_power", || Text::new("Traps: power", "陷阱：电源"))),
    (About::Security, check("trap_security", || Text::new("Traps: security", "陷阱：安全"))),
];

/// What the traps of one sender come to at `now`.
#[must_use]
pub fn judge(ledger: &Ledger, now: Timestamp) -> Vec<Judged> {
    let judged = |(about, check): &'static (About, Check)| Judged {
        check,
        fresh: true,
        verdicts: ledger.verdicts(*about, now),
    };
    CHECKS.iter().map(judged).collect()
}
