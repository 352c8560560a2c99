//! Hosts whose packet filters do the same with the same packets, so that one answer is for all of them.
//!
//! A policy compiles to the same rules for most hosts of a zone. What they did with packets is kept once for
//! all of them, and together with it what is kept of a ruleset while it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::memory::Memory;
use super::{Host, Site};
use crate::model::ruleset::{Rule, Ruleset, Table};
use crate::name::HostName;

/// Hosts by what their filters do.
#[derive(Debug, Default)]
pub(super) struct Alike {
    groups: BTreeMap<usize, Group>,
    /// The group of each host.
    of: HashMap<HostName, usize>,
    /// The groups of rulesets of one size.
    by_size: HashMap<Size, BTreeSet<usize>>,
    /// The number of the next group.
    next: usize,
}

/// Tables, chains and rules: rulesets of two sizes are two.
type Size = [usize; 3];

#[derive(Debug)]
struct Group {
    members: BTreeSet<HostName>,
    size: Size,
    /// Whether what the filters do depends on nothing else of a host, so that others may join.
    is_open: bool,
    memory: Memory,
}

impl Alike {
    /// What the filters of a host of the site did, and whether other hosts have the same.
    pub(super) fn of(&mut self, site: &Site, name: &HostName) -> Option<(&mut Memory, bool)> {
        if self.groups.is_empty() {
            // All of them, so that it is known from the beginning who has the same.
            for (name, host) in &site.hosts {
                self.join(site, name, host, Memory::default());
            }
        }
        let group = self.groups.get_mut(self.of.get(name)?)?;
        Some((&mut group.memory, group.members.len() > 1))
    }

    /// Takes it that a host of the site was another. What its chains would do again is kept.
    pub(super) fn turn(&mut self, site: &Site, name: &HostName, before: Option<&Host>) {
        if self.groups.is_empty() {
            return;
        }
        let left = self.leave(name);
        let Some(now) = site.hosts.get(name) else { return };
        let kept = left
            .zip(before)
            .filter(|((_, is_open), before)| *is_open || before.network == now.network);
        let memory = kept.map(|((mut memory, _), before)| {
            memory.turn(&before.ruleset, &now.ruleset);
            memory
        });
        self.join(site, name, now, memory.unwrap_or_default());
    }

    /// Takes a host out of its group, with what the group knows, and whether it is open.
    fn leave(&mut self, name: &HostName) -> Option<(Memory, bool)> {
        let number = self.of.remove(name)?;
        let group = self.groups.get_mut(&number)?;
        group.members.remove(name);
        if !group.members.is_empty() {
            return Some((group.memory.clone(), group.is_open));
        }
        let group = self.groups.remove(&number)?;
        if let Some(same) = self.by_size.get_mut(&group.size) {
            same.remove(&number);
            if same.is_empty() {
                self.by_size.remove(&group.size);
            }
        }
        Some((group.memory, group.is_open))
    }

    fn join(&mut self, site: &Site, name: &HostName, host: &Host, mut memory: Memory) {
        let size = size(&host.ruleset);
        let same = self.by_size.entry(size).or_default();
        let found = same.iter().copied().find(|number| {
            let group = &self.groups[number];
            let other = group.members.first().and_then(|member| site.hosts.get(member));
            // What does the same asks for the same.
            group.is_open && other.is_some_and(|other| does_the_same(&other.ruleset, &host.ruleset))
        });
        let number = match found {
            Some(number) => number,
            None => {
                let number = self.next;
                self.next += 1;
                same.insert(number);
                let members = BTreeSet::new();
                let is_open = !memory.traits(&host.ruleset).asks_for_addresses;
                self.groups.insert(number, Group { members, size, is_open, memory });
                number
            }
        };
        self.of.insert(name.clone(), number);
        if let Some(group) = self.groups.get_mut(&number) {
            group.members.insert(name.clone());
        }
    }
}

fn size(ruleset: &Ruleset) -> Size {
    let chains = || ruleset.tables.iter().flat_map(|table| &table.chains);
    [ruleset.tables.len(), chains().count(), chains().map(|chain| chain.rules.len()).sum()]
}

/// Whether two rulesets do the same with every packet, as far as their words say so: places, texts and
/// counters are nothing to a packet.
fn does_the_same(one: &Ruleset, other: &Ruleset) -> bool {
    let rules = |(one, other): (&Rule, &Rule)| one.statements == other.statements;
    let tables = |(one, other): (&Table, &Table)| {
        let mut chains = one.chains.iter().zip(&other.chains);
        (one.family, one.maker, one.dormant) == (other.family, other.maker, other.dormant)
            && one.sets == other.sets
            && one.chains.len() == other.chains.len()
            && chains.all(|(one, other)| {
                one.base == other.base
                    && one.rules.len() == other.rules.len()
                    && one.rules.iter().zip(&other.rules).all(rules)
            })
    };
    one.tables.len() == other.tables.len() && one.tables.iter().zip(&other.tables).all(tables)
}
