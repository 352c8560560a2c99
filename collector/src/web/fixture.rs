//! The reference site in small, judged by the real checks: what the tests of pages and metrics show.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::check::{self, Given, judge, worst};
use bailey_rules::compile::PolicyLine;
use bailey_rules::device::ethernet::{Duplex as EthernetDuplex, Port};
use bailey_rules::device::interface::{Counter, Counters as PortCounters, Link};
use bailey_rules::device::power::{Power, Source};
use bailey_rules::device::quality::Quality;
use bailey_rules::device::{self, DeviceView};
use bailey_rules::digest::FactDigest;
use bailey_rules::expectation::{self, Ask, RuleFiles};
use bailey_rules::fact::backup::{Job, Repository, Snapshot};
use bailey_rules::fact::enforcement::{
    DriftSeen, Enforcement, OrderRef, PendingOrder, QuarantineOrder, RuleCounter,
};
use bailey_rules::fact::firewall::{DefaultPolicy, Hook, Manager, Ruleset, Table};
use bailey_rules::fact::host::{
    self, Agent, Cpu, Disk, FileSystem, Load, Memory, Pressure, Reboot, Temperature, Units,
};
use bailey_rules::fact::lines::{LatelyAsked, LineQuality};
use bailey_rules::fact::links::{
    Duplex, Forwarding, Interface, LinkKind, Mac, Neighbour, Route, RouteKind, Rule, RuleAction,
    Traffic,
};
use bailey_rules::fact::{Fact, FactKind, ProbeName};
use bailey_rules::finding::{Change, Finding, advance};
use bailey_rules::host::{FactSet, HeldProbe, HostView, Pushed, Session};
use bailey_rules::name::{HostKey, OrderDigest};
use bailey_rules::policy::{Mode, Policy};
use bailey_rules::prove::Example;
use bailey_rules::prove::site::Assumption;
use bailey_rules::prove::site::told::{Answer, Assumed, Basis, Breach, By, Cut, Hop, Proof};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::{Bytes, Permille};
use time::UtcOffset;

use super::shown::{LocalTime, Shown};
use crate::ca::Ca;
use crate::clock::{Clock, SharedClock};
use crate::counters::Counters;
use crate::device::DeviceStatus;
use crate::enrolment::{Actor, Enrolment, Identity};
use crate::poll::snmp::SnmpError;
use crate::proving::{Held, Known};
use crate::push::Overview;
use crate::push::machine::{
    ConfirmBy, HostState, Push, PushId, PushKind, PushState, Staging, Target,
};
use crate::senders::Senders;
use crate::site::{Config, ConfigProblem, HostStatus, Site};
use crate::store::Store;

/// 2026-11-23 14:32:07 in Jiaxing.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_795_415_527);

const GIB: u64 = 1 << 30;

pub(crate) fn local() -> LocalTime {
    LocalTime(UtcOffset::from_hms(8, 0, 0).unwrap())
}

pub(crate) fn policy() -> Policy {
    Policy::parse(
        "policy.yaml",
        "site: jiaxing\n\
         zones:\n\
         \x20 inner: {name: 内网, networks: [10.1.0.0/16]}\n\
         \x20 outer: {name: 外网, networks: [172.20.0.0/16]}\n\
         \x20 exchange: {name: 交换区, networks: [10.250.0.0/24]}\n",
    )
    .unwrap()
}

pub(crate) fn ago(seconds: u64) -> Timestamp {
    NOW - Duration::from_secs(seconds)
}

/// A host in the making: as the site demands until something is changed.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) zone: String,
    pub(crate) address: String,
    pub(crate) facts: BTreeMap<(FactKind, String), Fact>,
    pub(crate) silent_for: u64,
    pub(crate) failed: Option<(ProbeName, String)>,
    pub(crate) session: Session,
}

impl Machine {
    pub(crate) fn new(name: &str, zone: &str, address: &str) -> Self {
        let session = Session {
            enrolled_at: ago(40 * 86_400),
            last_report_at: Some(ago(4)),
            interval: Duration::from_secs(15),
            connected: true,
            connection: None,
            goodbye_at: None,
            clock_ahead_millis: Some(12),
            certificate_ends: NOW + Duration::from_hours(17),
            certificate_began: ago(7 * 3600),
            acknowledged: None,
            reports_accepted: 1234,
            gaps: Vec::new(),
            lost_reports: 0,
            last_gap_at: None,
            twin_seen_at: None,
            approval_waiting_since: None,
        };
        let mut machine = Self {
            name: name.to_owned(),
            zone: zone.to_owned(),
            address: address.to_owned(),
            facts: BTreeMap::new(),
            silent_for: 4,
            failed: None,
            session,
        };
        machine.system();
        machine.load();
        machine.links();
        machine.firewall();
        machine.backup();
        machine
    }

    pub(crate) fn set(&mut self, fact: Fact) {
        self.facts.insert((fact.key.kind, fact.key.subject.to_string()), fact);
    }

    pub(crate) fn without(mut self, kind: FactKind) -> Self {
        self.facts.retain(|(known, _), _| *known != kind);
        self
    }

    pub(crate) fn silent(mut self, seconds: u64) -> Self {
        self.silent_for = seconds;
        self.session.last_report_at = Some(ago(seconds));
        self.session.connected = false;
        self
    }

