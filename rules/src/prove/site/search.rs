//! The search for a packet that breaks an invariant.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::arena::{Set, TooComplex};
use super::super::space::{End, Space, Values};
use super::super::wish::wishes;
use super::super::words::example;
use super::transfer::{Leaves, Piece, come, openers, sent};
use super::wire::{Layout, WireId, Wires};
use super::{Answer, Assumption, Bridge, Doubt, Footprint, Host, Port, Prover, Site, explain};
use crate::model::field::{Field, device_name};
use crate::model::interval::Intervals;
use crate::name::HostName;
use crate::policy::{Addresses, Demand, Party, Policy};

/// Steps of one search, at most.
const MAX_STEPS: usize = 200_000;
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
    pub(super) from: Option<(usize, Option<Piece>)>,
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
    pub(super) piece: Option<Piece>,
    /// The packets as they came to that step.
    pub(super) packets: Set,
    pub(super) ends: Ends,
}

/// Whom an invariant is about.
struct Question {
    from: Addresses,
    from_zone: Option<Party>,
    to: Addresses,
    to_zone: Option<Party>,
    /// Packets that may pass, as they begin.
    permitted: Set,
    from_internet: bool,
    to_internet: bool,
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

/// What is known about a demand. `seen` takes what was looked at.
pub(super) fn answer(
    prover: &mut Prover,
    demand: &Demand,
    seen: &mut Footprint,
) -> Result<Answer, TooComplex> {
    if let Demand::Always { from, to, service } = demand {
        return super::always::answer(prover, (from, to), service, seen);
    }
    let question = Question::of(prover, demand)?;
    let from = addresses(&mut prover.space, End::Source, &question.from)?;
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
        return Ok(Answer::Proved { assumptions: usual() });
    }
    let forged = Found { steps: forged.steps, reached: forged.reached, from };
    let mut honest = Search::new(prover, &question, Sources::OfTheWire, Count::Maybe, seen);
    honest.run()?;
    if honest.reached.is_empty() {
        let (_, packets, _) = explain::best(prover, &forged)?;
        let first = packets.first().copied().unwrap_or_else(Values::plain);
        let mut assumptions = usual();
        assumptions.push(Assumption::NoForgedSources(Box::new(example(&first))));
        return Ok(Answer::Proved { assumptions });
    }
    let honest = Found { steps: honest.steps, reached: honest.reached, from };
    let mut sure = Search::new(prover, &question, Sources::OfTheWire, Count::Surely, seen);
    sure.run()?;
    if !sure.reached.is_empty() {
        let sure = Found { steps: sure.steps, reached: sure.reached, from };
        let way = explain::best(prover, &sure)?;
        return Ok(Answer::Broken(Box::new(explain::breach(prover, &sure, &way)?)));
    }
    let way = explain::best(prover, &honest)?;
    let (statement, at) = explain::doubt(prover, &honest, &way)?;
    let perhaps = Some(explain::breach(prover, &honest, &way)?);
    let wanted = explain::wanted();
    Ok(Answer::OutOfModel(Box::new(Doubt { statement, at, wanted, perhaps })))
}

/// What a search has found.
pub(super) struct Found {
    pub(super) steps: Vec<Step>,
    pub(super) reached: Vec<Reached>,
    /// The packets with an address of those whom the invariant is about.
    pub(super) from: Set,
}

