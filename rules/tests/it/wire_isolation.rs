//! Who is on a wire where he must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bailey_rules::check::Status;
use bailey_rules::expectation::RuleFiles;
use bailey_rules::fact::links::Mac;
use bailey_rules::name::HostName;
use bailey_rules::policy::Policy;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::book::{Book, MAX_REMEMBERED};
use bailey_rules::topology::isolation::{Asked, Concern, Given, Kind, MAX_CONCERNS, concerns};
use bailey_rules::topology::wish::Wishes;
use bailey_rules::topology::{
    Device, Neighbour, Port, Protocol, Station, Whereabouts, Wired, infer,
};

const DAY: Duration = Duration::from_hours(24);
const START: Timestamp = Timestamp::from_seconds(1_790_000_000);

const POLICY: &str = "
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16]}
  outer: {networks: [172.20.0.0/16]}
hosts:
  fw-1: {zone: inner, addresses: [10.1.0.1, 172.20.0.1], forwards: true}
  web-9: {zone: outer, addresses: [172.20.0.9]}
";

/// An inner and an outer switch, some hosts, and what is learnt of them.
struct Site {
    devices: Vec<Device>,
    hosts: Vec<Wired>,
    book: Book,
    rules: String,
    now: Timestamp,
}

fn mac(last: u8) -> Mac {
    Mac([0x00, 0x1b, 0x21, 0, 0, last])
}

fn named(text: &str) -> HostName {
    text.parse().unwrap()
}

fn switch(name: &str, zone: &str, own: u8) -> Device {
    let port = |number| (number, Port { name: format!("Gi1/0/{number}"), ..Port::default() });
    Device {
        name: named(name),
        zone: zone.parse().unwrap(),
        bridges: true,
        called: None,
        macs: vec![mac(own)],
        ports: (1..=8).map(port).collect(),
        neighbours: Vec::new(),
        stations: Vec::new(),
        carried: BTreeMap::new(),
        resolved: None,
    }
}

fn host(name: &str, zone: &str, own: Mac) -> Wired {
    Wired {
        name: named(name),
        zone: zone.parse().unwrap(),
        other_zones: Vec::new(),
        machine: Some(format!("{name}-machine")),
        macs: vec![own],
    }
}

impl Site {
    fn new() -> Self {
        let mut site = Self {
            devices: vec![switch("sw-in", "inner", 101), switch("sw-out", "outer", 102)],
            hosts: vec![host("oa-1", "inner", mac(1)), host("web-1", "outer", mac(2))],
            book: Book::default(),
            rules: String::new(),
            now: START,
        };
        site.learn("sw-in", mac(1), 1, Some(10));
        site.learn("sw-out", mac(2), 1, Some(20));
        site.poll();
        site.now = START + DAY + DAY;
        site
    }

    fn device(&mut self, name: &str) -> &mut Device {
        self.devices.iter_mut().find(|device| device.name == named(name)).unwrap()
    }

    fn learn(&mut self, device: &str, mac: Mac, port: u32, vlan: Option<u32>) {
        self.device(device).stations.push(Station { mac, vlan, port });
    }

    /// Asks every device now.
    fn poll(&mut self) {
        let topology = infer(&self.devices, &self.hosts, &Wishes::default());
        self.book.note(&topology.whereabouts, |_| Some(self.now));
    }

    fn concerns(&mut self) -> Vec<Concern> {
        self.poll();
        let topology = infer(&self.devices, &self.hosts, &Wishes::default());
        let files = [("site.yaml".to_owned(), self.rules.clone())];
        let rules = RuleFiles::parse(&files).unwrap_or_else(|e| panic!("{e}"));
        let policy = Policy::parse("policy.yaml", POLICY).unwrap_or_else(|e| panic!("{e}"));
        let asked = Asked { at: self.now, stale: false };
        concerns(&Given {
            devices: &self.devices,
            hosts: &self.hosts,
            topology: &topology,
            book: &self.book,
            wanted: &rules.wire(),
            policy: &policy,
            asked: &self.devices.iter().map(|device| (device.name.clone(), asked)).collect(),
            now: self.now,
        })
    }

