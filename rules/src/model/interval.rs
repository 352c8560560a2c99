//! Sets of numbers: what a rule says of one field.

use std::cmp::Ordering;

/// The numbers from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    /// The smallest.
    pub first: u128,
    /// The largest; not below `first`.
    pub last: u128,
}

impl Interval {
    /// One number.
    #[must_use]
    pub const fn one(value: u128) -> Self {
        Self { first: value, last: value }
    }

    /// From one number to another; none where the second is smaller.
    #[must_use]
    pub const fn new(first: u128, last: u128) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// Every number of so many bits, at most 128.
    #[must_use]
    pub const fn all(bits: u32) -> Self {
        Self { first: 0, last: ones(bits) }
    }

    /// All numbers of `bits` bits that begin with the first `length` bits of `value`.
    #[must_use]
    pub const fn prefix(value: u128, length: u32, bits: u32) -> Option<Self> {
        if length > bits || bits > 128 {
            return None;
        }
        let free = ones(bits - length);
        let first = value & ones(bits) & !free;
        Some(Self { first, last: first | free })
    }

    /// Whether a number is among them.
    #[must_use]
    pub const fn contains(self, value: u128) -> bool {
        self.first <= value && value <= self.last
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether any of `other` is among them.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The one number, when it is only one.
    #[must_use]
    pub const fn single(self) -> Option<u128> {
        if self.first == self.last { Some(self.first) } else { None }
    }
}

/// The largest number of so many bits.
#[must_use]
pub const fn ones(bits: u32) -> u128 {
    match bits {
        0 => 0,
        1..=127 => (1 << bits) - 1,
        _ => u128::MAX,
    }
}

/// A set of numbers as intervals, in order, with a gap between any two: the same set is always the
/// same intervals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Intervals(Vec<Interval>);

impl Intervals {
    /// No number.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// One number.
    #[must_use]
    pub fn one(value: u128) -> Self {
        Self(vec![Interval::one(value)])
    }

    /// Every number of so many bits.
    #[must_use]
    pub fn all(bits: u32) -> Self {
        Self(vec![Interval::all(bits)])
    }

    /// The intervals in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Interval] {
        &self.0
    }

    /// Whether there is no number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a number is in the set.
    #[must_use]
    pub fn contains(&self, value: u128) -> bool {
        // Most rules name one value or one range.
        match self.0.as_slice() {
            [] => false,
            [one] => one.contains(value),
            many => many
                .binary_search_by(|one| {
                    if one.last < value {
                        Ordering::Less
                    } else if one.first > value {
                        Ordering::Greater
                    } else {
                        Ordering::Equal
                    }
                })
                .is_ok(),
        }
    }

    /// The one number, when it is only one.
    #[must_use]
    pub fn single(&self) -> Option<u128> {
        match self.0.as_slice() {
            [one] => one.single(),
            _ => None,
        }
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            both.extend(Interval::new(a.first.max(b.first), a.last.min(b.last)));
            if a.last < b.last {
                left.next();
            } else {
                right.next();
            }
        }
        Self(both)
    }

    /// What is in one or the other.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }

    /// The numbers of `bits` bits that are not in the set.
    #[must_use]
    pub fn not(&self, bits: u32) -> Self {
        let most = ones(bits);
        let mut rest = Vec::new();
        let mut next = Some(0);
        for one in &self.0 {
            let Some(from) = next.filter(|from| *from <= most) else { break };
            if let Some(before) = one.first.checked_sub(1) {
                rest.extend(Interval::new(from, before.min(most)));
            }
            next = one.last.checked_add(1);
        }
        rest.extend(next.and_then(|from| Interval::new(from, most)));
        Self(rest)
    }

    /// How many numbers there are; of all 2^128 one less than there are.
    #[must_use]
    pub fn count(&self) -> u128 {
        let of = |one: &Interval| (one.last - one.first).saturating_add(1);
        self.0.iter().map(of).fold(0, u128::saturating_add)
    }
}

impl FromIterator<Interval> for Intervals {
    fn from_iter<I: IntoIterator<Item = Interval>>(intervals: I) -> Self {
        let mut all: Vec<Interval> = intervals.into_iter().collect();
        all.sort_unstable();
        all.dedup_by(|next, kept| {
            let joins = kept.last.checked_add(1).is_none_or(|after| next.first <= after);
            if joins {
                kept.last = kept.last.max(next.last);
            }
            joins
        });
        Self(all)
    }
}

impl From<Interval> for Intervals {
    fn from(one: Interval) -> Self {
        Self(vec![one])
    }
}
