//! How reports become the facts that are held of a host.

use std::collections::BTreeMap;
use std::time::Duration;

use bailey_rules::digest::FactDigest;
use bailey_rules::fact::host::{Load, Reboot};
use bailey_rules::fact::{Fact, FactKey, FactKind, ProbeName, Reading};
use bailey_rules::host::{ApplyError, FactSet};
use bailey_rules::name::BootId;
use bailey_rules::report::{Place, ProbeRun, Report};
use proptest::prelude::*;

use crate::site::{HOUR, NOW};

fn share(fact: &Fact) -> FactDigest {
    FactDigest::share(&fact.key, serde_json::to_string(&fact.reading).unwrap().as_bytes())
}

fn digest<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> FactDigest {
    let mut sum = FactDigest::EMPTY;
    for fact in facts {
        sum.add(share(fact));
    }
    sum
}

fn report(complete: bool, changed: Vec<Fact>, removed: Vec<FactKey>, digest: FactDigest) -> Report {
    Report {
        place: Place { boot: BootId::from_bytes([1; 16]), seq: 1 },
        taken_at: NOW,
        complete,
        probes: Vec::new(),
        changed,
        removed,
        digest,
    }
}

fn apply(set: &mut FactSet, report: &Report) -> Result<(), ApplyError> {
    let shares: Vec<FactDigest> = report.changed.iter().map(share).collect();
    set.apply(report.clone(), &shares, 0, NOW)
}

fn held(set: &FactSet) -> BTreeMap<FactKey, Reading<bailey_rules::fact::FactValue>> {
    set.iter().map(|(key, held)| (key.clone(), (*held.reading).clone())).collect()
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let subject = prop::sample::select(vec!["", "a", "b", "eth0", "内网"]);
    (subject, 0_u32..3, 0_u8..3).prop_map(|(subject, number, shape)| match shape {
        0 => Fact::known(subject, Load { one: number, five: number, fifteen: number }),
        1 => Fact::known(subject, Reboot { needed: number > 0, because: Vec::new() }),
        _ => Fact::unreadable(FactKind::Units, subject, format!("reason {number}")),
    })
}

proptest! {
    #[test]
    fn changes_one_after_the_other_equal_one_complete_report(
        steps in prop::collection::vec(prop::collection::vec(any_fact(), 0..8), 1..8)
    ) {
        let mut truth: BTreeMap<FactKey, Fact> = BTreeMap::new();
        let mut by_changes = FactSet::default();
        for step in steps {
            let next: BTreeMap<FactKey, Fact> =
                step.into_iter().map(|fact| (fact.key.clone(), fact)).collect();
            let changed: Vec<Fact> =
                next.values().filter(|fact| truth.get(&fact.key) != Some(fact)).cloned().collect();
            let removed: Vec<FactKey> =
                truth.keys().filter(|key| !next.contains_key(key)).cloned().collect();
            truth = next;
            let told = report(false, changed, removed, digest(truth.values()));
            prop_assert_eq!(apply(&mut by_changes, &told), Ok(()));
        }
        let all: Vec<Fact> = truth.values().cloned().collect();
        let mut at_once = FactSet::default();
        let told = report(true, all, Vec::new(), digest(truth.values()));
        prop_assert_eq!(apply(&mut at_once, &told), Ok(()));
        prop_assert_eq!(held(&by_changes), held(&at_once));
        prop_assert_eq!(by_changes.digest(), at_once.digest());
        // A complete report over whatever was held before gives the same again.
        prop_assert_eq!(apply(&mut by_changes, &told), Ok(()));
        prop_assert_eq!(held(&by_changes), held(&at_once));
        prop_assert_eq!(by_changes.digest(), at_once.digest());
    }

    #[test]
    fn a_lost_change_is_seen_in_the_digest(first in any_fact(), lost in any_fact()) {
        prop_assume!(first != lost);
        let mut set = FactSet::default();
        let told = report(false, vec![first.clone()], Vec::new(), digest([&first]));
        prop_assert_eq!(apply(&mut set, &told), Ok(()));
        let after: BTreeMap<_, _> =
            [&first, &lost].into_iter().map(|fact| (&fact.key, fact)).collect();
        let told = report(false, Vec::new(), Vec::new(), digest(after.into_values()));
        prop_assert_eq!(apply(&mut set, &told), Err(ApplyError::DigestDiffers));
    }
}

#[test]
fn a_value_that_stands_still_keeps_the_time_since_when() {
    let fact = Fact::known("", Load { one: 1, five: 1, fifteen: 1 });
    let mut set = FactSet::default();
    let first = report(true, vec![fact.clone()], Vec::new(), digest([&fact]));
    apply(&mut set, &first).unwrap();
    let mut second = first.clone();
    second.taken_at = NOW + HOUR;
    set.apply(second, &[share(&fact)], 0, NOW + HOUR).unwrap();
    assert_eq!(set.get(FactKind::Load, "").unwrap().since, NOW);
}

#[test]
fn a_clock_that_is_ahead_makes_no_fact_younger_than_its_arrival() {
    let mut set = FactSet::default();
    let mut told = report(true, Vec::new(), Vec::new(), FactDigest::EMPTY);
    told.probes.push(ProbeRun {
        probe: ProbeName::Links,
        read_at: NOW + HOUR * 24 * 3650,
        interval: Duration::from_secs(15),
        failed: None,
    });
    set.apply(told, &[], 0, NOW).unwrap();
    assert_eq!(set.probe(ProbeName::Links).unwrap().read_at, NOW);
}
