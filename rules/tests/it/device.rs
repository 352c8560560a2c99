//! Devices: when they are asked, what is held of them, and what the checks say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bailey_rules::check::device::{CHECKS, Given, judge, line};
use bailey_rules::check::{Judged, State, Status, Verdict, worst};
use bailey_rules::device::ethernet::{Duplex, Port};
use bailey_rules::device::hardware::{Hardware, Measured, Quantity, Sensor};
use bailey_rules::device::interface::{
    Counter, Counters, Growth, Interface, LOOKS_BACK, Link, Window,
};
use bailey_rules::device::line::Month;
use bailey_rules::device::poe::{FedPort, Feeding, Poe, Supply, SupplyState};
use bailey_rules::device::power::{Battery, Power, Source};
use bailey_rules::device::processes::{Process, Processes};
use bailey_rules::device::resources::{Kind, Resources, Storage};
use bailey_rules::device::routes::{Route, Routes};
use bailey_rules::device::schedule::{self, LONGEST_BACK_OFF};
use bailey_rules::device::vendor::{VendorValue, What};
use bailey_rules::device::{DeviceView, Identity, Part};
use bailey_rules::expectation::{Expectations, RuleFiles};
use bailey_rules::finding::{AssetKind, Change, Finding, Severity, advance};
use bailey_rules::name::{FindingId, HostKey};
use bailey_rules::policy::Policy;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::{BitRate, Bytes, PerMillion};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_415_520_000);
const MINUTE: Duration = Duration::from_mins(1);

/// A device in the making, polled each minute.
struct Lab {
    view: DeviceView,
    now: Timestamp,
    wanted: Expectations,
    policy: Policy,
}

/// Two networks and what is between them, of which the inner one must not reach the Internet.
const POLICY: &str = "
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16, \"fd00:1::/48\"]}
  outer: {networks: [172.20.0.0/16]}
  exchange: {networks: [10.250.0.0/24]}
invariants:
  INV-03: {never: [inner, internet]}
hosts:
  core-2: {zone: inner, addresses: [10.1.0.3, 10.250.0.1], forwards: true}
";

impl Lab {
    fn new(name: &str, rules: &str) -> Self {
        let view = DeviceView::new(
            HostKey::from_bytes([7; 32]),
            name.parse().unwrap(),
            "inner".parse().unwrap(),
            "10.1.0.1:161".parse().unwrap(),
            NOW,
            NOW,
        );
        let own = vec![("site.yaml".to_owned(), rules.to_owned())];
        let files = RuleFiles::parse(&own).unwrap();
        let wanted = files.for_host(&view.name, &view.zone);
        Self { view, now: NOW, wanted, policy: Policy::parse("policy.yaml", POLICY).unwrap() }
    }

    /// A poll at which the device says who it is.
    fn answers(&mut self) -> &mut Self {
        let up = Duration::from_hours(100) + NOW.age(self.now);
        let identity = Identity { up: Some(up), ..Identity::default() };
        self.view.polling.asked_at = Some(self.now);
        self.view.polling.answered_at = Some(self.now);
        self.view.polling.failed = None;
        self.view.polling.silent = 0;
        self.view.identity.take(Ok(identity), self.now, MINUTE);
        self
    }

    fn is_silent(&mut self) -> &mut Self {
        self.view.polling.asked_at = Some(self.now);
        self.view.polling.failed = Some(Text::quoted("no answer within 4500 ms (3 tries)"));
        self.view.polling.silent += 1;
        self
    }

    fn ports(&mut self, ports: Vec<Interface>) -> &mut Self {
        let wanted = self.wanted.device.clone();
        self.view.take_interfaces(Ok(ports), self.now, |port| line(&wanted, port).is_some());
        self
    }

    fn later(&mut self, length: Duration) -> &mut Self {
        self.now = self.now + length;
        self
    }

    fn judge(&self) -> Vec<Judged> {
        judge(&Given {
            device: &self.view,
            wanted: &self.wanted.device,
            isolation: &self.wanted.isolation,
            policy: &self.policy,
            now: self.now,
        })
    }

    fn verdict(&self, check: &str, subject: &str) -> Option<Verdict> {
        let judged = self.judge();
        let of_check = judged.into_iter().find(|judged| judged.check.name == check).unwrap();
        of_check.verdicts.into_iter().find(|verdict| verdict.subject == subject)
    }

    fn status(&self, check: &str, subject: &str) -> Option<Status> {
        self.verdict(check, subject).map(|verdict| verdict.status)
    }
}

/// A port at 100 Mbit/s that has passed so many octets and errors.
fn port(name: &str, octets: u64, errors: u32) -> Interface {
    Interface {
        index: name.bytes().map(u32::from).sum(),
        name: name.to_owned(),
        alias: String::new(),
        kind: Some(6),
        mac: None,
        wanted: Link::Up,
        link: Link::Up,
        speed: Some(100_000_000),
        counters: Counters {
            in_octets: Some(Counter::Wide(octets)),
            out_octets: Some(Counter::Wide(octets / 2)),
            in_packets: Some(Counter::Wide(octets / 500)),
            out_packets: Some(Counter::Wide(octets / 1000)),
            in_errors: Some(Counter::Narrow(errors)),
            ..Counters::default()
        },
    }
}

