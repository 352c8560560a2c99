//! Addresses and routes of one host, as ip(8) prints them, as text or as JSON.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::field::{device, kind};
use super::interval::{Interval, Intervals};
use super::packet::mac;

/// Addresses at most.
pub const MAX_ADDRESSES: usize = 100_000;
/// Routes at most: twice what the whole Internet has.
pub const MAX_ROUTES: usize = 2_000_000;
/// Policy rules at most.
pub const MAX_POLICY_RULES: usize = 10_000;

/// The main table (`RT_TABLE_MAIN`).
pub const MAIN: u32 = 254;
/// The default table (`RT_TABLE_DEFAULT`).
pub const DEFAULT: u32 = 253;
/// The table of the host's own addresses (`RT_TABLE_LOCAL`).
pub const LOCAL: u32 = 255;

/// What is known of a host's interfaces, addresses and routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Its interfaces with their addresses; none where they are not known.
    pub interfaces: Option<Vec<Interface>>,
    /// Its routes by table; none where they are not known.
    pub routes: Option<BTreeMap<u32, Table>>,
    /// Which table is asked when; none where they are as a kernel begins.
    pub rules: Option<Vec<PolicyRule>>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as [`super::field::Field::InputDevice`] has it.
    pub device: u128,
    /// Its number, where it is printed.
    pub number: Option<u32>,
    /// Whether it is up; the addresses of one that is down are not the host's.
    pub up: bool,
    /// Its group; none where only its name is known.
    pub group: Option<u32>,
    /// Its hardware type (`ARPHRD_*`), where that is one of the common ones.
    pub hardware: Option<u16>,
    /// Its own hardware address.
    pub mac: Option<u128>,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

impl Interface {
    /// One that is up and of which only name and addresses are known.
    #[must_use]
    pub const fn named(device: u128, addresses: Vec<Address>) -> Self {
        Self { device, number: None, up: true, group: None, hardware: None, mac: None, addresses }
    }
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// The network it is in, where the interface reaches one.
    pub network: ipnet::IpNet,
    /// Where frames to all of the network go.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether only this interface's segment knows it.
    pub link_only: bool,
    /// Whether it is a second address of a network: masquerading takes the first.
    pub secondary: bool,
}

impl Address {
    /// One of which nothing else is known.
    #[must_use]
    pub const fn within(network: ipnet::IpNet, address: IpAddr) -> Self {
        Self { address, network, broadcast: None, link_only: false, secondary: false }
    }
}

/// A routing table: by version, length of the prefix and the prefix itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    routes: BTreeMap<(bool, u8, u128), Vec<Route>>,
}

/// Where packets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// To whom.
    pub to: ipnet::IpNet,
    /// What becomes of them, as [`kind`]; `THROW` asks the next rule.
    pub kind: u128,
    /// By which ways, one or several between which the kernel chooses.
    pub hops: Vec<Hop>,
    /// Smaller is better.
    pub metric: u32,
    /// What this host's own packets have as source address.
    pub source: Option<IpAddr>,
}

impl Route {
    /// One without a metric and without a source of its own.
    #[must_use]
    pub const fn plain(to: ipnet::IpNet, kind: u128, hops: Vec<Hop>) -> Self {
        Self { to, kind, hops, metric: 0, source: None }
    }
}

/// One way of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The interface it goes out by.
    pub device: Option<u128>,
    /// The router; none where the receiver is on the segment.
    pub via: Option<IpAddr>,
}

/// `RTN_THROW`: the table says nothing.
pub const THROW: u128 = 9;

/// Which table is asked (ip-rule(8)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// Smaller is asked earlier.
    pub priority: u32,
    /// Whether it is for IPv6; text does not say, and such a rule is for both.
    pub v6: Option<bool>,
    /// Turned round.
    pub not: bool,
    /// Sources.
    pub from: Option<ipnet::IpNet>,
    /// Destinations.
    pub to: Option<ipnet::IpNet>,
    /// The interface it comes in by.
    pub iif: Option<u128>,
    /// The interface that the sender is bound to.
    pub oif: Option<u128>,
    /// Value and mask of the packet's mark.
    pub mark: Option<(u32, u32)>,
    /// What it does.
    pub action: Action,
    /// Conditions that are not understood.
    pub unsure: bool,
}

