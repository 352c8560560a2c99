//! Hosts of a proof, put together from what agents told: what is there is used, what is missing is said.

use std::collections::BTreeMap;

use bailey_rules::fact::firewall::{Ruleset, Table};
use bailey_rules::fact::links::{
    Forwarding, Interface, LinkKind, Mac, Mark, ReversePath, Route, RouteKind, Rule, RuleAction,
};
use bailey_rules::fact::{Fact, FactKind, ProbeName};
use bailey_rules::listing::{Listing, ListingDigest, ListingSource, Listings};
use bailey_rules::model::field::device;
use bailey_rules::model::network::Action;
use bailey_rules::name::HostName;
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::assemble::{
    Told, aged, assemble, awaits, facts_of, inputs, wires, without_agent,
};
use bailey_rules::prove::site::told::{self, Proof};
use bailey_rules::prove::site::{self, Host, Prover};
use bailey_rules::unit::Bytes;

use crate::site::{HOUR, NOW, Site, interface};

const POLICY: &str = "
site: jiaxing
zones:
  inner: {name: 内网, networks: [10.1.0.0/16, 'fd00:1::/48']}
  outer: {name: 外网, networks: [172.20.0.0/16]}
  exchange: {name: 交换区, networks: [10.250.0.0/24]}
invariants:
  INV-01: {never: [outer, inner]}
hosts:
  oa-17: {zone: exchange, addresses: [10.1.0.1, 172.20.0.1], forwards: true}
  oa-18: {zone: inner, addresses: [10.1.7.21]}
";

/// One table of Bailey's own as `nft -j list ruleset` prints it, which lets one service through.
const NFT: &str = r#"{"nftables": [
  {"metainfo": {"version": "1.0.6", "release_name": "x", "json_schema_version": 1}},
  {"table": {"family": "inet", "name": "bailey", "handle": 1}},
  {"chain": {"family": "inet", "table": "bailey", "name": "input", "handle": 1, "type": "filter",
             "hook": "input", "prio": 0, "policy": "drop"}},
  {"chain": {"family": "inet", "table": "bailey", "name": "forward", "handle": 2, "type": "filter",
             "hook": "forward", "prio": 0, "policy": "drop"}},
  {"rule": {"family": "inet", "table": "bailey", "chain": "forward", "handle": 118,
            "comment": "policy.yaml:14 flow 3",
            "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                                "right": 3389}}, {"accept": null}]}}
]}"#;

fn policy() -> Policy {
    Policy::parse("policy.yaml", POLICY).unwrap()
}

fn route(to: &str, via: Option<&str>, by: &str, kind: RouteKind) -> Route {
    Route {
        destination: to.parse().unwrap(),
        gateway: via.map(|via| via.parse().unwrap()),
        interface: Some(by.to_owned()),
        metric: 0,
        table: 254,
        carries: kind == RouteKind::Unicast,
        kind,
        source: None,
    }
}

fn rule(priority: u32, ipv6: bool, table: u32) -> Rule {
    Rule {
        priority,
        ipv6,
        not: false,
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        action: RuleAction::Table(table),
        unsure: false,
    }
}

fn ruleset(digest: &str, tables: usize) -> Ruleset {
    let table =
        || Table { family: "inet".into(), name: "bailey".into(), chains: 2, rules: 1, sets: 0 };
    Ruleset {
        tables: (0..tables).map(|_| table()).collect(),
        rules: 1,
        opaque_rules: 0,
        digest: digest.to_owned(),
        packets: 0,
        octets: Bytes(0),
        changed_by: None,
    }
}

/// A gateway between inner and outer that told everything.
fn gateway() -> Site {
    let mut site = Site::new();
    for kind in [FactKind::Interface, FactKind::Route, FactKind::Neighbour, FactKind::Ruleset] {
        site.remove_all(kind);
    }
    site.set("lo", interface(LinkKind::Loopback, "", &["127.0.0.1/8"]));
    site.set("eth0", interface(LinkKind::Ethernet, "e1000", &["172.20.0.1/16"]));
    site.set("eth1", interface(LinkKind::Ethernet, "e1000", &["10.1.0.1/16"]));
    site.set("172.20.0.0/16 dev eth0", route("172.20.0.0/16", None, "eth0", RouteKind::Unicast));
    site.set("10.1.0.0/16 dev eth1", route("10.1.0.0/16", None, "eth1", RouteKind::Unicast));
    for (priority, table) in [(32_767, 253), (0, 255), (32_766, 254)] {
        site.set(&format!("{priority}"), rule(priority, false, table));
    }
    site.set(
        "",
        Forwarding { ipv4: true, ipv6: false, interfaces: Vec::new(), bridged: Some(false) },
    );
    site.set("nftables", ruleset("d1", 1));
    site
}

