//! From what hosts told to what a proof is about.
//!
//! Nothing is filled in. What a host did not tell, could not read, or told in a way that does not fit
//! together stands in [`Host::unread`], and the model then lets the host do all that it might: drop or
//! pass anything, translate anything, forward. So what depends on it is out of model, and what does
//! not is proved all the same. `docs/proof.md` says what is taken for known and what is not.
//!
//! Age is another matter: a host that has fallen silent is taken as it was, and an answer that rests
//! on it is stale ([`aged`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

use super::bridge::may_stop_bridged;
use super::told::{FactsOf, ListedAt, ReadAt};
use super::wire::tells_a_wire;
use super::{Bridge, Host, Port, ReversePath};
use crate::fact::links::{Forwarding, LinkKind, Mac, Neighbour, RouteKind, RuleAction};
use crate::fact::{FactKind, Named, ProbeName, Reading, firewall, links};
use crate::host::{FactSet, HostView};
use crate::listing::{ListingSource, Listings};
use crate::model::field::{device, kind};
use crate::model::network::{
    Action, Address, Hop, Interface, Network, PolicyRule, Route, THROW, Table, own_or_device,
};
use crate::model::ruleset::{
    Base, Chain, ChainKind, Effects, Family, Hook, Maker, Origin, Place, Rule, Ruleset, Statement,
};
use crate::model::{nft, save};
use crate::name::{HostName, ZoneName};
use crate::policy::Policy;
use crate::text::Text;
use crate::time::{Timestamp, spoken};

/// The probes that a proof rests on.
const PROBES: [ProbeName; 2] = [ProbeName::Links, ProbeName::Firewall];

/// The facts that say where a host is and what it forwards. Neighbours are not among them: see
/// [`wires`].
const NETWORK: [FactKind; 4] =
    [FactKind::Interface, FactKind::Route, FactKind::Rule, FactKind::Forwarding];

/// A driver whose interfaces have routing tables of their own, which the model does not know.
const VRF: &str = "vrf";

/// Everything that a host told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Its facts.
    pub view: &'a HostView,
    /// Its newest listings.
    pub listings: &'a Listings,
    /// Sources that cannot be listed though there is something to list, and why.
    pub unlisted: &'a BTreeMap<ListingSource, String>,
}

/// SHA-256 of what [`assemble`] looks at: where both stay the same, so does the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inputs {
    /// Of what says where it is and what it forwards. A change of it may move a wire.
    pub network: [u8; 32],
    /// Of its packet filters.
    pub filters: [u8; 32],
}

