//! Does an interface have an address of another zone?

use std::collections::BTreeMap;

use super::place::{Map, Place};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::links::Interface;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

/// One subject for each address that counts.
pub(super) const CHECK: Check = Check {
    name: "foreign_address",
    title: || Text::new("Addresses", "地址归属"),
    component: "isolation",
    alert: Alerts::both("BaileyIsolationViolation"),
    probes: &[ProbeName::Links],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let (map, all) = match (Map::of(given), given.each::<Interface>()) {
        (Ok(map), Ok(all)) => (map, all),
        (Err(unknown), _) | (_, Err(unknown)) => return vec![unknown],
    };
    if all.is_empty() {
        return vec![given.untold(FactKind::Interface, "")];
    }
    let zone = &given.host.zone;
    let mut verdicts: BTreeMap<String, Verdict> = BTreeMap::new();
    for (name, told) in all {
        let interface = match told {
            Ok(interface) => interface,
            Err(unknown) => {
                worse_wins(&mut verdicts, unknown);
                continue;
            }
        };
        let key = FactKey::new(FactKind::Interface, name);
        for network in &interface.addresses {
            let address = network.addr();
            let (status, why) = match map.place(address, Some(name)) {
                Place::NotCounted => continue,
                Place::Home => (
                    Status::Ok,
                    Text::new(
                        format!("{address} on {name} is in the host's zone"),
                        format!("{name} 上的地址 {address} 属于本机所在安全域"),
                    ),
                ),
                Place::Inside => (
                    Status::Ok,
                    Text::new(
                        format!("{address} on {name} is inside the host only"),
                        format!("{name} 上的地址 {address} 仅用于主机内部"),
                    ),
                ),
                Place::Foreign(other) => (
                    if interface.admin_up { Status::Critical } else { Status::Warning },
                    Text::new(
                        format!(
                            "a host of zone \"{zone}\" has the address {address} \
                             of zone \"{other}\" on {name}: it touches both"
                        ),
                        format!(
                            "安全域 {zone} 的主机在 {name} 上配置了安全域 {other} 的地址 {address}：\
                             该主机同时接入两个网络（违规跨接）"
                        ),
                    ),
                ),
                Place::NoZone => (
                    Status::Warning,
                    Text::new(
                        format!("{address} on {name} is in no zone of the policy"),
                        format!("{name} 上的地址 {address} 不属于策略中的任何安全域"),
                    ),
                ),
            };
            let verdict = Verdict::new(address.to_string(), status, why);
            let up = if interface.admin_up { "up" } else { "down" };
            let verdict = given.rests_on(verdict, &key, format!("{network}, {up}"));
            worse_wins(&mut verdicts, verdict);
        }
    }
    verdicts.into_values().collect()
}

/// One address on two interfaces is judged by the worse of them.
fn worse_wins(verdicts: &mut BTreeMap<String, Verdict>, new: Verdict) {
    match verdicts.get_mut(&new.subject) {
        Some(old) if old.status >= new.status => {}
        Some(old) => *old = new,
        None => {
            verdicts.insert(new.subject.clone(), new);
        }
    }
}
