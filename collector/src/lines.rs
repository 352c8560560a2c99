//! How well lines carry packets: the far end of each is asked again and again, and what comes of it is
//! held with the device whose line it is.
//!
//! A reconciler: it looks at the devices and the rule files, and keeps one task for each line whose far
//! end is to be asked. How much a line was used, and how it answered, is kept in the store ([`kept`]) over
//! a restart.

pub(crate) mod kept;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::device::quality::Quality;
use bailey_rules::expectation::Ask;
use bailey_rules::name::HostKey;
use bailey_rules::text::Text;
use bailey_wire::echo::{Asker, INTERVAL, LONGEST, turns};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::device::Device;
use crate::site::Site;

/// The most lines whose far ends one collector asks. Each has a socket.
const MAX_ASKED: usize = 512;

/// The tasks are compared with the rule files and devices this often.
const LOOKED_AT: Duration = Duration::from_secs(2);

/// So many packets in a row without an answer have the device judged: a verdict costs nothing.
const SILENT: u32 = 1;

/// Of which device, by which key of the rule files.
type Key = (HostKey, String);

/// A line whose far end is asked.
struct Line {
    device: Arc<Device>,
    key: String,
    ask: Ask,
    every: Duration,
}

/// A task, and what it does.
struct Asking {
    ask: Ask,
    every: Duration,
    stop: CancellationToken,
}

/// Has the far ends of lines asked.
pub(crate) struct Measurer {
    site: Site,
    asking: BTreeMap<Key, Asking>,
    tasks: JoinSet<()>,
    /// Of which generation of the rule files, and of which devices, the tasks are.
    seen: (Option<u64>, Vec<HostKey>),
}

impl Measurer {
    pub(crate) fn new(site: Site) -> Self {
        let asking = BTreeMap::new();
        Self { site, asking, tasks: JoinSet::new(), seen: (None, Vec::new()) }
    }

    /// Asks until the collector stops.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            self.look(&stop);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOKED_AT) => {}
                Some(Err(failed)) = self.tasks.join_next() => {
                    error!(%failed, "a line is not asked any more, by a fault of ours");
                    // It is begun anew with all others.
                    self.asking.values().for_each(|task| task.stop.cancel());
                    self.asking.clear();
                    self.seen = (None, Vec::new());
                    tokio::time::sleep(LOOKED_AT).await;
                }
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// Begins and ends tasks, so that they are those of the lines there are.
    fn look(&mut self, stop: &CancellationToken) {
        let devices = self.site.held_devices();
        let keys = devices.iter().map(|device| device.key).collect();
        let now = (Some(self.site.config().generation), keys);
        if now == self.seen {
            return;
        }
        self.seen = now;
        let mut lines = BTreeMap::new();
        let mut beyond = Vec::new();
        for device in &devices {
            let wanted = self.site.wanted_of(device);
            let every = wanted.line_interval.0.clamp(*INTERVAL.start(), *INTERVAL.end());
            let asked: Vec<(String, Ask)> =
                wanted.far_ends().map(|(key, ask)| (key.clone(), ask)).collect();
            device.keep_quality(|key| asked.iter().any(|(known, _)| known == key));
            for (key, ask) in asked {
                let line = Line { device: Arc::clone(device), key: key.clone(), ask, every };
                if lines.len() < MAX_ASKED {
                    lines.insert((device.key, key), line);
                } else {
                    beyond.push(line);
                }
            }
        }
        self.asking.retain(|key, task| {
            let line = lines.get(key);
            let same = line.is_some_and(|line| (line.ask, line.every) == (task.ask, task.every));
            if !same {
                task.stop.cancel();
            }
            same
        });
        for line in beyond {
            let mut quality = line.before();
            quality.fail(Text::new(
                format!("a collector asks the far ends of {MAX_ASKED} lines, no more"),
                format!("采集器最多探测 {MAX_ASKED} 条线路的对端"),
            ));
            line.device.set_quality(line.key, quality);
        }
        for (key, line) in lines {
            if self.asking.contains_key(&key) {
                continue;
            }
            line.device.set_quality(key.1.clone(), line.before());
            let task = Asking { ask: line.ask, every: line.every, stop: stop.child_token() };
            self.tasks.spawn(line.run(self.site.clone(), task.stop.clone()));
            self.asking.insert(key, task);
        }
        debug!(lines = self.asking.len(), "far ends of lines are asked");
    }
}

impl Line {
    /// What is known of the line: its month, also where another far end was asked before.
    fn before(&self) -> Quality {
        let known = self.device.quality().get(&self.key).cloned();
        match known {
            Some(known) if known.ask == self.ask => Quality::clone(&known),
            Some(known) => Quality::new(self.ask, known.month().since(None)),
            None => Quality::new(self.ask, []),
        }
    }

    async fn run(self, site: Site, stop: CancellationToken) {
        let mut asker = Asker::new(self.ask, LONGEST);
        let mut turns = turns(self.every);
        loop {
            let answer = tokio::select! {
                () = stop.cancelled() => return,
                () = self.device.removed.cancelled() => return,
                answer = async {
                    turns.tick().await;
                    asker.ask().await
                } => answer,
            };
            let mut turned = false;
            self.device.note_quality(&self.key, self.ask, |quality| {
                let before = quality.standing(SILENT);
                match answer {
                    Ok(took) => quality.note(site.now(), took),
                    Err(error) => quality.fail(Text::quoted(error.to_string())),
                }
                turned = before != quality.standing(SILENT);
            });
            if turned {
                self.device.touch();
            }
        }
    }
}