    fn system(&mut self) {
        self.set(Fact::known(
            "",
            host::Identity {
                hostname: self.name.clone(),
                os: "Debian GNU/Linux 12 (bookworm)".into(),
                kernel: "6.1.0-31-amd64".into(),
                machine: "x86_64".into(),
                booted_at: ago(12 * 86_400),
                machine_id_hash: "ab".repeat(32),
                agent_version: "0.1.0".into(),
            },
        ));
        self.set(file_system("/", "/dev/vda1", 98 * GIB, 61 * GIB));
        self.set(file_system("/var/lib/oracle", "/dev/vdb1", 800 * GIB, 312 * GIB));
        self.set(Fact::known("", Reboot { needed: false, because: Vec::new() }));
        self.set(Fact::known("", Units { failed: Vec::new(), failed_count: 0 }));
    }

    fn load(&mut self) {
        self.set(Fact::known(
            "",
            Cpu { cores: 8, busy: Permille(83), io_wait: Permille(4), steal: Permille(0) },
        ));
        self.set(Fact::known(
            "",
            Memory {
                total: Bytes(32 * GIB),
                available: Bytes(19 * GIB),
                swap_total: Bytes(4 * GIB),
                swap_free: Bytes(4 * GIB),
            },
        ));
        self.set(Fact::known("", Load { one: 61, five: 58, fifteen: 44 }));
        for resource in ["cpu", "io", "memory"] {
            self.set(Fact::known(
                resource,
                Pressure { some: Permille(3), full: Some(Permille(1)) },
            ));
        }
        self.set(Fact::known(
            "vda",
            Disk { read: Bytes(210 * GIB), written: Bytes(988 * GIB), busy_millis: 81_022_000 },
        ));
        self.set(Fact::known(
            "coretemp Package id 0",
            Temperature { millicelsius: 47_000, critical: Some(100_000) },
        ));
        self.set(Fact::known(
            "",
            host::Clock { synchronised: true, offset_micros: 1000, max_error_micros: 16_384 },
        ));
        self.set(Fact::known(
            "",
            Agent {
                resident: Bytes(7 << 20),
                cpu_millis: 41_200,
                spool: Bytes(0),
                problems: Vec::new(),
            },
        ));
    }

    fn links(&mut self) {
        let gateway = gateway(&self.address);
        self.set(interface("eth0", &self.address, LinkKind::Ethernet, 11));
        self.set(interface("lo", "127.0.0.1/8", LinkKind::Loopback, 0));
        self.set(Fact::known(
            "eth0",
            Traffic {
                received: Bytes(812 * GIB),
                transmitted: Bytes(95 * GIB),
                receive_errors: 0,
                transmit_errors: 0,
                receive_drops: 17,
                transmit_drops: 0,
            },
        ));
        self.set(Fact::known(
            &format!("default via {gateway} dev eth0"),
            Route {
                destination: "0.0.0.0/0".parse().unwrap(),
                gateway: Some(gateway.parse().unwrap()),
                interface: Some("eth0".into()),
                metric: 0,
                table: 254,
                carries: true,
                kind: RouteKind::Unicast,
                source: None,
            },
        ));
        self.set(Fact::known(
            &format!("{gateway} eth0"),
            Neighbour {
                address: gateway.parse().unwrap(),
                interface: "eth0".into(),
                mac: Some(Mac([0x52, 0x54, 0, 0, 0, 1])),
                router: true,
                silent: false,
            },
        ));
        self.set(Fact::known(
            "",
            Forwarding { ipv4: false, ipv6: false, interfaces: Vec::new(), bridged: Some(false) },
        ));
    }

    fn firewall(&mut self) {
        self.set(ruleset(42));
        for hook in ["ip forward", "ip input", "ip6 forward", "ip6 input"] {
            self.set(Fact::known(
                hook,
                Hook { default: DefaultPolicy::Drop, by: "inet filter input".into(), chains: 1 },
            ));
        }
        for hook in ["ip output", "ip6 output"] {
            self.set(Fact::known(
                hook,
                Hook { default: DefaultPolicy::Accept, by: String::new(), chains: 1 },
            ));
        }
        self.set(Fact::known("firewalld", Manager { installed: false, active: false }));
        self.set(Fact::known("ufw", Manager { installed: false, active: false }));
    }

    fn backup(&mut self) {
        self.set(job("oracle-fin", true, 7 * 3600));
        self.set(Fact::known(
            "vault",
            Repository {
                tool: "restic".into(),
                snapshots: 31,
                newest: vec![Snapshot {
                    taken_at: ago(7 * 3600),
                    size: Some(Bytes(212 * GIB)),
                    files: Some(1_204_112),
                }],
            },
        ));
    }

    pub(crate) fn key(&self) -> HostKey {
        use sha2::{Digest as _, Sha256};
        HostKey::from_bytes(Sha256::digest(self.name.as_bytes()).into())
    }

    pub(crate) fn judged(self, policy: &Policy) -> HostStatus {
        let mut facts = FactSet::default();
        for probe in ProbeName::ALL {
            let failed = self.failed.as_ref().filter(|(name, _)| *name == probe);
            let interval = match probe {
                ProbeName::Host | ProbeName::Links | ProbeName::Lines => 15,
                ProbeName::System
                | ProbeName::Firewall
                | ProbeName::Backup
                | ProbeName::Enforcement
                | ProbeName::Flows => 60,
            };
            facts.restore_probe(
                probe,
                HeldProbe {
                    read_at: ago(self.silent_for),
                    interval: Duration::from_secs(interval),
                    failed: failed.map(|(_, why)| why.clone()),
                },
            );
        }
        for fact in self.facts.values() {
            facts.restore_fact(fact.clone(), FactDigest::EMPTY, ago(3 * 86_400));
        }
        let view = HostView {
            key: self.key(),
            name: self.name.parse().unwrap(),
            zone: self.zone.parse().unwrap(),
            session: self.session,
            facts,
            pushed: None,
        };
        let wanted = RuleFiles::shipped().for_host(&view.name, &view.zone);
        let judged = judge(&Given { host: &view, wanted: &wanted, policy, proofs: &[], now: NOW });
        HostStatus { state: worst(&judged), view: Arc::new(view), judged, judged_at: NOW }
    }
}

