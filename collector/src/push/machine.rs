//! What becomes of pushes, without doing it: what is known of the hosts in, what to send and to
//! confirm out, the time handed in.
//!
//! [`step`] is no event handler: it looks at everything that is seen of every host and moves each
//! push as far as that allows, so that it does not matter how often it runs, what woke it, or
//! whether the collector was started anew in between. Whoever runs it writes what has changed to
//! the disk before he does what it asks for.
//!
//! The laws, whatever happens:
//! - a host of a later stage is sent nothing before the stages before it have passed;
//! - a ruleset is confirmed only in a session whose hello named it as pending;
//! - a push that has failed or was cancelled sends and confirms nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bailey_rules::fact::enforcement::{Ended, Enforcement, OrderRef};
use bailey_rules::name::{HostKey, HostName, ZoneName};
use bailey_rules::text::{Lang, Text};
use bailey_rules::time::{Timestamp, spoken};
use bailey_wire::convert::{OrderOutcome, OrderResult};
use serde::{Deserialize, Serialize};

/// How much longer than it has to be confirmed in may a ruleset take to show that it lets the agent
/// through: what the way to the host and the kernel there need.
pub const GRACE: Duration = Duration::from_secs(30);

/// The most octets of orders that are on their way at the same time; a further one waits.
pub const MAX_IN_FLIGHT: usize = 64 * 1024 * 1024;

/// How often one order is sent to a host whose session ended before it answered.
pub const MAX_SENDS: u32 = 5;

/// The number of a push; a later one has a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PushId(pub i64);

impl fmt::Display for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$each])* #[serde(rename = $text)] $word,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];

            /// The word in JSON and in the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }

            /// What a word stands for.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$word),)* _ => None }
            }
        }
    };
}

words! {
    /// What the orders of a push are.
    PushKind {
        /// Rulesets, in stages and to be confirmed.
        Ruleset = "ruleset",
        /// Quarantines, at once.
        Quarantine = "quarantine",
        /// Ends of quarantines, at once.
        Release = "release",
    }
}

words! {
    /// Who confirms a ruleset that has shown that it lets the agent through.
    ConfirmBy {
        /// The collector, host by host.
        Auto = "auto",
        /// A person, stage by stage.
        Person = "person",
    }
}

words! {
    /// How many hosts are changed at a time.
    Staging {
        /// One, then a tenth, then all.
        Staged = "staged",
        /// All.
        AtOnce = "at_once",
    }
}

words! {
    /// How far a push is.
    PushState {
        /// Orders are still added.
        Draft = "draft",
        /// Hosts are given their orders.
        Running = "running",
        /// Every host of the stage has shown that it is reachable, and a person is to confirm.
        AwaitingConfirmation = "awaiting_confirmation",
        /// Every stage has passed. Hosts that were away are still given their orders.
        Done = "done",
        /// A host could not follow; nothing more is sent.
        Failed = "failed",
        /// A person stopped it; nothing more is sent.
        Cancelled = "cancelled",
    }
}

impl PushState {
    /// Whether the push goes on by itself or when a person confirms.
    #[must_use]
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::AwaitingConfirmation)
    }
}

words! {
    /// How far one host of a push is.
    HostState {
        /// Not sent yet: the host is not connected, or its stage has not begun.
        Waiting = "waiting",
        /// On its way.
        Sent = "sent",
        /// In force. Of a ruleset nobody knows yet whether the agent gets through it.
        Applied = "applied",
        /// In force, and the agent came back over a new connection. It waits to be confirmed.
        Reachable = "reachable",
        /// Confirmed.
        Confirmed = "confirmed",
        /// The host's enforcer refused it.
        Refused = "refused",
        /// Nobody on the host enforces.
        NoEnforcer = "no_enforcer",
        /// It is not in force any more, or never was: the host has returned to what it had.
        Reverted = "reverted",
        /// A newer order took its place.
        Superseded = "superseded",
        /// The host did not connect before the order's time was over.
        Expired = "expired",
        /// The push ended before the host was sent the order.
        Cancelled = "cancelled",
    }
}

