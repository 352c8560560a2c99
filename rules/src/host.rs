//! All that is held of one host: its facts, how fresh they are, and what its session tells.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::FactDigest;
use crate::fact::enforcement::OrderRef;
use crate::fact::{Fact, FactKey, FactKind, FactValue, MAX_FACTS, Named, ProbeName, Reading};
use crate::name::{HostKey, HostName, ZoneName};
use crate::report::{Gap, Place, ProbeRun, Report};
use crate::time::Timestamp;

/// A fact as it is held, with the digest share of its encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldFact {
    /// What was read. Shared with every copy of the set: sets are copied while they are judged.
    pub reading: Arc<Reading<FactValue>>,
    /// When this value was first read, by the collector's clock.
    pub since: Timestamp,
    /// Its part in the digest.
    #[serde(skip)]
    pub share: FactDigest,
}

/// The longest interval between two runs of a probe that is believed. A host that names a longer one
/// would otherwise keep its facts fresh for as long as it likes.
pub const MAX_INTERVAL: Duration = Duration::from_hours(24);

/// One probe as it is held. Times are by the collector's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldProbe {
    /// When its facts were last known to be true.
    pub read_at: Timestamp,
    /// How often it reads.
    pub interval: Duration,
    /// Why its last run failed.
    pub failed: Option<String>,
}

impl HeldProbe {
    /// A fact older than twice its interval is stale.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.read_at.age(now) > self.interval.min(MAX_INTERVAL) * 2
    }
}

/// The facts of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactSet {
    facts: BTreeMap<FactKey, HeldFact>,
    probes: BTreeMap<ProbeName, HeldProbe>,
    digest: FactDigest,
}

/// Why a report could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The facts after the report are not those that the host holds: ask for everything.
    #[error("the facts held and the host's digest differ")]
    DigestDiffers,
    /// The host reports more than [`MAX_FACTS`] facts.
    #[error("more than {MAX_FACTS} facts")]
    TooManyFacts,
}

impl FactSet {
    /// Applies a report. `share` gives the digest share of a fact as it was encoded on the wire;
    /// `offset_millis` is added to the host's times to get the collector's; no time may come to
    /// lie after `received_at`.
    ///
    /// # Errors
    /// [`ApplyError::DigestDiffers`] after everything was applied that could be: the facts may be
    /// incomplete until the next complete report. [`ApplyError::TooManyFacts`] when facts beyond
    /// the bound were left out.
    pub fn apply(
        &mut self,
        report: Report,
        shares: &[FactDigest],
        offset_millis: i64,
        received_at: Timestamp,
    ) -> Result<(), ApplyError> {
        debug_assert_eq!(shares.len(), report.changed.len());
        let here = |at: Timestamp| at.shifted(offset_millis).min(received_at);
        let mut too_many = false;
        if report.complete {
            let named: std::collections::BTreeSet<&FactKey> =
                report.changed.iter().map(|fact| &fact.key).collect();
            self.facts.retain(|key, _| named.contains(key));
            self.digest = FactDigest::EMPTY;
            for held in self.facts.values() {
                self.digest.add(held.share);
            }
        }
        for run in &report.probes {
            self.note_run(run, here(run.read_at));
        }
        for key in &report.removed {
            if let Some(old) = self.facts.remove(key) {
                self.digest.remove(old.share);
            }
        }
        for (fact, share) in report.changed.into_iter().zip(shares) {
            if self.facts.len() >= MAX_FACTS && !self.facts.contains_key(&fact.key) {
                too_many = true;
                continue;
            }
            self.hold(fact, *share, here(report.taken_at));
        }
        if too_many {
            Err(ApplyError::TooManyFacts)
        } else if self.digest == report.digest {
            Ok(())
        } else {
            Err(ApplyError::DigestDiffers)
        }
    }

    fn note_run(&mut self, run: &ProbeRun, read_at: Timestamp) {
        self.probes.insert(
            run.probe,
            HeldProbe { read_at, interval: run.interval, failed: run.failed.clone() },
        );
    }

    fn hold(&mut self, fact: Fact, share: FactDigest, since: Timestamp) {
        let Fact { key, reading } = fact;
        match self.facts.entry(key) {
            Entry::Occupied(mut held) => {
                let held = held.get_mut();
                self.digest.remove(held.share);
                held.share = share;
                if *held.reading != reading {
                    *held = HeldFact { reading: Arc::new(reading), since, share };
                }
            }
            Entry::Vacant(place) => {
                place.insert(HeldFact { reading: Arc::new(reading), since, share });
            }
        }
        self.digest.add(share);
    }

