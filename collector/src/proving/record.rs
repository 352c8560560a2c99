//! Answers on disk: what was known of each invariant, from when until when.
//!
//! A row is one answer: it began at `from_at` and was last seen to hold at `to_at`. While nothing is
//! written (the collector was away, a host was silent) no row grows, so that the question what held
//! at some time is never answered with what nobody looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bailey_rules::prove::site::told::{Proof, Standing};
use bailey_rules::time::Timestamp;
use rusqlite::{Connection, Transaction, params};
use tracing::warn;

use super::{CONFIRMED_WRITTEN, FRESH_FOR, Known};
use crate::journal::{NewEvent, RETENTION, RETENTION_STEP};
use crate::site::Site;
use crate::store::StoreError;

/// The most rows that are kept; the oldest go first.
pub(crate) const MAX_KEPT: i64 = 200_000;

/// The most rows of one answer about the history of an invariant.
pub(crate) const MAX_ROWS: usize = 200;

/// The table; the store makes it.
pub(crate) const TABLES: &str = "
    CREATE TABLE proof (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        invariant TEXT NOT NULL,
        from_at INTEGER NOT NULL,
        to_at INTEGER NOT NULL,
        inputs TEXT NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (invariant, from_at)
    ) STRICT;
";

/// One answer of the history.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Since when it was the answer.
    pub(crate) from: Timestamp,
    /// When it was last seen to hold; before `from` where it never was.
    pub(crate) to: Timestamp,
    /// The answer as it was first given.
    pub(crate) proof: Proof,
}

impl Row {
    /// What the answer amounted to at a time at which it was the newest.
    #[must_use]
    pub(crate) fn standing_at(&self, at: Timestamp) -> Standing {
        self.proof.standing(self.to.age(at) <= FRESH_FOR)
    }
}

/// What of each answer is on disk.
#[derive(Debug, Default)]
pub(super) struct Record {
    written: BTreeMap<String, Written>,
}

/// A row as it was written last.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// Where the row begins.
    from: Timestamp,
    /// Until when it says that its answer holds.
    to: Timestamp,
    /// Since when the answer is what it is; later than `from` where changes were too many for rows of
    /// their own.
    since: Timestamp,
    /// The worst answer in it.
    standing: Standing,
}

/// A change of one row.
enum Change {
    /// A row of its own.
    New { from: Timestamp, to: Timestamp, proof: Arc<Proof> },
    /// The answer holds; with a proof: it is that one from now on, and the one before is forgotten.
    Holds { invariant: String, from: Timestamp, instead: Option<Arc<Proof>> },
}

/// What is to be written besides the answers themselves.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The answers that say something of what is there now. Of the others it is not written that they
    /// hold.
    pub(super) fresh: BTreeSet<String>,
    /// Those that change too often. The worst of them stands for all.
    pub(super) flapping: BTreeSet<String>,
    pub(super) events: Vec<NewEvent>,
}

impl Record {
    /// What was read at start. That those still hold is seen at the first proof.
    pub(super) fn of(known: &Known) -> Self {
        let written = known.answers.iter().map(|(name, held)| {
            let written = Written {
                from: held.since,
                to: Timestamp::EPOCH,
                since: held.since,
                standing: held.proof.standing(true),
            };
            (name.clone(), written)
        });
        Self { written: written.collect() }
    }

    /// Writes down what has changed.
    pub(super) async fn write(
        &mut self,
        site: &Site,
        known: &Known,
        beside: Beside,
        now: Timestamp,
    ) {
        let mut changes = Vec::new();
        for (name, held) in &known.answers {
            let standing = held.proof.standing(true);
            let is_flapping = beside.flapping.contains(name);
            match self.written.get_mut(name) {
                Some(written) if written.since == held.since => {
                    if beside.fresh.contains(name) && written.to.age(now) >= CONFIRMED_WRITTEN {
                        written.to = now;
                        changes.push(written.holds(name, None));
                    }
                }
                Some(written) if is_flapping => {
                    (written.since, written.to) = (held.since, now);
                    let is_worse = standing > written.standing;
                    written.standing = standing.max(written.standing);
                    let instead = is_worse.then(|| Arc::clone(&held.proof));
                    changes.push(written.holds(name, instead));
                }
                Some(_) | None => {
                    let from = held.since;
                    // One that was never an answer about what was there is not said to have held.
                    let to = held.seen_at.unwrap_or(Timestamp::EPOCH);
                    self.written.insert(name.clone(), Written { from, to, since: from, standing });
                    changes.push(Change::New { from, to, proof: Arc::clone(&held.proof) });
                }
            }
        }
        self.written.retain(|name, _| known.answers.contains_key(name));
        let events = beside.events;
        if changes.is_empty() && events.is_empty() {
            return;
        }
        let job = move |store: &Transaction<'_>| {
            changes
                .iter()
                .try_for_each(|change| change.write(store, now))
                .and_then(|()| events.iter().try_for_each(|event| event.insert(store)))
                .map_err(StoreError::failed("write proofs"))
        };
        if let Err(error) = site.store().write::<_, StoreError, _>("write proofs", job).await {
            warn!(%error, "proofs are written down again at the next one");
            self.written.clear();
        }
    }
}

