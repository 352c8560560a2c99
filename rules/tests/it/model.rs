//! The model of packet filters: what listings mean, and what becomes of packets.

use bailey_rules::model::network::Network;
use bailey_rules::model::packet::Packet;
use bailey_rules::model::ruleset::{Match, Ruleset, Statement};
use bailey_rules::model::trace::{Certainty, Direction, Tracer};
use bailey_rules::model::{nft, save};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Everything that nft 1.0.6 takes in an input chain, as it prints it.
const INPUT: &str = include_str!("listings/input.json");
/// Chains of every family, translation, verdict maps.
const FAMILIES: &str = include_str!("listings/families.json");
/// What iptables-legacy-save prints of every match and target.
const LEGACY: &str = include_str!("listings/legacy.save");

fn saved(text: &str) -> Ruleset {
    save::parse(text).unwrap_or_else(|why| panic!("{why}"))
}

fn filter(rules: &str) -> Ruleset {
    saved(&format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:sub - [0:0]\n\
         {rules}\nCOMMIT\n"
    ))
}

/// One inet table with rules as nft prints them, each in a chain, in order.
fn inet(chains: &[Value], rules: &[(&str, Value)]) -> Ruleset {
    let mut all = vec![json!({"table": {"family": "inet", "name": "t"}})];
    all.extend(chains.iter().cloned());
    for (nth, (chain, expr)) in rules.iter().enumerate() {
        all.push(json!({"rule": {
            "family": "inet", "table": "t", "chain": chain, "handle": nth + 10, "expr": expr,
        }}));
    }
    nft::parse(&json!({"nftables": all}).to_string()).unwrap()
}

fn base(name: &str, hook: &str, priority: i32, policy: &str) -> Value {
    json!({"chain": {
        "family": "inet", "table": "t", "name": name, "type": "filter", "hook": hook,
        "prio": priority, "policy": policy,
    }})
}

fn regular(name: &str) -> Value {
    json!({"chain": {"family": "inet", "table": "t", "name": name}})
}

/// A first packet from oa-17 to a web server, with what differs.
fn packet(differs: &Value) -> Packet {
    let mut packet = json!({
        "iif": "eth0", "oif": "eth1", "src": "10.1.7.20", "dst": "172.20.1.1", "proto": "tcp",
        "sport": 40000, "dport": 443, "tcp_flags": "syn", "state": "new",
        "mac": "02:00:00:00:00:01",
    });
    for (name, value) in differs.as_object().unwrap() {
        packet[name] = value.clone();
    }
    serde_json::from_value(packet).unwrap()
}

/// `verdict certainty`.
fn traced(ruleset: &Ruleset, direction: Direction, differs: &Value) -> String {
    traced_at(ruleset, &Network::default(), direction, differs)
}

fn traced_at(
    ruleset: &Ruleset,
    network: &Network,
    direction: Direction,
    differs: &Value,
) -> String {
    let tracer = Tracer::new(ruleset, network);
    let answer = tracer.trace(&packet(differs), direction).unwrap();
    format!("{} {}", answer.verdict.name(), answer.certainty.name())
}

fn forward(ruleset: &Ruleset, differs: &Value) -> String {
    traced(ruleset, Direction::Forward, differs)
}

/// The words of everything that was not understood.
fn unknown(ruleset: &Ruleset) -> String {
    let mut words = Vec::new();
    for table in &ruleset.tables {
        for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
            for statement in &rule.statements {
                match statement {
                    Statement::Match(Match::Unknown { text }) => words.push(text.clone()),
                    Statement::Unknown { text, .. } => words.push(format!("{text} (may act)")),
                    _ => {}
                }
            }
        }
    }
    words.join("\n")
}

#[test]
fn of_the_whole_language_only_what_nobody_can_know_is_unknown() {
    insta::assert_snapshot!("unknown_input", unknown(&nft::parse(INPUT).unwrap()));
    insta::assert_snapshot!("unknown_families", unknown(&nft::parse(FAMILIES).unwrap()));
    insta::assert_snapshot!("unknown_legacy", unknown(&saved(LEGACY)));
}

#[test]
fn an_accept_ends_only_its_own_base_chain() {
    let ruleset = inet(
        &[base("first", "forward", 0, "accept"), base("second", "forward", 10, "accept")],
        &[("first", json!([{"accept": null}])), ("second", json!([{"drop": null}]))],
    );
    assert_eq!(forward(&ruleset, &json!({})), "drop exact");
}

