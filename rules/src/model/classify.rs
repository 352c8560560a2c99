//! Which of many rules or elements a packet can concern, without asking each.
//!
//! Every item says which values of each dimension it is for. The values of one dimension fall into
//! pieces within which the same items are concerned, and of each piece these items are kept as
//! bits: what concerns a packet is the intersection of one row of bits for each dimension
//! (Lakshman and Stiliadis, SIGCOMM 1998).

use super::interval::Intervals;

/// Items in one block: a row of bits is so long, and a dimension has at most twice as many rows and
/// one, which is one MiB.
const BLOCK: usize = 2_048;
const WORD: usize = 64;

/// Items by what they are for.
#[derive(Debug, Clone, Default)]
pub(super) struct Classes {
    blocks: Vec<Block>,
    dimensions: usize,
}

#[derive(Debug, Clone)]
struct Block {
    /// What each dimension tells apart; those that tell nothing apart are left out.
    dimensions: Vec<(usize, Dimension)>,
    items: usize,
}

/// One dimension of one block.
#[derive(Debug, Clone)]
struct Dimension {
    /// Where a piece begins, in order; the first one at zero.
    starts: Vec<u128>,
    /// For each piece the items that are for it.
    rows: Vec<Vec<u64>>,
    /// Items that are for packets without any value in this dimension.
    without: Vec<u64>,
}

/// What a packet has in a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// This value.
    Value(u128),
    /// None: only what does not ask can concern it.
    Nothing,
    /// It is not known: anything can.
    Anything,
}

impl Classes {
    /// Classes of items, each with what it wants of every dimension; `None` wants nothing.
    pub(super) fn new(dimensions: usize, items: &[Vec<Option<Intervals>>]) -> Self {
        let block = |items: &[Vec<Option<Intervals>>]| Block {
            dimensions: (0..dimensions)
                .filter_map(|nth| Some((nth, Dimension::new(nth, items)?)))
                .collect(),
            items: items.len(),
        };
        Self { blocks: items.chunks(BLOCK).map(block).collect(), dimensions }
    }

    /// Calls `each` with every item that may concern a packet, in order, until it says `false`.
    pub(super) fn visit(&self, packet: &[At], mut each: impl FnMut(usize) -> bool) {
        debug_assert_eq!(packet.len(), self.dimensions);
        // As many as there are fields to ask about.
        let mut rows: [&[u64]; MAX_DIMENSIONS] = [&[]; MAX_DIMENSIONS];
        for (nth, block) in self.blocks.iter().enumerate() {
            let mut count = 0;
            for (dimension, index) in &block.dimensions {
                if let Some(row) = index.row(packet[*dimension]) {
                    rows[count] = row;
                    count += 1;
                }
            }
            for word in 0..block.items.div_ceil(WORD) {
                let left = block.items - word * WORD;
                let all = if left >= WORD { u64::MAX } else { (1 << left) - 1 };
                let mut bits = rows[..count].iter().fold(all, |bits, row| bits & row[word]);
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize;
                    if !each(nth * BLOCK + word * WORD + bit) {
                        return;
                    }
                    bits &= bits - 1;
                }
            }
        }
    }
}

/// Dimensions at most.
pub(super) const MAX_DIMENSIONS: usize = 16;

impl Dimension {
    /// None where no item asks.
    fn new(nth: usize, items: &[Vec<Option<Intervals>>]) -> Option<Self> {
        let words = items.len().div_ceil(WORD);
        let (mut without, mut events) = (vec![0; words], Vec::new());
        for (place, item) in items.iter().enumerate() {
            match &item[nth] {
                None => set(&mut without, place, true),
                Some(wanted) => {
                    for one in wanted.as_slice() {
                        events.push((one.first, place, true));
                        events.extend(one.last.checked_add(1).map(|after| (after, place, false)));
                    }
                }
            }
        }
        if items.iter().all(|item| item[nth].is_none()) {
            return None;
        }
        // What ends at a value goes before what begins there.
        events.sort_unstable_by_key(|(at, place, begins)| (*at, *begins, *place));
        let (mut starts, mut rows) = (vec![0], Vec::new());
        let mut now = without.clone();
        for (at, place, begins) in events {
            if at != starts[starts.len() - 1] {
                starts.push(at);
                rows.push(now.clone());
            }
            set(&mut now, place, begins);
        }
        rows.push(now);
        Some(Self { starts, rows, without })
    }

    fn row(&self, at: At) -> Option<&[u64]> {
        match at {
            At::Value(value) => {
                let after = self.starts.partition_point(|start| *start <= value);
                // The first piece begins at zero, so that there is one before.
                self.rows.get(after - 1).map(Vec::as_slice)
            }
            At::Nothing => Some(&self.without),
            At::Anything => None,
        }
    }
}

fn set(row: &mut [u64], place: usize, on: bool) {
    let bit = 1 << (place % WORD);
    if on {
        row[place / WORD] |= bit;
    } else {
        row[place / WORD] &= !bit;
    }
}
