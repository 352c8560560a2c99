//! The policy file.

#![allow(clippy::format_collect, reason = "policies for tests are put together in pieces")]

use std::fmt::Write as _;
use std::net::IpAddr;

use bailey_rules::policy::{
    Addresses, Carried, Demand, MAX_ENTRIES, Mode, OnDrift, Opening, Origin, Party, Policy, Ports,
    REFERENCE, Service,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
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
    assert!(matches!(&policy.invariants["INV-03"].what, Demand::Never { to: Party::Internet, .. }));
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

/// Policies with something wrong in each.
pub(crate) const WRONG: [&str; 12] = [
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

#[test]
fn everything_that_is_wrong_is_said_at_once_with_what_to_write() {
    let mut out = String::new();
    for case in WRONG {
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

/// A policy in which all is well, for tests to change one thing of.
pub(crate) const WELL: &str = "\
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16], mode: enforce}
  outer: {networks: [172.20.0.0/16]}
  exchange: {networks: [10.250.0.0/24]}
groups:
  admins: [oa-17, 10.1.9.0/24]
services:
  web: {tcp: [80, 443]}
  ssh: {tcp: [22]}
exchange_points:
  EX-1: {from: outer, to: exchange, hosts: [ex-front], service: web}
flows:
  - {from: inner, to: inner, service: web}
invariants:
  INV-01: {never: [outer, inner]}
  INV-02: {only: [outer, exchange], through: [EX-1]}
  INV-03: {never: [inner, outer]}
  INV-04: {always: [admins, inner], service: ssh}
management:
  inner: {from: admins, service: ssh, collectors: ['10.1.0.5:7710']}
quarantine: {services: [web], longest: 12 h}
hosts:
  oa-17: {zone: inner, addresses: [10.1.7.20]}
  oa-18: {zone: inner}
  ex-front: {zone: exchange, addresses: [10.250.0.10]}
";

/// What to change in [`WELL`], each time one thing, so that it is refused.
pub(crate) const CONTRADICTIONS: [(&str, &str); 30] = [
    // Names.
    ("[oa-17, 10.1.9.0/24]", "[]"),
    ("[oa-17, 10.1.9.0/24]", "[oa-18, oa-19, 10.9.0.0/24, inner]"),
    ("admins: [oa-17", "inner: [oa-17"),
    ("  ssh: {tcp: [22]}", "  ssh: {tcp: [22]}\n  ftp: {tcp: [21]}"),
    ("  admins: [", "  nobody: [10.1.8.0/24]\n  admins: ["),
    ("through: [EX-1]", "through: [EX-2]"),
    ("service: ssh}\nmanagement", "}\nmanagement"),
    ("{never: [outer, inner]}", "{never: [outer, inner], service: web}"),
    // Values.
    ("{tcp: [80, 443]}", "{tcp: [80-x, 0], udp: [9-8], icmp: [ping], icmpv6: [300]}"),
    ("'10.1.0.5:7710'", "'10.1.0.5', '127.0.0.1:7710', '10.1.0.5:0'"),
    ("longest: 12 h", "longest: 0 s"),
    ("longest: 12 h", "longest: soon"),
    ("mode: enforce", "mode: drop"),
    // Ways between zones.
    ("to: inner, service: web", "to: outer, service: web"),
    ("from: inner, to: inner, service: web", "from: internet, to: internet, service: web"),
    ("hosts: [ex-front]", "hosts: [oa-17]"),
    ("hosts: [ex-front]", "hosts: []"),
    ("hosts: [ex-front]", "hosts: [oa-18]"),
    ("{from: outer, to: exchange, hosts: [ex-front]", "{from: inner, to: inner, hosts: [oa-17]"),
    // Invariants.
    ("{from: outer, to: exchange, hosts: [ex-front]", "{from: outer, to: inner, hosts: [oa-17]"),
    ("  EX-1:", "  EX-2: {from: outer, to: exchange, hosts: [ex-front], service: ssh}\n  EX-1:"),
    ("always: [admins, inner], service: ssh", "always: [inner, inner], service: ssh"),
    ("'10.1.0.5:7710'", "'172.20.0.5:7710'"),
    ("{never: [outer, inner]}", "{never: [inner, inner]}"),
    ("through: [EX-1]", "through: []"),
    ("hosts: [ex-front], service: web}", "hosts: [ex-front], service: web, owner: \"a\\nb\"}"),
    ("to: inner, service: web", "to: 10.1.7.20, service: web"),
    // Management.
    ("'10.1.0.5:7710'", "'8.8.8.8:7710'"),
    ("management:\n  inner: {from: admins, service: ssh, collectors: ['10.1.0.5:7710']}\n", ""),
    ("inner: {from: admins", "inner: {from: internet"),
];

#[test]
fn a_policy_that_contradicts_itself_is_refused_with_what_contradicts_what() {
    assert!(Policy::parse("policy.yaml", WELL).is_ok());
    let mut out = String::new();
    for (from, to) in CONTRADICTIONS {
        let case = WELL.replacen(from, to, 1);
        assert_ne!(case, WELL, "{from}");
        let Err(told) = Policy::parse("policy.yaml", &case) else { panic!("{to} is taken") };
        write!(out, "{from}\n=> {to}\n{told}\n\n").unwrap();
    }
    insta::assert_snapshot!(out);
}

#[test]
fn more_than_is_read_is_said_so() {
    let mut text = WELL.to_owned();
    let many = "  - {from: inner, to: inner, service: web}\n".repeat(MAX_ENTRIES);
    text = text.replace("flows:\n", &format!("flows:\n{many}"));
    let told = Policy::parse("policy.yaml", &text).unwrap_err().to_string();
    assert!(told.contains("more than 2000 flows"), "{told}");
}

#[test]
fn an_exchange_point_on_a_gateway_opens_only_its_own_two_zones() {
    let text = WELL.replace(
        "addresses: [10.250.0.10]}",
        "addresses: [10.250.0.10, 10.1.0.10], forwards: true}",
    );
    let text = text.replace("  INV-01: {never: [outer, inner]}\n", "");
    let policy = Policy::parse("policy.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    let open = |to: &str| policy.allows(&opening("172.20.1.1", to, Carried::Tcp(443)));
    assert!(open("10.250.0.10").is_some());
    assert_eq!(open("10.1.0.10"), None);
}

#[test]
fn a_list_of_ports_has_a_bound() {
    let ports: Vec<String> = (1..400).map(|port| (port * 2).to_string()).collect();
    let text = WELL.replace("[80, 443]", &format!("[{}]", ports.join(", ")));
    let told = Policy::parse("policy.yaml", &text).unwrap_err().to_string();
    assert!(told.contains("more than 256 ports or types in one list; write ranges"), "{told}");
}

fn opening(from: &str, to: &str, carried: Carried) -> Opening {
    Opening { from: from.parse().unwrap(), to: to.parse().unwrap(), carried }
}

#[test]
fn the_shipped_example_says_what_the_site_says() {
    let policy = Policy::parse("reference.yaml", REFERENCE).unwrap_or_else(|e| panic!("{e}"));
    let why = |from, to, carried| policy.allows(&opening(from, to, carried)).map(|p| p.origin);
    let exchange = |name: &str| Some(Origin::Exchange(name.to_owned()));
    // The two networks do not meet.
    assert_eq!(why("172.20.3.3", "10.1.7.20", Carried::Tcp(443)), None);
    assert_eq!(why("10.1.7.20", "172.20.1.10", Carried::Tcp(443)), None);
    assert_eq!(why("fd00:1::7", "fd00:2::1:10", Carried::Tcp(443)), None);
    assert_eq!(why("10.1.7.20", "1.1.1.1", Carried::Tcp(443)), None);
    assert_eq!(why("1.1.1.1", "10.1.7.20", Carried::Tcp(443)), None);
    // Data crosses on the platform.
    assert_eq!(why("172.20.1.10", "10.250.0.10", Carried::Tcp(8443)), exchange("EX-1"));
    assert_eq!(why("172.20.1.9", "10.250.0.10", Carried::Tcp(8443)), None);
    assert_eq!(why("10.250.0.11", "10.1.3.10", Carried::Tcp(443)), exchange("EX-2"));
    assert_eq!(why("10.250.0.10", "10.1.3.10", Carried::Tcp(443)), None);
    // The exit, and the public site.
    assert_eq!(why("172.20.0.8", "1.1.1.1", Carried::Tcp(443)), exchange("EX-14"));
    assert_eq!(why("172.20.3.3", "1.1.1.1", Carried::Tcp(443)), None);
    assert_eq!(why("1.1.1.1", "172.20.1.10", Carried::Tcp(443)), exchange("EX-17"));
    assert_eq!(why("1.1.1.1", "172.20.1.10", Carried::Tcp(22)), None);
    // Counties and bodies.
    assert_eq!(why("10.33.4.5", "10.1.2.10", Carried::Tcp(25)), exchange("EX-4"));
    assert_eq!(why("10.200.4.5", "10.201.4.5", Carried::Tcp(443)), None);
    // Administration and reports.
    let of = |zone: &str| zone.parse().unwrap();
    let management = Some(Origin::Management(of("inner")));
    assert_eq!(why("10.1.9.11", "10.1.7.20", Carried::Tcp(22)), management);
    assert_eq!(
        why("10.1.7.20", "10.1.0.5", Carried::Tcp(7710)),
        Some(Origin::Collector(of("inner")))
    );
    assert_eq!(why("10.1.7.20", "10.1.7.21", Carried::Icmp(8)), Some(Origin::Flow(9)));
    let host = |name: &str| name.parse().unwrap();
    assert_eq!(policy.mode_of(&host("oa-99"), &of("inner")), Mode::Enforce);
    assert_eq!(policy.mode_of(&host("oa-99"), &of("counties")), Mode::Observe);
    assert_eq!(policy.on_drift_of(&host("oa-99"), &of("outer")), OnDrift::Restore);
}

/// Networks in `10.N.0.0/24` and `fd00:N::/120`, which may lie inside each other.
fn networks_of(nth: u8) -> impl Strategy<Value = Vec<IpNet>> {
    let v4 = (any::<u8>(), 24_u8..=32).prop_map(move |(last, length)| {
        IpNet::V4(Ipv4Net::new([10, nth, 0, last].into(), length).unwrap().trunc())
    });
    let v6 = (any::<u8>(), 120_u8..=128).prop_map(move |(last, length)| {
        let address = [0xfd00, nth.into(), 0, 0, 0, 0, 0, last.into()];
        IpNet::V6(Ipv6Net::new(address.into(), length).unwrap().trunc())
    });
    prop::collection::btree_set(prop_oneof![v4, v6], 0..8).prop_map(|all| all.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_zone_of_an_address_is_that_of_the_longest_network_that_holds_it(
        networks in [networks_of(0), networks_of(1), networks_of(2)],
    ) {
        let zones: String = networks
            .iter()
            .enumerate()
            .map(|(nth, networks)| {
                let list: Vec<String> = networks.iter().map(|network| format!("'{network}'")).collect();
                format!("  z{nth}: {{networks: [{}]}}\n", list.join(", "))
            })
            .collect();
        let policy = Policy::parse("p", &format!("site: x\nzones:\n{zones}")).unwrap();
        let v4 = (0..=3_u8).flat_map(|nth| {
            (0..=255_u8).map(move |last| IpAddr::from([10, nth, 0, last]))
        });
        let v6 = (0..=3_u16).flat_map(|nth| {
            (0..=255_u16).map(move |last| IpAddr::from([0xfd00, nth, 0, 0, 0, 0, 0, last]))
        });
        for address in v4.chain(v6) {
            let longest = policy
                .zones
                .iter()
                .flat_map(|(name, zone)| zone.networks.iter().map(move |network| (network, name)))
                .filter(|(network, _)| network.contains(&address))
                .max_by_key(|(network, _)| network.prefix_len())
                .map(|(_, name)| name);
            prop_assert_eq!(policy.zone_of(address), longest);
        }
    }
}

fn networks_v4() -> impl Strategy<Value = Vec<IpNet>> {
    let network = (any::<u8>(), 22_u8..=32).prop_map(|(last, length)| {
        // A few hundred addresses, so that networks meet, at the very end of all addresses too.
        let address = u32::MAX - u32::from(last) * 3;
        IpNet::V4(Ipv4Net::new(address.into(), length).unwrap().trunc())
    });
    prop::collection::vec(network, 0..6)
}

fn networks_v6() -> impl Strategy<Value = Vec<IpNet>> {
    let network = (any::<u8>(), 118_u8..=128).prop_map(|(last, length)| {
        let address = u128::from(last) * 3;
        IpNet::V6(Ipv6Net::new(address.into(), length).unwrap().trunc())
    });
    prop::collection::vec(network, 0..6)
}

proptest! {
    #[test]
    fn sets_of_addresses_do_as_sets_do(
        one in (networks_v4(), networks_v6()).prop_map(|(v4, v6)| [v4, v6].concat()),
        other in (networks_v4(), networks_v6()).prop_map(|(v4, v6)| [v4, v6].concat()),
    ) {
        let (a, b): (Addresses, Addresses) =
            (one.iter().copied().collect(), other.iter().copied().collect());
        let low = (0..1024_u32).map(|n| IpAddr::V4((u32::MAX - n).into()));
        let high = (0..1024_u128).map(|n| IpAddr::V6(n.into()));
        let (both, without, common) = (a.clone().with(&b), a.without(&b), a.common(&b));
        let (mut covers, mut meets) = (true, false);
        for address in low.chain(high) {
            let in_one = one.iter().any(|network| network.contains(&address));
            let in_other = other.iter().any(|network| network.contains(&address));
            prop_assert_eq!(a.contains(address), in_one);
            prop_assert_eq!(both.contains(address), in_one || in_other);
            prop_assert_eq!(without.contains(address), in_one && !in_other);
            prop_assert_eq!(common.contains(address), in_one && in_other);
            covers &= in_one || !in_other;
            meets |= in_one && in_other;
        }
        prop_assert_eq!(a.covers(&b), covers);
        prop_assert_eq!(a.meets(&b), meets);
        prop_assert_eq!(a.is_empty(), one.is_empty());
        let rest = a.rest_of_the_world();
        prop_assert!(!rest.meets(&a));
        prop_assert!(rest.contains("8.8.8.8".parse().unwrap()));
        prop_assert!(!rest.contains("127.0.0.1".parse().unwrap()));
        prop_assert!(!rest.contains("fe80::1".parse().unwrap()));
    }

    #[test]
    fn services_do_as_sets_of_ports_do(
        one in prop::collection::vec((1_u16..40, 0_u16..9), 0..5),
        other in prop::collection::vec((1_u16..40, 0_u16..9), 0..5),
    ) {
        let service = |ranges: &[(u16, u16)]| Service {
            tcp: ranges.iter().map(|&(first, more)| Ports { first, last: first + more }).collect(),
            ..Service::default()
        };
        let (a, b) = (service(&one), service(&other));
        let mut covers = true;
        for port in 1..60 {
            let (in_one, in_other) = (a.holds(Carried::Tcp(port)), b.holds(Carried::Tcp(port)));
            prop_assert_eq!(a.without(&b).holds(Carried::Tcp(port)), in_one && !in_other);
            prop_assert_eq!(a.common(&b).holds(Carried::Tcp(port)), in_one && in_other);
            covers &= in_one || !in_other;
        }
        prop_assert_eq!(a.covers(&b), covers);
    }

    #[test]
    fn any_text_is_a_policy_or_refused_and_never_panics(
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        instead in "[a-z0-9:{}\\[\\],/. \n-]{0,40}",
    ) {
        let characters: Vec<char> = REFERENCE.chars().collect();
        let at = at.index(characters.len());
        let mut text: String = characters[..at].iter().collect();
        text.push_str(&instead);
        text.extend(&characters[(at + length).min(characters.len())..]);
        let _ = Policy::parse("policy.yaml", &text);
    }
}
