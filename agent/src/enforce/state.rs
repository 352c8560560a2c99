//! What the enforcer knows and what it does next, without doing it: events in, steps out, the time
//! handed in.
//!
//! The law, whatever happens and wherever the power fails: once a ruleset was confirmed, the kernel
//! holds the confirmed one, a pending one until its deadline, or a quarantine until its end. It
//! never holds nothing.
//!
//! A step is either durable (a new [`State`] on disk, whole or not at all) or a transaction in the
//! kernel (whole or not at all). What limits the host's trust is written before the kernel changes;
//! what a revert leaves behind is written after it. So a crash between any two steps leaves a state
//! on disk from which [`State::start`] ends up in the same place.

use std::time::Duration;

pub use bailey_rules::fact::enforcement::{Ended, OrderRef};
use bailey_rules::name::BootId;
use bailey_rules::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest quarantine, from the moment it begins.
pub const MAX_QUARANTINE: Duration = Duration::from_hours(30 * 24);

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the clock of the system, which may be set.
    pub wall: Timestamp,
    /// Which boot of the kernel this is.
    pub boot: BootId,
    /// Since the kernel booted, suspended or not (`CLOCK_BOOTTIME`).
    pub up: Duration,
}

/// A point in time that no setting of the clock moves, good within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The boot it belongs to.
    pub boot: BootId,
    /// In milliseconds since that boot.
    pub up_millis: u64,
}

impl Deadline {
    fn after(now: Moment, wait: Duration) -> Self {
        Self { boot: now.boot, up_millis: millis(now.up.saturating_add(wait)) }
    }

    /// How long it is until then; `None` when it has passed or belongs to another boot.
    pub(super) fn left(self, now: Moment) -> Option<Duration> {
        let left = self.up_millis.checked_sub(millis(now.up)).filter(|left| *left > 0);
        left.filter(|_| self.boot == now.boot).map(Duration::from_millis)
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// A ruleset in force that nobody has confirmed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Which.
    #[serde(flatten)]
    pub order: OrderRef,
    /// When the ruleset before it returns.
    pub deadline: Deadline,
}

/// A quarantine in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Which.
    #[serde(flatten)]
    pub order: OrderRef,
    /// When it ends, by the clock of the system.
    pub until_millis: i64,
    /// When it ends, by the clock that nobody can set.
    pub deadline: Deadline,
    /// Why there is one.
    pub reason: String,
}

/// The last time that something came into force or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When, in milliseconds since 1970.
    pub at_millis: i64,
    /// To which order.
    pub version: u64,
    /// What.
    pub what: Ended,
}

/// Everything that is kept on disk besides the orders themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The highest number of any genuine order for this host, followed or not.
    pub highest: u64,
    /// The ruleset that was confirmed last.
    pub confirmed: Option<OrderRef>,
    /// The one confirmed before it, in case the disk loses the newer one.
    pub before: Option<OrderRef>,
    /// The ruleset that waits to be confirmed.
    pub pending: Option<Pending>,
    /// The quarantine in force.
    pub quarantine: Option<Quarantined>,
    /// What happened last.
    pub last: Option<Happened>,
}

/// What the kernel should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// No table of ours: nothing was ever confirmed.
    NoTable,
    /// The ruleset of this order.
    Order(OrderRef),
}

/// One thing to do. Steps are done in order; a step that fails ends the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make this the state on disk, and then the state in memory.
    Keep(Box<State>),
    /// Put this into the kernel, in one transaction.
    Load(Wanted),
}

/// An order whose signature, host and text were found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Which.
    pub order: OrderRef,
    /// From then on it is too late to begin.
    pub expires_at: Timestamp,
    /// What it says, without the text.
    pub what: AcceptedWhat,
}

/// What an order says, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptedWhat {
    /// A ruleset.
    Ruleset {
        /// How soon it must be confirmed.
        confirm_within: Duration,
    },
    /// A quarantine.
    Quarantine {
        /// Its end.
        until: Timestamp,
        /// Its reason.
        reason: String,
    },
    /// The end of a quarantine.
    Release,
}

