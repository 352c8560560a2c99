//! Devices in the store.

use std::net::SocketAddr;

use bailey_rules::name::{HostKey, HostName, ZoneName};
use bailey_rules::time::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};

use crate::enrolment::Actor;

pub(crate) const TABLES: &str = "
    CREATE TABLE device (
        key BLOB PRIMARY KEY CHECK (length(key) = 32),
        name TEXT NOT NULL UNIQUE,
        zone TEXT NOT NULL,
        address TEXT NOT NULL UNIQUE,
        credentials BLOB NOT NULL,
        added_at INTEGER NOT NULL,
        added_by TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// A device as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: HostKey,
    pub(crate) name: HostName,
    pub(crate) zone: ZoneName,
    pub(crate) address: SocketAddr,
    /// Sealed, as the vault gave it.
    pub(crate) credentials: Vec<u8>,
    pub(crate) added_at: Timestamp,
    pub(crate) added_by: Actor,
}

impl Record {
    pub(crate) fn insert(&self, store: &Transaction<'_>) -> rusqlite::Result<()> {
        store
            .prepare_cached("INSERT INTO device VALUES (?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![
                self.key.as_bytes(),
                self.name.as_str(),
                self.zone.as_str(),
                self.address.to_string(),
                self.credentials,
                self.added_at.as_millis(),
                self.added_by.as_str(),
            ])
            .map(drop)
    }
}

/// Gives a device other credentials; false when there is none with this key.
pub(crate) fn set_credentials(
    store: &Transaction<'_>,
    key: &HostKey,
    sealed: &[u8],
) -> rusqlite::Result<bool> {
    store
        .prepare_cached("UPDATE device SET credentials = ? WHERE key = ?")?
        .execute(params![sealed, key.as_bytes()])
        .map(|changed| changed > 0)
}

/// Takes a device away; false when there is none with this key.
pub(crate) fn remove(store: &Transaction<'_>, key: &HostKey) -> rusqlite::Result<bool> {
    store
        .prepare_cached("DELETE FROM device WHERE key = ?")?
        .execute([key.as_bytes()])
        .map(|gone| gone > 0)
}

/// Every device, by name.
pub(crate) fn all(store: &Connection) -> rusqlite::Result<Vec<Record>> {
    let mut statement = store.prepare(
        "SELECT key, name, zone, address, credentials, added_at, added_by FROM device ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Record {
            key: HostKey::try_from(&row.get::<_, Vec<u8>>(0)?[..]).map_err(|e| wrong(0, e))?,
            name: parsed(row, 1)?,
            zone: parsed(row, 2)?,
            address: parsed(row, 3)?,
            credentials: row.get(4)?,
            added_at: Timestamp::from_millis(row.get(5)?),
            added_by: Actor::named(&row.get::<_, String>(6)?),
        })
    })?;
    rows.collect()
}

fn wrong(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get::<_, String>(column)?.parse().map_err(|error| wrong(column, error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{Store, StoreError};

    fn record(name: &str, address: &str, octet: u8) -> Record {
        Record {
            key: HostKey::from_bytes([octet; 32]),
            name: name.parse().unwrap(),
            zone: "inner".parse().unwrap(),
            address: address.parse().unwrap(),
            credentials: vec![1, 2, octet],
            added_at: Timestamp::from_seconds(1_795_000_000),
            added_by: Actor::uid(0),
        }
    }

    async fn write<T: Send + 'static>(
        store: &Store,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        store.write("x", move |store| job(store).map_err(StoreError::failed("x"))).await
    }

    #[tokio::test]
    async fn a_device_is_read_as_it_was_written_and_a_store_without_devices_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.db");
        let open = || Store::open(&path, Arc::new(SystemClock), Arc::default()).unwrap();
        open().close().await;
        let before = Connection::open(&path).unwrap();
        before
            .execute_batch(
                "DROP TABLE device; DROP TABLE listing; DROP TABLE proof; DROP TABLE trap; \
                 DROP TABLE line; DROP TABLE line_carried; DROP TABLE line_asked; \
                 DROP INDEX event_kind",
            )
            .unwrap();
        before.pragma_update(None, "user_version", 2).unwrap();
        drop(before);
        let store = open();
        let (core, floor) =
            (record("core-1", "10.1.0.1:161", 1), record("floor-1", "[fd00:1::2]:1161", 2));
        for record in [floor.clone(), core.clone()] {
            write(&store, move |store| record.insert(store)).await.unwrap();
        }
        assert_eq!(store.read("x", all).await.unwrap(), [core.clone(), floor.clone()]);
        for twin in [record("core-1", "10.1.0.9:161", 3), record("core-3", "10.1.0.1:161", 3)] {
            assert!(write(&store, move |store| twin.insert(store)).await.is_err());
        }
        let key = core.key;
        assert!(write(&store, move |store| set_credentials(store, &key, &[9])).await.unwrap());
        assert!(write(&store, move |store| remove(store, &key)).await.unwrap());
        assert!(!write(&store, move |store| remove(store, &key)).await.unwrap());
        assert!(!write(&store, move |store| set_credentials(store, &key, &[9])).await.unwrap());
        assert_eq!(store.read("x", all).await.unwrap(), [floor]);
        store.close().await;
    }
}
