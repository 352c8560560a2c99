//! The kernel as the judge of the tracer and of the sets that proofs are made of: rulesets made by
//! chance are loaded, packets at the boundaries of what rules tell apart are sent for real, and
//! wherever either is sure, the kernel did what it says. Needs root; everything happens in a network
//! namespace of its own. What bridges and interfaces filter is judged in [`frames`].
//!
//! A long run: `JUDGE_RULESETS=10000 JUDGE_PACKETS=500 JUDGE_SEED=1` with `--ignored`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "how much was judged is of interest")]

mod frames;
mod generate;
mod sets;
mod wire;

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use bailey_rules::model::network::Network;
use bailey_rules::model::packet::{
    Device, IcmpKind, IcmpType, Mac, Packet, Protocol, State, TcpFlags, mac,
};
use bailey_rules::model::ruleset::{ChainKind, Data, Match, Ruleset, Statement, Verdict as Ruled};
use bailey_rules::model::trace::{Certainty, Direction, Explained, Happened, Tracer, Verdict};
use bailey_rules::model::{field, nft, save};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;

use self::generate::Chance;
use self::sets::Said;
use self::wire::{Sent, Wire, feed, run};

/// Rulesets of every run of the tests.
const RULESETS: usize = 200;
/// Packets for each.
const PACKETS: usize = 200;
/// Packets for each seed that is kept.
const PACKETS_AGAIN: usize = 500;
/// Whatever was sent has been through the kernel after this, at the latest.
const PATIENCE: Duration = Duration::from_secs(20);

/// Seeds on which the tracer and the kernel once disagreed.
const REGRESSIONS: &str = include_str!("regressions.txt");

/// Notes the number of every packet of the test that comes through, and lets nothing further.
const WITNESS: &str = "\
table inet witness {
  set seen4 { typeof ip id; size 65535; flags dynamic; }
  set seen6 { typeof ip6 flowlabel; size 65535; flags dynamic; }
  chain input { type filter hook input priority 1000; policy accept;
    ip dscp 1 add @seen4 { ip id } drop
    ip6 dscp 1 add @seen6 { ip6 flowlabel } drop
    drop
  }
  chain postrouting { type filter hook postrouting priority 1000; policy accept;
    ip dscp 1 add @seen4 { ip id } drop
    ip6 dscp 1 add @seen6 { ip6 flowlabel } drop
    drop
  }
}
table netdev witness {
  counter met { }
  chain ingress { type filter hook ingress device \"near\" priority -2000; policy accept;
    ether saddr 02:00:00:00:00:01 counter name met
  }
}
";

fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root for a network namespace");
        // Packets keep their order on one processor.
        let here = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| here.is_set(*cpu).unwrap_or(false)).unwrap();
        let mut one = CpuSet::new();
        one.set(first).unwrap();
        sched_setaffinity(Pid::from_raw(0), &one).unwrap();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Connections that both sides have sent to: source, destination, protocol and ports of the first
/// packet.
const OPEN: [(&str, &str, &str, u16, u16); 6] = [
    ("10.1.0.1", "10.2.0.1", "tcp", 4_000, 22),
    ("10.1.0.2", "10.2.0.2", "tcp", 4_000, 80),
    ("10.1.0.1", "10.2.0.8", "udp", 4_000, 90),
    ("10.2.0.1", "10.1.0.3", "tcp", 1_024, 443),
    ("10.1.0.1", "10.3.0.1", "tcp", 4_000, 22),
    ("fd00:1::1", "fd00:2::1", "tcp", 4_000, 22),
];

fn open_connections() {
    for (src, dst, protocol, sport, dport) in OPEN {
        let state = if protocol == "tcp" { "--state ESTABLISHED " } else { "" };
        run(&format!(
            "conntrack -I -p {protocol} -s {src} -d {dst} --sport {sport} --dport {dport} {state}-u SEEN_REPLY,ASSURED -t 100000"
        ));
    }
}

/// A packet with what the tracer is told of it.
struct Case {
    sent: Sent,
    direction: Direction,
    state: State,
}

