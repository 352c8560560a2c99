//! `bailey ruleset`: what packet filters do, from files that kernels printed. None of this asks a
//! collector.

mod files;
mod trace;

use crate::arguments::{Format, RulesetCommand};
use crate::exit::{Done, Failure};
use crate::screen::Screen;

/// Answers one of the questions about rulesets.
pub(super) fn run(
    command: &RulesetCommand,
    format: Format,
    screen: Screen,
) -> Result<Done, Failure> {
    match command {
        RulesetCommand::Trace(trace) => trace::run(trace, format, screen),
    }
}
