//! The poller: every device has its turn, once each interval, all of them spread over it.
//!
//! It is a reconciler: it looks at the devices that the site has and keeps one task for each. A task
//! waits for its device's turn, asks, and puts what came where the judge finds it. All of them share
//! a few sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::device::{DeviceView, schedule};
use bailey_rules::expectation::DeviceWanted;
use bailey_rules::name::HostKey;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::device::Device;
use crate::poll::paced::{Pace, Paced};
use crate::poll::round::{Polled, round};
use crate::poll::snmp::SnmpError;
use crate::poll::snmp::udp::{Patience, Session, Sockets};
use crate::poll::table::Learned;
use crate::site::Site;

/// The most devices that are asked in the same moment: their answers must fit the buffers of the sockets.
/// Whoever's turn it is beyond that waits.
const MAX_AT_ONCE: usize = 512;

/// The longest that one poll may take before the device is given up until its next turn.
const LONGEST_POLL: Duration = Duration::from_mins(5);

/// The tasks are compared with the devices this often, even when nobody tells of a change.
const LOOKED_AT: Duration = Duration::from_secs(5);

/// How long to wait before a device is taken up again whose task failed by a fault of ours.
const AGAIN: Duration = Duration::from_secs(10);

/// One retry more than the doctor has: a lost datagram must not make a device silent.
const PATIENCE: Patience = Patience { timeout: Duration::from_millis(1500), retries: 2 };

/// Polls the devices of the site.
pub(crate) struct Poller {
    site: Site,
    sockets: Sockets,
    room: Arc<Semaphore>,
}

impl Poller {
    pub(crate) fn new(site: Site, sockets: Sockets) -> Self {
        Self { site, sockets, room: Arc::new(Semaphore::new(MAX_AT_ONCE)) }
    }

    /// Polls until the collector stops.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut of_task: HashMap<Id, HostKey> = HashMap::new();
        let mut polled: HashMap<HostKey, Id> = HashMap::new();
        loop {
            for device in self.site.held_devices() {
                if polled.contains_key(&device.key) {
                    continue;
                }
                let key = device.key;
                let watch = Watch {
                    site: self.site.clone(),
                    sockets: self.sockets.clone(),
                    room: Arc::clone(&self.room),
                    device,
                    learned: Learned::default(),
                    pace: Pace::default(),
                    session: None,
                    wanted: None,
                };
                let task = tasks.spawn(watch.run(stop.clone())).id();
                of_task.insert(task, key);
                polled.insert(key, task);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOKED_AT) => {}
                () = self.site.devices_moved().notified() => {}
                Some(ended) = tasks.join_next_with_id() => {
                    let id = match &ended {
                        Ok((id, ())) => *id,
                        Err(failed) => failed.id(),
                    };
                    if let Err(failed) = &ended {
                        error!(%failed, "a poll failed by a fault of ours");
                        tokio::time::sleep(AGAIN).await;
                    }
                    if let Some(key) = of_task.remove(&id) {
                        polled.remove(&key);
                    }
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// The task of one device.
struct Watch {
    site: Site,
    sockets: Sockets,
    room: Arc<Semaphore>,
    device: Arc<Device>,
    learned: Learned,
    pace: Pace,
    session: Option<Session>,
    /// What is demanded of the device, and of which generation of the rule files that is.
    wanted: Option<(u64, Arc<DeviceWanted>)>,
}

impl Watch {
    fn wanted(&mut self) -> Arc<DeviceWanted> {
        let generation = self.site.config().generation;
        match &self.wanted {
            Some((known, wanted)) if *known == generation => Arc::clone(wanted),
            Some(_) | None => {
                let wanted = Arc::new(self.site.wanted_of(&self.device));
                self.wanted = Some((generation, Arc::clone(&wanted)));
                wanted
            }
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        let device = Arc::clone(&self.device);
        loop {
            let wait = self.until_next();
            tokio::select! {
                () = stop.cancelled() => return,
                () = device.removed.cancelled() => return,
                () = device.changed.notified() => self.session = None,
                () = tokio::time::sleep(wait) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = device.removed.cancelled() => return,
                () = self.poll() => {}
            }
        }
    }

    /// How long until the device's next turn; never longer than it would wait after this many silent
    /// polls, whatever a clock does that was set.
    fn until_next(&mut self) -> Duration {
        let interval = schedule::bounded(self.wanted().interval.0);
        let polling = &self.device.view().polling;
        let now = self.site.now();
        // One that was never asked has its first turn within an interval; one whose poll took longer than
        // that has its next one when it has rested.
        let last = polling.asked_at.unwrap_or_default().max(now - interval / 2);
        let due = schedule::next(&self.device.key, interval, polling.silent, last);
        now.age(due).min(schedule::wait(interval, polling.silent) * 2)
    }

    async fn poll(&mut self) {
        // The semaphore is never closed.
        let Ok(_room) = Arc::clone(&self.room).acquire_owned().await else { return };
        let mut view = DeviceView::clone(&self.device.view());
        let wanted = self.wanted();
        let polled = match self.dialled().await {
            Ok(session) => {
                let session = Paced::new(session, self.pace);
                let clock = Arc::clone(self.site.clock());
                let asking = Box::pin(round(
                    &session,
                    &mut view,
                    &wanted,
                    &mut self.learned,
                    clock.as_ref(),
                ));
                let polled = tokio::time::timeout(LONGEST_POLL, asking).await;
                self.pace = session.pace();
                self.session = Some(session.into_inner());
                polled.unwrap_or(Polled::Partial)
            }
            Err(error) => {
                view.polling.interval = schedule::bounded(wanted.interval.0);
                view.polling.asked_at = Some(self.site.now());
                view.polling.failed = Some(error.text());
                view.polling.silent = view.polling.silent.saturating_add(1);
                Polled::Refused
            }
        };
        debug!(device = %self.device.name, ?polled, took = ?view.polling.took, "polled");
        self.site.counters().polls.of(polled.into()).one();
        if polled == Polled::Silent {
            // What was learnt of a device that comes back may be of the one before it.
            self.learned = Learned::default();
        } else if let Some(took) = view.polling.took {
            self.site.counters().poll_duration.note(took, 1);
        }
        self.device.set_view(view);
    }

    async fn dialled(&mut self) -> Result<Session, SnmpError> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.device.dialled(&self.sockets, PATIENCE).await,
        }
    }
}