/// What a policy rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Asks this table.
    Look(u32),
    /// Ends, as [`kind`] says.
    End(u128),
    /// Goes on, or something that is not understood.
    Unknown,
}

/// A file that is not what ip(8) prints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIp {
    /// A line that is not understood.
    #[error("line {line}: {what}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and what next.
        what: String,
    },
    /// It is too much.
    #[error("more than {most} {what}: the file is refused")]
    TooMany {
        /// The bound.
        most: usize,
        /// Of what.
        what: &'static str,
    },
}

fn wrong(line: usize, what: impl Into<String>) -> NotIp {
    NotIp::Line { line, what: what.into() }
}

/// The question where a packet goes.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Its source, where it is known.
    pub src: Option<IpAddr>,
    /// Its destination.
    pub dst: IpAddr,
    /// The interface it came in by; zero for this host's own.
    pub iif: Option<u128>,
    /// Its mark.
    pub mark: Option<u32>,
}

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// So, by one of these hops.
    Known {
        /// What becomes of it, as [`kind`].
        kind: u128,
        /// By which ways.
        hops: Vec<Hop>,
    },
    /// Nothing that is known tells.
    Unknown,
}

impl Network {
    /// The interfaces that are up.
    pub fn up(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().flatten().filter(|one| one.up)
    }

    /// Whether an address is the host's own; none where its addresses are not known.
    #[must_use]
    pub fn is_local(&self, address: IpAddr) -> Option<bool> {
        let loopback = match address {
            IpAddr::V4(v4) => v4.is_loopback(),
            IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
        };
        if loopback {
            return Some(true);
        }
        let interfaces = self.interfaces.as_ref()?;
        Some(own(interfaces).any(|one| one.address == address))
    }

