//! `bailey ruleset`: what packet filters do, from files that kernels printed. None of this asks a
//! collector.

mod diff;
pub(super) mod files;
mod lint;
mod matrix;
mod trace;

use bailey_rules::model::trace::Direction;
use bailey_rules::prove::TooComplex;

use crate::arguments::{Format, RulesetCommand, Way};
use crate::exit::{Done, Failure};
use crate::screen::Screen;

/// The version of the answers for programs.
const SCHEMA: u32 = 1;
/// Entries that a cell shows.
const SHOWN: usize = 4;

/// Answers one of the questions about rulesets.
pub(super) fn run(
    command: &RulesetCommand,
    format: Format,
    screen: Screen,
) -> Result<Done, Failure> {
    match command {
        RulesetCommand::Trace(trace) => trace::run(trace, format, screen),
        RulesetCommand::Matrix(wanted) => matrix::run(wanted, format, screen),
        RulesetCommand::Lint(wanted) => lint::run(wanted, format, screen),
        RulesetCommand::Diff(wanted) => diff::run(wanted, format, screen),
    }
}

/// What to say when the sets of packets need more memory than they may have.
fn too_complex(why: TooComplex) -> Failure {
    Failure::error(
        format!("out of model: {why}; ask about one hook, or about fewer files at once"),
        format!("超出模型范围：{why}；请只查询一个 hook，或减少文件"),
    )
}

const fn direction(way: Way) -> Direction {
    match way {
        Way::Input => Direction::Input,
        Way::Output => Direction::Output,
        Way::Forward => Direction::Forward,
    }
}

/// A list in one cell; one that is empty stands for anything.
fn listed(all: &[String], screen: Screen) -> String {
    match all.get(..SHOWN) {
        _ if all.is_empty() => screen.word("any", "任意").to_owned(),
        Some(first) if all.len() > SHOWN => format!("{} +{}", first.join(","), all.len() - SHOWN),
        Some(_) | None => all.join(","),
    }
}
