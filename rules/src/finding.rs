//! Findings: broken expectations with an identity, a first and a last time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::check::{Absence, Check, Evidence, Judged, Status, Verdict};
use crate::device::DeviceView;
use crate::host::HostView;
use crate::name::{FindingId, HostKey, HostName, ZoneName};
use crate::text::Text;
use crate::time::Timestamp;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look at it in working hours.
    Warning,
    /// Somebody must act.
    Critical,
}

impl Severity {
    /// The word in labels, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of a status that is a finding.
    #[must_use]
    pub const fn of(status: Status) -> Option<Self> {
        match status {
            Status::Ok | Status::Unknown => None,
            Status::Warning => Some(Self::Warning),
            Status::Critical => Some(Self::Critical),
        }
    }
}

/// What sort of asset a finding is of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AssetKind {
    /// It runs an agent.
    #[default]
    Host,
    /// It is polled.
    Device,
}

/// Whom a judgement is of.
#[derive(Debug, Clone, Copy)]
pub struct Asset<'a> {
    /// What sort it is.
    pub kind: AssetKind,
    /// Its identity.
    pub key: &'a HostKey,
    /// Its name.
    pub name: &'a HostName,
    /// Its zone.
    pub zone: &'a ZoneName,
}

impl<'a> From<&'a HostView> for Asset<'a> {
    fn from(host: &'a HostView) -> Self {
        Self { kind: AssetKind::Host, key: &host.key, name: &host.name, zone: &host.zone }
    }
}

impl<'a> From<&'a DeviceView> for Asset<'a> {
    fn from(device: &'a DeviceView) -> Self {
        Self { kind: AssetKind::Device, key: &device.key, name: &device.name, zone: &device.zone }
    }
}

/// A broken expectation. The same cause is the same finding, however often it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its identity.
    pub id: FindingId,
    /// The identity of the host or device.
    pub host: HostKey,
    /// Which of the two it is.
    #[serde(default)]
    pub asset: AssetKind,
    /// Its name when it was last judged.
    pub host_name: HostName,
    /// Its zone when it was last judged.
    pub zone: ZoneName,
    /// The check.
    pub check: String,
    /// The part of the site: `host`, `agent`, `firewall`, `backup`, `isolation`, `network`, `power`.
    pub component: String,
    /// The alert's name, such as `BaileyBackupMissing`.
    pub alert: String,
    /// How bad it is now.
    pub severity: Severity,
    /// What it is about within the host; empty: the host.
    pub subject: String,
    /// Why, in one sentence.
    pub why: Text,
    /// The facts it rests on.
    pub evidence: Vec<Evidence>,
    /// When it was first judged so.
    pub first_at: Timestamp,
    /// When a judgement last confirmed it on fresh facts.
    pub last_at: Timestamp,
    /// Open only because nothing fresh says otherwise.
    pub held: bool,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
}

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Change {
    /// It is new.
    Opened(Finding),
    /// It has another severity, or begins or ceases to be held.
    Changed(Finding),
    /// Its cause is gone.
    Resolved(Finding),
    /// It is as it was, seen again: only times, evidence and the wording moved.
    Touched(Finding),
}

impl Change {
    /// The finding as it is now.
    #[must_use]
    pub const fn finding(&self) -> &Finding {
        match self {
            Self::Opened(finding)
            | Self::Changed(finding)
            | Self::Resolved(finding)
            | Self::Touched(finding) => finding,
        }
    }
}

/// The identity of what `check` finds about `subject` on an asset: the first octets of a SHA-256, so
/// that it is the same after a restart and on every collector. Severity is no part of it.
#[must_use]
pub fn identity(asset: &HostKey, check: &str, subject: &str) -> FindingId {
    let mut hash = Sha256::new();
    hash.update(asset.as_bytes());
    hash.update(check.as_bytes());
    hash.update([0]);
    hash.update(subject.as_bytes());
    let full = hash.finalize();
    let mut short = [0; 8];
    short.copy_from_slice(&full[..8]);
    FindingId::from_bytes(short)
}

