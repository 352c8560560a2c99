//! Compile, load, read back, prove: what the compiler makes of a policy keeps every invariant of it, and
//! one wrong rule is found with its packet. The rulesets are read from the kernel, as they would be from
//! a host. Needs root for a network namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::namespace::{self, alone, run};
use bailey_rules::compile;
use bailey_rules::model::network::Network;
use bailey_rules::model::nft;
use bailey_rules::model::ruleset::{
    Match, Origin, Place, Rule, Ruleset, Statement, Table, Verdict,
};
use bailey_rules::name::HostName;
use bailey_rules::policy::{Policy, REFERENCE};
use bailey_rules::prove::site::{Answer, Host, Prover, Site};

/// What the kernel has when it was given a table.
fn read_back(text: &str) -> Ruleset {
    namespace::nft(&format!("flush ruleset\n{text}"));
    nft::parse(&run("nft -j list ruleset")).unwrap()
}

/// A host of the policy with an interface for each of its addresses, in the zone's network.
fn host(policy: &Policy, name: &HostName) -> Host {
    let entry = &policy.hosts[name];
    let (mut addresses, mut routes) = (String::new(), String::new());
    // The addresses of one zone are on one interface, and stand together as `ip -o addr` prints them.
    let place = |address: &std::net::IpAddr| {
        let zone = policy.zone_of(*address).unwrap();
        policy.zones.keys().position(|one| one == zone).unwrap()
    };
    let mut own = entry.addresses.clone();
    own.sort_by_key(place);
    for address in &own {
        let mut networks = policy.zones.values().flat_map(|zone| &zone.networks);
        let network = networks.find(|network| network.contains(address)).unwrap();
        let (number, length) = (place(address), network.prefix_len());
        let family = if address.is_ipv6() { "inet6" } else { "inet" };
        addresses.push_str(&format!(
            "{number}: eth{number}    {family} {address}/{length} scope global\n"
        ));
        let pref = if address.is_ipv6() { " pref medium" } else { "" };
        routes.push_str(&format!("{network} dev eth{number}{pref}\n"));
    }
    let mut network = Network::default();
    network.add_addresses(&addresses).unwrap();
    network.add_routes(&routes).unwrap();
    let forwards = policy.forwards(name);
    let compiled = compile::ruleset(policy, "policy.yaml", name, &entry.zone);
    Host {
        zone: Some(entry.zone.clone()),
        ruleset: Arc::new(read_back(&compiled.text)),
        network,
        forwards_v4: forwards,
        forwards_v6: forwards,
        ..Host::default()
    }
}

fn reference() -> Site {
    let policy = Policy::parse("policy.yaml", REFERENCE).unwrap();
    let names: Vec<HostName> = policy.hosts.keys().cloned().collect();
    let hosts: BTreeMap<HostName, Host> =
        names.into_iter().map(|name| (name.clone(), host(&policy, &name))).collect();
    Site { policy, hosts, links: Vec::new() }
}

/// What a table does, in words that do not depend on how its parts are numbered.
fn meaning(ruleset: &Ruleset) -> Vec<String> {
    let [table] = ruleset.tables.as_slice() else { panic!("one table") };
    let mut lines = vec![format!("{:?} {}", table.family, table.name)];
    for chain in &table.chains {
        lines.push(format!("{} {:?}", chain.name, chain.base));
        for rule in &chain.rules {
            let statements: Vec<String> =
                rule.statements.iter().map(|statement| words(table, statement)).collect();
            lines.push(format!("  {} {:?}", statements.join("; "), rule.origin.comment));
        }
    }
    lines
}

fn words(table: &Table, statement: &Statement) -> String {
    match statement {
        Statement::Match(Match::Lookup { keys, set, not }) => {
            let set = table.set(*set);
            let mut elements: Vec<String> =
                set.elements.iter().map(|element| format!("{element:?}")).collect();
            elements.sort();
            format!("{keys:?} in {} {elements:?} {} {not}", set.name, set.changing)
        }
        Statement::Verdict(Verdict::Goto(to)) => format!("goto {}", table.chain(*to).name),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_compiled_ruleset_that_is_read_back_means_what_the_kernel_lists_of_it() {
    alone(|| {
        let policy = Policy::parse("policy.yaml", REFERENCE).unwrap();
        let check = |text: &str| {
            let read = compile::listed(text).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(meaning(&read), meaning(&read_back(text)), "{text}");
        };
        for (host, entry) in &policy.hosts {
            check(&compile::ruleset(&policy, "policy.yaml", host, &entry.zone).text);
        }
        for zone in policy.zones.keys() {
            let other = "some-other-host".parse().unwrap();
            check(&compile::ruleset(&policy, "policy.yaml", &other, zone).text);
            check(&compile::quarantine(&policy, "policy.yaml", &other, zone));
        }
    });
}

#[test]
fn what_the_reference_policy_compiles_to_keeps_its_invariants_and_a_wrong_rule_breaks_one() {
    alone(|| {
        let mut prover = Prover::new(reference());
        let results = prover.prove();
        assert!(!results.is_empty());
        for result in &results {
            match &result.answer {
                Answer::Proved { .. } => {}
                // The policy gives no host an address on the wire to the provider.
                Answer::OutOfModel(doubt)
                    if doubt.statement == "no wire is known that leads to the Internet" => {}
                other => panic!("{}: {other:#?}", result.invariant),
            }
        }
        // One rule that nobody wanted, on the gateway of the inner network.
        let gateway: &HostName = &"fw-in".parse().unwrap();
        let mut wrong = prover.site().hosts[gateway].clone();
        let chains =
            Arc::make_mut(&mut wrong.ruleset).tables.iter_mut().flat_map(|table| &mut table.chains);
        let forward = chains.into_iter().find(|chain| chain.name == "forward").unwrap();
        let accept = Rule {
            statements: vec![Statement::Verdict(Verdict::Accept)],
            origin: Origin {
                place: Place::Handle(4711),
                text: "accept".to_owned(),
                comment: None,
                counted: None,
            },
        };
        forward.rules.insert(0, accept);
        let right = prover.site().hosts[gateway].clone();
        prover.update(gateway, wrong);
        let results = prover.prove();
        let broken = results.iter().find_map(|result| match &result.answer {
            Answer::Broken(breach) => Some(breach),
            Answer::Proved { .. } | Answer::OutOfModel(_) => None,
        });
        let breach = broken.unwrap_or_else(|| panic!("{gateway} lets everything through"));
        let text = |cut: &bailey_rules::prove::site::Cut| {
            cut.what.in_lang(bailey_rules::text::Lang::En).contains("handle 4711")
        };
        assert!(breach.cuts.iter().any(text), "{breach:#?}");
        prover.update(gateway, right);
        assert!(!prover.prove().iter().any(|result| matches!(result.answer, Answer::Broken(_))));
    });
}
