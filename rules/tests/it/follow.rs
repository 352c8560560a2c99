//! One connection through small sites, there and back, as their kernels would take it.

use std::fmt::Write as _;

use bailey_rules::policy::Policy;
use bailey_rules::prove::site::follow::{
    Asked, Followed, MAX_HOPS, MAX_WAYS, NotAsked, Way, follow,
};
use bailey_rules::prove::site::{Host, ReversePath, Site};

use crate::site_proof::{CLOSED, POLICY, filtered, gateway, host, name, site};

/// The connection as people read it.
fn told(site: &Site, src: &str, dst: &str) -> String {
    let asked = Asked::parse(&site.policy, src, dst).unwrap();
    text(&follow(site, asked))
}

fn text(followed: &Followed) -> String {
    let mut out = format!("passes {} certain {}\n", followed.passes, followed.certain);
    for (sign, ways) in [(">", &followed.there), ("<", &followed.back)] {
        for way in ways {
            write(&mut out, sign, way);
        }
    }
    out
}

fn write(out: &mut String, sign: &str, way: &Way) {
    for hop in &way.hops {
        let [iif, oif] = [&hop.iif, &hop.oif].map(|one| one.as_deref().unwrap_or("-"));
        let state = hop.state.as_deref().unwrap_or("-");
        write!(out, "{sign} {} {iif} {oif}: {} {state}", hop.host, hop.packet).unwrap();
        let changed = hop.changed.as_ref();
        writeln!(out, "{}", changed.map_or_else(String::new, |to| format!(" -> {to}"))).unwrap();
        for by in &hop.by {
            let what = by.rule.as_ref().or(by.policy.as_ref()).unwrap();
            writeln!(out, "    {} {} {} {}: {what}", by.hook, by.family, by.table, by.chain)
                .unwrap();
        }
        if !hop.reasons.is_empty() {
            writeln!(out, "    {} {:?}", hop.certainty, hop.reasons).unwrap();
        }
    }
    let certain = if way.certain { "" } else { " (perhaps)" };
    writeln!(out, "{sign} arrives {}: {}{certain}", way.arrives, way.end.en).unwrap();
}

const OPEN: &str = "*filter\n:FORWARD DROP [0:0]\n\
    -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
    -A FORWARD -d 10.250.0.10/32 -p tcp -m tcp --dport 443 -m comment --comment \"EX-1\" -j ACCEPT\n\
    COMMIT\n";

