//! Chains made ready for many packets.

use super::live::{Known, Live};
use super::sets::SetIndex;
use crate::model::classify::{At as Class, Classes};
use crate::model::field::{Field, Key};
use crate::model::interval::Intervals;
use crate::model::ruleset::{Data, Match, Rule, SetId, Statement, Step, Table, Value, Verdict};

/// Chains with fewer rules are asked rule by rule.
const WORTH_AN_INDEX: usize = 12;
/// What wants more than so many intervals of a field is asked without an index.
const MAX_WANTED: usize = 1_024;

/// By what rules are told apart beforehand.
const DIMENSIONS: [Field; 11] = [
    Field::Source4,
    Field::Destination4,
    Field::Source6,
    Field::Destination6,
    Field::SourcePort,
    Field::DestinationPort,
    Field::Protocol,
    Field::InputDevice,
    Field::OutputDevice,
    Field::State,
    Field::Mark,
];

/// A chain made ready.
#[derive(Debug, Default)]
pub(super) struct ChainIndex {
    /// The rules that do anything, by their places.
    rules: Vec<u32>,
    classes: Option<Classes>,
    does: Does,
}

/// What a chain does at most, with all that it calls.
#[expect(clippy::struct_excessive_bools, reason = "each is asked by its own name")]
#[derive(Debug, Clone, Copy, Default)]
struct Does {
    /// Anything that can be told apart from doing nothing.
    anything: bool,
    rejects: bool,
    drops: bool,
    translates: bool,
    /// Fields that it writes, as bits.
    writes: u64,
    /// Fields that it reads.
    reads: u64,
}

impl Does {
    const fn with(self, other: Self) -> Self {
        Self {
            anything: self.anything || other.anything,
            rejects: self.rejects || other.rejects,
            drops: self.drops || other.drops,
            translates: self.translates || other.translates,
            writes: self.writes | other.writes,
            reads: self.reads | other.reads,
        }
    }
}

const fn bit(field: Field) -> u64 {
    1 << field.index()
}

const EVERYTHING: u64 = u64::MAX;

/// The chains of a table, made ready.
pub(super) fn index(table: &Table, sets: &[SetIndex]) -> Vec<ChainIndex> {
    let mut does: Vec<Option<Does>> = vec![None; table.chains.len()];
    for chain in 0..table.chains.len() {
        of_chain(table, chain, &mut does);
    }
    let of = |chain: usize| does[chain].unwrap_or_default();
    (0..table.chains.len())
        .map(|chain| {
            let rules: Vec<u32> = (0..)
                .zip(&table.chains[chain].rules)
                .filter(|(_, rule)| of_rule(table, rule, &of).anything)
                .map(|(place, _)| place)
                .collect();
            let does = of(chain);
            let classes = (rules.len() >= WORTH_AN_INDEX).then(|| {
                let all = &table.chains[chain].rules;
                let items: Vec<Vec<Option<Intervals>>> = (rules.iter())
                    .map(|place| wanted(table, sets, &all[*place as usize], does.writes))
                    .collect();
                Classes::new(DIMENSIONS.len(), &items)
            });
            ChainIndex { rules, classes, does }
        })
        .collect()
}

/// What a chain does. Calls have no circle.
fn of_chain(table: &Table, chain: usize, known: &mut Vec<Option<Does>>) -> Does {
    if let Some(does) = known[chain] {
        return does;
    }
    for called in calls(table, chain) {
        of_chain(table, called, known);
    }
    let mut all = Does::default();
    for rule in &table.chains[chain].rules {
        all = all.with(of_rule(table, rule, &|chain| known[chain].unwrap_or_default()));
    }
    known[chain] = Some(all);
    all
}

