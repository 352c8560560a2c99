//! What moves from cycle to cycle: processor, memory, load, pressure, disks, temperatures, the
//! clock, and what the agent itself costs. From procfs, sysfs and adjtimex(2); needs no privilege.
//!
//! Values are rounded as their types say, so that an idle host's facts stand still.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::fact::host::{Agent, Clock, Cpu, Disk, Load, Memory, Pressure, Temperature};
use bailey_rules::fact::{Fact, FactKind, ProbeName};
use bailey_rules::unit::{Bytes, Permille};
use futures::future::BoxFuture;
use nix::sys::resource::{UsageWho, getrusage};
use procfs::{FromBufRead as _, FromRead as _};

use super::{Probe, ProbeError, Roots, Wake};
use crate::ffi;
use crate::own::Own;

/// The first reading looks at the processor twice, so far apart; later ones use the interval.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// Sectors of `/proc/diskstats` are of this size whatever the disk (kernel `admin-guide/iostats`).
const SECTOR: u64 = 512;
/// The most disks, and the most sensors, that are reported; what lies beyond is left out.
const MAX_DEVICES: usize = 256;
/// Whole degrees: sensors are no finer, and the fact stands still.
const DEGREE: i32 = 1000;
const MIB: u64 = 1024 * 1024;

/// The probe `host`.
#[derive(Debug)]
pub struct HostProbe {
    roots: Roots,
    own: Arc<Own>,
    last: Option<Ticks>,
    /// Sensors and their files; they are looked for once, hot-plugged ones at the next start.
    sensors: Option<Vec<Sensor>>,
}

#[derive(Debug)]
struct Sensor {
    name: String,
    input: PathBuf,
    critical: Option<i32>,
}

/// Processor time since boot, in ticks.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    total: u64,
    idle: u64,
    io_wait: u64,
    steal: u64,
    cores: u32,
}

impl HostProbe {
    /// Reads from `roots`, and from `own` what the agent knows of itself.
    #[must_use]
    pub fn new(roots: &Roots, own: Arc<Own>) -> Self {
        Self { roots: roots.clone(), own, last: None, sensors: None }
    }

    async fn facts(&mut self) -> Vec<Fact> {
        let mut facts = Vec::with_capacity(16);
        facts.push(self.cpu().await);
        facts.push(self.memory());
        facts.push(self.load());
        facts.extend(self.pressure());
        facts.extend(self.disks());
        facts.extend(self.temperatures());
        facts.push(clock());
        facts.push(self.agent());
        facts
    }

    async fn cpu(&mut self) -> Fact {
        let before = if let Some(before) = self.last {
            Ok(before)
        } else {
            let first = self.ticks();
            tokio::time::sleep(FIRST_LOOK).await;
            first
        };
        let (before, now) = match (before, self.ticks()) {
            (Ok(before), Ok(now)) => (before, now),
            (Err(why), _) | (_, Err(why)) => {
                self.last = None;
                return Fact::unreadable(FactKind::Cpu, "", why);
            }
        };
        self.last = Some(now);
        let passed = now.total.saturating_sub(before.total);
        let part = |now: u64, before: u64| {
            Permille::of(now.saturating_sub(before), passed).unwrap_or_default()
        };
        let (idle, io_wait) = (part(now.idle, before.idle), part(now.io_wait, before.io_wait));
        // Counters of a core that went offline may go back (proc(5)): then nothing is said of it.
        let busy = if passed == 0 { 0 } else { 1000_u16.saturating_sub(idle.0 + io_wait.0) };
        let steal = part(now.steal, before.steal);
        Fact::known("", Cpu { cores: now.cores, busy: Permille(busy), io_wait, steal })
    }

    fn ticks(&self) -> Result<Ticks, String> {
        let text = read(&self.roots.proc.join("stat"))?;
        let whole = text.lines().next().filter(|line| line.starts_with("cpu "));
        let time = whole.and_then(ticks).ok_or("/proc/stat has no line for all processors")?;
        let cores = text.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
        Ok(Ticks { cores: u32::try_from(cores).unwrap_or(u32::MAX), ..time })
    }

    fn memory(&self) -> Fact {
        let path = self.roots.proc.join("meminfo");
        let read = read(&path).and_then(|text| {
            procfs::Meminfo::from_buf_read(text.as_bytes()).map_err(|e| e.to_string())
        });
        match read {
            Ok(memory) => match memory.mem_available {
                Some(available) => Fact::known(
                    "",
                    Memory {
                        total: Bytes(memory.mem_total),
                        available: Bytes(available),
                        swap_total: Bytes(memory.swap_total),
                        swap_free: Bytes(memory.swap_free),
                    },
                ),
                None => Fact::unreadable(FactKind::Memory, "", "the kernel tells no MemAvailable"),
            },
            Err(why) => Fact::unreadable(FactKind::Memory, "", why),
        }
    }

