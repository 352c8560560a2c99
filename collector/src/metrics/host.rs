//! The metrics page of one host. Series of stale facts are left out, so that Prometheus marks them
//! stale too; times and states stay, for they are what staleness is judged by.

use std::collections::BTreeMap;

use bailey_rules::check::{State, Verdict};
use bailey_rules::compile::WOULD_DROP;
use bailey_rules::fact::backup::{Job, Repository};
use bailey_rules::fact::enforcement::{Enforcement, RuleCounter};
use bailey_rules::fact::firewall::{DefaultPolicy, Hook, Ruleset};
use bailey_rules::fact::host::{
    Agent, Clock, Cpu, Disk, FileSystem, Identity, Load, Memory, Pressure, Temperature,
};
use bailey_rules::fact::lines::{LatelyAsked, LineQuality};
use bailey_rules::fact::links::{Forwarding, Interface, Traffic};
use bailey_rules::fact::{Named, ProbeName};
use bailey_rules::finding::{Finding, Severity};
use bailey_rules::policy::Mode;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;

use super::{Declared, Families, MAX_SERIES, MAX_SUBJECTS, counter, gauge};
use crate::site::HostStatus;
use crate::web::shown::components_of;

const INFO: Declared = gauge(
    "bailey_host_info",
    "What the host says it is; always 1.",
    &["agent_version", "os", "kernel"],
);
const STATE: Declared =
    gauge("bailey_host_state", "1 for the state the host is in, 0 for the others.", &["state"]);
const LAST_REPORT: Declared = gauge(
    "bailey_host_last_report_timestamp_seconds",
    "When the host's last report came, seconds since 1970.",
    &[],
);
const CLOCK_OFFSET: Declared = gauge(
    "bailey_host_clock_offset_seconds",
    "How far the host's clock is ahead of the collector's.",
    &[],
);
const IDENTITY_CONFLICTS: Declared = gauge(
    "bailey_host_identity_conflicts",
    "1 when two machines were seen to use this host's identity.",
    &[],
);
const CONNECTED: Declared =
    gauge("bailey_host_connected", "Whether the host's session is open.", &[]);
pub(super) const CHECK_STATE: Declared = gauge(
    "bailey_check_state",
    "1 for the state of the check's worst subject, 0 for the others.",
    &["check", "state"],
);
const FINDINGS: Declared =
    gauge("bailey_host_findings", "Open findings of the host.", &["component", "severity"]);
const ISOLATION_VIOLATIONS: Declared = gauge(
    "bailey_host_isolation_violations",
    "Open findings of the host that break the isolation of the zones.",
    &[],
);
const SPOOL: Declared =
    gauge("bailey_spool_bytes", "Octets of reports that wait on the host to be sent.", &[]);
const CPU_BUSY: Declared = gauge(
    "bailey_cpu_busy_ratio",
    "Part of the processor time of the last interval that was neither idle nor waiting.",
    &[],
);
const MEMORY_AVAILABLE: Declared = gauge(
    "bailey_memory_available_bytes",
    "Memory that a new program could get without swapping.",
    &[],
);
const MEMORY_TOTAL: Declared = gauge("bailey_memory_total_bytes", "Main memory.", &[]);
const LOAD1: Declared = gauge("bailey_load1", "Load average over 1 minute.", &[]);
const LOAD5: Declared = gauge("bailey_load5", "Load average over 5 minutes.", &[]);
const LOAD15: Declared = gauge("bailey_load15", "Load average over 15 minutes.", &[]);
const PRESSURE: Declared = gauge(
    "bailey_pressure_some_ratio",
    "Part of the last minute in which some task waited for the resource.",
    &["resource"],
);
const FS_AVAILABLE: Declared = gauge(
    "bailey_filesystem_available_bytes",
    "Octets free for an unprivileged user.",
    &["mountpoint"],
);
const FS_SIZE: Declared =
    gauge("bailey_filesystem_size_bytes", "Size of the file system.", &["mountpoint"]);
