//! `bailey status`: the site in numbers.

use std::fmt::Write as _;

use bailey_rules::check::State;
use bailey_rules::prove::site::told::Standing;
use bailey_rules::text::Lang;
use bailey_rules::time::Timestamp;
use serde::Deserialize;

use super::{Asking, Severities};
use crate::arguments;
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Cell, Screen, Table, clean};

/// What people are told of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    site: String,
    version: String,
    now: Timestamp,
    started_at: Timestamp,
    agents_connected: u64,
    hosts: States,
    findings: Severities,
    invariants: Option<Invariants>,
    zones: Vec<Zone>,
    config_problems: Vec<Problem>,
}

/// How many invariants stand how; a collector of an older version does not tell.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Invariants {
    proved: u64,
    stale: u64,
    out_of_model: u64,
    broken: u64,
}

impl Invariants {
    fn in_words(self, screen: Screen) -> String {
        let Self { proved, stale, out_of_model, broken } = self;
        let all = proved + stale + out_of_model + broken;
        let standings = [
            (Standing::Broken, broken),
            (Standing::OutOfModel, out_of_model),
            (Standing::Stale, stale),
        ];
        let others = standings.into_iter().filter(|(_, count)| *count > 0);
        let proved = match screen.lang {
            Lang::En => format!("{proved} of {all} proved"),
            Lang::Zh => format!("{proved} / {all} 已证明"),
        };
        let told = |(standing, count): (Standing, u64)| {
            format!("{count} {}", screen.say(&standing.word()))
        };
        std::iter::once(proved).chain(others.map(told)).collect::<Vec<_>>().join("  ")
    }
}

/// How many hosts are in each state.
#[derive(Debug, Clone, Copy, Deserialize)]
struct States {
    ok: u64,
    maintenance: u64,
    stale: u64,
    unknown: u64,
    warning: u64,
    critical: u64,
}

impl States {
    /// Worst first, as the screens list them.
    const fn worst_first(self) -> [(State, u64); 6] {
        [
            (State::Critical, self.critical),
            (State::Warning, self.warning),
            (State::Unknown, self.unknown),
            (State::Stale, self.stale),
            (State::Maintenance, self.maintenance),
            (State::Ok, self.ok),
        ]
    }

    fn all(self) -> u64 {
        self.worst_first().iter().map(|(_, count)| count).sum()
    }

    /// The numbers that are not zero.
    fn in_words(self, screen: Screen) -> String {
        let parts: Vec<String> = self
            .worst_first()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(state, count)| format!("{count} {}", screen.state(state).shown()))
            .collect();
        if parts.is_empty() { "-".to_owned() } else { parts.join("  ") }
    }
}

#[derive(Debug, Deserialize)]
struct Zone {
    #[serde(rename = "zone")]
    name: String,
    #[serde(rename = "name")]
    title: Option<String>,
    hosts: States,
    findings: Severities,
}

#[derive(Debug, Deserialize)]
struct Problem {
    message: String,
}

/// Shows how the site is.
pub(super) fn run(arguments: &arguments::Status, asking: &Asking) -> Result<Done, Failure> {
    let answer = asking.client.get("/api/v1/status")?;
    let done = asking.answer(&answer, table)?;
    let critical = answer["findings"]["critical"].as_u64().is_some_and(|count| count > 0);
    let ends_with_findings = arguments.exit_code && critical;
    Ok(if ends_with_findings { done.ending(Exit::Findings.code()) } else { done })
}

const ZONES: [(&str, &str); 4] =
    [("zone", "安全域"), ("hosts", "主机"), ("findings", "告警"), ("states", "状态")];

fn table(answer: &Answer, screen: Screen) -> String {
    let running = screen.length(answer.started_at.age(answer.now).as_secs_f64());
    let all = answer.hosts.all();
    let connected = answer.agents_connected;
    let (version, agents) = match screen.lang {
        Lang::En => (
            format!("{}, running for {running}", answer.version),
            format!("{connected} of {all} connected"),
        ),
        Lang::Zh => {
            (format!("{}，已运行 {running}", answer.version), format!("{connected} / {all} 已连接"))
        }
    };
    let mut head = Table::indented(0);
    let mut line = |en, zh, cell: Cell| head.row([screen.word(en, zh).into(), cell]);
    line("site", "站点", answer.site.as_str().into());
    line("collector", "采集器", version.into());
    line("agents", "代理", agents.into());
    line("findings", "告警", answer.findings.in_words(screen).into());
    if let Some(invariants) = answer.invariants {
        line("isolation", "隔离", invariants.in_words(screen).into());
    }

    let mut zones = Table::headed(screen.words_of(ZONES));
    for zone in &answer.zones {
        let name = match &zone.title {
            Some(title) => format!("{} {title}", zone.name),
            None => zone.name.clone(),
        };
        zones.row([
            name.into(),
            zone.hosts.all().to_string().into(),
            zone.findings.in_words(screen).into(),
            Cell::made(zone.hosts.in_words(screen)),
        ]);
    }
    let mut out = format!("{}\n{}", head.render(), zones.render());
    for problem in &answer.config_problems {
        let refused =
            screen.word("A file was refused; the one before holds:", "文件有误，沿用之前的内容：");
        let lines: Vec<String> = problem.message.lines().map(clean).collect();
        // Writing to a String cannot fail.
        let _ = write!(out, "\n{refused}\n{}\n", lines.join("\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::read;
    use super::*;

    #[test]
    fn the_site_is_read_in_both_languages() {
        let none = json!({
            "ok": 0, "maintenance": 0, "stale": 0, "unknown": 0, "warning": 0, "critical": 0,
        });
        let mut inner = none.clone();
        inner["ok"] = json!(47);
        inner["stale"] = json!(1);
        inner["critical"] = json!(2);
        let answer = json!({
            "schema": 1, "site": "jiaxing", "version": "0.1.0", "revision": 7,
            "now": "2026-11-23T06:32:07Z", "started_at": "2026-11-23T02:32:07Z",
            "agents_connected": 49, "hosts": inner, "findings": {"critical": 2, "warning": 0},
            "invariants": {"proved": 12, "stale": 1, "out_of_model": 0, "broken": 1},
            "zones": [
                {
                    "zone": "inner", "name": "内网", "hosts": inner,
                    "findings": {"critical": 2, "warning": 0},
                },
                {
                    "zone": "outer", "name": null, "hosts": none,
                    "findings": {"critical": 0, "warning": 0},
                },
            ],
            "config_problems": [{
                "at": "2026-11-23T06:00:00Z",
                "message": "policy.yaml:14:9: zone \"iner\" is not defined\n  14 | x\u{1b}[2J",
            }],
        });
        let typed = read(&answer).unwrap();
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::Zh, colour: false }));
    }
}
