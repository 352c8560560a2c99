//! Messages to domain types and back.
//!
//! Encoding is made so that whatever a probe read can be sent: texts are cut to their bound, and a
//! value whose lists are too long becomes a reading that says so. Decoding trusts nothing: what
//! no agent of ours would send is refused with the name of the field.
//!
//! A newer agent may say things that an older collector has no word for. Facts of an unknown kind
//! are counted and left out; a known fact with an unknown word in it becomes unreadable. The
//! digest is made over the octets as sent, so that it holds whatever was understood of them.

mod bounds;
mod listing;
mod order;
mod value;

use std::time::Duration;

use bailey_rules::digest::FactDigest;
use bailey_rules::fact::{
    Fact, FactKey, FactKind, FactValue, MAX_FACTS, ProbeName, Reading, bounded,
};
use bailey_rules::name::BootId;
use bailey_rules::report::{Gap, LossReason, Place, ProbeRun, Report};
use bailey_rules::time::Timestamp;
use bytes::Bytes;
use prost::Message as _;

use crate::v1;
pub use bounds::{ConvertError, Problem};
use bounds::{Within as _, fits, list, octets, present, text};
pub use listing::{
    ListingGathering, MAX_LISTING_PART, MAX_LISTING_PARTS, listing_parts, listing_source_from_wire,
    listing_source_to_wire, listings_held_from_wire, listings_held_to_wire, no_listing_from_wire,
    no_listing_to_wire,
};
pub use order::{
    MAX_ORDER_PART, MAX_ORDER_PARTS, OrderGathering, OrderOutcome, OrderResult, named_order,
    order_parts, order_ref_from_wire, order_ref_to_wire, outcome_from_wire, outcome_to_wire,
};
pub use value::{
    MAX_ADDRESSES, MAX_FAILED_UNITS, MAX_FORWARDING_INTERFACES, MAX_REBOOT_REASONS, MAX_TABLES,
    kind_from_wire, kind_to_wire,
};

/// The most probe runs that one report names: room for the probes of newer agents.
pub const MAX_PROBES: usize = 64;

/// The largest number of a report: what the collector's store can keep.
pub const MAX_SEQ: u64 = i64::MAX as u64;

/// A report as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The report.
    pub report: Report,
    /// The digest share of every fact of `report.changed`, in its order.
    pub shares: Vec<FactDigest>,
    /// Facts, new or removed, of kinds that this version does not know. While there are any, the
    /// agent's digest counts facts that nobody here holds.
    pub unknown_facts: u32,
}

/// Encodes a fact for a report and gives its share of the digest.
#[must_use]
pub fn encode_fact(fact: &Fact) -> (v1::FactEntry, FactDigest) {
    let key = FactKey::new(fact.key.kind, &fact.key.subject);
    let reading = reading_to_bytes(&fact.reading);
    let share = FactDigest::share(&key, &reading);
    let entry = v1::FactEntry {
        kind: kind_to_wire(key.kind).into(),
        subject: key.subject.as_ref().into(),
        reading,
    };
    (entry, share)
}

/// Encodes a reading. A value with a list beyond its bound is sent as unreadable, with the reason.
#[must_use]
pub fn reading_to_bytes(reading: &Reading<FactValue>) -> Bytes {
    let value = match reading {
        Reading::Known(value) => value::value_to_wire(value)
            .unwrap_or_else(|error| v1::reading::Value::Unreadable(bounded(&error.to_string()))),
        Reading::Unreadable { why } => v1::reading::Value::Unreadable(bounded(why)),
    };
    v1::Reading { value: Some(value) }.encode_to_vec().into()
}

/// Decodes a reading of the kind `kind`.
///
/// # Errors
/// When it is no such reading, or breaks a bound; the error names the field.
pub fn reading_from_bytes(
    kind: FactKind,
    encoded: &[u8],
) -> Result<Reading<FactValue>, ConvertError> {
    let wire = v1::Reading::decode(encoded)
        .map_err(|error| ConvertError::new("reading", Problem::Malformed(error.to_string())))?;
    let wire = present("reading", wire.value)?;
    match value::value_from_wire(wire) {
        Ok(Ok(value)) if value.kind() == kind => Ok(Reading::Known(value)),
        Ok(Ok(_)) => Err(ConvertError::new("reading", Problem::WrongKind)),
        Ok(Err(why)) => Ok(Reading::Unreadable { why }),
        Err(newer @ ConvertError { problem: Problem::Newer(_), .. }) => {
            Ok(Reading::unreadable(format_args!("the collector is older than the agent: {newer}")))
        }
        Err(error) => Err(error),
    }
}

