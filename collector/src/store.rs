//! What must survive: identities, tokens, the log of reports with snapshots, devices, findings, the
//! journal.
//!
//! One `SQLite` file in WAL mode with full sync and one thread that writes. Whatever waits when it
//! looks is committed together, so that the cost of reaching the disk is shared by many reports, and
//! nobody is told that something is stored before that commit has returned.
//!
//! Reports are appended to one log in the order in which they come, whatever their host, so that a
//! commit writes few pages. Now and then a host's whole state is kept as a snapshot; the log is cut
//! up to the oldest row that is in no snapshot.
//!
//! A write that fails (a full disk) is never acknowledged and nothing is deleted to make room; the
//! next write is tried as if nothing had happened.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bailey_rules::name::{BootId, HostKey};
use bailey_rules::report::{Gap, Place};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bytes::Bytes;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{error, info, warn};

use crate::clock::SharedClock;
use crate::counters::{Counters, ReportResult};
use crate::device;
use crate::host::Host;
use crate::journal::{self, NewEvent};
use crate::lines;
use crate::listings;
use crate::proving::record as proofs;
use crate::push::record;
use crate::site::ConfigProblem;
use crate::trap::kept;

/// The most writes of one commit.
const MAX_BATCH: usize = 1_000;

/// Room for reports on their way to the disk, in units of [`ROOM_UNIT`]: 64 MiB. When it is used
/// up, whoever has more waits, and with it the peer that sent it.
const ROOM: usize = 64 * 1024;

/// What one unit of room stands for, in octets.
const ROOM_UNIT: usize = 1024;

/// The size of a page of a new file, in octets. A report of ordinary size fills half of a page of the
/// usual 4 KiB and wastes the rest; here seven share one.
const PAGE: u32 = 16 * 1024;

/// The WAL is copied into the file when it has this many pages: 32 MiB.
const CHECKPOINT_PAGES: u32 = 2 * 1024;

/// A WAL that had to grow beyond this is cut back to it once it can be, in octets.
const MAX_WAL: i64 = 64 * 1024 * 1024;

/// How long a reader waits for the writer before it gives up.
const BUSY: Duration = Duration::from_secs(5);

/// Marks the file as one of ours (`PRAGMA application_id`): "Bail".
const APPLICATION_ID: i32 = 0x4261_696c;

/// The version of the tables that this program writes (`PRAGMA user_version`).
const SCHEMA: i32 = 4;

/// Files up to this size are checked as a whole at start; larger ones as they are read.
const CHECKED_AT_START: u64 = 64 * 1024 * 1024;

/// The log is cut when at least this many of its oldest rows are no longer needed.
const CUT_AT: usize = 512;

/// A log longer than this is kept long by hosts that have gone quiet: they are asked for a snapshot.
const LONG_LOG: usize = 32 * 1024;

/// The most of the oldest rows whose hosts are asked at once, and how often.
const ASKED_AT_ONCE: usize = 1024;
/// See [`ASKED_AT_ONCE`].
const ASKED_EVERY: Duration = Duration::from_millis(100);

