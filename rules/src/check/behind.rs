//! What is silent because somebody else is, is unknown and no finding: one cause, one alert.

use super::{Evidence, Judged, Status};
use crate::finding::Severity;
use crate::text::Text;
use crate::topology::cause::Cause;

/// The checks that say of an asset that it does not answer.
const OF_SILENCE: [&str; 5] =
    ["host_silent", "probe_failed", "device_silent", "core_silent", "poll_failed"];

/// Makes unknown what the silence of an asset is judged as, when `cause` is another asset.
pub fn excuse(judged: &mut [Judged], cause: &Cause) {
    let Some(behind) = cause.text() else { return };
    for result in judged.iter_mut().filter(|result| OF_SILENCE.contains(&result.check.name)) {
        let bad = |status: Status| Severity::of(status).is_some();
        for verdict in result.verdicts.iter_mut().filter(|verdict| bad(verdict.status)) {
            verdict.status = Status::Unknown;
            verdict.why = Text::new(
                format!("{} ({})", behind.en, verdict.why.en),
                format!("{}（{}）", behind.zh, verdict.why.zh),
            );
            verdict.evidence.push(Evidence {
                fact: "topology".to_owned(),
                value: behind.en.clone(),
                read_at: None,
            });
        }
    }
}
