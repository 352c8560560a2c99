//! Proofs of small sites: what holds is proved, what does not is shown in one packet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bailey_rules::model::network::Network;
use bailey_rules::model::save;
use bailey_rules::name::HostName;
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::device::Device;
use bailey_rules::prove::site::told::{self, Proof, Standing};
use bailey_rules::prove::site::{
    Answer, Assumption, Breach, Bridge, Changes, Host, Port, Prover, ReversePath, Site,
};
use bailey_rules::text::Lang;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

pub(crate) const POLICY: &str = r#"
site: jiaxing
zones:
  inner:    {name: 内网, networks: [10.1.0.0/16, "fd00:1::/48"]}
  outer:    {name: 外网, networks: [172.20.0.0/16, "fd00:2::/48"]}
  exchange: {name: 交换区, networks: [10.250.0.0/24]}
services:
  web: {tcp: [80, 443]}
exchange_points:
  EX-1: {from: outer, to: exchange, hosts: [ex-front], service: web, owner: "information centre"}
flows:
  - {from: inner, to: inner, service: web}
invariants:
  INV-01: {never: [outer, inner]}
  INV-02: {only: [outer, exchange], through: [EX-1]}
  INV-03: {never: [inner, internet]}
hosts:
  ex-front: {zone: exchange, addresses: [10.250.0.10]}
  fw-1: {zone: exchange, addresses: [10.250.0.1, 10.1.0.1, 172.20.0.1], forwards: true}
"#;

/// Everything is dropped on its way through, of both versions.
pub(crate) const CLOSED: &str = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n";

pub(crate) fn name(name: &str) -> HostName {
    name.parse().unwrap()
}

pub(crate) fn host(zone: &str, addresses: &[(&str, &str)], default: Option<&str>) -> Host {
    let mut text = String::new();
    for (number, (interface, address)) in (2..).zip(addresses) {
        let family = if address.contains(':') { "inet6" } else { "inet" };
        text.push_str(&format!(
            "{number}: {interface}    {family} {address} scope global {interface}\n"
        ));
    }
    let mut routes = String::new();
    for (interface, address) in addresses {
        let network: ipnet::IpNet = address.parse().unwrap();
        let pref = if address.contains(':') { " pref medium" } else { "" };
        routes.push_str(&format!("{} dev {interface}{pref}\n", network.trunc()));
    }
    if let Some(default) = default {
        routes.push_str(&format!("default via {default}\n"));
    }
    let mut network = Network::default();
    network.add_addresses(&text).unwrap();
    network.add_routes(&routes).unwrap();
    Host { zone: Some(zone.parse().unwrap()), network, ..Host::default() }
}

pub(crate) fn filtered(host: Host, listings: &[(&str, bool)]) -> Host {
    let mut host = host;
    for (text, v6) in listings {
        let mut read = save::parse(text).unwrap();
        if *v6 {
            for table in &mut read.tables {
                table.family = bailey_rules::model::ruleset::Family::Ip6;
            }
        }
        Arc::make_mut(&mut host.ruleset).tables.append(&mut read.tables);
    }
    host
}

pub(crate) fn gateway(v4: &str, v6: &str) -> Host {
    let all = [
        ("eth0", "172.20.0.1/16"),
        ("eth0", "fd00:2::1/64"),
        ("eth1", "10.1.0.1/16"),
        ("eth1", "fd00:1::1/64"),
        ("eth2", "10.250.0.1/24"),
    ];
    // What is for the gateway itself is no matter of these tests.
    let own = "*security\n:INPUT DROP [0:0]\nCOMMIT\n";
    let listings = [(own, false), (own, true), (v4, false), (v6, true)];
    let host = filtered(host("exchange", &all, None), &listings);
    Host { forwards_v4: true, forwards_v6: true, ..host }
}

