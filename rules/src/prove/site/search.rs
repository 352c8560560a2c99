//! The search for a packet that breaks an invariant.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::super::arena::{Set, TooComplex};
use super::super::space::{End, Space, Values};
use super::super::wish::wishes;
use super::super::words::example;
use super::transfer::{Leaves, Piece, come, openers, sent};
use super::wire::{Layout, Wire, WireId, Wires};
use super::{Answer, Assumption, Doubt, Footprint, Host, Kept, Port, Prover, Site, explain};
use crate::model::field::Field;
use crate::model::interval::Intervals;
use crate::name::HostName;
use crate::policy::{Addresses, Demand, Party, Policy};

/// Steps of one search, at most.
pub(super) const MAX_STEPS: usize = 200_000;
/// What there are too many of then.
pub(super) const STEPS: &str = "steps of packets through the site";
/// Ends that are compared for the one that is shown, at most.
const MAX_ENDS: usize = 256;

/// Where packets are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// On a wire, sent by whoever is on it.
    Wire(WireId),
    /// In the host that sends them.
    Host(HostName),
    /// At an interface by which they come.
    Port(Port),
}

impl Place {
    /// The host that it is in, and the interface by which packets come.
    pub(super) fn within(&self) -> Option<(&HostName, Option<&str>)> {
        match self {
            Self::Wire(_) => None,
            Self::Host(name) => Some((name, None)),
            Self::Port(port) => Some((&port.host, Some(&port.interface))),
        }
    }
}

/// Packets at a place, and how they got there.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) place: Place,
    pub(super) packets: Set,
    /// The step before, and which of its host's pieces led here.
    pub(super) from: Option<(usize, Option<Rc<Piece>>)>,
}

/// How packets end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ends {
    /// On the very wire on which they began.
    OnTheWire,
    /// In a host.
    In(HostName),
    /// At an address that no known host has, on this host's wire.
    AtAddress {
        /// The last known host.
        host: HostName,
        /// Its interface.
        interface: String,
        /// The router that takes them; nothing where the receiver does.
        via: Option<IpAddr>,
    },
}

/// Packets that have come where they must not.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    /// The last step.
    pub(super) step: usize,
    /// What the last host does with them; nothing where they did not leave their wire.
    pub(super) piece: Option<Rc<Piece>>,
    /// The packets as they came to that step.
    pub(super) packets: Set,
    pub(super) ends: Ends,
}

/// Whom an invariant is about.
#[derive(Debug)]
pub(super) struct Question {
    from_zone: Option<Party>,
    /// The packets with a source of those whom it is about.
    from: Set,
    to: Addresses,
    /// The packets to those that must not be reached.
    destinations: Set,
    from_internet: bool,
    to_internet: bool,
    /// The packets that open something.
    opening: Set,
    /// Those of them that may not pass, as they begin on a wire.
    forbidden: Set,
    /// The wires on which they begin, and the addresses there, of [`Layout::Maybe`].
    begun: Vec<(WireId, Addresses)>,
    /// The same of [`Layout::Surely`], where those are others.
    surely_begun: Option<Vec<(WireId, Addresses)>>,
    /// The hosts in which they begin.
    senders: Vec<Sender>,
    /// Which hosts are such that something may end in them, or go on.
    matters: HashMap<HostName, Matters>,
    /// The interfaces on a wire of hosts that are looked at at all, as far as they were asked for.
    hearing: RefCell<Hearing>,
}

/// Interfaces by the wire that they are on.
type Hearing = HashMap<(Layout, WireId), Rc<[Port]>>;

/// A host in which packets begin.
#[derive(Debug)]
struct Sender {
    name: HostName,
    own: Rc<Addresses>,
    /// Whether it is one of those with all that it has.
    is_whole: bool,
}

/// Where packets came to while nothing was reached that must not be.
#[derive(Debug)]
pub(super) struct Trace {
    question: Rc<Question>,
    steps: Vec<Step>,
    seen: HashMap<Place, Set>,
}

