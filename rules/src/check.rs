//! Checks: pure functions from facts and expectations to verdicts. One check is one file; this
//! file says what a check is and lists them all.

mod approval_waiting;
mod backup_age;
mod backup_present;
mod backup_result;
mod backup_size;
pub mod behind;
mod certificate_ending;
mod clock_ahead;
mod clock_synchronised;
mod cpu_busy;
pub mod device;
mod enforced;
mod enforcer_problem;
mod failed_units;
mod filesystem_inodes;
mod filesystem_read_only;
mod filesystem_space;
mod firewall_active;
mod firewall_default_deny;
mod firewall_managers;
mod firewall_readable;
mod foreign_address;
mod foreign_neighbour;
mod foreign_route;
mod forwarding;
mod host_line_loss;
mod host_line_round_trip;
mod host_line_silent;
mod host_quarantined;
mod host_silent;
mod invariant;
mod line;
pub mod link_ends;
mod load_per_core;
mod memory_available;
mod newest_copy;
mod place;
mod pressure;
mod probe_failed;
mod proof;
mod reboot_needed;
mod report_gaps;
mod ruleset_bypassed;
mod ruleset_current;
mod ruleset_drift;
mod ruleset_reverted;
mod sentence;
mod swap_used;
mod temperature;
mod twin_identity;
mod unexpected_interface;
pub mod wire;
mod would_drop;
mod zone_declared;

use serde::{Deserialize, Serialize};

use crate::expectation::Expectations;
use crate::fact::{FactKey, FactKind, Named, ProbeName, Reading};
use crate::host::{FactSet, HostView};
use crate::policy::Policy;
use crate::prove::site::told::About;
use crate::text::Text;
use crate::time::Timestamp;

/// What a check says of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As the site demands.
    Ok,
    /// Cannot be told.
    Unknown,
    /// Somebody should look at it in working hours.
    Warning,
    /// Somebody must act.
    Critical,
}

/// The six states of the screens. Worst last, so that the worst of many is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As the site demands, and fresh.
    Ok,
    /// Somebody works on it; not judged.
    Maintenance,
    /// It was so once; nothing fresh confirms it.
    Stale,
    /// Cannot be told.
    Unknown,
    /// Look at it.
    Warning,
    /// Act.
    Critical,
}

impl State {
    /// Every state, worst last.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Maintenance, Self::Stale, Self::Unknown, Self::Warning, Self::Critical];

    /// The word in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Maintenance => "maintenance",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The shape that stands for it on every screen, so that colour is never alone.
    #[must_use]
    pub const fn shape(self) -> char {
        match self {
            Self::Ok => '●',
            Self::Maintenance => '≡',
            Self::Stale => '◌',
            Self::Unknown => '?',
            Self::Warning => '▲',
            Self::Critical => '■',
        }
    }

    /// The word on screen.
    #[must_use]
    pub fn word(self) -> Text {
        match self {
            Self::Ok => Text::new("OK", "正常"),
            Self::Maintenance => Text::new("maintenance", "维护"),
            Self::Stale => Text::new("stale", "数据过期"),
            Self::Unknown => Text::new("unknown", "未知"),
            Self::Warning => Text::new("warning", "警告"),
            Self::Critical => Text::new("critical", "严重"),
        }
    }
}

/// One fact that a verdict rests on, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which fact.
    pub fact: String,
    /// Its value, as far as it matters here.
    pub value: String,
    /// When it was read, by the collector's clock.
    pub read_at: Option<Timestamp>,
}

/// What a check says of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What it is about within the host: a mount point, an interface, a job. Empty: the host.
    pub subject: String,
    /// The status the facts give, fresh or not.
    pub status: Status,
    /// Whether a fact it rests on is older than twice its interval.
    pub stale: bool,
    /// Why, in one sentence.
    pub why: Text,
    /// The facts it rests on.
    pub evidence: Vec<Evidence>,
}

impl Verdict {
    /// A verdict about `subject` that rests on nothing yet. [`Given::rests_on`] adds facts.
    pub fn new(subject: impl Into<String>, status: Status, why: Text) -> Self {
        Self { subject: subject.into(), status, stale: false, why, evidence: Vec::new() }
    }

    /// What the screens show: stale is never ok, and never hides that something was wrong.
    #[must_use]
    pub fn state(&self) -> State {
        match (self.status, self.stale) {
            (Status::Ok, false) => State::Ok,
            (Status::Ok | Status::Unknown, true) => State::Stale,
            (Status::Unknown, false) => State::Unknown,
            (Status::Warning, _) => State::Warning,
            (Status::Critical, _) => State::Critical,
        }
    }
}

/// What it means when a subject that had a finding is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// The cause is gone: a fresh reading without the subject resolves the finding.
    Resolves,
    /// Absence proves nothing (a backup job that stopped reporting): the finding stays.
    ProvesNothing,
}

/// Everything a check is given.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The host.
    pub host: &'a HostView,
    /// What the site's rule files demand of it.
    pub wanted: &'a Expectations,
    /// The site's zones and hosts.
    pub policy: &'a Policy,
    /// What proofs of the site say that concerns the host.
    pub proofs: &'a [About],
    /// The time of judging. Ages are measured here, never at report time, so silence grows old too.
    pub now: Timestamp,
}

