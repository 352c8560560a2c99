//! One enrolled host at the collector: what it may send next, what of that is on disk, and the state
//! that follows from it.
//!
//! A message takes this way: *admitted* (its place in the order is decided, it gets a number and
//! goes to the store), *stored* (the commit returned), *settled* (applied to what is held, and
//! acknowledged). What is shown is therefore always on disk, and a restart that reads the log again
//! comes to the same state by the same functions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bailey_rules::check::State;
use bailey_rules::digest::FactDigest;
use bailey_rules::fact::enforcement::{Enforcement, OrderRef};
use bailey_rules::fact::firewall::Ruleset;
use bailey_rules::fact::{Fact, FactKey, FactKind, FactValue, Named as _, Reading};
use bailey_rules::host::{
    ApplyError, Connection, FactSet, HeldProbe, HostView, MAX_GAPS, MAX_INTERVAL, Pushed, Session,
};
use bailey_rules::listing::{ListingSource, Listings};
use bailey_rules::name::{BootId, HostKey, HostName, ZoneName};
use bailey_rules::report::{Gap, LossReason, Place, Report};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_wire::convert::{self, ConvertError, Decoded, OrderOutcome};
use bailey_wire::v1;
use bytes::Bytes;
use prost::Message as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::counters::{Counters, GapReason, ReportResult};
use crate::device::Device;
use crate::enrolment::Identity;
use crate::journal::{EVENT_BURST, EVENT_REFILL, NewEvent};
use crate::listings::HostListings;
use crate::numbering::{Admission, Numbering};
use crate::push::machine::{Seen, SessionSeen};
use crate::quota::{Bucket, Rate};
use crate::site::{EventKind, HostStatus};
use crate::skew::Skew;
use crate::store::{LogKind, LogRow, Logged, Room, Store, StoreError};

/// A host's whole state is written in place of its log when that has so many rows.
const SNAPSHOT_ROWS: u64 = 64;
/// See [`SNAPSHOT_ROWS`]; in octets.
const SNAPSHOT_OCTETS: usize = 256 * 1024;

/// What a host is taken to report at until it says so itself.
const FIRST_INTERVAL: Duration = Duration::from_secs(15);

/// Reports that a host may send steadily; a backlog of three days drains in under a minute.
const REPORTS: Rate = Rate { a_second: 500.0, burst: 5_000.0 };
/// Octets of reports that a host may send steadily.
const OCTETS: Rate = Rate { a_second: 4.0 * 1024.0 * 1024.0, burst: 32.0 * 1024.0 * 1024.0 };
/// Sessions that a host may begin.
const SESSIONS: Rate = Rate { a_second: 0.5, burst: 60.0 };
/// Certificates that a host may ask for.
const RENEWALS: Rate = Rate { a_second: 1.0 / 60.0, burst: 10.0 };

/// The most machines behind one identity that are remembered.
const MAX_MACHINES: usize = 8;

/// How often a host may be asked for everything.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// The most answers about orders that are remembered of a host; older ones are forgotten.
const MAX_OUTCOMES: usize = 8;

/// The most orders and confirmations that wait for a session to send them; more is refused.
const MAX_MAIL: usize = 8;

/// The facts that a proof rests on, beside the listings.
const PROOF_RESTS_ON: [FactKind; 6] = [
    FactKind::Interface,
    FactKind::Route,
    FactKind::Rule,
    FactKind::Neighbour,
    FactKind::Forwarding,
    FactKind::Ruleset,
];

/// What a session is to send besides answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mail {
    /// A signed order, as [`bailey_wire::order::SignedOrder::to_bytes`] gave it.
    Order { order: OrderRef, octets: Bytes },
    /// To keep what waits to be confirmed.
    Confirm(OrderRef),
}

/// Hosts and devices that wait to be judged.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    hosts: Mutex<Vec<Arc<Host>>>,
    devices: Mutex<Vec<Arc<Device>>>,
    pub(crate) wake: Notify,
    /// Told when something has changed that a proof rests on.
    pub(crate) proof: Notify,
}

impl Dirty {
    pub(crate) fn take(&self) -> Vec<Arc<Host>> {
        let hosts = std::mem::take(&mut *locked(&self.hosts));
        for host in &hosts {
            host.dirty.store(false, Ordering::Release);
        }
        hosts
    }

    pub(crate) fn add_device(&self, device: Arc<Device>) {
        locked(&self.devices).push(device);
        self.wake.notify_one();
    }

