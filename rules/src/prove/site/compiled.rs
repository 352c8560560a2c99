//! The site that a policy describes: what it compiles to is proved before it is sent anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Host, Port, Site};
use crate::compile::{self, Compiler, NotCompiled};
use crate::model::field::{device, device_name, kind};
use crate::model::network::{Address, Hop, Interface, LOCAL, MAIN, Network, Route, Table};
use crate::name::{HostName, ZoneName};
use crate::policy::{Addresses, Mode, Policy};

/// The interface by which a gateway may reach the Internet.
const INTERNET: &str = "internet";
/// The longest name of an interface, in octets (`IFNAMSIZ` less its end).
const MAX_DEVICE: usize = 15;
/// The router of an Internet line, which nobody of the site is (RFC 5737).
const PROVIDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The same for IPv6 (RFC 3849).
const PROVIDER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

impl Site {
    /// A site in which every host has what the policy compiles to for it, and enforces it; `file` is
    /// what comments call the policy. Rules are named by their lines in what `bailey policy compile`
    /// prints for a host that enforces.
    ///
    /// A policy says neither wires nor routes, so the worst is taken: the networks of a zone are one
    /// wire; a host that may forward is on the wire of each zone that it has an address in, forwards both
    /// versions, may have a line to the Internet, and sends what is for elsewhere there and to every
    /// other such host that it shares a wire with. The addresses of a zone that no named host has are of
    /// one host that stands for all others, called `others.ZONE`. Interfaces are called as their zones.
    ///
    /// # Errors
    /// When the compiler wrote what [`compile::listed`] does not understand.
    pub fn compiled(policy: &Policy, file: &str) -> Result<Self, NotCompiled> {
        let enforced = enforced(policy);
        let compiler = Compiler::new(&enforced, file);
        let ruleset = |name: &HostName, zone: &ZoneName| {
            compile::listed(&compiler.ruleset(name, zone).text).map(Arc::new)
        };
        let gateways = Gateways::of(policy);
        let mut hosts = BTreeMap::new();
        for (name, entry) in policy.hosts.iter().filter(|(_, entry)| !entry.addresses.is_empty()) {
            let host = Host {
                zone: Some(entry.zone.clone()),
                ruleset: ruleset(name, &entry.zone)?,
                network: network(policy, &entry.addresses, gateways.place(name), &gateways),
                forwards_v4: entry.forwards,
                forwards_v6: entry.forwards,
                ..Host::default()
            };
            hosts.insert(name.clone(), host);
        }
        for zone in policy.zones.keys() {
            let Some(network) = of_others(policy, zone) else { continue };
            let name = others(policy, zone);
            let ruleset = ruleset(&name, zone)?;
            hosts.insert(
                name,
                Host { zone: Some(zone.clone()), ruleset, network, ..Host::default() },
            );
        }
        let mut links: BTreeMap<u128, BTreeSet<Port>> = BTreeMap::new();
        for (name, host) in &hosts {
            let devices = host.network.interfaces.iter().flatten().map(|one| one.device);
            for device in devices.filter(|device| device_name(*device) != INTERNET) {
                let port = Port { host: name.clone(), interface: device_name(device) };
                links.entry(device).or_default().insert(port);
            }
        }
        Ok(Self { policy: policy.clone(), hosts, links: links.into_values().collect() })
    }
}

/// The policy with every host enforcing it.
fn enforced(policy: &Policy) -> Policy {
    let mut enforced = policy.clone();
    for zone in enforced.zones.values_mut() {
        zone.mode = Mode::Enforce;
    }
    for entry in enforced.hosts.values_mut() {
        entry.mode = None;
    }
    enforced
}

/// The name of the host that stands for all others of a zone.
fn others(policy: &Policy, zone: &ZoneName) -> HostName {
    let named = |nth: usize| {
        let first = if nth == 0 { "others".to_owned() } else { format!("others-{nth}") };
        format!("{first}.{zone}").parse::<HostName>().expect("labels with a dot between")
    };
    // A policy has fewer hosts than there are numbers.
    (0..=policy.hosts.len())
        .map(named)
        .find(|name| !policy.hosts.contains_key(name))
        .expect("one more name than there are hosts")
}

/// What a zone's interface is called: as the zone where that can be the name of an interface.
fn zone_device(policy: &Policy, zone: &ZoneName) -> u128 {
    let name = zone.as_str();
    let fits = name.len() <= MAX_DEVICE && !matches!(name, "lo" | INTERNET);
    let own = device(name).filter(|_| fits);
    own.or_else(|| {
        let place = policy.zones.keys().position(|one| one == zone)?;
        device(&format!("zone#{place}"))
    })
    .unwrap_or_default()
}

/// The zone's network that an address is in.
fn network_of(policy: &Policy, zone: &ZoneName, of: IpAddr) -> Option<IpNet> {
    policy.zones.get(zone)?.networks.iter().copied().find(|network| network.contains(&of))
}

/// The hosts that may forward, with the wires that they are on.
struct Gateways<'p>(Vec<Gateway<'p>>);

struct Gateway<'p> {
    name: &'p HostName,
    /// Its addresses by zone.
    zones: BTreeMap<&'p ZoneName, Vec<IpAddr>>,
}

