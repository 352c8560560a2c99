//! `bailey lines`: every line, what is used of it and how its far end answers.

use std::time::Duration;

use bailey_rules::check::State;
use bailey_rules::text::Text;
use bailey_rules::unit::{BitRate, Percent};
use serde::Deserialize;

use super::Asking;
use crate::arguments;
use crate::exit::{Done, Failure};
use crate::screen::{Cell, Screen, Table};

/// What a table needs of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    lines: Vec<Line>,
}

/// One line, as the collector tells of it.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    device: String,
    key: String,
    name: Option<String>,
    interface: Option<String>,
    exit: bool,
    state: Option<State>,
    #[serde(default)]
    why: Option<Text>,
    rated_bits: u64,
    rate: Rate,
    month_95_received_bits: Option<u64>,
    month_95_sent_bits: Option<u64>,
    far_end: Option<FarEnd>,
}

/// Octets a second.
#[derive(Debug, Deserialize)]
struct Rate {
    received: Option<u64>,
    sent: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct FarEnd {
    far: String,
    by: String,
    failed: Option<Text>,
    lately: Option<Lately>,
    available_ppm: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Lately {
    lost_permille: u32,
    round_trip_micros: Option<u64>,
}

/// Lists the lines, all pages of them.
pub(super) fn run(arguments: &arguments::Lines, asking: &Asking) -> Result<Done, Failure> {
    let mut path = "/api/v1/lines?limit=200".to_owned();
    if let Some(zone) = &arguments.zone {
        path.push_str(&format!("&zone={zone}"));
    }
    if let Some(device) = &arguments.device {
        path.push_str(&format!("&device={device}"));
    }
    asking.answer(&asking.all_pages(&path, "lines")?, said)
}

fn said(answer: &Answer, screen: Screen) -> String {
    if answer.lines.is_empty() {
        let nothing = screen.word(
            "No line. Name them in a rule file, under device: lines: of the device they begin at.",
            "没有专线。请在规则文件中，于其所在设备的 device: lines: 下列出。",
        );
        return format!("{nothing}\n");
    }
    table(&answer.lines, true, screen)
}

const DEVICE: (&str, &str) = ("device", "设备");
const WHY: (&str, &str) = ("why", "原因");

const HEADINGS: [(&str, &str); 10] = [
    ("state", "状态"),
    ("line", "专线"),
    ("interface", "接口"),
    ("rated", "签约"),
    ("in / out", "接收 / 发送"),
    ("95 % of 30 d, in / out", "30 天 95 值，接收 / 发送"),
    ("far end", "对端"),
    ("round trip", "往返时延"),
    ("loss", "丢包"),
    ("available, 30 d", "可用率（30 天）"),
];

/// Lines with their figures. `alone`: nothing else beside them says of which device they are, and what is
/// wrong with them.
pub(super) fn table(lines: &[Line], alone: bool, screen: Screen) -> String {
    let mut table = Table::default();
    let only_alone = |cell| alone.then_some(cell);
    let headings = only_alone(DEVICE).into_iter().chain(HEADINGS).chain(only_alone(WHY));
    table.row_of(headings.map(|(en, zh)| screen.word(en, zh).into()));
    for line in lines {
        let is_wrong = line.state != Some(State::Ok);
        let why = line.why.as_ref().filter(|_| is_wrong).map(|why| screen.say(why));
        let why = alone.then(|| why.unwrap_or_default().into());
        let device = alone.then(|| line.device.as_str().into());
        table.row_of(device.into_iter().chain(line.cells(screen)).chain(why));
    }
    table.render()
}

fn none() -> String {
    "-".to_owned()
}

impl Line {
    fn cells(&self, screen: Screen) -> [Cell; 10] {
        let far = self.far_end.as_ref();
        let lately = far.and_then(|far| far.lately.as_ref());
        let exit = if self.exit { screen.word(" (exit)", "（出口）") } else { "" };
        let both = |received: Option<BitRate>, sent: Option<BitRate>| match (received, sent) {
            (None, None) => none(),
            (received, sent) => {
                let shown = |rate: Option<BitRate>| rate.map_or_else(none, |rate| rate.to_string());
                format!("{} / {}", shown(received), shown(sent))
            }
        };
        let now = |octets: Option<u64>| octets.map(BitRate::of_octets);
        let month = |bits: Option<u64>| bits.map(BitRate);
        let micros = lately.and_then(|lately| lately.round_trip_micros);
        let took = micros.map(|micros| Duration::from_micros(micros).as_secs_f64() * 1000.0);
        let available = far.and_then(|far| far.available_ppm);
        let available =
            available.map(|part| format!("{}.{:03} %", part / 10_000, part % 10_000 / 10));
        [
            self.state.map_or_else(|| none().into(), |state| screen.state(state)),
            format!("{}{exit}", self.name.as_ref().unwrap_or(&self.key)).into(),
            self.interface.as_deref().unwrap_or("?").into(),
            BitRate(self.rated_bits).to_string().into(),
            both(now(self.rate.received), now(self.rate.sent)).into(),
            both(month(self.month_95_received_bits), month(self.month_95_sent_bits)).into(),
            far.map_or_else(none, |far| far.asked(screen)).into(),
            took.map_or_else(none, |took| format!("{took:.1} ms")).into(),
            lately.map_or_else(none, |lately| Percent(lately.lost_permille).to_string()).into(),
            available.unwrap_or_else(none).into(),
        ]
    }
}

impl FarEnd {
    /// What is asked, and how; and why it cannot be.
    fn asked(&self, screen: Screen) -> String {
        match (&self.failed, self.by.as_str()) {
            (Some(why), _) => {
                let joint = screen.word(": ", "：");
                format!("{}{joint}{}", self.far, screen.say(why))
            }
            (None, "icmp") => self.far.clone(),
            (None, by) => format!("{} ({by})", self.far),
        }
    }
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::super::read;
    use super::*;

    #[test]
    fn lines_are_read_in_both_languages() {
        let answer = json!({"schema": 1, "next": null, "lines": [
            {
                "device": "exit-1", "zone": "outer", "key": "GE0/0/1", "name": "province",
                "interface": "GE0/0/1", "link": "up", "exit": false, "state": "warning",
                "why": {"en": "92 % used", "zh": "利用率 92%"}, "rated_bits": 2_000_000,
                "rate": {"received": 230_000, "sent": 12_500}, "used_permille": 920,
                "month_95_bits": 1_840_000, "month_95_received_bits": 1_840_000,
                "month_95_sent_bits": 98_000, "month_samples": 8640,
                "far_end": {
                    "far": "10.254.0.1", "by": "icmp", "failed": null, "available_ppm": 999_120,
                    "lately": {"asked": 100, "lost_permille": 20, "round_trip_micros": 18_250},
                },
            },
            {
                "device": "exit-1", "zone": "outer", "key": "GE0/0/2", "name": "exit A",
                "interface": "GE0/0/2", "link": "up", "exit": true, "state": "unknown", "why": null,
                "rated_bits": 100_000_000, "rate": {"received": null, "sent": 1_250_000},
                "used_permille": 100, "month_95_bits": null, "month_95_received_bits": null,
                "month_95_sent_bits": null, "month_samples": 0,
                "far_end": {
                    "far": "203.0.113.1", "by": "udp 33434", "failed": {"en": "no socket \u{1b}[2J", "zh": "没有套接字"},
                    "available_ppm": null, "lately": null,
                },
            },
            {
                "device": "exit-2", "zone": "outer", "key": "to county", "name": null,
                "interface": null, "link": null, "exit": false, "state": "unknown",
                "why": {"en": "exit-2 has no such interface", "zh": "exit-2 没有该接口"},
                "rated_bits": 10_000_000, "rate": {"received": null, "sent": null},
                "used_permille": null, "month_95_bits": null, "month_95_received_bits": null,
                "month_95_sent_bits": null, "month_samples": 0, "far_end": null,
            },
        ]});
        let typed = read(&answer).unwrap();
        insta::assert_snapshot!(said(&typed, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(said(&typed, Screen { lang: Lang::Zh, colour: false }));
        let nothing: Answer = read(&json!({"schema": 1, "lines": [], "next": null})).unwrap();
        let text = said(&nothing, Screen { lang: Lang::En, colour: false });
        assert!(text.starts_with("No line."), "{text}");
    }
}
