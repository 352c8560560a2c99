//! `bailey device`: what the collector polls by SNMP.

mod list;
mod prompt;
mod show;

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use bailey_collector::poll::credentials::{Credentials, MAX_FILE, Secret};
use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use serde::Deserialize;
use serde_json::json;

use super::snmp::read_credentials;
use super::{Asking, read};
use crate::arguments::{AddDevice, DeviceCommand, OtherCredentials, RemoveDevice};
use crate::exit::{Done, Exit, Failure};
use crate::screen::Screen;

/// How long the collector may take to examine a device and to look at it for the first time.
const EXAMINING: Duration = Duration::from_secs(50);

/// Does one of the verbs of devices.
pub(super) fn run(command: &DeviceCommand, asking: &Asking) -> Result<Done, Failure> {
    match command {
        DeviceCommand::Add(add) => self::add(add, asking),
        DeviceCommand::List(list) => list::run(list.zone.as_ref(), asking),
        DeviceCommand::Show(one) => show::run(&one.device, asking),
        DeviceCommand::Credentials(other) => other_credentials(other, asking),
        DeviceCommand::Remove(remove) => self::remove(remove, asking),
    }
}

/// What the collector says of a device that it was given.
#[derive(Debug, Deserialize)]
struct Taken {
    device: Option<Row>,
    fault: Option<Fault>,
}

#[derive(Debug, Deserialize)]
struct Row {
    device: String,
    address: String,
    vendor: Option<String>,
    description: Option<String>,
    interfaces: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    #[serde(rename = "fault")]
    name: String,
    said: Text,
    next: Vec<Text>,
    steps: Vec<Text>,
}

fn add(add: &AddDevice, asking: &Asking) -> Result<Done, Failure> {
    let credentials = credentials(add.credentials.as_deref(), asking)?;
    let body = json!({
        "address": add.device.host,
        "port": add.device.port,
        "zone": add.zone.as_str(),
        "name": add.name.as_ref().map(HostName::as_str),
        "credentials": text_of(&credentials),
    });
    asked("/api/v1/devices", &body, asking, added)
}

fn other_credentials(other: &OtherCredentials, asking: &Asking) -> Result<Done, Failure> {
    let credentials = credentials(other.credentials.as_deref(), asking)?;
    let path = format!("/api/v1/devices/{}/credentials", other.device);
    asked(&path, &json!({"credentials": text_of(&credentials)}), asking, changed)
}

/// Has the collector examine a device. A fault ends with 6.
fn asked(
    path: &str,
    body: &serde_json::Value,
    asking: &Asking,
    taken: fn(&Row, Screen) -> String,
) -> Result<Done, Failure> {
    let answer = asking.client.post_within(EXAMINING, path, body)?;
    let is_faulty = read::<Taken>(&answer)?.fault.is_some();
    let done =
        asking.answer(&answer, |answer: &Taken, screen| match (&answer.fault, &answer.device) {
            (Some(fault), _) => faulty(fault, screen),
            (None, Some(device)) => taken(device, screen),
            (None, None) => String::new(),
        })?;
    Ok(if is_faulty { done.ending(Exit::Findings.code()) } else { done })
}

fn added(device: &Row, screen: Screen) -> String {
    let about = device.description.as_deref().or(device.vendor.as_deref()).unwrap_or_default();
    let ports = match device.interfaces {
        Some(count) => format!("{count} {}", screen.word("interfaces", "个接口")),
        None => screen.word("interfaces are read later", "接口稍后读取").to_owned(),
    };
    let line = format!(
        "{} {} {} ({}){}{}",
        device.device,
        screen.word("is polled from now on at", "已开始轮询，地址"),
        device.address,
        ports,
        if about.is_empty() { "" } else { ": " },
        about,
    );
    let next = screen.word("See it with:", "查看：");
    format!("{}\n{next} bailey device show {}\n", crate::screen::clean(&line), device.device)
}

fn changed(device: &Row, screen: Screen) -> String {
    let said = screen
        .word("is asked with the new credentials from now on", "已更换凭据，开始使用新凭据查询");
    format!("{} {said}\n", device.device)
}

