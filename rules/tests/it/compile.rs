//! The ruleset that a policy means for a host. What it does in a kernel is tested with the agent.

use bailey_rules::compile::{quarantine, ruleset};
use bailey_rules::policy::{Mode, Policy, REFERENCE};
use std::fmt::Write as _;

const POLICY: &str = r#"
site: jiaxing
zones:
  inner:    {networks: [10.1.0.0/16, "fd00:1::/48"], mode: enforce, on_drift: restore}
  outer:    {networks: [172.20.0.0/16], mode: observe}
  exchange: {networks: [10.250.0.0/24], mode: enforce}
services:
  web: {tcp: [443, 80]}
  dns: {tcp: [53], udp: [53]}
  ping: {icmp: [echo-request], icmpv6: [echo-request]}
  ssh: {tcp: [22]}
exchange_points:
  EX-1: {from: outer, to: exchange, hosts: [ex-front], service: web}
flows:
  - {from: inner, to: inner, service: dns}
  - {from: inner, to: inner, service: ping}
management:
  inner: {from: 10.1.9.0/24, service: ssh, collectors: ["10.1.0.5:7710"]}
  exchange: {from: 10.250.0.200/32, service: ssh}
quarantine: {services: [dns]}
hosts:
  ex-front: {zone: exchange, addresses: [10.250.0.10]}
  oa-17: {zone: inner, addresses: [10.1.7.20, "fd00:1::7:20"]}
  fw-in: {zone: exchange, addresses: [10.250.0.1, 10.1.0.1], forwards: true}
"#;

fn policy(text: &str) -> Policy {
    Policy::parse("policy.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn text(policy: &Policy, host: &str, zone: &str) -> String {
    ruleset(policy, "policy.yaml", &host.parse().unwrap(), &zone.parse().unwrap()).text
}

#[test]
fn a_host_gets_what_concerns_it() {
    insta::assert_snapshot!(text(&policy(POLICY), "oa-17", "inner"));
}

#[test]
fn a_gateway_gets_everything() {
    insta::assert_snapshot!(text(&policy(POLICY), "fw-in", "exchange"));
}

#[test]
fn a_host_that_observes_drops_nothing() {
    let policy = policy(POLICY);
    let made = ruleset(&policy, "policy.yaml", &"www".parse().unwrap(), &"outer".parse().unwrap());
    assert_eq!((made.mode, made.restore), (Mode::Observe, false));
    assert!(!made.text.lines().any(|line| line.ends_with(" drop")), "{}", made.text);
    assert!(!made.text.contains("policy drop"), "{}", made.text);
    assert_eq!(made.text.matches("policy accept").count(), 3);
}

#[test]
fn a_quarantine_keeps_management_and_the_services_named_for_it() {
    let (host, zone) = ("oa-17".parse().unwrap(), "inner".parse().unwrap());
    insta::assert_snapshot!(quarantine(&policy(POLICY), "policy.yaml", &host, &zone));
}

#[test]
fn the_policy_says_the_zone_of_a_host_that_it_names() {
    let policy = policy(POLICY);
    assert_eq!(text(&policy, "oa-17", "outer"), text(&policy, "oa-17", "inner"));
}

#[test]
fn the_same_policy_gives_the_same_text() {
    let (one, other) = (policy(REFERENCE), policy(REFERENCE));
    for (host, entry) in &one.hosts {
        let zone = entry.zone.as_str();
        assert_eq!(text(&one, host.as_str(), zone), text(&other, host.as_str(), zone));
    }
}

#[test]
fn a_name_of_a_file_ends_no_comment() {
    let (host, zone) = ("oa-17".parse().unwrap(), "inner".parse().unwrap());
    let name = format!("{}\" accept; \u{4e2d}\n", "a".repeat(300));
    let text = ruleset(&policy(POLICY), &name, &host, &zone).text;
    for comment in text.split("comment \"").skip(2) {
        let comment = comment.split('"').next().unwrap();
        assert!(comment.len() < 128, "{comment}");
        assert!(comment.is_ascii() && !comment.contains([';', '\n']), "{comment}");
    }
}

#[test]
fn a_long_name_of_a_host_is_no_name_of_a_set() {
    let long = ["a"; 120].join(".");
    let more = format!("\nhosts:\n  {long}: {{zone: inner, addresses: [10.1.7.1, 10.1.7.9]}}");
    let flow = format!("flows:\n  - {{from: {long}, to: inner, service: web}}");
    let written = POLICY.replace("\nhosts:", &more).replace("flows:", &flow);
    let text = text(&policy(&written), "oa-17", "inner");
    assert!(text.contains("set networks-1-v4"), "{text}");
}

#[test]
fn many_networks_become_sets_and_not_rules() {
    let networks = |second: u8| -> String {
        let all: Vec<String> =
            (0..=255).step_by(2).map(|third| format!("10.{second}.{third}.0/24")).collect();
        all.join(", ")
    };
    let mut wide = String::from("site: x\nzones:\n");
    for zone in 0..60 {
        writeln!(wide, "  z{zone}: {{networks: [{}]}}", networks(zone)).unwrap();
    }
    wide.push_str(
        "services: {web: {tcp: [443]}}\nflows: [{from: z0, to: z0, service: web}]\n\
         hosts: {gw: {zone: z0, forwards: true}}\n",
    );
    let text = text(&policy(&wide), "gw", "z0");
    let rules =
        text.lines().filter(|line| line.contains("accept") || line.contains("goto")).count();
    assert!(rules < 100, "{rules} rules");
}
