//! `bailey hosts show HOST`: its checks, and why they say so.

use std::cmp::Reverse;

use bailey_rules::check::State;
use bailey_rules::fact::lines::{LatelyAsked, LineQuality};
use bailey_rules::fact::{FactKind, Reading};
use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use serde::Deserialize;
use serde_json::Value;

use super::super::{Asking, host_path, short_key};
use crate::exit::{Done, Failure};
use crate::screen::{Cell, Screen, Table};

/// What a table needs of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    host: String,
    key: String,
    zone: String,
    state: State,
    session: Session,
    probes: Vec<Probe>,
    #[serde(default)]
    facts: Vec<Fact>,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Session {
    connected: bool,
    lost_reports: u64,
}

#[derive(Debug, Deserialize)]
struct Probe {
    #[serde(rename = "probe")]
    name: String,
    age_seconds: f64,
    stale: bool,
    failed: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Fact {
    #[serde(rename = "fact")]
    kind: String,
    subject: String,
    reading: Reading<Value>,
}

#[derive(Debug, Deserialize)]
struct Check {
    title: Text,
    component: String,
    subject: String,
    state: State,
    why: Text,
}

/// Shows one host.
pub(in super::super) fn run(host: &HostName, asking: &Asking) -> Result<Done, Failure> {
    let answer = asking.client.get(&host_path(host))?;
    asking.answer(&answer, table)
}

const CHECKS: [(&str, &str); 5] =
    [("state", "状态"), ("part", "部分"), ("check", "检查"), ("subject", "对象"), ("why", "原因")];

const PROBES: [(&str, &str); 3] = [("probe", "探针"), ("read", "最近读取"), ("", "")];

const LINES: [(&str, &str); 7] = [
    ("line", "专线"),
    ("far end", "对端"),
    ("asked by", "探测方式"),
    ("loss", "丢包"),
    ("round trip", "往返时延"),
    ("available", "可用率"),
    ("last answer", "最近应答"),
];

/// The lines whose far ends the host asks; `None` where it asks none.
fn lines(answer: &Answer, screen: Screen) -> Option<String> {
    let kind = FactKind::LineQuality;
    let mut facts = answer.facts.iter().filter(|fact| fact.kind == kind.as_str()).peekable();
    facts.peek()?;
    let probe = answer.probes.iter().find(|probe| probe.name == kind.probe().as_str());
    let mut table = Table::headed(screen.words_of(LINES));
    for Fact { subject, reading, .. } in facts {
        let line = match reading {
            Reading::Known(value) => serde_json::from_value::<LineQuality>(value.clone())
                .map_err(|_| screen.word("not understood", "无法识别").to_owned()),
            Reading::Unreadable { why } => Err(why.clone()),
        };
        let none = || "-".to_owned();
        let (far, by, last) = match &line {
            Ok(LineQuality { ask, answered: true, silence_millis, .. }) => {
                let age = probe.map(|probe| probe.age_seconds + *silence_millis as f64 / 1000.0);
                (ask.far.to_string(), ask.by.to_string(), age.map(|age| screen.length(age)))
            }
            Ok(LineQuality { ask, since, .. }) => {
                let last = match since {
                    Some(_) => screen.word("never", "从未"),
                    None => screen.word("not asked yet", "尚未探测"),
                };
                (ask.far.to_string(), ask.by.to_string(), Some(last.to_owned()))
            }
            Err(why) => (none(), none(), Some(why.clone())),
        };
        let known = line.as_ref().ok();
        let lately = known.and_then(|line| line.lately.as_ref());
        let took = lately.and_then(LatelyAsked::round_trip);
        let available = known.and_then(|line| line.available_millionths);
        table.row([
            subject.as_str().into(),
            far.into(),
            by.into(),
            lately.map_or_else(none, |lately| lately.lost.to_string()).into(),
            took.map_or_else(none, |took| format!("{:.1} ms", took.as_secs_f64() * 1000.0)).into(),
            available
                .map_or_else(none, |part| format!("{}.{:03} %", part / 10_000, part % 10_000 / 10))
                .into(),
            last.unwrap_or_else(none).into(),
        ]);
    }
    Some(table.render())
}

fn table(answer: &Answer, screen: Screen) -> String {
    let mut head = Table::indented(0);
    let mut line = |en, zh, cell: Cell| head.row([screen.word(en, zh).into(), cell]);
    line("host", "主机", answer.host.as_str().into());
    line("zone", "安全域", answer.zone.as_str().into());
    line("state", "状态", screen.state(answer.state));
    line("key", "密钥", short_key(&answer.key).into());
    let connected = if answer.session.connected {
        ("connected", "已连接")
    } else {
        ("not connected", "未连接")
    };
    line("session", "会话", screen.word(connected.0, connected.1).into());
    if answer.session.lost_reports > 0 {
        line("lost reports", "丢失的报告", answer.session.lost_reports.to_string().into());
    }

    let mut probes = Table::headed(screen.words_of(PROBES));
    for probe in &answer.probes {
        let note = match (&probe.failed, probe.stale) {
            (Some(why), _) => format!("{}: {why}", screen.word("failed", "失败")),
            (None, true) => screen.word("stale", "数据过期").to_owned(),
            (None, false) => String::new(),
        };
        probes.row([
            probe.name.as_str().into(),
            screen.length(probe.age_seconds).into(),
            note.into(),
        ]);
    }

    let mut sorted: Vec<&Check> = answer.checks.iter().collect();
    sorted.sort_by_key(|check| Reverse(check.state));
    let mut checks = Table::headed(screen.words_of(CHECKS));
    for check in sorted {
        checks.row([
            screen.state(check.state),
            screen.component(&check.component).into(),
            screen.say(&check.title).into(),
            check.subject.as_str().into(),
            screen.say(&check.why).into(),
        ]);
    }
    let lines = lines(answer, screen).map(|table| format!("{table}\n")).unwrap_or_default();
    format!("{}\n{}\n{lines}{}", head.render(), probes.render(), checks.render())
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::super::super::read;
    use super::*;

    #[test]
    fn a_host_is_read_in_both_languages_worst_first() {
        let answer = json!({
            "schema": 1, "host": "oa-17", "key": "7f".repeat(32), "zone": "inner",
            "state": "critical", "session": {"connected": true, "lost_reports": 3},
            "probes": [
                {"probe": "host", "age_seconds": 4.0, "stale": false, "failed": null},
                {"probe": "lines", "age_seconds": 8.0, "stale": false, "failed": null},
                {
                    "probe": "firewall", "age_seconds": 700.0, "stale": true,
                    "failed": "nft ended with 1",
                },
            ],
            "facts": [
                {"fact": "system.reboot", "subject": "", "reading": {"known": {"needed": false}}},
                {
                    "fact": "lines.quality", "subject": "county",
                    "reading": {"known": {
                        "ask": {"far": "10.254.0.1", "by": "udp 33434"},
                        "since": "2026-11-20T06:30:00Z", "answered": true, "silence_millis": 0,
                        "lately": {"asked": 100, "lost": 30, "round_trip_micros": 18_000},
                        "available_millionths": 999_980,
                    }},
                },
                {
                    "fact": "lines.quality", "subject": "town",
                    "reading": {"known": {
                        "ask": {"far": "10.254.0.5", "by": "icmp"},
                        "since": null, "answered": false, "silence_millis": 0,
                        "lately": null, "available_millionths": null,
                    }},
                },
                {
                    "fact": "lines.quality", "subject": "exit",
                    "reading": {"unreadable": {"why": "this program may not send ICMP"}},
                },
            ],
            "checks": [
                {
                    "check": "load", "title": {"en": "Load", "zh": "负载"}, "component": "host",
                    "subject": "", "state": "ok", "why": {"en": "0.2 a core", "zh": "每核 0.2"},
                },
                {
                    "check": "backup_age", "title": {"en": "Backup age", "zh": "备份时间"},
                    "component": "backup", "subject": "oracle-fin", "state": "critical",
                    "why": {"en": "80 h old", "zh": "已有 80 小时"},
                },
            ],
        });
        let typed = read(&answer).unwrap();
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::Zh, colour: false }));
    }
}
