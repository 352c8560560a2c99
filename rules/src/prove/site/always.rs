//! Whether what must work does: whether every packet that opens the connection surely arrives.
//!
//! Those who open are the hosts that the model has, with their own addresses, and everybody on the
//! Internet. Those who must be reached are hosts that the model has. That the answers come back is what
//! connection tracking is for, and is not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use ipnet::IpNet;

use super::super::arena::{Set, TooComplex};
use super::super::space::{End, Values};
use super::super::words::example;
use super::explain::{self, Hooks, Hop};
use super::search::{MAX_STEPS, Place, STEPS, addresses, begun, service, wished};
use super::transfer::{Leaves, ON_THE_WIRE, Piece, Transfer, come, sent};
use super::wire::{Layout, WireId};
use super::{Answer, Assumption, Breach, Doubt, Footprint, Port, Prover};
use crate::model::field::{Field, state};
use crate::model::interval::Interval;
use crate::name::HostName;
use crate::policy::{Addresses, Party};
use crate::text::Text;

/// Hosts on one way, at most: as many as the time to live that packets usually begin with. A packet that is
/// still on its way then does not arrive.
const MAX_HOPS: usize = 64;

/// The ports that connections are opened from (RFC 6056 asks for as many as these).
const EPHEMERAL: Interval = Interval { first: 1024, last: 65_535 };

/// Packets of a place, as they are on the wire, by whether they arrive from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrives {
    /// Those that may.
    maybe: Set,
    /// Those that do, whatever is unknown.
    surely: Set,
}

impl Arrives {
    const NONE: Self = Self { maybe: Set::EMPTY, surely: Set::EMPTY };
}

/// Packets that must arrive, and from where.
#[derive(Debug)]
struct Begin {
    places: Vec<Place>,
    packets: Set,
    /// Whether it is enough that they arrive from one of the places, at whatever address they are sent to:
    /// the Internet knows a service by the address that a gateway translates.
    anyhow: bool,
}

/// Which packets must arrive, where all do.
#[derive(Debug)]
pub(super) struct Trace {
    receivers: Rc<BTreeMap<HostName, Set>>,
    to_internet: Option<Set>,
    /// From where, and what was looked at on their ways.
    begins: Vec<(Begin, Footprint)>,
}

impl Trace {
    /// Everything that was looked at.
    pub(super) fn looked_at(&self) -> Footprint {
        let mut all = Footprint::default();
        self.begins.iter().for_each(|(_, seen)| all.extend(seen));
        all
    }
}

/// Where packets are that have left a host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    /// At this interface.
    At(Port),
    /// With a router that nobody knows, which leads to the Internet.
    Away,
    /// On a line of which nobody knows whether it leads to the Internet.
    PerhapsAway,
}

/// One packet at one host of its way.
struct Visit {
    host: HostName,
    /// The interface by which it comes.
    input: Option<String>,
    /// What becomes of it, and the packets of which it is one; nothing where it is stopped.
    onwards: Option<(Rc<Piece>, Set)>,
}

impl Visit {
    /// By which interfaces it comes and leaves.
    fn hooks(&self) -> Hooks<'_> {
        explain::hooks(self.input.as_deref(), self.onwards.as_ref().map(|(piece, _)| &**piece))
    }

    fn hop(&self, packet: &Values, deciding: Vec<explain::Deciding>) -> Hop {
        let Hooks { input, output, .. } = self.hooks();
        Hop {
            host: Some(self.host.clone()),
            input: input.map(str::to_owned),
            output: output.map(str::to_owned),
            packet: example(packet),
            deciding,
        }
    }
}

