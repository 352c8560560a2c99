//! The thread that proves. What it has worked out stays with it, so that only what depends on a change
//! is proved again. It also follows single connections through the site as it was proved last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bailey_rules::name::HostName;
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::assemble::{assemble, without_agent};
use bailey_rules::prove::site::follow::{Asked, Followed};
use bailey_rules::prove::site::{Changes, Host, Port, Prover, Result as Proved, Site};
use bailey_rules::text::Text;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Words;

/// What has changed since the last job.
#[derive(Debug)]
pub(super) struct Job {
    /// Another policy; then every host is among `hosts`.
    pub(super) policy: Option<Arc<Policy>>,
    /// Hosts that are new or other than they were.
    pub(super) hosts: Vec<Words>,
    /// Hosts that are gone.
    pub(super) removed: Vec<HostName>,
    /// Other wires between hosts.
    pub(super) wires: Option<Vec<BTreeSet<Port>>>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    /// Every invariant that can be proved, and how long each took.
    pub(super) results: Vec<(Proved, Duration)>,
    /// What of which host is not known, in words.
    pub(super) unread: BTreeMap<HostName, Vec<String>>,
}

/// Connections that wait to be followed, at most; whoever asks for one more is told to come again.
const MAX_QUESTIONS: usize = 8;
/// How long whoever asks waits: a proof may be under way.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the thread is asked. There is one job at a time, and [`MAX_QUESTIONS`].
#[derive(Debug)]
enum Wanted {
    Proof(Box<Job>, oneshot::Sender<Done>),
    /// The permit is for its place among those that wait.
    Way(Asked, OwnedSemaphorePermit, oneshot::Sender<Option<Followed>>),
}

/// The thread. It ends after the invariant at hand when the collector stops, or when this and every
/// [`Questions`] is dropped.
#[derive(Debug)]
pub(super) struct Worker(mpsc::SyncSender<Wanted>);

/// Asks the thread about connections.
#[derive(Debug)]
pub(crate) struct Questions {
    wanted: mpsc::SyncSender<Wanted>,
    /// A question holds its place until it is taken up, so that there is always room for a proof beside
    /// them, and nobody who sends one has to wait.
    room: Arc<Semaphore>,
}

/// Why a connection was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotFollowed {
    #[error("others are asking too, or a proof takes long; ask again")]
    Busy,
    #[error("the site has not been looked at yet; ask again in a moment")]
    NothingKnown,
}

impl NotFollowed {
    /// Why, in both languages.
    pub(crate) fn text(self) -> Text {
        let zh = match self {
            Self::Busy => "有其他查询，或证明耗时较长；请重试",
            Self::NothingKnown => "尚未查看本站点；请稍后重试",
        };
        Text::new(self.to_string(), zh)
    }
}

impl Questions {
    /// What becomes of a connection in the site as it was proved last.
    pub(crate) async fn follow(&self, asked: Asked) -> Result<Followed, NotFollowed> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| NotFollowed::Busy)?;
        let (tell, told) = oneshot::channel();
        let wanted = Wanted::Way(asked, room, tell);
        self.wanted.send(wanted).map_err(|_| NotFollowed::NothingKnown)?;
        match tokio::time::timeout(PATIENCE, told).await {
            Err(_) => Err(NotFollowed::Busy),
            Ok(Err(_) | Ok(None)) => Err(NotFollowed::NothingKnown),
            Ok(Ok(Some(followed))) => Ok(followed),
        }
    }
}

impl Worker {
    pub(super) fn start(stop: CancellationToken) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::sync_channel::<Wanted>(MAX_QUESTIONS + 1);
        std::thread::Builder::new().name("proof".into()).spawn(move || {
            let mut proved: Option<Prover> = None;
            while let Ok(wanted) = waiting.recv() {
                let (job, tell) = match wanted {
                    Wanted::Proof(job, tell) => (*job, tell),
                    Wanted::Way(asked, place, tell) => {
                        drop(place);
                        // Whoever asked may have given up.
                        if !tell.is_closed() {
                            let followed = proved.as_ref().map(|prover| prover.follow(asked));
                            // Or may do so now.
                            let _ = tell.send(followed);
                        }
                        continue;
                    }
                };
                let began = Instant::now();
                let prover = moved(proved.take(), job);
                let Some(mut prover) = prover else { continue };
                let Some(done) = prove(&mut prover, &stop) else { return };
                debug!(took_micros = began.elapsed().as_micros(), nodes = prover.nodes(), "proved");
                proved = Some(prover);
                // Nobody listens any more when the collector stops.
                let _ = tell.send(done);
            }
        })?;
        Ok(Self(jobs))
    }

    /// Proves what a job changes. `None` when the thread has ended.
    pub(super) async fn prove(&self, job: Job) -> Option<Done> {
        let (tell, told) = oneshot::channel();
        self.0.send(Wanted::Proof(Box::new(job), tell)).ok()?;
        told.await.ok()
    }

    /// Somebody who may ask about connections.
    pub(super) fn questions(&self) -> Questions {
        Questions { wanted: self.0.clone(), room: Arc::new(Semaphore::new(MAX_QUESTIONS)) }
    }
}

