//! Credentials of devices on disk: sealed with a key of this collector's own, so that a copy of the
//! store gives none of them away. Whoever may read the key's file may read them: it lies beside the store
//! with mode 0600, and goes with a backup of the state folder or not, as the site decides.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use bailey_rules::name::HostKey;
use rand::RngCore as _;

/// The file of the key in the state folder.
pub const KEY_FILE: &str = "devices.key";

/// Octets of the key.
const KEY_LEN: usize = 32;

/// The first octet of what is sealed: how it was.
const AES_256_GCM_WITH_NONCE: u8 = 1;

/// Why credentials cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key's file cannot be read or made.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the key.
    #[error("others can read {} (its mode is {mode:03o}): chmod 600 {}", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds no key.
    #[error(
        "{} holds no key of {KEY_LEN} octets; put a copy back, or remove it and give every device its \
         credentials again", .0.display()
    )]
    NoKey(PathBuf),
    /// What was sealed is not of this key, of another device, or damaged.
    #[error(
        "the credentials of the device cannot be opened with {KEY_FILE}: it is another key, or the store \
         is damaged; give them again with bailey device credentials"
    )]
    NotOpened,
    /// The system's cryptography failed.
    #[error("the credentials cannot be sealed")]
    NotSealed,
}

/// Seals and opens credentials.
pub struct Vault(RandomizedNonceKey);

impl fmt::Debug for Vault {
    /// Says nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Reads the key of a state folder, or makes one where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made, others may read it, or it holds no key.
    pub fn open(state: &Path) -> Result<Self, VaultError> {
        let path = state.join(KEY_FILE);
        let key = match read(&path)? {
            Some(key) => key,
            None => make(&path)?,
        };
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self).map_err(|_| VaultError::NoKey(path))
    }

    /// Seals a text for one device. The device is part of what is sealed, so that what belongs to one
    /// cannot be put in the place of another's.
    ///
    /// # Errors
    /// When the system's cryptography fails.
    pub fn seal(&self, device: &HostKey, text: &str) -> Result<Vec<u8>, VaultError> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(device.as_bytes()), &mut sealed)
            .map_err(|_| VaultError::NotSealed)?;
        let mut out = Vec::with_capacity(1 + NONCE_LEN + sealed.len());
        out.push(AES_256_GCM_WITH_NONCE);
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what was sealed for a device.
    ///
    /// # Errors
    /// When it was sealed with another key or for another device, or is damaged.
    pub fn unseal(&self, device: &HostKey, sealed: &[u8]) -> Result<String, VaultError> {
        let (nonce, body) = match sealed.split_first() {
            Some((&AES_256_GCM_WITH_NONCE, rest)) if rest.len() > NONCE_LEN => {
                rest.split_at(NONCE_LEN)
            }
            Some(_) | None => return Err(VaultError::NotOpened),
        };
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::NotOpened)?;
        let mut body = body.to_vec();
        let length = self
            .0
            .open_in_place(nonce, Aad::from(device.as_bytes()), &mut body)
            .map_err(|_| VaultError::NotOpened)?
            .len();
        body.truncate(length);
        String::from_utf8(body).map_err(|_| VaultError::NotOpened)
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VaultError {
    move |source| VaultError::File { what, path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, VaultError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mode = file.metadata().map_err(failed("look at", path))?.mode();
    if mode & 0o077 != 0 {
        return Err(VaultError::Open { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut key = Vec::new();
    file.take(KEY_LEN as u64 + 1).read_to_end(&mut key).map_err(failed("read", path))?;
    if key.len() == KEY_LEN { Ok(Some(key)) } else { Err(VaultError::NoKey(path.to_owned())) }
}

/// Makes a key. It is on disk whole before it is used, so that nothing is sealed with a key that a crash
/// takes away.
fn make(path: &Path) -> Result<Vec<u8>, VaultError> {
    let mut key = vec![0; KEY_LEN];
    rand::rng().fill_bytes(&mut key);
    let new = path.with_extension("key.new");
    // A crash may have left one; nothing was sealed with it.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace", &new)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed("make", &new))?;
    file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
    std::fs::rename(&new, path).map_err(failed("make", path))?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("keep", path))?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const DEVICE: HostKey = HostKey::from_bytes([1; 32]);
    const OTHER: HostKey = HostKey::from_bytes([2; 32]);

    #[test]
    fn what_is_sealed_is_opened_after_a_restart_and_only_for_its_device() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = Vault::open(folder.path()).unwrap().seal(&DEVICE, "community: q9w8").unwrap();
        assert!(!sealed.windows(4).any(|octets| octets == b"q9w8"));
        let again = Vault::open(folder.path()).unwrap();
        assert_eq!(again.unseal(&DEVICE, &sealed).unwrap(), "community: q9w8");
        assert!(matches!(again.unseal(&OTHER, &sealed), Err(VaultError::NotOpened)));
        assert_ne!(again.seal(&DEVICE, "community: q9w8").unwrap(), sealed, "a nonce is used once");
    }

    #[test]
    fn no_octet_of_what_is_sealed_can_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        let sealed = vault.seal(&DEVICE, "community: public").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.unseal(&DEVICE, &changed).is_err(), "octet {at}");
            assert!(vault.unseal(&DEVICE, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn two_installations_have_two_keys_that_only_their_owner_reads() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sealed = Vault::open(one.path()).unwrap().seal(&DEVICE, "x").unwrap();
        assert!(Vault::open(two.path()).unwrap().unseal(&DEVICE, &sealed).is_err());
        let path = one.path().join(KEY_FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Vault::open(one.path()), Err(VaultError::Open { mode: 0o640, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(Vault::open(one.path()), Err(VaultError::NoKey(_))));
    }
}
