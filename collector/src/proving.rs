//! Proof of the running site: whenever a ruleset, an address, a route or the policy changes, it is
//! decided anew whether any packet can break an invariant.
//!
//! One path for everything: whatever woke the task (a listing, a fact, another policy, a timer, a start
//! of the collector), it looks at the whole site, has what changed proved by a thread of its own
//! ([`worker`]), and tells the answers to checks, pages, metrics and the store ([`record`]).
//!
//! An answer is of the moment at which the site was looked at. It counts as fresh while nothing that
//! it rests on has changed, no host that it rests on has fallen silent, and it is not older than
//! [`FRESH_FOR`]: see [`Known::old`].

pub(crate) mod record;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bailey_rules::host::HostView;
use bailey_rules::listing::{ListingSource, Listings};
use bailey_rules::name::HostName;
use bailey_rules::policy::{Demand, Party, Policy};
use bailey_rules::prove::site::assemble::{Inputs, Told, aged, awaits, facts_of, inputs, wires};
use bailey_rules::prove::site::told::{About, Answer, Basis, Breach, Proof, Standing};
use bailey_rules::prove::site::{Port, Result as Proved};
use bailey_rules::text::Text;
use bailey_rules::time::{Timestamp, spoken};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::host::Host;
use crate::journal::NewEvent;
use crate::quota::{Bucket, Rate};
use crate::site::{Config, EventKind, Part, Site};
use record::{Beside, Record};
use worker::{Done, Job, Worker};
pub(crate) use worker::{NotFollowed, Questions};

/// An answer that is older says nothing of what is there now.
pub const FRESH_FOR: Duration = Duration::from_mins(15);

/// Whatever does not change is looked at again after this time.
pub const PROVED_EVERY: Duration = Duration::from_mins(10);

/// The shortest pause between two looks: what arrives together is proved together.
const PAUSE: Duration = Duration::from_millis(250);

/// How much longer than a proof the pause after it is, so that proofs never take more than half of the
/// time of one core.
const REST: u32 = 1;

/// How long the listing of a ruleset that the facts tell of may be on its way. A host is taken as it
/// was meanwhile, and what rests on it is stale; after that the ruleset counts as not known.
const LISTING_GRACE: Duration = Duration::from_secs(5);

/// How long to wait after a fault, or while a host of the first look is not complete.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);

/// The most hosts whose facts are accounted for in one answer.
const MAX_ACCOUNTED: usize = 500;

/// Changes of one answer that are events and rows of their own at once, and after that one in each
/// [`CHANGE_REFILL`]: whoever flaps on purpose cannot drown what else was.
const CHANGE_BURST: u32 = 120;
/// See [`CHANGE_BURST`].
const CHANGE_REFILL: Duration = Duration::from_secs(30);

/// That an answer still holds is written at most this often.
const CONFIRMED_WRITTEN: Duration = Duration::from_mins(1);

/// What is known of one invariant.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// The newest answer.
    pub(crate) proof: Arc<Proof>,
    /// Since when it is the answer, without a gap in which nobody looked.
    pub(crate) since: Timestamp,
    /// When it was last an answer about what was there; nothing where it never was.
    pub(crate) seen_at: Option<Timestamp>,
}

/// The hosts of which something about an invariant is told, as findings are of hosts. Who was told of
/// once stays it: only a proof resolves a finding, and it must be told of the same host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ToldOf {
    breach_at: Option<HostName>,
    doubt_at: Option<HostName>,
}

/// What has changed and is not proved yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Behind {
    /// Policy, wires or hosts: any answer may be another.
    everything: bool,
    /// The packet filters of these.
    hosts: BTreeSet<HostName>,
}

/// All answers at one moment.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub(crate) answers: BTreeMap<String, Held>,
    told: BTreeMap<String, ToldOf>,
    /// Which invariants concern a host.
    of_host: HashMap<HostName, BTreeSet<String>>,
    behind: Behind,
}

/// The answers that say nothing of what is there now, and why.
#[derive(Debug, Default)]
pub(crate) struct Olds(HashMap<String, Text>);