    /// Puts back a fact that was saved, after a restart.
    pub fn restore_fact(&mut self, fact: Fact, share: FactDigest, since: Timestamp) {
        self.hold(fact, share, since);
    }

    /// Puts back a probe that was saved, after a restart.
    pub fn restore_probe(&mut self, probe: ProbeName, held: HeldProbe) {
        self.probes.insert(probe, held);
    }

    /// Digest over all facts held.
    #[must_use]
    pub const fn digest(&self) -> FactDigest {
        self.digest
    }

    /// Every fact in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&FactKey, &HeldFact)> {
        self.facts.iter()
    }

    /// The number of facts held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The facts of one kind, in the order of their subjects.
    pub fn of_kind(&self, kind: FactKind) -> impl Iterator<Item = (&str, &HeldFact)> {
        let from = FactKey { kind, subject: "".into() };
        self.facts
            .range(from..)
            .take_while(move |(key, _)| key.kind == kind)
            .map(|(key, held)| (&*key.subject, held))
    }

    /// The known values of one type with their subjects.
    pub fn values<T: Named + 'static>(&self) -> impl Iterator<Item = (&str, &T)> {
        self.of_kind(T::KIND)
            .filter_map(|(subject, held)| Some((subject, T::of(held.reading.known()?)?)))
    }

    /// One fact.
    #[must_use]
    pub fn get(&self, kind: FactKind, subject: &str) -> Option<&HeldFact> {
        self.facts.get(&FactKey::new(kind, subject))
    }

    /// The known value of a type whose subject is `subject`.
    #[must_use]
    pub fn value<T: Named + 'static>(&self, subject: &str) -> Option<&T> {
        T::of(self.get(T::KIND, subject)?.reading.known()?)
    }

    /// One probe, if it ever reported.
    #[must_use]
    pub fn probe(&self, probe: ProbeName) -> Option<&HeldProbe> {
        self.probes.get(&probe)
    }

    /// The probes that ever reported.
    pub fn probes(&self) -> impl Iterator<Item = (ProbeName, &HeldProbe)> {
        self.probes.iter().map(|(name, held)| (*name, held))
    }
}

/// A connection of an agent, as its collector sees it: address translation in between shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// Where the agent's end is.
    pub from: SocketAddr,
    /// Where the collector's end is.
    pub to: SocketAddr,
}

/// The most recorded gaps that a host's session shows.
pub const MAX_GAPS: usize = 32;

/// What the collector knows of a host besides its facts. Times are by the collector's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// When the host was enrolled.
    pub enrolled_at: Timestamp,
    /// When its last report came.
    pub last_report_at: Option<Timestamp>,
    /// How often it reports: the shortest interval of its probes.
    pub interval: Duration,
    /// Whether a session is open now.
    pub connected: bool,
    /// The connection of the open session; `None` while there is none.
    pub connection: Option<Connection>,
    /// When it said a signed goodbye, if nothing came since.
    pub goodbye_at: Option<Timestamp>,
    /// How far its clock was ahead of the collector's at the last live message; negative: behind.
    pub clock_ahead_millis: Option<i64>,
    /// When its certificate ends.
    pub certificate_ends: Timestamp,
    /// When its certificate began.
    pub certificate_began: Timestamp,
    /// The last place that is durable at the collector.
    pub acknowledged: Option<Place>,
    /// Reports accepted since the host was enrolled, duplicates not counted.
    pub reports_accepted: u64,
    /// Recorded gaps, newest first, at most [`MAX_GAPS`]; they go with the retention.
    pub gaps: Vec<Gap>,
    /// Reports lost in recorded gaps since the host was enrolled.
    pub lost_reports: u64,
    /// When the last gap was recorded.
    pub last_gap_at: Option<Timestamp>,
    /// When two machines were last seen to use this identity.
    pub twin_seen_at: Option<Timestamp>,
    /// A re-imaged machine waits for approval to take this host's name, since then.
    pub approval_waiting_since: Option<Timestamp>,
}

/// One host as the checks see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// Identity.
    pub key: HostKey,
    /// The name it was enrolled under.
    pub name: HostName,
    /// The zone it was enrolled into.
    pub zone: ZoneName,
    /// What its session tells.
    pub session: Session,
    /// Its facts.
    pub facts: FactSet,
    /// The ruleset that was pushed to it last; `None`: none ever was.
    pub pushed: Option<Pushed>,
}

/// The ruleset that a host should hold by the collector's word: of the newest push that names the
/// host and did not fail, and was not cancelled, before it got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Which order.
    pub order: OrderRef,
    /// When it was pushed.
    pub at: Timestamp,
    /// The push goes on: the host may still be on its way to it.
    pub running: bool,
}
