//! One connection through a site, hop by hop as its kernels would take it, there and back.
//!
//! It is the plain question beside the proof: not whether any packet passes, but what becomes of this
//! one, and which rule says so. Where something is not known the packet goes every way, and then each of
//! them is only one that it may go.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::wire::{Parted, WireId, Wires};
use super::{Host, Port, Prover, ReversePath, Site};
use crate::model::field::{device, device_name, kind};
use crate::model::network::{Asked as Routed, Hop, Way as Route};
use crate::model::packet::{
    Device, IcmpKind, IcmpType, Packet, Protocol as Carried, State, TcpFlags,
};
use crate::model::ruleset::{Statement, Verdict as Ruled};
use crate::model::trace::{
    Answer, By, Certainty, Connection, Direction, Ends, Event, Explained, Happened, Tracer, Verdict,
};
use crate::name::HostName;
use crate::policy::Policy;
use crate::text::Text;

/// Hosts on one way, at most; as many as the time to live that packets usually begin with.
pub const MAX_HOPS: usize = 64;
/// Ways that are followed, at most.
pub const MAX_WAYS: usize = 16;
/// The port from which a connection comes, where nobody says another.
pub const SOURCE_PORT: u16 = 40_000;

/// What the first packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A TCP segment with SYN.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An echo request of the version's ICMP.
    Icmp,
}

impl Protocol {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// A connection that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who opens it.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// By what.
    pub protocol: Protocol,
    /// From which port; none of ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// To which port; none of ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
}

/// A connection that cannot be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text().en)]
pub enum NotAsked {
    /// A source that is neither an address nor a host of the policy.
    Source(String),
    /// A destination of another form.
    Destination(String),
    /// A host that the policy does not name.
    Host(String),
    /// A host of the policy that has no address of the version that is asked for.
    NoAddress(HostName),
    /// The ends are of two versions of IP.
    Versions(IpAddr, IpAddr),
    /// One of the ends is nobody's.
    NotOneHost(IpAddr),
}

impl NotAsked {
    /// What is wrong, and what to write instead.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::Source(text) => Text::new(
                format!(
                    "\"{text}\" is neither an address nor a host name: write 10.1.7.20 or oa-17"
                ),
                format!("\"{text}\" 既不是地址也不是主机名：应写作 10.1.7.20 或 oa-17"),
            ),
            Self::Destination(text) => Text::new(
                format!(
                    "\"{text}\" is no destination: write 10.1.2.10:443/tcp, [fd00::2]:53/udp, mail-1:25/tcp or \
                     10.1.2.10/icmp"
                ),
                format!(
                    "\"{text}\" 不是目的：应写作 10.1.2.10:443/tcp、[fd00::2]:53/udp、mail-1:25/tcp 或 10.1.2.10/icmp"
                ),
            ),
            Self::Host(name) => Text::new(
                format!("the policy names no host {name}: write its address"),
                format!("策略中没有主机 {name}：请写明其地址"),
            ),
            Self::NoAddress(name) => Text::new(
                format!(
                    "the policy says no address of {name} of this version of IP: write the address"
                ),
                format!("策略未给出 {name} 在该 IP 版本下的地址：请写明地址"),
            ),
            Self::Versions(src, dst) => Text::new(
                format!("{src} and {dst} are of two versions of IP: name two addresses of one"),
                format!("{src} 与 {dst} 属于不同的 IP 版本：请使用同一版本的地址"),
            ),
            Self::NotOneHost(address) => Text::new(
                format!("{address} is no address of one host: name one that is"),
                format!("{address} 不是单台主机的地址：请改用主机地址"),
            ),
        }
    }
}

/// An end as somebody writes it.
enum Named {
    Address(IpAddr),
    Host(HostName),
}

impl Named {
    fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => Some(Self::Address(address)),
            Err(_) => text.parse().ok().map(Self::Host),
        }
    }

    /// Its address, of this version where the name has several.
    fn address(&self, policy: &Policy, v6: Option<bool>) -> Result<IpAddr, NotAsked> {
        match self {
            Self::Address(address) => Ok(*address),
            Self::Host(name) => {
                let entry =
                    policy.hosts.get(name).ok_or_else(|| NotAsked::Host(name.to_string()))?;
                let mut fit = entry.addresses.iter();
                let found = fit.find(|one| v6.is_none_or(|v6| one.is_ipv6() == v6));
                found.copied().ok_or_else(|| NotAsked::NoAddress(name.clone()))
            }
        }
    }

    const fn version(&self) -> Option<bool> {
        match self {
            Self::Address(address) => Some(address.is_ipv6()),
            Self::Host(_) => None,
        }
    }
}

