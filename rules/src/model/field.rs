//! What of a packet a rule can look at.

use std::net::IpAddr;

/// Something of a packet that has a value, a number of [`Field::bits`] bits in the order in which
/// the wire has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Field {
    /// Name of the interface it came in by, as 16 octets filled up with zero, so that names with
    /// one beginning are an interval. Zero where there is none: in `output`, in `postrouting` of what
    /// this host sends, at `egress`, and where a frame is about to leave a bridge.
    InputDevice,
    /// Name of the interface it goes out by, likewise. Zero in `prerouting` and `input`.
    OutputDevice,
    /// Group of the interface it came in by (ip-link(8)). Where there is no interface, every match
    /// on its group or type is false, turned round or not.
    InputGroup,
    /// Group of the interface it goes out by.
    OutputGroup,
    /// Hardware type of the interface it came in by (`ARPHRD_*` of `if_arp.h`).
    InputType,
    /// Hardware type of the interface it goes out by.
    OutputType,
    /// Sender on the wire. Nothing in `output`, where a match on it is false.
    EtherSource,
    /// Receiver on the wire, likewise.
    EtherDestination,
    /// What the frame carries (IEEE 802 numbers): 0x0800 IPv4, 0x86dd IPv6.
    EtherType,
    /// Version as `meta nfproto` has it: 2 IPv4, 10 IPv6.
    Version,
    /// Transport protocol (IANA protocol numbers). Packets have no extension headers here, so that
    /// `ip protocol`, `ip6 nexthdr` and `meta l4proto` are one.
    Protocol,
    /// IPv4 source address as it is now, translated or not.
    Source4,
    /// IPv4 destination address, likewise.
    Destination4,
    /// IPv6 source address, likewise.
    Source6,
    /// IPv6 destination address, likewise.
    Destination6,
    /// Source port, likewise. Unknown where the protocol has none: the kernel would read something
    /// else there.
    SourcePort,
    /// Destination port, likewise.
    DestinationPort,
    /// TCP flags (RFC 9293 3.1): fin 1, syn 2, rst 4, psh 8, ack 16, urg 32, ecn 64, cwr 128.
    TcpFlags,
    /// ICMP type (RFC 792).
    IcmpType,
    /// ICMP code.
    IcmpCode,
    /// `ICMPv6` type (RFC 4443).
    Icmp6Type,
    /// `ICMPv6` code.
    Icmp6Code,
    /// To whom the frame was sent (`if_packet.h`): 0 this host, 1 all, 2 many, 3 another.
    PacketType,
    /// The mark of the packet. Zero when it comes in or is sent.
    Mark,
    /// Connection tracking's state as one bit, see [`state`].
    State,
    /// 0 the direction of the first packet, 1 that of the replies. Of this and all that follows
    /// about the connection: where [`Field::State`] is invalid or untracked there is no
    /// connection, and every match on it is false, turned round or not.
    Direction,
    /// Status bits of the connection (`IPS_*` of `nf_conntrack_common.h`), see [`status`].
    Status,
    /// The mark of the connection. Zero when it is new.
    ConnectionMark,
    /// IPv4 source address of the connection's first packet, before any translation.
    OriginalSource4,
    /// IPv4 destination address of the connection's first packet.
    OriginalDestination4,
    /// IPv6 source address of the connection's first packet.
    OriginalSource6,
    /// IPv6 destination address of the connection's first packet.
    OriginalDestination6,
    /// Source port of the connection's first packet.
    OriginalSourcePort,
    /// Destination port of the connection's first packet.
    OriginalDestinationPort,
    /// What the source address is to this host (`RTN_*` of `rtnetlink.h`), see [`kind`].
    SourceKind,
    /// What the destination address is to this host.
    DestinationKind,
}