impl Known {
    /// Why an answer says nothing of what is there now; nothing while it does. `view` gives what is
    /// known of a host now.
    pub(crate) fn old(
        &self,
        held: &Held,
        now: Timestamp,
        view: impl Fn(&HostName) -> Option<Arc<HostView>>,
    ) -> Option<Text> {
        let proof = &held.proof;
        if self.behind.everything || !self.behind.hosts.is_disjoint(&proof.hosts) {
            return Some(Text::new(
                "what it rests on has changed since, and is being proved",
                "其依据已发生变化，正在重新证明",
            ));
        }
        let proved_at = proof.basis.as_ref().map(|basis| basis.proved_at);
        let age = proved_at.map_or(Duration::MAX, |at| at.age(now));
        if age > FRESH_FOR {
            let age = spoken(age);
            return Some(Text::new(
                format!("it was last proved {} ago", age.en),
                format!("上次证明于 {}前", age.zh),
            ));
        }
        proof.hosts.iter().find_map(|host| aged(&*view(host)?, now))
    }

    /// What every invariant of the policy amounts to now, in the order of names.
    pub(crate) fn standings<'a>(
        &'a self,
        policy: &'a Policy,
        now: Timestamp,
        view: impl Fn(&HostName) -> Option<Arc<HostView>>,
    ) -> Vec<Stands<'a>> {
        let all = policy.invariants.iter();
        all.map(|(name, one)| {
            let held = self.answers.get(name);
            let old = match held {
                Some(held) => self.old(held, now, &view),
                None => Some(Text::new("it was never proved", "尚未进行过证明")),
            };
            let fresh = old.is_none();
            let standing = held.map_or(Standing::Stale, |held| held.proof.standing(fresh));
            Stands { name, demand: &one.what, line: one.line, held, old, standing }
        })
        .collect()
    }

    /// Which answers say nothing of what is there now.
    pub(crate) fn olds(
        &self,
        now: Timestamp,
        view: impl Fn(&HostName) -> Option<Arc<HostView>>,
    ) -> Olds {
        let old =
            |(name, held): (&String, &Held)| Some((name.clone(), self.old(held, now, &view)?));
        Olds(self.answers.iter().filter_map(old).collect())
    }

    /// What is told of one host.
    pub(crate) fn about(&self, host: &HostName, olds: &Olds) -> Vec<About> {
        let nobody = ToldOf::default();
        let concerned = self.of_host.get(host).into_iter().flatten().map(|name| {
            let told = self.told.get(name).unwrap_or(&nobody);
            About {
                invariant: name.clone(),
                proof: self.answers.get(name).map(|held| Arc::clone(&held.proof)),
                old: olds.0.get(name).cloned(),
                breach_here: told.breach_at.as_ref() == Some(host),
                doubt_here: told.doubt_at.as_ref() == Some(host),
            }
        });
        concerned.collect()
    }

    /// The same with the invariants that concern each host.
    fn indexed(mut self) -> Self {
        let mut of_host: HashMap<HostName, BTreeSet<String>> = HashMap::new();
        let rests_on = self
            .answers
            .iter()
            .flat_map(|(name, held)| held.proof.hosts.iter().map(move |host| (host, name)));
        let told = self.told.iter().flat_map(|(name, told)| {
            let hosts = [&told.breach_at, &told.doubt_at].into_iter().flatten();
            hosts.map(move |host| (host, name))
        });
        for (host, name) in rests_on.chain(told) {
            of_host.entry(host.clone()).or_default().insert(name.clone());
        }
        self.of_host = of_host;
        self
    }
}

/// One invariant with what it amounts to.
#[derive(Debug, Clone)]
pub(crate) struct Stands<'a> {
    pub(crate) name: &'a str,
    pub(crate) demand: &'a Demand,
    /// The line of the policy it stands on.
    pub(crate) line: u64,
    /// The newest answer; nothing where it was never proved.
    pub(crate) held: Option<&'a Held>,
    /// Why that says nothing of what is there now.
    pub(crate) old: Option<Text>,
    pub(crate) standing: Standing,
}

/// The newest answers. Whoever reads them sees one moment.
#[derive(Debug, Default)]
pub(crate) struct Proofs(ArcSwap<Known>);

impl Proofs {
    pub(crate) fn known(&self) -> Arc<Known> {
        self.0.load_full()
    }

    /// Only the task that proves calls this, and what restores the site before it.
    pub(crate) fn set(&self, known: Known) {
        self.0.store(Arc::new(known));
    }
}

/// What a host told until now.
#[derive(Debug, Clone)]
struct Words {
    view: Arc<HostView>,
    listings: Arc<Listings>,
    unlisted: Arc<BTreeMap<ListingSource, String>>,
}

