//! The two doors: HTTPS for people and Prometheus, a Unix socket for the command line. Every
//! connection has a handshake limit, a header limit and a place in a bounded number.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

use super::access::Peer;
use super::{Web, WebError, router};
use crate::quota::Places;

/// The most HTTPS connections at once. Beyond it a new one is closed at once.
pub const MAX_CONNECTIONS: usize = 1024;

/// The most HTTPS connections from one address other than this machine's own.
pub const MAX_CONNECTIONS_AN_ADDRESS: usize = 64;

/// The most connections on the Unix socket at once.
pub const MAX_SOCKET_CONNECTIONS: usize = 64;

/// The longest TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long a connection is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// From the handshake to the first request.
    first_request: Duration,
    /// For a whole request head, and for the next one on an HTTP/1 connection.
    head: Duration,
    /// For open requests to end when the collector stops.
    drain: Duration,
}

/// The patience of both doors.
const PATIENCE: Patience = Patience {
    first_request: Duration::from_secs(10),
    head: Duration::from_secs(10),
    drain: Duration::from_secs(3),
};

/// How long to wait before accepting again when the system refuses (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often an HTTP/2 connection is asked whether it is alive, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The most requests at once on one HTTP/2 connection.
const MAX_REQUESTS_A_CONNECTION: u32 = 64;

/// The most octets of headers of a request.
const MAX_HEADERS: u32 = 16 * 1024;

pub(super) async fn bind_https(address: SocketAddr) -> Result<TcpListener, WebError> {
    TcpListener::bind(address).await.map_err(|source| WebError::Listen { address, source })
}

/// The Unix socket, removed when it is dropped.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.path) {
            debug!(path = %self.path.display(), error = %e, "socket was already gone");
        }
    }
}

/// Binds under another name and renames once the mode is right, so that nobody meets a socket with
/// a wider mode under the real name.
pub(super) async fn bind_socket(path: &Path) -> Result<Socket, WebError> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(WebError::InUse { path: path.to_owned() });
    }
    let fail = |source| WebError::Socket { path: path.to_owned(), source };
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(fail)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
    std::fs::rename(&fresh, path).map_err(fail)?;
    Ok(Socket { listener, path: path.to_owned() })
}

pub(super) async fn serve_https(
    listener: TcpListener,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    web: Web,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let per_address = Places::new(MAX_CONNECTIONS_AN_ADDRESS);
    let app = router(web.clone());
    let shutdown = web.shutdown().clone();
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    warn!(error = %e, "cannot accept a web connection for now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            debug!(%peer, "web connection closed: all {MAX_CONNECTIONS} places are taken");
            continue;
        };
        let Some(share) = per_address.take(peer.ip().to_canonical()) else {
            debug!(%peer, "web connection closed: its address holds too many");
            continue;
        };
        let acceptor = TlsAcceptor::from(tls.load_full());
        let app = app.clone();
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let _held = (place, share);
            tokio::select! {
                () = shutdown.cancelled() => {}
                secured = secure(stream, &acceptor) => match secured {
                    Ok((stream, version)) => {
                        serve(stream, version, Peer::Net(peer), app, &shutdown, PATIENCE).await;
                    }
                    Err(e) => debug!(%peer, error = %e, "no TLS"),
                },
            }
        });
    }
}

async fn secure(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
) -> io::Result<(tokio_rustls::server::TlsStream<TcpStream>, Version)> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "handshake too slow"))??;
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Version::Http2,
        Some(_) | None => Version::Http1,
    };
    Ok((stream, version))
}

pub(super) async fn serve_socket(socket: Socket, web: Web, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(MAX_SOCKET_CONNECTIONS));
    let app = router(web.clone());
    let shutdown = web.shutdown().clone();
    let own = nix::unistd::geteuid().as_raw();
    info!(path = %socket.path.display(), "socket for the command line is open");
    loop {
        let (stream, place) = tokio::select! {
            () = shutdown.cancelled() => return,
            next = next_on_socket(&socket.listener, &places) => match next {
                Ok(next) => next,
                Err(e) => {
                    warn!(error = %e, "cannot accept on the socket for now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // The mode of the file lets only the owner and root connect; the kernel confirms it here.
        let peer = match stream.peer_cred() {
            Ok(cred) if cred.uid() == own || cred.uid() == 0 => {
                Peer::Socket { uid: cred.uid(), pid: cred.pid() }
            }
            Ok(cred) => {
                warn!(uid = cred.uid(), "socket connection of another user refused");
                continue;
            }
            Err(e) => {
                warn!(error = %e, "socket connection without credentials refused");
                continue;
            }
        };
        let app = app.clone();
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let _held = place;
            serve(stream, Version::Http1, peer, app, &shutdown, PATIENCE).await;
        });
    }
}

async fn next_on_socket(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

#[derive(Debug, Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

/// Serves one connection until it ends, misbehaves or the collector stops.
///
/// hyper applies none of its time limits unless it is given a timer.
async fn serve<S>(
    stream: S,
    version: Version,
    peer: Peer,
    app: Router,
    shutdown: &CancellationToken,
    patience: Patience,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = asked.clone();
        service_fn(move |mut request: hyper::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer);
            app.clone().oneshot(request)
        })
    };
    let idle = async {
        tokio::time::sleep(patience.first_request).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = idle => Ok(()),
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(patience.drain, connection).await.unwrap_or(Ok(()))
                }
            }
        }};
    }
    let ended = match version {
        Version::Http1 => drive!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(patience.head)
                .max_buf_size(MAX_HEADERS as usize)
                .serve_connection(TokioIo::new(stream), service)
        ),
        Version::Http2 => drive!(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_INTERVAL)
                .max_concurrent_streams(MAX_REQUESTS_A_CONNECTION)
                .max_header_list_size(MAX_HEADERS)
                .serve_connection(TokioIo::new(stream), service)
        ),
    };
    if let Err(e) = ended {
        debug!(?peer, error = %e, "web connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_mins(1);
    const SOMEBODY: Peer = Peer::Socket { uid: 0, pid: None };

    /// What the server says to `sent` before it closes.
    async fn until_closed(sent: &[u8], patience: Patience) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut client, server) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let open = CancellationToken::new();
            serve(server, Version::Http1, SOMEBODY, Router::new(), &open, patience).await;
        });
        client.write_all(sent).await.unwrap();
        let mut said = String::new();
        let closed = tokio::time::timeout(LONG / 2, client.read_to_string(&mut said)).await;
        closed.expect("the server closes a connection that keeps it waiting").unwrap();
        said
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_is_closed() {
        let patience = Patience { first_request: SHORT, head: LONG, drain: LONG };
        assert_eq!(until_closed(b"", patience).await, "");
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut_off() {
        let patience = Patience { first_request: LONG, head: SHORT, drain: LONG };
        until_closed(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ", patience).await;
    }

    #[tokio::test]
    async fn a_connection_kept_open_without_asking_again_is_closed() {
        let patience = Patience { first_request: LONG, head: SHORT, drain: LONG };
        let said = until_closed(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", patience).await;
        assert!(said.starts_with("HTTP/1.1 404"), "{said}");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bailey.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = bind_socket(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind_socket(&path).await, Err(WebError::InUse { .. })));
        drop(socket);
        assert!(!path.exists(), "a stopped collector leaves no socket");
    }
}
