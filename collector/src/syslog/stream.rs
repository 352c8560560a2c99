//! Messages over TCP and TLS (RFC 6587, RFC 5425): a stream from each sender, cut into messages.
//!
//! A stream can be held back, so nothing that comes over one is dropped: who sends more than his share
//! waits, and his own buffer fills. Strangers have few places, all together, and lose theirs when they say
//! nothing: the others are for whom the site knows.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bailey_rules::syslog::frame::{Frame, Frames};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{LIMITS, Messages, Received, SyslogError};
use crate::clock::SharedClock;
use crate::counters::{Counters, SyslogResult};
use crate::datagrams::Shares;
use crate::quota::{Place, Places};
use crate::senders::Senders;
use crate::site::Site;

/// The most connections at once of senders that the site knows, and from one address of theirs; a new one
/// is closed beyond it.
const KNOWN: Most = Most { all: 512, from_one: 8 };

/// The same for strangers.
const STRANGERS: Most = Most { all: 32, from_one: 2 };

/// The longest handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a connection may be open without one whole message. Devices keep one open for days and say
/// little.
const SILENCE: Duration = Duration::from_hours(24);

/// The same for strangers, who may only want the place.
const SILENCE_OF_STRANGERS: Duration = Duration::from_mins(2);

/// How long a sender who has used up his share waits before it is looked again.
const PAUSE: Duration = Duration::from_millis(50);

/// The wait before accepting again when the system has nothing left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much of a stream is read at once, in octets.
const PIECE: usize = 16 * 1024;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
struct Most {
    all: usize,
    from_one: usize,
}

/// Places for connections.
struct Room {
    all: Arc<Semaphore>,
    from_one: Places,
}

impl Room {
    fn new(most: Most) -> Self {
        Self { all: Arc::new(Semaphore::new(most.all)), from_one: Places::new(most.from_one) }
    }

    /// A place for a connection from `source`, free again when it is dropped.
    fn take(&self, source: IpAddr) -> Option<(OwnedSemaphorePermit, Place)> {
        Arc::clone(&self.all).try_acquire_owned().ok().zip(self.from_one.take(source))
    }
}

/// What the streams of all listeners have in common.
#[derive(Clone)]
pub(super) struct Streams(Arc<Shared>);

struct Shared {
    queue: Messages,
    counters: Arc<Counters>,
    clock: SharedClock,
    senders: Senders,
    shares: Mutex<Shares>,
    known: Room,
    strangers: Room,
}

impl Streams {
    pub(super) fn new(site: &Site, queue: Messages) -> Self {
        Self(Arc::new(Shared {
            queue,
            counters: Arc::clone(site.shared_counters()),
            clock: Arc::clone(site.clock()),
            senders: site.senders().clone(),
            shares: Mutex::new(Shares::new(LIMITS, Instant::now())),
            known: Room::new(KNOWN),
            strangers: Room::new(STRANGERS),
        }))
    }

    /// Listens at `address`, over TLS where `tls` is given.
    pub(super) async fn listen(
        &self,
        address: SocketAddr,
        tls: Option<Arc<ArcSwap<ServerConfig>>>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<SocketAddr, SyslogError> {
        let listen = |source| SyslogError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        tasks.spawn(self.clone().accept(listener, tls, tasks.clone(), stop.clone()));
        Ok(bound)
    }

    async fn accept(
        self,
        listener: TcpListener,
        tls: Option<Arc<ArcSwap<ServerConfig>>>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, source) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a sender of syslog could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let source = source.ip().to_canonical();
            let (room, silence) = if self.0.senders.knows(source) {
                (&self.0.known, SILENCE)
            } else {
                (&self.0.strangers, SILENCE_OF_STRANGERS)
            };
            let Some(place) = room.take(source) else {
                self.0.counters.syslog_refused.one();
                continue;
            };
            let (streams, tls, stop) = (self.clone(), tls.clone(), stop.clone());
            tasks.spawn(async move {
                streams.0.counters.syslog_connections.one();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = streams.serve(stream, source, silence, tls) => {}
                }
                streams.0.counters.syslog_connections.less();
                drop(place);
            });
        }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        source: IpAddr,
        silence: Duration,
        tls: Option<Arc<ArcSwap<ServerConfig>>>,
    ) {
        let Some(tls) = tls else { return self.read(stream, source, silence).await };
        let acceptor = TlsAcceptor::from(tls.load_full());
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.read(stream, source, silence).await,
            Ok(Err(error)) => {
                debug!(%source, %error, "no TLS with a sender of syslog");
                self.0.counters.syslog_refused.one();
            }
            Err(_) => self.0.counters.syslog_refused.one(),
        }
    }

    async fn read(&self, mut stream: impl AsyncRead + Unpin, source: IpAddr, silence: Duration) {
        let mut frames = Frames::default();
        let mut piece = vec![0; PIECE];
        // Single octets now and then are no message, and keep no place.
        let mut until = tokio::time::Instant::now() + silence;
        let followed = loop {
            let length = match timeout_at(until, stream.read(&mut piece)).await {
                Ok(Ok(length)) if length > 0 => length,
                // It has ended, is broken, or says nothing any more.
                Ok(Ok(_) | Err(_)) | Err(_) => break Ok(()),
            };
            let mut ended = Vec::new();
            let followed = frames.push(&piece[..length], &mut ended);
            if !ended.is_empty() {
                for frame in ended {
                    self.take(frame, source).await;
                }
                until = tokio::time::Instant::now() + silence;
            }
            if followed.is_err() {
                break followed;
            }
        };
        match followed.and_then(|()| frames.finish()) {
            Ok(Some(frame)) => self.take(frame, source).await,
            Ok(None) => {}
            Err(error) => {
                debug!(%source, %error, "a sender of syslog was hung up on");
                self.0.counters.syslog.of(SyslogResult::Malformed).one();
                self.0.counters.syslog_refused.one();
            }
        }
    }

    async fn take(&self, frame: Frame, source: IpAddr) {
        while self.is_over(source) {
            tokio::time::sleep(PAUSE).await;
        }
        let (at, length) = (self.0.clock.now(), frame.message.len());
        let received = Received { at, source, octets: frame.message };
        // The other end is there until the last sender is gone.
        self.0.queue.send(received, length).await;
    }

    fn is_over(&self, source: IpAddr) -> bool {
        let known = self.0.senders.knows(source);
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.take(source, known, Instant::now()).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_of_any_number_of_addresses_take_no_place_of_whom_the_site_knows() {
        let (known, strangers) = (Room::new(KNOWN), Room::new(STRANGERS));
        let address = |nth: usize| IpAddr::from(u32::try_from(nth + 1).unwrap().to_be_bytes());
        let held: Vec<_> = (0..2_000).filter_map(|nth| strangers.take(address(nth))).collect();
        assert_eq!(held.len(), STRANGERS.all);
        assert!(known.take(address(5_000)).is_some());
        drop(held);
        let of_one: Vec<_> = (0..50).filter_map(|_| strangers.take(address(1))).collect();
        assert_eq!(of_one.len(), STRANGERS.from_one);
        let other = strangers.take(address(2));
        assert!(other.is_some(), "what one was refused is nobody's");
    }
}
