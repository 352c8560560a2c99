//! The shapes of the API's answers.

use std::sync::Arc;

use bailey_rules::check::{Evidence, State, Status, Verdict};
use bailey_rules::fact::host::Identity;
use bailey_rules::fact::{FactValue, ProbeName, Reading};
use bailey_rules::finding::{Finding, Severity};
use bailey_rules::host::Session;
use bailey_rules::name::{HostKey, HostName, SiteName, ZoneName};
use bailey_rules::prove::site::told::Standing;
use bailey_rules::report::{Gap, Place};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use serde::Serialize;

use super::SCHEMA;
use crate::site::{ConfigProblem, Event, HostStatus};
use crate::web::shown::{Shown, count_states};

fn age_seconds(at: Timestamp, now: Timestamp) -> f64 {
    at.age(now).as_secs_f64()
}

/// How many hosts are in each state.
#[derive(Debug, Serialize)]
pub struct States {
    ok: usize,
    maintenance: usize,
    stale: usize,
    unknown: usize,
    warning: usize,
    critical: usize,
}

impl States {
    fn of([ok, maintenance, stale, unknown, warning, critical]: [usize; 6]) -> Self {
        Self { ok, maintenance, stale, unknown, warning, critical }
    }
}

/// How many findings are open.
#[derive(Debug, Default, Serialize)]
pub struct Severities {
    critical: usize,
    warning: usize,
}

impl Severities {
    fn of<'a>(findings: impl Iterator<Item = &'a Finding>) -> Self {
        let mut counts = Self::default();
        for finding in findings {
            match finding.severity {
                Severity::Critical => counts.critical += 1,
                Severity::Warning => counts.warning += 1,
            }
        }
        counts
    }
}

/// `GET /api/v1/status`.
#[derive(Debug, Serialize)]
pub struct StatusAnswer {
    schema: u32,
    site: SiteName,
    version: &'static str,
    now: Timestamp,
    started_at: Timestamp,
    revision: u64,
    agents_connected: usize,
    hosts: States,
    findings: Severities,
    invariants: Invariants,
    zones: Vec<ZoneRow>,
    config_problems: Vec<ProblemRow>,
}

/// How many of the invariants that can be proved stand how.
#[derive(Debug, Default, Serialize)]
struct Invariants {
    proved: usize,
    stale: usize,
    out_of_model: usize,
    broken: usize,
}

impl Invariants {
    fn of(shown: &Shown) -> Self {
        let mut counts = Self::default();
        for stands in shown.standings() {
            match stands.standing {
                Standing::Proved => counts.proved += 1,
                Standing::Stale => counts.stale += 1,
                Standing::OutOfModel => counts.out_of_model += 1,
                Standing::Broken => counts.broken += 1,
            }
        }
        counts
    }
}

#[derive(Debug, Serialize)]
struct ZoneRow {
    zone: ZoneName,
    name: Option<String>,
    hosts: States,
    findings: Severities,
}

#[derive(Debug, Serialize)]
struct ProblemRow {
    at: Timestamp,
    message: String,
}

impl StatusAnswer {
    /// The site in numbers.
    #[must_use]
    pub fn of(shown: &Shown, started_at: Timestamp, revision: u64) -> Self {
        let zones = shown.zones().into_iter().map(|zone| ZoneRow {
            name: shown.policy.zones.get(&zone).and_then(|zone| zone.name.clone()),
            hosts: States::of(count_states(
                shown.hosts.iter().filter(|host| host.view.zone == zone),
            )),
            findings: Severities::of(shown.findings.iter().filter(|f| f.zone == zone)),
            zone,
        });
        let problem = |problem: &ConfigProblem| ProblemRow {
            at: problem.at,
            message: problem.message.clone(),
        };
        Self {
            schema: SCHEMA,
            site: shown.policy.site.clone(),
            version: env!("CARGO_PKG_VERSION"),
            now: shown.now,
            started_at,
            revision,
            agents_connected: shown.hosts.iter().filter(|h| h.view.session.connected).count(),
            hosts: States::of(shown.counts(None)),
            findings: Severities::of(shown.findings.iter()),
            invariants: Invariants::of(shown),
            zones: zones.collect(),
            config_problems: shown.problems.iter().map(problem).collect(),
        }
    }
}

