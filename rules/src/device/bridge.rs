//! Which addresses a switch has learnt behind which port (BRIDGE-MIB, RFC 4188, and Q-BRIDGE-MIB, RFC
//! 4363).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::fact::links::Mac;

/// An address that a switch has learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Station {
    /// The address.
    pub mac: Mac,
    /// The filtering database it was learnt in, as most switches number them: the VLAN. Absent where
    /// the switch knows no VLANs.
    pub vlan: Option<u32>,
    /// `ifIndex` of the port it is behind.
    pub interface: u32,
}

/// What a switch has learnt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Learned {
    /// `dot1dBaseBridgeAddress`: the switch's own.
    pub address: Option<Mac>,
    /// The addresses, in order.
    pub stations: BTreeSet<Station>,
    /// Names of the VLANs by number.
    pub vlans: BTreeMap<u32, String>,
    /// On which interfaces frames of each VLAN go out (`dot1qVlanCurrentEgressPorts`), by `ifIndex`.
    pub carried: BTreeMap<u32, BTreeSet<u32>>,
    /// `dot1dStpTopChanges`: how often the spanning tree has changed.
    pub topology_changes: Option<u64>,
}
