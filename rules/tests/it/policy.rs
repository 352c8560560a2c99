//! The policy file.

use std::fmt::Write as _;
use std::net::IpAddr;

use bailey_rules::policy::{Party, Policy};
use proptest::prelude::*;

use crate::site::POLICY;

fn zone_of(policy: &Policy, address: &str) -> Option<String> {
    policy.zone_of(address.parse().unwrap()).map(ToString::to_string)
}

#[test]
fn the_policy_of_the_design_is_read_whole() {
    let text = r#"
site: jiaxing
zones:
  inner:    {name: 内网, networks: [10.1.0.0/16, "fd00:1::/48"]}
  outer:    {name: 外网, networks: [172.20.0.0/16]}
  exchange: {name: 交换区, networks: [10.250.0.0/24]}
services:
  web: {tcp: [80, 443]}
exchange_points:
  EX-1: {from: outer, to: exchange, hosts: [ex-front], service: web, owner: "information centre"}
flows:                       # inside a zone, and to exchange points; everything else is dropped
  - {from: inner, to: inner, service: web}
invariants:
  INV-01: {never: [outer, inner]}
  INV-02: {never: [inner, outer]}
  INV-03: {never: [inner, internet]}
hosts: {ex-front: {zone: exchange, addresses: [10.250.0.10]}}
"#;
    let policy = Policy::parse("policy.yaml", text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(policy.zones.len(), 3);
    let inner = &policy.zones[&"inner".parse().unwrap()];
    assert_eq!(inner.name.as_deref(), Some("内网"));
    assert_eq!(policy.invariants["INV-03"].never.1, Party::Internet);
    assert_eq!(policy.exchange_points["EX-1"].hosts.len(), 1);
    assert_eq!(policy.services["web"].tcp.len(), 2);
}

#[test]
fn an_address_is_in_the_zone_whose_network_holds_it() {
    let policy = Policy::parse("policy.yaml", POLICY).unwrap();
    assert_eq!(zone_of(&policy, "10.1.255.255").as_deref(), Some("inner"));
    assert_eq!(zone_of(&policy, "fd00:1::1").as_deref(), Some("inner"));
    assert_eq!(zone_of(&policy, "172.20.0.1").as_deref(), Some("outer"));
    assert_eq!(zone_of(&policy, "::ffff:172.20.0.1").as_deref(), Some("outer"));
    assert_eq!(zone_of(&policy, "10.2.0.1"), None);
    assert_eq!(zone_of(&policy, "fd00:2::1"), None);
}

#[test]
fn only_a_host_that_is_named_so_may_forward() {
    let text = POLICY.replace("[10.1.7.20]", "[10.1.7.20], forwards: true");
    let policy = Policy::parse("policy.yaml", &text).unwrap();
    assert!(policy.forwards(&"oa-17".parse().unwrap()));
    assert!(!policy.forwards(&"oa-18".parse().unwrap()));
    let policy = Policy::parse("policy.yaml", POLICY).unwrap();
    assert!(!policy.forwards(&"oa-17".parse().unwrap()));
}

#[test]
fn the_policy_of_a_first_start_is_one_that_can_be_read() {
    let networks: Vec<ipnet::IpNet> = [
        "10.1.7.20/16",
        "10.1.7.21/16",
        "127.0.0.1/8",
        "169.254.1.1/16",
        "fe80::1/64",
        "fd00:1::7/64",
    ]
    .iter()
    .map(|network| network.parse().unwrap())
    .collect();
    let (site, zone) = ("jiaxing".parse().unwrap(), "inner".parse().unwrap());
    let text = Policy::for_this_host(&site, &zone, &networks);
    let policy = Policy::parse("policy.yaml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let held: Vec<String> = policy.zones[&zone].networks.iter().map(ToString::to_string).collect();
    assert_eq!(held, ["10.1.0.0/16", "fd00:1::/64"]);
    let none = Policy::for_this_host(&site, &zone, &[]);
    assert!(Policy::parse("policy.yaml", &none).is_ok());
    insta::assert_snapshot!(text);
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_what_to_write() {
    let cases = [
        "site: jiaxing\nzones:\n  inner: {networks: [10.1.0.0/16]}\nhosts:\n  oa-17: {zone: iner}\n",
        "site: jiaxing\nzones:\n  inner: {networks: [10.1.0.0/16]}\n  outer: {networks: [10.1.2.0/24]}\n",
        "site: jiaxing\nzones:\n  inner: {networks: [10.1.0.0/16, 10.1.0.0/16]}\n",
        "site: jiaxing\nzones:\n  inner: {networks: [10.1.2.3/16, 10.2.0.1, tenbar, 127.0.0.0/8]}\n",
        "site: Jia Xing\nzones:\n  Inner: {networks: []}\n",
        "site: jiaxing\nzones:\n  inner: {networks: [10.1.0.0/16]}\n  outer: {networks: [172.20.0.0/16]}\n\
         hosts:\n  oa-17: {zone: inner, addresses: [172.20.0.9, 192.0.2.1, here]}\n  \
         oa-18: {zone: inner, addresses: [10.1.0.5]}\n  oa-19: {zone: inner, addresses: [10.1.0.5]}\n",
        "site: jiaxing\nzones:\n  inner: {network: [10.1.0.0/16]}\n",
        "site: jiaxing\nzone:\n  inner: {networks: [10.1.0.0/16]}\n",
        "site: jiaxing\nzones:\n  internet: {networks: []}\n  内网: {networks: []}\n",
        "site: jiaxing\nzones: {a: {networks: []}}\nservices: {web: {tcp: [0, 80]}}\n",
        "site: jiaxing\nzones: {a: {networks: []}}\nservices: {web: {}}\n\
         flows: [{from: a, to: b, service: wbe}]\n\
         invariants: {INV-01: {never: [a, intranet]}}\n\
         exchange_points: {EX-1: {from: a, to: internet, hosts: [fw-in], service: web}}\n",
        "site: jiaxing\nzones: {a: {networks: []}}\nhosts: {oa-17: {zone: a, forwards: yes}}\n",
    ];
    let mut out = String::new();
    for case in cases {
        let told = Policy::parse("policy.yaml", case).expect_err(case);
        write!(out, "{told}\n\n").unwrap();
    }
    insta::assert_snapshot!(out);
}

proptest! {
    #[test]
    fn zones_that_overlap_are_always_refused(
        address in any::<u32>(),
        wide in 8_u8..=32,
        narrow in 8_u8..=32,
    ) {
        let network = |length| {
            ipnet::Ipv4Net::new(address.into(), length).unwrap().trunc()
        };
        let (a, b) = (network(wide), network(narrow));
        let counts = [a, b].iter().all(|net| bailey_rules::policy::counts(IpAddr::V4(net.network())));
        let text = format!(
            "site: x\nzones:\n  a: {{networks: [\"{a}\"]}}\n  b: {{networks: [\"{b}\"]}}\n"
        );
        let told = Policy::parse("p", &text);
        prop_assert!(told.is_err());
        if counts {
            prop_assert!(told.unwrap_err().to_string().contains("overlaps"));
        }
    }
}
