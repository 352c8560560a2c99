//! Keys, certificates and signatures. A host is its key: never a name, an address or a serial.

use std::fmt::{self, Write as _};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use bailey_rules::name::{BootId, HostKey};
use bailey_rules::time::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::tls::KeyPin;

/// The largest certificate that is looked at, in octets. One of ours has some 500.
pub const MAX_CERTIFICATE: usize = 4096;

/// Why a key or certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is no X.509 certificate in DER (RFC 5280), or one beyond [`MAX_CERTIFICATE`].
    #[error("not a certificate: {0}")]
    NotACertificate(String),
    /// It is no P-256 private key in PKCS#8 (RFC 5958).
    #[error("not a P-256 private key in PKCS#8 form: {0}")]
    NotAKey(String),
    /// The signature was not made by that key over those octets.
    #[error("the signature does not fit the certificate's key")]
    BadSignature,
    /// The cryptographic library failed.
    #[error("cannot make a key or signature: {0}")]
    Cryptography(String),
}

fn parsed(certificate: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    let not = |why: &str| IdentityError::NotACertificate(why.into());
    if certificate.len() > MAX_CERTIFICATE {
        return Err(not("it is too large"));
    }
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| not(&error.to_string()))?;
    if !rest.is_empty() {
        return Err(not("something follows it"));
    }
    Ok(parsed)
}

fn spki_hash(certificate: &X509Certificate<'_>) -> [u8; 32] {
    Sha256::digest(certificate.public_key().raw).into()
}

/// What is read from a certificate besides its key's use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub key: HostKey,
    /// Its serial number, hexadecimal, for people and logs.
    pub serial: String,
    /// The first moment at which it holds.
    pub not_before: Timestamp,
    /// The last second in which it holds.
    pub not_after: Timestamp,
    /// Whether it may sign certificates (RFC 5280 4.2.1.9).
    pub is_ca: bool,
}

impl Certificate {
    /// Reads a certificate in DER. Nothing is verified here; TLS did that, or it came from a file.
    ///
    /// # Errors
    /// [`IdentityError::NotACertificate`] when it is none.
    pub fn read(der: &[u8]) -> Result<Self, IdentityError> {
        let certificate = parsed(der)?;
        let validity = certificate.validity();
        Ok(Self {
            key: HostKey::from_bytes(spki_hash(&certificate)),
            serial: hexadecimal(certificate.raw_serial()),
            not_before: Timestamp::from_seconds(validity.not_before.timestamp()),
            not_after: Timestamp::from_seconds(validity.not_after.timestamp()),
            is_ca: certificate.is_ca(),
        })
    }

    /// The point at which half of its life is over: time to renew.
    #[must_use]
    pub fn half_life(&self) -> Timestamp {
        let (began, ends) = (self.not_before.as_millis(), self.not_after.as_millis());
        Timestamp::from_millis(i64::midpoint(began, ends))
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Who a certificate belongs to: the SHA-256 of its SubjectPublicKeyInfo.
///
/// # Errors
/// [`IdentityError::NotACertificate`] when it is none.
pub fn host_key_of(certificate: &[u8]) -> Result<HostKey, IdentityError> {
    Ok(HostKey::from_bytes(spki_hash(&parsed(certificate)?)))
}

/// The pin of a certificate's key, for tokens: the SHA-256 of its SubjectPublicKeyInfo.
///
/// # Errors
/// [`IdentityError::NotACertificate`] when it is none.
pub fn key_pin_of(certificate: &[u8]) -> Result<KeyPin, IdentityError> {
    Ok(KeyPin(spki_hash(&parsed(certificate)?)))
}

/// Verifies an ECDSA P-256 SHA-256 signature (ASN.1 form, RFC 3279 2.2.3) by a certificate's key.
///
/// # Errors
/// [`IdentityError::BadSignature`] when it does not fit or the key is of another kind.
pub fn verify(certificate: &[u8], message: &[u8], signature: &[u8]) -> Result<(), IdentityError> {
    let certificate = parsed(certificate)?;
    // A point of another curve or an RSA key is no point of P-256 and is refused there.
    let point = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(message, signature)
        .map_err(|_| IdentityError::BadSignature)
}

/// What a host signs when it stops on purpose: that no report after `last_seq` will come.
#[must_use]
pub fn goodbye_bytes(boot: BootId, last_seq: u64, at_millis: i64) -> Vec<u8> {
    let mut message = b"bailey goodbye".to_vec();
    message.extend(boot.as_bytes());
    message.extend(last_seq.to_be_bytes());
    message.extend(at_millis.to_be_bytes());
    message
}

/// A host's own key: ECDSA on P-256. It is made on the host and never leaves it.
pub struct AgentKey(KeyPair);

impl AgentKey {
    /// A new key, from the operating system's randomness.
    ///
    /// # Errors
    /// [`IdentityError::Cryptography`] when the system gives none.
    pub fn generate() -> Result<Self, IdentityError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|error| IdentityError::Cryptography(error.to_string()))
    }

