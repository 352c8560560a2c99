//! The matches of a rule (iptables-extensions(8)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Context;
use super::words::{Given, Options, Section};
use crate::model::field::{
    DCCP, Field, ICMP, ICMPV6, IPV4, IPV6, Key, SCTP, TCP, UDP, UDPLITE, WITH_PORTS, address,
    device, kind, ones_of_device, state, status,
};
use crate::model::interval::{Interval, Intervals, ones};
use crate::model::nft::{cut, ethernet, is, version};
use crate::model::packet::{ICMP_TYPES, ICMP6_TYPES, PROTOCOLS, TCP_FLAGS, mac, named};
use crate::model::ruleset::Match;

/// The matches that options mean, all of which must be true. What is not understood may be.
pub(super) fn read(options: &Options, context: &Context<'_>) -> Vec<Match> {
    let read = match &options.name {
        // One option that is not understood leaves the others.
        Section::Core => {
            let each = options.all.iter().map(|given| {
                core(given, context).unwrap_or_else(|| {
                    let name = Section::Core;
                    let alone = Options { name, all: vec![given.clone()] };
                    vec![unknown(&alone)]
                })
            });
            return each.flatten().collect();
        }
        Section::Module(name) => module(name, options, context),
        Section::Target { .. } => None,
    };
    read.unwrap_or_else(|| vec![unknown(options)])
}

fn unknown(options: &Options) -> Match {
    Match::Unknown { text: cut(options.text()) }
}

fn within(field: Field, values: impl Into<Intervals>, not: bool) -> Match {
    Match::In { key: Key::whole(field), values: values.into(), not }
}

fn one(field: Field, value: impl Into<u128>, not: bool) -> Match {
    within(field, Intervals::one(value.into()), not)
}

fn core(given: &Given, context: &Context<'_>) -> Option<Vec<Match>> {
    let value = given.values.first().map_or("", String::as_str);
    let not = given.not;
    Some(match given.name.as_str() {
        "-s" | "--source" => vec![network(true, value, not, context)?],
        "-d" | "--destination" => vec![network(false, value, not, context)?],
        "-p" | "--protocol" => {
            let number = match value {
                "all" => 0,
                name => named(&PROTOCOLS, name).or_else(|| name.parse().ok())?,
            };
            // Zero stands for all.
            match (number, not) {
                (0, false) => Vec::new(),
                (0, true) => vec![within(Field::Protocol, Intervals::none(), false)],
                (number, _) => vec![one(Field::Protocol, number, not)],
            }
        }
        "-i" | "--in-interface" => vec![interface(Field::InputDevice, value, not)?],
        "-o" | "--out-interface" => vec![interface(Field::OutputDevice, value, not)?],
        "-4" | "--ipv4" | "-6" | "--ipv6" | "-c" => Vec::new(),
        _ => return None,
    })
}

/// An address with a mask, which may have gaps.
fn network(source: bool, text: &str, not: bool, context: &Context<'_>) -> Option<Match> {
    let field = match (source, context.v6()) {
        (true, false) => Field::Source4,
        (false, false) => Field::Destination4,
        (true, true) => Field::Source6,
        (false, true) => Field::Destination6,
    };
    let bits = field.bits();
    let (network, mask) = text.split_once('/').unwrap_or((text, ""));
    let value = value_of(network, context)?;
    if let Ok(length) = mask.parse() {
        return Some(within(field, Interval::prefix(value, length, bits)?, not));
    }
    let mask = if mask.is_empty() { ones(bits) } else { value_of(mask, context)? };
    let key = Key { field, mask };
    Some(Match::In { key, values: Intervals::one(value & mask), not })
}

fn value_of(text: &str, context: &Context<'_>) -> Option<u128> {
    let read = if context.v6() {
        text.parse::<Ipv6Addr>().map(IpAddr::V6)
    } else {
        text.parse::<Ipv4Addr>().map(IpAddr::V4)
    };
    read.ok().map(address)
}

/// A name, or all that begin so: `eth+`.
fn interface(field: Field, name: &str, not: bool) -> Option<Match> {
    let values = match name.strip_suffix('+') {
        Some(beginning) => {
            let first = device(beginning)?;
            Interval::new(first, first | ones_of_device(beginning.len()))?
        }
        None => Interval::one(device(name)?),
    };
    Some(within(field, values, not))
}

