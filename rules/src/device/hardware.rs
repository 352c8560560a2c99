//! What a device is made of and what its sensors measure (ENTITY-MIB, RFC 6933, and
//! ENTITY-SENSOR-MIB, RFC 3433).

use serde::Serialize;

/// What a sensor measures (`EntitySensorDataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Volts of alternating current.
    VoltsAc,
    /// Volts of direct current.
    VoltsDc,
    /// Amperes.
    Amperes,
    /// Watts.
    Watts,
    /// Hertz.
    Hertz,
    /// Degrees Celsius.
    Celsius,
    /// Relative humidity in percent.
    RelativeHumidity,
    /// Turns per minute.
    Rpm,
    /// Cubic metres per minute.
    CubicMetres,
    /// Yes or no.
    Truth,
}

/// What came of measuring.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// The value, in the unit of its quantity.
    Value(f64),
    /// The device cannot read the sensor now.
    Unavailable,
    /// The sensor is broken.
    Broken,
}

/// A sensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensor {
    /// `entPhysicalIndex`.
    pub index: u32,
    /// What it is called.
    pub name: String,
    /// What it measures.
    pub quantity: Quantity,
    /// What came of it.
    pub measured: Measured,
}

/// A part with a serial number: the chassis, or what can be taken out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `entPhysicalIndex`.
    pub index: u32,
    /// What it is called.
    pub name: String,
    /// Its serial number.
    pub serial: String,
    /// Its model, where it is known.
    pub model: Option<String>,
}

/// What a device is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Hardware {
    /// Parts with serial numbers.
    pub parts: Vec<Part>,
    /// Sensors.
    pub sensors: Vec<Sensor>,
}