/// The message of a report. `entries` are its changed facts as [`encode_fact`] gave them; the
/// facts in `report.changed` are not looked at, so that an agent may keep entries alone.
#[must_use]
pub fn report_to_wire(report: &Report, entries: Vec<v1::FactEntry>) -> v1::Report {
    let millis = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    v1::Report {
        place: Some(place_to_wire(report.place)),
        taken_at_millis: report.taken_at.as_millis(),
        complete: report.complete,
        probes: report
            .probes
            .iter()
            .map(|run| v1::ProbeRun {
                probe: probe_to_wire(run.probe).into(),
                read_before_millis: millis(run.read_at.age(report.taken_at)),
                interval_millis: u32::try_from(run.interval.as_millis()).unwrap_or(u32::MAX),
                failed: run.failed.as_deref().map_or_else(String::new, |why| {
                    bounded(if why.is_empty() { "failed" } else { why })
                }),
            })
            .collect(),
        changed: entries,
        removed: report
            .removed
            .iter()
            .map(|key| v1::FactKey {
                kind: kind_to_wire(key.kind).into(),
                subject: bounded(&key.subject),
            })
            .collect(),
        digest: report.digest.to_bytes().to_vec(),
    }
}

/// Understands a report.
///
/// # Errors
/// When a field is missing, malformed or beyond its bound; the error names it. Nothing of the
/// report may be used then.
pub fn report_from_wire(wire: v1::Report) -> Result<Decoded, ConvertError> {
    let mut unknown_facts = 0;
    let taken_at = Timestamp::from_millis(wire.taken_at_millis);

    fits("removed", wire.removed.len(), MAX_FACTS)?;
    let mut removed = Vec::with_capacity(wire.removed.len());
    for (index, key) in wire.removed.into_iter().enumerate() {
        let subject = text("subject", key.subject).within_entry("removed", index)?;
        match kind_from_wire(key.kind) {
            Some(kind) => removed.push(FactKey { kind, subject: subject.into() }),
            None => unknown_facts += 1,
        }
    }

    fits("changed", wire.changed.len(), MAX_FACTS)?;
    let mut changed = Vec::with_capacity(wire.changed.len());
    let mut shares = Vec::with_capacity(wire.changed.len());
    for (index, entry) in wire.changed.into_iter().enumerate() {
        let subject = text("subject", entry.subject).within_entry("changed", index)?;
        let Some(kind) = kind_from_wire(entry.kind) else {
            unknown_facts += 1;
            continue;
        };
        let key = FactKey { kind, subject: subject.into() };
        let reading = reading_from_bytes(kind, &entry.reading).within_entry("changed", index)?;
        shares.push(FactDigest::share(&key, &entry.reading));
        changed.push(Fact { key, reading });
    }

    let report = Report {
        place: place_from_wire(&present("place", wire.place)?).within("place")?,
        taken_at,
        complete: wire.complete,
        probes: runs_from_wire(wire.probes, taken_at)?,
        changed,
        removed,
        digest: FactDigest::from_bytes(octets("digest", &wire.digest, "16")?),
    };
    Ok(Decoded { report, shares, unknown_facts })
}

/// The probe runs of a report, those of unknown probes left out.
fn runs_from_wire(
    wire: Vec<v1::ProbeRun>,
    taken_at: Timestamp,
) -> Result<Vec<ProbeRun>, ConvertError> {
    let runs = list("probes", wire, MAX_PROBES, |run| {
        let failed = text("failed", run.failed)?;
        Ok(probe_from_wire(run.probe).map(|probe| ProbeRun {
            probe,
            read_at: taken_at - Duration::from_millis(run.read_before_millis),
            interval: Duration::from_millis(run.interval_millis.into()),
            failed: (!failed.is_empty()).then_some(failed),
        }))
    })?;
    let runs: Vec<ProbeRun> = runs.into_iter().flatten().collect();
    for (index, run) in runs.iter().enumerate() {
        if runs[..index].iter().any(|before| before.probe == run.probe) {
            let twice = Problem::Twice(run.probe.as_str());
            return Err(ConvertError::new("probes", twice));
        }
    }
    Ok(runs)
}

/// The message of a place.
#[must_use]
pub fn place_to_wire(place: Place) -> v1::Place {
    v1::Place { boot: place.boot.as_bytes().to_vec(), seq: place.seq }
}

/// Understands a place.
///
/// # Errors
/// When the numbering is not 16 octets or the number is 0 or beyond [`MAX_SEQ`].
pub fn place_from_wire(wire: &v1::Place) -> Result<Place, ConvertError> {
    Ok(Place { boot: boot_from_wire(&wire.boot)?, seq: seq("seq", wire.seq)? })
}

fn boot_from_wire(wire: &[u8]) -> Result<BootId, ConvertError> {
    octets("boot", wire, "16").map(BootId::from_bytes)
}

