//! A site with one host on which all is well, for tests to change one thing of.

use std::collections::BTreeMap;
use std::time::Duration;

use bailey_rules::check::{self, Given, Judged, Status, Verdict};
use bailey_rules::digest::FactDigest;
use bailey_rules::expectation::{Ask, By, RuleFiles};
use bailey_rules::fact::backup::{Job, Repository, Snapshot};
use bailey_rules::fact::firewall::{DefaultPolicy, Hook, Manager, Ruleset};
use bailey_rules::fact::host::{
    Clock, Cpu, FileSystem, Load, Memory, Pressure, Reboot, Temperature, Units,
};
use bailey_rules::fact::lines::{LatelyAsked, LineQuality};
use bailey_rules::fact::links::{Forwarding, Interface, LinkKind, Neighbour, Route, RouteKind};
use bailey_rules::fact::{Fact, FactKey, FactKind, FactValue, ProbeName, Reading};
use bailey_rules::host::{FactSet, HeldProbe, HostView, Pushed, Session};
use bailey_rules::name::HostKey;
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::told::About;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::{Bytes, Permille};

/// The time of judging in all tests: 2026-11-23T06:30:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_795_415_400);

pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

pub(crate) const POLICY: &str = "
site: jiaxing
zones:
  inner: {name: 内网, networks: [10.1.0.0/16, 'fd00:1::/48']}
  outer: {name: 外网, networks: [172.20.0.0/16]}
  exchange: {name: 交换区, networks: [10.250.0.0/24]}
hosts:
  oa-17: {zone: inner, addresses: [10.1.7.20]}
";

pub(crate) const GIB: u64 = 1 << 30;

/// The host oa-17 of zone inner with everything that is known of it.
pub(crate) struct Site {
    pub(crate) session: Session,
    pub(crate) facts: BTreeMap<FactKey, Reading<FactValue>>,
    pub(crate) probes: BTreeMap<ProbeName, HeldProbe>,
    pub(crate) pushed: Option<Pushed>,
    pub(crate) policy: String,
    pub(crate) proofs: Vec<About>,
    pub(crate) rules: String,
    pub(crate) now: Timestamp,
}

impl Site {
    /// All is well.
    pub(crate) fn new() -> Self {
        let mut site = Self {
            session: Session {
                enrolled_at: NOW - HOUR * 24 * 30,
                last_report_at: Some(NOW - Duration::from_secs(4)),
                interval: Duration::from_secs(15),
                connected: true,
                connection: None,
                goodbye_at: None,
                clock_ahead_millis: Some(0),
                certificate_ends: NOW + HOUR * 17,
                certificate_began: NOW - HOUR * 7,
                lost_reports: 0,
                last_gap_at: None,
                twin_seen_at: None,
                approval_waiting_since: None,
                acknowledged: None,
                gaps: Vec::new(),
                reports_accepted: 100,
            },
            facts: BTreeMap::new(),
            probes: ProbeName::ALL
                .into_iter()
                .map(|probe| {
                    let interval = MINUTE;
                    (probe, HeldProbe { read_at: NOW - interval / 2, interval, failed: None })
                })
                .collect(),
            pushed: None,
            policy: POLICY.to_owned(),
            proofs: Vec::new(),
            rules: String::new(),
            now: NOW,
        };
        for (subject, value) in well() {
            site.set(subject, value);
        }
        site
    }

    pub(crate) fn set(&mut self, subject: &str, value: impl Into<FactValue>) {
        let fact = Fact::known(subject, value);
        self.facts.insert(fact.key, fact.reading);
    }

    pub(crate) fn unreadable(&mut self, kind: FactKind, subject: &str, why: &str) {
        self.facts.insert(FactKey::new(kind, subject), Reading::unreadable(why));
    }

    pub(crate) fn remove(&mut self, kind: FactKind, subject: &str) {
        assert!(self.facts.remove(&FactKey::new(kind, subject)).is_some(), "{kind} {subject}");
    }

    pub(crate) fn remove_all(&mut self, kind: FactKind) {
        self.facts.retain(|key, _| key.kind != kind);
    }

