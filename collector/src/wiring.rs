//! How the site is wired, as far as devices and agents tell; what is silent only because something
//! before it is; and who is on a wire where he must not be.
//!
//! A reconciler: it looks at what is held of every device and host, and when that has changed it infers
//! everything anew (`rules::topology`). Judging reads what came of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bailey_rules::check::{self, Judged, Verdict};
use bailey_rules::device::aggregate::aggregates;
use bailey_rules::device::ethernet::{self, Duplex};
use bailey_rules::device::interface::Link;
use bailey_rules::device::{DeviceView, Part};
use bailey_rules::expectation::WireWanted;
use bailey_rules::fact::FactKind;
use bailey_rules::fact::host::Identity;
use bailey_rules::fact::links::{self, Interface, LinkKind, Mac};
use bailey_rules::host::HostView;
use bailey_rules::name::{HostKey, HostName, ZoneName};
use bailey_rules::time::Timestamp;
use bailey_rules::topology::book::Book;
use bailey_rules::topology::cause::{Answer, Cause, Graph};
use bailey_rules::topology::ends::{Seen, disagreements};
use bailey_rules::topology::isolation::{Asked, Concern, Given, concerns};
use bailey_rules::topology::{
    Asset, Attachment, Device, Neighbour, Port, PortNumber, Station, Topology, Wired, infer,
};
use bailey_rules::unit::BitRate;
use rusqlite::Transaction;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::site::{Config, Site};
use crate::store::{self, StoreError};

/// How often it is looked whether anything has changed. Silence shows itself by no event.
const TICK: Duration = Duration::from_secs(1);

/// How much longer than the inference the pause after it is.
const REST: u32 = 4;

/// What the wires show is judged at least this often, for it grows old.
const JUDGED_EVERY: Duration = Duration::from_secs(15);

/// Which addresses were seen is written down at most this often.
const WRITTEN_EVERY: Duration = Duration::from_mins(5);

/// A silent host waits at least this long for the next answer of the switch that it hangs on.
const WAITED_AT_LEAST: Duration = Duration::from_secs(30);

/// Under which name it is kept which addresses were seen.
const META: &str = "address_book";
/// So long the finding of a silence waits at most until its cause has been looked for.
const LOOKED_FOR: Duration = Duration::from_secs(15);

/// The most addresses of the collector's own machine.
const MAX_OWN: usize = 256;

/// How the site is wired, and what follows from it.
#[derive(Debug, Clone, Default)]
pub struct Wiring {
    /// Links and places.
    pub topology: Arc<Topology>,
    /// Why each asset that is silent is.
    pub causes: BTreeMap<Asset, Cause>,
    /// What the wires show, by the asset that it is about.
    pub concerns: Arc<BTreeMap<Asset, Vec<Concern>>>,
    /// Links whose ends do not agree about speed and duplex, by the device that one of the ends is of.
    pub ends: Arc<BTreeMap<HostName, Vec<Verdict>>>,
    /// Addresses of the machine that the collector runs on.
    pub own: Arc<Vec<Mac>>,
    /// What the collector is at.
    pub collector_at: BTreeSet<Asset>,
    /// When it was inferred last; `None`: not yet.
    pub at: Option<Timestamp>,
    /// Whether every device was asked since the collector started: before that, what is not seen may
    /// be there all the same.
    pub complete: bool,
}

impl Wiring {
    /// Takes into the judgement of an asset what follows from the wiring. `fresh`: whether what the wires
    /// show of it is. `silent_since` is where it is kept since when the asset is judged as one that does
    /// not answer.
    pub(crate) fn judge(
        &self,
        asset: &Asset,
        fresh: bool,
        judged: &mut Vec<Judged>,
        silent_since: &mut Option<Timestamp>,
        now: Timestamp,
    ) {
        if check::behind::is_silent(judged) {
            let since = *silent_since.get_or_insert(now);
            match self.causes.get(asset) {
                Some(cause) => check::behind::excuse(judged, cause),
                None if self.is_to_be_looked_for(asset, since, now) => check::behind::wait(judged),
                None => {}
            }
        } else {
            *silent_since = None;
        }
        let fresh = fresh && self.complete;
        let concerns = self.concerns.get(asset).map_or(&[][..], Vec::as_slice);
        judged.extend(check::wire::judged(concerns, fresh));
        if let Asset::Device(name) = asset {
            let verdicts = self.ends.get(name).map_or(&[][..], Vec::as_slice);
            judged.push(check::link_ends::judged(verdicts, fresh));
        }
    }

