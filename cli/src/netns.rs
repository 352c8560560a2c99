//! Network namespaces (ip-netns(8)): the machines of the demo and of the tests' lab. Needs root,
//! and `ip` of iproute2.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps namespaces by their names.
const NAMED: &str = "/run/netns";

/// A network namespace by its name. It stays when this value goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// The namespace called `name`, whether it is there or not.
    pub fn called(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Makes a namespace that has nothing but a loopback, which is down.
    ///
    /// # Errors
    /// When the kernel refuses, or there is one of this name.
    pub fn add(name: impl Into<String>) -> anyhow::Result<Self> {
        let made = Self::called(name);
        run(Command::new("ip").args(["netns", "add", &made.name]))?;
        Ok(made)
    }

    /// Every namespace whose name begins so.
    ///
    /// # Errors
    /// When the names cannot be read.
    pub fn beginning(prefix: &str) -> anyhow::Result<Vec<Self>> {
        let folder = match std::fs::read_dir(NAMED) {
            Ok(folder) => folder,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(NAMED),
        };
        let mut found = Vec::new();
        for entry in folder {
            let name = entry.context(NAMED)?.file_name();
            if let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) {
                found.push(Self::called(name));
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes its name. It is gone with its wires when no process is left in it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self) -> anyhow::Result<()> {
        run(Command::new("ip").args(["netns", "del", &self.name])).map(drop)
    }

    /// A command that will run in it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs `ip ARGUMENTS` in it.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn ip(&self, arguments: &str) -> anyhow::Result<()> {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
            .map(drop)
    }

    /// Runs many lines of `ip` in it, one after the other, up to the first that is refused.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn batch(&self, lines: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]);
        feed(command, lines).map(drop)
    }

    /// Runs a command line in it and gives its output.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn sh(&self, line: &str) -> anyhow::Result<String> {
        run(self.command("sh").args(["-c", line]))
    }

    /// Has nft(8) do what `script` says in it, as one transaction.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn nft(&self, script: &str) -> anyhow::Result<()> {
        let mut command = self.command("nft");
        command.args(["-f", "-"]);
        feed(command, script).map(drop)
    }

    /// Lays a wire to another one. Names of interfaces have at most 15 octets; both ends come up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wire(&self, end: &str, other: &Self, other_end: &str) -> anyhow::Result<()> {
        let far = &other.name;
        self.batch(&format!(
            "link add {end} type veth peer name {other_end} netns {far}\nlink set {end} up\n"
        ))?;
        other.ip(&format!("link set {other_end} up"))
    }

    /// Moves the calling thread into it for good. Sockets that the thread has keep their own.
    ///
    /// # Errors
    /// When it is not there, or this is not root.
    pub fn enter(&self) -> anyhow::Result<()> {
        let file = File::open(Path::new(NAMED).join(&self.name))
            .with_context(|| format!("namespace {}", self.name))?;
        setns(file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter namespace {}", self.name))
    }

    /// Does `work` in it, on a thread of its own, and waits.
    ///
    /// # Errors
    /// When it cannot be entered, or `work` fails.
    pub fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Runs a command to its end and gives its standard output; fails with both outputs.
///
/// # Errors
/// When it cannot be started or does not end well.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let out = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ended(command, &out)
}

/// The same with `text` on its standard input.
fn feed(mut command: Command, text: &str) -> anyhow::Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut input = child.stdin.take().expect("it was asked for");
    // What a program thinks of a text that it did not read to the end, it says itself.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    let out = child.wait_with_output().with_context(|| format!("{command:?}"))?;
    ended(&command, &out)
}

fn ended(command: &Command, out: &std::process::Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(text);
    }
    bail!("{command:?}: {}\n{text}{}", out.status, String::from_utf8_lossy(&out.stderr))
}
