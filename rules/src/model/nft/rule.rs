//! The statements of a rule.

use serde_json::Value;

use super::expression::{self, Looked, looked};
use super::value::Kind;
use super::{Growing, Has, fill, only_counts, text};
use crate::model::field::{Field, IPV4, IPV6, Key, TCP};
use crate::model::interval::{Interval, Intervals, ones};
use crate::model::ruleset::{
    AddressPart, Effects, Family, Match, Nat, NatAddress, NatKind, NatPorts, Set, SetId, Statement,
    Value as Given, Verdict,
};
use crate::model::{MAX_PARTS, MAX_STATEMENTS};

/// How deep an arithmetic expression may be.
const MAX_NESTED: usize = 8;

const ANYTHING: Effects = Effects { accepts: true, drops: true, changes: true };

/// What a list of statements does.
pub(super) fn statements(list: &[Value], growing: &mut Growing) -> Vec<Statement> {
    let mut all = Vec::new();
    for one in list {
        if all.len() >= MAX_STATEMENTS {
            let text = format!("a rule with more than {MAX_STATEMENTS} statements");
            all.push(Statement::Unknown { text, effects: ANYTHING });
            break;
        }
        if let Some(verdict) = verdict(one, growing) {
            let guards = answerable(&one["reject"], growing.table.family);
            all.extend(guards.into_iter().map(Statement::Match));
            all.push(Statement::Verdict(verdict));
            continue;
        }
        let named = one.as_object().and_then(|object| object.iter().next());
        match named {
            Some((name, what)) => statement(name, what, one, growing, &mut all),
            None => all.push(unknown(one, ANYTHING)),
        }
    }
    all
}

/// A verdict, where it is one.
pub(super) fn verdict(value: &Value, growing: &mut Growing) -> Option<Verdict> {
    let (name, what) = match value {
        Value::Object(object) => object.iter().next()?,
        // Older versions print what has no arguments as a word.
        _ => return None,
    };
    Some(match name.as_str() {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "return" => Verdict::Return,
        "continue" => Verdict::Continue,
        "jump" => Verdict::Jump(growing.chain(what["target"].as_str()?)),
        "goto" => Verdict::Goto(growing.chain(what["target"].as_str()?)),
        "reject" => Verdict::Reject,
        "queue" => Verdict::Queue,
        _ => return None,
    })
}

/// What nft asks before it rejects with an answer of one protocol, and leaves out of a listing.
fn answerable(reject: &Value, family: Family) -> Vec<Match> {
    match reject["type"].as_str() {
        Some("icmp") => expression::version(family, IPV4),
        Some("icmpv6") => expression::version(family, IPV6),
        Some("tcp reset") => vec![expression::is(TCP)],
        _ => Vec::new(),
    }
}

fn unknown(value: &Value, effects: Effects) -> Statement {
    Statement::Unknown { text: text::one(value), effects }
}

fn may_match(value: &Value) -> Statement {
    Statement::Match(Match::Unknown { text: text::one(value) })
}

fn statement(
    name: &str,
    what: &Value,
    whole: &Value,
    growing: &mut Growing,
    all: &mut Vec<Statement>,
) {
    match name {
        "match" => {
            let read = matches(what, growing);
            let read = read.unwrap_or_else(|| vec![Match::Unknown { text: text::one(whole) }]);
            all.extend(read.into_iter().map(Statement::Match));
        }
        "vmap" => match verdict_map(what, growing) {
            Some((guards, map)) => {
                all.extend(guards.into_iter().map(Statement::Match));
                all.push(map);
            }
            None => all.push(unknown(whole, ANYTHING)),
        },
        "mangle" => mangle(what, whole, growing, all),
        "snat" | "dnat" | "masquerade" | "redirect" => match nat(name, what, growing) {
            Some((guards, nat)) => {
                all.extend(guards.into_iter().map(Statement::Match));
                all.push(Statement::Nat(nat));
            }
            None => all.push(Statement::Nat(Nat {
                kind: kind(name),
                address: NatAddress::Unknown,
                ports: NatPorts::Unknown,
            })),
        },
        "notrack" => all.push(Statement::Notrack),
        "flow" => all.push(Statement::Offload),
        // They count, tell, or change nothing of a packet that this model knows of.
        "counter" | "log" | "last" | "dup" | "ct helper" | "ct timeout" | "ct expectation"
        | "secmark" | "tcp option" | "reset" | "exthdr" => {}
        "limit" | "quota" | "ct count" | "meter" | "connlimit" => all.push(may_match(whole)),
        "set" | "map" => set_statement(what, whole, growing, all),
        "xt" => xt(what, whole, all),
        _ => all.push(unknown(whole, ANYTHING)),
    }
}

