//! Does the machine want a reboot?

use super::sentence::listed;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::Reboot;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "reboot_needed",
    title: || Text::new("Reboot", "重启"),
    component: "host",
    alert: Alerts::both("BaileyRebootNeeded"),
    probes: &[ProbeName::System],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.host.reboot_needed.broken() else { return Vec::new() };
    let reboot: &Reboot = match given.ask("") {
        Ok(reboot) => reboot,
        Err(unknown) => return vec![unknown],
    };
    let (status, why, value) = match (reboot.needed, reboot.because.as_slice()) {
        (false, _) => {
            (Status::Ok, Text::new("no reboot is wanted", "无需重启"), "not needed".to_owned())
        }
        (true, []) => (broken, Text::new("a reboot is wanted", "需要重启"), "needed".to_owned()),
        (true, because) => {
            let named = listed(because, ", ");
            let why = Text::new(
                format!("a reboot is wanted for {named}"),
                format!("需要重启以使更新生效：{}", listed(because, "、")),
            );
            (broken, why, named)
        }
    };
    let key = FactKey::new(FactKind::Reboot, "");
    vec![given.rests_on(Verdict::new("", status, why), &key, value)]
}
