//! Whether a kernel tracks connections at all.
//!
//! It does so for a version of IP once a rule that can see its packets asks for them
//! (`nf_ct_netns_get`). Without any that does, packets have no connection, and NAT chains are not asked
//! whatever their policies are.

use super::field::Field;
use super::ruleset::{Family, Match, Ruleset, Statement, Table, Value};

/// Whether connections are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// Something asks for them.
    Always,
    /// Something that is not understood may ask.
    Perhaps,
    /// Nothing asks.
    Never,
}

impl Tracking {
    /// Of the packets of one version.
    pub(crate) fn of(ruleset: &Ruleset, v6: bool) -> Self {
        let tables = ruleset.tables.iter().filter(|table| match table.family {
            Family::Ip => !v6,
            Family::Ip6 => v6,
            Family::Inet | Family::Arp | Family::Bridge | Family::Netdev => true,
        });
        Self::asked_by(tables)
    }

    /// Of the packets in frames that a bridge carries, which only rules for frames can ask for.
    pub(crate) fn of_frames(ruleset: &Ruleset) -> Self {
        Self::asked_by(ruleset.tables.iter().filter(|table| table.family == Family::Bridge))
    }

    fn asked_by<'t>(tables: impl Iterator<Item = &'t Table>) -> Self {
        let rules = tables.flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
        let mut tracking = Self::Never;
        for statement in rules.flat_map(|rule| &rule.statements) {
            if asks_for_connections(statement) {
                return Self::Always;
            }
            if is_unknown(statement) {
                tracking = Self::Perhaps;
            }
        }
        tracking
    }
}

/// Whether a statement makes the kernel track connections.
fn asks_for_connections(statement: &Statement) -> bool {
    const CONNECTION: [Field; 10] = [
        Field::State,
        Field::Direction,
        Field::Status,
        Field::ConnectionMark,
        Field::OriginalSource4,
        Field::OriginalDestination4,
        Field::OriginalSource6,
        Field::OriginalDestination6,
        Field::OriginalSourcePort,
        Field::OriginalDestinationPort,
    ];
    let of = |field: &Field| CONNECTION.contains(field);
    match statement {
        Statement::Match(one) => asks(one, &of),
        Statement::VerdictMap { keys, .. } => keys.iter().any(|key| of(&key.field)),
        Statement::Set { field, value } => {
            of(field)
                || match value {
                    Value::Bits { of: read, .. } => of(read),
                    Value::Map { keys, .. } => keys.iter().any(|key| of(&key.field)),
                    Value::Constant(_) | Value::Unknown => false,
                }
        }
        Statement::Nat(_) | Statement::Offload => true,
        Statement::Verdict(_) | Statement::Notrack | Statement::Unknown { .. } => false,
    }
}

fn asks(one: &Match, of: &impl Fn(&Field) -> bool) -> bool {
    match one {
        Match::In { key, .. } => of(&key.field),
        Match::Lookup { keys, .. } => keys.iter().any(|key| of(&key.field)),
        Match::Any(several) => several.iter().any(|one| asks(one, of)),
        Match::Unknown { .. } => false,
    }
}

fn is_unknown(statement: &Statement) -> bool {
    fn within(one: &Match) -> bool {
        match one {
            Match::Unknown { .. } => true,
            Match::Any(several) => several.iter().any(within),
            Match::In { .. } | Match::Lookup { .. } => false,
        }
    }
    match statement {
        Statement::Match(one) => within(one),
        Statement::Unknown { .. } => true,
        Statement::VerdictMap { .. }
        | Statement::Set { .. }
        | Statement::Nat(_)
        | Statement::Offload
        | Statement::Verdict(_)
        | Statement::Notrack => false,
    }
}
