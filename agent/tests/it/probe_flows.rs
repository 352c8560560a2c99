//! The probe `flows` against the real kernel's connection tracking, each test in network namespaces of
//! its own. Needs root.

use std::net::{IpAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::namespace::{Beside, again_without, in_namespace, is_without, nft, run};
use bailey_agent::clock::SystemClock;
use bailey_agent::probe::flows::FlowsProbe;
use bailey_agent::probe::{Probe as _, Roots, Wake};
use bailey_rules::fact::flows::{FlowWatch, SeenFlow};
use bailey_rules::fact::{Fact, FactKind, Named as _, Reading};
use pnet::packet::icmp::{self, IcmpTypes, MutableIcmpPacket};
use pnet::packet::icmpv6::{Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::transport::TransportChannelType::Layer4;
use pnet::transport::TransportProtocol::{Ipv4, Ipv6};
use pnet::transport::transport_channel;

/// Waiting ends as failed after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the kernel to track, as a ruleset does that only observes.
const TRACKING: &str = "table inet t {
    chain input { type filter hook input priority filter; policy accept; ct state new counter; }
    chain output { type filter hook output priority filter; policy accept; ct state new counter; }
}";

/// Sends what goes to one machine's port to another's.
const DNAT: &str = "table ip n {
    chain o {
        type nat hook output priority -100; policy accept;
        ip daddr 10.1.7.99 tcp dport 80 dnat to 10.1.7.21:8080
    }
}";

/// Another machine on the same cable: 10.1.7.21, while this one is 10.1.7.20.
fn neighbour() -> Beside {
    let neighbour = Beside::new();
    run("ip addr add 10.1.7.20/24 dev eth0 && ip addr add fd00:1::20/64 dev eth0 nodad");
    run("ip link set eth0 up");
    neighbour.run("ip addr add 10.1.7.21/24 dev eth0 && ip addr add fd00:1::21/64 dev eth0 nodad");
    neighbour.run("ip link set eth0 up");
    neighbour
}

/// Sends an echo request (RFC 792, RFC 4443).
fn echo(to: IpAddr) {
    let mut octets = [0; 8];
    if to.is_ipv4() {
        let mut packet = MutableIcmpPacket::new(&mut octets).unwrap();
        packet.set_icmp_type(IcmpTypes::EchoRequest);
        packet.set_checksum(icmp::checksum(&packet.to_immutable()));
        let (mut send, _) =
            transport_channel(64, Layer4(Ipv4(IpNextHeaderProtocols::Icmp))).unwrap();
        send.send_to(packet, to).unwrap();
    } else {
        // The kernel knows the addresses that the checksum is over.
        let mut packet = MutableIcmpv6Packet::new(&mut octets).unwrap();
        packet.set_icmpv6_type(Icmpv6Types::EchoRequest);
        let (mut send, _) =
            transport_channel(64, Layer4(Ipv6(IpNextHeaderProtocols::Icmpv6))).unwrap();
        send.send_to(packet, to).unwrap();
    }
}

fn probe(state: &Path) -> FlowsProbe {
    FlowsProbe::new(&Roots::default(), Arc::new(SystemClock)).remembering_in(state)
}

async fn read(probe: &mut FlowsProbe) -> Vec<Fact> {
    probe.read(Wake::Interval).await.unwrap()
}

/// Takes up news for as long as the kernel takes to tell, until `subject` was seen so often.
async fn until_seen(probe: &mut FlowsProbe, subject: &str, count: u64) -> SeenFlow {
    let begin = Instant::now();
    loop {
        let _ = tokio::time::timeout(Duration::from_millis(20), probe.told()).await;
        let facts = read(probe).await;
        if let Some(flow) = seen(&facts, subject).filter(|flow| flow.count >= count) {
            return flow;
        }
        assert!(begin.elapsed() < PATIENCE, "no {subject} ({count}) in {facts:#?}");
    }
}

fn seen(facts: &[Fact], subject: &str) -> Option<SeenFlow> {
    let fact = facts.iter().find(|fact| &*fact.key.subject == subject)?;
    SeenFlow::of(fact.reading.known()?).copied()
}

fn subjects(facts: &[Fact]) -> Vec<&str> {
    let flows = facts.iter().filter(|fact| fact.key.kind == FactKind::SeenFlow);
    flows.map(|fact| &*fact.key.subject).collect()
}

fn watch(facts: &[Fact]) -> Result<FlowWatch, String> {
    let fact = facts.iter().find(|fact| fact.key.kind == FactKind::FlowWatch).unwrap();
    match &fact.reading {
        Reading::Known(value) => Ok(*FlowWatch::of(value).unwrap()),
        Reading::Unreadable { why } => Err(why.clone()),
    }
}

