//! Whole tables out of single answers.
//!
//! A table is walked column by column side by side, with GETBULK where the device knows it. How
//! much the device can answer at once is learnt: what is too much for it is halved and remembered.
//! So is how long its tables are, so that a device is not asked for what follows them. A walk gives the
//! whole table or an error.

use std::collections::BTreeMap;

use crate::poll::oid::Oid;
use crate::poll::snmp::{MAX_NAMES, MAX_REPETITIONS, Snmp, SnmpError, Status, VarBinds};
use crate::poll::value::Value;

/// The most values of one table. A core switch has 32,768 MAC addresses in 3 columns.
pub const MAX_VALUES: usize = 131_072;

/// How much a device answers at once: begun with care, learnt from its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    names: usize,
    repetitions: u16,
    /// The most repetitions that it answered in full; 0 when it has not yet.
    good: u16,
    /// The fewest that were too many.
    too_many: u16,
    /// How many rows each column of a table had when it was last walked, by the table's name. There are as
    /// many tables as profiles.
    lengths: BTreeMap<Oid, Vec<usize>>,
}

/// Repetitions of the first question.
const FIRST_REPETITIONS: u16 = 8;
/// Names of the first question.
const FIRST_NAMES: usize = 12;

impl Default for Learned {
    fn default() -> Self {
        Self {
            names: FIRST_NAMES,
            repetitions: FIRST_REPETITIONS,
            good: 0,
            too_many: MAX_REPETITIONS + 1,
            lengths: BTreeMap::new(),
        }
    }
}

impl Learned {
    /// How many names it takes in one question.
    #[must_use]
    pub const fn names(&self) -> usize {
        self.names
    }

    /// How many repetitions it takes in one question.
    #[must_use]
    pub const fn repetitions(&self) -> u16 {
        self.repetitions
    }

    /// It answered all that was asked: more may be asked next time, up to what was too much once.
    fn enough(&mut self) {
        self.good = self.good.max(self.repetitions);
        let between = u16::midpoint(self.good, self.too_many);
        self.repetitions = (self.good * 2).min(between).min(MAX_REPETITIONS);
    }

    /// So many names and repetitions were too much. Whether less can be asked.
    fn too_much(&mut self, names: usize, repetitions: u16) -> bool {
        if repetitions > 1 {
            self.too_many = repetitions;
            if self.good >= self.too_many {
                self.good = 0;
            }
            self.repetitions = if self.good > 0 { self.good } else { repetitions / 2 };
            true
        } else if names > 1 {
            self.names = names / 2;
            true
        } else {
            false
        }
    }

    /// Nothing came, asked for so many repetitions. Whether it is worth to ask for the least: large answers
    /// come in pieces, which firewalls and old devices lose without a word.
    fn silent(&mut self, repetitions: u16) -> bool {
        let worth = repetitions > 1;
        if worth {
            self.too_many = repetitions;
            self.good = 0;
            self.repetitions = 1;
        }
        worth
    }

    /// How many repetitions to ask for these columns of a table, of which the walk has so many rows: what
    /// is left of them, and one more to see their end.
    fn repetitions_for(&self, root: &Oid, asked: &[usize], had: &[usize]) -> u16 {
        let Some(lengths) = self.lengths.get(root) else { return self.repetitions };
        let left = |column: &usize| {
            let length = lengths.get(*column).copied().unwrap_or_default();
            // One that has grown may have grown much.
            length.checked_sub(had[*column]).map_or(usize::MAX, |left| left + 1)
        };
        let left = asked.iter().map(left).max().unwrap_or(1);
        u16::try_from(left).map_or(self.repetitions, |left| left.min(self.repetitions))
    }
}

/// The rows of a table by their index. A scalar is a column with the one row 0.
pub type Rows = BTreeMap<Vec<u32>, Cells>;

/// The values that a device gave for one row, by column as they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cells(Vec<Option<Value>>);

impl Cells {
    /// The value of a column, if the device gave one.
    #[must_use]
    pub fn get(&self, column: usize) -> Option<&Value> {
        self.0.get(column)?.as_ref()
    }

    /// Gives a column its value.
    pub fn set(&mut self, column: usize, value: Value) {
        if self.0.len() <= column {
            self.0.resize(column + 1, None);
        }
        self.0[column] = Some(value);
    }

    /// How many columns have one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Whether no column has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// See [`Value::number`].
    #[must_use]
    pub fn number(&self, column: usize) -> Option<u64> {
        self.get(column).and_then(Value::number)
    }

    /// See [`Value::integer`].
    #[must_use]
    pub fn integer(&self, column: usize) -> Option<i64> {
        self.get(column).and_then(Value::integer)
    }

    /// See [`Value::text`].
    #[must_use]
    pub fn text(&self, column: usize) -> Option<String> {
        self.get(column).and_then(Value::text)
    }

    /// See [`Value::octets`].
    #[must_use]
    pub fn octets(&self, column: usize) -> Option<&[u8]> {
        self.get(column).and_then(Value::octets)
    }
}

impl FromIterator<(usize, Value)> for Cells {
    /// Columns with their values.
    fn from_iter<T: IntoIterator<Item = (usize, Value)>>(cells: T) -> Self {
        let mut row = Self::default();
        for (column, value) in cells {
            row.set(column, value);
        }
        row
    }
}

