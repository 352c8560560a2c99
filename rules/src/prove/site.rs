//! A whole site: whether any packet can break an invariant, and which one.
//!
//! Hosts hang on wires. A packet begins on a wire or in a host, passes hosts that forward, and ends in
//! a host or at an address on a wire that no known host has. What each host does with packets is worked
//! out once, for all packets that can come by an interface ([`transfer`]); an invariant is then a
//! search for the least set of packets that can be at each place ([`search`]). What is found is shown
//! as one packet, hop by hop ([`explain`]).
//!
//! What this rests on is told by [`Assumption`] and in `docs/proof.md`.

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

use super::arena::{NODES, Set, TooComplex};
use super::space::Space;
use super::words::Example;
use crate::model::network::Network;
use crate::model::ruleset::Ruleset;
use crate::name::{HostName, ZoneName};
use crate::policy::Policy;
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
    /// Its packet filters.
    pub ruleset: Ruleset,
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

/// A result, and what it depends on besides the rules of its hosts.
#[derive(Debug)]
struct Known {
    result: Result,
    /// The interfaces on the wires that were looked at.
    ports: BTreeSet<Port>,
}

/// What a search has looked at.
#[derive(Debug, Default)]
struct Footprint {
    hosts: BTreeSet<HostName>,
    wires: BTreeSet<(Layout, WireId)>,
}

/// Proves, and keeps what it has worked out for the next time.
#[derive(Debug)]
pub struct Prover {
    space: Space,
    nodes: usize,
    site: Site,
    /// The wires where bridges pass everything.
    wires: Wires,
    /// The same where some of them filter, if any does.
    parted: Option<Parted>,
    transfers: Transfers,
    /// The destinations that known hosts answer for, by wire.
    owned: HashMap<(Layout, WireId), Set>,
    /// The destinations of what hosts take.
    takes: HashMap<HostName, Set>,
    results: BTreeMap<String, Known>,
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
        let wires = Wires::of(&site);
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
            results: BTreeMap::new(),
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
        self.change(name, Some(host));
    }

    /// Takes it that a host is no more.
    pub fn remove(&mut self, name: &HostName) {
        self.change(name, None);
    }

    fn change(&mut self, name: &HostName, host: Option<Host>) {
        let near = self.near(name);
        let before = match host {
            Some(host) => self.site.hosts.insert(name.clone(), host),
            None => self.site.hosts.remove(name),
        };
        let now = self.site.hosts.get(name);
        // What decides which hosts are looked at at all.
        let moved = match (&before, now) {
            (Some(before), Some(now)) => {
                before.network != now.network
                    || before.bridges != now.bridges
                    || before.filtering().ne(now.filtering())
                    || before.zone != now.zone
                    || before.forwards_v4 != now.forwards_v4
                    || before.forwards_v6 != now.forwards_v6
            }
            (before, now) => before.is_some() || now.is_some(),
        };
        self.transfers.turn(name, before.as_ref(), now);
        self.results.retain(|_, known| !known.result.hosts.contains(name));
        if moved {
            self.wires = Wires::of(&self.site);
            self.parted = Parted::of(&self.site, &self.wires);
            self.owned.clear();
            self.takes.remove(name);
            let near: BTreeSet<Port> = near.into_iter().chain(self.near(name)).collect();
            let Self { site, wires, results, .. } = self;
            let hosts = [before.as_ref(), site.hosts.get(name)];
            results.retain(|invariant, known| {
                let what = site.policy.invariants.get(invariant).map(|one| &one.what);
                let begins =
                    what.is_none_or(|what| search::begins(site, wires, what, hosts, &near));
                known.ports.is_disjoint(&near) && !begins
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
        self.takes.clear();
    }

    /// The wires of a layout; all are one where no bridge filters.
    fn laid(&self, layout: Layout) -> &Wires {
        match (&self.parted, layout) {
            (None, _) | (Some(_), Layout::Joined) => &self.wires,
            (Some(parted), Layout::Maybe) => &parted.maybe,
            (Some(parted), Layout::Surely) => &parted.surely,
        }
    }

    /// The interfaces that a host shares a wire with, its own among them.
    fn near(&self, name: &HostName) -> BTreeSet<Port> {
        let wires = self.wires.all().map(|(_, wire)| &wire.ports);
        let own = wires.filter(|ports| ports.iter().any(|port| port.host == *name));
        own.flatten().cloned().collect()
    }

    /// Every invariant of the policy, in the order of their names.
    pub fn prove(&mut self) -> Vec<Result> {
        let names: Vec<String> = self.site.policy.invariants.keys().cloned().collect();
        names.iter().filter_map(|name| self.invariant(name)).collect()
    }

    /// What is known of an invariant without proving anything.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<&Result> {
        self.results.get(name).map(|known| &known.result)
    }

    /// One invariant; nothing where the policy has none of the name.
    pub fn invariant(&mut self, name: &str) -> Option<Result> {
        if let Some(known) = self.results.get(name) {
            return Some(known.result.clone());
        }
        let invariant = self.site.policy.invariants.get(name)?.clone();
        let mut seen = Footprint::default();
        let answer = match search::answer(self, &invariant.what, &mut seen) {
            Ok(answer) => answer,
            Err(why) => {
                // The sets of this question may fit where those of all before do not.
                self.begin_afresh();
                let again = search::answer(self, &invariant.what, &mut seen);
                again.unwrap_or_else(|_| too_complex(why))
            }
        };
        let Footprint { hosts, wires } = seen;
        let wires = wires.iter().map(|(layout, wire)| self.laid(*layout).get(*wire));
        let ports = wires.flat_map(|wire| &wire.ports).cloned().collect();
        let result = Result { invariant: name.to_owned(), line: invariant.line, answer, hosts };
        self.results.insert(name.to_owned(), Known { result: result.clone(), ports });
        Some(result)
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
