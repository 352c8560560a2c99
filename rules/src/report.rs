//! Reports: facts of one host, numbered, in the order in which they were read.

use std::time::Duration;

use serde::Serialize;

use crate::digest::FactDigest;
use crate::fact::{Fact, FactKey, ProbeName};
use crate::name::BootId;
use crate::time::Timestamp;

/// The largest report on the wire.
pub const MAX_REPORT: usize = 1024 * 1024;

/// The place of a report: numbering and number. With the host key it names one report for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The numbering.
    pub boot: BootId,
    /// The number in it, from 1 on without holes.
    pub seq: u64,
}

/// One run of one probe, as far as this report knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeRun {
    /// Which probe.
    pub probe: ProbeName,
    /// When its facts were last read, by the host's clock. For a probe told of changes by the
    /// kernel: when it was last known that nothing had changed.
    pub read_at: Timestamp,
    /// How often it reads.
    pub interval: Duration,
    /// Why the last run failed as a whole; its facts then stay as they were at `read_at`.
    pub failed: Option<String>,
}

/// One report. Facts that are neither changed nor removed are as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its place.
    pub place: Place,
    /// When it was put together, by the host's clock.
    pub taken_at: Timestamp,
    /// True when it carries every fact: what it does not name is gone.
    pub complete: bool,
    /// The probes that ran since the report before; in a complete report all of them.
    pub probes: Vec<ProbeRun>,
    /// New and changed facts.
    pub changed: Vec<Fact>,
    /// Facts that are no more.
    pub removed: Vec<FactKey>,
    /// Digest over all facts after this report.
    pub digest: FactDigest,
}

/// Why reports were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The spool was full and dropped its oldest.
    SpoolFull,
    /// They grew older than the spool keeps.
    SpoolExpired,
    /// A segment of the spool was damaged; it is kept aside.
    SpoolDamaged,
    /// The spool was gone or could not be written.
    SpoolLost,
    /// Nobody said; the collector saw the hole.
    Undeclared,
}

impl LossReason {
    /// The word in metrics and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpoolFull => "spool_full",
            Self::SpoolExpired => "spool_expired",
            Self::SpoolDamaged => "spool_damaged",
            Self::SpoolLost => "spool_lost",
            Self::Undeclared => "undeclared",
        }
    }
}

/// A recorded gap: these reports will never come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The numbering.
    pub boot: BootId,
    /// First number lost.
    pub from: u64,
    /// Last number lost.
    pub to: u64,
    /// Why.
    pub reason: LossReason,
}
