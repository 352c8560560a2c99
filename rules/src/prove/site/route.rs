//! Where a host sends packets, for all packets at once.

use ipnet::IpNet;

use super::super::arena::{Set, TooComplex};
use super::super::space::{End, Space};
use crate::model::field::{Field, Key, kind};
use crate::model::interval::{Interval, Intervals};
use crate::model::network::{Action, DEFAULT, Hop, LOCAL, MAIN, Network, PolicyRule, THROW, Table};

/// Where packets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goes {
    /// To the host itself.
    Here,
    /// Out, by one of these.
    Out(Vec<Hop>),
    /// Nowhere.
    Nowhere,
    /// Nobody knows: out by anything.
    Anywhere,
}

/// Packets and where they may go. The sets of all routes together are everything; where it is not known
/// which rule is asked, they overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// The packets that may.
    pub(super) maybe: Set,
    /// Those that surely do.
    pub(super) surely: Set,
}

/// Where all packets go, told by one of their ends: the destination, or the source where the question
/// is the way back.
pub(super) fn routes(
    space: &mut Space,
    network: &Network,
    end: End,
) -> Result<Vec<(Reach, Goes)>, TooComplex> {
    let mut found = Vec::new();
    let own = network.up().flat_map(|one| &one.addresses).map(|one| IpNet::from(one.address));
    let own: Vec<IpNet> = own.collect();
    let here = space.networks(end, &own)?;
    found.push((Reach { maybe: here, surely: here }, Goes::Here));
    let mut left = Reach { maybe: space.others(here)?, surely: space.others(here)? };
    let Some(tables) = &network.routes else {
        found.push((Reach { surely: Set::EMPTY, ..left }, Goes::Anywhere));
        return Ok(found);
    };
    let usual = || [LOCAL, MAIN, DEFAULT].map(Action::Look).to_vec();
    let rules: Vec<(Option<&PolicyRule>, Action)> = match &network.rules {
        None => usual().into_iter().map(|action| (None, action)).collect(),
        Some(rules) => rules.iter().map(|rule| (Some(rule), rule.action)).collect(),
    };
    for (rule, action) in rules {
        let asked = match rule {
            None => Reach { maybe: Set::ALL, surely: Set::ALL },
            Some(rule) => asked(space, rule, end)?,
        };
        let now = Reach {
            maybe: space.and(left.maybe, asked.maybe)?,
            surely: space.and(left.surely, asked.surely)?,
        };
        if now.maybe.is_empty() {
            continue;
        }
        match action {
            Action::Look(table) => {
                let Some(table) = tables.get(&table) else { continue };
                for (to, goes) in ways(space, table, end)? {
                    let these = Reach {
                        maybe: space.and(now.maybe, to)?,
                        surely: space.and(now.surely, to)?,
                    };
                    // Only what surely went this way asks no further.
                    left.maybe = space.without(left.maybe, these.surely)?;
                    left.surely = space.without(left.surely, these.maybe)?;
                    if !these.maybe.is_empty() {
                        found.push((these, goes));
                    }
                }
            }
            Action::End(_) => {
                found.push((now, Goes::Nowhere));
                left.maybe = space.without(left.maybe, now.surely)?;
                left.surely = space.without(left.surely, now.maybe)?;
            }
            Action::Unknown => {
                found.push((Reach { surely: Set::EMPTY, ..now }, Goes::Anywhere));
                left.surely = space.without(left.surely, now.maybe)?;
            }
        }
    }
    found.push((left, Goes::Nowhere));
    Ok(found)
}

/// The destinations of a table, each with where it goes; none of them twice.
fn ways(space: &mut Space, table: &Table, end: End) -> Result<Vec<(Set, Goes)>, TooComplex> {
    let mut routes: Vec<_> = table.iter().collect();
    // The longest prefix wins, and of one prefix the smallest metric.
    routes.sort_by_key(|route| (std::cmp::Reverse(route.to.prefix_len()), route.metric));
    let mut taken = Set::EMPTY;
    let mut ways: Vec<(Set, Goes)> = Vec::new();
    for route in routes {
        let to = space.networks(end, &[route.to])?;
        let to = space.without(to, taken)?;
        if to.is_empty() {
            continue;
        }
        taken = space.or(taken, to)?;
        let goes = match route.kind {
            kind::UNICAST if route.hops.is_empty() => Goes::Anywhere,
            kind::UNICAST => Goes::Out(route.hops.clone()),
            kind::LOCAL | kind::BROADCAST | kind::MULTICAST => Goes::Here,
            // The table says nothing, and the next rule is asked.
            THROW => continue,
            _ => Goes::Nowhere,
        };
        match ways.iter_mut().find(|(_, had)| *had == goes) {
            Some((had, _)) => *had = space.or(*had, to)?,
            None => ways.push((to, goes)),
        }
    }
    Ok(ways)
}

/// For which packets a policy rule is asked.
fn asked(space: &mut Space, rule: &PolicyRule, end: End) -> Result<Reach, TooComplex> {
    let mut all = Set::ALL;
    if let Some(v6) = rule.v6 {
        let version = space.version(v6)?;
        all = space.and(all, version)?;
    }
    let (from, to) = match end {
        End::Destination => (End::Source, End::Destination),
        End::Source => (End::Destination, End::Source),
    };
    for (end, net) in [(from, rule.from), (to, rule.to)] {
        if let Some(net) = net {
            let these = space.networks(end, &[net])?;
            all = space.and(all, these)?;
        }
    }
    if let Some(iif) = rule.iif {
        let these = space.value(Field::InputDevice, iif)?;
        all = space.and(all, these)?;
    }
    if rule.oif.is_some() {
        // Only for senders that are bound to an interface, which is not told.
        return Ok(Reach { maybe: all, surely: Set::EMPTY });
    }
    if let Some((value, mask)) = rule.mark {
        let key = Key { field: Field::Mark, mask: u128::from(mask) };
        let these = space.key(key, &Intervals::from(Interval::one(u128::from(value & mask))))?;
        all = space.and(all, these)?;
    }
    let these = if rule.not { space.others(all)? } else { all };
    let surely = if rule.unsure { Set::EMPTY } else { these };
    let maybe = if rule.unsure && rule.not { Set::ALL } else { these };
    Ok(Reach { maybe, surely })
}
