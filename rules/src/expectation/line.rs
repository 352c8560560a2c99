//! What the site demands of a line: how fast it is by contract, and where its far end is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::unit::BitRate;

/// The longest part of a refused text that the error repeats, in characters.
const SHOWN: usize = 64;

/// What is demanded of one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct LineWanted {
    /// What it is called: where it leads, or who is paid for it.
    pub name: Option<String>,
    /// How fast it is by contract, whatever the interface could.
    pub rated: BitRate,
    /// What is asked to know how well it carries packets.
    pub ask: Option<Ask>,
    /// Whether it leads to the Internet.
    pub exit: bool,
}

/// Lines by the name or alias of their interface. A later layer adds lines and replaces those it names.
pub type Lines = BTreeMap<String, LineWanted>;

/// What is asked to know how well a line carries packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask {
    /// The address of the far end.
    pub far: IpAddr,
    /// How it is asked.
    pub by: By,
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            By::Icmp => write!(f, "{}", self.far),
            By::Udp(_) => write!(f, "{} ({})", self.far, self.by),
        }
    }
}

/// How a far end is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// An ICMP echo request (RFC 792, RFC 4443).
    Icmp,
    /// A UDP datagram to this port. What comes back counts, also that nobody listens there.
    Udp(NonZeroU16),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.write_str("icmp"),
            Self::Udp(port) => write!(f, "udp {port}"),
        }
    }
}

impl Serialize for By {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        if text == "icmp" {
            return Ok(Self::Icmp);
        }
        let port = text.strip_prefix("udp ").and_then(|port| port.trim().parse().ok());
        port.map(Self::Udp).ok_or_else(|| {
            let shown: String = text.chars().take(SHOWN).collect();
            serde::de::Error::custom(format!(
                "\"{shown}\" is no way to ask a far end; write icmp, or udp and a port: udp 33434"
            ))
        })
    }
}

/// The address of a far end as it is written: that of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Far(IpAddr);

impl Far {
    /// What is asked where nobody says how: by ICMP.
    #[must_use]
    pub fn asked(self, by: Option<By>) -> Ask {
        Ask { far: self.0, by: by.unwrap_or(By::Icmp) }
    }
}

impl<'de> Deserialize<'de> for Far {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let shown: String = text.chars().take(SHOWN).collect();
        let address: IpAddr = text.parse().map_err(|_| {
            serde::de::Error::custom(format!(
                "\"{shown}\" is no address; write the far end's own as 10.254.0.1 or \"fd00::1\""
            ))
        })?;
        let address = address.to_canonical();
        let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        if address.is_unspecified() || address.is_multicast() || is_broadcast {
            return Err(serde::de::Error::custom(format!(
                "\"{shown}\" is the address of nobody or of many; write that of the far end"
            )));
        }
        Ok(Self(address))
    }
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    name: Option<String>,
    rated: BitRate,
    #[serde(default)]
    far: Option<Far>,
    #[serde(default)]
    by: Option<By>,
    #[serde(default)]
    exit: bool,
}

impl TryFrom<Written> for LineWanted {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, &'static str> {
        let Written { name, rated, far, by, exit } = written;
        let ask = match (far, by) {
            (Some(far), by) => Some(far.asked(by)),
            (None, None) => None,
            (None, Some(_)) => return Err("by says how `far` is asked; add the far end's address"),
        };
        Ok(Self { name, rated, ask, exit })
    }
}
