//! The journal: anything that changed, and who or what changed it.

use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use rusqlite::{Connection, Transaction, params};
use std::time::Duration;

use crate::enrolment::Actor;
use crate::site::{Event, EventKind, EventQuery, MAX_EVENTS, Site};
use crate::store::StoreError;

/// How long events, gaps and closed findings are kept.
pub const RETENTION: Duration = Duration::from_hours(400 * 24);

/// The most events that are kept, without [`MESSAGES`]; the oldest go first.
const MAX_KEPT: i64 = 1_000_000;

/// What devices say of themselves. Whoever can send a datagram can make some of these, so they have
/// bounds of their own and never drive out what the collector and people did.
const MESSAGES: [EventKind; 3] = [EventKind::Syslog, EventKind::Refusals, EventKind::Trap];

/// The most events of each kind of [`MESSAGES`] that are kept; the oldest go first.
const MAX_MESSAGES: i64 = 300_000;

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

/// Writes events in one commit. `what` says what is written, for the error.
pub(crate) async fn write(
    site: &Site,
    what: &'static str,
    events: Vec<NewEvent>,
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let job = move |store: &Transaction<'_>| {
        events.iter().try_for_each(|event| event.insert(store)).map_err(StoreError::failed(what))
    };
    site.store().write(what, job).await
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

/// Takes away what is older than the retention or more than is kept, a step at a time; gives how many
/// rows went.
pub(crate) fn retain(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<usize> {
    let oldest = (now - RETENTION).as_millis();
    let step = i64::try_from(RETENTION_STEP).unwrap_or(i64::MAX);
    // Rows are numbered in the order of time, so only the oldest are looked at.
    let mut gone = transaction.execute(
        "DELETE FROM event WHERE id IN
         (SELECT id FROM (SELECT id, at FROM event ORDER BY id LIMIT ?2) WHERE at < ?1)",
        params![oldest, step],
    )?;
    gone += cut(transaction, MAX_KEPT, MAX_MESSAGES, step)?;
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

/// Takes away at most `step` events of each kind of [`MESSAGES`] beyond `messages`, and at most `step` of
/// all others together beyond `others`; gives how many went.
fn cut(
    transaction: &Transaction<'_>,
    others: i64,
    messages: i64,
    step: i64,
) -> rusqlite::Result<usize> {
    let mut gone = 0;
    for kind in MESSAGES {
        gone += transaction.execute(
            "DELETE FROM event WHERE id IN
             (SELECT id FROM event WHERE kind = ?1 AND id <=
              (SELECT id FROM event WHERE kind = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)
              ORDER BY id LIMIT ?3)",
            params![kind.as_str(), messages, step],
        )?;
    }
    let [first, second, third] = MESSAGES.map(EventKind::as_str);
    let held: i64 = transaction.query_row(
        "SELECT count(*) FROM event WHERE kind NOT IN (?1, ?2, ?3)",
        [first, second, third],
        |row| row.get(0),
    )?;
    let surplus = held - others;
    if surplus <= 0 {
        return Ok(gone);
    }
    gone += transaction.execute(
        "DELETE FROM event WHERE id IN
         (SELECT id FROM event WHERE kind NOT IN (?1, ?2, ?3) ORDER BY id LIMIT ?4)",
        params![first, second, third, surplus.min(step)],
    )?;
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::Store;

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
    async fn what_devices_say_never_drives_out_what_people_did() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let of_kind = |kind: EventKind| NewEvent { kind, ..event(NOW, "core-1") };
        let mut events: Vec<NewEvent> = (0..5).map(|_| of_kind(EventKind::Revoked)).collect();
        for kind in MESSAGES {
            events.extend((0..40).map(|_| of_kind(kind)));
        }
        events.extend((0..3).map(|_| of_kind(EventKind::Approved)));
        write(&store, events).await;
        let held = async || {
            let query = EventQuery { limit: MAX_EVENTS, ..EventQuery::default() };
            let events = store.read("x", move |store| read(store, &query)).await.unwrap();
            let count = |kind| events.iter().filter(|event| event.kind == kind).count();
            let messages = MESSAGES.map(count);
            let first = events.iter().map(|event| event.id).min().unwrap();
            (count(EventKind::Revoked), count(EventKind::Approved), messages, first)
        };
        let cut_to = async |others, messages, step| {
            let job = move |store: &Transaction<'_>| {
                cut(store, others, messages, step).map_err(StoreError::failed("x"))
            };
            store.write("x", job).await.unwrap()
        };
        // A step at a time, the oldest first.
        assert_eq!(cut_to(8, 30, 4).await, 12);
        assert_eq!(held().await, (5, 3, [36; 3], 1));
        assert_eq!(cut_to(8, 30, 100).await, 18);
        assert_eq!(cut_to(8, 30, 100).await, 0);
        assert_eq!(held().await, (5, 3, [30; 3], 1));
        assert_eq!(cut_to(6, 30, 100).await, 2);
        assert_eq!(held().await, (3, 3, [30; 3], 3));
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
