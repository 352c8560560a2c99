//! The targets of a rule (iptables-extensions(8)).

use std::net::IpAddr;

use super::matches::{masked, number};
use super::words::{Options, Section};
use super::{ANYTHING, Context};
use crate::model::field::{Field, Key, address, state};
use crate::model::interval::{Interval, Intervals, ones};
use crate::model::nft::cut;
use crate::model::ruleset::{
    Effects, Match, Nat, NatAddress, NatKind, NatPorts, Statement, Value, Verdict,
};

/// Targets that log, count, or change what this model does not know of, and let the next rule
/// decide.
const ASIDE: [&str; 22] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNSECMARK",
    "DSCP",
    "ECN",
    "HL",
    "IDLETIMER",
    "LED",
    "LOG",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TRACE",
    "TTL",
    "ULOG",
    "NFACCT",
];

/// What a target does.
pub(super) fn read(options: &Options, context: &Context<'_>) -> Vec<Statement> {
    let Section::Target { name, goto } = &options.name else { return Vec::new() };
    // A chain may have the name of a target; iptables(8) refuses to make it.
    if let Some(chain) = context.chains.get(name.as_str()) {
        let to = if *goto { Verdict::Goto(*chain) } else { Verdict::Jump(*chain) };
        return vec![Statement::Verdict(to)];
    }
    let unknown = |effects| vec![Statement::Unknown { text: cut(options.text()), effects }];
    let verdict = |verdict| vec![Statement::Verdict(verdict)];
    match name.as_str() {
        "ACCEPT" => verdict(Verdict::Accept),
        "DROP" => verdict(Verdict::Drop),
        "RETURN" => verdict(Verdict::Return),
        "REJECT" => verdict(Verdict::Reject),
        "QUEUE" | "NFQUEUE" => verdict(Verdict::Queue),
        "NOTRACK" => vec![Statement::Notrack],
        "CT" if options.has("--notrack") => vec![Statement::Notrack],
        // A zone or a helper changes which connection it is, and the state is given.
        "CT" => Vec::new(),
        "MARK" => mark(options).unwrap_or_else(|| unknown(CHANGES)),
        "CONNMARK" => connection_mark(options).unwrap_or_else(|| unknown(CHANGES)),
        "SNAT" | "DNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP" => vec![nat(name, options, context)],
        name if ASIDE.contains(&name) => Vec::new(),
        _ => unknown(ANYTHING),
    }
}

const CHANGES: Effects = Effects { accepts: false, drops: false, changes: true };

/// `(of & and) ^ xor`.
fn bits(of: Field, and: u32, xor: u32) -> Value {
    Value::Bits { of, and: and.into(), xor: xor.into() }
}

fn mark(options: &Options) -> Option<Vec<Statement>> {
    Some(vec![Statement::Set { field: Field::Mark, value: set_mark(Field::Mark, options)? }])
}

/// What the options that both mark targets share make of a mark.
fn set_mark(of: Field, options: &Options) -> Option<Value> {
    let [given] = options.all.as_slice() else { return None };
    let text = given.values.first()?;
    Some(match given.name.as_str() {
        "--set-xmark" => {
            let (value, mask) = masked(text)?;
            bits(of, !mask, value)
        }
        "--set-mark" => {
            let (value, mask) = masked(text)?;
            bits(of, !(mask | value), value)
        }
        "--and-mark" => bits(of, number(text)?, 0),
        "--or-mark" => bits(of, !number(text)?, number(text)?),
        "--xor-mark" => bits(of, u32::MAX, number(text)?),
        _ => return None,
    })
}

