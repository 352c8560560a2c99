//! Packet sets against the plainest model there is: a formula, asked packet by packet.

use std::net::IpAddr;

use bailey_rules::model::field::{Field, IPV6, Key, state};
use bailey_rules::model::interval::{Interval, Intervals};
use bailey_rules::prove::{Change, End, Set, Space, TooComplex, Values};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// A set in words.
#[derive(Debug, Clone)]
enum Formula {
    Among(Key, Intervals),
    And(Box<Formula>, Box<Formula>),
    Or(Box<Formula>, Box<Formula>),
    Without(Box<Formula>, Box<Formula>),
}

/// Fields of every kind: of few values, narrow, wide, of bits.
const FIELDS: [Field; 8] = [
    Field::Version,
    Field::State,
    Field::Protocol,
    Field::Destination4,
    Field::DestinationPort,
    Field::Source6,
    Field::Mark,
    Field::Direction,
];

/// Values at which something may begin or end.
fn edges(field: Field) -> Vec<u128> {
    match field {
        Field::Version => vec![2, IPV6],
        Field::State => {
            vec![state::INVALID, state::ESTABLISHED, state::RELATED, state::NEW, state::UNTRACKED]
        }
        Field::Direction => vec![0, 1],
        Field::Protocol => vec![0, 1, 6, 17, 255],
        Field::DestinationPort => vec![0, 22, 79, 80, 443, 1023, 1024, 65_535],
        Field::Destination4 => {
            vec![0, 0x0a01_0000, 0x0a01_00ff, 0x0a01_ffff, 0xac14_0001, 0xffff_ffff]
        }
        Field::Source6 => vec![0, 1, 0xfd00_0001 << 96, (0xfd00_0001 << 96) + 7, u128::MAX],
        _ => vec![0, 1, 0x10, 0xff, 0xff00, 0xffff_ffff],
    }
}

fn key() -> impl Strategy<Value = Key> {
    select(FIELDS.to_vec()).prop_flat_map(|field| {
        let whole = Key::whole(field);
        let masks = match field {
            Field::Mark => vec![whole.mask, 0xff, 0xff00, 1],
            Field::Destination4 => vec![whole.mask, 0xffff_0000, 0xff],
            _ => vec![whole.mask],
        };
        select(masks).prop_map(move |mask| Key { field, mask })
    })
}

fn values(field: Field) -> impl Strategy<Value = Intervals> {
    let edges = edges(field);
    let most = edges.len().min(4);
    subsequence(edges, 1..=most).prop_map(|ends| {
        let pairs =
            ends.chunks(2).map(|pair| Interval { first: pair[0], last: *pair.last().unwrap() });
        pairs.collect()
    })
}

fn formula() -> impl Strategy<Value = Formula> {
    let leaf = key()
        .prop_flat_map(|key| values(key.field).prop_map(move |values| Formula::Among(key, values)));
    leaf.prop_recursive(4, 24, 2, |inner| {
        let two = (inner.clone(), inner);
        let boxed = |(a, b)| (Box::new(a), Box::new(b));
        prop_oneof![
            two.clone().prop_map(boxed).prop_map(|(a, b)| Formula::And(a, b)),
            two.clone().prop_map(boxed).prop_map(|(a, b)| Formula::Or(a, b)),
            two.prop_map(boxed).prop_map(|(a, b)| Formula::Without(a, b)),
        ]
    })
}

fn packet() -> impl Strategy<Value = Values> {
    let of = |field: Field| {
        let near = edges(field).into_iter().flat_map(move |edge| {
            let few = matches!(field, Field::Version | Field::State | Field::Direction);
            let all = if few {
                vec![edge]
            } else {
                vec![edge, edge.saturating_sub(1), edge.saturating_add(1)]
            };
            all.into_iter().filter(move |value| *value <= Key::whole(field).mask)
        });
        select(near.collect::<Vec<u128>>())
    };
    FIELDS.map(of).prop_map(|values| {
        FIELDS
            .into_iter()
            .zip(values)
            .fold(Values::plain(), |packet, (field, value)| packet.with(field, value))
    })
}

