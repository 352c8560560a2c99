//! Listings on their way to the collector, and what it has of them.

use std::collections::BTreeMap;

use bailey_rules::fact::bounded;
use bailey_rules::listing::{ListingDigest, ListingSource, MAX_LISTING};
use bytes::BytesMut;

use super::bounds::{ConvertError, Problem, list, octets, text};
use crate::listing::PackedListing;
use crate::v1;

/// The most octets of one part: short, so that a report behind it need not wait long on a slow line.
pub const MAX_LISTING_PART: usize = 64 * 1024;
/// The most parts of one listing.
pub const MAX_LISTING_PARTS: usize = MAX_LISTING.div_ceil(MAX_LISTING_PART);
/// The most listings that one message names: room for the sources of newer versions.
const MAX_HELD: usize = 64;

/// The number of a source on the wire.
#[must_use]
pub const fn listing_source_to_wire(source: ListingSource) -> v1::ListingSource {
    match source {
        ListingSource::Nftables => v1::ListingSource::Nftables,
        ListingSource::IptablesNft => v1::ListingSource::IptablesNft,
        ListingSource::Ip6tablesNft => v1::ListingSource::Ip6tablesNft,
        ListingSource::IptablesLegacy => v1::ListingSource::IptablesLegacy,
        ListingSource::Ip6tablesLegacy => v1::ListingSource::Ip6tablesLegacy,
    }
}

/// The source behind a number.
///
/// # Errors
/// [`Problem::Missing`] when it names none, [`Problem::Newer`] when this version does not know it.
pub fn listing_source_from_wire(number: i32) -> Result<ListingSource, ConvertError> {
    match v1::ListingSource::try_from(number) {
        Ok(v1::ListingSource::Unspecified) => Err(ConvertError::new("source", Problem::Missing)),
        Ok(v1::ListingSource::Nftables) => Ok(ListingSource::Nftables),
        Ok(v1::ListingSource::IptablesNft) => Ok(ListingSource::IptablesNft),
        Ok(v1::ListingSource::Ip6tablesNft) => Ok(ListingSource::Ip6tablesNft),
        Ok(v1::ListingSource::IptablesLegacy) => Ok(ListingSource::IptablesLegacy),
        Ok(v1::ListingSource::Ip6tablesLegacy) => Ok(ListingSource::Ip6tablesLegacy),
        Err(_) => Err(ConvertError::new("source", Problem::Newer(number))),
    }
}

/// The parts of a listing.
pub fn listing_parts(
    listing: &PackedListing,
) -> impl ExactSizeIterator<Item = v1::ListingPart> + use<> {
    let listing = listing.clone();
    let number = |value: usize| u32::try_from(value).expect("a listing has few parts");
    let length = listing.octets.len();
    let count = length.div_ceil(MAX_LISTING_PART).max(1);
    (0..count).map(move |nth| v1::ListingPart {
        source: listing_source_to_wire(listing.source).into(),
        digest: listing.digest.0.to_vec(),
        ruleset: bounded(&listing.ruleset),
        length: listing.length,
        text_digest: listing.text_digest.to_vec(),
        part: number(nth),
        parts: number(count),
        octets: listing
            .octets
            .slice(nth * MAX_LISTING_PART..length.min((nth + 1) * MAX_LISTING_PART)),
    })
}

/// Puts the parts of a listing together, one listing at a time.
#[derive(Debug, Default)]
pub struct ListingGathering(Option<Gathered>);

#[derive(Debug)]
struct Gathered {
    /// What its parts say of the whole; without octets until it is whole.
    whole: PackedListing,
    parts: u32,
    /// The part that must come next.
    next: u32,
    octets: BytesMut,
}