    fn load(&self) -> Fact {
        let read = read(&self.roots.proc.join("loadavg")).and_then(|text| {
            procfs::LoadAverage::from_read(text.as_bytes()).map_err(|e| e.to_string())
        });
        match read {
            Ok(load) => Fact::known(
                "",
                Load {
                    one: hundredths(load.one),
                    five: hundredths(load.five),
                    fifteen: hundredths(load.fifteen),
                },
            ),
            Err(why) => Fact::unreadable(FactKind::Load, "", why),
        }
    }

    /// None on a kernel without PSI: the absence of a feature is no fault of the host.
    fn pressure(&self) -> Vec<Fact> {
        ["cpu", "memory", "io"]
            .into_iter()
            .filter_map(|resource| {
                let path = self.roots.proc.join("pressure").join(resource);
                if !path.exists() {
                    return None;
                }
                let fact = match read(&path).map(|text| pressure(&text)) {
                    Ok(Some(pressure)) => Fact::known(resource, pressure),
                    Ok(None) => Fact::unreadable(
                        FactKind::Pressure,
                        resource,
                        "not as the kernel writes it",
                    ),
                    Err(why) => Fact::unreadable(FactKind::Pressure, resource, why),
                };
                Some(fact)
            })
            .collect()
    }

    fn disks(&self) -> Vec<Fact> {
        let text = match read(&self.roots.proc.join("diskstats")) {
            Ok(text) => text,
            Err(why) => return vec![Fact::unreadable(FactKind::Disk, "", why)],
        };
        text.lines()
            .filter_map(|line| procfs::DiskStat::from_line(line).ok())
            .filter(|disk| {
                let name = disk.name.as_str();
                let memory = ["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind));
                // Partitions have no folder of their own there.
                !memory && self.roots.sys.join("block").join(name.replace('/', "!")).exists()
            })
            .take(MAX_DEVICES)
            .map(|disk| {
                Fact::known(
                    &disk.name,
                    Disk {
                        read: Bytes(disk.sectors_read.saturating_mul(SECTOR)),
                        written: Bytes(disk.sectors_written.saturating_mul(SECTOR)),
                        busy_millis: disk.time_in_progress,
                    },
                )
            })
            .collect()
    }

    fn temperatures(&mut self) -> Vec<Fact> {
        let hwmon = self.roots.sys.join("class/hwmon");
        let sensors = self.sensors.get_or_insert_with(|| sensors(&hwmon));
        sensors
            .iter()
            .map(|sensor| match read(&sensor.input).map(|text| text.trim().parse::<i32>()) {
                Ok(Ok(value)) => Fact::known(
                    &sensor.name,
                    Temperature {
                        millicelsius: value.div_euclid(DEGREE) * DEGREE,
                        critical: sensor.critical,
                    },
                ),
                Ok(Err(_)) => {
                    Fact::unreadable(FactKind::Temperature, &sensor.name, "no number in sysfs")
                }
                Err(why) => Fact::unreadable(FactKind::Temperature, &sensor.name, why),
            })
            .collect()
    }

    fn agent(&self) -> Fact {
        let status = read(&self.roots.proc.join("self/statm"));
        let pages = status.ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        let Some(pages) = pages else {
            return Fact::unreadable(FactKind::Agent, "", "no /proc/self/statm");
        };
        let resident = (pages * procfs::page_size()).next_multiple_of(MIB);
        let spent: i64 = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
            .into_iter()
            .filter_map(|who| getrusage(who).ok())
            .flat_map(|usage| [usage.user_time(), usage.system_time()])
            .map(|time| time.tv_sec() * 1000 + time.tv_usec() / 1000)
            .sum();
        Fact::known(
            "",
            Agent {
                resident: Bytes(resident),
                cpu_millis: u64::try_from(spent).unwrap_or(0),
                spool: self.own.spool(),
                problems: self.own.problems(),
            },
        )
    }
}

impl Probe for HostProbe {
    fn name(&self) -> ProbeName {
        ProbeName::Host
    }

