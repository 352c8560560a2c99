//! Sets of packets, by their fields.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::arena::{Arena, NODES, Set, Substitute, Substitution, TooComplex, Variables};
use super::change::Change;
use super::layout;
use crate::model::field::{Field, IPV4, IPV6, Key};
use crate::model::interval::{Interval, Intervals, ones};

/// Runs of values into which one field of a set is taken apart, at most.
const MAX_RUNS: usize = 1 << 20;

/// One packet, with a value for every field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values([u128; Field::ALL.len()]);

impl Values {
    /// An IPv4 packet of a new connection of which all else is 0.
    #[must_use]
    pub fn plain() -> Self {
        let mut plain = Self([0; Field::ALL.len()]);
        for field in Field::ALL {
            plain.0[field.index()] = layout::value(field, 0);
        }
        plain.with(Field::Version, IPV4)
    }

    /// A value.
    #[must_use]
    pub const fn get(&self, field: Field) -> u128 {
        self.0[field.index()]
    }

    /// The same packet with another value.
    #[must_use]
    pub fn with(mut self, field: Field, value: u128) -> Self {
        self.0[field.index()] = value & ones(field.bits());
        if field == Field::Version {
            self.0[Field::EtherType.index()] = if value == IPV6 { 0x86dd } else { 0x0800 };
        }
        self
    }

    fn bit(&self, variable: u32) -> bool {
        let field = layout::field(variable);
        layout::code(field, self.get(field)) >> (layout::end(field) - 1 - variable) & 1 == 1
    }
}

/// The two ends of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl End {
    /// The field that has the address.
    #[must_use]
    pub const fn field(self, v6: bool) -> Field {
        match (self, v6) {
            (Self::Source, false) => Field::Source4,
            (Self::Source, true) => Field::Source6,
            (Self::Destination, false) => Field::Destination4,
            (Self::Destination, true) => Field::Destination6,
        }
    }
}

/// Operations on one set that are told apart, and sets of one value that are kept, at most; with more, all
/// are made again.
const MAX_KEPT: usize = 1 << 12;

/// Runs of values of the conditions whose sets are kept, at most; with more, all are made again.
const MAX_RUNS_KEPT: usize = 1 << 17;

/// Fields with the values that they may have.
type Condition = Box<[(Field, Intervals)]>;

/// Sets of packets that belong together.
#[derive(Debug)]
pub struct Space {
    arena: Arena,
    /// By the field, and which of its bits are forgotten.
    bits: HashMap<Key, Rc<Variables>>,
    /// By which fields are forgotten.
    fields: HashMap<[bool; Field::ALL.len()], Rc<Variables>>,
    substitutions: HashMap<Change, Rc<Substitution>>,
    /// Sets that are asked for again and again.
    values: HashMap<(Field, u128), Set>,
    /// Those of conditions, by what the conditions hash to.
    products: HashMap<u64, (Condition, Set)>,
    /// How many runs of values those conditions have.
    runs: usize,
}

/// Fields in the order in which sets are built of them.
fn from_the_last<'v>(
    fields: impl IntoIterator<Item = (Field, &'v Intervals)>,
) -> Vec<(Field, &'v Intervals)> {
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_unstable_by_key(|(field, _)| std::cmp::Reverse(layout::first(*field)));
    fields
}

/// What is kept under a key, or made now.
fn kept<K: Eq + std::hash::Hash, T>(
    all: &mut HashMap<K, Rc<T>>,
    key: K,
    make: impl FnOnce() -> T,
) -> Rc<T> {
    if all.len() >= MAX_KEPT && !all.contains_key(&key) {
        all.clear();
    }
    Rc::clone(all.entry(key).or_insert_with(|| Rc::new(make())))
}

impl Default for Space {
    fn default() -> Self {
        Self::new(NODES)
    }
}

