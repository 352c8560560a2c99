//! The pages as Prometheus reads them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use bailey_rules::fact::enforcement::{
    DriftSeen, Enforcement, OrderRef, PendingOrder, RuleCounter,
};
use bailey_rules::fact::host::FileSystem;
use bailey_rules::fact::{Fact, FactKind};
use bailey_rules::name::OrderDigest;
use bailey_rules::policy::Mode;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;

use super::{MAX_SERIES, MAX_SUBJECTS, device, host, site};
use crate::counters::Counters;
use crate::web::fixture::{self, HOSTILE, Machine, NOW};
use crate::web::shown::Shown;

fn page_of(machine: Machine) -> String {
    let shown = fixture::shown(vec![machine]);
    host::families(&shown.hosts[0], shown.findings.iter(), NOW).text().unwrap()
}

fn site_page(shown: &Shown) -> String {
    site::families(shown, &Counters::default(), &[("signin", 1)]).text().unwrap()
}

/// Every series with its value.
fn series(page: &str) -> BTreeMap<&str, &str> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .collect()
}

/// The real judge of the format; says what it dislikes.
fn promtool(page: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() { said.into_owned() } else { format!("{}: {said}", output.status) }
}

#[test]
fn promtool_takes_every_page() {
    let mut machines = fixture::machines();
    machines.push(fixture::hostile());
    let shown = fixture::shown(machines);
    for status in &shown.hosts {
        let page = host::families(status, shown.findings.iter(), NOW).text().unwrap();
        assert_eq!(promtool(&page), "", "{}", status.view.name);
    }
    assert_eq!(promtool(&site_page(&shown)), "");
}

