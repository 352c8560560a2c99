//! The metrics page of one device. Series of stale parts are left out, so that Prometheus marks them
//! stale too; states and times stay, for they are what staleness is judged by.

use std::collections::BTreeMap;

use bailey_rules::check::device::{interface_of, memories, processors, sensors};
use bailey_rules::check::{State, Verdict};
use bailey_rules::device::interface::{Interface, Link};
use bailey_rules::device::poe::Feeding;
use bailey_rules::device::power::Power;
use bailey_rules::device::resources::Kind;
use bailey_rules::device::{DeviceView, Held, Part};
use bailey_rules::finding::{Finding, Severity};
use bailey_rules::time::Timestamp;

use super::host::{
    CHECK_STATE, LINK_ERRORS, LINK_RECEIVED, LINK_SENT, LINK_SPEED, LINK_UP, TEMPERATURE,
};
use super::{Declared, Families, MAX_SERIES, MAX_SUBJECTS, counter, gauge};
use crate::device::DeviceStatus;
use crate::web::shown::DEVICE_COMPONENTS;

const INFO: Declared = gauge(
    "bailey_device_info",
    "What the device says it is (sysObjectID), and how it is asked; always 1.",
    &["vendor", "product", "version"],
);
const STATE: Declared =
    gauge("bailey_device_state", "1 for the state the device is in, 0 for the others.", &["state"]);
const FINDINGS: Declared =
    gauge("bailey_device_findings", "Open findings of the device.", &["component", "severity"]);
const UP: Declared =
    gauge("bailey_snmp_up", "Whether the device answered when it was asked last.", &[]);
const POLL_DURATION: Declared = gauge(
    "bailey_snmp_poll_duration_seconds",
    "How long the last poll took that the device answered.",
    &[],
);
const LAST_ANSWER: Declared = gauge(
    "bailey_snmp_last_answer_timestamp_seconds",
    "When the device last answered, seconds since 1970.",
    &[],
);
const UPTIME: Declared = gauge(
    "bailey_device_uptime_seconds",
    "Since when the device's agent runs; it wraps after 497 days.",
    &[],
);
const LINK_DISCARDS: Declared = counter(
    "bailey_link_discards_total",
    "Good frames that were thrown away.",
    &["interface", "direction"],
);
const LINK_RATED: Declared = gauge(
    "bailey_link_rated_bytes",
    "Speed by contract of an interface that the rule files call a line, octets a second.",
    &["interface"],
);
const LINK_P95: Declared = gauge(
    "bailey_link_used_p95_bytes",
    "95th percentile of the use of a line within 30 days, as far as it was counted, octets a second.",
    &["interface"],
);
const LINK_LOST: Declared = gauge(
    "bailey_link_lost_ratio",
    "Part of the packets lost to the far end of a line and back within 5 min, outages left out.",
    &["interface"],
);
const LINK_ROUND_TRIP: Declared = gauge(
    "bailey_link_round_trip_seconds",
    "Median time of a packet to the far end of a line and back within 5 min.",
    &["interface"],
);
const LINK_AVAILABLE: Declared = gauge(
    "bailey_link_available_ratio",
    "Part of the packets to the far end of a line within 30 days that fell into no outage.",
    &["interface"],
);
const UPS_ON_BATTERY: Declared =
    gauge("bailey_ups_on_battery", "Whether the battery feeds the load.", &[]);
const UPS_RUNTIME: Declared = gauge(
    "bailey_ups_runtime_seconds",
    "How long the battery will last, as the UPS estimates.",
    &[],
);
const UPS_CHARGE: Declared = gauge("bailey_ups_charge_ratio", "Charge of the battery.", &[]);
const UPS_LOAD: Declared = gauge("bailey_ups_load_ratio", "Load of an output line.", &["line"]);
const POE_RATED: Declared =
    gauge("bailey_poe_rated_watts", "What a supply of power over Ethernet can give.", &["supply"]);
const POE_USED: Declared =
    gauge("bailey_poe_used_watts", "What a supply of power over Ethernet gives.", &["supply"]);
const POE_PORTS: Declared = gauge(
    "bailey_poe_ports",
    "Ports that can feed what hangs at them, by what they do.",
    &["feeding"],
);
const PROCESSES: Declared =
    gauge("bailey_device_processes", "Processes that the computer has.", &[]);
const ROUTES: Declared = gauge("bailey_device_routes", "IP routes of the device.", &[]);
const PROCESSOR: Declared = gauge(
    "bailey_device_processor_busy_ratio",
    "Part of a processor's time in use, as the device averages it.",
    &["processor"],
);
const MEMORY: Declared =
    gauge("bailey_device_memory_used_ratio", "Part of a memory in use.", &["memory"]);
const STORAGE_USED: Declared =
    gauge("bailey_device_storage_used_bytes", "Octets in use on a file system.", &["mountpoint"]);
