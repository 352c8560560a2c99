//! What is known of a packet at one moment of its way.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Direction;
use crate::model::field::{
    Field, ICMP, ICMPV6, IPV4, IPV6, Key, TCP, WITH_PORTS, address, kind, state,
};
use crate::model::interval::{Interval, Intervals, ones};
use crate::model::network::{Interface, Network};
use crate::model::packet::{Packet, State};

/// The most values that are tried one by one where only some bits of a field count.
const MAX_TRIED: u128 = 1_024;
/// `ARPHRD_ETHER`.
const ETHERNET: u128 = 1;
/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u128 = 772;

/// What is known of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// The packet has no such thing.
    Absent,
    /// It is this.
    Is(u128),
    /// It is one of these.
    Among(Box<Intervals>),
    /// It is any value that the field can have.
    Any,
}

impl Known {
    pub(super) fn among(values: Intervals) -> Self {
        match values.single() {
            Some(one) => Self::Is(one),
            None => Self::Among(Box::new(values)),
        }
    }

    pub(super) fn or_any(value: Option<u128>) -> Self {
        value.map_or(Self::Any, Self::Is)
    }
}

/// Whether something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    Maybe,
}

impl Truth {
    pub(super) const fn turned(self, not: bool) -> Self {
        match (self, not) {
            (Self::Yes, true) => Self::No,
            (Self::No, true) => Self::Yes,
            (same, _) => same,
        }
    }
}

impl From<bool> for Truth {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

/// A packet on its way.
#[derive(Debug, Clone)]
pub(super) struct Live<'n> {
    fields: [Known; Field::ALL.len()],
    network: &'n Network,
    /// To whom it was sent, before any translation.
    to: Option<IpAddr>,
    pub v6: bool,
}

impl<'n> Live<'n> {
    /// A packet before the first hook of its way.
    pub(super) fn new(
        packet: &Packet,
        v6: bool,
        direction: Direction,
        network: &'n Network,
    ) -> Self {
        let mut live = Self {
            fields: [const { Known::Absent }; Field::ALL.len()],
            network,
            to: packet.dst,
            v6,
        };
        live.device(
            true,
            match direction {
                Direction::Output => Known::Is(0),
                Direction::Input | Direction::Forward => some_device(packet.iif.map(|one| one.0)),
            },
        );
        live.device(false, Known::Is(0));
        live.link(packet, direction);
        let (version, ether) = if v6 { (IPV6, 0x86dd) } else { (IPV4, 0x0800) };
        live.put(Field::Version, Known::Is(version));
        live.put(Field::EtherType, Known::Is(ether));
        let of = |one: Option<IpAddr>| one.map(address);
        let (source, destination) = live.addresses();
        live.put(source, Known::or_any(of(packet.src)));
        live.put(destination, Known::or_any(of(packet.dst)));
        live.transport(packet);
        live.put(Field::PacketType, Known::Any);
        live.put(Field::Mark, Known::Is(0));
        live.put(Field::State, Known::Is(state::INVALID));
        live
    }

    fn link(&mut self, packet: &Packet, direction: Direction) {
        if direction == Direction::Output {
            return;
        }
        let sender = packet.mac.map(|mac| mac.0);
        if sender.is_some() {
            self.put(Field::InputType, Known::Is(ETHERNET));
        }
        self.put(Field::EtherSource, Known::or_any(sender));
        let own = packet.iif.and_then(|iif| self.interface(iif.0)).and_then(|one| one.mac);
        self.put(Field::EtherDestination, Known::or_any(own));
    }

    fn transport(&mut self, packet: &Packet) {
        let v6 = self.v6;
        let protocol = packet.proto.map(|protocol| protocol.number(v6));
        self.put(Field::Protocol, Known::or_any(protocol.map(u128::from)));
        let port = |port: Option<u16>| {
            // Where the protocol has no ports, the kernel reads something else there.
            let has = protocol.is_none_or(|number| WITH_PORTS.contains(&number));
            Known::or_any(port.filter(|_| has).map(u128::from))
        };
        self.put(Field::SourcePort, port(packet.sport));
        self.put(Field::DestinationPort, port(packet.dport));
        if protocol.is_none_or(|number| number == TCP) {
            let flags = packet.tcp_flags.map(|flags| u128::from(flags.0));
            self.put(Field::TcpFlags, Known::or_any(flags));
        }
        let (icmp, kind, code) = if v6 {
            (ICMPV6, Field::Icmp6Type, Field::Icmp6Code)
        } else {
            (ICMP, Field::IcmpType, Field::IcmpCode)
        };
        if protocol.is_none_or(|number| number == icmp) {
            let known = packet.icmp_type.and_then(|known| known.kind.number(v6));
            self.put(kind, Known::or_any(known.map(u128::from)));
            let known = packet.icmp_type.and_then(|known| known.code);
            self.put(code, Known::or_any(known.map(u128::from)));
        }
    }

