//! `bailey policy cancel`: nothing more is sent or confirmed. What was not confirmed the hosts take
//! back by themselves.

use serde_json::json;

use super::pushes::running;
use crate::arguments::OnePush;
use crate::command::Asking;
use crate::command::delivery::follow::summed_up;
use crate::command::delivery::pushed::Push;
use crate::command::delivery::send::path_of;
use crate::exit::{Done, Failure};

/// Stops a push.
pub(super) fn run(one: &OnePush, asking: &Asking) -> Result<Done, Failure> {
    let runs = |state: &str| matches!(state, "running" | "awaiting_confirmation");
    let id = match one.id {
        Some(id) => id,
        None => running(asking, runs, "no push runs", "没有进行中的下发")?,
    };
    stop(asking, id)
}

/// Stops the push of this number.
pub(super) fn stop(asking: &Asking, id: u64) -> Result<Done, Failure> {
    let answer = asking.client.post(&path_of(id, "/cancel"), &json!({}))?;
    asking.answer(&answer, |push: &Push, screen| format!("{}\n", summed_up(push, screen)))
}