fn case(chance: &mut Chance) -> Case {
    let direction = match chance.below(10) {
        0 | 1 => Direction::Input,
        2 => Direction::Output,
        _ => Direction::Forward,
    };
    if direction != Direction::Output && chance.one_in(6) {
        return established(chance);
    }
    let v6 = direction != Direction::Output && chance.one_in(3);
    let sources = if v6 { &generate::SOURCES6[..] } else { &generate::SOURCES4[..] };
    let targets: &[&str] = match (direction, v6) {
        (Direction::Input, false) => &generate::LOCAL4,
        (Direction::Input, true) => &generate::LOCAL6,
        (_, false) => &generate::TARGETS4,
        (_, true) => &generate::TARGETS6,
    };
    let src = match direction {
        Direction::Output => chance.pick(&generate::LOCAL4[..1]),
        _ => chance.pick(sources),
    };
    let protocol = [6, 6, 6, 17, 17, if v6 { 58 } else { 1 }][chance.below(6)];
    let (kind, state) = match protocol {
        // What connection tracking takes for a first packet, and what it does not.
        6 => [
            (2, State::New),
            (2, State::New),
            (2, State::New),
            (16, State::Invalid),
            (18, State::Invalid),
            (0, State::Invalid),
            (20, State::Invalid),
        ][chance.below(7)],
        1 => [(8, State::New), (0, State::Invalid)][chance.below(2)],
        58 => [(128, State::New), (129, State::Invalid)][chance.below(2)],
        _ => (0, State::New),
    };
    let sport = chance.pick(&generate::PORTS).parse().unwrap();
    let dport = chance.pick(&generate::PORTS).parse().unwrap();
    let dst = chance.pick(targets).parse().unwrap();
    let sent = Sent { src: src.parse().unwrap(), dst, protocol, sport, dport, kind };
    let known = OPEN.iter().any(|(src, dst, ..)| {
        let pair = [src.parse().ok(), dst.parse().ok()];
        pair == [Some(sent.src), Some(sent.dst)] || pair == [Some(sent.dst), Some(sent.src)]
    });
    if known && state == State::Invalid {
        // It might belong to a connection that is open after all.
        return case(chance);
    }
    if known
        && OPEN.iter().any(|(.., sport, dport)| {
            [(*sport, *dport), (*dport, *sport)].contains(&(sent.sport, sent.dport))
        })
    {
        return case(chance);
    }
    Case { sent, direction, state }
}

fn established(chance: &mut Chance) -> Case {
    let (src, dst, protocol, sport, dport) = OPEN[chance.below(OPEN.len())];
    let local = dst == "10.3.0.1";
    // Only what comes from the near side is put on its wire.
    let back = src.starts_with("10.2");
    let (src, dst, sport, dport) =
        if back { (dst, src, dport, sport) } else { (src, dst, sport, dport) };
    let protocol = if protocol == "tcp" { 6 } else { 17 };
    let kind = if protocol == 6 { 16 } else { 0 };
    Case {
        sent: Sent {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol,
            sport,
            dport,
            kind,
        },
        direction: if local { Direction::Input } else { Direction::Forward },
        state: State::Established,
    }
}

/// The same packet as the tracer is asked about it.
fn asked(case: &Case) -> Packet {
    let sent = &case.sent;
    let arrives = case.direction != Direction::Output;
    let ports = matches!(sent.protocol, 6 | 17);
    Packet {
        iif: arrives.then(|| Device(field::device("near").unwrap())),
        oif: None,
        src: Some(sent.src),
        dst: Some(sent.dst),
        proto: Some(Protocol::Number(sent.protocol)),
        sport: ports.then_some(sent.sport),
        dport: ports.then_some(sent.dport),
        icmp_type: (!ports)
            .then_some(IcmpType { kind: IcmpKind::Number(sent.kind), code: Some(0) }),
        tcp_flags: (sent.protocol == 6).then_some(TcpFlags(sent.kind)),
        state: Some(case.state),
        mac: arrives.then(|| Mac(mac("02:00:00:00:00:01").unwrap())),
    }
}

/// A ruleset as it was loaded, and as the programs list it.
struct Loaded {
    text: String,
    ruleset: Ruleset,
}

