//! How the site is wired: which device is linked to which, and behind which port every host is, each
//! with its evidence and how much it is worth.
//!
//! Devices tell whom they hear at their ports (LLDP, CDP) and which addresses they have learnt behind
//! them; agents tell the addresses of their interfaces. Neither is complete: neighbours do not
//! all speak, tables age, and between two switches there may be a hub that nobody asks. So what is told
//! is taken as told, and what is learnt is reasoned about ([`towards`]): frames follow a tree
//! (IEEE 802.1D), and each entry of a table says on which side of a switch an address is. What follows
//! from entries that are merely missing some of the others is certain ([`Confidence::High`]); what only
//! follows from there being no others is not.
//!
//! The result depends on nothing but what is given, and on no order of it.

pub mod book;
pub mod cause;
pub mod ends;
pub mod guard;
pub mod isolation;
pub mod mac;
pub mod wish;

mod attach;
mod links;
mod net;
mod told;
mod towards;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::fact::links::Mac;
use crate::name::{HostName, ZoneName};
use crate::text::Text;

use wish::Wishes;

/// The most devices of one site.
pub const MAX_DEVICES: usize = 2000;
/// The most switches whose tables are held against each other. Of more, only what neighbours tell is
/// used.
pub const MAX_BRIDGES: usize = 512;
/// The most addresses that are taken of one device's table.
pub const MAX_STATIONS: usize = 65_536;
/// The most neighbours that are taken of one device.
pub const MAX_NEIGHBOURS: usize = 4096;
/// The most conflicts that are named.
pub const MAX_CONFLICTS: usize = 1000;

/// The number of a port within its device (`ifIndex`, RFC 2863).
pub type PortNumber = u32;

/// What one device tells of its place in the network. Names of devices are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name in Bailey.
    pub name: HostName,
    /// The zone it is in.
    pub zone: ZoneName,
    /// Whether it passes frames between its ports: a switch, not a UPS.
    pub bridges: bool,
    /// What it calls itself (`sysName`).
    pub called: Option<String>,
    /// Addresses of its own besides those of its ports: of its chassis, its bridge.
    pub macs: Vec<Mac>,
    /// Its ports.
    pub ports: BTreeMap<PortNumber, Port>,
    /// Whom it hears.
    pub neighbours: Vec<Neighbour>,
    /// The addresses it has learnt.
    pub stations: Vec<Station>,
    /// On which ports frames of each VLAN go out.
    pub carried: BTreeMap<u32, BTreeSet<PortNumber>>,
    /// The address that answers for it where it is polled, as the ARP tables of others have it. It may help
    /// to find the device, and vouches for nobody: who answers in its stead has his own there.
    pub resolved: Option<Mac>,
}

/// A port of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Port {
    /// `ifName`.
    pub name: String,
    /// Its own address.
    pub mac: Option<Mac>,
    /// The port that it is a part of (IEEE 802.1AX).
    pub aggregate: Option<PortNumber>,
}

/// How a neighbour told of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IEEE 802.1AB.
    Lldp,
    /// Cisco's own.
    Cdp,
}

impl Protocol {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lldp => "LLDP",
            Self::Cdp => "CDP",
        }
    }
}

/// A neighbour as a device hears it: its own word, and hostile until something else agrees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// How it was heard.
    pub protocol: Protocol,
    /// The port it was heard at, by number. Not on all devices is that the `ifIndex`.
    pub local_port: PortNumber,
    /// The port it was heard at, as the protocol calls it.
    pub local_name: Option<String>,
    /// Its chassis: an address or another name.
    pub chassis: String,
    /// Its port: an address, a name or a number.
    pub port: String,
    /// Its name.
    pub name: Option<String>,
}

/// An address that a device has learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Station {
    /// The address.
    pub mac: Mac,
    /// The VLAN it was learnt in; absent where the device knows none.
    pub vlan: Option<u32>,
    /// The port it is behind.
    pub port: PortNumber,
}