impl Question {
    fn of(prover: &mut Prover, demand: &Demand) -> Result<Self, TooComplex> {
        let policy = &prover.site.policy;
        let (from, to, through): (_, _, &[String]) = match demand {
            Demand::Never { from, to } | Demand::Always { from, to, .. } => (from, to, &[]),
            Demand::Only { from, to, through } => (from, to, through),
        };
        let zone = |party: &Party| matches!(party, Party::Zone(_)).then(|| party.clone());
        let mut permitted = Set::EMPTY;
        for permit in policy.permits() {
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
        Ok(Self {
            from: policy.addresses(from),
            to: policy.addresses(to),
            from_zone: zone(from),
            to_zone: zone(to),
            permitted,
            from_internet: *from == Party::Internet,
            to_internet: *to == Party::Internet,
        })
    }
}

/// Whether somebody whom an invariant is about may send on a wire.
pub(super) fn begins_on(
    site: &Site,
    wires: &Wires,
    id: WireId,
    from: &Addresses,
    from_internet: bool,
) -> bool {
    let own: Addresses = wires.get(id).networks.iter().copied().collect();
    if !from_internet {
        return own.meets(from);
    }
    let zones = site.policy.zones.values();
    let zoned: Addresses = zones.flat_map(|zone| zone.networks.iter().copied()).collect();
    !own.without(&zoned).is_empty() || wires.leading_away(site, id).next().is_some()
}

/// Whether an invariant may begin in a host, as it was or as it is, or on a wire of one of these
/// interfaces, which are all that it shared a wire with or does now; or, where something must arrive,
/// whether it may have to arrive there.
pub(super) fn begins(
    site: &Site,
    wires: &Wires,
    what: &Demand,
    hosts: [Option<&Host>; 2],
    near: &BTreeSet<Port>,
) -> bool {
    let (party, receiver) = match what {
        Demand::Never { from, .. } | Demand::Only { from, .. } => (from, None),
        Demand::Always { from, to, .. } => (from, Some(to)),
    };
    let is_of = |party: &Party, addresses: &Addresses| {
        hosts.into_iter().flatten().any(|host| {
            let own: Addresses = host.network.answers_for().collect();
            host.zone.clone().map(Party::Zone).as_ref() == Some(party) || own.meets(addresses)
        })
    };
    let from = site.policy.addresses(party);
    let in_it = is_of(party, &from)
        || receiver.is_some_and(|party| is_of(party, &site.policy.addresses(party)));
    let from_internet = *party == Party::Internet;
    let mut near = wires.all().filter(|(_, wire)| !wire.ports.is_disjoint(near));
    in_it || near.any(|(id, _)| begins_on(site, wires, id, &from, from_internet))
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
    question: &'p Question,
    sources: Sources,
    count: Count,
    footprint: &'p mut Footprint,
    steps: Vec<Step>,
    seen: HashMap<Place, Set>,
    open: VecDeque<usize>,
    reached: Vec<Reached>,
    /// The packets that open something.
    opening: Set,
    /// The addresses that must not be reached, once as a set.
    to: Set,
    /// Which hosts are such that something may end in them, or go on.
    matters: BTreeMap<HostName, Matters>,
}

/// Why a host is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    const fn at_all(self) -> bool {
        self.forwards || self.all_of_it || self.addresses || self.bridges
    }
}

impl<'p> Search<'p> {
    fn new(
        prover: &'p mut Prover,
        question: &'p Question,
        sources: Sources,
        count: Count,
        footprint: &'p mut Footprint,
    ) -> Self {
        let matters = prover
            .site
            .hosts
            .iter()
            .map(|(name, host)| {
                let own: Addresses = host.network.answers_for().collect();
                // A host that the policy lets forward has addresses of many zones, and is of each with
                // those only.
                let gateway = prover.site.policy.forwards(name);
                let zone = host.zone.clone().map(Party::Zone);
                let matters = Matters {
                    forwards: host.forwards_v4 || host.forwards_v6,
                    all_of_it: !gateway && zone.is_some() && zone == question.to_zone,
                    addresses: own.meets(&question.to),
                    bridges: host.filtering().next().is_some(),
                };
                (name.clone(), matters)
            })
            .collect();
        Self {
            prover,
            question,
            sources,
            count,
            footprint,
            steps: Vec::new(),
            seen: HashMap::new(),
            open: VecDeque::new(),
            reached: Vec::new(),
            opening: Set::EMPTY,
            to: Set::EMPTY,
            matters,
        }
    }

    fn run(&mut self) -> Result<(), TooComplex> {
        self.opening = openers(&mut self.prover.space)?;
        self.to = addresses(&mut self.prover.space, End::Destination, &self.question.to)?;
        self.begin()?;
        while let Some(step) = self.open.pop_front() {
            match self.steps[step].place.clone() {
                Place::Wire(wire) => self.on_wire(step, wire)?,
                Place::Host(host) => self.in_host(step, &host, None)?,
                Place::Port(port) => {
                    let Port { host, interface } = port;
                    self.in_host(step, &host, Some(&interface))?;
                }
            }
        }
        Ok(())
    }

