//! What is known of the site now: every host with its verdicts, the open findings, the policy and
//! the rule files in force. Pages, metrics and alerts read it; intake and judging write it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use arc_swap::ArcSwap;
use bailey_rules::check::{Judged, State};
use bailey_rules::expectation::{DeviceWanted, RuleFiles};
use bailey_rules::finding::Finding;
use bailey_rules::host::HostView;
use bailey_rules::listing::{ListingSource, Listings};
use bailey_rules::name::{FindingId, HostKey, HostName};
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::follow::{Asked, Followed};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::Asset;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::clock::SharedClock;
use crate::counters::Counters;
use crate::device::{Device, DeviceStatus};
use crate::enrolment::{Actor, Identity};
use crate::host::{Dirty, Host};
use crate::journal;
use crate::judging::judged;
use crate::listings;
use crate::proving::{Known, NotFollowed, Olds, Proofs, Questions};
use crate::senders::Senders;
use crate::store::{Store, StoreError};
use crate::trap::intake::Traps;
use crate::wiring::Wiring;

/// The most events that one query gives.
pub const MAX_EVENTS: usize = 200;

/// One host and what the checks say of it, at one moment. It never changes; a new judgement makes a
/// new one.
#[derive(Debug, Clone)]
pub struct HostStatus {
    /// What is known of the host.
    pub view: Arc<HostView>,
    /// What the checks say.
    pub judged: Vec<Judged>,
    /// The worst of it.
    pub state: State,
    /// When it was judged.
    pub judged_at: Timestamp,
}

/// Something about the collector itself that a person must look at: a file that was refused, a
/// store that cannot be written. It goes when its cause goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigProblem {
    /// Since when.
    pub at: Timestamp,
    /// What is wrong, where, and what to do.
    pub message: String,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal, $en:literal, $zh:literal;)*) => {
        /// What an event of the journal is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind { $($(#[$doc])* $kind,)* }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The word in JSON and in the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word,)* }
            }

            /// What it is called on screen.
            #[must_use]
            pub fn title(self) -> Text {
                match self { $(Self::$kind => Text::new($en, $zh),)* }
            }

            /// The kind behind a word; `None` for one that this version does not know.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$kind),)* _ => None }
            }
        }
    };
}

