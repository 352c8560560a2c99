//! Does a switch feed what hangs at its ports?

use super::super::{Alerts, Status, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::poe::{Feeding, Poe, SupplyState};
use crate::text::Text;

/// One subject for each supply, and one for each port that is faulty: telephones, cameras and radio
/// stations are dark then.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "poe_fault",
        || Text::new("Power over Ethernet", "以太网供电"),
        "power",
        Alerts::both("BaileyPoeFault"),
    ),
    parts: &[Part::Poe],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.poe_fault.broken() else { return Vec::new() };
    match given.ask(&given.device.poe, Part::Poe) {
        Ok(poe) => supplies(given, poe, broken).chain(ports(given, poe, broken)).collect(),
        Err(unknown) => vec![unknown],
    }
}

fn supplies(given: &Given<'_>, poe: &Poe, broken: Status) -> impl Iterator<Item = Verdict> {
    poe.supplies.iter().map(move |supply| {
        let group = supply.group;
        let (status, en, zh, value) = match supply.state {
            Some(SupplyState::On) => (Status::Ok, "feeds", "供电正常", "on"),
            // Somebody has switched it off on purpose.
            Some(SupplyState::Off) => (Status::Ok, "is switched off", "已被管理员关闭", "off"),
            Some(SupplyState::Faulty) => (broken, "is faulty", "有故障", "faulty"),
            None => (Status::Unknown, "does not say how it is", "状态未知", "untold"),
        };
        let said = Text::new(format!("supply {group} {en}"), format!("供电单元 {group} {zh}"));
        let subject = format!("supply {group}");
        let verdict = Verdict::new(&*subject, status, said);
        given.rests_on(verdict, Part::Poe, &subject, value.to_owned())
    })
}

/// Of ports only what is wrong: there may be hundreds that are well.
fn ports(given: &Given<'_>, poe: &Poe, broken: Status) -> impl Iterator<Item = Verdict> {
    poe.ports.iter().filter_map(move |port| {
        let (en, zh, value) = match port.feeding {
            Feeding::Fault => ("what hangs at it is faulty", "所接设备有故障", "fault"),
            Feeding::OtherFault => {
                ("the port or its supply is faulty", "端口或供电单元有故障", "other fault")
            }
            Feeding::Disabled | Feeding::Searching | Feeding::Delivering | Feeding::Testing => {
                return None;
            }
        };
        let subject = format!("port {}.{}", port.group, port.port);
        let said = Text::new(
            format!("{subject} gives no power: {en}"),
            format!("端口 {}.{} 无法供电：{zh}", port.group, port.port),
        );
        let verdict = Verdict::new(&*subject, broken, said);
        Some(given.rests_on(verdict, Part::Poe, &subject, value.to_owned()))
    })
}
