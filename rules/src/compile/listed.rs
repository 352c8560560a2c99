//! The compiler's own text as the model that proofs are about.
//!
//! The text is read back rather than taken from what it was made of, so that what is proved is what is
//! sent. It becomes what `nft -j list ruleset` would print of it, and that is read as any listing is; a
//! test loads both into a kernel and holds them to each other. Only what this compiler writes is
//! understood. Anything else is an error, never skipped.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::model::nft;
use crate::model::ruleset::{Place, Ruleset};

/// A line that the compiler would not have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the compiled ruleset is not understood, so that nothing is proved of it: {text}"
)]
pub struct NotCompiled {
    /// The line, from 1; 0 where it is the whole.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

/// The model of a table that [`super::ruleset`] or [`super::quarantine`] wrote. Rules are named by
/// their lines in it.
///
/// # Errors
/// When the text is anything else.
pub fn listed(text: &str) -> Result<Ruleset, NotCompiled> {
    let mut reader = Reader::default();
    for (line, text) in (1..).zip(text.lines()) {
        let words = words(text);
        let read = words.and_then(|words| reader.line(line, words));
        read.ok_or_else(|| NotCompiled { line, text: text.trim().to_owned() })?;
    }
    if !reader.finished {
        return Err(NotCompiled { line: 0, text: "it does not end".to_owned() });
    }
    let whole = |why: nft::NotNft| NotCompiled { line: 0, text: why.to_string() };
    let mut ruleset = nft::read(&reader.objects).map_err(whole)?;
    for rule in ruleset.tables.iter_mut().flat_map(|table| &mut table.chains) {
        for rule in &mut rule.rules {
            if let Place::Handle(line) = rule.origin.place {
                rule.origin.place = Place::Line(u32::try_from(line).unwrap_or(u32::MAX));
            }
        }
    }
    Ok(ruleset)
}

/// What the lines stand in.
#[derive(Debug, Default)]
enum Within {
    /// In no block, or the table itself.
    #[default]
    Table,
    Counter,
    Set {
        name: String,
        kind: String,
        elements: Vec<Value>,
        /// Whether its elements go on with the next line.
        open: bool,
    },
    Chain(String),
}

#[derive(Debug, Default)]
struct Reader {
    begun: bool,
    finished: bool,
    within: Within,
    objects: Vec<Value>,
}

/// The words of a line: brackets and commas by themselves, what is quoted as one, with its first quote.
fn words(line: &str) -> Option<VecDeque<String>> {
    let mut words = VecDeque::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => rest.get(1..)?.find('"')? + 1,
            '{' | '}' | ',' | ';' => 1,
            _ => rest.find([' ', '\t', ',', ';', '"']).unwrap_or(rest.len()),
        };
        words.push_back(rest.get(..end)?.to_owned());
        rest = rest.get(end..)?;
        if first == '"' {
            rest = rest.get(1..)?;
        }
        rest = rest.trim_start();
    }
    Some(words)
}

impl Reader {
    fn line(&mut self, number: usize, words: VecDeque<String>) -> Option<()> {
        if words.is_empty() {
            return Some(());
        }
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        if self.finished {
            return None;
        }
        match (&mut self.within, all.as_slice()) {
            (Within::Table, ["table", "inet", super::TABLE, "{"]) if !self.begun => {
                self.begun = true;
                self.objects.push(json!({"table": {"family": "inet", "name": super::TABLE}}));
            }
            (Within::Table, ["comment", quoted]) if quoted.starts_with('"') => {}
            (Within::Table, ["counter", _, "{"]) if self.begun => self.within = Within::Counter,
            (Within::Table, ["set", name, "{"]) if self.begun => {
                self.within = Within::Set {
                    name: (*name).to_owned(),
                    kind: String::new(),
                    elements: Vec::new(),
                    open: false,
                };
            }
            (Within::Table, ["chain", name, "{"]) if self.begun => {
                self.within = Within::Chain((*name).to_owned());
                self.objects.push(json!({"chain": {
                    "family": "inet", "table": super::TABLE, "name": name,
                }}));
            }
            (Within::Table, ["}"]) if self.begun => self.finished = true,
            (Within::Counter | Within::Chain(_), ["}"]) => self.within = Within::Table,
            (Within::Set { kind, .. }, ["type", of]) => (*of).clone_into(kind),
            (Within::Set { .. }, ["flags", "interval"]) => {}
            (Within::Set { elements, open, .. }, ["elements", "=", "{", some @ ..]) => {
                *open = added(elements, some)?;
            }
            (Within::Set { elements, open, .. }, some) if *open => *open = added(elements, some)?,
            (Within::Set { .. }, ["}"]) => {
                let set = std::mem::take(&mut self.within);
                let Within::Set { name, kind, elements, .. } = set else { return None };
                self.objects.push(json!({"set": {
                    "family": "inet", "table": super::TABLE, "name": name, "type": kind,
                    "flags": ["interval"], "elem": elements,
                }}));
            }
            (
                Within::Chain(name),
                ["type", "filter", "hook", hook, "priority", "filter", ";", "policy", policy, ";"],
            ) => {
                let chain = json!({"chain": {
                    "family": "inet", "table": super::TABLE, "name": name, "type": "filter",
                    "hook": hook, "prio": 0, "policy": policy,
                }});
                // It was told as a chain without a hook when its name was met.
                *self.objects.last_mut()? = chain;
            }
            (Within::Chain(name), _) => {
                let name = name.clone();
                let rule = rule(words)?;
                self.objects.push(json!({"rule": {
                    "family": "inet", "table": super::TABLE, "chain": name, "handle": number,
                    "comment": rule.comment, "expr": rule.statements,
                }}));
            }
            _ => return None,
        }
        Some(())
    }
}

