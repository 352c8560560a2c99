//! Files that people write, in YAML: bounded, strict, and with errors that show where and what to
//! write instead.
//!
//! Not everything that YAML allows is taken: one document a file, no anchors, aliases or merge
//! keys, no tags, no key twice. Those are the parts that make a file mean something other than it
//! shows, or that make a small file large.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::{DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, MessageFormatter};

pub use serde_yaml::Spanned;

/// The longest file taken, in octets.
pub const MAX_FILE: usize = 4 * 1024 * 1024;
/// The deepest nesting taken.
pub const MAX_DEPTH: usize = 16;
/// The most nodes (mappings, sequences, scalars) taken.
pub const MAX_NODES: usize = 100_000;
/// The most problems that one file is told of at once.
pub const MAX_PROBLEMS: usize = 50;
/// The longest key, in characters; what YAML itself allows for a simple key (YAML 1.2.2, 7.4.2).
const MAX_KEY: usize = 1024;
/// The longest part of a source line that a problem shows, in characters.
const SHOWN_LINE: usize = 120;
/// The longest message, in characters.
const SHOWN_MESSAGE: usize = 1000;
/// The longest part of a wrong word that a message repeats, in characters.
const SHOWN_WORD: usize = 64;

/// One thing that is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file as it was named by whoever read it.
    pub file: String,
    /// The line, from 1 on; 0 when the problem is of the file as a whole.
    pub line: u64,
    /// The column in characters, from 1 on; 0 when the problem is of the file as a whole.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// The line itself, cut to a bounded length; empty when there is none.
    pub source_line: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message)?,
        }
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        if self.source_line.is_empty() {
            return Ok(());
        }
        let number = self.line.to_string();
        let before = usize::try_from(self.column.saturating_sub(1)).unwrap_or(0);
        let shown: String = self.source_line.chars().take(before).map(blank).collect();
        write!(f, "\n  {number} | {}", self.source_line)?;
        if before > self.source_line.chars().count() {
            // The line was cut before the place.
            return Ok(());
        }
        write!(f, "\n  {:width$} | {shown}^", "", width = number.len())
    }
}

/// A blank as wide as the character on a terminal, so that the caret stands below its column.
fn blank(c: char) -> char {
    /// First character of the blocks that terminals draw two columns wide (Unicode UAX #11).
    const FIRST_WIDE: char = '\u{1100}';
    if c >= FIRST_WIDE { '\u{3000}' } else { ' ' }
}

/// Everything that is wrong in a file, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A file's name and text: makes problems that point into it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file as it is called in problems.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
}

impl Source<'_> {
    /// The problem `message` at a place of the file.
    pub fn problem(&self, at: Location, message: impl Into<String>) -> Problem {
        let source_line = usize::try_from(at.line())
            .ok()
            .and_then(|line| self.text.lines().nth(line.checked_sub(1)?))
            .map(|line| printable(line.strip_prefix('\u{feff}').unwrap_or(line), SHOWN_LINE))
            .unwrap_or_default();
        Problem {
            file: self.file.to_owned(),
            line: at.line(),
            column: at.column(),
            message: printable(&message.into(), SHOWN_MESSAGE),
            source_line,
            help: None,
        }
    }

    /// The problem `message` at a value of the file.
    pub fn at<T>(&self, value: &Spanned<T>, message: impl Into<String>) -> Problem {
        self.problem(value.referenced, message)
    }

    /// The problem `message` of a line as a whole.
    #[must_use]
    pub fn line(&self, line: u64, message: impl Into<String>) -> Problem {
        let written =
            usize::try_from(line).ok().and_then(|line| self.text.lines().nth(line.checked_sub(1)?));
        let written = written.unwrap_or_default();
        let indent = written.chars().take_while(|c| matches!(c, ' ' | '-')).count();
        Problem {
            file: self.file.to_owned(),
            line,
            column: indent as u64 + 1,
            message: printable(&message.into(), SHOWN_MESSAGE),
            source_line: printable(written.strip_prefix('\u{feff}').unwrap_or(written), SHOWN_LINE),
            help: None,
        }
    }

    /// The problem `message` of the file as a whole.
    pub fn whole(&self, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            source_line: String::new(),
            help: None,
        }
    }
}

impl Problem {
    /// With what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(printable(&help.into(), SHOWN_MESSAGE));
        self
    }

    /// With `did you mean "…"?` when one of `candidates` is close to `word`.
    #[must_use]
    pub fn or_meant<'a>(self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match suggest(word, candidates) {
            Some(meant) => self.help(format!("did you mean \"{meant}\"?")),
            None => self,
        }
    }
}

