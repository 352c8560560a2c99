//! Reads what `nft -j list ruleset` prints (libnftables-json(5)), of nft 1.0.6 and later.
//!
//! nft leaves out of a listing what the rest of a rule implies, and some of what the kernel has:
//! version 1.0.6 tells neither that a table is dormant nor which interface a chain at ingress is
//! for, nor that a set is dynamic. What a rule implies is put back as matches of their own.

mod expression;
mod rule;
mod text;
mod value;

pub(in crate::model) use expression::{ethernet, is, version};
pub(in crate::model) use text::cut;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use self::value::{Kind, element};
use super::calls::{self, WrongCalls};
use super::ruleset::{
    Base, Chain, ChainId, ChainKind, Counted, Data, Effects, Element, Family, Hook, Maker, Origin,
    Place, Rule, Ruleset, Set, SetId, Statement, Table,
};
use super::{MAX_CHAINS, MAX_ELEMENTS, MAX_OCTETS, MAX_PARTS, MAX_RULES, MAX_SETS, MAX_TABLES};

/// A file that is not what nft prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNft {
    /// It is not JSON, or not that of nft.
    #[error(
        "line {line}, column {column}: {what}; give the output of `nft -j list ruleset` as it is"
    )]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong with it.
        what: String,
    },
    /// It is too much.
    #[error("more than {most} {what}: the file is refused")]
    TooMuch {
        /// The bound.
        most: usize,
        /// Of what.
        what: &'static str,
    },
    /// No kernel would take it.
    #[error(transparent)]
    Calls(#[from] WrongCalls),
}

/// The tables that nft printed.
///
/// # Errors
/// When the text is something else, or too much. What is in it but not understood is no error.
pub fn parse(text: &str) -> Result<Ruleset, NotNft> {
    if text.len() > MAX_OCTETS {
        return Err(NotNft::TooMuch { most: MAX_OCTETS, what: "octets" });
    }
    let mut listing = Listing::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Top(&mut listing).deserialize(&mut reader).and_then(|()| reader.end());
    if let Some((most, what)) = listing.too_much {
        return Err(NotNft::TooMuch { most, what });
    }
    read.map_err(|error| NotNft::Json {
        line: error.line(),
        column: error.column(),
        what: error.to_string(),
    })?;
    listing.finished()
}

/// The same of a listing that is there as its objects, in their order.
///
/// # Errors
/// As [`parse`].
pub(crate) fn read(objects: &[Value]) -> Result<Ruleset, NotNft> {
    let mut listing = Listing::default();
    for object in objects {
        listing.take(object);
        if let Some((most, what)) = listing.too_much {
            return Err(NotNft::TooMuch { most, what });
        }
    }
    listing.finished()
}

/// The tables as far as they have been read.
#[derive(Debug, Default)]
struct Listing {
    tables: Vec<Growing>,
    by_name: BTreeMap<(Family, String), usize>,
    chains: usize,
    rules: usize,
    sets: usize,
    elements: usize,
    too_much: Option<(usize, &'static str)>,
}

/// A table with the names that were met in it, defined already or not.
#[derive(Debug)]
struct Growing {
    table: Table,
    chains: BTreeMap<String, ChainId>,
    sets: BTreeMap<String, SetId>,
    known: Vec<bool>,
    /// Sets that rules fill.
    filled: Vec<SetId>,
    /// What each set has as keys and as values; none where it is not defined or not understood.
    kinds: Vec<Kinds>,
}

/// The data types of a set.
#[derive(Debug, Clone, Default)]
struct Kinds {
    keys: Option<Vec<Kind>>,
    data: Option<Vec<Kind>>,
}

impl Growing {
    fn new(family: Family, name: &str) -> Self {
        Self {
            table: Table {
                family,
                name: name.to_owned(),
                maker: Maker::Nft,
                dormant: false,
                chains: Vec::new(),
                sets: Vec::new(),
            },
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            known: Vec::new(),
            filled: Vec::new(),
            kinds: Vec::new(),
        }
    }

