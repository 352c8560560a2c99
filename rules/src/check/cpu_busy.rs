//! Are the processors busy, and not only for a moment?

use super::sentence::{tight, with_limit};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::{Cpu, Load};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::{Hundredths, Percent};

pub(super) const CHECK: Check = Check {
    name: "cpu_busy",
    title: || Text::new("Processor", "处理器"),
    component: "host",
    alert: Alerts::both("BaileyCpuBusy"),
    probes: &[ProbeName::Host],
    absence: Absence::Resolves,
    judge,
};

/// From this load a core on, in hundredths, the processors were busy for minutes.
const SUSTAINED: u64 = 100;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.host.cpu_busy;
    if wanted.is_off() {
        return Vec::new();
    }
    let cpu: &Cpu = match given.ask("") {
        Ok(cpu) => cpu,
        Err(unknown) => return vec![unknown],
    };
    let busy = Percent::from(cpu.busy);
    let load = given.ask::<Load>("").ok();
    // A load that is not known excuses nothing.
    let is_burst =
        load.is_some_and(|load| u64::from(load.five) < SUSTAINED * u64::from(cpu.cores.max(1)));
    let status = if is_burst { Status::Ok } else { wanted.judge(busy) };
    let said = Text::new(
        format!("processors {busy} busy, {} waiting for storage", Percent::from(cpu.io_wait)),
        format!("CPU 使用率 {}，I/O 等待 {}", tight(&busy), tight(&Percent::from(cpu.io_wait))),
    );
    let why = with_limit(said, wanted.limit(status));
    let key = FactKey::new(FactKind::Cpu, "");
    let verdict = given.rests_on(Verdict::new("", status, why), &key, busy.to_string());
    vec![match load {
        None => verdict,
        Some(load) => given.rests_on(
            verdict,
            &FactKey::new(FactKind::Load, ""),
            format!("{} over 5 min, {} cores", Hundredths(load.five), cpu.cores),
        ),
    }]
}
