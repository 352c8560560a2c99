//! Do the processes run that must?

use super::super::{Alerts, Status, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::processes::Processes;
use crate::expectation::Pattern;
use crate::text::Text;

/// One subject for each pattern of the rule files: the databases and services of minicomputers.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "process_missing",
        || Text::new("Processes", "进程"),
        "host",
        Alerts::both("BaileyProcessMissing"),
    ),
    parts: &[Part::Processes],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted;
    let Some(broken) = wanted.process_missing.broken() else { return Vec::new() };
    if wanted.processes.is_empty() {
        return Vec::new();
    }
    let processes = match given.ask(&given.device.processes, Part::Processes) {
        Ok(processes) => processes,
        Err(unknown) => return vec![unknown],
    };
    wanted.processes.iter().map(|pattern| verdict(given, processes, pattern, broken)).collect()
}

fn verdict(given: &Given<'_>, processes: &Processes, pattern: &Pattern, broken: Status) -> Verdict {
    let fits = |name: &str| !name.is_empty() && pattern.fits(name);
    let fitting =
        processes.list.iter().filter(|process| fits(&process.name) || fits(&process.path));
    let count: u64 = fitting.map(|process| u64::from(process.count)).sum();
    let (status, why) = match count {
        0 if processes.list.is_empty() => (
            Status::Unknown,
            Text::new(
                format!("the device tells of no process at all, so not of \"{pattern}\" either"),
                format!("设备未列出任何进程，无法判断 {pattern} 是否运行"),
            ),
        ),
        0 if processes.left_out > 0 => (
            Status::Unknown,
            Text::new(
                format!(
                    "\"{pattern}\" is not among the processes that are held; {} kinds are left out",
                    processes.left_out
                ),
                format!("已保存的进程中没有 {pattern}，另有 {} 种未保存", processes.left_out),
            ),
        ),
        0 => (
            broken,
            Text::new(format!("no \"{pattern}\" runs"), format!("没有运行中的 {pattern} 进程")),
        ),
        1 => (
            Status::Ok,
            Text::new(format!("one \"{pattern}\" runs"), format!("{pattern}：1 个进程")),
        ),
        many => (
            Status::Ok,
            Text::new(format!("{many} of \"{pattern}\" run"), format!("{pattern}：{many} 个进程")),
        ),
    };
    let verdict = Verdict::new(pattern.as_str(), status, why);
    given.rests_on(verdict, Part::Processes, pattern.as_str(), format!("{count} run"))
}