/// Why an order or a confirmation is not followed. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Anti-rollback.
    #[error("order {version} is not newer than order {highest}, which this host has seen")]
    Older {
        /// Its number.
        version: u64,
        /// The highest seen.
        highest: u64,
    },
    /// It came too late.
    #[error("order {version} was to be followed before {expires_at}; now it is {now}")]
    Expired {
        /// Its number.
        version: u64,
        /// Its end.
        expires_at: Timestamp,
        /// The host's time.
        now: Timestamp,
    },
    /// A ruleset for a host in quarantine.
    #[error("the host is in quarantine (order {0}); release it first")]
    InQuarantine(u64),
    /// A quarantine that is over or far too long.
    #[error("a quarantine ends in the future and within {} days", MAX_QUARANTINE.as_secs() / 86_400)]
    QuarantineLength,
    /// A confirmation of something that does not wait for one.
    #[error("order {0} does not wait to be confirmed: it was reverted, replaced, or never came")]
    NotPending(u64),
}

impl State {
    /// What the kernel should hold.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let pending = self.pending.as_ref().map(|pending| pending.order);
        let quarantine = self.quarantine.as_ref().map(|quarantine| quarantine.order);
        quarantine.or(pending).or(self.confirmed).map_or(Wanted::NoTable, Wanted::Order)
    }

    /// Whether the table is the enforcer's business at all: before the first order it is not.
    #[must_use]
    pub const fn untouched(&self) -> bool {
        self.confirmed.is_none() && self.pending.is_none() && self.quarantine.is_none()
    }

    /// Every order whose octets are still needed.
    pub fn needed(&self) -> impl Iterator<Item = OrderRef> {
        let pending = self.pending.as_ref().map(|pending| pending.order);
        let quarantine = self.quarantine.as_ref().map(|quarantine| quarantine.order);
        [self.confirmed, self.before, pending, quarantine].into_iter().flatten()
    }

    fn note(&mut self, version: u64, what: Ended, now: Moment) {
        self.last = Some(Happened { at_millis: now.wall.as_millis(), version, what });
    }

    /// Steps that bring the kernel to what this state, which `now` follows on, wants.
    /// The kernel first: as long as it has not happened, the disk must say that it is due.
    fn revert(next: Self) -> Vec<Step> {
        vec![Step::Load(next.wanted()), Step::Keep(Box::new(next))]
    }

    /// After a start of the process, whatever ended the one before.
    ///
    /// A pending ruleset is put into the kernel again as long as its time runs: nobody knows
    /// whether it got there. After a boot its time is over.
    #[must_use]
    pub fn start(&self, now: Moment) -> Vec<Step> {
        let mut next = self.clone();
        if let Some(quarantine) = &mut next.quarantine
            && quarantine.deadline.boot != now.boot
        {
            // What is left of it by the clock of the system counts from now by the other.
            let until = Timestamp::from_millis(quarantine.until_millis);
            let left = now.wall.age(until).min(MAX_QUARANTINE);
            quarantine.deadline = Deadline::after(now, left);
        }
        next.expire(now);
        if next == *self {
            return if self.untouched() { Vec::new() } else { vec![Step::Load(self.wanted())] };
        }
        Self::revert(next)
    }

    /// Whatever is due at `now`.
    #[must_use]
    pub fn tick(&self, now: Moment) -> Vec<Step> {
        let mut next = self.clone();
        next.expire(now);
        if next == *self { Vec::new() } else { Self::revert(next) }
    }

    fn expire(&mut self, now: Moment) {
        if let Some(pending) = self.pending
            && pending.deadline.left(now).is_none()
        {
            self.pending = None;
            let rebooted = pending.deadline.boot != now.boot;
            let what = if rebooted { Ended::Rebooted } else { Ended::NotConfirmed };
            self.note(pending.order.version, what, now);
        }
        if let Some(quarantine) = &self.quarantine
            && quarantine.deadline.left(now).is_none()
        {
            let version = quarantine.order.version;
            self.quarantine = None;
            self.note(version, Ended::QuarantineOver, now);
        }
    }

    /// How long until [`State::tick`] has something to do; `None`: nothing is due ever.
    #[must_use]
    pub fn due_in(&self, now: Moment) -> Option<Duration> {
        let pending = self.pending.map(|pending| pending.deadline);
        let quarantine = self.quarantine.as_ref().map(|quarantine| quarantine.deadline);
        let left = |deadline: Deadline| deadline.left(now).unwrap_or_default();
        pending.into_iter().chain(quarantine).map(left).min()
    }

    /// Follows an order. The first step is durable, and with it the order can never be followed
    /// again.
    ///
    /// # Errors
    /// When the order is not to be followed; nothing changes then.
    pub fn apply(&self, accepted: &Accepted, now: Moment) -> Result<Vec<Step>, Refused> {
        let version = accepted.order.version;
        if version <= self.highest {
            return Err(Refused::Older { version, highest: self.highest });
        }
        if accepted.expires_at <= now.wall {
            let expires_at = accepted.expires_at;
            return Err(Refused::Expired { version, expires_at, now: now.wall });
        }
        let mut next = Self { highest: version, ..self.clone() };
        match &accepted.what {
            AcceptedWhat::Ruleset { confirm_within } => {
                if let Some(quarantine) = &self.quarantine {
                    return Err(Refused::InQuarantine(quarantine.order.version));
                }
                if let Some(pending) = self.pending {
                    next.note(pending.order.version, Ended::Superseded, now);
                }
                let deadline = Deadline::after(now, *confirm_within);
                next.pending = Some(Pending { order: accepted.order, deadline });
            }
            AcceptedWhat::Quarantine { until, reason } => {
                let left = now.wall.age(*until);
                if left.is_zero() || left > MAX_QUARANTINE {
                    return Err(Refused::QuarantineLength);
                }
                if let Some(pending) = next.pending.take() {
                    next.note(pending.order.version, Ended::Quarantined, now);
                }
                next.quarantine = Some(Quarantined {
                    order: accepted.order,
                    until_millis: until.as_millis(),
                    deadline: Deadline::after(now, left),
                    reason: reason.clone(),
                });
            }
            AcceptedWhat::Release => {
                let Some(quarantine) = next.quarantine.take() else {
                    return Ok(vec![Step::Keep(Box::new(next))]);
                };
                next.note(quarantine.order.version, Ended::Released, now);
            }
        }
        let wanted = next.wanted();
        Ok(vec![Step::Keep(Box::new(next)), Step::Load(wanted)])
    }

    /// After the kernel refused what [`State::apply`] asked for: back to `before`, but for the
    /// number, which is used up. A transaction that fails changes nothing, so that loading what was
    /// there before is only for the case that somebody else was in between.
    #[must_use]
    pub fn refused_by_kernel(&self, before: &Self, now: Moment) -> Vec<Step> {
        let mut next = Self { highest: self.highest, ..before.clone() };
        next.note(self.highest, Ended::RefusedByKernel, now);
        vec![Step::Keep(Box::new(next))]
    }

    /// Makes the pending ruleset the confirmed one.
    ///
    /// # Errors
    /// When that very order does not wait to be confirmed, or its time is over.
    pub fn confirm(&self, order: OrderRef, now: Moment) -> Result<Vec<Step>, Refused> {
        let waits = self.pending.filter(|pending| pending.order == order);
        let in_time = waits.filter(|pending| pending.deadline.left(now).is_some());
        if in_time.is_none() {
            // Said twice, for instance because the answer was lost.
            let done = self.confirmed == Some(order);
            return if done { Ok(Vec::new()) } else { Err(Refused::NotPending(order.version)) };
        }
        let mut next =
            Self { confirmed: Some(order), before: self.confirmed, pending: None, ..self.clone() };
        next.note(order.version, Ended::Confirmed, now);
        Ok(vec![Step::Keep(Box::new(next))])
    }
}

