//! Bridges that filter: what they stop is proved, what they let through is shown, and where nobody knows
//! what is behind their ports, or what a rule means, nothing is said for sure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bailey_rules::model::nft;
use bailey_rules::name::HostName;
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::follow::{Asked, follow};
use bailey_rules::prove::site::{Answer, Breach, Bridge, Host, Port, Prover, Site};
use serde_json::{Value, json};

use crate::site_proof::{POLICY, host, name};

/// A rule.
fn rule(family: &str, chain: &str, expr: &Value) -> Value {
    json!({"rule": {"family": family, "table": "f", "chain": chain, "handle": 7, "expr": expr}})
}

/// A table of one chain.
fn table(family: &str, hook: &str, policy: &str, rules: &[Value]) -> String {
    let chain = json!({"chain": {
        "family": family, "table": "f", "name": hook, "type": "filter", "hook": hook, "prio": 0,
        "policy": policy, "dev": (family == "netdev").then_some("eth1"),
    }});
    let mut all = vec![json!({"table": {"family": family, "name": "f"}}), chain];
    all.extend(rules.iter().map(|expr| rule(family, hook, expr)));
    json!({ "nftables": all }).to_string()
}

fn is(protocol: &str, field: &str, value: &Value) -> Value {
    let left = json!({"payload": {"protocol": protocol, "field": field}});
    json!({"match": {"op": "==", "left": left, "right": value}})
}

fn port(host: &str, interface: &str) -> Port {
    Port { host: name(host), interface: interface.to_owned() }
}

fn bridge(ports: &[&str]) -> Bridge {
    let ports: BTreeSet<String> = ports.iter().map(|port| (*port).to_owned()).collect();
    Bridge { device: "br0".to_owned(), ports }
}

/// A host with a bridge of `eth0`, on the wire of `oa-17` of the inner network, and `eth1`, on that of
/// `www-1` of the outer one. `own` are its addresses.
fn site(listings: &[String], own: &[(&str, &str)]) -> Site {
    let mut text = String::new();
    for (number, interface) in (2..).zip(["br0", "eth0", "eth1", "eth2"]) {
        text.push_str(&format!("{number}: {interface}: <BROADCAST,UP> mtu 1500 state UP\n"));
        let addresses = own.iter().filter(|(at, _)| *at == interface);
        addresses.for_each(|(_, address)| {
            text.push_str(&format!("    inet {address} scope global {interface}\n"));
        });
    }
    let mut middle = host("exchange", own, None);
    middle.network.interfaces = None;
    middle.network.add_addresses(&text).unwrap();
    for listing in listings {
        Arc::make_mut(&mut middle.ruleset).join(nft::parse(listing).unwrap());
    }
    middle.bridges = vec![bridge(&["eth0", "eth1"])];
    let hosts = BTreeMap::from([
        (name("fw-1"), middle),
        (name("oa-17"), host("inner", &[("eth0", "10.1.7.20/16")], None)),
        (name("www-1"), host("outer", &[("eth0", "172.20.1.10/16")], None)),
    ]);
    let links = vec![
        BTreeSet::from([port("fw-1", "eth0"), port("oa-17", "eth0")]),
        BTreeSet::from([port("fw-1", "eth1"), port("www-1", "eth0")]),
    ];
    Site { policy: Policy::parse("policy.yaml", POLICY).unwrap(), hosts, links }
}

fn answer(site: Site) -> Answer {
    Prover::new(site).invariant("INV-01").unwrap().answer
}

fn broken(site: Site) -> Breach {
    match answer(site) {
        Answer::Broken(breach) => *breach,
        other => panic!("{other:?}"),
    }
}

