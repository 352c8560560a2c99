//! Facts of backups, read by the probe `backup`.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::unit::Bytes;

/// The most snapshots of a repository that travel in one fact, newest first.
pub const MAX_SNAPSHOTS: usize = 30;

/// What a job left in its status file after its last run. An exit code proves nothing by itself;
/// [`Repository`] is what was really kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The program, such as `restic`, `borg`, `rsync`, `pg_dump`.
    pub tool: String,
    /// When the last run began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Whether the job itself says that it worked.
    pub success: bool,
    /// Size of what was copied, where the job tells.
    pub size: Option<Bytes>,
    /// Number of files, where the job tells.
    pub files: Option<u64>,
    /// Where the copy lies, for people.
    pub destination: String,
    /// What the job said, for people.
    pub message: String,
    /// When the last run that worked ended; kept by the agent over failed runs.
    pub last_success_at: Option<Timestamp>,
    /// Sizes of the last runs that worked, newest first, at most [`MAX_SNAPSHOTS`].
    pub sizes: Vec<Bytes>,
}

/// One snapshot in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Size of the data it stands for (before deduplication), where the tool tells.
    pub size: Option<Bytes>,
    /// Files in it, where the tool tells.
    pub files: Option<u64>,
}

/// What a repository really holds, as the tool itself reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// The tool: `restic` or `borg`.
    pub tool: String,
    /// Snapshots in all.
    pub snapshots: u32,
    /// The newest snapshots, newest first, at most [`MAX_SNAPSHOTS`].
    pub newest: Vec<Snapshot>,
}