    /// A chain by its name. One that never comes may do anything.
    fn chain(&mut self, name: &str) -> ChainId {
        if let Some(id) = self.chains.get(name) {
            return *id;
        }
        let id = ChainId(u32::try_from(self.table.chains.len()).unwrap_or(u32::MAX));
        let effects = Effects { accepts: true, drops: true, changes: true };
        let text = format!("chain {name} is not in the listing");
        let origin =
            Origin { place: Place::Handle(0), text: text.clone(), comment: None, counted: None };
        let statements = vec![Statement::Unknown { text, effects }];
        let rules = vec![Rule { statements, origin }];
        self.table.chains.push(Chain { name: name.to_owned(), base: None, rules });
        self.known.push(false);
        self.chains.insert(name.to_owned(), id);
        id
    }

    /// A set by its name. One that never comes has nobody knows what.
    fn set(&mut self, name: &str) -> SetId {
        if let Some(id) = self.sets.get(name) {
            return *id;
        }
        let id = self.add_set(Set {
            name: name.to_owned(),
            elements: Vec::new(),
            otherwise: None,
            changing: true,
        });
        self.sets.insert(name.to_owned(), id);
        id
    }

    fn add_set(&mut self, set: Set) -> SetId {
        let id = SetId(u32::try_from(self.table.sets.len()).unwrap_or(u32::MAX));
        self.table.sets.push(set);
        self.kinds.push(Kinds::default());
        id
    }
}

impl Listing {
    /// Takes one object of the listing, a map of one name.
    fn take(&mut self, object: &Value) {
        let Some((name, what)) = object.as_object().and_then(|object| object.iter().next()) else {
            return;
        };
        match name.as_str() {
            "table" => {
                let dormant = words(&what["flags"]).contains(&"dormant");
                if let Some(growing) = self.table(what, "name") {
                    growing.table.dormant |= dormant;
                }
            }
            "chain" => self.chain(what),
            "rule" => self.rule(what),
            "set" | "map" => self.set(what),
            // An element printed beside its set, as `nft monitor` does, and whatever else there is
            // (counters, flow tables, limits, the version) says nothing about packets.
            _ => {}
        }
        let bounds = [
            (self.tables.len(), MAX_TABLES, "tables"),
            (self.chains, MAX_CHAINS, "chains"),
            (self.rules, MAX_RULES, "rules"),
            (self.sets, MAX_SETS, "sets"),
            (self.elements, MAX_ELEMENTS, "elements of sets"),
        ];
        if let Some((_, most, what)) = bounds.into_iter().find(|(is, most, _)| is > most) {
            self.too_much = Some((most, what));
        }
    }

    /// The table that an object is of, or is.
    fn table(&mut self, what: &Value, name: &str) -> Option<&mut Growing> {
        let family = family(what["family"].as_str()?)?;
        let name = what[name].as_str()?;
        let place = *self.by_name.entry((family, name.to_owned())).or_insert_with(|| {
            self.tables.push(Growing::new(family, name));
            self.tables.len() - 1
        });
        self.tables.get_mut(place)
    }

    fn chain(&mut self, what: &Value) {
        self.chains += 1;
        let base = base(what);
        let Some(name) = what["name"].as_str() else { return };
        let Some(growing) = self.table(what, "table") else { return };
        let id = growing.chain(name).0 as usize;
        growing.known[id] = true;
        growing.table.chains[id] = Chain { name: name.to_owned(), base, rules: Vec::new() };
    }

