//! Which zone holds an address or a network, found by one look into a sorted list.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Zone;
use crate::name::ZoneName;

/// The widest networks of all zones, in order; no two overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places(Vec<(IpNet, ZoneName)>);

impl Places {
    /// Of all zones. Networks of two zones do not overlap in a policy that was read, so that a network
    /// inside another adds nothing.
    pub(super) fn new(zones: &BTreeMap<ZoneName, Zone>) -> Self {
        let mut all: Vec<(IpNet, ZoneName)> = zones
            .iter()
            .flat_map(|(name, zone)| zone.networks.iter().map(|network| (*network, name.clone())))
            .collect();
        // A wider network comes before those inside it.
        all.sort_unstable();
        let mut widest: Vec<(IpNet, ZoneName)> = Vec::with_capacity(all.len());
        for (network, zone) in all {
            if !widest.last().is_some_and(|(outer, _)| outer.contains(&network)) {
                widest.push((network, zone));
            }
        }
        Self(widest)
    }

    /// The zone that holds an address.
    pub(super) fn zone_of(&self, address: IpAddr) -> Option<&ZoneName> {
        self.zone_around(&IpNet::from(address))
    }

    /// The zone one of whose networks holds all of a network.
    pub(super) fn zone_around(&self, network: &IpNet) -> Option<&ZoneName> {
        let after = self.0.partition_point(|(candidate, _)| candidate <= network);
        let (outer, zone) = self.0.get(after.checked_sub(1)?)?;
        outer.contains(network).then_some(zone)
    }
}
