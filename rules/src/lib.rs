//! The domain of Bailey: what a fact is, what a site demands, and what follows from both.
//!
//! This crate is pure. It performs no I/O, reads no clock, starts no task and draws no random
//! number: `now` is always an argument. A test in `tests/pure.rs` holds that.
//!
//! A fact meets the modules in this order:
//! [`fact`] (what a probe read) → [`host`] (all that is held of one host) →
//! [`check`] (facts and expectations to verdicts) → [`finding`] (verdicts over time).
//! [`policy`] and [`expectation`] are what people write; [`plan`] tells what a new policy changes.
//! [`device`] is what is held of a device that has no agent, and [`topology`] how the site is wired: who is
//! silent because somebody else is, and who is where he must not be.
//! [`listing`] is what a host sends of its packet filters beside facts, [`model`] what that means for a
//! packet, and [`prove`] what follows for the site.
//! [`snmp`] has the words of devices without an agent, [`trap`] and [`syslog`] what they send of themselves;
//! [`echo`] is what far ends of lines are asked.

pub mod check;
pub mod compile;
pub mod device;
pub mod digest;
pub mod echo;
pub mod expectation;
pub mod fact;
pub mod finding;
pub mod host;
pub mod listing;
pub mod model;
pub mod name;
pub mod plan;
pub mod policy;
pub mod prove;
pub mod report;
pub mod snmp;
pub mod syslog;
pub mod text;
pub mod time;
pub mod topology;
pub mod trap;
pub mod unit;
pub mod yaml;
