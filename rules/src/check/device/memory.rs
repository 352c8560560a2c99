//! Has the device memory left?

use super::super::sentence::{tight, with_limit};
use super::super::{Alerts, Verdict};
use super::processor::percent;
use super::{DeviceCheck, Given, named};
use crate::device::resources::Kind;
use crate::device::vendor::{VendorValue, What};
use crate::device::{DeviceView, Part};
use crate::text::Text;

/// One subject for each memory that the vendor's table names, else for the virtual memory of
/// HOST-RESOURCES-MIB. Its physical memory is full on every machine that caches, and is not judged.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "device_memory",
        || Text::new("Memory", "内存"),
        "host",
        Alerts::both("BaileyMemoryLow"),
    ),
    parts: &[Part::Resources, Part::Vendor],
    judge,
};

/// A memory, the part of it in use in percent, and the part that told.
#[must_use]
pub fn memories(device: &DeviceView) -> Vec<(String, f64, Part)> {
    let values = device.vendor_values.value().map(Vec::as_slice).unwrap_or_default();
    let named = |row: &str| format!("memory {row}");
    let direct = values.iter().filter(|value| value.what == What::Memory);
    let direct: Vec<_> =
        direct.map(|value| (named(&value.row), value.value, Part::Vendor)).collect();
    if !direct.is_empty() {
        return direct;
    }
    let of = |what, row: &str| -> Option<f64> {
        let fits = |value: &&VendorValue| value.what == what && value.row == row;
        values.iter().find(fits).map(|value| value.value)
    };
    let mut rows: Vec<&str> = values
        .iter()
        .filter(|v| matches!(v.what, What::MemoryUsed | What::MemoryFree | What::MemoryTotal))
        .map(|value| value.row.as_str())
        .collect();
    rows.sort_unstable();
    rows.dedup();
    let counted: Vec<_> = rows
        .into_iter()
        .filter_map(|row| {
            let (used, free) = (of(What::MemoryUsed, row), of(What::MemoryFree, row));
            let total = of(What::MemoryTotal, row);
            let (used, total) = match (used, free, total) {
                (Some(used), _, Some(total)) => (used, total),
                (None, Some(free), Some(total)) => (total - free, total),
                (Some(used), Some(free), None) => (used, used + free),
                (None, _, None) | (Some(_), None, None) | (None, None, Some(_)) => return None,
            };
            (total > 0.0).then(|| (named(row), used / total * 100.0, Part::Vendor))
        })
        .collect();
    // Unix machines of net-snmp give what is free without what is cached: the table of rooms says more.
    let rooms = device.resources.value().map(|resources| resources.storage.as_slice());
    let virtual_memory =
        rooms.unwrap_or_default().iter().find(|room| room.kind == Kind::VirtualMemory);
    match virtual_memory {
        Some(room) if room.size.0 > 0 => {
            let part = room.used.0 as f64 / room.size.0 as f64 * 100.0;
            vec![(room.name.clone(), part, Part::Resources)]
        }
        Some(_) | None => counted,
    }
}

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted.memory;
    if wanted.is_off() {
        return Vec::new();
    }
    let all = memories(given.device).into_iter().map(|(name, used, part)| {
        let used = percent(used);
        let status = wanted.judge(used);
        let said =
            Text::new(format!("{name} {used} used"), format!("{name} 已用 {}", tight(&used)));
        let verdict = Verdict::new(&*name, status, with_limit(said, wanted.limit(status)));
        given.rests_on(verdict, part, &name, used.to_string())
    });
    all.collect()
}