#[test]
fn a_device_that_was_never_heard_is_unknown_and_silence_is_never_ok() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    assert_eq!(lab.status("device_silent", ""), Some(Status::Unknown));
    assert_eq!(worst(&lab.judge()), State::Unknown);
    lab.is_silent().later(MINUTE * 4);
    assert_eq!(lab.status("device_silent", ""), Some(Status::Warning));
    lab.later(MINUTE * 2);
    let verdict = lab.verdict("device_silent", "").unwrap();
    assert_eq!(verdict.status, Status::Critical);
    assert!(verdict.why.en.contains("no answer within 4500 ms"), "{}", verdict.why.en);
    lab.answers();
    assert_eq!(lab.status("device_silent", ""), Some(Status::Ok));
}

#[test]
fn a_core_switch_has_one_alert_of_its_own_within_two_intervals() {
    let rules = "expectations: [{hosts: [\"core-*\"], device: {core: critical}}]\n";
    let mut core = Lab::new("core-1", rules);
    core.answers().later(MINUTE * 2).is_silent();
    assert_eq!(core.status("core_silent", ""), Some(Status::Ok));
    core.later(Duration::from_secs(1));
    assert_eq!(core.status("core_silent", ""), Some(Status::Critical));
    assert_eq!(core.verdict("device_silent", ""), None);
    assert_eq!(Lab::new("floor-1", rules).verdict("core_silent", ""), None);
}

#[test]
fn after_a_restart_of_the_collector_silence_counts_from_then() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    lab.later(Duration::from_hours(24));
    lab.view.polling.since = lab.now;
    assert_eq!(lab.status("device_silent", ""), Some(Status::Unknown));
    lab.later(MINUTE * 6).is_silent();
    assert_eq!(lab.status("device_silent", ""), Some(Status::Critical));
}

#[test]
fn a_device_that_nobody_asks_is_unknown_and_not_called_silent() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    lab.answers().later(MINUTE * 10);
    assert_eq!(lab.status("device_silent", ""), Some(Status::Unknown));
    lab.is_silent();
    assert_eq!(lab.status("device_silent", ""), Some(Status::Critical));
}

#[test]
fn a_line_is_judged_by_what_is_paid_for_and_not_by_a_burst() {
    let rules = "expectations: [{hosts: [exit-1], device: {lines: {GE1: {name: province, \
                 rated: 2 Mbit/s}}}}]\n";
    let mut lab = Lab::new("exit-1", rules);
    lab.answers().ports(vec![port("GE1", 0, 0), port("GE2", 0, 0)]);
    let mut octets = 0;
    for minute in 1..=16_u64 {
        // 1.9 Mbit/s: nearly all of the line, next to nothing of the port.
        octets += 237_500 * 60;
        lab.later(MINUTE).answers().ports(vec![port("GE1", octets, 0), port("GE2", octets, 0)]);
        let status = lab.status("link_use", "GE1").unwrap();
        let expect = if minute < 10 { Status::Unknown } else { Status::Warning };
        assert_eq!(status, expect, "after {minute} min");
    }
    let verdict = lab.verdict("link_use", "GE1").unwrap();
    assert_eq!(verdict.why.en, "GE1 (province) 95 % used, 1.9 Mbit/s of 2 Mbit/s (limit 85 %)");
    assert_eq!(lab.status("link_use", "GE2"), Some(Status::Ok));
    let months: Vec<_> = lab.view.lines.values().map(Month::percentile_95).collect();
    assert_eq!(months, [Some(237_500)], "of the line, and of nothing else");
    // A line is watched without being named twice.
    let mut down = port("GE1", octets, 0);
    down.link = Link::Down;
    lab.later(MINUTE).answers().ports(vec![down, port("GE2", octets, 0)]);
    assert_eq!(lab.status("link_down", "GE1"), Some(Status::Warning));
    assert_eq!(lab.verdict("link_down", "GE2"), None);
}

#[test]
fn a_line_without_an_interface_is_unknown_and_what_was_found_of_it_stays() {
    let rules = "expectations: [{hosts: [exit-1], device: {lines: {GE1: {rated: 2 Mbit/s}, \
                 to county: {name: county, rated: 2 Mbit/s}}}}]\n";
    let mut lab = Lab::new("exit-1", rules);
    let mut county = port("GE2", 0, 0);
    county.alias = "to county".to_owned();
    lab.answers().ports(vec![port("GE1", 0, 0), county.clone()]);
    assert_eq!(lab.status("link_down", "GE2"), Some(Status::Ok));
    county.link = Link::Down;
    lab.later(MINUTE).answers().ports(vec![port("GE1", 0, 0), county]);
    let open: BTreeMap<FindingId, Finding> =
        advance(&BTreeMap::new(), &lab.view, &lab.judge(), NOW)
            .into_iter()
            .map(|change| (change.finding().id, change.finding().clone()))
            .filter(|(_, finding)| finding.check == "link_down")
            .collect();
    assert_eq!(open.len(), 1);
    // The card is taken out.
    lab.later(MINUTE).answers().ports(vec![port("GE1", 0, 0)]);
    let verdict = lab.verdict("link_down", "to county").unwrap();
    assert_eq!((verdict.status, verdict.stale), (Status::Unknown, false));
    assert_eq!(
        verdict.why.en,
        "the rule files name the line to county (county), and exit-1 has no such interface or alias"
    );
    let changes = advance(&open, &lab.view, &lab.judge(), lab.now);
    let resolved = changes.iter().any(|change| matches!(change, Change::Resolved(_)));
    assert!(!resolved, "{changes:?}");
}

