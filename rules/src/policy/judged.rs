//! Whether a policy agrees with itself: nothing passes that an invariant forbids, what must always
//! work may pass, and zones meet at exchange points only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::permit::{Ends, Origin, Permit};
use super::{Addresses, Demand, Mode, Party, Policy};
use crate::name::ZoneName;
use crate::yaml::{MAX_PROBLEMS, Problem, Source};

/// How a permit is called in a problem.
fn called(permit: &Permit) -> String {
    let line = permit.line;
    match &permit.origin {
        Origin::Flow(_) => format!("the flow in line {line}"),
        Origin::Exchange(name) => format!("exchange point {name} in line {line}"),
        Origin::Management(zone) => format!("the management of zone \"{zone}\" in line {line}"),
        Origin::Collector(zone) => format!("the collector of zone \"{zone}\" in line {line}"),
    }
}

/// Everything in which a policy, whose names are all defined, contradicts itself.
pub(super) fn contradictions(policy: &Policy, source: &Source<'_>) -> Vec<Problem> {
    let permits = policy.permits();
    let mut problems = Vec::new();
    crossings(policy, source, &mut problems);
    ends(policy, source, &mut problems);
    unmanaged(policy, source, &mut problems);
    let mut ends = Ends::new(policy);
    let mut pairs = Pairs::default();
    for (name, invariant) in &policy.invariants {
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
        let at = invariant.line;
        match &invariant.what {
            Demand::Never { from, to } => {
                let (from, to) = (ends.of(from), ends.of(to));
                for permit in permits.iter().filter(|permit| pairs.joins(permit, &from, &to)) {
                    let message =
                        format!("{} lets through what {name} forbids (line {at})", called(permit));
                    let problem = source.line(permit.line, message);
                    problems.push(problem.help("remove one of the two, or narrow it"));
                }
            }
            Demand::Only { from, to, through } => {
                let (from, to) = (ends.of(from), ends.of(to));
                let named = |permit: &Permit| match &permit.origin {
                    Origin::Exchange(point) => through.contains(point),
                    Origin::Flow(_) | Origin::Management(_) | Origin::Collector(_) => false,
                };
                let others = permits.iter().filter(|permit| !named(permit));
                for permit in others.filter(|permit| pairs.joins(permit, &from, &to)) {
                    let message = format!(
                        "{} lets through what {name} allows only through {} (line {at})",
                        called(permit),
                        through.join(", ")
                    );
                    let problem = source.line(permit.line, message);
                    problems.push(problem.help("remove one of the two, or narrow it"));
                }
            }
            Demand::Always { from, to, service } => {
                let (from, to) = (ends.of(from), ends.of(to));
                let allowed = policy.services.get(service).is_some_and(|service| {
                    permits.iter().any(|permit| {
                        permit.service.covers(service) && pairs.covers(permit, &from, &to)
                    })
                });
                if !allowed {
                    let message = format!("nothing lets all of what {name} demands through");
                    let problem = source.line(at, message);
                    problems.push(problem.help(format!(
                        "add one flow or exchange point that does with service {service}, or widen one"
                    )));
                }
            }
        }
    }
    problems.truncate(MAX_PROBLEMS);
    problems
}

/// How two sets of addresses lie to each other, asked once. A policy names few sets and many pairs
/// of them, so sets are known by where they are kept: [`Ends`] and the permits keep each once.
#[derive(Default)]
struct Pairs {
    meet: HashMap<(*const Addresses, *const Addresses), bool>,
    cover: HashMap<(*const Addresses, *const Addresses), bool>,
}

impl Pairs {
    fn meet(&mut self, one: &Arc<Addresses>, other: &Arc<Addresses>) -> bool {
        // Most pairs are seen to be apart faster than they are looked up.
        if one.is_apart(other) {
            return false;
        }
        let pair = (Arc::as_ptr(one), Arc::as_ptr(other));
        *self.meet.entry(pair).or_insert_with(|| one.meets(other))
    }

    fn cover(&mut self, one: &Arc<Addresses>, other: &Arc<Addresses>) -> bool {
        let pair = (Arc::as_ptr(one), Arc::as_ptr(other));
        *self.cover.entry(pair).or_insert_with(|| one.covers(other))
    }

