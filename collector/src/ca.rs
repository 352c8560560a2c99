//! The collector's own certificate authority: made at first start, signs the certificates of hosts,
//! of the collector for its hosts, and of its page.
//!
//! There is one function that signs ([`Ca::sign`]), and what a certificate says is never taken from
//! whoever asks for it: of a request only the public key is used.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bailey_rules::name::{HostKey, HostName};
use bailey_rules::time::Timestamp;
use bailey_wire::identity::{Certificate, key_pin_of};
use bailey_wire::tls::{COLLECTOR_NAME, KeyPin};
use rand::RngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

/// How long a host's certificate is good for. It renews itself at half of that.
pub const HOST_LIFE: Duration = Duration::from_hours(24);
/// How long the collector's own certificate for hosts is good for. It lives in memory only and is
/// made anew at every start and at half of its life.
pub const COLLECTOR_LIFE: Duration = Duration::from_hours(30 * 24);
/// How long the page's certificate is good for: what browsers take at most is 398 days.
pub const WEB_LIFE: Duration = Duration::from_hours(397 * 24);
/// The page's certificate is made anew when less than this is left.
pub const WEB_RENEWED_BEFORE: Duration = Duration::from_hours(60 * 24);
/// How long the CA is good for.
pub const CA_LIFE: Duration = Duration::from_hours(20 * 365 * 24);

/// So far before it is made a host's certificate begins: the collector's clock may be set back a little.
const HOST_BACKDATED: Duration = Duration::from_mins(5);
/// So far before they are made the collector's own certificates begin, for hosts whose clocks are
/// late.
const OWN_BACKDATED: Duration = Duration::from_hours(30 * 24);

/// The longest key or certificate file that is read, in octets.
const MAX_FILE: u64 = 64 * 1024;
/// The longest request for a certificate, in octets. One of ours has some 250.
pub const MAX_REQUEST: usize = 4096;

/// Why there is no CA, or why it does not sign.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A secret lies open.
    #[error(
        "{} can be read by others (mode {mode:04o}); if nobody has, say: chmod 600 {}",
        path.display(), path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A secret is somebody else's.
    #[error("{} belongs to user {owner}, not to the user that runs the collector", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
    },
    /// Others could put files into the state folder.
    #[error(
        "others can write to the folder {} (mode {mode:04o}); say: chmod 700 {}",
        path.display(), path.display()
    )]
    OpenFolder {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("{} is not usable: {why}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate is there without its key.
    #[error(
        "{} is there, but the key {} is not. Put the key back from a copy; or remove the \
         certificate to begin with a new CA, and enrol every host again", certificate.display(),
         key.display()
    )]
    KeyGone {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A request for a certificate is not one.
    #[error("not a request for a certificate of a P-256 key: {0}")]
    Request(String),
    /// The cryptographic library failed.
    #[error("cannot make a certificate: {0}")]
    Cryptography(String),
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn cryptography(error: rcgen::Error) -> CaError {
    CaError::Cryptography(error.to_string())
}

/// Makes the state folder where it is missing, for its owner alone, and sees to it that nobody else
/// can write to it.
pub(crate) fn state_folder(path: &Path) -> Result<(), CaError> {
    let file = |what| move |source| CaError::File { what, path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("make the folder"))?;
    let mode = std::fs::metadata(path).map_err(file("look at the folder"))?.mode() & 0o7777;
    // A folder such as /tmp, where only owners may rename, is no better: names can be squatted.
    if mode & 0o022 != 0 {
        return Err(CaError::OpenFolder { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Reads a secret that must be its owner's alone; `None` when there is none.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>, CaError> {
    let fail = |what| move |source| CaError::File { what, path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail("read")(error)),
    };
    let about = file.metadata().map_err(fail("look at"))?;
    if about.mode() & 0o077 != 0 {
        return Err(CaError::Open { path: path.to_owned(), mode: about.mode() & 0o7777 });
    }
    if about.uid() != nix::unistd::geteuid().as_raw() {
        return Err(CaError::NotOurs { path: path.to_owned(), owner: about.uid() });
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(fail("read"))?;
    Ok(Some(text))
}

/// Reads a file that is no secret; `None` when there is none.
pub(crate) fn read_open(path: &Path) -> Result<Option<String>, CaError> {
    let fail = |source| CaError::File { what: "read", path: path.to_owned(), source };
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE).read_to_string(&mut text).map_err(fail)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    Ok(Some(text))
}

/// Puts a new file in place, whole or not at all, and on disk when this returns. With `replace`
/// unset, a file that is there already is an error: a key is never written over.
pub(crate) fn write_file(path: &Path, text: &str, mode: u32, replace: bool) -> Result<(), CaError> {
    let fail = |what| move |source| CaError::File { what, path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(fail("make room for")(error));
        }
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .map_err(fail("make"))?;
    file.write_all(text.as_bytes()).map_err(fail("write"))?;
    file.sync_all().map_err(fail("write"))?;
    if replace {
        std::fs::rename(&fresh, path).map_err(fail("put in place"))?;
    } else {
        std::fs::hard_link(&fresh, path).map_err(fail("put in place"))?;
        std::fs::remove_file(&fresh).map_err(fail("tidy up after"))?;
    }
    let folder = File::open(folder).map_err(fail("write the folder of"))?;
    folder.sync_all().map_err(fail("write the folder of"))
}

/// Who a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// An enrolled host: a client, and nothing else.
    Host(HostName),
    /// The collector, for its hosts or for browsers: a server, under these names.
    Server { common_name: String, names: Vec<SanType> },
}

/// A key with its chain: the certificate, then the CA's.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) not_after: Timestamp,
}

/// A host's certificate, just signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) der: Vec<u8>,
    pub(crate) began: Timestamp,
    pub(crate) ends: Timestamp,
}

