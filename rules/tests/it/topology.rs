//! How a site is wired, inferred from what its devices tell; held against sites that are made by chance.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bailey_rules::check::Status;
use bailey_rules::device::ethernet::Duplex;
use bailey_rules::expectation::RuleFiles;
use bailey_rules::fact::links::Mac;
use bailey_rules::name::HostName;
use bailey_rules::topology::ends::{Seen, disagreements};
use bailey_rules::topology::wish::Wishes;
use bailey_rules::topology::{
    Asset, Confidence, Conflict, Device, End, Evidence, Neighbour, Port, PortNumber, Protocol,
    Station, Topology, Wired, infer,
};
use bailey_rules::unit::BitRate;
use proptest::prelude::*;
use proptest::sample::Index;

/// A port of a switch, by the switch's place.
type Plug = (usize, PortNumber);
type Plugs = BTreeSet<Plug>;

/// A node of a made site.
#[derive(Debug, Clone)]
struct Node {
    /// Whether Bailey polls it; what nobody polls is a hub.
    polled: bool,
    /// By port: the node it leads to.
    links: BTreeMap<PortNumber, usize>,
    /// By port: the host at it.
    hosts: BTreeMap<PortNumber, usize>,
}

/// A made site: a tree of switches and hubs, with hosts.
#[derive(Debug, Clone)]
struct Site {
    nodes: Vec<Node>,
    hosts: Vec<usize>,
}

/// What is to be made: for each node after the first what it hangs on and whether it is a hub; for each
/// host where it is.
fn site(most_nodes: usize, hubs: bool) -> impl Strategy<Value = Site> {
    let nodes = prop::collection::vec((any::<Index>(), prop::bool::weighted(0.25)), 1..most_nodes);
    let hosts = prop::collection::vec(any::<Index>(), 0..24);
    (nodes, hosts).prop_map(move |(nodes, hosts)| {
        let node = |polled| Node { polled, links: BTreeMap::new(), hosts: BTreeMap::new() };
        let mut site = Site { nodes: vec![node(true)], hosts: Vec::new() };
        for (up, hub) in nodes {
            let up = up.index(site.nodes.len());
            let new = site.nodes.len();
            site.nodes.push(node(!(hub && hubs)));
            site.join(up, new);
        }
        for at in hosts {
            let at = at.index(site.nodes.len());
            site.plug(at);
        }
        site
    })
}

impl Site {
    fn free_port(&self, at: usize) -> PortNumber {
        let node = &self.nodes[at];
        // Numbers that differ from device to device.
        PortNumber::try_from(node.links.len() + node.hosts.len() + 1 + at * 100).unwrap()
    }

    fn join(&mut self, one: usize, other: usize) {
        let (p, q) = (self.free_port(one), self.free_port(other));
        self.nodes[one].links.insert(p, other);
        self.nodes[other].links.insert(q, one);
    }

    fn plug(&mut self, at: usize) {
        let port = self.free_port(at);
        let host = self.hosts.len();
        self.nodes[at].hosts.insert(port, host);
        self.hosts.push(at);
    }

    /// By node: the port by which `from` reaches it.
    fn ports_towards(&self, from: usize) -> BTreeMap<usize, PortNumber> {
        let mut towards = BTreeMap::new();
        for (port, next) in &self.nodes[from].links {
            let mut edge = vec![(*next, from)];
            while let Some((at, before)) = edge.pop() {
                towards.insert(at, *port);
                let further = self.nodes[at].links.values().filter(|next| **next != before);
                edge.extend(further.map(|next| (*next, at)));
            }
        }
        towards
    }