impl<'p> Gateways<'p> {
    fn of(policy: &'p Policy) -> Self {
        let forwarding = policy.hosts.iter().filter(|(_, entry)| entry.forwards);
        let gateways = forwarding.map(|(name, entry)| {
            let mut zones: BTreeMap<&ZoneName, Vec<IpAddr>> = BTreeMap::new();
            for address in &entry.addresses {
                if let Some(zone) = policy.zone_of(*address) {
                    zones.entry(zone).or_default().push(*address);
                }
            }
            Gateway { name, zones }
        });
        Self(gateways.collect())
    }

    /// The place of a host among them.
    fn place(&self, name: &HostName) -> Option<usize> {
        self.0.iter().position(|gateway| gateway.name == name)
    }

    /// The way to each other gateway by each wire that it shares with this one, of one version.
    fn others(&self, policy: &Policy, place: usize, v6: bool) -> Vec<Hop> {
        let mut hops = Vec::new();
        for (other, gateway) in self.0.iter().enumerate().filter(|(other, _)| *other != place) {
            for (zone, addresses) in &gateway.zones {
                if !self.0[place].zones.contains_key(zone) {
                    continue;
                }
                let v4 = addresses.iter().copied().find(IpAddr::is_ipv4);
                let via = if v6 { Some(link_local(other)) } else { v4 };
                let device = Some(zone_device(policy, zone));
                hops.extend(via.map(|via| Hop { device, via: Some(via) }));
            }
        }
        hops
    }
}

/// The address that a gateway has on every wire, by which routers of IPv6 know each other.
fn link_local(place: usize) -> IpAddr {
    let last = u64::try_from(place).unwrap_or(u64::MAX).saturating_add(1);
    Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(last)).into()
}

/// The interfaces and routes of a host that the policy names. `gateway` is its place among those that
/// forward.
fn network(
    policy: &Policy,
    addresses: &[IpAddr],
    gateway: Option<usize>,
    gateways: &Gateways<'_>,
) -> Network {
    let mut by_zone: BTreeMap<&ZoneName, Vec<Address>> = BTreeMap::new();
    for one in addresses {
        let zone = policy.zone_of(*one);
        let placed = zone.and_then(|zone| Some((zone, network_of(policy, zone, *one)?)));
        if let Some((zone, network)) = placed {
            by_zone.entry(zone).or_default().push(Address::within(network, *one));
        }
    }
    let mut table = Table::default();
    let mut interfaces = Vec::new();
    for (zone, mut own) in by_zone {
        let device = zone_device(policy, zone);
        if let Some(place) = gateway {
            let segment = Ipv6Net::new(Ipv6Addr::from(0xfe80_u128 << 112), 64).map(IpNet::from);
            own.extend(segment.ok().map(|segment| Address::within(segment, link_local(place))));
        }
        interfaces.push(Interface::named(device, own));
        for network in policy.zones.get(zone).into_iter().flat_map(|zone| &zone.networks) {
            let hops = vec![Hop { device: Some(device), via: None }];
            table.add(Route::plain(*network, kind::UNICAST, hops));
        }
    }
    if let Some(place) = gateway {
        let line = device(INTERNET);
        interfaces.extend(line.map(|line| Interface::named(line, Vec::new())));
        let everywhere = [
            (false, IpNet::from(Ipv4Net::default()), IpAddr::from(PROVIDER)),
            (true, IpNet::from(Ipv6Net::default()), IpAddr::from(PROVIDER6)),
        ];
        for (v6, to, provider) in everywhere {
            let mut hops = vec![Hop { device: line, via: Some(provider) }];
            hops.extend(gateways.others(policy, place, v6));
            table.add(Route::plain(to, kind::UNICAST, hops));
        }
    }
    Network {
        interfaces: Some(interfaces),
        routes: Some(BTreeMap::from([(MAIN, table)])),
        rules: None,
    }
}

/// The interfaces and routes of all hosts of a zone that the policy does not name; nothing where no
/// address is left.
fn of_others(policy: &Policy, zone: &ZoneName) -> Option<Network> {
    let networks: Addresses = policy.zones.get(zone)?.networks.iter().copied().collect();
    let named: Addresses = policy
        .hosts
        .values()
        .flat_map(|entry| &entry.addresses)
        .copied()
        .map(IpNet::from)
        .collect();
    let left = networks.without(&named);
    let left: Vec<IpNet> = left
        .v4()
        .iter()
        .copied()
        .map(IpNet::V4)
        .chain(left.v6().iter().copied().map(IpNet::V6))
        .collect();
    let first = left.first()?.addr();
    let device = zone_device(policy, zone);
    let mut local = Table::default();
    for network in left {
        local.add(Route::plain(network, kind::LOCAL, Vec::new()));
    }
    let mut main = Table::default();
    for network in &policy.zones.get(zone)?.networks {
        let hops = vec![Hop { device: Some(device), via: None }];
        main.add(Route::plain(*network, kind::UNICAST, hops));
    }
    let own = vec![Address::within(network_of(policy, zone, first)?, first)];
    Some(Network {
        interfaces: Some(vec![Interface::named(device, own)]),
        routes: Some(BTreeMap::from([(LOCAL, local), (MAIN, main)])),
        rules: None,
    })
}
