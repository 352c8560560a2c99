//! What the enforcer keeps on disk, each file whole or not at all: beside it first, flushed, moved
//! into its place, and the folder flushed.
//!
//! | file | what |
//! |---|---|
//! | `pinned.json` | the key whose orders are followed, and which host this is |
//! | `state.json` | the [`State`]: moving it into place is the moment at which a step is durable |
//! | `order-N` | the key that order N was accepted with, and the signed order as it came; verified anew whenever it is loaded |
//! | `loaded` | what was put into the kernel last in this boot, and how the kernel shows it |
//! | `lock` | held by this process and every nft(8) that it starts |

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bailey_rules::name::{BootId, HostKey};
use bailey_wire::order::{MAX_KEY_FILE, MAX_SIGNED, Order, OrderError, SignedOrder, VerifyingKey};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

use super::state::{OrderRef, State};

const PINNED: &str = "pinned.json";
const STATE: &str = "state.json";
const LOADED: &str = "loaded";
const LOCK: &str = "lock";
/// Between the key and the order in the file of an order. No PEM file has it.
const END_OF_KEY: u8 = 0;
/// What is being written is called so, with the file's name behind it.
const NEW: &str = "new-";
/// Orders are called so, with their number behind it.
const ORDER: &str = "order-";
/// The longest small file that is read, in octets.
const MAX_SMALL: usize = 64 * 1024;
/// The longest listing that is kept, in octets: a ruleset as nft prints it, which is more than it
/// was given.
const MAX_LOADED: usize = 32 * 1024 * 1024;
/// How long the enforcer before this one and its nft may take to end.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often is looked whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// A file or the folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else holds the folder.
    #[error("{}: another enforcer uses this folder", .0.display())]
    InUse(PathBuf),
    /// A file is not what it should be.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A kept order does not verify any more.
    #[error("{}: {source}", path.display())]
    Order {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: OrderError,
    },
}

impl KeptError {
    /// Whether there is no room left on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full = |source: &io::Error| {
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        matches!(self, Self::Io { source, .. } if full(source))
    }
}

/// Whose orders are followed, and who follows them. It is set once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The security role's key.
    pub key: VerifyingKey,
    /// This host.
    pub host: HostKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPin {
    key: String,
    host: HostKey,
}

/// What was put into the kernel last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// In which boot.
    pub boot: BootId,
    /// Which order.
    pub order: OrderRef,
    /// What `nft -s list table inet bailey` said right after.
    pub listing: String,
}

/// The folder, which is held as long as this lives.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    _lock: File,
}

