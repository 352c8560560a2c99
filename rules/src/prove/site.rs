//! A whole site: whether any packet can break an invariant, and which one.
//!
//! Hosts hang on wires. A packet begins on a wire or in a host, passes hosts that forward, and ends in
//! a host or at an address on a wire that no known host has. What each host does with packets is worked
//! out once, for all packets that can come by an interface ([`transfer`]); an invariant is then a
//! search for the least set of packets that can be at each place ([`search`]). What is found is shown
//! as one packet, hop by hop ([`explain`]).
//!
//! What this rests on is told by [`Assumption`] and in `docs/proof.md`.

mod alike;
mod always;
pub mod assemble;
mod bridge;
mod compiled;
pub mod device;
mod explain;
pub mod follow;
mod route;
mod search;
pub mod told;
mod transfer;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use ipnet::IpNet;

use super::arena::{NODES, Set, TooComplex};
use super::space::{End, Space};
use super::words::Example;
use crate::model::network::Network;
use crate::model::ruleset::Ruleset;
use crate::name::{HostName, ZoneName};
use crate::policy::{Addresses, Policy};
use crate::text::Text;

pub use self::bridge::Bridge;
pub use self::explain::{Cut, Deciding, DecidingRule, Hop};
pub use crate::fact::links::ReversePath;

use self::transfer::Transfers;
use self::wire::{Layout, Parted, WireId, Wires};

/// Hosts of one site, at most.
pub const MAX_HOSTS: usize = 20_000;

/// What is known of one host or device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// The zone it is in.
    pub zone: Option<ZoneName>,
    /// Its packet filters. Thousands of rules are not copied with the host.
    pub ruleset: Arc<Ruleset>,
    /// Its interfaces, addresses and routes.
    pub network: Network,
    /// Whether it passes on IPv4 packets (`net.ipv4.ip_forward`).
    pub forwards_v4: bool,
    /// Whether it passes on IPv6 packets (`net.ipv6.conf.all.forwarding`).
    pub forwards_v6: bool,
    /// What it does with sources that come by the wrong interface, by interface.
    pub reverse_path: BTreeMap<String, ReversePath>,
    /// Its bridges.
    pub bridges: Vec<Bridge>,
    /// What of it could not be read, in words.
    pub unread: Vec<String>,
}

impl Host {
    /// Whether it passes on packets of one version.
    #[must_use]
    pub const fn forwards(&self, v6: bool) -> bool {
        if v6 { self.forwards_v6 } else { self.forwards_v4 }
    }
}

/// An interface of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The host.
    pub host: HostName,
    /// The interface's name.
    pub interface: String,
}

/// Everything that a proof is about.
#[derive(Debug, Clone)]
pub struct Site {
    /// What must hold, and where the zones are.
    pub policy: Policy,
    /// Hosts and declared devices.
    pub hosts: BTreeMap<HostName, Host>,
    /// Interfaces that are known to be on one wire, besides those with addresses of one network.
    pub links: Vec<BTreeSet<Port>>,
}

/// What a proof takes for granted and the model does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assumption {
    /// Every kernel does what its rulesets, routes and settings say.
    Kernels,
    /// Interfaces with addresses of one network are on one wire, as are those that are linked, and no
    /// others are.
    Wires,
    /// Hosts that the model does not have forward nothing from wire to wire.
    NoUnknownRouters,
    /// Packets that belong to a connection that somebody else opened, or to errors of it, open none.
    Replies,
    /// Neighbour discovery and multicast listener messages stay on their wire (RFC 4861, RFC 3810).
    Neighbours,
    /// What arrives is answered, and the answers come back as packets of the connection. Only where
    /// something must be possible.
    AnswersComeBack,
    /// Nobody on a wire sends with addresses of other networks. Needed only where a packet with a forged
    /// source would break the invariant; this is one.
    NoForgedSources(Box<Example>),
}