/// Adds octets to a hash so that they cannot be taken for parts of what is beside them.
fn add(hash: &mut Sha256, octets: &[u8]) {
    hash.update(u64::try_from(octets.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(octets);
}

/// What a host is put together from.
#[must_use]
pub fn inputs(told: Told<'_>, policy: &Policy) -> Inputs {
    let Told { view, listings, unlisted } = told;
    let ran = |probe: ProbeName| [u8::from(view.facts.probe(probe).is_some())];
    let mut network = Sha256::new();
    add(&mut network, view.name.as_str().as_bytes());
    add(&mut network, zone(view, policy).as_str().as_bytes());
    add(&mut network, &ran(ProbeName::Links));
    for (_, held) in NETWORK.iter().flat_map(|kind| view.facts.of_kind(*kind)) {
        // The share has the fact's key in it.
        add(&mut network, &held.share.to_bytes());
    }
    let mut filters = Sha256::new();
    add(&mut filters, &ran(ProbeName::Firewall));
    for (filter, held) in view.facts.of_kind(FactKind::Ruleset) {
        add(&mut filters, filter.as_bytes());
        match held.reading.known().and_then(<firewall::Ruleset as Named>::of) {
            // Its counters move all the time.
            Some(ruleset) => {
                add(&mut filters, ruleset.digest.as_bytes());
                add(&mut filters, &[u8::from(ruleset.tables.is_empty())]);
            }
            None => add(&mut filters, &held.share.to_bytes()),
        }
    }
    for (source, listing) in &listings.0 {
        add(&mut filters, source.as_str().as_bytes());
        add(&mut filters, &listing.digest.0);
        add(&mut filters, listing.ruleset.as_bytes());
    }
    for (source, why) in unlisted {
        add(&mut filters, source.as_str().as_bytes());
        add(&mut filters, why.as_bytes());
    }
    Inputs { network: network.finalize().into(), filters: filters.finalize().into() }
}

/// Whether the host's facts tell of a ruleset whose listing has not come: both are sent at once, and
/// either may come first.
#[must_use]
pub fn awaits(told: Told<'_>) -> bool {
    let Told { view, listings, unlisted } = told;
    let filters = view.facts.values::<firewall::Ruleset>();
    let mut listed = filters.filter(|(_, ruleset)| !ruleset.tables.is_empty());
    listed.any(|(filter, _)| {
        source(filter).is_some_and(|source| {
            !unlisted.contains_key(&source) && listings.current(source, &view.facts).is_none()
        })
    })
}

/// What a host told, put together.
#[must_use]
pub fn assemble(told: Told<'_>, policy: &Policy) -> Host {
    let view = told.view;
    let facts = &view.facts;
    let mut unread = Vec::new();
    let network = network(facts, &mut unread);
    let mut ruleset = ruleset(told, &mut unread);
    let bridges = bridges(facts);
    if unread.is_empty()
        && !bridges.is_empty()
        && may_hand_to_ip(facts)
        && may_stop_bridged(&ruleset)
    {
        ruleset.tables.push(may_do_anything(Family::Bridge, BRIDGED));
    }
    let (forwards_v4, forwards_v6) = forwards(facts, &mut unread);
    if network.interfaces.is_none() {
        // Where it is plugged in is all that the policy can say.
        return unknown(&view.name, policy, unread);
    }
    Host {
        zone: Some(zone(view, policy).clone()),
        ruleset: Arc::new(ruleset),
        network,
        forwards_v4,
        forwards_v6,
        reverse_path: reverse_path(facts),
        bridges,
        unread,
    }
}

/// Why it is not known what becomes of what bridges carry, where rules of IP see that too, or may.
const BRIDGED: &str =
    "the rules of IP see what bridges carry, or may (bridge-nf-call-iptables): switch it off";

/// Whether bridges may hand what they carry to the rules of IP.
fn may_hand_to_ip(facts: &FactSet) -> bool {
    facts.values::<Forwarding>().any(|(_, forwarding)| forwarding.bridged != Some(false))
}

/// How old what is known of a host is. `unread` is what is not known.
#[must_use]
pub fn facts_of(told: Told<'_>, unread: &[String]) -> FactsOf {
    let Told { view, listings, .. } = told;
    let facts = &view.facts;
    let read_at = |probe: &ProbeName| {
        let held = facts.probe(*probe)?;
        Some(ReadAt { probe: *probe, read_at: held.read_at })
    };
    let current = ListingSource::ALL.into_iter().filter_map(|source| {
        let listing = listings.current(source, facts)?;
        Some(ListedAt {
            source,
            ruleset: listing.ruleset.clone(),
            received_at: listing.received_at,
        })
    });
    FactsOf {
        host: view.name.clone(),
        probes: PROBES.iter().filter_map(read_at).collect(),
        listings: current.collect(),
        unread: unread.to_vec(),
    }
}

/// What is taken of a host from which no agent reports: nothing, unless the policy says that it
/// forwards. Then it may pass anything between the networks that the policy gives it addresses in. Any
/// other is on its wire like every machine that nobody knows.
#[must_use]
pub fn without_agent(name: &HostName, policy: &Policy) -> Option<Host> {
    let unread = || vec!["no agent reports from it".to_owned()];
    policy.forwards(name).then(|| unknown(name, policy, unread()))
}

/// Why what is known of a host is too old to prove anything of what is there now; nothing where it is
/// not.
#[must_use]
pub fn aged(view: &HostView, now: Timestamp) -> Option<Text> {
    PROBES.iter().find_map(|name| {
        let probe = view.facts.probe(*name)?;
        let host = &view.name;
        if let Some(why) = &probe.failed {
            return Some(Text::new(
                format!("the probe {name} of {host} fails: {why}"),
                format!("{host} 的探针 {name} 运行失败：{why}"),
            ));
        }
        let age = spoken(probe.read_at.age(now));
        probe.is_stale(now).then(|| {
            Text::new(
                format!("the probe {name} of {host} last read {} ago", age.en),
                format!("{host} 的探针 {name} 上次读取于 {}前", age.zh),
            )
        })
    })
}

/// Interfaces that are on one wire because one host saw the other there, though their addresses do not
/// say so. A neighbour counts where it was heard lately, and address and hardware address are those of exactly
/// one interface: hardware addresses alone are shared by VLANs, bonds and bridges.
pub fn wires<'a>(views: impl IntoIterator<Item = &'a HostView>) -> Vec<BTreeSet<Port>> {
    let views: Vec<&HostView> = views.into_iter().collect();
    let mut owners: BTreeMap<(IpAddr, Mac), Vec<Owner<'_>>> = BTreeMap::new();
    for view in &views {
        for (name, interface) in view.facts.values::<links::Interface>() {
            let Some(mac) = interface.mac.filter(|_| interface.admin_up) else { continue };
            for network in &interface.addresses {
                let port = Port { host: view.name.clone(), interface: name.to_owned() };
                let own = interface.addresses.as_slice();
                owners.entry((network.addr(), mac)).or_default().push((port, own));
            }
        }
    }
    let mut wires = BTreeSet::new();
    for view in &views {
        for (_, neighbour) in view.facts.values::<Neighbour>() {
            let Neighbour { address, interface, mac: Some(mac), silent: false, .. } = neighbour
            else {
                continue;
            };
            let Some([(there, addresses)]) = owners.get(&(*address, *mac)).map(Vec::as_slice)
            else {
                continue;
            };
            let here = Port { host: view.name.clone(), interface: interface.clone() };
            let own = view.facts.value::<links::Interface>(interface);
            let told = own.is_some_and(|own| share_a_network(&own.addresses, addresses));
            if !told && here != *there {
                wires.insert(BTreeSet::from([here, there.clone()]));
            }
        }
    }
    wires.into_iter().collect()
}

/// An interface with all its addresses.
type Owner<'a> = (Port, &'a [IpNet]);

