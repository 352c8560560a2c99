//! Pushes on disk: what was pushed, to whom, and how far each host is.
//!
//! The octets of an order are kept as long as they may have to be sent; everything else is kept for
//! the last [`MAX_KEPT`] pushes.

use std::collections::BTreeMap;
use std::time::Duration;

use bailey_rules::fact::enforcement::OrderRef;
use bailey_rules::host::Pushed;
use bailey_rules::name::{HostKey, HostName, OrderDigest, ZoneName};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::machine::{ConfirmBy, HostState, Push, PushId, PushKind, PushState, Staging, Target};
use crate::enrolment::Actor;
use crate::store::read_meta;

/// The most pushes that are kept; of those that nothing changes any more the oldest go first.
pub(crate) const MAX_KEPT: i64 = 200;

/// The tables; the store makes them.
pub(crate) const TABLES: &str = "
    CREATE TABLE push (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        confirm TEXT NOT NULL,
        staging TEXT NOT NULL,
        actor TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        policy_name TEXT,
        policy_text TEXT,
        state TEXT NOT NULL,
        why_en TEXT,
        why_zh TEXT,
        stage INTEGER NOT NULL,
        stages INTEGER NOT NULL,
        confirmed_stage INTEGER NOT NULL,
        settled INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX push_live ON push (id) WHERE settled = 0;
    CREATE TABLE push_host (
        push INTEGER NOT NULL,
        key BLOB NOT NULL CHECK (length(key) = 32),
        host TEXT NOT NULL,
        zone TEXT NOT NULL,
        version INTEGER NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        expires_at INTEGER NOT NULL,
        confirm_within INTEGER NOT NULL,
        octets INTEGER NOT NULL,
        stage INTEGER NOT NULL,
        state TEXT NOT NULL,
        error TEXT NOT NULL,
        why_en TEXT,
        why_zh TEXT,
        sent_at INTEGER,
        sends INTEGER NOT NULL,
        applied_at INTEGER,
        PRIMARY KEY (push, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX push_host_key ON push_host (key, version);
    CREATE TABLE push_order (
        push INTEGER NOT NULL,
        key BLOB NOT NULL CHECK (length(key) = 32),
        body BLOB NOT NULL,
        PRIMARY KEY (push, key)
    ) STRICT;
";

/// Where the highest number of any order is kept (`meta`): pushes go, and their numbers stay used.
const HIGHEST: &str = "highest_order";

/// What is said of a push besides how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its number.
    pub id: PushId,
    /// Who made it.
    pub actor: Actor,
    /// When.
    pub created_at: Timestamp,
    /// The name of the policy that its orders were made from.
    pub policy: Option<String>,
}

/// A new push, without hosts yet.
#[derive(Debug, Clone)]
pub(crate) struct NewPush {
    pub(crate) kind: PushKind,
    pub(crate) confirm: ConfirmBy,
    pub(crate) staging: Staging,
    pub(crate) actor: Actor,
    pub(crate) created_at: Timestamp,
    /// Name and text.
    pub(crate) policy: Option<(String, String)>,
}

impl NewPush {
    pub(crate) fn draft(&self) -> Push {
        Push {
            kind: self.kind,
            confirm: self.confirm,
            staging: self.staging,
            state: PushState::Draft,
            why: None,
            stage: 0,
            stages: 0,
            confirmed_stage: 0,
            targets: BTreeMap::new(),
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// How many pushes were not started.
pub(crate) fn drafts(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .query_row(
            "SELECT count(*) FROM push WHERE settled = 0 AND state = ?",
            [PushState::Draft.as_str()],
            |row| row.get(0),
        )
        .map(unsigned)
}

pub(crate) fn insert_push(
    transaction: &Transaction<'_>,
    new: &NewPush,
) -> rusqlite::Result<PushId> {
    let (name, text) = new.policy.clone().unzip();
    transaction.execute(
        "INSERT INTO push (kind, confirm, staging, actor, created_at, policy_name, policy_text,
                           state, stage, stages, confirmed_stage, settled)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0)",
        params![
            new.kind.as_str(),
            new.confirm.as_str(),
            new.staging.as_str(),
            new.actor.as_str(),
            new.created_at.as_millis(),
            name,
            text,
            PushState::Draft.as_str(),
        ],
    )?;
    Ok(PushId(transaction.last_insert_rowid()))
}

/// Writes how far a push itself is, and whether nothing of it changes any more.
pub(crate) fn update_push(
    transaction: &Transaction<'_>,
    id: PushId,
    push: &Push,
    settled: bool,
) -> rusqlite::Result<()> {
    let (en, zh) = push.why.as_ref().map(|why| (why.en.as_str(), why.zh.as_str())).unzip();
    transaction
        .prepare_cached(
            "UPDATE push SET state = ?, why_en = ?, why_zh = ?, stage = ?, stages = ?,
                             confirmed_stage = ?, settled = ?
             WHERE id = ?",
        )?
        .execute(params![
            push.state.as_str(),
            en,
            zh,
            push.stage,
            push.stages,
            push.confirmed_stage,
            settled,
            id.0,
        ])
        .map(drop)
}

/// Adds a host with its order.
pub(crate) fn insert_target(
    transaction: &Transaction<'_>,
    id: PushId,
    key: &HostKey,
    target: &Target,
    body: &[u8],
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO push_host VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id.0,
            key.as_bytes(),
            target.host.as_str(),
            target.zone.as_str(),
            signed(target.order.version),
            target.order.digest.as_bytes(),
            target.expires_at.as_millis(),
            i64::try_from(target.confirm_within.as_millis()).unwrap_or(i64::MAX),
            i64::try_from(target.octets).unwrap_or(i64::MAX),
            target.stage,
            target.state.as_str(),
            target.error,
            target.why.as_ref().map(|why| why.en.as_str()),
            target.why.as_ref().map(|why| why.zh.as_str()),
            target.sent_at.map(Timestamp::as_millis),
            target.sends,
            target.applied_at.map(Timestamp::as_millis),
        ])?;
    transaction.prepare_cached("INSERT INTO push_order VALUES (?, ?, ?)")?.execute(params![
        id.0,
        key.as_bytes(),
        body
    ])?;
    transaction
        .prepare_cached(
            "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2
             WHERE CAST(value AS INTEGER) < CAST(?2 AS INTEGER)",
        )?
        .execute(params![HIGHEST, target.order.version.to_string()])
        .map(drop)
}

/// Writes how far one host is. An order that is never sent again is forgotten.
pub(crate) fn update_target(
    transaction: &Transaction<'_>,
    id: PushId,
    key: &HostKey,
    kind: PushKind,
    target: &Target,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE push_host SET stage = ?, state = ?, error = ?, why_en = ?, why_zh = ?,
                                  sent_at = ?, sends = ?, applied_at = ?
             WHERE push = ? AND key = ?",
        )?
        .execute(params![
            target.stage,
            target.state.as_str(),
            target.error,
            target.why.as_ref().map(|why| why.en.as_str()),
            target.why.as_ref().map(|why| why.zh.as_str()),
            target.sent_at.map(Timestamp::as_millis),
            target.sends,
            target.applied_at.map(Timestamp::as_millis),
            id.0,
            key.as_bytes(),
        ])?;
    if target.state.is_final(kind) {
        transaction
            .prepare_cached("DELETE FROM push_order WHERE push = ? AND key = ?")?
            .execute(params![id.0, key.as_bytes()])?;
    }
    Ok(())
}