pub(crate) fn site(gateway: Host) -> Site {
    let hosts = BTreeMap::from([
        (name("fw-1"), gateway),
        (name("oa-17"), host("inner", &[("eth0", "10.1.7.20/16"), ("eth0", "fd00:1::7/64")], None)),
        (name("www-1"), host("outer", &[("eth0", "172.20.1.10/16")], None)),
        (name("ex-front"), host("exchange", &[("eth0", "10.250.0.10/24")], None)),
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

fn told(breach: &Breach) -> String {
    let mut lines = vec![breach.packet.to_string()];
    for hop in &breach.path {
        let host = hop.host.as_ref().map_or("-", HostName::as_str);
        let (input, output) = (hop.input.as_deref(), hop.output.as_deref());
        lines.push(format!(
            "{host} {} {}: {}",
            input.unwrap_or("-"),
            output.unwrap_or("-"),
            hop.packet
        ));
        for decides in &hop.deciding {
            let rule = decides.rule.as_ref().map_or("policy", |rule| &rule.text);
            lines.push(format!("  {} {} {}: {rule}", decides.hook, decides.table, decides.chain));
        }
    }
    lines.push(breach.end.in_lang(Lang::En).to_owned());
    lines.extend(
        breach.cuts.iter().map(|cut| format!("{}: {}", cut.host, cut.what.in_lang(Lang::En))),
    );
    lines.join("\n")
}

fn is_proved(answer: &Answer) -> bool {
    matches!(answer, Answer::Proved { .. })
}

#[test]
fn a_gateway_that_filters_nothing_is_a_way_in() {
    insta::assert_snapshot!(told(&broken(site(gateway("", "")), "INV-01")));
}

#[test]
fn a_gateway_that_drops_everything_is_none() {
    let all = site(gateway(CLOSED, CLOSED));
    let Answer::Proved { assumptions } = answer(all, "INV-01") else { panic!() };
    assert!(assumptions.contains(&Assumption::NoUnknownRouters));
    assert!(!assumptions.iter().any(|one| matches!(one, Assumption::NoForgedSources(_))));
}

#[test]
fn a_filter_that_forgets_ipv6_is_found() {
    let breach = broken(site(gateway(CLOSED, "")), "INV-01");
    assert!(breach.packet.src.is_ipv6() && breach.packet.dst.is_ipv6(), "{}", told(&breach));
}

#[test]
fn a_forgotten_accept_is_named_with_its_text_and_is_the_cut() {
    let text = "*filter\n:FORWARD DROP [0:0]\n\
        -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A FORWARD -s 172.20.0.0/16 -d 10.1.7.20/32 -p tcp -m tcp --dport 3389 -m comment --comment \"until friday\" -j ACCEPT\n\
        COMMIT\n";
    insta::assert_snapshot!(told(&broken(site(gateway(text, CLOSED)), "INV-01")));
}

#[test]
fn a_translation_that_opens_a_way_is_found() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n\
        -A PREROUTING -d 172.20.0.1/32 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 10.1.7.20:443\n\
        COMMIT\n*filter\n:FORWARD DROP [0:0]\n\
        -A FORWARD -d 10.1.0.0/16 -m conntrack --ctstate DNAT -j ACCEPT\nCOMMIT\n";
    insta::assert_snapshot!(told(&broken(site(gateway(text, CLOSED)), "INV-01")));
}

#[test]
fn a_host_that_is_plugged_into_both_zones_is_found_unless_it_takes_nothing() {
    let mut both = site(gateway(CLOSED, CLOSED));
    let dual = || host("inner", &[("eth0", "10.1.7.20/16"), ("usb0", "172.20.9.9/16")], None);
    both.hosts.insert(name("oa-17"), dual());
    let breach = broken(both.clone(), "INV-01");
    assert_eq!(breach.path.last().unwrap().host, Some(name("oa-17")), "{}", told(&breach));
    assert_eq!(breach.path.last().unwrap().input.as_deref(), Some("usb0"));
    let deaf = "*filter\n:INPUT DROP [0:0]\n-A INPUT -i eth0 -j ACCEPT\nCOMMIT\n";
    both.hosts.insert(name("oa-17"), filtered(dual(), &[(deaf, false), (deaf, true)]));
    assert!(is_proved(&answer(both.clone(), "INV-01")));
    // It forwards as well: then it is a way for all the others.
    let forwards = Host { forwards_v4: true, ..filtered(dual(), &[(deaf, false), (deaf, true)]) };
    both.hosts.insert(name("oa-17"), forwards);
    let breach = broken(both, "INV-01");
    assert_eq!(breach.path[0].host, Some(name("oa-17")), "{}", told(&breach));
}

#[test]
fn a_bridge_between_the_zones_makes_them_one_wire() {
    let mut all = site(gateway(CLOSED, CLOSED));
    let bridge = Bridge { device: "eth0".into(), ports: BTreeSet::from(["usb0".into()]) };
    let host = host("inner", &[("eth0", "10.1.7.20/16"), ("usb0", "172.20.9.9/16")], None);
    let deaf = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n";
    let host = filtered(host, &[(deaf, false), (deaf, true)]);
    all.hosts.insert(name("oa-17"), Host { bridges: vec![bridge], ..host });
    insta::assert_snapshot!(told(&broken(all, "INV-01")));
}

#[test]
fn what_is_not_understood_is_neither_proved_nor_broken() {
    let text = "*filter\n:FORWARD DROP [0:0]\n\
        -A FORWARD -d 10.1.0.0/16 -m set --match-set partners src -j ACCEPT\nCOMMIT\n";
    let Answer::OutOfModel(doubt) = answer(site(gateway(text, CLOSED)), "INV-01") else { panic!() };
    assert!(doubt.statement.contains("partners"), "{doubt:?}");
    assert!(doubt.at.as_deref().unwrap().starts_with("fw-1: ip filter FORWARD"), "{doubt:?}");
    assert!(doubt.perhaps.is_some());
}

#[test]
fn a_forged_source_is_told_as_what_the_proof_rests_on() {
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -s 10.1.0.0/16 -j ACCEPT\nCOMMIT\n";
    let open = gateway(text, CLOSED);
    let Answer::Proved { assumptions } = answer(site(open.clone()), "INV-01") else { panic!() };
    let forged = assumptions.iter().find_map(|one| match one {
        Assumption::NoForgedSources(packet) => Some(packet),
        _ => None,
    });
    assert!(forged.unwrap().src.to_string().starts_with("10.1."), "{forged:?}");
    let strict = [("eth0", ReversePath::Strict)].map(|(at, what)| (at.to_owned(), what));
    let strict = Host { reverse_path: strict.into(), ..open };
    let Answer::Proved { assumptions } = answer(site(strict), "INV-01") else { panic!() };
    assert!(!assumptions.iter().any(|one| matches!(one, Assumption::NoForgedSources(_))));
}

#[test]
fn an_exchange_point_is_the_only_way_and_no_more_than_it_says() {
    let ways = |rule: &str| format!("*filter\n:FORWARD DROP [0:0]\n{rule}\nCOMMIT\n");
    let point = "-A FORWARD -s 172.20.0.0/16 -d 10.250.0.10/32 -p tcp -m multiport --dports 80,443 -j ACCEPT";
    let proved = answer(site(gateway(&ways(point), CLOSED)), "INV-02");
    assert!(is_proved(&proved), "{proved:?}");
    let wider = point.replace("80,443", "80,443,22");
    let breach = broken(site(gateway(&ways(&wider), CLOSED)), "INV-02");
    assert_eq!(breach.packet.dport, Some(22), "{}", told(&breach));
}

#[test]
fn a_host_with_a_way_to_the_internet_is_found_though_nobody_knows_the_router() {
    let mut all = site(gateway(CLOSED, CLOSED));
    assert!(is_proved(&answer(all.clone(), "INV-03")));
    let modem = host(
        "inner",
        &[("eth0", "10.1.7.20/16"), ("wwan0", "100.64.3.4/24")],
        Some("100.64.3.1 dev wwan0"),
    );
    all.hosts.insert(name("oa-17"), modem);
    let breach = broken(all, "INV-03");
    assert!(
        told(&breach).ends_with("switch forwarding off")
            || breach.end.in_lang(Lang::En).contains("100.64.3.1"),
        "{}",
        told(&breach)
    );
    assert_eq!(breach.path[0].host, Some(name("oa-17")));
}

#[test]
fn only_what_depends_on_a_changed_host_is_proved_again() {
    let mut prover = Prover::new(site(gateway(CLOSED, CLOSED)));
    assert!(prover.prove().iter().all(|result| is_proved(&result.answer)));
    // A host that no proof looked at.
    let mut other = prover.site().hosts[&name("www-1")].clone();
    other.ruleset = Arc::new(save::parse(CLOSED).unwrap());
    let looked_at = prover.invariant("INV-01").unwrap().hosts;
    assert!(!looked_at.contains(&name("www-1")), "{looked_at:?}");
    assert!(looked_at.contains(&name("fw-1")));
    prover.update(&name("www-1"), other);
    assert!(prover.prove().iter().all(|result| is_proved(&result.answer)));
    // The gateway opens, and closes again.
    prover.update(&name("fw-1"), gateway("", CLOSED));
    assert!(!is_proved(&prover.invariant("INV-01").unwrap().answer));
    prover.update(&name("fw-1"), gateway(CLOSED, CLOSED));
    assert!(is_proved(&prover.invariant("INV-01").unwrap().answer));
}

#[test]
fn a_proof_that_would_be_too_large_says_so() {
    let mut prover = Prover::within(site(gateway("", "")), 500);
    let Answer::OutOfModel(doubt) = prover.invariant("INV-01").unwrap().answer else { panic!() };
    assert!(doubt.statement.contains("500 nodes"), "{doubt:?}");
}

fn device(more: &str) -> Result<Host, String> {
    let text = format!(
        r#"{{"zone": "exchange", "forwards": true,
            "interfaces": {{"vlan10": ["10.1.0.254/16"], "vlan20": ["172.20.0.254/16"]}}{more}}}"#
    );
    let device: Device = serde_json::from_str(&text).map_err(|why| why.to_string())?;
    device.host().map_err(|why| why.to_string())
}