    /// In short: asset, kind, status, subject and the sentence.
    fn told(&mut self) -> Vec<String> {
        self.concerns().iter().map(short).collect()
    }
}

fn short(concern: &Concern) -> String {
    let Concern { asset, kind, verdict } = concern;
    let status = match verdict.status {
        Status::Critical => "critical",
        Status::Warning => "warning",
        Status::Ok | Status::Unknown => "odd",
    };
    format!("{} {} {status} [{}] {}", asset.name(), kind.as_str(), verdict.subject, verdict.why.en)
}

#[test]
fn a_site_as_it_should_be_gives_no_concern() {
    assert_eq!(Site::new().told(), Vec::<String>::new());
}

#[test]
fn an_address_in_two_zones_is_critical_on_both_sides_with_its_places() {
    let mut site = Site::new();
    site.learn("sw-out", mac(1), 5, Some(20));
    let concerns = site.concerns();
    let told: Vec<String> = concerns.iter().map(short).collect();
    let said = "oa-1 (00:1b:21:00:00:01) is on wires of inner (sw-in Gi1/0/1, \
                2026-09-23T14:13:20Z) and outer (sw-out Gi1/0/5, 2026-09-23T14:13:20Z)";
    assert_eq!(
        told,
        [
            format!("sw-in two_zones critical [00:1b:21:00:00:01] {said}"),
            format!("sw-out two_zones critical [00:1b:21:00:00:01] {said}"),
        ]
    );
    let evidence: Vec<&str> =
        concerns[0].verdict.evidence.iter().map(|e| e.value.as_str()).collect();
    assert_eq!(
        evidence,
        ["00:1b:21:00:00:01 behind Gi1/0/1, VLAN 10", "00:1b:21:00:00:01 behind Gi1/0/5, VLAN 20"]
    );
}

#[test]
fn a_laptop_that_is_carried_from_one_zone_to_the_other_is_seen_though_it_is_never_in_both() {
    let mut site = Site::new();
    site.learn("sw-in", mac(7), 3, None);
    site.rules = "wire: {approved: ['00:1b:21:00:00:07']}".to_owned();
    assert_eq!(site.told(), Vec::<String>::new());
    site.device("sw-in").stations.retain(|station| station.mac != mac(7));
    site.now = site.now + Duration::from_hours(6);
    site.learn("sw-out", mac(7), 4, None);
    assert_eq!(site.concerns().iter().filter(|c| c.kind == Kind::TwoZones).count(), 2);
    // A day later it is where it is now.
    site.now = site.now + DAY;
    assert_eq!(site.told(), Vec::<String>::new());
}

#[test]
fn who_is_declared_in_both_zones_and_what_routers_share_is_no_concern() {
    let mut site = Site::new();
    site.hosts.push(host("fw-1", "inner", mac(9)));
    let mut ex = host("ex-1", "inner", mac(8));
    ex.other_zones = vec!["outer".parse().unwrap()];
    site.hosts.push(ex);
    let shared = [mac(9), mac(8), Mac([0, 0, 0x5e, 0, 1, 7]), Mac([0x02, 0x42, 0xac, 0x11, 0, 2])];
    for (nth, mac) in (3..).zip(shared) {
        site.learn("sw-in", mac, nth, None);
        site.learn("sw-out", mac, nth, None);
    }
    site.rules = "wire: {approved: ['02:42']}".to_owned();
    assert_eq!(site.told(), Vec::<String>::new());
}

#[test]
fn a_machine_with_an_agent_in_each_zone_is_one_machine() {
    let mut site = Site::new();
    for host in &mut site.hosts {
        host.machine = Some("4f2a".to_owned());
    }
    assert_eq!(
        site.told(),
        [
            "oa-1 two_zones critical [4f2a] this machine also reports as web-1 of zone \"outer\"",
            "web-1 two_zones critical [4f2a] this machine also reports as oa-1 of zone \"inner\"",
        ]
    );
}