kinds! {
    /// The collector started.
    Started = "started", "Collector started", "采集器启动";
    /// The collector stopped on purpose.
    Stopped = "stopped", "Collector stopped", "采集器停止";
    /// An enrolment token was made.
    TokenMade = "token_made", "Token made", "生成令牌";
    /// A host was enrolled.
    Enrolled = "enrolled", "Enrolled", "已注册";
    /// A machine asks for a name that belongs to another key.
    Waiting = "waiting", "Waits for approval", "等待批准";
    /// Its enrolment was approved.
    Approved = "approved", "Approved", "已批准";
    /// Its enrolment was refused.
    Refused = "refused", "Refused", "已拒绝";
    /// An identity was revoked.
    Revoked = "revoked", "Revoked", "已吊销";
    /// A host connected for the first time, or after a silence.
    Connected = "connected", "Connected", "已连接";
    /// An agent was stopped on purpose.
    Goodbye = "goodbye", "Agent stopped", "代理停止";
    /// Reports were lost.
    Gap = "gap", "Reports lost", "上报丢失";
    /// Two machines use one identity.
    Twin = "twin", "Two machines, one identity", "一个身份两台机器";
    /// A finding was opened.
    FindingOpened = "finding_opened", "Finding opened", "发现问题";
    /// A finding became worse or better, or nothing fresh confirms it any more.
    FindingChanged = "finding_changed", "Finding changed", "问题变化";
    /// A finding was resolved.
    FindingResolved = "finding_resolved", "Finding resolved", "问题解决";
    /// The policy or the rule files were read again.
    SettingsReloaded = "settings_reloaded", "Files reloaded", "配置已重新加载";
    /// A person started a push of orders.
    PushStarted = "push_started", "Push started", "开始下发";
    /// A stage of a push waits for a person.
    PushAwaits = "push_awaits", "Push waits to be confirmed", "下发等待确认";
    /// A person confirmed a stage of a push.
    PushConfirmed = "push_confirmed", "Push confirmed", "下发已确认";
    /// Every stage of a push has passed.
    PushDone = "push_done", "Push done", "下发完成";
    /// A push stopped because a host could not follow.
    PushFailed = "push_failed", "Push failed", "下发失败";
    /// A person stopped a push.
    PushCancelled = "push_cancelled", "Push cancelled", "下发已取消";
    /// A host followed an order.
    OrderFollowed = "order_followed", "Order followed", "命令已执行";
    /// A host did not follow an order.
    OrderFailed = "order_failed", "Order not followed", "命令未执行";
    /// No packet breaks an invariant any more.
    InvariantProved = "invariant_proved", "Invariant proved", "不变式已证明";
    /// A packet breaks an invariant.
    InvariantBroken = "invariant_broken", "Invariant broken", "不变式被违反";
    /// Whether an invariant holds is not known any more.
    InvariantDoubted = "invariant_out_of_model", "Invariant out of model", "不变式超出模型";
    /// A device is polled from now on.
    DeviceAdded = "device_added", "Device added", "添加设备";
    /// A device is asked in another way.
    DeviceChanged = "device_changed", "Device changed", "变更设备";
    /// A device is polled no more.
    DeviceRemoved = "device_removed", "Device removed", "移除设备";
    /// A device sent a trap that is worth knowing of, with nothing wrong.
    Trap = "trap", "Trap", "陷阱";
    /// A device said something by syslog.
    Syslog = "syslog", "Syslog", "系统日志";
    /// A firewall appliance said what it refused.
    Refusals = "refusals", "Connections refused", "连接被拒";
    /// Traps were lost.
    TrapsLost = "traps_lost", "Traps lost", "陷阱丢失";
    /// A person asked for the quarantine of a port.
    PortAsked = "port_asked", "Port quarantine asked for", "申请隔离端口";
    /// A second person approved it.
    PortApproved = "port_approved", "Port quarantine approved", "批准隔离端口";
    /// A port was switched off.
    PortOff = "port_off", "Port switched off", "端口已关闭";
    /// The quarantine of a port ends, or was never approved.
    PortReleased = "port_released", "Port quarantine ends", "解除端口隔离";
    /// A port was switched on again.
    PortOn = "port_on", "Port switched on", "端口已开启";
    /// A new policy or rule file was refused; the one before stays.
    SettingsRefused = "settings_refused", "Files refused", "配置被拒绝";
}

impl Serialize for EventKind {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its number; a later event has a higher one.
    pub id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// The host it is about, if any.
    pub host: Option<HostName>,
    /// What it is about.
    pub kind: EventKind,
    /// What happened.
    pub text: Text,
    /// Who did it; `None` when it happened by itself.
    pub actor: Option<Actor>,
}

/// Which events are wanted: newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only of this host.
    pub host: Option<HostName>,
    /// Only those before this number: the cursor of the next page.
    pub before: Option<i64>,
    /// At most this many, and at most [`MAX_EVENTS`].
    pub limit: usize,
}

/// The most resolved findings that wait for an Alertmanager that is away; the oldest go first.
const MAX_RESOLVED: usize = 10_000;

/// What is in force.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) policy: Arc<Policy>,
    pub(crate) rule_files: Arc<RuleFiles>,
    /// Grows with every reload, so that what was made from a configuration can be kept.
    pub(crate) generation: u64,
}

/// Where a problem comes from: a newer one from the same place takes its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Policy,
    RuleFiles,
    Watching,
    Certificates,
    Traps,
    Syslog,
    Proofs,
    Alertmanager(usize),
    Device(HostName),
}

/// A host that was taken away.
#[derive(Debug)]
pub(crate) struct Removed {
    /// Its number in the store.
    pub(crate) no: i64,
    /// Its findings, resolved with it.
    pub(crate) resolved: Vec<Finding>,
}

