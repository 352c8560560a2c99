//! The main job from wire to alert: real agents in namespaces, a real Alertmanager and Prometheus.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bailey_tests::lab::Machine;
use bailey_tests::peers::{Alertmanager, Prometheus};
use bailey_tests::process::{self, Process, run};
use bailey_tests::wait::until;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const AGENTS: u16 = 7710;
const WEB: u16 = 7711;
const ALERTMANAGER: u16 = 9093;
const PROMETHEUS: u16 = 9090;

const POLICY: &str = "\
site: jiaxing
zones:
  inner: {name: 内网, networks: [10.1.0.0/16]}
  outer: {name: 外网, networks: [172.20.0.0/16]}
hosts:
  oa-17: {zone: inner, addresses: [10.1.0.17]}
  web-1: {zone: outer, addresses: [172.20.0.11]}
";

/// The reference site in small: one host in each zone and the collector, wired to both.
struct Site {
    folder: tempfile::TempDir,
    inner: Machine,
    outer: Machine,
    centre: Machine,
    collector: Option<Process>,
}

impl Site {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (inner, outer, centre) =
            (Machine::new("inner"), Machine::new("outer"), Machine::new("centre"));
        centre.wire("to-inner", &inner, "eth0");
        centre.wire("to-outer", &outer, "eth0");
        centre.ip("addr add 10.1.0.1/24 dev to-inner");
        centre.ip("addr add 172.20.0.1/24 dev to-outer");
        inner.ip("addr add 10.1.0.17/24 dev eth0");
        outer.ip("addr add 172.20.0.11/24 dev eth0");
        inner.ip("route add default via 10.1.0.1");
        outer.ip("route add default via 172.20.0.1");
        std::fs::create_dir(folder.path().join("collector"))?;
        std::fs::write(folder.path().join("collector/policy.yaml"), POLICY)?;
        Ok(Self { folder, inner, outer, centre, collector: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_collector(&mut self) -> anyhow::Result<()> {
        let state = self.path("collector");
        let arguments = [
            "--state",
            state.to_str().context("temporary folders have plain names")?,
            "--web",
            &format!("127.0.0.1:{WEB}"),
            "--agents",
            &format!("0.0.0.0:{AGENTS}"),
            "--public-address",
            &format!("10.1.0.1:{AGENTS}"),
            "--alertmanager",
            &format!("http://127.0.0.1:{ALERTMANAGER}"),
        ];
        let mut collector =
            self.centre.bailey("collector", "bailey-collector", &arguments, self.folder.path())?;
        until("the collector to answer", SOON, || {
            collector.check_alive().expect("the collector runs");
            self.ask(&["status"])
        });
        self.collector = Some(collector);
        Ok(())
    }

    /// Asks with the command line tool, as an administrator would.
    fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = self.centre.command(process::bailey("bailey"));
        command.args(["-o", "json", "--state"]).arg(self.path("collector")).args(arguments);
        let text = run(&mut command)?;
        serde_json::from_str(&text).with_context(|| format!("{arguments:?} answered {text:.300}"))
    }

    /// Enrols a host and starts its agent.
    fn add_host(&self, host: &str, zone: &str, collector: &str) -> anyhow::Result<Process> {
        let machine = if zone == "inner" { &self.inner } else { &self.outer };
        let made = self.ask(&["enroll", "token", "--host", host, "--zone", zone])?;
        let token = self.path(&format!("{host}.token"));
        std::fs::write(&token, made["token"].as_str().context("a token")?)?;
        let settings = self.path(&format!("{host}.yaml"));
        std::fs::write(
            &settings,
            format!(
                "collector: {collector}\nbackup:\n  drop_directory: {}\n",
                self.path(&format!("{host}-backup")).display()
            ),
        )?;
        std::fs::create_dir_all(self.path(&format!("{host}-backup")))?;
        let state = self.path(host);
        run(machine
            .command(process::bailey("bailey-agent"))
            .arg("enroll")
            .arg("--token-file")
            .arg(&token)
            .arg("--state")
            .arg(&state)
            .arg("--settings")
            .arg(&settings))?;
        self.start_agent(host, zone)
    }

    fn start_agent(&self, host: &str, zone: &str) -> anyhow::Result<Process> {
        let machine = if zone == "inner" { &self.inner } else { &self.outer };
        let (state, settings) = (self.path(host), self.path(&format!("{host}.yaml")));
        let text = |path: &Path| path.display().to_string();
        machine.bailey(
            host,
            "bailey-agent",
            &["run", "--state", &text(&state), "--settings", &text(&settings)],
            self.folder.path(),
        )
    }

    fn host(&self, host: &str) -> anyhow::Result<Value> {
        self.ask(&["hosts", "show", host])
    }

    /// The state of one check of a host: the worst of its subjects.
    fn check(&self, host: &str, check: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.host(host)?;
        let checks = answer["checks"].as_array().context("checks")?;
        Ok(checks.iter().filter(|entry| entry["check"] == check).cloned().collect())
    }

    fn findings(&self, check: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.ask(&["alerts"])?;
        let findings = answer["findings"].as_array().context("findings")?;
        Ok(findings.iter().filter(|finding| finding["check"] == check).cloned().collect())
    }
}

/// The one fenced block of a page in `docs/`, with the places that a reader fills in filled in.
fn lines_of(page: &str, fill_in: &[(&str, &str)]) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(&path)?;
    let (_, rest) = text.split_once("```yaml\n").context("a yaml block")?;
    let (block, _) = rest.split_once("```").context("the block ends")?;
    let mut block = block.to_owned();
    for (blank, value) in fill_in {
        ensure!(block.contains(blank), "{page} has no {blank} to fill in:\n{block}");
        block = block.replace(blank, value);
    }
    Ok(block)
}

