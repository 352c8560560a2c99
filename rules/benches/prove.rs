//! How long questions about packets take: `cargo bench -p bailey-rules --bench prove [-- rules|hosts]`.
//! Medians of processor time in milliseconds, so that a busy machine tells the same, with how they lie to
//! what is aimed at; the nodes that the sets needed, and the most memory that the process held.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "that is what it is for")]
#![allow(clippy::cast_precision_loss, reason = "a rate is no exact number")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::model::field::device;
use bailey_rules::model::network::Network;
use bailey_rules::model::packet::{Device, Packet, Protocol, State, TcpFlags};
use bailey_rules::model::ruleset::Ruleset;
use bailey_rules::model::save;
use bailey_rules::model::trace::{Direction, Tracer, Verdict};
use bailey_rules::name::HostName;
use bailey_rules::policy::{Demand, Policy, REFERENCE};
use bailey_rules::prove::Space;
use bailey_rules::prove::lint::lint;
use bailey_rules::prove::matrix::matrix;
use bailey_rules::prove::site::{Answer, Host, Prover, Result as Proof, Site};

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
        // Drawn in any case, so that all other rules stay as they are.
        let drawn = 1 + chance.below(10_000);
        let port = if rule == odd { 7 } else { drawn };
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
    Host { ruleset: Arc::new(ruleset), network, forwards_v4: true, ..Host::default() }
}

/// Processor time that this thread has used (proc(5), schedstat).
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Runs something several times and says the median, and how that lies to what is aimed at.
fn timed<T>(what: &str, times: usize, aim: Option<f64>, mut run: impl FnMut() -> T) -> T {
    let mut taken = Vec::new();
    let mut last = None;
    for _ in 0..times {
        // What the time before left behind is not given back in this one's time.
        drop(last.take());
        let begun = used();
        last = Some(run());
        taken.push(used().saturating_sub(begun));
    }
    taken.sort_unstable();
    let median = taken[taken.len() / 2].as_secs_f64() * 1e3;
    match aim {
        Some(aim) => {
            let ratio = median / aim;
            println!("{what:<52} {median:>10.3} ms  {ratio:>6.2} of {aim} ms");
        }
        None => println!("{what:<52} {median:>10.3} ms"),
    }
    last.unwrap()
}

fn are_known(results: &[Proof], policy: &Policy) {
    for result in results {
        let demanded = matches!(policy.invariants[&result.invariant].what, Demand::Always { .. });
        let known = !matches!(result.answer, Answer::OutOfModel(_));
        assert!(known || demanded, "{result:?}");
    }
}

/// The gateway of two zones, with a large filter.
fn rules() {
    let (rules, chains) = (5_000, 100);
    let text = filter(rules, chains, u64::MAX);
    let mut together = Duration::ZERO;
    let mut begun = used();
    let ruleset = timed("5,000 rules in 100 chains: read", 5, None, || save::parse(&text).unwrap());
    together += (used().saturating_sub(begun)) / 5;
    let network = Network::default();
    begun = used();
    let (rows, nodes) = timed("  service matrix", 5, None, || {
        let mut space = Space::default();
        let rows = matrix(&mut space, &ruleset, &network, Direction::Forward).unwrap();
        (rows.len(), space.nodes())
    });
    together += (used().saturating_sub(begun)) / 5;
    println!("    {rows} rows, {nodes} nodes");
    let name: HostName = "fw-1".parse().unwrap();
    let policy = Policy::parse("policy.yaml", POLICY).unwrap_or_else(|why| panic!("{why}"));
    let site = Site {
        policy: policy.clone(),
        hosts: BTreeMap::from([(name.clone(), gateway(ruleset.clone()))]),
        links: Vec::new(),
    };
    begun = used();
    let mut prover = timed("  proof of two invariants", 5, None, || {
        let mut prover = Prover::new(site.clone());
        are_known(&prover.prove(), &policy);
        prover
    });
    together += (used().saturating_sub(begun)) / 5;
    println!("    {} nodes", prover.nodes());
    let all = together.as_secs_f64() * 1e3;
    println!(
        "{:<52} {all:>10.3} ms  {:>6.2} of 1000 ms",
        "  read, matrix and proof together",
        all / 1e3
    );
    let changed: Vec<Host> = (0..11)
        .map(|nth| gateway(save::parse(&filter(rules, chains, nth * 401)).unwrap()))
        .collect();
    let mut next: Vec<Host> = changed.iter().cycle().take(33).cloned().collect();
    timed("  one rule changed, proved again", 33, Some(5.0), || {
        prover.update(&name, next.pop().unwrap());
        are_known(&prover.prove(), &policy);
    });
    println!("    {} nodes", prover.nodes());
    let odd = timed("  lint", 1, None, || {
        lint(&mut Space::default(), &ruleset, &network, &[Direction::Forward]).unwrap().len()
    });
    println!("    {odd} findings");
    let tracer = Tracer::new(&ruleset, &network);
    let mut chance = Chance(0xacce);
    let packets: Vec<Packet> = (0..100_000).map(|_| packet(&mut chance)).collect();
    let took = used();
    let accepted = packets
        .iter()
        .filter(|packet| {
            let answer = tracer.trace(packet, Direction::Forward).unwrap();
            answer.verdict == Verdict::Accept
        })
        .count();
    let rate = packets.len() as f64 / (used().saturating_sub(took)).as_secs_f64();
    println!("  packets traced a second: {rate:.0} ({accepted} of {} pass)", packets.len());
}

