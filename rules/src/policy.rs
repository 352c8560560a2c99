//! The policy file: the site's zones and hosts, and what may pass between them.
//!
//! A policy that was read holds together: every name is defined and used, no zones overlap, and
//! nothing that may pass contradicts an invariant.

mod addresses;
mod judged;
mod permit;
mod places;
mod service;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::name::{HostName, SiteName, ZoneName};
use crate::yaml::Problems;

use places::Places;

pub use addresses::{AddressRange, Addresses};
pub use permit::{Opening, Origin, Permit};
pub use service::{Carried, IcmpType, Icmpv6Type, NotIcmpType, NotPorts, Ports, Service};

/// The commented example that is shipped: the whole of a city's administration centre.
pub const REFERENCE: &str = include_str!("../shipped/policy/reference.yaml");
/// What editors are told of the policy file: a JSON Schema (2020-12). It knows every key, word and
/// bound that the reader does; that names are defined and that nothing contradicts an invariant only
/// [`Policy::parse`] can say.
pub const SCHEMA: &str = include_str!("../shipped/policy/schema.json");

/// The most zones that a site may have.
pub const MAX_ZONES: usize = 256;
/// The most networks that all zones together may have.
pub const MAX_NETWORKS: usize = 10_000;

/// The most services, and the most groups, exchange points, flows or invariants.
pub const MAX_ENTRIES: usize = 2000;
/// How long a quarantine lasts at most where the policy says nothing.
pub const LONGEST_QUARANTINE: Duration = Duration::from_hours(24);

/// Everything that the policy file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The site.
    pub site: SiteName,
    /// Its zones.
    pub zones: BTreeMap<ZoneName, Zone>,
    /// Hosts and networks that are spoken of as one, by name.
    pub groups: BTreeMap<String, Group>,
    /// Kinds of traffic by name.
    pub services: BTreeMap<String, Service>,
    /// The declared ways between zones by name.
    pub exchange_points: BTreeMap<String, ExchangePoint>,
    /// What may pass besides.
    pub flows: Vec<Flow>,
    /// What must always hold, by name.
    pub invariants: BTreeMap<String, Invariant>,
    /// The ways that every ruleset keeps, by zone.
    pub management: BTreeMap<ZoneName, Management>,
    /// What a host in quarantine keeps.
    pub quarantine: Quarantine,
    /// Hosts that the policy names. A host need not be named to be in a zone.
    pub hosts: BTreeMap<HostName, HostEntry>,
    /// Where the networks of `zones` lie.
    #[serde(skip)]
    places: Places,
}

/// Whether a ruleset drops what the policy does not let through.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It lets it pass and counts it.
    #[default]
    Observe,
    /// It drops and counts it.
    Enforce,
}

/// What happens when somebody else changes a ruleset.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// It is reported.
    #[default]
    Audit,
    /// It is reported, and the ruleset put back.
    Restore,
}

/// One zone: networks of one trust level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Zone {
    /// Its name on screen, such as 内网; the zone's own name when absent.
    pub name: Option<String>,
    /// Its networks.
    pub networks: Vec<IpNet>,
    /// Whether its hosts enforce.
    pub mode: Mode,
    /// What happens when somebody else changes a ruleset on one of its hosts.
    pub on_drift: OnDrift,
}

/// Hosts and networks that are spoken of as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Hosts and networks.
    pub members: Vec<Party>,
    /// The line of the file it stands on.
    pub line: u64,
}

/// An end of what may pass or must not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// A zone of the site.
    Zone(ZoneName),
    /// A group.
    Group(String),
    /// A host that has addresses.
    Host(HostName),
    /// A network inside one zone.
    Network(IpNet),
    /// Everything that is in no zone; written `internet`.
    Internet,
}

impl std::fmt::Display for Party {
    /// As it is written in the policy.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Zone(zone) => zone.fmt(f),
            Self::Group(group) => group.fmt(f),
            Self::Host(host) => host.fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Internet => f.pad("internet"),
        }
    }
}

/// A declared way between two zones (交换点): from `from` to those hosts that are in a zone of `to`,
/// and from those that are in a zone of `from` to `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExchangePoint {
    /// Where connections begin.
    pub from: Party,
    /// Where they lead.
    pub to: Party,
    /// The hosts that carry them.
    pub hosts: Vec<HostName>,
    /// The service that passes.
    pub service: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The line of the file it stands on.
    pub line: u64,
}

/// What may pass besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Where connections begin.
    pub from: Party,
    /// Where they lead.
    pub to: Party,
    /// The service that passes.
    pub service: String,
    /// The line of the file it stands on.
    pub line: u64,
}

/// What must always hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invariant {
    /// What.
    pub what: Demand,
    /// The line of the file it stands on.
    pub line: u64,
}

/// The sentence of an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// The first opens no connection to the second.
    Never {
        /// Who.
        from: Party,
        /// To whom.
        to: Party,
    },
    /// The first opens connections to the second through these exchange points only.
    Only {
        /// Who.
        from: Party,
        /// To whom.
        to: Party,
        /// Names of exchange points.
        through: Vec<String>,
    },
    /// The first can always open the service to the second.
    Always {
        /// Who.
        from: Party,
        /// To whom.
        to: Party,
        /// What.
        service: String,
    },
}

