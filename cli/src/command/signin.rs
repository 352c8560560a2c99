//! `bailey signin`: a link that signs one browser in, once.

use serde::Deserialize;
use serde_json::json;

use super::Asking;
use crate::exit::{Done, Failure};
use crate::screen::{Screen, clean};

/// What people are told of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    url: String,
}

/// Has a link made and prints it.
pub(super) fn run(asking: &Asking) -> Result<Done, Failure> {
    let answer = asking.client.post("/api/v1/signin", &json!({}))?;
    asking.answer(&answer, |answer: &Answer, _: Screen| format!("{}\n", clean(&answer.url)))
}
