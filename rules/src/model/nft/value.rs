//! Values as nft(8) prints them, by the data type of what they are compared with.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::model::field::{device, ones_of_device};
use crate::model::interval::{Interval, Intervals, ones};
use crate::model::packet::{ICMP_TYPES, ICMP6_TYPES, PROTOCOLS, TCP_FLAGS, mac, named};

/// A data type (nft(8), DATA TYPES).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ipv4,
    Ipv6,
    Ether,
    Protocol,
    Service,
    Mark,
    Device,
    State,
    Direction,
    Status,
    IcmpType,
    Icmp6Type,
    IcmpCode,
    Icmp6Code,
    TcpFlags,
    PacketType,
    Version,
    EtherType,
    Address,
    Group,
    Hardware,
}

const STATES: [(&str, u8); 5] =
    [("invalid", 1), ("established", 2), ("related", 4), ("new", 8), ("untracked", 64)];
const STATUSES: [(&str, u16); 7] = [
    ("expected", 1),
    ("seen-reply", 2),
    ("assured", 4),
    ("confirmed", 8),
    ("snat", 16),
    ("dnat", 32),
    ("dying", 512),
];
const PACKET_TYPES: [(&str, u8); 5] =
    [("host", 0), ("unicast", 0), ("broadcast", 1), ("multicast", 2), ("other", 3)];
const ETHER_TYPES: [(&str, u16); 6] = [
    ("ip", 0x0800),
    ("arp", 0x0806),
    ("ip6", 0x86dd),
    ("8021q", 0x8100),
    ("vlan", 0x8100),
    ("8021ad", 0x88a8),
];
const ADDRESS_TYPES: [(&str, u8); 9] = [
    ("unspec", 0),
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
];
const HARDWARE: [(&str, u16); 7] = [
    ("ether", 1),
    ("ppp", 512),
    ("ipip", 768),
    ("loopback", 772),
    ("sit", 776),
    ("ipgre", 778),
    ("none", 65_534),
];
const ICMP_CODES: [(&str, u8); 8] = [
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("frag-needed", 4),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
];
const ICMP6_CODES: [(&str, u8); 6] = [
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("addr-unreachable", 3),
    ("port-unreachable", 4),
    ("policy-fail", 5),
    ("reject-route", 6),
];

