//! Does traffic go on that the policy would drop once it is enforced?

use std::time::Duration;

use super::enforced::enforcement;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::compile::WOULD_DROP;
use crate::fact::enforcement::RuleCounter;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::policy::Mode;
use crate::text::Text;
use crate::time::spoken;

pub(super) const CHECK: Check = Check {
    name: "would_drop",
    title: || Text::new("Would drop", "将被丢弃的流量"),
    component: "firewall",
    alert: Alerts::both("BaileyWouldDrop"),
    probes: &[ProbeName::Enforcement],
    absence: Absence::Resolves,
    judge,
};

/// A counter that has stood still for so long does not grow.
const QUIET: Duration = Duration::from_hours(1);

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.would_drop.broken() else { return Vec::new() };
    match enforcement(given) {
        Some(Ok(state)) if state.mode == Some(Mode::Observe) => {}
        // Whether anything is observed at all is another check's business.
        Some(Ok(_) | Err(_)) | None => return Vec::new(),
    }
    let counter: &RuleCounter = match given.ask(WOULD_DROP) {
        Ok(counter) => counter,
        Err(unknown) => return vec![Verdict { subject: String::new(), ..unknown }],
    };
    let held = given.host.facts.get(FactKind::RuleCounter, WOULD_DROP);
    let quiet = held.map_or(Duration::ZERO, |held| held.since.age(given.now));
    let packets = counter.packets;
    let (status, why) = if packets == 0 {
        let why = Text::new("the policy would drop nothing", "按策略没有流量会被丢弃");
        (Status::Ok, why)
    } else if quiet >= QUIET {
        let ago = spoken(quiet);
        let why = Text::new(
            format!("the last packet that the policy would drop passed {} ago", ago.en),
            format!("最近一次策略不允许的流量出现在 {}前", ago.zh),
        );
        (Status::Ok, why)
    } else {
        let why = Text::new(
            format!("{packets} packets passed that the policy would drop, the last ones just now"),
            format!("已有 {packets} 个策略不允许的数据包通过，且仍在增加"),
        );
        (broken, why)
    };
    let key = FactKey::new(FactKind::RuleCounter, WOULD_DROP);
    let value = format!("{packets} packets, {}", counter.octets);
    vec![given.rests_on(Verdict::new("", status, why), &key, value)]
}
