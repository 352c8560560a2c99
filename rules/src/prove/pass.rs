//! What a kernel's rulesets do with packets, for all packets at once.
//!
//! The walk is that of [`crate::model::trace`], with sets in the place of one packet. What may be
//! true or false splits a set into two that overlap: one where it is true, one where it is not. So
//! every set here says what *may* happen; what surely happens is what may happen while nothing else
//! may (see [`Passed::surely_accepted`]).
//!
//! Sets are always of packets as they came to the first hook; what has become of them since is a
//! [`Change`] that goes beside the set. No set is ever rewritten on the way, so the packet of a
//! counterexample is found in the set itself.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use ipnet::IpNet;

use super::arena::{Set, TooComplex};
use super::change::Change;
use super::memory::{Asked, AskedHook, Did, Memory, WORTH_KNOWING};
use super::reads::{asks_for_addresses, asks_for_input, reads};
use super::space::{End, Space};
use crate::model::field::{
    Field, ICMP, ICMPV6, Key, TCP, WITH_PORTS, address, device, kind, state, status,
};
use crate::model::interval::{Interval, Intervals, ones};
use crate::model::network::{Interface, Network};
use crate::model::ruleset::{
    At, ChainId, ChainKind, Data, Effects, Element, Family, Hook, Match, Nat, NatAddress, NatKind,
    NatPorts, Rule, Ruleset, SetId, Statement, Step, Table, Value, Verdict, nat_priority,
};
use crate::model::tracking::Tracking;

/// Changes that are told apart at one point of the way, at most.
const MAX_FLOWS: usize = 1 << 12;
/// What there are too many of then.
const CHANGES: &str = "ways in which packets are changed";
/// Orders of base chains at one priority that are tried, at most: those of four chains.
const MAX_ORDERS: usize = 24;
/// The priority of connection tracking in `prerouting` and `output` (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i32 = -200;

/// Packets that were changed in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The packets as they came.
    pub packets: Set,
    /// What has become of them.
    pub change: Change,
}

/// Packets on their way: at most one [`Flow`] for each change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Flows(Vec<Flow>);

impl Flows {
    /// Packets that nothing has changed yet.
    #[must_use]
    pub fn of(packets: Set) -> Self {
        Self::changed(packets, Change::NONE)
    }

    /// Packets that were changed.
    #[must_use]
    pub fn changed(packets: Set, change: Change) -> Self {
        if packets.is_empty() { Self::default() } else { Self(vec![Flow { packets, change }]) }
    }

    /// Whether there is no packet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Flow] {
        &self.0
    }

    /// All packets, however changed.
    pub fn packets(&self, space: &mut Space) -> Result<Set, TooComplex> {
        let all: Vec<Set> = self.0.iter().map(|flow| flow.packets).collect();
        space.any_of(&all)
    }

    fn add(&mut self, space: &mut Space, packets: Set, change: &Change) -> Result<(), TooComplex> {
        if packets.is_empty() {
            return Ok(());
        }
        let full = self.0.len() == MAX_FLOWS;
        match self.0.iter_mut().find(|flow| flow.change == *change) {
            Some(flow) => flow.packets = space.or(flow.packets, packets)?,
            None if full => return Err(TooComplex::Many { most: MAX_FLOWS, of: CHANGES }),
            None => self.0.push(Flow { packets, change: change.clone() }),
        }
        Ok(())
    }

    /// Adds other packets.
    pub fn join(&mut self, space: &mut Space, more: &Self) -> Result<(), TooComplex> {
        more.0.iter().try_for_each(|flow| self.add(space, flow.packets, &flow.change))
    }
}

/// A rule by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleAt {
    /// Its chain.
    pub chain: At,
    /// Its place in the chain.
    pub rule: u32,
}

/// What there was to see at a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The packets that may come to it.
    pub reached: Set,
    /// Those of them for which its conditions may be true.
    pub matched: Set,
}

impl Default for Seen {
    fn default() -> Self {
        Self { reached: Set::EMPTY, matched: Set::EMPTY }
    }
}

/// What may become of packets at some hooks. A packet is in more than one of these where something
/// unknown decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Those that get through, and what becomes of them.
    pub accepted: Flows,
    /// Those that are dropped.
    pub dropped: Set,
    /// Those that are rejected: dropped, and the sender is told.
    pub rejected: Set,
}

impl Passed {
    /// The packets that get through whatever is unknown.
    pub fn surely_accepted(&self, space: &mut Space) -> Result<Set, TooComplex> {
        let accepted = self.accepted.packets(space)?;
        let accepted = space.without(accepted, self.dropped)?;
        space.without(accepted, self.rejected)
    }

    /// The packets that do not get through whatever is unknown.
    pub fn surely_stopped(&self, space: &mut Space) -> Result<Set, TooComplex> {
        let stopped = space.or(self.dropped, self.rejected)?;
        let accepted = self.accepted.packets(space)?;
        space.without(stopped, accepted)
    }
}

/// A walk of packets through the rulesets of one kernel.
#[derive(Debug)]
pub struct Walk<'a> {
    space: &'a mut Space,
    ruleset: &'a Ruleset,
    /// What is known of the host's addresses.
    network: Option<&'a Network>,
    /// What was seen at each rule, where somebody wants to know.
    seen: Option<HashMap<RuleAt, Seen>>,
    sets: HashMap<(u32, SetId, Vec<Key>), Truth>,
    /// What chains did before, where that is kept.
    memory: Option<&'a mut Memory>,
    traits: Rc<Traits>,
    /// Whether the packets were seen by connection tracking in a bridge that they came by.
    tracked_in_frames: bool,
}

/// What is asked again and again of a ruleset as a whole.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by its own name")]
pub(super) struct Traits {
    has_nat: bool,
    /// Whether any rule may write the mark of a packet.
    marks: bool,
    /// Whether a chain routes packets again that it marks.
    routes_by_mark: bool,
    /// What of a connection any rule reads.
    reads: Vec<Field>,
    /// Whether connections are tracked, of IPv4 and of IPv6.
    tracking: [Tracking; 2],
    /// Whether they are tracked in frames that a bridge carries.
    frame_tracking: Tracking,
    offloads: bool,
    /// See [`asks_for_input`].
    pub(super) asks_for_input: bool,
    /// See [`asks_for_addresses`].
    pub(super) asks_for_addresses: bool,
}

impl Traits {
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        let read = reads(ruleset);
        let chains = || ruleset.tables.iter().flat_map(|table| &table.chains);
        let statements =
            || chains().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
        let mut bases = chains().filter_map(|chain| chain.base.as_ref());
        Self {
            has_nat: statements().any(|statement| matches!(statement, Statement::Nat(_))),
            marks: statements().any(may_mark),
            routes_by_mark: bases.any(|base| base.kind == ChainKind::Route),
            reads: read.iter().filter(|one| is_of_connection(*one)).collect(),
            tracking: [false, true].map(|v6| Tracking::of(ruleset, v6)),
            frame_tracking: Tracking::of_frames(ruleset),
            offloads: statements().any(|statement| matches!(statement, Statement::Offload)),
            asks_for_input: asks_for_input(read, ruleset),
            asks_for_addresses: asks_for_addresses(read, ruleset),
        }
    }
}

/// Where a condition may be true, and where it surely is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Truth {
    maybe: Set,
    surely: Set,
}

impl Truth {
    const UNKNOWN: Self = Self { maybe: Set::ALL, surely: Set::EMPTY };
    const TRUE: Self = Self { maybe: Set::ALL, surely: Set::ALL };
    const FALSE: Self = Self { maybe: Set::EMPTY, surely: Set::EMPTY };

    const fn of(known: Set) -> Self {
        Self { maybe: known, surely: known }
    }

    fn and(self, space: &mut Space, other: Self) -> Result<Self, TooComplex> {
        Ok(Self {
            maybe: space.and(self.maybe, other.maybe)?,
            surely: space.and(self.surely, other.surely)?,
        })
    }

    fn or(self, space: &mut Space, other: Self) -> Result<Self, TooComplex> {
        Ok(Self {
            maybe: space.or(self.maybe, other.maybe)?,
            surely: space.or(self.surely, other.surely)?,
        })
    }

    fn turned(self, space: &mut Space, not: bool) -> Result<Self, TooComplex> {
        if !not {
            return Ok(self);
        }
        let (maybe, surely) = (space.others(self.surely)?, space.others(self.maybe)?);
        Ok(Self { maybe, surely })
    }
}

/// What a chain did with the packets that were given to it.
#[derive(Debug, Default)]
struct Ends {
    accepted: Gathered,
    /// Accepted by a translation, after which no other NAT chain of the hook is asked.
    translated: Flows,
    dropped: Vec<Set>,
    rejected: Vec<Set>,
}

