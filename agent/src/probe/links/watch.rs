//! News of interfaces, addresses, routes, policy rules and neighbours from the kernel's multicast groups.
//!
//! The kernel also tells of what is no news: counters, a neighbour that was asked again. Such
//! messages are compared with what was last read, and only a difference completes [`Watch::told`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use bailey_rules::fact::links::Mac;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, State};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_sys::constants::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

use super::{Seen, seen_neighbour};

/// The groups of rtnetlink(7) that are joined: `LINK`, `NEIGH`, `IPV4_IFADDR`, `IPV4_ROUTE`, `IPV4_RULE`,
/// `IPV6_IFADDR`, `IPV6_ROUTE`, `IPV6_RULE`, `IPV4_NETCONF` and `IPV6_NETCONF` (`linux/rtnetlink.h`).
const GROUPS: [u32; 10] = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25];
/// Sent when a switch for forwarding or for reverse paths moves (`RTM_NEWNETCONF`).
const NEW_NETCONF: u16 = 80;
/// Octets of the message type in a netlink header.
const TYPE: std::ops::Range<usize> = 4..6;
/// Room for one datagram.
const DATAGRAM: usize = 16 * 1024;

/// What of an interface makes a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    flags: u32,
    name: String,
    carrier: Option<State>,
    master: Option<u32>,
    mtu: u32,
    mac: Vec<u8>,
    group: Option<u32>,
}

/// Listens.
pub(super) struct Watch {
    socket: TokioSocket,
    datagram: Vec<u8>,
    links: BTreeMap<u32, Look>,
    neighbours: BTreeSet<(u32, IpAddr, Option<Mac>, bool)>,
    /// Something was told and nobody has read since.
    news: bool,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("news", &self.news).finish_non_exhaustive()
    }
}

impl Watch {
    /// Joins the groups in the network namespace of the calling thread.
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.socket_mut().add_membership(group)?;
        }
        Ok(Self {
            socket,
            datagram: Vec::with_capacity(DATAGRAM),
            links: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            news: false,
        })
    }

    /// Notes what was just read: from now on only a difference from it is news.
    pub(super) fn seen(&mut self, links: &[LinkMessage], neighbours: &[NeighbourMessage]) {
        self.links = links.iter().map(|link| (link.header.index, look(link))).collect();
        self.neighbours = neighbours
            .iter()
            .filter_map(|message| {
                let Seen { address, mac, silent } = seen_neighbour(message)?;
                Some((message.header.ifindex, address, mac, silent))
            })
            .collect();
        self.news = false;
    }

    /// Completes when something is not as it was last read.
    pub(super) async fn told(&mut self) {
        while !self.news {
            self.datagram.clear();
            let received = self.socket.recv_from(&mut self.datagram).await;
            self.news = match received {
                Ok(from) => from.port_number() == 0 && self.is_news(&self.datagram),
                // The kernel had more to say than fits (ENOBUFS): something changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => true,
                Err(error) => {
                    tracing::warn!(%error, "no more news of interfaces until the next reading");
                    std::future::pending::<()>().await;
                    false
                }
            };
        }
    }

    fn is_news(&self, datagram: &[u8]) -> bool {
        let mut rest = datagram;
        while !rest.is_empty() {
            let number = rest.get(TYPE).and_then(|octets| octets.try_into().ok());
            if number.map(u16::from_ne_bytes) == Some(NEW_NETCONF) {
                return true;
            }
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
                // Something that the crate cannot read is looked at by reading everything.
                return true;
            };
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if let NetlinkPayload::InnerMessage(message) = message.payload
                && self.differs(&message)
            {
                return true;
            }
        }
        false
    }

    fn differs(&self, message: &RouteNetlinkMessage) -> bool {
        match message {
            RouteNetlinkMessage::NewLink(link) => {
                self.links.get(&link.header.index) != Some(&look(link))
            }
            RouteNetlinkMessage::NewNeighbour(neighbour) => match seen_neighbour(neighbour) {
                Some(Seen { address, mac, silent }) => {
                    let at = neighbour.header.ifindex;
                    !self.neighbours.contains(&(at, address, mac, silent))
                }
                // Asked for and not there (yet).
                None => false,
            },
            // A neighbour that is forgotten goes with the next reading: its absence is no danger.
            RouteNetlinkMessage::DelNeighbour(_) => false,
            // The crate's enum is open; links, addresses, routes and rules that go or come are news.
            _ => true,
        }
    }
}

fn look(link: &LinkMessage) -> Look {
    let mut look = Look {
        flags: link.header.flags.bits(),
        name: String::new(),
        carrier: None,
        master: None,
        mtu: 0,
        mac: Vec::new(),
        group: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => look.name.clone_from(name),
            LinkAttribute::OperState(state) => look.carrier = Some(*state),
            LinkAttribute::Controller(index) => look.master = Some(*index),
            LinkAttribute::Mtu(mtu) => look.mtu = *mtu,
            LinkAttribute::Group(group) => look.group = Some(*group),
            LinkAttribute::Address(octets) => look.mac.clone_from(octets),
            // The crate's enum is open; counters and the like are no news.
            _ => {}
        }
    }
    look
}
