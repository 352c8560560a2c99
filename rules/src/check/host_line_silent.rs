//! Does the far end of a line answer that the host asks?

use super::sentence::with_limit;
use super::{Absence, Alerts, Check, Given, Status, Verdict, line};
use crate::fact::ProbeName;
use crate::fact::lines::LineQuality;
use crate::text::Text;
use crate::unit::Period;

/// One subject for each far end in the settings of the agent. The limits are those of the lines of
/// devices. For how long it is silent is what the host said when it was heard last: of the time
/// since then nothing is known, and a host that is cut off says nothing of its lines.
pub(super) const CHECK: Check = Check {
    name: "host_line_silent",
    title: || Text::new("Far ends of lines", "专线对端"),
    component: "network",
    alert: Alerts::both("BaileyLineDown"),
    probes: &[ProbeName::Lines],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.device.line_silent;
    if wanted.is_off() {
        return Vec::new();
    }
    line::of_each(given, |name, seen: &LineQuality| {
        let silence = seen.silence();
        let status = wanted.judge(Period(silence));
        let said = line::silent(name, seen.ask, silence);
        let (status, why) = match status {
            Status::Ok if seen.answers() => (status, line::answers(name, seen.ask)),
            Status::Ok if !seen.answered => (Status::Unknown, not_yet(name, seen)),
            Status::Ok => (status, said),
            Status::Unknown | Status::Warning | Status::Critical => {
                (status, with_limit(said, wanted.limit(status)))
            }
        };
        let value = match (seen.answers(), seen.answered) {
            (true, _) => "answers".to_owned(),
            (false, true) => format!("silent for {} s", silence.as_secs()),
            (false, false) => format!("never answered, asked for {} s", silence.as_secs()),
        };
        (status, why, value)
    })
}

/// Packets are on their way, or lost; it is too soon to tell.
fn not_yet(name: &str, seen: &LineQuality) -> Text {
    let ask = seen.ask;
    Text::new(
        format!("{ask}, the far end of {name}, has not answered yet"),
        format!("{name} 的对端 {ask} 尚无应答"),
    )
}
