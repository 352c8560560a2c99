//! Where agents come in: one address, TLS 1.3, gRPC.
//!
//! A connection without a certificate reaches the enrolment service and nothing else; one with the
//! certificate of an enrolled host reaches the uplink and nothing else. Who speaks is decided once, at
//! the handshake, and is never read from a message.

mod enrol;
mod uplink;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bailey_rules::host::Connection;
use bailey_wire::MAX_MESSAGE;
use bailey_wire::identity::{Certificate, host_key_of};
use bailey_wire::v1::enrolment_server::EnrolmentServer;
use bailey_wire::v1::uplink_server::UplinkServer;
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, ServerConfig};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};
use tracing::{debug, warn};

use crate::counters::{AuthFailure, Counter, Counters};
use crate::enrolment::Enrolment;
use crate::host::Host;
use crate::quota::{BySource, Place, Places, Rate};
use crate::site::Site;

/// The most connections of enrolled hosts at once: every agent that a collector is made for, and those
/// that come back before their old connection is known to be dead.
pub const MAX_CONNECTIONS: usize = 16_384;

/// The most connections that have not shown who they are: handshakes and enrolments.
pub const MAX_STRANGERS: usize = 4_096;

/// The most of those from one address, this machine's own excepted.
pub const MAX_STRANGERS_AN_ADDRESS: usize = 64;

/// Enrolments that one address may ask for, this machine's own excepted.
pub const ENROLMENTS_A_MINUTE: u32 = 10;

/// The longest handshake.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(8);

/// The longest that a connection without a certificate lives.
pub const ENROLMENT_LIMIT: Duration = Duration::from_secs(20);

/// The longest from the handshake to the beginning of a session.
const FIRST_CALL_LIMIT: Duration = Duration::from_secs(10);

/// How often a silent connection is asked whether it is alive, and how long it may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// How long the reason for a revoked host's end may take to be sent.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Octets that a host may send ahead of being read, for one call and for the whole connection.
const WINDOW: u32 = 128 * 1024;
/// The same for whoever enrols.
const ENROLMENT_WINDOW: u32 = 16 * 1024;

/// The largest request of whoever enrols, in octets.
const MAX_ENROLMENT: usize = 8 * 1024;

/// Calls at once on one connection: a session and a renewal, and one of each that ends.
const MAX_CALLS: u32 = 4;

/// Octets of headers of one call.
const MAX_HEADERS: u32 = 8 * 1024;

/// Octets of answers that wait for a peer that does not read.
const MAX_UNREAD: usize = 32 * 1024;

/// Connections that wait to be accepted: every agent at once, after the collector was away.
const BACKLOG: u32 = 4_096;

/// How long to wait before accepting again when the system refuses (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long sessions may take to acknowledge what is on its way to the disk when the collector stops.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// The way in.
pub(crate) struct Intake {
    shared: Arc<Shared>,
    listener: TcpListener,
}

struct Shared {
    site: Site,
    enrolment: Enrolment,
    tls: Arc<ArcSwap<ServerConfig>>,
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    by_address: Places,
    enrolments: Mutex<BySource>,
    stop: CancellationToken,
}

impl Shared {
    fn counters(&self) -> &Counters {
        self.site.counters()
    }

    fn turned_away(&self, peer: SocketAddr, why: AuthFailure) {
        self.counters().auth_failures.of(why).one();
        debug!(%peer, reason = why.as_str(), "turned away");
    }
}