    /// Whether a permit lets something through from one to the other.
    fn joins(&mut self, permit: &Permit, from: &Arc<Addresses>, to: &Arc<Addresses>) -> bool {
        self.meet(&permit.from, from) && self.meet(&permit.to, to)
    }

    /// Whether it is for everybody of both.
    fn covers(&mut self, permit: &Permit, from: &Arc<Addresses>, to: &Arc<Addresses>) -> bool {
        self.cover(&permit.from, from) && self.cover(&permit.to, to)
    }
}

fn shown(zone: Option<&ZoneName>) -> String {
    zone.map_or_else(|| "the Internet".to_owned(), |zone| format!("zone \"{zone}\""))
}

/// Flows from one zone into another.
fn crossings(policy: &Policy, source: &Source<'_>, problems: &mut Vec<Problem>) {
    for flow in &policy.flows {
        let (from, to) = (policy.zones_of(&flow.from), policy.zones_of(&flow.to));
        let crossing = from
            .iter()
            .flat_map(|from| to.iter().map(move |to| (*from, *to)))
            .find(|(from, to)| from != to && from.is_some() && to.is_some());
        if let Some((from, to)) = crossing {
            let message = format!("this flow leads from {} into {}", shown(from), shown(to));
            let problem = source.line(flow.line, message);
            problems.push(problem.help(
                "data crosses zones at exchange points only: declare one under \"exchange_points\"",
            ));
        } else if from.contains(&None) && to.contains(&None) {
            let problem =
                source.line(flow.line, "this flow leads from the Internet to the Internet");
            problems.push(problem.help("name a zone, group, host or network as one of its ends"));
        }
    }
}

/// Exchange points whose hosts are at neither end, or whose ends are one.
fn ends(policy: &Policy, source: &Source<'_>, problems: &mut Vec<Problem>) {
    for (name, point) in &policy.exchange_points {
        let (from, to) = (policy.zones_of(&point.from), policy.zones_of(&point.to));
        if let Some(both) = from.intersection(&to).next() {
            let message = format!("both ends of {name} are in {}", shown(*both));
            let problem = source.line(point.line, message);
            problems.push(problem.help("inside a zone write a flow"));
        }
        for host in &point.hosts {
            let Some(entry) = policy.hosts.get(host) else {
                continue;
            };
            let at_an_end = |address: &IpAddr| {
                let zone = policy.zone_of(*address);
                from.contains(&zone) || to.contains(&zone)
            };
            if !entry.addresses.iter().any(at_an_end) {
                let message = format!(
                    "host \"{host}\" of {name} is in zone \"{}\", at neither end",
                    entry.zone
                );
                let problem = source.line(point.line, message);
                problems.push(
                    problem.help("an exchange point's hosts are in one of the two zones it joins"),
                );
            }
        }
    }
}

/// Zones whose hosts would drop the way on which they are administered.
fn unmanaged(policy: &Policy, source: &Source<'_>, problems: &mut Vec<Problem>) {
    let hosts = policy.hosts.iter();
    let by_host =
        hosts.filter(|(_, entry)| entry.mode == Some(Mode::Enforce)).map(|(_, entry)| &entry.zone);
    let by_zone =
        policy.zones.iter().filter(|(_, zone)| zone.mode == Mode::Enforce).map(|(name, _)| name);
    let enforced: std::collections::BTreeSet<&ZoneName> = by_host.chain(by_zone).collect();
    for zone in enforced {
        if !policy.management.contains_key(zone) {
            let message =
                format!("hosts of zone \"{zone}\" enforce, but nothing says who administers them");
            problems.push(source.whole(message).help(format!(
                "add management: {{{zone}: {{from: ..., service: ssh, collectors: [...]}}}}"
            )));
        }
    }
    for (zone, management) in &policy.management {
        if management.from == Party::Internet {
            let message = format!("the management of zone \"{zone}\" is open to the Internet");
            let problem = source.line(management.line, message);
            problems.push(problem.help("name a group of administrators' hosts"));
        }
        for collector in &management.collectors {
            if policy.zone_of(collector.ip()).is_none() {
                let message = format!("the collector {collector} of zone \"{zone}\" is in no zone");
                let problem = source.line(management.line, message);
                problems
                    .push(problem.help("agents report inside the site: add its network to a zone"));
            }
        }
    }
}
