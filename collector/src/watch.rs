//! The policy and the site's rule files: read at start, and again whenever they change. A new
//! version that is wrong leaves the one before in force and is shown until it is mended.
//!
//! A change is only a reason to look: what is done follows from what the files say then.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::expectation::RuleFiles;
use bailey_rules::policy::Policy;
use bailey_rules::text::Text;
use bailey_rules::yaml::{MAX_FILE, Problems};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::journal::{self, NewEvent};
use crate::site::{Config, EventKind, Part, Site};

/// One save of an editor is several changes: they are waited out for this long.
const SETTLED: Duration = Duration::from_millis(200);

/// The files are looked at this often even when nobody tells of a change: on some file systems
/// nobody does.
const LOOKED_AT: Duration = Duration::from_secs(30);

/// The most rule files of the site.
const MAX_RULE_FILES: usize = 256;

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) policy: PathBuf,
    /// A folder whose `*.yaml` files are read in the order of their names; it may be missing.
    pub(crate) rules: PathBuf,
}

/// Why the files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// There is no policy.
    #[error(
        "there is no policy file {}. Write one, for example:\n\
         \n    site: jiaxing\n    zones:\n      inner: {{networks: [10.1.0.0/16]}}\n", .0.display()
    )]
    NoPolicy(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// What a file says is wrong.
    #[error("{0}")]
    Wrong(Problems),
}

/// What the files say, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    policy: Result<String, FilesError>,
    rules: Result<Vec<(String, String)>, FilesError>,
}

fn read(path: &Path) -> Result<Option<String>, FilesError> {
    let fail = |why: String| FilesError::Unreadable { path: path.to_owned(), why };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error.to_string())),
    };
    let mut text = String::new();
    // One more than is taken, so that the parser sees that there is too much.
    file.take(MAX_FILE as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| fail(error.to_string()))?;
    Ok(Some(text))
}

impl Files {
    fn texts(&self) -> Texts {
        let policy = read(&self.policy)
            .and_then(|text| text.ok_or_else(|| FilesError::NoPolicy(self.policy.clone())));
        Texts { policy, rules: self.rule_texts() }
    }

    fn rule_texts(&self) -> Result<Vec<(String, String)>, FilesError> {
        let fail = |why: String| FilesError::Unreadable { path: self.rules.clone(), why };
        let entries = match std::fs::read_dir(&self.rules) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fail(error.to_string())),
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| fail(error.to_string()))?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if path.extension().is_some_and(|end| end == "yaml") && !hidden {
                names.push(path);
            }
        }
        if names.len() > MAX_RULE_FILES {
            return Err(fail(format!("more than {MAX_RULE_FILES} rule files")));
        }
        names.sort();
        let mut texts = Vec::new();
        for path in names {
            // One that went between the two looks is not there.
            if let Some(text) = read(&path)? {
                texts.push((path.display().to_string(), text));
            }
        }
        Ok(texts)
    }

    fn policy_of(&self, text: Result<String, FilesError>) -> Result<Arc<Policy>, FilesError> {
        let file = self.policy.display().to_string();
        Policy::parse(&file, &text?).map(Arc::new).map_err(FilesError::Wrong)
    }

    /// Reads everything at start, where nothing is in force yet that could stay.
    pub(crate) fn at_start(&self) -> Result<(Config, Texts), FilesError> {
        let texts = self.texts();
        let rules = texts.rules.clone()?;
        let rule_files = Arc::new(RuleFiles::parse(&rules).map_err(FilesError::Wrong)?);
        let policy = self.policy_of(texts.policy.clone())?;
        Ok((Config { policy, rule_files, generation: 0 }, texts))
    }

    /// Whether a change tells of these files. The folder of the policy can be the state folder, in
    /// which something changes all the time; and reading a file is an event too.
    fn concerned(&self, event: &notify::Event) -> bool {
        let rules = |path: &Path| path == self.rules || path.parent() == Some(&*self.rules);
        let policy = |path: &Path| path.file_name() == self.policy.file_name();
        let of_ours = event.paths.iter().any(|path| policy(path) || rules(path));
        !event.kind.is_access() && (of_ours || event.need_rescan())
    }

    fn folders(&self) -> [&Path; 2] {
        // A file that is renamed over is another file: its folder is watched, not the file.
        let of_policy = self.policy.parent().filter(|folder| !folder.as_os_str().is_empty());
        [of_policy.unwrap_or(Path::new(".")), &self.rules]
    }
}

