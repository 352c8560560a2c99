//! Bringing signed orders to hosts: pushes, in stages, confirmed over the new rules.
//!
//! [`machine`] decides, [`record`] keeps, and this file does: it takes orders in from people, looks
//! at what hosts say, writes what has changed and then sends. The collector holds no key to sign
//! with and reads of an order only whom it is for, its number and until when it is good; whether to
//! follow it is decided on the host.
//!
//! One path for everything: whatever woke the task `push` (a session, an answer, a person, a timer,
//! a start of the collector), it looks at the whole and moves it as far as it will go.

pub mod machine;
pub(crate) mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bailey_rules::fact::enforcement::OrderRef;
use bailey_rules::host::Pushed;
use bailey_rules::name::{HostKey, HostName};
use bailey_rules::text::{Lang, Text};
use bailey_rules::time::Timestamp;
use bailey_wire::order::{KeyId, OrderError, SignedOrder, VerifyingKey, What};
use rusqlite::Transaction;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::counters::PushResult;
use crate::enrolment::Actor;
use crate::host::Mail;
use crate::journal::NewEvent;
use crate::site::{EventKind, Site};
use crate::store::{OpenError, StoreError};
use machine::{
    Action, ConfirmBy, HostState, Push, PushId, PushKind, PushState, Staging, Step, Target, step,
};
pub use record::{About, Listed};
use record::{NewPush, insert_push, insert_target, update_push, update_target};

/// The most hosts of one push: as many as a collector is made for.
pub const MAX_HOSTS: usize = 10_000;

/// The most octets of the orders of one push.
pub const MAX_OCTETS: usize = 512 * 1024 * 1024;

/// The most pushes that orders are still added to.
pub const MAX_DRAFTS: usize = 8;

/// A draft that was not started by then is forgotten.
pub const DRAFT_LIFE: Duration = Duration::from_hours(1);

/// The most pushes at a time of which something may still change.
pub const MAX_LIVE: usize = 64;

/// The longest policy that is kept with a push, in octets.
pub const MAX_POLICY: usize = bailey_rules::yaml::MAX_FILE;

/// The longest name of a policy, in octets.
pub const MAX_POLICY_NAME: usize = 256;

/// How often it is looked whether somebody's time is over, while there is anything to wait for.
const TICK: Duration = Duration::from_secs(1);

/// The shortest pause between two looks: what arrives together is looked at together.
const PAUSE: Duration = Duration::from_millis(20);

/// How much longer than a look the pause after it is, so that a push to thousands of hosts leaves the
/// core to their reports.
const REST: u32 = 2;

/// Each step of the machine lets a push go one stage further at most; more than this in a row would
/// be a fault of the machine.
const MAX_STEPS: usize = 16;

/// Why a push, or what was asked of one, is refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// There is none of this number.
    #[error("there is no push {0}; `bailey policy pushes` lists them")]
    NotFound(PushId),
    /// It was started, so that its orders stay as they are.
    #[error("push {0} is no draft any more: it was started")]
    NotDraft(PushId),
    /// One at a time.
    #[error("push {0} is running; wait for its end, or stop it with `bailey policy cancel {0}`")]
    AlreadyRuns(PushId),
    /// Nothing waits to be confirmed.
    #[error("push {id} does not wait to be confirmed: it is {}", state.as_str())]
    NothingAwaits {
        /// Which.
        id: PushId,
        /// How far it is.
        state: PushState,
    },
    /// It cannot be stopped.
    #[error("push {id} has ended: it is {}", state.as_str())]
    Ended {
        /// Which.
        id: PushId,
        /// How far it is.
        state: PushState,
    },
    /// It has no orders.
    #[error("push {0} has no orders yet; add some before it is started")]
    Empty(PushId),
    /// Too many of something, with the bound.
    #[error("{}: {most} are the most; {}", what.en, next.en)]
    TooMany {
        /// What there is too much of.
        what: Text,
        /// How many there may be.
        most: usize,
        /// What to do.
        next: Text,
    },
    /// Its policy cannot be kept.
    #[error("the policy is longer than {MAX_POLICY} octets, or its name than {MAX_POLICY_NAME}")]
    Policy,
    /// One order cannot be taken.
    #[error("the order for {host}: {why}")]
    Order {
        /// For which host, as it was named.
        host: HostName,
        /// What is wrong with it.
        why: BadOrder,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOrder {
    /// No such host.
    #[error("no host of this name is enrolled; `bailey hosts` lists them")]
    UnknownHost,
    /// The push has one for it already.
    #[error("this push has an order for this host already")]
    Twice,
    /// It is for another host.
    #[error("it is made for the key {of}, but the host has the key {wanted}; make it anew")]
    OtherKey {
        /// Whose it is.
        of: HostKey,
        /// Whose it should be.
        wanted: HostKey,
    },
    /// It is no order of the push's kind.
    #[error("it is no {}, which this push is of", .0.as_str())]
    OtherKind(PushKind),
    /// Its time is over.
    #[error("it expired at {0}; sign a new one")]
    Expired(Timestamp),
    /// The host would refuse it as older.
    #[error(
        "its number {version} is not above {highest}, which this host knows; sign one with a higher number"
    )]
    Older {
        /// Its number.
        version: u64,
        /// The highest known.
        highest: u64,
    },
    /// It is damaged, or not signed by the key of this site.
    #[error("{0}")]
    Unusable(#[from] OrderError),
}

