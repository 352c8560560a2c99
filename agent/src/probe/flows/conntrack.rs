//! Connection tracking through netlink: what is open now, and news of what is opened
//! (`linux/netfilter/nfnetlink_conntrack.h`).

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::constants::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

use super::book::Opened;

/// The multicast group that tells of new connections (`NFNLGRP_CONNTRACK_NEW`).
const GROUP_NEW: u32 = 1;
/// Room for one datagram.
const DATAGRAM: usize = 32 * 1024;
/// The most datagrams of one answer: some 250,000 connections, the kernel's own bound.
const MAX_DATAGRAMS: usize = 16 * 1024;
/// Types of ICMP and `ICMPv6` messages in a tuple (`CTA_PROTO_ICMP_TYPE`, `CTA_PROTO_ICMPV6_TYPE`).
const ICMP_TYPE: u16 = 5;
const ICMPV6_TYPE: u16 = 8;
/// States of a TCP connection that begins (`TCP_CONNTRACK_SYN_SENT`, `TCP_CONNTRACK_SYN_RECV`). One
/// that is first seen in another state was open before tracking began.
const BEGINNING: [u8; 2] = [1, 2];
/// Numbers of protocols (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;
/// The first port that Linux gives to who opens a connection (ip-sysctl.rst, `ip_local_port_range`).
const FIRST_OWN_PORT: u16 = 32_768;

/// News.
pub(super) enum Told {
    /// Connections were opened.
    Opened(Vec<Opened>),
    /// The kernel had more to say than was read.
    Overrun,
}

/// Why nothing can be seen, in words for an administrator.
pub(super) fn said(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "needs CAP_NET_ADMIN".to_owned(),
        _ => format!("netlink: {error}"),
    }
}

/// Listens for connections that are opened.
pub(super) struct Listener {
    socket: TokioSocket,
    datagram: Vec<u8>,
}

impl Listener {
    /// Joins the group in the network namespace of the calling thread.
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_mut().add_membership(GROUP_NEW)?;
        Ok(Self { socket, datagram: Vec::with_capacity(DATAGRAM) })
    }

    /// The next news. Cancel-safe.
    pub(super) async fn told(&mut self) -> io::Result<Told> {
        self.datagram.clear();
        match self.socket.recv_from(&mut self.datagram).await {
            Ok(from) if from.port_number() == 0 => {
                let mut opened = Vec::new();
                // News says how a connection begins; one that was picked up underway says nothing
                // about who opened it.
                for message in messages(&self.datagram) {
                    if let Ok(NetlinkPayload::InnerMessage(message)) = message {
                        opened.extend(connection(&message).and_then(Connection::beginning));
                    }
                }
                Ok(Told::Opened(opened))
            }
            // Another process speaks; only the kernel is listened to.
            Ok(_) => Ok(Told::Opened(Vec::new())),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Told::Overrun),
            Err(error) => Err(error),
        }
    }
}

/// Everything that is open now.
pub(super) async fn open_now() -> io::Result<Vec<Opened>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let question = NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0),
        ConntrackMessage::Get(Vec::new()),
    );
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);

    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind_auto()?;
    socket.send_to(&octets, &SocketAddr::new(0, 0)).await?;
    let mut open = Vec::new();
    let mut datagram = Vec::with_capacity(DATAGRAM);
    for _ in 0..MAX_DATAGRAMS {
        datagram.clear();
        if socket.recv_from(&mut datagram).await?.port_number() != 0 {
            continue;
        }
        for message in messages(&datagram) {
            match message? {
                NetlinkPayload::InnerMessage(message) => {
                    open.extend(connection(&message).map(Connection::underway));
                }
                NetlinkPayload::Done(_) => return Ok(open),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                // The crate's enum is open; no-ops and the like say nothing.
                _ => {}
            }
        }
        // A full table is many datagrams, and other probes wait.
        tokio::task::yield_now().await;
    }
    Err(io::Error::other("the kernel's answer does not end"))
}

/// The messages of a datagram. One that the crate cannot read is an error, and the next follows.
fn messages(
    datagram: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkPayload<NetfilterMessage>>> + '_ {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = NetlinkBuffer::new_checked(rest).ok()?.length() as usize;
        let whole = rest;
        // Messages begin at multiples of four octets (`NLMSG_ALIGNTO`).
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let message = NetlinkMessage::<NetfilterMessage>::deserialize(whole);
        Some(message.map(|message| message.payload).map_err(|e| io::Error::other(e.to_string())))
    })
}

