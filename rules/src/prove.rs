//! Which packets pass: sets of packets, what rulesets do with them, and what follows for a site.
//!
//! `docs/proof.md` says what a proof rests on.

mod arena;
mod block;
mod change;
pub mod diff;
mod layout;
pub mod lint;
pub mod matrix;
mod memory;
mod pass;
mod reads;
pub mod site;
mod space;
mod wish;
mod words;

pub use self::arena::{NODES, Set, TooComplex};
pub use self::block::{Block, MAX_BLOCKS};
pub use self::change::{Before, Change};
pub use self::pass::{Flow, Flows, Layer, Passed, RuleAt, Seen, Stage, Walk};
pub use self::space::{End, Space, Values};
pub use self::wish::wishes;
pub use self::words::{Example, Told, example, networks};
