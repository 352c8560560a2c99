//! What is stored of a trap: all that it said, raw, so that one that nobody understands today can be
//! read tomorrow. Communities and keys are no part of it.

use bailey_rules::fact::bounded;
use bailey_rules::name::HostName;
use bailey_rules::snmp::oid::Oid;
use bailey_rules::snmp::value::VarBind;
use bailey_rules::time::Timestamp;
use bailey_rules::trap::{Proof, Trap};
use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::decode::Notification;

/// The most traps of one asset that are kept, and of all strangers together; the oldest go first. One
/// that repeats itself within [`MERGED`] is one of them.
pub const MAX_OF_ONE: usize = 1_000;

/// The most traps of one answer.
pub const MAX_ROWS: usize = 200;

/// How long traps are kept.
pub const RETENTION: Duration = Duration::from_hours(30 * 24);

/// A trap that comes again within this is not kept again, but counted.
pub(super) const MERGED: Duration = Duration::from_mins(1);

/// The longest trap that is kept, in octets of JSON; the values at its end are left out.
const MAX_BODY: usize = 16 * 1024;

pub(crate) const TABLES: &str = "
    CREATE TABLE trap (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        times INTEGER NOT NULL,
        asset TEXT NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX trap_asset ON trap (asset, id);
";

/// A trap as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The address from which it came.
    pub sender: std::net::IpAddr,
    /// The version of the protocol: `v1`, `v2c`, `v3`.
    pub version: String,
    /// Whether its sender waited for an answer.
    pub inform: bool,
    /// The user of `SNMPv3`.
    pub user: Option<String>,
    /// How much is known of who sent it.
    pub proof: Proof,
    /// Which notification it is.
    pub oid: Oid,
    /// What it says.
    pub values: Vec<VarBind>,
    /// Values that were too long to be kept.
    pub left_out: usize,
}

impl Body {
    pub(super) fn of(notification: &Notification, sender: std::net::IpAddr) -> Self {
        let trap = &notification.trap;
        let mut body = Self {
            sender,
            version: notification.version.as_str().to_owned(),
            inform: notification.answer.is_some(),
            user: notification.user.as_deref().map(bounded),
            proof: trap.proof,
            oid: trap.oid.clone(),
            values: trap.values.clone(),
            left_out: 0,
        };
        while body.json().is_none_or(|json| json.len() > MAX_BODY) && body.values.pop().is_some() {
            body.left_out += 1;
        }
        body
    }

    /// The trap that it was.
    #[must_use]
    pub fn trap(&self) -> Trap {
        Trap::new(self.oid.clone(), self.values.clone(), self.proof)
    }

    fn json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

/// A stored trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its number; a later trap has a higher one.
    pub id: i64,
    /// When it came first.
    pub first_at: Timestamp,
    /// When it came last.
    pub last_at: Timestamp,
    /// How often it came from the one to the other.
    pub times: u64,
    /// Whose it is; `None`: of an address that is no asset's.
    pub asset: Option<HostName>,
    /// What it says.
    pub body: Body,
}

/// Which traps are wanted: newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrapQuery {
    /// Only of this asset.
    pub asset: Option<HostName>,
    /// Only of addresses that are no asset's.
    pub strangers: bool,
    /// Only those before this number: the cursor of the next page.
    pub before: Option<i64>,
    /// At most this many, and at most [`MAX_ROWS`].
    pub limit: usize,
}