    /// Whether the cause of a silence that was first seen at `since` has not been looked for yet: only of
    /// what hangs on something can it be elsewhere, and nobody waits for long.
    fn is_to_be_looked_for(&self, asset: &Asset, since: Timestamp, now: Timestamp) -> bool {
        let is_linked = match asset {
            Asset::Device(name) => {
                self.topology.links.iter().any(|link| link.seen_from(name).is_some())
            }
            Asset::Host(_) => false,
        };
        (is_linked || self.place_of(asset).is_some())
            && self.at.is_some_and(|at| at <= since)
            && since.age(now) < LOOKED_FOR
    }

    /// Where an asset is plugged in.
    #[must_use]
    pub fn place_of(&self, asset: &Asset) -> Option<&Attachment> {
        self.topology.place_of(asset)
    }
}

/// What the inference is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Input {
    devices: Vec<Device>,
    hosts: Vec<Wired>,
}

/// Which readings of a device the inference used.
type Stamp = (HostName, [Option<Timestamp>; 4]);

/// What a host told of its place.
struct Told {
    /// What it was read from.
    view: Arc<HostView>,
    wired: Wired,
}

/// Keeps the wiring.
pub(crate) struct Wirer {
    site: Site,
    book: Book,
    /// Addresses of the machine that the collector runs on.
    own: Arc<Vec<Mac>>,
    stamps: Vec<Stamp>,
    hosts: Vec<Wired>,
    generation: Option<u64>,
    /// What the rule files of that generation demand of the wires.
    wanted: Arc<WireWanted>,
    /// What each host told of its place, and when it was looked at.
    told: HashMap<HostKey, Told>,
    devices: Vec<Device>,
    /// What was inferred last, without what is only remembered.
    topology: Arc<Topology>,
    /// From what, and of whom who is silent, the topology of the site was remembered.
    remembered: Option<(Arc<Topology>, BTreeSet<Asset>)>,
    /// Who reaches whom, by the topology of the site.
    graph: Option<(Arc<Topology>, Graph)>,
    judged_at: Option<Instant>,
    written_at: Instant,
    unwritten: bool,
}

impl Wirer {
    /// Takes over which addresses were seen before. A book that cannot be read begins anew: then
    /// addresses are learnt as known for a while, which the log says.
    pub(crate) fn new(site: Site) -> Self {
        let read = site.store().read_at_start(|store| store::read_meta(store, META));
        let book = match read {
            Ok(None) => Book::default(),
            Ok(Some(text)) => serde_json::from_str(&text).unwrap_or_else(|error| {
                warn!(%error, "which addresses were seen cannot be read; they are learnt anew");
                Book::default()
            }),
            Err(error) => {
                warn!(%error, "which addresses were seen cannot be read; they are learnt anew");
                Book::default()
            }
        };
        let wanted = Arc::new(site.config().rule_files.wire());
        Self {
            site,
            book,
            own: Arc::new(own_addresses()),
            stamps: Vec::new(),
            hosts: Vec::new(),
            generation: None,
            wanted,
            told: HashMap::new(),
            devices: Vec::new(),
            topology: Arc::default(),
            remembered: None,
            graph: None,
            judged_at: None,
            written_at: Instant::now(),
            unwritten: false,
        }
    }

