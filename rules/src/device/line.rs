//! How much of a line is used, as lines are paid for: the 95th percentile of a month.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::interface::Growth;
use crate::time::Timestamp;

/// How long one sample of a line is: the operators' custom.
pub const SAMPLE: Duration = Duration::from_mins(5);

/// The most samples that are kept: 30 days. The oldest go first.
pub const MAX_SAMPLES: usize = 30 * 24 * 12;

/// The use of one line within the last 30 days, as far as it was counted, in samples of [`SAMPLE`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Month {
    /// Octets a second in each direction. Shared with every copy: views are copied for each poll.
    samples: Arc<VecDeque<(u64, u64)>>,
    /// When the sample that is being counted began.
    began: Option<Timestamp>,
    received: u64,
    sent: u64,
    counted: Duration,
}

impl Month {
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
            let samples = Arc::make_mut(&mut self.samples);
            if samples.len() >= MAX_SAMPLES {
                samples.pop_front();
            }
            let rate = |octets: u64| {
                let rate = u128::from(octets) * 1000 / self.counted.as_millis().max(1);
                u64::try_from(rate).unwrap_or(u64::MAX)
            };
            samples.push_back((rate(self.received), rate(self.sent)));
        }
        self.began = Some(at);
        (self.received, self.sent, self.counted) = (0, 0, Duration::ZERO);
    }

    /// How many samples there are.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// The 95th percentile of the busier direction, in octets a second: 36 hours of 30 days may lie
    /// above it. `None` without a sample.
    #[must_use]
    pub fn percentile_95(&self) -> Option<u64> {
        let of =
            |one: fn(&(u64, u64)) -> u64| percentile_95(self.samples.iter().map(one).collect());
        of(|sample| sample.0).max(of(|sample| sample.1))
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
        assert_eq!((month.samples(), month.percentile_95()), (2, Some(600)));
        for sample in 0..u32::try_from(MAX_SAMPLES).unwrap() + 9 {
            let at = NOW + minute * 10 + SAMPLE * (sample + 1);
            month.add(at, SAMPLE, &growth(9_000 * 300));
        }
        assert_eq!((month.samples(), month.percentile_95()), (MAX_SAMPLES, Some(9_000)));
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
}
