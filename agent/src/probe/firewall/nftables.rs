//! What `nft -j list ruleset` prints (libnftables-json(5)): summed up, hashed, and read as far as
//! the question goes what becomes of a packet that no rule decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bailey_rules::fact::bounded;
use bailey_rules::fact::firewall::{Ruleset, Table};
use bailey_rules::unit::Bytes;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::chain::{Act, At, Base, Chain, Chains, Step};
use super::iptables::{self, Saved, SavedRule, line};

/// Family and name of a table.
pub(super) type TableKey = (String, String);

/// What the JSON does not tell.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Tables that are kept but not entered.
    pub dormant: BTreeSet<TableKey>,
    /// What iptables-save said of the tables of family `ip`, ip6tables-save of `ip6`.
    pub saved: BTreeMap<&'static str, Saved>,
    /// Rules of every chain with parts that only iptables-save can read, from a first look.
    pub rules: BTreeMap<(TableKey, String), u32>,
}

/// A ruleset, read.
#[derive(Debug, Default)]
pub(super) struct Listing {
    tables: BTreeMap<TableKey, Listed>,
    /// Everything as it stands, with handles, but for elements of sets.
    standing: Sha256,
    packets: u64,
    octets: u64,
}

#[derive(Debug, Default)]
struct Listed {
    chains: BTreeMap<String, ListedChain>,
    sets: BTreeMap<String, ListedSet>,
    objects: Vec<[u8; 32]>,
    /// Sets that rules fill from packets.
    filled: BTreeSet<String>,
}

#[derive(Debug)]
struct ListedChain {
    head: Vec<u8>,
    body: Sha256,
    base: Option<Base>,
    steps: Vec<Step>,
    rules: u32,
    opaque: u32,
    /// Some rule has a part that only iptables-save can read.
    xt: bool,
}

#[derive(Debug)]
struct ListedSet {
    head: Vec<u8>,
    elements: Vec<[u8; 32]>,
    /// What a map says of everything that it does not name.
    otherwise: Option<Act>,
}

/// A listing that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what nft printed is not understood: {0}")]
pub(super) struct NotListed(String);

impl Listing {
    /// Reads what nft printed.
    pub(super) fn parse(text: &[u8], beside: &Beside) -> Result<Self, NotListed> {
        let mut listing = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(text);
        Top { listing: &mut listing, beside }
            .deserialize(&mut reader)
            .and_then(|()| reader.end())
            .map_err(|error| NotListed(error.to_string()))?;
        Ok(listing)
    }

    /// Families whose tables have parts that only iptables-save can read.
    pub(super) fn families_with_xt(&self) -> BTreeSet<&str> {
        let tables = self.tables.iter();
        let with_xt = tables.filter(|(_, table)| table.chains.values().any(|chain| chain.xt));
        with_xt.map(|((family, _), _)| family.as_str()).collect()
    }

    /// The number of rules of every chain that has such parts.
    pub(super) fn chains_with_xt(&self) -> BTreeMap<(TableKey, String), u32> {
        let mut rules = BTreeMap::new();
        for (key, table) in &self.tables {
            for (name, chain) in table.chains.iter().filter(|(_, chain)| chain.xt) {
                rules.insert((key.clone(), name.clone()), chain.rules);
            }
        }
        rules
    }

    /// Whether there is a table of this name, in any family.
    pub(super) fn has_table(&self, name: &str) -> bool {
        self.tables.keys().any(|(_, table)| table == name)
    }

    /// Whether there is a chain of this name, in any table.
    pub(super) fn has_chain(&self, name: &str) -> bool {
        self.tables.values().any(|table| table.chains.contains_key(name))
    }

    /// What the kernel does by default with packets that pass these tables.
    pub(super) fn chains(&self, beside: &Beside) -> Vec<Chains> {
        let awake = self.tables.iter().filter(|(key, _)| !beside.dormant.contains(*key));
        let seen =
            awake.filter(|((family, _), _)| matches!(family.as_str(), "ip" | "ip6" | "inet"));
        seen.map(|((family, name), table)| Chains {
            table: format!("{family} {name}"),
            ip: family != "ip6",
            ip6: family != "ip",
            by_name: table
                .chains
                .iter()
                .map(|(name, chain)| {
                    let chain = Chain { base: chain.base.clone(), steps: chain.steps.clone() };
                    (name.as_str().into(), chain)
                })
                .collect(),
        })
        .collect()
    }

