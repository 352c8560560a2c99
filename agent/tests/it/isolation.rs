//! The compiled ruleset against the real kernel: for every pair of ends and every service a real packet
//! is sent, and it passes exactly when the policy says so. Needs root; each test has a network
//! namespace of its own.
//!
//! The namespace is the host. A packet is put on the far end of a wire, as if a neighbour had sent it;
//! behind the table under test stands a second one that notes what came through and ends it.

#![allow(clippy::print_stdout, reason = "how many packets were sent is of interest")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::namespace::{alone, nft, run};
use bailey_agent::enforce::ruleset::RulesetText;
use bailey_rules::compile;
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::policy::{Carried, Mode, Opening, Party, Permit, Policy, REFERENCE};
use pnet::datalink::{self, Channel, DataLinkSender};
use pnet::packet::MutablePacket as _;
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::icmp::{IcmpTypes, MutableIcmpPacket};
use pnet::packet::icmpv6::{Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::MutableIpv4Packet;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{MutableTcpPacket, TcpFlags};
use pnet::packet::udp::MutableUdpPacket;
use pnet::packet::{icmp, icmpv6, ipv4, tcp, udp};
use pnet::util::MacAddr;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The port from which every packet comes.
const SOURCE_PORT: u16 = 40_000;
/// Whatever was sent has been through the kernel when the counter of all packets stands still, at
/// the latest after this.
const PATIENCE: Duration = Duration::from_secs(20);

const POLICY: &str = r#"
site: jiaxing
zones:
  inner:    {name: 内网, networks: [10.1.0.0/16, "fd00:1::/48"], mode: enforce, on_drift: restore}
  outer:    {name: 外网, networks: [172.20.0.0/16, "fd00:2::/48"], mode: enforce}
  exchange: {name: 交换区, networks: [10.250.0.0/24, "fd00:3::/48"], mode: enforce}
  county:   {name: 县区网, networks: [10.32.0.0/12, 10.64.0.0/16], mode: enforce}
  tax:      {name: 税务专网, networks: [10.200.0.0/16, "fd00:5::/48"], mode: enforce}
groups:
  inner-admins: [10.1.9.0/24, oa-17, "fd00:1:0:9::/64"]
  mail-servers: [mail-1, mail-2]
services:
  web: {tcp: [80, 443, 8000-8009]}
  dns: {tcp: [53], udp: [53]}
  mail: {tcp: [25, 143]}
  ping: {icmp: [echo-request], icmpv6: [echo-request]}
  ssh: {tcp: [22]}
exchange_points:
  EX-1: {from: outer, to: exchange, hosts: [ex-front], service: web, owner: information centre}
  EX-2: {from: exchange, to: mail-servers, hosts: [ex-back], service: mail}
  EX-3: {from: county, to: exchange, hosts: [ex-front, ex-back], service: dns}
  EX-4: {from: outer, to: internet, hosts: [proxy], service: web}
  EX-5: {from: inner, to: tax, hosts: [oa-17], service: ping}
flows:
  - {from: inner, to: inner, service: web}
  - {from: inner, to: mail-servers, service: mail}
  - {from: 10.1.128.0/17, to: mail-1, service: dns}
  - {from: outer, to: outer, service: ping}
  - {from: internet, to: www, service: web}
  - {from: county, to: county, service: dns}
invariants:
  INV-01: {never: [outer, inner]}
  INV-02: {never: [inner, outer]}
  INV-03: {never: [inner, internet]}
  INV-04: {only: [exchange, inner], through: [EX-2]}
  INV-05: {always: [inner, mail-servers], service: mail}
management:
  inner: {from: inner-admins, service: ssh, collectors: ["10.1.0.5:7710", "[fd00:1::5]:7710"]}
  outer: {from: 172.20.9.0/24, service: ssh, collectors: ["172.20.0.5:7710"]}
  exchange: {from: 10.250.0.200/32, service: ssh}
  county: {from: 10.32.1.0/24, service: ssh}
  tax: {from: 10.200.1.0/24, service: ssh}
quarantine: {services: [dns], longest: 12 h}
hosts:
  ex-front: {zone: exchange, addresses: [10.250.0.10, "fd00:3::10"]}
  ex-back: {zone: exchange, addresses: [10.250.0.11]}
  oa-17: {zone: inner, addresses: [10.1.7.20, "fd00:1::7:20"]}
  mail-1: {zone: inner, addresses: [10.1.2.10, "fd00:1::2:10"]}
  mail-2: {zone: inner, addresses: [10.1.2.11]}
  www: {zone: outer, addresses: [172.20.1.1, "fd00:2::1:1"]}
  proxy: {zone: outer, addresses: [172.20.1.8, "fd00:2::1:8"]}
  gateway: {zone: exchange, addresses: [10.250.0.1, 10.1.0.1, 172.20.0.1], forwards: true}
"#;

fn policy(text: &str) -> Policy {
    Policy::parse("policy.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn named(host: &str, zone: &str) -> (HostName, ZoneName) {
    (host.parse().unwrap(), zone.parse().unwrap())
}

/// The ruleset of a host, as the enforcer would take it.
fn compiled(policy: &Policy, host: &str, zone: &str) -> String {
    let (host, zone) = named(host, zone);
    taken(&compile::ruleset(policy, "policy.yaml", &host, &zone).text)
}

fn taken(text: &str) -> String {
    RulesetText::parse(text).unwrap_or_else(|bad| panic!("{bad}\n{text}")).transaction()
}

fn switch(path: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{path}"), value).unwrap();
}

/// A host with a wire to a neighbour that sends whatever it likes, and a wire on which everything
/// leaves that is not for the host itself.
struct Wire {
    near: MacAddr,
    send: Box<dyn DataLinkSender>,
}

impl Wire {
    fn new() -> Self {
        for line in [
            "ip link set lo up",
            "ip link add near type veth peer name far",
            "ip link add out type veth peer name away",
        ] {
            run(line);
        }
        for device in ["near", "far", "out", "away"] {
            switch(&format!("ipv6/conf/{device}/accept_dad"), "0");
            run(&format!("ip link set {device} up"));
            switch(&format!("ipv4/conf/{device}/rp_filter"), "0");
        }
        switch("ipv4/conf/all/rp_filter", "0");
        switch("ipv4/ip_forward", "1");
        switch("ipv6/conf/all/forwarding", "1");
        for line in [
            "ip route add default via 198.18.0.1 dev out onlink",
            "ip neigh add 198.18.0.1 lladdr 02:00:00:00:00:99 dev out nud permanent",
            "ip -6 route add default via fe80::99 dev out onlink",
            "ip -6 neigh add fe80::99 lladdr 02:00:00:00:00:99 dev out nud permanent",
        ] {
            run(line);
        }
        let interfaces = datalink::interfaces();
        let named = |name| interfaces.iter().find(|one| one.name == name).unwrap();
        let settings = datalink::Config { read_timeout: Some(PATIENCE), ..Default::default() };
        let Ok(Channel::Ethernet(send, _)) = datalink::channel(named("far"), settings) else {
            panic!("no channel to the wire");
        };
        Self { near: named("near").mac.unwrap(), send }
    }

    /// Puts a packet on the wire.
    fn put(&mut self, from: IpAddr, to: IpAddr, inside: &[u8], protocol: u8) {
        let frame = frame(self.near, from, to, inside, protocol);
        // The wire's queue may be full for a moment.
        let until = Instant::now() + PATIENCE;
        while !matches!(self.send.send_to(&frame, None), Some(Ok(()))) {
            assert!(Instant::now() < until, "the wire takes nothing");
        }
    }

    fn open(&mut self, opening: &Opening) {
        let (inside, protocol) = first_packet(opening);
        self.put(opening.from, opening.to, &inside, protocol);
    }
}

fn frame(near: MacAddr, from: IpAddr, to: IpAddr, inside: &[u8], protocol: u8) -> Vec<u8> {
    let protocol = pnet::packet::ip::IpNextHeaderProtocol::new(protocol);
    let length = u16::try_from(inside.len()).unwrap();
    let header = if from.is_ipv4() { 20 } else { 40 };
    let mut frame = vec![0; 14 + header + inside.len()];
    let mut ethernet = MutableEthernetPacket::new(&mut frame).unwrap();
    ethernet.set_destination(near);
    ethernet.set_source(MacAddr::new(2, 0, 0, 0, 0, 1));
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ethernet.set_ethertype(EtherTypes::Ipv4);
            let mut packet = MutableIpv4Packet::new(ethernet.payload_mut()).unwrap();
            packet.set_version(4);
            packet.set_header_length(5);
            packet.set_total_length(20 + length);
            packet.set_ttl(64);
            packet.set_next_level_protocol(protocol);
            packet.set_source(from);
            packet.set_destination(to);
            packet.set_payload(inside);
            let sum = ipv4::checksum(&packet.to_immutable());
            packet.set_checksum(sum);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ethernet.set_ethertype(EtherTypes::Ipv6);
            let mut packet = MutableIpv6Packet::new(ethernet.payload_mut()).unwrap();
            packet.set_version(6);
            packet.set_payload_length(length);
            packet.set_hop_limit(64);
            packet.set_next_header(protocol);
            packet.set_source(from);
            packet.set_destination(to);
            packet.set_payload(inside);
        }
        (_, _) => panic!("two families"),
    }
    frame
}

