//! Do the probes read what is demanded?

use std::time::Duration;

use super::host_silent::is_silent;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::Agent;
use crate::fact::{FactKey, FactKind, ProbeName, Reading};
use crate::text::Text;
use crate::time::spoken;

/// One subject for each probe, and one for each problem of the agent itself. Without this, a host that cannot or will not read something would
/// only be unknown, and nobody would be told.
pub(super) const CHECK: Check = Check {
    name: "probe_failed",
    title: || Text::new("Probes", "采集探针"),
    component: "agent",
    alert: Alerts::both("BaileyProbeFailed"),
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

/// So long after enrolment every probe must have reported once.
const GRACE: Duration = Duration::from_mins(10);

/// Whether a check cannot do without facts of this kind. The others may be missing for good
/// reasons: no service manager, no sensors, an old kernel.
const fn is_needed(kind: FactKind) -> bool {
    match kind {
        FactKind::FileSystem
        | FactKind::Cpu
        | FactKind::Memory
        | FactKind::Load
        | FactKind::Clock
        | FactKind::Interface
        | FactKind::Route
        | FactKind::Neighbour
        | FactKind::Forwarding
        | FactKind::Rule
        | FactKind::Ruleset
        | FactKind::Hook
        | FactKind::BackupJob
        | FactKind::BackupRepository
        | FactKind::Enforcement
        | FactKind::RuleCounter
        | FactKind::LineQuality => true,
        FactKind::Identity
        | FactKind::Reboot
        | FactKind::Units
        | FactKind::Pressure
        | FactKind::Disk
        | FactKind::Temperature
        | FactKind::Agent
        | FactKind::Traffic
        | FactKind::Manager
        | FactKind::SeenFlow
        | FactKind::FlowWatch => false,
    }
}

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.agent.probe_failed.broken() else { return Vec::new() };
    let silent = is_silent(given);
    let agent = given.host.facts.value::<Agent>("");
    let troubles = agent.map(|agent| agent.problems.as_slice()).unwrap_or_default();
    let troubles = troubles.iter().map(|trouble| {
        let why = Text::new(
            format!("the agent has a problem: {trouble}"),
            format!("代理程序自身存在问题：{trouble}"),
        );
        let key = FactKey::new(FactKind::Agent, "");
        given.rests_on(Verdict::new(trouble.as_str(), broken, why), &key, trouble.clone())
    });
    ProbeName::ALL
        .into_iter()
        .filter(|probe| !is_of_a_newer_agent(given, *probe))
        .map(|probe| {
            let (status, why, value) = look(given, probe, broken);
            let mut verdict = Verdict::new(probe.as_str(), status, why);
            // What a silent host's probes do now is not known.
            verdict.stale = silent && status != Status::Unknown;
            let read_at = given.host.facts.probe(probe).map(|held| held.read_at);
            given.rests_on_session(verdict, &format!("probe.{probe}"), value, read_at)
        })
        .chain(troubles)
        .collect()
}

/// Whether the host's agent is of a version that does not have this probe yet: agents name every
/// probe they have in each report, one that has not answered too.
fn is_of_a_newer_agent(given: &Given<'_>, probe: ProbeName) -> bool {
    let later = matches!(probe, ProbeName::Enforcement | ProbeName::Flows | ProbeName::Lines);
    later && given.host.facts.probe(probe).is_none()
}

fn look(given: &Given<'_>, probe: ProbeName, broken: Status) -> (Status, Text, String) {
    let session = &given.host.session;
    let Some(held) = given.host.facts.probe(probe) else {
        let overdue =
            session.last_report_at.is_some() && session.enrolled_at.age(given.now) > GRACE;
        let why = Text::new(
            format!("the probe {probe} has never reported"),
            format!("探针 {probe} 从未上报数据"),
        );
        return (if overdue { broken } else { Status::Unknown }, why, "never read".to_owned());
    };
    if let Some(failed) = &held.failed {
        let why = Text::new(
            format!("the probe {probe} failed: {failed}"),
            format!("探针 {probe} 运行失败：{failed}"),
        );
        return (broken, why, failed.clone());
    }
    // What did not come since the last report came is missed with the host, which has a finding of its
    // own; what did not come with that report is missed of the probe.
    if held.is_stale(session.last_report_at.unwrap_or(given.now).min(given.now)) {
        let age = spoken(held.read_at.age(given.now));
        let why = Text::new(
            format!("the probe {probe} has read nothing for {}", age.en),
            format!("探针 {probe} 已有 {}没有读取数据", age.zh),
        );
        return (broken, why, format!("read {} ago", age.en));
    }
    let unreadable = given.host.facts.iter().find_map(|(key, fact)| match &*fact.reading {
        Reading::Unreadable { why } if key.kind.probe() == probe && is_needed(key.kind) => {
            Some((key, why))
        }
        Reading::Unreadable { .. } | Reading::Known(_) => None,
    });
    if let Some((key, reason)) = unreadable {
        let why = Text::new(
            format!("the probe {probe} cannot read {key}: {reason}"),
            format!("探针 {probe} 无法读取 {key}：{reason}"),
        );
        return (broken, why, reason.clone());
    }
    let age = spoken(held.read_at.age(given.now));
    let why = Text::new(
        format!("the probe {probe} read {} ago", age.en),
        format!("探针 {probe} 于 {}前读取数据", age.zh),
    );
    (Status::Ok, why, format!("read {} ago", age.en))
}
