//! `bailey alerts`: the open findings, worst first.

use bailey_rules::check::State;
use bailey_rules::finding::Severity;
use bailey_rules::text::Text;
use serde::Deserialize;
use serde_json::Value;

use super::Asking;
use crate::arguments;
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, Table};

/// What a table needs of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    severity: Severity,
    host_name: String,
    zone: String,
    alert: String,
    subject: String,
    why: Text,
    age_seconds: f64,
    held: bool,
}

/// Lists what is wrong.
pub(super) fn run(arguments: &arguments::Alerts, asking: &Asking) -> Result<Done, Failure> {
    let zone = arguments.zone.as_ref().map(|zone| format!("&zone={zone}")).unwrap_or_default();
    let answer = asking.all_pages(&format!("/api/v1/findings?limit=200{zone}"), "findings")?;
    let done = asking.answer(&answer, table)?;
    let ends_with_findings = arguments.exit_code && any_critical(&answer);
    Ok(if ends_with_findings { done.ending(Exit::Findings.code()) } else { done })
}

/// Whether a critical finding is among those of the answer.
fn any_critical(answer: &Value) -> bool {
    let findings = answer["findings"].as_array();
    findings.into_iter().flatten().any(|finding| finding["severity"] == Severity::Critical.as_str())
}

const HEADINGS: [(&str, &str); 7] = [
    ("state", "状态"),
    ("since", "持续"),
    ("host", "主机"),
    ("zone", "安全域"),
    ("alert", "告警"),
    ("subject", "对象"),
    ("why", "原因"),
];

fn table(answer: &Answer, screen: Screen) -> String {
    if answer.findings.is_empty() {
        let nothing = screen.word("Nothing that is checked is wrong.", "没有未解决的告警。");
        return format!("{nothing}\n");
    }
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for finding in &answer.findings {
        let state = match finding.severity {
            Severity::Warning => State::Warning,
            Severity::Critical => State::Critical,
        };
        let why = screen.say(&finding.why);
        let held = screen.word(" (no fresh data)", "（无新数据）");
        let why = if finding.held { format!("{why}{held}") } else { why };
        table.row([
            screen.state(state),
            screen.length(finding.age_seconds).into(),
            finding.host_name.as_str().into(),
            finding.zone.as_str().into(),
            finding.alert.trim_start_matches("Bailey").into(),
            finding.subject.as_str().into(),
            why.into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::super::read;
    use super::*;

    fn answer() -> Value {
        json!({"schema": 1, "next": null, "findings": [
            {
                "severity": "critical", "host_name": "oa-17", "zone": "inner", "held": false,
                "alert": "BaileyIsolationViolation", "subject": "eth1", "age_seconds": 372.4,
                "why": {
                    "en": "172.20.0.99 is an address of the zone outer",
                    "zh": "172.20.0.99 属于安全域 outer",
                },
            },
            {
                "severity": "warning", "host_name": "hp-1", "zone": "inner", "held": true,
                "alert": "BaileyBackupLate", "subject": "oracle-fin", "age_seconds": 25_201.0,
                "why": {"en": "31 h old, 24 h wanted", "zh": "已有 31 小时，要求 24 小时"},
            },
        ]})
    }

    #[test]
    fn the_list_is_read_in_both_languages() {
        let typed = read(&answer()).unwrap();
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::Zh, colour: false }));
    }

    #[test]
    fn an_empty_list_says_so() {
        let typed = read(&json!({"schema": 1, "findings": []})).unwrap();
        let text = table(&typed, Screen { lang: Lang::En, colour: false });
        assert_eq!(text, "Nothing that is checked is wrong.\n");
    }

    #[test]
    fn only_critical_findings_make_the_exit_code() {
        let mut answer = answer();
        assert!(any_critical(&answer));
        answer["findings"][0]["severity"] = json!("warning");
        assert!(!any_critical(&answer));
    }
}