/// What a rule puts into a set. Where the set is full, the rule ends.
fn set_statement(what: &Value, whole: &Value, growing: &mut Growing, all: &mut Vec<Statement>) {
    if let Some(name) = what["set"].as_str().or_else(|| what["map"].as_str()) {
        let id = growing.set(name.trim_start_matches('@'));
        growing.filled.push(id);
    }
    let plain = what.get("stmt").is_none_or(only_counts);
    if !(plain && what["op"] == "delete") {
        all.push(may_match(whole));
    }
}

/// What only iptables-save can read, of which nft tells no more than the name.
fn xt(what: &Value, whole: &Value, all: &mut Vec<Statement>) {
    let name = what["name"].as_str().unwrap_or_default();
    if what["type"] != "target" {
        if name != "comment" {
            all.push(may_match(whole));
        }
        return;
    }
    let translated =
        |kind| Statement::Nat(Nat { kind, address: NatAddress::Unknown, ports: NatPorts::Unknown });
    all.push(match name {
        "REJECT" => Statement::Verdict(Verdict::Reject),
        "NFQUEUE" => Statement::Verdict(Verdict::Queue),
        "SNAT" => translated(NatKind::Source),
        "DNAT" => translated(NatKind::Destination),
        "MASQUERADE" => translated(NatKind::Masquerade),
        "REDIRECT" => translated(NatKind::Redirect),
        "LOG" | "NFLOG" | "TCPMSS" | "TCPOPTSTRIP" | "CLASSIFY" | "DSCP" | "TOS" | "TTL" | "HL"
        | "ECN" | "CHECKSUM" | "AUDIT" | "SECMARK" | "CONNSECMARK" | "TRACE" | "LED"
        | "IDLETIMER" | "RATEEST" | "TEE" => return,
        "MARK" | "CONNMARK" | "CT" | "HMARK" => {
            unknown(whole, Effects { changes: true, ..Effects::default() })
        }
        _ => unknown(whole, ANYTHING),
    });
}

/// The matches of one comparison; none when it is not understood.
fn matches(what: &Value, growing: &mut Growing) -> Option<Vec<Match>> {
    let (left, right) = (what.get("left")?, what.get("right")?);
    let op = what["op"].as_str().unwrap_or("==");
    if let Some(parts) = left.get("concat").and_then(Value::as_array) {
        return concatenation(parts, op, right, growing);
    }
    let Looked { mut guards, key, kind } = looked(left, growing.table.family)?;
    if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
        let not = turned(op)?;
        guards.push(Match::Lookup { keys: vec![key], set: growing.set(name), not });
        return Some(guards);
    }
    let whole = ones(key.field.bits());
    let most = |values: &Intervals| values.single();
    let values = match op {
        "in" if kind == Kind::State => match right {
            // The states of packets exclude one another.
            Value::Array(all) => all.iter().map(|one| kind.interval(one)).collect::<Option<_>>()?,
            one => kind.intervals(one)?,
        },
        "in" | "!" if kind.is_flags() => {
            let mask = kind.one(right)?;
            let key = Key { field: key.field, mask: key.mask & mask };
            guards.push(Match::In { key, values: Intervals::one(0), not: op == "in" });
            return Some(guards);
        }
        "==" | "in" | "!=" => kind.intervals(right)?,
        "<" => most(&kind.intervals(right)?)?
            .checked_sub(1)
            .map_or_else(Intervals::none, |last| Interval { first: 0, last }.into()),
        "<=" => Interval { first: 0, last: most(&kind.intervals(right)?)? }.into(),
        ">" => above(most(&kind.intervals(right)?)?.checked_add(1)?, whole),
        ">=" => above(most(&kind.intervals(right)?)?, whole),
        _ => return None,
    };
    guards.push(Match::In { key, values, not: op == "!=" });
    Some(guards)
}

fn above(first: u128, last: u128) -> Intervals {
    Interval::new(first, last).map_or_else(Intervals::none, Intervals::from)
}

fn turned(op: &str) -> Option<bool> {
    match op {
        "==" | "in" => Some(false),
        "!=" => Some(true),
        _ => None,
    }
}

