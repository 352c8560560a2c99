//! Compile, then prove: what the compiler makes of a policy keeps every invariant of it, for the shipped
//! example and for policies made by chance.

use std::fmt::Write as _;
use std::sync::Arc;

use bailey_rules::compile::{self, NotCompiled};
use bailey_rules::model::ruleset::{Hook, Place, Statement, Verdict};
use bailey_rules::policy::{Demand, Policy, REFERENCE};
use bailey_rules::prove::site::{Answer, Prover, Site};
use bailey_rules::text::Lang;
use proptest::prelude::*;
use proptest::sample::select;

fn policy(text: &str) -> Policy {
    Policy::parse("policy.yaml", text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// Every invariant that can be proved and is not.
fn unproved(policy: &Policy, prover: &mut Prover) -> Vec<String> {
    let results = prover.prove();
    let wanted = |name: &str| !matches!(policy.invariants[name].what, Demand::Always { .. });
    let open = results.iter().filter(|result| wanted(&result.invariant)).filter_map(|result| {
        let name = &result.invariant;
        match &result.answer {
            Answer::Proved { .. } => None,
            Answer::Broken(breach) => {
                let way: Vec<String> = breach
                    .path
                    .iter()
                    .map(|hop| {
                        let host = hop.host.as_ref().map_or("-", |host| host.as_str());
                        let [input, output] =
                            [&hop.input, &hop.output].map(|one| one.as_deref().unwrap_or("-"));
                        format!("{host} {input} > {output}")
                    })
                    .collect();
                Some(format!("{name}: {} by {}", breach.packet, way.join(", ")))
            }
            Answer::OutOfModel(doubt) => Some(format!("{name}: {doubt:?}")),
        }
    });
    open.collect()
}

#[test]
fn what_the_reference_policy_compiles_to_keeps_its_invariants() {
    let policy = policy(REFERENCE);
    let site = Site::compiled(&policy, "policy.yaml").unwrap();
    assert!(site.hosts.len() > policy.hosts.len(), "somebody stands for all others of a zone");
    assert_eq!(unproved(&policy, &mut Prover::new(site).without_receivers()), Vec::<String>::new());
}

#[test]
fn a_rule_that_the_compiler_would_not_write_breaks_the_proof_and_is_named() {
    let policy = policy(REFERENCE);
    let mut site = Site::compiled(&policy, "policy.yaml").unwrap();
    let gateway = site.hosts.get_mut(&"fw-in".parse().unwrap()).unwrap();
    let wrong = "chain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t\t\
                 ip saddr 10.250.0.0/24 ip daddr 10.1.0.0/16 tcp dport 3389 ct state new accept";
    let text = compile::ruleset(
        &policy,
        "policy.yaml",
        &"fw-in".parse().unwrap(),
        &"machine-rooms".parse().unwrap(),
    )
    .text
    .replace("chain forward {\n\t\ttype filter hook forward priority filter; policy drop;", wrong);
    gateway.ruleset = Arc::new(compile::listed(&text).unwrap());
    let broken = Prover::new(site).without_receivers().invariant("INV-06").unwrap().answer;
    let Answer::Broken(breach) = broken else { panic!("{broken:?}") };
    assert_eq!(breach.packet.dport, Some(3389));
    let line = (1..).zip(text.lines()).find(|(_, line)| line.contains("3389")).unwrap().0;
    let named = format!("at line {line}: ");
    let cut = |lang| breach.cuts.iter().any(|cut| cut.what.in_lang(lang).contains(&named));
    assert!(cut(Lang::En), "{:?}", breach.cuts);
}

#[test]
fn compiled_text_is_read_back_whole_and_nothing_else_is() {
    let policy = policy(REFERENCE);
    let (host, zone) = ("fw-in".parse().unwrap(), "machine-rooms".parse().unwrap());
    let text = compile::ruleset(&policy, "policy.yaml", &host, &zone).text;
    let read = compile::listed(&text).unwrap();
    let [table] = read.tables.as_slice() else { panic!() };
    let chains: Vec<(&str, Option<(Hook, bool)>)> = table
        .chains
        .iter()
        .map(|chain| {
            let base = chain.base.as_ref().map(|base| (base.hook, base.accepts));
            (chain.name.as_str(), base)
        })
        .collect();
    assert_eq!(
        chains,
        [
            ("refused", None),
            ("input", Some((Hook::Input, false))),
            ("output", Some((Hook::Output, false))),
            ("forward", Some((Hook::Forward, false))),
        ]
    );
    let rules = table.chains.iter().map(|chain| chain.rules.len()).sum::<usize>();
    let in_blocks = text.lines().filter(|line| line.starts_with("\t\t")).count();
    let heads = text.lines().filter(|line| {
        let words = ["type ", "flags ", "elements ", "     "];
        words.iter().any(|word| line.starts_with(&format!("\t\t{word}")) || line.contains("\t\t\t"))
    });
    assert_eq!(rules, in_blocks - heads.count(), "one rule a line");
    for (chain, rule) in
        table.chains.iter().flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule)))
    {
        let Place::Line(line) = rule.origin.place else { panic!() };
        let written = text.lines().nth(line as usize - 1).unwrap();
        let ends = match rule.statements.last() {
            Some(Statement::Verdict(Verdict::Accept)) => "accept",
            Some(Statement::Verdict(Verdict::Drop)) => "drop",
            Some(Statement::Verdict(Verdict::Goto(_))) => "goto refused",
            other => {
                assert_eq!(chain.name, "refused", "{other:?}");
                "log prefix"
            }
        };
        assert!(written.contains(ends), "{written}: {:?}", rule.statements);
    }
    for (wrong, what) in [
        ("ct state invalid goto refused", "ct mark set 1"),
        ("tcp dport 22", "tcp dport != 22"),
        ("policy drop;", "policy drop; devices"),
        ("iif lo accept", "jump elsewhere"),
        ("flags interval", "flags dynamic"),
        ("table inet bailey {", "table inet other {"),
    ] {
        let refused = compile::listed(&text.replacen(wrong, what, 1));
        let Err(NotCompiled { text, .. }) = refused else { panic!("{what} was taken") };
        assert!(text.contains(what), "{text}");
    }
    let cut = text.rsplit_once('}').unwrap().0;
    assert!(compile::listed(cut).is_err());
    assert!(compile::listed(&format!("{text}{text}")).is_err());
}

