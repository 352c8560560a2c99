//! Does a line lose packets?

use super::super::sentence::{tight, with_limit};
use super::super::{Alerts, Status, Verdict};
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
    of_each(given, |far, quality| Some(verdict(given, far, quality)))
}

fn verdict(given: &Given<'_>, far: &FarEnd<'_>, quality: &Quality) -> Verdict {
    let (name, wanted) = (far.called(), &given.wanted.line_loss);
    let Some(lately) = quality.lately() else {
        let why = Text::new(
            format!("too few packets were answered over {name} to count"),
            format!("{name} 有应答的探测报文过少，无法统计"),
        );
        let verdict = Verdict::new(far.subject(), Status::Unknown, why);
        return far.rests_on(given, quality, verdict, "too few".to_owned());
    };
    let status = wanted.judge(lately.lost);
    let said = Text::new(
        format!("{name} loses {} of the packets there and back", lately.lost),
        format!("{name} 往返丢包 {}", tight(&lately.lost)),
    );
    let why = with_limit(said, wanted.limit(status));
    let value = format!("{} of {} packets within 5 min", lately.lost, lately.asked);
    far.rests_on(given, quality, Verdict::new(far.subject(), status, why), value)
}