impl HostState {
    /// Whether the order did what it was to do.
    #[must_use]
    pub const fn is_success(self, kind: PushKind) -> bool {
        match kind {
            PushKind::Ruleset => matches!(self, Self::Confirmed),
            PushKind::Quarantine | PushKind::Release => {
                matches!(self, Self::Applied | Self::Confirmed)
            }
        }
    }

    /// Whether the host was to follow and did not.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Refused | Self::NoEnforcer | Self::Reverted)
    }

    /// Whether nothing changes any more.
    #[must_use]
    pub const fn is_final(self, kind: PushKind) -> bool {
        match self {
            Self::Waiting | Self::Sent | Self::Reachable => false,
            Self::Applied => self.is_success(kind),
            Self::Confirmed
            | Self::Refused
            | Self::NoEnforcer
            | Self::Reverted
            | Self::Superseded
            | Self::Expired
            | Self::Cancelled => true,
        }
    }

    /// Whether the host has the order and it is not settled what becomes of it.
    #[must_use]
    pub const fn is_under_way(self, kind: PushKind) -> bool {
        !matches!(self, Self::Waiting) && !self.is_final(kind)
    }
}

/// One host of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, for people.
    pub host: HostName,
    /// Its zone when the order was made.
    pub zone: ZoneName,
    /// Its order.
    pub order: OrderRef,
    /// From then on the order is not sent.
    pub expires_at: Timestamp,
    /// How soon it must be confirmed; zero where there is nothing to confirm.
    pub confirm_within: Duration,
    /// The octets of the signed order.
    pub octets: usize,
    /// Its stage, from 1; 0 in a draft.
    pub stage: u32,
    /// How far it is.
    pub state: HostState,
    /// The name of the enforcer's error, where it refused.
    pub error: String,
    /// Why it is there, where there is something to say.
    pub why: Option<Text>,
    /// When the order was sent last.
    pub sent_at: Option<Timestamp>,
    /// How often it was sent.
    pub sends: u32,
    /// When it was heard to be in force.
    pub applied_at: Option<Timestamp>,
    /// The session in which it was sent last; `None` after a restart of the collector.
    pub sent_in: Option<u64>,
    /// The session in which the host was asked to confirm.
    pub confirm_asked_in: Option<u64>,
}

impl Target {
    /// When the host returns to its ruleset before unless it is confirmed; earlier than on the host
    /// itself, never later.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.sent_at.map(|at| at + self.confirm_within)
    }

    /// From then on it is certain that the order is not in force unless it was confirmed.
    fn given_up_at(&self) -> Option<Timestamp> {
        self.applied_at.or(self.sent_at).map(|at| at + self.confirm_within + GRACE)
    }
}

/// A push: one order for each of its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// What the orders are.
    pub kind: PushKind,
    /// Who confirms.
    pub confirm: ConfirmBy,
    /// How many at a time.
    pub staging: Staging,
    /// How far it is.
    pub state: PushState,
    /// Why it is there, where there is something to say.
    pub why: Option<Text>,
    /// The stage it is in, from 1; 0 in a draft.
    pub stage: u32,
    /// How many stages it has; 0 in a draft.
    pub stages: u32,
    /// A person has confirmed the stages up to this one.
    pub confirmed_stage: u32,
    /// Its hosts.
    pub targets: BTreeMap<HostKey, Target>,
}

