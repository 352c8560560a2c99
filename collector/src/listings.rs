//! Listings of packet filters: bounded on their way in, packed in the store, unpacked for the proof.
//!
//! A listing takes this way: *gathered* (its parts, in their order, beside the session's reports),
//! *unpacked* (by a worker of the session, so that reports go on), *stored*, *held*. What is held is
//! therefore always on disk, and a restart holds the same. Where there is no room for one, or it could
//! not be stored, the agent is told again what is held, and sends what differs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bailey_rules::fact::bounded;
use bailey_rules::listing::{Listing, ListingDigest, ListingSource, Listings, MAX_LISTING};
use bailey_rules::time::Timestamp;
use bailey_wire::convert::ListingGathering;
use bailey_wire::listing::PackedListing;
use bailey_wire::v1;
use rusqlite::{Connection, Transaction, params};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::counters::ListingResult;
use crate::host::Host;
use crate::site::Site;
use crate::store::{OpenError, StoreError};

/// What room is counted in, in octets.
const ROOM_UNIT: usize = 1024;

/// Room for listings of all hosts on their way to the disk, packed: 64 MiB. Whoever finds none is
/// asked again later. A listing of one part needs none, so that a few hosts that send long ones keep
/// nobody else out.
const GATHERED: usize = 64 * 1024;

/// Room for the texts of all hosts that are held: 1 GiB, or 100 KiB for each of 10,000 hosts. A
/// listing that finds none is not held, and what depends on it is out of model.
const HELD: usize = 1024 * 1024;

/// Listings that are unpacked at once, whatever the number of hosts that send some.
const UNPACKED_AT_ONCE: usize = 2;

/// Listings of one session that wait to be unpacked and stored: one of each source.
const MAX_WAITING: usize = ListingSource::ALL.len();

/// The longest that the parts of one listing may take to come.
const GATHERED_WITHIN: Duration = Duration::from_mins(2);

/// How long to wait before an agent is told again what is held.
const AGAIN: Duration = Duration::from_secs(10);

/// The table; the store makes it.
pub(crate) const TABLES: &str = "
    CREATE TABLE listing (
        host INTEGER NOT NULL,
        source TEXT NOT NULL,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        ruleset TEXT NOT NULL,
        received_at INTEGER NOT NULL,
        length INTEGER NOT NULL,
        text_digest BLOB NOT NULL CHECK (length(text_digest) = 32),
        body BLOB NOT NULL,
        PRIMARY KEY (host, source)
    ) STRICT;
";

/// What all listings together may take.
#[derive(Debug)]
pub(crate) struct Limits {
    gathered: Arc<Semaphore>,
    held: Arc<Semaphore>,
    unpacking: Semaphore,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            gathered: Arc::new(Semaphore::new(GATHERED)),
            held: Arc::new(Semaphore::new(HELD)),
            unpacking: Semaphore::new(UNPACKED_AT_ONCE),
        }
    }
}

/// Room that is free again when this is dropped.
type Room = OwnedSemaphorePermit;

fn room(of: &Arc<Semaphore>, octets: usize) -> Option<Room> {
    let units = u32::try_from(octets / ROOM_UNIT + 1).ok()?;
    Arc::clone(of).try_acquire_many_owned(units).ok()
}

/// The listings of one host.
#[derive(Debug, Default)]
pub(crate) struct HostListings {
    listings: ArcSwap<Listings>,
    /// Sources that cannot be listed though there is something to list, and why.
    unlisted: ArcSwap<BTreeMap<ListingSource, String>>,
    rooms: Mutex<BTreeMap<ListingSource, Room>>,
}

impl HostListings {
    /// The newest of each source.
    pub(crate) fn listings(&self) -> Arc<Listings> {
        self.listings.load_full()
    }

    /// Sources that cannot be listed though there is something to list, and why.
    pub(crate) fn unlisted(&self) -> Arc<BTreeMap<ListingSource, String>> {
        self.unlisted.load_full()
    }

    /// What tells the listings that are held from every other.
    pub(crate) fn digests(&self) -> Vec<(ListingSource, ListingDigest)> {
        let held = self.listings.load();
        held.0.iter().map(|(source, listing)| (*source, listing.digest)).collect()
    }

