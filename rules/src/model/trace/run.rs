//! One way of one packet, decided wherever something is not known.

use super::choice::Choices;
use super::connection::{After, Connection, Ends};
use super::live::{Known, Live, Truth, output_device};
use super::sets::Found;
use super::walk::OrderDecides;
use super::{By, Direction, Event, Happened, MAX_EVENTS, Tracer, Verdict};
use crate::model::field::{Field, ICMP, ICMPV6, Key, WITH_PORTS, address, device, state, status};
use crate::model::interval::{Interval, Intervals, ones};
use crate::model::network::{Asked, Network, Way};
use crate::model::packet::{Packet, State};
use crate::model::ruleset::{
    AddressPart, At, Data, Hook, Match, Nat, NatAddress, NatKind, NatPorts, Rule, Statement, Step,
    Value, Verdict as Ruled, nat_priority,
};
use crate::model::tracking::Tracking;

/// The priority of connection tracking (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i32 = -200;

/// How a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// It came to its end, or to `return`.
    Fell,
    /// Something decided.
    Ended(Verdict, By),
}

/// How a rule ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ruling {
    /// The next rule is asked.
    Next,
    /// The chain is at its end.
    Return,
    /// Something decided.
    Ended(Verdict, By),
}

/// How a way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub verdict: Verdict,
    pub by: By,
    pub after: After,
}

/// One way of one packet.
pub(super) struct Run<'r, 'a> {
    tracer: &'r Tracer<'a>,
    live: Live<'a>,
    packet: &'r Packet,
    direction: Direction,
    choices: &'r mut Choices,
    events: Option<&'r mut Vec<Event>>,
    hook: Hook,
    /// What accepted it so far: at the hook asked for, elsewhere, a policy.
    accepted: [Option<By>; 3],
    /// The chains of the running hook have translated it.
    translated: bool,
    /// It was sent to this host itself.
    redirected: bool,
    /// Its mark, or an address, was changed where that routes it again.
    reroute: bool,
    /// What was decided of whether connections are tracked, where that is not known.
    perhaps_tracks: Option<bool>,
    /// The connection that it answers to, where that is known.
    connection: Option<&'r Connection>,
    /// What is known of it so far, besides what is in `live`.
    after: After,
}

impl<'r, 'a> Run<'r, 'a> {
    pub(super) fn new(
        tracer: &'r Tracer<'a>,
        packet: &'r Packet,
        v6: bool,
        direction: Direction,
        choices: &'r mut Choices,
        events: Option<&'r mut Vec<Event>>,
    ) -> Self {
        Self {
            tracer,
            live: Live::new(packet, v6, direction, tracer.network),
            packet,
            direction,
            choices,
            events,
            hook: direction.hook(),
            accepted: [None; 3],
            translated: false,
            redirected: false,
            reroute: false,
            perhaps_tracks: None,
            connection: None,
            after: After::default(),
        }
    }

    /// The same for an answer to a connection.
    pub(super) const fn with(mut self, connection: Option<&'r Connection>) -> Self {
        self.connection = connection;
        self
    }

    /// What becomes of the packet on this way.
    pub(super) fn through(mut self) -> Ended {
        let states = self.tracer.states(self.packet, self.live.v6);
        let state = states[self.choices.choose(states.len(), || "ct state".to_owned())];
        let ended = match self.direction {
            Direction::Output => self.out(state),
            Direction::Input | Direction::Forward => self.inwards(state),
        };
        let Some((verdict, by)) = ended else {
            let by = self.accepted.into_iter().flatten().next().unwrap_or(By::Nothing);
            return Ended { verdict: Verdict::Accept, by, after: self.at_the_end() };
        };
        // A flow table takes packets of known connections past the hooks.
        let skips = self.tracer.offloads
            && self.direction == Direction::Forward
            && state == State::Established
            && self.choices.choose(2, || "flow table".to_owned()) == 1;
        let (verdict, by) = if skips { (Verdict::Accept, By::Nothing) } else { (verdict, by) };
        Ended { verdict, by, after: self.at_the_end() }
    }

