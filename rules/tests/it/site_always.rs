//! Proofs of small sites that something always works: that it does, what stops it, and what is not known.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailey_rules::model::network::Network;
use bailey_rules::model::nft;
use bailey_rules::model::ruleset::Family;
use bailey_rules::model::save;
use bailey_rules::name::HostName;
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::{Answer, Assumption, Breach, Bridge, Host, Port, Prover, Site};
use bailey_rules::text::Lang;

const POLICY: &str = r#"
site: jiaxing
zones:
  inner:    {name: 内网, networks: [10.1.0.0/16, "fd00:1::/48"]}
  outer:    {name: 外网, networks: [172.20.0.0/16]}
  exit:     {name: 互联网出口, networks: [203.0.113.0/24]}
services:
  web: {tcp: [80, 443]}
  ping: {icmp: [echo-request], icmpv6: [echo-request]}
exchange_points:
  EX-17: {from: internet, to: outer, hosts: [www-1], service: web, owner: "public site"}
  EX-18: {from: inner, to: outer, hosts: [www-1], service: web, owner: "public site"}
flows:
  - {from: inner, to: oa-web, service: web}
  - {from: inner, to: inner, service: ping}
invariants:
  INV-01: {always: [inner, oa-web], service: web}
  INV-02: {always: [inner, inner], service: ping}
  INV-03: {always: [inner, www-1], service: web}
  INV-04: {always: [internet, www-1], service: web}
hosts:
  oa-17: {zone: inner, addresses: [10.1.7.20, "fd00:1::7:20"]}
  oa-web: {zone: inner, addresses: [10.1.3.10, "fd00:1::3:10"]}
  www-1: {zone: outer, addresses: [172.20.1.10]}
  fw-1: {zone: outer, addresses: [172.20.0.1, 10.1.0.1, 203.0.113.2], forwards: true}
"#;

const FROM_INSIDE: &str =
    "-A FORWARD -s 10.1.0.0/16 -d 172.20.1.10/32 -p tcp -m multiport --dports 80,443 -j ACCEPT";
const FROM_OUTSIDE: &str =
    "-A FORWARD -i exit -d 172.20.1.10/32 -p tcp -m multiport --dports 80,443 -j ACCEPT";
const TRANSLATED: &str = "-A PREROUTING -i exit -d 203.0.113.2/32 -p tcp -m multiport --dports 80,443 -j DNAT --to-destination 172.20.1.10";

fn name(name: &str) -> HostName {
    name.parse().unwrap()
}

fn host(zone: &str, addresses: &[(&str, &str)], routes: &[&str]) -> Host {
    let (mut text, mut ways) = (String::new(), String::new());
    for (number, (interface, address)) in (2..).zip(addresses) {
        let family = if address.contains(':') { "inet6" } else { "inet" };
        text.push_str(&format!(
            "{number}: {interface}    {family} {address} scope global {interface}\n"
        ));
        let network: ipnet::IpNet = address.parse().unwrap();
        let pref = if address.contains(':') { " pref medium" } else { "" };
        ways.push_str(&format!("{} dev {interface}{pref}\n", network.trunc()));
    }
    for route in routes {
        ways.push_str(&format!("{route}\n"));
    }
    let mut network = Network::default();
    network.add_addresses(&text).unwrap();
    network.add_routes(&ways).unwrap();
    Host { zone: Some(zone.parse().unwrap()), network, ..Host::default() }
}

fn filtered(mut host: Host, text: &str, v6: bool) -> Host {
    let mut read = save::parse(text).unwrap();
    for table in &mut read.tables {
        table.family = if v6 { Family::Ip6 } else { Family::Ip };
    }
    Arc::make_mut(&mut host.ruleset).tables.append(&mut read.tables);
    host
}