/// Takes elements as far as the line has them. Gives whether more come.
fn added(elements: &mut Vec<Value>, words: &[&str]) -> Option<bool> {
    let (words, open) = match words {
        [words @ .., "}"] => (words, false),
        words => (words, true),
    };
    for word in words.iter().filter(|word| **word != ",") {
        elements.push(value(word)?);
    }
    Some(open)
}

/// A number, a word, an address, a network, or a range of any.
fn value(word: &str) -> Option<Value> {
    let plain = |word: &str| {
        let known = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-'));
        (known && !word.is_empty()).then(|| match word.parse::<u64>() {
            Ok(number) => json!(number),
            Err(_) => json!(word),
        })
    };
    if let Some((address, length)) = word.split_once('/') {
        let length: u8 = length.parse().ok()?;
        return Some(json!({"prefix": {"addr": plain(address)?, "len": length}}));
    }
    // Words have hyphens too: what begins with a digit or is an address is a range.
    if let Some((first, last)) = word.split_once('-') {
        let bound =
            |text: &str| text.parse::<u64>().is_ok() || text.parse::<std::net::IpAddr>().is_ok();
        if bound(first) && bound(last) {
            return Some(json!({"range": [plain(first)?, plain(last)?]}));
        }
    }
    plain(word)
}

struct Written {
    statements: Vec<Value>,
    comment: Option<String>,
}

fn rule(mut words: VecDeque<String>) -> Option<Written> {
    let mut statements = Vec::new();
    let mut comment = None;
    while let Some(word) = words.pop_front() {
        let mut next = || words.pop_front();
        statements.push(match word.as_str() {
            "iif" | "oif" => compared("==", &json!({"meta": {"key": word}}), &value(&next()?)?),
            "ip" | "ip6" | "tcp" | "udp" | "icmp" | "icmpv6" => {
                let field = next()?;
                let left = json!({"payload": {"protocol": word, "field": field}});
                compared("==", &left, &right(&mut words)?)
            }
            "ct" => {
                let key = next()?;
                let values = several(&mut words)?;
                let right = match values.as_slice() {
                    [one] => one.clone(),
                    _ => json!(values),
                };
                let op = if key == "state" { "in" } else { "==" };
                compared(op, &json!({"ct": {"key": key}}), &right)
            }
            "meta" => {
                let key = next()?;
                let left = json!({"meta": {"key": key}});
                if words.front().is_some_and(|word| word == ".") {
                    words.pop_front();
                    let (protocol, field) = (words.pop_front()?, words.pop_front()?);
                    let port = json!({"payload": {"protocol": protocol, "field": field}});
                    compared("==", &json!({"concat": [left, port]}), &right(&mut words)?)
                } else {
                    compared("==", &left, &right(&mut words)?)
                }
            }
            "counter" => {
                (next()? == "name").then_some(())?;
                json!({"counter": next()?})
            }
            "limit" => limit(&mut words)?,
            "log" => {
                (next()? == "prefix").then_some(())?;
                json!({"log": {"prefix": next()?.strip_prefix('"')?}})
            }
            "accept" | "drop" => json!({word: null}),
            "goto" => json!({"goto": {"target": next()?}}),
            "comment" => {
                comment = Some(next()?.strip_prefix('"')?.to_owned());
                continue;
            }
            _ => return None,
        });
    }
    Some(Written { statements, comment })
}

fn compared(op: &str, left: &Value, right: &Value) -> Value {
    json!({"match": {"op": op, "left": left, "right": right}})
}

/// What a field is compared with: one value, several, or those of a named set.
fn right(words: &mut VecDeque<String>) -> Option<Value> {
    let first = words.front()?;
    if first.starts_with('@') {
        return words.pop_front().map(Value::String);
    }
    if first != "{" {
        return value(&words.pop_front()?);
    }
    words.pop_front();
    let mut all = Vec::new();
    loop {
        let one = value(&words.pop_front()?)?;
        let mut parts = vec![one];
        while words.front().is_some_and(|word| word == ".") {
            words.pop_front();
            parts.push(value(&words.pop_front()?)?);
        }
        all.push(if parts.len() == 1 { parts.remove(0) } else { json!({"concat": parts}) });
        match words.pop_front()?.as_str() {
            "," => {}
            "}" => return Some(json!({"set": all})),
            _ => return None,
        }
    }
}

/// Values with commas between, without brackets.
fn several(words: &mut VecDeque<String>) -> Option<Vec<Value>> {
    let mut all = vec![value(&words.pop_front()?)?];
    while words.front().is_some_and(|word| word == ",") {
        words.pop_front();
        all.push(value(&words.pop_front()?)?);
    }
    Some(all)
}

/// `limit rate 10/second burst 20 packets`.
fn limit(words: &mut VecDeque<String>) -> Option<Value> {
    let all: Vec<String> = words.drain(..words.len().min(5)).collect();
    let [rate, amount, burst, at_once, packets] = all.as_slice() else { return None };
    let known = rate == "rate" && burst == "burst" && packets == "packets";
    let (amount, per) = amount.split_once('/').filter(|_| known)?;
    let (amount, at_once): (u64, u64) = (amount.parse().ok()?, at_once.parse().ok()?);
    Some(json!({"limit": {"rate": amount, "burst": at_once, "per": per}}))
}
