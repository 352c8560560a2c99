//! What changes when one policy takes the place of another: connections that hosts may open, not
//! lines of a file.

mod host;

use crate::policy::{Addresses, Origin, Permit, Policy, Service};

pub use host::{Change, HostPlan, KnownHost, LockOut, Outlook};

/// The most pieces that what is left of one permit may fall into. Beyond it the permit is shown
/// whole, which says too much and never too little.
pub const MAX_PIECES: usize = 256;

/// Connections that one policy lets be opened and another does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The permit of the one policy that lets them.
    pub origin: Origin,
    /// Its line.
    pub line: u64,
    /// Who opens.
    pub from: Addresses,
    /// To whom.
    pub to: Addresses,
    /// What.
    pub service: Service,
}

impl Piece {
    fn of(permit: &Permit) -> Self {
        Self {
            origin: permit.origin.clone(),
            line: permit.line,
            from: (*permit.from).clone(),
            to: (*permit.to).clone(),
            service: permit.service.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        self.from.is_empty() || self.to.is_empty() || self.service.is_empty()
    }

    /// What is left without the connections of `other`: nothing, itself, or up to three pieces.
    fn without(self, other: &Permit) -> Vec<Self> {
        let (from, to) = (self.from.common(&other.from), self.to.common(&other.to));
        let service = self.service.common(&other.service);
        if from.is_empty() || to.is_empty() || service.is_empty() {
            return vec![self];
        }
        let piece = |from: &Addresses, to: &Addresses, service: &Service| Self {
            origin: self.origin.clone(),
            line: self.line,
            from: from.clone(),
            to: to.clone(),
            service: service.clone(),
        };
        [
            piece(&self.from.without(&from), &self.to, &self.service),
            piece(&from, &self.to.without(&to), &self.service),
            piece(&from, &to, &self.service.without(&service)),
        ]
        .into_iter()
        .filter(|piece| !piece.is_empty())
        .collect()
    }
}

/// What changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Connections that may be opened and could not before, in the order of the new policy.
    pub added: Vec<Piece>,
    /// Connections that can no more be opened, in the order of the old policy.
    pub removed: Vec<Piece>,
}

/// What changes when `new` takes the place of `old`.
#[must_use]
pub fn changes(old: &Policy, new: &Policy) -> Changes {
    let (old, new) = (old.permits(), new.permits());
    Changes { added: beyond(&new, &old), removed: beyond(&old, &new) }
}

impl Changes {
    /// The part that has one of these addresses at one of its ends.
    #[must_use]
    pub fn of(&self, host: &Addresses) -> Self {
        let part = |pieces: &[Piece]| -> Vec<Piece> {
            pieces
                .iter()
                .flat_map(|piece| {
                    let from = Piece { from: piece.from.common(host), ..piece.clone() };
                    let to = Piece { to: piece.to.common(host), ..piece.clone() };
                    // Between hosts of which none is told apart both are the same.
                    let other = (to != from).then_some(to);
                    [Some(from), other].into_iter().flatten()
                })
                .filter(|piece| !piece.is_empty())
                .collect()
        };
        Self { added: part(&self.added), removed: part(&self.removed) }
    }

    /// Whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// What `one` lets through and `another` does not.
fn beyond(one: &[Permit], another: &[Permit]) -> Vec<Piece> {
    one.iter()
        .flat_map(|permit| {
            let mut left = vec![Piece::of(permit)];
            for other in another {
                left = left.into_iter().flat_map(|piece| piece.without(other)).collect();
                if left.len() > MAX_PIECES {
                    return vec![Piece::of(permit)];
                }
            }
            left
        })
        .filter(|piece| !piece.is_empty())
        .collect()
}
