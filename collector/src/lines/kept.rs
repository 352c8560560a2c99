//! What is kept of lines: how much each carried and how its far end answered, in samples of 5 min for
//! 30 days.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bailey_rules::device::line::Carried;
use bailey_rules::device::quality::Asked;
use bailey_rules::device::samples::MONTH;
use bailey_rules::name::HostKey;
use bailey_rules::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::site::Site;
use crate::store::StoreError;

/// Samples are written this often; one is made each 5 min.
const WRITTEN_EVERY: Duration = Duration::from_mins(1);

/// The most samples in one write; those beyond come with the next one.
const MAX_WRITTEN: usize = 4096;

pub(crate) const TABLES: &str = "
    CREATE TABLE line (
        no INTEGER PRIMARY KEY,
        device BLOB NOT NULL CHECK (length(device) = 32),
        name TEXT NOT NULL,
        UNIQUE (device, name)
    ) STRICT;
    CREATE TABLE line_carried (
        line INTEGER NOT NULL,
        at INTEGER NOT NULL,
        received INTEGER NOT NULL,
        sent INTEGER NOT NULL,
        PRIMARY KEY (line, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE line_asked (
        line INTEGER NOT NULL,
        at INTEGER NOT NULL,
        asked INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        out INTEGER NOT NULL,
        round_trip INTEGER,
        PRIMARY KEY (line, at)
    ) STRICT, WITHOUT ROWID;
";

/// What is kept of the lines of one device, each by time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// By the name of the interface.
    pub(crate) carried: BTreeMap<String, Vec<Carried>>,
    /// By the key of the line in the rule files.
    pub(crate) asked: BTreeMap<String, Vec<Asked>>,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    Carried(Carried),
    Asked(Asked),
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Sample {
    const fn at(self) -> Timestamp {
        match self {
            Self::Carried(Carried { at, .. }) | Self::Asked(Asked { at, .. }) => at,
        }
    }

    fn insert(self, store: &Transaction<'_>, line: i64) -> rusqlite::Result<()> {
        let written = match self {
            Self::Carried(Carried { at, received, sent }) => store
                .prepare_cached("INSERT OR REPLACE INTO line_carried VALUES (?, ?, ?, ?)")?
                .execute(params![line, at.as_millis(), number(received), number(sent)]),
            Self::Asked(Asked { at, asked, lost, out, round_trip }) => {
                let micros = round_trip.map(|took| i64::try_from(took.as_micros()).ok());
                store
                    .prepare_cached("INSERT OR REPLACE INTO line_asked VALUES (?, ?, ?, ?, ?, ?)")?
                    .execute(params![line, at.as_millis(), asked, lost, out, micros.flatten()])
            }
        };
        written.map(drop)
    }
}

/// The number of a line; `None` of a device that was taken away meanwhile.
fn line_of(store: &Transaction<'_>, device: &HostKey, name: &str) -> rusqlite::Result<Option<i64>> {
    store
        .prepare_cached(
            "INSERT OR IGNORE INTO line (device, name)
             SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM device WHERE key = ?1)",
        )?
        .execute(params![device.as_bytes(), name])?;
    store
        .prepare_cached("SELECT no FROM line WHERE device = ?1 AND name = ?2")?
        .query_row(params![device.as_bytes(), name], |row| row.get(0))
        .optional()
}

/// What is kept of every line.
pub(crate) fn all(store: &Connection) -> rusqlite::Result<HashMap<HostKey, Lines>> {
    let mut lines = HashMap::new();
    let mut named = store.prepare("SELECT no, device, name FROM line")?;
    let mut carried =
        store.prepare("SELECT at, received, sent FROM line_carried WHERE line = ? ORDER BY at")?;
    let mut asked = store.prepare(
        "SELECT at, asked, lost, out, round_trip FROM line_asked WHERE line = ? ORDER BY at",
    )?;
    let known = named.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?))
    })?;
    for line in known {
        let (no, device, name) = line?;
        // The table lets no other length in.
        let Ok(device) = HostKey::try_from(&device[..]) else { continue };
        let of_line: &mut Lines = lines.entry(device).or_default();
        let samples = carried.query_map([no], |row| {
            Ok(Carried {
                at: Timestamp::from_millis(row.get(0)?),
                received: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                sent: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
            })
        })?;
        let samples: Vec<Carried> = samples.collect::<rusqlite::Result<_>>()?;
        if !samples.is_empty() {
            of_line.carried.insert(name.clone(), samples);
        }
        let samples = asked.query_map([no], |row| {
            let micros =
                row.get::<_, Option<i64>>(4)?.and_then(|micros| u64::try_from(micros).ok());
            Ok(Asked {
                at: Timestamp::from_millis(row.get(0)?),
                asked: row.get(1)?,
                lost: row.get(2)?,
                out: row.get(3)?,
                round_trip: micros.map(Duration::from_micros),
            })
        })?;
        let samples: Vec<Asked> = samples.collect::<rusqlite::Result<_>>()?;
        if !samples.is_empty() {
            of_line.asked.insert(name, samples);
        }
    }
    Ok(lines)
}