    fn rule(&mut self, what: &Value) {
        self.rules += 1;
        let statements = what["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(chain) = what["chain"].as_str() else { return };
        let Some(growing) = self.table(what, "table") else { return };
        let before = growing.table.sets.len();
        let read = rule::statements(statements, growing);
        let rule = Rule {
            statements: read,
            origin: Origin {
                place: Place::Handle(what["handle"].as_u64().unwrap_or(0)),
                text: text::rule(statements),
                comment: what["comment"].as_str().map(|text| cut(text.to_owned())),
                counted: statements.iter().find_map(counted),
            },
        };
        let id = growing.chain(chain).0 as usize;
        if growing.known[id] {
            growing.table.chains[id].rules.push(rule);
        }
        let sets = growing.table.sets.get(before..).unwrap_or_default();
        let (more, elements) =
            (sets.len(), sets.iter().map(|set| set.elements.len()).sum::<usize>());
        self.sets += more;
        self.elements += elements;
    }

    fn set(&mut self, what: &Value) {
        self.sets += 1;
        let elements = what["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.elements += elements.len();
        let Some(name) = what["name"].as_str() else { return };
        let flags = words(&what["flags"]);
        let dynamic = flags.contains(&"dynamic");
        // Statements that every element has: a limit lets only some packets match.
        let limited = what.get("stmt").is_some_and(|all| !only_counts(all));
        let Some(growing) = self.table(what, "table") else { return };
        let id = growing.set(name);
        let family = growing.table.family;
        let kinds = Kinds {
            keys: kinds_of(&what["type"], family),
            data: what.get("map").and_then(|data| kinds_of(data, family)),
        };
        let (keys, data) = (kinds.keys.clone(), kinds.data.clone());
        growing.kinds[id.0 as usize] = kinds;
        let mut set =
            Set { name: name.to_owned(), elements: Vec::new(), otherwise: None, changing: dynamic };
        match keys {
            Some(keys) => {
                let verdicts = what["map"] == "verdict";
                let data = match (what.get("map"), verdicts) {
                    (None, _) => Has::Nothing,
                    (Some(_), true) => Has::Verdicts,
                    (Some(_), false) => Has::Values(data.as_deref()),
                };
                if fill(&mut set, elements, &keys, data, limited, growing).is_none() {
                    set.changing = true;
                }
            }
            None => set.changing = true,
        }
        growing.table.sets[id.0 as usize] = set;
    }

    fn finished(self) -> Result<Ruleset, NotNft> {
        let mut tables = Vec::new();
        for mut growing in self.tables {
            for id in growing.filled {
                growing.table.sets[id.0 as usize].changing = true;
            }
            calls::check(&growing.table)?;
            tables.push(growing.table);
        }
        Ok(Ruleset { tables })
    }
}

/// What a set has for its keys.
#[derive(Debug, Clone, Copy)]
enum Has<'a> {
    Nothing,
    Verdicts,
    /// Values of these types; none where they are not understood.
    Values(Option<&'a [Kind]>),
}

/// Puts elements into a set; none when one of them is not understood.
fn fill(
    set: &mut Set,
    elements: &[Value],
    keys: &[Kind],
    has: Has<'_>,
    limited: bool,
    growing: &mut Growing,
) -> Option<()> {
    for one in elements {
        let (key, data) = match (has, one.as_array().map(Vec::as_slice)) {
            (Has::Nothing, _) => (one, Data::Present),
            (Has::Verdicts, Some([key, verdict])) => {
                (key, rule::verdict(verdict, growing).map_or(Data::Unknown, Data::Verdict))
            }
            (Has::Values(Some(kinds)), Some([key, value])) => {
                (key, parts(value, kinds).map_or(Data::Unknown, Data::Value))
            }
            (Has::Values(None), Some([key, _])) => (key, Data::Unknown),
            (Has::Verdicts | Has::Values(_), _) => return None,
        };
        let unsure = limited || ends(key);
        let key = element(key);
        if key == "*" {
            set.otherwise = Some(data);
            continue;
        }
        set.elements.push(Element { key: parts(key, keys)?, data, unsure });
    }
    Some(())
}

/// Whether an element lasts only for a time, or matches only some packets.
fn ends(element: &Value) -> bool {
    let Some(fields) = element.get("elem").and_then(Value::as_object) else { return false };
    fields.iter().any(|(name, what)| match name.as_str() {
        "val" | "comment" | "counter" | "last" => false,
        "stmt" => !only_counts(what),
        _ => true,
    })
}

fn only_counts(statements: &Value) -> bool {
    let only =
        |one: &Value| one.as_object().is_some_and(|one| one.keys().all(|name| name == "counter"));
    statements.as_array().is_some_and(|all| all.iter().all(only))
}

/// The parts of a key or value, of one data type each.
fn parts(value: &Value, kinds: &[Kind]) -> Option<Vec<super::interval::Interval>> {
    match value.get("concat").and_then(Value::as_array) {
        Some(parts) if parts.len() == kinds.len() => {
            parts.iter().zip(kinds).map(|(part, kind)| kind.interval(part)).collect()
        }
        Some(_) => None,
        None => match kinds {
            [kind] => Some(vec![kind.interval(value)?]),
            _ => None,
        },
    }
}

/// The data types of a set: a name, names with dots between, a list, or what `typeof` named.
fn kinds_of(what: &Value, family: Family) -> Option<Vec<Kind>> {
    let kinds: Vec<Kind> = match what {
        Value::String(names) => names.split(" . ").map(Kind::named).collect::<Option<_>>()?,
        Value::Array(list) => {
            let all: Vec<Vec<Kind>> =
                list.iter().map(|one| kinds_of(one, family)).collect::<Option<_>>()?;
            all.concat()
        }
        Value::Object(object) => match object.get("typeof").or_else(|| object.get("concat")) {
            Some(of) => kinds_of(of, family)?,
            None => vec![expression::looked(what, family)?.kind],
        },
        _ => return None,
    };
    (kinds.len() <= MAX_PARTS).then_some(kinds)
}

fn base(what: &Value) -> Option<Base> {
    let hook = match what["hook"].as_str()? {
        "ingress" => Hook::Ingress,
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        "egress" => Hook::Egress,
        _ => return None,
    };
    let kind = match what["type"].as_str()? {
        "nat" => ChainKind::Nat,
        "route" => ChainKind::Route,
        _ => ChainKind::Filter,
    };
    let devices = what.get("dev").or_else(|| what.get("devs"));
    Some(Base {
        kind,
        hook,
        priority: what["prio"].as_i64().and_then(|prio| i32::try_from(prio).ok()).unwrap_or(0),
        accepts: what["policy"] != "drop",
        devices: devices
            .map(words)
            .unwrap_or_default()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect(),
    })
}

fn counted(statement: &Value) -> Option<Counted> {
    let counter = statement.get("counter")?;
    Some(Counted { packets: counter["packets"].as_u64()?, octets: counter["bytes"].as_u64()? })
}

/// One word, or a list of them.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn family(name: &str) -> Option<Family> {
    let all = [Family::Ip, Family::Ip6, Family::Inet, Family::Arp, Family::Bridge, Family::Netdev];
    all.into_iter().find(|family| family.name() == name)
}

/// Reads the whole, and hands on one object after the other: a listing is often much larger than
/// what is kept of it.
struct Top<'a>(&'a mut Listing);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with \"nftables\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "nftables" {
                map.next_value_seed(Objects(&mut *self.0))?;
                found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found { Ok(()) } else { Err(serde::de::Error::missing_field("nftables")) }
    }
}

struct Objects<'a>(&'a mut Listing);

impl<'de> DeserializeSeed<'de> for Objects<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the list of what is in the ruleset")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while let Some(object) = all.next_element::<Value>()? {
            self.0.take(&object);
            if self.0.too_much.is_some() {
                return Err(serde::de::Error::custom("too much"));
            }
        }
        Ok(())
    }
}
