//! What is silent because somebody else is, is unknown and no finding: one cause, one alert.

use super::{Evidence, Judged, Status};
use crate::finding::Severity;
use crate::text::Text;
use crate::topology::cause::Cause;

/// The checks that say of an asset, or of something of it, that it does not answer.
const OF_SILENCE: [&str; 7] = [
    "host_silent",
    "probe_failed",
    "device_silent",
    "core_silent",
    "poll_failed",
    "line_silent",
    "host_line_silent",
];

/// Those of them that say it of the asset as a whole.
const OF_THE_WHOLE: [&str; 3] = ["host_silent", "device_silent", "core_silent"];

/// Whether an asset is judged as one that does not answer.
#[must_use]
pub fn is_silent(judged: &[Judged]) -> bool {
    let mut of_silence = judged.iter().filter(|result| OF_THE_WHOLE.contains(&result.check.name));
    of_silence.any(|result| result.verdicts.iter().any(|verdict| is_bad(verdict.status)))
}

/// Makes unknown what the silence of an asset is judged as, when `cause` is another asset.
pub fn excuse(judged: &mut [Judged], cause: &Cause) {
    if let Some(behind) = cause.text() {
        make_unknown(judged, &behind);
    }
}

/// Makes unknown what the silence of an asset is judged as, for its cause has not been looked for yet.
pub fn wait(judged: &mut [Judged]) {
    make_unknown(judged, &Text::new("its cause is looked for", "正在查找原因"));
}

fn is_bad(status: Status) -> bool {
    Severity::of(status).is_some()
}

fn make_unknown(judged: &mut [Judged], behind: &Text) {
    for result in judged.iter_mut().filter(|result| OF_SILENCE.contains(&result.check.name)) {
        for verdict in result.verdicts.iter_mut().filter(|verdict| is_bad(verdict.status)) {
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