fn gateway(address: &str) -> String {
    let (network, _) = address.rsplit_once('.').unwrap();
    format!("{network}.1")
}

pub(crate) fn file_system(mount: &str, device: &str, total: u64, available: u64) -> Fact {
    Fact::known(
        mount,
        FileSystem {
            device: device.into(),
            kind: "ext4".into(),
            total: Bytes(total),
            available: Bytes(available),
            inodes: 6_553_600,
            inodes_available: 6_100_000,
            read_only: false,
        },
    )
}

pub(crate) fn interface(name: &str, address: &str, kind: LinkKind, mac: u8) -> Fact {
    Fact::known(
        name,
        Interface {
            index: 2,
            kind,
            driver: "virtio_net".into(),
            mac: (mac > 0).then_some(Mac([0x52, 0x54, 0, 0x12, 0x34, mac])),
            admin_up: true,
            carrier: true,
            speed_mbits: (mac > 0).then_some(1000),
            duplex: (mac > 0).then_some(Duplex::Full),
            mtu: 1500,
            master: None,
            addresses: vec![
                if address.contains('/') { address.to_owned() } else { format!("{address}/24") }
                    .parse()
                    .unwrap(),
            ],
            secondary: Vec::new(),
            link_only: Vec::new(),
            group: Some(0),
            hardware: Some(1),
            reverse_path: None,
        },
    )
}

pub(crate) fn ruleset(rules: u32) -> Fact {
    Fact::known(
        "nftables",
        Ruleset {
            tables: vec![Table {
                family: "inet".into(),
                name: "filter".into(),
                chains: 3,
                rules,
                sets: 2,
            }],
            rules,
            opaque_rules: 0,
            digest: "9f2c".repeat(16),
            packets: 88_120_331,
            octets: Bytes(61 * GIB),
            changed_by: Some("nft (4711)".into()),
        },
    )
}

pub(crate) fn job(name: &str, success: bool, age: u64) -> Fact {
    let newest = ago(age);
    Fact::known(
        name,
        Job {
            tool: "restic".into(),
            started_at: newest - Duration::from_mins(14),
            finished_at: newest,
            success,
            size: Some(Bytes(212 * GIB)),
            files: Some(1_204_112),
            destination: "vault:/srv/backup".into(),
            message: String::new(),
            last_success_at: Some(if success { newest } else { ago(52 * 3600) }),
            sizes: vec![Bytes(212 * GIB), Bytes(211 * GIB), Bytes(211 * GIB)],
        },
    )
}

/// Machines of both networks with what a real morning brings.
pub(crate) fn machines() -> Vec<Machine> {
    let mut oa17 = Machine::new("oa-17", "inner", "10.1.7.20");
    oa17.set(interface("eth1", "172.20.4.9", LinkKind::Usb, 99));
    let mut oracle = Machine::new("oracle-fin", "inner", "10.1.3.5");
    oracle.set(job("oracle-fin", false, 31 * 3600));
    let repository = Repository {
        tool: "restic".into(),
        snapshots: 30,
        newest: vec![Snapshot {
            taken_at: ago(52 * 3600),
            size: Some(Bytes(83 * GIB)),
            files: Some(840_000),
        }],
    };
    oracle.set(Fact::known("vault", repository));
    let mut mail = Machine::new("mail-1", "outer", "172.20.0.25");
    mail.set(file_system("/var/mail", "/dev/vdc1", 400 * GIB, 11 * GIB));
    let mut web2 = Machine::new("web-2", "outer", "172.20.0.12").without(FactKind::Ruleset);
    web2.set(Fact::unreadable(FactKind::Ruleset, "nftables", "needs CAP_NET_ADMIN"));
    for hook in ["ip forward", "ip input", "ip6 forward", "ip6 input", "ip output", "ip6 output"] {
        web2.set(Fact::unreadable(FactKind::Hook, hook, "needs CAP_NET_ADMIN"));
    }
    let mut dns = Machine::new("dns-1", "outer", "172.20.0.53");
    dns.set(Fact::known(
        "",
        Units { failed: vec!["unattended-upgrades.service".into()], failed_count: 1 },
    ));
    vec![
        Machine::new("core-log", "inner", "10.1.0.9"),
        Machine::new("files-1", "inner", "10.1.2.4"),
        Machine::new("gis-1", "inner", "10.1.5.8").silent(38),
        oa17,
        Machine::new("oa-18", "inner", "10.1.7.21"),
        oracle,
        Machine::new("video-1", "inner", "10.1.9.30").silent(5400),
        dns,
        mail,
        Machine::new("web-1", "outer", "172.20.0.11"),
        web2,
        Machine::new("ex-front", "exchange", "10.250.0.10"),
    ]
}

