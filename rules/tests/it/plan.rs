//! What a new policy changes.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use bailey_rules::fact::flows::SeenFlow;
use bailey_rules::host::Connection;
use bailey_rules::plan::{Changes, HostPlan, KnownHost, LockOut, Outlook, Piece, changes};
use bailey_rules::policy::{Addresses, Carried, Mode, Opening, Party, Policy};
use bailey_rules::time::Timestamp;
use proptest::prelude::*;

const OLD: &str = "
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16]}
hosts:
  mail: {zone: inner, addresses: [10.1.2.10]}
services:
  web: {tcp: [80, 443]}
  mail: {tcp: [25, 143]}
flows:
  - {from: inner, to: inner, service: web}
  - {from: inner, to: mail, service: mail}
";

fn policy(text: &str) -> Policy {
    Policy::parse("policy.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn said(pieces: &[Piece]) -> Vec<String> {
    let networks = |all: &Addresses| {
        let all: Vec<String> = all.v4().iter().map(ToString::to_string).collect();
        all.join(" ")
    };
    pieces
        .iter()
        .map(|piece| {
            format!("{} > {} {}", networks(&piece.from), networks(&piece.to), piece.service)
        })
        .collect()
}

#[test]
fn lines_that_are_written_otherwise_change_nothing() {
    let other = OLD
        .replace("[80, 443]", "[443, 80]")
        .replace("  - {from: inner, to: mail, service: mail}\n", "")
        .replace("flows:\n", "flows:\n  - {from: 10.1.0.0/17, to: mail, service: mail}\n  - {from: 10.1.128.0/17, to: mail, service: mail}\n");
    assert_eq!(changes(&policy(OLD), &policy(&other)), Changes::default());
}

#[test]
fn what_is_opened_and_what_is_closed_is_told_apart() {
    let other = OLD.replace("[80, 443]", "[443, 8080-8089]").replace("143]", "143, 993]");
    let changes = changes(&policy(OLD), &policy(&other));
    assert_eq!(
        said(&changes.added),
        ["10.1.0.0/16 > 10.1.0.0/16 tcp 8080-8089", "10.1.0.0/16 > 10.1.2.10/32 tcp 993"]
    );
    assert_eq!(said(&changes.removed), ["10.1.0.0/16 > 10.1.0.0/16 tcp 80"]);
}

#[test]
fn a_host_is_told_of_what_begins_or_ends_at_it() {
    let (old, other) = (policy(OLD), policy(&OLD.replace("143]", "143, 993]")));
    let mail = other.addresses(&Party::Host("mail".parse().unwrap()));
    let at_mail = changes(&old, &other).of(&mail);
    assert_eq!(
        said(&at_mail.added),
        ["10.1.2.10/32 > 10.1.2.10/32 tcp 993", "10.1.0.0/16 > 10.1.2.10/32 tcp 993"]
    );
    let another: Addresses = ["10.1.9.9/32".parse::<ipnet::IpNet>().unwrap()].into_iter().collect();
    assert_eq!(
        said(&changes(&old, &other).of(&another).added),
        ["10.1.9.9/32 > 10.1.2.10/32 tcp 993"]
    );
}

/// A zone that enforces, with a gateway and its management.
const ENFORCED: &str = "
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16], mode: enforce}
  outer: {networks: [172.20.0.0/16]}
hosts:
  admin: {zone: inner, addresses: [10.1.9.11]}
  mail: {zone: inner, addresses: [10.1.2.10]}
  fw-in: {zone: inner, addresses: [10.1.0.1, 172.20.0.1], forwards: true}
services:
  web: {tcp: [80, 443]}
  mail: {tcp: [25, 143]}
  ssh: {tcp: [22]}
flows:
  - {from: inner, to: inner, service: web}
  - {from: inner, to: mail, service: mail}
management:
  inner: {from: admin, service: ssh, collectors: ['10.1.0.5:7710']}
";

fn seen(from: &str, to: &str, protocol: u8, port: u16) -> SeenFlow {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    let (first, last) = (Timestamp::EPOCH, Timestamp::EPOCH);
    SeenFlow { from, to, protocol, port, count: 1, first, last }
}

