//! How the site is wired, as far as devices and agents tell; what is silent only because something
//! before it is; and who is on a wire where he must not be.
//!
//! A reconciler: it looks at what is held of every device and host, and when that has changed it infers
//! everything anew (`rules::topology`). Judging reads what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bailey_rules::check::{self, Judged};
use bailey_rules::device::{DeviceView, Part};
use bailey_rules::fact::host::Identity;
use bailey_rules::fact::links::{Interface, LinkKind, Mac};
use bailey_rules::host::HostView;
use bailey_rules::name::HostName;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::book::Book;
use bailey_rules::topology::cause::{Answer, Cause, Graph};
use bailey_rules::topology::isolation::{Asked, Concern, Given, concerns};
use bailey_rules::topology::{
    Asset, Attachment, Device, Neighbour, Port, PortNumber, Protocol, Station, Topology, Wired,
    infer,
};
use rusqlite::Transaction;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::site::Site;
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
    /// show of it is.
    pub(crate) fn judge(&self, asset: &Asset, fresh: bool, judged: &mut Vec<Judged>) {
        if let Some(cause) = self.causes.get(asset) {
            check::behind::excuse(judged, cause);
        }
        let fresh = fresh && self.complete;
        let concerns = self.concerns.get(asset).map_or(&[][..], Vec::as_slice);
        judged.extend(check::wire::judged(concerns, fresh));
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
type Stamp = (HostName, [Option<Timestamp>; 3]);

/// Keeps the wiring.
pub(crate) struct Wirer {
    site: Site,
    book: Book,
    /// Addresses of the machine that the collector runs on.
    own: Arc<Vec<Mac>>,
    stamps: Vec<Stamp>,
    hosts: Vec<Wired>,
    generation: Option<u64>,
    devices: Arc<Vec<Device>>,
    /// What was inferred last, without what is only remembered.
    topology: Arc<Topology>,
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
        Self {
            site,
            book,
            own: Arc::new(own_addresses()),
            stamps: Vec::new(),
            hosts: Vec::new(),
            generation: None,
            devices: Arc::default(),
            topology: Arc::default(),
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
        let devices: Vec<Arc<DeviceView>> =
            self.site.held_devices().iter().map(|device| device.view()).collect();
        let views: Vec<Arc<HostView>> = self.site.held().iter().map(|host| host.view()).collect();
        let config = self.site.config();
        let now = self.site.now();
        let stamps: Vec<Stamp> = devices.iter().map(|device| stamp(device)).collect();
        let hosts: Vec<Wired> = views
            .iter()
            .map(|view| {
                let wanted = config.rule_files.for_host(&view.name, &view.zone);
                wired(view, wanted.isolation.other_zones)
            })
            .collect();
        let changed = stamps != self.stamps
            || hosts != self.hosts
            || self.generation != Some(config.generation);
        if changed {
            let input = Input {
                devices: devices.iter().map(|device| told_by(device)).collect(),
                hosts: hosts.clone(),
            };
            let wishes = config.rule_files.wishes().clone();
            let inferring = tokio::task::spawn_blocking(move || {
                let topology = infer(&input.devices, &input.hosts, &wishes);
                (input.devices, topology)
            });
            let Ok((told, topology)) = inferring.await else {
                warn!("the wiring could not be inferred, by a fault of ours");
                return;
            };
            let asked: BTreeMap<&HostName, Timestamp> = devices
                .iter()
                .filter_map(|device| Some((&device.name, device.bridge.read_at()?)))
                .collect();
            self.book.note(&topology.whereabouts, |device| asked.get(device).copied());
            debug!(
                links = topology.links.len(),
                places = topology.attachments.len(),
                conflicts = topology.conflicts.len(),
                "the wiring was inferred"
            );
            (self.stamps, self.hosts) = (stamps, hosts);
            self.generation = Some(config.generation);
            self.devices = Arc::new(told);
            self.topology = Arc::new(topology);
            self.unwritten = true;
        }
        let answers = answers(&devices, &views, now);
        let silent: BTreeSet<Asset> = answers
            .iter()
            .filter(|(_, answer)| matches!(answer, Answer::Silent { .. }))
            .map(|(asset, _)| asset.clone())
            .collect();
        let before = self.site.wiring();
        let topology = if silent.is_empty() {
            Arc::clone(&self.topology)
        } else {
            Arc::new(Topology::clone(&self.topology).remembering(&before.topology, &silent))
        };
        let wanted = config.rule_files.wire();
        let collector_at = self.collector_at(&wanted.collector_at, &topology);
        let causes = if silent.is_empty() {
            BTreeMap::new()
        } else {
            Graph::new(&topology, &passing(&self.devices)).causes(&collector_at, &answers)
        };
        let due = self.judged_at.is_none_or(|at| at.elapsed() >= JUDGED_EVERY);
        let of_wires = if changed || due {
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
            Arc::new(by_asset)
        } else {
            Arc::clone(&before.concerns)
        };
        let complete = devices
            .iter()
            .all(|device| device.bridge.read_at().is_some() || device.polling.failed.is_some());
        let wiring = Wiring {
            own: Arc::clone(&self.own),
            topology,
            causes,
            concerns: of_wires,
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
    other_cause.chain(other_concern).cloned().collect()
}

fn stamp(device: &DeviceView) -> Stamp {
    // Interfaces are read each minute and are the same ones for months.
    let ports = device.ports_changed_at();
    let read = [ports, device.neighbours.read_at(), device.bridge.read_at()];
    (device.name.clone(), read)
}

/// When a device's tables were read.
fn asked(device: &DeviceView, now: Timestamp) -> Option<(HostName, Asked)> {
    let freshness = device.freshness(Part::Bridge);
    let asked = Asked { at: freshness.read_at?, stale: freshness.is_stale(now) };
    Some((device.name.clone(), asked))
}

/// What a device tells of its place.
fn told_by(view: &DeviceView) -> Device {
    let interfaces = view.interfaces.value().into_iter().flatten();
    let port = |interface: &bailey_rules::device::interface::Interface| {
        let port = Port { name: interface.name.clone(), mac: interface.mac, aggregate: None };
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
                protocol: Protocol::Lldp,
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
    }
}

/// What an agent tells of its host's place: the addresses of interfaces on a wire. What lives inside a
/// host only has addresses that other hosts have too.
fn wired(view: &HostView, other_zones: Vec<bailey_rules::name::ZoneName>) -> Wired {
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
        let answer = if at.age(now) > interval + interval / 2 {
            Answer::Silent { since: at + interval }
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
