//! What a host does with packets, for all that can come by one interface or begin in it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::super::arena::{Set, TooComplex};
use super::super::change::Change;
use super::super::memory::Memory;
use super::super::pass::{Flow, Flows, Layer, Stage, Traits, Walk};
use super::super::space::{End, Space};
use super::alike::Alike;
use super::bridge;
use super::route::{Goes, Reach, routes};
use super::{Host, ReversePath, Site};
use crate::model::field::{Field, ICMPV6, device, device_name, state};
use crate::model::interval::Interval;
use crate::model::ruleset::Hook;
use crate::name::HostName;

/// Where packets leave a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Leaves {
    /// They do not: they are for it.
    Here,
    /// By this interface, to this router, or to the receiver itself.
    By {
        /// The interface.
        interface: String,
        /// The router.
        via: Option<IpAddr>,
    },
    /// By this interface, to nobody knows whom.
    Somehow {
        /// The interface.
        interface: String,
    },
    /// By this port of a bridge, as frames that the host has not looked into.
    Bridged {
        /// The port.
        interface: String,
    },
}

impl Leaves {
    /// The interface by which they do; nothing where they are for the host.
    pub(super) fn interface(&self) -> Option<&str> {
        match self {
            Self::Here => None,
            Self::By { interface, .. }
            | Self::Somehow { interface }
            | Self::Bridged { interface } => Some(interface),
        }
    }

    /// Whether they pass a bridge.
    pub(super) const fn is_bridged(&self) -> bool {
        matches!(self, Self::Bridged { .. })
    }

    /// The same by another interface.
    fn by(&self, interface: &str) -> Self {
        let interface = interface.to_owned();
        match self {
            Self::Here => Self::Here,
            Self::By { via, .. } => Self::By { interface, via: *via },
            Self::Somehow { .. } => Self::Somehow { interface },
            Self::Bridged { .. } => Self::Bridged { interface },
        }
    }
}

/// Packets that end alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// The packets as they came.
    pub(super) reach: Reach,
    /// What becomes of them.
    pub(super) change: Change,
    /// Where they leave.
    pub(super) leaves: Leaves,
}

/// All that a host does with what comes by one way.
pub(super) type Transfer = Rc<Vec<Rc<Piece>>>;

/// How packets come to a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// They begin in it.
    Begins,
    /// By this interface.
    Comes(String),
    /// By any, which makes no difference to the host.
    ComesByAny,
}

/// Whether it makes no difference to a host by which interface a packet comes.
fn is_alike_everywhere(host: &Host, filters: &Traits) -> bool {
    let mut rules = host.network.rules.iter().flatten();
    host.filtering().next().is_none()
        && !filters.asks_for_input
        && host.reverse_path.values().all(|wanted| *wanted == ReversePath::Off)
        && rules.all(|rule| rule.iif.is_none())
}

/// What hosts do, worked out when it is first asked.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// By host, and how packets come to it.
    known: HashMap<HostName, BTreeMap<Way, Transfer>>,
    /// Where hosts send packets.
    routes: HashMap<HostName, Rc<Routes>>,
    /// What the chains of hosts did.
    alike: Alike,
    /// What is the same for every host.
    same: Option<Same>,
}

/// Where a host sends packets, by their destinations, and where it would send them back, by their sources.
#[derive(Debug)]
struct Routes {
    there: Vec<(Reach, Goes)>,
    /// Only where a source is looked up.
    back: Vec<(Reach, Goes)>,
}

impl Routes {
    fn of(space: &mut Space, host: &Host) -> Result<Self, TooComplex> {
        let there = routes(space, &host.network, End::Destination)?;
        let mut wanted = host.reverse_path.values();
        let back = if wanted.any(|wanted| *wanted != ReversePath::Off) {
            routes(space, &host.network, End::Source)?
        } else {
            Vec::new()
        };
        Ok(Self { there, back })
    }
}

/// Sets that every host is asked about.
#[derive(Debug, Clone, Copy)]
struct Same {
    openers: Set,
    unroutable: Set,
}

/// What it takes to work out what a host does.
struct Here<'a> {
    host: &'a Host,
    memory: &'a mut Memory,
    /// Whether others have the same filters. Hooks are then asked about all packets that there can be, so
    /// that one answer is for all.
    is_shared: bool,
    routes: Rc<Routes>,
    same: Same,
}

