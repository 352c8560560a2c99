//! Does only one program manage the filter?

use super::sentence::listed;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::firewall::{Manager, Ruleset};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "firewall_managers",
    title: || Text::new("One manager", "防火墙管理程序"),
    component: "firewall",
    alert: Alerts::both("BaileyFirewallManagersConflict"),
    probes: &[ProbeName::Firewall],
    absence: Absence::Resolves,
    judge,
};

/// More managers or filters than exist are not looked at.
const MAX_KNOWN: usize = 16;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.managers.broken() else { return Vec::new() };
    let (managers, rulesets) = match (given.each::<Manager>(), given.each::<Ruleset>()) {
        (Ok(managers), Ok(rulesets)) => (managers, rulesets),
        (Err(unknown), _) | (_, Err(unknown)) => return vec![unknown],
    };
    let mut unknown = None;
    let mut verdict = Verdict::new("", Status::Ok, Text::new("", ""));
    let mut active = Vec::new();
    for (name, told) in managers.into_iter().take(MAX_KNOWN) {
        match told {
            Ok(manager) => {
                if manager.active {
                    active.push(name);
                }
                let value = if manager.active { "active" } else { "not active" };
                let key = FactKey::new(FactKind::Manager, name);
                verdict = given.rests_on(verdict, &key, value.to_owned());
            }
            Err(why) => unknown = Some(why),
        }
    }
    let mut loaded = Vec::new();
    for (filter, told) in rulesets.into_iter().take(MAX_KNOWN) {
        match told {
            Ok(set) => {
                if set.rules > 0 {
                    loaded.push(filter);
                }
                let key = FactKey::new(FactKind::Ruleset, filter);
                verdict = given.rests_on(verdict, &key, format!("{} rules", set.rules));
            }
            Err(why) => unknown = Some(why),
        }
    }
    let legacy = loaded.iter().any(|filter| filter.ends_with("-legacy"));
    (verdict.status, verdict.why) = if active.len() > 1 {
        let why = Text::new(
            format!("{} both manage the filter; keep one", listed(&active, " and ")),
            format!("{} 同时在管理防火墙，请只保留一个", listed(&active, " 与 ")),
        );
        (broken, why)
    } else if legacy && loaded.contains(&"nftables") {
        let why = Text::new(
            format!("rules are loaded in {}; a packet must pass both", listed(&loaded, " and ")),
            format!("{} 中同时存在规则，数据包须先后通过两者", listed(&loaded, " 与 ")),
        );
        (broken, why)
    } else if let Some(unknown) = unknown {
        return vec![Verdict { subject: String::new(), ..unknown }];
    } else if let [one] = active.as_slice() {
        (Status::Ok, Text::new(format!("managed by {one}"), format!("由 {one} 管理")))
    } else {
        (Status::Ok, Text::new("no two programs manage the filter", "没有多个程序同时管理防火墙"))
    };
    vec![verdict]
}
