//! The policy file as it is written, and the way from there to a [`Policy`] that cannot be wrong.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{HostEntry, MAX_NETWORKS, MAX_ZONES, Policy, Zone, counts};
use crate::name::{HostName, ZoneName};
use crate::yaml::{self, Problem, Problems, Source, Spanned};

/// The word for everything outside the site where a zone could stand.
const INTERNET: &str = "internet";
/// The longest name of a zone on screen, in characters.
const MAX_SHOWN_NAME: usize = 64;
/// The longest name of a service, exchange point or invariant, in octets.
const MAX_LABEL: usize = 63;
/// The most zones that a message lists.
const LISTED: usize = 8;

/// A port or a range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// First port.
    pub first: u16,
    /// Last port; the first one when it is only one.
    pub last: u16,
}

/// A text that names no ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a port; write 443 or 8000-8099, from 1 to 65535")]
pub struct NotPorts(String);

impl FromStr for Ports {
    type Err = NotPorts;
    fn from_str(text: &str) -> Result<Self, NotPorts> {
        let port = |text: &str| text.trim().parse().ok().filter(|&port: &u16| port > 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (_, _) => Err(NotPorts(text.chars().take(MAX_SHOWN_NAME).collect())),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl Serialize for Ports {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One kind of traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Its TCP ports.
    pub tcp: Vec<Ports>,
    /// Its UDP ports.
    pub udp: Vec<Ports>,
}

/// A zone, or everything outside the site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// A zone of the site.
    Zone(ZoneName),
    /// Everything outside the site; written `internet`.
    Internet,
}

/// A declared way between two zones (交换点).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExchangePoint {
    /// Where connections begin.
    pub from: Party,
    /// Where they lead.
    pub to: Party,
    /// The hosts that carry them.
    pub hosts: Vec<HostName>,
    /// The service that passes.
    pub service: String,
    /// Who answers for it.
    pub owner: Option<String>,
}

/// What may pass besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Where connections begin.
    pub from: Party,
    /// Where they lead.
    pub to: Party,
    /// The service that passes.
    pub service: String,
}

