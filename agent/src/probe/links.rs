//! The network as the host sees it: interfaces with addresses, traffic, routes, policy rules,
//! neighbours and forwarding switches, through rtnetlink(7); needs no privilege.
//!
//! The kernel tells of changes ([`watch`]), forwarding switches included, so that a new interface
//! or route is reported at once.
//!
//! Cannot know: other network namespaces, switches, and what an interface on a hypervisor is
//! really plugged into.

mod dump;
mod kind;
mod rule;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailey_rules::fact::links::{
    Duplex, Forwarding, HEARD_WITHIN, Interface, LinkKind, Mac, Neighbour, ReversePath, Route,
    RouteKind, Traffic,
};
use bailey_rules::fact::{Fact, FactKind, ProbeName, bounded};
use bailey_rules::unit::Bytes;
use futures::future::BoxFuture;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeader, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, State};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourCacheInfo, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia,
};

use super::{Probe, ProbeError, Roots, Wake};
use watch::Watch;

/// The most interfaces, routes, policy rules and neighbours that are reported. What lies beyond is left out, and
/// a fact says so.
const MAX_INTERFACES: usize = 1_000;
const MAX_ROUTES: usize = 4_000;
const MAX_RULES: usize = 1_000;
const MAX_NEIGHBOURS: usize = 2_000;
/// The most interfaces named in [`Forwarding::interfaces`].
const MAX_FORWARDING: usize = 64;
/// The subject of a fact that says that something was left out.
const MORE: &str = "(more)";
/// The routing table of local addresses; its entries follow from the addresses.
const TABLE_LOCAL: u32 = 255;

/// The probe `links`.
#[derive(Debug)]
pub struct LinksProbe {
    roots: Roots,
    watch: Option<Watch>,
}

impl LinksProbe {
    /// Reads the network namespace that the calling thread is in, and files below `roots`.
    #[must_use]
    pub fn new(roots: &Roots) -> Self {
        Self { roots: roots.clone(), watch: None }
    }

    fn facts(&mut self) -> Result<Vec<Fact>, ProbeError> {
        // Listening begins before reading: what changes in between is told, not missed.
        if self.watch.is_none() {
            match Watch::new() {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => {
                    tracing::warn!(%error, "no news of interfaces; they are read at the interval");
                }
            }
        }
        let failed = |error: std::io::Error| ProbeError(format!("rtnetlink: {error}"));
        let links = dump::links().map_err(failed)?;
        let addresses = dump::addresses().map_err(failed)?;
        let routes = dump::routes().map_err(failed)?;
        let neighbours = dump::neighbours().map_err(failed)?;
        if let Some(watch) = &mut self.watch {
            watch.seen(&links, &neighbours);
        }

        let names: BTreeMap<u32, String> =
            links.iter().map(|link| (link.header.index, name_of(link))).collect();
        let mut facts = Vec::with_capacity(2 * links.len() + routes.len() + neighbours.len() + 4);
        let counted = links.len();
        for link in links.iter().take(MAX_INTERFACES) {
            let name = name_of(link);
            facts.push(Fact::known(&name, self.interface(link, &name, &names, &addresses)));
            facts.extend(traffic(link).map(|traffic| Fact::known(&name, traffic)));
        }
        left_out(&mut facts, FactKind::Interface, counted, MAX_INTERFACES);

        let routes: BTreeMap<String, Route> =
            routes.iter().flat_map(|route| routes_of(route, &names)).collect();
        let counted = routes.len();
        facts.extend(
            routes.into_iter().take(MAX_ROUTES).map(|(words, route)| Fact::known(&words, route)),
        );
        left_out(&mut facts, FactKind::Route, counted, MAX_ROUTES);

        match dump::rules() {
            Ok(rules) => {
                let rules = rule::facts(&rules);
                let counted = rules.len();
                facts.extend(rules.into_iter().take(MAX_RULES));
                left_out(&mut facts, FactKind::Rule, counted, MAX_RULES);
            }
            // A kernel may be built without them.
            Err(error) => facts.push(Fact::unreadable(FactKind::Rule, MORE, error)),
        }

        let neighbours: BTreeMap<String, Neighbour> = neighbours
            .iter()
            .filter_map(|neighbour| neighbour_of(neighbour, &names))
            .map(|neighbour| (format!("{} {}", neighbour.address, neighbour.interface), neighbour))
            .collect();
        let counted = neighbours.len();
        facts.extend(
            neighbours.into_iter().take(MAX_NEIGHBOURS).map(|(at, seen)| Fact::known(&at, seen)),
        );
        left_out(&mut facts, FactKind::Neighbour, counted, MAX_NEIGHBOURS);

        let class = self.roots.sys.join("class/net");
        facts.push(forwarding(&self.roots.proc.join("sys/net"), &class));
        Ok(facts)
    }