    /// Looks until the collector stops.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let began = Instant::now();
            self.pass().await;
            let rest = (began.elapsed() * REST).max(TICK);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(rest) => {}
            }
        }
        self.write().await;
    }

    /// Looks once.
    pub(crate) async fn pass(&mut self) {
        // Before anything is looked at: who falls silent later was not looked at.
        let now = self.site.now();
        let devices: Vec<Arc<DeviceView>> =
            self.site.held_devices().iter().map(|device| device.view()).collect();
        let views: Vec<Arc<HostView>> = self.site.held().iter().map(|host| host.view()).collect();
        let config = self.site.config();
        let stamps: Vec<Stamp> = devices.iter().map(|device| stamp(device)).collect();
        if self.generation != Some(config.generation) {
            self.wanted = Arc::new(config.rule_files.wire());
            self.told.clear();
        }
        let hosts = self.told_by_hosts(&views, &config);
        let other_rules = self.generation != Some(config.generation);
        let reread = stamps != self.stamps;
        let changed = self.take_devices(&devices, &stamps) || hosts != self.hosts || other_rules;
        if changed {
            let input = Input { devices: std::mem::take(&mut self.devices), hosts: hosts.clone() };
            let wishes = config.rule_files.wishes().clone();
            let inferring = tokio::task::spawn_blocking(move || {
                let topology = infer(&input.devices, &input.hosts, &wishes);
                (input.devices, topology)
            });
            let Ok((told, topology)) = inferring.await else {
                // What was handed in is gone with it; the next pass begins anew.
                self.stamps.clear();
                warn!("the wiring could not be inferred, by a fault of ours");
                return;
            };
            debug!(
                links = topology.links.len(),
                places = topology.attachments.len(),
                conflicts = topology.conflicts.len(),
                "the wiring was inferred"
            );
            self.hosts = hosts;
            self.generation = Some(config.generation);
            self.devices = told;
            self.topology = Arc::new(topology);
        }
        if changed || reread {
            let asked: BTreeMap<&HostName, Timestamp> = devices
                .iter()
                .filter_map(|device| Some((&device.name, device.bridge.read_at()?)))
                .collect();
            self.book.note(&self.topology.whereabouts, |device| asked.get(device).copied());
            self.stamps = stamps;
            self.unwritten = true;
        }
        let answers = answers(&devices, &views, now);
        let silent: BTreeSet<Asset> = answers
            .iter()
            .filter(|(_, answer)| matches!(answer, Answer::Silent { .. }))
            .map(|(asset, _)| asset.clone())
            .collect();
        let before = self.site.wiring();
        let topology = self.remembering(&before.topology, &silent);
        let wanted = Arc::clone(&self.wanted);
        let collector_at = self.collector_at(&wanted.collector_at, &topology);
        let causes = if silent.is_empty() {
            BTreeMap::new()
        } else {
            self.graph_of(&topology).causes(&collector_at, &answers)
        };
        let due = self.judged_at.is_none_or(|at| at.elapsed() >= JUDGED_EVERY);
        let (of_wires, ends) = if changed || due {
            self.judged_at = Some(Instant::now());
            let asked = devices.iter().filter_map(|device| asked(device, now)).collect();
            let found = concerns(&Given {
                devices: &self.devices,
                hosts: &self.hosts,
                topology: &topology,
                book: &self.book,
                wanted: &wanted,
                policy: &config.policy,
                asked: &asked,
                now,
            });
            let mut by_asset: BTreeMap<Asset, Vec<Concern>> = BTreeMap::new();
            for concern in found {
                by_asset.entry(concern.asset.clone()).or_default().push(concern);
            }
            let ends = ends(&topology, &config, &devices, &views, now);
            (Arc::new(by_asset), Arc::new(ends))
        } else {
            (Arc::clone(&before.concerns), Arc::clone(&before.ends))
        };
        let complete = devices
            .iter()
            .all(|device| device.bridge.read_at().is_some() || device.polling.failed.is_some());
        let wiring = Wiring {
            own: Arc::clone(&self.own),
            topology,
            causes,
            concerns: of_wires,
            ends,
            collector_at,
            at: Some(now),
            complete,
        };
        let moved = changed_assets(&before, &wiring);
        self.site.set_wiring(wiring);
        for asset in moved {
            self.site.touch(&asset);
        }
        if self.unwritten && self.written_at.elapsed() >= WRITTEN_EVERY {
            self.write().await;
        }
    }

    /// Takes what devices tell of their places, of those whose tables were read anew. Gives whether any
    /// tells of something else than before: most tables are as they were.
    fn take_devices(&mut self, devices: &[Arc<DeviceView>], stamps: &[Stamp]) -> bool {
        let resolved = resolved(devices);
        let answers = |device: &DeviceView| {
            resolved.get(&device.address.ip().to_canonical()).copied().flatten()
        };
        let same = self.stamps.len() == stamps.len()
            && self.stamps.iter().zip(stamps).all(|(before, now)| before.0 == now.0);
        if !same {
            self.devices = devices.iter().map(|device| told_by(device, answers(device))).collect();
            return true;
        }
        let mut moved = false;
        let of_devices = self.devices.iter_mut().zip(devices);
        for ((told, device), (before, now)) in of_devices.zip(self.stamps.iter().zip(stamps)) {
            let resolved = answers(device);
            if before != now || told.resolved != resolved {
                let new = told_by(device, resolved);
                moved |= *told != new;
                *told = new;
            }
        }
        moved
    }

    /// What the hosts tell of their places. Of one that has told nothing since, it is known.
    fn told_by_hosts(&mut self, views: &[Arc<HostView>], config: &Config) -> Vec<Wired> {
        let mut before = std::mem::take(&mut self.told);
        for view in views {
            let told = match before.remove(&view.key) {
                Some(told) if Arc::ptr_eq(&told.view, view) => told,
                known => {
                    let zones = known.map_or_else(
                        || config.rule_files.for_host(&view.name, &view.zone).isolation.other_zones,
                        |told| told.wired.other_zones,
                    );
                    Told { view: Arc::clone(view), wired: wired(view, zones) }
                }
            };
            self.told.insert(view.key, told);
        }
        views.iter().map(|view| self.told[&view.key].wired.clone()).collect()
    }

    /// The topology with what is remembered of those who are silent.
    fn remembering(&mut self, before: &Arc<Topology>, silent: &BTreeSet<Asset>) -> Arc<Topology> {
        if silent.is_empty() {
            self.remembered = None;
            return Arc::clone(&self.topology);
        }
        let is_known = self
            .remembered
            .as_ref()
            .is_some_and(|(of, who)| Arc::ptr_eq(of, &self.topology) && who == silent);
        if is_known {
            return Arc::clone(before);
        }
        self.remembered = Some((Arc::clone(&self.topology), silent.clone()));
        Arc::new(Topology::clone(&self.topology).remembering(before, silent))
    }

    /// Who reaches whom.
    fn graph_of(&mut self, topology: &Arc<Topology>) -> &Graph {
        let is_known = self.graph.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, topology));
        if !is_known {
            self.graph = None;
        }
        let devices = &self.devices;
        let made = || (Arc::clone(topology), Graph::new(topology, &passing(devices)));
        &self.graph.get_or_insert_with(made).1
    }

    /// What the collector is at: as the rule files say, else its own machine, and the switch that has
    /// learnt an address of it.
    fn collector_at(&self, said: &[HostName], topology: &Topology) -> BTreeSet<Asset> {
        if !said.is_empty() {
            return said.iter().cloned().map(Asset::Device).collect();
        }
        let of_host = |host: &Wired| host.macs.iter().any(|mac| self.own.contains(mac));
        let here = self.hosts.iter().filter(|host| of_host(host));
        let hosts = here.map(|host| Asset::Host(host.name.clone()));
        let at =
            topology.whereabouts.iter().filter(|place| place.edge && self.own.contains(&place.mac));
        hosts.chain(at.map(|place| Asset::Device(place.device.clone()))).collect()
    }

    async fn write(&mut self) {
        if !self.unwritten {
            return;
        }
        let text = match serde_json::to_string(&self.book) {
            Ok(text) => text,
            Err(error) => {
                warn!(%error, "which addresses were seen cannot be written");
                return;
            }
        };
        let job = move |store: &Transaction<'_>| {
            store::write_meta(store, META, &text)
                .map_err(StoreError::failed("keep which addresses were seen"))
        };
        match self.site.store().write("keep which addresses were seen", job).await {
            Ok(()) => {
                self.unwritten = false;
                self.written_at = Instant::now();
            }
            Err(error) => warn!(%error, "which addresses were seen is written later"),
        }
    }
}

