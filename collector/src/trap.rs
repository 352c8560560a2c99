//! Traps and informs that devices send of themselves: an SNMP notification receiver (RFC 3413 3.4)
//! in this process.
//!
//! The parts, in the order in which a datagram meets them:
//! - [`listener`]: a thread of its own reads the socket, keeps every sender to his share and hands on
//!   into a bounded queue, so that a flood costs neither polling nor intake anything.
//! - [`decode`]: what a datagram says, and how much is known of who sent it; [`usm`] is SNMPv3,
//!   [`engine`] this receiver's own name and age there.
//! - [`intake`]: stored, then acknowledged, then noted in the [`bailey_rules::trap::ledger`] of its
//!   sender, which judging reads.
//! - [`kept`]: what is stored of a trap.
//!
//! Every datagram that came is counted once, by what became of it.

pub mod decode;
mod engine;
pub(crate) mod intake;
pub mod kept;
mod listener;
mod usm;

pub use intake::TrapsError;