#[test]
fn a_policy_counts_only_at_the_end_of_a_base_chain() {
    let ruleset = inet(
        &[base("f", "forward", 0, "drop"), regular("sub")],
        &[
            ("f", json!([{"jump": {"target": "sub"}}])),
            ("f", json!([{"accept": null}])),
            ("sub", json!([{"return": null}])),
        ],
    );
    assert_eq!(forward(&ruleset, &json!({})), "accept exact");
}

#[test]
fn goto_does_not_come_back() {
    let to = |how: &str| {
        inet(
            &[base("f", "forward", 0, "drop"), regular("sub")],
            &[("f", json!([{how: {"target": "sub"}}])), ("f", json!([{"accept": null}]))],
        )
    };
    assert_eq!(forward(&to("goto"), &json!({})), "drop exact");
    assert_eq!(forward(&to("jump"), &json!({})), "accept exact");
}

#[test]
fn a_verdict_map_without_a_hit_goes_on() {
    let key = json!({"payload": {"protocol": "tcp", "field": "dport"}});
    let map = json!({"set": [[22, {"drop": null}], [{"range": [80, 90]}, {"accept": null}]]});
    let ruleset = inet(
        &[base("f", "forward", 0, "accept")],
        &[("f", json!([{"vmap": {"key": key, "data": map}}])), ("f", json!([{"reject": null}]))],
    );
    for (port, expect) in [(22, "drop exact"), (85, "accept exact"), (91, "reject exact")] {
        assert_eq!(forward(&ruleset, &json!({"dport": port})), expect, "{port}");
    }
    // What is no TCP has no such port, whatever the map says.
    let udp = json!({"proto": "udp", "dport": 22, "tcp_flags": null});
    assert_eq!(forward(&ruleset, &udp), "reject exact");
}

#[test]
fn what_a_rule_implies_is_asked_even_when_it_is_turned_round() {
    let ruleset = filter("-A FORWARD -p tcp -m tcp ! --dport 443 -j DROP");
    assert_eq!(forward(&ruleset, &json!({})), "accept exact");
    assert_eq!(forward(&ruleset, &json!({"dport": 80})), "drop exact");
    assert_eq!(forward(&ruleset, &json!({"proto": "udp"})), "accept exact");
}

#[test]
fn a_reject_with_an_answer_of_one_version_is_for_packets_of_that_version() {
    let ruleset = inet(
        &[base("f", "forward", 0, "accept")],
        &[("f", json!([{"reject": {"type": "icmp", "expr": "port-unreachable"}}]))],
    );
    assert_eq!(forward(&ruleset, &json!({})), "reject exact");
    let v6 = json!({"src": "fd00:1::1", "dst": "fd00:2::1"});
    assert_eq!(forward(&ruleset, &v6), "accept exact");
}

#[test]
fn forward_sees_the_translated_address_and_port() {
    let ruleset = saved(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         -A PREROUTING -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.250.0.10:8443\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -d 10.250.0.10/32 -p tcp -m tcp --dport 8443 -j ACCEPT\nCOMMIT\n",
    );
    assert_eq!(forward(&ruleset, &json!({})), "accept exact");
    assert_eq!(forward(&ruleset, &json!({"dport": 8443})), "drop exact");
    // Of a connection that is known already nobody knows here how it was translated.
    let later = json!({"state": "established", "tcp_flags": "ack"});
    assert_eq!(forward(&ruleset, &later), "accept may");
}

#[test]
fn a_translation_to_the_address_that_was_there_is_none() {
    let ruleset = saved(
        "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DNAT --to-destination 172.20.1.1\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -m conntrack --ctstate DNAT -j ACCEPT\nCOMMIT\n",
    );
    assert_eq!(forward(&ruleset, &json!({})), "drop exact");
    assert_eq!(forward(&ruleset, &json!({"dst": "172.20.1.2"})), "accept exact");
}

#[test]
fn a_packet_that_is_sent_to_the_host_itself_goes_to_input() {
    let ruleset = saved(
        "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128\nCOMMIT\n\
         *filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A INPUT -p tcp -m tcp --dport 3129 -j ACCEPT\nCOMMIT\n",
    );
    assert_eq!(forward(&ruleset, &json!({"dport": 80})), "drop exact");
    assert_eq!(forward(&ruleset, &json!({})), "accept exact");
}