impl Transfers {
    /// Forgets what a host did that was another one; of its chains only what they would not do again.
    pub(super) fn turn(&mut self, site: &Site, name: &HostName, before: Option<&Host>) {
        self.known.remove(name);
        let stays = match (before, site.hosts.get(name)) {
            (Some(before), Some(now)) => {
                before.network == now.network && before.reverse_path == now.reverse_path
            }
            (None | Some(_), _) => false,
        };
        if !stays {
            self.routes.remove(name);
        }
        self.alike.turn(site, name, before);
    }

    /// What a host does with what comes by an interface, or begins in it.
    pub(super) fn of(
        &mut self,
        space: &mut Space,
        site: &Site,
        host: &HostName,
        interface: Option<&str>,
    ) -> Result<Transfer, TooComplex> {
        let way = match interface {
            None => Way::Begins,
            Some(interface) => Way::Comes(interface.to_owned()),
        };
        let known = self.known.get(host);
        let found = known.and_then(|known| {
            known.get(&way).or_else(|| match way {
                Way::Comes(_) => known.get(&Way::ComesByAny),
                Way::Begins | Way::ComesByAny => None,
            })
        });
        if let Some(found) = found {
            return Ok(Rc::clone(found));
        }
        let Some(of) = site.hosts.get(host) else { return Ok(Rc::default()) };
        let same = match self.same {
            Some(same) => same,
            None => Same { openers: openers(space)?, unroutable: unroutable(space)? },
        };
        self.same = Some(same);
        let routes = match self.routes.get(host) {
            Some(routes) => Rc::clone(routes),
            None => {
                let routes = Rc::new(Routes::of(space, of)?);
                self.routes.insert(host.clone(), Rc::clone(&routes));
                routes
            }
        };
        let Some((memory, is_shared)) = self.alike.of(site, host) else { return Ok(Rc::default()) };
        // Of a bridge that filters each port has its own way.
        let is_shared = is_shared && of.filtering().next().is_none();
        let filters = memory.traits(&of.ruleset);
        let here = Here { host: of, memory, is_shared, routes, same };
        let (key, pieces) = match way {
            Way::Comes(_) if is_alike_everywhere(of, &filters) => {
                (Way::ComesByAny, here.arriving(space, None)?)
            }
            Way::Comes(interface) => {
                let pieces = here.arriving(space, Some(&interface))?;
                (Way::Comes(interface), pieces)
            }
            Way::Begins | Way::ComesByAny => (Way::Begins, here.leaving(space)?),
        };
        let pieces = Rc::new(pieces);
        self.known.entry(host.clone()).or_default().insert(key, Rc::clone(&pieces));
        Ok(pieces)
    }
}

/// The packets that open something, or try to: those of a connection that somebody else opened are no
/// matter of theirs, and messages between neighbours leave no wire.
pub(super) fn openers(space: &mut Space) -> Result<Set, TooComplex> {
    let states = [state::NEW, state::INVALID].map(Interval::one).into_iter().collect();
    let opening = space.among(Field::State, &states)?;
    // Multicast listeners 130-132 and 143, neighbour discovery 133-137.
    let kinds = [(130, 137), (143, 143)].map(|(first, last)| Interval { first, last });
    let neighbours = space.among(Field::Icmp6Type, &kinds.into_iter().collect())?;
    let icmpv6 = space.value(Field::Protocol, u128::from(ICMPV6))?;
    let v6 = space.version(true)?;
    let neighbours = space.all_of(&[neighbours, icmpv6, v6])?;
    space.without(opening, neighbours)
}

/// The packets that no router passes on: multicast, what is for one wire, and what cannot be.
fn unroutable(space: &mut Space) -> Result<Set, TooComplex> {
    let nets =
        |nets: &[&str]| -> Vec<IpNet> { nets.iter().filter_map(|net| net.parse().ok()).collect() };
    let to = nets(&[
        "0.0.0.0/8",
        "127.0.0.0/8",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "::1/128",
        "fe80::/10",
        "ff00::/8",
    ]);
    let from = nets(&[
        "0.0.0.0/8",
        "127.0.0.0/8",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "::1/128",
        "fe80::/10",
        "ff00::/8",
    ]);
    let to = space.networks(End::Destination, &to)?;
    let from = space.networks(End::Source, &from)?;
    space.or(to, from)
}

/// Packets on their way through a host, as routes and hooks split them.
struct Part {
    flow: Flow,
    /// Those of the flow that surely took this way so far.
    surely: Set,
    leaves: Leaves,
}