    /// The networks whose addresses the host answers for: each address of an interface that is up, and what
    /// a route of type `local` in the table of that name gives it (ip-route(8)). Loopback is not among them.
    pub fn answers_for(&self) -> impl Iterator<Item = ipnet::IpNet> + '_ {
        let addresses = own(self.interfaces.as_deref().unwrap_or_default());
        let local = self.routes.as_ref().and_then(|tables| tables.get(&LOCAL));
        let given = local.into_iter().flat_map(Table::iter).filter(|one| one.kind == kind::LOCAL);
        addresses
            .map(|one| ipnet::IpNet::from(one.address))
            .chain(given.map(|route| route.to))
            .filter(|net| !net.addr().is_loopback())
    }

    /// What an address is to the host, as the kernel's `fib ... type` answers: one of these values
    /// of [`kind`].
    #[must_use]
    pub fn kinds_of(&self, address: IpAddr) -> Intervals {
        match address {
            IpAddr::V4(v4) => self.kinds_of_v4(v4),
            IpAddr::V6(v6) => self.kinds_of_v6(v6),
        }
    }

    /// `__inet_dev_addr_type`: only the local table counts.
    fn kinds_of_v4(&self, address: Ipv4Addr) -> Intervals {
        if address.octets()[0] == 0 || address.is_broadcast() {
            return Intervals::one(kind::BROADCAST);
        }
        if address.is_multicast() {
            return Intervals::one(kind::MULTICAST);
        }
        match self.is_local(IpAddr::V4(address)) {
            Some(true) => return Intervals::one(kind::LOCAL),
            None => return some_of(&[kind::UNICAST, kind::LOCAL, kind::BROADCAST]),
            Some(false) => {}
        }
        let all = own(self.interfaces.as_deref().unwrap_or_default());
        for one in all {
            let ipnet::IpNet::V4(network) = one.network else { continue };
            let broadcast = network.prefix_len() < 31 && network.broadcast() == address;
            if broadcast || one.broadcast == Some(address) {
                return Intervals::one(kind::BROADCAST);
            }
            // Kernels before 5.14 took the network's own address for a broadcast too.
            if network.prefix_len() < 31 && network.network() == address {
                return some_of(&[kind::UNICAST, kind::BROADCAST]);
            }
        }
        Intervals::one(kind::UNICAST)
    }

    /// `nft_fib6_eval_type`: the whole of routing counts.
    fn kinds_of_v6(&self, address: Ipv6Addr) -> Intervals {
        let others = || (0..=12).filter(|kind| *kind != kind::LOCAL).map(Interval::one).collect();
        match self.is_local(IpAddr::V6(address)) {
            Some(true) => return Intervals::one(kind::LOCAL),
            None => return (0..=12).map(Interval::one).collect(),
            Some(false) => {}
        }
        let asked = Asked { src: None, dst: address.into(), iif: None, mark: None };
        let anycast = own(self.interfaces.as_deref().unwrap_or_default())
            .any(|one| one.network.network() == IpAddr::V6(address));
        match self.way(asked) {
            Way::Known { kind: kind::UNICAST, .. } if !anycast && !address.is_multicast() => {
                Intervals::one(kind::UNICAST)
            }
            Way::Known { .. } | Way::Unknown => others(),
        }
    }

    /// Where a packet goes.
    #[must_use]
    pub fn way(&self, asked: Asked) -> Way {
        if self.is_local(asked.dst) == Some(true) {
            return Way::Known { kind: kind::LOCAL, hops: Vec::new() };
        }
        let Some(tables) = &self.routes else { return Way::Unknown };
        let v6 = asked.dst.is_ipv6();
        let Some(rules) = &self.rules else {
            for table in [LOCAL, MAIN, DEFAULT] {
                if let Some(way) = tables.get(&table).and_then(|table| table.way(asked.dst)) {
                    return way;
                }
            }
            return Way::Known { kind: kind::UNREACHABLE, hops: Vec::new() };
        };
        for rule in rules.iter().filter(|rule| rule.v6.is_none_or(|of| of == v6)) {
            match (rule.is_for(asked), rule.action) {
                (Some(false), _) => {}
                (Some(true), Action::Look(table)) => {
                    if let Some(way) = tables.get(&table).and_then(|table| table.way(asked.dst)) {
                        return way;
                    }
                }
                (Some(true), Action::End(kind)) => return Way::Known { kind, hops: Vec::new() },
                (None, _) | (Some(true), Action::Unknown) => return Way::Unknown,
            }
        }
        Way::Known { kind: kind::UNREACHABLE, hops: Vec::new() }
    }

    /// Takes what `ip address` printed, as text or as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn add_addresses(&mut self, text: &str) -> Result<(), NotIp> {
        let read = match json(text)? {
            Some(list) => interfaces_json(&list)?,
            None => interfaces_text(text)?,
        };
        let all = self.interfaces.get_or_insert_default();
        for one in read {
            match all.iter_mut().find(|known| known.device == one.device) {
                Some(known) => known.addresses.extend(one.addresses),
                None => all.push(one),
            }
        }
        if all.iter().map(|one| one.addresses.len() + 1).sum::<usize>() > MAX_ADDRESSES {
            return Err(NotIp::TooMany { most: MAX_ADDRESSES, what: "addresses" });
        }
        Ok(())
    }

    /// Takes what `ip route`, `ip -6 route` or `ip rule` printed, as text or as JSON.
    ///
    /// # Errors
    /// When it is something else.
    pub fn add_routes(&mut self, text: &str) -> Result<(), NotIp> {
        if let Some(list) = json(text)? {
            for (place, one) in list.iter().enumerate() {
                if one.get("priority").is_some() {
                    self.rules.get_or_insert_default().push(rule_json(one));
                } else {
                    self.route(route_json(one).map_err(|what| wrong(place + 1, what))?)?;
                }
            }
        } else {
            self.routes_text(text)?;
        }
        let rules = self.rules.as_mut().map_or(0, |rules| {
            rules.sort_by_key(|rule| rule.priority);
            rules.len()
        });
        if rules > MAX_POLICY_RULES {
            return Err(NotIp::TooMany { most: MAX_POLICY_RULES, what: "policy rules" });
        }
        Ok(())
    }

    fn route(&mut self, (table, route): (u32, Route)) -> Result<(), NotIp> {
        let tables = self.routes.get_or_insert_default();
        tables.entry(table).or_default().add(route);
        if tables.values().map(|table| table.routes.len()).sum::<usize>() > MAX_ROUTES {
            return Err(NotIp::TooMany { most: MAX_ROUTES, what: "routes" });
        }
        Ok(())
    }

    fn routes_text(&mut self, text: &str) -> Result<(), NotIp> {
        // A file without a route is one of a host without routes.
        if self.rules.is_none() {
            self.routes.get_or_insert_default();
        }
        let mut several: Option<(u32, Route)> = None;
        for (place, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [first, rest @ ..] = words.as_slice() else { continue };
            if let Some(priority) = first.strip_suffix(':').and_then(|text| text.parse().ok()) {
                self.rules.get_or_insert_default().push(rule_text(priority, rest));
                continue;
            }
            if *first == "nexthop" {
                let Some((_, route)) = several.as_mut() else {
                    return Err(wrong(place + 1, "a nexthop without its route before it"));
                };
                route.hops.push(hop_text(rest));
                continue;
            }
            if let Some(before) = several.take() {
                self.route(before)?;
            }
            let read = route_text(&words).ok_or_else(|| {
                wrong(
                    place + 1,
                    "not a line of `ip route` or `ip rule`; give their output as it is",
                )
            })?;
            if read.1.hops.is_empty() {
                several = Some(read);
            } else {
                self.route(read)?;
            }
        }
        several.map_or(Ok(()), |last| self.route(last))
    }
}

