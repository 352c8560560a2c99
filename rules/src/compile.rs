//! From the policy and one host to the one table that its kernel gets: `table inet bailey`.
//!
//! The table says the same as [`Policy::allows`], for the packets that this host receives, sends or
//! forwards. What it adds is what the network itself needs (loopback, replies, neighbour
//! discovery), and counters. `docs/ruleset.md` tells how to read it.
//!
//! The same policy gives the same text, octet for octet.

mod listed;
mod rule;
mod set;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

pub use self::rule::PolicyLine;

use self::rule::{Way, comment};
use self::set::{Family, Sets};
use crate::name::{HostName, ZoneName};
use crate::policy::{Addresses, Mode, OnDrift, Origin, Party, Permit, Policy, Service};

pub use self::listed::{NotCompiled, listed};

/// The name of the table.
const TABLE: &str = "bailey";

/// The counter of what the policy does not let through, in a table that drops it.
pub const DROPPED: &str = "dropped";
/// The counter of what the policy does not let through, in a table that only observes.
pub const WOULD_DROP: &str = "would-drop";

/// At most so many refused packets a second go to the kernel's log.
const LOGGED_A_SECOND: u32 = 10;
/// At most so many at once.
const LOGGED_AT_ONCE: u32 = 20;

/// Neighbour discovery (RFC 4861) that a host receives and sends. A packet of it was forwarded by
/// nobody exactly when its hop limit is 255.
const NEIGHBOURS: &str = "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, \
                          nd-neighbor-advert } ip6 hoplimit 255 accept";
/// Multicast listeners (RFC 2710, RFC 3810), without which switches do not deliver neighbour
/// discovery. Their hop limit is 1.
const LISTENERS: &str = "icmpv6 type { mld-listener-query, mld-listener-report, \
                         mld-listener-done, mld2-listener-report } ip6 hoplimit 1 accept";

/// What the policy means for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// One `table inet bailey { ... }` for nft(8).
    pub text: String,
    /// Whether it drops or only counts what the policy does not let through.
    pub mode: Mode,
    /// Whether it is put back when somebody else changes it.
    pub restore: bool,
}

/// Compiles one policy for many hosts: what they share is worked out once.
#[derive(Debug)]
pub struct Compiler<'p> {
    policy: &'p Policy,
    file: &'p str,
    permits: Vec<Permit>,
    sets: Sets,
}

impl<'p> Compiler<'p> {
    /// Of this policy. `file` is what comments call it.
    #[must_use]
    pub fn new(policy: &'p Policy, file: &'p str) -> Self {
        Self { policy, file, permits: policy.permits(), sets: Sets::of(policy) }
    }

    /// The ruleset of a host. `zone` is the zone the host was enrolled into; a host that the policy names is
    /// in the zone that the policy says.
    #[must_use]
    pub fn ruleset(&self, host: &HostName, zone: &ZoneName) -> Compiled {
        let policy = self.policy;
        let place = Place::of(policy, host, zone, &self.permits);
        let mode = policy.mode_of(host, place.zone);
        let mut table = Table::new(policy, self.file, mode, self.sets.clone());
        table.hook(&place, Hook::Input);
        table.hook(&place, Hook::Output);
        table.hook(&place, Hook::Forward);
        let what = match mode {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        };
        Compiled {
            text: table.text(&format!("{} {host} {what}", policy.site)),
            mode,
            restore: policy.on_drift_of(host, place.zone) == OnDrift::Restore,
        }
    }
}

/// The ruleset of one host, as [`Compiler::ruleset`].
#[must_use]
pub fn ruleset(policy: &Policy, file: &str, host: &HostName, zone: &ZoneName) -> Compiled {
    Compiler::new(policy, file).ruleset(host, zone)
}

