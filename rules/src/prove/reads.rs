//! What of a packet a ruleset looks at.

use std::collections::BTreeSet;

use crate::model::field::{Field, Key};
use crate::model::ruleset::{Hook, Match, Nat, NatAddress, NatKind, Ruleset, Statement, Value};

/// The fields that any rule reads.
pub(super) fn reads(ruleset: &Ruleset) -> BTreeSet<Field> {
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    let mut read = BTreeSet::new();
    for statement in chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements) {
        let mut keys = |keys: &[Key]| read.extend(keys.iter().map(|key| key.field));
        match statement {
            Statement::Match(one) => of_match(one, &mut read),
            Statement::VerdictMap { keys: of, .. }
            | Statement::Set { value: Value::Map { keys: of, .. }, .. }
            | Statement::Nat(Nat { address: NatAddress::Map { keys: of, .. }, .. }) => keys(of),
            Statement::Set { value: Value::Bits { of, .. }, .. } => {
                read.insert(*of);
            }
            Statement::Set { value: Value::Constant(_) | Value::Unknown, .. }
            | Statement::Nat(_)
            | Statement::Verdict(_)
            | Statement::Notrack
            | Statement::Offload
            | Statement::Unknown { .. } => {}
        }
    }
    read
}

fn of_match(one: &Match, read: &mut BTreeSet<Field>) {
    match one {
        Match::In { key, .. } => {
            read.insert(key.field);
        }
        Match::Lookup { keys, .. } => read.extend(keys.iter().map(|key| key.field)),
        Match::Any(several) => several.iter().for_each(|one| of_match(one, read)),
        Match::Unknown { .. } => {}
    }
}

/// Whether it can matter to a ruleset by which interface a packet comes.
pub(super) fn asks_for_input(ruleset: &Ruleset) -> bool {
    let input = [Field::InputDevice, Field::InputGroup, Field::InputType];
    let read = reads(ruleset);
    let chains = || ruleset.tables.iter().flat_map(|table| &table.chains);
    let at_device = chains().filter_map(|chain| chain.base.as_ref());
    let mut statements = chains().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    input.iter().any(|field| read.contains(field))
        || at_device.into_iter().any(|base| base.hook == Hook::Ingress)
        || statements.any(|one| matches!(one, Statement::Nat(nat) if nat.kind == NatKind::Redirect))
}
