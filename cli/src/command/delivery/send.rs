//! Handing a row of signed orders to the collector and having it begin.

use bailey_rules::name::HostName;
use bailey_wire::order::SignedOrder;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::command::{Asking, read};
use crate::exit::Failure;

/// Orders are handed over in pieces of about so many octets: half of what the collector takes at a
/// time, and more than the largest order has.
const PIECE: usize = 8 * 1024 * 1024;

/// What a push is, before it has orders.
#[derive(Debug, Clone, Copy)]
pub(in crate::command) struct Wish<'a> {
    /// `ruleset`, `quarantine` or `release`.
    pub(in crate::command) kind: &'static str,
    /// The policy's name and sealed text.
    pub(in crate::command) policy: Option<(&'a str, &'a str)>,
    /// Whether a person confirms each stage.
    pub(in crate::command) hold: bool,
    /// Whether all hosts are changed at the same time.
    pub(in crate::command) at_once: bool,
}

#[derive(Debug, Deserialize)]
struct Made {
    id: u64,
}

/// Makes a push, hands its orders over and has it begin; gives its number. When anything fails
/// before it begins, it is cancelled, so that no half of a push lies about.
pub(in crate::command) fn send(
    asking: &Asking,
    wish: Wish<'_>,
    orders: impl Iterator<Item = Result<(HostName, SignedOrder), Failure>>,
) -> Result<u64, Failure> {
    let body = json!({
        "kind": wish.kind,
        "policy": wish.policy.map(|(name, text)| json!({"name": name, "text": text})),
        "confirm": if wish.hold { "person" } else { "auto" },
        "stages": if wish.at_once { "at_once" } else { "staged" },
    });
    let Made { id } = read(&asking.client.post("/api/v1/pushes", &body)?)?;
    let begun = hand_over(asking, id, orders)
        .and_then(|()| asking.client.post(&path_of(id, "/start"), &json!({})));
    match begun {
        Ok(_) => Ok(id),
        Err(failure) => {
            // The failure is what matters; a draft that stays is listed and does nothing.
            let _ = asking.client.post(&path_of(id, "/cancel"), &json!({}));
            Err(failure)
        }
    }
}

fn hand_over(
    asking: &Asking,
    id: u64,
    orders: impl Iterator<Item = Result<(HostName, SignedOrder), Failure>>,
) -> Result<(), Failure> {
    let (mut piece, mut octets): (Vec<Value>, usize) = (Vec::new(), 0);
    let post = |piece: &mut Vec<Value>| {
        let body = json!({"orders": std::mem::take(piece)});
        asking.client.post(&path_of(id, "/orders"), &body)
    };
    for order in orders {
        let (host, order) = order?;
        let order = STANDARD.encode(order.to_bytes());
        if octets + order.len() > PIECE && !piece.is_empty() {
            post(&mut piece)?;
            octets = 0;
        }
        octets += order.len();
        piece.push(json!({"host": host, "order": order}));
    }
    post(&mut piece)?;
    Ok(())
}

/// The address of a push, or of something under it.
pub(in crate::command) fn path_of(id: u64, under: &str) -> String {
    format!("/api/v1/pushes/{id}{under}")
}