/// Addresses of interfaces that are up.
fn own(interfaces: &[Interface]) -> impl Iterator<Item = &Address> {
    interfaces.iter().filter(|one| one.up).flat_map(|one| &one.addresses)
}

fn some_of(kinds: &[u128]) -> Intervals {
    kinds.iter().map(|kind| Interval::one(*kind)).collect()
}

impl Table {
    /// Adds a route. Of several to one network that with the smallest metric is taken.
    pub fn add(&mut self, route: Route) {
        let bits = if route.to.addr().is_ipv6() { 128 } else { 32 };
        let value = super::field::address(route.to.network());
        let key = (bits == 128, route.to.prefix_len(), value);
        let all = self.routes.entry(key).or_default();
        all.push(route);
        all.sort_by_key(|route| route.metric);
    }

    /// Every route.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flatten()
    }

    /// What the table says of a destination; none where it says nothing.
    fn way(&self, dst: IpAddr) -> Option<Way> {
        let (v6, bits) = if dst.is_ipv6() { (true, 128_u8) } else { (false, 32) };
        let value = super::field::address(dst);
        for length in (0..=bits).rev() {
            let network = Interval::prefix(value, u32::from(length), u32::from(bits))?.first;
            let found = self.routes.get(&(v6, length, network)).and_then(|all| all.first());
            if let Some(route) = found {
                if route.kind == THROW {
                    return None;
                }
                return Some(Way::Known { kind: route.kind, hops: route.hops.clone() });
            }
        }
        None
    }
}

impl PolicyRule {
    /// Whether it is asked; none where that is not known.
    fn is_for(&self, asked: Asked) -> Option<bool> {
        let address = |wanted: Option<ipnet::IpNet>, is: Option<IpAddr>| match (wanted, is) {
            (None, _) => Some(true),
            (Some(net), _) if net.addr().is_ipv6() != asked.dst.is_ipv6() => Some(false),
            (Some(net), Some(is)) => Some(net.contains(&is)),
            (Some(_), None) => None,
        };
        let mark = match (self.mark, asked.mark) {
            (None, _) => Some(true),
            (Some((value, mask)), Some(is)) => Some(is & mask == value & mask),
            (Some(_), None) => None,
        };
        let iif = match (self.iif, asked.iif) {
            (None, _) => Some(true),
            (Some(wanted), Some(is)) => Some(wanted == is),
            (Some(_), None) => None,
        };
        // What a forwarded packet's sender was bound to is of no interest here.
        let oif = if self.oif.is_some() { Some(false) } else { Some(true) };
        let all = [
            address(self.from, asked.src),
            address(self.to, Some(asked.dst)),
            iif,
            oif,
            mark,
            if self.unsure { None } else { Some(true) },
        ];
        let together = if all.contains(&Some(false)) {
            Some(false)
        } else if all.contains(&None) {
            None
        } else {
            Some(true)
        };
        together.map(|is| is != self.not)
    }
}

/// The objects of a file that is JSON.
fn json(text: &str) -> Result<Option<Vec<Value>>, NotIp> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let list: Vec<Value> = serde_json::from_str(text).map_err(|error| {
        wrong(error.line(), format!("not JSON: {error}; give the output of `ip -j` as it is"))
    })?;
    // Older versions of ip print empty objects for what they leave out.
    Ok(Some(list.into_iter().filter(|one| one.as_object().is_none_or(|o| !o.is_empty())).collect()))
}

fn group(name: &str) -> Option<u32> {
    if name == "default" { Some(0) } else { name.parse().ok() }
}

