//! Is the newest copy young enough?

use std::time::Duration;

use super::newest_copy::{by_our_clock, names, retired};
use super::sentence::with_limit;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::backup::{Job, Repository};
use crate::fact::{FactKey, FactKind, ProbeName, Reading};
use crate::text::Text;
use crate::time::{Timestamp, spoken};
use crate::unit::Period;

/// One subject for each job or repository; where both have one name, the repository counts, for an
/// exit code proves nothing. The age is measured now, so that silence grows old too.
pub(super) const CHECK: Check = Check {
    name: "backup_age",
    title: || Text::new("Backup age", "备份时效"),
    component: "backup",
    alert: Alerts { critical: "BaileyBackupMissing", warning: "BaileyBackupLate" },
    probes: &[ProbeName::Backup],
    absence: Absence::ProvesNothing,
    judge,
};

/// A copy from this far in the future is no copy whose age is known.
const FUTURE: Duration = Duration::from_mins(10);

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    names(given)
        .into_iter()
        .map(|name| look(given, name))
        .chain(retired(given))
        .chain(cannot_list(given))
        .collect()
}

/// When jobs or repositories cannot even be listed, that is unknown of the host as a whole.
fn cannot_list(given: &Given<'_>) -> Option<Verdict> {
    let kinds = [FactKind::BackupJob, FactKind::BackupRepository];
    let blind = kinds.into_iter().find(|&kind| {
        let whole = given.facts().get(kind, "");
        whole.is_some_and(|held| held.reading.known().is_none())
    });
    match given.facts().probe(ProbeName::Backup) {
        None => Some(given.untold(FactKind::BackupJob, "")),
        Some(probe) if probe.failed.is_some() => Some(given.untold(FactKind::BackupJob, "")),
        Some(_) => blind.map(|kind| given.untold(kind, "")),
    }
}

fn look(given: &Given<'_>, name: &str) -> Verdict {
    let job_key = FactKey::new(FactKind::BackupJob, name);
    let repository_key = FactKey::new(FactKind::BackupRepository, name);
    let job = given.facts().get(job_key.kind, name).map(|_| given.ask::<Job>(name));
    let repository =
        given.facts().get(repository_key.kind, name).map(|held| match &*held.reading {
            Reading::Known(_) => given.ask::<Repository>(name),
            Reading::Unreadable { .. } => Err(given.untold(repository_key.kind, name)),
        });
    let by_job = |job: &Job| age(given, name, &job_key, job.last_success_at);
    match (repository, job) {
        (Some(Ok(repository)), _) => {
            let newest = repository.newest.iter().map(|snapshot| snapshot.taken_at).max();
            age(given, name, &repository_key, newest)
        }
        (Some(Err(unknown)), Some(Ok(job))) => {
            // The job's word is not enough to be well, but enough to be ill.
            let said = by_job(job);
            match said.status {
                Status::Ok | Status::Unknown => unknown,
                Status::Warning | Status::Critical => said,
            }
        }
        (None, Some(Ok(job))) => by_job(job),
        (Some(Err(unknown)), Some(Err(_)) | None) | (None, Some(Err(unknown))) => unknown,
        (None, None) => never_reported(given, name, &job_key),
    }
}

fn never_reported(given: &Given<'_>, name: &str, key: &FactKey) -> Verdict {
    if let Some(unknown) = cannot_list(given) {
        return Verdict { subject: name.to_owned(), ..unknown };
    }
    let why = Text::new(
        format!("{name} is demanded, but the host reports no copy: never backed up"),
        format!("规则要求备份 {name}，但主机没有上报任何副本：从未备份"),
    );
    let verdict = Verdict::new(name, Status::Critical, why);
    given.rests_on(verdict, key, "not reported".to_owned())
}

fn age(given: &Given<'_>, name: &str, key: &FactKey, newest: Option<Timestamp>) -> Verdict {
    let wanted = &given.wanted.backup;
    let max = wanted.jobs.get(name).and_then(|job| job.max_age).unwrap_or(wanted.max_age);
    let Some(newest) = newest else {
        let why = Text::new(
            format!("{name} has no copy: never backed up"),
            format!("{name} 没有任何可用副本：从未成功备份"),
        );
        let verdict = Verdict::new(name, Status::Critical, why);
        return given.rests_on(verdict, key, "no copy".to_owned());
    };
    let taken = by_our_clock(given, newest);
    let value = format!("newest copy {newest}");
    if taken > given.now + FUTURE {
        let why = Text::new(
            format!("the newest copy of {name} is of {newest}, which is yet to come"),
            format!("{name} 最新副本的时间 {newest} 晚于当前时间，无法判断时效"),
        );
        return given.rests_on(Verdict::new(name, Status::Unknown, why), key, value);
    }
    let age = taken.age(given.now);
    let status = if age > max.0.saturating_mul(2) {
        Status::Critical
    } else if age > max.0 {
        Status::Warning
    } else {
        Status::Ok
    };
    let old = spoken(age);
    let said = Text::new(
        format!("the newest copy of {name} is {} old", old.en),
        format!("{name} 的最新副本距今 {}", old.zh),
    );
    let why = with_limit(said, Some(Period(max.0)));
    given.rests_on(Verdict::new(name, status, why), key, value)
}
