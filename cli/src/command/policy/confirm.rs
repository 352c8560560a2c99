//! `bailey policy confirm`: the hosts of the stage keep their new rulesets.

use serde_json::json;

use super::pushes::running;
use crate::arguments::OnePush;
use crate::command::Asking;
use crate::command::delivery::follow::summed_up;
use crate::command::delivery::pushed::Push;
use crate::command::delivery::send::path_of;
use crate::exit::{Done, Failure};

/// Confirms what waits for it.
pub(super) fn run(one: &OnePush, asking: &Asking) -> Result<Done, Failure> {
    let waits = |state: &str| state == "awaiting_confirmation";
    let id = match one.id {
        Some(id) => id,
        None => running(asking, waits, "no push waits to be confirmed", "没有等待确认的下发")?,
    };
    let answer = asking.client.post(&path_of(id, "/confirm"), &json!({}))?;
    asking.answer(&answer, |push: &Push, screen| format!("{}\n", summed_up(push, screen)))
}