fn faulty(fault: &Fault, screen: Screen) -> String {
    let mut out = format!("■ {}: {}\n", fault.name, screen.say(&fault.said));
    for next in &fault.next {
        out.push_str(&format!("  {}\n", screen.say(next)));
    }
    out.push_str(screen.word("What was asked:\n", "查询过程：\n"));
    for step in &fault.steps {
        out.push_str(&format!("  {}\n", screen.say(step)));
    }
    out.push_str(screen.word("Nothing was changed.\n", "未作任何更改。\n"));
    out
}

#[derive(Debug, Deserialize)]
struct Removed {
    device: String,
}

fn remove(remove: &RemoveDevice, asking: &Asking) -> Result<Done, Failure> {
    let device = &remove.device;
    let question = Text::new(
        format!("{device} will not be polled any more. Write its name to confirm:"),
        format!("将停止轮询 {device}。请输入设备名确认："),
    );
    if !remove.yes && !asking.confirmed(&question, device.as_str()) {
        return Err(Failure::new(
            Exit::NeedsConfirmation,
            format!(
                "{device} was not removed: nobody confirmed it; add --yes to go without asking"
            ),
            format!("未移除 {device}：没有得到确认；加 --yes 可不经询问直接执行"),
        ));
    }
    let answer = asking.client.post(&format!("/api/v1/devices/{device}/remove"), &json!({}))?;
    asking.answer(&answer, |removed: &Removed, screen| {
        let said = screen.word("is not polled any more", "已停止轮询");
        format!("{} {said}\n", removed.device)
    })
}

/// The text of credentials: of a file, of standard input, or asked for at the terminal. It is checked
/// here, so that a mistake is told with its place before anything is sent.
fn credentials(file: Option<&Path>, asking: &Asking) -> Result<Secret, Failure> {
    match file {
        Some(path) if path == Path::new("-") => from_stdin(),
        Some(path) => {
            let from_file = read_credentials(path)?;
            if let Some(warning) = &from_file.warning {
                asking.talk(warning);
            }
            Ok(from_file.text)
        }
        None => prompt::asked(asking),
    }
}

fn from_stdin() -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = io::stdin().take(MAX_FILE).read_to_string(&mut text);
    read.map_err(|why| {
        Failure::error(
            format!("cannot read credentials from standard input: {why}"),
            format!("无法从标准输入读取凭据：{why}"),
        )
    })?;
    checked(text)
}

/// Credentials as they will be read by the collector.
fn checked(text: String) -> Result<Secret, Failure> {
    Credentials::parse("credentials", &text).map_err(|problems| {
        Failure::error(
            format!("the credentials are wrong:\n{problems}"),
            format!("凭据有误：\n{problems}"),
        )
    })?;
    Ok(Secret::new(text))
}

/// The text for the collector's socket, which is this machine's own.
fn text_of(secret: &Secret) -> String {
    String::from_utf8_lossy(secret.octets()).into_owned()
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;

    use super::*;

    #[test]
    fn a_fault_is_named_with_what_to_do_in_both_languages() {
        let answer = json!({"schema": 1, "taken": false, "device": null, "fault": {
            "fault": "community",
            "said": {"en": "it is silent to this community", "zh": "不应答该团体名"},
            "next": [{"en": "look at snmpd.conf", "zh": "检查 snmpd.conf"}],
            "steps": [{"en": "GET system, v2c: no answer", "zh": "GET system，v2c：无应答"}],
        }});
        let typed: Taken = read(&answer).unwrap();
        let said = |lang| faulty(typed.fault.as_ref().unwrap(), Screen { lang, colour: false });
        insta::assert_snapshot!(said(Lang::En), @r"
        ■ community: it is silent to this community
          look at snmpd.conf
        What was asked:
          GET system, v2c: no answer
        Nothing was changed.
        ");
        insta::assert_snapshot!(said(Lang::Zh), @r"
        ■ community: 不应答该团体名
          检查 snmpd.conf
        查询过程：
          GET system，v2c：无应答
        未作任何更改。
        ");
    }

    #[test]
    fn what_a_device_says_of_itself_cannot_speak_to_the_terminal() {
        let row = Row {
            device: "floor-3".into(),
            address: "10.1.0.3:161".into(),
            vendor: None,
            description: Some("S5720\u{1b}[2J".into()),
            interfaces: Some(52),
        };
        let said = added(&row, Screen { lang: Lang::En, colour: false });
        assert!(said.contains("52 interfaces") && !said.contains('\u{1b}'), "{said}");
    }
}
