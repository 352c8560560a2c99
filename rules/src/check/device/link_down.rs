//! Do the interfaces pass packets that must?

use super::super::{Alerts, Status, Verdict};
use super::watched::{called, interface_of, line_called, must_be_up};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::interface::{Interface, Link};
use crate::expectation::LineWanted;
use crate::text::Text;

pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "link_down",
        || Text::new("Links", "链路"),
        "network",
        Alerts::both("BaileyLinkDown"),
    ),
    parts: &[Part::Interfaces],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.link_down.broken() else { return Vec::new() };
    let interfaces = match given.ask(&given.device.interfaces, Part::Interfaces) {
        Ok(interfaces) => interfaces,
        Err(unknown) => return vec![unknown],
    };
    let watched = interfaces.iter().filter(|interface| must_be_up(given, interface));
    let mut verdicts: Vec<_> = watched.map(|interface| verdict(given, interface, broken)).collect();
    let lines = given.wanted.lines.iter();
    let missing = lines.filter(|(key, _)| interface_of(given.device, key).is_none());
    verdicts.extend(missing.map(|(key, line)| not_there(given, key, line)));
    verdicts
}

/// A line without an interface: the rule files are wrong, or a card was taken out. Nobody knows how it is.
fn not_there(given: &Given<'_>, key: &str, line: &LineWanted) -> Verdict {
    let (name, device) = (line_called(key, line.name.as_deref()), &given.device.name);
    let why = Text::new(
        format!("the rule files name the line {name}, and {device} has no such interface or alias"),
        format!("规则文件列出专线 {name}，但 {device} 没有该名称或描述的接口"),
    );
    let verdict = Verdict::new(key, Status::Unknown, why);
    given.rests_on(verdict, Part::Interfaces, key, "not there".to_owned())
}

fn verdict(given: &Given<'_>, interface: &Interface, broken: Status) -> Verdict {
    let name = called(given, interface);
    let (status, en, zh) = match (interface.wanted, interface.link) {
        // Somebody has switched it off on purpose.
        (Link::Down, _) => (Status::Ok, "is switched off", "已被管理员关闭"),
        (_, Link::Up) => (Status::Ok, "is up", "正常"),
        (_, Link::Dormant | Link::Testing) => (broken, "does not pass packets", "未转发数据"),
        (_, Link::Unknown) => (Status::Unknown, "does not say whether it is up", "状态未知"),
        (_, Link::Down | Link::NotPresent | Link::LowerLayerDown) => (broken, "is down", "已断开"),
    };
    let verdict = Verdict::new(
        &*interface.name,
        status,
        Text::new(format!("{name} {en}"), format!("{name} {zh}")),
    );
    let value = format!("wanted {:?}, is {:?}", interface.wanted, interface.link).to_lowercase();
    given.rests_on(verdict, Part::Interfaces, &interface.name, value)
}
