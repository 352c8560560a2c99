//! What devices tell of their neighbours, and what persons say of links.

use std::collections::{BTreeMap, BTreeSet};

use super::net::{Conflicts, DeviceNo, Net};
use super::wish::{Wish, Wishes};
use super::{
    Asset, Conflict, Device, Evidence, MAX_NEIGHBOURS, Neighbour, PortNumber, Protocol, Stranger,
};
use crate::fact::links::Mac;
use crate::name::HostName;

/// A port of a device; the port is absent when only the device is known.
pub(super) type Place = (DeviceNo, Option<PortNumber>);

/// A link that somebody tells of. The first end is the one with the lower number.
#[derive(Debug, Clone)]
pub(super) struct ToldLink {
    pub(super) ends: [Place; 2],
    /// Whether both ends tell of it, or a person does.
    pub(super) certain: bool,
    /// File and line where a person does.
    pub(super) pinned: Option<String>,
    pub(super) evidence: BTreeSet<Evidence>,
}

/// Everything told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) links: Vec<ToldLink>,
    /// Who else is heard at a port, and how.
    pub(super) leaves: BTreeMap<(DeviceNo, PortNumber, Asset), BTreeSet<Protocol>>,
    pub(super) strangers: Vec<Stranger>,
    denied: BTreeMap<[Place; 2], String>,
}

/// One device hears another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    from: DeviceNo,
    port: PortNumber,
    to: DeviceNo,
    to_port: Option<PortNumber>,
    protocol: Protocol,
}

impl Told {
    pub(super) fn new(net: &Net<'_>, wishes: &Wishes, conflicts: &mut Conflicts) -> Self {
        let mut told = Self::default();
        let names = Names::new(net, conflicts);
        let mut claims = BTreeSet::new();
        for no in 0..net.devices.len() {
            told.hear(net, &names, no, &mut claims, conflicts);
        }
        told.strangers.sort_unstable();
        told.strangers.dedup();
        told.pair(net, &claims);
        told.drop_untrue(net, conflicts);
        told.wish(net, wishes, conflicts);
        told
    }

    /// Whether a person denies a link. A denial without a port is for every port.
    pub(super) fn denied(&self, ends: [Place; 2]) -> Option<&str> {
        let [(one, p), (other, q)] = ends;
        let ways = [(p, q), (p, None), (None, q), (None, None)];
        ways.iter()
            .find_map(|(p, q)| self.denied.get(&[(one, *p), (other, *q)]))
            .map(String::as_str)
    }

    /// Whether a person said what is at this port.
    pub(super) fn is_pinned(&self, place: Place) -> bool {
        self.links.iter().any(|link| link.pinned.is_some() && link.ends.contains(&place))
    }

    /// Takes what a device hears.
    fn hear(
        &mut self,
        net: &Net<'_>,
        names: &Names,
        no: DeviceNo,
        claims: &mut BTreeSet<Claim>,
        conflicts: &mut Conflicts,
    ) {
        let device = net.devices[no];
        if device.neighbours.len() > MAX_NEIGHBOURS {
            let what = format!("neighbours of {}", device.name);
            conflicts.add(Conflict::TooMany { what, most: MAX_NEIGHBOURS });
        }
        for neighbour in device.neighbours.iter().take(MAX_NEIGHBOURS) {
            let port = local_port(device, neighbour).map(|port| net.logical(no, port));
            match (names.who(net, neighbour), port) {
                (Some(Asset::Device(name)), Some(port)) => {
                    let Some(to) = net.number(&name).filter(|to| *to != no) else { continue };
                    let told = port_called(net.devices[to], &neighbour.port);
                    let to_port = told.map(|port| net.logical(to, port));
                    let protocol = neighbour.protocol;
                    claims.insert(Claim { from: no, port, to, to_port, protocol });
                    if !net.devices[to].bridges {
                        let leaf = (no, port, Asset::Device(name));
                        self.leaves.entry(leaf).or_default().insert(protocol);
                    }
                }
                (Some(host @ Asset::Host(_)), Some(port)) => {
                    self.leaves.entry((no, port, host)).or_default().insert(neighbour.protocol);
                }
                (Some(_), None) => {}
                (None, port) => self.strangers.push(Stranger {
                    device: device.name.clone(),
                    port,
                    protocol: neighbour.protocol,
                    chassis: neighbour.chassis.clone(),
                    name: neighbour.name.clone(),
                }),
            }
        }
    }

