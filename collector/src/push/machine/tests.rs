//! The laws of pushes, and the ways that one goes.

use proptest::prelude::*;

use bailey_rules::fact::enforcement::{LastChange, PendingOrder, QuarantineOrder};
use bailey_rules::name::OrderDigest;

use super::*;

const START: Timestamp = Timestamp::from_seconds(1_795_000_000);
const CONFIRM_WITHIN: Duration = Duration::from_mins(2);
const ONLY: PushId = PushId(7);

fn key(host: u8) -> HostKey {
    HostKey::from_bytes([host; 32])
}

fn order(host: u8, version: u64) -> OrderRef {
    let mut digest = [host; 32];
    digest[..8].copy_from_slice(&version.to_be_bytes());
    OrderRef { version, digest: OrderDigest::from_bytes(digest) }
}

fn target(host: u8, version: u64) -> Target {
    Target {
        host: format!("oa-{host}").parse().unwrap(),
        zone: "inner".parse().unwrap(),
        order: order(host, version),
        expires_at: START + Duration::from_hours(24),
        confirm_within: CONFIRM_WITHIN,
        octets: 50_000,
        stage: 0,
        state: HostState::Waiting,
        error: String::new(),
        why: None,
        sent_at: None,
        sends: 0,
        applied_at: None,
        sent_in: None,
        confirm_asked_in: None,
    }
}

fn push(kind: PushKind, confirm: ConfirmBy, hosts: u8, version: u64) -> Push {
    Push {
        kind,
        confirm,
        staging: Staging::Staged,
        state: PushState::Draft,
        why: None,
        stage: 0,
        stages: 0,
        confirmed_stage: 0,
        targets: (0..hosts).map(|host| (key(host), target(host, version))).collect(),
    }
}

/// A host as it behaves: what of it is seen follows from what is done to it.
#[derive(Debug, Clone, Default)]
struct Machine {
    session: Option<SessionSeen>,
    sessions: u64,
    outcomes: Vec<OrderOutcome>,
    enforcement: Enforcement,
}

impl Machine {
    fn seen(&self) -> Seen {
        Seen {
            session: self.session,
            outcomes: self.outcomes.clone(),
            enforcement: Some(self.enforcement.clone()),
        }
    }

    fn connect(&mut self) {
        self.sessions += 1;
        let pending = self.enforcement.pending.map(|pending| pending.order);
        self.session = Some(SessionSeen { number: self.sessions, pending });
    }

    fn say(&mut self, order: OrderRef, result: OrderResult) {
        self.outcomes.push(OrderOutcome { order, result });
    }

    /// Follows a ruleset, and comes back over a new connection.
    fn follow(&mut self, order: OrderRef) {
        self.enforcement.highest = order.version;
        self.enforcement.pending = Some(PendingOrder { order, until: START });
        self.say(order, OrderResult::Applied);
        self.connect();
    }

    fn keep(&mut self, order: OrderRef) {
        self.enforcement.pending = None;
        self.enforcement.confirmed = Some(order);
        self.say(order, OrderResult::Confirmed);
    }

    fn revert(&mut self, what: Ended) {
        if let Some(pending) = self.enforcement.pending.take() {
            let version = pending.order.version;
            self.enforcement.last = Some(LastChange { at: START, version, what });
        }
    }
}

struct World {
    pushes: BTreeMap<PushId, Push>,
    machines: BTreeMap<HostKey, Machine>,
    now: Timestamp,
}

impl World {
    fn new(push: Push) -> Self {
        let machines = push.targets.keys().map(|key| (*key, Machine::default())).collect();
        Self { pushes: BTreeMap::from([(ONLY, push)]), machines, now: START }
    }

    /// Every host is connected, and the push is started.
    fn started(kind: PushKind, confirm: ConfirmBy, hosts: u8) -> Self {
        let mut world = Self::new(push(kind, confirm, hosts, 1));
        world.machines.values_mut().for_each(Machine::connect);
        world.start();
        world
    }

    fn start(&mut self) {
        let machines = &self.machines;
        let connected = |key: &HostKey| machines[key].session.is_some();
        self.pushes.get_mut(&ONLY).unwrap().start(connected);
    }

    fn push(&self) -> &Push {
        &self.pushes[&ONLY]
    }

    fn state(&self, host: u8) -> HostState {
        self.push().targets[&key(host)].state
    }

    fn machine(&mut self, host: u8) -> &mut Machine {
        self.machines.get_mut(&key(host)).unwrap()
    }