/// The site. Cheap to clone.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    clock: SharedClock,
    started_at: Timestamp,
    counters: Arc<Counters>,
    store: Store,
    config: ArcSwap<Config>,
    problems: Mutex<BTreeMap<Part, ConfigProblem>>,
    hosts: RwLock<Registry>,
    devices: RwLock<BTreeMap<HostName, Arc<Device>>>,
    devices_moved: Notify,
    wiring: ArcSwap<Wiring>,
    findings: RwLock<BTreeMap<HostKey, BTreeMap<FindingId, Finding>>>,
    resolved: Mutex<Resolved>,
    findings_moved: watch::Sender<u64>,
    revision: watch::Sender<u64>,
    dirty: Arc<Dirty>,
    push_wake: Arc<Notify>,
    proofs: Proofs,
    questions: OnceLock<Questions>,
    listing_limits: listings::Limits,
    traps: Traps,
    senders: Senders,
}

#[derive(Default)]
struct Registry {
    by_name: BTreeMap<HostName, Arc<Host>>,
    by_key: HashMap<HostKey, Arc<Host>>,
}

/// Resolved findings until every Alertmanager has them.
#[derive(Debug, Default)]
struct Resolved {
    waiting: VecDeque<(u64, Finding)>,
    last: u64,
    /// The last one that each Alertmanager has.
    delivered: Vec<u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reading<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn writing<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    /// A site without hosts. `alertmanagers`: how many must hear of a resolved finding.
    pub(crate) fn new(
        clock: SharedClock,
        counters: Arc<Counters>,
        store: Store,
        config: Config,
        alertmanagers: usize,
        senders: Senders,
    ) -> Self {
        senders.set(&config.policy, std::iter::empty());
        Self(Arc::new(Inner {
            started_at: clock.now(),
            clock,
            counters,
            store,
            config: ArcSwap::from_pointee(config),
            problems: Mutex::default(),
            hosts: RwLock::default(),
            devices: RwLock::default(),
            devices_moved: Notify::new(),
            wiring: ArcSwap::default(),
            findings: RwLock::default(),
            resolved: Mutex::new(Resolved {
                delivered: vec![0; alertmanagers],
                ..Resolved::default()
            }),
            findings_moved: watch::Sender::new(0),
            revision: watch::Sender::new(0),
            dirty: Arc::default(),
            push_wake: Arc::default(),
            proofs: Proofs::default(),
            questions: OnceLock::new(),
            listing_limits: listings::Limits::default(),
            traps: Traps::default(),
            senders,
        }))
    }