const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE identity (
        no INTEGER PRIMARY KEY AUTOINCREMENT,
        key BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
        host TEXT NOT NULL,
        zone TEXT NOT NULL,
        enrolled_at INTEGER NOT NULL,
        certificate_began INTEGER NOT NULL,
        certificate_ends INTEGER NOT NULL,
        revoked_at INTEGER,
        revoked_reason TEXT
    ) STRICT;
    CREATE UNIQUE INDEX identity_live ON identity (host) WHERE revoked_at IS NULL;
    CREATE TABLE token (
        hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
        host TEXT NOT NULL,
        zone TEXT NOT NULL,
        made_at INTEGER NOT NULL,
        made_by TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        spent_by BLOB CHECK (length(spent_by) = 32),
        spent_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE waiting (
        key BLOB PRIMARY KEY CHECK (length(key) = 32),
        host TEXT NOT NULL,
        zone TEXT NOT NULL,
        since INTEGER NOT NULL,
        source TEXT NOT NULL,
        refused_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE report (
        id INTEGER PRIMARY KEY,
        host INTEGER NOT NULL,
        n INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        boot BLOB NOT NULL,
        seq INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        clock_offset INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE snapshot (
        host INTEGER PRIMARY KEY,
        upto INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE gap (
        no INTEGER PRIMARY KEY AUTOINCREMENT,
        host INTEGER NOT NULL,
        boot BLOB NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        reason TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE finding (
        id BLOB NOT NULL CHECK (length(id) = 8),
        first_at INTEGER NOT NULL,
        host BLOB NOT NULL,
        resolved_at INTEGER,
        body TEXT NOT NULL,
        PRIMARY KEY (id, first_at)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX finding_open ON finding (host) WHERE resolved_at IS NULL;
    CREATE INDEX finding_resolved ON finding (resolved_at) WHERE resolved_at IS NOT NULL;
    CREATE TABLE event (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        host TEXT,
        kind TEXT NOT NULL,
        en TEXT NOT NULL,
        zh TEXT NOT NULL,
        actor TEXT
    ) STRICT;
    CREATE INDEX event_host ON event (host, id);
";

/// Why the store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It could not be read or written now; nothing of what was asked is stored.
    #[error("cannot {what} in the store: {why}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What the database said.
        why: String,
    },
    /// The collector is stopping.
    #[error("the collector is stopping")]
    Closed,
}

impl StoreError {
    /// Why, in both languages. What the database said stays as it was said.
    #[must_use]
    pub fn text(&self) -> Text {
        let zh = match self {
            Self::Failed { why, .. } => format!("无法读写存储：{why}"),
            Self::Closed => "采集器正在停止".to_owned(),
        };
        Text::new(self.to_string(), zh)
    }

    pub(crate) fn failed(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |error| Self::Failed { what, why: error.to_string() }
    }
}

/// Why the store could not be opened. Nothing was changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is of a newer version.
    #[error(
        "{} was written by a newer Bailey (its tables are of version {found}, this program knows \
         {SCHEMA}); start that version", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        found: i32,
    },
    /// It is the database of another program.
    #[error("{} is not a database of Bailey; choose another --state", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged.
    #[error(
        "{} is damaged: {why}. Nothing was changed. Put a copy of it back, together with its -wal \
         file; or move collector.db, collector.db-wal and collector.db-shm aside to begin with \
         an empty store, and enrol the hosts again (ca.key stays good)", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be opened or made.
    #[error("cannot open {}: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// What a row of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogKind {
    /// A report.
    Report,
    /// A declared loss.
    Loss,
    /// A signed goodbye.
    Goodbye,
}

impl LogKind {
    const fn number(self) -> i64 {
        match self {
            Self::Report => 1,
            Self::Loss => 2,
            Self::Goodbye => 3,
        }
    }

    fn from_number(number: i64) -> Option<Self> {
        [Self::Report, Self::Loss, Self::Goodbye].into_iter().find(|kind| kind.number() == number)
    }
}

/// A row of the log as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    /// Its number among the rows of its host.
    pub(crate) n: u64,
    pub(crate) kind: LogKind,
    pub(crate) place: Place,
    pub(crate) received_at: Timestamp,
    /// Added to the host's times to get the collector's.
    pub(crate) offset_millis: i64,
    pub(crate) body: Bytes,
}

/// A row of the log on its way to the disk.
pub(crate) struct LogRow {
    pub(crate) host: Arc<Host>,
    /// The host's count of failed writes when the row was admitted: a row that was admitted before a
    /// failure must not follow the rows that were lost in it.
    pub(crate) epoch: u64,
    pub(crate) logged: Logged,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) arrived: Instant,
}

/// A row of the log that is on disk.
pub(crate) struct Kept {
    /// Its number in the whole log.
    pub(crate) id: i64,
    pub(crate) host: Arc<Host>,
    /// Its number among the rows of its host.
    pub(crate) n: u64,
}