/// To whom packets leave a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// To their receivers, which are on the wire.
    Receiver,
    /// To this router.
    Router(IpAddr),
    /// Nobody knows to whom.
    Anybody,
}

/// Who is believed to send what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sources {
    /// Whoever is on a wire sends with any address.
    Any,
    /// Only with those of the wire's networks.
    OfTheWire,
}

/// Which packets count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// Those that may pass.
    Maybe,
    /// Those that surely do.
    Surely,
}

impl Count {
    /// The wires by which they go.
    const fn layout(self) -> Layout {
        match self {
            Self::Maybe => Layout::Maybe,
            Self::Surely => Layout::Surely,
        }
    }
}

/// What is known about the demand of an invariant, and where that may outlast other rules on some host, what
/// was found on the way. `seen` takes what was looked at.
pub(super) fn answer(
    prover: &mut Prover,
    invariant: &str,
    demand: &Demand,
    seen: &mut Footprint,
) -> Result<(Answer, Option<Kept>), TooComplex> {
    if let Demand::Always { from, to, service } = demand {
        let (answer, trace) = super::always::answer(prover, (from, to), service, seen)?;
        return Ok((answer, trace.map(Kept::Always)));
    }
    let question = match prover.questions.get(invariant) {
        Some(known) => Rc::clone(known),
        None => {
            let question = Rc::new(Question::of(prover, demand)?);
            prover.questions.insert(invariant.to_owned(), Rc::clone(&question));
            question
        }
    };
    let usual = || {
        vec![
            Assumption::Kernels,
            Assumption::Wires,
            Assumption::NoUnknownRouters,
            Assumption::Replies,
            Assumption::Neighbours,
        ]
    };
    let mut forged = Search::new(prover, &question, Sources::Any, Count::Maybe, seen);
    forged.run()?;
    if forged.reached.is_empty() {
        let kept = Kept::Never(forged.trace());
        return Ok((Answer::Proved { assumptions: usual() }, Some(kept)));
    }
    let forged = forged.found();
    let mut honest = Search::new(prover, &question, Sources::OfTheWire, Count::Maybe, seen);
    honest.run()?;
    if honest.reached.is_empty() {
        let (_, packets, _) = explain::best(prover, &forged)?;
        let first = packets.first().copied().unwrap_or_else(Values::plain);
        let mut assumptions = usual();
        assumptions.push(Assumption::NoForgedSources(Box::new(example(&first))));
        return Ok((Answer::Proved { assumptions }, None));
    }
    let honest = honest.found();
    let mut sure = Search::new(prover, &question, Sources::OfTheWire, Count::Surely, seen);
    sure.run()?;
    if !sure.reached.is_empty() {
        let sure = sure.found();
        let way = explain::best(prover, &sure)?;
        return Ok((Answer::Broken(Box::new(explain::breach(prover, &sure, &way)?)), None));
    }
    let way = explain::best(prover, &honest)?;
    let (statement, at) = explain::doubt(prover, &honest, &way)?;
    let perhaps = Some(explain::breach(prover, &honest, &way)?);
    let wanted = explain::wanted();
    Ok((Answer::OutOfModel(Box::new(Doubt { statement, at, wanted, perhaps })), None))
}

