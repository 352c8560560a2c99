//! What a new policy changes.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use bailey_rules::plan::{Changes, Piece, changes};
use bailey_rules::policy::{Addresses, Carried, Opening, Party, Policy};
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