fn load(chance: &mut Chance) -> Loaded {
    let (with_nft, legacy, ipt_nft) = match chance.below(8) {
        0..=4 => (true, false, false),
        5 => (false, true, false),
        6 => (false, false, true),
        _ => (true, true, false),
    };
    let mut text = String::new();
    let tables = if with_nft { generate::nft(chance) } else { Vec::new() };
    let nft_text = load_nft(WITNESS, tables);
    text.push_str(&nft_text);
    for (v6, four) in [(false, ""), (true, "6")] {
        for wanted in [(legacy, "legacy"), (ipt_nft, "nft")] {
            // Legacy tables stay until they are replaced.
            if !wanted.0 && wanted.1 == "nft" {
                continue;
            }
            let rules = if wanted.0 { generate::iptables(chance, v6) } else { String::new() };
            let program = format!("ip{four}tables-{}-restore", wanted.1);
            let (loaded, given) = load_iptables(&program, &rules);
            if wanted.0 {
                writeln!(text, "{program} (loaded: {loaded})\n{given}").unwrap();
            }
        }
    }
    let mut ruleset = Ruleset::default();
    ruleset.join(nft::parse(&listing("witness")).unwrap());
    for (wanted, kind) in [(legacy, "legacy"), (ipt_nft, "nft")] {
        for four in ["", "6"] {
            if wanted {
                let saved = run(&format!("ip{four}tables-{kind}-save"));
                ruleset.join(save::parse(&saved).unwrap());
            }
        }
    }
    Loaded { text, ruleset }
}

/// Loads what nft takes beside a witness, and gives that.
fn load_nft(witness: &str, mut lines: Vec<String>) -> String {
    loop {
        let text = format!("flush ruleset\n{witness}{}\n", lines.join("\n"));
        let before = text.lines().count() - lines.len();
        let Err(why) = feed("nft -f /dev/stdin", &text) else { return lines.join("\n") + "\n" };
        let wrong: BTreeSet<usize> = why
            .lines()
            .filter_map(|line| line.strip_prefix("/dev/stdin:")?.split(':').next()?.parse().ok())
            .collect();
        assert!(!wrong.is_empty(), "nft refuses, and does not say which line: {why}");
        let mut number = before;
        lines.retain(|_| {
            number += 1;
            !wrong.contains(&number)
        });
    }
}