/// Listens for agents.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Intake {
    pub(crate) fn new(
        site: Site,
        enrolment: Enrolment,
        tls: Arc<ArcSwap<ServerConfig>>,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Self {
        let a_minute = f64::from(ENROLMENTS_A_MINUTE);
        let shared = Arc::new(Shared {
            site,
            enrolment,
            tls,
            known: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
            by_address: Places::new(MAX_STRANGERS_AN_ADDRESS),
            enrolments: Mutex::new(BySource::new(Rate {
                a_second: a_minute / 60.0,
                burst: a_minute,
            })),
            stop,
        });
        Self { shared, listener }
    }

    /// Accepts until the collector stops, then waits for the sessions to drain.
    pub(crate) async fn run(self) {
        let connections = TaskTracker::new();
        let stop = self.shared.stop.clone();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, &connections),
                Err(error) => {
                    warn!(%error, "no connection can be accepted now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(DRAIN_LIMIT, connections.wait()).await.is_err() {
            debug!("connections that did not end in time are cut");
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, connections: &TaskTracker) {
        let shared = Arc::clone(&self.shared);
        let place = Arc::clone(&shared.strangers).try_acquire_owned().ok();
        let stranger = place.zip(shared.by_address.take(peer.ip()));
        let Some(stranger) = stranger else {
            shared.turned_away(peer, AuthFailure::TooMany);
            return;
        };
        connections.spawn(async move {
            let served = AssertUnwindSafe(shared.serve(stream, peer, stranger)).catch_unwind();
            if served.await.is_err() {
                shared.counters().panics.one();
            }
        });
    }
}

/// The place of a connection that has not shown who it is.
type Stranger = (OwnedSemaphorePermit, Place);

impl Shared {
    async fn serve(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, stranger: Stranger) {
        let _open = Level::up(&self.counters().connections);
        // A session sends small acknowledgements that nobody should wait for.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "gone before the handshake");
            return;
        }
        let acceptor = tokio_rustls::TlsAcceptor::from(self.tls.load_full());
        let handshake = tokio::select! {
            () = self.stop.cancelled() => return,
            handshake = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)) => handshake,
        };
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                if let Some(why) = why_not(&error) {
                    self.turned_away(peer, why);
                    debug!(%peer, %error, "handshake failed");
                }
                return;
            }
            Err(_) => return self.turned_away(peer, AuthFailure::Timeout),
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        match certificate.map(|certificate| certificate.clone().into_owned()) {
            None => self.serve_stranger(stream, peer).await,
            Some(certificate) => {
                let Some(host) = self.host_of(&certificate, peer).await else { return };
                let Ok(place) = Arc::clone(&self.known).try_acquire_owned() else {
                    return self.turned_away(peer, AuthFailure::TooMany);
                };
                drop(stranger);
                self.serve_host(stream, host, certificate).await;
                drop(place);
            }
        }
    }

    /// The enrolled host that a verified certificate belongs to.
    async fn host_of(&self, certificate: &[u8], peer: SocketAddr) -> Option<Arc<Host>> {
        let key = host_key_of(certificate).ok()?;
        if let Some(host) = self.site.by_key(&key) {
            return Some(host);
        }
        // Our CA signed it, so it was enrolled once; what became of it is only told apart here.
        let revoked = self.enrolment.was_revoked(key).await;
        let why = if revoked { AuthFailure::Revoked } else { AuthFailure::UnknownKey };
        self.turned_away(peer, why);
        None
    }

    async fn serve_stranger(self: &Arc<Self>, stream: TlsStream<TcpStream>, peer: SocketAddr) {
        let service = enrol::Service::new(Arc::clone(self), peer);
        let server = EnrolmentServer::new(service)
            .max_decoding_message_size(MAX_ENROLMENT)
            .max_encoding_message_size(MAX_MESSAGE);
        let cut = self.stop.child_token();
        let service = self.only("/bailey.v1.Enrolment/", server, peer);
        let connection = self.http(&cut, ENROLMENT_WINDOW);
        let connection = connection.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            () = cut.cancelled() => {}
            () = tokio::time::sleep(ENROLMENT_LIMIT) => {}
            ended = connection => log_end(peer, ended),
        }
    }

    async fn serve_host(
        self: &Arc<Self>,
        stream: TlsStream<TcpStream>,
        host: Arc<Host>,
        certificate: CertificateDer<'static>,
    ) {
        let socket = stream.get_ref().0;
        let (Ok(peer), Ok(local)) = (socket.peer_addr(), socket.local_addr()) else { return };
        let connection = Connection { from: peer, to: local };
        let Ok(about) = Certificate::read(&certificate) else { return };
        let _open = Level::up(&self.counters().agents_connected);
        let cut = CancellationToken::new();
        let _cut_at_end = cut.clone().drop_guard();
        let (service, begun) = uplink::Service::new(
            Arc::clone(self),
            Arc::clone(&host),
            certificate,
            connection,
            &cut,
        );
        let server = UplinkServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let service = self.only("/bailey.v1.Uplink/", server, peer);
        let connection = self.http(&cut, WINDOW);
        let mut connection = pin!(connection.serve_connection(TokioIo::new(stream), service));
        let life = self.site.now().age(about.not_after);
        let mut first_call = pin!(async {
            if tokio::time::timeout(FIRST_CALL_LIMIT, begun.notified()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        });
        let mut ended = pin!(tokio::time::sleep(life));
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                () = host.revoked.cancelled() => {
                    self.turned_away(peer, AuthFailure::Revoked);
                    // Its session has ended already; only the reason may still reach it.
                    connection.as_mut().graceful_shutdown();
                    // Whether it took the reason makes no difference.
                    let _ = tokio::time::timeout(LAST_WORD, connection).await;
                    return;
                }
                () = cut.cancelled() => return,
                () = &mut ended => return debug!(%peer, host = %host.name, "its certificate ended"),
                () = &mut first_call => return self.turned_away(peer, AuthFailure::Timeout),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                end = connection.as_mut() => return log_end(peer, end),
            }
        }
    }

    fn http(&self, cut: &CancellationToken, window: u32) -> http2::Builder<Spawn> {
        let counters = Arc::clone(self.site.shared_counters());
        let mut builder = http2::Builder::new(Spawn { counters, cut: cut.clone() });
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .initial_stream_window_size(window)
            .initial_connection_window_size(window)
            .max_concurrent_streams(MAX_CALLS)
            .max_pending_accept_reset_streams(MAX_CALLS as usize * 4)
            .max_local_error_reset_streams(MAX_CALLS as usize * 4)
            .max_header_list_size(MAX_HEADERS)
            .max_send_buf_size(MAX_UNREAD);
        builder
    }

    /// `server` for calls under `prefix`; whoever calls anything else is turned away.
    fn only<S>(
        self: &Arc<Self>,
        prefix: &'static str,
        server: S,
        peer: SocketAddr,
    ) -> TowerToHyperService<
        impl Service<
            http::Request<Incoming>,
            Response = http::Response<tonic::body::Body>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + use<S>,
    >
    where
        S: Service<
                http::Request<tonic::body::Body>,
                Response = http::Response<tonic::body::Body>,
                Error = Infallible,
                Future: Send,
            > + Clone
            + Send
            + 'static,
    {
        let shared = Arc::clone(self);
        TowerToHyperService::new(tower::service_fn(move |request: http::Request<Incoming>| {
            let wanted = request.uri().path().starts_with(prefix);
            if !wanted {
                shared.turned_away(peer, AuthFailure::WrongService);
            }
            let server = server.clone();
            async move {
                if !wanted {
                    let why = "this connection may not call that: with a certificate there is the \
                               uplink, without one there is enrolment";
                    return Ok(tonic::Status::permission_denied(why).into_http());
                }
                let request = request.map(|body| tonic::body::Body::new(body.boxed_unsync()));
                server.oneshot(request).await
            }
        }))
    }

    /// Whether an address may ask for one more enrolment.
    fn may_enrol(&self, source: IpAddr) -> bool {
        let mut enrolments = self.enrolments.lock().unwrap_or_else(PoisonError::into_inner);
        enrolments.take(source, Instant::now())
    }
}

