//! Messages over UDP (RFC 5426): one a datagram, read by a thread of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use bailey_rules::syslog::MAX_MESSAGE;
use tokio_util::sync::CancellationToken;

use super::{LIMITS, Messages, Received, SyslogError};
use crate::counters::SyslogResult;
use crate::datagrams::{Over, Reader, Shares};
use crate::site::Site;

/// What a share that is used up is counted as.
pub(super) const fn counted(over: Over) -> SyslogResult {
    match over {
        Over::Sender => SyslogResult::RateSender,
        Over::Strangers => SyslogResult::RateStrangers,
        Over::All => SyslogResult::RateAll,
    }
}

/// Begins to read. Gives the address, and the socket for asking the kernel what it dropped.
pub(super) fn start(
    site: &Site,
    address: SocketAddr,
    queue: Messages,
    stop: &CancellationToken,
) -> Result<(SocketAddr, UdpSocket), SyslogError> {
    let listen = |source| SyslogError::Listen { address, source };
    let reader = Reader::bind(address).map_err(listen)?;
    let bound = reader.address();
    let for_counting = reader.socket().map_err(listen)?;
    let (counters, clock) = (Arc::clone(site.shared_counters()), Arc::clone(site.clock()));
    let senders = site.senders().clone();
    let mut shares = Shares::new(LIMITS, Instant::now());
    let take = move |datagram: &[u8], source: SocketAddr| {
        let source = source.ip().to_canonical();
        if let Err(over) = shares.take(source, senders.knows(source), Instant::now()) {
            return counters.syslog.of(counted(over)).one();
        }
        let octets = datagram[..datagram.len().min(MAX_MESSAGE)].to_vec();
        let length = octets.len();
        if !queue.try_send(Received { at: clock.now(), source, octets }, length) {
            counters.syslog.of(SyslogResult::QueueFull).one();
        }
    };
    reader.start("syslog", stop.clone(), take).map_err(SyslogError::Thread)?;
    Ok((bound, for_counting))
}
