//! `bailey demo` as a person runs it: the site comes up, its kernels say what its policy says, every
//! breach raises its alert and its undoing resolves it, and nothing of it stays behind. Needs root.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bailey_cli::netns::Netns;
use bailey_rules::policy::{Carried, Opening, Policy};
use bailey_tests::process::{self, Process, run};
use bailey_tests::wait::until;
use futures::future::join_all;
use serde_json::Value;

/// A machine that has much else to do builds the site in this time.
const UP_LIMIT: Duration = Duration::from_mins(3);
/// As long as an alert may take to come or to go there.
const ALERT_LIMIT: Duration = Duration::from_mins(2);
/// A packet without an answer for so long was dropped; the kernel asks again after one second.
const ANSWER_LIMIT: Duration = Duration::from_millis(2500);

/// A demo of this test's own. It is taken down with this value, if need be.
struct Demo {
    name: String,
    logs: tempfile::TempDir,
    process: Option<Process>,
}

impl Demo {
    fn new(letter: char) -> anyhow::Result<Self> {
        let name = format!("{letter}{}", std::process::id());
        Ok(Self { name, logs: tempfile::tempdir()?, process: None })
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(process::bailey("bailey"));
        command.args(["-o", "json", "--lang", "en", "demo", "--name", &self.name]);
        command.args(["--web", "127.0.0.1:0"]);
        self.process = Some(Process::start("demo", command, self.logs.path())?);
        Ok(())
    }

    fn said(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    fn wait_until_it_is_up(&mut self) {
        until("the demo to be up", UP_LIMIT, || {
            self.process.as_mut().context("it was started")?.check_alive().expect("the demo runs");
            ask(&["demo", "--name", &self.name, "status"])
        });
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/run/bailey-{}", self.name))
    }

    fn prefix(&self) -> String {
        format!("bailey-{}-", self.name)
    }

    fn findings(&self) -> anyhow::Result<Vec<Value>> {
        let state = self.folder().join("collector");
        let answer = ask(&["--state", state.to_str().context("a plain path")?, "alerts"])?;
        let all = answer["findings"].as_array().context("findings")?;
        // The county only observes: that this test tries what the policy would drop there is found
        // for an hour, as it should be.
        Ok(all.iter().filter(|finding| finding["check"] != "would_drop").cloned().collect())
    }

    /// Ends the demo's own process as a power cut would, and nothing that it started.
    fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("it was started")?.kill()
    }

    fn down(&self) -> anyhow::Result<()> {
        let mut command = Command::new(process::bailey("bailey"));
        run(command.args(["demo", "--name", &self.name, "down"])).map(drop)
    }

    /// What is left of it on this machine.
    fn left(&self) -> anyhow::Result<Vec<String>> {
        let mut left: Vec<String> =
            Netns::beginning(&self.prefix())?.iter().map(|netns| netns.name().into()).collect();
        left.extend(self.processes()?.iter().map(ToString::to_string));
        if self.folder().exists() {
            left.push(self.folder().display().to_string());
        }
        Ok(left)
    }

    /// Every process whose command line names the demo's folder.
    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let folder = format!("{}/", self.folder().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end while it is looked at.
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&folder) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.folder().exists() {
            let _ = self.down();
        }
    }
}

/// Asks with the command line tool.
fn ask(words: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(process::bailey("bailey"));
    let text = run(command.args(["-o", "json"]).args(words))?;
    serde_json::from_str(&text).with_context(|| format!("{words:?} answered {text:.300}"))
}

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
    Netns::called(format!("{}{}", demo.prefix(), from.machine)).inside(|| {
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

    let name = demo.name.clone();
    let verb = |words: &[&str]| ask(&[&["demo", "--name", &name], words].concat());
    let status = verb(&["status"])?;
    let breaches = status["breaches"].as_array().context("breaches")?.clone();
    ensure!(breaches.len() >= 8, "{} breaches", breaches.len());
    for breach in &breaches {
        verb(&["break", breach["name"].as_str().context("a name")?, "--no-wait"])?;
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
    let status = verb(&["status"])?;
    let all = status["breaches"].as_array().context("breaches")?;
    ensure!(all.iter().all(|row| row["open"] == true && row["seen"] == true), "{status}");
    ensure!(verb(&["break", "dual-home", "--no-wait"]).is_err(), "it is open already");

    verb(&["fix", "all", "--no-wait"])?;
    until("every finding to be resolved", ALERT_LIMIT, || {
        let left = demo.findings()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    });
    packets_pass_exactly_as_the_policy_says(&demo)?;

    demo.down()?;
    ensure!(demo.left()?.is_empty(), "{:?}", demo.left()?);
    Ok(())
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
    let state = demo.folder().join("collector");
    let state = state.to_str().context("a plain path")?;
    until("every host to be OK again", ALERT_LIMIT, || {
        let site = ask(&["--state", state, "status"])?;
        ensure!(site["agents_connected"] == 15 && site["hosts"]["ok"] == 15, "{site}");
        Ok(())
    });

    // Killed when it is up: `down` finds everything.
    demo.kill()?;
    ensure!(!demo.left()?.is_empty());
    demo.down()?;
    ensure!(demo.left()?.is_empty(), "{:?}", demo.left()?);
    ensure!(!Path::new("/run/netns").join(format!("{}oa-web", demo.prefix())).exists());
    Ok(())
}
