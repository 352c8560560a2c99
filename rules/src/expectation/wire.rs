//! Values of what the site demands of its wires: VLANs and hardware addresses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::layer::Layered;
use crate::fact::links::Mac;
use crate::name::ZoneName;

/// The largest VLAN (IEEE 802.1Q, 9.6: 0xFFF is reserved).
const LAST_VLAN: u32 = 4094;
/// The longest part of a refused text that the error repeats, in characters.
const SHOWN: usize = 64;

/// VLANs, written as `20` or `10-19`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlans {
    first: u32,
    last: u32,
}

impl Vlans {
    /// Whether a VLAN is among them.
    #[must_use]
    pub const fn contains(self, vlan: u32) -> bool {
        self.first <= vlan && vlan <= self.last
    }
}

impl Serialize for Vlans {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            out.collect_str(&self.first)
        } else {
            out.collect_str(&format_args!("{}-{}", self.first, self.last))
        }
    }
}

impl<'de> Deserialize<'de> for Vlans {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let number = |text: &str| text.trim().parse().ok().filter(|v| (1..=LAST_VLAN).contains(v));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (_, _) => {
                let shown: String = text.chars().take(SHOWN).collect();
                Err(serde::de::Error::custom(format!(
                    "\"{shown}\" is no VLAN; write a number from 1 to {LAST_VLAN}, or 10-19"
                )))
            }
        }
    }
}

/// What addresses begin with: one to six octets, written as `00:50:56`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacPrefix(Vec<u8>);

impl MacPrefix {
    /// Whether an address begins so.
    #[must_use]
    pub fn begins(&self, mac: Mac) -> bool {
        mac.0.starts_with(&self.0)
    }
}

impl Serialize for MacPrefix {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let octets: Vec<String> = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        out.collect_str(&octets.join(":"))
    }
}

impl<'de> Deserialize<'de> for MacPrefix {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let octet = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
        match octets {
            Some(octets) if octets.len() <= 6 => Ok(Self(octets)),
            Some(_) | None => {
                let shown: String = text.chars().take(SHOWN).collect();
                Err(serde::de::Error::custom(format!(
                    "\"{shown}\" is no hardware address; write \"52:54:00:12:34:56\", or its \
                     beginning: \"00:50:56\""
                )))
            }
        }
    }
}

/// The VLANs of each zone. A later file replaces those of the zones it names.
pub type ZoneVlans = BTreeMap<ZoneName, Vec<Vlans>>;

/// Beginnings of addresses by what makes them. A later file replaces those it names.
pub type Makers = BTreeMap<String, Vec<MacPrefix>>;

/// Addresses that add up over the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approved(pub Vec<MacPrefix>);

impl Approved {
    /// Whether an address is among them.
    #[must_use]
    pub fn contains(&self, mac: Mac) -> bool {
        self.0.iter().any(|prefix| prefix.begins(mac))
    }
}

impl Layered for Approved {
    type Part = Self;
    fn merge(under: &mut Self, over: &Self) {
        under.0.extend(over.0.iter().cloned());
    }
    fn build(part: &Self) -> Option<Self> {
        let mut all = part.clone();
        all.0.sort_unstable();
        all.0.dedup();
        Some(all)
    }
}
