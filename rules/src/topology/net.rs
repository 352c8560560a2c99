//! What is given, in the shape that the inference needs: devices by number, tables sorted.

use std::collections::{BTreeMap, BTreeSet};

use super::mac::{is_nobody, is_redundant};
use super::{
    Asset, Conflict, Device, MAX_BRIDGES, MAX_CONFLICTS, MAX_DEVICES, MAX_STATIONS, PortNumber,
    Wired,
};
use crate::fact::links::Mac;

/// The most addresses of one asset that are looked for.
const MAX_OWN: usize = 1024;

/// Conflicts, each once.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    found: BTreeSet<Conflict>,
    more: bool,
}

impl Conflicts {
    pub(super) fn add(&mut self, conflict: Conflict) {
        if self.found.len() < MAX_CONFLICTS {
            self.found.insert(conflict);
        } else if !self.found.contains(&conflict) {
            self.more = true;
        }
    }

    pub(super) fn in_order(self) -> Vec<Conflict> {
        let mut all: Vec<Conflict> = self.found.into_iter().collect();
        if self.more {
            all.push(Conflict::TooMany { what: "conflicts".to_owned(), most: MAX_CONFLICTS });
        }
        all
    }
}

/// The number of a device: its place among all of them by name.
pub(super) type DeviceNo = usize;

/// An entry of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) mac: Mac,
    pub(super) vlan: Option<u32>,
    pub(super) port: PortNumber,
}

/// What a switch has learnt of others, in order.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    /// How many addresses are behind each port.
    counts: BTreeMap<PortNumber, usize>,
}

impl Table {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        let mut of_ports: Vec<(PortNumber, Mac)> =
            entries.iter().map(|entry| (entry.port, entry.mac)).collect();
        of_ports.sort_unstable();
        of_ports.dedup();
        let mut counts = BTreeMap::new();
        for (port, _) in of_ports {
            *counts.entry(port).or_insert(0) += 1;
        }
        Self { entries, counts }
    }

    /// Every entry of an address.
    pub(super) fn of(&self, mac: Mac) -> &[Entry] {
        let from = self.entries.partition_point(|entry| entry.mac < mac);
        let rest = &self.entries[from..];
        &rest[..rest.partition_point(|entry| entry.mac == mac)]
    }

    /// How many addresses are behind a port.
    pub(super) fn count(&self, port: PortNumber) -> usize {
        self.counts.get(&port).copied().unwrap_or(0)
    }

    /// The ports behind which anything was learnt.
    pub(super) fn ports(&self) -> impl Iterator<Item = PortNumber> {
        self.counts.keys().copied()
    }

    /// The addresses, in order, each as often as it was learnt.
    pub(super) fn macs(&self) -> impl Iterator<Item = Mac> {
        self.entries.iter().map(|entry| entry.mac)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The two ports behind which this and another have learnt the same address in the same VLAN, for
    /// at most `most` of them. Addresses that move between routers by themselves say nothing.
    pub(super) fn shared_with(
        &self,
        other: &Self,
        most: usize,
        mut meet: impl FnMut(PortNumber, PortNumber),
    ) {
        let (mut mine, mut theirs) = (&self.entries[..], &other.entries[..]);
        let mut met = 0;
        while let (Some(one), Some(two)) = (mine.first(), theirs.first()) {
            if one.mac != two.mac {
                let behind = if one.mac < two.mac { &mut mine } else { &mut theirs };
                *behind = &behind[1..];
                continue;
            }
            let mac = one.mac;
            let (here, left) = mine.split_at(mine.partition_point(|entry| entry.mac == mac));
            let (there, right) = theirs.split_at(theirs.partition_point(|entry| entry.mac == mac));
            (mine, theirs) = (left, right);
            if is_redundant(mac) {
                continue;
            }
            let pairs = here.iter().flat_map(|one| there.iter().map(move |two| (one, two)));
            for (one, two) in pairs.filter(|(one, two)| same_vlan(one.vlan, two.vlan)) {
                meet(one.port, two.port);
                met += 1;
            }
            if met >= most {
                return;
            }
        }
    }
}

/// Whether two entries can be of one tree. A switch that knows no VLANs has one for all.
fn same_vlan(one: Option<u32>, other: Option<u32>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Something that passes no frames on, with its addresses.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) asset: Asset,
    pub(super) macs: Vec<Mac>,
}

/// Everything given.
pub(super) struct Net<'a> {
    /// In the order of their names.
    pub(super) devices: Vec<&'a Device>,
    /// Those whose tables are held against each other.
    pub(super) bridges: Vec<DeviceNo>,
    /// By device; empty where a device is no bridge.
    pub(super) tables: Vec<Table>,
    /// By device: the addresses that are its own and nobody else's.
    pub(super) own: Vec<Vec<Mac>>,
    /// In order.
    pub(super) leaves: Vec<Leaf>,
    owners: BTreeMap<Mac, Asset>,
}