    fn interface(
        &self,
        link: &LinkMessage,
        name: &str,
        names: &BTreeMap<u32, String>,
        addresses: &[AddressMessage],
    ) -> Interface {
        let device = self.roots.sys.join("class/net").join(name);
        let (kind, driver) = kind::of(link, &device);
        let mut interface = Interface {
            index: link.header.index,
            kind,
            driver: bounded(&driver),
            mac: None,
            admin_up: link.header.flags.contains(LinkFlags::Up),
            carrier: link.header.flags.contains(LinkFlags::LowerUp),
            speed_mbits: None,
            duplex: None,
            mtu: 0,
            master: None,
            addresses: addresses_of(link.header.index, addresses, |_| true),
            secondary: addresses_of(link.header.index, addresses, |header| {
                // The same bit says of an IPv6 address that it is a temporary one.
                header.family == AddressFamily::Inet
                    && header.flags.contains(AddressHeaderFlags::Secondary)
            }),
            link_only: addresses_of(link.header.index, addresses, |header| {
                header.scope == AddressScope::Link
            }),
            group: None,
            hardware: Some(u16::from(link.header.link_layer_type)),
            reverse_path: reverse_path(&self.roots.proc.join("sys/net/ipv4/conf"), name),
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(octets) => {
                    // Loopback and tunnels have none or one of zeroes.
                    let mac = <[u8; 6]>::try_from(octets.as_slice()).ok();
                    interface.mac = mac.filter(|octets| *octets != [0; 6]).map(Mac);
                }
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Group(group) => interface.group = Some(*group),
                LinkAttribute::Controller(index) => {
                    interface.master = names.get(index).cloned();
                }
                LinkAttribute::OperState(state) => {
                    interface.carrier = match state {
                        State::Up => true,
                        // Kinds that never tell are up when they are set up and running.
                        State::Unknown => interface.carrier && interface.admin_up,
                        // The crate's enum is open; nothing else carries traffic.
                        _ => false,
                    };
                }
                // The crate's enum is open; no other attribute is reported.
                _ => {}
            }
        }
        if interface.carrier && has_speed(kind) {
            let word = |file: &str| fs::read_to_string(device.join(file)).ok();
            let speed = word("speed").and_then(|text| text.trim().parse::<i64>().ok());
            // -1 and 2^32 - 1 both stand for "unknown".
            interface.speed_mbits = speed
                .filter(|speed| (1..i64::from(u32::MAX)).contains(speed))
                .and_then(|speed| u32::try_from(speed).ok());
            interface.duplex = match word("duplex").as_deref().map(str::trim) {
                Some("full") => Some(Duplex::Full),
                Some("half") => Some(Duplex::Half),
                _ => None,
            };
        }
        interface
    }
}

impl Probe for LinksProbe {
    fn name(&self) -> ProbeName {
        ProbeName::Links
    }

    fn read(&mut self, _: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
        // The kernel answers from memory, in less than a millisecond.
        Box::pin(async { self.facts() })
    }

    fn told(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            match &mut self.watch {
                Some(watch) => watch.told().await,
                None => std::future::pending().await,
            }
        })
    }
}

