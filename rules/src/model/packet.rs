//! The packet that is asked about. What is not said of it is unknown.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::field::{self, state};

/// A packet as it comes to the first hook of its way, with what is known of it.
///
/// As JSON it is one object with any of these names; `null` is as if the name was not there.
/// Protocols, ICMP types and TCP flags are taken as numbers or as the names that nft(8) prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// The interface it comes in by; nothing for what this host sends.
    #[serde(default)]
    pub iif: Option<Device>,
    /// The interface it goes out by; nothing for what is for this host.
    #[serde(default)]
    pub oif: Option<Device>,
    /// Source address.
    #[serde(default)]
    pub src: Option<IpAddr>,
    /// Destination address, of the same version.
    #[serde(default)]
    pub dst: Option<IpAddr>,
    /// Transport protocol.
    #[serde(default)]
    pub proto: Option<Protocol>,
    /// Source port.
    #[serde(default)]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(default)]
    pub dport: Option<u16>,
    /// ICMP or `ICMPv6` type, with its code where that is known: `8` or `"3/1"`.
    #[serde(default)]
    pub icmp_type: Option<IcmpType>,
    /// TCP flags.
    #[serde(default)]
    pub tcp_flags: Option<TcpFlags>,
    /// What connection tracking says of it, if it is tracked.
    #[serde(default)]
    pub state: Option<State>,
    /// Sender on the wire.
    #[serde(default)]
    pub mac: Option<Mac>,
}

/// An interface, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device(pub u128);

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// By its number (IANA protocol numbers).
    Number(u8),
    /// The ICMP of the packet's version.
    Icmp,
}

impl Protocol {
    /// Its number.
    #[must_use]
    pub const fn number(self, v6: bool) -> u8 {
        match (self, v6) {
            (Self::Number(number), _) => number,
            (Self::Icmp, false) => field::ICMP,
            (Self::Icmp, true) => field::ICMPV6,
        }
    }
}

/// Type and code of an ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IcmpType {
    /// The type.
    pub kind: IcmpKind,
    /// The code, where it is known.
    pub code: Option<u8>,
}

/// An ICMP type, by number or by a name that each version of ICMP has its own number for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpKind {
    /// The number.
    Number(u8),
    /// A name, as nft(8) prints it.
    Name(&'static str),
}

impl IcmpKind {
    /// The number in one version of ICMP; none where that has no such type.
    #[must_use]
    pub fn number(self, v6: bool) -> Option<u8> {
        match self {
            Self::Number(number) => Some(number),
            Self::Name(name) => {
                let names: &[(&str, u8)] = if v6 { &ICMP6_TYPES } else { &ICMP_TYPES };
                names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
            }
        }
    }
}

/// TCP flags (RFC 9293 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub u128);

/// What connection tracking says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The first packet of a connection.
    New,
    /// One of a connection that both sides have sent to.
    Established,
    /// The first packet of a connection that belongs to another, or an error about one.
    Related,
    /// A packet of no connection.
    Invalid,
    /// A packet that is excused from tracking.
    Untracked,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::New, Self::Established, Self::Related, Self::Invalid, Self::Untracked];

    /// Its bit.
    #[must_use]
    pub const fn bit(self) -> u128 {
        match self {
            Self::New => state::NEW,
            Self::Established => state::ESTABLISHED,
            Self::Related => state::RELATED,
            Self::Invalid => state::INVALID,
            Self::Untracked => state::UNTRACKED,
        }
    }

    /// Its name, as nft(8) writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Established => "established",
            Self::Related => "related",
            Self::Invalid => "invalid",
            Self::Untracked => "untracked",
        }
    }
}

/// Transport protocols by name (IANA, and the names that nft(8) and iptables(8) print).
pub const PROTOCOLS: [(&str, u8); 16] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("ospf", 89),
    ("comp", 108),
    ("sctp", 132),
    ("udplite", 136),
];

/// ICMP types by the names that nft(8) prints.
pub const ICMP_TYPES: [(&str, u8); 14] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
];

/// `ICMPv6` types by the names that nft(8) prints.
pub const ICMP6_TYPES: [(&str, u8); 18] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("mld2-listener-report", 143),
];

/// TCP flags by name.
pub const TCP_FLAGS: [(&str, u8); 8] = [
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("psh", 8),
    ("ack", 16),
    ("urg", 32),
    ("ecn", 64),
    ("cwr", 128),
];

/// The number that a name stands for, in one of the tables above.
#[must_use]
pub fn named(names: &[(&str, u8)], name: &str) -> Option<u8> {
    names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
}