/// Room for one write, taken before anything is decided about it, and free again once it is over.
pub(crate) struct Room(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// Given the transaction, or why there is none.
type Job = Box<dyn FnOnce(Result<&Transaction<'_>, StoreError>) -> Outcome + Send>;
/// Tells whoever asked, once the commit returned or failed.
type Tell = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

struct Outcome {
    tell: Tell,
    keep: bool,
}

enum Write {
    Log(Box<LogRow>, Room),
    Job(Job, Room),
    Kept(Vec<Kept>),
    Close(oneshot::Sender<()>),
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    path: PathBuf,
    writes: mpsc::Sender<Write>,
    room: Arc<Semaphore>,
    reader: Mutex<Connection>,
    problem: Arc<Mutex<Option<ConfigProblem>>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.0.path.display())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the store at `path`, makes it where it is missing, and starts its thread.
    pub(crate) fn open(
        path: &Path,
        clock: SharedClock,
        counters: Arc<Counters>,
    ) -> Result<Self, OpenError> {
        let connection = open(path)?;
        let reader = read_only(path)?;
        let next_id = connection
            .query_row("SELECT ifnull(max(id), 0) + 1 FROM report", [], |row| row.get(0))
            .map_err(|error| judged(path, &error))?;
        let (writes, waiting) = mpsc::channel(ROOM + 1);
        let problem = Arc::new(Mutex::new(None));
        let thread = Writer {
            connection,
            clock,
            counters,
            problem: Arc::clone(&problem),
            next_id,
            log: VecDeque::new(),
            unneeded: 0,
            asked_at: Instant::now(),
        };
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || thread.run(waiting))
            .map_err(|error| OpenError::Unusable {
                path: path.to_owned(),
                why: format!("no thread for it: {error}"),
            })?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            writes,
            room: Arc::new(Semaphore::new(ROOM)),
            reader: Mutex::new(reader),
            problem,
        })))
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What keeps the store from being written, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<ConfigProblem> {
        locked(&self.0.problem).clone()
    }

    /// Waits for room for a write of about `octets`.
    pub(crate) async fn room(&self, octets: usize) -> Result<Room, StoreError> {
        let units = u32::try_from((octets / ROOM_UNIT + 1).min(ROOM)).unwrap_or(1);
        let room = Arc::clone(&self.0.room);
        room.acquire_many_owned(units).await.map(Room).map_err(|_| StoreError::Closed)
    }

    /// Appends to the log of a host. The host is told when it is on disk, or that it never will be.
    /// Never waits, so that a host can be held locked: rows are written in the order of these calls.
    pub(crate) fn log(&self, row: Box<LogRow>, room: Room) -> Result<(), StoreError> {
        // Every write holds at least one unit of room, so the queue is never full.
        self.0.writes.try_send(Write::Log(row, room)).map_err(|_| StoreError::Closed)
    }

    /// Runs `job` in the next commit and gives its result when that is on disk. When `job` fails,
    /// nothing that it did is kept.
    pub(crate) async fn write<T, E, F>(&self, what: &'static str, job: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_then(what, job, |_| ()).await.map(|(result, ())| result)
    }

    /// As [`Self::write`], and runs `then` when the result is on disk, in the order of the commits
    /// and before anybody is told.
    pub(crate) async fn write_then<T, U, E, F, G>(
        &self,
        what: &'static str,
        job: F,
        then: G,
    ) -> Result<(T, U), E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        G: FnOnce(&T) -> U + Send + 'static,
        T: Send + 'static,
        U: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let room = self.room(0).await?;
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |transaction| {
            let result = transaction.map_err(E::from).and_then(job);
            let keep = result.is_ok();
            let tell: Tell = Box::new(move |committed| {
                let answer = match (result, committed) {
                    (Ok(result), Ok(())) => {
                        let then = then(&result);
                        Ok((result, then))
                    }
                    (Ok(_), Err(error)) => Err(E::from(error)),
                    // What the job itself said is more to the point than a failed commit.
                    (Err(error), _) => Err(error),
                };
                // Whoever asked may have gone; what was committed stays.
                let _ = tell.send(answer);
            });
            Outcome { tell, keep }
        });
        self.0.writes.try_send(Write::Job(job, room)).map_err(|_| StoreError::Closed)?;
        told.await.unwrap_or_else(|_| {
            Err(StoreError::Failed { what, why: "the writer failed at it".into() }.into())
        })
    }

    /// Reads, away from the writer.
    pub(crate) async fn read<T, F>(&self, what: &'static str, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let store = self.clone();
        tokio::task::spawn_blocking(move || {
            query(&locked(&store.0.reader)).map_err(StoreError::failed(what))
        })
        .await
        .unwrap_or(Err(StoreError::Closed))
    }

    /// Reads while nothing else runs yet.
    pub(crate) fn read_at_start<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, OpenError> {
        query(&locked(&self.0.reader)).map_err(|error| judged(&self.0.path, &error))
    }

    /// Tells the writer at start which rows of the log are needed still, in their order.
    pub(crate) fn kept(&self, rows: Vec<Kept>) {
        // A writer that has ended cuts nothing.
        let _ = self.0.writes.try_send(Write::Kept(rows));
    }

    /// Writes what still waits, and closes the file. Later writes are refused.
    pub(crate) async fn close(&self) {
        let (tell, told) = oneshot::channel();
        if self.0.writes.send(Write::Close(tell)).await.is_ok() {
            // An ended writer has nothing left to write.
            let _ = told.await;
        }
    }

    /// Octets of the store on disk, and free octets of its file system for this user.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let of = |suffix: &str| {
            let mut name = self.0.path.clone().into_os_string();
            name.push(suffix);
            std::fs::metadata(name).map_or(0, |file| file.len())
        };
        let free = nix::sys::statvfs::statvfs(&self.0.path)
            .map_or(0, |system| system.blocks_available().saturating_mul(system.fragment_size()));
        (of("") + of("-wal"), free)
    }
}

