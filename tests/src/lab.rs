//! Network namespaces with wires between them.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use bailey_cli::netns::Netns;

use crate::process::{self, Process};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// One namespace: a machine of the lab. It goes with this value.
#[derive(Debug)]
pub struct Machine {
    netns: Netns,
}

impl Machine {
    /// Makes a machine whose loopback is up. `label` is for people who look at `ip netns`.
    ///
    /// # Panics
    /// When namespaces cannot be made: the lab needs root.
    #[must_use]
    pub fn new(label: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bailey-{}-{number}-{label}", std::process::id());
        let machine = Self { netns: Netns::add(name).expect("the lab runs as root") };
        machine.ip("link set lo up");
        machine
    }

    /// A command that will run on this machine.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.netns.command(program)
    }

    /// Runs `ip ARGUMENTS` on this machine.
    ///
    /// # Panics
    /// When `ip` refuses.
    pub fn ip(&self, arguments: &str) {
        self.netns.ip(arguments).expect("ip accepts the lab's commands");
    }

    /// Runs a command line on this machine and gives its output.
    pub fn sh(&self, line: &str) -> anyhow::Result<String> {
        self.netns.sh(line)
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
        self.netns.wire(end, &other.netns, other_end).expect("ip accepts the lab's wires");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.netns.remove();
    }
}
