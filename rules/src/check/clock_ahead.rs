//! Does the host's clock agree with the collector's?

use std::time::Duration;

use super::host_silent::is_silent;
use super::sentence::with_limit;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::text::Text;
use crate::unit::Period;

pub(super) const CHECK: Check = Check {
    name: "clock_ahead",
    title: || Text::new("Clock agrees", "时钟偏差"),
    component: "agent",
    alert: Alerts::both("BaileyClockSkew"),
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.agent.clock_ahead;
    if wanted.is_off() {
        return Vec::new();
    }
    let session = &given.host.session;
    let known_at = session.last_report_at;
    let Some(ahead) = session.clock_ahead_millis else {
        let why = Text::new("the host's clock has not been compared yet", "尚未与该主机比对时钟");
        let verdict = Verdict::new("", Status::Unknown, why);
        return vec![given.rests_on_session(
            verdict,
            "session.clock",
            "not compared".to_owned(),
            None,
        )];
    };
    let apart = Period(Duration::from_millis(ahead.unsigned_abs()));
    let status = wanted.judge(apart);
    let seconds = ahead.unsigned_abs() as f64 / 1000.0;
    let (side_en, side_zh) = if ahead < 0 { ("behind", "慢") } else { ("ahead of", "快") };
    let said = Text::new(
        format!("the host's clock is {seconds:.1} s {side_en} the collector's"),
        format!("主机时钟比采集器{side_zh} {seconds:.1} 秒"),
    );
    let mut verdict = Verdict::new("", status, with_limit(said, wanted.limit(status)));
    verdict.stale = is_silent(given);
    vec![given.rests_on_session(verdict, "session.clock", format!("{ahead} ms ahead"), known_at)]
}