/// What is not known, and where.
fn doubt(site: Site) -> (String, String) {
    match answer(site) {
        Answer::OutOfModel(doubt) => (doubt.statement, doubt.at.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

fn is_proved(site: Site) -> bool {
    matches!(answer(site), Answer::Proved { .. })
}

/// Each hop with what lets the packet through.
fn hops(breach: &Breach) -> Vec<String> {
    let mut lines = Vec::new();
    for hop in &breach.path {
        let host = hop.host.as_ref().map_or("-", HostName::as_str);
        let by = |one: &Option<String>| one.clone().unwrap_or_else(|| "-".to_owned());
        lines.push(format!("{host} {} {}", by(&hop.input), by(&hop.output)));
        lines.extend(hop.deciding.iter().map(|decides| {
            let rule = decides.rule.as_ref().map_or("policy", |rule| rule.text.as_str());
            format!("  {} {} {}: {rule}", decides.hook, decides.family, decides.table)
        }));
    }
    lines
}

#[test]
fn a_bridge_that_drops_all_on_its_way_through_keeps_the_networks_apart() {
    assert!(is_proved(site(&[table("bridge", "forward", "drop", &[])], &[])));
    let bare = broken(site(&[], &[]));
    assert_eq!(hops(&bare), ["- - -"]);
}

#[test]
fn any_hook_that_frames_pass_may_keep_them_apart() {
    for (family, hook) in [
        ("bridge", "prerouting"),
        ("bridge", "forward"),
        ("bridge", "postrouting"),
        ("netdev", "ingress"),
    ] {
        assert!(is_proved(site(&[table(family, hook, "drop", &[])], &[])), "{family} {hook}");
    }
    // What goes out by `eth1` is not what comes in there; and these hooks are not on the way at all.
    for (family, hook) in [("netdev", "egress"), ("bridge", "input"), ("inet", "forward")] {
        broken(site(&[table(family, hook, "drop", &[])], &[]));
    }
}

#[test]
fn what_a_bridge_lets_through_is_shown_with_the_rule() {
    let web = json!([
        is("ip", "saddr", &json!("172.20.1.10")),
        is("tcp", "dport", &json!(443)),
        {"accept": null}
    ]);
    let breach = broken(site(&[table("bridge", "forward", "drop", &[web])], &[]));
    assert_eq!(
        hops(&breach),
        ["fw-1 eth1 eth0", "  forward bridge f: ip saddr 172.20.1.10 tcp dport 443 accept"]
    );
    assert_eq!(breach.end.en, "fw-1 sends it out by eth0, to an address there");
    assert_eq!(breach.cuts.len(), 1);
    // Told apart by the port that it comes by, and what it is about to leave has come by none.
    for (key, hook, port, is_open) in [
        ("iifname", "forward", "eth1", true),
        ("iifname", "forward", "eth0", false),
        ("oifname", "forward", "eth0", true),
        ("oifname", "prerouting", "eth0", false),
        ("iifname", "postrouting", "eth1", false),
        ("oifname", "postrouting", "eth0", true),
    ] {
        let by = json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": port}});
        let site = site(&[table("bridge", hook, "drop", &[json!([by, {"accept": null}])])], &[]);
        assert_eq!(is_proved(site.clone()), !is_open, "{key} {port} at {hook}");
        if is_open {
            broken(site);
        }
    }
}

#[test]
fn what_is_not_understood_of_a_frame_is_neither_proved_nor_broken() {
    let vlan = json!([is("vlan", "id", &json!(5)), {"accept": null}]);
    let (statement, at) = doubt(site(&[table("bridge", "forward", "drop", &[vlan])], &[]));
    assert!(statement.contains("vlan id 5"), "{statement}");
    assert!(at.starts_with("fw-1: bridge f forward"), "{at}");
}

#[test]
fn a_filter_of_frames_decides_nothing_where_nobody_knows_who_is_behind_it() {
    let closed = || table("bridge", "forward", "drop", &[]);
    let mut all = site(&[closed()], &[("br0", "10.1.0.9/16"), ("br0", "172.20.0.9/16")]);
    all.links.clear();
    let (statement, at) = doubt(all.clone());
    assert_eq!(statement, "bridge br0 filters, and not all is known that is behind its ports");
    assert_eq!(at, "fw-1");
    // One that filters nothing makes one wire of them.
    all.hosts.get_mut(&name("fw-1")).unwrap().ruleset = Arc::default();
    broken(all);
}

#[test]
fn a_host_behind_its_own_bridge_gets_and_sends_what_frames_are_let_through() {
    let own = [("br0", "10.1.0.1/16"), ("eth2", "172.20.0.1/16")];
    let with = |listing: String| {
        // What is for the host itself is no matter of this test.
        let mut all = site(&[listing, table("inet", "input", "drop", &[])], &own);
        // The outer network is on a wire of its own, by which the host routes.
        all.links.pop();
        all.hosts.get_mut(&name("fw-1")).unwrap().forwards_v4 = true;
        all
    };
    // It sends no frame to the inner network, though it routes.
    for hook in ["output", "postrouting"] {
        assert!(is_proved(with(table("bridge", hook, "drop", &[]))), "{hook}");
    }
    let breach = broken(with(table("bridge", "input", "drop", &[])));
    assert_eq!(hops(&breach)[0], "fw-1 eth2 eth0");
}

#[test]
fn a_filter_right_before_the_driver_is_one_too() {
    let gateway = |egress: &[Value], policy: &str| {
        let own = [("eth0", "10.1.0.1/16"), ("eth1", "172.20.0.1/16")];
        // What is for the host itself is no matter of this test.
        let itself = table("inet", "input", "drop", &[]);
        let mut all = site(&[table("netdev", "egress", policy, egress), itself], &own);
        let middle = all.hosts.get_mut(&name("fw-1")).unwrap();
        middle.bridges.clear();
        middle.forwards_v4 = true;
        all
    };
    // From the inner network to the outer one.
    let policy = Policy::parse(
        "policy.yaml",
        &POLICY.replace("INV-01: {never: [outer, inner]}", "INV-01: {never: [inner, outer]}"),
    )
    .unwrap();
    let asked = |egress: &[Value], default: &str| Site {
        policy: policy.clone(),
        ..gateway(egress, default)
    };
    assert!(is_proved(asked(&[], "drop")));
    // There a packet has come by no interface, and is in another frame than before.
    let by = json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}});
    broken(asked(&[json!([by, {"drop": null}])], "accept"));
    let ether = is("ether", "saddr", &json!("02:00:00:00:00:01"));
    let (statement, _) = doubt(asked(&[json!([ether, {"accept": null}])], "drop"));
    assert!(!statement.is_empty());
}

