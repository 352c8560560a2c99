//! Whether a policy agrees with itself: nothing passes that an invariant forbids, what must always
//! work may pass, and zones meet at exchange points only.

use super::permit::{Origin, Permit};
use super::{Demand, Mode, Party, Policy};
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
    for (name, invariant) in &policy.invariants {
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
        let at = invariant.line;
        match &invariant.what {
            Demand::Never { from, to } => {
                let (from, to) = (policy.addresses(from), policy.addresses(to));
                for permit in &permits {
                    if permit.from.meets(&from) && permit.to.meets(&to) {
                        let message = format!(
                            "{} lets through what {name} forbids (line {at})",
                            called(permit)
                        );
                        let problem = source.line(permit.line, message);
                        problems.push(problem.help("remove one of the two, or narrow it"));
                    }
                }
            }
            Demand::Only { from, to, through } => {
                let (from, to) = (policy.addresses(from), policy.addresses(to));
                for permit in &permits {
                    let named = matches!(&permit.origin, Origin::Exchange(point) if through.contains(point));
                    if !named && permit.from.meets(&from) && permit.to.meets(&to) {
                        let message = format!(
                            "{} lets through what {name} allows only through {} (line {at})",
                            called(permit),
                            through.join(", ")
                        );
                        let problem = source.line(permit.line, message);
                        problems.push(problem.help("remove one of the two, or narrow it"));
                    }
                }
            }
            Demand::Always { from, to, service } => {
                let (from, to) = (policy.addresses(from), policy.addresses(to));
                let allowed = policy.services.get(service).is_some_and(|service| {
                    permits.iter().any(|permit| {
                        permit.from.covers(&from)
                            && permit.to.covers(&to)
                            && permit.service.covers(service)
                    })
                });
                if !allowed {
                    let message = format!("no single flow lets all of what {name} demands through");
                    let problem = source.line(at, message);
                    problems.push(problem.help(format!(
                        "add a flow or exchange point with service {service}, or widen one"
                    )));
                }
            }
        }
    }
    problems.truncate(MAX_PROBLEMS);
    problems
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
            let zone = Some(&entry.zone);
            if !from.contains(&zone) && !to.contains(&zone) {
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
    }
}