impl Assumption {
    /// Its name for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kernels => "kernels",
            Self::Wires => "wires",
            Self::NoUnknownRouters => "no_unknown_routers",
            Self::Replies => "replies",
            Self::Neighbours => "neighbours",
            Self::AnswersComeBack => "answers_come_back",
            Self::NoForgedSources(_) => "no_forged_sources",
        }
    }

    /// The assumption in words.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::Kernels => Text::new(
                "every kernel does what its rulesets, routes and settings say",
                "各主机内核按其规则集、路由与设置处理报文",
            ),
            Self::Wires => Text::new(
                "interfaces with addresses of one network, and those that are linked, are on one wire; no others are",
                "地址属同一网络的接口及已声明相连的接口位于同一线路，其余接口互不相连",
            ),
            Self::NoUnknownRouters => Text::new(
                "hosts that are not in the model forward nothing between its wires; unknown routers lead to the Internet only",
                "模型之外的主机不在线路之间转发；未知路由器只通往互联网",
            ),
            Self::Replies => Text::new(
                "packets of connections that somebody else opened, and errors about them, open none",
                "他方所建连接的报文及其差错报文不会建立新连接",
            ),
            Self::Neighbours => Text::new(
                "neighbour discovery and multicast listener messages stay on their wire",
                "邻居发现与组播侦听报文不离开所在线路",
            ),
            Self::AnswersComeBack => Text::new(
                "what arrives is answered, and the answers come back the way that the connection opened",
                "到达的报文会得到应答，且应答沿该连接已打开的路径返回",
            ),
            Self::NoForgedSources(packet) => Text::new(
                format!(
                    "nobody sends with source addresses of another network, such as {packet}; switch rp_filter on, or drop them where they come in"
                ),
                format!(
                    "没有主机伪造其他网络的源地址，例如 {packet}；请启用 rp_filter，或在入口处丢弃此类报文"
                ),
            ),
        }
    }
}

/// What is known about an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// No packet breaks it, if the assumptions hold.
    Proved {
        /// What it rests on.
        assumptions: Vec<Assumption>,
    },
    /// A packet breaks it.
    Broken(Box<Breach>),
    /// Nobody knows, because of something that is not understood.
    OutOfModel(Box<Doubt>),
}

/// A packet that breaks an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The packet as it begins.
    pub packet: Example,
    /// Its way.
    pub path: Vec<Hop>,
    /// Where it ends, in words.
    pub end: Text,
    /// Changes of one rule, each of which would stop this packet.
    pub cuts: Vec<Cut>,
}

/// Why nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// What is not understood.
    pub statement: String,
    /// Where, as host and rule; nothing where it is about the whole proof.
    pub at: Option<String>,
    /// What it would take to know.
    pub wanted: Text,
    /// A packet that may break the invariant, with its way.
    pub perhaps: Option<Breach>,
}

/// An invariant, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Result {
    /// Its name.
    pub invariant: String,
    /// The line of the policy it stands on.
    pub line: u64,
    /// What is known.
    pub answer: Answer,
    /// The hosts whose rules were looked at. A change of any other leaves the answer as it is, as long
    /// as it moves no wire.
    pub hosts: BTreeSet<HostName>,
}

/// Hosts that are others than they were, or no more.
pub type Changes = Vec<(HostName, Option<Host>)>;

/// A result, and what it depends on besides the rules of its hosts.
#[derive(Debug)]
struct Known {
    result: Result,
    /// The interfaces on the wires that were looked at.
    ports: BTreeSet<Port>,
    /// What was found on the way, where the result may outlast other rules on some of its hosts.
    kept: Option<Kept>,
    /// Hosts that it looked at and that have other rules since.
    changed: BTreeSet<HostName>,
}

/// What was found on the way to a proof.
#[derive(Debug)]
enum Kept {
    /// Where packets came to, and nothing that they must not come to.
    Never(search::Trace),
    /// Which packets must arrive, and all do.
    Always(always::Trace),
}

/// What a search has looked at.
#[derive(Debug, Clone, Default)]
struct Footprint {
    hosts: BTreeSet<HostName>,
    wires: BTreeSet<(Layout, WireId)>,
}