impl Ends {
    /// Takes packets of which a verdict has said something. Verdicts that only lead on say nothing.
    fn decide(
        &mut self,
        verdict: Option<Verdict>,
        packets: Set,
        change: &Change,
    ) -> Result<(), TooComplex> {
        match verdict {
            Some(Verdict::Accept) => self.accepted.add(packets, change)?,
            Some(Verdict::Drop) => self.dropped.push(packets),
            Some(Verdict::Reject) => self.rejected.push(packets),
            Some(Verdict::Queue) => {
                self.accepted.add(packets, change)?;
                self.dropped.push(packets);
            }
            Some(Verdict::Jump(_) | Verdict::Goto(_) | Verdict::Return | Verdict::Continue)
            | None => {}
        }
        Ok(())
    }
}

/// Packets that come together from many rules. They are put together at the end and by halves, so that
/// a rule that has changed makes few of the sums others than they were.
#[derive(Debug, Default)]
struct Gathered(Vec<(Change, Vec<Set>)>);

impl Gathered {
    fn add(&mut self, packets: Set, change: &Change) -> Result<(), TooComplex> {
        if packets.is_empty() {
            return Ok(());
        }
        let full = self.0.len() == MAX_FLOWS;
        match self.0.iter_mut().find(|(had, _)| had == change) {
            Some((_, all)) => all.push(packets),
            None if full => return Err(TooComplex::Many { most: MAX_FLOWS, of: CHANGES }),
            None => self.0.push((change.clone(), vec![packets])),
        }
        Ok(())
    }

    fn join(&mut self, more: &Flows) -> Result<(), TooComplex> {
        more.0.iter().try_for_each(|flow| self.add(flow.packets, &flow.change))
    }

    fn together(self, space: &mut Space) -> Result<Flows, TooComplex> {
        let flows = self
            .0
            .into_iter()
            .map(|(change, all)| Ok(Flow { packets: space.any_of(&all)?, change }));
        Ok(Flows(flows.collect::<Result<_, TooComplex>>()?))
    }
}

/// Whose hooks packets are at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Those of IP, and of interfaces.
    Packet,
    /// Those of a bridge.
    Frame,
}

/// A part of the way of packets through a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From here on they have come by this interface.
    Input(u128),
    /// From here on they leave by this interface.
    Output(u128),
    /// They pass the base chains of a hook.
    At(Layer, Hook),
}

impl Layer {
    /// Of the tables of a family.
    const fn of(family: Family) -> Self {
        match family {
            Family::Bridge => Self::Frame,
            Family::Ip | Family::Ip6 | Family::Inet | Family::Arp | Family::Netdev => Self::Packet,
        }
    }
}

/// Where the walk is.
#[derive(Debug, Clone, Copy)]
struct Here<'a> {
    table: &'a Table,
    number: u32,
    layer: Layer,
    hook: Hook,
    priority: i32,
    v6: bool,
    /// Whether connection tracking has seen the packets in a bridge that they came by.
    tracked: bool,
}

impl Here<'_> {
    /// Whether packets have come by no interface any more (`nf_hook_egress`, `br_forward_finish`).
    const fn is_leaving(&self) -> bool {
        match self.layer {
            Layer::Packet => matches!(self.hook, Hook::Egress),
            Layer::Frame => matches!(self.hook, Hook::Output | Hook::Postrouting),
        }
    }

    /// Whether connection tracking has not seen the packets yet.
    const fn is_before_conntrack(&self) -> bool {
        if self.tracked {
            return false;
        }
        match (self.hook, self.layer) {
            (Hook::Ingress, _) => true,
            (Hook::Prerouting, _) | (Hook::Output, Layer::Packet) => self.priority < CONNTRACK,
            // What leaves by a bridge has been through `output` of IP.
            (Hook::Output, Layer::Frame)
            | (Hook::Input | Hook::Forward | Hook::Postrouting | Hook::Egress, _) => false,
        }
    }
}

impl<'a> Walk<'a> {
    /// Through these rulesets.
    #[must_use]
    pub fn new(space: &'a mut Space, ruleset: &'a Ruleset) -> Self {
        Self::with(space, ruleset, Rc::new(Traits::of(ruleset)))
    }

    /// The same, with what the host's chains did before. All of it must be of this ruleset, of what is
    /// known of the host, and of these sets.
    pub(super) fn recalling(
        space: &'a mut Space,
        ruleset: &'a Ruleset,
        memory: &'a mut Memory,
    ) -> Self {
        let traits = memory.traits(ruleset);
        Self { memory: Some(memory), ..Self::with(space, ruleset, traits) }
    }

    fn with(space: &'a mut Space, ruleset: &'a Ruleset, traits: Rc<Traits>) -> Self {
        Self {
            space,
            ruleset,
            network: None,
            seen: None,
            sets: HashMap::new(),
            memory: None,
            traits,
            tracked_in_frames: false,
        }
    }

    /// The same, with what is known of the host's interfaces. Without, a masqueraded packet may come
    /// from anywhere.
    #[must_use]
    pub const fn knowing(mut self, network: &'a Network) -> Self {
        self.network = Some(network);
        self
    }

    /// The same, noting what there is to see at each rule, which takes longer.
    #[must_use]
    pub fn noting(mut self) -> Self {
        self.seen = Some(HashMap::new());
        self
    }

    /// What was noted of a rule.
    #[must_use]
    pub fn seen(&self, at: RuleAt) -> Seen {
        self.seen.as_ref().and_then(|seen| seen.get(&at)).copied().unwrap_or_default()
    }

    /// Where the conditions of a rule may be true and where they surely are, of packets that nothing
    /// has changed yet. A mark that no rule writes is 0, but for what a socket sends (`SO_MARK`).
    pub fn condition(&mut self, hook: Hook, at: RuleAt) -> Result<(Set, Set), TooComplex> {
        let table = self.ruleset.table(at.chain);
        let rule = &table.chain(at.chain.chain).rules[at.rule as usize];
        let (number, layer) = (at.chain.table, Layer::of(table.family));
        let here = Here { table, number, layer, hook, priority: 0, v6: false, tracked: false };
        let mut change = Change::NONE;
        let from_sockets = matches!(hook, Hook::Output | Hook::Postrouting | Hook::Egress);
        if !self.traits.marks && !from_sockets {
            change.set(Field::Mark, 0);
        }
        let truth = self.all_true(here, matches_of(rule), &change)?;
        Ok((truth.maybe, truth.surely))
    }

    /// The sets that the walk is made of.
    pub const fn space(&mut self) -> &mut Space {
        self.space
    }

    /// What becomes of packets at some hooks, one after the other.
    ///
    /// The packets come with the mark 0, and connections begin with the mark 0.
    pub fn through(&mut self, hooks: &[Hook], packets: Set) -> Result<Passed, TooComplex> {
        let mut flows = self.begin(packets)?;
        let mut passed =
            Passed { accepted: Flows::default(), dropped: Set::EMPTY, rejected: Set::EMPTY };
        for hook in hooks {
            let here = self.at(Layer::Packet, *hook, &flows)?;
            passed.dropped = self.space.or(passed.dropped, here.dropped)?;
            passed.rejected = self.space.or(passed.rejected, here.rejected)?;
            flows = here.accepted;
            if *hook == Hook::Output {
                flows = self.routed_again(&flows)?;
            }
        }
        passed.accepted = flows;
        Ok(passed)
    }

    /// Whether packets that were changed so at `output` are routed once more: those that are sent elsewhere,
    /// or marked where there is a chain of routes (`ip_route_me_harder`).
    #[must_use]
    pub fn is_routed_again(&self, change: &Change) -> bool {
        let ends = [Field::Destination4, Field::Destination6];
        let is_sent_elsewhere = change.fields().any(|field| ends.contains(&field));
        is_sent_elsewhere || self.traits.routes_by_mark && change.fixes(Field::Mark) != Some(0)
    }

    /// Packets after `output`: of those that are routed once more nobody knows by which interface.
    fn routed_again(&mut self, flows: &Flows) -> Result<Flows, TooComplex> {
        let mut all = Flows::default();
        for flow in &flows.0 {
            let mut change = flow.change.clone();
            if self.is_routed_again(&change) {
                change.lose(Field::OutputDevice);
            }
            all.add(self.space, flow.packets, &change)?;
        }
        Ok(all)
    }

    /// Packets as they are at their first hook.
    pub fn begin(&mut self, packets: Set) -> Result<Flows, TooComplex> {
        let mut change = Change::NONE;
        change.set(Field::Mark, 0);
        let mut flows = Flows::default();
        flows.add(self.space, packets, &change)?;
        Ok(flows)
    }

