//! The settings file `agent.yaml`, parsed once into types that cannot be wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailey_rules::expectation::{Ask, By, Far};
use bailey_rules::fact::lines::MAX_FAR_ENDS;
use bailey_rules::fact::{ProbeName, disturbs};
use bailey_rules::host::MAX_INTERVAL;
use bailey_rules::unit::{Bytes, Period, Size};
use bailey_rules::yaml::{self, Problem, Problems, Source, Spanned};
use bailey_wire::echo;
use serde::Deserialize;

use crate::enforce::DEFAULT_SOCKET;
use crate::probe::Schedule;

/// Where the agent keeps its state when nobody says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/bailey-agent";

/// The shortest interval that is taken. The clock of the probes ticks in whole seconds.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time limit that is taken.
pub const MAX_LIMIT: Duration = Duration::from_mins(10);

/// The most repositories that one host watches.
pub const MAX_REPOSITORIES: usize = 64;

/// The longest name of a repository, in octets.
pub const MAX_REPOSITORY_NAME: usize = 128;

/// The longest name of a line, in octets.
pub const MAX_LINE_NAME: usize = 64;

/// The smallest spool that is taken: room for a few complete reports.
pub const MIN_SPOOL_SIZE: Bytes = Bytes(8 * 1024 * 1024);

/// The largest spool that is taken.
pub const MAX_SPOOL_SIZE: Bytes = Bytes(64 * 1024 * 1024 * 1024);

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The state folder: key, certificate and spool.
    pub state: PathBuf,
    /// The collector's address as `host:port`; without it, the one that the token named.
    pub collector: Option<String>,
    /// The enforcer's socket, where orders are handed on. Nobody needs to listen there.
    pub enforcer: PathBuf,
    /// How often the probes read, and for how long they may.
    pub probes: Schedules,
    /// What the backup probe looks at.
    pub backup: Backup,
    /// The lines whose far ends are asked.
    pub lines: Lines,
    /// How much the spool keeps.
    pub spool: SpoolBounds,
}

/// The schedule of every probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedules {
    host: Schedule,
    system: Schedule,
    links: Schedule,
    firewall: Schedule,
    backup: Schedule,
    enforcement: Schedule,
    flows: Schedule,
    lines: Schedule,
}

impl Schedules {
    /// The schedule of one probe.
    #[must_use]
    pub const fn of(&self, probe: ProbeName) -> Schedule {
        match probe {
            ProbeName::Host => self.host,
            ProbeName::System => self.system,
            ProbeName::Links => self.links,
            ProbeName::Firewall => self.firewall,
            ProbeName::Backup => self.backup,
            ProbeName::Enforcement => self.enforcement,
            ProbeName::Flows => self.flows,
            ProbeName::Lines => self.lines,
        }
    }

    /// These schedules with another one for `probe`.
    #[must_use]
    pub const fn with(mut self, probe: ProbeName, schedule: Schedule) -> Self {
        match probe {
            ProbeName::Host => self.host = schedule,
            ProbeName::System => self.system = schedule,
            ProbeName::Links => self.links = schedule,
            ProbeName::Firewall => self.firewall = schedule,
            ProbeName::Backup => self.backup = schedule,
            ProbeName::Enforcement => self.enforcement = schedule,
            ProbeName::Flows => self.flows = schedule,
            ProbeName::Lines => self.lines = schedule,
        }
        self
    }
}

impl Default for Schedules {
    fn default() -> Self {
        let every = |interval, limit| Schedule {
            interval: Duration::from_secs(interval),
            limit: Duration::from_secs(limit),
        };
        Self {
            host: every(15, 10),
            system: every(60, 20),
            links: every(15, 10),
            firewall: every(60, 20),
            backup: every(60, 120),
            enforcement: every(60, 20),
            flows: every(60, 20),
            lines: every(15, 10),
        }
    }
}

/// How much the spool keeps of what the collector has not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolBounds {
    /// The most it may take on disk; beyond it the oldest reports are dropped as a recorded gap.
    pub size: Bytes,
    /// The oldest it may hold; what is older is dropped as a recorded gap.
    pub age: Duration,
}

