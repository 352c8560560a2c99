//! By which of its ports a switch reaches another.
//!
//! Frames of one VLAN follow a tree (IEEE 802.1D), and a table says on which side of its switch an
//! address is. That alone decides much. Let a switch A reach B by its port p:
//!
//! - An address that A has learnt behind another port than p lies on A's side of B. So B has learnt it,
//!   if at all, behind the port by which it reaches A.
//! - If A reaches B and C by different ports, A lies between them. So B reaches A and C by one port.
//!
//! Both hold however many entries are missing, and so does what follows from them again. They do not
//! hold of entries that are no longer true, such as those of a host that moved some seconds ago: what
//! too few entries say, or not all of them, is not certain ([`Direction::certain`]).
//!
//! Switches whose own addresses nobody learns, for they are administered on a network of their own, are
//! held against each other by what both have learnt: of the ports p and q by which they reach each other
//! each such address is behind p or behind q (after Lowekamp et al., Topology Discovery for Large
//! Ethernet Networks, 2001).

use std::collections::{BTreeMap, BTreeSet};

use super::net::{Conflicts, DeviceNo, Net};
use super::told::{Place, Told};
use super::{Conflict, PortNumber};

/// The most addresses that two tables are compared by.
const MAX_COMPARED: usize = 4096;
/// So many addresses must agree, and none differ, for a port that is inferred from them to be certain.
const CERTAIN_WITNESSES: usize = 2;
/// One in so many may differ where a port is inferred at all: hosts move, and tables age.
const ASTRAY: usize = 10;
/// By so many addresses must the ports of two switches that know nothing of each other be better than
/// every other pair.
const CLEARLY: usize = 3;
/// The most rounds in which what was found is taken further.
const MAX_ROUNDS: usize = 32;

/// Why a direction is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// A neighbour or a person told.
    Told,
    /// An address of the other is behind the port.
    Learned,
    /// It follows from other entries.
    Followed,
}

/// The port by which a switch reaches another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Direction {
    pub(super) port: PortNumber,
    /// Whether it follows from entries that are true, whatever other entries are missing.
    pub(super) certain: bool,
    pub(super) ground: Ground,
}

/// Whether a third switch lies between two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Between {
    /// It does not.
    No,
    /// Very likely not: what is known of it has to do with neither of the two, or is not certain.
    Unlikely,
    /// It may.
    Perhaps,
    /// It does.
    Yes,
}

/// For each two switches the port by which one reaches the other.
pub(super) struct Towards<'n, 'a> {
    net: &'n Net<'a>,
    /// By device: its place among the switches.
    place: Vec<Option<usize>>,
    cells: Vec<Option<Direction>>,
    /// Pairs of switches that have learnt an address in common.
    common: BTreeSet<(usize, usize)>,
}

impl<'n, 'a> Towards<'n, 'a> {
    pub(super) fn new(net: &'n Net<'a>, told: &Told, conflicts: &mut Conflicts) -> Self {
        let count = net.bridges.len();
        let mut place = vec![None; net.devices.len()];
        for (at, no) in net.bridges.iter().enumerate() {
            place[*no] = Some(at);
        }
        let mut towards =
            Self { net, place, cells: vec![None; count * count], common: BTreeSet::new() };
        towards.learn(conflicts);
        towards.take_told(told);
        towards.close();
        // What is certain first: it may show what would be guessed otherwise.
        for guess in [false, false, true] {
            towards.compare(guess);
            towards.close();
        }
        towards
    }

    /// The port by which a device reaches another.
    pub(super) fn get(&self, from: DeviceNo, to: DeviceNo) -> Option<Direction> {
        self.cell(self.place(from)?, self.place(to)?)
    }

