//! Do more tasks want to run than the machine has cores?

use super::sentence::with_limit;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::{Cpu, Load};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::Hundredths;

pub(super) const CHECK: Check = Check {
    name: "load_per_core",
    title: || Text::new("Load", "系统负载"),
    component: "host",
    alert: Alerts::both("BaileyLoadHigh"),
    probes: &[ProbeName::Host],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.host.load_per_core;
    if wanted.is_off() {
        return Vec::new();
    }
    let (load, cpu): (&Load, &Cpu) = match (given.ask(""), given.ask("")) {
        (Ok(load), Ok(cpu)) => (load, cpu),
        (Err(unknown), _) | (_, Err(unknown)) => return vec![unknown],
    };
    let key = FactKey::new(FactKind::Load, "");
    let value = format!("{} over 5 min", Hundredths(load.five));
    let Some(each) = load.five.checked_div(cpu.cores).map(Hundredths) else {
        let why = Text::new("the host reports no core", "主机上报的 CPU 核数为 0");
        return vec![given.rests_on(Verdict::new("", Status::Unknown, why), &key, value)];
    };
    let status = wanted.judge(each);
    let said = Text::new(
        format!("load {each} a core over 5 min, {} cores", cpu.cores),
        format!("5 分钟平均负载每核 {each}，共 {} 核", cpu.cores),
    );
    let verdict = Verdict::new("", status, with_limit(said, wanted.limit(status)));
    let verdict = given.rests_on(verdict, &key, value);
    let cores = format!("{} cores", cpu.cores);
    vec![given.rests_on(verdict, &FactKey::new(FactKind::Cpu, ""), cores)]
}