impl PushError {
    /// Why, in both languages.
    #[must_use]
    pub fn text(&self) -> Text {
        let zh = match self {
            Self::NotFound(id) => format!("没有下发 {id}；`bailey policy pushes` 列出历次下发"),
            Self::NotDraft(id) => format!("下发 {id} 已开始，不能再更改"),
            Self::AlreadyRuns(id) => {
                format!("下发 {id} 正在进行；请等待其结束，或用 `bailey policy cancel {id}` 停止")
            }
            Self::NothingAwaits { id, state } => {
                format!("下发 {id} 不在等待确认（{}）", state.as_str())
            }
            Self::Ended { id, state } => format!("下发 {id} 已结束（{}）", state.as_str()),
            Self::Empty(id) => format!("下发 {id} 还没有命令；请先添加再开始"),
            Self::TooMany { what, most, next } => {
                format!("{}最多为 {most}；{}", what.zh, next.zh)
            }
            Self::Policy => {
                format!("策略超过 {MAX_POLICY} 个字节，或其名称超过 {MAX_POLICY_NAME} 个字节")
            }
            Self::Order { host, why } => format!("{host} 的命令：{}", why.text().zh),
            Self::Store(error) => return error.text(),
        };
        Text::new(self.to_string(), zh)
    }
}

impl BadOrder {
    /// Why, in both languages.
    #[must_use]
    pub fn text(&self) -> Text {
        let zh = match self {
            Self::UnknownHost => "没有注册该名称的主机；`bailey hosts` 列出已注册的主机".to_owned(),
            Self::Twice => "本次下发已有该主机的命令".to_owned(),
            Self::OtherKey { of, wanted } => {
                format!("为密钥 {of} 生成，而该主机的密钥为 {wanted}；请重新生成")
            }
            Self::OtherKind(kind) => format!("不是本次下发的种类（{}）", kind.as_str()),
            Self::Expired(at) => format!("已于 {at} 过期；请重新签名"),
            Self::Older { version, highest } => {
                format!("其序号 {version} 不高于该主机已知的 {highest}；请以更高的序号签名")
            }
            Self::Unusable(error) => format!("不可用：{error}"),
        };
        Text::new(self.to_string(), zh)
    }
}

/// A push as it is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What its orders are.
    pub kind: PushKind,
    /// Name and text of the policy that they were made from.
    pub policy: Option<(String, String)>,
    /// Who confirms.
    pub confirm: ConfirmBy,
    /// How many hosts at a time.
    pub staging: Staging,
}

/// What everybody may know of pushes now, without asking the store.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Pushes of which something may still change, drafts left out.
    pub live: BTreeMap<PushId, Push>,
    /// The newest push that was started, where nothing of it changes any more.
    pub last: Option<(PushId, Push)>,
}

impl Overview {
    /// What people should see, newest first.
    pub fn shown(&self) -> impl Iterator<Item = (PushId, &Push)> {
        let last = self.last.as_ref().map(|(id, push)| (*id, push));
        last.into_iter().chain(self.live.iter().rev().map(|(id, push)| (*id, push)))
    }

    /// When a person has to have confirmed at the latest; `None` when nothing waits for it.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.live.values().filter_map(Push::deadline).min()
    }
}

/// Every push. Cheap to clone.
#[derive(Clone)]
pub struct Pushes(Arc<Inner>);

struct Inner {
    site: Site,
    key: Option<VerifyingKey>,
    book: Mutex<Book>,
    overview: ArcSwap<Overview>,
}

