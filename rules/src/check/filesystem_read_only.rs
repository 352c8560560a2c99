//! Has a disk become read-only?

use super::filesystem_space::IMAGES;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::FileSystem;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "filesystem_read_only",
    title: || Text::new("Disk writable", "磁盘可写"),
    component: "host",
    alert: Alerts::both("BaileyFileSystemReadOnly"),
    probes: &[ProbeName::System],
    absence: Absence::Resolves,
    judge,
};

/// Whether it is meant to be written: a block device that is no loop device and no image. Network
/// shares, overlays and the system's own mounts are read-only on purpose often enough.
fn is_a_disk(fs: &FileSystem) -> bool {
    fs.device.starts_with("/dev/")
        && !fs.device.starts_with("/dev/loop")
        && !fs.device.starts_with("/dev/sr")
        && !IMAGES.contains(&fs.kind.as_str())
}

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let host = &given.wanted.host;
    let Some(broken) = host.filesystem_read_only.broken() else { return Vec::new() };
    let all = match given.each::<FileSystem>() {
        Ok(all) => all,
        Err(unknown) => return vec![unknown],
    };
    let mut verdicts = Vec::new();
    for (mount, told) in all {
        if host.filesystem_ignore.iter().any(|pattern| pattern.fits(mount)) {
            continue;
        }
        let fs = match told {
            Ok(fs) if !is_a_disk(fs) => continue,
            Ok(fs) => fs,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let (status, why, value) = if fs.read_only {
            let why = Text::new(
                format!("{mount} ({}, {}) is mounted read-only", fs.device, fs.kind),
                format!("{mount}（{}，{}）处于只读状态", fs.device, fs.kind),
            );
            (broken, why, "read-only")
        } else {
            let why = Text::new(format!("{mount} is writable"), format!("{mount} 可写"));
            (Status::Ok, why, "writable")
        };
        let key = FactKey::new(FactKind::FileSystem, mount);
        verdicts.push(given.rests_on(Verdict::new(mount, status, why), &key, value.to_owned()));
    }
    verdicts
}
