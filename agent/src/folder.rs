//! The state folder: the host's key, its certificate, and what the collector said at enrolment.
//! The spool lies in it too.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use bailey_rules::name::{HostName, ZoneName};
use bailey_wire::identity::{AgentKey, Certificate, IdentityError, MAX_CERTIFICATE};
use bailey_wire::order::VerifyingKey;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

const KEY: &str = "key.der";
const CERTIFICATE: &str = "certificate.der";
const CA: &str = "ca.der";
const ENROLLED: &str = "enrolled.json";
const SECURITY_KEY: &str = "security.pub";
/// The longest file that is read here.
const MAX_FILE: u64 = 64 * 1024;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or the folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key can be read by others than its owner.
    #[error("{}: others may read this key; run chmod 600 on it, or enrol again", .0.display())]
    Exposed(PathBuf),
    /// A file is not what it should be.
    #[error("{}: {source}; move the folder aside and enrol again", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: IdentityError,
    },
    /// `enrolled.json` is not what it should be.
    #[error("{}: {source}; move the folder aside and enrol again", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The host has not been enrolled.
    #[error(
        "this host is not enrolled: run `bailey enroll token` at the collector and paste its line \
         here ({} has no certificate)",
        .0.display()
    )]
    NotEnrolled(PathBuf),
}

/// What the collector said at enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The site's name.
    pub site: String,
    /// The name under which the host is known.
    pub host: HostName,
    /// Its zone.
    pub zone: ZoneName,
    /// The collector's address as the token named it.
    pub collector: String,
}

/// Everything that a host needs to speak to its collector.
#[derive(Debug)]
pub struct Credentials {
    /// Its key.
    pub key: AgentKey,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// The certificate of the collector's CA.
    pub ca: CertificateDer<'static>,
    /// What the collector said.
    pub enrolled: Enrolled,
}

impl Credentials {
    /// What stands in the certificate.
    ///
    /// # Errors
    /// Never for credentials from [`StateFolder::credentials`]: they were read before.
    pub fn facts(&self) -> Result<Certificate, IdentityError> {
        Certificate::read(&self.certificate)
    }
}

/// The folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// Takes the folder `path` and makes it when it is not there, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| FolderError::Io { path: path.to_owned(), source })?;
        Ok(Self(path.to_owned()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of the spool.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    /// The host's key; a new one where there is none yet. The same key answers for the host as long
    /// as the folder lives.
    ///
    /// # Errors
    /// When it cannot be read or made, or others may read it.
    pub fn key(&self) -> Result<AgentKey, FolderError> {
        let path = self.0.join(KEY);
        match fs::metadata(&path) {
            Ok(about) if about.mode() & 0o077 != 0 => return Err(FolderError::Exposed(path)),
            Ok(_) => {
                let der = read(&path)?;
                return AgentKey::from_pkcs8_der(&der)
                    .map_err(|source| FolderError::Damaged { path, source });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FolderError::Io { path, source }),
        }
        let damaged = |source| FolderError::Damaged { path: path.clone(), source };
        let key = AgentKey::generate().map_err(damaged)?;
        self.write(KEY, key.pkcs8_der())?;
        Ok(key)
    }

    /// Whether the host has a certificate.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.0.join(ENROLLED).exists()
    }

    /// Everything that was kept at enrolment and at the last renewal.
    ///
    /// # Errors
    /// [`FolderError::NotEnrolled`], or what is wrong with a file.
    pub fn credentials(&self) -> Result<Credentials, FolderError> {
        if !self.is_enrolled() {
            return Err(FolderError::NotEnrolled(self.0.clone()));
        }
        let path = self.0.join(ENROLLED);
        let enrolled = serde_json::from_slice(&read(&path)?)
            .map_err(|source| FolderError::Json { path, source })?;
        Ok(Credentials {
            key: self.key()?,
            certificate: self.certificate(CERTIFICATE)?,
            ca: self.certificate(CA)?,
            enrolled,
        })
    }

    fn certificate(&self, name: &str) -> Result<CertificateDer<'static>, FolderError> {
        let path = self.0.join(name);
        let der = read(&path)?;
        match Certificate::read(&der) {
            Ok(_) => Ok(CertificateDer::from(der)),
            Err(source) => Err(FolderError::Damaged { path, source }),
        }
    }

    /// Keeps what enrolment gave. The host counts as enrolled once all of it is on disk.
    ///
    /// # Errors
    /// When it cannot be written; the host is then as it was.
    pub fn keep_enrolment(
        &self,
        certificate: &[u8],
        ca: &[u8],
        enrolled: &Enrolled,
    ) -> Result<(), FolderError> {
        let json = serde_json::to_vec_pretty(enrolled).expect("names are text");
        self.write(CA, ca)?;
        self.write(CERTIFICATE, certificate)?;
        self.write(ENROLLED, &json)
    }

    /// Keeps the security role's public key until somebody pins it, and says where.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_security_key(&self, key: &VerifyingKey) -> Result<PathBuf, FolderError> {
        self.write(SECURITY_KEY, key.to_pem().as_bytes())?;
        Ok(self.0.join(SECURITY_KEY))
    }

    /// Keeps a renewed certificate.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then still there.
    pub fn keep_certificate(&self, certificate: &[u8]) -> Result<(), FolderError> {
        self.write(CERTIFICATE, certificate)
    }

    /// Writes a file whole or not at all: beside it first, flushed, then moved into its place.
    fn write(&self, name: &str, octets: &[u8]) -> Result<(), FolderError> {
        let path = self.0.join(name);
        let beside = self.0.join(format!("{name}.new"));
        let written = (|| {
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            // The administrator enrols, another user runs the agent: what lies in its folder is its.
            let owner = fs::metadata(&self.0)?;
            if nix::unistd::geteuid().is_root() && file.metadata()?.uid() != owner.uid() {
                fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
            }
            file.write_all(octets)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.0)?.sync_all()
        })();
        written.map_err(|source| FolderError::Io { path, source })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FolderError> {
    use std::io::Read as _;
    let mut octets = Vec::with_capacity(MAX_CERTIFICATE);
    let file = File::open(path);
    file.and_then(|file| file.take(MAX_FILE).read_to_end(&mut octets))
        .map_err(|source| FolderError::Io { path: path.to_owned(), source })?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateFolder::open(&folder.path().join("state")).expect("it can be made");
        let key = state.key().expect("a key").host_key();
        assert_eq!(state.key().expect("the same").host_key(), key);
        let path = state.path().join(KEY);
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(matches!(state.key(), Err(FolderError::Exposed(_))));
    }

    #[test]
    fn a_host_without_a_certificate_is_told_how_to_get_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateFolder::open(folder.path()).expect("it is there");
        let error = state.credentials().expect_err("not enrolled").to_string();
        assert!(error.contains("bailey enroll token"), "{error}");
    }
}