#[cfg(test)]
mod tests {
    use bailey_rules::name::OrderDigest;
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn name(version: u64) -> OrderRef {
        OrderRef { version, digest: OrderDigest::from_bytes([version.to_le_bytes()[0]; 32]) }
    }

    fn moment(boot: u8, seconds: u64) -> Moment {
        let wall = Timestamp::from_seconds(1_795_415_400) + Duration::from_secs(seconds);
        let boot_seconds = u64::from(boot) * 1_000;
        let up = Duration::from_secs(seconds.saturating_sub(boot_seconds));
        Moment { wall, boot: BootId::from_bytes([boot; 16]), up }
    }

    fn ruleset(version: u64, now: Moment) -> Accepted {
        let what = AcceptedWhat::Ruleset { confirm_within: Duration::from_mins(2) };
        Accepted { order: name(version), expires_at: now.wall + DAY, what }
    }

    fn kept(steps: &[Step]) -> &State {
        let state = steps.iter().find_map(|step| match step {
            Step::Keep(state) => Some(state),
            Step::Load(_) => None,
        });
        state.expect("something is kept")
    }

    fn confirmed(version: u64) -> State {
        State { highest: version, confirmed: Some(name(version)), ..State::default() }
    }

    #[test]
    fn the_number_and_the_deadline_are_on_disk_before_the_kernel_changes() {
        let now = moment(0, 10);
        let steps = confirmed(1).apply(&ruleset(2, now), now).unwrap();
        let [Step::Keep(state), Step::Load(Wanted::Order(order))] = &steps[..] else {
            panic!("{steps:?}")
        };
        assert_eq!((state.highest, *order), (2, name(2)));
        assert_eq!(state.due_in(now), Some(Duration::from_mins(2)));
    }

