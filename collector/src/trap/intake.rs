//! From the queue to the store, to the ledgers, and back to the senders of informs.
//!
//! An inform is answered when it is on disk and not before: acknowledged means durable. When the
//! store cannot be written, its sender asks again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bailey_rules::check::Judged;
use bailey_rules::device::DeviceView;
use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::trap::catalogue::{Act, Catalogue, Meaning};
use bailey_rules::trap::ledger::Ledger;
use bailey_rules::trap::{checks, polled};
use rusqlite::Transaction;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::decode::Receiver;
use super::engine::EngineError;
use super::kept::{self, Body, Kept, MERGED, TrapQuery};
use super::listener::{LIMITS, Listener, Received};
use crate::counters::TrapResult;
use crate::datagrams::{Dropped, Loss, Losses, Reader, Shares};
use crate::journal::{self, EVENT_BURST, EVENT_REFILL, NewEvent};
use crate::poll::credentials::{self, CredentialsError};
use crate::poll::snmp::SnmpError;
use crate::queue::{Bounds, Waiting, queue};
use crate::quota::{Bucket, Rate};
use crate::senders::Senders;
use crate::settings::TrapSettings;
use crate::site::{Event, EventKind, Part, Site};
use crate::store::{OpenError, StoreError};

/// Traps that wait to be stored. A thread fills it, so that it is the only bound that is met when the
/// disk is slow. An ordinary trap has 200 octets; decoded, it takes some times as many.
const QUEUE: Bounds = Bounds { messages: 8_192, octets: 8 * 1024 * 1024 };

/// The most traps of one write.
const MAX_BATCH: usize = 500;

/// How often it is looked at what was dropped.
const LOOKED_AT: Duration = Duration::from_secs(1);

/// How long a message that comes again is the same one: a sender of informs asks again for so long, and
/// a network doubles a datagram at once. Later it is another, for a device that starts anew counts anew.
const ASKED_AGAIN: Duration = Duration::from_secs(30);

/// How long a trap is remembered, so that a copy of one with a key's proof is seen through: longer than a
/// message of SNMPv3 stays in time (RFC 3414 2.2.3).
const REMEMBERED: Duration = Duration::from_mins(6);

/// The most traps that are remembered.
const MAX_REMEMBERED: usize = 16_384;

