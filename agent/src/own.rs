//! What the agent knows of itself and tells the collector: how much waits, and what is wrong.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bailey_rules::fact::bounded;
use bailey_rules::fact::host::MAX_PROBLEMS;
use bailey_rules::unit::Bytes;

/// A part of the agent that may have a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The settings file.
    Settings,
    /// The spool.
    Spool,
    /// The certificate and its renewal.
    Certificate,
}

/// Kept by the parts, read by the probe `host`.
#[derive(Debug, Default)]
pub struct Own {
    spool: AtomicU64,
    problems: Mutex<BTreeMap<Part, String>>,
}

impl Own {
    /// Notes how many octets wait in the spool.
    pub fn set_spool(&self, waiting: u64) {
        self.spool.store(waiting, Ordering::Relaxed);
    }

    /// Octets that wait in the spool.
    #[must_use]
    pub fn spool(&self) -> Bytes {
        Bytes(self.spool.load(Ordering::Relaxed))
    }

    /// Notes what is wrong with a part, or that nothing is.
    pub fn set_problem(&self, part: Part, problem: Option<String>) {
        let Ok(mut problems) = self.problems.lock() else { return };
        match problem {
            Some(problem) => problems.insert(part, bounded(&problem)),
            None => problems.remove(&part),
        };
    }

    /// What is wrong now.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock();
        problems.map(|p| p.values().take(MAX_PROBLEMS).cloned().collect()).unwrap_or_default()
    }
}