/// The octets of one order, as they are sent.
pub(crate) fn read_order(
    connection: &Connection,
    id: PushId,
    key: &HostKey,
) -> rusqlite::Result<Option<Bytes>> {
    connection
        .prepare_cached("SELECT body FROM push_order WHERE push = ? AND key = ?")?
        .query_row(params![id.0, key.as_bytes()], |row| row.get::<_, Vec<u8>>(0).map(Bytes::from))
        .optional()
}

/// The highest number of any order that was ever pushed.
pub(crate) fn highest(connection: &Connection) -> rusqlite::Result<u64> {
    let value = read_meta(connection, HIGHEST)?;
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
}

/// The highest number of any order that is kept for one host.
pub(crate) fn highest_of(connection: &Connection, key: &HostKey) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT max(version) FROM push_host WHERE key = ?")?
        .query_row([key.as_bytes()], |row| row.get::<_, Option<i64>>(0))
        .map(|version| version.map_or(0, unsigned))
}

/// Takes away drafts from before `oldest_draft`, and of the settled pushes what is beyond
/// [`MAX_KEPT`]. Gives which went.
pub(crate) fn retain(
    transaction: &Transaction<'_>,
    oldest_draft: Timestamp,
) -> rusqlite::Result<Vec<PushId>> {
    let gone: Vec<PushId> = transaction
        .prepare_cached(
            "SELECT id FROM push WHERE state = ?1 AND created_at < ?2
             UNION ALL
             SELECT id FROM (SELECT id, settled FROM push ORDER BY id DESC LIMIT -1 OFFSET ?3)
             WHERE settled = 1",
        )?
        .query_map(params![PushState::Draft.as_str(), oldest_draft.as_millis(), MAX_KEPT], |row| {
            row.get(0).map(PushId)
        })?
        .collect::<Result<_, _>>()?;
    for id in &gone {
        transaction.execute("DELETE FROM push_order WHERE push = ?", [id.0])?;
        transaction.execute("DELETE FROM push_host WHERE push = ?", [id.0])?;
        transaction.execute("DELETE FROM push WHERE id = ?", [id.0])?;
    }
    Ok(gone)
}

