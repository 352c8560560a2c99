//! Files that people write: bounded, strict, and refused with a reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bailey_rules::expectation::RuleFiles;
use bailey_rules::policy::Policy;
use bailey_rules::yaml::{self, MAX_DEPTH, MAX_FILE, MAX_NODES, suggest};
use proptest::prelude::*;

/// A bomb must be refused within this processor time, unoptimised; a release build takes a tenth.
const AT_ONCE: Duration = Duration::from_millis(500);
/// A file at its bounds must be refused within this processor time, unoptimised.
const SOON: Duration = Duration::from_secs(5);

/// Processor time that this thread has used (proc(5), `schedstat`), which other work on the machine
/// does not lengthen.
fn used() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

type Any = serde_json::Value;

fn refused(what: &str, text: &str) -> String {
    refused_within(AT_ONCE, what, text)
}

fn refused_within(limit: Duration, what: &str, text: &str) -> String {
    let began = used();
    let problems = yaml::parse::<Any>("bomb.yaml", text).expect_err(what);
    let policy = Policy::parse("bomb.yaml", text).expect_err(what);
    let rules = RuleFiles::parse(&[("bomb.yaml".to_owned(), text.to_owned())]).expect_err(what);
    let took = used().saturating_sub(began);
    assert!(took < limit, "{what} took {took:?}");
    for told in [&problems, &policy, &rules] {
        assert!(told.to_string().len() < 8192, "{what}: {} octets", told.to_string().len());
    }
    problems.to_string()
}

#[test]
fn bombs_are_refused_at_once() {
    refused("deep sequences", &"[".repeat(100_000));
    refused("deep closed sequences", &format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)));
    refused("deep mappings", &"{a: ".repeat(100_000));
    let mut blocks = String::new();
    for depth in 0..2000 {
        writeln!(blocks, "{}a:", " ".repeat(depth)).unwrap();
    }
    refused("deep blocks", &blocks);
    let mut dashes = "- ".repeat(100_000);
    dashes.push('x');
    refused("deep dashes", &dashes);
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n";
    assert!(refused("aliases", laughs).contains("anchors"));
    refused("a long key", &format!("{}: 1", "k".repeat(1 << 20)));
    refused("a long quoted key", &format!("\"{}\": 1", "k".repeat(1 << 20)));
    refused("a long explicit key", &format!("? {}\n: [", "k".repeat(1 << 20)));
    refused_within(SOON, "many nodes", &format!("[{}]", "1,".repeat(MAX_NODES)));
    refused("a large file", &"#".repeat(MAX_FILE + 1));
    refused("merge keys", "a: 1\n<<: {b: 2}\n");
    refused("two documents", "--- {a: 1}\n--- {b: 2}\n");
    refused("a tag", "a: !evil 1\n");
    refused("an include", "a: !include /etc/shadow\n");
}

#[test]
fn a_long_scalar_is_no_problem_but_is_not_shown_whole() {
    let text = format!("site: {}\nzones: {{}}\n", "k".repeat(1 << 20));
    let said = Policy::parse("policy.yaml", &text).unwrap_err().to_string();
    assert!(said.len() < 1024, "{}", said.len());
}

#[test]
fn a_file_full_of_mistakes_is_refused_at_once_and_in_few_words() {
    let began = used();
    let mut text = "site: x\nzones:\n  a:\n    networks:\n".to_owned();
    for _ in 0..40_000 {
        text.push_str("    - nonsense\n");
    }
    text.push_str("hosts:\n");
    for nth in 0..9000 {
        writeln!(text, "  h{nth}: {{zone: b, addresses: [x]}}").unwrap();
    }
    let told = Policy::parse("policy.yaml", &text).unwrap_err();
    let took = used().saturating_sub(began);
    assert!(took < SOON, "{took:?}");
    assert!(told.0.len() <= yaml::MAX_PROBLEMS);
}