    /// Whether switch `c` lies between `a` and `b`, of which the ports by which they reach each other are
    /// known as far as they are given.
    pub(super) fn between(&self, a: DeviceNo, b: DeviceNo, c: DeviceNo) -> Between {
        // Whether a switch reaches two others by different ports, and whether that is certain.
        let differ = |from, one, other| {
            let (one, other) = self.get(from, one).zip(self.get(from, other))?;
            Some((one.port != other.port, one.certain && other.certain))
        };
        let answers = [differ(c, a, b), differ(a, b, c), differ(b, a, c)];
        let elsewhere = match answers {
            [Some((true, _)), _, _] => return Between::Yes,
            [on_c, on_a, on_b] => [
                on_c.map(|(_, certain)| certain),
                on_a.filter(|(differ, _)| *differ).map(|(_, certain)| certain),
                on_b.filter(|(differ, _)| *differ).map(|(_, certain)| certain),
            ],
        };
        match elsewhere.into_iter().flatten().max() {
            Some(true) => Between::No,
            Some(false) => Between::Unlikely,
            None if self.is_apart(a, c) && self.is_apart(b, c) => self.foreign(a, b, c),
            None => Between::Perhaps,
        }
    }

    /// Whether a port of `a` may lead to switch `c`: what is learnt behind it is then perhaps behind `c`.
    pub(super) fn may_lead(&self, a: DeviceNo, port: PortNumber, c: DeviceNo) -> Between {
        match self.get(a, c) {
            Some(direction) if direction.port == port => Between::Yes,
            Some(direction) if direction.certain => Between::No,
            Some(_) => Between::Unlikely,
            None if self.is_apart(a, c) => self.foreign(a, a, c),
            None => Between::Perhaps,
        }
    }

    /// What a switch is that has nothing to do with two others. In a zone of its own it is elsewhere;
    /// a switch of their zone that has learnt nothing may be anywhere.
    fn foreign(&self, a: DeviceNo, b: DeviceNo, c: DeviceNo) -> Between {
        let zone = |no: DeviceNo| &self.net.devices[no].zone;
        if self.net.tables[c].is_empty() {
            Between::Perhaps
        } else if zone(c) != zone(a) && zone(c) != zone(b) {
            Between::No
        } else {
            Between::Unlikely
        }
    }

    /// Whether nothing is known that two switches have in common.
    fn is_apart(&self, one: DeviceNo, other: DeviceNo) -> bool {
        let places = self.place(one).zip(self.place(other));
        self.get(one, other).is_none()
            && self.get(other, one).is_none()
            && places.is_none_or(|(x, y)| !self.common.contains(&(x.min(y), x.max(y))))
    }

    fn place(&self, no: DeviceNo) -> Option<usize> {
        self.place.get(no).copied().flatten()
    }

    fn cell(&self, from: usize, to: usize) -> Option<Direction> {
        self.cells[from * self.net.bridges.len() + to]
    }

    /// Sets what is not known, or not certain, yet; whether that was so.
    fn set(&mut self, from: usize, to: usize, direction: Direction) -> bool {
        let cell = &mut self.cells[from * self.net.bridges.len() + to];
        let is_better = cell.is_none_or(|known| direction.certain && !known.certain);
        if is_better {
            *cell = Some(direction);
        }
        is_better
    }

    /// A switch that has learnt another's own address reaches it by that port.
    fn learn(&mut self, conflicts: &mut Conflicts) {
        let net = self.net;
        for (from, a) in net.bridges.iter().enumerate() {
            for (to, b) in net.bridges.iter().enumerate().filter(|(to, _)| *to != from) {
                let own = net.own[*b].iter();
                let ports: BTreeSet<PortNumber> =
                    own.flat_map(|mac| net.tables[*a].of(*mac)).map(|entry| entry.port).collect();
                let mut all = ports.iter();
                let first = all.next().copied();
                if ports.len() > 1 {
                    conflicts.add(Conflict::BehindTwoPorts {
                        at: net.devices[*a].name.clone(),
                        of: net.devices[*b].name.clone(),
                        ports: ports.into_iter().collect(),
                    });
                } else if let Some(port) = first {
                    self.set(from, to, Direction { port, certain: true, ground: Ground::Learned });
                }
            }
        }
    }

