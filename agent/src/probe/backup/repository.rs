//! Repositories that are read themselves: when, with which program, and within which bounds. What
//! the programs print is understood in `restic.rs` and `borg.rs`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::fact::backup::{self, MAX_SNAPSHOTS};
use bailey_rules::fact::{Fact, FactKind};
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::{borg, restic};
use crate::probe::program::{self, Ended, Run};
use crate::settings::{self, Tool};

/// How often a repository is read.
pub const REPOSITORY_INTERVAL: Duration = Duration::from_mins(15);
/// The longest that one program may take. The first look of borg at a large repository takes long.
const LIMIT: Duration = Duration::from_mins(10);
/// The most that a program may print, in octets: some tens of thousands of snapshots.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;
/// How long the very first readings are waited for, so that an agent that has just started does not
/// say "unknown" of what it will know in a moment.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// So many of the newest snapshots are weighed; more cost much and tell little.
pub(super) const WEIGHED: usize = 8;
/// The longest environment file taken, in octets.
const MAX_ENVIRONMENT: u64 = 64 * 1024;
/// Beginnings of the names that an environment file may set: those of the programs and of the
/// stores they can use. Nothing that would change which code runs, such as `LD_PRELOAD` or `PATH`.
const TAKEN: [&str; 13] = [
    "RESTIC_",
    "BORG_",
    "AWS_",
    "AZURE_",
    "B2_",
    "GOOGLE_",
    "OS_",
    "RCLONE_",
    "ST_",
    "HOME",
    "SSH_AUTH_SOCK",
    "TMPDIR",
    "XDG_CACHE_HOME",
];

/// Size and number of files of snapshots that were weighed, by the tool's id of the snapshot.
pub(super) type Weights = BTreeMap<String, Weight>;

/// What is in a snapshot, as far as the tool tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight {
    pub size: Option<u64>,
    pub files: Option<u64>,
}

/// A snapshot as a tool lists it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub id: String,
    pub taken_at: Timestamp,
}

/// One repository and the program that reads it.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    repository: Arc<settings::Repository>,
    folders: Arc<[PathBuf]>,
    /// Where a program may keep what makes the next look quicker.
    cache: Option<Arc<Path>>,
}

impl Reader {
    async fn read(&self, weights: &mut Weights) -> Result<backup::Repository, String> {
        match self.repository.tool {
            Tool::Restic => restic::read(self, weights).await,
            Tool::Borg => borg::read(self, weights).await,
        }
    }

    /// Where the repository is, without a password that stands in its address (RFC 3986, 3.2.1).
    pub(super) fn place(&self) -> String {
        let path = &self.repository.path;
        let credentials = path.find("://").map(|at| at + 3).and_then(|begin| {
            let host = path[begin..].split('/').next()?;
            Some((begin, begin + host.rfind('@')?))
        });
        match credentials {
            Some((begin, end)) => format!("{}...{}", &path[..begin], &path[end..]),
            None => path.clone(),
        }
    }

    /// A program's complaint without a password that stands in the address.
    pub(super) fn shown(&self, complaint: &str) -> String {
        complaint.replace(&self.repository.path, &self.place())
    }

    /// Path of the repository, for the environment: arguments can be seen by everybody.
    pub(super) fn path(&self) -> &str {
        &self.repository.path
    }

    pub(super) fn password_file(&self) -> Option<&Path> {
        self.repository.password_file.as_deref()
    }

    pub(super) fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// Runs the repository's program at the lowest priority. Of its environment, what the
    /// administrator's file sets holds against `fallback`, and `environment` against both.
    pub(super) async fn run(
        &self,
        arguments: &[&str],
        fallback: &[(OsString, OsString)],
        environment: Vec<(OsString, OsString)>,
    ) -> Result<Ended, String> {
        let name = self.repository.tool.as_str();
        let tool = program::find(name, &self.folders)
            .ok_or_else(|| format!("install {name}: there is no such program"))?;
        let mut all = fallback.to_vec();
        if let Some(file) = &self.repository.environment_file {
            let set = read_environment(file)
                .map_err(|why| format!("environment file {}: {why}", file.display()))?;
            all.extend(set);
        }
        all.extend(environment);
        let tool_text = tool.to_string_lossy();
        let mut niced = vec!["-n", "19", &*tool_text];
        niced.extend(arguments);
        let nice = program::find("nice", &self.folders);
        let (program, arguments) = match &nice {
            Some(nice) => (nice.as_path(), niced.as_slice()),
            None => (tool.as_path(), arguments),
        };
        let run = Run {
            program,
            arguments,
            environment: &all,
            input: None,
            limit: LIMIT,
            most: MAX_OUTPUT,
        };
        run.until_end().await.map_err(|error| error.to_string())
    }
}

/// The fact of a repository whose snapshots are `listed`.
pub(super) fn fact(tool: Tool, mut listed: Vec<Listed>, weights: &Weights) -> backup::Repository {
    newest_first(&mut listed);
    let newest = listed.iter().take(MAX_SNAPSHOTS).map(|snapshot| {
        let weight = weights.get(&snapshot.id);
        backup::Snapshot {
            taken_at: snapshot.taken_at,
            size: weight.and_then(|weight| weight.size).map(Bytes),
            files: weight.and_then(|weight| weight.files),
        }
    });
    backup::Repository {
        tool: tool.as_str().to_owned(),
        snapshots: u32::try_from(listed.len()).unwrap_or(u32::MAX),
        newest: newest.collect(),
    }
}