/// The assets that are to be judged otherwise than before.
fn changed_assets(before: &Wiring, after: &Wiring) -> BTreeSet<Asset> {
    let causes = before.causes.keys().chain(after.causes.keys());
    let other_cause = causes.filter(|asset| before.causes.get(*asset) != after.causes.get(*asset));
    let concerns = before.concerns.keys().chain(after.concerns.keys());
    let other_concern =
        concerns.filter(|asset| before.concerns.get(*asset) != after.concerns.get(*asset));
    let ends = before.ends.keys().chain(after.ends.keys());
    let other_ends = ends.filter(|name| before.ends.get(*name) != after.ends.get(*name));
    let other_ends = other_ends.cloned().map(Asset::Device);
    other_cause.chain(other_concern).cloned().chain(other_ends).collect()
}

/// Links whose ends do not agree about speed and duplex.
fn ends(
    topology: &Topology,
    config: &Config,
    devices: &[Arc<DeviceView>],
    hosts: &[Arc<HostView>],
    now: Timestamp,
) -> BTreeMap<HostName, Vec<Verdict>> {
    let devices: BTreeMap<&HostName, &DeviceView> =
        devices.iter().map(|device| (&device.name, &**device)).collect();
    let hosts: BTreeMap<&HostName, &HostView> =
        hosts.iter().map(|host| (&host.name, &**host)).collect();
    let broken = |name: &HostName| {
        let device = devices.get(name)?;
        config.rule_files.for_host(name, &device.zone).device.duplex.broken()
    };
    let port = |name: &HostName, number: PortNumber| end_of(devices.get(name)?, number, now);
    let card = |name: &HostName, mac: Mac| card_of(hosts.get(name)?, mac, now);
    disagreements(topology, broken, port, card)
}