    fn rooms(&self) -> MutexGuard<'_, BTreeMap<ListingSource, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for `octets` of a new listing, that of the one before it included.
    fn take_room(
        &self,
        source: ListingSource,
        octets: usize,
        limits: &Limits,
    ) -> Result<Room, String> {
        let held = self.listings.load();
        let others = held.0.iter().filter(|(other, _)| **other != source);
        let others: usize = others.map(|(_, listing)| listing.text.len()).sum();
        if others.saturating_add(octets) > MAX_LISTING {
            return Err(format!(
                "the listings of this host have {} octets together; at most {MAX_LISTING} are held",
                others.saturating_add(octets)
            ));
        }
        self.rooms().remove(&source);
        room(&limits.held, octets).ok_or_else(|| {
            format!(
                "the collector holds {} MiB of listings and has no room for more",
                HELD * ROOM_UNIT / (1024 * 1024)
            )
        })
    }

    fn hold(&self, source: ListingSource, listing: &Listing, room: Room) {
        self.rooms().insert(source, room);
        self.listings.rcu(|held| {
            let mut held = Listings::clone(held);
            held.0.insert(source, listing.clone());
            held
        });
        self.say_unlisted(source, "");
    }

    fn let_go(&self, source: ListingSource, why: &str) {
        self.listings.rcu(|held| {
            let mut held = Listings::clone(held);
            held.0.remove(&source);
            held
        });
        self.rooms().remove(&source);
        self.say_unlisted(source, why);
    }

    fn say_unlisted(&self, source: ListingSource, why: &str) {
        self.unlisted.rcu(|unlisted| {
            let mut unlisted = BTreeMap::clone(unlisted);
            match why {
                "" => unlisted.remove(&source),
                why => unlisted.insert(source, bounded(why)),
            };
            unlisted
        });
    }
}

/// What a worker is to do.
struct Work {
    source: ListingSource,
    /// The listing, or why there is none; empty where there is no such packet filter.
    what: Result<PackedListing, String>,
    /// Free again once it is done.
    _room: Option<Room>,
}

/// Takes the listings of one session.
pub(crate) struct Taking {
    site: Site,
    host: Arc<Host>,
    gathering: ListingGathering,
    room: Option<Room>,
    /// When what is gathered is given up.
    until: Instant,
    work: mpsc::Sender<Work>,
    failed: mpsc::Receiver<()>,
    again_at: Option<Instant>,
}

impl Taking {
    /// Begins with the session that has the number `session` among those of its host.
    pub(crate) fn begin(site: &Site, host: &Arc<Host>, session: u64) -> Self {
        let (work, waiting) = mpsc::channel(MAX_WAITING);
        let (fail, failed) = mpsc::channel(1);
        let worker = Worker { site: site.clone(), host: Arc::clone(host), session, fail };
        tokio::spawn(worker.run(waiting));
        Self {
            site: site.clone(),
            host: Arc::clone(host),
            gathering: ListingGathering::default(),
            room: None,
            until: Instant::now(),
            work,
            failed,
            again_at: None,
        }
    }

    /// Takes a part. Gives how many octets it counts for.
    pub(crate) fn part(&mut self, part: v1::ListingPart) -> usize {
        let (nth, parts, length) = (part.part, part.parts as usize, part.length as usize);
        let octets = part.octets.len();
        if nth != 0 && self.gathering.is_idle() {
            // The rest of one that was not taken up.
            return octets;
        }
        if nth == 0 {
            self.room = None;
            self.until = Instant::now() + GATHERED_WITHIN;
        }
        let taken = self.gathering.take(part);
        if taken.is_ok() && parts > 1 && !self.more_room(octets) {
            self.give_up();
            self.no_room();
            return octets;
        }
        match taken {
            Ok(None) => {}
            Ok(Some(packed)) => {
                let room = self.room.take();
                self.hand_on(Work { source: packed.source, what: Ok(packed), _room: room });
            }
            Err(error) => {
                self.room = None;
                self.site.counters().listings.of(ListingResult::Malformed).one();
                warn!(host = %self.host.name, %error, "a part of a listing is malformed");
            }
        }
        // What a few octets can be unpacked to counts as if it had come like that.
        if nth == 0 { octets.max(length.min(MAX_LISTING)) } else { octets }
    }