/// Hardware types by the names of ip(8) (`ll_types.c`), numbers of `if_arp.h`.
fn hardware(name: &str) -> Option<u16> {
    match name {
        "ether" => Some(1),
        "ppp" => Some(512),
        "ipip" => Some(768),
        "loopback" => Some(772),
        "sit" => Some(776),
        "gre" => Some(778),
        "none" => Some(65_534),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn interfaces_json(list: &[Value]) -> Result<Vec<Interface>, NotIp> {
    let mut all = Vec::new();
    for (place, one) in list.iter().enumerate() {
        let Some(device) = one["ifname"].as_str().and_then(device) else {
            let what = "an object without ifname; give the output of `ip -j addr` as it is";
            return Err(wrong(place + 1, what));
        };
        let flag = |name: &str| {
            let flags = one["flags"].as_array();
            flags.is_none_or(|flags| flags.iter().any(|flag| flag == name))
        };
        let mut addresses = Vec::new();
        for info in one["addr_info"].as_array().into_iter().flatten() {
            let ip = |name: &str| info[name].as_str().and_then(|text| text.parse::<IpAddr>().ok());
            let length = info["prefixlen"].as_u64().and_then(|length| u8::try_from(length).ok());
            let (Some(address), Some(length)) = (ip("local"), length) else { continue };
            let far = ip("address").unwrap_or(address);
            let Ok(network) = ipnet::IpNet::new(far, length) else { continue };
            let broadcast = info["broadcast"].as_str().and_then(|text| text.parse().ok());
            let link_only = info["scope"] == "link";
            let secondary = info["secondary"] == true;
            addresses.push(Address { address, network, broadcast, link_only, secondary });
        }
        all.push(Interface {
            device,
            number: number(&one["ifindex"]),
            up: flag("UP"),
            group: one["group"].as_str().and_then(group),
            hardware: one["link_type"].as_str().and_then(hardware),
            mac: one["address"].as_str().and_then(mac),
            addresses,
        });
    }
    Ok(all)
}

fn interfaces_text(text: &str) -> Result<Vec<Interface>, NotIp> {
    let mut all: Vec<Interface> = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        let head = first.strip_suffix(':').and_then(|number| number.parse::<u32>().ok());
        if let Some(number) = head.filter(|_| !line.starts_with(' ')) {
            let name = words.get(1).map(|name| name.trim_end_matches(':'));
            let name = name.map(|name| name.split_once('@').map_or(name, |(name, _)| name));
            let Some(device) = name.and_then(device) else {
                return Err(wrong(place + 1, "an interface without a name of 1 to 15 octets"));
            };
            // `ip -o` prints one line for each address, and no flags.
            let short = matches!(words.get(2), Some(&("inet" | "inet6")));
            let flags = words.get(2).filter(|_| !short).map(|flags| flags.trim_matches(['<', '>']));
            let up = flags.is_none_or(|flags| flags.split(',').any(|flag| flag == "UP"));
            let after = |name: &str| words.windows(2).find(|two| two[0] == name).map(|two| two[1]);
            if all.iter().all(|known| known.device != device) {
                all.push(Interface {
                    device,
                    number: Some(number),
                    up,
                    group: after("group").and_then(group),
                    hardware: None,
                    mac: None,
                    addresses: Vec::new(),
                });
            }
            if !short {
                continue;
            }
            words.drain(..2);
        }
        let Some(last) = all.last_mut() else {
            let what = "not the beginning of what `ip addr` prints; give its output as it is";
            return Err(wrong(place + 1, what));
        };
        match words.as_slice() {
            [link, rest @ ..] if link.starts_with("link/") => {
                last.hardware = hardware(&link[5..]);
                last.mac = rest.first().and_then(|text| mac(text));
            }
            ["inet" | "inet6", address, rest @ ..] => {
                let read = address_text(address, rest).ok_or_else(|| {
                    wrong(place + 1, format!("{address} is not an address with its prefix"))
                })?;
                last.addresses.push(read);
            }
            // Lifetimes and the like.
            _ => {}
        }
    }
    Ok(all)
}

fn address_text(address: &str, rest: &[&str]) -> Option<Address> {
    let after = |name: &str| rest.windows(2).find(|two| two[0] == name).map(|two| two[1]);
    let (address, length) = match address.split_once('/') {
        Some((address, length)) => (address.parse::<IpAddr>().ok()?, length.parse().ok()?),
        None => {
            let address = address.parse::<IpAddr>().ok()?;
            (address, if address.is_ipv4() { 32 } else { 128 })
        }
    };
    let network = match after("peer") {
        Some(peer) => peer.parse().ok()?,
        None => ipnet::IpNet::new(address, length).ok()?,
    };
    Some(Address {
        address,
        network,
        broadcast: after("brd").and_then(|text| text.parse().ok()),
        link_only: after("scope") == Some("link"),
        secondary: rest.contains(&"secondary"),
    })
}

fn route_kind(name: &str) -> Option<u128> {
    Some(match name {
        "unicast" => kind::UNICAST,
        "local" => kind::LOCAL,
        "broadcast" => kind::BROADCAST,
        "anycast" => 4,
        "multicast" => kind::MULTICAST,
        "blackhole" => kind::BLACKHOLE,
        "unreachable" => kind::UNREACHABLE,
        "prohibit" => kind::PROHIBIT,
        "throw" => THROW,
        _ => return None,
    })
}

/// A table by the names that every host has, or by its number.
fn table(name: &str) -> Option<u32> {
    match name {
        "local" => Some(LOCAL),
        "main" => Some(MAIN),
        "default" => Some(DEFAULT),
        number => number.parse().ok(),
    }
}

/// A network; `default` is that of the other address, or IPv4.
fn destination(text: &str, v6: bool) -> Option<ipnet::IpNet> {
    if matches!(text, "default" | "all") {
        let any: IpAddr =
            if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        return ipnet::IpNet::new(any, 0).ok();
    }
    match text.parse::<ipnet::IpNet>() {
        Ok(network) => Some(network),
        Err(_) => text.parse::<IpAddr>().ok().map(ipnet::IpNet::from),
    }
}

fn hop_text(words: &[&str]) -> Hop {
    let after = |name: &str| words.windows(2).find(|two| two[0] == name).map(|two| two[1]);
    let via = match after("via") {
        Some("inet" | "inet6") => words.iter().find_map(|word| word.parse().ok()),
        other => other.and_then(|text| text.parse().ok()),
    };
    Hop { device: after("dev").and_then(device), via }
}

fn route_text(words: &[&str]) -> Option<(u32, Route)> {
    let (kind, words) = match words {
        [first, rest @ ..] => match route_kind(first) {
            Some(kind) => (kind, rest),
            None => (kind::UNICAST, words),
        },
        [] => return None,
    };
    let (to, rest) = words.split_first()?;
    let after = |name: &str| rest.windows(2).find(|two| two[0] == name).map(|two| two[1]);
    let hop = hop_text(rest);
    let source: Option<IpAddr> = after("src").and_then(|text| text.parse().ok());
    let v6 = source.or(hop.via).is_some_and(|address| address.is_ipv6());
    let to = destination(to, v6 || after("pref").is_some())?;
    let ends = matches!(kind, kind::BLACKHOLE | kind::UNREACHABLE | kind::PROHIBIT | THROW);
    let hops = if hop.device.is_some() || hop.via.is_some() || ends { vec![hop] } else { vec![] };
    let metric = after("metric").and_then(|text| text.parse().ok()).unwrap_or(0);
    let of_kind = if matches!(kind, kind::LOCAL | kind::BROADCAST) { LOCAL } else { MAIN };
    // A table whose name only this host knows is kept apart from all that a rule may ask.
    let table = after("table").map_or(of_kind, |name| table(name).unwrap_or(0));
    Some((table, Route { to, kind, hops, metric, source }))
}

fn route_json(one: &Value) -> Result<(u32, Route), String> {
    let text = |name: &str| one[name].as_str();
    let ip = |value: &Value| value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
    let kind = text("type").and_then(route_kind).unwrap_or(kind::UNICAST);
    let hop = |one: &Value| Hop {
        device: one["dev"].as_str().and_then(device),
        via: ip(&one["gateway"]).or_else(|| ip(&one["via"]["host"])),
    };
    let hops: Vec<Hop> = match one["nexthops"].as_array() {
        Some(several) => several.iter().map(hop).collect(),
        None => vec![hop(one)],
    };
    let source = ip(&one["prefsrc"]);
    let near = source.or_else(|| hops.first().and_then(|hop| hop.via));
    // Only `ip -6 route` tells a preference (RFC 4191).
    let v6 = near.is_some_and(|address| address.is_ipv6()) || text("pref").is_some();
    let to = text("dst").and_then(|dst| destination(dst, v6));
    let to = to.ok_or("an object without dst; give the output of `ip -j route` as it is")?;
    let metric = number(&one["metric"]).unwrap_or(0);
    let of_kind = if matches!(kind, kind::LOCAL | kind::BROADCAST) { LOCAL } else { MAIN };
    let table = match &one["table"] {
        Value::String(name) => table(name).unwrap_or(0),
        other => number(other).unwrap_or(of_kind),
    };
    Ok((table, Route { to, kind, hops, metric, source }))
}

/// `0x1` or `0x1/0xff`.
fn mark(text: &str) -> Option<(u32, u32)> {
    let read = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match text.split_once('/') {
        Some((value, mask)) => Some((read(value)?, read(mask)?)),
        None => Some((read(text)?, u32::MAX)),
    }
}

fn rule_text(priority: u32, words: &[&str]) -> PolicyRule {
    let mut rule = PolicyRule {
        priority,
        v6: None,
        not: false,
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        action: Action::Unknown,
        unsure: false,
    };
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_default();
        match word {
            "not" => rule.not = true,
            "from" => match next() {
                "all" => {}
                other => match destination(other, false) {
                    Some(source) => rule.from = Some(source),
                    None => rule.unsure = true,
                },
            },
            "to" => match destination(next(), false) {
                Some(wanted) => rule.to = Some(wanted),
                None => rule.unsure = true,
            },
            "iif" => rule.iif = Some(own_or_device(next())),
            "oif" => rule.oif = Some(own_or_device(next())),
            "fwmark" => match mark(next()) {
                Some(mark) => rule.mark = Some(mark),
                None => rule.unsure = true,
            },
            "lookup" | "table" => {
                rule.action = table(next()).map_or(Action::Unknown, Action::Look);
            }
            "blackhole" | "unreachable" | "prohibit" => {
                rule.action = route_kind(word).map_or(Action::Unknown, Action::End);
            }
            // The detached mark of an interface that is gone, and who made the rule.
            "[detached]" => {}
            "proto" | "protocol" => {
                next();
            }
            _ => rule.unsure = true,
        }
    }
    rule
}