#[test]
fn lines_that_are_none_any_more_make_room_for_others() {
    let mut lab = Lab::new("exit-1", "# nothing\n");
    let poll = |lab: &mut Lab, first: u32, octets: u64| {
        let ports = (first..first + 64).map(|nth| {
            let name = format!("L{nth:03}");
            Interface { index: nth, ..port(&name, octets, 0) }
        });
        lab.later(MINUTE).answers();
        lab.view.take_interfaces(Ok(ports.collect()), lab.now, |_| true);
    };
    for (first, octets) in [(1, 0), (1, 1_000), (101, 0), (101, 1_000)] {
        poll(&mut lab, first, octets);
    }
    let names: Vec<&String> = lab.view.lines.keys().collect();
    assert_eq!((names.len(), names[0].as_str()), (64, "L101"));
}

#[test]
fn a_port_of_a_desk_may_go_down_and_an_uplink_may_not() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    let with = |name: &str, alias: &str, wanted, link| Interface {
        alias: alias.to_owned(),
        wanted,
        link,
        ..port(name, 0, 0)
    };
    lab.answers().ports(vec![
        with("GE1", "desk 3-1", Link::Up, Link::Down),
        with("GE49", "uplink sw-b-2", Link::Up, Link::LowerLayerDown),
        with("GE50", "上联 sw-b-3", Link::Up, Link::Up),
        with("GE51", "uplink spare", Link::Down, Link::Down),
        with("GE52", "trunk x", Link::Up, Link::Unknown),
    ]);
    let judged = lab.judge();
    let links = judged.iter().find(|judged| judged.check.name == "link_down").unwrap();
    let said: BTreeMap<_, _> =
        links.verdicts.iter().map(|verdict| (verdict.subject.as_str(), verdict.status)).collect();
    let expect = [
        ("GE49", Status::Warning),
        ("GE50", Status::Ok),
        ("GE51", Status::Ok),
        ("GE52", Status::Unknown),
    ];
    assert_eq!(said, BTreeMap::from(expect));
}

#[test]
fn damaged_packets_are_counted_against_all_of_them() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    lab.answers().ports(vec![port("GE1", 0, 0), port("GE2", 0, 0), port("GE3", 0, 0)]);
    lab.later(MINUTE).answers().ports(vec![
        port("GE1", 5_000_000, 3),
        port("GE2", 5_000_000, 1),
        port("GE3", 5_000, 9),
    ]);
    // 15,000 packets: 3 are 199 of a million, 1 is 66.
    let bad = lab.verdict("link_errors", "GE1").unwrap();
    assert_eq!(bad.status, Status::Warning);
    assert!(bad.why.en.contains("3 of 15003 packets"), "{}", bad.why.en);
    assert_eq!(lab.status("link_errors", "GE2"), Some(Status::Ok));
    assert_eq!(lab.verdict("link_errors", "GE3"), None, "too few to say anything");
}

#[test]
fn half_duplex_at_speed_and_late_collisions_are_a_mismatch() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    let slow = Interface { speed: Some(10_000_000), ..port("GE9", 0, 0) };
    let ports = vec![port("GE1", 0, 0), port("GE2", 0, 0), port("GE3", 0, 0), slow];
    let index = |name: &str| name.bytes().map(u32::from).sum::<u32>();
    let ethernet = |late: u64| {
        let port = |duplex, late| Port {
            duplex: Some(duplex),
            damaged: None,
            late_collisions: Some(late),
            aggregate: None,
            detached: false,
        };
        BTreeMap::from([
            (index("GE1"), port(Duplex::Full, 0)),
            (index("GE2"), port(Duplex::Half, 0)),
            (index("GE3"), port(Duplex::Full, late)),
            (index("GE9"), port(Duplex::Half, 0)),
        ])
    };
    lab.answers().ports(ports.clone());
    lab.view.take_ethernet(Ok(ethernet(4_000_000_000)), lab.now);
    assert_eq!(lab.status("duplex_mismatch", "GE3"), Some(Status::Ok), "they are old");
    lab.later(MINUTE * 5).answers().ports(ports);
    lab.view.take_ethernet(Ok(ethernet(4_000_000_012)), lab.now);
    let said = |name| lab.status("duplex_mismatch", name);
    assert_eq!(said("GE1"), Some(Status::Ok));
    assert_eq!(said("GE2"), Some(Status::Warning));
    assert_eq!(said("GE3"), Some(Status::Warning));
    assert_eq!(said("GE9"), Some(Status::Ok), "a hub may be at half duplex");
}

