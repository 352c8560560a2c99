//! Sets of packets in words: as few blocks as possible, each the product of some values of each field.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use super::arena::{Set, TooComplex};
use super::layout;
use super::space::Space;
use crate::model::field::Field;
use crate::model::interval::{Intervals, ones};

/// Blocks that a set is taken apart into, at most.
pub const MAX_BLOCKS: usize = 200_000;
/// Up to so many blocks, each is made as large as it can be, so that fewer are needed; with more, only
/// those are joined that differ in one field.
const SPREAD: usize = 400;

/// The packets whose fields have one of these values each. Fields that may be anything are not there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block(Vec<(Field, Intervals)>);

impl Block {
    /// The values of a field; nothing where it may be anything.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&Intervals> {
        self.0.iter().find(|(of, _)| *of == field).map(|(_, values)| values)
    }

    /// Every field that may not be anything, with its values.
    #[must_use]
    pub fn fields(&self) -> &[(Field, Intervals)] {
        &self.0
    }

    /// The packets that it says.
    pub fn packets(&self, space: &mut Space) -> Result<Set, TooComplex> {
        self.set(space, None)
    }

    fn set(&self, space: &mut Space, but: Option<Field>) -> Result<Set, TooComplex> {
        let fields = self.0.iter().filter(|(field, _)| Some(*field) != but);
        space.product(fields.map(|(field, values)| (*field, values)))
    }
}

impl Space {
    /// A set as blocks, of which together it is made; they may overlap. What the fields that are not
    /// named have to do with it is left out: a packet counts if some value of them makes it one.
    pub fn blocks(&mut self, set: Set, fields: &[Field]) -> Result<Vec<Block>, TooComplex> {
        let mut fields = fields.to_vec();
        fields.sort_unstable_by_key(|field| layout::first(*field));
        let set = self.only(set, &fields)?;
        let mut blocks = Vec::new();
        self.apart(set, &fields, &mut Vec::new(), &mut blocks)?;
        let blocks = joined(blocks, &fields);
        if blocks.len() < 2 || blocks.len() > SPREAD {
            return Ok(blocks);
        }
        self.spread(set, &blocks, &fields)
    }

    fn apart(
        &self,
        set: Set,
        fields: &[Field],
        begun: &mut Vec<(Field, Intervals)>,
        blocks: &mut Vec<Block>,
    ) -> Result<(), TooComplex> {
        let Some((field, others)) = fields.split_first() else {
            if !set.is_empty() {
                if blocks.len() == MAX_BLOCKS {
                    return Err(TooComplex::Many { most: MAX_BLOCKS, of: "blocks of packets" });
                }
                blocks.push(Block(begun.clone()));
            }
            return Ok(());
        };
        for (values, rest) in self.by_value(set, *field)? {
            let free = is_everything(*field, &values);
            if !free {
                begun.push((*field, values));
            }
            self.apart(rest, others, begun, blocks)?;
            if !free {
                begun.pop();
            }
        }
        Ok(())
    }

    /// Makes every block as large as the set lets it be, and leaves out those that are then not needed.
    fn spread(
        &mut self,
        set: Set,
        blocks: &[Block],
        fields: &[Field],
    ) -> Result<Vec<Block>, TooComplex> {
        let outside = self.others(set)?;
        let mut left = set;
        let mut large = Vec::new();
        for block in blocks {
            let own = block.set(self, None)?;
            if self.and(own, left)?.is_empty() {
                continue;
            }
            let mut block = block.clone();
            // A block of both versions would speak of addresses of one of them only.
            for field in fields.iter().rev().filter(|field| **field != Field::Version) {
                // Values with which something of the block would lie outside of the set.
                let around = block.set(self, Some(*field))?;
                let wrong = self.and(around, outside)?;
                let wrong = self.only(wrong, &[*field])?;
                let right = self.others(wrong)?;
                let runs = self.by_value(right, *field)?;
                let values = runs.into_iter().map(|(values, _)| values);
                let values = values.reduce(|all, more| all.or(&more)).unwrap_or_default();
                block.0.retain(|(of, _)| of != field);
                if !is_everything(*field, &values) {
                    block.0.push((*field, values));
                    block.0.sort_unstable_by_key(|(field, _)| layout::first(*field));
                }
            }
            let own = block.set(self, None)?;
            left = self.without(left, own)?;
            large.push((block, own));
        }
        // Those that the others make up for go, the last found first.
        let mut kept = large;
        let mut nth = kept.len();
        while nth > 0 {
            nth -= 1;
            let others = kept.iter().enumerate().filter(|(place, _)| *place != nth);
            let others: Vec<Set> = others.map(|(_, (_, own))| *own).collect();
            let others = self.any_of(&others)?;
            if self.is_within(kept[nth].1, others)? {
                kept.remove(nth);
            }
        }
        Ok(kept.into_iter().map(|(block, _)| block).collect())
    }
}

/// Whether these are all values that a field can have.
fn is_everything(field: Field, values: &Intervals) -> bool {
    match layout::few(field) {
        Some(few) => few.iter().all(|value| values.contains(*value)),
        None => {
            let all = ones(layout::bits(field));
            values.as_slice().first().is_some_and(|run| run.first == 0 && run.last >= all)
        }
    }
}

/// Joins blocks that differ in one field only, until there are none.
fn joined(blocks: Vec<Block>, fields: &[Field]) -> Vec<Block> {
    let mut blocks = blocks;
    loop {
        let before = blocks.len();
        for field in fields {
            // Blocks of which none asks for it differ in another.
            if blocks.iter().all(|block| block.get(*field).is_none()) {
                continue;
            }
            let mut places: HashMap<u64, Vec<usize>> = HashMap::with_capacity(blocks.len());
            let hasher = places.hasher().clone();
            let mut together: Vec<(Block, Option<Intervals>)> = Vec::with_capacity(blocks.len());
            for block in blocks {
                let mut others = block;
                let at = others.0.iter().position(|(of, _)| of == field);
                let values = at.map(|at| others.0.remove(at).1);
                let same = places.entry(hasher.hash_one(&others)).or_default();
                let known = same.iter().copied().find(|place| together[*place].0 == others);
                match known {
                    Some(place) => {
                        let had = together[place].1.take();
                        // Without values it may be anything already.
                        together[place].1 = had.zip(values).map(|(had, values)| had.or(&values));
                    }
                    None => {
                        same.push(together.len());
                        together.push((others, values));
                    }
                }
            }
            blocks = together
                .into_iter()
                .map(|(mut block, values)| {
                    if let Some(values) = values.filter(|values| !is_everything(*field, values)) {
                        block.0.push((*field, values));
                        block.0.sort_unstable_by_key(|(field, _)| layout::first(*field));
                    }
                    block
                })
                .collect();
        }
        if blocks.len() == before {
            return blocks;
        }
    }
}