impl Kind {
    /// The type by its name, as sets have it.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ipv4_addr" => Self::Ipv4,
            "ipv6_addr" => Self::Ipv6,
            "ether_addr" => Self::Ether,
            "inet_proto" => Self::Protocol,
            "inet_service" => Self::Service,
            "mark" => Self::Mark,
            "ifname" | "iface_index" => Self::Device,
            "ct_state" => Self::State,
            "ct_dir" => Self::Direction,
            "ct_status" => Self::Status,
            "icmp_type" => Self::IcmpType,
            "icmpv6_type" => Self::Icmp6Type,
            "icmp_code" => Self::IcmpCode,
            "icmpv6_code" => Self::Icmp6Code,
            "tcp_flag" => Self::TcpFlags,
            "pkt_type" => Self::PacketType,
            "nf_proto" => Self::Version,
            "ether_type" => Self::EtherType,
            "fib_addrtype" => Self::Address,
            "devgroup" => Self::Group,
            "iface_type" => Self::Hardware,
            _ => return None,
        })
    }

    pub(super) const fn bits(self) -> u32 {
        match self {
            Self::Ipv6 | Self::Device => 128,
            Self::Ether => 48,
            Self::Ipv4 | Self::Mark | Self::State | Self::Status | Self::Address | Self::Group => {
                32
            }
            Self::Service | Self::EtherType | Self::Hardware => 16,
            Self::Protocol
            | Self::Direction
            | Self::IcmpType
            | Self::Icmp6Type
            | Self::IcmpCode
            | Self::Icmp6Code
            | Self::TcpFlags
            | Self::PacketType
            | Self::Version => 8,
        }
    }

    /// Whether values are bits that can be set together.
    pub(super) const fn is_flags(self) -> bool {
        matches!(self, Self::State | Self::Status | Self::TcpFlags)
    }

    /// One number, or a word for it.
    fn word(self, text: &str) -> Option<u128> {
        let found = match self {
            Self::Ipv4 => return text.parse::<Ipv4Addr>().ok().map(|v4| v4.to_bits().into()),
            Self::Ipv6 => return text.parse::<Ipv6Addr>().ok().map(Ipv6Addr::to_bits),
            Self::Ether => return mac(text),
            // A number is an interface that is gone: it matches nothing that has a name.
            Self::Device => return device(text).filter(|_| text.parse::<u32>().is_err()),
            Self::Protocol => named(&PROTOCOLS, text).map(u16::from),
            Self::State => named(&STATES, text).map(u16::from),
            Self::Status => wide(&STATUSES, text),
            Self::Direction => named(&[("original", 0), ("reply", 1)], text).map(u16::from),
            Self::IcmpType => named(&ICMP_TYPES, text).map(u16::from),
            Self::Icmp6Type => named(&ICMP6_TYPES, text).map(u16::from),
            Self::IcmpCode => named(&ICMP_CODES, text).map(u16::from),
            Self::Icmp6Code => named(&ICMP6_CODES, text).map(u16::from),
            Self::TcpFlags => named(&TCP_FLAGS, text).map(u16::from),
            Self::PacketType => named(&PACKET_TYPES, text).map(u16::from),
            Self::Version => named(&[("ipv4", 2), ("ipv6", 10)], text).map(u16::from),
            Self::EtherType => wide(&ETHER_TYPES, text),
            Self::Address => named(&ADDRESS_TYPES, text).map(u16::from),
            Self::Group => named(&[("default", 0)], text).map(u16::from),
            Self::Hardware => wide(&HARDWARE, text),
            Self::Service | Self::Mark => None,
        };
        found.map(u128::from).or_else(|| number(text))
    }

    /// One value: a number, a word, or flags together.
    pub(super) fn one(self, value: &Value) -> Option<u128> {
        let read = match value {
            Value::Number(number) if self != Self::Device => number.as_u64().map(u128::from),
            Value::String(text) => self.word(text),
            Value::Array(flags) if self.is_flags() => self.together(flags),
            Value::Object(_) => self.together(value.get("|")?.as_array()?),
            _ => None,
        };
        read.filter(|value| *value <= ones(self.bits()))
    }

    fn together(self, flags: &[Value]) -> Option<u128> {
        // The kernel's longest list has as many as there are flags.
        flags.iter().try_fold(0, |all, flag| {
            let one = match flag {
                Value::Object(_) => None,
                plain => self.one(plain),
            };
            one.or_else(|| {
                flag.get("|").and_then(Value::as_array).and_then(|in_it| {
                    in_it.iter().try_fold(0, |all, flag| Some(all | self.word(flag.as_str()?)?))
                })
            })
            .map(|one| all | one)
        })
    }

    /// One value, a prefix, a range, or the beginning of a name.
    pub(super) fn interval(self, value: &Value) -> Option<Interval> {
        if let Some(prefix) = value.get("prefix") {
            let address = self.one(prefix.get("addr")?)?;
            let length = u32::try_from(prefix.get("len")?.as_u64()?).ok()?;
            return Interval::prefix(address, length, self.bits());
        }
        if let Some(range) = value.get("range").and_then(Value::as_array) {
            let [first, last] = range.as_slice() else { return None };
            return Interval::new(self.one(first)?, self.one(last)?);
        }
        match value {
            Value::String(all) if all == "*" => Some(Interval::all(self.bits())),
            Value::String(name) if self == Self::Device => names(name),
            // Of addresses in one prefix, nft prints the prefix as text in some places.
            Value::String(text) if text.contains('/') => {
                let (address, length) = text.split_once('/')?;
                Interval::prefix(self.word(address)?, length.parse().ok()?, self.bits())
            }
            other => self.one(other).map(Interval::one),
        }
    }

    /// Everything that a right-hand side means.
    pub(super) fn intervals(self, value: &Value) -> Option<Intervals> {
        match value.get("set") {
            Some(Value::Array(all)) => all.iter().map(|one| self.interval(element(one))).collect(),
            Some(one) => self.interval(element(one)).map(Intervals::from),
            None => self.interval(value).map(Intervals::from),
        }
    }
}

/// The value of an element that may have more to it.
pub(super) fn element(value: &Value) -> &Value {
    value.get("elem").and_then(|elem| elem.get("val")).unwrap_or(value)
}

/// A name, or all names with one beginning: `eth*`. A star that is meant is `\*`.
fn names(text: &str) -> Option<Interval> {
    if let Some(beginning) = text.strip_suffix('*').filter(|text| !text.ends_with('\\')) {
        let first = device(beginning)?;
        let free = ones_of_device(beginning.len());
        return Interval::new(first, first | free);
    }
    Kind::Device.word(&text.replace("\\*", "*")).map(Interval::one)
}

fn wide(names: &[(&str, u16)], name: &str) -> Option<u16> {
    names.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
