//! Kinds of traffic: protocols with their ports or types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest part of a wrong word that a message repeats, in characters.
const SHOWN_WORD: usize = 64;

/// A port or a range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// First port.
    pub first: u16,
    /// Last port; the first one when it is only one.
    pub last: u16,
}

/// A text that names no ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a port; write 443 or 8000-8099, from 1 to 65535")]
pub struct NotPorts(String);

impl Ports {
    /// Whether a port is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl FromStr for Ports {
    type Err = NotPorts;
    fn from_str(text: &str) -> Result<Self, NotPorts> {
        let port = |text: &str| text.trim().parse().ok().filter(|&port: &u16| port > 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (_, _) => Err(NotPorts(text.chars().take(SHOWN_WORD).collect())),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Names of ICMP types (IANA, ICMP Type Numbers), as nft(8) spells them.
const ICMP: [(&str, u8); 10] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];
/// Names of `ICMPv6` types (IANA, Internet Control Message Protocol version 6 Parameters), as nft(8) spells them.
const ICMPV6: [(&str, u8); 11] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
];

/// A text that names no ICMP type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{word}\" is not a type of {protocol}; write a number from 0 to 255 or one of {known}")]
pub struct NotIcmpType {
    word: String,
    protocol: &'static str,
    known: String,
}

fn icmp_type(
    text: &str,
    protocol: &'static str,
    names: &[(&'static str, u8)],
) -> Result<u8, NotIcmpType> {
    let by_name = names.iter().find(|(name, _)| *name == text).map(|&(_, number)| number);
    by_name.or_else(|| text.parse().ok()).ok_or_else(|| NotIcmpType {
        word: text.chars().take(SHOWN_WORD).collect(),
        protocol,
        known: names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
    })
}

/// A type of ICMP messages (RFC 792).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IcmpType(pub u8);

impl FromStr for IcmpType {
    type Err = NotIcmpType;
    fn from_str(text: &str) -> Result<Self, NotIcmpType> {
        icmp_type(text, "ICMP", &ICMP).map(Self)
    }
}

impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ICMP.iter().find(|&&(_, number)| number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A type of `ICMPv6` messages (RFC 4443).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Icmpv6Type(pub u8);

impl FromStr for Icmpv6Type {
    type Err = NotIcmpType;
    fn from_str(text: &str) -> Result<Self, NotIcmpType> {
        icmp_type(text, "ICMPv6", &ICMPV6).map(Self)
    }
}

impl fmt::Display for Icmpv6Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ICMPV6.iter().find(|&&(_, number)| number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Written as text, read from text or a number.
macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Ports, IcmpType, Icmpv6Type);

/// One kind of traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Its TCP ports.
    pub tcp: Vec<Ports>,
    /// Its UDP ports.
    pub udp: Vec<Ports>,
    /// Its ICMP types.
    pub icmp: Vec<IcmpType>,
    /// Its `ICMPv6` types.
    pub icmpv6: Vec<Icmpv6Type>,
}

/// What the first packet of a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carried {
    /// TCP to a port.
    Tcp(u16),
    /// UDP to a port.
    Udp(u16),
    /// ICMP of a type.
    Icmp(u8),
    /// `ICMPv6` of a type.
    Icmpv6(u8),
}

impl Service {
    /// Whether it has neither ports nor types.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty() && self.icmp.is_empty() && self.icmpv6.is_empty()
    }

    /// Whether it is this kind of traffic.
    #[must_use]
    pub fn holds(&self, carried: Carried) -> bool {
        match carried {
            Carried::Tcp(port) => self.tcp.iter().any(|ports| ports.contains(port)),
            Carried::Udp(port) => self.udp.iter().any(|ports| ports.contains(port)),
            Carried::Icmp(kind) => self.icmp.contains(&IcmpType(kind)),
            Carried::Icmpv6(kind) => self.icmpv6.contains(&Icmpv6Type(kind)),
        }
    }

    /// Whether all traffic of `other` is traffic of this service.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.without(self).is_empty()
    }

    /// The traffic of this service that is not traffic of `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            tcp: minus(&self.tcp, &other.tcp),
            udp: minus(&self.udp, &other.udp),
            icmp: self.icmp.iter().copied().filter(|kind| !other.icmp.contains(kind)).collect(),
            icmpv6: self
                .icmpv6
                .iter()
                .copied()
                .filter(|kind| !other.icmpv6.contains(kind))
                .collect(),
        }
    }

    /// The traffic that is traffic of both.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }
}

impl fmt::Display for Service {
    /// `tcp 80,443, udp 53, icmp echo-request`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(all: &[T]) -> String {
            all.iter().map(T::to_string).collect::<Vec<_>>().join(",")
        }
        let parts = [
            ("tcp", list(&self.tcp)),
            ("udp", list(&self.udp)),
            ("icmp", list(&self.icmp)),
            ("icmpv6", list(&self.icmpv6)),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(protocol, list)| format!("{protocol} {list}"))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

/// The ports that are not in `cuts`, as the fewest ranges in order.
fn minus(ports: &[Ports], cuts: &[Ports]) -> Vec<Ports> {
    let mut left = ports.to_vec();
    for cut in cuts {
        left = left
            .into_iter()
            .flat_map(|ports| {
                let below = (ports.first < cut.first)
                    .then(|| Ports { first: ports.first, last: ports.last.min(cut.first - 1) });
                let above = (ports.last > cut.last)
                    .then(|| Ports { first: ports.first.max(cut.last + 1), last: ports.last });
                below.into_iter().chain(above)
            })
            .collect();
    }
    left.sort_unstable();
    let mut joined: Vec<Ports> = Vec::new();
    for ports in left {
        match joined.last_mut() {
            Some(last) if u32::from(ports.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(ports.last);
            }
            Some(_) | None => joined.push(ports),
        }
    }
    joined
}
