//! Whom a device sees at its ports (LLDP-MIB, IEEE 802.1AB-2005; CISCO-CDP-MIB). What a neighbour says of itself is its
//! own word.

use serde::Serialize;

use crate::topology::Protocol;

/// A neighbour at a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// How it was heard.
    pub protocol: Protocol,
    /// `lldpLocPortNum` of the port it is at: on most devices, not on all, its `ifIndex`.
    pub local_port: u32,
    /// What the port is called here, where the device says it.
    pub local_name: Option<String>,
    /// Who the neighbour is: a MAC address or another name of its chassis.
    pub chassis: String,
    /// Its port.
    pub port: String,
    /// What its port is called.
    pub port_description: Option<String>,
    /// Its name.
    pub name: Option<String>,
}
