//! Does the device still answer?

use std::time::Duration;

use super::super::{Alerts, Evidence, Status, Verdict};
use super::{DeviceCheck, Given, named};
use crate::expectation::Demand;
use crate::text::Text;
use crate::time::spoken;

/// Rests on what the collector itself knows, so it is always fresh. Of a core switch
/// [`super::core_silent`] speaks in its place: one cause, one alert.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "device_silent",
        || Text::new("Answers", "应答状态"),
        "network",
        Alerts { critical: "BaileyDeviceDown", warning: "BaileySnmpFailing" },
    ),
    parts: &[],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.wanted.core != Demand::Off {
        return Vec::new();
    }
    let late = given.device.polling.interval.saturating_mul(given.wanted.silent_intervals.get());
    let down = given.wanted.silent_down.0.max(late);
    let silence = silence(given);
    let status = if answers(given) {
        if silence > late { Status::Unknown } else { Status::Ok }
    } else if silence > down {
        Status::Critical
    } else if silence > late {
        Status::Warning
    } else {
        answering(given)
    };
    vec![said(given, status)]
}

/// Whether the device answered when it was asked last, however long ago that was: a long poll, or a
/// collector that is late, is no silence of the device.
pub(super) fn answers(given: &Given<'_>) -> bool {
    let polling = &given.device.polling;
    polling.answered_at.is_some() && polling.failed.is_none()
}

/// For how long the device has not answered, as far as this collector can know.
pub(super) fn silence(given: &Given<'_>) -> Duration {
    let polling = &given.device.polling;
    polling.answered_at.unwrap_or(polling.since).max(polling.since).age(given.now)
}

/// A device that has not been heard yet is unknown.
pub(super) fn answering(given: &Given<'_>) -> Status {
    match given.device.polling.answered_at {
        Some(_) => Status::Ok,
        None => Status::Unknown,
    }
}

/// The verdict of a device that answers, or does not.
pub(super) fn said(given: &Given<'_>, status: Status) -> Verdict {
    let polling = &given.device.polling;
    let ago = spoken(silence(given));
    let not_asked = || Text::new("it was not asked since", "此后尚未查询");
    let reason = polling.failed.clone().unwrap_or_else(not_asked);
    let why = match (status, polling.answered_at) {
        (Status::Ok, _) => {
            Text::new(format!("it answered {} ago", ago.en), format!("{}前有应答", ago.zh))
        }
        (Status::Unknown | Status::Warning | Status::Critical, Some(_)) => Text::new(
            format!("no answer for {}: {}", ago.en, reason.en),
            format!("已有 {}没有应答：{}", ago.zh, reason.zh),
        ),
        (Status::Unknown | Status::Warning | Status::Critical, None) => Text::new(
            format!("it has not answered in the {} since it is asked: {}", ago.en, reason.en),
            format!("开始查询 {}以来没有应答：{}", ago.zh, reason.zh),
        ),
    };
    let value = polling.answered_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let mut verdict = Verdict::new("", status, why);
    verdict.evidence.push(Evidence {
        fact: "polling.answered_at".to_owned(),
        value,
        read_at: polling.answered_at,
    });
    verdict
}