fn held_device(name: &str, zone: &str, address: &str) -> DeviceView {
    use sha2::{Digest as _, Sha256};
    let key = HostKey::from_bytes(Sha256::digest(name.as_bytes()).into());
    let (name, zone) = (name.parse().unwrap(), zone.parse().unwrap());
    let mut view =
        DeviceView::new(key, name, zone, address.parse().unwrap(), ago(90_000), ago(90_000));
    view.polling.asked_at = Some(ago(20));
    view.polling.answered_at = Some(ago(20));
    view.polling.took = Some(Duration::from_millis(180));
    view
}

fn device_identity(view: &mut DeviceView, description: &str, vendor: &str) {
    let identity = device::Identity {
        description: Some(description.into()),
        product: Some("1.3.6.1.4.1.2011.2.23.414".into()),
        vendor: Some(vendor.into()),
        name: Some(view.name.to_string()),
        contact: None,
        location: Some("机房 1".into()),
        up: Some(Duration::from_hours(2_000)),
    };
    view.identity.take(Ok(identity), ago(20), Duration::from_mins(1));
}

fn device_port(
    index: u32,
    name: &str,
    alias: &str,
    link: Link,
    octets: u64,
) -> device::interface::Interface {
    device::interface::Interface {
        index,
        name: name.into(),
        alias: alias.into(),
        kind: Some(6),
        mac: Some(Mac([0, 0x1b, 0x21, 0, 0, u8::try_from(index).unwrap()])),
        wanted: Link::Up,
        link,
        speed: Some(100_000_000),
        counters: PortCounters {
            in_octets: Some(Counter::Wide(octets)),
            out_octets: Some(Counter::Wide(octets / 3)),
            in_packets: Some(Counter::Wide(octets / 500)),
            out_packets: Some(Counter::Wide(octets / 900)),
            in_errors: Some(Counter::Narrow(u32::try_from(octets / 4_000_000).unwrap())),
            ..PortCounters::default()
        },
    }
}

/// Devices of both networks: a switch with a full uplink, an aggregate that has lost a member and a port at
/// half duplex, a silent one, and a UPS on its battery. `said` is what one of them says of itself.
pub(crate) fn devices(said: &str) -> Vec<DeviceView> {
    let mut floor = held_device("floor-3", "inner", "10.1.0.43:161");
    device_identity(&mut floor, said, "Huawei");
    let port = |duplex, aggregate| Port {
        duplex,
        damaged: None,
        late_collisions: Some(0),
        aggregate,
        detached: false,
    };
    let (half, full) = (Some(EthernetDuplex::Half), Some(EthernetDuplex::Full));
    let trunk = Some(100);
    let ethernet = [(1, port(half, None)), (49, port(full, trunk)), (50, port(None, trunk))];
    floor.take_ethernet(Ok(ethernet.into()), ago(17 * 60));
    for minute in 0..=16_u64 {
        let at = ago((16 - minute) * 60 + 20);
        let trunk = device_port(100, "Eth-Trunk1", "", Link::Up, minute * 60 * 11_500_000);
        let ports = vec![
            device_port(1, "GE0/0/1", said, Link::Up, minute * 60 * 12_000),
            device_port(49, "GE0/0/49", "uplink sw-b-2", Link::Up, minute * 60 * 11_500_000),
            device_port(50, "GE0/0/50", "uplink sw-b-3", Link::LowerLayerDown, 0),
            device::interface::Interface {
                kind: Some(device::aggregate::KIND),
                speed: Some(200_000_000),
                ..trunk
            },
        ];
        floor.take_interfaces(Ok(ports), at, |_| false);
    }
    floor.take_ethernet(Ok(ethernet.into()), ago(140));
    let neighbour = device::neighbour::Neighbour {
        protocol: bailey_rules::topology::Protocol::Lldp,
        local_port: 49,
        local_name: Some("GE0/0/49".into()),
        chassis: "00:1b:21:02:00:02".into(),
        port: "GE0/0/3".into(),
        port_description: None,
        name: Some(said.into()),
    };
    floor.neighbours.take(Ok(vec![neighbour]), ago(140), Duration::from_mins(5));
    let mut core = held_device("core-1", "inner", "10.1.0.1:161");
    device_identity(&mut core, "S12700", "Huawei");
    core.polling.answered_at = Some(ago(400));
    core.polling.silent = 6;
    core.polling.failed =
        Some(SnmpError::Silent { waited: Duration::from_millis(4500), tries: 3 }.text());
    let mut ups = held_device("ups-1", "outer", "172.20.0.9:161");
    device_identity(&mut ups, "Smart-UPS 3000", "APC");
    let power = Power {
        source: Some(Source::Battery),
        lasts: Some(Duration::from_mins(21)),
        on_battery: Some(Duration::from_mins(4)),
        charge: Some(61),
        celsius: Some(27),
        load: vec![42],
        ..Power::default()
    };
    ups.power.take(Ok(Some(power)), ago(20), Duration::from_mins(1));
    vec![core, floor, ups]
}

/// The site with these devices beside its machines.
pub(crate) fn with_devices(machines: Vec<Machine>, devices: Vec<DeviceView>) -> Shown {
    judged_devices(shown(machines), devices)
}

/// The lines of `exit-1`: a good one, an exit that is cut, and one whose far end cannot be asked.
const LINES: &str = "
expectations:
  - hosts: [exit-1]
    device:
      lines:
        GE0/0/1: {name: province, rated: 2 Mbit/s, far: 10.254.0.1}
        GE0/0/2: {name: exit A, rated: 100 Mbit/s, far: 203.0.113.1, by: udp 33434, exit: true}
        GE0/0/3: {rated: 10 Mbit/s, far: 10.254.0.5}
        GE0/0/9: {name: county, rated: 10 Mbit/s}