    /// Packets that connection tracking has seen. Of a new connection everything is known: it begins
    /// with its first packet as that is by now. What nobody asks for is left out.
    fn tracked(&mut self, flows: &Flows) -> Result<Flows, TooComplex> {
        if self.traits.reads.is_empty() {
            return Ok(flows.clone());
        }
        let new = self.space.value(Field::State, state::NEW)?;
        let mut all = Flows::default();
        for flow in &flows.0 {
            if flow.change.fixes(Field::State).is_some() {
                // It was excused.
                all.add(self.space, flow.packets, &flow.change)?;
                continue;
            }
            let mut first = flow.change.clone();
            let traits = Rc::clone(&self.traits);
            for &field in &traits.reads {
                match field {
                    Field::Status => {
                        let translated = status::SNAT | status::DNAT;
                        first.bits(Field::Status, Field::Status, !translated, 0);
                    }
                    _ => match original_of(field) {
                        Some(of) => first.bits(field, of, ones(field.bits()), 0),
                        None => first.set(field, 0),
                    },
                }
            }
            // They come first, for whoever looks for a packet prefers one of these.
            let those = self.space.and(flow.packets, new)?;
            all.add(self.space, those, &first)?;
            let others = self.space.without(flow.packets, new)?;
            all.add(self.space, others, &flow.change)?;
        }
        Ok(all)
    }

    /// Takes packets through stages of their way. Gives those that get through, and those that may have
    /// been stopped.
    pub fn staged(&mut self, stages: &[Stage], flows: Flows) -> Result<(Flows, Set), TooComplex> {
        let (mut flows, mut stopped) = (flows, Set::EMPTY);
        for stage in stages {
            let (field, by) = match *stage {
                Stage::At(layer, hook) => {
                    let passed = self.at(layer, hook, &flows)?;
                    let here = self.space.or(passed.dropped, passed.rejected)?;
                    stopped = self.space.or(stopped, here)?;
                    flows = passed.accepted;
                    continue;
                }
                Stage::Input(by) => (Field::InputDevice, by),
                Stage::Output(by) => (Field::OutputDevice, by),
            };
            let mut moved = Flows::default();
            for flow in &flows.0 {
                let mut change = flow.change.clone();
                change.set(field, by);
                moved.add(self.space, flow.packets, &change)?;
            }
            flows = moved;
        }
        Ok((flows, stopped))
    }

    /// What becomes of packets at one hook of IP or of a bridge that carries them. Those that come to a
    /// host by a bridge pass the hooks of frames before those of packets, and what it sends by one after.
    fn at(&mut self, layer: Layer, hook: Hook, flows: &Flows) -> Result<Passed, TooComplex> {
        let passed = self.recalled(layer, hook, flows)?;
        self.tracked_in_frames |= layer == Layer::Frame
            && hook == Hook::Prerouting
            && self.traits.frame_tracking == Tracking::Always;
        Ok(passed)
    }

    /// The same, as it was before where that is kept.
    fn recalled(&mut self, layer: Layer, hook: Hook, flows: &Flows) -> Result<Passed, TooComplex> {
        if self.memory.is_none() || self.seen.is_some() {
            return self.at_hook(layer, hook, flows);
        }
        let tracked = self.tracked_in_frames;
        let asked = AskedHook { layer, hook, tracked, flows: flows.clone() };
        let known = self.memory.as_ref().and_then(|memory| memory.passed(&asked));
        let passed = match known {
            Some(passed) => passed,
            None => {
                let passed = self.at_hook(layer, hook, flows)?;
                match &mut self.memory {
                    Some(memory) => memory.keep_passed(asked, passed),
                    None => Rc::new(passed),
                }
            }
        };
        Ok(Passed::clone(&passed))
    }

    fn at_hook(&mut self, layer: Layer, hook: Hook, flows: &Flows) -> Result<Passed, TooComplex> {
        let mut passed =
            Passed { accepted: Flows::default(), dropped: Set::EMPTY, rejected: Set::EMPTY };
        for v6 in [false, true] {
            let version = self.space.version(v6)?;
            let mut own = Flows::default();
            for flow in &flows.0 {
                let packets = self.space.and(flow.packets, version)?;
                own.add(self.space, packets, &flow.change)?;
            }
            if own.is_empty() {
                continue;
            }
            let ends = match layer {
                Layer::Packet => self.packets(hook, v6, own)?,
                Layer::Frame => self.frames(hook, v6, own)?,
            };
            let accepted = ends.accepted.together(self.space)?;
            passed.accepted.join(self.space, &accepted)?;
            let dropped = self.space.any_of(&ends.dropped)?;
            passed.dropped = self.space.or(passed.dropped, dropped)?;
            let rejected = self.space.any_of(&ends.rejected)?;
            passed.rejected = self.space.or(passed.rejected, rejected)?;
        }
        Ok(passed)
    }

    /// The base chains that frames with packets of one version meet at a hook of a bridge. There is no
    /// translation, and connections are tracked only where a rule for frames asks for them
    /// (`nf_conntrack_bridge`).
    fn frames(&mut self, hook: Hook, v6: bool, flows: Flows) -> Result<Ends, TooComplex> {
        let mut all = Ends::default();
        let mut flows = flows;
        let mut untracked =
            hook == Hook::Prerouting && self.traits.frame_tracking == Tracking::Always;
        for step in self.ruleset.frame_path(hook) {
            if untracked && step.priority >= CONNTRACK {
                flows = self.tracked(&flows)?;
                untracked = false;
            }
            let mut results = Flows::default();
            for order in orders(self.ruleset, &step)? {
                let mut here = flows.clone();
                for at in order {
                    let (accepted, translated) = self.base(at, &step, hook, v6, here, &mut all)?;
                    here = accepted;
                    here.join(self.space, &translated)?;
                }
                results.join(self.space, &here)?;
            }
            flows = results;
        }
        if untracked {
            flows = self.tracked(&flows)?;
        }
        all.accepted.join(&flows)?;
        Ok(all)
    }

    /// The base chains that packets of one version meet at a hook.
    fn packets(&mut self, hook: Hook, v6: bool, flows: Flows) -> Result<Ends, TooComplex> {
        let mut all = Ends::default();
        // A connection that has a flowtable skips `forward` once it is established.
        if hook == Hook::Forward && self.traits.offloads {
            let states = Intervals::one(state::ESTABLISHED);
            let established = self.space.among(Field::State, &states)?;
            for flow in &flows.0 {
                let skips = self.space.and(flow.packets, established)?;
                all.accepted.add(skips, &flow.change)?;
            }
        }
        let mut flows = flows;
        let [v4, of_v6] = self.traits.tracking;
        let tracking = if v6 { of_v6 } else { v4 };
        // The hooks at which connection tracking sees packets, if it has not yet.
        let mut untracked =
            matches!(hook, Hook::Prerouting | Hook::Output) && !self.tracked_in_frames;
        let mut after_nat = false;
        let mut begun_known = !self.traits.has_nat || !is_of_nat(hook);
        for step in &self.ruleset.path(hook, v6) {
            if untracked && step.priority >= CONNTRACK {
                flows = self.tracked(&flows)?;
                untracked = false;
            }
            if step.nat && tracking == Tracking::Never {
                continue;
            }
            let at_nat = step.nat || step.priority > nat_priority(hook);
            if at_nat && !begun_known {
                flows = self.translated_before(hook, &flows)?;
                begun_known = true;
            }
            let mut results = Flows::default();
            for order in orders(self.ruleset, step)? {
                let mut here = flows.clone();
                let mut done = Flows::default();
                if step.nat {
                    (here, done) = self.nat_sees(hook, &flows, after_nat)?;
                }
                for at in order {
                    let (accepted, translated) = self.base(at, step, hook, v6, here, &mut all)?;
                    here = accepted;
                    if step.nat {
                        done.join(self.space, &translated)?;
                    } else {
                        here.join(self.space, &translated)?;
                    }
                }
                results.join(self.space, &here)?;
                results.join(self.space, &done)?;
            }
            if step.nat && tracking == Tracking::Perhaps {
                results.join(self.space, &flows)?;
            }
            after_nat |= step.nat;
            flows = results;
        }
        if untracked {
            flows = self.tracked(&flows)?;
        }
        if !begun_known {
            flows = self.translated_before(hook, &flows)?;
        }
        all.accepted.join(&flows)?;
        Ok(all)
    }

    /// Packets with what the kernel may make of those whose connection has begun: nobody knows how it is
    /// translated. The kernel does so at every hook of translation, whatever chains there are
    /// (`nf_nat_register_fn`).
    fn translated_before(&mut self, hook: Hook, flows: &Flows) -> Result<Flows, TooComplex> {
        let begun = [state::ESTABLISHED, state::RELATED].map(Interval::one).into_iter().collect();
        let begun = self.space.among(Field::State, &begun)?;
        let mut all = flows.clone();
        for flow in flows.0.iter().filter(|flow| flow.change.fixes(Field::State).is_none()) {
            let known = self.space.and(flow.packets, begun)?;
            let mut change = flow.change.clone();
            for field in nat_end(hook) {
                change.lose(field);
            }
            all.add(self.space, known, &change)?;
        }
        Ok(all)
    }

