//! The text that iptables-save(8) prints, of iptables-legacy and of iptables-nft.

use std::collections::BTreeMap;

use bailey_rules::fact::bounded;
use bailey_rules::fact::firewall::{Ruleset, Table};
use bailey_rules::unit::Bytes;
use sha2::{Digest as _, Sha256};

use super::chain::{Act, At, Base, Chain, Chains, Step};

/// Targets that do something to a packet and then let the next rule decide
/// (iptables-extensions(8)).
const NOT_DECIDING: [&str; 26] = [
    "AUDIT",
    "CHECKSUM",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DSCP",
    "ECN",
    "HL",
    "HMARK",
    "IDLETIMER",
    "LED",
    "LOG",
    "MARK",
    "NFLOG",
    "NOTRACK",
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
];

/// Targets that change an address and let the packet go on.
const LETTING_THROUGH: [&str; 9] =
    ["ACCEPT", "BALANCE", "DNAT", "MASQUERADE", "NETMAP", "REDIRECT", "SAME", "SNAT", "TPROXY"];

/// What an extension says that the program does not understand.
const NOT_UNDERSTOOD: &str = "[unsupported";

/// Everything one run of iptables-save printed.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// By name: `filter`, `nat`.
    pub tables: BTreeMap<String, SavedTable>,
    /// Whether it was the variant that keeps its rules in nftables.
    pub in_nftables: bool,
}

/// One table.
#[derive(Debug, Default)]
pub(super) struct SavedTable {
    /// By name.
    pub chains: BTreeMap<String, SavedChain>,
    packets: u64,
    octets: u64,
}