impl Asked {
    /// A connection in words: from an address or a host of the policy, to `ADDRESS:PORT/tcp`, `/udp` or
    /// `ADDRESS/icmp`, where a host's name may stand for its address. It comes from [`SOURCE_PORT`].
    ///
    /// # Errors
    /// When the words say something else, or no connection that there can be.
    pub fn parse(policy: &Policy, src: &str, dst: &str) -> Result<Self, NotAsked> {
        let from = Named::parse(src).ok_or_else(|| NotAsked::Source(src.to_owned()))?;
        let wrong = || NotAsked::Destination(dst.to_owned());
        let (to, protocol) = dst.rsplit_once('/').ok_or_else(wrong)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            _ => return Err(wrong()),
        };
        let (to, dport) = match protocol {
            Protocol::Icmp => (to, None),
            Protocol::Tcp | Protocol::Udp => {
                let (to, port) = to.rsplit_once(':').ok_or_else(wrong)?;
                let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
                (to, Some(port))
            }
        };
        // The last octets of an address without brackets are no port.
        let bare = protocol != Protocol::Icmp && to.contains(':') && !to.starts_with('[');
        let to = Named::parse(to).filter(|_| !bare).ok_or_else(wrong)?;
        let dst = to.address(policy, from.version())?;
        let src = from.address(policy, Some(dst.is_ipv6()))?;
        if src.is_ipv4() != dst.is_ipv4() {
            return Err(NotAsked::Versions(src, dst));
        }
        let nobody = |one: &IpAddr| {
            let broadcast = matches!(one, IpAddr::V4(v4) if v4.is_broadcast());
            one.is_multicast() || one.is_unspecified() || broadcast
        };
        if let Some(nobody) = [src, dst].into_iter().find(nobody) {
            return Err(NotAsked::NotOneHost(nobody));
        }
        let sport = dport.map(|_| SOURCE_PORT);
        Ok(Self { src, dst, protocol, sport, dport })
    }
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The connection.
    pub asked: Asked,
    /// Whether its first packet arrives and the answer comes back, on one way at least.
    pub passes: bool,
    /// Whether that is certain.
    pub certain: bool,
    /// The ways of its first packet, at most [`MAX_WAYS`]; one where everything is known.
    pub there: Vec<Way>,
    /// The ways of the answer, where the first packet arrives.
    pub back: Vec<Way>,
}

/// One way of one packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The hosts on it.
    pub hops: Vec<Hopped>,
    /// Whether it arrives.
    pub arrives: bool,
    /// Where it ends, or why.
    pub end: Text,
    /// Whether it goes no other way.
    pub certain: bool,
}

/// A host on the way of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hopped {
    /// The host.
    pub host: HostName,
    /// The interface by which it comes; nothing where it begins here.
    pub iif: Option<String>,
    /// The interface by which it leaves; nothing where it ends here.
    pub oif: Option<String>,
    /// The packet as it comes.
    pub packet: String,
    /// The packet as it leaves, where it was changed.
    pub changed: Option<String>,
    /// What connection tracking says of it; nothing where the host tracks no connections.
    pub state: Option<String>,
    /// `accept`, `drop` or `reject`.
    pub verdict: String,
    /// `exact`, or `may` where something that is not known decides.
    pub certainty: String,
    /// What that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What decides, in the order in which the kernel asks; the last of them ends the way where the
    /// packet does not pass.
    pub by: Vec<Decides>,
}

/// A rule or policy that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decides {
    /// The hook.
    pub hook: String,
    /// The family of the table.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's words; nothing where the policy of the chain decides.
    pub rule: Option<String>,
    /// The policy of the chain, where that decides.
    pub policy: Option<String>,
    /// The rule's handle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// The rule's line in its listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The rule's comment, which in Bailey's own names the line of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Follows a connection through a site.
#[must_use]
pub fn follow(site: &Site, asked: Asked) -> Followed {
    let wires = Rc::new(Wires::of(site));
    on_wires(site, &wires, Parted::of(site, &wires).as_ref(), asked)
}

impl Prover {
    /// Follows a connection through the site as it is now.
    #[must_use]
    pub fn follow(&self, asked: Asked) -> Followed {
        on_wires(&self.site, &self.wires, self.parted.as_ref(), asked)
    }
}