    pub(crate) fn take_devices(&self) -> Vec<Arc<Device>> {
        let devices = std::mem::take(&mut *locked(&self.devices));
        for device in &devices {
            device.taken();
        }
        devices
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One enrolled host.
#[derive(Debug)]
pub(crate) struct Host {
    /// Its number in the store.
    pub(crate) no: i64,
    pub(crate) key: HostKey,
    pub(crate) name: HostName,
    pub(crate) zone: ZoneName,
    /// Cancelled when the identity is revoked.
    pub(crate) revoked: CancellationToken,
    /// Its session is told here that something was stored.
    pub(crate) wake: Notify,
    epoch: AtomicU64,
    dirty: AtomicBool,
    /// The last row of the log that is in a snapshot on disk.
    snapshot_n: AtomicU64,
    queue: Arc<Dirty>,
    counters: Arc<Counters>,
    status: ArcSwap<HostStatus>,
    /// What its packet filters are, whole, as far as the host has sent it.
    listings: HostListings,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    view: Arc<HostView>,
    admitted: Numbering,
    settled: Numbering,
    /// Admitted and not yet settled, by their number.
    pending: VecDeque<(u64, Message)>,
    next_n: u64,
    stored_n: u64,
    settled_n: u64,
    /// Numberings of which more is on disk than the agent was told.
    moved: Vec<BootId>,
    /// Rows and octets of the log since the last snapshot.
    log_rows: u64,
    log_octets: usize,
    /// What the host's digest counts and we do not hold: facts of kinds that a newer agent knows.
    foreign: FactDigest,
    wants_everything: bool,
    asked_everything: Option<Instant>,
    live: Option<Live>,
    outcomes: VecDeque<OrderOutcome>,
    mail: VecDeque<Mail>,
    sessions: u64,
    machines: Vec<Machine>,
    skew: Skew,
    reports: Bucket,
    octets: Bucket,
    begins: Bucket,
    renewals: Bucket,
    events: Bucket,
    events_left_out: u64,
    heard_since_start: bool,
    /// Something has changed that a proof rests on, and nobody was told.
    proof_moved: bool,
}

/// SHA-256 of what tells one run of one machine from another.
type Machine = [u8; 32];

#[derive(Debug)]
struct Live {
    session: u64,
    replaced: CancellationToken,
    /// The ruleset that its hello named as pending.
    pending: Option<OrderRef>,
}

/// A message that takes a place in the host's order.
#[derive(Debug)]
struct Message {
    received_at: Timestamp,
    offset_millis: i64,
    octets: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Report(Box<Decoded>),
    Loss(Gap),
    Goodbye(Timestamp),
}

/// What the agent said, as it arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) sent_at: Timestamp,
    pub(crate) received_at: Timestamp,
    pub(crate) arrived: Instant,
    pub(crate) said: Said,
}

/// A message of a session that must be stored.
#[derive(Debug)]
pub(crate) enum Said {
    Report { body: Bytes, decoded: Box<Decoded> },
    Loss { body: Bytes, gap: Gap },
    Goodbye { body: Bytes, place: Place, at: Timestamp },
}

impl Said {
    /// A report. Its octets are kept for the log.
    pub(crate) fn report(wire: v1::Report) -> Result<Self, ConvertError> {
        let body = wire.encode_to_vec().into();
        Ok(Self::Report { body, decoded: Box::new(convert::report_from_wire(wire)?) })
    }

    pub(crate) fn loss(wire: &v1::Loss) -> Result<Self, ConvertError> {
        Ok(Self::Loss { body: wire.encode_to_vec().into(), gap: convert::loss_from_wire(wire)? })
    }

    pub(crate) fn octets(&self) -> usize {
        match self {
            Self::Report { body, .. } | Self::Loss { body, .. } | Self::Goodbye { body, .. } => {
                body.len()
            }
        }
    }
}

/// What became of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It goes to the store.
    Admitted,
    /// It is on disk already: everything up to this place.
    Stored(Place),
    /// It is on its way to the disk, or needs no acknowledgement.
    Known,
}

/// What a session begins with.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Its number among the sessions of the host.
    pub(crate) session: u64,
    /// Cancelled when another session of the host begins.
    pub(crate) replaced: CancellationToken,
    /// The last place that is on disk.
    pub(crate) acknowledged: Option<Place>,
    pub(crate) event: Option<NewEvent>,
}

/// A host's whole state: the last row of its log that is in it, and its body.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) upto: u64,
    pub(crate) body: Vec<u8>,
}

/// What a session must tell its agent.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// The last place on disk of each numbering that moved.
    pub(crate) acknowledged: Vec<Place>,
    /// The host must send everything.
    pub(crate) ask_everything: bool,
}