impl Formula {
    fn holds(&self, packet: &Values) -> bool {
        match self {
            Self::Among(key, values) => values.contains(packet.get(key.field) & key.mask),
            Self::And(a, b) => a.holds(packet) && b.holds(packet),
            Self::Or(a, b) => a.holds(packet) || b.holds(packet),
            Self::Without(a, b) => a.holds(packet) && !b.holds(packet),
        }
    }

    fn set(&self, space: &mut Space) -> Set {
        match self {
            Self::Among(key, values) => space.key(*key, values).unwrap(),
            Self::And(a, b) => {
                let (a, b) = (a.set(space), b.set(space));
                space.and(a, b).unwrap()
            }
            Self::Or(a, b) => {
                let (a, b) = (a.set(space), b.set(space));
                space.or(a, b).unwrap()
            }
            Self::Without(a, b) => {
                let (a, b) = (a.set(space), b.set(space));
                space.without(a, b).unwrap()
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let step = (key(), 0_usize..4, any::<u32>());
    let one = step.prop_flat_map(|(key, what, bits)| {
        values(key.field).prop_map(move |values| (key.field, what, u128::from(bits), values))
    });
    prop::collection::vec(one, 0..4).prop_map(|steps| {
        let mut change = Change::NONE;
        for (field, what, bits, values) in steps {
            let few = matches!(field, Field::Version | Field::State | Field::Direction);
            match what {
                0 => change.set(field, values.as_slice()[0].first),
                1 if !few => change.bits(field, field, bits, bits.rotate_left(3) & 0xffff),
                2 => change.bits(Field::Mark, Field::ConnectionMark, bits, bits >> 7),
                _ => change.choose(field, values),
            }
        }
        change
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_set_holds_the_packets_that_its_formula_is_true_for(
        formula in formula(), packets in prop::collection::vec(packet(), 20),
    ) {
        let mut space = Space::default();
        let set = formula.set(&mut space);
        for packet in packets {
            prop_assert_eq!(space.holds(set, &packet), formula.holds(&packet), "{:?}", packet);
        }
    }

    #[test]
    fn equal_sets_are_the_same_however_they_were_made(
        a in formula(), b in formula(), c in formula(),
    ) {
        let mut space = Space::default();
        let (a, b, c) = (a.set(&mut space), b.set(&mut space), c.set(&mut space));
        let s = &mut space;
        // Distribution, De Morgan, absorption, double complement, difference twice.
        let left = { let or = s.or(b, c).unwrap(); s.and(a, or).unwrap() };
        let right = {
            let (ab, ac) = (s.and(a, b).unwrap(), s.and(a, c).unwrap());
            s.or(ab, ac).unwrap()
        };
        prop_assert_eq!(left, right);
        let left = { let or = s.or(a, b).unwrap(); s.others(or).unwrap() };
        let right = {
            let (a, b) = (s.others(a).unwrap(), s.others(b).unwrap());
            s.and(a, b).unwrap()
        };
        prop_assert_eq!(left, right);
        let absorbed = { let and = s.and(a, b).unwrap(); s.or(a, and).unwrap() };
        prop_assert_eq!(absorbed, a);
        let twice = { let not = s.others(a).unwrap(); s.others(not).unwrap() };
        prop_assert_eq!(twice, a);
        let rest = s.without(a, b).unwrap();
        let both = s.and(a, b).unwrap();
        prop_assert_eq!(s.or(rest, both).unwrap(), a);
        prop_assert!(s.and(rest, b).unwrap().is_empty());
        prop_assert_eq!(s.any_of(&[a, b, c]).unwrap(), s.any_of(&[c, a, b, a]).unwrap());
    }

    #[test]
    fn what_is_picked_is_in_the_set_and_as_wished(formula in formula(), wish in formula()) {
        let mut space = Space::default();
        let (set, wish) = (formula.set(&mut space), wish.set(&mut space));
        let granted = space.and(set, wish).unwrap();
        match space.pick(set, &[wish]).unwrap() {
            None => prop_assert!(set.is_empty()),
            Some(packet) => {
                prop_assert!(formula.holds(&packet));
                prop_assert_eq!(space.holds(granted, &packet), !granted.is_empty());
            }
        }
    }

    #[test]
    fn a_forgotten_field_may_be_anything(
        formula in formula(), packet in packet(), field in select(FIELDS.to_vec()),
    ) {
        let mut space = Space::default();
        let set = formula.set(&mut space);
        let forgotten = space.forget(set, &[field]).unwrap();
        let only = space.only(set, &[field]).unwrap();
        let this = space.value(field, packet.get(field)).unwrap();
        let with_this = space.and(set, this).unwrap();
        prop_assert_eq!(space.holds(only, &packet), !with_this.is_empty());
        // Whatever else is asked for, one of the values does it.
        let there = space.holds(forgotten, &packet);
        let mut around = Set::ALL;
        for other in FIELDS.into_iter().filter(|other| *other != field) {
            let value = space.value(other, packet.get(other)).unwrap();
            around = space.and(around, value).unwrap();
        }
        prop_assert_eq!(there, !space.and(set, around).unwrap().is_empty());
    }

    #[test]
    fn a_field_taken_apart_and_put_together_is_the_set(formula in formula()) {
        let mut space = Space::default();
        let set = formula.set(&mut space);
        let mut together = Set::EMPTY;
        for (values, rest) in space.by_value(set, Field::Version).unwrap() {
            let these = space.among(Field::Version, &values).unwrap();
            for (states, rest) in space.by_value(rest, Field::State).unwrap() {
                let those = space.among(Field::State, &states).unwrap();
                let piece = space.all_of(&[these, those, rest]).unwrap();
                prop_assert!(space.and(piece, together).unwrap().is_empty());
                together = space.or(together, piece).unwrap();
            }
        }
        prop_assert_eq!(together, set);
    }

    #[test]
    fn a_change_of_sets_is_the_change_of_their_packets(
        formula in formula(), change in change(), packet in packet(),
    ) {
        let mut space = Space::default();
        let set = formula.set(&mut space);
        let after = change.of(&packet);
        let before = change.before(&mut space, set).unwrap();
        prop_assert!(space.is_within(before.surely, before.maybe).unwrap());
        if space.holds(set, &after) {
            prop_assert!(space.holds(before.maybe, &packet));
        } else {
            prop_assert!(!space.holds(before.surely, &packet));
        }
        let image = change.image(&mut space, set).unwrap();
        if space.holds(set, &packet) {
            prop_assert!(space.holds(image, &after));
        }
        // Going forth and back loses nobody.
        let back = change.before(&mut space, image).unwrap();
        prop_assert!(space.is_within(set, back.maybe).unwrap());
    }

    #[test]
    fn two_changes_are_one(first in change(), second in change(), packet in packet()) {
        let both = first.followed_by(&second).of(&packet);
        let mut space = Space::default();
        // Where nobody chooses, the one packet is what comes out.
        let one = first.followed_by(&second);
        let all = one.image(&mut space, Set::ALL).unwrap();
        prop_assert!(space.holds(all, &both));
        let twice = second.of(&first.of(&packet));
        prop_assert!(space.holds(all, &twice));
    }
}

#[test]
fn a_set_that_would_be_too_large_is_refused_and_never_cut() {
    let mut space = Space::new(200);
    let mut all = Ok(Set::EMPTY);
    for port in (1_u128..60_000).step_by(7) {
        all = all.and_then(|all| {
            let one = space.value(Field::DestinationPort, port)?;
            let source = space.value(Field::SourcePort, 65_535 - port)?;
            let both = space.and(one, source)?;
            space.or(all, both)
        });
    }
    assert_eq!(all, Err(TooComplex::Nodes { nodes: 200 }));
    assert!(space.nodes() <= 200);
}

#[test]
fn networks_of_both_versions_are_told_apart() {
    let mut space = Space::default();
    let zone = ["10.1.0.0/16".parse().unwrap(), "fd00:1::/48".parse().unwrap()];
    let zone = space.networks(End::Destination, &zone).unwrap();
    let is_in = |space: &mut Space, address: &str| {
        let address: IpAddr = address.parse().unwrap();
        let to = space.address(End::Destination, address).unwrap();
        space.is_within(to, zone).unwrap()
    };
    assert!(is_in(&mut space, "10.1.7.20"));
    assert!(is_in(&mut space, "fd00:1::7"));
    assert!(!is_in(&mut space, "10.2.0.1"));
    assert!(!is_in(&mut space, "fd00:2::1"));
    let all = space.networks(End::Destination, &["0.0.0.0/0".parse().unwrap()]).unwrap();
    assert_eq!(all, space.version(false).unwrap());
}
