//! Rule files and what they demand.

use std::fmt::Write as _;

use bailey_rules::expectation::{Demand, Expectations, RuleFiles, SHIPPED};
use bailey_rules::unit::{Percent, Period};
use bailey_rules::yaml::Problems;

fn demanded(files: &[&str], host: &str, zone: &str) -> Result<Expectations, Problems> {
    let files: Vec<(String, String)> =
        files.iter().map(|text| ("site.yaml".to_owned(), (*text).to_owned())).collect();
    Ok(RuleFiles::parse(&files)?.for_host(&host.parse().unwrap(), &zone.parse().unwrap()))
}

fn of_oa_17(files: &[&str]) -> Expectations {
    demanded(files, "oa-17", "inner").unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_shipped_files_set_every_key_for_every_host() {
    let wanted = RuleFiles::shipped().for_host(&"any".parse().unwrap(), &"any".parse().unwrap());
    assert_eq!(wanted, of_oa_17(&[]));
    insta::assert_snapshot!(serde_json::to_string_pretty(&wanted).unwrap());
}

#[test]
fn every_key_of_a_shipped_file_has_a_comment_before_it() {
    for (file, text) in SHIPPED {
        let mut explained = false;
        for line in text.lines().skip_while(|line| !line.starts_with("expectations")).skip(2) {
            let line = line.trim();
            let is_key = line.split_once(": ").is_some() || line.ends_with(':');
            if line.is_empty() {
                explained = false;
            } else if line.starts_with('#') {
                explained = true;
            } else if is_key {
                assert!(explained, "{file}: {line}");
            }
        }
    }
}

#[test]
fn a_later_file_wins_key_by_key() {
    let wanted = of_oa_17(&[
        "expectations: [{host: {filesystem_space: {warning: 90 %}}}]",
        "expectations: [{host: {filesystem_space: {critical: 99 %}, reboot_needed: off}}]",
    ]);
    assert_eq!(wanted.host.filesystem_space.warning, Some(Percent(900)));
    assert_eq!(wanted.host.filesystem_space.critical, Some(Percent(990)));
    assert_eq!(wanted.host.reboot_needed, Demand::Off);
    assert_eq!(wanted.host.failed_units, Demand::Warning, "as it is shipped");
}

#[test]
fn an_entry_is_for_the_hosts_and_zones_that_it_names() {
    let text = "
expectations:
  - hosts: [oa-17, 'web-*']
    backup: {max_age: 1 h}
  - zones: [outer]
    backup: {max_age: 2 h}
  - hosts: ['web-*']
    zones: [outer]
    firewall: {active: warning}
";
    let age = |host, zone| demanded(&[text], host, zone).unwrap().backup.max_age;
    let hours = |hours| Period(std::time::Duration::from_hours(hours));
    assert_eq!(age("oa-17", "inner"), hours(1));
    assert_eq!(age("oa-18", "inner"), hours(26));
    assert_eq!(age("oa-18", "outer"), hours(2));
    assert_eq!(age("web-3", "outer"), hours(2), "the later entry wins");
    let active = |host, zone| demanded(&[text], host, zone).unwrap().firewall.active;
    assert_eq!(active("web-3", "outer"), Demand::Warning);
    assert_eq!(active("web-3", "inner"), Demand::Critical, "both must fit");
}

#[test]
fn demanded_jobs_of_several_files_add_up_and_lists_are_replaced() {
    let wanted = of_oa_17(&[
        "expectations: [{backup: {jobs: {home: {}}, ignore: [a]}}]",
        "expectations: [{backup: {jobs: {mail: {max_age: 2 h}}, ignore: [b]}}]",
    ]);
    assert_eq!(wanted.backup.jobs.keys().collect::<Vec<_>>(), ["home", "mail"]);
    assert_eq!(wanted.backup.ignore, ["b"]);
}

#[test]
fn a_file_of_comments_alone_demands_nothing() {
    assert_eq!(of_oa_17(&["# nothing yet\n\n", "", "\u{feff}# nothing"]), of_oa_17(&[]));
}

#[test]
fn a_name_with_stars_fits_what_it_should() {
    let fits = |pattern: &str, name: &str| {
        let text = format!("expectations: [{{hosts: ['{pattern}'], firewall: {{active: off}}}}]");
        demanded(&[&text], name, "inner").unwrap().firewall.active == Demand::Off
    };
    assert!(fits("*", "anything"));
    assert!(fits("web*", "web"));
    assert!(fits("web-*", "web-3"));
    assert!(fits("*-17", "oa-17"));
    assert!(fits("o*-*7", "oa-17"));
    assert!(!fits("o*-*7", "oa-18"));
    assert!(!fits("web", "web-1"));
    assert!(!fits("ab*ba", "aba"), "the parts may not share a letter");
    assert!(fits("a*b*c", "a1b2b3c"));
}

#[test]
fn what_is_wrong_in_a_rule_file_is_said_with_what_to_write() {
    let cases = [
        "expectations:\n  - host: {filesystem_spcae: {warning: 90 %}}\n",
        "expectations:\n  - host: {filesystem_space: {warn: 90 %}}\n",
        "expectations:\n  - host:\n      filesystem_space: {warning: 90}\n",
        "expectations:\n  - host:\n      filesystem_space: {warning: 99 %, critical: 90 %}\n",
        "expectations:\n  - host:\n      memory_available: {warning: 1 %, critical: 9 %}\n",
        "expectations:\n  - firewall: {active: critcal}\n",
        "expectations:\n  - backup: {max_age: 26}\n",
        "expectations:\n  - backup: {jobs: {home: {maxage: 26 h}}}\n",
        "expectations:\n  - hosts: []\n    backup: {max_age: 26 h}\n  - zones: [inner]\n",
        "expectations:\n  - isolation: {internal_networks: [docker]}\n",
        "expectation: []\n",
        "[]\n",
    ];
    let mut out = String::new();
    for case in cases {
        let told = demanded(&[case], "oa-17", "inner").expect_err(case);
        write!(out, "{told}\n\n").unwrap();
    }
    insta::assert_snapshot!(out);
}