    /// As the sender of a frame addresses it: one for many goes to many.
    fn packet_type(&self) -> Known {
        let kinds = self.to.map(|to| match to {
            IpAddr::V6(v6) if v6.is_multicast() => Intervals::one(kind::MULTICAST),
            IpAddr::V6(_) => Intervals::one(kind::UNICAST),
            v4 @ IpAddr::V4(_) => self.network.kinds_of(v4),
        });
        match kinds {
            Some(kinds) if kinds.single() == Some(kind::MULTICAST) => Known::Is(2),
            Some(kinds) if kinds.single() == Some(kind::BROADCAST) => Known::Is(1),
            Some(kinds) if !kinds.contains(kind::BROADCAST) => Known::Is(0),
            _ => Known::among(Interval { first: 0, last: 2 }.into()),
        }
    }

    /// Connection tracking sees the packet. What it already excused stays so.
    pub(super) fn track(&mut self, state: State) {
        if self.is(Field::State) == Some(state::UNTRACKED) {
            return;
        }
        self.put(Field::State, Known::Is(state.bit()));
        let fresh = match state {
            State::New => true,
            State::Established | State::Related => false,
            State::Invalid | State::Untracked => return,
        };
        let (status, direction, mark) = if fresh {
            // Of a connection whose first packet has left already, a second one may be new too.
            let first = [0, 8].into_iter().map(Interval::one).collect();
            (Known::among(first), Known::Is(0), Known::Is(0))
        } else {
            let direction = Known::among(Interval { first: 0, last: 1 }.into());
            (Known::Any, direction, Known::Any)
        };
        self.put(Field::Status, status);
        self.put(Field::Direction, direction);
        self.put(Field::ConnectionMark, mark);
        let (source, destination) = self.addresses();
        let pairs = [
            (Field::SourcePort, Field::OriginalSourcePort),
            (Field::DestinationPort, Field::OriginalDestinationPort),
            if self.v6 {
                (source, Field::OriginalSource6)
            } else {
                (source, Field::OriginalSource4)
            },
            if self.v6 {
                (destination, Field::OriginalDestination6)
            } else {
                (destination, Field::OriginalDestination4)
            },
        ];
        for (now, original) in pairs {
            let known = if fresh { self.at(now).clone() } else { Known::Any };
            self.put(original, known);
        }
    }

    /// The interface it comes in by, or goes out by, with what is known of that.
    pub(super) fn device(&mut self, input: bool, device: Known) {
        let (name, group, hardware) = if input {
            (Field::InputDevice, Field::InputGroup, Field::InputType)
        } else {
            (Field::OutputDevice, Field::OutputGroup, Field::OutputType)
        };
        let (of_group, of_hardware) = match &device {
            Known::Is(0) | Known::Absent => (Known::Absent, Known::Absent),
            Known::Is(value) => {
                let known = self.interface(*value);
                let loopback = super::super::field::device("lo") == Some(*value);
                let ether = if loopback { Some(LOOPBACK) } else { None };
                let of = known.and_then(|one| one.hardware).map(u128::from).or(ether);
                let of_group = known.and_then(|one| one.group).map(u128::from);
                (Known::or_any(of_group), Known::or_any(of))
            }
            Known::Among(_) | Known::Any => (Known::Any, Known::Any),
        };
        self.put(name, device);
        self.put(group, of_group);
        self.put(hardware, of_hardware);
    }