/// Several fields at once.
fn concatenation(
    parts: &[Value],
    op: &str,
    right: &Value,
    growing: &mut Growing,
) -> Option<Vec<Match>> {
    let not = turned(op)?;
    let (mut guards, keys, kinds) = several(parts, growing.table.family)?;
    let set = match right.as_str().and_then(|name| name.strip_prefix('@')) {
        Some(name) => growing.set(name),
        None => {
            let elements = match right.get("set") {
                Some(Value::Array(all)) => all.clone(),
                Some(one) => vec![one.clone()],
                None => vec![right.clone()],
            };
            anonymous(&elements, &kinds, Has::Nothing, growing)?
        }
    };
    guards.push(Match::Lookup { keys, set, not });
    Some(guards)
}

/// Guards, keys and data types of the parts of a concatenation.
type Several = (Vec<Match>, Vec<Key>, Vec<Kind>);

fn several(parts: &[Value], family: Family) -> Option<Several> {
    if parts.len() > MAX_PARTS {
        return None;
    }
    let (mut guards, mut keys, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let looked = looked(part, family)?;
        for guard in looked.guards {
            if !guards.contains(&guard) {
                guards.push(guard);
            }
        }
        keys.push(looked.key);
        kinds.push(looked.kind);
    }
    Some((guards, keys, kinds))
}

/// Guards, keys and data types of a key, be it one field or several.
fn key_of(key: &Value, family: Family) -> Option<Several> {
    match key.get("concat").and_then(Value::as_array) {
        Some(parts) => several(parts, family),
        None => several(std::slice::from_ref(key), family),
    }
}

fn anonymous(
    elements: &[Value],
    keys: &[Kind],
    has: Has<'_>,
    growing: &mut Growing,
) -> Option<SetId> {
    let mut set =
        Set { name: String::new(), elements: Vec::new(), otherwise: None, changing: false };
    fill(&mut set, elements, keys, has, false, growing)?;
    Some(growing.add_set(set))
}

fn verdict_map(what: &Value, growing: &mut Growing) -> Option<(Vec<Match>, Statement)> {
    let (guards, keys, kinds) = key_of(what.get("key")?, growing.table.family)?;
    let map = map(what.get("data")?, &kinds, Has::Verdicts, growing)?;
    Some((guards, Statement::VerdictMap { keys, map }))
}

/// A map: named, or written out.
fn map(data: &Value, kinds: &[Kind], has: Has<'_>, growing: &mut Growing) -> Option<SetId> {
    if let Some(name) = data.as_str() {
        return Some(growing.set(name.strip_prefix('@')?));
    }
    anonymous(data.get("set")?.as_array()?, kinds, has, growing)
}

/// A statement that changes something of the packet.
fn mangle(what: &Value, whole: &Value, growing: &mut Growing, all: &mut Vec<Statement>) {
    let Some(target) = what.get("key") else { return };
    let Some(Looked { guards, key, kind }) = looked(target, growing.table.family) else {
        // Nothing that this model knows of: priority, time to live, trace, and so on. Where a raw
        // piece of the packet changes, nobody knows which.
        if target.get("payload").is_some_and(|payload| payload.get("base").is_some()) {
            all.push(unknown(whole, Effects { changes: true, ..Effects::default() }));
        }
        return;
    };
    let value = what.get("value").and_then(|value| given(value, kind, growing));
    let (more, value) = value.unwrap_or((Vec::new(), Given::Unknown));
    all.extend(guards.into_iter().chain(more).map(Statement::Match));
    all.push(Statement::Set { field: key.field, value });
}

/// The value that a field gets.
fn given(value: &Value, kind: Kind, growing: &mut Growing) -> Option<(Vec<Match>, Given)> {
    if let Some(mapped) = value.get("map") {
        let (guards, keys, kinds) = key_of(mapped.get("key")?, growing.table.family)?;
        let has = Has::Values(Some(&[kind]));
        let map = map(mapped.get("data")?, &kinds, has, growing)?;
        return Some((guards, Given::Map { keys, map }));
    }
    let most = ones(kind.bits());
    let bits = bits(value, kind, growing.table.family, 0)?;
    Some(match bits.of {
        None => (Vec::new(), Given::Constant(bits.xor & most)),
        Some((guards, of)) => {
            (guards, Given::Bits { of, and: bits.and & most, xor: bits.xor & most })
        }
    })
}

/// `(of & and) ^ xor`.
struct Bits {
    of: Option<(Vec<Match>, Field)>,
    and: u128,
    xor: u128,
}

