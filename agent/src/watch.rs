//! Tells when the settings file was written anew.

use std::path::PathBuf;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// One save is several events; the file is read when they are over.
const SETTLE: Duration = Duration::from_millis(200);
/// The most events that wait; more say nothing new.
const MAX_EVENTS: usize = 16;

/// Watches the folder of the settings file: a file that is replaced would be lost from sight.
#[derive(Debug)]
pub struct SettingsWatch {
    file: Option<PathBuf>,
    events: mpsc::Receiver<()>,
    /// When what was written is read; `None`: nothing was written.
    due: Option<Instant>,
    _watcher: Option<RecommendedWatcher>,
}

impl SettingsWatch {
    /// Watches `file`; without one, nothing ever changes.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        let (tell, events) = mpsc::channel(MAX_EVENTS);
        let watcher = file.as_ref().and_then(|file| {
            let name = file.file_name()?.to_owned();
            let folder = match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                Some(_) | None => PathBuf::from("."),
            };
            let watcher =
                notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                    let ours = event.is_ok_and(|event| {
                        !matches!(event.kind, EventKind::Access(_))
                            && event.paths.iter().any(|path| path.file_name() == Some(&name))
                    });
                    if ours {
                        // A full channel will wake the reader all the same.
                        let _ = tell.try_send(());
                    }
                });
            let started = watcher.and_then(|mut watcher| {
                watcher.watch(&folder, RecursiveMode::NonRecursive).map(|()| watcher)
            });
            started
                .inspect_err(|error| {
                    warn!(%error, "changes of the settings file will not be seen");
                })
                .ok()
        });
        Self { file, events, due: None, _watcher: watcher }
    }

    /// Completes with the file's path after it was written. Cancel-safe.
    pub async fn changed(&mut self) -> PathBuf {
        let Some(file) = self.file.clone() else { return std::future::pending().await };
        loop {
            if let Some(due) = self.due {
                tokio::select! {
                    () = sleep_until(due) => {
                        self.due = None;
                        return file;
                    }
                    Some(()) = self.events.recv() => {}
                }
            } else if self.events.recv().await.is_none() {
                // Without a watcher nothing is ever told.
                return std::future::pending().await;
            }
            self.due = Some(Instant::now() + SETTLE);
        }
    }
}