/// An aggregate of two ports, of which the second is in this state and at this speed.
fn aggregate(link: Link, mbits: u64) -> Vec<Interface> {
    let of_many = Interface { index: 100, kind: Some(161), ..port("Po1", 9_000, 0) };
    let one = Interface { index: 1, ..port("GE1", 9_000, 0) };
    let other = Interface { index: 2, link, speed: Some(mbits * 1_000_000), ..port("GE2", 0, 0) };
    vec![one, other, of_many]
}

fn members(detached: bool) -> BTreeMap<u32, Port> {
    let port = |detached| Port {
        duplex: Some(Duplex::Full),
        damaged: None,
        late_collisions: None,
        aggregate: Some(100),
        detached,
    };
    BTreeMap::from([(1, port(false)), (2, port(detached))])
}

/// A poll at which an aggregate is like this.
fn polled(lab: &mut Lab, ports: Vec<Interface>, detached: bool) {
    lab.later(MINUTE).answers();
    lab.view.take_ethernet(Ok(members(detached)), lab.now);
    lab.ports(ports);
}

#[test]
fn an_aggregate_that_lacks_a_member_is_a_warning_until_it_was_whole_for_a_while() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    polled(&mut lab, aggregate(Link::Up, 100), false);
    let said = |lab: &Lab| {
        let verdict = lab.verdict("aggregate_degraded", "Po1").unwrap();
        (verdict.status, verdict.why.en, verdict.why.zh)
    };
    assert_eq!(said(&lab).0, Status::Ok);
    assert_eq!(said(&lab).1, "all 2 members of Po1 work");
    polled(&mut lab, aggregate(Link::Down, 100), false);
    assert_eq!(said(&lab).0, Status::Ok, "it may come back at once");
    polled(&mut lab, aggregate(Link::Down, 100), false);
    polled(&mut lab, aggregate(Link::Down, 100), false);
    let (status, en, zh) = said(&lab);
    assert_eq!(status, Status::Warning);
    assert_eq!(en, "1 of 2 members of Po1 work, for 2 min: not GE2 (limit 2 min)");
    assert!(zh.starts_with("Po1 的 2 个成员端口中 1 个正常，已持续 2 分钟：异常的为 GE2"), "{zh}");
    polled(&mut lab, aggregate(Link::Up, 100), false);
    assert_eq!(said(&lab).0, Status::Warning, "it has just come back");
    for _ in 0..5 {
        polled(&mut lab, aggregate(Link::Up, 100), false);
    }
    assert_eq!(said(&lab).0, Status::Ok);
}

#[test]
fn a_member_that_comes_and_goes_or_is_not_taken_in_or_runs_differently_is_missing() {
    let after = |polls: &[(Link, u64, bool)]| {
        let mut lab = Lab::new("floor-3", "# nothing\n");
        for (link, mbits, detached) in polls {
            polled(&mut lab, aggregate(*link, *mbits), *detached);
        }
        let verdict = lab.verdict("aggregate_degraded", "Po1").unwrap();
        (verdict.status, verdict.why.en)
    };
    let (up, down) = ((Link::Up, 100, false), (Link::Down, 100, false));
    assert_eq!(after(&[down, up, up, down, up]).0, Status::Warning, "it comes and goes");
    let apart = after(&[(Link::Up, 100, true); 3]);
    assert_eq!(apart.0, Status::Warning, "{}", apart.1);
    let (status, said) = after(&[(Link::Up, 10, false); 3]);
    assert_eq!(status, Status::Warning);
    assert!(
        said.contains("they run differently: GE1 100 Mbit/s full duplex, GE2 10 Mbit/s full"),
        "{said}"
    );
}

#[test]
fn an_aggregate_that_lost_all_members_is_one_and_what_is_switched_off_or_unused_is_none() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    let changed = |change: fn(&mut Interface)| {
        let mut ports = aggregate(Link::Down, 100);
        ports.iter_mut().for_each(change);
        ports
    };
    let dead = changed(|port| port.link = Link::Down);
    for _ in 0..3 {
        polled(&mut lab, dead.clone(), false);
    }
    let verdict = lab.verdict("aggregate_degraded", "Po1").unwrap();
    assert_eq!(verdict.status, Status::Warning);
    assert!(verdict.why.en.starts_with("0 of 2 members"), "{}", verdict.why.en);

    let mut lab = Lab::new("floor-3", "# nothing\n");
    let off = changed(|port| {
        if port.name == "GE2" {
            port.wanted = Link::Down;
        }
    });
    let unused = changed(|port| {
        port.link = Link::Down;
        port.counters = Counters::default();
    });
    for (ports, said) in
        [(off, "all 1 members"), (unused, "Po1 is down and has never passed anything")]
    {
        for _ in 0..3 {
            polled(&mut lab, ports.clone(), false);
        }
        let verdict = lab.verdict("aggregate_degraded", "Po1").unwrap();
        assert_eq!(verdict.status, Status::Ok);
        assert!(verdict.why.en.contains(said), "{}", verdict.why.en);
    }
}

