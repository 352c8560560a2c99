//! Ports in quarantine, in a running collector, against a simulated fleet whose ports can be set.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fleet::{COMMUNITY, Fleet, reference_site};
use crate::support::{Lab, state, until};
use bailey_collector::device::{Answer, DeviceError, Wish};
use bailey_collector::enrolment::Actor;
use bailey_collector::port::{PortError, PortWish, Stage};
use bailey_collector::site::{Event, EventQuery};

const FAST: &str = "
expectations: [{device: {interval: 1 s}}]
wire: {collector_at: [core-1]}
";

async fn lab(fleet: &Fleet) -> Lab {
    let folder = state();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/fast.yaml"), FAST).unwrap();
    let lab = Lab::start_in(folder, |_| {}).await;
    for device in &fleet.devices {
        let wish = Wish {
            address: device.address.ip().to_string(),
            port: device.address.port(),
            zone: "inner".parse().unwrap(),
            name: Some(device.name.parse().unwrap()),
            credentials: format!("community: {COMMUNITY}\n"),
        };
        let answer = lab.collector.devices().add(wish, Actor::uid(0)).await.unwrap();
        assert!(matches!(answer, Answer::Taken(_)), "{answer:?}");
    }
    let site = lab.collector.site();
    until("the wiring is known", || {
        let wiring = site.wiring();
        wiring.complete && wiring.topology.links.len() == 2 * 6 + 2 + 1
    })
    .await;
    lab
}