    /// The ruleset in summary.
    pub(super) fn ruleset(&self, beside: &Beside) -> Ruleset {
        let chains = || self.tables.values().flat_map(|table| table.chains.values());
        let summary = |((family, name), table): (&TableKey, &Listed)| Table {
            family: bounded(family),
            name: bounded(name),
            chains: super::count(table.chains.len()),
            rules: table.chains.values().map(|chain| chain.rules).sum(),
            sets: super::count(table.sets.len()),
        };
        Ruleset {
            tables: self.tables.iter().map(summary).take(super::MAX_TABLES).collect(),
            rules: chains().map(|chain| chain.rules).sum(),
            opaque_rules: chains().map(|chain| chain.opaque).sum(),
            digest: self.digest(beside),
            packets: self.packets,
            octets: Bytes(self.octets),
            changed_by: None,
        }
    }

    /// SHA-256 over everything that decides about packets, in an order of its own: tables, sets and
    /// chains by name, elements by value, rules as they stand. Left out: handles, counters, used
    /// quotas, the time that an element has left, and the elements of sets that rules fill from
    /// packets.
    fn digest(&self, beside: &Beside) -> String {
        let mut hash = Sha256::new();
        for (key, table) in &self.tables {
            let state = if beside.dormant.contains(key) { "dormant" } else { "" };
            hash.update(line(&["table", &key.0, &key.1, state]));
            let mut objects = table.objects.clone();
            objects.sort_unstable();
            for object in objects {
                hash.update(object);
            }
            for (name, set) in &table.sets {
                hash.update(line(&["set", name]));
                hash.update(&set.head);
                if table.filled.contains(name) {
                    continue;
                }
                let mut elements = set.elements.clone();
                elements.sort_unstable();
                for element in elements {
                    hash.update(element);
                }
            }
            for (name, chain) in &table.chains {
                hash.update(line(&["chain", name]));
                hash.update(&chain.head);
                hash.update(chain.body.clone().finalize());
            }
        }
        super::hexadecimal(&hash.finalize())
    }

    /// SHA-256 over everything that [`Self::digest`] is made over, and over handles and the order in
    /// which it is printed.
    pub(super) fn digest_with_handles(&self) -> [u8; 32] {
        let mut hash = self.standing.clone();
        for table in self.tables.values() {
            let sets = table.sets.iter().filter(|(name, _)| !table.filled.contains(*name));
            for (name, set) in sets {
                hash.update(line(&["elements", name]));
                let mut elements = set.elements.clone();
                elements.sort_unstable();
                for element in elements {
                    hash.update(element);
                }
            }
        }
        hash.finalize().into()
    }

    fn take(&mut self, object: &Map<String, Value>, beside: &Beside) {
        let Some((kind, value)) = object.iter().next() else { return };
        let Value::Object(about) = value else { return };
        self.count(kind, value);
        let text = |key: &str| about.get(key).and_then(Value::as_str).unwrap_or_default();
        let family = text("family").to_owned();
        match kind.as_str() {
            "metainfo" | "rule" => {}
            "set" | "map" => self.standing.update(canonical(value, &["elem"])),
            _ => self.standing.update(canonical(value, &[])),
        }
        match kind.as_str() {
            "metainfo" => {}
            "table" => {
                self.tables.entry((family, text("name").to_owned())).or_default();
            }
            "chain" => {
                let name = text("name").to_owned();
                let chain = ListedChain {
                    head: canonical(value, &["handle"]),
                    body: Sha256::new(),
                    base: base(about),
                    steps: Vec::new(),
                    rules: 0,
                    opaque: 0,
                    xt: false,
                };
                self.table(family, text("table")).chains.insert(name, chain);
            }
            "set" | "map" => {
                let name = text("name").to_owned();
                let elements = about.get("elem").and_then(Value::as_array);
                let elements = elements.map(Vec::as_slice).unwrap_or_default();
                let set = ListedSet {
                    head: canonical(value, &["handle", "elem"]),
                    elements: elements.iter().map(hashed).collect(),
                    otherwise: otherwise(elements),
                };
                let dynamic = about.get("flags").is_some_and(|flags| holds(flags, "dynamic"));
                let table = self.table(family, text("table"));
                if dynamic {
                    table.filled.insert(name.clone());
                }
                table.sets.insert(name, set);
            }
            "rule" => {
                let chain = text("chain").to_owned();
                let table = text("table").to_owned();
                self.rule((family, table), &chain, about, beside);
            }
            // Counters, quotas, limits, helpers, flow tables and what newer kernels bring.
            _ => {
                let object = hashed(value);
                self.table(family, text("table")).objects.push(object);
            }
        }
    }