#[test]
fn a_connection_passes_by_the_rule_that_is_named_and_its_answer_by_another() {
    let mut all = site(gateway(OPEN, CLOSED));
    // The receiver answers by the gateway.
    let front = host("exchange", &[("eth0", "10.250.0.10/24")], Some("10.250.0.1 dev eth0"));
    all.hosts.insert(name("ex-front"), front);
    let www = host("outer", &[("eth0", "172.20.1.10/16")], Some("172.20.0.1 dev eth0"));
    all.hosts.insert(name("www-1"), www);
    insta::assert_snapshot!(told(&all, "172.20.1.10", "ex-front:443/tcp"), @r#"
    passes true certain true
    > www-1 - eth0: 172.20.1.10:40000 > 10.250.0.10:443 tcp -
    > fw-1 eth0 eth2: 172.20.1.10:40000 > 10.250.0.10:443 tcp new
        forward ip filter FORWARD: -d 10.250.0.10/32 -p tcp -m tcp --dport 443 -m comment --comment "EX-1" -j ACCEPT
    > ex-front eth0 -: 172.20.1.10:40000 > 10.250.0.10:443 tcp -
    > arrives true: it is delivered to ex-front
    < ex-front - eth0: 10.250.0.10:443 > 172.20.1.10:40000 tcp -
    < fw-1 eth2 eth0: 10.250.0.10:443 > 172.20.1.10:40000 tcp established
        forward ip filter FORWARD: -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    < www-1 eth0 -: 10.250.0.10:443 > 172.20.1.10:40000 tcp -
    < arrives true: it is delivered to www-1
    "#);
    insta::assert_snapshot!(told(&all, "172.20.1.10", "ex-front:22/tcp"), @r#"
    passes false certain true
    > www-1 - eth0: 172.20.1.10:40000 > 10.250.0.10:22 tcp -
    > fw-1 eth0 -: 172.20.1.10:40000 > 10.250.0.10:22 tcp new
        forward ip filter FORWARD: drop
    > arrives false: fw-1 drops it
    "#);
}

#[test]
fn a_translation_is_done_and_undone_on_the_way_back() {
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
        -A PREROUTING -d 172.20.0.1/32 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 10.250.0.10:443\n\
        -A POSTROUTING -o eth2 -j MASQUERADE\nCOMMIT\n";
    let mut all = site(gateway(&format!("{nat}{OPEN}"), CLOSED));
    let front = host("exchange", &[("eth0", "10.250.0.10/24")], None);
    all.hosts.insert(name("ex-front"), front);
    insta::assert_snapshot!(told(&all, "172.20.1.99", "172.20.0.1:8443/tcp"), @r#"
    passes true certain true
    > fw-1 eth0 eth2: 172.20.1.99:40000 > 172.20.0.1:8443 tcp new -> 10.250.0.1:40000 > 10.250.0.10:443 tcp
        prerouting ip nat PREROUTING: -d 172.20.0.1/32 -p tcp -m tcp --dport 8443 -j DNAT --to-destination 10.250.0.10:443
        forward ip filter FORWARD: -d 10.250.0.10/32 -p tcp -m tcp --dport 443 -m comment --comment "EX-1" -j ACCEPT
        postrouting ip nat POSTROUTING: -o eth2 -j MASQUERADE
    > ex-front eth0 -: 10.250.0.1:40000 > 10.250.0.10:443 tcp -
    > arrives true: it is delivered to ex-front
    < ex-front - eth0: 10.250.0.10:443 > 10.250.0.1:40000 tcp -
    < fw-1 eth2 eth0: 10.250.0.10:443 > 10.250.0.1:40000 tcp established -> 172.20.0.1:8443 > 172.20.1.99:40000 tcp
        forward ip filter FORWARD: -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    < arrives true: fw-1 puts it on the wire of eth0, to 172.20.1.99, which no known host has
    "#);
}

#[test]
fn whoever_is_on_no_wire_comes_by_a_line_and_an_answer_to_nobody_goes_by_it() {
    let mut all = site(gateway(CLOSED, CLOSED));
    let addresses = [("eth0", "172.20.0.1/16"), ("wan0", "100.64.3.4/24")];
    let masquerade = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o wan0 -j MASQUERADE\nCOMMIT\n\
        *filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth0 -j ACCEPT\n\
        -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n";
    let line =
        filtered(host("outer", &addresses, Some("100.64.3.1 dev wan0")), &[(masquerade, false)]);
    let line = Host { forwards_v4: true, ..line };
    all.hosts.insert(name("gw-1"), line);
    let www = host("outer", &[("eth0", "172.20.1.10/16")], Some("172.20.0.1 dev eth0"));
    all.hosts.insert(name("www-1"), www);
    all.hosts.remove(&name("fw-1"));
    insta::assert_snapshot!(told(&all, "172.20.1.10", "198.51.100.7:443/tcp"), @r#"
    passes true certain true
    > www-1 - eth0: 172.20.1.10:40000 > 198.51.100.7:443 tcp -
    > gw-1 eth0 wan0: 172.20.1.10:40000 > 198.51.100.7:443 tcp new -> 100.64.3.4:40000 > 198.51.100.7:443 tcp
        forward ip filter FORWARD: -i eth0 -j ACCEPT
        postrouting ip nat POSTROUTING: -o wan0 -j MASQUERADE
    > arrives true: gw-1 sends it out by wan0, to router 100.64.3.1, which no known host is
    < gw-1 wan0 eth0: 198.51.100.7:443 > 100.64.3.4:40000 tcp established -> 198.51.100.7:443 > 172.20.1.10:40000 tcp
        forward ip filter FORWARD: -m conntrack --ctstate ESTABLISHED -j ACCEPT
    < www-1 eth0 -: 198.51.100.7:443 > 172.20.1.10:40000 tcp -
    < arrives true: it is delivered to www-1
    "#);
    insta::assert_snapshot!(told(&all, "198.51.100.7", "172.20.1.10:443/tcp"), @r#"
    passes false certain true
    > gw-1 wan0 -: 198.51.100.7:40000 > 172.20.1.10:443 tcp new
        forward ip filter FORWARD: drop
    > arrives false: gw-1 drops it
    "#);
}

#[test]
fn what_is_not_known_is_told_as_what_may_be() {
    let text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m set --match-set partners src -j ACCEPT\nCOMMIT\n";
    let all = site(gateway(text, CLOSED));
    let asked = Asked::parse(&all.policy, "172.20.1.99", "10.1.7.20:443/tcp").unwrap();
    let followed = follow(&all, asked);
    assert!(!followed.certain);
    let reasons = &followed.there[0].hops[0].reasons;
    assert!(reasons.iter().any(|one| one.contains("partners")), "{followed:#?}");
    assert_eq!(followed.there[0].hops[0].certainty, "may");
}

#[test]
fn settings_end_a_way_as_rules_do() {
    let there = |site: &Site, src: &str, dst: &str| {
        let asked = Asked::parse(&site.policy, src, dst).unwrap();
        let followed = follow(site, asked);
        assert!(!followed.passes);
        followed.there[0].end.en.clone()
    };
    let open = gateway("", "");
    let deaf = Host { forwards_v4: false, ..open.clone() };
    assert_eq!(
        there(&site(deaf), "172.20.1.99", "10.1.7.20:443/tcp"),
        "nobody on the wire passes packets on to 10.1.7.20"
    );
    // A part of the outer network is somewhere else, as far as the gateway knows.
    let strict = [("eth0", ReversePath::Strict)].map(|(at, what)| (at.to_owned(), what));
    let mut strict = Host { reverse_path: strict.into(), ..open.clone() };
    strict.network.add_routes("172.20.1.0/24 dev eth1").unwrap();
    assert_eq!(
        there(&site(strict), "172.20.1.99", "10.1.7.20:443/tcp"),
        "fw-1 drops it: 172.20.1.99 does not come by eth0 (rp_filter)"
    );
    // Two gateways that send everything to each other.
    let pair = |own: &str, other: &str| {
        let to = format!("{other} dev eth0");
        let host = host("outer", &[("eth0", own)], Some(&to));
        Host { forwards_v4: true, ..host }
    };
    let mut circle = site(open);
    circle.hosts.clear();
    circle.hosts.insert(name("gw-1"), pair("172.20.0.1/16", "172.20.0.2"));
    circle.hosts.insert(name("gw-2"), pair("172.20.0.2/16", "172.20.0.1"));
    let end = there(&circle, "172.20.1.99", "198.51.100.7:443/tcp");
    assert!(end.contains(&MAX_HOPS.to_string()), "{end}");
    // A network that nobody has.
    circle.hosts.clear();
    let end = there(&circle, "192.0.2.7", "198.51.100.7:443/tcp");
    assert!(end.starts_with("nobody sends from 192.0.2.7"), "{end}");
}

#[test]
fn of_more_ways_than_are_followed_one_says_so_and_the_others_go_on() {
    // Everybody on the wire may be the router that the sender means.
    let mut all = site(gateway("", ""));
    for nth in 0..2 * MAX_WAYS {
        let address = format!("172.20.2.{nth}/16");
        let router = host("outer", &[("eth0", &address)], Some("172.20.0.1 dev eth0"));
        let router = Host { forwards_v4: true, ..router };
        all.hosts.insert(name(&format!("router-{nth}")), router);
    }
    let asked = Asked::parse(&all.policy, "172.20.1.99", "10.1.7.20:443/tcp").unwrap();
    let followed = follow(&all, asked);
    assert_eq!(followed.there.len(), MAX_WAYS);
    let (cut, others): (Vec<&Way>, Vec<&Way>) = followed
        .there
        .iter()
        .partition(|way| way.end.en.starts_with("there are more than 16 ways"));
    assert_eq!(cut.len(), 1, "{followed:#?}");
    assert!(!cut[0].arrives && cut[0].hops.is_empty());
    assert!(others.iter().all(|way| way.arrives), "{others:#?}");
    assert!(!followed.certain);
}

#[test]
fn what_is_asked_wrongly_is_refused_with_what_to_write() {
    let policy = Policy::parse("policy.yaml", POLICY).unwrap();
    let asked = |src: &str, dst: &str| Asked::parse(&policy, src, dst);
    let fine = [
        ("10.1.7.20", "10.1.7.21:443/tcp"),
        ("fd00:1::7", "[fd00:1::8]:53/udp"),
        ("[fd00:1::7]", "[fd00:1::8]:53/udp"),
        ("fd00:1::7", "fd00:1::8/icmp"),
        ("ex-front", "10.1.7.20/icmp"),
        ("10.1.7.20", "ex-front:65535/tcp"),
    ];
    for (src, dst) in fine {
        assert!(asked(src, dst).is_ok(), "{src} {dst}");
    }
    let long = "x".repeat(300);
    let source = |text: &str| Err(NotAsked::Source(text.to_owned()));
    let destination = |text: &str| Err(NotAsked::Destination(text.to_owned()));
    assert_eq!(asked("oa 17", "10.1.7.20:1/tcp"), source("oa 17"));
    assert_eq!(asked(&long, "10.1.7.20:1/tcp"), source(&long));
    for wrong in [
        "10.1.7.20",
        "10.1.7.20/tcp",
        "10.1.7.20:0/tcp",
        "10.1.7.20:1/sctp",
        ":1/tcp",
        "fd00:1::8:53/udp",
        "10.1.7.20:65536/udp",
        "",
        "/",
        "10.1.7.20:80/icmp",
    ] {
        assert_eq!(asked("10.1.7.20", wrong), destination(wrong), "{wrong}");
    }
    assert_eq!(asked("nobody", "10.1.7.20:1/tcp"), Err(NotAsked::Host("nobody".to_owned())));
    assert!(matches!(asked("fd00:1::7", "ex-front:1/tcp"), Err(NotAsked::NoAddress(_))));
    assert!(matches!(asked("fd00:1::7", "10.1.7.20:1/tcp"), Err(NotAsked::Versions(..))));
    assert!(matches!(asked("10.1.7.20", "224.0.0.1:1/udp"), Err(NotAsked::NotOneHost(_))));
    for wrong in [NotAsked::Source("x".into()), NotAsked::Host("x".into())] {
        let text = wrong.text();
        assert!(!text.zh.is_empty() && text.en != text.zh);
    }
}