/// What was found on the way to a proof, where hosts that have other rules now make no difference to it:
/// nothing went on from them before, and nothing goes on from them or ends in them now. `seen` takes what
/// was looked at again.
pub(super) fn again(
    prover: &mut Prover,
    trace: Trace,
    changed: &BTreeSet<HostName>,
    seen: &mut Footprint,
) -> Result<Option<Trace>, TooComplex> {
    let within = |step: &Step| step.place.within().is_some_and(|(host, _)| changed.contains(host));
    let went_on = |(before, _): &(usize, Option<Rc<Piece>>)| within(&trace.steps[*before]);
    if trace.steps.iter().any(|step| step.from.as_ref().is_some_and(went_on)) {
        return Ok(None);
    }
    let there: Vec<usize> =
        (0..trace.steps.len()).filter(|nth| within(&trace.steps[*nth])).collect();
    let Trace { question, steps, seen: had } = trace;
    let mut search = Search::new(prover, &question, Sources::Any, Count::Maybe, seen);
    (search.steps, search.seen) = (steps, had);
    for step in there {
        search.on(step)?;
    }
    let is_same = search.open.is_empty() && search.reached.is_empty();
    Ok(is_same.then(|| search.trace()))
}

/// What a search has found.
pub(super) struct Found {
    pub(super) steps: Vec<Step>,
    pub(super) reached: Vec<Reached>,
    /// The packets with an address of those whom the invariant is about.
    pub(super) from: Set,
    /// The wires that its places are of.
    pub(super) layout: Layout,
}

impl Question {
    fn of(prover: &mut Prover, demand: &Demand) -> Result<Self, TooComplex> {
        let policy = &prover.site.policy;
        let (from, to, through): (_, _, &[String]) = match demand {
            Demand::Never { from, to } | Demand::Always { from, to, .. } => (from, to, &[]),
            Demand::Only { from, to, through } => (from, to, through),
        };
        let zone = |party: &Party| matches!(party, Party::Zone(_)).then(|| party.clone());
        let (from_zone, to_zone) = (zone(from), zone(to));
        let mut permitted = Set::EMPTY;
        let permits = if through.is_empty() { Vec::new() } else { policy.permits() };
        for permit in permits {
            let named = match &permit.origin {
                crate::policy::Origin::Exchange(name) => through.contains(name),
                crate::policy::Origin::Flow(_)
                | crate::policy::Origin::Management(_)
                | crate::policy::Origin::Collector(_) => false,
            };
            if named {
                let these = permitted_by(&mut prover.space, &permit)?;
                permitted = prover.space.or(permitted, these)?;
            }
        }
        let from_internet = *from == Party::Internet;
        let (from, to_internet) = (policy.addresses(from), *to == Party::Internet);
        let to = policy.addresses(to);
        let space = &mut prover.space;
        let opening = openers(space)?;
        let forbidden = space.without(opening, permitted)?;
        let forbidden = space.only(forbidden, &super::transfer::ON_THE_WIRE)?;
        let sources = addresses(space, End::Source, &from)?;
        let destinations = addresses(space, End::Destination, &to)?;
        let begun_on = |wires: &Wires| begun(&prover.site, wires, &from, from_internet);
        let begun = begun_on(prover.laid(Layout::Maybe));
        let surely_begun = prover.parted.as_ref().map(|parted| begun_on(&parted.surely));
        let (mut senders, mut matters) = (Vec::new(), HashMap::new());
        let names: Vec<HostName> = prover.site.hosts.keys().cloned().collect();
        for name in names {
            let own = prover.addresses_of(&name);
            // A host that the policy lets forward has addresses of many zones, and is of each with
            // those only.
            let gateway = prover.site.policy.forwards(&name);
            let host = &prover.site.hosts[&name];
            let zone = host.zone.clone().map(Party::Zone);
            let is_of = |party: &Option<Party>| !gateway && zone.is_some() && zone == *party;
            let counts = Matters {
                forwards: host.forwards(false) || host.forwards(true),
                all_of_it: is_of(&to_zone),
                addresses: own.meets(&to),
                bridges: host.filtering().next().is_some(),
            };
            // A host of another zone, or a gateway, has addresses in zones that it is not in.
            let elsewhere = zone != from_zone && (gateway || zone.is_some());
            let is_whole = is_of(&from_zone);
            if (is_whole || own.meets(&from)) && (from_zone.is_none() || !elsewhere) {
                senders.push(Sender { name: name.clone(), own, is_whole });
            }
            matters.insert(name, counts);
        }
        Ok(Self {
            from_zone,
            from: sources,
            to,
            destinations,
            from_internet,
            to_internet,
            opening,
            forbidden,
            begun,
            surely_begun,
            senders,
            matters,
            hearing: RefCell::default(),
        })
    }
}