/// An Ethernet port of a device that is up, or an aggregate of such whose members run alike.
fn end_of(device: &DeviceView, number: PortNumber, now: Timestamp) -> Option<Seen> {
    /// `ethernetCsmacd`, and what older devices say (IANA ifType-MIB).
    const ETHERNET: [u64; 3] = [6, 62, 117];
    let interfaces = device.interfaces.value()?;
    let interface = interfaces.iter().find(|port| port.index == number)?;
    if interface.link != Link::Up {
        return None;
    }
    let ports = device.ethernet.value();
    let is_of = |port: &ethernet::Port| port.aggregate == Some(number);
    let of_many = ports.filter(|ports| ports.values().any(is_of));
    let (speed, duplex) = match of_many {
        Some(ports) => aggregates(interfaces, ports).get(&number)?.runs()?,
        None if interface.kind.is_some_and(|kind| ETHERNET.contains(&kind)) => {
            let duplex = ports.and_then(|ports| ports.get(&number)).and_then(|port| port.duplex);
            (interface.speed.filter(|bits| *bits > 0), duplex)
        }
        None => return None,
    };
    let freshness = device.freshness(Part::Interfaces);
    Some(Seen {
        name: interface.name.clone(),
        aggregate: of_many.is_some(),
        speed: speed.map(BitRate),
        duplex,
        read_at: freshness.read_at,
        stale: freshness.is_stale(now),
    })
}

/// The one Ethernet interface of a host that has an address and is up.
fn card_of(host: &HostView, mac: Mac, now: Timestamp) -> Option<Seen> {
    let cards = host.facts.values::<Interface>();
    let mut cards = cards.filter(|(_, card)| {
        card.mac == Some(mac) && card.kind == LinkKind::Ethernet && card.carrier
    });
    let (name, card) = cards.next().filter(|_| cards.next().is_none())?;
    let probe = host.facts.probe(FactKind::Interface.probe())?;
    Some(Seen {
        name: name.to_owned(),
        aggregate: false,
        speed: card.speed_mbits.map(|mbits| BitRate(u64::from(mbits) * 1_000_000)),
        duplex: card.duplex.map(|duplex| match duplex {
            links::Duplex::Half => Duplex::Half,
            links::Duplex::Full => Duplex::Full,
        }),
        read_at: Some(probe.read_at),
        stale: probe.is_stale(now),
    })
}

fn stamp(device: &DeviceView) -> Stamp {
    // Interfaces are read each minute and are the same ones for months.
    let ports = device.ports_changed_at();
    let read =
        [ports, device.ethernet.read_at(), device.neighbours.read_at(), device.bridge.read_at()];
    (device.name.clone(), read)
}

/// When a device's tables were read.
fn asked(device: &DeviceView, now: Timestamp) -> Option<(HostName, Asked)> {
    let freshness = device.freshness(Part::Bridge);
    let asked = Asked { at: freshness.read_at?, stale: freshness.is_stale(now) };
    Some((device.name.clone(), asked))
}

/// Which address answers for each IP address, as far as all devices that know agree.
fn resolved(devices: &[Arc<DeviceView>]) -> HashMap<IpAddr, Option<Mac>> {
    let mut all: HashMap<IpAddr, Option<Mac>> = HashMap::new();
    for entry in devices.iter().filter_map(|device| device.addresses.value()).flatten() {
        let known = all.entry(entry.address.to_canonical()).or_insert(Some(entry.mac));
        if *known != Some(entry.mac) {
            *known = None;
        }
    }
    all
}

