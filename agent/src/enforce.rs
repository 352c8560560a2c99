//! The enforcer: puts ordered rulesets into the kernel, and nothing else.
//!
//! It is a process of its own, beside the agent: it may change packet filters and has no network;
//! the agent has the network and may not change them. An order meets the parts in this order:
//! [`socket`] (who asks) → the signature ([`bailey_wire::order`]) → [`state`] (whether and what to do,
//! as steps) → [`ruleset`] (what the text can reach) → [`kernel`] (would it be taken) → [`kept`] (on
//! disk) → [`kernel`] (one transaction). [`listing`] and [`drift`] see when somebody else changes the
//! table afterwards.
//!
//! The nevers:
//! 1. Once a ruleset was confirmed, the kernel holds a confirmed one, a pending one until its
//!    deadline, or a quarantine until its end; never nothing. Stopping this process changes nothing.
//! 2. No table but `inet bailey` is touched.
//! 3. An order is followed only if the pinned key signed it, for this host, with a number higher than
//!    all before; the number is on disk before the kernel changes.
//! 4. Whatever is refused leaves the table octet by octet as it was, counters too.

pub mod drift;
pub mod kept;
pub mod kernel;
pub mod listing;
mod round;
pub mod ruleset;
pub mod socket;
pub mod state;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use bailey_rules::fact::enforcement::{MAX_OTHER_TABLES, OtherChange, WayRound};
use bailey_rules::name::BootId;
use bailey_wire::order::{Order, OrderError, SignedOrder, VerifyingKey, What};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use self::drift::{DriftEnded, Watchman};
use self::kept::{Kept, KeptError, Loaded, Pinned};
use self::kernel::{Kernel, KernelError};
use self::listing::Listing;
use self::ruleset::{BadText, RulesetText, TABLE};
use self::socket::{Answer, Asked, MAX_WAITING, Refusal, Request, Status};
use self::state::{Accepted, AcceptedWhat, Moment, OrderRef, Refused, State, Step, Wanted};
use crate::clock::{Clock as _, SystemClock};
use crate::probe::Roots;
use crate::probe::firewall::watch::{self, Watch};

/// Where the enforcer keeps its state unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/bailey-enforce";
/// Where it listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/bailey-enforce/socket";

/// A deadline is looked at so often, since `tokio::time` stands still while the host sleeps.
const BEAT: Duration = Duration::from_secs(1);
/// After something failed that must be done, it is tried again so often.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Without netlink, the number of the ruleset is asked for so often.
const POLL: Duration = Duration::from_secs(2);
/// The most who wait to be told of a change; whoever waits longest is answered before his time.
const MAX_WATCHERS: usize = 8;
/// Where changes come without end, reading takes at most this part of the time: one in ten.
const REST_AFTER_READING: u32 = 10;
/// The longest rest after a reading; drift is seen within seconds all the same.
const MAX_REST: Duration = Duration::from_secs(2);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The enforcer's own folder.
    pub folder: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    /// The state folder of the agent, whose owner may speak to the enforcer besides root.
    pub agent: Option<PathBuf>,
    /// Where the kernel's files are.
    pub roots: Roots,
}

/// Why the enforcer cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// Its folder.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The text of a kept order.
    #[error("kept order {version}: {source}")]
    Text {
        /// Which.
        version: u64,
        /// What is wrong with it.
        source: BadText,
    },
    /// A kept order is of a kind that has no ruleset.
    #[error("kept order {0} has no ruleset")]
    NoText(u64),
    /// The socket.
    #[error("cannot listen at {}: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel does not say which boot this is.
    #[error("{}: {why}", path.display())]
    Boot {
        /// Where it should stand.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl EnforceError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Kept(error) if error.is_full() => Refusal::FullDisk,
            Self::Kernel(KernelError::Refused(_)) => Refusal::KernelRefused,
            Self::Kernel(KernelError::NoProgram | KernelError::Unsure(_)) => Refusal::Unsure,
            Self::Kept(_)
            | Self::Text { .. }
            | Self::NoText(_)
            | Self::Socket { .. }
            | Self::Boot { .. } => Refusal::Disk,
        }
    }
}

/// A refusal by name, and why.
struct No(Refusal, String);

impl From<EnforceError> for No {
    fn from(error: EnforceError) -> Self {
        Self(error.refusal(), error.to_string())
    }
}

impl From<KeptError> for No {
    fn from(error: KeptError) -> Self {
        EnforceError::from(error).into()
    }
}