#[test]
fn a_ups_on_battery_is_a_warning_until_little_is_left() {
    let mut lab = Lab::new("ups-1", "# nothing\n");
    let power = |source, minutes: u64, battery, alarms: &[&str]| Power {
        source: Some(source),
        battery: Some(battery),
        lasts: Some(Duration::from_mins(minutes)),
        on_battery: Some(Duration::from_secs(if source == Source::Battery { 120 } else { 0 })),
        alarms: alarms.iter().map(ToString::to_string).collect(),
        ..Power::default()
    };
    for (source, minutes, battery, alarms, on_battery, fault) in [
        (Source::Normal, 38, Battery::Normal, &[][..], Status::Ok, Status::Ok),
        (Source::Battery, 21, Battery::Normal, &["on battery"], Status::Warning, Status::Ok),
        (Source::Battery, 10, Battery::Normal, &[], Status::Critical, Status::Ok),
        (Source::Battery, 30, Battery::Low, &[], Status::Critical, Status::Ok),
        (Source::Bypass, 38, Battery::Normal, &[], Status::Ok, Status::Warning),
        (Source::Normal, 38, Battery::Normal, &["fan failure"], Status::Ok, Status::Warning),
        (Source::None, 0, Battery::Depleted, &[], Status::Ok, Status::Critical),
    ] {
        lab.answers();
        let told = power(source, minutes, battery, alarms);
        lab.view.power.take(Ok(Some(told)), lab.now, MINUTE);
        assert_eq!(lab.status("ups_on_battery", ""), Some(on_battery), "{source:?} {minutes}");
        assert_eq!(lab.status("ups_fault", ""), Some(fault), "{source:?} {alarms:?}");
    }
    lab.view.power.take(Ok(None), lab.now, MINUTE);
    assert_eq!(lab.verdict("ups_on_battery", ""), None, "no UPS, no verdict");
}

#[test]
fn a_switch_that_cannot_feed_says_which_supply_or_port_and_how_little_is_left() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    lab.answers();
    let supply = |state, used| Supply { group: 1, state: Some(state), watts: Some(370), used };
    let port = |port, feeding| FedPort { group: 1, port, feeding, class: None };
    for (state, used, fault, in_use) in [
        (SupplyState::On, Some(112), Status::Ok, Some(Status::Ok)),
        (SupplyState::On, Some(352), Status::Ok, Some(Status::Warning)),
        (SupplyState::Off, Some(0), Status::Ok, Some(Status::Ok)),
        (SupplyState::Faulty, None, Status::Warning, None),
    ] {
        let ports = vec![port(7, Feeding::Delivering), port(8, Feeding::Fault)];
        let poe = Poe { supplies: vec![supply(state, used)], ports };
        lab.view.poe.take(Ok(poe), lab.now, MINUTE);
        assert_eq!(lab.status("poe_fault", "supply 1"), Some(fault), "{state:?}");
        assert_eq!(lab.status("poe_use", "supply 1"), in_use, "{state:?} {used:?}");
        assert_eq!(lab.status("poe_fault", "port 1.8"), Some(Status::Warning));
        assert_eq!(lab.status("poe_fault", "port 1.7"), None, "a port that is well is not listed");
    }
    lab.view.poe.take(Ok(Poe::default()), lab.now, MINUTE);
    assert_eq!(lab.verdict("poe_fault", ""), None, "a switch that feeds nobody has no verdict");
}

#[test]
fn a_process_that_must_run_and_does_not_is_critical_and_one_that_may_be_left_out_is_unknown() {
    let rules = "expectations: [{device: {processes: [\"ora_pmon_*\", notes, httpd]}}]\n";
    let mut lab = Lab::new("hp-1", rules);
    assert_eq!(lab.status("process_missing", ""), Some(Status::Unknown), "nothing is known yet");
    let process = |name: &str, path: &str, count| Process {
        name: name.to_owned(),
        path: path.to_owned(),
        count,
        memory: None,
        busy: None,
    };
    let list = vec![process("oracle", "ora_pmon_GIS", 1), process("notes", "", 12)];
    let told = |list, left_out| Processes { list, left_out };
    lab.answers();
    lab.view.processes.take(Ok(told(list.clone(), 0)), lab.now, MINUTE);
    assert_eq!(lab.status("process_missing", "ora_pmon_*"), Some(Status::Ok));
    let notes = lab.verdict("process_missing", "notes").unwrap();
    assert_eq!((notes.status, notes.why.en.as_str()), (Status::Ok, "12 of \"notes\" run"));
    assert_eq!(lab.status("process_missing", "httpd"), Some(Status::Critical));
    lab.view.processes.take(Ok(told(list, 3)), lab.now, MINUTE);
    assert_eq!(lab.status("process_missing", "httpd"), Some(Status::Unknown));
    // An agent that shows no processes at all (a view, a switch) proves nothing.
    lab.view.processes.take(Ok(told(Vec::new(), 0)), lab.now, MINUTE);
    assert_eq!(lab.status("process_missing", "httpd"), Some(Status::Unknown));
    lab.later(MINUTE * 5);
    assert!(lab.verdict("process_missing", "notes").unwrap().stale);
}

