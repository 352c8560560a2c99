//! Where an address lies as a host sees it, for the checks of isolation.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Given, Status, Verdict};
use crate::fact::links::{Interface, LinkKind};
use crate::name::ZoneName;
use crate::policy::{self, Party};
use crate::text::Text;

/// Where an address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Loopback, link-local, multicast: nowhere that matters.
    NotCounted,
    /// In the host's own zone, in one that the policy gives it an address in (a gateway), or in one
    /// that the rule files grant it.
    Home,
    /// In a zone that is not the host's.
    Foreign(&'a ZoneName),
    /// In no zone, but inside the host only: a bridge of containers or virtual machines.
    Inside,
    /// In no zone of the policy.
    NoZone,
}

/// Everything that placing addresses needs.
pub(super) struct Map<'a> {
    given: Given<'a>,
    interfaces: BTreeMap<&'a str, &'a Interface>,
    /// For each bridge the names of its members by which packets can leave the host.
    wires: BTreeMap<&'a str, Vec<&'a str>>,
    /// Zones in which the policy gives this host addresses. Only of hosts that forward are there
    /// more than their own.
    declared: BTreeSet<&'a ZoneName>,
}

impl<'a> Map<'a> {
    /// The map of a host.
    ///
    /// # Errors
    /// The verdict that nothing can be placed: the policy does not know the host's zone.
    pub(super) fn of(given: &Given<'a>) -> Result<Self, Verdict> {
        let zone = &given.host.zone;
        if !given.policy.zones.contains_key(zone) {
            let why = Text::new(
                format!("the policy does not define this host's zone \"{zone}\""),
                format!("策略文件中没有定义该主机所属的安全域 {zone}"),
            );
            let verdict = Verdict::new("", Status::Unknown, why);
            return Err(given.rests_on_session(verdict, "policy.zones", zone.to_string(), None));
        }
        let interfaces: BTreeMap<&str, &Interface> = given.facts().values().collect();
        let mut wires: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, member) in &interfaces {
            if let Some(master) = member.master.as_deref().filter(|_| leads_out(member)) {
                wires.entry(master).or_default().push(name);
            }
        }
        let host = Party::Host(given.host.name.clone());
        let declared = given.policy.zones_of(&host).into_iter().flatten().collect();
        Ok(Self { given: *given, interfaces, wires, declared })
    }

    /// Where `address`, met on `interface`, lies.
    pub(super) fn place(&self, address: IpAddr, interface: Option<&str>) -> Place<'a> {
        if !policy::counts(address) {
            return Place::NotCounted;
        }
        let wanted = &self.given.wanted.isolation;
        match self.given.policy.zone_of(address) {
            Some(zone) if *zone == self.given.host.zone => Place::Home,
            Some(zone) if self.declared.contains(zone) => Place::Home,
            Some(zone) if wanted.other_zones.contains(zone) => Place::Home,
            Some(zone) => Place::Foreign(zone),
            None => {
                let internal = wanted.internal_networks.iter().any(|n| n.contains(address));
                if internal && interface.is_some_and(|name| self.has_no_wire(name)) {
                    Place::Inside
                } else {
                    Place::NoZone
                }
            }
        }
    }

    /// The interface of a name, where it is known.
    pub(super) fn interface(&self, name: &str) -> Option<&'a Interface> {
        self.interfaces.get(name).copied()
    }

    /// The names of interfaces with a way out of the host that belong to `bridge`.
    pub(super) fn wires_of(&self, bridge: &str) -> &[&'a str] {
        self.wires.get(bridge).map_or(&[], Vec::as_slice)
    }

    fn has_no_wire(&self, name: &str) -> bool {
        let Some(interface) = self.interface(name) else { return false };
        match interface.kind {
            LinkKind::Bridge => self.wires_of(name).is_empty(),
            LinkKind::Virtual => !leads_out(interface) && interface.master.is_none(),
            LinkKind::Loopback
            | LinkKind::Ethernet
            | LinkKind::Bond
            | LinkKind::Vlan
            | LinkKind::Tunnel
            | LinkKind::Wireless
            | LinkKind::Usb
            | LinkKind::Modem
            | LinkKind::Other => false,
        }
    }
}

/// Whether packets on this interface can leave the host by themselves. A macvlan or ipvlan sits on
/// a wire, though the kernel calls it virtual.
fn leads_out(interface: &Interface) -> bool {
    match interface.kind {
        LinkKind::Loopback | LinkKind::Bridge => false,
        LinkKind::Virtual => {
            interface.driver.starts_with("macv") || interface.driver.starts_with("ipv")
        }
        LinkKind::Ethernet
        | LinkKind::Bond
        | LinkKind::Vlan
        | LinkKind::Tunnel
        | LinkKind::Wireless
        | LinkKind::Usb
        | LinkKind::Modem
        | LinkKind::Other => true,
    }
}