/// The ruleset of a host in quarantine: it is administered, it reports, it opens the services that
/// the policy names for this inside its own zone, and nothing else. What was open is cut.
#[must_use]
pub fn quarantine(policy: &Policy, file: &str, host: &HostName, zone: &ZoneName) -> String {
    let place = Place::of(policy, host, zone, &policy.permits());
    let mut kept: Vec<Permit> = place
        .permits
        .iter()
        .filter(|permit| matches!(permit.origin, Origin::Management(_) | Origin::Collector(_)))
        .cloned()
        .collect();
    let host_itself = Arc::new(place.addresses.clone());
    let own_zone = Arc::new(policy.addresses(&Party::Zone(place.zone.clone())));
    let line = kept.first().map_or(0, |permit| permit.line);
    kept.extend(policy.quarantine.services.iter().map(|service| Permit {
        origin: Origin::Management(place.zone.clone()),
        line,
        from: Arc::clone(&host_itself),
        to: Arc::clone(&own_zone),
        service: policy.services.get(service).cloned().unwrap_or_default(),
    }));
    let mut table = Table::new(policy, file, Mode::Enforce, Sets::of(policy));
    for hook in [Hook::Input, Hook::Output, Hook::Forward] {
        let mut rules = own(hook);
        if hook != Hook::Forward {
            for permit in &kept {
                rules.extend(table.both_ways(permit, &place, hook, None));
            }
        }
        table.base(hook, &rules);
    }
    table.text(&format!("{} {host} quarantine", policy.site))
}

/// One host as the policy sees it.
struct Place<'a> {
    zone: &'a ZoneName,
    /// Its addresses; those of its whole zone where the policy names none.
    addresses: Addresses,
    /// The zones that it has addresses in.
    zones: BTreeSet<Option<&'a ZoneName>>,
    forwards: bool,
    /// What can concern it.
    permits: Vec<Permit>,
}

impl<'a> Place<'a> {
    fn of(policy: &'a Policy, host: &HostName, zone: &'a ZoneName, permits: &[Permit]) -> Self {
        let entry = policy.hosts.get(host);
        let zone = entry.map_or(zone, |entry| &entry.zone);
        let itself = Party::Host(host.clone());
        let mut addresses = policy.addresses(&itself);
        let mut zones = BTreeSet::from([Some(zone)]);
        if addresses.is_empty() {
            addresses = policy.addresses(&Party::Zone(zone.clone()));
        } else {
            zones.extend(policy.zones_of(&itself));
        }
        let forwards = policy.forwards(host);
        let concerns = |permit: &&Permit| {
            forwards || permit.from.meets(&addresses) || permit.to.meets(&addresses)
        };
        let permits = permits.iter().filter(concerns).cloned().collect();
        Self { zone, addresses, zones, forwards, permits }
    }

    /// The other ends of the permits that the host is at an end of, each once: many permits share one.
    fn partners(&self) -> Vec<&Addresses> {
        let mut partners: BTreeMap<*const Addresses, &Addresses> = BTreeMap::new();
        for permit in &self.permits {
            for (own, other) in [(&permit.from, &permit.to), (&permit.to, &permit.from)] {
                if own.meets(&self.addresses) {
                    partners.insert(Arc::as_ptr(other), other);
                }
            }
        }
        partners.into_values().collect()
    }

    /// Whether packets in the direction of a permit pass here.
    fn concerns(&self, permit: &Permit, hook: Hook, way: Way) -> bool {
        let (from, to) = match way {
            Way::Opening | Way::There => (&permit.from, &permit.to),
            Way::Back => (&permit.to, &permit.from),
        };
        match hook {
            Hook::Input => to.meets(&self.addresses),
            Hook::Output => from.meets(&self.addresses),
            Hook::Forward => self.forwards,
        }
    }
}

/// Pairs of zones between which something is permitted in one direction or the other. `None` is the
/// Internet.
fn meetings<'a>(
    zones: &[(Option<&'a ZoneName>, Addresses)],
    permits: &[Permit],
) -> BTreeSet<(Option<&'a ZoneName>, Option<&'a ZoneName>)> {
    // Many permits share an end.
    let mut asked: BTreeMap<*const Addresses, Vec<Option<&'a ZoneName>>> = BTreeMap::new();
    let mut touched = |end: &Arc<Addresses>| -> Vec<Option<&'a ZoneName>> {
        let met = || zones.iter().filter(|(_, all)| all.meets(end)).map(|(zone, _)| *zone);
        asked.entry(Arc::as_ptr(end)).or_insert_with(|| met().collect()).clone()
    };
    let mut known = BTreeSet::new();
    for permit in permits {
        let (from, to) = (touched(&permit.from), touched(&permit.to));
        for from in &from {
            for to in &to {
                known.extend([(*from, *to), (*to, *from)]);
            }
        }
    }
    known
}

