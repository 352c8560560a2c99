//! Blocks and packets in the words in which people and other programs speak of them.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde::{Deserialize, Serialize};

use super::block::Block;
use super::space::Values;
use crate::model::field::{Field, ICMP, ICMPV6, IPV4, IPV6, TCP, WITH_PORTS, device_name};
use crate::model::interval::{Interval, Intervals, ones};
use crate::model::packet::{ICMP_TYPES, ICMP6_TYPES, PROTOCOLS, State, TCP_FLAGS};

/// A range of addresses is told as networks where so many will do, and by its ends otherwise.
const NETWORKS: usize = 3;

/// A block, told. A list that is empty stands for anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Told {
    /// From which addresses: networks, addresses, or ranges; with `!` before it, anything else.
    pub from: Vec<String>,
    /// To which.
    pub to: Vec<String>,
    /// Protocols.
    pub protocol: Vec<String>,
    /// Destination ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Source ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ports: Vec<String>,
    /// ICMP types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icmp: Vec<String>,
    /// Interfaces by which they come in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub iif: Vec<String>,
    /// Interfaces by which they go out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub oif: Vec<String>,
    /// States of connection tracking.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
}

impl Told {
    /// The service in one line: `tcp 80,443`.
    #[must_use]
    pub fn service(&self, any: &str) -> String {
        let details = [&self.ports, &self.icmp].into_iter().filter(|list| !list.is_empty());
        let details = details.map(|list| list.join(","));
        let protocol =
            if self.protocol.is_empty() { any.to_owned() } else { self.protocol.join(",") };
        std::iter::once(protocol).chain(details).collect::<Vec<_>>().join(" ")
    }
}

impl Block {
    /// The block in words.
    #[must_use]
    pub fn told(&self) -> Told {
        let version = self.get(Field::Version).and_then(Intervals::single);
        let addresses = |v4: Field, v6: Field| match version {
            Some(IPV4) => self
                .get(v4)
                .map_or_else(|| vec!["0.0.0.0/0".to_owned()], |all| networks(all, false)),
            Some(IPV6) => {
                self.get(v6).map_or_else(|| vec!["::/0".to_owned()], |all| networks(all, true))
            }
            Some(_) | None => Vec::new(),
        };
        let of = |field: Field, words: &dyn Fn(Interval) -> String| {
            let all = self.get(field).map(Intervals::as_slice).unwrap_or_default();
            all.iter().map(|run| words(*run)).collect::<Vec<String>>()
        };
        let icmp = of(Field::IcmpType, &|run| named(&ICMP_TYPES, run));
        let icmp6 = of(Field::Icmp6Type, &|run| named(&ICMP6_TYPES, run));
        let states = self.get(Field::State).map(|states| {
            let held = State::ALL.iter().filter(|state| states.contains(state.bit()));
            held.map(|state| state.name().to_owned()).collect()
        });
        Told {
            from: addresses(Field::Source4, Field::Source6),
            to: addresses(Field::Destination4, Field::Destination6),
            protocol: self.get(Field::Protocol).map(protocols).unwrap_or_default(),
            ports: of(Field::DestinationPort, &numbers),
            source_ports: of(Field::SourcePort, &numbers),
            icmp: icmp.into_iter().chain(icmp6).collect(),
            iif: self.get(Field::InputDevice).map(devices).unwrap_or_default(),
            oif: self.get(Field::OutputDevice).map(devices).unwrap_or_default(),
            state: states.unwrap_or_default(),
        }
    }
}

fn numbers(run: Interval) -> String {
    match run.single() {
        Some(one) => one.to_string(),
        None => format!("{}-{}", run.first, run.last),
    }
}

fn named(names: &[(&str, u8)], run: Interval) -> String {
    let name = run.single().and_then(|one| {
        names.iter().find(|(_, number)| u128::from(*number) == one).map(|(name, _)| *name)
    });
    name.map_or_else(|| numbers(run), str::to_owned)
}

/// Protocols by name, those of a short run one by one.
fn protocols(all: &Intervals) -> Vec<String> {
    let others = all.not(8);
    if others.count() <= 4 && others.count() < all.count() {
        let each = others.as_slice().iter().flat_map(|run| run.first..=run.last);
        return each.map(|one| format!("!{}", named(&PROTOCOLS, Interval::one(one)))).collect();
    }
    let short = |run: &Interval| run.last - run.first < 4;
    let each = all.as_slice().iter().flat_map(|run| {
        let ends = if short(run) {
            (run.first..=run.last).map(Interval::one).collect()
        } else {
            vec![*run]
        };
        ends.into_iter().map(|run| named(&PROTOCOLS, run))
    });
    each.collect()
}