fn wish(lab: &Lab, port: &str, length: Duration) -> PortWish {
    PortWish {
        device: "floor-2".parse().unwrap(),
        port: port.to_owned(),
        until: lab.collector.site().now() + length,
        reason: "扫描内网".to_owned(),
        dry_run: false,
    }
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_goes_off_when_a_second_person_approves_and_on_again_when_its_time_is_over() {
    let fleet = Fleet::start(reference_site(2)).await;
    let lab = lab(&fleet).await;
    let (one, other) = (Actor::uid(1001), Actor::uid(1002));
    let (ports, floor) = (lab.collector.ports(), "floor-2".parse().unwrap());
    let port = &fleet.device("floor-2").ports[6];
    let is_off = || port.off.load(Ordering::Relaxed);

    // Nothing happens of a question.
    let dry = PortWish { dry_run: true, ..wish(&lab, "GE0/0/7", HOUR) };
    let (_, behind) = ports.ask(dry, &one).await.unwrap();
    assert_eq!(behind.macs.len(), 1);
    assert_eq!(ports.all(), []);

    ports.ask(wish(&lab, "GE0/0/7", HOUR), &one).await.unwrap();
    let same = ports.approve(&floor, "7", &one).await;
    assert!(matches!(same, Err(PortError::SamePerson(_))), "{same:?}");
    assert!(!is_off(), "one person alone switches nothing off");
    ports.approve(&floor, "7", &other).await.unwrap();
    until("it is off", || is_off() && ports.all()[0].stage == Stage::InForce).await;

    // A switch that was started again has forgotten it.
    port.off.store(false, Ordering::Relaxed);
    until("it is off again", is_off).await;

    // And so has a collector: what is wanted is on disk.
    let Lab { folder, collector, .. } = lab;
    collector.shutdown().await;
    port.off.store(false, Ordering::Relaxed);
    let lab = Lab::start_in(folder, |_| {}).await;
    let ports = lab.collector.ports();
    until("it is off after a restart", is_off).await;
    assert_eq!(ports.all()[0].approved_by.as_deref(), Some("uid 1002"));

    lab.clock.forward(HOUR + Duration::from_secs(1));
    until("its time is over", || !is_off() && ports.all().is_empty()).await;
    let query = EventQuery { limit: 200, ..EventQuery::default() };
    let events = lab.collector.site().events(query).await.unwrap();
    for (kind, actor) in [
        ("port_asked", Some("uid 1001")),
        ("port_approved", Some("uid 1002")),
        ("port_off", None),
        ("port_released", None),
        ("port_on", None),
    ] {
        let event = events.iter().find(|event| event.kind.as_str() == kind).unwrap();
        assert_eq!(event.actor.as_ref().map(Actor::as_str), actor, "{kind}");
        assert_eq!(event.host.as_ref().unwrap().as_str(), "floor-2");
    }
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uplink_a_port_that_is_not_there_and_a_wish_without_sense_are_refused() {
    let fleet = Fleet::start(reference_site(2)).await;
    let lab = lab(&fleet).await;
    let ports = lab.collector.ports();
    let by = Actor::uid(1001);
    let refused = |wish: PortWish| {
        let by = by.clone();
        async move { ports.ask(wish, &by).await.unwrap_err().to_string() }
    };
    assert_eq!(
        refused(wish(&lab, "GE0/0/49", HOUR)).await,
        "floor-2 GE0/0/49 is not switched off: it is an uplink: sw-b-2 is behind it"
    );
    assert!(refused(wish(&lab, "GE0/0/99", HOUR)).await.contains("has no port"));
    assert!(refused(wish(&lab, "GE0/0/7", Duration::ZERO)).await.contains("time to come"));
    let of_two_lines = PortWish { reason: "a\nb".to_owned(), ..wish(&lab, "GE0/0/7", HOUR) };
    assert!(refused(of_two_lines).await.contains("one line"));
    let elsewhere = PortWish { device: "floor-9".parse().unwrap(), ..wish(&lab, "1", HOUR) };
    assert!(refused(elsewhere).await.contains("no device"));
    ports.ask(wish(&lab, "GE0/0/8", HOUR), &by).await.unwrap();
    assert!(refused(wish(&lab, "GE0/0/8", HOUR)).await.contains("already"));
    // One person is enough to take a wish back.
    ports.release(&"floor-2".parse().unwrap(), "GE0/0/8", &by).await.unwrap();
    assert_eq!(ports.all(), []);
    let none = ports.release(&"floor-2".parse().unwrap(), "GE0/0/8", &by).await;
    assert!(matches!(none, Err(PortError::None { .. })), "{none:?}");
    assert!(!fleet.device("floor-2").ports[7].off.load(Ordering::Relaxed));
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_with_a_port_off_is_not_taken_away_and_one_that_was_replaced_can_be() {
    let fleet = Fleet::start(reference_site(2)).await;
    let lab = lab(&fleet).await;
    let (one, other) = (Actor::uid(1001), Actor::uid(1002));
    let floor = "floor-2".parse().unwrap();
    let there = fleet.device("floor-2");
    let is_off = || there.ports[6].off.load(Ordering::Relaxed);
    let (ports, devices) = (lab.collector.ports(), lab.collector.devices());
    ports.ask(wish(&lab, "GE0/0/7", HOUR), &one).await.unwrap();
    let refused = devices.remove(&floor, Actor::uid(0)).await;
    assert!(matches!(refused, Err(DeviceError::Port(PortError::Held { .. }))), "{refused:?}");
    ports.approve(&floor, "7", &other).await.unwrap();
    until("it is off", || is_off() && ports.all()[0].stage == Stage::InForce).await;
    let refused = devices.remove(&floor, Actor::uid(0)).await.unwrap_err().to_string();
    assert!(refused.contains("bailey quarantine port floor-2 GE0/0/7 --release"), "{refused}");
    assert!(is_off() && lab.collector.site().device(&floor).is_some(), "nothing has changed");

    // The switch dies, and a collector that is started again has never heard of it.
    there.habit.dead.store(true, Ordering::Relaxed);
    let Lab { folder, collector, .. } = lab;
    collector.shutdown().await;
    let lab = Lab::start_in(folder, |_| {}).await;
    let (ports, devices) = (lab.collector.ports(), lab.collector.devices());
    let none = ports.release(&floor, "GE0/0/9", &one).await;
    assert!(matches!(none, Err(PortError::None { .. })), "{none:?}");
    ports.release(&floor, "GE0/0/7", &one).await.unwrap();
    until("it could not be switched on", || ports.all()[0].failed.is_some()).await;
    devices.remove(&floor, Actor::uid(1003)).await.unwrap();
    assert_eq!(ports.all(), []);
    let query = EventQuery { limit: 200, ..EventQuery::default() };
    let events = lab.collector.site().events(query).await.unwrap();
    let left = |event: &&Event| event.text.en.contains("GE0/0/7 could not be switched on again");
    let event = events.iter().find(left).expect("the journal says that the port may be off");
    assert_eq!(event.actor.as_ref().map(Actor::as_str), Some("uid 1003"));
    lab.collector.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_port_could_not_be_set_is_told_until_it_is_as_it_should_be() {
    let fleet = Fleet::start(reference_site(2)).await;
    let lab = lab(&fleet).await;
    let floor = "floor-2".parse().unwrap();
    let there = fleet.device("floor-2");
    let port = &there.ports[6];
    let ports = lab.collector.ports();
    ports.ask(wish(&lab, "GE0/0/7", HOUR), &Actor::uid(1001)).await.unwrap();
    ports.approve(&floor, "7", &Actor::uid(1002)).await.unwrap();
    until("it is off", || ports.all()[0].stage == Stage::InForce).await;
    // Somebody switches it on, and the switch takes no orders for a while.
    there.habit.stubborn.store(true, Ordering::Relaxed);
    port.off.store(false, Ordering::Relaxed);
    until("it says why not", || ports.all()[0].failed.is_some()).await;
    assert_eq!(ports.all()[0].stage, Stage::InForce);
    there.habit.stubborn.store(false, Ordering::Relaxed);
    until("it is off again, and nothing is said to be wrong", || {
        port.off.load(Ordering::Relaxed) && ports.all()[0].failed.is_none()
    })
    .await;
    lab.collector.shutdown().await;
}
