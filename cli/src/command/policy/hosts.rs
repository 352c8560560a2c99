//! `bailey policy hosts`: what each host enforces. Its JSON is the inventory from which orders can be
//! signed where no collector is.

use crate::command::Asking;
use crate::command::delivery::known::{Known, KnownHost, PATH};
use crate::exit::{Done, Failure};
use crate::screen::{Screen, Table};

/// Lists the hosts.
pub(super) fn run(asking: &Asking) -> Result<Done, Failure> {
    asking.answer(&asking.client.get(PATH)?, table)
}

const HEADINGS: [(&str, &str); 6] = [
    ("host", "主机"),
    ("zone", "安全域"),
    ("connected", "连接"),
    ("key", "密钥"),
    ("order", "命令"),
    ("remark", "说明"),
];

fn table(known: &Known, screen: Screen) -> String {
    if known.hosts.is_empty() {
        return format!("{}\n", screen.word("No host is enrolled.", "没有已注册的主机。"));
    }
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for host in &known.hosts {
        let connected =
            if host.connected { screen.word("yes", "是") } else { screen.word("no", "否") };
        let order =
            host.confirmed.map_or_else(|| "-".to_owned(), |order| order.version.to_string());
        table.row([
            host.host.as_str().into(),
            host.zone.as_str().into(),
            connected.into(),
            host.key_id.as_deref().unwrap_or("-").into(),
            order.into(),
            remark(host, screen).into(),
        ]);
    }
    table.render()
}

/// What is out of the ordinary with a host.
fn remark(host: &KnownHost, screen: Screen) -> String {
    let separator = screen.word("; ", "；");
    let mut remarks = Vec::new();
    if let Some(why) = &host.unreadable {
        remarks.push(format!("{} {why}", screen.word("unreadable:", "无法读取：")));
    }
    if let Some(quarantine) = &host.quarantine {
        let (until, reason) = (quarantine.until, &quarantine.reason);
        let words = screen.word("in quarantine until", "隔离至");
        remarks.push(format!("{words} {until}: {reason}"));
    }
    if host.pending.is_some() {
        remarks.push(screen.word("a ruleset waits to be confirmed", "有规则集等待确认").to_owned());
    }
    if let Some(problem) = &host.problem {
        remarks.push(problem.clone());
    }
    remarks.join(separator)
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_each_host_enforces_is_read_in_both_languages() {
        let known: Known = serde_json::from_value(json!({
            "schema": 1, "key_id": null, "next_version": 44,
            "hosts": [
                {
                    "host": "oa-17", "zone": "inner", "key": "ab".repeat(32), "connected": true,
                    "key_id": "0011223344556677", "highest": 43,
                    "confirmed": {"version": 42, "digest": "cd"}, "pending": {"version": 43},
                    "quarantine": null, "problem": null, "unreadable": null,
                },
                {
                    "host": "web-1", "zone": "outer", "key": "ac".repeat(32), "connected": false,
                    "key_id": "0011223344556677", "highest": 41,
                    "confirmed": {"version": 40, "digest": "cd"}, "pending": null,
                    "quarantine": {"until": "2026-11-26T08:00:00Z", "reason": "scans inner"},
                    "problem": "no room on the disk", "unreadable": null,
                },
                {"host": "hp-1", "zone": "inner", "key": "ad".repeat(32), "connected": true},
            ],
        }))
        .unwrap();
        insta::assert_snapshot!(table(&known, Screen { lang: Lang::En, colour: false }));
        insta::assert_snapshot!(table(&known, Screen { lang: Lang::Zh, colour: false }));
    }
}