/// One host of `GET /api/v1/hosts`.
#[derive(Debug, Serialize)]
pub struct HostRow {
    host: HostName,
    key: HostKey,
    zone: ZoneName,
    state: State,
    why: Option<Text>,
    last_report_at: Option<Timestamp>,
    age_seconds: Option<f64>,
    connected: bool,
    agent_version: Option<String>,
    os: Option<String>,
    findings: Severities,
    checks: States,
}

/// The verdict that a host's state comes from; none for a host that is as the site demands.
fn worst(host: &HostStatus) -> Option<&Verdict> {
    host.judged
        .iter()
        .flat_map(|judged| &judged.verdicts)
        .filter(|verdict| verdict.state() != State::Ok)
        .max_by_key(|verdict| verdict.state())
}

fn checks(host: &HostStatus) -> States {
    let mut counts = [0; State::ALL.len()];
    let verdicts = host.judged.iter().flat_map(|judged| &judged.verdicts);
    for state in verdicts.map(Verdict::state) {
        for (count, known) in counts.iter_mut().zip(State::ALL) {
            *count += usize::from(known == state);
        }
    }
    States::of(counts)
}

impl HostRow {
    /// A host in one row.
    #[must_use]
    pub fn of(host: &Arc<HostStatus>, shown: &Shown) -> Self {
        let view = &host.view;
        let identity = view.facts.value::<Identity>("");
        Self {
            host: view.name.clone(),
            key: view.key,
            zone: view.zone.clone(),
            state: host.state,
            why: worst(host).map(|verdict| verdict.why.clone()),
            last_report_at: view.session.last_report_at,
            age_seconds: view.session.last_report_at.map(|at| age_seconds(at, shown.now)),
            connected: view.session.connected,
            agent_version: identity.map(|known| known.agent_version.clone()),
            os: identity.map(|known| known.os.clone()),
            findings: Severities::of(shown.findings.iter().filter(|f| f.host == view.key)),
            checks: checks(host),
        }
    }
}

/// `GET /api/v1/hosts/{name}`.
#[derive(Debug, Serialize)]
pub struct HostAnswer {
    schema: u32,
    host: HostName,
    key: HostKey,
    zone: ZoneName,
    state: State,
    why: Option<Text>,
    judged_at: Timestamp,
    session: SessionRow,
    probes: Vec<ProbeRow>,
    facts: Vec<FactRow>,
    checks: Vec<CheckRow>,
    findings: Vec<FindingRow>,
}

#[derive(Debug, Serialize)]
struct SessionRow {
    enrolled_at: Timestamp,
    last_report_at: Option<Timestamp>,
    age_seconds: Option<f64>,
    interval_seconds: f64,
    connected: bool,
    goodbye_at: Option<Timestamp>,
    clock_ahead_millis: Option<i64>,
    certificate_began: Timestamp,
    certificate_ends: Timestamp,
    acknowledged: Option<Place>,
    reports_accepted: u64,
    gaps: Vec<Gap>,
    lost_reports: u64,
    last_gap_at: Option<Timestamp>,
    twin_seen_at: Option<Timestamp>,
    approval_waiting_since: Option<Timestamp>,
}

impl SessionRow {
    fn of(session: &Session, now: Timestamp) -> Self {
        Self {
            enrolled_at: session.enrolled_at,
            last_report_at: session.last_report_at,
            age_seconds: session.last_report_at.map(|at| age_seconds(at, now)),
            interval_seconds: session.interval.as_secs_f64(),
            connected: session.connected,
            goodbye_at: session.goodbye_at,
            clock_ahead_millis: session.clock_ahead_millis,
            certificate_began: session.certificate_began,
            certificate_ends: session.certificate_ends,
            acknowledged: session.acknowledged,
            reports_accepted: session.reports_accepted,
            gaps: session.gaps.clone(),
            lost_reports: session.lost_reports,
            last_gap_at: session.last_gap_at,
            twin_seen_at: session.twin_seen_at,
            approval_waiting_since: session.approval_waiting_since,
        }
    }
}