/// What is held of pushes; the same as what is on disk.
#[derive(Debug, Default)]
struct Book {
    /// Those of which something may still change.
    live: BTreeMap<PushId, Push>,
    /// The newest push that was started, once it is settled.
    last: Option<(PushId, Push)>,
    /// Which ruleset each host was pushed last.
    pushed: BTreeMap<HostKey, (PushId, Pushed)>,
    /// A write failed: what is held may be ahead of the disk and must be read again.
    unsure: bool,
}

/// An order that was looked at and may be added.
struct Checked {
    key: HostKey,
    target: Target,
    body: Vec<u8>,
}

impl Pushes {
    /// Reads what was under way when the collector was last there. `key`: whose orders are taken;
    /// without one the hosts alone verify them.
    pub(crate) fn open(site: Site, key: Option<VerifyingKey>) -> Result<Self, OpenError> {
        let live = site.store().read_at_start(record::read_live)?;
        let pushed = site.store().read_at_start(record::read_pushed)?;
        for (key, (_, pushed)) in &pushed {
            if let Some(host) = site.by_key(key) {
                host.set_pushed(Some(*pushed));
            }
        }
        let last = site.store().read_at_start(record::read_last)?;
        let book = Book { live, last, pushed, unsure: false };
        let overview = ArcSwap::from_pointee(book.overview());
        Ok(Self(Arc::new(Inner { site, key, book: Mutex::new(book), overview })))
    }