impl Push {
    /// Until when a person has to confirm, while one has to.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let waits = self.state == PushState::AwaitingConfirmation;
        let reachable = self.targets.values().filter(|target| target.state == HostState::Reachable);
        reachable.filter_map(Target::deadline).min().filter(|_| waits)
    }

    /// Whether nothing changes any more, whatever happens.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let ended = match self.state {
            PushState::Draft | PushState::Running | PushState::AwaitingConfirmation => false,
            PushState::Done | PushState::Failed | PushState::Cancelled => true,
        };
        ended && self.targets.values().all(|target| target.state.is_final(self.kind))
    }

    /// Begins: shares the hosts out to stages, those that are connected first, so that a stage is
    /// not held up by a host that is off.
    pub fn start(&mut self, connected: impl Fn(&HostKey) -> bool) {
        let mut order: Vec<(bool, HostName, HostKey)> = self
            .targets
            .iter()
            .map(|(key, target)| (!connected(key), target.host.clone(), *key))
            .collect();
        order.sort();
        let ends = match (self.kind, self.staging) {
            (PushKind::Ruleset, Staging::Staged) => stage_ends(order.len()),
            (PushKind::Ruleset, Staging::AtOnce)
            | (PushKind::Quarantine | PushKind::Release, _) => vec![order.len()],
        };
        self.stage = 1;
        self.stages = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        self.state = PushState::Running;
        for (index, (.., key)) in order.iter().enumerate() {
            let stage = ends.partition_point(|end| *end <= index) + 1;
            if let Some(target) = self.targets.get_mut(key) {
                target.stage = u32::try_from(stage).unwrap_or(u32::MAX);
            }
        }
    }

    /// A person confirms the stage that awaits it.
    pub fn confirm_stage(&mut self) {
        debug_assert!(self.state == PushState::AwaitingConfirmation);
        self.confirmed_stage = self.stage;
        self.state = PushState::Running;
    }

    /// Ends it: what was not sent never will be. Gives the hosts that changed.
    pub fn stop(&mut self, state: PushState, why: Text) -> Vec<HostKey> {
        debug_assert!(!state.is_running() && state != PushState::Draft);
        if self.state != state {
            self.state = state;
            self.why = Some(why);
        }
        let mut changed = Vec::new();
        for (key, target) in &mut self.targets {
            if target.state == HostState::Waiting {
                target.state = HostState::Cancelled;
                changed.push(*key);
            }
        }
        changed
    }

    fn may_send(&self, target: &Target) -> bool {
        match self.state {
            PushState::Running | PushState::AwaitingConfirmation | PushState::Done => {
                target.stage <= self.stage
            }
            PushState::Draft | PushState::Failed | PushState::Cancelled => false,
        }
    }

    fn may_confirm(&self, target: &Target) -> bool {
        match (self.state, self.confirm) {
            (PushState::Done, _) | (PushState::Running, ConfirmBy::Auto) => true,
            (PushState::Running | PushState::AwaitingConfirmation, ConfirmBy::Person) => {
                target.stage <= self.confirmed_stage
            }
            (PushState::AwaitingConfirmation, ConfirmBy::Auto)
            | (PushState::Draft | PushState::Failed | PushState::Cancelled, _) => false,
        }
    }
}

/// How many hosts have been reached at the end of each stage: one, a tenth, all.
fn stage_ends(hosts: usize) -> Vec<usize> {
    let mut ends = vec![1.min(hosts), hosts.div_ceil(10), hosts];
    ends.dedup();
    ends
}

/// The open session of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSeen {
    /// Its number among the sessions of the host, since the collector was started.
    pub number: u64,
    /// What its hello named as pending.
    pub pending: Option<OrderRef>,
}

/// What is seen of an enrolled host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its open session.
    pub session: Option<SessionSeen>,
    /// What it said of orders lately.
    pub outcomes: Vec<OrderOutcome>,
    /// What it enforces, where it says so.
    pub enforcement: Option<Enforcement>,
}

/// Something to do, after what has changed is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send a host its order of this push, in this session.
    Send {
        /// Which push.
        push: PushId,
        /// Which host.
        host: HostKey,
        /// In which session.
        session: u64,
        /// Which order.
        order: OrderRef,
    },
    /// Tell a host to confirm, in this session.
    Confirm {
        /// Which host.
        host: HostKey,
        /// In which session.
        session: u64,
        /// Which order.
        order: OrderRef,
    },
}

/// What a step gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub actions: Vec<Action>,
    /// Pushes whose own state has changed.
    pub pushes: BTreeSet<PushId>,
    /// Hosts of pushes whose state has changed.
    pub targets: BTreeSet<(PushId, HostKey)>,
}

