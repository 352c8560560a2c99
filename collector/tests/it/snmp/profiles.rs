//! What devices tell, read from a real agent where it serves it, and else from values as switches
//! and UPS send them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bailey_collector::poll::credentials::Credentials;
use bailey_collector::poll::device::{Look, look};
use bailey_collector::poll::oid::Oid;
use bailey_collector::poll::profile::Mac;
use bailey_collector::poll::profile::bridge::Station;
use bailey_collector::poll::profile::ethernet::Duplex;
use bailey_collector::poll::profile::host_resources::Kind;
use bailey_collector::poll::profile::interfaces::{Counter, Link};
use bailey_collector::poll::profile::sensors::Measured;
use bailey_collector::poll::profile::ups::{Battery, Source};
use bailey_collector::poll::profile::vendor::What;
use bailey_collector::poll::snmp::Dial as _;
use bailey_collector::poll::snmp::udp::{Dialler, Patience};
use bailey_collector::poll::table::Learned;
use bailey_collector::poll::value::Value;
use bailey_rules::fact::Reading;

use super::responder::{Habit, Responder};
use crate::agent::Agent;

pub(super) const PATIENCE: Patience = Patience { timeout: Duration::from_secs(3), retries: 2 };

pub(super) async fn looked_at(dialler: &Dialler) -> Look {
    looked_at_with(dialler, "community: public").await
}

async fn looked_at_with(dialler: &Dialler, credentials: &str) -> Look {
    let credentials = Credentials::parse("f", credentials).unwrap();
    let session = dialler.dial(&credentials).await.unwrap();
    look(&session, &mut Learned::default()).await.unwrap()
}

pub(super) fn known<T>(reading: Reading<T>) -> T {
    match reading {
        Reading::Known(value) => value,
        Reading::Unreadable { why } => panic!("{why}"),
    }
}

#[tokio::test]
async fn a_real_computer_shows_its_interfaces_storage_and_processors() {
    let agent = Agent::start(
        "rocommunity public default\nsysName hp-1\nsysLocation room 2\n\
         createUser monitor SHA-256 \"auth-pass-17\" AES \"priv-pass-17\"\nrouser monitor priv\n\
         override .1.3.6.1.2.1.33.1.1.1.0 octet_str \"APC\"\n\
         override .1.3.6.1.2.1.33.1.2.1.0 integer 2\n\
         override .1.3.6.1.2.1.33.1.2.3.0 integer 38\n\
         override .1.3.6.1.2.1.33.1.2.4.0 integer 97\n\
         override .1.3.6.1.2.1.33.1.4.1.0 integer 3\n",
    )
    .await;
    let look = looked_at(&agent.dialler(PATIENCE).await).await;
    assert_eq!(look.identity.name.as_deref(), Some("hp-1"));
    assert_eq!(look.identity.location.as_deref(), Some("room 2"));
    assert!(look.identity.up.is_some());
    assert_eq!(look.vendor, Some("net-snmp"));

    // Answers of SNMPv3 have less room; what does not fit is asked for in smaller parts.
    let by_user = looked_at_with(
        &agent.dialler(PATIENCE).await,
        "user: monitor\nauth: {protocol: SHA-256, passphrase: auth-pass-17}\n\
         priv: {protocol: AES-128, passphrase: priv-pass-17}\n",
    )
    .await;
    let names = |look: &Look| match &look.interfaces {
        Reading::Known(all) => all.iter().map(|one| one.name.clone()).collect::<Vec<_>>(),
        Reading::Unreadable { why } => panic!("{why}"),
    };
    assert_eq!(names(&by_user), names(&look));

    let interfaces = known(look.interfaces);
    let loopback = interfaces.iter().find(|interface| interface.name == "lo").unwrap();
    assert_eq!((loopback.wanted, loopback.link), (Link::Up, Link::Up));
    assert!(matches!(loopback.counters.in_octets, Some(Counter::Wide(_))), "{loopback:?}");

    let resources = known(look.resources);
    // How busy its processors are, this agent knows only a minute after its start.
    assert!(resources.processes.is_some_and(|processes| processes > 0), "{resources:?}");
    let memory = resources.storage.iter().find(|storage| storage.kind == Kind::Memory).unwrap();
    assert!(memory.size.0 > 1 << 20 && memory.used <= memory.size, "{memory:?}");

    let values = known(look.vendor_values);
    let total = values.iter().find(|value| value.what == What::MemoryTotal).unwrap();
    assert!(total.value >= 1_048_576.0, "{total:?}");

    let power = known(look.power).unwrap();
    assert_eq!((power.battery, power.source), (Some(Battery::Normal), Some(Source::Normal)));
    assert_eq!(power.lasts, Some(Duration::from_mins(38)));
    assert_eq!((power.charge, power.celsius), (Some(97), None));
}