#[test]
fn notrack_makes_a_packet_untracked_and_before_tracking_there_is_no_state() {
    let raw = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
               -A PREROUTING -s 10.1.7.20/32 -j CT --notrack\n\
               -A PREROUTING -m conntrack --ctstate NEW -j DROP\nCOMMIT\n";
    let ruleset = saved(&format!(
        "{raw}*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -m conntrack --ctstate UNTRACKED -j ACCEPT\n\
         -A FORWARD -m conntrack --ctstate NEW -j REJECT\nCOMMIT\n"
    ));
    assert_eq!(forward(&ruleset, &json!({})), "accept exact");
    assert_eq!(forward(&ruleset, &json!({"src": "10.1.7.21"})), "reject exact");
}

#[test]
fn marks_change_what_later_chains_see() {
    let ruleset = saved(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n\
         :OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         -A PREROUTING -s 10.1.7.20/32 -j MARK --set-xmark 0x10/0xff\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -m mark --mark 0x10/0xf0 -j ACCEPT\nCOMMIT\n",
    );
    assert_eq!(forward(&ruleset, &json!({})), "accept exact");
    assert_eq!(forward(&ruleset, &json!({"src": "10.1.7.21"})), "drop exact");
}

#[test]
fn legacy_tables_run_beside_nftables() {
    let mut ruleset =
        inet(&[base("f", "forward", 0, "accept")], &[("f", json!([{"accept": null}]))]);
    ruleset.join(filter("-A FORWARD -s 10.1.0.0/16 -j DROP"));
    assert_eq!(forward(&ruleset, &json!({})), "drop exact");
    assert_eq!(forward(&ruleset, &json!({"src": "10.9.0.1"})), "accept exact");
}

#[test]
fn what_iptables_nft_saves_stands_in_place_of_what_nft_cannot_read() {
    let listed = json!({"nftables": [
        {"table": {"family": "ip", "name": "filter"}},
        {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "type": "filter",
                   "hook": "forward", "prio": 0, "policy": "accept"}},
        {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 2,
                  "expr": [{"xt": {"type": "match", "name": "multiport"}}, {"drop": null}]}},
    ]});
    let mut ruleset = nft::parse(&listed.to_string()).unwrap();
    assert_eq!(forward(&ruleset, &json!({})), "accept may");
    ruleset.join(saved(
        "# Generated by iptables-nft-save v1.8.9 (nf_tables)\n*filter\n:FORWARD ACCEPT [0:0]\n\
         -A FORWARD -p tcp -m multiport --dports 80,443 -j DROP\nCOMMIT\n",
    ));
    assert_eq!(forward(&ruleset, &json!({})), "drop exact");
    assert_eq!(ruleset.tables.len(), 1);
}

#[test]
fn a_verdict_is_uncertain_only_where_the_unknown_decides_it() {
    let ruleset = filter(
        "-A FORWARD -m limit --limit 5/sec -j sub\n-A FORWARD -p tcp -j DROP\n\
         -A FORWARD -m limit --limit 5/sec -j ACCEPT\n-A FORWARD -p udp -j REJECT\n-A sub -j RETURN",
    );
    assert_eq!(forward(&ruleset, &json!({})), "drop exact");
    assert_eq!(forward(&ruleset, &json!({"proto": "udp"})), "accept may");
    // Every port is one that is 80 or is not.
    let ruleset = filter(
        "-A FORWARD -p tcp -m tcp --dport 80 -j DROP\n-A FORWARD -p tcp -m tcp ! --dport 80 -j DROP",
    );
    assert_eq!(forward(&ruleset, &json!({"dport": null})), "drop exact");
    // Both states are dropped, and no other is asked for.
    let ruleset = filter(
        "-A FORWARD -m conntrack --ctstate NEW -j DROP\n-A FORWARD -m conntrack ! --ctstate NEW -j DROP",
    );
    assert_eq!(forward(&ruleset, &json!({"state": null})), "drop exact");
}

#[test]
fn addresses_tell_what_is_local() {
    let mut network = Network::default();
    let text = "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 state UNKNOWN group default\n    \
                link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00\n    \
                inet 127.0.0.1/8 scope host lo\n\
                2: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP group default\n    \
                link/ether 02:00:00:00:00:09 brd ff:ff:ff:ff:ff:ff\n    \
                inet 10.1.0.1/24 brd 10.1.0.255 scope global eth0\n    \
                inet6 fd00:1::1/64 scope global\n";
    network.add_addresses(text).unwrap();
    let ruleset = filter(
        "-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT\n\
         -A INPUT -m addrtype --dst-type BROADCAST -j REJECT\n-A INPUT -j DROP",
    );
    for (dst, expect) in
        [("10.1.0.1", "accept exact"), ("10.1.0.255", "reject exact"), ("10.1.0.2", "drop exact")]
    {
        let packet = json!({"dst": dst, "oif": null});
        assert_eq!(traced_at(&ruleset, &network, Direction::Input, &packet), expect, "{dst}");
    }
}

