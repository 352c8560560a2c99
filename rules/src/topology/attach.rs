//! Behind which port everything is that passes no frames on: hosts, devices that are no switches, and
//! addresses of which nobody knows whose they are.

use std::collections::{BTreeMap, BTreeSet};

use super::net::{Conflicts, DeviceNo, Entry, Leaf, Net};
use super::told::Told;
use super::towards::{Between, Towards};
use super::{Asset, Attachment, Confidence, Conflict, Evidence, PortNumber, Whereabouts};
use crate::fact::links::Mac;
use crate::name::ZoneName;

/// A port of a switch.
type Place = (DeviceNo, PortNumber);

/// An entry of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    at: DeviceNo,
    entry: Entry,
}

impl Seen {
    const fn place(&self) -> Place {
        (self.at, self.entry.port)
    }
}

/// Looks for places.
pub(super) struct Places<'a> {
    net: &'a Net<'a>,
    told: &'a Told,
    towards: &'a Towards<'a, 'a>,
    /// Whether other switches are behind a port, for every port behind which anything was learnt.
    leads: BTreeMap<Place, Between>,
}

impl<'a> Places<'a> {
    pub(super) fn new(net: &'a Net<'a>, told: &'a Told, towards: &'a Towards<'a, 'a>) -> Self {
        let mut leads = BTreeMap::new();
        for at in &net.bridges {
            for port in net.tables[*at].ports() {
                let others = net.bridges.iter().filter(|other| *other != at);
                let worst = others.map(|other| towards.may_lead(*at, port, *other)).max();
                leads.insert((*at, port), worst.unwrap_or(Between::No));
            }
        }
        // A port at which two switches hear each other is none for hosts, whatever was learnt there.
        for link in told.links.iter().filter(|link| link.certain) {
            let [one, other] = link.ends;
            for ((at, port), (far, _)) in [(one, other), (other, one)] {
                if let Some(port) = port.filter(|_| net.devices[far].bridges) {
                    leads.insert((at, port), Between::Yes);
                }
            }
        }
        Self { net, told, towards, leads }
    }

    /// Where every leaf is.
    pub(super) fn attachments(&self, conflicts: &mut Conflicts) -> Vec<Attachment> {
        let mut all = Vec::new();
        for leaf in &self.net.leaves {
            let known = all.len();
            for mac in &leaf.macs {
                all.extend(self.attachment(leaf, *mac, conflicts));
            }
            // One that is told to be at a port, and none of whose addresses was learnt.
            if all.len() == known {
                all.extend(self.only_told(leaf));
            }
        }
        all.sort_unstable();
        all
    }

    /// Where every address is that any switch has learnt, once for each zone in which it was.
    pub(super) fn whereabouts(&self) -> Vec<Whereabouts> {
        let tables = self.net.bridges.iter().map(|at| &self.net.tables[*at]);
        let macs: BTreeSet<Mac> = tables.flat_map(super::net::Table::macs).collect();
        let mut all = Vec::new();
        for mac in macs {
            let mut zones: BTreeMap<&ZoneName, Vec<Seen>> = BTreeMap::new();
            for seen in self.sightings(mac) {
                zones.entry(&self.net.devices[seen.at].zone).or_default().push(seen);
            }
            for (zone, mut seen) in zones {
                self.nearest_first(&mut seen, None);
                let Some(best) = seen.first() else { continue };
                all.push(Whereabouts {
                    mac,
                    zone: zone.clone(),
                    device: self.net.devices[best.at].name.clone(),
                    port: best.entry.port,
                    vlan: best.entry.vlan,
                    edge: self.is_edge(best, None),
                });
            }
        }
        all
    }

    fn leads(&self, seen: &Seen) -> Between {
        self.leads.get(&seen.place()).copied().unwrap_or(Between::Perhaps)
    }

    /// Whether a neighbour protocol says that an asset is at a port.
    fn is_told(&self, seen: &Seen, asset: Option<&Asset>) -> bool {
        asset.is_some_and(|asset| {
            self.told.leaves.contains_key(&(seen.at, seen.entry.port, asset.clone()))
        })
    }

    /// Whether a port is one for hosts as far as is known: no switch is behind it.
    fn is_edge(&self, seen: &Seen, asset: Option<&Asset>) -> bool {
        self.leads(seen) != Between::Yes || self.is_told(seen, asset)
    }