/// Addresses as networks and ranges; those of which all others are fewer as what they are not.
#[must_use]
pub fn networks(all: &Intervals, v6: bool) -> Vec<String> {
    let is = listed(all, v6);
    let not = listed(&all.not(if v6 { 128 } else { 32 }), v6);
    if !not.is_empty() && not.len() < is.len() {
        return not.into_iter().map(|one| format!("!{one}")).collect();
    }
    is
}

fn listed(all: &Intervals, v6: bool) -> Vec<String> {
    let mut words = Vec::new();
    for run in all.as_slice() {
        let nets: Vec<IpNet> = match (ip(run.first, v6), ip(run.last, v6)) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).map(IpNet::V4).take(NETWORKS + 1).collect()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).map(IpNet::V6).take(NETWORKS + 1).collect()
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
        };
        if nets.len() > NETWORKS {
            words.push(format!("{}-{}", ip(run.first, v6), ip(run.last, v6)));
            continue;
        }
        words.extend(nets.into_iter().map(|net| {
            if net.prefix_len() == net.max_prefix_len() {
                net.addr().to_string()
            } else {
                net.to_string()
            }
        }));
    }
    words
}

fn ip(value: u128, v6: bool) -> IpAddr {
    match u32::try_from(value) {
        Ok(value) if !v6 => IpAddr::V4(value.into()),
        Ok(_) | Err(_) => IpAddr::V6(value.into()),
    }
}

/// Names of interfaces; `eth*` for all that begin so.
fn devices(all: &Intervals) -> Vec<String> {
    let is: Vec<String> = all.as_slice().iter().map(|run| device(*run)).collect();
    let not = all.not(128);
    let named = not.as_slice().iter().all(|run| !device(*run).contains(".."));
    if named && not.as_slice().len() <= is.len() {
        return not.as_slice().iter().map(|run| format!("!{}", device(*run))).collect();
    }
    is
}

fn device(run: Interval) -> String {
    if let Some(one) = run.single() {
        return device_name(one);
    }
    let whole = (0..16_u32).map(|octets| octets * 8).find(|bits| {
        let free = 128 - bits;
        run.first & ones(free) == 0 && run.last == run.first | ones(free)
    });
    match whole {
        Some(_) => format!("{}*", device_name(run.first)),
        None => format!("{}..{}", device_name(run.first), device_name(run.last)),
    }
}

/// A packet as `bailey ruleset trace` takes it, which is also how a person may read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The interface it comes in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iif: Option<String>,
    /// The interface it goes out by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oif: Option<String>,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol.
    pub proto: String,
    /// Source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// ICMP type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// TCP flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<String>,
    /// What connection tracking says.
    pub state: Cow<'static, str>,
}

/// A packet in words.
#[must_use]
pub fn example(packet: &Values) -> Example {
    let v6 = packet.get(Field::Version) == IPV6;
    let narrow = |field: Field| u16::try_from(packet.get(field)).unwrap_or(u16::MAX);
    let octet = |field: Field| u8::try_from(packet.get(field)).unwrap_or(u8::MAX);
    let protocol = octet(Field::Protocol);
    let ports = WITH_PORTS.contains(&protocol);
    let name = |field: Field| match packet.get(field) {
        0 => None,
        value => Some(device_name(value)),
    };
    let icmp = match protocol {
        ICMP if !v6 => Some(octet(Field::IcmpType)),
        ICMPV6 if v6 => Some(octet(Field::Icmp6Type)),
        _ => None,
    };
    let flags = (protocol == TCP).then(|| {
        let flags = octet(Field::TcpFlags);
        let held = TCP_FLAGS.iter().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| *name);
        let held = held.collect::<Vec<_>>().join(",");
        if held.is_empty() { "none".to_owned() } else { held }
    });
    let held = packet.get(Field::State);
    Example {
        iif: name(Field::InputDevice),
        oif: name(Field::OutputDevice),
        src: ip(packet.get(if v6 { Field::Source6 } else { Field::Source4 }), v6),
        dst: ip(packet.get(if v6 { Field::Destination6 } else { Field::Destination4 }), v6),
        proto: named(&PROTOCOLS, Interval::one(u128::from(protocol))),
        sport: ports.then(|| narrow(Field::SourcePort)),
        dport: ports.then(|| narrow(Field::DestinationPort)),
        icmp_type: icmp,
        tcp_flags: flags,
        state: State::ALL
            .iter()
            .find(|known| known.bit() == held)
            .map_or(State::Untracked.name(), |known| known.name())
            .into(),
    }
}

impl std::fmt::Display for Example {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => std::net::SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        write!(f, "{} > {} {}", end(self.src, self.sport), end(self.dst, self.dport), self.proto)?;
        if let Some(icmp) = self.icmp_type {
            write!(f, " {icmp}")?;
        }
        write!(f, " {}", self.state)
    }
}
