//! From what the probes read to reports: what changed since the report before, what is gone, and
//! the digest of it all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bailey_rules::digest::FactDigest;
use bailey_rules::fact::{Fact, FactKey, MAX_FACTS, ProbeName};
use bailey_rules::report::{MAX_REPORT, Place, ProbeRun, Report};
use bailey_rules::time::Timestamp;
use bailey_wire::convert::{encode_fact, report_to_wire};
use bailey_wire::v1;
use prost::Message as _;

use crate::settings::Schedules;

/// Octets that a report keeps free for everything but its facts.
const ENVELOPE: usize = 4 * 1024;

/// What one run of a probe gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// Which probe.
    pub probe: ProbeName,
    /// When it began to read, by the host's clock.
    pub read_at: Timestamp,
    /// How often it reads.
    pub interval: Duration,
    /// Every fact it knows of, or why it failed as a whole.
    pub facts: Result<Vec<Fact>, String>,
}

#[derive(Debug)]
struct Held {
    entry: v1::FactEntry,
    share: FactDigest,
}

/// The facts as they were last read, and what of them the next report must carry.
#[derive(Debug, Default)]
pub struct Assembler {
    held: BTreeMap<FactKey, Held>,
    /// Facts that no report has carried yet.
    changed: BTreeSet<FactKey>,
    /// Facts that are gone and that a report has carried.
    removed: BTreeSet<FactKey>,
    runs: BTreeMap<ProbeName, ProbeRun>,
    /// Probes that ran since the last report.
    ran: BTreeSet<ProbeName>,
    /// The digest of the facts that reports have carried.
    digest: FactDigest,
    /// Shares of the facts that reports have carried.
    carried: BTreeMap<FactKey, FactDigest>,
    complete: bool,
}

impl Assembler {
    /// Holds nothing; the first report is complete. Until a probe has answered, complete reports
    /// say of it that it has not, since `now`: what it read before the agent started anew is no
    /// longer there, and nobody may take that for good news.
    #[must_use]
    pub fn new(schedules: &Schedules, now: Timestamp) -> Self {
        let unanswered = |probe: ProbeName| {
            let interval = schedules.of(probe).interval;
            let failed = Some("it has not answered since the agent started".to_owned());
            (probe, ProbeRun { probe, read_at: now, interval, failed })
        };
        let runs = ProbeName::ALL.into_iter().map(unanswered).collect();
        Self { complete: true, runs, ..Self::default() }
    }

    /// Takes up what a probe gave.
    pub fn take(&mut self, round: Round) {
        let failed = match round.facts {
            Ok(facts) => self.take_facts(round.probe, &facts),
            Err(why) => Some(why),
        };
        let read_at = match (&failed, self.runs.get(&round.probe)) {
            // The facts stay as they were, and so does the time at which they were true.
            (Some(_), Some(before)) => before.read_at,
            (Some(_) | None, _) => round.read_at,
        };
        let run = ProbeRun { probe: round.probe, read_at, interval: round.interval, failed };
        self.runs.insert(round.probe, run);
        self.ran.insert(round.probe);
    }

    fn take_facts(&mut self, probe: ProbeName, facts: &[Fact]) -> Option<String> {
        let mut named = BTreeSet::new();
        let mut left_out = 0_usize;
        for fact in facts {
            debug_assert_eq!(fact.key.kind.probe(), probe);
            if self.held.len() >= MAX_FACTS && !self.held.contains_key(&fact.key) {
                left_out += 1;
                continue;
            }
            let (entry, share) = encode_fact(fact);
            named.insert(fact.key.clone());
            if self.held.get(&fact.key).is_none_or(|held| held.share != share) {
                self.held.insert(fact.key.clone(), Held { entry, share });
                self.changed.insert(fact.key.clone());
                self.removed.remove(&fact.key);
            }
        }
        let gone: Vec<FactKey> = self
            .held
            .keys()
            .filter(|key| key.kind.probe() == probe && !named.contains(*key))
            .cloned()
            .collect();
        for key in gone {
            self.held.remove(&key);
            self.changed.remove(&key);
            if self.carried.contains_key(&key) {
                self.removed.insert(key);
            }
        }
        (left_out > 0).then(|| format!("more than {MAX_FACTS} facts; {left_out} are left out"))
    }

