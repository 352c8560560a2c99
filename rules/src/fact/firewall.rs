//! Facts of the packet filter, read by the probe `firewall`.

use serde::{Deserialize, Serialize};

use crate::unit::Bytes;

/// One packet filter as it is in the kernel now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Its tables, sorted by family and name, at most 256.
    pub tables: Vec<Table>,
    /// Rules in all.
    pub rules: u32,
    /// Rules with a part that Bailey cannot read; what they do is unknown.
    pub opaque_rules: u32,
    /// SHA-256 of the ruleset without handles and counters, hexadecimal: the same rules give the
    /// same digest on every host and after every reload.
    pub digest: String,
    /// Packets counted by all counters.
    pub packets: u64,
    /// Octets counted by all counters.
    pub octets: Bytes,
    /// Process that last changed it, where netlink told (name and pid).
    pub changed_by: Option<String>,
}

/// One table in summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Family: `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`.
    pub family: String,
    /// Name.
    pub name: String,
    /// Chains.
    pub chains: u32,
    /// Rules.
    pub rules: u32,
    /// Sets and maps.
    pub sets: u32,
}

/// What becomes of a packet that no rule decides, all base chains of the hook taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultPolicy {
    /// No chain is attached: everything passes.
    NoChain,
    /// Every chain lets it pass.
    Accept,
    /// A chain drops it, by its policy or by a last rule without conditions.
    Drop,
    /// A chain refuses it with an answer, by a last rule without conditions.
    Reject,
    /// A chain ends in something that Bailey cannot read.
    Unknown,
}

/// The default at one hook for one family of packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// What happens by default.
    pub default: DefaultPolicy,
    /// The chain that decides it, such as `inet filter input`; empty when there is none.
    pub by: String,
    /// Base chains at this hook that such packets pass.
    pub chains: u32,
}

/// A program that manages the filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    /// Whether it is installed.
    pub installed: bool,
    /// Whether it is in force now, as far as can be told.
    pub active: bool,
}