";

/// A site with a device that has these lines, and says `said` of its ports.
pub(crate) fn with_lines(said: &str) -> Shown {
    let mut shown = shown(Vec::new());
    let files = [("site.yaml".to_owned(), LINES.to_owned())];
    shown.rule_files = Arc::new(RuleFiles::parse(&files).unwrap());
    let mut exit = held_device("exit-1", "outer", "172.20.0.1:161");
    device_identity(&mut exit, said, "Huawei");
    for minute in 0..=16_u64 {
        let at = ago((16 - minute) * 60 + 20);
        let port = |nth, rate: u64| {
            device_port(nth, &format!("GE0/0/{nth}"), said, Link::Up, minute * 60 * rate)
        };
        let ports = vec![port(1, 230_000), port(2, 1_200_000), port(3, 9_000)];
        exit.take_interfaces(Ok(ports), at, |_| true);
    }
    let wanted = shown.rule_files.for_host(&exit.name, &exit.zone).device;
    let quality = |line: &str| Quality::new(wanted.lines[line].ask.unwrap(), []);
    let (mut good, mut cut, mut unknown) =
        (quality("GE0/0/1"), quality("GE0/0/2"), quality("GE0/0/3"));
    for packet in (0..200_u64).rev() {
        let at = ago(packet * 3);
        good.note(at, (packet % 50 != 7).then_some(Duration::from_micros(18_250)));
        cut.note(at, (packet > 60).then_some(Duration::from_millis(4)));
    }
    unknown.fail(Text::quoted("this program may not send ICMP"));
    let lines = [("GE0/0/1", good), ("GE0/0/2", cut), ("GE0/0/3", unknown)];
    exit.quality = lines.map(|(line, quality)| (line.to_owned(), Arc::new(quality))).into();
    judged_devices(shown, vec![exit])
}

fn judged_devices(mut shown: Shown, devices: Vec<DeviceView>) -> Shown {
    for view in devices {
        let wanted = shown.rule_files.for_host(&view.name, &view.zone);
        let judged = check::device::judge(&check::device::Given {
            device: &view,
            wanted: &wanted.device,
            isolation: &wanted.isolation,
            policy: &shown.policy,
            now: NOW,
        });
        let opened = advance(&BTreeMap::new(), &view, &judged, ago(370));
        shown.findings.extend(opened.into_iter().map(|change| change.finding().clone()));
        shown.devices.push(Arc::new(DeviceStatus {
            state: worst(&judged),
            view: Arc::new(view),
            judged,
            judged_at: NOW,
            added_by: Actor::uid(0),
            version: "v3",
        }));
    }
    shown.findings.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.first_at, f.id));
    shown
}

/// `machines` as a page sees them.
pub(crate) fn shown(machines: Vec<Machine>) -> Shown {
    let policy = policy();
    let mut hosts: Vec<_> =
        machines.into_iter().map(|machine| Arc::new(machine.judged(&policy))).collect();
    hosts.sort_by_key(|host| host.view.name.clone());
    let mut findings: Vec<Finding> = hosts
        .iter()
        .flat_map(|host| advance(&BTreeMap::new(), &*host.view, &host.judged, ago(370)))
        .filter_map(|change| match change {
            Change::Opened(finding) => Some(finding),
            Change::Changed(_) | Change::Resolved(_) | Change::Touched(_) => None,
        })
        .collect();
    findings.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.first_at, f.id));
    Shown {
        hosts,
        devices: Vec::new(),
        wiring: Arc::default(),
        rule_files: Arc::new(RuleFiles::shipped()),
        findings,
        problems: Vec::new(),
        policy: Arc::new(policy),
        pushes: Arc::default(),
        proofs: Arc::default(),
        now: NOW,
        local: local(),
    }
}

/// One order of the fixture.
fn order(version: u64) -> OrderRef {
    OrderRef { version, digest: OrderDigest::from_bytes([0x5a; 32]) }
}

/// A machine whose enforcer says that order 41 is in force, but for `change`.
fn enforcing(name: &str, zone: &str, change: impl FnOnce(&mut Enforcement)) -> Machine {
    let mut machine = Machine::new(name, zone, "10.1.7.20");
    let mut facts = Enforcement {
        key: Some("5a1f0c3b9e7d2468".into()),
        highest: 41,
        mode: Some(Mode::Enforce),
        in_force: Some(order(41)),
        confirmed: Some(order(41)),
        ..Enforcement::default()
    };
    change(&mut facts);
    let counter = match facts.mode {
        Some(Mode::Observe) => "would-drop",
        Some(Mode::Enforce) | None => "dropped",
    };
    machine.set(Fact::known(counter, RuleCounter { packets: 41, octets: Bytes(2_460) }));
    machine.set(Fact::known("", facts));
    machine
}