/// Reads `text` as one YAML document. `file` is only the name used in problems.
///
/// # Errors
/// The first thing that is not as the type demands, or beyond [`MAX_FILE`], [`MAX_DEPTH`] or
/// [`MAX_NODES`].
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Problems> {
    let source = Source { file, text };
    if text.len() > MAX_FILE {
        let size = text.len();
        return Err(Problems(vec![
            source.whole(format!("the file has {size} octets; at most {MAX_FILE} are read")),
        ]));
    }
    serde_yaml::from_str_with_options(text, options()).map_err(|error| {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        Problems(vec![explain(&source, at, error.without_snippet())])
    })
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_reader_input_bytes: Some(MAX_FILE),
            simple_key_max_lookahead: MAX_KEY,
            flow_nesting_limit: MAX_DEPTH,
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 4,
            max_documents: 1,
            max_aliases: 0,
            max_anchors: 0,
            max_merge_keys: 0,
            max_total_scalar_bytes: MAX_FILE,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        emit_comments: false,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Says in the words of the people who write such files what the parser found.
fn explain(source: &Source<'_>, at: Location, error: &Error) -> Problem {
    let problem = |message: String| source.problem(at, message);
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let problem = problem(format!(
                "\"{}\" is not a key here (keys: {})",
                cut(field),
                expected.join(", ")
            ));
            problem.or_meant(field, expected.iter().copied())
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let problem = problem(format!(
                "\"{}\" is not known here (known: {})",
                cut(variant),
                expected.join(", ")
            ));
            problem.or_meant(variant, expected.iter().copied())
        }
        Error::SerdeMissingField { field, .. } => {
            problem(format!("the key \"{field}\" is missing")).help(format!("add \"{field}:\""))
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map(cut).unwrap_or_default();
            problem(format!("the key \"{key}\" stands here for the second time"))
                .help("keep one of the two")
        }
        Error::MergeKeyNotAllowed { .. } => {
            problem("merge keys (<<) are not taken".to_owned()).help("write the keys out")
        }
        Error::MultipleDocuments { .. } => problem("a second document begins here".to_owned())
            .help("one file holds one document: remove the line ---"),
        Error::UnsupportedTag { tag, .. } => {
            problem(format!("the tag \"{}\" is not taken", cut(tag))).help("remove it")
        }
        Error::Budget { breach, .. } => explain_breach(source, at, breach),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            problem(format!("here stands {}, but {expected} is wanted", cut(unexpected)))
        }
        Error::Unexpected { expected, .. } => problem(format!("{} wanted here", wanted(expected))),
        Error::InvalidScalar { ty, .. } => problem(format!("{} wanted here", wanted(ty))),
        Error::InvalidBooleanStrict { .. } => {
            problem("this is neither true nor false".to_owned()).help("write true or false")
        }
        Error::Eof { .. } => problem("the file ends too early or is empty".to_owned()),
        Error::NullIntoString { .. } => {
            problem("nothing stands here, but a text is wanted".to_owned())
                .help("write a text, or remove the key")
        }
        // The parser's error enum is open; the rest are its own sentences.
        other => {
            let words = serde_yaml::UserMessageFormatter;
            problem(words.format_message(other).lines().next().unwrap_or_default().to_owned())
        }
    }
}

/// What the parser wanted, in the words of people.
fn wanted(parser_word: &str) -> String {
    match parser_word {
        "mapping start" => "keys with values (name: ...) are".to_owned(),
        "sequence start" => "a list ([a, b], or lines that begin with -) is".to_owned(),
        "string scalar" | "scalar" => "a text is".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on is".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number is".to_owned(),
        "floating point" | "f32" | "f64" => "a number is".to_owned(),
        "boolean" => "true or false is".to_owned(),
        other => format!("{other} is"),
    }
}

fn explain_breach(source: &Source<'_>, at: Location, breach: &BudgetBreach) -> Problem {
    let problem = |message: String| source.problem(at, message);
    match breach {
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. } => {
            problem("anchors (&name) and aliases (*name) are not taken".to_owned())
                .help("write the value out")
        }
        BudgetBreach::MergeKeys { .. } => {
            problem("merge keys (<<) are not taken".to_owned()).help("write the keys out")
        }
        BudgetBreach::Depth { .. } => problem(format!("nested deeper than {MAX_DEPTH} levels")),
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            problem(format!("more than {MAX_NODES} values in one file"))
        }
        BudgetBreach::Documents { .. } => problem("a second document begins here".to_owned())
            .help("one file holds one document: remove the line ---"),
        // The parser's enum is open; every other limit is one of size.
        _ => problem("the file is larger than is read".to_owned()),
    }
}

fn cut(word: &str) -> String {
    printable(word, SHOWN_WORD)
}

/// At most `most` characters of a text, without those that would move a terminal's cursor.
fn printable(text: &str, most: usize) -> String {
    let harmless = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(most).map(harmless).collect()
}

/// The candidate that `word` was probably meant to be: the nearest by edits (insert, delete,
/// replace, swap of neighbours), if no more than a third of its letters are wrong. One or two letters
/// are no typing error but another word.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(SHOWN_WORD).collect();
    let most = word.len() / 3;
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count() <= SHOWN_WORD)
        .map(|candidate| (edits(&word, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|&(distance, _)| distance <= most)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance. Both lengths are bounded by [`SHOWN_WORD`].
fn edits(a: &[char], b: &[char]) -> usize {
    let mut older: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(older[j - 2] + 1);
            }
            row[j] = least;
        }
        older = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}
