//! Every TLS configuration there is. TLS 1.3 only (RFC 8446), one provider, named explicitly.
//!
//! Between agents and collector nothing is ever resumed: a resumed session skips the verification
//! of the certificate. The clock is handed in, so that tests need not wait for a certificate to end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::time::Timestamp;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerMisbehaved, RootCertStore, ServerConfig, SignatureScheme,
};

use crate::identity::{Certificate, MAX_CERTIFICATE, key_pin_of};

/// The name in the collector's certificate for agents. It is no DNS name: agents dial an address
/// from their token and expect this name behind it, so that a collector may move.
pub const COLLECTOR_NAME: &str = "collector.bailey.internal";

/// The most certificates that a peer may present: its own and the CA's, which only a host that
/// enrols looks at. A longer chain is refused before a single signature is verified. There is
/// nothing between: the CA signs every certificate itself, so that one signature decides.
pub const MAX_CHAIN: usize = 2;

/// The protocol of agents (RFC 7301): gRPC is HTTP/2.
const ALPN_H2: &[u8] = b"h2";
/// The older protocol that scrapers and browsers may speak.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// SHA-256 of a SubjectPublicKeyInfo: the key of the collector's CA, as tokens carry it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyPin(pub [u8; 32]);

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPin({self})")
    }
}

/// Where certificate validity gets its time from.
pub type Clock = Arc<dyn TimeProvider>;

/// The system's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(DefaultTimeProvider)
}

/// Why a configuration cannot be made: certificate, key or CA do not fit. Never the peer's fault.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS with {what}: {why}")]
pub struct TlsError {
    what: &'static str,
    why: String,
}

fn cannot<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> TlsError {
    move |error| TlsError { what, why: error.to_string() }
}

/// The one provider of cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(ca: &CertificateDer<'_>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone().into_owned()).map_err(cannot("the CA certificate"))?;
    Ok(Arc::new(roots))
}

/// How an enrolled agent connects: it verifies the collector against `ca` under
/// [`COLLECTOR_NAME`] and presents `chain`.
///
/// # Errors
/// When the CA certificate is none, or key and certificate do not fit.
pub fn agent_client_config(
    ca: &CertificateDer<'_>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(ca)?, provider())
        .build()
        .map_err(cannot("the CA certificate"))?;
    let mut config = client_builder(clock)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OneLevel { inner: verifier }))
        .with_client_auth_cert(chain, key)
        .map_err(cannot("the host's certificate and key"))?;
    never_resume(&mut config);
    Ok(Arc::new(config))
}

/// How a host that knows nothing but its token connects: the collector must show a chain with the
/// CA whose key has the pin, and a certificate that this CA signed, valid now, for servers, named
/// [`COLLECTOR_NAME`]. The host presents none.
///
/// # Errors
/// When the provider cannot speak TLS 1.3.
pub fn enrol_client_config(pin: KeyPin, clock: &Clock) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = PinnedCa { pin, provider: provider() };
    let mut config = client_builder(clock)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    never_resume(&mut config);
    Ok(Arc::new(config))
}

