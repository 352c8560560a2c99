//! What a host does with packets, for all that can come by one interface or begin in it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::super::arena::{Set, TooComplex};
use super::super::change::Change;
use super::super::memory::Memory;
use super::super::pass::{Flow, Flows, Layer, Stage, Walk};
use super::super::reads::asks_for_input;
use super::super::space::{End, Space};
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
pub(super) type Transfer = Rc<Vec<Piece>>;

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
fn is_alike_everywhere(host: &Host) -> bool {
    let mut rules = host.network.rules.iter().flatten();
    host.filtering().next().is_none()
        && !asks_for_input(&host.ruleset)
        && host.reverse_path.values().all(|wanted| *wanted == ReversePath::Off)
        && rules.all(|rule| rule.iif.is_none())
}

/// What hosts do, worked out when it is first asked.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// By host, and how packets come to it.
    known: HashMap<HostName, BTreeMap<Way, Transfer>>,
    /// What the chains of hosts did.
    memories: HashMap<HostName, Memory>,
    /// What is the same for every host.
    same: Option<Same>,
}

/// Sets that every host is asked about.
#[derive(Debug, Clone, Copy)]
struct Same {
    openers: Set,
    unroutable: Set,
}

impl Transfers {
    /// Forgets what a host did that is another one now; of its chains only what they would not do again.
    pub(super) fn turn(&mut self, name: &HostName, before: Option<&Host>, now: Option<&Host>) {
        self.known.remove(name);
        match (before, now, self.memories.get_mut(name)) {
            (Some(before), Some(now), Some(memory)) if before.network == now.network => {
                memory.turn(&before.ruleset, &now.ruleset);
            }
            _ => {
                self.memories.remove(name);
            }
        }
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
        let memory = self.memories.entry(host.clone()).or_default();
        let (key, pieces) = match way {
            Way::Comes(_) if is_alike_everywhere(of) => {
                (Way::ComesByAny, arriving(space, of, memory, same, None)?)
            }
            Way::Comes(interface) => {
                let pieces = arriving(space, of, memory, same, Some(&interface))?;
                (Way::Comes(interface), pieces)
            }
            Way::Begins | Way::ComesByAny => (Way::Begins, leaving(space, of, memory, same)?),
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
fn routed(
    space: &mut Space,
    host: &Host,
    flows: &[(Flow, Set)],
    ways: &[(Reach, Goes)],
) -> Result<Vec<Part>, TooComplex> {
    let interfaces = || {
        let all = host.network.interfaces.iter().flatten().filter(|one| one.up);
        let names = all.map(|one| device_name(one.device));
        // By a port only what goes by its bridge leaves.
        names.filter(|name| name != "lo" && host.bridge_of(name).is_none())
    };
    let mut parts = Vec::new();
    for (flow, surely) in flows {
        for (reach, goes) in ways {
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

/// Takes parts through hooks. What may be stopped there is sure no more.
fn hooked(walk: &mut Walk<'_>, hooks: &[Hook], parts: Vec<Part>) -> Result<Vec<Part>, TooComplex> {
    passing(walk, parts, |leaves| {
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
            done.extend(passing(walk, one, |_| bridge::down(port).to_vec())?);
        }
    }
    Ok(done)
}

/// Takes parts through the stages of each. What may be stopped there is sure no more.
fn passing(
    walk: &mut Walk<'_>,
    parts: Vec<Part>,
    stages: impl Fn(&Leaves) -> Vec<Stage>,
) -> Result<Vec<Part>, TooComplex> {
    let mut done = Vec::new();
    for part in parts {
        let flows = Flows::changed(part.flow.packets, part.flow.change.clone());
        let (flows, stopped) = walk.staged(&stages(&part.leaves), flows)?;
        let surely = walk.space().without(part.surely, stopped)?;
        for (flow, surely) in each_sure(walk.space(), &flows, surely)? {
            done.push(Part { flow, surely, leaves: part.leaves.clone() });
        }
    }
    Ok(done)
}

/// Each flow with those of its packets that are surely among `surely` and become nothing else.
fn each_sure(
    space: &mut Space,
    flows: &Flows,
    surely: Set,
) -> Result<Vec<(Flow, Set)>, TooComplex> {
    let mut all = Vec::new();
    for flow in flows.as_slice() {
        let mut own = space.and(surely, flow.packets)?;
        // Where a packet may become one thing or another, neither is sure.
        for other in flows.as_slice().iter().filter(|other| other.change != flow.change) {
            own = space.without(own, other.packets)?;
        }
        if flow.change.is_unsure() {
            own = Set::EMPTY;
        }
        all.push((flow.clone(), own));
    }
    Ok(all)
}

fn pieces(parts: Vec<Part>, host: &Host) -> Vec<Piece> {
    // Of a host that could not be read whole nothing is sure.
    let known = host.unread.is_empty();
    parts
        .into_iter()
        .map(|part| Piece {
            reach: Reach {
                maybe: part.flow.packets,
                surely: if known { part.surely } else { Set::EMPTY },
            },
            change: part.flow.change,
            leaves: part.leaves,
        })
        .collect()
}

/// What comes by an interface, or by any where that makes no difference.
fn arriving(
    space: &mut Space,
    host: &Host,
    memory: &mut Memory,
    same: Same,
    interface: Option<&str>,
) -> Result<Vec<Piece>, TooComplex> {
    let mut begin = same.openers;
    let mut allowed = Reach { maybe: Set::ALL, surely: Set::ALL };
    if let Some(interface) = interface {
        let by = device(interface).unwrap_or_default();
        let here = space.value(Field::InputDevice, by)?;
        begin = space.and(begin, here)?;
        // What comes by a port of a bridge comes to the host by the bridge itself.
        let own = host.bridge_of(interface).map_or(interface, |bridge| bridge.device.as_str());
        let by = device(own).unwrap_or_default();
        allowed = sources(space, host, own, by)?;
    }
    let ways = routes(space, &host.network, End::Destination)?;
    let stays = same.unroutable;
    let mut walk = Walk::new(space, &host.ruleset).knowing(&host.network).recalling(memory);
    let flows = walk.begin(begin)?;
    let mut done = Vec::new();
    let (flows, stopped) = match interface.and_then(|one| Some((one, host.bridge_of(one)?))) {
        None => walk.staged(&at_hooks(&[Hook::Ingress, Hook::Prerouting]), flows)?,
        Some((by, bridge)) => {
            let (flows, before) = walk.staged(&bridge::ENTERS, flows)?;
            let sure = walk.space().without(begin, before)?;
            let entered = each_sure(walk.space(), &flows, sure)?;
            for port in bridge.ports.iter().filter(|port| *port != by) {
                let across = entered.iter().cloned().map(|(flow, surely)| {
                    let leaves = Leaves::Bridged { interface: port.clone() };
                    Part { flow, surely, leaves }
                });
                let across = across.collect();
                done.extend(passing(&mut walk, across, |_| bridge::across(port).to_vec())?);
            }
            let up = bridge::up(bridge).into_iter().chain(at_hooks(&[Hook::Prerouting]));
            let (flows, after) = walk.staged(&up.collect::<Vec<_>>(), flows)?;
            (flows, walk.space().or(before, after)?)
        }
    };
    let surely = walk.space().without(begin, stopped)?;
    let mut routable = Vec::new();
    for (flow, surely) in each_sure(walk.space(), &flows, surely)? {
        routable.push(narrowed(walk.space(), &flow, surely, allowed)?);
    }
    let parts = routed(walk.space(), host, &routable, &ways)?;
    let (mut local, mut through) = (Vec::new(), Vec::new());
    for part in parts {
        match part.leaves {
            Leaves::Here => local.push(part),
            Leaves::By { .. } | Leaves::Somehow { .. } | Leaves::Bridged { .. } => {
                let space = walk.space();
                let mut forwards = Set::EMPTY;
                for (v6, does) in [(false, host.forwards_v4), (true, host.forwards_v6)] {
                    if does {
                        let version = space.version(v6)?;
                        forwards = space.or(forwards, version)?;
                    }
                }
                let forwards = space.without(forwards, stays)?;
                let reach = Reach { maybe: forwards, surely: forwards };
                let (flow, surely) = narrowed(space, &part.flow, part.surely, reach)?;
                if !flow.packets.is_empty() {
                    through.push(Part { flow, surely, leaves: part.leaves });
                }
            }
        }
    }
    done.extend(hooked(&mut walk, &[Hook::Input], local)?);
    let hooks = [Hook::Forward, Hook::Postrouting, Hook::Egress];
    let through = hooked(&mut walk, &hooks, through)?;
    done.extend(ported(&mut walk, host, through)?);
    Ok(pieces(done, host))
}

/// What begins in a host, with any of its addresses.
fn leaving(
    space: &mut Space,
    host: &Host,
    memory: &mut Memory,
    same: Same,
) -> Result<Vec<Piece>, TooComplex> {
    let own: Vec<IpNet> = host.network.answers_for().collect();
    let own = space.networks(End::Source, &own)?;
    let begin = same.openers;
    let new = space.value(Field::State, state::NEW)?;
    let here = space.value(Field::InputDevice, 0)?;
    let begin = space.all_of(&[begin, new, here, own])?;
    let ways = routes(space, &host.network, End::Destination)?;
    let mut walk = Walk::new(space, &host.ruleset).knowing(&host.network).recalling(memory);
    let flows: Vec<(Flow, Set)> =
        walk.begin(begin)?.as_slice().iter().map(|flow| (flow.clone(), flow.packets)).collect();
    let mut parts = routed(walk.space(), host, &flows, &ways)?;
    parts.retain(|part| part.leaves != Leaves::Here);
    let mut again = Vec::new();
    let mut sent = Vec::new();
    for part in hooked(&mut walk, &[Hook::Output], parts)? {
        // What is sent elsewhere, or marked, is routed once more (ip_route_me_harder).
        let moved = part
            .flow
            .change
            .fields()
            .any(|field| matches!(field, Field::Destination4 | Field::Destination6))
            || part.flow.change.fixes(Field::Mark) != Some(0);
        if moved { again.push((part.flow, part.surely)) } else { sent.push(part) }
    }
    sent.extend(routed(walk.space(), host, &again, &ways)?);
    sent.retain(|part| part.leaves != Leaves::Here);
    let done = hooked(&mut walk, &[Hook::Postrouting, Hook::Egress], sent)?;
    Ok(pieces(ported(&mut walk, host, done)?, host))
}

/// The packets whose sources an interface takes.
fn sources(space: &mut Space, host: &Host, interface: &str, by: u128) -> Result<Reach, TooComplex> {
    let all = Reach { maybe: Set::ALL, surely: Set::ALL };
    let wanted = host.reverse_path.get(interface).copied().unwrap_or_default();
    if wanted == ReversePath::Off {
        return Ok(all);
    }
    let mut allowed = Reach { maybe: space.version(true)?, surely: space.version(true)? };
    let v4 = space.version(false)?;
    for (reach, goes) in routes(space, &host.network, End::Source)? {
        let back = match &goes {
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
            if goes != Goes::Anywhere {
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