impl Question {
    /// The wires on which the packets that count begin, and the addresses there.
    fn begun(&self, count: Count) -> &[(WireId, Addresses)] {
        match (count, &self.surely_begun) {
            (Count::Surely, Some(begun)) => begun,
            (Count::Maybe | Count::Surely, _) => &self.begun,
        }
    }
}

/// The wires on which somebody whom an invariant is about may send, with the addresses there.
pub(super) fn begun(
    site: &Site,
    wires: &Wires,
    from: &Addresses,
    from_internet: bool,
) -> Vec<(WireId, Addresses)> {
    let zones = site.policy.zones.values();
    let zoned: Addresses = zones.flat_map(|zone| zone.networks.iter().copied()).collect();
    let own =
        |(id, wire): (WireId, &Wire)| (id, wire.networks.iter().copied().collect::<Addresses>());
    let begins = |(id, own): &(WireId, Addresses)| {
        if !from_internet {
            return own.meets(from);
        }
        !own.without(&zoned).is_empty() || wires.leading_away(site, *id).next().is_some()
    };
    wires.all().map(own).filter(begins).collect()
}

/// Whether an invariant may begin in one of some hosts, as they were or as they are, or on a wire of one of
/// these interfaces, which are all that they shared a wire with or do now; or, where something must
/// arrive, whether it may have to arrive there.
pub(super) fn begins(
    site: &Site,
    wires: &Wires,
    what: &Demand,
    hosts: &[&Host],
    near: &BTreeSet<Port>,
) -> bool {
    let (party, receiver) = match what {
        Demand::Never { from, .. } | Demand::Only { from, .. } => (from, None),
        Demand::Always { from, to, .. } => (from, Some(to)),
    };
    let is_of = |party: &Party, addresses: &Addresses| {
        hosts.iter().any(|host| {
            let own: Addresses = host.network.answers_for().collect();
            host.zone.clone().map(Party::Zone).as_ref() == Some(party) || own.meets(addresses)
        })
    };
    let from = site.policy.addresses(party);
    let in_it = is_of(party, &from)
        || receiver.is_some_and(|party| is_of(party, &site.policy.addresses(party)));
    let is_near = |(id, _): &(WireId, Addresses)| !wires.get(*id).ports.is_disjoint(near);
    in_it || begun(site, wires, &from, *party == Party::Internet).iter().any(is_near)
}

pub(super) fn addresses(space: &mut Space, end: End, all: &Addresses) -> Result<Set, TooComplex> {
    let v4 = all.v4().iter().copied().map(IpNet::V4);
    let nets: Vec<IpNet> = v4.chain(all.v6().iter().copied().map(IpNet::V6)).collect();
    space.networks(end, &nets)
}

/// The packets that a permit lets open connections.
fn permitted_by(space: &mut Space, permit: &crate::policy::Permit) -> Result<Set, TooComplex> {
    let from = addresses(space, End::Source, &permit.from)?;
    let to = addresses(space, End::Destination, &permit.to)?;
    let service = service(space, &permit.service)?;
    space.all_of(&[from, to, service])
}