fn unknown(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}

fn word<T>(row: &Row<'_>, column: usize, read: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    read(&text).ok_or_else(|| unknown(column, "a word of another version"))
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Text>> {
    let en: Option<String> = row.get(column)?;
    let zh: Option<String> = row.get(column + 1)?;
    Ok(en.zip(zh).map(|(en, zh)| Text { en, zh }))
}

const PUSH: &str =
    "SELECT id, kind, confirm, staging, actor, created_at, policy_name, state, why_en,
                           why_zh, stage, stages, confirmed_stage FROM push";

fn push_of(row: &Row<'_>) -> rusqlite::Result<(About, Push)> {
    let about = About {
        id: PushId(row.get(0)?),
        actor: Actor::named(&row.get::<_, String>(4)?),
        created_at: Timestamp::from_millis(row.get(5)?),
        policy: row.get(6)?,
    };
    let push = Push {
        kind: word(row, 1, PushKind::from_word)?,
        confirm: word(row, 2, ConfirmBy::from_word)?,
        staging: word(row, 3, Staging::from_word)?,
        state: word(row, 7, PushState::from_word)?,
        why: text(row, 8)?,
        stage: small(row.get(10)?),
        stages: small(row.get(11)?),
        confirmed_stage: small(row.get(12)?),
        targets: BTreeMap::new(),
    };
    Ok((about, push))
}

fn key_of(row: &Row<'_>, column: usize) -> rusqlite::Result<HostKey> {
    HostKey::try_from(&row.get::<_, Vec<u8>>(column)?[..])
        .map_err(|_| unknown(column, "not the key of a host"))
}

fn target_of(row: &Row<'_>) -> rusqlite::Result<(HostKey, Target)> {
    let at = |column| row.get::<_, Option<i64>>(column).map(|at| at.map(Timestamp::from_millis));
    let digest: [u8; 32] = row.get(4)?;
    let target = Target {
        host: word(row, 1, |text| text.parse::<HostName>().ok())?,
        zone: word(row, 2, |text| text.parse::<ZoneName>().ok())?,
        order: OrderRef { version: unsigned(row.get(3)?), digest: OrderDigest::from_bytes(digest) },
        expires_at: Timestamp::from_millis(row.get(5)?),
        confirm_within: Duration::from_millis(unsigned(row.get(6)?)),
        octets: usize::try_from(row.get::<_, i64>(7)?).unwrap_or(usize::MAX),
        stage: small(row.get(8)?),
        state: word(row, 9, HostState::from_word)?,
        error: row.get(10)?,
        why: text(row, 11)?,
        sent_at: at(13)?,
        sends: small(row.get(14)?),
        applied_at: at(15)?,
        sent_in: None,
        confirm_asked_in: None,
    };
    Ok((key_of(row, 0)?, target))
}

fn read_targets(
    connection: &Connection,
    id: PushId,
) -> rusqlite::Result<BTreeMap<HostKey, Target>> {
    connection
        .prepare_cached(
            "SELECT key, host, zone, version, digest, expires_at, confirm_within, octets, stage,
                    state, error, why_en, why_zh, sent_at, sends, applied_at
             FROM push_host WHERE push = ?",
        )?
        .query_map([id.0], target_of)?
        .collect()
}

/// Every push of which something may still change.
pub(crate) fn read_live(connection: &Connection) -> rusqlite::Result<BTreeMap<PushId, Push>> {
    let pushes: Vec<(About, Push)> = connection
        .prepare(&format!("{PUSH} WHERE settled = 0 ORDER BY id"))?
        .query_map([], push_of)?
        .collect::<Result<_, _>>()?;
    let mut live = BTreeMap::new();
    for (about, mut push) in pushes {
        push.targets = read_targets(connection, about.id)?;
        live.insert(about.id, push);
    }
    Ok(live)
}

/// One push with its hosts.
pub(crate) fn read(connection: &Connection, id: PushId) -> rusqlite::Result<Option<(About, Push)>> {
    let found =
        connection.prepare_cached(&format!("{PUSH} WHERE id = ?"))?.query_row([id.0], push_of);
    let Some((about, mut push)) = found.optional()? else { return Ok(None) };
    push.targets = read_targets(connection, id)?;
    Ok(Some((about, push)))
}

/// The newest push that was started, where nothing of it changes any more.
pub(crate) fn read_last(connection: &Connection) -> rusqlite::Result<Option<(PushId, Push)>> {
    let newest: Option<PushId> = connection
        .query_row(
            "SELECT id FROM push WHERE settled = 1 AND stage > 0 ORDER BY id DESC LIMIT 1",
            [],
            |row| row.get(0).map(PushId),
        )
        .optional()?;
    let Some(id) = newest else { return Ok(None) };
    Ok(read(connection, id)?.map(|(_, push)| (id, push)))
}

/// A push in a list: without its hosts, but with how many are how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What is said of it.
    pub about: About,
    /// How far it is; no hosts.
    pub push: Push,
    /// How many hosts are in each state.
    pub states: BTreeMap<HostState, u64>,
    /// Until when a person has to confirm, while one has to.
    pub deadline: Option<Timestamp>,
}

