//! A listing as it travels and as it lies in the collector's store: packed.
//!
//! Two digests are with it. One, made by the agent of the listing without counters, tells whether
//! anything has changed and is only compared. The other is of the text itself and shows that it came
//! whole.

use bailey_rules::listing::{ListingDigest, ListingSource, MAX_LISTING};
use bytes::Bytes;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use sha2::{Digest as _, Sha256};

/// How hard to pack, of 1 to 10: a ruleset then has a tenth of its size, at a few milliseconds a
/// megabyte.
const LEVEL: u8 = 6;

/// A listing, packed (RFC 1951).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedListing {
    /// Which program printed it.
    pub source: ListingSource,
    /// What tells it from every other listing of this source.
    pub digest: ListingDigest,
    /// The digest of the ruleset that it lists.
    pub ruleset: String,
    /// Octets of the text; at most [`MAX_LISTING`].
    pub length: u32,
    /// SHA-256 of the text.
    pub text_digest: [u8; 32],
    /// The text, packed.
    pub octets: Bytes,
}

/// A text that is too long to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the listing has {octets} octets; at most {MAX_LISTING} are sent")]
pub struct TooLong {
    /// Its length.
    pub octets: usize,
}

/// What was packed is not what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// The octets are no packed text of this length.
    #[error("the octets are no packed text of the length named")]
    Malformed,
    /// The text is another one than the digest says.
    #[error("the digest of the text does not fit")]
    Digest,
    /// It is no UTF-8.
    #[error("the text is no UTF-8")]
    NoText,
}

impl PackedListing {
    /// Packs a text.
    ///
    /// # Errors
    /// When it is longer than [`MAX_LISTING`].
    pub fn pack(
        source: ListingSource,
        digest: ListingDigest,
        ruleset: &str,
        text: &str,
    ) -> Result<Self, TooLong> {
        let too_long = TooLong { octets: text.len() };
        if text.len() > MAX_LISTING {
            return Err(too_long);
        }
        let octets = compress_to_vec(text.as_bytes(), LEVEL);
        // Only what is no listing at all does not get shorter.
        if octets.len() > MAX_LISTING {
            return Err(too_long);
        }
        Ok(Self {
            source,
            digest,
            ruleset: ruleset.to_owned(),
            length: u32::try_from(text.len()).map_err(|_| too_long)?,
            text_digest: Sha256::digest(text).into(),
            octets: octets.into(),
        })
    }

    /// The text. Takes no more memory than the length says, whatever the octets are.
    ///
    /// # Errors
    /// When the octets give another length, another digest or no text.
    pub fn unpack(&self) -> Result<String, UnpackError> {
        let length = self.length as usize;
        if length > MAX_LISTING {
            return Err(UnpackError::Malformed);
        }
        let text = decompress_to_vec_with_limit(&self.octets, length)
            .map_err(|_| UnpackError::Malformed)?;
        if text.len() != length {
            return Err(UnpackError::Malformed);
        }
        if <[u8; 32]>::from(Sha256::digest(&text)) != self.text_digest {
            return Err(UnpackError::Digest);
        }
        String::from_utf8(text).map_err(|_| UnpackError::NoText)
    }
}