#[test]
fn a_changed_filter_of_frames_is_proved_again() {
    let open = site(&[], &[]);
    let shut = site(&[table("bridge", "forward", "drop", &[])], &[]);
    let mut prover = Prover::new(open.clone());
    assert!(matches!(prover.invariant("INV-01").unwrap().answer, Answer::Broken(_)));
    let host = |site: &Site| -> Host { site.hosts[&name("fw-1")].clone() };
    prover.update(&name("fw-1"), host(&shut));
    assert!(matches!(prover.invariant("INV-01").unwrap().answer, Answer::Proved { .. }));
    prover.update(&name("fw-1"), host(&open));
    assert!(matches!(prover.invariant("INV-01").unwrap().answer, Answer::Broken(_)));
}

#[test]
fn what_must_arrive_behind_a_bridge_that_filters_is_not_sure() {
    let policy = POLICY
        .replace(
            "INV-01: {never: [outer, inner]}",
            "INV-01: {always: [inner, inner], service: web}",
        )
        .replace(
            "{zone: exchange, addresses: [10.250.0.1, 10.1.0.1, 172.20.0.1], forwards: true}",
            "{zone: inner, addresses: [10.1.0.9]}",
        );
    let with = |listings: &[String]| {
        let mut all = site(listings, &[("br0", "10.1.0.9/16")]);
        all.hosts.get_mut(&name("fw-1")).unwrap().zone = Some("inner".parse().unwrap());
        Site { policy: Policy::parse("policy.yaml", &policy).unwrap(), ..all }
    };
    let reasons = |site: &Site| {
        let asked = Asked::parse(&site.policy, "10.1.7.20", "10.1.0.9:443/tcp").unwrap();
        let followed = follow(site, asked);
        assert!(followed.passes);
        followed.there[0].hops[0].reasons.clone()
    };
    let open = with(&[]);
    assert_eq!(reasons(&open), Vec::<String>::new());
    assert!(is_proved(open));
    let filtered = with(&[table("bridge", "input", "drop", &[])]);
    assert_eq!(reasons(&filtered), ["a bridge filters on the wire of eth0"]);
    assert_eq!(doubt(filtered).1, "fw-1");
}
