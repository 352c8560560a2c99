//! All that is held of one device: a switch, a UPS, a minicomputer, a firewall appliance. No agent
//! runs on it; the collector asks it by SNMP.
//!
//! What a device tells is held in parts ([`Part`]), each read as a whole or not at all, and each with
//! the time at which it was last read. A part that could not be read keeps what it was, grows old, and
//! says why.

pub mod addresses;
pub mod aggregate;
pub mod bridge;
pub mod ethernet;
pub mod hardware;
pub mod interface;
pub mod line;
pub mod neighbour;
pub mod poe;
pub mod power;
pub mod processes;
pub mod quality;
pub mod resources;
pub mod routes;
pub mod samples;
pub mod schedule;
pub mod vendor;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::name::{HostKey, HostName, ZoneName};
use crate::text::Text;
use crate::time::Timestamp;
use addresses::Resolved;
use aggregate::{Degraded, aggregates};
use bridge::Learned;
use ethernet::Port;
use hardware::Hardware;
use interface::{Counter, Interface, Window};
use line::{MAX_LINES, Month};
use neighbour::Neighbour;
use poe::Poe;
use power::Power;
use processes::Processes;
use quality::Quality;
use resources::Resources;
use routes::Routes;
use vendor::VendorValue;

/// The most devices of one collector.
pub const MAX_DEVICES: usize = 2_000;

/// The most interfaces of one device that are held; a chassis has some thousands.
pub const MAX_INTERFACES: usize = 8_192;

/// What a device tells, in the parts in which it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Who it is and since when it runs.
    Identity,
    /// Its interfaces and what passes through them.
    Interfaces,
    /// Duplex and errors of its Ethernet ports.
    Ethernet,
    /// What it is as a UPS.
    Power,
    /// What it feeds through its ports.
    Poe,
    /// What it is as a computer.
    Resources,
    /// What runs on it as a computer.
    Processes,
    /// Parts and sensors.
    Hardware,
    /// What only its vendor's devices tell.
    Vendor,
    /// Whom it sees at its ports.
    Neighbours,
    /// Which MAC addresses it has learnt behind its ports.
    Bridge,
    /// Which MAC address answers for which IP address.
    Addresses,
    /// Where it sends packets.
    Routes,
}

impl Part {
    /// Every part, in the order in which they are asked.
    pub const ALL: [Self; 13] = [
        Self::Identity,
        Self::Interfaces,
        Self::Power,
        Self::Poe,
        Self::Vendor,
        Self::Resources,
        Self::Processes,
        Self::Hardware,
        Self::Ethernet,
        Self::Neighbours,
        Self::Bridge,
        Self::Addresses,
        Self::Routes,
    ];

    /// The word in JSON and evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Interfaces => "interfaces",
            Self::Ethernet => "ethernet",
            Self::Power => "power",
            Self::Poe => "poe",
            Self::Resources => "resources",
            Self::Processes => "processes",
            Self::Hardware => "hardware",
            Self::Vendor => "vendor",
            Self::Neighbours => "neighbours",
            Self::Bridge => "bridge",
            Self::Addresses => "addresses",
            Self::Routes => "routes",
        }
    }

    /// What it is called on screen.
    #[must_use]
    pub fn title(self) -> Text {
        match self {
            Self::Identity => Text::new("who it is", "设备标识"),
            Self::Interfaces => Text::new("interfaces", "接口"),
            Self::Ethernet => Text::new("Ethernet ports", "以太网端口"),
            Self::Power => Text::new("power", "电源"),
            Self::Poe => Text::new("power over Ethernet", "以太网供电"),
            Self::Resources => Text::new("processors and storage", "处理器与存储"),
            Self::Processes => Text::new("processes", "进程"),
            Self::Hardware => Text::new("sensors", "传感器"),
            Self::Vendor => Text::new("the vendor's values", "厂商数据"),
            Self::Neighbours => Text::new("neighbours", "邻居"),
            Self::Bridge => Text::new("MAC addresses", "MAC 地址表"),
            Self::Addresses => Text::new("ARP and neighbour tables", "ARP 与邻居表"),
            Self::Routes => Text::new("routes", "路由表"),
        }
    }

    /// How often the part is asked where the device is polled each `interval`. What stands still for
    /// minutes is asked less often, and what the device does not have hardly ever: a module may be
    /// put in.
    #[must_use]
    pub fn interval(self, interval: Duration, empty: bool) -> Duration {
        const SLOW: Duration = Duration::from_mins(5);
        const EMPTY: Duration = Duration::from_hours(1);
        match self {
            Self::Identity => interval,
            _ if empty => EMPTY.max(interval),
            Self::Interfaces
            | Self::Power
            | Self::Poe
            | Self::Vendor
            | Self::Resources
            | Self::Processes
            | Self::Hardware => interval,
            Self::Ethernet | Self::Neighbours | Self::Bridge | Self::Addresses | Self::Routes => {
                SLOW.max(interval)
            }
        }
    }
}

