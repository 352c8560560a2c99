//! Does a packet break an invariant of the policy?
//!
//! The proof says it, not a probe of the host: a breach is told of the host where it is to be stopped
//! ([`crate::prove::site::told::Breach::at`]), and of every host that a proof rests on that it holds.

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::compile::PolicyLine;
use crate::fact::bounded;
use crate::prove::site::told::{About, Answer, Breach, By, Hop};
use crate::text::Text;

/// The most hosts of a packet's way that stand in the evidence.
const MAX_HOPS: usize = 16;

/// The most changes that would stop it.
const MAX_CUTS: usize = 8;

/// One subject for each invariant.
pub(super) const CHECK: Check = Check {
    name: "invariant",
    title: || Text::new("Invariants", "不变式"),
    component: "isolation",
    alert: Alerts::both("BaileyInvariantCounterexample"),
    probes: &[],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    given.proofs.iter().filter_map(|about| verdict(given, about)).collect()
}

fn verdict(given: &Given<'_>, about: &About) -> Option<Verdict> {
    let name = about.invariant.as_str();
    let verdict = |status, en: String, zh: String| {
        let stale = about.old.is_some();
        Verdict { stale, ..Verdict::new(name, status, Text::new(en, zh)) }
    };
    let at = about.proof.as_ref().and_then(|proof| proof.basis.as_ref()).map(|of| of.proved_at);
    let rests = |verdict: Verdict, fact: &str, value: String| {
        given.rests_on_session(verdict, fact, bounded(&value), at)
    };
    match about.proof.as_ref().map(|proof| &proof.answer) {
        Some(Answer::Proved { .. }) => {
            let en = format!("no packet breaks {name}");
            let verdict = verdict(Status::Ok, en, format!("没有报文能够违反 {name}"));
            Some(rests(verdict, "proof.answer", "proved".to_owned()))
        }
        Some(Answer::Broken { breach }) if about.breach_here => {
            let (packet, end) = (&breach.packet, &breach.end);
            let verdict = verdict(
                Status::Critical,
                format!("{name} is broken: {packet}: {}", end.en),
                format!("{name} 被违反：{packet}：{}", end.zh),
            );
            Some(told(verdict, breach, rests))
        }
        Some(Answer::OutOfModel { statement, .. }) if about.breach_here => {
            let verdict = verdict(
                Status::Unknown,
                format!("whether {name} is still broken is not known: {statement}"),
                format!("{name} 是否仍被违反无法判定：{statement}"),
            );
            Some(rests(verdict, "proof.answer", "out of model".to_owned()))
        }
        None if about.breach_here => {
            let verdict = verdict(
                Status::Unknown,
                format!("{name} has not been proved since the collector was started"),
                format!("采集器启动后尚未对 {name} 进行证明"),
            );
            Some(rests(verdict, "proof.answer", "none".to_owned()))
        }
        Some(Answer::Broken { .. } | Answer::OutOfModel { .. }) | None => None,
    }
}

/// The packet, its way and what would stop it.
fn told(
    verdict: Verdict,
    breach: &Breach,
    rests: impl Fn(Verdict, &str, String) -> Verdict,
) -> Verdict {
    let mut verdict = rests(verdict, "proof.packet", breach.packet.to_string());
    for Hop { host, iif, oif, by, .. } in breach.path.iter().take(MAX_HOPS) {
        let host = host.as_ref().map_or("on the wire", |host| host.as_str());
        let (iif, oif) = (iif.as_deref().unwrap_or("-"), oif.as_deref().unwrap_or("-"));
        let way = format!("{host} {iif} > {oif}");
        verdict = match by.as_slice() {
            [] => rests(verdict, "proof.path", way),
            all => all.iter().fold(verdict, |verdict, by| {
                rests(verdict, "proof.path", format!("{way}  {}", passes_by(by)))
            }),
        };
    }
    for cut in breach.cuts.iter().take(MAX_CUTS) {
        verdict = rests(verdict, "proof.cut", format!("{}: {}", cut.host, cut.what.en));
    }
    verdict
}

fn passes_by(by: &By) -> String {
    let words = by.words().en;
    match &by.policy {
        Some(PolicyLine { file, line, what }) => format!("{words} ({file}:{line} {what})"),
        None => words,
    }
}
