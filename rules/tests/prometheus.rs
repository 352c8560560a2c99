//! What Prometheus, Grafana and people at night are given agrees with what the checks say.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bailey_rules::check::{CHECKS, device};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The alert rules by name.
fn alerts() -> BTreeMap<String, Value> {
    let file = yaml("rules/prometheus/bailey.rules.yaml");
    let groups = file["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules
        .filter(|rule| rule["alert"].is_string())
        .map(|rule| (text(&rule["alert"]).to_owned(), rule.clone()))
        .collect()
}

#[test]
fn what_a_check_alerts_of_prometheus_alerts_of_too() {
    let alerts = alerts();
    let of_devices = device::CHECKS.iter().map(|of_device| &of_device.check);
    for check in CHECKS.iter().chain(of_devices) {
        for (severity, name) in
            [("critical", check.alert.critical), ("warning", check.alert.warning)]
        {
            let rule = alerts.get(name).unwrap_or_else(|| panic!("no rule {name}"));
            assert_eq!(text(&rule["labels"]["component"]), check.component, "{name}");
            let expr = text(&rule["expr"]);
            // Of isolation only what is certain is worth a second way.
            if check.component == "isolation" && severity == "warning" {
                continue;
            }
            assert!(expr.contains(check.name), "{name} does not look at {}: {expr}", check.name);
            let judged = text(&rule["labels"]["severity"]);
            assert!([severity, "{{ $labels.state }}"].contains(&judged), "{name} is {judged}");
            let states = format!("state=\"{severity}\"");
            assert!(!expr.contains("state=") || expr.contains(&states), "{name}: {expr}");
        }
    }
}

#[test]
fn every_alert_says_what_it_is_in_both_languages_and_where_to_look() {
    let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
    for (name, rule) in alerts() {
        let said = |annotation: &str| text(&rule["annotations"][annotation]).to_owned();
        for english in ["summary", "description"] {
            assert!(!said(english).is_empty() && !chinese(&said(english)), "{name} {english}");
        }
        for zh in ["summary_zh", "description_zh"] {
            assert!(chinese(&said(zh)), "{name} {zh}");
        }
        assert!(said("runbook_url").ends_with(&format!("/runbook#{name}")), "{name}");
        assert!(said("dashboard_url").starts_with("https://"), "{name}");
        let severity = text(&rule["labels"]["severity"]);
        let known = ["critical", "warning", "info", "none", "{{ $labels.state }}"];
        assert!(known.contains(&severity), "{name}: {severity}");
        assert!(rule["labels"]["component"].is_string(), "{name}");
        // What is about the collector has no zone of its own.
        let of_collector = text(&rule["labels"]["component"]) == "collector";
        assert_eq!(rule["labels"]["zone"].is_string(), of_collector, "{name}");
    }
}

#[test]
fn the_runbook_has_a_section_for_each_alert_in_both_languages() {
    let names: BTreeSet<String> = alerts().into_keys().collect();
    let sections = |page: &str| -> Vec<String> {
        let text = read(page);
        text.lines().filter_map(|line| line.strip_prefix("## ")).map(Into::into).collect()
    };
    let en = sections("docs/runbook.md");
    assert_eq!(en, sections("docs/runbook.zh-CN.md"), "the same order in both");
    assert_eq!(en.iter().cloned().collect::<BTreeSet<_>>(), names);
    assert_eq!(en.len(), names.len(), "each once");
}

#[test]
fn every_alert_is_seen_to_fire_and_to_resolve() {
    let file = yaml("rules/prometheus/bailey.rules.test.yaml");
    let mut fires = BTreeSet::new();
    let mut is_quiet = BTreeSet::new();
    for test in file["tests"].as_array().unwrap() {
        for at in test["alert_rule_test"].as_array().into_iter().flatten() {
            let name = text(&at["alertname"]).to_owned();
            let quiet = at["exp_alerts"].as_array().unwrap().is_empty();
            if quiet {
                is_quiet.insert(name)
            } else {
                fires.insert(name)
            };
        }
    }
    for name in alerts().into_keys() {
        assert!(fires.contains(&name), "{name} is never seen to fire");
        assert!(is_quiet.contains(&name) || name == "BaileyWatchdog", "{name} never resolves");
    }
}

/// Every word of `text` that begins as a metric of ours, with the text after it.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices("bailey_")
        // What a recording rule makes has a level before its name.
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| is_part(c) || c == ':'))
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
            rest[..end].trim_end_matches("_bucket")
        })
        .collect()
}

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn rules_and_dashboards_ask_only_for_metrics_that_the_collector_has() {
    let mut collector = String::new();
    sources(&repository().join("collector/src/metrics"), &mut collector);
    let declared = metrics(&collector);
    assert!(declared.len() > 40, "{declared:?}");

    let mut asked = read("rules/prometheus/bailey.rules.yaml");
    sources(&repository().join("dashboards/grafana"), &mut asked);
    let unknown: Vec<_> = metrics(&asked).into_iter().filter(|m| !declared.contains(m)).collect();
    assert!(unknown.is_empty(), "the collector has no {unknown:?}");
}

#[test]
fn dashboards_keep_their_address_and_take_their_data_source_from_the_reader() {
    let mut found = 0;
    for entry in fs::read_dir(repository().join("dashboards/grafana")).unwrap() {
        let path = entry.unwrap().path();
        let board: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(text(&board["uid"]), stem);
        assert!(board["tags"].as_array().unwrap().contains(&"bailey".into()), "{stem}");
        let variables = board["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|variable| text(&variable["name"])).collect();
        assert_eq!(names, ["datasource", "zone", "host"], "{stem}");
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                assert_eq!(text(&target["datasource"]["uid"]), "${datasource}", "{stem}");
                found += 1;
            }
        }
    }
    assert!(found > 10);
}