#[test]
fn an_address_that_nobody_knows_is_named_with_what_it_shows_of_itself() {
    let mut site = Site::new();
    let new = [
        Mac([0x00, 0x1b, 0x44, 0, 0, 1]),
        Mac([0x00, 0x50, 0x56, 0, 0, 1]),
        Mac([0xda, 0x11, 0x22, 0x33, 0x44, 0x55]),
        Mac([0x00, 0x1b, 0x45, 0, 0, 2]),
    ];
    for (port, mac) in (4..).zip(new) {
        site.learn("sw-in", mac, port, Some(10));
    }
    site.rules = "wire: {approved: ['00:1b:45']}".to_owned();
    assert_eq!(
        site.told(),
        [
            "sw-in new_address warning [00:1b:44:00:00:01] 00:1b:44:00:00:01 appeared at sw-in \
             Gi1/0/4 0 s ago; nobody knows it",
            "sw-in new_address warning [00:50:56:00:00:01] 00:50:56:00:00:01 (VMware) appeared at \
             sw-in Gi1/0/5 0 s ago; nobody knows it",
            "sw-in new_address warning [da:11:22:33:44:55] da:11:22:33:44:55 (made up by software) \
             appeared at sw-in Gi1/0/6 0 s ago; nobody knows it",
        ]
    );
    site.rules = "wire: {new_address: off}".to_owned();
    assert_eq!(site.told(), Vec::<String>::new());
}

#[test]
fn what_was_there_while_the_network_was_learnt_is_known_and_what_left_is_forgotten_slowly() {
    let mut site = Site::new();
    site.now = START + DAY;
    site.learn("sw-in", mac(30), 3, None);
    assert_eq!(site.told(), Vec::<String>::new(), "within the first day");
    site.now = START + DAY + DAY;
    site.learn("sw-in", mac(31), 3, None);
    assert_eq!(site.told().len(), 1);
    site.device("sw-in").stations.retain(|station| station.mac != mac(31));
    site.now = site.now + DAY - Duration::from_secs(1);
    assert_eq!(site.told().len(), 1, "gone from the table, and still of today");
    site.now = site.now + Duration::from_secs(2);
    assert_eq!(site.told(), Vec::<String>::new());
}

fn hears(site: &mut Site, device: &str, port: u32, chassis: &str, there: &str) {
    site.device(device).neighbours.push(Neighbour {
        protocol: Protocol::Lldp,
        local_port: port,
        local_name: None,
        chassis: chassis.to_owned(),
        port: there.to_owned(),
        name: None,
    });
}

#[test]
fn a_cable_between_two_zones_is_named_at_both_ends_with_its_evidence() {
    let mut site = Site::new();
    hears(&mut site, "sw-in", 8, &mac(102).to_string(), "Gi1/0/7");
    hears(&mut site, "sw-out", 7, &mac(101).to_string(), "Gi1/0/8");
    let concerns = site.concerns();
    let told: Vec<String> = concerns.iter().map(short).collect();
    assert_eq!(
        told,
        [
            "sw-in foreign_port critical [Gi1/0/8] Gi1/0/8 is linked to sw-out Gi1/0/7 of zone \
             \"outer\"",
            "sw-out foreign_port critical [Gi1/0/7] Gi1/0/7 is linked to sw-in Gi1/0/8 of zone \
             \"inner\"",
        ]
    );
    assert_eq!(
        concerns[0].verdict.evidence[0].value,
        "sw-in Gi1/0/8 - sw-out Gi1/0/7: sw-in hears it by LLDP; sw-out hears it by LLDP"
    );
}

#[test]
fn what_one_end_alone_says_of_another_zone_is_a_warning() {
    let mut site = Site::new();
    hears(&mut site, "sw-in", 8, &mac(102).to_string(), "Gi1/0/7");
    hears(&mut site, "sw-in", 3, "web-9.example", "eth0");
    // A neighbour that nobody knows is for the list of strangers, not for an alarm.
    hears(&mut site, "sw-in", 4, "printer", "1");
    let told = site.told();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told.iter().all(|told| told.contains(" warning ")), "{told:#?}");
    assert!(told[0].ends_with("web-9 of zone \"outer\" is heard at Gi1/0/3 by LLDP"), "{told:#?}");
}

#[test]
fn a_host_at_a_switch_of_another_zone_is_critical() {
    let mut site = Site::new();
    site.hosts.push(host("oa-2", "inner", mac(3)));
    site.learn("sw-out", mac(3), 6, None);
    let told = site.told();
    assert_eq!(
        told,
        ["sw-out foreign_port critical [Gi1/0/6] oa-2 of zone \"inner\" is behind Gi1/0/6 \
          (00:1b:21:00:00:03)"]
    );
}

