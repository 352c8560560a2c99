//! `bailey ruleset`: what it says of files, and how it ends.

#![allow(clippy::unwrap_used)] // The helpers of a test fail as the test does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn bailey_reading(line: &str, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bailey"))
        .env_clear()
        .env("HOME", fixtures())
        .current_dir(fixtures())
        .args(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn bailey(line: &str) -> Output {
    bailey_reading(line, "")
}

fn said(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn a_matrix_is_read_in_both_languages() {
    let line = "--lang en ruleset matrix --nft-json gateway.nft.json --hook forward";
    let english = bailey(line);
    assert_eq!(english.status.code(), Some(0), "{}", said(&english.stderr));
    let text = said(&english.stdout);
    let mut rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(rows.next().unwrap(), ["from", "to", "service", "in", "out"], "{text}");
    let rows: Vec<Vec<&str>> = rows.collect();
    let web = ["10.1.0.0/16", "10.250.0.0/24", "tcp", "80,443", "any", "any"];
    assert!(rows.iter().any(|row| row == &web), "{text}");
    assert!(rows.iter().any(|row| row.first() == Some(&"10.1.9.0/24")), "{text}");
    let line = "--lang zh ruleset matrix --nft-json gateway.nft.json --hook forward";
    let chinese = said(&bailey(line).stdout);
    assert!(chinese.starts_with("来源"), "{chinese}");
    assert_eq!(chinese.lines().count(), text.lines().count());
    let json = bailey("ruleset matrix --nft-json gateway.nft.json --hook forward -o json");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["hook"], "forward");
    assert_eq!(json["rows"].as_array().unwrap().len(), text.lines().count() - 1);
}

#[test]
fn what_is_odd_is_told_with_its_place() {
    let english = bailey("--lang en ruleset lint --nft-json gateway.nft.json");
    assert_eq!(english.status.code(), Some(0), "{}", said(&english.stderr));
    let text = said(&english.stdout);
    assert!(text.contains("inet filter forward handle "), "{text}");
    assert!(text.contains("its counter stands at zero"), "{text}");
    let chinese = bailey("--lang zh ruleset lint --nft-json gateway.nft.json --exit-code");
    assert_eq!(chinese.status.code(), Some(6));
    assert!(said(&chinese.stdout).contains("计数器为零"));
    let json = bailey("ruleset lint --nft-json gateway.nft.json -o json");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let found = json["findings"].as_array().unwrap();
    let of = |name: &str| found.iter().find(|one| one["finding"] == name).unwrap();
    assert_eq!(of("never_hit")["comment"], "policy.yaml:12 flow 1");
    // The last rule comes too late.
    assert_eq!(of("contradicted")["by"][0]["chain"], "forward");
}

#[test]
fn two_rulesets_that_differ_end_with_6_and_name_a_packet() {
    let english = bailey("--lang en ruleset diff gateway.nft.json gateway.save --hook forward");
    assert_eq!(english.status.code(), Some(6), "{}", said(&english.stderr));
    let text = said(&english.stdout);
    assert!(text.starts_with("forward:\n"), "{text}");
    // The old one lets DNS through that comes by eth1; the new one filters no IPv6.
    assert!(text.contains("udp 53") && text.contains("passes now"), "{text}");
    let chinese = bailey("--lang zh ruleset diff gateway.nft.json gateway.save --hook forward");
    assert!(said(&chinese.stdout).contains("不再放行"));
    let same = bailey("--lang en ruleset diff gateway.save gateway.save");
    assert_eq!(same.status.code(), Some(0));
    assert_eq!(said(&same.stdout), "Both let the same packets through.\n");
    let json = bailey("ruleset diff gateway.nft.json gateway.save --hook forward -o json");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["same"], false);
    assert_eq!(json["hooks"]["forward"]["closed"][0]["example"]["state"], "new");
}

#[test]
fn a_ruleset_comes_from_standard_input_too() {
    let text = std::fs::read_to_string(fixtures().join("gateway.save")).unwrap();
    let piped = bailey_reading("ruleset matrix --iptables-save - --hook forward", &text);
    let named = bailey("ruleset matrix --iptables-save gateway.save --hook forward");
    assert_eq!(piped.status.code(), Some(0), "{}", said(&piped.stderr));
    assert_eq!(said(&piped.stdout), said(&named.stdout));
}

#[test]
fn what_is_no_ruleset_is_refused_with_what_next() {
    let none = bailey("--lang en ruleset matrix --hook input");
    assert_eq!(none.status.code(), Some(2));
    assert!(said(&none.stderr).contains("--nft-json or --iptables-save"), "{}", said(&none.stderr));
    let missing = bailey("--lang zh ruleset lint --nft-json none.json");
    assert_eq!(missing.status.code(), Some(3));
    let other = bailey("--lang en ruleset lint --nft-json gateway.save");
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other.stderr).contains("gateway.save"), "{}", said(&other.stderr));
}

