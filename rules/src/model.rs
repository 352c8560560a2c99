//! What a kernel does with a packet: the model that tracing and proving share.
//!
//! A listing meets the modules in this order: [`nft`] or [`save`] (what the kernel printed) →
//! [`ruleset`] (tables, chains, sets and rules in one shape, whoever wrote them) → [`trace`] (one
//! packet through it). [`network`] holds addresses and routes, [`packet`] what is asked about, and
//! [`field`] and [`interval`] the words in which a rule speaks of a packet.
//!
//! The shape is made for two readers: one that knows the packet, and one that reasons about all
//! packets at once. So every match is a set of values of a [`field::Field`], a number of at most
//! 128 bits, and what a rule takes for granted (`tcp dport` wants TCP) stands before it as a
//! match of its own.
//!
//! What is not understood is never guessed and never refused: it becomes a match that may be true
//! or false ([`ruleset::Match::Unknown`]), or a statement that may do what its
//! [`ruleset::Effects`] say.

pub mod calls;
mod classify;
pub mod field;
pub mod interval;
pub mod network;
pub mod nft;
pub mod packet;
pub mod ruleset;
pub mod save;
pub mod trace;
pub(crate) mod tracking;

/// The longest file that is read, in octets. A kernel with 100,000 rules prints about half of it.
pub const MAX_OCTETS: usize = 128 << 20;
/// Tables at most, over all files.
pub const MAX_TABLES: usize = 1_024;
/// Chains at most, over all tables of a file.
pub const MAX_CHAINS: usize = 100_000;
/// Rules at most, over all chains of a file.
pub const MAX_RULES: usize = 1_000_000;
/// Sets and maps at most, named or not, over all tables of a file.
pub const MAX_SETS: usize = 200_000;
/// Elements at most, over all sets of a file.
pub const MAX_ELEMENTS: usize = 4_000_000;
/// Statements of one rule at most. The kernel takes 128 expressions a rule (`NFT_RULE_MAXEXPRS`),
/// and a statement is one or more of them.
pub const MAX_STATEMENTS: usize = 256;
/// How deep chains may call one another. The kernel's own bound is 16 (`NFT_JUMP_STACK_SIZE`);
/// iptables-legacy has none.
pub const MAX_DEPTH: usize = 64;
/// Fields in one concatenation at most. The kernel takes 16 (`NFT_REG32_COUNT` registers of 32
/// bits).
pub const MAX_PARTS: usize = 16;
/// The longest text of a rule that is kept, in octets; a longer one is cut and ends in `...`.
pub const MAX_TEXT: usize = 4_096;