#[test]
fn a_wire_between_the_zones_reaches_alertmanager_and_prometheus_and_goes_away_again()
-> anyhow::Result<()> {
    let mut site = Site::new()?;
    let folder = site.folder.path().to_owned();
    let ca = site.path("collector/ca.pem");

    let alertmanager_config = site.path("alertmanager.yaml");
    std::fs::write(
        &alertmanager_config,
        "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n",
    )?;
    let alertmanager =
        Alertmanager::start(&site.centre, ALERTMANAGER, &alertmanager_config, &folder)?;
    site.start_collector()?;
    let _inner = site.add_host("oa-17", "inner", &format!("10.1.0.1:{AGENTS}"))?;
    let _outer = site.add_host("web-1", "outer", &format!("172.20.0.1:{AGENTS}"))?;
    for host in ["oa-17", "web-1"] {
        until(&format!("{host} to be judged"), SOON, || {
            let seen = site.check(host, "foreign_address")?;
            ensure!(seen.iter().all(|check| check["state"] == "ok"), "{seen:?}");
            ensure!(!site.check(host, "host_silent")?.is_empty(), "no check of silence");
            Ok(())
        });
    }

    // Prometheus and Alertmanager are set up with the lines of the documentation, nothing else.
    let web = format!("127.0.0.1:{WEB}");
    let scrape = lines_of(
        "prometheus.md",
        &[("COLLECTOR:7711", &web), ("CA_FILE", &ca.display().to_string())],
    )?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let config = site.path("prometheus.yaml");
    std::fs::write(
        &config,
        format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{}/rules/prometheus/bailey.rules.yaml]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{ALERTMANAGER}']}}]}}]}}\n\
             {scrape}",
            repository.display()
        ),
    )?;
    let prometheus = Prometheus::start(&site.centre, PROMETHEUS, &config, &folder)?;
    until("Prometheus to scrape both hosts", SOON, || {
        let up = prometheus.query(&site.centre, "bailey_host_connected == 1")?;
        ensure!(up.len() == 2, "{up:?}");
        Ok(())
    });

    // Somebody plugs a wire of the outer network into a machine of the inner one.
    site.inner.wire("eth1", &site.outer, "eth1");
    site.inner.ip("addr add 172.20.0.99/24 dev eth1");
    let violation = [
        ("alertname", "BaileyIsolationViolation"),
        ("host", "oa-17"),
        ("zone", "inner"),
        ("check", "foreign_address"),
        ("severity", "critical"),
        ("component", "isolation"),
    ];
    let (alert, took) =
        until("the alert in Alertmanager", SOON, || alertmanager.active(&site.centre, &violation));
    process::report(&format!("wire to alert in Alertmanager: {took:?}"));
    let annotations = &alert["annotations"];
    for name in ["summary", "summary_zh", "description", "description_zh", "runbook_url"] {
        ensure!(
            annotations[name].as_str().is_some_and(|text| !text.is_empty()),
            "no {name}: {alert}"
        );
    }
    ensure!(annotations["description"].as_str().is_some_and(|text| text.contains("172.20.0.99")));
    until("the rule of Prometheus to fire", SOON, || {
        let firing = prometheus.firing(&site.centre)?;
        ensure!(firing.iter().any(|name| name == "BaileyIsolationViolation"), "{firing:?}");
        Ok(())
    });
    ensure!(!site.findings("foreign_address")?.is_empty(), "the finding is on the list");

    // And pulls it again.
    site.inner.ip("link del eth1");
    until("the alert to resolve", SOON, || match alertmanager.active(&site.centre, &violation) {
        Ok(still) => anyhow::bail!("still active: {still}"),
        Err(_) => Ok(()),
    });
    until("the rule of Prometheus to resolve", SOON, || {
        let firing = prometheus.firing(&site.centre)?;
        ensure!(!firing.iter().any(|name| name == "BaileyIsolationViolation"), "{firing:?}");
        Ok(())
    });
    every_dashboard_query_has_data(&site, &prometheus)
}