/// One connection as the kernel tells of it.
struct Connection {
    opened: Opened,
    /// The port of who opened it.
    own_port: u16,
    tcp_state: Option<u8>,
}

impl Connection {
    /// A connection of which this is the beginning.
    fn beginning(self) -> Option<Opened> {
        match self.tcp_state {
            Some(state) => BEGINNING.contains(&state).then_some(self.opened),
            None => Some(self.likely_opened()),
        }
    }

    /// A connection that began at any time.
    fn underway(self) -> Opened {
        self.likely_opened()
    }

    /// Who opened it, where the kernel may have seen an answer first: a port for those who open is
    /// not what they open.
    const fn likely_opened(self) -> Opened {
        let Opened { from, to, protocol, port } = self.opened;
        let has_ports = matches!(protocol, TCP | UDP);
        if has_ports && port >= FIRST_OWN_PORT && self.own_port < FIRST_OWN_PORT {
            return Opened { from: to, to: from, protocol, port: self.own_port };
        }
        self.opened
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Direction {
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    protocol: Option<u8>,
    from_port: Option<u16>,
    to_port: Option<u16>,
    icmp_type: Option<u8>,
}

impl Direction {
    fn of(tuples: &[Tuple]) -> Self {
        let mut way = Self::default();
        for tuple in tuples {
            match tuple {
                Tuple::Ip(parts) => parts.iter().for_each(|part| match part {
                    IPTuple::SourceAddress(address) => way.from = Some(*address),
                    IPTuple::DestinationAddress(address) => way.to = Some(*address),
                    // The crate's enum is open; these two are the addresses.
                    _ => {}
                }),
                Tuple::Proto(parts) => parts.iter().for_each(|part| way.take(part)),
                // The crate's enum is open; zones of tracking are not told apart.
                _ => {}
            }
        }
        way
    }

    fn take(&mut self, told: &ProtoTuple) {
        use netlink_packet_core::Nla as _;
        match told {
            ProtoTuple::Protocol(protocol) => self.protocol = Some((*protocol).into()),
            ProtoTuple::SourcePort(port) => self.from_port = Some(*port),
            ProtoTuple::DestinationPort(port) => self.to_port = Some(*port),
            ProtoTuple::Other(other)
                if matches!(other.kind(), ICMP_TYPE | ICMPV6_TYPE) && other.value_len() == 1 =>
            {
                let mut kind = [0];
                other.emit_value(&mut kind);
                self.icmp_type = Some(kind[0]);
            }
            // The crate's enum is open; codes and identifiers are not told apart.
            _ => {}
        }
    }
}

/// What a message tells; `None` for one that names no connection, or one of the host with itself,
/// which no policy is about.
fn connection(message: &NetfilterMessage) -> Option<Connection> {
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = &message.inner else {
        return None;
    };
    let (mut there, mut back) = (Direction::default(), Direction::default());
    let mut tcp_state = None;
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuples) => there = Direction::of(tuples),
            ConntrackAttribute::CtaTupleReply(tuples) => back = Direction::of(tuples),
            ConntrackAttribute::CtaProtoInfo(infos) => {
                tcp_state = tcp_state.or_else(|| infos.iter().find_map(state_of));
            }
            // The crate's enum is open; nothing else is asked for.
            _ => {}
        }
    }
    let (from, protocol) = (there.from?, there.protocol?);
    // The answers come from where the connection really leads.
    let to = back.from.or(there.to)?;
    let port = back.from_port.or(there.to_port).or(there.icmp_type.map(u16::from)).unwrap_or(0);
    if from == to || from.is_loopback() || to.is_loopback() {
        return None;
    }
    let opened = Opened { from, to, protocol, port };
    Some(Connection { opened, own_port: there.from_port.unwrap_or(0), tcp_state })
}

fn state_of(info: &ProtoInfo) -> Option<u8> {
    let ProtoInfo::TCP(parts) = info else { return None };
    parts.iter().find_map(|part| match part {
        ProtoInfoTCP::State(state) => Some(*state),
        // The crate's enum is open; only the state is asked for.
        _ => None,
    })
}
