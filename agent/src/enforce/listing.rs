//! What `nft -s list table` prints of our table, in a form in which two listings are equal when
//! they mean the same, and the difference between two in words.
//!
//! The text is compared and not the JSON: nft 1.0.6 does not write into its JSON that a table is
//! dormant, which switches it off whole.

use std::collections::BTreeMap;

use bailey_rules::compile::{DROPPED, WOULD_DROP};
use bailey_rules::fact::bounded;
use bailey_rules::policy::Mode;

/// The most lines of a difference that are kept.
pub const MAX_LINES: usize = 64;

/// Our table as the kernel has it, without what counts and without what packets put there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Every block of the table by its head (`chain input`); what stands in the table itself by the
    /// empty head. Rules in their order, elements sorted.
    blocks: BTreeMap<String, Vec<String>>,
}

/// What one listing has that another lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Lines that have come, such as `chain input: tcp dport 23 accept`.
    pub added: Vec<String>,
    /// Lines that have gone.
    pub removed: Vec<String>,
    /// How many lines more there are than [`MAX_LINES`] of either.
    pub more: usize,
}

impl Listing {
    /// Reads what nft printed; empty when there is no such table.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut blocks: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut head = String::new();
        let mut depth = 0;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        while let Some(line) = lines.next() {
            if line == "}" {
                depth -= 1;
                head.clear();
            } else if let Some(name) = line.strip_suffix(" {").filter(|_| depth < 2) {
                if depth == 1 {
                    name.clone_into(&mut head);
                }
                blocks.entry(head.clone()).or_default();
                depth += 1;
            } else if let Some(first) = line.strip_prefix("elements = { ") {
                let mut elements = first.to_owned();
                while !elements.ends_with(" }") {
                    let Some(next) = lines.next() else { break };
                    elements.push(' ');
                    elements.push_str(next);
                }
                let elements = elements.strip_suffix(" }").unwrap_or(&elements);
                let block = blocks.entry(head.clone()).or_default();
                block.extend(split(elements).map(|element| format!("element {element}")));
            } else {
                blocks.entry(head.clone()).or_default().push(line.to_owned());
            }
        }
        for (head, block) in &mut blocks {
            if head.starts_with("chain ") {
                continue;
            }
            // Packets fill these sets, which is nobody's change.
            if block.iter().any(|line| line.starts_with("flags ") && line.contains("dynamic")) {
                block.retain(|line| !line.starts_with("element "));
            }
            block.sort_unstable();
        }
        Self { blocks }
    }

    /// Whether the table drops what the policy does not let through, or only counts it, by the
    /// counter that it counts it with.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        let has = |counter: &str| self.blocks.contains_key(&format!("counter {counter}"));
        match (has(DROPPED), has(WOULD_DROP)) {
            (true, false) => Some(Mode::Enforce),
            (false, true) => Some(Mode::Observe),
            (true, true) | (false, false) => None,
        }
    }

    /// Whether there is no such table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// What `now` has and lacks compared with this.
    #[must_use]
    pub fn difference(&self, now: &Self) -> Difference {
        let mut difference = Difference::default();
        let nothing = Vec::new();
        let heads =
            self.blocks.keys().chain(now.blocks.keys().filter(|h| !self.blocks.contains_key(*h)));
        for head in heads {
            let was = self.blocks.get(head);
            let is = now.blocks.get(head);
            if was == is {
                continue;
            }
            let (gone, come) = (was.unwrap_or(&nothing), is.unwrap_or(&nothing));
            let changed = (difference.added.len(), difference.removed.len(), difference.more);
            for (line, times) in balance(gone, come) {
                let (list, times) = if times > 0 {
                    (&mut difference.added, times.unsigned_abs())
                } else {
                    (&mut difference.removed, times.unsigned_abs())
                };
                for _ in 0..times {
                    note(list, &mut difference.more, head, line);
                }
            }
            let still = (difference.added.len(), difference.removed.len(), difference.more);
            if changed == still {
                match (was, is) {
                    (Some(_), None) => {
                        note(&mut difference.removed, &mut difference.more, head, "(empty)");
                    }
                    (None, Some(_)) => {
                        note(&mut difference.added, &mut difference.more, head, "(empty)");
                    }
                    (Some(_), Some(_)) | (None, None) => {
                        let order = "(the same rules in another order)";
                        note(&mut difference.added, &mut difference.more, head, order);
                    }
                }
            }
        }
        difference
    }
}

