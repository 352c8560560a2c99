//! `bailey-agent`: runs on a host, reads facts and brings them to the collector.

use std::process::ExitCode;

fn main() -> ExitCode {
    bailey_agent::program::main()
}