#[test]
fn routes_tell_by_which_interface_a_packet_leaves() {
    let mut network = Network::default();
    network
        .add_routes(
            "default via 10.1.0.254 dev eth0\n172.20.0.0/16 dev eth1 proto kernel scope link\n\
             blackhole 172.20.9.0/24\n",
        )
        .unwrap();
    network.add_routes("0:\tfrom all lookup local\n32766:\tfrom all lookup main\n").unwrap();
    let ruleset = filter("-A FORWARD -o eth1 -j DROP");
    for (dst, expect) in [("172.20.1.1", "drop exact"), ("192.0.2.1", "accept exact")] {
        let packet = json!({"dst": dst, "oif": null});
        assert_eq!(traced_at(&ruleset, &network, Direction::Forward, &packet), expect, "{dst}");
    }
}

#[test]
fn a_policy_rule_for_what_comes_by_lo_is_one_for_the_hosts_own_packets() {
    let texts = [
        "0:\tfrom all iif lo lookup local\n1:\tfrom all iif a-name-longer-than-linux-gives lookup main\n",
        r#"[{"priority":0,"src":"all","iif":"lo","table":"local"},
            {"priority":1,"src":"all","iif":"a-name-longer-than-linux-gives","table":"main"}]"#,
    ];
    for text in texts {
        let mut network = Network::default();
        network.add_routes(text).unwrap();
        let rules = network.rules.unwrap();
        // No packet comes by the other one: it is not a rule for all.
        let by: Vec<Option<u128>> = rules.iter().map(|rule| rule.iif).collect();
        assert_eq!(by, [Some(0), Some(u128::MAX)], "{text}");
    }
}

#[test]
fn a_file_of_another_kind_is_refused_with_its_line() {
    for (text, told) in [
        (
            "*filter\n:INPUT ACCEPT\n-A INPUT -j ACCEPT\n",
            "line 3: the file ends in table filter of line 1",
        ),
        ("hello\n", "line 1: not the output of iptables-save"),
        ("*filter\n-A NONE -j DROP\nCOMMIT\n", "line 2: chain NONE is not declared above"),
        ("*filter\n:a - [0:0]\n:b - [0:0]\n-A a -j b\n-A b -g a\nCOMMIT\n", "calls itself"),
    ] {
        let why = save::parse(text).unwrap_err().to_string();
        assert!(why.contains(told), "{why}");
    }
    for (text, told) in [
        ("{\"nftables\": [}", "line 1, column"),
        ("{}", "missing field `nftables`"),
        ("table inet t {}", "give the output of `nft -j list ruleset`"),
    ] {
        let why = nft::parse(text).unwrap_err().to_string();
        assert!(why.contains(told), "{why}");
    }
}

/// A text with some octets changed, taken out or there twice.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    let edit = (0..text.len(), 0..4_u8, any::<u8>(), 0..400_usize);
    prop::collection::vec(edit, 1..12).prop_map(|edits| {
        let mut octets = text.as_bytes().to_vec();
        for (at, how, octet, length) in edits {
            let at = at.min(octets.len().saturating_sub(1));
            let end = (at + length).min(octets.len());
            match how {
                0 => octets[at] = octet,
                1 => {
                    octets.drain(at..end);
                }
                2 => {
                    let piece = octets[at..end].to_vec();
                    octets.splice(at..at, piece);
                }
                _ => octets.insert(at, b"{}[]\",:!-*0"[usize::from(octet) % 11]),
            }
            if octets.is_empty() {
                break;
            }
        }
        String::from_utf8_lossy(&octets).into_owned()
    })
}

/// Whatever was read of a damaged text can be traced.
fn can_be_traced(ruleset: &Ruleset) {
    let network = Network::default();
    let tracer = Tracer::new(ruleset, &network);
    for direction in [Direction::Input, Direction::Output, Direction::Forward] {
        let answer = tracer.trace(&packet(&json!({"oif": null})), direction).unwrap();
        assert!(answer.certainty == Certainty::May || answer.reasons.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_listing_of_nft_makes_the_reader_fail(text in damaged(FAMILIES)) {
        if let Ok(ruleset) = nft::parse(&text) {
            can_be_traced(&ruleset);
        }
    }

    #[test]
    fn no_saved_tables_make_the_reader_fail(text in damaged(LEGACY)) {
        if let Ok(ruleset) = save::parse(&text) {
            can_be_traced(&ruleset);
        }
    }
}