/// A TCP segment to one of the inner networks.
fn packet(chance: &mut Chance) -> Packet {
    let mut address = |first: u8, second: u64| {
        let second = u8::try_from(chance.below(second)).unwrap();
        let rest = chance.below(65_536);
        IpAddr::from([
            first,
            second,
            u8::try_from(rest >> 8).unwrap(),
            u8::try_from(rest & 255).unwrap(),
        ])
    };
    let (src, dst) = (address(10, 256), address(10, 100));
    let port = |port: u64| u16::try_from(port).ok();
    Packet {
        iif: device("eth0").map(Device),
        oif: device("eth1").map(Device),
        src: Some(src),
        dst: Some(dst),
        proto: Some(Protocol::Number(6)),
        sport: port(40_000),
        dport: port(1 + chance.below(10_000)),
        tcp_flags: Some(TcpFlags(2)),
        state: Some(State::New),
        ..Packet::default()
    }
}

/// The reference policy with 1,000 hosts more.
fn thousand() -> Policy {
    let mut more = String::new();
    for nth in 0..1_000 {
        let (zone, first) = match nth % 4 {
            0 => ("inner", "10.1"),
            1 => ("outer", "172.20"),
            2 => ("counties", "10.33"),
            _ => ("townships", "10.49"),
        };
        let (third, fourth) = (100 + nth / 4 / 200, 1 + nth / 4 % 200);
        writeln!(more, "  h-{nth}: {{zone: {zone}, addresses: [{first}.{third}.{fourth}]}}")
            .unwrap();
    }
    let text = REFERENCE.replacen("\nhosts:\n", &format!("\nhosts:\n{more}"), 1);
    Policy::parse("policy.yaml", &text).unwrap_or_else(|why| panic!("{why}"))
}

/// A site of 1,000 hosts with what the reference policy compiles to.
fn hosts() {
    let policy = thousand();
    let site = timed("1,000 hosts of the reference policy: compile and read", 3, None, || {
        Site::compiled(&policy, "policy.yaml").unwrap()
    });
    println!("    {} hosts", site.hosts.len());
    let mut prover = timed("  proof of 15 invariants", 3, Some(2_000.0), || {
        let mut prover = Prover::new(site.clone());
        are_known(&prover.prove(), &policy);
        prover
    });
    println!("    {} nodes", prover.nodes());
    let name: HostName = "h-0".parse().unwrap();
    let host = site.hosts[&name].clone();
    let (mut open, mut is_open) = (host.clone(), false);
    open.ruleset = Arc::default();
    timed("  one host opened or closed, proved again", 11, None, || {
        is_open = !is_open;
        prover.update(&name, if is_open { open.clone() } else { host.clone() });
        prover.prove()
    });
    prover.update(&name, host);
    are_known(&prover.prove(), &policy);
    // One rule of any of them, of one after the other.
    let some: Vec<HostName> =
        (0..33).map(|nth| format!("h-{}", nth * 30).parse().unwrap()).collect();
    let mut next = some.iter();
    timed("  one rule of some host changed, proved again", some.len(), Some(5.0), || {
        let name = next.next().unwrap();
        prover.update(name, less_one_rule(&site.hosts[name]));
        are_known(&prover.prove(), &policy);
    });
    for name in &some {
        prover.update(name, site.hosts[name].clone());
    }
    are_known(&prover.prove(), &policy);
    for name in ["h-0", "fw-in"] {
        let name: HostName = name.parse().unwrap();
        let host = site.hosts[&name].clone();
        let other = less_one_rule(&host);
        let mut next: Vec<Host> = [host, other].iter().cycle().take(33).cloned().collect();
        timed(&format!("  one rule of {name} changed, proved again"), 33, Some(5.0), || {
            prover.update(&name, next.pop().unwrap());
            are_known(&prover.prove(), &policy);
        });
    }
    println!("    {} nodes", prover.nodes());
}

/// The host without the last rule of its largest chain that says more than where to go on.
fn less_one_rule(host: &Host) -> Host {
    let mut host = host.clone();
    let chains =
        Arc::make_mut(&mut host.ruleset).tables.iter_mut().flat_map(|table| &mut table.chains);
    let chain = chains.max_by_key(|chain| chain.rules.len()).unwrap();
    let last = chain.rules.iter().rposition(|rule| rule.statements.len() > 1).unwrap();
    chain.rules.remove(last);
    host
}

/// The most memory that this process has held (`proc_pid_status(5)`).
fn held() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("  most memory held: {}", held.trim());
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if wants("rules") {
        rules();
        held();
    }
    if wants("hosts") {
        hosts();
        held();
    }
}
