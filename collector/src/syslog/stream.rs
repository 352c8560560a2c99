//! Messages over TCP and TLS (RFC 6587, RFC 5425): a stream from each sender, cut into messages.
//!
//! A stream can be held back, so nothing that comes over one is dropped: who sends more than his share
//! waits, and his own buffer fills.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bailey_rules::syslog::frame::{Frame, Frames};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{LIMITS, Received, SyslogError};
use crate::clock::SharedClock;
use crate::counters::Counters;
use crate::datagrams::Shares;
use crate::quota::Places;
use crate::senders::Senders;
use crate::site::Site;

/// The most connections at once; a new one is closed beyond it.
const MAX_CONNECTIONS: usize = 512;

/// The most connections from one address.
const MAX_FROM_ONE: usize = 8;

/// The longest handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a connection may be silent. Devices keep one open for days and say little.
const SILENCE: Duration = Duration::from_hours(24);

/// How long a sender who has used up his share waits before it is looked again.
const PAUSE: Duration = Duration::from_millis(50);

/// The wait before accepting again when the system has nothing left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much of a stream is read at once, in octets.
const PIECE: usize = 16 * 1024;

/// What the streams of all listeners have in common.
#[derive(Clone)]
pub(super) struct Streams(Arc<Shared>);

struct Shared {
    queue: mpsc::Sender<Received>,
    counters: Arc<Counters>,
    clock: SharedClock,
    senders: Senders,
    shares: Mutex<Shares>,
    places: Arc<Semaphore>,
    from_one: Places,
}

impl Streams {
    pub(super) fn new(site: &Site, queue: mpsc::Sender<Received>) -> Self {
        Self(Arc::new(Shared {
            queue,
            counters: Arc::clone(site.shared_counters()),
            clock: Arc::clone(site.clock()),
            senders: site.senders().clone(),
            shares: Mutex::new(Shares::new(LIMITS, Instant::now())),
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            from_one: Places::new(MAX_FROM_ONE),
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
            let place = Arc::clone(&self.0.places).try_acquire_owned().ok();
            let own = self.0.from_one.take(source);
            let (Some(place), Some(own)) = (place, own) else {
                self.0.counters.syslog_refused.one();
                continue;
            };
            let (streams, tls, stop) = (self.clone(), tls.clone(), stop.clone());
            tasks.spawn(async move {
                streams.0.counters.syslog_connections.one();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = streams.serve(stream, source, tls) => {}
                }
                streams.0.counters.syslog_connections.less();
                drop((place, own));
            });
        }
    }

    async fn serve(
        &self,
        stream: TcpStream,
        source: IpAddr,
        tls: Option<Arc<ArcSwap<ServerConfig>>>,
    ) {
        let Some(tls) = tls else { return self.read(stream, source).await };
        let acceptor = TlsAcceptor::from(tls.load_full());
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.read(stream, source).await,
            Ok(Err(error)) => {
                debug!(%source, %error, "no TLS with a sender of syslog");
                self.0.counters.syslog_refused.one();
            }
            Err(_) => self.0.counters.syslog_refused.one(),
        }
    }

    async fn read(&self, mut stream: impl AsyncRead + Unpin, source: IpAddr) {
        let mut frames = Frames::default();
        let mut piece = vec![0; PIECE];
        loop {
            let length = match tokio::time::timeout(SILENCE, stream.read(&mut piece)).await {
                Ok(Ok(length)) if length > 0 => length,
                // It has ended, is broken, or says nothing any more.
                Ok(Ok(_) | Err(_)) | Err(_) => break,
            };
            match frames.push(&piece[..length]) {
                Ok(ended) => {
                    for frame in ended {
                        self.take(frame, source).await;
                    }
                }
                Err(error) => {
                    debug!(%source, %error, "a sender of syslog was hung up on");
                    self.0.counters.syslog_refused.one();
                    return;
                }
            }
        }
        if let Some(frame) = frames.finish() {
            self.take(frame, source).await;
        }
    }

    async fn take(&self, frame: Frame, source: IpAddr) {
        while self.is_over(source) {
            tokio::time::sleep(PAUSE).await;
        }
        let at = self.0.clock.now();
        // The other end is there until the last sender is gone.
        let _ = self.0.queue.send(Received { at, source, octets: frame.message }).await;
    }

    fn is_over(&self, source: IpAddr) -> bool {
        let known = self.0.senders.knows(source);
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.take(source, known, Instant::now()).is_err()
    }
}
