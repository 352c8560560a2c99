//! The probe `enforcement`: what the enforcer enforces, and what its table counts.
//!
//! | what | from where | told of changes |
//! |---|---|---|
//! | orders, quarantine, drift, other tables | the enforcer's socket | yes: the enforcer answers a watch |
//! | counters of `table inet bailey` | the kernel, netlink | no: read at every interval |
//!
//! While nothing moves, one small question waits at the socket and is asked anew each minute; no
//! program is run. A host without an enforcer has no such facts at all. One whose enforcer does not
//! answer, or is gone since the agent began, has an unreadable one.
//!
//! It cannot know what somebody with root's rights makes the enforcer say; the probe `firewall` reads
//! the same table by itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bailey_rules::fact::enforcement::{
    DriftEnd, DriftSeen, Enforcement, LastChange, MAX_COUNTERS, MAX_DRIFT_LINES, PendingOrder,
    QuarantineOrder, RuleCounter,
};
use bailey_rules::fact::{Fact, FactKind, ProbeName, bounded};
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;
use futures::future::BoxFuture;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::firewall::watch;
use super::{Probe, ProbeError, Wake};
use crate::clock::{Clock as _, SystemClock};
use crate::enforce::drift::Drift;
use crate::enforce::ruleset::TABLE;
use crate::enforce::socket::{Answer, Request, Status, ask};

/// How long the enforcer may take to answer. One that checks a large ruleset takes its time.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// An enforcer that does not answer is asked again so often whether it does.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Reads what the enforcer says.
#[derive(Debug)]
pub struct EnforcementProbe {
    socket: PathBuf,
    held: Held,
}

/// What was heard last.
#[derive(Debug)]
enum Held {
    /// There is no enforcer, nor was there one since the agent began.
    None,
    /// How things stood.
    Status(Box<Status>, PendingUntil),
    /// It did not answer, and why.
    Silent(String),
}

/// When the pending ruleset is reverted, by the system's clock. It is worked out once for each, so that
/// the fact stands still.
type PendingUntil = Option<PendingOrder>;

impl EnforcementProbe {
    /// A probe that asks the enforcer at `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), held: Held::None }
    }

    /// Whether somebody listens at the socket, or did and was killed.
    fn is_there(&self) -> bool {
        std::fs::symlink_metadata(&self.socket).is_ok()
    }

    async fn read_all(&mut self) -> Vec<Fact> {
        if matches!(self.held, Held::None) && !self.is_there() {
            return Vec::new();
        }
        let before = match &self.held {
            Held::Status(_, until) => *until,
            Held::None | Held::Silent(_) => None,
        };
        self.held = match timeout(ANSWER_LIMIT, ask(&self.socket, &Request::Status, &[])).await {
            Ok(Ok(Answer::Done(status))) => {
                let until = pending_until(&status, before, SystemClock.now());
                Held::Status(status, until)
            }
            Ok(Ok(Answer::Refused { error: _, why })) => Held::Silent(why),
            Ok(Err(error)) => Held::Silent(error.to_string()),
            Err(_) => {
                Held::Silent(format!("the enforcer is busy for {} s", ANSWER_LIMIT.as_secs()))
            }
        };
        match &self.held {
            Held::None => Vec::new(),
            Held::Silent(why) => vec![Fact::unreadable(FactKind::Enforcement, "", why)],
            Held::Status(status, until) => {
                let mut facts = vec![Fact::known("", enforcement(status, *until))];
                if status.in_force.is_some() {
                    facts.extend(counters());
                }
                facts
            }
        }
    }

    /// Completes when the enforcer says something else than it said last.
    async fn changed(&self) {
        match &self.held {
            // Whether one is installed is seen at the next interval.
            Held::None => std::future::pending().await,
            Held::Silent(_) => loop {
                sleep(ASK_AGAIN).await;
                let asked = ask(&self.socket, &Request::Status, &[]);
                if matches!(timeout(ANSWER_LIMIT, asked).await, Ok(Ok(Answer::Done(_)))) {
                    return;
                }
            },
            Held::Status(status, _) => {
                let seen = status.mark();
                loop {
                    match ask(&self.socket, &Request::Watch { seen }, &[]).await {
                        Ok(Answer::Done(now)) if now.mark() == seen => {}
                        Ok(Answer::Done(_) | Answer::Refused { .. }) => return,
                        Err(error) => {
                            debug!(%error, "the enforcer does not answer any more");
                            return;
                        }
                    }
                }
            }
        }
    }
}

impl Probe for EnforcementProbe {
    fn name(&self) -> ProbeName {
        ProbeName::Enforcement
    }

    fn read(&mut self, _wake: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
        Box::pin(async { Ok(self.read_all().await) })
    }

    fn told(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.changed())
    }
}

fn pending_until(status: &Status, before: PendingUntil, now: Timestamp) -> PendingUntil {
    let order = status.pending?.order;
    let left = Duration::from_millis(status.reverts_in_millis.unwrap_or(0));
    before
        .filter(|before| before.order == order)
        .or(Some(PendingOrder { order, until: now + left }))
}

fn enforcement(status: &Status, pending: PendingUntil) -> Enforcement {
    Enforcement {
        key: status.key.clone(),
        highest: status.highest,
        mode: status.mode,
        in_force: status.in_force,
        confirmed: status.confirmed,
        pending,
        quarantine: status.quarantine.as_ref().map(|quarantine| QuarantineOrder {
            order: quarantine.order,
            until: Timestamp::from_millis(quarantine.until_millis),
            reason: bounded(&quarantine.reason),
        }),
        last: status.last.map(|last| LastChange {
            at: Timestamp::from_millis(last.at_millis),
            version: last.version,
            what: last.what,
        }),
        drift: status.drift.as_ref().map(drift),
        restored: status.restored,
        other: status.other.clone(),
        round: status.round.clone(),
        problem: status.problem.as_deref().map(bounded),
    }
}

fn drift(drift: &Drift) -> DriftSeen {
    let cut = |lines: &[String]| {
        let kept: Vec<String> = lines.iter().take(MAX_DRIFT_LINES).cloned().collect();
        let more = lines.len() - kept.len();
        (kept, more)
    };
    let (added, more_added) = cut(&drift.added);
    let (removed, more_removed) = cut(&drift.removed);
    let more = drift.more.saturating_add(more_added).saturating_add(more_removed);
    DriftSeen {
        since: Timestamp::from_millis(drift.since_millis),
        ended: drift
            .ended
            .map(|ended| DriftEnd { at: Timestamp::from_millis(ended.at_millis), how: ended.how }),
        by: drift.by.clone(),
        added,
        removed,
        more: u64::try_from(more).unwrap_or(u64::MAX),
    }
}

/// The counters of our table, as the kernel has them.
fn counters() -> Vec<Fact> {
    let (family, table) = TABLE.split_once(' ').expect("a family and a name");
    match watch::counters(family, table, MAX_COUNTERS) {
        Err(why) => vec![Fact::unreadable(FactKind::RuleCounter, "", why)],
        Ok((counters, count)) => {
            let left_out = count.saturating_sub(counters.len());
            let more = (left_out > 0).then(|| {
                let why = format!("{left_out} counters more than the {MAX_COUNTERS} that are read");
                Fact::unreadable(FactKind::RuleCounter, "", why)
            });
            counters
                .into_iter()
                .map(|(name, (packets, octets))| {
                    Fact::known(&name, RuleCounter { packets, octets: Bytes(octets) })
                })
                .chain(more)
                .collect()
        }
    }
}
