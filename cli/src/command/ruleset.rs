//! `bailey ruleset`: what packet filters do. None of this asks a collector: it reads what `nft`,
//! `iptables-save` and `ip` printed.

mod diff;
mod lint;
mod matrix;

use std::io::Read;
use std::path::{Path, PathBuf};

use bailey_rules::model::network::Network;
use bailey_rules::model::ruleset::Ruleset;
use bailey_rules::model::{MAX_OCTETS, nft, save};
use bailey_rules::prove::TooComplex;
use bailey_rules::prove::matrix::Direction;

use crate::arguments::{Format, RulesetCommand, RulesetFiles, Way};
use crate::exit::{Done, Exit, Failure};
use crate::screen::Screen;

/// The version of the answers for programs.
const SCHEMA: u32 = 1;

/// Does one of the verbs of rulesets.
pub(super) fn run(
    command: &RulesetCommand,
    format: Format,
    screen: Screen,
) -> Result<Done, Failure> {
    match command {
        RulesetCommand::Matrix(wanted) => matrix::run(wanted, format, screen),
        RulesetCommand::Lint(wanted) => lint::run(wanted, format, screen),
        RulesetCommand::Diff(wanted) => diff::run(wanted, format, screen),
    }
}

/// What is known of one kernel.
struct Kernel {
    ruleset: Ruleset,
    network: Network,
}

/// Reads the files of one kernel.
fn load(files: &RulesetFiles) -> Result<Kernel, Failure> {
    if files.nft_json.is_empty() && files.iptables_save.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "no ruleset: give --nft-json FILE (from `nft -j list ruleset`), --iptables-save FILE, or both",
            "缺少规则集：请给出 --nft-json FILE（`nft -j list ruleset` 的输出）或 --iptables-save FILE，亦可同时给出",
        ));
    }
    let mut ruleset = Ruleset::default();
    for path in &files.nft_json {
        let text = text_of(path)?;
        ruleset.join(nft::parse(&text).map_err(|why| wrong(path, &why))?);
    }
    for path in &files.iptables_save {
        let text = text_of(path)?;
        ruleset.join(save::parse(&text).map_err(|why| wrong(path, &why))?);
    }
    Ok(Kernel { ruleset, network: network(&files.addresses, &files.routes)? })
}

/// Reads one ruleset, whose kind its first letter tells.
fn load_either(path: &Path) -> Result<Ruleset, Failure> {
    let text = text_of(path)?;
    if text.trim_start().starts_with(['{', '[']) {
        return nft::parse(&text).map_err(|why| wrong(path, &why));
    }
    save::parse(&text).map_err(|why| wrong(path, &why))
}

/// Reads what `ip` printed.
fn network(addresses: &[PathBuf], routes: &[PathBuf]) -> Result<Network, Failure> {
    let mut network = Network::default();
    for path in addresses {
        network.add_addresses(&text_of(path)?).map_err(|why| wrong(path, &why))?;
    }
    for path in routes {
        network.add_routes(&text_of(path)?).map_err(|why| wrong(path, &why))?;
    }
    Ok(network)
}

/// Reads a file, or standard input for `-`. What is longer than any ruleset is refused.
fn text_of(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let most = u64::try_from(MAX_OCTETS).unwrap_or(u64::MAX);
    let read = |from: &mut dyn Read| -> std::io::Result<String> {
        let mut text = String::new();
        from.take(most.saturating_add(1)).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = if path == Path::new("-") {
        read(&mut std::io::stdin().lock())
    } else {
        std::fs::File::open(path).and_then(|mut file| read(&mut file))
    };
    let text = text.map_err(|why| {
        let (en, zh) = (format!("cannot read {shown}: {why}"), format!("无法读取 {shown}：{why}"));
        match why.kind() {
            std::io::ErrorKind::NotFound => Failure::new(Exit::NotFound, en, zh),
            _ => Failure::error(en, zh),
        }
    })?;
    if text.len() > MAX_OCTETS {
        return Err(Failure::error(
            format!("{shown} is longer than {MAX_OCTETS} octets: no kernel prints so much"),
            format!("{shown} 超过 {MAX_OCTETS} 字节：不会有内核输出这么多"),
        ));
    }
    Ok(text)
}

fn wrong(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    let shown = path.display();
    Failure::error(format!("{shown}: {why}"), format!("{shown}：{why}"))
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

const fn hook_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Input => "input",
        Direction::Output => "output",
        Direction::Forward => "forward",
    }
}

/// A list in one cell; one that is empty stands for anything.
fn listed(all: &[String], screen: Screen) -> String {
    /// Entries that a cell shows.
    const SHOWN: usize = 4;
    match all.get(..SHOWN) {
        _ if all.is_empty() => screen.word("any", "任意").to_owned(),
        Some(first) if all.len() > SHOWN => {
            format!("{} +{}", first.join(","), all.len() - SHOWN)
        }
        Some(_) | None => all.join(","),
    }
}

fn answer(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