/// A part as it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<T> {
    /// What was read last. Shared with every copy: views are copied while they are judged.
    value: Option<Arc<T>>,
    /// When that was.
    read_at: Option<Timestamp>,
    /// When it was last tried.
    tried_at: Option<Timestamp>,
    /// How often it is asked.
    interval: Duration,
    /// Why the last try failed.
    failed: Option<Text>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { value: None, read_at: None, tried_at: None, interval: Duration::ZERO, failed: None }
    }
}

impl<T> Held<T> {
    /// What was read last, however long ago.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        self.value.as_deref()
    }

    /// When it was read.
    #[must_use]
    pub const fn read_at(&self) -> Option<Timestamp> {
        self.read_at
    }

    /// Why the last try failed, if it did.
    #[must_use]
    pub const fn failed(&self) -> Option<&Text> {
        self.failed.as_ref()
    }

    /// Takes what came of asking at `at`; it will be asked again after `interval`.
    pub fn take(&mut self, outcome: Result<T, Text>, at: Timestamp, interval: Duration) {
        self.tried_at = Some(at);
        self.interval = interval;
        match outcome {
            Ok(value) => {
                self.value = Some(Arc::new(value));
                self.read_at = Some(at);
                self.failed = None;
            }
            Err(why) => self.failed = Some(why),
        }
    }

    /// Whether it is to be asked in a poll at `now`.
    #[must_use]
    pub fn is_due(&self, interval: Duration, now: Timestamp) -> bool {
        let Some(tried_at) = self.tried_at else { return true };
        // A poll may begin somewhat early; a part must not slip to the one after for that.
        tried_at > now || tried_at.age(now) + interval / 4 >= interval
    }

    fn freshness(&self) -> Freshness<'_> {
        Freshness { read_at: self.read_at, interval: self.interval, failed: self.failed() }
    }
}

/// How fresh a part is, whatever it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness<'a> {
    /// When it was last read.
    pub read_at: Option<Timestamp>,
    /// How often it is asked.
    pub interval: Duration,
    /// Why the last try failed.
    pub failed: Option<&'a Text>,
}

impl Freshness<'_> {
    /// A part that was last read longer ago than twice its interval is stale; so is one that never
    /// was.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.read_at.is_none_or(|at| at.age(now) > self.interval * 2)
    }
}

/// Who a device says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// `sysDescr`.
    pub description: Option<String>,
    /// `sysObjectID`: which product it is.
    pub product: Option<String>,
    /// Whose product, where there is a file for the vendor.
    pub vendor: Option<String>,
    /// `sysName`.
    pub name: Option<String>,
    /// `sysContact`.
    pub contact: Option<String>,
    /// `sysLocation`.
    pub location: Option<String>,
    /// `sysUpTime`: since when its agent runs. It wraps after 497 days.
    #[serde(serialize_with = "seconds")]
    pub up: Option<Duration>,
}

/// What the collector itself knows of asking a device. Times are by its clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Polling {
    /// How often it is asked.
    pub interval: Duration,
    /// Since when: never before the collector was started.
    pub since: Timestamp,
    /// When it was last asked.
    pub asked_at: Option<Timestamp>,
    /// When it last answered.
    pub answered_at: Option<Timestamp>,
    /// How long the last poll took that it answered.
    pub took: Option<Duration>,
    /// Polls in a row without an answer.
    pub silent: u32,
    /// Why the last poll got no answer.
    pub failed: Option<Text>,
}