/// The part of a flow for which something is true of the packets as they are now.
fn narrowed(
    space: &mut Space,
    flow: &Flow,
    surely: Set,
    reach: Reach,
) -> Result<(Flow, Set), TooComplex> {
    let maybe = flow.change.before(space, reach.maybe)?.maybe;
    let sure = flow.change.before(space, reach.surely)?.surely;
    let packets = space.and(flow.packets, maybe)?;
    let surely = space.all_of(&[surely, packets, sure])?;
    Ok((Flow { packets, change: flow.change.clone() }, surely))
}

/// Splits flows by where the routes take them.
fn routed<'w>(
    space: &mut Space,
    host: &Host,
    flows: &[(Flow, Set)],
    ways: &(impl Iterator<Item = &'w (Reach, Goes)> + Clone),
) -> Result<Vec<Part>, TooComplex> {
    let interfaces = || {
        let names = host.network.up().map(|one| device_name(one.device));
        // By a port only what goes by its bridge leaves.
        names.filter(|name| name != "lo" && host.bridge_of(name).is_none())
    };
    let mut parts = Vec::new();
    for (flow, surely) in flows {
        for (reach, goes) in ways.clone() {
            let (flow, surely) = narrowed(space, flow, *surely, *reach)?;
            if flow.packets.is_empty() {
                continue;
            }
            let mut part = |leaves, surely| parts.push(Part { flow: flow.clone(), surely, leaves });
            match goes {
                Goes::Here => part(Leaves::Here, surely),
                Goes::Nowhere => {}
                Goes::Anywhere => {
                    interfaces()
                        .for_each(|interface| part(Leaves::Somehow { interface }, Set::EMPTY));
                }
                Goes::Out(hops) => {
                    for hop in hops {
                        match hop.device {
                            Some(device) => {
                                let interface = device_name(device);
                                part(Leaves::By { interface, via: hop.via }, surely);
                            }
                            None => interfaces().for_each(|interface| {
                                part(Leaves::Somehow { interface }, Set::EMPTY);
                            }),
                        }
                    }
                }
            }
        }
    }
    Ok(parts)
}

/// The stages of packets at some hooks, one after the other.
fn at_hooks(hooks: &[Hook]) -> Vec<Stage> {
    hooks.iter().map(|hook| Stage::At(Layer::Packet, *hook)).collect()
}

/// Takes parts through hooks. What may be stopped there is sure no more. The hooks are asked about the
/// packets of `all`, of which those of the parts are some; where it is not told, about those alone.
fn hooked(
    walk: &mut Walk<'_>,
    hooks: &[Hook],
    parts: Vec<Part>,
    all: Option<Set>,
) -> Result<Vec<Part>, TooComplex> {
    passing(walk, parts, all, |leaves| {
        let out = leaves.interface().and_then(device).map(Stage::Output);
        out.into_iter().chain(at_hooks(hooks)).collect()
    })
}

/// Takes parts that leave a host by a bridge that filters on to each of its ports.
fn ported(walk: &mut Walk<'_>, host: &Host, parts: Vec<Part>) -> Result<Vec<Part>, TooComplex> {
    let mut done = Vec::new();
    for part in parts {
        let Some(bridge) = part.leaves.interface().and_then(|one| host.bridge_by(one)) else {
            done.push(part);
            continue;
        };
        for port in &bridge.ports {
            let (flow, surely) = (part.flow.clone(), part.surely);
            let one = vec![Part { flow, surely, leaves: part.leaves.by(port) }];
            done.extend(passing(walk, one, None, |_| bridge::down(port).to_vec())?);
        }
    }
    Ok(done)
}

/// Takes parts through the stages of each. What may be stopped there is sure no more. The stages are asked
/// about the packets of `all` as in [`hooked`].
fn passing(
    walk: &mut Walk<'_>,
    parts: Vec<Part>,
    all: Option<Set>,
    stages: impl Fn(&Leaves) -> Vec<Stage>,
) -> Result<Vec<Part>, TooComplex> {
    let mut done = Vec::new();
    for part in parts {
        let asked = all.unwrap_or(part.flow.packets);
        let flows = Flows::changed(asked, part.flow.change.clone());
        let (flows, stopped) = walk.staged(&stages(&part.leaves), flows)?;
        let space = walk.space();
        let surely = space.without(part.surely, stopped)?;
        let mut own = Vec::new();
        for flow in flows.as_slice() {
            let packets = space.and(flow.packets, part.flow.packets)?;
            if !packets.is_empty() {
                own.push(Flow { packets, change: flow.change.clone() });
            }
        }
        for (flow, surely) in each_sure(space, &own, surely)? {
            done.push(Part { flow, surely, leaves: part.leaves.clone() });
        }
    }
    Ok(done)
}