    /// Adds packets to a place. Only those that have not been there yet go on from it.
    fn add(
        &mut self,
        place: Place,
        packets: Set,
        from: Option<(usize, Option<Piece>)>,
    ) -> Result<(), TooComplex> {
        let had = self.seen.get(&place).copied().unwrap_or(Set::EMPTY);
        let space = &mut self.prover.space;
        let packets = space.without(packets, had)?;
        if packets.is_empty() {
            return Ok(());
        }
        if self.steps.len() == MAX_STEPS {
            return Err(TooComplex { nodes: MAX_STEPS });
        }
        self.seen.insert(place.clone(), space.or(had, packets)?);
        self.steps.push(Step { place, packets, from });
        self.open.push_back(self.steps.len() - 1);
        Ok(())
    }

    /// Where the packets of an invariant begin.
    fn begin(&mut self) -> Result<(), TooComplex> {
        let space = &mut self.prover.space;
        let opening = space.without(self.opening, self.question.permitted)?;
        let opening = space.only(opening, &super::transfer::ON_THE_WIRE)?;
        let from = addresses(space, End::Source, &self.question.from)?;
        let (site, wires) = (&self.prover.site, self.wires());
        let begun = wires.all().filter(|(id, _)| {
            begins_on(site, wires, *id, &self.question.from, self.question.from_internet)
        });
        let begun: Vec<(WireId, Addresses)> =
            begun.map(|(id, wire)| (id, wire.networks.iter().copied().collect())).collect();
        for (id, own) in begun {
            self.footprint.wires.insert((self.count.layout(), id));
            let space = &mut self.prover.space;
            let sources = match self.sources {
                Sources::Any => Set::ALL,
                Sources::OfTheWire if self.question.from_internet => from,
                Sources::OfTheWire => {
                    let itself = LINK_LOCAL.iter().filter_map(|net| net.parse::<IpNet>().ok());
                    let own = own.with(&itself.collect());
                    let own = addresses(space, End::Source, &own)?;
                    // A zone is everybody on its wires; a host or group only those addresses.
                    if self.question.from_zone.is_some() { own } else { space.and(own, from)? }
                }
            };
            let packets = space.and(opening, sources)?;
            self.add(Place::Wire(id), packets, None)?;
        }
        let names: Vec<HostName> = self.prover.site.hosts.keys().cloned().collect();
        for name in names {
            let host = &self.prover.site.hosts[&name];
            let gateway = self.prover.site.policy.forwards(&name);
            let zone = host.zone.clone().map(Party::Zone);
            let whole = !gateway && zone.is_some() && zone == self.question.from_zone;
            let own: Addresses = host.network.answers_for().collect();
            if !whole && !own.meets(&self.question.from) {
                continue;
            }
            // A host of another zone, or a gateway, has addresses in zones that it is not in.
            let elsewhere = zone != self.question.from_zone && (gateway || zone.is_some());
            if self.question.from_zone.is_some() && elsewhere {
                continue;
            }
            // Whoever is on the wire can do all that a host with that wire alone can do.
            if !self.question.to_internet && self.is_only_on_begun_wires(&name) {
                continue;
            }
            let space = &mut self.prover.space;
            let sources = if whole { addresses(space, End::Source, &own)? } else { from };
            let packets = space.and(opening, sources)?;
            self.add(Place::Host(name), packets, None)?;
        }
        Ok(())
    }

    fn is_only_on_begun_wires(&self, host: &HostName) -> bool {
        let interfaces = self.prover.site.hosts[host].network.interfaces.iter().flatten();
        let mut ports = interfaces.filter(|one| one.up).filter_map(|one| {
            let port = Port { host: host.clone(), interface: device_name(one.device) };
            self.wires().at(&port)
        });
        ports.all(|wire| self.seen.contains_key(&Place::Wire(wire)))
    }