/// The value of a hardware address, six octets in hexadecimal between colons.
#[must_use]
pub fn mac(text: &str) -> Option<u128> {
    let mut octets = text.split(':');
    let mut value = 0_u128;
    for _ in 0..6 {
        let octet = octets.next().filter(|octet| matches!(octet.len(), 1 | 2))?;
        value = value << 8 | u128::from(u8::from_str_radix(octet, 16).ok()?);
    }
    octets.next().is_none().then_some(value)
}

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongPacket {
    /// One address is IPv4, the other IPv6.
    #[error("src and dst must both be IPv4 or both IPv6 addresses")]
    TwoVersions,
    /// Nothing says whether it is IPv4 or IPv6.
    #[error("src or dst must be there, to tell IPv4 from IPv6")]
    NoVersion,
}

impl Packet {
    /// Whether it is IPv6.
    ///
    /// # Errors
    /// When its addresses do not tell, or not agree.
    pub const fn is_v6(&self) -> Result<bool, WrongPacket> {
        match (self.src, self.dst) {
            (Some(IpAddr::V4(_)), Some(IpAddr::V4(_)) | None) | (None, Some(IpAddr::V4(_))) => {
                Ok(false)
            }
            (Some(IpAddr::V6(_)), Some(IpAddr::V6(_)) | None) | (None, Some(IpAddr::V6(_))) => {
                Ok(true)
            }
            (Some(_), Some(_)) => Err(WrongPacket::TwoVersions),
            (None, None) => Err(WrongPacket::NoVersion),
        }
    }
}

/// Takes a string, and keeps only what it means.
struct Word<T> {
    wanted: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.wanted)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Word {
            wanted: "the name of an interface, 1 to 15 octets",
            read: |name| field::device(name).filter(|value| *value != 0).map(Self),
        })
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Word {
            wanted: "a hardware address such as 02:00:00:00:00:01",
            read: |text| mac(text).map(Self),
        })
    }
}

/// Takes a number of one octet, or a name.
struct Octet<T> {
    wanted: &'static str,
    number: fn(u8) -> T,
    name: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Octet<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.wanted)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let octet = u8::try_from(number);
        octet
            .map(self.number)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let number = || text.parse().ok().map(self.number);
        let read = (self.name)(text).or_else(number);
        read.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Octet {
            wanted: "a protocol such as \"tcp\" or 6",
            number: Self::Number,
            name: protocol,
        })
    }
}

/// A protocol by its name.
fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "icmp" => Some(Protocol::Icmp),
        name => named(&PROTOCOLS, name).map(Protocol::Number),
    }
}

impl<'de> Deserialize<'de> for IcmpType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Octet {
            wanted: "an ICMP type such as 8, \"echo-request\" or \"3/1\"",
            number: |number| Self { kind: IcmpKind::Number(number), code: None },
            name: icmp_type,
        })
    }
}

fn icmp_type(text: &str) -> Option<IcmpType> {
    let (kind, code) = match text.split_once('/') {
        Some((kind, code)) => (kind, Some(code.parse().ok()?)),
        None => (text, None),
    };
    let known = |(name, _): &&(&'static str, u8)| *name == kind;
    let kind = match kind.parse() {
        Ok(number) => IcmpKind::Number(number),
        Err(_) => IcmpKind::Name(ICMP_TYPES.iter().chain(&ICMP6_TYPES).find(known)?.0),
    };
    Some(IcmpType { kind, code })
}

impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Flags;
        const WANTED: &str = "TCP flags such as \"syn,ack\", [\"syn\", \"ack\"] or 18";
        impl<'de> Visitor<'de> for Flags {
            type Value = TcpFlags;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(WANTED)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<TcpFlags, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Unsigned(number), &WANTED);
                u8::try_from(number).map(TcpFlags).map_err(wrong)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TcpFlags, E> {
                tcp_flags(text)
                    .map(TcpFlags)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &WANTED))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut all: A) -> Result<TcpFlags, A::Error> {
                let mut flags = 0;
                while let Some(name) = all.next_element::<Cow<'de, str>>()? {
                    flags |= named(&TCP_FLAGS, &name).ok_or_else(|| {
                        de::Error::invalid_value(de::Unexpected::Str(&name), &WANTED)
                    })?;
                }
                Ok(TcpFlags(flags))
            }
        }
        from.deserialize_any(Flags)
    }
}

/// Flags by name, with commas, blanks or `|` between; `none` is none.
fn tcp_flags(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let mut flags = 0;
    for name in text.split([',', '|', ' ']).filter(|name| !name.is_empty()) {
        flags |= if name.eq_ignore_ascii_case("none") { 0 } else { named(&TCP_FLAGS, name)? };
    }
    Some(flags)
}