/// Why traps cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum TrapsError {
    /// The address.
    #[error(
        "cannot listen on {address} for traps: {source}; choose another address under traps.listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file of credentials.
    #[error("traps.credentials: {0}")]
    Credentials(#[from] CredentialsError),
    /// The credentials cannot be used together.
    #[error("traps.credentials: {}: {why}", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The credentials cannot be used.
    #[error("traps.credentials: {0}")]
    Keys(#[from] SnmpError),
    /// The engine of the receiver.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No thread.
    #[error("no thread to receive traps: {0}")]
    Thread(io::Error),
}

/// What traps tell of every asset. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Traps(Arc<Held>);

struct Held {
    catalogue: Catalogue,
    ledgers: Mutex<HashMap<HostName, Ledger>>,
    received: AtomicBool,
}

impl Default for Traps {
    fn default() -> Self {
        Self(Arc::new(Held {
            catalogue: Catalogue::shipped(),
            ledgers: Mutex::default(),
            received: AtomicBool::new(false),
        }))
    }
}

impl Traps {
    fn ledgers(&self) -> MutexGuard<'_, HashMap<HostName, Ledger>> {
        self.0.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether traps are received at all.
    pub(crate) fn are_received(&self) -> bool {
        self.0.received.load(Ordering::Relaxed)
    }

    /// What traps mean.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// As [`Self::judged`], held against what was read of the device last.
    pub(crate) fn judged_of_device(&self, device: &DeviceView, now: Timestamp) -> Vec<Judged> {
        if let Some(ledger) = self.ledgers().get_mut(&device.name) {
            polled::confirm(ledger, device);
        }
        self.judged(&device.name, now)
    }

    /// What the traps of one asset come to at `now`; nothing while nothing is wrong.
    pub(crate) fn judged(&self, asset: &HostName, now: Timestamp) -> Vec<Judged> {
        let mut ledgers = self.ledgers();
        let Some(ledger) = ledgers.get_mut(asset) else { return Vec::new() };
        ledger.forget(now);
        if ledger.is_empty() {
            ledgers.remove(asset);
            return Vec::new();
        }
        checks::judge(ledger, now)
    }

    /// Notes one trap of an asset; gives what is worth an event.
    fn note(&self, asset: &HostName, trap: &bailey_rules::trap::Trap, at: Timestamp) -> Vec<Text> {
        let meanings = self.0.catalogue.meanings(trap);
        let mut ledgers = self.ledgers();
        let mut notable = Vec::new();
        for meaning in &meanings {
            if matches!(meaning.act, Act::Note) {
                notable.push(told(meaning));
                continue;
            }
            let ledger = ledgers.entry(asset.clone()).or_default();
            let noted = ledger.note(meaning, trap.proof, at);
            debug!(%asset, trap = meaning.trap, cause = meaning.cause, ?noted, "trap noted");
        }
        notable
    }

    /// Forgets an asset that was taken away.
    pub(crate) fn end(&self, asset: &HostName) {
        self.ledgers().remove(asset);
    }

    fn leave_out(&self, asset: &HostName, count: u64, now: Timestamp) {
        self.ledgers().entry(asset.clone()).or_default().leave_out(count, now);
    }

    /// Builds the ledgers again from what is stored, one asset after the other.
    pub(crate) fn restore(&self, site: &Site) -> Result<(), OpenError> {
        for asset in site.store().read_at_start(kept::assets)? {
            let kept = site.store().read_at_start(|store| kept::of(store, &asset))?;
            let mut came: Vec<(Timestamp, &Kept)> = Vec::with_capacity(kept.len() * 2);
            for kept in &kept {
                came.push((kept.first_at, kept));
                if kept.last_at > kept.first_at {
                    came.push((kept.last_at, kept));
                }
            }
            came.sort_by_key(|(at, kept)| (*at, kept.id));
            for (at, kept) in came {
                self.note(&asset, &kept.body.trap(), at);
            }
        }
        Ok(())
    }
}

fn told(meaning: &Meaning<'_>) -> Text {
    Text::new(
        format!("{}: {}", meaning.trap, meaning.text.en),
        format!("{}：{}", meaning.trap, meaning.text.zh),
    )
}

/// Begins to receive. Gives the address.
pub(crate) fn start(
    site: &Site,
    state: &std::path::Path,
    settings: &TrapSettings,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<SocketAddr, TrapsError> {
    let taken = read_credentials(&settings.credentials)?;
    let receiver = Receiver::new(state, &taken)?;
    let listen = |source| TrapsError::Listen { address: settings.listen, source };
    let reader = Reader::bind(settings.listen).map_err(listen)?;
    let address = reader.address();
    let answers = reader.socket().map_err(listen)?;
    let senders = site.senders().clone();
    let (queue, waiting) = queue(QUEUE);
    let dropped = Dropped::default();
    let mut listener = Listener {
        socket: reader.socket().map_err(listen)?,
        receiver,
        senders: senders.clone(),
        counters: Arc::clone(site.shared_counters()),
        clock: Arc::clone(site.clock()),
        queue,
        dropped: dropped.clone(),
        shares: Shares::new(LIMITS, Instant::now()),
    };
    let losses = Losses::new(Some(reader.socket().map_err(listen)?));
    let take = move |datagram: &[u8], source| listener.take(datagram, source);
    reader.start("traps", stop.clone(), take).map_err(TrapsError::Thread)?;
    let intake = Intake {
        site: site.clone(),
        senders,
        answers,
        dropped,
        memory: Memory::new(),
        events: HashMap::new(),
        losses,
    };
    tasks.spawn(intake.run(waiting));
    site.traps().0.received.store(true, Ordering::Relaxed);
    info!(%address, credentials = settings.credentials.len(), "traps are received");
    Ok(address)
}

fn read_credentials(files: &[PathBuf]) -> Result<Vec<credentials::Credentials>, TrapsError> {
    let mut users = HashSet::new();
    let mut all = Vec::new();
    for path in files {
        let read = credentials::read(path)?;
        if let Some(warning) = read.warning {
            warn!("{}", warning.en);
        }
        if let credentials::Credentials::User(user) = &read.credentials
            && !users.insert(user.name.clone())
        {
            let why = format!("the user {} stands in another file too", user.name);
            return Err(TrapsError::Twice { path: path.clone(), why });
        }
        all.push(read.credentials);
    }
    Ok(all)
}

/// What came lately, by its hash, and what is known of it. The oldest goes when there are too many.
struct Recent<V> {
    length: Duration,
    known: HashMap<u64, V>,
    order: VecDeque<(Instant, u64)>,
}

impl<V> Recent<V> {
    fn new(length: Duration) -> Self {
        Self { length, known: HashMap::new(), order: VecDeque::new() }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, hash)) = self.order.front().copied() {
            let old = now.saturating_duration_since(at) >= self.length;
            if !old && self.order.len() <= MAX_REMEMBERED {
                break;
            }
            self.order.pop_front();
            self.known.remove(&hash);
        }
    }

    fn remember(&mut self, hash: u64, value: V, now: Instant) {
        if self.known.insert(hash, value).is_none() {
            self.order.push_back((now, hash));
        }
    }

    fn get(&self, hash: u64) -> Option<&V> {
        self.known.get(&hash)
    }
}

