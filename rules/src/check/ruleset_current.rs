//! Does the host hold the ruleset that was pushed to it last?

use super::enforced::{enforcement, named, rests_on_enforcer};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::enforcement::Enforcement;
use crate::fact::{FactKind, ProbeName};
use crate::host::Pushed;
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "ruleset_current",
    title: || Text::new("Ruleset current", "规则集版本"),
    component: "firewall",
    alert: Alerts::both("BaileyRulesetNotCurrent"),
    probes: &[ProbeName::Enforcement],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.current.broken() else { return Vec::new() };
    let Some(pushed) = given.host.pushed else { return Vec::new() };
    let (verdict, value) = match enforcement(given) {
        Some(Err(unknown)) => return vec![unknown],
        Some(Ok(state)) => (look(state, pushed, broken), named(state.confirmed)),
        None if given.fresh(&[ProbeName::Enforcement]) => {
            let version = pushed.order.version;
            let why = Text::new(
                format!("order {version} was pushed here, but no enforcer runs on this host"),
                format!("已向本机推送命令 {version}，但本机没有运行策略执行程序"),
            );
            (Verdict::new("", broken, why), "no enforcer".to_owned())
        }
        None => return vec![given.untold(FactKind::Enforcement, "")],
    };
    let verdict = rests_on_enforcer(given, verdict, value);
    let order = named(Some(pushed.order));
    vec![given.rests_on_session(verdict, "push.order", order, Some(pushed.at))]
}

fn look(state: &Enforcement, pushed: Pushed, broken: Status) -> Verdict {
    let wanted = pushed.order.version;
    let (status, why) = match state.confirmed {
        Some(held) if held == pushed.order => {
            (Status::Ok, Text::new(format!("holds order {wanted}"), format!("已执行命令 {wanted}")))
        }
        _ if pushed.running => (
            Status::Ok,
            Text::new(format!("order {wanted} is on its way"), format!("命令 {wanted} 推送中")),
        ),
        Some(held) if held.version > wanted => (
            broken,
            Text::new(
                format!("holds order {}, which was not pushed from here", held.version),
                format!("执行的命令 {} 不是由本采集器推送", held.version),
            ),
        ),
        Some(held) => (
            broken,
            Text::new(
                format!("still holds order {}; order {wanted} was pushed", held.version),
                format!("仍在执行命令 {}，应为 {wanted}", held.version),
            ),
        ),
        None => (
            broken,
            Text::new(
                format!("holds no confirmed ruleset; order {wanted} was pushed"),
                format!("没有已确认的规则集，应为命令 {wanted}"),
            ),
        ),
    };
    Verdict::new("", status, why)
}
