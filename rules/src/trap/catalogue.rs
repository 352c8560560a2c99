//! What traps mean: a data file, so that adding a trap is adding some lines of YAML and no code.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Trap, shown};
use crate::fact::bounded;
use crate::finding::Severity;
use crate::snmp::oid::Oid;
use crate::text::Text;
use crate::unit::Period;
use crate::yaml::{self, Problem, Problems, Source, Spanned};

/// The most entries of a catalogue.
const MAX_ENTRIES: usize = 1_000;

/// The shipped file.
const SHIPPED: (&str, &str) = ("shipped/traps.yaml", include_str!("../../shipped/traps.yaml"));

/// What part of a device a trap is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The device as a whole: it started, a part of it failed.
    Device,
    /// Links and what keeps them loop-free.
    Link,
    /// Mains, batteries, power supplies.
    Power,
    /// Who tries what he may not.
    Security,
}

/// What a trap does to what is known of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Something is wrong from now on.
    Raise {
        /// How bad it is, if it is true.
        severity: Severity,
        /// For how long it counts without being repeated; `None`: until it is cleared. Given where no
        /// trap ever tells of the end.
        lasts: Option<Duration>,
    },
    /// It is over.
    Clear,
    /// Worth knowing, and nothing is wrong.
    Note,
}

/// What one trap means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning<'a> {
    /// The name of the trap, such as `linkDown`.
    pub trap: &'a str,
    /// What is wrong or right: `link_down`. Raise and clear of one cause have the same.
    pub cause: &'a str,
    /// Of what: an interface's number, an alarm's name; empty for the device.
    pub subject: String,
    /// What part of the device it is about.
    pub about: About,
    /// What it does.
    pub act: Act,
    /// What happened, in one sentence.
    pub text: Text,
}

/// All traps that mean something here.
#[derive(Debug, Clone)]
pub struct Catalogue {
    by_trap: HashMap<Oid, Vec<Entry>>,
    words: HashMap<Oid, Text>,
}

#[derive(Debug, Clone)]
struct Entry {
    trap: String,
    cause: String,
    about: About,
    act: Act,
    subject: Option<Subject>,
    shows: Vec<Oid>,
    when: Option<Condition>,
    unless: Option<Condition>,
    text: Text,
}

/// Where the subject of a trap stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// In the row of the first value in one of these columns.
    Row(Vec<Oid>),
    /// In the first of these values.
    Value(Vec<Oid>),
}

#[derive(Debug, Clone)]
struct Condition {
    value: Oid,
    is: Vec<String>,
}

