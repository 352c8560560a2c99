//! What of a packet a ruleset looks at.

use crate::model::field::{Field, Key};
use crate::model::ruleset::{Hook, Match, Nat, NatAddress, NatKind, Ruleset, Statement, Value};

/// Some fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields([bool; Field::ALL.len()]);

impl Fields {
    pub(super) fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.has(*field))
    }

    fn has(self, field: Field) -> bool {
        self.0[field.index()]
    }

    fn add(&mut self, field: Field) {
        self.0[field.index()] = true;
    }

    fn add_keys(&mut self, keys: &[Key]) {
        for key in keys {
            self.add(key.field);
        }
    }

    fn add_match(&mut self, one: &Match) {
        match one {
            Match::In { key, .. } => self.add(key.field),
            Match::Lookup { keys, .. } => self.add_keys(keys),
            Match::Any(several) => several.iter().for_each(|one| self.add_match(one)),
            Match::Unknown { .. } => {}
        }
    }
}

/// The fields that any rule reads.
pub(super) fn reads(ruleset: &Ruleset) -> Fields {
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    let mut read = Fields([false; Field::ALL.len()]);
    for statement in chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Match(one) => read.add_match(one),
            Statement::VerdictMap { keys, .. }
            | Statement::Set { value: Value::Map { keys, .. }, .. }
            | Statement::Nat(Nat { address: NatAddress::Map { keys, .. }, .. }) => {
                read.add_keys(keys);
            }
            Statement::Set { value: Value::Bits { of, .. }, .. } => read.add(*of),
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

/// Whether it can matter to a ruleset that reads these fields by which interface a packet comes.
pub(super) fn asks_for_input(read: Fields, ruleset: &Ruleset) -> bool {
    let input = [Field::InputDevice, Field::InputGroup, Field::InputType];
    let chains = || ruleset.tables.iter().flat_map(|table| &table.chains);
    let at_device = chains().filter_map(|chain| chain.base.as_ref());
    let mut statements = chains().flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    input.into_iter().any(|field| read.has(field))
        || at_device.into_iter().any(|base| base.hook == Hook::Ingress)
        || statements.any(|one| matches!(one, Statement::Nat(nat) if nat.kind == NatKind::Redirect))
}

/// Whether it can matter to a ruleset that reads these fields which addresses the host has: to what it
/// translates for an interface, and what it asks about kinds of addresses.
pub(super) fn asks_for_addresses(read: Fields, ruleset: &Ruleset) -> bool {
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    let mut statements = chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    let kinds = [Field::SourceKind, Field::DestinationKind];
    kinds.into_iter().any(|kind| read.has(kind))
        || statements.any(
            |one| matches!(one, Statement::Nat(nat) if matches!(nat.address, NatAddress::Kept)),
        )
}