    /// What is known of the packet now. Nobody asks where nobody wants an explanation.
    fn at_the_end(&self) -> After {
        if self.events.is_none() {
            return After::default();
        }
        let ends = self.ends();
        let began = self.after.began.map(|began| Connection {
            translated: ends,
            mark: self.narrow(Field::ConnectionMark),
            ..began
        });
        let leaves = !self.after.here && self.hook != Hook::Input;
        let oif = self.live.is(Field::OutputDevice).filter(|_| leaves);
        After { ends, oif, began, ..self.after }
    }

    fn ends(&self) -> Ends {
        let (source, destination) = self.live.addresses();
        let port = |field| self.narrow(field).and_then(|port| u16::try_from(port).ok());
        Ends {
            src: self.live.ip(source),
            sport: port(Field::SourcePort),
            dst: self.live.ip(destination),
            dport: port(Field::DestinationPort),
        }
    }

    fn narrow(&self, field: Field) -> Option<u32> {
        self.live.is(field).and_then(|value| u32::try_from(value).ok())
    }

    /// Connection tracking sees the packet.
    fn track(&mut self, state: State) {
        self.live.track(state);
        if !self.live.is_tracked() {
            return;
        }
        match self.connection {
            Some(connection) if state == State::Established => connection.answered(&mut self.live),
            Some(_) | None if state == State::New && self.events.is_some() => {
                let ends = self.ends();
                self.after.began =
                    Some(Connection { original: ends, translated: ends, mark: Some(0) });
            }
            Some(_) | None => {}
        }
    }

    /// From this host.
    fn out(&mut self, state: State) -> Option<(Verdict, By)> {
        let (_, destination) = self.live.addresses();
        self.live.device(false, output_device(self.output().or_else(|| self.routed())));
        let before = self.live.at(destination).clone();
        if let Some(ended) = self.pass(Hook::Output, Some(state)) {
            return Some(ended);
        }
        self.after.mark = self.narrow(Field::Mark);
        if self.reroute || *self.live.at(destination) != before {
            let known = self.routed();
            let marked = self.reroute && *self.live.at(destination) == before;
            let rules = self.tracer.network.rules.as_ref();
            let by_mark = rules.is_none_or(|rules| rules.iter().any(|rule| rule.mark.is_some()));
            if !marked || by_mark {
                self.live.device(false, output_device(known));
            }
        }
        self.pass(Hook::Postrouting, None).or_else(|| self.leave())
    }

    /// Right before the driver: it is in a frame of its own, and came by no interface
    /// (`nf_hook_egress`). What the kernel says of that interface's type and group is not relied on.
    fn leave(&mut self) -> Option<(Verdict, By)> {
        let unknown =
            [Field::EtherSource, Field::EtherDestination, Field::InputType, Field::InputGroup];
        for field in unknown {
            self.live.put(field, Known::Any);
        }
        self.live.put(Field::InputDevice, Known::Is(0));
        self.pass(Hook::Egress, None)
    }

    /// To this host, or through it.
    fn inwards(&mut self, state: State) -> Option<(Verdict, By)> {
        let (_, destination) = self.live.addresses();
        if let Some(ended) = self.pass(Hook::Ingress, None) {
            return Some(ended);
        }
        let before = self.live.at(destination).clone();
        if let Some(ended) = self.pass(Hook::Prerouting, Some(state)) {
            return Some(ended);
        }
        let forwards = if *self.live.at(destination) == before {
            self.direction == Direction::Forward
        } else {
            let known = self.live.ip(destination);
            let local = known.and_then(|known| self.tracer.network.is_local(known));
            match (self.redirected, local) {
                (true, _) | (false, Some(true)) => false,
                (false, Some(false)) => true,
                (false, None) => self.direction == Direction::Forward,
            }
        };
        self.after.mark = self.narrow(Field::Mark);
        if !forwards {
            self.after.here = true;
            return self.pass(Hook::Input, None);
        }
        self.live.device(false, output_device(self.output().or_else(|| self.routed())));
        // What is forwarded was sent to this host and no other (`ip_forward`).
        self.live.put(Field::PacketType, Known::Is(0));
        self.pass(Hook::Forward, None)
            .or_else(|| self.pass(Hook::Postrouting, None))
            .or_else(|| self.leave())
    }

