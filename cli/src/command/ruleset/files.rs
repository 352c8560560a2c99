//! The files that the questions about rulesets are asked of.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bailey_rules::model::network::Network;
use bailey_rules::model::ruleset::{Ruleset, Table};
use bailey_rules::model::{MAX_OCTETS, nft, save};

use crate::arguments::Listings;
use crate::exit::{Exit, Failure};

/// What a kernel filters by, and what is known of its host.
#[derive(Debug)]
pub(in crate::command) struct Loaded {
    pub(in crate::command) ruleset: Ruleset,
    pub(in crate::command) network: Network,
}

/// Reads all files of one kernel.
///
/// # Errors
/// When one cannot be read or is something else, with its name and line.
pub(in crate::command) fn load(listings: &Listings) -> Result<Loaded, Failure> {
    if listings.nft_json.is_empty() && listings.iptables_save.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "nothing to ask about: give --nft-json or --iptables-save, or both",
            "没有可查询的规则：请给出 --nft-json 或 --iptables-save，或两者都给出",
        ));
    }
    let mut ruleset = Ruleset::default();
    for path in &listings.nft_json {
        let read = nft::parse(&text(path)?).map_err(|why| not_that(path, &why))?;
        ruleset.join(read);
    }
    for path in &listings.iptables_save {
        let read = save::parse(&text(path)?).map_err(|why| not_that(path, &why))?;
        ruleset.join(read);
    }
    Ok(Loaded { ruleset, network: network(&listings.addresses, &listings.routes)? })
}

/// Reads what `ip` printed.
///
/// # Errors
/// As [`load`].
pub(in crate::command) fn network(
    addresses: &[PathBuf],
    routes: &[PathBuf],
) -> Result<Network, Failure> {
    let mut network = Network::default();
    for path in addresses {
        network.add_addresses(&text(path)?).map_err(|why| not_that(path, &why))?;
    }
    for path in routes {
        network.add_routes(&text(path)?).map_err(|why| not_that(path, &why))?;
    }
    Ok(network)
}

/// Reads one ruleset, whose kind its first letter tells: JSON is that of nft.
///
/// # Errors
/// As [`load`].
pub(in crate::command) fn either(path: &Path) -> Result<Ruleset, Failure> {
    let text = text(path)?;
    if text.trim_start().starts_with(['{', '[']) {
        return nft::parse(&text).map_err(|why| not_that(path, &why));
    }
    save::parse(&text).map_err(|why| not_that(path, &why))
}

/// A file to read from; `-` is standard input.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(why) => Err(unreadable(path, &why)),
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    // One octet more than is taken, so that a longer file is refused and never cut.
    let most = u64::try_from(MAX_OCTETS).unwrap_or(u64::MAX).saturating_add(1);
    let mut octets = Vec::new();
    let read = open(path)?.take(most).read_to_end(&mut octets);
    read.map_err(|why| unreadable(path, &why))?;
    // A comment or a log prefix may hold anything; what else is not UTF-8 names nothing known.
    Ok(match String::from_utf8(octets) {
        Ok(text) => text,
        Err(bad) => String::from_utf8_lossy(bad.as_bytes()).into_owned(),
    })
}

/// A file that cannot be read.
pub(in crate::command) fn unreadable(path: &Path, why: &io::Error) -> Failure {
    let path = path.display();
    let (en, zh) = (format!("cannot read {path}: {why}"), format!("无法读取 {path}：{why}"));
    match why.kind() {
        io::ErrorKind::NotFound => Failure::new(Exit::NotFound, en, zh),
        _ => Failure::error(en, zh),
    }
}

fn not_that(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    let path = path.display();
    Failure::error(
        format!("{path}: {why}"),
        format!("{path}：内容不是所要求的格式，请原样给出该命令的输出（{why}）"),
    )
}

/// How a table is called.
pub(in crate::command) fn named(table: &Table) -> String {
    format!("{} {}", table.family.name(), table.name)
}
