//! Isolation as the wires show it: who is on a wire where he must not be, whatever he says himself.
//!
//! A host can lie about its addresses, and a stranger runs no agent. A switch sees the frames of both.
//! Here stand the four things that only switches can tell ([`Kind`]).

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Book, Sighting};
use super::mac::{is_local, is_redundant};
use super::{Asset, Confidence, Device, End, PortNumber, Topology, Wired};
use crate::check::{Evidence, Status, Verdict};
use crate::expectation::WireWanted;
use crate::fact::links::Mac;
use crate::name::{HostName, ZoneName};
use crate::policy::{Party, Policy};
use crate::text::Text;
use crate::time::{Timestamp, spoken};

/// The most verdicts of one kind for one asset.
pub const MAX_CONCERNS: usize = 200;

/// The subject of the verdict that stands for those beyond [`MAX_CONCERNS`].
const THE_REST: &str = "(more)";

/// What the wires show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One machine is on wires of two zones. The subject is its address, or its machine id.
    TwoZones,
    /// Somebody is there whom nobody knows. The subject is the address.
    NewAddress,
    /// Behind a port is something of another zone. The subject is the port.
    ForeignNeighbour,
    /// Frames are in a VLAN of another zone. The subject is the VLAN.
    ForeignVlan,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::TwoZones, Self::NewAddress, Self::ForeignNeighbour, Self::ForeignVlan];

    /// The word in JSON and in identities of findings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TwoZones => "two_zones",
            Self::NewAddress => "new_address",
            Self::ForeignNeighbour => "foreign_port",
            Self::ForeignVlan => "foreign_vlan",
        }
    }

    /// What it is called on screen.
    #[must_use]
    pub fn title(self) -> Text {
        match self {
            Self::TwoZones => Text::new("One machine in two zones", "同一设备跨域"),
            Self::NewAddress => Text::new("New addresses", "新出现的地址"),
            Self::ForeignNeighbour => Text::new("Ports to other zones", "跨域端口"),
            Self::ForeignVlan => Text::new("VLANs of other zones", "跨域 VLAN"),
        }
    }
}

/// When a device's tables were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Timestamp,
    /// Whether that is too long ago to say anything of now.
    pub stale: bool,
}

/// Everything that is looked at.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The devices.
    pub devices: &'a [Device],
    /// The hosts.
    pub hosts: &'a [Wired],
    /// How the site is wired.
    pub topology: &'a Topology,
    /// Which addresses were ever seen.
    pub book: &'a Book,
    /// What is demanded.
    pub wanted: &'a WireWanted,
    /// The zones, and who may be in several.
    pub policy: &'a Policy,
    /// When each device was asked.
    pub asked: &'a BTreeMap<HostName, Asked>,
    /// The time of judging.
    pub now: Timestamp,
}

/// What the wires show of one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// The device that sees it; of a machine that reports in two zones the host.
    pub asset: Asset,
    /// What.
    pub kind: Kind,
    /// What follows.
    pub verdict: Verdict,
}

/// Judges the wires. Gives only what is not as it should be, in the order of assets and kinds, and of
/// one asset and kind at most [`MAX_CONCERNS`], the worst, and one that stands for the rest.
#[must_use]
pub fn concerns(given: &Given<'_>) -> Vec<Concern> {
    let view = View::new(given);
    let mut all = Vec::new();
    view.two_zones(&mut all);
    view.machines(&mut all);
    view.new_addresses(&mut all);
    view.foreign_links(&mut all);
    view.foreign_places(&mut all);
    view.foreign_strangers(&mut all);
    view.foreign_vlans(&mut all);
    bounded(all)
}

fn bounded(all: Vec<Concern>) -> Vec<Concern> {
    let mut groups: BTreeMap<(Asset, Kind), Vec<Verdict>> = BTreeMap::new();
    for concern in all {
        groups.entry((concern.asset, concern.kind)).or_default().push(concern.verdict);
    }
    let mut kept = Vec::new();
    for ((asset, kind), mut verdicts) in groups {
        verdicts.sort_by(|a, b| b.status.cmp(&a.status).then_with(|| a.subject.cmp(&b.subject)));
        // Of one subject the worst.
        let mut subjects = BTreeSet::new();
        verdicts.retain(|verdict| subjects.insert(verdict.subject.clone()));
        if verdicts.len() > MAX_CONCERNS {
            let rest = verdicts.split_off(MAX_CONCERNS).len();
            let why =
                Text::new(format!("{rest} more are not listed"), format!("另有 {rest} 项未列出"));
            let worst = verdicts.last().map_or(Status::Unknown, |verdict| verdict.status);
            verdicts.push(Verdict::new(THE_REST, worst, why));
        }
        kept.extend(verdicts.into_iter().map(|verdict| Concern {
            asset: asset.clone(),
            kind,
            verdict,
        }));
    }
    kept
}

