//! Do packets arrive damaged?

use super::super::sentence::with_limit;
use super::super::{Alerts, Status, Verdict};
use super::watched::{called, of_each};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::interface::Interface;
use crate::text::Text;
use crate::unit::PerMillion;

/// One subject for each interface with enough packets to say anything.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "link_errors",
        || Text::new("Errors on lines", "链路误码"),
        "network",
        Alerts::both("BaileyLinkErrors"),
    ),
    parts: &[Part::Interfaces],
    judge,
};

/// Of fewer packets one damaged one would be a high part.
const ENOUGH: u64 = 1_000;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.wanted.link_errors.is_off() { Vec::new() } else { of_each(given, verdict) }
}

fn verdict(given: &Given<'_>, interface: &Interface) -> Option<Verdict> {
    let wanted = &given.wanted.link_errors;
    let faults = given.device.traffic.get(&interface.index)?.faults();
    if faults.packets < ENOUGH {
        return None;
    }
    let part = PerMillion::of(faults.errors, faults.packets)?;
    let status = wanted.judge(part);
    let name = called(given, interface);
    let (errors, packets) = (faults.errors, faults.packets);
    let said = if status == Status::Ok {
        Text::new(format!("{name} {part} in error"), format!("{name} 误码 {part}"))
    } else {
        Text::new(
            format!("{name} {part} in error: {errors} of {packets} packets"),
            format!("{name} 误码 {part}：{packets} 个报文中有 {errors} 个出错"),
        )
    };
    let verdict = Verdict::new(&*interface.name, status, with_limit(said, wanted.limit(status)));
    let value = format!("{errors} of {packets} packets, {} discarded", faults.discards);
    Some(given.rests_on(verdict, Part::Interfaces, &interface.name, value))
}
