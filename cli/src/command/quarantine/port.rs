//! `bailey quarantine port`: a port of a switch off, until a time, when a second person approves.

use bailey_rules::text::Text;
use serde::Deserialize;
use serde_json::json;

use super::super::Asking;
use crate::arguments::{QuarantinePort, Until};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, clean};

/// What the collector says of a port.
#[derive(Debug, Deserialize)]
struct Answer {
    dry_run: bool,
    port: Port,
    assets: Vec<Asset>,
    addresses: usize,
    macs: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Port {
    device: String,
    name: String,
    until: String,
    asked_by: String,
    stage: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asset {
    Device(String),
    Host(String),
}

/// Asks for the quarantine of a port, approves it, or ends it.
pub(super) fn run(one: &QuarantinePort, asking: &Asking) -> Result<Done, Failure> {
    let (device, port) = (&one.device, &one.port);
    if one.approve || one.release {
        let verb = if one.approve { "approve" } else { "release" };
        let question = if one.approve {
            Text::new(
                format!("{device} {port} will be switched off. Write the port to go on:"),
                format!("将关闭 {device} 的端口 {port}。输入端口名继续："),
            )
        } else {
            Text::new(
                format!("{device} {port} will be switched on again. Write the port to go on:"),
                format!("将重新开启 {device} 的端口 {port}。输入端口名继续："),
            )
        };
        confirmed(one, &question, asking)?;
        let path = format!("/api/v1/ports/{device}/{verb}");
        let answer = asking.client.post(&path, &json!({"port": port}))?;
        return asking.answer(&answer, said);
    }
    let now = super::now();
    let until = match one.until {
        Some(Until::At(at)) => at,
        Some(Until::For(length)) => now + length,
        // The arguments demand one.
        None => now,
    };
    let body = json!({
        "device": device.as_str(),
        "port": port,
        "until": until,
        "reason": one.reason.as_deref().unwrap_or_default(),
        "dry_run": one.dry_run,
    });
    let answer = asking.client.post("/api/v1/ports", &body)?;
    asking.answer(&answer, said)
}

fn confirmed(one: &QuarantinePort, question: &Text, asking: &Asking) -> Result<(), Failure> {
    if one.yes || asking.confirmed(question, &one.port) {
        return Ok(());
    }
    let port = &one.port;
    Err(Failure::new(
        Exit::NeedsConfirmation,
        format!("nothing was done to {port}: nobody confirmed it; add --yes to go without asking"),
        format!("未更改 {port}：没有得到确认；加 --yes 可不经询问直接执行"),
    ))
}

/// What came of it, for people.
fn said(answer: &Answer, screen: Screen) -> String {
    let Port { device, name, until, asked_by, stage } = &answer.port;
    let head = match (answer.dry_run, stage.as_str()) {
        (true, _) => Text::new(
            format!("{device} {name} may be switched off; nothing was changed."),
            format!("{device} 的端口 {name} 可以关闭；未作任何更改。"),
        ),
        (false, "waiting") => Text::new(
            format!(
                "{device} {name} until {until}: {asked_by} asked; another person approves it with: \
                 bailey quarantine port {device} {name} --approve"
            ),
            format!(
                "{device} 的端口 {name}，至 {until}：由 {asked_by} 申请，须由另一人批准：\
                 bailey quarantine port {device} {name} --approve"
            ),
        ),
        (false, "wanted") => Text::new(
            format!("{device} {name} is being switched off until {until}."),
            format!("正在关闭 {device} 的端口 {name}，至 {until}。"),
        ),
        (false, _) => Text::new(
            format!("{device} {name} is being switched on again."),
            format!("正在重新开启 {device} 的端口 {name}。"),
        ),
    };
    let mut out = format!("{}\n", clean(&screen.say(&head)));
    if answer.addresses > 0 {
        let names = answer.assets.iter().map(|asset| match asset {
            Asset::Device(name) | Asset::Host(name) => name.as_str(),
        });
        let behind: Vec<&str> = names.chain(answer.macs.iter().map(String::as_str)).collect();
        let word = screen.word("Behind it:", "端口后有：");
        out.push_str(&format!("{word} {}\n", clean(&behind.join(", "))));
    }
    out
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;

    use super::*;

    #[test]
    fn who_asked_is_told_whom_to_ask_next() {
        let answer: Answer = serde_json::from_value(json!({
            "schema": 1, "dry_run": false, "assets": [{"host": "oa-17"}], "addresses": 1,
            "macs": ["52:54:00:01:03:07"],
            "port": {"device": "floor-3", "port": 7, "name": "GE0/0/7", "reason": "scans",
                "until": "2026-11-26T12:00:00Z", "asked_by": "uid 1000", "asked_at": "2026-11-26T11:00:00Z",
                "approved_by": null, "stage": "waiting", "failed": null},
        }))
        .unwrap();
        let said = |lang| said(&answer, Screen { lang, colour: false });
        insta::assert_snapshot!(said(Lang::En), @r"
        floor-3 GE0/0/7 until 2026-11-26T12:00:00Z: uid 1000 asked; another person approves it with: bailey quarantine port floor-3 GE0/0/7 --approve
        Behind it: oa-17, 52:54:00:01:03:07
        ");
        insta::assert_snapshot!(said(Lang::Zh), @r"
        floor-3 的端口 GE0/0/7，至 2026-11-26T12:00:00Z：由 uid 1000 申请，须由另一人批准：bailey quarantine port floor-3 GE0/0/7 --approve
        端口后有： oa-17, 52:54:00:01:03:07
        ");
    }
}