/// Whether addresses tell that two interfaces are on one wire.
fn share_a_network(one: &[IpNet], other: &[IpNet]) -> bool {
    let mut one = one.iter().map(IpNet::trunc).filter(tells_a_wire);
    one.any(|one| other.iter().any(|other| other.trunc() == one))
}

fn zone<'a>(view: &'a HostView, policy: &'a Policy) -> &'a ZoneName {
    policy.hosts.get(&view.name).map_or(&view.zone, |entry| &entry.zone)
}

/// A host of which nothing is known but what the policy says.
fn unknown(name: &HostName, policy: &Policy, unread: Vec<String>) -> Host {
    let entry = policy.hosts.get(name);
    let forwards = policy.forwards(name);
    let places = policy.zones.values().flat_map(|zone| zone.networks.iter().copied());
    let places: Vec<IpNet> = places.collect();
    let addresses = entry.map(|entry| entry.addresses.as_slice()).unwrap_or_default();
    let interfaces = (0_u32..).zip(addresses).filter_map(|(number, address)| {
        // Of the networks of zones, which do not overlap, one holds the address.
        let place = places.iter().find(|network| network.contains(address))?;
        let network = IpNet::new(*address, place.prefix_len()).ok()?;
        let device = device(&format!("unknown{number}"))?;
        Some(Interface::named(device, vec![of_network(network)]))
    });
    Host {
        zone: entry.map(|entry| entry.zone.clone()),
        ruleset: Arc::new(anything(unread.first().map_or("", String::as_str))),
        network: Network {
            interfaces: forwards.then(|| interfaces.collect()),
            routes: None,
            rules: None,
        },
        forwards_v4: forwards,
        forwards_v6: forwards,
        unread,
        ..Host::default()
    }
}

/// The facts of a kind, as far as they are known; what is not goes to `unread`.
fn told<'a, T: Named + 'static>(
    facts: &'a FactSet,
    unread: &mut Vec<String>,
) -> Option<Vec<(&'a str, &'a T)>> {
    let kind = T::KIND;
    if facts.probe(kind.probe()).is_none() {
        let why = format!("the probe {} has not reported yet", kind.probe());
        // Several kinds are one probe's.
        if !unread.contains(&why) {
            unread.push(why);
        }
        return None;
    }
    let mut whole = true;
    for (subject, held) in facts.of_kind(kind) {
        if let Reading::Unreadable { why } = &*held.reading {
            let of = if subject.is_empty() { String::new() } else { format!(" {subject}") };
            unread.push(format!("{kind}{of} cannot be read: {why}"));
            whole = false;
        }
    }
    whole.then(|| facts.values::<T>().collect())
}