#[test]
fn what_is_opened_and_taken_is_summed_up_by_service() {
    in_namespace(|| async {
        let neighbour = neighbour();
        nft(TRACKING);
        let state = tempfile::tempdir().unwrap();
        let mut probe = probe(state.path());
        read(&mut probe).await;
        // Nobody listens there; that it was tried is what counts.
        for _ in 0..4 {
            assert!(TcpStream::connect("10.1.7.21:443").is_err());
        }
        UdpSocket::bind("10.1.7.20:0").unwrap().send_to(b"?", "10.1.7.21:53").unwrap();
        echo([10, 1, 7, 21].into());
        echo("fd00:1::21".parse().unwrap());
        neighbour.there(|| echo([10, 1, 7, 20].into()));
        let web = until_seen(&mut probe, "10.1.7.20 > 10.1.7.21 tcp 443", 4).await;
        assert_eq!((web.protocol, web.port, web.count), (6, 443, 4));
        until_seen(&mut probe, "10.1.7.20 > 10.1.7.21 udp 53", 1).await;
        until_seen(&mut probe, "10.1.7.20 > 10.1.7.21 icmp echo-request", 1).await;
        until_seen(&mut probe, "fd00:1::20 > fd00:1::21 icmpv6 echo-request", 1).await;
        until_seen(&mut probe, "10.1.7.21 > 10.1.7.20 icmp echo-request", 1).await;
        let facts = read(&mut probe).await;
        assert_eq!(subjects(&facts).len(), 5, "{facts:#?}");
        assert_eq!(watch(&facts).map(|watch| (watch.forgotten, watch.overrun)), Ok((0, 0)));
    });
}

#[test]
fn where_an_address_is_translated_the_one_behind_it_counts() {
    in_namespace(|| async {
        let _neighbour = neighbour();
        nft(TRACKING);
        nft(DNAT);
        let state = tempfile::tempdir().unwrap();
        let mut probe = probe(state.path());
        read(&mut probe).await;
        assert!(TcpStream::connect("10.1.7.99:80").is_err());
        until_seen(&mut probe, "10.1.7.20 > 10.1.7.21 tcp 8080", 1).await;
    });
}

#[test]
fn what_was_open_before_and_what_was_seen_before_a_restart_is_known() {
    in_namespace(|| async {
        let _neighbour = neighbour();
        nft(TRACKING);
        let state = tempfile::tempdir().unwrap();
        UdpSocket::bind("10.1.7.20:40000").unwrap().send_to(b"?", "10.1.7.21:53").unwrap();
        let mut first = probe(state.path());
        let facts = read(&mut first).await;
        assert_eq!(subjects(&facts), ["10.1.7.20 > 10.1.7.21 udp 53"], "{facts:#?}");
        drop(first);
        // Nothing is open any more.
        run("conntrack -F 2>/dev/null");
        let mut second = probe(state.path());
        let facts = read(&mut second).await;
        assert_eq!(subjects(&facts), ["10.1.7.20 > 10.1.7.21 udp 53"]);
        // A file that is no such file is no reason to stop.
        drop(second);
        std::fs::write(state.path().join("flows.json"), "{}").unwrap();
        assert_eq!(subjects(&read(&mut probe(state.path())).await), [""; 0]);
    });
}

#[test]
fn why_nothing_can_be_seen_is_said() {
    in_namespace(|| async {
        let state = tempfile::tempdir().unwrap();
        let why = watch(&read(&mut probe(state.path())).await).unwrap_err();
        assert_eq!(why, "the kernel tracks no connection: nothing here asks it to");
        let roots = Roots { proc: state.path().to_owned(), ..Roots::default() };
        let mut elsewhere = FlowsProbe::new(&roots, Arc::new(SystemClock));
        let why = watch(&elsewhere.read(Wake::Interval).await.unwrap()).unwrap_err();
        assert_eq!(why, "the kernel does not track connections (no nf_conntrack)");
    });
}

#[test]
fn without_the_right_to_listen_it_says_so() {
    if is_without() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let state = tempfile::tempdir().unwrap();
        let facts = runtime.block_on(async { read(&mut probe(state.path())).await });
        assert_eq!(watch(&facts), Err("needs CAP_NET_ADMIN".to_owned()));
        return;
    }
    in_namespace(|| async {
        nft(TRACKING);
        again_without("net_admin", "probe_flows::without_the_right_to_listen_it_says_so");
    });
}
