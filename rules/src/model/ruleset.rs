//! Tables, chains, sets and rules in one shape, whether nftables or iptables made them.
//!
//! How the kernel walks them is told by [`Ruleset::path`]; in short: the base
//! chains of a hook run in the order of their priorities, each until it accepts (then the next
//! runs) or drops (then nothing runs). `return` from a base chain and its end are its policy.

use super::field::{Field, Key};
use super::interval::{Interval, Intervals};

/// All that one kernel filters by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables in the order in which the files had them.
    pub tables: Vec<Table>,
}

/// Whose packets a table sees (nft(8), ADDRESS FAMILIES).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// ARP.
    Arp,
    /// Frames that cross a bridge.
    Bridge,
    /// Frames at one interface.
    Netdev,
}

impl Family {
    /// Its name, as nft(8) writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Arp => "arp",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
        }
    }
}

/// Who made a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Maker {
    /// nft(8), or iptables over nftables as `nft` lists it.
    Nft,
    /// iptables over nftables, as `iptables-save` lists it.
    IptablesNft,
    /// iptables-legacy, which the kernel runs beside nftables.
    IptablesLegacy,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Whose packets it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Who made it.
    pub maker: Maker,
    /// Whether it is kept but not entered (nft(8), flags dormant).
    pub dormant: bool,
    /// Its chains. A [`ChainId`] is a place in this list.
    pub chains: Vec<Chain>,
    /// Its sets and maps, named and anonymous. A [`SetId`] is a place in this list.
    pub sets: Vec<Set>,
}

/// A chain of the same table, by its place in [`Table::chains`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId(pub u32);

/// A set of the same table, by its place in [`Table::sets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub u32);

impl Table {
    /// A chain. Parsers make no identifier that has no chain.
    #[must_use]
    pub fn chain(&self, id: ChainId) -> &Chain {
        &self.chains[id.0 as usize]
    }

    /// A set, likewise.
    #[must_use]
    pub fn set(&self, id: SetId) -> &Set {
        &self.sets[id.0 as usize]
    }
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where it is entered by itself; none where only other chains call it.
    pub base: Option<Base>,
    /// Its rules in order. Calls between chains have no circle and are at most
    /// [`super::MAX_DEPTH`] deep.
    pub rules: Vec<Rule>,
}

/// Where a chain is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// What it may do.
    pub kind: ChainKind,
    /// At which point of a packet's way.
    pub hook: Hook,
    /// Smaller runs earlier. Among NAT chains of a hook it only tells which of them is asked first;
    /// all of them run at -100 (destination) or 100 (source).
    pub priority: i32,
    /// Whether packets pass that nothing in the chain decided.
    pub accepts: bool,
    /// The interfaces it is for, at ingress and egress. Where there are none, the listing did not
    /// tell (nft 1.0.6 does not), and it is not known whether the chain is entered.
    pub devices: Vec<String>,
}

/// What a base chain may do (nft(8), CHAINS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainKind {
    /// Filter.
    Filter,
    /// Translate; it sees only the first packet of a connection.
    Nat,
    /// Filter, and route again what was changed; only in `output`.
    Route,
}

/// A point of a packet's way through the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Right after the driver, one interface at a time.
    Ingress,
    /// Before it is known whether the packet is for this host.
    Prerouting,
    /// For this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// About to leave.
    Postrouting,
    /// Right before the driver.
    Egress,
}

impl Hook {
    /// Its name, as nft(8) writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Egress => "egress",
        }
    }
}

/// A rule: its statements run in order until one is not true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub statements: Vec<Statement>,
    /// Where it stands.
    pub origin: Origin,
}

/// Where a rule was found, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its place in the listing.
    pub place: Place,
    /// Its words: as `iptables-save` printed them, or as `nft` would. At most
    /// [`super::MAX_TEXT`] octets.
    pub text: String,
    /// Its comment.
    pub comment: Option<String>,
    /// What its counter counted, where it has one that is its own.
    pub counted: Option<Counted>,
}

/// How to find a rule again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// By the kernel's number, as `nft -a` shows it.
    Handle(u64),
    /// By the line of the file, from 1.
    Line(u32),
}

impl Place {
    /// The handle, or else the line.
    #[must_use]
    pub const fn parts(self) -> (Option<u64>, Option<u32>) {
        match self {
            Self::Handle(handle) => (Some(handle), None),
            Self::Line(line) => (None, Some(line)),
        }
    }
}

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counted {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
}

