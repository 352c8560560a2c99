//! How a command ends: the exit codes, and failures in words for people.

use std::process::ExitCode;

use bailey_rules::text::Text;

/// The exit codes. Every command but `check` ends with one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Ok,
    /// It could not be done.
    Error,
    /// The command line is wrong.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// The caller may not do this.
    Denied,
    /// A person must confirm it first.
    NeedsConfirmation,
    /// With `--exit-code`: a critical finding is open. With `--dry-run`: something would change. Of
    /// `snmp doctor` and `device add`: the device has a fault.
    Findings,
    /// No collector answers, or the one host that something is for is not connected to it.
    Unreachable,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::NeedsConfirmation => 5,
            Self::Findings => 6,
            Self::Unreachable => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was asked: what, where, and what next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// The words for people.
    pub words: Text,
}

impl Failure {
    /// A failure that ends with `exit`.
    pub fn new(exit: Exit, en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self { exit, words: Text::new(en, zh) }
    }

    /// A failure of the general kind.
    pub fn error(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self::new(Exit::Error, en, zh)
    }
}

/// What a command has to say when it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// For standard output, with its last line ended.
    pub text: String,
    /// The number the program ends with.
    pub code: u8,
}

impl Done {
    /// Says `text`, and all went well.
    pub fn said(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: Exit::Ok.code() }
    }

    /// The same with another ending.
    #[must_use]
    pub fn ending(self, code: u8) -> Self {
        Self { code, ..self }
    }
}