fn judged(path: &Path, error: &rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let (path, why) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => OpenError::Damaged { path, why },
        _ => OpenError::Unusable { path, why },
    }
}

fn open(path: &Path) -> Result<Connection, OpenError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: &rusqlite::Error| judged(path, error);
    // SQLite would make it readable by whom the umask lets.
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| OpenError::Unusable { path: path.to_owned(), why: error.to_string() })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|e| failed(&e))?;
    let number = |connection: &Connection, name| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0))
    };
    let mut set_up = || -> rusqlite::Result<Result<(), OpenError>> {
        connection.busy_timeout(BUSY)?;
        let application = number(&connection, "application_id")?;
        let version = number(&connection, "user_version")?;
        let empty = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
            row.get::<_, i64>(0).map(|count| count == 0)
        })?;
        if !empty && application != APPLICATION_ID {
            return Ok(Err(OpenError::Foreign { path: path.to_owned() }));
        }
        if version > SCHEMA {
            return Ok(Err(OpenError::Newer { path: path.to_owned(), found: version }));
        }
        if let Some(why) = damage(&connection, path)? {
            return Ok(Err(OpenError::Damaged { path: path.to_owned(), why }));
        }
        if empty {
            // Before the file has its first page: later it stays as it is.
            connection.pragma_update(None, "page_size", PAGE)?;
        }
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", MAX_WAL)?;
        connection.pragma_update(None, "cache_size", -32 * 1024)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        if empty {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
            transaction.execute_batch(TABLES)?;
            transaction.execute_batch(record::TABLES)?;
            transaction.execute_batch(listings::TABLES)?;
            transaction.execute_batch(proofs::TABLES)?;
            transaction.execute_batch(device::record::TABLES)?;
            transaction.execute_batch(kept::TABLES)?;
            transaction.execute_batch(lines::kept::TABLES)?;
            transaction.execute_batch(journal::INDEX)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
            transaction.commit()?;
        } else if version < SCHEMA {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
            // Version 1 had no pushes.
            if version < 2 {
                transaction.execute_batch(record::TABLES)?;
            }
            // Version 2 had no listings, proofs, devices or traps.
            if version < 3 {
                transaction.execute_batch(listings::TABLES)?;
                transaction.execute_batch(proofs::TABLES)?;
                transaction.execute_batch(device::record::TABLES)?;
                transaction.execute_batch(kept::TABLES)?;
                transaction.execute_batch(journal::INDEX)?;
            }
            // Version 3 kept nothing of lines.
            transaction.execute_batch(lines::kept::TABLES)?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
            transaction.commit()?;
        }
        Ok(Ok(()))
    };
    set_up().map_err(|error| failed(&error))??;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn damage(connection: &Connection, path: &Path) -> rusqlite::Result<Option<String>> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > CHECKED_AT_START) {
        return Ok(None);
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

fn read_only(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| judged(path, &e))?;
    connection.busy_timeout(BUSY).map_err(|e| judged(path, &e))?;
    Ok(connection)
}

