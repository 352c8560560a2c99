//! A demo of a test's own, run as a person runs it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bailey_cli::netns::Netns;
use bailey_rules::policy::Policy;
use serde_json::Value;

use crate::process::{self, Process, run};
use crate::wait::until;

/// A machine that has much else to do builds the site in this time.
pub const UP_LIMIT: Duration = Duration::from_mins(3);

/// A demo of this test's own. It is taken down with this value, if need be.
#[derive(Debug)]
pub struct Demo {
    name: String,
    logs: tempfile::TempDir,
    process: Option<Process>,
}

impl Demo {
    /// One that does not run yet, with a name that begins so.
    pub fn new(letter: char) -> anyhow::Result<Self> {
        let name = format!("{letter}{}", std::process::id());
        Ok(Self { name, logs: tempfile::tempdir()?, process: None })
    }

    /// Starts it.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(process::bailey("bailey"));
        command.args(["-o", "json", "--lang", "en", "demo", "--name", &self.name]);
        command.args(["--web", "127.0.0.1:0"]);
        self.process = Some(Process::start("demo", command, self.logs.path())?);
        Ok(())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it printed.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Waits until it is up.
    ///
    /// # Panics
    /// When it ends by itself, or that takes too long.
    pub fn wait_until_it_is_up(&mut self) {
        until("the demo to be up", UP_LIMIT, || {
            self.process.as_mut().context("it was started")?.check_alive().expect("the demo runs");
            ask(&["demo", "--name", &self.name, "status"])
        });
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/run/bailey-{}", self.name))
    }

    /// What the names of its namespaces begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("bailey-{}-", self.name)
    }

    /// The namespace of one of its machines or switches.
    #[must_use]
    pub fn netns(&self, machine: &str) -> Netns {
        Netns::called(format!("{}{machine}", self.prefix()))
    }

    /// Asks its collector.
    pub fn ask(&self, words: &[&str]) -> anyhow::Result<Value> {
        let state = self.folder().join("collector");
        ask(&[&["--state", state.to_str().context("a plain path")?], words].concat())
    }

    /// Does something with it: `break`, `fix`, `status`.
    pub fn verb(&self, words: &[&str]) -> anyhow::Result<Value> {
        ask(&[&["demo", "--name", &self.name], words].concat())
    }

    /// The invariants of its policy.
    pub fn invariants(&self) -> anyhow::Result<Vec<String>> {
        let text = std::fs::read_to_string(self.folder().join("collector/policy.yaml"))?;
        Ok(Policy::parse("policy.yaml", &text)?.invariants.into_keys().collect())
    }

    /// Its open findings.
    pub fn findings(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.ask(&["alerts"])?;
        let all = answer["findings"].as_array().context("findings")?;
        // The county only observes: that a test tries what the policy would drop there is found
        // for an hour, as it should be.
        Ok(all.iter().filter(|finding| finding["check"] != "would_drop").cloned().collect())
    }

    /// Ends the demo's own process as a power cut would, and nothing that it started.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("it was started")?.kill()
    }

    /// Takes it away, as a person does.
    pub fn down(&self) -> anyhow::Result<()> {
        let mut command = Command::new(process::bailey("bailey"));
        run(command.args(["demo", "--name", &self.name, "down"])).map(drop)
    }

    /// Fails when something of it is left on this machine.
    pub fn nothing_is_left(&self) -> anyhow::Result<()> {
        let left = self.left()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    }

    /// What is left of it on this machine.
    pub fn left(&self) -> anyhow::Result<Vec<String>> {
        let mut left: Vec<String> =
            Netns::beginning(&self.prefix())?.iter().map(|netns| netns.name().into()).collect();
        left.extend(self.processes()?.iter().map(ToString::to_string));
        if self.folder().exists() {
            left.push(self.folder().display().to_string());
        }
        Ok(left)
    }

    /// Every process whose command line names the demo's folder.
    pub fn processes(&self) -> anyhow::Result<Vec<u32>> {
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
pub fn ask(words: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(process::bailey("bailey"));
    let text = run(command.args(["-o", "json"]).args(words))?;
    serde_json::from_str(&text).with_context(|| format!("{words:?} answered {text:.300}"))
}