/// What an agent tells of its host's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wired {
    /// The host.
    pub name: HostName,
    /// The zone it is in.
    pub zone: ZoneName,
    /// Further zones that it may be on wires of.
    pub other_zones: Vec<ZoneName>,
    /// Which machine it is: the hash of its machine-id(5), where it has one.
    pub machine: Option<String>,
    /// The addresses of its interfaces that are on a wire.
    pub macs: Vec<Mac>,
}

/// Something that hangs in the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asset {
    /// A device, which is polled.
    Device(HostName),
    /// A host, which has an agent.
    Host(HostName),
}

impl Asset {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &HostName {
        match self {
            Self::Device(name) | Self::Host(name) => name,
        }
    }
}

/// How much a link or a place is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The likeliest of several ways to read what is known.
    Low,
    /// Nothing speaks against it, and something is missing to be sure.
    Medium,
    /// A person said so, both ends say so, or nothing else is possible.
    High,
}

impl Confidence {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The word on screen.
    #[must_use]
    pub fn word(self) -> Text {
        match self {
            Self::Low => Text::new("guessed", "推测"),
            Self::Medium => Text::new("likely", "较可信"),
            Self::High => Text::new("certain", "确定"),
        }
    }
}

/// What a link or a place rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A rule file says so.
    Pinned {
        /// File and line.
        at: String,
    },
    /// A device hears the other end.
    Told {
        /// Who hears it.
        by: HostName,
        /// How.
        protocol: Protocol,
    },
    /// A device has learnt an address of the other end behind the port.
    Learned {
        /// Who has.
        by: HostName,
    },
    /// It follows from which addresses this and other devices have learnt, behind which ports.
    Followed {
        /// For whose port it follows.
        of: HostName,
    },
}

impl Evidence {
    /// In a sentence.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::Pinned { at } => {
                Text::new(format!("a person said so ({at})"), format!("人工指定（{at}）"))
            }
            Self::Told { by, protocol } => {
                let protocol = protocol.as_str();
                Text::new(
                    format!("{by} hears it by {protocol}"),
                    format!("{by} 通过 {protocol} 收到对端通告"),
                )
            }
            Self::Learned { by } => Text::new(
                format!("{by} has learnt its address behind the port"),
                format!("{by} 在该端口学习到其 MAC 地址"),
            ),
            Self::Followed { of } => Text::new(
                format!("it follows for {of} from the address tables together"),
                format!("由多台设备的 MAC 地址表推断出 {of} 的端口"),
            ),
        }
    }
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct End {
    /// The device.
    pub device: HostName,
    /// The port; absent when only the device is known.
    pub port: Option<PortNumber>,
}

/// Two devices that reach each other with no other polled device in between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Link {
    /// Its ends, in order.
    pub ends: [End; 2],
    /// How much it is worth.
    pub confidence: Confidence,
    /// What it rests on, in order.
    pub evidence: Vec<Evidence>,
    /// Whether something that nobody polls is in between, such as a hub: other devices or hosts are
    /// on the same wire.
    pub shared: bool,
}

impl Link {
    /// The ends as they are seen from a device: its own, and the other.
    #[must_use]
    pub fn seen_from(&self, device: &HostName) -> Option<(&End, &End)> {
        let [one, other] = &self.ends;
        if one.device == *device {
            Some((one, other))
        } else if other.device == *device {
            Some((other, one))
        } else {
            None
        }
    }
}

/// The port behind which a host is, or a device that passes no frames.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Attachment {
    /// Who.
    pub asset: Asset,
    /// By which of its addresses.
    pub mac: Mac,
    /// The device.
    pub device: HostName,
    /// The port.
    pub port: PortNumber,
    /// The VLAN in which it was learnt.
    pub vlan: Option<u32>,
    /// How much it is worth. Low: it is somewhere behind this port.
    pub confidence: Confidence,
    /// What it rests on, in order.
    pub evidence: Vec<Evidence>,
    /// How many other addresses are behind the port.
    pub others: usize,
}