#[derive(Debug, Serialize)]
struct ProbeRow {
    probe: ProbeName,
    read_at: Timestamp,
    interval_seconds: f64,
    age_seconds: f64,
    stale: bool,
    failed: Option<String>,
}

#[derive(Debug, Serialize)]
struct FactRow {
    fact: &'static str,
    subject: String,
    reading: Reading<FactValue>,
    since: Timestamp,
    read_at: Option<Timestamp>,
    age_seconds: Option<f64>,
    stale: bool,
}

#[derive(Debug, Serialize)]
struct CheckRow {
    check: &'static str,
    title: Text,
    component: &'static str,
    subject: String,
    state: State,
    status: Status,
    stale: bool,
    why: Text,
    evidence: Vec<Evidence>,
}

impl HostAnswer {
    /// Everything that is known of a host.
    #[must_use]
    pub fn of(host: &HostStatus, shown: &Shown) -> Self {
        let view = &host.view;
        let now = shown.now;
        let probes = view.facts.probes().map(|(probe, held)| ProbeRow {
            probe,
            read_at: held.read_at,
            interval_seconds: held.interval.as_secs_f64(),
            age_seconds: age_seconds(held.read_at, now),
            stale: held.is_stale(now),
            failed: held.failed.clone(),
        });
        let facts = view.facts.iter().map(|(key, held)| {
            let probe = view.facts.probe(key.kind.probe());
            FactRow {
                fact: key.kind.as_str(),
                subject: key.subject.to_string(),
                reading: (*held.reading).clone(),
                since: held.since,
                read_at: probe.map(|probe| probe.read_at),
                age_seconds: probe.map(|probe| age_seconds(probe.read_at, now)),
                stale: probe.is_none_or(|probe| probe.is_stale(now)),
            }
        });
        let checks = host.judged.iter().flat_map(|judged| {
            judged.verdicts.iter().map(|verdict| CheckRow {
                check: judged.check.name,
                title: (judged.check.title)(),
                component: judged.check.component,
                subject: verdict.subject.clone(),
                state: verdict.state(),
                status: verdict.status,
                stale: verdict.stale,
                why: verdict.why.clone(),
                evidence: verdict.evidence.clone(),
            })
        });
        let findings = shown.findings.iter().filter(|finding| finding.host == view.key);
        Self {
            schema: SCHEMA,
            host: view.name.clone(),
            key: view.key,
            zone: view.zone.clone(),
            state: host.state,
            why: worst(host).map(|verdict| verdict.why.clone()),
            judged_at: host.judged_at,
            session: SessionRow::of(&view.session, now),
            probes: probes.collect(),
            facts: facts.collect(),
            checks: checks.collect(),
            findings: findings.cloned().map(|finding| FindingRow::of(finding, now)).collect(),
        }
    }
}

/// One finding.
#[derive(Debug, Serialize)]
pub struct FindingRow {
    #[serde(flatten)]
    finding: Finding,
    title: Text,
    age_seconds: f64,
}

impl FindingRow {
    /// A finding with the title of its check and how long it has been open.
    #[must_use]
    pub fn of(finding: Finding, now: Timestamp) -> Self {
        use crate::web::page::alerts::check_title;
        use bailey_rules::text::Lang;
        let title =
            Text::new(check_title(&finding.check, Lang::En), check_title(&finding.check, Lang::Zh));
        Self { title, age_seconds: age_seconds(finding.first_at, now), finding }
    }
}

/// One event of the journal.
#[derive(Debug, Serialize)]
pub struct EventRow {
    id: i64,
    at: Timestamp,
    host: Option<HostName>,
    kind: &'static str,
    text: Text,
    actor: Option<String>,
}

impl EventRow {
    /// An event as it goes out.
    #[must_use]
    pub fn of(event: Event) -> Self {
        Self {
            id: event.id,
            at: event.at,
            host: event.host,
            kind: event.kind.as_str(),
            text: event.text,
            actor: event.actor.map(|actor| actor.to_string()),
        }
    }
}
