//! Waiting for something to become true, with a bound and a reason.

use std::time::{Duration, Instant};

/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Looks until `look` gives a value, and says how long that took.
///
/// # Panics
/// When `limit` has passed: with `what` was waited for and what the last look saw.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> anyhow::Result<T>,
) -> (T, Duration) {
    let began = Instant::now();
    loop {
        match look() {
            Ok(value) => return (value, began.elapsed()),
            Err(error) if began.elapsed() >= limit => {
                panic!("waited {limit:?} for {what}; last seen: {error:#}")
            }
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}