/// What came lately.
struct Memory {
    hasher: RandomState,
    /// By number, time and content from one address.
    again: Recent<()>,
    /// By their seal, from whatever address. Only who holds a key can add one, so that no flood drives
    /// them out.
    sealed: Recent<()>,
    /// The rows of traps by what they say: their numbers, and when they began.
    rows: Recent<(i64, Timestamp)>,
}

/// What makes a message the same message as another.
#[derive(Debug, Clone, Copy)]
struct Same {
    again: u64,
    sealed: Option<u64>,
}

impl Memory {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            again: Recent::new(ASKED_AGAIN),
            sealed: Recent::new(REMEMBERED),
            rows: Recent::new(MERGED),
        }
    }

    fn same(&self, received: &Received) -> Same {
        let notification = &received.notification;
        let said = (&notification.trap.oid, &notification.trap.values, notification.number);
        let again = (received.source.ip(), notification.uptime, said);
        let seal = notification.sealed.as_ref();
        Same {
            again: self.hasher.hash_one(again),
            sealed: seal.map(|sealed| self.hasher.hash_one((sealed, said))),
        }
    }

    /// What makes a trap say the same.
    fn said(&self, asset: Option<&HostName>, body: &Body) -> u64 {
        let who = (asset.map(HostName::as_str), body.sender, body.proof);
        self.hasher.hash_one((who, &body.oid, &body.values))
    }

    fn forget(&mut self, now: Instant) {
        self.again.forget(now);
        self.sealed.forget(now);
        self.rows.forget(now);
    }

    fn knows(&self, same: Same) -> bool {
        self.again.get(same.again).is_some()
            || same.sealed.is_some_and(|sealed| self.sealed.get(sealed).is_some())
    }

    fn remember(&mut self, same: Same, now: Instant) {
        self.again.remember(same.again, (), now);
        if let Some(sealed) = same.sealed {
            self.sealed.remember(sealed, (), now);
        }
    }
}

/// A trap of a batch, ready to be written.
struct Row {
    asset: Option<HostName>,
    body: Body,
    said: u64,
    /// Its number, where it is stored already.
    id: Option<i64>,
    /// When the first of the batch came.
    began: Timestamp,
    last: Timestamp,
    times: u64,
}