impl Host {
    /// A host of which nothing is known but its identity.
    pub(crate) fn new(
        no: i64,
        identity: &Identity,
        queue: Arc<Dirty>,
        counters: Arc<Counters>,
    ) -> Self {
        let view = Arc::new(HostView {
            key: identity.key,
            name: identity.host.clone(),
            zone: identity.zone.clone(),
            session: Session {
                enrolled_at: identity.enrolled_at,
                last_report_at: None,
                interval: FIRST_INTERVAL,
                connected: false,
                connection: None,
                goodbye_at: None,
                clock_ahead_millis: None,
                certificate_ends: identity.certificate_ends,
                certificate_began: identity.certificate_began,
                acknowledged: None,
                reports_accepted: 0,
                gaps: Vec::new(),
                lost_reports: 0,
                last_gap_at: None,
                twin_seen_at: None,
                approval_waiting_since: None,
            },
            facts: FactSet::default(),
            pushed: None,
        });
        let status = HostStatus {
            view: Arc::clone(&view),
            judged: Vec::new(),
            state: State::Unknown,
            judged_at: identity.enrolled_at,
        };
        let now = Instant::now();
        let every = |length: Duration| 1.0 / length.as_secs_f64();
        Self {
            no,
            key: identity.key,
            name: identity.host.clone(),
            zone: identity.zone.clone(),
            revoked: CancellationToken::new(),
            wake: Notify::new(),
            epoch: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
            snapshot_n: AtomicU64::new(0),
            queue,
            counters,
            status: ArcSwap::from_pointee(status),
            listings: HostListings::default(),
            held: Mutex::new(Held {
                view,
                admitted: Numbering::default(),
                settled: Numbering::default(),
                pending: VecDeque::new(),
                next_n: 1,
                stored_n: 0,
                settled_n: 0,
                moved: Vec::new(),
                log_rows: 0,
                log_octets: 0,
                foreign: FactDigest::EMPTY,
                wants_everything: false,
                asked_everything: None,
                live: None,
                outcomes: VecDeque::new(),
                mail: VecDeque::new(),
                sessions: 0,
                machines: Vec::new(),
                skew: Skew::default(),
                reports: Bucket::full(REPORTS, now),
                octets: Bucket::full(OCTETS, now),
                begins: Bucket::full(SESSIONS, now),
                renewals: Bucket::full(RENEWALS, now),
                events: Bucket::full(
                    Rate { a_second: every(EVENT_REFILL), burst: f64::from(EVENT_BURST) },
                    now,
                ),
                events_left_out: 0,
                heard_since_start: false,
                proof_moved: false,
            }),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        locked(&self.held)
    }

    /// The newest judgement.
    pub(crate) fn status(&self) -> Arc<HostStatus> {
        self.status.load_full()
    }

    pub(crate) fn set_status(&self, status: Arc<HostStatus>) {
        self.status.store(status);
    }

    /// Its newest listings.
    pub(crate) fn listings(&self) -> Arc<Listings> {
        self.listings.listings()
    }

    /// Sources that the host cannot list though there is something to list, and why.
    pub(crate) fn unlisted(&self) -> Arc<BTreeMap<ListingSource, String>> {
        self.listings.unlisted()
    }

    /// Where its listings are kept.
    pub(crate) fn kept_listings(&self) -> &HostListings {
        &self.listings
    }

    /// What is held now.
    pub(crate) fn view(&self) -> Arc<HostView> {
        Arc::clone(&self.held().view)
    }

    /// Whether a report came since the collector started.
    pub(crate) fn heard_since_start(&self) -> bool {
        self.held().heard_since_start
    }

    /// How often writes of this host failed.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Has the host judged soon.
    pub(crate) fn touch(self: &Arc<Self>) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            locked(&self.queue.hosts).push(Arc::clone(self));
            self.queue.wake.notify_one();
        }
    }

    /// Changes what is known of the session besides reports.
    pub(crate) fn change_session(self: &Arc<Self>, change: impl FnOnce(&mut Session)) {
        change(&mut Arc::make_mut(&mut self.held().view).session);
        self.touch();
    }

    /// Begins a session; the one before ends. `pending` is the ruleset that its hello names. `None` when the host begins too many.
    /// `restarting`: the collector itself has been away until just now.
    pub(crate) fn begin(
        self: &Arc<Self>,
        machine: Option<Machine>,
        pending: Option<OrderRef>,
        now: Timestamp,
        restarting: bool,
    ) -> Option<Begun> {
        let mut held = self.held();
        if !held.begins.take(Instant::now()) {
            return None;
        }
        let replaced = CancellationToken::new();
        held.sessions += 1;
        let session = held.sessions;
        let live = Live { session, replaced: replaced.clone(), pending };
        if let Some(before) = held.live.replace(live) {
            before.replaced.cancel();
        }
        held.mail.clear();
        held.skew = Skew::default();
        held.asked_everything = None;
        held.settle(&self.counters);
        held.moved.clear();
        let twin = machine.is_some_and(|machine| held.note_machine(machine));
        let silence = held.silence(now);
        let known = &held.view.session;
        let long = known.interval.saturating_mul(3);
        let event = match silence {
            _ if twin => Some((EventKind::Twin, twin_text())),
            None if known.reports_accepted == 0 && session == 1 => {
                Some((EventKind::Connected, Text::new("connected for the first time", "首次连接")))
            }
            Some(silence) if silence > long && !restarting => {
                let length = bailey_rules::time::spoken(silence);
                let text = Text::new(
                    format!("connected again after a silence of {}", length.en),
                    format!("沉默 {}后重新连接", length.zh),
                );
                Some((EventKind::Connected, text))
            }
            None | Some(_) => None,
        };
        let event = event.and_then(|(kind, text)| held.event(&self.name, now, kind, text, self));
        let acknowledged = held.settled.current();
        let session_view = &mut Arc::make_mut(&mut held.view).session;
        session_view.connected = true;
        if twin {
            session_view.twin_seen_at = Some(now);
        }
        drop(held);
        self.touch();
        Some(Begun { session, replaced, acknowledged, event })
    }

    /// Notes over which connection a session is open.
    pub(crate) fn is_open_over(self: &Arc<Self>, session: u64, connection: Connection) {
        let mut held = self.held();
        if held.live.as_ref().is_some_and(|live| live.session == session) {
            Arc::make_mut(&mut held.view).session.connection = Some(connection);
            drop(held);
            self.touch();
        }
    }

    /// Ends a session; nothing happens when another one has taken its place.
    pub(crate) fn end(self: &Arc<Self>, session: u64) {
        let mut held = self.held();
        if held.live.as_ref().is_some_and(|live| live.session == session) {
            held.live = None;
            let session_view = &mut Arc::make_mut(&mut held.view).session;
            session_view.connected = false;
            session_view.connection = None;
            drop(held);
            self.touch();
        }
    }

    /// Whether no session began after the one with this number, and the host is still enrolled.
    pub(crate) fn is_last_session(&self, session: u64) -> bool {
        self.held().sessions == session && !self.revoked.is_cancelled()
    }

    /// What pushes have to know of the host.
    pub(crate) fn seen(&self) -> Seen {
        let held = self.held();
        Seen {
            session: held
                .live
                .as_ref()
                .map(|live| SessionSeen { number: live.session, pending: live.pending }),
            outcomes: held.outcomes.iter().cloned().collect(),
            enforcement: held.view.facts.value::<Enforcement>("").cloned(),
        }
    }

    /// The highest number of any order that the host says it has seen.
    pub(crate) fn highest_order(&self) -> u64 {
        self.held().view.facts.value::<Enforcement>("").map_or(0, |facts| facts.highest)
    }

    /// Notes which ruleset the host was pushed last.
    pub(crate) fn set_pushed(self: &Arc<Self>, pushed: Option<Pushed>) {
        Arc::make_mut(&mut self.held().view).pushed = pushed;
        self.touch();
    }

    /// Has a session send something; false when it is not open any more, or does not send.
    pub(crate) fn post(&self, session: u64, mail: Mail) -> bool {
        let mut held = self.held();
        let open = held.live.as_ref().is_some_and(|live| live.session == session);
        if !open || held.mail.len() >= MAX_MAIL {
            return false;
        }
        held.mail.push_back(mail);
        drop(held);
        self.wake.notify_one();
        true
    }

    /// What this session is to send next.
    pub(crate) fn next_mail(&self, session: u64) -> Option<Mail> {
        let mut held = self.held();
        let open = held.live.as_ref().is_some_and(|live| live.session == session);
        if open { held.mail.pop_front() } else { None }
    }

    /// Notes what the agent said of an order.
    pub(crate) fn note_outcome(&self, outcome: OrderOutcome) {
        let mut held = self.held();
        if held.outcomes.len() >= MAX_OUTCOMES {
            held.outcomes.pop_front();
        }
        held.outcomes.push_back(outcome);
    }

    /// Notes the clock of a message that carries nothing else.
    pub(crate) fn heard(&self, sent_at: Timestamp, received_at: Timestamp) {
        self.held().note_clock(sent_at, received_at);
    }

    /// How long the host must wait before it may send more, after `octets` came.
    pub(crate) fn over_quota(&self, octets: usize, now: Instant) -> Duration {
        let mut held = self.held();
        let reports = held.reports.spend(1.0, now);
        reports.max(held.octets.spend(octets as f64, now))
    }

    /// Whether the host may have another certificate now.
    pub(crate) fn may_renew(&self, now: Instant) -> bool {
        self.held().renewals.take(now)
    }

    /// Decides about an arrival and sends what is new to the store.
    pub(crate) fn admit(
        self: &Arc<Self>,
        arrival: Arrival,
        room: Room,
        store: &Store,
    ) -> Result<Taken, StoreError> {
        let Arrival { sent_at, received_at, arrived, said } = arrival;
        let mut held = self.held();
        let offset_millis = held.note_clock(sent_at, received_at);
        let mut events = Vec::new();
        let octets = said.octets();
        let (kind, place, body, what, gaps) = match said {
            Said::Report { body, decoded } => {
                let place = decoded.report.place;
                let (hole, twin) = match held.admitted.admit(place) {
                    Admission::Next { hole, twin } => (hole, twin),
                    Admission::Duplicate => {
                        self.counters.reports.of(ReportResult::Duplicate).one();
                        return Ok(held.known(place.boot));
                    }
                };
                if twin {
                    events.extend(held.event(
                        &self.name,
                        received_at,
                        EventKind::Twin,
                        twin_text(),
                        self,
                    ));
                }
                self.counters.unknown_facts.many(decoded.unknown_facts.into());
                (LogKind::Report, place, body, What::Report(decoded), Vec::from_iter(hole))
            }
            Said::Loss { body, gap } => {
                let gaps = held.admitted.lose(&gap);
                if gaps.is_empty() {
                    return Ok(held.known(gap.boot));
                }
                let place = Place { boot: gap.boot, seq: gap.to };
                (LogKind::Loss, place, body, What::Loss(gap), gaps)
            }
            Said::Goodbye { body, place, at } => {
                (LogKind::Goodbye, place, body, What::Goodbye(at), Vec::new())
            }
        };
        for gap in &gaps {
            self.counters.gaps.of(reason_of(gap.reason)).one();
            self.counters.lost_reports.of(reason_of(gap.reason)).many(lost(gap));
            let text = gap_text(gap);
            events.extend(held.event(&self.name, received_at, EventKind::Gap, text, self));
        }
        if kind == LogKind::Goodbye {
            let text = Text::new("the agent was stopped on purpose", "代理程序正常停止");
            events.extend(held.event(&self.name, received_at, EventKind::Goodbye, text, self));
        }
        let n = held.next_n;
        held.next_n += 1;
        held.pending.push_back((n, Message { received_at, offset_millis, octets, what }));
        let logged = Logged { n, kind, place, received_at, offset_millis, body };
        let epoch = self.epoch();
        let row = LogRow { host: Arc::clone(self), epoch, logged, gaps, events, arrived };
        store.log(Box::new(row), room)?;
        Ok(Taken::Admitted)
    }

    /// Told by the store: everything up to the row `n` is on disk.
    pub(crate) fn stored(self: &Arc<Self>, n: u64) {
        let mut held = self.held();
        held.stored_n = held.stored_n.max(n);
        drop(held);
        self.wake.notify_one();
        self.touch();
    }

    /// Told by the store: a row that was admitted in `epoch` could not be written. Nothing admitted
    /// since the last commit will be; the session ends, and the agent sends it all again.
    pub(crate) fn not_stored(self: &Arc<Self>, epoch: u64) {
        let mut held = self.held();
        if self
            .epoch
            .compare_exchange(epoch, epoch + 1, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            return;
        }
        held.settle(&self.counters);
        held.pending.clear();
        held.admitted = held.settled.clone();
        if let Some(live) = &held.live {
            live.replaced.cancel();
        }
    }

    /// Applies what is on disk. Gives a snapshot when one is due.
    pub(crate) fn settle(&self) -> Option<Snapshot> {
        let mut held = self.held();
        held.settle(&self.counters);
        if std::mem::take(&mut held.proof_moved) {
            self.queue.proof.notify_one();
        }
        let due = held.log_rows >= SNAPSHOT_ROWS || held.log_octets >= SNAPSHOT_OCTETS;
        due.then(|| held.snapshot())
    }

    /// What the session must tell, once.
    pub(crate) fn due(&self) -> Due {
        let mut held = self.held();
        let moved = std::mem::take(&mut held.moved);
        let acknowledged =
            moved.into_iter().filter_map(|boot| held.settled.last_of(boot)).collect();
        let mut ask_everything = false;
        if held.wants_everything {
            let now = Instant::now();
            let asked = held.asked_everything;
            ask_everything = asked.is_none_or(|at| now.saturating_duration_since(at) >= ASK_AGAIN);
            if ask_everything {
                held.asked_everything = Some(now);
            }
        }
        Due { acknowledged, ask_everything }
    }

    /// Whether everything that was admitted is on disk and applied.
    pub(crate) fn is_settled(&self) -> bool {
        self.held().pending.is_empty()
    }

    /// The snapshot of what is held, for an orderly end; `None` when the store holds it already.
    pub(crate) fn last_snapshot(&self) -> Option<Snapshot> {
        let mut held = self.held();
        held.settle(&self.counters);
        (held.log_rows > 0).then(|| held.snapshot())
    }

    /// The snapshot could not be written: it stays due.
    pub(crate) fn snapshot_failed(&self) {
        self.held().log_rows += SNAPSHOT_ROWS;
    }

    /// The snapshot up to the row `upto` is on disk.
    pub(crate) fn snapshot_written(&self, upto: u64) {
        self.snapshot_n.fetch_max(upto, Ordering::AcqRel);
        self.counters.snapshots.one();
    }

    /// Whether the host can be built again without the row `n` of its log.
    pub(crate) fn needs_no_row(&self, n: u64) -> bool {
        n <= self.snapshot_n.load(Ordering::Acquire) || self.revoked.is_cancelled()
    }

    /// Makes a snapshot due, whatever its log.
    pub(crate) fn ask_for_snapshot(self: &Arc<Self>) {
        let mut held = self.held();
        held.log_rows = held.log_rows.max(SNAPSHOT_ROWS);
        drop(held);
        self.touch();
    }

    /// An event of this host, unless it has had too many.
    pub(crate) fn event(&self, at: Timestamp, kind: EventKind, text: Text) -> Option<NewEvent> {
        self.held().event(&self.name, at, kind, text, self)
    }

    /// Puts back what was saved. `everything`: have the host send everything, for it was saved by
    /// another version that may have known less.
    pub(crate) fn restore(&self, upto: u64, body: &[u8], everything: bool) -> Result<(), String> {
        let saved = saved::Host::decode(body).map_err(|error| error.to_string())?;
        let mut held = self.held();
        held.restore(saved)?;
        held.settled_n = upto;
        held.stored_n = upto;
        held.next_n = upto + 1;
        held.wants_everything |= everything;
        self.snapshot_n.store(upto, Ordering::Release);
        Ok(())
    }

    /// Applies a row of the log again, after a restart, unless it is in the snapshot. A row that cannot be understood any more is
    /// left out; what it said comes again with the next complete report.
    pub(crate) fn replay(&self, logged: Logged) {
        let mut held = self.held();
        let n = logged.n;
        if n <= held.settled_n {
            return;
        }
        let octets = logged.body.len();
        let what = match logged.kind {
            LogKind::Report => v1::Report::decode(logged.body)
                .map_err(|error| error.to_string())
                .and_then(|wire| convert::report_from_wire(wire).map_err(|e| e.to_string()))
                .map(|decoded| What::Report(Box::new(decoded))),
            LogKind::Loss => v1::Loss::decode(logged.body)
                .map_err(|error| error.to_string())
                .and_then(|wire| convert::loss_from_wire(&wire).map_err(|e| e.to_string()))
                .map(What::Loss),
            LogKind::Goodbye => Ok(What::Goodbye(logged.received_at)),
        };
        match what {
            Ok(what) => {
                let Logged { received_at, offset_millis, .. } = logged;
                held.pending.push_back((n, Message { received_at, offset_millis, octets, what }));
            }
            Err(why) => {
                tracing::warn!(host = %self.name, n, why, "a stored report cannot be read again");
                // Its place is taken all the same, or it would be missed.
                held.settled.admit(logged.place);
                held.wants_everything = true;
            }
        }
        held.stored_n = n;
        held.next_n = n + 1;
        held.settle(&Counters::default());
        held.admitted = held.settled.clone();
    }

    /// Ends the restoring.
    pub(crate) fn restored(&self) {
        let mut held = self.held();
        held.admitted = held.settled.clone();
        held.moved.clear();
        held.heard_since_start = false;
    }
}