impl Written {
    fn holds(&self, invariant: &str, instead: Option<Arc<Proof>>) -> Change {
        Change::Holds { invariant: invariant.to_owned(), from: self.from, instead }
    }
}

fn body(proof: &Proof) -> rusqlite::Result<String> {
    serde_json::to_string(proof)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn inputs(proof: &Proof) -> &str {
    proof.basis.as_ref().map_or("", |basis| &basis.inputs)
}

impl Change {
    fn write(&self, store: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
        match self {
            Self::New { from, to, proof } => store
                .prepare_cached(
                    "INSERT INTO proof (invariant, from_at, to_at, inputs, body)
                     VALUES (?, ?, ?, ?, ?)
                     ON CONFLICT (invariant, from_at) DO UPDATE
                     SET to_at = excluded.to_at, inputs = excluded.inputs, body = excluded.body",
                )?
                .execute(params![
                    proof.invariant,
                    from.as_millis(),
                    to.as_millis(),
                    inputs(proof),
                    body(proof)?
                ])
                .map(drop),
            Self::Holds { invariant, from, instead } => store
                .prepare_cached(
                    "UPDATE proof SET to_at = ?, inputs = coalesce(?, inputs),
                     body = coalesce(?, body) WHERE invariant = ? AND from_at = ?",
                )?
                .execute(params![
                    now.as_millis(),
                    instead.as_deref().map(inputs),
                    instead.as_deref().map(body).transpose()?,
                    invariant,
                    from.as_millis()
                ])
                .map(drop),
        }
    }
}

fn row(from: i64, to: i64, body: &str) -> Option<Row> {
    match serde_json::from_str(body) {
        Ok(proof) => {
            Some(Row { from: Timestamp::from_millis(from), to: Timestamp::from_millis(to), proof })
        }
        Err(error) => {
            warn!(%error, "a stored proof cannot be read any more");
            None
        }
    }
}

fn rows(
    connection: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(query)?;
    let found = statement.query_map(parameters, |found| {
        Ok((found.get::<_, i64>(0)?, found.get::<_, i64>(1)?, found.get::<_, String>(2)?))
    })?;
    let mut read = Vec::new();
    for found in found {
        let (from, to, body) = found?;
        read.extend(row(from, to, &body));
    }
    Ok(read)
}

/// For every invariant the answer that was the newest at a time.
pub(crate) fn read_at(connection: &Connection, at: Timestamp) -> rusqlite::Result<Vec<Row>> {
    let query = "SELECT from_at, to_at, body FROM proof JOIN
         (SELECT invariant AS name, max(from_at) AS newest FROM proof
          WHERE from_at <= ? GROUP BY invariant)
         ON invariant = name AND from_at = newest ORDER BY invariant";
    rows(connection, query, [at.as_millis()])
}

/// The newest answer of every invariant.
pub(crate) fn read_newest(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    read_at(connection, Timestamp::from_millis(i64::MAX))
}

/// The answers about one invariant that began before `before`, newest first.
pub(crate) fn read_history(
    connection: &Connection,
    invariant: &str,
    before: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<Row>> {
    let query = "SELECT from_at, to_at, body FROM proof WHERE invariant = ? AND from_at < ?
         ORDER BY from_at DESC LIMIT ?";
    let limit = i64::try_from(limit.min(MAX_ROWS)).unwrap_or(0);
    rows(connection, query, params![invariant, before.as_millis(), limit])
}

/// Takes away what is older than the retention of the journal, a step at a time; gives how many rows
/// went. The newest of each invariant stays.
pub(crate) fn retain(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<usize> {
    let oldest = (now - RETENTION).as_millis();
    let step = i64::try_from(RETENTION_STEP).unwrap_or(i64::MAX);
    let newest: i64 =
        transaction.query_row("SELECT coalesce(max(id), 0) FROM proof", [], |row| row.get(0))?;
    transaction.execute(
        "DELETE FROM proof WHERE id IN
         (SELECT id FROM (SELECT id, to_at FROM proof ORDER BY id LIMIT ?3)
          WHERE to_at < ?1 OR id <= ?2)
         AND id NOT IN (SELECT max(id) FROM proof GROUP BY invariant)",
        params![oldest, newest - MAX_KEPT, step],
    )
}