    fn more_room(&mut self, octets: usize) -> bool {
        let more = room(&self.site.listing_limits().gathered, octets);
        match (&mut self.room, more) {
            (Some(room), Some(more)) => room.merge(more),
            (none, Some(more)) => *none = Some(more),
            (_, None) => return false,
        }
        true
    }

    fn give_up(&mut self) {
        self.gathering.clear();
        self.room = None;
    }

    /// Takes that there is no listing of `source`, and why.
    pub(crate) fn none(&mut self, source: ListingSource, why: String) {
        self.hand_on(Work { source, what: Err(why), _room: None });
    }

    fn hand_on(&mut self, work: Work) {
        if self.work.try_send(work).is_err() {
            self.no_room();
        }
    }

    fn no_room(&mut self) {
        self.site.counters().listings.of(ListingResult::NoRoom).one();
        self.ask_again();
    }

    fn ask_again(&mut self) {
        self.again_at.get_or_insert_with(|| Instant::now() + AGAIN);
    }

    /// Completes when the agent is to be told again what is held. Cancel-safe.
    pub(crate) async fn again(&mut self) {
        let until = |at: Option<Instant>| async move {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        loop {
            let gathered = (!self.gathering.is_idle()).then_some(self.until);
            tokio::select! {
                () = until(self.again_at) => {
                    self.again_at = None;
                    return;
                }
                () = until(gathered) => {
                    debug!(host = %self.host.name, "a listing that never came whole is given up");
                    self.give_up();
                }
                failed = self.failed.recv() => match failed {
                    Some(()) => self.ask_again(),
                    // The worker has panicked: this session takes no more.
                    None => return std::future::pending().await,
                },
            }
        }
    }
}

/// Unpacks, stores and holds what a session has gathered, one after the other.
struct Worker {
    site: Site,
    host: Arc<Host>,
    session: u64,
    fail: mpsc::Sender<()>,
}

impl Worker {
    async fn run(self, mut waiting: mpsc::Receiver<Work>) {
        while let Some(work) = waiting.recv().await {
            let done = match work.what {
                Ok(packed) => self.take(packed).await,
                Err(why) => self.clear(work.source, why).await,
            };
            if let Err(error) = done {
                self.site.counters().listings.of(ListingResult::NotStored).one();
                debug!(host = %self.host.name, %error, "a listing is not stored");
                // One that waits to be told is enough.
                let _ = self.fail.try_send(());
            }
        }
    }

    async fn take(&self, packed: PackedListing) -> Result<(), StoreError> {
        let source = packed.source;
        let held = self.host.listings();
        if held.0.get(&source).is_some_and(|held| held.digest == packed.digest) {
            return Ok(());
        }
        let (text, room) = match self.unpack(&packed).await {
            Ok(unpacked) => unpacked,
            Err(why) => {
                self.site.counters().listings.of(ListingResult::Refused).one();
                warn!(host = %self.host.name, %source, why, "a listing is not taken");
                return self.clear(source, why).await;
            }
        };
        let listing = Listing {
            digest: packed.digest,
            ruleset: packed.ruleset.clone(),
            received_at: self.site.now(),
            text,
        };
        let (received_at, octets) = (listing.received_at, listing.text.len());
        let digest = listing.digest;
        let (host, session) = (Arc::clone(&self.host), self.session);
        let job = move |store: &Transaction<'_>| {
            let last = host.is_last_session(session);
            if last {
                write(store, host.no, &packed, received_at)
                    .map_err(StoreError::failed("write a listing"))?;
            }
            Ok::<_, StoreError>(last)
        };
        let (host, site) = (Arc::clone(&self.host), self.site.clone());
        let then = move |last: &bool| {
            if *last {
                host.kept_listings().hold(source, &listing, room);
                site.counters().listings.of(ListingResult::Held).one();
                host.touch();
                site.proof_wake().notify_one();
            }
        };
        self.site.store().write_then("write a listing", job, then).await?;
        debug!(host = %self.host.name, %source, %digest, octets, "a listing is held");
        Ok(())
    }