    #[test]
    fn a_ruleset_nobody_confirms_gives_way_to_the_confirmed_one() {
        let now = moment(0, 10);
        let state = kept(&confirmed(1).apply(&ruleset(2, now), now).unwrap()).clone();
        assert_eq!(state.tick(moment(0, 129)), []);
        let steps = state.tick(moment(0, 130));
        assert_eq!(steps[0], Step::Load(Wanted::Order(name(1))));
        let last = kept(&steps).last.unwrap();
        assert_eq!((last.version, last.what), (2, Ended::NotConfirmed));
    }

    #[test]
    fn no_setting_of_the_clock_moves_the_deadline() {
        let now = moment(0, 10);
        let state = kept(&confirmed(1).apply(&ruleset(2, now), now).unwrap()).clone();
        let set_back = Moment { wall: Timestamp::EPOCH, ..moment(0, 130) };
        assert_eq!(state.tick(set_back)[0], Step::Load(Wanted::Order(name(1))));
        let set_forth = Moment { wall: now.wall + DAY * 1000, ..moment(0, 129) };
        assert_eq!(state.tick(set_forth), []);
    }

    #[test]
    fn a_boot_ends_what_is_pending_at_once() {
        let now = moment(0, 10);
        let state = kept(&confirmed(1).apply(&ruleset(2, now), now).unwrap()).clone();
        let steps = state.start(moment(1, 1_001));
        assert_eq!(steps[0], Step::Load(Wanted::Order(name(1))));
        assert_eq!(kept(&steps).last.unwrap().what, Ended::Rebooted);
    }

    #[test]
    fn the_first_ruleset_ever_leaves_no_table_when_nobody_confirms() {
        let now = moment(0, 10);
        let state = kept(&State::default().apply(&ruleset(1, now), now).unwrap()).clone();
        assert_eq!(state.tick(moment(0, 200))[0], Step::Load(Wanted::NoTable));
        assert_eq!(State::default().start(now), []);
    }

