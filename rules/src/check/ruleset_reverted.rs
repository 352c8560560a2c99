//! Did a ruleset have to give way because nobody confirmed it, or the kernel refused it?

use std::time::Duration;

use super::enforced::{enforcement, rests_on_enforcer};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::ProbeName;
use crate::fact::enforcement::{Ended, LastChange};
use crate::text::Text;
use crate::time::spoken;

pub(super) const CHECK: Check = Check {
    name: "ruleset_reverted",
    title: || Text::new("Ruleset kept", "规则集回退"),
    component: "firewall",
    alert: Alerts::both("BaileyPolicyRolledBack"),
    probes: &[ProbeName::Enforcement],
    absence: Absence::Resolves,
    judge,
};

/// So long a revert stays a finding, unless a newer ruleset is confirmed before.
const KEPT: Duration = Duration::from_hours(24);

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.reverted.broken() else { return Vec::new() };
    let state = match enforcement(given) {
        None => return Vec::new(),
        Some(Ok(state)) => state,
        Some(Err(unknown)) => return vec![unknown],
    };
    let newer = |last: &LastChange| state.confirmed.is_some_and(|o| o.version > last.version);
    let reverted = state.last.and_then(|last| {
        let why = why(last.what).filter(|_| !newer(&last) && last.at.age(given.now) < KEPT)?;
        Some((last, why))
    });
    let Some((last, why)) = reverted else {
        let why = Text::new("no ruleset was reverted lately", "近期没有规则集被回退");
        let value = state.last.map_or_else(String::new, |last| format!("order {}", last.version));
        return vec![rests_on_enforcer(given, Verdict::new("", Status::Ok, why), value)];
    };
    let ago = spoken(last.at.age(given.now));
    let version = last.version;
    let text = Text::new(
        format!("order {version} was reverted {} ago: {}", ago.en, why.en),
        format!("命令 {version} 于 {}前被回退：{}", ago.zh, why.zh),
    );
    let value = format!("order {version} at {}", last.at);
    vec![rests_on_enforcer(given, Verdict::new("", broken, text), value)]
}

/// Why it had to give way; `None` where that was meant.
fn why(what: Ended) -> Option<Text> {
    match what {
        Ended::NotConfirmed => Some(Text::new(
            "nobody confirmed it over the new rules in time",
            "未能在新规则下及时确认",
        )),
        Ended::Rebooted => {
            Some(Text::new("the host was booted before it was confirmed", "确认前主机重启"))
        }
        Ended::RefusedByKernel => Some(Text::new("the kernel refused it", "被内核拒绝")),
        Ended::Confirmed
        | Ended::Superseded
        | Ended::Quarantined
        | Ended::QuarantineOver
        | Ended::Released => None,
    }
}
