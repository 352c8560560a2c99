//! `bailey demo` as a person runs it: the site comes up, its kernels say what its policy says, every
//! breach raises its alert and its undoing resolves it, and nothing of it stays behind. Needs root.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bailey_rules::policy::{Carried, Opening, Policy};
use bailey_tests::demo::{Demo, UP_LIMIT};
use bailey_tests::process;
use bailey_tests::wait::until;
use futures::future::join_all;
use serde_json::Value;

/// As long as an alert may take to come or to go there.
const ALERT_LIMIT: Duration = Duration::from_mins(2);
/// A packet without an answer for so long was dropped; the kernel asks again after one second.
const ANSWER_LIMIT: Duration = Duration::from_millis(2500);

/// One end of a packet: the machine and one of its addresses.
#[derive(Clone)]
struct End {
    machine: String,
    address: IpAddr,
}

fn ends(policy: &Policy) -> Vec<End> {
    let hosts = policy.hosts.iter().flat_map(|(host, entry)| {
        let machine = host.to_string();
        entry
            .addresses
            .iter()
            .map(move |address| End { machine: machine.clone(), address: *address })
    });
    let internet =
        End { machine: "internet".into(), address: Ipv4Addr::new(198, 51, 100, 10).into() };
    hosts.chain([internet]).collect()
}

/// Every TCP port that the policy speaks of, and one that it does not.
fn ports(policy: &Policy) -> BTreeSet<u16> {
    let named = policy.services.values().flat_map(|service| &service.tcp).map(|ports| ports.first);
    named.chain([3389]).collect()
}

/// Opens connections from one end to all others at once, and gives those that were answered: nobody
/// listens, so that a machine that the first packet reaches refuses it.
fn reached(demo: &Demo, from: &End, to: &[SocketAddr]) -> anyhow::Result<BTreeSet<SocketAddr>> {
    demo.netns(&from.machine).inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let source = SocketAddr::new(from.address, 0);
        let openings = to.iter().map(|to| async move {
            let socket = if to.is_ipv4() {
                tokio::net::TcpSocket::new_v4()?
            } else {
                tokio::net::TcpSocket::new_v6()?
            };
            socket.bind(source)?;
            let answered = match tokio::time::timeout(ANSWER_LIMIT, socket.connect(*to)).await {
                Ok(Ok(_)) => true,
                Ok(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
                Err(_) => false,
            };
            Ok(answered.then_some(*to))
        });
        let outcomes = runtime.block_on(join_all(openings));
        let outcomes: Vec<Option<SocketAddr>> =
            outcomes.into_iter().collect::<std::io::Result<_>>()?;
        Ok(outcomes.into_iter().flatten().collect())
    })
}