fn left_out(facts: &mut Vec<Fact>, kind: FactKind, counted: usize, most: usize) {
    if counted > most {
        let why = format!("{counted} in all, {most} are reported");
        facts.push(Fact::unreadable(kind, MORE, why));
    }
}

fn name_of(link: &LinkMessage) -> String {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(bounded(name)),
            // The crate's enum is open; only the name is asked for.
            _ => None,
        })
        .unwrap_or_else(|| format!("if{}", link.header.index))
}

/// Virtual interfaces state a speed that nobody measured, or fail to.
const fn has_speed(kind: LinkKind) -> bool {
    match kind {
        LinkKind::Ethernet | LinkKind::Bond | LinkKind::Usb => true,
        LinkKind::Loopback
        | LinkKind::Bridge
        | LinkKind::Vlan
        | LinkKind::Virtual
        | LinkKind::Tunnel
        | LinkKind::Wireless
        | LinkKind::Modem
        | LinkKind::Other => false,
    }
}

/// The addresses of an interface of which `wanted` holds.
fn addresses_of(
    index: u32,
    messages: &[AddressMessage],
    wanted: impl Fn(&AddressHeader) -> bool,
) -> Vec<IpNet> {
    let own =
        messages.iter().filter(|message| message.header.index == index && wanted(&message.header));
    let networks: BTreeSet<IpNet> = own
        .filter_map(|message| {
            let mut local = None;
            let mut address = None;
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(ip) => local = Some(*ip),
                    AddressAttribute::Address(ip) => address = Some(*ip),
                    // The crate's enum is open; these two are the addresses.
                    _ => {}
                }
            }
            // On a link between two ends, `Address` is the other end.
            IpNet::new(local.or(address)?, message.header.prefix_len).ok()
        })
        .collect();
    networks.into_iter().collect()
}

fn traffic(link: &LinkMessage) -> Option<Traffic> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(Traffic {
            received: Bytes(stats.rx_bytes),
            transmitted: Bytes(stats.tx_bytes),
            receive_errors: stats.rx_errors,
            transmit_errors: stats.tx_errors,
            receive_drops: stats.rx_dropped,
            transmit_drops: stats.tx_dropped,
        }),
        // The crate's enum is open; only the counters are asked for.
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        // The crate's enum is open; MPLS labels are no IP addresses.
        _ => None,
    }
}

/// The routes of one message, one for each next hop, with their words.
fn routes_of(message: &RouteMessage, names: &BTreeMap<u32, String>) -> Vec<(String, Route)> {
    let (any, kind) = match message.header.address_family {
        AddressFamily::Inet => (IpAddr::from([0_u8; 4]), message.header.kind),
        AddressFamily::Inet6 => (IpAddr::from([0_u8; 16]), message.header.kind),
        // The crate's enum is open; other families carry no IP packets.
        _ => return Vec::new(),
    };
    let kind = match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        RouteType::Local => RouteKind::Local,
        // The crate's enum is open; broadcast and the like follow from the addresses.
        _ => return Vec::new(),
    };
    let carries = kind == RouteKind::Unicast;
    let mut destination = any;
    let mut table = u32::from(message.header.table);
    let mut metric = 0;
    let mut source = None;
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address).unwrap_or(any),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::MultiPath(many) => hops.extend(
                many.iter().map(|hop| (gateway_of(&hop.attributes), Some(hop.interface_index))),
            ),
            // The crate's enum is open; gateway and interface are looked up below.
            _ => {}
        }
    }
    if table == TABLE_LOCAL || message.header.protocol.is_cached_copy() {
        return Vec::new();
    }
    let Ok(destination) = IpNet::new(destination, message.header.destination_prefix_length) else {
        return Vec::new();
    };
    // The kernel makes these for every IPv6 interface; they say nothing.
    if matches!(destination, IpNet::V6(v6) if v6.addr().is_unicast_link_local() || v6.addr().is_multicast())
    {
        return Vec::new();
    }
    if hops.is_empty() {
        let out = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            // The crate's enum is open; only the interface is asked for.
            _ => None,
        });
        hops.push((gateway_of(&message.attributes), out));
    }
    hops.into_iter()
        .map(|(gateway, out)| {
            let interface = out.map(|i| names.get(&i).cloned().unwrap_or_else(|| format!("if{i}")));
            // A route that drops names loopback for IPv6; it goes nowhere.
            let interface =
                interface.filter(|_| matches!(kind, RouteKind::Unicast | RouteKind::Local));
            let route = Route {
                destination: destination.trunc(),
                gateway,
                interface,
                metric,
                table,
                carries,
                kind,
                source,
            };
            (words(&route), route)
        })
        .collect()
}