#[test]
fn a_route_of_a_device_that_leads_out_of_its_zone_is_a_violation() {
    let route = |to: &str, gateway: Option<&str>| Route {
        destination: to.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        interface: Some(7),
    };
    let critical = Some(Status::Critical);
    let granted = "expectations: [{isolation: {other_zones: [outer]}}]\n";
    for (name, rules, to, gateway, status) in [
        ("core-1", "#\n", "0.0.0.0/0", Some("10.1.0.254"), None),
        ("core-1", "#\n", "172.20.0.0/16", Some("10.1.0.254"), None),
        ("core-1", "#\n", "10.1.0.0/16", None, None),
        ("core-1", "#\n", "fe80::/64", None, None),
        ("core-1", "#\n", "0.0.0.0/0", Some("172.20.0.1"), critical),
        ("core-1", granted, "0.0.0.0/0", Some("172.20.0.1"), None),
        ("core-1", "#\n", "172.20.0.0/16", None, critical),
        ("core-1", "#\n", "10.250.0.0/24", None, critical),
        // The policy gives it an address there.
        ("core-2", "#\n", "10.250.0.0/24", None, None),
        // A provider's address is in no zone, and the inner network must not reach the Internet.
        ("core-1", "#\n", "0.0.0.0/0", Some("203.0.113.1"), critical),
        ("core-1", "#\n", "0.0.0.0/0", None, Some(Status::Warning)),
        ("core-1", "#\n", "203.0.113.0/24", None, None),
    ] {
        let mut lab = Lab::new(name, rules);
        let list = [route("10.1.0.0/16", None), route(to, gateway)].into();
        let routes = Routes { count: Some(2), list, left_out: false };
        lab.answers().view.routes.take(Ok(routes), NOW, MINUTE * 5);
        let subject = match gateway {
            Some(gateway) => format!("{to} via {gateway}"),
            None => format!("{to} on 7"),
        };
        assert_eq!(lab.status("device_route", &subject), status, "{name} {subject}");
        let nothing = status.is_none().then_some(Status::Ok);
        assert_eq!(lab.status("device_route", ""), nothing, "{name} {subject}");
    }
    let mut exit = Lab::new("exit-1", "#\n");
    exit.view.zone = "outer".parse().unwrap();
    let list = [route("0.0.0.0/0", Some("203.0.113.1"))].into();
    exit.view.routes.take(Ok(Routes { list, ..Routes::default() }), NOW, MINUTE * 5);
    assert_eq!(
        exit.status("device_route", ""),
        Some(Status::Ok),
        "its zone may reach the Internet"
    );
    let whole = Routes { count: Some(960_000), left_out: true, ..Routes::default() };
    exit.view.routes.take(Ok(whole), NOW, MINUTE * 5);
    assert_eq!(exit.status("device_route", ""), Some(Status::Unknown));
    exit.view.routes.take(Ok(Routes::default()), NOW, MINUTE * 5);
    assert_eq!(exit.verdict("device_route", ""), None, "a device without routes has no verdict");
}

#[test]
fn interfaces_are_others_when_one_comes_goes_or_changes_its_name_and_not_when_it_is_used() {
    let mut lab = Lab::new("floor-3", "#\n");
    let began = lab.now;
    lab.answers().ports(vec![port("a", 10, 0), port("b", 10, 0)]);
    assert_eq!(lab.view.ports_changed_at(), Some(began));
    lab.later(MINUTE).answers().ports(vec![port("a", 990, 3), port("b", 10, 0)]);
    assert_eq!(lab.view.ports_changed_at(), Some(began));
    let mut renamed = port("b", 10, 0);
    renamed.name = "uplink".to_owned();
    for ports in [vec![port("a", 990, 3), renamed], vec![port("a", 990, 3)], vec![]] {
        lab.later(MINUTE).answers().ports(ports);
        assert_eq!(lab.view.ports_changed_at(), Some(lab.now));
    }
}

