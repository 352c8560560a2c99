//! How long questions about packets take: `cargo bench -p bailey-rules --bench prove`. Medians in
//! milliseconds, and the nodes that the sets needed.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use bailey_rules::model::network::Network;
use bailey_rules::model::ruleset::Ruleset;
use bailey_rules::model::save;
use bailey_rules::model::trace::Direction;
use bailey_rules::name::HostName;
use bailey_rules::policy::Policy;
use bailey_rules::prove::Space;
use bailey_rules::prove::lint::lint;
use bailey_rules::prove::matrix::matrix;
use bailey_rules::prove::site::{Answer, Host, Prover, Site};

const POLICY: &str = "
site: bench
zones:
  inner: {networks: [10.0.0.0/8]}
  outer: {networks: [172.16.0.0/12]}
services:
  web: {tcp: [80, 443]}
flows:
  - {from: inner, to: inner, service: web}
invariants:
  INV-01: {never: [outer, inner]}
  INV-02: {never: [inner, outer]}
hosts:
  fw-1: {zone: inner, addresses: [10.0.0.1, 172.16.0.1], forwards: true}
";

/// A number by chance, the same each time (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A filter of so many rules in so many chains, of which each is for one /16 of the inner network. `odd`
/// makes one rule another.
fn filter(rules: u64, chains: u64, odd: u64) -> String {
    let mut chance = Chance(0x5eed);
    let mut text = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n".to_owned();
    for chain in 0..chains {
        writeln!(text, ":c{chain} - [0:0]").unwrap();
    }
    text.push_str("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
    for chain in 0..chains {
        writeln!(text, "-A FORWARD -d 10.{chain}.0.0/16 -j c{chain}").unwrap();
    }
    for rule in 0..rules {
        let chain = rule % chains;
        let (source, host) = (chance.below(65_536), chance.below(65_536));
        let port = if rule == odd { 7 } else { 1 + chance.below(10_000) };
        let verdict = if chance.below(10) == 0 { "DROP" } else { "ACCEPT" };
        writeln!(
            text,
            "-A c{chain} -s 10.{}.{}.0/24 -d 10.{chain}.{}.{}/32 -p tcp -m tcp --dport {port} -j {verdict}",
            source >> 8,
            source & 255,
            host >> 8,
            host & 255,
        )
        .unwrap();
    }
    text.push_str("COMMIT\n");
    text
}

fn gateway(ruleset: Ruleset) -> Host {
    let mut network = Network::default();
    network
        .add_addresses(
            "2: eth0    inet 172.16.0.1/12 scope global\n3: eth1    inet 10.0.0.1/8 scope global\n",
        )
        .unwrap();
    network.add_routes("172.16.0.0/12 dev eth0\n10.0.0.0/8 dev eth1\n").unwrap();
    Host { ruleset, network, forwards_v4: true, ..Host::default() }
}

fn timed<T>(what: &str, times: usize, mut run: impl FnMut() -> T) -> T {
    let mut taken = Vec::new();
    let mut last = None;
    for _ in 0..times {
        let begun = Instant::now();
        last = Some(run());
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    println!("{what:<48} {:>10.3} ms", taken[taken.len() / 2].as_secs_f64() * 1e3);
    last.unwrap()
}

fn main() {
    let (rules, chains) = (5_000, 100);
    let text = filter(rules, chains, u64::MAX);
    let ruleset = timed("5,000 rules, 100 chains: read", 5, || save::parse(&text).unwrap());
    let network = Network::default();
    let (rows, nodes) = timed("  service matrix", 5, || {
        let mut space = Space::default();
        let rows = matrix(&mut space, &ruleset, &network, Direction::Forward).unwrap();
        (rows.len(), space.nodes())
    });
    println!("    {rows} rows, {nodes} nodes");
    let odd = timed("  lint", 1, || {
        lint(&mut Space::default(), &ruleset, &network, &[Direction::Forward]).unwrap().len()
    });
    println!("    {odd} findings");
    let name: HostName = "fw-1".parse().unwrap();
    let policy = Policy::parse("policy.yaml", POLICY).unwrap_or_else(|why| panic!("{why}"));
    let site = Site {
        policy,
        hosts: BTreeMap::from([(name.clone(), gateway(ruleset.clone()))]),
        links: Vec::new(),
    };
    let mut prover = timed("  proof of two invariants", 5, || {
        let mut prover = Prover::new(site.clone());
        let results = prover.prove();
        assert!(results.iter().all(|one| !matches!(one.answer, Answer::OutOfModel(_))));
        prover
    });
    println!("    {} nodes", prover.nodes());
    let changed: Vec<Host> = (0..11)
        .map(|nth| gateway(save::parse(&filter(rules, chains, nth * 401)).unwrap()))
        .collect();
    let mut next = changed.iter().cycle();
    timed("  one rule changed, proved again", 11, || {
        prover.update(&name, next.next().unwrap().clone());
        prover.prove()
    });
}
