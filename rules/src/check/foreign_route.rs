//! Does a route lead out of the host's zone?

use std::net::IpAddr;

use ipnet::IpNet;

use super::place::{Map, Place};
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::links::{LinkKind, Route};
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::policy;
use crate::text::Text;

/// One subject for each route that carries packets elsewhere.
pub(super) const CHECK: Check = Check {
    name: "foreign_route",
    title: || Text::new("Routes", "路由归属"),
    component: "isolation",
    alert: Alerts::both("BaileyIsolationViolation"),
    probes: &[ProbeName::Links],
    absence: Absence::Resolves,
    judge,
};

/// Routes this wide are as good as a default route: two halves of the address space (0.0.0.0/1 and
/// 128.0.0.0/1) are how tunnels take all traffic without touching the default route.
const AS_GOOD_AS_DEFAULT: u8 = 6;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let (map, all) = match (Map::of(given), given.each::<Route>()) {
        (Ok(map), Ok(all)) => (map, all),
        (Err(unknown), _) | (_, Err(unknown)) => return vec![unknown],
    };
    let mut verdicts = Vec::new();
    for (subject, told) in all {
        let route = match told {
            Ok(route) => route,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let Some((status, why, value)) = look(&map, subject, route) else { continue };
        let key = FactKey::new(FactKind::Route, subject);
        verdicts.push(given.rests_on(Verdict::new(subject, status, why), &key, value));
    }
    if verdicts.is_empty() {
        let why = Text::new("no route leads out of the host", "没有通往主机之外的路由");
        let verdict = Verdict::new("", Status::Ok, why);
        verdicts.push(given.rests_on(verdict, &FactKey::new(FactKind::Route, ""), "none".into()));
    }
    verdicts
}

fn is_wide(network: &IpNet) -> bool {
    network.prefix_len() <= AS_GOOD_AS_DEFAULT
}

/// The verdict of one route; `None` for one that leads nowhere that matters.
fn look(map: &Map<'_>, subject: &str, route: &Route) -> Option<(Status, Text, String)> {
    let interface = route.interface.as_deref();
    let kind = interface.and_then(|name| map.interface(name)).map(|interface| interface.kind);
    if !route.carries || kind == Some(LinkKind::Loopback) {
        return None;
    }
    let wide = is_wide(&route.destination);
    let first = route.destination.addr();
    let is_whole_space = wide && first.is_unspecified();
    if !is_whole_space && !policy::counts(first) {
        return None;
    }
    match route.gateway {
        Some(gateway) => Some(by_gateway(map, subject, route, gateway)),
        None => on_link(map, subject, route, kind),
    }
}

fn by_gateway(
    map: &Map<'_>,
    subject: &str,
    route: &Route,
    gateway: IpAddr,
) -> (Status, Text, String) {
    let interface = route.interface.as_deref();
    match map.place(gateway, interface) {
        Place::Home => (
            Status::Ok,
            Text::new(
                format!("{subject}: the gateway is in the host's zone"),
                format!("{subject}：网关属于本机所在安全域"),
            ),
            "gateway in the zone".to_owned(),
        ),
        Place::Inside => (
            Status::Ok,
            Text::new(
                format!("{subject}: the gateway is inside the host only"),
                format!("{subject}：网关仅在主机内部"),
            ),
            "gateway inside the host".to_owned(),
        ),
        Place::Foreign(other) => (
            Status::Critical,
            Text::new(
                format!("{subject}: the gateway {gateway} is in zone \"{other}\""),
                format!("{subject}：网关 {gateway} 属于安全域 {other}，路由通向域外（违规外联）"),
            ),
            format!("gateway in zone {other}"),
        ),
        Place::NoZone => (
            Status::Critical,
            Text::new(
                format!("{subject}: the gateway {gateway} is in no zone of the policy"),
                format!(
                    "{subject}：网关 {gateway} 不属于策略中的任何安全域，路由通向域外（违规外联）"
                ),
            ),
            "gateway in no zone".to_owned(),
        ),
        // A link-local gateway (as from router advertisements) is where its interface is.
        Place::NotCounted => {
            let at_home = interface.and_then(|name| map.interface(name)).is_some_and(|held| {
                let mut all = held.addresses.iter();
                all.any(|own| map.place(own.addr(), interface) == Place::Home)
            });
            if at_home {
                (
                    Status::Ok,
                    Text::new(
                        format!("{subject}: the gateway is on a link of the host's zone"),
                        format!("{subject}：网关位于本机所在安全域的链路上"),
                    ),
                    "link-local gateway, link in the zone".to_owned(),
                )
            } else {
                (
                    Status::Warning,
                    Text::new(
                        format!(
                            "{subject}: the gateway is on a link without an address of the zone"
                        ),
                        format!("{subject}：网关所在链路上没有本安全域的地址"),
                    ),
                    "link-local gateway, link in no zone".to_owned(),
                )
            }
        }
    }
}

fn on_link(
    map: &Map<'_>,
    subject: &str,
    route: &Route,
    kind: Option<LinkKind>,
) -> Option<(Status, Text, String)> {
    let wide = is_wide(&route.destination);
    let leaves_by_tunnel = matches!(kind, Some(LinkKind::Tunnel | LinkKind::Modem));
    if wide {
        let status = if leaves_by_tunnel { Status::Critical } else { Status::Warning };
        let why = Text::new(
            format!("{subject}: takes all traffic out without a gateway"),
            format!("{subject}：不经网关将全部流量引出本机（违规外联）"),
        );
        return Some((status, why, "no gateway".to_owned()));
    }
    match map.place(route.destination.addr(), route.interface.as_deref()) {
        Place::Foreign(other) => {
            let why = Text::new(
                format!("{subject}: leads straight into zone \"{other}\""),
                format!("{subject}：直接通向安全域 {other}"),
            );
            Some((Status::Critical, why, format!("directly into zone {other}")))
        }
        Place::Home => {
            let why = Text::new(
                format!("{subject}: is in the host's zone"),
                format!("{subject}：属于本机所在安全域"),
            );
            Some((Status::Ok, why, "in the zone".to_owned()))
        }
        // A network of its own address: the check of addresses and interfaces says what it is.
        Place::NotCounted | Place::Inside | Place::NoZone => None,
    }
}
