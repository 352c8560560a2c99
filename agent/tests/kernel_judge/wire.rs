//! A host in a namespace, and packets that are put on its wires or sent by itself.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pnet::datalink::{self, Channel, DataLinkSender};
use pnet::packet::ip::IpNextHeaderProtocol;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::transport::{TransportChannelType, TransportSender, transport_channel};
use pnet::util::{MacAddr, checksum, ipv4_checksum, ipv6_checksum};

/// Whatever was sent has been through the kernel after this, at the latest.
const PATIENCE: Duration = Duration::from_secs(20);

/// The DSCP of what the test sends. What the kernel answers has another one.
const OURS: u8 = 1;

/// Runs a program to its end and gives what it printed.
pub(crate) fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let ran = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// Gives a program text to read; what it complains about, where it does.
pub(crate) fn feed(line: &str, text: &str) -> Result<(), String> {
    let mut words = line.split(' ');
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    if ended.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&ended.stderr).into_owned())
}

pub(crate) fn switch(path: &str, value: &str) {
    // Not every kernel has every switch.
    let _ = std::fs::write(format!("/proc/sys/net/{path}"), value);
}

/// A packet without its headers' checksums.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    /// TCP flags, or the ICMP type.
    pub(crate) kind: u8,
}

/// Sets interfaces up and has the host pass between them whatever no rule stops.
pub(crate) fn route_between(devices: &[&str]) {
    switch("ipv4/conf/all/rp_filter", "0");
    switch("ipv4/conf/default/rp_filter", "0");
    for device in devices {
        switch(&format!("ipv6/conf/{device}/accept_dad"), "0");
        switch(&format!("ipv4/conf/{device}/rp_filter"), "0");
        switch(&format!("ipv4/conf/{device}/send_redirects"), "0");
        run(&format!("ip link set {device} up"));
    }
    for (path, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/icmp_ratelimit", "0"),
    ] {
        switch(path, value);
    }
}

/// The host.
pub(crate) struct Wire {
    near: MacAddr,
    send: Box<dyn DataLinkSender>,
    own: TransportSender,
}

impl Wire {
    pub(crate) fn new() -> Self {
        for line in [
            "ip link set lo up",
            "ip link add near type veth peer name far",
            "ip link add out type veth peer name away",
        ] {
            run(line);
        }
        route_between(&["near", "far", "out", "away"]);
        switch("netfilter/nf_conntrack_tcp_loose", "0");
        switch("netfilter/nf_conntrack_tcp_be_liberal", "1");
        // A connection lasts as long as the test, however slowly it runs.
        switch("netfilter/nf_conntrack_udp_timeout", "100000");
        switch("netfilter/nf_conntrack_udp_timeout_stream", "100000");
        for line in [
            "ip addr add 10.3.0.1/24 dev near",
            "ip addr add 10.3.1.1/24 dev out",
            "ip addr add 10.3.0.2/32 dev lo",
            "ip -6 addr add fd00:3::1/64 dev near",
            "ip route add default via 198.18.0.1 dev out onlink",
            "ip neigh add 198.18.0.1 lladdr 02:00:00:00:00:99 dev out nud permanent",
            "ip route add 10.1.0.0/16 via 198.18.1.1 dev near onlink",
            "ip neigh add 198.18.1.1 lladdr 02:00:00:00:00:01 dev near nud permanent",
            "ip -6 route add default via fe80::99 dev out onlink",
            "ip -6 neigh add fe80::99 lladdr 02:00:00:00:00:99 dev out nud permanent",
            "ip -6 route add fd00:1::/32 via fe80::1 dev near onlink",
            "ip -6 neigh add fe80::1 lladdr 02:00:00:00:00:01 dev near nud permanent",
        ] {
            run(line);
        }
        let (near, _) = opened("near");
        let (_, send) = opened("far");
        Self { near, send, own: raw() }
    }