/// A site of one gateway and one host behind it.
fn model(folder: &Path, rules: &str) {
    let policy = "site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16]}
  outer: {networks: [172.20.0.0/16]}
services:
  web: {tcp: [443]}
flows:
  - {from: inner, to: inner, service: web}
invariants:
  INV-01: {never: [outer, inner]}
hosts:
  fw-1: {zone: inner, addresses: [10.1.0.1, 172.20.0.1], forwards: true}
";
    let model = "policy: policy.yaml
hosts:
  fw-1: {iptables_save: [fw.save], addresses: [fw.addr], routes: [fw.route], forwards: ipv4}
";
    let addresses = "2: eth0    inet 172.20.0.1/16 scope global
3: eth1    inet 10.1.0.1/16 scope global
";
    let routes = "172.20.0.0/16 dev eth0\n10.1.0.0/16 dev eth1\n";
    let save = format!("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n{rules}COMMIT\n");
    for (name, text) in [
        ("policy.yaml", policy),
        ("model.yaml", model),
        ("fw.addr", addresses),
        ("fw.route", routes),
        ("fw.save", &save),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn a_site_is_proved_from_files_or_shown_to_be_broken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.yaml");
    let file = file.to_str().unwrap();
    model(folder.path(), "");
    let proved = bailey(&format!("--lang en prove --model {file}"));
    assert_eq!(proved.status.code(), Some(0), "{}", said(&proved.stderr));
    let text = said(&proved.stdout);
    assert!(text.starts_with("proved INV-01"), "{text}");
    model(folder.path(), "-A FORWARD -d 10.1.7.20/32 -p tcp -m tcp --dport 3389 -j ACCEPT\n");
    let broken = bailey(&format!("--lang en prove INV-01 --model {file}"));
    assert_eq!(broken.status.code(), Some(6));
    let text = said(&broken.stdout);
    assert!(text.starts_with("BROKEN INV-01"), "{text}");
    assert!(text.contains("10.1.7.20:3389 tcp new"), "{text}");
    assert!(text.contains("--dport 3389 -j ACCEPT"), "{text}");
    assert!(text.contains("would stop it: fw-1:"), "{text}");
    let chinese = said(&bailey(&format!("--lang zh prove --model {file}")).stdout);
    assert!(chinese.starts_with("被违反 INV-01"), "{chinese}");
    let json = bailey(&format!("prove --model {file} -o json"));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["invariants"][0]["answer"], "broken");
    assert_eq!(json["invariants"][0]["breach"]["packet"]["dport"], 3389);
    let none = bailey(&format!("prove INV-99 --model {file}"));
    assert_eq!(none.status.code(), Some(3));
    let nobody = bailey(&format!("prove --state {}", folder.path().display()));
    assert_eq!(nobody.status.code(), Some(7), "without a model the collector is asked");
    assert_eq!(bailey("prove --at yesterday").status.code(), Some(2));
}

#[test]
fn a_connection_is_followed_through_files_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.yaml");
    let file = file.to_str().unwrap();
    let rules = "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n\
        -A FORWARD -d 10.1.7.20/32 -p tcp -m tcp --dport 443 -m comment --comment \"until friday\" -j ACCEPT\n";
    model(folder.path(), rules);
    let trace = |rest: &str| bailey(&format!("policy trace {rest} --model {file}"));
    let passes = trace("172.20.1.10 10.1.7.20:443/tcp --lang en");
    assert_eq!(passes.status.code(), Some(0), "{}", said(&passes.stderr));
    insta::assert_snapshot!(said(&passes.stdout), @r#"
    passes  172.20.1.10 > 10.1.7.20 tcp 443
      there
        fw-1  eth0 > eth1  172.20.1.10:40000 > 10.1.7.20:443 tcp new
            forward  ip filter FORWARD  line 5: -d 10.1.7.20/32 -p tcp -m tcp --dport 443 -m comment --comment "until friday" -j ACCEPT
        => fw-1 puts it on the wire of eth1, to 10.1.7.20, which no known host has
      back
        fw-1  eth1 > eth0  10.1.7.20:443 > 172.20.1.10:40000 tcp established
            forward  ip filter FORWARD  line 4: -m conntrack --ctstate ESTABLISHED -j ACCEPT
        => fw-1 puts it on the wire of eth0, to 172.20.1.10, which no known host has
    "#);
    let dropped = trace("172.20.1.10 10.1.7.20:22/tcp --lang zh");
    assert_eq!(dropped.status.code(), Some(6));
    insta::assert_snapshot!(said(&dropped.stdout), @r"
    不通过  172.20.1.10 > 10.1.7.20 tcp 22
      去程
        fw-1  eth0 > -  172.20.1.10:40000 > 10.1.7.20:22 tcp new
            forward  ip filter FORWARD  默认策略 drop
        x fw-1 丢弃该报文
    ");
    let json = trace("172.20.1.10 10.1.7.20:443/tcp -o json");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["schema"], &json["passes"]), (&1.into(), &true.into()));
    assert_eq!(json["there"][0]["hops"][0]["by"][0]["comment"], "until friday");
    let wrong = trace("172.20.1.10 10.1.7.20 --lang zh");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong.stderr).contains("不是目的"), "{}", said(&wrong.stderr));
    let nobody = trace("nobody 10.1.7.20:443/tcp --lang en");
    assert!(said(&nobody.stderr).contains("names no host nobody"), "{}", said(&nobody.stderr));
}