/// The packets that open connections to a service.
pub(super) fn service(
    space: &mut Space,
    service: &crate::policy::Service,
) -> Result<Set, TooComplex> {
    use crate::model::field::{ICMP, ICMPV6, TCP, UDP};
    use crate::model::interval::Interval;
    let mut services = Vec::new();
    for (protocol, ports) in [(TCP, &service.tcp), (UDP, &service.udp)] {
        let ports = ports
            .iter()
            .map(|ports| Interval { first: u128::from(ports.first), last: u128::from(ports.last) });
        let ports = space.among(Field::DestinationPort, &ports.collect())?;
        let protocol = space.value(Field::Protocol, u128::from(protocol))?;
        services.push(space.and(ports, protocol)?);
    }
    let v4 = service.icmp.iter().map(|kind| Interval::one(u128::from(kind.0)));
    let v6 = service.icmpv6.iter().map(|kind| Interval::one(u128::from(kind.0)));
    for (protocol, field, kinds) in [
        (ICMP, Field::IcmpType, v4.collect::<Intervals>()),
        (ICMPV6, Field::Icmp6Type, v6.collect::<Intervals>()),
    ] {
        let kinds = space.among(field, &kinds)?;
        let protocol = space.value(Field::Protocol, u128::from(protocol))?;
        services.push(space.and(kinds, protocol)?);
    }
    space.any_of(&services)
}

struct Search<'p> {
    prover: &'p mut Prover,
    question: Rc<Question>,
    sources: Sources,
    count: Count,
    footprint: &'p mut Footprint,
    steps: Vec<Step>,
    seen: HashMap<Place, Set>,
    open: VecDeque<usize>,
    reached: Vec<Reached>,
}

/// Why a host is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked by its own name")]
struct Matters {
    forwards: bool,
    /// Whatever ends in it counts.
    all_of_it: bool,
    /// Some of its addresses count.
    addresses: bool,
    /// A bridge of it filters what it passes on.
    bridges: bool,
}

impl Matters {
    /// Whether it is looked at at all.
    const fn at_all(self) -> bool {
        self.forwards || self.all_of_it || self.addresses || self.bridges
    }
}