/// What is known about a demand that a service can always be opened, and where that is proved, what of it
/// may outlast other rules on some host. `seen` takes what was looked at.
pub(super) fn answer(
    prover: &mut Prover,
    (from, to): (&Party, &Party),
    named: &str,
    seen: &mut Footprint,
) -> Result<(Answer, Option<Trace>), TooComplex> {
    let receivers = Rc::new(receivers(prover, to)?);
    let mut asking = Asking::new(prover, &receivers, None);
    if *to == Party::Internet {
        let internet = asking.prover.site.policy.addresses(to);
        let internet = addresses(&mut asking.prover.space, End::Destination, &internet)?;
        asking.to_internet = Some(internet);
    } else if receivers.is_empty() {
        return Ok((nobody(to), None));
    }
    let begins = asking.begins(from, named)?;
    seen.extend(&asking.seen);
    if begins.is_empty() {
        return Ok((nobody(from), None));
    }
    let (mut doubtful, mut proved) = (None, Vec::new());
    for begin in begins {
        let lost = asking.lost(&begin);
        let looked_at = std::mem::take(&mut asking.seen);
        seen.extend(&looked_at);
        let Lost { never, unsure } = lost?;
        if !never.is_empty() {
            let breach = asking.stopped(&begin.places[0], never)?;
            seen.extend(&asking.seen);
            return Ok((Answer::Broken(Box::new(breach)), None));
        }
        if !unsure.is_empty() && doubtful.is_none() {
            doubtful = Some((begin.places[0].clone(), unsure));
        }
        proved.push((begin, looked_at));
    }
    if let Some((place, packets)) = doubtful {
        let doubt = asking.doubt(&place, packets)?;
        seen.extend(&asking.seen);
        return Ok((doubt, None));
    }
    let to_internet = asking.to_internet;
    let assumptions = vec![Assumption::Kernels, Assumption::Wires, Assumption::AnswersComeBack];
    let trace = Trace { receivers, to_internet, begins: proved };
    Ok((Answer::Proved { assumptions }, Some(trace)))
}

/// The same proof, where everything still arrives though some hosts have other rules now. Only the packets
/// that pass one of them are looked at again.
pub(super) fn again(
    prover: &mut Prover,
    trace: Trace,
    changed: &BTreeSet<HostName>,
) -> Result<Option<Trace>, TooComplex> {
    let mut trace = trace;
    let mut asking = Asking::new(prover, &trace.receivers, trace.to_internet);
    for (begin, seen) in &mut trace.begins {
        if seen.hosts.is_disjoint(changed) {
            continue;
        }
        let Lost { never, unsure } = asking.lost(begin)?;
        if !never.is_empty() || !unsure.is_empty() {
            return Ok(None);
        }
        let outside = std::mem::take(&mut seen.wires).into_iter().filter(|_| begin.anyhow);
        *seen = std::mem::take(&mut asking.seen);
        seen.wires.extend(outside);
    }
    Ok(Some(trace))
}

/// There is nobody whom the demand could be about.
fn nobody(party: &Party) -> Answer {
    let (statement, wanted) = match party {
        Party::Internet => (
            "no wire is known that leads to the Internet".to_owned(),
            Text::new(
                "an agent on the host that has the exit line",
                "在连接互联网出口的主机上安装代理",
            ),
        ),
        Party::Zone(_) | Party::Group(_) | Party::Host(_) | Party::Network(_) => (
            format!("no host of {party} is known"),
            Text::new(
                format!("an agent on a host of {party}"),
                format!("在 {party} 的一台主机上安装代理"),
            ),
        ),
    };
    Answer::OutOfModel(Box::new(Doubt { statement, at: None, wanted, perhaps: None }))
}

/// The hosts that must be reached, and at which destinations.
fn receivers(prover: &mut Prover, to: &Party) -> Result<BTreeMap<HostName, Set>, TooComplex> {
    let wanted = prover.site.policy.addresses(to);
    let mut receivers = BTreeMap::new();
    for (name, host) in &prover.site.hosts {
        // A gateway has addresses in many zones, and is nobody's service for that.
        if matches!(to, Party::Zone(_)) && prover.site.policy.forwards(name) {
            continue;
        }
        let own: Vec<IpNet> =
            host.network.answers_for().filter(|net| wanted.contains(net.addr())).collect();
        if !own.is_empty() {
            let here = prover.space.networks(End::Destination, &own)?;
            receivers.insert(name.clone(), here);
        }
    }
    Ok(receivers)
}

/// Packets that must arrive and do not.
struct Lost {
    /// Those that surely do not.
    never: Set,
    /// Those that may not.
    unsure: Set,
}