fn on_wires(site: &Site, wires: &Wires, parted: Option<&Parted>, asked: Asked) -> Followed {
    let mut walk = Walk {
        site,
        wires,
        surely: parted.map(|parted| &*parted.surely),
        protocol: asked.protocol,
        known: BTreeMap::new(),
        tracers: RefCell::default(),
    };
    let ends =
        Ends { src: Some(asked.src), sport: asked.sport, dst: Some(asked.dst), dport: asked.dport };
    let mut there = walk.all(walk.begin(asked.src), ends, State::New);
    let mut back = Vec::new();
    if let Some(arrived) = there.iter().find(|trail| trail.arrives()) {
        // Each host that it passed knows the connection now.
        walk.known = arrived.began.iter().cloned().collect();
        let answer = arrived.ends.turned();
        let from = arrived.turned();
        back = walk.all(from, answer, State::Established);
    }
    let alone = |trails: &[Trail]| {
        let arrives = trails.first().is_some_and(Trail::arrives);
        trails.iter().all(|one| one.is_exact && one.arrives() == arrives)
    };
    let passes = there.iter().any(Trail::arrives) && back.iter().any(Trail::arrives);
    let certain = alone(&there) && alone(&back);
    let told = |trails: &mut Vec<Trail>| {
        let certain = alone(trails) && trails.len() == 1;
        trails.drain(..).map(|trail| trail.told(certain)).collect::<Vec<_>>()
    };
    Followed { asked, passes, certain, there: told(&mut there), back: told(&mut back) }
}

/// Where a packet is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// In the host that sends it.
    In(HostName),
    /// At an interface by which it comes.
    Port(Port),
    /// On a wire, sent by somebody there whom nobody knows. What is for elsewhere goes to this router;
    /// where none is named, to any.
    Wire(WireId, Option<Port>),
    /// It is not anywhere more.
    End { arrives: bool, text: Text, last: Option<Box<At>> },
}

/// A way as it grows.
#[derive(Debug, Clone)]
struct Trail {
    at: At,
    ends: Ends,
    hops: Vec<Hopped>,
    /// The connections that hosts have begun for it.
    began: Vec<(HostName, Connection)>,
    is_exact: bool,
}

impl Trail {
    const fn arrives(&self) -> bool {
        matches!(self.at, At::End { arrives: true, .. })
    }

    /// Where an answer begins.
    fn turned(&self) -> Vec<At> {
        match &self.at {
            At::End { last: Some(last), .. } => vec![(**last).clone()],
            At::In(_) | At::Port(_) | At::Wire(..) | At::End { .. } => Vec::new(),
        }
    }

    fn told(self, certain: bool) -> Way {
        let (arrives, end) = match self.at {
            At::End { arrives, text, .. } => (arrives, text),
            At::In(_) | At::Port(_) | At::Wire(..) => (false, too_long()),
        };
        Way { hops: self.hops, arrives, end, certain }
    }
}

fn too_long() -> Text {
    Text::new(
        format!("it has passed {MAX_HOPS} hosts and goes round in a circle"),
        format!("已经过 {MAX_HOPS} 台主机，路由成环"),
    )
}

fn too_many() -> Text {
    Text::new(
        format!(
            "there are more than {MAX_WAYS} ways: this one and those beside it are not followed"
        ),
        format!("可能的路径超过 {MAX_WAYS} 条，此条及其余各条不再跟踪"),
    )
}

fn stopped(en: impl Into<String>, zh: impl Into<String>) -> At {
    At::End { arrives: false, text: Text::new(en, zh), last: None }
}

struct Walk<'a> {
    site: &'a Site,
    wires: &'a Wires,
    /// Where only those who surely hear each other are on one wire, where a bridge filters.
    surely: Option<&'a Wires>,
    protocol: Protocol,
    /// What hosts know of the connection, of an answer.
    known: BTreeMap<HostName, Connection>,
    /// Rulesets that were made ready.
    tracers: RefCell<BTreeMap<HostName, Rc<Tracer<'a>>>>,
}