fn bits(value: &Value, kind: Kind, family: Family, depth: usize) -> Option<Bits> {
    if let Some(constant) = kind.one(value) {
        return Some(Bits { of: None, and: 0, xor: constant });
    }
    if depth >= MAX_NESTED {
        return None;
    }
    let (op, operands) = value.as_object()?.iter().next()?;
    if !matches!(op.as_str(), "&" | "|" | "^") {
        let looked = looked(value, family)?;
        let of = looked.key.is_whole().then_some((looked.guards, looked.key.field));
        return Some(Bits { of: Some(of?), and: u128::MAX, xor: 0 });
    }
    let (first, rest) = operands.as_array()?.split_first()?;
    let mut all = bits(first, kind, family, depth + 1)?;
    for operand in rest {
        let constant = kind.one(operand)?;
        match op.as_str() {
            "&" => {
                all.and &= constant;
                all.xor &= constant;
            }
            "|" => {
                all.and &= !constant;
                all.xor |= constant;
            }
            _ => all.xor ^= constant,
        }
    }
    Some(all)
}

fn kind(name: &str) -> NatKind {
    match name {
        "snat" => NatKind::Source,
        "dnat" => NatKind::Destination,
        "masquerade" => NatKind::Masquerade,
        _ => NatKind::Redirect,
    }
}

fn nat(name: &str, what: &Value, growing: &mut Growing) -> Option<(Vec<Match>, Nat)> {
    let kind = kind(name);
    // A source port that was not given is then another one.
    let random = super::words(&what["flags"]).iter().any(|flag| flag.ends_with("random"));
    let ports = match what.get("port") {
        None if random && kind.is_source() => NatPorts::Unknown,
        None => NatPorts::Kept,
        Some(port) => Kind::Service.interval(port).map_or(NatPorts::Unknown, NatPorts::Range),
    };
    let Some(address) = what.get("addr") else {
        return Some((Vec::new(), Nat { kind, address: NatAddress::Kept, ports }));
    };
    let netmap = super::words(&what["type_flags"]).contains(&"prefix")
        || super::words(&what["flags"]).contains(&"netmap");
    let family = growing.table.family;
    if let Some(mapped) = address.get("map") {
        if netmap {
            return None;
        }
        let of = what["family"].as_str();
        let v6 = of == Some("ip6") || of.is_none() && family == Family::Ip6;
        let (mut guards, keys, kinds) = key_of(mapped.get("key")?, family)?;
        let data = mapped.get("data")?;
        let values = values_of(data, v6, growing)?;
        let map = map(data, &kinds, Has::Values(Some(&values)), growing)?;
        guards.splice(0..0, expression::version(family, version_of(v6)));
        let address = Some(AddressPart { part: 0, v6 });
        let port = (values.len() > 1).then_some(1);
        return Some((
            guards,
            Nat { kind, address: NatAddress::Map { keys, map, address, port }, ports },
        ));
    }
    let (v6, interval) = match Kind::Ipv4.interval(address) {
        Some(interval) => (false, interval),
        None => (true, Kind::Ipv6.interval(address)?),
    };
    let address = match (v6, netmap) {
        (false, false) => NatAddress::V4(interval),
        (true, false) => NatAddress::V6(interval),
        (false, true) => NatAddress::Prefix4(interval),
        (true, true) => NatAddress::Prefix6(interval),
    };
    Some((expression::version(family, version_of(v6)), Nat { kind, address, ports }))
}

const fn version_of(v6: bool) -> u128 {
    if v6 { IPV6 } else { IPV4 }
}

/// What the values of a translation's map are: an address, or an address and a port.
fn values_of(data: &Value, v6: bool, growing: &mut Growing) -> Option<Vec<Kind>> {
    let address = if v6 { Kind::Ipv6 } else { Kind::Ipv4 };
    if let Some(name) = data.as_str() {
        let id = growing.set(name.strip_prefix('@')?);
        let kinds = growing.kinds[id.0 as usize].data.clone()?;
        let fits = kinds == [address] || kinds == [address, Kind::Service];
        return fits.then_some(kinds);
    }
    let first = data.get("set")?.as_array()?.first()?.as_array()?.get(1)?;
    match first.get("concat").and_then(Value::as_array).map(Vec::len) {
        None => Some(vec![address]),
        Some(2) => Some(vec![address, Kind::Service]),
        Some(_) => None,
    }
}