/// A segment of TCP with its checksum.
fn segment(from: (IpAddr, u16), to: (IpAddr, u16), flags: u8, numbers: (u32, u32)) -> Vec<u8> {
    let mut octets = vec![0; 20];
    let mut segment = MutableTcpPacket::new(&mut octets).unwrap();
    segment.set_source(from.1);
    segment.set_destination(to.1);
    segment.set_data_offset(5);
    segment.set_flags(flags);
    segment.set_window(1024);
    segment.set_sequence(numbers.0);
    segment.set_acknowledgement(numbers.1);
    let sum = match (from.0, to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            tcp::ipv4_checksum(&segment.to_immutable(), &from, &to)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            tcp::ipv6_checksum(&segment.to_immutable(), &from, &to)
        }
        (_, _) => panic!("two families"),
    };
    segment.set_checksum(sum);
    octets
}

/// The first packet of a connection, without its IP header, and its protocol.
fn first_packet(opening: &Opening) -> (Vec<u8>, u8) {
    let (from, to) = (opening.from, opening.to);
    match opening.carried {
        Carried::Tcp(port) => (segment((from, SOURCE_PORT), (to, port), TcpFlags::SYN, (1, 0)), 6),
        Carried::Udp(port) => {
            let mut octets = vec![0; 8];
            let mut datagram = MutableUdpPacket::new(&mut octets).unwrap();
            datagram.set_source(SOURCE_PORT);
            datagram.set_destination(port);
            datagram.set_length(8);
            let sum = match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    udp::ipv4_checksum(&datagram.to_immutable(), &from, &to)
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    udp::ipv6_checksum(&datagram.to_immutable(), &from, &to)
                }
                (_, _) => panic!("two families"),
            };
            datagram.set_checksum(sum);
            (octets, 17)
        }
        Carried::Icmp(_) => {
            let mut octets = vec![0; 8];
            let mut message = MutableIcmpPacket::new(&mut octets).unwrap();
            message.set_icmp_type(IcmpTypes::EchoRequest);
            let sum = icmp::checksum(&message.to_immutable());
            message.set_checksum(sum);
            (octets, IpNextHeaderProtocols::Icmp.0)
        }
        Carried::Icmpv6(_) => {
            let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) else { panic!("two families") };
            let mut octets = vec![0; 8];
            let mut message = MutableIcmpv6Packet::new(&mut octets).unwrap();
            message.set_icmpv6_type(Icmpv6Types::EchoRequest);
            let sum = icmpv6::checksum(&message.to_immutable(), &from, &to);
            message.set_checksum(sum);
            (octets, IpNextHeaderProtocols::Icmpv6.0)
        }
    }
}

