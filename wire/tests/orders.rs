//! Orders travel in parts and arrive as they were sent; what came of them is understood or refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "the shapes are shared with the tests of other messages")]

mod arbitrary;

use bailey_rules::fact::enforcement::OrderRef;
use bailey_rules::name::OrderDigest;
use bailey_wire::convert::{
    MAX_ORDER_PART, MAX_ORDER_PARTS, OrderGathering, OrderOutcome, OrderResult, named_order,
    order_parts, order_ref_to_wire, outcome_from_wire, outcome_to_wire,
};
use bailey_wire::order::MAX_SIGNED;
use bailey_wire::{MAX_MESSAGE, v1};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

fn order(version: u64) -> OrderRef {
    OrderRef { version, digest: OrderDigest::from_bytes([7; 32]) }
}

/// Octets that differ from part to part.
fn octets(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at / 1000 % 251).unwrap()).collect()
}

fn gather(
    gathering: &mut OrderGathering,
    parts: impl IntoIterator<Item = v1::OrderPart>,
) -> Option<(OrderRef, Bytes)> {
    parts.into_iter().find_map(|part| gathering.take(&part).unwrap())
}

#[test]
fn an_order_of_any_size_arrives_whole_in_parts_that_fit_into_messages() {
    for length in [1, MAX_ORDER_PART, MAX_ORDER_PART + 1, 3 * MAX_ORDER_PART, MAX_SIGNED] {
        let signed = octets(length);
        let parts: Vec<_> = order_parts(order(3), &signed).unwrap().collect();
        assert!(parts.len() <= MAX_ORDER_PARTS);
        for part in &parts {
            assert!(part.encoded_len() < MAX_MESSAGE / 3, "{}", part.encoded_len());
        }
        let whole = gather(&mut OrderGathering::default(), parts);
        assert_eq!(whole, Some((order(3), signed)));
    }
}

#[test]
fn an_order_that_no_host_would_take_is_not_even_cut() {
    for length in [0, MAX_SIGNED + 1] {
        let refused = order_parts(order(3), &octets(length)).map(|_| ());
        assert_eq!(refused.unwrap_err().field, "octets");
    }
}

#[test]
fn parts_out_of_their_order_or_bounds_are_refused_and_forgotten() {
    let signed = octets(2 * MAX_ORDER_PART + 5);
    let parts: Vec<_> = order_parts(order(3), &signed).unwrap().collect();
    let refused = |wanted: &str, wrong: &v1::OrderPart| {
        let mut gathering = OrderGathering::default();
        assert_eq!(gathering.take(&parts[0]).unwrap(), None);
        assert_eq!(gathering.take(wrong).unwrap_err().field, wanted);
        // What was gathered is gone.
        assert_eq!(gathering.take(&parts[1]).unwrap_err().field, "part");
        assert_eq!(gather(&mut gathering, parts.clone()), Some((order(3), signed.clone())));
    };
    refused("part", &parts[2]);
    refused(
        "part",
        &v1::OrderPart { order: Some(order_ref_to_wire(order(4))), ..parts[1].clone() },
    );
    refused("part", &v1::OrderPart { parts: 4, ..parts[1].clone() });
    refused("parts", &v1::OrderPart { parts: 0, ..parts[1].clone() });
    refused("parts", &v1::OrderPart { parts: 18, ..parts[1].clone() });
    refused("octets", &v1::OrderPart { octets: Bytes::new(), ..parts[1].clone() });
    refused("octets", &v1::OrderPart { octets: octets(5), ..parts[1].clone() });
    refused("octets", &v1::OrderPart { octets: octets(MAX_ORDER_PART + 1), ..parts[1].clone() });
    refused("order", &v1::OrderPart { order: None, ..parts[1].clone() });
    refused(
        "part",
        &v1::OrderPart { part: u32::MAX, octets: octets(MAX_ORDER_PART), ..parts[1].clone() },
    );
}

#[test]
fn no_row_of_parts_is_longer_than_an_order() {
    let mut gathering = OrderGathering::default();
    let parts = u32::try_from(MAX_ORDER_PARTS).unwrap();
    for part in 0..parts {
        let order = Some(order_ref_to_wire(order(3)));
        let took =
            gathering.take(&v1::OrderPart { order, part, parts, octets: octets(MAX_ORDER_PART) });
        if part + 1 == parts {
            assert_eq!(took.unwrap_err().field, "octets");
        } else {
            assert_eq!(took, Ok(None));
        }
    }
}

#[test]
fn a_newer_order_takes_the_place_of_one_that_is_not_whole() {
    let (first, second) = (octets(2 * MAX_ORDER_PART), octets(MAX_ORDER_PART + 9));
    let mut gathering = OrderGathering::default();
    let begun = order_parts(order(3), &first).unwrap().take(1);
    assert_eq!(gather(&mut gathering, begun), None);
    let parts = order_parts(order(4), &second).unwrap();
    assert_eq!(gather(&mut gathering, parts), Some((order(4), second)));
}

#[test]
fn an_order_without_a_number_or_digest_is_no_order() {
    let good = order_ref_to_wire(order(3));
    assert_eq!(named_order(Some(&good)), Ok(order(3)));
    assert_eq!(named_order(None).unwrap_err().field, "order");
    let zero = v1::OrderRef { version: 0, ..good.clone() };
    assert_eq!(named_order(Some(&zero)).unwrap_err().field, "order.version");
    let short = v1::OrderRef { digest: vec![7; 31], ..good };
    assert_eq!(named_order(Some(&short)).unwrap_err().field, "order.digest");
}

#[test]
fn what_came_of_an_order_is_understood_and_bounded() {
    let long = "why ".repeat(200);
    for result in [
        OrderResult::Applied,
        OrderResult::Confirmed,
        OrderResult::Refused { error: "wrong_key".into(), why: "signed by another".into() },
        OrderResult::NoEnforcer { why: "no enforcer answers".into() },
    ] {
        let outcome = OrderOutcome { order: order(3), result };
        assert_eq!(outcome_from_wire(outcome_to_wire(&outcome)), Ok(outcome));
    }
    let result = OrderResult::NoEnforcer { why: long.clone() };
    let wire = outcome_to_wire(&OrderOutcome { order: order(3), result });
    assert!(outcome_from_wire(wire.clone()).is_ok());
    let unbounded = v1::OrderOutcome { why: long, ..wire.clone() };
    assert_eq!(outcome_from_wire(unbounded).unwrap_err().field, "why");
    let unsaid = v1::OrderOutcome { result: 0, ..wire.clone() };
    assert_eq!(outcome_from_wire(unsaid).unwrap_err().field, "result");
    let newer = v1::OrderOutcome { result: 99, ..wire };
    assert_eq!(outcome_from_wire(newer).unwrap_err().field, "result");
}

proptest! {
    #[test]
    fn any_parts_are_taken_or_refused_and_never_panic(
        parts in prop::collection::vec(
            (proptest::option::of(arbitrary::order_ref()), any::<[u32; 2]>(), 0..3_usize),
            0..6,
        ),
    ) {
        let mut gathering = OrderGathering::default();
        for (order, [part, parts], length) in parts {
            let order = order.map(order_ref_to_wire);
            let octets = octets(length);
            let _ = gathering.take(&v1::OrderPart { order, part: part % 4, parts: parts % 4, octets });
        }
    }
}
