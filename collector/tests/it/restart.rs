//! What was known before is known after: the collector falls in any way and comes up again.

use std::time::Duration;

use crate::support::{self, Facts, Lab, MovedClock, held_memory, memory, settings, until};
use bailey_collector::Collector;
use bailey_rules::check::State;
use bailey_rules::name::HostName;
use bailey_rules::report::{Gap, LossReason};

fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

/// Runs `before` on a collector in a runtime that is then torn down without a shutdown.
fn fall<T: Send + 'static>(
    folder: &std::path::Path,
    before: impl AsyncFnOnce(&bailey_collector::CollectorHandle) -> T,
) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let settings = settings(folder);
    let (result, handle) = runtime.block_on(async {
        let collector = Collector::start(settings).await.unwrap();
        (before(&collector).await, collector)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(handle);
    result
}

async fn machine(collector: &bailey_collector::CollectorHandle, host: &str) -> support::Machine {
    let made = collector.enrolment().make_token(
        name(host),
        "inner".parse().unwrap(),
        Duration::from_mins(10),
        bailey_collector::enrolment::Actor::uid(0),
    );
    let token = made.await.unwrap().token;
    let key = bailey_wire::identity::AgentKey::generate().unwrap();
    support::Machine::enrol(&token, key).await.unwrap()
}

#[test]
fn a_collector_that_fell_comes_to_the_same_state_and_asks_for_nothing_twice() {
    let folder = support::state();
    let (mut machine, mut facts, before) = fall(folder.path(), async |collector| {
        let machine = machine(collector, "oa-17").await;
        let mut link = machine.connect().await;
        let mut facts = Facts::new(1);
        link.report(facts.complete([memory(1)])).await;
        // Enough for a snapshot and a log after it.
        for value in 2..100 {
            link.report(facts.changed([memory(value)])).await;
        }
        facts.seq += 3;
        link.lose(&Gap { boot: facts.boot, from: 100, to: 102, reason: LossReason::SpoolFull })
            .await;
        link.report(facts.changed([memory(500)])).await;
        link.acknowledged(facts.place()).await.unwrap();
        until("the last", || held_memory(collector, "oa-17") == Some(500)).await;
        let view = collector.site().host(&name("oa-17")).unwrap().view.clone();
        (machine, facts, view)
    });
    fall(folder.path(), async |collector| {
        let host = collector.site().host(&name("oa-17")).unwrap();
        let after = &host.view;
        assert_eq!(after.facts, before.facts);
        assert_eq!(after.key, before.key);
        let without_connection = bailey_rules::host::Session {
            connected: false,
            connection: None,
            clock_ahead_millis: after.session.clock_ahead_millis,
            ..before.session.clone()
        };
        assert_eq!(after.session, without_connection);

        machine.address = collector.addresses().agents.to_string();
        let mut link = machine.connect().await;
        let welcome = link.welcome.clone().unwrap().acknowledged.unwrap();
        assert_eq!(welcome.seq, facts.seq);
        link.report(facts.changed([memory(7)])).await;
        link.acknowledged(facts.place()).await.unwrap();
        until("the next", || held_memory(collector, "oa-17") == Some(7)).await;
        assert_eq!(collector.site().counters().send_everything.get(), 0);
        assert!(collector.site().counters().gaps.each().all(|(_, count)| count == 0));
    });
}

#[test]
fn findings_are_not_opened_again_and_silence_is_not_held_against_the_hosts() {
    let folder = support::state();
    let first_at = fall(folder.path(), async |collector| {
        let machine = machine(collector, "oa-17").await;
        let mut link = machine.connect().await;
        let mut facts = Facts::new(1);
        // Nearly no memory left.
        link.report(facts.complete([memory(1)])).await;
        link.acknowledged(facts.place()).await.unwrap();
        let site = collector.site();
        let found = || site.findings().into_iter().find(|f| f.check == "memory_available");
        until("the finding", || found().is_some()).await;
        // The finding is written a moment after it is shown.
        tokio::time::sleep(Duration::from_millis(300)).await;
        found().unwrap().first_at
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let clock = std::sync::Arc::new(MovedClock::default());
        // The collector was away for an hour.
        clock.forward(Duration::from_hours(1));
        let collector = Collector::start_at(settings(folder.path()), clock.clone()).await.unwrap();
        let site = collector.site();
        let silent = |site: &bailey_collector::site::Site| {
            site.findings().iter().any(|f| f.check == "host_silent" || f.check == "probe_failed")
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!silent(site), "{:?}", site.findings());
        let findings = site.findings();
        let old = findings.iter().find(|f| f.check == "memory_available").unwrap();
        assert_eq!(old.first_at, first_at);
        assert!(old.held, "nothing fresh says that it is still so");
        let host = site.host(&name("oa-17")).unwrap();
        let fine = host.judged.iter().filter(|judged| !judged.check.probes.is_empty());
        let fine = fine
            .flat_map(|judged| &judged.verdicts)
            .find(|verdict| verdict.state() == State::Ok && !verdict.evidence.is_empty());
        assert!(fine.is_none(), "something an hour old is shown as fine: {fine:#?}");
        assert!(host.state != State::Ok);
        let query = bailey_collector::site::EventQuery { limit: 200, ..Default::default() };
        let events = site.events(query).await.unwrap();
        let opened = events
            .iter()
            .filter(|e| e.kind.as_str() == "finding_opened" && e.text.en.contains("memory"));
        assert_eq!(opened.count(), 1);
        clock.forward(Duration::from_mins(2));
        until("silence to count after the grace", || silent(site)).await;
        collector.shutdown().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_stop_acknowledges_what_was_sent_and_leaves_no_log() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(1)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    let folder = lab.folder;
    lab.collector.shutdown().await;
    link.end().await;
    let store = rusqlite::Connection::open(folder.path().join("store/collector.db")).unwrap();
    let count = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM report"), 0);
    assert_eq!(count("SELECT count(*) FROM snapshot"), 1);
    assert_eq!(count("SELECT count(*) FROM event WHERE kind = 'stopped'"), 1);
    drop(store);
    let collector = Collector::start(settings(folder.path())).await.unwrap();
    assert_eq!(held_memory(&collector, "oa-17"), Some(1));
    collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_collectors_never_share_a_state_folder() {
    let lab = Lab::start().await;
    let second = Collector::start(settings(lab.folder.path())).await.err().unwrap();
    assert!(second.to_string().contains("another collector runs"), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_refused_with_what_to_do_and_left_as_it_is() {
    let folder = support::state();
    let path = folder.path().join("store/collector.db");
    Collector::start(settings(folder.path())).await.unwrap().shutdown().await;
    let mut octets = std::fs::read(&path).unwrap();
    for octet in octets.iter_mut().skip(4096).step_by(7) {
        *octet ^= 0x5a;
    }
    std::fs::write(&path, &octets).unwrap();
    let refused = Collector::start(settings(folder.path())).await.err().unwrap().to_string();
    assert!(refused.contains("is damaged") && refused.contains("Nothing was changed"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), octets);

    std::fs::write(
        &path,
        b"this is somebody's letter, not a database at all, and long enough to be one",
    )
    .unwrap();
    assert!(Collector::start(settings(folder.path())).await.is_err());
    assert!(std::fs::read(&path).unwrap().starts_with(b"this is"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_or_foreign_store_is_refused() {
    let folder = support::state();
    let path = folder.path().join("store/collector.db");
    Collector::start(settings(folder.path())).await.unwrap().shutdown().await;
    let store = rusqlite::Connection::open(&path).unwrap();
    store.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let refused = Collector::start(settings(folder.path())).await.err().unwrap().to_string();
    assert!(refused.contains("newer Bailey"), "{refused}");
    std::fs::remove_file(&path).unwrap();
    let store = rusqlite::Connection::open(&path).unwrap();
    store.execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
    drop(store);
    let refused = Collector::start(settings(folder.path())).await.err().unwrap().to_string();
    assert!(refused.contains("not a database of Bailey"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_it_says_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Collector::start(settings(folder.path())).await.err().unwrap().to_string();
    assert!(refused.contains("there is no policy file"), "{refused}");
    assert!(refused.contains("zones:"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_is_judged_at_once_and_a_wrong_one_keeps_the_one_before() {
    let lab = Lab::start().await;
    let policy = lab.folder.path().join("policy.yaml");
    let site = lab.collector.site();
    let more = format!("{}  ex-front: {{zone: inner, addresses: [10.1.0.9]}}\n", support::POLICY);
    // As an editor saves: another file, put in its place.
    let fresh = lab.folder.path().join("policy.yaml~");
    std::fs::write(&fresh, &more).unwrap();
    std::fs::rename(&fresh, &policy).unwrap();
    until("the new policy", || site.policy().hosts.len() == 2).await;
    lab.event("settings_reloaded").await;
    assert_eq!(lab.events("settings_reloaded").await.len(), 1);

    std::fs::write(&policy, "site: jiaxing\nzoness: {}\n").unwrap();
    until("the problem", || !site.problems().is_empty()).await;
    assert!(site.problems()[0].message.contains("zoness"), "{:?}", site.problems());
    assert_eq!(site.policy().hosts.len(), 2);
    until("the count", || site.counters().reloads_refused.get() == 1).await;

    std::fs::write(&policy, support::POLICY).unwrap();
    until("the problem to go", || site.problems().is_empty()).await;
    assert_eq!(site.policy().hosts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_file_changes_the_verdict_with_no_report() {
    let lab = Lab::start().await;
    let machine = lab.enrolled("oa-17").await;
    let mut link = machine.connect().await;
    let mut facts = Facts::new(1);
    link.report(facts.complete([memory(1 << 33)])).await;
    link.acknowledged(facts.place()).await.unwrap();
    let site = lab.collector.site();
    until("the report", || held_memory(&lab.collector, "oa-17").is_some()).await;
    let found = || site.findings().iter().any(|f| f.check == "memory_available");
    assert!(!found());
    let rules = lab.folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    let wanted = "expectations:\n  - hosts: [oa-17]\n    host:\n      memory_available: \
                  {warning: 80 %, critical: 60 %}\n";
    std::fs::write(rules.join("site.yaml"), wanted).unwrap();
    until("the finding", found).await;
    std::fs::remove_file(rules.join("site.yaml")).unwrap();
    until("the finding to go", || !found()).await;
}