fn network(facts: &FactSet, unread: &mut Vec<String>) -> Network {
    let Some(all) = told::<links::Interface>(facts, unread) else {
        return Network::default();
    };
    if all.is_empty() {
        unread.push("it tells of no interface".to_owned());
        return Network::default();
    }
    let mut routes = routes(facts, unread);
    let mut interfaces = Vec::new();
    for (name, one) in all {
        if one.driver == VRF {
            unread.push(format!("{name} is a VRF, whose routing is not understood"));
            routes = None;
        }
        if enslaved(facts, one) == Some(LinkKind::Bond) {
            // Its frames are those of the bond.
            continue;
        }
        let Some(device) = device(name) else {
            unread.push(format!("the interface {name} has a longer name than Linux gives"));
            continue;
        };
        let addresses = one.addresses.iter().map(|network| Address {
            link_only: one.link_only.contains(network),
            secondary: one.secondary.contains(network),
            ..of_network(*network)
        });
        interfaces.push(Interface {
            device,
            number: Some(one.index),
            up: one.admin_up,
            group: one.group,
            hardware: one.hardware,
            mac: one
                .mac
                .map(|mac| mac.0.iter().fold(0, |all, octet| all << 8 | u128::from(*octet))),
            addresses: addresses.collect(),
        });
    }
    let rules = rules(facts, unread);
    if rules.is_none() {
        routes = None;
    }
    Network { interfaces: Some(interfaces), routes, rules }
}

fn enslaved(facts: &FactSet, interface: &links::Interface) -> Option<LinkKind> {
    let master = facts.value::<links::Interface>(interface.master.as_deref()?)?;
    Some(master.kind)
}

fn of_network(network: IpNet) -> Address {
    let (broadcast, link_only) = match network {
        IpNet::V4(v4) => ((v4.prefix_len() < 31).then(|| v4.broadcast()), false),
        IpNet::V6(v6) => (None, v6.addr().is_unicast_link_local()),
    };
    Address { broadcast, link_only, ..Address::within(network, network.addr()) }
}

fn routes(facts: &FactSet, unread: &mut Vec<String>) -> Option<BTreeMap<u32, Table>> {
    let told = told::<links::Route>(facts, unread)?;
    // The next hops of one route come as one fact each.
    let mut whole: BTreeMap<_, (Option<IpAddr>, Vec<Hop>)> = BTreeMap::new();
    for (_, route) in told {
        let hop = Hop { device: route.interface.as_deref().and_then(device), via: route.gateway };
        let key = (route.table, route.destination, route.metric, route.kind);
        let (source, hops) = whole.entry(key).or_default();
        *source = route.source;
        hops.push(hop);
    }
    let mut tables: BTreeMap<u32, Table> = BTreeMap::new();
    for ((table, to, metric, kind), (source, hops)) in whole {
        let kind = match kind {
            RouteKind::Unicast => kind::UNICAST,
            RouteKind::Blackhole => kind::BLACKHOLE,
            RouteKind::Unreachable => kind::UNREACHABLE,
            RouteKind::Prohibit => kind::PROHIBIT,
            RouteKind::Throw => THROW,
            RouteKind::Local => kind::LOCAL,
        };
        tables.entry(table).or_default().add(Route { to, kind, hops, metric, source });
    }
    Some(tables)
}

/// The policy rules in the order in which they are asked; nothing where they are not told. An agent
/// that tells of rules tells of the three that a kernel begins with too.
fn rules(facts: &FactSet, unread: &mut Vec<String>) -> Option<Vec<PolicyRule>> {
    let told = told::<links::Rule>(facts, unread)?;
    if told.is_empty() {
        unread.push("it does not tell of its policy rules; its agent may be too old".to_owned());
        return None;
    }
    let rule = |rule: &links::Rule| PolicyRule {
        priority: rule.priority,
        v6: Some(rule.ipv6),
        not: rule.not,
        from: rule.from,
        to: rule.to,
        iif: rule.iif.as_deref().map(own_or_device),
        oif: rule.oif.as_deref().map(own_or_device),
        mark: rule.mark.map(|mark| (mark.value, mark.mask)),
        action: match rule.action {
            RuleAction::Table(table) => Action::Look(table),
            RuleAction::Blackhole => Action::End(kind::BLACKHOLE),
            RuleAction::Unreachable => Action::End(kind::UNREACHABLE),
            RuleAction::Prohibit => Action::End(kind::PROHIBIT),
            RuleAction::Other => Action::Unknown,
        },
        unsure: rule.unsure,
    };
    let mut rules: Vec<PolicyRule> = told.iter().map(|(_, one)| rule(one)).collect();
    rules.sort_by_key(|rule| rule.priority);
    Some(rules)
}

/// Of an agent that does not tell, sources are not taken to be looked up: less is dropped.
fn reverse_path(facts: &FactSet) -> BTreeMap<String, ReversePath> {
    let told = facts.values::<links::Interface>();
    told.filter_map(|(name, told)| Some((name.to_owned(), told.reverse_path?))).collect()
}

