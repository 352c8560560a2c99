//! Orders on their way to a host, and what came of them.
//!
//! A signed order may be longer than a message, so that it goes in parts. Who carries it does not
//! read it: it is verified where it is followed.

use bailey_rules::fact::bounded;
use bailey_rules::fact::enforcement::OrderRef;
use bailey_rules::name::OrderDigest;
use bytes::{Bytes, BytesMut};

use super::bounds::{ConvertError, Problem, Within as _, octets, present, text};
use crate::order::MAX_SIGNED;
use crate::v1;

/// The most octets of one part: four parts fit into a message, so that reports are not held up.
pub const MAX_ORDER_PART: usize = 256 * 1024;
/// The most parts of one order.
pub const MAX_ORDER_PARTS: usize = MAX_SIGNED.div_ceil(MAX_ORDER_PART);

/// The message that names an order.
#[must_use]
pub fn order_ref_to_wire(order: OrderRef) -> v1::OrderRef {
    v1::OrderRef { version: order.version, digest: order.digest.as_bytes().to_vec() }
}

/// Understands the name of an order.
///
/// # Errors
/// When the number is 0 or the digest does not have 32 octets.
pub fn order_ref_from_wire(wire: &v1::OrderRef) -> Result<OrderRef, ConvertError> {
    if wire.version == 0 {
        let out = Problem::OutOfRange { value: 0, rule: "orders are numbered from 1" };
        return Err(ConvertError::new("version", out));
    }
    let digest = octets("digest", &wire.digest, "32").map(OrderDigest::from_bytes)?;
    Ok(OrderRef { version: wire.version, digest })
}

/// Which order a message is about.
///
/// # Errors
/// When it names none, or names it wrongly.
pub fn named_order(wire: Option<&v1::OrderRef>) -> Result<OrderRef, ConvertError> {
    order_ref_from_wire(present("order", wire)?).within("order")
}

/// The parts of a signed order, as [`crate::order::SignedOrder::to_bytes`] gives it.
///
/// # Errors
/// When it is empty or longer than [`MAX_SIGNED`], so that no host would take it.
pub fn order_parts(
    order: OrderRef,
    signed: &Bytes,
) -> Result<impl Iterator<Item = v1::OrderPart> + use<>, ConvertError> {
    let length = signed.len();
    if length == 0 || length > MAX_SIGNED {
        return Err(ConvertError::new("octets", too_long(length)));
    }
    let count = length.div_ceil(MAX_ORDER_PART);
    let signed = signed.clone();
    let number = |value: usize| u32::try_from(value).expect("an order has few parts");
    Ok((0..count).map(move |nth| v1::OrderPart {
        order: Some(order_ref_to_wire(order)),
        part: number(nth),
        parts: number(count),
        octets: signed.slice(nth * MAX_ORDER_PART..length.min((nth + 1) * MAX_ORDER_PART)),
    }))
}

fn too_long(octets: usize) -> Problem {
    let value = u64::try_from(octets).unwrap_or(u64::MAX);
    Problem::OutOfRange { value, rule: "an order has 1 octet to 4 MiB and its envelope" }
}

/// Puts the parts of an order together, one order at a time.
#[derive(Debug, Default)]
pub struct OrderGathering(Option<Gathered>);

#[derive(Debug)]
struct Gathered {
    order: OrderRef,
    parts: u32,
    /// The part that must come next.
    next: u32,
    octets: BytesMut,
}

