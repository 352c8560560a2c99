//! The decision diagrams that packet sets are made of.
//!
//! Reduced ordered binary decision diagrams (Bryant, 1986), hash-consed in one arena: two sets are
//! equal exactly when their numbers are. An arena belongs to one proof and is dropped with it, so
//! nothing is ever collected and no capacity has to be guessed. It never holds more nodes than it was
//! allowed: an operation that would need more fails with [`TooComplex`], and gives no set at all
//! rather than a wrong one.

use super::layout::VARIABLES;

/// Nodes that an arena holds unless told otherwise: about 500 MiB with its tables.
pub const NODES: usize = 1 << 24;
/// Results of operations that are remembered, at most: 64 MiB.
const REMEMBERED: usize = 1 << 22;
/// What both begin with.
const FIRST: usize = 1 << 12;
/// The place of a table in which nothing stands.
const FREE: u32 = u32::MAX;

/// A set of packets: a number that means something only in the arena that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(u32);

impl Set {
    /// Nothing.
    pub const EMPTY: Self = Self(0);
    /// Every packet that there can be.
    pub const ALL: Self = Self(1);

    /// Whether there is no packet in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is asked cannot be told within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooComplex {
    /// The sets would need more memory than they may have.
    #[error("the packet sets need more than {nodes} nodes")]
    Nodes {
        /// Nodes that there may be.
        nodes: usize,
    },
    /// There would be too many of something else, however much memory there is.
    #[error("there are more than {most} {of}")]
    Many {
        /// How many there may be.
        most: usize,
        /// Of what.
        of: &'static str,
    },
    /// Of the packets that were found none can be followed on its way.
    #[error("packets were found of which none can be shown")]
    Unshown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    variable: u16,
    /// The last variable that decides below it.
    last: u16,
    low: Set,
    high: Set,
}

/// The variable of the two ends, which is below every other.
const END: u16 = u16::MAX;
const _: () = assert!(VARIABLES < END as usize, "a variable is told in 16 bits");

/// Some variables of an arena, so that it is seen at once whether any of them decides in a part of a
/// diagram.
#[derive(Debug)]
pub(super) struct Variables {
    /// For each variable the first of these that is not before it.
    next: Vec<u16>,
    /// The number of the operation that forgets them.
    forget: u32,
}

impl Variables {
    fn has(&self, variable: u16) -> bool {
        self.next[usize::from(variable)] == variable
    }

    /// Whether any of them may decide in what a node stands for.
    fn decide_in(&self, node: Node) -> bool {
        node.variable != END && self.next[usize::from(node.variable)] <= node.last
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Operation {
    And = 1,
    Or = 2,
    Without = 3,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    operation: u32,
    left: Set,
    right: Set,
    result: Set,
}

impl Remembered {
    const NOTHING: Self =
        Self { operation: 0, left: Set::EMPTY, right: Set::EMPTY, result: Set::EMPTY };
}

impl Operation {
    /// The first number that none of these has.
    const NEXT: u32 = Self::Without as u32 + 1;
}

/// What becomes of a variable in [`Arena::substitute`]; all others stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Substitute {
    /// It has this value.
    Bit(bool),
    /// It has the value of a variable, often itself, or where told so the other value.
    Variable(u32, bool),
}

/// What becomes of some variables of an arena.
#[derive(Debug)]
pub(super) struct Substitution {
    variables: Variables,
    /// Of each of the variables, in their order.
    by: Vec<(u32, Substitute)>,
    /// The number of the operation that does it.
    number: u32,
}

impl Substitution {
    fn of(&self, variable: u32) -> Substitute {
        let place = self.by.binary_search_by_key(&variable, |(variable, _)| *variable);
        place.map_or(Substitute::Variable(variable, false), |place| self.by[place].1)
    }
}

/// All nodes of one proof.
#[derive(Debug)]
pub(super) struct Arena {
    nodes: Vec<Node>,
    unique: Vec<u32>,
    remembered: Vec<Remembered>,
    /// The number of the next operation on one diagram. None is given twice, so that what is remembered of
    /// one is never taken for another's.
    operation: u32,
    at_most: usize,
}

impl Arena {
    /// An arena of at most so many nodes.
    pub(super) fn new(at_most: usize) -> Self {
        // The two ends are nodes below every variable.
        let end = |set| Node { variable: END, last: 0, low: set, high: set };
        Self {
            nodes: vec![end(Set::EMPTY), end(Set::ALL)],
            unique: vec![FREE; FIRST],
            remembered: vec![Remembered::NOTHING; FIRST],
            operation: Operation::NEXT,
            at_most: at_most.min(FREE as usize),
        }
    }

    /// Nodes that it holds.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    const fn node(&self, set: Set) -> Node {
        self.nodes.as_slice()[set.0 as usize]
    }

    /// The variable that decides first, and what follows from its values; nothing for the two ends.
    pub(super) fn split(&self, set: Set) -> Option<(u32, Set, Set)> {
        let node = self.node(set);
        (node.variable != END).then_some((u32::from(node.variable), node.low, node.high))
    }