const FS_INODES: Declared = gauge(
    "bailey_filesystem_inodes_available",
    "Inodes free for an unprivileged user.",
    &["mountpoint"],
);
const FS_READ_ONLY: Declared = gauge(
    "bailey_filesystem_read_only",
    "Whether the file system is mounted read-only.",
    &["mountpoint"],
);
const DISK_READ: Declared =
    counter("bailey_disk_read_bytes_total", "Octets read since boot.", &["device"]);
const DISK_WRITTEN: Declared =
    counter("bailey_disk_written_bytes_total", "Octets written since boot.", &["device"]);
pub(super) const TEMPERATURE: Declared =
    gauge("bailey_temperature_celsius", "Temperature of a sensor.", &["sensor"]);
pub(super) const LINK_UP: Declared =
    gauge("bailey_link_up", "Whether the interface can carry traffic.", &["interface"]);
pub(super) const LINK_SPEED: Declared = gauge(
    "bailey_link_speed_bytes",
    "Rated speed of the interface, octets a second.",
    &["interface"],
);
pub(super) const LINK_RECEIVED: Declared =
    counter("bailey_link_receive_bytes_total", "Octets received.", &["interface"]);
pub(super) const LINK_SENT: Declared =
    counter("bailey_link_transmit_bytes_total", "Octets sent.", &["interface"]);
pub(super) const LINK_ERRORS: Declared = counter(
    "bailey_link_errors_total",
    "Frames received in error or that could not be sent.",
    &["interface", "direction"],
);
const LINE_LOST: Declared = gauge(
    "bailey_link_lost_ratio",
    "Part of the packets lost to the far end of a line and back within 5 min, outages left out.",
    &["line"],
);
const LINE_ROUND_TRIP: Declared = gauge(
    "bailey_link_round_trip_seconds",
    "Median time of a packet to the far end of a line and back within 5 min.",
    &["line"],
);
const LINE_AVAILABLE: Declared = gauge(
    "bailey_link_available_ratio",
    "Part of the packets to the far end of a line since the agent started, of 30 days at most, \
     that fell into no outage.",
    &["line"],
);
const FORWARDING: Declared = gauge(
    "bailey_forwarding_enabled",
    "Whether the kernel forwards packets of the family.",
    &["family"],
);
const FIREWALL_ACTIVE: Declared =
    gauge("bailey_firewall_active", "Whether any packet filter in the kernel holds a rule.", &[]);
const FIREWALL_RULES: Declared =
    gauge("bailey_firewall_rules", "Rules in the packet filter.", &["filter"]);
const FIREWALL_DENY: Declared = gauge(
    "bailey_firewall_default_deny",
    "Whether a packet that no rule decides is dropped or refused at the hook.",
    &["hook"],
);
const DRIFT: Declared = gauge(
    "bailey_firewall_drift",
    "Whether somebody else has changed the table that the host enforces.",
    &[],
);
const POLICY_INFO: Declared = gauge(
    "bailey_policy_info",
    "The order whose table is in force, and whether it drops or only counts; always 1.",
    &["version", "mode"],
);
const CONFIRM_DEADLINE: Declared = gauge(
    "bailey_policy_confirm_deadline_timestamp_seconds",
    "When a ruleset that waits to be confirmed is reverted, seconds since 1970.",
    &[],
);
const WOULD_DROP_PACKETS: Declared = counter(
    "bailey_would_drop_packets_total",
    "Packets that passed and that the policy would drop, since the ruleset was loaded.",
    &[],
);
const EXCHANGE_BYTES: Declared = counter(
    "bailey_exchange_bytes_total",
    "Octets that crossed an exchange point as this host saw them, since the ruleset was loaded.",
    &["point", "direction"],
);
const BACKUP_SUCCESS: Declared = gauge(
    "bailey_backup_last_success_timestamp_seconds",
    "When the newest good copy was made, seconds since 1970.",
    &["job"],
);
const BACKUP_SIZE: Declared =
    gauge("bailey_backup_size_bytes", "Size of the newest copy.", &["job"]);
const BACKUP_SNAPSHOTS: Declared =
    gauge("bailey_backup_snapshots", "Snapshots in the repository.", &["job"]);
