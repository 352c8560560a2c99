//! Which interfaces are on one wire.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::bridge::Bridge;
use super::{Port, Site};
use crate::model::field::device_name;
use crate::model::network::{Interface, Table};
use crate::name::HostName;

/// A wire by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WireId(pub(super) usize);

/// Interfaces that hear each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire {
    /// Those of known hosts.
    pub(super) ports: BTreeSet<Port>,
    /// Those that are heard only through the ports of a bridge that filters.
    pub(super) behind: BTreeSet<Port>,
    /// The networks that they have addresses in.
    pub(super) networks: BTreeSet<IpNet>,
}

/// All wires of a site.
#[derive(Debug, Clone, Default)]
pub(super) struct Wires {
    all: Vec<Wire>,
    of: HashMap<Port, WireId>,
    /// The interfaces of each host, with their wires.
    of_host: HashMap<HostName, Vec<(WireId, Port)>>,
    /// Who answers for an address, or for all of a network, which every interface of the host does.
    owners: HashMap<IpNet, BTreeSet<HostName>>,
    /// How long the prefixes of those networks are, of IPv4 and of IPv6.
    lengths: [BTreeSet<u8>; 2],
    /// The same where every bridge joins, where that is another.
    joined: Option<Rc<Wires>>,
}

/// Which of the wires of a site are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Layout {
    /// Those where every bridge joins.
    Joined,
    /// [`Parted::maybe`].
    Maybe,
    /// [`Parted::surely`].
    Surely,
}

/// How an interface belongs to its wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belongs {
    /// By its addresses, and others hear it.
    Wholly,
    /// Its networks are there, but it is heard only through the ports of its bridge.
    Behind,
    /// Not at all: nobody knows what is where.
    Nowhere,
}

/// The wires of a site of which some bridges filter: what is on either side of those is on two.
#[derive(Debug, Clone)]
pub(super) struct Parted {
    /// Where whoever may hear each other are on one wire: a bridge of which it is not known what is behind
    /// which of its ports joins all of it.
    pub(super) maybe: Rc<Wires>,
    /// Where only those who surely hear each other are.
    pub(super) surely: Rc<Wires>,
    /// The ports of the bridges that filter.
    pub(super) bridged: HashSet<Port>,
}

impl Parted {
    /// Of a site; nothing where no bridge filters.
    pub(super) fn of(site: &Site, joined: &Rc<Wires>) -> Option<Self> {
        let filters =
            |host: &HostName, bridge: &Bridge| site.hosts[host].bridge_by(&bridge.device).is_some();
        if !site.hosts.values().any(|host| host.filtering().next().is_some()) {
            return None;
        }
        let is_device = |port: &Port| site.hosts[&port.host].bridge_by(&port.interface).is_some();
        let joins = |host: &HostName, bridge: &Bridge| !filters(host, bridge);
        let apart = Wires::put(site, joins, |_| Belongs::Wholly);
        let known = |host: &HostName, bridge: &Bridge| apart.tells_sides(host, bridge);
        let mut maybe = Wires::put(
            site,
            |host, bridge| !filters(host, bridge) || !known(host, bridge),
            |port| {
                let bridge = site.hosts[&port.host].bridge_by(&port.interface);
                let known = bridge.is_some_and(|bridge| known(&port.host, bridge));
                if known { Belongs::Behind } else { Belongs::Wholly }
            },
        );
        let mut surely = Wires::put(site, joins, |port| {
            if is_device(port) { Belongs::Nowhere } else { Belongs::Wholly }
        });
        maybe.joined = Some(Rc::clone(joined));
        surely.joined = Some(Rc::clone(joined));
        let bridged = site.hosts.iter().flat_map(|(name, host)| {
            let ports = host.filtering().flat_map(|bridge| &bridge.ports);
            ports.map(|port| Port { host: name.clone(), interface: port.clone() })
        });
        let bridged = bridged.collect();
        Some(Self { maybe: Rc::new(maybe), surely: Rc::new(surely), bridged })
    }
}

impl Wires {
    /// Of a site, in which every bridge joins.
    pub(super) fn of(site: &Site) -> Self {
        Self::put(site, |_, _| true, |_| Belongs::Wholly)
    }

    /// Whether it is known what is behind which port of a bridge that joins nothing here: what the host
    /// has addresses for is behind one of them.
    fn tells_sides(&self, host: &HostName, bridge: &Bridge) -> bool {
        let at = |interface: &String| {
            self.at(&Port { host: host.clone(), interface: interface.clone() })
        };
        let Some(own) = at(&bridge.device) else { return true };
        let wire = self.get(own);
        let alone = wire.networks.is_empty() && wire.ports.len() == 1;
        alone || bridge.ports.iter().any(|port| at(port) == Some(own))
    }

