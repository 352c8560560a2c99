//! Which devices are linked: those that were told to be, and those that nothing polled lies between.

use std::collections::{BTreeMap, BTreeSet};

use super::net::{Conflicts, DeviceNo, Net};
use super::told::{Place, Told, ToldLink};
use super::towards::{Between, Direction, Ground, Towards};
use super::{Confidence, Conflict, End, Evidence, Link};

/// A link before it has names.
struct Found {
    ends: [Place; 2],
    confidence: Confidence,
    evidence: BTreeSet<Evidence>,
    /// How many switches may lie between.
    doubts: usize,
}

/// Links between devices.
pub(super) fn links(
    net: &Net<'_>,
    told: &Told,
    towards: &Towards<'_, '_>,
    conflicts: &mut Conflicts,
) -> Vec<Link> {
    let mut found: BTreeMap<[Place; 2], Found> = BTreeMap::new();
    for link in &told.links {
        if let Some(link) = of_told(net, towards, link, conflicts) {
            found.insert(link.ends, link);
        }
    }
    let mut guesses = Vec::new();
    for (nth, a) in net.bridges.iter().enumerate() {
        for b in &net.bridges[nth + 1..] {
            let Some(link) = of_tables(net, towards, *a, *b) else { continue };
            if told.denied(link.ends).is_some() {
                continue;
            }
            let [one, other] = link.ends;
            let known =
                found.range([(*a, None), (0, None)]..=[(*a, Some(u32::MAX)), (*b, Some(u32::MAX))]);
            let same = |ends: &[Place; 2]| {
                let fits = |p: Place, q: Place| {
                    p.0 == q.0 && (p.1 == q.1 || p.1.is_none() || q.1.is_none())
                };
                fits(ends[0], one) && fits(ends[1], other)
            };
            let known = known.map(|(ends, _)| *ends).find(same);
            match known.and_then(|ends| found.remove(&ends)) {
                // What one end told has its other port from the tables.
                Some(told) => {
                    let ends = [better(told.ends[0], one), better(told.ends[1], other)];
                    let confidence = told.confidence.max(link.confidence);
                    let evidence = told.evidence.into_iter().chain(link.evidence).collect();
                    found.insert(ends, Found { ends, confidence, evidence, doubts: link.doubts });
                }
                None if told.is_pinned(one) || told.is_pinned(other) => {}
                None if link.confidence == Confidence::Low => guesses.push(link),
                None => {
                    found.insert(link.ends, link);
                }
            }
        }
    }
    guess(&mut found, guesses);
    let shared = shared(net, towards, &found);
    let end = |(no, port): Place| End { device: net.devices[no].name.clone(), port };
    let mut links: Vec<Link> = found
        .into_values()
        .map(|link| Link {
            shared: link.ends.iter().any(|end| shared.contains(end)),
            ends: link.ends.map(end),
            confidence: link.confidence,
            evidence: link.evidence.into_iter().collect(),
        })
        .collect();
    links.sort_unstable();
    links
}

/// The place of which more is known.
fn better(one: Place, other: Place) -> Place {
    (one.0, one.1.or(other.1))
}

/// What a link is worth that somebody told of; none when the tables show that it is a lie.
fn of_told(
    net: &Net<'_>,
    towards: &Towards<'_, '_>,
    link: &ToldLink,
    conflicts: &mut Conflicts,
) -> Option<Found> {
    let [(a, p), (b, q)] = link.ends;
    let learned = [(a, p, b), (b, q, a)].map(|(from, port, to)| {
        let direction = towards.get(from, to).filter(|known| known.ground != Ground::Told)?;
        port.map(|port| (direction.port == port, direction))
    });
    let mut evidence = link.evidence.clone();
    for (from, learned) in [a, b].into_iter().zip(learned) {
        if let Some((true, direction)) = learned {
            evidence.extend(of_direction(net, from, direction));
        }
    }
    let contradicted = learned.iter().flatten().any(|(agrees, known)| !agrees && known.certain);
    let agreed = learned.iter().flatten().any(|(agrees, known)| *agrees && known.certain);
    let confidence = match (link.certain, contradicted, agreed) {
        // A link that both ends tell of may be blocked, and carry no frames.
        (true, _, _) | (false, false, true) => Confidence::High,
        (false, false, false) => Confidence::Medium,
        (false, true, _) => {
            let ends = [((a, p), b), ((b, q), a)];
            if let Some(((at, Some(port)), names)) =
                ends.into_iter().find(|((no, port), _)| port.is_some() && hears(net, link, *no))
            {
                conflicts.add(Conflict::Untrue {
                    at: net.devices[at].name.clone(),
                    port,
                    names: net.devices[names].name.clone(),
                });
            }
            return None;
        }
    };
    if let Some(at) = link.pinned.as_ref().filter(|_| contradicted) {
        conflicts.add(Conflict::PinnedAndContradicted { at: at.clone() });
    }
    Some(Found { ends: link.ends, confidence, evidence, doubts: 0 })
}