/// Moves every push as far as what is seen of the hosts allows. `seen` gives `None` for a key that is
/// no longer enrolled. Drafts are left alone.
pub fn step(
    pushes: &mut BTreeMap<PushId, Push>,
    seen: impl Fn(&HostKey) -> Option<Seen>,
    now: Timestamp,
) -> Step {
    let mut out = Step::default();
    let mut sight: BTreeMap<HostKey, Option<Seen>> = BTreeMap::new();
    for push in pushes.values().filter(|push| push.state != PushState::Draft) {
        for (key, target) in &push.targets {
            if !target.state.is_final(push.kind) {
                sight.entry(*key).or_insert_with(|| seen(key));
            }
        }
    }
    let started = started(pushes, &sight);
    for (id, push) in pushes.iter_mut().filter(|(_, push)| push.state != PushState::Draft) {
        let (kind, running) = (push.kind, push.state);
        for (key, target) in &mut push.targets {
            let Some(seen) = sight.get(key).filter(|_| !target.state.is_final(kind)) else {
                continue;
            };
            let newer = started.get(key).map_or(&[][..], Vec::as_slice);
            let before = target.state;
            settle(target, kind, running, seen.as_ref(), newer, now);
            if target.state != before {
                out.targets.insert((*id, *key));
            }
        }
    }
    let mut room = MAX_IN_FLIGHT.saturating_sub(in_flight(pushes, &sight));
    for (id, push) in pushes.iter_mut().filter(|(_, push)| push.state != PushState::Draft) {
        send(*id, push, &sight, &started, &mut room, now, &mut out);
        confirm(push, &sight, &mut out);
        if advance(push, &sight, &mut out, *id) {
            out.pushes.insert(*id);
        }
    }
    out
}

/// An order of a started push: its number, what it is, and whether something still comes of it.
type StartedOrder = (u64, PushKind, bool);

fn started(
    pushes: &BTreeMap<PushId, Push>,
    sight: &BTreeMap<HostKey, Option<Seen>>,
) -> BTreeMap<HostKey, Vec<StartedOrder>> {
    let mut started: BTreeMap<HostKey, Vec<StartedOrder>> = BTreeMap::new();
    for push in pushes.values().filter(|push| push.state != PushState::Draft) {
        for (key, target) in &push.targets {
            let gone = matches!(target.state, HostState::Cancelled | HostState::Expired);
            if sight.contains_key(key) && !gone {
                let open = !target.state.is_final(push.kind);
                started.entry(*key).or_default().push((target.order.version, push.kind, open));
            }
        }
    }
    started
}

/// Octets that are on their way to hosts which have not answered.
fn in_flight(pushes: &BTreeMap<PushId, Push>, sight: &BTreeMap<HostKey, Option<Seen>>) -> usize {
    let on_its_way = |key: &HostKey, target: &Target| {
        let session = sight.get(key).and_then(Option::as_ref).and_then(|seen| seen.session);
        target.state == HostState::Sent
            && target.sent_in.is_some()
            && target.sent_in == session.map(|session| session.number)
    };
    pushes
        .values()
        .flat_map(|push| &push.targets)
        .filter(|(key, target)| on_its_way(key, target))
        .map(|(_, target)| target.octets)
        .sum()
}

/// What is newer than a waiting order so that it is not to be sent any more. A quarantine is not
/// undone by a ruleset that comes later; everything else gives way to what is newer.
fn gives_way(kind: PushKind, version: u64, others: &[StartedOrder]) -> Option<u64> {
    let newer = others.iter().filter(|(other, ..)| *other > version);
    newer
        .filter(|(_, other, _)| match kind {
            PushKind::Ruleset => *other != PushKind::Release,
            PushKind::Quarantine | PushKind::Release => *other != PushKind::Ruleset,
        })
        .map(|(other, ..)| *other)
        .max()
}

