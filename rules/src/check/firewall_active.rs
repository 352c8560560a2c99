//! Is there any filter on incoming packets?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::firewall::{DefaultPolicy, Hook, Ruleset};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "firewall_active",
    title: || Text::new("Firewall on", "防火墙启用"),
    component: "firewall",
    alert: Alerts::both("BaileyFirewallInactive"),
    probes: &[ProbeName::Firewall],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.active.broken() else { return Vec::new() };
    let hooks: [(&str, Result<&Hook, Verdict>); 2] =
        [("ip input", given.ask("ip input")), ("ip6 input", given.ask("ip6 input"))];
    let has_rules = match given.each::<Ruleset>() {
        Ok(all) => all.iter().any(|(_, told)| told.as_ref().map_or(true, |set| set.rules > 0)),
        Err(_) => true,
    };
    let mut verdict = Verdict::new("", Status::Ok, Text::new("", ""));
    let mut filters = Vec::new();
    let mut empty = Vec::new();
    for (hook, told) in hooks {
        let read = match told {
            Ok(read) => read,
            Err(unknown) => return vec![Verdict { subject: String::new(), ..unknown }],
        };
        // A chain that lets everything pass, in a kernel without a single rule, filters nothing.
        let is_empty = read.default == DefaultPolicy::Accept && !has_rules;
        if read.chains > 0 && read.default != DefaultPolicy::NoChain {
            if is_empty { empty.push(hook) } else { filters.push(read.by.as_str()) }
        }
        let value = format!("{} chains", read.chains);
        verdict = given.rests_on(verdict, &FactKey::new(FactKind::Hook, hook), value);
    }
    filters.dedup();
    (verdict.status, verdict.why) = if !filters.is_empty() {
        let by = filters.join(", ");
        let why = if by.is_empty() {
            Text::new("incoming packets are filtered", "入站数据包受到过滤")
        } else {
            Text::new(
                format!("incoming packets are filtered by {by}"),
                format!("入站数据包由 {by} 过滤"),
            )
        };
        (Status::Ok, why)
    } else if empty.is_empty() {
        let why = Text::new(
            "no filter: no chain is attached to incoming packets",
            "防火墙未启用：没有任何链处理入站数据包",
        );
        (broken, why)
    } else {
        let why = Text::new(
            "no filter: chains are attached, but there is no rule and all is accepted",
            "防火墙未生效：链已挂载，但没有任何规则，默认全部放行",
        );
        (broken, why)
    };
    vec![verdict]
}
