//! The programs that the demo starts on its machines, by this same executable: the agent's own
//! command line, and a collector.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use bailey_collector::Collector;
use bailey_collector::settings::{Given, local_offset};

use super::super::up::{Stop, in_time, log_to_stderr};
use super::process::Identity;
use super::{failed, runtime};
use crate::arguments::DemoPart;
use crate::client::chain;
use crate::exit::{Done, Exit, Failure};

/// Runs one until it ends.
pub(super) fn run(part: &DemoPart) -> Result<Done, Failure> {
    let kept = Identity::own().and_then(|own| own.keep(&part.record));
    kept.map_err(|error| failed(&error))?;
    let (what, line) = part.line.split_first().expect("the parser asks for one");
    match what.to_str() {
        Some("agent") => Ok(agent(line)),
        Some("collector") => {
            let settings = line.first().map(Path::new).ok_or_else(unknown)?;
            collector(settings)
        }
        Some(_) | None => Err(unknown()),
    }
}

fn unknown() -> Failure {
    Failure::new(
        Exit::Usage,
        "`demo part` is for the demo itself: agent ..., or collector FILE",
        "`demo part` 仅供演示内部使用：agent …，或 collector 文件",
    )
}

/// The agent's program, with its own options and its own words.
fn agent(line: &[OsString]) -> Done {
    let line = std::iter::once(OsString::from("bailey-agent")).chain(line.iter().cloned());
    let ended = bailey_agent::program::run(line);
    let code = if ended == ExitCode::SUCCESS { Exit::Ok } else { Exit::Error };
    Done::said("").ending(code.code())
}

fn collector(settings: &Path) -> Result<Done, Failure> {
    let settings = Given::read(settings)
        .and_then(|given| given.settle(local_offset()))
        .map_err(|error| failed(&error))?;
    log_to_stderr(0);
    runtime()?.block_on(async {
        let mut stop = Stop::new()?;
        let collector = Collector::start(settings).await.map_err(|error| {
            let error = chain(&error);
            Failure::error(
                format!("the collector did not start: {error}"),
                format!("采集器未能启动：{error}"),
            )
        })?;
        stop.asked().await;
        in_time("the collector", collector.shutdown()).await;
        Ok(Done::said(""))
    })
}