    fn output(&self) -> Option<u128> {
        self.packet.oif.map(|oif| oif.0)
    }

    /// The interface by which the packet leaves as it is now.
    fn routed(&self) -> Option<u128> {
        let (source, destination) = self.live.addresses();
        let dst = self.live.ip(destination)?;
        let iif = self.live.is(Field::InputDevice);
        let mark = self.live.is(Field::Mark).and_then(|mark| u32::try_from(mark).ok());
        let asked = Asked { src: self.live.ip(source), dst, iif, mark };
        match self.tracer.network.way(asked) {
            Way::Known { kind: super::super::field::kind::LOCAL, .. } => device("lo"),
            Way::Known { hops, .. } => match hops.as_slice() {
                [one] => one.device,
                _ => None,
            },
            Way::Unknown => None,
        }
    }

    /// The base chains of a hook. `state` is what connection tracking will say, where this is the
    /// hook at which it sees the packet.
    fn pass(&mut self, hook: Hook, state: Option<State>) -> Option<(Verdict, By)> {
        self.hook = hook;
        self.translated = false;
        // Where nothing asks for connections, there is nothing to track.
        let mut untracked = state.filter(|_| self.tracer.may_track(self.live.v6));
        let mut to_restore = !matches!(hook, Hook::Ingress | Hook::Egress);
        let tracer = self.tracer;
        let stages = tracer.stages(hook, self.live.v6);
        for stage in stages {
            let priority = stage.step.priority;
            if priority >= CONNTRACK
                && let Some(state) = untracked.take()
            {
                self.track(state);
            }
            if to_restore && (priority, true) >= (nat_priority(hook), stage.step.nat) {
                to_restore = false;
                self.restore(hook);
            }
            if stage.step.nat && (self.translated || !self.is_first() || !self.tracks()) {
                continue;
            }
            if let Some(ended) = self.stage(&stage.step, stage.order) {
                return Some(ended);
            }
        }
        if let Some(state) = untracked {
            self.track(state);
        }
        if to_restore {
            self.restore(hook);
        }
        None
    }

    /// Whether the kernel tracks connections on this way.
    fn tracks(&mut self) -> bool {
        match self.tracer.tracking(self.live.v6) {
            Tracking::Always => true,
            Tracking::Never => false,
            Tracking::Perhaps => *self.perhaps_tracks.get_or_insert_with(|| {
                self.choices.choose(2, || "whether connections are tracked".to_owned()) == 1
            }),
        }
    }

    /// Base chains of one priority.
    fn stage(&mut self, step: &Step, order: OrderDecides) -> Option<(Verdict, By)> {
        if order == OrderDecides::Nothing {
            return step.chains.iter().find_map(|at| self.base(*at));
        }
        let mut left = step.chains.clone();
        while !(left.is_empty() || step.nat && self.translated) {
            let chosen = order == OrderDecides::Everything || left.len() == step.chains.len();
            let among = if chosen { left.len() } else { 1 };
            let next = self
                .choices
                .choose(among, || format!("which chain of priority {} runs first", step.priority));
            if let Some(ended) = self.base(left.remove(next)) {
                return Some(ended);
            }
        }
        None
    }

    /// Whether translation asks the rules: only the first packet of a connection. An error about a
    /// connection is none.
    fn is_first(&self) -> bool {
        match self.live.is(Field::State) {
            Some(state::NEW) => true,
            Some(state::RELATED) => {
                let icmp = if self.live.v6 { ICMPV6 } else { ICMP };
                self.live.is(Field::Protocol) != Some(icmp.into())
            }
            _ => false,
        }
    }

    /// Packets of a connection that is known already are translated as its first one was, which is
    /// not known here.
    fn restore(&mut self, hook: Hook) {
        if !self.tracer.translates || !self.live.is_tracked() || self.is_first() {
            return;
        }
        if let Some(connection) = self.connection {
            return connection.undo(&mut self.live, hook);
        }
        if self.choices.choose(2, || "how the connection is translated".to_owned()) == 0 {
            return;
        }
        let (source, destination) = self.live.addresses();
        let (ip, port) = match hook {
            Hook::Input | Hook::Postrouting => (source, Field::SourcePort),
            _ => (destination, Field::DestinationPort),
        };
        self.live.put(ip, Known::Any);
        self.live.put(port, Known::Any);
    }