/// What one judgement of an asset does to the findings.
///
/// `open` holds the open findings, of this asset and possibly of others (which are left alone);
/// `judged` is the result of [`crate::check::judge`] or [`crate::check::device::judge`], every check
/// once.
///
/// A finding resolves only when fresh facts show that its cause is gone. Data that stopped, that
/// cannot be read, or whose probe failed leaves it open and [`Finding::held`].
#[must_use]
pub fn advance<'a>(
    open: &BTreeMap<FindingId, Finding>,
    asset: impl Into<Asset<'a>>,
    judged: &[Judged],
    now: Timestamp,
) -> Vec<Change> {
    let asset = asset.into();
    let mut changes = Vec::new();
    let mut seen = BTreeSet::new();
    for result in judged {
        for verdict in &result.verdicts {
            let id = identity(asset.key, result.check.name, &verdict.subject);
            if !seen.insert(id) {
                continue;
            }
            let change = match open.get(&id) {
                None => opened(id, asset, result, verdict, now).map(Change::Opened),
                Some(old) => moved(old, asset, result, verdict, now),
            };
            changes.extend(change);
        }
    }
    for (id, old) in open.iter().filter(|(id, old)| old.host == *asset.key && !seen.contains(id)) {
        debug_assert_eq!(*id, old.id);
        let result = judged.iter().find(|result| result.check.name == old.check);
        changes.extend(if result.is_none_or(shows_absence) {
            Some(Change::Resolved(Finding { resolved_at: Some(now), held: false, ..old.clone() }))
        } else {
            held(old)
        });
    }
    changes
}

/// Whether a subject that the check no longer names is gone for certain: not while anything that the
/// check looks at is unknown, for the subject may be behind it.
fn shows_absence(result: &Judged) -> bool {
    let sees_all = result.verdicts.iter().all(|verdict| match verdict.status {
        Status::Unknown => false,
        Status::Ok | Status::Warning | Status::Critical => true,
    });
    match result.check.absence {
        Absence::Resolves => result.fresh && sees_all,
        Absence::ProvesNothing => false,
    }
}

fn opened(
    id: FindingId,
    asset: Asset<'_>,
    result: &Judged,
    verdict: &Verdict,
    now: Timestamp,
) -> Option<Finding> {
    let check = result.check;
    let severity = Severity::of(verdict.status)?;
    Some(Finding {
        id,
        host: *asset.key,
        asset: asset.kind,
        host_name: asset.name.clone(),
        zone: asset.zone.clone(),
        check: check.name.to_owned(),
        component: check.component.to_owned(),
        alert: alert(check, severity).to_owned(),
        severity,
        subject: verdict.subject.clone(),
        why: verdict.why.clone(),
        evidence: verdict.evidence.clone(),
        first_at: now,
        last_at: now,
        held: !result.fresh || verdict.stale,
        resolved_at: None,
    })
}

const fn alert(check: &Check, severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => check.alert.warning,
        Severity::Critical => check.alert.critical,
    }
}

fn moved(
    old: &Finding,
    asset: Asset<'_>,
    result: &Judged,
    verdict: &Verdict,
    now: Timestamp,
) -> Option<Change> {
    let fresh = result.fresh && !verdict.stale;
    let Some(said) = Severity::of(verdict.status) else {
        return if verdict.status == Status::Ok && fresh {
            let why = verdict.why.clone();
            let evidence = verdict.evidence.clone();
            let resolved =
                Finding { resolved_at: Some(now), held: false, why, evidence, ..old.clone() };
            Some(Change::Resolved(resolved))
        } else {
            held(old)
        };
    };
    let known = Finding {
        host_name: asset.name.clone(),
        zone: asset.zone.clone(),
        held: !fresh,
        ..old.clone()
    };
    // Old facts may make it worse, for silence grows old too; never better.
    let new = if fresh || said >= old.severity {
        Finding {
            alert: alert(result.check, said).to_owned(),
            severity: said,
            why: verdict.why.clone(),
            evidence: verdict.evidence.clone(),
            last_at: if fresh { now } else { old.last_at },
            ..known
        }
    } else {
        known
    };
    Some(if new.severity != old.severity || new.held != old.held {
        Change::Changed(new)
    } else {
        Change::Touched(new)
    })
}

/// Nothing fresh says anything of it: it stays.
fn held(old: &Finding) -> Option<Change> {
    (!old.held).then(|| Change::Changed(Finding { held: true, ..old.clone() }))
}