/// Values by name.
fn values(written: &[(&str, Value)]) -> BTreeMap<Oid, Value> {
    let named = written.iter().map(|(name, value)| (name.parse().unwrap(), value.clone()));
    named.collect()
}

fn text(text: &str) -> Value {
    Value::Octets(text.as_bytes().to_vec())
}

#[tokio::test]
async fn a_switch_shows_ports_stations_neighbours_and_sensors() {
    let station = "17.7.1.2.2.1";
    let switch = [
        ("1.3.6.1.2.1.1.1.0", text("S5720 of floor 3\u{1b}[2J")),
        ("1.3.6.1.2.1.1.2.0", Value::Oid("1.3.6.1.4.1.2011.2.23.95".parse().unwrap())),
        ("1.3.6.1.2.1.1.3.0", Value::Ticks(360_000)),
        ("1.3.6.1.2.1.1.5.0", text("floor-3")),
        ("1.3.6.1.2.1.2.2.1.2.9", text("GE0/0/9")),
        ("1.3.6.1.2.1.2.2.1.7.9", Value::Integer(1)),
        ("1.3.6.1.2.1.2.2.1.8.9", Value::Integer(1)),
        ("1.3.6.1.2.1.10.7.2.1.19.9", Value::Integer(2)),
        ("1.3.6.1.2.1.31.1.1.1.6.9", Value::Counter64(1 << 41)),
        ("1.3.6.1.2.1.31.1.1.1.15.9", Value::Gauge(1000)),
        ("1.3.6.1.2.1.31.1.1.1.18.9", text("oa-17")),
        ("1.3.6.1.2.1.17.1.4.1.2.4", Value::Integer(9)),
        (&format!("1.3.6.1.2.1.{station}.2.20.0.17.34.51.68.85"), Value::Integer(4)),
        (&format!("1.3.6.1.2.1.{station}.3.20.0.17.34.51.68.85"), Value::Integer(3)),
        ("1.3.6.1.2.1.17.7.1.4.3.1.1.20", text("oa")),
        ("1.0.8802.1.1.2.1.4.1.1.4.77.9.1", Value::Integer(4)),
        ("1.0.8802.1.1.2.1.4.1.1.5.77.9.1", Value::Octets(vec![0, 27, 33, 0, 0, 1])),
        ("1.0.8802.1.1.2.1.4.1.1.6.77.9.1", Value::Integer(5)),
        ("1.0.8802.1.1.2.1.4.1.1.7.77.9.1", text("GE1/0/3")),
        ("1.0.8802.1.1.2.1.4.1.1.9.77.9.1", text("core-1")),
        ("1.3.6.1.2.1.47.1.1.1.1.7.3", text("inlet")),
        ("1.3.6.1.2.1.99.1.1.1.1.3", Value::Integer(8)),
        ("1.3.6.1.2.1.99.1.1.1.2.3", Value::Integer(9)),
        ("1.3.6.1.2.1.99.1.1.1.3.3", Value::Integer(1)),
        ("1.3.6.1.2.1.99.1.1.1.4.3", Value::Integer(315)),
        ("1.3.6.1.2.1.99.1.1.1.5.3", Value::Integer(1)),
        ("1.3.6.1.4.1.2011.5.25.31.1.1.1.1.5.67108873", Value::Integer(12)),
        ("1.3.6.1.4.1.2011.5.25.31.1.1.1.1.5.67108874", Value::Integer(0)),
        ("1.3.6.1.4.1.2011.5.25.31.1.1.1.1.11.67108874", Value::Integer(i32::MAX)),
    ];
    let responder = Responder::start(values(&switch), Habit::Honest).await;
    let dialler = Dialler::new(responder.address, PATIENCE).await.unwrap();
    let look = looked_at(&dialler).await;
    // What the device wrote for the terminal does not reach one.
    assert_eq!(look.identity.description.as_deref(), Some("S5720 of floor 3\u{fffd}[2J"));
    assert_eq!(look.identity.up, Some(Duration::from_hours(1)));
    assert_eq!(look.vendor, Some("Huawei"));
    let interfaces = known(look.interfaces);
    let [port] = interfaces.as_slice() else { panic!("{interfaces:?}") };
    assert_eq!((port.name.as_str(), port.alias.as_str()), ("GE0/0/9", "oa-17"));
    assert_eq!(port.speed, Some(1_000_000_000));
    assert_eq!(port.counters.in_octets, Some(Counter::Wide(1 << 41)));
    assert_eq!(port.counters.out_octets, None);
    assert_eq!(known(look.ethernet)[&9].duplex, Some(Duplex::Half));
    let bridge = known(look.bridge);
    let mac = Mac([0, 17, 34, 51, 68, 85]);
    assert_eq!(bridge.stations, BTreeSet::from([Station { mac, vlan: Some(20), interface: 9 }]));
    assert_eq!(bridge.vlans[&20], "oa");
    let neighbours = known(look.neighbours);
    let [neighbour] = neighbours.as_slice() else { panic!("{neighbours:?}") };
    assert_eq!((neighbour.local_port, neighbour.name.as_deref()), (9, Some("core-1")));
    let sensors = known(look.hardware).sensors;
    let [sensor] = sensors.as_slice() else { panic!("{sensors:?}") };
    let Measured::Value(celsius) = sensor.measured else { panic!("{sensor:?}") };
    assert!((celsius - 31.5).abs() < 1e-9, "{celsius}");
    let values = known(look.vendor_values);
    let [value] = values.as_slice() else { panic!("{values:?}") };
    assert_eq!((value.what, value.row.as_str()), (What::Processor, "67108873"));
    // It is neither a UPS nor a computer, and no zero says that it is.
    assert_eq!(known(look.power), None);
    let resources = known(look.resources);
    assert!(resources.storage.is_empty() && resources.processes.is_none());
}

