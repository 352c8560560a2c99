//! What a device tells of itself as a computer (HOST-RESOURCES-MIB, RFC 2790).

use std::time::Duration;

use serde::Serialize;

use super::seconds;
use crate::unit::Bytes;

/// What kind of room it is (`hrStorageTypes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Memory chips.
    Memory,
    /// Memory and what is swapped out.
    VirtualMemory,
    /// A disk that stays.
    Disk,
    /// One that can be taken out, a network's, or another.
    Other,
}

/// A room for data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// `hrStorageIndex`.
    pub index: u32,
    /// What it is called: a mount point, or the kind of memory.
    pub name: String,
    /// What kind it is.
    pub kind: Kind,
    /// How much fits.
    pub size: Bytes,
    /// How much is in it.
    pub used: Bytes,
}

/// What a computer tells of its resources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// `hrSystemUptime`: since when the machine runs, not only its agent.
    #[serde(serialize_with = "seconds")]
    pub up: Option<Duration>,
    /// How many processes there are.
    pub processes: Option<u64>,
    /// How busy each processor was within the last minute, in percent.
    pub processors: Vec<u64>,
    /// Its rooms.
    pub storage: Vec<Storage>,
}