/// Loads what iptables-restore takes, without the lines that it does not.
fn load_iptables(program: &str, rules: &str) -> (bool, String) {
    // A policy stays until another one is given.
    let empty = "*raw\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*mangle\nCOMMIT\n*nat\nCOMMIT\n\
                 *filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n";
    if program.contains("legacy") {
        feed(program, empty).unwrap();
    }
    let mut lines: Vec<&str> = rules.lines().collect();
    for _ in 0..lines.len() {
        if lines.is_empty() {
            return (false, String::new());
        }
        let text = lines.join("\n") + "\n";
        let Err(why) = feed(program, &text) else { return (true, text) };
        let place = why.split("line").nth(1).and_then(|rest| {
            rest.trim_start_matches([':', ' '])
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
        let place: usize = place.unwrap_or_else(|| panic!("{program}: {why}\n{text}"));
        assert!(lines[place - 1].starts_with("-A"), "{program}: {why}\n{text}");
        lines.remove(place - 1);
    }
    (false, String::new())
}

/// What nft lists, without the tables of one name. Its version 1.0.6 does not tell for which
/// interface a chain is; here that is the end of its name.
fn listing(without: &str) -> String {
    let mut listing: serde_json::Value = serde_json::from_str(&run("nft -j list ruleset")).unwrap();
    let all = listing["nftables"].as_array_mut().unwrap();
    all.retain(|object| {
        let mut objects = object.as_object().unwrap().values();
        !objects.any(|what| what["table"] == without || what["name"] == without)
    });
    for chain in all.iter_mut().filter_map(|object| object.get_mut("chain")) {
        let device =
            chain["name"].as_str().and_then(|name| Some(name.split_once('_')?.1.to_owned()));
        if let Some(device) = device {
            chain["dev"] = device.into();
        }
    }
    listing.to_string()
}

/// Numbers of the packets that a set of the witness has.
fn seen_in(family: &str, set: &str) -> BTreeSet<u64> {
    let listing = run(&format!("nft -j list set {family} witness {set}"));
    let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
    let all = listing["nftables"].as_array().unwrap();
    let set = all.iter().find_map(|object| object.get("set")).unwrap();
    let elements = set["elem"].as_array().cloned().unwrap_or_default();
    elements.iter().filter_map(serde_json::Value::as_u64).collect()
}

/// Waits until a counter of the witness has come to a number.
fn counted(counter: &str, wanted: usize) {
    let until = Instant::now() + PATIENCE;
    loop {
        let listing = run(&format!("nft -j list counter netdev witness {counter}"));
        let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
        let all = listing["nftables"].as_array().unwrap();
        let packets = all.iter().find_map(|object| object["counter"]["packets"].as_u64()).unwrap();
        if packets >= u64::try_from(wanted).unwrap() {
            return;
        }
        assert!(Instant::now() < until, "{packets} of {wanted} packets arrived");
    }
}

fn network() -> Network {
    let mut network = Network::default();
    network.add_addresses(&run("ip addr")).unwrap();
    network.add_routes(&run("ip -4 route show table all")).unwrap();
    network.add_routes(&run("ip -6 route show table all")).unwrap();
    network
}

/// Makes of a ruleset what a wrong tracer would take it for.
type Spoil = fn(&Ruleset) -> Ruleset;

/// A tracer, and sets, that are wrong on purpose.
struct Mutant {
    /// What is wrong.
    name: &'static str,
    /// How a ruleset is spoilt so.
    spoil: Spoil,
    /// Whether the kernel has convicted the tracer.
    tracer_caught: bool,
    /// Whether it has convicted the sets.
    sets_caught: bool,
}

impl Mutant {
    const fn new(name: &'static str, spoil: Spoil) -> Self {
        Self { name, spoil, tracer_caught: false, sets_caught: false }
    }
}

/// All of them.
struct Mutants {
    all: Vec<Mutant>,
    first_accept_is_final: bool,
}

impl Mutants {
    fn new() -> Self {
        Self {
            all: vec![
                Mutant::new("wrong priority order", wrong_order),
                Mutant::new("goto comes back", goto_comes_back),
                Mutant::new("sets turned round", sets_turned),
                Mutant::new("policies always accept", no_policy),
                Mutant::new("return accepts", return_accepts),
                Mutant::new("a verdict map without a hit drops", map_drops),
                Mutant::new("marks do not change", no_marks),
                Mutant::new("nothing is translated", no_translation),
                Mutant::new("notrack does nothing", no_notrack),
                Mutant::new("a rule without its first match", no_first_match),
            ],
            first_accept_is_final: false,
        }
    }

    fn free(&self) -> Vec<String> {
        let mut free = Vec::new();
        for mutant in &self.all {
            if !mutant.tracer_caught {
                free.push(mutant.name.to_owned());
            }
            if !mutant.sets_caught {
                free.push(format!("{} (sets)", mutant.name));
            }
        }
        if !self.first_accept_is_final {
            free.push("the first accept is final".to_owned());
        }
        free
    }
}

fn edited(ruleset: &Ruleset, edit: impl Fn(&mut Statement)) -> Ruleset {
    let mut changed = ruleset.clone();
    for table in &mut changed.tables {
        for chain in &mut table.chains {
            for rule in &mut chain.rules {
                rule.statements.iter_mut().for_each(&edit);
            }
        }
    }
    changed
}

fn removed(ruleset: &Ruleset, goes: impl Fn(&Statement) -> bool) -> Ruleset {
    let mut changed = ruleset.clone();
    for table in &mut changed.tables {
        for chain in &mut table.chains {
            for rule in &mut chain.rules {
                rule.statements.retain(|statement| !goes(statement));
            }
        }
    }
    changed
}

fn wrong_order(ruleset: &Ruleset) -> Ruleset {
    let mut changed = ruleset.clone();
    for chain in changed.tables.iter_mut().flat_map(|table| &mut table.chains) {
        if let Some(base) = chain.base.as_mut().filter(|base| base.kind != ChainKind::Nat) {
            base.priority = -base.priority;
        }
    }
    changed
}

fn goto_comes_back(ruleset: &Ruleset) -> Ruleset {
    edited(ruleset, |statement| {
        if let Statement::Verdict(Ruled::Goto(to)) = *statement {
            *statement = Statement::Verdict(Ruled::Jump(to));
        }
    })
}

fn sets_turned(ruleset: &Ruleset) -> Ruleset {
    edited(ruleset, |statement| {
        if let Statement::Match(Match::Lookup { not, .. }) = statement {
            *not = !*not;
        }
    })
}

fn no_policy(ruleset: &Ruleset) -> Ruleset {
    let mut changed = ruleset.clone();
    for chain in changed.tables.iter_mut().flat_map(|table| &mut table.chains) {
        if let Some(base) = &mut chain.base {
            base.accepts = true;
        }
    }
    changed
}

fn return_accepts(ruleset: &Ruleset) -> Ruleset {
    edited(ruleset, |statement| {
        if *statement == Statement::Verdict(Ruled::Return) {
            *statement = Statement::Verdict(Ruled::Accept);
        }
    })
}

fn map_drops(ruleset: &Ruleset) -> Ruleset {
    let mut changed = ruleset.clone();
    for set in changed.tables.iter_mut().flat_map(|table| &mut table.sets) {
        if set.elements.iter().any(|element| matches!(element.data, Data::Verdict(_))) {
            set.otherwise = Some(Data::Verdict(Ruled::Drop));
        }
    }
    changed
}

fn no_marks(ruleset: &Ruleset) -> Ruleset {
    removed(ruleset, |statement| matches!(statement, Statement::Set { .. }))
}

fn no_translation(ruleset: &Ruleset) -> Ruleset {
    edited(ruleset, |statement| {
        if matches!(statement, Statement::Nat(_)) {
            *statement = Statement::Verdict(Ruled::Accept);
        }
    })
}

fn no_notrack(ruleset: &Ruleset) -> Ruleset {
    removed(ruleset, |statement| *statement == Statement::Notrack)
}

fn no_first_match(ruleset: &Ruleset) -> Ruleset {
    let mut changed = ruleset.clone();
    for rule in
        changed.tables.iter_mut().flat_map(|table| &mut table.chains).flat_map(|c| &mut c.rules)
    {
        if let Some(Statement::Match(_)) = rule.statements.first() {
            rule.statements.remove(0);
        }
    }
    changed
}

/// Whether some rule accepted the packet before anything dropped it.
fn was_accepted_once(tracer: &Tracer<'_>, explained: &Explained) -> bool {
    explained.events.iter().any(|event| match event.what {
        Happened::Rule(place) => {
            let rule = tracer.rule(event.at, place);
            rule.statements.last() == Some(&Statement::Verdict(Ruled::Accept))
        }
        Happened::Policy { .. } | Happened::Changed { .. } => false,
    })
}

/// What a run came to.
#[derive(Default)]
struct Judged {
    packets: usize,
    exact: usize,
    /// Of which the sets were sure.
    sure: usize,
    passed: usize,
    wrong: Vec<String>,
}

impl fmt::Display for Judged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, exact, sure, passed, .. } = self;
        write!(out, "{packets} packets, {exact} exact, {sure} sure by sets, {passed} passed")
    }
}