    /// Whoever is on a wire can send to everybody on it.
    fn on_wire(&mut self, step: usize, wire: WireId) -> Result<(), TooComplex> {
        let packets = self.steps[step].packets;
        let own: Addresses = self.wires().get(wire).networks.iter().copied().collect();
        if own.meets(&self.question.to) {
            // Whether a known host takes it is for that host to say.
            let owned = self.owned(wire)?;
            let space = &mut self.prover.space;
            let here = addresses(space, End::Destination, &own)?;
            let there = space.all_of(&[packets, here, self.to])?;
            let there = space.without(there, owned)?;
            let ends = self.crossed(step).unwrap_or(Ends::OnTheWire);
            self.reach(step, None, there, ends);
        }
        self.footprint.wires.insert((self.count.layout(), wire));
        for port in self.wires().get(wire).ports.clone() {
            let matters = self.matters[&port.host];
            if matters.at_all() {
                let packets = come(&mut self.prover.space, packets, self.opening, &port.interface)?;
                self.add(Place::Port(port), packets, Some((step, None)))?;
            }
        }
        Ok(())
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
        let matters = self.matters[name];
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
                        let to = piece.change.before(space, self.to)?.maybe;
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
        piece: &Piece,
        packets: Set,
        host: &HostName,
        interface: &str,
        next: Next,
    ) -> Result<(), TooComplex> {
        let port = Port { host: host.clone(), interface: interface.to_owned() };
        let Some(wire) = self.wires().at(&port) else { return Ok(()) };
        self.footprint.wires.insert((self.count.layout(), wire));
        let image = sent(&mut self.prover.space, &piece.change, packets)?;
        if piece.leaves.is_bridged() {
            // Whatever it is sent to there hears it as it would from whoever is on the wire.
            return self.add(Place::Wire(wire), image, Some((step, Some(piece.clone()))));
        }
        let others: Vec<Port> = match next {
            Next::Router(router) => {
                // It may be behind a bridge.
                let ports = self.prover.parted.as_ref().map(|_| &self.wires().get(wire).ports);
                let bridged = ports.into_iter().flatten();
                let bridged = bridged.filter(|other| self.bridge_of(other).is_some());
                self.wires().owners(wire, router).chain(bridged).cloned().collect()
            }
            Next::Receiver | Next::Anybody => {
                self.wires().get(wire).ports.iter().cloned().collect()
            }
        };
        for other in others.iter().filter(|other| other.host != *host) {
            let matters = self.matters[&other.host];
            if !matters.at_all() {
                continue;
            }
            let bridged = self.bridge_of(other).is_some();
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
            let packets = come(space, packets, self.opening, &other.interface)?;
            self.add(Place::Port(other.clone()), packets, Some((step, Some(piece.clone()))))?;
        }
        // What nobody known takes.
        let unknown_router = match next {
            // Behind which port of a bridge it is nobody knows.
            Next::Router(router) => {
                !self.wires().is_known(&port, router)
                    && (self.count == Count::Maybe || self.bridge_of(&port).is_none())
            }
            Next::Receiver | Next::Anybody => false,
        };
        let own: Addresses = self.wires().get(wire).networks.iter().copied().collect();
        let ends_here = match next {
            Next::Router(_) => {
                unknown_router && (self.question.to_internet || own.meets(&self.question.to))
            }
            Next::Receiver | Next::Anybody => true,
        };
        if !ends_here {
            return Ok(());
        }
        let mut to = self.to;
        if next == Next::Receiver && self.prover.receivers_filter {
            let owned = self.owned(wire)?;
            to = self.prover.space.without(to, owned)?;
        }
        if next == Next::Receiver && self.bridge_of(&port).is_some() {
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
    fn wires(&self) -> &Wires {
        self.prover.laid(self.count.layout())
    }

    /// The bridge that filters of which an interface is a port.
    fn bridge_of(&self, port: &Port) -> Option<&Bridge> {
        self.prover.parted.as_ref()?;
        self.prover.site.hosts.get(&port.host)?.bridge_of(&port.interface)
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
        let Prover { space, site, takes, .. } = &mut *self.prover;
        if let Some(known) = takes.get(name) {
            return Ok(*known);
        }
        let own = site.hosts.get(name).into_iter().flat_map(|host| host.network.answers_for());
        let own = own.chain(EVERYBODY.iter().filter_map(|net| net.parse().ok()));
        let own = space.networks(End::Destination, &own.collect::<Vec<IpNet>>())?;
        takes.insert(name.clone(), own);
        Ok(own)
    }

    /// The destinations that known hosts on a wire answer for.
    fn owned(&mut self, wire: WireId) -> Result<Set, TooComplex> {
        let key = (self.count.layout(), wire);
        if let Some(known) = self.prover.owned.get(&key) {
            return Ok(*known);
        }
        let mut own = Vec::new();
        for port in &self.wires().get(wire).ports {
            own.extend(self.prover.site.hosts[&port.host].network.answers_for());
        }
        let owned = self.prover.space.networks(End::Destination, &own)?;
        self.prover.owned.insert(key, owned);
        Ok(owned)
    }

    fn reach(&mut self, step: usize, piece: Option<&Piece>, packets: Set, ends: Ends) {
        if !packets.is_empty() && self.reached.len() < MAX_ENDS {
            self.reached.push(Reached { step, piece: piece.cloned(), packets, ends });
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