    /// Puts a packet on the wire, as a neighbour would. `number` is found again by the witness.
    pub(crate) fn put(&mut self, packet: &Sent, number: u16) {
        let ip = datagram(packet, number);
        let kind = if packet.src.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        put(&mut *self.send, self.near, 1, kind, &ip);
    }

    /// Sends a packet from this host. What the filter refuses, the system call may refuse too.
    pub(crate) fn send(&mut self, packet: &Sent, number: u16) {
        let ip = datagram(packet, number);
        let _ = self.own.send_to(Ipv4Packet::new(&ip).unwrap(), packet.dst);
    }
}

/// The hardware address of an interface, and what sends frames on it.
pub(crate) fn opened(name: &str) -> (MacAddr, Box<dyn DataLinkSender>) {
    let interfaces = datalink::interfaces();
    let named = interfaces.iter().find(|one| one.name == name).unwrap();
    let Ok(Channel::Ethernet(send, _)) = datalink::channel(named, datalink::Config::default())
    else {
        panic!("no channel to {name}");
    };
    (named.mac.unwrap(), send)
}

/// What sends packets from this host.
pub(crate) fn raw() -> TransportSender {
    let raw = TransportChannelType::Layer3(IpNextHeaderProtocol::new(255));
    transport_channel(4_096, raw).unwrap().0
}

/// Puts a frame of the neighbour `02:00:00:00:00:FROM` on a wire.
pub(crate) fn put(
    wire: &mut dyn DataLinkSender,
    to: MacAddr,
    from: u8,
    kind: [u8; 2],
    payload: &[u8],
) {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(to.octets());
    frame.extend([2, 0, 0, 0, 0, from]);
    frame.extend(kind);
    frame.extend(payload);
    let until = Instant::now() + PATIENCE;
    // The wire's queue may be full for a moment.
    while !matches!(wire.send_to(&frame, None), Some(Ok(()))) {
        assert!(Instant::now() < until, "the wire takes nothing");
    }
}

/// A whole IP packet.
pub(crate) fn datagram(packet: &Sent, number: u16) -> Vec<u8> {
    let mut inside = Vec::new();
    match packet.protocol {
        6 => {
            inside.extend(packet.sport.to_be_bytes());
            inside.extend(packet.dport.to_be_bytes());
            inside.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, packet.kind, 4, 0, 0, 0, 0, 0]);
        }
        17 => {
            inside.extend(packet.sport.to_be_bytes());
            inside.extend(packet.dport.to_be_bytes());
            inside.extend([0, 8, 0, 0]);
        }
        _ => {
            inside.extend([packet.kind, 0, 0, 0]);
            inside.extend(packet.sport.to_be_bytes());
            inside.extend([0, 1]);
        }
    }
    let place = match packet.protocol {
        6 => 16,
        17 => 6,
        _ => 2,
    };
    let number_of = IpNextHeaderProtocol::new(packet.protocol);
    let sum = match (packet.src, packet.dst) {
        _ if packet.protocol == 1 => checksum(&inside, place / 2),
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4_checksum(&inside, place / 2, &[], &src, &dst, number_of)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ipv6_checksum(&inside, place / 2, &[], &src, &dst, number_of)
        }
        (_, _) => panic!("two versions"),
    };
    inside[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    let mut ip = Vec::new();
    match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let length = u16::try_from(20 + inside.len()).unwrap();
            ip.extend([0x45, OURS << 2]);
            ip.extend(length.to_be_bytes());
            ip.extend(number.to_be_bytes());
            ip.extend([0, 0, 64, packet.protocol, 0, 0]);
            ip.extend(Ipv4Addr::octets(&src));
            ip.extend(dst.octets());
            let sum = checksum(&ip, 5);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ip.extend([0x60, OURS << 6]);
            ip.extend(number.to_be_bytes());
            ip.extend(u16::try_from(inside.len()).unwrap().to_be_bytes());
            ip.extend([packet.protocol, 64]);
            ip.extend(src.octets());
            ip.extend(dst.octets());
        }
        (_, _) => panic!("two versions"),
    }
    ip.extend(inside);
    ip
}
