//! Does a UPS protect its load?

use super::super::sentence::listed;
use super::super::{Alerts, Status, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::power::{Power, Source};
use crate::text::Text;

/// Alarms, bypass and a dead output. That it runs on its battery another check says.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "ups_fault",
        || Text::new("UPS fault", "UPS 故障"),
        "power",
        Alerts::both("BaileyUpsFault"),
    ),
    parts: &[Part::Power],
    judge,
};

/// Alarms of `upsWellKnownAlarms` (RFC 1628) that come with every failure of the mains.
const OF_THE_MAINS: [&str; 4] = ["on battery", "low battery", "input bad", "test in progress"];

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.ups_fault.broken() else { return Vec::new() };
    let power = match given.ask(&given.device.power, Part::Power) {
        Ok(Some(power)) => power,
        Ok(None) => return Vec::new(),
        Err(unknown) => return vec![unknown],
    };
    let (status, why, value) = look(power, broken);
    vec![given.rests_on(Verdict::new("", status, why), Part::Power, "", value)]
}

fn look(power: &Power, broken: Status) -> (Status, Text, String) {
    let alarms: Vec<&String> =
        power.alarms.iter().filter(|alarm| !OF_THE_MAINS.contains(&alarm.as_str())).collect();
    match power.source {
        Some(Source::None) => (
            Status::Critical,
            Text::new("the UPS feeds nothing", "UPS 无输出"),
            "source none".to_owned(),
        ),
        Some(Source::Bypass) => (
            broken,
            Text::new("the load is on bypass: nothing protects it", "负载处于旁路供电，没有保护"),
            "source bypass".to_owned(),
        ),
        _ if !alarms.is_empty() => (
            broken,
            Text::new(
                format!("the UPS has an alarm: {}", listed(&alarms, ", ")),
                format!("UPS 告警：{}", listed(&alarms, "，")),
            ),
            listed(&alarms, ", "),
        ),
        Some(
            Source::Normal | Source::Battery | Source::Booster | Source::Reducer | Source::Other,
        )
        | None => (Status::Ok, Text::new("no alarm", "没有告警"), "no alarm".to_owned()),
    }
}
