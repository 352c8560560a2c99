//! The programs that Bailey works with, started for real: Prometheus and Alertmanager.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::lab::Machine;
use crate::process::Process;

/// Fetches JSON on a machine of the lab, as a person would with curl.
pub fn get_json(machine: &Machine, url: &str) -> anyhow::Result<Value> {
    let text = machine.sh(&format!("curl -sS --max-time 5 --globoff '{url}'"))?;
    serde_json::from_str(&text).with_context(|| format!("{url} answered {text:.200}"))
}

/// Alertmanager on loopback of a machine.
#[derive(Debug)]
pub struct Alertmanager {
    /// Where it listens.
    pub url: String,
    process: Process,
}

impl Alertmanager {
    /// Starts it with the configuration in `config`.
    pub fn start(
        machine: &Machine,
        port: u16,
        config: &Path,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = machine.command("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=");
        let process = Process::start("alertmanager", command, folder)?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), process })
    }

    /// The alerts it holds now.
    pub fn alerts(&self, machine: &Machine) -> anyhow::Result<Vec<Value>> {
        let all = get_json(machine, &format!("{}/api/v2/alerts", self.url))?;
        Ok(all.as_array().cloned().unwrap_or_default())
    }

    /// The active alert whose labels are all of `labels`.
    pub fn active(&self, machine: &Machine, labels: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.alerts(machine)?
            .into_iter()
            .find(|alert| {
                alert["status"]["state"] == "active"
                    && labels.iter().all(|(name, value)| alert["labels"][name] == *value)
            })
            .with_context(|| format!("no active alert with {labels:?}"))
    }

    /// Ends it.
    pub fn kill(self) -> anyhow::Result<()> {
        self.process.kill()
    }
}

/// Prometheus on loopback of a machine.
#[derive(Debug)]
pub struct Prometheus {
    /// Where it listens.
    pub url: String,
    _process: Process,
}

impl Prometheus {
    /// Starts it with the configuration in `config`.
    pub fn start(
        machine: &Machine,
        port: u16,
        config: &Path,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = machine.command("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", command, folder)?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), _process: process })
    }

    /// The answer to an instant query: the list of samples.
    pub fn query(&self, machine: &Machine, promql: &str) -> anyhow::Result<Vec<Value>> {
        let mut url = format!("{}/api/v1/query?query=", self.url);
        for byte in promql.bytes() {
            // Writing to a String cannot fail.
            let _ = write!(url, "%{byte:02x}");
        }
        let answer = get_json(machine, &url)?;
        answer["data"]["result"]
            .as_array()
            .cloned()
            .with_context(|| format!("{promql}: {}", answer["error"]))
    }

    /// The alerts of its rules that are firing now, by name.
    pub fn firing(&self, machine: &Machine) -> anyhow::Result<Vec<String>> {
        let answer = get_json(machine, &format!("{}/api/v1/alerts", self.url))?;
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        Ok(alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .filter_map(|alert| alert["labels"]["alertname"].as_str().map(Into::into))
            .collect())
    }
}