/// A request for a certificate whose signature holds: its key is the asker's.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    key: rcgen::PublicKey,
    pub(crate) host_key: HostKey,
}

impl Request {
    /// Reads a PKCS#10 request (RFC 2986) of a P-256 key. Everything in it but the key is ignored.
    pub(crate) fn read(der: &[u8]) -> Result<Self, CaError> {
        if der.len() > MAX_REQUEST {
            return Err(CaError::Request("it is too large".into()));
        }
        let read =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
                .map_err(|error| CaError::Request(error.to_string()))?;
        if read.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(CaError::Request("its key is of another kind".into()));
        }
        let host_key =
            HostKey::from_bytes(Sha256::digest(read.public_key.subject_public_key_info()).into());
        Ok(Self { key: read.public_key, host_key })
    }
}

/// The certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pin: KeyPin,
    ends: Timestamp,
}

impl std::fmt::Debug for Ca {
    /// Without the key: this may end in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ca({})", self.pin)
    }
}

impl Ca {
    /// The CA whose key is `ca.key` and whose certificate is `ca.pem` in `folder`; both are made
    /// where there are none.
    ///
    /// # Errors
    /// When the key lies open to others, is damaged, or is gone while its certificate is there.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, CaError> {
        let key_path = folder.join("ca.key");
        let certificate_path = folder.join("ca.pem");
        let bad = |path: &Path, why: String| CaError::Bad { path: path.to_owned(), why };
        let certificate = read_open(&certificate_path)?;
        let key = match (read_secret(&key_path)?, &certificate) {
            (Some(pem), _) => KeyPair::from_pem_and_sign_algo(&pem, &PKCS_ECDSA_P256_SHA256)
                .map_err(|error| bad(&key_path, error.to_string()))?,
            (None, Some(_)) => {
                return Err(CaError::KeyGone { certificate: certificate_path, key: key_path });
            }
            (None, None) => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cryptography)?;
                write_file(&key_path, &key.serialize_pem(), 0o600, false)?;
                key
            }
        };
        let der = if let Some(pem) = certificate {
            CertificateDer::from_pem_slice(pem.as_bytes())
                .map_err(|error| bad(&certificate_path, error.to_string()))?
        } else {
            let made = own_certificate(&key, now)?;
            write_file(&certificate_path, &made.pem(), 0o644, false)?;
            made.der().clone()
        };
        let about = Certificate::read(&der).map_err(|e| bad(&certificate_path, e.to_string()))?;
        let pin = key_pin_of(&der).map_err(|e| bad(&certificate_path, e.to_string()))?;
        let of_key: [u8; 32] = Sha256::digest(key.subject_public_key_info()).into();
        if pin.0 != of_key || !about.is_ca {
            let why = format!("it is not the CA certificate of {}", key_path.display());
            return Err(bad(&certificate_path, why));
        }
        if about.not_after <= now {
            return Err(bad(&certificate_path, format!("it ended at {}", about.not_after)));
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(cryptography)?;
        Ok(Self { issuer, der, pin, ends: about.not_after })
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The pin of the CA's key, as tokens carry it.
    #[must_use]
    pub fn pin(&self) -> KeyPin {
        self.pin
    }

    /// A certificate for an enrolled host.
    pub(crate) fn issue(
        &self,
        request: &Request,
        host: &HostName,
        now: Timestamp,
    ) -> Result<Issued, CaError> {
        let (began, ends) = (now - HOST_BACKDATED, now + HOST_LIFE);
        let der = self.sign(&request.key, Subject::Host(host.clone()), began, ends)?;
        Ok(Issued { der: der.to_vec(), began, ends })
    }

    /// The collector's certificate for its hosts, with a new key.
    pub(crate) fn collector_leaf(&self, names: &Names, now: Timestamp) -> Result<Leaf, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cryptography)?;
        let not_after = now + COLLECTOR_LIFE;
        let subject = Subject::Server {
            common_name: "Bailey collector".into(),
            names: names.sans(Some(COLLECTOR_NAME))?,
        };
        let der = self.sign(&key, subject, now - OWN_BACKDATED, not_after)?;
        Ok(self.leaf(der, &key, not_after))
    }

    /// The page's certificate: `web.key` and `web.pem` in `folder`, made where they are missing,
    /// about to end, of another CA, or without one of the names.
    pub(crate) fn web_leaf(
        &self,
        folder: &Path,
        names: &Names,
        now: Timestamp,
    ) -> Result<Leaf, CaError> {
        let (key_path, certificate_path) = (folder.join("web.key"), folder.join("web.pem"));
        let sans = names.sans(None)?;
        if let (Some(key), Some(pem)) = (read_secret(&key_path)?, read_open(&certificate_path)?)
            && let Some(leaf) = self.still_good(&key, &pem, &sans, now)
        {
            return Ok(leaf);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cryptography)?;
        let not_after = now + WEB_LIFE;
        let subject = Subject::Server { common_name: "Bailey".into(), names: sans };
        let der = self.sign(&key, subject, now - Duration::from_hours(1), not_after)?;
        let leaf = self.leaf(der, &key, not_after);
        // A crash between the two leaves a pair that does not fit and is made again.
        write_file(&key_path, &key.serialize_pem(), 0o600, true)?;
        write_file(&certificate_path, &pem_of(&leaf.chain), 0o644, true)?;
        Ok(leaf)
    }

    fn still_good(&self, key: &str, pem: &str, names: &[SanType], now: Timestamp) -> Option<Leaf> {
        let key = KeyPair::from_pem_and_sign_algo(key, &PKCS_ECDSA_P256_SHA256).ok()?;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()?;
        let about = Certificate::read(chain.first()?).ok()?;
        let of_key: [u8; 32] = Sha256::digest(key.subject_public_key_info()).into();
        let fits = *about.key.as_bytes() == of_key
            && chain.get(1) == Some(&self.der)
            && about.not_after > now + WEB_RENEWED_BEFORE
            && names_of(chain.first()?)? == sorted(names);
        fits.then(|| Leaf {
            chain,
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            not_after: about.not_after,
        })
    }

    fn leaf(&self, der: CertificateDer<'static>, key: &KeyPair, not_after: Timestamp) -> Leaf {
        Leaf {
            chain: vec![der, self.der.clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            not_after,
        }
    }

    /// The one place where anything is signed.
    fn sign(
        &self,
        key: &impl PublicKeyData,
        subject: Subject,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<CertificateDer<'static>, CaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(serial());
        params.not_before = date(not_before)?;
        params.not_after = date(not_after.min(self.ends))?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let (name, purpose) = match subject {
            Subject::Host(host) => (host.as_str().to_owned(), ExtendedKeyUsagePurpose::ClientAuth),
            Subject::Server { common_name, names } => {
                params.subject_alt_names = names;
                (common_name, ExtendedKeyUsagePurpose::ServerAuth)
            }
        };
        // X.520 allows 64 characters; the name is for people.
        let name: String = name.chars().take(64).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        let signed = params.signed_by(key, &self.issuer).map_err(cryptography)?;
        Ok(signed.der().clone())
    }
}

