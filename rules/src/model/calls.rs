//! Chains that call chains.

use super::MAX_DEPTH;
use super::ruleset::{ChainId, Data, Statement, Table, Verdict};

/// Chains call one another in a way that no kernel would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongCalls {
    /// A chain comes back to itself.
    #[error("chain {chain} of table {table} calls itself, by way of others or not")]
    Circle {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
    },
    /// Too deep.
    #[error("chain {chain} of table {table} calls others more than {MAX_DEPTH} deep")]
    Deep {
        /// The table.
        table: String,
        /// The chain.
        chain: String,
    },
}

/// What a walk knows of a chain.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Never,
    /// It is on the way that is walked now.
    Open,
    /// So deep are the calls below it.
    Done(usize),
}

/// Whether the calls of a table end, and how.
///
/// # Errors
/// When they go in a circle or are too deep.
pub(super) fn check(table: &Table) -> Result<(), WrongCalls> {
    let mut seen = vec![Seen::Never; table.chains.len()];
    for start in 0..table.chains.len() {
        walk(table, start, 0, &mut seen)?;
    }
    Ok(())
}

fn walk(table: &Table, chain: usize, above: usize, seen: &mut [Seen]) -> Result<usize, WrongCalls> {
    let names = || (table.name.clone(), table.chains[chain].name.clone());
    let deep = || {
        let (table, chain) = names();
        WrongCalls::Deep { table, chain }
    };
    match seen[chain] {
        Seen::Done(below) if above + below <= MAX_DEPTH => return Ok(below),
        Seen::Done(_) => return Err(deep()),
        Seen::Open => {
            let (table, chain) = names();
            return Err(WrongCalls::Circle { table, chain });
        }
        Seen::Never if above > MAX_DEPTH => return Err(deep()),
        Seen::Never => {}
    }
    seen[chain] = Seen::Open;
    let mut below = 0;
    for called in called(table, chain) {
        below = below.max(walk(table, called.0 as usize, above + 1, seen)? + 1);
    }
    seen[chain] = Seen::Done(below);
    Ok(below)
}

/// The chains that a chain calls, each at least once.
fn called(table: &Table, chain: usize) -> Vec<ChainId> {
    let mut all = Vec::new();
    for statement in table.chains[chain].rules.iter().flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => all.push(*to),
            Statement::VerdictMap { map, .. } => {
                let set = table.set(*map);
                let data = set.elements.iter().map(|element| &element.data);
                for data in data.chain(&set.otherwise) {
                    if let Data::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) = data {
                        all.push(*to);
                    }
                }
            }
            Statement::Verdict(_)
            | Statement::Match(_)
            | Statement::Set { .. }
            | Statement::Nat(_)
            | Statement::Notrack
            | Statement::Offload
            | Statement::Unknown { .. } => {}
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}
