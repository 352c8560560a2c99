//! Was a machine of another zone seen on a link of this host?

use super::place::{Map, Place};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::links::Neighbour;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

/// One subject for each neighbour that should not be there; all others together are the subject
/// "", for there may be thousands.
pub(super) const CHECK: Check = Check {
    name: "foreign_neighbour",
    title: || Text::new("Neighbours", "邻居归属"),
    component: "isolation",
    alert: Alerts::both("BaileyIsolationViolation"),
    probes: &[ProbeName::Links],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let (map, all) = match (Map::of(given), given.each::<Neighbour>()) {
        (Ok(map), Ok(all)) => (map, all),
        (Err(unknown), _) | (_, Err(unknown)) => return vec![unknown],
    };
    let mut verdicts = Vec::new();
    let mut good = 0_usize;
    for (subject, told) in all {
        let neighbour = match told {
            Ok(neighbour) => neighbour,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let (address, interface) = (neighbour.address, &neighbour.interface);
        let mac = neighbour.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string());
        let (status, why) = match map.place(address, Some(interface)) {
            Place::NotCounted => continue,
            Place::Home | Place::Inside => {
                good += 1;
                continue;
            }
            Place::Foreign(other) => (
                Status::Critical,
                Text::new(
                    format!("{address} ({mac}) of zone \"{other}\" is a neighbour on {interface}"),
                    format!("{interface} 链路上出现安全域 {other} 的邻居 {address}（{mac}）"),
                ),
            ),
            Place::NoZone => (
                Status::Warning,
                Text::new(
                    format!("{address} ({mac}) of no zone is a neighbour on {interface}"),
                    format!("{interface} 链路上出现不属于任何安全域的邻居 {address}（{mac}）"),
                ),
            ),
        };
        let key = FactKey::new(FactKind::Neighbour, subject);
        let verdict = Verdict::new(subject, status, why);
        verdicts.push(given.rests_on(verdict, &key, format!("{address} on {interface}, {mac}")));
    }
    if verdicts.is_empty() {
        let why = Text::new(
            format!("{good} neighbours, all of the host's zone"),
            format!("共 {good} 个邻居，均属于本机所在安全域"),
        );
        let key = FactKey::new(FactKind::Neighbour, "");
        let verdict = Verdict::new("", Status::Ok, why);
        verdicts.push(given.rests_on(verdict, &key, format!("{good} seen")));
    }
    verdicts
}