/// Notes what comes through the table under test, and lets nothing further. What it notes stands
/// in sets by family and protocol.
fn witness(hook: &str) {
    let mut text = "add table inet witness\ndelete table inet witness\ntable inet witness {\n\
                    counter met { }\n"
        .to_owned();
    for (ip, kind) in [("v4", "ipv4_addr"), ("v6", "ipv6_addr")] {
        write!(
            text,
            "set ports-{ip} {{ type {kind} . {kind} . inet_proto . inet_service; size 1000000; \
             flags dynamic; }}\nset echoes-{ip} {{ type {kind} . {kind}; size 1000000; \
             flags dynamic; }}\n"
        )
        .unwrap();
    }
    write!(
        text,
        "chain before {{ type filter hook prerouting priority -500; counter name met; }}\n\
         chain {hook} {{\ntype filter hook {hook} priority 500; policy drop;\n\
         add @ports-v4 {{ ip saddr . ip daddr . meta l4proto . th dport }} drop\n\
         add @ports-v6 {{ ip6 saddr . ip6 daddr . meta l4proto . th dport }} drop\n\
         }}\n}}\n"
    )
    .unwrap();
    // Echo requests have no ports: they are told apart first.
    let text = text.replace(
        "add @ports-v4",
        "icmp type echo-request add @echoes-v4 { ip saddr . ip daddr } drop\n\
         icmpv6 type echo-request add @echoes-v6 { ip6 saddr . ip6 daddr } drop\n\
         icmpv6 type != echo-request drop\nadd @ports-v4",
    );
    nft(&text);
}