/// What follows for one host from what is seen of it, before anything is sent.
fn settle(
    target: &mut Target,
    kind: PushKind,
    push: PushState,
    seen: Option<&Seen>,
    others: &[StartedOrder],
    now: Timestamp,
) {
    let Some(seen) = seen else {
        let why = Text::new("it is no longer enrolled with this key", "已不再以此密钥注册");
        let state = match target.state {
            HostState::Waiting => HostState::Cancelled,
            _ => HostState::Reverted,
        };
        return end(target, state, Some(why));
    };
    if let Some(state) = told_by_facts(target, kind, seen) {
        let why = match state {
            HostState::Reverted | HostState::Superseded => ended_why(seen),
            _ => None,
        };
        note_applied(target, state, now);
        return end(target, state, why);
    }
    let said = seen.outcomes.iter().rev().find(|outcome| outcome.order == target.order);
    if let Some(outcome) = said {
        hear(target, kind, &outcome.result, now);
    }
    if target.state.is_final(kind) {
        return;
    }
    let named = seen.session.is_some_and(|session| session.pending == Some(target.order));
    if named && target.state != HostState::Reachable && kind == PushKind::Ruleset {
        let goes_on = match push {
            PushState::Running | PushState::AwaitingConfirmation | PushState::Done => true,
            PushState::Draft | PushState::Failed | PushState::Cancelled => false,
        };
        if goes_on {
            target.sent_at = target.sent_at.or(Some(now));
            note_applied(target, HostState::Reachable, now);
            return end(target, HostState::Reachable, None);
        }
    }
    if target.state == HostState::Waiting {
        if let Some(version) = gives_way(kind, target.order.version, others) {
            let why = Text::new(
                format!("order {version} is newer; this one was never sent"),
                format!("命令 {version} 更新，此命令未下发"),
            );
            return end(target, HostState::Superseded, Some(why));
        }
        let highest = seen.enforcement.as_ref().map_or(0, |enforcement| enforcement.highest);
        if highest >= target.order.version {
            let why = Text::new(
                format!("the host has seen order {highest}; this one would be refused as older"),
                format!("主机已见过命令 {highest}，此命令会被视为过旧而拒绝"),
            );
            return end(target, HostState::Superseded, Some(why));
        }
        if target.expires_at <= now {
            let why = Text::new(
                "it did not connect before the order expired; push again",
                "命令到期前主机未连接，请重新下发",
            );
            return end(target, HostState::Expired, Some(why));
        }
        return;
    }
    if target.given_up_at().is_some_and(|at| at <= now) {
        let waited = spoken(target.confirm_within + GRACE);
        let why = match target.state {
            HostState::Reachable => Text::new(
                "it was not confirmed in time and has returned to its ruleset before by itself",
                "未及时确认，主机已自动恢复先前规则",
            ),
            HostState::Applied => Text::new(
                format!(
                    "it did not come back over the new rules within {} and returns to its ruleset \
                     before by itself",
                    waited.en
                ),
                format!("{}内未能通过新规则重新连接，主机会自动恢复先前规则", waited.zh),
            ),
            _ => Text::new(
                format!("it was sent the order and did not answer within {}", waited.en),
                format!("命令已下发，{}内未得到答复", waited.zh),
            ),
        };
        end(target, HostState::Reverted, Some(why));
    }
}

fn end(target: &mut Target, state: HostState, why: Option<Text>) {
    target.state = state;
    target.why = why;
}

fn note_applied(target: &mut Target, state: HostState, now: Timestamp) {
    if matches!(state, HostState::Applied | HostState::Reachable) {
        target.applied_at = target.applied_at.or(Some(now));
    }
}

/// Where the host's own facts say that an order is, when they say something new about it.
fn told_by_facts(target: &Target, kind: PushKind, seen: &Seen) -> Option<HostState> {
    let facts = seen.enforcement.as_ref()?;
    let version = target.order.version;
    match kind {
        PushKind::Ruleset => {
            if facts.confirmed == Some(target.order) {
                return Some(HostState::Confirmed);
            }
            let last = facts.last.filter(|last| last.version == version)?;
            // What is waiting and was never sent came by another way; all the same it went.
            match last.what {
                Ended::NotConfirmed | Ended::Rebooted | Ended::RefusedByKernel => {
                    Some(HostState::Reverted)
                }
                Ended::Superseded | Ended::Quarantined => Some(HostState::Superseded),
                Ended::Confirmed | Ended::QuarantineOver | Ended::Released => None,
            }
        }
        PushKind::Quarantine => {
            let in_force = facts.quarantine.as_ref().is_some_and(|q| q.order == target.order);
            let was_in_force = facts.last.is_some_and(|last| {
                last.version == version
                    && matches!(last.what, Ended::QuarantineOver | Ended::Released)
            });
            (in_force || was_in_force).then_some(HostState::Applied)
        }
        PushKind::Release => {
            let done = facts.highest >= version && facts.quarantine.is_none();
            (done && target.state == HostState::Sent).then_some(HostState::Applied)
        }
    }
}