fn forwards(facts: &FactSet, unread: &mut Vec<String>) -> (bool, bool) {
    let Some(told) = told::<Forwarding>(facts, unread) else { return (true, true) };
    let Some((_, forwarding)) = told.first() else {
        unread.push("it does not tell whether it forwards".to_owned());
        return (true, true);
    };
    let Forwarding { ipv4, ipv6, interfaces, bridged: _ } = forwarding;
    if (*ipv4 && *ipv6) || interfaces.is_empty() {
        return (*ipv4, *ipv6);
    }
    unread.push(format!("it forwards what comes by {} only", interfaces.join(", ")));
    (true, true)
}

fn bridges(facts: &FactSet) -> Vec<Bridge> {
    let mut bridges: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, interface) in facts.values::<links::Interface>() {
        if enslaved(facts, interface) != Some(LinkKind::Bridge) || !interface.admin_up {
            continue;
        }
        if let Some(master) = &interface.master {
            bridges.entry(master).or_default().insert(name.to_owned());
        }
    }
    let bridge = |(device, ports): (&str, _)| Bridge { device: device.to_owned(), ports };
    bridges.into_iter().map(bridge).collect()
}

/// The source whose listing shows a filter whole.
fn source(filter: &str) -> Option<ListingSource> {
    ListingSource::ALL.into_iter().find(|source| source.filter() == filter)
}

fn ruleset(told_of: Told<'_>, unread: &mut Vec<String>) -> Ruleset {
    let Told { view, listings, unlisted } = told_of;
    let facts = &view.facts;
    let mut all = Ruleset::default();
    let before = unread.len();
    let filters = told::<firewall::Ruleset>(facts, unread);
    if filters.as_ref().is_some_and(Vec::is_empty) {
        unread.push("it does not tell of its packet filters".to_owned());
    }
    for (filter, held) in filters.into_iter().flatten() {
        if held.tables.is_empty() {
            continue;
        }
        let Some(whole) = source(filter) else {
            unread.push(format!("the packet filter {filter} is not known"));
            continue;
        };
        let Some(listing) = listings.current(whole, facts) else {
            unread.push(match unlisted.get(&whole) {
                Some(why) => format!("{filter} cannot be listed: {why}"),
                None => format!("the listing of {filter} as it is now has not come"),
            });
            continue;
        };
        match read(whole, &listing.text) {
            Ok(read) => all.join(read),
            Err(why) => unread.push(format!("the listing of {filter} is not understood: {why}")),
        }
        // What nft prints of such rules as `xt` only; where it cannot be had they are unknown.
        let parts = ListingSource::ALL.into_iter().filter(|one| one.filter() == filter);
        for part in parts.filter(|part| *part != whole) {
            let text = listings.current(part, facts).map(|listing| &listing.text);
            match text.map(|text| read(part, text)) {
                Some(Ok(read)) => all.join(read),
                Some(Err(why)) => {
                    unread.push(format!("the listing of {part} is not understood: {why}"));
                }
                None => {}
            }
        }
    }
    match unread.get(before) {
        Some(why) => anything(why),
        None => all,
    }
}

fn read(source: ListingSource, text: &str) -> Result<Ruleset, String> {
    match source {
        ListingSource::Nftables => nft::parse(text).map_err(|why| why.to_string()),
        ListingSource::IptablesNft
        | ListingSource::Ip6tablesNft
        | ListingSource::IptablesLegacy
        | ListingSource::Ip6tablesLegacy => save::parse(text).map_err(|why| why.to_string()),
    }
}

/// A ruleset that may do anything with any packet, because it is not known.
fn anything(why: &str) -> Ruleset {
    let tables = [Family::Inet, Family::Bridge].map(|family| may_do_anything(family, why));
    Ruleset { tables: tables.into() }
}

/// A table that may do anything with what comes to its family.
fn may_do_anything(family: Family, why: &str) -> crate::model::ruleset::Table {
    let chain = |hook: Hook| Chain {
        name: hook.name().to_owned(),
        base: Some(Base {
            kind: ChainKind::Filter,
            hook,
            priority: 0,
            accepts: true,
            devices: Vec::new(),
        }),
        rules: vec![Rule {
            statements: vec![Statement::Unknown {
                text: why.to_owned(),
                effects: Effects { accepts: true, drops: true, changes: true },
            }],
            origin: Origin {
                place: Place::Line(0),
                text: why.to_owned(),
                comment: None,
                counted: None,
            },
        }],
    };
    let hooks = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
    crate::model::ruleset::Table {
        family,
        name: "unknown".to_owned(),
        maker: Maker::Nft,
        dormant: false,
        chains: hooks.into_iter().map(chain).collect(),
        sets: Vec::new(),
    }
}