/// What came through since the witness was set up.
fn seen() -> BTreeSet<(IpAddr, IpAddr, Carried)> {
    let mut seen = BTreeSet::new();
    for family in ["v4", "v6"] {
        for set in ["ports", "echoes"] {
            let listing = run(&format!("nft -j list set inet witness {set}-{family}"));
            let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
            let found = listing["nftables"].as_array().unwrap().iter().find_map(|one| {
                one["set"].as_object().map(|set| set.get("elem").cloned().unwrap_or_default())
            });
            for element in found.unwrap().as_array().into_iter().flatten() {
                let element = element.get("elem").map_or(element, |inner| &inner["val"]);
                let parts = element["concat"].as_array().unwrap();
                let address = |nth: usize| parts[nth].as_str().unwrap().parse::<IpAddr>().unwrap();
                let carried = if set == "echoes" {
                    if family == "v4" { Carried::Icmp(8) } else { Carried::Icmpv6(128) }
                } else {
                    let port = u16::try_from(parts[3].as_u64().unwrap()).unwrap();
                    match parts[2].as_str().unwrap() {
                        "tcp" => Carried::Tcp(port),
                        "udp" => Carried::Udp(port),
                        other => panic!("{other}"),
                    }
                };
                seen.insert((address(0), address(1), carried));
            }
        }
    }
    seen
}

fn packets(counter: &str, table: &str) -> u64 {
    let listing = run(&format!("nft -j list counter inet {table} {counter}"));
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let mut found = listing["nftables"].as_array().unwrap().iter();
    found.find_map(|one| one["counter"]["packets"].as_u64()).unwrap()
}

