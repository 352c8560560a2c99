//! What is known of the copies that a backup job or repository keeps, for the checks of backups.

use std::collections::BTreeSet;

use super::{Given, Status, Told, Verdict};
use crate::fact::backup::{Job, Repository};
use crate::text::Text;
use crate::time::Timestamp;

/// Names of all jobs and repositories that are to be judged: known and demanded ones, without the
/// retired. A job and a repository of one name are about the same copies.
pub(super) fn names<'a>(given: &Given<'a>) -> BTreeSet<&'a str> {
    let wanted = &given.wanted.backup;
    let jobs = known::<Job>(given.each());
    let repositories = known::<Repository>(given.each());
    jobs.into_iter()
        .chain(repositories)
        .chain(wanted.jobs.keys().map(String::as_str))
        .filter(|name| !is_retired(given, name))
        .collect()
}

fn known<T>(told: Result<Vec<Told<'_, T>>, Verdict>) -> Vec<&str> {
    let all = told.unwrap_or_default();
    // The empty subject stands for all of them where they could not even be listed.
    all.into_iter().map(|(name, _)| name).filter(|name| !name.is_empty()).collect()
}

/// Whether the rule files retire it.
pub(super) fn is_retired(given: &Given<'_>, name: &str) -> bool {
    given.wanted.backup.ignore.iter().any(|retired| retired == name)
}

/// Says of every retired job that it is well, known or not, for only that resolves its findings.
pub(super) fn retired<'a>(given: &'a Given<'_>) -> impl Iterator<Item = Verdict> + 'a {
    given.wanted.backup.ignore.iter().map(|name| {
        let why = Text::new(
            format!("{name} is retired by the rule files"),
            format!("{name} 已在规则文件中停用"),
        );
        let verdict = Verdict::new(name, Status::Ok, why);
        given.rests_on_session(verdict, "rules backup.ignore", name.clone(), None)
    })
}

/// A time of the host's clock by the collector's.
pub(super) fn by_our_clock(given: &Given<'_>, at: Timestamp) -> Timestamp {
    let ahead = given.host.session.clock_ahead_millis.unwrap_or(0);
    at.shifted(ahead.saturating_neg())
}