/// Why the host's own ruleset ended, where it says so.
fn ended_why(seen: &Seen) -> Option<Text> {
    let (en, zh) = match seen.enforcement.as_ref()?.last?.what {
        Ended::NotConfirmed => (
            "it was not confirmed in time; the host has returned to its ruleset before",
            "未及时确认，主机已恢复先前规则",
        ),
        Ended::Rebooted => (
            "the host was booted before it was confirmed and has returned to its ruleset before",
            "确认前主机已重启，恢复先前规则",
        ),
        Ended::RefusedByKernel => {
            ("the kernel of the host refused the ruleset", "主机内核拒绝该规则")
        }
        Ended::Superseded => {
            ("a newer ruleset came before it was confirmed", "确认前已有更新的规则")
        }
        Ended::Quarantined => ("a quarantine came before it was confirmed", "确认前主机已被隔离"),
        Ended::Confirmed | Ended::QuarantineOver | Ended::Released => return None,
    };
    Some(Text::new(en, zh))
}

/// What the agent said of the order itself.
fn hear(target: &mut Target, kind: PushKind, result: &OrderResult, now: Timestamp) {
    use HostState::{Applied, Reachable, Sent, Waiting};
    let is_ruleset = kind == PushKind::Ruleset;
    let said = |why: &str| Some(Text::new(why, why)).filter(|_| !why.is_empty());
    match (result, target.state) {
        (OrderResult::Applied, Waiting | Sent) => {
            target.state = Applied;
            target.sent_at = target.sent_at.or(Some(now));
            target.applied_at = Some(now);
        }
        (OrderResult::Confirmed, _) if is_ruleset => end(target, HostState::Confirmed, None),
        // Sent a second time because the first answer was lost: that the host has seen it is no
        // refusal. What became of it the host's facts say.
        (OrderResult::Refused { error, .. }, Sent) if error == "older" && target.sends > 1 => {}
        // The confirmation came too late.
        (OrderResult::Refused { error, why }, Applied | Reachable) if error == "not_pending" => {
            end(target, HostState::Reverted, said(why));
        }
        (OrderResult::Refused { error, why }, Sent | Applied | Reachable) => {
            target.error.clone_from(error);
            end(target, HostState::Refused, said(why));
        }
        (OrderResult::NoEnforcer { why }, Sent | Applied | Reachable) => {
            end(target, HostState::NoEnforcer, said(why));
        }
        // Said before, and known.
        (
            OrderResult::Applied
            | OrderResult::Confirmed
            | OrderResult::Refused { .. }
            | OrderResult::NoEnforcer { .. },
            _,
        ) => {}
    }
}

fn session_of(sight: &BTreeMap<HostKey, Option<Seen>>, key: &HostKey) -> Option<SessionSeen> {
    sight.get(key).and_then(Option::as_ref).and_then(|seen| seen.session)
}

/// Sends what may be sent.
fn send(
    id: PushId,
    push: &mut Push,
    sight: &BTreeMap<HostKey, Option<Seen>>,
    started: &BTreeMap<HostKey, Vec<StartedOrder>>,
    room: &mut usize,
    now: Timestamp,
    out: &mut Step,
) {
    let wanted: Vec<(HostKey, u64)> = push
        .targets
        .iter()
        .filter(|(_, target)| push.may_send(target))
        .filter_map(|(key, target)| {
            let session = session_of(sight, key)?;
            let due = match target.state {
                HostState::Waiting => true,
                HostState::Sent => {
                    let facts = sight.get(key)?.as_ref()?.enforcement.as_ref();
                    target.sent_in != Some(session.number)
                        && target.sends < MAX_SENDS
                        && facts.is_none_or(|facts| facts.highest < target.order.version)
                }
                _ => false,
            };
            // A ruleset does not overtake a quarantine that was ordered before it.
            let held_up = started.get(key).is_some_and(|others| {
                others.iter().any(|(version, kind, open)| {
                    *open && *version < target.order.version && *kind != PushKind::Ruleset
                })
            });
            (due && !held_up && target.expires_at > now).then_some((*key, session.number))
        })
        .collect();
    for (key, session) in wanted {
        let Some(target) = push.targets.get_mut(&key) else { continue };
        // One order goes through whatever its size, or it would wait for ever.
        if target.octets > *room && *room < MAX_IN_FLIGHT {
            continue;
        }
        *room = room.saturating_sub(target.octets);
        target.state = HostState::Sent;
        target.sent_at = Some(now);
        target.sends += 1;
        target.sent_in = Some(session);
        out.targets.insert((id, key));
        out.actions.push(Action::Send { push: id, host: key, session, order: target.order });
    }
}

