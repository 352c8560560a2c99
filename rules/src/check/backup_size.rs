//! Is the newest copy of a likely size?

use super::newest_copy::{names, retired};
use super::sentence::tight;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::backup::{Job, Repository};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::{Bytes, Percent};

/// One subject for each job or repository whose sizes are told; the others are not judged.
pub(super) const CHECK: Check = Check {
    name: "backup_size",
    title: || Text::new("Backup size", "备份大小"),
    component: "backup",
    alert: Alerts::both("BaileyBackupSizeAnomaly"),
    probes: &[ProbeName::Backup],
    absence: Absence::ProvesNothing,
    judge,
};

/// Fewer copies before the newest than this have no median worth the name.
const MIN_EARLIER: usize = 3;

/// What is told of one row of copies, newest first.
struct Row {
    key: FactKey,
    sizes: Vec<u64>,
    files: Vec<u64>,
}

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for name in names(given) {
        match row(given, name) {
            Some(Ok(row)) => verdicts.extend(look(given, name, &row)),
            Some(Err(unknown)) => verdicts.push(unknown),
            None => {}
        }
    }
    verdicts.extend(retired(given));
    verdicts
}

/// The copies of a repository, else of a job.
fn row(given: &Given<'_>, name: &str) -> Option<Result<Row, Verdict>> {
    let facts = given.facts();
    if facts.get(FactKind::BackupRepository, name).is_some() {
        return Some(given.ask::<Repository>(name).map(|repository| {
            let mut copies: Vec<_> = repository.newest.iter().collect();
            copies.sort_by_key(|copy| std::cmp::Reverse(copy.taken_at));
            // A row counts from its newest on, as far as it is told without a hole.
            let sizes = copies.iter().map_while(|copy| copy.size.map(|size| size.0)).collect();
            let files = copies.iter().map_while(|copy| copy.files).collect();
            Row { key: FactKey::new(FactKind::BackupRepository, name), sizes, files }
        }));
    }
    facts.get(FactKind::BackupJob, name)?;
    Some(given.ask::<Job>(name).map(|job| Row {
        key: FactKey::new(FactKind::BackupJob, name),
        sizes: job.sizes.iter().map(|size| size.0).collect(),
        files: job.files.filter(|_| job.success).into_iter().collect(),
    }))
}

fn look(given: &Given<'_>, name: &str, row: &Row) -> Option<Verdict> {
    let wanted = &given.wanted.backup;
    let newest_size = row.sizes.first().copied();
    let newest_files = row.files.first().copied();
    let value = match (newest_size, newest_files) {
        (None, None) => return None,
        (Some(size), None) => Bytes(size).to_string(),
        (None, Some(files)) => format!("{files} files"),
        (Some(size), Some(files)) => format!("{}, {files} files", Bytes(size)),
    };
    let odd = |row: &[u64]| {
        against_median(row).filter(|&part| part < wanted.smaller_than || part > wanted.larger_than)
    };
    let (status, why) = if newest_size == Some(0) || newest_files == Some(0) {
        let why = Text::new(
            format!("the newest copy of {name} is empty"),
            format!("{name} 的最新副本为空"),
        );
        (Status::Critical, why)
    } else if let Some(part) = odd(&row.sizes) {
        let why = Text::new(
            format!("the newest copy of {name} ({value}) is {part} of the usual size"),
            format!("{name} 的最新副本（{value}）大小为平时的 {}", tight(&part)),
        );
        (Status::Warning, why)
    } else if let Some(part) = odd(&row.files) {
        let why = Text::new(
            format!("the newest copy of {name} ({value}) has {part} of the usual number of files"),
            format!("{name} 的最新副本（{value}）文件数为平时的 {}", tight(&part)),
        );
        (Status::Warning, why)
    } else {
        let why = Text::new(
            format!("the newest copy of {name} has {value}"),
            format!("{name} 的最新副本：{value}"),
        );
        (Status::Ok, why)
    };
    Some(given.rests_on(Verdict::new(name, status, why), &row.key, value))
}

/// The newest as a part of the median of the ones before it.
fn against_median(row: &[u64]) -> Option<Percent> {
    let (newest, earlier) = row.split_first()?;
    if earlier.len() < MIN_EARLIER {
        return None;
    }
    let mut earlier = earlier.to_vec();
    earlier.sort_unstable();
    let median = earlier[earlier.len() / 2];
    let part = (u128::from(*newest) * 1000).checked_div(u128::from(median))?;
    Some(Percent(u32::try_from(part).unwrap_or(u32::MAX)))
}
