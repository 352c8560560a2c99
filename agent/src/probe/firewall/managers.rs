//! Programs that load rules into the filter: firewalld and ufw.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bailey_rules::fact::firewall::Manager;
use bailey_rules::fact::{Fact, FactKind};

use crate::probe::{Roots, program};

/// The most that is read of a file, in octets.
const MAX_FILE: u64 = 64 * 1024;

/// What is in the kernel that only one of them makes; the error says why nobody knows.
#[derive(Debug, Clone)]
pub(super) struct Traces {
    /// A table of firewalld's own.
    pub firewalld: bool,
    /// The chains of ufw.
    pub ufw: bool,
}

/// The facts of both.
pub(super) fn facts(
    roots: &Roots,
    folders: &[PathBuf],
    traces: Result<&Traces, &str>,
) -> [Fact; 2] {
    let installed = |name| program::find(name, folders).is_some();
    let fact = |name, installed, active: Result<bool, &str>| match active {
        Ok(active) => Fact::known(name, Manager { installed, active }),
        Err(why) => Fact::unreadable(FactKind::Manager, name, why),
    };
    let firewalld = match traces {
        _ if runs(roots, "firewalld") => Ok(true),
        Ok(traces) => Ok(traces.firewalld),
        Err(_) if !installed("firewalld") => Ok(false),
        Err(why) => Err(why),
    };
    let ufw = match (traces, enabled(&roots.etc.join("ufw/ufw.conf"))) {
        (_, Ok(false)) => Ok(false),
        (Ok(traces), Ok(true)) => Ok(traces.ufw),
        (Err(why), Ok(true)) => Err(why.to_owned()),
        (_, Err(why)) => Err(why),
    };
    [
        fact("firewalld", installed("firewalld"), firewalld),
        fact(
            "ufw",
            installed("ufw"),
            ufw.as_ref().map_or_else(|why| Err(why.as_str()), |&is| Ok(is)),
        ),
    ]
}

/// Whether the daemon that wrote `NAME.pid` is alive and still the same program.
fn runs(roots: &Roots, name: &str) -> bool {
    let pid = start_of(&roots.run.join(format!("{name}.pid"))).ok();
    let pid = pid.and_then(|text| text.trim().parse::<u32>().ok());
    let command = pid.and_then(|pid| start_of(&roots.proc.join(format!("{pid}/cmdline"))).ok());
    command.is_some_and(|command| command.contains(name))
}

/// Whether ufw is to be in force: `ENABLED=yes` in its ufw.conf (ufw(8)). Without the file it is not.
fn enabled(file: &Path) -> Result<bool, String> {
    let text = match start_of(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    let mut settings = text.lines().filter_map(|line| line.trim().split_once('='));
    let last = settings.rfind(|(key, _)| key.trim().eq_ignore_ascii_case("ENABLED"));
    Ok(last.is_some_and(|(_, value)| {
        value.trim().trim_matches(|c| c == '"' || c == '\'').eq_ignore_ascii_case("yes")
    }))
}

fn start_of(file: &Path) -> std::io::Result<String> {
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