fn rule_json(one: &Value) -> PolicyRule {
    let text = |name: &str| one[name].as_str();
    let net = |name: &str, length: &str| {
        let address: IpAddr = text(name)?.parse().ok()?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let length =
            one[length].as_u64().map_or(Some(whole), |length| u8::try_from(length).ok())?;
        ipnet::IpNet::new(address, length).ok()
    };
    let known = [
        "priority", "not", "src", "srclen", "dst", "dstlen", "iif", "oif", "fwmark", "fwmask",
        "table", "action", "protocol",
    ];
    let given = |name: &str| text(name).is_some_and(|text| text != "all");
    let (from, to) = (net("src", "srclen"), net("dst", "dstlen"));
    let value = text("fwmark").and_then(mark).map(|(value, mask)| {
        let mask = text("fwmask").and_then(mark_mask).unwrap_or(mask);
        (value, mask)
    });
    let action = match (text("action").and_then(route_kind), text("table")) {
        (Some(end), _) => Action::End(end),
        (None, Some(name)) => table(name).map_or(Action::Unknown, Action::Look),
        (None, None) => Action::Unknown,
    };
    PolicyRule {
        priority: number(&one["priority"]).unwrap_or(0),
        v6: None,
        not: one.get("not").is_some(),
        from,
        to,
        iif: text("iif").map(own_or_device),
        oif: text("oif").map(own_or_device),
        mark: value,
        action,
        unsure: (given("src") && from.is_none())
            || (given("dst") && to.is_none())
            || (given("fwmark") && value.is_none())
            || one.as_object().is_some_and(|all| all.keys().any(|name| !known.contains(&&**name))),
    }
}

/// The interface that a policy rule names. A host's own packets come by `lo`, and by none in the model; by
/// a name that is longer than Linux gives, none come.
pub(crate) fn own_or_device(name: &str) -> u128 {
    if name == "lo" { 0 } else { device(name).unwrap_or(u128::MAX) }
}

fn mark_mask(text: &str) -> Option<u32> {
    mark(text).map(|(value, _)| value)
}