/// The ways to and from the hosts of a zone that every ruleset keeps, in quarantine too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Management {
    /// Who administers them.
    pub from: Party,
    /// By which service.
    pub service: String,
    /// Where their agents report to.
    pub collectors: Vec<SocketAddr>,
    /// The line of the file it stands on.
    pub line: u64,
}

/// What a host in quarantine keeps besides its management.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantine {
    /// Services that it may open inside its own zone, such as DNS.
    pub services: Vec<String>,
    /// The longest that a quarantine may last.
    pub longest: Duration,
}

impl Default for Quarantine {
    fn default() -> Self {
        Self { services: Vec::new(), longest: LONGEST_QUARANTINE }
    }
}

/// What the policy says of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostEntry {
    /// The zone it belongs to.
    pub zone: ZoneName,
    /// Its addresses: inside its zone, or inside any where it forwards.
    pub addresses: Vec<IpAddr>,
    /// Whether it may forward packets.
    pub forwards: bool,
    /// Whether it enforces; as its zone does when absent.
    pub mode: Option<Mode>,
    /// What happens when somebody else changes its ruleset; as in its zone when absent.
    pub on_drift: Option<OnDrift>,
}

/// Whether an address can be in a zone at all: not loopback (RFC 1122, RFC 4291), not link-local
/// (RFC 3927, RFC 4291), not multicast, broadcast or unspecified.
#[must_use]
pub fn counts(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(a) => {
            !(a.is_loopback()
                || a.is_link_local()
                || a.is_multicast()
                || a.is_broadcast()
                || a.is_unspecified())
        }
        IpAddr::V6(a) => {
            !(a.is_loopback()
                || a.is_unicast_link_local()
                || a.is_multicast()
                || a.is_unspecified())
        }
    }
}

impl Policy {
    /// Reads a policy file. `file` is only the name used in problems.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the lines.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        written::read(file, text)
    }

    /// The zone whose networks hold `address`.
    #[must_use]
    pub fn zone_of(&self, address: IpAddr) -> Option<&ZoneName> {
        self.places.zone_of(address.to_canonical())
    }

    /// Whether the host may forward packets.
    #[must_use]
    pub fn forwards(&self, host: &HostName) -> bool {
        self.hosts.get(host).is_some_and(|entry| entry.forwards)
    }

    /// Whether a host of a zone enforces. A zone that is not the site's does not.
    #[must_use]
    pub fn mode_of(&self, host: &HostName, zone: &ZoneName) -> Mode {
        let own = self.hosts.get(host).and_then(|entry| entry.mode);
        own.or_else(|| self.zones.get(zone).map(|zone| zone.mode)).unwrap_or_default()
    }

    /// What happens when somebody else changes the ruleset of a host of a zone.
    #[must_use]
    pub fn on_drift_of(&self, host: &HostName, zone: &ZoneName) -> OnDrift {
        let own = self.hosts.get(host).and_then(|entry| entry.on_drift);
        own.or_else(|| self.zones.get(zone).map(|zone| zone.on_drift)).unwrap_or_default()
    }

    /// The zones that a party has addresses in; `None` stands for the Internet.
    #[must_use]
    pub fn zones_of(&self, party: &Party) -> BTreeSet<Option<&ZoneName>> {
        match party {
            Party::Zone(zone) => [self.zones.get_key_value(zone).map(|(zone, _)| zone)].into(),
            Party::Group(group) => self
                .groups
                .get(group)
                .into_iter()
                .flat_map(|group| &group.members)
                .flat_map(|member| self.zones_of(member))
                .collect(),
            Party::Host(host) => match self.hosts.get(host) {
                Some(entry) => {
                    entry.addresses.iter().map(|address| self.zone_of(*address)).collect()
                }
                None => [None].into(),
            },
            Party::Network(network) => [self.zone_of(network.addr())].into(),
            Party::Internet => [None].into(),
        }
    }

    /// The commented policy file that `bailey up` writes at its first start: one zone with the
    /// networks that this machine is in. Networks that cannot be of a zone are left out.
    #[must_use]
    pub fn for_this_host(site: &SiteName, zone: &ZoneName, networks: &[IpNet]) -> String {
        use std::fmt::Write as _;
        let networks: Vec<IpNet> = networks.iter().map(IpNet::trunc).collect();
        let networks: Vec<String> = IpNet::aggregate(&networks)
            .iter()
            .filter(|network| counts(network.addr()))
            .map(|network| format!("\"{network}\""))
            .collect();
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "# The policy of this site: its zones and its hosts. Bailey reads it again on every change.\n\
             # 本站点的策略：安全域与主机。修改保存后自动生效。\n\
             #\n\
             # A zone is networks of one trust level. An address, route or neighbour of another zone on a\n\
             # host is a violation of isolation.\n\
             # 安全域是信任级别相同的一组网段。主机上出现其他安全域的地址、路由或邻居，即为隔离违规。\n\
             \n\
             site: {site}\n\
             \n\
             zones:\n  {zone}:\n    networks: [{networks}]\n\
             #  The other network, for example:\n\
             #  outer:\n\
             #    name: 外网\n\
             #    networks: [172.20.0.0/16]\n\
             \n\
             # Hosts that the policy must know, such as those that may forward packets.\n\
             # 需要在策略中声明的主机，例如允许转发数据包的主机。\n\
             # hosts:\n\
             #   fw-in: {{zone: {zone}, addresses: [10.1.0.1], forwards: true}}\n",
            networks = networks.join(", "),
        );
        out
    }
}