/// Whether a report changes something that a proof rests on. Counters alone do not.
fn moves_proof(held: &FactSet, report: &Report) -> bool {
    let rests = |key: &FactKey| PROOF_RESTS_ON.contains(&key.kind);
    let same = |fact: &Fact| {
        let Some(held) = held.get(fact.key.kind, &fact.key.subject) else { return false };
        let digest = |reading: &Reading<FactValue>| {
            reading.known().and_then(Ruleset::of).map(|ruleset| ruleset.digest.clone())
        };
        match (digest(&held.reading), digest(&fact.reading)) {
            (Some(held), Some(new)) => held == new,
            (_, _) => *held.reading == fact.reading,
        }
    };
    let changed = || report.changed.iter().filter(|fact| rests(&fact.key));
    report.removed.iter().any(rests)
        || changed().any(|fact| !same(fact))
        || report.complete && changed().count() != held.iter().filter(|(key, _)| rests(key)).count()
}

fn reason_of(reason: LossReason) -> GapReason {
    match reason {
        LossReason::SpoolFull => GapReason::SpoolFull,
        LossReason::SpoolExpired => GapReason::SpoolExpired,
        LossReason::SpoolDamaged => GapReason::SpoolDamaged,
        LossReason::SpoolLost => GapReason::SpoolLost,
        LossReason::Undeclared => GapReason::Undeclared,
    }
}