/// The names under which the collector is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) hosts: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Names {
    fn sans(&self, first: Option<&str>) -> Result<Vec<SanType>, CaError> {
        let hosts = first.into_iter().chain(["localhost"]);
        let mut sans = Vec::new();
        for host in hosts.chain(self.hosts.iter().map(String::as_str)) {
            let name = host.to_owned().try_into().map_err(cryptography)?;
            sans.push(SanType::DnsName(name));
        }
        let own = [IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()];
        let named = self.addresses.iter().copied().filter(|address| !address.is_unspecified());
        sans.extend(own.into_iter().chain(named).map(SanType::IpAddress));
        let mut seen = std::collections::HashSet::new();
        sans.retain(|san| seen.insert(san.clone()));
        Ok(sans)
    }
}

fn sorted(names: &[SanType]) -> Vec<String> {
    let mut all: Vec<String> = names
        .iter()
        .map(|name| match name {
            SanType::DnsName(name) => name.as_str().to_owned(),
            SanType::IpAddress(address) => address.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    all.sort();
    all
}

/// The names in a certificate, sorted; `None` when it has others than we ever write.
fn names_of(der: &[u8]) -> Option<Vec<String>> {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut all = Vec::new();
    for name in &names.value.general_names {
        all.push(match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(octets) => match octets.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*octets).ok()?).to_string(),
                _ => IpAddr::from(<[u8; 16]>::try_from(*octets).ok()?).to_string(),
            },
            _ => return None,
        });
    }
    all.sort();
    Some(all)
}

