//! What is refused, and how it is named.

use bailey_rules::fact::{MAX_TEXT, bounded, disturbs};
use bailey_rules::time::Timestamp;
use bailey_rules::unit::{Bytes, Permille};

/// A message that cannot be what it says: which field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConvertError {
    /// The path to the field, such as `changed[3].interface.addresses[0].prefix`.
    pub field: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It must be there.
    #[error("is missing")]
    Missing,
    /// The octets are no protobuf message of this type.
    #[error("cannot be decoded ({0})")]
    Malformed(String),
    /// A text beyond [`MAX_TEXT`].
    #[error("has {octets} octets, at most {MAX_TEXT} are taken")]
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// A list beyond its bound.
    #[error("has {count} entries, at most {most} are taken")]
    TooMany {
        /// Its length.
        count: usize,
        /// The bound.
        most: usize,
    },
    /// A text with control characters, which a terminal or a log might obey.
    #[error("contains control characters")]
    ControlCharacter,
    /// A number outside what it stands for.
    #[error("is {value}, {rule}")]
    OutOfRange {
        /// The number.
        value: u64,
        /// What it may be.
        rule: &'static str,
    },
    /// A string of octets of the wrong length.
    #[error("has {octets} octets instead of {wanted}")]
    WrongLength {
        /// Its length.
        octets: usize,
        /// What it must have.
        wanted: &'static str,
    },
    /// Something that may stand there only once.
    #[error("names {0} twice")]
    Twice(&'static str),
    /// The reading is of another kind than the entry says.
    #[error("is not a reading of the kind named")]
    WrongKind,
    /// A word from a newer version of the protocol.
    #[error("has the number {0}, which this version does not know")]
    Newer(i32),
}

impl ConvertError {
    pub(super) fn new(field: &str, problem: Problem) -> Self {
        Self { field: field.into(), problem }
    }
}

/// Puts the path walked so far before the field of an error.
pub(super) trait Within<T> {
    /// In the message `part`.
    fn within(self, part: &str) -> Result<T, ConvertError>;
    /// In entry `index` of the list `part`.
    fn within_entry(self, part: &str, index: usize) -> Result<T, ConvertError>;
}

impl<T> Within<T> for Result<T, ConvertError> {
    fn within(self, part: &str) -> Self {
        self.map_err(|error| ConvertError {
            field: format!("{part}.{}", error.field),
            problem: error.problem,
        })
    }

    fn within_entry(self, part: &str, index: usize) -> Self {
        self.map_err(|error| {
            let dot = if error.field.is_empty() { "" } else { "." };
            ConvertError {
                field: format!("{part}[{index}]{dot}{}", error.field),
                problem: error.problem,
            }
        })
    }
}

/// A text as it came: refused beyond [`MAX_TEXT`] octets or with characters that disturb what is
/// shown beside it, which no agent sends, because [`said`] takes them out.
pub(super) fn text(field: &str, value: String) -> Result<String, ConvertError> {
    if value.len() > MAX_TEXT {
        let octets = value.len();
        return Err(ConvertError::new(field, Problem::TooLong { octets }));
    }
    if value.chars().any(disturbs) {
        return Err(ConvertError::new(field, Problem::ControlCharacter));
    }
    Ok(value)
}

/// A text as it is sent.
pub(super) fn said(value: &str) -> String {
    bounded(value)
}

/// Converts a list entry by entry, after its length was found to be within `most`.
pub(super) fn list<In, Out>(
    field: &str,
    entries: Vec<In>,
    most: usize,
    convert: impl Fn(In) -> Result<Out, ConvertError>,
) -> Result<Vec<Out>, ConvertError> {
    fits(field, entries.len(), most)?;
    entries
        .into_iter()
        .enumerate()
        .map(|(index, entry)| convert(entry).within_entry(field, index))
        .collect()
}

/// A list of texts as it came.
pub(super) fn texts(
    field: &str,
    entries: Vec<String>,
    most: usize,
) -> Result<Vec<String>, ConvertError> {
    list(field, entries, most, |entry| text("", entry))
}

/// A list of texts as it is sent.
pub(super) fn said_all(
    field: &str,
    entries: &[String],
    most: usize,
) -> Result<Vec<String>, ConvertError> {
    fits(field, entries.len(), most)?;
    Ok(entries.iter().map(|entry| said(entry)).collect())
}

/// Refuses a list of `count` entries beyond `most`.
pub(super) fn fits(field: &str, count: usize, most: usize) -> Result<(), ConvertError> {
    if count > most {
        return Err(ConvertError::new(field, Problem::TooMany { count, most }));
    }
    Ok(())
}

/// A part of a whole.
pub(super) fn permille(field: &str, value: u32) -> Result<Permille, ConvertError> {
    match u16::try_from(value) {
        Ok(part @ 0..=1000) => Ok(Permille(part)),
        _ => Err(ConvertError::new(
            field,
            Problem::OutOfRange { value: value.into(), rule: "more than the whole (1000)" },
        )),
    }
}

/// Octets of a fixed length.
pub(super) fn octets<const LENGTH: usize>(
    field: &str,
    value: &[u8],
    wanted: &'static str,
) -> Result<[u8; LENGTH], ConvertError> {
    value
        .try_into()
        .map_err(|_| ConvertError::new(field, Problem::WrongLength { octets: value.len(), wanted }))
}

/// What must be there.
pub(super) fn present<T>(field: &str, value: Option<T>) -> Result<T, ConvertError> {
    value.ok_or_else(|| ConvertError::new(field, Problem::Missing))
}

/// A size.
pub(super) fn size(value: Option<u64>) -> Option<Bytes> {
    value.map(Bytes)
}

/// A point in time.
pub(super) fn time(value: Option<i64>) -> Option<Timestamp> {
    value.map(Timestamp::from_millis)
}