    /// Makes the next report carry everything.
    pub fn send_everything(&mut self) {
        self.complete = true;
    }

    /// Whether there is anything to report.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !(self.ran.is_empty() && self.changed.is_empty() && self.removed.is_empty())
            || self.complete
    }

    /// The next report, to be kept under `place`; `None` when there is nothing to say. What does
    /// not fit into one is in the next: ask until there is none.
    pub fn report(&mut self, place: Place, taken_at: Timestamp) -> Option<v1::Report> {
        if !self.has_news() {
            return None;
        }
        let complete = std::mem::take(&mut self.complete);
        if complete {
            self.carried.clear();
            self.digest = FactDigest::EMPTY;
            self.removed.clear();
            self.changed = self.held.keys().cloned().collect();
            self.ran = self.runs.keys().copied().collect();
        }
        let mut entries = Vec::new();
        let mut size = ENVELOPE;
        while let Some(key) = self.changed.first() {
            let held = self.held.get(key).expect("a changed fact is held");
            // An entry with its tag and length is at most so much longer than its octets.
            size += held.entry.encoded_len() + 8;
            if size > MAX_REPORT && !entries.is_empty() {
                break;
            }
            entries.push(held.entry.clone());
            if let Some(before) = self.carried.insert(key.clone(), held.share) {
                self.digest.remove(before);
            }
            self.digest.add(held.share);
            self.changed.pop_first();
        }
        let mut removed = Vec::new();
        while let Some(key) = self.removed.first() {
            size += key.subject.len() + 16;
            if size > MAX_REPORT && !(entries.is_empty() && removed.is_empty()) {
                break;
            }
            if let Some(before) = self.carried.remove(key) {
                self.digest.remove(before);
            }
            removed.extend(self.removed.pop_first());
        }
        let ran = std::mem::take(&mut self.ran);
        let probes = ran.iter().filter_map(|probe| self.runs.get(probe)).cloned().collect();
        let report = Report {
            place,
            taken_at,
            complete,
            probes,
            changed: Vec::new(),
            removed,
            digest: self.digest,
        };
        Some(report_to_wire(&report, entries))
    }
}

#[cfg(test)]
mod tests {
    use bailey_rules::fact::FactKind;
    use bailey_rules::fact::host::Load;
    use bailey_rules::host::FactSet;
    use bailey_rules::name::BootId;
    use bailey_wire::convert::report_from_wire;
    use proptest::prelude::*;

    use super::*;