#[test]
fn health_is_judged_from_whatever_table_tells_of_it() {
    let mut lab = Lab::new("hp-1", "# nothing\n");
    let room = |name: &str, kind, size, used| Storage {
        index: 1,
        name: name.to_owned(),
        kind,
        size: Bytes(size),
        used: Bytes(used),
    };
    let resources = Resources {
        processors: vec![99, 97, 95, 93],
        storage: vec![
            room("physical", Kind::Memory, 100, 99),
            room("virtual", Kind::VirtualMemory, 100, 40),
            room("/oracle", Kind::Disk, 100, 96),
            room("/run", Kind::Disk, 100, 100),
        ],
        ..Resources::default()
    };
    let sensor = |name: &str, measured| Sensor {
        index: 1,
        name: name.to_owned(),
        quantity: Quantity::Celsius,
        measured,
    };
    let hardware = Hardware {
        sensors: vec![
            sensor("inlet", Measured::Value(66.5)),
            sensor("dead", Measured::Broken),
            sensor("open", Measured::Value(-127.0)),
        ],
        ..Hardware::default()
    };
    lab.answers();
    lab.view.resources.take(Ok(resources), lab.now, MINUTE);
    lab.view.hardware.take(Ok(hardware), lab.now, MINUTE);
    lab.view.vendor_values.take(Ok(Vec::new()), lab.now, MINUTE);
    for (check, subject, status) in [
        ("device_processor", "processors", Some(Status::Warning)),
        ("device_memory", "virtual", Some(Status::Ok)),
        ("device_memory", "physical", None),
        ("device_storage", "/oracle", Some(Status::Critical)),
        ("device_storage", "/run", None),
        ("device_temperature", "inlet", Some(Status::Warning)),
        ("device_temperature", "dead", Some(Status::Unknown)),
        ("device_temperature", "open", Some(Status::Unknown)),
    ] {
        assert_eq!(lab.status(check, subject), status, "{check} {subject}");
    }
    let of = |what, value| VendorValue { what, row: "7".into(), value };
    let values =
        vec![of(What::MemoryUsed, 95.0), of(What::MemoryFree, 5.0), of(What::Processor, 5.0)];
    lab.view.vendor_values.take(Ok(values), lab.now, MINUTE);
    lab.view.resources.take(Ok(Resources::default()), lab.now, MINUTE);
    assert_eq!(lab.status("device_memory", "memory 7"), Some(Status::Warning));
    assert_eq!(lab.status("device_processor", "processor 7"), Some(Status::Ok));
}

#[test]
fn a_part_that_cannot_be_read_keeps_what_it_was_and_is_told_of_when_it_is_old() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    lab.answers().ports(vec![port("GE1", 0, 0)]);
    lab.later(MINUTE).answers();
    lab.view
        .take_interfaces(Err(Text::quoted("only a part of the table came")), lab.now, |_| false);
    assert_eq!(lab.view.interfaces.value().map(Vec::len), Some(1));
    assert_eq!(lab.status("poll_failed", "interfaces"), Some(Status::Ok), "once is no reason");
    lab.later(MINUTE * 2).answers();
    lab.view
        .take_interfaces(Err(Text::quoted("only a part of the table came")), lab.now, |_| false);
    assert_eq!(lab.status("poll_failed", "interfaces"), Some(Status::Warning));
    // A device that does not answer at all is one finding, not ten.
    lab.is_silent();
    assert_eq!(lab.verdict("poll_failed", "interfaces"), None);
}

#[test]
fn a_finding_of_a_device_stays_while_it_is_silent_and_resolves_on_fresh_data_only() {
    let mut lab = Lab::new("ups-1", "# nothing\n");
    let power = |source| Power { source: Some(source), ..Power::default() };
    lab.answers();
    lab.view.power.take(Ok(Some(power(Source::Battery))), lab.now, MINUTE);
    let mut open: BTreeMap<FindingId, Finding> = BTreeMap::new();
    let mut take = |lab: &Lab| {
        let changes = advance(&open, &lab.view, &lab.judge(), lab.now);
        for change in &changes {
            let finding = change.finding().clone();
            match change {
                Change::Resolved(_) => open.remove(&finding.id),
                Change::Opened(_) | Change::Changed(_) | Change::Touched(_) => {
                    open.insert(finding.id, finding)
                }
            };
        }
        let of_ups = open.values().find(|finding| finding.check == "ups_on_battery");
        of_ups.map(|finding| (finding.severity, finding.held, finding.asset))
    };
    assert_eq!(take(&lab), Some((Severity::Warning, false, AssetKind::Device)));
    lab.later(Duration::from_hours(1)).is_silent();
    assert_eq!(take(&lab), Some((Severity::Warning, true, AssetKind::Device)));
    lab.answers();
    // It answers again, but its power was not read yet.
    assert_eq!(take(&lab), Some((Severity::Warning, true, AssetKind::Device)));
    lab.view.power.take(Ok(Some(power(Source::Normal))), lab.now, MINUTE);
    assert_eq!(take(&lab), None);
}

#[test]
fn what_a_device_does_not_have_is_asked_for_hardly_ever() {
    let mut lab = Lab::new("floor-3", "# nothing\n");
    lab.answers();
    assert!(Part::ALL.iter().all(|part| lab.view.is_due(*part, lab.now)), "at first everything");
    lab.view.power.take(Ok(None), lab.now, Part::Power.interval(MINUTE, true));
    lab.ports(vec![port("GE1", 0, 0)]);
    lab.later(MINUTE);
    assert!(lab.view.is_due(Part::Interfaces, lab.now));
    assert!(!lab.view.is_due(Part::Power, lab.now));
    // An hour later a module may have been put in; and what is asked so seldom is not stale before.
    lab.later(Duration::from_mins(30));
    assert!(!lab.view.freshness(Part::Power).is_stale(lab.now));
    lab.later(Duration::from_mins(30));
    assert!(lab.view.is_due(Part::Power, lab.now));
}

