//! The settings file: what it may say, and what it is told when it says something else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bailey_agent::settings::{FarEnd, Lines, Settings, Tool};
use bailey_rules::expectation::{Ask, By};
use bailey_rules::fact::ProbeName;
use bailey_rules::fact::lines::MAX_FAR_ENDS;
use bailey_rules::unit::Bytes;

const SAMPLE: &str = include_str!("../../../deploy/agent.yaml");

/// The sample with every key taken out of its comment. Comments proper have a blank after the #.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == ' ') => {
            // Prose begins with a blank and a capital letter; nested keys with two blanks.
            let prose = key.starts_with(' ') && !key.starts_with("  ");
            if prose { String::new() } else { format!("{key}\n") }
        }
        Some(_) => String::new(),
        None => format!("{line}\n"),
    };
    SAMPLE.lines().map(line).collect()
}

fn asked(by: By) -> Ask {
    Ask { far: "10.254.0.1".parse().unwrap(), by }
}

fn wrong(text: &str) -> String {
    Settings::parse("agent.yaml", text, None).unwrap_err().to_string()
}

/// The keys that stand in "(keys: a, b)".
fn keys_at(text: &str) -> Vec<String> {
    let told = wrong(text);
    let from = told.find("(keys: ").unwrap_or_else(|| panic!("{told}")) + 7;
    let list = &told[from..from + told[from..].find(')').unwrap()];
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_sample_as_it_is_gives_the_defaults() {
    let settings = Settings::parse("agent.yaml", SAMPLE, None).unwrap();
    assert_eq!(settings, Settings::in_folder("/var/lib/bailey-agent".into()));
}

#[test]
fn the_sample_shows_every_key_with_its_default() {
    let all = uncommented();
    let settings =
        Settings::parse("agent.yaml", &all, None).unwrap_or_else(|e| panic!("{e}\n{all}"));
    let defaults = Settings::in_folder("/var/lib/bailey-agent".into());
    assert_eq!(settings.state, defaults.state);
    assert_eq!(settings.probes, defaults.probes);
    assert_eq!(settings.spool, defaults.spool);
    assert_eq!(settings.backup.drop_directory, defaults.backup.drop_directory);
    assert_eq!(settings.collector.as_deref(), Some("collector.example:7710"));
    let repository = &settings.backup.repositories[0];
    assert_eq!((repository.name.as_str(), repository.tool), ("oracle-fin", Tool::Restic));
    assert!(repository.password_file.is_some() && repository.environment_file.is_some());
    assert_eq!(settings.lines.interval, defaults.lines.interval);
    let county = FarEnd { name: "county".into(), ask: asked(By::Icmp) };
    assert_eq!(settings.lines.far_ends, [county]);
    for (at, within) in [
        ("x: 1", ""),
        ("probes: {x: 1}", "probes"),
        ("probes: {host: {x: 1}}", "host"),
        ("backup: {x: 1}", "backup"),
        ("backup: {repositories: [{x: 1}]}", "repositories"),
        ("lines: {x: 1}", "lines"),
        ("lines: {far_ends: [{x: 1}]}", "far_ends"),
        ("spool: {x: 1}", "spool"),
    ] {
        for key in keys_at(at) {
            assert!(all.contains(&format!("{key}:")), "{within} {key} is not in the sample");
        }
    }
}

#[test]
fn an_empty_file_gives_the_defaults_in_the_folder_that_was_given() {
    let settings = Settings::parse("agent.yaml", "", Some(Path::new("/srv/a"))).unwrap();
    assert_eq!(settings, Settings::in_folder("/srv/a".into()));
    assert_eq!(settings.backup.drop_directory, PathBuf::from("/srv/a/backup"));
}

#[test]
fn what_is_written_holds() {
    let text = "
probes:
  links: {interval: 5 s}
spool: {size: 64 MiB, age: 2 d}
collector: \"[fd00:1::5]:7710\"
lines: {interval: 500 ms, far_ends: [{name: exit A, far: 10.254.0.1, by: udp 33434}]}
";
    let settings = Settings::parse("agent.yaml", text, None).unwrap();
    let links = settings.probes.of(ProbeName::Links);
    assert_eq!((links.interval, links.limit), (Duration::from_secs(5), Duration::from_secs(10)));
    assert_eq!(settings.probes.of(ProbeName::Host).interval, Duration::from_secs(15));
    let by = By::Udp(33434.try_into().unwrap());
    let exit = FarEnd { name: "exit A".into(), ask: asked(by) };
    let lines = Lines { interval: Duration::from_millis(500), far_ends: vec![exit] };
    assert_eq!(settings.lines, lines);
    assert_eq!(settings.spool.size, Bytes(64 << 20));
    assert_eq!(settings.spool.age, Duration::from_hours(48));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_to_write() {
    for (text, told) in [
        ("stat: /x", "did you mean \"state\"?"),
        ("state: lib", "write it from the root on"),
        ("collector: example", "write host:port"),
        ("collector: \"fd00::5:7710:x\"", "write host:port"),
        ("collector: \"collector.example:0\"", "write host:port"),
        ("probes: {host: {interval: 100 ms}}", "write a time from 1 s to 24 h"),
        ("probes: {host: {interval: 25 h}}", "write a time from 1 s to 24 h"),
        ("probes: {host: {limit: 1 h}}", "write a time from 1 s to 10 min"),
        ("probes: {disk: {}}", "\"disk\" is not a key here"),
        ("spool: {size: 1 MiB}", "write a size from 8.0 MiB to 64.0 GiB"),
        ("spool: {size: 1 MiB, size: 2 MiB}", "second time"),
        ("lines: {interval: 100 ms}", "write a time from 200 ms to 1 min"),
        ("lines: {far_ends: [{name: a, far: exit.example}]}", "write the far end's own"),
        ("lines: {far_ends: [{name: a, far: 10.254.0.1, by: tcp 22}]}", "write icmp, or udp"),
        ("lines: {far_ends: [{name: \"\", far: 10.254.0.1}]}", "write 1 to 64 octets"),
        (
            "lines:\n  far_ends:\n    - {name: a, far: 10.254.0.1}\n    - {name: a, far: 10.254.0.2}",
            "agent.yaml:4:14: a second line is called \"a\"",
        ),
        ("backup: {repositories: [{name: a, tool: tar, path: /x}]}", "(known: restic, borg)"),
        ("backup: {repositories: [{name: a, tool: borg}]}", "\"path\" is missing"),
        ("backup: {repositories: [{name: a, tool: borg, path: --help}]}", "path of a repository"),
        (
            "backup:\n  repositories:\n    - {name: a, tool: borg, path: /x}\n    - {name: a, tool: borg, path: /y}",
            "agent.yaml:4:14: a second repository is called \"a\"",
        ),
    ] {
        let said = wrong(text);
        assert!(said.contains(told), "{text}\n{said}");
        assert!(said.starts_with("agent.yaml:"), "{said}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = wrong("state: lib\ncollector: x\nprobes: {host: {interval: 0 s}}\n");
    assert_eq!(said.matches("agent.yaml:").count(), 3, "{said}");
}

#[test]
fn a_host_asks_a_few_far_ends_and_not_one_more() {
    let text = |count: usize| {
        let end = |nth: usize| format!("    - {{name: line {nth}, far: 10.254.0.{nth}}}\n");
        let ends: String = (1..=count).map(end).collect();
        format!("lines:\n  far_ends:\n{ends}")
    };
    let most = Settings::parse("agent.yaml", &text(MAX_FAR_ENDS), None).unwrap();
    assert_eq!(most.lines.far_ends.len(), MAX_FAR_ENDS);
    assert!(wrong(&text(MAX_FAR_ENDS + 1)).contains("more than 16 far ends on one host"));
}