trait CachedCopy {
    fn is_cached_copy(&self) -> bool;
}

impl CachedCopy for netlink_packet_route::route::RouteProtocol {
    /// Redirects and path discoveries are learned from packets and come and go by themselves.
    fn is_cached_copy(&self) -> bool {
        matches!(self, Self::IcmpRedirect)
    }
}

fn gateway_of(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        // The crate's enum is open; only the next hop is asked for.
        _ => None,
    })
}

/// A route in the words of `ip route` (ip-route(8)): its subject.
fn words(route: &Route) -> String {
    use std::fmt::Write as _;
    let mut words = match route.kind {
        RouteKind::Unicast => "",
        RouteKind::Blackhole => "blackhole ",
        RouteKind::Unreachable => "unreachable ",
        RouteKind::Prohibit => "prohibit ",
        RouteKind::Throw => "throw ",
        RouteKind::Local => "local ",
    }
    .to_owned();
    // Writing to a String cannot fail.
    let _ = if route.destination.prefix_len() == 0 {
        let family = if route.destination.addr().is_ipv6() { " (IPv6)" } else { "" };
        write!(words, "default{family}")
    } else {
        write!(words, "{}", route.destination)
    };
    if let Some(gateway) = route.gateway {
        let _ = write!(words, " via {gateway}");
    }
    if let Some(interface) = &route.interface {
        let _ = write!(words, " dev {interface}");
    }
    if route.table != 254 {
        let _ = write!(words, " table {}", route.table);
    }
    if route.metric != 0 {
        let _ = write!(words, " metric {}", route.metric);
    }
    words
}

/// Whether a neighbour in this state was really seen.
const fn was_seen(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    )
}

/// A neighbour that was really seen, as the kernel tells of it.
struct Seen {
    address: IpAddr,
    mac: Option<Mac>,
    silent: bool,
}

fn seen_neighbour(message: &NeighbourMessage) -> Option<Seen> {
    let state = message.header.state;
    if !was_seen(state) {
        return None;
    }
    let mut address = None;
    let mut mac = None;
    // Somebody wrote it there; whoever it is of may never have been heard.
    let mut silent = state == NeighbourState::Permanent;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::from(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::from(*ip));
            }
            NeighbourAttribute::LinkLayerAddress(octets) => {
                mac = <[u8; 6]>::try_from(octets.as_slice()).ok().map(Mac);
            }
            NeighbourAttribute::CacheInfo(ages) => silent |= heard(ages) > HEARD_WITHIN,
            // The crate's enum is open; nothing else is reported.
            _ => {}
        }
    }
    let address = address.filter(|ip| !ip.is_multicast() && !ip.is_loopback())?;
    Some(Seen { address, mac, silent })
}

/// How long ago a neighbour was heard at the latest: it answered, or what is known of it became another
/// (`struct nda_cacheinfo`; in the clock ticks of user space, of which there are 100 a second, time(7)).
fn heard(ages: &NeighbourCacheInfo) -> Duration {
    Duration::from_millis(u64::from(ages.confirmed.min(ages.updated)) * 10)
}

fn neighbour_of(message: &NeighbourMessage, names: &BTreeMap<u32, String>) -> Option<Neighbour> {
    let Seen { address, mac, silent } = seen_neighbour(message)?;
    Some(Neighbour {
        address,
        interface: names.get(&message.header.ifindex)?.clone(),
        mac,
        router: message.header.flags.contains(NeighbourFlags::Router),
        silent,
    })
}