/// The site with these rules on its gateway, where everything else is dropped.
fn site(forward: &[&str], nat: &[&str]) -> Site {
    let gateway = host(
        "outer",
        &[("outer", "172.20.0.1/16"), ("inner", "10.1.0.1/16"), ("exit", "203.0.113.2/24")],
        &["default via 203.0.113.1 dev exit"],
    );
    let filter = format!("*filter\n:FORWARD DROP [0:0]\n{}\nCOMMIT\n", forward.join("\n"));
    let nat = format!("*nat\n:PREROUTING ACCEPT [0:0]\n{}\nCOMMIT\n", nat.join("\n"));
    let gateway =
        Host { forwards_v4: true, ..filtered(filtered(gateway, &filter, false), &nat, false) };
    let inner =
        |v4, v6| host("inner", &[("eth0", v4), ("eth0", v6)], &["default via 10.1.0.1 dev eth0"]);
    let hosts = BTreeMap::from([
        (name("fw-1"), gateway),
        (name("oa-17"), inner("10.1.7.20/16", "fd00:1::7:20/48")),
        (name("oa-web"), inner("10.1.3.10/16", "fd00:1::3:10/48")),
        (
            name("www-1"),
            host("outer", &[("eth0", "172.20.1.10/16")], &["default via 172.20.0.1 dev eth0"]),
        ),
    ]);
    Site { policy: Policy::parse("policy.yaml", POLICY).unwrap(), hosts, links: Vec::new() }
}

fn answer(site: Site, invariant: &str) -> Answer {
    Prover::new(site).invariant(invariant).unwrap().answer
}

fn broken(site: Site, invariant: &str) -> Breach {
    match answer(site, invariant) {
        Answer::Broken(breach) => *breach,
        other => panic!("{other:?}"),
    }
}

/// The way of a packet and its end.
fn told(breach: &Breach) -> String {
    let hops = breach.path.iter().map(|hop| hop.host.as_ref().unwrap().as_str());
    let way: Vec<&str> = hops.collect();
    format!("{}\n{}\n{}", breach.packet, way.join(" > "), breach.end.in_lang(Lang::En))
}

#[test]
fn what_nothing_hinders_is_proved_with_what_it_rests_on() {
    for invariant in ["INV-01", "INV-02"] {
        let Answer::Proved { assumptions } = answer(site(&[], &[]), invariant) else {
            panic!("{invariant}");
        };
        assert!(assumptions.contains(&Assumption::AnswersComeBack));
    }
}

#[test]
fn a_host_that_closes_its_own_output_is_found_with_its_rule() {
    let mut all = site(&[], &[]);
    let closed =
        "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp -m tcp --dport 443 -j REJECT\nCOMMIT\n";
    let oa_17 = all.hosts[&name("oa-17")].clone();
    all.hosts.insert(name("oa-17"), filtered(oa_17, closed, true));
    insta::assert_snapshot!(told(&broken(all, "INV-01")));
}

#[test]
fn a_receiver_that_takes_only_one_of_the_ports_is_found() {
    let mut all = site(&[], &[]);
    let half = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n";
    let oa_web = all.hosts[&name("oa-web")].clone();
    all.hosts.insert(name("oa-web"), filtered(oa_web, half, false));
    let breach = broken(all, "INV-01");
    assert_eq!(breach.packet.dport, Some(80));
    insta::assert_snapshot!(told(&breach));
}

#[test]
fn what_a_gateway_lets_through_is_proved_and_what_it_does_not_is_found() {
    assert!(matches!(answer(site(&[FROM_INSIDE], &[]), "INV-03"), Answer::Proved { .. }));
    insta::assert_snapshot!(told(&broken(site(&[], &[]), "INV-03")));
    let still = site(&[FROM_INSIDE], &[]);
    let gateway = Host { forwards_v4: false, ..still.hosts[&name("fw-1")].clone() };
    let mut still = still;
    still.hosts.insert(name("fw-1"), gateway);
    assert_eq!(broken(still, "INV-03").end.in_lang(Lang::En), "fw-1 does not forward");
}

