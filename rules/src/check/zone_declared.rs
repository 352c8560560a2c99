//! Does the policy say the same zone of this host as its enrolment?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "zone_declared",
    title: || Text::new("Zone", "安全域"),
    component: "isolation",
    alert: Alerts::both("BaileyZoneMismatch"),
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let zone = &given.host.zone;
    let named = given.policy.hosts.get(&given.host.name).map(|entry| &entry.zone);
    let (status, why) = match named {
        Some(other) if other != zone => (
            Status::Critical,
            Text::new(
                format!("enrolled into zone \"{zone}\", but the policy says \"{other}\""),
                format!("注册时属于安全域 {zone}，但策略文件声明其属于 {other}"),
            ),
        ),
        Some(_) | None if !given.policy.zones.contains_key(zone) => (
            Status::Warning,
            Text::new(
                format!("the policy does not define this host's zone \"{zone}\""),
                format!("策略文件中没有定义该主机所属的安全域 {zone}"),
            ),
        ),
        Some(_) | None => {
            (Status::Ok, Text::new(format!("in zone \"{zone}\""), format!("属于安全域 {zone}")))
        }
    };
    let value = named.map_or_else(|| "not named".to_owned(), ToString::to_string);
    let verdict = Verdict::new("", status, why);
    vec![given.rests_on_session(verdict, "policy.hosts", value, None)]
}