/// What must never be possible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invariant {
    /// No packet gets from the first to the second.
    pub never: (Party, Party),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    site: Spanned<String>,
    zones: Entries<WrittenZone>,
    #[serde(default)]
    services: Entries<Service>,
    #[serde(default)]
    exchange_points: Entries<WrittenExchangePoint>,
    #[serde(default)]
    flows: Vec<WrittenFlow>,
    #[serde(default)]
    invariants: Entries<WrittenInvariant>,
    #[serde(default)]
    hosts: Entries<WrittenHost>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenZone {
    #[serde(default)]
    name: Option<Spanned<String>>,
    networks: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenExchangePoint {
    from: Spanned<String>,
    to: Spanned<String>,
    hosts: Vec<Spanned<String>>,
    service: Spanned<String>,
    #[serde(default)]
    owner: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFlow {
    from: Spanned<String>,
    to: Spanned<String>,
    service: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenInvariant {
    never: (Spanned<String>, Spanned<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHost {
    zone: Spanned<String>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    #[serde(default)]
    forwards: bool,
}

/// A mapping whose keys keep their place in the file.
#[derive(Debug)]
struct Entries<T>(Vec<(Spanned<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping (name: {...})")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        input.deserialize_map(Reader(PhantomData))
    }
}

/// Reads a policy and collects everything that is wrong with it.
pub(super) fn read(file: &str, text: &str) -> Result<Policy, Problems> {
    let written: WrittenPolicy = yaml::parse(file, text)?;
    let mut reader = Reader { source: Source { file, text }, problems: Vec::new() };
    let policy = reader.policy(written);
    let mut problems = reader.problems;
    match policy {
        Some(policy) if problems.is_empty() => Ok(policy),
        Some(_) | None => {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            problems.truncate(yaml::MAX_PROBLEMS);
            Err(Problems(problems))
        }
    }
}

/// Collects problems, up to a bound. Its methods give `None` only after having noted why, or when
/// the bound is reached.
struct Reader<'a> {
    source: Source<'a>,
    problems: Vec<Problem>,
}

/// A network with where it was written.
struct PlacedNetwork<'a> {
    network: IpNet,
    zone: ZoneName,
    at: &'a Spanned<String>,
}

impl Reader<'_> {
    /// Whether more problems than anybody reads were found; the rest of the file is not looked at.
    fn is_full(&self) -> bool {
        self.problems.len() >= yaml::MAX_PROBLEMS
    }

    fn note<T>(&mut self, problem: Problem) -> Option<T> {
        self.problems.push(problem);
        None
    }

    fn named<T: FromStr<Err: fmt::Display>>(&mut self, name: &Spanned<String>) -> Option<T> {
        if self.is_full() {
            return None;
        }
        match name.value.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let problem = self.source.at(name, error.to_string());
                let lower = name.value.to_lowercase();
                let meant = (lower.parse::<T>().is_ok()).then_some(lower);
                self.note(match meant {
                    Some(meant) => problem.help(format!("write \"{meant}\"")),
                    None => problem,
                })
            }
        }
    }

    fn label(&mut self, name: &Spanned<String>) -> Option<String> {
        if self.is_full() {
            return None;
        }
        let text = &name.value;
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if !text.is_empty() && text.len() <= MAX_LABEL && text.bytes().all(fits) {
            return Some(text.clone());
        }
        let rule = format!("a name here is 1 to {MAX_LABEL} of A-Z, a-z, 0-9, -, _ and .");
        self.note(self.source.at(name, rule))
    }

    fn policy(&mut self, written: WrittenPolicy) -> Option<Policy> {
        let site = self.named(&written.site);
        let zones = self.zones(&written.zones);
        let hosts = self.hosts(&written.hosts, &zones);
        let mut services = BTreeMap::new();
        for (name, service) in written.services.0 {
            if service.tcp.is_empty() && service.udp.is_empty() {
                let problem = self.source.at(&name, "this service has no ports");
                self.problems.push(problem.help("add tcp: [443] or udp: [53]"));
            }
            if let Some(label) = self.label(&name) {
                services.insert(label, service);
            }
        }
        let exchange_points = written
            .exchange_points
            .0
            .iter()
            .filter_map(|(name, point)| {
                let label = self.label(name);
                let from = self.party(&point.from, &zones);
                let to = self.party(&point.to, &zones);
                let service = self.service(&point.service, &services);
                let known: Vec<Option<HostName>> =
                    point.hosts.iter().map(|host| self.known_host(host, &hosts)).collect();
                let point = ExchangePoint {
                    from: from?,
                    to: to?,
                    hosts: known.into_iter().collect::<Option<_>>()?,
                    service: service?,
                    owner: point.owner.clone(),
                };
                Some((label?, point))
            })
            .collect();
        let flows = written
            .flows
            .iter()
            .filter_map(|flow| {
                let from = self.party(&flow.from, &zones);
                let to = self.party(&flow.to, &zones);
                let service = self.service(&flow.service, &services);
                Some(Flow { from: from?, to: to?, service: service? })
            })
            .collect();
        let invariants = written
            .invariants
            .0
            .iter()
            .filter_map(|(name, invariant)| {
                let label = self.label(name);
                let from = self.party(&invariant.never.0, &zones);
                let to = self.party(&invariant.never.1, &zones);
                Some((label?, Invariant { never: (from?, to?) }))
            })
            .collect();
        Some(Policy { site: site?, zones, services, exchange_points, flows, invariants, hosts })
    }

    fn zones(&mut self, written: &Entries<WrittenZone>) -> BTreeMap<ZoneName, Zone> {
        let mut zones = BTreeMap::new();
        let mut placed = Vec::new();
        for (name, zone) in &written.0 {
            if self.is_full() {
                break;
            }
            if name.value == INTERNET {
                let problem = self.source.at(name, "\"internet\" stands for all that is no zone");
                self.problems.push(problem.help("give the zone another name"));
                continue;
            }
            if zones.len() == MAX_ZONES {
                self.problems.push(self.source.at(name, format!("more than {MAX_ZONES} zones")));
                break;
            }
            let shown = zone.name.as_ref().and_then(|shown| self.shown_name(shown));
            let networks: Vec<(IpNet, &Spanned<String>)> = zone
                .networks
                .iter()
                .take(MAX_NETWORKS)
                .filter_map(|network| Some((self.network(network)?, network)))
                .collect();
            let Some(name) = self.named::<ZoneName>(name) else {
                continue;
            };
            placed.extend(networks.iter().map(|&(network, at)| PlacedNetwork {
                network,
                zone: name.clone(),
                at,
            }));
            let networks = networks.into_iter().map(|(network, _)| network).collect();
            zones.insert(name, Zone { name: shown, networks });
        }
        if placed.len() > MAX_NETWORKS {
            let message = format!("more than {MAX_NETWORKS} networks in all zones together");
            self.problems.push(self.source.whole(message));
        }
        self.overlaps(placed);
        zones
    }

    fn shown_name(&mut self, shown: &Spanned<String>) -> Option<String> {
        let text = &shown.value;
        let length = text.chars().count();
        if (1..=MAX_SHOWN_NAME).contains(&length) && !text.chars().any(char::is_control) {
            return Some(text.clone());
        }
        let rule = format!("a name on screen is 1 to {MAX_SHOWN_NAME} characters in one line");
        self.note(self.source.at(shown, rule))
    }

    fn network(&mut self, written: &Spanned<String>) -> Option<IpNet> {
        if self.is_full() {
            return None;
        }
        let text = &written.value;
        if let Ok(network) = text.parse::<IpNet>() {
            if network != network.trunc() {
                let problem =
                    self.source.at(written, format!("{network} is an address inside a network"));
                return self.note(problem.help(format!("write {}", network.trunc())));
            }
            if network.prefix_len() > 0 && !counts(network.addr()) {
                return self.note(self.source.at(
                    written,
                    format!("{network} is loopback, link-local or multicast, which no zone holds"),
                ));
            }
            return Some(network);
        }
        let problem = self.source.at(written, format!("\"{text}\" is not a network"));
        self.note(match text.parse::<IpAddr>() {
            Ok(address) => problem.help(format!("write {}", IpNet::from(address))),
            Err(_) => problem.help("write it as 10.1.0.0/16 or \"fd00:1::/48\""),
        })
    }

    /// Networks of two zones that overlap, and networks that stand twice.
    fn overlaps(&mut self, mut placed: Vec<PlacedNetwork<'_>>) {
        placed.sort_by_key(|placed| {
            (placed.network.network(), placed.network.prefix_len(), placed.at.referenced.line())
        });
        // Networks that hold the one looked at, the widest first.
        let mut around: Vec<&PlacedNetwork<'_>> = Vec::new();
        for this in &placed {
            if self.is_full() {
                break;
            }
            while around.last().is_some_and(|outer| !outer.network.contains(&this.network)) {
                around.pop();
            }
            let other = around.iter().find(|outer| outer.zone != this.zone);
            let twice = around.last().filter(|outer| outer.network == this.network);
            if let Some(other) = other {
                let problem = self.source.at(
                    this.at,
                    format!(
                        "{} of zone \"{}\" overlaps {} of zone \"{}\" in line {}",
                        this.network,
                        this.zone,
                        other.network,
                        other.zone,
                        other.at.referenced.line()
                    ),
                );
                self.problems
                    .push(problem.help("an address is in one zone only: divide the networks"));
            } else if let Some(twice) = twice {
                let line = twice.at.referenced.line();
                let message = format!("{} stands already in line {line}", this.network);
                self.problems.push(self.source.at(this.at, message).help("remove one of them"));
            }
            around.push(this);
        }
    }

    fn zone(
        &mut self,
        written: &Spanned<String>,
        zones: &BTreeMap<ZoneName, Zone>,
    ) -> Option<ZoneName> {
        if let Some(zone) = zones.keys().find(|zone| zone.as_str() == written.value) {
            return Some(zone.clone());
        }
        if self.is_full() {
            return None;
        }
        let names = || zones.keys().map(ZoneName::as_str);
        let mut listed = names().take(LISTED).collect::<Vec<_>>().join(", ");
        if zones.len() > LISTED {
            listed.push_str(", ...");
        }
        let shown: String = written.value.chars().take(MAX_SHOWN_NAME).collect();
        let message = format!("zone \"{shown}\" is not defined (zones: {listed})");
        let problem = self.source.at(written, message).or_meant(&written.value, names());
        self.note(problem)
    }

    fn party(
        &mut self,
        written: &Spanned<String>,
        zones: &BTreeMap<ZoneName, Zone>,
    ) -> Option<Party> {
        if written.value == INTERNET {
            return Some(Party::Internet);
        }
        self.zone(written, zones).map(Party::Zone)
    }

    fn service(
        &mut self,
        written: &Spanned<String>,
        services: &BTreeMap<String, Service>,
    ) -> Option<String> {
        if services.contains_key(&written.value) {
            return Some(written.value.clone());
        }
        if self.is_full() {
            return None;
        }
        let shown: String = written.value.chars().take(MAX_SHOWN_NAME).collect();
        let problem = self.source.at(written, format!("service \"{shown}\" is not defined"));
        self.note(problem.or_meant(&written.value, services.keys().map(String::as_str)))
    }

    fn known_host(
        &mut self,
        written: &Spanned<String>,
        hosts: &BTreeMap<HostName, HostEntry>,
    ) -> Option<HostName> {
        let name: HostName = self.named(written)?;
        if hosts.contains_key(&name) {
            return Some(name);
        }
        let problem = self.source.at(written, format!("host \"{name}\" is not under \"hosts\""));
        self.note(problem.or_meant(name.as_str(), hosts.keys().map(HostName::as_str)))
    }

    fn hosts(
        &mut self,
        written: &Entries<WrittenHost>,
        zones: &BTreeMap<ZoneName, Zone>,
    ) -> BTreeMap<HostName, HostEntry> {
        let mut hosts = BTreeMap::new();
        let mut owners: HashMap<IpAddr, u64> = HashMap::new();
        for (name, host) in &written.0 {
            if self.is_full() {
                break;
            }
            let name: Option<HostName> = self.named(name);
            let zone = self.zone(&host.zone, zones);
            let mut addresses = Vec::new();
            for written in &host.addresses {
                if self.is_full() {
                    break;
                }
                let Some(address) = self.address(written, zone.as_ref(), zones) else {
                    continue;
                };
                let line = written.referenced.line();
                if let Some(first) = owners.insert(address, line) {
                    let message = format!("{address} stands already in line {first}");
                    self.problems.push(self.source.at(written, message));
                }
                addresses.push(address);
            }
            if let (Some(name), Some(zone)) = (name, zone) {
                hosts.insert(name, HostEntry { zone, addresses, forwards: host.forwards });
            }
        }
        hosts
    }

    fn address(
        &mut self,
        written: &Spanned<String>,
        zone: Option<&ZoneName>,
        zones: &BTreeMap<ZoneName, Zone>,
    ) -> Option<IpAddr> {
        let Ok(address) = written.value.parse::<IpAddr>() else {
            let shown: String = written.value.chars().take(MAX_SHOWN_NAME).collect();
            let problem = self.source.at(written, format!("\"{shown}\" is not an address"));
            return self.note(problem.help("write it as 10.1.7.20 or \"fd00:1::7\""));
        };
        let zone = zone?;
        let holds = |zone: &Zone| zone.networks.iter().any(|network| network.contains(&address));
        if zones.get(zone).is_some_and(holds) {
            return Some(address);
        }
        let problem = self.source.at(written, format!("{address} is outside zone \"{zone}\""));
        let elsewhere = zones.iter().find(|(_, other)| holds(other)).map(|(name, _)| name);
        self.note(match elsewhere {
            Some(other) => problem.help(format!("it is in zone \"{other}\"")),
            None => problem.help("it is in no zone: add its network to one"),
        })
    }
}
