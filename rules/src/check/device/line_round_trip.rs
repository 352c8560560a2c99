//! Is a line slow?

use super::super::sentence::with_limit;
use super::super::{Alerts, Verdict, line};
use super::far_end::{FarEnd, of_each};
use super::{DeviceCheck, Given, named};
use crate::device::quality::Quality;
use crate::text::Text;
use crate::unit::Period;

/// One subject for each line whose far end is asked.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "line_round_trip",
        || Text::new("Round trip on lines", "专线往返时延"),
        "network",
        Alerts::both("BaileyLineQuality"),
    ),
    parts: &[],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.wanted.line_round_trip.is_off() {
        return Vec::new();
    }
    of_each(given, |far, quality| verdict(given, far, quality))
}

fn verdict(given: &Given<'_>, far: &FarEnd<'_>, quality: &Quality) -> Verdict {
    let (name, wanted) = (far.called(), &given.wanted.line_round_trip);
    let Some(round_trip) = quality.lately().and_then(|lately| lately.round_trip) else {
        return far.too_few(given, quality);
    };
    let status = wanted.judge(Period(round_trip));
    let why = with_limit(line::takes(&name, round_trip), wanted.limit(status));
    let value = format!("{}, the median of 5 min", line::millis(round_trip));
    far.rests_on(given, quality, Verdict::new(far.subject(), status, why), value)
}