impl Words {
    fn of(host: &Host) -> Self {
        let kept = host.kept_listings();
        Self { view: host.view(), listings: kept.listings(), unlisted: kept.unlisted() }
    }

    fn told(&self) -> Told<'_> {
        Told { view: &self.view, listings: &self.listings, unlisted: &self.unlisted }
    }

    /// Whether nothing was said in between, as far as a glance shows.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.view, &other.view)
            && Arc::ptr_eq(&self.listings, &other.listings)
            && Arc::ptr_eq(&self.unlisted, &other.unlisted)
    }
}

/// What of a host was looked at.
#[derive(Debug)]
struct Seen {
    words: Words,
    inputs: Inputs,
}

/// Proves the site.
pub(crate) struct Proving {
    site: Site,
    stop: CancellationToken,
    worker: Worker,
    record: Record,
    /// The generation of the configuration whose policy was proved last.
    generation: Option<u64>,
    /// SHA-256 of that policy.
    policy: [u8; 32],
    seen: BTreeMap<HostName, Seen>,
    wires: Vec<BTreeSet<Port>>,
    /// The hosts whose listing is awaited.
    awaited: HashMap<HostName, Awaited>,
    changes: HashMap<String, Bucket>,
}

/// A host whose listing is on its way.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    since: Instant,
    /// Whether it may have moved a wire meanwhile.
    moves: bool,
}

/// What a look at the site found.
struct Look {
    config: Arc<Config>,
    hosts: Vec<(Words, Inputs)>,
    removed: Vec<HostName>,
    wires: Option<Vec<BTreeSet<Port>>>,
    policy: bool,
    behind: Behind,
    /// A host that must be in the model is not complete yet.
    wait: bool,
}

impl Proving {
    /// What proves `site`. Answers of before stand in it already: see [`restore`].
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn new(site: Site, stop: CancellationToken) -> std::io::Result<Self> {
        let record = Record::of(&site.proofs());
        let worker = Worker::start(stop.clone())?;
        site.take_questions(worker.questions());
        Ok(Self {
            site,
            worker,
            stop,
            record,
            generation: None,
            policy: [0; 32],
            seen: BTreeMap::new(),
            wires: Vec::new(),
            awaited: HashMap::new(),
            changes: HashMap::new(),
        })
    }