#[test]
fn a_host_without_a_route_is_found() {
    let mut all = site(&[FROM_INSIDE], &[]);
    all.hosts.insert(name("oa-17"), host("inner", &[("eth0", "10.1.7.20/16")], &[]));
    let breach = broken(all, "INV-03");
    assert_eq!(breach.end.in_lang(Lang::En), "oa-17 has no route to 172.20.1.10");
}

#[test]
fn a_rule_that_may_let_it_through_or_not_leaves_it_open_and_is_named() {
    let rule = FROM_INSIDE.replace("-j ACCEPT", "-m set --match-set staff src -j ACCEPT");
    let Answer::OutOfModel(doubt) = answer(site(&[&rule], &[]), "INV-03") else { panic!() };
    assert!(doubt.statement.contains("staff"), "{doubt:?}");
    assert!(doubt.at.as_deref().unwrap().starts_with("fw-1: ip filter FORWARD"), "{doubt:?}");
}

#[test]
fn a_host_that_could_not_be_read_leaves_it_open() {
    let mut all = site(&[], &[]);
    all.hosts.get_mut(&name("oa-web")).unwrap().unread = vec!["its rules are not known".into()];
    let Answer::OutOfModel(doubt) = answer(all, "INV-01") else { panic!() };
    assert_eq!(
        (&*doubt.statement, doubt.at.as_deref()),
        ("its rules are not known", Some("oa-web"))
    );
}

#[test]
fn the_internet_reaches_a_service_by_the_address_that_a_gateway_translates() {
    assert!(matches!(
        answer(site(&[FROM_OUTSIDE], &[TRANSLATED]), "INV-04"),
        Answer::Proved { .. }
    ));
    let breach = broken(site(&[], &[TRANSLATED]), "INV-04");
    assert_eq!(breach.path[0].host, Some(name("fw-1")));
    // Some of the Internet is not all of it.
    let half = FROM_OUTSIDE.replace("-i exit", "-i exit -s 198.51.100.0/24");
    let breach = broken(site(&[&half], &[TRANSLATED]), "INV-04");
    assert!(!breach.packet.src.to_string().starts_with("198.51.100."), "{}", told(&breach));
}

#[test]
fn nobody_to_ask_is_no_proof() {
    let mut all = site(&[], &[]);
    all.hosts.remove(&name("oa-web"));
    let Answer::OutOfModel(doubt) = answer(all, "INV-01") else { panic!() };
    assert_eq!(doubt.statement, "no host of oa-web is known");
}

#[test]
fn routers_that_send_a_packet_to_each_other_are_found() {
    let mut all = site(&[FROM_INSIDE], &[]);
    // The gateway sends what is for the public site back to the office.
    let gateway = all.hosts[&name("fw-1")].clone();
    let mut back = Network::default();
    back.add_addresses(
        "2: outer    inet 172.30.0.1/16 scope global outer\n3: inner    inet 10.1.0.1/16 scope global inner\n",
    )
    .unwrap();
    back.add_routes("10.1.0.0/16 dev inner\n172.20.0.0/16 via 10.1.7.20 dev inner\n").unwrap();
    all.hosts.insert(name("fw-1"), Host { network: back, ..gateway });
    let router = Host { forwards_v4: true, ..all.hosts[&name("oa-17")].clone() };
    all.hosts.insert(name("oa-17"), router);
    let breach = broken(all, "INV-03");
    assert!(breach.end.en.starts_with("it goes round between routers"), "{}", told(&breach));
    let [first, second] = [&breach.path[0], &breach.path[1]].map(|hop| hop.host.clone());
    assert_eq!((first, second), (Some(name("oa-17")), Some(name("fw-1"))));
}

/// What is known of it that an office machine opens the web of the Internet by a gateway with this route.
fn to_the_internet(route: Option<&str>) -> Answer {
    answer(office_to_the_internet(route), "INV-01")
}

