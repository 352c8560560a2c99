//! What a switch feeds through its ports: POWER-ETHERNET-MIB (RFC 3621).

use serde::Serialize;

/// How a supply is (`pethMainPseOperStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SupplyState {
    /// It feeds.
    On,
    /// Somebody has switched it off.
    Off,
    /// It is broken.
    Faulty,
}

/// A supply: one of each group of ports, which is a unit of a stack or a card of a chassis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Supply {
    /// `pethMainPseGroupIndex`.
    pub group: u32,
    /// How it is.
    pub state: Option<SupplyState>,
    /// How much it can give, in watts.
    pub watts: Option<u64>,
    /// How much it gives, in watts, as the device measures it.
    pub used: Option<u64>,
}

/// What a port does with power (`pethPsePortDetectionStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feeding {
    /// Nothing: it is switched off.
    Disabled,
    /// It looks for something to feed.
    Searching,
    /// It feeds.
    Delivering,
    /// What hangs at it is faulty: a short circuit, an overload.
    Fault,
    /// It is being tested.
    Testing,
    /// The port itself, or its supply, is faulty.
    OtherFault,
}

impl Feeding {
    /// Everything that a port can do.
    pub const ALL: [Self; 6] = [
        Self::Disabled,
        Self::Searching,
        Self::Delivering,
        Self::Fault,
        Self::Testing,
        Self::OtherFault,
    ];

    /// The word in JSON and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Searching => "searching",
            Self::Delivering => "delivering",
            Self::Fault => "fault",
            Self::Testing => "testing",
            Self::OtherFault => "other_fault",
        }
    }
}

/// A port that can feed what hangs at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FedPort {
    /// The group it belongs to.
    pub group: u32,
    /// Its number in the group. On most switches it is the number on the case, and on none must it be
    /// the `ifIndex`.
    pub port: u32,
    /// What it does.
    pub feeding: Feeding,
    /// The class of what it feeds, 0 to 4 (IEEE 802.3af, 802.3at).
    pub class: Option<u8>,
}

/// Power over Ethernet of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Poe {
    /// Its supplies.
    pub supplies: Vec<Supply>,
    /// Its ports.
    pub ports: Vec<FedPort>,
}

impl Poe {
    /// Whether the device feeds nobody, and never will.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.supplies.is_empty() && self.ports.is_empty()
    }
}
