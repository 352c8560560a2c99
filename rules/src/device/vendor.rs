//! What only one vendor's devices tell.

use serde::{Deserialize, Serialize};

/// What a value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// How busy a processor is, in percent.
    Processor,
    /// How much of the memory is used, in percent.
    Memory,
    /// Memory that is used, in octets.
    MemoryUsed,
    /// Memory that is free, in octets.
    MemoryFree,
    /// All memory, in octets.
    MemoryTotal,
    /// A temperature in degrees Celsius.
    Temperature,
}

/// A value of a vendor's device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VendorValue {
    /// What it is of; the unit goes with it.
    pub what: What,
    /// The row it stands in: a number for each processor, memory or sensor.
    pub row: String,
    /// The value.
    pub value: f64,
}

impl VendorValue {
    /// The value as a count of octets; a negative one counts as none.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The cast stops at its ends.
    pub const fn octets(&self) -> u64 {
        self.value as u64
    }
}