fn lost(gap: &Gap) -> u64 {
    (gap.to - gap.from).saturating_add(1)
}

fn gap_text(gap: &Gap) -> Text {
    let count = lost(gap);
    let (en, zh) = match gap.reason {
        LossReason::SpoolFull => ("the agent's spool was full", "代理缓存已满"),
        LossReason::SpoolExpired => ("they grew too old in the agent's spool", "在代理缓存中过期"),
        LossReason::SpoolDamaged => ("the agent's spool was damaged", "代理缓存损坏"),
        LossReason::SpoolLost => ("the agent's spool was gone", "代理缓存丢失"),
        LossReason::Undeclared => ("nobody said why", "原因不明"),
    };
    Text::new(
        format!("{count} reports were lost ({} to {}): {en}", gap.from, gap.to),
        format!("丢失 {count} 条上报（{} 至 {}）：{zh}", gap.from, gap.to),
    )
}

fn twin_text() -> Text {
    Text::new(
        "two machines use this identity (a cloned disk?)",
        "两台机器正在使用同一身份（可能克隆了磁盘）",
    )
}

impl Held {
    /// How long nothing was heard of the host; `None` when nothing ever was.
    fn silence(&self, now: Timestamp) -> Option<Duration> {
        self.view.session.last_report_at.map(|at| at.age(now))
    }

