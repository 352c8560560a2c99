//! Checks of the machine itself.

use bailey_rules::fact::host::{Clock, Cpu, Load, Memory, Pressure, Reboot, Temperature, Units};
use bailey_rules::fact::{FactKind, ProbeName};
use bailey_rules::unit::Bytes;

use crate::site::{GIB, HOUR, MINUTE, Site, file_system, found, permille, why};

fn cpu(busy: u16) -> Cpu {
    Cpu { cores: 4, busy: permille(busy), io_wait: permille(0), steal: permille(0) }
}

fn memory(available: u64) -> Memory {
    Memory {
        total: Bytes(100),
        available: Bytes(available),
        swap_total: Bytes(100),
        swap_free: Bytes(100),
    }
}

fn load(five: u32) -> Load {
    Load { one: five, five, fifteen: five }
}

#[test]
fn a_busy_processor_is_a_warning_only_when_the_load_shows_minutes_of_it() {
    let check = |busy, five| {
        found("cpu_busy", |site| {
            site.set("", cpu(busy));
            site.set("", load(five));
        })
    };
    assert_eq!(check(949, 800), "ok");
    assert_eq!(check(950, 400), ": warning");
    assert_eq!(check(1000, 399), "ok", "a burst");
    let without_load = found("cpu_busy", |site| {
        site.set("", cpu(999));
        site.remove(FactKind::Load, "");
    });
    assert_eq!(without_load, ": warning", "what is not known excuses nothing");
}

#[test]
fn memory_is_judged_by_what_new_programs_can_get() {
    let check = |available| found("memory_available", |site| site.set("", memory(available)));
    assert_eq!(check(11), "ok");
    assert_eq!(check(10), ": warning");
    assert_eq!(check(5), ": critical");
    let none = found("memory_available", |site| {
        site.set("", Memory { total: Bytes(0), ..memory(0) });
    });
    assert_eq!(none, ": unknown");
}

#[test]
fn swap_is_judged_only_where_there_is_some() {
    let check = |total, free| {
        found("swap_used", |site| {
            site.set("", Memory { swap_total: Bytes(total), swap_free: Bytes(free), ..memory(50) });
        })
    };
    assert_eq!(check(0, 0), "ok");
    assert_eq!(check(100, 20), ": warning");
    assert_eq!(check(100, 21), "ok");
    assert_eq!(check(100, 200), "ok", "more free than there is");
}

#[test]
fn load_is_counted_for_each_core() {
    let check = |five| found("load_per_core", |site| site.set("", load(five)));
    assert_eq!(check(1599), "ok");
    assert_eq!(check(1600), ": warning");
    assert_eq!(check(3200), ": critical");
    let no_core = found("load_per_core", |site| site.set("", Cpu { cores: 0, ..cpu(0) }));
    assert_eq!(no_core, ": unknown");
}

#[test]
fn pressure_counts_every_task_for_memory_and_storage_and_some_for_the_processor() {
    let check = |resource: &str, some, full| {
        found("pressure", |site| {
            site.set(resource, Pressure { some: permille(some), full });
        })
    };
    assert_eq!(check("cpu", 800, None), "cpu: warning");
    assert_eq!(check("memory", 900, Some(permille(99))), "ok");
    assert_eq!(check("memory", 900, Some(permille(100))), "memory: warning");
    assert_eq!(check("memory", 900, Some(permille(300))), "memory: critical");
    assert_eq!(check("io", 700, None), "io: warning");
    assert_eq!(found("pressure", |site| site.remove_all(FactKind::Pressure)), "not judged");
}

#[test]
fn a_file_system_is_judged_by_its_part_and_never_too_full_with_plenty_free() {
    let check = |total: u64, free: u64| {
        found("filesystem_space", |site| {
            let mut fs = file_system();
            (fs.total, fs.available) = (Bytes(total * GIB), Bytes(free * GIB));
            site.set("/", fs);
        })
    };
    assert_eq!(check(100, 16), "ok");
    assert_eq!(check(100, 15), "/: warning");
    assert_eq!(check(100, 5), "/: critical");
    assert_eq!(check(20_000, 200), "ok");
    assert_eq!(check(20_000, 199), "/: critical");
    assert_eq!(check(0, 0), "/: unknown");
    assert_eq!(check(10, 20), "ok", "more free than there is");
    assert_eq!(
        found("filesystem_space", |site| site.remove_all(FactKind::FileSystem)),
        ": unknown"
    );
}

#[test]
fn images_and_ignored_mounts_are_not_judged() {
    for check in ["filesystem_space", "filesystem_inodes", "filesystem_read_only"] {
        let said = found(check, |site| {
            let mut image = file_system();
            (image.kind, image.available) = ("squashfs".to_owned(), Bytes(0));
            (image.inodes_available, image.read_only) = (0, true);
            site.set("/media/cd", image.clone());
            image.kind = "ext4".to_owned();
            site.set("/snap/core/1", image.clone());
            site.set("/mnt/old", image);
            site.rules =
                "expectations: [{host: {filesystem_ignore: ['/snap/*', '/mnt/*']}}]".to_owned();
        });
        assert_eq!(said, "ok", "{check}");
    }
}

#[test]
fn inodes_are_judged_only_where_their_number_is_fixed() {
    let check = |all, free| {
        found("filesystem_inodes", |site| {
            let mut fs = file_system();
            (fs.inodes, fs.inodes_available) = (all, free);
            site.set("/", fs);
        })
    };
    assert_eq!(check(0, 0), "not judged");
    assert_eq!(check(100, 16), "ok");
    assert_eq!(check(100, 15), "/: warning");
    assert_eq!(check(100, 0), "/: critical");
}

