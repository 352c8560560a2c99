//! Listings travel packed and in parts, and arrive as they were printed; nothing that is sent instead
//! of one takes more than its bounds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;

use bailey_rules::listing::{ListingDigest, ListingSource, MAX_LISTING};
use bailey_wire::convert::{
    ListingGathering, MAX_LISTING_PART, MAX_LISTING_PARTS, Problem, listing_parts,
    listing_source_from_wire, listing_source_to_wire, listings_held_from_wire,
    listings_held_to_wire, no_listing_from_wire, no_listing_to_wire,
};
use bailey_wire::listing::{PackedListing, UnpackError};
use bailey_wire::{MAX_MESSAGE, v1};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

const SOURCE: ListingSource = ListingSource::Nftables;

fn pack(text: &str) -> PackedListing {
    PackedListing::pack(SOURCE, ListingDigest([3; 32]), "ruleset", text).unwrap()
}

/// Text that hardly gets shorter.
fn noise(octets: usize) -> String {
    let mut state = 7_u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + u8::try_from(state >> 24).unwrap() % 90)
    };
    (0..octets).map(letter).collect()
}

fn gather(
    gathering: &mut ListingGathering,
    parts: impl IntoIterator<Item = v1::ListingPart>,
) -> Option<PackedListing> {
    parts.into_iter().find_map(|part| gathering.take(part).unwrap())
}

/// Parts of a listing that needs four.
fn four() -> Vec<v1::ListingPart> {
    let packed = pack(&noise(4 * MAX_LISTING_PART));
    let parts: Vec<_> = listing_parts(&packed).collect();
    assert_eq!(parts.len(), 4);
    parts
}

#[test]
fn a_listing_of_any_size_arrives_whole_in_parts_that_fit_into_messages() {
    for text in [String::new(), noise(1), noise(5 * MAX_LISTING_PART), "内网".repeat(9)] {
        let packed = pack(&text);
        let parts: Vec<_> = listing_parts(&packed).collect();
        for part in &parts {
            assert!(part.encoded_len() < MAX_MESSAGE / 8, "{}", part.encoded_len());
        }
        let whole = gather(&mut ListingGathering::default(), parts).unwrap();
        assert_eq!(whole, packed);
        assert_eq!(whole.unpack().unwrap(), text);
    }
}

#[test]
fn the_longest_listing_is_taken_and_one_octet_more_is_not() {
    let mut text = "x".repeat(MAX_LISTING);
    let packed = pack(&text);
    assert!(packed.octets.len() < MAX_LISTING / 100, "{}", packed.octets.len());
    assert_eq!(packed.unpack().unwrap().len(), MAX_LISTING);
    text.push('x');
    let refused = PackedListing::pack(SOURCE, packed.digest, "", &text).unwrap_err();
    assert_eq!(refused.octets, MAX_LISTING + 1);
}

#[test]
fn a_bomb_is_not_unpacked_beyond_what_it_says() {
    let bomb = pack(&"x".repeat(MAX_LISTING));
    for length in [0, 10, bomb.length - 1, u32::MAX] {
        assert_eq!(
            PackedListing { length, ..bomb.clone() }.unpack(),
            Err(UnpackError::Malformed),
            "{length}"
        );
    }
}

#[test]
fn what_is_not_what_it_says_is_refused() {
    let good = pack("table inet filter");
    let other = pack("table inet falter");
    for (spoilt, why) in [
        (PackedListing { text_digest: [0; 32], ..good.clone() }, UnpackError::Digest),
        (PackedListing { octets: other.octets, ..good.clone() }, UnpackError::Digest),
        (PackedListing { length: 18, ..good.clone() }, UnpackError::Malformed),
        (PackedListing { octets: Bytes::new(), ..good.clone() }, UnpackError::Malformed),
        (PackedListing { octets: good.octets.slice(1..), ..good }, UnpackError::Malformed),
    ] {
        assert_eq!(spoilt.unpack(), Err(why));
    }
}

#[test]
fn parts_out_of_their_order_or_bounds_are_refused_and_forgotten() {
    type Spoil = fn(&mut v1::ListingPart);
    let spoils: [(&str, Spoil); 10] = [
        ("part", |part| part.part = 2),
        ("part", |part| part.digest = vec![4; 32]),
        ("part", |part| part.ruleset.push('x')),
        ("part", |part| part.length += 1),
        ("parts", |part| part.parts = 0),
        ("parts", |part| part.parts = 257),
        ("length", |part| part.length = u32::MAX),
        ("octets", |part| part.octets.truncate(1)),
        ("octets", |part| part.octets = vec![0; MAX_LISTING_PART + 1].into()),
        ("digest", |part| part.digest.truncate(31)),
    ];
    for (field, spoil) in spoils {
        let mut gathering = ListingGathering::default();
        let mut parts = four();
        spoil(&mut parts[1]);
        let mut parts = parts.into_iter();
        assert_eq!(gathering.take(parts.next().unwrap()).unwrap(), None);
        assert!(!gathering.is_idle());
        assert_eq!(gathering.take(parts.next().unwrap()).unwrap_err().field, field);
        assert!(gathering.is_idle(), "{field}");
    }
    assert_eq!(MAX_LISTING_PARTS, 256);
}

#[test]
fn the_first_part_of_another_listing_takes_the_place_of_one_that_is_not_whole() {
    let mut gathering = ListingGathering::default();
    assert_eq!(gather(&mut gathering, four().into_iter().take(3)), None);
    let whole = gather(&mut gathering, four()).unwrap();
    assert_eq!(whole.unpack().unwrap().len(), 4 * MAX_LISTING_PART);
}

#[test]
fn sources_and_what_is_held_survive_the_wire_and_newer_ones_are_left_out() {
    for source in ListingSource::ALL {
        let wire = listing_source_to_wire(source).into();
        assert_eq!(listing_source_from_wire(wire), Ok(source));
        assert_eq!(ListingSource::named(source.as_str()), Some(source));
        let none = no_listing_to_wire(source, "why");
        assert_eq!(no_listing_from_wire(none), Ok((source, "why".to_owned())));
    }
    assert_eq!(listing_source_from_wire(0).unwrap_err().problem, Problem::Missing);
    assert_eq!(listing_source_from_wire(99).unwrap_err().problem, Problem::Newer(99));
    let held = BTreeMap::from(ListingSource::ALL.map(|source| (source, ListingDigest([5; 32]))));
    let mut wire = listings_held_to_wire(held.clone());
    wire.listings.push(v1::HeldListing { source: 99, digest: vec![0; 32] });
    assert_eq!(listings_held_from_wire(wire.clone()), Ok(held));
    wire.listings[0].digest.pop();
    assert_eq!(listings_held_from_wire(wire.clone()).unwrap_err().field, "listings[0].digest");
    wire.listings = vec![v1::HeldListing::default(); 65];
    assert_eq!(listings_held_from_wire(wire).unwrap_err().field, "listings");
}

proptest! {
    #[test]
    fn a_text_survives_the_wire(text in "\\PC{0,400}") {
        let packed = pack(&text);
        let whole = gather(&mut ListingGathering::default(), listing_parts(&packed)).unwrap();
        prop_assert_eq!(whole.unpack().unwrap(), text);
    }

    #[test]
    fn octets_made_by_chance_are_never_unpacked_beyond_their_length(
        octets in prop::collection::vec(any::<u8>(), 0..300),
        length in 0..1_000_u32,
    ) {
        let packed = PackedListing { octets: octets.into(), length, ..pack("") };
        prop_assert!(packed.unpack().is_err() || length == 0);
    }
}
