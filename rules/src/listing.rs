//! Listings: what programs of a host print of its packet filters, whole, as the proof needs them.
//!
//! Facts sum a ruleset up; a proof needs every rule. A host therefore sends its listings beside its
//! reports, each only when it has changed. The fact `firewall.ruleset` says by its digest which ruleset
//! a listing must be of to still count: see [`Listing::ruleset`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fact::FactKind;
use crate::fact::firewall::Ruleset;
use crate::host::FactSet;
use crate::time::Timestamp;

/// The longest listing, in octets. A longer one is not sent, and what depends on it is out of model.
pub const MAX_LISTING: usize = 16 * 1024 * 1024;

/// Which program printed a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListingSource {
    /// `nft -j list ruleset` (libnftables-json(5)).
    Nftables,
    /// `iptables-nft-save`, where nft prints parts of such rules as `xt` only.
    IptablesNft,
    /// `ip6tables-nft-save`, likewise.
    Ip6tablesNft,
    /// `iptables-legacy-save`, where the kernel holds such tables.
    IptablesLegacy,
    /// `ip6tables-legacy-save`, likewise.
    Ip6tablesLegacy,
}

impl ListingSource {
    /// Every source.
    pub const ALL: [Self; 5] = [
        Self::Nftables,
        Self::IptablesNft,
        Self::Ip6tablesNft,
        Self::IptablesLegacy,
        Self::Ip6tablesLegacy,
    ];

    /// The name in JSON and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::IptablesNft => "iptables-nft",
            Self::Ip6tablesNft => "ip6tables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Ip6tablesLegacy => "ip6tables-legacy",
        }
    }

    /// The source of this name; `None` for one that this version does not know.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }

    /// The subject of the fact `firewall.ruleset` whose ruleset this is a listing of, or a part of.
    #[must_use]
    pub const fn filter(self) -> &'static str {
        match self {
            Self::Nftables | Self::IptablesNft | Self::Ip6tablesNft => "nftables",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Ip6tablesLegacy => "ip6tables-legacy",
        }
    }
}

impl fmt::Display for ListingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// SHA-256 that tells a listing from every other: of its text without counters. Handles count, since
/// people are told to delete a rule by its handle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListingDigest(pub [u8; 32]);

impl fmt::Display for ListingDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for ListingDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListingDigest({self})")
    }
}

/// One listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What tells it from every other.
    pub digest: ListingDigest,
    /// [`Ruleset::digest`] of the ruleset that it lists.
    pub ruleset: String,
    /// When it came, by the collector's clock.
    pub received_at: Timestamp,
    /// What the program printed; at most [`MAX_LISTING`] octets.
    pub text: Arc<str>,
}

/// The newest listings of one host. A source that the host does not list is not there: it either has no
/// such filter, which its facts tell, or has not sent it yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listings(pub BTreeMap<ListingSource, Listing>);

impl Listings {
    /// The listing of a source, if it is of the ruleset that the host's facts tell of now.
    #[must_use]
    pub fn current(&self, source: ListingSource, facts: &FactSet) -> Option<&Listing> {
        let listing = self.0.get(&source)?;
        let held = facts.get(FactKind::Ruleset, source.filter())?;
        let ruleset = held.reading.known().and_then(<Ruleset as crate::fact::Named>::of)?;
        (ruleset.digest == listing.ruleset).then_some(listing)
    }
}
