//! The collector: agents report to it, it judges what they report, and tells people and programs.
//!
//! The parts, in the order in which a fact meets them:
//! - [`intake`]: TLS, who may speak, sessions; beside it [`enrolment`] and [`ca`], who may come in.
//! - [`host`]: the order of one host's reports, and what follows from them; [`numbering`], [`skew`].
//! - [`store`]: the disk. Nothing is acknowledged before it is there.
//! - [`listings`]: packet filters as they are listed, beside the facts, for the proof.
//! - [`judging`]: from facts to findings; [`site`] is what is known now, [`journal`] what happened.
//! - [`proving`]: from what kernels have to whether the invariants hold.
//! - [`push`]: orders to hosts.
//! - [`alerts`]: findings to Alertmanager; [`web`] and [`metrics`]: everything to people and
//!   Prometheus.
//! - [`device`]: devices without an agent, who they are and what is held of them; [`poll`] asks them by
//!   SNMP; [`trap`] and [`syslog`]: what they send of themselves; `lines`: how well their lines carry
//!   packets.
//! - [`watch`]: the policy and rule files, read again when they change; [`zone`]: zones as orders name
//!   them.
//!
//! It never knows the agent: what they share is `wire`.

pub mod alerts;
pub mod ca;
pub mod clock;
mod collector;
pub mod counters;
mod datagrams;
pub mod device;
pub mod enrolment;
mod host;
pub mod intake;
pub mod journal;
pub mod judging;
mod lines;
mod listings;
pub mod metrics;
mod numbering;
pub mod poll;
pub mod port;
pub mod proving;
pub mod push;
mod queue;
mod quota;
mod senders;
pub mod settings;
pub mod site;
mod skew;
pub mod store;
pub mod syslog;
pub mod trap;
mod upkeep;
pub mod watch;
pub mod web;
pub mod wiring;
pub mod zone;

pub use collector::{Addresses, Collector, CollectorHandle, StartError};
