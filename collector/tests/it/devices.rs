//! Devices in a running collector: against the real `snmpd`, and against a simulated fleet with the
//! shape of the reference site.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::agent::{Agent, free_port};
use crate::fleet::{self, COMMUNITY, Fleet, reference_site};
use crate::support::{Lab, state};
use bailey_collector::CollectorHandle;
use bailey_collector::device::{Answer, DeviceError, DeviceStatus, Wish};
use bailey_collector::enrolment::Actor;
use bailey_rules::check::State;
use bailey_rules::device::Part;
use bailey_rules::device::interface::Window;
use bailey_rules::finding::{AssetKind, Finding, Severity};

/// Longer than anything here takes on a busy machine; a test that waits for it has failed.
const LIMIT: Duration = Duration::from_mins(1);

/// Every device is asked each second, and is down after three.
const FAST: &str = "
expectations:
  - device: {interval: 1 s, silent_intervals: 2, silent_down: 3 s, core_down: 2 s}
  - hosts: [\"core-*\"]
    device: {core: critical}
";

async fn lab() -> Lab {
    lab_with(FAST).await
}

async fn lab_with(rules: &str) -> Lab {
    let folder = state();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/fast.yaml"), rules).unwrap();
    Lab::start_in(folder, |_| {}).await
}

fn wish(address: SocketAddr, name: Option<&str>, credentials: &str) -> Wish {
    Wish {
        address: address.ip().to_string(),
        port: address.port(),
        zone: "inner".parse().unwrap(),
        name: name.map(|name| name.parse().unwrap()),
        credentials: credentials.to_owned(),
    }
}

async fn add(lab: &Lab, wish: Wish) -> Arc<DeviceStatus> {
    match lab.collector.devices().add(wish, Actor::uid(0)).await.unwrap() {
        Answer::Taken(device) => device,
        Answer::Faulty(diagnosis) => panic!("{diagnosis:?}"),
    }
}

fn device(collector: &CollectorHandle, name: &str) -> Arc<DeviceStatus> {
    collector.site().device(&name.parse().unwrap()).unwrap()
}

/// Waits until `what` holds.
async fn until(name: &str, mut what: impl FnMut() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < LIMIT, "{name}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn finding(collector: &CollectorHandle, name: &str, check: &str) -> Option<Finding> {
    let findings = collector.site().findings();
    findings.into_iter().find(|f| f.host_name.as_str() == name && f.check == check)
}

const PUBLIC: &str = "sysName hp-1\nrocommunity public-17 127.0.0.1\n";

#[tokio::test]
async fn a_device_is_shown_at_once_and_one_that_is_killed_is_found_and_comes_back() {
    let mut snmpd = Agent::start(PUBLIC).await;
    let lab = lab().await;
    let device_now = add(&lab, wish(snmpd.address, None, "community: public-17\n")).await;
    let view = &device_now.view;
    assert_eq!(view.name.as_str(), "hp-1", "it is called as it calls itself");
    assert_eq!(view.identity.value().unwrap().vendor.as_deref(), Some("net-snmp"));
    let interfaces = view.interfaces.value().unwrap();
    assert!(interfaces.iter().any(|interface| interface.name == "lo"), "{interfaces:?}");
    assert_eq!(device_now.version, "v2c");
    let site = lab.collector.site();
    until("it is polled", || device(&lab.collector, "hp-1").view.polling.took.is_some()).await;

    snmpd.kill();
    until("a critical finding", || {
        finding(&lab.collector, "hp-1", "device_silent")
            .is_some_and(|finding| finding.severity == Severity::Critical)
    })
    .await;
    let found = finding(&lab.collector, "hp-1", "device_silent").unwrap();
    assert_eq!((found.asset, found.alert.as_str()), (AssetKind::Device, "BaileyDeviceDown"));
    let status = device(&lab.collector, "hp-1");
    assert_eq!(status.state, State::Critical);
    // What was read before is old, and nowhere shown as well.
    until("what it told is stale", || {
        let status = device(&lab.collector, "hp-1");
        status.view.freshness(Part::Interfaces).is_stale(site.now())
    })
    .await;

    snmpd.again().await;
    until("it is back", || finding(&lab.collector, "hp-1", "device_silent").is_none()).await;
    assert!(
        lab.collector
            .site()
            .counters()
            .polls
            .each()
            .any(|(word, n)| word.as_str() == "silent" && n > 0)
    );
    lab.event("finding_resolved").await;
    lab.collector.shutdown().await;
}

#[tokio::test]
async fn credentials_are_sealed_on_disk_and_open_after_a_restart() {
    let snmpd = Agent::start("sysName ups-9\nrocommunity q9w8e7r6 127.0.0.1\n").await;
    let lab = lab().await;
    add(&lab, wish(snmpd.address, Some("ups-1"), "community: q9w8e7r6\n")).await;
    let Lab { folder, collector, .. } = lab;
    collector.shutdown().await;
    for entry in walk(folder.path()) {
        // What the store needs no more when it is closed may go meanwhile.
        let Ok(octets) = std::fs::read(&entry) else { continue };
        let found = octets.windows(8).any(|window| window == b"q9w8e7r6");
        assert!(!found, "the community lies open in {}", entry.display());
    }
    let lab = Lab::start_in(folder, |_| {}).await;
    let before = device(&lab.collector, "ups-1");
    assert_eq!(before.state, State::Unknown, "nothing is known after a restart");
    until("it is polled again", || {
        device(&lab.collector, "ups-1").view.polling.answered_at.is_some()
    })
    .await;
    let Lab { folder, collector, .. } = lab;
    collector.shutdown().await;

    // Without the key nothing opens: the device is there, is not polled, and can be given credentials.
    std::fs::remove_file(folder.path().join("devices.key")).unwrap();
    let lab = Lab::start_in(folder, |_| {}).await;
    let problems = lab.collector.site().problems();
    assert!(problems.iter().any(|problem| problem.message.contains("ups-1 is not polled")));
    until("it is judged silent", || device(&lab.collector, "ups-1").state == State::Critical).await;
    let name = "ups-1".parse().unwrap();
    let text = "community: q9w8e7r6\n";
    let given = lab.collector.devices().set_credentials(&name, text, Actor::uid(0)).await.unwrap();
    assert!(matches!(given, Answer::Taken(_)));
    until("it is polled again", || {
        device(&lab.collector, "ups-1").view.polling.failed.is_none()
            && device(&lab.collector, "ups-1").view.polling.answered_at.is_some()
    })
    .await;
    assert!(lab.collector.site().problems().is_empty());
    lab.collector.shutdown().await;
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn a_fault_is_named_and_nothing_is_kept_of_it() {
    let snmpd = Agent::start(PUBLIC).await;
    let lab = lab().await;
    let devices = lab.collector.devices();
    let faulty = devices.add(wish(snmpd.address, None, "community: wrong\n"), Actor::uid(0)).await;
    let Ok(Answer::Faulty(diagnosis)) = faulty else { panic!("{faulty:?}") };
    assert_eq!(diagnosis.fault.unwrap().name(), "community");
    assert!(lab.collector.site().devices().is_empty());

    let refused =
        |wish: Wish| async { devices.add(wish, Actor::uid(0)).await.unwrap_err().to_string() };
    let good = "community: public-17\n";
    let mut other_zone = wish(snmpd.address, None, good);
    other_zone.zone = "iner".parse().unwrap();
    assert!(refused(other_zone).await.contains("did you mean \"inner\"?"));
    assert!(refused(wish(snmpd.address, None, "comunity: x\n")).await.contains("credentials:1"));
    add(&lab, wish(snmpd.address, None, good)).await;
    assert!(refused(wish(snmpd.address, None, good)).await.contains("as the device \"hp-1\""));
    assert!(refused(wish(free_port(), Some("hp-1"), good)).await.contains("name of another"));
    let token = lab.collector.enrolment().make_token(
        "hp-1".parse().unwrap(),
        "inner".parse().unwrap(),
        Duration::from_mins(5),
        Actor::uid(0),
    );
    assert!(token.await.unwrap_err().to_string().contains("is the name of a device"));
    lab.collector.shutdown().await;
}

#[tokio::test]
async fn other_credentials_are_tried_before_they_are_used_and_who_did_it_is_noted() {
    let snmpd = Agent::start(&format!("{PUBLIC}rocommunity other-17 127.0.0.1\n")).await;
    let lab = lab().await;
    add(&lab, wish(snmpd.address, None, "community: public-17\n")).await;
    let (devices, name) = (lab.collector.devices(), "hp-1".parse().unwrap());
    let wrong = devices.set_credentials(&name, "community: wrong\n", Actor::uid(7)).await.unwrap();
    assert!(matches!(wrong, Answer::Faulty(_)));
    let right =
        devices.set_credentials(&name, "community: other-17\n", Actor::uid(7)).await.unwrap();
    assert!(matches!(right, Answer::Taken(_)));
    devices.remove(&name, Actor::uid(8)).await.unwrap();
    assert!(lab.collector.site().devices().is_empty());
    let again = devices.remove(&name, Actor::uid(8)).await;
    assert!(matches!(again, Err(DeviceError::Unknown(_))), "{again:?}");
    for (kind, actor) in
        [("device_added", "uid 0"), ("device_changed", "uid 7"), ("device_removed", "uid 8")]
    {
        let query = bailey_collector::site::EventQuery { limit: 200, ..Default::default() };
        let events = lab.collector.site().events(query).await.unwrap();
        let event = events.iter().find(|event| event.kind.as_str() == kind).unwrap();
        assert_eq!(event.actor.as_ref().unwrap().as_str(), actor, "{kind}");
        assert!(!event.text.en.contains("17"), "no credential in an event: {}", event.text.en);
    }
    lab.collector.shutdown().await;
}

/// Adds every device of a fleet.
async fn add_all(lab: &Lab, fleet: &Fleet) {
    // As many as are examined at the same time.
    for some in fleet.devices.chunks(8) {
        let adding = some.iter().map(|device| {
            let credentials = format!("community: {COMMUNITY}\n");
            add(lab, wish(device.address, Some(&device.name), &credentials))
        });
        futures::future::join_all(adding).await;
    }
}

/// The whole fleet is asked each other second, and is down soon after.
const WHOLE: &str = "
expectations:
  - device: {interval: 2 s, silent_intervals: 2, silent_down: 6 s, core_down: 4 s}
  - hosts: [\"core-*\"]
    device: {core: critical}
  - hosts: [\"hp-*\"]
    device: {processes: [\"ora_pmon_*\", httpd]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_site_is_polled_right_with_loss_delay_repeats_a_loop_and_a_death() {
    const FLOORS: usize = 40;
    let fleet = Fleet::start(reference_site(FLOORS)).await;
    let lab = lab_with(WHOLE).await;
    let collector = &lab.collector;
    add_all(&lab, &fleet).await;
    assert_eq!(collector.site().devices().len(), 2 + 6 + FLOORS + 1 + 2);
    for device in &fleet.devices {
        device.habit.loss.store(30, Ordering::Relaxed);
        device.habit.twice.store(100, Ordering::Relaxed);
        device.habit.delay.store(3, Ordering::Relaxed);
    }
    let loops = fleet.device("floor-2");
    loops.habit.loops.store(true, Ordering::Relaxed);
    let uplink = &fleet.device("floor-3").ports[48];
    uplink.up.store(false, Ordering::Relaxed);
    fleet.device("core-2").habit.dead.store(true, Ordering::Relaxed);
    let ups = fleet.device("ups-1");
    ups.habit.lasts.store(21, Ordering::Relaxed);
    ups.habit.on_battery.store(true, Ordering::Relaxed);

    for (name, check, severity) in [
        ("core-2", "core_silent", Severity::Critical),
        ("floor-2", "poll_failed", Severity::Warning),
        ("floor-3", "link_down", Severity::Warning),
        ("ups-1", "ups_on_battery", Severity::Warning),
        ("hp-2", "process_missing", Severity::Critical),
    ] {
        until(&format!("{check} of {name}"), || {
            finding(collector, name, check).is_some_and(|finding| finding.severity == severity)
        })
        .await;
    }
    let looped = finding(collector, "floor-2", "poll_failed").unwrap();
    assert!(looped.why.en.contains("does not advance"), "{}", looped.why.en);
    assert_eq!(finding(collector, "floor-3", "link_down").unwrap().subject, "GE0/0/49");
    let missing = finding(collector, "hp-2", "process_missing").unwrap();
    assert_eq!(missing.why.en, "no \"httpd\" runs", "the database runs");
    // Nobody else is in trouble, and every table is whole.
    for device_there in &fleet.devices {
        let name = device_there.name.as_str();
        let troubled = ["core-2", "floor-2", "floor-3", "ups-1"].contains(&name);
        let status = device(collector, name);
        let interfaces = status.view.interfaces.value().unwrap();
        assert_eq!(interfaces.len(), device_there.ports.len(), "{name}");
        if !troubled {
            assert_eq!(finding(collector, name, "device_silent"), None);
            assert_eq!(finding(collector, name, "link_down"), None);
            assert_eq!(finding(collector, name, "device_route"), None);
        }
        if name.starts_with("floor") {
            let view = &status.view;
            let learned = view.bridge.value().unwrap();
            assert_eq!(learned.stations.len(), FLOORS * 40, "each station, at {name}");
            let poe = view.poe.value().unwrap();
            assert_eq!((poe.supplies.len(), poe.ports.len()), (1, 48), "{name}");
            assert_eq!(view.routes.value().unwrap().list.len(), 2, "{name}");
        }
    }
    let core = device(collector, "core-1");
    let learned = core.view.bridge.value().unwrap();
    assert_eq!(learned.stations.len(), FLOORS * 40, "each station of each floor");
    let neighbours = core.view.neighbours.value().unwrap();
    assert_eq!(neighbours.len(), 7);
    assert!(neighbours.iter().any(|neighbour| neighbour.name.as_deref() == Some("core-2")));
    let room = device(collector, "hp-1");
    assert_eq!(room.view.resources.value().unwrap().storage.len(), 4);
    assert_eq!(room.view.processes.value().unwrap().list.len(), 3);

    // Traffic is counted from one poll to the next.
    let port = &fleet.device("core-1").ports[0];
    port.rate.store(50_000_000, Ordering::Relaxed);
    until("the traffic of core-1", || {
        let view = &device(collector, "core-1").view;
        let newest = view.traffic.get(&1).and_then(Window::newest);
        newest
            .and_then(|rate| rate.received)
            .is_some_and(|rate| rate.abs_diff(50_000_000) < 5_000_000)
    })
    .await;

    ups.habit.lasts.store(6, Ordering::Relaxed);
    fleet.device("core-2").habit.dead.store(false, Ordering::Relaxed);
    loops.habit.loops.store(false, Ordering::Relaxed);
    uplink.up.store(true, Ordering::Relaxed);
    until("little is left of the battery", || {
        finding(collector, "ups-1", "ups_on_battery")
            .is_some_and(|finding| finding.alert == "BaileyUpsOnBatteryLow")
    })
    .await;
    ups.habit.on_battery.store(false, Ordering::Relaxed);
    until("everything is well again", || {
        let checks = ["core_silent", "poll_failed", "link_down", "ups_on_battery"];
        !collector.site().findings().iter().any(|finding| checks.contains(&finding.check.as_str()))
    })
    .await;
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_device_does_not_hold_up_the_others_and_polls_are_spread() {
    let fleet = Fleet::start(fleet::switches(24)).await;
    let lab = lab().await;
    add_all(&lab, &fleet).await;
    for device in fleet.devices.iter().step_by(2) {
        device.habit.dead.store(true, Ordering::Relaxed);
    }
    let dead: Vec<&str> = fleet.devices.iter().step_by(2).map(|d| d.name.as_str()).collect();
    until("the dead ones are found", || {
        dead.iter().all(|name| {
            finding(&lab.collector, name, "device_silent")
                .is_some_and(|finding| finding.severity == Severity::Critical)
        })
    })
    .await;
    for device_there in fleet.devices.iter().skip(1).step_by(2) {
        let status = device(&lab.collector, &device_there.name);
        assert_eq!(finding(&lab.collector, &device_there.name, "device_silent"), None);
        assert!(!status.view.freshness(Part::Interfaces).is_stale(lab.collector.site().now()));
    }
    lab.collector.shutdown().await;
}