impl<'a> Walk<'a> {
    fn tracer(&self, name: &HostName, host: &'a Host) -> Rc<Tracer<'a>> {
        let mut known = self.tracers.borrow_mut();
        let tracer = known
            .entry(name.clone())
            .or_insert_with(|| Rc::new(Tracer::new(&host.ruleset, &host.network)));
        Rc::clone(tracer)
    }

    /// Where packets of an address may begin.
    fn begin(&self, src: IpAddr) -> Vec<At> {
        let answers = |host: &Host| host.network.answers_for().any(|net| net.contains(&src));
        let hosts = self.site.hosts.iter().filter(|(_, host)| answers(host));
        let hosts: Vec<At> = hosts.map(|(name, _)| At::In(name.clone())).collect();
        if !hosts.is_empty() {
            return hosts;
        }
        let on = |networks: &BTreeSet<IpNet>| networks.iter().any(|net| net.contains(&src));
        let wires = self.wires.all().filter(|(_, wire)| on(&wire.networks));
        let wires: Vec<At> = wires.map(|(id, _)| At::Wire(id, None)).collect();
        if !wires.is_empty() {
            return wires;
        }
        let all = self.wires.all();
        let away = all.flat_map(|(id, _)| self.wires.leading_away(self.site, id));
        let lines: Vec<At> = away.map(|port| At::Port(port.clone())).collect();
        if lines.is_empty() {
            return vec![stopped(
                format!(
                    "nobody sends from {src}: no wire has it, and no route leads away from the site"
                ),
                format!("没有主机会以 {src} 发送：没有线路包含该地址，也没有通往站外的路由"),
            )];
        }
        lines
    }

    /// All ways from some places. Where there are too many, one stands for those that are left.
    fn all(&self, from: Vec<At>, ends: Ends, state: State) -> Vec<Trail> {
        let alone = from.len() == 1;
        let begin =
            |at: At| Trail { at, ends, hops: Vec::new(), began: Vec::new(), is_exact: alone };
        let from = within(MAX_WAYS, from.into_iter().map(begin).collect());
        let mut open: Vec<Trail> = from.into_iter().rev().collect();
        let mut done = Vec::new();
        while let Some(trail) = open.pop() {
            if matches!(trail.at, At::End { .. }) || trail.hops.len() >= MAX_HOPS {
                done.push(trail);
                continue;
            }
            let room = MAX_WAYS - done.len() - open.len();
            open.extend(within(room, self.step(trail, state)).into_iter().rev());
        }
        done
    }

    /// Where a packet may be next.
    fn step(&self, trail: Trail, state: State) -> Vec<Trail> {
        match trail.at.clone() {
            At::End { .. } => vec![trail],
            At::Wire(wire, router) => self.on_wire(trail, wire, router),
            At::In(name) => self.through(trail, &name, None, state),
            At::Port(port) => self.through(trail, &port.host, Some(&port.interface), state),
        }
    }

    fn on_wire(&self, trail: Trail, wire: WireId, router: Option<Port>) -> Vec<Trail> {
        let Some(dst) = trail.ends.dst else { return vec![trail] };
        let to: Vec<At> = if self.wires.get(wire).networks.iter().any(|net| net.contains(&dst)) {
            self.receivers(wire, dst, None)
        } else if let Some(router) = router {
            vec![At::Port(router)]
        } else {
            // To a router; which one, the sender knows.
            let ports = self.wires.get(wire).ports.iter();
            let forwards = |port: &&Port| self.site.hosts[&port.host].forwards(dst.is_ipv6());
            ports.filter(forwards).map(|port| At::Port(port.clone())).collect()
        };
        if to.is_empty() {
            let at = stopped(
                format!("nobody on the wire passes packets on to {dst}"),
                format!("该线路上没有主机转发到 {dst}"),
            );
            return vec![Trail { at, ..trail }];
        }
        let is_exact = trail.is_exact && self.surely.is_none_or(|_| !self.is_filtered(wire));
        fork(&Trail { is_exact, ..trail }, to)
    }

    /// Whether a bridge that filters is on a wire.
    fn is_filtered(&self, wire: WireId) -> bool {
        let mut ports = self.wires.get(wire).ports.iter();
        ports.any(|port| self.site.hosts[&port.host].bridge_of(&port.interface).is_some())
    }

    /// Whether what leaves by an interface is at the next place with no bridge between that filters.
    fn surely_hears(&self, wire: WireId, port: &Port, next: &At) -> bool {
        let Some(surely) = self.surely.filter(|_| self.is_filtered(wire)) else { return true };
        match next {
            At::Port(other) => {
                let on = surely.at(port);
                let host = &self.site.hosts[&other.host];
                on.is_some() && on == surely.at(other) && host.bridge_of(&other.interface).is_none()
            }
            At::In(_) | At::Wire(..) | At::End { .. } => false,
        }
    }

    /// Who takes a packet for an address on a wire. `by` is who puts it there.
    fn receivers(&self, wire: WireId, to: IpAddr, by: Option<&Port>) -> Vec<At> {
        let owners = self.wires.owners(wire, to);
        let owners = owners.filter(|port| by.is_none_or(|by| by.host != port.host));
        let known: Vec<At> = owners.map(|port| At::Port(port.clone())).collect();
        if !known.is_empty() {
            return known;
        }
        // Whoever has the address answers by the router that brought it.
        let last = At::Wire(wire, by.cloned());
        let (en, zh) = match by {
            Some(by) => (
                format!(
                    "{} puts it on the wire of {}, to {to}, which no known host has",
                    by.host, by.interface
                ),
                format!("{} 从 {} 将其发往 {to}，已知主机均无该地址", by.host, by.interface),
            ),
            None => (
                format!("it stays on its wire, to {to}, which no known host has"),
                format!("报文不离开所在线路，发往 {to}，已知主机均无该地址"),
            ),
        };
        vec![At::End { arrives: true, text: Text::new(en, zh), last: Some(Box::new(last)) }]
    }

    fn through(
        &self,
        trail: Trail,
        name: &HostName,
        interface: Option<&str>,
        state: State,
    ) -> Vec<Trail> {
        let Some(host) = self.site.hosts.get(name) else { return vec![trail] };
        let connection = self.known.get(name).filter(|known| {
            // It is an answer to what this host has sent on, and to nothing else.
            let wanted = known.translated.turned();
            (wanted.src, wanted.dst) == (trail.ends.src, trail.ends.dst)
        });
        let state = match (state, connection) {
            (State::Established, None) => self.unasked(),
            (state, _) => state,
        };
        let here = Here { host, name, interface, state, connection };
        let tracer = self.tracer(name, host);
        let (Some(src), Some(dst)) = (trail.ends.src, trail.ends.dst) else {
            let at = stopped("to whom it is translated is not known", "不知道被转换到哪个地址");
            return vec![Trail { at, is_exact: false, ..trail }];
        };
        match interface {
            None => here.sends(self, &tracer, trail, src, dst),
            Some(interface) => here.takes(self, &tracer, trail, interface, src, dst),
        }
    }

    /// What connection tracking says of an answer to nothing that it knows.
    const fn unasked(&self) -> State {
        match self.protocol {
            Protocol::Udp => State::New,
            // A segment with SYN and ACK, or an echo reply, begins nothing.
            Protocol::Tcp | Protocol::Icmp => State::Invalid,
        }
    }

    fn packet(&self, ends: Ends, state: State, iif: Option<u128>, oif: Option<u128>) -> Packet {
        let answer = !matches!(state, State::New);
        let v6 = ends.dst.is_some_and(|dst| dst.is_ipv6());
        let icmp = match (v6, answer) {
            (false, false) => 8,
            (false, true) => 0,
            (true, false) => 128,
            (true, true) => 129,
        };
        let (proto, icmp_type, tcp_flags) = match self.protocol {
            Protocol::Tcp => {
                let flags = if answer { 0x12 } else { 0x02 };
                (6, None, Some(TcpFlags(flags)))
            }
            Protocol::Udp => (17, None, None),
            Protocol::Icmp => {
                let kind = IcmpType { kind: IcmpKind::Number(icmp), code: Some(0) };
                (if v6 { 58 } else { 1 }, Some(kind), None)
            }
        };
        Packet {
            iif: iif.map(Device),
            oif: oif.map(Device),
            src: ends.src,
            dst: ends.dst,
            proto: Some(Carried::Number(proto)),
            sport: ends.sport,
            dport: ends.dport,
            icmp_type,
            tcp_flags,
            state: Some(state),
            mac: None,
        }
    }

    /// A packet in words.
    fn words(&self, ends: Ends) -> String {
        let end = |address: Option<IpAddr>, port: Option<u16>| match (address, port) {
            (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
            (Some(address), None) => address.to_string(),
            (None, Some(port)) => format!("?:{port}"),
            (None, None) => "?".to_owned(),
        };
        let Ends { src, sport, dst, dport } = ends;
        format!("{} > {} {}", end(src, sport), end(dst, dport), self.protocol.name())
    }
}

/// So many of some ways as there is room for; the last of them then ends where it is, and says so.
fn within(room: usize, ways: Vec<Trail>) -> Vec<Trail> {
    let mut ways = ways;
    if ways.len() > room {
        ways.truncate(room);
        if let Some(last) = ways.last_mut() {
            last.at = At::End { arrives: false, text: too_many(), last: None };
            last.is_exact = false;
        }
    }
    ways
}

/// One way for each place.
fn fork(trail: &Trail, to: Vec<At>) -> Vec<Trail> {
    let is_exact = trail.is_exact && to.len() == 1;
    to.into_iter().map(|at| Trail { at, is_exact, ..trail.clone() }).collect()
}

/// A packet at a host.
struct Here<'a> {
    host: &'a Host,
    name: &'a HostName,
    interface: Option<&'a str>,
    state: State,
    connection: Option<&'a Connection>,
}

impl Here<'_> {
    fn explained(&self, tracer: &Tracer<'_>, packet: &Packet, direction: Direction) -> Explained {
        let explained = match self.connection {
            Some(connection) => tracer.explain_answer(packet, direction, connection),
            None => tracer.explain(packet, direction),
        };
        explained.expect("both addresses are known and of one version")
    }

