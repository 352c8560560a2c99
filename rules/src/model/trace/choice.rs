//! What is tried where something is not known.

use super::{MAX_ASKED, MAX_REASONS, MAX_WAYS};

/// The decisions of one way, in the order in which they were asked. The next way differs from the
/// last in its last decision that can still be another, as one counts.
#[derive(Debug, Default)]
pub(super) struct Choices {
    /// What was taken, of how many.
    made: Vec<(usize, usize)>,
    next: usize,
    ways: usize,
    asked: usize,
    reasons: Vec<String>,
}

impl Choices {
    /// One of so many, which are at least one.
    pub(super) fn choose(&mut self, of: usize, why: impl FnOnce() -> String) -> usize {
        if of <= 1 {
            return 0;
        }
        if self.next == self.made.len() {
            self.made.push((0, of));
            if self.reasons.len() < MAX_REASONS {
                let why = why();
                if !self.reasons.contains(&why) {
                    self.reasons.push(why);
                }
            }
        }
        let taken = self.made[self.next].0;
        self.next += 1;
        taken
    }

    /// Counts a rule that is asked.
    pub(super) const fn ask(&mut self) {
        self.asked += 1;
    }

    /// Whether nothing had to be chosen.
    pub(super) const fn is_decided(&self) -> bool {
        self.made.is_empty() && !self.is_exhausted()
    }

    /// Whether too much was tried already.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.ways > MAX_WAYS || self.asked > MAX_ASKED
    }

    /// Goes to the next way; `false` when there is none.
    pub(super) fn advance(&mut self) -> bool {
        self.next = 0;
        self.ways += 1;
        while let Some((taken, of)) = self.made.pop() {
            if taken + 1 < of {
                self.made.push((taken + 1, of));
                return true;
            }
        }
        false
    }

    pub(super) fn into_reasons(self) -> Vec<String> {
        self.reasons
    }
}
