//! Does the far end of a line answer?

use super::super::sentence::with_limit;
use super::super::{Alerts, Status, Verdict};
use super::far_end::{FarEnd, far_ends};
use super::{DeviceCheck, Given, named};
use crate::text::Text;
use crate::time::spoken;

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
    far_ends(given).iter().map(|far| verdict(given, far)).collect()
}

fn verdict(given: &Given<'_>, far: &FarEnd<'_>) -> Verdict {
    let quality = match far.seen() {
        Ok(quality) => quality,
        Err(unknown) => return unknown,
    };
    let silence = quality.silence();
    let wanted = &given.wanted.line_silent;
    let (name, ask, length) = (far.called(), far.ask, spoken(silence));
    let limit = |status| wanted.limit(status);
    let (status, why) = match wanted.judge(crate::unit::Period(silence)) {
        Status::Ok if silence.is_zero() => (
            Status::Ok,
            Text::new(
                format!("{ask}, the far end of {name}, answers"),
                format!("{name} 的对端 {ask} 应答正常"),
            ),
        ),
        status => {
            let said = Text::new(
                format!("{ask}, the far end of {name}, has not answered for {}", length.en),
                format!("{name} 的对端 {ask} 已有 {}没有应答", length.zh),
            );
            match far.other_cause(given) {
                Some(cause) if status != Status::Ok => (
                    Status::Unknown,
                    Text::new(
                        format!("{} ({})", cause.en, said.en),
                        format!("{}（{}）", cause.zh, said.zh),
                    ),
                ),
                Some(_) | None if status == Status::Ok => (status, said),
                Some(_) | None => (status, with_limit(said, limit(status))),
            }
        }
    };
    let value = quality.answered_at().map_or_else(|| "never".to_owned(), |at| at.to_string());
    far.rests_on(given, quality, Verdict::new(far.subject(), status, why), value)
}