    /// Proves until the collector stops.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let site = self.site.clone();
        let mut due = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = site.proof_wake().notified() => {}
                () = tokio::time::sleep(due) => {}
            }
            let began = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
            due = match (self.generation, self.awaited.is_empty()) {
                (None, _) => BEGIN_AGAIN,
                (Some(_), false) => PAUSE,
                (Some(_), true) => PROVED_EVERY,
            };
            let rest = (began.elapsed() * REST).max(PAUSE);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Looks at the site, proves what changed and tells what came of it.
    async fn round(&mut self) {
        let now = self.site.now();
        let look = self.look();
        let known = self.site.proofs();
        if known.behind != look.behind {
            let behind = look.behind.clone();
            self.site.set_proofs(Known { behind, ..Known::clone(&known) });
            self.site.dirty().wake.notify_one();
        }
        if look.wait {
            return;
        }
        let behind = self.still_behind();
        let policy = Arc::clone(&look.config.policy);
        let job = self.job(look);
        let began = Instant::now();
        let Some(done) = self.worker.prove(job).await else {
            self.begin_again();
            return;
        };
        self.site.set_problem(Part::Proofs, None);
        self.site.counters().proof_duration.note(began.elapsed(), 1);
        self.tell(&policy, done, behind, now).await;
    }

    /// The thread has ended: the collector stops, or there was a fault of ours. Then everything is proved
    /// anew, and until then nothing is.
    fn begin_again(&mut self) {
        if self.stop.is_cancelled() {
            return;
        }
        let problem = match Worker::start(self.stop.clone()) {
            Ok(worker) => {
                self.worker = worker;
                "the thread that proves has ended by a fault; it is tried again".to_owned()
            }
            Err(error) => format!("no thread for proofs: {error}"),
        };
        error!(problem, "nothing is proved now");
        self.site.set_problem(Part::Proofs, Some(problem));
        self.generation = None;
        self.seen.clear();
        self.wires.clear();
        let behind = Behind { everything: true, ..Behind::default() };
        self.site.set_proofs(Known { behind, ..Known::clone(&self.site.proofs()) });
    }

    /// Whether a host may go on being taken as it was. `moves`: it is somewhere else now.
    fn may_wait(&mut self, name: &HostName, moves: bool) -> bool {
        let begun = || Awaited { since: Instant::now(), moves };
        let awaited = self.awaited.entry(name.clone()).or_insert_with(begun);
        awaited.moves |= moves;
        awaited.since.elapsed() < LISTING_GRACE
    }

    fn look(&mut self) -> Look {
        let config = self.site.config();
        let policy = self.generation != Some(config.generation);
        let held = self.site.held();
        let names: BTreeSet<&HostName> = held.iter().map(|host| &host.name).collect();
        let gone = self.seen.keys().filter(|name| !names.contains(name));
        let removed: Vec<HostName> = gone.cloned().collect();
        self.awaited.retain(|name, _| names.contains(name));
        let mut look = Look {
            behind: Behind { everything: policy || !removed.is_empty(), ..Behind::default() },
            config,
            hosts: Vec::new(),
            removed,
            wires: None,
            policy,
            wait: false,
        };
        let mut views = Vec::with_capacity(held.len());
        let mut moved = policy || !look.removed.is_empty();
        for host in &held {
            let words = Words::of(host);
            views.push(Arc::clone(&words.view));
            moved |= self.look_at(words, &mut look);
        }
        if moved {
            let wires = wires(views.iter().map(|view| &**view));
            if wires != self.wires {
                look.behind.everything = true;
                look.wires = Some(wires);
            }
        }
        look
    }

    /// Looks at one host; gives whether anything of it is another.
    fn look_at(&mut self, words: Words, look: &mut Look) -> bool {
        let name = words.view.name.clone();
        let seen = self.seen.get_mut(&name);
        if !look.policy && seen.as_ref().is_some_and(|seen| seen.words.is(&words)) {
            return false;
        }
        let inputs = inputs(words.told(), &look.config.policy);
        let before = seen.as_ref().map(|seen| seen.inputs);
        if let Some(seen) = seen.filter(|seen| seen.inputs == inputs && !look.policy) {
            // As it was, or as it was again: only times have moved.
            seen.words = words;
            self.awaited.remove(&name);
            return true;
        }
        let moves = before.is_none_or(|before| before.network != inputs.network);
        look.behind.everything |= moves;
        look.behind.hosts.insert(name.clone());
        if awaits(words.told()) {
            if self.may_wait(&name, moves) {
                look.wait |= before.is_none() || look.policy;
                return true;
            }
        } else {
            self.awaited.remove(&name);
        }
        look.hosts.push((words, inputs));
        true
    }

    /// What stays behind when what a look found is proved: hosts whose listing is on its way.
    fn still_behind(&self) -> Behind {
        let mut behind = Behind::default();
        for (name, awaited) in &self.awaited {
            if awaited.since.elapsed() < LISTING_GRACE {
                behind.everything |= awaited.moves;
                behind.hosts.insert(name.clone());
            }
        }
        behind
    }

    fn job(&mut self, look: Look) -> Job {
        for name in &look.removed {
            self.seen.remove(name);
        }
        if let Some(wires) = &look.wires {
            self.wires.clone_from(wires);
        }
        if look.policy {
            self.generation = Some(look.config.generation);
            self.policy = policy_digest(&look.config.policy);
        }
        let mut hosts = Vec::with_capacity(look.hosts.len());
        for (words, inputs) in look.hosts {
            let name = words.view.name.clone();
            hosts.push(words.clone());
            self.seen.insert(name, Seen { words, inputs });
        }
        Job {
            policy: look.policy.then(|| Arc::clone(&look.config.policy)),
            hosts,
            removed: look.removed,
            wires: look.wires,
        }
    }

    /// SHA-256 of everything that was proved last.
    fn inputs(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.policy);
        for (name, seen) in &self.seen {
            hash.update(name.as_str().as_bytes());
            hash.update([0]);
            hash.update(seen.inputs.network);
            hash.update(seen.inputs.filters);
        }
        for wire in &self.wires {
            hash.update([1]);
            for Port { host, interface } in wire {
                hash.update(format!("{host} {interface}\0"));
            }
        }
        hash.finalize().iter().fold(String::with_capacity(64), |mut text, octet| {
            use std::fmt::Write as _;
            write!(text, "{octet:02x}").expect("writing to a string never fails");
            text
        })
    }

    /// Tells checks, journal and store what was found.
    async fn tell(&mut self, policy: &Policy, done: Done, behind: Behind, now: Timestamp) {
        let before = self.site.proofs();
        let inputs = self.inputs();
        let mut known = Known { behind, ..Known::default() };
        // Whoever has something else told of it now is judged at once.
        let mut concerned: BTreeSet<HostName> = BTreeSet::new();
        let mut beside = Beside::default();
        for (result, took) in &done.results {
            let name = &result.invariant;
            let basis = self.basis(result, &done, &inputs, *took, now);
            let proof = Arc::new(Proof { basis: Some(basis), ..Proof::of(result) });
            let had = before.answers.get(name);
            let had_told = before.told.get(name).cloned().unwrap_or_default();
            let same = had.filter(|had| had.proof.answer == proof.answer);
            let told = self.told(policy, &proof, had_told.clone());
            if same.is_none() || told != had_told {
                let hosts = had.iter().flat_map(|had| &had.proof.hosts).chain(&proof.hosts);
                let told =
                    [&had_told.breach_at, &had_told.doubt_at, &told.breach_at, &told.doubt_at];
                concerned.extend(hosts.chain(told.into_iter().flatten()).cloned());
            }
            if same.is_none() {
                if self.may_change(name) {
                    beside.events.push(changed(&proof, &told, now));
                } else {
                    beside.flapping.insert(name.clone());
                }
            }
            let held = Held { proof, since: now, seen_at: Some(now) };
            let is_fresh = known.old(&held, now, |host| self.view(host)).is_none();
            if is_fresh {
                beside.fresh.insert(name.clone());
            }
            // After a time in which nobody looked it may be the same answer, but not all the time.
            let no_gap = |had: &&Held| had.seen_at.is_some_and(|at| at.age(now) <= FRESH_FOR);
            let held = match same.filter(|had| !is_fresh || no_gap(had)) {
                Some(had) if is_fresh => Held { since: had.since, ..held },
                Some(had) => Held { since: had.since, seen_at: had.seen_at, ..held },
                None if is_fresh => held,
                None => Held { seen_at: None, ..held },
            };
            known.answers.insert(name.clone(), held);
            known.told.insert(name.clone(), told);
        }
        self.changes.retain(|name, _| known.answers.contains_key(name));
        self.site.set_proofs(known.indexed());
        for name in concerned {
            if let Some(host) = self.site.by_name(&name) {
                host.touch();
            }
        }
        self.site.dirty().wake.notify_one();
        let known = self.site.proofs();
        self.record.write(&self.site, &known, beside, now).await;
    }

    fn view(&self, host: &HostName) -> Option<Arc<HostView>> {
        self.site.by_name(host).map(|host| host.view())
    }

    fn basis(
        &self,
        result: &Proved,
        done: &Done,
        inputs: &str,
        took: Duration,
        now: Timestamp,
    ) -> Basis {
        let accounted = result.hosts.iter().take(MAX_ACCOUNTED).filter_map(|host| {
            let seen = self.seen.get(host)?;
            let unread = done.unread.get(host).map(Vec::as_slice).unwrap_or_default();
            Some(facts_of(seen.words.told(), unread))
        });
        Basis {
            proved_at: now,
            took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            inputs: inputs.to_owned(),
            facts: accounted.collect(),
        }
    }

    /// The hosts of which an answer is told; those of before where it names no other.
    fn told(&self, policy: &Policy, proof: &Proof, had: ToldOf) -> ToldOf {
        match &proof.answer {
            Answer::Broken { breach } => {
                let breach_at = self.host_of(policy, proof, on_the_way(breach));
                ToldOf { breach_at: breach_at.or(had.breach_at), ..had }
            }
            Answer::OutOfModel { at, .. } => {
                let named = at.as_deref().and_then(|at| at.split(':').next()?.parse().ok());
                let doubt_at = self.host_of(policy, proof, named.into_iter().collect());
                ToldOf { doubt_at: doubt_at.or(had.doubt_at), ..had }
            }
            Answer::Proved { .. } => had,
        }
    }

    /// The host of which something is told: the first of those named that is enrolled, or else one that
    /// the proof looked at, or else one of the zones that the invariant is about, or else any: what is
    /// broken must be told, wherever.
    fn host_of(&self, policy: &Policy, proof: &Proof, named: Vec<HostName>) -> Option<HostName> {
        let held = |name: &HostName| self.seen.contains_key(name);
        let looked_at = proof.hosts.iter().cloned();
        if let Some(name) = named.into_iter().chain(looked_at).find(held) {
            return Some(name);
        }
        let zones = policy.invariants.get(&proof.invariant).map(|one| zones_of(&one.what));
        let in_zone = |seen: &&Seen| {
            zones.as_ref().is_some_and(|zones| zones.contains(seen.words.view.zone.as_str()))
        };
        let all = || self.seen.values();
        all().find(in_zone).or_else(|| all().next()).map(|seen| seen.words.view.name.clone())
    }

    /// Whether another change of an answer is one of its own.
    fn may_change(&mut self, invariant: &str) -> bool {
        let now = Instant::now();
        let a_second = 1.0 / CHANGE_REFILL.as_secs_f64();
        let full = || Bucket::full(Rate { a_second, burst: f64::from(CHANGE_BURST) }, now);
        self.changes.entry(invariant.to_owned()).or_insert_with(full).take(now)
    }
}

