//! What a rule looks at.

use serde_json::Value;

use super::value::Kind;
use crate::model::field::{DCCP, Field, ICMP, ICMPV6, IPV4, IPV6, Key, SCTP, TCP, UDP, UDPLITE};
use crate::model::interval::Intervals;
use crate::model::ruleset::{Family, Match};

/// Something of a packet, with what the kernel asks before it looks there. nft(8) leaves that out
/// of a listing where the rest of the rule implies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Looked {
    pub guards: Vec<Match>,
    pub key: Key,
    pub kind: Kind,
}

/// An Ethernet device (`ARPHRD_ETHER`).
const ETHERNET: u128 = 1;

/// What an expression looks at; none where that is not understood.
pub(super) fn looked(expression: &Value, family: Family) -> Option<Looked> {
    if let Some([inner, mask]) = expression.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        let mut looked = plain(inner, family)?;
        looked.key.mask &= mask_of(mask, looked.kind)?;
        return Some(looked);
    }
    plain(expression, family)
}

/// A mask: flags, a number, an address.
fn mask_of(mask: &Value, kind: Kind) -> Option<u128> {
    kind.one(mask)
}

fn plain(expression: &Value, family: Family) -> Option<Looked> {
    let (name, what) = expression.as_object()?.iter().next()?;
    match name.as_str() {
        "payload" => payload(what, family),
        "meta" => {
            let key = what.get("key").unwrap_or(what).as_str()?;
            // Tables of frames have no version of IP there but their own number (`nft_pf`).
            if key == "nfproto" && sees_frames(family) {
                return None;
            }
            let (field, kind) = meta(key)?;
            Some(Looked { guards: Vec::new(), key: Key::whole(field), kind })
        }
        "ct" => connection(what, family),
        "fib" => {
            let field = match flags(what.get("flags")?)?.as_slice() {
                ["saddr"] => Field::SourceKind,
                ["daddr"] => Field::DestinationKind,
                // Asked for one interface or one mark, the answer is another.
                _ => return None,
            };
            let kind = (what.get("result")? == "type").then_some(Kind::Address)?;
            Some(Looked { guards: Vec::new(), key: Key::whole(field), kind })
        }
        _ => None,
    }
}

fn flags(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::Array(all) => all.iter().map(Value::as_str).collect(),
        one => Some(vec![one.as_str()?]),
    }
}

fn meta(key: &str) -> Option<(Field, Kind)> {
    Some(match key {
        "iif" | "iifname" => (Field::InputDevice, Kind::Device),
        "oif" | "oifname" => (Field::OutputDevice, Kind::Device),
        "iifgroup" => (Field::InputGroup, Kind::Group),
        "oifgroup" => (Field::OutputGroup, Kind::Group),
        "iiftype" => (Field::InputType, Kind::Hardware),
        "oiftype" => (Field::OutputType, Kind::Hardware),
        "l4proto" => (Field::Protocol, Kind::Protocol),
        "nfproto" => (Field::Version, Kind::Version),
        "protocol" => (Field::EtherType, Kind::EtherType),
        "pkttype" => (Field::PacketType, Kind::PacketType),
        "mark" => (Field::Mark, Kind::Mark),
        _ => return None,
    })
}

fn payload(what: &Value, family: Family) -> Option<Looked> {
    let (protocol, field) = (what.get("protocol")?.as_str()?, what.get("field")?.as_str()?);
    let port = match field {
        "sport" => Some((Field::SourcePort, Kind::Service)),
        "dport" => Some((Field::DestinationPort, Kind::Service)),
        _ => None,
    };
    let (guards, (field, kind)) = match (protocol, field) {
        ("ip", "saddr") => (version(family, IPV4), (Field::Source4, Kind::Ipv4)),
        ("ip", "daddr") => (version(family, IPV4), (Field::Destination4, Kind::Ipv4)),
        ("ip", "protocol") => (version(family, IPV4), (Field::Protocol, Kind::Protocol)),
        ("ip6", "saddr") => (version(family, IPV6), (Field::Source6, Kind::Ipv6)),
        ("ip6", "daddr") => (version(family, IPV6), (Field::Destination6, Kind::Ipv6)),
        ("ip6", "nexthdr") => (version(family, IPV6), (Field::Protocol, Kind::Protocol)),
        ("tcp", "flags") => (vec![is(TCP)], (Field::TcpFlags, Kind::TcpFlags)),
        ("tcp", _) => (vec![is(TCP)], port?),
        ("udp", _) => (vec![is(UDP)], port?),
        ("udplite", _) => (vec![is(UDPLITE)], port?),
        ("sctp", _) => (vec![is(SCTP)], port?),
        ("dccp", _) => (vec![is(DCCP)], port?),
        ("th", _) => (Vec::new(), port?),
        ("icmp", "type") => (icmp(family), (Field::IcmpType, Kind::IcmpType)),
        ("icmp", "code") => (icmp(family), (Field::IcmpCode, Kind::IcmpCode)),
        ("icmpv6", "type") => (icmp6(family), (Field::Icmp6Type, Kind::Icmp6Type)),
        ("icmpv6", "code") => (icmp6(family), (Field::Icmp6Code, Kind::Icmp6Code)),
        ("ether", "saddr") => (ethernet(family), (Field::EtherSource, Kind::Ether)),
        ("ether", "daddr") => (ethernet(family), (Field::EtherDestination, Kind::Ether)),
        ("ether", "type") => (ethernet(family), (Field::EtherType, Kind::EtherType)),
        _ => return None,
    };
    Some(Looked { guards, key: Key::whole(field), kind })
}