/// One thing that a rule asks or does. What changes nothing that this model knows of (counters,
/// logs, time to live, packet priority) is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The rule goes on where this is true.
    Match(Match),
    /// The rule ends with this.
    Verdict(Verdict),
    /// The rule ends with the verdict that a map has for the keys; where it has none, the rule is
    /// not true, and the next one is asked.
    VerdictMap {
        /// What is looked up.
        keys: Vec<Key>,
        /// The map.
        map: SetId,
    },
    /// A field gets a value: a mark, or an address or port without connection tracking.
    Set {
        /// Which.
        field: Field,
        /// What it becomes.
        value: Value,
    },
    /// The connection is translated, and the chain ends.
    Nat(Nat),
    /// The packet is excused from connection tracking, where that has not seen it yet: at
    /// priorities below -200.
    Notrack,
    /// The packet's connection skips `forward` from now on, by a flowtable.
    Offload,
    /// What is not understood.
    Unknown {
        /// Its words.
        text: String,
        /// What it may do at worst.
        effects: Effects,
    },
}

/// A condition. With several values, any of them will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// A key has one of these values, or with `not` none of them.
    In {
        /// What is compared.
        key: Key,
        /// The values; those outside of the key's mask never match.
        values: Intervals,
        /// Turned round.
        not: bool,
    },
    /// A set has an element for these keys, or with `not` none.
    Lookup {
        /// What is looked up, one key for each part of the set's key.
        keys: Vec<Key>,
        /// The set, or a map whose values are of no interest here.
        set: SetId,
        /// Turned round.
        not: bool,
    },
    /// At least one of these is true.
    Any(Vec<Match>),
    /// True or false, nobody knows: a limit, a time, a set that is not listed.
    Unknown {
        /// Its words.
        text: String,
    },
}

/// Where a packet goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// With the next base chain; this one is done.
    Accept,
    /// Nowhere, silently.
    Drop,
    /// Nowhere, and the sender is told.
    Reject,
    /// In another chain, and after its end behind this rule.
    Jump(ChainId),
    /// In another chain, and after its end where this one would go on after its own.
    Goto(ChainId),
    /// Behind the rule that called this chain; in a base chain, with its policy.
    Return,
    /// With the next rule.
    Continue,
    /// In a program, which may say anything; without one it is dropped, or accepted with `bypass`.
    Queue,
}

/// What a field becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One value.
    Constant(u128),
    /// `(of & and) ^ xor`.
    Bits {
        /// The field that is read, often the one that is written.
        of: Field,
        /// The bits that stay.
        and: u128,
        /// The bits that turn.
        xor: u128,
    },
    /// What a map has for these keys; where it has nothing, the rule is not true.
    Map {
        /// What is looked up.
        keys: Vec<Key>,
        /// The map.
        map: SetId,
    },
    /// Anything.
    Unknown,
}

/// Which end of a connection is translated, and how the new address is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatKind {
    /// The source, to a given address.
    Source,
    /// The destination, to a given address.
    Destination,
    /// The source, to an address of the interface it goes out by.
    Masquerade,
    /// The destination, to this host: an address of the interface it came in by, or loopback in
    /// `output`.
    Redirect,
}

impl NatKind {
    /// Whether the source changes.
    #[must_use]
    pub const fn is_source(self) -> bool {
        match self {
            Self::Source | Self::Masquerade => true,
            Self::Destination | Self::Redirect => false,
        }
    }
}

/// A translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nat {
    /// Which.
    pub kind: NatKind,
    /// The new address.
    pub address: NatAddress,
    /// The new port, one of these; without, it stays if it can.
    pub ports: NatPorts,
}

/// The address that a translation gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatAddress {
    /// It stays, or the kind tells.
    Kept,
    /// One of these, of either version; only packets of that version are translated.
    V4(Interval),
    /// One of these.
    V6(Interval),
    /// The first bits are those of the interval, the last ones stay (`prefix`, NETMAP).
    Prefix4(Interval),
    /// Likewise.
    Prefix6(Interval),
    /// What a map has for these keys, of either version. A second part of its values is the port.
    /// Where it has nothing, the rule is not true.
    Map {
        /// What is looked up.
        keys: Vec<Key>,
        /// The map.
        map: SetId,
        /// Which part of a value is the address, if any.
        address: Option<AddressPart>,
        /// Which part of a value is the port, if any.
        port: Option<usize>,
    },
    /// Anything.
    Unknown,
}

/// A part of a map's value that is an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressPart {
    /// Its place.
    pub part: usize,
    /// Whether it is an IPv6 address.
    pub v6: bool,
}

/// The port that a translation gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NatPorts {
    /// It stays if no other connection has it; a source port otherwise becomes another one.
    Kept,
    /// One of these.
    Range(Interval),
    /// Anything.
    Unknown,
}

/// What something that is not understood may do at worst. It never does anything else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Effects {
    /// It may accept, and so end its base chain.
    pub accepts: bool,
    /// It may drop.
    pub drops: bool,
    /// It may change addresses, ports or marks, or excuse the packet from connection tracking.
    pub changes: bool,
}

/// A set, or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name; empty where it is anonymous.
    pub name: String,
    /// What it has. Elements of nftables do not overlap, of iptables none are known.
    pub elements: Vec<Element>,
    /// What it has for keys that no element covers (`*` in nft(8)).
    pub otherwise: Option<Data>,
    /// Whether it changes by itself, because rules add to it: what it has is then only what it had
    /// when it was listed, and any look-up is unknown.
    pub changing: bool,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The keys that it is for, one interval for each part.
    pub key: Vec<Interval>,
    /// What a map has for it.
    pub data: Data,
    /// Whether it matches only at times: it has a limit of its own, or ends with time.
    pub unsure: bool,
}

