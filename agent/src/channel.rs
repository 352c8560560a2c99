//! A connection to the collector: TCP, our own TLS, HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use bailey_wire::tls::{COLLECTOR_NAME, why_refused};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// How long name look-up, TCP and TLS may take together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A silent connection is asked whether it lives, so often,
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// and must answer within this time.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(10);
/// What the collector may send before it is read, octets; its messages are short.
const WINDOW: u32 = 64 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Nobody answers.
    #[error("the collector {address} cannot be reached: {why}")]
    Unreachable {
        /// Its address.
        address: String,
        /// What the network said.
        why: String,
    },
    /// Somebody answers who cannot prove to be the collector, or does not take us.
    #[error("no secure connection with {address}: {why}")]
    Tls {
        /// Its address.
        address: String,
        /// What went wrong.
        why: String,
    },
}

/// Connects to `address` (`host:port`).
///
/// # Errors
/// Says whether the network or the handshake failed, and why.
pub async fn open(
    address: &str,
    config: Arc<rustls::ClientConfig>,
) -> Result<Channel, ChannelError> {
    let unreachable = |why: String| ChannelError::Unreachable { address: address.to_owned(), why };
    let refused = |why: String| ChannelError::Tls { address: address.to_owned(), why };
    let connect = async {
        let stream =
            TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
        // Reports are small and wanted at once.
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        let name = ServerName::try_from(COLLECTOR_NAME).expect("it is a DNS name");
        let secured = TlsConnector::from(config).connect(name, stream).await;
        secured.map_err(|error| refused(why_refused(&error)))
    };
    let stream = tokio::time::timeout(CONNECT_LIMIT, connect)
        .await
        .map_err(|_| unreachable(format!("no answer within {} s", CONNECT_LIMIT.as_secs())))??;
    // The connection is there already: whoever asks for a second one gets none, and the session
    // ends and is begun anew.
    let mut once = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.take();
        async move { stream.ok_or_else(|| std::io::Error::other("the connection ended")) }
    });
    // TLS is done already; the scheme says only that HTTP/2 follows.
    Endpoint::from_static("http://collector.bailey.internal")
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .buffer_size(8)
        .connect_with_connector(connector)
        .await
        .map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            refused(cause.unwrap_or_else(|| error.to_string()))
        })
}