    fn table(&mut self, family: String, name: &str) -> &mut Listed {
        self.tables.entry((family, name.to_owned())).or_default()
    }

    fn rule(&mut self, key: TableKey, chain: &str, about: &Map<String, Value>, beside: &Beside) {
        let statements = about.get("expr").and_then(Value::as_array);
        let statements = statements.map(Vec::as_slice).unwrap_or_default();
        let table = self.tables.entry(key.clone()).or_default();
        for set in statements.iter().filter_map(filled_set) {
            table.filled.insert(set.to_owned());
        }
        let Some(listed) = table.chains.get_mut(chain) else { return };
        let place = (key, chain.to_owned());
        let saved = saved_rule(&place, listed.rules, statements, beside);
        let judged = judge(statements, saved, &table.sets);
        listed.xt |= statements.iter().any(|statement| statement.get("xt").is_some());
        listed.rules = listed.rules.saturating_add(1);
        listed.opaque = listed.opaque.saturating_add(u32::from(judged.opaque));
        // A rule that is known never to apply to either family decides nothing.
        listed.steps.extend(judged.step.filter(|step| step.ip || step.ip6));
        let empty = Value::Null;
        for part in ["expr", "comment"] {
            let part = canonical(about.get(part).unwrap_or(&empty), &[]);
            listed.body.update(&part);
            self.standing.update(&part);
        }
        self.standing.update(canonical(about.get("handle").unwrap_or(&empty), &[]));
        self.standing.update(line(&[&place.0.0, &place.0.1, &place.1]));
        let words = saved.map(|rule| rule.words.iter().map(String::as_str).collect::<Vec<_>>());
        listed.body.update(line(&words.unwrap_or_default()));
    }

