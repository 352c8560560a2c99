//! How the site is wired, in a running collector: a simulated fleet with the shape of the reference
//! site, and a host with an agent behind one of its switches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fleet::{COMMUNITY, Fleet, reference_site};
use crate::support::{Facts, Lab, Link, state, until};
use bailey_collector::device::{Answer, Wish};
use bailey_collector::enrolment::Actor;
use bailey_collector::site::EventQuery;
use bailey_rules::check::{State, Status, Verdict};
use bailey_rules::fact::Fact;
use bailey_rules::fact::links::{Interface, LinkKind, Mac};
use bailey_rules::finding::Finding;
use bailey_rules::topology::cause::Cause;
use bailey_rules::topology::{Asset, Confidence};

/// Everything is asked each second and down soon after; the collector is at the first core switch.
const FAST: &str = "
expectations:
  - device: {interval: 1 s, silent_intervals: 5, silent_down: 6 s, core_down: 5 s}
    agent: {silent_intervals: 3, silent_down: 4 s}
    backup: {present: off}
wire: {collector_at: [core-1]}
";

async fn lab() -> Lab {
    let folder = state();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/fast.yaml"), FAST).unwrap();
    Lab::start_in(folder, |_| {}).await
}

/// Adds every device of a fleet, in the zone that is given for it.
async fn add_all(lab: &Lab, fleet: &Fleet, zone: impl Fn(&str) -> &'static str) {
    for some in fleet.devices.chunks(4) {
        let adding = some.iter().map(|device| async {
            let wish = Wish {
                address: device.address.ip().to_string(),
                port: device.address.port(),
                zone: zone(&device.name).parse().unwrap(),
                name: Some(device.name.parse().unwrap()),
                credentials: format!("community: {COMMUNITY}\n"),
            };
            let answer = lab.collector.devices().add(wish, Actor::uid(0)).await.unwrap();
            assert!(matches!(answer, Answer::Taken(_)), "{answer:?}");
        });
        futures::future::join_all(adding).await;
    }
}

fn card(mac: [u8; 6]) -> Fact {
    let card = Interface {
        index: 2,
        kind: LinkKind::Ethernet,
        driver: "e1000e".to_owned(),
        mac: Some(Mac(mac)),
        admin_up: true,
        carrier: true,
        speed_mbits: Some(100),
        duplex: None,
        mtu: 1500,
        master: None,
        addresses: vec!["10.1.3.7/16".parse().unwrap()],
        secondary: Vec::new(),
        link_only: Vec::new(),
        group: Some(0),
        hardware: Some(1),
        reverse_path: None,
    };
    Fact::known("eth0", card)
}

/// A host that reports until it is told to be silent.
fn reports(mut link: Link, mut facts: Facts, fact: Fact, silent: Arc<AtomicBool>) {
    tokio::spawn(async move {
        link.report(facts.complete([fact])).await;
        while !silent.load(Ordering::Relaxed) {
            if link.acknowledged(facts.place()).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
            link.report(facts.changed([])).await;
        }
        // The session stays open, as that of a host does whose switch has died.
        std::future::pending::<()>().await;
    });
}

/// Findings that somebody does not answer.
fn silences(lab: &Lab) -> Vec<Finding> {
    let of_silence = ["host_silent", "device_silent", "core_silent", "poll_failed", "probe_failed"];
    let all = lab.collector.site().findings();
    all.into_iter().filter(|finding| of_silence.contains(&finding.check.as_str())).collect()
}

fn verdict(lab: &Lab, asset: &Asset, check: &str) -> Option<Verdict> {
    let site = lab.collector.site();
    let judged = match asset {
        Asset::Host(name) => site.host(name)?.judged.clone(),
        Asset::Device(name) => site.device(name)?.judged.clone(),
    };
    judged.into_iter().find(|judged| judged.check.name == check)?.verdicts.into_iter().next()
}

