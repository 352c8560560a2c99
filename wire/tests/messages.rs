//! What is said arrives, what nobody of ours would say is refused by name, and nothing panics.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod arbitrary;

use std::time::Duration;

use bailey_rules::digest::FactDigest;
use bailey_rules::fact::links::{Interface, LinkKind};
use bailey_rules::fact::{Fact, FactKey, FactKind, MAX_FACTS, MAX_TEXT, ProbeName, Reading};
use bailey_rules::name::BootId;
use bailey_rules::report::{Gap, LossReason, Place, ProbeRun, Report};
use bailey_rules::time::Timestamp;
use bailey_wire::convert::{
    MAX_ADDRESSES, MAX_PROBES, encode_fact, intervals_from_wire, intervals_to_wire, kind_from_wire,
    kind_to_wire, loss_from_wire, loss_to_wire, place_from_wire, place_to_wire, probe_from_wire,
    probe_to_wire, reading_from_bytes, report_from_wire, report_to_wire,
};
use bailey_wire::identity::{Certificate, verify};
use bailey_wire::token::Token;
use bailey_wire::v1;
use proptest::prelude::*;
use prost::Message as _;

fn on_the_wire(report: &Report) -> v1::Report {
    let entries = report.changed.iter().map(|fact| encode_fact(fact).0);
    report_to_wire(report, entries.collect())
}