/// Puts the newest snapshot first.
pub(super) fn newest_first(listed: &mut [Listed]) {
    listed.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.taken_at));
}

/// `NAME=value` a line, as systemd.exec(5) reads an `EnvironmentFile=`, without continuations.
fn read_environment(file: &Path) -> Result<Vec<(OsString, OsString)>, String> {
    let mut text = String::new();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(file);
    let opened = opened.map_err(|error| error.to_string())?;
    let about = opened.metadata().map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > MAX_ENVIRONMENT {
        return Err(format!("is no ordinary file of at most {MAX_ENVIRONMENT} octets"));
    }
    let ours = [0, nix::unistd::geteuid().as_raw()].contains(&about.uid());
    if !ours || about.mode() & 0o022 != 0 {
        return Err("others than root and the agent may write it".to_owned());
    }
    let mut opened = opened.take(MAX_ENVIRONMENT);
    opened.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let mut environment = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) =
            line.split_once('=').ok_or_else(|| format!("line {}: write NAME=value", nth + 1))?;
        let name = name.trim();
        if !TAKEN.iter().any(|taken| {
            if taken.ends_with('_') { name.starts_with(taken) } else { name == *taken }
        }) {
            return Err(format!("line {}: {name} is not taken", nth + 1));
        }
        let value = value.trim();
        let quoted = ['"', '\''].into_iter().find_map(|quote| {
            value.strip_prefix(quote).and_then(|inner| inner.strip_suffix(quote))
        });
        environment.push((name.into(), quoted.unwrap_or(value).into()));
    }
    Ok(environment)
}

/// What a reading has brought.
type Done = (Result<backup::Repository, String>, Weights);

/// A repository between two readings.
#[derive(Debug)]
struct Watched {
    reader: Reader,
    last: Option<Result<backup::Repository, String>>,
    weights: Weights,
    due: Instant,
    running: Option<Id>,
}

/// All repositories of this host.
#[derive(Debug)]
pub(super) struct Repositories {
    watched: Vec<Watched>,
    /// Dropping it ends the programs.
    running: JoinSet<Done>,
    /// One program at a time.
    turn: Arc<Semaphore>,
}

impl Repositories {
    pub(super) fn new(
        repositories: &[settings::Repository],
        folders: Vec<PathBuf>,
        cache: Option<PathBuf>,
    ) -> Self {
        let folders: Arc<[PathBuf]> = folders.into();
        let cache: Option<Arc<Path>> = cache.map(Into::into);
        let watch = |repository: &settings::Repository| Watched {
            reader: Reader {
                repository: Arc::new(repository.clone()),
                folders: Arc::clone(&folders),
                cache: cache.clone(),
            },
            last: None,
            weights: Weights::new(),
            due: Instant::now(),
            running: None,
        };
        Self {
            watched: repositories.iter().map(watch).collect(),
            running: JoinSet::new(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Begins the readings that are due. Waits for results only where there has never been one, and
    /// not for long.
    pub(super) async fn begin_due(&mut self) {
        let now = Instant::now();
        for watched in &mut self.watched {
            if watched.running.is_some() || watched.due > now {
                continue;
            }
            watched.due = now + REPOSITORY_INTERVAL;
            let reader = watched.reader.clone();
            let mut weights = watched.weights.clone();
            let turn = Arc::clone(&self.turn);
            let task = self.running.spawn(async move {
                let _turn = turn.acquire_owned().await.expect("the semaphore is never closed");
                let read = reader.read(&mut weights).await;
                (read, weights)
            });
            watched.running = Some(task.id());
        }
        let patience = now + FIRST_WAIT;
        let first = |watched: &Watched| watched.last.is_none() && watched.running.is_some();
        while self.watched.iter().any(first) {
            if tokio::time::timeout_at(patience, self.finished()).await.is_err() {
                return;
            }
        }
        while let Some(done) = self.running.try_join_next_with_id() {
            self.take(done);
        }
    }

    /// Completes when a reading has ended. May be dropped and called again at any time.
    pub(super) async fn finished(&mut self) {
        match self.running.join_next_with_id().await {
            Some(done) => self.take(done),
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, done: Result<(Id, Done), JoinError>) {
        let (id, read, weights) = match done {
            Ok((id, (read, weights))) => (id, read, Some(weights)),
            Err(error) => (error.id(), Err(format!("reading it failed: {error}")), None),
        };
        let watched = self.watched.iter_mut().find(|watched| watched.running == Some(id));
        if let Some(watched) = watched {
            watched.running = None;
            watched.last = Some(read);
            watched.weights = weights.unwrap_or_default();
        }
    }

    pub(super) fn facts(&self) -> impl Iterator<Item = Fact> {
        self.watched.iter().map(|watched| {
            let name = &watched.reader.repository.name;
            let unreadable = |why: &str| Fact::unreadable(FactKind::BackupRepository, name, why);
            match &watched.last {
                Some(Ok(repository)) => Fact::known(name, repository.clone()),
                Some(Err(why)) => unreadable(why),
                None => unreadable("it is being read for the first time"),
            }
        })
    }
}