    fn interface(&self, device: u128) -> Option<&'n Interface> {
        self.network.interfaces.as_ref()?.iter().find(|one| one.device == device)
    }

    /// The fields of source and destination address.
    pub(super) const fn addresses(&self) -> (Field, Field) {
        if self.v6 {
            (Field::Source6, Field::Destination6)
        } else {
            (Field::Source4, Field::Destination4)
        }
    }

    pub(super) fn put(&mut self, field: Field, known: Known) {
        self.fields[field.index()] = known;
    }

    /// What is stored of a field. Of an address' kind nothing is: see [`Self::view`].
    pub(super) fn at(&self, field: Field) -> &Known {
        &self.fields[field.index()]
    }

    /// The value of a field, where it is known.
    pub(super) fn is(&self, field: Field) -> Option<u128> {
        match self.at(field) {
            Known::Is(value) => Some(*value),
            Known::Absent | Known::Among(_) | Known::Any => None,
        }
    }

    /// What is known of a field.
    pub(super) fn view(&self, field: Field) -> Cow<'_, Known> {
        let (source, destination) = self.addresses();
        let of = match field {
            Field::SourceKind => source,
            Field::DestinationKind => destination,
            // Few rules ask, and to find it out takes time.
            Field::PacketType if *self.at(Field::PacketType) == Known::Any => {
                return Cow::Owned(self.packet_type());
            }
            stored => return Cow::Borrowed(self.at(stored)),
        };
        Cow::Owned(match self.ip(of) {
            Some(address) => Known::among(self.network.kinds_of(address)),
            None => Known::Any,
        })
    }

    /// An address, where it is known.
    pub(super) fn ip(&self, field: Field) -> Option<IpAddr> {
        self.is(field).map(|value| ip(value, self.v6))
    }

    /// Whether it has a connection.
    pub(super) fn is_tracked(&self) -> bool {
        self.is(Field::State).is_some_and(|state| state::TRACKED.contains(&state))
    }

    /// Whether a key has one of these values. Where the packet has no such thing the answer is
    /// `None`: a match on it is false, turned round or not.
    pub(super) fn has(&self, key: Key, values: &Intervals) -> Option<Truth> {
        match self.view(key.field).as_ref() {
            Known::Absent => None,
            Known::Is(value) => Some(values.contains(value & key.mask).into()),
            Known::Among(possible) if key.is_whole() => {
                let both = possible.and(values);
                Some(if both.is_empty() {
                    Truth::No
                } else if both == **possible {
                    Truth::Yes
                } else {
                    Truth::Maybe
                })
            }
            Known::Among(possible) => Some(tried(possible, key.mask, values)),
            Known::Any => Some(match values.as_slice() {
                [] => Truth::No,
                [one] if one.covers(Interval::all(key.field.bits())) => Truth::Yes,
                _ if key.field.bits() > 8 || key.is_whole() => Truth::Maybe,
                _ => tried(&Intervals::all(key.field.bits()), key.mask, values),
            }),
        }
    }

    /// Keeps in mind what was decided of a field that is not known.
    pub(super) fn narrow(&mut self, key: Key, values: &Intervals, within: bool) {
        if !key.is_whole() {
            return;
        }
        let bits = key.field.bits();
        let wanted = || if within { values.clone() } else { values.not(bits) };
        let kept = match self.at(key.field) {
            Known::Among(possible) => possible.and(&wanted()),
            Known::Any => wanted().and(&Intervals::all(bits)),
            Known::Absent | Known::Is(_) => return,
        };
        self.put(key.field, Known::among(kept));
    }
}

/// Whether some bits of one of many values are among others.
fn tried(possible: &Intervals, mask: u128, values: &Intervals) -> Truth {
    if possible.count() > MAX_TRIED {
        return Truth::Maybe;
    }
    let (mut yes, mut no) = (false, false);
    for one in possible.as_slice() {
        for value in one.first..=one.last {
            if values.contains(value & mask) {
                yes = true;
            } else {
                no = true;
            }
        }
    }
    match (yes, no) {
        (true, true) => Truth::Maybe,
        (yes, _) => yes.into(),
    }
}

fn some_device(device: Option<u128>) -> Known {
    device.map_or_else(|| Known::among(Interval { first: 1, last: ones(128) }.into()), Known::Is)
}

/// An interface that is there but not known, or is known.
pub(super) fn output_device(device: Option<u128>) -> Known {
    some_device(device)
}

/// An address from its value.
pub(super) fn ip(value: u128, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from_bits(value))
    } else {
        // An IPv4 address has 32 bits.
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(value & ones(32)).unwrap_or(0)))
    }
}