impl Default for SpoolBounds {
    fn default() -> Self {
        Self { size: Bytes(512 * 1024 * 1024), age: Duration::from_hours(7 * 24) }
    }
}

/// What the backup probe looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The folder in which backup jobs leave their status files. Who may write there can say what
    /// he likes about backups.
    pub drop_directory: PathBuf,
    /// The repositories that are read themselves; at most [`MAX_REPOSITORIES`], names unique.
    pub repositories: Vec<Repository>,
}

/// A backup repository that is read itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its name in facts and on screen.
    pub name: String,
    /// The program that reads it.
    pub tool: Tool,
    /// Where it is, as the program takes it: a path or an address such as `sftp:nas:/srv/restic`.
    pub path: String,
    /// A file with the repository's password as its only line.
    pub password_file: Option<PathBuf>,
    /// A file with lines `NAME=value` for the program's environment (credentials of a store).
    pub environment_file: Option<PathBuf>,
}

/// The lines whose far ends are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    /// From one question to the next, of each far end.
    pub interval: Duration,
    /// At most [`MAX_FAR_ENDS`], names unique.
    pub far_ends: Vec<FarEnd>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { interval: Duration::from_secs(3), far_ends: Vec::new() }
    }
}

/// The far end of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarEnd {
    /// The name of the line in facts and on screen.
    pub name: String,
    /// What is asked, and how.
    pub ask: Ask,
}

/// A program that reads repositories of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// restic.
    Restic,
    /// `BorgBackup`.
    Borg,
}

impl Tool {
    /// The name of the program.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restic => "restic",
            Self::Borg => "borg",
        }
    }
}

/// Why the settings could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not as it must be.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

impl Settings {
    /// What holds without a file, with the state in `state`.
    #[must_use]
    pub fn in_folder(state: PathBuf) -> Self {
        let drop_directory = state.join("backup");
        Self {
            state,
            collector: None,
            enforcer: PathBuf::from(DEFAULT_SOCKET),
            probes: Schedules::default(),
            backup: Backup { drop_directory, repositories: Vec::new() },
            lines: Lines::default(),
            spool: SpoolBounds::default(),
        }
    }

    /// Reads the file `path`. `state`, when given, holds against what the file says.
    ///
    /// # Errors
    /// When the file cannot be read or something in it is wrong; says where and what to write.
    pub fn read(path: &Path, state: Option<&Path>) -> Result<Self, SettingsError> {
        use std::io::Read as _;
        let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        // One octet more than is taken, so that a longer file is refused and never cut.
        let most = u64::try_from(yaml::MAX_FILE).expect("4 MiB fit") + 1;
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(most).read_to_string(&mut text).map_err(unreadable)?;
        Ok(Self::parse(&path.display().to_string(), &text, state)?)
    }

    /// Understands `text`; `file` is only its name in problems. `state`, when given, holds against
    /// what the text says.
    ///
    /// # Errors
    /// Everything that is wrong in it, with line, column and what to write instead.
    pub fn parse(file: &str, text: &str, state: Option<&Path>) -> Result<Self, Problems> {
        let written =
            if nothing_but_comments(text) { Written::default() } else { yaml::parse(file, text)? };
        let mut reader = Reader { source: Source { file, text }, problems: Vec::new() };
        let settings = reader.settings(written, state);
        if reader.problems.is_empty() {
            Ok(settings)
        } else {
            reader.problems.sort_by_key(|problem| (problem.line, problem.column));
            reader.problems.truncate(yaml::MAX_PROBLEMS);
            Err(Problems(reader.problems))
        }
    }
}

