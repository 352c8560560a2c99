//! Checks of devices: the same as those of hosts, from what a device tells instead of facts. One
//! check is one file; this file says what differs and lists them all.

mod aggregate_degraded;
mod core_silent;
mod device_silent;
mod duplex;
mod far_end;
mod line_loss;
mod line_round_trip;
mod line_silent;
mod link_down;
mod link_errors;
mod link_use;
mod memory;
mod poe_fault;
mod poe_use;
mod poll_failed;
mod process_missing;
mod processor;
mod route;
mod storage;
mod temperature;
mod ups_fault;
mod ups_on_battery;
mod watched;

pub use memory::memories;
pub use processor::processors;
pub use temperature::{Sensor, sensors};
pub use ups_on_battery::is_on_battery;
pub use watched::{Used, interface_of, line, used};

use super::{Absence, Alerts, Check, Evidence, Judged, Status, Verdict, bounded};
use crate::device::{DeviceView, Held, Part};
use crate::expectation::{DeviceWanted, IsolationWanted};
use crate::policy::Policy;
use crate::text::Text;
use crate::time::Timestamp;

/// Everything a check of devices is given.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The device.
    pub device: &'a DeviceView,
    /// What the site's rule files demand of it.
    pub wanted: &'a DeviceWanted,
    /// What they allow it beyond its zone.
    pub isolation: &'a IsolationWanted,
    /// The site's policy.
    pub policy: &'a Policy,
    /// The time of judging. Ages are measured here, so that silence grows old too.
    pub now: Timestamp,
}

impl<'a> Given<'a> {
    /// Makes `verdict` rest on what a part says of `subject`: adds the evidence, and staleness when
    /// the part was last read longer ago than twice its interval, or could not be read since.
    #[must_use]
    fn rests_on(&self, mut verdict: Verdict, part: Part, subject: &str, value: String) -> Verdict {
        let freshness = self.device.freshness(part);
        verdict.stale |= freshness.is_stale(self.now);
        let fact = match subject {
            "" => part.as_str().to_owned(),
            subject => format!("{}.{subject}", part.as_str()),
        };
        verdict.evidence.push(Evidence { fact, value, read_at: freshness.read_at });
        verdict
    }

    /// Whether every part of the list was read lately, and could be when it was tried last.
    #[must_use]
    pub fn fresh(&self, parts: &[Part]) -> bool {
        parts.iter().all(|part| {
            let freshness = self.device.freshness(*part);
            !freshness.is_stale(self.now) && freshness.failed.is_none()
        })
    }

    /// What a part holds, or the verdict that it is unknown, and why.
    fn ask<T>(&self, held: &'a Held<T>, part: Part) -> Result<&'a T, Verdict> {
        held.value().ok_or_else(|| self.untold(part))
    }

    /// The verdict that nothing is known of a part, and why.
    fn untold(&self, part: Part) -> Verdict {
        let title = part.title();
        let why = match self.device.freshness(part).failed {
            Some(failed) => Text::new(
                format!("cannot read {}: {}", title.en, failed.en),
                format!("无法读取{}：{}", title.zh, failed.zh),
            ),
            None => Text::new(
                format!("nothing was read yet of: {}", title.en),
                format!("尚未读取{}", title.zh),
            ),
        };
        let failed = self.device.freshness(part).failed;
        let value = failed.map_or("never read", |failed| failed.en.as_str()).to_owned();
        let mut verdict = Verdict::new("", Status::Unknown, why);
        verdict.evidence.push(Evidence {
            fact: part.as_str().to_owned(),
            value,
            read_at: self.device.freshness(part).read_at,
        });
        verdict
    }
}

/// One check of devices.
#[derive(Debug, Clone, Copy)]
pub struct DeviceCheck {
    /// What it has in common with the checks of hosts. It says nothing of a host.
    pub check: Check,
    /// The parts that it judges; a finding resolves only while all of them are fresh.
    pub parts: &'static [Part],
    /// Judges. Gives a verdict for every subject it finds, good ones too.
    pub judge: fn(&Given<'_>) -> Vec<Verdict>,
}

/// What a check of devices has in common with those of hosts.
const fn named(
    name: &'static str,
    title: fn() -> Text,
    component: &'static str,
    alert: Alerts,
) -> Check {
    Check {
        name,
        title,
        component,
        alert,
        probes: &[],
        absence: Absence::Resolves,
        // A host has none of a device's parts.
        judge: |_| Vec::new(),
    }
}

/// Runs every check on one device.
#[must_use]
pub fn judge(given: &Given<'_>) -> Vec<Judged> {
    CHECKS
        .iter()
        .map(|of_device| Judged {
            check: &of_device.check,
            fresh: given.fresh(of_device.parts),
            verdicts: bounded((of_device.judge)(given)),
        })
        .collect()
}

/// Every check of devices, in the order of the screens.
pub const CHECKS: &[DeviceCheck] = &[
    // network
    device_silent::CHECK,
    core_silent::CHECK,
    poll_failed::CHECK,
    link_down::CHECK,
    aggregate_degraded::CHECK,
    link_use::CHECK,
    link_errors::CHECK,
    duplex::CHECK,
    line_silent::CHECK,
    line_loss::CHECK,
    line_round_trip::CHECK,
    // isolation
    route::CHECK,
    // power
    ups_on_battery::CHECK,
    ups_fault::CHECK,
    poe_fault::CHECK,
    poe_use::CHECK,
    // host
    temperature::CHECK,
    processor::CHECK,
    memory::CHECK,
    storage::CHECK,
    process_missing::CHECK,
];