/// The event that an answer has changed.
fn changed(proof: &Proof, told: &ToldOf, now: Timestamp) -> NewEvent {
    let name = &proof.invariant;
    let (kind, host, text) = match &proof.answer {
        Answer::Proved { .. } => (
            EventKind::InvariantProved,
            None,
            Text::new(format!("{name} is proved"), format!("{name} 已证明")),
        ),
        Answer::Broken { breach } => {
            let (packet, end) = (&breach.packet, &breach.end);
            let en = format!("{name} is broken: {packet}: {}", end.en);
            let zh = format!("{name} 被违反：{packet}：{}", end.zh);
            (EventKind::InvariantBroken, told.breach_at.clone(), Text::new(en, zh))
        }
        Answer::OutOfModel { statement, at, .. } => {
            let at = at.as_ref().map_or_else(String::new, |at| format!(" ({at})"));
            let en = format!("whether {name} holds is not known: {statement}{at}");
            let zh = format!("{name} 是否成立无法判定：{statement}{at}");
            (EventKind::InvariantDoubted, told.doubt_at.clone(), Text::new(en, zh))
        }
    };
    info!(invariant = name, change = kind.as_str(), "{}", text.en);
    NewEvent { at: now, host, kind, text, actor: None }
}

/// The hosts where a breach can be stopped, best first.
fn on_the_way(breach: &Breach) -> Vec<HostName> {
    let cuts = breach.cuts.iter().map(|cut| &cut.host);
    let path = breach.path.iter().filter_map(|hop| hop.host.as_ref());
    breach.at().into_iter().chain(cuts).chain(path).cloned().collect()
}

