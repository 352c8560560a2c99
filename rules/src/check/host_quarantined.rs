//! Is the host in quarantine?

use super::enforced::{enforcement, rests_on_enforcer};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::ProbeName;
use crate::text::Text;
use crate::time::spoken;

pub(super) const CHECK: Check = Check {
    name: "host_quarantined",
    title: || Text::new("Quarantine", "主机隔离"),
    component: "firewall",
    alert: Alerts::both("BaileyHostQuarantined"),
    probes: &[ProbeName::Enforcement],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.firewall.quarantine.broken() else { return Vec::new() };
    let state = match enforcement(given) {
        None => return Vec::new(),
        Some(Ok(state)) => state,
        Some(Err(unknown)) => return vec![unknown],
    };
    let Some(quarantine) = &state.quarantine else {
        let why = Text::new("the host is not in quarantine", "主机未被隔离");
        let verdict = Verdict::new("", Status::Ok, why);
        return vec![rests_on_enforcer(given, verdict, "none".to_owned())];
    };
    let left = spoken(given.now.age(quarantine.until));
    let reason = &quarantine.reason;
    let why = Text::new(
        format!("in quarantine for another {}: {reason}", left.en),
        format!("隔离中，{}后自动解除：{reason}", left.zh),
    );
    let value = format!("order {} until {}", quarantine.order.version, quarantine.until);
    vec![rests_on_enforcer(given, Verdict::new("", broken, why), value)]
}