    /// Those that a NAT chain of the hook is asked about, and the others.
    fn nat_sees(
        &mut self,
        hook: Hook,
        flows: &Flows,
        again: bool,
    ) -> Result<(Flows, Flows), TooComplex> {
        // An error about a connection is related to it, and translated as it is.
        let errors = [ICMP, ICMPV6].map(|one| Interval::one(u128::from(one))).into_iter().collect();
        let errors = self.space.among(Field::Protocol, &errors)?;
        let related = self.space.value(Field::State, state::RELATED)?;
        let related = self.space.without(related, errors)?;
        let new = self.space.value(Field::State, state::NEW)?;
        let first = self.space.or(new, related)?;
        let end = nat_end(hook);
        let (mut asked, mut others) = (Flows::default(), Flows::default());
        for flow in &flows.0 {
            // Whoever a NAT chain of this hook has translated already is not asked again.
            if again && is_translated(&flow.change, end) {
                others.add(self.space, flow.packets, &flow.change)?;
                continue;
            }
            let tracked = flow.change.fixes(Field::State).is_none();
            let packets = if tracked { flow.packets } else { Set::EMPTY };
            let ask = self.space.and(packets, first)?;
            asked.add(self.space, ask, &flow.change)?;
            let rest = self.space.without(flow.packets, ask)?;
            others.add(self.space, rest, &flow.change)?;
        }
        Ok((asked, others))
    }

    /// One base chain, with its policy. Gives what was accepted, and what was by a translation.
    fn base(
        &mut self,
        at: At,
        step: &Step,
        hook: Hook,
        v6: bool,
        flows: Flows,
        all: &mut Ends,
    ) -> Result<(Flows, Flows), TooComplex> {
        let ruleset = self.ruleset;
        let (table, chain) = (ruleset.table(at), ruleset.chain(at));
        let Some(base) = &chain.base else { return Ok((flows, Flows::default())) };
        let mut skip = Flows::default();
        let mut flows = flows;
        let at_device = matches!(hook, Hook::Ingress | Hook::Egress);
        if at_device && base.devices.is_empty() {
            // Nobody told for which interfaces it is: it is entered, and it is not.
            skip = flows.clone();
        } else if at_device {
            let field = if hook == Hook::Egress { Field::OutputDevice } else { Field::InputDevice };
            let names = base.devices.iter().filter_map(|name| device(name)).map(Interval::one);
            let devices = self.space.among(field, &names.collect())?;
            let mut own = Flows::default();
            for flow in &flows.0 {
                let devices = flow.change.before(self.space, devices)?;
                let here = self.space.and(flow.packets, devices.maybe)?;
                own.add(self.space, here, &flow.change)?;
                let rest = self.space.without(flow.packets, devices.surely)?;
                skip.add(self.space, rest, &flow.change)?;
            }
            flows = own;
        }
        let (layer, priority) = (Layer::of(table.family), step.priority);
        let tracked = self.tracked_in_frames;
        let here = Here { table, number: at.table, layer, hook, priority, v6, tracked };
        let mut ends = Ends::default();
        let left = self.chain(here, at.chain, flows, &mut ends)?;
        let policy = left.packets(self.space)?;
        if base.accepts {
            ends.accepted.join(&left)?;
        } else if !policy.is_empty() {
            ends.dropped.push(policy);
        }
        all.dropped.append(&mut ends.dropped);
        all.rejected.append(&mut ends.rejected);
        let accepted = ends.accepted.together(self.space)?;
        skip.join(self.space, &accepted)?;
        Ok((skip, ends.translated))
    }

    /// The rules of a chain. Gives what comes to its end or returns.
    fn chain(
        &mut self,
        here: Here<'a>,
        id: ChainId,
        flows: Flows,
        ends: &mut Ends,
    ) -> Result<Flows, TooComplex> {
        let known = self.memory.is_some() && self.seen.is_none();
        if !known || here.table.chain(id).rules.len() < WORTH_KNOWING || flows.is_empty() {
            return self.rules(here, id, flows, ends);
        }
        let asked = Asked {
            chain: At { table: here.number, chain: id },
            hook: here.hook,
            early: here.is_before_conntrack(),
            v6: here.v6,
            flows,
        };
        let did = match self.memory.as_ref().and_then(|memory| memory.recall(&asked)) {
            Some(did) => did,
            None => {
                let mut own = Ends::default();
                let left = self.rules(here, id, asked.flows.clone(), &mut own)?;
                let did = Did {
                    left,
                    accepted: own.accepted.together(self.space)?,
                    translated: own.translated,
                    dropped: self.space.any_of(&own.dropped)?,
                    rejected: self.space.any_of(&own.rejected)?,
                };
                match &mut self.memory {
                    Some(memory) => memory.keep(asked, did),
                    None => Rc::new(did),
                }
            }
        };
        ends.accepted.join(&did.accepted)?;
        ends.translated.join(self.space, &did.translated)?;
        ends.dropped.extend(Some(did.dropped).filter(|some| !some.is_empty()));
        ends.rejected.extend(Some(did.rejected).filter(|some| !some.is_empty()));
        Ok(did.left.clone())
    }

    fn rules(
        &mut self,
        here: Here<'a>,
        id: ChainId,
        flows: Flows,
        ends: &mut Ends,
    ) -> Result<Flows, TooComplex> {
        let rules = &here.table.chain(id).rules;
        let mut left = Flows::default();
        let mut flows = flows;
        let mut nth = 0;
        while nth < rules.len() && !flows.is_empty() {
            // What was noted is noted rule by rule; otherwise many plain rules are one step.
            let plain = if self.seen.is_none() { plain_run(&rules[nth..]) } else { 0 };
            if plain > 1 {
                flows = self.plain(here, &rules[nth..nth + plain], &flows, ends)?;
                nth += plain;
                continue;
            }
            let at = RuleAt {
                chain: At { table: here.number, chain: id },
                rule: u32::try_from(nth).unwrap_or(u32::MAX),
            };
            flows = self.rule(here, at, &rules[nth], flows, &mut left, ends)?;
            nth += 1;
        }
        left.join(self.space, &flows)?;
        Ok(left)
    }

    /// Rules that do nothing but look and decide, all with the same verdict: their order does not
    /// matter.
    fn plain(
        &mut self,
        here: Here<'a>,
        rules: &'a [Rule],
        flows: &Flows,
        ends: &mut Ends,
    ) -> Result<Flows, TooComplex> {
        let mut next = Flows::default();
        for flow in &flows.0 {
            let mut hits = Vec::with_capacity(rules.len());
            let mut surely = Vec::with_capacity(rules.len());
            for rule in rules {
                let truth = self.all_true(here, matches_of(rule), &flow.change)?;
                hits.push(truth.maybe);
                surely.push(truth.surely);
            }
            let hit = self.space.any_of(&hits)?;
            let hit = self.space.and(hit, flow.packets)?;
            ends.decide(verdict_of(&rules[0]), hit, &flow.change)?;
            let surely = self.space.any_of(&surely)?;
            let rest = self.space.without(flow.packets, surely)?;
            next.add(self.space, rest, &flow.change)?;
        }
        Ok(next)
    }

    /// One rule. Gives what goes on with the next; `left` takes what leaves the chain.
    fn rule(
        &mut self,
        here: Here<'a>,
        at: RuleAt,
        rule: &'a Rule,
        flows: Flows,
        left: &mut Flows,
        ends: &mut Ends,
    ) -> Result<Flows, TooComplex> {
        let reached = if self.seen.is_some() { flows.packets(self.space)? } else { Set::EMPTY };
        let mut next = Flows::default();
        let mut flows = flows;
        let mut statements = rule.statements.as_slice();
        let mut matched = None;
        while let Some(first) = statements.first() {
            if flows.is_empty() {
                break;
            }
            if let Statement::Match(_) = first {
                let run = statements
                    .iter()
                    .take_while(|statement| matches!(statement, Statement::Match(_)))
                    .count();
                let (conditions, rest) = statements.split_at(run);
                statements = rest;
                let mut those = Flows::default();
                for flow in &flows.0 {
                    let asked = conditions.iter().filter_map(|statement| match statement {
                        Statement::Match(one) => Some(one),
                        _ => None,
                    });
                    let truth = self.all_true(here, asked, &flow.change)?;
                    let yes = self.space.and(flow.packets, truth.maybe)?;
                    those.add(self.space, yes, &flow.change)?;
                    let no = self.space.without(flow.packets, truth.surely)?;
                    next.add(self.space, no, &flow.change)?;
                }
                flows = those;
                continue;
            }
            if self.seen.is_some() && matched.is_none() {
                matched = Some(flows.packets(self.space)?);
            }
            statements = &statements[1..];
            flows = self.statement(here, first, flows, &mut next, left, ends)?;
        }
        if self.seen.is_some() {
            let matched = match matched {
                Some(matched) => matched,
                None => flows.packets(self.space)?,
            };
            self.note(at, reached, matched)?;
        }
        next.join(self.space, &flows)?;
        Ok(next)
    }

