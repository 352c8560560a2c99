//! Which addresses may open which service to which: the smallest table that says it.

use std::collections::BTreeMap;

use super::arena::{Set, TooComplex};
use super::block::Block;
use super::pass::Walk;
use super::space::Space;
use crate::model::field::{Field, state};
use crate::model::interval::Intervals;
use crate::model::network::Network;
use crate::model::ruleset::Ruleset;
use crate::model::trace::Direction;

/// Every way.
pub const WAYS: [Direction; 3] = [Direction::Input, Direction::Output, Direction::Forward];

/// The packets that take a way: without an interface where they do not cross one. Where they do, any
/// name is one.
pub fn on_way(space: &mut Space, direction: Direction) -> Result<Set, TooComplex> {
    match direction {
        Direction::Input => space.value(Field::OutputDevice, 0),
        Direction::Output => space.value(Field::InputDevice, 0),
        Direction::Forward => Ok(Set::ALL),
    }
}

/// A row: everyone of `packets` may open everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Who, to whom, what, and by which interfaces where that matters, as the packets come.
    pub packets: Block,
    /// Whether that is certain. Otherwise something that is not understood, or not known, decides.
    pub certain: bool,
    /// Where the connection ends up, when it is not where it was sent.
    pub translated: Option<Translated>,
}

/// A translated destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Translated {
    /// Which addresses it can be; nothing where it stays, or follows the old one.
    pub address: Option<Intervals>,
    /// Whether these are IPv6 addresses.
    pub v6: bool,
    /// Which ports.
    pub port: Option<Intervals>,
}

/// The fields of a row that are always told.
const TOLD: [Field; 9] = [
    Field::Version,
    Field::Protocol,
    Field::Destination4,
    Field::Destination6,
    Field::DestinationPort,
    Field::Source4,
    Field::Source6,
    Field::IcmpType,
    Field::Icmp6Type,
];

/// The table of a kernel for one way through it. Only packets that begin a connection count.
pub fn matrix(
    space: &mut Space,
    ruleset: &Ruleset,
    network: &Network,
    direction: Direction,
) -> Result<Vec<Row>, TooComplex> {
    let begin = opening(space, direction)?;
    let passed = Walk::new(space, ruleset).knowing(network).through(direction.hooks(), begin)?;
    let surely = passed.surely_accepted(space)?;
    let mut fields = TOLD.to_vec();
    match direction {
        Direction::Input => fields.push(Field::InputDevice),
        Direction::Output => fields.push(Field::OutputDevice),
        Direction::Forward => fields.extend([Field::InputDevice, Field::OutputDevice]),
    }
    // Changes that end at the same place are one row.
    let mut ends: BTreeMap<usize, Set> = BTreeMap::new();
    let mut known: Vec<Option<Translated>> = Vec::new();
    for flow in passed.accepted.as_slice() {
        let to = [false, true].into_iter().find_map(|v6| {
            let field = if v6 { Field::Destination6 } else { Field::Destination4 };
            let address = flow.change.gives(field);
            let port = flow.change.gives(Field::DestinationPort);
            let both = address.is_some() || (port.is_some() && !v6);
            both.then_some(Translated { address, v6, port })
        });
        let place = known.iter().position(|had| *had == to).unwrap_or_else(|| {
            known.push(to);
            known.len() - 1
        });
        let had = ends.get(&place).copied().unwrap_or(Set::EMPTY);
        ends.insert(place, space.or(had, flow.packets)?);
    }
    let mut rows = Vec::new();
    for (place, packets) in ends {
        let certain = space.and(packets, surely)?;
        let certain = space.only(certain, &fields)?;
        let all = space.only(packets, &fields)?;
        let perhaps = space.without(all, certain)?;
        for (set, certain) in [(certain, true), (perhaps, false)] {
            for packets in space.blocks(set, &fields)? {
                rows.push(Row { packets, certain, translated: known[place].clone() });
            }
        }
    }
    Ok(rows)
}

/// The packets that begin a connection.
fn opening(space: &mut Space, direction: Direction) -> Result<Set, TooComplex> {
    let new = space.value(Field::State, state::NEW)?;
    let way = on_way(space, direction)?;
    space.and(new, way)
}