fn device(name: &str) -> Asset {
    Asset::Device(name.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_switch_that_dies_there_is_one_finding_and_what_hangs_on_it_is_unknown() {
    let fleet = Fleet::start(reference_site(6)).await;
    let lab = lab().await;
    add_all(&lab, &fleet, |_| "inner").await;
    let machine = lab.enrolled("oa-17").await;
    let (silent, oa) = (Arc::new(AtomicBool::new(false)), Asset::Host("oa-17".parse().unwrap()));
    let mut facts = Facts::new(1);
    facts.interval = Duration::from_secs(1);
    let floor_3_port_7 = card([0x52, 0x54, 0, 1, 3, 7]);
    reports(machine.connect().await, facts, floor_3_port_7, Arc::clone(&silent));

    let site = lab.collector.site();
    until("the host is placed", || {
        let wiring = site.wiring();
        let place = wiring.place_of(&oa);
        place.is_some_and(|at| {
            (at.device.as_str(), at.port) == ("floor-3", 7) && at.confidence >= Confidence::Medium
        })
    })
    .await;
    let all_told = || {
        let links = &site.wiring().topology.links;
        links.len() == 2 * 6 + 6 + 1 && links.iter().all(|link| link.confidence == Confidence::High)
    };
    // 2 cores on 6 of the second level, each with a floor, and the trunk: all told by both ends.
    until("every link is known", all_told).await;
    assert_eq!(silences(&lab), []);

    // The floor switch dies, and with it the host's way here.
    fleet.device("floor-3").habit.dead.store(true, Ordering::Relaxed);
    silent.store(true, Ordering::Relaxed);
    until("the switch is found dead", || {
        silences(&lab).iter().any(|finding| finding.alert == "BaileyDeviceDown")
    })
    .await;
    until("the host is behind it", || {
        verdict(&lab, &oa, "host_silent").is_some_and(|verdict| {
            verdict.status == Status::Unknown && verdict.why.en.starts_with("behind floor-3 (")
        })
    })
    .await;
    let host = site.host(oa.name()).unwrap();
    let wrong: Vec<String> = host
        .judged
        .iter()
        .flat_map(|judged| judged.verdicts.iter().map(move |verdict| (judged.check.name, verdict)))
        .filter(|(_, verdict)| matches!(verdict.status, Status::Warning | Status::Critical))
        .map(|(check, verdict)| format!("{check}: {}", verdict.why.en))
        .collect();
    assert!(host.state < State::Warning, "{:?}: {wrong:?}", host.state);
    let names: Vec<String> = silences(&lab).iter().map(|f| f.host_name.to_string()).collect();
    assert_eq!(names, ["floor-3"], "one cause, one finding");
    let opened = lab.events("finding_opened").await;
    assert!(!opened.iter().any(|said| said.contains("host_silent")), "{opened:#?}");

    // The switch comes back, the host does not: its silence is its own now.
    fleet.device("floor-3").habit.dead.store(false, Ordering::Relaxed);
    until("the host is missed itself, and not each of its probes", || {
        let missed: Vec<(String, String)> =
            silences(&lab).into_iter().map(|f| (f.host_name.to_string(), f.check)).collect();
        missed == [("oa-17".to_owned(), "host_silent".to_owned())]
    })
    .await;

    // Further up: a switch of the second level takes its floor with it.
    fleet.device("sw-b-1").habit.dead.store(true, Ordering::Relaxed);
    until("the upper one is found dead", || {
        silences(&lab)
            .iter()
            .any(|f| f.host_name.as_str() == "sw-b-1" && f.alert == "BaileyDeviceDown")
    })
    .await;
    fleet.device("floor-1").habit.dead.store(true, Ordering::Relaxed);
    until("what is below is behind it", || {
        let behind = Cause::Behind(vec![device("sw-b-1")]);
        site.wiring().causes.get(&device("floor-1")) == Some(&behind)
    })
    .await;
    until("it is unknown for that", || {
        verdict(&lab, &device("floor-1"), "device_silent")
            .is_some_and(|verdict| verdict.status == Status::Unknown)
    })
    .await;
    // Exactly one page: nothing was opened in the moment before the cause was known either.
    let of_it: Vec<Finding> =
        silences(&lab).into_iter().filter(|f| f.host_name.as_str() == "floor-1").collect();
    assert_eq!(of_it, []);
    let query =
        EventQuery { host: Some("floor-1".parse().unwrap()), limit: 200, ..EventQuery::default() };
    let events = site.events(query).await.unwrap();
    let opened: Vec<&str> = events
        .iter()
        .filter(|event| event.kind.as_str() == "finding_opened")
        .map(|event| event.text.en.as_str())
        .filter(|said| said.contains("silent"))
        .collect();
    assert_eq!(opened, Vec::<&str>::new());
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_of_another_zone_on_a_port_is_a_violation_until_it_is_gone() {
    let fleet = Fleet::start(reference_site(2)).await;
    let lab = lab().await;
    add_all(&lab, &fleet, |name| if name == "floor-2" { "outer" } else { "inner" }).await;
    let found = || {
        let all = lab.collector.site().findings();
        all.into_iter().find(|f| f.check == "foreign_port" && f.host_name.as_str() == "sw-b-2")
    };
    until("the violation", || found().is_some()).await;
    let finding = found().unwrap();
    assert_eq!(finding.alert, "BaileyIsolationViolation");
    assert_eq!(finding.subject, "GE0/0/1");
    assert_eq!(finding.why.en, "GE0/0/1 is linked to floor-2 GE0/0/49 of zone \"outer\"");
    assert!(finding.evidence[0].read_at.is_some());
    lab.collector.devices().remove(&"floor-2".parse().unwrap(), Actor::uid(0)).await.unwrap();
    until("it is resolved", || found().is_none()).await;
    lab.collector.shutdown().await;
}