    /// Every port behind which an address was learnt.
    fn sightings(&self, mac: Mac) -> Vec<Seen> {
        let of = |at: &DeviceNo| {
            let at = *at;
            self.net.tables[at].of(mac).iter().map(move |entry| Seen { at, entry: *entry })
        };
        self.net.bridges.iter().flat_map(of).collect()
    }

    /// Whether what `one` sees is beyond `other`, who sees it too, elsewhere than towards `one`.
    fn is_beyond(&self, one: &Seen, other: &Seen) -> bool {
        let there = self.towards.get(one.at, other.at);
        let back = self.towards.get(other.at, one.at);
        one.at != other.at
            && there.is_some_and(|there| there.port == one.entry.port)
            && back.is_some_and(|back| back.port != other.entry.port)
    }

    /// Puts the likeliest place first: where it is told to be, then ports for hosts, and of these the one
    /// with the fewest addresses. Where there is no port for hosts, those who only see it beyond somebody
    /// else are left out.
    fn nearest_first(&self, seen: &mut Vec<Seen>, asset: Option<&Asset>) {
        if !seen.iter().any(|seen| self.is_edge(seen, asset)) {
            let all = seen.clone();
            seen.retain(|one| !all.iter().any(|other| self.is_beyond(one, other)));
        }
        seen.sort_by_key(|seen| {
            let count = self.net.tables[seen.at].count(seen.entry.port);
            let told = self.is_told(seen, asset);
            (!told, !self.is_edge(seen, asset), count, seen.place(), seen.entry.vlan)
        });
    }

    fn attachment(&self, leaf: &Leaf, mac: Mac, conflicts: &mut Conflicts) -> Option<Attachment> {
        let asset = Some(&leaf.asset);
        let mut seen = self.sightings(mac);
        self.nearest_first(&mut seen, asset);
        let best = *seen.first()?;
        let mut places: Vec<Place> = Vec::new();
        for one in seen.iter().filter(|one| self.is_edge(one, asset)) {
            if !places.contains(&one.place()) {
                places.push(one.place());
            }
        }
        let name = |no: DeviceNo| self.net.devices[no].name.clone();
        if places.len() > 1 {
            conflicts.add(Conflict::TwoPlaces {
                asset: leaf.asset.clone(),
                mac,
                places: places.iter().map(|(no, port)| (name(*no), *port)).collect(),
            });
        }
        let told = self.is_told(&best, asset);
        let agreed =
            seen.iter().all(|one| one.place() == best.place() || self.is_beyond(one, &best));
        let confidence = match places.len() {
            0 => Confidence::Low,
            1 if told => Confidence::High,
            1 if agreed && self.leads(&best) == Between::No => Confidence::High,
            1 => Confidence::Medium,
            _ if told => Confidence::Medium,
            _ => Confidence::Low,
        };
        let heard = self.told.leaves.get(&(best.at, best.entry.port, leaf.asset.clone()));
        let heard = heard.into_iter().flatten();
        let mut evidence: BTreeSet<Evidence> = heard
            .map(|protocol| Evidence::Told { by: name(best.at), protocol: *protocol })
            .collect();
        evidence.insert(Evidence::Learned { by: name(best.at) });
        Some(Attachment {
            asset: leaf.asset.clone(),
            mac,
            device: name(best.at),
            port: best.entry.port,
            vlan: best.entry.vlan,
            confidence,
            evidence: evidence.into_iter().collect(),
            others: self.net.tables[best.at].count(best.entry.port).saturating_sub(1),
        })
    }

    /// The port at which a leaf is heard, though none of its addresses was learnt.
    fn only_told(&self, leaf: &Leaf) -> Option<Attachment> {
        let mac = *leaf.macs.first()?;
        let ((at, port, _), protocols) =
            self.told.leaves.iter().find(|((_, _, asset), _)| *asset == leaf.asset)?;
        let by = &self.net.devices[*at].name;
        let told = |protocol: &_| Evidence::Told { by: by.clone(), protocol: *protocol };
        Some(Attachment {
            asset: leaf.asset.clone(),
            mac,
            device: by.clone(),
            port: *port,
            vlan: None,
            confidence: Confidence::Medium,
            evidence: protocols.iter().map(told).collect(),
            others: self.net.tables[*at].count(*port),
        })
    }
}