struct Asking<'p> {
    prover: &'p mut Prover,
    seen: Footprint,
    receivers: Rc<BTreeMap<HostName, Set>>,
    /// The destinations of the Internet, where it is what must be reached.
    to_internet: Option<Set>,
    /// What arrives of the packets of a place in so many hosts more, of those that begin in one place.
    known: HashMap<(Place, Set, usize), Arrives>,
    /// The interfaces on a wire that take packets to these destinations.
    takers: HashMap<(WireId, Set), Rc<Vec<Port>>>,
    steps: usize,
}

impl<'p> Asking<'p> {
    fn new(
        prover: &'p mut Prover,
        receivers: &Rc<BTreeMap<HostName, Set>>,
        to_internet: Option<Set>,
    ) -> Self {
        Self {
            prover,
            seen: Footprint::default(),
            receivers: Rc::clone(receivers),
            to_internet,
            known: HashMap::new(),
            takers: HashMap::new(),
            steps: 0,
        }
    }

    /// Which packets do not arrive that must.
    fn lost(&mut self, begin: &Begin) -> Result<Lost, TooComplex> {
        self.known.clear();
        let (mut maybe, mut surely) = (Set::EMPTY, Set::EMPTY);
        for place in &begin.places {
            let arrives = self.arrive(place, begin.packets, MAX_HOPS)?;
            // Nobody knows on which side of a bridge the Internet is.
            let is_sure = !begin.anyhow || !self.is_by_a_bridge(place);
            let space = &mut self.prover.space;
            maybe = space.or(maybe, arrives.maybe)?;
            if is_sure {
                surely = space.or(surely, arrives.surely)?;
            }
        }
        let space = &mut self.prover.space;
        if begin.anyhow {
            let ends = [Field::Destination4, Field::Destination6];
            maybe = space.forget(maybe, &ends)?;
            surely = space.forget(surely, &ends)?;
        }
        Ok(Lost {
            never: space.without(begin.packets, maybe)?,
            unsure: space.without(begin.packets, surely)?,
        })
    }
}

