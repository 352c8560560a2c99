//! Duplex and errors of an Ethernet port (EtherLike-MIB, RFC 3635).

use serde::Serialize;

/// In which directions at the same time a port passes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplex {
    /// One at a time.
    Half,
    /// Both.
    Full,
}

/// What Ethernet knows of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its duplex; absent when the port does not know it, as without a link.
    pub duplex: Option<Duplex>,
    /// `dot3StatsFCSErrors`: frames that were damaged.
    pub damaged: Option<u64>,
    /// `dot3StatsLateCollisions`: collisions that only happen when the other end is full duplex or the
    /// cable too long.
    pub late_collisions: Option<u64>,
    /// `ifIndex` of the aggregate that the port is a part of, or is to be one of (`dot3adAggPortAttachedAggID`,
    /// `dot3adAggPortSelectedAggID`, IEEE 802.1AX; `ifStackTable`, RFC 2863).
    pub aggregate: Option<u32>,
    /// Whether it passes no frames of that aggregate now, as LACP says.
    pub detached: bool,
}

/// Whether the two ends of a link disagree: then it works, and slowly. `None` when an end does not
/// say.
#[must_use]
pub fn disagree(one: &Port, other: &Port) -> Option<bool> {
    Some(one.duplex? != other.duplex?)
}
