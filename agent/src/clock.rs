//! The time, handed to whoever needs it.

use std::time::{SystemTime, UNIX_EPOCH};

use bailey_rules::time::Timestamp;

/// Tells the time of day. For waiting and for ages `tokio::time` is used, which no step of the
/// system clock disturbs.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The clock of the system (`CLOCK_REALTIME`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let millis =
            |length: std::time::Duration| i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        })
    }
}
