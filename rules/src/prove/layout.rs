//! Which variables of the diagrams stand for which field of a packet.
//!
//! The order decides how large diagrams get: what rules ask for together stands together, and what
//! tells most packets apart comes first (figures in `docs/proof.md`). Fields of which only some
//! values occur get no more variables than those need.

use crate::model::field::{Field, IPV4, IPV6, state};
use crate::model::interval::ones;

/// All fields in the order of their variables. Some have none, since others tell them: of packets of
/// IP, [`Field::Version`] tells [`Field::EtherType`], and addresses tell what they are to a host.
const ORDER: [Field; Field::ALL.len() - 3] = [
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
    Field::IcmpCode,
    Field::Icmp6Type,
    Field::Icmp6Code,
    Field::TcpFlags,
    Field::Mark,
    Field::ConnectionMark,
    Field::Direction,
    Field::Status,
    Field::PacketType,
    Field::InputGroup,
    Field::OutputGroup,
    Field::InputType,
    Field::OutputType,
    Field::EtherSource,
    Field::EtherDestination,
    Field::OriginalDestination4,
    Field::OriginalDestination6,
    Field::OriginalDestinationPort,
    Field::OriginalSource4,
    Field::OriginalSource6,
    Field::OriginalSourcePort,
];

/// The values that a field can have where they are few; the last one also stands for every number
/// that no other has.
#[must_use]
pub(super) const fn few(field: Field) -> Option<&'static [u128]> {
    match field {
        Field::Version => Some(&[IPV4, IPV6]),
        Field::State => Some(&[
            state::NEW,
            state::ESTABLISHED,
            state::RELATED,
            state::INVALID,
            state::UNTRACKED,
        ]),
        Field::Direction => Some(&[0, 1]),
        Field::PacketType => Some(&[0, 1, 2, 3]),
        _ => None,
    }
}

/// How many variables a field has.
#[must_use]
pub(super) const fn bits(field: Field) -> u32 {
    match few(field) {
        Some(values) => values.len().next_power_of_two().trailing_zeros(),
        None => match field {
            Field::EtherType | Field::SourceKind | Field::DestinationKind => 0,
            // The status bits that the model knows are among the first six.
            Field::Status => 6,
            other => other.bits(),
        },
    }
}

const FIRST: [u32; Field::ALL.len()] = {
    let mut first = [0; Field::ALL.len()];
    let mut next = 0;
    let mut nth = 0;
    while nth < ORDER.len() {
        first[ORDER[nth].index()] = next;
        next += bits(ORDER[nth]);
        nth += 1;
    }
    first
};

/// How many variables there are.
pub(super) const VARIABLES: usize = {
    let last = ORDER[ORDER.len() - 1];
    (FIRST[last.index()] + bits(last)) as usize
};

const OF: [Field; VARIABLES] = {
    let mut of = [Field::Version; VARIABLES];
    let mut nth = 0;
    while nth < ORDER.len() {
        let mut variable = first(ORDER[nth]);
        while variable < end(ORDER[nth]) {
            of[variable as usize] = ORDER[nth];
            variable += 1;
        }
        nth += 1;
    }
    of
};

/// The first variable of a field, which is its most significant bit.
#[must_use]
pub(super) const fn first(field: Field) -> u32 {
    FIRST[field.index()]
}

/// The variable after its last.
#[must_use]
pub(super) const fn end(field: Field) -> u32 {
    FIRST[field.index()] + bits(field)
}

/// Whether a variable is one of a field.
#[must_use]
pub(super) const fn has(field: Field, variable: u32) -> bool {
    first(field) <= variable && variable < end(field)
}

/// Which fields are among these, by [`Field::index`].
#[must_use]
pub(super) fn of(fields: &[Field]) -> [bool; Field::ALL.len()] {
    let mut these = [false; Field::ALL.len()];
    for field in fields {
        these[field.index()] = true;
    }
    these
}

/// The field of a variable.
#[must_use]
pub(super) const fn field(variable: u32) -> Field {
    OF[variable as usize]
}

/// The number that stands for a value of a field in the diagrams.
#[must_use]
pub(super) fn code(field: Field, value: u128) -> u128 {
    match few(field) {
        Some(values) => {
            let last = values.len() - 1;
            values.iter().position(|of| *of == value).unwrap_or(last) as u128
        }
        None => value & ones(bits(field)),
    }
}

/// The value that a number of the diagrams stands for.
#[must_use]
pub(super) fn value(field: Field, code: u128) -> u128 {
    match few(field) {
        Some(values) => {
            let place = usize::try_from(code).unwrap_or(usize::MAX).min(values.len() - 1);
            values[place]
        }
        None => code,
    }
}