    /// The wires: the ports of polled switches that reach each other with no polled switch between, and
    /// the hosts on hubs between.
    fn wires(&self) -> Vec<(Plugs, BTreeSet<usize>)> {
        let mut wires = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.polled) {
            for (port, next) in &node.links {
                if !seen.insert((at, *port)) {
                    continue;
                }
                let mut ends = BTreeSet::from([(at, *port)]);
                let mut hosts = BTreeSet::new();
                let mut edge = vec![(at, *next)];
                while let Some((before, at)) = edge.pop() {
                    let node = &self.nodes[at];
                    if node.polled {
                        let back = node.links.iter().find(|(_, next)| **next == before);
                        let place = (at, *back.unwrap().0);
                        seen.insert(place);
                        ends.insert(place);
                    } else {
                        hosts.extend(node.hosts.values());
                        let further = node.links.values().filter(|next| **next != before);
                        edge.extend(further.map(|next| (at, *next)));
                    }
                }
                wires.push((ends, hosts));
            }
        }
        wires
    }

    /// What the site is in truth, in the words of the inference: links, and where each host is.
    fn truth(&self) -> (BTreeSet<[Plug; 2]>, Vec<Plugs>) {
        let mut links = BTreeSet::new();
        let mut places = vec![BTreeSet::new(); self.hosts.len()];
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.polled) {
            for (port, host) in &node.hosts {
                places[*host].insert((at, *port));
            }
        }
        for (ends, hosts) in self.wires() {
            for host in hosts {
                places[host].extend(&ends);
            }
            let ends: Vec<_> = ends.into_iter().collect();
            for (nth, one) in ends.iter().enumerate() {
                links.extend(ends[nth + 1..].iter().map(|other| [*one, *other]));
            }
        }
        (links, places)
    }

    /// What every switch learns when everybody has spoken to everybody. `own`: whether the addresses of
    /// switches are learnt too.
    fn devices(&self, own: bool) -> Vec<Device> {
        let polled = self.nodes.iter().enumerate().filter(|(_, node)| node.polled);
        polled
            .map(|(at, node)| {
                let mut device = switch(&name(at));
                device.macs = vec![of_switch(at)];
                let ports = node.links.keys().chain(node.hosts.keys());
                for port in ports {
                    let name = format!("Gi1/0/{port}");
                    device.ports.insert(*port, Port { name, ..Port::default() });
                }
                for (to, port) in self.ports_towards(at) {
                    let behind = self.nodes[to].hosts.values().map(|host| of_host(*host));
                    let switch = (own && self.nodes[to].polled).then(|| of_switch(to));
                    for mac in behind.chain(switch) {
                        device.stations.push(Station { mac, vlan: Some(10), port });
                    }
                }
                for (port, host) in &node.hosts {
                    device.stations.push(Station {
                        mac: of_host(*host),
                        vlan: Some(10),
                        port: *port,
                    });
                }
                device
            })
            .collect()
    }

    fn wired(&self) -> Vec<Wired> {
        (0..self.hosts.len()).map(|host| wired(&format!("oa-{host}"), of_host(host))).collect()
    }

    /// What each switch hears of the switches it is on a wire with.
    fn heard(&self, at: usize) -> Vec<Neighbour> {
        let mut heard = Vec::new();
        for (ends, _) in self.wires() {
            for (_, port) in ends.iter().filter(|(end, _)| *end == at) {
                for (other, there) in ends.iter().filter(|(end, _)| *end != at) {
                    heard.push(Neighbour {
                        protocol: Protocol::Lldp,
                        local_port: *port,
                        local_name: None,
                        chassis: of_switch(*other).to_string(),
                        port: format!("GigabitEthernet1/0/{there}"),
                        name: None,
                    });
                }
            }
        }
        heard
    }
}

fn name(at: usize) -> String {
    format!("sw-{at}")
}

fn of_switch(at: usize) -> Mac {
    Mac([0x00, 0x1b, 0x21, 0x01, 0x00, u8::try_from(at).unwrap()])
}

fn of_host(host: usize) -> Mac {
    Mac([0x00, 0x1b, 0x21, 0x02, 0x00, u8::try_from(host).unwrap()])
}

fn named(text: &str) -> HostName {
    text.parse().unwrap()
}

fn switch(name: &str) -> Device {
    Device {
        name: named(name),
        zone: "inner".parse().unwrap(),
        bridges: true,
        called: None,
        macs: Vec::new(),
        ports: BTreeMap::new(),
        neighbours: Vec::new(),
        stations: Vec::new(),
        carried: BTreeMap::new(),
        resolved: None,
    }
}

fn wired(name: &str, mac: Mac) -> Wired {
    Wired {
        name: named(name),
        zone: "inner".parse().unwrap(),
        other_zones: Vec::new(),
        machine: None,
        macs: vec![mac],
    }
}

/// A link in the words of a made site.
fn numbered(end: &End) -> Option<(usize, PortNumber)> {
    let at = end.device.as_str().strip_prefix("sw-").unwrap().parse().unwrap();
    end.port.map(|port| (at, port))
}