#[test]
fn a_disk_that_became_read_only_is_critical_and_other_read_only_mounts_are_not_meant() {
    let check = |device: &str, kind: &str| {
        found("filesystem_read_only", |site| {
            let mut fs = file_system();
            (fs.device, fs.kind, fs.read_only) = (device.to_owned(), kind.to_owned(), true);
            site.set("/srv", fs);
        })
    };
    assert_eq!(check("/dev/vdb", "xfs"), "/srv: critical");
    assert_eq!(check("/dev/mapper/vg-data", "ext4"), "/srv: critical");
    assert_eq!(check("/dev/loop3", "ext4"), "ok");
    assert_eq!(check("/dev/sr0", "iso9660"), "ok");
    assert_eq!(check("nas:/export", "nfs4"), "ok");
    assert_eq!(check("tmpfs", "tmpfs"), "ok");
    assert_eq!(check("overlay", "overlay"), "ok");
}

#[test]
fn a_sensor_is_judged_by_its_own_limit_when_that_can_be_believed() {
    let check = |millicelsius, critical| {
        found("temperature", |site| site.set("nvme", Temperature { millicelsius, critical }))
    };
    assert_eq!(check(94_999, Some(100_000)), "ok");
    assert_eq!(check(95_000, Some(100_000)), "nvme: warning");
    assert_eq!(check(100_000, Some(100_000)), "nvme: critical");
    assert_eq!(check(79_999, None), "ok");
    assert_eq!(check(80_000, Some(0)), "nvme: warning");
    assert_eq!(check(96_000, Some(i32::MAX)), "nvme: critical");
    assert_eq!(check(-128_000, None), "nvme: unknown");
    assert_eq!(check(i32::MIN, Some(i32::MIN)), "nvme: unknown");
    assert_eq!(found("temperature", |site| site.remove_all(FactKind::Temperature)), "not judged");
}

#[test]
fn a_clock_that_nothing_keeps_is_a_warning() {
    let check = |synchronised| {
        found("clock_synchronised", |site| {
            site.set("", Clock { synchronised, offset_micros: 0, max_error_micros: 0 });
        })
    };
    assert_eq!(check(true), "ok");
    assert_eq!(check(false), ": warning");
}

#[test]
fn each_failed_unit_is_a_finding_of_its_own() {
    let units = |names: &[&str], count| Units {
        failed: names.iter().map(ToString::to_string).collect(),
        failed_count: count,
    };
    let check = |failed: Units| found("failed_units", |site| site.set("", failed));
    assert_eq!(check(units(&["nginx.service"], 1)), "nginx.service: warning");
    assert_eq!(check(units(&["a.service"], 70)), "a.service: warning, : warning");
    let allowed = found("failed_units", |site| {
        site.set("", units(&["apt-daily.service"], 1));
        site.rules = "expectations: [{host: {failed_units_ignore: ['apt-*']}}]".to_owned();
    });
    assert_eq!(allowed, "ok");
}

#[test]
fn a_wanted_reboot_names_its_cause() {
    let reboot = |needed| Reboot { needed, because: vec!["linux-image-6.1".to_owned()] };
    assert_eq!(found("reboot_needed", |site| site.set("", reboot(false))), "ok");
    assert_eq!(found("reboot_needed", |site| site.set("", reboot(true))), ": warning");
    let said = why("reboot_needed", |site| site.set("", reboot(true)));
    assert_eq!(said, "a reboot is wanted for linux-image-6.1");
}

#[test]
fn what_is_switched_off_is_not_judged() {
    let off = |site: &mut Site| {
        site.rules = "
expectations:
  - host:
      cpu_busy: {warning: off}
      memory_available: {warning: off, critical: off}
      reboot_needed: off
"
        .to_owned();
        site.set("", cpu(1000));
        site.set("", load(10_000));
        site.set("", memory(0));
        site.set("", Reboot { needed: true, because: Vec::new() });
    };
    for check in ["cpu_busy", "memory_available", "reboot_needed"] {
        assert_eq!(found(check, off), "not judged", "{check}");
    }
}

#[test]
fn facts_older_than_twice_their_interval_are_stale_and_never_ok() {
    let check = |age| {
        found("memory_available", |site| {
            let now = site.now;
            site.probe(ProbeName::Host).read_at = now - age;
        })
    };
    assert_eq!(check(MINUTE * 2), "ok");
    assert_eq!(check(MINUTE * 2 + std::time::Duration::from_millis(1)), ": stale");
}

#[test]
fn an_interval_that_a_host_names_keeps_no_fact_fresh_for_ever() {
    let check = |age| {
        found("memory_available", |site| {
            let now = site.now;
            let probe = site.probe(ProbeName::Host);
            (probe.interval, probe.read_at) = (std::time::Duration::MAX, now - age);
        })
    };
    assert_eq!(check(HOUR * 48), "ok");
    assert_eq!(check(HOUR * 49), ": stale");
}

#[test]
fn a_sentence_says_the_value_and_the_limit() {
    let said = why("filesystem_space", |site| {
        let mut fs = file_system();
        fs.available = Bytes(4 * GIB);
        site.set("/", fs);
    });
    assert_eq!(said, "/ 96 % full, 4.0 GiB free of 100.0 GiB (limit 95 %)");
}