const AGENT_RESIDENT: Declared = gauge("bailey_agent_resident_bytes", "Memory of the agent.", &[]);
const AGENT_CPU: Declared = counter(
    "bailey_agent_cpu_seconds_total",
    "Processor time of the agent and of the programs it ran.",
    &[],
);
const NOT_AFTER: Declared = gauge(
    "bailey_certificate_not_after_timestamp_seconds",
    "When the host's certificate ends, seconds since 1970.",
    &[],
);
const NOT_BEFORE: Declared = gauge(
    "bailey_certificate_not_before_timestamp_seconds",
    "When the host's certificate began, seconds since 1970.",
    &[],
);

/// The page of `host`. `findings` are its open ones.
pub(crate) fn families<'a>(
    host: &HostStatus,
    findings: impl Iterator<Item = &'a Finding>,
    now: Timestamp,
) -> Families {
    let common = vec![("host", host.view.name.to_string()), ("zone", host.view.zone.to_string())];
    let mut page = Page { out: Families::new(common, MAX_SERIES), host, now };
    page.session();
    page.judged(findings);
    page.agent();
    page.load();
    page.storage();
    page.network();
    page.far_ends();
    page.firewall();
    page.enforcement();
    page.backup();
    page.out
}

struct Page<'a> {
    out: Families,
    host: &'a HostStatus,
    now: Timestamp,
}

impl<'a> Page<'a> {
    fn is_fresh(&self, probe: ProbeName) -> bool {
        self.host.view.facts.probe(probe).is_some_and(|held| !held.is_stale(self.now))
    }