/// Pushes, newest first, from before the number `before`.
pub(crate) fn list(
    connection: &Connection,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<Listed>> {
    let pushes: Vec<(About, Push)> = connection
        .prepare_cached(&format!("{PUSH} WHERE id < ? ORDER BY id DESC LIMIT ?"))?
        .query_map(
            params![before.unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX)],
            push_of,
        )?
        .collect::<Result<_, _>>()?;
    let mut states = connection.prepare_cached(
        "SELECT state, count(*), min(sent_at + confirm_within) FROM push_host WHERE push = ?
         GROUP BY state",
    )?;
    let mut listed = Vec::new();
    for (about, push) in pushes {
        let mut counts = BTreeMap::new();
        let mut deadline = None;
        let mut rows = states.query([about.id.0])?;
        while let Some(row) = rows.next()? {
            let state = word(row, 0, HostState::from_word)?;
            counts.insert(state, unsigned(row.get(1)?));
            if state == HostState::Reachable && push.state == PushState::AwaitingConfirmation {
                deadline = row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis);
            }
        }
        listed.push(Listed { about, push, states: counts, deadline });
    }
    Ok(listed)
}

/// Name and text of the policy of a push, where there is such a push and it has one.
pub(crate) fn read_policy(
    connection: &Connection,
    id: PushId,
) -> rusqlite::Result<Option<(String, String)>> {
    connection
        .query_row(
            "SELECT policy_name, policy_text FROM push
             WHERE id = ? AND policy_name IS NOT NULL AND policy_text IS NOT NULL",
            [id.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
}

/// The ruleset that every host should hold, with the push that it is of.
pub(crate) fn read_pushed(
    connection: &Connection,
) -> rusqlite::Result<BTreeMap<HostKey, (PushId, Pushed)>> {
    let mut pushed = BTreeMap::new();
    let mut statement = connection.prepare(
        "SELECT h.key, h.push, h.version, h.digest, h.state, p.state,
                coalesce(h.sent_at, p.created_at)
         FROM push_host h JOIN push p ON p.id = h.push WHERE p.kind = ? ORDER BY h.push",
    )?;
    let mut rows = statement.query([PushKind::Ruleset.as_str()])?;
    while let Some(row) = rows.next()? {
        let state = word(row, 4, HostState::from_word)?;
        let push = word(row, 5, PushState::from_word)?;
        if counts(state, push) {
            let digest = OrderDigest::from_bytes(row.get(3)?);
            let found = Pushed {
                order: OrderRef { version: unsigned(row.get(2)?), digest },
                at: Timestamp::from_millis(row.get(6)?),
                running: push.is_running() && !state.is_final(PushKind::Ruleset),
            };
            pushed.insert(key_of(row, 0)?, (PushId(row.get(1)?), found));
        }
    }
    Ok(pushed)
}

/// Whether a host in this state, in a push in that one, should hold the push's ruleset, now or soon.
/// One that a failed or cancelled push did not get to should hold what it had.
pub(crate) const fn counts(state: HostState, push: PushState) -> bool {
    match (state, push) {
        (HostState::Confirmed, _)
        | (
            HostState::Waiting
            | HostState::Sent
            | HostState::Applied
            | HostState::Reachable
            | HostState::Refused
            | HostState::NoEnforcer
            | HostState::Reverted
            | HostState::Superseded
            | HostState::Expired,
            PushState::Running | PushState::AwaitingConfirmation | PushState::Done,
        ) => true,
        (HostState::Cancelled, _)
        | (_, PushState::Draft | PushState::Failed | PushState::Cancelled) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Store, StoreError};

    const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("collector.db")
    }

    fn open(folder: &tempfile::TempDir) -> Store {
        Store::open(&path(folder), Arc::new(SystemClock), Arc::default()).unwrap()
    }

    fn new_push(created_at: Timestamp) -> NewPush {
        NewPush {
            kind: PushKind::Ruleset,
            confirm: ConfirmBy::Person,
            staging: Staging::Staged,
            actor: Actor::uid(0),
            created_at,
            policy: Some(("policy.yaml".into(), "site: jiaxing".into())),
        }
    }

    fn target(host: &str, version: u64) -> Target {
        Target {
            host: host.parse().unwrap(),
            zone: "inner".parse().unwrap(),
            order: OrderRef { version, digest: OrderDigest::from_bytes([5; 32]) },
            expires_at: NOW + Duration::from_hours(24),
            confirm_within: Duration::from_mins(2),
            octets: 3,
            stage: 2,
            state: HostState::Reachable,
            error: "why_not".into(),
            why: Some(Text::new("why", "原因")),
            sent_at: Some(NOW),
            sends: 2,
            applied_at: Some(NOW + Duration::from_secs(1)),
            sent_in: None,
            confirm_asked_in: None,
        }
    }

    async fn write<T: Send + 'static>(
        store: &Store,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        let job = move |store: &Transaction<'_>| job(store).map_err(StoreError::failed("x"));
        store.write("x", job).await.unwrap()
    }

    #[tokio::test]
    async fn a_push_is_read_as_it_was_written_and_its_orders_as_long_as_they_are_needed() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let key = HostKey::from_bytes([7; 32]);
        let mut push = new_push(NOW).draft();
        (push.state, push.stage, push.stages) = (PushState::AwaitingConfirmation, 2, 3);
        push.why = Some(Text::new("why", "原因"));
        push.targets.insert(key, target("oa-17", 9));
        let written = push.clone();
        let id = write(&store, move |store| {
            let id = insert_push(store, &new_push(NOW))?;
            insert_target(store, id, &key, &written.targets[&key], b"sig")?;
            update_push(store, id, &written, written.is_settled())?;
            Ok(id)
        })
        .await;
        let (about, found) = store.read("x", move |store| read(store, id)).await.unwrap().unwrap();
        assert_eq!((found, about.policy.as_deref()), (push.clone(), Some("policy.yaml")));
        let live = store.read("x", read_live).await.unwrap();
        assert_eq!(live, BTreeMap::from([(id, push.clone())]));
        let listed = store.read("x", |store| list(store, None, 10)).await.unwrap();
        assert_eq!(listed[0].deadline, push.deadline());
        assert_eq!(listed[0].states, BTreeMap::from([(HostState::Reachable, 1)]));
        let order = move |store: &Connection| read_order(store, id, &key);
        assert_eq!(store.read("x", order).await.unwrap().as_deref(), Some(&b"sig"[..]));

        let mut confirmed = target("oa-17", 9);
        confirmed.state = HostState::Confirmed;
        write(&store, move |store| update_target(store, id, &key, PushKind::Ruleset, &confirmed))
            .await;
        assert_eq!(store.read("x", order).await.unwrap(), None);
        let pushed = store.read("x", read_pushed).await.unwrap();
        assert_eq!((pushed[&key].1.order.version, pushed[&key].1.running), (9, false));
    }

    #[tokio::test]
    async fn only_settled_pushes_and_old_drafts_go_and_numbers_stay_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let key = HostKey::from_bytes([7; 32]);
        let gone = write(&store, move |store| {
            let old = insert_push(store, &new_push(NOW - Duration::from_hours(2)))?;
            insert_target(store, old, &key, &target("oa-17", 12), b"sig")?;
            for settled in [false, true] {
                let id = insert_push(store, &new_push(NOW))?;
                let mut push = new_push(NOW).draft();
                push.state = if settled { PushState::Done } else { PushState::Running };
                update_push(store, id, &push, settled)?;
            }
            for _ in 0..MAX_KEPT {
                let id = insert_push(store, &new_push(NOW))?;
                update_push(store, id, &new_push(NOW).draft(), true)?;
            }
            retain(store, NOW - Duration::from_hours(1))
        })
        .await;
        assert_eq!(gone, [PushId(1), PushId(3)], "the old draft, and the oldest that is settled");
        assert_eq!(store.read("x", move |store| highest_of(store, &key)).await.unwrap(), 0);
        assert_eq!(store.read("x", highest).await.unwrap(), 12);
    }

    #[tokio::test]
    async fn a_store_from_before_there_were_pushes_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        open(&folder).close().await;
        let before = Connection::open(path(&folder)).unwrap();
        before
            .execute_batch(
                "DROP TABLE push; DROP TABLE push_host; DROP TABLE push_order; DROP TABLE listing; \
                 DROP TABLE proof; DROP TABLE device; DROP TABLE trap; \
                 DROP TABLE line; DROP TABLE line_carried; DROP TABLE line_asked; \
                 DROP INDEX event_kind",
            )
            .unwrap();
        before.pragma_update(None, "user_version", 1).unwrap();
        drop(before);
        let store = open(&folder);
        assert_eq!(write(&store, |store| insert_push(store, &new_push(NOW))).await, PushId(1));
        store.close().await;
        drop(open(&folder));
    }
}