/// Where a packet is met (nft(8), ADDRESS FAMILIES).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Input,
    Output,
    Forward,
}

impl Hook {
    const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Forward => "forward",
        }
    }
}

/// What a host needs to be on a network at all.
fn own(hook: Hook) -> Vec<String> {
    match hook {
        Hook::Input => vec![
            "iif lo accept".to_owned(),
            "ip saddr 127.0.0.0/8 goto refused".to_owned(),
            "ip6 saddr ::1 goto refused".to_owned(),
            NEIGHBOURS.to_owned(),
            LISTENERS.to_owned(),
        ],
        Hook::Output => {
            vec!["oif lo accept".to_owned(), NEIGHBOURS.to_owned(), LISTENERS.to_owned()]
        }
        Hook::Forward => Vec::new(),
    }
}

/// The table as it grows.
struct Table<'a> {
    policy: &'a Policy,
    file: &'a str,
    mode: Mode,
    sets: Sets,
    counters: BTreeSet<String>,
    chains: String,
}

impl<'a> Table<'a> {
    fn new(policy: &'a Policy, file: &'a str, mode: Mode, sets: Sets) -> Self {
        let counters = [match mode {
            Mode::Observe => WOULD_DROP.to_owned(),
            Mode::Enforce => DROPPED.to_owned(),
        }];
        Self { policy, file, mode, sets, counters: counters.into(), chains: String::new() }
    }

    /// One base chain of an ordinary ruleset.
    fn hook(&mut self, place: &Place<'_>, hook: Hook) {
        let mut rules = own(hook);
        if hook == Hook::Forward && !place.forwards {
            self.base(hook, &rules);
            return;
        }
        rules.push("ct state invalid goto refused".to_owned());
        rules.extend(self.foreign(place, hook));
        // Exchange points come before the general rule for replies, so that all that crosses there
        // is counted there.
        for permit in &place.permits {
            if let Origin::Exchange(name) = &permit.origin {
                rules.extend(self.both_ways(permit, place, hook, Some(name)));
            }
        }
        rules.push("ct state established,related accept".to_owned());
        for permit in &place.permits {
            let counter = match &permit.origin {
                Origin::Exchange(_) => continue,
                Origin::Flow(nth) => format!("flow-{nth}"),
                Origin::Management(zone) => format!("management-{zone}"),
                Origin::Collector(zone) => format!("collector-{zone}"),
            };
            if place.concerns(permit, hook, Way::Opening) {
                rules.extend(self.one_way(permit, Way::Opening, Some(&counter)));
            }
        }
        self.base(hook, &rules);
    }

    /// Cuts what has no business here in either direction, connections too that were opened before
    /// this policy came.
    fn foreign(&mut self, place: &Place<'_>, hook: Hook) -> Vec<String> {
        let zones: Vec<(Option<&ZoneName>, Addresses)> = self
            .policy
            .zones
            .keys()
            .map(|zone| (Some(zone), self.policy.addresses(&Party::Zone(zone.clone()))))
            .chain([(None, self.policy.addresses(&Party::Internet))])
            .collect();
        let all_of = |these: &dyn Fn(Option<&ZoneName>, &Addresses) -> bool| {
            let these = zones.iter().filter(|(zone, all)| these(*zone, all));
            these.map(|(_, all)| all).collect::<Addresses>()
        };
        let mut rules = Vec::new();
        if hook != Hook::Forward {
            let partners = place.partners();
            let foreign = all_of(&|zone, all| {
                !place.zones.contains(&zone) && !partners.iter().any(|partner| partner.meets(all))
            });
            self.sets.call(&foreign, "foreign");
            let end = if hook == Hook::Input { "saddr" } else { "daddr" };
            for family in Family::BOTH {
                if let Some(strangers) = self.sets.term(&foreign, family) {
                    rules.push(format!("{} {end} {strangers} goto refused", family.word()));
                }
            }
            return rules;
        }
        let known = meetings(&zones, &place.permits);
        for (zone, all) in &zones {
            let foreign = all_of(&|other, _| other != *zone && !known.contains(&(*zone, other)));
            let name = zone.map_or("internet", ZoneName::as_str);
            self.sets.call(&foreign, &format!("foreign-to-{name}"));
            for family in Family::BOTH {
                let own = self.sets.term(all, family);
                let strangers = self.sets.term(&foreign, family);
                if let (Some(own), Some(strangers)) = (own, strangers) {
                    let ip = family.word();
                    rules.push(format!("{ip} saddr {own} {ip} daddr {strangers} goto refused"));
                }
            }
        }
        rules
    }

