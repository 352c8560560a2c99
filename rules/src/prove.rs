//! Which packets pass: sets of packets, what rulesets do with them, and what follows for a site.
//!
//! `docs/proof.md` says what a proof rests on.

mod arena;
mod change;
mod layout;
mod pass;
mod space;

pub use self::arena::{NODES, Set, TooComplex};
pub use self::change::{Before, Change};
pub use self::pass::{Flow, Flows, Passed, RuleAt, Seen, Walk};
pub use self::space::{End, Space, Values};
