//! `bailey device show NAME`: its checks, and its interfaces with their use.

use std::cmp::Reverse;

use bailey_rules::check::State;
use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use bailey_rules::unit::{BitRate, Percent};
use serde::Deserialize;

use super::super::Asking;
use super::super::lines::{self, Line};
use crate::exit::{Done, Failure};
use crate::screen::{Cell, Screen, Table};

/// What the tables need of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    device: String,
    zone: String,
    address: String,
    version: String,
    state: State,
    vendor: Option<String>,
    description: Option<String>,
    age_seconds: Option<f64>,
    parts: Vec<Part>,
    checks: Vec<Check>,
    interfaces_seen: Vec<Interface>,
    #[serde(default)]
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Part {
    title: Text,
    read_at: Option<String>,
    stale: bool,
    failed: Option<Text>,
}

#[derive(Debug, Deserialize)]
struct Check {
    title: Text,
    component: String,
    subject: String,
    state: State,
    why: Text,
}

#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    alias: String,
    link: String,
    speed: Option<u64>,
    rated_bits: Option<u64>,
    line: Option<String>,
    rate: Rate,
    used_permille: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Rate {
    received: Option<u64>,
    sent: Option<u64>,
}

/// Shows one device.
pub(super) fn run(device: &HostName, asking: &Asking) -> Result<Done, Failure> {
    let answer = asking.client.get(&format!("/api/v1/devices/{device}"))?;
    asking.answer(&answer, said)
}

const CHECKS: [(&str, &str); 5] =
    [("state", "状态"), ("part", "部分"), ("check", "检查"), ("subject", "对象"), ("why", "原因")];

const INTERFACES: [(&str, &str); 7] = [
    ("interface", "接口"),
    ("link", "状态"),
    ("speed", "速率"),
    ("receives", "接收"),
    ("sends", "发送"),
    ("used", "利用率"),
    ("alias", "描述"),
];

fn said(answer: &Answer, screen: Screen) -> String {
    let mut head = Table::indented(0);
    let mut line = |en, zh, cell: Cell| head.row([screen.word(en, zh).into(), cell]);
    line("device", "设备", answer.device.as_str().into());
    line("zone", "安全域", answer.zone.as_str().into());
    line("state", "状态", screen.state(answer.state));
    line("address", "地址", format!("{} (SNMP{})", answer.address, answer.version).into());
    let about = answer.description.as_deref().or(answer.vendor.as_deref());
    line("is", "型号", about.unwrap_or("?").into());
    let age = answer.age_seconds.map(|age| screen.length(age));
    line("answered", "最近应答", age.unwrap_or_else(|| screen.word("never", "从未").into()).into());

    let mut out = head.render();
    let troubled = answer
        .parts
        .iter()
        .filter(|part| part.failed.is_some() || (part.stale && part.read_at.is_some()));
    for part in troubled {
        let (title, joint) = (screen.say(&part.title), screen.word(": ", "："));
        let why = match &part.failed {
            Some(why) => {
                let said = screen.word("cannot be read", "无法读取");
                format!("{said}{joint}{}", screen.say(why))
            }
            None => screen.word("stale", "数据过期").to_owned(),
        };
        out.push_str(&format!("{title}{joint}{why}\n"));
    }
    out.push('\n');
    out.push_str(&checks(answer, screen));
    if !answer.lines.is_empty() {
        out.push('\n');
        out.push_str(&lines::table(&answer.lines, false, screen));
    }
    if !answer.interfaces_seen.is_empty() {
        out.push('\n');
        out.push_str(&interfaces(answer, screen));
    }
    out
}

/// What is wrong comes first; of what is well, only the number.
fn checks(answer: &Answer, screen: Screen) -> String {
    let mut wrong: Vec<&Check> =
        answer.checks.iter().filter(|check| check.state != State::Ok).collect();
    wrong.sort_by_key(|check| Reverse(check.state));
    let mut table = Table::headed(screen.words_of(CHECKS));
    for check in &wrong {
        table.row([
            screen.state(check.state),
            screen.component(&check.component).into(),
            screen.say(&check.title).into(),
            check.subject.as_str().into(),
            screen.say(&check.why).into(),
        ]);
    }
    let well = answer.checks.len() - wrong.len();
    let rest = format!("{well} {}\n", screen.word("checks are well", "项检查正常"));
    if wrong.is_empty() { rest } else { table.render() + &rest }
}

fn interfaces(answer: &Answer, screen: Screen) -> String {
    let mut table = Table::headed(screen.words_of(INTERFACES));
    for interface in &answer.interfaces_seen {
        let rate = |octets: Option<u64>| {
            octets.map_or_else(|| "-".to_owned(), |o| BitRate::of_octets(o).to_string())
        };
        let speed = interface.rated_bits.or(interface.speed).filter(|bits| *bits > 0);
        let also = interface.line.as_deref().unwrap_or(&interface.alias);
        table.row([
            interface.name.as_str().into(),
            interface.link.as_str().into(),
            speed.map_or_else(|| "-".to_owned(), |bits| BitRate(bits).to_string()).into(),
            rate(interface.rate.received).into(),
            rate(interface.rate.sent).into(),
            interface.used_permille.map_or_else(|| "-".into(), |p| Percent(p).to_string()).into(),
            also.into(),
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
    fn a_device_is_shown_with_its_lines_and_only_with_what_is_wrong() {
        let answer = json!({
            "schema": 1, "device": "exit-1", "zone": "outer", "address": "172.20.0.1:161",
            "version": "v3", "state": "warning", "vendor": "Huawei", "description": null,
            "age_seconds": 12.0,
            "parts": [
                {"title": {"en": "interfaces", "zh": "接口"}, "read_at": "2026-11-23T06:00:00Z", "stale": false, "failed": null},
                {"title": {"en": "MAC addresses", "zh": "MAC 地址表"}, "read_at": null, "stale": true, "failed": {"en": "no answer", "zh": "没有应答"}},
            ],
            "checks": [
                {
                    "title": {"en": "Use of lines", "zh": "链路利用率"}, "component": "network",
                    "subject": "GE0/0/1", "state": "warning",
                    "why": {"en": "GE0/0/1 (province) 91 % used", "zh": "GE0/0/1 利用率 91%"},
                },
                {
                    "title": {"en": "Answers", "zh": "应答状态"}, "component": "network",
                    "subject": "", "state": "ok", "why": {"en": "it answers", "zh": "有应答"},
                },
            ],
            "interfaces_seen": [{
                "name": "GE0/0/1", "alias": "to province", "link": "up", "speed": 100_000_000_u64,
                "rated_bits": 2_000_000, "line": "province",
                "rate": {"received": 227_500, "sent": null}, "used_permille": 910,
            }],
            "lines": [{
                "device": "exit-1", "key": "GE0/0/1", "name": "province", "interface": "GE0/0/1",
                "exit": false, "state": "warning", "rated_bits": 2_000_000,
                "rate": {"received": 227_500, "sent": null},
                "month_95_received_bits": 1_840_000, "month_95_sent_bits": 230_000,
                "far_end": {
                    "far": "10.254.0.1", "by": "icmp", "failed": null, "available_ppm": 999_120,
                    "lately": {"asked": 100, "lost_permille": 20, "round_trip_micros": 18_250},
                },
            }],
        });
        let typed = read(&answer).unwrap();
        insta::assert_snapshot!(said(&typed, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(said(&typed, Screen { lang: Lang::Zh, colour: false }));
    }
}
