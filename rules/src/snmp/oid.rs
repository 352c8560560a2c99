//! Object identifiers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most numbers in an object identifier (RFC 2578 3.5).
pub const MAX_ARCS: usize = 128;

/// An object identifier: the name of a value, of a table's column or of a kind of device. They are
/// ordered as agents walk them (RFC 2578 3.5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(Vec<u32>);

/// A text or a list of numbers that is no object identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an object identifier; write it as 1.3.6.1.2.1.1")]
pub struct NotAnOid {
    text: String,
}

/// The longest part of a refused text that the error repeats, in characters.
const SHOWN: usize = 64;

impl Oid {
    /// The identifier with these numbers: 2 to [`MAX_ARCS`], the first two as X.660 allows them.
    ///
    /// # Errors
    /// When there is none with these numbers.
    pub fn new(arcs: Vec<u32>) -> Result<Self, NotAnOid> {
        check(&arcs)?;
        Ok(Self(arcs))
    }

    /// Its numbers.
    #[must_use]
    pub fn arcs(&self) -> &[u32] {
        &self.0
    }

    /// Whether it is `root` or lies below it.
    #[must_use]
    pub fn is_under(&self, root: &Self) -> bool {
        self.0.starts_with(&root.0)
    }

    /// The numbers below `root`: in a column, the index of the row. `None` when it is not below.
    #[must_use]
    pub fn below(&self, root: &Self) -> Option<&[u32]> {
        self.0.strip_prefix(root.0.as_slice())
    }

    /// Becomes the row `index` of `column`, without taking other room. What would be longer than
    /// [`MAX_ARCS`] is cut there.
    pub fn become_row(&mut self, column: &Self, index: &[u32]) {
        self.0.clear();
        self.0.extend_from_slice(&column.0);
        self.0.extend_from_slice(index);
        self.0.truncate(MAX_ARCS);
    }

    /// The identifier of `further` below this one. What would be longer than [`MAX_ARCS`] is cut
    /// there.
    #[must_use]
    pub fn then(&self, further: &[u32]) -> Self {
        let mut arcs = self.0.clone();
        arcs.extend_from_slice(further);
        arcs.truncate(MAX_ARCS);
        Self(arcs)
    }
}

/// Whether these numbers are an object identifier: 2 to [`MAX_ARCS`], the first two as X.660 allows them.
///
/// # Errors
/// When they are none.
pub fn check(arcs: &[u32]) -> Result<(), NotAnOid> {
    let begins_well = match arcs {
        [0 | 1, second, ..] => *second < 40,
        // The first two share one number on the wire (X.690 8.19.4).
        [2, second, ..] => *second <= u32::MAX - 80,
        _ => false,
    };
    if begins_well && arcs.len() <= MAX_ARCS {
        return Ok(());
    }
    let text: Vec<String> = arcs.iter().take(SHOWN).map(ToString::to_string).collect();
    Err(NotAnOid { text: text.join(".").chars().take(SHOWN).collect() })
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, arc) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(".")?;
            }
            write!(f, "{arc}")?;
        }
        Ok(())
    }
}

impl FromStr for Oid {
    type Err = NotAnOid;
    /// As net-snmp writes it: a leading point is allowed.
    fn from_str(text: &str) -> Result<Self, NotAnOid> {
        let fail = || NotAnOid { text: text.chars().take(SHOWN).collect() };
        let arcs = text.strip_prefix('.').unwrap_or(text).split('.').take(MAX_ARCS + 1);
        let plain = |arc: &str| !arc.is_empty() && arc.bytes().all(|c| c.is_ascii_digit());
        let arcs: Option<Vec<u32>> =
            arcs.map(|arc| if plain(arc) { arc.parse().ok() } else { None }).collect();
        arcs.and_then(|arcs| Self::new(arcs).ok()).ok_or_else(fail)
    }
}

impl Serialize for Oid {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Oid {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

/// The identifier with these numbers, for the names that RFCs give.
///
/// # Panics
/// When there is none with these numbers: they stand in the code.
#[must_use]
pub fn known(arcs: &[u32]) -> Oid {
    Oid::new(arcs.to_vec()).expect("the identifiers in the code are those of RFCs")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_identifier_is_refused() {
        for text in ["", ".", "1", "1.", "1..3", "3.1", "1.40", "1.3.x", "1.3.-1", "1.3.4294967296"]
        {
            assert!(text.parse::<Oid>().is_err(), "{text}");
        }
        let long = format!("1.3{}", ".1".repeat(MAX_ARCS));
        assert!(long.parse::<Oid>().is_err());
        assert_eq!(".1.3.6".parse::<Oid>(), "1.3.6".parse());
    }

    #[test]
    fn a_row_is_what_stands_below_its_column() {
        let column = known(&[1, 3, 6, 1, 2, 1, 2, 2, 1, 2]);
        let cell = column.then(&[7]);
        assert_eq!(cell.below(&column), Some([7].as_slice()));
        assert!(cell.is_under(&column) && column.is_under(&column));
        assert_eq!(column.below(&cell), None);
        assert!(!known(&[1, 3, 6, 1, 2, 1, 2, 2, 1, 20]).is_under(&column));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(arcs in prop::collection::vec(any::<u32>(), 0..130)) {
            if let Ok(oid) = Oid::new(arcs) {
                prop_assert_eq!(oid.to_string().parse::<Oid>(), Ok(oid));
            }
        }
    }
}