proptest! {
    #[test]
    fn any_fact_survives_the_wire(fact in arbitrary::fact()) {
        let (entry, share) = encode_fact(&fact);
        let back = reading_from_bytes(fact.key.kind, &entry.reading).unwrap();
        prop_assert_eq!(&back, &fact.reading);
        prop_assert_eq!(&*entry.subject, &*fact.key.subject);
        prop_assert_eq!(kind_from_wire(entry.kind), Some(fact.key.kind));
        prop_assert_eq!(share, FactDigest::share(&fact.key, &entry.reading));
    }

    #[test]
    fn any_report_survives_the_wire_and_both_sides_agree_on_the_shares(
        report in arbitrary::report(),
    ) {
        let said = on_the_wire(&report).encode_to_vec();
        let heard = report_from_wire(v1::Report::decode(&*said).unwrap()).unwrap();
        prop_assert_eq!(&heard.report, &report);
        prop_assert_eq!(heard.unknown_facts, 0);
        let shares: Vec<_> = report.changed.iter().map(|fact| encode_fact(fact).1).collect();
        prop_assert_eq!(heard.shares, shares);
    }

    #[test]
    fn any_octets_are_understood_or_refused_and_never_panic(
        octets in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        for &kind in FactKind::ALL {
            let _ = reading_from_bytes(kind, &octets);
        }
        if let Ok(wire) = v1::Report::decode(&*octets) {
            let _ = report_from_wire(wire);
        }
        if let Ok(wire) = v1::Loss::decode(&*octets) {
            let _ = loss_from_wire(&wire);
        }
        if let Ok(wire) = v1::Intervals::decode(&*octets) {
            let _ = intervals_from_wire(wire);
        }
        let _ = v1::FromAgent::decode(&*octets);
        let _ = Certificate::read(&octets);
        let _ = verify(&octets, b"message", &octets);
    }

    #[test]
    fn a_damaged_report_is_understood_or_refused_and_never_panics(
        report in arbitrary::report(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut said = on_the_wire(&report).encode_to_vec();
        for (at, octet) in damage {
            let at = at.index(said.len());
            said[at] = octet;
        }
        if let Ok(wire) = v1::Report::decode(&*said) {
            let _ = report_from_wire(wire);
        }
    }

    #[test]
    fn any_text_is_a_token_or_refused_and_never_panics(text in "(bailey1\\.)?\\PC{0,200}") {
        let _ = text.parse::<Token>();
    }
}

#[test]
fn every_kind_and_probe_has_a_number_and_keeps_it() {
    for &kind in FactKind::ALL {
        assert_eq!(kind_from_wire(kind_to_wire(kind).into()), Some(kind));
    }
    for probe in ProbeName::ALL {
        assert_eq!(probe_from_wire(probe_to_wire(probe).into()), Some(probe));
    }
    assert_eq!(kind_from_wire(0), None);
    assert_eq!(probe_from_wire(0), None);
}

/// A report that is taken; the tests spoil one field each.
fn good() -> v1::Report {
    let interface = Interface {
        index: 2,
        kind: LinkKind::Ethernet,
        driver: "virtio_net".into(),
        mac: None,
        admin_up: true,
        carrier: true,
        speed_mbits: Some(1000),
        duplex: None,
        mtu: 1500,
        master: None,
        addresses: vec!["10.1.7.20/16".parse().unwrap()],
        secondary: Vec::new(),
        link_only: Vec::new(),
        group: Some(0),
        hardware: Some(1),
        reverse_path: None,
    };
    on_the_wire(&Report {
        place: Place { boot: BootId::from_bytes([7; 16]), seq: 1 },
        taken_at: Timestamp::from_seconds(1_795_000_000),
        complete: true,
        probes: vec![ProbeRun {
            probe: ProbeName::Links,
            read_at: Timestamp::from_seconds(1_795_000_000),
            interval: Duration::from_secs(15),
            failed: None,
        }],
        changed: vec![Fact::known("eth0", interface)],
        removed: vec![FactKey::new(FactKind::Interface, "eth1")],
        digest: FactDigest::EMPTY,
    })
}

/// Spoils the interface of the report.
fn spoil(report: &mut v1::Report, how: impl FnOnce(&mut v1::Interface)) {
    let entry = &mut report.changed[0];
    let mut reading = v1::Reading::decode(entry.reading.clone()).unwrap();
    let Some(v1::reading::Value::Interface(interface)) = &mut reading.value else {
        panic!("the fact is an interface");
    };
    how(interface);
    entry.reading = reading.encode_to_vec().into();
}

/// How a report is spoilt, and what is said of it.
type Refusal = (fn(&mut v1::Report), &'static str);

#[test]
fn what_breaks_a_bound_is_refused_by_the_name_of_its_field() {
    let cases: &[Refusal] = &[
        (|r| r.place = None, "place: is missing"),
        (
            |r| r.place.as_mut().unwrap().boot.truncate(15),
            "place.boot: has 15 octets instead of 16",
        ),
        (|r| r.place.as_mut().unwrap().seq = 0, "place.seq: is 0, numbers run from 1 to 2^63-1"),
        (
            |r| r.place.as_mut().unwrap().seq = u64::MAX,
            "place.seq: is 18446744073709551615, numbers run from 1 to 2^63-1",
        ),
        (|r| r.digest.clear(), "digest: has 0 octets instead of 16"),
        (
            |r| r.probes = vec![r.probes[0].clone(); MAX_PROBES + 1],
            "probes: has 65 entries, at most 64 are taken",
        ),
        (|r| r.probes = vec![r.probes[0].clone(); 2], "probes: names links twice"),
        (
            |r| r.probes[0].failed = "x".repeat(MAX_TEXT + 1),
            "probes[0].failed: has 257 octets, at most 256 are taken",
        ),
        (
            |r| r.changed = vec![v1::FactEntry::default(); MAX_FACTS + 1],
            "changed: has 10001 entries, at most 10000 are taken",
        ),
        (
            |r| r.removed = vec![v1::FactKey::default(); MAX_FACTS + 1],
            "removed: has 10001 entries, at most 10000 are taken",
        ),
        (
            |r| r.removed[0].subject = "\u{1b}[2J".into(),
            "removed[0].subject: contains control characters",
        ),
        (
            |r| r.changed[0].subject = "eth0\n".into(),
            "changed[0].subject: contains control characters",
        ),
        (|r| r.changed[0].reading = vec![0xff].into(), "changed[0].reading: cannot be decoded ("),
        (|r| r.changed[0].reading = vec![].into(), "changed[0].reading: is missing"),
        (
            |r| r.changed[0].kind = v1::FactKind::Cpu.into(),
            "changed[0].reading: is not a reading of the kind named",
        ),
        (|r| spoil(r, |i| i.kind = 0), "changed[0].interface.kind: is missing"),
        (
            |r| spoil(r, |i| i.mac = vec![1; 7]),
            "changed[0].interface.mac: has 7 octets instead of 0 or 6",
        ),
        (
            |r| spoil(r, |i| i.master = Some("\0".into())),
            "changed[0].interface.master: contains control characters",
        ),
        (
            |r| spoil(r, |i| i.addresses[0].prefix = 33),
            "changed[0].interface.addresses[0].prefix: is 33, longer than the address",
        ),
        (
            |r| spoil(r, |i| i.addresses[0].address.clear()),
            "changed[0].interface.addresses[0].address: has 0 octets instead of 4 or 16",
        ),
        (
            |r| spoil(r, |i| i.addresses = vec![i.addresses[0].clone(); MAX_ADDRESSES + 1]),
            "changed[0].interface.addresses: has 4097 entries, at most 4096 are taken",
        ),
    ];
    assert!(report_from_wire(good()).is_ok());
    for (spoilt, said) in cases {
        let mut report = good();
        spoilt(&mut report);
        let error = report_from_wire(report).expect_err(said).to_string();
        assert!(error.starts_with(said), "said {error}, meant {said}");
    }
}

#[test]
fn what_only_a_newer_agent_knows_is_counted_or_unreadable_and_never_guessed() {
    let mut report = good();
    report.probes.push(v1::ProbeRun { probe: 900, ..Default::default() });
    report.changed.push(v1::FactEntry { kind: 900, ..Default::default() });
    report.removed.push(v1::FactKey { kind: 901, ..Default::default() });
    spoil(&mut report, |interface| interface.kind = 77);
    let entry = report.changed[0].clone();

    let heard = report_from_wire(report).unwrap();
    assert_eq!(heard.unknown_facts, 2);
    assert_eq!(heard.report.probes.len(), 1);
    assert_eq!(heard.report.removed.len(), 1);
    let [fact] = &*heard.report.changed else {
        panic!("only the known fact is left: {:?}", heard.report.changed);
    };
    assert_eq!(
        fact.reading,
        Reading::unreadable(
            "the collector is older than the agent: interface.kind: has the number 77, \
             which this version does not know"
        )
    );
    // The digest is of the octets as they came, so that it holds all the same.
    assert_eq!(heard.shares, [FactDigest::share(&fact.key, &entry.reading)]);
}

#[test]
fn a_value_that_is_too_long_to_send_says_so_instead_of_leaving_something_out() {
    let mut report = good();
    let one = report.changed.remove(0);
    let Ok(Reading::Known(bailey_rules::fact::FactValue::Interface(mut interface))) =
        reading_from_bytes(FactKind::Interface, &one.reading)
    else {
        panic!("the fact is an interface");
    };
    interface.addresses = vec![interface.addresses[0]; MAX_ADDRESSES + 1];
    let (entry, _) = encode_fact(&Fact::known("eth0", interface));
    assert_eq!(
        reading_from_bytes(FactKind::Interface, &entry.reading),
        Ok(Reading::unreadable("addresses: has 4097 entries, at most 4096 are taken"))
    );
}

#[test]
fn texts_are_cut_and_cleaned_before_they_are_sent() {
    let mut fact = Fact::unreadable(FactKind::Disk, "vda", "x");
    fact.key.subject = format!("{}\u{7}", "y".repeat(MAX_TEXT - 1)).into();
    fact.reading = Reading::Unreadable { why: "内".repeat(MAX_TEXT) };
    let (entry, share) = encode_fact(&fact);
    assert_eq!(entry.subject, "y".repeat(MAX_TEXT - 1));
    assert_eq!(
        reading_from_bytes(FactKind::Disk, &entry.reading),
        Ok(Reading::Unreadable { why: "内".repeat(MAX_TEXT / 3) })
    );
    assert_eq!(
        share,
        FactDigest::share(&FactKey::new(FactKind::Disk, &entry.subject), &entry.reading)
    );
}

#[test]
fn places_losses_and_intervals_survive_the_wire() {
    let boot = BootId::from_bytes([3; 16]);
    let place = Place { boot, seq: 42 };
    assert_eq!(place_from_wire(&place_to_wire(place)), Ok(place));

    for reason in [
        LossReason::SpoolFull,
        LossReason::SpoolExpired,
        LossReason::SpoolDamaged,
        LossReason::SpoolLost,
        LossReason::Undeclared,
    ] {
        let gap = Gap { boot, from: 3, to: 9, reason };
        assert_eq!(loss_from_wire(&loss_to_wire(&gap)), Ok(gap));
    }
    let backwards = Gap { boot, from: 9, to: 3, reason: LossReason::SpoolFull };
    let error = loss_from_wire(&loss_to_wire(&backwards)).unwrap_err();
    assert_eq!(error.to_string(), "to: is 3, less than the first number lost");

    let set = [(ProbeName::Host, Duration::from_millis(1_500)), (ProbeName::Links, Duration::ZERO)];
    assert_eq!(
        intervals_from_wire(intervals_to_wire(&set)),
        Ok(vec![(ProbeName::Host, Some(Duration::from_secs(2))), (ProbeName::Links, None),])
    );
}
