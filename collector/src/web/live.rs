//! Live events: a stream that says that something shown has changed. Pages then ask for themselves
//! again; nothing of the site travels here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Web;
use super::access::Caller;
use super::problem::Problem;

/// The path of the stream.
pub const PATH: &str = "/api/v1/stream";

/// The most streams at once. Beyond it a page asks every 15 s instead.
pub const MAX_STREAMS: usize = 256;

/// How often a quiet stream says that it is alive. Pages call themselves stale after three times
/// this.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a page whose connection broke waits before it connects again.
const RETRY: Duration = Duration::from_secs(2);

/// The least time between two events of one stream.
const PAUSE: Duration = Duration::from_millis(100);

/// The places of open streams.
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

struct Open {
    web: Web,
    caller: Caller,
    revision: watch::Receiver<u64>,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

pub(crate) async fn events(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let Ok(place) = web.streams().0.clone().try_acquire_owned() else {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-many-streams",
            format!("all {MAX_STREAMS} live streams are taken; ask for the page again instead"),
        )
        .into_response();
    };
    let revision = web.site().revision();
    let open = Open { web, caller, revision, begun: false, _place: place };
    let mut response = Sse::new(follow(open)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The events of one stream: the revision at once and at every move, `alive` while nothing moves.
/// It ends with the session, with the collector, and with the site.
fn follow(open: Open) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some(open), |open| async move {
        let mut open = open?;
        if !open.begun {
            open.begun = true;
            let event = revision(&mut open.revision).retry(RETRY);
            return Some((Ok(event), Some(open)));
        }
        tokio::time::sleep(PAUSE).await;
        let shutdown = open.web.shutdown().clone();
        let event = tokio::select! {
            () = shutdown.cancelled() => return None,
            moved = open.revision.changed() => {
                moved.ok()?;
                revision(&mut open.revision)
            }
            () = tokio::time::sleep(ALIVE_INTERVAL) => {
                Event::default().event("alive").data(open.web.site().now().to_string())
            }
        };
        let allowed = open
            .caller
            .session()
            .is_none_or(|session| open.web.sessions().is_live(session, open.web.site().now()));
        allowed.then_some((Ok(event), Some(open)))
    })
}

fn revision(of: &mut watch::Receiver<u64>) -> Event {
    let revision = of.borrow_and_update().to_string();
    Event::default().event("revision").id(&revision).data(revision)
}