fn client_builder(
    clock: &Clock,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_details(provider(), Arc::clone(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(cannot("TLS 1.3"))
}

fn never_resume(config: &mut ClientConfig) {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
}

/// How the collector listens for agents. A client certificate may be missing: such a connection
/// may only ever reach the enrolment service, and it is the caller who sees to that
/// (`peer_certificates()` is `None`). One that is presented must hold: signed by `ca`, valid now,
/// for clients. Whether it was revoked is the caller's to ask, by the host key.
///
/// `chain` must end with the CA's certificate, which hosts that enrol find by its pin.
///
/// # Errors
/// When the CA certificate is none, or key and certificate do not fit.
pub fn agent_server_config(
    ca: &CertificateDer<'_>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(cannot("the CA certificate"))?;
    let mut config = ServerConfig::builder_with_details(provider(), Arc::clone(clock))
        .with_protocol_versions(&[&TLS13])
        .map_err(cannot("TLS 1.3"))?
        .with_client_cert_verifier(Arc::new(OneLevel { inner: verifier }))
        .with_single_cert(chain, key)
        .map_err(cannot("the collector's certificate and key"))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(Arc::new(config))
}

/// How the collector serves browsers, scrapers and its API: no client certificates, HTTP/2 or 1.1.
///
/// # Errors
/// When key and certificate do not fit.
pub fn web_server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(cannot("TLS 1.3"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(cannot("the page's certificate and key"))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

/// How the command line and other clients of the web address connect: `ca` is the only authority.
///
/// # Errors
/// When the CA certificate is none.
pub fn web_client_config(ca: &CertificateDer<'_>) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(cannot("TLS 1.3"))?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// What a peer presents is too much to be worth verifying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_CHAIN} certificates, or one of more than {MAX_CERTIFICATE} octets")]
pub struct ChainTooLong;

/// No certificate that the collector presents has the key that the token names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no CA certificate with the key {wanted}; the token is of another collector, or somebody \
     stands between"
)]
pub struct PinMismatch {
    wanted: String,
}

/// Why a handshake failed, in few enough words to count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The peer's certificate has ended.
    Expired,
    /// The peer's certificate does not hold yet.
    NotYetValid,
    /// The peer's certificate is not of this site's CA.
    OtherCa,
    /// A signature does not fit: another CA of the same name, or a certificate without its key.
    BadSignature,
    /// The peer's certificate is for another use, such as a host's that poses as the collector.
    WrongUse,
    /// The collector's certificate bears another name.
    WrongName,
    /// The peer presents too many certificates or too large ones.
    TooLong,
    /// The peer's certificate cannot be a peer's: badly encoded, or a CA's own.
    Unfit,
    /// The collector does not have the key that the token names.
    OtherKey,
    /// The peer does not speak TLS 1.3.
    OldTls,
    /// This side was refused by the other.
    ByPeer,
    /// The connection ended or stood still.
    Broken,
    /// What the peer sent is no proper TLS.
    Malformed,
}

impl Refusal {
    /// Reads the reason out of what a handshake gave.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Self::Broken;
        };
        match tls {
            Error::InvalidCertificate(certificate) => Self::of_certificate(certificate),
            Error::AlertReceived(_) => Self::ByPeer,
            Error::PeerIncompatible(_) => Self::OldTls,
            _ => Self::Malformed,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongUse
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::UnknownIssuer => Self::OtherCa,
            CertificateError::BadSignature => Self::BadSignature,
            CertificateError::Other(OtherError(other)) if other.is::<ChainTooLong>() => {
                Self::TooLong
            }
            CertificateError::Other(OtherError(other)) if other.is::<PinMismatch>() => {
                Self::OtherKey
            }
            _ => Self::Unfit,
        }
    }

    /// The word in metrics and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::OtherCa => "other_ca",
            Self::BadSignature => "bad_signature",
            Self::WrongUse => "wrong_use",
            Self::WrongName => "wrong_name",
            Self::TooLong => "too_long",
            Self::Unfit => "unfit",
            Self::OtherKey => "other_key",
            Self::OldTls => "old_tls",
            Self::ByPeer => "by_peer",
            Self::Broken => "broken",
            Self::Malformed => "malformed",
        }
    }
}

/// What a failed handshake gave, in full words for a log; [`Refusal`] counts it.
#[must_use]
pub fn why_refused(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        // rustls shows a reason of ours by its type only.
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(ours)))) => {
            format!("invalid peer certificate: {ours}")
        }
        Some(_) | None => error.to_string(),
    }
}

fn refused<E: std::error::Error + Send + Sync + 'static>(why: E) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

fn short_enough(leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), Error> {
    let large = |certificate: &CertificateDer<'_>| certificate.len() > MAX_CERTIFICATE;
    if rest.len() + 1 > MAX_CHAIN || large(leaf) || rest.iter().any(large) {
        return Err(refused(ChainTooLong));
    }
    Ok(())
}

/// Refuses what is too long before the verifier behind it spends anything on it, and lets that one
/// see nothing but the peer's own certificate: as an anchor, a CA's path length is not looked at,
/// and a certificate that was meant for a host must never sign another.
#[derive(Debug)]
struct OneLevel<V: ?Sized> {
    inner: Arc<V>,
}

impl ClientCertVerifier for OneLevel<dyn ClientCertVerifier> {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        short_enough(end_entity, intermediates)?;
        self.inner.verify_client_cert(end_entity, &[], now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ServerCertVerifier for OneLevel<WebPkiServerVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        short_enough(end_entity, intermediates)?;
        self.inner.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Trusts the one CA whose key has the pin, wherever it comes from, and nothing that it did not sign.
#[derive(Debug)]
struct PinnedCa {
    pin: KeyPin,
    provider: Arc<CryptoProvider>,
}

impl PinnedCa {
    /// The presented CA certificate with the pinned key, itself valid at `now`: as an anchor its
    /// dates would not be looked at again.
    fn anchor(
        &self,
        presented: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Arc<RootCertStore>, Error> {
        let pinned = presented
            .iter()
            .find(|certificate| key_pin_of(certificate).is_ok_and(|pin| pin == self.pin))
            .ok_or_else(|| refused(PinMismatch { wanted: self.pin.to_string() }))?;
        let facts = Certificate::read(pinned)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let unix = |at: Timestamp| {
            let seconds = u64::try_from(at.as_seconds()).unwrap_or(0);
            UnixTime::since_unix_epoch(Duration::from_secs(seconds))
        };
        let (not_before, not_after) = (unix(facts.not_before), unix(facts.not_after));
        let why = if now > not_after {
            CertificateError::ExpiredContext { time: now, not_after }
        } else if now < not_before {
            CertificateError::NotValidYetContext { time: now, not_before }
        } else if !facts.is_ca {
            CertificateError::UnknownIssuer
        } else {
            let mut roots = RootCertStore::empty();
            roots.add(pinned.clone().into_owned())?;
            return Ok(Arc::new(roots));
        };
        Err(Error::InvalidCertificate(why))
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        short_enough(end_entity, intermediates)?;
        let roots = self.anchor(intermediates, now)?;
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