    async fn unpack(&self, packed: &PackedListing) -> Result<(Arc<str>, Room), String> {
        let limits = self.site.listing_limits();
        let length = packed.length as usize;
        let room = self.host.kept_listings().take_room(packed.source, length, limits)?;
        let packed = packed.clone();
        let unpack = move || packed.unpack().map(Arc::from);
        // The semaphore is never closed.
        let _turn = limits.unpacking.acquire().await;
        let text = tokio::task::spawn_blocking(unpack).await;
        let text = text.map_err(|error| error.to_string())?;
        Ok((text.map_err(|error| error.to_string())?, room))
    }

    /// Lets go what is held of `source`.
    async fn clear(&self, source: ListingSource, why: String) -> Result<(), StoreError> {
        let kept = self.host.kept_listings();
        let held = kept.listings().0.contains_key(&source);
        let said = kept.unlisted().get(&source).map_or("", String::as_str) == why;
        if !held && said {
            return Ok(());
        }
        let (host, session) = (Arc::clone(&self.host), self.session);
        let job = move |store: &Transaction<'_>| {
            let last = host.is_last_session(session);
            if last && held {
                remove(store, host.no, source).map_err(StoreError::failed("remove a listing"))?;
            }
            Ok::<_, StoreError>(last)
        };
        let (host, site) = (Arc::clone(&self.host), self.site.clone());
        let then = move |last: &bool| {
            if *last {
                host.kept_listings().let_go(source, &why);
                host.touch();
                site.proof_wake().notify_one();
            }
        };
        self.site.store().write_then("remove a listing", job, then).await.map(drop)
    }
}

fn write(
    transaction: &Transaction<'_>,
    host: i64,
    packed: &PackedListing,
    received_at: Timestamp,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            host,
            packed.source.as_str(),
            packed.digest.0,
            packed.ruleset,
            received_at.as_millis(),
            packed.length,
            packed.text_digest,
            &packed.octets[..],
        ])
        .map(drop)
}

fn remove(transaction: &Transaction<'_>, host: i64, source: ListingSource) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM listing WHERE host = ? AND source = ?")?
        .execute(params![host, source.as_str()])
        .map(drop)
}

/// Forgets the listings of a host that is no more.
pub(crate) fn forget(transaction: &Transaction<'_>, host: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM listing WHERE host = ?", [host]).map(drop)
}

/// Holds again what the store has of the host with the number `no`. What cannot be read is left out:
/// the agent sends it again.
pub(crate) fn restore(site: &Site, no: i64, host: &Host) -> Result<(), OpenError> {
    let rows = site.store().read_at_start(|store| read(store, no))?;
    for (packed, received_at) in rows {
        let source = packed.source;
        let length = packed.length as usize;
        let kept = host.kept_listings();
        let unpacked = packed
            .unpack()
            .map_err(|error| error.to_string())
            .and_then(|text| Ok((text, kept.take_room(source, length, site.listing_limits())?)));
        match unpacked {
            Ok((text, room)) => {
                let PackedListing { digest, ruleset, .. } = packed;
                let listing = Listing { digest, ruleset, received_at, text: text.into() };
                kept.hold(source, &listing, room);
            }
            Err(why) => warn!(host = %host.name, %source, why, "a stored listing is left out"),
        }
    }
    Ok(())
}

/// The listings of one host; those of sources that this version does not know are left out.
fn read(connection: &Connection, host: i64) -> rusqlite::Result<Vec<(PackedListing, Timestamp)>> {
    let mut statement = connection.prepare_cached(
        "SELECT source, digest, ruleset, received_at, length, text_digest, body FROM listing
         WHERE host = ?",
    )?;
    let mut rows = statement.query([host])?;
    let mut listings = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let Some(source) = ListingSource::named(&name) else { continue };
        let packed = PackedListing {
            source,
            digest: ListingDigest(row.get(1)?),
            ruleset: row.get(2)?,
            length: row.get(4)?,
            text_digest: row.get(5)?,
            octets: row.get::<_, Vec<u8>>(6)?.into(),
        };
        listings.push((packed, Timestamp::from_millis(row.get(3)?)));
    }
    Ok(listings)
}
