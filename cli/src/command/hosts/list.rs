//! `bailey hosts`: every host and its state.

use bailey_rules::check::State;
use bailey_rules::name::ZoneName;
use bailey_rules::text::Text;
use serde::Deserialize;

use super::super::{Asking, Severities};
use crate::exit::{Done, Failure};
use crate::screen::{Screen, Table};

/// What a table needs of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    hosts: Vec<Host>,
}

#[derive(Debug, Deserialize)]
struct Host {
    #[serde(rename = "host")]
    name: String,
    zone: String,
    state: State,
    why: Option<Text>,
    age_seconds: Option<f64>,
    findings: Severities,
}

/// Lists the hosts, all pages of them.
pub(in super::super) fn run(zone: Option<&ZoneName>, asking: &Asking) -> Result<Done, Failure> {
    let zone = zone.map(|zone| format!("&zone={zone}")).unwrap_or_default();
    let answer = asking.all_pages(&format!("/api/v1/hosts?limit=200{zone}"), "hosts")?;
    asking.answer(&answer, table)
}

const HEADINGS: [(&str, &str); 6] = [
    ("state", "状态"),
    ("host", "主机"),
    ("zone", "安全域"),
    ("report", "最近上报"),
    ("findings", "告警"),
    ("why", "原因"),
];

fn table(answer: &Answer, screen: Screen) -> String {
    if answer.hosts.is_empty() {
        let nobody = screen.word(
            "No host. Let one in with: bailey enroll token --host NAME --zone ZONE",
            "没有主机。请用以下命令准入：bailey enroll token --host 主机名 --zone 安全域",
        );
        return format!("{nobody}\n");
    }
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for host in &answer.hosts {
        let report = match host.age_seconds {
            Some(age) => screen.length(age),
            None => screen.word("never", "从未").to_owned(),
        };
        table.row([
            screen.state(host.state),
            host.name.as_str().into(),
            host.zone.as_str().into(),
            report.into(),
            host.findings.in_words(screen).into(),
            host.why.as_ref().map(|why| screen.say(why)).unwrap_or_default().into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::super::super::read;
    use super::*;

    #[test]
    fn the_list_is_read_in_both_languages() {
        let answer = json!({"schema": 1, "next": null, "hosts": [
            {
                "host": "oa-17", "zone": "inner", "state": "critical", "age_seconds": 4.2,
                "findings": {"critical": 2, "warning": 1},
                "why": {"en": "the newest copy is 80 h old", "zh": "最新备份已有 80 小时"},
            },
            {
                "host": "web-1", "zone": "outer", "state": "stale", "age_seconds": 190.0,
                "findings": {"critical": 0, "warning": 0},
                "why": {"en": "nothing was heard", "zh": "没有收到数据"},
            },
            {
                "host": "hp-1", "zone": "inner", "state": "ok", "age_seconds": null,
                "findings": {"critical": 0, "warning": 0}, "why": null,
            },
        ]});
        let typed = read(&answer).unwrap();
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::Zh, colour: false }));
    }

    #[test]
    fn an_empty_list_says_how_to_let_a_host_in() {
        let typed = read(&json!({"schema": 1, "hosts": []})).unwrap();
        let text = table(&typed, Screen { lang: Lang::En, colour: false });
        assert!(text.contains("bailey enroll token"), "{text}");
    }
}