/// A policy of three zones and two gateways, with every kind of permit, but without invariants.
fn any_policy() -> impl Strategy<Value = String> {
    let inside = select(vec!["a", "a1", "10.1.0.0/30", "10.1.0.4/31", "g"]);
    let service = select(vec!["tcp", "udp", "both", "echo"]);
    let flow = (inside.clone(), inside, service.clone());
    let end = select(vec![
        ("a", "b", "a1"),
        ("a", "b", "b1"),
        ("b", "a", "a1"),
        ("b", "a", "b1"),
        ("a", "c", "a1"),
        ("c", "b", "b1"),
        ("b", "internet", "b1"),
        ("internet", "b", "b1"),
        ("g", "c", "c1"),
    ]);
    let point = (end, service);
    let modes = prop::collection::vec(select(vec!["enforce", "observe"]), 3);
    (prop::collection::vec(flow, 0..5), prop::collection::vec(point, 0..5), modes, 1_u16..200)
        .prop_map(|(flows, points, modes, port)| {
            let mut text = format!(
                "site: x\nzones:\n  \
                 a: {{networks: [10.1.0.0/29, 'fd00:1::/125'], mode: {}}}\n  \
                 b: {{networks: [10.2.0.0/29, 10.9.0.0/30, 'fd00:2::/125'], mode: {}}}\n  \
                 c: {{networks: [10.3.0.0/29], mode: {}}}\n\
                 groups:\n  g: [a1, 10.1.0.6/32, 'fd00:1::4/126']\n\
                 services:\n  tcp: {{tcp: [{port}]}}\n  udp: {{udp: [{port}-{}]}}\n  \
                 both: {{tcp: [{}], udp: [{port}]}}\n  \
                 echo: {{icmp: [echo-request], icmpv6: [echo-request]}}\n\
                 management:\n  a: {{from: g, service: tcp, collectors: ['10.1.0.2:77']}}\n  \
                 b: {{from: b1, service: udp}}\n  c: {{from: c, service: both}}\n\
                 hosts:\n  a1: {{zone: a, addresses: [10.1.0.1, 'fd00:1::1']}}\n  \
                 b1: {{zone: b, addresses: [10.2.0.1, 'fd00:2::1']}}\n  \
                 c1: {{zone: c, addresses: [10.3.0.1]}}\n  \
                 gw-1: {{zone: a, addresses: [10.1.0.3, 10.2.0.3], forwards: true}}\n  \
                 gw-2: {{zone: c, addresses: [10.3.0.3, 10.2.0.4, 'fd00:2::4'], forwards: true}}\n\
                 flows:\n  - {{from: a, to: a1, service: udp}}\n",
                modes[0],
                modes[1],
                modes[2],
                port + 7,
                port + 1,
            );
            for (from, to, service) in flows {
                writeln!(text, "  - {{from: {from}, to: {to}, service: {service}}}").unwrap();
            }
            text.push_str(
                "exchange_points:\n  EX-0: {from: a, to: c, hosts: [a1], service: tcp}\n",
            );
            for (nth, ((from, to, host), service)) in (1..).zip(points) {
                writeln!(
                    text,
                    "  EX-{nth}: {{from: {from}, to: {to}, hosts: [{host}], service: {service}}}"
                )
                .unwrap();
            }
            text
        })
}

const PARTIES: [&str; 10] =
    ["a", "b", "c", "internet", "a1", "b1", "c1", "g", "10.1.0.4/31", "10.2.0.0/30"];

/// Invariants that a policy may have, as lines of it.
fn any_invariants() -> impl Strategy<Value = Vec<String>> {
    let ends = (select(PARTIES.to_vec()), select(PARTIES.to_vec()));
    let one =
        (ends, prop::option::of(0_usize..6)).prop_map(|((from, to), through)| match through {
            None => format!("{{never: [{from}, {to}]}}"),
            Some(nth) => format!("{{only: [{from}, {to}], through: [EX-{nth}]}}"),
        });
    prop::collection::vec(one, 6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_accepted_policy_compiles_to_keeps_its_invariants(
        text in any_policy(), invariants in any_invariants(),
    ) {
        let read = |text: &str| Policy::parse("policy.yaml", text).ok();
        // The reader refuses invariants that the permits contradict.
        let mut accepted = String::new();
        for (nth, one) in (1..).zip(&invariants) {
            let line = format!("  INV-{nth}: {one}\n");
            if read(&format!("{text}invariants:\n{accepted}{line}")).is_some() {
                accepted.push_str(&line);
            }
        }
        prop_assume!(!accepted.is_empty());
        let text = format!("{text}invariants:\n{accepted}");
        let policy = policy(&text);
        let site = Site::compiled(&policy, "policy.yaml").unwrap();
        let open = unproved(&policy, &mut Prover::new(site).without_receivers());
        prop_assert_eq!(open, Vec::<String>::new(), "{}", text);
    }
}