/// What is given, so that it can be looked up.
struct View<'a> {
    given: &'a Given<'a>,
    devices: BTreeMap<&'a HostName, &'a Device>,
    hosts: BTreeMap<&'a HostName, &'a Wired>,
    /// Whose own an address is; of several the first.
    owners: BTreeMap<Mac, Asset>,
}

impl<'a> View<'a> {
    fn new(given: &'a Given<'a>) -> Self {
        let devices = given.devices.iter().map(|device| (&device.name, device)).collect();
        let hosts = given.hosts.iter().map(|host| (&host.name, host)).collect();
        let mut owners = BTreeMap::new();
        for device in given.devices {
            let own = device
                .ports
                .values()
                .filter_map(|port| port.mac)
                .chain(device.macs.iter().copied());
            for mac in own {
                owners.entry(mac).or_insert_with(|| Asset::Device(device.name.clone()));
            }
        }
        for host in given.hosts {
            for mac in &host.macs {
                owners.entry(*mac).or_insert_with(|| Asset::Host(host.name.clone()));
            }
        }
        Self { given, devices, hosts, owners }
    }

    fn zone_of(&self, asset: &Asset) -> Option<&'a ZoneName> {
        match asset {
            Asset::Device(name) => self.devices.get(name).map(|device| &device.zone),
            Asset::Host(name) => self.hosts.get(name).map(|host| &host.zone),
        }
    }

    /// Whether an asset may be on a wire of a zone: its own, one in which the policy gives it an address,
    /// or one that the rule files grant it.
    fn may_be_in(&self, asset: &Asset, zone: &ZoneName) -> bool {
        let name = asset.name();
        let declared = self.given.policy.hosts.contains_key(name)
            && self.given.policy.zones_of(&Party::Host(name.clone())).contains(&Some(zone));
        let granted = match asset {
            Asset::Host(name) => {
                self.hosts.get(name).is_some_and(|host| host.other_zones.contains(zone))
            }
            Asset::Device(_) => false,
        };
        declared || granted || self.zone_of(asset) == Some(zone)
    }

    /// What a port is called.
    fn port(&self, device: &HostName, port: PortNumber) -> String {
        let known = self.devices.get(device).and_then(|device| device.ports.get(&port));
        match known.map(|port| port.name.as_str()).filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => port.to_string(),
        }
    }

    fn place(&self, seen: &Sighting) -> String {
        format!("{} {}", seen.device, self.port(&seen.device, seen.port))
    }

    /// A verdict that rests on what a device tells.
    fn verdict(
        &self,
        device: &HostName,
        subject: String,
        status: Status,
        why: Text,
        fact: &str,
        value: String,
    ) -> Verdict {
        let asked = self.given.asked.get(device);
        let mut verdict = Verdict::new(subject, status, why);
        verdict.stale = asked.is_none_or(|asked| asked.stale);
        verdict.evidence.push(Evidence {
            fact: format!("{fact} {device}"),
            value,
            read_at: asked.map(|asked| asked.at),
        });
        verdict
    }

    fn seen(&self, mac: Mac, seen: &Sighting) -> Evidence {
        let vlan = seen.vlan.map_or_else(String::new, |vlan| format!(", VLAN {vlan}"));
        Evidence {
            fact: format!("mac_table {}", seen.device),
            value: format!("{mac} behind {}{vlan}", self.port(&seen.device, seen.port)),
            read_at: Some(seen.last_at),
        }
    }

    /// The zones in which an address was seen lately.
    fn lately<'s>(
        &self,
        zones: &'s BTreeMap<ZoneName, Sighting>,
    ) -> Vec<(&'s ZoneName, &'s Sighting)> {
        let kept = self.given.wanted.kept.0;
        zones.iter().filter(|(_, seen)| seen.last_at.age(self.given.now) <= kept).collect()
    }

    /// What is known of an address, for a sentence.
    fn called(&self, mac: Mac) -> Text {
        if let Some(asset) = self.owners.get(&mac) {
            let name = asset.name();
            return Text::new(format!("{name} ({mac})"), format!("{name}（{mac}）"));
        }
        match self.maker(mac) {
            Some(maker) => Text::new(format!("{mac} ({maker})"), format!("{mac}（{maker}）")),
            None if is_local(mac) => Text::new(
                format!("{mac} (made up by software)"),
                format!("{mac}（软件生成的地址）"),
            ),
            None => Text::new(mac.to_string(), format!("地址 {mac} ")),
        }
    }

    fn maker(&self, mac: Mac) -> Option<&str> {
        let mut makers = self.given.wanted.virtual_makers.iter();
        let made = makers.find(|(_, prefixes)| prefixes.iter().any(|prefix| prefix.begins(mac)));
        made.map(|(maker, _)| maker.as_str())
    }

    /// Addresses on wires of several zones.
    fn two_zones(&self, all: &mut Vec<Concern>) {
        for (mac, zones) in self.given.book.addresses() {
            let lately = self.lately(zones);
            if lately.len() < 2 || is_redundant(mac) || self.given.wanted.repeated.contains(mac) {
                continue;
            }
            let owner = self.owners.get(&mac);
            let wrong = lately
                .iter()
                .filter(|(zone, _)| owner.is_none_or(|asset| !self.may_be_in(asset, zone)))
                .count();
            if wrong == 0 {
                continue;
            }
            let places = |en: bool| {
                let place = |(zone, seen): &(&ZoneName, &Sighting)| {
                    let (at, place) = (seen.last_at, self.place(seen));
                    if en {
                        format!("{zone} ({place}, {at})")
                    } else {
                        format!("{zone}（{place}，{at}）")
                    }
                };
                lately.iter().map(place).collect::<Vec<_>>().join(if en {
                    " and "
                } else {
                    " 与 "
                })
            };
            let called = self.called(mac);
            let why = Text::new(
                format!("{} is on wires of {}", called.en, places(true)),
                format!("{}同时出现在多个安全域的线路上：{}", called.zh, places(false)),
            );
            // Each zone's device has it, so that it is seen whichever zone one looks at.
            for (_, seen) in &lately {
                let mut verdict = Verdict::new(mac.to_string(), Status::Critical, why.clone());
                verdict.stale = self.given.asked.get(&seen.device).is_none_or(|asked| asked.stale);
                verdict.evidence = lately.iter().map(|(_, seen)| self.seen(mac, seen)).collect();
                let asset = Asset::Device(seen.device.clone());
                all.push(Concern { asset, kind: Kind::TwoZones, verdict });
            }
        }
    }

    /// Machines that report from two zones: an agent was enrolled in each, and it is one machine.
    fn machines(&self, all: &mut Vec<Concern>) {
        let mut machines: BTreeMap<&str, Vec<&Wired>> = BTreeMap::new();
        for host in self.given.hosts {
            let declared = &self.given.wanted.shared_machines;
            let told = host.machine.as_deref().filter(|machine| !machine.is_empty());
            if let Some(machine) = told.filter(|told| !declared.iter().any(|one| one == told)) {
                machines.entry(machine).or_default().push(host);
            }
        }
        for (machine, hosts) in machines {
            for host in &hosts {
                let asset = Asset::Host(host.name.clone());
                let others = hosts.iter().filter(|other| {
                    other.zone != host.zone && !self.may_be_in(&asset, &other.zone)
                });
                for other in others {
                    let (name, zone) = (&other.name, &other.zone);
                    let why = Text::new(
                        format!("this machine also reports as {name} of zone \"{zone}\""),
                        format!("该机器同时以安全域 {zone} 的 {name} 上报"),
                    );
                    let mut verdict = Verdict::new(machine, Status::Critical, why);
                    verdict.evidence.push(Evidence {
                        fact: "machine id".to_owned(),
                        value: format!("{machine} on {} and {name}", host.name),
                        read_at: None,
                    });
                    all.push(Concern { asset: asset.clone(), kind: Kind::TwoZones, verdict });
                }
            }
        }
    }

    /// Addresses of nobody that is known.
    fn new_addresses(&self, all: &mut Vec<Concern>) {
        let Some(status) = self.given.wanted.new_address.broken() else { return };
        let learning = self.given.wanted.learning.0;
        for (mac, zones) in self.given.book.addresses() {
            let known = self.owners.contains_key(&mac)
                || is_redundant(mac)
                || self.given.wanted.approved.contains(mac);
            if known {
                continue;
            }
            for (zone, seen) in self.lately(zones) {
                let learnt = |began: Timestamp| seen.first_at <= began + learning;
                if self.given.book.began(zone).is_none_or(learnt) {
                    continue;
                }
                let (called, place) = (self.called(mac), self.place(seen));
                let ago = spoken(seen.first_at.age(self.given.now));
                let why = Text::new(
                    format!("{} appeared at {place} {} ago; nobody knows it", called.en, ago.en),
                    format!("{}于 {}前出现在 {place}，未经登记", called.zh, ago.zh),
                );
                let mut verdict = Verdict::new(mac.to_string(), status, why);
                verdict.stale = self.given.asked.get(&seen.device).is_none_or(|asked| asked.stale);
                verdict.evidence.push(self.seen(mac, seen));
                let asset = Asset::Device(seen.device.clone());
                all.push(Concern { asset, kind: Kind::NewAddress, verdict });
            }
        }
    }

    /// Links between devices of different zones.
    fn foreign_links(&self, all: &mut Vec<Concern>) {
        for link in &self.given.topology.links {
            let Some(status) = status_of(link.confidence) else { continue };
            let [one, other] = &link.ends;
            for (here, there) in [(one, other), (other, one)] {
                let (mine, theirs) =
                    (Asset::Device(here.device.clone()), Asset::Device(there.device.clone()));
                let (Some(zone), Some(foreign)) = (self.zone_of(&mine), self.zone_of(&theirs))
                else {
                    continue;
                };
                if self.may_be_in(&mine, foreign) || self.may_be_in(&theirs, zone) {
                    continue;
                }
                let how: Vec<Text> = link.evidence.iter().map(super::Evidence::text).collect();
                let en: Vec<&str> = how.iter().map(|text| text.en.as_str()).collect();
                let port = self.end(here);
                let why = Text::new(
                    format!("{port} is linked to {} of zone \"{foreign}\"", self.full(there)),
                    format!("{port} 连接到安全域 {foreign} 的 {}", self.full(there)),
                );
                let value =
                    format!("{} - {}: {}", self.full(here), self.full(there), en.join("; "));
                let verdict = self.verdict(&here.device, port, status, why, "link", value);
                all.push(Concern { asset: mine, kind: Kind::ForeignNeighbour, verdict });
            }
        }
    }

    fn end(&self, end: &End) -> String {
        end.port.map_or_else(|| "?".to_owned(), |port| self.port(&end.device, port))
    }

    fn full(&self, end: &End) -> String {
        match end.port {
            Some(port) => format!("{} {}", end.device, self.port(&end.device, port)),
            None => end.device.to_string(),
        }
    }

    /// Hosts, and devices that are no switches, at devices of other zones.
    fn foreign_places(&self, all: &mut Vec<Concern>) {
        for place in &self.given.topology.attachments {
            let (Some(status), Some(device)) =
                (status_of(place.confidence), self.devices.get(&place.device))
            else {
                continue;
            };
            if self.may_be_in(&place.asset, &device.zone) {
                continue;
            }
            let Some(zone) = self.zone_of(&place.asset) else { continue };
            let (name, port) = (place.asset.name(), self.port(&place.device, place.port));
            let mac = place.mac;
            let why = Text::new(
                format!("{name} of zone \"{zone}\" is behind {port} ({mac})"),
                format!("安全域 {zone} 的 {name}（{mac}）接在 {port} 上"),
            );
            let value = format!("{mac} behind {port}");
            let verdict = self.verdict(&place.device, port, status, why, "mac_table", value);
            let asset = Asset::Device(place.device.clone());
            all.push(Concern { asset, kind: Kind::ForeignNeighbour, verdict });
        }
    }

    /// Neighbours that are not polled here, but that the policy knows.
    fn foreign_strangers(&self, all: &mut Vec<Concern>) {
        for stranger in &self.given.topology.strangers {
            let Some(device) = self.devices.get(&stranger.device) else { continue };
            let name = stranger.name.as_deref().unwrap_or(&stranger.chassis).to_lowercase();
            let short = name.split('.').next().unwrap_or_default();
            let known = [name.as_str(), short].into_iter().find_map(|name| {
                let name: HostName = name.parse().ok()?;
                self.given.policy.hosts.contains_key(&name).then_some(name)
            });
            let Some(known) = known else { continue };
            let zones = self.given.policy.zones_of(&Party::Host(known.clone()));
            let Some(entry) = self.given.policy.hosts.get(&known) else { continue };
            if entry.zone == device.zone || zones.contains(&Some(&device.zone)) {
                continue;
            }
            let port = stranger
                .port
                .map_or_else(|| "?".to_owned(), |port| self.port(&stranger.device, port));
            let (zone, protocol) = (&entry.zone, stranger.protocol.as_str());
            let why = Text::new(
                format!("{known} of zone \"{zone}\" is heard at {port} by {protocol}"),
                format!("在 {port} 上通过 {protocol} 发现安全域 {zone} 的 {known}"),
            );
            let value = format!("{} at {port}", stranger.chassis);
            // Its own word, and nothing else that agrees.
            let verdict =
                self.verdict(&stranger.device, port, Status::Warning, why, "neighbours", value);
            let asset = Asset::Device(stranger.device.clone());
            all.push(Concern { asset, kind: Kind::ForeignNeighbour, verdict });
        }
    }

    /// The zone that a VLAN is of where that is not the one the device is in, nor that one's too.
    fn zone_of_vlan(&self, device: &Device, vlan: u32) -> Option<&'a ZoneName> {
        let vlans = &self.given.wanted.vlans;
        let has = |zone: &ZoneName| {
            vlans.get(zone).is_some_and(|vlans| vlans.iter().any(|vlans| vlans.contains(vlan)))
        };
        if has(&device.zone) {
            return None;
        }
        vlans.keys().find(|zone| has(zone))
    }

    /// Addresses in VLANs that are not of the device's zone.
    fn foreign_vlans(&self, all: &mut Vec<Concern>) {
        let vlans = &self.given.wanted.vlans;
        for device in self.given.devices {
            let Some(own) = vlans.get(&device.zone) else { continue };
            let mut found: BTreeMap<u32, (BTreeSet<PortNumber>, BTreeSet<Mac>)> = BTreeMap::new();
            for station in &device.stations {
                let Some(vlan) = station.vlan else { continue };
                if !own.iter().any(|vlans| vlans.contains(vlan)) {
                    let (ports, macs) = found.entry(vlan).or_default();
                    ports.insert(station.port);
                    macs.insert(station.mac);
                }
            }
            // What goes out in it is carried, whether or not anybody answers.
            for (vlan, ports) in &device.carried {
                if let Some((known, _)) = found.get_mut(vlan) {
                    known.extend(ports);
                } else if !ports.is_empty() && self.zone_of_vlan(device, *vlan).is_some() {
                    found.insert(*vlan, (ports.clone(), BTreeSet::new()));
                }
            }
            for (vlan, (ports, macs)) in found {
                let of = self.zone_of_vlan(device, vlan);
                let names: Vec<String> =
                    ports.iter().take(SHOWN).map(|port| self.port(&device.name, *port)).collect();
                let (names, count) = (names.join(", "), macs.len());
                let (status, why) = match of {
                    Some(zone) => (
                        Status::Critical,
                        Text::new(
                            format!("VLAN {vlan} of zone \"{zone}\" is on {names} ({count} seen)"),
                            format!("{names} 上承载安全域 {zone} 的 VLAN {vlan}（{count} 个地址）"),
                        ),
                    ),
                    None => (
                        Status::Warning,
                        Text::new(
                            format!("VLAN {vlan} of no zone is on {names} ({count} seen)"),
                            format!(
                                "{names} 上承载不属于任何安全域的 VLAN {vlan}（{count} 个地址）"
                            ),
                        ),
                    ),
                };
                let macs: Vec<String> = macs.iter().take(SHOWN).map(Mac::to_string).collect();
                let value = format!("VLAN {vlan}: {}", macs.join(", "));
                let subject = vlan.to_string();
                let verdict = self.verdict(&device.name, subject, status, why, "mac_table", value);
                let asset = Asset::Device(device.name.clone());
                all.push(Concern { asset, kind: Kind::ForeignVlan, verdict });
            }
        }
    }
}

/// The most ports and addresses that a sentence names.
const SHOWN: usize = 4;

/// What something is that should not be, by how sure it is. What is only guessed is no finding.
const fn status_of(confidence: Confidence) -> Option<Status> {
    match confidence {
        Confidence::Low => None,
        Confidence::Medium => Some(Status::Warning),
        Confidence::High => Some(Status::Critical),
    }
}