fn judge(
    wire: &mut Wire,
    network: &Network,
    seed: u64,
    packets: usize,
    mutants: &mut Mutants,
    all: &mut Judged,
) {
    let mut chance = Chance::new(seed);
    let loaded = load(&mut chance);
    let cases: Vec<Case> = (0..packets).map(|_| case(&mut chance)).collect();
    let mut arriving = 0;
    for (number, case) in (1..).zip(&cases) {
        if case.direction == Direction::Output {
            wire.send(&case.sent, number);
        } else {
            wire.put(&case.sent, number);
            arriving += 1;
        }
    }
    counted("met", arriving);
    // Numbers of the packets that came through.
    let (seen4, seen6) = (seen_in("inet", "seen4"), seen_in("inet", "seen6"));
    let tracer = Tracer::new(&loaded.ruleset, network);
    let wrong: Vec<Ruleset> =
        mutants.all.iter().map(|mutant| (mutant.spoil)(&loaded.ruleset)).collect();
    let diverts = sets::diverts(&loaded.ruleset);
    // What arrives, and what is sent.
    let by_sets = |ruleset: &Ruleset| {
        let leaving = (!diverts).then(|| sets::Judged::leaving(ruleset, network));
        [Some(sets::Judged::arriving(ruleset, network)), leaving]
    };
    let mut right = by_sets(&loaded.ruleset);
    let mut wrong_sets: Vec<[Option<sets::Judged>; 2]> = (mutants.all.iter().zip(&wrong))
        .map(|(mutant, ruleset)| if mutant.sets_caught { [None, None] } else { by_sets(ruleset) })
        .collect();
    let wrong: Vec<Tracer<'_>> =
        wrong.iter().map(|ruleset| Tracer::new(ruleset, network)).collect();
    for (number, case) in (1_u64..).zip(&cases) {
        let passed = if case.sent.src.is_ipv4() { &seen4 } else { &seen6 }.contains(&number);
        let packet = asked(case);
        let answer = tracer.trace(&packet, case.direction).unwrap();
        all.packets += 1;
        all.passed += usize::from(passed);
        for (mutant, wrong) in mutants.all.iter_mut().zip(&wrong) {
            if !mutant.tracer_caught {
                let answer = wrong.trace(&packet, case.direction).unwrap();
                mutant.tracer_caught = answer.certainty == Certainty::Exact
                    && (answer.verdict == Verdict::Accept) != passed;
            }
        }
        let v6 = case.sent.src.is_ipv6();
        let way = usize::from(case.direction == Direction::Output);
        let said =
            |sets: &mut [Option<sets::Judged>; 2]| Some(sets[way].as_mut()?.says(&packet, v6));
        for (mutant, wrong) in mutants.all.iter_mut().zip(&mut wrong_sets) {
            if !mutant.sets_caught {
                mutant.sets_caught = said(wrong).is_some_and(|said| said.is_wrong(passed));
            }
        }
        let said = said(&mut right).unwrap_or(Said::Perhaps);
        all.sure += usize::from(said != Said::Perhaps);
        if said.is_wrong(passed) {
            let what = format!("{:?} {:?} {:?}", case.direction, case.state, case.sent);
            all.wrong.push(format!("seed {seed}, {what}: the sets say {said:?}\n{}", loaded.text));
        }
        if answer.certainty == Certainty::May {
            continue;
        }
        all.exact += 1;
        if !mutants.first_accept_is_final && answer.verdict != Verdict::Accept {
            let explained = tracer.explain(&packet, case.direction).unwrap();
            mutants.first_accept_is_final = !passed && was_accepted_once(&tracer, &explained);
        }
        if (answer.verdict == Verdict::Accept) != passed {
            let explained = tracer.explain(&packet, case.direction).unwrap();
            let path: Vec<String> = explained
                .events
                .iter()
                .map(|event| {
                    let what = match &event.what {
                        Happened::Rule(place) => tracer.rule(event.at, *place).origin.text.clone(),
                        other => format!("{other:?}"),
                    };
                    format!("{} {}: {what}", event.hook.name(), loaded.ruleset.chain(event.at).name)
                })
                .collect();
            all.wrong.push(format!(
                "seed {seed}, {:?} {:?} {:?}: the tracer says {:?}, the kernel {}\n{}",
                case.direction,
                case.state,
                case.sent,
                answer.verdict,
                if passed { "let it pass" } else { "did not let it pass" },
                path.join("\n")
            ));
            if all.wrong.len() == 1 {
                all.wrong.push(loaded.text.clone());
            }
        }
    }
}

