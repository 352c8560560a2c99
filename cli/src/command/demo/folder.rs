//! The demo's folder: who runs it, where everything lies, and what an earlier one left behind.

use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::name::DemoName;
use super::process::{self, Identity};
use crate::netns::Netns;

/// The demo process itself, among the processes.
pub(super) const ITSELF: &str = "demo";

/// The most processes and namespaces that one demo leaves behind.
const MAX_LEFT: usize = 1024;

/// What the other commands must know of a demo that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Running {
    /// Where its page is, on this machine.
    pub(super) web: std::net::SocketAddr,
}

/// The folder of one demo.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    demo: DemoName,
    path: PathBuf,
}

/// That this process, and no other, runs the demo. It ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "closing the file gives the lock back")] File);

impl Folder {
    /// The folder of a demo, whether it is there or not.
    pub(super) fn of(demo: &DemoName) -> Self {
        Self { demo: demo.clone(), path: demo.folder() }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The state folder of the collector.
    pub(super) fn collector(&self) -> PathBuf {
        self.path.join("collector")
    }

    /// The settings of the collector.
    pub(super) fn collector_settings(&self) -> PathBuf {
        self.path.join("collector.yaml")
    }

    /// What is kept of one host.
    pub(super) fn host(&self, host: &str) -> PathBuf {
        self.path.join("hosts").join(host)
    }

    /// The private key of the security role.
    pub(super) fn key(&self) -> PathBuf {
        self.path.join("security.key")
    }

    /// What was done by a breach that is open, for its undoing.
    pub(super) fn breach(&self, name: &str) -> PathBuf {
        self.path.join("breaches").join(name)
    }

    /// Where a process keeps who it is.
    pub(super) fn process(&self, name: &str) -> PathBuf {
        self.path.join("processes").join(name)
    }

    /// Takes the demo for this process: `None` when another has it.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(super) fn hold(&self) -> anyhow::Result<Option<Held>> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .with_context(|| self.path.display().to_string())?;
        locked(&self.path.join("lock"))
    }

    /// Whether a process runs the demo.
    pub(super) fn is_held(&self) -> bool {
        let lock = self.path.join("lock");
        lock.exists() && matches!(locked(&lock), Ok(None))
    }

    /// Keeps what other commands must know.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn keep(&self, running: &Running) -> anyhow::Result<()> {
        let text = serde_json::to_string(running)?;
        std::fs::write(self.path.join("demo.json"), text).context("demo.json")
    }

    /// What is known of the demo that runs; `None` before it is up.
    pub(super) fn kept(&self) -> Option<Running> {
        serde_json::from_slice(&std::fs::read(self.path.join("demo.json")).ok()?).ok()
    }

    /// Makes the folders of a new demo.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        for folder in ["processes", "logs", "hosts", "breaches", "collector/rules"] {
            std::fs::create_dir_all(self.path.join(folder)).with_context(|| folder.to_owned())?;
        }
        Ok(())
    }

    /// Ends every process of the demo but this one, removes its namespaces, and what is in its folder
    /// but the lock. Gives how many processes and namespaces there were.
    ///
    /// # Errors
    /// When something will not go.
    pub(super) fn sweep(&self) -> anyhow::Result<(usize, usize)> {
        let own = Identity::own()?;
        let processes = self.processes();
        let left: Vec<Identity> =
            processes.into_iter().filter(|process| process.runs() && *process != own).collect();
        process::end(&left)?;
        let namespaces = Netns::beginning(&self.demo.prefix())?;
        for namespace in namespaces.iter().take(MAX_LEFT) {
            namespace.remove()?;
        }
        for entry in std::fs::read_dir(&self.path).into_iter().flatten() {
            let path = entry.context("the demo's folder")?.path();
            let removed = match path.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false if path.ends_with("lock") => Ok(()),
                false => std::fs::remove_file(&path),
            };
            removed.with_context(|| path.display().to_string())?;
        }
        Ok((left.len(), namespaces.len()))
    }

    /// Removes the folder itself, which must be swept.
    ///
    /// # Errors
    /// When it is not empty.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| self.path.display().to_string())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Every process that has kept who it is.
    fn processes(&self) -> Vec<Identity> {
        let files = std::fs::read_dir(self.path.join("processes")).into_iter().flatten().flatten();
        files.take(MAX_LEFT).filter_map(|file| Identity::kept(&file.path())).collect()
    }
}

fn locked(path: &Path) -> anyhow::Result<Option<Held>> {
    let shown = || path.display().to_string();
    let file = File::options().create(true).append(true).open(path).with_context(shown)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Held(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(shown),
    }
}
