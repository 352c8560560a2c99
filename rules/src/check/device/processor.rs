//! Is a processor of the device busy?

use super::super::sentence::{tight, with_limit};
use super::super::{Alerts, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::vendor::What;
use crate::device::{DeviceView, Part};
use crate::text::Text;
use crate::unit::Percent;

/// One subject for the processors of HOST-RESOURCES-MIB together, or one for each that the vendor's
/// table names. Devices give averages over a minute or five.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "device_processor",
        || Text::new("Processor", "处理器"),
        "host",
        Alerts::both("BaileyCpuBusy"),
    ),
    parts: &[Part::Resources, Part::Vendor],
    judge,
};

/// A processor, how busy it is in percent, and the part that told.
#[must_use]
pub fn processors(device: &DeviceView) -> Vec<(String, f64, Part)> {
    let of_vendor: Vec<_> = device
        .vendor_values
        .value()
        .into_iter()
        .flatten()
        .filter(|value| value.what == What::Processor)
        .map(|value| (format!("processor {}", value.row), value.value, Part::Vendor))
        .collect();
    if !of_vendor.is_empty() {
        return of_vendor;
    }
    let loads = device.resources.value().map(|resources| resources.processors.as_slice());
    let loads = loads.unwrap_or_default();
    let Ok(count) = u32::try_from(loads.len()) else { return Vec::new() };
    if count == 0 {
        return Vec::new();
    }
    let sum: u64 = loads.iter().fold(0, |sum, load| sum.saturating_add(*load));
    vec![("processors".to_owned(), sum as f64 / f64::from(count), Part::Resources)]
}

/// Percent as a number of tenths; what is no percentage counts as the nearest one.
pub(super) fn percent(value: f64) -> Percent {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped.
    let tenths = (value.clamp(0.0, 100.0) * 10.0).round() as u32;
    Percent(tenths)
}

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.processor;
    if wanted.is_off() {
        return Vec::new();
    }
    let all = processors(given.device).into_iter().map(|(name, busy, part)| {
        let busy = percent(busy);
        let status = wanted.judge(busy);
        let said =
            Text::new(format!("{name} {busy} busy"), format!("{name} 使用率 {}", tight(&busy)));
        let verdict = Verdict::new(&*name, status, with_limit(said, wanted.limit(status)));
        given.rests_on(verdict, part, &name, busy.to_string())
    });
    all.collect()
}
