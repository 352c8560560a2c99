//! What bridges and interfaces filter: frames that cross a bridge, come to its host, leave by it or are
//! routed from it, before the hooks of bridges and the first and last hooks of interfaces. Nothing here
//! tracks connections; that is judged elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bailey_rules::model::field;
use bailey_rules::model::nft;
use bailey_rules::model::packet::{
    Device, IcmpKind, IcmpType, Mac, Packet, Protocol, State, TcpFlags, mac,
};
use bailey_rules::model::ruleset::{Family, Ruleset, Table};
use bailey_rules::prove::site::{Bridge, Host};
use pnet::datalink::DataLinkSender;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::transport::TransportSender;
use pnet::util::MacAddr;

use super::generate::{self, Chance};
use super::sets::{Judged, Said};
use super::wire::{Sent, datagram, feed, opened, raw, route_between, run, switch};
use super::{Spoil, counted, in_namespace, listing, load_nft, network, seen_in};

/// The hardware address of the bridge.
const ITSELF: &str = "02:00:00:00:00:77";

/// Rulesets of every run of the tests.
const RULESETS: usize = 60;
/// Packets for each.
const PACKETS: usize = 150;

/// Notes every packet of the test that comes out at the other end of a wire, or to the host.
const WITNESS: &str = "\
table inet witness {
  set seen4 { typeof ip id; size 65535; flags dynamic; }
  set seen6 { typeof ip6 flowlabel; size 65535; flags dynamic; }
  chain input { type filter hook input priority 1000; policy accept;
    ip dscp 1 add @seen4 { ip id } drop
    ip6 dscp 1 add @seen6 { ip6 flowlabel } drop
    drop
  }
}
table netdev witness {
  set seen4 { typeof ip id; size 65535; flags dynamic; }
  set seen6 { typeof ip6 flowlabel; size 65535; flags dynamic; }
  counter met { }
  counter last { }
  chain near { type filter hook ingress device \"near\" priority -2000; policy accept;
    ether saddr 02:00:00:00:00:01 counter name met
  }
  chain end { type filter hook ingress device \"end\" priority -2000; policy accept;
    ether saddr 02:00:00:00:00:02 counter name last
  }
  chain away { type filter hook ingress devices = { away, yonder } priority -2000; policy accept;
    ip dscp 1 add @seen4 { ip id } drop
    ip6 dscp 1 add @seen6 { ip6 flowlabel } drop
    drop
  }
}
table bridge witness {
  chain some { type filter hook forward priority 2000; policy accept;
    ip saddr 203.0.113.1 drop
  }
}
";

/// A way of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// From one port of the bridge to the other.
    Across,
    /// From a port to the host.
    Up,
    /// From a port to the host, which routes it out by the bridge again.
    Back,
    /// From a port to the host, which routes it out by another interface.
    Through,
    /// From the host out by the bridge.
    Down,
}

const WAYS: [Way; 5] = [Way::Across, Way::Up, Way::Back, Way::Through, Way::Down];

impl Way {
    const fn input(self) -> Option<&'static str> {
        match self {
            Self::Across | Self::Up | Self::Back | Self::Through => Some("near"),
            Self::Down => None,
        }
    }

    const fn output(self) -> Option<&'static str> {
        match self {
            Self::Across | Self::Back | Self::Down => Some("out"),
            Self::Through => Some("wan"),
            Self::Up => None,
        }
    }

    fn judged(self, host: &Host) -> Judged {
        let stages = host.stages(self.input(), self.output(), self == Self::Across);
        Judged::of(&host.ruleset, &host.network, self.input(), &stages)
    }
}

/// A host with a bridge.
struct Bridged {
    itself: MacAddr,
    far: Box<dyn DataLinkSender>,
    begin: Box<dyn DataLinkSender>,
    own: TransportSender,
}

impl Bridged {
    fn new() -> Self {
        for line in [
            "ip link set lo up",
            "ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            "ip link add near type veth peer name far",
            "ip link add out type veth peer name away",
            "ip link add wan type veth peer name yonder",
            "ip link add begin type veth peer name end",
            "ip link set near master br0",
            "ip link set out master br0",
        ] {
            run(line);
        }
        run(&format!("ip link set br0 address {ITSELF}"));
        route_between(&["br0", "near", "far", "out", "away", "wan", "yonder", "begin", "end"]);
        // Frames are none of the rules' for packets.
        switch("bridge/bridge-nf-call-iptables", "0");
        switch("bridge/bridge-nf-call-ip6tables", "0");
        for line in [
            "ip addr add 10.3.0.1/24 dev br0",
            "ip -6 addr add fd00:3::1/64 dev br0",
            "ip addr add 10.3.1.1/24 dev wan",
            "ip route add 10.2.0.0/16 via 198.18.0.1 dev br0 onlink",
            "ip neigh add 198.18.0.1 lladdr 02:00:00:00:00:99 dev br0 nud permanent",
            "ip route add default via 198.18.2.1 dev wan onlink",
            "ip neigh add 198.18.2.1 lladdr 02:00:00:00:00:88 dev wan nud permanent",
            "ip -6 route add fd00:2::/32 via fe80::99 dev br0 onlink",
            "ip -6 neigh add fe80::99 lladdr 02:00:00:00:00:99 dev br0 nud permanent",
            "ip -6 route add default via fe80::88 dev wan onlink",
            "ip -6 neigh add fe80::88 lladdr 02:00:00:00:00:88 dev wan nud permanent",
            "bridge fdb add 02:00:00:00:00:99 dev out master static",
        ] {
            run(line);
        }
        let (_, far) = opened("far");
        let (_, begin) = opened("begin");
        Self { itself: ITSELF.parse().unwrap(), far, begin, own: raw() }
    }

