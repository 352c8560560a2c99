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
const MAX_OF_ONE: usize = 1_000;

/// The most octets of those traps; the oldest go first.
const MAX_OCTETS_OF_ONE: usize = 1024 * 1024;

/// The most traps of one answer.
const MAX_ROWS: usize = 200;

/// How long traps are kept.
const RETENTION: Duration = Duration::from_hours(30 * 24);

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
        body.leave_out_what_is_too_long();
        body
    }

    /// Leaves out values at the end until the rest fits [`MAX_BODY`].
    fn leave_out_what_is_too_long(&mut self) {
        let values = std::mem::take(&mut self.values);
        // With as many digits as the count of what is left out can have.
        self.left_out = values.len();
        let mut room = MAX_BODY.saturating_sub(json_length(self));
        let fits = |value: &&VarBind| {
            // A comma parts it from the one before it.
            let length = json_length(value) + 1;
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        };
        let fitting = values.iter().take_while(fits).count();
        self.left_out = values.len() - fitting;
        self.values = values;
        self.values.truncate(fitting);
    }

    /// The trap that it was.
    #[must_use]
    pub fn trap(&self) -> Trap {
        Trap::new(self.oid.clone(), self.values.clone(), self.proof)
    }
}

/// How many octets of JSON it takes; the most there are where it cannot be written.
fn json_length(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |json| json.len())
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

fn most(bound: usize) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
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

/// Counts a stored trap that came `times` times more, the last time at `last`. Says whether it is there
/// still: more that came since may have taken its place.
pub(super) fn again(
    store: &Transaction<'_>,
    id: i64,
    last: Timestamp,
    times: u64,
) -> rusqlite::Result<bool> {
    store
        .prepare_cached("UPDATE trap SET last_at = ?, times = times + ? WHERE id = ?")?
        .execute(params![last.as_millis(), number(times), id])
        .map(|rows| rows > 0)
}

/// Takes away what an asset has more than it may keep.
pub(super) fn cut(store: &Transaction<'_>, asset: Option<&HostName>) -> rusqlite::Result<()> {
    store
        .prepare_cached(
            "DELETE FROM trap WHERE id IN
             (SELECT id FROM
              (SELECT id, row_number() OVER newest AS nth, sum(octet_length(body)) OVER newest AS octets
               FROM trap WHERE asset = ?1 WINDOW newest AS (ORDER BY id DESC))
              WHERE nth > ?2 OR octets > ?3)",
        )?
        .execute(params![word(asset), most(MAX_OF_ONE), most(MAX_OCTETS_OF_ONE)])
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
        params![(now - RETENTION).as_millis(), most(step)],
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
    let limit = query.limit.min(MAX_ROWS);
    if query.asset.is_some() || query.strangers {
        return of_one(store, word(query.asset.as_ref()), before, limit);
    }
    let rows: Vec<Option<Kept>> = store
        .prepare_cached(&format!("{COLUMNS} WHERE id < ? ORDER BY id DESC LIMIT ?"))?
        .query_map(params![before, most(limit)], kept)?
        .collect::<Result<_, _>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// Those of one asset, or of all that are none.
fn of_one(
    store: &Connection,
    word: &str,
    before: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Kept>> {
    let rows: Vec<Option<Kept>> = store
        .prepare_cached(&format!("{COLUMNS} WHERE asset = ? AND id < ? ORDER BY id DESC LIMIT ?"))?
        .query_map(params![word, before, most(limit)], kept)?
        .collect::<Result<_, _>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// The assets of which traps are stored.
pub(super) fn assets(store: &Connection) -> rusqlite::Result<Vec<HostName>> {
    let mut statement = store.prepare("SELECT DISTINCT asset FROM trap WHERE asset <> ''")?;
    let words = statement.query_map([], |row| row.get::<_, String>(0))?;
    let words: Vec<String> = words.collect::<Result<_, _>>()?;
    Ok(words.iter().filter_map(|word| word.parse().ok()).collect())
}

/// What is stored of one asset, as its ledger is built again from it.
pub(super) fn of(store: &Connection, asset: &HostName) -> rusqlite::Result<Vec<Kept>> {
    of_one(store, asset.as_str(), i64::MAX, MAX_OF_ONE)
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
            assert!(again(store, id, NOW + Duration::from_secs(5), 2)?);
            assert!(!again(store, id + 1, NOW, 1)?, "what is not there is not counted");
            Ok(())
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

    #[tokio::test]
    async fn an_asset_keeps_no_more_octets_than_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.db");
        let store = Store::open(&path, Arc::new(SystemClock), Arc::default()).unwrap();
        let (loud, quiet): (HostName, HostName) =
            ("core-1".parse().unwrap(), "core-2".parse().unwrap());
        let long = VarBind::new(known(&[1, 3]), Value::Octets(vec![255; 3_000]));
        let long = body(vec![long]);
        let most = MAX_OCTETS_OF_ONE / json_length(&long);
        assert!((50..MAX_OF_ONE).contains(&most), "{most}");
        let name = loud.clone();
        write(&store, move |store| {
            insert(store, Some(&quiet), &body(Vec::new()), (NOW, NOW), 1)?;
            for _ in 0..most + 20 {
                insert(store, Some(&name), &long, (NOW, NOW), 1)?;
            }
            cut(store, Some(&name))
        })
        .await;
        let names = store.read("x", assets).await.unwrap();
        assert_eq!(names.len(), 2);
        let mut kept = store.read("x", move |store| of(store, &loud)).await.unwrap();
        assert_eq!(kept.len(), most);
        kept.sort_by_key(|kept| kept.id);
        assert_eq!(kept[0].id, 22, "the oldest went");
    }

    #[test]
    fn a_trap_that_is_too_long_keeps_what_fits_and_says_how_much_does_not() {
        let value = |length| VarBind::new(known(&[1, 3]), Value::Octets(vec![7; length]));
        let kept = body(vec![value(5_000); 5]);
        assert_eq!((kept.values.len(), kept.left_out), (1, 4));
        // What fits to the octet is kept, and one octet more is not.
        let around = json_length(&body(Vec::new())) + json_length(&value(0));
        let near = (MAX_BODY - around) / 2;
        let fits = |length: &usize| body(vec![value(*length)]).left_out == 0;
        let most = (near - 4..near + 4).rev().find(fits).unwrap();
        let kept = json_length(&body(vec![value(most)]));
        assert!(kept <= MAX_BODY && kept + 4 > MAX_BODY, "{kept}");
        assert!(!fits(&(most + 1)));
        let short = body(vec![value(1); bailey_rules::trap::MAX_VALUES]);
        assert_eq!((short.values.len(), short.left_out), (bailey_rules::trap::MAX_VALUES, 0));
    }
}
