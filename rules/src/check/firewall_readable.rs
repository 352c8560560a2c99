//! Can every rule be read?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::firewall::Ruleset;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

/// One subject for each filter of the kernel: `nftables`, `iptables-legacy`.
pub(super) const CHECK: Check = Check {
    name: "firewall_readable",
    title: || Text::new("Rules readable", "规则可识别"),
    component: "firewall",
    alert: Alerts::both("BaileyFirewallUnreadable"),
    probes: &[ProbeName::Firewall],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.readable.broken() else { return Vec::new() };
    let all = match given.each::<Ruleset>() {
        Ok(all) => all,
        Err(unknown) => return vec![unknown],
    };
    if all.is_empty() {
        return vec![given.untold(FactKind::Ruleset, "")];
    }
    all.into_iter()
        .map(|(filter, told)| {
            let set = match told {
                Ok(set) => set,
                Err(unknown) => return unknown,
            };
            let (status, why) = match set.opaque_rules {
                0 => (
                    Status::Ok,
                    Text::new(
                        format!("all {} rules of {filter} are read", set.rules),
                        format!("{filter} 的 {} 条规则均可识别", set.rules),
                    ),
                ),
                opaque => (
                    broken,
                    Text::new(
                        format!("{opaque} of {} rules of {filter} cannot be read", set.rules),
                        format!("{filter} 的 {} 条规则中有 {opaque} 条无法识别", set.rules),
                    ),
                ),
            };
            let key = FactKey::new(FactKind::Ruleset, filter);
            let value = format!("{} rules, {} opaque", set.rules, set.opaque_rules);
            given.rests_on(Verdict::new(filter, status, why), &key, value)
        })
        .collect()
}