    fn read(&mut self, _: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
        Box::pin(async { Ok(self.facts().await) })
    }
}

/// A file of procfs or sysfs as text, or why it cannot be read.
fn read(path: &std::path::Path) -> Result<String, String> {
    let octets = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// The line of all processors in `/proc/stat`: user, nice, system, idle, iowait, irq, softirq and
/// steal (proc(5)); guest time is counted within user.
fn ticks(line: &str) -> Option<Ticks> {
    let times: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    let at = |place: usize| times.get(place).copied();
    Some(Ticks {
        total: times.iter().fold(0, |sum, time| sum.saturating_add(*time)),
        idle: at(3)?,
        io_wait: at(4).unwrap_or(0),
        steal: at(7).unwrap_or(0),
        cores: 0,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped before.
fn hundredths(load: f32) -> u32 {
    (load * 100.0).round().clamp(0.0, 1e9) as u32
}

/// One file of `/proc/pressure`: the averages over 60 s of its lines `some` and `full`.
fn pressure(text: &str) -> Option<Pressure> {
    let average = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let percent = line.split_whitespace().find_map(|part| part.strip_prefix("avg60="))?;
        let (whole, part) = percent.split_once('.')?;
        let tenth = part.chars().next()?.to_digit(10)?;
        let permille = whole.parse::<u32>().ok()?.checked_mul(10)?.checked_add(tenth)?;
        Some(Permille(u16::try_from(permille).ok()?.min(1000)))
    };
    Some(Pressure { some: average("some ")?, full: average("full ") })
}

fn sensors(hwmon: &std::path::Path) -> Vec<Sensor> {
    let folders = fs::read_dir(hwmon).into_iter().flatten().flatten();
    let mut sensors: Vec<Sensor> =
        folders.flat_map(|folder| sensors_of_chip(&folder.path())).take(MAX_DEVICES).collect();
    sensors.sort_by(|a, b| a.name.cmp(&b.name));
    sensors
}

fn sensors_of_chip(folder: &std::path::Path) -> Vec<Sensor> {
    let word = |file: &str| read(&folder.join(file)).ok().map(|text| text.trim().to_owned());
    let chip = word("name").unwrap_or_else(|| "sensor".into());
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let number = name.strip_prefix("temp")?.strip_suffix("_input")?.to_owned();
            let label =
                word(&format!("temp{number}_label")).unwrap_or_else(|| format!("temp{number}"));
            Some(Sensor {
                name: format!("{chip} {label}"),
                input: file.path(),
                critical: word(&format!("temp{number}_crit")).and_then(|t| t.parse().ok()),
            })
        })
        .collect()
}

fn clock() -> Fact {
    match ffi::kernel_clock() {
        Ok(clock) => Fact::known(
            "",
            Clock {
                synchronised: clock.synchronised,
                offset_micros: clock.offset_micros / 1000 * 1000,
                max_error_micros: u64::try_from(clock.max_error_micros)
                    .unwrap_or(0)
                    .next_power_of_two()
                    .try_into()
                    .unwrap_or(i64::MAX),
            },
        ),
        Err(error) => Fact::unreadable(FactKind::Clock, "", format!("adjtimex: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_in_tenths_of_a_percent() {
        let text = "some avg10=0.00 avg60=12.34 avg300=2.05 total=24351534\n\
                    full avg10=0.00 avg60=0.09 avg300=0.00 total=0\n";
        let expect = Pressure { some: Permille(123), full: Some(Permille(0)) };
        assert_eq!(pressure(text), Some(expect));
        assert_eq!(pressure("some avg10=0.00\n"), None);
        assert_eq!(pressure("full of nonsense"), None);
    }

    #[test]
    fn all_processors_are_one_line_and_guests_are_not_counted_twice() {
        let line = "cpu  10 1 5 100 4 0 2 3 7 0";
        let read = ticks(line).expect("eight numbers");
        assert_eq!((read.total, read.idle, read.io_wait, read.steal), (125, 100, 4, 3));
        assert!(ticks("cpu  10 x").is_none());
    }

    #[tokio::test]
    async fn this_machine_can_be_read_and_every_fact_is_of_this_probe() {
        let mut probe = HostProbe::new(&Roots::default(), Arc::default());
        let facts = probe.read(Wake::Interval).await.expect("procfs is there");
        assert!(facts.iter().all(|fact| fact.key.kind.probe() == ProbeName::Host));
        for kind in [FactKind::Cpu, FactKind::Memory, FactKind::Load, FactKind::Agent] {
            let fact = facts.iter().find(|fact| fact.key.kind == kind).expect("each is named");
            assert!(fact.reading.known().is_some(), "{fact:?}");
        }
    }

    #[tokio::test]
    async fn a_machine_without_procfs_says_so_and_makes_nothing_up() {
        let empty = tempfile::tempdir().expect("a folder");
        let roots = Roots {
            proc: empty.path().into(),
            sys: empty.path().into(),
            etc: empty.path().into(),
            run: empty.path().into(),
        };
        let mut probe = HostProbe::new(&roots, Arc::default());
        let facts = probe.read(Wake::Interval).await.expect("it answers");
        for fact in facts.iter().filter(|fact| fact.key.kind != FactKind::Clock) {
            assert!(fact.reading.known().is_none(), "{fact:?}");
        }
    }
}
