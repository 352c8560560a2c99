//! Facts of the network as the host sees it, read by the probe `links` through rtnetlink(7).

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::unit::Bytes;

/// A hardware address of six octets (IEEE 802).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, octet) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

impl std::str::FromStr for Mac {
    type Err = NotAMac;
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or(NotAMac)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        parts.next().is_none().then_some(Self(octets)).ok_or(NotAMac)
    }
}

/// A text that is no hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hardware address; write it as 52:54:00:12:34:56")]
pub struct NotAMac;

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What sort of interface it is, as far as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// The loopback interface.
    Loopback,
    /// A wired network card.
    Ethernet,
    /// A bridge.
    Bridge,
    /// A bond or team of interfaces.
    Bond,
    /// A VLAN on another interface (IEEE 802.1Q).
    Vlan,
    /// One end of a virtual pair, or a macvlan: containers and test labs.
    Virtual,
    /// A tunnel: tun, tap, `WireGuard`, GRE, IPIP, SIT, VXLAN, PPP over another network, IPsec.
    Tunnel,
    /// A radio interface (IEEE 802.11).
    Wireless,
    /// A network card on USB.
    Usb,
    /// A modem: PPP on a serial line, WWAN, ISDN.
    Modem,
    /// Something else; the kernel's name for it stands in the interface's `driver`.
    Other,
}

/// Duplex of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplex {
    /// One direction at a time.
    Half,
    /// Both directions at once.
    Full,
}

/// Whether the source of an IPv4 packet that comes in is looked up in the routes
/// (`net.ipv4.conf.*.rp_filter`, RFC 3704): the larger of the switch for all interfaces and that of
/// this one is in force.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ReversePath {
    /// It is not.
    #[default]
    Off,
    /// The way back must be by the interface by which it came.
    Strict,
    /// There must be a way back.
    Loose,
}

/// One interface with its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The kernel's index.
    pub index: u32,
    /// What sort it is.
    pub kind: LinkKind,
    /// The driver or the kernel's name for the kind (`virtio_net`, `veth`, `tun`); empty if untold.
    pub driver: String,
    /// Hardware address, where it has one of six octets.
    pub mac: Option<Mac>,
    /// Set up by the administrator (`IFF_UP`).
    pub admin_up: bool,
    /// Able to carry traffic (RFC 2863 `ifOperStatus` up, or unknown for kinds that never tell).
    pub carrier: bool,
    /// Speed in Mbit/s, where the kernel tells.
    pub speed_mbits: Option<u32>,
    /// Duplex, where the kernel tells.
    pub duplex: Option<Duplex>,
    /// Largest packet.
    pub mtu: u32,
    /// The bridge, bond or VRF that it belongs to.
    pub master: Option<String>,
    /// Its addresses with the length of their network, sorted.
    pub addresses: Vec<IpNet>,
    /// Those of its addresses that are second ones of their network (`IFA_F_SECONDARY`), sorted: no
    /// packet of the host's own has such a source by itself, and masquerading takes none.
    pub secondary: Vec<IpNet>,
    /// Those of its addresses that only its segment may know (`scope link`, ip-address(8)), sorted.
    pub link_only: Vec<IpNet>,
    /// The group that it is in (`IFLA_GROUP`), where the agent tells.
    pub group: Option<u32>,
    /// What hardware it is (`ARPHRD_*`, `linux/if_arp.h`), where the agent tells.
    pub hardware: Option<u16>,
    /// Whether sources are looked up, where the agent tells.
    pub reverse_path: Option<ReversePath>,
}

/// Counters of one interface since it appeared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Octets received.
    pub received: Bytes,
    /// Octets sent.
    pub transmitted: Bytes,
    /// Frames received in error.
    pub receive_errors: u64,
    /// Frames that could not be sent.
    pub transmit_errors: u64,
    /// Frames received and dropped.
    pub receive_drops: u64,
    /// Frames dropped before they were sent.
    pub transmit_drops: u64,
}

