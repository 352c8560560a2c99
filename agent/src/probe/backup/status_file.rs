//! Status files: what a backup job leaves in the drop folder after each run. The format is
//! described for those who write such jobs in `docs/backup-status.md`.
//!
//! Whoever may write into the folder may say what he likes about backups, so it matters who may:
//! nothing is taken from a folder or a file that everybody may write, or from a file that somebody
//! owns who has no business there. No file can hold up the agent or show it another file's text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use bailey_rules::fact::bounded;
use bailey_rules::time::Timestamp;
use bailey_rules::yaml::{self, Problem, Problems, Source, Spanned};
use serde::Deserialize;

/// The longest status file taken, in octets.
pub(super) const MAX_FILE: u64 = 64 * 1024;
/// The most status files taken.
pub(super) const MAX_FILES: usize = 256;
/// The most entries of the folder that are looked at.
const MAX_ENTRIES: usize = 4096;
/// The longest name of a job, in octets.
const MAX_NAME: usize = 128;
/// Endings of status files. A JSON document is a YAML document.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// The ending of a file that makes the agent forget a job.
const RETIRED: &str = "retired";
/// Write permission for everybody (inode(7), `S_IWOTH`).
const WRITABLE_BY_ALL: u32 = 0o002;
/// Write permission for the group, and new files taking the folder's group (inode(7)).
const SHARED_WITH_GROUP: u32 = 0o020 | 0o2000;

/// What a job says of its last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub tool: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub success: bool,
    pub size: Option<u64>,
    pub files: Option<u64>,
    pub destination: String,
    pub message: String,
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    job: Spanned<String>,
    tool: Spanned<String>,
    started_at: Spanned<Timestamp>,
    finished_at: Spanned<Timestamp>,
    success: bool,
    #[serde(default)]
    size_bytes: Option<u64>,
    #[serde(default)]
    files: Option<u64>,
    #[serde(default)]
    destination: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// What lies in the folder.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By job: what it says, or why that cannot be known.
    pub jobs: BTreeMap<String, Result<Status, String>>,
    /// Jobs that are to be forgotten.
    pub retired: BTreeSet<String>,
    /// Why the folder as a whole, or a part of it, could not be read.
    pub trouble: Option<String>,
    /// Which folder it was: device and inode.
    pub folder: Option<(u64, u64)>,
}

/// Reads the folder, and again only those files that have changed.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    known: BTreeMap<String, (Stamp, Result<Status, String>)>,
}

/// Moves whenever a file, its owner or its permissions change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Scanner {
    pub(super) fn scan(&mut self, path: &Path) -> Scan {
        let mut scan = Scan::default();
        let folder = match path.metadata() {
            Ok(folder) => folder,
            // Without jobs there is no folder.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return scan,
            Err(error) => {
                scan.trouble = Some(format!("cannot look at {}: {error}", path.display()));
                return scan;
            }
        };
        if let Err(why) = folder_fits(&folder) {
            scan.trouble = Some(format!("{} {why}", path.display()));
            return scan;
        }
        scan.folder = Some((folder.dev(), folder.ino()));
        let names = match names(path) {
            Ok((names, all)) => {
                if !all {
                    scan.trouble = Some(format!("{} holds too many files", path.display()));
                }
                names
            }
            Err(error) => {
                scan.trouble = Some(format!("cannot list {}: {error}", path.display()));
                return scan;
            }
        };
        self.known.retain(|name, _| names.contains(name));
        let mut taken = 0;
        for name in &names {
            let Some((job, ending)) = name.rsplit_once('.') else { continue };
            if ending == RETIRED && is_name(job) {
                scan.retired.insert(job.to_owned());
            }
            if !ENDINGS.contains(&ending) {
                continue;
            }
            taken += 1;
            if taken > MAX_FILES {
                scan.trouble = Some(format!(
                    "{} holds more than {MAX_FILES} status files; the rest is not read",
                    path.display()
                ));
                break;
            }
            let status = if is_name(job) {
                self.look(path, &folder, name, job)
            } else {
                Err(format!("a job's name has 1 to {MAX_NAME} of a-z, A-Z, 0-9, -, _ and ."))
            };
            let twice = || Err(format!("two status files are about {job}; remove one"));
            scan.jobs.entry(bounded(job)).and_modify(|first| *first = twice()).or_insert(status);
        }
        for job in &scan.retired {
            scan.jobs.remove(job);
        }
        scan
    }

    fn look(
        &mut self,
        path: &Path,
        folder: &Metadata,
        name: &str,
        job: &str,
    ) -> Result<Status, String> {
        let file = open(&path.join(name)).map_err(|why| format!("{name}: {why}"))?;
        let about = file.metadata().map_err(|error| format!("{name}: {error}"))?;
        // Every time, since it depends on the folder too.
        file_fits(&about, folder).map_err(|why| format!("{name}: {why}"))?;
        let stamp = Stamp {
            inode: about.ino(),
            size: about.size(),
            changed: (about.ctime(), about.ctime_nsec()),
        };
        if let Some((_, status)) = self.known.get(name).filter(|(known, _)| *known == stamp) {
            return status.clone();
        }
        let text = text(file).map_err(|why| format!("{name}: {why}"))?;
        let status = parse(name, job, &text);
        self.known.insert(name.to_owned(), (stamp, status.clone()));
        status
    }
}

