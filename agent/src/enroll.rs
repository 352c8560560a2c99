//! Becoming known to a collector: a token for one host, shown once, for a key that never leaves
//! this machine.

pub mod pin;

use std::sync::Arc;
use std::time::Duration;

use bailey_rules::name::{HostName, ZoneName};
use bailey_wire::identity::{AgentKey, IdentityError, key_pin_of};
use bailey_wire::tls::{self, KeyPin, TlsError};
use bailey_wire::token::Token;
use bailey_wire::v1;
use bailey_wire::v1::enrolment_client::EnrolmentClient;
use rustls::pki_types::CertificateDer;

use crate::channel::{self, ChannelError};
use crate::enforce::socket::AskError;
use crate::folder::{Credentials, Enrolled, FolderError, StateFolder};

/// How long the collector may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The host is enrolled, and everything it needs is in its state folder.
    Enrolled(Enrolled),
    /// Its name belongs to another machine: a person must approve. Ask again later with the same
    /// token.
    Waiting {
        /// When to ask again.
        ask_again: Duration,
    },
}

/// Why a host was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The state folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The host's key.
    #[error("the host's key: {0}")]
    Key(#[from] IdentityError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The collector cannot be reached, or is not the one that made the token.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The collector refused.
    #[error("the collector refused: {0}")]
    Refused(String),
    /// The collector said something that makes no sense.
    #[error("the collector's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// The enforcer of this host said something that makes no sense.
    #[error(transparent)]
    Enforcer(#[from] AskError),
}

/// Enrols this host with `token`. `address`, when given, is used instead of the token's. Asking
/// again with the same token and folder is safe: it is the same key.
///
/// # Errors
/// What went wrong; the state folder then holds at most a new key.
pub async fn enroll(
    token: &Token,
    folder: &StateFolder,
    address: Option<&str>,
) -> Result<Outcome, EnrollError> {
    let key = folder.key()?;
    let config = tls::enrol_client_config(token.pin, &tls::system_clock())?;
    let reply = ask(address.unwrap_or(&token.address), config, &key, &token.secret).await?;
    let enrolled = match reply.answer {
        Some(v1::enrol_reply::Answer::Enrolled(enrolled)) => enrolled,
        Some(v1::enrol_reply::Answer::Waiting(waiting)) => {
            let seconds = waiting.ask_again_seconds.clamp(1, 3600);
            return Ok(Outcome::Waiting { ask_again: Duration::from_secs(seconds.into()) });
        }
        None => return Err(EnrollError::Nonsense("it is empty")),
    };
    let certificate = checked(enrolled.certificate, &key, token.pin)?;
    let said = Enrolled {
        site: enrolled.site,
        host: name(&enrolled.host)?,
        zone: zone(&enrolled.zone)?,
        collector: token.address.clone(),
    };
    folder.keep_enrolment(&certificate.leaf, &certificate.ca, &said)?;
    Ok(Outcome::Enrolled(said))
}

/// A new certificate for a host that is enrolled and whose certificate has ended while it was off:
/// the collector knows the key, and the request proves that this host has it.
///
/// # Errors
/// What went wrong; the old certificate is then still there.
pub async fn restore(
    credentials: &Credentials,
    folder: &StateFolder,
    address: &str,
) -> Result<(), EnrollError> {
    let pin = key_pin_of(&credentials.ca)?;
    let config = tls::enrol_client_config(pin, &tls::system_clock())?;
    let reply = ask(address, config, &credentials.key, &[]).await?;
    let Some(v1::enrol_reply::Answer::Enrolled(enrolled)) = reply.answer else {
        return Err(EnrollError::Nonsense("it does not give a certificate"));
    };
    let certificate = checked(enrolled.certificate, &credentials.key, pin)?;
    Ok(folder.keep_certificate(&certificate.leaf)?)
}

async fn ask(
    address: &str,
    config: Arc<rustls::ClientConfig>,
    key: &AgentKey,
    secret: &[u8],
) -> Result<v1::EnrolReply, EnrollError> {
    let channel = channel::open(address, config).await?;
    let request = v1::EnrolRequest { secret: secret.to_vec(), request: key.request()? };
    let asked = async { EnrolmentClient::new(channel).enrol(request).await };
    match tokio::time::timeout(ANSWER_LIMIT, asked).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(EnrollError::Refused(status.message().to_owned())),
        Err(_) => Err(EnrollError::Refused("no answer".to_owned())),
    }
}

/// The certificate must be for our key, and its CA the one that the token pinned.
fn checked(
    certificate: Option<v1::Certificate>,
    key: &AgentKey,
    pin: KeyPin,
) -> Result<v1::Certificate, EnrollError> {
    let certificate = certificate.ok_or(EnrollError::Nonsense("it has no certificate"))?;
    if key_pin_of(&certificate.ca)? != pin {
        return Err(EnrollError::Nonsense("its CA is not the one of the token"));
    }
    if !key.fits(&CertificateDer::from(certificate.leaf.as_ref())) {
        return Err(EnrollError::Nonsense("its certificate is for another key"));
    }
    Ok(certificate)
}

fn name(text: &str) -> Result<HostName, EnrollError> {
    text.parse().map_err(|_| EnrollError::Nonsense("its host name is none"))
}

fn zone(text: &str) -> Result<ZoneName, EnrollError> {
    text.parse().map_err(|_| EnrollError::Nonsense("its zone name is none"))
}