impl Footprint {
    fn extend(&mut self, more: &Self) {
        self.hosts.extend(more.hosts.iter().cloned());
        self.wires.extend(&more.wires);
    }
}

/// Proves, and keeps what it has worked out for the next time.
#[derive(Debug)]
pub struct Prover {
    space: Space,
    nodes: usize,
    site: Site,
    /// The wires where bridges pass everything.
    wires: Rc<Wires>,
    /// The same where some of them filter, if any does.
    parted: Option<Parted>,
    transfers: Transfers,
    /// The destinations that known hosts answer for, by wire.
    owned: HashMap<(Layout, WireId), Set>,
    /// The destinations of what hosts take.
    takes: HashMap<HostName, Set>,
    /// The destinations that hosts answer for.
    answers: HashMap<HostName, Set>,
    /// The same as addresses.
    addresses: HashMap<HostName, Rc<Addresses>>,
    results: BTreeMap<String, Known>,
    /// What is searched for, by invariant; where hosts are, and what they have, makes it another.
    questions: HashMap<String, Rc<search::Question>>,
    /// Whether receivers are believed to filter what a router brings them.
    receivers_filter: bool,
}

impl Prover {
    /// Of this site.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Self::within(site, NODES)
    }

    /// The same with an own bound on the memory. See [`NODES`].
    #[must_use]
    pub fn within(site: Site, nodes: usize) -> Self {
        let wires = Rc::new(Wires::of(&site));
        let parted = Parted::of(&site, &wires);
        Self {
            space: Space::new(nodes),
            nodes,
            site,
            wires,
            parted,
            transfers: Transfers::default(),
            owned: HashMap::new(),
            takes: HashMap::new(),
            answers: HashMap::new(),
            addresses: HashMap::new(),
            results: BTreeMap::new(),
            questions: HashMap::new(),
            receivers_filter: true,
        }
    }

    /// The same, where whatever a router puts on the wire of its receiver has arrived, though the receiver
    /// may drop it: what is between two wires must hold without the filters of those who are on them.
    #[must_use]
    pub fn without_receivers(mut self) -> Self {
        self.receivers_filter = false;
        self
    }

    /// The site as it is now.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// How many nodes the sets of packets have.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.space.nodes()
    }

    /// Takes what a host is now. Only what depends on it is proved again.
    pub fn update(&mut self, name: &HostName, host: Host) {
        self.change(vec![(name.clone(), Some(host))], None);
    }

    /// Takes it that a host is no more.
    pub fn remove(&mut self, name: &HostName) {
        self.change(vec![(name.clone(), None)], None);
    }

    /// Takes what has changed of the site at once: hosts, and, where told, all its links. Only what depends
    /// on that is proved again.
    pub fn change(&mut self, hosts: Changes, links: Option<Vec<BTreeSet<Port>>>) {
        let mut hosts = hosts;
        hosts.retain(|(name, host)| self.site.hosts.get(name) != host.as_ref());
        let elsewhere = hosts
            .iter()
            .filter(|(name, host)| is_elsewhere(self.site.hosts.get(name), host.as_ref()));
        let moved: BTreeSet<HostName> = elsewhere.map(|(name, _)| name.clone()).collect();
        let links = links.filter(|links| *links != self.site.links);
        let relinked: Vec<Port> = match &links {
            Some(links) => {
                let known: BTreeSet<&BTreeSet<Port>> = self.site.links.iter().collect();
                let told: BTreeSet<&BTreeSet<Port>> = links.iter().collect();
                known.symmetric_difference(&told).copied().flatten().cloned().collect()
            }
            None => Vec::new(),
        };
        let mut near = self.near(&moved, &relinked);
        let mut befores = Vec::new();
        for (name, host) in hosts {
            let before = match host {
                Some(host) => self.site.hosts.insert(name.clone(), host),
                None => self.site.hosts.remove(&name),
            };
            self.transfers.turn(&self.site, &name, before.as_ref());
            self.results.retain(|_, known| known.outlasts(&name));
            if moved.contains(&name) {
                self.takes.remove(&name);
                self.answers.remove(&name);
                self.addresses.remove(&name);
                befores.extend(before);
            }
        }
        let is_relinked = links.is_some();
        if let Some(links) = links {
            self.site.links = links;
        }
        if is_relinked || !moved.is_empty() {
            self.wires = Rc::new(Wires::of(&self.site));
            self.parted = Parted::of(&self.site, &self.wires);
            self.owned.clear();
            self.questions.clear();
            self.forget_kept();
            near.extend(self.near(&moved, &relinked));
            let Self { site, wires, results, .. } = self;
            let now = moved.iter().filter_map(|name| site.hosts.get(name));
            let hosts: Vec<&Host> = befores.iter().chain(now).collect();
            results.retain(|invariant, known| {
                let what = site.policy.invariants.get(invariant).map(|one| &one.what);
                let begins =
                    || what.is_none_or(|what| search::begins(site, wires, what, &hosts, &near));
                known.ports.is_disjoint(&near) && !begins()
            });
        }
        // What is not needed any more is not given back one by one.
        if self.space.nodes() > self.nodes / 2 {
            self.begin_afresh();
        }
    }

    /// Gives back all sets, and forgets what is told in them.
    fn begin_afresh(&mut self) {
        self.space = Space::new(self.nodes);
        self.transfers = Transfers::default();
        self.owned.clear();
        self.questions.clear();
        self.takes.clear();
        self.answers.clear();
        self.forget_kept();
    }

    /// The wires of a layout; all are one where no bridge filters.
    fn laid(&self, layout: Layout) -> &Rc<Wires> {
        match (&self.parted, layout) {
            (None, _) | (Some(_), Layout::Joined) => &self.wires,
            (Some(parted), Layout::Maybe) => &parted.maybe,
            (Some(parted), Layout::Surely) => &parted.surely,
        }
    }

    /// Forgets what was found on the way to results, and those that need it to be true.
    fn forget_kept(&mut self) {
        self.results.retain(|_, known| known.changed.is_empty());
        self.results.values_mut().for_each(|known| known.kept = None);
    }

    /// The interfaces that some hosts share a wire with, their own among them, and those on the wires of
    /// others.
    fn near(&self, hosts: &BTreeSet<HostName>, ports: &[Port]) -> BTreeSet<Port> {
        let of_hosts = hosts.iter().flat_map(|name| self.wires.of_host(name));
        let of_hosts = of_hosts.map(|(wire, _)| *wire);
        let of_ports = ports.iter().filter_map(|port| self.wires.at(port));
        let wires: BTreeSet<WireId> = of_hosts.chain(of_ports).collect();
        wires.into_iter().flat_map(|wire| self.wires.get(wire).ports.iter().cloned()).collect()
    }

    /// The addresses that a host answers for.
    fn addresses_of(&mut self, name: &HostName) -> Rc<Addresses> {
        let Self { site, addresses, .. } = self;
        if let Some(known) = addresses.get(name) {
            return Rc::clone(known);
        }
        let host = site.hosts.get(name);
        let own = host.into_iter().flat_map(|host| host.network.answers_for());
        let own = Rc::new(own.collect::<Addresses>());
        addresses.insert(name.clone(), Rc::clone(&own));
        own
    }

    /// The destinations that a host answers for.
    fn answered_by(&mut self, name: &HostName) -> std::result::Result<Set, TooComplex> {
        let Self { space, site, answers, .. } = self;
        if let Some(known) = answers.get(name) {
            return Ok(*known);
        }
        let host = site.hosts.get(name);
        let own = host.into_iter().flat_map(|host| host.network.answers_for());
        let own = space.networks(End::Destination, &own.collect::<Vec<IpNet>>())?;
        answers.insert(name.clone(), own);
        Ok(own)
    }

    /// Every invariant of the policy, in the order of their names.
    pub fn prove(&mut self) -> Vec<Result> {
        let names: Vec<String> = self.site.policy.invariants.keys().cloned().collect();
        names.iter().filter_map(|name| self.invariant(name)).collect()
    }

    /// What is known of an invariant without proving anything.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<&Result> {
        let known = self.results.get(name).filter(|known| known.changed.is_empty());
        known.map(|known| &known.result)
    }

    /// One invariant; nothing where the policy has none of the name.
    pub fn invariant(&mut self, name: &str) -> Option<Result> {
        if let Some(known) = self.known(name) {
            return Some(known.clone());
        }
        if let Some(known) = self.results.remove(name)
            && let Some(known) = self.again(known)
        {
            let result = known.result.clone();
            self.results.insert(name.to_owned(), known);
            return Some(result);
        }
        let invariant = self.site.policy.invariants.get(name)?.clone();
        let mut seen = Footprint::default();
        let mut found = search::answer(self, name, &invariant.what, &mut seen);
        if let Err(TooComplex::Nodes { .. }) = found {
            // The sets of this question may fit where those of all before do not.
            self.begin_afresh();
            found = search::answer(self, name, &invariant.what, &mut seen);
        }
        let (answer, kept) = found.unwrap_or_else(|why| (too_complex(why), None));
        let Footprint { hosts, wires } = seen;
        let ports = self.ports(&wires);
        let result = Result { invariant: name.to_owned(), line: invariant.line, answer, hosts };
        let known = Known { result: result.clone(), ports, kept, changed: BTreeSet::new() };
        self.results.insert(name.to_owned(), known);
        Some(result)
    }

    /// All interfaces on some wires, whoever hears them.
    fn ports(&self, wires: &BTreeSet<(Layout, WireId)>) -> BTreeSet<Port> {
        let wires = wires.iter().map(|(layout, wire)| self.laid(*layout).get(*wire));
        wires.flat_map(|wire| wire.ports.iter().chain(&wire.behind)).cloned().collect()
    }

    /// A result of before, where the hosts that have other rules now make no difference to it.
    fn again(&mut self, known: Known) -> Option<Known> {
        let Known { mut result, mut ports, kept, changed } = known;
        let mut seen = Footprint::default();
        let kept = match kept? {
            Kept::Never(trace) => {
                let trace = search::again(self, trace, &changed, &mut seen).ok().flatten()?;
                Kept::Never(trace)
            }
            Kept::Always(trace) => {
                let trace = always::again(self, trace, &changed).ok().flatten()?;
                let looked_at = trace.looked_at();
                seen.wires = looked_at.wires;
                result.hosts = looked_at.hosts;
                Kept::Always(trace)
            }
        };
        ports.extend(self.ports(&seen.wires));
        Some(Known { result, ports, kept: Some(kept), changed: BTreeSet::new() })
    }
}

impl Known {
    /// Whether it may outlast it that a host has other rules.
    fn outlasts(&mut self, host: &HostName) -> bool {
        if !self.result.hosts.contains(host) {
            return true;
        }
        self.changed.insert(host.clone());
        self.kept.is_some()
    }
}

/// Whether what decides which hosts are looked at at all is another, of a host as it was and is.
fn is_elsewhere(before: Option<&Host>, now: Option<&Host>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => {
            before.network != now.network
                || before.bridges != now.bridges
                || before.filtering().ne(now.filtering())
                || before.zone != now.zone
                || before.forwards_v4 != now.forwards_v4
                || before.forwards_v6 != now.forwards_v6
        }
        (before, now) => before.is_some() || now.is_some(),
    }
}

fn too_complex(why: TooComplex) -> Answer {
    Answer::OutOfModel(Box::new(Doubt {
        statement: why.to_string(),
        at: None,
        wanted: Text::new(
            "more memory for the proof, or fewer different rules on the hosts that forward",
            "需要更多内存，或减少转发主机上互不相同的规则",
        ),
        perhaps: None,
    }))
}
