//! The order of a host's reports: what is new, what came before, what is missing, and who else
//! counts under the same identity.
//!
//! Reports are numbered from 1 on without holes in a numbering that is named by its [`BootId`]. A new
//! numbering supersedes the one before for good, so a report that goes on in a superseded one comes
//! from a second machine with the same key.

use bailey_rules::name::BootId;
use bailey_rules::report::{Gap, LossReason, Place};

/// The most numberings of a host that are remembered. A numbering beyond that counts as new when it
/// comes back, with everything before its first report missing.
pub(crate) const MAX_NUMBERINGS: usize = 16;

/// What a report is in the order of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new.
    Next {
        /// What is missing before it.
        hole: Option<Gap>,
        /// It goes on in a numbering that another one has superseded: two machines, one identity.
        twin: bool,
    },
    /// It was taken before.
    Duplicate,
}

/// The numberings of a host with the last number taken of each, the current one last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Numbering(Vec<(BootId, u64)>);

impl Numbering {
    /// The numberings as they were saved, the current one last.
    pub(crate) fn restore(saved: impl IntoIterator<Item = (BootId, u64)>) -> Self {
        let mut all: Vec<_> = saved.into_iter().collect();
        let from = all.len().saturating_sub(MAX_NUMBERINGS);
        all.drain(..from);
        Self(all)
    }

    /// Every numbering with its last number, the current one last.
    pub(crate) fn each(&self) -> impl Iterator<Item = (BootId, u64)> {
        self.0.iter().copied()
    }

    /// The last place taken in the current numbering.
    pub(crate) fn current(&self) -> Option<Place> {
        self.0.last().filter(|(_, last)| *last > 0).map(|&(boot, seq)| Place { boot, seq })
    }

    /// The last place taken in one numbering.
    pub(crate) fn last_of(&self, boot: BootId) -> Option<Place> {
        let (_, seq) = *self.0.iter().find(|(known, last)| *known == boot && *last > 0)?;
        Some(Place { boot, seq })
    }

    /// Takes the report at `place`.
    pub(crate) fn admit(&mut self, place: Place) -> Admission {
        let at = self.0.iter().position(|(boot, _)| *boot == place.boot);
        let last = at.map_or(0, |at| self.0[at].1);
        if place.seq <= last {
            return Admission::Duplicate;
        }
        let twin = at.is_some_and(|at| at + 1 < self.0.len());
        let hole = (place.seq > last + 1).then(|| Gap {
            boot: place.boot,
            from: last + 1,
            to: place.seq - 1,
            reason: LossReason::Undeclared,
        });
        self.make_current(place.boot, at);
        if let Some((_, last)) = self.0.last_mut() {
            *last = place.seq;
        }
        Admission::Next { hole, twin }
    }

    /// Takes a declared loss: what of it is not known yet, and what is missing before it.
    ///
    /// A loss in a superseded numbering is no twin's: a damaged spool is told of late.
    pub(crate) fn lose(&mut self, loss: &Gap) -> Vec<Gap> {
        let at = self.0.iter().position(|(boot, _)| *boot == loss.boot);
        let last = at.map_or(0, |at| self.0[at].1);
        if loss.to <= last {
            return Vec::new();
        }
        let hole = (loss.from > last + 1).then(|| Gap {
            from: last + 1,
            to: loss.from - 1,
            reason: LossReason::Undeclared,
            ..loss.clone()
        });
        let told = Gap { from: loss.from.max(last + 1), ..loss.clone() };
        match at {
            Some(at) => self.0[at].1 = loss.to,
            None => {
                self.make_current(loss.boot, None);
                if let Some((_, last)) = self.0.last_mut() {
                    *last = loss.to;
                }
            }
        }
        hole.into_iter().chain([told]).collect()
    }

