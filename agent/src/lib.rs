//! The agent: reads facts on a host and brings them to the collector, once each and in order.
//!
//! A fact meets the parts in this order: [`probe`] (reads it) → [`rounds`] (when) → [`assemble`]
//! (what changed, as a report) → [`spool`] (on disk until the collector has it) → [`uplink`] (the
//! one connection). What a report has no room for goes beside them: [`listings`]. [`enroll`] and [`folder`] are how the host is known at all.
//!
//! The agent takes one order itself, how often to read, and runs nothing that it is sent. Signed
//! orders about rules it hands on unread ([`relay`]): rules are put into the kernel by [`enforce`],
//! which is a process of its own and takes them from nobody but the holder of the security role's
//! key.

pub mod assemble;
pub mod channel;
pub mod clock;
pub mod enforce;
pub mod enroll;
mod ffi;
pub mod folder;
pub mod listings;
pub mod own;
pub mod probe;
pub mod program;
pub mod relay;
pub mod rounds;
pub mod settings;
pub mod spool;
pub mod uplink;
pub mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::fact::ProbeName;
use tokio::sync::{Notify, mpsc, watch as channel_watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use assemble::{Assembler, Round};
use clock::{Clock, SystemClock};
use folder::{FolderError, StateFolder};
use listings::NewestListings;
use own::Own;
use probe::{Probe, Roots};
use settings::{MIN_INTERVAL, Schedules, Settings};
use spool::{RETRY_DISK, Spool, SpoolError};
use uplink::{Order, SharedSpool, Uplink, machine_hash};

/// Rounds of the same beat are collected for so long into one report.
const GATHER: Duration = Duration::from_millis(20);
/// At the start every probe has so long to answer before the first report goes without it.
const FIRST_REPORT: Duration = Duration::from_secs(2);
/// The most orders that wait to be taken up; the uplink waits beyond.
const MAX_ORDERS: usize = 16;
/// How long the uplink may take to say goodbye when the agent stops.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder, or the host is not enrolled.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// The agent of one host.
#[derive(Debug)]
pub struct Agent;

/// A running agent.
#[derive(Debug)]
pub struct AgentHandle {
    stop: channel_watch::Sender<bool>,
    core: JoinHandle<()>,
}

impl AgentHandle {
    /// Makes the last report, says goodbye to the collector, and flushes the spool.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.core.await {
            warn!(%error, "the agent did not stop in order");
        }
    }
}

impl Agent {
    /// Starts the agent on the state folder that `settings` name. With `file`, the settings file
    /// they came from is watched, and changes are taken up.
    ///
    /// # Errors
    /// When the host is not enrolled, or another agent uses the same folder. Everything else is
    /// told to the collector and tried again.
    #[allow(clippy::unused_async, reason = "must be called within a runtime")]
    pub async fn start(
        settings: Settings,
        file: Option<PathBuf>,
    ) -> Result<AgentHandle, StartError> {
        let folder = StateFolder::open(&settings.state)?;
        folder.credentials()?;
        let roots = Roots::default();
        let word = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let kernel = word(roots.proc.join("sys/kernel/random/boot_id"));
        let machine = machine_hash(&word(roots.etc.join("machine-id")), &kernel);
        let now = std::time::Instant::now();
        let spool = Spool::open(&folder.spool(), settings.spool, &kernel, &mut rand::rng(), now)?;
        let (stop, stopping) = channel_watch::channel(false);
        let core = Core {
            folder,
            roots,
            machine,
            spool: SharedSpool::new(spool),
            own: Arc::default(),
            listings: Arc::default(),
            clock: Arc::new(SystemClock),
            settings,
            file,
        };
        Ok(AgentHandle { stop, core: tokio::spawn(core.run(stopping)) })
    }
}

/// Which probes begin anew, since settings of their own have changed.
#[derive(Debug, Clone, Copy, Default)]
struct Anew {
    backup: bool,
    lines: bool,
}

/// Everything between the probes and the uplink.
struct Core {
    folder: StateFolder,
    roots: Roots,
    machine: [u8; 32],
    spool: SharedSpool,
    own: Arc<Own>,
    listings: Arc<NewestListings>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    file: Option<PathBuf>,
}

