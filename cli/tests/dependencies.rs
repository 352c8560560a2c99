//! Which part may know which: the arrows of ARCHITECTURE.md, read from the manifests.

use std::collections::BTreeSet;
use std::path::Path;

/// The parts of Bailey that a manifest names, tests and build included.
fn known_by(part: &str) -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(part).join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .unwrap_or_else(|e| panic!("{} cannot be read: {e}", manifest.display()));
    text.lines()
        .skip_while(|line| !line.contains("dependencies"))
        .filter_map(|line| line.trim().strip_prefix("bailey-"))
        .map(|rest| rest.chars().take_while(char::is_ascii_alphabetic).collect())
        .collect()
}

#[track_caller]
fn check(part: &str, may_know: &[&str]) {
    let known = known_by(part);
    for name in &known {
        assert!(may_know.contains(&name.as_str()), "{part} must not know {name}");
    }
}

#[test]
fn the_rules_know_no_other_part() {
    check("rules", &[]);
}

#[test]
fn the_wire_knows_the_rules_only() {
    check("wire", &["rules"]);
}

#[test]
fn the_agent_never_knows_the_collector() {
    check("agent", &["rules", "wire"]);
}

#[test]
fn the_collector_never_knows_the_agent() {
    check("collector", &["rules", "wire"]);
}

#[test]
fn the_test_reads_manifests_at_all() {
    let known: Vec<String> = known_by("cli").into_iter().collect();
    assert_eq!(known, ["agent", "collector", "rules", "wire"]);
}