    /// Adds up every counter in `value`.
    fn count(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(map) => {
                if key == "counter" {
                    let number = |name| map.get(name).and_then(Value::as_u64).unwrap_or(0);
                    self.packets = self.packets.saturating_add(number("packets"));
                    self.octets = self.octets.saturating_add(number("bytes"));
                }
                map.iter().for_each(|(key, value)| self.count(key, value));
            }
            Value::Array(values) => values.iter().for_each(|value| self.count("", value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// What iptables-save says of the `nth` rule of a chain, if it is surely about the same rule: the
/// chain has as many rules there, and that one names every extension that nft cannot read.
fn saved_rule<'a>(
    (key, chain): &(TableKey, String),
    nth: u32,
    statements: &[Value],
    beside: &'a Beside,
) -> Option<&'a SavedRule> {
    let mut extensions = statements.iter().filter_map(|statement| statement.get("xt")).peekable();
    extensions.peek()?;
    let saved = beside.saved.get(key.0.as_str())?.tables.get(&key.1)?.chains.get(chain)?;
    let rules = beside.rules.get(&(key.clone(), chain.clone()))?;
    let rule = saved.rules.get(nth as usize)?;
    let named = |extension: &Value| {
        // Old versions of nft do not name the extension; then the number of rules must do.
        let name = extension.get("name").and_then(Value::as_str);
        name.is_none_or(|name| rule.extensions.iter().any(|known| known == name))
    };
    (saved.rules.len() == *rules as usize && extensions.all(named)).then_some(rule)
}

/// What is known of a rule.
struct Judged {
    step: Option<Step>,
    opaque: bool,
}

fn judge(
    statements: &[Value],
    saved: Option<&SavedRule>,
    sets: &BTreeMap<String, ListedSet>,
) -> Judged {
    if let Some(saved) = saved {
        let step = saved.step.clone().map(Step::always);
        return Judged { step, opaque: saved.opaque };
    }
    let mut judged = Judged { step: None, opaque: false };
    let mut conditional = false;
    let (mut ip, mut ip6) = (true, true);
    for statement in statements {
        let Some((name, value)) = statement.as_object().and_then(|map| map.iter().next()) else {
            judged.opaque = true;
            judged.step.get_or_insert(Step::always(Act::Unknown));
            continue;
        };
        judged.opaque |= is_extension(name, value);
        let act = match meaning(name, value, sets) {
            Meaning::Nothing => continue,
            Meaning::Condition => {
                conditional = true;
                continue;
            }
            Meaning::Families(of_ip, of_ip6) => {
                ip &= of_ip;
                ip6 &= of_ip6;
                continue;
            }
            Meaning::Does(act) => act,
            Meaning::Opaque => {
                judged.opaque = true;
                Act::Unknown
            }
        };
        judged.step.get_or_insert(Step::always(act));
    }
    judged.step = judged.step.filter(|_| !conditional).map(|step| Step { ip, ip6, act: step.act });
    judged
}

/// What one statement means to a packet that no condition applies to.
enum Meaning {
    /// It decides nothing.
    Nothing,
    /// It lets only some packets on to the next statement.
    Condition,
    /// It lets only packets of these families on.
    Families(bool, bool),
    Does(Act),
    /// It cannot be read.
    Opaque,
}

fn meaning(name: &str, value: &Value, sets: &BTreeMap<String, ListedSet>) -> Meaning {
    match name {
        "match" => {
            families(value).map_or(Meaning::Condition, |(ip, ip6)| Meaning::Families(ip, ip6))
        }
        "limit" | "quota" | "ct count" | "meter" | "synproxy" => Meaning::Condition,
        // Filling a set may come with a limit for each element.
        "set" | "map" => {
            let limited = value.get("stmt").and_then(Value::as_array);
            let limits = |statement: &Value| {
                ["limit", "quota", "ct count"].iter().any(|name| statement.get(name).is_some())
            };
            if limited.is_some_and(|statements| statements.iter().any(limits)) {
                Meaning::Condition
            } else {
                Meaning::Nothing
            }
        }
        "counter" | "log" | "mangle" | "notrack" | "dup" | "flow" | "last" | "ct helper"
        | "ct timeout" | "ct expectation" | "secmark" | "tproxy" | "continue" => Meaning::Nothing,
        "dnat" | "snat" | "masquerade" | "redirect" => Meaning::Does(Act::Accept),
        "reject" => Meaning::Does(Act::Reject),
        // Another program decides.
        "queue" => Meaning::Does(Act::Unknown),
        "vmap" => vmap(value, sets),
        "xt" => extension(value),
        name => verdict(name, value).map_or(Meaning::Opaque, Meaning::Does),
    }
}

/// What an extension of iptables means of which nothing but its name is known.
fn extension(value: &Value) -> Meaning {
    let text = |key| value.get(key).and_then(Value::as_str);
    match (text("type"), text("name")) {
        (Some("match"), Some("comment")) => Meaning::Nothing,
        (Some("match"), _) => Meaning::Condition,
        (Some("target"), Some(name)) => {
            iptables::act_of(name).map_or(Meaning::Nothing, Meaning::Does)
        }
        _ => Meaning::Does(Act::Unknown),
    }
}

/// Whether a statement is an extension of iptables that does something.
fn is_extension(name: &str, value: &Value) -> bool {
    name == "xt" && value.get("name").and_then(Value::as_str) != Some("comment")
}

/// What a map of verdicts says of a packet that it does not name.
fn vmap(value: &Value, sets: &BTreeMap<String, ListedSet>) -> Meaning {
    let data = value.get("data");
    let named = data.and_then(Value::as_str).and_then(|name| name.strip_prefix('@'));
    let otherwise = if let Some(name) = named {
        sets.get(name).and_then(|set| set.otherwise.clone())
    } else {
        let elements = data.and_then(|data| data.get("set")).and_then(Value::as_array);
        otherwise(elements.map(Vec::as_slice).unwrap_or_default())
    };
    otherwise.map_or(Meaning::Condition, Meaning::Does)
}

fn otherwise(elements: &[Value]) -> Option<Act> {
    elements.iter().find_map(|element| {
        let [key, value] = element.as_array()?.as_slice() else { return None };
        let key = key.pointer("/elem/val").unwrap_or(key);
        let (name, value) = value.as_object().filter(|_| key == "*")?.iter().next()?;
        Some(verdict(name, value).unwrap_or(Act::Unknown))
    })
}

fn verdict(name: &str, value: &Value) -> Option<Act> {
    let target = || value.get("target").and_then(Value::as_str).map(Into::into);
    Some(match name {
        "accept" => Act::Accept,
        "drop" => Act::Drop,
        "reject" => Act::Reject,
        "return" => Act::Return,
        "jump" => Act::Jump(target()?),
        "goto" => Act::Goto(target()?),
        _ => return None,
    })
}

/// The families that a comparison of the packet's family lets through, IPv4 and IPv6.
fn families(value: &Value) -> Option<(bool, bool)> {
    let key = value.pointer("/left/meta/key")?.as_str()?;
    let right = value.get("right")?.as_str()?;
    let (ip, ip6) = match (key, right) {
        ("nfproto", "ipv4") | ("protocol", "ip") => (true, false),
        ("nfproto", "ipv6") | ("protocol", "ip6") => (false, true),
        _ => return None,
    };
    match value.get("op")?.as_str()? {
        "==" => Some((ip, ip6)),
        "!=" => Some((!ip, !ip6)),
        _ => None,
    }
}

/// The set that a statement fills from packets.
fn filled_set(statement: &Value) -> Option<&str> {
    let fills = statement.get("set").or_else(|| statement.get("map"))?;
    fills.get("set").or_else(|| fills.get("map"))?.as_str()?.strip_prefix('@')
}

fn base(about: &Map<String, Value>) -> Option<Base> {
    let at = At::named(about.get("hook")?.as_str()?)?;
    let policy = match about.get("policy").and_then(Value::as_str) {
        // The kernel's default (nft(8)).
        None | Some("accept") => Act::Accept,
        Some("drop") => Act::Drop,
        Some(_) => Act::Unknown,
    };
    let priority = about.get("prio").and_then(Value::as_i64).unwrap_or(0);
    Some(Base { at, priority, policy })
}

fn holds(flags: &Value, flag: &str) -> bool {
    flags == flag || flags.as_array().is_some_and(|flags| flags.iter().any(|held| held == flag))
}

fn hashed(value: &Value) -> [u8; 32] {
    Sha256::digest(canonical(value, &["handle"])).into()
}

/// `value` as one line of JSON in a form of its own, without what moves by itself and without the
/// keys `without`.
fn canonical(value: &Value, without: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    write_canonical("", value, without, &mut out);
    out.push(b'\n');
    out
}

fn write_canonical(under: &str, value: &Value, without: &[&str], out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push(b'{');
            for key in keys {
                let name = key.as_str();
                let moves = match under {
                    "counter" | "last" => true,
                    "quota" => matches!(name, "used" | "used_unit"),
                    "elem" => name == "expires",
                    // An object of its own, such as a named counter or quota.
                    "" => {
                        matches!(name, "packets" | "used")
                            || name == "bytes" && map.contains_key("packets")
                    }
                    _ => false,
                };
                if moves || without.contains(&name) {
                    continue;
                }
                out.extend(serde_json::to_vec(key).expect("a text is always JSON"));
                out.push(b':');
                write_canonical(name, &map[key], &[], out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(values) => {
            let written = values.iter().map(|value| {
                let mut out = Vec::new();
                write_canonical("[]", value, &[], &mut out);
                out
            });
            let mut written: Vec<Vec<u8>> = written.collect();
            // The members of a set have no order; those of a sequence of values have.
            if under == "set" {
                written.sort_unstable();
            }
            out.push(b'[');
            for value in written {
                out.extend(value);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.extend(serde_json::to_vec(value).expect("a value is always JSON"));
        }
    }
}

/// `{"nftables": [...]}`, one object after the other, so that a large ruleset is never held whole.
struct Top<'a> {
    listing: &'a mut Listing,
    beside: &'a Beside,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the key \"nftables\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "nftables" {
                seen = true;
                map.next_value_seed(Objects { listing: self.listing, beside: self.beside })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if seen { Ok(()) } else { Err(serde::de::Error::missing_field("nftables")) }
    }
}

struct Objects<'a> {
    listing: &'a mut Listing,
    beside: &'a Beside,
}

impl<'de> DeserializeSeed<'de> for Objects<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tables, chains, sets and rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<(), A::Error> {
        while let Some(object) = objects.next_element::<Map<String, Value>>()? {
            self.listing.take(&object, self.beside);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bailey_rules::fact::firewall::DefaultPolicy;

    use super::super::chain::{Family, effective};
    use super::*;

    /// A base chain `in` of the hook input, and a rule of these statements.
    fn listing(statements: &str) -> String {
        format!(
            r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}},
            {{"table": {{"family": "ip", "name": "t", "handle": 1}}}},
            {{"map": {{"family": "ip", "table": "t", "name": "m", "elem": [[{{"elem": {{"val": "*", "timeout": 5, "expires": 2}}}}, {{"drop": null}}]]}}}},
            {{"chain": {{"family": "ip", "table": "t", "name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}}},
            {{"rule": {{"family": "ip", "table": "t", "chain": "in", "handle": 3, "expr": {statements}}}}}]}}"#
        )
    }