    /// The set that is `low` where the variable is 0 and `high` where it is 1. Both must be decided
    /// by later variables only.
    pub(super) fn decide(&mut self, variable: u32, low: Set, high: Set) -> Result<Set, TooComplex> {
        let variable = u16::try_from(variable).unwrap_or(END);
        self.decided(variable, low, high)
    }

    fn decided(&mut self, variable: u16, low: Set, high: Set) -> Result<Set, TooComplex> {
        if low == high {
            return Ok(low);
        }
        let below = [self.node(low), self.node(high)];
        debug_assert!(below.iter().all(|one| variable < one.variable), "later variables only");
        let last = variable.max(below[0].last).max(below[1].last);
        let node = Node { variable, last, low, high };
        let mask = self.unique.len() - 1;
        let mut place = mix(variable.into(), low.0, high.0) & mask;
        while self.unique[place] != FREE {
            if self.nodes[self.unique[place] as usize] == node {
                return Ok(Set(self.unique[place]));
            }
            place = (place + 1) & mask;
        }
        if self.nodes.len() >= self.at_most {
            return Err(TooComplex::Nodes { nodes: self.at_most });
        }
        let number = u32::try_from(self.nodes.len()).expect("bounded by at_most");
        self.unique[place] = number;
        self.nodes.push(node);
        if self.nodes.len() * 2 > self.unique.len() {
            self.grow();
        }
        Ok(Set(number))
    }

    fn grow(&mut self) {
        // What is larger than need be lies further apart, and caches hold less of it.
        let size = self.unique.len() * 2;
        let mask = size - 1;
        let mut unique = vec![FREE; size];
        for (number, node) in self.nodes.iter().enumerate().skip(2) {
            let mut place = mix(node.variable.into(), node.low.0, node.high.0) & mask;
            while unique[place] != FREE {
                place = (place + 1) & mask;
            }
            unique[place] = u32::try_from(number).expect("bounded by at_most");
        }
        self.unique = unique;
        let size = size.min(REMEMBERED);
        if size > self.remembered.len() {
            let mask = size - 1;
            let mut remembered = vec![Remembered::NOTHING; size];
            for one in self.remembered.iter().filter(|one| one.operation != 0) {
                remembered[mix(one.operation, one.left.0, one.right.0) & mask] = *one;
            }
            self.remembered = remembered;
        }
    }

    /// What is in both.
    pub(super) fn and(&mut self, left: Set, right: Set) -> Result<Set, TooComplex> {
        self.apply(Operation::And, left, right)
    }

    /// What is in one or the other.
    pub(super) fn or(&mut self, left: Set, right: Set) -> Result<Set, TooComplex> {
        self.apply(Operation::Or, left, right)
    }

    /// What is in the first and not in the second.
    pub(super) fn without(&mut self, left: Set, right: Set) -> Result<Set, TooComplex> {
        self.apply(Operation::Without, left, right)
    }