    pub(crate) fn probe(&mut self, probe: ProbeName) -> &mut HeldProbe {
        self.probes.get_mut(&probe).unwrap()
    }

    pub(crate) fn view(&self) -> HostView {
        let mut facts = FactSet::default();
        for (key, reading) in &self.facts {
            let fact = Fact { key: key.clone(), reading: reading.clone() };
            facts.restore_fact(fact, FactDigest::share(key, b"any"), NOW - HOUR);
        }
        for (name, held) in &self.probes {
            facts.restore_probe(*name, held.clone());
        }
        HostView {
            key: HostKey::from_bytes([7; 32]),
            name: "oa-17".parse().unwrap(),
            zone: "inner".parse().unwrap(),
            session: self.session.clone(),
            facts,
            pushed: self.pushed,
        }
    }

    pub(crate) fn judge(&self) -> Vec<Judged> {
        let view = self.view();
        let policy = Policy::parse("policy.yaml", &self.policy).unwrap_or_else(|e| panic!("{e}"));
        let files = [("site.yaml".to_owned(), self.rules.clone())];
        let rules = RuleFiles::parse(&files).unwrap_or_else(|e| panic!("{e}"));
        let wanted = rules.for_host(&view.name, &view.zone);
        check::judge(&Given {
            host: &view,
            wanted: &wanted,
            policy: &policy,
            proofs: &self.proofs,
            now: self.now,
        })
    }

    /// The verdicts of one check.
    pub(crate) fn verdicts(&self, name: &str) -> Vec<Verdict> {
        let judged = self.judge().into_iter().find(|judged| judged.check.name == name);
        judged.unwrap_or_else(|| panic!("no check {name}")).verdicts
    }
}

/// Changes one thing of a host on which all is well and says what one check finds: for each subject
/// that is not well its status, or "ok".
pub(crate) fn found(name: &str, change: impl FnOnce(&mut Site)) -> String {
    let mut site = Site::new();
    change(&mut site);
    let verdicts = site.verdicts(name);
    if verdicts.is_empty() {
        return "not judged".to_owned();
    }
    let mut said: Vec<String> = Vec::new();
    for verdict in verdicts {
        assert!(!verdict.evidence.is_empty(), "{name} rests on nothing: {verdict:?}");
        assert!(!verdict.why.en.is_empty() && !verdict.why.zh.is_empty(), "{name}");
        let status = match verdict.status {
            Status::Ok if verdict.stale => "stale",
            Status::Ok => continue,
            Status::Unknown => "unknown",
            Status::Warning => "warning",
            Status::Critical => "critical",
        };
        said.push(format!("{}: {status}", verdict.subject));
    }
    if said.is_empty() { "ok".to_owned() } else { said.join(", ") }
}

/// The English sentence of the worst verdict.
pub(crate) fn why(name: &str, change: impl FnOnce(&mut Site)) -> String {
    let mut site = Site::new();
    change(&mut site);
    let verdicts = site.verdicts(name);
    verdicts.into_iter().max_by_key(Verdict::state).map(|v| v.why.en).unwrap_or_default()
}

pub(crate) fn permille(value: u16) -> Permille {
    Permille(value)
}

pub(crate) fn file_system() -> FileSystem {
    FileSystem {
        device: "/dev/vda1".to_owned(),
        kind: "ext4".to_owned(),
        total: Bytes(100 * GIB),
        available: Bytes(60 * GIB),
        inodes: 1_000_000,
        inodes_available: 900_000,
        read_only: false,
    }
}

pub(crate) fn interface(kind: LinkKind, driver: &str, addresses: &[&str]) -> Interface {
    Interface {
        index: 2,
        kind,
        driver: driver.to_owned(),
        mac: None,
        admin_up: true,
        carrier: true,
        speed_mbits: None,
        duplex: None,
        mtu: 1500,
        master: None,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        secondary: Vec::new(),
        link_only: Vec::new(),
        group: Some(0),
        hardware: Some(1),
        reverse_path: None,
    }
}