    /// Steps until nothing moves any more; gives everything that was asked for.
    fn go(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for _ in 0..16 {
            let machines = &self.machines;
            let seen = |key: &HostKey| machines.get(key).map(Machine::seen);
            let step = step(&mut self.pushes, seen, self.now);
            if step == Step::default() {
                return actions;
            }
            actions.extend(step.actions);
        }
        panic!("the machine does not come to rest: {:?}", self.pushes);
    }

    /// What is asked for is done, by hosts that follow, until nothing is asked for any more.
    fn obey(&mut self) {
        loop {
            let actions = self.go();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Send { host, order, .. } => {
                        self.machines.get_mut(&host).unwrap().follow(order);
                    }
                    Action::Confirm { host, order, .. } => {
                        self.machines.get_mut(&host).unwrap().keep(order);
                    }
                }
            }
        }
    }

    /// The collector falls: what is only in memory is gone.
    fn restart(&mut self) {
        for target in self.pushes.values_mut().flat_map(|push| push.targets.values_mut()) {
            target.sent_in = None;
            target.confirm_asked_in = None;
        }
        for machine in self.machines.values_mut() {
            machine.session = None;
            machine.sessions = 0;
            machine.outcomes.clear();
        }
    }
}

fn sends(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Send { .. })).count()
}

#[test]
fn stages_are_one_host_a_tenth_and_all_and_none_is_empty() {
    for (hosts, ends) in [
        (1, vec![1]),
        (2, vec![1, 2]),
        (10, vec![1, 10]),
        (11, vec![1, 2, 11]),
        (1000, vec![1, 100, 1000]),
    ] {
        assert_eq!(stage_ends(hosts), ends, "{hosts} hosts");
    }
}

#[test]
fn a_push_goes_through_its_stages_and_confirms_every_host_over_its_new_rules() {
    let mut world = World::started(PushKind::Ruleset, ConfirmBy::Auto, 30);
    assert_eq!(sends(&world.go()), 1, "one host first");
    let first = *world.push().targets.iter().find(|(_, t)| t.stage == 1).unwrap().0;
    let order = world.push().targets[&first].order;
    world.machines.get_mut(&first).unwrap().follow(order);
    assert_eq!(
        world.go(),
        [Action::Confirm { host: first, session: 2, order }],
        "the host came back over the new rules"
    );
    world.machines.get_mut(&first).unwrap().keep(order);
    assert_eq!(sends(&world.go()), 2, "a tenth");
    for action in world.push().targets.clone() {
        if action.1.state == HostState::Sent {
            world.machines.get_mut(&action.0).unwrap().follow(action.1.order);
        }
    }
    world.obey();
    assert_eq!(world.push().state, PushState::Done);
    assert!(world.push().is_settled());
    assert!(world.push().targets.values().all(|t| t.state == HostState::Confirmed));
}

#[test]
fn a_refusal_stops_the_rest() {
    let mut world = World::started(PushKind::Ruleset, ConfirmBy::Auto, 30);
    world.go();
    let (first, target) = world
        .push()
        .targets
        .iter()
        .find(|(_, t)| t.stage == 1)
        .map(|(k, t)| (*k, t.clone()))
        .unwrap();
    let (error, why) = ("kernel_refused".to_owned(), "line 3".to_owned());
    world.machines.get_mut(&first).unwrap().say(target.order, OrderResult::Refused { error, why });
    assert_eq!(world.go(), []);
    assert_eq!(world.push().state, PushState::Failed);
    let why = world.push().why.clone().unwrap();
    assert_eq!(why.en, format!("{}: kernel_refused: line 3", target.host));
    let cancelled = |t: &&Target| t.state == HostState::Cancelled;
    assert_eq!(world.push().targets.values().filter(cancelled).count(), 29);
    assert!(world.push().is_settled());
}

#[test]
fn a_host_that_does_not_come_back_fails_the_stage_after_its_time_and_not_before() {
    let mut world = World::started(PushKind::Ruleset, ConfirmBy::Auto, 1);
    world.go();
    let order = world.push().targets[&key(0)].order;
    world.machine(0).say(order, OrderResult::Applied);
    world.machine(0).session = None;
    assert_eq!(world.go(), []);
    assert_eq!(world.state(0), HostState::Applied);
    world.now = START + CONFIRM_WITHIN + GRACE - Duration::from_millis(1);
    world.go();
    assert_eq!(world.push().state, PushState::Running);
    world.now = START + CONFIRM_WITHIN + GRACE;
    world.go();
    assert_eq!((world.state(0), world.push().state), (HostState::Reverted, PushState::Failed));
    // Coming back late changes nothing any more.
    world.machine(0).follow(order);
    assert_eq!(world.go(), []);
}

