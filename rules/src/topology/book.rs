//! Which addresses were ever learnt anywhere, since when, and where they were last in each zone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PortNumber, Whereabouts};
use crate::fact::links::Mac;
use crate::name::{HostName, ZoneName};
use crate::time::Timestamp;

/// The most addresses that are remembered. Beyond that those go that were not seen for the longest.
pub const MAX_REMEMBERED: usize = 131_072;

/// Where an address was last in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When it was first learnt in the zone.
    pub first_at: Timestamp,
    /// When it was last learnt there.
    pub last_at: Timestamp,
    /// The device.
    pub device: HostName,
    /// The port.
    pub port: PortNumber,
    /// The VLAN.
    pub vlan: Option<u32>,
}

/// Every address with its zones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// When the first address was noted in each zone.
    began: BTreeMap<ZoneName, Timestamp>,
    addresses: BTreeMap<Mac, BTreeMap<ZoneName, Sighting>>,
}

impl Book {
    /// Notes where addresses are, and when their devices were asked.
    pub fn note(&mut self, all: &[Whereabouts], asked_at: impl Fn(&HostName) -> Option<Timestamp>) {
        for place in all {
            let Some(at) = asked_at(&place.device) else { continue };
            self.began.entry(place.zone.clone()).or_insert(at);
            let zones = self.addresses.entry(place.mac).or_default();
            let seen = zones.entry(place.zone.clone()).or_insert_with(|| Sighting {
                first_at: at,
                last_at: at,
                device: place.device.clone(),
                port: place.port,
                vlan: place.vlan,
            });
            if at >= seen.last_at {
                seen.last_at = at;
                seen.device.clone_from(&place.device);
                seen.port = place.port;
                seen.vlan = place.vlan;
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        let Some(over) = self.addresses.len().checked_sub(MAX_REMEMBERED).filter(|n| *n > 0) else {
            return;
        };
        let last = |zones: &BTreeMap<ZoneName, Sighting>| zones.values().map(|s| s.last_at).max();
        let mut oldest: Vec<(Option<Timestamp>, Mac)> =
            self.addresses.iter().map(|(mac, zones)| (last(zones), *mac)).collect();
        oldest.sort_unstable();
        for (_, mac) in oldest.into_iter().take(over) {
            self.addresses.remove(&mac);
        }
    }

    /// When the first address of a zone was noted.
    #[must_use]
    pub fn began(&self, zone: &ZoneName) -> Option<Timestamp> {
        self.began.get(zone).copied()
    }

    /// Every address with where it was last in each zone, in order.
    pub fn addresses(&self) -> impl Iterator<Item = (Mac, &BTreeMap<ZoneName, Sighting>)> {
        self.addresses.iter().map(|(mac, zones)| (*mac, zones))
    }
}