/// A site that enforces: a push waits for a person, somebody changed a table by hand, a host is in
/// quarantine. Every sentence that hosts and people may choose is `said`.
pub(crate) fn isolation(said: &str) -> Shown {
    let mut front = enforcing("ex-front", "exchange", |_| ());
    let (there, back) = (Bytes(73 * GIB), Bytes(2 * GIB));
    front.set(Fact::known("exchange-EX-1-to", RuleCounter { packets: 9_000, octets: there }));
    front.set(Fact::known("exchange-EX-1-back", RuleCounter { packets: 4_000, octets: back }));
    let machines = vec![
        enforcing("oa-17", "inner", |facts| {
            facts.drift = Some(DriftSeen {
                since: ago(95),
                ended: None,
                by: Some(said.to_owned()),
                added: vec![format!("chain input: tcp dport 23 accept # {said}")],
                removed: vec!["chain input: counter name dropped drop".into()],
                more: 3,
            });
        }),
        enforcing("oa-18", "inner", |facts| facts.mode = Some(Mode::Observe)),
        enforcing("oa-19", "inner", |facts| {
            facts.in_force = Some(order(42));
            let until = NOW + Duration::from_secs(107);
            facts.pending = Some(PendingOrder { order: order(42), until });
        }),
        enforcing("web-1", "outer", |facts| {
            let (until, reason) = (NOW + Duration::from_hours(2), said.to_owned());
            facts.quarantine = Some(QuarantineOrder { order: order(40), until, reason });
        }),
        enforcing("web-2", "outer", |facts| facts.problem = Some(said.to_owned())),
        enforcing("gis-1", "inner", |_| ()).silent(5_400),
        Machine::new("oa-20", "inner", "10.1.7.21"),
        front,
    ];
    let mut shown = shown(machines);
    let text = "site: jiaxing\n\
                zones:\n\
                \x20 inner: {name: 内网, networks: [10.1.0.0/16], mode: enforce}\n\
                \x20 outer: {name: 外网, networks: [172.20.0.0/16]}\n\
                \x20 exchange: {name: 交换区, networks: [10.250.0.0/24]}\n\
                services: {web: {tcp: [443]}, ssh: {tcp: [22]}}\n\
                exchange_points:\n\
                \x20 EX-1: {from: outer, to: exchange, hosts: [ex-front], service: web, owner: 信息中心}\n\
                flows: [{from: inner, to: inner, service: web}]\n\
                invariants:\n\
                \x20 INV-01: {never: [outer, inner]}\n\
                \x20 INV-02: {only: [outer, exchange], through: [EX-1]}\n\
                \x20 INV-03: {never: [inner, internet]}\n\
                \x20 INV-04: {never: [exchange, inner]}\n\
                \x20 INV-05: {never: [inner, outer]}\n\
                \x20 INV-06: {always: [inner, inner], service: web}\n\
                management: {inner: {from: inner, service: ssh, collectors: [\"10.1.0.2:7710\"]}}\n\
                hosts: {ex-front: {zone: exchange, addresses: [10.250.0.10]}}\n";
    shown.policy = Arc::new(Policy::parse("policy.yaml", text).unwrap());
    shown.pushes = Arc::new(pushes(said));
    shown.proofs = Arc::new(proofs(said));
    for status in &mut shown.hosts {
        let view = Arc::make_mut(&mut Arc::make_mut(status).view);
        let pushed = |version| Some(Pushed { order: order(version), at: ago(13), running: false });
        view.pushed = if view.name.as_str() == "oa-20" { None } else { pushed(42) };
        if matches!(view.name.as_str(), "ex-front" | "oa-17") {
            view.pushed = pushed(41);
        }
    }
    shown
}

/// One invariant is proved, one broken, one out of model, one was proved before a host fell silent, and
/// one never was.
fn proofs(said: &str) -> Known {
    let packet = || Example {
        iif: None,
        oif: None,
        src: "172.20.1.10".parse().unwrap(),
        dst: "10.250.0.10".parse().unwrap(),
        proto: "tcp".into(),
        sport: Some(40_000),
        dport: Some(3389),
        icmp_type: None,
        tcp_flags: Some("syn".into()),
        state: "new".into(),
    };
    let by = By {
        hook: "input".into(),
        family: "inet".into(),
        table: "bailey".into(),
        chain: "input".into(),
        rule: Some(format!("tcp dport 3389 accept # {said}")),
        comment: Some("policy.yaml:9 exchange point EX-1".into()),
        handle: Some(118),
        line: None,
        policy: PolicyLine::read("policy.yaml:9 exchange point EX-1"),
    };
    let hop = Hop {
        host: Some("ex-front".parse().unwrap()),
        iif: Some("eth0".into()),
        oif: None,
        packet: packet(),
        by: vec![by],
    };
    let wire = Hop { host: None, iif: None, oif: None, packet: packet(), by: Vec::new() };
    let breach = || Breach {
        packet: packet(),
        path: vec![wire.clone(), hop.clone()],
        end: Text::new("it is delivered to ex-front", "报文被交付给 ex-front"),
        cuts: vec![Cut {
            host: "ex-front".parse().unwrap(),
            what: Text::new(format!("remove the rule: {said}"), format!("删除规则：{said}")),
        }],
    };
    let assumed = Assumption::Wires;
    let assumptions =
        || vec![Assumed { assumption: assumed.name().to_owned(), text: assumed.text() }];
    let answers = [
        ("INV-01", 12, "ex-front", Answer::Proved { assumptions: assumptions() }),
        ("INV-02", 12, "ex-front", Answer::Broken { breach: breach() }),
        (
            "INV-03",
            12,
            "ex-front",
            Answer::OutOfModel {
                statement: format!("meta cgroup {said}"),
                at: Some("ex-front: inet filter input".into()),
                wanted: Text::new("the facts that are missing", "补全缺失的事实"),
                perhaps: Some(breach()),
            },
        ),
        ("INV-04", 12, "gis-1", Answer::Proved { assumptions: assumptions() }),
    ];
    let mut known = Known::default();
    for (line, (invariant, age, host, answer)) in (11..).zip(answers) {
        let proved_at = ago(age);
        let basis =
            Basis { proved_at, took_micros: 41_000, inputs: "ab".repeat(32), facts: Vec::new() };
        let proof = Proof {
            invariant: invariant.to_owned(),
            line,
            answer,
            hosts: [host.parse().unwrap()].into(),
            basis: Some(basis),
        };
        let seen_at = Some(proved_at);
        let held = Held { proof: Arc::new(proof), since: ago(7_200), seen_at };
        known.answers.insert(invariant.to_owned(), held);
    }
    known
}