/// One chain.
#[derive(Debug, Default)]
pub(super) struct SavedChain {
    /// Of a chain that the kernel enters by itself; `None` for others.
    policy: Option<Act>,
    pub rules: Vec<SavedRule>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct SavedRule {
    /// Its words without counters.
    pub words: Vec<String>,
    /// What it does, when it applies to every packet and decides something.
    pub step: Option<Act>,
    /// Extensions that it names.
    pub extensions: Vec<String>,
    /// Whether a part of it cannot be read.
    pub opaque: bool,
}

/// Text that is not what iptables-save prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of what it printed is not understood")]
pub(super) struct NotSaved {
    line: usize,
}

/// Understands what iptables-save printed.
pub(super) fn parse(text: &str) -> Result<Saved, NotSaved> {
    let mut saved = Saved::default();
    let mut table: Option<(String, SavedTable)> = None;
    for (nth, line) in Lines(text).enumerate() {
        let not_understood = || NotSaved { line: nth + 1 };
        if line.starts_with('#') {
            saved.in_nftables |= line.contains("(nf_tables)");
            continue;
        }
        if let Some(name) = line.strip_prefix('*') {
            table = Some((name.trim().to_owned(), SavedTable::default()));
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        if line.trim() == "COMMIT" {
            let (name, table) = table.take().ok_or_else(not_understood)?;
            saved.tables.insert(name, table);
            continue;
        }
        let (_, table) = table.as_mut().ok_or_else(not_understood)?;
        let declared = line.strip_prefix(':');
        match declared {
            Some(chain) => table.declare(chain),
            None => table.append(words(line)),
        }
        .ok_or_else(not_understood)?;
    }
    // Without its COMMIT a table is not whole.
    match table {
        None => Ok(saved),
        Some(_) => Err(NotSaved { line: Lines(text).count() }),
    }
}

impl SavedTable {
    /// `INPUT DROP [12:3400]`.
    fn declare(&mut self, text: &str) -> Option<()> {
        let mut words = text.split_whitespace();
        let name = words.next()?.to_owned();
        let policy = match words.next()? {
            "ACCEPT" => Some(Act::Accept),
            "DROP" => Some(Act::Drop),
            "REJECT" => Some(Act::Reject),
            "-" => None,
            _ => Some(Act::Unknown),
        };
        if let Some((packets, octets)) = words.next().and_then(counters) {
            self.count(packets, octets);
        }
        self.chains.insert(name, SavedChain { policy, rules: Vec::new() });
        Some(())
    }

    /// `[12:3400] -A INPUT -p tcp -j ACCEPT`.
    fn append(&mut self, mut words: Vec<String>) -> Option<()> {
        if let Some((packets, octets)) = words.first().and_then(|word| counters(word)) {
            self.count(packets, octets);
            words.remove(0);
        }
        if words.len() < 2 || words.remove(0) != "-A" {
            return None;
        }
        let chain = words.remove(0);
        let rule = SavedRule::of(words, &self.chains);
        self.chains.get_mut(&chain)?.rules.push(rule);
        Some(())
    }

    fn count(&mut self, packets: u64, octets: u64) {
        self.packets = self.packets.saturating_add(packets);
        self.octets = self.octets.saturating_add(octets);
    }
}

impl SavedRule {
    fn of(words: Vec<String>, chains: &BTreeMap<String, SavedChain>) -> Self {
        let mut conditional = false;
        let mut act = None;
        let mut extensions = Vec::new();
        let mut rest = words.iter().map(String::as_str);
        while let Some(word) = rest.next() {
            match word {
                "-m" => {
                    let name = rest.next().unwrap_or_default();
                    extensions.push(name.to_owned());
                    if name == "comment" {
                        // Its option and the words of the comment.
                        rest.next();
                        rest.next();
                    } else {
                        conditional = true;
                    }
                }
                "-j" | "-g" => {
                    let target = rest.next().unwrap_or_default();
                    extensions.push(target.to_owned());
                    act = if chains.contains_key(target) {
                        let target = target.into();
                        Some(if word == "-g" { Act::Goto(target) } else { Act::Jump(target) })
                    } else {
                        act_of(target)
                    };
                    break;
                }
                _ => conditional = true,
            }
        }
        let opaque = words.iter().any(|word| word.starts_with(NOT_UNDERSTOOD));
        Self { step: act.filter(|_| !conditional), words, extensions, opaque }
    }
}

/// What a target does that is no chain; `None` when it decides nothing.
pub(super) fn act_of(target: &str) -> Option<Act> {
    match target {
        "DROP" => Some(Act::Drop),
        "REJECT" | "TARPIT" => Some(Act::Reject),
        "RETURN" => Some(Act::Return),
        target if LETTING_THROUGH.contains(&target) => Some(Act::Accept),
        target if NOT_DECIDING.contains(&target) => None,
        _ => Some(Act::Unknown),
    }
}

/// `[12:3400]`: packets and octets.
fn counters(word: &str) -> Option<(u64, u64)> {
    let (packets, octets) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some((packets.parse().ok()?, octets.parse().ok()?))
}

/// Lines as iptables-save means them: a comment in quotes may hold the end of a line.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let remark = self.0.starts_with('#');
        let end = self.0.bytes().position(|c| {
            if escaped {
                escaped = false;
                return false;
            }
            match c {
                b'\\' if quoted => escaped = true,
                b'"' if !remark => quoted = !quoted,
                b'\n' if !quoted => return true,
                _ => {}
            }
            false
        });
        let (line, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, ""),
        };
        self.0 = rest;
        Some(line)
    }
}

/// The words of a line; in quotes, `\` makes the next character stand for itself.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(rest.next()),
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Where the kernel enters the chains of a table (`linux/netfilter_ipv4.h`, `NF_IP_PRI_*`).
fn priority(table: &str, at: At) -> i64 {
    match (table, at) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", At::Output) => -100,
        ("nat", At::Input | At::Forward) => 100,
        ("security", _) => 50,
        // The table `filter`; there is no other.
        _ => 0,
    }
}

impl Saved {
    /// What the kernel does by default with packets that pass these tables.
    pub(super) fn chains(&self, filter: &str, ip6: bool) -> Vec<Chains> {
        let tables = self.tables.iter().map(|(name, table)| Chains {
            table: format!("{filter} {name}"),
            ip: !ip6,
            ip6,
            by_name: table
                .chains
                .iter()
                .map(|(chain, saved)| {
                    let base = saved
                        .policy
                        .clone()
                        .zip(At::named(chain))
                        .map(|(policy, at)| Base { at, priority: priority(name, at), policy });
                    let steps = saved.rules.iter().filter_map(|rule| rule.step.clone());
                    let steps = steps.map(Step::always).collect();
                    (chain.as_str().into(), Chain { base, steps })
                })
                .collect(),
        });
        tables.collect()
    }

