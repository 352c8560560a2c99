//! The journal: anything that changed, and who or what changed it.

use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use rusqlite::{Connection, Transaction, params};
use std::time::Duration;

use crate::enrolment::Actor;
use crate::site::{Event, EventKind, EventQuery, MAX_EVENTS};

/// How long events, gaps and closed findings are kept.
pub const RETENTION: Duration = Duration::from_hours(400 * 24);

/// The most events that are kept; the oldest go first.
pub const MAX_KEPT: i64 = 1_000_000;

/// The longest sentence that is kept, in characters: device text can be part of it.
const MAX_SENTENCE: usize = 1_000;

/// The most rows that one commit of the retention takes away, so that reports need not wait for it.
pub(crate) const RETENTION_STEP: usize = 5_000;

/// The events of one host that may be written at once, and after that one in each [`EVENT_REFILL`].
/// A host that flaps, or wants to fill the journal, cannot drown the others.
pub(crate) const EVENT_BURST: u32 = 120;
/// See [`EVENT_BURST`].
pub(crate) const EVENT_REFILL: Duration = Duration::from_secs(30);

/// An event that is not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEvent {
    pub(crate) at: Timestamp,
    pub(crate) host: Option<HostName>,
    pub(crate) kind: EventKind,
    pub(crate) text: Text,
    pub(crate) actor: Option<Actor>,
}

impl NewEvent {
    pub(crate) fn insert(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let kept = |text: &str| text.chars().take(MAX_SENTENCE).collect::<String>();
        transaction
            .prepare_cached(
                "INSERT INTO event (at, host, kind, en, zh, actor) VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                self.at.as_millis(),
                self.host.as_ref().map(HostName::as_str),
                self.kind.as_str(),
                kept(&self.text.en),
                kept(&self.text.zh),
                self.actor.as_ref().map(Actor::as_str),
            ])
            .map(drop)
    }
}

/// Events, newest first.
pub(crate) fn read(connection: &Connection, query: &EventQuery) -> rusqlite::Result<Vec<Event>> {
    let before = query.before.unwrap_or(i64::MAX);
    let limit = i64::try_from(query.limit.min(MAX_EVENTS)).unwrap_or(0);
    let event = |row: &rusqlite::Row<'_>| {
        let word: String = row.get(3)?;
        let host: Option<String> = row.get(2)?;
        // An event of a later version that was gone back from has a kind without a word here.
        let Some(kind) = EventKind::from_word(&word) else { return Ok(None) };
        Ok(Some(Event {
            id: row.get(0)?,
            at: Timestamp::from_millis(row.get(1)?),
            host: host.and_then(|host| host.parse().ok()),
            kind,
            text: Text { en: row.get(4)?, zh: row.get(5)? },
            actor: row.get::<_, Option<String>>(6)?.map(|actor| Actor::named(&actor)),
        }))
    };
    let columns = "SELECT id, at, host, kind, en, zh, actor FROM event";
    let events: Vec<Option<Event>> = match &query.host {
        Some(host) => connection
            .prepare_cached(&format!(
                "{columns} WHERE host = ? AND id < ? ORDER BY id DESC LIMIT ?"
            ))?
            .query_map(params![host.as_str(), before, limit], event)?
            .collect::<Result<_, _>>()?,
        None => connection
            .prepare_cached(&format!("{columns} WHERE id < ? ORDER BY id DESC LIMIT ?"))?
            .query_map(params![before, limit], event)?
            .collect::<Result<_, _>>()?,
    };
    Ok(events.into_iter().flatten().collect())
}

/// Takes away what is older than the retention, a step at a time; gives how many rows went. Rows are
/// numbered in the order of time, so only the oldest are looked at.
pub(crate) fn retain(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<usize> {
    let oldest = (now - RETENTION).as_millis();
    let step = i64::try_from(RETENTION_STEP).unwrap_or(i64::MAX);
    let newest: i64 =
        transaction.query_row("SELECT coalesce(max(id), 0) FROM event", [], |row| row.get(0))?;
    let mut gone = transaction.execute(
        "DELETE FROM event WHERE id IN
         (SELECT id FROM (SELECT id, at FROM event ORDER BY id LIMIT ?3)
          WHERE at < ?1 OR id <= ?2)",
        params![oldest, newest - MAX_KEPT, step],
    )?;
    gone += transaction.execute(
        "DELETE FROM gap WHERE no IN
         (SELECT no FROM (SELECT no, at FROM gap ORDER BY no LIMIT ?2) WHERE at < ?1)",
        params![oldest, step],
    )?;
    gone += transaction.execute(
        "DELETE FROM finding WHERE (id, first_at) IN
         (SELECT id, first_at FROM finding WHERE resolved_at < ? LIMIT ?)",
        params![oldest, step],
    )?;
    Ok(gone)
}
