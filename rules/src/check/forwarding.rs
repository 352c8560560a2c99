//! Does the host forward packets that it may not?

use super::sentence::listed;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::links::Forwarding;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "forwarding",
    title: || Text::new("Forwarding", "数据包转发"),
    component: "isolation",
    alert: Alerts::both("BaileyIsolationViolation"),
    probes: &[ProbeName::Links],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let forwarding: &Forwarding = match given.ask("") {
        Ok(forwarding) => forwarding,
        Err(unknown) => return vec![unknown],
    };
    let mut on: Vec<String> = Vec::new();
    if forwarding.ipv4 {
        on.push("IPv4".to_owned());
    }
    if forwarding.ipv6 {
        on.push("IPv6".to_owned());
    }
    on.extend(forwarding.interfaces.iter().cloned());
    let (en, zh) = (listed(&on, ", "), listed(&on, "、"));
    let (status, why) = if on.is_empty() {
        (Status::Ok, Text::new("the host forwards nothing", "主机未开启转发"))
    } else if given.policy.forwards(&given.host.name) {
        let why = Text::new(
            format!("the host forwards ({en}), as the policy lets it"),
            format!("主机已开启转发（{zh}），策略允许"),
        );
        (Status::Ok, why)
    } else {
        let why = Text::new(
            format!(
                "the host forwards packets ({en}), which the policy does not let it; \
                 if it is meant to: forwards: true in the policy"
            ),
            format!(
                "主机开启了数据包转发（{zh}），策略不允许；\
                 如确需转发，请在策略文件中声明 forwards: true"
            ),
        );
        (Status::Critical, why)
    };
    let key = FactKey::new(FactKind::Forwarding, "");
    let value = if en.is_empty() { "off".to_owned() } else { en };
    vec![given.rests_on(Verdict::new("", status, why), &key, value)]
}
