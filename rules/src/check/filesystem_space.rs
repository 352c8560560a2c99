//! Is there space left on every file system?

use super::sentence::{tight, with_limit};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::FileSystem;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::{Percent, Permille};

pub(super) const CHECK: Check = Check {
    name: "filesystem_space",
    title: || Text::new("Disk space", "磁盘空间"),
    component: "host",
    alert: Alerts::both("BaileyFileSystemFull"),
    probes: &[ProbeName::System],
    absence: Absence::Resolves,
    judge,
};

/// Types that are full and read-only from the day they were made.
pub(super) const IMAGES: [&str; 6] = ["squashfs", "iso9660", "udf", "cramfs", "erofs", "romfs"];

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let host = &given.wanted.host;
    let wanted = &host.filesystem_space;
    if wanted.is_off() {
        return Vec::new();
    }
    let all = match given.each::<FileSystem>() {
        Ok(all) => all,
        Err(unknown) => return vec![unknown],
    };
    if all.is_empty() {
        return vec![given.untold(FactKind::FileSystem, "")];
    }
    let mut verdicts = Vec::new();
    for (mount, told) in all {
        if host.filesystem_ignore.iter().any(|pattern| pattern.fits(mount)) {
            continue;
        }
        let fs = match told {
            Ok(fs) if IMAGES.contains(&fs.kind.as_str()) => continue,
            Ok(fs) => fs,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let key = FactKey::new(FactKind::FileSystem, mount);
        let value = format!("{} free of {}", fs.available, fs.total);
        let used = fs.total.0.saturating_sub(fs.available.0);
        let Some(part) = Permille::of(used, fs.total.0).map(Percent::from) else {
            let why = Text::new(
                format!("{mount} reports a size of nothing"),
                format!("{mount} 上报的容量为 0"),
            );
            let verdict = Verdict::new(mount, Status::Unknown, why);
            verdicts.push(given.rests_on(verdict, &key, value));
            continue;
        };
        let has_plenty = fs.available >= host.filesystem_plenty.0;
        let status = if has_plenty { Status::Ok } else { wanted.judge(part) };
        let said = Text::new(
            format!("{mount} {part} full, {value}"),
            format!("{mount} 已用 {}，剩余 {} / {}", tight(&part), fs.available, fs.total),
        );
        let why = with_limit(said, wanted.limit(status));
        verdicts.push(given.rests_on(Verdict::new(mount, status, why), &key, value));
    }
    verdicts
}
