//! `bailey policy`: what it says of files, and how it ends.

#![allow(clippy::unwrap_used)] // The helpers of a test fail as the test does.

use std::path::Path;
use std::process::{Command, Output};

use bailey_rules::policy::REFERENCE;

fn bailey(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bailey"))
        .env_clear()
        .env("HOME", folder)
        .current_dir(folder)
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

fn said(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let new = REFERENCE.replace("mail: {tcp: [25, 143, 465", "mail: {tcp: [143, 465, 4190");
    let wrong = REFERENCE.replace("service: notes", "service: note");
    for (name, text) in [("old.yaml", REFERENCE), ("new.yaml", &new), ("wrong.yaml", &wrong)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn a_policy_that_is_well_formed_is_summed_up() {
    let folder = folder();
    let english = bailey(folder.path(), "--lang en policy check old.yaml");
    assert_eq!(english.status.code(), Some(0));
    insta::assert_snapshot!(said(&english.stdout), @r"
    old.yaml: the policy of jiaxing is well formed and agrees with itself
      12 zones, 27 hosts, 12 services, 19 exchange points, 18 flows, 15 invariants
      enforce: exchange, inner, machine-rooms, outer, police, tax
      observe: counties, education, province, statistics, townships, water
      proved: 12 invariants hold for what the policy compiles to; 3 demand a way, which the running site proves; hosts that observe drop nothing until they enforce; it takes for granted that nobody forges sources of another network, such as 10.1.6.10:40000 > 10.1.0.1:22 tcp new: switch rp_filter on
    ");
    let chinese = bailey(folder.path(), "--lang zh policy check old.yaml");
    assert!(said(&chinese.stdout).contains("12 个安全域，27 台主机"), "{chinese:?}");
    let json = bailey(folder.path(), "-o json policy check old.yaml");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["schema"], &json["zones"]), (&1.into(), &12.into()));
    assert_eq!((&json["proved"], &json["demanded"]), (&12.into(), &3.into()));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_a_missing_file_is_another_matter() {
    let folder = folder();
    let wrong = bailey(folder.path(), "--lang en policy check wrong.yaml");
    assert_eq!(wrong.status.code(), Some(1));
    let told = said(&wrong.stderr);
    assert!(told.contains("service \"note\" is not defined; did you mean \"notes\"?"), "{told}");
    assert!(told.contains("wrong.yaml:"), "{told}");
    let missing = bailey(folder.path(), "--lang zh policy check none.yaml");
    assert_eq!(missing.status.code(), Some(3));
    assert!(said(&missing.stderr).contains("无法读取 none.yaml"), "{missing:?}");
}

#[test]
fn a_ruleset_is_printed_for_a_host_that_is_named_and_for_one_in_a_zone() {
    let folder = folder();
    let named = bailey(folder.path(), "policy compile old.yaml --host oa-web");
    assert_eq!(named.status.code(), Some(0));
    let text = said(&named.stdout);
    assert!(
        text.starts_with("table inet bailey {\n\tcomment \"jiaxing oa-web enforce\""),
        "{text}"
    );
    assert!(text.contains("comment \"old.yaml:"), "{text}");
    let unnamed = bailey(folder.path(), "--lang en policy compile old.yaml --host oa-99");
    assert_eq!(unnamed.status.code(), Some(3));
    assert!(said(&unnamed.stderr).contains("say its zone with --zone"), "{unnamed:?}");
    let zone = bailey(folder.path(), "policy compile old.yaml --host oa-99 --zone inner");
    assert_eq!(zone.status.code(), Some(0));
    let other =
        bailey(folder.path(), "--lang en policy compile old.yaml --host oa-web --zone outer");
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other.stderr).contains("oa-web is in zone inner"), "{other:?}");
    let apart = bailey(folder.path(), "policy compile old.yaml --host oa-web --quarantine");
    assert!(said(&apart.stdout).contains("jiaxing oa-web quarantine"), "{apart:?}");
}

#[test]
fn a_difference_is_connections_that_open_and_close() {
    let folder = folder();
    let line = "--lang en policy diff old.yaml new.yaml --host mail-out --exit-code";
    let differs = bailey(folder.path(), line);
    assert_eq!(differs.status.code(), Some(6));
    let told = said(&differs.stdout);
    assert!(
        told.lines()
            .any(|line| line.starts_with("- 172.20.2.10/32 > ") && line.contains("tcp 25 ")),
        "{told}"
    );
    assert!(
        told.lines()
            .any(|line| line.starts_with("+ 172.20.2.10/32 > ") && line.contains("tcp 4190 ")),
        "{told}"
    );
    let same = bailey(folder.path(), "--lang en policy diff old.yaml old.yaml --exit-code");
    assert_eq!(same.status.code(), Some(0));
    assert_eq!(said(&same.stdout), "The same connections may be opened under both.\n");
    let nobody = bailey(folder.path(), "policy diff old.yaml new.yaml --host nobody");
    assert_eq!(nobody.status.code(), Some(3));
}

#[test]
fn a_plan_against_a_file_asks_nobody_and_tells_programs_whether_something_changes() {
    let folder = folder();
    let line = "-o json policy plan new.yaml --against old.yaml --host mail-out --exit-code";
    let differs = bailey(folder.path(), line);
    assert_eq!(differs.status.code(), Some(6), "{differs:?}");
    let json: serde_json::Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert_eq!((&json["schema"], &json["against"]), (&1.into(), &"old.yaml".into()));
    let host = &json["hosts"][0];
    assert_eq!((&host["host"], &host["mode"]["to"]), (&"mail-out".into(), &"enforce".into()));
    assert!(host["removed"].as_array().is_some_and(|removed| !removed.is_empty()), "{host}");
    let same =
        bailey(folder.path(), "--lang zh policy plan old.yaml --against old.yaml --exit-code");
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    assert!(said(&same.stdout).contains("计划：0 台主机有变化，27 台不变"), "{same:?}");
    let nobody = bailey(folder.path(), "policy plan new.yaml --against old.yaml --host nobody");
    assert_eq!(nobody.status.code(), Some(3));
    let unasked = bailey(folder.path(), "policy plan new.yaml");
    assert_eq!(unasked.status.code(), Some(7), "without a file the collector is asked");
}

#[test]
fn the_schema_of_the_policy_file_is_printed_as_it_is_shipped() {
    let folder = folder();
    let printed = bailey(folder.path(), "policy schema");
    assert_eq!(printed.status.code(), Some(0));
    assert_eq!(said(&printed.stdout), bailey_rules::policy::SCHEMA);
}