impl From<KernelError> for No {
    fn from(error: KernelError) -> Self {
        EnforceError::from(error).into()
    }
}

impl From<OrderError> for No {
    fn from(error: OrderError) -> Self {
        let name = match &error {
            OrderError::WrongKey { .. } => Refusal::WrongKey,
            OrderError::NotAnOrderFile
            | OrderError::TooLarge(_)
            | OrderError::Damaged(_)
            | OrderError::BadSignature(_)
            | OrderError::Unknown
            | OrderError::OutOfBounds { .. }
            | OrderError::NotAKey(_)
            | OrderError::Cryptography => Refusal::BadOrder,
        };
        Self(name, error.to_string())
    }
}

impl From<BadText> for No {
    fn from(error: BadText) -> Self {
        Self(Refusal::BadText, error.to_string())
    }
}

impl From<Refused> for No {
    fn from(error: Refused) -> Self {
        let name = match &error {
            Refused::Older { .. } => Refusal::Older,
            Refused::Expired { .. } => Refusal::Expired,
            Refused::InQuarantine(_) => Refusal::InQuarantine,
            Refused::QuarantineLength => Refusal::QuarantineLength,
            Refused::NotPending(_) => Refusal::NotPending,
        };
        Self(name, error.to_string())
    }
}

/// Puts the kernel in order as after a start, and ends: the confirmed ruleset is loaded, what was
/// pending when the host went down is reverted. For the boot, before there is a network.
///
/// When what is on disk is lost, a closed ruleset is loaded instead, which lets in nothing but SSH:
/// a host that enforced something never comes up open. On a host that never had an order, nothing
/// is loaded.
///
/// # Errors
/// When the kernel could not be put in order, also when the closed ruleset is in force instead.
pub async fn boot(settings: &Settings) -> Result<(), EnforceError> {
    let opened = Enforcer::open(settings);
    let settled = match opened {
        Ok(mut enforcer) => enforcer.settle().await.map(|()| enforcer),
        Err(error) => Err(error),
    };
    let enforcer = match settled {
        Ok(enforcer) => enforcer,
        Err(error) => {
            let in_use = matches!(error, EnforceError::Kept(KeptError::InUse(_)));
            if !in_use && Kept::had_orders(&settings.folder) {
                error!(%error, "the confirmed ruleset is lost; a closed one is loaded");
                Kernel::find()?.load(&RulesetText::closed()).await?;
            }
            return Err(error);
        }
    };
    match enforcer.state.wanted() {
        Wanted::Order(order) => info!(version = order.version, "the ruleset is in the kernel"),
        Wanted::NoTable => info!("no ruleset was ever confirmed; nothing is loaded"),
    }
    Ok(())
}

/// Runs the enforcer until `stop` completes. What is in the kernel then stays there.
///
/// # Errors
/// When it cannot start.
pub async fn run(settings: &Settings, stop: impl Future<Output = ()>) -> Result<(), EnforceError> {
    let mut enforcer = Enforcer::open(settings)?;
    // Before anything is loaded, so that no change goes by unseen.
    let mut watch = begin_watch();
    if let Err(error) = enforcer.settle().await {
        enforcer.fail(&error);
    }
    enforcer.look_at(&mut watch).await;
    let listener = socket::listen(&settings.socket)
        .map_err(|source| EnforceError::Socket { path: settings.socket.clone(), source })?;
    let (send, mut requests) = mpsc::channel(MAX_WAITING);
    let serving = tokio::spawn(socket::serve(listener, settings.agent.clone(), send));
    info!(folder = %settings.folder.display(), "the enforcer is ready");
    tokio::pin!(stop);
    loop {
        // Who asks without end does not keep a deadline from being kept.
        if enforcer.due().is_some_and(|due| due <= Instant::now()) {
            enforcer.tend().await;
        }
        let due = enforcer.due();
        let earliest = enforcer.not_before;
        tokio::select! {
            Some(asked) = requests.recv() => enforcer.answer(asked).await,
            told = changed(watch.as_mut(), earliest) => {
                if let Err(error) = told {
                    warn!(%error, "the kernel does not tell of changes any more; it is asked instead");
                    watch = None;
                }
                enforcer.look_at(&mut watch).await;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                enforcer.tend().await;
            }
            () = &mut stop => break,
        }
        enforcer.tell_watchers();
    }
    serving.abort();
    // A socket that nobody listens at would only look like an enforcer that hangs.
    let _ = std::fs::remove_file(&settings.socket);
    info!("the enforcer has stopped; the ruleset stays in the kernel");
    Ok(())
}