fn module(name: &str, options: &Options, context: &Context<'_>) -> Option<Vec<Match>> {
    match name {
        "tcp" => transport(TCP, options),
        "udp" => transport(UDP, options),
        "udplite" => transport(UDPLITE, options),
        "sctp" => transport(SCTP, options),
        "dccp" => transport(DCCP, options),
        "icmp" => icmp(options, false),
        "icmp6" | "icmpv6" | "ipv6-icmp" => icmp(options, true),
        "multiport" => multiport(options),
        "conntrack" | "state" => conntrack(options, context),
        "mac" => each(options, |given| {
            let sender = mac(given.values.first()?).filter(|_| given.name == "--mac-source")?;
            let mut matches = ethernet(context.family);
            matches.push(one(Field::EtherSource, sender, given.not));
            Some(matches)
        }),
        "iprange" => each(options, |given| {
            let field = match (given.name.as_str(), context.v6()) {
                ("--src-range", false) => Field::Source4,
                ("--src-range", true) => Field::Source6,
                ("--dst-range", false) => Field::Destination4,
                ("--dst-range", true) => Field::Destination6,
                _ => return None,
            };
            let text = given.values.first()?;
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = Interval::new(value_of(first, context)?, value_of(last, context)?)?;
            Some(vec![within(field, range, given.not)])
        }),
        "addrtype" => address_types(options, context),
        "mark" => each(options, |given| marked(Field::Mark, given, "--mark")),
        "connmark" => each(options, |given| marked(Field::ConnectionMark, given, "--mark")),
        "devgroup" => each(options, |given| {
            let field = match given.name.as_str() {
                "--src-group" => Field::InputGroup,
                "--dst-group" => Field::OutputGroup,
                _ => return None,
            };
            let (value, mask) = masked(given.values.first()?)?;
            let key = Key { field, mask: mask.into() };
            Some(vec![Match::In { key, values: Intervals::one(value.into()), not: given.not }])
        }),
        "pkttype" => each(options, |given| {
            let kind = match given.values.first()?.as_str() {
                "unicast" | "host" => 0_u8,
                "broadcast" => 1,
                "multicast" => 2,
                "otherhost" => 3,
                _ => return None,
            };
            Some(vec![one(Field::PacketType, kind, given.not)])
        }),
        // It puts the sender on its list, and is true.
        "recent" if options.all.iter().any(|given| given.name == "--set" && !given.not) => {
            Some(Vec::new())
        }
        _ => None,
    }
}

/// Every option by itself, all of which must be true.
fn each(options: &Options, read: impl Fn(&Given) -> Option<Vec<Match>>) -> Option<Vec<Match>> {
    let all: Option<Vec<Vec<Match>>> = options.all.iter().map(read).collect();
    all.map(|all| all.concat())
}

fn transport(protocol: u8, options: &Options) -> Option<Vec<Match>> {
    let mut matches = vec![is(protocol)];
    matches.extend(each(options, |given| {
        let value = given.values.first();
        Some(vec![match given.name.as_str() {
            "--sport" | "--source-port" => within(Field::SourcePort, ports(value?)?, given.not),
            "--dport" | "--destination-port" => {
                within(Field::DestinationPort, ports(value?)?, given.not)
            }
            "--tcp-flags" if protocol == TCP => {
                let [mask, set] = given.values.as_slice() else { return None };
                let (mask, set) = (tcp_flags(mask)?, tcp_flags(set)?);
                flags_are(mask, set, given.not)
            }
            "--syn" if protocol == TCP => flags_are(1 | 2 | 4 | 16, 2, given.not),
            _ => return None,
        }])
    })?);
    Some(matches)
}

fn flags_are(mask: u8, set: u8, not: bool) -> Match {
    let key = Key { field: Field::TcpFlags, mask: mask.into() };
    Match::In { key, values: Intervals::one(set.into()), not }
}

fn tcp_flags(text: &str) -> Option<u8> {
    text.split(',').try_fold(0, |all, name| match name {
        "ALL" => Some(63),
        "NONE" => Some(all),
        name => Some(all | named(&TCP_FLAGS, name)?),
    })
}

