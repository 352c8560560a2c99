//! What chains of one host did with packets, kept while they stay as they are.
//!
//! When one rule of thousands changes, all chains but its own, and those that call it, do with the same
//! packets what they did before.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::arena::Set;
use super::pass::{Flows, Layer, Passed};
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
}

impl Memory {
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
        let mut same: HashMap<At, At> = HashMap::new();
        for (number, table) in (0..).zip(&now.tables) {
            let of = |one: &Table| (one.family, one.maker) == (table.family, table.maker);
            let alike = |one: &&Table| of(one) && one.name == table.name;
            let Some(place) = before.tables.iter().position(|one| alike(&one)) else { continue };
            let Ok(was) = u32::try_from(place) else { continue };
            for chain in unchanged(&before.tables[place], table) {
                same.insert(At { table: was, chain }, At { table: number, chain });
            }
        }
        self.hooks.clear();
        let known = std::mem::take(&mut self.known);
        self.known = known
            .into_iter()
            .filter_map(|(asked, did)| {
                let chain = *same.get(&asked.chain)?;
                Some((Asked { chain, ..asked }, did))
            })
            .collect();
    }
}

/// The chains of a table that do what they did. Where chains or sets have come or gone, nothing is known.
fn unchanged(before: &Table, now: &Table) -> Vec<ChainId> {
    let names = |table: &Table| table.chains.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    if before.sets != now.sets || names(before) != names(now) {
        return Vec::new();
    }
    let mut same: BTreeMap<ChainId, bool> = (0..)
        .map(ChainId)
        .zip(before.chains.iter().zip(&now.chains))
        .map(|(id, (before, now))| {
            let mut rules = before.rules.iter().zip(&now.rules);
            let alike = before.rules.len() == now.rules.len()
                && rules.all(|(before, now)| before.statements == now.statements);
            (id, alike)
        })
        .collect();
    // Whoever calls a chain that has changed has changed. Calls are at most so deep.
    for _ in 0..crate::model::MAX_DEPTH {
        let mut more = false;
        for (id, chain) in (0..).map(ChainId).zip(&now.chains) {
            let calls = chain.rules.iter().flat_map(|rule| &rule.statements);
            let changed = |to: ChainId| same.get(&to) != Some(&true);
            if same.get(&id) == Some(&true)
                && calls.into_iter().any(|one| leads(now, one, &changed))
            {
                same.insert(id, false);
                more = true;
            }
        }
        if !more {
            break;
        }
    }
    same.into_iter().filter(|(_, same)| *same).map(|(id, _)| id).collect()
}

/// Whether a statement leads to a chain of which something is true.
fn leads(table: &Table, statement: &Statement, is: &impl Fn(ChainId) -> bool) -> bool {
    let to = |verdict: &Verdict| match verdict {
        Verdict::Jump(to) | Verdict::Goto(to) => is(*to),
        Verdict::Accept
        | Verdict::Drop
        | Verdict::Reject
        | Verdict::Return
        | Verdict::Continue
        | Verdict::Queue => false,
    };
    match statement {
        Statement::Verdict(verdict) => to(verdict),
        Statement::VerdictMap { map, .. } => {
            let set = table.set(*map);
            let all = set.elements.iter().map(|element| &element.data).chain(&set.otherwise);
            all.into_iter().any(|data| match data {
                Data::Verdict(verdict) => to(verdict),
                Data::Present | Data::Value(_) | Data::Unknown => false,
            })
        }
        Statement::Match(_)
        | Statement::Set { .. }
        | Statement::Nat(_)
        | Statement::Notrack
        | Statement::Offload
        | Statement::Unknown { .. } => false,
    }
}
