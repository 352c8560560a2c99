//! Can it be decided whether the invariants hold?
//!
//! What is out of model is told of the host whose rule, setting or missing fact is not understood.

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::bounded;
use crate::prove::site::told::{About, Answer};
use crate::text::Text;

/// One subject for each invariant.
pub(super) const CHECK: Check = Check {
    name: "proof",
    title: || Text::new("Proof", "隔离证明"),
    component: "isolation",
    alert: Alerts::both("BaileyProofOutOfModel"),
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let here = given.proofs.iter().filter(|about| about.doubt_here);
    here.map(|about| verdict(given, about)).collect()
}

fn verdict(given: &Given<'_>, about: &About) -> Verdict {
    let name = about.invariant.as_str();
    let proof = about.proof.as_ref();
    let known_at = proof.and_then(|proof| proof.basis.as_ref()).map(|of| of.proved_at);
    let say = |status, en: String, zh: String, fact: &str, value: &str| {
        let stale = about.old.is_some();
        let verdict = Verdict { stale, ..Verdict::new(name, status, Text::new(en, zh)) };
        given.rests_on_session(verdict, fact, bounded(value), known_at)
    };
    match proof.map(|proof| &proof.answer) {
        Some(Answer::OutOfModel { statement, at, wanted, .. }) => {
            let at = at.as_ref().map_or_else(String::new, |at| format!(" ({at})"));
            say(
                Status::Warning,
                format!(
                    "whether {name} holds is not known: {statement}{at}; it would take {}",
                    wanted.en
                ),
                format!("{name} 是否成立无法判定：{statement}{at}；需要：{}", wanted.zh),
                "proof.not_understood",
                &format!("{statement}{at}"),
            )
        }
        Some(Answer::Proved { .. } | Answer::Broken { .. }) => say(
            Status::Ok,
            format!("whether {name} holds is decided"),
            format!("{name} 是否成立已有定论"),
            "proof.answer",
            "decided",
        ),
        None => say(
            Status::Unknown,
            format!("{name} has not been proved since the collector was started"),
            format!("采集器启动后尚未对 {name} 进行证明"),
            "proof.answer",
            "none",
        ),
    }
}