    #[test]
    fn an_older_a_late_and_a_second_order_are_refused() {
        let now = moment(0, 10);
        for version in [1, 2] {
            let refused = Err(Refused::Older { version, highest: 2 });
            assert_eq!(confirmed(2).apply(&ruleset(version, now), now), refused);
        }
        let late = Moment { wall: now.wall + DAY, ..now };
        let refused = confirmed(1).apply(&ruleset(2, now), late);
        assert!(matches!(refused, Err(Refused::Expired { .. })), "{refused:?}");
    }

    #[test]
    fn what_is_confirmed_is_named_exactly() {
        let now = moment(0, 10);
        let state = kept(&confirmed(1).apply(&ruleset(2, now), now).unwrap()).clone();
        let other = OrderRef { version: 2, digest: OrderDigest::from_bytes([9; 32]) };
        assert_eq!(state.confirm(other, now), Err(Refused::NotPending(2)));
        assert_eq!(state.confirm(name(2), moment(0, 130)), Err(Refused::NotPending(2)));
        let state = kept(&state.confirm(name(2), now).unwrap()).clone();
        assert_eq!((state.confirmed, state.before), (Some(name(2)), Some(name(1))));
        assert_eq!(state.confirm(name(2), now), Ok(Vec::new()));
    }

    #[test]
    fn a_quarantine_needs_no_confirmation_and_ends_by_itself_or_by_order() {
        let now = moment(0, 10);
        let what = AcceptedWhat::Quarantine {
            until: now.wall + Duration::from_mins(10),
            reason: "scans inner".into(),
        };
        let order = Accepted { order: name(2), expires_at: now.wall + DAY, what };
        let steps = confirmed(1).apply(&order, now).unwrap();
        assert_eq!(steps[1], Step::Load(Wanted::Order(name(2))));
        let state = kept(&steps).clone();
        assert_eq!(state.apply(&ruleset(3, now), now), Err(Refused::InQuarantine(2)));
        assert_eq!(state.tick(moment(0, 609)), []);
        assert_eq!(state.tick(moment(0, 610))[0], Step::Load(Wanted::Order(name(1))));
        // Over a boot, what is left by the clock of the system holds.
        let steps = state.start(moment(1, 300));
        assert_eq!(steps[0], Step::Load(Wanted::Order(name(2))));
        assert_eq!(kept(&steps).due_in(moment(1, 300)), Some(Duration::from_secs(310)));

        let release =
            Accepted { order: name(3), expires_at: now.wall + DAY, what: AcceptedWhat::Release };
        let steps = state.apply(&release, now).unwrap();
        assert_eq!(steps[1], Step::Load(Wanted::Order(name(1))));
    }

    #[test]
    fn the_state_survives_its_file() {
        let now = moment(0, 10);
        let state = kept(&confirmed(1).apply(&ruleset(2, now), now).unwrap()).clone();
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }

    /// What may happen to an enforcer.
    #[derive(Debug, Clone)]
    enum Event {
        Ruleset { skip: u64, confirm_seconds: u64 },
        Quarantine { seconds: u64 },
        Release,
        Confirm { back: u64 },
        Pass { seconds: u64 },
        Boot,
    }

    fn events() -> impl Strategy<Value = Vec<(Event, Option<usize>, bool)>> {
        let event = prop_oneof![
            4 => (0_u64..3, 1_u64..200).prop_map(|(skip, confirm_seconds)| Event::Ruleset { skip, confirm_seconds }),
            1 => (0_u64..900).prop_map(|seconds| Event::Quarantine { seconds }),
            1 => Just(Event::Release),
            4 => (0_u64..2).prop_map(|back| Event::Confirm { back }),
            4 => (0_u64..300).prop_map(|seconds| Event::Pass { seconds }),
            1 => Just(Event::Boot),
        ];
        // The step before which the process is killed, and whether the kernel refuses.
        proptest::collection::vec(
            (event, proptest::option::weighted(0.3, 0_usize..3), proptest::bool::weighted(0.1)),
            1..60,
        )
    }

    /// A host: its disk, its kernel, and its clock.
    struct Host {
        disk: State,
        kernel: Wanted,
        now: Moment,
        ever_confirmed: bool,
    }