    /// A neighbour that both ends tell of is reached by that port, if no other way leads there: of a ring
    /// one link is blocked, and which one the neighbours do not tell.
    fn take_told(&mut self, told: &Told) {
        let certain: Vec<[Place; 2]> =
            told.links.iter().filter(|link| link.certain).map(|link| link.ends).collect();
        for (nth, ends) in certain.iter().enumerate() {
            let [(one, Some(by)), (other, Some(back))] = *ends else { continue };
            let places = self.place(one).zip(self.place(other));
            let Some((one, other)) = places else { continue };
            if another_way(&certain, nth) {
                continue;
            }
            let told = |port| Direction { port, certain: true, ground: Ground::Told };
            // What was learnt shows how frames go.
            if self.cell(one, other).is_none_or(|learned| learned.port == by)
                && self.cell(other, one).is_none_or(|learned| learned.port == back)
            {
                self.set(one, other, told(by));
                self.set(other, one, told(back));
            }
        }
    }

    /// Holds the tables of each two switches against each other where a direction is not known. Two that
    /// know nothing of each other are guessed last.
    fn compare(&mut self, guess: bool) {
        let net = self.net;
        for x in 0..net.bridges.len() {
            for y in x + 1..net.bridges.len() {
                let (here, there) = (self.cell(x, y), self.cell(y, x));
                if here.is_some() && there.is_some() {
                    continue;
                }
                let meeting = Meeting::of(net, net.bridges[x], net.bridges[y]);
                if meeting.count == 0 {
                    continue;
                }
                self.common.insert((x, y));
                match (here, there) {
                    (Some(known), None) => {
                        if let Some(found) = meeting.beyond(known, |(p, q)| (p, q)) {
                            self.set(y, x, found);
                        }
                    }
                    (None, Some(known)) => {
                        if let Some(found) = meeting.beyond(known, |(p, q)| (q, p)) {
                            self.set(x, y, found);
                        }
                    }
                    (None, None) => {
                        if let Some((p, q)) = guess.then(|| meeting.clearest()).flatten() {
                            let found =
                                |port| Direction { port, certain: false, ground: Ground::Followed };
                            self.set(x, y, found(p));
                            self.set(y, x, found(q));
                        }
                    }
                    (Some(_), Some(_)) => {}
                }
            }
        }
    }

    /// Takes what is known further: a switch that reaches two others by different ports lies between
    /// them.
    fn close(&mut self) {
        let count = self.net.bridges.len();
        for _ in 0..MAX_ROUNDS {
            let mut found = false;
            for a in 0..count {
                // The others by the port by which `a` reaches them.
                let others: Vec<(usize, Direction)> =
                    (0..count).filter_map(|to| Some((to, self.cell(a, to)?))).collect();
                for (b, to_b) in &others {
                    for (c, to_c) in others.iter().filter(|(_, to_c)| to_c.port != to_b.port) {
                        let certain = to_b.certain && to_c.certain;
                        found |= self.one_port(*b, a, *c, certain);
                    }
                }
            }
            if !found {
                return;
            }
        }
    }

    /// `from` reaches `one` and `other` by the same port; whether that told something new.
    fn one_port(&mut self, from: usize, one: usize, other: usize, certain: bool) -> bool {
        let follows = |known: Direction| Direction {
            port: known.port,
            certain: known.certain && certain,
            ground: Ground::Followed,
        };
        match (self.cell(from, one), self.cell(from, other)) {
            (Some(known), None) => self.set(from, other, follows(known)),
            (None, Some(known)) => self.set(from, one, follows(known)),
            (Some(x), Some(y)) if x.port == y.port && x.certain != y.certain => {
                let (known, to) = if x.certain { (x, other) } else { (y, one) };
                self.set(from, to, follows(known))
            }
            (Some(_), Some(_)) | (None, None) => false,
        }
    }
}

