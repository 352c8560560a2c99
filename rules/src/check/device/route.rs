//! Does a route of a device lead out of its zone?

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::{Alerts, Status, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::routes::Route;
use crate::name::ZoneName;
use crate::policy::{self, Demand, Party, Policy};
use crate::text::Text;

/// One subject for each route that leads into another zone. A switch that routes between the networks
/// undoes their separation, whatever its ports say.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "device_route",
        || Text::new("Routes", "路由归属"),
        "isolation",
        Alerts::both("BaileyIsolationViolation"),
    ),
    parts: &[Part::Routes],
    judge,
};

/// Routes this wide are as good as a default route, as two halves of the address space are.
const AS_GOOD_AS_DEFAULT: u8 = 6;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.device.is_empty(Part::Routes) {
        return Vec::new();
    }
    let routes = match given.ask(&given.device.routes, Part::Routes) {
        Ok(routes) => routes,
        Err(unknown) => return vec![unknown],
    };
    let zone = &given.device.zone;
    if !given.policy.zones.contains_key(zone) {
        let why = Text::new(
            format!("the policy does not define this device's zone \"{zone}\""),
            format!("策略文件中没有定义该设备所属的安全域 {zone}"),
        );
        let verdict = Verdict::new("", Status::Unknown, why);
        return vec![given.rests_on(verdict, Part::Routes, "", format!("zone {zone}"))];
    }
    if routes.left_out {
        let count = routes.count.unwrap_or_default();
        let why = Text::new(
            format!("the device has {count} routes, more than are asked for"),
            format!("设备有 {count} 条路由，超过读取上限"),
        );
        let verdict = Verdict::new("", Status::Unknown, why);
        return vec![given.rests_on(verdict, Part::Routes, "", format!("{count} routes"))];
    }
    let home = Home::of(given);
    let leaving = routes.list.iter().filter_map(|route| verdict(given, &home, route));
    let mut verdicts: Vec<Verdict> = leaving.collect();
    if verdicts.is_empty() {
        let why = Text::new("no route leads out of the zone", "没有通往域外的路由");
        let verdict = Verdict::new("", Status::Ok, why);
        verdicts.push(given.rests_on(verdict, Part::Routes, "", "none".to_owned()));
    }
    verdicts
}

/// The verdict of a route that leads out of the zone.
fn verdict(given: &Given<'_>, home: &Home<'_>, route: &Route) -> Option<Verdict> {
    let to = route.destination;
    let subject = match (route.gateway, route.interface) {
        (Some(gateway), _) => format!("{to} via {gateway}"),
        (None, Some(interface)) => format!("{to} on {interface}"),
        (None, None) => to.to_string(),
    };
    let (status, why, value) = match route.gateway {
        Some(gateway) => match home.leaves_to(gateway)? {
            Out::Zone(other) => (
                Status::Critical,
                Text::new(
                    format!("{to}: the gateway {gateway} is in zone \"{other}\""),
                    format!("{to}：网关 {gateway} 属于安全域 {other}，路由通向域外（违规外联）"),
                ),
                format!("gateway in zone {other}"),
            ),
            Out::Internet => (
                Status::Critical,
                Text::new(
                    format!("{to}: the gateway {gateway} is in no zone of the policy"),
                    format!(
                        "{to}：网关 {gateway} 不属于策略中的任何安全域，路由通向域外（违规外联）"
                    ),
                ),
                "gateway in no zone".to_owned(),
            ),
        },
        None if to.prefix_len() <= AS_GOOD_AS_DEFAULT && home.never_to_the_internet => (
            Status::Warning,
            Text::new(
                format!("{to}: takes all traffic out without a gateway"),
                format!("{to}：不经网关将全部流量引出（违规外联）"),
            ),
            "no gateway".to_owned(),
        ),
        None => match home.leaves_to(to.addr())? {
            Out::Zone(other) => (
                Status::Critical,
                Text::new(
                    format!("{to}: leads straight into zone \"{other}\""),
                    format!("{to}：直接通向安全域 {other}"),
                ),
                format!("directly into zone {other}"),
            ),
            // A network of its own that no zone holds.
            Out::Internet => return None,
        },
    };
    let verdict = Verdict::new(&*subject, status, why);
    Some(given.rests_on(verdict, Part::Routes, &subject, value))
}

/// Where an address is that is not at home.
enum Out<'a> {
    /// In another zone.
    Zone(&'a ZoneName),
    /// In no zone, though an invariant keeps the device's zone from the Internet. Elsewhere the exit of a
    /// zone has its provider for a gateway.
    Internet,
}

/// Where routes of the device may lead.
struct Home<'a> {
    policy: &'a Policy,
    /// Its zone, those in which the policy gives it an address, and those that the rule files grant it.
    zones: BTreeSet<&'a ZoneName>,
    /// Whether an invariant keeps the zone from the Internet.
    never_to_the_internet: bool,
}

impl<'a> Home<'a> {
    fn of(given: &Given<'a>) -> Self {
        let (policy, zone) = (given.policy, &given.device.zone);
        let itself = Party::Host(given.device.name.clone());
        let declared = policy.zones_of(&itself).into_iter().flatten();
        let zones = declared.chain(&given.isolation.other_zones).chain([zone]).collect();
        let keeps_in = |demand: &Demand| match demand {
            Demand::Never { from: Party::Zone(from), to: Party::Internet } => from == zone,
            Demand::Never { .. } | Demand::Only { .. } | Demand::Always { .. } => false,
        };
        let mut invariants = policy.invariants.values();
        let never_to_the_internet = invariants.any(|invariant| keeps_in(&invariant.what));
        Self { policy, zones, never_to_the_internet }
    }

    /// Where `address` is, unless packets may go there.
    fn leaves_to(&self, address: IpAddr) -> Option<Out<'a>> {
        if !policy::counts(address) {
            return None;
        }
        match self.policy.zone_of(address) {
            Some(zone) => (!self.zones.contains(zone)).then_some(Out::Zone(zone)),
            None => self.never_to_the_internet.then_some(Out::Internet),
        }
    }
}