/// What is done with sources that come by the wrong interface: the larger of both switches is in force
/// (`Documentation/networking/ip-sysctl.rst`).
fn reverse_path(conf: &Path, interface: &str) -> Option<ReversePath> {
    let switch = |of: &str| {
        let text = fs::read_to_string(conf.join(of).join("rp_filter")).ok()?;
        text.trim().parse::<u32>().ok()
    };
    Some(match switch("all")?.max(switch(interface)?) {
        0 => ReversePath::Off,
        1 => ReversePath::Strict,
        _ => ReversePath::Loose,
    })
}

/// Whether the rules of IP see what bridges carry (`Documentation/networking/ip-sysctl.rst`,
/// bridge-nf-call-*): all of them, or one by its own switch. Without `br_netfilter` there are no switches.
fn bridged(net: &Path, class: &Path) -> io::Result<bool> {
    let calls = ["iptables", "ip6tables"];
    let mut switches: Vec<PathBuf> =
        calls.iter().map(|call| net.join(format!("bridge/bridge-nf-call-{call}"))).collect();
    for interface in fs::read_dir(class)? {
        let bridge = interface?.path().join("bridge");
        switches.extend(calls.iter().map(|call| bridge.join(format!("nf_call_{call}"))));
    }
    for switch in switches {
        match fs::read_to_string(&switch) {
            Ok(text) if text.trim() != "0" => return Ok(true),
            Ok(_) => {}
            // An interface that is no bridge is in the way where its switches would be.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn forwarding(net: &Path, class: &Path) -> Fact {
    let switch =
        |path: &Path| fs::read_to_string(path).ok().map(|text| !matches!(text.trim(), "0" | ""));
    let Some(ipv4) = switch(&net.join("ipv4/ip_forward")) else {
        let why = "no /proc/sys/net/ipv4/ip_forward";
        return Fact::unreadable(FactKind::Forwarding, "", why);
    };
    // Without IPv6 in the kernel there is nothing to forward.
    let ipv6 = switch(&net.join("ipv6/conf/all/forwarding")).unwrap_or(false);
    let mut interfaces = BTreeSet::new();
    for (family, whole) in [("ipv4", ipv4), ("ipv6", ipv6)] {
        if whole {
            continue;
        }
        let folders = fs::read_dir(net.join(family).join("conf")).into_iter().flatten().flatten();
        for folder in folders {
            let name = folder.file_name();
            let one = name != "all" && name != "default";
            if one && switch(&folder.path().join("forwarding")) == Some(true) {
                interfaces.insert(bounded(&name.to_string_lossy()));
            }
        }
    }
    Fact::known(
        "",
        Forwarding {
            ipv4,
            ipv6,
            interfaces: interfaces.into_iter().take(MAX_FORWARDING).collect(),
            bridged: bridged(net, class).ok(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(state: NeighbourState, confirmed: u32, updated: u32) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.state = state;
        let address = NeighbourAddress::Inet([10, 1, 0, 9].into());
        let ages = [confirmed, 0, updated, 1].map(u32::to_ne_bytes).concat();
        let ages = NeighbourCacheInfo::parse(&ages).expect("struct nda_cacheinfo");
        message.attributes =
            vec![NeighbourAttribute::Destination(address), NeighbourAttribute::CacheInfo(ages)];
        message
    }

    #[test]
    fn a_neighbour_that_was_not_heard_for_five_minutes_is_silent() {
        let silent = |state, confirmed, updated| {
            seen_neighbour(&neighbour(state, confirmed, updated)).expect("it was seen").silent
        };
        // In hundredths of a second.
        assert!(!silent(NeighbourState::Stale, 30_000, 36_000), "it answered five minutes ago");
        assert!(!silent(NeighbourState::Stale, 36_000, 30_000), "it asked five minutes ago");
        assert!(silent(NeighbourState::Stale, 36_000, 30_001));
        assert!(silent(NeighbourState::Permanent, 0, 0), "somebody wrote it there");
        assert!(seen_neighbour(&neighbour(NeighbourState::Failed, 0, 0)).is_none());
    }
}