/// Where an address was learnt in a zone, as near to it as is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Whereabouts {
    /// The address.
    pub mac: Mac,
    /// The zone of the device.
    pub zone: ZoneName,
    /// The device.
    pub device: HostName,
    /// The port.
    pub port: PortNumber,
    /// The VLAN.
    pub vlan: Option<u32>,
    /// Whether the port is one for hosts: no other switch is known to be behind it.
    pub edge: bool,
}

/// A neighbour that is no device of the site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Stranger {
    /// Who hears it.
    pub device: HostName,
    /// At which port.
    pub port: Option<PortNumber>,
    /// How.
    pub protocol: Protocol,
    /// Its chassis, as it says.
    pub chassis: String,
    /// Its name, as it says.
    pub name: Option<String>,
}

/// Where what is known does not agree with itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Conflict {
    /// A device has learnt the addresses of another behind several ports.
    BehindTwoPorts {
        /// Who has learnt them.
        at: HostName,
        /// Whose they are.
        of: HostName,
        /// Behind which ports.
        ports: Vec<PortNumber>,
    },
    /// An address of a host was learnt at two ports where hosts are.
    TwoPlaces {
        /// Whose.
        asset: Asset,
        /// Which.
        mac: Mac,
        /// The places, the one that is believed first.
        places: Vec<(HostName, PortNumber)>,
    },
    /// Two say that an address is their own.
    SameAddress {
        /// Which.
        mac: Mac,
        /// Who.
        assets: Vec<Asset>,
    },
    /// Two devices call themselves the same.
    SameName {
        /// What.
        called: String,
        /// Who.
        devices: Vec<HostName>,
    },
    /// What is heard at a port cannot be: the device that it names is elsewhere.
    Untrue {
        /// Who hears it.
        at: HostName,
        /// At which port.
        port: PortNumber,
        /// Whom it names.
        names: HostName,
    },
    /// A rule file denies a link that both ends tell of.
    DeniedAndTold {
        /// File and line.
        at: String,
    },
    /// A rule file pins a link that the address tables contradict.
    PinnedAndContradicted {
        /// File and line.
        at: String,
    },
    /// A rule file names a device or a port that is not there.
    NotThere {
        /// File and line.
        at: String,
        /// What is not there.
        what: String,
    },
    /// More than is taken.
    TooMany {
        /// Of what.
        what: String,
        /// How many are taken.
        most: usize,
    },
}

impl Conflict {
    /// In a sentence.
    #[must_use]
    pub fn text(&self) -> Text {
        match self {
            Self::BehindTwoPorts { at, of, ports } => {
                let ports = numbers(ports);
                Text::new(
                    format!("{at} has learnt {of} behind several ports ({ports})"),
                    format!("{at} 在多个端口（{ports}）学习到 {of} 的 MAC 地址"),
                )
            }
            Self::TwoPlaces { asset, mac, places } => {
                let name = asset.name();
                let places: Vec<String> =
                    places.iter().map(|(device, port)| format!("{device}/{port}")).collect();
                let places = places.join(", ");
                Text::new(
                    format!("{name} ({mac}) is at several ports: {places}"),
                    format!("{name}（{mac}）同时出现在多个端口：{places}"),
                )
            }
            Self::SameAddress { mac, assets } => {
                let names: Vec<&str> = assets.iter().map(|asset| asset.name().as_str()).collect();
                let names = names.join(", ");
                Text::new(
                    format!("{mac} is an address of several: {names}"),
                    format!("{mac} 同时属于 {names}"),
                )
            }
            Self::SameName { called, devices } => {
                let names: Vec<&str> = devices.iter().map(HostName::as_str).collect();
                let names = names.join(", ");
                Text::new(
                    format!("several devices call themselves \"{called}\": {names}"),
                    format!("多台设备自称“{called}”：{names}"),
                )
            }
            Self::Untrue { at, port, names } => Text::new(
                format!(
                    "at port {port} of {at} somebody says that he is {names}, who is elsewhere"
                ),
                format!("{at} 的端口 {port} 上有设备自称 {names}，但 {names} 位于别处"),
            ),
            Self::DeniedAndTold { at } => Text::new(
                format!("{at} denies a link of which both ends tell"),
                format!("{at} 否认了两端设备均通告的链路"),
            ),
            Self::PinnedAndContradicted { at } => Text::new(
                format!("{at} pins a link that the address tables contradict"),
                format!("{at} 指定的链路与 MAC 地址表矛盾"),
            ),
            Self::NotThere { at, what } => Text::new(
                format!("{at} names {what}, which is not there"),
                format!("{at} 引用了不存在的 {what}"),
            ),
            Self::TooMany { what, most } => Text::new(
                format!("more than {most} {what}; the rest is left out"),
                format!("{what} 超过 {most} 项，其余未计入"),
            ),
        }
    }
}