/// Reads the files again when they change.
pub(crate) struct Watch {
    files: Files,
    site: Site,
    seen: Texts,
}

impl Watch {
    /// `seen`: what is in force.
    pub(crate) fn new(files: Files, site: Site, seen: Texts) -> Self {
        Self { files, site, seen }
    }

    /// Watches until the collector stops.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let told = Arc::new(Notify::new());
        let wake = Arc::clone(&told);
        let files = self.files.clone();
        let watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
                Ok(event) if !files.concerned(&event) => {}
                Ok(_) | Err(_) => wake.notify_one(),
            });
        let mut watcher = match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                self.cannot_watch(&error);
                None
            }
        };
        let mut folders = Vec::new();
        loop {
            if let Some(watcher) = &mut watcher {
                self.watch(watcher, &mut folders);
            }
            // What changed before the folders were watched is seen here.
            self.look().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOKED_AT) => {}
                () = told.notified() => tokio::time::sleep(SETTLED).await,
            }
        }
    }

    fn cannot_watch(&self, error: &notify::Error) {
        warn!(%error, "changes of policy and rule files are seen late");
        let late = LOOKED_AT.as_secs();
        self.site.set_problem(
            Part::Watching,
            Some(format!(
                "policy and rule files cannot be watched ({error}); changes are seen within \
                 {late} s"
            )),
        );
    }

    fn watch(&self, watcher: &mut RecommendedWatcher, known: &mut Vec<PathBuf>) {
        known.retain(|folder| folder.is_dir());
        for folder in self.files.folders() {
            if known.iter().any(|one| one == folder) || !folder.is_dir() {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => known.push(folder.to_owned()),
                Err(error) => self.cannot_watch(&error),
            }
        }
    }

    /// Looks at the files, and acts if they say something else than last time.
    pub(crate) async fn look(&mut self) {
        let files = self.files.clone();
        let Ok(texts) = tokio::task::spawn_blocking(move || files.texts()).await else { return };
        if texts == self.seen {
            return;
        }
        let config = self.site.config();
        let file = self.files.policy.display().to_string();
        let folder = self.files.rules.display().to_string();
        let policy =
            (texts.policy != self.seen.policy).then(|| self.files.policy_of(texts.policy.clone()));
        let rule_files = (texts.rules != self.seen.rules).then(|| {
            let rules = texts.rules.clone()?;
            RuleFiles::parse(&rules).map(Arc::new).map_err(FilesError::Wrong)
        });
        self.seen = texts;
        let new_policy = policy.iter().flatten().next().cloned();
        let new_rule_files = rule_files.iter().flatten().next().cloned();
        if new_policy.is_some() || new_rule_files.is_some() {
            self.site.set_config(
                new_policy.unwrap_or_else(|| Arc::clone(&config.policy)),
                new_rule_files.unwrap_or_else(|| Arc::clone(&config.rule_files)),
            );
        }
        match policy {
            Some(Ok(_)) => self.taken(Part::Policy, &file).await,
            Some(Err(error)) => self.refused(Part::Policy, &file, &error).await,
            None => {}
        }
        match rule_files {
            Some(Ok(_)) => self.taken(Part::RuleFiles, &folder).await,
            Some(Err(error)) => self.refused(Part::RuleFiles, &folder, &error).await,
            None => {}
        }
    }

    async fn taken(&self, part: Part, name: &str) {
        info!(file = name, "read again");
        self.site.counters().reloads.one();
        self.site.set_problem(part, None);
        let text = Text::new(format!("{name} was read again"), format!("已重新加载 {name}"));
        self.write(EventKind::SettingsReloaded, text).await;
    }

    async fn refused(&self, part: Part, name: &str, error: &FilesError) {
        warn!(file = name, %error, "refused; the version before stays in force");
        self.site.counters().reloads_refused.one();
        self.site.set_problem(part, Some(error.to_string()));
        let why = error.to_string();
        let first = why.lines().next().unwrap_or_default();
        let text = Text::new(
            format!("a new version of {name} was refused, the one before stays: {first}"),
            format!("{name} 的新版本有误，继续使用上一版本：{first}"),
        );
        self.write(EventKind::SettingsRefused, text).await;
    }

    async fn write(&self, kind: EventKind, text: Text) {
        let event = NewEvent { at: self.site.now(), host: None, kind, text, actor: None };
        if let Err(error) = journal::write(&self.site, "write an event", vec![event]).await {
            warn!(%error, "an event is not in the journal");
        }
        self.site.dirty().wake.notify_one();
    }
}
