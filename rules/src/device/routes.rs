//! Where a device sends packets: its IP routes (IP-FORWARD-MIB, RFC 4292; of older devices RFC 2096 and
//! RFC 1213).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// The most routes of one device that are asked for. A switch of a site has some hundreds; an exit router
/// with the whole table of the Internet has a million, and nothing would be learnt from them.
pub const MAX_ROUTES: usize = 8_192;

/// A route that carries packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Route {
    /// Which addresses it is for.
    pub destination: IpNet,
    /// Who carries the packets on; absent where the device delivers them itself.
    pub gateway: Option<IpAddr>,
    /// `ifIndex` of the interface; absent where the device names none.
    pub interface: Option<u32>,
}

/// The routes of a device, as far as it shows them: those of other routing instances (VRF) these tables
/// do not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Routes {
    /// How many there are, where the device says it.
    pub count: Option<u64>,
    /// They themselves, in order, each once.
    pub list: BTreeSet<Route>,
    /// Whether the list is left out, because there are more than [`MAX_ROUTES`].
    pub left_out: bool,
}

impl Routes {
    /// Whether the device has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.left_out
    }
}