/// `22` or `80:90`, either end of which may be left out.
fn ports(text: &str) -> Option<Interval> {
    let Some((first, last)) = text.split_once(':') else {
        return text.parse::<u16>().ok().map(|port| Interval::one(port.into()));
    };
    let end = |text: &str, none: u16| if text.is_empty() { Some(none) } else { text.parse().ok() };
    Interval::new(end(first, 0)?.into(), end(last, u16::MAX)?.into())
}

fn multiport(options: &Options) -> Option<Vec<Match>> {
    let protocols = WITH_PORTS.iter().map(|number| Interval::one(u128::from(*number)));
    let mut matches = vec![within(Field::Protocol, protocols.collect::<Intervals>(), false)];
    matches.extend(each(options, |given| {
        let list: Intervals = given.values.first()?.split(',').map(ports).collect::<Option<_>>()?;
        let source = |not| within(Field::SourcePort, list.clone(), not);
        let destination = |not| within(Field::DestinationPort, list.clone(), not);
        Some(match (given.name.as_str(), given.not) {
            ("--sports" | "--source-ports", not) => vec![source(not)],
            ("--dports" | "--destination-ports", not) => vec![destination(not)],
            ("--ports", true) => vec![source(true), destination(true)],
            ("--ports", false) => vec![Match::Any(vec![source(false), destination(false)])],
            _ => return None,
        })
    })?);
    Some(matches)
}

fn icmp(options: &Options, v6: bool) -> Option<Vec<Match>> {
    let (protocol, types, kind_field, code_field): (_, &[(&str, u8)], _, _) = if v6 {
        (ICMPV6, &ICMP6_TYPES, Field::Icmp6Type, Field::Icmp6Code)
    } else {
        (ICMP, &ICMP_TYPES, Field::IcmpType, Field::IcmpCode)
    };
    let mut matches = vec![is(protocol)];
    matches.extend(each(options, |given| {
        if !matches!(given.name.as_str(), "--icmp-type" | "--icmpv6-type") {
            return None;
        }
        let text = given.values.first()?;
        if text == "any" {
            let never = within(Field::Protocol, Intervals::none(), false);
            return Some(if given.not { vec![never] } else { Vec::new() });
        }
        let (kind, code) =
            text.split_once('/').map_or((text.as_str(), None), |(kind, code)| (kind, Some(code)));
        let kind: u8 = kind.parse().ok().or_else(|| named(types, kind))?;
        // 255 stands for every type of ICMP.
        if kind == 255 && !v6 {
            return None;
        }
        let Some(code) = code else { return Some(vec![one(kind_field, kind, given.not)]) };
        let code: u8 = code.parse().ok()?;
        let both = vec![one(kind_field, kind, given.not), one(code_field, code, given.not)];
        Some(if given.not { vec![Match::Any(both)] } else { both })
    })?);
    Some(matches)
}

/// `xt_conntrack`: of packets without a connection only the state is asked; if it fits, they match
/// whatever else is wanted.
fn conntrack(options: &Options, context: &Context<'_>) -> Option<Vec<Match>> {
    let mut matches = Vec::new();
    let by_state = options.has("--ctstate") || options.has("--state");
    for given in &options.all {
        let value = given.values.first()?;
        if matches!(given.name.as_str(), "--ctstate" | "--state") {
            matches.push(states(value, given.not)?);
            continue;
        }
        let mut wanted = connection(given, value, context)?;
        if by_state {
            let without: Intervals =
                [state::INVALID, state::UNTRACKED].into_iter().map(Interval::one).collect();
            for one in &mut wanted {
                let own = std::mem::replace(one, within(Field::State, without.clone(), false));
                *one = Match::Any(vec![one.clone(), own]);
            }
        }
        matches.extend(wanted);
    }
    Some(matches)
}