/// `xt_connmark`: a packet without a connection is left as it is.
fn connection_mark(options: &Options) -> Option<Vec<Statement>> {
    let tracked: Intervals = state::TRACKED.into_iter().map(Interval::one).collect();
    let guard =
        Statement::Match(Match::In { key: Key::whole(Field::State), values: tracked, not: false });
    let mask = |name: &str| options.first(name).map_or(Some(u32::MAX), number);
    let (save, restore) = (options.has("--save-mark"), options.has("--restore-mark"));
    if !save && !restore {
        let field = Field::ConnectionMark;
        return Some(vec![guard, Statement::Set { field, value: set_mark(field, options)? }]);
    }
    let both = mask("--mask")?;
    let (packet, connection) = (mask("--nfmask")? & both, mask("--ctmask")? & both);
    let (field, of, kept, taken) = if save {
        (Field::ConnectionMark, Field::Mark, !connection, packet)
    } else {
        (Field::Mark, Field::ConnectionMark, !packet, connection)
    };
    // Where bits of the old mark stay, two marks make the new one.
    let value = if kept == 0 { bits(of, taken, 0) } else { Value::Unknown };
    Some(vec![guard, Statement::Set { field, value }])
}

fn nat(name: &str, options: &Options, context: &Context<'_>) -> Statement {
    let source = matches!(context.chain, "POSTROUTING" | "INPUT");
    let kind = match name {
        "SNAT" => NatKind::Source,
        "DNAT" => NatKind::Destination,
        "MASQUERADE" => NatKind::Masquerade,
        "REDIRECT" => NatKind::Redirect,
        _ if source => NatKind::Source,
        _ => NatKind::Destination,
    };
    let read = match name {
        "SNAT" => options.first("--to-source").and_then(|text| to(text, context)),
        "DNAT" => options.first("--to-destination").and_then(|text| to(text, context)),
        "NETMAP" => options.first("--to").and_then(|text| netmap(text, context)),
        _ => match options.first("--to-ports") {
            Some(text) => port_range(text).map(|ports| (NatAddress::Kept, ports)),
            None => Some((NatAddress::Kept, NatPorts::Kept)),
        },
    };
    let (address, mut ports) = read.unwrap_or((NatAddress::Unknown, NatPorts::Unknown));
    // A source port that was not given is then another one.
    let random = options.has("--random") || options.has("--random-fully");
    if random && kind.is_source() && ports == NatPorts::Kept {
        ports = NatPorts::Unknown;
    }
    Statement::Nat(Nat { kind, address, ports })
}

/// `[ADDRESS[-ADDRESS]][:PORT[-PORT]]`, an IPv6 address with a port in brackets.
fn to(text: &str, context: &Context<'_>) -> Option<(NatAddress, NatPorts)> {
    let (addresses, ports) = if context.v6() {
        match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            Some((addresses, ports)) => (addresses, ports.strip_prefix(':')),
            None => (text, None),
        }
    } else {
        match text.split_once(':') {
            Some((addresses, ports)) => (addresses, Some(ports)),
            None => (text, None),
        }
    };
    let ports = ports.map_or(Some(NatPorts::Kept), port_range)?;
    if addresses.is_empty() {
        return Some((NatAddress::Kept, ports));
    }
    let one = |text: &str| {
        let read: IpAddr = text.trim_matches(['[', ']']).parse().ok()?;
        (read.is_ipv6() == context.v6()).then(|| address(read))
    };
    let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
    let range = Interval::new(one(first)?, one(last)?)?;
    let address = if context.v6() { NatAddress::V6(range) } else { NatAddress::V4(range) };
    Some((address, ports))
}

fn port_range(text: &str) -> Option<NatPorts> {
    // A third part shifts the range, and the choice is another.
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    Interval::new(first.into(), last.into()).map(NatPorts::Range)
}

fn netmap(text: &str, context: &Context<'_>) -> Option<(NatAddress, NatPorts)> {
    let bits = if context.v6() { 128 } else { 32 };
    let (network, mask) = text.split_once('/').unwrap_or((text, ""));
    let network: IpAddr = network.parse().ok()?;
    if network.is_ipv6() != context.v6() {
        return None;
    }
    let length = match mask.parse::<u32>() {
        Ok(length) => length,
        Err(_) if mask.is_empty() => bits,
        Err(_) => {
            let mask = address(mask.parse().ok()?);
            let length = mask.count_ones();
            (mask == ones(bits) ^ ones(bits - length)).then_some(length)?
        }
    };
    let range = Interval::prefix(address(network), length, bits)?;
    let to = if context.v6() { NatAddress::Prefix6(range) } else { NatAddress::Prefix4(range) };
    Some((to, NatPorts::Kept))
}