#[test]
fn hosts_that_are_away_are_given_their_order_later_and_do_not_hold_up_the_others() {
    let mut world = World::new(push(PushKind::Ruleset, ConfirmBy::Auto, 4, 1));
    for host in [1, 2, 3] {
        world.machine(host).connect();
    }
    world.start();
    world.obey();
    assert_eq!(world.push().state, PushState::Done);
    assert_eq!(world.state(0), HostState::Waiting);
    assert!(!world.push().is_settled());
    world.machine(0).connect();
    world.obey();
    assert_eq!(world.state(0), HostState::Confirmed);
    assert!(world.push().is_settled());
}

#[test]
fn a_stage_in_which_nobody_is_connected_does_not_pass_and_ends_with_its_orders() {
    let mut world = World::new(push(PushKind::Ruleset, ConfirmBy::Auto, 3, 1));
    world.start();
    assert_eq!(world.go(), []);
    assert_eq!((world.push().state, world.push().stage), (PushState::Running, 1));
    world.now = START + Duration::from_hours(24);
    world.go();
    assert_eq!(world.push().state, PushState::Failed);
    assert!(world.push().targets.values().all(|target| target.state == HostState::Expired));
    assert!(world.push().is_settled());
}

#[test]
fn a_person_confirms_a_stage_at_a_time_and_in_time() {
    let mut world = World::started(PushKind::Ruleset, ConfirmBy::Person, 5);
    world.obey();
    assert_eq!(world.push().state, PushState::AwaitingConfirmation);
    assert_eq!(world.push().deadline(), Some(START + CONFIRM_WITHIN));
    assert_eq!(world.go(), [], "nothing is confirmed by itself");
    world.pushes.get_mut(&ONLY).unwrap().confirm_stage();
    world.obey();
    assert_eq!((world.push().state, world.push().stage), (PushState::AwaitingConfirmation, 2));
    world.pushes.get_mut(&ONLY).unwrap().confirm_stage();
    world.obey();
    assert_eq!(world.push().state, PushState::Done);

    let mut late = World::started(PushKind::Ruleset, ConfirmBy::Person, 5);
    late.obey();
    late.now = START + CONFIRM_WITHIN + Duration::from_secs(1);
    for machine in late.machines.values_mut() {
        machine.revert(Ended::NotConfirmed);
    }
    late.go();
    assert_eq!(late.push().state, PushState::Failed);
}

#[test]
fn a_cancelled_push_confirms_nothing_and_follows_what_becomes_of_its_hosts() {
    let mut world = World::started(PushKind::Ruleset, ConfirmBy::Person, 1);
    world.obey();
    let why = Text::new("cancelled", "已取消");
    world.pushes.get_mut(&ONLY).unwrap().stop(PushState::Cancelled, why);
    assert_eq!(world.go(), []);
    assert!(!world.push().is_settled(), "the host still has it");
    world.machine(0).revert(Ended::NotConfirmed);
    world.go();
    assert_eq!(world.state(0), HostState::Reverted);
    assert_eq!(world.push().state, PushState::Cancelled);
    assert!(world.push().is_settled());
}

#[test]
fn an_order_whose_session_ended_on_the_way_is_sent_again_a_few_times() {
    let mut world = World::started(PushKind::Ruleset, ConfirmBy::Auto, 1);
    let mut sent = sends(&world.go());
    for _ in 0..20 {
        world.machine(0).connect();
        sent += sends(&world.go());
    }
    assert_eq!(sent, MAX_SENDS as usize);
}

#[test]
fn a_lost_answer_is_no_refusal() {
    let mut world = World::started(PushKind::Ruleset, ConfirmBy::Auto, 1);
    world.go();
    let order = world.push().targets[&key(0)].order;
    world.restart();
    world.machine(0).connect();
    assert_eq!(sends(&world.go()), 1);
    let (error, why) = ("older".to_owned(), String::new());
    world.machine(0).say(order, OrderResult::Refused { error, why });
    world.go();
    assert_eq!(world.push().state, PushState::Running);
    world.machine(0).enforcement.confirmed = Some(order);
    world.go();
    assert_eq!(world.push().state, PushState::Done);
}

