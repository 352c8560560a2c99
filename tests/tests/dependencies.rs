//! What is built into Bailey may be: licences are permissive, and nothing is there that `deny.toml` bans.
//! The same file is read by cargo-deny, which looks at more and is not on every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use bailey_tests::process::run;
use spdx::{Expression, ParseMode};
use toml_edit::DocumentMut;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rules() -> anyhow::Result<DocumentMut> {
    Ok(std::fs::read_to_string(root().join("deny.toml"))?.parse()?)
}

/// The strings of a list: `section.name`, or of tables in it the entry `crate`.
fn list(rules: &DocumentMut, section: &str, name: &str) -> anyhow::Result<BTreeSet<String>> {
    let list = rules[section][name].as_array().with_context(|| format!("no {section}.{name}"))?;
    let word = |value: &toml_edit::Value| {
        let value = value.as_inline_table().map_or(Some(value), |table| table.get("crate"))?;
        value.as_str().map(str::to_owned)
    };
    list.iter().map(|value| word(value).with_context(|| format!("{value} is no name"))).collect()
}

/// Every package of others that is built for the machines we build for, tests and benches too, with its
/// licence.
fn packages(rules: &DocumentMut) -> anyhow::Result<BTreeMap<String, String>> {
    let mut packages = BTreeMap::new();
    for target in list(rules, "graph", "targets")? {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["tree", "--offline", "--locked", "--workspace", "--prefix", "none"]);
        cargo.args(["--target", &target, "--format", "{l}|{p}"]).current_dir(root());
        for line in run(&mut cargo)?.lines().filter(|line| !line.is_empty()) {
            let (licence, package) = line.split_once('|').with_context(|| line.to_owned())?;
            let package = package.trim_end_matches(" (*)");
            if !package.contains('/') {
                packages.insert(package.to_owned(), licence.to_owned());
            }
        }
    }
    ensure!(packages.len() > 100, "only {} packages were found", packages.len());
    Ok(packages)
}

#[test]
fn every_licence_is_permissive() -> anyhow::Result<()> {
    let rules = rules()?;
    let allowed = list(&rules, "licenses", "allow")?;
    let fits = |licence: &str| {
        Expression::parse_mode(licence, ParseMode::LAX)
            .is_ok_and(|expression| expression.evaluate(|one| allowed.contains(&one.to_string())))
    };
    let mut packages = packages(&rules)?;
    packages.retain(|_, licence| !fits(licence));
    ensure!(packages.is_empty(), "not allowed by deny.toml: {packages:#?}");
    Ok(())
}

#[test]
fn nothing_is_built_in_that_is_banned() -> anyhow::Result<()> {
    let rules = rules()?;
    let banned = list(&rules, "bans", "deny")?;
    ensure!(banned.contains("ring"), "the list was not read: {banned:?}");
    let packages = packages(&rules)?;
    let names = packages.keys().filter_map(|package| package.split(' ').next());
    let wrong: Vec<&str> = names.filter(|name| banned.contains(*name)).collect();
    ensure!(wrong.is_empty(), "banned by deny.toml: {wrong:?}");
    Ok(())
}
