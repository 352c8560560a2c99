//! A policy from its file to the kernels and back: real collector, agents, enforcers and nft, each
//! host a network namespace. Needs root.

use std::path::PathBuf;
use std::process::Output;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bailey_tests::lab::Machine;
use bailey_tests::process::{self, Process, run};
use bailey_tests::wait::until;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const AGENTS: u16 = 7710;
const WEB: u16 = 7711;

/// The policy that begins: web inside the inner zone, nothing else. A change by hand is put back
/// there, and only reported in the outer zone.
const BEGIN: &str = "\
site: jiaxing
zones:
  inner: {name: 内网, networks: [10.1.0.0/16], mode: enforce, on_drift: restore}
  outer: {name: 外网, networks: [172.20.0.0/16], mode: enforce, on_drift: audit}
services:
  ssh: {tcp: [22]}
  web: {tcp: [80]}
flows:
  - {from: inner, to: inner, service: web}
  - {from: outer, to: outer, service: web}
management:
  inner: {from: 10.1.9.0/24, service: ssh, collectors: [\"10.1.0.1:7710\"]}
  outer: {from: 172.20.9.0/24, service: ssh, collectors: [\"172.20.0.1:7710\"]}
hosts:
  oa-17: {zone: inner, addresses: [10.1.0.17]}
  oa-18: {zone: inner, addresses: [10.1.0.18]}
  web-1: {zone: outer, addresses: [172.20.0.11]}
";

const HOSTS: [(&str, &str, &str); 3] = [
    ("oa-17", "inner", "10.1.0.17"),
    ("oa-18", "inner", "10.1.0.18"),
    ("web-1", "outer", "172.20.0.11"),
];

/// One host with its enforcer and its agent.
struct Host {
    _agent: Process,
    _enforcer: Process,
    machine: Machine,
}

/// Two hosts in the inner zone, one in the outer, and the collector between them.
struct Site {
    hosts: Vec<(&'static str, Host)>,
    collector: Option<Process>,
    centre: Machine,
    began: Instant,
    /// Goes last, so that the last words of the others are still there.
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let centre = Machine::new("centre");
        for (zone, address) in [("inner", "10.1.0.1/24"), ("outer", "172.20.0.1/24")] {
            centre.ip(&format!("link add {zone} type bridge"));
            centre.ip(&format!("link set {zone} up"));
            centre.ip(&format!("addr add {address} dev {zone}"));
        }
        std::fs::create_dir(folder.path().join("collector"))?;
        let began = Instant::now();
        let mut site = Self { hosts: Vec::new(), collector: None, centre, began, folder };
        site.write("collector/policy.yaml", BEGIN)?;
        site.write("begin.yaml", BEGIN)?;
        run(site.command(&["policy", "key", "--out"]).arg(site.path("security.key")))?;
        let key = site.path("security.key.pub");
        site.write("collector.yaml", &format!("security_key: {key}\n"))?;
        site.start_collector()?;
        for (host, zone, address) in HOSTS {
            let host = (host, site.add_host(host, zone, address)?);
            site.hosts.push(host);
        }
        until("every enforcer to be known with its key", SOON, || {
            for (host, ..) in HOSTS {
                ensure!(site.enforced(host)?["key_id"].is_string(), "{}", site.enforced(host)?);
            }
            Ok(())
        });
        Ok(site)
    }

    /// Says how long it took so far.
    fn reached(&self, what: &str) {
        process::report(&format!("{:?}: {what}", self.began.elapsed()));
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.path(name), text)?)
    }

    fn start_collector(&mut self) -> anyhow::Result<()> {
        let (state, settings) = (self.path("collector"), self.path("collector.yaml"));
        let arguments = [
            "--settings",
            &settings,
            "--state",
            &state,
            "--web",
            &format!("127.0.0.1:{WEB}"),
            "--agents",
            &format!("0.0.0.0:{AGENTS}"),
            "--public-address",
            &format!("10.1.0.1:{AGENTS}"),
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

    /// A host with an enforcer, which pins the key of its token at enrolment, and an agent.
    fn add_host(&self, host: &str, zone: &str, address: &str) -> anyhow::Result<Host> {
        let machine = Machine::new(host);
        self.centre.wire(&format!("to-{host}"), &machine, "eth0");
        self.centre.ip(&format!("link set to-{host} master {zone}"));
        machine.ip(&format!("addr add {address}/24 dev eth0"));
        let socket = self.path(&format!("{host}.sock"));
        let state = self.path(host);
        let enforce = self.path(&format!("{host}-enforce"));
        let arguments = ["enforce", "--state", &enforce, "--socket", &socket, "--agent", &state];
        let name = format!("{host}-enforcer");
        let enforcer = machine.bailey(&name, "bailey-agent", &arguments, self.folder.path())?;
        until("the enforcer to answer", SOON, || self.agent(&machine, host, &["enforced"]));

        let collector = if zone == "inner" { "10.1.0.1" } else { "172.20.0.1" };
        let backup = self.path(&format!("{host}-backup"));
        std::fs::create_dir(&backup)?;
        let settings = format!(
            "collector: {collector}:{AGENTS}\nenforcer: {socket}\nbackup:\n  drop_directory: {backup}\n"
        );
        self.write(&format!("{host}.yaml"), &settings)?;
        let key = self.path("security.key.pub");
        let made =
            self.ask(&["enroll", "token", "--host", host, "--zone", zone, "--security-key", &key])?;
        self.write(&format!("{host}.token"), made["token"].as_str().context("a token")?)?;
        let (token, settings) =
            (self.path(&format!("{host}.token")), self.path(&format!("{host}.yaml")));
        let places = ["--state", &state, "--settings", &settings];
        let enrol = [&["enroll", "--token-file", &token], &places[..]].concat();
        // The settings say where the enforcer is.
        let told = run(machine
            .command(process::bailey("bailey-agent"))
            .args(["--lang", "en"])
            .args(enrol))?;
        ensure!(told.contains("orders of key"), "the key is pinned: {told}");
        let arguments = [&["run"], &places[..]].concat();
        let agent = machine.bailey(host, "bailey-agent", &arguments, self.folder.path())?;
        Ok(Host { _agent: agent, _enforcer: enforcer, machine })
    }

    /// Runs the agent's program on a host, where it speaks with that host's enforcer.
    fn agent(&self, machine: &Machine, host: &str, words: &[&str]) -> anyhow::Result<String> {
        let mut command = machine.command(process::bailey("bailey-agent"));
        command.args(["--lang", "en"]).args(words);
        command.arg("--socket").arg(self.path(&format!("{host}.sock")));
        run(&mut command)
    }

    fn machine(&self, host: &str) -> &Machine {
        let found = self.hosts.iter().find(|(name, _)| *name == host);
        &found.expect("a host of the lab").1.machine
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

    /// Runs a command to its end: its exit code, and all that it said.
    fn say(&self, words: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        Ok(heard(self.command(words).output()?))
    }

    fn push(&self, policy: &str, more: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
        let (file, key) = (self.path(policy), self.path("security.key"));
        self.say(&[&["policy", "push", &file, "--key", &key, "--yes"], more].concat())
    }

    /// The same while the test goes on.
    fn push_beside(&self, policy: &str, more: &[&str]) -> JoinHandle<std::io::Result<Output>> {
        let (file, key) = (self.path(policy), self.path("security.key"));
        let words = [&["policy", "push", &file, "--key", &key, "--yes"], more].concat();
        let mut command = self.command(&words);
        std::thread::spawn(move || command.output())
    }

    /// What the collector knows that a host enforces.
    fn enforced(&self, host: &str) -> anyhow::Result<Value> {
        let answer = self.ask(&["policy", "hosts"])?;
        let hosts = answer["hosts"].as_array().context("hosts")?;
        let found = hosts.iter().find(|row| row["host"] == host).cloned();
        found.with_context(|| format!("no {host} in {answer}"))
    }

    /// The newest push.
    fn newest(&self) -> anyhow::Result<Value> {
        let answer = self.ask(&["policy", "pushes"])?;
        let id = answer["pushes"][0]["id"].as_u64().context("a push")?;
        self.ask(&["policy", "pushes", &id.to_string()])
    }

    fn findings(&self, check: &str, host: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.ask(&["alerts"])?;
        let findings = answer["findings"].as_array().context("findings")?;
        let of = |finding: &&Value| finding["check"] == check && finding["host_name"] == host;
        Ok(findings.iter().filter(of).cloned().collect())
    }

    /// Whether a connection from one host to another gets through: nobody listens, so that one which
    /// does is refused at once, and one which does not is never answered.
    fn passes(&self, from: &str, to: &str, port: u16) -> anyhow::Result<bool> {
        let (_, _, address) = HOSTS.iter().find(|(host, ..)| *host == to).context("a host")?;
        let url = format!("http://{address}:{port}/");
        let mut curl = self.machine(from).command("curl");
        match curl.args(["-sS", "--connect-timeout", "1", &url]).output()?.status.code() {
            Some(7) => Ok(true),
            Some(28) => Ok(false),
            other => bail!("curl {url} ended with {other:?}"),
        }
    }

    fn expect(&self, from: &str, to: &str, port: u16, passes: bool) {
        let what =
            format!("{from} to {to}:{port} to be {}", if passes { "open" } else { "closed" });
        until(&what, SOON, || {
            ensure!(self.passes(from, to, port)? == passes, "it is not");
            Ok(())
        });
    }

    fn table(&self, host: &str) -> anyhow::Result<String> {
        self.machine(host).sh("nft list table inet bailey")
    }
}

fn heard(output: Output) -> (Option<i32>, String) {
    let said =
        [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned());
    (output.status.code(), said.concat())
}

fn all_hosts_are(push: &Value, state: &str) -> bool {
    let hosts = push["hosts"].as_array();
    hosts.is_some_and(|hosts| hosts.iter().all(|host| host["state"] == state))
}

fn host_of<'a>(push: &'a Value, host: &str) -> &'a Value {
    let hosts = push["hosts"].as_array();
    hosts.and_then(|hosts| hosts.iter().find(|row| row["host"] == host)).unwrap_or(&Value::Null)
}

#[test]
fn a_policy_reaches_every_kernel_in_stages_and_what_must_not_stay_goes_again() -> anyhow::Result<()>
{
    let mut site = Site::new()?;

    site.reached("every host is enrolled");
    // Before the first push nothing is filtered. The first goes to one host, then to the others.
    site.expect("oa-18", "oa-17", 8080, true);
    let (code, told) = site.push("begin.yaml", &["--dry-run"])?;
    ensure!(code == Some(6), "{told}");
    let (code, told) = site.push("begin.yaml", &[])?;
    ensure!(code == Some(0), "{told}");
    for line in ["stage 1 of 2: 1 host", "stage 2 of 2: 2 hosts", "3 confirmed"] {
        ensure!(told.contains(line), "{line} in {told}");
    }
    site.expect("oa-18", "oa-17", 80, true);
    site.expect("oa-18", "oa-17", 8080, false);
    let (code, told) = site.push("begin.yaml", &["--dry-run"])?;
    ensure!(code == Some(0), "the same again changes nothing: {told}");

    site.reached("the first policy is enforced");
    // A person confirms the next, and the collector is killed while it waits for him.
    site.write("more.yaml", &BEGIN.replace("tcp: [80]", "tcp: [80, 8080]"))?;
    let followed = site.push_beside("more.yaml", &["--hold"]);
    let waits_in = |site: &Site, stage: u64| {
        until(&format!("stage {stage} to wait for a person"), SOON, || {
            let push = site.newest()?;
            let waits = push["state"] == "awaiting_confirmation" && push["stage"] == stage;
            ensure!(waits && push["deadline"].is_string(), "{push}");
            Ok(())
        })
    };
    waits_in(&site, 1);
    site.collector.take().context("it runs")?.kill()?;
    site.start_collector()?;
    // A host that is away when its stage begins follows later, and is not waited for.
    until("every agent to be back", SOON, || {
        let status = site.ask(&["status"])?;
        ensure!(status["agents_connected"] == 3, "{status}");
        Ok(())
    });
    waits_in(&site, 1);
    for stage in [1, 2] {
        waits_in(&site, stage);
        let (code, told) = site.say(&["policy", "confirm"])?;
        ensure!(code == Some(0), "{told}");
    }
    let (code, told) = heard(followed.join().expect("it does not panic")?);
    ensure!(code == Some(0) && told.contains("is done: 3 confirmed"), "{told}");
    site.expect("oa-18", "oa-17", 8080, true);

    site.reached("the second policy is confirmed by a person");
    // A policy that cuts the agents of the inner zone off goes again by itself, and no further.
    site.write("cutting.yaml", &BEGIN.replace("\"10.1.0.1:7710\"", "\"10.1.0.1:7999\""))?;
    let (code, told) = site.push("cutting.yaml", &["--confirm-within", "4s"])?;
    ensure!(code == Some(1) && told.contains("failed: oa-17: "), "{told}");
    let push = site.newest()?;
    ensure!(host_of(&push, "oa-17")["state"] == "reverted", "{push}");
    ensure!(host_of(&push, "oa-18")["state"] == "cancelled", "{push}");
    site.expect("oa-18", "oa-17", 8080, true);

    site.reached("the third is reverted");
    drift_is_seen_and_where_the_policy_says_so_put_back(&site)?;
    site.reached("a change by hand is put back");
    a_quarantine_cuts_a_host_off_and_lets_it_back(&site)?;

    site.reached("a quarantine has come and gone");
    // Back to the policy before the one that was done last.
    let key = site.path("security.key");
    let (code, told) = site.say(&["policy", "rollback", "--key", &key, "--yes"])?;
    ensure!(code == Some(0), "{told}");
    ensure!(all_hosts_are(&site.newest()?, "confirmed"), "{}", site.newest()?);
    site.expect("oa-18", "oa-17", 8080, false);
    site.expect("oa-18", "oa-17", 80, true);

    site.reached("the first policy is enforced again");
    an_order_comes_on_removable_media_too(&site)
}

fn drift_is_seen_and_where_the_policy_says_so_put_back(site: &Site) -> anyhow::Result<()> {
    site.machine("web-1").sh("nft add chain inet bailey hole")?;
    let (finding, took) = until("the drift to be a finding", SOON, || {
        site.findings("ruleset_drift", "web-1")?.pop().context("no finding")
    });
    process::report(&format!("change by hand to finding: {took:?}"));
    ensure!(finding["why"]["en"].as_str().is_some_and(|why| why.contains("nft")), "{finding}");
    site.machine("web-1").sh("nft delete chain inet bailey hole")?;
    until("the finding to resolve", SOON, || {
        let still = site.findings("ruleset_drift", "web-1")?;
        ensure!(still.is_empty(), "{still:?}");
        Ok(())
    });

    site.machine("oa-17").sh("nft insert rule inet bailey input tcp dport 23 accept")?;
    until("the table to be put back", SOON, || {
        let table = site.table("oa-17")?;
        ensure!(!table.contains("dport 23"), "{table}");
        let known = site.enforced("oa-17")?;
        ensure!(known["restored"] == 1 && known["drift"]["by"].is_string(), "{known}");
        Ok(())
    });
    Ok(())
}

fn a_quarantine_cuts_a_host_off_and_lets_it_back(site: &Site) -> anyhow::Result<()> {
    let key = site.path("security.key");
    let until_then = ["--until", "1 h", "--reason", "scans inner"];
    let words = [&["quarantine", "oa-18", "--key", &key, "--yes"], &until_then[..]].concat();
    let (code, told) = site.say(&words)?;
    ensure!(code == Some(0), "{told}");
    site.expect("oa-18", "oa-17", 80, false);
    until("the quarantine to be known, over the path that it keeps", SOON, || {
        let known = site.enforced("oa-18")?;
        ensure!(known["quarantine"]["reason"] == "scans inner", "{known}");
        Ok(())
    });
    // A policy does not go to a host in quarantine, and says so.
    let (code, told) = site.push("more.yaml", &["--host", "oa-18"])?;
    ensure!(code == Some(1) && told.contains("it is in quarantine until"), "{told}");
    let (code, told) = site.say(&["quarantine", "oa-18", "--release", "--key", &key, "--yes"])?;
    ensure!(code == Some(0), "{told}");
    site.expect("oa-18", "oa-17", 80, true);
    until("the end of the quarantine to be known", SOON, || {
        let known = site.enforced("oa-18")?;
        ensure!(known["quarantine"].is_null(), "{known}");
        Ok(())
    });
    Ok(())
}

fn an_order_comes_on_removable_media_too(site: &Site) -> anyhow::Result<()> {
    let inventory = site.ask(&["policy", "hosts"])?;
    site.write("hosts.json", &inventory.to_string())?;
    let (inventory, media) = (site.path("hosts.json"), site.path("media"));
    let (file, key) = (site.path("more.yaml"), site.path("security.key"));
    let words = ["policy", "push", &file, "--key", &key, "--to", &media, "--inventory", &inventory];
    let (code, told) = site.say(&[&words, &["--host", "web-1"][..]].concat())?;
    ensure!(code == Some(0), "{told}");
    let order = PathBuf::from(&media).join("web-1.order").display().to_string();
    let machine = site.machine("web-1");
    let told = site.agent(machine, "web-1", &["apply", &order])?;
    let (_, confirm) =
        told.split_once("bailey-agent confirm ").context("the line that confirms")?;
    let mut words = confirm.split_whitespace();
    let (version, digest) = words.next().zip(words.next()).context("a number and a digest")?;
    site.agent(machine, "web-1", &["confirm", version, digest])?;
    let version: u64 = version.parse()?;
    ensure!(site.table("web-1")?.contains("8080"), "{}", site.table("web-1")?);
    until("the collector to know of it", SOON, || {
        let known = site.enforced("web-1")?;
        ensure!(known["confirmed"]["version"] == version, "{known}");
        Ok(())
    });
    Ok(())
}
