//! The metrics page of the site and of the collector itself.

use std::collections::BTreeMap;

use bailey_rules::check::{State, every};
use bailey_rules::finding::Severity;
use bailey_rules::prove::site::told::Standing;

use super::{Declared, Families, MAX_SUBJECTS, counter, gauge, histogram, host};
use crate::counters::{Counters, ReportResult};
use crate::web::shown::{ALL_COMPONENTS, Shown};

/// The most series of the site's page; zones and invariants are the only labels of it that can grow.
pub const MAX_SERIES: usize = 10_000;

const BUILD_INFO: Declared =
    gauge("bailey_build_info", "The collector's version; always 1.", &["version"]);
const CONNECTED: Declared = gauge("bailey_agents_connected", "Agents whose session is open.", &[]);
const REPORTS: Declared =
    counter("bailey_reports_total", "Reports by what became of them.", &["result"]);
const REPORT_DURATION: Declared = histogram(
    "bailey_report_duration_seconds",
    "From the arrival of a report to its being on disk.",
);
const GAPS: Declared =
    counter("bailey_report_gaps_total", "Recorded gaps in the order of reports.", &["reason"]);
const LOST: Declared =
    counter("bailey_lost_reports_total", "Reports lost in recorded gaps.", &["reason"]);
const AUTH_FAILURES: Declared =
    counter("bailey_auth_failures_total", "Peers and people turned away.", &["reason"]);
const STORE_BYTES: Declared = gauge("bailey_store_bytes", "Size of the store on disk.", &[]);
const STORE_FREE: Declared =
    gauge("bailey_store_free_bytes", "Free octets of the file system that the store is on.", &[]);
const NOTIFICATIONS: Declared =
    counter("bailey_notifications_total", "Alerts taken by an Alertmanager.", &[]);
const NOTIFICATIONS_FAILED: Declared = counter(
    "bailey_notifications_failed_total",
    "Attempts to reach an Alertmanager that failed.",
    &[],
);
const PUSHES: Declared =
    counter("bailey_policy_push_total", "Pushes of orders by how they ended.", &["result"]);
const PUSH_DEADLINE: Declared = gauge(
    "bailey_policy_push_deadline_timestamp_seconds",
    "When the first host that waits for a person to confirm returns to its ruleset before.",
    &[],
);
const TRAPS: Declared = counter(
    "bailey_traps_total",
    "Datagrams for the receiver of traps, by what became of them.",
    &["result"],
);
const SYSLOG: Declared = counter(
    "bailey_syslog_messages_total",
    "Messages of syslog, by what became of them.",
    &["result"],
);
const SYSLOG_CONNECTIONS: Declared =
    gauge("bailey_syslog_connections", "Open connections of senders of syslog.", &[]);
const SYSLOG_REFUSED: Declared = counter(
    "bailey_syslog_connections_refused_total",
    "Connections of senders of syslog that were refused or given up.",
    &[],
);
const HOSTS: Declared = gauge("bailey_hosts", "Hosts by zone and state.", &["zone", "state"]);
const FINDINGS: Declared =
    gauge("bailey_findings", "Open findings.", &["zone", "component", "severity"]);
const VIOLATIONS: Declared = counter(
    "bailey_isolation_violations_total",
    "Findings against the isolation of the zones since the collector started, by check.",
    &["kind"],
);
const INVARIANTS: Declared = gauge(
    "bailey_invariant_state",
    "What is known of an invariant of the policy: 1 in one of its states.",
    &["invariant", "state"],
);
const PROVED_AT: Declared = gauge(
    "bailey_proof_timestamp_seconds",
    "When an invariant was last proved, or shown to be broken or out of model.",
    &["invariant"],
);
const PROOF_DURATION: Declared = histogram(
    "bailey_proof_duration_seconds",
    "From a look at the whole site until every invariant was proved.",
);
const DEVICES: Declared =
    gauge("bailey_devices", "Polled devices by zone and state.", &["zone", "state"]);
const POLLS: Declared =
    counter("bailey_snmp_polls_total", "Polls of devices by what came of them.", &["result"]);
const CONFIG_PROBLEMS: Declared = gauge(
    "bailey_config_problems",
    "Files that were refused, and other things of the collector that a person must look at.",
    &[],
);
const LEFT_OUT: Declared =
    gauge("bailey_series_left_out", "Series that the bounds of the metrics pages keep out.", &[]);