    /// Puts every interface on its wire. `joins` tells which bridges make one wire of those of their
    /// ports.
    fn put(
        site: &Site,
        joins: impl Fn(&HostName, &Bridge) -> bool,
        belongs: impl Fn(&Port) -> Belongs,
    ) -> Self {
        let mut ports: Vec<(Port, BTreeSet<IpNet>)> = Vec::new();
        let mut places: HashMap<Port, usize> = HashMap::new();
        let mut owners: HashMap<IpNet, BTreeSet<HostName>> = HashMap::new();
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        for (name, host) in &site.hosts {
            for net in host.network.answers_for() {
                lengths[usize::from(net.addr().is_ipv6())].insert(net.prefix_len());
                owners.entry(net.trunc()).or_default().insert(name.clone());
            }
            for interface in host.network.up() {
                let port = Port { host: name.clone(), interface: device_name(interface.device) };
                if is_loopback(interface) || belongs(&port) == Belongs::Nowhere {
                    continue;
                }
                let networks = interface.addresses.iter().map(|one| one.network.trunc());
                let networks = networks.filter(tells_a_wire).collect();
                places.insert(port.clone(), ports.len());
                ports.push((port, networks));
            }
        }
        let mut joined: Vec<usize> = (0..ports.len()).collect();
        let mut by_network: HashMap<IpNet, usize> = HashMap::new();
        for (place, (_, networks)) in ports.iter().enumerate() {
            for network in networks {
                match by_network.get(network) {
                    Some(other) => join(&mut joined, place, *other),
                    None => {
                        by_network.insert(*network, place);
                    }
                }
            }
        }
        let bridges = site.hosts.iter().flat_map(|(host, of)| {
            of.bridges.iter().filter(|bridge| joins(host, bridge)).map(|bridge| {
                let port =
                    |interface: &String| Port { host: host.clone(), interface: interface.clone() };
                bridge.interfaces().map(port).collect::<BTreeSet<Port>>()
            })
        });
        for link in site.links.iter().cloned().chain(bridges) {
            let mut known = link.iter().filter_map(|port| places.get(port));
            if let Some(first) = known.next() {
                known.for_each(|other| join(&mut joined, *first, *other));
            }
        }
        let mut wires = Self { owners, lengths, ..Self::default() };
        let mut roots: HashMap<usize, WireId> = HashMap::new();
        for (place, (port, networks)) in ports.into_iter().enumerate() {
            let root = root(&mut joined, place);
            let id = *roots.entry(root).or_insert_with(|| {
                wires.all.push(Wire::default());
                WireId(wires.all.len() - 1)
            });
            wires.all[id.0].networks.extend(networks);
            match belongs(&port) {
                Belongs::Wholly => wires.all[id.0].ports.insert(port.clone()),
                Belongs::Behind | Belongs::Nowhere => wires.all[id.0].behind.insert(port.clone()),
            };
            wires.of_host.entry(port.host.clone()).or_default().push((id, port.clone()));
            wires.of.insert(port, id);
        }
        wires.of_host.values_mut().for_each(|ports| ports.sort_unstable());
        wires
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (WireId, &Wire)> {
        self.all.iter().enumerate().map(|(place, wire)| (WireId(place), wire))
    }

    pub(super) fn get(&self, id: WireId) -> &Wire {
        &self.all[id.0]
    }

    /// The wire that an interface is on.
    pub(super) fn at(&self, port: &Port) -> Option<WireId> {
        self.of.get(port).copied()
    }

    /// The interfaces of a host, with their wires.
    pub(super) fn of_host(&self, host: &HostName) -> &[(WireId, Port)] {
        self.of_host.get(host).map(Vec::as_slice).unwrap_or_default()
    }

    /// The interfaces on a wire by which hosts send packets to a router there that nobody knows.
    pub(super) fn leading_away<'w>(
        &'w self,
        site: &'w Site,
        wire: WireId,
    ) -> impl Iterator<Item = &'w Port> {
        // Many send to the same router.
        let mut known: HashMap<IpAddr, bool> = HashMap::new();
        self.get(wire).ports.iter().filter(move |port| {
            let host = &site.hosts[&port.host];
            let network = &host.network;
            let bridge = host.bridge_of(&port.interface).map(|bridge| bridge.device.as_str());
            let routes = network.routes.iter().flat_map(|tables| tables.values());
            let mut hops = routes.flat_map(Table::iter).flat_map(|route| &route.hops);
            hops.any(|hop| {
                let here = hop.device.is_none_or(|device| {
                    let device = device_name(device);
                    device == port.interface || bridge == Some(device.as_str())
                });
                let Some(via) = hop.via.filter(|_| here) else { return false };
                *known.entry(via).or_insert_with(|| !self.is_known(port, via))
            })
        })
    }

    /// Whether a known host answers for an address where an interface is, on whatever side of a bridge.
    pub(super) fn is_known(&self, port: &Port, address: IpAddr) -> bool {
        let joined = self.joined.as_deref().unwrap_or(self);
        let wire = joined.at(port);
        wire.is_some_and(|wire| joined.owners(wire, address).next().is_some())
    }

    /// The interfaces on a wire of hosts that answer for an address.
    pub(super) fn owners(&self, wire: WireId, address: IpAddr) -> impl Iterator<Item = &Port> {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        let nets = lengths.iter().filter_map(|length| IpNet::new(address, *length).ok());
        let owners = nets.filter_map(|net| self.owners.get(&net.trunc())).flatten();
        // Of a host that answers for it twice the interfaces are told once, and all in their order.
        let owners: BTreeSet<&HostName> = owners.collect();
        let ports = owners.into_iter().flat_map(|host| self.of_host(host));
        let heard = &self.get(wire).ports;
        let here = ports.filter(move |(at, port)| *at == wire && heard.contains(port));
        here.map(|(_, port)| port)
    }
}

fn is_loopback(interface: &Interface) -> bool {
    device_name(interface.device) == "lo"
}

/// Whether interfaces with addresses of the network are on one wire: every wire has link-local ones,
/// and a single address is no network.
pub(super) fn tells_a_wire(network: &IpNet) -> bool {
    let link_local = match network {
        IpNet::V4(v4) => v4.network().is_link_local(),
        IpNet::V6(v6) => v6.network().is_unicast_link_local(),
    };
    !link_local && network.prefix_len() < network.max_prefix_len()
}

fn root(joined: &mut [usize], place: usize) -> usize {
    let mut at = place;
    while joined[at] != at {
        joined[at] = joined[joined[at]];
        at = joined[at];
    }
    at
}

fn join(joined: &mut [usize], one: usize, other: usize) {
    let (one, other) = (root(joined, one), root(joined, other));
    joined[one.max(other)] = one.min(other);
}
