//! Reports: stored before they are acknowledged, taken once, missed when they are missing.

use std::time::Duration;

use crate::support::{Facts, Lab, held_memory, memory, until};
use bailey_collector::clock::{Clock as _, SystemClock};
use bailey_rules::check::State;
use bailey_rules::fact::{FactKind, ProbeName};
use bailey_rules::name::{BootId, HostName};
use bailey_rules::report::{Gap, LossReason, Place};
use bailey_wire::identity::goodbye_bytes;
use bailey_wire::{convert, v1};
use tonic::Code;

fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_acknowledged_and_shown() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    assert_eq!(link.welcome.as_ref().unwrap().acknowledged, None);
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(5)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    until("the fact to show", || held_memory(&lab.collector, "oa-17") == Some(5)).await;
    link.report(facts.changed([memory(6)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    until("the change to show", || held_memory(&lab.collector, "oa-17") == Some(6)).await;
    let host = lab.collector.site().host(&name("oa-17")).unwrap();
    assert!(host.view.session.connected);
    assert_eq!(host.view.session.acknowledged, Some(facts.place()));
    assert_eq!(host.view.session.reports_accepted, 2);
    assert_eq!(host.view.session.interval, Duration::from_secs(15));
    lab.event("connected").await;
    assert_eq!(lab.events("connected").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_comes_twice_is_applied_once_and_acknowledged_twice() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    let first = facts.complete([memory(5)]);
    let second = facts.changed([memory(6)]);
    link.report(first.clone()).await;
    link.report(second).await;
    link.acknowledged(facts.place()).await.unwrap();
    drop(link);

    let mut link = machine.connect().await;
    let welcome = link.welcome.as_ref().unwrap().acknowledged.clone().unwrap();
    assert_eq!(convert::place_from_wire(&welcome).unwrap(), facts.place());
    link.report(first).await;
    link.report(facts.changed([memory(7)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    until("the newest", || held_memory(&lab.collector, "oa-17") == Some(7)).await;
    let session = lab.collector.site().host(&name("oa-17")).unwrap().view.session.clone();
    assert_eq!(session.reports_accepted, 3);
    assert_eq!(session.lost_reports, 0);
    assert!(session.gaps.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_a_gap_and_a_declared_loss_is_one_with_its_reason() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(1)])).await;
    facts.seq = 4;
    link.report(facts.changed([memory(2)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    let loss = Gap { boot: facts.boot, from: 6, to: 9, reason: LossReason::SpoolFull };
    link.lose(&loss).await;
    link.acknowledged(Place { boot: facts.boot, seq: 9 }).await.unwrap();
    facts.seq = 9;
    link.report(facts.changed([memory(3)])).await;
    link.acknowledged(facts.place()).await.unwrap();

    let site = lab.collector.site();
    until("both gaps", || site.host(&name("oa-17")).unwrap().view.session.gaps.len() == 2).await;
    let session = site.host(&name("oa-17")).unwrap().view.session.clone();
    let hole = Gap { boot: facts.boot, from: 2, to: 4, reason: LossReason::Undeclared };
    assert_eq!(session.gaps, [loss, hole]);
    assert_eq!(session.lost_reports, 7);
    lab.event("gap").await;
    assert_eq!(lab.events("gap").await.len(), 2);
    until("the finding", || site.findings().iter().any(|f| f.alert == "BaileyReportGaps")).await;
    let gaps: Vec<_> = site.counters().gaps.each().filter(|(_, n)| *n > 0).collect();
    assert_eq!(gaps.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_change_makes_the_collector_ask_for_everything_once() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(1)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    // The change is held by the machine and never sent.
    let unsent = bailey_rules::fact::Fact::unreadable(FactKind::Clock, "", "adjtimex failed");
    facts.changed([unsent]);
    facts.seq -= 1;
    link.report(facts.changed([memory(2)])).await;
    loop {
        if matches!(link.next().await.unwrap(), v1::from_collector::Message::SendEverything(_)) {
            break;
        }
    }
    link.report(facts.complete([])).await;
    link.acknowledged(facts.place()).await.unwrap();
    let site = lab.collector.site();
    until("everything", || site.host(&name("oa-17")).unwrap().view.facts.len() == 2).await;
    link.report(facts.changed([memory(3)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    assert_eq!(site.counters().send_everything.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_only_a_newer_agent_knows_do_not_make_it_send_everything_for_ever() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    let newer = |mut report: v1::Report, also: bool| {
        let subject = "quantum".to_owned();
        let entry = v1::FactEntry { kind: 9_999, subject, reading: vec![1, 2].into() };
        let mut digest: [u8; 16] = report.digest.as_slice().try_into().unwrap();
        digest[15] = digest[15].wrapping_add(7);
        report.digest = digest.to_vec();
        if also {
            report.changed.push(entry);
        }
        report
    };
    let first = facts.complete([memory(1)]);
    link.report(newer(first, true)).await;
    for value in 2..6 {
        let next = facts.changed([memory(value)]);
        link.report(newer(next, false)).await;
    }
    link.acknowledged(facts.place()).await.unwrap();
    until("the last", || held_memory(&lab.collector, "oa-17") == Some(5)).await;
    let counters = lab.collector.site().counters();
    assert_eq!(counters.send_everything.get(), 0);
    assert_eq!(counters.unknown_facts.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_with_one_identity_are_found_out() {
    let lab = Lab::start().await;
    let mut machine = lab.enrolled("oa-17").await;
    let (mut one, mut two) = (Facts::new(1), Facts::new(2));
    let mut link = machine.connect().await;
    link.report(one.complete([memory(1)])).await;
    link.acknowledged(one.place()).await.unwrap();
    machine.run = [2; 32];
    let mut twin = machine.connect().await;
    assert_eq!(link.end().await.code(), Code::Aborted, "the later session takes the place");
    twin.report(two.complete([memory(2)])).await;
    twin.acknowledged(two.place()).await.unwrap();
    let site = lab.collector.site();
    assert_eq!(site.host(&name("oa-17")).unwrap().view.session.twin_seen_at, None);
    machine.run = [1; 32];
    let mut link = machine.connect().await;
    link.report(one.changed([memory(1)])).await;
    link.acknowledged(one.place()).await.unwrap();
    until("the twin to be seen", || {
        site.host(&name("oa-17")).unwrap().view.session.twin_seen_at.is_some()
    })
    .await;
    until("the finding", || site.findings().iter().any(|f| f.alert == "BaileyIdentityConflict"))
        .await;
    lab.event("twin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebooted_machine_is_no_twin() {
    let lab = Lab::start().await;
    let mut machine = lab.enrolled("oa-17").await;
    for boot in 1..4 {
        machine.run = [boot; 32];
        let mut link = machine.connect().await;
        let mut facts = Facts::new(boot);
        link.report(facts.complete([memory(boot.into())])).await;
        link.acknowledged(facts.place()).await.unwrap();
    }
    let site = lab.collector.site();
    until("the last boot", || held_memory(&lab.collector, "oa-17") == Some(3)).await;
    assert_eq!(site.host(&name("oa-17")).unwrap().view.session.twin_seen_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_goodbye_is_believed_and_a_forged_one_is_not() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let boot = BootId::from_bytes([1; 16]);
    let goodbye = |signature| {
        let boot = boot.as_bytes().to_vec();
        v1::from_agent::Message::Goodbye(v1::Goodbye { boot, last_seq: 1, at_millis: 5, signature })
    };
    let mut link = machine.connect().await;
    link.send(goodbye(vec![0; 70])).await;
    assert_eq!(link.end().await.code(), Code::InvalidArgument);
    assert_eq!(lab.failures("bad_signature"), 1);
    let site = lab.collector.site();
    assert_eq!(site.host(&name("oa-17")).unwrap().view.session.goodbye_at, None);

    let link = machine.connect().await;
    let signature = machine.key.sign(&goodbye_bytes(boot, 1, 5)).unwrap();
    link.send(goodbye(signature)).await;
    until("the goodbye", || site.host(&name("oa-17")).unwrap().view.session.goodbye_at.is_some())
        .await;
    lab.event("goodbye").await;
    assert_eq!(lab.events("goodbye").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_understood_is_a_gap_and_does_not_stop_the_rest() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    let mut bad = facts.complete([memory(1)]);
    bad.digest = vec![1, 2, 3];
    link.report(bad).await;
    link.report(facts.complete([memory(2)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    until("the good one", || held_memory(&lab.collector, "oa-17") == Some(2)).await;
    let session = lab.collector.site().host(&name("oa-17")).unwrap().view.session.clone();
    assert_eq!(session.lost_reports, 1);
    let nowhere = v1::Report::default();
    link.report(nowhere).await;
    assert_eq!(link.end().await.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_does_not_begin_with_hello_is_ended() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut client = v1::uplink_client::UplinkClient::new(machine.channel().await.unwrap());
    let beat = v1::FromAgent {
        sent_at_millis: 0,
        message: Some(v1::from_agent::Message::Heartbeat(v1::Heartbeat {})),
    };
    let mut answers = client.session(tokio_stream::iter([beat])).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
    let mut facts = Facts::new(1);
    let mut link = machine.connect().await;
    link.report(facts.complete([memory(1)])).await;
    link.acknowledged(facts.place()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_bound_ends_the_session_and_no_other() {
    let lab = Lab::start().await;
    let (one, other) = (lab.enrolled("oa-17").await, lab.enrolled("oa-18").await);
    let mut link = one.connect().await;
    let mut good = other.connect().await;
    let mut facts = Facts::new(1);
    let mut large = facts.complete([memory(1)]);
    large.digest = vec![0; bailey_wire::MAX_MESSAGE + 1];
    link.report(large).await;
    link.end().await;
    let mut facts = Facts::new(2);
    good.report(facts.complete([memory(1)])).await;
    good.acknowledged(facts.place()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_much_waits_and_loses_nothing() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(0)])).await;
    let site = lab.collector.site();
    let mut value = 0;
    let flood = async {
        while site.counters().quota_waits.get() == 0 {
            for _ in 0..500 {
                value += 1;
                link.report(facts.changed([memory(value)])).await;
            }
            link.acknowledged(facts.place()).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(1), flood).await.expect("somebody is made to wait");
    until("the last", || held_memory(&lab.collector, "oa-17") == Some(value)).await;
    let session = site.host(&name("oa-17")).unwrap().view.session.clone();
    assert_eq!(session.reports_accepted, value + 1);
    assert_eq!(session.lost_reports, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_measured_and_does_not_make_facts_younger() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    let ahead = || SystemClock.now() + Duration::from_hours(1);
    let mut report = facts.complete([memory(1)]);
    report.taken_at_millis = ahead().as_millis();
    link.send_at(ahead(), v1::from_agent::Message::Report(report)).await;
    link.acknowledged(facts.place()).await.unwrap();
    let site = lab.collector.site();
    let status = || site.host(&name("oa-17")).unwrap();
    until("the report", || status().view.facts.len() == 1).await;
    let view = status().view.clone();
    let off = view.session.clock_ahead_millis.unwrap();
    assert!((3_590_000..=3_600_000).contains(&off), "{off}");
    let read_at = view.facts.probe(ProbeName::Host).unwrap().read_at;
    assert!(read_at <= SystemClock.now(), "a fact from the future");
    assert!(read_at.age(SystemClock.now()) < Duration::from_secs(10));
    until("the finding", || site.findings().iter().any(|f| f.check == "clock_ahead")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_falls_silent_turns_stale_not_ok_and_then_is_a_finding() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(1 << 33)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    let site = lab.collector.site();
    let verdict = |check: &str| {
        let host = site.host(&name("oa-17")).unwrap();
        let of = host.judged.iter().find(|judged| judged.check.name == check).unwrap();
        of.verdicts[0].state()
    };
    until("the verdict", || {
        let host = site.host(&name("oa-17")).unwrap();
        !host.view.facts.is_empty() && verdict("memory_available") == State::Ok
    })
    .await;
    lab.clock.forward(Duration::from_secs(31));
    until("stale", || verdict("memory_available") == State::Stale).await;
    lab.clock.forward(Duration::from_mins(10));
    until("the finding", || site.findings().iter().any(|f| f.alert == "BaileyHostDown")).await;
    link.report(facts.changed([])).await;
    link.acknowledged(facts.place()).await.unwrap();
    until("it to be resolved", || !site.findings().iter().any(|f| f.check == "host_silent")).await;
    lab.event("finding_resolved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_told_at_most_ten_times_a_second() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut revision = lab.collector.site().revision();
    let began = std::time::Instant::now();
    let before = *revision.borrow_and_update();
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(0)])).await;
    for value in 1..=200 {
        link.report(facts.changed([memory(value)])).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    link.acknowledged(facts.place()).await.unwrap();
    until("the last", || held_memory(&lab.collector, "oa-17") == Some(200)).await;
    let moved = *revision.borrow_and_update() - before;
    let most = began.elapsed().as_millis() / 100 + 2;
    assert!(moved >= 2 && u128::from(moved) <= most, "{moved} in {:?}", began.elapsed());
}
