//! Is the enforced table as it was ordered?

use super::enforced::{enforcement, rests_on_enforcer, who};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::ProbeName;
use crate::fact::enforcement::{DriftEnded, DriftSeen, Enforcement};
use crate::policy::Mode;
use crate::text::Text;
use crate::time::spoken;

pub(super) const CHECK: Check = Check {
    name: "ruleset_drift",
    title: || Text::new("Enforced rules", "规则一致性"),
    component: "firewall",
    alert: Alerts::both("BaileyFirewallDriftEnforced"),
    probes: &[ProbeName::Enforcement],
    absence: Absence::Resolves,
    judge,
};

/// The most lines of a drift that stand in the sentence.
const IN_SENTENCE: usize = 2;
/// The most lines that stand in the evidence.
const IN_EVIDENCE: usize = 16;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.drift.broken() else { return Vec::new() };
    let state = match enforcement(given) {
        None => return Vec::new(),
        Some(Ok(state)) => state,
        Some(Err(unknown)) => return vec![unknown],
    };
    let Some(drift) = &state.drift else {
        let why = Text::new("nobody has changed our table", "本机规则表未被改动");
        let verdict = Verdict::new("", Status::Ok, why);
        return vec![rests_on_enforcer(given, verdict, "no drift".to_owned())];
    };
    let by = who(drift.by.as_deref());
    let (status, why) = match &drift.ended {
        None => {
            let lasts = spoken(drift.since.age(given.now));
            let lines = lines(drift, IN_SENTENCE).join("; ");
            let why = Text::new(
                format!("{} changed our table {} ago: {lines}", by.en, lasts.en),
                format!("{} 于 {}前改动了本机规则表：{lines}", by.zh, lasts.zh),
            );
            (if is_strict(state) { broken } else { broken.min(Status::Warning) }, why)
        }
        Some(ended) => {
            let ago = spoken(ended.at.age(given.now));
            let (en, zh) = match ended.how {
                DriftEnded::Restored => ("was put back", "已自动恢复"),
                DriftEnded::Undone => ("was undone", "改动已被撤销"),
                DriftEnded::Replaced => ("gave way to another ruleset", "已由新规则集取代"),
            };
            let why = Text::new(
                format!("what {} changed in our table {en} {} ago", by.en, ago.en),
                format!("{} 对规则表的改动{zh}（{}前）", by.zh, ago.zh),
            );
            (Status::Ok, why)
        }
    };
    let value = lines(drift, IN_EVIDENCE).join("\n");
    vec![rests_on_enforcer(given, Verdict::new("", status, why), value)]
}

/// Whether what the policy does not let through is dropped: then a change may open the host.
fn is_strict(state: &Enforcement) -> bool {
    state.quarantine.is_some() || state.mode != Some(Mode::Observe)
}

/// The difference, one line each, and how many lines more there are.
fn lines(drift: &DriftSeen, most: usize) -> Vec<String> {
    let added = drift.added.iter().map(|line| format!("+ {line}"));
    let removed = drift.removed.iter().map(|line| format!("- {line}"));
    let mut lines: Vec<String> = added.chain(removed).take(most).collect();
    let all = drift.added.len() + drift.removed.len();
    let more = drift.more.saturating_add(u64::try_from(all - lines.len()).unwrap_or(u64::MAX));
    if more > 0 {
        lines.push(format!("… {more}"));
    }
    lines
}