#[test]
fn a_host_page_holds_what_its_facts_say() {
    let page = page_of(Machine::new("oa-17", "inner", "10.1.7.20"));
    let states = "bailey_check_state{";
    let lines = page.lines().filter(|line| !(line.starts_with(states) && line.ends_with(" 0")));
    insta::assert_snapshot!("host_page", lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_site_page_counts_hosts_and_findings() {
    let page = site_page(&fixture::shown(fixture::machines()));
    let found = series(&page);
    assert_eq!(found["bailey_hosts{zone=\"inner\",state=\"critical\"}"], "3");
    assert_eq!(found["bailey_hosts{zone=\"exchange\",state=\"ok\"}"], "1");
    let violations =
        "bailey_findings{zone=\"inner\",component=\"isolation\",severity=\"critical\"}";
    assert_ne!(found[violations], "0");
    assert_eq!(found["bailey_auth_failures_total{reason=\"signin\"}"], "1");
    assert_eq!(found["bailey_series_left_out"], "0");
}

#[test]
fn a_site_page_tells_of_pushes_and_of_a_deadline_while_there_is_one() {
    let nothing = site_page(&fixture::shown(fixture::machines()));
    assert_eq!(series(&nothing)["bailey_policy_push_total{result=\"failed\"}"], "0");
    let deadline = "bailey_policy_push_deadline_timestamp_seconds";
    assert!(!nothing.contains(deadline), "{nothing}");
    let waits = site_page(&fixture::isolation("nft (pid 4711)"));
    let until = NOW + Duration::from_secs(107);
    assert_eq!(series(&waits)[deadline], until.as_seconds().to_string());
    assert_eq!(promtool(&waits), "");
}

#[test]
fn a_site_page_tells_what_is_known_of_every_invariant() {
    let page = site_page(&fixture::isolation("nft (pid 4711)"));
    let found = series(&page);
    let standings = [
        ("INV-01", "proved"),
        ("INV-02", "broken"),
        ("INV-03", "out_of_model"),
        ("INV-04", "stale"),
        ("INV-05", "stale"),
        ("INV-06", "stale"),
    ];
    for (invariant, standing) in standings {
        for state in ["proved", "stale", "out_of_model", "broken"] {
            let name =
                format!("bailey_invariant_state{{invariant=\"{invariant}\",state=\"{state}\"}}");
            assert_eq!(found[name.as_str()], if state == standing { "1" } else { "0" }, "{name}");
        }
    }
    let proved_at = "bailey_proof_timestamp_seconds{invariant=\"INV-01\"}";
    assert_eq!(found[proved_at], fixture::ago(12).as_seconds().to_string());
    assert!(!page.contains("bailey_proof_timestamp_seconds{invariant=\"INV-05\"}"));
}

#[test]
fn series_of_stale_facts_are_left_out_but_times_and_states_stay() {
    let fresh = page_of(Machine::new("gis-1", "inner", "10.1.5.8"));
    let silent = page_of(Machine::new("gis-1", "inner", "10.1.5.8").silent(5400));
    for gone in [
        "bailey_cpu_busy_ratio",
        "bailey_link_up",
        "bailey_firewall_active",
        "bailey_backup_size_bytes",
    ] {
        assert!(fresh.contains(&format!("\n{gone}{{")), "{gone}");
        assert!(!silent.contains(&format!("\n{gone}{{")), "{gone}");
    }
    for stays in [
        "bailey_host_state",
        "bailey_check_state",
        "bailey_host_last_report_timestamp_seconds",
        "bailey_backup_last_success_timestamp_seconds",
        "bailey_certificate_not_after_timestamp_seconds",
    ] {
        assert!(silent.contains(&format!("\n{stays}{{")), "{stays}");
    }
    let found = series(&silent);
    assert_eq!(found["bailey_host_connected{host=\"gis-1\",zone=\"inner\"}"], "0");
    assert_eq!(found["bailey_host_state{host=\"gis-1\",zone=\"inner\",state=\"ok\"}"], "0");
}

#[test]
fn what_a_host_enforces_and_counts_has_series() {
    let mut machine = Machine::new("ex-gw", "exchange", "10.250.0.1");
    let order = OrderRef { version: 7, digest: OrderDigest::from_bytes([7; 32]) };
    let drift = DriftSeen {
        since: NOW,
        ended: None,
        by: None,
        added: Vec::new(),
        removed: vec!["chain input: counter drop".into()],
        more: 0,
    };
    let until = Timestamp::from_seconds(1_795_415_520);
    let state = Enforcement {
        mode: Some(Mode::Observe),
        in_force: Some(order),
        pending: Some(PendingOrder { order, until }),
        drift: Some(drift),
        ..Enforcement::default()
    };
    machine.set(Fact::known("", state));
    for (name, octets) in [("would-drop", 60), ("exchange-EX-1-to", 500), ("flow-3", 9)] {
        let counter = RuleCounter { packets: octets / 20, octets: Bytes(octets) };
        machine.set(Fact::known(name, counter));
    }
    let page = page_of(machine);
    assert_eq!(promtool(&page), "");
    let found = series(&page);
    let at = "host=\"ex-gw\",zone=\"exchange\"";
    assert_eq!(found[&*format!("bailey_firewall_drift{{{at}}}")], "1");
    let info = format!("bailey_policy_info{{{at},version=\"7\",mode=\"observe\"}}");
    assert_eq!(found[&*info], "1");
    let deadline = format!("bailey_policy_confirm_deadline_timestamp_seconds{{{at}}}");
    assert_eq!(found[&*deadline], "1795415520");
    assert_eq!(found[&*format!("bailey_would_drop_packets_total{{{at}}}")], "3");
    let crossed = format!("bailey_exchange_bytes_total{{{at},point=\"EX-1\",direction=\"to\"}}");
    assert_eq!(found[&*crossed], "500");
    assert!(!page.contains("flow-3"));
    let without = page_of(Machine::new("oa-17", "inner", "10.1.7.20"));
    assert!(!without.contains("bailey_firewall_drift") && !without.contains("bailey_policy_"));
}

#[test]
fn what_cannot_be_read_has_no_series() {
    let mut machine = Machine::new("web-2", "outer", "172.20.0.12");
    machine.set(Fact::unreadable(FactKind::Ruleset, "nftables", "needs CAP_NET_ADMIN"));
    let page = page_of(machine);
    assert!(!page.contains("bailey_firewall_active"));
    assert!(!page.contains("bailey_firewall_rules"));
}

#[test]
fn a_host_cannot_flood_prometheus() {
    let mut machine = Machine::new("evil-1", "inner", "10.1.6.6");
    for n in 0..5_000 {
        machine.set(Fact::known(
            &format!("/mnt/{n}"),
            FileSystem {
                device: "/dev/x".into(),
                kind: "ext4".into(),
                total: Bytes(1),
                available: Bytes(1),
                inodes: 1,
                inodes_available: 1,
                read_only: false,
            },
        ));
    }
    let shown = fixture::shown(vec![machine]);
    let page = host::families(&shown.hosts[0], shown.findings.iter(), NOW).text().unwrap();
    let found = series(&page);
    assert!(found.len() <= MAX_SERIES, "{}", found.len());
    let sizes = found.keys().filter(|name| name.starts_with("bailey_filesystem_size_bytes"));
    assert!(sizes.count() <= MAX_SUBJECTS);
    let site = site_page(&shown);
    let left_out: u64 = series(&site)["bailey_series_left_out"].parse().unwrap();
    assert!(left_out > 4_000, "what is left out is counted: {left_out}");
}

#[test]
fn a_host_page_tells_of_the_lines_that_the_host_measures_while_they_are_fresh() {
    let page = page_of(fixture::measuring("province B"));
    assert_eq!(promtool(&page), "");
    let found = series(&page);
    let at = "host=\"gis-1\",zone=\"inner\"";
    let county = format!("{{{at},line=\"county\"}}");
    for (metric, value) in [
        ("bailey_link_lost_ratio", "0.02"),
        ("bailey_link_round_trip_seconds", "0.0184"),
        ("bailey_link_available_ratio", "0.999812"),
    ] {
        assert_eq!(found[&*format!("{metric}{county}")], value, "{metric}");
    }
    assert!(!page.contains("line=\"province\""), "nothing is known of it");
    let findings =
        format!("bailey_host_findings{{{at},component=\"network\",severity=\"critical\"}}");
    assert_eq!(found[&*findings], "2");
    let stale = page_of(fixture::measuring("province B").silent(5400));
    assert!(!stale.contains("bailey_link_lost_ratio"), "{stale}");
    let without = page_of(Machine::new("oa-17", "inner", "10.1.7.20"));
    assert!(!without.contains("component=\"network\""), "it measures none");
}

fn device_page(said: &str, name: &str) -> String {
    let shown = fixture::with_devices(Vec::new(), fixture::devices(said));
    let device = shown.devices.iter().find(|d| d.view.name.as_str() == name).unwrap();
    let rated = |interface: &bailey_rules::device::interface::Interface| {
        (interface.name == "GE0/0/49").then_some(1_250_000)
    };
    device::families(device, shown.findings.iter(), rated, NOW).text().unwrap()
}

#[test]
fn a_devices_page_holds_what_it_tells_and_a_silent_one_only_that_it_is_silent() {
    let floor = device_page("S5720", "floor-3");
    assert_eq!(promtool(&floor), "");
    let found = series(&floor);
    let at = "host=\"floor-3\",zone=\"inner\"";
    let link = format!("{{{at},interface=\"GE0/0/49\"}}");
    for (metric, value) in [
        ("bailey_link_up", "1"),
        ("bailey_link_speed_bytes", "12500000"),
        ("bailey_link_rated_bytes", "1250000"),
        ("bailey_link_receive_bytes_total", "11040000000"),
    ] {
        assert_eq!(found[&*format!("{metric}{link}")], value, "{metric}");
    }
    let down = format!("bailey_link_up{{{at},interface=\"GE0/0/50\"}}");
    assert_eq!(found[&*down], "0");
    assert_eq!(found[&*format!("bailey_snmp_up{{{at}}}")], "1");
    assert_eq!(found[&*format!("bailey_snmp_poll_duration_seconds{{{at}}}")], "0.18");
    let saturated = format!("bailey_check_state{{{at},check=\"link_use\",state=\"warning\"}}");
    assert_eq!(found[&*saturated], "1");

    let core = device_page("S5720", "core-1");
    let found = series(&core);
    let at = "host=\"core-1\",zone=\"inner\"";
    assert_eq!(found[&*format!("bailey_snmp_up{{{at}}}")], "0");
    assert_eq!(found[&*format!("bailey_device_state{{{at},state=\"critical\"}}")], "1");
    assert!(!core.contains("bailey_link_up{"), "nothing is known of its links");

    let ups = device_page("S5720", "ups-1");
    let found = series(&ups);
    let at = "host=\"ups-1\",zone=\"outer\"";
    assert_eq!(found[&*format!("bailey_ups_on_battery{{{at}}}")], "1");
    assert_eq!(found[&*format!("bailey_ups_runtime_seconds{{{at}}}")], "1260");
    let battery = format!("bailey_temperature_celsius{{{at},sensor=\"battery\"}}");
    assert_eq!(found[&*battery], "27");
    assert_eq!(promtool(&ups), "");
}

#[test]
fn a_device_cannot_flood_prometheus_nor_break_a_label() {
    let page = device_page(HOSTILE, "floor-3");
    assert_eq!(promtool(&page), "");
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("bailey_"), "{line}");
    }
    let mut devices = fixture::devices("S5720");
    let floor = devices.iter_mut().find(|view| view.name.as_str() == "floor-3").unwrap();
    let one = floor.interfaces.value().unwrap()[0].clone();
    let many = (0..20_000).map(|index| bailey_rules::device::interface::Interface {
        index,
        name: format!("GE{index}"),
        ..one.clone()
    });
    floor.take_interfaces(Ok(many.collect()), fixture::ago(20), |_| false);
    let shown = fixture::with_devices(Vec::new(), devices);
    let device = shown.devices.iter().find(|d| d.view.name.as_str() == "floor-3").unwrap();
    let page = device::families(device, std::iter::empty(), |_| None, NOW);
    let text = page.text().unwrap();
    assert!(series(&text).len() <= MAX_SERIES);
    assert!(page.left_out() > 50_000, "{}", page.left_out());
}

#[test]
fn hostile_labels_stay_labels() {
    let page = page_of(fixture::hostile());
    assert!(page.contains(&HOSTILE.replace('"', "\\\"")));
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("bailey_"), "{line}");
    }
}