fn numbers(ports: &[PortNumber]) -> String {
    let ports: Vec<String> = ports.iter().map(PortNumber::to_string).collect();
    ports.join(", ")
}

/// How the site is wired. Everything in it is in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Links between devices.
    pub links: Vec<Link>,
    /// The ports behind which everything else is, at most one place for each of its addresses.
    pub attachments: Vec<Attachment>,
    /// Where every address is that was learnt anywhere, once for each zone.
    pub whereabouts: Vec<Whereabouts>,
    /// Neighbours that are no devices of the site.
    pub strangers: Vec<Stranger>,
    /// Where what is known does not agree.
    pub conflicts: Vec<Conflict>,
}

impl Topology {
    /// The place of an asset that is worth the most.
    #[must_use]
    pub fn place_of(&self, asset: &Asset) -> Option<&Attachment> {
        let from = self.attachments.partition_point(|attachment| attachment.asset < *asset);
        let places = self.attachments[from..].iter().take_while(|place| place.asset == *asset);
        // Of equally good ones the first.
        places.reduce(|best, next| if next.confidence > best.confidence { next } else { best })
    }
}

impl Topology {
    /// With what was known before of those who are silent now: what nobody hears any more, tables forget
    /// within minutes, and it hangs where it hung.
    #[must_use]
    pub fn remembering(mut self, before: &Self, silent: &BTreeSet<Asset>) -> Self {
        let ends = |link: &Link| link.ends.each_ref().map(|end| end.device.clone());
        let is_silent = |name: &HostName| silent.contains(&Asset::Device(name.clone()));
        for link in before.links.iter().filter(|link| ends(link).iter().any(is_silent)) {
            let same = |known: &&Link| ends(known) == ends(link);
            let known = self.links.iter().filter(same).map(|known| known.confidence).max();
            if known < Some(link.confidence) {
                self.links.retain(|known| !same(&known));
                self.links.push(link.clone());
            }
        }
        for place in before.attachments.iter().filter(|place| silent.contains(&place.asset)) {
            let same = |known: &&Attachment| known.asset == place.asset && known.mac == place.mac;
            let known = self.attachments.iter().find(same).map(|known| known.confidence);
            if known < Some(place.confidence) {
                self.attachments.retain(|known| !same(&known));
                self.attachments.push(place.clone());
            }
        }
        self.links.sort_unstable();
        self.attachments.sort_unstable();
        self
    }
}

/// Infers how the site is wired.
#[must_use]
pub fn infer(devices: &[Device], hosts: &[Wired], wishes: &Wishes) -> Topology {
    let mut conflicts = net::Conflicts::default();
    let net = net::Net::new(devices, hosts, &mut conflicts);
    let told = told::Told::new(&net, wishes, &mut conflicts);
    let towards = towards::Towards::new(&net, &told, &mut conflicts);
    let links = links::links(&net, &told, &towards, &mut conflicts);
    let places = attach::Places::new(&net, &told, &towards);
    Topology {
        links,
        attachments: places.attachments(&mut conflicts),
        whereabouts: places.whereabouts(),
        strangers: told.strangers.clone(),
        conflicts: conflicts.in_order(),
    }
}
