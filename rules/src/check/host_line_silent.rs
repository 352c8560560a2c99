//! Does the far end of a line answer that the host asks?

use super::line::Heard;
use super::{Absence, Alerts, Check, Given, Verdict, line};
use crate::fact::ProbeName;
use crate::fact::lines::LineQuality;
use crate::text::Text;

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
        let (silence, answered, answers) = (seen.silence(), seen.answered, seen.answers());
        let heard = Heard { silence, answered, answers };
        let (status, why) = line::answering(name, seen.ask, heard, wanted);
        let value = match (answers, answered) {
            (true, _) => "answers".to_owned(),
            (false, true) => format!("silent for {} s", silence.as_secs()),
            (false, false) => format!("never answered, asked for {} s", silence.as_secs()),
        };
        (status, why, value)
    })
}
