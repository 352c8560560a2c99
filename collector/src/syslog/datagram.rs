//! Messages over UDP (RFC 5426): one a datagram, read by a thread of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use bailey_rules::syslog::MAX_MESSAGE;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LIMITS, Received, SyslogError};
use crate::counters::SyslogResult;
use crate::datagrams::{Over, Shares, bind, read_until};
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
    queue: mpsc::Sender<Received>,
    stop: &CancellationToken,
) -> Result<(SocketAddr, UdpSocket), SyslogError> {
    let listen = |source| SyslogError::Listen { address, source };
    let socket = bind(address).map_err(listen)?;
    let bound = socket.local_addr().map_err(listen)?;
    let for_counting = socket.try_clone().map_err(listen)?;
    let (counters, clock) = (Arc::clone(site.shared_counters()), Arc::clone(site.clock()));
    let (senders, stop) = (site.senders().clone(), stop.clone());
    let mut shares = Shares::new(LIMITS, Instant::now());
    let read = move || {
        read_until(&socket, &stop, |datagram, source| {
            let source = source.ip().to_canonical();
            if let Err(over) = shares.take(source, senders.knows(source), Instant::now()) {
                return counters.syslog.of(counted(over)).one();
            }
            let octets = datagram[..datagram.len().min(MAX_MESSAGE)].to_vec();
            if queue.try_send(Received { at: clock.now(), source, octets }).is_err() {
                counters.syslog.of(SyslogResult::QueueFull).one();
            }
        });
    };
    std::thread::Builder::new().name("syslog".into()).spawn(read).map_err(SyslogError::Thread)?;
    Ok((bound, for_counting))
}