/// Whether a device is one that tells of the link.
fn hears(net: &Net<'_>, link: &ToldLink, no: DeviceNo) -> bool {
    let name = &net.devices[no].name;
    link.evidence.iter().any(|evidence| match evidence {
        Evidence::Told { by, .. } => by == name,
        Evidence::Pinned { .. } | Evidence::Learned { .. } | Evidence::Followed { .. } => false,
    })
}

/// What a direction adds to what was told.
fn of_direction(net: &Net<'_>, from: DeviceNo, direction: Direction) -> Option<Evidence> {
    let name = net.devices[from].name.clone();
    match direction.ground {
        Ground::Learned => Some(Evidence::Learned { by: name }),
        Ground::Followed => Some(Evidence::Followed { of: name }),
        Ground::Told => None,
    }
}

/// The link of two switches that the tables show, if nothing lies between them for certain.
fn of_tables(net: &Net<'_>, towards: &Towards<'_, '_>, a: DeviceNo, b: DeviceNo) -> Option<Found> {
    let (here, there) = (towards.get(a, b), towards.get(b, a));
    if here.is_none() && there.is_none() {
        return None;
    }
    let mut doubts = 0;
    let mut unsure = false;
    for c in net.bridges.iter().filter(|c| **c != a && **c != b) {
        match towards.between(a, b, *c) {
            Between::Yes => return None,
            Between::Perhaps => doubts += 1,
            Between::Unlikely => unsure = true,
            Between::No => {}
        }
    }
    let certain = here.zip(there).is_some_and(|(here, there)| here.certain && there.certain);
    let confidence = match (here.is_some() && there.is_some() && doubts == 0, certain) {
        (true, true) if !unsure => Confidence::High,
        (true, _) => Confidence::Medium,
        (false, _) => Confidence::Low,
    };
    let known = [(a, here), (b, there)];
    let evidence = known
        .iter()
        .filter_map(|(from, direction)| of_direction(net, *from, (*direction)?))
        .collect();
    let ends = known.map(|(no, direction)| (no, direction.map(|direction| direction.port)));
    Some(Found { ends, confidence, evidence, doubts })
}

/// Of links that are guessed those that join what nothing better joins, the likeliest first.
fn guess(found: &mut BTreeMap<[Place; 2], Found>, mut guesses: Vec<Found>) {
    let mut parts = Parts::default();
    for [(a, _), (b, _)] in found.keys() {
        parts.join(*a, *b);
    }
    let halves = |link: &Found| link.ends.iter().filter(|(_, port)| port.is_none()).count();
    guesses.sort_by_key(|link| (link.doubts, halves(link), link.ends));
    for link in guesses {
        if parts.join(link.ends[0].0, link.ends[1].0) {
            found.insert(link.ends, link);
        }
    }
}

/// What hangs together.
#[derive(Default)]
struct Parts(BTreeMap<DeviceNo, DeviceNo>);

impl Parts {
    fn root(&self, mut no: DeviceNo) -> DeviceNo {
        while let Some(up) = self.0.get(&no) {
            no = *up;
        }
        no
    }

    /// Joins two; false when they already were.
    fn join(&mut self, one: DeviceNo, other: DeviceNo) -> bool {
        let (one, other) = (self.root(one), self.root(other));
        if one == other {
            return false;
        }
        self.0.insert(one.max(other), one.min(other));
        true
    }
}

/// The places that are on a wire with more than one other: of two certain links that meet in a port, or
/// with addresses between both ends.
fn shared(
    net: &Net<'_>,
    towards: &Towards<'_, '_>,
    found: &BTreeMap<[Place; 2], Found>,
) -> BTreeSet<Place> {
    /// So many addresses between two switches are no host that is just moving.
    const SOME: usize = 2;
    /// The most addresses that are looked through for them.
    const MAX_LOOKED_AT: usize = 65_536;
    let mut ends_at: BTreeMap<Place, usize> = BTreeMap::new();
    for place in found.keys().flatten().filter(|(_, port)| port.is_some()) {
        *ends_at.entry(*place).or_insert(0) += 1;
    }
    let mut shared: BTreeSet<Place> =
        ends_at.into_iter().filter(|(_, count)| *count > 1).map(|(place, _)| place).collect();
    for [(a, p), (b, q)] in found.keys() {
        let (Some(p), Some(q)) = (p, q) else { continue };
        let carries =
            |from, to, port| towards.get(from, to).is_some_and(|direction| direction.port == port);
        if !carries(*a, *b, *p) || !carries(*b, *a, *q) {
            continue;
        }
        let mut between = 0;
        net.tables[*a].shared_with(&net.tables[*b], MAX_LOOKED_AT, |here, there| {
            between += usize::from(here == *p && there == *q);
        });
        if between >= SOME {
            shared.extend([(*a, Some(*p)), (*b, Some(*q))]);
        }
    }
    shared
}
