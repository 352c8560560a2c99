//! Does a core switch still answer?

use super::super::{Alerts, Status, Verdict};
use super::device_silent::{answering, answers, said, silence};
use super::{DeviceCheck, Given, named};
use crate::text::Text;

/// Only of devices that the rule files call core switches: half a site hangs behind one.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "core_silent",
        || Text::new("Core switch answers", "核心交换机应答"),
        "network",
        Alerts::both("BaileyCoreSwitchDown"),
    ),
    parts: &[],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.core.broken() else { return Vec::new() };
    // One lost poll is none: two intervals must have passed.
    let down = given.wanted.core_down.0.max(given.device.polling.interval * 2);
    let status = match (silence(given) > down, answers(given)) {
        (true, true) => Status::Unknown,
        (true, false) => broken,
        (false, _) => answering(given),
    };
    vec![said(given, status)]
}