/// Confirms what may be confirmed.
fn confirm(push: &mut Push, sight: &BTreeMap<HostKey, Option<Seen>>, out: &mut Step) {
    let due: Vec<(HostKey, u64)> = push
        .targets
        .iter()
        .filter(|(_, target)| target.state == HostState::Reachable && push.may_confirm(target))
        .filter_map(|(key, target)| {
            let session = session_of(sight, key)?;
            let named = session.pending == Some(target.order);
            let asked = target.confirm_asked_in == Some(session.number);
            (named && !asked).then_some((*key, session.number))
        })
        .collect();
    for (key, session) in due {
        if let Some(target) = push.targets.get_mut(&key) {
            target.confirm_asked_in = Some(session);
            out.actions.push(Action::Confirm { host: key, session, order: target.order });
        }
    }
}

/// Moves the push itself; true when it has changed.
fn advance(
    push: &mut Push,
    sight: &BTreeMap<HostKey, Option<Seen>>,
    out: &mut Step,
    id: PushId,
) -> bool {
    if !push.state.is_running() {
        return false;
    }
    let kind = push.kind;
    let all_final = push.targets.values().all(|target| target.state.is_final(kind));
    let failed = push.targets.values().find(|target| target.state.is_failure());
    let mut stop = |push: &mut Push, why| {
        out.targets.extend(push.stop(PushState::Failed, why).into_iter().map(|key| (id, key)));
        true
    };
    // Of quarantines each is urgent by itself: one that fails does not hold up the others.
    if let Some(target) = failed {
        if kind == PushKind::Ruleset || all_final {
            let why = failure(target);
            return stop(push, why);
        }
        return false;
    }
    let reached = || push.targets.iter().filter(|(_, target)| target.stage <= push.stage);
    let moving = reached().any(|(key, target)| match target.state {
        HostState::Waiting => session_of(sight, key).is_some(),
        HostState::Reachable => false,
        state => state.is_under_way(kind),
    });
    let reachable = reached().any(|(_, target)| target.state == HostState::Reachable);
    let before = (push.state, push.stage);
    let person_waits = push.confirm == ConfirmBy::Person && push.confirmed_stage < push.stage;
    push.state = if reachable && !moving && person_waits {
        PushState::AwaitingConfirmation
    } else {
        PushState::Running
    };
    if !moving && !reachable {
        let stage = || push.targets.values().filter(|target| target.stage == push.stage);
        if stage().any(|target| target.state.is_success(kind)) {
            if push.stage < push.stages {
                push.stage += 1;
            } else {
                push.state = PushState::Done;
            }
        } else if stage().all(|target| target.state.is_final(kind)) {
            let why = Text::new(
                format!("no host of stage {} could be given its order any more", push.stage),
                format!("第 {} 阶段已没有可下发的主机", push.stage),
            );
            return stop(push, why);
        }
    }
    (push.state, push.stage) != before
}

/// `HOST: why`, for the whole push.
fn failure(target: &Target) -> Text {
    let said = |why: &str| match (target.error.as_str(), why) {
        ("", why) => format!("{}: {why}", target.host),
        (error, "") => format!("{}: {error}", target.host),
        (error, why) => format!("{}: {error}: {why}", target.host),
    };
    let why = |lang| target.why.as_ref().map_or("", |why| why.in_lang(lang));
    Text::new(said(why(Lang::En)), said(why(Lang::Zh)))
}

#[cfg(test)]
mod tests;