impl Asking<'_> {
    /// Who must be able to open the service, and with which packets.
    fn begins(&mut self, from: &Party, named: &str) -> Result<Vec<Begin>, TooComplex> {
        let policy = &self.prover.site.policy;
        let sources = policy.addresses(from);
        let Some(wanted) = policy.services.get(named).cloned() else { return Ok(Vec::new()) };
        let space = &mut self.prover.space;
        let carried = service(space, &wanted)?;
        let ports = space.among(Field::SourcePort, &EPHEMERAL.into())?;
        let portless = space.value(Field::SourcePort, 0)?;
        let icmp = {
            let kinds = [crate::model::field::ICMP, crate::model::field::ICMPV6];
            let kinds = kinds.map(|kind| Interval::one(u128::from(kind)));
            space.among(Field::Protocol, &kinds.into_iter().collect())?
        };
        let portless = space.and(portless, icmp)?;
        let ports = space.or(ports, portless)?;
        let tcp = space.value(Field::Protocol, u128::from(crate::model::field::TCP))?;
        let syn = space.value(Field::TcpFlags, 2)?;
        let no_tcp = space.others(tcp)?;
        let begins = space.or(no_tcp, syn)?;
        let opening = space.all_of(&[carried, ports, begins])?;
        if *from == Party::Internet {
            return self.begins_outside(&sources, opening);
        }
        let to: Vec<Set> = self.receivers.values().copied().collect();
        let mut to = space.any_of(&to)?;
        if let Some(internet) = self.to_internet {
            to = internet;
        }
        let opening = space.and(opening, to)?;
        let names: Vec<HostName> = self.prover.site.hosts.keys().cloned().collect();
        let mut begins = Vec::new();
        for name in names {
            let host = &self.prover.site.hosts[&name];
            let gateway = self.prover.site.policy.forwards(&name);
            if matches!(from, Party::Zone(zone) if gateway || host.zone.as_ref() != Some(zone)) {
                continue;
            }
            let senders: Vec<IpNet> =
                host.network.answers_for().filter(|net| sources.contains(net.addr())).collect();
            if senders.is_empty() {
                continue;
            }
            let itself = self.prover.answered_by(&name)?;
            let space = &mut self.prover.space;
            let senders = space.networks(End::Source, &senders)?;
            let packets = space.and(opening, senders)?;
            let packets = space.without(packets, itself)?;
            if !packets.is_empty() {
                begins.push(Begin { places: vec![Place::Host(name)], packets, anyhow: false });
            }
        }
        Ok(begins)
    }

    /// The Internet comes in by every wire that leads to it; one of them is enough.
    fn begins_outside(
        &mut self,
        sources: &Addresses,
        opening: Set,
    ) -> Result<Vec<Begin>, TooComplex> {
        let Prover { site, wires, .. } = &*self.prover;
        let outside = begun(site, wires, sources, true);
        let mut places = Vec::new();
        let mut versions = BTreeSet::new();
        for (id, _) in outside {
            self.seen.wires.insert((Layout::Joined, id));
            let wire = self.prover.wires.get(id);
            versions.extend(wire.networks.iter().map(|net| matches!(net, IpNet::V6(_))));
            places.extend(wire.ports.iter().cloned().map(Place::Port));
        }
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let space = &mut self.prover.space;
        let sources = addresses(space, End::Source, sources)?;
        let mut packets = Set::EMPTY;
        for v6 in versions {
            let version = space.version(v6)?;
            packets = space.or(packets, version)?;
        }
        let packets = space.all_of(&[packets, sources, opening])?;
        Ok(vec![Begin { places, packets, anyhow: true }])
    }

    /// Which packets arrive from a place, in so many hosts at most.
    fn arrive(&mut self, place: &Place, packets: Set, hops: usize) -> Result<Arrives, TooComplex> {
        if packets.is_empty() || hops == 0 {
            return Ok(Arrives::NONE);
        }
        let key = (place.clone(), packets, hops);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        if self.steps == MAX_STEPS {
            return Err(TooComplex::Many { most: MAX_STEPS, of: STEPS });
        }
        self.steps += 1;
        let Some((name, interface)) = place.within() else { return Ok(Arrives::NONE) };
        let pieces = self.pieces(name, interface)?;
        let came = self.come(packets, interface)?;
        let (mut maybe, mut surely, mut fails) = (Set::EMPTY, Set::EMPTY, Set::EMPTY);
        for piece in pieces.iter() {
            let these = self.prover.space.and(came, piece.reach.maybe)?;
            if these.is_empty() {
                continue;
            }
            let arrives = self.leave(name, piece, these, hops)?;
            let space = &mut self.prover.space;
            let sure = space.and(arrives.surely, piece.reach.surely)?;
            maybe = space.or(maybe, arrives.maybe)?;
            surely = space.or(surely, sure)?;
            // Where the kernel may choose between ways, all of them must lead there.
            let lost = space.without(these, sure)?;
            fails = space.or(fails, lost)?;
        }
        if self.is_behind_a_bridge(name, interface) {
            surely = Set::EMPTY;
        }
        let space = &mut self.prover.space;
        let surely = space.without(surely, fails)?;
        // What else there is to a packet than goes over the wire may be anything.
        let left = space.without(came, surely)?;
        let left = space.only(left, &ON_THE_WIRE)?;
        let arrives = Arrives {
            maybe: space.only(maybe, &ON_THE_WIRE)?,
            surely: space.without(packets, left)?,
        };
        self.known.insert(key, arrives);
        Ok(arrives)
    }

    fn pieces(&mut self, host: &HostName, interface: Option<&str>) -> Result<Transfer, TooComplex> {
        self.seen.hosts.insert(host.clone());
        let Prover { space, site, transfers, .. } = &mut *self.prover;
        transfers.of(space, site, host, interface)
    }

    /// Which of the packets of a piece arrive.
    fn leave(
        &mut self,
        host: &HostName,
        piece: &Piece,
        these: Set,
        hops: usize,
    ) -> Result<Arrives, TooComplex> {
        if piece.leaves.is_bridged() {
            // What is behind a bridge is asked as if it were on the wire.
            return Ok(Arrives::NONE);
        }
        if piece.leaves == Leaves::Here {
            let Some(own) = self.receivers.get(host).copied() else { return Ok(Arrives::NONE) };
            return self.before(piece, these, Arrives { maybe: own, surely: own });
        }
        let image = sent(&mut self.prover.space, &piece.change, these)?;
        let (mut maybe, mut surely, mut fails) = (Set::EMPTY, Set::EMPTY, Set::EMPTY);
        for (then, packets) in self.next(host, &piece.leaves, image)? {
            let arrives = match then {
                Then::At(port) => {
                    let is_sure = self.surely_hears(host, piece.leaves.interface(), &port);
                    let arrives = self.arrive(&Place::Port(port), packets, hops - 1)?;
                    // A bridge between them may filter it.
                    let surely = if is_sure { arrives.surely } else { Set::EMPTY };
                    Arrives { surely, ..arrives }
                }
                Then::Away => Arrives { maybe: packets, surely: packets },
                Then::PerhapsAway => Arrives { maybe: packets, surely: Set::EMPTY },
            };
            let space = &mut self.prover.space;
            maybe = space.or(maybe, arrives.maybe)?;
            surely = space.or(surely, arrives.surely)?;
            // An address that two machines answer for is sure at neither.
            let lost = space.without(packets, arrives.surely)?;
            fails = space.or(fails, lost)?;
        }
        let surely = match piece.leaves {
            Leaves::Somehow { .. } | Leaves::Bridged { .. } => Set::EMPTY,
            Leaves::Here | Leaves::By { .. } => self.prover.space.without(surely, fails)?,
        };
        self.before(piece, these, Arrives { maybe, surely })
    }

    /// The packets of a piece that become those that arrive.
    fn before(&mut self, piece: &Piece, these: Set, then: Arrives) -> Result<Arrives, TooComplex> {
        let space = &mut self.prover.space;
        let change = piece.change.of_fields(&ON_THE_WIRE);
        let maybe = change.before(space, then.maybe)?.maybe;
        let surely = change.before(space, then.surely)?.surely;
        Ok(Arrives { maybe: space.and(these, maybe)?, surely: space.and(these, surely)? })
    }

    /// Where packets that have left a host are next.
    fn next(
        &mut self,
        host: &HostName,
        leaves: &Leaves,
        image: Set,
    ) -> Result<Vec<(Then, Set)>, TooComplex> {
        let (interface, router, receivers) = match leaves {
            Leaves::Here => return Ok(Vec::new()),
            Leaves::By { interface, via } => (interface, *via, via.is_none()),
            Leaves::Somehow { interface } | Leaves::Bridged { interface } => {
                (interface, None, false)
            }
        };
        let port = Port { host: host.clone(), interface: interface.clone() };
        let wires = Rc::clone(&self.prover.wires);
        let Some(wire) = wires.at(&port) else { return Ok(Vec::new()) };
        self.seen.wires.insert((Layout::Joined, wire));
        let others: Rc<Vec<Port>> = match router {
            Some(router) => Rc::new(wires.owners(wire, router).cloned().collect()),
            None if receivers => self.takers(wire, image)?,
            None => Rc::new(wires.get(wire).ports.iter().cloned().collect()),
        };
        let mut next = Vec::new();
        for other in others.iter().filter(|other| other.host != *host) {
            let packets = if receivers {
                let own = self.prover.answered_by(&other.host)?;
                self.prover.space.and(image, own)?
            } else {
                image
            };
            if !packets.is_empty() {
                next.push((Then::At(other.clone()), packets));
            }
        }
        let Some(internet) = self.to_internet else { return Ok(next) };
        let away = self.prover.space.and(image, internet)?;
        match router {
            // Nobody knows on which side of a bridge the router is.
            Some(_) if others.is_empty() && self.is_filtered(wire) => {
                next.push((Then::PerhapsAway, away));
            }
            Some(_) if others.is_empty() => next.push((Then::Away, away)),
            Some(_) => {}
            None => next.push((Then::PerhapsAway, away)),
        }
        next.retain(|(_, packets)| !packets.is_empty());
        Ok(next)
    }

    /// The interfaces on a wire of hosts that answer for a destination of some packets. Many senders ask
    /// about the same ones.
    fn takers(&mut self, wire: WireId, packets: Set) -> Result<Rc<Vec<Port>>, TooComplex> {
        let ends = [Field::Version, Field::Destination4, Field::Destination6];
        let to = self.prover.space.only(packets, &ends)?;
        if let Some(known) = self.takers.get(&(wire, to)) {
            return Ok(Rc::clone(known));
        }
        let wires = Rc::clone(&self.prover.wires);
        let mut takers = Vec::new();
        for port in &wires.get(wire).ports {
            let own = self.prover.answered_by(&port.host)?;
            if !self.prover.space.and(to, own)?.is_empty() {
                takers.push(port.clone());
            }
        }
        let takers = Rc::new(takers);
        self.takers.insert((wire, to), Rc::clone(&takers));
        Ok(takers)
    }

    /// Whether what leaves a host comes to an interface with no bridge between them that filters.
    fn surely_hears(&self, host: &HostName, interface: Option<&str>, other: &Port) -> bool {
        let Some(interface) = interface.map(str::to_owned) else { return true };
        let wires = self.prover.laid(Layout::Surely);
        let wire = wires.at(&Port { host: host.clone(), interface });
        wire.is_some() && wire == wires.at(other)
    }

    /// Whether a bridge that filters is on a wire.
    fn is_filtered(&self, wire: WireId) -> bool {
        let Prover { site, wires, parted, .. } = &*self.prover;
        let is_port = |port: &Port| site.hosts[&port.host].bridge_of(&port.interface).is_some();
        parted.is_some() && wires.get(wire).ports.iter().any(is_port)
    }

    /// Whether a place is on a wire on which a bridge filters.
    fn is_by_a_bridge(&self, place: &Place) -> bool {
        match place {
            Place::Wire(wire) => self.is_filtered(*wire),
            Place::Port(port) => {
                self.prover.wires.at(port).is_some_and(|wire| self.is_filtered(wire))
            }
            Place::Host(_) => false,
        }
    }

    /// Whether what comes by an interface comes by a bridge that filters, and not known by which port.
    fn is_behind_a_bridge(&self, host: &HostName, interface: Option<&str>) -> bool {
        let host = self.prover.site.hosts.get(host);
        host.zip(interface).is_some_and(|(host, device)| host.bridge_by(device).is_some())
    }

    /// Packets as a host sees them that come by an interface, or begin in it: each opens a connection.
    fn come(&mut self, packets: Set, interface: Option<&str>) -> Result<Set, TooComplex> {
        let space = &mut self.prover.space;
        let new = space.value(Field::State, state::NEW)?;
        come(space, packets, new, interface.unwrap_or_default())
    }

    /// What a host does with one packet.
    fn visit(&mut self, place: &Place, packet: &Values) -> Result<Option<Visit>, TooComplex> {
        let Some((host, input)) = place.within() else { return Ok(None) };
        let pieces = self.pieces(host, input)?;
        let one = explain::on_the_wire(&mut self.prover.space, packet)?;
        let came = self.come(one, input)?;
        let mut onwards = None;
        for piece in pieces.iter() {
            let these = self.prover.space.and(came, piece.reach.maybe)?;
            if !these.is_empty() {
                onwards = Some((Rc::clone(piece), these));
                break;
            }
        }
        Ok(Some(Visit { host: host.clone(), input: input.map(str::to_owned), onwards }))
    }

    /// Where a packet is next that has left a host so, and what it is there; nothing where nobody takes it.
    fn onwards(
        &mut self,
        host: &HostName,
        (piece, these): &(Rc<Piece>, Set),
        wishes: &[Set],
    ) -> Result<Option<(Then, Values)>, TooComplex> {
        let image = sent(&mut self.prover.space, &piece.change, *these)?;
        let next = self.next(host, &piece.leaves, image)?;
        let Some((then, image)) = next.into_iter().next() else { return Ok(None) };
        let packet = self.prover.space.pick(image, wishes)?;
        Ok(packet.map(|packet| (then, packet)))
    }

    /// One packet that does not arrive, with its way to where it is stopped.
    fn stopped(&mut self, place: &Place, packets: Set) -> Result<Breach, TooComplex> {
        let mut wishes = wished(&mut self.prover.space, &self.prover.site.policy)?;
        // At an address of those who must be reached, if the sender may choose.
        let to: Vec<Set> = self.receivers.values().copied().collect();
        wishes.insert(0, self.prover.space.any_of(&to)?);
        let mut packet = self.prover.space.pick(packets, &wishes)?.unwrap_or_else(Values::plain);
        let (first, mut place, mut path) = (example(&packet), place.clone(), Vec::new());
        let end = loop {
            let Some(visit) = self.visit(&place, &packet)?.filter(|_| path.len() < MAX_HOPS) else {
                break Text::new(
                    "it goes round between routers until its hops are used up",
                    "报文在路由器之间循环，直至跳数耗尽",
                );
            };
            let (space, host) = (&mut self.prover.space, &self.prover.site.hosts[&visit.host]);
            let Some(onwards) = &visit.onwards else {
                let end = explain::stop(space, host, &visit.host, visit.hooks(), &packet)?;
                path.push(visit.hop(&packet, Vec::new()));
                break end;
            };
            let deciding = explain::deciding(space, host, &host.ruleset, visit.hooks(), &packet)?;
            path.push(visit.hop(&packet, deciding));
            match self.onwards(&visit.host, onwards, &wishes)? {
                Some((Then::At(port), next)) => (place, packet) = (Place::Port(port), next),
                Some((Then::Away | Then::PerhapsAway, _)) | None => {
                    break nobody_there(&visit.host, visit.hooks().output);
                }
            }
        };
        Ok(Breach { packet: first, path, end, cuts: Vec::new() })
    }

    /// What makes it unknown whether packets arrive.
    fn doubt(&mut self, place: &Place, packets: Set) -> Result<Answer, TooComplex> {
        let wishes = wished(&mut self.prover.space, &self.prover.site.policy)?;
        let mut packet = self.prover.space.pick(packets, &wishes)?.unwrap_or_else(Values::plain);
        let (mut place, mut found) = (place.clone(), None);
        let mut wires = BTreeSet::new();
        for _ in 0..MAX_HOPS {
            let Some(visit) = self.visit(&place, &packet)? else { break };
            let Some(onwards) = &visit.onwards else { break };
            let somehow = matches!(onwards.0.leaves, Leaves::Somehow { .. });
            found = explain::doubt_at(self.prover, &visit.host, visit.hooks(), &packet, somehow)?;
            if found.is_some() {
                break;
            }
            let ends = [visit.hooks().input, visit.hooks().output].into_iter().flatten();
            wires.extend(ends.filter_map(|interface| {
                let port = Port { host: visit.host.clone(), interface: interface.to_owned() };
                self.prover.wires.at(&port)
            }));
            match self.onwards(&visit.host, onwards, &wishes)? {
                Some((Then::At(port), next)) => (place, packet) = (Place::Port(port), next),
                Some((Then::PerhapsAway, _)) => {
                    let by = visit.hooks().output.unwrap_or_default();
                    let what = format!("whether {by} leads to the Internet is not known");
                    found = Some((what, Some(visit.host.to_string())));
                    break;
                }
                Some((Then::Away, _)) | None => break,
            }
        }
        let sides = || explain::unknown_sides(self.prover, Layout::Joined, &wires);
        let (statement, at) = found.or_else(sides).unwrap_or_else(explain::several);
        Ok(Answer::OutOfModel(Box::new(Doubt {
            statement,
            at,
            wanted: explain::wanted(),
            perhaps: None,
        })))
    }
}

fn nobody_there(host: &HostName, output: Option<&str>) -> Text {
    match output {
        Some(output) => Text::new(
            format!("{host} sends it out by {output}, where nobody known takes it"),
            format!("{host} 从 {output} 发出该报文，但该处没有已知主机接收"),
        ),
        None => {
            Text::new(format!("{host} takes it for itself"), format!("{host} 将该报文视为发给自己"))
        }
    }
}
