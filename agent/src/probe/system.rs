//! What stands still for minutes: who the machine says it is, its file systems, whether it wants a
//! reboot, and which units of the service manager failed.
//!
//! Cannot know: file systems that only another mount namespace sees; units of users.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailey_rules::fact::host::{FileSystem, Identity, Reboot, Units};
use bailey_rules::fact::{Fact, FactKind, ProbeName, bounded};
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;
use futures::future::BoxFuture;
use nix::sys::statvfs::statvfs;
use procfs::process::MountInfo;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use zbus::OwnedObjectPath;

use super::{Probe, ProbeError, Roots, Wake};

/// How long a file system may take to say how full it is; a dead server never does.
const FILE_SYSTEM_LIMIT: Duration = Duration::from_secs(2);
/// How long the service manager may take.
const UNITS_LIMIT: Duration = Duration::from_secs(2);
/// The most file systems that are reported.
const MAX_FILE_SYSTEMS: usize = 512;
/// The most names in [`Units::failed`] and the most reasons in [`Reboot::because`].
const MAX_FAILED: usize = 64;
const MAX_REASONS: usize = 32;

/// Types that hold nothing of their own: views of the kernel, memory, and other people's folders.
const NOT_STORAGE: [&str; 26] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// The probe `system`.
pub struct SystemProbe {
    roots: Roots,
    /// Address of the message bus, where it is not the system's (tests).
    bus: Option<String>,
    connection: Option<zbus::Connection>,
    /// File systems that have not answered yet, by mount point.
    hanging: BTreeMap<PathBuf, JoinHandle<Option<Room>>>,
}

impl std::fmt::Debug for SystemProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemProbe").field("hanging", &self.hanging.len()).finish_non_exhaustive()
    }
}

/// What statvfs(3) said.
#[derive(Debug, Clone, Copy)]
struct Room {
    total: u64,
    available: u64,
    inodes: u64,
    inodes_available: u64,
}

impl SystemProbe {
    /// Reads from `roots` and asks the system's message bus.
    #[must_use]
    pub fn new(roots: &Roots) -> Self {
        Self { roots: roots.clone(), bus: None, connection: None, hanging: BTreeMap::new() }
    }

    /// The same with a message bus of its own at `address` (D-Bus specification, server addresses).
    #[must_use]
    pub fn with_bus(roots: &Roots, address: &str) -> Self {
        Self { bus: Some(address.to_owned()), ..Self::new(roots) }
    }

    async fn facts(&mut self) -> Vec<Fact> {
        let mut facts = vec![self.identity(), self.reboot(), self.units().await];
        facts.extend(self.file_systems().await);
        facts
    }

