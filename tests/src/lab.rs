//! Network namespaces with wires between them.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::process::{self, Process, run};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One namespace: a machine of the lab. It goes with this value.
#[derive(Debug)]
pub struct Machine {
    netns: String,
}

impl Machine {
    /// Makes a machine whose loopback is up. `label` is for people who look at `ip netns`.
    ///
    /// # Panics
    /// When namespaces cannot be made: the lab needs root.
    #[must_use]
    pub fn new(label: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let netns = format!("bailey-{}-{number}-{label}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &netns])).expect("the lab runs as root");
        let machine = Self { netns };
        machine.ip("link set lo up");
        machine
    }

    /// A command that will run on this machine.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns]).arg(program.as_ref());
        command
    }

    /// Runs `ip ARGUMENTS` on this machine.
    ///
    /// # Panics
    /// When `ip` refuses.
    pub fn ip(&self, arguments: &str) {
        run(Command::new("ip").args(["-n", &self.netns]).args(arguments.split_whitespace()))
            .expect("ip accepts the lab's commands");
    }

    /// Runs a command line on this machine and gives its output.
    pub fn sh(&self, line: &str) -> anyhow::Result<String> {
        run(self.command("sh").args(["-c", line]))
    }

    /// Starts one of Bailey's programs here.
    pub fn bailey(
        &self,
        name: &str,
        program: &str,
        arguments: &[&str],
        folder: &Path,
    ) -> anyhow::Result<Process> {
        let mut command = self.command(process::bailey(program));
        command.args(arguments).env("LC_ALL", "C.UTF-8");
        Process::start(name, command, folder)
    }

    /// Lays a wire between two machines. Names are at most 15 octets; both ends come up.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn wire(&self, end: &str, other: &Self, other_end: &str) {
        self.ip(&format!("link add {end} type veth peer name {other_end} netns {}", other.netns));
        self.ip(&format!("link set {end} up"));
        other.ip(&format!("link set {other_end} up"));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = run(Command::new("ip").args(["netns", "del", &self.netns]));
    }
}
