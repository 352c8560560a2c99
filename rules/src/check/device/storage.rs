//! Is there space left on the device's file systems?

use super::super::sentence::{tight, with_limit};
use super::super::{Alerts, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::resources::{Kind, Storage};
use crate::text::Text;
use crate::unit::{Bytes, Percent, Permille};

/// One subject for each fixed disk of HOST-RESOURCES-MIB: the file systems of minicomputers.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "device_storage",
        || Text::new("Disk space", "磁盘空间"),
        "host",
        Alerts::both("BaileyFileSystemFull"),
    ),
    parts: &[Part::Resources],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let wanted = &given.wanted;
    if wanted.storage.is_off() {
        return Vec::new();
    }
    let resources = match given.ask(&given.device.resources, Part::Resources) {
        Ok(resources) => resources,
        Err(unknown) => return vec![unknown],
    };
    let ignored = |name: &str| wanted.storage_ignore.iter().any(|pattern| pattern.fits(name));
    let judged = resources.storage.iter();
    judged
        .filter(|room| room.kind == Kind::Disk && !ignored(&room.name))
        .filter_map(|room| verdict(given, room))
        .collect()
}

fn verdict(given: &Given<'_>, room: &Storage) -> Option<Verdict> {
    let wanted = &given.wanted.storage;
    let part = Permille::of(room.used.0, room.size.0).map(Percent::from)?;
    let status = wanted.judge(part);
    let left = Bytes(room.size.0.saturating_sub(room.used.0));
    let (name, size) = (&room.name, room.size);
    let said = Text::new(
        format!("{name} {part} full, {left} free of {size}"),
        format!("{name} 已用 {}，剩余 {left} / {size}", tight(&part)),
    );
    let verdict = Verdict::new(&**name, status, with_limit(said, wanted.limit(status)));
    Some(given.rests_on(verdict, Part::Resources, name, format!("{left} free of {size}")))
}