/// Each flow with those of its packets that are surely among `surely` and become nothing else.
fn each_sure(
    space: &mut Space,
    flows: &[Flow],
    surely: Set,
) -> Result<Vec<(Flow, Set)>, TooComplex> {
    let mut all = Vec::new();
    for flow in flows {
        let mut own = space.and(surely, flow.packets)?;
        // Where a packet may become one thing or another, neither is sure.
        for other in flows.iter().filter(|other| other.change != flow.change) {
            own = space.without(own, other.packets)?;
        }
        if flow.change.is_unsure() {
            own = Set::EMPTY;
        }
        all.push((flow.clone(), own));
    }
    Ok(all)
}

fn pieces(parts: Vec<Part>, host: &Host) -> Vec<Rc<Piece>> {
    // Of a host that could not be read whole nothing is sure.
    let known = host.unread.is_empty();
    let piece = |part: Part| Piece {
        reach: Reach {
            maybe: part.flow.packets,
            surely: if known { part.surely } else { Set::EMPTY },
        },
        change: part.flow.change,
        leaves: part.leaves,
    };
    parts.into_iter().map(|part| Rc::new(piece(part))).collect()
}

impl Here<'_> {
    /// What comes by an interface, or by any where that makes no difference.
    fn arriving(
        self,
        space: &mut Space,
        interface: Option<&str>,
    ) -> Result<Vec<Rc<Piece>>, TooComplex> {
        let Self { host, memory, is_shared, routes, same } = self;
        let mut begin = same.openers;
        let mut allowed = Reach { maybe: Set::ALL, surely: Set::ALL };
        if let Some(interface) = interface {
            let by = device(interface).unwrap_or_default();
            let here = space.value(Field::InputDevice, by)?;
            begin = space.and(begin, here)?;
            // What comes by a port of a bridge comes to the host by the bridge itself.
            let own = host.bridge_of(interface).map_or(interface, |bridge| bridge.device.as_str());
            let by = device(own).unwrap_or_default();
            allowed = sources(space, host, &routes.back, own, by)?;
        }
        let mut forwards = Set::EMPTY;
        for v6 in [false, true].into_iter().filter(|v6| host.forwards(*v6)) {
            let version = space.version(v6)?;
            forwards = space.or(forwards, version)?;
        }
        let forwards = space.without(forwards, same.unroutable)?;
        let mut walk = Walk::recalling(space, &host.ruleset, memory).knowing(&host.network);
        let flows = walk.begin(begin)?;
        let mut done = Vec::new();
        let (flows, stopped) = match interface.and_then(|one| Some((one, host.bridge_of(one)?))) {
            None => walk.staged(&at_hooks(&[Hook::Ingress, Hook::Prerouting]), flows)?,
            Some((by, bridge)) => {
                let (flows, before) = walk.staged(&bridge::ENTERS, flows)?;
                let sure = walk.space().without(begin, before)?;
                let entered = each_sure(walk.space(), flows.as_slice(), sure)?;
                for port in bridge.ports.iter().filter(|port| *port != by) {
                    let across = entered.iter().cloned().map(|(flow, surely)| {
                        let leaves = Leaves::Bridged { interface: port.clone() };
                        Part { flow, surely, leaves }
                    });
                    let across = across.collect();
                    let stages = bridge::across(port);
                    done.extend(passing(&mut walk, across, None, |_| stages.to_vec())?);
                }
                let up = bridge::up(bridge).into_iter().chain(at_hooks(&[Hook::Prerouting]));
                let (flows, after) = walk.staged(&up.collect::<Vec<_>>(), flows)?;
                (flows, walk.space().or(before, after)?)
            }
        };
        let surely = walk.space().without(begin, stopped)?;
        let mut routable = Vec::new();
        for (flow, surely) in each_sure(walk.space(), flows.as_slice(), surely)? {
            routable.push(narrowed(walk.space(), &flow, surely, allowed)?);
        }
        // Whoever passes nothing on need not ask where to.
        let asks = |(_, goes): &&(Reach, Goes)| *goes == Goes::Here || !forwards.is_empty();
        let asked = routes.there.iter().filter(asks);
        let parts = routed(walk.space(), host, &routable, &asked)?;
        let (mut local, mut through) = (Vec::new(), Vec::new());
        for part in parts {
            match part.leaves {
                Leaves::Here => local.push(part),
                Leaves::By { .. } | Leaves::Somehow { .. } | Leaves::Bridged { .. } => {
                    let reach = Reach { maybe: forwards, surely: forwards };
                    let (flow, surely) = narrowed(walk.space(), &part.flow, part.surely, reach)?;
                    if !flow.packets.is_empty() {
                        through.push(Part { flow, surely, leaves: part.leaves });
                    }
                }
            }
        }
        let all = is_shared.then_some(begin);
        done.extend(hooked(&mut walk, &[Hook::Input], local, all)?);
        let hooks = [Hook::Forward, Hook::Postrouting, Hook::Egress];
        let through = hooked(&mut walk, &hooks, through, all)?;
        done.extend(ported(&mut walk, host, through)?);
        Ok(pieces(done, host))
    }

    /// What begins in a host, with any of its addresses.
    fn leaving(self, space: &mut Space) -> Result<Vec<Rc<Piece>>, TooComplex> {
        let Self { host, memory, is_shared, routes, same } = self;
        let own: Vec<IpNet> = host.network.answers_for().collect();
        let own = space.networks(End::Source, &own)?;
        let new = space.value(Field::State, state::NEW)?;
        let here = space.value(Field::InputDevice, 0)?;
        let all = space.all_of(&[same.openers, new, here])?;
        let begin = space.and(all, own)?;
        let all = is_shared.then_some(all);
        let mut walk = Walk::recalling(space, &host.ruleset, memory).knowing(&host.network);
        let flows: Vec<(Flow, Set)> =
            walk.begin(begin)?.as_slice().iter().map(|flow| (flow.clone(), flow.packets)).collect();
        let mut parts = routed(walk.space(), host, &flows, &routes.there.iter())?;
        parts.retain(|part| part.leaves != Leaves::Here);
        let mut again = Vec::new();
        let mut sent = Vec::new();
        for part in hooked(&mut walk, &[Hook::Output], parts, all)? {
            let moved = walk.is_routed_again(&part.flow.change);
            if moved { again.push((part.flow, part.surely)) } else { sent.push(part) }
        }
        sent.extend(routed(walk.space(), host, &again, &routes.there.iter())?);
        sent.retain(|part| part.leaves != Leaves::Here);
        let done = hooked(&mut walk, &[Hook::Postrouting, Hook::Egress], sent, all)?;
        Ok(pieces(ported(&mut walk, host, done)?, host))
    }
}