    fn identity(&self) -> Fact {
        let name = match nix::sys::utsname::uname() {
            Ok(name) => name,
            Err(error) => return Fact::unreadable(FactKind::Identity, "", error),
        };
        let text = |part: &std::ffi::OsStr| bounded(&part.to_string_lossy());
        let Some(booted_at) = self.booted_at() else {
            return Fact::unreadable(FactKind::Identity, "", "/proc/stat has no btime");
        };
        let machine_id = fs::read_to_string(self.roots.etc.join("machine-id")).unwrap_or_default();
        let machine_id = machine_id.trim();
        Fact::known(
            "",
            Identity {
                hostname: text(name.nodename()),
                os: self.os().unwrap_or_else(|| text(name.sysname())),
                kernel: text(name.release()),
                machine: text(name.machine()),
                booted_at,
                machine_id_hash: if machine_id.is_empty() {
                    String::new()
                } else {
                    hexadecimal(&Sha256::digest(machine_id))
                },
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        )
    }

    fn os(&self) -> Option<String> {
        let text = fs::read_to_string(self.roots.etc.join("os-release")).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(bounded(value.trim_matches(['"', '\''])))
    }

    fn booted_at(&self) -> Option<Timestamp> {
        let text = fs::read_to_string(self.roots.proc.join("stat")).ok()?;
        let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(Timestamp::from_seconds(seconds.trim().parse().ok()?))
    }

    /// A reboot is wanted when Debian's packages say so, or when the running kernel's modules are
    /// gone: then it was replaced, and nothing more can be loaded.
    fn reboot(&self) -> Fact {
        let flag = self.roots.run.join("reboot-required");
        let mut because = BTreeSet::new();
        if flag.exists() {
            let packages = fs::read_to_string(self.roots.run.join("reboot-required.pkgs"));
            because.extend(packages.unwrap_or_default().lines().map(bounded));
            if because.is_empty() {
                because.insert("/run/reboot-required".to_owned());
            }
        }
        because.extend(self.newer_kernel());
        let needed = !because.is_empty();
        let because = because.into_iter().take(MAX_REASONS).collect();
        Fact::known("", Reboot { needed, because })
    }

    /// A kernel without modules of its own where others have theirs. A machine with no modules at
    /// all (a container, a built-in kernel) says nothing.
    fn newer_kernel(&self) -> Option<String> {
        let name = nix::sys::utsname::uname().ok()?;
        let running = name.release().to_str()?;
        let modules = self.roots.etc.parent()?.join("lib/modules");
        let mut others = fs::read_dir(&modules).ok()?.flatten();
        if modules.join(running).exists() {
            return None;
        }
        let other = others.find(|folder| folder.path().join("modules.dep").exists())?;
        let other = other.file_name();
        let replaced = format!("linux {running} was replaced by {}", other.to_string_lossy());
        Some(bounded(&replaced))
    }

    async fn units(&mut self) -> Fact {
        if self.bus.is_none() && !self.roots.run.join("systemd/system").is_dir() {
            return Fact::unreadable(FactKind::Units, "", "no systemd on this machine");
        }
        match tokio::time::timeout(UNITS_LIMIT, self.failed_units()).await {
            Ok(Ok(failed)) => Fact::known(
                "",
                Units {
                    failed_count: u32::try_from(failed.len()).unwrap_or(u32::MAX),
                    failed: failed.into_iter().take(MAX_FAILED).collect(),
                },
            ),
            Ok(Err(error)) => {
                self.connection = None;
                Fact::unreadable(FactKind::Units, "", format!("systemd: {error}"))
            }
            Err(_) => {
                self.connection = None;
                Fact::unreadable(FactKind::Units, "", "systemd: no answer within 2 s")
            }
        }
    }

    async fn failed_units(&mut self) -> zbus::Result<BTreeSet<String>> {
        let connection = match &self.connection {
            Some(connection) => connection.clone(),
            None => {
                let new = match &self.bus {
                    Some(address) => zbus::connection::Builder::address(address.as_str()),
                    None => zbus::connection::Builder::system(),
                };
                self.connection.insert(new.build().await?).clone()
            }
        };
        let manager = ManagerProxy::new(&connection).await?;
        let units = manager.list_units_filtered(&["failed"]).await?;
        Ok(units.into_iter().map(|unit| bounded(&unit.0)).collect())
    }

    async fn file_systems(&mut self) -> Vec<Fact> {
        let mounts = match self.mounts() {
            Ok(mounts) => mounts,
            Err(why) => return vec![Fact::unreadable(FactKind::FileSystem, "", why)],
        };
        self.hanging.retain(|point, _| mounts.iter().any(|mount| mount.mount_point == *point));
        let mut asked = Vec::new();
        for mount in &mounts {
            asked.push(match self.hanging.remove(&mount.mount_point) {
                Some(hanging) => hanging,
                None => {
                    let point = mount.mount_point.clone();
                    tokio::task::spawn_blocking(move || room(&point))
                }
            });
        }
        let limit = tokio::time::Instant::now() + FILE_SYSTEM_LIMIT;
        let mut facts = Vec::new();
        for (mount, mut asked) in mounts.into_iter().zip(asked) {
            let subject = mount.mount_point.to_string_lossy().into_owned();
            let unreadable = |why: &str| Fact::unreadable(FactKind::FileSystem, &subject, why);
            facts.push(match tokio::time::timeout_at(limit, &mut asked).await {
                Ok(Ok(Some(room))) => Fact::known(
                    &subject,
                    FileSystem {
                        device: bounded(mount.mount_source.as_deref().unwrap_or_default()),
                        kind: bounded(&mount.fs_type),
                        total: Bytes(room.total),
                        available: Bytes(room.available),
                        inodes: room.inodes,
                        inodes_available: room.inodes_available,
                        read_only: is_read_only(&mount),
                    },
                ),
                Ok(_) => unreadable("the kernel does not say how full it is"),
                Err(_) => {
                    self.hanging.insert(mount.mount_point, asked);
                    unreadable("no answer within 2 s")
                }
            });
        }
        facts
    }

    /// Mounts with storage, one for each device: the one nearest to its root.
    fn mounts(&self) -> Result<Vec<MountInfo>, String> {
        let path = self.roots.proc.join("self/mountinfo");
        let octets = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = String::from_utf8_lossy(&octets);
        let mut by_device: BTreeMap<String, MountInfo> = BTreeMap::new();
        for line in text.lines() {
            let mount = MountInfo::from_line(line).map_err(|error| error.to_string())?;
            if NOT_STORAGE.contains(&mount.fs_type.as_str()) {
                continue;
            }
            let mount = MountInfo { mount_point: unescaped(&mount.mount_point), ..mount };
            let length = |mount: &MountInfo| mount.mount_point.as_os_str().as_bytes().len();
            match by_device.get(&mount.majmin) {
                Some(known) if length(known) <= length(&mount) => {}
                Some(_) | None => {
                    by_device.insert(mount.majmin.clone(), mount);
                }
            }
        }
        Ok(by_device.into_values().take(MAX_FILE_SYSTEMS).collect())
    }
}

impl Probe for SystemProbe {
    fn name(&self) -> ProbeName {
        ProbeName::System
    }

    fn read(&mut self, _: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
        Box::pin(async { Ok(self.facts().await) })
    }
}

/// A unit as systemd lists it (org.freedesktop.systemd1(5)): name, description, load, active and
/// sub state, followed unit, object path, job id, job type, job path.
type Unit =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    /// Units in one of `states`.
    fn list_units_filtered(&self, states: &[&str]) -> zbus::Result<Vec<Unit>>;
}

