//! The digest of a set of facts: equal on both sides means that nothing was lost in between.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::fact::FactKey;

/// A digest that can be kept up to date fact by fact: the sum, modulo 2¹²⁸, of a truncated
/// SHA-256 of every fact. It guards against loss, not against the agent, who is the only author.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FactDigest(u128);

impl FactDigest {
    /// The digest of no facts.
    pub const EMPTY: Self = Self(0);

    /// Takes the 16 octets of the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The 16 octets of the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The share of one fact: its key and its encoding on the wire.
    #[must_use]
    pub fn share(key: &FactKey, encoded: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(key.kind.as_str().as_bytes());
        hash.update([0]);
        hash.update(key.subject.as_bytes());
        hash.update([0]);
        hash.update(encoded);
        let full = hash.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        Self(u128::from_be_bytes(short))
    }

    /// Adds a fact's share.
    pub fn add(&mut self, share: Self) {
        self.0 = self.0.wrapping_add(share.0);
    }

    /// Takes a fact's share away.
    pub fn remove(&mut self, share: Self) {
        self.0 = self.0.wrapping_sub(share.0);
    }
}

impl fmt::Display for FactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for FactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FactDigest({self})")
    }
}

impl serde::Serialize for FactDigest {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}