/// Waits until the kernel has met as many packets as were sent.
fn all_met(sent: usize) {
    let until = Instant::now() + PATIENCE;
    while packets("met", "witness") < sent as u64 {
        assert!(Instant::now() < until, "of {sent} packets {} came", packets("met", "witness"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many addresses and ports stand for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    /// Both ends of the first networks of everything that is named; every edge of a service and
    /// what is beside it.
    Close,
    /// One address of everything that is named; the edges of services.
    Wide,
}

/// Addresses of everything that the policy names, and some that it does not.
fn ends(policy: &Policy, without: &[IpAddr], sample: Sample) -> Vec<IpAddr> {
    let parties = policy
        .zones
        .keys()
        .cloned()
        .map(Party::Zone)
        .chain(policy.groups.keys().cloned().map(Party::Group))
        .chain(policy.hosts.keys().cloned().map(Party::Host))
        .chain(policy.flows.iter().flat_map(|flow| [flow.from.clone(), flow.to.clone()]))
        .chain(policy.management.values().map(|management| management.from.clone()))
        .chain([Party::Internet]);
    let (networks, both) = match sample {
        Sample::Close => (3, true),
        Sample::Wide => (1, false),
    };
    let mut ends = BTreeSet::new();
    for party in parties {
        let all = policy.addresses(&party);
        // The second address of a network and the last but one are hosts in any network of size.
        for network in all.v4().iter().take(networks) {
            let (first, last) = (network.network().to_bits(), network.broadcast().to_bits());
            let single = first == last;
            ends.insert(IpAddr::V4(Ipv4Addr::from_bits(if single { first } else { first + 1 })));
            if both && !single {
                ends.insert(IpAddr::V4(Ipv4Addr::from_bits(last - 1)));
            }
        }
        for network in all.v6().iter().rev().take(networks) {
            let (first, last) = (network.network().to_bits(), network.broadcast().to_bits());
            let single = first == last;
            ends.insert(IpAddr::V6(Ipv6Addr::from_bits(if single { first } else { first + 1 })));
            if both && !single {
                ends.insert(IpAddr::V6(Ipv6Addr::from_bits(last - 1)));
            }
        }
    }
    ends.extend(policy.management.values().flat_map(|one| &one.collectors).map(SocketAddr::ip));
    for address in without {
        ends.remove(address);
    }
    ends.into_iter().collect()
}

/// Ports at the edges of services, and an echo.
fn kinds(policy: &Policy, sample: Sample) -> Vec<Carried> {
    let mut ports = BTreeSet::from([1, 65_535]);
    for service in policy.services.values() {
        for range in service.tcp.iter().chain(&service.udp) {
            ports.extend([range.first, range.last]);
            if sample == Sample::Close {
                ports.extend([range.first - 1, range.last.saturating_add(1)]);
            }
        }
    }
    let collectors = policy.management.values().flat_map(|one| &one.collectors);
    ports.extend(collectors.map(SocketAddr::port));
    ports.remove(&0);
    let both = ports.into_iter().flat_map(|port| [Carried::Tcp(port), Carried::Udp(port)]);
    both.chain([Carried::Icmp(8), Carried::Icmpv6(128)]).collect()
}

fn fits(carried: Carried, from: IpAddr, to: IpAddr) -> bool {
    from != to
        && from.is_ipv4() == to.is_ipv4()
        && match carried {
            Carried::Icmp(_) => from.is_ipv4(),
            Carried::Icmpv6(_) => from.is_ipv6(),
            Carried::Tcp(_) | Carried::Udp(_) => true,
        }
}

fn allowed(permits: &[Permit], opening: &Opening) -> bool {
    permits.iter().any(|permit| permit.allows(opening))
}

/// Sends everything and tells what differs from the policy.
fn judge(wire: &mut Wire, policy: &Policy, openings: &[Opening]) -> (usize, Vec<String>) {
    let permits = policy.permits();
    for opening in openings {
        wire.open(opening);
    }
    all_met(openings.len());
    // The last packet may still be on its way through the hooks.
    std::thread::sleep(Duration::from_millis(100));
    let came = seen();
    let mut passed = 0;
    let mut wrong = Vec::new();
    for opening in openings {
        let through = came.contains(&(opening.from, opening.to, opening.carried));
        passed += usize::from(through);
        if through != allowed(&permits, opening) {
            let what = if through { "passed, but must not" } else { "was stopped, but may pass" };
            wrong.push(format!("{opening:?} {what}"));
        }
    }
    (passed, wrong)
}

/// Everything that can be opened between all of these.
fn matrix(policy: &Policy, gateway: &str, sample: Sample) -> Vec<Opening> {
    let own = &policy.hosts[&gateway.parse().unwrap()].addresses;
    let ends = ends(policy, own, sample);
    let kinds = kinds(policy, sample);
    let mut openings = Vec::new();
    for &from in &ends {
        for &to in &ends {
            let fitting = kinds.iter().filter(|carried| fits(**carried, from, to));
            openings.extend(fitting.map(|&carried| Opening { from, to, carried }));
        }
    }
    openings
}

fn the_gateway_passes_what_the_policy_says(
    text: &str,
    gateway: &'static str,
    zone: &'static str,
    sample: Sample,
) {
    let policy = policy(text);
    alone(move || {
        let openings = matrix(&policy, gateway, sample);
        let mut wire = Wire::new();
        nft(&compiled(&policy, gateway, zone));
        witness("forward");
        let (passed, wrong) = judge(&mut wire, &policy, &openings);
        println!("{} packets, {passed} passed", openings.len());
        assert_eq!(wrong, Vec::<String>::new());
        assert!(passed > 100, "{passed} of {} passed", openings.len());
        // What was stopped is counted.
        let stopped = packets("dropped", "bailey");
        assert!(stopped >= (openings.len() - passed) as u64, "{stopped} are counted as dropped");
    });
}

#[test]
fn between_every_two_ends_exactly_what_the_policy_says_passes_the_gateway() {
    the_gateway_passes_what_the_policy_says(POLICY, "gateway", "exchange", Sample::Close);
}

#[test]
fn at_the_reference_site_exactly_what_its_policy_says_passes_the_gateway() {
    the_gateway_passes_what_the_policy_says(REFERENCE, "fw-in", "machine-rooms", Sample::Wide);
}

#[test]
fn every_host_of_the_reference_site_gets_a_ruleset_that_the_kernel_takes() {
    alone(|| {
        let policy = policy(REFERENCE);
        for (host, entry) in &policy.hosts {
            nft(&compiled(&policy, host.as_str(), entry.zone.as_str()));
            let text = compile::quarantine(&policy, "policy.yaml", host, &entry.zone);
            nft(&taken(&text));
        }
        for zone in policy.zones.keys() {
            nft(&compiled(&policy, "not-named", zone.as_str()));
        }
    });
}

#[test]
fn a_host_lets_in_exactly_what_the_policy_says() {
    alone(|| {
        let policy = policy(POLICY);
        let host: HostName = "mail-1".parse().unwrap();
        let own = &policy.hosts[&host].addresses;
        let mut wire = Wire::new();
        run("ip addr add 10.1.2.10/32 dev lo");
        run("ip addr add fd00:1::2:10/128 dev lo nodad");
        let mut openings = Vec::new();
        for from in ends(&policy, own, Sample::Close) {
            for &to in own {
                let kinds = kinds(&policy, Sample::Close);
                let fitting = kinds.into_iter().filter(|carried| fits(*carried, from, to));
                openings.extend(fitting.map(|carried| Opening { from, to, carried }));
            }
        }
        nft(&compiled(&policy, "mail-1", "inner"));
        witness("input");
        let (passed, wrong) = judge(&mut wire, &policy, &openings);
        assert_eq!(wrong, Vec::<String>::new());
        assert!(passed > 10, "{passed} of {} passed", openings.len());
    });
}

#[test]
fn a_host_that_only_observes_lets_everything_through_and_counts_what_it_would_not() {
    alone(|| {
        let policy = policy(&POLICY.replace("mode: enforce", "mode: observe"));
        let (host, zone) = named("gateway", "exchange");
        let made = compile::ruleset(&policy, "policy.yaml", &host, &zone);
        assert_eq!(made.mode, Mode::Observe);
        let mut wire = Wire::new();
        nft(&taken(&made.text));
        witness("forward");
        let opening = |to: &str, port| Opening {
            from: "172.20.3.3".parse().unwrap(),
            to: to.parse().unwrap(),
            carried: Carried::Tcp(port),
        };
        let openings = [opening("10.1.7.20", 22), opening("10.250.0.10", 443)];
        for opening in &openings {
            wire.open(opening);
        }
        all_met(openings.len());
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(seen().len(), 2);
        assert_eq!(packets("would-drop", "bailey"), 1);
        assert_eq!(packets("exchange-EX-1-to", "bailey"), 1);
    });
}

/// One segment each way and one more: a connection as tracking knows it.
fn handshake(wire: &mut Wire, from: (IpAddr, u16), to: (IpAddr, u16)) {
    let both = TcpFlags::SYN | TcpFlags::ACK;
    wire.put(from.0, to.0, &segment(from, to, TcpFlags::SYN, (100, 0)), 6);
    wire.put(to.0, from.0, &segment(to, from, both, (500, 101)), 6);
    wire.put(from.0, to.0, &segment(from, to, TcpFlags::ACK, (101, 501)), 6);
}

#[test]
fn a_connection_from_before_the_policy_is_cut_when_its_zones_have_nothing_to_do_with_each_other() {
    alone(|| {
        let policy = policy(POLICY);
        let mut wire = Wire::new();
        // Tracking begins with the first rule that asks for it.
        nft("table inet before { chain forward { type filter hook forward priority 0; \
             ct state new accept; }; }");
        let end = |address: &str, port| (address.parse::<IpAddr>().unwrap(), port);
        let foreign = (end("172.20.3.3", 5000), end("10.1.7.20", 22));
        let through = (end("172.20.3.3", 5001), end("10.250.0.10", 443));
        handshake(&mut wire, foreign.0, foreign.1);
        handshake(&mut wire, through.0, through.1);
        std::thread::sleep(Duration::from_millis(200));
        nft(&compiled(&policy, "gateway", "exchange"));
        witness("forward");
        for (from, to) in [foreign, through] {
            wire.put(from.0, to.0, &segment(from, to, TcpFlags::ACK, (101, 501)), 6);
            wire.put(to.0, from.0, &segment(to, from, TcpFlags::ACK, (501, 101)), 6);
        }
        all_met(4);
        std::thread::sleep(Duration::from_millis(100));
        let came: Vec<(IpAddr, IpAddr)> = seen().into_iter().map(|one| (one.0, one.1)).collect();
        assert_eq!(came, [(through.1.0, through.0.0), (through.0.0, through.1.0)]);
        assert_eq!(packets("exchange-EX-1-to", "bailey"), 1);
        assert_eq!(packets("exchange-EX-1-back", "bailey"), 1);
        assert_eq!(packets("dropped", "bailey"), 2);
    });
}

#[test]
fn a_host_in_quarantine_keeps_its_management_and_nothing_else() {
    alone(|| {
        let policy = policy(POLICY);
        let (host, zone) = named("mail-1", "inner");
        let mut wire = Wire::new();
        run("ip addr add 10.1.2.10/32 dev lo");
        nft(&taken(&compile::quarantine(&policy, "policy.yaml", &host, &zone)));
        witness("input");
        let opening = |from: &str, port| Opening {
            from: from.parse().unwrap(),
            to: "10.1.2.10".parse().unwrap(),
            carried: Carried::Tcp(port),
        };
        let openings = [
            opening("10.1.9.9", 22),
            opening("10.1.9.9", 25),
            opening("10.1.3.3", 22),
            opening("10.1.3.3", 443),
        ];
        for opening in &openings {
            wire.open(opening);
        }
        all_met(openings.len());
        std::thread::sleep(Duration::from_millis(100));
        let came: Vec<(IpAddr, Carried)> = seen().into_iter().map(|one| (one.0, one.2)).collect();
        assert_eq!(came, [("10.1.9.9".parse().unwrap(), Carried::Tcp(22))]);
    });
}

#[test]
fn not_one_packet_of_a_flood_passes_while_the_ruleset_is_replaced_a_hundred_times() {
    /// Rulesets put in place of each other.
    const SWAPS: usize = 100;
    alone(|| {
        let one = policy(POLICY);
        let other = policy(&POLICY.replace("[80, 443, 8000-8009]", "[80, 443]"));
        let texts =
            [compiled(&one, "gateway", "exchange"), compiled(&other, "gateway", "exchange")];
        let mut wire = Wire::new();
        nft(&texts[0]);
        witness("forward");
        let done = std::sync::atomic::AtomicBool::new(false);
        let forbidden = Opening {
            from: "172.20.3.3".parse().unwrap(),
            to: "10.1.7.20".parse().unwrap(),
            carried: Carried::Udp(53),
        };
        let sent = std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let mut sent = 0_u64;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    wire.open(&forbidden);
                    sent += 1;
                }
                sent
            });
            for swap in 1..=SWAPS {
                nft(&texts[swap % 2]);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            flood.join().unwrap()
        });
        std::thread::sleep(Duration::from_millis(100));
        println!("{sent} packets during {SWAPS} swaps");
        assert!(sent > 1000, "{sent} packets are no flood");
        assert!(packets("met", "witness") >= sent / 2, "the flood did not reach the host");
        assert_eq!(seen(), BTreeSet::new());
    });
}

