//! Do both ends of a link agree about duplex?

use super::super::{Alerts, Status, Verdict};
use super::watched::{called, is_ignored};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::ethernet::{Duplex, Port};
use crate::device::interface::{Interface, Link};
use crate::text::Text;

/// One subject for each Ethernet port with a link. A device sees one end only; what happens there
/// when the other differs is a port at half duplex that could do more, and late collisions
/// (IEEE 802.3 annex 28B).
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "duplex_mismatch",
        || Text::new("Duplex", "双工模式"),
        "network",
        Alerts::both("BaileyDuplexMismatch"),
    ),
    parts: &[Part::Interfaces, Part::Ethernet],
    judge,
};

/// Slower ports are hubs and printers, where half duplex is right.
const FULL_FROM: u64 = 100_000_000;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.duplex.broken() else { return Vec::new() };
    let interfaces = match given.ask(&given.device.interfaces, Part::Interfaces) {
        Ok(interfaces) => interfaces,
        Err(unknown) => return vec![unknown],
    };
    let ports = match given.ask(&given.device.ethernet, Part::Ethernet) {
        Ok(ports) => ports,
        Err(unknown) => return vec![unknown],
    };
    let judged = interfaces.iter().filter(|i| i.link == Link::Up && !is_ignored(given, i));
    judged
        .filter_map(|interface| verdict(given, interface, ports.get(&interface.index)?, broken))
        .collect()
}

fn verdict(
    given: &Given<'_>,
    interface: &Interface,
    port: &Port,
    broken: Status,
) -> Option<Verdict> {
    let duplex = port.duplex?;
    let collisions = given.device.collisions.get(&interface.index).copied().unwrap_or(0);
    let could_do_more = interface.speed.is_some_and(|bits| bits >= FULL_FROM);
    let name = called(given, interface);
    let (status, why) = match duplex {
        _ if collisions > 0 => (
            broken,
            Text::new(
                format!(
                    "{name} had {collisions} late collisions: the other end is at full duplex, or \
                     the cable is too long"
                ),
                format!("{name} 出现 {collisions} 次迟冲突：对端为全双工，或线缆过长"),
            ),
        ),
        Duplex::Half if could_do_more => (
            broken,
            Text::new(
                format!(
                    "{name} runs at half duplex: set both ends to negotiate, or both to the same"
                ),
                format!("{name} 工作在半双工：请将两端均设为自协商，或设为相同模式"),
            ),
        ),
        Duplex::Half => {
            (Status::Ok, Text::new(format!("{name} runs at half duplex"), format!("{name} 半双工")))
        }
        Duplex::Full => {
            (Status::Ok, Text::new(format!("{name} runs at full duplex"), format!("{name} 全双工")))
        }
    };
    let verdict = Verdict::new(&*interface.name, status, why);
    let value = format!("{duplex:?} duplex, {collisions} late collisions").to_lowercase();
    let verdict = given.rests_on(verdict, Part::Ethernet, &interface.name, value);
    Some(given.rests_on(verdict, Part::Interfaces, &interface.name, "up".to_owned()))
}