fn packets_pass_exactly_as_the_policy_says(demo: &Demo) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(demo.folder().join("collector/policy.yaml"))?;
    let policy = Policy::parse("policy.yaml", &text)?;
    let (ends, ports) = (ends(&policy), ports(&policy));
    let permits = policy.permits();
    let (mut passed, mut dropped, mut wrong) = (0, 0, Vec::new());
    let targets_of = |from: &End| -> Vec<SocketAddr> {
        let others = ends.iter().filter(|to| {
            to.machine != from.machine && to.address.is_ipv4() == from.address.is_ipv4()
        });
        others.flat_map(|to| ports.iter().map(|port| SocketAddr::new(to.address, *port))).collect()
    };
    // Most of the time goes by with waiting for answers that do not come.
    let all_reached: Vec<BTreeSet<SocketAddr>> = std::thread::scope(|scope| {
        let threads: Vec<_> = ends
            .iter()
            .map(|from| scope.spawn(|| reached(demo, from, &targets_of(from))))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        joined.collect::<anyhow::Result<_>>()
    })?;
    for (from, reached) in ends.iter().zip(all_reached) {
        for to in targets_of(from) {
            let carried = Carried::Tcp(to.port());
            let opening = Opening { from: from.address, to: to.ip(), carried };
            let allowed = permits.iter().any(|permit| permit.allows(&opening));
            let came = reached.contains(&to);
            if came != allowed {
                wrong.push(format!("{} to {to}: came {came}, allowed {allowed}", from.address));
            }
            if came { passed += 1 } else { dropped += 1 }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    ensure!(passed > 50 && dropped > 1000, "{passed} passed, {dropped} dropped");
    process::report(&format!(
        "{passed} connections passed, {dropped} were dropped, as the policy says"
    ));
    Ok(())
}

#[test]
fn kernels_follow_the_policy_and_every_breach_raises_its_alert_until_it_is_undone()
-> anyhow::Result<()> {
    let mut demo = Demo::new('b')?;
    demo.start()?;
    demo.wait_until_it_is_up();
    ensure!(demo.findings()?.is_empty(), "the site begins well: {:?}", demo.findings()?);
    packets_pass_exactly_as_the_policy_says(&demo)?;

    let status = demo.verb(&["status"])?;
    let breaches = status["breaches"].as_array().context("breaches")?.clone();
    ensure!(breaches.len() >= 8, "{} breaches", breaches.len());
    for breach in &breaches {
        demo.verb(&["break", breach["name"].as_str().context("a name")?, "--no-wait"])?;
    }
    let finding_of = |breach: &Value| -> anyhow::Result<Value> {
        let subject = breach["subject"].as_str().context("a subject")?;
        demo.findings()?
            .into_iter()
            .find(|finding| {
                finding["check"] == breach["check"]
                    && finding["host_name"] == breach["host"]
                    && finding["subject"].as_str().is_some_and(|text| text.starts_with(subject))
            })
            .with_context(|| format!("no finding of {}", breach["name"]))
    };
    for breach in &breaches {
        let (finding, _) =
            until(&format!("{} to be found", breach["name"]), ALERT_LIMIT, || finding_of(breach));
        ensure!(finding["alert"] == breach["alert"], "{finding}");
    }
    let status = demo.verb(&["status"])?;
    let all = status["breaches"].as_array().context("breaches")?;
    ensure!(all.iter().all(|row| row["open"] == true && row["seen"] == true), "{status}");
    ensure!(demo.verb(&["break", "dual-home", "--no-wait"]).is_err(), "it is open already");

    demo.verb(&["fix", "all", "--no-wait"])?;
    until("every finding to be resolved", ALERT_LIMIT, || {
        let left = demo.findings()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    });
    packets_pass_exactly_as_the_policy_says(&demo)?;

    demo.down()?;
    demo.nothing_is_left()
}

fn record(demo: &Demo, name: &str) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(demo.folder().join("processes").join(name))?)
}

fn pid_in(record: &str) -> anyhow::Result<nix::unistd::Pid> {
    let pid = record.split(' ').next().context("a number")?;
    Ok(nix::unistd::Pid::from_raw(pid.parse()?))
}

#[test]
fn what_is_killed_is_started_again_and_nothing_stays_of_a_demo_that_was_killed()
-> anyhow::Result<()> {
    let mut demo = Demo::new('k')?;
    // Killed half way up.
    demo.start()?;
    until("the first agent to be started", UP_LIMIT, || record(&demo, "collector.agent"));
    demo.kill()?;
    ensure!(demo.processes()?.len() > 1, "its parts are there still");

    // The next one takes that away first.
    demo.start()?;
    demo.wait_until_it_is_up();
    ensure!(demo.said().contains("removed what an earlier demo left"), "{}", demo.said());
    for part in ["collector", "oa-web.agent", "fw-in.enforcer"] {
        let before = record(&demo, part)?;
        nix::sys::signal::kill(pid_in(&before)?, nix::sys::signal::Signal::SIGKILL)?;
        until(&format!("{part} to be started again"), UP_LIMIT, || {
            let now = record(&demo, part)?;
            ensure!(now != before, "{part} is still {now}");
            Ok(())
        });
    }
    until("every host to be OK again", ALERT_LIMIT, || {
        let site = demo.ask(&["status"])?;
        ensure!(site["agents_connected"] == 15 && site["hosts"]["ok"] == 15, "{site}");
        Ok(())
    });

    // Killed when it is up: `down` finds everything.
    demo.kill()?;
    ensure!(!demo.left()?.is_empty());
    demo.down()?;
    demo.nothing_is_left()?;
    ensure!(!Path::new("/run/netns").join(format!("{}oa-web", demo.prefix())).exists());
    Ok(())
}