fn zones_of(demand: &Demand) -> BTreeSet<String> {
    let (Demand::Never { from, to }
    | Demand::Only { from, to, .. }
    | Demand::Always { from, to, .. }) = demand;
    let zone = |party: &Party| match party {
        Party::Zone(zone) => Some(zone.to_string()),
        Party::Group(_) | Party::Host(_) | Party::Network(_) | Party::Internet => None,
    };
    [to, from].into_iter().filter_map(zone).collect()
}

fn policy_digest(policy: &Policy) -> [u8; 32] {
    // Whatever of a policy cannot be written down would be missing from the digest of every version.
    let text = serde_json::to_vec(policy).unwrap_or_default();
    Sha256::digest(text).into()
}

/// Puts back what was known when the collector was last there. All of it is behind until it is proved
/// again.
pub(crate) fn restore(site: &Site, rows: Vec<record::Row>) {
    let mut told: BTreeMap<String, ToldOf> = BTreeMap::new();
    for finding in site.findings() {
        let (name, host) = (finding.subject, finding.host_name);
        match finding.check.as_str() {
            "invariant" => told.entry(name).or_default().breach_at = Some(host),
            "proof" => told.entry(name).or_default().doubt_at = Some(host),
            _ => {}
        }
    }
    let answers = rows.into_iter().map(|row| {
        let seen_at = (row.to >= row.from).then_some(row.to);
        let held = Held { since: row.from, seen_at, proof: Arc::new(row.proof) };
        (held.proof.invariant.clone(), held)
    });
    let behind = Behind { everything: true, ..Behind::default() };
    let known = Known { answers: answers.collect(), told, behind, ..Known::default() };
    site.set_proofs(known.indexed());
}