/// A push of rulesets that waits for a person, and one that failed before it.
fn pushes(said: &str) -> Overview {
    let target = |host: &str, stage, state| Target {
        host: host.parse().unwrap(),
        zone: "inner".parse().unwrap(),
        order: order(42),
        expires_at: NOW + Duration::from_hours(20),
        confirm_within: Duration::from_mins(2),
        octets: 50_000,
        stage,
        state,
        error: String::new(),
        why: None,
        sent_at: Some(ago(13)),
        sends: 1,
        applied_at: None,
        sent_in: None,
        confirm_asked_in: None,
    };
    let push = |state, stage, targets: Vec<Target>| Push {
        kind: PushKind::Ruleset,
        confirm: ConfirmBy::Person,
        staging: Staging::Staged,
        state,
        why: None,
        stage,
        stages: 3,
        confirmed_stage: 1,
        targets: (1..).map(|n| HostKey::from_bytes([n; 32])).zip(targets).collect(),
    };
    let running = vec![
        target("oa-18", 1, HostState::Confirmed),
        target("oa-19", 2, HostState::Reachable),
        target("oa-20", 3, HostState::Waiting),
    ];
    let mut refused = target("web-2", 1, HostState::Refused);
    refused.error = "kernel_refused".into();
    refused.why = Some(Text::new(said, said));
    let why = Text::new(format!("web-2: kernel_refused: {said}"), format!("web-2: {said}"));
    let failed = Push {
        why: Some(why),
        ..push(PushState::Failed, 1, vec![refused, target("web-1", 2, HostState::Sent)])
    };
    let awaits = push(PushState::AwaitingConfirmation, 2, running);
    let live = BTreeMap::from([(PushId(11), failed), (PushId(12), awaits)]);
    Overview { live, last: None }
}

pub(crate) fn config_problem() -> ConfigProblem {
    ConfigProblem {
        at: ago(130),
        message: "policy.yaml:14:9: zone \"iner\" is not defined (zones: exchange, inner, outer); \
                  did you mean \"inner\"?\n  14 |   - {from: iner, to: inner}\n     |            ^"
            .into(),
    }
}

/// A text that would be markup, script, quote or attribute wherever it is not escaped.
pub(crate) const HOSTILE: &str =
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}&amp;\u{202e}";

/// A host that says [`HOSTILE`] in every text that a host may fill.
pub(crate) fn hostile() -> Machine {
    let h = HOSTILE.to_owned();
    let mut machine = Machine::new("oa-66", "inner", "10.1.7.66");
    let facts: Vec<Fact> = vec![
        Fact::known(
            "",
            host::Identity {
                hostname: h.clone(),
                os: h.clone(),
                kernel: h.clone(),
                machine: h.clone(),
                booted_at: ago(60),
                machine_id_hash: h.clone(),
                agent_version: h.clone(),
            },
        ),
        Fact::known(
            &h,
            FileSystem {
                device: h.clone(),
                kind: h.clone(),
                total: Bytes(100),
                available: Bytes(0),
                inodes: 100,
                inodes_available: 0,
                read_only: true,
            },
        ),
        Fact::known("", Reboot { needed: true, because: vec![h.clone()] }),
        Fact::known("", Units { failed: vec![h.clone()], failed_count: 1 }),
        Fact::known(&h, Pressure { some: Permille(999), full: None }),
        Fact::known(
            "",
            Agent { resident: Bytes(1), cpu_millis: 1, spool: Bytes(1), problems: vec![h.clone()] },
        ),
        Fact::known(&h, Disk { read: Bytes(1), written: Bytes(1), busy_millis: 1 }),
        Fact::known(&h, Temperature { millicelsius: 200_000, critical: Some(100_000) }),
        Fact::known(
            &h,
            Interface {
                index: 9,
                kind: LinkKind::Tunnel,
                driver: h.clone(),
                mac: None,
                admin_up: true,
                carrier: true,
                speed_mbits: None,
                duplex: None,
                mtu: 1500,
                master: Some(h.clone()),
                addresses: vec!["172.20.6.6/16".parse().unwrap()],
                secondary: Vec::new(),
                link_only: Vec::new(),
                group: Some(0),
                hardware: Some(1),
                reverse_path: None,
            },
        ),
        Fact::known(
            &h,
            Traffic {
                received: Bytes(1),
                transmitted: Bytes(1),
                receive_errors: 1,
                transmit_errors: 1,
                receive_drops: 1,
                transmit_drops: 1,
            },
        ),
        Fact::known(
            &h,
            Route {
                destination: "0.0.0.0/0".parse().unwrap(),
                gateway: Some("172.20.0.1".parse().unwrap()),
                interface: Some(h.clone()),
                metric: 0,
                table: 254,
                carries: true,
                kind: RouteKind::Unicast,
                source: None,
            },
        ),
        Fact::known(
            &h,
            Rule {
                priority: 100,
                ipv6: false,
                not: true,
                from: None,
                to: None,
                iif: Some(h.clone()),
                oif: Some(h.clone()),
                mark: None,
                action: RuleAction::Table(100),
                unsure: true,
            },
        ),
        Fact::known(
            &h,
            Neighbour {
                address: "172.20.0.1".parse().unwrap(),
                interface: h.clone(),
                mac: None,
                router: true,
                silent: false,
            },
        ),
        Fact::known(
            "",
            Forwarding {
                ipv4: true,
                ipv6: true,
                interfaces: vec![h.clone()],
                bridged: Some(false),
            },
        ),
        Fact::known(
            &h,
            Ruleset {
                tables: vec![Table {
                    family: h.clone(),
                    name: h.clone(),
                    chains: 1,
                    rules: 0,
                    sets: 0,
                }],
                rules: 0,
                opaque_rules: 1,
                digest: h.clone(),
                packets: 0,
                octets: Bytes(0),
                changed_by: Some(h.clone()),
            },
        ),
        Fact::known(&h, Hook { default: DefaultPolicy::Accept, by: h.clone(), chains: 2 }),
        Fact::known(&h, Manager { installed: true, active: false }),
        Fact::known(
            &h,
            Job {
                tool: h.clone(),
                started_at: ago(99),
                finished_at: ago(98),
                success: false,
                size: None,
                files: None,
                destination: h.clone(),
                message: h.clone(),
                last_success_at: None,
                sizes: Vec::new(),
            },
        ),
        Fact::known(&h, Repository { tool: h.clone(), snapshots: 0, newest: Vec::new() }),
        Fact::unreadable(FactKind::Disk, "sr0", &h),
        Fact::unreadable(FactKind::BackupRepository, "other", &h),
    ];
    for fact in facts {
        machine.set(fact);
    }
    machine.failed = Some((ProbeName::Firewall, h));
    machine
}

