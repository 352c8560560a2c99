//! What an uninterruptible power supply tells (UPS-MIB, RFC 1628).

use std::time::Duration;

use serde::Serialize;

use super::seconds;

/// How the battery is (`upsBatteryStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Battery {
    /// It lasts.
    Normal,
    /// It will soon be empty.
    Low,
    /// It cannot carry the load any more.
    Depleted,
}

/// What feeds the load (`upsOutputSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nothing.
    None,
    /// The mains.
    Normal,
    /// The mains past the UPS: nothing protects the load.
    Bypass,
    /// The battery.
    Battery,
    /// The mains, raised.
    Booster,
    /// The mains, lowered.
    Reducer,
    /// Something that the RFC does not name.
    Other,
}

/// What a UPS tells; what it does not measure is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Power {
    /// `upsIdentManufacturer` and `upsIdentModel`.
    pub model: Option<String>,
    /// How the battery is.
    pub battery: Option<Battery>,
    /// Since when the battery feeds the load; zero on mains.
    #[serde(serialize_with = "seconds")]
    pub on_battery: Option<Duration>,
    /// How long it will, as the UPS estimates.
    #[serde(serialize_with = "seconds")]
    pub lasts: Option<Duration>,
    /// Charge in percent.
    pub charge: Option<u64>,
    /// Temperature at the battery in degrees Celsius.
    pub celsius: Option<i64>,
    /// What feeds the load.
    pub source: Option<Source>,
    /// Volts of each input line.
    pub input_volts: Vec<u64>,
    /// Load of each output line in percent.
    pub load: Vec<u64>,
    /// Alarms that are present, in the words of the RFC.
    pub alarms: Vec<String>,
}