/// A policy of small networks in three zones, with everything a policy can have.
fn any_policy() -> impl Strategy<Value = String> {
    let party = prop::sample::select(vec!["a", "a1", "10.1.0.0/30", "10.1.0.4/31", "g"]);
    let service = prop::sample::select(vec!["tcp", "udp", "both", "echo"]);
    let flow = (party.clone(), party, service.clone());
    let point = (any::<bool>(), any::<bool>(), service);
    (prop::collection::vec(flow, 0..5), prop::collection::vec(point, 0..4), 1_u16..200, 0_u16..50)
        .prop_map(|(flows, points, port, more)| {
            let mut text = format!(
                "site: x\nzones:\n  \
                 a: {{networks: [10.1.0.0/29, 'fd00:1::/125'], mode: enforce}}\n  \
                 b: {{networks: [10.2.0.0/29, 'fd00:2::/125'], mode: enforce}}\n  \
                 c: {{networks: [10.3.0.0/29], mode: enforce}}\n\
                 groups:\n  g: [a1, 10.1.0.6/32, 'fd00:1::4/126']\n\
                 services:\n  tcp: {{tcp: [{port}]}}\n  udp: {{udp: [{port}-{}]}}\n  \
                 both: {{tcp: [{}], udp: [{port}]}}\n  \
                 echo: {{icmp: [echo-request], icmpv6: [echo-request]}}\n\
                 management:\n  a: {{from: g, service: tcp, collectors: ['10.1.0.2:77']}}\n  \
                 b: {{from: b1, service: udp}}\n  c: {{from: c, service: both}}\n\
                 quarantine: {{services: [echo]}}\n\
                 hosts:\n  a1: {{zone: a, addresses: [10.1.0.1, 'fd00:1::1']}}\n  \
                 b1: {{zone: b, addresses: [10.2.0.1, 'fd00:2::1']}}\n  \
                 gw: {{zone: a, addresses: [10.1.0.3, 10.2.0.3], forwards: true}}\nflows:\n  \
                 - {{from: a, to: a1, service: udp}}\n",
                port + more,
                port + 1,
            );
            for (from, to, service) in flows {
                writeln!(text, "  - {{from: {from}, to: {to}, service: {service}}}").unwrap();
            }
            text.push_str(
                "exchange_points:\n  EX-0: {from: a, to: c, hosts: [a1], service: tcp}\n",
            );
            for (nth, (forth, at_b, service)) in points.into_iter().enumerate() {
                let (from, to) = if forth { ("a", "b") } else { ("b", "a") };
                let host = if at_b { "b1" } else { "a1" };
                let nth = nth + 1;
                writeln!(
                    text,
                    "  EX-{nth}: {{from: {from}, to: {to}, hosts: [{host}], service: {service}}}"
                )
                .unwrap();
            }
            text
        })
}

#[test]
fn any_policy_means_in_the_kernel_what_it_says() {
    /// Policies made by chance, always the same.
    const POLICIES: usize = 60;
    alone(|| {
        let mut wire = Wire::new();
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let mut all = 0;
        for _ in 0..POLICIES {
            let text = any_policy().new_tree(&mut runner).unwrap().current();
            let policy = policy(&text);
            let openings = matrix(&policy, "gw", Sample::Close);
            nft(&compiled(&policy, "gw", "a"));
            witness("forward");
            let (passed, wrong) = judge(&mut wire, &policy, &openings);
            assert_eq!(wrong, Vec::<String>::new(), "{text}");
            assert!(passed > 0);
            all += openings.len();
        }
        println!("{all} packets under {POLICIES} policies");
    });
}
