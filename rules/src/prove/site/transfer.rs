//! What a host does with packets, for all that can come by one interface or begin in it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::super::arena::{Set, TooComplex};
use super::super::change::Change;
use super::super::memory::Memory;
use super::super::pass::{Flow, Flows, Walk};
use super::super::reads::asks_for_input;
use super::super::space::{End, Space};
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
}

impl Leaves {
    /// The interface by which they do; nothing where they are for the host.
    pub(super) fn interface(&self) -> Option<&str> {
        match self {
            Self::Here => None,
            Self::By { interface, .. } | Self::Somehow { interface } => Some(interface),
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
    !asks_for_input(&host.ruleset)
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
        all.map(|one| device_name(one.device)).filter(|name| name != "lo")
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

/// Takes parts through hooks. What may be stopped there is sure no more.
fn hooked(walk: &mut Walk<'_>, hooks: &[Hook], parts: Vec<Part>) -> Result<Vec<Part>, TooComplex> {
    let mut done = Vec::new();
    for part in parts {
        let mut change = part.flow.change.clone();
        if let Some(interface) = part.leaves.interface() {
            change.set(Field::OutputDevice, device(interface).unwrap_or_default());
        }
        let mut flows = Flows::changed(part.flow.packets, change);
        let mut surely = part.surely;
        for hook in hooks {
            let passed = walk.hook(*hook, &flows)?;
            let space = walk.space();
            let stopped = space.or(passed.dropped, passed.rejected)?;
            surely = space.without(surely, stopped)?;
            flows = passed.accepted;
        }
        let others = flows.as_slice().to_vec();
        for flow in flows.as_slice() {
            let space = walk.space();
            let mut own = space.and(surely, flow.packets)?;
            // Where a packet may become one thing or another, neither is sure.
            for other in others.iter().filter(|other| other.change != flow.change) {
                own = space.without(own, other.packets)?;
            }
            if flow.change.is_unsure() {
                own = Set::EMPTY;
            }
            done.push(Part { flow: flow.clone(), surely: own, leaves: part.leaves.clone() });
        }
    }
    Ok(done)
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
        allowed = sources(space, host, interface, by)?;
    }
    let ways = routes(space, &host.network, End::Destination)?;
    let stays = same.unroutable;
    let mut walk = Walk::new(space, &host.ruleset).knowing(&host.network).recalling(memory);
    let flows = walk.begin(begin)?;
    let (mut flows, mut surely) = (flows, begin);
    for hook in [Hook::Ingress, Hook::Prerouting] {
        let passed = walk.hook(hook, &flows)?;
        let space = walk.space();
        let stopped = space.or(passed.dropped, passed.rejected)?;
        surely = space.without(surely, stopped)?;
        flows = passed.accepted;
    }
    let mut routable = Vec::new();
    for flow in flows.as_slice() {
        let space = walk.space();
        let sure = if flow.change.is_unsure() { Set::EMPTY } else { surely };
        routable.push(narrowed(space, flow, sure, allowed)?);
    }
    let parts = routed(walk.space(), host, &routable, &ways)?;
    let (mut local, mut through) = (Vec::new(), Vec::new());
    for part in parts {
        match part.leaves {
            Leaves::Here => local.push(part),
            Leaves::By { .. } | Leaves::Somehow { .. } => {
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
    let mut done = hooked(&mut walk, &[Hook::Input], local)?;
    let hooks = [Hook::Forward, Hook::Postrouting, Hook::Egress];
    done.extend(hooked(&mut walk, &hooks, through)?);
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
    Ok(pieces(done, host))
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