fn begin_watch() -> Option<Watch> {
    Watch::begin()
        .inspect_err(|error| {
            warn!(%error, "the kernel does not tell of changes of its rules; it is asked instead");
        })
        .ok()
}

/// Completes when rules may have changed.
async fn changed(watch: Option<&mut Watch>, earliest: Instant) -> std::io::Result<()> {
    match watch {
        Some(watch) => watch.changed(earliest).await,
        None => {
            tokio::time::sleep(POLL).await;
            Ok(())
        }
    }
}

/// Everything that the enforcer has.
#[derive(Debug)]
struct Enforcer {
    kept: Kept,
    kernel: Kernel,
    folder: PathBuf,
    boot: BootId,
    pinned: Option<Pinned>,
    /// As it is on disk, unless `unsaved`.
    state: State,
    /// The kernel is ahead of the disk, which is still to be written.
    unsaved: bool,
    /// What the kernel showed of our table after it was put there; `None`: none of ours is there.
    applied: Option<Listing>,
    /// Whether the ruleset in force is put back when somebody changes it.
    restore: bool,
    watchman: Watchman,
    /// What could not be done, and when it is tried again.
    problem: Option<(String, Instant)>,
    /// Changes are not looked at before.
    not_before: Instant,
    /// The kernel's rules were compared when they had this number.
    looked_at: Option<u32>,
    /// The last time that somebody changed another table.
    other: Option<OtherChange>,
    /// What other tables do so that packets get round ours.
    round: Vec<WayRound>,
    /// Who waits for a change.
    watchers: VecDeque<Watcher>,
}

/// Somebody who waits until things stand otherwise than he knows.
#[derive(Debug)]
struct Watcher {
    seen: u64,
    answer: oneshot::Sender<Answer>,
}

impl Enforcer {
    fn open(settings: &Settings) -> Result<Self, EnforceError> {
        let kernel = Kernel::find()?;
        let boot = read_boot(&settings.roots)?;
        let kept = Kept::open(&settings.folder)?;
        let state = kept.state()?;
        // Without it no new order is followed; what was confirmed stays all the same.
        let pinned = kept.pinned().unwrap_or_else(|error| {
            error!(%error, "the pinned key is lost; pin it again");
            None
        });
        Ok(Self {
            kept,
            kernel,
            folder: settings.folder.clone(),
            boot,
            pinned,
            state,
            unsaved: false,
            applied: None,
            restore: false,
            watchman: Watchman::default(),
            problem: None,
            not_before: Instant::now(),
            looked_at: None,
            other: None,
            round: Vec::new(),
            watchers: VecDeque::new(),
        })
    }

    fn now(&self) -> Moment {
        Moment { wall: SystemClock.now(), boot: self.boot, up: up() }
    }

    /// Brings the kernel to what the state on disk says, whatever ended the process before.
    async fn settle(&mut self) -> Result<(), EnforceError> {
        let steps = self.state.start(self.now());
        if let Some(loaded) = self.kept.loaded()
            && loaded.boot == self.boot
            && let [Step::Load(Wanted::Order(order))] = steps[..]
            && loaded.order == order
        {
            // It is there already, and its counters go on. What somebody changed meanwhile is drift.
            self.restore = self.text_of(order)?.1;
            self.applied = Some(Listing::parse(&loaded.listing));
            return Ok(());
        }
        self.perform(steps).await
    }