#[allow(clippy::unnecessary_wraps, reason = "as it is handed in")]
fn over(from: &str, to: &str) -> Option<Connection> {
    Some(Connection { from: from.parse().unwrap(), to: to.parse().unwrap() })
}

fn planned(
    old: Option<&Policy>,
    new: &Policy,
    host: &str,
    connection: Option<Connection>,
    seen: &[SeenFlow],
) -> HostPlan {
    let (host, zone) = (host.parse().unwrap(), "inner".parse().unwrap());
    Outlook::new(old, new).of(&KnownHost { host: &host, zone: &zone, connection, seen })
}

#[test]
fn a_connection_in_use_that_the_new_policy_refuses_is_cut() {
    let new = policy(ENFORCED);
    let old = policy(&ENFORCED.replace("[25, 143]", "[25, 143, 993]"));
    let flows = [
        seen("10.1.7.20", "10.1.2.10", 6, 25),
        seen("10.1.7.20", "10.1.2.10", 6, 993),
        // Neither policy lets this through: it is cut already.
        seen("10.1.7.20", "10.1.2.10", 6, 110),
        // What no policy can let through.
        seen("10.1.7.20", "10.1.2.10", 47, 0),
    ];
    let cut = |plan: &HostPlan| plan.cut.iter().map(SeenFlow::service).collect::<Vec<_>>();
    let plan = planned(Some(&old), &new, "mail", None, &flows);
    assert_eq!((cut(&plan), plan.cut_before), (vec!["tcp 993".to_owned()], 2));
    // The first policy that is pushed cuts whatever it does not let through.
    let plan = planned(None, &new, "mail", None, &flows);
    assert_eq!(cut(&plan), ["tcp 993", "tcp 110", "protocol 47"]);
    assert_eq!((plan.mode.from, plan.mode.to, plan.cut_before), (None, Mode::Enforce, 0));
    // A zone that observed until now let everything pass.
    let observed = policy(&ENFORCED.replace("], mode: enforce}", "]}"));
    let plan = planned(Some(&observed), &new, "mail", None, &flows);
    assert_eq!(cut(&plan).len(), 3);
    assert!(plan.mode.is_one() && plan.changes.is_empty() && plan.is_change());
}

#[test]
fn what_only_passes_through_is_cut_where_the_host_may_not_forward() {
    let new = policy(ENFORCED);
    // A container behind the host, and what the gateway passes on.
    let through = [seen("10.1.7.20", "10.1.7.21", 6, 443)];
    assert_eq!(planned(None, &new, "mail", None, &through).cut, through);
    assert_eq!(planned(None, &new, "fw-in", None, &through).cut, []);
    // Between two addresses of its own nothing is filtered.
    let within = [seen("10.1.0.1", "172.20.0.1", 6, 5432)];
    assert_eq!(planned(None, &new, "fw-in", None, &within).cut, []);
}

