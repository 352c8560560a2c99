//! How much of a line is used, as lines are paid for: the 95th percentile of a month.

use std::time::Duration;

use super::interface::{Growth, Rate};
use super::samples::{SAMPLE, Samples, Timed};
use crate::time::Timestamp;

/// The most lines of one device whose samples are kept.
pub const MAX_LINES: usize = 64;

/// What a line carried within one [`SAMPLE`], in octets a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// When the sample ended.
    pub at: Timestamp,
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

impl Timed for Carried {
    fn at(&self) -> Timestamp {
        self.at
    }
}

/// The use of one line within the last 30 days, as far as it was counted, in samples of [`SAMPLE`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Month {
    samples: Samples<Carried>,
    /// When the sample that is being counted began.
    began: Option<Timestamp>,
    received: u64,
    sent: u64,
    counted: Duration,
}

impl Month {
    /// What was kept of a month, by time, for instance over a restart.
    #[must_use]
    pub fn of(samples: impl IntoIterator<Item = Carried>) -> Self {
        Self { samples: samples.into_iter().collect(), ..Self::default() }
    }

    /// Adds what passed within `elapsed` before `at`. A sample of which less than half was counted says
    /// nothing of the line, and is left out.
    pub fn add(&mut self, at: Timestamp, elapsed: Duration, growth: &Growth) {
        let began = *self.began.get_or_insert(at - elapsed);
        self.received = self.received.saturating_add(growth.in_octets.unwrap_or(0));
        self.sent = self.sent.saturating_add(growth.out_octets.unwrap_or(0));
        if growth.in_octets.is_some() || growth.out_octets.is_some() {
            self.counted = self.counted.saturating_add(elapsed);
        }
        if began.age(at) < SAMPLE && began <= at {
            return;
        }
        if self.counted >= SAMPLE / 2 {
            let rate = |octets: u64| {
                let rate = u128::from(octets) * 1000 / self.counted.as_millis().max(1);
                u64::try_from(rate).unwrap_or(u64::MAX)
            };
            let sample = Carried { at, received: rate(self.received), sent: rate(self.sent) };
            self.samples.add(sample);
        }
        self.began = Some(at);
        (self.received, self.sent, self.counted) = (0, 0, Duration::ZERO);
    }

    /// What is kept of it.
    #[must_use]
    pub const fn samples(&self) -> &Samples<Carried> {
        &self.samples
    }

    /// The 95th percentile of each direction, in octets a second: 36 hours of 30 days may lie above it.
    /// Neither without a sample.
    #[must_use]
    pub fn percentiles_95(&self) -> Rate {
        let of =
            |one: fn(Carried) -> u64| percentile_95(self.samples.since(None).map(one).collect());
        Rate { received: of(|sample| sample.received), sent: of(|sample| sample.sent) }
    }

    /// The 95th percentile of the busier direction, by which lines are paid for.
    #[must_use]
    pub fn percentile_95(&self) -> Option<u64> {
        self.percentiles_95().busier()
    }
}

/// The smallest of the samples that at least 95 of 100 do not exceed (nearest rank).
#[must_use]
pub fn percentile_95(mut samples: Vec<u64>) -> Option<u64> {
    samples.sort_unstable();
    let rank = (samples.len() * 95).div_ceil(100);
    samples.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{MAX_SAMPLES, MONTH};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_415_520_000);

    fn growth(received: u64) -> Growth {
        Growth { in_octets: Some(received), out_octets: Some(received / 2), ..Growth::default() }
    }

    #[test]
    fn five_of_a_hundred_samples_may_be_higher() {
        let mut samples: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile_95(samples.clone()), Some(95));
        samples[99] = u64::MAX;
        assert_eq!(percentile_95(samples), Some(95));
        assert_eq!(percentile_95(vec![7]), Some(7));
        assert_eq!(percentile_95(Vec::new()), None);
    }

    #[test]
    fn polls_are_gathered_into_samples_and_a_month_has_an_end() {
        let mut month = Month::default();
        let minute = Duration::from_mins(1);
        for poll in 1..=10 {
            month.add(NOW + minute * poll, minute, &growth(600 * 60));
        }
        assert_eq!((month.samples().len(), month.percentile_95()), (2, Some(600)));
        assert_eq!(month.percentiles_95(), Rate { received: Some(600), sent: Some(300) });
        for sample in 0..u32::try_from(MAX_SAMPLES).unwrap() + 9 {
            let at = NOW + minute * 10 + SAMPLE * (sample + 1);
            month.add(at, SAMPLE, &growth(9_000 * 300));
        }
        assert_eq!((month.samples().len(), month.percentile_95()), (MAX_SAMPLES, Some(9_000)));
    }

    #[test]
    fn what_was_hardly_counted_is_no_sample() {
        let mut month = Month::default();
        let minute = Duration::from_mins(1);
        for poll in 1..=20 {
            let counted = if poll % 5 == 0 { growth(60) } else { Growth::default() };
            month.add(NOW + minute * poll, minute, &counted);
        }
        assert_eq!(month.percentile_95(), None);
    }

    #[test]
    fn a_month_goes_on_after_a_restart_and_forgets_what_is_older() {
        let mut before = Month::default();
        for sample in 1..=3 {
            before.add(NOW + SAMPLE * sample, SAMPLE, &growth(600 * 300));
        }
        let mut month = Month::of(before.samples().since(None));
        assert_eq!((month.samples().len(), month.percentile_95()), (3, Some(600)));
        let (first, newest) = (NOW + SAMPLE, month.samples().newest().unwrap());
        assert_eq!(month.samples().since(Some(first)).count(), 2);
        assert_eq!(month.samples().since(Some(newest)).count(), 0);
        // The collector was off for a while; all but the newest of what it had is too old now.
        month.add(newest + MONTH, SAMPLE, &growth(100 * 300));
        assert_eq!((month.samples().len(), month.percentile_95()), (2, Some(600)));
        // What is stored twice, or out of order, counts once.
        let twice = month.samples().since(None).chain(month.samples().since(None));
        assert_eq!(Month::of(twice).samples().len(), 2);
    }
}