#[tokio::test]
async fn members_of_aggregates_are_told_by_lacp_and_without_it_by_what_lies_on_what() {
    let mut switch = Vec::new();
    let mut add = |name: String, value| switch.push((name, value));
    // Two aggregates, of which LACP knows the first; and a VLAN on a port.
    for (index, kind) in
        [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (100, 161), (101, 161), (200, 136)]
    {
        add(format!("1.3.6.1.2.1.2.2.1.2.{index}"), text(&format!("if{index}")));
        add(format!("1.3.6.1.2.1.2.2.1.3.{index}"), Value::Integer(kind));
        add(format!("1.3.6.1.2.1.2.2.1.7.{index}"), Value::Integer(1));
        add(format!("1.3.6.1.2.1.2.2.1.8.{index}"), Value::Integer(1));
        if kind == 6 {
            add(format!("1.3.6.1.2.1.10.7.2.1.19.{index}"), Value::Integer(3));
        }
    }
    for (index, selected, attached) in [(1, 100, 100), (2, 100, 0), (3, 0, 0), (5, 0, 0)] {
        add(format!("1.2.840.10006.300.43.1.2.1.1.12.{index}"), Value::Integer(selected));
        add(format!("1.2.840.10006.300.43.1.2.1.1.13.{index}"), Value::Integer(attached));
    }
    for (higher, lower) in [(0, 101), (100, 5), (101, 3), (101, 4), (200, 1), (3, 0)] {
        add(format!("1.3.6.1.2.1.31.1.2.1.3.{higher}.{lower}"), Value::Integer(1));
    }
    let switch: Vec<_> = switch.iter().map(|(name, value)| (&**name, value.clone())).collect();
    let responder = Responder::start(values(&switch), Habit::Honest).await;
    let dialler = Dialler::new(responder.address, PATIENCE).await.unwrap();
    let ports = known(looked_at(&dialler).await.ethernet);
    let said = ports.iter().map(|(index, port)| (*index, port.aggregate, port.detached));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            (1, Some(100), false),
            (2, Some(100), true),
            (3, Some(101), false),
            (4, Some(101), false),
            (5, Some(100), true)
        ]
    );
}
