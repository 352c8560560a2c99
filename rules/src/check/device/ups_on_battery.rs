//! Does a UPS run on its battery, and for how long still?

use std::time::Duration;

use super::super::{Alerts, Status, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::power::{Battery, Power, Source};
use crate::text::Text;
use crate::time::spoken;
use crate::unit::Period;

/// A warning while the battery feeds the load; critical when it will not for much longer. A device
/// that is no UPS has no verdict.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "ups_on_battery",
        || Text::new("UPS on battery", "UPS 电池供电"),
        "power",
        Alerts { critical: "BaileyUpsOnBatteryLow", warning: "BaileyUpsOnBattery" },
    ),
    parts: &[Part::Power],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.ups_on_battery.broken() else { return Vec::new() };
    let power = match given.ask(&given.device.power, Part::Power) {
        Ok(Some(power)) => power,
        Ok(None) => return Vec::new(),
        Err(unknown) => return vec![unknown],
    };
    let on_battery = is_on_battery(power);
    let (status, why) = match on_battery {
        None => (
            Status::Unknown,
            Text::new("the UPS does not say what feeds the load", "UPS 未说明供电来源"),
        ),
        Some(false) => (Status::Ok, Text::new("the mains feed the load", "市电供电")),
        Some(true) => on_its_battery(given, power, broken),
    };
    let value = value(power);
    vec![given.rests_on(Verdict::new("", status, why), Part::Power, "", value)]
}

/// Whether the battery feeds the load; `None` when the UPS does not say.
#[must_use]
pub fn is_on_battery(power: &Power) -> Option<bool> {
    let since = power.on_battery.map(|since| since > Duration::ZERO);
    match power.source {
        Some(Source::Battery) => Some(true),
        Some(
            Source::None
            | Source::Normal
            | Source::Bypass
            | Source::Booster
            | Source::Reducer
            | Source::Other,
        ) => Some(since.unwrap_or(false)),
        None => since,
    }
}

fn on_its_battery(given: &Given<'_>, power: &Power, broken: Status) -> (Status, Text) {
    let wanted = &given.wanted.ups_runtime;
    let lasts = power.lasts.map(Period);
    let by_time = lasts.map_or(Status::Ok, |lasts| wanted.judge(lasts));
    let by_battery = match power.battery {
        Some(Battery::Low | Battery::Depleted) => Status::Critical,
        Some(Battery::Normal) | None => Status::Ok,
    };
    let status = broken.max(by_time).max(by_battery);
    let since = spoken(power.on_battery.unwrap_or_default());
    let left = match power.lasts.map(spoken) {
        Some(left) => {
            Text::new(format!("it will last {} more", left.en), format!("预计还可供电 {}", left.zh))
        }
        None => Text::new("how long it will last is not known", "剩余供电时间未知"),
    };
    let why = Text::new(
        format!("on battery for {}; {}", since.en, left.en),
        format!("电池供电已 {}；{}", since.zh, left.zh),
    );
    (status, why)
}

fn value(power: &Power) -> String {
    let minutes = |length: Option<Duration>| {
        length.map_or_else(|| "?".to_owned(), |length| (length.as_secs() / 60).to_string())
    };
    format!(
        "source {}, battery {}, {} min left, charge {}",
        power.source.map_or("?".to_owned(), |source| format!("{source:?}").to_lowercase()),
        power.battery.map_or("?".to_owned(), |battery| format!("{battery:?}").to_lowercase()),
        minutes(power.lasts),
        power.charge.map_or_else(|| "?".to_owned(), |charge| format!("{charge} %")),
    )
}
