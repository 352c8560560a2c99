//! Policies made by chance, many of which cut agents off, pushed by a real collector to real agents and
//! enforcers, each host a network namespace; collector, agents and enforcers are killed at random
//! moments. After the time to revert every host is reachable again. Needs root.
//!
//! `agent/tests/it/lockout.rs` tries many more on the enforcer alone.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bailey_tests::lab::Machine;
use bailey_tests::process::{self, Process, run};
use bailey_tests::wait::until;
use serde_json::Value;

const SOON: Duration = Duration::from_mins(1);
const AGENTS: u16 = 7710;
const WEB: u16 = 7711;
/// Each host is the only one of its zone, so that one push brings a policy of its own to each.
const HOSTS: u8 = 12;
/// Pushes in all.
const ROUNDS: u32 = 4;
/// How long a ruleset waits to be confirmed. Longer than a busy machine takes for what is good.
const CONFIRM_WITHIN: &str = "4s";

/// Numbers by chance from a seed (Marsaglia, Xorshift RNGs, 2003).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What is written of one zone: its networks, its mode and where its agents report.
struct Written {
    networks: String,
    mode: &'static str,
    collectors: String,
}

fn good(nth: u8) -> Written {
    Written {
        networks: format!("10.1.{nth}.0/24"),
        mode: "enforce",
        collectors: format!("'10.1.{nth}.1:{AGENTS}'"),
    }
}

/// Half of them cut the agent off: its collector is elsewhere or nowhere, or the host is not in its
/// own zone.
fn by_chance(nth: u8, chance: &mut Chance) -> Written {
    let mut written = good(nth);
    match chance.below(8) {
        0 => written.collectors = format!("'10.1.{nth}.1:7999'"),
        1 => written.collectors = format!("'10.1.{nth}.2:{AGENTS}'"),
        2 => written.collectors = String::new(),
        3 => written.networks = format!("10.1.{nth}.0/28"),
        4 => written.mode = "observe",
        _ => {}
    }
    written
}

fn policy(of: impl FnMut(u8) -> Written) -> String {
    let written: Vec<(u8, Written)> = (1..=HOSTS).zip((1..=HOSTS).map(of)).collect();
    let mut text = "site: jiaxing\nzones:\n".to_owned();
    for (nth, zone) in &written {
        let Written { networks, mode, .. } = zone;
        text += &format!("  z{nth}: {{networks: [{networks}], mode: {mode}, on_drift: restore}}\n");
    }
    text += "services:\n  ssh: {tcp: [22]}\nmanagement:\n";
    for (nth, zone) in &written {
        let collectors = &zone.collectors;
        text += &format!(
            "  z{nth}: {{from: 10.1.{nth}.1/32, service: ssh, collectors: [{collectors}]}}\n"
        );
    }
    text
}

/// One host with its enforcer and its agent.
struct Host {
    nth: u8,
    machine: Machine,
    enforcer: Option<Process>,
    agent: Option<Process>,
}

impl Host {
    fn name(&self) -> String {
        format!("oa-{}", self.nth)
    }
}

struct Site {
    folder: tempfile::TempDir,
    centre: Machine,
    hosts: Vec<Host>,
    collector: Option<Process>,
}