fn office_to_the_internet(route: Option<&str>) -> Site {
    let policy = POLICY
        .replace("INV-01: {always: [inner, oa-web]", "INV-01: {always: [oa-17, internet]")
        .replace(
            "  EX-17:",
            "  EX-16: {from: inner, to: internet, hosts: [oa-17], service: web, owner: \"office\"}\n  EX-17:",
        );
    let mut all = site(&["-A FORWARD -s 10.1.0.0/16 -o exit -j ACCEPT"], &[]);
    all.policy = Policy::parse("policy.yaml", &policy).unwrap_or_else(|why| panic!("{why}"));
    // Without an address of IPv6, for which there is no gateway.
    let oa_17 = host("inner", &[("eth0", "10.1.7.20/16")], &["default via 10.1.0.1 dev eth0"]);
    all.hosts.insert(name("oa-17"), oa_17);
    let gateway = all.hosts.get_mut(&name("fw-1")).unwrap();
    let mut network = Network::default();
    network
        .add_addresses(
            "2: inner    inet 10.1.0.1/16 scope global inner\n3: exit    inet 203.0.113.2/32 scope global exit\n",
        )
        .unwrap();
    if let Some(route) = route {
        network.add_routes(&format!("10.1.0.0/16 dev inner\n{route}\n")).unwrap();
    }
    gateway.network = network;
    all
}

/// The same site with a bridge on the line of the gateway to the Internet, and what it does with frames.
fn behind_a_bridge(site: Site, policy: &str) -> Site {
    let port =
        |host: &str, interface: &str| Port { host: name(host), interface: interface.to_owned() };
    let mut all = site;
    let mut bridge = Host::default();
    let up = "2: br0: <BROADCAST,UP> mtu 1500 state UP\n3: eth0: <BROADCAST,UP> mtu 1500 state UP\n4: eth1: <BROADCAST,UP> mtu 1500 state UP\n";
    bridge.network.add_addresses(up).unwrap();
    bridge.network.add_routes("").unwrap();
    let chain = serde_json::json!({"nftables": [
        {"table": {"family": "bridge", "name": "f"}},
        {"chain": {
            "family": "bridge", "table": "f", "name": "forward", "type": "filter", "hook": "forward",
            "prio": 0, "policy": policy,
        }},
    ]});
    Arc::make_mut(&mut bridge.ruleset).join(nft::parse(&chain.to_string()).unwrap());
    let ports = ["eth0", "eth1"].map(str::to_owned).into_iter().collect();
    bridge.bridges = vec![Bridge { device: "br0".to_owned(), ports }];
    all.hosts.insert(name("fw-0"), bridge);
    all.links.push([port("fw-0", "eth1"), port("fw-1", "exit")].into_iter().collect());
    all
}

#[test]
fn what_crosses_a_bridge_that_filters_on_the_line_to_the_internet_is_not_sure() {
    let from = || site(&[FROM_OUTSIDE], &[TRANSLATED]);
    let to = || office_to_the_internet(Some("default via 203.0.113.1 dev exit"));
    for (whole, invariant) in [(from(), "INV-04"), (to(), "INV-01")] {
        let open = answer(behind_a_bridge(whole.clone(), "accept"), invariant);
        assert!(matches!(open, Answer::Proved { .. }), "{open:?}");
        let filtered = answer(behind_a_bridge(whole, "drop"), invariant);
        assert!(matches!(filtered, Answer::OutOfModel(_)), "{filtered:?}");
    }
}

#[test]
fn a_line_to_the_internet_that_is_not_known_to_be_one_leaves_it_open() {
    let known = to_the_internet(Some("default via 203.0.113.1 dev exit"));
    assert!(matches!(known, Answer::Proved { .. }), "{known:?}");
    let Answer::OutOfModel(doubt) = to_the_internet(Some("default dev exit")) else { panic!() };
    assert_eq!(doubt.statement, "whether exit leads to the Internet is not known");
    assert_eq!(doubt.at.as_deref(), Some("fw-1"));
    let Answer::OutOfModel(doubt) = to_the_internet(None) else { panic!() };
    assert_eq!(doubt.statement, "where it routes packets is not known");
    let none = to_the_internet(Some("10.9.0.0/16 dev inner"));
    assert!(matches!(none, Answer::Broken(_)), "{none:?}");
}
