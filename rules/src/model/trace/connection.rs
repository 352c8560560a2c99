//! What is known of a connection, for the packets that come back on it.

use std::net::IpAddr;

use super::live::{Known, Live};
use crate::model::field::{Field, address, status};
use crate::model::interval::{Interval, Intervals};
use crate::model::ruleset::Hook;

/// The ends of a packet, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    /// Source address.
    pub src: Option<IpAddr>,
    /// Source port, where the protocol has ports.
    pub sport: Option<u16>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Destination port.
    pub dport: Option<u16>,
}

impl Ends {
    /// The ends of the answer.
    #[must_use]
    pub const fn turned(self) -> Self {
        Self { src: self.dst, sport: self.dport, dst: self.src, dport: self.sport }
    }
}

/// A connection that a host has seen begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its first packet, as it came to connection tracking.
    pub original: Ends,
    /// The same packet, as it left.
    pub translated: Ends,
    /// Its mark, where that is known.
    pub mark: Option<u32>,
}

/// What is known of a packet when it has gone all its way through a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct After {
    /// Its ends.
    pub ends: Ends,
    /// The mark by which it was routed.
    pub mark: Option<u32>,
    /// The interface by which it leaves; nothing where it does not, or that is not known.
    pub oif: Option<u128>,
    /// Whether it was taken for this host.
    pub here: bool,
    /// The connection that it began, where it did.
    pub began: Option<Connection>,
}

impl Connection {
    /// What connection tracking knows of an answer, put into the packet.
    pub(super) fn answered(&self, live: &mut Live<'_>) {
        let mut bits = status::SEEN_REPLY | status::CONFIRMED;
        let (from, to) = (self.original, self.translated);
        if (from.src, from.sport) != (to.src, to.sport) {
            bits |= status::SNAT;
        }
        if (from.dst, from.dport) != (to.dst, to.dport) {
            bits |= status::DNAT;
        }
        // Once both sides have answered, it is assured.
        let both: Intervals =
            [bits, bits | status::ASSURED].map(Interval::one).into_iter().collect();
        live.put(Field::Status, Known::among(both));
        live.put(Field::Direction, Known::Is(1));
        live.put(Field::ConnectionMark, Known::or_any(self.mark.map(u128::from)));
        let (source, destination) = if live.v6 {
            (Field::OriginalSource6, Field::OriginalDestination6)
        } else {
            (Field::OriginalSource4, Field::OriginalDestination4)
        };
        live.put(source, Known::or_any(self.original.src.map(address)));
        live.put(destination, Known::or_any(self.original.dst.map(address)));
        let port = |port: Option<u16>| Known::or_any(port.map(u128::from));
        live.put(Field::OriginalSourcePort, port(self.original.sport));
        live.put(Field::OriginalDestinationPort, port(self.original.dport));
    }

    /// Undoes the translation of an answer as far as a hook does (`nf_nat_packet`): its destination
    /// where packets come in, its source where they go out.
    pub(super) fn undo(&self, live: &mut Live<'_>, hook: Hook) {
        let (source, destination) = live.addresses();
        let answer = self.original.turned();
        let (place, ip, port_place, port) = match hook {
            Hook::Input | Hook::Postrouting => {
                (source, answer.src, Field::SourcePort, answer.sport)
            }
            Hook::Ingress | Hook::Prerouting | Hook::Forward | Hook::Output | Hook::Egress => {
                (destination, answer.dst, Field::DestinationPort, answer.dport)
            }
        };
        live.put(place, Known::or_any(ip.map(address)));
        if let Some(port) = port {
            live.put(port_place, Known::Is(port.into()));
        }
    }
}