impl ListingGathering {
    /// Whether nothing is gathered.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Forgets what was gathered.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Takes the next part. Gives the listing once it is whole. The first part of a listing takes the
    /// place of one that is not whole. What is gathered has at most [`MAX_LISTING`] octets.
    ///
    /// # Errors
    /// When the part is not the next one or out of its bounds; what was gathered is gone then.
    pub fn take(&mut self, wire: v1::ListingPart) -> Result<Option<PackedListing>, ConvertError> {
        let before = self.0.take();
        let out = |field, value: usize, rule| {
            let value = u64::try_from(value).unwrap_or(u64::MAX);
            Err(ConvertError::new(field, Problem::OutOfRange { value, rule }))
        };
        let v1::ListingPart { source, digest, ruleset, length, text_digest, part, parts, octets } =
            wire;
        let whole = PackedListing {
            source: listing_source_from_wire(source)?,
            digest: digest_from("digest", &digest)?,
            ruleset: text("ruleset", ruleset)?,
            length,
            text_digest: self::octets("text_digest", &text_digest, "32")?,
            octets: bytes::Bytes::new(),
        };
        if length as usize > MAX_LISTING {
            return out("length", length as usize, "a listing has at most 16 MiB");
        }
        if parts == 0 || parts as usize > MAX_LISTING_PARTS {
            return out("parts", parts as usize, "a listing has 1 to 256 parts");
        }
        let last = part.checked_add(1) == Some(parts);
        if octets.is_empty()
            || octets.len() > MAX_LISTING_PART
            || (!last && octets.len() != MAX_LISTING_PART)
        {
            return out("octets", octets.len(), "a part has 64 KiB, the last one at most");
        }
        let mut gathered = match before {
            _ if part == 0 => Gathered { whole, parts, next: 0, octets: BytesMut::new() },
            Some(gathered) if gathered.whole == whole && gathered.parts == parts => gathered,
            Some(_) | None => return out("part", part as usize, "its listing has not begun"),
        };
        if part != gathered.next {
            return out("part", part as usize, "parts come in their order");
        }
        gathered.next += 1;
        gathered.octets.extend_from_slice(&octets);
        if last {
            let octets = gathered.octets.freeze();
            return Ok(Some(PackedListing { octets, ..gathered.whole }));
        }
        self.0 = Some(gathered);
        Ok(None)
    }
}

fn digest_from(field: &str, wire: &[u8]) -> Result<ListingDigest, ConvertError> {
    octets(field, wire, "32").map(ListingDigest)
}

/// The message that says that there is no listing of `source`. `why` is empty where there is no such
/// packet filter.
#[must_use]
pub fn no_listing_to_wire(source: ListingSource, why: &str) -> v1::NoListing {
    v1::NoListing { source: listing_source_to_wire(source).into(), why: bounded(why) }
}

/// Understands that there is no listing: of which source, and why.
///
/// # Errors
/// When the source is missing or not known, or the reason is beyond its bound.
pub fn no_listing_from_wire(wire: v1::NoListing) -> Result<(ListingSource, String), ConvertError> {
    Ok((listing_source_from_wire(wire.source)?, text("why", wire.why)?))
}

/// The message that says which listings are held.
pub fn listings_held_to_wire(
    held: impl IntoIterator<Item = (ListingSource, ListingDigest)>,
) -> v1::ListingsHeld {
    let held = held.into_iter().map(|(source, digest)| v1::HeldListing {
        source: listing_source_to_wire(source).into(),
        digest: digest.0.to_vec(),
    });
    v1::ListingsHeld { listings: held.collect() }
}

/// Understands which listings are held. Sources that this version does not know are left out.
///
/// # Errors
/// When there are too many, or a digest does not have 32 octets.
pub fn listings_held_from_wire(
    wire: v1::ListingsHeld,
) -> Result<BTreeMap<ListingSource, ListingDigest>, ConvertError> {
    let held = list("listings", wire.listings, MAX_HELD, |held| {
        let digest = digest_from("digest", &held.digest)?;
        match listing_source_from_wire(held.source) {
            Ok(source) => Ok(Some((source, digest))),
            Err(ConvertError { problem: Problem::Newer(_), .. }) => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    Ok(held.into_iter().flatten().collect())
}
