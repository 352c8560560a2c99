//! Is there memory left for new programs?

use super::sentence::{tight, with_limit};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::Memory;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::{Percent, Permille};

pub(super) const CHECK: Check = Check {
    name: "memory_available",
    title: || Text::new("Memory", "内存"),
    component: "host",
    alert: Alerts::both("BaileyMemoryLow"),
    probes: &[ProbeName::Host],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.host.memory_available;
    if wanted.is_off() {
        return Vec::new();
    }
    let memory: &Memory = match given.ask("") {
        Ok(memory) => memory,
        Err(unknown) => return vec![unknown],
    };
    let key = FactKey::new(FactKind::Memory, "");
    let value = format!("{} of {}", memory.available, memory.total);
    let Some(part) = Permille::of(memory.available.0, memory.total.0).map(Percent::from) else {
        let why = Text::new("the host reports no memory at all", "主机上报的内存总量为 0");
        return vec![given.rests_on(Verdict::new("", Status::Unknown, why), &key, value)];
    };
    let status = wanted.judge(part);
    let said = Text::new(
        format!("{part} of memory available, {value}"),
        format!("可用内存 {}（{} / {}）", tight(&part), memory.available, memory.total),
    );
    let why = with_limit(said, wanted.limit(status));
    vec![given.rests_on(Verdict::new("", status, why), &key, value)]
}