/// A file in which every key is commented out is not an error but the defaults.
fn nothing_but_comments(text: &str) -> bool {
    text.lines()
        .map(|line| line.trim_start_matches('\u{feff}').trim())
        .all(|line| line.is_empty() || line.starts_with('#'))
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    state: Option<Spanned<String>>,
    collector: Option<Spanned<String>>,
    enforcer: Option<Spanned<String>>,
    probes: WrittenProbes,
    backup: WrittenBackup,
    lines: WrittenLines,
    spool: WrittenSpool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenProbes {
    host: WrittenSchedule,
    system: WrittenSchedule,
    links: WrittenSchedule,
    firewall: WrittenSchedule,
    backup: WrittenSchedule,
    enforcement: WrittenSchedule,
    flows: WrittenSchedule,
    lines: WrittenSchedule,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenSchedule {
    interval: Option<Spanned<Period>>,
    limit: Option<Spanned<Period>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenBackup {
    drop_directory: Option<Spanned<String>>,
    repositories: Vec<WrittenRepository>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRepository {
    name: Spanned<String>,
    tool: Tool,
    path: Spanned<String>,
    password_file: Option<Spanned<String>>,
    environment_file: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenLines {
    interval: Option<Spanned<Period>>,
    far_ends: Vec<WrittenFarEnd>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFarEnd {
    name: Spanned<String>,
    far: Far,
    by: Option<By>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenSpool {
    size: Option<Spanned<Size>>,
    age: Option<Spanned<Period>>,
}

/// Turns what is written into settings and collects what is wrong.
struct Reader<'a> {
    source: Source<'a>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn settings(&mut self, written: Written, state: Option<&Path>) -> Settings {
        let named = written.state.as_ref().and_then(|path| self.absolute(path));
        let state =
            state.map(Path::to_owned).or(named).unwrap_or_else(|| PathBuf::from(DEFAULT_STATE));
        let mut settings = Settings::in_folder(state);
        settings.collector = written.collector.as_ref().and_then(|text| self.address(text));
        if let Some(socket) = written.enforcer.as_ref().and_then(|path| self.absolute(path)) {
            settings.enforcer = socket;
        }
        let WrittenProbes { host, system, links, firewall, backup, enforcement, flows, lines } =
            written.probes;
        for (probe, schedule) in [
            (ProbeName::Host, host),
            (ProbeName::System, system),
            (ProbeName::Links, links),
            (ProbeName::Firewall, firewall),
            (ProbeName::Backup, backup),
            (ProbeName::Enforcement, enforcement),
            (ProbeName::Flows, flows),
            (ProbeName::Lines, lines),
        ] {
            let schedule = self.schedule(&schedule, settings.probes.of(probe));
            settings.probes = settings.probes.with(probe, schedule);
        }
        if let Some(folder) = written.backup.drop_directory.as_ref().and_then(|p| self.absolute(p))
        {
            settings.backup.drop_directory = folder;
        }
        settings.backup.repositories = self.repositories(written.backup.repositories);
        settings.lines = self.lines(written.lines, settings.lines.interval);
        settings.spool = self.spool(&written.spool, settings.spool);
        settings
    }

    fn schedule(&mut self, written: &WrittenSchedule, default: Schedule) -> Schedule {
        let interval = self.period(
            written.interval.as_ref(),
            default.interval,
            (MIN_INTERVAL, MAX_INTERVAL),
            "an interval",
        );
        let limit = self.period(
            written.limit.as_ref(),
            default.limit,
            (MIN_INTERVAL, MAX_LIMIT),
            "a time limit",
        );
        Schedule { interval, limit }
    }

    fn spool(&mut self, written: &WrittenSpool, default: SpoolBounds) -> SpoolBounds {
        let size = written.size.as_ref().map_or(default.size, |size| {
            let octets = size.value.0;
            if octets < MIN_SPOOL_SIZE || octets > MAX_SPOOL_SIZE {
                self.problems.push(
                    self.source
                        .at(size, format!("the spool cannot be {octets}"))
                        .help(format!("write a size from {MIN_SPOOL_SIZE} to {MAX_SPOOL_SIZE}")),
                );
            }
            octets
        });
        let longest = Duration::from_hours(400 * 24);
        let age = self.period(
            written.age.as_ref(),
            default.age,
            (Duration::from_mins(1), longest),
            "the spool's age",
        );
        SpoolBounds { size, age }
    }

    fn period(
        &mut self,
        written: Option<&Spanned<Period>>,
        default: Duration,
        (least, most): (Duration, Duration),
        what: &str,
    ) -> Duration {
        let Some(written) = written else { return default };
        let length = written.value.0;
        if length < least || length > most {
            self.problems.push(
                self.source
                    .at(written, format!("{what} cannot be {}", written.value))
                    .help(format!("write a time from {} to {}", Period(least), Period(most))),
            );
            return default;
        }
        length
    }

    fn repositories(&mut self, written: Vec<WrittenRepository>) -> Vec<Repository> {
        let mut names = BTreeSet::new();
        let mut repositories = Vec::new();
        for (nth, entry) in written.into_iter().enumerate() {
            if nth == MAX_REPOSITORIES {
                self.problems.push(self.source.at(
                    &entry.name,
                    format!("more than {MAX_REPOSITORIES} repositories on one host"),
                ));
                break;
            }
            let name = entry.name.value.clone();
            if name.is_empty()
                || name.len() > MAX_REPOSITORY_NAME
                || name.chars().any(char::is_control)
            {
                self.problems.push(
                    self.source
                        .at(&entry.name, "this cannot be the name of a repository")
                        .help(format!("write 1 to {MAX_REPOSITORY_NAME} octets of text")),
                );
            }
            if !names.insert(name.clone()) {
                self.problems.push(
                    self.source
                        .at(&entry.name, format!("a second repository is called \"{name}\""))
                        .help("give each its own name: it is how findings tell them apart"),
                );
            }
            // A program would take it for an option.
            if entry.path.value.is_empty() || entry.path.value.starts_with('-') {
                self.problems.push(
                    self.source
                        .at(&entry.path, "this cannot be the path of a repository")
                        .help("write where the repository is, such as /srv/backup/oracle-fin"),
                );
            }
            repositories.push(Repository {
                name,
                tool: entry.tool,
                path: entry.path.value,
                password_file: entry.password_file.as_ref().and_then(|p| self.absolute(p)),
                environment_file: entry.environment_file.as_ref().and_then(|p| self.absolute(p)),
            });
        }
        repositories
    }

    fn lines(&mut self, written: WrittenLines, default: Duration) -> Lines {
        let interval = self.period(
            written.interval.as_ref(),
            default,
            (*echo::INTERVAL.start(), *echo::INTERVAL.end()),
            "the interval of the questions",
        );
        let mut names = BTreeSet::new();
        let mut far_ends = Vec::new();
        for (nth, entry) in written.far_ends.into_iter().enumerate() {
            if nth == MAX_FAR_ENDS {
                let problem = format!("more than {MAX_FAR_ENDS} far ends on one host");
                self.problems.push(self.source.at(&entry.name, problem));
                break;
            }
            let name = &entry.name.value;
            if name.is_empty() || name.len() > MAX_LINE_NAME || name.chars().any(disturbs) {
                self.problems.push(
                    self.source
                        .at(&entry.name, "this cannot be the name of a line")
                        .help(format!("write 1 to {MAX_LINE_NAME} octets of text")),
                );
            }
            if !names.insert(name.clone()) {
                self.problems.push(
                    self.source
                        .at(&entry.name, format!("a second line is called \"{name}\""))
                        .help("give each its own name: it is how findings tell them apart"),
                );
            }
            far_ends.push(FarEnd { ask: entry.far.asked(entry.by), name: entry.name.value });
        }
        Lines { interval, far_ends }
    }

    fn absolute(&mut self, written: &Spanned<String>) -> Option<PathBuf> {
        let path = PathBuf::from(&written.value);
        if path.is_absolute() {
            return Some(path);
        }
        self.problems.push(
            self.source
                .at(written, format!("\"{}\" is not an absolute path", written.value))
                .help("write it from the root on, such as /var/lib/bailey-agent"),
        );
        None
    }

    fn address(&mut self, written: &Spanned<String>) -> Option<String> {
        if is_address(&written.value) {
            return Some(written.value.clone());
        }
        self.problems.push(
            self.source
                .at(written, format!("\"{}\" is not an address", written.value))
                .help("write host:port, such as collector.example:7710 or [fd00:1::5]:7710"),
        );
        None
    }
}

/// Whether `text` is `host:port`; an IPv6 address stands in brackets (RFC 3986, 3.2.2).
#[must_use]
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
        }
    };
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}