impl OrderGathering {
    /// Takes the next part. Gives the order once it is whole. The first part of an order takes the
    /// place of one that is not whole.
    ///
    /// # Errors
    /// When the part is not the next one or out of its bounds; what was gathered is gone then.
    pub fn take(
        &mut self,
        wire: &v1::OrderPart,
    ) -> Result<Option<(OrderRef, Bytes)>, ConvertError> {
        let before = self.0.take();
        let order = named_order(wire.order.as_ref())?;
        let out = |field, value: u32, rule| {
            Err(ConvertError::new(field, Problem::OutOfRange { value: value.into(), rule }))
        };
        if wire.parts == 0 || wire.parts as usize > MAX_ORDER_PARTS {
            return out("parts", wire.parts, "an order has 1 to 17 parts");
        }
        let last = wire.part.checked_add(1) == Some(wire.parts);
        let length = wire.octets.len();
        if length == 0 || length > MAX_ORDER_PART || (!last && length != MAX_ORDER_PART) {
            let octets = u32::try_from(length).unwrap_or(u32::MAX);
            return out("octets", octets, "a part has 256 KiB, the last one at most");
        }
        let mut gathered = match before {
            _ if wire.part == 0 => {
                Gathered { order, parts: wire.parts, next: 0, octets: BytesMut::new() }
            }
            Some(gathered) if gathered.order == order && gathered.parts == wire.parts => gathered,
            Some(_) | None => return out("part", wire.part, "its order has not begun"),
        };
        if wire.part != gathered.next {
            return out("part", wire.part, "parts come in their order");
        }
        if gathered.octets.len() + length > MAX_SIGNED {
            return Err(ConvertError::new("octets", too_long(gathered.octets.len() + length)));
        }
        gathered.octets.extend_from_slice(&wire.octets);
        gathered.next += 1;
        if last {
            return Ok(Some((order, gathered.octets.freeze())));
        }
        self.0 = Some(gathered);
        Ok(None)
    }
}

/// What came of an order or of its confirmation, as a host says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderOutcome {
    /// Which order.
    pub order: OrderRef,
    /// What came of it.
    pub result: OrderResult,
}

/// What came of an order or of its confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderResult {
    /// It is in force. A ruleset waits to be confirmed.
    Applied,
    /// It was confirmed.
    Confirmed,
    /// It was refused; nothing has changed.
    Refused {
        /// The name of the enforcer's error, such as `wrong_key`.
        error: String,
        /// Why, for people.
        why: String,
    },
    /// Nobody on the host can follow it.
    NoEnforcer {
        /// Why, for people.
        why: String,
    },
}

/// The message of an outcome.
#[must_use]
pub fn outcome_to_wire(outcome: &OrderOutcome) -> v1::OrderOutcome {
    let (result, error, why) = match &outcome.result {
        OrderResult::Applied => (v1::OrderResult::Applied, "", ""),
        OrderResult::Confirmed => (v1::OrderResult::Confirmed, "", ""),
        OrderResult::Refused { error, why } => (v1::OrderResult::Refused, &error[..], &why[..]),
        OrderResult::NoEnforcer { why } => (v1::OrderResult::NoEnforcer, "", &why[..]),
    };
    v1::OrderOutcome {
        order: Some(order_ref_to_wire(outcome.order)),
        result: result.into(),
        error: bounded(error),
        why: bounded(why),
    }
}

/// Understands an outcome.
///
/// # Errors
/// When a field is missing, malformed or beyond its bound.
pub fn outcome_from_wire(wire: v1::OrderOutcome) -> Result<OrderOutcome, ConvertError> {
    let order = named_order(wire.order.as_ref())?;
    let (error, why) = (text("error", wire.error)?, text("why", wire.why)?);
    let result = match v1::OrderResult::try_from(wire.result) {
        Ok(v1::OrderResult::Applied) => OrderResult::Applied,
        Ok(v1::OrderResult::Confirmed) => OrderResult::Confirmed,
        Ok(v1::OrderResult::Refused) => OrderResult::Refused { error, why },
        Ok(v1::OrderResult::NoEnforcer) => OrderResult::NoEnforcer { why },
        Ok(v1::OrderResult::Unspecified) => {
            return Err(ConvertError::new("result", Problem::Missing));
        }
        Err(_) => return Err(ConvertError::new("result", Problem::Newer(wire.result))),
    };
    Ok(OrderOutcome { order, result })
}