/// Values of [`Field::State`] (`NF_CT_STATE_BIT`).
pub mod state {
    /// Not a packet of any connection.
    pub const INVALID: u128 = 1;
    /// A packet of a connection that both sides have sent to.
    pub const ESTABLISHED: u128 = 2;
    /// The first packet of a connection that belongs to another, or an error about one.
    pub const RELATED: u128 = 4;
    /// A packet of a connection that nobody has answered yet.
    pub const NEW: u128 = 8;
    /// A packet that was excused from tracking.
    pub const UNTRACKED: u128 = 64;
    /// The states of packets that have a connection.
    pub const TRACKED: [u128; 3] = [ESTABLISHED, RELATED, NEW];
}

/// Bits of [`Field::Status`].
pub mod status {
    /// Somebody foretold it.
    pub const EXPECTED: u128 = 1;
    /// Both sides have sent.
    pub const SEEN_REPLY: u128 = 2;
    /// It is not dropped when the table is full.
    pub const ASSURED: u128 = 4;
    /// Its first packet has left.
    pub const CONFIRMED: u128 = 8;
    /// Its source is translated.
    pub const SNAT: u128 = 16;
    /// Its destination is translated.
    pub const DNAT: u128 = 32;
}

/// Values of [`Field::SourceKind`] and [`Field::DestinationKind`].
pub mod kind {
    /// An address that is routed somewhere.
    pub const UNICAST: u128 = 1;
    /// An address of this host.
    pub const LOCAL: u128 = 2;
    /// The broadcast address of a network this host is on.
    pub const BROADCAST: u128 = 3;
    /// A multicast address.
    pub const MULTICAST: u128 = 5;
    /// An address without a way there that is silently dropped.
    pub const BLACKHOLE: u128 = 6;
    /// An address without a way there.
    pub const UNREACHABLE: u128 = 7;
    /// An address that a route forbids.
    pub const PROHIBIT: u128 = 8;
}

/// Protocols whose ports connection tracking and rules know (IANA protocol numbers).
pub const WITH_PORTS: [u8; 5] = [TCP, UDP, DCCP, SCTP, UDPLITE];
/// ICMP.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// DCCP.
pub const DCCP: u8 = 33;
/// `ICMPv6`.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;
/// UDP-Lite.
pub const UDPLITE: u8 = 136;

/// [`Field::Version`] of IPv4 (`NFPROTO_IPV4`).
pub const IPV4: u128 = 2;
/// [`Field::Version`] of IPv6 (`NFPROTO_IPV6`).
pub const IPV6: u128 = 10;

impl Field {
    /// All of them, in order.
    pub const ALL: [Self; 36] = [
        Self::InputDevice,
        Self::OutputDevice,
        Self::InputGroup,
        Self::OutputGroup,
        Self::InputType,
        Self::OutputType,
        Self::EtherSource,
        Self::EtherDestination,
        Self::EtherType,
        Self::Version,
        Self::Protocol,
        Self::Source4,
        Self::Destination4,
        Self::Source6,
        Self::Destination6,
        Self::SourcePort,
        Self::DestinationPort,
        Self::TcpFlags,
        Self::IcmpType,
        Self::IcmpCode,
        Self::Icmp6Type,
        Self::Icmp6Code,
        Self::PacketType,
        Self::Mark,
        Self::State,
        Self::Direction,
        Self::Status,
        Self::ConnectionMark,
        Self::OriginalSource4,
        Self::OriginalDestination4,
        Self::OriginalSource6,
        Self::OriginalDestination6,
        Self::OriginalSourcePort,
        Self::OriginalDestinationPort,
        Self::SourceKind,
        Self::DestinationKind,
    ];