/// Takes away at most `step` samples that are too old or of devices that are gone, and gives how many.
pub(crate) fn retain(
    store: &Transaction<'_>,
    now: Timestamp,
    step: usize,
) -> rusqlite::Result<usize> {
    const OLD: [&str; 2] = [
        "DELETE FROM line_carried WHERE line = ?1 AND at IN
         (SELECT at FROM line_carried WHERE line = ?1 AND at < ?2 ORDER BY at LIMIT ?3)",
        "DELETE FROM line_asked WHERE line = ?1 AND at IN
         (SELECT at FROM line_asked WHERE line = ?1 AND at < ?2 ORDER BY at LIMIT ?3)",
    ];
    let mut lines = store.prepare_cached(
        "SELECT no, NOT EXISTS (SELECT 1 FROM device WHERE key = line.device) FROM line",
    )?;
    let lines: Vec<(i64, bool)> = lines
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut gone = 0;
    for (line, is_gone) in lines {
        let before = if is_gone { i64::MAX } else { (now - MONTH).as_millis() };
        for old in OLD {
            let most = i64::try_from(step - gone).unwrap_or(i64::MAX);
            gone += store.prepare_cached(old)?.execute(params![line, before, most])?;
            if gone >= step {
                return Ok(gone);
            }
        }
    }
    store.execute(
        "DELETE FROM line WHERE NOT EXISTS (SELECT 1 FROM line_carried WHERE line = line.no)
         AND NOT EXISTS (SELECT 1 FROM line_asked WHERE line = line.no)",
        [],
    )?;
    Ok(gone)
}

/// Of which device, which line, and whether of its far end.
type Key = (HostKey, String, bool);

/// Writes down what comes to be known of lines.
pub(crate) struct Keeper {
    site: Site,
    /// When the newest sample that is on disk ended.
    written: HashMap<Key, Timestamp>,
}

impl Keeper {
    /// What devices hold of lines now is on disk already: it was read from there.
    pub(crate) fn new(site: Site) -> Self {
        let mut written = HashMap::new();
        for device in site.held_devices() {
            for (name, month) in &device.view().lines {
                let newest = month.samples().newest();
                written.extend(newest.map(|at| ((device.key, name.clone(), false), at)));
            }
            for (line, quality) in device.quality() {
                written.extend(quality.month().newest().map(|at| ((device.key, line, true), at)));
            }
        }
        Self { site, written }
    }