/// The page. `refusals` are those of the web side by reason.
pub(crate) fn families(
    shown: &Shown,
    counters: &Counters,
    refusals: &[(&'static str, u64)],
) -> Families {
    let mut out = Families::new(Vec::new(), MAX_SERIES);
    out.add(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    out.add(&CONNECTED, &[], counters.agents_connected.get() as f64);
    reports(&mut out, counters);
    let refused = counters.auth_failures.each().map(|(reason, count)| (reason.as_str(), count));
    for (reason, count) in refused.chain(refusals.iter().copied()) {
        out.add(&AUTH_FAILURES, &[reason], count as f64);
    }
    for (result, count) in counters.polls.each() {
        out.add(&POLLS, &[result.as_str()], count as f64);
    }
    out.add(&STORE_BYTES, &[], counters.store_bytes.get() as f64);
    out.add(&STORE_FREE, &[], counters.store_free_bytes.get() as f64);
    out.add(&NOTIFICATIONS, &[], counters.notifications.get() as f64);
    out.add(&NOTIFICATIONS_FAILED, &[], counters.notifications_failed.get() as f64);
    for (result, count) in counters.pushes.each() {
        out.add(&PUSHES, &[result.as_str()], count as f64);
    }
    if let Some(deadline) = shown.pushes.deadline() {
        out.add(&PUSH_DEADLINE, &[], deadline.as_seconds_f64());
    }
    for (result, count) in counters.traps.each() {
        out.add(&TRAPS, &[result.as_str()], count as f64);
    }
    for (result, count) in counters.syslog.each() {
        out.add(&SYSLOG, &[result.as_str()], count as f64);
    }
    out.add(&SYSLOG_CONNECTIONS, &[], counters.syslog_connections.get() as f64);
    out.add(&SYSLOG_REFUSED, &[], counters.syslog_refused.get() as f64);
    zones(&mut out, shown);
    for check in every().filter(|check| check.component == "isolation") {
        let count = counters.isolation_violations.of(check.name);
        out.add(&VIOLATIONS, &[check.name], count as f64);
    }
    proofs(&mut out, shown, counters);
    out.add(&CONFIG_PROBLEMS, &[], shown.problems.len() as f64);
    let left_out = out.left_out() + left_out_of_hosts(shown);
    out.add(&LEFT_OUT, &[], left_out as f64);
    out
}

fn reports(out: &mut Families, counters: &Counters) {
    let (mut accepted, mut duplicate, mut refused) = (0, 0, 0);
    for (result, count) in counters.reports.each() {
        match result {
            ReportResult::Accepted => accepted += count,
            ReportResult::Duplicate => duplicate += count,
            ReportResult::Malformed | ReportResult::NotStored => refused += count,
        }
    }
    for (result, count) in [("accepted", accepted), ("duplicate", duplicate), ("refused", refused)]
    {
        out.add(&REPORTS, &[result], count as f64);
    }
    let duration = &counters.report_duration;
    let (count, sum) = (duration.count(), duration.sum_seconds());
    out.add_histogram(&REPORT_DURATION, &duration.cumulative(), count, sum);
    for (reason, count) in counters.gaps.each() {
        out.add(&GAPS, &[reason.as_str()], count as f64);
    }
    for (reason, count) in counters.lost_reports.each() {
        out.add(&LOST, &[reason.as_str()], count as f64);
    }
}

fn proofs(out: &mut Families, shown: &Shown, counters: &Counters) {
    for stands in shown.standings() {
        for state in Standing::ALL {
            out.add_flag(&INVARIANTS, &[stands.name, state.as_str()], stands.standing == state);
        }
        let proved_at = stands.held.and_then(|held| held.proof.basis.as_ref());
        if let Some(basis) = proved_at {
            out.add(&PROVED_AT, &[stands.name], basis.proved_at.as_seconds_f64());
        }
    }
    let duration = &counters.proof_duration;
    let (count, sum) = (duration.count(), duration.sum_seconds());
    out.add_histogram(&PROOF_DURATION, &duration.cumulative(), count, sum);
}

fn zones(out: &mut Families, shown: &Shown) {
    let mut findings = BTreeMap::new();
    for finding in &shown.findings {
        let of = (finding.zone.as_str(), finding.component.as_str(), finding.severity);
        *findings.entry(of).or_insert(0_u32) += 1;
    }
    for zone in shown.zones() {
        for (state, count) in State::ALL.into_iter().zip(shown.counts(Some(zone.as_str()))) {
            out.add(&HOSTS, &[zone.as_str(), state.as_str()], count as f64);
        }
        for (state, count) in State::ALL.into_iter().zip(shown.device_counts(Some(zone.as_str()))) {
            out.add(&DEVICES, &[zone.as_str(), state.as_str()], count as f64);
        }
        for component in ALL_COMPONENTS {
            for severity in [Severity::Warning, Severity::Critical] {
                let count = findings.get(&(zone.as_str(), component, severity)).copied();
                let labels = [zone.as_str(), component, severity.as_str()];
                out.add(&FINDINGS, &labels, f64::from(count.unwrap_or(0)));
            }
        }
    }
}

/// Only a host with more facts than one metric may have subjects can reach a bound of its page.
fn left_out_of_hosts(shown: &Shown) -> u64 {
    shown
        .hosts
        .iter()
        .filter(|host| host.view.facts.len() > MAX_SUBJECTS)
        .map(|host| host::families(host, std::iter::empty(), shown.now).left_out())
        .sum()
}
