//! The words of a rule, and what belongs together.

/// Words of one rule at most.
const MAX_WORDS: usize = 4_096;

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    /// Whether it was between quotes: then it is never an option.
    pub quoted: bool,
}

impl Word {
    fn is_option(&self) -> bool {
        !self.quoted && self.text.len() > 1 && self.text.starts_with('-')
    }

    fn is_not(&self) -> bool {
        !self.quoted && self.text == "!"
    }

    pub(super) fn as_written(&self) -> String {
        if self.quoted { format!("{:?}", self.text) } else { self.text.clone() }
    }
}

/// Splits a line at blanks, but not between double quotes. A backslash there takes what follows
/// as it is (`xtables_save_string`).
pub(super) fn split(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut open: Option<Word> = None;
    let mut inside = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if inside => {
                let Some(next) = letters.next() else { break };
                open.get_or_insert_with(Word::empty).text.push(next);
            }
            '"' => {
                inside = !inside;
                open.get_or_insert_with(Word::empty).quoted = true;
            }
            letter if letter.is_whitespace() && !inside => words.extend(open.take()),
            letter => open.get_or_insert_with(Word::empty).text.push(letter),
        }
        if words.len() > MAX_WORDS {
            return Err(format!("more than {MAX_WORDS} words in one rule"));
        }
    }
    if inside {
        return Err("a quotation mark is opened and never closed".to_owned());
    }
    words.extend(open);
    Ok(words)
}

impl Word {
    fn empty() -> Self {
        Self { text: String::new(), quoted: false }
    }
}

/// Options that belong together: one match or one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub name: Section,
    pub all: Vec<Given>,
}

/// What options are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Section {
    /// Those that need no module: `-s`, `-p`, `-i` and so on.
    Core,
    /// `-m NAME`.
    Module(String),
    /// `-j NAME` or `-g NAME`.
    Target { name: String, goto: bool },
}

/// An option with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub name: String,
    pub not: bool,
    pub values: Vec<String>,
}

impl Options {
    const fn of(name: Section) -> Self {
        Self { name, all: Vec::new() }
    }

    /// The first value of an option.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        let found = self.all.iter().find(|given| given.name == name)?;
        found.values.first().map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|given| given.name == name)
    }

    /// All of it, as it was written.
    pub(super) fn text(&self) -> String {
        let mut words = Vec::new();
        match &self.name {
            Section::Core => {}
            Section::Module(name) => words.extend(["-m", name]),
            Section::Target { name, goto: false } => words.extend(["-j", name]),
            Section::Target { name, goto: true } => words.extend(["-g", name]),
        }
        for given in &self.all {
            if given.not {
                words.push("!");
            }
            words.push(&given.name);
            words.extend(given.values.iter().map(String::as_str));
        }
        words.join(" ")
    }
}

/// Sorts the words of a rule into what they are of. The first section is the core.
pub(super) fn sections(words: &[Word]) -> Vec<Options> {
    const CORE: [&str; 17] = [
        "-s",
        "-d",
        "-p",
        "-i",
        "-o",
        "-f",
        "-4",
        "-6",
        "-c",
        "--source",
        "--destination",
        "--protocol",
        "--in-interface",
        "--out-interface",
        "--fragment",
        "--ipv4",
        "--ipv6",
    ];
    let mut all = vec![Options::of(Section::Core)];
    let mut words = words.iter().peekable();
    let mut not = false;
    while let Some(word) = words.next() {
        if word.is_not() {
            not = true;
            continue;
        }
        let name = word.text.as_str();
        let mut values = Vec::new();
        // Older versions wrote the mark behind the option.
        let not_behind = words.next_if(|next| next.is_not()).is_some();
        while let Some(value) = words.next_if(|next| !next.is_option() && !next.is_not()) {
            values.push(value.text.clone());
        }
        let first = values.first().cloned().unwrap_or_default();
        match name {
            "-m" | "--match" => all.push(Options::of(Section::Module(first))),
            "-j" | "--jump" => {
                all.push(Options::of(Section::Target { name: first, goto: false }));
            }
            "-g" | "--goto" => all.push(Options::of(Section::Target { name: first, goto: true })),
            _ => {
                let place = if CORE.contains(&name) { 0 } else { all.len() - 1 };
                let given = Given { name: name.to_owned(), not: not || not_behind, values };
                all[place].all.push(given);
            }
        }
        not = false;
    }
    all
}