    /// How wide it is.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::InputDevice
            | Self::OutputDevice
            | Self::Source6
            | Self::Destination6
            | Self::OriginalSource6
            | Self::OriginalDestination6 => 128,
            Self::EtherSource | Self::EtherDestination => 48,
            Self::InputGroup
            | Self::OutputGroup
            | Self::Source4
            | Self::Destination4
            | Self::OriginalSource4
            | Self::OriginalDestination4
            | Self::Mark
            | Self::State
            | Self::Status
            | Self::ConnectionMark
            | Self::SourceKind
            | Self::DestinationKind => 32,
            Self::InputType
            | Self::OutputType
            | Self::EtherType
            | Self::SourcePort
            | Self::DestinationPort
            | Self::OriginalSourcePort
            | Self::OriginalDestinationPort => 16,
            Self::Version
            | Self::Protocol
            | Self::TcpFlags
            | Self::IcmpType
            | Self::IcmpCode
            | Self::Icmp6Type
            | Self::Icmp6Code
            | Self::PacketType
            | Self::Direction => 8,
        }
    }

    /// Its name, in the words of nft(8).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InputDevice => "iifname",
            Self::OutputDevice => "oifname",
            Self::InputGroup => "iifgroup",
            Self::OutputGroup => "oifgroup",
            Self::InputType => "iiftype",
            Self::OutputType => "oiftype",
            Self::EtherSource => "ether saddr",
            Self::EtherDestination => "ether daddr",
            Self::EtherType => "meta protocol",
            Self::Version => "meta nfproto",
            Self::Protocol => "meta l4proto",
            Self::Source4 => "ip saddr",
            Self::Destination4 => "ip daddr",
            Self::Source6 => "ip6 saddr",
            Self::Destination6 => "ip6 daddr",
            Self::SourcePort => "th sport",
            Self::DestinationPort => "th dport",
            Self::TcpFlags => "tcp flags",
            Self::IcmpType => "icmp type",
            Self::IcmpCode => "icmp code",
            Self::Icmp6Type => "icmpv6 type",
            Self::Icmp6Code => "icmpv6 code",
            Self::PacketType => "meta pkttype",
            Self::Mark => "meta mark",
            Self::State => "ct state",
            Self::Direction => "ct direction",
            Self::Status => "ct status",
            Self::ConnectionMark => "ct mark",
            Self::OriginalSource4 => "ct original ip saddr",
            Self::OriginalDestination4 => "ct original ip daddr",
            Self::OriginalSource6 => "ct original ip6 saddr",
            Self::OriginalDestination6 => "ct original ip6 daddr",
            Self::OriginalSourcePort => "ct original proto-src",
            Self::OriginalDestinationPort => "ct original proto-dst",
            Self::SourceKind => "fib saddr type",
            Self::DestinationKind => "fib daddr type",
        }
    }

    /// Its place in [`Field::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The value of an interface's name; names are at most 15 octets (`IFNAMSIZ`), and what is longer
/// names none.
#[must_use]
pub fn device(name: &str) -> Option<u128> {
    let mut octets = [0; 16];
    octets.get_mut(..name.len()).filter(|place| place.len() < 16)?.copy_from_slice(name.as_bytes());
    Some(u128::from_be_bytes(octets))
}

/// The bits of an interface's name behind so many octets: what is free where only the beginning of
/// a name is given.
#[must_use]
pub const fn ones_of_device(octets: usize) -> u128 {
    match octets {
        0 => u128::MAX,
        1..=15 => u128::MAX >> (octets * 8),
        _ => 0,
    }
}

/// The name of an interface from its value.
#[must_use]
pub fn device_name(value: u128) -> String {
    let octets = value.to_be_bytes();
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    String::from_utf8_lossy(&octets[..end]).into_owned()
}

/// The value of an address.
#[must_use]
pub fn address(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// A field, or some bits of it: what a rule compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// What is looked at.
    pub field: Field,
    /// The bits that count; the others are read as zero.
    pub mask: u128,
}

impl Key {
    /// All bits of a field.
    #[must_use]
    pub const fn whole(field: Field) -> Self {
        Self { field, mask: super::interval::ones(field.bits()) }
    }

    /// Whether all bits count.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.mask == super::interval::ones(self.field.bits())
    }
}