fn connection(what: &Value, family: Family) -> Option<Looked> {
    let key = what.get("key").unwrap_or(what).as_str()?;
    let original = what.get("dir").map(|dir| dir == "original");
    // nft 1.0.6 writes the family into the key, later ones beside it.
    let (of, key) = match key.split_once(' ') {
        Some((of, key)) => (Some(of), key),
        None => (what.get("family").and_then(Value::as_str), key),
    };
    let (guards, field, kind) = match (key, original, of) {
        ("state", None, _) => (Vec::new(), Field::State, Kind::State),
        ("direction", None, _) => (Vec::new(), Field::Direction, Kind::Direction),
        ("status", None, _) => (Vec::new(), Field::Status, Kind::Status),
        ("mark", None, _) => (Vec::new(), Field::ConnectionMark, Kind::Mark),
        ("saddr", Some(true), Some("ip")) => {
            (version(family, IPV4), Field::OriginalSource4, Kind::Ipv4)
        }
        ("daddr", Some(true), Some("ip")) => {
            (version(family, IPV4), Field::OriginalDestination4, Kind::Ipv4)
        }
        ("saddr", Some(true), Some("ip6")) => {
            (version(family, IPV6), Field::OriginalSource6, Kind::Ipv6)
        }
        ("daddr", Some(true), Some("ip6")) => {
            (version(family, IPV6), Field::OriginalDestination6, Kind::Ipv6)
        }
        ("proto-src", Some(true), _) => (Vec::new(), Field::OriginalSourcePort, Kind::Service),
        ("proto-dst", Some(true), _) => (Vec::new(), Field::OriginalDestinationPort, Kind::Service),
        _ => return None,
    };
    Some(Looked { guards, key: Key::whole(field), kind })
}

/// The protocol must be this one.
pub(in crate::model) fn is(protocol: u8) -> Match {
    Match::In {
        key: Key::whole(Field::Protocol),
        values: Intervals::one(u128::from(protocol)),
        not: false,
    }
}

/// The version must be this one, which goes without saying in tables that see no other.
pub(in crate::model) fn version(family: Family, version: u128) -> Vec<Match> {
    match (family, version) {
        (Family::Ip, IPV4) | (Family::Ip6, IPV6) => Vec::new(),
        _ => vec![Match::In {
            key: Key::whole(Field::Version),
            values: Intervals::one(version),
            not: false,
        }],
    }
}

fn icmp(family: Family) -> Vec<Match> {
    let mut guards = version(family, IPV4);
    guards.push(is(ICMP));
    guards
}

fn icmp6(family: Family) -> Vec<Match> {
    let mut guards = version(family, IPV6);
    guards.push(is(ICMPV6));
    guards
}

/// Whether the tables of a family see frames, and not only what is in them.
const fn sees_frames(family: Family) -> bool {
    match family {
        Family::Bridge | Family::Netdev => true,
        Family::Ip | Family::Ip6 | Family::Inet | Family::Arp => false,
    }
}

/// The frame must be one of Ethernet, which is not asked in tables that see frames.
pub(in crate::model) fn ethernet(family: Family) -> Vec<Match> {
    if sees_frames(family) {
        return Vec::new();
    }
    vec![Match::In {
        key: Key::whole(Field::InputType),
        values: Intervals::one(ETHERNET),
        not: false,
    }]
}