/// What a device tells of its place. `resolved` is what others tell: which address answers for it.
fn told_by(view: &DeviceView, resolved: Option<Mac>) -> Device {
    let interfaces = view.interfaces.value().into_iter().flatten();
    let port = |interface: &bailey_rules::device::interface::Interface| {
        let ethernet = view.ethernet.value().and_then(|ports| ports.get(&interface.index));
        let port = Port {
            name: interface.name.clone(),
            mac: interface.mac,
            aggregate: ethernet.and_then(|port| port.aggregate),
        };
        (interface.index, port)
    };
    let learned = view.bridge.value();
    let stations = learned.into_iter().flat_map(|learned| &learned.stations);
    let neighbours = view.neighbours.value().into_iter().flatten();
    Device {
        name: view.name.clone(),
        zone: view.zone.clone(),
        bridges: learned.is_some_and(|learned| {
            !learned.stations.is_empty()
                || !learned.vlans.is_empty()
                || learned.topology_changes.is_some()
        }),
        called: view.identity.value().and_then(|identity| identity.name.clone()),
        macs: learned.and_then(|learned| learned.address).into_iter().collect(),
        ports: interfaces.map(port).collect(),
        neighbours: neighbours
            .map(|neighbour| Neighbour {
                protocol: neighbour.protocol,
                local_port: neighbour.local_port,
                local_name: neighbour.local_name.clone(),
                chassis: neighbour.chassis.clone(),
                port: neighbour.port.clone(),
                name: neighbour.name.clone(),
            })
            .collect(),
        stations: stations
            .map(|station| Station {
                mac: station.mac,
                vlan: station.vlan,
                port: PortNumber::from(station.interface),
            })
            .collect(),
        carried: learned.map(|learned| learned.carried.clone()).unwrap_or_default(),
        resolved,
    }
}

/// What an agent tells of its host's place: the addresses of interfaces on a wire. What lives inside a
/// host only has addresses that other hosts have too.
fn wired(view: &HostView, other_zones: Vec<ZoneName>) -> Wired {
    let on_wire = |interface: &&Interface| match interface.kind {
        LinkKind::Ethernet | LinkKind::Bond | LinkKind::Wireless | LinkKind::Usb => true,
        // A macvlan is on the wire of the card that it sits on.
        LinkKind::Virtual => interface.driver.starts_with("macv"),
        LinkKind::Loopback
        | LinkKind::Bridge
        | LinkKind::Vlan
        | LinkKind::Tunnel
        | LinkKind::Modem
        | LinkKind::Other => false,
    };
    let interfaces = view.facts.values::<Interface>().map(|(_, interface)| interface);
    let macs: BTreeSet<Mac> =
        interfaces.filter(on_wire).filter_map(|interface| interface.mac).collect();
    let machine = view.facts.value::<Identity>("").map(|identity| identity.machine_id_hash.clone());
    Wired {
        name: view.name.clone(),
        zone: view.zone.clone(),
        other_zones,
        machine: machine.filter(|machine| !machine.is_empty()),
        macs: macs.into_iter().collect(),
    }
}

/// The devices through which packets pass: switches, and what routes between several ports.
fn passing(devices: &[Device]) -> BTreeSet<HostName> {
    devices.iter().filter(|device| device.bridges).map(|device| device.name.clone()).collect()
}

/// Who answers.
fn answers(
    devices: &[Arc<DeviceView>],
    hosts: &[Arc<HostView>],
    now: Timestamp,
) -> BTreeMap<Asset, Answer> {
    let of_devices = devices.iter().filter_map(|device| {
        let polling = &device.polling;
        // One that was not asked lately is not silent for that: whoever hangs on it waits, but not for
        // longer than a poll can take.
        let waited_for = (polling.interval * 3).max(WAITED_AT_LEAST);
        let answer = match (polling.silent, polling.answered_at) {
            (0, Some(at)) if at.age(now) <= waited_for => Answer::Heard { at },
            (0, _) => return None,
            (_, Some(at)) => Answer::Silent { since: at + polling.interval },
            (_, None) => Answer::Silent { since: polling.since },
        };
        Some((Asset::Device(device.name.clone()), answer))
    });
    let of_hosts = hosts.iter().filter_map(|host| {
        let at = host.session.last_report_at?;
        let interval = host.session.interval;
        let late = interval + interval / 2;
        let answer = if at.age(now) > late {
            // A report may come somewhat late: until then it is not known that none will.
            Answer::Silent { since: at + late }
        } else {
            Answer::Heard { at }
        };
        Some((Asset::Host(host.name.clone()), answer))
    });
    of_devices.chain(of_hosts).collect()
}

/// The addresses of this machine's interfaces.
fn own_addresses() -> Vec<Mac> {
    let Ok(folder) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
    let mut own: Vec<Mac> = folder
        .take(MAX_OWN)
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.ok()?.path().join("address")).ok()?;
            text.trim().parse().ok().filter(|mac: &Mac| mac.0 != [0; 6])
        })
        .collect();
    own.sort_unstable();
    own
}