    /// A permit with its replies, each counted where there is a name to count under.
    fn both_ways(
        &mut self,
        permit: &Permit,
        place: &Place<'_>,
        hook: Hook,
        exchange: Option<&str>,
    ) -> Vec<String> {
        let mut rules = Vec::new();
        for (way, end) in [(Way::There, "to"), (Way::Back, "back")] {
            let counter = exchange.map(|name| format!("exchange-{name}-{end}"));
            if place.concerns(permit, hook, way) {
                rules.extend(self.one_way(permit, way, counter.as_deref()));
            }
        }
        rules
    }

    fn one_way(&mut self, permit: &Permit, way: Way, counter: Option<&str>) -> Vec<String> {
        let mut rules = Vec::new();
        for family in Family::BOTH {
            let (from, to) = match way {
                Way::Opening | Way::There => (&permit.from, &permit.to),
                Way::Back => (&permit.to, &permit.from),
            };
            let (Some(from), Some(to)) = (self.sets.term(from, family), self.sets.term(to, family))
            else {
                continue;
            };
            let ip = family.word();
            for carried in rule::carried(&permit.service, family, way) {
                let count = counter.map(|name| format!("counter name {name} "));
                rules.push(format!(
                    "{ip} saddr {from} {ip} daddr {to} {carried} {} {}accept comment \"{}\"",
                    way.state(),
                    count.unwrap_or_default(),
                    comment(self.file, permit),
                ));
            }
        }
        if let Some(name) = counter.filter(|_| !rules.is_empty()) {
            self.counters.insert(name.to_owned());
        }
        rules
    }

    fn base(&mut self, hook: Hook, rules: &[String]) {
        let name = hook.name();
        let policy = match self.mode {
            Mode::Observe => "accept",
            Mode::Enforce => "drop",
        };
        // Writing to a String cannot fail.
        let _ = write!(
            self.chains,
            "\n\tchain {name} {{\n\t\ttype filter hook {name} priority filter; policy {policy};\n"
        );
        for rule in rules.iter().map(String::as_str).chain(["goto refused"]) {
            let _ = writeln!(self.chains, "\t\t{rule}");
        }
        self.chains.push_str("\t}\n");
    }

    fn text(&self, title: &str) -> String {
        let (counter, verdict, said) = match self.mode {
            Mode::Observe => (WOULD_DROP, "accept", "bailey would drop: "),
            Mode::Enforce => (DROPPED, "drop", "bailey drop: "),
        };
        let mut out = format!("table inet {TABLE} {{\n\tcomment \"{title}\"\n\n");
        for counter in &self.counters {
            let _ = writeln!(out, "\tcounter {counter} {{\n\t}}\n");
        }
        self.sets.write(&mut out);
        let _ = write!(
            out,
            "\tchain refused {{\n\t\tlimit rate {LOGGED_A_SECOND}/second burst {LOGGED_AT_ONCE} \
             packets log prefix \"{said}\"\n\t\tcounter name {counter} {verdict}\n\t}}\n{}}}\n",
            self.chains
        );
        out
    }
}