    fn base(&mut self, at: At) -> Option<(Verdict, By)> {
        let tracer = self.tracer;
        let base = tracer.ruleset.chain(at).base.as_ref()?;
        if matches!(base.hook, Hook::Ingress | Hook::Egress)
            && !self.is_at(&base.devices, base.hook)
        {
            return None;
        }
        let before = self.live.at(Field::Mark).clone();
        let flow = self.chain(at);
        if base.kind == crate::model::ruleset::ChainKind::Route {
            self.reroute |= *self.live.at(Field::Mark) != before;
        }
        match flow {
            Flow::Ended(Verdict::Accept, by) => {
                let place = usize::from(base.hook != self.direction.hook());
                self.accepted[place] = Some(by);
                None
            }
            Flow::Ended(verdict, by) => Some((verdict, by)),
            Flow::Fell => {
                self.tell(at, || Happened::Policy { accepts: base.accepts });
                if base.accepts {
                    self.accepted[2] = Some(By::Policy(at));
                    None
                } else {
                    Some((Verdict::Drop, By::Policy(at)))
                }
            }
        }
    }

    /// Whether the packet passes one of these interfaces.
    fn is_at(&mut self, devices: &[String], hook: Hook) -> bool {
        if devices.is_empty() {
            return self.choices.choose(2, || "which interface the chain is for".to_owned()) == 1;
        }
        let field = if hook == Hook::Ingress { Field::InputDevice } else { Field::OutputDevice };
        let values: Intervals =
            devices.iter().filter_map(|name| device(name)).map(Interval::one).collect();
        self.within(Key::whole(field), &values, false)
    }

    fn tell(&mut self, at: At, what: impl FnOnce() -> Happened) {
        let hook = self.hook;
        if let Some(events) = self.events.as_mut().filter(|events| events.len() < MAX_EVENTS) {
            events.push(Event { hook, at, what: what() });
        }
    }

    /// A chain, with all that it calls. Calls have a bounded depth.
    fn chain(&mut self, at: At) -> Flow {
        let tracer = self.tracer;
        let chain = tracer.ruleset.chain(at);
        let mut flow = Flow::Fell;
        tracer.chain_index(at).rules(&self.live).visit(|place| {
            self.choices.ask();
            match self.rule(at, place, &chain.rules[place as usize]) {
                Ruling::Next => !self.choices.is_exhausted(),
                Ruling::Return => false,
                Ruling::Ended(verdict, by) => {
                    flow = Flow::Ended(verdict, by);
                    false
                }
            }
        });
        flow
    }

    fn rule(&mut self, at: At, place: u32, rule: &'a Rule) -> Ruling {
        let by = By::Rule(at, place);
        for statement in &rule.statements {
            match statement {
                Statement::Match(one) => {
                    if !self.is_true(at, one) {
                        return Ruling::Next;
                    }
                }
                Statement::Verdict(verdict) => {
                    return self.verdict(at, place, *verdict, rule);
                }
                Statement::VerdictMap { keys, map } => {
                    let set = self.tracer.ruleset.table(at).set(*map);
                    let found = self.tracer.set_index(at.table, *map).find(set, keys, &self.live);
                    let found = found.map(|found| self.one_of(found, rule));
                    return match found {
                        None | Some(Had::Nothing) => Ruling::Next,
                        Some(Had::Data(Data::Verdict(verdict))) => {
                            self.verdict(at, place, *verdict, rule)
                        }
                        Some(Had::Data(_) | Had::Unknown) => self.anything(at, place, rule),
                    };
                }
                Statement::Set { field, value } => {
                    if !self.set(at, *field, value, rule) {
                        return Ruling::Next;
                    }
                }
                Statement::Nat(nat) => {
                    let Some(applied) = self.nat(at, nat, rule) else { return Ruling::Next };
                    self.tell(at, || Happened::Rule(place));
                    if applied {
                        self.translated = true;
                        return Ruling::Ended(Verdict::Accept, by);
                    }
                }
                Statement::Notrack => {
                    if !self.live.is_tracked() {
                        self.live.put(Field::State, Known::Is(state::UNTRACKED));
                    }
                }
                Statement::Offload => {}
                Statement::Unknown { text, effects } => {
                    let options = [
                        (true, Ruling::Next),
                        (effects.changes, Ruling::Next),
                        (effects.accepts, Ruling::Ended(Verdict::Accept, by)),
                        (effects.drops, Ruling::Ended(Verdict::Drop, by)),
                    ];
                    let open: Vec<usize> = (0..4).filter(|nth| options[*nth].0).collect();
                    let taken = open[self.choices.choose(open.len(), || text.clone())];
                    match taken {
                        0 => {}
                        1 => self.change_everything(),
                        other => {
                            self.tell(at, || Happened::Rule(place));
                            return options[other].1;
                        }
                    }
                }
            }
        }
        Ruling::Next
    }

