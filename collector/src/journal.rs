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

const COLUMNS: &str = "SELECT id, at, host, kind, en, zh, actor FROM event";

fn event(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Event>> {
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
}

/// Events, newest first.
pub(crate) fn read(connection: &Connection, query: &EventQuery) -> rusqlite::Result<Vec<Event>> {
    let before = query.before.unwrap_or(i64::MAX);
    let limit = i64::try_from(query.limit.min(MAX_EVENTS)).unwrap_or(0);
    let events: Vec<Option<Event>> = match &query.host {
        Some(host) => connection
            .prepare_cached(&format!(
                "{COLUMNS} WHERE host = ? AND id < ? ORDER BY id DESC LIMIT ?"
            ))?
            .query_map(params![host.as_str(), before, limit], event)?
            .collect::<Result<_, _>>()?,
        None => connection
            .prepare_cached(&format!("{COLUMNS} WHERE id < ? ORDER BY id DESC LIMIT ?"))?
            .query_map(params![before, limit], event)?
            .collect::<Result<_, _>>()?,
    };
    Ok(events.into_iter().flatten().collect())
}

/// By which the messages of devices are found among the events.
pub(crate) const INDEX: &str = "CREATE INDEX event_kind ON event (kind, id);";

/// What devices said by syslog, newest first: of one asset, or of all.
pub(crate) fn messages(
    connection: &Connection,
    asset: Option<&HostName>,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    let limit = limit.min(MAX_EVENTS);
    let of_kind = |kind: EventKind| -> rusqlite::Result<Vec<Event>> {
        let query = params![
            kind.as_str(),
            before.unwrap_or(i64::MAX),
            asset.map(HostName::as_str),
            i64::try_from(limit).unwrap_or(0)
        ];
        let events: Vec<Option<Event>> = connection
            .prepare_cached(&format!(
                "{COLUMNS} WHERE kind = ?1 AND id < ?2 AND (?3 IS NULL OR host = ?3)
                 ORDER BY id DESC LIMIT ?4"
            ))?
            .query_map(query, event)?
            .collect::<Result<_, _>>()?;
        Ok(events.into_iter().flatten().collect())
    };
    let mut all = of_kind(EventKind::Syslog)?;
    all.extend(of_kind(EventKind::Refusals)?);
    all.sort_by_key(|event| std::cmp::Reverse(event.id));
    all.truncate(limit);
    Ok(all)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Store, StoreError};

    fn store(folder: &tempfile::TempDir) -> Store {
        let path = folder.path().join("collector.db");
        Store::open(&path, Arc::new(SystemClock), Arc::default()).unwrap()
    }

    fn event(at: Timestamp, host: &str) -> NewEvent {
        NewEvent {
            at,
            host: Some(host.parse().unwrap()),
            kind: EventKind::Gap,
            text: Text::new("3 reports were lost", "丢失 3 条上报"),
            actor: None,
        }
    }

    async fn write(store: &Store, events: Vec<NewEvent>) {
        let job = move |store: &Transaction<'_>| {
            events.iter().try_for_each(|event| event.insert(store)).map_err(StoreError::failed("x"))
        };
        store.write("x", job).await.unwrap();
    }

    async fn count(store: &Store) -> usize {
        let query = EventQuery { limit: MAX_EVENTS, ..EventQuery::default() };
        store.read("x", move |store| read(store, &query)).await.unwrap().len()
    }

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    #[tokio::test]
    async fn events_go_when_they_are_too_old_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let old = NOW - RETENTION;
        write(&store, vec![event(old - Duration::from_secs(1), "oa-17"), event(old, "oa-17")])
            .await;
        let job = |store: &Transaction<'_>| retain(store, NOW).map_err(StoreError::failed("x"));
        assert_eq!(store.write("x", job).await.unwrap(), 1);
        assert_eq!(count(&store).await, 1);
    }

    #[tokio::test]
    async fn events_are_read_in_pages_newest_first_and_by_host() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let events = (0..30).map(|n| event(NOW, if n % 3 == 0 { "oa-17" } else { "oa-18" }));
        write(&store, events.collect()).await;
        let mut query = EventQuery { limit: 7, ..EventQuery::default() };
        let mut seen = Vec::new();
        loop {
            let asked = query.clone();
            let page = store.read("x", move |store| read(store, &asked)).await.unwrap();
            let Some(last) = page.last() else { break };
            query.before = Some(last.id);
            seen.extend(page.iter().map(|event| event.id));
        }
        assert_eq!(seen.len(), 30);
        assert!(seen.is_sorted_by(|a, b| a > b));
        let host = Some("oa-17".parse().unwrap());
        let query = EventQuery { host, before: None, limit: 10_000 };
        let of_host = store.read("x", move |store| read(store, &query)).await.unwrap();
        assert_eq!(of_host.len(), 10);
        assert_eq!(of_host[0].text.zh, "丢失 3 条上报");
    }

    #[tokio::test]
    async fn what_a_failed_job_did_is_undone_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let bad = store.write("x", |store: &Transaction<'_>| {
            event(NOW, "oa-17").insert(store).map_err(StoreError::failed("x"))?;
            Err::<(), _>(StoreError::Failed { what: "x", why: "of my own".into() })
        });
        let good = write(&store, vec![event(NOW, "oa-18")]);
        let (bad, ()) = tokio::join!(bad, good);
        assert_eq!(bad.unwrap_err().to_string(), "cannot x in the store: of my own");
        assert_eq!(count(&store).await, 1);
        let panicked = store.write::<(), StoreError, _>("x", |_| panic!("a fault of ours")).await;
        assert!(panicked.is_err());
        write(&store, vec![event(NOW, "oa-19")]).await;
        assert_eq!(count(&store).await, 2);
    }
}
