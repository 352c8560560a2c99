//! Which MAC address answers for which IP address, as a device has learnt it (ARP, RFC 826; neighbour
//! discovery, RFC 4861).

use std::net::IpAddr;

use serde::Serialize;

use crate::fact::links::Mac;

/// An entry of the device's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Resolved {
    /// `ifIndex` of the interface it was learnt at.
    pub interface: u32,
    /// The IP address.
    pub address: IpAddr,
    /// Who answers for it.
    pub mac: Mac,
}
