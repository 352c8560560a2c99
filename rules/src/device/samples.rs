//! What is kept of a line: samples of the last 30 days.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;

/// How long one sample of a line is: the operators' custom.
pub const SAMPLE: Duration = Duration::from_mins(5);

/// How far back samples are kept.
pub const MONTH: Duration = Duration::from_hours(30 * 24);

/// The most samples that are kept: [`MONTH`] full of them. The oldest go first.
pub const MAX_SAMPLES: usize = 30 * 24 * 12;

/// What has a time.
pub trait Timed: Copy {
    /// When the sample ended.
    fn at(&self) -> Timestamp;
}

/// Samples of the last [`MONTH`] by time. They are shared with every copy: views are copied for each poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples<T>(Arc<VecDeque<T>>);

impl<T> Default for Samples<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Timed> FromIterator<T> for Samples<T> {
    /// What was kept, for instance over a restart. What is stored twice, or out of order, counts once.
    fn from_iter<I: IntoIterator<Item = T>>(samples: I) -> Self {
        let mut kept = Self::default();
        samples.into_iter().for_each(|sample| kept.add(sample));
        kept
    }
}

impl<T: Timed> Samples<T> {
    /// Adds a sample, if it is newer than the others, and lets those go that are too old or too many.
    pub fn add(&mut self, sample: T) {
        if self.newest().is_some_and(|newest| newest >= sample.at()) {
            return;
        }
        let samples = Arc::make_mut(&mut self.0);
        while samples.len() >= MAX_SAMPLES
            || samples.front().is_some_and(|oldest| oldest.at().age(sample.at()) > MONTH)
        {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the newest ended.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.0.back().map(Timed::at)
    }

    /// Those that ended after `at`, by time; all of them for `None`.
    pub fn since(&self, at: Option<Timestamp>) -> impl Iterator<Item = T> {
        let from = at.map_or(0, |at| self.0.partition_point(|sample| sample.at() <= at));
        self.0.range(from..).copied()
    }
}
