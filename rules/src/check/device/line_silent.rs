//! Does the far end of a line answer?

use super::super::sentence::with_limit;
use super::super::{Alerts, Status, Verdict, line};
use super::far_end::{FarEnd, of_each};
use super::{DeviceCheck, Given, named};
use crate::device::quality::Quality;
use crate::text::Text;
use crate::unit::Period;

/// One subject for each line whose far end is asked. It rests on what the collector itself saw. Where the
/// device or its interface is down, that has a finding of its own, and this is unknown.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "line_silent",
        || Text::new("Far ends of lines", "专线对端"),
        "network",
        Alerts::both("BaileyLineDown"),
    ),
    parts: &[],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.wanted.line_silent.is_off() {
        return Vec::new();
    }
    of_each(given, |far, quality| Some(verdict(given, far, quality)))
}

fn verdict(given: &Given<'_>, far: &FarEnd<'_>, quality: &Quality) -> Verdict {
    let silence = quality.silence();
    let wanted = &given.wanted.line_silent;
    let (name, ask) = (far.called(), far.ask);
    let said = line::silent(&name, ask, silence);
    let status = wanted.judge(Period(silence));
    let (status, why) = if silence.is_zero() && status == Status::Ok {
        (status, line::answers(&name, ask))
    } else if status == Status::Ok {
        (status, said)
    } else if let Some(cause) = far.other_cause(given) {
        let why = Text::new(
            format!("{} ({})", cause.en, said.en),
            format!("{}（{}）", cause.zh, said.zh),
        );
        (Status::Unknown, why)
    } else {
        (status, with_limit(said, wanted.limit(status)))
    };
    let value = quality.answered_at().map_or_else(|| "never".to_owned(), |at| at.to_string());
    far.rests_on(given, quality, Verdict::new(far.subject(), status, why), value)
}
