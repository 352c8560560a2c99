//! The page of the demo on this machine's loopback. The collector listens on the loopback of its own
//! namespace; octets are carried between the two, and nothing else of this machine is touched.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::netns::Netns;

/// The most connections at a time; the next wait for one to end.
const MAX_CONNECTIONS: usize = 256;

/// How long nothing is taken after the system refused a connection.
const REST: Duration = Duration::from_millis(100);

/// Carries what comes to `listener` to the same port inside, until the process ends.
///
/// # Errors
/// When there is no thread to be had, or no event queue.
pub(super) fn carry(listener: TcpListener, inside: &Netns) -> anyhow::Result<()> {
    listener.set_nonblocking(true).context("the page's port")?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr()?.port()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = inside.clone();
    let (entered, told) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name("page".into()).spawn(move || {
        // The listener was opened outside and stays there; what is dialled now is dialled inside.
        let outcome = inside.enter();
        let is_inside = outcome.is_ok();
        // Whoever started this may be gone already.
        let _ = entered.send(outcome);
        if is_inside {
            runtime.block_on(accept(listener, to));
        }
    })?;
    told.recv().context("the page's thread")?
}

async fn accept(listener: TcpListener, to: SocketAddr) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the page cannot be reached");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        let mut near = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "cannot take a connection");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        tokio::spawn(async move {
            let _place = place;
            let carried = async {
                let mut far = TcpStream::connect(to).await?;
                copy_bidirectional(&mut near, &mut far).await
            };
            if let Err(error) = carried.await {
                debug!(%error, "a connection to the page broke off");
            }
        });
    }
}
