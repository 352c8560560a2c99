//! `bailey device list`: every device and its state.

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
    devices: Vec<Device>,
}

#[derive(Debug, Deserialize)]
struct Device {
    #[serde(rename = "device")]
    name: String,
    zone: String,
    address: String,
    state: State,
    why: Option<Text>,
    age_seconds: Option<f64>,
    findings: Severities,
}

/// Lists the devices, all pages of them.
pub(super) fn run(zone: Option<&ZoneName>, asking: &Asking) -> Result<Done, Failure> {
    let zone = zone.map(|zone| format!("&zone={zone}")).unwrap_or_default();
    let answer = asking.all_pages(&format!("/api/v1/devices?limit=200{zone}"), "devices")?;
    asking.answer(&answer, table)
}

const HEADINGS: [(&str, &str); 7] = [
    ("state", "状态"),
    ("device", "设备"),
    ("zone", "安全域"),
    ("address", "地址"),
    ("answer", "最近应答"),
    ("findings", "告警"),
    ("why", "原因"),
];

fn table(answer: &Answer, screen: Screen) -> String {
    if answer.devices.is_empty() {
        let nobody = screen.word(
            "No device. Add one with: bailey device add ADDRESS --zone ZONE --credentials FILE",
            "没有设备。请用以下命令添加：bailey device add 地址 --zone 安全域 --credentials 文件",
        );
        return format!("{nobody}\n");
    }
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for device in &answer.devices {
        let age = match device.age_seconds {
            Some(age) => screen.length(age),
            None => screen.word("never", "从未").to_owned(),
        };
        table.row([
            screen.state(device.state),
            device.name.as_str().into(),
            device.zone.as_str().into(),
            device.address.as_str().into(),
            age.into(),
            device.findings.in_words(screen).into(),
            device.why.as_ref().map(|why| screen.say(why)).unwrap_or_default().into(),
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
        let answer = json!({"schema": 1, "next": null, "devices": [
            {
                "device": "core-1", "zone": "inner", "address": "10.1.0.1:161", "state": "critical",
                "age_seconds": 372.0, "findings": {"critical": 1, "warning": 0},
                "why": {"en": "no answer for 6 min: timeout", "zh": "已有 6 分钟没有应答"},
            },
            {
                "device": "ups-1", "zone": "inner", "address": "10.1.0.9:161", "state": "unknown",
                "age_seconds": null, "findings": {"critical": 0, "warning": 0}, "why": null,
            },
        ]});
        let typed = read(&answer).unwrap();
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::En, colour: false }), @r"
        state       device  zone   address       answer  findings    why
        ■ critical  core-1  inner  10.1.0.1:161  6 min   1 critical  no answer for 6 min: timeout
        ? unknown   ups-1   inner  10.1.0.9:161  never   -
        ");
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::Zh, colour: false }), @r"
        状态    设备    安全域  地址          最近应答  告警    原因
        ■ 严重  core-1  inner   10.1.0.1:161  6 分钟    1 严重  已有 6 分钟没有应答
        ? 未知  ups-1   inner   10.1.0.9:161  从未      -
        ");
        let none = read(&json!({"schema": 1, "devices": []})).unwrap();
        let said = table(&none, Screen { lang: Lang::En, colour: false });
        assert!(said.contains("bailey device add"), "{said}");
    }
}
