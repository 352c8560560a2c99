//! What the agent remembers of jobs, since a status file tells of the last run only: when the last
//! good run was, how large the copies were, and that the job exists at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bailey_rules::fact::backup::MAX_SNAPSHOTS;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::status_file::Status;

/// The most jobs remembered. Beyond that the ones whose file is gone and whose last good run is
/// oldest are forgotten.
const MAX_JOBS: usize = 512;
/// The longest file taken, in octets: all jobs with all their runs.
const MAX_FILE: u64 = 4 * 1024 * 1024;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    jobs: BTreeMap<String, Runs>,
}

/// Runs of one job that worked, newest first, at most [`MAX_SNAPSHOTS`].
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Runs(Vec<Run>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// Milliseconds since 1970.
    finished_at: i64,
    size: Option<u64>,
}

/// What is remembered, and where it is kept over restarts.
#[derive(Debug, Default)]
pub(super) struct History {
    file: Option<PathBuf>,
    remembered: Remembered,
}

impl History {
    /// What `file` holds. One that cannot be understood is set aside; what it knew is lost, and
    /// comes back with the next good runs.
    pub(super) fn kept_in(file: PathBuf) -> Self {
        let remembered = match read(&file) {
            Ok(remembered) => remembered,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Remembered::default(),
            Err(error) => {
                let aside = file.with_extension("damaged");
                warn!(file = %file.display(), %error, aside = %aside.display(),
                    "the history of backup jobs cannot be read; it is set aside and begins anew");
                if let Err(error) = std::fs::rename(&file, &aside) {
                    warn!(%error, "it cannot be set aside");
                }
                Remembered::default()
            }
        };
        Self { file: Some(file), remembered }
    }

    /// Takes what a job says of its last run.
    ///
    /// A file is read many times, so the same run counts once. Runs that claim to be later than
    /// this one were stamped by a clock that was wrong; they would hide that copies grow old.
    pub(super) fn note(&mut self, job: &str, status: &Status) {
        let runs = &mut self.remembered.jobs.entry(job.to_owned()).or_default().0;
        let finished_at = status.finished_at.as_millis();
        let later_or_same = |run: &Run| run.finished_at >= finished_at;
        if status.success {
            runs.retain(|run| !later_or_same(run));
            runs.insert(0, Run { finished_at, size: status.size });
            runs.truncate(MAX_SNAPSHOTS);
        } else {
            runs.retain(|run| run.finished_at <= finished_at);
        }
    }

    /// When the last run that worked ended.
    pub(super) fn last_success(&self, job: &str) -> Option<Timestamp> {
        let run = self.remembered.jobs.get(job)?.0.first()?;
        Some(Timestamp::from_millis(run.finished_at))
    }

    /// Sizes of the runs that worked and told one, newest first.
    pub(super) fn sizes(&self, job: &str) -> Vec<Bytes> {
        let runs = self.remembered.jobs.get(job).map(|runs| runs.0.as_slice()).unwrap_or_default();
        runs.iter().filter_map(|run| run.size.map(Bytes)).collect()
    }

    /// Every job that is remembered.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &str> {
        self.remembered.jobs.keys().map(String::as_str)
    }

    /// Forgets the retired, and what goes beyond the bound; `present` are never forgotten.
    pub(super) fn forget(&mut self, retired: &BTreeSet<String>, present: impl Fn(&str) -> bool) {
        let jobs = &mut self.remembered.jobs;
        jobs.retain(|job, _| !retired.contains(job));
        while jobs.len() > MAX_JOBS {
            let gone = jobs.iter().filter(|(job, _)| !present(job));
            let oldest = gone.min_by_key(|(_, runs)| runs.0.first().map(|run| run.finished_at));
            let Some(oldest) = oldest.map(|(job, _)| job.clone()) else { return };
            jobs.remove(&oldest);
        }
    }

    /// The state in one text, to see whether it has changed.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(&self.remembered).expect("names and numbers are always JSON")
    }

    /// Writes `text` to the disk, whole or not at all.
    pub(super) fn keep(&self, text: &str) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let beside = file.with_extension("new");
        let mut out = File::create(&beside)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&beside, file)
    }
}

fn read(file: &Path) -> std::io::Result<Remembered> {
    let mut text = Vec::new();
    File::open(file)?.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(at: i64, success: bool, size: Option<u64>) -> Status {
        Status {
            tool: "restic".to_owned(),
            started_at: Timestamp::from_seconds(at),
            finished_at: Timestamp::from_seconds(at),
            success,
            size,
            files: None,
            destination: String::new(),
            message: String::new(),
        }
    }

    #[test]
    fn a_failed_run_does_not_hide_when_the_last_good_one_was() {
        let mut history = History::default();
        history.note("home", &run(100, true, Some(5)));
        history.note("home", &run(200, false, None));
        assert_eq!(history.last_success("home"), Some(Timestamp::from_seconds(100)));
        assert_eq!(history.sizes("home"), [Bytes(5)]);
    }

    #[test]
    fn a_file_read_twice_is_one_run() {
        let mut history = History::default();
        for at in [100, 200, 200, 200] {
            history.note("home", &run(at, true, Some(1)));
        }
        assert_eq!(history.sizes("home").len(), 2);
    }

    #[test]
    fn a_run_from_the_future_does_not_outlive_the_next_run() {
        let mut history = History::default();
        history.note("home", &run(100, true, None));
        history.note("home", &run(9_999_999_999, true, None));
        history.note("home", &run(300, false, None));
        assert_eq!(history.last_success("home"), Some(Timestamp::from_seconds(100)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut history = History::default();
        for nth in 0..1000 {
            history.note(&format!("job-{nth}"), &run(nth, true, None));
            for at in 0..50 {
                history.note("home", &run(1000 + at, true, Some(1)));
            }
        }
        history.forget(&BTreeSet::new(), |job| job == "job-0" || job == "home");
        assert_eq!(history.jobs().count(), MAX_JOBS);
        assert!(history.jobs().any(|job| job == "job-0"), "its file is still there");
        assert_eq!(history.sizes("home").len(), MAX_SNAPSHOTS);
    }
}
