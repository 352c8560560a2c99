//! The policy file as it is written, and the way from there to a [`Policy`] that cannot be wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::places::Places;
use super::{
    Demand, ExchangePoint, Flow, Group, HostEntry, Invariant, LONGEST_QUARANTINE, MAX_ENTRIES,
    MAX_NETWORKS, MAX_ZONES, Management, Mode, OnDrift, Party, Policy, Quarantine, Service, Zone,
    counts, judged,
};
use crate::name::{HostName, ZoneName};
use crate::unit::Period;
use crate::yaml::{self, Problem, Problems, Source, Spanned};

/// The word for everything outside the site where a zone could stand.
const INTERNET: &str = "internet";
/// The longest name of a zone on screen, in characters.
const MAX_SHOWN_NAME: usize = 64;
/// The longest name of a service, exchange point or invariant, in octets.
const MAX_LABEL: usize = 63;
/// The most ports, ranges of ports or types of one service and protocol.
const MAX_WORDS: usize = 256;
/// The most zones that a message lists.
const LISTED: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    site: Spanned<String>,
    zones: Entries<WrittenZone>,
    #[serde(default)]
    groups: Entries<Vec<Spanned<String>>>,
    #[serde(default)]
    services: Entries<WrittenService>,
    #[serde(default)]
    exchange_points: Entries<WrittenExchangePoint>,
    #[serde(default)]
    flows: Vec<WrittenFlow>,
    #[serde(default)]
    invariants: Entries<WrittenInvariant>,
    #[serde(default)]
    management: Entries<WrittenManagement>,
    #[serde(default)]
    quarantine: WrittenQuarantine,
    #[serde(default)]
    hosts: Entries<WrittenHost>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenZone {
    #[serde(default)]
    name: Option<Spanned<String>>,
    networks: Vec<Spanned<String>>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    on_drift: OnDrift,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenService {
    tcp: Vec<Spanned<String>>,
    udp: Vec<Spanned<String>>,
    icmp: Vec<Spanned<String>>,
    icmpv6: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenExchangePoint {
    from: Spanned<String>,
    to: Spanned<String>,
    hosts: Vec<Spanned<String>>,
    service: Spanned<String>,
    #[serde(default)]
    owner: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFlow {
    from: Spanned<String>,
    to: Spanned<String>,
    service: Spanned<String>,
}

/// Who and to whom.
type WrittenPair = (Spanned<String>, Spanned<String>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenInvariant {
    #[serde(default)]
    never: Option<WrittenPair>,
    #[serde(default)]
    only: Option<WrittenPair>,
    #[serde(default)]
    through: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    always: Option<WrittenPair>,
    #[serde(default)]
    service: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenManagement {
    from: Spanned<String>,
    service: Spanned<String>,
    #[serde(default)]
    collectors: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenQuarantine {
    services: Vec<Spanned<String>>,
    longest: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHost {
    zone: Spanned<String>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    #[serde(default)]
    forwards: bool,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    on_drift: Option<OnDrift>,
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
    let mut reader = Reader {
        source: Source { file, text },
        problems: Vec::new(),
        named: BTreeSet::new(),
        used: BTreeSet::new(),
    };
    let policy = reader.policy(&written);
    if let Some(policy) = policy.as_ref().filter(|_| reader.problems.is_empty()) {
        reader.problems = judged::contradictions(policy, &reader.source);
    }
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
    /// Groups that something names.
    named: BTreeSet<String>,
    /// Services that something uses.
    used: BTreeSet<String>,
}

/// What a party can be, for the names in the rest of the file.
struct Known {
    zones: BTreeMap<ZoneName, Zone>,
    hosts: BTreeMap<HostName, HostEntry>,
    groups: BTreeMap<String, Group>,
    services: BTreeMap<String, Service>,
    places: Places,
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

    fn policy(&mut self, written: &WrittenPolicy) -> Option<Policy> {
        let site = self.named(&written.site);
        let zones = self.zones(&written.zones);
        let places = Places::new(&zones);
        let hosts = self.hosts(&written.hosts, &zones, &places);
        let services = self.services(&written.services);
        let mut known = Known { zones, hosts, groups: BTreeMap::new(), services, places };
        known.groups = self.groups(&written.groups, &known);
        let exchange_points = self.exchange_points(&written.exchange_points, &known);
        let flows = written.flows.iter().take(MAX_ENTRIES + 1);
        let flows: Vec<Flow> = flows.filter_map(|flow| self.flow(flow, &known)).collect();
        if flows.len() > MAX_ENTRIES {
            self.problems.push(self.source.whole(format!("more than {MAX_ENTRIES} flows")));
        }
        let invariants = self.invariants(&written.invariants, &known, &exchange_points);
        let management = self.management(&written.management, &known);
        let quarantine = self.quarantine(&written.quarantine, &known);
        if self.problems.is_empty() {
            // Of a file with other mistakes it would only repeat them.
            self.unused(written);
        }
        let Known { zones, hosts, groups, services, places } = known;
        Some(Policy {
            site: site?,
            zones,
            groups,
            services,
            exchange_points,
            flows,
            invariants,
            management,
            quarantine,
            hosts,
            places,
        })
    }

    /// Whether a section has more entries than are read.
    fn too_many<T>(&mut self, entries: &Entries<T>, what: &str) -> bool {
        let Some((name, _)) = entries.0.get(MAX_ENTRIES) else {
            return false;
        };
        self.problems.push(self.source.at(name, format!("more than {MAX_ENTRIES} {what}")));
        true
    }

    fn services(&mut self, written: &Entries<WrittenService>) -> BTreeMap<String, Service> {
        let mut services = BTreeMap::new();
        if self.too_many(written, "services") {
            return services;
        }
        for (name, service) in &written.0 {
            let before = self.problems.len();
            let service = Service {
                tcp: self.words(&service.tcp),
                udp: self.words(&service.udp),
                icmp: self.words(&service.icmp),
                icmpv6: self.words(&service.icmpv6),
            };
            if service.is_empty() && self.problems.len() == before {
                let problem = self.source.at(name, "this service has neither ports nor types");
                self.problems.push(problem.help(
                    "add tcp: [443], udp: [53], icmp: [echo-request] or icmpv6: [echo-request]",
                ));
            }
            if let Some(label) = self.label(name) {
                services.insert(label, service);
            }
        }
        services
    }

    fn words<T: FromStr<Err: fmt::Display>>(&mut self, written: &[Spanned<String>]) -> Vec<T> {
        let mut words = Vec::new();
        for (nth, word) in written.iter().enumerate() {
            if self.is_full() {
                break;
            }
            if nth == MAX_WORDS {
                let message = format!("more than {MAX_WORDS} ports or types in one list");
                self.problems.push(self.source.at(word, message).help("write ranges: 8000-8099"));
                break;
            }
            match word.value.parse::<T>() {
                Ok(word) => words.push(word),
                Err(error) => self.problems.push(self.source.at(word, error.to_string())),
            }
        }
        words
    }

    fn groups(
        &mut self,
        written: &Entries<Vec<Spanned<String>>>,
        known: &Known,
    ) -> BTreeMap<String, Group> {
        let mut groups = BTreeMap::new();
        if self.too_many(written, "groups") {
            return groups;
        }
        for (name, members) in &written.0 {
            if self.is_full() {
                break;
            }
            let text = name.value.as_str();
            let taken = defined(text, &known.zones).is_some()
                || defined(text, &known.hosts).is_some()
                || text == INTERNET;
            if taken {
                let message =
                    format!("\"{}\" is a zone, a host or the Internet already", name.value);
                let problem = self.source.at(name, message);
                self.problems.push(problem.help("give the group another name"));
                continue;
            }
            if members.is_empty() {
                let problem = self.source.at(name, "this group has no members");
                self.problems.push(problem.help("name hosts or networks, or remove the group"));
            }
            let members = members.iter().filter_map(|member| self.member(member, known)).collect();
            if let Some(label) = self.label(name) {
                groups.insert(label, Group { members, line: name.referenced.line() });
            }
        }
        groups
    }

    fn member(&mut self, written: &Spanned<String>, known: &Known) -> Option<Party> {
        if written.value.contains(['/', ':']) {
            return self.network_of_a_zone(written, &known.places);
        }
        let host = self.known_host(written, &known.hosts)?;
        self.with_addresses(host, written, known)
    }

    fn with_addresses(
        &mut self,
        host: HostName,
        written: &Spanned<String>,
        known: &Known,
    ) -> Option<Party> {
        if known.hosts.get(&host).is_some_and(|entry| entry.addresses.is_empty()) {
            let problem = self.source.at(written, format!("host \"{host}\" has no addresses"));
            return self.note(problem.help("add addresses: [...] to it under \"hosts\""));
        }
        Some(Party::Host(host))
    }

    fn network_of_a_zone(&mut self, written: &Spanned<String>, places: &Places) -> Option<Party> {
        let network = self.network(written)?;
        if places.zone_around(&network).is_some() {
            return Some(Party::Network(network));
        }
        let problem = self.source.at(written, format!("{network} is not inside one zone"));
        self.note(problem.help("name a network that one zone holds, or add it to a zone"))
    }

    fn exchange_points(
        &mut self,
        written: &Entries<WrittenExchangePoint>,
        known: &Known,
    ) -> BTreeMap<String, ExchangePoint> {
        let mut points = BTreeMap::new();
        if self.too_many(written, "exchange points") {
            return points;
        }
        for (name, point) in &written.0 {
            let label = self.label(name);
            let from = self.party(&point.from, known);
            let to = self.party(&point.to, known);
            let service = self.service(&point.service, known);
            let mut hosts = Vec::new();
            for written in &point.hosts {
                if let Some(host) = self.known_host(written, &known.hosts) {
                    self.with_addresses(host.clone(), written, known);
                    hosts.push(host);
                }
            }
            if point.hosts.is_empty() {
                let problem = self.source.at(name, "this exchange point has no hosts");
                self.problems.push(problem.help("add hosts: [...], those that carry the data"));
            }
            let (Some(label), Some(from), Some(to), Some(service)) = (label, from, to, service)
            else {
                continue;
            };
            let line = name.referenced.line();
            let owner = point.owner.as_ref().and_then(|owner| self.shown_name(owner));
            points.insert(label, ExchangePoint { from, to, hosts, service, owner, line });
        }
        points
    }

    fn flow(&mut self, flow: &WrittenFlow, known: &Known) -> Option<Flow> {
        let from = self.party(&flow.from, known);
        let to = self.party(&flow.to, known);
        let service = self.service(&flow.service, known);
        let line = flow.from.referenced.line();
        Some(Flow { from: from?, to: to?, service: service?, line })
    }

    fn invariants(
        &mut self,
        written: &Entries<WrittenInvariant>,
        known: &Known,
        points: &BTreeMap<String, ExchangePoint>,
    ) -> BTreeMap<String, Invariant> {
        let mut invariants = BTreeMap::new();
        if self.too_many(written, "invariants") {
            return invariants;
        }
        for (name, invariant) in &written.0 {
            let label = self.label(name);
            let what = self.demand(name, invariant, known, points);
            if let (Some(label), Some(what)) = (label, what) {
                invariants.insert(label, Invariant { what, line: name.referenced.line() });
            }
        }
        invariants
    }

    fn demand(
        &mut self,
        name: &Spanned<String>,
        written: &WrittenInvariant,
        known: &Known,
        points: &BTreeMap<String, ExchangePoint>,
    ) -> Option<Demand> {
        let mut pair = |pair: &WrittenPair| {
            let (from, to) = (self.party(&pair.0, known), self.party(&pair.1, known));
            Some((from?, to?))
        };
        match written {
            WrittenInvariant {
                never: Some(never),
                only: None,
                through: None,
                always: None,
                service: None,
            } => pair(never).map(|(from, to)| Demand::Never { from, to }),
            WrittenInvariant {
                never: None,
                only: Some(only),
                through: Some(through),
                always: None,
                service: None,
            } => {
                let pair = pair(only);
                let through: Vec<Option<String>> =
                    through.iter().map(|point| self.point(point, points)).collect();
                if through.is_empty() {
                    let problem = self.source.at(name, "this names no exchange point");
                    return self
                        .note(problem.help("where nothing may pass, write {never: [a, b]}"));
                }
                let (from, to) = pair?;
                Some(Demand::Only {
                    from,
                    to,
                    through: through.into_iter().collect::<Option<_>>()?,
                })
            }
            WrittenInvariant {
                never: None,
                only: None,
                through: None,
                always: Some(always),
                service: Some(service),
            } => {
                let pair = pair(always);
                let service = self.service(service, known);
                let (from, to) = pair?;
                Some(Demand::Always { from, to, service: service? })
            }
            _ => {
                let problem = self.source.at(name, "an invariant says exactly one thing");
                self.note(problem.help(
                    "write {never: [a, b]}, {only: [a, b], through: [EX-1]} or \
                     {always: [a, b], service: web}",
                ))
            }
        }
    }

    fn point(
        &mut self,
        written: &Spanned<String>,
        points: &BTreeMap<String, ExchangePoint>,
    ) -> Option<String> {
        if points.contains_key(&written.value) {
            return Some(written.value.clone());
        }
        if self.is_full() {
            return None;
        }
        let shown: String = written.value.chars().take(MAX_SHOWN_NAME).collect();
        let problem = self.source.at(written, format!("exchange point \"{shown}\" is not defined"));
        self.note(problem.or_meant(&written.value, points.keys().map(String::as_str)))
    }

    fn management(
        &mut self,
        written: &Entries<WrittenManagement>,
        known: &Known,
    ) -> BTreeMap<ZoneName, Management> {
        let mut all = BTreeMap::new();
        for (name, management) in &written.0 {
            let zone = self.zone(name, &known.zones);
            let from = self.party(&management.from, known);
            let service = self.service(&management.service, known);
            let collectors = management
                .collectors
                .iter()
                .filter_map(|collector| self.collector(collector))
                .collect();
            if let (Some(zone), Some(from), Some(service)) = (zone, from, service) {
                let line = name.referenced.line();
                all.insert(zone, Management { from, service, collectors, line });
            }
        }
        all
    }

    fn collector(&mut self, written: &Spanned<String>) -> Option<SocketAddr> {
        match written.value.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 && counts(address.ip()) => Some(address),
            Ok(_) | Err(_) => {
                let shown: String = written.value.chars().take(MAX_SHOWN_NAME).collect();
                let message = format!("\"{shown}\" is not where a collector can be reached");
                let problem = self.source.at(written, message);
                self.note(problem.help("write \"10.1.0.5:7710\" or \"[fd00:1::5]:7710\""))
            }
        }
    }

    fn quarantine(&mut self, written: &WrittenQuarantine, known: &Known) -> Quarantine {
        let services =
            written.services.iter().filter_map(|service| self.service(service, known)).collect();
        let longest = match &written.longest {
            None => LONGEST_QUARANTINE,
            Some(longest) => match longest.value.parse::<Period>() {
                Ok(period) if !period.0.is_zero() => period.0,
                Ok(_) => {
                    let problem = self.source.at(longest, "a quarantine of no length is none");
                    self.problems.push(problem.help("write it as 24 h"));
                    LONGEST_QUARANTINE
                }
                Err(error) => {
                    self.problems.push(self.source.at(longest, error.to_string()));
                    LONGEST_QUARANTINE
                }
            },
        };
        Quarantine { services, longest }
    }

    /// Names that are given and that nothing uses: mostly a flow that was forgotten.
    fn unused(&mut self, written: &WrittenPolicy) {
        let services = written.services.0.iter().map(|(name, _)| (name, "service", &self.used));
        let groups = written.groups.0.iter().map(|(name, _)| (name, "group", &self.named));
        let unused: Vec<Problem> = services
            .chain(groups)
            .filter(|(name, _, used)| !used.contains(&name.value))
            .take(yaml::MAX_PROBLEMS)
            .map(|(name, what, _)| {
                let message = format!("{what} \"{}\" is used nowhere", name.value);
                self.source.at(name, message).help("use it, or remove it")
            })
            .collect();
        self.problems.extend(unused);
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
            let (mode, on_drift) = (zone.mode, zone.on_drift);
            zones.insert(name, Zone { name: shown, networks, mode, on_drift });
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
        if let Some(zone) = defined(&written.value, zones) {
            return Some(zone);
        }
        if self.is_full() {
            return None;
        }
        let names = || zones.keys().map(ZoneName::as_str);
        let shown: String = written.value.chars().take(MAX_SHOWN_NAME).collect();
        let message = format!("zone \"{shown}\" is not defined (zones: {})", listed(names()));
        let problem = self.source.at(written, message).or_meant(&written.value, names());
        self.note(problem)
    }

    /// A zone, a group, a host, a network or the Internet. A zone is meant before a host of the
    /// same name.
    fn party(&mut self, written: &Spanned<String>, known: &Known) -> Option<Party> {
        let text = written.value.as_str();
        if text == INTERNET {
            return Some(Party::Internet);
        }
        if let Some(zone) = defined(text, &known.zones) {
            return Some(Party::Zone(zone));
        }
        if known.groups.contains_key(text) {
            self.named.insert(text.to_owned());
            return Some(Party::Group(text.to_owned()));
        }
        if let Some(host) = defined(text, &known.hosts) {
            return self.with_addresses(host, written, known);
        }
        if text.contains(['/', ':']) {
            return self.network_of_a_zone(written, &known.places);
        }
        if self.is_full() {
            return None;
        }
        let zones = || known.zones.keys().map(ZoneName::as_str);
        let names = zones()
            .chain(known.groups.keys().map(String::as_str))
            .chain(known.hosts.keys().map(HostName::as_str))
            .chain([INTERNET]);
        let shown: String = text.chars().take(MAX_SHOWN_NAME).collect();
        let message = format!("\"{shown}\" is no zone, group or host (zones: {})", listed(zones()));
        let problem = self.source.at(written, message);
        self.note(match text.parse::<IpAddr>() {
            Ok(address) => problem.help(format!("write {}", IpNet::from(address))),
            Err(_) => problem.or_meant(text, names),
        })
    }

    fn service(&mut self, written: &Spanned<String>, known: &Known) -> Option<String> {
        if known.services.contains_key(&written.value) {
            self.used.insert(written.value.clone());
            return Some(written.value.clone());
        }
        if self.is_full() {
            return None;
        }
        let shown: String = written.value.chars().take(MAX_SHOWN_NAME).collect();
        let problem = self.source.at(written, format!("service \"{shown}\" is not defined"));
        self.note(problem.or_meant(&written.value, known.services.keys().map(String::as_str)))
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
        places: &Places,
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
                let own = zone.as_ref().filter(|_| !host.forwards);
                let Some(address) = self.address(written, own, zones, places) else {
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
                hosts.insert(
                    name,
                    HostEntry {
                        zone,
                        addresses,
                        forwards: host.forwards,
                        mode: host.mode,
                        on_drift: host.on_drift,
                    },
                );
            }
        }
        hosts
    }

    fn address(
        &mut self,
        written: &Spanned<String>,
        zone: Option<&ZoneName>,
        zones: &BTreeMap<ZoneName, Zone>,
        places: &Places,
    ) -> Option<IpAddr> {
        let Ok(address) = written.value.parse::<IpAddr>() else {
            let shown: String = written.value.chars().take(MAX_SHOWN_NAME).collect();
            let problem = self.source.at(written, format!("\"{shown}\" is not an address"));
            return self.note(problem.help("write it as 10.1.7.20 or \"fd00:1::7\""));
        };
        let found = places.zone_of(address);
        // A host that forwards between zones has addresses in them.
        let Some(zone) = zone else {
            if found.is_some() {
                return Some(address);
            }
            let problem = self.source.at(written, format!("{address} is in no zone"));
            return self.note(problem.help("add its network to one"));
        };
        // Where zones overlap, which is another problem, it may be in both.
        let holds = |zone: &Zone| zone.networks.iter().any(|network| network.contains(&address));
        if found == Some(zone) || zones.get(zone).is_some_and(holds) {
            return Some(address);
        }
        let problem = self.source.at(written, format!("{address} is outside zone \"{zone}\""));
        self.note(match found {
            Some(other) => problem.help(format!("it is in zone \"{other}\"")),
            None => problem.help("it is in no zone: add its network to one"),
        })
    }
}

/// The name that a text is, if it is defined.
fn defined<N: FromStr + Ord, T>(text: &str, names: &BTreeMap<N, T>) -> Option<N> {
    text.parse().ok().filter(|name| names.contains_key(name))
}

/// The first names of many.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names = names;
    let mut listed = names.by_ref().take(LISTED).collect::<Vec<_>>().join(", ");
    if names.next().is_some() {
        listed.push_str(", ...");
    }
    listed
}
