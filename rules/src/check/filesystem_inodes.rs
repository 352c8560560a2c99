//! Are there inodes left on every file system that has a fixed number of them?

use super::filesystem_space::IMAGES;
use super::sentence::{tight, with_limit};
use super::{Absence, Alerts, Check, Given, Verdict};
use crate::fact::host::FileSystem;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::{Percent, Permille};

pub(super) const CHECK: Check = Check {
    name: "filesystem_inodes",
    title: || Text::new("Inodes", "inode 数量"),
    component: "host",
    alert: Alerts::both("BaileyFileSystemInodes"),
    probes: &[ProbeName::System],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let host = &given.wanted.host;
    let wanted = &host.filesystem_inodes;
    if wanted.is_off() {
        return Vec::new();
    }
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
            Ok(fs) if IMAGES.contains(&fs.kind.as_str()) => continue,
            Ok(fs) => fs,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let used = fs.inodes.saturating_sub(fs.inodes_available);
        let Some(part) = Permille::of(used, fs.inodes).map(Percent::from) else { continue };
        let status = wanted.judge(part);
        let value = format!("{} free of {}", fs.inodes_available, fs.inodes);
        let said = Text::new(
            format!("{mount} {part} of inodes in use, {value}"),
            format!("{mount} 的 inode 已用 {}，剩余 {}", tight(&part), fs.inodes_available),
        );
        let why = with_limit(said, wanted.limit(status));
        let key = FactKey::new(FactKind::FileSystem, mount);
        verdicts.push(given.rests_on(Verdict::new(mount, status, why), &key, value));
    }
    verdicts
}