fn links_of(topology: &Topology, at_least: Confidence) -> BTreeSet<[(usize, PortNumber); 2]> {
    let links = topology.links.iter().filter(|link| link.confidence >= at_least);
    links
        .map(|link| {
            let mut ends = link.ends.each_ref().map(|end| numbered(end).expect("both ports"));
            ends.sort_unstable();
            ends
        })
        .collect()
}

/// Whatever is said to be certain is so.
fn nothing_certain_is_wrong(site: &Site, topology: &Topology) -> Result<(), TestCaseError> {
    let (links, places) = site.truth();
    for link in links_of(topology, Confidence::High) {
        prop_assert!(links.contains(&link), "{link:?} is none of {links:?}");
    }
    for place in topology.attachments.iter().filter(|p| p.confidence == Confidence::High) {
        let host: usize = place.asset.name().as_str()[3..].parse().unwrap();
        let end = End { device: place.device.clone(), port: Some(place.port) };
        let at = numbered(&end).unwrap();
        prop_assert!(places[host].contains(&at), "oa-{host} is not at {at:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn full_tables_show_the_real_tree_hubs_and_all(site in site(14, true)) {
        let topology = infer(&site.devices(true), &site.wired(), &Wishes::default());
        let (links, places) = site.truth();
        prop_assert_eq!(links_of(&topology, Confidence::High), links);
        prop_assert!(topology.conflicts.is_empty(), "{:?}", topology.conflicts);
        for (host, places) in places.iter().enumerate() {
            let asset = Asset::Host(named(&format!("oa-{host}")));
            let place = topology.place_of(&asset).expect("everybody was learnt");
            let end = End { device: place.device.clone(), port: Some(place.port) };
            prop_assert!(places.contains(&numbered(&end).unwrap()));
            if places.len() == 1 {
                prop_assert_eq!(place.confidence, Confidence::High);
            }
        }
    }

    #[test]
    fn with_entries_missing_nothing_certain_is_wrong(
        site in site(12, true),
        missing in 0..95_u8,
        chance in prop::collection::vec(0..100_u8, 1024),
        heard in 0..100_u8,
    ) {
        let mut devices = site.devices(true);
        let mut chance = chance.iter().cycle();
        for device in &mut devices {
            let at = device.name.as_str()[3..].parse().unwrap();
            device.stations.retain(|_| *chance.next().unwrap() >= missing);
            device.neighbours = site.heard(at);
            device.neighbours.retain(|_| *chance.next().unwrap() < heard / 2);
        }
        let topology = infer(&devices, &site.wired(), &Wishes::default());
        nothing_certain_is_wrong(&site, &topology)?;
    }

    #[test]
    fn switches_that_are_seen_only_on_their_way_to_the_collector_are_placed_too(
        mut site in site(10, false),
    ) {
        // The collector is at the first switch, and some hosts are at every one.
        for at in 0..site.nodes.len() {
            for _ in 0..2 {
                site.plug(at);
            }
        }
        let mut devices = site.devices(true);
        for device in &mut devices {
            let at: usize = device.name.as_str()[3..].parse().unwrap();
            let towards = site.ports_towards(at);
            // A frame from `from` to the collector passes here only if `from` is behind this switch.
            let below = |from: usize| at == 0 || towards[&from] != towards[&0];
            device.stations.retain(|station| {
                let from = (0..site.nodes.len()).find(|from| of_switch(*from) == station.mac);
                from.is_none_or(below)
            });
        }
        let topology = infer(&devices, &site.wired(), &Wishes::default());
        prop_assert_eq!(links_of(&topology, Confidence::Medium), site.truth().0);
        nothing_certain_is_wrong(&site, &topology)?;
    }

    #[test]
    fn switches_whose_own_addresses_nobody_learns_are_never_linked_for_certain(
        mut site in site(8, false),
    ) {
        for at in 0..site.nodes.len() {
            for _ in 0..8 {
                site.plug(at);
            }
        }
        let topology = infer(&site.devices(false), &site.wired(), &Wishes::default());
        prop_assert_eq!(links_of(&topology, Confidence::Medium), site.truth().0);
        prop_assert!(links_of(&topology, Confidence::High).is_empty());
    }

    #[test]
    fn nothing_depends_on_the_order_of_what_is_given(
        site in site(10, true),
        seed in prop::collection::vec(any::<u32>(), 256),
        missing in 0..60_u32,
    ) {
        let mut devices = site.devices(true);
        let mut chance = seed.iter().cycle();
        for device in &mut devices {
            let at = device.name.as_str()[3..].parse().unwrap();
            device.stations.retain(|_| chance.next().unwrap() % 100 >= missing);
            device.neighbours = site.heard(at);
            device.neighbours.retain(|_| chance.next().unwrap() % 3 == 0);
        }
        let first = infer(&devices, &site.wired(), &Wishes::default());
        devices.sort_by_cached_key(|_| *chance.next().unwrap());
        for device in &mut devices {
            device.stations.sort_by_cached_key(|_| *chance.next().unwrap());
            device.neighbours.reverse();
        }
        let mut hosts = site.wired();
        hosts.reverse();
        prop_assert_eq!(infer(&devices, &hosts, &Wishes::default()), first);
    }
}

/// Two switches, each with hosts at ports 1 to 3, that reach each other by port 48.
fn two() -> [Device; 2] {
    let mut a = switch("core-1");
    let mut b = switch("sw-b-2");
    a.macs = vec![of_switch(1)];
    b.macs = vec![of_switch(2)];
    for port in [1, 2, 3, 48] {
        for device in [&mut a, &mut b] {
            let name = format!("GigabitEthernet1/0/{port}");
            device.ports.insert(port, Port { name, ..Port::default() });
        }
    }
    for host in 0..6 {
        let own = PortNumber::try_from(host % 3 + 1).unwrap();
        let (p, q) = if host < 3 { (own, 48) } else { (48, own) };
        a.stations.push(Station { mac: of_host(host), vlan: Some(10), port: p });
        b.stations.push(Station { mac: of_host(host), vlan: Some(10), port: q });
    }
    [a, b]
}

fn neighbour(local_port: PortNumber, chassis: &str, port: &str, name: Option<&str>) -> Neighbour {
    Neighbour {
        protocol: Protocol::Lldp,
        local_port,
        local_name: None,
        chassis: chassis.to_owned(),
        port: port.to_owned(),
        name: name.map(str::to_owned),
    }
}

fn hosts() -> Vec<Wired> {
    (0..6).map(|host| wired(&format!("oa-{host}"), of_host(host))).collect()
}

fn wishes(text: &str) -> Wishes {
    let files = [("site.yaml".to_owned(), text.to_owned())];
    RuleFiles::parse(&files).unwrap_or_else(|e| panic!("{e}")).wishes().clone()
}

/// The links in short: `core-1:48 - sw-b-2:48 High told(core-1)`.
fn short(topology: &Topology) -> Vec<String> {
    let end = |end: &End| {
        end.port.map_or_else(|| end.device.to_string(), |port| format!("{}:{port}", end.device))
    };
    let why = |evidence: &Evidence| match evidence {
        Evidence::Pinned { at } => format!("pinned({at})"),
        Evidence::Told { by, protocol } => format!("{}({by})", protocol.as_str()),
        Evidence::Learned { by } => format!("learned({by})"),
        Evidence::Followed { of } => format!("followed({of})"),
    };
    let links = topology.links.iter().map(|link| {
        let why: Vec<String> = link.evidence.iter().map(why).collect();
        let [one, other] = &link.ends;
        let shared = if link.shared { " shared" } else { "" };
        let (one, other, worth) = (end(one), end(other), link.confidence.as_str());
        format!("{one} - {other} {worth}{shared} {}", why.join(" "))
    });
    links.collect()
}

#[test]
fn two_ends_that_tell_of_each_other_are_a_link() {
    let [mut a, mut b] = two();
    b.called = Some("SW-B-2.gov.example".to_owned());
    a.neighbours = vec![neighbour(48, "SW-B-2", "Gi1/0/48", Some("sw-b-2.gov.example"))];
    b.neighbours = vec![neighbour(48, &of_switch(1).to_string(), "48", None)];
    let topology = infer(&[a, b], &hosts(), &Wishes::default());
    assert_eq!(
        short(&topology),
        ["core-1:48 - sw-b-2:48 high LLDP(core-1) LLDP(sw-b-2)"],
        "{topology:?}"
    );
}

#[test]
fn what_one_end_tells_is_certain_only_where_the_tables_agree() {
    let [mut a, b] = two();
    let told = neighbour(48, &of_switch(2).to_string(), "GigabitEthernet1/0/48", None);
    a.neighbours = vec![told];
    let silent = |mut device: Device| {
        device.stations.clear();
        device
    };
    let bare = infer(&[silent(a.clone()), silent(b.clone())], &[], &Wishes::default());
    assert_eq!(short(&bare), ["core-1:48 - sw-b-2:48 medium LLDP(core-1)"]);
    a.stations.push(Station { mac: of_switch(2), vlan: None, port: 48 });
    let topology = infer(&[a, b], &hosts(), &Wishes::default());
    assert_eq!(
        short(&topology),
        ["core-1:48 - sw-b-2:48 high LLDP(core-1) learned(core-1) followed(sw-b-2)"]
    );
}

#[test]
fn a_host_that_says_it_is_a_core_switch_is_not_believed() {
    let [mut a, mut b] = two();
    a.called = Some("core-1".to_owned());
    a.neighbours = vec![neighbour(48, &of_switch(2).to_string(), "48", None)];
    b.neighbours = vec![
        neighbour(48, &of_switch(1).to_string(), "48", None),
        // At a port for hosts, once with a port that is taken, once with none.
        neighbour(2, &of_switch(1).to_string(), "48", None),
        neighbour(3, "eth0", "?", Some("CORE-1")),
    ];
    a.stations.push(Station { mac: of_switch(2), vlan: None, port: 48 });
    b.stations.push(Station { mac: of_switch(1), vlan: None, port: 48 });
    let topology = infer(&[a, b], &hosts(), &Wishes::default());
    assert_eq!(short(&topology).len(), 1, "{:?}", topology.links);
    let untrue = |port| Conflict::Untrue { at: named("sw-b-2"), port, names: named("core-1") };
    assert_eq!(topology.conflicts, [untrue(2), untrue(3)]);
}

#[test]
fn a_person_pins_and_denies() {
    let [mut a, mut b] = two();
    a.neighbours = vec![neighbour(48, &of_switch(2).to_string(), "48", None)];
    b.neighbours = vec![neighbour(48, &of_switch(1).to_string(), "48", None)];
    let silent = |mut device: Device| {
        device.neighbours.clear();
        device.stations.clear();
        device
    };
    let pinned = wishes("links: [{pin: ['sw-b-2:48', 'core-1:gi1/0/3']}]");
    let bare = [silent(a.clone()), silent(b.clone())];
    assert_eq!(
        short(&infer(&bare, &[], &pinned)),
        ["core-1:3 - sw-b-2:48 high pinned(site.yaml:1)"]
    );
    let denied = wishes("links:\n  - deny: [core-1, sw-b-2]\n    because: a telephone\n");
    let topology = infer(&[a.clone(), b.clone()], &hosts(), &denied);
    assert_eq!(short(&topology), Vec::<String>::new());
    assert_eq!(topology.conflicts, [Conflict::DeniedAndTold { at: "site.yaml:2".to_owned() }]);
    let absent =
        wishes("links: [{pin: ['sw-b-3:48', 'core-1:3']}, {deny: ['sw-b-2:Te9', core-1]}]");
    let topology = infer(&[a, b], &hosts(), &absent);
    let what: Vec<String> = topology.conflicts.iter().map(|c| c.text().en).collect();
    assert_eq!(
        what,
        [
            "site.yaml:1 names sw-b-2:Te9, which is not there",
            "site.yaml:1 names sw-b-3, which is not there"
        ]
    );
}

#[test]
fn ports_that_belong_together_are_one_end() {
    let [mut a, mut b] = two();
    for device in [&mut a, &mut b] {
        device.ports.insert(100, Port { name: "Po1".to_owned(), ..Port::default() });
        for member in [47, 48] {
            let name = format!("Gi1/0/{member}");
            device.ports.insert(member, Port { name, mac: None, aggregate: Some(100) });
        }
    }
    a.neighbours = vec![
        neighbour(47, &of_switch(2).to_string(), "Gi1/0/47", None),
        neighbour(48, &of_switch(2).to_string(), "Gi1/0/48", None),
    ];
    b.neighbours = vec![
        neighbour(47, &of_switch(1).to_string(), "Gi1/0/47", None),
        neighbour(48, &of_switch(1).to_string(), "Gi1/0/48", None),
    ];
    // The table of one names the aggregate, that of the other a member.
    a.stations.push(Station { mac: of_switch(2), vlan: None, port: 100 });
    b.stations.push(Station { mac: of_switch(1), vlan: None, port: 47 });
    let topology = infer(&[a, b], &hosts(), &Wishes::default());
    assert_eq!(
        short(&topology),
        ["core-1:100 - sw-b-2:100 high LLDP(core-1) LLDP(sw-b-2) learned(core-1) learned(sw-b-2)"]
    );
    assert!(topology.conflicts.is_empty(), "{:?}", topology.conflicts);
}

#[test]
fn of_a_ring_every_link_is_kept_though_one_of_them_carries_nothing() {
    let mut devices: Vec<Device> = (1..=3).map(|at| switch(&format!("core-{at}"))).collect();
    for (at, device) in devices.iter_mut().enumerate() {
        device.macs = vec![of_switch(at)];
        for (port, to) in [(1, (at + 1) % 3), (2, (at + 2) % 3)] {
            device.ports.insert(port, Port { name: format!("Te{port}"), ..Port::default() });
            let there = if port == 1 { "Te2" } else { "Te1" };
            device.neighbours.push(neighbour(port, &of_switch(to).to_string(), there, None));
        }
    }
    // The link from the first to the second is blocked: both reach each other by the third.
    let learn = |device: &mut Device, port, all: &[usize]| {
        let stations = all.iter().map(|at| Station { mac: of_switch(*at), vlan: None, port });
        device.stations.extend(stations);
    };
    learn(&mut devices[0], 2, &[1, 2]);
    learn(&mut devices[1], 1, &[0, 2]);
    learn(&mut devices[2], 1, &[0]);
    learn(&mut devices[2], 2, &[1]);
    let topology = infer(&devices, &[], &Wishes::default());
    let worth: Vec<Confidence> = topology.links.iter().map(|link| link.confidence).collect();
    assert_eq!(worth, [Confidence::High; 3], "{:?}", short(&topology));
    assert!(topology.conflicts.is_empty(), "{:?}", topology.conflicts);
}

#[test]
fn a_host_that_has_moved_is_named_with_both_places() {
    let [mut a, mut b] = two();
    a.stations.push(Station { mac: of_switch(2), vlan: None, port: 48 });
    b.stations.push(Station { mac: of_switch(1), vlan: None, port: 48 });
    // It was at port 1 of the core; the core has not noticed yet.
    b.stations.retain(|station| station.mac != of_host(0));
    b.stations.push(Station { mac: of_host(0), vlan: Some(10), port: 2 });
    let topology = infer(&[a, b], &hosts(), &Wishes::default());
    let oa = Asset::Host(named("oa-0"));
    assert_eq!(topology.place_of(&oa).unwrap().confidence, Confidence::Low);
    assert_eq!(
        topology.conflicts,
        [Conflict::TwoPlaces {
            asset: oa,
            mac: of_host(0),
            places: vec![(named("core-1"), 1), (named("sw-b-2"), 2)],
        }]
    );
    // Nobody else is moved with it, and the switches are linked as before.
    let other = topology.place_of(&Asset::Host(named("oa-1"))).unwrap();
    assert_eq!((other.port, other.confidence), (2, Confidence::High));
    assert_eq!(topology.links[0].confidence, Confidence::High);
}

#[test]
fn a_host_that_tells_of_itself_is_where_it_is_heard() {
    let [mut a, b] = two();
    a.neighbours = vec![
        neighbour(2, &of_host(1).to_string(), "eth0", Some("oa-1")),
        neighbour(3, "f0:ee:10:00:00:01", "eth0", Some("stranger.example")),
    ];
    let topology = infer(&[a, b], &hosts(), &Wishes::default());
    let place = topology.place_of(&Asset::Host(named("oa-1"))).unwrap();
    assert_eq!((place.port, place.confidence), (2, Confidence::High));
    assert_eq!(place.evidence.len(), 2);
    let stranger = &topology.strangers[0];
    assert_eq!((stranger.port, stranger.name.as_deref()), (Some(3), Some("stranger.example")));
}

#[test]
fn a_device_without_an_address_of_its_own_is_where_what_answers_for_it_is() {
    let ups = |resolved| Device { bridges: false, resolved, ..switch("ups-1") };
    let place = |resolved| {
        let [mut a, b] = two();
        a.stations.push(Station { mac: of_host(9), vlan: Some(10), port: 5 });
        let topology = infer(&[a, b, ups(resolved)], &hosts(), &Wishes::default());
        let place = topology.place_of(&Asset::Device(named("ups-1"))).cloned();
        place.map(|place| (place.device.to_string(), place.port))
    };
    assert_eq!(place(Some(of_host(9))), Some(("core-1".to_owned(), 5)));
    assert_eq!(place(None), None);
    // Who answers in its stead with an address that is known stays who he is.
    assert_eq!(place(Some(of_host(0))), None);
}

#[test]
fn ends_that_do_not_agree_are_found_once_with_both_ports() {
    let [mut a, mut b] = two();
    a.neighbours = vec![neighbour(48, &of_switch(2).to_string(), "Gi1/0/48", None)];
    b.neighbours = vec![neighbour(48, &of_switch(1).to_string(), "Gi1/0/48", None)];
    let topology = infer(&[a, b], &hosts(), &Wishes::default());
    let seen = |name: &str, mbits: u64, duplex| Seen {
        name: name.to_owned(),
        aggregate: false,
        speed: Some(BitRate(mbits * 1_000_000)),
        duplex: Some(duplex),
        read_at: None,
        stale: false,
    };
    // Of the trunk both ends, and of one host its card.
    let said = |core: Seen, access: Option<Seen>, card: Option<Seen>| -> Vec<String> {
        let desk = Seen { name: "Gi1/0/3".to_owned(), ..core.clone() };
        let port = |device: &HostName, port| match (device.as_str(), port) {
            ("core-1", 48) => Some(core.clone()),
            ("core-1", 3) => Some(desk.clone()),
            ("sw-b-2", 48) => access.clone(),
            _ => None,
        };
        let of_card = |host: &HostName, mac: Mac| {
            card.clone().filter(|_| host.as_str() == "oa-2" && mac == of_host(2))
        };
        let found = disagreements(&topology, |_| Some(Status::Warning), port, of_card);
        let lines = found.iter().flat_map(|(device, verdicts)| {
            verdicts.iter().map(move |verdict| {
                assert_eq!(verdict.evidence.len(), 2);
                format!("{device} [{}] {}", verdict.subject, verdict.why.en)
            })
        });
        lines.collect()
    };
    let full = |name| seen(name, 1000, Duplex::Full);
    assert_eq!(said(full("Gi1/0/48"), Some(full("Gi1/0/48")), None), Vec::<String>::new());
    assert_eq!(
        said(full("Gi1/0/48"), Some(seen("Gi1/0/48", 100, Duplex::Half)), None),
        [
            "core-1 [Gi1/0/48] Gi1/0/48 runs at 1 Gbit/s full duplex, and sw-b-2 Gi1/0/48 at its other \
          end at 100 Mbit/s half duplex"
        ]
    );
    assert_eq!(
        said(full("Gi1/0/48"), None, Some(seen("eth0", 1000, Duplex::Half))),
        [
            "core-1 [Gi1/0/3] Gi1/0/3 runs at 1 Gbit/s full duplex, and oa-2 eth0 at its other end at \
          1 Gbit/s half duplex"
        ]
    );
    // Of two aggregates the members are compared, and never members with what may be many.
    let members = |mbits| Seen { aggregate: true, ..seen("Po1", mbits, Duplex::Full) };
    assert_eq!(
        said(members(1000), Some(members(100)), None),
        [
            "core-1 [Po1] each member of Po1 runs at 1 Gbit/s full duplex, and each of sw-b-2 Po1 at its \
          other end at 100 Mbit/s full duplex"
        ]
    );
    assert_eq!(said(members(1000), Some(members(1000)), None), Vec::<String>::new());
    assert_eq!(said(members(1000), Some(full("Po1")), None), Vec::<String>::new());
    // What an end does not tell is no disagreement.
    let silent = Seen { speed: None, duplex: None, ..full("eth0") };
    assert_eq!(said(full("Gi1/0/48"), Some(silent.clone()), Some(silent)), Vec::<String>::new());
}

#[test]
fn two_that_say_the_same_of_themselves_are_a_conflict_and_nobody() {
    let [mut a, mut b] = two();
    a.called = Some("switch".to_owned());
    b.called = Some("Switch".to_owned());
    a.neighbours = vec![neighbour(48, "switch", "48", Some("switch"))];
    let twin = wired("oa-9", of_host(0));
    let mut all = hosts();
    all.push(twin);
    let topology = infer(&[a, b], &all, &Wishes::default());
    let said: Vec<String> = topology.conflicts.iter().map(|c| c.text().en).collect();
    assert_eq!(
        said,
        [
            "00:1b:21:02:00:00 is an address of several: oa-0, oa-9",
            "several devices call themselves \"switch\": core-1, sw-b-2"
        ]
    );
    assert_eq!(topology.strangers.len(), 1);
}

#[test]
fn addresses_that_routers_hand_to_each_other_place_nothing() {
    let [mut a, mut b] = two();
    a.macs.clear();
    b.macs.clear();
    a.stations.clear();
    b.stations.clear();
    for last in 0..40 {
        let mac = Mac([0, 0, 0x5e, 0, 1, last]);
        a.stations.push(Station { mac, vlan: Some(10), port: u32::from(last % 3) + 1 });
        b.stations.push(Station { mac, vlan: Some(10), port: 48 });
    }
    assert_eq!(short(&infer(&[a, b], &[], &Wishes::default())), Vec::<String>::new());
}

/// 48 switches of 48 ports: two levels below a core, with 3,000 addresses in every table.
#[test]
fn the_largest_site_is_inferred_whole() {
    let mut site = Site { nodes: Vec::new(), hosts: Vec::new() };
    for at in 0..48 {
        site.nodes.push(Node { polled: true, links: BTreeMap::new(), hosts: BTreeMap::new() });
        if at > 0 {
            site.join(if at < 8 { 0 } else { 1 + at % 7 }, at);
        }
    }
    let mut devices = site.devices(true);
    let towards: Vec<_> = (0..48).map(|at| site.ports_towards(at)).collect();
    let mut places = BTreeMap::new();
    for number in 0..3_000_u32 {
        let octets = number.to_be_bytes();
        let mac = Mac([0x00, 0x1b, 0x22, octets[1], octets[2], octets[3]]);
        let at = usize::try_from(number % 48).unwrap();
        let own = 50 + number / 48 % 40;
        places.insert(mac, (at, own));
        for (from, device) in devices.iter_mut().enumerate() {
            let to = &towards[device.name.as_str()[3..].parse::<usize>().unwrap()];
            let port = to.get(&at).copied().unwrap_or(own);
            assert_eq!(from, device.name.as_str()[3..].parse::<usize>().unwrap());
            device.stations.push(Station { mac, vlan: Some(10 + number % 4), port });
        }
    }
    let hosts: Vec<Wired> = places
        .keys()
        .step_by(20)
        .enumerate()
        .map(|(nth, mac)| wired(&format!("oa-{nth}"), *mac))
        .collect();
    let topology = infer(&devices, &hosts, &Wishes::default());
    assert_eq!(links_of(&topology, Confidence::High), site.truth().0);
    assert_eq!(topology.attachments.len(), hosts.len());
    for place in &topology.attachments {
        let end = End { device: place.device.clone(), port: Some(place.port) };
        assert_eq!(numbered(&end), places.get(&place.mac).copied());
        assert_eq!(place.confidence, Confidence::High);
    }
    assert_eq!(topology.whereabouts.len(), 3_000 + 48);
}

#[test]
fn what_is_wrong_with_a_wish_is_said_with_what_to_write() {
    let cases = [
        "links:\n  - pin: [sw-b-2:48, core-1:3]\n    deny: [sw-b-2, core-1]\n",
        "links:\n  - because: I say so\n",
        "links:\n  - pin: [sw-b-2:48]\n",
        "links:\n  - pin: ['SW B:48', 'core-1:']\n",
        "links:\n  - pin: [sw-b-2:48, sw-b-2:47]\n",
        "links:\n  - pin: [sw-b-2:48, core-1:3]\n  - deny: [core-1:3, sw-b-2:48]\n",
        "links:\n  - pinn: [sw-b-2:48, core-1:3]\n",
        "wire: {vlans: {inner: [10-5, 4095]}}\n",
        "wire: {approved: ['00:50:5']}\n",
        "wire: {new_adress: off}\n",
        "{}\n",
    ];
    let mut out = String::new();
    for case in cases {
        let files = [("site.yaml".to_owned(), case.to_owned())];
        let told = RuleFiles::parse(&files).expect_err(case);
        write!(out, "{told}\n\n").unwrap();
    }
    insta::assert_snapshot!(out);
}
