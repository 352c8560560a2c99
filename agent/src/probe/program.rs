//! Programs that probes and the enforcer run: found in fixed folders, with an environment of their own, bounded in
//! time and output, and gone with everything they started when the reading ends.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// Where programs of the system are looked for. Never the `PATH` of whoever started the agent.
pub(crate) const SYSTEM_FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What a program said on its standard error: so much of it is kept, in octets.
const MAX_COMPLAINT: usize = 4 * 1024;

/// The file of the program `name` in the first of `folders` that has one that can be executed.
pub(crate) fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| {
        let executable =
            |about: std::fs::Metadata| about.is_file() && about.permissions().mode() & 0o111 != 0;
        path.metadata().is_ok_and(executable)
    })
}

/// What to run, and within which bounds.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// The file, from the root on.
    pub program: &'a Path,
    /// Its arguments. They show in the list of processes: never a secret.
    pub arguments: &'a [&'a str],
    /// Its whole environment besides `PATH` and `LC_ALL`.
    pub environment: &'a [(OsString, OsString)],
    /// What it reads on its standard input; nothing when there is none. A file and not a pipe, so
    /// that the program reads all of it even if this process is killed meanwhile.
    pub input: Option<File>,
    /// The longest it may take.
    pub limit: Duration,
    /// The most it may write, in octets.
    pub most: usize,
}

/// What a program that ended has left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Whether it ended with the code 0.
    pub success: bool,
    /// What it wrote on its standard output.
    pub output: Vec<u8>,
    /// The beginning of what it wrote on its standard error.
    pub complaint: String,
}

impl Ended {
    /// The first line of the complaint that says something, for a person.
    pub(crate) fn first_complaint(&self) -> &str {
        let mut lines = self.complaint.lines().map(str::trim);
        lines.find(|line| !line.is_empty()).unwrap_or("it did not say why")
    }
}

/// Why a program gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// It could not be started, or what it wrote could not be read.
    #[error("cannot run {program}: {source}")]
    NotRun {
        /// Its file.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long and was ended.
    #[error("{program} was ended: it took longer than {} s", limit.as_secs())]
    TooLong {
        /// Its file.
        program: PathBuf,
        /// How long it might have taken.
        limit: Duration,
    },
    /// It wrote too much and was ended.
    #[error("{program} was ended: it wrote more than {most} octets")]
    TooMuch {
        /// Its file.
        program: PathBuf,
        /// How much it might have written.
        most: usize,
    },
}

impl Run<'_> {
    /// Runs it to its end. Dropping the future ends the program and all that it started.
    pub(crate) async fn until_end(self) -> Result<Ended, RunError> {
        let Self { program, limit, most, input, .. } = self;
        let not_run = |source| RunError::NotRun { program: program.to_owned(), source };
        let mut child = Command::new(program)
            .args(self.arguments)
            .env_clear()
            .env("PATH", SYSTEM_FOLDERS.join(":"))
            .env("LC_ALL", "C")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(not_run)?;
        let mut group = Group::of(&child);
        let output = child.stdout.take().expect("standard output was asked for");
        let complaint = child.stderr.take().expect("standard error was asked for");
        let reading = async {
            let (output, complaint) = tokio::try_join!(all(output, most), beginning(complaint))?;
            let status = child.wait().await?;
            Ok::<_, std::io::Error>((output, complaint, status))
        };
        let (output, complaint, status) = match tokio::time::timeout(limit, reading).await {
            Ok(ended) => ended.map_err(|source| match source.kind() {
                std::io::ErrorKind::FileTooLarge => {
                    RunError::TooMuch { program: program.to_owned(), most }
                }
                _ => not_run(source),
            })?,
            Err(_) => return Err(RunError::TooLong { program: program.to_owned(), limit }),
        };
        group.ended();
        let complaint = String::from_utf8_lossy(&complaint).into_owned();
        Ok(Ended { success: status.success(), output, complaint })
    }
}

/// Everything that is written, or an error when it is more than `most` octets.
async fn all(from: impl AsyncRead + Unpin, most: usize) -> std::io::Result<Vec<u8>> {
    let mut written = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    from.take(bound).read_to_end(&mut written).await?;
    if written.len() > most {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(written)
}

/// The beginning of what is written. The rest is read too, so that the program is not held up.
async fn beginning(mut from: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(kept);
        }
        let room = MAX_COMPLAINT.saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&chunk[..room]);
    }
}

/// The process group of a program, which is ended with it unless it has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// The number may from now on belong to somebody else.
    fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended in this moment; then there is nothing left to end.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
