//! Is there an interface by which the host could leave its network?

use super::place::Map;
use super::sentence::listed;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::links::{Interface, LinkKind};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

/// One subject for each interface but loopback.
pub(super) const CHECK: Check = Check {
    name: "unexpected_interface",
    title: || Text::new("Interfaces", "网络接口"),
    component: "isolation",
    alert: Alerts::both("BaileyIsolationViolation"),
    probes: &[ProbeName::Links],
    absence: Absence::Resolves,
    judge,
};

/// Devices that the kernel's tunnel modules make by themselves in every network namespace. Down and
/// without an address they carry nothing.
const MADE_BY_THE_KERNEL: [&str; 10] = [
    "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0",
    "teql0",
];

/// The most wires a bridge may join and still be a bridge for the inside of the host.
const ONE_WIRE: usize = 1;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let (map, all) = match (Map::of(given), given.each::<Interface>()) {
        (Ok(map), Ok(all)) => (map, all),
        (Err(unknown), _) | (_, Err(unknown)) => return vec![unknown],
    };
    if all.is_empty() {
        return vec![given.untold(FactKind::Interface, "")];
    }
    let mut verdicts = Vec::new();
    for (name, told) in all {
        let interface = match told {
            Ok(interface) => interface,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let Some((status, why)) = look(given, &map, name, interface) else { continue };
        let key = FactKey::new(FactKind::Interface, name);
        let up = if interface.admin_up { "up" } else { "down" };
        let (en, _) = words(interface.kind);
        let value = format!("{en} ({}), {up}", interface.driver);
        verdicts.push(given.rests_on(Verdict::new(name, status, why), &key, value));
    }
    verdicts
}

fn look(
    given: &Given<'_>,
    map: &Map<'_>,
    name: &str,
    interface: &Interface,
) -> Option<(Status, Text)> {
    let (en, zh) = words(interface.kind);
    let up = interface.admin_up;
    let expected = || {
        let why = Text::new(format!("{name} is {en}"), format!("{name} 为{zh}"));
        Some((Status::Ok, why))
    };
    if given.wanted.isolation.interfaces.iter().any(|pattern| pattern.fits(name)) {
        let why = Text::new(
            format!("{name} is {en}, as the rule files allow"),
            format!("{name} 为{zh}，规则文件允许"),
        );
        return Some((Status::Ok, why));
    }
    match interface.kind {
        LinkKind::Loopback => None,
        LinkKind::Bridge => {
            let wires = map.wires_of(name);
            if wires.len() <= ONE_WIRE {
                return expected();
            }
            let why = Text::new(
                format!("the bridge {name} joins {}", listed(wires, " and ")),
                format!("网桥 {name} 连通了 {}", listed(wires, "、")),
            );
            Some((Status::Warning, why))
        }
        LinkKind::Tunnel | LinkKind::Wireless | LinkKind::Usb | LinkKind::Modem => {
            let idle = !up && interface.addresses.is_empty();
            if idle && MADE_BY_THE_KERNEL.contains(&name) {
                return expected();
            }
            let (status, state_en, state_zh) = if up {
                (Status::Critical, "up", "已启用")
            } else {
                (Status::Warning, "down", "未启用")
            };
            let why = Text::new(
                format!("{name} is {en} and {state_en}; nothing allows it here"),
                format!("{name} 为{zh}，{state_zh}；规则文件未允许该接口"),
            );
            Some((status, why))
        }
        LinkKind::Other if up => {
            let driver = if interface.driver.is_empty() { "-" } else { &interface.driver };
            let why = Text::new(
                format!("{name} is of a kind that Bailey does not know ({driver}) and up"),
                format!("{name} 的接口类型未知（{driver}），已启用"),
            );
            Some((Status::Warning, why))
        }
        LinkKind::Ethernet
        | LinkKind::Bond
        | LinkKind::Vlan
        | LinkKind::Virtual
        | LinkKind::Other => expected(),
    }
}

const fn words(kind: LinkKind) -> (&'static str, &'static str) {
    match kind {
        LinkKind::Loopback => ("loopback", "回环接口"),
        LinkKind::Ethernet => ("a wired card", "有线网卡"),
        LinkKind::Bridge => ("a bridge", "网桥"),
        LinkKind::Bond => ("a bond", "链路聚合接口"),
        LinkKind::Vlan => ("a VLAN", "VLAN 子接口"),
        LinkKind::Virtual => ("a virtual interface", "虚拟接口"),
        LinkKind::Tunnel => ("a tunnel", "隧道接口"),
        LinkKind::Wireless => ("a radio interface", "无线网卡"),
        LinkKind::Usb => ("a USB network card", "USB 网卡"),
        LinkKind::Modem => ("a modem", "调制解调器（拨号上网设备）"),
        LinkKind::Other => ("of an unknown kind", "未知类型接口"),
    }
}
