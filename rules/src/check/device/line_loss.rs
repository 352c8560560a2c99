//! Does a line lose packets?

use super::super::sentence::with_limit;
use super::super::{Alerts, Verdict, line};
use super::far_end::{FarEnd, of_each};
use super::{DeviceCheck, Given, named};
use crate::device::quality::Quality;
use crate::text::Text;

/// One subject for each line whose far end is asked. What is lost in an outage is none of its business.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "line_loss",
        || Text::new("Loss on lines", "专线丢包"),
        "network",
        Alerts::both("BaileyLineQuality"),
    ),
    parts: &[],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.wanted.line_loss.is_off() {
        return Vec::new();
    }
    of_each(given, |far, quality| verdict(given, far, quality))
}

fn verdict(given: &Given<'_>, far: &FarEnd<'_>, quality: &Quality) -> Verdict {
    let (name, wanted) = (far.called(), &given.wanted.line_loss);
    let Some(lately) = quality.lately() else {
        return far.too_few(given, quality);
    };
    let status = wanted.judge(lately.lost);
    let why = with_limit(line::loses(&name, lately.lost), wanted.limit(status));
    let value = format!("{} of {} packets within 5 min", lately.lost, lately.asked);
    far.rests_on(given, quality, Verdict::new(far.subject(), status, why), value)
}