fn listings(digest: &str, text: &str) -> Listings {
    let listing = Listing {
        digest: ListingDigest([1; 32]),
        ruleset: digest.to_owned(),
        received_at: NOW - HOUR,
        text: text.into(),
    };
    Listings([(ListingSource::Nftables, listing)].into())
}

/// The host that follows, with what is asked of it besides.
fn put_together(site: &Site, listings: &Listings) -> Host {
    let view = site.view();
    assemble(Told { view: &view, listings, unlisted: &BTreeMap::new() }, &policy())
}

fn unread(change: impl FnOnce(&mut Site)) -> String {
    let mut site = gateway();
    change(&mut site);
    put_together(&site, &listings("d1", NFT)).unread.join("; ")
}

fn proof(host: Host) -> Proof {
    let name: HostName = "oa-17".parse().unwrap();
    let site = site::Site { policy: policy(), hosts: [(name, host)].into(), links: Vec::new() };
    Proof::of(&Prover::new(site).invariant("INV-01").unwrap())
}

#[test]
fn what_an_agent_tells_becomes_what_a_proof_is_about() {
    let mut site = gateway();
    site.set("default via 172.20.0.254 dev eth0", {
        let mut route = route("0.0.0.0/0", Some("172.20.0.254"), "eth0", RouteKind::Unicast);
        route.source = Some("172.20.0.1".parse().unwrap());
        route
    });
    site.set("default via 172.20.0.253 dev eth0", {
        route("0.0.0.0/0", Some("172.20.0.253"), "eth0", RouteKind::Unicast)
    });
    site.set("throw 10.9.0.0/16", route("10.9.0.0/16", None, "eth0", RouteKind::Throw));
    site.set("10", {
        let mark = Some(Mark { value: 1, mask: 0xff });
        Rule { iif: Some("lo".to_owned()), mark, unsure: true, ..rule(10, false, 99) }
    });
    site.set("eth1", {
        let mut inner = interface(LinkKind::Ethernet, "e1000", &["10.1.0.1/16", "10.1.0.2/16"]);
        inner.secondary = vec!["10.1.0.2/16".parse().unwrap()];
        inner.reverse_path = Some(ReversePath::Strict);
        inner.group = Some(7);
        inner
    });
    let host = put_together(&site, &listings("d1", NFT));
    assert_eq!(host.unread, Vec::<String>::new());
    assert!(host.forwards_v4 && !host.forwards_v6);
    assert_eq!(host.zone.as_ref().unwrap().as_str(), "exchange", "as the policy says");
    let interfaces = host.network.interfaces.as_ref().unwrap();
    let inner = interfaces.iter().find(|one| one.device == device("eth1").unwrap()).unwrap();
    assert_eq!(inner.group, Some(7));
    let second: Vec<bool> = inner.addresses.iter().map(|one| one.secondary).collect();
    assert_eq!(second, [false, true]);
    assert_eq!(host.reverse_path["eth1"], site::ReversePath::Strict);
    let main = &host.network.routes.as_ref().unwrap()[&254];
    let default = main.iter().find(|route| route.to.prefix_len() == 0).unwrap();
    assert_eq!(default.hops.len(), 2, "one route by two ways");
    assert_eq!(main.iter().count(), 4);
    let rules = host.network.rules.as_ref().unwrap();
    let order: Vec<u32> = rules.iter().map(|rule| rule.priority).collect();
    assert_eq!(order, [0, 10, 32_766, 32_767]);
    assert_eq!((rules[1].iif, rules[1].mark, rules[1].unsure), (Some(0), Some((1, 0xff)), true));
    assert_eq!(rules[2].action, Action::Look(254));
}

#[test]
fn a_rule_that_bailey_made_leads_to_the_line_of_the_policy() {
    let proof = proof(put_together(&gateway(), &listings("d1", NFT)));
    let told::Answer::Broken { breach } = &proof.answer else { panic!("{proof:#?}") };
    assert_eq!(breach.packet.dport, Some(3389));
    let by = breach.path[0].by.iter().find(|by| by.handle == Some(118)).unwrap();
    let policy = by.policy.as_ref().unwrap();
    assert_eq!(
        (policy.file.as_str(), policy.line, policy.what.as_str()),
        ("policy.yaml", 14, "flow 3")
    );
}

