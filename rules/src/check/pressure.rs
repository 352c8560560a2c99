//! Do tasks wait for processors, memory or storage (pressure stall information)?

use super::sentence::{tight, with_limit};
use super::{Absence, Alerts, Check, Given, Verdict};
use crate::fact::host::Pressure;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::Percent;

/// A kernel without pressure information reports none, and nothing is judged then.
pub(super) const CHECK: Check = Check {
    name: "pressure",
    title: || Text::new("Pressure", "资源压力"),
    component: "host",
    alert: Alerts::both("BaileyPressureHigh"),
    probes: &[ProbeName::Host],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let host = &given.wanted.host;
    let all = match given.each::<Pressure>() {
        Ok(all) => all,
        Err(unknown) => return vec![unknown],
    };
    let mut verdicts = Vec::new();
    for (resource, told) in all {
        // That a task waits for a processor is common; that all wait for memory is not.
        let (wanted, every_task) = match resource {
            "cpu" => (&host.pressure_cpu, false),
            "memory" => (&host.pressure_memory, true),
            "io" => (&host.pressure_io, true),
            _ => continue,
        };
        if wanted.is_off() {
            continue;
        }
        let pressure = match told {
            Ok(pressure) => pressure,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let stalled =
            if every_task { pressure.full.unwrap_or(pressure.some) } else { pressure.some };
        let stalled = Percent::from(stalled);
        let status = wanted.judge(stalled);
        let name = match resource {
            "memory" => "内存",
            "io" => "存储 I/O",
            _ => "CPU",
        };
        let said = Text::new(
            format!("tasks waited for {resource} {stalled} of the last minute"),
            format!("最近 1 分钟内任务等待{name}的时间占 {}", tight(&stalled)),
        );
        let why = with_limit(said, wanted.limit(status));
        let key = FactKey::new(FactKind::Pressure, resource);
        let verdict = Verdict::new(resource, status, why);
        verdicts.push(given.rests_on(verdict, &key, stalled.to_string()));
    }
    verdicts
}