    /// What the host sends itself.
    fn sends(
        &self,
        walk: &Walk<'_>,
        tracer: &Tracer<'_>,
        trail: Trail,
        src: IpAddr,
        dst: IpAddr,
    ) -> Vec<Trail> {
        let network = &self.host.network;
        let asked = Routed { src: Some(src), dst, iif: Some(0), mark: Some(0) };
        let hops = match network.way(asked) {
            Route::Known { kind: kind::LOCAL, .. } => {
                let text = Text::new(
                    format!("{} is {}'s own address: it leaves no host", dst, self.name),
                    format!("{dst} 是 {} 自己的地址，报文不离开主机", self.name),
                );
                let last = Some(Box::new(At::In(self.name.clone())));
                return vec![Trail { at: At::End { arrives: true, text, last }, ..trail }];
            }
            Route::Known { kind: kind::UNICAST, hops } if !hops.is_empty() => hops,
            Route::Known { .. } => return vec![self.unrouted(walk, trail, dst)],
            Route::Unknown => self.anywhere(),
        };
        let several = hops.len() > 1;
        let mut all = Vec::new();
        for hop in hops {
            let packet = walk.packet(trail.ends, self.state, None, hop.device);
            let explained = self.explained(tracer, &packet, Direction::Output);
            let mut next = trail.clone();
            next.is_exact &= !several;
            all.extend(self.leaves(walk, tracer, next, &explained, Some(hop)));
        }
        all
    }