pub(crate) fn route(to: &str, gateway: Option<&str>, interface: &str) -> Route {
    Route {
        destination: to.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        interface: Some(interface.to_owned()),
        metric: 100,
        table: 254,
        carries: true,
        kind: RouteKind::Unicast,
        source: None,
    }
}

pub(crate) fn neighbour(address: &str, interface: &str) -> Neighbour {
    Neighbour {
        address: address.parse().unwrap(),
        interface: interface.to_owned(),
        mac: Some("52:54:00:12:34:56".parse().unwrap()),
        router: false,
        silent: false,
    }
}

pub(crate) fn hook(default: DefaultPolicy) -> Hook {
    let chains = u32::from(default != DefaultPolicy::NoChain);
    let by = if chains > 0 { "inet filter input" } else { "" };
    Hook { default, by: by.to_owned(), chains }
}

pub(crate) fn ruleset(rules: u32) -> Ruleset {
    Ruleset {
        tables: Vec::new(),
        rules,
        opaque_rules: 0,
        digest: "ab".repeat(32),
        packets: 0,
        octets: Bytes(0),
        changed_by: None,
    }
}

pub(crate) fn job(age: Duration) -> Job {
    let end = NOW - age;
    Job {
        tool: "restic".to_owned(),
        started_at: end - MINUTE,
        finished_at: end,
        success: true,
        size: Some(Bytes(10 * GIB)),
        files: Some(5000),
        destination: "/srv/backup".to_owned(),
        message: String::new(),
        last_success_at: Some(end),
        sizes: vec![Bytes(10 * GIB); 5],
    }
}

/// A repository whose copies were taken a day apart; sizes newest first.
pub(crate) fn repository(age: Duration, sizes: &[u64]) -> Repository {
    let newest: Vec<Snapshot> = sizes
        .iter()
        .zip(0_u32..)
        .map(|(&size, nth)| Snapshot {
            taken_at: NOW - age - HOUR * 24 * nth,
            size: Some(Bytes(size)),
            files: Some(5000),
        })
        .collect();
    Repository { tool: "borg".to_owned(), snapshots: u32::try_from(newest.len()).unwrap(), newest }
}

fn line() -> LineQuality {
    LineQuality {
        ask: Ask { far: "10.254.0.1".parse().unwrap(), by: By::Icmp },
        since: Some(NOW - HOUR),
        answered: true,
        silence_millis: 0,
        lately: Some(LatelyAsked {
            asked: 100,
            lost: permille(0),
            round_trip_micros: Some(18_000),
        }),
        available_millionths: Some(1_000_000),
    }
}

fn well() -> Vec<(&'static str, FactValue)> {
    let pressure = || Pressure { some: permille(20), full: Some(permille(5)) };
    vec![
        ("/", file_system().into()),
        ("county", line().into()),
        ("", Reboot { needed: false, because: Vec::new() }.into()),
        ("", Units { failed: Vec::new(), failed_count: 0 }.into()),
        (
            "",
            Cpu { cores: 4, busy: permille(120), io_wait: permille(10), steal: permille(0) }.into(),
        ),
        (
            "",
            Memory {
                total: Bytes(16 * GIB),
                available: Bytes(12 * GIB),
                swap_total: Bytes(GIB),
                swap_free: Bytes(GIB),
            }
            .into(),
        ),
        ("", Load { one: 50, five: 60, fifteen: 70 }.into()),
        ("cpu", pressure().into()),
        ("memory", pressure().into()),
        ("io", pressure().into()),
        ("coretemp Package", Temperature { millicelsius: 45_000, critical: Some(100_000) }.into()),
        ("", Clock { synchronised: true, offset_micros: 0, max_error_micros: 4096 }.into()),
        ("lo", interface(LinkKind::Loopback, "", &["127.0.0.1/8", "::1/128"]).into()),
        (
            "eth0",
            interface(
                LinkKind::Ethernet,
                "virtio_net",
                &["10.1.7.20/16", "fd00:1::7:20/64", "fe80::5054:ff:fe12:3456/64"],
            )
            .into(),
        ),
        ("default via 10.1.0.1 dev eth0", route("0.0.0.0/0", Some("10.1.0.1"), "eth0").into()),
        ("10.1.0.0/16 dev eth0", route("10.1.0.0/16", None, "eth0").into()),
        ("10.1.0.1 dev eth0", neighbour("10.1.0.1", "eth0").into()),
        ("fe80::1 dev eth0", neighbour("fe80::1", "eth0").into()),
        (
            "",
            Forwarding { ipv4: false, ipv6: false, interfaces: Vec::new(), bridged: Some(false) }
                .into(),
        ),
        ("nftables", ruleset(12).into()),
        ("iptables-legacy", ruleset(0).into()),
        ("ip input", hook(DefaultPolicy::Drop).into()),
        ("ip6 input", hook(DefaultPolicy::Drop).into()),
        ("ip forward", hook(DefaultPolicy::NoChain).into()),
        ("ip6 forward", hook(DefaultPolicy::NoChain).into()),
        ("firewalld", Manager { installed: false, active: false }.into()),
        ("ufw", Manager { installed: true, active: false }.into()),
        ("oracle-fin", job(HOUR * 5).into()),
    ]
}

