//! How orders come to hosts: for whom they are ([`known`]), through the collector ([`send`]) or on
//! removable media ([`media`]), and what becomes of them ([`follow`]). [`rulesets`] is all of it
//! for a policy.

pub(super) mod follow;
pub(super) mod known;
pub(super) mod media;
pub(super) mod pushed;
pub(super) mod rulesets;
pub(super) mod send;

use bailey_agent::clock::{Clock as _, SystemClock};
use bailey_rules::name::HostName;
use bailey_rules::time::Timestamp;
use bailey_wire::order::{Order, OrderError, SignedOrder, SigningKey, sign};

use crate::exit::{Exit, Failure};

/// What this machine's clock says.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

/// An order with its signature, or which of its parts is out of bounds.
pub(super) fn signed(
    host: &HostName,
    order: &Order,
    key: &SigningKey,
) -> Result<SignedOrder, Failure> {
    sign(order, key).map_err(|error| {
        let exit = match error {
            OrderError::OutOfBounds { .. } => Exit::Usage,
            _ => Exit::Error,
        };
        Failure::new(
            exit,
            format!("no order for {host}: {error}"),
            format!("无法为 {host} 生成命令：{error}"),
        )
    })
}
