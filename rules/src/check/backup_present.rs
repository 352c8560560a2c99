//! Is there any backup at all?

use super::newest_copy::names;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::backup::{Job, Repository};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "backup_present",
    title: || Text::new("Backup set up", "备份配置"),
    component: "backup",
    alert: Alerts { critical: "BaileyBackupMissing", warning: "BaileyBackupAbsent" },
    probes: &[ProbeName::Backup],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.backup;
    let Some(broken) = wanted.present.broken() else { return Vec::new() };
    let names = names(given);
    let unreadable = [
        given.each::<Job>().map(|all| all.into_iter().find_map(|(_, told)| told.err())),
        given.each::<Repository>().map(|all| all.into_iter().find_map(|(_, told)| told.err())),
    ]
    .into_iter()
    .find_map(|told| told.unwrap_or_else(Some));
    let count = names.len();
    let (status, why) = match (count, unreadable) {
        (0, Some(unknown)) => return vec![Verdict { subject: String::new(), ..unknown }],
        (0, None) => (
            broken,
            Text::new(
                "no backup job and no repository is known on this host",
                "该主机上没有任何备份任务或备份仓库",
            ),
        ),
        (_, _) => (
            Status::Ok,
            Text::new(
                format!("{count} backup jobs and repositories"),
                format!("共有 {count} 个备份任务或仓库"),
            ),
        ),
    };
    let key = FactKey::new(FactKind::BackupJob, "");
    vec![given.rests_on(Verdict::new("", status, why), &key, format!("{count} known"))]
}