/// Names in the folder that may be of status files, in order, and whether these are all.
fn names(path: &Path) -> std::io::Result<(BTreeSet<String>, bool)> {
    let mut names = BTreeSet::new();
    for (nth, entry) in std::fs::read_dir(path)?.enumerate() {
        if nth >= MAX_ENTRIES {
            return Ok((names, false));
        }
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A file that is still being written begins with a dot.
        if !name.starts_with('.') {
            names.insert(name);
        }
    }
    Ok((names, true))
}

fn is_name(job: &str) -> bool {
    (1..=MAX_NAME).contains(&job.len())
        && job.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

fn folder_fits(folder: &Metadata) -> Result<(), &'static str> {
    if !folder.is_dir() {
        return Err("is not a folder");
    }
    if folder.mode() & WRITABLE_BY_ALL != 0 {
        return Err("is writable by everyone; take that right away (chmod o-w)");
    }
    Ok(())
}

/// Opens a file without following a link and without waiting for the other end of a pipe.
fn open(path: &Path) -> Result<File, String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::ELOOP) => "is a symbolic link; write the file itself here".to_owned(),
            Some(libc::ENXIO) => "is no ordinary file".to_owned(),
            _ => error.to_string(),
        }
    })
}

fn file_fits(file: &Metadata, folder: &Metadata) -> Result<(), String> {
    if !file.is_file() {
        return Err("is no ordinary file".to_owned());
    }
    if file.mode() & WRITABLE_BY_ALL != 0 {
        return Err("is writable by everyone; take that right away (chmod o-w)".to_owned());
    }
    // Somebody could give another file, which only the agent may read, a name in this folder.
    if file.nlink() != 1 {
        return Err("has a second name (hard link)".to_owned());
    }
    let by_owner = [0, nix::unistd::geteuid().as_raw(), folder.uid()].contains(&file.uid());
    let shared = folder.mode() & SHARED_WITH_GROUP == SHARED_WITH_GROUP;
    let by_group = shared && file.gid() == folder.gid();
    if !by_owner && !by_group {
        return Err(format!(
            "is owned by user {}, who may not leave status files here",
            file.uid()
        ));
    }
    if file.len() > MAX_FILE {
        return Err(format!("has {} octets; at most {MAX_FILE} are read", file.len()));
    }
    Ok(())
}

/// The file's text. Octets that are no UTF-8 (a message in GBK) do not cost the status.
fn text(file: File) -> Result<String, String> {
    let mut octets = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut octets).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

fn parse(file: &str, job: &str, text: &str) -> Result<Status, String> {
    let source = Source { file, text };
    let written: Written =
        yaml::parse(file, text).map_err(|Problems(problems)| shown(problems.into_iter().next()))?;
    let wrong = |problem| Err(shown(Some(problem)));
    if written.job.value != job {
        let problem = source.at(&written.job, "the file is named after another job");
        return wrong(problem.help(format!("write {job}, or rename the file")));
    }
    if written.tool.value.trim().is_empty() {
        return wrong(source.at(&written.tool, "the tool has no name"));
    }
    if written.finished_at.value < written.started_at.value {
        return wrong(source.at(&written.finished_at, "the run ended before it began"));
    }
    Ok(Status {
        tool: bounded(&written.tool.value),
        started_at: written.started_at.value,
        finished_at: written.finished_at.value,
        success: written.success,
        size: written.size_bytes,
        files: written.files,
        destination: bounded(&written.destination.unwrap_or_default()),
        message: bounded(&written.message.unwrap_or_default()),
    })
}

/// A problem in one line, with its place and without the file's text.
fn shown(problem: Option<Problem>) -> String {
    let line = problem.map(|problem| Problem { source_line: String::new(), ..problem }.to_string());
    line.unwrap_or_else(|| "is not understood".to_owned())
}