fn judge_all(runs: impl Iterator<Item = (u64, usize)>, mutants: &mut Mutants) -> Judged {
    let mut wire = Wire::new();
    feed("nft -f /dev/stdin", &format!("flush ruleset\n{WITNESS}")).unwrap();
    open_connections();
    let network = network();
    let mut all = Judged::default();
    for (seed, packets) in runs {
        judge(&mut wire, &network, seed, packets, mutants, &mut all);
        assert!(all.wrong.is_empty(), "{}", all.wrong.join("\n\n"));
    }
    all
}

#[test]
fn what_the_tracer_is_sure_of_is_what_the_kernel_does() {
    in_namespace(|| {
        let mut mutants = Mutants::new();
        let regressions =
            REGRESSIONS.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok());
        let again = regressions.map(|seed| (seed, PACKETS_AGAIN));
        let fresh = (1..=u64::try_from(RULESETS).unwrap()).map(|seed| (seed, PACKETS));
        let all = judge_all(again.chain(fresh), &mut mutants);
        println!("{all}");
        // Whoever is sure of nothing would never be wrong.
        assert!(all.exact * 10 > all.packets * 7, "only {} of {} exact", all.exact, all.packets);
        assert!(all.sure * 10 > all.packets * 5, "sets sure of {} of {}", all.sure, all.packets);
        assert!(all.passed * 10 > all.packets && all.passed * 10 < all.packets * 9);
        assert_eq!(mutants.free(), Vec::<String>::new(), "these would not be noticed");
    });
}

/// Rulesets, packets for each, and the first seed of a long run.
fn long_run() -> (u64, usize, u64) {
    let number = |name: &str, otherwise: usize| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
    };
    let of = |number: usize| u64::try_from(number).unwrap();
    let (rulesets, packets) = (number("JUDGE_RULESETS", 10_000), number("JUDGE_PACKETS", 500));
    (of(rulesets), packets, of(number("JUDGE_SEED", 1_000)))
}

#[test]
#[ignore = "takes hours: see the top of the file"]
fn a_long_run_agrees_too() {
    let (rulesets, packets, first) = long_run();
    in_namespace(move || {
        let runs = (first..first + rulesets).map(|seed| (seed, packets));
        let all = judge_all(runs, &mut Mutants::new());
        println!("{all}");
    });
}