    fn read(statements: &str) -> (DefaultPolicy, u32) {
        let beside = Beside::default();
        let listing = Listing::parse(listing(statements).as_bytes(), &beside).unwrap();
        let hook = effective(&listing.chains(&beside), Family::Ip, At::Input);
        (hook.default, listing.ruleset(&beside).opaque_rules)
    }

    #[test]
    fn what_cannot_be_read_makes_the_default_unknown_unless_a_condition_stands_before_it() {
        use DefaultPolicy::{Accept, Drop, Reject, Unknown};
        let condition =
            r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}"#;
        for (statements, wanted) in [
            (r#"[{"queue": {"num": 3}}]"#.to_owned(), (Unknown, 0)),
            (r#"[{"teleport": {"to": "mars"}}]"#.to_owned(), (Unknown, 1)),
            (format!(r#"[{condition}, {{"teleport": null}}]"#), (Accept, 1)),
            (r#"["what?"]"#.to_owned(), (Unknown, 1)),
            (r#"[{"xt": null}]"#.to_owned(), (Unknown, 1)),
            (
                r#"[{"xt": {"type": "match", "name": "recent"}}, {"drop": null}]"#.to_owned(),
                (Accept, 1),
            ),
            (
                r#"[{"xt": {"type": "match", "name": "comment"}}, {"drop": null}]"#.to_owned(),
                (Drop, 0),
            ),
            (r#"[{"xt": {"type": "target", "name": "LOG"}}]"#.to_owned(), (Accept, 1)),
            (r#"[{"xt": {"type": "target", "name": "REJECT"}}]"#.to_owned(), (Reject, 1)),
            (
                r#"[{"vmap": {"key": {"meta": {"key": "iif"}}, "data": "@m"}}]"#.to_owned(),
                (Drop, 0),
            ),
            (r#"[{"jump": {"target": "nowhere"}}]"#.to_owned(), (Unknown, 0)),
            (r#"[{"jump": {"target": "in"}}]"#.to_owned(), (Unknown, 0)),
        ] {
            assert_eq!(read(&statements), wanted, "{statements}");
        }
    }

    #[test]
    fn a_listing_cut_anywhere_is_refused_and_never_half_read() {
        let whole = listing(r#"[{"counter": {"packets": 1, "bytes": 2}}, {"drop": null}]"#);
        for end in 0..whole.len() {
            assert!(Listing::parse(&whole.as_bytes()[..end], &Beside::default()).is_err(), "{end}");
        }
        assert!(Listing::parse(format!("{whole} x").as_bytes(), &Beside::default()).is_err());
    }
}