    /// What comes by an interface.
    fn takes(
        &self,
        walk: &Walk<'_>,
        tracer: &Tracer<'_>,
        trail: Trail,
        interface: &str,
        src: IpAddr,
        dst: IpAddr,
    ) -> Vec<Trail> {
        let network = &self.host.network;
        let iif = device(interface);
        let local = |dst: IpAddr, mark: Option<u32>| {
            let asked = Routed { src: Some(src), dst, iif, mark };
            matches!(network.way(asked), Route::Known { kind: kind::LOCAL, .. })
        };
        let direction = if local(dst, Some(0)) { Direction::Input } else { Direction::Forward };
        let packet = walk.packet(trail.ends, self.state, iif, None);
        let explained = self.explained(tracer, &packet, direction);
        if explained.answer.verdict != Verdict::Accept {
            return vec![self.ended(walk, tracer, trail, &explained)];
        }
        let mut trail = trail;
        match self.way_back(src, iif) {
            Some(true) => {}
            Some(false) => {
                let at = stopped(
                    format!(
                        "{} drops it: {src} does not come by {interface} (rp_filter)",
                        self.name
                    ),
                    format!("{} 将其丢弃：{src} 不应从 {interface} 进入（rp_filter）", self.name),
                );
                return vec![self.hopped(walk, tracer, trail, &explained, None, at)];
            }
            None => trail.is_exact = false,
        }
        if explained.after.here {
            let text = Text::new(
                format!("it is delivered to {}", self.name),
                format!("报文被交付给 {}", self.name),
            );
            let last = Some(Box::new(At::In(self.name.clone())));
            let at = At::End { arrives: true, text, last };
            return vec![self.hopped(walk, tracer, trail, &explained, None, at)];
        }
        let Some(to) = explained.after.ends.dst else {
            let at = stopped("to whom it is translated is not known", "不知道被转换到哪个地址");
            trail.is_exact = false;
            return vec![self.hopped(walk, tracer, trail, &explained, None, at)];
        };
        if !self.host.forwards(to.is_ipv6()) {
            let at = stopped(
                format!("{} passes nothing on", self.name),
                format!("{} 不转发报文", self.name),
            );
            return vec![self.hopped(walk, tracer, trail, &explained, None, at)];
        }
        let asked = Routed { src: Some(src), dst: to, iif, mark: explained.after.mark };
        let hops = match network.way(asked) {
            Route::Known { kind: kind::UNICAST, hops } if !hops.is_empty() => hops,
            Route::Known { .. } => {
                let at = no_route(self.name, to);
                return vec![self.hopped(walk, tracer, trail, &explained, None, at)];
            }
            Route::Unknown => self.anywhere(),
        };
        let several = hops.len() > 1;
        let mut all = Vec::new();
        for hop in hops {
            let packet = walk.packet(trail.ends, self.state, iif, hop.device);
            let explained = self.explained(tracer, &packet, direction);
            let mut next = trail.clone();
            next.is_exact &= !several;
            all.extend(self.leaves(walk, tracer, next, &explained, Some(hop)));
        }
        all
    }