    /// The ruleset in summary.
    pub(super) fn ruleset(&self, family: &str) -> Ruleset {
        let mut hash = Sha256::new();
        let mut tables = Vec::new();
        let (mut rules, mut opaque, mut packets, mut octets) = (0, 0, 0_u64, 0_u64);
        for (name, table) in &self.tables {
            hash.update(line(&["table", name]));
            for (chain, saved) in &table.chains {
                let policy = format!("{:?}", saved.policy);
                hash.update(line(&["chain", chain, &policy]));
                for rule in &saved.rules {
                    let words: Vec<&str> = rule.words.iter().map(String::as_str).collect();
                    hash.update(line(&words));
                }
            }
            let all = || table.chains.values().flat_map(|chain| &chain.rules);
            rules += all().count();
            opaque += all().filter(|rule| rule.opaque).count();
            packets = packets.saturating_add(table.packets);
            octets = octets.saturating_add(table.octets);
            tables.push(Table {
                family: family.to_owned(),
                name: bounded(name),
                chains: super::count(table.chains.len()),
                rules: super::count(all().count()),
                sets: 0,
            });
        }
        tables.truncate(super::MAX_TABLES);
        Ruleset {
            tables,
            rules: super::count(rules),
            opaque_rules: super::count(opaque),
            digest: super::hexadecimal(&hash.finalize()),
            packets,
            octets: Bytes(octets),
            changed_by: None,
        }
    }
}

/// Words as one line of JSON, so that no two rows of words look the same.
pub(super) fn line(words: &[&str]) -> Vec<u8> {
    let mut line = serde_json::to_vec(words).expect("texts are always JSON");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = r#"# Generated by iptables-save v1.8.9 on Mon Nov 23 14:13:11 2026
*filter
:INPUT DROP [7:420]
:FORWARD ACCEPT [0:0]
:oa - [0:0]
[3:180] -A INPUT -m comment --comment "all of \"oa\"
-A INPUT -j ACCEPT" -j oa
[0:0] -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
[0:0] -A oa -m strange [unsupported revision] -j DROP
[0:0] -A oa -g INPUT
COMMIT
# Completed
"#;

    #[test]
    fn a_comment_that_looks_like_a_rule_stays_a_comment() {
        let saved = parse(SAVED).unwrap();
        let input = &saved.tables["filter"].chains["INPUT"];
        assert_eq!(input.rules.len(), 2);
        assert_eq!(input.rules[0].words[3], "all of \"oa\"\n-A INPUT -j ACCEPT");
        assert_eq!(input.rules[0].step, Some(Act::Jump("oa".into())));
        assert_eq!(input.rules[1].step, None, "it applies to port 22 only");
    }

    #[test]
    fn counters_are_added_up_and_change_no_digest() {
        let ruleset = parse(SAVED).unwrap().ruleset("ip");
        assert_eq!((ruleset.packets, ruleset.octets), (10, Bytes(600)));
        assert_eq!((ruleset.rules, ruleset.opaque_rules), (4, 1));
        let later = SAVED.replace("[3:180]", "[9:999]").replace("[7:420]", "[8:500]");
        assert_eq!(parse(&later).unwrap().ruleset("ip").digest, ruleset.digest);
        let other = SAVED.replace("--dport 22", "--dport 23");
        assert_ne!(parse(&other).unwrap().ruleset("ip").digest, ruleset.digest);
        let other = SAVED.replace("INPUT DROP", "INPUT ACCEPT");
        assert_ne!(parse(&other).unwrap().ruleset("ip").digest, ruleset.digest);
    }

    #[test]
    fn text_that_ends_early_is_no_ruleset() {
        let cut = SAVED.split("COMMIT").next().unwrap();
        assert!(parse(cut).is_err());
        assert!(parse("-A INPUT -j DROP\n").is_err());
        assert!(parse("*filter\n-A NOWHERE -j DROP\nCOMMIT\n").is_err());
    }
}