    fn note(&mut self, at: RuleAt, reached: Set, matched: Set) -> Result<(), TooComplex> {
        let Some(seen) = &mut self.seen else { return Ok(()) };
        let before = seen.entry(at).or_default();
        before.reached = self.space.or(before.reached, reached)?;
        before.matched = self.space.or(before.matched, matched)?;
        Ok(())
    }

    /// One statement that is not a condition. Gives what goes on with the next statement; `next` takes
    /// what goes on with the next rule.
    fn statement(
        &mut self,
        here: Here<'a>,
        statement: &'a Statement,
        flows: Flows,
        next: &mut Flows,
        left: &mut Flows,
        ends: &mut Ends,
    ) -> Result<Flows, TooComplex> {
        let mut on = Flows::default();
        match statement {
            Statement::Match(_) | Statement::Offload => return Ok(flows),
            Statement::Verdict(verdict) => {
                self.verdict(here, *verdict, flows, next, left, ends)?;
            }
            Statement::VerdictMap { keys, map } => {
                for flow in &flows.0 {
                    let (cases, none) = self.cases(here, keys, *map, flow)?;
                    for (data, packets) in cases {
                        let hit = Flows::changed(packets, flow.change.clone());
                        match data {
                            Data::Verdict(verdict) => {
                                self.verdict(here, *verdict, hit, next, left, ends)?;
                            }
                            Data::Present | Data::Value(_) | Data::Unknown => {
                                self.anything(&hit, next, ends)?;
                            }
                        }
                    }
                    next.add(self.space, none, &flow.change)?;
                }
            }
            Statement::Set { field, value } => {
                for flow in &flows.0 {
                    self.set(here, *field, value, flow, &mut on, next)?;
                }
            }
            Statement::Nat(nat) => {
                for flow in &flows.0 {
                    self.nat(here, nat, flow, next, ends)?;
                }
            }
            Statement::Notrack => {
                for flow in &flows.0 {
                    let excused = self.excused(here, flow)?;
                    let rest = self.space.without(flow.packets, excused.packets)?;
                    on.add(self.space, rest, &flow.change)?;
                    on.add(self.space, excused.packets, &excused.change)?;
                }
            }
            Statement::Unknown { effects, .. } => {
                self.effects(here, *effects, &flows, &mut on, ends)?;
            }
        }
        Ok(on)
    }

    fn verdict(
        &mut self,
        here: Here<'a>,
        verdict: Verdict,
        flows: Flows,
        next: &mut Flows,
        left: &mut Flows,
        ends: &mut Ends,
    ) -> Result<(), TooComplex> {
        match verdict {
            Verdict::Accept | Verdict::Drop | Verdict::Reject | Verdict::Queue => {
                for flow in &flows.0 {
                    ends.decide(Some(verdict), flow.packets, &flow.change)?;
                }
            }
            Verdict::Jump(chain) => {
                let back = self.chain(here, chain, flows, ends)?;
                next.join(self.space, &back)?;
            }
            Verdict::Goto(chain) => {
                let back = self.chain(here, chain, flows, ends)?;
                left.join(self.space, &back)?;
            }
            Verdict::Return => left.join(self.space, &flows)?,
            Verdict::Continue => next.join(self.space, &flows)?,
        }
        Ok(())
    }

    /// A verdict that nobody knows.
    fn anything(
        &mut self,
        flows: &Flows,
        next: &mut Flows,
        ends: &mut Ends,
    ) -> Result<(), TooComplex> {
        next.join(self.space, flows)?;
        for flow in &flows.0 {
            ends.decide(Some(Verdict::Queue), flow.packets, &flow.change)?;
        }
        Ok(())
    }

    /// The packets of a flow that have no connection, as they are when they are excused from tracking.
    fn excused(&mut self, here: Here<'a>, flow: &Flow) -> Result<Flow, TooComplex> {
        let packets = if here.is_before_conntrack() || flow.change.fixes(Field::State).is_some() {
            flow.packets
        } else {
            let tracked = state::TRACKED.map(Interval::one).into_iter().collect();
            let tracked = self.space.among(Field::State, &tracked)?;
            self.space.without(flow.packets, tracked)?
        };
        let mut change = flow.change.clone();
        change.set(Field::State, state::UNTRACKED);
        Ok(Flow { packets, change })
    }