#[test]
fn whoever_would_be_locked_out_is_named() {
    let good = over("10.1.7.20:40000", "10.1.0.5:7710");
    let lock_outs = |from: &str, to: &str, connection| {
        let new = ENFORCED.replace(from, to);
        assert!(from.is_empty() || new != ENFORCED, "{from}");
        planned(None, &policy(&new), "oa-17", connection, &[]).lock_outs
    };
    assert_eq!(lock_outs("", "", good), []);
    assert_eq!(lock_outs("", "", over("[::ffff:10.1.7.20]:40000", "[::ffff:10.1.0.5]:7710")), []);
    // Its collector is at another address or port than the policy says; or it is outside its zone.
    for (from, to) in [
        ("10.1.7.20:40000", "10.1.0.6:7710"),
        ("10.1.7.20:40000", "10.1.0.5:7711"),
        ("10.9.7.20:40000", "10.1.0.5:7710"),
    ] {
        let connection = over(from, to);
        let expect = connection.map(LockOut::ReportsElsewhere).into_iter().collect::<Vec<_>>();
        assert_eq!(lock_outs("", "", connection), expect);
    }
    // An agent beside its collector needs no rule.
    assert_eq!(lock_outs("", "", over("127.0.0.1:40000", "127.0.0.1:7710")), []);
    let none = lock_outs(", collectors: ['10.1.0.5:7710']", "", None);
    assert_eq!(none, [LockOut::NoCollector]);
    let other_family = lock_outs(
        "[10.1.0.0/16], mode: enforce}",
        "[10.1.0.0/16, 'fd00:1::/48'], mode: enforce}\n  other: {networks: []}",
        good,
    );
    assert_eq!(other_family, []);
    let v6 = ENFORCED
        .replace("[10.1.0.0/16], mode", "[10.1.0.0/16, 'fd00:1::/48'], mode")
        .replace("[10.1.2.10]", "['fd00:1::2:10']");
    let plan = planned(None, &policy(&v6), "mail", None, &[]);
    assert_eq!(plan.lock_outs, [LockOut::NoManagement], "its administrator has no IPv6");
    let gone = policy(
        &ENFORCED
            .replace("  outer: {networks: [172.20.0.0/16]}\n", "")
            .replace("addresses: [10.1.0.1, 172.20.0.1]", "addresses: [10.1.0.1]"),
    );
    let (host, zone) = ("web-1".parse().unwrap(), "outer".parse().unwrap());
    let known = KnownHost { host: &host, zone: &zone, connection: None, seen: &[] };
    assert_eq!(Outlook::new(None, &gone).of(&known).lock_outs, [LockOut::UnknownZone]);
}

#[test]
fn the_machine_that_asks_is_told_which_zones_it_could_no_more_administer() {
    let new = policy(ENFORCED);
    let outlook = Outlook::new(None, &new);
    let names = |addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let zones = outlook.not_managed_from(&addresses);
        zones.into_iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(&["10.1.9.11"]), [""; 0]);
    assert_eq!(names(&["10.1.9.12", "fd00::1"]), ["inner"], "outer observes");
}

fn flows() -> impl Strategy<Value = String> {
    let network = || {
        (0_u8..8, 29_u8..=32).prop_map(|(last, length)| {
            let network =
                ipnet::Ipv4Net::new(Ipv4Addr::new(10, 1, 0, last), length).unwrap().trunc();
            network.to_string()
        })
    };
    let flow = (network(), network(), prop::sample::select(vec!["a", "b", "c"]));
    prop::collection::vec(flow, 1..6).prop_map(|flows| {
        let mut text = String::from(
            "site: x\nzones: {inner: {networks: [10.1.0.0/29]}}\nservices:\n  \
             a: {tcp: [10-20]}\n  b: {tcp: [15-25], udp: [15]}\n  c: {udp: [10-16]}\nflows:\n  \
             - {from: inner, to: 10.1.0.7/32, service: a}\n  \
             - {from: inner, to: 10.1.0.7/32, service: b}\n  \
             - {from: inner, to: 10.1.0.7/32, service: c}\n",
        );
        for (from, to, service) in flows {
            writeln!(text, "  - {{from: {from}, to: {to}, service: {service}}}").unwrap();
        }
        text
    })
}

proptest! {
    #[test]
    fn every_connection_is_told_of_exactly_when_its_answer_changes(
        old in flows(),
        new in flows(),
        probes in prop::collection::vec((0_u8..8, 0_u8..8, 9_u16..27, any::<bool>()), 64),
    ) {
        let (old, new) = (policy(&old), policy(&new));
        let told = changes(&old, &new);
        for (from, to, port, tcp) in probes {
            let address = |last| IpAddr::V4(Ipv4Addr::new(10, 1, 0, last));
            let carried = if tcp { Carried::Tcp(port) } else { Carried::Udp(port) };
            let opening = Opening { from: address(from), to: address(to), carried };
            let holds = |pieces: &[Piece]| pieces.iter().any(|piece| {
                piece.from.contains(opening.from)
                    && piece.to.contains(opening.to)
                    && piece.service.holds(carried)
            });
            let (before, after) = (old.allows(&opening).is_some(), new.allows(&opening).is_some());
            prop_assert_eq!(holds(&told.added), after && !before);
            prop_assert_eq!(holds(&told.removed), before && !after);
        }
    }
}