    /// Moves when anything that is shown has changed, at most ten times a second.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.0.revision.subscribe()
    }

    /// Every enrolled host, by name.
    #[must_use]
    pub fn hosts(&self) -> Vec<Arc<HostStatus>> {
        reading(&self.0.hosts).by_name.values().map(|host| host.status()).collect()
    }

    /// One host.
    #[must_use]
    pub fn host(&self, name: &HostName) -> Option<Arc<HostStatus>> {
        reading(&self.0.hosts).by_name.get(name).map(|host| host.status())
    }

    /// Every device, by name.
    #[must_use]
    pub fn devices(&self) -> Vec<Arc<DeviceStatus>> {
        reading(&self.0.devices).values().map(|device| device.status()).collect()
    }

    /// One device.
    #[must_use]
    pub fn device(&self, name: &HostName) -> Option<Arc<DeviceStatus>> {
        reading(&self.0.devices).get(name).map(|device| device.status())
    }

    /// The newest listings of a host's packet filters.
    #[must_use]
    pub fn listings(&self, host: &HostName) -> Option<Arc<Listings>> {
        self.by_name(host).map(|host| host.listings())
    }

    /// Packet filters that a host cannot list though they are there, and why.
    #[must_use]
    pub fn unlisted(&self, host: &HostName) -> Option<Arc<BTreeMap<ListingSource, String>>> {
        self.by_name(host).map(|host| host.unlisted())
    }

    /// How the site is wired, and what follows from it.
    #[must_use]
    pub fn wiring(&self) -> Arc<Wiring> {
        self.0.wiring.load_full()
    }

    pub(crate) fn set_wiring(&self, wiring: Wiring) {
        self.0.wiring.store(Arc::new(wiring));
    }

    /// What a port of a device is called, where the device tells.
    #[must_use]
    pub fn port_name(&self, device: &HostName, port: u32) -> Option<String> {
        let view = reading(&self.0.devices).get(device)?.view();
        let interfaces = view.interfaces.value()?;
        let found = interfaces.iter().find(|interface| interface.index == port)?;
        Some(found.name.clone())
    }

    /// The open findings, worst first, then oldest first.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let open = reading(&self.0.findings);
        let mut all: Vec<Finding> = open.values().flat_map(BTreeMap::values).cloned().collect();
        drop(open);
        all.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then(a.first_at.cmp(&b.first_at)).then(a.id.cmp(&b.id))
        });
        all
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.config.load().policy)
    }

    /// The rule files in force.
    #[must_use]
    pub fn rule_files(&self) -> Arc<RuleFiles> {
        Arc::clone(&self.0.config.load().rule_files)
    }

    /// What a person must look at in the collector itself, newest first.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut all: Vec<_> = locked(&self.0.problems).values().cloned().collect();
        all.extend(self.0.store.problem());
        all.sort_by_key(|problem| std::cmp::Reverse(problem.at));
        all
    }

    /// Events of the journal, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        self.0.store.read("read the journal", move |store| journal::read(store, &query)).await
    }

    /// What the collector counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// When this collector was started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    /// The time now, by the collector's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    pub(crate) fn shared_counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn dirty(&self) -> &Arc<Dirty> {
        &self.0.dirty
    }

    /// Woken when something happened that may move a push.
    pub(crate) fn push_wake(&self) -> &Arc<Notify> {
        &self.0.push_wake
    }

    /// Woken when something has changed that a proof rests on: a host's listing, interface, route,
    /// rule, forwarding switch or ruleset, the hosts themselves, the policy.
    pub(crate) fn proof_wake(&self) -> &Notify {
        &self.0.dirty.proof
    }

    /// What all listings together may take.
    pub(crate) fn listing_limits(&self) -> &listings::Limits {
        &self.0.listing_limits
    }

    /// What is known of the invariants.
    pub(crate) fn proofs(&self) -> Arc<Known> {
        self.0.proofs.known()
    }

    pub(crate) fn set_proofs(&self, known: Known) {
        self.0.proofs.set(known);
    }

    /// Takes whoever answers questions about connections. There is one in the life of a site.
    pub(crate) fn take_questions(&self, questions: Questions) {
        // A second one would answer the same.
        let _ = self.0.questions.set(questions);
    }

    /// What becomes of a connection, by what is known of the site.
    pub(crate) async fn follow(&self, asked: Asked) -> Result<Followed, NotFollowed> {
        match self.0.questions.get() {
            Some(questions) => questions.follow(asked).await,
            None => Err(NotFollowed::NothingKnown),
        }
    }

    /// Which answers about invariants say nothing of what is there now.
    pub(crate) fn old_proofs(&self, known: &Known, now: Timestamp) -> Olds {
        known.olds(now, |name| self.by_name(name).map(|host| host.view()))
    }

    /// What traps tell.
    pub(crate) fn traps(&self) -> &Traps {
        &self.0.traps
    }

    /// Who stands behind an address.
    pub(crate) fn senders(&self) -> &Senders {
        &self.0.senders
    }

    /// Has an asset judged soon.
    pub(crate) fn touch_asset(&self, name: &HostName) {
        if let Some(host) = self.by_name(name) {
            host.touch();
        }
        if let Some(device) = self.held_device(name) {
            device.touch();
        }
    }

    /// Lays what comes at the doors of the assets that there are now.
    fn know_senders(&self) {
        let devices = self.held_devices();
        let devices = devices.iter().map(|device| (device.address.ip(), &device.name));
        self.0.senders.set(&self.policy(), devices);
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.0.config.load_full()
    }

    /// Puts another policy or other rule files in force.
    pub(crate) fn set_config(&self, policy: Arc<Policy>, rule_files: Arc<RuleFiles>) {
        let generation = self.config().generation + 1;
        self.0.config.store(Arc::new(Config { policy, rule_files, generation }));
        self.know_senders();
        for host in self.held() {
            host.touch();
        }
        for device in self.held_devices() {
            device.touch();
        }
        self.0.dirty.wake.notify_one();
        self.proof_wake().notify_one();
    }

    /// Sets or clears the problem of one part.
    pub(crate) fn set_problem(&self, part: Part, message: Option<String>) {
        let mut problems = locked(&self.0.problems);
        match message {
            Some(message) => {
                let same = problems.get(&part).filter(|known| known.message == message);
                let at = same.map_or_else(|| self.now(), |known| known.at);
                problems.insert(part, ConfigProblem { at, message });
            }
            None => {
                problems.remove(&part);
            }
        }
        drop(problems);
        self.0.dirty.wake.notify_one();
    }

    /// What is shown has changed; only the judge calls this, which bounds how often.
    pub(crate) fn moved(&self) {
        self.0.revision.send_modify(|revision| *revision += 1);
    }

    /// Every enrolled host as it is held, by name.
    pub(crate) fn held(&self) -> Vec<Arc<Host>> {
        reading(&self.0.hosts).by_name.values().cloned().collect()
    }

    /// The host with a key, if it is enrolled.
    pub(crate) fn by_key(&self, key: &HostKey) -> Option<Arc<Host>> {
        reading(&self.0.hosts).by_key.get(key).cloned()
    }

    /// The host with a name, if one is enrolled.
    pub(crate) fn by_name(&self, name: &HostName) -> Option<Arc<Host>> {
        reading(&self.0.hosts).by_name.get(name).cloned()
    }

    /// A host as it will be held. It is not of the site before [`Self::add`].
    pub(crate) fn new_host(&self, no: i64, identity: &Identity) -> Host {
        Host::new(no, identity, Arc::clone(&self.0.dirty), Arc::clone(&self.0.counters))
    }

    /// Adds an enrolled host.
    pub(crate) fn add(&self, host: impl Into<Arc<Host>>) {
        let host = host.into();
        let mut hosts = writing(&self.0.hosts);
        hosts.by_key.insert(host.key, Arc::clone(&host));
        hosts.by_name.insert(host.name.clone(), Arc::clone(&host));
        drop(hosts);
        host.touch();
        self.proof_wake().notify_one();
    }

    /// Takes a revoked host away: its sessions end, its findings are resolved.
    pub(crate) fn remove(&self, key: &HostKey) -> Option<Removed> {
        let mut hosts = writing(&self.0.hosts);
        let host = hosts.by_key.remove(key)?;
        if hosts.by_name.get(&host.name).is_some_and(|named| named.key == *key) {
            hosts.by_name.remove(&host.name);
        }
        host.revoked.cancel();
        drop(hosts);
        let resolved = self.resolve_all(key);
        self.proof_wake().notify_one();
        Some(Removed { no: host.no, resolved })
    }

    /// Has an asset judged soon.
    pub(crate) fn touch(&self, asset: &Asset) {
        match asset {
            Asset::Host(name) => {
                let host = reading(&self.0.hosts).by_name.get(name).cloned();
                host.iter().for_each(Host::touch);
            }
            Asset::Device(name) => self.held_device(name).iter().for_each(Device::touch),
        }
    }

    /// Every device as it is held, by name.
    pub(crate) fn held_devices(&self) -> Vec<Arc<Device>> {
        reading(&self.0.devices).values().cloned().collect()
    }

    /// How many devices there are.
    pub(crate) fn count_devices(&self) -> usize {
        reading(&self.0.devices).len()
    }

    /// The device with a name.
    pub(crate) fn held_device(&self, name: &HostName) -> Option<Arc<Device>> {
        reading(&self.0.devices).get(name).cloned()
    }

    fn has_device(&self, key: &HostKey) -> bool {
        reading(&self.0.devices).values().any(|device| device.key == *key)
    }

    /// Told when devices came.
    pub(crate) fn devices_moved(&self) -> &Notify {
        &self.0.devices_moved
    }

    /// What the rule files demand of a device.
    pub(crate) fn wanted_of(&self, device: &Device) -> DeviceWanted {
        self.config().rule_files.for_host(&device.name, &device.zone).device
    }

    /// Adds a device.
    pub(crate) fn add_device(&self, device: impl Into<Arc<Device>>) {
        let device = device.into();
        writing(&self.0.devices).insert(device.name.clone(), Arc::clone(&device));
        self.know_senders();
        device.touch();
        self.0.devices_moved.notify_one();
    }

    /// A device as it is judged now, before its turn.
    pub(crate) fn judged_at_once(&self, device: &Arc<Device>) -> Arc<DeviceStatus> {
        let (config, wiring) = (self.config(), self.wiring());
        let wanted = config.rule_files.for_host(&device.name, &device.zone);
        let demands = (&wanted, &*config.policy);
        let now = self.now();
        device.set_status(judged(device, demands, self.traps(), &wiring, &mut None, now));
        device.status()
    }

    /// Takes a device away: it is asked no more. Gives its findings, resolved with it.
    pub(crate) fn remove_device(&self, key: &HostKey) -> Vec<Finding> {
        let mut devices = writing(&self.0.devices);
        let name = devices.iter().find(|(_, device)| device.key == *key);
        let Some(name) = name.map(|(name, _)| name.clone()) else { return Vec::new() };
        if let Some(device) = devices.remove(&name) {
            device.removed.cancel();
        }
        drop(devices);
        self.know_senders();
        self.traps().end(&name);
        self.set_device_problem(&name, None);
        self.resolve_all(key)
    }

    /// Sets or clears what is wrong with a device that cannot be polled at all.
    pub(crate) fn set_device_problem(&self, name: &HostName, message: Option<String>) {
        self.set_problem(Part::Device(name.clone()), message);
    }

    /// Resolves every finding of an asset that is gone.
    fn resolve_all(&self, key: &HostKey) -> Vec<Finding> {
        let now = self.now();
        let open = writing(&self.0.findings).remove(key).unwrap_or_default();
        let resolved: Vec<Finding> = open
            .into_values()
            .map(|finding| Finding { resolved_at: Some(now), held: false, ..finding })
            .collect();
        self.note_resolved(resolved.iter().cloned());
        self.0.dirty.wake.notify_one();
        resolved
    }

    /// The open findings of one host or device.
    pub(crate) fn findings_of(&self, key: &HostKey) -> BTreeMap<FindingId, Finding> {
        reading(&self.0.findings).get(key).cloned().unwrap_or_default()
    }

    /// Puts the open findings of a host or device in place of those before. One that was taken away
    /// meanwhile gets none.
    pub(crate) fn set_findings(&self, key: &HostKey, open: BTreeMap<FindingId, Finding>) {
        let mut findings = writing(&self.0.findings);
        if open.is_empty() || (self.by_key(key).is_none() && !self.has_device(key)) {
            findings.remove(key);
        } else {
            findings.insert(*key, open);
        }
    }

    /// Keeps resolved findings until every Alertmanager has heard of them, and wakes those.
    pub(crate) fn note_resolved(&self, findings: impl IntoIterator<Item = Finding>) {
        let mut resolved = locked(&self.0.resolved);
        for finding in findings {
            resolved.last += 1;
            let number = resolved.last;
            if resolved.delivered.is_empty() {
                continue;
            }
            resolved.waiting.push_back((number, finding));
            if resolved.waiting.len() > MAX_RESOLVED {
                resolved.waiting.pop_front();
                self.0.counters.notifications_dropped.one();
            }
        }
        drop(resolved);
        self.findings_changed();
    }

    /// Wakes whoever tells others of findings.
    pub(crate) fn findings_changed(&self) {
        self.0.findings_moved.send_modify(|moved| *moved += 1);
    }

    /// Moves when a finding was opened, changed or resolved.
    pub(crate) fn findings_moved(&self) -> watch::Receiver<u64> {
        self.0.findings_moved.subscribe()
    }

    /// Resolved findings that Alertmanager number `target` has not heard of, with their numbers.
    pub(crate) fn undelivered(&self, target: usize, most: usize) -> Vec<(u64, Finding)> {
        let resolved = locked(&self.0.resolved);
        let after = resolved.delivered.get(target).copied().unwrap_or(u64::MAX);
        resolved.waiting.iter().filter(|(number, _)| *number > after).take(most).cloned().collect()
    }

    /// Alertmanager number `target` has heard of everything up to `number`.
    pub(crate) fn delivered(&self, target: usize, number: u64) {
        let mut resolved = locked(&self.0.resolved);
        if let Some(last) = resolved.delivered.get_mut(target) {
            *last = number.max(*last);
        }
        let all = resolved.delivered.iter().copied().min().unwrap_or(u64::MAX);
        while resolved.waiting.pop_front_if(|(number, _)| *number <= all).is_some() {}
    }
}