    /// A map has something that is not understood: any verdict.
    fn anything(&mut self, at: At, place: u32, rule: &Rule) -> Ruling {
        let by = By::Rule(at, place);
        self.tell(at, || Happened::Rule(place));
        match self.choices.choose(4, || rule.origin.text.clone()) {
            0 => Ruling::Next,
            1 => Ruling::Return,
            2 => Ruling::Ended(Verdict::Accept, by),
            _ => Ruling::Ended(Verdict::Drop, by),
        }
    }

    fn verdict(&mut self, at: At, place: u32, verdict: Ruled, rule: &Rule) -> Ruling {
        let by = By::Rule(at, place);
        if verdict != Ruled::Continue {
            self.tell(at, || Happened::Rule(place));
        }
        match verdict {
            Ruled::Accept => Ruling::Ended(Verdict::Accept, by),
            Ruled::Drop => Ruling::Ended(Verdict::Drop, by),
            Ruled::Reject => Ruling::Ended(Verdict::Reject, by),
            Ruled::Return => Ruling::Return,
            Ruled::Continue => Ruling::Next,
            Ruled::Queue => {
                let passes = self.choices.choose(2, || rule.origin.text.clone()) == 1;
                Ruling::Ended(if passes { Verdict::Accept } else { Verdict::Drop }, by)
            }
            Ruled::Jump(to) => match self.chain(At { table: at.table, chain: to }) {
                Flow::Fell => Ruling::Next,
                Flow::Ended(verdict, by) => Ruling::Ended(verdict, by),
            },
            Ruled::Goto(to) => match self.chain(At { table: at.table, chain: to }) {
                Flow::Fell => Ruling::Return,
                Flow::Ended(verdict, by) => Ruling::Ended(verdict, by),
            },
        }
    }

    fn is_true(&mut self, at: At, one: &Match) -> bool {
        match one {
            Match::In { key, values, not } => self.within(*key, values, *not),
            Match::Lookup { keys, set, not } => {
                let index = self.tracer.set_index(at.table, *set);
                if let (Some(all), [key]) = (&index.keys, keys.as_slice()) {
                    return self.within(*key, all, *not);
                }
                let set = self.tracer.ruleset.table(at).set(*set);
                match index.find(set, keys, &self.live) {
                    None => false,
                    Some(Found::Nothing) => *not,
                    Some(Found::Data(_)) => !*not,
                    Some(Found::OneOf(all)) if all.iter().all(Option::is_some) => !*not,
                    Some(Found::OneOf(_) | Found::Unknown) => {
                        self.choices.choose(2, || format!("@{}", set.name)) == 1
                    }
                }
            }
            Match::Any(several) => several.iter().any(|one| self.is_true(at, one)),
            Match::Unknown { text } => self.choices.choose(2, || text.clone()) == 1,
        }
    }

    /// Whether a key has one of these values; decided, where that is not known.
    fn within(&mut self, key: Key, values: &Intervals, not: bool) -> bool {
        match self.live.has(key, values).map(|truth| truth.turned(not)) {
            None | Some(Truth::No) => false,
            Some(Truth::Yes) => true,
            Some(Truth::Maybe) => {
                let is = self.choices.choose(2, || key.field.name().to_owned()) == 1;
                self.live.narrow(key, values, is != not);
                is
            }
        }
    }