    impl Host {
        /// Does the steps; a crash before step `crash` or a kernel that refuses ends the row.
        fn perform(&mut self, steps: &[Step], crash: Option<usize>, refuses: bool) -> bool {
            for (nth, step) in steps.iter().enumerate() {
                if crash == Some(nth) {
                    return false;
                }
                match step {
                    Step::Keep(state) => self.disk = State::clone(state),
                    Step::Load(_) if refuses => return true,
                    Step::Load(wanted) => self.kernel = *wanted,
                }
                self.check();
            }
            true
        }

        fn check(&mut self) {
            self.ever_confirmed |= self.disk.confirmed.is_some();
            assert!(!self.ever_confirmed || self.disk.confirmed.is_some(), "forgot");
            if self.ever_confirmed {
                assert_ne!(self.kernel, Wanted::NoTable, "{:?}", self.disk);
            }
        }

        /// Starts the process, which may be killed again on the way.
        fn start(&mut self, crash: Option<usize>) {
            let steps = self.disk.start(self.now);
            if !self.perform(&steps, crash, false) {
                let steps = self.disk.start(self.now);
                self.perform(&steps, None, false);
            }
            self.settled();
        }

        /// With the process running, the kernel holds what is wanted and nothing overdue.
        fn settled(&self) {
            if !self.disk.untouched() || self.ever_confirmed {
                assert_eq!(self.kernel, self.disk.wanted());
            }
            assert_eq!(self.disk.tick(self.now), []);
        }
    }

    proptest! {
        #[test]
        fn the_kernel_never_holds_nothing_once_something_was_confirmed(events in events()) {
            let mut host = Host {
                disk: State::default(),
                kernel: Wanted::NoTable,
                now: moment(0, 10),
                ever_confirmed: false,
            };
            for (event, crash, refuses) in events {
                let (before, now, highest) = (host.disk.clone(), host.now, host.disk.highest);
                let accepted = |version, what| {
                    Accepted { order: name(version), expires_at: now.wall + DAY, what }
                };
                let steps = match event {
                    Event::Ruleset { skip, confirm_seconds } => {
                        let confirm_within = Duration::from_secs(confirm_seconds);
                        let what = AcceptedWhat::Ruleset { confirm_within };
                        before.apply(&accepted(highest + skip, what), now)
                    }
                    Event::Quarantine { seconds } => {
                        let until = now.wall + Duration::from_secs(seconds);
                        let what = AcceptedWhat::Quarantine { until, reason: String::new() };
                        before.apply(&accepted(highest + 1, what), now)
                    }
                    Event::Release => before.apply(&accepted(highest + 1, AcceptedWhat::Release), now),
                    Event::Confirm { back } => before.confirm(name(highest.saturating_sub(back)), now),
                    Event::Pass { seconds } => {
                        let wait = Duration::from_secs(seconds);
                        host.now = Moment { wall: now.wall + wait, up: now.up + wait, ..now };
                        Ok(before.tick(host.now))
                    }
                    Event::Boot => {
                        let boot = BootId::from_bytes([now.boot.as_bytes()[0].wrapping_add(1); 16]);
                        host.now = Moment { boot, up: Duration::ZERO, ..now };
                        // The kernel has forgotten everything; the unit for the boot runs first.
                        host.kernel = before.confirmed.map_or(Wanted::NoTable, Wanted::Order);
                        host.start(crash);
                        continue;
                    }
                };
                let Ok(steps) = steps else { continue };
                let is_order = matches!(steps.first(), Some(Step::Keep(_)));
                let refuses = refuses && is_order && steps.len() > 1;
                if !host.perform(&steps, crash, refuses) {
                    host.start(None);
                } else if refuses {
                    let steps = host.disk.refused_by_kernel(&before, host.now);
                    host.perform(&steps, None, false);
                }
                prop_assert!(host.disk.highest >= highest);
                host.settled();
            }
        }
    }
}