/// One device as the checks see it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceView {
    /// Identity: drawn when it was added.
    pub key: HostKey,
    /// What the site calls it.
    pub name: HostName,
    /// The zone it is in.
    pub zone: ZoneName,
    /// Where it is asked.
    pub address: SocketAddr,
    /// When it was added.
    pub added_at: Timestamp,
    /// What is known of asking it.
    pub polling: Polling,
    /// Who it says it is.
    pub identity: Held<Identity>,
    /// Its interfaces.
    pub interfaces: Held<Vec<Interface>>,
    /// What passed through them lately, by `ifIndex`.
    pub traffic: BTreeMap<u32, Window>,
    /// How much of its lines was used within a month, by the name of the interface: its number may be
    /// another one after the device was started again.
    pub lines: BTreeMap<String, Month>,
    /// How the far ends of its lines answer, by the key of the line in the rule files.
    pub quality: BTreeMap<String, Arc<Quality>>,
    /// Its Ethernet ports, by `ifIndex`.
    pub ethernet: Held<BTreeMap<u32, Port>>,
    /// Late collisions that came between the last two readings, by `ifIndex`; only where any did.
    pub collisions: BTreeMap<u32, u64>,
    /// Aggregates that lack members, by `ifIndex`.
    pub degraded: BTreeMap<u32, Degraded>,
    /// What it is as a UPS.
    pub power: Held<Option<Power>>,
    /// What it feeds through its ports.
    pub poe: Held<Poe>,
    /// What it is as a computer.
    pub resources: Held<Resources>,
    /// What runs on it as a computer.
    pub processes: Held<Processes>,
    /// Parts and sensors.
    pub hardware: Held<Hardware>,
    /// What only its vendor's devices tell.
    pub vendor_values: Held<Vec<VendorValue>>,
    /// Whom it sees at its ports.
    pub neighbours: Held<Vec<Neighbour>>,
    /// Which MAC addresses it has learnt behind its ports.
    pub bridge: Held<Learned>,
    /// Which MAC address answers for which IP address.
    pub addresses: Held<BTreeSet<Resolved>>,
    /// Where it sends packets.
    pub routes: Held<Routes>,
    /// When its interfaces were last seen to be others.
    ports_changed_at: Option<Timestamp>,
    /// `sysUpTime` when the interfaces were read.
    up_at_interfaces: Option<Duration>,
    /// `sysUpTime` when the Ethernet ports were read.
    up_at_ethernet: Option<Duration>,
}

impl DeviceView {
    /// A device of which nothing is known but where it is; it is asked since `since`.
    #[must_use]
    pub fn new(
        key: HostKey,
        name: HostName,
        zone: ZoneName,
        address: SocketAddr,
        added_at: Timestamp,
        since: Timestamp,
    ) -> Self {
        Self {
            key,
            name,
            zone,
            address,
            added_at,
            polling: Polling {
                interval: Duration::from_mins(1),
                since,
                asked_at: None,
                answered_at: None,
                took: None,
                silent: 0,
                failed: None,
            },
            identity: Held::default(),
            interfaces: Held::default(),
            traffic: BTreeMap::new(),
            lines: BTreeMap::new(),
            quality: BTreeMap::new(),
            ethernet: Held::default(),
            collisions: BTreeMap::new(),
            degraded: BTreeMap::new(),
            power: Held::default(),
            poe: Held::default(),
            resources: Held::default(),
            processes: Held::default(),
            hardware: Held::default(),
            vendor_values: Held::default(),
            neighbours: Held::default(),
            bridge: Held::default(),
            addresses: Held::default(),
            routes: Held::default(),
            ports_changed_at: None,
            up_at_interfaces: None,
            up_at_ethernet: None,
        }
    }

    /// When its interfaces were last seen to be others than before, by number, name and address; what
    /// passed through them does not count.
    #[must_use]
    pub const fn ports_changed_at(&self) -> Option<Timestamp> {
        self.ports_changed_at
    }