fn log_end(peer: SocketAddr, end: Result<(), hyper::Error>) {
    match end {
        Ok(()) => debug!(%peer, "connection ended"),
        Err(error) => debug!(%peer, %error, "connection broke off"),
    }
}

/// What a failed handshake is counted as; `None` for a peer that went away without a word, as
/// whoever only looks whether the port is open does.
fn why_not(error: &io::Error) -> Option<AuthFailure> {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidCertificate(why)) => Some(match why {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => AuthFailure::ExpiredCertificate,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                AuthFailure::ForeignCertificate
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                AuthFailure::WrongPurpose
            }
            // The library's list is open.
            _ => AuthFailure::Handshake,
        }),
        Some(_) => Some(AuthFailure::Handshake),
        None => (error.kind() == io::ErrorKind::InvalidData).then_some(AuthFailure::Handshake),
    }
}

/// Runs the calls of one connection. One that panics ends the connection and nothing else.
#[derive(Clone)]
struct Spawn {
    counters: Arc<Counters>,
    cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        let Self { counters, cut } = self.clone();
        tokio::spawn(async move {
            if AssertUnwindSafe(call).catch_unwind().await.is_err() {
                counters.panics.one();
                cut.cancel();
            }
        });
    }
}

/// One more of something that is open, while it lives.
struct Level<'a>(&'a Counter);

impl<'a> Level<'a> {
    fn up(counter: &'a Counter) -> Self {
        counter.one();
        Self(counter)
    }
}

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.less();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_only_looks_is_no_failure_and_one_that_talks_nonsense_is() {
        assert_eq!(why_not(&io::ErrorKind::UnexpectedEof.into()), None);
        let wrap = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let nonsense = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(why_not(&wrap(nonsense)), Some(AuthFailure::Handshake));
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(why_not(&wrap(expired)), Some(AuthFailure::ExpiredCertificate));
    }
}
