//! Which interfaces are on one wire.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::bridge::Bridge;
use super::{Port, Site};
use crate::model::field::device_name;
use crate::model::network::Interface;
use crate::name::HostName;

/// A wire by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WireId(pub(super) usize);

/// Interfaces that hear each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire {
    /// Those of known hosts.
    pub(super) ports: BTreeSet<Port>,
    /// The networks that they have addresses in.
    pub(super) networks: BTreeSet<IpNet>,
}

/// All wires of a site.
#[derive(Debug, Clone, Default)]
pub(super) struct Wires {
    all: Vec<Wire>,
    of: HashMap<Port, WireId>,
    /// Who answers for an address, which every interface of its host does.
    owners: BTreeMap<IpAddr, BTreeSet<HostName>>,
    /// Who answers for all of a network.
    of_networks: Vec<(IpNet, HostName)>,
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
    pub(super) maybe: Wires,
    /// Where only those who surely hear each other are.
    pub(super) surely: Wires,
}

impl Parted {
    /// Of a site; nothing where no bridge filters.
    pub(super) fn of(site: &Site, joined: &Wires) -> Option<Self> {
        let filters = |host: &HostName, bridge: &Bridge| {
            site.hosts[host].filtering().any(|one| one.device == bridge.device)
        };
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
        let joined = Rc::new(joined.clone());
        maybe.joined = Some(Rc::clone(&joined));
        surely.joined = Some(joined);
        Some(Self { maybe, surely })
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
        let mut owners: BTreeMap<IpAddr, BTreeSet<HostName>> = BTreeMap::new();
        let mut of_networks = Vec::new();
        for (name, host) in &site.hosts {
            for net in host.network.answers_for() {
                if net.prefix_len() == net.max_prefix_len() {
                    owners.entry(net.addr()).or_default().insert(name.clone());
                } else {
                    of_networks.push((net, name.clone()));
                }
            }
            for interface in host.network.interfaces.iter().flatten().filter(|one| one.up) {
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
        let mut wires = Self { owners, of_networks, ..Self::default() };
        let mut roots: HashMap<usize, WireId> = HashMap::new();
        for (place, (port, networks)) in ports.into_iter().enumerate() {
            let root = root(&mut joined, place);
            let id = *roots.entry(root).or_insert_with(|| {
                wires.all.push(Wire::default());
                WireId(wires.all.len() - 1)
            });
            wires.all[id.0].networks.extend(networks);
            if belongs(&port) == Belongs::Wholly {
                wires.all[id.0].ports.insert(port.clone());
            }
            wires.of.insert(port, id);
        }
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

    /// The interfaces on a wire by which hosts send packets to a router there that nobody knows.
    pub(super) fn leading_away<'w>(
        &'w self,
        site: &'w Site,
        wire: WireId,
    ) -> impl Iterator<Item = &'w Port> {
        self.get(wire).ports.iter().filter(move |port| {
            let host = &site.hosts[&port.host];
            let network = &host.network;
            let bridge = host.bridge_of(&port.interface).map(|bridge| bridge.device.as_str());
            let routes = network.routes.iter().flat_map(|tables| tables.values());
            routes.flat_map(crate::model::network::Table::iter).any(|route| {
                route.hops.iter().any(|hop| {
                    let here = hop.device.is_none_or(|device| {
                        let device = device_name(device);
                        device == port.interface || bridge == Some(device.as_str())
                    });
                    here && hop.via.is_some_and(|via| !self.is_known(port, via))
                })
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
        let owners = self.owners.get(&address);
        let ports = self.get(wire).ports.iter();
        ports.filter(move |port| {
            let mut wide = self.of_networks.iter().filter(|(net, _)| net.contains(&address));
            owners.is_some_and(|owners| owners.contains(&port.host))
                || wide.any(|(_, host)| *host == port.host)
        })
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