impl Kept {
    /// Takes the folder `path`, makes it when it is not there, for its owner alone, and waits until
    /// whoever held it before has ended: the process, and every nft that it started.
    ///
    /// # Errors
    /// When it cannot be made or held.
    pub fn open(path: &Path) -> Result<Self, KeptError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            |source| KeptError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io(path))?;
        let file = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(io(&file))?;
        let begin = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begin.elapsed() < PATIENCE => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(TryLockError::WouldBlock) => return Err(KeptError::InUse(path.to_owned())),
                Err(TryLockError::Error(source)) => return Err(io(&file)(source)),
            }
        }
        // Programs that are started inherit it: an nft that outlives this process still holds the
        // folder, so that its change is never made behind the back of the next one.
        fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|error| io(&file)(error.into()))?;
        Ok(Self { folder: path.to_owned(), _lock: lock })
    }

    /// Whether the enforcer of this folder ever followed an order, as far as can be told. What cannot
    /// be looked at counts as yes.
    #[must_use]
    pub fn had_orders(folder: &Path) -> bool {
        fs::exists(folder.join(STATE)).unwrap_or(true)
    }

    /// Whose orders are followed; `None` as long as nobody said.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn pinned(&self) -> Result<Option<Pinned>, KeptError> {
        let Some(text) = self.small(PINNED)? else { return Ok(None) };
        let damaged = |why: String| KeptError::Damaged { path: self.folder.join(PINNED), why };
        let written: WrittenPin =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let key =
            VerifyingKey::from_pem(&written.key).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(Pinned { key, host: written.host }))
    }

    /// Keeps whose orders are followed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pin(&self, pinned: &Pinned) -> Result<(), KeptError> {
        let written = WrittenPin { key: pinned.key.to_pem(), host: pinned.host };
        debug_assert!(written.key.len() <= MAX_KEY_FILE);
        self.write(PINNED, &serde_json::to_vec_pretty(&written).expect("text and hexadecimal"))
    }

    /// The state that was kept last; the first one when there is none.
    ///
    /// # Errors
    /// When the file cannot be read. It is never taken for an empty one: that would forget the
    /// highest number.
    pub fn state(&self) -> Result<State, KeptError> {
        let Some(text) = self.small(STATE)? else { return Ok(State::default()) };
        serde_json::from_str(&text).map_err(|error| KeptError::Damaged {
            path: self.folder.join(STATE),
            why: error.to_string(),
        })
    }

    /// Keeps the state, and then removes orders that it does not need.
    ///
    /// # Errors
    /// When it cannot be written; the one before is still there.
    pub fn keep(&self, state: &State) -> Result<(), KeptError> {
        self.write(STATE, &serde_json::to_vec_pretty(state).expect("numbers and text"))?;
        self.sweep(state);
        Ok(())
    }

    /// Keeps an order for as long as a kept state needs it, with the key that it was accepted with:
    /// another key that is pinned later does not take what was confirmed from the host.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it then.
    pub fn keep_order(
        &self,
        version: u64,
        signed: &SignedOrder,
        key: &VerifyingKey,
    ) -> Result<(), KeptError> {
        let mut octets = key.to_pem().into_bytes();
        octets.push(END_OF_KEY);
        octets.extend(signed.to_bytes());
        self.write(&order_file(version), &octets)
    }

    /// A kept order, verified anew.
    ///
    /// # Errors
    /// When it cannot be read, was changed, or is another one.
    pub fn order(&self, name: OrderRef) -> Result<Order, KeptError> {
        let path = self.folder.join(order_file(name.version));
        let damaged = |why: &str| KeptError::Damaged { path: path.clone(), why: why.to_owned() };
        let wrong = |source| KeptError::Order { path: path.clone(), source };
        let octets = read(&path, MAX_KEY_FILE + MAX_SIGNED)?;
        let octets = octets.ok_or_else(|| damaged("the order is not there any more"))?;
        let end = octets.iter().position(|octet| *octet == END_OF_KEY);
        let end = end.ok_or_else(|| damaged("it does not begin with a key"))?;
        let key = std::str::from_utf8(&octets[..end]);
        let key = key.map_err(|_| damaged("it does not begin with a key"))?;
        let key = VerifyingKey::from_pem(key).map_err(wrong)?;
        let signed = SignedOrder::from_bytes(&octets[end + 1..]).map_err(wrong)?;
        if signed.digest() != name.digest {
            return Err(damaged("the order was changed"));
        }
        signed.verify(&key).map_err(wrong)
    }

    /// What was put into the kernel last, if that is known for sure.
    #[must_use]
    pub fn loaded(&self) -> Option<Loaded> {
        let octets = read(&self.folder.join(LOADED), MAX_LOADED).ok()??;
        let text = String::from_utf8(octets).ok()?;
        let (head, listing) = text.split_once('\n')?;
        let (boot, order) = serde_json::from_str(head).ok()?;
        Some(Loaded { boot, order, listing: listing.to_owned() })
    }

    /// Keeps what was put into the kernel. Not having it costs one more loading, so that no error
    /// matters.
    pub fn keep_loaded(&self, loaded: &Loaded) {
        let Ok(head) = serde_json::to_string(&(loaded.boot, loaded.order)) else { return };
        if loaded.listing.len() + head.len() < MAX_LOADED {
            let _ = self.write(LOADED, format!("{head}\n{}", loaded.listing).as_bytes());
        }
    }

    /// Before the kernel changes: from now on nobody knows what it holds.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn forget_loaded(&self) -> Result<(), KeptError> {
        let path = self.folder.join(LOADED);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeptError::Io { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes orders that `state` does not need, and what a process that was killed had half
    /// written; what stays is removed the next time.
    pub fn sweep(&self, state: &State) {
        let needed: Vec<String> = state.needed().map(|order| order_file(order.version)).collect();
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let old = name.starts_with(ORDER) && !needed.iter().any(|needed| needed == name);
            if old || name.starts_with(NEW) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn small(&self, name: &str) -> Result<Option<String>, KeptError> {
        let path = self.folder.join(name);
        let Some(octets) = read(&path, MAX_SMALL)? else { return Ok(None) };
        let text = String::from_utf8(octets);
        text.map(Some).map_err(|_| KeptError::Damaged { path, why: "not UTF-8".into() })
    }

    fn write(&self, name: &str, octets: &[u8]) -> Result<(), KeptError> {
        let path = self.folder.join(name);
        let beside = self.folder.join(format!("{NEW}{name}"));
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(octets)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.folder)?.sync_all()
        })();
        written.map_err(|source| {
            // What is half written only takes room.
            let _ = fs::remove_file(&beside);
            KeptError::Io { path, source }
        })
    }
}

fn order_file(version: u64) -> String {
    format!("{ORDER}{version}")
}

/// The whole file, `None` when there is none.
fn read(path: &Path, most: usize) -> Result<Option<Vec<u8>>, KeptError> {
    let io = |source| KeptError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut octets = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut octets).map_err(io)?;
    if octets.len() > most {
        let why = format!("more than {most} octets");
        return Err(KeptError::Damaged { path: path.to_owned(), why });
    }
    Ok(Some(octets))
}