/// Every query of every dashboard gives data from the site that runs.
fn every_dashboard_query_has_data(site: &Site, prometheus: &Prometheus) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards/grafana");
    let mut asked = 0;
    for entry in std::fs::read_dir(folder)? {
        let dashboard: Value = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
        let mut panels = dashboard["panels"].as_array().cloned().context("panels")?;
        let nested: Vec<Value> = panels
            .iter()
            .filter_map(|panel| panel["panels"].as_array())
            .flatten()
            .cloned()
            .collect();
        panels.extend(nested);
        for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
            let expr = target["expr"].as_str().context("expr")?;
            // What Grafana would fill in for "all".
            let expr = ["$zone", "${zone}", "$host", "${host}"]
                .iter()
                .fold(expr.to_owned(), |expr, blank| expr.replace(blank, ".*"))
                .replace("$__rate_interval", "10s")
                .replace("$__range", "1m");
            until(&format!("data for {expr}"), SOON, || {
                let samples = prometheus.query(&site.centre, &expr)?;
                ensure!(!samples.is_empty(), "no data");
                Ok(())
            });
            asked += 1;
        }
    }
    ensure!(asked > 10, "a dashboard has more than {asked} queries");
    Ok(())
}

/// Six changes, each far enough from the one before to be a report of its own.
fn make_reports(machine: &Machine, from: u8) {
    for number in from..from + 6 {
        machine.ip(&format!("route add blackhole 10.1.{number}.0/24"));
        std::thread::sleep(Duration::from_millis(700));
    }
}

#[test]
fn reports_arrive_once_each_when_the_link_is_cut_and_both_sides_are_killed() -> anyhow::Result<()> {
    let mut site = Site::new()?;
    site.start_collector()?;
    let agent = site.add_host("oa-17", "inner", &format!("10.1.0.1:{AGENTS}"))?;
    until("the first report", SOON, || {
        let host = site.host("oa-17")?;
        ensure!(host["session"]["connected"] == true, "{}", host["session"]);
        host["session"]["acknowledged"]["seq"].as_u64().context("a place")
    });

    site.centre.ip("link set to-inner down");
    make_reports(&site.inner, 100);
    agent.kill()?;
    site.collector.take().context("it runs")?.kill()?;
    let agent = site.start_agent("oa-17", "inner")?;
    make_reports(&site.inner, 110);
    site.start_collector()?;
    agent.kill()?;
    let _agent = site.start_agent("oa-17", "inner")?;
    make_reports(&site.inner, 120);
    site.centre.ip("link set to-inner up");

    // The last route shows that everything before it came too, in order.
    until("the backlog to arrive", Duration::from_mins(1), || {
        let host = site.host("oa-17")?;
        let facts = host["facts"].as_array().context("facts")?;
        let seen = facts
            .iter()
            .filter(|fact| fact["fact"] == "links.route")
            .filter(|fact| fact["subject"].as_str().is_some_and(|route| route.contains("10.1.1")))
            .count();
        ensure!(seen == 18, "{seen} of 18 routes");
        Ok(())
    });
    let host = site.host("oa-17")?;
    let session = &host["session"];
    let seq = session["acknowledged"]["seq"].as_u64().context("a place")?;
    ensure!(seq > 18, "every route was a report of its own: {session}");
    ensure!(session["reports_accepted"].as_u64() == Some(seq), "each arrived once: {session}");
    ensure!(session["lost_reports"] == 0, "nothing was lost: {session}");
    ensure!(
        session["gaps"].as_array().is_some_and(Vec::is_empty),
        "the gap list is empty: {session}"
    );
    Ok(())
}
