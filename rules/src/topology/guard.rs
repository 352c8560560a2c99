//! Whether a port may be switched off: never one behind which is more than the one that is meant.

use std::collections::BTreeSet;

use super::{Asset, PortNumber, Topology};
use crate::fact::links::Mac;
use crate::name::HostName;
use crate::text::Text;

/// The most addresses behind a port that may be switched off: a desk with a telephone and some virtual
/// machines, and no switch that nobody knows of.
pub const MAX_BEHIND: usize = 8;

/// Why a port is not switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The device has no such port.
    NoPort,
    /// What is behind it is not known: the device's tables were not read lately.
    NotKnown,
    /// The collector itself is behind it.
    Collector,
    /// Another device is behind it.
    LeadsTo(HostName),
    /// So many addresses are behind it.
    Many(usize),
}

impl Refusal {
    /// In a sentence.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::NoPort => Text::new("the device has no such port", "设备没有该端口"),
            Self::NotKnown => Text::new(
                "it is not known what is behind it: the device's tables were not read lately",
                "设备的 MAC 地址表近期未能读取，无法判断端口后有哪些设备",
            ),
            Self::Collector => {
                Text::new("the collector itself is behind it", "采集器自身位于该端口之后")
            }
            Self::LeadsTo(device) => Text::new(
                format!("it is an uplink: {device} is behind it"),
                format!("这是互联端口：{device} 位于该端口之后"),
            ),
            Self::Many(count) => Text::new(
                format!("{count} addresses are behind it, more than the {MAX_BEHIND} of a desk"),
                format!("该端口后有 {count} 个 MAC 地址，超过单个终端端口的上限 {MAX_BEHIND}"),
            ),
        }
    }
}

/// What is behind a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behind {
    /// Who, as far as is known.
    pub assets: BTreeSet<Asset>,
    /// Every address.
    pub macs: BTreeSet<Mac>,
}

/// What would be cut off with a port, if it may be.
///
/// # Errors
/// [`Refusal`] says why it may not.
pub fn behind(
    topology: &Topology,
    collector_at: &BTreeSet<Asset>,
    own: &[Mac],
    device: &HostName,
    port: PortNumber,
) -> Result<Behind, Refusal> {
    for link in &topology.links {
        // A link that is only guessed counts here.
        if let Some((here, there)) = link.seen_from(device)
            && here.port.is_none_or(|known| known == port)
        {
            return Err(Refusal::LeadsTo(there.device.clone()));
        }
    }
    let here = |at: &HostName, number: PortNumber| at == device && number == port;
    let mut behind = Behind::default();
    for place in topology.attachments.iter().filter(|place| here(&place.device, place.port)) {
        behind.assets.insert(place.asset.clone());
        behind.macs.insert(place.mac);
    }
    let seen = topology.whereabouts.iter().filter(|seen| here(&seen.device, seen.port));
    behind.macs.extend(seen.map(|seen| seen.mac));
    let is_collector = behind.assets.iter().any(|asset| collector_at.contains(asset))
        || behind.macs.iter().any(|mac| own.contains(mac));
    let of_device = behind.assets.iter().find_map(|asset| match asset {
        Asset::Device(name) => Some(name.clone()),
        Asset::Host(_) => None,
    });
    match (is_collector, of_device, behind.macs.len()) {
        (true, _, _) => Err(Refusal::Collector),
        (false, Some(device), _) => Err(Refusal::LeadsTo(device)),
        (false, None, count) if count > MAX_BEHIND => Err(Refusal::Many(count)),
        (false, None, _) => Ok(behind),
    }
}