    /// An event, unless the host has had too many.
    fn event(
        &mut self,
        host: &HostName,
        at: Timestamp,
        kind: EventKind,
        mut text: Text,
        of: &Host,
    ) -> Option<NewEvent> {
        if !self.events.take(Instant::now()) {
            self.events_left_out += 1;
            of.counters.events_left_out.one();
            return None;
        }
        let left_out = std::mem::take(&mut self.events_left_out);
        if left_out > 0 {
            text = Text::new(
                format!("{} ({left_out} events before this one were left out)", text.en),
                format!("{}（此前省略 {left_out} 条事件）", text.zh),
            );
        }
        Some(NewEvent { at, host: Some(host.clone()), kind, text, actor: None })
    }

    /// Notes which machine speaks; true when it is one that another had taken the place of.
    fn note_machine(&mut self, machine: Machine) -> bool {
        let at = self.machines.iter().position(|known| *known == machine);
        let twin = at.is_some_and(|at| at + 1 < self.machines.len());
        match at {
            Some(at) => self.machines[at..].rotate_left(1),
            None => {
                if self.machines.len() >= MAX_MACHINES {
                    self.machines.remove(0);
                }
                self.machines.push(machine);
            }
        }
        twin
    }

    fn note_clock(&mut self, sent_at: Timestamp, received_at: Timestamp) -> i64 {
        let offset = self.skew.note(sent_at, received_at);
        let ahead = Some(offset.saturating_neg());
        if self.view.session.clock_ahead_millis != ahead {
            Arc::make_mut(&mut self.view).session.clock_ahead_millis = ahead;
        }
        offset
    }

    /// How far the numbering of a message that came before is on disk.
    fn known(&self, boot: BootId) -> Taken {
        self.settled.last_of(boot).map_or(Taken::Known, Taken::Stored)
    }

    fn settle(&mut self, counters: &Counters) {
        while let Some((n, message)) = self.pending.pop_front_if(|(n, _)| *n <= self.stored_n) {
            self.settled_n = n;
            self.log_rows += 1;
            self.log_octets += message.octets;
            if let Some(boot) = self.apply(message, counters)
                && !self.moved.contains(&boot)
            {
                self.moved.push(boot);
            }
        }
    }

    /// Applies one message; gives its numbering when it took a place.
    fn apply(&mut self, message: Message, counters: &Counters) -> Option<BootId> {
        let Message { received_at, offset_millis, octets, what } = message;
        match what {
            What::Report(decoded) => {
                let place = decoded.report.place;
                let Admission::Next { hole, twin } = self.settled.admit(place) else {
                    debug_assert!(false, "a duplicate is never admitted");
                    return None;
                };
                counters.reports.of(ReportResult::Accepted).one();
                counters.report_bytes.many(octets as u64);
                self.note_gaps(hole, received_at);
                self.hold(*decoded, offset_millis, received_at, counters);
                let held = Arc::make_mut(&mut self.view);
                let interval = held.facts.probes().map(|(_, probe)| probe.interval);
                let interval = interval.filter(|interval| !interval.is_zero()).min();
                let session = &mut held.session;
                session.last_report_at = session.last_report_at.max(Some(received_at));
                session.goodbye_at = None;
                session.acknowledged = Some(place);
                session.reports_accepted = session.reports_accepted.saturating_add(1);
                session.interval = interval.unwrap_or(FIRST_INTERVAL).min(MAX_INTERVAL);
                if twin {
                    session.twin_seen_at = Some(received_at);
                }
                self.heard_since_start = true;
                Some(place.boot)
            }
            What::Loss(gap) => {
                let gaps = self.settled.lose(&gap);
                self.note_gaps(gaps, received_at);
                let session = &mut Arc::make_mut(&mut self.view).session;
                session.acknowledged = self.settled.current();
                Some(gap.boot)
            }
            What::Goodbye(at) => {
                let session = &mut Arc::make_mut(&mut self.view).session;
                session.goodbye_at = Some(at.min(received_at));
                None
            }
        }
    }

    fn note_gaps(&mut self, gaps: impl IntoIterator<Item = Gap>, at: Timestamp) {
        for gap in gaps {
            let session = &mut Arc::make_mut(&mut self.view).session;
            session.lost_reports = session.lost_reports.saturating_add(lost(&gap));
            session.last_gap_at = Some(at);
            session.gaps.insert(0, gap);
            session.gaps.truncate(MAX_GAPS);
        }
    }