impl<'a> Given<'a> {
    /// Makes `verdict` rest on the fact `key`: adds the evidence, and staleness when the probe that
    /// reads it has been silent for more than twice its interval or never ran.
    #[must_use]
    pub fn rests_on(&self, mut verdict: Verdict, key: &FactKey, value: String) -> Verdict {
        let probe = self.host.facts.probe(key.kind.probe());
        verdict.stale |= probe.is_none_or(|probe| probe.is_stale(self.now));
        verdict.evidence.push(Evidence {
            fact: key.to_string(),
            value,
            read_at: probe.map(|probe| probe.read_at),
        });
        verdict
    }

    /// Makes `verdict` rest on something that the collector itself knows, such as
    /// `session.last_report`. What the collector knows does not grow stale.
    #[must_use]
    pub fn rests_on_session(
        &self,
        mut verdict: Verdict,
        name: &str,
        value: String,
        known_at: Option<Timestamp>,
    ) -> Verdict {
        verdict.evidence.push(Evidence { fact: name.to_owned(), value, read_at: known_at });
        verdict
    }

    /// Whether every probe of the list is fresh.
    #[must_use]
    pub fn fresh(&self, probes: &[ProbeName]) -> bool {
        probes.iter().all(|&name| {
            self.host.facts.probe(name).is_some_and(|p| !p.is_stale(self.now) && p.failed.is_none())
        })
    }

    /// The value of the fact about `subject`, or the verdict that it is unknown, and why.
    fn ask<T: Named + 'static>(&self, subject: &str) -> Result<&'a T, Verdict> {
        self.facts().value(subject).ok_or_else(|| self.untold(T::KIND, subject))
    }

    /// Every fact of a kind with its subject: its value, or the verdict that it is unknown.
    ///
    /// # Errors
    /// The verdict that nothing is known of this kind at all, because its probe never ran or failed
    /// before it had read any.
    fn each<T: Named + 'static>(&self) -> Result<Vec<Told<'a, T>>, Verdict> {
        let all: Vec<Told<'a, T>> = self
            .facts()
            .of_kind(T::KIND)
            .map(|(subject, held)| {
                let value = held.reading.known().and_then(T::of);
                (subject, value.ok_or_else(|| self.untold(T::KIND, subject)))
            })
            .collect();
        let probe = self.facts().probe(T::KIND.probe());
        if all.is_empty() && probe.is_none_or(|probe| probe.failed.is_some()) {
            return Err(self.untold(T::KIND, ""));
        }
        Ok(all)
    }

    fn facts(&self) -> &'a FactSet {
        &self.host.facts
    }

    /// The verdict that a fact is not known, and why.
    fn untold(&self, kind: FactKind, subject: &str) -> Verdict {
        let key = FactKey::new(kind, subject);
        let held = self.facts().get(kind, subject).map(|held| &*held.reading);
        let (why, value) = match (held, self.facts().probe(kind.probe())) {
            (Some(Reading::Unreadable { why }), _) => (
                Text::new(format!("{key} cannot be read: {why}"), format!("无法读取 {key}：{why}")),
                why.clone(),
            ),
            (Some(Reading::Known(_)) | None, None) => (
                Text::new(
                    format!("the probe {} has not reported yet", kind.probe()),
                    format!("探针 {} 尚未上报数据", kind.probe()),
                ),
                "never read".to_owned(),
            ),
            (Some(Reading::Known(_)) | None, Some(probe)) => match &probe.failed {
                Some(failed) => (
                    Text::new(
                        format!("the probe {} failed: {failed}", kind.probe()),
                        format!("探针 {} 运行失败：{failed}", kind.probe()),
                    ),
                    failed.clone(),
                ),
                None => (
                    Text::new(
                        format!("the host does not report {key}"),
                        format!("主机未上报 {key}"),
                    ),
                    "not reported".to_owned(),
                ),
            },
        };
        let verdict = Verdict::new(subject, Status::Unknown, why);
        if self.facts().probe(kind.probe()).is_none() {
            // Never read is not the same as read long ago.
            return self.rests_on_session(verdict, &key.to_string(), value, None);
        }
        self.rests_on(verdict, &key, value)
    }
}

/// One fact of a kind as a check meets it: its subject, and its value or why there is none.
type Told<'a, T> = (&'a str, Result<&'a T, Verdict>);

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name in metrics, pages and finding identities: `filesystem_space`.
    pub name: &'static str,
    /// Its name on screen.
    pub title: fn() -> Text,
    /// What part of the site it is about, the alert label `component`:
    /// `host`, `firewall`, `backup`, `isolation`, `agent`, `network`; of devices `network`, `power` and
    /// `host` too.
    pub component: &'static str,
    /// The alert's name when it is critical and when it is a warning, such as `BaileyBackupMissing`.
    pub alert: Alerts,
    /// The probes whose facts it judges; a finding resolves only while all of them are fresh.
    pub probes: &'static [ProbeName],
    /// What a subject's absence means. Nothing, while any verdict of the check is unknown.
    pub absence: Absence,
    /// Judges. Gives a verdict for every subject it finds, good ones too.
    pub judge: fn(&Given<'_>) -> Vec<Verdict>,
}