/// The packets whose sources an interface takes. `back` is where the host would send answers.
fn sources(
    space: &mut Space,
    host: &Host,
    back: &[(Reach, Goes)],
    interface: &str,
    by: u128,
) -> Result<Reach, TooComplex> {
    let all = Reach { maybe: Set::ALL, surely: Set::ALL };
    let wanted = host.reverse_path.get(interface).copied().unwrap_or_default();
    if wanted == ReversePath::Off {
        return Ok(all);
    }
    let mut allowed = Reach { maybe: space.version(true)?, surely: space.version(true)? };
    let v4 = space.version(false)?;
    for (reach, goes) in back {
        let back = match goes {
            Goes::Here | Goes::Nowhere => continue,
            Goes::Anywhere => true,
            Goes::Out(hops) => {
                wanted == ReversePath::Loose
                    || hops.iter().any(|hop| hop.device.is_none_or(|device| device == by))
            }
        };
        if back {
            let maybe = space.and(reach.maybe, v4)?;
            allowed.maybe = space.or(allowed.maybe, maybe)?;
            if *goes != Goes::Anywhere {
                let surely = space.and(reach.surely, v4)?;
                allowed.surely = space.or(allowed.surely, surely)?;
            }
        }
    }
    Ok(allowed)
}

/// The fields that go over a wire; all others are a host's own.
pub(super) const ON_THE_WIRE: [Field; 13] = [
    Field::Version,
    Field::Protocol,
    Field::Source4,
    Field::Source6,
    Field::Destination4,
    Field::Destination6,
    Field::SourcePort,
    Field::DestinationPort,
    Field::IcmpType,
    Field::IcmpCode,
    Field::Icmp6Type,
    Field::Icmp6Code,
    Field::TcpFlags,
];

/// Packets as they are on the wire when they have left a host.
pub(super) fn sent(space: &mut Space, change: &Change, packets: Set) -> Result<Set, TooComplex> {
    let wire = change.of_fields(&ON_THE_WIRE);
    let image = wire.image(space, packets)?;
    space.only(image, &ON_THE_WIRE)
}

/// Packets of a wire as they come to an interface: as openers of a connection there.
pub(super) fn come(
    space: &mut Space,
    packets: Set,
    opening: Set,
    interface: &str,
) -> Result<Set, TooComplex> {
    let by = space.value(Field::InputDevice, device(interface).unwrap_or_default())?;
    let by = space.and(opening, by)?;
    space.and(packets, by)
}