    /// The union of many, by halves, which keeps what is worked on small.
    pub(super) fn any_of(&mut self, sets: &[Set]) -> Result<Set, TooComplex> {
        match sets {
            [] => Ok(Set::EMPTY),
            [one] => Ok(*one),
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                let (left, right) = (self.any_of(left)?, self.any_of(right)?);
                self.or(left, right)
            }
        }
    }

    fn apply(&mut self, operation: Operation, left: Set, right: Set) -> Result<Set, TooComplex> {
        let (left, right) = match operation {
            Operation::And => match (left, right) {
                (Set::EMPTY, _) | (_, Set::EMPTY) => return Ok(Set::EMPTY),
                (Set::ALL, other) | (other, Set::ALL) => return Ok(other),
                (left, right) if left == right => return Ok(left),
                (left, right) => (left.min(right), left.max(right)),
            },
            Operation::Or => match (left, right) {
                (Set::ALL, _) | (_, Set::ALL) => return Ok(Set::ALL),
                (Set::EMPTY, other) | (other, Set::EMPTY) => return Ok(other),
                (left, right) if left == right => return Ok(left),
                (left, right) => (left.min(right), left.max(right)),
            },
            Operation::Without => match (left, right) {
                (Set::EMPTY, _) | (_, Set::ALL) => return Ok(Set::EMPTY),
                (left, Set::EMPTY) => return Ok(left),
                (left, right) if left == right => return Ok(Set::EMPTY),
                both => both,
            },
        };
        let key = mix(operation as u32, left.0, right.0);
        if let Some(known) = self.known(key, operation as u32, left, right) {
            return Ok(known);
        }
        let (one, other) = (self.node(left), self.node(right));
        let variable = one.variable.min(other.variable);
        let (left_low, left_high) =
            if one.variable == variable { (one.low, one.high) } else { (left, left) };
        let (right_low, right_high) =
            if other.variable == variable { (other.low, other.high) } else { (right, right) };
        let low = self.apply(operation, left_low, right_low)?;
        let high = self.apply(operation, left_high, right_high)?;
        let result = self.decided(variable, low, high)?;
        self.remember(key, Remembered { operation: operation as u32, left, right, result });
        Ok(result)
    }

    /// What was found for an operation, where that is still remembered.
    fn known(&self, key: usize, operation: u32, left: Set, right: Set) -> Option<Set> {
        let known = self.remembered[key & (self.remembered.len() - 1)];
        let is_it = known.operation == operation && known.left == left && known.right == right;
        is_it.then_some(known.result)
    }

    fn remember(&mut self, key: usize, found: Remembered) {
        let place = key & (self.remembered.len() - 1);
        self.remembered[place] = found;
    }

    fn next_operation(&mut self) -> u32 {
        let number = self.operation;
        self.operation = number.checked_add(1).expect("four thousand million are not asked for");
        number
    }

    /// Some variables, by their numbers.
    pub(super) fn variables(&mut self, is_one: impl Fn(u32) -> bool) -> Variables {
        let mut next = vec![END; VARIABLES];
        let mut found = END;
        for (variable, place) in next.iter_mut().enumerate().rev() {
            let variable = u16::try_from(variable).unwrap_or(END);
            if is_one(variable.into()) {
                found = variable;
            }
            *place = found;
        }
        Variables { next, forget: self.next_operation() }
    }

    /// What becomes of some variables; nothing becomes of those of which nothing is told.
    pub(super) fn substitution(&mut self, by: impl Fn(u32) -> Option<Substitute>) -> Substitution {
        let all = (0..).take(VARIABLES);
        let told = all.filter_map(|variable| Some((variable, by(variable)?))).collect();
        let variables = self.variables(|variable| by(variable).is_some());
        Substitution { variables, by: told, number: self.next_operation() }
    }

    /// The set with everything forgotten about some variables: what is in it for any of their values.
    pub(super) fn forget(&mut self, set: Set, variables: &Variables) -> Result<Set, TooComplex> {
        let node = self.node(set);
        if !variables.decide_in(node) {
            return Ok(set);
        }
        let key = mix(variables.forget, set.0, 0);
        if let Some(known) = self.known(key, variables.forget, set, Set::EMPTY) {
            return Ok(known);
        }
        let low = self.forget(node.low, variables)?;
        let high = self.forget(node.high, variables)?;
        let result = if variables.has(node.variable) {
            self.or(low, high)?
        } else {
            self.decided(node.variable, low, high)?
        };
        let operation = variables.forget;
        self.remember(key, Remembered { operation, left: set, right: Set::EMPTY, result });
        Ok(result)
    }

    /// The assignments that are in the set once each of some variables has been replaced as told.
    pub(super) fn substitute(
        &mut self,
        set: Set,
        substitution: &Substitution,
    ) -> Result<Set, TooComplex> {
        let node = self.node(set);
        if !substitution.variables.decide_in(node) {
            return Ok(set);
        }
        let key = mix(substitution.number, set.0, 0);
        if let Some(known) = self.known(key, substitution.number, set, Set::EMPTY) {
            return Ok(known);
        }
        let result = match substitution.of(node.variable.into()) {
            Substitute::Bit(false) => self.substitute(node.low, substitution)?,
            Substitute::Bit(true) => self.substitute(node.high, substitution)?,
            Substitute::Variable(other, turned) => {
                let low = self.substitute(node.low, substitution)?;
                let high = self.substitute(node.high, substitution)?;
                let (low, high) = if turned { (high, low) } else { (low, high) };
                self.choose(other, low, high)?
            }
        };
        let operation = substitution.number;
        self.remember(key, Remembered { operation, left: set, right: Set::EMPTY, result });
        Ok(result)
    }

    /// As [`Arena::decide`], where earlier variables may decide too.
    fn choose(&mut self, variable: u32, low: Set, high: Set) -> Result<Set, TooComplex> {
        let before = |set: Set| variable < u32::from(self.node(set).variable);
        if before(low) && before(high) {
            return self.decide(variable, low, high);
        }
        let on = self.decide(variable, Set::EMPTY, Set::ALL)?;
        let high = self.and(high, on)?;
        let low = self.without(low, on)?;
        self.or(low, high)
    }

    /// Whether an assignment is in the set.
    pub(super) fn holds(&self, set: Set, bit: impl Fn(u32) -> bool) -> bool {
        let mut at = set;
        while let Some((variable, low, high)) = self.split(at) {
            at = if bit(variable) { high } else { low };
        }
        at == Set::ALL
    }

    /// The least assignment in the set, as the variables that it demands; the others may be anything.
    pub(super) fn least(&self, set: Set) -> Option<Vec<(u32, bool)>> {
        if set.is_empty() {
            return None;
        }
        let mut demanded = Vec::new();
        let mut at = set;
        while let Some((variable, low, high)) = self.split(at) {
            // No node but the empty set itself is empty, so a way that avoids it leads to the end.
            let bit = low.is_empty();
            demanded.push((variable, bit));
            at = if bit { high } else { low };
        }
        Some(demanded)
    }
}

/// A place for three numbers (a multiplicative hash; the arena's own numbers are no attacker's).
#[allow(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
const fn mix(first: u32, second: u32, third: u32) -> usize {
    let mut hash = (first as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash.rotate_left(23) ^ second as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash.rotate_left(29) ^ third as u64).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ (hash >> 32)) as usize
}
