//! How packets are changed on their way: marks, translated addresses, hops.

use std::collections::BTreeMap;

use super::arena::{Set, Substitute, TooComplex};
use super::layout;
use super::space::{Space, Values};
use crate::model::field::{Field, Key};
use crate::model::interval::{Intervals, ones};

/// What becomes of a packet's fields; those that are not named stay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Change {
    fields: BTreeMap<Field, Becomes>,
    /// Whether something that is not understood may have changed it so.
    unsure: bool,
}

/// What becomes of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Becomes {
    /// `(of & and) ^ xor`, where `of` is what a field had before, often the same one.
    Bits { of: Field, and: u128, xor: u128 },
    /// Any of these: somebody else chooses.
    AnyOf(Intervals),
}

/// The packets that a change takes into a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// Whatever is chosen.
    pub surely: Set,
    /// If the choice is right.
    pub maybe: Set,
}

impl Change {
    /// No change at all.
    pub const NONE: Self = Self { fields: BTreeMap::new(), unsure: false };

    /// Whether it leaves every packet as it was.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.fields.is_empty() && !self.unsure
    }

    /// Whether it is not known that packets are changed so.
    #[must_use]
    pub const fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// The fields that may be others than before.
    pub fn fields(&self) -> impl Iterator<Item = Field> + '_ {
        self.fields.keys().copied()
    }

    /// The one value that a field has afterwards, whatever it was.
    #[must_use]
    pub fn fixes(&self, field: Field) -> Option<u128> {
        match self.fields.get(&field) {
            Some(Becomes::Bits { and: 0, xor, .. }) => Some(*xor),
            Some(Becomes::Bits { .. } | Becomes::AnyOf(_)) | None => None,
        }
    }

    /// The values that a field can have afterwards, whatever it was; nothing where that depends.
    #[must_use]
    pub fn gives(&self, field: Field) -> Option<Intervals> {
        match self.fields.get(&field) {
            Some(Becomes::Bits { and: 0, xor, .. }) => Some(Intervals::one(*xor)),
            Some(Becomes::AnyOf(values)) => Some(values.clone()),
            Some(Becomes::Bits { .. }) | None => None,
        }
    }

    /// This change, as far as it is one of these fields.
    #[must_use]
    pub fn of_fields(&self, fields: &[Field]) -> Self {
        let kept = self.fields.iter().filter(|(field, _)| fields.contains(field));
        let fields = kept.map(|(field, becomes)| (*field, becomes.clone())).collect();
        Self { fields, unsure: self.unsure }
    }

    /// The field then gets a value.
    pub fn set(&mut self, field: Field, value: u128) {
        self.bits(field, field, 0, value);
    }

    /// The field then gets `(of & and) ^ xor`. Fields of few values are set as a whole, or copied.
    pub fn bits(&mut self, field: Field, of: Field, and: u128, xor: u128) {
        let all = ones(layout::bits(field).max(field.bits()));
        let becomes = self.after(&Becomes::Bits { of, and: and & all, xor: xor & all });
        self.keep(field, becomes);
    }

    /// The field then gets one of these values, and nobody knows which.
    pub fn choose(&mut self, field: Field, values: Intervals) {
        match values.single() {
            Some(value) => self.set(field, value),
            None => self.keep(field, Becomes::AnyOf(values)),
        }
    }

    /// The field may then be anything, and nobody knows why.
    pub fn lose(&mut self, field: Field) {
        self.unsure = true;
        self.keep(field, Becomes::AnyOf(Intervals::all(field.bits())));
    }

    /// This change, and then another.
    #[must_use]
    pub fn followed_by(&self, next: &Self) -> Self {
        let mut both = self.clone();
        both.unsure |= next.unsure;
        for (field, becomes) in &next.fields {
            let becomes = self.after(becomes);
            both.keep(*field, becomes);
        }
        both
    }

    /// What `next` comes to in terms of the packet before this change.
    fn after(&self, next: &Becomes) -> Becomes {
        let Becomes::Bits { of, and, xor } = next else { return next.clone() };
        match self.fields.get(of) {
            None => next.clone(),
            Some(Becomes::Bits { of, and: had, xor: turned }) => {
                Becomes::Bits { of: *of, and: had & and, xor: turned & and ^ xor }
            }
            Some(_) if *and == 0 => next.clone(),
            Some(chosen) if *and == ones(of.bits()) && *xor == 0 => chosen.clone(),
            // Some bits of a value that somebody chose: taken for a free choice of all.
            Some(_) => Becomes::AnyOf(Intervals::all(of.bits())),
        }
    }

    fn keep(&mut self, field: Field, becomes: Becomes) {
        match becomes {
            Becomes::Bits { of, and, xor: 0 } if of == field && and == ones(field.bits()) => {
                self.fields.remove(&field);
            }
            // What no bit is kept of is the same whatever it was.
            Becomes::Bits { and: 0, xor, .. } => {
                self.fields.insert(field, Becomes::Bits { of: field, and: 0, xor });
            }
            other => {
                self.fields.insert(field, other);
            }
        }
    }

    /// The packets that are in `set` once they are changed.
    pub fn before(&self, space: &mut Space, set: Set) -> Result<Before, TooComplex> {
        if self.is_none() {
            return Ok(Before { surely: set, maybe: set });
        }
        let mut choices = Set::ALL;
        let mut chosen = Vec::new();
        for (field, becomes) in &self.fields {
            if let Becomes::AnyOf(values) = becomes {
                let values = space.among(*field, values)?;
                choices = space.and(choices, values)?;
                chosen.push(*field);
            }
        }
        let (mut surely, mut maybe) = (set, set);
        if !chosen.is_empty() {
            let hit = space.and(set, choices)?;
            maybe = space.forget(hit, &chosen)?;
            let missed = space.without(choices, set)?;
            let missed = space.forget(missed, &chosen)?;
            surely = space.others(missed)?;
        }
        let same = surely == maybe;
        let computed = space.substitution(self, |variable| self.computes(variable));
        let maybe = space.arena().substitute(maybe, &computed)?;
        let surely = if same { maybe } else { space.arena().substitute(surely, &computed)? };
        Ok(Before { surely, maybe })
    }

    /// What a variable is made of; nothing where it stays, or somebody chooses it.
    fn computes(&self, variable: u32) -> Option<Substitute> {
        let field = layout::field(variable);
        let Becomes::Bits { of, and, xor } = self.fields.get(&field)? else { return None };
        let bit = layout::end(field) - 1 - variable;
        // Of fields with few values numbers stand in the diagrams, and not the values.
        let fixed = if layout::few(field).is_some() && *and == 0 {
            layout::code(field, *xor)
        } else {
            *xor
        };
        let turned = fixed >> bit & 1 == 1;
        Some(if and >> bit & 1 == 1 {
            Substitute::Variable(layout::end(*of) - 1 - bit, turned)
        } else {
            Substitute::Bit(turned)
        })
    }

    /// What the packets of `set` become. What is copied from another field is taken for a free choice:
    /// a diagram of two fields that agree would be beyond every bound.
    pub fn image(&self, space: &mut Space, set: Set) -> Result<Set, TooComplex> {
        let mut image = set;
        for (&field, becomes) in &self.fields {
            image = match becomes {
                Becomes::AnyOf(values) => {
                    let image = space.forget(image, &[field])?;
                    let values = space.among(field, values)?;
                    space.and(image, values)?
                }
                Becomes::Bits { and: 0, xor, .. } => {
                    let image = space.forget(image, &[field])?;
                    let value = space.value(field, *xor)?;
                    space.and(image, value)?
                }
                Becomes::Bits { of, .. } if *of != field => space.forget(image, &[field])?,
                Becomes::Bits { and, xor, .. } => {
                    let image = turned(space, image, field, and & xor)?;
                    let given = ones(field.bits()) & !and;
                    let image = space.forget_bits(image, field, given)?;
                    let key = Key { field, mask: given };
                    let these = space.key(key, &Intervals::one(xor & given))?;
                    space.and(image, these)?
                }
            };
        }
        Ok(image)
    }

    /// What one packet becomes, with the first of what can be chosen.
    #[must_use]
    pub fn of(&self, packet: &Values) -> Values {
        let mut changed = *packet;
        for (field, becomes) in &self.fields {
            let value = match becomes {
                Becomes::AnyOf(values) => values.as_slice().first().map_or(0, |run| run.first),
                Becomes::Bits { of, and, xor } => packet.get(*of) & and ^ xor,
            };
            changed = changed.with(*field, value);
        }
        changed
    }
}

/// The set with some bits of a field turned.
fn turned(space: &mut Space, set: Set, field: Field, bits: u128) -> Result<Set, TooComplex> {
    if bits == 0 {
        return Ok(set);
    }
    // The same that a change by these bits undoes.
    let mut turns = Change::NONE;
    turns.bits(field, field, ones(field.bits()), bits);
    Ok(turns.before(space, set)?.maybe)
}
