//! Policies made by chance, many of which cut the agent off, put into real kernels by real enforcers
//! that are killed at random moments: after the time to revert every host is reachable again. Needs root.
//!
//! Each host is a network namespace of its own with another one on the same cable, in which its
//! collector and its administrator are. What the agent does is done here: a ruleset is confirmed only
//! after a connection that was dialled when it was in force.

#![allow(clippy::print_stderr, reason = "the seeds repeat a run")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::namespace::{Beside, run};
use bailey_agent::clock::{Clock as _, SystemClock};
use bailey_agent::enforce::socket::{Answer, Request, Status, ask};
use bailey_agent::enforce::state::OrderRef;
use bailey_rules::compile;
use bailey_rules::name::HostKey;
use bailey_rules::policy::Policy;
use bailey_wire::order::{Order, SignedOrder, SigningKey, What, sign};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{Shutdown, shutdown};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

const AGENT: &str = env!("CARGO_BIN_EXE_bailey-agent");
const HOST_KEY: HostKey = HostKey::from_bytes([7; 32]);
/// Hosts at a time.
const HOSTS: u32 = 16;
/// How long a ruleset waits to be confirmed.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);
/// A connection that is not open after this is not let through.
const DIAL: Duration = Duration::from_millis(400);
/// Waiting ends as failed after this.
const PATIENCE: Duration = Duration::from_secs(30);

const HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 7, 20);
const COLLECTOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 5)), 7710);
const ADMIN: Ipv4Addr = Ipv4Addr::new(10, 1, 9, 11);
const SSH: SocketAddr = SocketAddr::new(IpAddr::V4(HOST), 22);

/// A policy that lets the agent report and the administrator in.
const GOOD: &str = "
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16], mode: enforce}
services:
  ssh: {tcp: [22]}
management:
  inner: {from: 10.1.9.0/24, service: ssh, collectors: ['10.1.0.5:7710']}
";

/// A policy that may forget the collector, put it elsewhere, put the host outside its zone, or let
/// other things through.
fn random_policy(rng: &mut StdRng) -> String {
    let pick = |rng: &mut StdRng, all: &[&str]| (*all.choose(rng).unwrap()).to_owned();
    let networks = pick(
        rng,
        &[
            "10.1.0.0/16",
            "10.1.0.0/16",
            "10.1.0.0/16",
            "10.1.0.0/17, 10.1.128.0/17",
            "10.1.0.0/22, 10.1.9.0/24",
        ],
    );
    let mode = pick(rng, &["enforce", "enforce", "enforce", "observe"]);
    let collectors = pick(
        rng,
        &["'10.1.0.5:7710'", "'10.1.0.5:7710'", "'10.1.0.5:7711'", "'10.1.0.6:7710'", ""],
    );
    let admins = pick(rng, &["10.1.9.0/24", "10.1.9.11/32", "10.1.1.0/24"]);
    let flow = pick(
        rng,
        &[
            "",
            "flows: [{from: inner, to: inner, service: ssh}]\n",
            "flows: [{from: 10.1.0.0/24, to: inner, service: ssh}]\n",
        ],
    );
    format!(
        "site: jiaxing\nzones:\n  inner: {{networks: [{networks}], mode: {mode}}}\n\
         services:\n  ssh: {{tcp: [22]}}\n{flow}management:\n  inner: {{from: {admins}, service: ssh, \
         collectors: [{collectors}]}}\n"
    )
}

/// The other end of the cable.
struct Peer(Beside);

impl Peer {
    /// Lays the cable to the namespace of the calling thread.
    fn new() -> Self {
        let peer = Beside::new();
        run(&format!("ip addr add {HOST}/16 dev eth0 && ip link set eth0 up"));
        for address in [COLLECTOR.ip(), ADMIN.into()] {
            peer.run(&format!("ip addr add {address}/16 dev eth0"));
        }
        peer.run("ip link set eth0 up");
        Self(peer)
    }

    /// Whether the administrator gets in.
    fn admin_gets_in(&self) -> bool {
        self.0.there(|| dial(ADMIN.into(), SSH))
    }

    /// Somebody who takes connections as the collector does.
    fn collector(&self) -> Taker {
        Taker(self.0.there(|| std::net::TcpListener::bind(COLLECTOR).unwrap()))
    }
}

