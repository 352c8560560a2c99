//! Do the interfaces pass packets that must?

use super::super::{Alerts, Status, Verdict};
use super::watched::{called, must_be_up};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::interface::{Interface, Link};
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
    watched.map(|interface| verdict(given, interface, broken)).collect()
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
