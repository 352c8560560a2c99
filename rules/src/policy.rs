//! The policy file: the site's zones and hosts, and what may pass between them.
//!
//! Zones and hosts are checked and used. Services, exchange points, flows and invariants have their
//! shape and their references checked.

mod written;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::name::{HostName, SiteName, ZoneName};
use crate::yaml::Problems;

pub use written::{ExchangePoint, Flow, Invariant, Party, Ports, Service};

/// The most zones that a site may have.
pub const MAX_ZONES: usize = 256;
/// The most networks that all zones together may have.
pub const MAX_NETWORKS: usize = 10_000;

/// Everything that the policy file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The site.
    pub site: SiteName,
    /// Its zones.
    pub zones: BTreeMap<ZoneName, Zone>,
    /// Kinds of traffic by name.
    pub services: BTreeMap<String, Service>,
    /// The declared ways between zones by name.
    pub exchange_points: BTreeMap<String, ExchangePoint>,
    /// What may pass besides.
    pub flows: Vec<Flow>,
    /// What must never be possible, by name.
    pub invariants: BTreeMap<String, Invariant>,
    /// Hosts that the policy names. A host need not be named to be in a zone.
    pub hosts: BTreeMap<HostName, HostEntry>,
}

/// One zone: networks of one trust level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Zone {
    /// Its name on screen, such as 内网; the zone's own name when absent.
    pub name: Option<String>,
    /// Its networks.
    pub networks: Vec<IpNet>,
}

/// What the policy says of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostEntry {
    /// The zone it belongs to.
    pub zone: ZoneName,
    /// Its addresses, all inside the zone.
    pub addresses: Vec<IpAddr>,
    /// Whether it may forward packets.
    pub forwards: bool,
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

    /// The zone whose networks hold `address`: the longest match.
    #[must_use]
    pub fn zone_of(&self, address: IpAddr) -> Option<&ZoneName> {
        let address = address.to_canonical();
        self.zones
            .iter()
            .flat_map(|(name, zone)| zone.networks.iter().map(move |network| (network, name)))
            .filter(|(network, _)| network.contains(&address))
            .max_by_key(|(network, _)| network.prefix_len())
            .map(|(_, name)| name)
    }

    /// Whether the host may forward packets.
    #[must_use]
    pub fn forwards(&self, host: &HostName) -> bool {
        self.hosts.get(host).is_some_and(|entry| entry.forwards)
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