#[test]
fn every_check_of_devices_has_a_name_of_its_own() {
    let names = CHECKS.iter().map(|of_device| of_device.check.name);
    let of_hosts = bailey_rules::check::CHECKS.iter().map(|check| check.name);
    let all: Vec<_> = names.chain(of_hosts).collect();
    assert_eq!(all.len(), all.iter().collect::<BTreeSet<_>>().len());
}

#[test]
fn speeds_and_parts_of_a_million_are_read_as_people_write_them() {
    for (text, bits) in [
        ("2M", 2_000_000),
        ("10 Mbit/s", 10_000_000),
        ("1.5 Gbit/s", 1_500_000_000),
        ("64 kbit/s", 64_000),
    ] {
        assert_eq!(text.parse(), Ok(BitRate(bits)), "{text}");
    }
    assert!("0 Mbit/s".parse::<BitRate>().is_err() && "10 MB/s".parse::<BitRate>().is_err());
    assert_eq!(BitRate(1_999_999).to_string(), "1.9 Mbit/s");
    assert_eq!("100 ppm".parse(), Ok(PerMillion(100)));
    assert!("100 %".parse::<PerMillion>().is_err());
}

proptest! {
    #[test]
    fn the_next_poll_is_at_the_devices_own_place_and_neither_at_once_nor_too_late(
        key in any::<[u8; 32]>(),
        interval in 1_000_u64..3_600_000,
        last in 0_i64..4_000_000_000_000,
        silent in 0_u32..40,
    ) {
        let key = HostKey::from_bytes(key);
        let interval = Duration::from_millis(interval);
        let last = Timestamp::from_millis(last);
        let next = schedule::next(&key, interval, silent, last);
        let wait = schedule::wait(interval, silent);
        prop_assert!(wait >= interval && wait <= LONGEST_BACK_OFF.max(interval));
        let after = last.age(next);
        prop_assert!(after + interval / 2 >= wait, "{after:?} {wait:?}");
        prop_assert!(after <= wait + interval / 2 + Duration::from_millis(1), "{after:?} {wait:?}");
        let place = next.as_millis().rem_euclid(i64::try_from(interval.as_millis()).unwrap());
        prop_assert_eq!(place, i64::try_from(schedule::phase(&key, interval).as_millis()).unwrap());
        // From a poll in time the next one is one interval later.
        if silent == 0 {
            prop_assert_eq!(schedule::next(&key, interval, 0, next), next + interval);
        }
    }

    #[test]
    fn an_average_is_never_above_the_fastest_nor_below_the_slowest_minute(
        rates in prop::collection::vec(0_u64..10_000_000_000, 1..60),
        gap in 5_u64..120,
    ) {
        let mut window = Window::default();
        let mut at = NOW;
        let elapsed = Duration::from_secs(gap);
        for rate in &rates {
            at = at + elapsed;
            let growth = Growth {
                in_octets: Some(rate * gap),
                out_octets: Some(rate * gap / 3),
                ..Growth::default()
            };
            window.add(at, elapsed, &growth);
        }
        let (least, most) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
        let average = window.average().received.unwrap();
        prop_assert!(average <= *most && average >= *least, "{average} {least} {most}");
        prop_assert_eq!(window.newest().unwrap().received, rates.last().copied());
        // It forgets what is older than it looks back.
        prop_assert!(window.covers() <= LOOKS_BACK + Duration::from_mins(3) + elapsed * 2);
    }

    #[test]
    fn octets_between_two_polls_are_what_passed_or_unknown(
        before in any::<u64>(),
        passed in 0_u64..1 << 40,
        narrow in any::<bool>(),
        seconds in 1_u64..600,
        restart in any::<bool>(),
    ) {
        let counter = |value: u64| {
            #[allow(clippy::cast_possible_truncation)] // A narrow counter is what is left of it.
            if narrow { Counter::Narrow(value as u32) } else { Counter::Wide(value) }
        };
        let with = |octets| Interface {
            counters: Counters { in_octets: Some(counter(octets)), ..Counters::default() },
            speed: Some(1_000_000_000),
            ..port("GE1", 0, 0)
        };
        let up = Duration::from_hours(1);
        let elapsed = Duration::from_secs(seconds);
        let up_now = if restart { Duration::from_secs(1) } else { up + elapsed };
        let now = with(before.wrapping_add(passed));
        let growth = now.since(&with(before), elapsed, up, up_now);
        match growth.and_then(|growth| growth.in_octets) {
            None => {}
            Some(grown) => {
                prop_assert!(!restart);
                // Only what the line can carry is believed, and then it is exact.
                if passed <= 125_000_000 * seconds {
                    prop_assert_eq!(grown, passed);
                }
            }
        }
    }
}