    /// A statement that may do something, and may not.
    fn effects(
        &mut self,
        here: Here<'a>,
        effects: Effects,
        flows: &Flows,
        on: &mut Flows,
        ends: &mut Ends,
    ) -> Result<(), TooComplex> {
        for flow in &flows.0 {
            let mut may = vec![flow.clone()];
            if effects.changes {
                let mut changed = flow.clone();
                for field in CHANGEABLE {
                    changed.change.lose(field);
                }
                may.push(self.excused(here, &changed)?);
                may.push(changed);
            }
            for Flow { packets, change } in may {
                if effects.accepts {
                    ends.accepted.add(packets, &change)?;
                }
                on.add(self.space, packets, &change)?;
            }
            if effects.drops {
                ends.dropped.push(flow.packets);
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        here: Here<'a>,
        field: Field,
        value: &'a Value,
        flow: &Flow,
        on: &mut Flows,
        next: &mut Flows,
    ) -> Result<(), TooComplex> {
        if field == Field::ConnectionMark && here.is_before_conntrack() {
            // There is no connection that could get it.
            return on.add(self.space, flow.packets, &flow.change);
        }
        if let Value::Bits { of, .. } = value
            && is_of_connection(*of)
        {
            // Without a connection there is nothing to read, and the rule is not true.
            let tracked = state::TRACKED.map(Interval::one).into_iter().collect();
            let tracked = self.is_in(Key::whole(Field::State), &tracked)?;
            let tracked = self.before(here, tracked, &[Field::State], false, &flow.change)?;
            let without = self.space.without(flow.packets, tracked.surely)?;
            next.add(self.space, without, &flow.change)?;
            let with = self.space.and(flow.packets, tracked.maybe)?;
            let with = Flow { packets: with, change: flow.change.clone() };
            return self.set_known(here, field, value, &with, on, next);
        }
        self.set_known(here, field, value, flow, on, next)
    }

    fn set_known(
        &mut self,
        here: Here<'a>,
        field: Field,
        value: &'a Value,
        flow: &Flow,
        on: &mut Flows,
        next: &mut Flows,
    ) -> Result<(), TooComplex> {
        let mut change = flow.change.clone();
        match value {
            Value::Constant(value) => change.set(field, *value),
            Value::Bits { of, and, xor } => change.bits(field, *of, *and, *xor),
            Value::Unknown => change.lose(field),
            Value::Map { keys, map } => {
                let (cases, none) = self.cases(here, keys, *map, flow)?;
                for (data, packets) in cases {
                    let mut change = flow.change.clone();
                    match data {
                        Data::Value(parts) => match parts.first() {
                            Some(value) => change.choose(field, Intervals::from(*value)),
                            None => change.lose(field),
                        },
                        Data::Present | Data::Verdict(_) | Data::Unknown => change.lose(field),
                    }
                    on.add(self.space, packets, &change)?;
                }
                return next.add(self.space, none, &flow.change);
            }
        }
        on.add(self.space, flow.packets, &change)
    }

    /// What a map may have for the packets of a flow, with the packets that it has it for, and those
    /// that it may have nothing for.
    fn cases(
        &mut self,
        here: Here<'a>,
        keys: &[Key],
        map: SetId,
        flow: &Flow,
    ) -> Result<(Answers<'a>, Set), TooComplex> {
        let set = here.table.set(map);
        // Many elements have the same answer.
        let mut groups: Vec<(&Data, Vec<&Element>)> = Vec::new();
        let mut places: HashMap<Answer<'_>, usize> = HashMap::new();
        for element in &set.elements {
            let place = *places.entry(Answer::of(&element.data)).or_insert_with(|| {
                groups.push((&element.data, Vec::new()));
                groups.len() - 1
            });
            groups[place].1.push(element);
        }
        let mut cases = Vec::new();
        let mut none = flow.packets;
        if set.changing {
            // Nobody knows what it has by now: anything that it had, anything else, or nothing.
            cases.extend(groups.iter().map(|(data, _)| (*data, flow.packets)));
            cases.push((&Data::Unknown, flow.packets));
            return Ok((cases, none));
        }
        for (data, elements) in groups {
            let yes = self.elements(here, keys, elements.iter().copied(), flow)?;
            cases.push((data, self.space.and(flow.packets, yes.maybe)?));
            none = self.space.without(none, yes.surely)?;
        }
        if let Some(data) = &set.otherwise {
            cases.push((data, none));
            none = Set::EMPTY;
        }
        cases.retain(|(_, packets)| !packets.is_empty());
        Ok((cases, none))
    }

    fn elements<'e>(
        &mut self,
        here: Here<'a>,
        keys: &[Key],
        elements: impl Iterator<Item = &'e Element>,
        flow: &Flow,
    ) -> Result<Truth, TooComplex> {
        let truth = self.among_elements(keys, elements)?;
        self.before(here, truth, &keys_of(keys), false, &flow.change)
    }

    fn nat(
        &mut self,
        here: Here<'a>,
        nat: &'a Nat,
        flow: &Flow,
        next: &mut Flows,
        ends: &mut Ends,
    ) -> Result<(), TooComplex> {
        let source = nat.kind.is_source();
        let place = match (source, here.v6) {
            (true, false) => Field::Source4,
            (true, true) => Field::Source6,
            (false, false) => Field::Destination4,
            (false, true) => Field::Destination6,
        };
        let port = if source { Field::SourcePort } else { Field::DestinationPort };
        let mark = if source { status::SNAT } else { status::DNAT };
        // Packets, the new address, and the new port where a map tells it.
        let mut cases: Vec<Case> = Vec::new();
        let any = || Some(Intervals::all(place.bits()));
        let hosts = |length: u128| ones(place.bits()) & length;
        let mut prefix = None;
        match (&nat.address, nat.kind) {
            (NatAddress::Kept, NatKind::Source | NatKind::Destination) => {
                cases.push((flow.packets, None, None));
            }
            (NatAddress::Kept, NatKind::Masquerade) => {
                self.by_interface(here, Field::OutputDevice, flow.packets, &mut cases)?;
            }
            (NatAddress::Kept, NatKind::Redirect) if here.hook == Hook::Output => {
                let loopback = if here.v6 { 1 } else { 0x7f00_0001 };
                cases.push((flow.packets, Some(Intervals::one(loopback)), None));
            }
            (NatAddress::Kept, NatKind::Redirect) => {
                self.by_interface(here, Field::InputDevice, flow.packets, &mut cases)?;
            }
            (NatAddress::V4(range), _) if !here.v6 => {
                cases.push((flow.packets, Some(Intervals::from(*range)), None));
            }
            (NatAddress::V6(range), _) if here.v6 => {
                cases.push((flow.packets, Some(Intervals::from(*range)), None));
            }
            (NatAddress::Prefix4(range), _) if !here.v6 => {
                prefix = Some((hosts(range.first ^ range.last), range.first));
                cases.push((flow.packets, None, None));
            }
            (NatAddress::Prefix6(range), _) if here.v6 => {
                prefix = Some((hosts(range.first ^ range.last), range.first));
                cases.push((flow.packets, None, None));
            }
            (NatAddress::Map { keys, map, address: part_of, port: port_part }, _) => {
                let (found, none) = self.cases(here, keys, *map, flow)?;
                next.add(self.space, none, &flow.change)?;
                for (data, packets) in found {
                    let told = |nth: usize| match data {
                        Data::Value(values) => values.get(nth).copied().map(Intervals::from),
                        Data::Present | Data::Verdict(_) | Data::Unknown => None,
                    };
                    let to = match part_of {
                        Some(of) if of.v6 == here.v6 => told(of.part).or_else(any),
                        Some(_) => {
                            // An address of the other version translates nothing.
                            next.add(self.space, packets, &flow.change)?;
                            continue;
                        }
                        None => None,
                    };
                    let all_ports = || Some(Intervals::all(port.bits()));
                    let ports = port_part.and_then(|of| told(of).or_else(all_ports));
                    cases.push((packets, to, ports));
                }
            }
            (NatAddress::Unknown, _) => cases.push((flow.packets, any(), None)),
            // An address of the other version translates nothing.
            (
                NatAddress::V4(_)
                | NatAddress::V6(_)
                | NatAddress::Prefix4(_)
                | NatAddress::Prefix6(_),
                _,
            ) => return next.add(self.space, flow.packets, &flow.change),
        }
        let with_ports = WITH_PORTS.iter().map(|protocol| Interval::one(u128::from(*protocol)));
        let with_ports = self.space.among(Field::Protocol, &with_ports.collect())?;
        for (packets, to, ports) in cases {
            let mut change = flow.change.clone();
            // A connection whose addresses and ports stay has no such status (nf_nat_setup_info).
            let stays = match &to {
                _ if !self.traits.reads.contains(&Field::Status) => Set::EMPTY,
                Some(to) => {
                    let same = self.space.among(place, to)?;
                    let same = flow.change.before(self.space, same)?.maybe;
                    self.space.and(packets, same)?
                }
                None => packets,
            };
            if let Some(to) = to {
                change.choose(place, to);
            }
            if let Some((hosts, network)) = prefix {
                change.bits(place, place, hosts, network & !hosts);
            }
            let marked = |change: &Change| {
                let mut change = change.clone();
                change.bits(Field::Status, Field::Status, !mark, mark);
                change
            };
            let without = self.space.without(packets, with_ports)?;
            ends.translated.add(self.space, without, &marked(&change))?;
            let stays_without = self.space.and(without, stays)?;
            ends.translated.add(self.space, stays_without, &change)?;
            let ports = ports.or_else(|| match nat.ports {
                NatPorts::Range(range) => Some(Intervals::from(range)),
                NatPorts::Unknown => Some(Intervals::all(port.bits())),
                // Another connection may have the port already.
                NatPorts::Kept if source => Some(Intervals::all(port.bits())),
                NatPorts::Kept => None,
            });
            if let Some(ports) = ports {
                change.choose(port, ports);
            }
            let with = self.space.and(packets, with_ports)?;
            ends.translated.add(self.space, with, &marked(&change))?;
            let stays_with = self.space.and(with, stays)?;
            ends.translated.add(self.space, stays_with, &change)?;
        }
        Ok(())
    }

    /// The addresses that a translation to one of an interface's own can give.
    fn by_interface(
        &mut self,
        here: Here<'a>,
        field: Field,
        packets: Set,
        cases: &mut Vec<Case>,
    ) -> Result<(), TooComplex> {
        let interfaces = self.network.and_then(|network| network.interfaces.as_deref());
        let interfaces = interfaces.unwrap_or_default();
        let own = |interfaces: &[Interface]| -> Intervals {
            let addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
            let these = addresses.map(|one| one.address).filter(|one| one.is_ipv6() == here.v6);
            these.map(|one| Interval::one(address(one))).collect()
        };
        let mut rest = packets;
        for interface in interfaces {
            let this = self.space.value(field, interface.device)?;
            let crosses = self.space.and(packets, this)?;
            rest = self.space.without(rest, this)?;
            // An interface without an address borrows one of another (inet_select_addr).
            let to = [own(std::slice::from_ref(interface)), own(interfaces)];
            let to = to.into_iter().find(|to| !to.is_empty());
            cases.push((
                crosses,
                to.or_else(|| Some(Intervals::all(if here.v6 { 128 } else { 32 }))),
                None,
            ));
        }
        cases.push((rest, Some(Intervals::all(if here.v6 { 128 } else { 32 })), None));
        Ok(())
    }

    /// Where an address is one of these kinds (`fib saddr type`, `-m addrtype`): for IPv4 what the
    /// host's addresses tell; of IPv6 only what is its own.
    fn kind(&mut self, end: End, values: &Intervals) -> Result<Truth, TooComplex> {
        let mut truth = Truth::FALSE;
        let unknown = Network::default();
        let network = self.network.unwrap_or(&unknown);
        for v6 in [false, true] {
            let mut left = self.space.version(v6)?;
            // From addresses of which something special is known to all others.
            let mut special: BTreeSet<IpNet> = BTreeSet::new();
            let fixed: &[&str] = if v6 {
                &["::1/128"]
            } else {
                &["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"]
            };
            special.extend(fixed.iter().filter_map(|net| net.parse::<IpNet>().ok()));
            for one in network.interfaces.iter().flatten().flat_map(|one| &one.addresses) {
                let ends = [
                    Some(one.address),
                    Some(one.network.network()),
                    Some(one.network.broadcast()),
                    one.broadcast.map(IpAddr::V4),
                ];
                special.extend(
                    ends.into_iter().flatten().filter(|one| one.is_ipv6() == v6).map(IpNet::from),
                );
            }
            // Single addresses are asked for before the networks that they may lie in.
            let mut special: Vec<IpNet> = special.into_iter().collect();
            special.sort_by_key(|net| std::cmp::Reverse(net.prefix_len()));
            for net in special {
                let here = self.space.networks(end, &[net])?;
                let here = self.space.and(here, left)?;
                left = self.space.without(left, here)?;
                self.of_kind(here, &network.kinds_of(net.addr()), values, &mut truth)?;
            }
            // Any address about which nothing is known stands for all of them.
            let ordinary: IpAddr = if v6 {
                Ipv6Addr::from(ORDINARY6).into()
            } else {
                Ipv4Addr::from(ORDINARY4).into()
            };
            let kinds = match network.interfaces {
                Some(_) if v6 => {
                    (0..=12).filter(|one| *one != kind::LOCAL).map(Interval::one).collect()
                }
                Some(_) => Intervals::one(kind::UNICAST),
                None => network.kinds_of(ordinary),
            };
            self.of_kind(left, &kinds, values, &mut truth)?;
        }
        Ok(truth)
    }

    fn of_kind(
        &mut self,
        packets: Set,
        kinds: &Intervals,
        values: &Intervals,
        truth: &mut Truth,
    ) -> Result<(), TooComplex> {
        if !kinds.and(values).is_empty() {
            truth.maybe = self.space.or(truth.maybe, packets)?;
            if kinds.and(&values.not(32)).is_empty() {
                truth.surely = self.space.or(truth.surely, packets)?;
            }
        }
        Ok(())
    }

    /// Where all of some conditions are true, of packets that were changed.
    fn all_true<'m>(
        &mut self,
        here: Here<'a>,
        matches: impl Iterator<Item = &'m Match> + Clone,
        change: &Change,
    ) -> Result<Truth, TooComplex> {
        let mut protocols = None;
        for one in matches.clone() {
            if let Some((Field::Protocol, values)) = of_one_field(here, one, change) {
                narrow(&mut protocols, values);
            }
        }
        let protocols = protocols.as_deref();
        let mut values: Vec<(Field, Option<Cow<'m, Intervals>>)> = Vec::new();
        let mut others = Vec::new();
        for one in matches {
            match of_one_field(here, one, change).filter(|(field, _)| all_have(*field, protocols)) {
                None => others.push(one),
                Some((field, these)) => match values.iter_mut().find(|(of, _)| *of == field) {
                    Some((_, had)) => narrow(had, these),
                    None => values.push((field, Some(these))),
                },
            }
        }
        let values = values.iter().filter_map(|(field, values)| Some((*field, values.as_deref()?)));
        let mut all = Truth::of(self.space.known_product(values)?);
        for one in others {
            let truth = self.truth(here, one, change)?;
            all = all.and(self.space, truth)?;
        }
        Ok(all)
    }

    fn truth(&mut self, here: Here<'a>, one: &Match, change: &Change) -> Result<Truth, TooComplex> {
        match one {
            Match::In { key, values, not } => {
                let end = match key.field {
                    Field::SourceKind => Some(End::Source),
                    Field::DestinationKind => Some(End::Destination),
                    _ => None,
                };
                let Some(end) = end else {
                    let truth = self.is_in(*key, values)?;
                    return self.before(here, truth, &[key.field], *not, change);
                };
                let truth = self.kind(end, values)?;
                self.before(here, truth, &[end.field(here.v6)], *not, change)
            }
            Match::Lookup { keys, set, not } => {
                let known = (here.number, *set, keys.clone());
                let truth = match self.sets.get(&known) {
                    Some(truth) => *truth,
                    None => {
                        let set = here.table.set(*set);
                        let truth = if set.changing {
                            Truth::UNKNOWN
                        } else if set.otherwise.is_some() {
                            Truth::TRUE
                        } else {
                            self.among_elements(keys, set.elements.iter())?
                        };
                        self.sets.insert(known, truth);
                        truth
                    }
                };
                self.before(here, truth, &keys_of(keys), *not, change)
            }
            Match::Any(some) => {
                let mut any = Truth::FALSE;
                for one in some {
                    let truth = self.truth(here, one, change)?;
                    any = any.or(self.space, truth)?;
                }
                Ok(any)
            }
            Match::Unknown { .. } => Ok(Truth::UNKNOWN),
        }
    }

    fn is_in(&mut self, key: Key, values: &Intervals) -> Result<Truth, TooComplex> {
        Ok(Truth::of(self.space.key(key, values)?))
    }

    fn among_elements<'e>(
        &mut self,
        keys: &[Key],
        elements: impl Iterator<Item = &'e Element>,
    ) -> Result<Truth, TooComplex> {
        let mut found = [Vec::new(), Vec::new()];
        let mut single = [Vec::new(), Vec::new()];
        for element in elements {
            let unsure = usize::from(element.unsure);
            match (keys, element.key.as_slice()) {
                ([_], [values]) => single[unsure].push(*values),
                (keys, parts) if keys.len() == parts.len() && are_whole(keys) => {
                    let values: Vec<Intervals> =
                        parts.iter().copied().map(Intervals::from).collect();
                    let fields = keys.iter().map(|key| key.field);
                    found[unsure].push(self.space.product(fields.zip(&values))?);
                }
                (keys, parts) if keys.len() == parts.len() => {
                    let mut all = Set::ALL;
                    for (key, values) in keys.iter().zip(parts) {
                        let part = self.space.key(*key, &Intervals::from(*values))?;
                        all = self.space.and(all, part)?;
                    }
                    found[unsure].push(all);
                }
                // A key of another shape: nobody knows what the kernel makes of it.
                _ => return Ok(Truth::UNKNOWN),
            }
        }
        if let [key] = keys {
            for (found, single) in found.iter_mut().zip(single) {
                found.push(self.space.key(*key, &single.into_iter().collect())?);
            }
        }
        let surely = self.space.any_of(&found[0])?;
        let unsure = self.space.any_of(&found[1])?;
        let maybe = self.space.or(surely, unsure)?;
        Ok(Truth { maybe, surely })
    }