    /// Makes links of claims: of two that fit one, of one alone one end's word.
    fn pair(&mut self, net: &Net<'_>, claims: &BTreeSet<Claim>) {
        let mut links: BTreeMap<[Place; 2], ToldLink> = BTreeMap::new();
        let mut add = |ends: [Place; 2], certain, by: &[Claim]| {
            let link = links.entry(ends).or_insert_with(|| ToldLink {
                ends,
                certain: false,
                pinned: None,
                evidence: BTreeSet::new(),
            });
            link.certain |= certain;
            link.evidence.extend(by.iter().map(|claim| Evidence::Told {
                by: net.devices[claim.from].name.clone(),
                protocol: claim.protocol,
            }));
        };
        let mut pairs: BTreeMap<(DeviceNo, DeviceNo), [Vec<Claim>; 2]> = BTreeMap::new();
        for claim in claims {
            let pair = (claim.from.min(claim.to), claim.from.max(claim.to));
            let side = usize::from(claim.from > claim.to);
            pairs.entry(pair).or_default()[side].push(*claim);
        }
        for ((one, other), [mut here, mut there]) in pairs {
            // Those that name each other's port first, then those that do not contradict.
            for exact in [true, false] {
                let fits = |a: &Claim, b: &Claim| {
                    let named = |told: Option<PortNumber>, port| match told {
                        Some(told) => told == port,
                        None => !exact,
                    };
                    named(a.to_port, b.port) && named(b.to_port, a.port)
                };
                here.retain(|a| {
                    let Some(at) = there.iter().position(|b| fits(a, b)) else { return true };
                    let b = there.remove(at);
                    add([(one, Some(a.port)), (other, Some(b.port))], true, &[*a, b]);
                    false
                });
            }
            for a in &here {
                add([(one, Some(a.port)), (other, a.to_port)], false, &[*a]);
            }
            for b in &there {
                add([(one, b.to_port), (other, Some(b.port))], false, &[*b]);
            }
        }
        self.links = links.into_values().collect();
        // A word that only repeats what is certain adds its evidence and no link.
        let certain: Vec<[Place; 2]> =
            self.links.iter().filter(|link| link.certain).map(|link| link.ends).collect();
        self.links.retain(|link| {
            let repeats = |[a, b]: &[Place; 2]| {
                let [x, y] = &link.ends;
                let same = |p: &Place, q: &Place| p.0 == q.0 && (q.1.is_none() || p.1 == q.1);
                same(a, x) && same(b, y)
            };
            link.certain || !certain.iter().any(repeats)
        });
    }

    /// A port of which both ends tell something else cannot be what one end alone says it is.
    fn drop_untrue(&mut self, net: &Net<'_>, conflicts: &mut Conflicts) {
        let certain: BTreeMap<Place, Place> = self
            .links
            .iter()
            .filter(|link| link.certain)
            .flat_map(|link| {
                let [one, other] = link.ends;
                [(one, other), (other, one)]
            })
            .collect();
        self.links.retain(|link| {
            if link.certain {
                return true;
            }
            let [one, other] = link.ends;
            // The end whose port is only heard of is the one that may be lied about.
            let claimed_twice = |heard: Place, by: Place| {
                let is_heard_by = link.evidence.iter().any(|evidence| match evidence {
                    Evidence::Told { by: name, .. } => *name == net.devices[by.0].name,
                    Evidence::Pinned { .. }
                    | Evidence::Learned { .. }
                    | Evidence::Followed { .. } => false,
                });
                is_heard_by && certain.get(&heard).is_some_and(|peer| *peer != by)
            };
            let lie = [(other, one), (one, other)]
                .into_iter()
                .find(|(heard, by)| claimed_twice(*heard, *by));
            if let Some((heard, (by, Some(port)))) = lie {
                conflicts.add(Conflict::Untrue {
                    at: net.devices[by].name.clone(),
                    port,
                    names: net.devices[heard.0].name.clone(),
                });
            }
            lie.is_none()
        });
    }

    /// Takes what persons say.
    fn wish(&mut self, net: &Net<'_>, wishes: &Wishes, conflicts: &mut Conflicts) {
        for wish in &wishes.denied {
            if let Some(ends) = places(net, wish, conflicts) {
                self.denied.insert(ends, wish.at.clone());
            }
        }
        let denied = std::mem::take(&mut self.links);
        for link in denied {
            match self.denied(link.ends) {
                Some(at) if link.certain => {
                    conflicts.add(Conflict::DeniedAndTold { at: at.to_owned() });
                }
                Some(_) => {}
                None => self.links.push(link),
            }
        }
        for wish in &wishes.pinned {
            let Some(ends) = places(net, wish, conflicts) else { continue };
            let pin = Evidence::Pinned { at: wish.at.clone() };
            // What one end alone says of a pinned port gives way.
            self.links.retain(|link| {
                link.certain || link.ends == ends || !link.ends.iter().any(|end| ends.contains(end))
            });
            match self.links.iter_mut().find(|link| link.ends == ends) {
                Some(link) => {
                    link.certain = true;
                    link.pinned = Some(wish.at.clone());
                    link.evidence.insert(pin);
                }
                None => self.links.push(ToldLink {
                    ends,
                    certain: true,
                    pinned: Some(wish.at.clone()),
                    evidence: BTreeSet::from([pin]),
                }),
            }
        }
        self.links.sort_by_key(|link| link.ends);
    }
}