    /// How fresh a part is.
    #[must_use]
    pub fn freshness(&self, part: Part) -> Freshness<'_> {
        match part {
            Part::Identity => self.identity.freshness(),
            Part::Interfaces => self.interfaces.freshness(),
            Part::Ethernet => self.ethernet.freshness(),
            Part::Power => self.power.freshness(),
            Part::Poe => self.poe.freshness(),
            Part::Resources => self.resources.freshness(),
            Part::Processes => self.processes.freshness(),
            Part::Hardware => self.hardware.freshness(),
            Part::Vendor => self.vendor_values.freshness(),
            Part::Neighbours => self.neighbours.freshness(),
            Part::Bridge => self.bridge.freshness(),
            Part::Addresses => self.addresses.freshness(),
            Part::Routes => self.routes.freshness(),
        }
    }

    /// Whether the device has nothing of a part, as far as is known.
    #[must_use]
    pub fn is_empty(&self, part: Part) -> bool {
        match part {
            Part::Identity => false,
            Part::Interfaces => self.interfaces.value().is_some_and(Vec::is_empty),
            Part::Ethernet => self.ethernet.value().is_some_and(BTreeMap::is_empty),
            Part::Power => self.power.value().is_some_and(Option::is_none),
            Part::Poe => self.poe.value().is_some_and(Poe::is_empty),
            Part::Resources => self.resources.value().is_some_and(|r| *r == Resources::default()),
            Part::Processes => self.processes.value().is_some_and(|p| p.list.is_empty()),
            Part::Hardware => {
                let none = |h: &Hardware| h.parts.is_empty() && h.sensors.is_empty();
                self.hardware.value().is_some_and(none)
            }
            Part::Vendor => self.vendor_values.value().is_some_and(Vec::is_empty),
            Part::Neighbours => self.neighbours.value().is_some_and(Vec::is_empty),
            Part::Bridge => {
                let none = |b: &Learned| b.stations.is_empty() && b.vlans.is_empty();
                self.bridge.value().is_some_and(none)
            }
            Part::Addresses => self.addresses.value().is_some_and(BTreeSet::is_empty),
            Part::Routes => self.routes.value().is_some_and(Routes::is_empty),
        }
    }

    /// How often a part is asked.
    #[must_use]
    pub fn interval_of(&self, part: Part) -> Duration {
        part.interval(self.polling.interval, self.is_empty(part))
    }

    /// Whether a part is to be asked in a poll at `now`.
    #[must_use]
    pub fn is_due(&self, part: Part, now: Timestamp) -> bool {
        let interval = self.interval_of(part);
        match part {
            Part::Identity => true,
            Part::Interfaces => self.interfaces.is_due(interval, now),
            Part::Ethernet => self.ethernet.is_due(interval, now),
            Part::Power => self.power.is_due(interval, now),
            Part::Poe => self.poe.is_due(interval, now),
            Part::Resources => self.resources.is_due(interval, now),
            Part::Processes => self.processes.is_due(interval, now),
            Part::Hardware => self.hardware.is_due(interval, now),
            Part::Vendor => self.vendor_values.is_due(interval, now),
            Part::Neighbours => self.neighbours.is_due(interval, now),
            Part::Bridge => self.bridge.is_due(interval, now),
            Part::Addresses => self.addresses.is_due(interval, now),
            Part::Routes => self.routes.is_due(interval, now),
        }
    }

    /// Takes the interfaces as they were read at `at`, and what passed since they were read before.
    /// `is_line` says which of them are lines, whose use is kept for a month.
    pub fn take_interfaces(
        &mut self,
        outcome: Result<Vec<Interface>, Text>,
        at: Timestamp,
        is_line: impl Fn(&Interface) -> bool,
    ) {
        let up = self.identity.value().and_then(|identity| identity.up).unwrap_or_default();
        if let Ok(list) = &outcome {
            let before = self.interfaces.value.clone();
            let before = before.as_deref().map_or(&[][..], Vec::as_slice);
            let is_same = |(one, other): (&Interface, &Interface)| {
                (one.index, one.mac) == (other.index, other.mac) && one.name == other.name
            };
            let same = before.len() == list.len() && before.iter().zip(list).all(is_same);
            if !same || self.ports_changed_at.is_none() {
                self.ports_changed_at = Some(at);
            }
            let before: BTreeMap<u32, &Interface> = before.iter().map(|i| (i.index, i)).collect();
            let elapsed =
                self.interfaces.read_at.filter(|read| *read < at).map(|read| read.age(at));
            if self.lines.len() >= MAX_LINES {
                // What is no line any more makes room for what is.
                let is_one = |name: &str| list.iter().any(|i| i.name == name && is_line(i));
                self.lines.retain(|name, _| is_one(name));
            }
            let mut traffic = std::mem::take(&mut self.traffic);
            for interface in list.iter().take(MAX_INTERFACES) {
                let mut window = traffic.remove(&interface.index).unwrap_or_default();
                let known = before.get(&interface.index).zip(elapsed).zip(self.up_at_interfaces);
                let growth = known.and_then(|((before, elapsed), up_before)| {
                    // Another interface may have taken the number of one that is gone.
                    let same = before.name == interface.name;
                    let growth = interface.since(before, elapsed, up_before, up)?;
                    same.then_some((elapsed, growth))
                });
                match growth {
                    Some((elapsed, growth)) => window.add(at, elapsed, &growth),
                    None => window.broke(),
                }
                if is_line(interface) {
                    let has_room = self.lines.len() < MAX_LINES;
                    if let Some((elapsed, growth)) = growth
                        && (has_room || self.lines.contains_key(&interface.name))
                    {
                        let month = self.lines.entry(interface.name.clone()).or_default();
                        month.add(at, elapsed, &growth);
                    }
                }
                self.traffic.insert(interface.index, window);
            }
            self.up_at_interfaces = Some(up);
        }
        let outcome = outcome.map(|mut list| {
            list.truncate(MAX_INTERFACES);
            list
        });
        let empty = outcome.as_ref().is_ok_and(Vec::is_empty);
        let interval = Part::Interfaces.interval(self.polling.interval, empty);
        let is_read = outcome.is_ok();
        self.interfaces.take(outcome, at, interval);
        if is_read {
            self.note_aggregates(at);
        }
    }

    /// Takes the Ethernet ports as they were read at `at`.
    pub fn take_ethernet(&mut self, outcome: Result<BTreeMap<u32, Port>, Text>, at: Timestamp) {
        let up = self.identity.value().and_then(|identity| identity.up).unwrap_or_default();
        if let Ok(ports) = &outcome {
            let goes_on = self.up_at_ethernet.is_some_and(|before| up >= before);
            let before = self.ethernet.value.clone().filter(|_| goes_on);
            let grown = ports.iter().filter_map(|(index, port)| {
                let before = before.as_ref()?.get(index)?.late_collisions?;
                let narrow = |number| u32::try_from(number).ok().map(Counter::Narrow);
                let (before, now) = (narrow(before)?, narrow(port.late_collisions?)?);
                let grown = now.grown_since(before, Duration::ZERO, None)?;
                (grown > 0).then_some((*index, grown))
            });
            self.collisions = grown.collect();
            self.up_at_ethernet = Some(up);
        }
        let empty = outcome.as_ref().is_ok_and(BTreeMap::is_empty);
        let interval = Part::Ethernet.interval(self.polling.interval, empty);
        let is_read = outcome.is_ok();
        self.ethernet.take(outcome, at, interval);
        if is_read {
            self.note_aggregates(at);
        }
    }

    /// Notes which aggregates lack members, by what was read last of interfaces and ports.
    fn note_aggregates(&mut self, at: Timestamp) {
        let Some((interfaces, ports)) =
            self.interfaces.value.as_ref().zip(self.ethernet.value.as_ref())
        else {
            return;
        };
        aggregate::note(&mut self.degraded, &aggregates(interfaces, ports), at);
    }
}

/// A length of time in whole seconds, for programs.
///
/// # Errors
/// As the serializer.
#[allow(clippy::ref_option)] // The shape that serde asks for.
pub fn seconds<S: serde::Serializer>(length: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    length.map(|length| length.as_secs()).serialize(out)
}