    /// Does steps in their order. One that fails ends the row, except that a state is held in memory
    /// if the kernel is already there: then only the disk is behind.
    async fn perform(&mut self, steps: Vec<Step>) -> Result<(), EnforceError> {
        let mut loaded = false;
        for step in steps {
            match step {
                Step::Load(wanted) => {
                    self.load(wanted).await?;
                    loaded = true;
                }
                Step::Keep(state) => match self.kept.keep(&state) {
                    Ok(()) => {
                        self.state = *state;
                        self.unsaved = false;
                    }
                    Err(error) if loaded => {
                        self.state = *state;
                        self.unsaved = true;
                        self.fail(&error.into());
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Ok(())
    }

    async fn load(&mut self, wanted: Wanted) -> Result<(), EnforceError> {
        match wanted {
            Wanted::NoTable => {
                self.forget_loaded();
                self.kernel.unload().await?;
                self.applied = None;
            }
            Wanted::Order(mut order) => {
                let (text, restore) = match (self.text_of(order), self.state.before) {
                    (Err(error), Some(before)) if Some(order) == self.state.confirmed => {
                        error!(%error, before = before.version, "the confirmed ruleset is lost; the one before it is loaded");
                        order = before;
                        self.text_of(before)?
                    }
                    (text, _) => text?,
                };
                self.enter(order, &text).await?;
                self.restore = restore;
                info!(version = order.version, "the ruleset is loaded");
            }
        }
        self.watchman.end(DriftEnded::Replaced, SystemClock.now());
        Ok(())
    }

    /// Puts the table into the kernel and notes how it looks there.
    async fn enter(&mut self, order: OrderRef, text: &RulesetText) -> Result<(), EnforceError> {
        self.forget_loaded();
        let listing = self.kernel.load(text).await?;
        self.applied = Some(Listing::parse(&listing));
        self.kept.keep_loaded(&Loaded { boot: self.boot, order, listing });
        Ok(())
    }

    /// A note that stays although it should not still names another order than the one loaded next.
    fn forget_loaded(&self) {
        if let Err(error) = self.kept.forget_loaded() {
            warn!(%error, "cannot note that the kernel is about to change");
        }
    }

    /// The text of a kept order, verified anew, and whether it is put back when changed.
    fn text_of(&self, order: OrderRef) -> Result<(RulesetText, bool), EnforceError> {
        let version = order.version;
        let what = self.kept.order(order)?.what;
        let (text, restore) = text_in(what).ok_or(EnforceError::NoText(version))?;
        let text =
            RulesetText::parse(&text).map_err(|source| EnforceError::Text { version, source })?;
        Ok((text, restore))
    }

    fn fail(&mut self, error: &EnforceError) {
        let text = error.to_string();
        if self.problem.as_ref().is_none_or(|(before, _)| *before != text) {
            error!(error = %text, "cannot do what must be done; it is tried again");
        }
        self.problem = Some((text, Instant::now() + TRY_AGAIN));
    }

    /// When [`Enforcer::tend`] is to be called at the latest; `None`: not at all.
    fn due(&self) -> Option<Instant> {
        if let Some((_, again)) = &self.problem {
            return Some(*again);
        }
        let due = self.state.due_in(self.now());
        let restore = self.restore.then(|| self.watchman.restore_in(up())).flatten();
        let wait = due.into_iter().chain(restore).min()?;
        Some(Instant::now() + wait.min(BEAT))
    }

    /// Does what is due: deadlines, putting the table back, writing what could not be written.
    async fn tend(&mut self) {
        let again = self.problem.take();
        if let Err(error) = self.try_tend().await {
            // Said once; `fail` compares with what was said before.
            self.problem = self.problem.take().or(again);
            self.fail(&error);
        }
    }

    async fn try_tend(&mut self) -> Result<(), EnforceError> {
        let steps = self.state.tick(self.now());
        if !steps.is_empty() {
            self.perform(steps).await?;
            if let Some(last) = self.state.last {
                warn!(version = last.version, why = ?last.what, "the ruleset before is in force again");
            }
        }
        if self.unsaved {
            self.kept.keep(&self.state)?;
            self.unsaved = false;
        }
        if self.applied.is_none() && !self.state.untouched() {
            self.load(self.state.wanted()).await?;
        }
        if self.restore && self.watchman.restore_in(up()) == Some(Duration::ZERO) {
            self.watchman.restoring(up());
            let (drift, restored) = (self.watchman.drift().cloned(), self.watchman.restored() + 1);
            let by = drift.and_then(|drift| drift.by);
            self.put_back().await?;
            warn!(by, restored, "somebody changed the ruleset; it was put back");
        }
        Ok(())
    }

    async fn put_back(&mut self) -> Result<(), EnforceError> {
        let Wanted::Order(order) = self.state.wanted() else { return Ok(()) };
        let (text, _) = self.text_of(order)?;
        self.enter(order, &text).await?;
        self.watchman.was_restored(SystemClock.now());
        Ok(())
    }

    /// Looks at what has changed; if that cannot be read, again after a while.
    async fn look_at(&mut self, watch: &mut Option<Watch>) {
        if !self.look(watch.as_mut()).await
            && let Some(watch) = watch
        {
            self.not_before = Instant::now() + TRY_AGAIN;
            watch.remind();
        }
    }

    /// Compares the kernel's table with the one that was put there. Gives whether it could be read.
    async fn look(&mut self, mut watch: Option<&mut Watch>) -> bool {
        if self.applied.is_none() {
            return true;
        }
        let begin = Instant::now();
        let generation = watch::generation().ok();
        if generation.is_some() && generation == self.looked_at {
            return true;
        }
        let listing = match self.kernel.listing().await {
            Ok(listing) => Listing::parse(&listing),
            Err(error) => {
                warn!(%error, "cannot read our table");
                return false;
            }
        };
        let last = generation.and_then(|generation| watch.as_ref()?.change(generation));
        let last = last.and_then(|change| change.by.clone());
        let mut touched = watch.as_mut().map(|watch| watch.touched()).unwrap_or_default();
        let (family, table) = TABLE.split_once(' ').expect("a family and a name");
        let by = touched.remove(&(family.to_owned(), table.to_owned())).unwrap_or(last);
        self.look_at_others(touched);
        let Some(applied) = &self.applied else { return true };
        let difference = applied.difference(&listing);
        let (added, removed) = (difference.added.len(), difference.removed.len());
        if self.watchman.seen(difference, by.clone(), SystemClock.now()) {
            if added + removed == 0 {
                info!("our table is again as it should be");
            } else {
                warn!(by, added, removed, "somebody else changed our table");
            }
        }
        self.looked_at = generation;
        self.not_before = Instant::now() + (begin.elapsed() * REST_AFTER_READING).min(MAX_REST);
        true
    }

    /// Notes who changed which other tables, and what they let get round ours.
    fn look_at_others(&mut self, touched: BTreeMap<watch::Table, Option<String>>) {
        if let Some(by) = touched.values().next_back().cloned() {
            let tables = touched.keys().take(MAX_OTHER_TABLES);
            let tables: Vec<String> =
                tables.map(|(family, name)| format!("{family} {name}")).collect();
            info!(by, ?tables, "somebody changed other tables");
            self.other = Some(OtherChange { at: SystemClock.now(), by, tables });
        }
        match round::ways_round() {
            Ok(round) if round == self.round => {}
            Ok(round) => {
                warn!(?round, "what lets packets get round our table has changed");
                self.round = round;
            }
            Err(error) => warn!(%error, "cannot read other tables"),
        }
    }

    async fn answer(&mut self, asked: Asked) {
        let Asked { request, body, uid, answer } = asked;
        let done = match request {
            Request::Apply { .. } => self.apply(&body).await,
            Request::Confirm(order) => self.confirm(order),
            Request::Watch { seen } => {
                self.watchers.push_back(Watcher { seen, answer });
                return;
            }
            Request::Status => Ok(()),
            Request::Pin { key, host } => self.pin(&key, host, uid),
        };
        let answered = match done {
            Ok(()) => Answer::Done(Box::new(self.status())),
            Err(No(error, why)) => {
                info!(?error, why, uid, "a request was refused");
                Answer::Refused { error, why }
            }
        };
        // Whoever asked may have gone; what was done is done.
        let _ = answer.send(answered);
    }

    /// Answers everybody who knows something else than how things stand.
    fn tell_watchers(&mut self) {
        self.watchers.retain(|watcher| !watcher.answer.is_closed());
        if self.watchers.is_empty() {
            return;
        }
        let status = self.status();
        let mark = status.mark();
        let too_many = self.watchers.len().saturating_sub(MAX_WATCHERS);
        for (nth, watcher) in std::mem::take(&mut self.watchers).into_iter().enumerate() {
            if nth < too_many || watcher.seen != mark {
                // Whoever asked may have gone.
                let _ = watcher.answer.send(Answer::Done(Box::new(status.clone())));
            } else {
                self.watchers.push_back(watcher);
            }
        }
    }

    fn pin(&mut self, key: &str, host: bailey_rules::name::HostKey, uid: u32) -> Result<(), No> {
        if uid != 0 {
            return Err(No(Refusal::NotAllowed, "only root pins a key".into()));
        }
        if let Some(pinned) = &self.pinned {
            let why = format!(
                "orders of key {} are followed already; to change that, stop the enforcer and \
                 remove pinned.json from {}",
                pinned.key.id(),
                self.folder.display()
            );
            return Err(No(Refusal::AlreadyPinned, why));
        }
        let pinned = Pinned { key: VerifyingKey::from_pem(key)?, host };
        self.kept.pin(&pinned)?;
        info!(key = %pinned.key.id(), %host, "orders of this key are followed from now on");
        self.pinned = Some(pinned);
        Ok(())
    }

    fn confirm(&mut self, order: OrderRef) -> Result<(), No> {
        let steps = self.state.confirm(order, self.now())?;
        for step in steps {
            match step {
                Step::Keep(state) => {
                    self.kept.keep(&state)?;
                    self.state = *state;
                    self.unsaved = false;
                    info!(version = order.version, "the ruleset is confirmed");
                }
                Step::Load(_) => debug_assert!(false, "a confirmation changes no kernel"),
            }
        }
        Ok(())
    }

    async fn apply(&mut self, octets: &[u8]) -> Result<(), No> {
        let not_pinned = || {
            let why = "no key is pinned: run `bailey-agent pin FILE` with the security role's \
                       public key first";
            No(Refusal::NotPinned, why.into())
        };
        let pinned = self.pinned.as_ref().ok_or_else(not_pinned)?;
        let signed = SignedOrder::from_bytes(octets)?;
        let order = signed.verify(&pinned.key)?;
        if order.host != pinned.host {
            let why = format!("the order is for host {}, but this is {}", order.host, pinned.host);
            return Err(No(Refusal::WrongHost, why));
        }
        let version = order.version;
        let accepted = accepted(&order, &signed);
        self.state.apply(&accepted, self.now())?;
        if let Some((text, _)) = text_in(order.what) {
            self.kernel.check(&RulesetText::parse(&text)?).await?;
            self.kept.keep_order(version, &signed, &pinned.key)?;
        }
        let before = self.state.clone();
        // Anew: checking took its time, and the deadline counts from now.
        let steps = self.state.apply(&accepted, self.now())?;
        let Err(error) = self.perform(steps).await else {
            info!(version, "an order was followed");
            return Ok(());
        };
        if self.state != before {
            let back = self.state.refused_by_kernel(&before, self.now());
            // Whether or not the disk takes it: in memory the order is over.
            if let [Step::Keep(state)] = &back[..] {
                self.state = State::clone(state);
                self.unsaved = true;
            }
            let unsure = !matches!(error, EnforceError::Kernel(KernelError::Refused(_)));
            let restored = if unsure { self.load(self.state.wanted()).await } else { Ok(()) };
            if let Err(error) = restored.and(self.perform(back).await) {
                self.fail(&error);
            }
        }
        self.kept.sweep(&self.state);
        Err(error.into())
    }

    fn status(&self) -> Status {
        let in_force = match self.state.wanted() {
            Wanted::Order(order) => Some(order),
            Wanted::NoTable => None,
        };
        let left = self.state.pending.and_then(|pending| pending.deadline.left(self.now()));
        Status {
            key: self.pinned.as_ref().map(|pinned| pinned.key.id().to_string()),
            host: self.pinned.as_ref().map(|pinned| pinned.host),
            highest: self.state.highest,
            in_force,
            mode: self.applied.as_ref().and_then(Listing::mode),
            confirmed: self.state.confirmed,
            pending: self.state.pending,
            reverts_in_millis: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            quarantine: self.state.quarantine.clone(),
            last: self.state.last,
            drift: self.watchman.drift().cloned(),
            restored: self.watchman.restored(),
            other: self.other.clone(),
            round: self.round.clone(),
            problem: self.problem.as_ref().map(|(problem, _)| problem.clone()),
        }
    }
}

/// The text of an order, and whether it is put back when changed. A quarantine always is.
fn text_in(what: What) -> Option<(String, bool)> {
    match what {
        What::Ruleset { text, confirm_within: _, restore } => Some((text, restore)),
        What::Quarantine { text, until: _, reason: _ } => Some((text, true)),
        What::Release => None,
    }
}

fn accepted(order: &Order, signed: &SignedOrder) -> Accepted {
    let what = match &order.what {
        What::Ruleset { confirm_within, .. } => {
            AcceptedWhat::Ruleset { confirm_within: *confirm_within }
        }
        What::Quarantine { until, reason, .. } => {
            AcceptedWhat::Quarantine { until: *until, reason: reason.clone() }
        }
        What::Release => AcceptedWhat::Release,
    };
    let name = OrderRef { version: order.version, digest: signed.digest() };
    Accepted { order: name, expires_at: order.expires_at, what }
}

/// Since the kernel booted, suspended or not.
fn up() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).expect("Linux has this clock")
}

/// Which boot of the kernel this is (random(4), `boot_id`).
fn read_boot(roots: &Roots) -> Result<BootId, EnforceError> {
    let path = roots.proc.join("sys/kernel/random/boot_id");
    let failed = |why: String| EnforceError::Boot { path: path.clone(), why };
    let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    text.trim().replace('-', "").parse().map_err(|_| failed("not a boot's id".into()))
}