fn word(asset: Option<&HostName>) -> &str {
    asset.map_or("", HostName::as_str)
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Stores a trap that came `times` times from `first` to `last`, and gives its number.
pub(super) fn insert(
    store: &Transaction<'_>,
    asset: Option<&HostName>,
    body: &Body,
    (first, last): (Timestamp, Timestamp),
    times: u64,
) -> rusqlite::Result<i64> {
    let body = serde_json::to_string(body)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    store
        .prepare_cached(
            "INSERT INTO trap (first_at, last_at, times, asset, body) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![first.as_millis(), last.as_millis(), number(times), word(asset), body])?;
    Ok(store.last_insert_rowid())
}

/// Counts a stored trap that came `times` times more, the last time at `last`.
pub(super) fn again(
    store: &Transaction<'_>,
    id: i64,
    last: Timestamp,
    times: u64,
) -> rusqlite::Result<()> {
    store
        .prepare_cached("UPDATE trap SET last_at = ?, times = times + ? WHERE id = ?")?
        .execute(params![last.as_millis(), number(times), id])
        .map(drop)
}

/// Takes away what an asset has more than it may keep.
pub(super) fn cut(store: &Transaction<'_>, asset: Option<&HostName>) -> rusqlite::Result<()> {
    let most = i64::try_from(MAX_OF_ONE).unwrap_or(i64::MAX);
    store
        .prepare_cached(
            "DELETE FROM trap WHERE asset = ?1 AND id <=
             (SELECT id FROM trap WHERE asset = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![word(asset), most])
        .map(drop)
}

/// Takes away at most `step` traps that are older than [`RETENTION`]; gives how many.
pub(crate) fn retain(
    store: &Transaction<'_>,
    now: Timestamp,
    step: usize,
) -> rusqlite::Result<usize> {
    store.execute(
        "DELETE FROM trap WHERE id IN
         (SELECT id FROM (SELECT id, last_at FROM trap ORDER BY id LIMIT ?2) WHERE last_at < ?1)",
        params![(now - RETENTION).as_millis(), i64::try_from(step).unwrap_or(i64::MAX)],
    )
}

fn kept(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Kept>> {
    let (asset, body): (String, String) = (row.get(4)?, row.get(5)?);
    // A body of a later version that was gone back from may have what this one does not know.
    let Ok(body) = serde_json::from_str(&body) else { return Ok(None) };
    Ok(Some(Kept {
        id: row.get(0)?,
        first_at: Timestamp::from_millis(row.get(1)?),
        last_at: Timestamp::from_millis(row.get(2)?),
        times: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
        asset: asset.parse().ok(),
        body,
    }))
}

const COLUMNS: &str = "SELECT id, first_at, last_at, times, asset, body FROM trap";

/// Traps, newest first.
pub(super) fn read(store: &Connection, query: &TrapQuery) -> rusqlite::Result<Vec<Kept>> {
    let before = query.before.unwrap_or(i64::MAX);
    let limit = i64::try_from(query.limit.min(MAX_ROWS)).unwrap_or(0);
    let rows: Vec<Option<Kept>> = match (&query.asset, query.strangers) {
        (None, false) => store
            .prepare_cached(&format!("{COLUMNS} WHERE id < ? ORDER BY id DESC LIMIT ?"))?
            .query_map(params![before, limit], kept)?
            .collect::<Result<_, _>>()?,
        (asset, _) => store
            .prepare_cached(&format!(
                "{COLUMNS} WHERE asset = ? AND id < ? ORDER BY id DESC LIMIT ?"
            ))?
            .query_map(params![word(asset.as_ref()), before, limit], kept)?
            .collect::<Result<_, _>>()?,
    };
    Ok(rows.into_iter().flatten().collect())
}

/// Every stored trap of an asset, oldest first, as ledgers are built again from them.
pub(super) fn all(store: &Connection, mut each: impl FnMut(Kept)) -> rusqlite::Result<()> {
    let mut statement = store.prepare(&format!("{COLUMNS} WHERE asset <> '' ORDER BY id"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(kept) = kept(row)? {
            each(kept);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bailey_rules::snmp::oid::known;
    use bailey_rules::snmp::value::Value;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Store, StoreError};

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn body(values: Vec<VarBind>) -> Body {
        let notification = Notification {
            trap: Trap::new(known(&[1, 3, 6, 1]), values, Proof::Key),
            version: super::super::decode::Version::V3,
            user: Some("monitor".to_owned()),
            sealed: None,
            number: Some(1),
            uptime: 0,
            answer: None,
        };
        Body::of(&notification, [10, 1, 0, 2].into())
    }

    async fn write<T: Send + 'static>(
        store: &Store,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        let job = move |store: &Transaction<'_>| job(store).map_err(StoreError::failed("x"));
        store.write("x", job).await.unwrap()
    }

    async fn rows(store: &Store, query: TrapQuery) -> Vec<Kept> {
        store.read("x", move |store| read(store, &query)).await.unwrap()
    }

    #[tokio::test]
    async fn one_asset_cannot_drive_out_the_traps_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.db");
        let store = Store::open(&path, Arc::new(SystemClock), Arc::default()).unwrap();
        let (loud, quiet): (HostName, HostName) =
            ("core-1".parse().unwrap(), "core-2".parse().unwrap());
        let kept = quiet.clone();
        write(&store, move |store| {
            insert(store, Some(&kept), &body(Vec::new()), (NOW, NOW), 1)?;
            for _ in 0..MAX_OF_ONE + 50 {
                insert(store, Some(&loud), &body(Vec::new()), (NOW, NOW), 1)?;
            }
            cut(store, Some(&loud))
        })
        .await;
        let all = rows(&store, TrapQuery { limit: MAX_ROWS, ..TrapQuery::default() }).await;
        assert_eq!(all.len(), MAX_ROWS);
        let count: i64 = store
            .read("x", |store| store.query_row("SELECT count(*) FROM trap", [], |row| row.get(0)))
            .await
            .unwrap();
        assert_eq!(count, i64::try_from(MAX_OF_ONE).unwrap() + 1);
        let of_quiet = TrapQuery { asset: Some(quiet), limit: 10, ..TrapQuery::default() };
        assert_eq!(rows(&store, of_quiet).await.len(), 1);
    }

    #[tokio::test]
    async fn a_stored_trap_is_read_as_it_was_counted_and_goes_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.db");
        let store = Store::open(&path, Arc::new(SystemClock), Arc::default()).unwrap();
        let said = body(vec![VarBind::new(known(&[1, 3]), Value::Octets(b"x\xff".to_vec()))]);
        let written = said.clone();
        write(&store, move |store| {
            let id = insert(store, None, &written, (NOW, NOW), 1)?;
            again(store, id, NOW + Duration::from_secs(5), 2)
        })
        .await;
        let strangers = TrapQuery { strangers: true, limit: 10, ..TrapQuery::default() };
        let all = rows(&store, strangers.clone()).await;
        assert_eq!((all[0].times, all[0].last_at), (3, NOW + Duration::from_secs(5)));
        assert_eq!(all[0].body, said);
        let late = NOW + Duration::from_secs(6) + RETENTION;
        assert_eq!(write(&store, move |store| retain(store, late, 10)).await, 1);
        assert!(rows(&store, strangers).await.is_empty());
    }

    #[test]
    fn a_trap_that_is_too_long_keeps_what_fits_and_says_how_much_does_not() {
        let long = VarBind::new(known(&[1, 3]), Value::Octets(vec![7; 5_000]));
        let kept = body(vec![long; 5]);
        assert_eq!((kept.values.len(), kept.left_out), (1, 4));
    }
}