#[test]
fn a_quarantine_is_done_when_it_is_applied_and_one_host_does_not_hold_up_another() {
    let mut world = World::started(PushKind::Quarantine, ConfirmBy::Auto, 3);
    assert_eq!(sends(&world.go()), 3, "at once");
    let order = |host| super::tests::order(host, 1);
    world.machine(0).say(order(0), OrderResult::NoEnforcer { why: String::new() });
    world.machine(1).say(order(1), OrderResult::Applied);
    world.go();
    assert_eq!(world.push().state, PushState::Running);
    // Its answer was lost; its facts say it.
    world.machine(2).enforcement.quarantine =
        Some(QuarantineOrder { order: order(2), until: START, reason: String::new() });
    world.go();
    assert_eq!((world.state(1), world.state(2)), (HostState::Applied, HostState::Applied));
    assert_eq!(world.push().state, PushState::Failed);
    assert!(world.push().why.as_ref().unwrap().en.starts_with("oa-0"));
}

#[test]
fn a_waiting_ruleset_gives_way_to_a_newer_one_and_a_quarantine_to_none() {
    let mut world = World::new(push(PushKind::Ruleset, ConfirmBy::Auto, 2, 1));
    world.machine(1).connect();
    world.start();
    world.obey();
    assert_eq!(world.state(0), HostState::Waiting);
    let mut newer = push(PushKind::Ruleset, ConfirmBy::Auto, 2, 2);
    newer.start(|_| true);
    world.pushes.insert(PushId(8), newer);
    world.go();
    assert_eq!(world.state(0), HostState::Superseded);

    let mut world = World::new(push(PushKind::Quarantine, ConfirmBy::Auto, 1, 1));
    world.start();
    let mut newer = push(PushKind::Ruleset, ConfirmBy::Auto, 1, 2);
    newer.start(|_| true);
    world.pushes.insert(PushId(8), newer);
    world.go();
    world.machine(0).connect();
    let actions = world.go();
    let first = Action::Send { push: ONLY, host: key(0), session: 1, order: order(0, 1) };
    assert_eq!(actions, [first], "the quarantine, and the ruleset not before it is answered");
}

#[test]
fn large_orders_wait_for_each_other_and_the_largest_goes_through() {
    let mut world = World::new(push(PushKind::Ruleset, ConfirmBy::Auto, 40, 1));
    let push = world.pushes.get_mut(&ONLY).unwrap();
    push.staging = Staging::AtOnce;
    push.targets.values_mut().for_each(|target| target.octets = 4 * 1024 * 1024);
    world.machines.values_mut().for_each(Machine::connect);
    world.start();
    assert_eq!(sends(&world.go()), 16, "64 MiB on their way");
    world.machine(0).follow(order(0, 1));
    assert_eq!(sends(&world.go()), 1);
}

#[test]
fn a_host_that_is_enrolled_no_more_is_sent_nothing() {
    let mut world = World::started(PushKind::Ruleset, ConfirmBy::Auto, 1);
    world.machines.clear();
    assert_eq!(world.go(), []);
    assert_eq!((world.state(0), world.push().state), (HostState::Cancelled, PushState::Failed));
}

/// What may happen in the world at any moment.
#[derive(Debug, Clone)]
enum Happens {
    Connect(u8),
    Disconnect(u8),
    Follow(u8),
    Confirmed(u8),
    Refuse(u8),
    NoEnforcer(u8),
    Revert(u8),
    Later(u16),
    Person,
    Cancel,
    Restart,
}