    /// Whether the source of a packet is one that may come by an interface; nothing where that is not
    /// known.
    fn way_back(&self, src: IpAddr, iif: Option<u128>) -> Option<bool> {
        let wanted = self.interface.and_then(|name| self.host.reverse_path.get(name));
        let wanted = wanted.copied().unwrap_or_default();
        if wanted == ReversePath::Off || src.is_ipv6() {
            return Some(true);
        }
        let asked = Routed { src: None, dst: src, iif: None, mark: None };
        match self.host.network.way(asked) {
            Route::Unknown => None,
            Route::Known { kind: kind::UNICAST, hops } => Some(
                wanted == ReversePath::Loose
                    || hops.iter().any(|hop| hop.device.is_none() || hop.device == iif),
            ),
            Route::Known { .. } => Some(false),
        }
    }

    /// Every interface, where nobody knows by which.
    fn anywhere(&self) -> Vec<Hop> {
        let names = self.host.network.up().filter(|one| device_name(one.device) != "lo");
        names.map(|one| Hop { device: Some(one.device), via: None }).collect()
    }

    fn unrouted(&self, walk: &Walk<'_>, trail: Trail, dst: IpAddr) -> Trail {
        let mut trail = trail;
        trail.hops.push(Hopped {
            host: self.name.clone(),
            iif: None,
            oif: None,
            packet: walk.words(trail.ends),
            changed: None,
            state: None,
            verdict: Verdict::Drop.name().to_owned(),
            certainty: Certainty::Exact.name().to_owned(),
            reasons: Vec::new(),
            by: Vec::new(),
        });
        Trail { at: no_route(self.name, dst), ..trail }
    }

    /// A packet that passed, or did not, on its way out by a hop.
    fn leaves(
        &self,
        walk: &Walk<'_>,
        tracer: &Tracer<'_>,
        trail: Trail,
        explained: &Explained,
        hop: Option<Hop>,
    ) -> Vec<Trail> {
        if explained.answer.verdict != Verdict::Accept {
            return vec![self.ended(walk, tracer, trail, explained)];
        }
        let oif = explained.after.oif;
        let Some(to) = explained.after.ends.dst else {
            let at = stopped("to whom it is translated is not known", "不知道被转换到哪个地址");
            let trail = Trail { is_exact: false, ..trail };
            return vec![self.hopped(walk, tracer, trail, explained, oif, at)];
        };
        // What was sent elsewhere by a rule of `output` was routed once more.
        let hop = match hop.filter(|hop| hop.device.is_none() || hop.device == oif) {
            Some(hop) => hop,
            None => {
                let asked = Routed { src: None, dst: to, iif: Some(0), mark: explained.after.mark };
                let hops = match self.host.network.way(asked) {
                    Route::Known { hops, .. } => hops,
                    Route::Unknown => Vec::new(),
                };
                let found = hops.into_iter().find(|hop| hop.device == oif);
                found.unwrap_or(Hop { device: oif, via: None })
            }
        };
        let Some(interface) = hop.device.or(oif).map(device_name) else {
            let at = stopped(
                format!("by which interface {} sends it is not known", self.name),
                format!("不知道 {} 从哪个接口发送", self.name),
            );
            let trail = Trail { is_exact: false, ..trail };
            return vec![self.hopped(walk, tracer, trail, explained, oif, at)];
        };
        let port = Port { host: self.name.clone(), interface: interface.clone() };
        let left = self.hopped(
            walk,
            tracer,
            trail,
            explained,
            device(&interface),
            At::In(self.name.clone()),
        );
        let Some(wire) = walk.wires.at(&port) else {
            let at = stopped(
                format!("{interface} of {} leads nowhere that is known", self.name),
                format!("不知道 {} 的 {interface} 通往何处", self.name),
            );
            return vec![Trail { at, ..left }];
        };
        let next = match hop.via {
            None => walk.receivers(wire, to, Some(&port)),
            Some(router) => {
                let owners = walk.wires.owners(wire, router);
                let routers = owners.filter(|other| other.host != *self.name);
                let routers: Vec<At> = routers.map(|port| At::Port(port.clone())).collect();
                if routers.is_empty() {
                    let text = Text::new(
                        format!(
                            "{} sends it out by {interface}, to router {router}, which no known host is",
                            self.name
                        ),
                        format!(
                            "{} 从 {interface} 将其发往路由器 {router}，该路由器不在已知主机之列",
                            self.name
                        ),
                    );
                    // Whoever answers comes back by the same line.
                    let last = Some(Box::new(At::Port(port.clone())));
                    vec![At::End { arrives: true, text, last }]
                } else {
                    routers
                }
            }
        };
        let mut left = left;
        if !next.iter().all(|at| walk.surely_hears(wire, &port, at)) {
            left.is_exact = false;
            if let Some(hop) = left.hops.last_mut() {
                Certainty::May.name().clone_into(&mut hop.certainty);
                hop.reasons.push(format!("a bridge filters on the wire of {interface}"));
            }
        }
        fork(&left, next)
    }

