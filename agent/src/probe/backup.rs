//! The probe `backup`: what jobs say of their last run, and what repositories really hold.
//!
//! | what | from where | told of changes |
//! |---|---|---|
//! | jobs | status files in the drop folder (`docs/backup-status.md`) | yes, inotify |
//! | repositories of restic and borg | the program itself, every [`REPOSITORY_INTERVAL`] | no |
//!
//! A job is never silently gone: once it was seen, it is reported until a file `JOB.retired` says
//! that it has ended. It cannot know whether a copy can be restored; only a restore shows that.

mod borg;
mod history;
mod repository;
mod restic;
mod status_file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::fact::backup::Job;
use bailey_rules::fact::{Fact, FactKind, ProbeName};
use bailey_rules::unit::Bytes;
use futures::future::BoxFuture;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, warn};

use self::history::History;
pub use self::repository::REPOSITORY_INTERVAL;
use self::repository::Repositories;
use self::status_file::{Scan, Scanner, Status};
use crate::probe::program::SYSTEM_FOLDERS;
use crate::probe::{Probe, ProbeError, Wake};
use crate::settings;

/// Where repositories' programs are looked for besides the system's folders: both are often
/// installed by hand.
const LOCAL_FOLDER: &str = "/usr/local/bin";
/// A file is often changed several times in a row. Changes count as over after a rest of this length,
const REST: Duration = Duration::from_millis(200);
/// or when the first is this old.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads backup jobs and repositories.
#[derive(Debug)]
pub struct BackupProbe {
    settings: settings::Backup,
    scanner: Scanner,
    history: History,
    /// What of the history is on the disk.
    kept: String,
    repositories: Repositories,
    folder: Folder,
}

impl BackupProbe {
    /// A probe of the jobs and repositories in the settings. What it remembers of jobs is lost at
    /// the end of the process unless [`BackupProbe::remembering_in`] names a folder.
    #[must_use]
    pub fn new(settings: &settings::Backup) -> Self {
        Self {
            repositories: repositories(settings, None),
            settings: settings.clone(),
            scanner: Scanner::default(),
            history: History::default(),
            kept: History::default().to_text(),
            folder: Folder::default(),
        }
    }

    /// Keeps what it remembers of jobs in `state`, the agent's own folder, and lets borg keep its
    /// cache there.
    #[must_use]
    pub fn remembering_in(mut self, state: &Path) -> Self {
        self.history = History::kept_in(state.join("backup-history.json"));
        self.kept = self.history.to_text();
        let cache = Some(state.join("borg"));
        self.repositories = repositories(&self.settings, cache);
        self
    }

    fn jobs(&mut self) -> Vec<Fact> {
        let scan = self.scanner.scan(&self.settings.drop_directory);
        self.folder.watch(&self.settings.drop_directory, scan.folder);
        for (job, status) in &scan.jobs {
            if let Ok(status) = status {
                self.history.note(job, status);
            }
        }
        self.history.forget(&scan.retired, |job| scan.jobs.contains_key(job));
        self.keep();
        let here = scan.jobs.iter().map(|(job, status)| match status {
            Ok(status) => Fact::known(job, self.fact(job, status)),
            Err(why) => Fact::unreadable(FactKind::BackupJob, job, why),
        });
        let gone = self.history.jobs().filter(|job| !scan.jobs.contains_key(*job));
        let gone =
            gone.map(|job| Fact::unreadable(FactKind::BackupJob, job, self.gone(job, &scan)));
        let mut facts: Vec<Fact> = here.chain(gone).collect();
        // The empty subject stands for all jobs.
        facts.extend(
            scan.trouble.as_ref().map(|why| Fact::unreadable(FactKind::BackupJob, "", why)),
        );
        facts
    }

    fn fact(&self, job: &str, status: &Status) -> Job {
        Job {
            tool: status.tool.clone(),
            started_at: status.started_at,
            finished_at: status.finished_at,
            success: status.success,
            size: status.size.map(Bytes),
            files: status.files,
            destination: status.destination.clone(),
            message: status.message.clone(),
            last_success_at: self.history.last_success(job),
            sizes: self.history.sizes(job),
        }
    }

    /// Why nothing is known of a job that was there once.
    fn gone(&self, job: &str, scan: &Scan) -> String {
        let last = match self.history.last_success(job) {
            Some(at) => format!("its last good run ended {at}"),
            None => "it never had a good run".to_owned(),
        };
        match &scan.trouble {
            Some(why) => format!("{why}; {last}"),
            None => format!("the status file is gone; {last}"),
        }
    }

    fn keep(&mut self) {
        let text = self.history.to_text();
        if text == self.kept {
            return;
        }
        match self.history.keep(&text) {
            Ok(()) => self.kept = text,
            // It is tried again at the next reading.
            Err(error) => warn!(%error, "the history of backup jobs cannot be written"),
        }
    }
}

fn repositories(settings: &settings::Backup, cache: Option<PathBuf>) -> Repositories {
    let folders = SYSTEM_FOLDERS.into_iter().chain([LOCAL_FOLDER]).map(PathBuf::from).collect();
    Repositories::new(&settings.repositories, folders, cache)
}

impl Probe for BackupProbe {
    fn name(&self) -> ProbeName {
        ProbeName::Backup
    }

    fn read(&mut self, _wake: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
        Box::pin(async {
            self.folder.catch_up();
            let mut facts = self.jobs();
            self.repositories.begin_due().await;
            facts.extend(self.repositories.facts());
            Ok(facts)
        })
    }

    fn told(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            tokio::select! {
                () = self.folder.changed() => {}
                () = self.repositories.finished() => {}
            }
        })
    }
}

/// The watch on the drop folder.
#[derive(Debug, Default)]
struct Folder {
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of what is watched: a folder that was replaced is watched anew.
    watched: Option<(u64, u64)>,
    events: Arc<Notify>,
    /// When the first change came that nobody has looked at yet.
    first: Option<Instant>,
}

impl Folder {
    fn watch(&mut self, path: &Path, folder: Option<(u64, u64)>) {
        if folder == self.watched && (self.watcher.is_some() || folder.is_none()) {
            return;
        }
        self.watcher = None;
        self.watched = folder;
        if folder.is_none() {
            return;
        }
        match self.begin(path) {
            Ok(watcher) => self.watcher = Some(watcher),
            // Changes are then seen at the next interval.
            Err(error) => debug!(%error, "the drop folder cannot be watched"),
        }
    }

    /// The folder and never a file in it: a file that is renamed over takes its watch along.
    fn begin(&self, path: &Path) -> notify::Result<RecommendedWatcher> {
        let events = Arc::clone(&self.events);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| is_change(event.kind)) {
                    events.notify_one();
                }
            })?;
        watcher.watch(path, RecursiveMode::NonRecursive)?;
        // Whatever came before the watch is looked at once more.
        self.events.notify_one();
        Ok(watcher)
    }

    fn catch_up(&mut self) {
        self.first = None;
    }

    /// Completes when something has changed and the change seems to be over. May be dropped and
    /// called again at any time.
    async fn changed(&mut self) {
        if self.first.is_none() {
            self.events.notified().await;
            self.first = Some(Instant::now());
        }
        while let Some(first) = self.first {
            let over = (first + PATIENCE).min(Instant::now() + REST);
            if tokio::time::timeout_at(over, self.events.notified()).await.is_err()
                || Instant::now() >= first + PATIENCE
            {
                return;
            }
        }
    }
}

/// Whether an event is more than somebody reading.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
