//! Were reports lost?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::text::Text;
use crate::time::spoken;

pub(super) const CHECK: Check = Check {
    name: "report_gaps",
    title: || Text::new("Reports complete", "上报完整性"),
    component: "agent",
    alert: Alerts::both("BaileyReportGaps"),
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let session = &given.host.session;
    let kept = given.wanted.agent.gaps_kept.0;
    let lost = session.lost_reports;
    let age = session.last_gap_at.map(|at| at.age(given.now));
    let (status, why) = match age {
        _ if lost == 0 => (Status::Ok, Text::new("no report was lost", "没有丢失上报")),
        Some(age) if age > kept => {
            let why = Text::new(
                format!("{lost} reports were lost in the past, none lately"),
                format!("过去曾丢失 {lost} 条上报，近期没有新的丢失"),
            );
            (Status::Ok, why)
        }
        Some(age) => {
            let ago = spoken(age);
            let why = Text::new(
                format!("{lost} reports were lost, last seen {} ago", ago.en),
                format!("丢失 {lost} 条上报，最近一次发现于 {}前", ago.zh),
            );
            (Status::Warning, why)
        }
        None => {
            let why = Text::new(format!("{lost} reports were lost"), format!("丢失 {lost} 条上报"));
            (Status::Warning, why)
        }
    };
    let value = format!("{} lost", session.lost_reports);
    vec![given.rests_on_session(
        Verdict::new("", status, why),
        "session.gaps",
        value,
        session.last_gap_at,
    )]
}