impl Site {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("collector"))?;
        let centre = Machine::new("centre");
        let mut site = Self { folder, centre, hosts: Vec::new(), collector: None };
        let begin = policy(good);
        site.write("collector/policy.yaml", &begin)?;
        site.write("good.yaml", &begin)?;
        run(site.command(&["policy", "key", "--out"]).arg(site.path("security.key")))?;
        let key = site.path("security.key.pub");
        site.write("collector.yaml", &format!("security_key: {key}\n"))?;
        for nth in 1..=HOSTS {
            let machine = Machine::new(&format!("oa-{nth}"));
            site.centre.wire(&format!("to-{nth}"), &machine, "eth0");
            site.centre.ip(&format!("addr add 10.1.{nth}.1/24 dev to-{nth}"));
            machine.ip(&format!("addr add 10.1.{nth}.17/24 dev eth0"));
            let mut host = Host { nth, machine, enforcer: None, agent: None };
            site.start_enforcer(&mut host)?;
            site.hosts.push(host);
        }
        site.start_collector()?;
        for nth in 0..site.hosts.len() {
            let mut host = site.hosts.remove(nth);
            site.enrol(&host)?;
            site.start_agent(&mut host)?;
            site.hosts.insert(nth, host);
        }
        until("every enforcer to be known with its key", SOON, || {
            let answer = site.ask(&["policy", "hosts"])?;
            let hosts = answer["hosts"].as_array().context("hosts")?;
            let known = hosts.iter().filter(|host| host["key_id"].is_string()).count();
            ensure!(known == usize::from(HOSTS), "{known} of {HOSTS}");
            Ok(())
        });
        Ok(site)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.path(name), text)?)
    }

    fn start_collector(&mut self) -> anyhow::Result<()> {
        let (state, settings) = (self.path("collector"), self.path("collector.yaml"));
        let (web, agents) = (format!("127.0.0.1:{WEB}"), format!("0.0.0.0:{AGENTS}"));
        let public = format!("10.1.1.1:{AGENTS}");
        let arguments = [
            "--settings",
            &settings,
            "--state",
            &state,
            "--web",
            &web,
            "--agents",
            &agents,
            "--public-address",
            &public,
        ];
        let folder = self.folder.path();
        let mut collector =
            self.centre.bailey("collector", "bailey-collector", &arguments, folder)?;
        until("the collector to answer", SOON, || {
            collector.check_alive().expect("the collector runs");
            self.ask(&["status"])
        });
        self.collector = Some(collector);
        Ok(())
    }

    fn start_enforcer(&self, host: &mut Host) -> anyhow::Result<()> {
        let name = host.name();
        let (state, enforce) = (self.path(&name), self.path(&format!("{name}-enforce")));
        let socket = self.path(&format!("{name}.sock"));
        let arguments = ["enforce", "--state", &enforce, "--socket", &socket, "--agent", &state];
        let name = format!("{name}-enforcer");
        host.enforcer =
            Some(host.machine.bailey(&name, "bailey-agent", &arguments, self.folder.path())?);
        until("the enforcer to answer", SOON, || self.enforced(host));
        Ok(())
    }

    /// What a host's enforcer says, in words.
    fn enforced(&self, host: &Host) -> anyhow::Result<String> {
        let mut command = host.machine.command(process::bailey("bailey-agent"));
        command.args(["--lang", "en", "enforced", "--socket"]);
        run(command.arg(self.path(&format!("{}.sock", host.name()))))
    }

    fn enrol(&self, host: &Host) -> anyhow::Result<()> {
        let (name, zone) = (host.name(), format!("z{}", host.nth));
        let socket = self.path(&format!("{name}.sock"));
        let backup = self.path(&format!("{name}-backup"));
        std::fs::create_dir(&backup)?;
        let settings = format!(
            "collector: 10.1.{}.1:{AGENTS}\nenforcer: {socket}\nbackup:\n  drop_directory: {backup}\n",
            host.nth
        );
        self.write(&format!("{name}.yaml"), &settings)?;
        let key = self.path("security.key.pub");
        let made = self.ask(&[
            "enroll",
            "token",
            "--host",
            &name,
            "--zone",
            &zone,
            "--security-key",
            &key,
        ])?;
        self.write(&format!("{name}.token"), made["token"].as_str().context("a token")?)?;
        let mut command = host.machine.command(process::bailey("bailey-agent"));
        command.args(["enroll", "--token-file"]).arg(self.path(&format!("{name}.token")));
        command.args(["--state", &self.path(&name), "--socket", &socket]);
        run(command.args(["--settings", &self.path(&format!("{name}.yaml"))]))?;
        Ok(())
    }

    fn start_agent(&self, host: &mut Host) -> anyhow::Result<()> {
        let name = host.name();
        let (state, settings) = (self.path(&name), self.path(&format!("{name}.yaml")));
        let arguments = ["run", "--state", &state, "--settings", &settings];
        host.agent =
            Some(host.machine.bailey(&name, "bailey-agent", &arguments, self.folder.path())?);
        Ok(())
    }

    /// What an administrator types at the collector.
    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.centre.command(process::bailey("bailey"));
        command.args(["--lang", "en", "--state"]).arg(self.path("collector")).args(words);
        command
    }

    fn ask(&self, words: &[&str]) -> anyhow::Result<Value> {
        let text = run(self.command(words).args(["-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("{words:?} answered {text:.300}"))
    }

    fn push(&self, policy: &str, more: &[&str]) -> anyhow::Result<()> {
        let (file, key) = (self.path(policy), self.path("security.key"));
        let words = ["policy", "push", &file, "--key", &key, "--yes", "--at-once"];
        run(self.command(&words).args(more)).map(drop)
    }

    /// Ends a push that still runs.
    fn end_push(&self) -> anyhow::Result<Value> {
        let answer = self.ask(&["policy", "pushes"])?;
        let newest = &answer["pushes"][0];
        let id = newest["id"].to_string();
        if matches!(newest["state"].as_str(), Some("running" | "awaiting_confirmation")) {
            // It may come to its end by itself meanwhile.
            let _ = self.command(&["policy", "cancel", &id]).output()?;
        }
        self.ask(&["policy", "pushes", &id])
    }

    /// Whether a connection gets through. Nobody need listen: one that does is refused at once, and
    /// one that does not is never answered.
    fn passes(machine: &Machine, address: &str, port: u16) -> anyhow::Result<bool> {
        let url = format!("http://{address}:{port}/");
        let mut curl = machine.command("curl");
        match curl.args(["-sS", "--connect-timeout", "2", &url]).output()?.status.code() {
            // Refused, an empty answer or one that is no HTTP, or cut: somebody is there.
            Some(7 | 52 | 1 | 56) => Ok(true),
            Some(28) => Ok(false),
            other => bail!("curl {url} ended with {other:?}"),
        }
    }

    /// Kills what chance chooses, as a power cut would, and starts it again as its unit does.
    fn kill_some(&mut self, chance: &mut Chance) -> anyhow::Result<u32> {
        let mut killed = 0;
        let mut hosts = std::mem::take(&mut self.hosts);
        for host in &mut hosts {
            if chance.below(4) == 0 {
                host.agent.take().context("it runs")?.kill()?;
                self.start_agent(host)?;
                killed += 1;
            }
            if chance.below(4) == 0 {
                host.enforcer.take().context("it runs")?.kill()?;
                self.start_enforcer(host)?;
                killed += 1;
            }
        }
        self.hosts = hosts;
        Ok(killed)
    }
}

/// What happened to all policies.
#[derive(Debug, Default)]
struct Tally {
    confirmed: u32,
    reverted: u32,
    killed: u32,
}

/// One push: a policy by chance to each host, and afterwards every host is reachable.
fn one_push(site: &mut Site, seed: u64, tally: &mut Tally) -> anyhow::Result<()> {
    let mut chance = Chance(seed);
    for _ in 0..16 {
        chance.next();
    }
    // After each push every agent comes back by itself, and tells of the enforcer that was killed; until
    // then its host is left out of a push.
    until(&format!("seed {seed}: every host to follow orders"), SOON, || {
        let answer = site.ask(&["policy", "hosts"])?;
        let hosts = answer["hosts"].as_array().context("hosts")?;
        let follows = |host: &&Value| {
            host["connected"] == true
                && host["key_id"].is_string()
                && host["unreadable"].is_null()
                && host["quarantine"].is_null()
        };
        let following = hosts.iter().filter(follows).count();
        ensure!(following == usize::from(HOSTS), "{following} of {HOSTS}: {answer}");
        Ok(())
    });
    let text = policy(|nth| by_chance(nth, &mut chance));
    site.write("chance.yaml", &text)?;
    site.push("chance.yaml", &["--confirm-within", CONFIRM_WITHIN, "--no-wait"])?;
    let collector_dies = seed.is_multiple_of(2);
    if collector_dies {
        std::thread::sleep(Duration::from_millis(chance.below(1500)));
        site.collector.take().context("it runs")?.kill()?;
    }
    tally.killed += site.kill_some(&mut chance)?;
    for host in &site.hosts {
        until(
            &format!("seed {seed}: {} to revert what nobody confirms", host.name()),
            SOON,
            || {
                let told = site.enforced(host)?;
                ensure!(!told.contains("bailey-agent confirm"), "{told}\n{text}");
                Ok(())
            },
        );
    }
    if collector_dies {
        site.start_collector()?;
    }
    let push = site.end_push()?;
    // What was not yet sent when it ended is sent no more; what waits goes again by itself.
    for host in &site.hosts {
        let (name, nth) = (host.name(), host.nth);
        let (agent, admin) = (format!("10.1.{nth}.1"), format!("10.1.{nth}.17"));
        until(&format!("seed {seed}: {name} to be reachable again"), SOON, || {
            let told = site.enforced(host)?;
            ensure!(!told.contains("bailey-agent confirm"), "{told}");
            ensure!(
                Site::passes(&site.centre, &admin, 22)?,
                "no administrator gets in: {told}\n{text}"
            );
            ensure!(
                Site::passes(&host.machine, &agent, AGENTS)?,
                "it cannot report: {told}\n{text}"
            );
            Ok(())
        });
        let hosts = push["hosts"].as_array().context("hosts")?;
        let row = hosts.iter().find(|row| row["host"] == name.as_str()).context("a row")?;
        if row["state"] == "confirmed" {
            tally.confirmed += 1;
        } else {
            tally.reverted += 1;
        }
    }
    Ok(())
}

#[test]
fn whatever_is_pushed_and_whoever_dies_every_host_is_reachable_again() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    site.push("good.yaml", &[])?;
    let mut tally = Tally::default();
    for seed in 1..=u64::from(ROUNDS) {
        one_push(&mut site, seed, &mut tally)?;
    }
    process::report(&format!("policies pushed by chance: {tally:?}"));
    let all = u32::from(HOSTS) * ROUNDS;
    ensure!(tally.confirmed + tally.reverted == all, "{tally:?}");
    ensure!(tally.confirmed > 0 && tally.reverted * 5 > all, "nothing was tried: {tally:?}");
    Ok(())
}
