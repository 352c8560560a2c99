//! Is the device, or the battery of a UPS, too hot?

use super::super::sentence::with_limit;
use super::super::{Alerts, Status, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::hardware::{Measured, Quantity};
use crate::device::vendor::What;
use crate::device::{DeviceView, Part};
use crate::text::Text;
use crate::unit::Celsius;

/// One subject for each sensor, of whatever table.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "device_temperature",
        || Text::new("Temperature", "温度"),
        "host",
        Alerts::both("BaileyTemperatureHigh"),
    ),
    parts: &[Part::Hardware, Part::Vendor, Part::Power],
    judge,
};

/// A reading is believed between these, in degrees Celsius; an input that is not connected gives
/// -128 or 127, or 0 in tenths.
const BELIEVED: std::ops::RangeInclusive<f64> = -40.0..=126.0;

/// One sensor: its name, what it reads in degrees Celsius, and the part that told.
pub struct Sensor {
    /// What it is called.
    pub name: String,
    /// Degrees Celsius; absent where the device cannot read it.
    pub celsius: Option<f64>,
    /// The part that told.
    pub part: Part,
}

/// Every temperature that a device tells.
#[must_use]
pub fn sensors(device: &DeviceView) -> Vec<Sensor> {
    let of_hardware = device.hardware.value().into_iter().flat_map(|hardware| &hardware.sensors);
    let of_hardware =
        of_hardware.filter(|sensor| sensor.quantity == Quantity::Celsius).map(|sensor| Sensor {
            name: sensor.name.clone(),
            celsius: match sensor.measured {
                Measured::Value(celsius) => Some(celsius),
                Measured::Unavailable | Measured::Broken => None,
            },
            part: Part::Hardware,
        });
    let of_vendor = device.vendor_values.value().into_iter().flatten();
    let of_vendor = of_vendor.filter(|value| value.what == What::Temperature).map(|value| Sensor {
        name: format!("sensor {}", value.row),
        celsius: Some(value.value),
        part: Part::Vendor,
    });
    let power = device.power.value().and_then(Option::as_ref);
    let of_battery = power.and_then(|power| power.celsius).map(|celsius| Sensor {
        name: "battery".to_owned(),
        celsius: Some(celsius as f64),
        part: Part::Power,
    });
    of_hardware.chain(of_vendor).chain(of_battery).collect()
}

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.temperature;
    if wanted.is_off() {
        return Vec::new();
    }
    let ignored = |name: &str| given.wanted.temperature_ignore.iter().any(|p| p.fits(name));
    let judged = sensors(given.device).into_iter().filter(|sensor| !ignored(&sensor.name));
    judged.map(|sensor| verdict(given, &sensor)).collect()
}

fn verdict(given: &Given<'_>, sensor: &Sensor) -> Verdict {
    let wanted = &given.wanted.temperature;
    let name = &sensor.name;
    let (status, why, value) = match sensor.celsius {
        Some(celsius) if BELIEVED.contains(&celsius) => {
            #[allow(clippy::cast_possible_truncation)] // Within what is believed it fits.
            let now = Celsius((celsius * 1000.0) as i32);
            let status = wanted.judge(now);
            let said = Text::new(format!("{name} {now}"), format!("{name} 温度 {now}"));
            (status, with_limit(said, wanted.limit(status)), now.to_string())
        }
        Some(celsius) => (
            Status::Unknown,
            Text::new(
                format!(
                    "{name} reads {celsius} °C, which cannot be; list it in \
                     device.temperature_ignore if nothing is connected"
                ),
                format!(
                    "{name} 读数为 {celsius} °C，明显异常；若该传感器未接线，请将其加入 \
                     device.temperature_ignore"
                ),
            ),
            celsius.to_string(),
        ),
        None => (
            Status::Unknown,
            Text::new(
                format!("{name} cannot be read by the device"),
                format!("设备无法读取 {name}"),
            ),
            "not read".to_owned(),
        ),
    };
    given.rests_on(Verdict::new(&**name, status, why), sensor.part, name, value)
}
