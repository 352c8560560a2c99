//! The demo's processes: each says itself, in a file, who it is, so that whoever comes after a kill -9
//! finds it, and never another process that the number was given to since.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::Netns;

/// How long processes may take to end after they were asked to.
const ASKED_LIMIT: Duration = Duration::from_secs(8);

/// How long the kernel may take to end what was killed.
const KILLED_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait between two looks at whether a process is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The most octets of a log; one that grows beyond begins anew.
const MAX_LOG: u64 = 1024 * 1024;

/// A process that cannot be mistaken for another: its number, and when it was started in ticks since
/// the boot (proc(5), `/proc/pid/stat`, field 22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pid: i32,
    started: u64,
}

impl Identity {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` does not say.
    pub(super) fn own() -> io::Result<Self> {
        let pid = nix::unistd::getpid().as_raw();
        let (started, _) = started(pid).ok_or_else(|| io::Error::other("/proc is not readable"))?;
        Ok(Self { pid, started })
    }

    /// Keeps it in a file, written whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn keep(self, file: &Path) -> io::Result<()> {
        let new = file.with_extension("new");
        std::fs::write(&new, format!("{} {}\n", self.pid, self.started))?;
        std::fs::rename(&new, file)
    }

    /// The process that a file names; `None` when there is no such file.
    pub(super) fn kept(file: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let pid = pid.parse().ok().filter(|pid| *pid > 1)?;
        Some(Self { pid, started: started.parse().ok()? })
    }

    /// Whether it still runs.
    pub(super) fn runs(self) -> bool {
        started(self.pid).is_some_and(|(at, ended)| at == self.started && !ended)
    }

    /// Sends it a signal, when it still runs.
    ///
    /// # Errors
    /// When it runs and may not be signalled.
    pub(super) fn signal(self, signal: Signal) -> anyhow::Result<()> {
        if !self.runs() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("process {}", self.pid)),
        }
    }
}

/// When a process was started, and whether it has ended and only waits to be asked for its code.
fn started(pid: i32) -> Option<(u64, bool)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may have anything in it, brackets too.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let ended = matches!(fields.next()?, "Z" | "X");
    Some((fields.nth(18)?.parse().ok()?, ended))
}

/// Asks processes to end, and ends those that do not.
///
/// # Errors
/// When one is still there after it was killed.
pub(super) fn end(all: &[Identity]) -> anyhow::Result<()> {
    for (signal, limit) in [(Signal::SIGTERM, ASKED_LIMIT), (Signal::SIGKILL, KILLED_LIMIT)] {
        for process in all {
            process.signal(signal)?;
            // One that was stopped hears nothing until it goes on.
            process.signal(Signal::SIGCONT)?;
        }
        let until = Instant::now() + limit;
        while all.iter().any(|process| process.runs()) {
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    match all.iter().find(|process| process.runs()) {
        Some(process) => anyhow::bail!("process {} does not end", process.pid),
        None => Ok(()),
    }
}

/// A program of Bailey in a namespace, which is started again when it ends.
#[derive(Debug)]
pub(super) struct Part {
    name: String,
    netns: Netns,
    line: Vec<String>,
    record: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Part {
    /// Starts it: `line` is the command line behind `bailey demo part`. It keeps its identity in
    /// `processes/NAME` of the demo's folder, and its log in `logs/NAME`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(
        name: &str,
        netns: Netns,
        line: Vec<String>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let record = folder.join("processes").join(name);
        let log = folder.join("logs").join(name);
        let child = spawn(&netns, &line, &record, &log)?;
        Ok(Self { name: name.to_owned(), netns, line, record, log, child })
    }

    /// Starts it again when it has ended. Gives `true` when it had.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn keep_running(&mut self) -> anyhow::Result<bool> {
        cut(&self.log);
        if self.child.try_wait().with_context(|| self.name.clone())?.is_none() {
            return Ok(false);
        }
        self.child = spawn(&self.netns, &self.line, &self.record, &self.log)?;
        Ok(true)
    }

    /// Fails with its last words when it has ended.
    ///
    /// # Errors
    /// That it has.
    pub(super) fn check_running(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait().with_context(|| self.name.clone())? else {
            return Ok(());
        };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        anyhow::bail!("{} ended ({status}): {}", self.name, last.join("\n"))
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

fn spawn(netns: &Netns, line: &[String], record: &Path, log: &Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program's own path")?;
    let out = File::options().create(true).append(true).open(log).with_context(|| shown(log))?;
    let mut command = netns.command(program);
    command.args(["demo", "part", "--record"]).arg(record).args(line);
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    // Ctrl-C on the terminal is for the demo, which then ends its parts in order.
    command.process_group(0);
    command.spawn().with_context(|| format!("cannot start {command:?}"))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Begins a log anew that has grown too long.
fn cut(log: &Path) {
    let too_long = std::fs::metadata(log).is_ok_and(|about| about.len() > MAX_LOG);
    if let Some(file) = File::options().write(true).open(log).ok().filter(|_| too_long) {
        // What cannot be cut grows on; the next look tries again.
        let _ = file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own");
        assert_eq!(Identity::kept(&file), None);
        let own = Identity::own().unwrap();
        own.keep(&file).unwrap();
        assert_eq!(Identity::kept(&file), Some(own));
        assert!(own.runs());
        let other = Identity { started: own.started + 1, ..own };
        assert!(!other.runs(), "the number was given to another process");
    }

    #[test]
    fn a_file_that_names_no_process_ends_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad");
        for text in ["", "1 5", "0 0", "-1 7", "x y", "12"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(Identity::kept(&file), None, "{text:?}");
        }
    }

    #[test]
    fn a_process_that_hears_nothing_is_ended_all_the_same() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Identity { pid, started: started(pid).unwrap().0 };
        process.signal(Signal::SIGSTOP).unwrap();
        end(&[process]).unwrap();
        assert!(!process.runs());
        child.wait().unwrap();
    }
}