fn seq(field: &str, value: u64) -> Result<u64, ConvertError> {
    if (1..=MAX_SEQ).contains(&value) {
        return Ok(value);
    }
    let rule = "numbers run from 1 to 2^63-1";
    Err(ConvertError::new(field, Problem::OutOfRange { value, rule }))
}

/// The message that declares a loss.
#[must_use]
pub fn loss_to_wire(gap: &Gap) -> v1::Loss {
    v1::Loss {
        boot: gap.boot.as_bytes().to_vec(),
        from: gap.from,
        to: gap.to,
        reason: match gap.reason {
            LossReason::SpoolFull => v1::LossReason::SpoolFull,
            LossReason::SpoolExpired => v1::LossReason::SpoolExpired,
            LossReason::SpoolDamaged => v1::LossReason::SpoolDamaged,
            LossReason::SpoolLost => v1::LossReason::SpoolLost,
            LossReason::Undeclared => v1::LossReason::Unspecified,
        }
        .into(),
    }
}

/// Understands a declared loss. A reason that this version does not know counts as undeclared.
///
/// # Errors
/// When the numbering is not 16 octets, or the numbers are out of range or order.
pub fn loss_from_wire(wire: &v1::Loss) -> Result<Gap, ConvertError> {
    let from = seq("from", wire.from)?;
    let to = seq("to", wire.to)?;
    if to < from {
        let rule = "less than the first number lost";
        return Err(ConvertError::new("to", Problem::OutOfRange { value: to, rule }));
    }
    let reason = match v1::LossReason::try_from(wire.reason) {
        Ok(v1::LossReason::SpoolFull) => LossReason::SpoolFull,
        Ok(v1::LossReason::SpoolExpired) => LossReason::SpoolExpired,
        Ok(v1::LossReason::SpoolDamaged) => LossReason::SpoolDamaged,
        Ok(v1::LossReason::SpoolLost) => LossReason::SpoolLost,
        Ok(v1::LossReason::Unspecified) | Err(_) => LossReason::Undeclared,
    };
    Ok(Gap { boot: boot_from_wire(&wire.boot)?, from, to, reason })
}

/// The number of a probe on the wire.
#[must_use]
pub const fn probe_to_wire(probe: ProbeName) -> v1::ProbeName {
    match probe {
        ProbeName::Host => v1::ProbeName::Host,
        ProbeName::System => v1::ProbeName::System,
        ProbeName::Links => v1::ProbeName::Links,
        ProbeName::Firewall => v1::ProbeName::Firewall,
        ProbeName::Backup => v1::ProbeName::Backup,
        ProbeName::Enforcement => v1::ProbeName::Enforcement,
        ProbeName::Flows => v1::ProbeName::Flows,
        ProbeName::Lines => v1::ProbeName::Lines,
    }
}

/// The probe behind a number; `None` for one that this version does not know.
#[must_use]
pub fn probe_from_wire(number: i32) -> Option<ProbeName> {
    match v1::ProbeName::try_from(number).ok()? {
        v1::ProbeName::Unspecified => None,
        v1::ProbeName::Host => Some(ProbeName::Host),
        v1::ProbeName::System => Some(ProbeName::System),
        v1::ProbeName::Links => Some(ProbeName::Links),
        v1::ProbeName::Firewall => Some(ProbeName::Firewall),
        v1::ProbeName::Backup => Some(ProbeName::Backup),
        v1::ProbeName::Enforcement => Some(ProbeName::Enforcement),
        v1::ProbeName::Flows => Some(ProbeName::Flows),
        v1::ProbeName::Lines => Some(ProbeName::Lines),
    }
}

/// The message that sets intervals, in whole seconds, rounded up.
#[must_use]
pub fn intervals_to_wire(intervals: &[(ProbeName, Duration)]) -> v1::Intervals {
    v1::Intervals {
        intervals: intervals
            .iter()
            .map(|(probe, interval)| v1::Interval {
                probe: probe_to_wire(*probe).into(),
                seconds: u32::try_from(interval.as_millis().div_ceil(1000)).unwrap_or(u32::MAX),
            })
            .collect(),
    }
}

/// Understands intervals. `None` keeps the host's own setting; unknown probes are left out.
///
/// # Errors
/// When it names more than [`MAX_PROBES`].
pub fn intervals_from_wire(
    wire: v1::Intervals,
) -> Result<Vec<(ProbeName, Option<Duration>)>, ConvertError> {
    let intervals = list("intervals", wire.intervals, MAX_PROBES, |interval| {
        let length = Duration::from_secs(interval.seconds.into());
        let length = (!length.is_zero()).then_some(length);
        Ok(probe_from_wire(interval.probe).map(|probe| (probe, length)))
    })?;
    Ok(intervals.into_iter().flatten().collect())
}