    /// Whose orders are taken, where only one key's are.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        self.0.key.as_ref().map(VerifyingKey::id)
    }

    /// What is under way.
    #[must_use]
    pub fn overview(&self) -> Arc<Overview> {
        self.0.overview.load_full()
    }

    /// One push with its hosts.
    ///
    /// # Errors
    /// When there is none of this number, or the store cannot be read.
    pub async fn get(&self, id: PushId) -> Result<(About, Push), PushError> {
        let store = self.0.site.store();
        let found = store.read("read a push", move |store| record::read(store, id)).await?;
        found.ok_or(PushError::NotFound(id))
    }

    /// Pushes, newest first, from before the number `before`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, before: Option<i64>, limit: usize) -> Result<Vec<Listed>, PushError> {
        let read = move |store: &rusqlite::Connection| record::list(store, before, limit);
        Ok(self.0.site.store().read("read the pushes", read).await?)
    }

    /// Name and text of the policy of a push, where it has one.
    ///
    /// # Errors
    /// When there is none of this number, or the store cannot be read.
    pub async fn policy(&self, id: PushId) -> Result<Option<(String, String)>, PushError> {
        let store = self.0.site.store();
        let found =
            store.read("read a policy", move |store| record::read_policy(store, id)).await?;
        if found.is_none() {
            self.get(id).await?;
        }
        Ok(found)
    }

    /// A number above that of every order which this collector and its hosts know.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next_version(&self) -> Result<u64, PushError> {
        let pushed = self.0.site.store().read("read the highest order", record::highest).await?;
        let seen = self.0.site.held().iter().map(|host| host.highest_order()).max();
        Ok(pushed.max(seen.unwrap_or(0)).saturating_add(1))
    }

    /// Makes a push without orders.
    ///
    /// # Errors
    /// When there are too many drafts, or the policy is too long.
    pub async fn create(&self, wish: Wish, actor: Actor) -> Result<PushId, PushError> {
        let fits = |(name, text): &(String, String)| {
            name.len() <= MAX_POLICY_NAME && text.len() <= MAX_POLICY
        };
        if !wish.policy.iter().all(fits) {
            return Err(PushError::Policy);
        }
        let now = self.0.site.now();
        let new = NewPush {
            kind: wish.kind,
            confirm: wish.confirm,
            staging: wish.staging,
            actor,
            created_at: now,
            policy: wish.policy,
        };
        let mut book = self.book().await?;
        let draft = new.draft();
        let write = move |store: &Transaction<'_>| -> Result<_, StoreError> {
            let made = || -> rusqlite::Result<_> {
                let gone = record::retain(store, now - DRAFT_LIFE)?;
                let full = record::drafts(store)? >= MAX_DRAFTS as u64;
                Ok(((!full).then(|| insert_push(store, &new)).transpose()?, gone))
            };
            made().map_err(StoreError::failed("make a push"))
        };
        let (id, gone) = self.0.site.store().write("make a push", write).await?;
        for gone in gone {
            book.live.remove(&gone);
        }
        let Some(id) = id else {
            return Err(PushError::TooMany {
                what: Text::new("pushes that were not started", "未开始的下发"),
                most: MAX_DRAFTS,
                next: Text::new(
                    "start them, or cancel them with `bailey policy cancel`",
                    "请开始下发，或用 `bailey policy cancel` 取消",
                ),
            });
        };
        book.live.insert(id, draft);
        Ok(id)
    }

    /// Adds orders to a draft, as [`SignedOrder::to_bytes`] gave them: all of them or none. Gives how
    /// many hosts the push has then.
    ///
    /// # Errors
    /// [`PushError::Order`] says which one cannot be taken and why.
    pub async fn add(
        &self,
        id: PushId,
        orders: Vec<(HostName, Vec<u8>)>,
    ) -> Result<usize, PushError> {
        let mut book = self.book().await?;
        let kind = match book.live.get(&id) {
            Some(push) if push.state == PushState::Draft => push.kind,
            Some(_) => return Err(PushError::NotDraft(id)),
            None => {
                self.get(id).await?;
                return Err(PushError::NotDraft(id));
            }
        };
        let checked = self.check(kind, orders).await?;
        let Some(push) = book.live.get_mut(&id) else { return Err(PushError::NotFound(id)) };
        let mut octets: usize = push.targets.values().map(|target| target.octets).sum();
        let mut seen: BTreeSet<HostKey> = push.targets.keys().copied().collect();
        for order in &checked {
            octets += order.body.len();
            if !seen.insert(order.key) {
                let host = order.target.host.clone();
                return Err(PushError::Order { host, why: BadOrder::Twice });
            }
        }
        let next = Text::new("push to fewer hosts at a time", "请减少每次下发的主机");
        if seen.len() > MAX_HOSTS {
            let what = Text::new("hosts of one push", "一次下发的主机");
            return Err(PushError::TooMany { what, most: MAX_HOSTS, next });
        }
        if octets > MAX_OCTETS {
            let what = Text::new("octets of the orders of one push", "一次下发的命令的字节");
            return Err(PushError::TooMany { what, most: MAX_OCTETS, next });
        }
        let added: Vec<(HostKey, Target)> =
            checked.iter().map(|order| (order.key, order.target.clone())).collect();
        let write = move |store: &Transaction<'_>| {
            checked
                .iter()
                .try_for_each(|order| {
                    insert_target(store, id, &order.key, &order.target, &order.body)
                })
                .map_err(StoreError::failed("add orders"))
        };
        self.0.site.store().write("add orders", write).await?;
        push.targets.extend(added);
        Ok(push.targets.len())
    }

    /// Starts a draft.
    ///
    /// # Errors
    /// When it is empty or started, or another push of rulesets runs.
    pub async fn start(&self, id: PushId, actor: Actor) -> Result<(), PushError> {
        let mut book = self.book().await?;
        let mut push = self.held(&book, id).await?;
        if push.state != PushState::Draft {
            return Err(PushError::NotDraft(id));
        }
        if push.targets.is_empty() {
            return Err(PushError::Empty(id));
        }
        let runs = |(_, push): &(&PushId, &Push)| {
            push.kind == PushKind::Ruleset && push.state.is_running()
        };
        if push.kind == PushKind::Ruleset
            && let Some((other, _)) = book.live.iter().find(runs)
        {
            return Err(PushError::AlreadyRuns(*other));
        }
        let started = book.live.values().filter(|push| push.state != PushState::Draft).count();
        if started >= MAX_LIVE {
            return Err(PushError::TooMany {
                what: Text::new("pushes that are not settled", "未结束的下发"),
                most: MAX_LIVE,
                next: Text::new(
                    "wait for them, or cancel them with `bailey policy cancel`",
                    "请等待其结束，或用 `bailey policy cancel` 取消",
                ),
            });
        }
        let site = &self.0.site;
        push.start(|key| site.by_key(key).is_some_and(|host| host.seen().session.is_some()));
        let count = push.targets.len();
        let (en, zh) = kind_words(push.kind);
        let text = Text::new(
            format!("push {id} was started: {en}, {count} hosts, {} stages", push.stages),
            format!("下发 {id} 已开始：{zh}，{count} 台主机，{} 个阶段", push.stages),
        );
        let targets = push.targets.keys().copied().collect();
        let event = self.event(EventKind::PushStarted, text, actor);
        self.change(&mut book, id, push, targets, event).await
    }

    /// A person confirms the stage that waits for it.
    ///
    /// # Errors
    /// When nothing waits.
    pub async fn confirm(&self, id: PushId, actor: Actor) -> Result<(), PushError> {
        let mut book = self.book().await?;
        let mut push = self.held(&book, id).await?;
        if push.state != PushState::AwaitingConfirmation {
            return Err(PushError::NothingAwaits { id, state: push.state });
        }
        push.confirm_stage();
        let text = Text::new(
            format!("stage {} of {} of push {id} was confirmed", push.stage, push.stages),
            format!("下发 {id} 的第 {}/{} 阶段已确认", push.stage, push.stages),
        );
        let event = self.event(EventKind::PushConfirmed, text, actor);
        self.change(&mut book, id, push, Vec::new(), event).await
    }

    /// Stops a push: nothing more is sent or confirmed.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn cancel(&self, id: PushId, actor: Actor) -> Result<(), PushError> {
        let mut book = self.book().await?;
        let mut push = self.held(&book, id).await?;
        let waits = push.targets.values().any(|target| target.state == HostState::Waiting);
        let may = match push.state {
            PushState::Draft | PushState::Running | PushState::AwaitingConfirmation => true,
            // What is still to be given to hosts that were away can be stopped too.
            PushState::Done => waits,
            PushState::Failed | PushState::Cancelled => false,
        };
        if !may {
            return Err(PushError::Ended { id, state: push.state });
        }
        let why = Text::new(format!("cancelled by {actor}"), format!("由 {actor} 取消"));
        // Every stage of one that is done has passed; that stays true.
        let state =
            if push.state == PushState::Done { PushState::Done } else { PushState::Cancelled };
        let targets = push.stop(state, why);
        let text = Text::new(
            format!("push {id} was cancelled; what is not confirmed returns by itself"),
            format!("下发 {id} 已取消，未确认的主机会自动恢复先前规则"),
        );
        let event = self.event(EventKind::PushCancelled, text, actor);
        self.change(&mut book, id, push, targets, event).await?;
        Ok(self.read_pushed_again(&mut book).await?)
    }

    /// Goes on with everything until the collector stops.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let wake = Arc::clone(self.0.site.push_wake());
        loop {
            let began = Instant::now();
            let waits = self.reconcile().await;
            let took = began.elapsed();
            let tick = async {
                if waits {
                    tokio::time::sleep(TICK).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = wake.notified() => {}
                () = tick => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep((took * REST).max(PAUSE)) => {}
            }
        }
    }

    /// Moves everything as far as it will go. Gives whether there is anything to wait for.
    async fn reconcile(&self) -> bool {
        let mut book = match self.book().await {
            Ok(book) => book,
            Err(error) => {
                warn!(%error, "pushes stand still until the store can be read");
                return true;
            }
        };
        for _ in 0..MAX_STEPS {
            let site = &self.0.site;
            let seen = |key: &HostKey| site.by_key(key).map(|host| host.seen());
            let step = step(&mut book.live, seen, site.now());
            if step.pushes.is_empty() && step.targets.is_empty() && step.actions.is_empty() {
                break;
            }
            if let Err(error) = self.write_down(&mut book, &step).await {
                warn!(%error, "pushes stand still until the store can be written");
                return true;
            }
            for action in step.actions {
                self.act(action).await;
            }
        }
        book.live.values().any(|push| push.state != PushState::Draft)
    }

    /// What is held, read again after a write that failed.
    async fn book(&self) -> Result<tokio::sync::MutexGuard<'_, Book>, StoreError> {
        let mut book = self.0.book.lock().await;
        if book.unsure {
            book.live = self.0.site.store().read("read the pushes", record::read_live).await?;
            book.unsure = false;
        }
        Ok(book)
    }

    async fn held(&self, book: &Book, id: PushId) -> Result<Push, PushError> {
        match book.live.get(&id) {
            Some(push) => Ok(push.clone()),
            None => self.get(id).await.map(|(_, push)| push),
        }
    }

    /// Looks at orders before they are added.
    async fn check(
        &self,
        kind: PushKind,
        orders: Vec<(HostName, Vec<u8>)>,
    ) -> Result<Vec<Checked>, PushError> {
        let (site, key, now) = (self.0.site.clone(), self.0.key.clone(), self.0.site.now());
        let look = move || {
            let each = orders.into_iter().map(|(host, body)| {
                check(&site, key.as_ref(), kind, now, &host, body)
                    .map_err(|why| PushError::Order { host, why })
            });
            each.collect::<Result<Vec<Checked>, PushError>>()
        };
        let checked = tokio::task::spawn_blocking(look).await.map_err(|_| StoreError::Closed)??;
        let keys: Vec<HostKey> = checked.iter().map(|order| order.key).collect();
        let read = move |store: &rusqlite::Connection| {
            keys.iter().map(|key| record::highest_of(store, key)).collect::<Result<Vec<_>, _>>()
        };
        let pushed = self.0.site.store().read("read the highest orders", read).await?;
        for (order, pushed) in checked.iter().zip(pushed) {
            let version = order.target.order.version;
            let seen = self.0.site.by_key(&order.key).map_or(0, |host| host.highest_order());
            let highest = pushed.max(seen);
            if version <= highest {
                let host = order.target.host.clone();
                return Err(PushError::Order { host, why: BadOrder::Older { version, highest } });
            }
        }
        Ok(checked)
    }

    fn event(&self, kind: EventKind, text: Text, actor: Actor) -> NewEvent {
        NewEvent { at: self.0.site.now(), host: None, kind, text, actor: Some(actor) }
    }

    /// Writes a change that a person made, and then holds it.
    async fn change(
        &self,
        book: &mut Book,
        id: PushId,
        push: Push,
        targets: Vec<HostKey>,
        event: NewEvent,
    ) -> Result<(), PushError> {
        info!(push = %id, state = push.state.as_str(), "{}", event.text.en);
        let written = push.clone();
        let write = move |store: &Transaction<'_>| {
            let write = || {
                update_push(store, id, &written, written.is_settled())?;
                for key in &targets {
                    update_target(store, id, key, written.kind, &written.targets[key])?;
                }
                event.insert(store)
            };
            write().map_err(StoreError::failed("write a push"))
        };
        self.0.site.store().write("write a push", write).await?;
        if push.state == PushState::Cancelled {
            self.0.site.counters().pushes.of(PushResult::Cancelled).one();
        }
        book.live.insert(id, push);
        let changed = book.of_push(id);
        self.note_pushed(book, changed);
        book.put_away();
        self.show(book);
        self.0.site.push_wake().notify_one();
        Ok(())
    }

    /// Writes what a step of the machine has changed, with what people should know of it.
    async fn write_down(&self, book: &mut Book, step: &Step) -> Result<(), StoreError> {
        let at = self.0.site.now();
        let mut events = Vec::new();
        let mut pushes = Vec::new();
        for id in &step.pushes {
            let push = &book.live[id];
            events.extend(push_event(*id, push, at));
            pushes.push((
                *id,
                Push { targets: BTreeMap::new(), ..push.clone() },
                push.is_settled(),
            ));
        }
        let mut targets = Vec::new();
        for (id, key) in &step.targets {
            let push = &book.live[id];
            let target = &push.targets[key];
            events.extend(target_event(*id, push.kind, target, at));
            targets.push((*id, *key, push.kind, target.clone()));
            if !step.pushes.contains(id) && push.is_settled() {
                pushes.push((*id, Push { targets: BTreeMap::new(), ..push.clone() }, true));
            }
        }
        let write = move |store: &Transaction<'_>| {
            let write = || {
                for (id, push, settled) in &pushes {
                    update_push(store, *id, push, *settled)?;
                }
                for (id, key, kind, target) in &targets {
                    update_target(store, *id, key, *kind, target)?;
                }
                events.iter().try_for_each(|event| event.insert(store))
            };
            write().map_err(StoreError::failed("write pushes"))
        };
        if let Err(error) = self.0.site.store().write("write pushes", write).await {
            book.unsure = true;
            return Err(error);
        }
        for id in &step.pushes {
            let push = &book.live[id];
            info!(push = %id, state = push.state.as_str(), stage = push.stage, "push moved");
            match push.state {
                PushState::Done => self.0.site.counters().pushes.of(PushResult::Done).one(),
                PushState::Failed => self.0.site.counters().pushes.of(PushResult::Failed).one(),
                PushState::Draft
                | PushState::Running
                | PushState::AwaitingConfirmation
                | PushState::Cancelled => {}
            }
        }
        let failed = |id: &PushId| book.live[id].state == PushState::Failed;
        if step.pushes.iter().any(failed) {
            self.read_pushed_again(book).await?;
        } else {
            let of_pushes = step.pushes.iter().flat_map(|id| book.of_push(*id));
            let changed = step.targets.iter().copied().chain(of_pushes).collect();
            self.note_pushed(book, changed);
        }
        book.put_away();
        self.show(book);
        Ok(())
    }

    /// Tells hosts which ruleset they were pushed last.
    fn note_pushed(&self, book: &mut Book, changed: Vec<(PushId, HostKey)>) {
        let now = self.0.site.now();
        for (id, key) in changed {
            let Some(push) = book.live.get(&id) else { continue };
            let known = book.pushed.get(&key).copied();
            if known.is_some_and(|(newer, _)| newer > id) {
                continue;
            }
            let since = known.filter(|(known, _)| *known == id).map_or(now, |(_, known)| known.at);
            let pushed = pushed_of(push, &push.targets[&key], since);
            if let Some(pushed) = pushed.filter(|pushed| known != Some((id, *pushed))) {
                book.pushed.insert(key, (id, pushed));
                if let Some(host) = self.0.site.by_key(&key) {
                    host.set_pushed(Some(pushed));
                }
            }
        }
    }

    /// The same from the store: where a push failed or was cancelled, the one before it counts again.
    async fn read_pushed_again(&self, book: &mut Book) -> Result<(), StoreError> {
        let store = self.0.site.store();
        let pushed = store.read("read what was pushed", record::read_pushed).await?;
        let keys: BTreeSet<&HostKey> = book.pushed.keys().chain(pushed.keys()).collect();
        for key in keys.into_iter().filter(|key| book.pushed.get(*key) != pushed.get(*key)) {
            if let Some(host) = self.0.site.by_key(key) {
                host.set_pushed(pushed.get(key).map(|(_, pushed)| *pushed));
            }
        }
        book.pushed = pushed;
        Ok(())
    }

    fn show(&self, book: &Book) {
        self.0.overview.store(Arc::new(book.overview()));
        self.0.site.dirty().wake.notify_one();
    }

    /// Does what the machine asks for. What does not reach its session is asked for again when the
    /// host comes back.
    async fn act(&self, action: Action) {
        match action {
            Action::Send { push, host, session, order } => {
                let read =
                    move |store: &rusqlite::Connection| record::read_order(store, push, &host);
                let octets = match self.0.site.store().read("read an order", read).await {
                    Ok(Some(octets)) => octets,
                    Ok(None) => return warn!(%push, key = %host, "an order is not in the store"),
                    Err(error) => return warn!(%push, %error, "an order cannot be read"),
                };
                self.post(&host, session, Mail::Order { order, octets });
            }
            Action::Confirm { host, session, order } => {
                self.post(&host, session, Mail::Confirm(order));
            }
        }
    }

    fn post(&self, key: &HostKey, session: u64, mail: Mail) {
        let Some(host) = self.0.site.by_key(key) else { return };
        if !host.post(session, mail) {
            info!(host = %host.name, "an order could not be handed to its session");
        }
    }
}

