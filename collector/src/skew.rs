//! How far a host's clock is from the collector's, from the times at which it sent its messages.
//!
//! A message takes time, and one that waited behind others takes long, so a single one shows too
//! early a clock. The smallest difference of the last minute is the truest (as in RFC 5905, the
//! clock filter). A clock that was set forwards shows at once; one that was set backwards within
//! two [`WINDOW`]s.

use std::time::Duration;

use bailey_rules::time::Timestamp;

/// How long a smallest difference counts before it must be confirmed.
const WINDOW: Duration = Duration::from_secs(30);

/// The estimate of one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Skew {
    window: Option<(Timestamp, i64)>,
    before: Option<i64>,
}

impl Skew {
    /// Notes a message that was sent at `sent_at` by the host's clock and came at `received_at`.
    /// Gives what must be added to the host's times to get the collector's, in milliseconds.
    pub(crate) fn note(&mut self, sent_at: Timestamp, received_at: Timestamp) -> i64 {
        let seen = received_at.as_millis().saturating_sub(sent_at.as_millis());
        let (began, smallest) = match self.window {
            Some((began, smallest)) if began.age(received_at) < WINDOW && began <= received_at => {
                (began, smallest.min(seen))
            }
            Some((_, smallest)) => {
                self.before = Some(smallest);
                (received_at, seen)
            }
            None => (received_at, seen),
        };
        self.window = Some((began, smallest));
        self.before.map_or(smallest, |before| before.min(smallest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(s: i64) -> Timestamp {
        Timestamp::from_seconds(s)
    }

    #[test]
    fn a_message_that_waited_does_not_make_the_clock_late() {
        let mut skew = Skew::default();
        assert_eq!(skew.note(second(100), second(100)), 0);
        assert_eq!(skew.note(second(101), second(110)), 0);
    }

    #[test]
    fn a_clock_that_is_ahead_is_seen_at_once() {
        let mut skew = Skew::default();
        skew.note(second(100), second(100));
        assert_eq!(skew.note(second(3701), second(101)), -3_600_000);
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_after_two_windows() {
        let mut skew = Skew::default();
        skew.note(second(10_000), second(10_000));
        let mut last = 0;
        for passed in (1..=61).step_by(10) {
            last = skew.note(second(6_400 + passed), second(10_000 + passed));
        }
        assert_eq!(last, 3_600_000);
    }

    #[test]
    fn the_collectors_own_clock_may_be_set_back() {
        let mut skew = Skew::default();
        skew.note(second(10_000), second(10_000));
        skew.note(second(10_001), second(5_001));
        assert_eq!(skew.note(second(10_040), second(5_040)), -5_000_000);
    }

    #[test]
    fn times_at_the_ends_of_what_can_be_written_do_no_harm() {
        let mut skew = Skew::default();
        skew.note(Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        skew.note(Timestamp::from_millis(i64::MAX), Timestamp::from_millis(i64::MIN));
    }
}