/// What becomes of packets that a route is for (rtnetlink(7), `rtm_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// They are carried on.
    Unicast,
    /// They are dropped.
    Blackhole,
    /// They are refused as unreachable.
    Unreachable,
    /// They are refused as prohibited.
    Prohibit,
    /// The next policy rule is asked.
    Throw,
    /// They are for this host, whatever its addresses.
    Local,
}

/// One route (rtnetlink(7) `RTM_GETROUTE`); the entries of the table `local` are left out, they follow
/// from the addresses. A route with several next hops is as many routes of the same destination,
/// metric and table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to. A default route is `0.0.0.0/0` or `::/0`.
    pub destination: IpNet,
    /// The next hop; absent for a directly connected network.
    pub gateway: Option<IpAddr>,
    /// The interface it leaves by; absent for routes that drop.
    pub interface: Option<String>,
    /// Preference, smaller wins.
    pub metric: u32,
    /// Routing table (254 is `main`).
    pub table: u32,
    /// Whether it carries packets elsewhere: its kind is unicast.
    pub carries: bool,
    /// What becomes of packets.
    pub kind: RouteKind,
    /// The source of packets of the host's own, where the route says it.
    pub source: Option<IpAddr>,
}

/// A mark that a packet must have (`fwmark`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What its bits are.
    pub value: u32,
    /// Which of them are looked at.
    pub mask: u32,
}

/// What a policy rule does with packets that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// Looks into this routing table; the next rule is asked when that has no route for them.
    Table(u32),
    /// Drops them.
    Blackhole,
    /// Refuses them as unreachable.
    Unreachable,
    /// Refuses them as prohibited.
    Prohibit,
    /// Something else, such as `goto`.
    Other,
}

/// One policy rule: which routing table is asked when (ip-rule(8)). The three that a kernel begins
/// with are among them, so that a missing one is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Smaller is asked earlier.
    pub priority: u32,
    /// Whether it is for IPv6; otherwise it is for IPv4.
    pub ipv6: bool,
    /// Whether it is for packets that do not fulfil its conditions.
    pub not: bool,
    /// Their sources; absent for all.
    pub from: Option<IpNet>,
    /// Their destinations; absent for all.
    pub to: Option<IpNet>,
    /// The interface that they come in by; `lo` for the host's own.
    pub iif: Option<String>,
    /// The interface that their sender is bound to.
    pub oif: Option<String>,
    /// The mark that they have.
    pub mark: Option<Mark>,
    /// What becomes of them.
    pub action: RuleAction,
    /// Whether it has conditions beside these, such as ports or a user.
    pub unsure: bool,
}

/// One neighbour that was really seen (states reachable, stale, delay, probe, permanent).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The interface it was seen on.
    pub interface: String,
    /// Its hardware address, where it has one.
    pub mac: Option<Mac>,
    /// Whether it says it routes (ND router flag).
    pub router: bool,
    /// Whether nothing was heard of it for [`HEARD_WITHIN`]: it may not be there any more.
    #[serde(default)]
    pub silent: bool,
}

/// How long a neighbour that was heard counts as there, as a bridge forgets where an address is (IEEE
/// 802.1Q, ageing time).
pub const HEARD_WITHIN: Duration = Duration::from_mins(5);

/// The kernel's forwarding switches (`net.ipv4.ip_forward`, `net.ipv6.conf.*.forwarding`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// Whether IPv4 packets are forwarded.
    pub ipv4: bool,
    /// Whether IPv6 packets are forwarded on all interfaces.
    pub ipv6: bool,
    /// Interfaces on which forwarding of either family is on by itself, sorted, at most 64.
    pub interfaces: Vec<String>,
    /// Whether packets that a bridge carries go through the rules of IP too (`net.bridge.bridge-nf-call-*`,
    /// or the same switch of one bridge). Nothing where it is not known: an older agent does not tell.
    #[serde(default)]
    pub bridged: Option<bool>,
}
