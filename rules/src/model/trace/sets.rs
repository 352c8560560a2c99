//! Look-ups in sets and maps.

use super::live::{Known, Live, Truth};
use crate::model::classify::{At, Classes, MAX_DIMENSIONS};
use crate::model::field::Key;
use crate::model::interval::Intervals;
use crate::model::ruleset::{Data, Set};

/// The most elements that are asked one by one where a key is not known.
const MAX_TRIED: usize = 4_096;

/// A set made ready for look-ups.
#[derive(Debug)]
pub(super) struct SetIndex {
    shape: Shape,
    /// All keys of a set with one part, where every element is sure.
    pub keys: Option<Intervals>,
}

#[derive(Debug)]
enum Shape {
    /// One part: first and last of each element with its place, in order.
    One(Vec<(u128, u128, usize)>),
    /// Several parts, or elements that overlap.
    Several(Classes),
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'s> {
    /// Nothing.
    Nothing,
    /// This.
    Data(&'s Data),
    /// One of these; `None` is nothing.
    OneOf(Vec<Option<&'s Data>>),
    /// Nobody knows what.
    Unknown,
}

impl SetIndex {
    pub(super) fn new(set: &Set) -> Self {
        let parts = set.elements.iter().map(|element| element.key.len()).max().unwrap_or(1);
        let sure = !set.changing && set.elements.iter().all(|element| !element.unsure);
        let one = (parts == 1).then(|| {
            let mut all: Vec<(u128, u128, usize)> = (set.elements.iter().enumerate())
                .filter_map(|(place, element)| {
                    element.key.first().map(|key| (key.first, key.last, place))
                })
                .collect();
            all.sort_unstable();
            all
        });
        let one = one.filter(|all| all.windows(2).all(|two| two[0].1 < two[1].0));
        let keys = (sure && parts == 1 && set.otherwise.is_none()).then(|| {
            set.elements.iter().filter_map(|element| element.key.first().copied()).collect()
        });
        let shape = match one {
            Some(all) => Shape::One(all),
            None => {
                let dimensions = parts.min(MAX_DIMENSIONS);
                let items: Vec<Vec<Option<Intervals>>> = (set.elements.iter())
                    .map(|element| {
                        let part = |nth: usize| element.key.get(nth).map(|one| (*one).into());
                        (0..dimensions).map(part).collect()
                    })
                    .collect();
                Shape::Several(Classes::new(dimensions, &items))
            }
        };
        Self { shape, keys }
    }

    /// What a set has for the keys of a packet. `None` where the packet has no such thing.
    pub(super) fn find<'s>(
        &self,
        set: &'s Set,
        keys: &[Key],
        live: &Live<'_>,
    ) -> Option<Found<'s>> {
        let mut values = [0; MAX_DIMENSIONS];
        let mut known = true;
        if keys.len() > MAX_DIMENSIONS {
            return Some(Found::Unknown);
        }
        for (place, key) in keys.iter().enumerate() {
            match live.view(key.field).as_ref() {
                Known::Absent => return None,
                Known::Is(value) => values[place] = value & key.mask,
                Known::Among(_) | Known::Any => known = false,
            }
        }
        if set.changing {
            return Some(Found::Unknown);
        }
        if !known {
            return Some(Self::tried(set, keys, live));
        }
        let found = self.place(set, &values[..keys.len()]);
        Some(match found.map(|place| &set.elements[place]) {
            Some(element) if element.unsure => {
                Found::OneOf(vec![set.otherwise.as_ref(), Some(&element.data)])
            }
            Some(element) => Found::Data(&element.data),
            None => set.otherwise.as_ref().map_or(Found::Nothing, Found::Data),
        })
    }

    fn place(&self, set: &Set, values: &[u128]) -> Option<usize> {
        match &self.shape {
            Shape::One(all) => {
                let [value] = values else { return None };
                let after = all.partition_point(|(first, ..)| first <= value);
                let (_, last, place) = all.get(after.checked_sub(1)?)?;
                (value <= last).then_some(*place)
            }
            Shape::Several(classes) => {
                let mut packet = [At::Nothing; MAX_DIMENSIONS];
                for (at, value) in packet.iter_mut().zip(values) {
                    *at = At::Value(*value);
                }
                let mut found = None;
                classes.visit(&packet[..values.len()], |place| {
                    let key = &set.elements[place].key;
                    let hit = key.len() == values.len()
                        && key.iter().zip(values).all(|(part, value)| part.contains(*value));
                    if hit {
                        found = Some(place);
                    }
                    !hit
                });
                found
            }
        }
    }

    /// What a set may have where some of the keys are not known.
    fn tried<'s>(set: &'s Set, keys: &[Key], live: &Live<'_>) -> Found<'s> {
        if set.elements.len() > MAX_TRIED {
            return Found::Unknown;
        }
        let mut found: Vec<Option<&Data>> = Vec::new();
        let mut sure = false;
        for element in &set.elements {
            let parts =
                element.key.iter().zip(keys).map(|(part, key)| {
                    live.has(*key, &Intervals::from(*part)).unwrap_or(Truth::No)
                });
            let all: Vec<Truth> = parts.collect();
            if all.contains(&Truth::No) {
                continue;
            }
            if !found.contains(&Some(&element.data)) {
                found.push(Some(&element.data));
            }
            if !all.contains(&Truth::Maybe) && !element.unsure {
                sure = true;
            }
        }
        let otherwise = set.otherwise.as_ref();
        if !sure && !found.contains(&otherwise) {
            found.insert(0, otherwise);
        }
        match found.as_slice() {
            [None] | [] => Found::Nothing,
            [Some(one)] => Found::Data(one),
            _ => Found::OneOf(found),
        }
    }
}
