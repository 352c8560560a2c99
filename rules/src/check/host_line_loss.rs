//! Does a line lose packets whose far end the host asks?

use super::sentence::with_limit;
use super::{Absence, Alerts, Check, Given, Status, Verdict, line};
use crate::fact::ProbeName;
use crate::text::Text;
use crate::unit::Percent;

/// One subject for each far end in the settings of the agent. What is lost in an outage is none of its
/// business. The limits are those of the lines of devices.
pub(super) const CHECK: Check = Check {
    name: "host_line_loss",
    title: || Text::new("Loss on lines", "专线丢包"),
    component: "network",
    alert: Alerts::both("BaileyLineQuality"),
    probes: &[ProbeName::Lines],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.device.line_loss;
    if wanted.is_off() {
        return Vec::new();
    }
    line::of_each(given, |name, seen| {
        let Some(lately) = seen.lately else {
            return (Status::Unknown, line::too_few(name), "too few".to_owned());
        };
        let lost = Percent::from(lately.lost);
        let status = wanted.judge(lost);
        let why = with_limit(line::loses(name, lost), wanted.limit(status));
        (status, why, format!("{lost} of {} packets within 5 min", lately.asked))
    })
}
