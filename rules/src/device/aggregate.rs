//! Aggregates: ports that pass frames together as if they were one (IEEE 802.1AX).
//!
//! An aggregate goes on when it loses a member, with less room and nothing to spare, and says nothing of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ethernet::{Duplex, Port};
use super::interface::{Interface, Link};
use crate::time::Timestamp;

/// `ieee8023adLag` (IANA ifType-MIB).
pub const KIND: u64 = 161;

/// An aggregate counts as whole again once it was whole for so long: a member that comes and goes is a
/// fault too.
pub const STEADY: Duration = Duration::from_mins(5);

/// A port of an aggregate that nobody has switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its interface.
    pub interface: &'a Interface,
    /// What Ethernet knows of it.
    pub port: Port,
}

impl Member<'_> {
    /// Whether it passes frames of its aggregate, as far as the device says.
    #[must_use]
    pub fn works(&self) -> bool {
        self.interface.link == Link::Up && !self.port.detached
    }

    /// How fast it runs, and in which directions at the same time.
    fn runs(&self) -> (Option<u64>, Option<Duplex>) {
        (self.interface.speed.filter(|bits| *bits > 0), self.port.duplex)
    }
}

/// An aggregate with its members, of which it has at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate<'a> {
    /// Its interface.
    pub interface: &'a Interface,
    /// By `ifIndex`.
    pub members: Vec<Member<'a>>,
}

impl<'a> Aggregate<'a> {
    /// The members that pass frames.
    pub fn working(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter().filter(|member| member.works())
    }

    /// How each of its members runs that pass frames: speed in bits a second, and duplex, as far as told.
    /// `None` where there are none, or they run differently.
    #[must_use]
    pub fn runs(&self) -> Option<(Option<u64>, Option<Duplex>)> {
        let mut working = self.working().map(Member::runs);
        let first = working.next()?;
        working.all(|other| other == first).then_some(first)
    }

    /// Whether all members pass frames, and run alike.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.members.iter().all(Member::works) && self.runs().is_some()
    }

    /// Whether it passes frames or ever has since the device was started: one that never had a cable is no
    /// fault.
    #[must_use]
    pub fn is_used(&self) -> bool {
        let counters = &self.interface.counters;
        let mut passed = [counters.in_octets, counters.out_octets].into_iter().flatten();
        self.interface.link == Link::Up || passed.any(|counter| counter.value() > 0)
    }
}

/// The aggregates of a device that nobody has switched off, by `ifIndex`.
#[must_use]
pub fn aggregates<'a>(
    interfaces: &'a [Interface],
    ports: &BTreeMap<u32, Port>,
) -> BTreeMap<u32, Aggregate<'a>> {
    let mut found = BTreeMap::new();
    if ports.values().all(|port| port.aggregate.is_none()) {
        return found;
    }
    let on = interfaces.iter().filter(|interface| interface.wanted != Link::Down);
    let on: BTreeMap<u32, &Interface> = on.map(|interface| (interface.index, interface)).collect();
    for (index, port) in ports {
        let known = port.aggregate.and_then(|number| on.get(&number)).zip(on.get(index));
        let Some((aggregate, member)) = known else { continue };
        let aggregate = found
            .entry(aggregate.index)
            .or_insert_with(|| Aggregate { interface: aggregate, members: Vec::new() });
        aggregate.members.push(Member { interface: member, port: *port });
    }
    found
}

/// An aggregate that is not whole, or was not a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Degraded {
    /// Since when.
    pub since: Timestamp,
    /// When that was seen last.
    pub seen: Timestamp,
}

/// Notes which aggregates are not whole at `at`; forgets those that are gone, or whole for [`STEADY`].
pub fn note(
    degraded: &mut BTreeMap<u32, Degraded>,
    aggregates: &BTreeMap<u32, Aggregate<'_>>,
    at: Timestamp,
) {
    for (index, aggregate) in aggregates {
        if aggregate.is_used() && !aggregate.is_whole() {
            degraded.entry(*index).or_insert(Degraded { since: at, seen: at }).seen = at;
        }
    }
    degraded.retain(|index, since| {
        aggregates.contains_key(index) && since.seen <= at && since.seen.age(at) < STEADY
    });
}