    fn hold(
        &mut self,
        decoded: Decoded,
        offset_millis: i64,
        received_at: Timestamp,
        counters: &Counters,
    ) {
        let Decoded { report, shares, unknown_facts } = decoded;
        self.proof_moved |= moves_proof(&self.view.facts, &report);
        let facts = &mut Arc::make_mut(&mut self.view).facts;
        let (complete, mut difference) = (report.complete, report.digest);
        let applied = facts.apply(report, &shares, offset_millis, received_at);
        difference.remove(facts.digest());
        if complete {
            // What still differs now is what we have no word or no room for.
            self.foreign = difference;
            self.wants_everything = false;
            self.asked_everything = None;
            return;
        }
        match applied {
            Ok(()) => self.foreign = FactDigest::EMPTY,
            // Facts without a word here came or went: the difference may be theirs.
            Err(ApplyError::DigestDiffers) if unknown_facts > 0 => self.foreign = difference,
            Err(ApplyError::DigestDiffers) if difference == self.foreign => {}
            Err(ApplyError::DigestDiffers | ApplyError::TooManyFacts) => {
                if !self.wants_everything {
                    counters.send_everything.one();
                }
                self.wants_everything = true;
            }
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        self.log_rows = 0;
        self.log_octets = 0;
        Snapshot { upto: self.settled_n, body: self.save().encode_to_vec() }
    }

    fn save(&self) -> saved::Host {
        let session = &self.view.session;
        let millis = |at: Timestamp| at.as_millis();
        saved::Host {
            facts: self
                .view
                .facts
                .iter()
                .map(|(key, held)| saved::Fact {
                    kind: convert::kind_to_wire(key.kind).into(),
                    subject: key.subject.to_string(),
                    reading: convert::reading_to_bytes(&held.reading),
                    since: millis(held.since),
                    share: held.share.to_bytes().to_vec(),
                })
                .collect(),
            probes: self
                .view
                .facts
                .probes()
                .map(|(name, held)| saved::Probe {
                    name: convert::probe_to_wire(name).into(),
                    read_at: millis(held.read_at),
                    interval: u64::try_from(held.interval.as_millis()).unwrap_or(u64::MAX),
                    failed: held.failed.clone(),
                })
                .collect(),
            last_report_at: session.last_report_at.map(millis),
            goodbye_at: session.goodbye_at.map(millis),
            clock_ahead: session.clock_ahead_millis,
            reports_accepted: session.reports_accepted,
            gaps: session.gaps.iter().map(convert::loss_to_wire).collect(),
            lost_reports: session.lost_reports,
            last_gap_at: session.last_gap_at.map(millis),
            twin_seen_at: session.twin_seen_at.map(millis),
            numbering: self
                .settled
                .each()
                .map(|(boot, last)| saved::Numbering { boot: boot.as_bytes().to_vec(), last })
                .collect(),
            machines: self.machines.iter().map(|machine| machine.to_vec()).collect(),
            foreign: self.foreign.to_bytes().to_vec(),
            wants_everything: self.wants_everything,
        }
    }

    fn restore(&mut self, saved: saved::Host) -> Result<(), String> {
        let said = |error: ConvertError| error.to_string();
        let digest = |octets: &[u8]| {
            octets.try_into().map(FactDigest::from_bytes).map_err(|_| "a digest is cut".to_owned())
        };
        let mut facts = FactSet::default();
        for fact in saved.facts {
            // A fact of a kind that this version has no word for comes again if it is known then.
            let Some(kind) = convert::kind_from_wire(fact.kind) else { continue };
            let reading = convert::reading_from_bytes(kind, &fact.reading).map_err(said)?;
            let since = Timestamp::from_millis(fact.since);
            let restored = Fact { key: FactKey::new(kind, &fact.subject), reading };
            facts.restore_fact(restored, digest(&fact.share)?, since);
        }
        for probe in saved.probes {
            let Some(name) = convert::probe_from_wire(probe.name) else { continue };
            let held = HeldProbe {
                read_at: Timestamp::from_millis(probe.read_at),
                interval: Duration::from_millis(probe.interval),
                failed: probe.failed,
            };
            facts.restore_probe(name, held);
        }
        let numbering: Result<Vec<_>, String> = saved
            .numbering
            .iter()
            .map(|known| {
                let boot = BootId::try_from(&known.boot[..]).map_err(|error| error.to_string())?;
                Ok((boot, known.last))
            })
            .collect();
        self.settled = Numbering::restore(numbering?);
        self.machines = saved
            .machines
            .iter()
            .filter_map(|machine| machine.as_slice().try_into().ok())
            .collect();
        self.foreign = digest(&saved.foreign)?;
        self.wants_everything = saved.wants_everything;
        let at = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let interval = facts.probes().map(|(_, probe)| probe.interval);
        let interval = interval.filter(|interval| !interval.is_zero()).min();
        let view = Arc::make_mut(&mut self.view);
        view.facts = facts;
        view.session = Session {
            last_report_at: at(saved.last_report_at),
            goodbye_at: at(saved.goodbye_at),
            clock_ahead_millis: saved.clock_ahead,
            reports_accepted: saved.reports_accepted,
            gaps: saved
                .gaps
                .iter()
                .map(convert::loss_from_wire)
                .collect::<Result<_, _>>()
                .map_err(said)?,
            lost_reports: saved.lost_reports,
            last_gap_at: at(saved.last_gap_at),
            twin_seen_at: at(saved.twin_seen_at),
            acknowledged: self.settled.current(),
            interval: interval.unwrap_or(FIRST_INTERVAL).min(MAX_INTERVAL),
            ..view.session.clone()
        };
        Ok(())
    }
}

/// The form of a snapshot: protobuf, so that a later version can add to it.
mod saved {
    use bailey_wire::v1;
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Host {
        #[prost(message, repeated, tag = "1")]
        pub(super) facts: Vec<Fact>,
        #[prost(message, repeated, tag = "2")]
        pub(super) probes: Vec<Probe>,
        #[prost(int64, optional, tag = "3")]
        pub(super) last_report_at: Option<i64>,
        #[prost(int64, optional, tag = "4")]
        pub(super) goodbye_at: Option<i64>,
        #[prost(int64, optional, tag = "5")]
        pub(super) clock_ahead: Option<i64>,
        #[prost(uint64, tag = "6")]
        pub(super) reports_accepted: u64,
        #[prost(message, repeated, tag = "7")]
        pub(super) gaps: Vec<v1::Loss>,
        #[prost(uint64, tag = "8")]
        pub(super) lost_reports: u64,
        #[prost(int64, optional, tag = "9")]
        pub(super) last_gap_at: Option<i64>,
        #[prost(int64, optional, tag = "10")]
        pub(super) twin_seen_at: Option<i64>,
        #[prost(message, repeated, tag = "11")]
        pub(super) numbering: Vec<Numbering>,
        #[prost(bytes = "vec", repeated, tag = "12")]
        pub(super) machines: Vec<Vec<u8>>,
        #[prost(bytes = "vec", tag = "13")]
        pub(super) foreign: Vec<u8>,
        #[prost(bool, tag = "14")]
        pub(super) wants_everything: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Fact {
        #[prost(int32, tag = "1")]
        pub(super) kind: i32,
        #[prost(string, tag = "2")]
        pub(super) subject: String,
        #[prost(bytes = "bytes", tag = "3")]
        pub(super) reading: Bytes,
        #[prost(int64, tag = "4")]
        pub(super) since: i64,
        #[prost(bytes = "vec", tag = "5")]
        pub(super) share: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Probe {
        #[prost(int32, tag = "1")]
        pub(super) name: i32,
        #[prost(int64, tag = "2")]
        pub(super) read_at: i64,
        #[prost(uint64, tag = "3")]
        pub(super) interval: u64,
        #[prost(string, optional, tag = "4")]
        pub(super) failed: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Numbering {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) boot: Vec<u8>,
        #[prost(uint64, tag = "2")]
        pub(super) last: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn host() -> Arc<Host> {
        let identity = Identity {
            host: "oa-17".parse().unwrap(),
            zone: "inner".parse().unwrap(),
            key: HostKey::from_bytes([7; 32]),
            enrolled_at: NOW,
            certificate_began: NOW,
            certificate_ends: NOW,
            revoked_at: None,
            revoked_reason: None,
        };
        Arc::new(Host::new(1, &identity, Arc::default(), Arc::default()))
    }

    #[test]
    fn a_host_that_flaps_cannot_fill_the_journal() {
        let host = host();
        let event = || host.event(NOW, EventKind::Gap, Text::new("lost", "丢失"));
        let written = (0..1_000).filter(|_| event().is_some()).count();
        assert_eq!(written, EVENT_BURST as usize);
        assert_eq!(host.counters.events_left_out.get(), 1_000 - u64::from(EVENT_BURST));
    }

    #[test]
    fn a_host_cannot_begin_sessions_without_end() {
        let host = host();
        let begun =
            (0..1_000).filter(|_| host.begin(Some([1; 32]), None, NOW, false).is_some()).count();
        assert!(begun <= 61, "{begun}");
    }

    #[test]
    fn the_later_session_ends_the_one_before_and_its_end_changes_nothing() {
        let host = host();
        let first = host.begin(Some([1; 32]), None, NOW, false).unwrap();
        let second = host.begin(Some([1; 32]), None, NOW, false).unwrap();
        assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled());
        host.end(first.session);
        assert!(host.view().session.connected);
        host.end(second.session);
        assert!(!host.view().session.connected);
    }

    #[test]
    fn a_proof_is_moved_by_what_it_rests_on_and_not_by_counters() {
        let ruleset = |digest: &str, packets| {
            let ruleset = Ruleset {
                tables: Vec::new(),
                rules: 0,
                opaque_rules: 0,
                digest: digest.to_owned(),
                packets,
                octets: bailey_rules::unit::Bytes(0),
                changed_by: None,
            };
            Fact::known("nftables", ruleset)
        };
        let load = Fact::unreadable(FactKind::Load, "", "gone");
        let route = FactKey::new(FactKind::Route, "default via 10.1.0.1");
        let report = |complete, changed: Vec<Fact>, removed| Report {
            place: Place { boot: BootId::from_bytes([7; 16]), seq: 1 },
            taken_at: NOW,
            complete,
            probes: Vec::new(),
            changed,
            removed,
            digest: FactDigest::EMPTY,
        };
        let mut held = FactSet::default();
        held.restore_fact(ruleset("a", 1), FactDigest::EMPTY, NOW);
        for (said, moves) in [
            (report(false, vec![load.clone()], vec![]), false),
            (report(false, vec![ruleset("a", 2)], vec![]), false),
            (report(true, vec![ruleset("a", 2), load], vec![]), false),
            (report(true, vec![], vec![]), true),
            (report(false, vec![ruleset("b", 2)], vec![]), true),
            (
                report(false, vec![Fact::unreadable(FactKind::Ruleset, "nftables", "x")], vec![]),
                true,
            ),
            (report(false, vec![], vec![route]), true),
        ] {
            assert_eq!(moves_proof(&held, &said), moves, "{said:?}");
        }
    }

    #[test]
    fn a_damaged_snapshot_is_refused_with_a_reason() {
        let host = host();
        assert!(host.restore(1, &[0xff; 40], false).is_err());
        let cut = saved::Host { foreign: vec![1, 2], ..saved::Host::default() };
        assert_eq!(host.restore(1, &cut.encode_to_vec(), false).unwrap_err(), "a digest is cut");
    }
}