/// The prover of the site as it is now, with what it had worked out where the policy is the same. There is
/// none before the first policy.
fn moved(before: Option<Prover>, job: Job) -> Option<Prover> {
    let Job { policy, hosts, removed, wires } = job;
    let assembled = |policy: &Policy| {
        let host = |words: &Words| (words.view.name.clone(), assemble(words.told(), policy));
        hosts.iter().map(host).collect::<BTreeMap<HostName, Host>>()
    };
    match (before, policy) {
        (None, None) => None,
        (before, Some(policy)) => {
            let known = before.map(|prover| prover.site().links.clone());
            let mut hosts = assembled(&policy);
            let silent = policy.hosts.keys().filter(|name| !hosts.contains_key(*name));
            let silent =
                silent.filter_map(|name| Some((name.clone(), without_agent(name, &policy)?)));
            let silent: Vec<(HostName, Host)> = silent.collect();
            hosts.extend(silent);
            let links = wires.or(known).unwrap_or_default();
            Some(Prover::new(Site { policy: Policy::clone(&policy), hosts, links }))
        }
        (Some(mut prover), None) => {
            let policy = &prover.site().policy;
            let told = assembled(policy).into_iter().map(|(name, host)| (name, Some(host)));
            // The policy may want it in the model all the same.
            let gone = |name: HostName| (name.clone(), without_agent(&name, policy));
            let changes: Changes = told.chain(removed.into_iter().map(gone)).collect();
            prover.change(changes, wires);
            Some(prover)
        }
    }
}

/// Proves every invariant. `None` when the collector stops meanwhile.
fn prove(prover: &mut Prover, stop: &CancellationToken) -> Option<Done> {
    let invariants = &prover.site().policy.invariants;
    let names: Vec<String> = invariants.keys().cloned().collect();
    let mut results = Vec::with_capacity(names.len());
    for name in names {
        if stop.is_cancelled() {
            return None;
        }
        let began = Instant::now();
        results.extend(prover.invariant(&name).map(|result| (result, began.elapsed())));
    }
    let unread = prover.site().hosts.iter().filter(|(_, host)| !host.unread.is_empty());
    let unread = unread.map(|(name, host)| (name.clone(), host.unread.clone())).collect();
    Some(Done { results, unread })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "
site: jiaxing
zones:
  inner: {networks: [10.1.0.0/16]}
  outer: {networks: [172.20.0.0/16]}
invariants:
  INV-01: {never: [outer, inner]}
hosts:
  fw-1: {zone: inner, addresses: [10.1.0.1, 172.20.0.1], forwards: true}
";

    fn job(policy: Option<&str>, removed: &[&str], wires: Option<Vec<BTreeSet<Port>>>) -> Job {
        let policy = policy.map(|text| Arc::new(Policy::parse("policy.yaml", text).unwrap()));
        let removed = removed.iter().map(|name| name.parse().unwrap()).collect();
        Job { policy, hosts: Vec::new(), removed, wires }
    }

    #[test]
    fn what_was_worked_out_stays_when_hosts_go_and_wires_move_elsewhere() {
        assert!(moved(None, job(None, &[], None)).is_none());
        let mut prover = moved(None, job(Some(POLICY), &[], None)).unwrap();
        prover.prove();
        // The policy still wants a host of which no agent reports any more.
        let prover = moved(Some(prover), job(None, &["fw-1", "oa-17"], None)).unwrap();
        assert!(prover.site().hosts.contains_key(&"fw-1".parse().unwrap()));
        assert!(prover.known("INV-01").is_some());
        let port = |host: &str| Port { host: host.parse().unwrap(), interface: "eth0".to_owned() };
        let wires = vec![BTreeSet::from([port("oa-17"), port("oa-18")])];
        let mut prover = moved(Some(prover), job(None, &[], Some(wires.clone()))).unwrap();
        assert!(prover.known("INV-01").is_some());
        assert_eq!(prover.site().links, wires);
        // Another policy is another site, with the wires of before.
        prover = moved(Some(prover), job(Some(POLICY), &[], None)).unwrap();
        assert!(prover.known("INV-01").is_none());
        assert_eq!(prover.site().links, wires);
    }
}
