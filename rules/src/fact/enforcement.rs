//! Facts of what the host enforces, read by the probe `enforcement` from the enforcer's socket and,
//! for the counters, from the kernel.
//!
//! A host without an enforcer has no such facts. One whose enforcer does not answer has an unreadable
//! one with the reason.

use serde::{Deserialize, Serialize};

use crate::name::OrderDigest;
use crate::policy::Mode;
use crate::time::Timestamp;
use crate::unit::Bytes;

/// The most lines of a drift that travel in one fact, of those that came and of those that went.
pub const MAX_DRIFT_LINES: usize = 32;
/// The most ways round our table that travel in one fact.
pub const MAX_WAYS_ROUND: usize = 32;
/// The most tables that one change of others names.
pub const MAX_OTHER_TABLES: usize = 16;
/// The most counters of our table that travel as facts of one host.
pub const MAX_COUNTERS: usize = 1024;

/// One order of the security role, by number and by octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderRef {
    /// Its number: a host follows none that is not higher than all it has seen.
    pub version: u64,
    /// The SHA-256 of its octets.
    pub digest: OrderDigest,
}

/// What a host enforces, as its enforcer says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// Whose orders are followed: the first 8 octets of the SHA-256 of the pinned key, hexadecimal.
    /// `None`: no key is pinned, and no order is followed.
    pub key: Option<String>,
    /// The highest number of any genuine order for this host, followed or not.
    pub highest: u64,
    /// Whether the table in force drops or only counts; `None`: none is in force, or its text does
    /// not say.
    pub mode: Option<Mode>,
    /// Whose table the kernel should hold now; `None`: none of ours.
    pub in_force: Option<OrderRef>,
    /// The ruleset that was confirmed last.
    pub confirmed: Option<OrderRef>,
    /// The ruleset that waits to be confirmed.
    pub pending: Option<PendingOrder>,
    /// The quarantine in force.
    pub quarantine: Option<QuarantineOrder>,
    /// The last time that something of ours came into force or went.
    pub last: Option<LastChange>,
    /// The last time that somebody else changed our table.
    pub drift: Option<DriftSeen>,
    /// How often our table was put back since the enforcer started.
    pub restored: u64,
    /// The last time that somebody changed another table.
    pub other: Option<OtherChange>,
    /// What other tables do so that packets get round ours, at most [`MAX_WAYS_ROUND`].
    pub round: Vec<WayRound>,
    /// What the enforcer cannot do at the moment, in its words.
    pub problem: Option<String>,
}

/// A ruleset that waits to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingOrder {
    /// Which.
    pub order: OrderRef,
    /// When the ruleset before it returns, by the host's clock.
    pub until: Timestamp,
}

/// A quarantine in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineOrder {
    /// Which.
    pub order: OrderRef,
    /// When it ends by itself, by the host's clock.
    pub until: Timestamp,
    /// Why, in the words of who ordered it.
    pub reason: String,
}

/// Why what was in force is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// A ruleset was confirmed and replaced the one before.
    Confirmed,
    /// Nobody confirmed in time.
    NotConfirmed,
    /// The host was booted before anybody confirmed.
    Rebooted,
    /// The kernel refused what `nft -c` had let through.
    RefusedByKernel,
    /// A newer ruleset came before this one was confirmed.
    Superseded,
    /// A quarantine came before this one was confirmed.
    Quarantined,
    /// A quarantine reached its end.
    QuarantineOver,
    /// A quarantine was ended by an order.
    Released,
}

/// The last time that something of ours came into force or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChange {
    /// When, by the host's clock.
    pub at: Timestamp,
    /// To which order.
    pub version: u64,
    /// What.
    pub what: Ended,
}

/// Somebody else's change of our table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftSeen {
    /// When it was seen.
    pub since: Timestamp,
    /// How and when it ended; `None`: it lasts.
    pub ended: Option<DriftEnd>,
    /// The process that changed rules last, such as `nft (pid 4711)`, where the kernel told it.
    pub by: Option<String>,
    /// Lines that have come, each with its place: `chain input: tcp dport 23 accept`. At most
    /// [`MAX_DRIFT_LINES`].
    pub added: Vec<String>,
    /// Lines that have gone, likewise.
    pub removed: Vec<String>,
    /// How many lines more of either there are.
    pub more: u64,
}

/// How a drift ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftEnd {
    /// When.
    pub at: Timestamp,
    /// How.
    pub how: DriftEnded,
}

/// How a drift ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftEnded {
    /// The enforcer put the table back.
    Restored,
    /// Somebody else did.
    Undone,
    /// Another ruleset came into force.
    Replaced,
}

/// Somebody's change of a table that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherChange {
    /// When it was seen.
    pub at: Timestamp,
    /// The process that made it, such as `nft (pid 4711)`, where the kernel told it.
    pub by: Option<String>,
    /// The tables that came, went or differ now, such as `ip nat`; at most [`MAX_OTHER_TABLES`].
    pub tables: Vec<String>,
}

/// Something in another table with which packets get round ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayRound {
    /// How.
    pub how: RoundBy,
    /// Where and with what, such as `table netdev t, chain in: fwd to "eth1"`.
    pub line: String,
}

/// How packets get round our table, whose chains are of the type `filter` at the hooks `input`,
/// `output` and `forward` (nft(8)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundBy {
    /// A flowtable: packets of a known connection are forwarded before the hook `forward`.
    Flowtable,
    /// A chain of the family `netdev` hands packets to another interface before any of our hooks.
    Forwarded,
    /// Packets are copied to another place, beside our verdict about the original.
    Copied,
    /// Packets are kept from connection tracking, so that `ct state` says nothing of them.
    Untracked,
    /// Addresses are rewritten behind our table: the next host sees another sender than ours did.
    Rewritten,
}

/// A named counter of our table, such as `would-drop`, `flow-3` or `exchange-EX-1-to`. It begins
/// anew with every ruleset that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCounter {
    /// Packets counted.
    pub packets: u64,
    /// Octets counted.
    pub octets: Bytes,
}