/// The places that a person names.
fn places(net: &Net<'_>, wish: &Wish, conflicts: &mut Conflicts) -> Option<[Place; 2]> {
    let mut found = Vec::with_capacity(2);
    for end in &wish.ends {
        let not_there = |what: String| Conflict::NotThere { at: wish.at.clone(), what };
        let Some(no) = net.number(&end.device) else {
            conflicts.add(not_there(end.device.to_string()));
            return None;
        };
        let port = match &end.port {
            None => None,
            Some(called) => match port_called(net.devices[no], called) {
                Some(port) => Some(net.logical(no, port)),
                None => {
                    conflicts.add(not_there(format!("{}:{called}", end.device)));
                    return None;
                }
            },
        };
        found.push((no, port));
    }
    found.sort_unstable();
    found.try_into().ok()
}

/// Who calls himself what.
struct Names(BTreeMap<String, Option<Asset>>);

impl Names {
    fn new(net: &Net<'_>, conflicts: &mut Conflicts) -> Self {
        let mut called: BTreeMap<String, BTreeSet<HostName>> = BTreeMap::new();
        for device in &net.devices {
            let name = device.called.as_deref().map(folded).filter(|name| !name.is_empty());
            if let Some(name) = name {
                called.entry(name).or_default().insert(device.name.clone());
            }
        }
        let mut names: BTreeMap<String, Option<Asset>> = BTreeMap::new();
        // What Bailey calls them stands behind what they call themselves.
        let leaves = net.leaves.iter().map(|leaf| leaf.asset.clone());
        let devices = net.devices.iter().map(|device| Asset::Device(device.name.clone()));
        for asset in leaves.chain(devices) {
            names.insert(asset.name().to_string(), Some(asset));
        }
        for (called, devices) in called {
            let mut all = devices.iter();
            let only = all.next().filter(|_| devices.len() == 1);
            names.insert(called.clone(), only.cloned().map(Asset::Device));
            if devices.len() > 1 {
                let devices = devices.into_iter().collect();
                conflicts.add(Conflict::SameName { called, devices });
            }
        }
        Self(names)
    }

    /// Who a neighbour is: by an address of its chassis, else by its name.
    fn who(&self, net: &Net<'_>, neighbour: &Neighbour) -> Option<Asset> {
        let by_mac = neighbour.chassis.parse::<Mac>().ok().and_then(|mac| net.owner(mac));
        if by_mac.is_some() {
            return by_mac.cloned();
        }
        let name = neighbour.name.as_deref().unwrap_or(&neighbour.chassis);
        let full = folded(name);
        let short = full.split('.').next().unwrap_or_default();
        match self.0.get(&full) {
            Some(who) => who.clone(),
            None => self.0.get(short).cloned().flatten(),
        }
    }
}

fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

/// The port at which a device hears a neighbour. Its name counts before its number, which on some
/// devices is another one than everywhere else.
fn local_port(device: &Device, neighbour: &Neighbour) -> Option<PortNumber> {
    let by_name = neighbour.local_name.as_deref().and_then(|name| by_name(device, name));
    by_name.or_else(|| {
        device.ports.contains_key(&neighbour.local_port).then_some(neighbour.local_port)
    })
}

/// The port of a device that somebody else calls by its address, name or number.
fn port_called(device: &Device, called: &str) -> Option<PortNumber> {
    if let Ok(mac) = called.parse::<Mac>() {
        let mut with = device.ports.iter().filter(|(_, port)| port.mac == Some(mac));
        let first = with.next();
        // Virtual interfaces often share the address of a port: then it names none.
        return first.filter(|_| with.next().is_none()).map(|(number, _)| *number);
    }
    by_name(device, called).or_else(|| {
        let number = called.trim().parse().ok()?;
        device.ports.contains_key(&number).then_some(number)
    })
}

/// The only port of a name, also where one writes `Gi1/0/2` and the other `GigabitEthernet1/0/2`.
fn by_name(device: &Device, called: &str) -> Option<PortNumber> {
    let only = |fits: &dyn Fn(&str) -> bool| {
        let mut all = device.ports.iter().filter(|(_, port)| fits(&port.name));
        let first = all.next();
        first.filter(|_| all.next().is_none()).map(|(number, _)| *number)
    };
    only(&|name| name == called)
        .or_else(|| only(&|name| name.eq_ignore_ascii_case(called)))
        .or_else(|| only(&|name| abbreviates(name, called) || abbreviates(called, name)))
}

/// Whether two names have the same figures, and the letters of one begin those of the other.
fn abbreviates(short: &str, long: &str) -> bool {
    let split = |name: &str| {
        let at = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
        (name[..at].trim().to_ascii_lowercase(), name[at..].to_owned())
    };
    let ((short, number), (long, other)) = (split(short), split(long));
    !number.is_empty() && number == other && !short.is_empty() && long.starts_with(&short)
}