/// When a certificate from elsewhere ends; it may be larger than any of ours.
pub(crate) fn end_of(der: &[u8]) -> Result<Timestamp, String> {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    Ok(Timestamp::from_seconds(certificate.validity().not_after.timestamp()))
}

fn own_certificate(key: &KeyPair, now: Timestamp) -> Result<rcgen::Certificate, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // The name follows from the key, so that a lost certificate can be made again from the key
    // alone, and hosts that trust the old one trust the new one.
    let hash = Sha256::digest(key.subject_public_key_info());
    let short = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    params.distinguished_name.push(DnType::CommonName, format!("Bailey CA {short:08x}"));
    params.serial_number = Some(serial());
    params.not_before = date(now - OWN_BACKDATED)?;
    params.not_after = date(now + CA_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.self_signed(key).map_err(cryptography)
}

/// A random serial number of 16 octets (RFC 5280 4.1.2.2: positive, at most 20).
fn serial() -> SerialNumber {
    let mut octets = [0; 16];
    rand::rng().fill_bytes(&mut octets);
    octets[0] = octets[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&octets)
}

fn date(at: Timestamp) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(at.as_seconds())
        .map_err(|_| CaError::Cryptography(format!("{at} cannot be written in a certificate")))
}

fn pem_of(chain: &[CertificateDer<'_>]) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for certificate in chain {
        let body = base64::engine::general_purpose::STANDARD.encode(certificate);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in body.as_bytes().chunks(64) {
            text.push_str(std::str::from_utf8(line).unwrap_or_default());
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bailey_wire::identity::AgentKey;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_ca_is_made_once_and_its_key_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let made = Ca::open(folder.path(), NOW).unwrap();
        assert_eq!(mode(&folder.path().join("ca.key")), 0o600);
        assert!(!folder.path().join("ca.key.new").exists());
        let again = Ca::open(folder.path(), NOW).unwrap();
        assert_eq!(made.pin(), again.pin());
        assert_eq!(made.certificate(), again.certificate());
    }

    #[test]
    fn two_installations_have_two_keys() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(Ca::open(a.path(), NOW).unwrap().pin(), Ca::open(b.path(), NOW).unwrap().pin());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Ca::open(folder.path(), NOW).unwrap();
        let key = folder.path().join("ca.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Ca::open(folder.path(), NOW).unwrap_err();
        assert!(matches!(refused, CaError::Open { mode: 0o640, .. }), "{refused}");
        assert!(refused.to_string().contains("chmod 600"));
    }

    #[test]
    fn a_lost_key_never_becomes_a_new_ca_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        Ca::open(folder.path(), NOW).unwrap();
        std::fs::remove_file(folder.path().join("ca.key")).unwrap();
        assert!(matches!(Ca::open(folder.path(), NOW), Err(CaError::KeyGone { .. })));
    }

    #[test]
    fn a_lost_certificate_is_made_again_from_the_key_with_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let before = Ca::open(folder.path(), NOW).unwrap();
        std::fs::remove_file(folder.path().join("ca.pem")).unwrap();
        let after = Ca::open(folder.path(), NOW).unwrap();
        assert_eq!(before.pin(), after.pin());
        let name = |der: &[u8]| {
            let (_, read) = x509_parser::parse_x509_certificate(der).unwrap();
            read.subject().to_string()
        };
        assert_eq!(name(before.certificate()), name(after.certificate()));
    }

    #[test]
    fn a_hosts_certificate_is_for_clients_and_says_only_what_the_collector_decided() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::open(folder.path(), NOW).unwrap();
        let key = AgentKey::generate().unwrap();
        let request = Request::read(&key.request().unwrap()).unwrap();
        let issued = ca.issue(&request, &"oa-17".parse().unwrap(), NOW).unwrap();
        let about = Certificate::read(&issued.der).unwrap();
        assert_eq!(about.key, key.host_key());
        assert_eq!((about.not_before, about.not_after), (issued.began, issued.ends));
        let (_, read) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
        let usage = read.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert!(!read.is_ca());
        assert_eq!(read.subject().to_string(), "CN=oa-17");
        assert!(read.subject_alternative_name().unwrap().is_none());
    }

    #[test]
    fn a_request_with_a_changed_signature_is_refused() {
        let mut der = AgentKey::generate().unwrap().request().unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(Request::read(&der).is_err());
        assert!(Request::read(&[]).is_err());
        assert!(Request::read(&vec![0x30; MAX_REQUEST + 1]).is_err());
    }

    #[test]
    fn a_request_of_another_kind_of_key_is_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        assert!(matches!(Request::read(request.der()), Err(CaError::Request(_))));
    }

    #[test]
    fn the_pages_certificate_stays_until_it_is_about_to_end_or_a_name_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::open(folder.path(), NOW).unwrap();
        let names = Names { hosts: vec!["centre".into()], addresses: Vec::new() };
        let first = ca.web_leaf(folder.path(), &names, NOW).unwrap();
        assert_eq!(mode(&folder.path().join("web.key")), 0o600);
        let same = ca.web_leaf(folder.path(), &names, NOW + Duration::from_hours(24)).unwrap();
        assert_eq!(first.chain, same.chain);
        let late = NOW + WEB_LIFE - WEB_RENEWED_BEFORE + Duration::from_hours(1);
        assert_ne!(first.chain, ca.web_leaf(folder.path(), &names, late).unwrap().chain);
        let more = Names { hosts: vec!["other".into()], ..names };
        assert_ne!(first.chain, ca.web_leaf(folder.path(), &more, NOW).unwrap().chain);
    }

    #[test]
    fn a_state_folder_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("state");
        state_folder(&inside).unwrap();
        assert_eq!(mode(&inside), 0o700);
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(state_folder(&inside), Err(CaError::OpenFolder { .. })));
    }
}