/// Names of alerts by severity (`ux.md` section 6 lists them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alerts {
    /// When critical.
    pub critical: &'static str,
    /// When a warning.
    pub warning: &'static str,
}

impl Alerts {
    /// One name for both.
    const fn both(name: &'static str) -> Self {
        Self { critical: name, warning: name }
    }
}

/// One check's result on one host.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The check.
    pub check: &'static Check,
    /// Whether all its probes are fresh: only then may a finding resolve.
    pub fresh: bool,
    /// What it says, one verdict a subject.
    pub verdicts: Vec<Verdict>,
}

/// The most verdicts that one check gives of one host. A host that names thousands of neighbours
/// would otherwise flood the journal and the alerts.
pub const MAX_VERDICTS: usize = 200;

/// The subject of the verdict that stands for those beyond [`MAX_VERDICTS`].
const THE_REST: &str = "(more)";

/// The worst [`MAX_VERDICTS`] of the verdicts, and one more that stands for the rest. When that hides
/// anything that is not well it is unknown, so that nothing hidden resolves.
fn bounded(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    if verdicts.len() <= MAX_VERDICTS {
        return verdicts;
    }
    // Stable: of equally bad ones the same are kept each time.
    verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.status));
    let rest = verdicts.split_off(MAX_VERDICTS);
    let count = rest.len();
    let all_well = rest.iter().all(|verdict| verdict.status == Status::Ok);
    let (status, why) = if all_well {
        let why = Text::new(
            format!("{count} more are well and not listed"),
            format!("另有 {count} 项正常，未逐一列出"),
        );
        (Status::Ok, why)
    } else {
        let why = Text::new(
            format!("{count} more are not listed, not all of them well"),
            format!("另有 {count} 项未列出，其中存在异常"),
        );
        (Status::Unknown, why)
    };
    let stale = rest.iter().any(|verdict| verdict.stale);
    let evidence = Evidence {
        fact: "check.verdicts".to_owned(),
        value: format!("{} in all", count + MAX_VERDICTS),
        read_at: None,
    };
    verdicts.push(Verdict {
        subject: THE_REST.to_owned(),
        status,
        stale,
        why,
        evidence: vec![evidence],
    });
    verdicts
}

/// Runs every check on one host.
#[must_use]
pub fn judge(given: &Given<'_>) -> Vec<Judged> {
    CHECKS
        .iter()
        .map(|check| Judged {
            check,
            fresh: given.fresh(check.probes),
            verdicts: bounded((check.judge)(given)),
        })
        .collect()
}

/// The worst of what the checks say of a host: its state on the screens. A host of which nothing is
/// known is unknown.
#[must_use]
pub fn worst(judged: &[Judged]) -> State {
    judged
        .iter()
        .flat_map(|result| &result.verdicts)
        .map(Verdict::state)
        .max()
        .unwrap_or(State::Unknown)
}

/// Every check there is: of hosts, of devices, and of the wires.
pub fn every() -> impl Iterator<Item = &'static Check> {
    let of_devices = device::CHECKS.iter().map(|of_device| &of_device.check);
    CHECKS.iter().chain(of_devices).chain(wire::CHECKS).chain([&link_ends::CHECK])
}

/// Every check of hosts, in the order of the screens.
pub const CHECKS: &[Check] = &[
    // host
    cpu_busy::CHECK,
    memory_available::CHECK,
    swap_used::CHECK,
    load_per_core::CHECK,
    pressure::CHECK,
    filesystem_space::CHECK,
    filesystem_inodes::CHECK,
    filesystem_read_only::CHECK,
    temperature::CHECK,
    clock_synchronised::CHECK,
    failed_units::CHECK,
    reboot_needed::CHECK,
    // agent
    host_silent::CHECK,
    probe_failed::CHECK,
    clock_ahead::CHECK,
    certificate_ending::CHECK,
    report_gaps::CHECK,
    twin_identity::CHECK,
    approval_waiting::CHECK,
    // firewall
    firewall_active::CHECK,
    firewall_default_deny::CHECK,
    firewall_readable::CHECK,
    firewall_managers::CHECK,
    ruleset_drift::CHECK,
    ruleset_bypassed::CHECK,
    ruleset_reverted::CHECK,
    ruleset_current::CHECK,
    enforcer_problem::CHECK,
    host_quarantined::CHECK,
    would_drop::CHECK,
    // backup
    backup_present::CHECK,
    backup_age::CHECK,
    backup_result::CHECK,
    backup_size::CHECK,
    // isolation
    invariant::CHECK,
    proof::CHECK,
    zone_declared::CHECK,
    foreign_address::CHECK,
    forwarding::CHECK,
    foreign_route::CHECK,
    foreign_neighbour::CHECK,
    unexpected_interface::CHECK,
    // network
    host_line_silent::CHECK,
    host_line_loss::CHECK,
    host_line_round_trip::CHECK,
];
