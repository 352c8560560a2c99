//! Does the host still report?

use std::time::Duration;

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::text::Text;
use crate::time::spoken;

/// Rests on what the collector itself knows, so it is always fresh.
pub(super) const CHECK: Check = Check {
    name: "host_silent",
    title: || Text::new("Reporting", "上报状态"),
    component: "agent",
    alert: Alerts { critical: "BaileyHostDown", warning: "BaileyHostStale" },
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

/// Whether the host has been silent for so long that what it said last proves nothing of now.
pub(super) fn is_silent(given: &Given<'_>) -> bool {
    status(given) != Status::Ok
}

/// However seldom a host says that it reports, silence for longer than some of these is silence.
const LONGEST_INTERVAL: Duration = Duration::from_mins(20);

fn status(given: &Given<'_>) -> Status {
    let session = &given.host.session;
    let wanted = &given.wanted.agent;
    let late = session.interval.min(LONGEST_INTERVAL).saturating_mul(wanted.silent_intervals.get());
    let down = wanted.silent_down.0.max(late);
    let silence = session.last_report_at.unwrap_or(session.enrolled_at).age(given.now);
    if silence > down {
        Status::Critical
    } else if silence > late {
        Status::Warning
    } else if session.last_report_at.is_none() {
        Status::Unknown
    } else {
        Status::Ok
    }
}

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let session = &given.host.session;
    let status = status(given);
    let ago = spoken(session.last_report_at.unwrap_or(session.enrolled_at).age(given.now));
    let why = match (status, session.last_report_at, session.goodbye_at) {
        (Status::Ok, _, _) => Text::new(
            format!("the last report came {} ago", ago.en),
            format!("{}前收到最近一次上报", ago.zh),
        ),
        (Status::Unknown | Status::Warning | Status::Critical, None, _) => Text::new(
            format!("enrolled {} ago and has not reported yet", ago.en),
            format!("{}前完成注册，至今没有上报", ago.zh),
        ),
        (Status::Unknown | Status::Warning | Status::Critical, Some(_), Some(_)) => Text::new(
            format!("the agent was stopped {} ago (it said a signed goodbye)", ago.en),
            format!("代理程序已于 {}前正常停止（收到签名的停止通知）", ago.zh),
        ),
        (Status::Unknown | Status::Warning | Status::Critical, Some(_), None) => {
            Text::new(format!("no report for {}", ago.en), format!("已有 {}没有收到上报", ago.zh))
        }
    };
    let value = session.last_report_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let verdict = Verdict::new("", status, why);
    let verdict =
        given.rests_on_session(verdict, "session.last_report", value, session.last_report_at);
    vec![match session.goodbye_at {
        None => verdict,
        Some(at) => given.rests_on_session(verdict, "session.goodbye", at.to_string(), Some(at)),
    }]
}