impl Core {
    /// Every probe but those that begin anew when their settings change.
    fn probes(&self) -> [Box<dyn Probe>; 6] {
        let roots = &self.roots;
        let firewall = probe::firewall::FirewallProbe::new(roots);
        let flows = probe::flows::FlowsProbe::new(roots, Arc::clone(&self.clock));
        [
            Box::new(probe::host::HostProbe::new(roots, Arc::clone(&self.own))),
            Box::new(probe::system::SystemProbe::new(roots)),
            Box::new(probe::links::LinksProbe::new(roots)),
            Box::new(firewall.listing_into(Arc::clone(&self.listings))),
            Box::new(probe::enforcement::EnforcementProbe::new(&self.settings.enforcer)),
            Box::new(flows.remembering_in(self.folder.path())),
        ]
    }

    /// The probe for backups.
    fn backup(&self) -> Box<dyn Probe> {
        let probe = probe::backup::BackupProbe::new(&self.settings.backup);
        Box::new(probe.remembering_in(self.folder.path()))
    }

    /// The probe for lines.
    fn lines(&self) -> Box<dyn Probe> {
        Box::new(probe::lines::LinesProbe::new(&self.settings.lines, self.clock.now()))
    }

    async fn run(mut self, mut stopping: channel_watch::Receiver<bool>) {
        let (send_rounds, mut rounds) = mpsc::channel(rounds::MAX_ROUNDS);
        let (schedules, intervals) = channel_watch::channel(self.settings.probes);
        let (address, destination) = channel_watch::channel(self.settings.collector.clone());
        let (send_orders, mut orders) = mpsc::channel(MAX_ORDERS);
        let news = Arc::new(Notify::new());
        let beat = Instant::now();
        let mut tasks = JoinSet::new();
        let clock = Arc::clone(&self.clock);
        let start = |tasks: &mut JoinSet<()>, probe: Box<dyn Probe>| {
            let (clock, rounds) = (Arc::clone(&clock), send_rounds.clone());
            tasks.spawn(rounds::run(probe, beat, intervals.clone(), clock, rounds))
        };
        for probe in self.probes() {
            start(&mut tasks, probe);
        }
        let mut backup = start(&mut tasks, self.backup());
        let mut lines = start(&mut tasks, self.lines());
        let uplink = Uplink {
            folder: self.folder.clone(),
            address: destination,
            spool: self.spool.clone(),
            news: Arc::clone(&news),
            orders: send_orders,
            own: Arc::clone(&self.own),
            listings: Arc::clone(&self.listings),
            clock: Arc::clone(&self.clock),
            machine: self.machine,
            enforcer: self.settings.enforcer.clone(),
        };
        let (stop_uplink, uplink_stopping) = channel_watch::channel(false);
        let mut uplink = tokio::spawn(uplink.run(uplink_stopping));
        let mut watch = watch::SettingsWatch::new(self.file.clone());

        let mut assembler = Assembler::new(&self.settings.probes, self.clock.now());
        let mut missing: Vec<ProbeName> = ProbeName::ALL.to_vec();
        let mut wanted: Vec<(ProbeName, Option<Duration>)> = Vec::new();
        let mut lost = self.spool.lost().await;
        // Whether reports are in memory only.
        let mut held = false;
        // When what has come is put into a report; `None`: nothing has come.
        let mut due: Option<Instant> = None;
        let first = beat + FIRST_REPORT;
        loop {
            tokio::select! {
                round = rounds.recv() => {
                    let Some(round) = round else { break };
                    due = Some(take(round, &mut assembler, &mut missing, due, first));
                }
                Some(order) = orders.recv() => match order {
                    Order::SendEverything => {
                        assembler.send_everything();
                        if missing.is_empty() {
                            due = due.or(Some(Instant::now()));
                        }
                    }
                    Order::Intervals(intervals) => {
                        wanted = intervals;
                        let now = ordered(self.settings.probes, &wanted);
                        schedules.send_if_modified(|held| std::mem::replace(held, now) != now);
                    }
                },
                () = sleep_until(due.unwrap_or(first)), if due.is_some() => {
                    due = None;
                    let now = self.spool.lost().await;
                    if std::mem::replace(&mut lost, now) != now {
                        assembler.send_everything();
                    }
                    held = self.keep(&mut assembler, &news).await;
                }
                () = sleep(RETRY_DISK), if held => {
                    self.spool.tend().await;
                    held = self.spool.tell(&self.own).await;
                }
                reloaded = watch.changed() => {
                    let anew = self.reload(&reloaded, &schedules, &address, &wanted).await;
                    if anew.backup {
                        backup.abort();
                        backup = start(&mut tasks, self.backup());
                    }
                    if anew.lines {
                        lines.abort();
                        lines = start(&mut tasks, self.lines());
                    }
                }
                () = uplink::stopped(&mut stopping) => break,
            }
        }
        tasks.shutdown().await;
        self.keep(&mut assembler, &news).await;
        stop_uplink.send_replace(true);
        if timeout(STOP_LIMIT, &mut uplink).await.is_err() {
            uplink.abort();
            // Aborted, it gives its share of the spool back.
            let _ = uplink.await;
        }
        self.spool.close().await;
        info!("the agent has stopped");
    }