impl Book {
    fn of_push(&self, id: PushId) -> Vec<(PushId, HostKey)> {
        let keys = self.live.get(&id).into_iter().flat_map(|push| push.targets.keys());
        keys.map(|key| (id, *key)).collect()
    }

    /// Forgets what is settled but for the newest.
    fn put_away(&mut self) {
        for (id, push) in self.live.extract_if(.., |_, push| push.is_settled()) {
            // A draft that was cancelled was never under way.
            if push.stage > 0 && self.last.as_ref().is_none_or(|(last, _)| *last < id) {
                self.last = Some((id, push));
            }
        }
    }

    fn overview(&self) -> Overview {
        let started = |(_, push): &(&PushId, &Push)| push.state != PushState::Draft;
        let live = self.live.iter().filter(started).map(|(id, push)| (*id, push.clone()));
        let live: BTreeMap<PushId, Push> = live.collect();
        let newer = |id: &PushId| live.keys().next_back().is_some_and(|live| live > id);
        let last = self.last.clone().filter(|(id, _)| !newer(id));
        Overview { live, last }
    }
}

/// The ruleset that a host should hold because of a push; `since` is when it was pushed where it was
/// not sent yet.
fn pushed_of(push: &Push, target: &Target, since: Timestamp) -> Option<Pushed> {
    let counts = push.kind == PushKind::Ruleset && record::counts(target.state, push.state);
    counts.then(|| Pushed {
        order: target.order,
        at: target.sent_at.unwrap_or(since),
        running: push.state.is_running() && !target.state.is_final(push.kind),
    })
}