    const EVERY: Duration = Duration::from_secs(15);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_790_000_000 + seconds)
    }

    fn place(seq: u64) -> Place {
        Place { boot: BootId::from_bytes([7; 16]), seq }
    }

    fn round(probe: ProbeName, seconds: i64, facts: Vec<Fact>) -> Round {
        Round { probe, read_at: at(seconds), interval: EVERY, facts: Ok(facts) }
    }

    fn assembler() -> Assembler {
        Assembler::new(&Schedules::default(), at(0))
    }

    fn load(one: u32) -> Fact {
        Fact::known("", Load { one, five: 0, fifteen: 0 })
    }

    fn hidden(subject: &str) -> Fact {
        Fact::unreadable(FactKind::Disk, subject, "gone")
    }

    /// Both sides of the wire: what the collector holds after each report.
    fn apply(assembler: &mut Assembler, collector: &mut FactSet, seq: u64, seconds: i64) {
        let wire = assembler.report(place(seq), at(seconds)).expect("there is news");
        let decoded = report_from_wire(wire).expect("it is well formed");
        collector
            .apply(decoded.report, &decoded.shares, 0, at(seconds))
            .expect("the digests agree");
    }

    #[test]
    fn the_first_report_is_complete_and_the_next_carries_what_changed() {
        let mut assembler = assembler();
        assembler.take(round(ProbeName::Host, 0, vec![load(1), hidden("vda")]));
        let first = assembler.report(place(1), at(0)).expect("news");
        assert!(first.complete);
        assert_eq!(first.changed.len(), 2);
        assert!(assembler.report(place(2), at(0)).is_none(), "nothing happened since");
        assembler.take(round(ProbeName::Host, 15, vec![load(2), hidden("vda")]));
        let second = assembler.report(place(2), at(15)).expect("news");
        assert!(!second.complete);
        assert_eq!(second.changed.len(), 1);
        assembler.take(round(ProbeName::Host, 30, vec![load(2)]));
        let third = assembler.report(place(3), at(30)).expect("news");
        assert_eq!((third.changed.len(), third.removed.len()), (0, 1));
    }

    #[test]
    fn a_probe_that_fails_keeps_its_facts_and_their_time() {
        let mut assembler = assembler();
        assembler.take(round(ProbeName::Host, 0, vec![load(1)]));
        assembler.report(place(1), at(0));
        assembler.take(Round {
            facts: Err("no answer within 10 s".into()),
            ..round(ProbeName::Host, 15, Vec::new())
        });
        let wire = assembler.report(place(2), at(15)).expect("news");
        let report = report_from_wire(wire).expect("well formed").report;
        assert!(report.removed.is_empty());
        assert_eq!(report.probes[0].read_at, at(0));
        assert_eq!(report.probes[0].failed.as_deref(), Some("no answer within 10 s"));
    }

    #[test]
    fn a_probe_that_has_not_answered_yet_is_named_in_complete_reports() {
        let mut assembler = assembler();
        assembler.take(round(ProbeName::Host, 0, vec![load(1)]));
        let first = assembler.report(place(1), at(0)).expect("news");
        let report = report_from_wire(first).expect("well formed").report;
        assert_eq!(report.probes.len(), ProbeName::ALL.len());
        let silent = report.probes.iter().filter(|run| run.failed.is_some()).count();
        assert_eq!(silent, ProbeName::ALL.len() - 1);
    }

    #[test]
    fn what_does_not_fit_one_report_is_in_the_next() {
        let mut assembler = assembler();
        let mut collector = FactSet::default();
        let long = "x".repeat(200);
        let facts: Vec<Fact> = (0..9000)
            .map(|nth| Fact::unreadable(FactKind::Disk, &format!("{nth}{long}"), &long))
            .collect();
        for (facts, seconds) in [(facts.as_slice(), 0), (&facts[..1], 15)] {
            assembler.take(round(ProbeName::Host, seconds, facts.to_vec()));
            let mut parts = 0;
            while assembler.has_news() {
                let wire = assembler.report(place(1), at(seconds)).expect("news");
                assert!(wire.encoded_len() <= MAX_REPORT, "{} octets", wire.encoded_len());
                let decoded = report_from_wire(wire).expect("well formed");
                collector
                    .apply(decoded.report, &decoded.shares, 0, at(seconds))
                    .expect("the digests agree after each part");
                parts += 1;
            }
            assert!(parts > 1);
            assert_eq!(collector.len(), facts.len());
        }
    }

    #[test]
    fn an_idle_cycle_is_small() {
        let mut assembler = assembler();
        let facts: Vec<Fact> = (0..200).map(|disk| hidden(&format!("disk{disk}"))).collect();
        assembler.take(round(ProbeName::Host, 0, facts.clone()));
        assembler.report(place(1), at(0));
        assembler.take(round(ProbeName::Host, 15, facts));
        let idle = assembler.report(place(2), at(15)).expect("news");
        assert!(idle.encoded_len() < 100, "{} octets", idle.encoded_len());
    }

    proptest! {
        #[test]
        fn the_collector_holds_what_the_agent_holds(
            rounds in prop::collection::vec(
                (prop::collection::btree_map(0_u8..12, 0_u32..4, 0..12), any::<bool>()), 1..20,
            ),
        ) {
            let mut assembler = assembler();
            let mut collector = FactSet::default();
            for (step, (facts, everything)) in rounds.into_iter().enumerate() {
                let facts: Vec<Fact> = facts
                    .into_iter()
                    .map(|(disk, why)| Fact::unreadable(
                        FactKind::Disk, &disk.to_string(), why,
                    ))
                    .collect();
                let seconds = i64::try_from(step).expect("few") * 15;
                assembler.take(round(ProbeName::Host, seconds, facts.clone()));
                if everything {
                    assembler.send_everything();
                }
                apply(&mut assembler, &mut collector, step as u64 + 1, seconds);
                prop_assert_eq!(collector.len(), facts.len());
                for fact in &facts {
                    let held = collector.get(fact.key.kind, &fact.key.subject);
                    prop_assert_eq!(held.map(|held| &*held.reading), Some(&fact.reading));
                }
            }
        }
    }
}
