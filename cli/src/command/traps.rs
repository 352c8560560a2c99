//! `bailey traps`: what devices sent of themselves, newest first.

use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use serde::Deserialize;

use super::Asking;
use crate::arguments;
use crate::exit::{Done, Failure};
use crate::screen::{Screen, Table};

/// What a table needs of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    received: bool,
    traps: Vec<Trap>,
}

#[derive(Debug, Deserialize)]
struct Trap {
    last_at: Timestamp,
    times: u64,
    sender: String,
    asset: Option<String>,
    version: String,
    oid: String,
    name: Option<String>,
    says: Vec<Text>,
    values: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Value {
    oid: String,
    value: Option<String>,
}

/// Lists traps.
pub(super) fn run(arguments: &arguments::Traps, asking: &Asking) -> Result<Done, Failure> {
    let mut path = format!("/api/v1/traps?limit={}", arguments.limit);
    if let Some(host) = &arguments.host {
        path.push_str(&format!("&host={host}"));
    }
    if arguments.strangers {
        path.push_str("&strangers=true");
    }
    let answer = asking.client.get(&path)?;
    asking.answer(&answer, table)
}

const HEADINGS: [(&str, &str); 6] = [
    ("last", "最近"),
    ("times", "次数"),
    ("sender", "发送者"),
    ("version", "版本"),
    ("trap", "陷阱"),
    ("says", "内容"),
];

fn table(answer: &Answer, screen: Screen) -> String {
    if answer.traps.is_empty() {
        let nothing = if answer.received {
            screen.word("No trap has come.", "尚未收到陷阱。")
        } else {
            screen.word(
                "This collector does not receive traps; set \"traps:\" in collector.yaml.",
                "本采集器不接收陷阱；请在 collector.yaml 中设置 \"traps:\"。",
            )
        };
        return format!("{nothing}\n");
    }
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for trap in &answer.traps {
        let sender = match &trap.asset {
            Some(asset) => asset.clone(),
            None => trap.sender.clone(),
        };
        table.row([
            trap.last_at.to_string().into(),
            trap.times.to_string().into(),
            sender.into(),
            trap.version.as_str().into(),
            trap.name.as_deref().unwrap_or(&trap.oid).into(),
            said(trap, screen).into(),
        ]);
    }
    table.render()
}

/// What a trap means, or what stands in it where nobody knows.
fn said(trap: &Trap, screen: Screen) -> String {
    if trap.says.is_empty() {
        let values = trap.values.iter();
        let pair = |value: &Value| {
            let said = value.value.as_deref().unwrap_or("-");
            format!("{}={said}", value.oid)
        };
        return values.map(pair).collect::<Vec<_>>().join(" ");
    }
    let says = trap.says.iter().map(|text| screen.say(text));
    says.collect::<Vec<_>>().join(screen.word("; ", "；"))
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::super::read;
    use super::*;

    #[test]
    fn known_and_unknown_traps_are_read_in_both_languages() {
        let answer = json!({"schema": 1, "received": true, "next": null, "traps": [
            {
                "id": 2, "first_at": "2026-11-26T09:12:33Z", "last_at": "2026-11-26T09:12:40Z",
                "times": 3, "sender": "10.1.0.2", "asset": "core-1", "version": "v3",
                "inform": false, "user": "monitor", "proof": "key",
                "oid": "1.3.6.1.6.3.1.1.5.3", "name": "linkDown", "values": [],
                "values_left_out": 0,
                "says": [{"en": "the link of interface 7 went down", "zh": "接口 7 的链路断开"}],
            },
            {
                "id": 1, "first_at": "2026-11-26T09:12:30Z", "last_at": "2026-11-26T09:12:30Z",
                "times": 1, "sender": "10.1.9.9", "asset": null, "version": "v2c",
                "inform": true, "user": null, "proof": "none",
                "oid": "1.3.6.1.4.1.99999.1", "name": null, "says": [], "values_left_out": 0,
                "values": [{"oid": "1.3.6.1.4.1.99999.2.0", "value": "x\u{1b}[2J"}],
            },
        ]});
        let typed = read(&answer).unwrap();
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(table(&typed, Screen { lang: Lang::Zh, colour: false }));
    }

    #[test]
    fn an_empty_list_says_whether_any_could_have_come() {
        for (received, begins) in [(true, "No trap"), (false, "This collector does not receive")] {
            let answer = json!({"schema": 1, "received": received, "traps": []});
            let text = table(&read(&answer).unwrap(), Screen { lang: Lang::En, colour: false });
            assert!(text.starts_with(begins), "{text}");
        }
    }
}