#[test]
fn the_same_key_twice_is_refused_in_every_mapping() {
    let said = refused("duplicate keys", "a: 1\nb: 2\na: 3\n");
    assert!(said.starts_with("bomb.yaml:3:1: the key \"a\" stands here for the second time"));
    let twice = "site: x\nzones:\n  inner: {networks: []}\n  inner: {networks: []}\n";
    let said = Policy::parse("policy.yaml", twice).unwrap_err().to_string();
    assert!(said.starts_with("policy.yaml:4:3: the key \"inner\""), "{said}");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_file() {
    let text = "\u{feff}site: jiaxing\nzones: {inner: {networks: [10.1.0.0/16]}}\n";
    assert_eq!(Policy::parse("policy.yaml", text).unwrap().site.as_str(), "jiaxing");
    let wrong = "\u{feff}sight: jiaxing\n";
    let said = Policy::parse("policy.yaml", wrong).unwrap_err().to_string();
    assert!(said.contains("sight: jiaxing\n"), "{said}");
}

#[test]
fn gbk_octets_read_as_utf_8_do_no_harm() {
    // "内网" in GBK, as a text editor of the site may have written it.
    let gbk = b"site: x\nzones: {inner: {name: \xc4\xda\xcd\xf8, networks: []}}\n";
    let text = String::from_utf8_lossy(gbk);
    assert!(Policy::parse("policy.yaml", &text).is_ok());
    let key = b"site: x\n\xc4\xda\xcd\xf8: {}\nzones: {}\n";
    let said = Policy::parse("policy.yaml", &String::from_utf8_lossy(key)).unwrap_err();
    assert!(said.to_string().starts_with("policy.yaml:2:"), "{said}");
}

#[test]
fn nesting_is_taken_to_its_bound() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(yaml::parse::<Any>("f", &nested(MAX_DEPTH)).is_ok());
    assert!(yaml::parse::<Any>("f", &nested(MAX_DEPTH + 1)).is_err());
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let said = Policy::parse("p", "site: x\nzones: {}\n\"\\e[2Jevil\": 1\n").unwrap_err();
    assert!(!said.to_string().contains('\u{1b}'), "{said:?}");
    let said = Policy::parse("p", "site: \"\\e[2J\"\nzones: {}\n").unwrap_err();
    assert!(!said.to_string().contains('\u{1b}'), "{said:?}");
}

#[test]
fn typing_errors_are_guessed_and_strangers_are_not() {
    let zones = ["inner", "outer", "exchange"];
    assert_eq!(suggest("iner", zones), Some("inner"));
    assert_eq!(suggest("otuer", zones), Some("outer"));
    assert_eq!(suggest("exchagne", zones), Some("exchange"));
    assert_eq!(suggest("police", zones), None);
    assert_eq!(suggest("", zones), None);
    assert_eq!(suggest("b", ["a"]), None);
    assert_eq!(suggest(&"x".repeat(100_000), zones), None);
}

#[test]
fn problems_read_well() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[allow(dead_code)]
        interval: bailey_rules::unit::Period,
        #[allow(dead_code)]
        jobs: BTreeMap<String, u32>,
    }
    let cases = [
        "intervall: 5 s\njobs: {}\n",
        "interval: 5 hours\njobs: {}\n",
        "interval: 5 s\n",
        "interval: 5 s\njobs: [a]\n",
        "interval: 5 s\njobs: {a: many}\n",
        "interval: 5 s\njobs: {a: 1\n",
        "interval: 5 s\njobs: {a: 1, a: 2}\n",
        "interval: 5 s\njobs: &x {a: 1}\n",
        "interval: 5 s\njobs: *x\n",
        "interval:\njobs: {}\n",
        "interval: 5 s\njobs: {}\n---\nmore: 1\n",
        "interval: 5 s\n\tjobs: {}\n",
        "",
    ];
    let mut out = String::new();
    for case in cases {
        let told = yaml::parse::<Settings>("agent.yaml", case).expect_err(case);
        write!(out, "{case}=> {told}\n\n").unwrap();
    }
    insta::assert_snapshot!(out);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = yaml::parse::<Any>("f", &text);
        let _ = Policy::parse("f", &text);
    }

    #[test]
    fn no_near_yaml_makes_the_parser_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "site: x\n", "zones:\n", "  inner: ", "{networks: [", "10.1.0.0/16", "::/0", "]}\n",
                "hosts: {", "a: {zone: inner}", "}", "[", "]", ": ", "- ", "\n", "  ", "#", "&a ", "*a",
                "!t ", "\"", "'", "|\n", ">", "---\n", "...\n", "<<: ", "\u{feff}", "\t", "内网", "%",
            ]),
            0..40,
        )
    ) {
        let text = parts.concat();
        if let Err(told) = Policy::parse("f", &text) {
            prop_assert!(!told.0.is_empty());
            let _ = told.to_string();
        }
        let _ = RuleFiles::parse(&[("f".to_owned(), text)]);
    }
}
