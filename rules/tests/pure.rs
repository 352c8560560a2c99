//! The domain is pure: no I/O, no clock, no task, no chance. What it depends on and what it names
//! are read here.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What the crate may depend on. None of these does I/O unless it is told to.
const ALLOWED: [&str; 7] =
    ["ipnet", "serde", "serde_json", "serde_yaml", "sha2", "thiserror", "time"];

/// What no source of the crate names.
const BANNED: [&str; 26] = [
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "Mutex",
    "RwLock",
    "Atomic",
    "OnceLock",
    "mpsc",
    "std::os",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "ToSocketAddrs",
    "File::open",
    "SystemTime",
    "Instant::now",
    "now_utc",
    "now_local",
    "async fn",
    "async move",
    ".await",
    "tokio",
    "rand::",
    "RandomState",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_domain_depends_on_nothing_that_does_io() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies: BTreeSet<&str> = manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect();
    assert!(!dependencies.is_empty());
    let foreign: Vec<_> = dependencies.iter().filter(|name| !ALLOWED.contains(name)).collect();
    assert!(foreign.is_empty(), "not allowed in rules: {foreign:?}");
}

#[test]
fn the_manifest_has_no_other_place_for_dependencies() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for line in manifest.lines().filter(|line| line.starts_with('[')) {
        let known = ["[package]", "[dependencies]", "[lints]", "[dev-dependencies]", "[[bench]]"];
        assert!(known.contains(&line.trim()), "{line}");
    }
}

#[test]
fn no_source_of_the_domain_names_the_world_outside() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 20);
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in BANNED.iter().filter(|word| code.contains(**word)) {
                found.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
