//! Does the filter refuse what no rule decides?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::firewall::{DefaultPolicy, Hook};
use crate::fact::links::{Forwarding, Interface};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

/// One subject for each hook that must refuse: `ip input`, `ip6 forward`.
pub(super) const CHECK: Check = Check {
    name: "firewall_default_deny",
    title: || Text::new("Default deny", "默认拒绝"),
    component: "firewall",
    alert: Alerts::both("BaileyFirewallNotDefaultDeny"),
    probes: &[ProbeName::Firewall, ProbeName::Links],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.default_deny.broken() else { return Vec::new() };
    let mut verdicts = vec![look(given, "ip input", broken)];
    if speaks_ipv6(given) {
        verdicts.push(look(given, "ip6 input", broken));
    }
    match given.ask::<Forwarding>("") {
        Ok(forwarding) => {
            let by_interface = !forwarding.interfaces.is_empty();
            if forwarding.ipv4 || by_interface {
                verdicts.push(look(given, "ip forward", broken));
            }
            if forwarding.ipv6 || by_interface {
                verdicts.push(look(given, "ip6 forward", broken));
            }
        }
        // Whether packets pass through is not known, so neither is whether they must be refused.
        Err(unknown) => verdicts.push(unknown),
    }
    verdicts
}

/// Whether an interface has any IPv6 address besides loopback. A link-local one is enough to be
/// reached from the same wire. When interfaces are not known, it has.
fn speaks_ipv6(given: &Given<'_>) -> bool {
    given.each::<Interface>().map_or(true, |all| {
        all.is_empty()
            || all.iter().any(|(_, told)| {
                told.as_ref().map_or(true, |interface| {
                    interface.addresses.iter().any(|address| {
                        let address = address.addr();
                        address.is_ipv6() && !address.is_loopback()
                    })
                })
            })
    })
}

fn look(given: &Given<'_>, hook: &str, broken: Status) -> Verdict {
    let read: &Hook = match given.ask(hook) {
        Ok(read) => read,
        Err(unknown) => return unknown,
    };
    let by = if read.by.is_empty() { "-" } else { &read.by };
    let (status, why, value) = match read.default {
        DefaultPolicy::Drop => (
            Status::Ok,
            Text::new(
                format!("{hook}: {by} drops what no rule decides"),
                format!("{hook}：{by} 默认丢弃"),
            ),
            "drop",
        ),
        DefaultPolicy::Reject => (
            Status::Ok,
            Text::new(
                format!("{hook}: {by} rejects what no rule decides"),
                format!("{hook}：{by} 默认拒绝"),
            ),
            "reject",
        ),
        DefaultPolicy::Accept => (
            broken,
            Text::new(
                format!("{hook}: what no rule decides is let in ({by})"),
                format!("{hook}：未命中规则的数据包被默认放行（{by}）"),
            ),
            "accept",
        ),
        DefaultPolicy::NoChain => (
            broken,
            Text::new(
                format!("{hook}: no chain is attached, everything passes"),
                format!("{hook}：没有挂载任何链，全部放行"),
            ),
            "no chain",
        ),
        DefaultPolicy::Unknown => (
            Status::Unknown,
            Text::new(
                format!("{hook}: the end of {by} cannot be read"),
                format!("{hook}：无法识别 {by} 末尾的规则，默认动作未知"),
            ),
            "unknown",
        ),
    };
    let key = FactKey::new(FactKind::Hook, hook);
    given.rests_on(Verdict::new(hook, status, why), &key, value.to_owned())
}
