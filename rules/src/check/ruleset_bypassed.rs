//! Do other tables let packets get round ours?

use super::enforced::{enforcement, rests_on_enforcer, who};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::ProbeName;
use crate::fact::enforcement::{Enforcement, RoundBy};
use crate::text::Text;

/// One subject for each way round.
pub(super) const CHECK: Check = Check {
    name: "ruleset_bypassed",
    title: || Text::new("No way round", "规则旁路"),
    component: "firewall",
    alert: Alerts::both("BaileyRulesetBypassed"),
    probes: &[ProbeName::Enforcement],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.bypassed.broken() else { return Vec::new() };
    let state = match enforcement(given) {
        None => return Vec::new(),
        Some(Ok(state)) => state,
        Some(Err(unknown)) => return vec![unknown],
    };
    if state.round.is_empty() || state.in_force.is_none() {
        let why =
            Text::new("no other table lets packets get round ours", "没有其他规则表绕过本机规则");
        return vec![rests_on_enforcer(given, Verdict::new("", Status::Ok, why), changed(state))];
    }
    let verdicts = state.round.iter().map(|round| {
        let how = what(round.how);
        let line = &round.line;
        let why = Text::new(format!("{}: {line}", how.en), format!("{}：{line}", how.zh));
        rests_on_enforcer(given, Verdict::new(line.as_str(), broken, why), changed(state))
    });
    verdicts.collect()
}

/// Who changed other tables last.
fn changed(state: &Enforcement) -> String {
    state.other.as_ref().map_or_else(
        || "no other table was changed".to_owned(),
        |other| {
            let by = who(other.by.as_deref()).en;
            format!("{by} changed {} at {}", other.tables.join(", "), other.at)
        },
    )
}

fn what(how: RoundBy) -> Text {
    match how {
        RoundBy::Flowtable => Text::new(
            "a flowtable forwards packets of known connections past our table",
            "flowtable 使已建立连接的转发绕过本机规则表",
        ),
        RoundBy::Forwarded => Text::new(
            "packets are handed to another interface before our table sees them",
            "数据包在进入本机规则表之前即被转交到其他接口",
        ),
        RoundBy::Copied => Text::new(
            "packets are copied to another place beside our verdict",
            "数据包被复制到别处，不受本机规则约束",
        ),
        RoundBy::Untracked => Text::new(
            "packets are kept from connection tracking, which our rules rest on",
            "数据包被排除在连接跟踪之外，而本机规则依赖连接状态",
        ),
        RoundBy::Rewritten => Text::new(
            "addresses are rewritten behind our table, so that the next host sees another sender",
            "地址在本机规则之后被改写，下一跳看到的来源不同",
        ),
    }
}