/// Whether the file system itself is read-only: as it was mounted, or since the kernel met an error.
/// Not whether this mount of it is: a service manager that protects the agent shows it all of the
/// machine's file systems through mounts that are read-only (systemd.exec(5), `ProtectSystem=`).
fn is_read_only(mount: &MountInfo) -> bool {
    mount.super_options.contains_key("ro")
}

fn room(point: &Path) -> Option<Room> {
    let said = statvfs(point).ok()?;
    let block = said.fragment_size();
    Some(Room {
        total: said.blocks().saturating_mul(block),
        available: said.blocks_available().saturating_mul(block),
        inodes: said.files(),
        inodes_available: said.files_available(),
    })
}

fn hexadecimal(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// A mount point with the octal escapes of mountinfo (proc(5)) undone.
fn unescaped(escaped: &Path) -> PathBuf {
    let octets = escaped.as_os_str().as_bytes();
    let mut plain = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let [first, others @ ..] = rest {
        let escape = (*first == b'\\').then(|| others.get(..3)).flatten();
        let value = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(value) => {
                plain.push(value);
                rest = &others[3..];
            }
            None => {
                plain.push(*first);
                rest = others;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from(std::ffi::OsStr::from_bytes(&plain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["proc/self", "etc", "run", "sys"] {
                fs::create_dir_all(folder.path().join(name)).expect("a folder");
            }
            Self(folder)
        }

        fn with(self, file: &str, text: &str) -> Self {
            let path = self.0.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
            self
        }

        fn probe(&self) -> SystemProbe {
            let at = |name: &str| self.0.path().join(name);
            SystemProbe::new(&Roots {
                proc: at("proc"),
                sys: at("sys"),
                etc: at("etc"),
                run: at("run"),
            })
        }
    }

    fn reboot(machine: &Machine) -> Reboot {
        let fact = machine.probe().reboot();
        match fact.reading.known() {
            Some(bailey_rules::fact::FactValue::Reboot(reboot)) => reboot.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reboot_is_wanted_when_packages_say_so_and_names_them() {
        assert!(!reboot(&Machine::new()).needed);
        let asked = Machine::new()
            .with("run/reboot-required", "*** System restart required ***\n")
            .with("run/reboot-required.pkgs", "linux-image-6.1\nlibc6\n");
        assert_eq!(
            reboot(&asked),
            Reboot { needed: true, because: vec!["libc6".into(), "linux-image-6.1".into()] }
        );
    }

    #[test]
    fn a_reboot_is_wanted_when_the_running_kernel_was_replaced() {
        let replaced = Machine::new().with("lib/modules/99.0-new/modules.dep", "");
        assert!(reboot(&replaced).because[0].contains("99.0-new"));
    }

    #[test]
    fn mount_points_with_spaces_are_read_and_each_device_counts_once() {
        let machine = Machine::new().with(
            "proc/self/mountinfo",
            "1 0 254:0 / / rw - ext4 /dev/vda rw\n\
             2 1 0:5 / /proc rw - proc proc rw\n\
             3 1 254:0 /srv /var/with\\040space rw - ext4 /dev/vda rw\n\
             4 1 254:1 / /mnt/my\\040disk ro - xfs /dev/vdb rw\n",
        );
        let mounts = machine.probe().mounts().expect("it is well formed");
        let points: Vec<_> = mounts.iter().map(|mount| mount.mount_point.clone()).collect();
        assert_eq!(points, [PathBuf::from("/"), PathBuf::from("/mnt/my disk")]);
    }

    #[test]
    fn a_protected_agent_does_not_take_its_own_view_for_a_read_only_disk() {
        let machine = Machine::new().with(
            "proc/self/mountinfo",
            "1 0 254:0 / / ro - ext4 /dev/vda rw\n\
             4 1 254:1 / /mnt ro - xfs /dev/vdb ro\n",
        );
        let mounts = machine.probe().mounts().expect("it is well formed");
        let told: Vec<bool> = mounts.iter().map(is_read_only).collect();
        assert_eq!(told, [false, true]);
    }

    #[tokio::test]
    async fn a_machine_without_systemd_says_so() {
        let fact = Machine::new().probe().units().await;
        assert_eq!(fact, Fact::unreadable(FactKind::Units, "", "no systemd on this machine"));
    }

    #[tokio::test]
    async fn this_machine_has_a_root_file_system_and_a_name() {
        let mut probe = SystemProbe::new(&Roots::default());
        let facts = probe.read(Wake::Interval).await.expect("procfs is there");
        let root = facts.iter().find(|fact| *fact.key.subject == *"/").expect("a root");
        assert!(root.reading.known().is_some(), "{root:?}");
        assert!(facts.iter().any(|fact| fact.key.kind == FactKind::Identity));
        assert!(facts.iter().all(|fact| fact.key.kind.probe() == ProbeName::System));
    }
}