    /// Writes until the collector stops, and once more then.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(WRITTEN_EVERY) => {}
            }
            self.write().await;
        }
        self.write().await;
    }

    fn note(&mut self, samples: &[(Key, Sample)]) {
        for (key, sample) in samples {
            self.written.insert(key.clone(), sample.at());
        }
    }

    /// What is not on disk yet, of each line by time.
    fn unwritten(&self, most: usize) -> Vec<(Key, Sample)> {
        let mut samples = Vec::new();
        for device in self.site.held_devices() {
            let after = |key: &Key| self.written.get(key).copied();
            for (name, month) in &device.view().lines {
                let key = (device.key, name.clone(), false);
                let new = month.samples().since(after(&key));
                let new = new.map(|sample| (key.clone(), Sample::Carried(sample)));
                samples.extend(new.take(most - samples.len()));
            }
            for (line, quality) in device.quality() {
                let key = (device.key, line, true);
                let new = quality.month().since(after(&key));
                let new = new.map(|sample| (key.clone(), Sample::Asked(sample)));
                samples.extend(new.take(most - samples.len()));
            }
        }
        samples
    }

    async fn write(&mut self) {
        let samples = self.unwritten(MAX_WRITTEN);
        if samples.is_empty() {
            return;
        }
        let new = samples.clone();
        let job = move |store: &Transaction<'_>| {
            let write = || {
                new.iter().try_for_each(|((device, name, _), sample)| {
                    match line_of(store, device, name)? {
                        Some(line) => sample.insert(store, line),
                        None => Ok(()),
                    }
                })
            };
            write().map_err(StoreError::failed("keep what lines carried"))
        };
        match self.site.store().write("keep what lines carried", job).await {
            Ok(()) => self.note(&samples),
            Err(error) => warn!(%error, "what lines carried is written later"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::Store;

    const NOW: Timestamp = Timestamp::from_millis(1_795_415_520_000);
    const SAMPLE: Duration = Duration::from_mins(5);

    async fn write<T: Send + 'static>(
        store: &Store,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> T {
        store.write("x", move |store| job(store).map_err(StoreError::failed("x"))).await.unwrap()
    }

    fn carried(at: Timestamp) -> Carried {
        Carried { at, received: 900, sent: u64::MAX }
    }

    fn asked(at: Timestamp, round_trip: Option<Duration>) -> Asked {
        Asked { at, asked: 100, lost: 3, out: 10, round_trip }
    }

    #[tokio::test]
    async fn samples_are_read_as_they_were_written_until_they_are_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collector.db");
        let store = Store::open(&path, Arc::new(SystemClock), Arc::default()).unwrap();
        let (exit, gone) = (HostKey::from_bytes([1; 32]), HostKey::from_bytes([2; 32]));
        write(&store, move |store| {
            store
                .execute(
                    "INSERT INTO device VALUES (?, 'exit-1', 'outer', '172.20.0.1:161', x'', 0, 'root')",
                    [exit.as_bytes()],
                )
                .map(drop)
        })
        .await;
        let took = Some(Duration::from_micros(18_250));
        write(&store, move |store| {
            for sample in 0..10 {
                let at = NOW + SAMPLE * sample;
                let line = line_of(store, &exit, "GE1")?.unwrap();
                Sample::Carried(carried(at)).insert(store, line)?;
                Sample::Asked(asked(at, took.filter(|_| sample > 0))).insert(store, line)?;
            }
            assert_eq!(line_of(store, &gone, "GE1")?, None, "no such device");
            Ok(())
        })
        .await;
        let kept = store.read("x", all).await.unwrap();
        let lines = &kept[&exit];
        assert_eq!(lines.carried["GE1"].len(), 10);
        // A rate beyond what the table can hold is the most it can.
        assert_eq!(lines.carried["GE1"][0].sent, u64::try_from(i64::MAX).unwrap());
        assert_eq!(lines.asked["GE1"][..2], [asked(NOW, None), asked(NOW + SAMPLE, took)]);

        // A month later less five samples.
        let later = NOW + MONTH + SAMPLE * 5;
        assert_eq!(write(&store, move |store| retain(store, later, 7)).await, 7, "in steps");
        assert_eq!(write(&store, move |store| retain(store, later, 7)).await, 3);
        let kept = store.read("x", all).await.unwrap();
        assert_eq!(kept[&exit].carried["GE1"].len(), 5);
        assert_eq!(kept[&exit].asked["GE1"].len(), 5);

        // The device is taken away, and its lines with it.
        write(&store, |store| store.execute("DELETE FROM device", [])).await;
        assert_eq!(write(&store, move |store| retain(store, NOW, 100)).await, 10);
        assert_eq!(store.read("x", all).await.unwrap(), HashMap::new());
        store.close().await;
    }
}
