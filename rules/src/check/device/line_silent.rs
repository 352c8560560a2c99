//! Does the far end of a line answer?

use super::super::line::Heard;
use super::super::{Alerts, Status, Verdict, line};
use super::far_end::{FarEnd, of_each};
use super::{DeviceCheck, Given, named};
use crate::device::quality::Quality;
use crate::text::Text;

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
    of_each(given, |far, quality| verdict(given, far, quality))
}

fn verdict(given: &Given<'_>, far: &FarEnd<'_>, quality: &Quality) -> Verdict {
    let heard = Heard {
        silence: quality.silence(),
        answered: quality.answered_at().is_some(),
        answers: quality.answers(),
    };
    let (name, ask) = (far.called(), far.ask);
    let (status, why) = line::answering(&name, ask, heard, &given.wanted.line_silent);
    let is_silent = matches!(status, Status::Warning | Status::Critical);
    let (status, why) = match far.other_cause(given).filter(|_| is_silent) {
        Some(cause) => {
            let said = line::silent(&name, ask, heard.silence);
            let why = Text::new(
                format!("{} ({})", cause.en, said.en),
                format!("{}（{}）", cause.zh, said.zh),
            );
            (Status::Unknown, why)
        }
        None => (status, why),
    };
    let value = quality.answered_at().map_or_else(|| "never".to_owned(), |at| at.to_string());
    far.rests_on(given, quality, Verdict::new(far.subject(), status, why), value)
}