    /// A condition on packets as they are now, told of packets as they came. `fields` are those that
    /// the condition asks for; with `not` it is turned round.
    fn before(
        &mut self,
        here: Here<'a>,
        truth: Truth,
        fields: &[Field],
        not: bool,
        change: &Change,
    ) -> Result<Truth, TooComplex> {
        let mut truth = truth.turned(self.space, not)?;
        let mut needs_state = false;
        for field in fields {
            // Where a protocol has no such field, the kernel reads what stands there instead.
            if let Some(protocols) = protocols_with(*field) {
                let protocols = protocols.iter().map(|one| Interval::one(u128::from(*one)));
                let with = self.space.among(Field::Protocol, &protocols.collect())?;
                let without = self.space.others(with)?;
                // Of several fields the others still tell.
                let any = if fields.len() > 1 {
                    let any = self.space.forget(truth.maybe, &[*field])?;
                    self.space.and(any, without)?
                } else {
                    without
                };
                truth = Truth {
                    maybe: self.space.or(truth.maybe, any)?,
                    surely: self.space.and(truth.surely, with)?,
                };
            }
            // A condition on what is not there is false, turned round or not.
            if is_of_connection(*field) {
                let tracked = state::TRACKED.map(Interval::one).into_iter().collect();
                let tracked = self.space.among(Field::State, &tracked)?;
                truth = truth.and(self.space, Truth::of(tracked))?;
                needs_state = true;
            }
            let of_frame = matches!(field, Field::EtherSource | Field::EtherDestination);
            if of_frame && (here.layer, here.hook) == (Layer::Packet, Hook::Output) {
                return Ok(Truth::FALSE);
            }
            // They may be in another frame than the one in which they came.
            if of_frame && here.is_leaving() {
                return Ok(Truth::UNKNOWN);
            }
        }
        let asks = |field| fields.contains(&field) || needs_state && field == Field::State;
        let untracked = change.fixes(Field::State).is_some();
        let hides_state = here.is_before_conntrack() && !untracked && asks(Field::State);
        let hides_output = hides_output(here.hook) && asks(Field::OutputDevice);
        let hides_input = here.is_leaving() && asks(Field::InputDevice);
        if !hides_state && !hides_input && !hides_output && !change.fields().any(asks) {
            return Ok(truth);
        }
        let mut seen = change.clone();
        if hides_state {
            // No connection is known yet, which is what `invalid` means (nft_ct_get_eval).
            seen.set(Field::State, state::INVALID);
        }
        if hides_input {
            seen.set(Field::InputDevice, 0);
        }
        if hides_output {
            seen.set(Field::OutputDevice, 0);
        }
        let maybe = seen.before(self.space, truth.maybe)?.maybe;
        let surely = seen.before(self.space, truth.surely)?.surely;
        Ok(Truth { maybe, surely })
    }
}

/// Whether a statement may write the mark of a packet.
fn may_mark(statement: &Statement) -> bool {
    match statement {
        Statement::Set { field, .. } => *field == Field::Mark,
        Statement::Unknown { effects, .. } => effects.changes,
        Statement::Match(_)
        | Statement::VerdictMap { .. }
        | Statement::Nat(_)
        | Statement::Offload
        | Statement::Verdict(_)
        | Statement::Notrack => false,
    }
}

/// Whether a statement may reject a packet by itself.
fn may_reject(table: &Table, statement: &Statement) -> bool {
    let rejects = |data: &Data| *data == Data::Verdict(Verdict::Reject);
    match statement {
        Statement::Verdict(verdict) => *verdict == Verdict::Reject,
        Statement::VerdictMap { map, .. } => {
            let set = table.set(*map);
            set.elements.iter().map(|element| &element.data).chain(&set.otherwise).any(rejects)
        }
        Statement::Match(_)
        | Statement::Set { .. }
        | Statement::Nat(_)
        | Statement::Notrack
        | Statement::Offload
        | Statement::Unknown { .. } => false,
    }
}

