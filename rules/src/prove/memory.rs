//! What chains of one host did with packets, kept while they stay as they are.
//!
//! When one rule of thousands changes, all chains but its own, and those that call it, do with the same
//! packets what they did before.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::arena::Set;
use super::pass::{Flows, Layer, Passed, Traits};
use crate::model::ruleset::{At, ChainId, Data, Hook, Ruleset, Statement, Table, Verdict};

/// Answers of chains that are kept, at most; with more, all are forgotten.
const MAX_KNOWN: usize = 1 << 16;
/// A chain of fewer rules is asked again sooner than it is looked up.
pub(super) const WORTH_KNOWING: usize = 4;

/// What a chain is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// The chain.
    pub(super) chain: At,
    /// The hook that leads to it.
    pub(super) hook: Hook,
    /// Whether connection tracking has not seen the packets.
    pub(super) early: bool,
    /// Whether they are of IPv6.
    pub(super) v6: bool,
    /// The packets.
    pub(super) flows: Flows,
}

/// What a whole hook is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct AskedHook {
    /// Whose hook it is.
    pub(super) layer: Layer,
    /// The hook.
    pub(super) hook: Hook,
    /// Whether connection tracking has seen the packets in a bridge that they came by.
    pub(super) tracked: bool,
    /// The packets.
    pub(super) flows: Flows,
}

/// What it does with them.
#[derive(Debug)]
pub(super) struct Did {
    /// What comes to its end.
    pub(super) left: Flows,
    /// What is accepted.
    pub(super) accepted: Flows,
    /// What is translated.
    pub(super) translated: Flows,
    /// What is dropped.
    pub(super) dropped: Set,
    /// What is rejected.
    pub(super) rejected: Set,
}

/// What is known of the chains of one host, or of several with the same filters.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    known: HashMap<Asked, Rc<Did>>,
    /// What came of packets at whole hooks.
    hooks: HashMap<AskedHook, Rc<Passed>>,
    /// What the filters are as a whole.
    traits: Option<Rc<Traits>>,
}

impl Memory {
    /// What the ruleset is as a whole.
    pub(super) fn traits(&mut self, ruleset: &Ruleset) -> Rc<Traits> {
        Rc::clone(self.traits.get_or_insert_with(|| Rc::new(Traits::of(ruleset))))
    }

    pub(super) fn recall(&self, asked: &Asked) -> Option<Rc<Did>> {
        self.known.get(asked).cloned()
    }

    pub(super) fn keep(&mut self, asked: Asked, did: Did) -> Rc<Did> {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        let did = Rc::new(did);
        self.known.insert(asked, Rc::clone(&did));
        did
    }

    pub(super) fn passed(&self, asked: &AskedHook) -> Option<Rc<Passed>> {
        self.hooks.get(asked).cloned()
    }

    pub(super) fn keep_passed(&mut self, asked: AskedHook, passed: Passed) -> Rc<Passed> {
        if self.hooks.len() >= MAX_KNOWN {
            self.hooks.clear();
        }
        let passed = Rc::new(passed);
        self.hooks.insert(asked, Rc::clone(&passed));
        passed
    }

    /// Forgets what is not so any more when the host has another ruleset. What chains know of the
    /// host's addresses must be the same.
    pub(super) fn turn(&mut self, before: &Ruleset, now: &Ruleset) {
        let tables = before.tables.iter().zip(&now.tables);
        let same: Vec<Vec<bool>> = tables.map(|(before, now)| unchanged(before, now)).collect();
        let is_same = |at: At| same.get(at.table as usize)?.get(at.chain.0 as usize).copied();
        self.traits = None;
        self.hooks.clear();
        self.known.retain(|asked, _| is_same(asked.chain) == Some(true));
    }
}

/// Which chains of a table do what they did, by their places. Where chains or sets have come or gone, or
/// another table is in its place, nothing is known.
fn unchanged(before: &Table, now: &Table) -> Vec<bool> {
    let of = |one: &Table| (one.family, one.maker);
    let names = |table: &Table| table.chains.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    if of(before) != of(now)
        || before.name != now.name
        || before.sets != now.sets
        || names(before) != names(now)
    {
        return Vec::new();
    }
    let mut same: Vec<bool> = before
        .chains
        .iter()
        .zip(&now.chains)
        .map(|(before, now)| {
            let mut rules = before.rules.iter().zip(&now.rules);
            before.rules.len() == now.rules.len()
                && rules.all(|(before, now)| before.statements == now.statements)
        })
        .collect();
    // Whoever calls a chain that has changed has changed. Calls are at most so deep.
    let calls = now.chains.iter().enumerate().flat_map(|(place, chain)| {
        let statements = chain.rules.iter().flat_map(|rule| &rule.statements);
        statements.flat_map(|one| called(now, one)).map(move |to| (place, to))
    });
    let calls: BTreeSet<(usize, ChainId)> = calls.collect();
    for _ in 0..crate::model::MAX_DEPTH {
        let changed = |to: ChainId| same.get(to.0 as usize) != Some(&true);
        let more: Vec<usize> =
            calls.iter().filter(|(by, to)| same[*by] && changed(*to)).map(|(by, _)| *by).collect();
        if more.is_empty() {
            break;
        }
        for by in more {
            same[by] = false;
        }
    }
    same
}

/// The chains that a statement leads to.
fn called(table: &Table, statement: &Statement) -> Vec<ChainId> {
    let to = |verdict: &Verdict| match verdict {
        Verdict::Jump(to) | Verdict::Goto(to) => Some(*to),
        Verdict::Accept
        | Verdict::Drop
        | Verdict::Reject
        | Verdict::Return
        | Verdict::Continue
        | Verdict::Queue => None,
    };
    match statement {
        Statement::Verdict(verdict) => to(verdict).into_iter().collect(),
        Statement::VerdictMap { map, .. } => {
            let set = table.set(*map);
            let all = set.elements.iter().map(|element| &element.data).chain(&set.otherwise);
            let verdicts = all.filter_map(|data| match data {
                Data::Verdict(verdict) => to(verdict),
                Data::Present | Data::Value(_) | Data::Unknown => None,
            });
            verdicts.collect()
        }
        Statement::Match(_)
        | Statement::Set { .. }
        | Statement::Nat(_)
        | Statement::Notrack
        | Statement::Offload
        | Statement::Unknown { .. } => Vec::new(),
    }
}