    fn one_of<'s>(&mut self, found: Found<'s>, rule: &Rule) -> Had<'s> {
        match found {
            Found::Nothing => Had::Nothing,
            Found::Data(data) => Had::Data(data),
            Found::OneOf(all) => {
                let taken = self.choices.choose(all.len(), || rule.origin.text.clone());
                all[taken].map_or(Had::Nothing, Had::Data)
            }
            Found::Unknown => {
                if self.choices.choose(2, || rule.origin.text.clone()) == 0 {
                    Had::Nothing
                } else {
                    Had::Unknown
                }
            }
        }
    }

    /// Writes a field; `false` where the rule is not true because there is nothing to read.
    fn set(&mut self, at: At, field: Field, value: &Value, rule: &Rule) -> bool {
        let known = match value {
            Value::Constant(value) => Known::Is(*value),
            Value::Bits { of, and, xor } => match self.live.view(*of).as_ref() {
                Known::Absent => return false,
                Known::Is(value) => Known::Is((value & and) ^ xor),
                Known::Among(_) | Known::Any => Known::Any,
            },
            Value::Map { keys, map } => {
                let set = self.tracer.ruleset.table(at).set(*map);
                let found = self.tracer.set_index(at.table, *map).find(set, keys, &self.live);
                match found.map(|found| self.one_of(found, rule)) {
                    None | Some(Had::Nothing) => return false,
                    Some(Had::Data(Data::Value(parts))) if parts.len() == 1 => {
                        Known::among(parts[0].into())
                    }
                    Some(Had::Data(_) | Had::Unknown) => Known::Any,
                }
            }
            Value::Unknown => Known::Any,
        };
        // A packet without a connection has no mark of one.
        if field == Field::ConnectionMark && !self.live.is_tracked() {
            return true;
        }
        self.changed(at, field, known);
        true
    }

    fn changed(&mut self, at: At, field: Field, known: Known) {
        let to = if let Known::Is(value) = known { Some(value) } else { None };
        self.tell(at, || Happened::Changed { field, to });
        self.live.put(field, known);
    }

    fn change_everything(&mut self) {
        let (source, destination) = self.live.addresses();
        let mut fields =
            vec![source, destination, Field::SourcePort, Field::DestinationPort, Field::Mark];
        if self.live.is_tracked() {
            fields.push(Field::ConnectionMark);
        } else if self.live.is(Field::State) == Some(state::INVALID)
            && self.choices.choose(2, || "notrack".to_owned()) == 1
        {
            self.live.put(Field::State, Known::Is(state::UNTRACKED));
        }
        for field in fields {
            self.live.put(field, Known::Any);
        }
    }

    /// Translates; `None` where the rule is not true, `false` where it is for the other version.
    fn nat(&mut self, at: At, nat: &Nat, rule: &Rule) -> Option<bool> {
        let (source, destination) = self.live.addresses();
        let (ip, port) = if nat.kind.is_source() {
            (source, Field::SourcePort)
        } else {
            (destination, Field::DestinationPort)
        };
        let v6 = self.live.v6;
        let mut new_port = match nat.ports {
            NatPorts::Kept => None,
            NatPorts::Range(range) => Some(Known::among(range.into())),
            NatPorts::Unknown => Some(Known::Any),
        };
        let to = match &nat.address {
            NatAddress::Kept => match nat.kind {
                NatKind::Source | NatKind::Destination => None,
                NatKind::Masquerade => Some(self.own_address(Field::OutputDevice)),
                NatKind::Redirect => {
                    self.redirected = true;
                    Some(match self.hook {
                        Hook::Output => Known::Is(loopback(v6)),
                        _ => self.own_address(Field::InputDevice),
                    })
                }
            },
            NatAddress::V4(range) | NatAddress::V6(range) => {
                if matches!(nat.address, NatAddress::V6(_)) != v6 {
                    return Some(false);
                }
                Some(Known::among((*range).into()))
            }
            NatAddress::Prefix4(range) | NatAddress::Prefix6(range) => {
                if matches!(nat.address, NatAddress::Prefix6(_)) != v6 {
                    return Some(false);
                }
                let free = range.first ^ range.last;
                Some(match self.live.at(ip) {
                    Known::Is(value) => Known::Is(range.first | value & free),
                    Known::Among(_) | Known::Any | Known::Absent => Known::among((*range).into()),
                })
            }
            NatAddress::Map { keys, map, address, port: of_port } => {
                let set = self.tracer.ruleset.table(at).set(*map);
                let found = self.tracer.set_index(at.table, *map).find(set, keys, &self.live);
                match found.map(|found| self.one_of(found, rule)) {
                    None | Some(Had::Nothing) => return None,
                    Some(Had::Data(Data::Value(parts))) => {
                        if let Some(range) = of_port.and_then(|part| parts.get(part)) {
                            new_port = Some(Known::among((*range).into()));
                        }
                        match *address {
                            Some(AddressPart { part, v6: of }) if of == v6 => {
                                let range = parts.get(part).copied();
                                Some(range.map_or_else(|| Known::Any, |r| Known::among(r.into())))
                            }
                            Some(_) => return Some(false),
                            None => None,
                        }
                    }
                    Some(Had::Data(_) | Had::Unknown) => Some(Known::Any),
                }
            }
            NatAddress::Unknown => Some(Known::Any),
        };
        let before = [self.live.at(ip).clone(), self.live.at(port).clone()];
        if let Some(known) = to {
            self.changed(at, ip, known);
        }
        let protocol = self.live.is(Field::Protocol);
        let has_ports =
            protocol.is_none_or(|number| WITH_PORTS.iter().any(|one| u128::from(*one) == number));
        let new_port = new_port.filter(|_| has_ports);
        let port_given = new_port.is_some();
        if let Some(known) = new_port {
            self.changed(at, port, known);
        }
        let after = [self.live.at(ip), self.live.at(port)];
        let stays = before.iter().zip(after).map(|(before, after)| match (before, after) {
            (Known::Is(before), Known::Is(after)) => Truth::from(before == after),
            _ => Truth::Maybe,
        });
        let mut stays: Vec<Truth> = stays.collect();
        if !port_given {
            stays.truncate(1);
        }
        self.note_status(nat.kind, &stays);
        Some(true)
    }

    /// The connection's status tells that it is translated, but only where that changes an address
    /// or a port (`nf_nat_setup_info`).
    fn note_status(&mut self, kind: NatKind, stays: &[Truth]) {
        let bit = if kind.is_source() { status::SNAT } else { status::DNAT };
        if stays.iter().all(|one| *one == Truth::Yes) {
            return;
        }
        let changes = stays.contains(&Truth::No);
        let before: Intervals = match self.live.at(Field::Status) {
            Known::Is(value) => Intervals::one(*value),
            Known::Among(all) if all.count() <= 16 => (**all).clone(),
            Known::Among(_) | Known::Any | Known::Absent => return,
        };
        let values = || before.as_slice().iter().flat_map(|one| one.first..=one.last);
        let with: Intervals = values().map(|value| Interval::one(value | bit)).collect();
        self.live.put(Field::Status, Known::among(if changes { with } else { with.or(&before) }));
    }

    /// The first address of an interface that others can reach.
    fn own_address(&self, field: Field) -> Known {
        let known = || {
            let device = self.live.is(field)?;
            first_address(self.tracer.network, device, self.live.v6)
        };
        known().map_or_else(|| Known::Any, Known::Is)
    }
}

/// What a map had for the keys, decided.
enum Had<'s> {
    Nothing,
    Data(&'s Data),
    Unknown,
}

fn first_address(network: &Network, device: u128, v6: bool) -> Option<u128> {
    let interface = network.interfaces.as_ref()?.iter().find(|one| one.device == device)?;
    let mut fit = interface
        .addresses
        .iter()
        .filter(|one| one.address.is_ipv6() == v6 && !one.link_only && !one.secondary);
    let first = fit.next()?;
    // Which of several is taken depends on the router.
    fit.next().is_none().then(|| address(first.address))
}

const fn loopback(v6: bool) -> u128 {
    if v6 { 1 } else { 0x7f00_0001 & ones(32) }
}
