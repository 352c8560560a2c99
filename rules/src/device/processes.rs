//! What runs on a computer that takes no agent: `hrSWRunTable` of HOST-RESOURCES-MIB (RFC 2790).

use std::cmp::Reverse;
use std::time::Duration;

use serde::Serialize;

use super::seconds;
use crate::unit::Bytes;

/// The most kinds of processes of one device that are held.
pub const MAX_PROCESSES: usize = 4_096;

/// All processes of one name and path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// `hrSWRunName`.
    pub name: String,
    /// `hrSWRunPath`: the file, or what the process calls itself; empty where the device says nothing.
    pub path: String,
    /// How many there are.
    pub count: u32,
    /// Memory that they have in all, where the device says it.
    pub memory: Option<Bytes>,
    /// Processor time that they have had in all, where the device says it.
    #[serde(serialize_with = "seconds")]
    pub busy: Option<Duration>,
}

/// The processes of a computer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Processes {
    /// They, by name and path.
    pub list: Vec<Process>,
    /// How many kinds are left out, because there are more than [`MAX_PROCESSES`].
    pub left_out: usize,
}

impl Processes {
    /// The `most` kinds that have the most memory, and how many others there are.
    #[must_use]
    pub fn largest(&self, most: usize) -> (Vec<&Process>, usize) {
        let mut all: Vec<&Process> = self.list.iter().collect();
        all.sort_by_key(|process| Reverse(process.memory));
        all.truncate(most);
        let others = self.list.len() - all.len() + self.left_out;
        (all, others)
    }
}