    /// Sends a packet on its way.
    fn send(&mut self, case: &Case, number: u16) {
        let ip = datagram(&case.sent, number);
        if case.way == Way::Down {
            // What the filter refuses, the system call may refuse too.
            let _ = self.own.send_to(Ipv4Packet::new(&ip).unwrap(), case.sent.dst);
            return;
        }
        let to = match case.way {
            Way::Across => MacAddr::new(2, 0, 0, 0, 0, 0x99),
            Way::Up | Way::Back | Way::Through | Way::Down => self.itself,
        };
        let kind = if case.sent.src.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        super::wire::put(&mut *self.far, to, 1, kind, &ip);
    }

    /// Waits until all that was sent has come wherever it goes: packets that one processor has sent
    /// come in their order, and the last is one that nothing filters.
    fn settle(&mut self, arriving: usize) {
        counted("met", arriving);
        super::wire::put(&mut *self.begin, MacAddr::broadcast(), 2, [0x88, 0xb5], &[0; 46]);
        counted("last", 1);
    }
}

/// A packet and its way.
struct Case {
    sent: Sent,
    way: Way,
}

fn case(chance: &mut Chance) -> Case {
    let way = WAYS[chance.below(WAYS.len())];
    let v6 = way != Way::Down && chance.one_in(3);
    let sources = if v6 { &generate::SOURCES6[..] } else { &generate::SOURCES4[..] };
    let src = if way == Way::Down { generate::LOCAL4[0] } else { chance.pick(sources) };
    let dst = match (way, v6) {
        (Way::Up, false) => generate::LOCAL4[0],
        (Way::Up, true) => generate::LOCAL6[0],
        (Way::Through, false) => "10.9.0.1",
        (Way::Through, true) => "fd00:9::1",
        (Way::Across | Way::Back | Way::Down, true) => chance.pick(&generate::TARGETS6),
        // The last one is not behind the bridge.
        (Way::Across | Way::Back | Way::Down, false) => chance.pick(&generate::TARGETS4[..7]),
    };
    let protocol = [6, 6, 17, 17, if v6 { 58 } else { 1 }][chance.below(5)];
    let kind = match protocol {
        6 => [2, 16, 18, 0][chance.below(4)],
        1 => [8, 0][chance.below(2)],
        58 => [128, 129][chance.below(2)],
        _ => 0,
    };
    let mut port = || chance.pick(&generate::PORTS).parse().unwrap();
    let (sport, dport) = (port(), port());
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let sent = Sent { src: address(src), dst: address(dst), protocol, sport, dport, kind };
    Case { sent, way }
}

/// The same packet as the sets are asked about it.
fn asked(case: &Case) -> Packet {
    let sent = &case.sent;
    let ports = matches!(sent.protocol, 6 | 17);
    let icmp = IcmpType { kind: IcmpKind::Number(sent.kind), code: Some(0) };
    Packet {
        iif: case.way.input().map(|input| Device(field::device(input).unwrap())),
        oif: None,
        src: Some(sent.src),
        dst: Some(sent.dst),
        proto: Some(Protocol::Number(sent.protocol)),
        sport: ports.then_some(sent.sport),
        dport: ports.then_some(sent.dport),
        icmp_type: (!ports).then_some(icmp),
        tcp_flags: (sent.protocol == 6).then_some(TcpFlags(sent.kind)),
        state: Some(State::Invalid),
        mac: case.way.input().map(|_| Mac(mac("02:00:00:00:00:01").unwrap())),
    }
}

fn without(ruleset: &Ruleset, family: Family) -> Ruleset {
    let mut changed = ruleset.clone();
    // What makes the bridge one that filters stays.
    let own = |table: &&mut Table| table.family == family && table.name != "witness";
    changed.tables.iter_mut().filter(own).for_each(|table| table.dormant = true);
    changed
}

fn no_bridge(ruleset: &Ruleset) -> Ruleset {
    without(ruleset, Family::Bridge)
}

fn no_interface(ruleset: &Ruleset) -> Ruleset {
    without(ruleset, Family::Netdev)
}