fn happens(hosts: u8) -> impl Strategy<Value = Happens> {
    let host = 0..hosts;
    prop_oneof![
        8 => host.clone().prop_map(Happens::Connect),
        2 => host.clone().prop_map(Happens::Disconnect),
        8 => host.clone().prop_map(Happens::Follow),
        8 => host.clone().prop_map(Happens::Confirmed),
        1 => host.clone().prop_map(Happens::Refuse),
        1 => host.clone().prop_map(Happens::NoEnforcer),
        1 => host.prop_map(Happens::Revert),
        2 => (0u16..200).prop_map(Happens::Later),
        3 => Just(Happens::Person),
        1 => Just(Happens::Cancel),
        1 => Just(Happens::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_laws_hold_whatever_happens(
        hosts in 1u8..25,
        person: bool,
        at_once: bool,
        connected in proptest::collection::vec(any::<bool>(), 25),
        story in proptest::collection::vec(happens(25), 0..120),
    ) {
        let confirm = if person { ConfirmBy::Person } else { ConfirmBy::Auto };
        let mut push = push(PushKind::Ruleset, confirm, hosts, 1);
        push.staging = if at_once { Staging::AtOnce } else { Staging::Staged };
        let mut world = World::new(push);
        for (host, _) in (0..hosts).zip(connected).filter(|(_, connected)| *connected) {
            world.machine(host).connect();
        }
        world.start();
        for event in story {
            let with_order = |world: &World, host: u8| world.push().targets.get(&key(host)).cloned();
            match event {
                Happens::Connect(host) if host < hosts => world.machine(host).connect(),
                Happens::Disconnect(host) if host < hosts => world.machine(host).session = None,
                Happens::Follow(host) => {
                    if let Some(target) = with_order(&world, host)
                        && target.state == HostState::Sent
                        && world.machine(host).enforcement.highest < target.order.version
                    {
                        world.machine(host).follow(target.order);
                    }
                }
                Happens::Confirmed(host) => {
                    if let Some(target) = with_order(&world, host)
                        && target.confirm_asked_in.is_some()
                        && world.machine(host).enforcement.pending.is_some()
                    {
                        world.machine(host).keep(target.order);
                    }
                }
                Happens::Refuse(host) => {
                    if let Some(target) = with_order(&world, host)
                        && target.state == HostState::Sent
                    {
                        let (error, why) = ("bad_text".to_owned(), "no".to_owned());
                        world.machine(host).say(target.order, OrderResult::Refused { error, why });
                    }
                }
                Happens::NoEnforcer(host) => {
                    if let Some(target) = with_order(&world, host)
                        && target.state == HostState::Sent
                    {
                        let why = "no".to_owned();
                        world.machine(host).say(target.order, OrderResult::NoEnforcer { why });
                    }
                }
                Happens::Revert(host) if host < hosts => {
                    world.machine(host).revert(Ended::Rebooted);
                }
                Happens::Later(seconds) => world.now = world.now + Duration::from_secs(seconds.into()),
                Happens::Person => {
                    if world.push().state == PushState::AwaitingConfirmation {
                        world.pushes.get_mut(&ONLY).unwrap().confirm_stage();
                    }
                }
                Happens::Cancel => {
                    if world.push().state.is_running() {
                        let why = Text::new("cancelled", "已取消");
                        world.pushes.get_mut(&ONLY).unwrap().stop(PushState::Cancelled, why);
                    }
                }
                Happens::Restart => world.restart(),
                Happens::Connect(_) | Happens::Disconnect(_) | Happens::Revert(_) => {}
            }
            let before = world.push().clone();
            let actions = world.go();
            let after = world.push().clone();
            let stopped = |push: &Push| matches!(push.state, PushState::Failed | PushState::Cancelled);
            // A failed or cancelled push sends and confirms nothing more.
            prop_assert!(!stopped(&before) || actions.is_empty(), "{actions:?}");
            for action in &actions {
                match action {
                    Action::Send { host, .. } => {
                        let stage = after.targets[host].stage;
                        // Every stage before it has passed: somebody of it is confirmed, and nobody
                        // of it is under way.
                        for earlier in 1..stage {
                            let mut of_stage =
                                after.targets.values().filter(|target| target.stage == earlier);
                            prop_assert!(of_stage.any(|t| t.state == HostState::Confirmed));
                        }
                        prop_assert!(stage <= after.stage);
                    }
                    Action::Confirm { host, session, order } => {
                        let seen = world.machines[host].session;
                        let named = SessionSeen { number: *session, pending: Some(*order) };
                        prop_assert_eq!(seen, Some(named));
                        prop_assert!(
                            !person || after.targets[host].stage <= after.confirmed_stage
                                || after.state == PushState::Done
                        );
                    }
                }
            }
            // What is final stays so.
            for (key, target) in &before.targets {
                if target.state.is_final(PushKind::Ruleset) {
                    prop_assert_eq!(target.state, after.targets[key].state);
                }
            }
            prop_assert!(after.stage >= before.stage && after.stage <= before.stage + after.stages);
        }
        // Whatever happened, it ends once every time is over.
        if world.push().state == PushState::AwaitingConfirmation {
            world.now = world.now + CONFIRM_WITHIN + GRACE;
            world.go();
        }
        world.now = world.now + Duration::from_hours(25);
        for _ in 0..4 {
            world.go();
            world.now = world.now + CONFIRM_WITHIN + GRACE;
        }
        world.go();
        prop_assert!(world.push().is_settled(), "{:?}", world.push());
    }
}