/// Walks the columns of the table `root`. A column that the device does not have is empty; a row
/// may lack some columns, as in sparse tables and when a row comes or goes meanwhile.
///
/// # Errors
/// When any question fails for good, the device does not advance, or it has more than
/// [`MAX_VALUES`].
pub async fn rows<S: Snmp>(
    session: &S,
    root: &Oid,
    columns: &[Oid],
    learned: &mut Learned,
) -> Result<Rows, SnmpError> {
    let mut rows = Rows::new();
    let mut values = 0;
    let mut begun = false;
    let mut walk = Walk::of(columns);
    loop {
        let asked = walk.next(learned.names.min(MAX_NAMES));
        if asked.is_empty() {
            learned.lengths.insert(root.clone(), walk.had);
            return Ok(rows);
        }
        let names: Vec<Oid> = asked.iter().map(|column| walk.at[*column].clone()).collect();
        let repetitions = learned.repetitions_for(root, &asked, &walk.had);
        let answer = match ask(session, &names, repetitions, learned).await {
            Ok(answer) => answer,
            Err(Asked::Again) => continue,
            Err(Asked::End) if names.len() == 1 => {
                walk.done[asked[0]] = true;
                continue;
            }
            // SNMPv1 does not say which of them has ended.
            Err(Asked::End) => {
                walk.alone = true;
                continue;
            }
            Err(Asked::Failed(why)) if begun => {
                return Err(SnmpError::Partial { table: root.clone(), why: Box::new(why) });
            }
            Err(Asked::Failed(why)) => return Err(why),
        };
        answer.each(|nth, name, value| {
            let column = asked[nth % asked.len()];
            let Some((index, value)) = walk.step(column, columns, name, value)? else {
                return Ok(());
            };
            begun = true;
            values += 1;
            if values > MAX_VALUES {
                return Err(SnmpError::TooMany { table: root.clone(), most: MAX_VALUES });
            }
            // Most values are of a row that is there: its index is not copied for each of them.
            if let Some(row) = rows.get_mut(index) {
                row.set(column, value);
            } else {
                let mut row = Cells(Vec::with_capacity(columns.len()));
                row.set(column, value);
                rows.insert(index.to_vec(), row);
            }
            Ok(())
        })?;
    }
}

/// Where a walk stands in every column.
struct Walk {
    at: Vec<Oid>,
    /// How many rows came of each.
    had: Vec<usize>,
    done: Vec<bool>,
    /// Whether columns are asked one by one.
    alone: bool,
}

impl Walk {
    fn of(columns: &[Oid]) -> Self {
        let (had, done) = (vec![0; columns.len()], vec![false; columns.len()]);
        Self { at: columns.to_vec(), had, done, alone: false }
    }

    /// The columns to ask next, at most `most` of them.
    fn next(&self, most: usize) -> Vec<usize> {
        let most = if self.alone { 1 } else { most };
        (0..self.at.len()).filter(|column| !self.done[*column]).take(most).collect()
    }

    /// Takes what came for a column: its row and value, or nothing when the column has ended.
    fn step<'n>(
        &mut self,
        column: usize,
        columns: &[Oid],
        name: &'n [u32],
        value: Value,
    ) -> Result<Option<(&'n [u32], Value)>, SnmpError> {
        if self.done[column] {
            return Ok(None);
        }
        if value == Value::EndOfMib {
            self.done[column] = true;
            return Ok(None);
        }
        if name <= self.at[column].arcs() {
            let with = Oid::new(name.to_vec());
            let with = with.map_err(|e| SnmpError::Malformed { why: e.to_string() })?;
            let after = self.at[column].clone();
            return Err(SnmpError::Looping { after, with });
        }
        let Some(index) = name.strip_prefix(columns[column].arcs()) else {
            self.done[column] = true;
            return Ok(None);
        };
        self.at[column].become_row(&columns[column], index);
        self.had[column] += 1;
        Ok(value.is_there().then_some((index, value)))
    }
}

/// `genErr` (RFC 3416 3).
const GEN_ERR: i32 = 5;

/// What came of a question within a walk, other than an answer.
enum Asked {
    /// Less was learnt to be asked for.
    Again,
    /// SNMPv1's end of everything.
    End,
    /// It failed for good.
    Failed(SnmpError),
}

async fn ask<S: Snmp>(
    session: &S,
    names: &[Oid],
    repetitions: u16,
    learned: &mut Learned,
) -> Result<VarBinds, Asked> {
    let bulk = session.knows_bulk();
    let answer = if bulk {
        session.get_bulk(names, repetitions).await
    } else {
        session.get_next(names).await.and_then(VarBinds::of)
    };
    match answer {
        Ok(answer) if answer.len() < names.len() => {
            let why = format!("{} values after {} names", answer.len(), names.len());
            // A first round that is cut may be one that did not fit.
            if bulk && !answer.is_empty() && learned.too_much(names.len(), repetitions) {
                Err(Asked::Again)
            } else {
                Err(Asked::Failed(SnmpError::Malformed { why }))
            }
        }
        Ok(answer) => {
            let all = answer.len() == names.len() * usize::from(repetitions);
            // Of a question that was kept short nothing is learnt.
            if bulk && all && repetitions == learned.repetitions {
                learned.enough();
            }
            Ok(answer)
        }
        Err(SnmpError::Status { status: Status::NoSuchName, .. }) if !bulk => Err(Asked::End),
        // net-snmp says genErr of an answer that its own limit of SNMPv3 does not let it send.
        Err(SnmpError::Status {
            status: status @ (Status::TooBig | Status::Other(GEN_ERR)),
            at,
        }) => {
            // Where there are no repetitions, only names can be fewer.
            if learned.too_much(names.len(), if bulk { repetitions } else { 1 }) {
                Err(Asked::Again)
            } else {
                Err(Asked::Failed(SnmpError::Status { status, at }))
            }
        }
        Err(SnmpError::Silent { .. }) if bulk && learned.silent(repetitions) => Err(Asked::Again),
        Err(other) => Err(Asked::Failed(other)),
    }
}