    /// A packet that ends in this host by a rule.
    fn ended(
        &self,
        walk: &Walk<'_>,
        tracer: &Tracer<'_>,
        trail: Trail,
        explained: &Explained,
    ) -> Trail {
        let (en, zh) = match explained.answer.verdict {
            Verdict::Reject => ("rejects it", "拒绝该报文"),
            Verdict::Drop | Verdict::Accept => ("drops it", "丢弃该报文"),
        };
        let at = stopped(format!("{} {en}", self.name), format!("{} {zh}", self.name));
        self.hopped(walk, tracer, trail, explained, None, at)
    }

    /// The way with this host on it.
    fn hopped(
        &self,
        walk: &Walk<'_>,
        tracer: &Tracer<'_>,
        trail: Trail,
        explained: &Explained,
        oif: Option<u128>,
        at: At,
    ) -> Trail {
        let Answer { verdict, certainty, by, reasons } = &explained.answer;
        let mut reasons = reasons.clone();
        reasons.extend(self.host.unread.iter().cloned());
        let certainty = if reasons.is_empty() { *certainty } else { Certainty::May };
        let passed = *verdict == Verdict::Accept;
        let ends = if passed { explained.after.ends } else { trail.ends };
        let tracks = tracer.may_track(trail.ends.dst.is_some_and(|dst| dst.is_ipv6()));
        let mut trail = trail;
        trail.hops.push(Hopped {
            host: self.name.clone(),
            iif: self.interface.map(ToOwned::to_owned),
            oif: oif.map(device_name),
            packet: walk.words(trail.ends),
            changed: (ends != trail.ends).then(|| walk.words(ends)),
            state: tracks.then(|| self.state.name().to_owned()),
            verdict: verdict.name().to_owned(),
            certainty: certainty.name().to_owned(),
            reasons,
            by: decides(tracer, &explained.events, *by),
        });
        if let Some(began) = explained.after.began.filter(|_| passed) {
            trail.began.push((self.name.clone(), began));
        }
        let is_exact = trail.is_exact && certainty == Certainty::Exact;
        Trail { at, ends, is_exact, ..trail }
    }
}

fn no_route(host: &HostName, to: IpAddr) -> At {
    stopped(format!("{host} has no route to {to}"), format!("{host} 没有到 {to} 的路由"))
}

/// The rules and policies that decided something, in order.
fn decides(tracer: &Tracer<'_>, events: &[Event], by: By) -> Vec<Decides> {
    let mut all = Vec::new();
    for event in events {
        let table = tracer.ruleset().table(event.at);
        let told = Decides {
            hook: event.hook.name().to_owned(),
            family: table.family.name().to_owned(),
            table: table.name.clone(),
            chain: tracer.ruleset().chain(event.at).name.clone(),
            rule: None,
            policy: None,
            handle: None,
            line: None,
            comment: None,
        };
        match event.what {
            Happened::Changed { .. } => {}
            Happened::Policy { accepts } => {
                let policy = if accepts { "accept" } else { "drop" };
                all.push(Decides { policy: Some(policy.to_owned()), ..told });
            }
            Happened::Rule(place) => {
                let rule = tracer.rule(event.at, place);
                let ends = by == By::Rule(event.at, place);
                if !ends && rule.statements.last().is_some_and(only_leads_on) {
                    continue;
                }
                let (handle, line) = rule.origin.place.parts();
                all.push(Decides {
                    rule: Some(rule.origin.text.clone()),
                    handle,
                    line,
                    comment: rule.origin.comment.clone(),
                    ..told
                });
            }
        }
    }
    all
}

/// Whether a rule only says which rule is asked next.
fn only_leads_on(last: &Statement) -> bool {
    match last {
        Statement::Verdict(verdict) => match verdict {
            Ruled::Jump(_) | Ruled::Goto(_) | Ruled::Return | Ruled::Continue => true,
            Ruled::Accept | Ruled::Drop | Ruled::Reject | Ruled::Queue => false,
        },
        Statement::Match(_)
        | Statement::VerdictMap { .. }
        | Statement::Set { .. }
        | Statement::Nat(_)
        | Statement::Notrack
        | Statement::Offload
        | Statement::Unknown { .. } => false,
    }
}