    /// The fresh values of one kind, at most [`MAX_SUBJECTS`]; each stands for `series` series.
    fn fresh<T: Named + 'static>(&mut self, series: usize) -> Vec<(&'a str, &'a T)> {
        if !self.is_fresh(T::KIND.probe()) {
            return Vec::new();
        }
        let host = self.host;
        let mut values: Vec<_> = host.view.facts.values::<T>().collect();
        self.out.leave_out(values.len().saturating_sub(MAX_SUBJECTS) * series);
        values.truncate(MAX_SUBJECTS);
        values
    }

    fn one<T: Named + 'static>(&self) -> Option<&'a T> {
        if !self.is_fresh(T::KIND.probe()) {
            return None;
        }
        let host = self.host;
        host.view.facts.value::<T>("")
    }

    fn session(&mut self) {
        let session = &self.host.view.session;
        if let Some(at) = session.last_report_at {
            self.out.add(&LAST_REPORT, &[], at.as_seconds_f64());
        }
        let offset = session
            .clock_ahead_millis
            .map(|millis| millis as f64 / 1e3)
            .or_else(|| self.one::<Clock>().map(|clock| clock.offset_micros as f64 / 1e6));
        if let Some(seconds) = offset {
            self.out.add(&CLOCK_OFFSET, &[], seconds);
        }
        self.out.add_flag(&IDENTITY_CONFLICTS, &[], session.twin_seen_at.is_some());
        self.out.add_flag(&CONNECTED, &[], session.connected);
        self.out.add(&NOT_AFTER, &[], session.certificate_ends.as_seconds_f64());
        self.out.add(&NOT_BEFORE, &[], session.certificate_began.as_seconds_f64());
    }

    fn judged<'f>(&mut self, findings: impl Iterator<Item = &'f Finding>) {
        if let Some(known) = self.host.view.facts.value::<Identity>("") {
            self.out.add(&INFO, &[&known.agent_version, &known.os, &known.kernel], 1.0);
        }
        for state in State::ALL {
            self.out.add_flag(&STATE, &[state.as_str()], self.host.state == state);
        }
        for judged in &self.host.judged {
            let Some(worst) = judged.verdicts.iter().map(Verdict::state).max() else { continue };
            for state in State::ALL {
                let labels = [judged.check.name, state.as_str()];
                self.out.add_flag(&CHECK_STATE, &labels, worst == state);
            }
        }
        let mut counts = BTreeMap::new();
        let mut violations = 0_u32;
        for finding in findings {
            *counts.entry((finding.component.as_str(), finding.severity)).or_insert(0_u32) += 1;
            violations += u32::from(finding.component == "isolation");
        }
        for component in components_of(self.host) {
            for severity in [Severity::Warning, Severity::Critical] {
                let count = counts.get(&(component, severity)).copied().unwrap_or(0);
                self.out.add(&FINDINGS, &[component, severity.as_str()], f64::from(count));
            }
        }
        self.out.add(&ISOLATION_VIOLATIONS, &[], f64::from(violations));
    }

    fn agent(&mut self) {
        let Some(agent) = self.one::<Agent>() else { return };
        self.out.add(&SPOOL, &[], octets(agent.spool));
        self.out.add(&AGENT_RESIDENT, &[], octets(agent.resident));
        self.out.add(&AGENT_CPU, &[], agent.cpu_millis as f64 / 1e3);
    }

    fn load(&mut self) {
        if let Some(cpu) = self.one::<Cpu>() {
            self.out.add(&CPU_BUSY, &[], cpu.busy.ratio());
        }
        if let Some(memory) = self.one::<Memory>() {
            self.out.add(&MEMORY_AVAILABLE, &[], octets(memory.available));
            self.out.add(&MEMORY_TOTAL, &[], octets(memory.total));
        }
        if let Some(load) = self.one::<Load>() {
            self.out.add(&LOAD1, &[], f64::from(load.one) / 100.0);
            self.out.add(&LOAD5, &[], f64::from(load.five) / 100.0);
            self.out.add(&LOAD15, &[], f64::from(load.fifteen) / 100.0);
        }
        for (resource, pressure) in self.fresh::<Pressure>(1) {
            self.out.add(&PRESSURE, &[resource], pressure.some.ratio());
        }
        for (sensor, temperature) in self.fresh::<Temperature>(1) {
            let celsius = f64::from(temperature.millicelsius) / 1e3;
            self.out.add(&TEMPERATURE, &[sensor], celsius);
        }
    }

    fn storage(&mut self) {
        for (mount, fs) in self.fresh::<FileSystem>(4) {
            self.out.add(&FS_AVAILABLE, &[mount], octets(fs.available));
            self.out.add(&FS_SIZE, &[mount], octets(fs.total));
            if fs.inodes > 0 {
                self.out.add(&FS_INODES, &[mount], fs.inodes_available as f64);
            }
            self.out.add_flag(&FS_READ_ONLY, &[mount], fs.read_only);
        }
        for (device, disk) in self.fresh::<Disk>(2) {
            self.out.add(&DISK_READ, &[device], octets(disk.read));
            self.out.add(&DISK_WRITTEN, &[device], octets(disk.written));
        }
    }

    fn network(&mut self) {
        for (name, interface) in self.fresh::<Interface>(2) {
            self.out.add_flag(&LINK_UP, &[name], interface.admin_up && interface.carrier);
            if let Some(speed) = interface.speed_mbits {
                self.out.add(&LINK_SPEED, &[name], f64::from(speed) * 125_000.0);
            }
        }
        for (name, traffic) in self.fresh::<Traffic>(4) {
            self.out.add(&LINK_RECEIVED, &[name], octets(traffic.received));
            self.out.add(&LINK_SENT, &[name], octets(traffic.transmitted));
            self.out.add(&LINK_ERRORS, &[name, "receive"], traffic.receive_errors as f64);
            self.out.add(&LINK_ERRORS, &[name, "transmit"], traffic.transmit_errors as f64);
        }
        if let Some(forwarding) = self.one::<Forwarding>() {
            self.out.add_flag(&FORWARDING, &["ipv4"], forwarding.ipv4);
            self.out.add_flag(&FORWARDING, &["ipv6"], forwarding.ipv6);
        }
    }

    /// How the far ends of lines answer.
    fn far_ends(&mut self) {
        for (line, quality) in self.fresh::<LineQuality>(3) {
            if let Some(lately) = &quality.lately {
                self.out.add(&LINE_LOST, &[line], lately.lost.ratio());
            }
            if let Some(took) = quality.lately.as_ref().and_then(LatelyAsked::round_trip) {
                self.out.add(&LINE_ROUND_TRIP, &[line], took.as_secs_f64());
            }
            if let Some(millionths) = quality.available_millionths {
                self.out.add(&LINE_AVAILABLE, &[line], f64::from(millionths) / 1e6);
            }
        }
    }

    fn firewall(&mut self) {
        let rulesets = self.fresh::<Ruleset>(1);
        if !rulesets.is_empty() {
            let active = rulesets.iter().any(|(_, ruleset)| ruleset.rules > 0);
            self.out.add_flag(&FIREWALL_ACTIVE, &[], active);
        }
        for (filter, ruleset) in rulesets {
            self.out.add(&FIREWALL_RULES, &[filter], f64::from(ruleset.rules));
        }
        for (subject, hook) in self.fresh::<Hook>(1) {
            match hook.default {
                DefaultPolicy::Drop | DefaultPolicy::Reject => {
                    self.out.add(&FIREWALL_DENY, &[subject], 1.0);
                }
                DefaultPolicy::Accept | DefaultPolicy::NoChain => {
                    self.out.add(&FIREWALL_DENY, &[subject], 0.0);
                }
                DefaultPolicy::Unknown => {}
            }
        }
    }

    fn enforcement(&mut self) {
        let Some(state) = self.one::<Enforcement>() else { return };
        let drifts = state.drift.as_ref().is_some_and(|drift| drift.ended.is_none());
        self.out.add_flag(&DRIFT, &[], drifts);
        if let Some(order) = state.in_force {
            let mode = match (state.quarantine.is_some(), state.mode) {
                (true, _) => "quarantine",
                (false, Some(Mode::Enforce)) => "enforce",
                (false, Some(Mode::Observe)) => "observe",
                (false, None) => "unknown",
            };
            self.out.add(&POLICY_INFO, &[&order.version.to_string(), mode], 1.0);
        }
        if let Some(pending) = &state.pending {
            self.out.add(&CONFIRM_DEADLINE, &[], pending.until.as_seconds_f64());
        }
        for (name, counter) in self.fresh::<RuleCounter>(1) {
            if name == WOULD_DROP {
                self.out.add(&WOULD_DROP_PACKETS, &[], counter.packets as f64);
            } else if let Some((point, direction)) = exchange(name) {
                self.out.add(&EXCHANGE_BYTES, &[point, direction], octets(counter.octets));
            }
        }
    }

    /// A job and a repository of one name are one series: what the repository holds counts for
    /// more than what the job says of itself.
    fn backup(&mut self) {
        let fresh = self.is_fresh(ProbeName::Backup);
        let facts = &self.host.view.facts;
        let mut copies: BTreeMap<&str, Copies> = BTreeMap::new();
        for (subject, job) in facts.values::<Job>() {
            let copy = copies.entry(subject).or_default();
            copy.newest = job.last_success_at;
            copy.size = job.sizes.first().copied().or(job.size);
        }
        for (subject, repository) in facts.values::<Repository>() {
            let copy = copies.entry(subject).or_default();
            let newest = repository.newest.first();
            copy.newest = newest.map(|snapshot| snapshot.taken_at);
            copy.size = newest.and_then(|snapshot| snapshot.size).or(copy.size);
            copy.snapshots = Some(repository.snapshots);
        }
        self.out.leave_out(copies.len().saturating_sub(MAX_SUBJECTS) * 3);
        for (job, copy) in copies.into_iter().take(MAX_SUBJECTS) {
            if let Some(at) = copy.newest {
                self.out.add(&BACKUP_SUCCESS, &[job], at.as_seconds_f64());
            }
            if let Some(size) = copy.size.filter(|_| fresh) {
                self.out.add(&BACKUP_SIZE, &[job], octets(size));
            }
            if let Some(snapshots) = copy.snapshots.filter(|_| fresh) {
                self.out.add(&BACKUP_SNAPSHOTS, &[job], f64::from(snapshots));
            }
        }
    }
}

/// The exchange point that a counter counts for, and which way, as the compiler names it.
fn exchange(counter: &str) -> Option<(&str, &str)> {
    let name = counter.strip_prefix("exchange-")?;
    let (point, direction) = name.rsplit_once('-')?;
    matches!(direction, "to" | "back").then_some((point, direction))
}

#[derive(Default)]
struct Copies {
    newest: Option<Timestamp>,
    size: Option<Bytes>,
    snapshots: Option<u32>,
}

fn octets(value: Bytes) -> f64 {
    value.0 as f64
}