/// Takes connections; the kernel answers for it. Dropped, it is deaf at once and its port is free: a program
/// that another thread is starting has a copy of the socket until it runs.
struct Taker(std::net::TcpListener);

impl Drop for Taker {
    fn drop(&mut self) {
        shutdown(self.0.as_raw_fd(), Shutdown::Both).unwrap();
    }
}

impl Taker {
    /// Makes room for more.
    fn clear(&self) {
        self.0.set_nonblocking(true).unwrap();
        while self.0.accept().is_ok() {}
    }
}

/// Whether a new connection from an address of this end is let through.
fn dial(from: IpAddr, to: SocketAddr) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(dials(from, to))
}

async fn dials(from: IpAddr, to: SocketAddr) -> bool {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    matches!(tokio::time::timeout(DIAL, socket.connect(to)).await, Ok(Ok(_)))
}

/// One host with its enforcer.
struct Host {
    folder: tempfile::TempDir,
    key: SigningKey,
    enforcer: Child,
}

impl Host {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate().unwrap();
        let host = Self { enforcer: enforcer(&folder), folder, key };
        host.answers().await;
        let key = host.key.verifying_key().to_pem();
        host.done(&Request::Pin { key, host: HOST_KEY }, &[]).await.unwrap();
        host
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("socket")
    }

    async fn answers(&self) {
        let begin = Instant::now();
        while ask(&self.socket(), &Request::Status, &[]).await.is_err() {
            assert!(begin.elapsed() < PATIENCE, "the enforcer does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn done(&self, request: &Request, body: &[u8]) -> Option<Status> {
        match ask(&self.socket(), request, body).await {
            Ok(Answer::Done(status)) => Some(*status),
            Ok(Answer::Refused { error, why }) => panic!("{error:?}: {why}"),
            // It was killed meanwhile.
            Err(_) => None,
        }
    }

    async fn status(&self) -> Status {
        self.done(&Request::Status, &[]).await.unwrap()
    }

    fn order(&self, version: u64, policy: &str) -> SignedOrder {
        let policy = Policy::parse("policy.yaml", policy).unwrap_or_else(|e| panic!("{e}"));
        let (host, zone) = ("oa-17".parse().unwrap(), "inner".parse().unwrap());
        let compiled = compile::ruleset(&policy, "policy.yaml", &host, &zone);
        let now = SystemClock.now();
        let what =
            What::Ruleset { text: compiled.text, confirm_within: CONFIRM_WITHIN, restore: false };
        let expires_at = now + Duration::from_mins(10);
        sign(&Order { host: HOST_KEY, version, issued_at: now, expires_at, what }, &self.key)
            .unwrap()
    }

    async fn confirm(&self, version: u64, order: &SignedOrder) {
        let name = OrderRef { version, digest: order.digest() };
        // Confirmed too late is not confirmed; then it has been reverted.
        let _ = ask(&self.socket(), &Request::Confirm(name), &[]).await;
    }

    /// `kill -9`, and started again as its unit does.
    async fn kill(&mut self) {
        self.enforcer.kill().unwrap();
        self.enforcer.wait().unwrap();
        self.enforcer = enforcer(&self.folder);
        self.answers().await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.enforcer.kill();
        let _ = self.enforcer.wait();
    }
}

fn enforcer(folder: &tempfile::TempDir) -> Child {
    Command::new(AGENT)
        .args(["enforce", "--state"])
        .arg(folder.path().join("state"))
        .arg("--socket")
        .arg(folder.path().join("socket"))
        .env("BAILEY_LOG", "error")
        .spawn()
        .unwrap()
}

/// What happened to all policies of a run.
#[derive(Debug, Default)]
struct Tally {
    confirmed: AtomicU32,
    reverted: AtomicU32,
    killed: AtomicU32,
}

/// One policy by chance on one host; afterwards the host must be reachable.
async fn one(host: &mut Host, peer: &Peer, seed: u64, tally: &Tally) {
    let mut rng = StdRng::seed_from_u64(seed);
    let policy = random_policy(&mut rng);
    let collector_lives = rng.random_ratio(3, 4);
    let killed_after =
        rng.random_ratio(1, 2).then(|| Duration::from_millis(rng.random_range(0..2500)));
    let version = host.status().await.highest + 1;
    let order = host.order(version, &policy);
    let collector = collector_lives.then(|| peer.collector());

    let apply = Request::Apply { octets: order.to_bytes().len() };
    let socket = host.socket();
    let agent = {
        let (order, socket) = (order.clone(), socket.clone());
        // What the agent does: apply, dial anew, confirm only over that connection.
        tokio::spawn(async move {
            if !matches!(ask(&socket, &apply, &order.to_bytes()).await, Ok(Answer::Done(_))) {
                return None;
            }
            dials(HOST.into(), COLLECTOR).await.then_some(())
        })
    };
    if let Some(after) = killed_after {
        tokio::time::sleep(after).await;
        host.kill().await;
        tally.killed.fetch_add(1, Ordering::Relaxed);
    }
    if agent.await.unwrap().is_some() {
        host.confirm(version, &order).await;
    }
    drop(collector);

    // From here on nobody confirms; the enforcer is on its own.
    let begin = Instant::now();
    let status = loop {
        let status = host.status().await;
        if status.pending.is_none() {
            break status;
        }
        assert!(
            begin.elapsed() < CONFIRM_WITHIN + PATIENCE,
            "seed {seed}: nothing was reverted: {status:?}\n{policy}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status.in_force, status.confirmed, "seed {seed}");
    let confirmed = status.confirmed.as_ref().is_some_and(|name| name.version == version);
    let counter = if confirmed { &tally.confirmed } else { &tally.reverted };
    counter.fetch_add(1, Ordering::Relaxed);

    let collector = peer.collector();
    let begin = Instant::now();
    while !dials(HOST.into(), COLLECTOR).await {
        assert!(begin.elapsed() < PATIENCE, "seed {seed}: the collector is out of reach\n{policy}");
    }
    collector.clear();
    assert!(
        confirmed || peer.admin_gets_in(),
        "seed {seed}: the administrator is locked out\n{policy}"
    );
    if confirmed {
        // The next one begins from a ruleset that lets everybody in who should.
        good(host).await;
    }
}

/// Puts the good policy in force and confirms it.
async fn good(host: &Host) {
    let version = host.status().await.highest + 1;
    let order = host.order(version, GOOD);
    let octets = order.to_bytes();
    host.done(&Request::Apply { octets: octets.len() }, &octets).await.unwrap();
    host.confirm(version, &order).await;
    let status = host.status().await;
    assert_eq!(status.confirmed.map(|name| name.version), Some(version), "it is confirmed");
}

/// Tries so many policies, [`HOSTS`] at a time.
fn try_policies(count: u32, seed: u64) {
    eprintln!("seeds {seed} to {}", seed + u64::from(count) - 1);
    let next = Arc::new(AtomicU32::new(0));
    let tally = Arc::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..HOSTS.min(count) {
            let (next, tally) = (Arc::clone(&next), Arc::clone(&tally));
            scope.spawn(move || {
                unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let peer = Peer::new();
                    let ssh = Taker(std::net::TcpListener::bind(SSH).unwrap());
                    let mut host = Host::new().await;
                    good(&host).await;
                    loop {
                        let nth = next.fetch_add(1, Ordering::Relaxed);
                        if nth >= count {
                            break;
                        }
                        one(&mut host, &peer, seed + u64::from(nth), &tally).await;
                        ssh.clear();
                    }
                });
            });
        }
    });
    let of = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    eprintln!("{tally:?}");
    assert_eq!(of(&tally.confirmed) + of(&tally.reverted), count, "every policy came to an end");
    // A run in which nothing was cut off, or everything, has shown nothing.
    assert!(of(&tally.reverted) * 5 > count, "{tally:?}");
    assert!(of(&tally.confirmed) * 20 > count, "{tally:?}");
}

#[test]
fn whatever_policy_is_pushed_the_host_is_reachable_again() {
    try_policies(64, 1);
}

/// The long run: `cargo nextest run -p bailey-agent --test lockout --run-ignored only`. Another first
/// seed is taken from `BAILEY_SEED`.
#[test]
#[ignore = "two minutes; run by tests/bench/enforce.sh"]
fn five_hundred_policies_of_five_hundred() {
    let seed = std::env::var("BAILEY_SEED").ok().and_then(|seed| seed.parse().ok());
    try_policies(500, seed.unwrap_or(1000));
}
