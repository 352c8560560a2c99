//! Programs that the tests start, and only those they end.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub use bailey_cli::netns::run;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// How long a program may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The path of one of Bailey's own programs, built beside this test.
///
/// # Panics
/// When it was not built: `cargo build --workspace` builds it.
#[must_use]
pub fn bailey(program: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test knows its own path");
    test.ancestors()
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{program} is not built; run cargo build --workspace"))
}

/// A program that runs until this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `folder/NAME.log`. It is killed when the test's thread
    /// dies, however that happens.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.into(), child, log })
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never: process ids fit.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids fit i32"))
    }

    /// What it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails with its output when it has ended by itself.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.output());
        }
        Ok(())
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and gives its exit code.
    pub fn stop(mut self) -> anyhow::Result<Option<i32>> {
        kill(self.pid(), Signal::SIGTERM)?;
        let (status, _) = wait::until(&format!("{} to stop", self.name), STOP_LIMIT, || {
            self.child.try_wait()?.context("still running")
        });
        Ok(status.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The whole group of this child: it may have started children of its own.
            let group = Pid::from_raw(-self.pid().as_raw());
            let _ = kill(group, Signal::SIGKILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let tail: Vec<String> = self.output().lines().rev().take(40).map(Into::into).collect();
            let tail: Vec<&str> = tail.iter().rev().map(String::as_str).collect();
            report(&format!("--- last words of {}:\n{}", self.name, tail.join("\n")));
        }
    }
}

/// Says something in the output of a failing test or of a bench.
#[allow(clippy::print_stderr)] // The test harness and the benches show standard error to people.
pub fn report(text: &str) {
    eprintln!("{text}");
}