struct Intake {
    site: Site,
    senders: Senders,
    answers: UdpSocket,
    dropped: Dropped,
    memory: Memory,
    events: HashMap<HostName, Bucket>,
    losses: Losses,
}

impl Intake {
    /// Takes traps until the thread that reads them has ended and none is left.
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting<Received>>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut tick = tokio::time::interval(LOOKED_AT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => self.look().await,
                count = waiting.recv_many(&mut batch, MAX_BATCH) => {
                    if count == 0 {
                        return;
                    }
                    let (traps, room): (Vec<Received>, Vec<_>) =
                        batch.drain(..).map(Waiting::parts).unzip();
                    self.take(traps).await;
                    drop(room);
                }
            }
        }
    }

    async fn take(&mut self, batch: Vec<Received>) {
        let now = Instant::now();
        self.memory.forget(now);
        let counters = Arc::clone(self.site.shared_counters());
        let mut rows: Vec<Row> = Vec::new();
        let mut by_said: HashMap<u64, usize> = HashMap::new();
        let mut fresh: Vec<Same> = Vec::new();
        let mut in_batch: HashSet<u64> = HashSet::new();
        let mut answers = Vec::new();
        let mut accepted = Vec::new();
        for received in batch {
            let same = self.memory.same(&received);
            let known = self.memory.knows(same)
                || in_batch.contains(&same.again)
                || same.sealed.is_some_and(|sealed| in_batch.contains(&sealed));
            let Received { at, source, notification } = received;
            if let Some(answer) = &notification.answer {
                answers.push((answer.clone(), source));
            }
            if known {
                counters.traps.of(TrapResult::Duplicate).one();
                continue;
            }
            fresh.push(same);
            in_batch.insert(same.again);
            in_batch.extend(same.sealed);
            let address = source.ip().to_canonical();
            let asset = self.senders.of(address);
            let body = Body::of(&notification, address);
            let said = self.memory.said(asset.as_ref(), &body);
            accepted.push((asset.clone(), notification.trap, at));
            if let Some(nth) = by_said.get(&said) {
                let row = &mut rows[*nth];
                row.last = row.last.max(at);
                row.times += 1;
                continue;
            }
            by_said.insert(said, rows.len());
            let stored = self.memory.rows.get(said).copied();
            let stored = stored.filter(|(_, first)| first.age(at) < MERGED);
            let id = stored.map(|(id, _)| id);
            rows.push(Row { asset, body, said, id, began: at, last: at, times: 1 });
        }
        match self.write(rows).await {
            Ok(numbered) => {
                for (said, id, first) in numbered {
                    self.memory.rows.remember(said, (id, first), now);
                }
                for same in fresh {
                    self.memory.remember(same, now);
                }
                for (answer, source) in answers {
                    // A sender that is gone needs no answer; another will ask again.
                    let _ = self.answers.send_to(&answer, source);
                }
                self.note(accepted).await;
            }
            Err(error) => {
                warn!(%error, traps = accepted.len(), "traps are not stored");
                let lost = u64::try_from(accepted.len()).unwrap_or(u64::MAX);
                counters.traps.of(TrapResult::NotStored).many(lost);
            }
        }
    }

    /// Stores the rows; gives the numbers of those that are new.
    async fn write(&self, rows: Vec<Row>) -> Result<Vec<(u64, i64, Timestamp)>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let job = move |store: &Transaction<'_>| {
            let mut numbered = Vec::new();
            let mut grown: HashSet<Option<HostName>> = HashSet::new();
            let write = || -> rusqlite::Result<()> {
                for row in rows {
                    // One that was taken away meanwhile is kept anew.
                    if let Some(id) = row.id
                        && kept::again(store, id, row.last, row.times)?
                    {
                        continue;
                    }
                    let span = (row.began, row.last);
                    let id = kept::insert(store, row.asset.as_ref(), &row.body, span, row.times)?;
                    numbered.push((row.said, id, row.began));
                    grown.insert(row.asset);
                }
                grown.iter().try_for_each(|asset| kept::cut(store, asset.as_ref()))
            };
            write().map_err(StoreError::failed("keep traps"))?;
            Ok(numbered)
        };
        self.site.store().write("keep traps", job).await
    }

    async fn note(
        &mut self,
        accepted: Vec<(Option<HostName>, bailey_rules::trap::Trap, Timestamp)>,
    ) {
        let counters = Arc::clone(self.site.shared_counters());
        let traps = self.site.traps().clone();
        let mut moved = HashSet::new();
        let mut events = Vec::new();
        for (asset, trap, at) in accepted {
            let known = traps.catalogue().knows(&trap.oid);
            let result = if known { TrapResult::Accepted } else { TrapResult::Unknown };
            counters.traps.of(result).one();
            let Some(asset) = asset else { continue };
            if !known {
                continue;
            }
            for text in traps.note(&asset, &trap, at) {
                let host = Some(asset.clone());
                if self.may_tell(&asset) {
                    events.push(NewEvent { at, host, kind: EventKind::Trap, text, actor: None });
                } else {
                    counters.events_left_out.one();
                }
            }
            moved.insert(asset);
        }
        for asset in &moved {
            self.site.touch_asset(asset);
        }
        self.tell(events).await;
    }

    fn may_tell(&mut self, asset: &HostName) -> bool {
        let rate =
            Rate { a_second: 1.0 / EVENT_REFILL.as_secs_f64(), burst: f64::from(EVENT_BURST) };
        let now = Instant::now();
        let full = || Bucket::full(rate, now);
        self.events.entry(asset.clone()).or_insert_with(full).take(now)
    }

    async fn tell(&self, events: Vec<NewEvent>) {
        if let Err(error) = journal::write(&self.site, "write events of traps", events).await {
            warn!(%error, "an event of a trap is not in the journal");
        }
    }

    /// Looks at what was dropped since.
    async fn look(&mut self) {
        let counters = Arc::clone(self.site.shared_counters());
        counters.traps.of(TrapResult::SocketFull).many(self.losses.by_kernel());
        let now = self.site.now();
        for (address, count) in self.dropped.take() {
            if let Some(asset) = self.senders.of(address) {
                self.site.traps().leave_out(&asset, count, now);
                self.site.touch_asset(&asset);
            }
        }
        let lost = counters.traps.each().filter(|(result, _)| result.is_loss());
        let counted = lost.map(|(_, count)| count).sum();
        match self.losses.look(counted, Instant::now()) {
            Some(Loss::More { lost, begins }) => self.tell_loss(lost, begins).await,
            Some(Loss::Over) => self.site.set_problem(Part::Traps, None),
            None => {}
        }
    }

    async fn tell_loss(&self, lost: u64, begins: bool) {
        if begins {
            let text = Text::new("traps are lost", "有陷阱丢失");
            let (at, kind) = (self.site.now(), EventKind::TrapsLost);
            self.tell(vec![NewEvent { at, host: None, kind, text, actor: None }]).await;
        }
        let message = format!(
            "{lost} traps were lost: more came than is taken, or the disk was slow. See \
             bailey_traps_total by result, and what the loudest sender is: bailey traps"
        );
        self.site.set_problem(Part::Traps, Some(message));
    }
}

impl Site {
    /// What devices said by syslog, newest first: of one asset, or of all; before event `before`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn messages(
        &self,
        asset: Option<HostName>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let read = move |store: &rusqlite::Connection| {
            journal::messages(store, asset.as_ref(), before, limit)
        };
        self.store().read("read messages of devices", read).await
    }

    /// Stored traps, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn kept_traps(&self, query: TrapQuery) -> Result<Vec<Kept>, StoreError> {
        self.store().read("read traps", move |store| kept::read(store, &query)).await
    }
}