impl Condition {
    fn holds(&self, trap: &Trap) -> bool {
        let said = trap.value(&self.value).and_then(|(_, value)| shown(value));
        said.is_some_and(|said| self.is.contains(&said))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    words: Vec<WrittenWord>,
    traps: Vec<Spanned<WrittenEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWord {
    oid: Spanned<String>,
    en: String,
    zh: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    trap: Spanned<String>,
    name: String,
    about: About,
    raises: Option<Spanned<String>>,
    clears: Option<Spanned<String>>,
    notes: Option<Spanned<String>>,
    severity: Option<Severity>,
    lasts: Option<Period>,
    row: Option<Vec<Spanned<String>>>,
    value: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    shows: Vec<Spanned<String>>,
    when: Option<WrittenCondition>,
    unless: Option<WrittenCondition>,
    en: String,
    zh: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCondition {
    value: Spanned<String>,
    is: Vec<String>,
}

impl Catalogue {
    /// What is shipped.
    ///
    /// # Panics
    /// Never: a test reads the shipped file.
    #[must_use]
    pub fn shipped() -> Self {
        let (file, text) = SHIPPED;
        Self::parse(file, text).expect("the shipped traps are well formed")
    }

    /// Reads a file of traps. `file` is only the name used in problems.
    ///
    /// # Errors
    /// Everything that is wrong in it, and where.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let written: Written = yaml::parse(file, text)?;
        let source = Source { file, text };
        if written.traps.len() > MAX_ENTRIES {
            let problem = source.whole(format!("more than {MAX_ENTRIES} traps"));
            return Err(Problems(vec![problem]));
        }
        let mut catalogue = Self { by_trap: HashMap::new(), words: HashMap::new() };
        let mut problems = Vec::new();
        for word in written.words {
            match oid(&source, &word.oid) {
                Ok(name) => {
                    catalogue.words.insert(name, Text::new(word.en, word.zh));
                }
                Err(problem) => problems.push(problem),
            }
        }
        for entry in &written.traps {
            match read(&source, entry) {
                Ok((trap, entry)) => catalogue.by_trap.entry(trap).or_default().push(entry),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(catalogue)
        } else {
            problems.truncate(yaml::MAX_PROBLEMS);
            Err(Problems(problems))
        }
    }

    /// What a trap means: nothing where it is not listed, and more than one thing where it ends
    /// one state and begins another.
    #[must_use]
    pub fn meanings(&self, trap: &Trap) -> Vec<Meaning<'_>> {
        let entries = self.entries(&trap.oid).into_iter().flatten();
        entries.filter(|entry| entry.fits(trap)).map(|entry| self.meaning(entry, trap)).collect()
    }

    /// Whether a trap is listed at all.
    #[must_use]
    pub fn knows(&self, trap: &Oid) -> bool {
        self.entries(trap).is_some()
    }

    /// What a trap is called in its MIB, if it is listed.
    #[must_use]
    pub fn name(&self, trap: &Oid) -> Option<&str> {
        Some(&self.entries(trap)?.first()?.trap)
    }

    /// The entries of a trap. From an `SNMPv1` trap of an enterprise, a zero gets into the name that the
    /// MIB may not have (RFC 3584 3.1 (3)).
    fn entries(&self, trap: &Oid) -> Option<&Vec<Entry>> {
        self.by_trap.get(trap).or_else(|| {
            let [enterprise @ .., 0, specific] = trap.arcs() else { return None };
            let arcs = enterprise.iter().chain([specific]).copied().collect();
            self.by_trap.get(&Oid::new(arcs).ok()?)
        })
    }

    fn meaning<'a>(&'a self, entry: &'a Entry, trap: &Trap) -> Meaning<'a> {
        let subject = entry.subject_of(trap);
        let named = subject.parse::<Oid>().ok().and_then(|oid| self.words.get(&oid));
        let in_words = named.cloned().unwrap_or_else(|| Text::new(&*subject, &*subject));
        let shown = entry.shown_of(trap);
        let sentence = |template: &str, subject: &str, open: &str, close: &str| {
            let said = template.replace("{subject}", subject);
            if shown.is_empty() { said } else { format!("{said}{open}{}{close}", shown.join(", ")) }
        };
        Meaning {
            trap: &entry.trap,
            cause: &entry.cause,
            text: Text::new(
                sentence(&entry.text.en, &in_words.en, " (", ")"),
                sentence(&entry.text.zh, &in_words.zh, "（", "）"),
            ),
            subject,
            about: entry.about,
            act: entry.act,
        }
    }
}

impl Entry {
    fn fits(&self, trap: &Trap) -> bool {
        self.when.as_ref().is_none_or(|when| when.holds(trap))
            && !self.unless.as_ref().is_some_and(|unless| unless.holds(trap))
    }

    fn subject_of(&self, trap: &Trap) -> String {
        let found = match &self.subject {
            None => None,
            Some(Subject::Row(columns)) => columns.iter().find_map(|column| {
                let (row, _) = trap.value(column)?;
                Some(row.iter().map(ToString::to_string).collect::<Vec<_>>().join("."))
            }),
            Some(Subject::Value(names)) => {
                names.iter().find_map(|name| trap.value(name).and_then(|(_, value)| shown(value)))
            }
        };
        bounded(&found.unwrap_or_default())
    }

    /// What goes into the brackets behind the sentence. Every device says the same thing twice
    /// somewhere; once is enough.
    fn shown_of(&self, trap: &Trap) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for name in &self.shows {
            let said = trap.value(name).and_then(|(_, value)| shown(value));
            if let Some(said) = said.filter(|said| !said.is_empty() && !all.contains(said)) {
                all.push(said);
            }
        }
        all
    }
}

fn oid(source: &Source<'_>, written: &Spanned<String>) -> Result<Oid, Problem> {
    written
        .value
        .parse()
        .map_err(|error: crate::snmp::oid::NotAnOid| source.at(written, error.to_string()))
}

fn oids(source: &Source<'_>, written: &[Spanned<String>]) -> Result<Vec<Oid>, Problem> {
    written.iter().map(|written| oid(source, written)).collect()
}

fn condition(
    source: &Source<'_>,
    written: Option<&WrittenCondition>,
) -> Result<Option<Condition>, Problem> {
    written
        .map(|written| {
            Ok(Condition { value: oid(source, &written.value)?, is: written.is.clone() })
        })
        .transpose()
}

fn read(source: &Source<'_>, written: &Spanned<WrittenEntry>) -> Result<(Oid, Entry), Problem> {
    let entry = &written.value;
    let trap = oid(source, &entry.trap)?;
    let (cause, act) = match (&entry.raises, &entry.clears, &entry.notes) {
        (Some(cause), None, None) => {
            let severity = entry.severity.ok_or_else(|| {
                source.at(cause, "how bad is it?").help("add \"severity: warning\" or critical")
            })?;
            let lasts = entry.lasts.map(|Period(length)| length);
            (cause, Act::Raise { severity, lasts })
        }
        (None, Some(cause), None) => (cause, Act::Clear),
        (None, None, Some(cause)) => (cause, Act::Note),
        (None, None, None) => {
            return Err(source
                .at(written, "this trap does nothing")
                .help("add \"raises:\", \"clears:\" or \"notes:\" with the name of a cause"));
        }
        _ => {
            return Err(source
                .at(written, "a trap raises, clears or notes one cause")
                .help("write one entry for each; a trap may have several"));
        }
    };
    if !matches!(act, Act::Raise { .. }) && (entry.severity.is_some() || entry.lasts.is_some()) {
        return Err(source
            .at(cause, "only what is raised has a severity and a length")
            .help("remove \"severity:\" and \"lasts:\""));
    }
    let subject = match (&entry.row, &entry.value) {
        (None, None) => None,
        (Some(row), None) => Some(Subject::Row(oids(source, row)?)),
        (None, Some(value)) => Some(Subject::Value(oids(source, value)?)),
        (Some(_), Some(_)) => {
            return Err(source
                .at(written, "the subject is a row or a value")
                .help("remove \"row:\" or \"value:\""));
        }
    };
    let read = Entry {
        trap: entry.name.clone(),
        cause: cause.value.clone(),
        about: entry.about,
        act,
        subject,
        shows: oids(source, &entry.shows)?,
        when: condition(source, entry.when.as_ref())?,
        unless: condition(source, entry.unless.as_ref())?,
        text: Text::new(entry.en.clone(), entry.zh.clone()),
    };
    Ok((trap, read))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::snmp::oid::known;
    use crate::snmp::value::{Value, VarBind};
    use crate::trap::Proof;

    fn trap(oid: &str, values: &[(&str, Value)]) -> Trap {
        let values = values
            .iter()
            .map(|(oid, value)| VarBind::new(oid.parse().unwrap(), value.clone()))
            .collect();
        Trap::new(oid.parse().unwrap(), values, Proof::None)
    }

    fn text(text: &str) -> Value {
        Value::Octets(text.into())
    }

    /// Each meaning in one line.
    fn said(trap: &Trap) -> String {
        let catalogue = Catalogue::shipped();
        let line = |meaning: &Meaning<'_>| {
            let act = match meaning.act {
                Act::Raise { severity, lasts } => {
                    let lasts = lasts.map_or("until cleared".to_owned(), |l| format!("{l:?}"));
                    format!("raises {} {lasts}", severity.as_str())
                }
                Act::Clear => "clears".to_owned(),
                Act::Note => "notes".to_owned(),
            };
            let Meaning { cause, subject, text, .. } = meaning;
            format!("{act}: {cause}[{subject}]: {} | {}", text.en, text.zh)
        };
        catalogue.meanings(trap).iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn traps_of_every_kind_mean_what_their_rfc_or_vendor_says() {
        const IF: &str = "1.3.6.1.2.1.2.2.1";
        let column = |nth: u32, row: &str| format!("{IF}.{nth}.{row}");
        let cases = [
            trap(
                "1.3.6.1.6.3.1.1.5.3",
                &[
                    (&column(1, "7"), Value::Integer(7)),
                    (&column(7, "7"), Value::Integer(1)),
                    (&column(8, "7"), Value::Integer(2)),
                    (&column(2, "7"), text("GigabitEthernet0/7")),
                ],
            ),
            // Somebody switched it off.
            trap(
                "1.3.6.1.6.3.1.1.5.3",
                &[(&column(1, "7"), Value::Integer(7)), (&column(7, "7"), Value::Integer(2))],
            ),
            trap("1.3.6.1.6.3.1.1.5.4", &[(&column(1, "7"), Value::Integer(7))]),
            trap("1.3.6.1.6.3.1.1.5.1", &[]),
            trap("1.3.6.1.6.3.1.1.5.5", &[]),
            trap("1.3.6.1.2.1.33.2.1", &[("1.3.6.1.2.1.33.1.2.3.0", Value::Integer(21))]),
            trap(
                "1.3.6.1.2.1.33.2.3",
                &[(
                    "1.3.6.1.2.1.33.1.6.2.1.2.1",
                    Value::Oid(known(&[1, 3, 6, 1, 2, 1, 33, 1, 6, 3, 3])),
                )],
            ),
            trap(
                "1.3.6.1.2.1.33.2.4",
                &[(
                    "1.3.6.1.2.1.33.1.6.2.1.2.1",
                    Value::Oid(known(&[1, 3, 6, 1, 2, 1, 33, 1, 6, 3, 2])),
                )],
            ),
            trap("1.3.6.1.2.1.33.2.2", &[("1.3.6.1.2.1.33.1.7.3.0", Value::Integer(3))]),
            trap("1.3.6.1.2.1.33.2.2", &[("1.3.6.1.2.1.33.1.7.3.0", Value::Integer(1))]),
            trap("1.3.6.1.2.1.17.0.2", &[]),
            trap(
                "1.3.6.1.4.1.9.9.315.0.0.1",
                &[
                    (&column(1, "10103"), Value::Integer(10103)),
                    ("1.3.6.1.2.1.31.1.1.1.1.10103", text("Gi0/3")),
                    (
                        "1.3.6.1.4.1.9.9.315.1.2.1.1.10.10103",
                        Value::Octets(vec![0, 0x1b, 0x21, 0xff, 0xee, 1]),
                    ),
                ],
            ),
            trap(
                "1.3.6.1.4.1.9.9.13.3.0.4",
                &[
                    ("1.3.6.1.4.1.9.9.13.1.4.1.2.3", text("Fan 3")),
                    ("1.3.6.1.4.1.9.9.13.1.4.1.3.3", Value::Integer(3)),
                ],
            ),
            trap(
                "1.3.6.1.4.1.9.9.13.3.0.4",
                &[
                    ("1.3.6.1.4.1.9.9.13.1.4.1.2.3", text("Fan 3")),
                    ("1.3.6.1.4.1.9.9.13.1.4.1.3.3", Value::Integer(1)),
                ],
            ),
            trap(
                "1.3.6.1.4.1.2011.5.25.219.2.5.3",
                &[("1.3.6.1.2.1.47.1.1.1.1.7.5", text("PWR2"))],
            ),
            trap("1.3.6.1.4.1.318.0.5", &[("1.3.6.1.4.1.318.2.3.3.0", text("UPS: On battery."))]),
            trap("1.3.6.1.4.1.99999.1", &[]),
        ];
        insta::assert_snapshot!(cases.iter().map(said).collect::<Vec<_>>().join("\n--\n"));
    }

    #[test]
    fn what_is_cleared_is_raised_somewhere_and_a_state_that_never_clears_says_how_long_it_lasts() {
        let catalogue = Catalogue::shipped();
        let mut raised: BTreeMap<&str, Option<Duration>> = BTreeMap::new();
        let mut cleared = Vec::new();
        for entry in catalogue.by_trap.values().flatten() {
            match entry.act {
                Act::Raise { lasts, .. } => {
                    raised.insert(&entry.cause, lasts);
                }
                Act::Clear => cleared.push(entry.cause.as_str()),
                Act::Note => {}
            }
        }
        for cause in &cleared {
            assert!(raised.contains_key(cause), "nothing raises {cause}");
        }
        for (cause, lasts) in raised {
            assert!(lasts.is_some() || cleared.contains(&cause), "nothing ever ends {cause}");
        }
    }

    #[test]
    fn an_enterprise_trap_of_v1_is_the_same_trap() {
        // hh3cfanfailure is 25506.8.35.12.1.6; out of SNMPv1 comes 25506.8.35.12.1.0.6.
        let v2 = said(&trap("1.3.6.1.4.1.25506.8.35.12.1.6", &[]));
        let v1 = said(&trap("1.3.6.1.4.1.25506.8.35.12.1.0.6", &[]));
        assert!(!v2.is_empty());
        assert_eq!(v1, v2);
    }

    #[test]
    fn a_subject_is_bounded_whatever_the_device_sends() {
        let long = text(&"x".repeat(10_000));
        let alarm = trap("1.3.6.1.2.1.33.2.3", &[("1.3.6.1.2.1.33.1.6.2.1.2.1", long)]);
        let catalogue = Catalogue::shipped();
        let meanings = catalogue.meanings(&alarm);
        assert_eq!(meanings.len(), 1);
        assert!(meanings[0].subject.len() <= crate::fact::MAX_TEXT);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_place_and_what_to_write_instead() {
        let entry = |rest: &str| {
            format!("traps:\n  - {{trap: 1.3.6.1, name: x, about: device, en: x, zh: x{rest}}}\n")
        };
        let wrong = [
            entry(""),
            entry(", raises: x"),
            entry(", raises: x, severity: warning, clears: y"),
            entry(", clears: x, severity: warning"),
            entry(", notes: x, row: [1.3], value: [1.3]"),
            entry(", notes: x, shows: [hello]"),
            "traps: [{trap: 9.9, name: x, about: device, notes: x, en: x, zh: x}]".to_owned(),
        ];
        let said = wrong.map(|text| match Catalogue::parse("traps.yaml", &text) {
            Ok(_) => panic!("taken: {text}"),
            Err(problems) => problems.to_string(),
        });
        insta::assert_snapshot!(said.join("\n"));
    }
}
