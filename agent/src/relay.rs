//! Hands orders that came over the uplink to the enforcer, and hears what came of them.
//!
//! The agent carries an order without reading it: the enforcer verifies it and decides. The relay
//! lives as long as the agent, so that an outcome is not lost with the session that brought the order.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailey_rules::fact::enforcement::OrderRef;
use bailey_wire::convert::{OrderOutcome, OrderResult};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::enforce::socket::{Answer, AskError, Refusal, Request, ask};

/// The most orders and confirmations that wait behind the one that the enforcer works at. Nothing
/// more is read from the collector then.
const MAX_WAITING: usize = 1;
/// The most outcomes that wait for a session; the relay waits beyond.
const MAX_OUTCOMES: usize = 8;
/// How long the enforcer may take to say how things stand before a connection is dialled. One that is
/// busy must not keep the agent from reporting.
const STATUS_LIMIT: Duration = Duration::from_secs(5);

/// What the enforcer is asked.
#[derive(Debug)]
enum Asked {
    /// To follow a signed order.
    Apply(OrderRef, Bytes),
    /// To keep what waits to be confirmed.
    Confirm(OrderRef),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// For the collector.
    pub outcome: OrderOutcome,
    /// A ruleset came into force and waits to be confirmed: only a connection that is dialled from
    /// now on proves that it lets the agent through.
    pub dial_anew: bool,
}

/// The way to the enforcer.
#[derive(Debug)]
pub struct Relay {
    socket: PathBuf,
    asked: mpsc::Sender<Asked>,
    heard: mpsc::Receiver<Heard>,
    /// What is known without asking the enforcer.
    known: VecDeque<Heard>,
}

impl Relay {
    /// A relay to the enforcer that listens at `socket`, or will. Must be called within a runtime.
    #[must_use]
    pub fn start(socket: PathBuf) -> Self {
        let (asked, requests) = mpsc::channel(MAX_WAITING);
        let (tell, heard) = mpsc::channel(MAX_OUTCOMES);
        tokio::spawn(carry(socket.clone(), requests, tell));
        Self { socket, asked, heard, known: VecDeque::new() }
    }

    /// The ruleset that waits to be confirmed and is in force by now.
    pub async fn pending(&self) -> Option<OrderRef> {
        let status = timeout(STATUS_LIMIT, ask(&self.socket, &Request::Status, &[])).await;
        match status.ok()?.ok()? {
            Answer::Done(status) => {
                // What is pending behind a quarantine is not in force.
                status.pending.map(|pending| pending.order).filter(|_| status.quarantine.is_none())
            }
            Answer::Refused { .. } => None,
        }
    }

    /// Whether one more order or confirmation can be handed over.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.asked.capacity() > 0
    }

    /// Hands over a signed order. Who calls has looked whether there is room.
    pub fn apply(&mut self, order: OrderRef, octets: Bytes) {
        info!(version = order.version, octets = octets.len(), "an order is handed to the enforcer");
        self.ask(order, Asked::Apply(order, octets));
    }

    /// Asks to keep `order`. `proved` is the ruleset that the connection of this session proved to
    /// let the agent through; any other is refused here.
    pub fn confirm(&mut self, order: OrderRef, proved: Option<OrderRef>) {
        if proved == Some(order) {
            return self.ask(order, Asked::Confirm(order));
        }
        let why = format!(
            "this connection was not dialled while order {} waited to be confirmed, so that it \
             does not prove that its rules let the agent through",
            order.version
        );
        self.refuse(order, Refusal::NotPending, why);
    }

    /// The next outcome. Cancel-safe.
    pub async fn heard(&mut self) -> Heard {
        if let Some(known) = self.known.pop_front() {
            return known;
        }
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    fn ask(&mut self, order: OrderRef, asked: Asked) {
        if self.asked.try_send(asked).is_err() {
            let why = "the enforcer is still busy with the order before".to_owned();
            self.refuse(order, Refusal::Unsure, why);
        }
    }

    fn refuse(&mut self, order: OrderRef, error: Refusal, why: String) {
        let result = OrderResult::Refused { error: error.as_str().to_owned(), why };
        let outcome = OrderOutcome { order, result };
        if self.known.len() < MAX_OUTCOMES {
            self.known.push_back(Heard { outcome, dial_anew: false });
        }
    }
}

/// Asks the enforcer, one thing after the other, until nobody wants anything any more.
async fn carry(socket: PathBuf, mut requests: mpsc::Receiver<Asked>, tell: mpsc::Sender<Heard>) {
    while let Some(asked) = requests.recv().await {
        let heard = match asked {
            Asked::Apply(order, octets) => {
                let request = Request::Apply { octets: octets.len() };
                hear(&socket, order, &request, &octets, OrderResult::Applied).await
            }
            Asked::Confirm(order) => {
                let request = Request::Confirm(order);
                hear(&socket, order, &request, &[], OrderResult::Confirmed).await
            }
        };
        debug!(?heard, "the enforcer answered");
        if tell.send(heard).await.is_err() {
            return;
        }
    }
}

async fn hear(
    socket: &Path,
    order: OrderRef,
    request: &Request,
    body: &[u8],
    done: OrderResult,
) -> Heard {
    let applied = done == OrderResult::Applied;
    let (result, dial_anew) = match ask(socket, request, body).await {
        Ok(Answer::Done(status)) => {
            let waits = status.pending.is_some_and(|pending| pending.order == order);
            (done, applied && waits)
        }
        Ok(Answer::Refused { error, why }) => {
            (OrderResult::Refused { error: error.as_str().to_owned(), why }, false)
        }
        Err(error @ (AskError::Away { .. } | AskError::NotUnderstood(_))) => {
            (OrderResult::NoEnforcer { why: error.to_string() }, false)
        }
    };
    Heard { outcome: OrderOutcome { order, result }, dial_anew }
}
