//! Whether both ends of a link are set alike. One end that is set and one that negotiates end at different
//! speeds or duplexes (IEEE 802.3 annex 28B): the link works, and slowly, and neither end alone sees why.

use std::collections::BTreeMap;
use std::fmt;

use super::{Asset, Confidence, PortNumber, Topology};
use crate::check::{Evidence, Status, Verdict};
use crate::device::ethernet::Duplex;
use crate::fact::links::Mac;
use crate::name::HostName;
use crate::text::Text;
use crate::time::Timestamp;
use crate::unit::BitRate;

/// One end of a link that is up, as its owner tells of it: a port, or an aggregate whose members run alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it is called there.
    pub name: String,
    /// Whether it is an aggregate; then the rest is of each of its members.
    pub aggregate: bool,
    /// How fast it runs, where that is told.
    pub speed: Option<BitRate>,
    /// Its duplex, where that is told.
    pub duplex: Option<Duplex>,
    /// When that was read.
    pub read_at: Option<Timestamp>,
    /// Whether that is too long ago to say anything of now.
    pub stale: bool,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.speed {
            Some(speed) => write!(f, "{speed}")?,
            None => f.write_str("?")?,
        }
        match self.duplex {
            Some(Duplex::Half) => f.write_str(" half duplex"),
            Some(Duplex::Full) => f.write_str(" full duplex"),
            None => Ok(()),
        }
    }
}

impl Seen {
    fn zh(&self) -> String {
        let duplex = match self.duplex {
            Some(Duplex::Half) => " 半双工",
            Some(Duplex::Full) => " 全双工",
            None => "",
        };
        let speed = self.speed.map_or_else(|| "?".to_owned(), |speed| speed.to_string());
        format!("{speed}{duplex}")
    }

    /// Whether both tell of something that is not the same. What is an aggregate at one end only may be one
    /// at the other too, and told of with the speed of all members together.
    fn disagrees(&self, other: &Self) -> bool {
        if self.aggregate != other.aggregate {
            return false;
        }
        let speeds = self.speed.zip(other.speed).is_some_and(|(one, two)| one != two);
        speeds || self.duplex.zip(other.duplex).is_some_and(|(one, two)| one != two)
    }
}

/// The links whose ends do not agree, each once, with the device that the first of its ends is of; between
/// a switch and a host with the switch. `port` tells of a port of a device, and `card` of the one
/// interface of a host that has an address; both of physical ones and of aggregates of them, and of those that
/// are up.
pub fn disagreements(
    topology: &Topology,
    broken: impl Fn(&HostName) -> Option<Status>,
    port: impl Fn(&HostName, PortNumber) -> Option<Seen>,
    card: impl Fn(&HostName, Mac) -> Option<Seen>,
) -> BTreeMap<HostName, Vec<Verdict>> {
    let mut found: BTreeMap<HostName, Vec<Verdict>> = BTreeMap::new();
    let mut note = |device: &HostName, here: &Seen, far: &HostName, there: &Seen| {
        if !here.disagrees(there) {
            return;
        }
        let Some(status) = broken(device) else { return };
        found.entry(device.clone()).or_default().push(verdict(status, device, here, far, there));
    };
    // What is only likely may be another port, and a shared wire has more ends than two.
    let sure = |confidence| confidence == Confidence::High;
    for link in topology.links.iter().filter(|link| sure(link.confidence) && !link.shared) {
        let [one, other] = &link.ends;
        let seen = |device, no: Option<PortNumber>| no.and_then(|no| port(device, no));
        let ends = seen(&one.device, one.port).zip(seen(&other.device, other.port));
        if let Some((here, there)) = ends {
            note(&one.device, &here, &other.device, &there);
        }
    }
    for place in &topology.attachments {
        let Asset::Host(host) = &place.asset else { continue };
        if place.confidence < Confidence::Medium || place.others > 0 {
            continue;
        }
        let ends = port(&place.device, place.port).zip(card(host, place.mac));
        if let Some((here, there)) = ends {
            note(&place.device, &here, host, &there);
        }
    }
    found
}

fn verdict(
    status: Status,
    device: &HostName,
    here: &Seen,
    far: &HostName,
    there: &Seen,
) -> Verdict {
    let (name, other) = (&here.name, &there.name);
    let why = if here.aggregate {
        Text::new(
            format!(
                "each member of {name} runs at {here}, and each of {far} {other} at its other end at \
                 {there}"
            ),
            format!("{name} 的各成员为 {}，而对端 {far} {other} 的为 {}", here.zh(), there.zh()),
        )
    } else {
        Text::new(
            format!("{name} runs at {here}, and {far} {other} at its other end at {there}"),
            format!("{name} 为 {}，而对端 {far} {other} 为 {}", here.zh(), there.zh()),
        )
    };
    let mut verdict = Verdict::new(name.as_str(), status, why);
    verdict.stale = here.stale || there.stale;
    verdict.evidence = [(device, here), (far, there)]
        .map(|(owner, seen)| Evidence {
            fact: format!("port {owner} {}", seen.name),
            value: seen.to_string(),
            read_at: seen.read_at,
        })
        .into();
    verdict
}