/// States, to which iptables adds whether the connection is translated.
fn states(text: &str, not: bool) -> Option<Match> {
    let (mut bits, mut translated) = (Vec::new(), 0);
    for name in text.split(',') {
        match name {
            "INVALID" => bits.push(state::INVALID),
            "NEW" => bits.push(state::NEW),
            "ESTABLISHED" => bits.push(state::ESTABLISHED),
            "RELATED" => bits.push(state::RELATED),
            "UNTRACKED" => bits.push(state::UNTRACKED),
            "SNAT" => translated |= status::SNAT,
            "DNAT" => translated |= status::DNAT,
            _ => return None,
        }
    }
    let plain: Intervals = bits.into_iter().map(Interval::one).collect();
    if translated == 0 {
        return Some(within(Field::State, plain, not));
    }
    // Turned round this would be two matches, one of which is false without a connection.
    let key = Key { field: Field::Status, mask: translated };
    let status = Match::In { key, values: Intervals::one(0), not: true };
    (!not).then(|| Match::Any(vec![within(Field::State, plain, false), status]))
}

/// What is asked of the connection itself.
fn connection(given: &Given, value: &str, context: &Context<'_>) -> Option<Vec<Match>> {
    let not = given.not;
    Some(match given.name.as_str() {
        "--ctdir" => {
            let direction = match value {
                "ORIGINAL" => 0_u8,
                "REPLY" => 1,
                _ => return None,
            };
            vec![one(Field::Direction, direction, not)]
        }
        "--ctorigsrc" | "--ctorigdst" => {
            let source = given.name == "--ctorigsrc";
            let plain = network(source, value, not, context)?;
            let Match::In { key, values, not } = plain else { return None };
            let field = match key.field {
                Field::Source4 => Field::OriginalSource4,
                Field::Destination4 => Field::OriginalDestination4,
                Field::Source6 => Field::OriginalSource6,
                _ => Field::OriginalDestination6,
            };
            let mut matches = version(context.family, if context.v6() { IPV6 } else { IPV4 });
            matches.push(Match::In { key: Key { field, mask: key.mask }, values, not });
            matches
        }
        "--ctorigsrcport" => vec![within(Field::OriginalSourcePort, ports(value)?, not)],
        "--ctorigdstport" => vec![within(Field::OriginalDestinationPort, ports(value)?, not)],
        "--ctstatus" => {
            let mut bits = 0;
            for name in value.split(',') {
                bits |= match name {
                    "EXPECTED" => status::EXPECTED,
                    "SEEN_REPLY" => status::SEEN_REPLY,
                    "ASSURED" => status::ASSURED,
                    "CONFIRMED" => status::CONFIRMED,
                    _ => return None,
                };
            }
            let key = Key { field: Field::Status, mask: bits };
            vec![Match::In { key, values: Intervals::one(0), not: !not }]
        }
        _ => return None,
    })
}

fn address_types(options: &Options, context: &Context<'_>) -> Option<Vec<Match>> {
    each(options, |given| {
        let field = match given.name.as_str() {
            "--src-type" => Field::SourceKind,
            "--dst-type" => Field::DestinationKind,
            // For one interface the answer is another.
            _ => return None,
        };
        let kinds: Intervals = given
            .values
            .first()?
            .split(',')
            .map(|name| {
                Some(Interval::one(match name {
                    "UNICAST" => kind::UNICAST,
                    "LOCAL" => kind::LOCAL,
                    "BROADCAST" => kind::BROADCAST,
                    "ANYCAST" => 4,
                    "MULTICAST" => kind::MULTICAST,
                    "BLACKHOLE" => kind::BLACKHOLE,
                    "UNREACHABLE" => kind::UNREACHABLE,
                    "PROHIBIT" => kind::PROHIBIT,
                    _ => return None,
                }))
            })
            .collect::<Option<_>>()?;
        // `match_type6` asks otherwise for everything but this.
        if context.v6() && kinds.single() != Some(kind::LOCAL) {
            return None;
        }
        Some(vec![within(field, kinds, given.not)])
    })
}

fn marked(field: Field, given: &Given, name: &str) -> Option<Vec<Match>> {
    if given.name != name {
        return None;
    }
    let (value, mask) = masked(given.values.first()?)?;
    let key = Key { field, mask: mask.into() };
    Some(vec![Match::In { key, values: Intervals::one(value.into()), not: given.not }])
}

/// A number of 32 bits, with a mask or for all of them: `0x1/0xff`.
pub(super) fn masked(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

/// A number of 32 bits, decimal or hexadecimal.
pub(super) fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
