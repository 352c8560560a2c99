//! Facts of the network as the host sees it, read by the probe `links` through rtnetlink(7).

use std::fmt;
use std::net::IpAddr;

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

/// One route that carries packets elsewhere (rtnetlink(7) `RTM_GETROUTE`); local and broadcast
/// entries are left out, they follow from the addresses.
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
    /// False for `blackhole`, `unreachable` and `prohibit`.
    pub carries: bool,
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
}

/// The kernel's forwarding switches (`net.ipv4.ip_forward`, `net.ipv6.conf.*.forwarding`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// Whether IPv4 packets are forwarded.
    pub ipv4: bool,
    /// Whether IPv6 packets are forwarded on all interfaces.
    pub ipv6: bool,
    /// Interfaces on which forwarding of either family is on by itself, sorted, at most 64.
    pub interfaces: Vec<String>,
}