/// Looks at one order by itself.
fn check(
    site: &Site,
    key: Option<&VerifyingKey>,
    kind: PushKind,
    now: Timestamp,
    name: &HostName,
    body: Vec<u8>,
) -> Result<Checked, BadOrder> {
    let host = site.by_name(name).ok_or(BadOrder::UnknownHost)?;
    let signed = SignedOrder::from_bytes(&body)?;
    let order = match key {
        Some(key) => signed.verify(key)?,
        None => signed.unverified()?,
    };
    if order.host != host.key {
        return Err(BadOrder::OtherKey { of: order.host, wanted: host.key });
    }
    let (of, confirm_within) = match order.what {
        What::Ruleset { confirm_within, .. } => (PushKind::Ruleset, confirm_within),
        What::Quarantine { .. } => (PushKind::Quarantine, Duration::ZERO),
        What::Release => (PushKind::Release, Duration::ZERO),
    };
    if of != kind {
        return Err(BadOrder::OtherKind(kind));
    }
    if order.expires_at <= now {
        return Err(BadOrder::Expired(order.expires_at));
    }
    let target = Target {
        host: host.name.clone(),
        zone: host.zone.clone(),
        order: OrderRef { version: order.version, digest: signed.digest() },
        expires_at: order.expires_at,
        confirm_within,
        octets: body.len(),
        stage: 0,
        state: HostState::Waiting,
        error: String::new(),
        why: None,
        sent_at: None,
        sends: 0,
        applied_at: None,
        sent_in: None,
        confirm_asked_in: None,
    };
    Ok(Checked { key: host.key, target, body })
}

