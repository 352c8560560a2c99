//! Is a line full?

use std::time::Duration;

use super::super::sentence::{tight, with_limit};
use super::super::{Alerts, Status, Verdict};
use super::watched::{called, line, of_each, used};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::interface::{Interface, Link};
use crate::text::Text;

/// One subject for each interface whose traffic is counted and whose speed is known.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "link_use",
        || Text::new("Use of lines", "链路利用率"),
        "network",
        Alerts::both("BaileyLinkSaturated"),
    ),
    parts: &[Part::Interfaces],
    judge,
};

/// So much of the window must have been counted: a minute's burst fills no line.
const ENOUGH: Duration = Duration::from_mins(10);

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.wanted.link_use.is_off() { Vec::new() } else { of_each(given, verdict) }
}

fn verdict(given: &Given<'_>, interface: &Interface) -> Option<Verdict> {
    let use_now = used(given.device, given.wanted, interface)?;
    let wanted = &given.wanted.link_use;
    let window = given.device.traffic.get(&interface.index)?;
    let is_line = line(given.wanted, interface).is_some();
    // A port without a link carries nothing; that a line is down another check says.
    if interface.link != Link::Up && !is_line {
        return None;
    }
    let name = called(given, interface);
    let counted = use_now.rate.zip(use_now.part).filter(|_| window.covers() >= ENOUGH);
    let Some((used, part)) = counted else {
        let why = Text::new(
            format!("{name} has not been counted for long enough"),
            format!("{name} 统计时间不足"),
        );
        let verdict = Verdict::new(&*interface.name, Status::Unknown, why);
        let value = format!("counted for {} s", window.covers().as_secs());
        return Some(given.rests_on(verdict, Part::Interfaces, &interface.name, value));
    };
    let (status, speed) = (wanted.judge(part), use_now.speed);
    let said = Text::new(
        format!("{name} {part} used, {used} of {speed}"),
        format!("{name} 利用率 {}，{used} / {speed}", tight(&part)),
    );
    let verdict = Verdict::new(&*interface.name, status, with_limit(said, wanted.limit(status)));
    let value = format!("{used} on average over 15 min");
    Some(given.rests_on(verdict, Part::Interfaces, &interface.name, value))
}
