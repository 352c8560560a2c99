//! What the checks say of proofs.

use std::sync::Arc;

use bailey_rules::check::{State, Verdict};
use bailey_rules::compile::PolicyLine;
use bailey_rules::prove::Example;
use bailey_rules::prove::site::told::{About, Answer, Basis, Breach, By, Cut, Hop, Proof};
use bailey_rules::text::Text;

use crate::site::{NOW, Site};

fn packet() -> Example {
    Example {
        iif: None,
        oif: None,
        src: "172.20.1.10".parse().unwrap(),
        dst: "10.1.7.20".parse().unwrap(),
        proto: "tcp".into(),
        sport: Some(40_000),
        dport: Some(443),
        icmp_type: None,
        tcp_flags: Some("syn".into()),
        state: "new".into(),
    }
}

fn broken() -> Answer {
    let by = By {
        hook: "forward".into(),
        family: "inet".into(),
        table: "bailey".into(),
        chain: "forward".into(),
        rule: Some("tcp dport 443 accept".into()),
        comment: Some("policy.yaml:14 flow 3".into()),
        handle: Some(118),
        line: None,
        policy: PolicyLine::read("policy.yaml:14 flow 3"),
    };
    let hop = Hop {
        host: Some("fw-1".parse().unwrap()),
        iif: Some("eth0".into()),
        oif: Some("eth1".into()),
        packet: packet(),
        by: vec![by],
    };
    Answer::Broken {
        breach: Breach {
            packet: packet(),
            path: vec![hop],
            end: Text::new("it is delivered to oa-17", "报文被交付给 oa-17"),
            cuts: vec![Cut {
                host: "fw-1".parse().unwrap(),
                what: Text::new("remove the rule at handle 118", "删除句柄 118 的规则"),
            }],
        },
    }
}

fn doubted() -> Answer {
    Answer::OutOfModel {
        statement: "meta cgroup 7".to_owned(),
        at: Some("fw-1: inet filter forward".to_owned()),
        wanted: Text::new("the facts that are missing", "补全缺失的事实"),
        perhaps: None,
    }
}

fn about(answer: Option<Answer>) -> About {
    let proof = |answer| Proof {
        invariant: "INV-01".to_owned(),
        line: 7,
        answer,
        hosts: ["fw-1".parse().unwrap()].into(),
        basis: Some(Basis {
            proved_at: NOW,
            took_micros: 1,
            inputs: String::new(),
            facts: Vec::new(),
        }),
    };
    About {
        invariant: "INV-01".to_owned(),
        proof: answer.map(|answer| Arc::new(proof(answer))),
        old: None,
        breach_here: false,
        doubt_here: false,
    }
}

fn verdicts(check: &str, about: About) -> Vec<Verdict> {
    let mut site = Site::new();
    site.proofs = vec![about];
    site.verdicts(check)
}

/// What a check says, where it says anything.
fn said(check: &str, about: About) -> Option<State> {
    let verdicts = verdicts(check, about);
    assert!(verdicts.len() < 2);
    verdicts.first().map(|verdict| {
        assert!(!verdict.evidence.is_empty() && !verdict.why.zh.is_ascii(), "{verdict:?}");
        assert_eq!(verdict.subject, "INV-01");
        verdict.state()
    })
}

#[test]
fn a_breach_is_told_of_one_host_and_with_all_that_shows_it() {
    let here = || About { breach_here: true, ..about(Some(broken())) };
    assert_eq!(said("invariant", here()), Some(State::Critical));
    assert_eq!(said("invariant", about(Some(broken()))), None, "it is told of another");
    let verdict = verdicts("invariant", here()).remove(0);
    let value = |fact: &str| {
        verdict.evidence.iter().find(|one| one.fact == fact).map(|one| one.value.as_str()).unwrap()
    };
    assert_eq!(value("proof.packet"), "172.20.1.10:40000 > 10.1.7.20:443 tcp new");
    assert_eq!(
        value("proof.path"),
        "fw-1 eth0 > eth1  forward  inet bailey forward  handle 118: tcp dport 443 accept \
         (policy.yaml:14 flow 3)"
    );
    assert_eq!(value("proof.cut"), "fw-1: remove the rule at handle 118");
}

#[test]
fn only_a_fresh_proof_says_that_all_is_well() {
    let proved = || Answer::Proved { assumptions: Vec::new() };
    assert_eq!(said("invariant", about(Some(proved()))), Some(State::Ok));
    let old = Some(Text::new("long ago", "很久以前"));
    assert_eq!(said("invariant", About { old, ..about(Some(proved())) }), Some(State::Stale));
    for answer in [None, Some(doubted())] {
        let here = About { breach_here: true, ..about(answer) };
        assert_eq!(said("invariant", here), Some(State::Unknown), "it may still be broken");
    }
    assert_eq!(said("invariant", about(Some(doubted()))), None);
}

#[test]
fn what_is_not_understood_is_a_warning_where_it_stands() {
    let here = |answer| About { doubt_here: true, ..about(answer) };
    assert_eq!(said("proof", here(Some(doubted()))), Some(State::Warning));
    assert_eq!(said("proof", here(Some(broken()))), Some(State::Ok), "that is decided");
    assert_eq!(said("proof", here(None)), Some(State::Unknown));
    assert_eq!(said("proof", about(Some(doubted()))), None, "it is told of another");
    let why = verdicts("proof", here(Some(doubted()))).remove(0).why;
    assert!(why.en.contains("meta cgroup 7 (fw-1: inet filter forward)"), "{}", why.en);
}
