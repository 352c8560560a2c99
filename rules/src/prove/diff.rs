//! What one ruleset lets through and another does not.

use super::arena::{Set, TooComplex};
use super::block::Block;
use super::change::Change;
use super::matrix::on_way;
use super::pass::{Passed, Walk};
use super::space::{Space, Values};
use super::wish::wishes;
use crate::model::field::Field;
use crate::model::network::Network;
use crate::model::ruleset::Ruleset;
use crate::model::trace::Direction;

/// How two rulesets differ on one way through a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What the old one lets through and the new one does not.
    pub closed: Vec<Piece>,
    /// What the new one lets through and the old one did not.
    pub opened: Vec<Piece>,
    /// What both let through, but to another place or from another address.
    pub translated: Vec<Piece>,
    /// What may get through, as far as is known, of one of them with certainty and of the other not.
    pub unsure: Vec<Piece>,
}

impl Difference {
    /// Whether the two let the same through.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.closed.is_empty()
            && self.opened.is_empty()
            && self.translated.is_empty()
            && self.unsure.is_empty()
    }
}

/// Packets, and one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// All of them.
    pub packets: Block,
    /// One, as ordinary as can be.
    pub example: Values,
}

/// What packets are told by.
const TOLD: [Field; 13] = [
    Field::Version,
    Field::InputDevice,
    Field::OutputDevice,
    Field::State,
    Field::Protocol,
    Field::Destination4,
    Field::Destination6,
    Field::DestinationPort,
    Field::Source4,
    Field::Source6,
    Field::SourcePort,
    Field::IcmpType,
    Field::Icmp6Type,
];

/// What a translation changes for others to see.
const ENDS: [Field; 6] = [
    Field::Source4,
    Field::Source6,
    Field::SourcePort,
    Field::Destination4,
    Field::Destination6,
    Field::DestinationPort,
];

/// Compares two rulesets on one way, over packets of every state.
pub fn diff(
    space: &mut Space,
    (old, old_network): (&Ruleset, &Network),
    (new, new_network): (&Ruleset, &Network),
    direction: Direction,
) -> Result<Difference, TooComplex> {
    let hooks = direction.hooks();
    let begin = on_way(space, direction)?;
    let before = Walk::new(space, old).knowing(old_network).through(hooks, begin)?;
    let after = Walk::new(space, new).knowing(new_network).through(hooks, begin)?;
    let (had, have) = (before.accepted.packets(space)?, after.accepted.packets(space)?);
    let closed = space.without(had, have)?;
    let opened = space.without(have, had)?;
    let both = space.and(had, have)?;
    let (surely_had, surely_have) = (before.surely_accepted(space)?, after.surely_accepted(space)?);
    let one = space.without(surely_had, surely_have)?;
    let other = space.without(surely_have, surely_had)?;
    let either = space.or(one, other)?;
    let unsure = space.and(either, both)?;
    let moved = moved(space, &before, &after)?;
    let translated = space.and(moved, both)?;
    Ok(Difference {
        closed: pieces(space, closed)?,
        opened: pieces(space, opened)?,
        translated: pieces(space, translated)?,
        unsure: pieces(space, unsure)?,
    })
}

/// The packets that can leave one way in one of the two only.
fn moved(space: &mut Space, before: &Passed, after: &Passed) -> Result<Set, TooComplex> {
    let mut ends: Vec<(Change, [Set; 2])> = Vec::new();
    for (place, passed) in [before, after].into_iter().enumerate() {
        for flow in passed.accepted.as_slice() {
            let end = flow.change.of_fields(&ENDS);
            let at = ends.iter().position(|(had, _)| *had == end).unwrap_or_else(|| {
                ends.push((end, [Set::EMPTY; 2]));
                ends.len() - 1
            });
            ends[at].1[place] = space.or(ends[at].1[place], flow.packets)?;
        }
    }
    let mut moved = Set::EMPTY;
    for (_, [old, new]) in ends {
        let gone = space.without(old, new)?;
        let come = space.without(new, old)?;
        moved = space.any_of(&[moved, gone, come])?;
    }
    Ok(moved)
}

fn pieces(space: &mut Space, set: Set) -> Result<Vec<Piece>, TooComplex> {
    let wishes = wishes(space)?;
    let mut pieces = Vec::new();
    for packets in space.blocks(set, &TOLD)? {
        let own = packets.packets(space)?;
        let own = space.and(own, set)?;
        if let Some(example) = space.pick(own, &wishes)? {
            pieces.push(Piece { packets, example });
        }
    }
    Ok(pieces)
}