impl Space {
    /// Sets with at most so many nodes. See [`NODES`].
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        Self {
            arena: Arena::new(nodes),
            bits: HashMap::new(),
            fields: HashMap::new(),
            substitutions: HashMap::new(),
            values: HashMap::new(),
            products: HashMap::new(),
            runs: 0,
        }
    }

    /// Nodes that there are, which is a measure of the memory (about 30 octets each).
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.arena.len()
    }

    /// What is in both.
    pub fn and(&mut self, left: Set, right: Set) -> Result<Set, TooComplex> {
        self.arena.and(left, right)
    }

    /// What is in all of them.
    pub fn all_of(&mut self, sets: &[Set]) -> Result<Set, TooComplex> {
        sets.iter().try_fold(Set::ALL, |all, set| self.and(all, *set))
    }

    /// What is in one or the other.
    pub fn or(&mut self, left: Set, right: Set) -> Result<Set, TooComplex> {
        self.arena.or(left, right)
    }

    /// What is in any of them.
    pub fn any_of(&mut self, sets: &[Set]) -> Result<Set, TooComplex> {
        self.arena.any_of(sets)
    }

    /// What is in the first and not in the second.
    pub fn without(&mut self, left: Set, right: Set) -> Result<Set, TooComplex> {
        self.arena.without(left, right)
    }

    /// Every packet that is not in the set.
    pub fn others(&mut self, set: Set) -> Result<Set, TooComplex> {
        self.arena.without(Set::ALL, set)
    }

    /// Whether all of the first is in the second.
    pub fn is_within(&mut self, inner: Set, outer: Set) -> Result<bool, TooComplex> {
        Ok(self.without(inner, outer)?.is_empty())
    }

    /// The packets whose field has one of these values.
    pub fn among(&mut self, field: Field, values: &Intervals) -> Result<Set, TooComplex> {
        if field == Field::EtherType {
            return self.make(field, values);
        }
        self.known_product([(field, values)])
    }

    fn make(&mut self, field: Field, values: &Intervals) -> Result<Set, TooComplex> {
        if field == Field::EtherType {
            let v4 = if values.contains(0x0800) { self.version(false)? } else { Set::EMPTY };
            let v6 = if values.contains(0x86dd) { self.version(true)? } else { Set::EMPTY };
            return self.or(v4, v6);
        }
        self.onto(field, values, Set::ALL)
    }

    /// The packets whose fields each have one of these values; no field is named twice, and none of them
    /// is [`Field::EtherType`]. It is built from its last field to its first, so that every node is made once.
    pub(super) fn product<'v>(
        &mut self,
        fields: impl IntoIterator<Item = (Field, &'v Intervals)>,
    ) -> Result<Set, TooComplex> {
        let fields = from_the_last(fields);
        self.build_all(&fields)
    }

    /// The same, kept for when it is asked again: most rules of a ruleset that changes stay as they are.
    pub(super) fn known_product<'v>(
        &mut self,
        fields: impl IntoIterator<Item = (Field, &'v Intervals)>,
    ) -> Result<Set, TooComplex> {
        let fields = from_the_last(fields);
        let key = self.products.hasher().hash_one(&fields);
        if let Some((known, set)) = self.products.get(&key) {
            let these = known.iter().map(|(field, values)| (*field, values));
            if these.eq(fields.iter().copied()) {
                return Ok(*set);
            }
        }
        let set = self.build_all(&fields)?;
        let runs: usize = fields.iter().map(|(_, values)| values.as_slice().len()).sum();
        if self.runs + runs > MAX_RUNS_KEPT {
            self.products.clear();
            self.runs = 0;
        }
        if runs <= MAX_RUNS_KEPT {
            let owned = fields.into_iter().map(|(field, values)| (field, values.clone()));
            self.products.insert(key, (owned.collect(), set));
            self.runs += runs;
        }
        Ok(set)
    }

    fn build_all(&mut self, fields: &[(Field, &Intervals)]) -> Result<Set, TooComplex> {
        fields.iter().try_fold(Set::ALL, |all, (field, values)| self.onto(*field, values, all))
    }

    /// The packets of a set whose field has one of these values. The set asks for later fields only.
    fn onto(&mut self, field: Field, values: &Intervals, then: Set) -> Result<Set, TooComplex> {
        let codes;
        let spans = match layout::few(field) {
            None => values.as_slice(),
            Some(few) => {
                let end = few.len() as u128 - 1;
                codes =
                    few.iter()
                        .zip(0_u128..)
                        .filter(|(value, _)| values.contains(**value))
                        // Numbers that nothing has stand for the last value, so that no set of packets
                        // can be made of them alone.
                        .map(|(_, code)| {
                            if code == end {
                                (code, ones(layout::bits(field)))
                            } else {
                                (code, code)
                            }
                        })
                        .map(|(first, last)| Interval { first, last })
                        .collect::<Intervals>();
                codes.as_slice()
            }
        };
        self.build(layout::first(field), layout::end(field), 0, spans, then)
    }

    fn build(
        &mut self,
        variable: u32,
        end: u32,
        base: u128,
        spans: &[Interval],
        then: Set,
    ) -> Result<Set, TooComplex> {
        let Some(first) = spans.first() else { return Ok(Set::EMPTY) };
        if variable == end {
            return Ok(then);
        }
        let left = end - variable;
        if first.covers(Interval { first: base, last: base + ones(left) }) {
            return Ok(then);
        }
        let middle = base + (1 << (left - 1));
        let lower = &spans[..spans.partition_point(|span| span.first < middle)];
        let upper = &spans[spans.partition_point(|span| span.last < middle)..];
        let lower = self.build(variable + 1, end, base, lower, then)?;
        let upper = self.build(variable + 1, end, middle, upper, then)?;
        self.arena.decide(variable, lower, upper)
    }

    /// The packets whose field has this value.
    pub fn value(&mut self, field: Field, value: u128) -> Result<Set, TooComplex> {
        if let Some(known) = self.values.get(&(field, value)) {
            return Ok(*known);
        }
        let made = self.make(field, &Intervals::one(value))?;
        if self.values.len() >= MAX_KEPT {
            self.values.clear();
        }
        self.values.insert((field, value), made);
        Ok(made)
    }

    /// The packets of one version of IP.
    pub fn version(&mut self, v6: bool) -> Result<Set, TooComplex> {
        self.value(Field::Version, if v6 { IPV6 } else { IPV4 })
    }

    /// The packets of which the bits that a key names have one of these values, the others read as 0.
    pub fn key(&mut self, key: Key, values: &Intervals) -> Result<Set, TooComplex> {
        if key.is_whole() {
            return self.among(key.field, values);
        }
        if let Some(few) = layout::few(key.field) {
            let those = few.iter().copied().filter(|value| values.contains(value & key.mask));
            return self.among(key.field, &those.map(Interval::one).collect());
        }
        if key.field == Field::EtherType {
            let those =
                [0x0800, 0x86dd].into_iter().filter(|value| values.contains(value & key.mask));
            return self.among(key.field, &those.map(Interval::one).collect());
        }
        let (first, end) = (layout::first(key.field), layout::end(key.field));
        self.masked(first, end, 0, key.mask, values.as_slice())
    }

    /// As [`Space::build`], where the bits outside of the mask are read as 0.
    fn masked(
        &mut self,
        variable: u32,
        end: u32,
        base: u128,
        mask: u128,
        spans: &[Interval],
    ) -> Result<Set, TooComplex> {
        let Some(first) = spans.first() else { return Ok(Set::EMPTY) };
        if variable == end {
            return Ok(if first.contains(base) { Set::ALL } else { Set::EMPTY });
        }
        let left = end - variable;
        if first.covers(Interval { first: base, last: base + ones(left) }) {
            return Ok(Set::ALL);
        }
        let middle = base + (1 << (left - 1));
        let lower = &spans[..spans.partition_point(|span| span.first < middle)];
        let lower = self.masked(variable + 1, end, base, mask, lower)?;
        if mask >> (left - 1) & 1 == 0 {
            return Ok(lower);
        }
        let upper = &spans[spans.partition_point(|span| span.last < middle)..];
        let upper = self.masked(variable + 1, end, middle, mask, upper)?;
        self.arena.decide(variable, lower, upper)
    }

    /// The packets from or to addresses of these networks.
    pub fn networks(&mut self, end: End, networks: &[IpNet]) -> Result<Set, TooComplex> {
        let mut of_version = |v6| {
            let field = end.field(v6);
            let own = networks.iter().filter(|network| network.addr().is_ipv6() == v6);
            let values: Intervals = own
                .filter_map(|network| {
                    let value = crate::model::field::address(network.addr());
                    Interval::prefix(value, u32::from(network.prefix_len()), field.bits())
                })
                .collect();
            self.among(field, &values)
        };
        let (v4, v6) = (of_version(false)?, of_version(true)?);
        // One variable tells the version, before all others.
        self.arena.decide(layout::first(Field::Version), v4, v6)
    }

    /// The packets from or to one address.
    pub fn address(&mut self, end: End, address: IpAddr) -> Result<Set, TooComplex> {
        self.networks(end, &[IpNet::from(address)])
    }

    /// The set with everything forgotten about some fields.
    pub fn forget(&mut self, set: Set, fields: &[Field]) -> Result<Set, TooComplex> {
        self.forget_these(set, layout::of(fields))
    }

    /// The set with everything forgotten but some fields.
    pub fn only(&mut self, set: Set, fields: &[Field]) -> Result<Set, TooComplex> {
        self.forget_these(set, layout::of(fields).map(|kept| !kept))
    }

    fn forget_these(
        &mut self,
        set: Set,
        these: [bool; Field::ALL.len()],
    ) -> Result<Set, TooComplex> {
        let arena = &mut self.arena;
        let variables = kept(&mut self.fields, these, || {
            arena.variables(|variable| these[layout::field(variable).index()])
        });
        self.arena.forget(set, &variables)
    }

    /// The set with everything forgotten about some bits of a field.
    pub(super) fn forget_bits(
        &mut self,
        set: Set,
        field: Field,
        bits: u128,
    ) -> Result<Set, TooComplex> {
        let arena = &mut self.arena;
        let variables = kept(&mut self.bits, Key { field, mask: bits }, || {
            arena.variables(|variable| {
                layout::has(field, variable) && bits >> (layout::end(field) - 1 - variable) & 1 == 1
            })
        });
        self.arena.forget(set, &variables)
    }

    /// What becomes of the variables by a change. It is the same for as long as the change is asked for.
    pub(super) fn substitution(
        &mut self,
        change: &Change,
        by: impl Fn(u32) -> Option<Substitute>,
    ) -> Rc<Substitution> {
        if let Some(known) = self.substitutions.get(change) {
            return Rc::clone(known);
        }
        let arena = &mut self.arena;
        kept(&mut self.substitutions, change.clone(), || arena.substitution(by))
    }

    /// Whether a packet is in the set.
    #[must_use]
    pub fn holds(&self, set: Set, packet: &Values) -> bool {
        self.arena.holds(set, |variable| packet.bit(variable))
    }

    /// The packet of the set that is most like what is wished: of the wishes, in their order, each is
    /// granted that can be together with those before, and what nobody wished for is as small as can
    /// be. None of an empty set.
    pub fn pick(&mut self, set: Set, wishes: &[Set]) -> Result<Option<Values>, TooComplex> {
        let mut left = set;
        for wish in wishes {
            let granted = self.and(left, *wish)?;
            if !granted.is_empty() {
                left = granted;
            }
        }
        let Some(demanded) = self.arena.least(left) else { return Ok(None) };
        let mut codes = [0_u128; Field::ALL.len()];
        for (variable, bit) in demanded {
            let field = layout::field(variable);
            codes[field.index()] |= u128::from(bit) << (layout::end(field) - 1 - variable);
        }
        let mut packet = Values::plain();
        for field in Field::ALL.into_iter().filter(|field| layout::bits(*field) > 0) {
            packet = packet.with(field, layout::value(field, codes[field.index()]));
        }
        Ok(Some(packet))
    }

    /// What a field can be in the packets of a set: values that leave the same other fields to choose
    /// stand together, with the packets that have them, of which the field is then forgotten. The set
    /// must not ask for fields that come before this one in the diagrams; take those apart first.
    pub fn by_value(&self, set: Set, field: Field) -> Result<Vec<(Intervals, Set)>, TooComplex> {
        let (first, end) = (layout::first(field), layout::end(field));
        let mut runs = Vec::new();
        self.runs(set, first, end, 0, &mut runs)?;
        let mut rests: Vec<(Set, Vec<Interval>)> = Vec::new();
        let mut places = HashMap::new();
        for (rest, run) in runs {
            let place = *places.entry(rest).or_insert_with(|| {
                rests.push((rest, Vec::new()));
                rests.len() - 1
            });
            rests[place].1.push(run);
        }
        let values = |runs: Vec<Interval>| -> Intervals {
            let Some(few) = layout::few(field) else { return runs.into_iter().collect() };
            let held =
                few.iter().zip(0..).filter(|(_, code)| runs.iter().any(|run| run.contains(*code)));
            held.map(|(value, _)| Interval::one(*value)).collect()
        };
        Ok(rests.into_iter().map(|(rest, runs)| (values(runs), rest)).collect())
    }

    fn runs(
        &self,
        set: Set,
        variable: u32,
        end: u32,
        base: u128,
        runs: &mut Vec<(Set, Interval)>,
    ) -> Result<(), TooComplex> {
        if set.is_empty() {
            return Ok(());
        }
        let left = end - variable;
        match self.arena.split(set) {
            Some((at, low, high)) if at < end => {
                debug_assert!(at >= variable, "fields before this one have been taken apart");
                let middle = base + (1 << (left - 1));
                let (low, high) = if at == variable { (low, high) } else { (set, set) };
                self.runs(low, variable + 1, end, base, runs)?;
                self.runs(high, variable + 1, end, middle, runs)
            }
            Some(_) | None => {
                if runs.len() == MAX_RUNS {
                    return Err(TooComplex::Many { most: MAX_RUNS, of: "runs of values" });
                }
                runs.push((set, Interval { first: base, last: base + ones(left) }));
                Ok(())
            }
        }
    }

    /// The diagrams themselves.
    pub(super) const fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }
}