const STORAGE_SIZE: Declared =
    gauge("bailey_device_storage_size_bytes", "Size of a file system.", &["mountpoint"]);

/// The page of `device`. `findings` are its open ones; `rated` gives the speed by contract of an
/// interface, in octets a second.
pub(crate) fn families<'a>(
    device: &DeviceStatus,
    findings: impl Iterator<Item = &'a Finding>,
    rated: impl Fn(&Interface) -> Option<u64>,
    now: Timestamp,
) -> Families {
    let view = &device.view;
    let common = vec![("host", view.name.to_string()), ("zone", view.zone.to_string())];
    let mut page = Page { out: Families::new(common, MAX_SERIES), view, now };
    page.judged(device, findings);
    page.polling();
    page.interfaces(rated);
    page.far_ends();
    page.power();
    page.poe();
    page.health();
    page.routes();
    page.out
}

struct Page<'a> {
    out: Families,
    view: &'a DeviceView,
    now: Timestamp,
}

impl Page<'_> {
    fn is_fresh(&self, part: Part) -> bool {
        !self.view.freshness(part).is_stale(self.now)
    }

    fn judged<'f>(&mut self, device: &DeviceStatus, findings: impl Iterator<Item = &'f Finding>) {
        if let Some(known) = self.view.identity.value() {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let labels = [text(&known.vendor), text(&known.product)];
            self.out.add(&INFO, &[&labels[0], &labels[1], device.version], 1.0);
        }
        for state in State::ALL {
            self.out.add_flag(&STATE, &[state.as_str()], device.state == state);
        }
        for judged in &device.judged {
            let Some(worst) = judged.verdicts.iter().map(Verdict::state).max() else { continue };
            for state in State::ALL {
                let labels = [judged.check.name, state.as_str()];
                self.out.add_flag(&CHECK_STATE, &labels, worst == state);
            }
        }
        let mut counts = BTreeMap::new();
        for finding in findings {
            *counts.entry((finding.component.as_str(), finding.severity)).or_insert(0_u32) += 1;
        }
        for component in DEVICE_COMPONENTS {
            for severity in [Severity::Warning, Severity::Critical] {
                let count = counts.get(&(component, severity)).copied().unwrap_or(0);
                self.out.add(&FINDINGS, &[component, severity.as_str()], f64::from(count));
            }
        }
    }

    fn polling(&mut self) {
        let polling = &self.view.polling;
        if polling.asked_at.is_some() {
            self.out.add_flag(&UP, &[], polling.failed.is_none());
        }
        if let Some(took) = polling.took.filter(|_| polling.failed.is_none()) {
            self.out.add(&POLL_DURATION, &[], took.as_secs_f64());
        }
        if let Some(at) = polling.answered_at {
            self.out.add(&LAST_ANSWER, &[], at.as_seconds_f64());
        }
        let up = self.view.identity.value().and_then(|identity| identity.up);
        if let Some(up) = up.filter(|_| self.is_fresh(Part::Identity)) {
            self.out.add(&UPTIME, &[], up.as_secs_f64());
        }
    }

    /// Interfaces by their names. Two of one name are told apart by their number.
    fn interfaces(&mut self, rated: impl Fn(&Interface) -> Option<u64>) {
        if !self.is_fresh(Part::Interfaces) {
            return;
        }
        let interfaces = self.view.interfaces.value().map(Vec::as_slice).unwrap_or_default();
        self.out.leave_out(interfaces.len().saturating_sub(MAX_SUBJECTS) * 8);
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for interface in interfaces {
            *names.entry(&interface.name).or_default() += 1;
        }
        for interface in interfaces.iter().take(MAX_SUBJECTS) {
            let alone = names.get(interface.name.as_str()) == Some(&1);
            let numbered = format!("{} #{}", interface.name, interface.index);
            let name = if alone { &interface.name } else { &numbered };
            self.out.add_flag(&LINK_UP, &[name], interface.link == Link::Up);
            if let Some(bits) = interface.speed {
                self.out.add(&LINK_SPEED, &[name], bits as f64 / 8.0);
            }
            if let Some(rated) = rated(interface) {
                self.out.add(&LINK_RATED, &[name], rated as f64);
            }
            let month = self.view.lines.get(&interface.name);
            if let Some(used) = month.and_then(bailey_rules::device::line::Month::percentile_95) {
                self.out.add(&LINK_P95, &[name], used as f64);
            }
            let counters = &interface.counters;
            for (metric, value) in
                [(&LINK_RECEIVED, counters.in_octets), (&LINK_SENT, counters.out_octets)]
            {
                if let Some(value) = value {
                    self.out.add(metric, &[name], value.value() as f64);
                }
            }
            for (metric, direction, value) in [
                (&LINK_ERRORS, "receive", counters.in_errors),
                (&LINK_ERRORS, "transmit", counters.out_errors),
                (&LINK_DISCARDS, "receive", counters.in_discards),
                (&LINK_DISCARDS, "transmit", counters.out_discards),
            ] {
                if let Some(value) = value {
                    self.out.add(metric, &[name, direction], value.value() as f64);
                }
            }
        }
    }

    /// How the far ends of lines answer.
    fn far_ends(&mut self) {
        let all = &self.view.quality;
        self.out.leave_out(all.len().saturating_sub(MAX_SUBJECTS) * 3);
        for (line, quality) in all.iter().take(MAX_SUBJECTS).filter(|(_, q)| q.failed.is_none()) {
            let name = interface_of(self.view, line).map_or(line, |interface| &interface.name);
            if let Some(lately) = quality.lately() {
                self.out.add(&LINK_LOST, &[name], f64::from(lately.lost.0) / 1000.0);
                if let Some(round_trip) = lately.round_trip {
                    self.out.add(&LINK_ROUND_TRIP, &[name], round_trip.as_secs_f64());
                }
            }
            if let Some(millionths) = quality.availability() {
                self.out.add(&LINK_AVAILABLE, &[name], f64::from(millionths) / 1e6);
            }
        }
    }

    fn power(&mut self) {
        if !self.is_fresh(Part::Power) {
            return;
        }
        let Some(Some(power)) = self.view.power.value() else { return };
        if let Some(on_battery) = bailey_rules::check::device::is_on_battery(power) {
            self.out.add_flag(&UPS_ON_BATTERY, &[], on_battery);
        }
        let Power { lasts, charge, load, .. } = power;
        if let Some(lasts) = lasts {
            self.out.add(&UPS_RUNTIME, &[], lasts.as_secs_f64());
        }
        if let Some(charge) = charge {
            self.out.add(&UPS_CHARGE, &[], *charge as f64 / 100.0);
        }
        for (line, percent) in load.iter().enumerate().take(MAX_SUBJECTS) {
            self.out.add(&UPS_LOAD, &[&(line + 1).to_string()], *percent as f64 / 100.0);
        }
    }

    fn poe(&mut self) {
        let Some(poe) = self.view.poe.value().filter(|_| self.is_fresh(Part::Poe)) else { return };
        self.out.leave_out(poe.supplies.len().saturating_sub(MAX_SUBJECTS) * 2);
        for supply in poe.supplies.iter().take(MAX_SUBJECTS) {
            let name = supply.group.to_string();
            for (metric, watts) in [(&POE_RATED, supply.watts), (&POE_USED, supply.used)] {
                if let Some(watts) = watts {
                    self.out.add(metric, &[&name], watts as f64);
                }
            }
        }
        if poe.ports.is_empty() {
            return;
        }
        for feeding in Feeding::ALL {
            let count = poe.ports.iter().filter(|port| port.feeding == feeding).count();
            self.out.add(&POE_PORTS, &[feeding.as_str()], count as f64);
        }
    }

    fn routes(&mut self) {
        let routes = self.view.routes.value().filter(|_| self.is_fresh(Part::Routes));
        if let Some(count) = routes.and_then(|routes| routes.count) {
            self.out.add(&ROUTES, &[], count as f64);
        }
    }

    fn health(&mut self) {
        let mut seen = BTreeMap::new();
        for sensor in sensors(self.view).into_iter().take(MAX_SUBJECTS) {
            let fresh = self.is_fresh(sensor.part);
            if let Some(celsius) = sensor.celsius.filter(|_| fresh) {
                // Of two sensors of one name the hotter one counts.
                let hottest = seen.entry(sensor.name).or_insert(celsius);
                *hottest = f64::max(*hottest, celsius);
            }
        }
        for (name, celsius) in seen {
            self.out.add(&TEMPERATURE, &[&name], celsius);
        }
        for (metric, values) in
            [(&PROCESSOR, processors(self.view)), (&MEMORY, memories(self.view))]
        {
            for (name, percent, part) in values.into_iter().take(MAX_SUBJECTS) {
                if self.is_fresh(part) {
                    self.out.add(metric, &[&name], percent / 100.0);
                }
            }
        }
        if !self.is_fresh(Part::Resources) {
            return;
        }
        let resources = Held::value(&self.view.resources);
        if let Some(count) = resources.and_then(|resources| resources.processes) {
            self.out.add(&PROCESSES, &[], count as f64);
        }
        let rooms = resources.into_iter().flat_map(|resources| &resources.storage);
        let mut named = BTreeMap::new();
        for room in rooms.filter(|room| room.kind == Kind::Disk) {
            named.entry(room.name.as_str()).or_insert((room.used, room.size));
        }
        self.out.leave_out(named.len().saturating_sub(MAX_SUBJECTS) * 2);
        for (name, (used, size)) in named.into_iter().take(MAX_SUBJECTS) {
            self.out.add(&STORAGE_USED, &[name], used.0 as f64);
            self.out.add(&STORAGE_SIZE, &[name], size.0 as f64);
        }
    }
}
