//! Probes: what reads facts. One probe is one file; this file says what a probe is and lists them.
//!
//! All probes share one thread. What may take long (a file system that hangs, a program that is
//! run) belongs into `tokio::process` or `tokio::task::spawn_blocking`, so that a probe that is
//! stuck holds up nobody but itself.

pub mod backup;
pub mod enforcement;
pub mod firewall;
pub mod flows;
pub mod host;
pub mod lines;
pub mod links;
pub(crate) mod program;
pub mod system;

use std::path::PathBuf;
use std::time::Duration;

use bailey_rules::fact::{Fact, ProbeName};
use futures::future::BoxFuture;

/// Why a probe is asked to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Its interval has passed, or the agent has just started.
    Interval,
    /// It was told that something changed: [`Probe::told`] completed.
    Told,
}

/// When a probe reads, and for how long it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// From one reading to the next.
    pub interval: Duration,
    /// After this time without an answer the probe counts as failed; it goes on in the
    /// background and is not started a second time.
    pub limit: Duration,
}

/// A reader of one kind of facts.
pub trait Probe: Send {
    /// Which probe this is.
    fn name(&self) -> ProbeName;

    /// Reads everything it knows of: the complete list of its facts, each time; what is not in the
    /// list is gone. What it could not read is a fact too ([`Fact::unreadable`]).
    ///
    /// # Errors
    /// When nothing could be read at all; the facts then stay as they were, and grow stale.
    fn read(&mut self, wake: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>>;

    /// Completes when something that is watched has changed. Cancel-safe: it may be dropped at any
    /// time without an event being lost. A probe that watches nothing never completes.
    fn told(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// A probe failed as a whole, and why, in words for an administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProbeError(pub String);

/// Where the machine shows itself. Tests hand in other folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// procfs, `/proc`.
    pub proc: PathBuf,
    /// sysfs, `/sys`.
    pub sys: PathBuf,
    /// `/etc`.
    pub etc: PathBuf,
    /// `/run`.
    pub run: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), etc: "/etc".into(), run: "/run".into() }
    }
}
