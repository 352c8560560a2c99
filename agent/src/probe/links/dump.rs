//! Questions to the kernel and its whole answers (rtnetlink(7), `NLM_F_DUMP`).

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_sys::constants::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The most datagrams of one answer; more than 100,000 routes are no host's.
const MAX_DATAGRAMS: usize = 16 * 1024;

pub(super) fn links() -> io::Result<Vec<LinkMessage>> {
    ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), |answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(link),
        // The crate's enum is open; nothing else answers.
        _ => None,
    })
}

pub(super) fn addresses() -> io::Result<Vec<AddressMessage>> {
    ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |answer| match answer {
        RouteNetlinkMessage::NewAddress(address) => Some(address),
        // The crate's enum is open; nothing else answers.
        _ => None,
    })
}

pub(super) fn routes() -> io::Result<Vec<RouteMessage>> {
    ask(RouteNetlinkMessage::GetRoute(RouteMessage::default()), |answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        // The crate's enum is open; nothing else answers.
        _ => None,
    })
}

pub(super) fn rules() -> io::Result<Vec<RuleMessage>> {
    ask(RouteNetlinkMessage::GetRule(RuleMessage::default()), |answer| match answer {
        RouteNetlinkMessage::NewRule(rule) => Some(rule),
        // The crate's enum is open; nothing else answers.
        _ => None,
    })
}

pub(super) fn neighbours() -> io::Result<Vec<NeighbourMessage>> {
    ask(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()), |answer| match answer {
        RouteNetlinkMessage::NewNeighbour(neighbour) => Some(neighbour),
        // The crate's enum is open; nothing else answers.
        _ => None,
    })
}

/// A table that changes while it is listed is listed again, this often.
const TRIES: usize = 3;

fn ask<T>(
    question: RouteNetlinkMessage,
    wanted: impl Fn(RouteNetlinkMessage) -> Option<T>,
) -> io::Result<Vec<T>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    let mut last = Err(io::Error::other("not asked"));
    for _ in 0..TRIES {
        last = ask_once(&octets, &wanted);
        match &last {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    last
}

/// Set by the kernel on an answer that is not one consistent state (`NLM_F_DUMP_INTR`).
const INCONSISTENT: u16 = 0x10;

fn ask_once<T>(
    question: &[u8],
    wanted: impl Fn(RouteNetlinkMessage) -> Option<T>,
) -> io::Result<Vec<T>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send_to(question, &SocketAddr::new(0, 0), 0)?;
    let mut answers = Vec::new();
    for _ in 0..MAX_DATAGRAMS {
        let (datagram, from) = socket.recv_from_full()?;
        if from.port_number() != 0 {
            continue;
        }
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::other(error.to_string()))?;
            if message.header.flags & INCONSISTENT != 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Messages begin at multiples of four octets (`NLMSG_ALIGNTO`).
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.extend(wanted(answer)),
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                // The crate's enum is open; no-ops and the like say nothing.
                _ => {}
            }
        }
    }
    Err(io::Error::other("the kernel's answer does not end"))
}