struct Writer {
    connection: Connection,
    clock: SharedClock,
    counters: Arc<Counters>,
    problem: Arc<Mutex<Option<ConfigProblem>>>,
    /// The number of the next row of the log.
    next_id: i64,
    /// The rows of the log, but for those at its beginning that no host needs any more.
    log: VecDeque<Kept>,
    /// How many rows before those are still on disk.
    unneeded: usize,
    /// When hosts were last asked for snapshots to shorten the log.
    asked_at: Instant,
}

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<Write>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut closing = None;
        while waiting.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
            let mut rows = Vec::with_capacity(batch.len());
            let mut jobs = Vec::new();
            // A host's rows keep their order among themselves; so do the jobs. Nothing relies on
            // the order between the two.
            for write in batch.drain(..) {
                match write {
                    Write::Log(row, room) => rows.push((row, room)),
                    Write::Job(job, room) => jobs.push((job, room)),
                    Write::Kept(kept) => self.log.extend(kept),
                    Write::Close(tell) => {
                        waiting.close();
                        closing = Some(tell);
                    }
                }
            }
            self.commit(&rows, jobs);
            self.look_at_the_log();
        }
        let end = || -> rusqlite::Result<()> {
            cut_log(&self.connection, self.first_needed())?;
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .optional()
                .map(drop)
        };
        if let Err(error) = end() {
            warn!(%error, "the write-ahead log stays as it is; the next start reads it");
        }
        if let Some(tell) = closing {
            // Nobody may wait any more.
            let _ = tell.send(());
        }
    }

    /// Counts what at the beginning of the log is in a snapshot by now. A log that stays long all the
    /// same is kept so by hosts that send little: those are asked for a snapshot.
    fn look_at_the_log(&mut self) {
        while self.log.pop_front_if(|row| row.host.needs_no_row(row.n)).is_some() {
            self.unneeded += 1;
        }
        if self.log.len() > LONG_LOG && self.asked_at.elapsed() >= ASKED_EVERY {
            self.asked_at = Instant::now();
            for row in self.log.iter().take(ASKED_AT_ONCE) {
                if !row.host.needs_no_row(row.n) {
                    row.host.ask_for_snapshot();
                }
            }
        }
    }

    /// The oldest row of the log that a host needs to be built again after a restart.
    fn first_needed(&self) -> i64 {
        self.log.front().map_or(self.next_id, |row| row.id)
    }

    fn commit(&mut self, rows: &[(Box<LogRow>, Room)], jobs: Vec<(Job, Room)>) {
        if rows.is_empty() && jobs.is_empty() {
            return;
        }
        let began = Instant::now();
        let mut tells = Vec::with_capacity(jobs.len());
        let mut rooms = Vec::with_capacity(jobs.len());
        let mut dropped = Vec::new();
        let result = self.transact(rows, jobs, &mut tells, &mut rooms, &mut dropped);
        self.counters.store_commits.one();
        self.counters.store_commit_duration.note(began.elapsed(), 1);
        match &result {
            Ok(cut) => {
                if *cut {
                    self.unneeded = 0;
                }
                self.stored(rows, &dropped);
            }
            Err(error) => self.not_stored(rows, error),
        }
        let told = result
            .map(drop)
            .map_err(|error| StoreError::Failed { what: "write", why: error.to_string() });
        for tell in tells {
            tell(told.clone());
        }
    }

    /// One transaction. A job that fails is undone alone; a row that fails undoes everything. Gives
    /// whether the log was cut.
    fn transact(
        &mut self,
        rows: &[(Box<LogRow>, Room)],
        jobs: Vec<(Job, Room)>,
        tells: &mut Vec<Tell>,
        rooms: &mut Vec<Room>,
        dropped: &mut Vec<usize>,
    ) -> rusqlite::Result<bool> {
        let first_needed = (self.unneeded >= CUT_AT).then(|| self.first_needed());
        let began = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = match began {
            Ok(transaction) => transaction,
            Err(error) => {
                let why = StoreError::Failed { what: "write", why: error.to_string() };
                tells.extend(jobs.into_iter().map(|(job, _)| job(Err(why.clone())).tell));
                return Err(error);
            }
        };
        let mut failed = None;
        for (job, room) in jobs {
            rooms.push(room);
            if failed.is_none() {
                failed = transaction.execute_batch("SAVEPOINT job").err();
            }
            // A panic undoes that job alone; its asker sees that nobody answers.
            let outcome = catch_unwind(AssertUnwindSafe(|| job(Ok(&transaction)))).ok();
            if failed.is_none() && transaction.is_autocommit() {
                // A full disk makes SQLite undo the whole transaction by itself.
                failed = Some(rolled_back());
            }
            if failed.is_none() {
                let keep = outcome.as_ref().is_some_and(|outcome| outcome.keep);
                let end = if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
                failed = transaction.execute_batch(end).err();
            }
            tells.extend(outcome.map(|outcome| outcome.tell));
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let mut id = self.next_id;
        for (index, (row, _)) in rows.iter().enumerate() {
            if row.host.epoch() == row.epoch && !row.host.revoked.is_cancelled() {
                insert(&transaction, id, row)?;
                id += 1;
            } else {
                dropped.push(index);
            }
        }
        if let Some(first_needed) = first_needed {
            cut_log(&transaction, first_needed)?;
        }
        transaction.commit().map(|()| first_needed.is_some())
    }

    fn stored(&mut self, rows: &[(Box<LogRow>, Room)], dropped: &[usize]) {
        let mut last: HashMap<HostKey, (&Arc<Host>, u64)> = HashMap::new();
        let now = Instant::now();
        for (index, (row, _)) in rows.iter().enumerate() {
            if dropped.binary_search(&index).is_ok() {
                self.counters.reports.of(ReportResult::NotStored).one();
                continue;
            }
            self.counters.report_duration.note(now.duration_since(row.arrived), 1);
            let host = Arc::clone(&row.host);
            self.log.push_back(Kept { id: self.next_id, host, n: row.logged.n });
            self.next_id += 1;
            last.insert(row.host.key, (&row.host, row.logged.n));
        }
        for (host, n) in last.into_values() {
            host.stored(n);
        }
        let healed = locked(&self.problem).take();
        if healed.is_some() {
            info!("the store can be written again");
        }
    }

    fn not_stored(&self, rows: &[(Box<LogRow>, Room)], error: &rusqlite::Error) {
        self.counters.store_failures.one();
        self.fail(error);
        for (row, _) in rows {
            self.counters.reports.of(ReportResult::NotStored).one();
            row.host.not_stored(row.epoch);
        }
    }

    fn fail(&self, error: &rusqlite::Error) {
        let mut problem = locked(&self.problem);
        if problem.is_none() {
            error!(%error, "the store cannot be written; agents keep their reports");
            *problem = Some(ConfigProblem {
                at: self.clock.now(),
                message: format!(
                    "the store cannot be written: {error}; agents keep their reports until it \
                     can. Make room on its disk or see to its permissions"
                ),
            });
        }
    }
}

