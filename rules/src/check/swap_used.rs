//! Is the swap space filling up?

use super::sentence::{tight, with_limit};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::Memory;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::{Bytes, Percent, Permille};

pub(super) const CHECK: Check = Check {
    name: "swap_used",
    title: || Text::new("Swap", "交换空间"),
    component: "host",
    alert: Alerts::both("BaileySwapUsed"),
    probes: &[ProbeName::Host],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.host.swap_used;
    if wanted.is_off() {
        return Vec::new();
    }
    let memory: &Memory = match given.ask("") {
        Ok(memory) => memory,
        Err(unknown) => return vec![unknown],
    };
    let key = FactKey::new(FactKind::Memory, "");
    let used = Bytes(memory.swap_total.0.saturating_sub(memory.swap_free.0));
    let value = format!("{used} of {}", memory.swap_total);
    let Some(part) = Permille::of(used.0, memory.swap_total.0).map(Percent::from) else {
        let why = Text::new("no swap space", "未配置交换空间");
        return vec![given.rests_on(Verdict::new("", Status::Ok, why), &key, value)];
    };
    let status = wanted.judge(part);
    let said = Text::new(
        format!("{part} of swap in use, {value}"),
        format!("交换空间已用 {}（{used} / {}）", tight(&part), memory.swap_total),
    );
    let why = with_limit(said, wanted.limit(status));
    vec![given.rests_on(Verdict::new("", status, why), &key, value)]
}
