//! Did the last run of every backup job work?

use super::newest_copy::{names, retired};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::backup::Job;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

/// One subject for each job. A job that no longer reports is left to the check of ages.
pub(super) const CHECK: Check = Check {
    name: "backup_result",
    title: || Text::new("Backup runs", "备份结果"),
    component: "backup",
    alert: Alerts::both("BaileyBackupFailed"),
    probes: &[ProbeName::Backup],
    absence: Absence::ProvesNothing,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.backup.failed_run.broken() else { return Vec::new() };
    let mut verdicts = Vec::new();
    for name in names(given) {
        let key = FactKey::new(FactKind::BackupJob, name);
        if given.facts().get(key.kind, name).is_none() {
            continue;
        }
        let job: &Job = match given.ask(name) {
            Ok(job) => job,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let (status, why, value) = if job.success {
            let why = Text::new(
                format!("the last run of {name} ({}) worked", job.tool),
                format!("{name}（{}）最近一次备份成功", job.tool),
            );
            (Status::Ok, why, "worked")
        } else {
            let said = if job.message.is_empty() { "-" } else { &job.message };
            let why = Text::new(
                format!("the last run of {name} ({}) failed: {said}", job.tool),
                format!("{name}（{}）最近一次备份失败：{said}", job.tool),
            );
            (broken, why, "failed")
        };
        let value = format!("{value}, ended {}", job.finished_at);
        verdicts.push(given.rests_on(Verdict::new(name, status, why), &key, value));
    }
    verdicts.extend(retired(given));
    verdicts
}