fn rolled_back() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
        Some("the transaction was undone".into()),
    )
}

/// Takes away the rows of the log before `first_needed`.
fn cut_log(connection: &Connection, first_needed: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM report WHERE id < ?")?.execute([first_needed]).map(drop)
}

fn insert(transaction: &Transaction<'_>, id: i64, row: &LogRow) -> rusqlite::Result<()> {
    let logged = &row.logged;
    transaction.prepare_cached("INSERT INTO report VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute(
        params![
            id,
            row.host.no,
            i64::try_from(logged.n).unwrap_or(i64::MAX),
            logged.kind.number(),
            logged.place.boot.as_bytes(),
            i64::try_from(logged.place.seq).unwrap_or(i64::MAX),
            logged.received_at.as_millis(),
            logged.offset_millis,
            &logged.body[..],
        ],
    )?;
    for gap in &row.gaps {
        transaction
            .prepare_cached(
                "INSERT INTO gap (host, boot, first, last, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                row.host.no,
                gap.boot.as_bytes(),
                i64::try_from(gap.from).unwrap_or(i64::MAX),
                i64::try_from(gap.to).unwrap_or(i64::MAX),
                gap.reason.as_str(),
                logged.received_at.as_millis(),
            ])?;
    }
    for event in &row.events {
        event.insert(transaction)?;
    }
    Ok(())
}