/// Which field of its first packet a field of a connection is.
const fn original_of(field: Field) -> Option<Field> {
    match field {
        Field::OriginalSource4 => Some(Field::Source4),
        Field::OriginalDestination4 => Some(Field::Destination4),
        Field::OriginalSource6 => Some(Field::Source6),
        Field::OriginalDestination6 => Some(Field::Destination6),
        Field::OriginalSourcePort => Some(Field::SourcePort),
        Field::OriginalDestinationPort => Some(Field::DestinationPort),
        _ => None,
    }
}

/// Whether a field is one of the packet's connection, and not there without one.
const fn is_of_connection(field: Field) -> bool {
    matches!(
        field,
        Field::Direction
            | Field::Status
            | Field::ConnectionMark
            | Field::OriginalSource4
            | Field::OriginalDestination4
            | Field::OriginalSource6
            | Field::OriginalDestination6
            | Field::OriginalSourcePort
            | Field::OriginalDestinationPort
    )
}

/// What a map may have, each with the packets that it has it for.
type Answers<'a> = Vec<(&'a Data, Set)>;

/// Packets, the address that they get, and the port where that is told together with it.
type Case = (Set, Option<Intervals>, Option<Intervals>);

/// Addresses about which nothing is known (RFC 5737, RFC 3849).
const ORDINARY4: [u8; 4] = [192, 0, 2, 1];
const ORDINARY6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];

/// What a map has, so that it can be looked up.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Answer<'a> {
    Present,
    Verdict(Verdict),
    Value(&'a [Interval]),
    Unknown,
}

impl<'a> Answer<'a> {
    fn of(data: &'a Data) -> Self {
        match data {
            Data::Present => Self::Present,
            Data::Verdict(verdict) => Self::Verdict(*verdict),
            Data::Value(parts) => Self::Value(parts),
            Data::Unknown => Self::Unknown,
        }
    }
}

/// What something unknown may change: addresses, ports, marks.
const CHANGEABLE: [Field; 8] = [
    Field::Source4,
    Field::Source6,
    Field::Destination4,
    Field::Destination6,
    Field::SourcePort,
    Field::DestinationPort,
    Field::Mark,
    Field::ConnectionMark,
];

/// Whether packets are translated at a hook.
const fn is_of_nat(hook: Hook) -> bool {
    match hook {
        Hook::Prerouting | Hook::Output | Hook::Input | Hook::Postrouting => true,
        Hook::Ingress | Hook::Forward | Hook::Egress => false,
    }
}

/// Which end of a packet the NAT chains of a hook translate: addresses of both versions, and port.
const fn nat_end(hook: Hook) -> [Field; 3] {
    match hook {
        Hook::Ingress | Hook::Prerouting | Hook::Output => {
            [Field::Destination4, Field::Destination6, Field::DestinationPort]
        }
        Hook::Input | Hook::Forward | Hook::Postrouting | Hook::Egress => {
            [Field::Source4, Field::Source6, Field::SourcePort]
        }
    }
}

fn is_translated(change: &Change, end: [Field; 3]) -> bool {
    change.fields().any(|field| end.contains(&field))
}

/// The protocols that have a field; nothing where all have it.
const fn protocols_with(field: Field) -> Option<&'static [u8]> {
    match field {
        Field::SourcePort | Field::DestinationPort => Some(&WITH_PORTS),
        Field::TcpFlags => Some(&[TCP]),
        Field::IcmpType | Field::IcmpCode => Some(&[ICMP]),
        Field::Icmp6Type | Field::Icmp6Code => Some(&[ICMPV6]),
        _ => None,
    }
}

/// Whether packets of these protocols, or of any where none are named, all have a field.
fn all_have(field: Field, protocols: Option<&Intervals>) -> bool {
    let Some(with) = protocols_with(field) else { return true };
    let has = |run: &Interval| {
        run.single().is_some_and(|one| with.iter().any(|with| u128::from(*with) == one))
    };
    protocols.is_some_and(|protocols| protocols.as_slice().iter().all(has))
}

/// The field and the values of a condition that says no more than that a field of the packet, as it came,
/// has one of them. What is asked of a field that not all protocols have is so for those that have it.
fn of_one_field<'m>(
    here: Here<'_>,
    one: &'m Match,
    change: &Change,
) -> Option<(Field, Cow<'m, Intervals>)> {
    let Match::In { key, values, not } = one else { return None };
    let field = key.field;
    let hidden = match field {
        Field::SourceKind
        | Field::DestinationKind
        | Field::EtherType
        | Field::EtherSource
        | Field::EtherDestination => true,
        Field::State => here.is_before_conntrack(),
        Field::InputDevice => here.is_leaving(),
        Field::OutputDevice => hides_output(here.hook),
        _ => is_of_connection(field),
    };
    if hidden || !key.is_whole() || change.fields().any(|changed| changed == field) {
        return None;
    }
    let values = if *not { Cow::Owned(values.not(field.bits())) } else { Cow::Borrowed(values) };
    Some((field, values))
}

/// Leaves of some values those that are among others as well.
fn narrow<'m>(values: &mut Option<Cow<'m, Intervals>>, others: Cow<'m, Intervals>) {
    *values = Some(match values.take() {
        Some(had) => Cow::Owned(had.and(&others)),
        None => others,
    });
}

/// Whether a hook does not know yet by which interface a packet leaves.
const fn hides_output(hook: Hook) -> bool {
    match hook {
        Hook::Ingress | Hook::Prerouting | Hook::Input => true,
        Hook::Forward | Hook::Output | Hook::Postrouting | Hook::Egress => false,
    }
}

/// Whether keys are whole fields that have variables, and no two of them the same.
fn are_whole(keys: &[Key]) -> bool {
    keys.iter().enumerate().all(|(place, key)| {
        let again = keys[..place].iter().any(|before| before.field == key.field);
        key.is_whole() && key.field != Field::EtherType && !again
    })
}

fn keys_of(keys: &[Key]) -> Vec<Field> {
    keys.iter().map(|key| key.field).collect()
}

fn matches_of(rule: &Rule) -> impl Iterator<Item = &Match> + Clone {
    rule.statements.iter().filter_map(|statement| match statement {
        Statement::Match(one) => Some(one),
        Statement::Verdict(_)
        | Statement::VerdictMap { .. }
        | Statement::Set { .. }
        | Statement::Nat(_)
        | Statement::Notrack
        | Statement::Offload
        | Statement::Unknown { .. } => None,
    })
}

/// The verdict of a rule that does nothing but look and decide.
fn verdict_of(rule: &Rule) -> Option<Verdict> {
    let (last, conditions) = rule.statements.split_last()?;
    let plain = conditions.iter().all(|statement| matches!(statement, Statement::Match(_)));
    match last {
        Statement::Verdict(verdict @ (Verdict::Accept | Verdict::Drop | Verdict::Reject)) => {
            plain.then_some(*verdict)
        }
        _ => None,
    }
}

/// How many of the first rules are plain and decide alike.
fn plain_run(rules: &[Rule]) -> usize {
    let Some(first) = rules.first().and_then(verdict_of) else { return 0 };
    rules.iter().take_while(|rule| verdict_of(rule) == Some(first)).count()
}

/// The orders in which the chains of a step may run. Where none of them changes a packet, only what
/// all accept gets through, whatever the order; but of a packet that one chain drops and another
/// rejects the first of them decides which it is.
fn orders(ruleset: &Ruleset, step: &Step) -> Result<Vec<Vec<At>>, TooComplex> {
    let likely = step.chains.clone();
    let changes = |statement: &Statement| match statement {
        Statement::Set { .. } | Statement::Nat(_) | Statement::Notrack => true,
        Statement::Unknown { effects, .. } => effects.changes,
        Statement::Match(_)
        | Statement::Verdict(_)
        | Statement::VerdictMap { .. }
        | Statement::Offload => false,
    };
    let any = |asked: &dyn Fn(&Table, &Statement) -> bool| {
        likely.iter().map(|at| ruleset.table(*at)).any(|table| {
            let rules = table.chains.iter().flat_map(|chain| &chain.rules);
            rules.flat_map(|rule| &rule.statements).any(|statement| asked(table, statement))
        })
    };
    if likely.len() < 2 {
        return Ok(vec![likely]);
    }
    if !any(&|_, statement| changes(statement)) {
        let rejects = any(&may_reject);
        let firsts = if rejects { likely.len() } else { 1 };
        let from = |first: usize| likely.iter().cycle().skip(first).take(likely.len()).copied();
        return Ok((0..firsts).map(|first| from(first).collect()).collect());
    }
    let mut orders: Vec<Vec<At>> = vec![Vec::new()];
    for at in likely {
        let mut longer = Vec::new();
        for order in &orders {
            // The likely order comes first.
            for place in (0..=order.len()).rev() {
                let mut one = order.clone();
                one.insert(place, at);
                longer.push(one);
            }
        }
        if longer.len() > MAX_ORDERS {
            return Err(TooComplex::Many { most: MAX_ORDERS, of: "orders of chains" });
        }
        orders = longer;
    }
    Ok(orders)
}
