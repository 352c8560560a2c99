//! Facts of the machine itself, read by the probes `host` and `system`.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::unit::{Bytes, Permille};

/// Who the machine says it is. For people and for finding twins; never an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The kernel's host name (uname(2) `nodename`).
    pub hostname: String,
    /// Operating system for people: `PRETTY_NAME` of os-release(5).
    pub os: String,
    /// Kernel release (uname(2) `release`).
    pub kernel: String,
    /// Machine architecture (uname(2) `machine`).
    pub machine: String,
    /// When the kernel started: `btime` of `/proc/stat`, to the second.
    pub booted_at: Timestamp,
    /// SHA-256 of machine-id(5), hexadecimal; empty where the machine has none.
    pub machine_id_hash: String,
    /// Version of the agent.
    pub agent_version: String,
}

/// One mounted file system with storage of its own (statvfs(3)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// What is mounted, such as `/dev/vda`.
    pub device: String,
    /// Type, such as `ext4`.
    pub kind: String,
    /// Size.
    pub total: Bytes,
    /// Free for an unprivileged user.
    pub available: Bytes,
    /// Inodes in all; 0 where the type has no fixed number.
    pub inodes: u64,
    /// Inodes free for an unprivileged user.
    pub inodes_available: u64,
    /// Whether it is mounted read-only now.
    pub read_only: bool,
}

/// Whether the machine wants a reboot, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// Whether it does.
    pub needed: bool,
    /// Packages or files that ask for it, at most 32.
    pub because: Vec<String>,
}

/// Failed units of the service manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// Names of failed units, sorted, at most 64.
    pub failed: Vec<String>,
    /// How many failed in all.
    pub failed_count: u32,
}

/// Processor time over the last interval, all cores together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Cores online.
    pub cores: u32,
    /// Part of the time not idle and not waiting for I/O.
    pub busy: Permille,
    /// Part of the time waiting for I/O.
    pub io_wait: Permille,
    /// Part of the time taken by the hypervisor.
    pub steal: Permille,
}

/// Memory from `/proc/meminfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// `MemTotal`.
    pub total: Bytes,
    /// `MemAvailable`: what a new program could get without swapping.
    pub available: Bytes,
    /// `SwapTotal`.
    pub swap_total: Bytes,
    /// `SwapFree`.
    pub swap_free: Bytes,
}

/// Load averages in hundredths, as the kernel prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Over one minute.
    pub one: u32,
    /// Over five minutes.
    pub five: u32,
    /// Over fifteen minutes.
    pub fifteen: u32,
}

/// Pressure stall information of one resource over the last 60 s (kernel `accounting/psi`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// Part of the time in which some task waited.
    pub some: Permille,
    /// Part of the time in which every task waited; absent where the kernel does not tell.
    pub full: Option<Permille>,
}

/// Counters of one block device since boot (kernel `admin-guide/iostats`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Octets read.
    pub read: Bytes,
    /// Octets written.
    pub written: Bytes,
    /// Milliseconds in which I/O was under way.
    pub busy_millis: u64,
}

/// One temperature sensor (kernel `hwmon/sysfs-interface`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Temperature {
    /// Thousandths of a degree Celsius.
    pub millicelsius: i32,
    /// The critical value the sensor states, thousandths of a degree Celsius.
    pub critical: Option<i32>,
}

/// The state of the system clock (adjtimex(2)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Whether the kernel counts the clock as synchronised (`STA_UNSYNC` not set).
    pub synchronised: bool,
    /// Estimated offset that is still being corrected, in microseconds; rounded to milliseconds
    /// so that a clock that is kept does not change the fact at every reading.
    pub offset_micros: i64,
    /// Upper bound of the error, in microseconds, rounded up to a power of two.
    pub max_error_micros: i64,
}

/// The most entries of [`Agent::problems`].
pub const MAX_PROBLEMS: usize = 8;

/// What the agent itself costs the machine, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Resident memory, in whole MiB as octets.
    pub resident: Bytes,
    /// Processor time since start, of the agent and the programs it ran, milliseconds.
    pub cpu_millis: u64,
    /// Octets waiting in the spool.
    pub spool: Bytes,
    /// What is wrong with the agent itself, for people (a spool that cannot be written, a settings
    /// file that was refused), at most [`MAX_PROBLEMS`].
    pub problems: Vec<String>,
}