#[test]
fn a_declared_device_is_a_way_as_far_as_its_filter_lets_it() {
    let with = |more: &str| {
        let mut all = site(gateway(CLOSED, CLOSED));
        all.hosts.insert(name("core-1"), device(more).unwrap());
        all
    };
    let breach = broken(with(""), "INV-01");
    assert_eq!(breach.path[0].host, Some(name("core-1")), "{}", told(&breach));
    // Its own address in the inner network is reached, though nothing passes through.
    let own = with(r#", "filter": ["deny ip", "permit ip"]"#);
    let breach = broken(own.clone(), "INV-01");
    assert!(breach.packet.dst.to_string() == "10.1.0.254", "{}", told(&breach));
    let mut deaf = own;
    let host = deaf.hosts.get_mut(&name("core-1")).unwrap();
    Arc::make_mut(&mut host.ruleset)
        .tables
        .extend(save::parse("*filter\n:INPUT DROP [0:0]\nCOMMIT\n").unwrap().tables);
    assert!(is_proved(&answer(deaf.clone(), "INV-01")));
    let filter = r#", "filter": ["deny udp", "permit tcp from 172.20.0.0/16 to 10.1.7.0/24 port 5000-5001 in vlan20"]"#;
    let host = device(filter).unwrap();
    let core = deaf.hosts.get_mut(&name("core-1")).unwrap();
    Arc::make_mut(&mut core.ruleset).tables[0] = host.ruleset.tables[0].clone();
    let breach = broken(deaf, "INV-01");
    assert!(matches!(breach.packet.dport, Some(5000 | 5001)), "{}", told(&breach));
    assert!(told(&breach).contains("permit tcp from 172.20.0.0/16"), "{}", told(&breach));
}

#[test]
fn a_declaration_that_is_not_understood_is_refused_with_its_line() {
    for (line, why) in [
        ("allow ip", "permit or deny"),
        ("permit sctp", "ip, tcp, udp or icmp"),
        ("permit ip port 80", "port is not understood"),
        ("permit tcp port 80-79", "no port and no range"),
        ("permit tcp port 65536", "no port and no range"),
        ("permit ip from 10.1.0.0/33", "neither a network nor any"),
        ("permit ip from 10.1.0.0/16 to fd00::/8", "two versions"),
        ("permit ip from", "nothing stands behind from"),
        ("permit ip in averylonginterfacename", "no interface"),
        ("", "permit or deny"),
    ] {
        let refused = device(&format!(r#", "filter": ["permit ip", "{line}"]"#)).unwrap_err();
        assert!(refused.starts_with("line 2 ") && refused.contains(why), "{line}: {refused}");
    }
    assert!(
        device(r#", "routes": ["default by magic"]"#)
            .is_ok_and(|host| { host.network.routes.is_some() })
    );
    assert!(device(r#", "routes": ["via"]"#).unwrap_err().contains("its routes"));
    assert!(device(r#", "filters": []"#).unwrap_err().contains("filters"));
    let both = device(r#", "filter": ["permit icmp", "permit icmp to fd00:1::/48"]"#).unwrap();
    assert_eq!(both.ruleset.tables[0].chains[0].rules.len(), 3, "ICMP of both versions, or of one");
}

/// A host by chance: with some of these addresses, one of these filters, and settings.
fn any_host() -> impl Strategy<Value = Host> {
    let addresses = vec![
        ("eth0", "10.1.7.20/16"),
        ("eth1", "172.20.1.10/16"),
        ("eth2", "10.250.0.10/24"),
        ("eth3", "192.0.2.7/24"),
        ("eth4", "fd00:1::7/64"),
    ];
    let filters = select(vec![
        None,
        Some(CLOSED),
        Some("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n"),
        Some("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -s 10.1.0.0/16 -j ACCEPT\nCOMMIT\n"),
        Some(
            "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m set --match-set x src -j ACCEPT\nCOMMIT\n",
        ),
    ]);
    let default = select(vec![None, Some("192.0.2.1 dev eth3"), Some("10.250.0.1 dev eth2")]);
    let zone = select(vec!["inner", "outer", "exchange"]);
    (subsequence(addresses, 1..=3), filters, default, zone, any::<(bool, bool, bool)>()).prop_map(
        |(addresses, filter, default, zone, (v4, v6, bridged))| {
            let host = host(zone, &addresses, default);
            let host = match filter {
                Some(filter) => filtered(host, &[(filter, false), (filter, true)]),
                None => host,
            };
            let mut all = addresses.iter().map(|(interface, _)| (*interface).to_owned());
            let device = all.next().unwrap();
            let bridge = Bridge { device, ports: all.collect() };
            let bridges = if bridged { vec![bridge] } else { Vec::new() };
            Host { forwards_v4: v4, forwards_v6: v6, bridges, ..host }
        },
    )
}

/// What is known, without the packet that is shown for it: which of several is shown may depend on the
/// order in which they were found.
fn gist(prover: &mut Prover) -> Vec<String> {
    let told = |answer: &Answer| match answer {
        Answer::Proved { assumptions } => {
            let names: Vec<&str> = assumptions.iter().map(Assumption::name).collect();
            format!("proved if {}", names.join(", "))
        }
        Answer::Broken(_) => "broken".to_owned(),
        Answer::OutOfModel(_) => "out of model".to_owned(),
    };
    let results = prover.prove();
    results.iter().map(|one| format!("{} {}", one.invariant, told(&one.answer))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn a_site_that_has_changed_step_by_step_is_known_as_one_that_is_proved_afresh(
        edits in prop::collection::vec((0_usize..5, prop::option::weighted(0.9, any_host())), 1..8),
    ) {
        let names = ["fw-1", "oa-17", "www-1", "ex-front", "gw-2"].map(name);
        let mut prover = Prover::new(site(gateway(CLOSED, CLOSED)));
        prover.prove();
        for (nth, host) in edits {
            match host {
                Some(host) => prover.update(&names[nth], host),
                None => prover.remove(&names[nth]),
            }
            let mut fresh = Prover::new(prover.site().clone());
            prop_assert_eq!(gist(&mut prover), gist(&mut fresh), "{:?}", names[nth]);
        }
    }
}

/// The filters that hosts of one site may have.
fn any_filter() -> impl Strategy<Value = &'static str> {
    select(vec![
        "",
        CLOSED,
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n",
        "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -s 10.1.0.0/16 -j ACCEPT\n\
            -A FORWARD -d 10.250.0.10/32 -p tcp -m multiport --dports 80,443 -j ACCEPT\nCOMMIT\n",
        "*filter\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n",
        "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8443 -j DNAT --to-destination 10.1.7.20:443\n\
            COMMIT\n*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n",
    ])
}

/// A site of three zones with what must not be, what may be at most, and what must be possible.
fn with_leaves(filters: &[&str; 5]) -> Site {
    let more = "  INV-04: {always: [inner, oa-web], service: web}\n  INV-05: {never: [exchange, inner]}\nhosts:\n  \
        oa-web: {zone: inner, addresses: [10.1.3.10]}\n";
    let policy = POLICY.replace("hosts:\n", more);
    let policy = Policy::parse("policy.yaml", &policy).unwrap_or_else(|why| panic!("{why}"));
    let mut all = site(gateway(filters[0], CLOSED));
    let hosts = [
        ("oa-17", host("inner", &[("eth0", "10.1.7.20/16"), ("usb0", "172.20.9.9/16")], None)),
        ("oa-web", host("inner", &[("eth0", "10.1.3.10/16")], None)),
        ("www-1", host("outer", &[("eth0", "172.20.1.10/16")], None)),
        ("ex-front", host("exchange", &[("eth0", "10.250.0.10/24")], None)),
    ];
    for ((who, host), filter) in hosts.into_iter().zip(&filters[1..]) {
        all.hosts.insert(name(who), filtered(host, &[(filter, false)]));
    }
    Site { policy, ..all }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_site_whose_rules_have_changed_step_by_step_is_known_as_one_that_is_proved_afresh(
        first in prop::array::uniform5(any_filter()),
        edits in prop::collection::vec((0_usize..5, any_filter()), 1..6),
    ) {
        let names = ["fw-1", "oa-17", "oa-web", "www-1", "ex-front"].map(name);
        let mut filters = first;
        let mut prover = Prover::new(with_leaves(&filters));
        prover.prove();
        for (nth, filter) in edits {
            filters[nth] = filter;
            let now = with_leaves(&filters);
            prover.update(&names[nth], now.hosts[&names[nth]].clone());
            let mut fresh = Prover::new(now);
            prop_assert_eq!(gist(&mut prover), gist(&mut fresh), "{:?}", names[nth]);
            for (kept, afresh) in prover.prove().iter().zip(fresh.prove()) {
                prop_assert_eq!(&kept.hosts, &afresh.hosts, "{}", kept.invariant);
            }
        }
    }

    #[test]
    fn hosts_with_the_same_filters_are_known_as_those_that_have_their_own(
        filters in prop::array::uniform5(any_filter()),
    ) {
        let alike = with_leaves(&filters);
        let mut apart = alike.clone();
        // Chains that nobody enters tell the rulesets apart and nothing else.
        for (nth, host) in apart.hosts.values_mut().enumerate() {
            let mut text = "*filter\n".to_owned();
            (0..=nth).for_each(|nth| text.push_str(&format!(":unused{nth} - [0:0]\n")));
            let tables = save::parse(&format!("{text}COMMIT\n")).unwrap().tables;
            Arc::make_mut(&mut host.ruleset).tables.extend(tables);
        }
        prop_assert_eq!(gist(&mut Prover::new(alike)), gist(&mut Prover::new(apart)));
    }
}

#[test]
fn rules_of_a_host_at_which_nothing_ends_leave_what_is_proved() {
    let closed = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n";
    let mut prover = Prover::new(with_leaves(&[closed, closed, "", "", ""]));
    prover.prove();
    let looked_at = prover.invariant("INV-01").unwrap().hosts;
    assert!(looked_at.contains(&name("oa-17")), "{looked_at:?}");
    let mut with = |filter| {
        let now = with_leaves(&[closed, filter, "", "", ""]);
        prover.update(&name("oa-17"), now.hosts[&name("oa-17")].clone());
        assert!(prover.known("INV-01").is_none(), "nobody has looked at it again");
        prover.invariant("INV-01").unwrap()
    };
    let other = "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 127.0.0.0/8 -i lo -j ACCEPT\nCOMMIT\n";
    let result = with(other);
    assert!(is_proved(&result.answer) && result.hosts == looked_at, "{result:?}");
    assert!(matches!(with("").answer, Answer::Broken(_)));
    let result = with(closed);
    assert!(is_proved(&result.answer) && result.hosts == looked_at, "{result:?}");
}

#[test]
fn what_has_changed_at_once_is_known_as_in_a_site_that_is_proved_afresh() {
    let mut prover = Prover::new(site(gateway(CLOSED, CLOSED)));
    let known = |prover: &Prover| {
        let all = ["INV-01", "INV-02", "INV-03"];
        all.into_iter().filter(|one| prover.known(one).is_some()).collect::<Vec<_>>()
    };
    let port =
        |host: &str, interface: &str| Port { host: name(host), interface: interface.to_owned() };
    let usb = |host: &str| BTreeSet::from([port(host, "usb0"), port("ex-front", "usb0")]);
    let mut steps: Vec<(Changes, Vec<BTreeSet<Port>>)> = Vec::new();
    let lab =
        |address: &str| host("exchange", &[("eth0", address), ("usb0", "192.0.2.7/32")], None);
    steps.push((vec![(name("lab-1"), Some(lab("198.18.0.7/24")))], Vec::new()));
    steps.push((vec![(name("www-1"), None), (name("lab-1"), None)], Vec::new()));
    let both = host("outer", &[("eth0", "172.20.1.10/16"), ("usb0", "192.0.2.8/32")], None);
    let front = host("exchange", &[("eth0", "10.250.0.10/24"), ("usb0", "192.0.2.9/32")], None);
    let hosts = vec![(name("www-1"), Some(both)), (name("ex-front"), Some(front))];
    steps.push((hosts, vec![usb("www-1")]));
    steps.push((Vec::new(), vec![BTreeSet::from([port("www-1", "eth0"), port("oa-17", "eth0")])]));
    steps.push((Vec::new(), Vec::new()));
    for (nth, (hosts, links)) in steps.into_iter().enumerate() {
        prover.prove();
        prover.change(hosts, Some(links));
        let mut fresh = Prover::new(prover.site().clone());
        assert_eq!(gist(&mut prover), gist(&mut fresh), "step {nth}");
    }
    prover.prove();
    // What is linked as it was changes nothing.
    let links = prover.site().links.clone();
    prover.change(Vec::new(), Some(links));
    assert_eq!(known(&prover), ["INV-01", "INV-02", "INV-03"]);
}

#[test]
fn a_host_that_moves_far_from_what_was_looked_at_changes_no_result() {
    let lab = |address: &str| host("exchange", &[("eth0", address)], None);
    let mut all = site(gateway(CLOSED, CLOSED));
    all.hosts.insert(name("lab-1"), lab("198.18.0.7/24"));
    let mut prover = Prover::new(all);
    let known = |prover: &Prover| {
        let all = ["INV-01", "INV-02", "INV-03"];
        all.into_iter().filter(|one| prover.known(one).is_some()).collect::<Vec<_>>()
    };
    prover.prove();
    prover.update(&name("lab-1"), lab("198.18.5.7/24"));
    assert_eq!(known(&prover), ["INV-01", "INV-02", "INV-03"]);
    // On a wire that was looked at it changes what depends on that.
    prover.update(&name("lab-1"), lab("10.1.9.9/16"));
    assert_eq!(known(&prover), ["INV-01", "INV-02"]);
}

#[test]
fn a_proof_is_read_back_as_it_was_told() {
    let unread = Host { unread: vec!["not readable".to_owned()], ..gateway("", CLOSED) };
    for (gateway, answer) in [
        (gateway(CLOSED, CLOSED), "proved"),
        (gateway("", CLOSED), "broken"),
        (unread, "out_of_model"),
    ] {
        let result = Prover::new(site(gateway)).invariant("INV-01").unwrap();
        let told = Proof::of(&result);
        let text = serde_json::to_value(&told).unwrap();
        assert_eq!(text["answer"], answer);
        assert_eq!(serde_json::from_value::<Proof>(text).unwrap(), told);
    }
}

#[test]
fn only_what_is_fresh_is_proved_and_what_is_wrong_is_wrong_however_old() {
    let told = |gateway| Proof::of(&Prover::new(site(gateway)).invariant("INV-01").unwrap());
    let unread = Host { unread: vec!["not readable".to_owned()], ..gateway("", CLOSED) };
    for (proof, fresh, old) in [
        (told(gateway(CLOSED, CLOSED)), Standing::Proved, Standing::Stale),
        (told(gateway("", CLOSED)), Standing::Broken, Standing::Broken),
        (told(unread), Standing::OutOfModel, Standing::OutOfModel),
    ] {
        assert_eq!((proof.standing(true), proof.standing(false)), (fresh, old));
    }
}

#[test]
fn a_breach_is_stopped_where_its_first_cut_is() {
    let proof = Proof::of(&Prover::new(site(gateway("", ""))).invariant("INV-01").unwrap());
    let told::Answer::Broken { breach } = proof.answer else { panic!("{proof:?}") };
    assert_eq!(breach.at(), Some(&name("fw-1")));
    let uncut = told::Breach { cuts: Vec::new(), ..breach };
    assert_eq!(uncut.at(), Some(&name("fw-1")));
}

#[test]
fn a_mark_that_a_filter_sets_routes_nothing_again() {
    // Only chains of type route do (nft(8)): the mark comes too late for the rule that leads into nothing.
    let listing = |kind: &str| {
        let mark = serde_json::json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}});
        let all = serde_json::json!({"nftables": [
            {"table": {"family": "inet", "name": "f"}},
            {"chain": {"family": "inet", "table": "f", "name": "input", "type": "filter",
                       "hook": "input", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "inet", "table": "f", "name": "output", "type": kind, "hook": "output",
                       "prio": 0, "policy": "accept"}},
            {"rule": {"family": "inet", "table": "f", "chain": "output", "handle": 7, "expr": [mark]}},
        ]});
        bailey_rules::model::nft::parse(&all.to_string()).unwrap()
    };
    let answer_of = |kind: &str| {
        let mut both = host("outer", &[("eth0", "172.20.0.7/16"), ("eth1", "10.1.0.7/16")], None);
        both.network.add_routes("blackhole default table 100\n").unwrap();
        let rules = "0:\tfrom all lookup local\n1:\tfrom all fwmark 0x1 lookup 100\n\
                     32766:\tfrom all lookup main\n";
        both.network.add_routes(rules).unwrap();
        Arc::make_mut(&mut both.ruleset).join(listing(kind));
        let hosts = BTreeMap::from([
            (name("both"), both),
            (name("oa-17"), host("inner", &[("eth0", "10.1.7.20/16")], None)),
        ]);
        let policy = Policy::parse("policy.yaml", POLICY).unwrap();
        answer(Site { policy, hosts, links: Vec::new() }, "INV-01")
    };
    assert!(matches!(answer_of("filter"), Answer::Broken(_)), "{:?}", answer_of("filter"));
    assert!(matches!(answer_of("route"), Answer::Proved { .. }), "{:?}", answer_of("route"));
}
