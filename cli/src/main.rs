//! `bailey`: starts a collector that watches this machine, and asks a running one.

use std::process::ExitCode;

fn main() -> ExitCode {
    let line: Vec<_> = std::env::args_os().collect();
    bailey_cli::run(&line)
}
