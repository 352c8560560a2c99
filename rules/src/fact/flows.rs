//! Facts of the connections that a host has seen, read by the probe `flows` from the kernel's
//! connection tracking. They tell what a new policy would cut.
//!
//! They are coarse on purpose: times are rounded and counts are powers of two, so that the facts of
//! a host whose habits do not change stand still.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::policy::{Carried, IcmpType, Icmpv6Type, Opening};
use crate::time::Timestamp;

/// The most flows that one host tells of. Beyond it the one that was opened least recently is
/// forgotten, and counted.
pub const MAX_FLOWS: usize = 512;

/// Numbers of protocols (IANA, Assigned Internet Protocol Numbers).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Connections that one address opened to another for the same service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeenFlow {
    /// Who opened them.
    pub from: IpAddr,
    /// Who took them: where address translation changed that, the one behind it.
    pub to: IpAddr,
    /// The protocol's number (IANA, Assigned Internet Protocol Numbers).
    pub protocol: u8,
    /// The port of `to`, or the type of an ICMP message; 0 where the protocol has neither.
    pub port: u16,
    /// At least so many, rounded down to a power of two.
    pub count: u64,
    /// When the first was seen, by the host's clock, to the hour.
    pub first: Timestamp,
    /// When the last was seen to be opened, by the host's clock, to the hour.
    pub last: Timestamp,
}

impl SeenFlow {
    /// The first packet of such a connection; `None` for a protocol that no policy lets through.
    #[must_use]
    pub fn opening(&self) -> Option<Opening> {
        let kind = u8::try_from(self.port).ok();
        let carried = match self.protocol {
            TCP => Carried::Tcp(self.port),
            UDP => Carried::Udp(self.port),
            ICMP => Carried::Icmp(kind?),
            ICMPV6 => Carried::Icmpv6(kind?),
            _ => return None,
        };
        Some(Opening { from: self.from, to: self.to, carried })
    }

    /// The service in the words of the policy file: `tcp 443`, `icmp echo-request`, `protocol 47`.
    #[must_use]
    pub fn service(&self) -> String {
        match self.opening().map(|opening| opening.carried) {
            Some(Carried::Tcp(port)) => format!("tcp {port}"),
            Some(Carried::Udp(port)) => format!("udp {port}"),
            Some(Carried::Icmp(kind)) => format!("icmp {}", IcmpType(kind)),
            Some(Carried::Icmpv6(kind)) => format!("icmpv6 {}", Icmpv6Type(kind)),
            None => format!("protocol {}", self.protocol),
        }
    }
}

impl fmt::Display for SeenFlow {
    /// `10.1.7.20 > 10.1.3.10 tcp 443`: the subject of its fact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} {}", self.from, self.to, self.service())
    }
}

/// How connections are watched: what the absence of a flow is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowWatch {
    /// Since when, by the host's clock, to the hour.
    pub since: Timestamp,
    /// Flows that were forgotten because there were more than [`MAX_FLOWS`], rounded down to a power
    /// of two.
    pub forgotten: u64,
    /// Times that connections were opened faster than they were read, rounded down to a power of two:
    /// those that also ended at once may be missing.
    pub overrun: u64,
}