/// What a set or map has for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing but that it is there.
    Present,
    /// A verdict.
    Verdict(Verdict),
    /// A value of one or more parts, each of one number or one of several.
    Value(Vec<Interval>),
    /// Something that is not understood.
    Unknown,
}

/// A base chain by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// The table, by its place in [`Ruleset::tables`].
    pub table: u32,
    /// The chain.
    pub chain: ChainId,
}

impl Ruleset {
    /// Adds what another listing of the same kernel has. iptables-save reads the tables of
    /// iptables-nft better than nft does: its tables stand in place of those.
    pub fn join(&mut self, other: Self) {
        for table in other.tables {
            let same = |known: &&mut Table| {
                let makers = [known.maker, table.maker];
                (known.family, &known.name) == (table.family, &table.name)
                    && makers.contains(&Maker::Nft)
                    && makers.contains(&Maker::IptablesNft)
            };
            match self.tables.iter_mut().find(same) {
                Some(known) if known.maker == Maker::Nft => *known = table,
                Some(_) => {}
                None => self.tables.push(table),
            }
        }
    }

    /// The table of a chain.
    #[must_use]
    pub fn table(&self, at: At) -> &Table {
        &self.tables[at.table as usize]
    }

    /// A chain.
    #[must_use]
    pub fn chain(&self, at: At) -> &Chain {
        self.table(at).chain(at.chain)
    }

    /// The base chains that an IP packet meets at a hook, in the order in which the kernel runs
    /// them. NAT chains stand at the priority at which the kernel runs all of them.
    ///
    /// Chains of one priority run newest first (`nf_hook_entries_grow`), but the listing tells the
    /// age of tables and not of hooks: their order is likely, not certain. They stand in one
    /// [`Step`].
    #[must_use]
    pub fn path(&self, hook: Hook, v6: bool) -> Vec<Step> {
        self.steps(hook, |family| match family {
            Family::Ip => !v6,
            Family::Ip6 => v6,
            Family::Inet => true,
            Family::Netdev => matches!(hook, Hook::Ingress | Hook::Egress),
            // Only frames that a bridge carries, and ARP.
            Family::Bridge | Family::Arp => false,
        })
    }

    /// The base chains that a frame with an IP packet meets at a hook of a bridge, likewise.
    #[must_use]
    pub fn frame_path(&self, hook: Hook) -> Vec<Step> {
        self.steps(hook, |family| family == Family::Bridge)
    }

    /// The base chains of the families that see what is at a hook.
    fn steps(&self, hook: Hook, sees: impl Fn(Family) -> bool) -> Vec<Step> {
        let mut found: Vec<(i32, bool, i32, At)> = Vec::new();
        for (place, table) in self.tables.iter().enumerate() {
            if table.dormant || !sees(table.family) {
                continue;
            }
            for (id, chain) in table.chains.iter().enumerate() {
                let Some(base) = chain.base.as_ref().filter(|base| base.hook == hook) else {
                    continue;
                };
                let nat = base.kind == ChainKind::Nat;
                let runs_at = if nat { nat_priority(hook) } else { base.priority };
                let at = At { table: narrow(place), chain: ChainId(narrow(id)) };
                found.push((runs_at, nat, base.priority, at));
            }
        }
        // Newest first among equals.
        found.reverse();
        found.sort_by_key(|(runs_at, nat, own, _)| (*runs_at, *nat, *own));
        let mut steps: Vec<Step> = Vec::new();
        for (priority, nat, own, at) in found {
            match steps.last_mut() {
                Some(last) if (last.priority, last.nat, last.own) == (priority, nat, own) => {
                    last.chains.push(at);
                }
                _ => steps.push(Step { priority, nat, own, chains: vec![at] }),
            }
        }
        steps
    }
}

/// Base chains of one hook and priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When they run: smaller is earlier.
    pub priority: i32,
    /// Whether they are NAT chains.
    pub nat: bool,
    /// Their own priority; differs from `priority` only among NAT chains.
    pub own: i32,
    /// The chains, in the likely order.
    pub chains: Vec<At>,
}

/// At which priority the kernel runs the NAT chains of a hook (`nf_nat_ipv4_ops`).
#[must_use]
pub const fn nat_priority(hook: Hook) -> i32 {
    match hook {
        Hook::Prerouting | Hook::Output => -100,
        Hook::Ingress | Hook::Input | Hook::Forward | Hook::Postrouting | Hook::Egress => 100,
    }
}

fn narrow(place: usize) -> u32 {
    // Bounded by MAX_TABLES and MAX_CHAINS.
    u32::try_from(place).unwrap_or(u32::MAX)
}
