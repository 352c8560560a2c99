//! Messages of syslog that devices send: over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425),
//! into events of the journal.
//!
//! The parts, in the order in which a message meets them:
//! - [`datagram`] and [`stream`]: what came from whom, everybody kept to his share.
//! - [`text`]: octets to text, in UTF-8 or GBK.
//! - [`intake`]: which of it is worth an event, what repeats itself, and what firewalls refused.
//!
//! What a message says is in [`bailey_rules::syslog`]. A message proves nothing of its sender: it becomes
//! an event, which people read, and never a finding.

mod datagram;
mod intake;
mod stream;
pub mod text;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bailey_rules::time::Timestamp;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::datagrams::Limits;
use crate::queue::{Bounds, Queue, queue};
use crate::quota::Rate;
use crate::settings::SyslogSettings;
use crate::site::Site;

/// What may wait to be read: a burst of ordinary lines, and far fewer of the longest.
const QUEUE: Bounds = Bounds { messages: 8_192, octets: 8 * 1024 * 1024 };

/// What may be sent: a firewall that logs what it refuses sends hundreds a second.
const LIMITS: Limits = Limits {
    sender: Rate { a_second: 200.0, burst: 2_000.0 },
    strangers: Rate { a_second: 20.0, burst: 200.0 },
    all: Rate { a_second: 2_000.0, burst: 20_000.0 },
};

/// Why messages cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    /// An address.
    #[error("cannot listen on {address} for syslog: {source}; choose another address under syslog")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No thread.
    #[error("no thread to receive syslog: {0}")]
    Thread(io::Error),
}

/// Where messages are received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyslogAddresses {
    /// Over UDP.
    pub udp: Option<SocketAddr>,
    /// Over TCP.
    pub tcp: Option<SocketAddr>,
    /// Over TLS.
    pub tls: Option<SocketAddr>,
}

/// A message on its way to the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Received {
    at: Timestamp,
    source: IpAddr,
    octets: Vec<u8>,
}

/// Where messages wait.
type Messages = Queue<Received>;

/// Begins to receive. Gives the addresses.
pub(crate) async fn start(
    site: &Site,
    settings: &SyslogSettings,
    tls: Arc<ArcSwap<ServerConfig>>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<SyslogAddresses, SyslogError> {
    let (queue, waiting) = queue(QUEUE);
    let mut addresses = SyslogAddresses::default();
    let mut socket = None;
    if let Some(address) = settings.udp {
        let (bound, for_counting) = datagram::start(site, address, queue.clone(), stop)?;
        addresses.udp = Some(bound);
        socket = Some(for_counting);
    }
    let streams = stream::Streams::new(site, queue);
    if let Some(address) = settings.tcp {
        addresses.tcp = Some(streams.listen(address, None, tasks, stop).await?);
    }
    if let Some(address) = settings.tls {
        addresses.tls = Some(streams.listen(address, Some(tls), tasks, stop).await?);
    }
    drop(streams);
    tasks.spawn(intake::Intake::new(site, settings, socket).run(waiting));
    info!(?addresses, severity = %settings.severity, "syslog is received");
    Ok(addresses)
}
