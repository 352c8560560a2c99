//! When a device is asked: spread over the interval, so that no two seconds are alike busy, and
//! further apart while it does not answer.

use std::time::Duration;

use crate::name::HostKey;
use crate::time::Timestamp;

/// The shortest and the longest interval between two polls of a device.
pub const INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);

/// However long a device has been silent, it is asked again after this time or its interval,
/// whichever is longer: its return must be seen.
pub const LONGEST_BACK_OFF: Duration = Duration::from_mins(5);

/// How many silent polls are followed by one after the plain interval.
const PATIENT: u32 = 3;

/// An interval within [`INTERVAL`].
#[must_use]
pub fn bounded(interval: Duration) -> Duration {
    interval.clamp(*INTERVAL.start(), *INTERVAL.end())
}

/// The place of a device within its interval: always the same for the same device, and spread
/// evenly over many.
#[must_use]
pub fn phase(device: &HostKey, interval: Duration) -> Duration {
    let mut first = [0; 8];
    first.copy_from_slice(&device.as_bytes()[..8]);
    let millis = u64::try_from(bounded(interval).as_millis()).unwrap_or(u64::MAX);
    // Keys are even over all their values, so that their remainders are even over the interval.
    Duration::from_millis(u64::from_be_bytes(first) % millis)
}

/// How long after a poll the next one is due, after so many silent ones in a row.
#[must_use]
pub fn wait(interval: Duration, silent: u32) -> Duration {
    let interval = bounded(interval);
    let doubled = 1_u32.checked_shl(silent.saturating_sub(PATIENT)).unwrap_or(u32::MAX);
    interval.saturating_mul(doubled).min(LONGEST_BACK_OFF.max(interval))
}

/// When the next poll is due after one that began at `last`: the first turn of the device that is
/// at least half a wait away. A device keeps its turn, however long a poll took and however often
/// the collector was started.
#[must_use]
pub fn next(device: &HostKey, interval: Duration, silent: u32, last: Timestamp) -> Timestamp {
    let interval = bounded(interval);
    let step = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    let phase = i64::try_from(phase(device, interval).as_millis()).unwrap_or(0);
    let earliest = last + wait(interval, silent).saturating_sub(interval / 2);
    let past = (earliest.as_millis() - phase).rem_euclid(step);
    if past == 0 { earliest } else { earliest.shifted(step - past) }
}
