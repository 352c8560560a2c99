//! Somebody else changed our table: what of it is told, and when the table is put back.

use std::time::Duration;

pub use bailey_rules::fact::enforcement::DriftEnded;
use bailey_rules::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::listing::Difference;

/// The rest after putting the table back for the first time.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest rest, against a program that changes it again and again.
const MAX_REST: Duration = Duration::from_mins(5);
/// After so much peace the first rest holds again.
const PEACE: Duration = Duration::from_mins(10);

/// Somebody else's change of our table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// When it was seen, in milliseconds since 1970.
    pub since_millis: i64,
    /// The process that changed rules last, such as `nft (pid 4711)`, where the kernel told it.
    pub by: Option<String>,
    /// Lines that have come, each with its place: `chain input: tcp dport 23 accept`.
    pub added: Vec<String>,
    /// Lines that have gone.
    pub removed: Vec<String>,
    /// How many lines more.
    pub more: usize,
    /// How and when it ended; `None`: it lasts.
    pub ended: Option<DriftEnd>,
}

/// How a drift ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftEnd {
    /// When, in milliseconds since 1970.
    pub at_millis: i64,
    /// How.
    pub how: DriftEnded,
}

/// Remembers the drift and decides when to put the table back. `up` is any clock that only goes on.
#[derive(Debug, Default)]
pub struct Watchman {
    drift: Option<Drift>,
    restored: u64,
    rest: Duration,
    last_restore: Option<Duration>,
}

impl Watchman {
    /// The drift that lasts, or the last one that ended.
    #[must_use]
    pub fn drift(&self) -> Option<&Drift> {
        self.drift.as_ref()
    }

    /// How often the table was put back.
    #[must_use]
    pub const fn restored(&self) -> u64 {
        self.restored
    }

    fn lasts(&self) -> bool {
        self.drift.as_ref().is_some_and(|drift| drift.ended.is_none())
    }

    /// The table was read: what of it differs, and who changed rules last.
    /// Tells whether that is news.
    pub fn seen(&mut self, difference: Difference, by: Option<String>, now: Timestamp) -> bool {
        if difference.is_empty() {
            return self.end(DriftEnded::Undone, now);
        }
        let Difference { added, removed, more } = difference;
        match &mut self.drift {
            Some(drift) if drift.ended.is_none() => {
                let news = (&drift.added, &drift.removed, drift.more) != (&added, &removed, more);
                if news {
                    drift.by = by.or(drift.by.take());
                }
                (drift.added, drift.removed, drift.more) = (added, removed, more);
                news
            }
            Some(_) | None => {
                let since_millis = now.as_millis();
                self.drift = Some(Drift { since_millis, by, added, removed, more, ended: None });
                true
            }
        }
    }

    /// The table is as it should be. Tells whether it was not before.
    pub fn end(&mut self, how: DriftEnded, now: Timestamp) -> bool {
        let Some(drift) = self.drift.as_mut().filter(|drift| drift.ended.is_none()) else {
            return false;
        };
        drift.ended = Some(DriftEnd { at_millis: now.as_millis(), how });
        true
    }

    /// How long until the table is to be put back; `None` when it is as it should be.
    #[must_use]
    pub fn restore_in(&self, up: Duration) -> Option<Duration> {
        let allowed = self.last_restore.map_or(Duration::ZERO, |last| last + self.rest);
        self.lasts().then(|| allowed.saturating_sub(up))
    }

    /// The table is about to be put back. Every time soon after another one makes the rest longer.
    pub fn restoring(&mut self, up: Duration) {
        let peace = self.last_restore.is_none_or(|last| up.saturating_sub(last) > PEACE);
        self.rest = if peace { FIRST_REST } else { (self.rest * 2).min(MAX_REST) };
        self.last_restore = Some(up);
    }

    /// The table was put back.
    pub fn was_restored(&mut self, now: Timestamp) {
        self.restored += 1;
        self.end(DriftEnded::Restored, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_line() -> Difference {
        let added = vec!["chain input: tcp dport 23 accept".to_owned()];
        Difference { added, ..Difference::default() }
    }

    #[test]
    fn a_fighting_manager_is_answered_ever_more_slowly() {
        let mut watchman = Watchman::default();
        let mut up = Duration::from_secs(100);
        let mut rests = Vec::new();
        for _ in 0..12 {
            watchman.seen(one_line(), None, Timestamp::EPOCH);
            let rest = watchman.restore_in(up).unwrap();
            rests.push(rest.as_secs());
            up += rest;
            watchman.restoring(up);
            watchman.was_restored(Timestamp::EPOCH);
            assert_eq!(watchman.restore_in(up), None);
        }
        assert_eq!(rests, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(watchman.restored(), 12);
        // After a time of peace it is answered at once.
        up += PEACE + FIRST_REST;
        watchman.seen(one_line(), None, Timestamp::EPOCH);
        assert_eq!(watchman.restore_in(up), Some(Duration::ZERO));
        watchman.restoring(up);
        assert_eq!(watchman.restore_in(up), Some(FIRST_REST));
    }

    #[test]
    fn a_drift_keeps_its_beginning_and_tells_its_end() {
        let mut watchman = Watchman::default();
        let at = Timestamp::from_seconds;
        assert!(watchman.seen(one_line(), Some("nft (pid 7)".into()), at(5)));
        assert!(!watchman.seen(one_line(), Some("iptables (pid 8)".into()), at(6)));
        let drift = watchman.drift().unwrap();
        assert_eq!((drift.since_millis, drift.by.as_deref()), (5_000, Some("nft (pid 7)")));
        assert!(watchman.seen(Difference::default(), None, at(7)));
        let end = DriftEnd { at_millis: 7_000, how: DriftEnded::Undone };
        assert_eq!(watchman.drift().unwrap().ended, Some(end));
        assert!(!watchman.seen(Difference::default(), None, at(8)));
    }
}