fn kind_words(kind: PushKind) -> (&'static str, &'static str) {
    match kind {
        PushKind::Ruleset => ("rulesets", "规则"),
        PushKind::Quarantine => ("a quarantine", "隔离"),
        PushKind::Release => ("the end of a quarantine", "解除隔离"),
    }
}

/// What people should know of a push that moved by itself.
fn push_event(id: PushId, push: &Push, at: Timestamp) -> Option<NewEvent> {
    let (kind, text) = match push.state {
        PushState::Done => (
            EventKind::PushDone,
            Text::new(format!("push {id} is done"), format!("下发 {id} 已完成")),
        ),
        PushState::Failed => {
            let why = push.why.clone().unwrap_or_else(|| Text::new("no reason", "无原因"));
            (
                EventKind::PushFailed,
                Text::new(
                    format!("push {id} failed: {}; nothing more is sent", why.en),
                    format!("下发 {id} 失败：{}；不再继续下发", why.zh),
                ),
            )
        }
        PushState::AwaitingConfirmation => (
            EventKind::PushAwaits,
            Text::new(
                format!("stage {} of push {id} waits to be confirmed", push.stage),
                format!("下发 {id} 的第 {} 阶段等待确认", push.stage),
            ),
        ),
        PushState::Draft | PushState::Running | PushState::Cancelled => return None,
    };
    Some(NewEvent { at, host: None, kind, text, actor: None })
}