impl Difference {
    /// Whether the two are equal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

fn note(list: &mut Vec<String>, more: &mut usize, head: &str, line: &str) {
    if list.len() >= MAX_LINES {
        *more += 1;
        return;
    }
    let at = if head.is_empty() { "table" } else { head };
    list.push(bounded(&format!("{at}: {line}")));
}

/// How often each line stands more often in `now` than in `was`, in the order in which the lines
/// stand; lines that stand equally often are left out.
fn balance<'a>(was: &'a [String], now: &'a [String]) -> Vec<(&'a str, isize)> {
    let mut count: BTreeMap<&str, isize> = BTreeMap::new();
    for line in was {
        *count.entry(line).or_default() -= 1;
    }
    for line in now {
        *count.entry(line).or_default() += 1;
    }
    let mut lines = Vec::new();
    for line in was.iter().chain(now) {
        if let Some(times) = count.remove(line.as_str()).filter(|times| *times != 0) {
            lines.push((line.as_str(), times));
        }
    }
    lines
}

/// Elements stand between commas; commas in quotes and braces are theirs.
fn split(elements: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut depth = 0_i32;
    elements
        .split(move |c| {
            match c {
                '"' => quoted = !quoted,
                '{' if !quoted => depth += 1,
                '}' if !quoted => depth -= 1,
                _ => {}
            }
            c == ',' && !quoted && depth == 0
        })
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"table inet bailey {
	set a {
		type ipv4_addr
		elements = { 9.9.9.1 comment "a, b", 9.9.9.2,
			     9.9.9.3 }
	}

	set seen {
		type ipv4_addr
		flags dynamic,timeout
		elements = { 1.2.3.4 }
	}

	chain input {
		type filter hook input priority filter; policy drop;
		tcp dport { 22, 80 } accept
		counter drop
	}
}
"#;

    fn difference(now: &str) -> Difference {
        Listing::parse(TABLE).difference(&Listing::parse(now))
    }

    #[test]
    fn the_order_of_elements_and_what_packets_put_there_is_no_difference() {
        let other = TABLE
            .replace(
                "9.9.9.1 comment \"a, b\", 9.9.9.2,\n\t\t\t     9.9.9.3",
                "9.9.9.3, 9.9.9.2, 9.9.9.1 comment \"a, b\"",
            )
            .replace("elements = { 1.2.3.4 }", "elements = { 1.2.3.4, 5.6.7.8 }");
        assert_ne!(other, TABLE);
        assert!(difference(&other).is_empty(), "{:?}", difference(&other));
        assert!(difference(TABLE).is_empty());
    }

    #[test]
    fn a_difference_names_the_place_and_the_rule() {
        let changed = difference(
            &TABLE
                .replace("policy drop;", "policy accept;")
                .replace("counter drop", "tcp dport 23 accept\n\t\tcounter drop")
                .replace("9.9.9.2,", "9.9.9.7,"),
        );
        assert_eq!(
            changed.added,
            [
                "chain input: type filter hook input priority filter; policy accept;",
                "chain input: tcp dport 23 accept",
                "set a: element 9.9.9.7",
            ]
        );
        assert_eq!(
            changed.removed,
            [
                "chain input: type filter hook input priority filter; policy drop;",
                "set a: element 9.9.9.2",
            ]
        );
    }

    #[test]
    fn a_table_that_sleeps_that_is_gone_or_in_another_order_differs() {
        let asleep = difference(&TABLE.replacen("{\n", "{\n\tflags dormant\n\n", 1));
        assert_eq!(asleep.added, ["table: flags dormant"]);
        let gone = difference("");
        assert_eq!(gone.removed.len(), 10, "{gone:?}");
        let turned = TABLE.replace(
            "tcp dport { 22, 80 } accept\n\t\tcounter drop",
            "counter drop\n\t\ttcp dport { 22, 80 } accept",
        );
        let order = "chain input: (the same rules in another order)";
        assert_eq!(difference(&turned).added, [order]);
    }

    #[test]
    fn a_difference_is_bounded() {
        let rules: Vec<_> = (0..1000).map(|port| format!("		tcp dport {port} drop")).collect();
        let rules = rules.join(
            "
",
        ) + "
";
        let many = difference(&TABLE.replace("\t\tcounter drop\n", &rules));
        assert_eq!((many.added.len(), many.removed.len()), (MAX_LINES, 1));
        assert_eq!(many.more, 1000 - MAX_LINES);
    }
}