impl<'a> Net<'a> {
    pub(super) fn new(devices: &'a [Device], hosts: &[Wired], conflicts: &mut Conflicts) -> Self {
        let by_name: BTreeMap<_, &Device> =
            devices.iter().rev().map(|device| (&device.name, device)).collect();
        let mut devices: Vec<&Device> = by_name.into_values().collect();
        cut(&mut devices, "devices", MAX_DEVICES, conflicts);
        let owners = owners(&devices, hosts, conflicts);
        let is_own = |mac: Mac, no: DeviceNo| {
            let name = &devices[no].name;
            matches!(owners.get(&mac), Some(Asset::Device(owner)) if owner == name)
        };
        let mut own = Vec::with_capacity(devices.len());
        let mut tables = Vec::with_capacity(devices.len());
        for (no, device) in devices.iter().enumerate() {
            let mine = addresses_of(device);
            tables.push(table(device, &mine, conflicts));
            own.push(mine.into_iter().filter(|mac| is_own(*mac, no)).take(MAX_OWN).collect());
        }
        let mut bridges: Vec<DeviceNo> =
            (0..devices.len()).filter(|no| devices[*no].bridges).collect();
        cut(&mut bridges, "switches", MAX_BRIDGES, conflicts);
        let leaves = leaves(&devices, hosts, &owners);
        Self { devices, bridges, tables, own, leaves, owners }
    }

    /// Whose own an address is.
    pub(super) fn owner(&self, mac: Mac) -> Option<&Asset> {
        self.owners.get(&mac)
    }

    /// The device of a name.
    pub(super) fn number(&self, name: &crate::name::HostName) -> Option<DeviceNo> {
        self.devices.binary_search_by(|device| device.name.cmp(name)).ok()
    }

    /// The port that stands for a port: the aggregate that it is a part of.
    pub(super) fn logical(&self, no: DeviceNo, port: PortNumber) -> PortNumber {
        logical(self.devices[no], port)
    }
}

fn logical(device: &Device, port: PortNumber) -> PortNumber {
    device.ports.get(&port).and_then(|port| port.aggregate).unwrap_or(port)
}

fn cut<T>(all: &mut Vec<T>, what: &str, most: usize, conflicts: &mut Conflicts) {
    if all.len() > most {
        all.truncate(most);
        conflicts.add(Conflict::TooMany { what: what.to_owned(), most });
    }
}

/// The addresses that a device says are its own.
fn addresses_of(device: &Device) -> BTreeSet<Mac> {
    let of_ports = device.ports.values().filter_map(|port| port.mac);
    let all = device.macs.iter().copied().chain(of_ports);
    all.filter(|mac| !is_nobody(*mac) && !is_redundant(*mac)).collect()
}

/// What a device has learnt of others.
fn table(device: &Device, mine: &BTreeSet<Mac>, conflicts: &mut Conflicts) -> Table {
    if !device.bridges {
        return Table::default();
    }
    let others = device
        .stations
        .iter()
        .filter(|station| !is_nobody(station.mac) && !mine.contains(&station.mac));
    let mut entries: Vec<Entry> = others
        .map(|station| Entry {
            mac: station.mac,
            vlan: station.vlan,
            port: logical(device, station.port),
        })
        .collect();
    if entries.len() > MAX_STATIONS {
        entries.sort_unstable();
        let what = format!("addresses in the table of {}", device.name);
        cut(&mut entries, &what, MAX_STATIONS, conflicts);
    }
    Table::new(entries)
}

/// Whose own each address is, where only one says so. A machine that is polled and has an agent too is
/// one.
fn owners(devices: &[&Device], hosts: &[Wired], conflicts: &mut Conflicts) -> BTreeMap<Mac, Asset> {
    let mut said: BTreeMap<Mac, BTreeSet<Asset>> = BTreeMap::new();
    for device in devices {
        for mac in addresses_of(device) {
            said.entry(mac).or_default().insert(Asset::Device(device.name.clone()));
        }
    }
    for host in hosts {
        for mac in host.macs.iter().filter(|mac| !is_nobody(**mac) && !is_redundant(**mac)) {
            said.entry(*mac).or_default().insert(Asset::Host(host.name.clone()));
        }
    }
    let mut owners = BTreeMap::new();
    for (mac, assets) in said {
        let names: BTreeSet<_> = assets.iter().map(Asset::name).collect();
        if names.len() > 1 {
            conflicts.add(Conflict::SameAddress { mac, assets: assets.into_iter().collect() });
        } else if let Some(first) = assets.into_iter().next() {
            owners.insert(mac, first);
        }
    }
    owners
}

/// Hosts, and devices that pass no frames on.
fn leaves(devices: &[&Device], hosts: &[Wired], owners: &BTreeMap<Mac, Asset>) -> Vec<Leaf> {
    let mut leaves: BTreeMap<Asset, BTreeSet<Mac>> = BTreeMap::new();
    for device in devices.iter().filter(|device| !device.bridges) {
        let mut macs = addresses_of(device);
        if macs.is_empty() {
            let is_free = |mac: &Mac| !is_nobody(*mac) && !is_redundant(*mac);
            let nobodys = |mac: &Mac| is_free(mac) && !owners.contains_key(mac);
            macs.extend(device.resolved.filter(nobodys));
        }
        leaves.insert(Asset::Device(device.name.clone()), macs);
    }
    for host in hosts {
        let macs = host.macs.iter().copied().filter(|mac| !is_nobody(*mac));
        leaves.entry(Asset::Host(host.name.clone())).or_default().extend(macs);
    }
    let leaf = |(asset, macs): (Asset, BTreeSet<Mac>)| Leaf {
        asset,
        macs: macs.into_iter().take(MAX_OWN).collect(),
    };
    leaves.into_iter().map(leaf).collect()
}