#[test]
fn what_is_missing_or_does_not_fit_is_said_and_counts_as_open() {
    type Case = (&'static str, fn(&mut Site));
    let cases: [Case; 9] = [
        ("the listing of nftables as it is now has not come", |site| {
            site.set("nftables", ruleset("d2", 1));
        }),
        ("firewall.ruleset nftables cannot be read: needs CAP_NET_ADMIN", |site| {
            site.unreadable(FactKind::Ruleset, "nftables", "needs CAP_NET_ADMIN");
        }),
        ("it does not tell of its packet filters", |site| site.remove_all(FactKind::Ruleset)),
        ("the probe firewall has not reported yet", |site| {
            site.probes.remove(&ProbeName::Firewall);
        }),
        // Once, though four kinds of facts are missing with it.
        ("the probe links has not reported yet", |site| {
            site.probes.remove(&ProbeName::Links);
        }),
        ("it does not tell of its policy rules; its agent may be too old", |site| {
            site.remove_all(FactKind::Rule);
        }),
        ("links.route (more) cannot be read: 9000 in all, 4000 are reported", |site| {
            site.unreadable(FactKind::Route, "(more)", "9000 in all, 4000 are reported");
        }),
        ("it forwards what comes by eth0 only", |site| {
            let interfaces = vec!["eth0".to_owned()];
            site.set("", Forwarding { ipv4: false, ipv6: false, interfaces, bridged: Some(false) });
        }),
        ("it tells of no interface", |site| site.remove_all(FactKind::Interface)),
    ];
    for (why, change) in cases {
        assert_eq!(unread(change), why);
        let mut site = gateway();
        change(&mut site);
        let proof = proof(put_together(&site, &listings("d1", NFT)));
        let told::Answer::OutOfModel { statement, at, .. } = &proof.answer else {
            panic!("{why}: {proof:#?}")
        };
        assert_eq!((statement.as_str(), at.as_deref()), (why, Some("oa-17")));
    }
}

#[test]
fn what_crosses_a_bridge_is_not_known_where_rules_of_ip_see_it() {
    let joined = |bridged: Option<bool>| {
        let mut site = gateway();
        let port = || Interface {
            master: Some("br0".to_owned()),
            ..interface(LinkKind::Ethernet, "e1000", &[])
        };
        site.set("eth0", port());
        site.set("eth1", port());
        let both = ["172.20.0.1/16", "10.1.0.1/16"];
        site.set("br0", interface(LinkKind::Bridge, "bridge", &both));
        site.set("", Forwarding { ipv4: false, ipv6: false, interfaces: Vec::new(), bridged });
        proof(put_together(&site, &listings("d1", NFT))).answer
    };
    assert!(matches!(joined(Some(false)), told::Answer::Broken { .. }), "both are on one wire");
    for untold in [Some(true), None] {
        let told::Answer::OutOfModel { statement, .. } = joined(untold) else {
            panic!("a rule may drop it");
        };
        assert!(statement.contains("bridge-nf-call-iptables"), "{statement}");
    }
}

#[test]
fn a_host_without_rules_needs_no_listing() {
    let mut site = gateway();
    site.set("nftables", ruleset("none", 0));
    let host = put_together(&site, &Listings::default());
    assert_eq!((host.unread.len(), host.ruleset.tables.len()), (0, 0));
    assert!(matches!(proof(host).answer, told::Answer::Broken { .. }));
}

#[test]
fn a_listing_is_awaited_until_it_is_that_of_the_facts_or_there_will_be_none() {
    let view = gateway().view();
    let none = BTreeMap::new();
    let is_awaited =
        |listings: &Listings, unlisted| awaits(Told { view: &view, listings, unlisted });
    assert!(is_awaited(&Listings::default(), &none));
    assert!(is_awaited(&listings("d0", NFT), &none));
    assert!(!is_awaited(&listings("d1", NFT), &none));
    let unlisted = [(ListingSource::Nftables, "it is too long".to_owned())].into();
    assert!(!is_awaited(&Listings::default(), &unlisted));
    let told = Told { view: &view, listings: &Listings::default(), unlisted: &unlisted };
    assert_eq!(assemble(told, &policy()).unread, ["nftables cannot be listed: it is too long"]);
}

#[test]
fn a_declared_gateway_without_an_agent_is_a_way_and_another_host_is_none() {
    let policy = policy();
    let host = without_agent(&"oa-17".parse().unwrap(), &policy).unwrap();
    let told::Answer::OutOfModel { statement, .. } = proof(host).answer else { panic!() };
    assert_eq!(statement, "no agent reports from it");
    assert_eq!(without_agent(&"oa-18".parse().unwrap(), &policy), None);
}

#[test]
fn only_what_a_proof_looks_at_moves_its_inputs() {
    let listings = listings("d1", NFT);
    let of = |change: &dyn Fn(&mut Site)| {
        let mut site = gateway();
        change(&mut site);
        let view = site.view();
        inputs(Told { view: &view, listings: &listings, unlisted: &BTreeMap::new() }, &policy())
    };
    let before = of(&|_| ());
    let counted = |site: &mut Site| {
        site.set("nftables", Ruleset { packets: 9, octets: Bytes(9), ..ruleset("d1", 1) });
    };
    assert_eq!(of(&counted), before, "counters");
    let filters = of(&|site| site.set("nftables", ruleset("d2", 1)));
    assert_eq!((filters.network, filters.filters == before.filters), (before.network, false));
    let moved = of(&|site| {
        site.set("eth2", interface(LinkKind::Usb, "", &["10.250.0.9/24"]));
    });
    assert_eq!((moved.network == before.network, moved.filters), (false, before.filters));
}

#[test]
fn what_was_told_long_ago_is_used_and_said_to_be_old() {
    let mut site = gateway();
    let view = site.view();
    assert_eq!(aged(&view, NOW), None);
    assert!(aged(&view, NOW + HOUR).unwrap().en.contains("the probe links of oa-17 last read"));
    site.probe(ProbeName::Firewall).failed = Some("no nft".to_owned());
    assert!(aged(&site.view(), NOW).unwrap().en.contains("the probe firewall of oa-17 fails"));
    let told = Told { view: &view, listings: &listings("d1", NFT), unlisted: &BTreeMap::new() };
    let facts = facts_of(told, &[]);
    assert_eq!(facts.probes.len(), 2);
    assert_eq!(facts.listings[0].received_at, NOW - HOUR);
}

#[test]
fn a_neighbour_tells_a_wire_only_where_it_can_be_one_interface_alone() {
    let machine = |name: &str, mac: u8, addresses: &[&str]| {
        let mut site = gateway();
        let mut port = interface(LinkKind::Ethernet, "e1000", addresses);
        port.mac = Some(Mac([2, 0, 0, 0, 0, mac]));
        site.set("eth1", port);
        let mut view = site.view();
        view.name = name.parse().unwrap();
        view
    };
    let seen = |address: &str, mac: u8, silent: bool| {
        let fact = bailey_rules::fact::links::Neighbour {
            address: address.parse().unwrap(),
            interface: "eth1".to_owned(),
            mac: Some(Mac([2, 0, 0, 0, 0, mac])),
            router: false,
            silent,
        };
        Fact::known(&format!("{address} eth1"), fact)
    };
    let heard = |other: &str, address: &str, mac: u8, silent: bool| {
        let mut one = machine("oa-1", 1, &["10.1.0.1/16"]);
        let fact = seen(address, mac, silent);
        let share = bailey_rules::digest::FactDigest::share(&fact.key, b"any");
        one.facts.restore_fact(fact, share, NOW);
        let two = machine("oa-2", 2, &[other]);
        let three = machine("oa-3", 3, &["fe80::1/64"]);
        wires([&one, &two, &three]).len()
    };
    let wired = |other: &str, address: &str, mac: u8| heard(other, address, mac, false);
    assert_eq!(wired("172.20.9.9/16", "172.20.9.9", 2), 1, "no common network");
    assert_eq!(wired("10.1.7.20/16", "10.1.7.20", 2), 0, "their addresses tell");
    assert_eq!(wired("172.20.9.9/16", "172.20.9.9", 7), 0, "another machine has that address");
    assert_eq!(wired("172.20.9.9/16", "172.20.9.8", 2), 0, "not an address of that interface");
    assert_eq!(wired("fe80::1/64", "fe80::1", 3), 1, "an address of one wire, unlike hardware");
    assert_eq!(heard("172.20.9.9/16", "172.20.9.9", 2, true), 0, "it was there long ago");
}