    fn make_current(&mut self, boot: BootId, at: Option<usize>) {
        match at {
            Some(at) => self.0[at..].rotate_left(1),
            None => {
                if self.0.len() >= MAX_NUMBERINGS {
                    self.0.remove(0);
                }
                self.0.push((boot, 0));
            }
        }
        debug_assert!(self.0.last().is_some_and(|(last, _)| *last == boot));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: BootId = BootId::from_bytes([1; 16]);
    const B: BootId = BootId::from_bytes([2; 16]);

    fn at(boot: BootId, seq: u64) -> Place {
        Place { boot, seq }
    }

    fn gap(boot: BootId, from: u64, to: u64, reason: LossReason) -> Gap {
        Gap { boot, from, to, reason }
    }

    const NEXT: Admission = Admission::Next { hole: None, twin: false };

    #[test]
    fn reports_in_order_are_taken_once() {
        let mut order = Numbering::default();
        assert_eq!(order.admit(at(A, 1)), NEXT);
        assert_eq!(order.admit(at(A, 2)), NEXT);
        assert_eq!(order.admit(at(A, 2)), Admission::Duplicate);
        assert_eq!(order.admit(at(A, 1)), Admission::Duplicate);
        assert_eq!(order.current(), Some(at(A, 2)));
    }

    #[test]
    fn a_hole_is_a_gap_that_nobody_declared() {
        let mut order = Numbering::default();
        order.admit(at(A, 1));
        let hole = Some(gap(A, 2, 4, LossReason::Undeclared));
        assert_eq!(order.admit(at(A, 5)), Admission::Next { hole, twin: false });
    }

    #[test]
    fn a_new_numbering_begins_at_one() {
        let mut order = Numbering::default();
        order.admit(at(A, 9));
        assert_eq!(order.admit(at(B, 1)), NEXT);
        let mut order = Numbering::default();
        let hole = Some(gap(B, 1, 2, LossReason::Undeclared));
        assert_eq!(order.admit(at(B, 3)), Admission::Next { hole, twin: false });
    }

    #[test]
    fn a_superseded_numbering_that_goes_on_is_a_twin_and_one_that_repeats_is_not() {
        let mut order = Numbering::default();
        order.admit(at(A, 1));
        order.admit(at(B, 1));
        assert_eq!(order.admit(at(A, 1)), Admission::Duplicate);
        assert_eq!(order.admit(at(A, 2)), Admission::Next { hole: None, twin: true });
        assert_eq!(order.admit(at(B, 2)), Admission::Next { hole: None, twin: true });
        assert_eq!(order.last_of(A), Some(at(A, 2)));
    }

    #[test]
    fn a_declared_loss_counts_once_and_what_follows_it_is_no_hole() {
        let mut order = Numbering::default();
        order.admit(at(A, 1));
        let loss = gap(A, 2, 5, LossReason::SpoolFull);
        assert_eq!(order.lose(&loss), std::slice::from_ref(&loss));
        assert_eq!(order.lose(&loss), []);
        assert_eq!(order.admit(at(A, 6)), NEXT);
    }

    #[test]
    fn a_loss_that_overlaps_what_is_held_counts_only_what_is_new() {
        let mut order = Numbering::default();
        order.admit(at(A, 1));
        order.admit(at(A, 2));
        let told = gap(A, 3, 5, LossReason::SpoolDamaged);
        assert_eq!(order.lose(&gap(A, 1, 5, LossReason::SpoolDamaged)), [told]);
    }

    #[test]
    fn a_loss_after_a_hole_gives_both() {
        let mut order = Numbering::default();
        order.admit(at(A, 1));
        let lost = order.lose(&gap(A, 4, 5, LossReason::SpoolExpired));
        let hole = gap(A, 2, 3, LossReason::Undeclared);
        assert_eq!(lost, [hole, gap(A, 4, 5, LossReason::SpoolExpired)]);
    }

    #[test]
    fn a_loss_told_late_makes_no_twin() {
        let mut order = Numbering::default();
        order.admit(at(A, 1));
        order.admit(at(B, 1));
        assert_eq!(order.lose(&gap(A, 2, 3, LossReason::SpoolDamaged)).len(), 1);
        assert_eq!(order.admit(at(B, 2)), NEXT);
    }

    #[test]
    fn numberings_beyond_the_bound_are_forgotten() {
        let mut order = Numbering::default();
        for boot in 0..=u8::try_from(MAX_NUMBERINGS).unwrap() {
            order.admit(at(BootId::from_bytes([boot; 16]), 1));
        }
        assert_eq!(order.each().count(), MAX_NUMBERINGS);
        assert_eq!(order.last_of(BootId::from_bytes([0; 16])), None);
    }

    proptest! {
        /// Whatever comes, every number up to the last is taken or in exactly one gap.
        #[test]
        fn everything_up_to_the_last_is_taken_or_missing(
            seqs in proptest::collection::vec((1_u64..40, 0_u64..4, any::<bool>()), 0..60)
        ) {
            let mut order = Numbering::default();
            let mut taken = std::collections::BTreeSet::new();
            let mut missing = std::collections::BTreeSet::new();
            for (seq, more, is_loss) in seqs {
                let gaps = if is_loss {
                    order.lose(&gap(A, seq, seq + more, LossReason::SpoolFull))
                } else {
                    match order.admit(at(A, seq)) {
                        Admission::Next { hole, .. } => {
                            prop_assert!(taken.insert(seq));
                            hole.into_iter().collect()
                        }
                        Admission::Duplicate => Vec::new(),
                    }
                };
                for seq in gaps.iter().flat_map(|gap| gap.from..=gap.to) {
                    prop_assert!(missing.insert(seq), "{} is missing twice", seq);
                }
            }
            let last = order.last_of(A).map_or(0, |place| place.seq);
            for seq in 1..=last {
                prop_assert!(taken.contains(&seq) != missing.contains(&seq), "{}", seq);
            }
        }
    }
}
