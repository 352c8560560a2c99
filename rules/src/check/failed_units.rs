//! Has a unit of the service manager failed?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::Units;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

/// One subject for each failed unit, so that each is a finding of its own.
pub(super) const CHECK: Check = Check {
    name: "failed_units",
    title: || Text::new("Services", "系统服务"),
    component: "host",
    alert: Alerts::both("BaileyUnitFailed"),
    probes: &[ProbeName::System],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let host = &given.wanted.host;
    let Some(broken) = host.failed_units.broken() else { return Vec::new() };
    let units: &Units = match given.ask("") {
        Ok(units) => units,
        Err(unknown) => return vec![unknown],
    };
    let key = FactKey::new(FactKind::Units, "");
    let verdict = |subject: &str, status: Status, why: Text, value: &str| {
        given.rests_on(Verdict::new(subject, status, why), &key, value.to_owned())
    };
    let mut verdicts: Vec<Verdict> = units
        .failed
        .iter()
        .filter(|unit| !host.failed_units_ignore.iter().any(|pattern| pattern.fits(unit)))
        .map(|unit| {
            let why = Text::new(format!("{unit} has failed"), format!("{unit} 处于失败状态"));
            verdict(unit, broken, why, "failed")
        })
        .collect();
    let listed = u32::try_from(units.failed.len()).unwrap_or(u32::MAX);
    let more = units.failed_count.saturating_sub(listed);
    if more > 0 {
        let why = Text::new(
            format!("{more} more units have failed"),
            format!("另有 {more} 个服务处于失败状态"),
        );
        verdicts.push(verdict("", broken, why, &format!("{} failed", units.failed_count)));
    } else if verdicts.is_empty() {
        let why = Text::new("no unit has failed", "没有失败的服务");
        verdicts.push(verdict("", Status::Ok, why, "none failed"));
    }
    verdicts
}