/// Keeps a host's whole state, with which its rows of the log up to `upto` are needed no more. A
/// snapshot that comes after a newer one changes nothing.
pub(crate) fn write_snapshot(
    transaction: &Transaction<'_>,
    host: i64,
    upto: u64,
    body: &[u8],
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO snapshot VALUES (?, ?, ?)
             ON CONFLICT (host) DO UPDATE SET upto = excluded.upto, body = excluded.body
             WHERE excluded.upto > snapshot.upto",
        )?
        .execute(params![host, i64::try_from(upto).unwrap_or(i64::MAX), body])
        .map(drop)
}

/// Forgets the state of a host that is no more. Its rows of the log go when the log is cut.
pub(crate) fn forget_snapshot(transaction: &Transaction<'_>, host: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM snapshot WHERE host = ?", [host]).map(drop)
}

/// The version that ran last, in [`read_meta`].
pub(crate) const VERSION: &str = "version";

/// When it was last noted to run.
pub(crate) const RUNNING_AT: &str = "running_at";

/// One of the few texts that are kept under a name.
pub(crate) fn read_meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    let query = "SELECT value FROM meta WHERE key = ?";
    connection.query_row(query, [key], |row| row.get(0)).optional()
}

/// Keeps a text under a name, in place of the one before.
pub(crate) fn write_meta(
    transaction: &Transaction<'_>,
    key: &str,
    value: &str,
) -> rusqlite::Result<()> {
    let put = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)";
    transaction.execute(put, [key, value]).map(drop)
}

/// The snapshot of a host: the last row that it holds, and its body.
pub(crate) fn read_snapshot(
    connection: &Connection,
    host: i64,
) -> rusqlite::Result<Option<(u64, Vec<u8>)>> {
    connection
        .prepare_cached("SELECT upto, body FROM snapshot WHERE host = ?")?
        .query_row([host], |row| {
            Ok((u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0), row.get(1)?))
        })
        .optional()
}

/// Every row of the log in its order: its number, its host's number, and what it is. Rows that this
/// version cannot know are left out.
pub(crate) fn read_log(
    connection: &Connection,
    mut each: impl FnMut(i64, i64, Logged),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT id, host, n, kind, boot, seq, received_at, clock_offset, body FROM report
         ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    while let Some(row) = rows.next()? {
        let (id, host, n) = (row.get(0)?, row.get(1)?, count(row.get(2)?));
        let kind = LogKind::from_number(row.get(3)?);
        let boot = BootId::try_from(&row.get::<_, Vec<u8>>(4)?[..]);
        let (Some(kind), Ok(boot)) = (kind, boot) else {
            warn!(host, n, "a row of the log is of a kind that this version does not know");
            continue;
        };
        let logged = Logged {
            n,
            kind,
            place: Place { boot, seq: count(row.get(5)?) },
            received_at: Timestamp::from_millis(row.get(6)?),
            offset_millis: row.get(7)?,
            body: row.get::<_, Vec<u8>>(8)?.into(),
        };
        each(id, host, logged);
    }
    Ok(())
}