/// Sets that are wrong on purpose. The order of chains is judged with packets: frames are not translated,
/// and one that any chain stops is stopped.
const MUTANTS: [(&str, Spoil); 6] = [
    ("goto comes back", super::goto_comes_back),
    ("sets turned round", super::sets_turned),
    ("policies always accept", super::no_policy),
    ("a rule without its first match", super::no_first_match),
    ("bridges filter nothing", no_bridge),
    ("interfaces filter nothing", no_interface),
];

/// What a run came to.
#[derive(Default)]
struct Total {
    packets: usize,
    sure: usize,
    passed: usize,
    caught: BTreeSet<&'static str>,
}

fn judge(bridged: &mut Bridged, seed: u64, packets: usize, total: &mut Total) {
    let mut chance = Chance::new(seed);
    let text = load_nft(WITNESS, generate::frames(&mut chance));
    let cases: Vec<Case> = (0..packets).map(|_| case(&mut chance)).collect();
    let mut arriving = 0;
    for (number, case) in (1..).zip(&cases) {
        bridged.send(case, number);
        arriving += usize::from(case.way != Way::Down);
    }
    bridged.settle(arriving);
    let of = |set: &str| -> BTreeSet<u64> {
        seen_in("inet", set).union(&seen_in("netdev", set)).copied().collect()
    };
    let (seen4, seen6) = (of("seen4"), of("seen6"));
    let ports = ["near", "out"].map(str::to_owned).into_iter().collect();
    let host = |ruleset: Ruleset| Host {
        ruleset: Arc::new(ruleset),
        network: network(),
        bridges: vec![Bridge { device: "br0".to_owned(), ports }],
        ..Host::default()
    };
    let mut loaded = nft::parse(&listing("unwitnessed")).unwrap();
    for table in loaded.tables.iter_mut().filter(|table| table.name == "witness") {
        table.dormant = table.family != Family::Bridge;
    }
    let host = host(loaded);
    let ways = |host: &Host| -> BTreeMap<Way, Judged> {
        WAYS.into_iter().map(|way| (way, way.judged(host))).collect()
    };
    let mut right = ways(&host);
    let mutants = MUTANTS.iter().filter(|(name, _)| !total.caught.contains(name));
    let mut wrong: Vec<(&str, BTreeMap<Way, Judged>)> = mutants
        .map(|(name, spoil)| {
            let ruleset = Arc::new(spoil(&host.ruleset));
            (*name, ways(&Host { ruleset, ..host.clone() }))
        })
        .collect();
    for (number, case) in (1_u64..).zip(&cases) {
        let v6 = case.sent.src.is_ipv6();
        let passed = if v6 { &seen6 } else { &seen4 }.contains(&number);
        let packet = asked(case);
        let says =
            |ways: &mut BTreeMap<Way, Judged>| ways.get_mut(&case.way).unwrap().says(&packet, v6);
        let said = says(&mut right);
        assert!(
            !said.is_wrong(passed),
            "seed {seed}, {:?} {:?}: the sets say {said:?}, the kernel {}\n{text}",
            case.way,
            case.sent,
            if passed { "let it pass" } else { "did not let it pass" }
        );
        total.packets += 1;
        total.sure += usize::from(said != Said::Perhaps);
        total.passed += usize::from(passed);
        for (name, ways) in &mut wrong {
            if says(ways).is_wrong(passed) {
                total.caught.insert(*name);
            }
        }
    }
}

fn judge_all(seeds: impl Iterator<Item = u64>, packets: usize) -> Total {
    let mut bridged = Bridged::new();
    feed("nft -f /dev/stdin", &format!("flush ruleset\n{WITNESS}")).unwrap();
    let mut total = Total::default();
    for seed in seeds {
        judge(&mut bridged, seed, packets, &mut total);
    }
    let Total { packets, sure, passed, .. } = &total;
    println!("{packets} frames, {sure} sure by sets, {passed} passed");
    total
}

#[test]
fn what_the_sets_are_sure_of_is_what_becomes_of_frames() {
    in_namespace(|| {
        let total = judge_all(1..=u64::try_from(RULESETS).unwrap(), PACKETS);
        // Sets that are sure of nothing would never be wrong.
        assert!(total.sure * 10 > total.packets * 7, "{} of {}", total.sure, total.packets);
        assert!(total.passed * 10 > total.packets && total.passed * 10 < total.packets * 9);
        let all = MUTANTS.iter().map(|(name, _)| *name);
        let free: Vec<&str> = all.filter(|name| !total.caught.contains(name)).collect();
        assert_eq!(free, Vec::<&str>::new(), "these would not be noticed");
    });
}

#[test]
#[ignore = "takes hours: see the top of main.rs"]
fn a_long_run_of_frames_agrees_too() {
    let (rulesets, packets, first) = super::long_run();
    in_namespace(move || {
        judge_all(first..first + rulesets, packets);
    });
}