impl<'p> Search<'p> {
    fn new(
        prover: &'p mut Prover,
        question: &Rc<Question>,
        sources: Sources,
        count: Count,
        footprint: &'p mut Footprint,
    ) -> Self {
        Self {
            prover,
            question: Rc::clone(question),
            sources,
            count,
            footprint,
            steps: Vec::new(),
            seen: HashMap::new(),
            open: VecDeque::new(),
            reached: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(), TooComplex> {
        self.begin()?;
        while let Some(step) = self.open.pop_front() {
            self.on(step)?;
        }
        Ok(())
    }

    /// Where the packets of a step go on.
    fn on(&mut self, step: usize) -> Result<(), TooComplex> {
        match self.steps[step].place.clone() {
            Place::Wire(wire) => self.on_wire(step, wire),
            Place::Host(host) => self.in_host(step, &host, None),
            Place::Port(port) => {
                let Port { host, interface } = port;
                self.in_host(step, &host, Some(&interface))
            }
        }
    }

    fn found(self) -> Found {
        Found {
            layout: self.count.layout(),
            steps: self.steps,
            reached: self.reached,
            from: self.question.from,
        }
    }

    fn trace(self) -> Trace {
        Trace { question: self.question, steps: self.steps, seen: self.seen }
    }

    /// Adds packets to a place. Only those that have not been there yet go on from it.
    fn add(
        &mut self,
        place: Place,
        packets: Set,
        from: Option<(usize, Option<&Rc<Piece>>)>,
    ) -> Result<(), TooComplex> {
        let had = self.seen.get(&place).copied().unwrap_or(Set::EMPTY);
        let space = &mut self.prover.space;
        let packets = space.without(packets, had)?;
        if packets.is_empty() {
            return Ok(());
        }
        if self.steps.len() == MAX_STEPS {
            return Err(TooComplex::Many { most: MAX_STEPS, of: STEPS });
        }
        self.seen.insert(place.clone(), space.or(had, packets)?);
        let from = from.map(|(before, piece)| (before, piece.map(Rc::clone)));
        self.steps.push(Step { place, packets, from });
        self.open.push_back(self.steps.len() - 1);
        Ok(())
    }

    /// Where the packets of an invariant begin.
    fn begin(&mut self) -> Result<(), TooComplex> {
        let question = Rc::clone(&self.question);
        for (id, own) in question.begun(self.count) {
            self.footprint.wires.insert((self.count.layout(), *id));
            let space = &mut self.prover.space;
            let sources = match self.sources {
                Sources::Any => Set::ALL,
                Sources::OfTheWire if question.from_internet => question.from,
                Sources::OfTheWire => {
                    let itself = LINK_LOCAL.iter().filter_map(|net| net.parse::<IpNet>().ok());
                    let own = own.clone().with(&itself.collect());
                    let own = addresses(space, End::Source, &own)?;
                    // A zone is everybody on its wires; a host or group only those addresses.
                    if question.from_zone.is_some() {
                        own
                    } else {
                        space.and(own, question.from)?
                    }
                }
            };
            let packets = space.and(question.forbidden, sources)?;
            self.add(Place::Wire(*id), packets, None)?;
        }
        for Sender { name, own, is_whole } in &question.senders {
            // Whoever is on the wire can do all that a host with that wire alone can do.
            if !question.to_internet && self.is_only_on_begun_wires(name) {
                continue;
            }
            let space = &mut self.prover.space;
            let sources =
                if *is_whole { addresses(space, End::Source, own)? } else { question.from };
            let packets = space.and(question.forbidden, sources)?;
            self.add(Place::Host(name.clone()), packets, None)?;
        }
        Ok(())
    }

    fn is_only_on_begun_wires(&self, host: &HostName) -> bool {
        let mut wires = self.wires().of_host(host).iter().map(|(wire, _)| *wire);
        wires.all(|wire| self.seen.contains_key(&Place::Wire(wire)))
    }

    /// Whoever is on a wire can send to everybody on it.
    fn on_wire(&mut self, step: usize, wire: WireId) -> Result<(), TooComplex> {
        let (question, wires) = (Rc::clone(&self.question), Rc::clone(self.wires()));
        let packets = self.steps[step].packets;
        let own: Addresses = wires.get(wire).networks.iter().copied().collect();
        if own.meets(&question.to) {
            // Whether a known host takes it is for that host to say.
            let owned = self.owned(wire)?;
            let space = &mut self.prover.space;
            let here = addresses(space, End::Destination, &own)?;
            let there = space.all_of(&[packets, here, question.destinations])?;
            let there = space.without(there, owned)?;
            let ends = self.crossed(step).unwrap_or(Ends::OnTheWire);
            self.reach(step, None, there, ends);
        }
        self.footprint.wires.insert((self.count.layout(), wire));
        for port in self.hearing(wire).iter() {
            let space = &mut self.prover.space;
            let packets = come(space, packets, question.opening, &port.interface)?;
            self.add(Place::Port(port.clone()), packets, Some((step, None)))?;
        }
        Ok(())
    }

    /// The interfaces on a wire of hosts that are looked at at all.
    fn hearing(&self, wire: WireId) -> Rc<[Port]> {
        let question = &self.question;
        let mut known = question.hearing.borrow_mut();
        let hearing = known.entry((self.count.layout(), wire)).or_insert_with(|| {
            let all = self.wires().get(wire).ports.iter();
            all.filter(|port| question.matters[&port.host].at_all()).cloned().collect()
        });
        Rc::clone(hearing)
    }

    fn in_host(
        &mut self,
        step: usize,
        name: &HostName,
        interface: Option<&str>,
    ) -> Result<(), TooComplex> {
        self.footprint.hosts.insert(name.clone());
        let packets = self.steps[step].packets;
        let pieces = {
            let Prover { space, site, transfers, .. } = &mut *self.prover;
            transfers.of(space, site, name, interface)?
        };
        let question = Rc::clone(&self.question);
        let matters = question.matters[name];
        for piece in pieces.iter() {
            let reach = match self.count {
                Count::Maybe => piece.reach.maybe,
                Count::Surely => piece.reach.surely,
            };
            let space = &mut self.prover.space;
            let packets = space.and(packets, reach)?;
            if packets.is_empty() {
                continue;
            }
            match &piece.leaves {
                Leaves::Here => {
                    let counted = if matters.all_of_it {
                        packets
                    } else {
                        let to = piece.change.before(space, question.destinations)?.maybe;
                        space.and(packets, to)?
                    };
                    self.reach(step, Some(piece), counted, Ends::In(name.clone()));
                }
                Leaves::By { interface, via } => {
                    let next = via.map_or(Next::Receiver, Next::Router);
                    self.leave(step, piece, packets, name, interface, next)?;
                }
                Leaves::Somehow { interface } | Leaves::Bridged { interface } => {
                    self.leave(step, piece, packets, name, interface, Next::Anybody)?;
                }
            }
        }
        Ok(())
    }

    /// Packets leave a host.
    fn leave(
        &mut self,
        step: usize,
        piece: &Rc<Piece>,
        packets: Set,
        host: &HostName,
        interface: &str,
        next: Next,
    ) -> Result<(), TooComplex> {
        let (question, wires) = (Rc::clone(&self.question), Rc::clone(self.wires()));
        let port = Port { host: host.clone(), interface: interface.to_owned() };
        let Some(wire) = wires.at(&port) else { return Ok(()) };
        self.footprint.wires.insert((self.count.layout(), wire));
        let image = sent(&mut self.prover.space, &piece.change, packets)?;
        if piece.leaves.is_bridged() {
            // Whatever it is sent to there hears it as it would from whoever is on the wire.
            return self.add(Place::Wire(wire), image, Some((step, Some(piece))));
        }
        let hearing = self.hearing(wire);
        let others: Vec<&Port> = match next {
            Next::Router(router) => {
                // It may be behind a bridge.
                let ports = self.prover.parted.as_ref().map(|_| &wires.get(wire).ports);
                let bridged = ports.into_iter().flatten();
                let bridged = bridged.filter(|other| self.is_bridged(other));
                let all = wires.owners(wire, router).chain(bridged);
                all.filter(|other| question.matters[&other.host].at_all()).collect()
            }
            Next::Receiver | Next::Anybody => hearing.iter().collect(),
        };
        for other in others.iter().filter(|other| other.host != *host) {
            let bridged = self.is_bridged(other);
            let packets = if next == Next::Receiver && !bridged {
                let takes = self.takes(&other.host)?;
                self.prover.space.and(image, takes)?
            } else {
                image
            };
            if packets.is_empty() {
                continue;
            }
            let space = &mut self.prover.space;
            let packets = come(space, packets, question.opening, &other.interface)?;
            self.add(Place::Port((*other).clone()), packets, Some((step, Some(piece))))?;
        }
        // What nobody known takes.
        let unknown_router = match next {
            // Behind which port of a bridge it is nobody knows.
            Next::Router(router) => {
                !wires.is_known(&port, router)
                    && (self.count == Count::Maybe || !self.is_bridged(&port))
            }
            Next::Receiver | Next::Anybody => false,
        };
        let own: Addresses = wires.get(wire).networks.iter().copied().collect();
        let ends_here = match next {
            Next::Router(_) => unknown_router && (question.to_internet || own.meets(&question.to)),
            Next::Receiver | Next::Anybody => true,
        };
        if !ends_here {
            return Ok(());
        }
        let mut to = question.destinations;
        if next == Next::Receiver && self.prover.receivers_filter {
            let owned = self.owned(wire)?;
            to = self.prover.space.without(to, owned)?;
        }
        if next == Next::Receiver && self.is_bridged(&port) {
            // It is behind the port where its network is.
            let here = addresses(&mut self.prover.space, End::Destination, &own)?;
            to = self.prover.space.and(to, here)?;
        }
        let space = &mut self.prover.space;
        let before = piece.change.before(space, to)?.maybe;
        let there = space.and(packets, before)?;
        let ends = Ends::AtAddress {
            host: host.clone(),
            interface: interface.to_owned(),
            via: match next {
                Next::Router(router) => Some(router),
                Next::Receiver | Next::Anybody => None,
            },
        };
        self.reach(step, Some(piece), there, ends);
        Ok(())
    }

    /// The wires by which packets go that count.
    fn wires(&self) -> &Rc<Wires> {
        self.prover.laid(self.count.layout())
    }

    /// Whether an interface is a port of a bridge that filters.
    fn is_bridged(&self, port: &Port) -> bool {
        self.prover.parted.as_ref().is_some_and(|parted| parted.bridged.contains(port))
    }

    /// The bridge by which packets have come to a wire, as their end.
    fn crossed(&self, step: usize) -> Option<Ends> {
        let (before, piece) = self.steps[step].from.as_ref()?;
        let (host, _) = self.steps[*before].place.within()?;
        let interface = piece.as_ref()?.leaves.interface()?.to_owned();
        Some(Ends::AtAddress { host: host.clone(), interface, via: None })
    }

    /// The destinations of what a host takes from its wires.
    fn takes(&mut self, name: &HostName) -> Result<Set, TooComplex> {
        if let Some(known) = self.prover.takes.get(name) {
            return Ok(*known);
        }
        let own = self.prover.answered_by(name)?;
        let Prover { space, takes, .. } = &mut *self.prover;
        let everybody: Vec<IpNet> = EVERYBODY.iter().filter_map(|net| net.parse().ok()).collect();
        let everybody = space.networks(End::Destination, &everybody)?;
        let own = space.or(own, everybody)?;
        takes.insert(name.clone(), own);
        Ok(own)
    }

    /// The destinations that known hosts on a wire answer for.
    fn owned(&mut self, wire: WireId) -> Result<Set, TooComplex> {
        let key = (self.count.layout(), wire);
        if let Some(known) = self.prover.owned.get(&key) {
            return Ok(*known);
        }
        let wires = Rc::clone(self.wires());
        let hosts: BTreeSet<&HostName> =
            wires.get(wire).ports.iter().map(|port| &port.host).collect();
        let own = hosts.into_iter().map(|host| self.prover.answered_by(host));
        let own = own.collect::<Result<Vec<Set>, TooComplex>>()?;
        let owned = self.prover.space.any_of(&own)?;
        self.prover.owned.insert(key, owned);
        Ok(owned)
    }

    fn reach(&mut self, step: usize, piece: Option<&Rc<Piece>>, packets: Set, ends: Ends) {
        if !packets.is_empty() && self.reached.len() < MAX_ENDS {
            let piece = piece.map(Rc::clone);
            self.reached.push(Reached { step, piece, packets, ends });
        }
    }
}

/// Addresses that whoever is on a wire has of itself (RFC 4291).
const LINK_LOCAL: [&str; 1] = ["fe80::/10"];

/// Destinations that everybody on a wire takes.
const EVERYBODY: [&str; 3] = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"];

/// The wishes of a counterexample, and that the receiver is one whom the policy knows.
pub(super) fn wished(space: &mut Space, policy: &Policy) -> Result<Vec<Set>, TooComplex> {
    let mut wished = wishes(space)?;
    let ports = policy.services.values().flat_map(|service| {
        service.tcp.iter().map(|ports| crate::model::interval::Interval {
            first: u128::from(ports.first),
            last: u128::from(ports.last),
        })
    });
    let declared = space.among(Field::DestinationPort, &ports.collect())?;
    let tcp = space.value(Field::Protocol, u128::from(crate::model::field::TCP))?;
    let declared = space.and(declared, tcp)?;
    // After "new", before all else.
    wished.insert(1, declared);
    Ok(wished)
}