fn calls(table: &Table, chain: usize) -> Vec<usize> {
    let mut all = Vec::new();
    let mut add = |verdict: &Verdict| {
        if let Verdict::Jump(to) | Verdict::Goto(to) = verdict {
            all.push(to.0 as usize);
        }
    };
    for statement in table.chains[chain].rules.iter().flat_map(|rule| &rule.statements) {
        match statement {
            Statement::Verdict(verdict) => add(verdict),
            Statement::VerdictMap { map, .. } => {
                for data in has(table, *map) {
                    if let Data::Verdict(verdict) = data {
                        add(verdict);
                    }
                }
            }
            _ => {}
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn has(table: &Table, map: SetId) -> impl Iterator<Item = &Data> {
    let set = table.set(map);
    set.elements.iter().map(|element| &element.data).chain(&set.otherwise)
}

fn of_rule(table: &Table, rule: &Rule, of: &dyn Fn(usize) -> Does) -> Does {
    let mut all = Does::default();
    for statement in &rule.statements {
        let does = match statement {
            Statement::Match(one) => Does { reads: reads(one), ..Does::default() },
            Statement::Verdict(verdict) => of_verdict(*verdict, of),
            Statement::VerdictMap { keys, map } => {
                let mut does = Does { reads: keys_read(keys), ..Does::default() };
                if table.set(*map).changing {
                    does = Does { anything: true, drops: true, rejects: true, ..does };
                }
                for data in has(table, *map) {
                    does = does.with(match data {
                        Data::Verdict(verdict) => of_verdict(*verdict, of),
                        Data::Present | Data::Value(_) | Data::Unknown => {
                            Does { anything: true, drops: true, rejects: true, ..Does::default() }
                        }
                    });
                }
                does
            }
            Statement::Set { field, value } => {
                let reads = match value {
                    Value::Bits { of, .. } => bit(*of),
                    Value::Map { keys, .. } => keys_read(keys),
                    Value::Constant(_) | Value::Unknown => 0,
                };
                Does { anything: true, writes: bit(*field), reads, ..Does::default() }
            }
            Statement::Nat(_) => Does { anything: true, translates: true, ..Does::default() },
            Statement::Notrack => {
                Does { anything: true, writes: bit(Field::State), ..Does::default() }
            }
            Statement::Offload => Does::default(),
            Statement::Unknown { effects, .. } => Does {
                anything: effects.accepts || effects.drops || effects.changes,
                drops: effects.drops,
                rejects: effects.drops,
                translates: effects.changes,
                writes: if effects.changes { EVERYTHING } else { 0 },
                reads: EVERYTHING,
            },
        };
        all = all.with(does);
    }
    all
}

fn of_verdict(verdict: Verdict, of: &dyn Fn(usize) -> Does) -> Does {
    let ends = Does { anything: true, ..Does::default() };
    match verdict {
        Verdict::Continue => Does::default(),
        Verdict::Accept | Verdict::Return => ends,
        Verdict::Drop | Verdict::Queue => Does { drops: true, ..ends },
        Verdict::Reject => Does { rejects: true, ..ends },
        Verdict::Jump(to) => of(to.0 as usize),
        Verdict::Goto(to) => of(to.0 as usize).with(ends),
    }
}

fn reads(one: &Match) -> u64 {
    match one {
        Match::In { key, .. } => bit(key.field),
        Match::Lookup { keys, .. } => keys_read(keys),
        Match::Any(several) => several.iter().fold(0, |all, one| all | reads(one)),
        Match::Unknown { .. } => EVERYTHING,
    }
}

fn keys_read(keys: &[Key]) -> u64 {
    keys.iter().fold(0, |all, key| all | bit(key.field))
}

/// What the order of chains of one priority decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderDecides {
    /// Nothing.
    Nothing,
    /// Which of those that stop a packet does so: the one that runs first.
    WhoStops,
    /// What becomes of packets at all.
    Everything,
}

/// Whether chains of one priority end otherwise when they run in another order.
pub(super) fn order_decides(step: &Step, chains: &[Vec<ChainIndex>]) -> OrderDecides {
    let does: Vec<Does> = (step.chains.iter())
        .map(|at| chains[at.table as usize][at.chain.0 as usize].does)
        .collect();
    if does.len() < 2 {
        return OrderDecides::Nothing;
    }
    let translate = step.nat && does.iter().any(|one| one.translates);
    let concern = does.iter().enumerate().any(|(nth, one)| {
        does.iter().enumerate().any(|(other, two)| {
            nth != other && (one.writes & two.reads != 0 || one.writes & two.writes != 0)
        })
    });
    if translate || concern {
        OrderDecides::Everything
    } else if does.iter().any(|one| one.rejects) {
        // A policy drops; which chain has one is of no interest here.
        OrderDecides::WhoStops
    } else {
        OrderDecides::Nothing
    }
}

/// What a rule wants of each dimension before it does anything.
fn wanted(table: &Table, sets: &[SetIndex], rule: &Rule, written: u64) -> Vec<Option<Intervals>> {
    let mut all: Vec<Option<Intervals>> = vec![None; DIMENSIONS.len()];
    let mut want = |key: Key, values: Intervals| {
        if !key.is_whole() || values.as_slice().len() > MAX_WANTED || written & bit(key.field) != 0
        {
            return;
        }
        let Some(nth) = DIMENSIONS.iter().position(|field| *field == key.field) else { return };
        let both = match &all[nth] {
            Some(before) => before.and(&values),
            None => values,
        };
        all[nth] = Some(both);
    };
    for statement in &rule.statements {
        match statement {
            Statement::Match(Match::In { key, values, not: false }) => want(*key, values.clone()),
            Statement::Match(Match::In { key, values, not: true }) => {
                want(*key, values.not(key.field.bits()));
            }
            Statement::Match(Match::Lookup { keys, set, not: false }) => {
                parts(table, sets, keys, *set, &mut want);
            }
            Statement::Match(_) => {}
            Statement::VerdictMap { keys, map } => {
                parts(table, sets, keys, *map, &mut want);
                break;
            }
            _ => break,
        }
    }
    all
}

/// What a look-up wants of each of its keys by itself.
fn parts(
    table: &Table,
    sets: &[SetIndex],
    keys: &[Key],
    id: SetId,
    want: &mut impl FnMut(Key, Intervals),
) {
    let set = table.set(id);
    if set.changing || set.otherwise.is_some() || set.elements.len() > MAX_WANTED {
        return;
    }
    if let (Some(all), [key]) = (&sets[id.0 as usize].keys, keys) {
        return want(*key, all.clone());
    }
    for (nth, key) in keys.iter().enumerate() {
        let part = set.elements.iter().filter_map(|element| element.key.get(nth).copied());
        want(*key, part.collect());
    }
}

impl ChainIndex {
    /// Calls `each` with the places of rules that can concern a packet, in order, until it says
    /// `false`. The fields by which they are told apart are read once, before the first.
    pub(super) fn rules(&self, live: &Live<'_>) -> Candidates<'_> {
        match &self.classes {
            None => Candidates::All(&self.rules),
            Some(classes) => {
                let class = |field: &Field| match live.at(*field) {
                    Known::Is(value) => Class::Value(*value),
                    Known::Absent => Class::Nothing,
                    Known::Among(_) | Known::Any => Class::Anything,
                };
                let packet = std::array::from_fn(|nth| class(&DIMENSIONS[nth]));
                Candidates::Classes { rules: &self.rules, classes, packet }
            }
        }
    }
}

/// Rules that can concern a packet.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, one for each chain entered")]
#[derive(Debug)]
pub(super) enum Candidates<'i> {
    All(&'i [u32]),
    Classes { rules: &'i [u32], classes: &'i Classes, packet: [Class; DIMENSIONS.len()] },
}

impl Candidates<'_> {
    /// Calls `each` with the place of one after the other until it says `false`.
    pub(super) fn visit(self, mut each: impl FnMut(u32) -> bool) {
        match self {
            Self::All(rules) => {
                for rule in rules {
                    if !each(*rule) {
                        return;
                    }
                }
            }
            Self::Classes { rules, classes, packet } => {
                classes.visit(&packet, |nth| each(rules[nth]));
            }
        }
    }
}