    /// Puts everything that is new into reports and keeps them.
    /// Tells whether some are in memory only.
    async fn keep(&self, assembler: &mut Assembler, news: &Notify) -> bool {
        while assembler.has_news() {
            let now = self.clock.now();
            if self.spool.keep(|place| assembler.report(place, now)).await.is_none() {
                break;
            }
        }
        news.notify_one();
        self.spool.tell(&self.own).await
    }

    /// Takes up changed settings; bad ones are said and the old ones stay. Tells which probes must
    /// begin anew.
    async fn reload(
        &mut self,
        reloaded: &Path,
        schedules: &channel_watch::Sender<Schedules>,
        address: &channel_watch::Sender<Option<String>>,
        wanted: &[(ProbeName, Option<Duration>)],
    ) -> Anew {
        match Settings::read(reloaded, Some(self.folder.path())) {
            Ok(settings) => {
                self.own.set_problem(own::Part::Settings, None);
                if settings == self.settings {
                    return Anew::default();
                }
                info!("the settings file has changed and is taken up");
                let anew = Anew {
                    backup: settings.backup != self.settings.backup,
                    lines: settings.lines != self.settings.lines,
                };
                let now = ordered(settings.probes, wanted);
                schedules.send_if_modified(|held| std::mem::replace(held, now) != now);
                address.send_replace(settings.collector.clone());
                self.spool.set_bounds(settings.spool).await;
                self.settings = settings;
                anew
            }
            Err(error) => {
                warn!(%error, "the settings file is refused; the settings before it stay in force");
                let first = error.to_string();
                let first = first.lines().next().unwrap_or("cannot be read");
                self.own.set_problem(own::Part::Settings, Some(format!("settings: {first}")));
                Anew::default()
            }
        }
    }
}

/// Takes up a round and says when the next report is due. The first report waits until every
/// probe has answered, and no longer than [`FIRST_REPORT`].
fn take(
    round: Round,
    assembler: &mut Assembler,
    missing: &mut Vec<ProbeName>,
    due: Option<Instant>,
    first: Instant,
) -> Instant {
    let waited = !missing.is_empty();
    missing.retain(|probe| *probe != round.probe);
    assembler.take(round);
    let soon = Instant::now() + GATHER;
    if missing.is_empty() { due.filter(|_| !waited).unwrap_or(soon) } else { soon.max(first) }
}

/// The host's own schedules with the intervals that the collector wants; it cannot have a probe
/// read more often than [`MIN_INTERVAL`].
fn ordered(own: Schedules, wanted: &[(ProbeName, Option<Duration>)]) -> Schedules {
    wanted.iter().fold(own, |schedules, (probe, interval)| match interval {
        Some(interval) => {
            let interval = (*interval).max(MIN_INTERVAL).min(bailey_rules::host::MAX_INTERVAL);
            schedules.with(*probe, probe::Schedule { interval, ..schedules.of(*probe) })
        }
        None => schedules,
    })
}
