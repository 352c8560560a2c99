//! Is a line slow whose far end the host asks?

use super::sentence::with_limit;
use super::{Absence, Alerts, Check, Given, Status, Verdict, line};
use crate::fact::ProbeName;
use crate::fact::lines::LatelyAsked;
use crate::text::Text;
use crate::unit::Period;

/// One subject for each far end in the settings of the agent. The limits are those of the lines of
/// devices.
pub(super) const CHECK: Check = Check {
    name: "host_line_round_trip",
    title: || Text::new("Round trip on lines", "专线往返时延"),
    component: "network",
    alert: Alerts::both("BaileyLineQuality"),
    probes: &[ProbeName::Lines],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.device.line_round_trip;
    if wanted.is_off() {
        return Vec::new();
    }
    line::of_each(given, |name, seen| {
        let round_trip = seen.lately.as_ref().and_then(LatelyAsked::round_trip);
        let Some(round_trip) = round_trip else {
            return (Status::Unknown, line::too_few(name), "too few".to_owned());
        };
        let status = wanted.judge(Period(round_trip));
        let why = with_limit(line::takes(name, round_trip), wanted.limit(status));
        (status, why, format!("{}, the median of 5 min", line::millis(round_trip)))
    })
}