#[test]
fn a_host_on_which_all_is_well_is_ok_by_every_check() {
    let judged = Site::new().judge();
    for result in &judged {
        for verdict in &result.verdicts {
            assert_eq!(verdict.state(), check::State::Ok, "{}: {verdict:?}", result.check.name);
        }
    }
    assert_eq!(check::worst(&judged), check::State::Ok);
}

#[test]
fn a_host_of_which_nothing_is_known_is_unknown_to_every_check_that_needs_facts() {
    let mut site = Site::new();
    site.facts.clear();
    site.probes.clear();
    site.session.enrolled_at = NOW - MINUTE / 6;
    site.session.last_report_at = None;
    let judged = site.judge();
    for result in judged.iter().filter(|result| !result.check.probes.is_empty()) {
        assert!(!result.fresh, "{}", result.check.name);
        for verdict in &result.verdicts {
            assert_eq!(verdict.status, Status::Unknown, "{}: {verdict:?}", result.check.name);
        }
    }
    assert_eq!(check::worst(&judged), check::State::Unknown);
    assert_eq!(check::worst(&[]), check::State::Unknown);
}

#[test]
fn no_check_is_ok_on_facts_that_cannot_be_read() {
    let mut site = Site::new();
    let keys: Vec<FactKey> = site.facts.keys().cloned().collect();
    for key in keys {
        site.unreadable(key.kind, &key.subject, "needs CAP_NET_ADMIN");
    }
    for result in site.judge().iter().filter(|result| !result.check.probes.is_empty()) {
        // That a job exists is known, even when what it left cannot be read.
        if result.check.name == "backup_present" {
            continue;
        }
        for verdict in &result.verdicts {
            assert_eq!(verdict.status, Status::Unknown, "{}: {verdict:?}", result.check.name);
            assert!(verdict.why.en.contains("CAP_NET_ADMIN"), "{verdict:?}");
        }
    }
}

#[test]
fn a_host_that_falls_silent_turns_stale_not_ok() {
    let mut site = Site::new();
    site.now = NOW + HOUR;
    for result in site.judge() {
        for verdict in result.verdicts {
            let known_by_us = ["certificate_ending", "report_gaps", "twin_identity"];
            let name = result.check.name;
            if known_by_us.contains(&name) || ["approval_waiting", "zone_declared"].contains(&name)
            {
                continue;
            }
            assert_ne!(verdict.state(), check::State::Ok, "{name}: {verdict:?}");
        }
    }
}

#[test]
fn every_check_has_its_own_name_and_speaks_both_languages() {
    let mut names = std::collections::BTreeSet::new();
    for check in check::CHECKS {
        assert!(names.insert(check.name), "{} twice", check.name);
        assert!(check.alert.critical.starts_with("Bailey"));
        assert!(check.alert.warning.starts_with("Bailey"));
        let title = (check.title)();
        assert!(!title.en.is_empty() && !title.zh.is_ascii(), "{}", check.name);
        let components = ["host", "agent", "firewall", "backup", "isolation", "network"];
        assert!(components.contains(&check.component));
    }
}