/// What people should know of one host of a push.
fn target_event(id: PushId, kind: PushKind, target: &Target, at: Timestamp) -> Option<NewEvent> {
    let version = target.order.version;
    let (event, en, zh) = match target.state {
        state if state.is_success(kind) => match kind {
            PushKind::Ruleset => {
                (EventKind::OrderFollowed, "is in force and confirmed", "已生效并确认")
            }
            PushKind::Quarantine => {
                (EventKind::OrderFollowed, "is in force: quarantine", "已生效：隔离")
            }
            PushKind::Release => {
                (EventKind::OrderFollowed, "was followed: released", "已执行：解除隔离")
            }
        },
        HostState::Refused => (EventKind::OrderFailed, "was refused", "被拒绝"),
        HostState::NoEnforcer => (EventKind::OrderFailed, "was not followed", "未执行"),
        HostState::Reverted => (EventKind::OrderFailed, "did not stay in force", "未能保持生效"),
        HostState::Waiting
        | HostState::Sent
        | HostState::Applied
        | HostState::Reachable
        | HostState::Confirmed
        | HostState::Superseded
        | HostState::Expired
        | HostState::Cancelled => return None,
    };
    let behind = |lang, colon: &str| match (target.error.as_str(), target.why.as_ref()) {
        ("", None) => String::new(),
        ("", Some(why)) => format!("{colon}{}", why.in_lang(lang)),
        (error, None) => format!("{colon}{error}"),
        (error, Some(why)) => format!("{colon}{error}: {}", why.in_lang(lang)),
    };
    let text = Text::new(
        format!("order {version} of push {id} {en}{}", behind(Lang::En, ": ")),
        format!("下发 {id} 的命令 {version} {zh}{}", behind(Lang::Zh, "：")),
    );
    Some(NewEvent { at, host: Some(target.host.clone()), kind: event, text, actor: None })
}