/// A host that measures five lines: a good one, one that is cut, one that never answered, one that was
/// not asked yet, and one that it cannot ask. It says `said` of them.
pub(crate) fn measuring(said: &str) -> Machine {
    let mut machine = Machine::new("gis-1", "inner", "10.1.5.8");
    let line = |far: &str, silence: u64, lately| LineQuality {
        ask: Ask { far: far.parse().unwrap(), by: expectation::By::Icmp },
        since: Some(ago(86_400)),
        answered: true,
        silence_millis: silence * 1000,
        lately,
        available_millionths: Some(999_812),
    };
    let lately = LatelyAsked { asked: 100, lost: Permille(20), round_trip_micros: Some(18_400) };
    let by = expectation::By::Udp(33434.try_into().unwrap());
    let mut never = line("10.254.0.9", 86_400, None);
    (never.answered, never.available_millionths) = (false, Some(0));
    never.ask.by = by;
    let mut fresh = line("10.254.0.5", 0, None);
    (fresh.since, fresh.answered, fresh.available_millionths) = (None, false, None);
    machine.set(Fact::known("county", line("10.254.0.1", 0, Some(lately))));
    machine.set(Fact::known("exit A", line("203.0.113.1", 240, None)));
    machine.set(Fact::known(said, never));
    machine.set(Fact::known("town", fresh));
    machine.set(Fact::unreadable(FactKind::LineQuality, "province", said));
    machine
}

/// One of many neighbours.
pub(crate) fn neighbour(n: u16) -> Fact {
    let [high, low] = n.to_be_bytes();
    Fact::known(
        &format!("10.1.{high}.{low} eth0"),
        Neighbour {
            address: std::net::Ipv4Addr::new(10, 1, high, low).into(),
            interface: "eth0".into(),
            mac: Some(Mac([0x52, 0x54, 0, 1, high, low])),
            router: false,
            silent: false,
        },
    )
}

/// What an event says.
pub(crate) fn event_text() -> Text {
    Text::new(
        "Address of another zone on eth1: 172.20.4.9 (outer)",
        "eth1 出现其他安全域地址：172.20.4.9（outer）",
    )
}

/// The clock of a morning that does not pass.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A site that holds `machines` as they were judged, with its store and CA in `folder`, and nobody
/// who judges them again.
pub(crate) fn site(machines: Vec<Machine>, folder: &Path) -> (Site, Enrolment) {
    let shown = shown(machines);
    let clock: SharedClock = Arc::new(Noon);
    let counters = Arc::new(Counters::default());
    let store = folder.join("collector.db");
    let store = Store::open(&store, Arc::clone(&clock), Arc::clone(&counters)).unwrap();
    let rule_files = Arc::new(RuleFiles::shipped());
    let config = Config { policy: shown.policy, rule_files, generation: 0 };
    let site = Site::new(clock, counters, store, config, 0, Senders::new(BTreeMap::new()));
    for (no, status) in (1..).zip(shown.hosts) {
        let view = &status.view;
        let identity = Identity {
            host: view.name.clone(),
            zone: view.zone.clone(),
            key: view.key,
            enrolled_at: view.session.enrolled_at,
            certificate_began: view.session.certificate_began,
            certificate_ends: view.session.certificate_ends,
            revoked_at: None,
            revoked_reason: None,
        };
        let host = site.new_host(no, &identity);
        host.set_status(Arc::clone(&status));
        site.add(host);
        let of_host = shown.findings.iter().filter(|finding| finding.host == view.key);
        let open = of_host.map(|finding| (finding.id, finding.clone())).collect();
        site.set_findings(&view.key, open);
    }
    let ca = Arc::new(Ca::open(folder, NOW).unwrap());
    let enrolment = Enrolment::new(site.clone(), ca, "127.0.0.1:7710".to_owned());
    (site, enrolment)
}