    /// The key that [`Self::pkcs8_der`] wrote.
    ///
    /// # Errors
    /// [`IdentityError::NotAKey`] when it is none.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, IdentityError> {
        let der = PrivatePkcs8KeyDer::from(der);
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|error| IdentityError::NotAKey(error.to_string()))
    }

    /// The key as PKCS#8 (RFC 5958), for a file that only the agent can read.
    #[must_use]
    pub fn pkcs8_der(&self) -> &[u8] {
        self.0.serialized_der()
    }

    /// The key as TLS takes it.
    #[must_use]
    pub fn for_tls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8_der().to_vec()))
    }

    /// Who this key makes the host.
    #[must_use]
    pub fn host_key(&self) -> HostKey {
        use rcgen::PublicKeyData as _;
        HostKey::from_bytes(Sha256::digest(self.0.subject_public_key_info()).into())
    }

    /// A request for a certificate (PKCS#10, RFC 2986), DER. It names nobody: the collector
    /// decides what the certificate says.
    ///
    /// # Errors
    /// [`IdentityError::Cryptography`] when signing fails.
    pub fn request(&self) -> Result<Vec<u8>, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .serialize_request(&self.0)
            .map(|request| request.der().to_vec())
            .map_err(|error| IdentityError::Cryptography(error.to_string()))
    }

    /// An ECDSA P-256 SHA-256 signature over `message`, in ASN.1 form.
    ///
    /// # Errors
    /// [`IdentityError::Cryptography`] when signing fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        self.0.sign(message).map_err(|error| IdentityError::Cryptography(error.to_string()))
    }

    /// Whether `certificate` is for this key.
    #[must_use]
    pub fn fits(&self, certificate: &CertificateDer<'_>) -> bool {
        host_key_of(certificate).is_ok_and(|key| key == self.host_key())
    }
}

impl fmt::Debug for AgentKey {
    /// Without the key: this may end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({})", self.host_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(key: &AgentKey) -> Vec<u8> {
        let params = CertificateParams::new(["oa-17".to_owned()]).unwrap();
        params.self_signed(&key.0).unwrap().der().to_vec()
    }

    #[test]
    fn a_key_survives_its_file_and_stays_the_same_host() {
        let key = AgentKey::generate().unwrap();
        let again = AgentKey::from_pkcs8_der(key.pkcs8_der()).unwrap();
        assert_eq!(key.host_key(), again.host_key());
        assert_eq!(host_key_of(&certified(&again)).unwrap(), key.host_key());
        assert_ne!(AgentKey::generate().unwrap().host_key(), key.host_key());
        assert!(AgentKey::from_pkcs8_der(&key.pkcs8_der()[1..]).is_err());
        assert!(AgentKey::from_pkcs8_der(b"").is_err());
    }

    #[test]
    fn a_goodbye_is_believed_from_the_certificates_key_only() {
        let key = AgentKey::generate().unwrap();
        let certificate = certified(&key);
        let boot = BootId::from_bytes([9; 16]);
        let signature = key.sign(&goodbye_bytes(boot, 41, 1_000)).unwrap();

        assert_eq!(verify(&certificate, &goodbye_bytes(boot, 41, 1_000), &signature), Ok(()));
        for other in [
            goodbye_bytes(boot, 42, 1_000),
            goodbye_bytes(boot, 41, 1_001),
            goodbye_bytes(BootId::from_bytes([8; 16]), 41, 1_000),
        ] {
            let verified = verify(&certificate, &other, &signature);
            assert_eq!(verified, Err(IdentityError::BadSignature));
        }
        let stranger = certified(&AgentKey::generate().unwrap());
        let message = goodbye_bytes(boot, 41, 1_000);
        assert_eq!(verify(&stranger, &message, &signature), Err(IdentityError::BadSignature));
        assert_eq!(verify(&certificate, &message, b""), Err(IdentityError::BadSignature));
    }

    #[test]
    fn a_request_names_nobody() {
        let key = AgentKey::generate().unwrap();
        let request = rcgen::CertificateSigningRequestParams::from_der(
            &key.request().unwrap().as_slice().into(),
        )
        .unwrap();
        assert_eq!(request.params.distinguished_name.iter().count(), 0);
        assert!(request.params.subject_alt_names.is_empty());
    }

    #[test]
    fn a_log_line_never_shows_the_key() {
        let key = AgentKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("AgentKey({})", key.host_key()));
    }
}