/// Whether the ends of a link are joined by other links too.
fn another_way(links: &[[Place; 2]], without: usize) -> bool {
    let [(start, _), (goal, _)] = links[without];
    let mut reached = BTreeSet::from([start]);
    let mut edge = vec![start];
    while let Some(at) = edge.pop() {
        let others = links.iter().enumerate().filter(|(nth, _)| *nth != without);
        for (_, [(one, _), (other, _)]) in others {
            let next = match at {
                at if at == *one => *other,
                at if at == *other => *one,
                _ => continue,
            };
            if next == goal {
                return true;
            }
            if reached.insert(next) {
                edge.push(next);
            }
        }
    }
    false
}

/// The ports behind which two switches have learnt the same addresses, with how many there are of each
/// pair.
struct Meeting {
    pairs: BTreeMap<(PortNumber, PortNumber), usize>,
    count: usize,
}

impl Meeting {
    fn of(net: &Net<'_>, one: DeviceNo, other: DeviceNo) -> Self {
        let mut pairs = BTreeMap::new();
        let mut count = 0;
        net.tables[one].shared_with(&net.tables[other], MAX_COMPARED, |p, q| {
            *pairs.entry((p, q)).or_insert(0) += 1;
            count += 1;
        });
        Self { pairs, count }
    }

    /// The port by which the other switch reaches the one whose direction is `known`: behind it is
    /// everything that the one has learnt elsewhere. `order` puts the one's port first.
    fn beyond(
        &self,
        known: Direction,
        order: impl Fn((PortNumber, PortNumber)) -> (PortNumber, PortNumber),
    ) -> Option<Direction> {
        let mut votes: BTreeMap<PortNumber, usize> = BTreeMap::new();
        for (pair, count) in &self.pairs {
            let (here, there) = order(*pair);
            if here != known.port {
                *votes.entry(there).or_insert(0) += count;
            }
        }
        let all: usize = votes.values().sum();
        let (port, most) = votes.into_iter().max_by_key(|(_, count)| *count)?;
        let astray = all - most;
        let certain = known.certain && astray == 0 && most >= CERTAIN_WITNESSES;
        (astray * ASTRAY <= most).then_some(Direction { port, certain, ground: Ground::Followed })
    }

    /// The pair of ports by which two switches reach each other, where it explains clearly more than
    /// every other pair. A port behind which nothing was learnt that both know explains nothing itself.
    fn clearest(&self) -> Option<(PortNumber, PortNumber)> {
        let mut here: BTreeMap<PortNumber, usize> = BTreeMap::new();
        let mut there: BTreeMap<PortNumber, usize> = BTreeMap::new();
        for ((p, q), count) in &self.pairs {
            *here.entry(*p).or_insert(0) += count;
            *there.entry(*q).or_insert(0) += count;
        }
        let ports = |side: &BTreeMap<PortNumber, usize>| -> Vec<(Option<PortNumber>, usize)> {
            let known = side.iter().map(|(port, count)| (Some(*port), *count));
            known.chain([(None, 0)]).collect()
        };
        let there = ports(&there);
        // How many addresses each pair leaves unexplained, the two best.
        let mut best: Option<(usize, Option<PortNumber>, Option<PortNumber>)> = None;
        let mut next = usize::MAX;
        for (p, of_p) in ports(&here) {
            for (q, of_q) in &there {
                let both = p.zip(*q).and_then(|pair| self.pairs.get(&pair)).copied().unwrap_or(0);
                let unexplained = self.count + both - of_p - of_q;
                match best {
                    Some((least, _, _)) if unexplained >= least => next = next.min(unexplained),
                    Some((least, _, _)) => {
                        next = least;
                        best = Some((unexplained, p, *q));
                    }
                    None => best = Some((unexplained, p, *q)),
                }
            }
        }
        let (least, p, q) = best?;
        let clear = least * ASTRAY <= self.count && next >= least.saturating_mul(ASTRAY) + CLEARLY;
        p.zip(q).filter(|_| clear)
    }
}