#[test]
fn frames_in_a_vlan_of_another_zone_are_critical_and_in_one_of_no_zone_a_warning() {
    let mut site = Site::new();
    site.rules = "wire: {vlans: {inner: [10-19, 100], outer: [20]}}".to_owned();
    assert_eq!(site.told(), Vec::<String>::new());
    site.learn("sw-in", mac(1), 1, Some(20));
    site.learn("sw-in", mac(1), 8, Some(300));
    assert_eq!(
        site.told(),
        [
            "sw-in foreign_vlan critical [20] VLAN 20 of zone \"outer\" is on Gi1/0/1 (1 seen)",
            "sw-in foreign_vlan warning [300] VLAN 300 of no zone is on Gi1/0/8 (1 seen)",
        ]
    );
    // A trunk that carries it is enough, before anybody sends a frame in it.
    let mut site = Site::new();
    site.rules = "wire: {vlans: {inner: [10-19, 100], outer: [20]}}".to_owned();
    let ports = BTreeSet::from([7, 8]);
    let carried = [(10, &ports), (20, &ports), (4000, &ports)];
    site.device("sw-in").carried = carried.map(|(vlan, ports)| (vlan, ports.clone())).into();
    site.device("sw-in").carried.insert(21, BTreeSet::new());
    assert_eq!(
        site.told(),
        [
            "sw-in foreign_vlan critical [20] VLAN 20 of zone \"outer\" is on Gi1/0/7, Gi1/0/8 (0 seen)"
        ]
    );
}

#[test]
fn a_flood_of_made_up_addresses_is_bounded_everywhere() {
    let mut site = Site::new();
    for number in 0..1000_u16 {
        let [high, low] = number.to_be_bytes();
        site.learn("sw-in", Mac([0x02, 0, 0, 1, high, low]), 3, None);
    }
    let concerns = site.concerns();
    assert_eq!(concerns.len(), MAX_CONCERNS + 1);
    assert_eq!(concerns.last().unwrap().verdict.why.en, "800 more are not listed");

    let mut book = Book::default();
    let place = |number: usize| {
        let octets = u32::try_from(number).unwrap().to_be_bytes();
        Whereabouts {
            mac: Mac([0x02, 1, octets[0], octets[1], octets[2], octets[3]]),
            zone: "inner".parse().unwrap(),
            device: named("sw-in"),
            port: 3,
            vlan: None,
            edge: true,
        }
    };
    let first: Vec<Whereabouts> = (0..10).map(place).collect();
    book.note(&first, |_| Some(START));
    let rest: Vec<Whereabouts> = (10..MAX_REMEMBERED + 10).map(place).collect();
    book.note(&rest, |_| Some(START + DAY));
    let kept: BTreeSet<Mac> = book.addresses().map(|(mac, _)| mac).collect();
    assert_eq!(kept.len(), MAX_REMEMBERED);
    assert!(!kept.contains(&first[0].mac), "the oldest went");
}

#[test]
fn every_concern_speaks_both_languages_and_names_a_time() {
    let mut site = Site::new();
    site.rules = "wire: {vlans: {inner: [10], outer: [20]}}".to_owned();
    site.learn("sw-out", mac(1), 5, Some(20));
    site.learn("sw-in", mac(40), 4, Some(30));
    hears(&mut site, "sw-in", 8, &mac(102).to_string(), "Gi1/0/7");
    let mut out = String::new();
    let mut kinds = BTreeMap::new();
    for concern in site.concerns() {
        *kinds.entry(concern.kind).or_insert(0) += 1;
        writeln!(out, "{}\n{}", short(&concern), concern.verdict.why.zh).unwrap();
        for evidence in &concern.verdict.evidence {
            let at = evidence.read_at.expect("a time");
            writeln!(out, "  {}: {} at {at}", evidence.fact, evidence.value).unwrap();
        }
    }
    assert_eq!(kinds.len(), Kind::ALL.len());
    insta::assert_snapshot!(out);
}
