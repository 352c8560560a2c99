//! The web side of the collector: pages, API, metrics and service discovery, served over HTTPS to
//! people and Prometheus and over a Unix socket to the command line.
//!
//! A request meets the modules in this order: [`listeners`] (connection, limits) → [`access`]
//! (which host name, who asks) → a page of [`page`], the [`api`], [`live`] events, [`sd`] or
//! [`crate::metrics`]. Pages are pure functions of [`shown::Shown`], one look at the site, so that
//! a page can be tested without a server.

pub mod access;
pub mod api;
pub mod assets;
pub mod frame;
pub mod listeners;
pub mod live;
pub mod page;
pub mod problem;
pub mod reading;
pub mod sd;
pub mod session;
pub mod shown;
pub mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use time::UtcOffset;
use tokio_util::sync::CancellationToken;

use crate::counters::Counter;
use crate::device::Devices;
use crate::enrolment::Enrolment;
use crate::port::Ports;
use crate::push::Pushes;
use crate::site::Site;
use access::ScrapeToken;
use session::Sessions;

/// The longest body of a request, in octets. Forms and API calls are short.
pub const MAX_BODY: usize = 64 * 1024;

/// The longest that answering one request may take, live streams apart.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The same for requests that ask a device first: name, doctor and first look one after the other.
pub const DEVICE_LIMIT: Duration = Duration::from_secs(40);

/// What the web side is started with.
pub struct WebParts {
    /// The site that is shown.
    pub site: Site,
    /// Tokens, identities, approval: the admin verbs of the Unix socket.
    pub enrolment: Enrolment,
    /// Pushes of orders.
    pub pushes: Pushes,
    /// Devices: the admin verbs of the Unix socket.
    pub devices: Devices,
    /// Ports of devices: the admin verbs of the Unix socket.
    pub ports: Ports,
    /// Where HTTPS listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The Unix socket of the command line; a stale one is replaced.
    pub socket: PathBuf,
    /// TLS of the web listener; a renewed certificate is swapped in and used from the next
    /// connection on.
    pub tls: Arc<ArcSwap<rustls::ServerConfig>>,
    /// File with the bearer secret for scrapers; made with a new secret where it is missing.
    pub scrape_token: PathBuf,
    /// Host names, besides IP literals and `localhost`, under which the pages may be asked for.
    pub names: Vec<String>,
    /// Where people reach the pages, without a slash at its end; the address listened on when absent.
    pub page_url: Option<String>,
    /// Offset of the site's local time from UTC, for everything shown to people.
    pub offset: UtcOffset,
    /// Cancelled when the collector stops.
    pub shutdown: CancellationToken,
}

/// The running web side.
pub struct WebHandle {
    /// Where HTTPS listens.
    pub address: SocketAddr,
    /// Makes sign-in links, as `POST /api/v1/signin` does.
    pub web: Web,
    tasks: tokio_util::task::TaskTracker,
}

impl WebHandle {
    /// Waits until every connection is closed; cancel the token of [`WebParts`] first.
    pub async fn finished(&self) {
        self.tasks.wait().await;
    }
}

/// Why the web side could not start.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The HTTPS address cannot be listened on.
    #[error("cannot listen on {address} for the web page: {source}; choose another with --web")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Unix socket cannot be made.
    #[error("cannot make the socket {}: {source}; is the state folder writable, and is its path shorter than 100 characters?", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another collector serves this state folder.
    #[error("{} is in use: another collector runs on this state folder; stop it or choose another --state", path.display())]
    InUse {
        /// The socket that answered.
        path: PathBuf,
    },
    /// The scrape token can neither be read nor made.
    #[error("cannot read or make the scrape token {}: {why}", path.display())]
    ScrapeToken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Why the web side turned a caller away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A sign-in code that is used up, expired or was never made.
    Signin,
    /// A wrong bearer secret.
    ScrapeToken,
}

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
pub struct Web(Arc<Shared>);

struct Shared {
    site: Site,
    enrolment: Enrolment,
    pushes: Pushes,
    devices: Devices,
    ports: Ports,
    sessions: Sessions,
    scrape_token: ScrapeToken,
    streams: live::Streams,
    refused_signins: Counter,
    refused_scrapers: Counter,
    names: Vec<String>,
    address: SocketAddr,
    page_url: Option<String>,
    offset: UtcOffset,
    shutdown: CancellationToken,
}

impl Web {
    /// The site.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.0.site
    }

    /// Tokens and identities.
    #[must_use]
    pub fn enrolment(&self) -> &Enrolment {
        &self.0.enrolment
    }

    /// Pushes of orders.
    #[must_use]
    pub fn pushes(&self) -> &Pushes {
        &self.0.pushes
    }

    /// Devices as they come and go.
    #[must_use]
    pub fn devices(&self) -> &Devices {
        &self.0.devices
    }

    /// Ports in quarantine.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.0.ports
    }

    /// Who is signed in.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The bearer secret of scrapers.
    #[must_use]
    pub fn scrape_token(&self) -> &ScrapeToken {
        &self.0.scrape_token
    }

    /// The open live streams.
    #[must_use]
    pub fn streams(&self) -> &live::Streams {
        &self.0.streams
    }

    /// Host names under which the pages may be asked for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Offset of the site's local time from UTC.
    #[must_use]
    pub fn offset(&self) -> UtcOffset {
        self.0.offset
    }

    /// Cancelled when the collector stops.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    /// The address people type: the one listened on, with a wildcard shown as loopback.
    #[must_use]
    pub fn shown_address(&self) -> SocketAddr {
        let mut address = self.0.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        address
    }

    /// Where people reach the pages, without a slash at its end.
    #[must_use]
    pub fn page_url(&self) -> String {
        let listened_on = || format!("https://{}", self.shown_address());
        self.0.page_url.clone().unwrap_or_else(listened_on)
    }

    /// Counts a caller who was turned away.
    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        match refusal {
            Refusal::Signin => self.0.refused_signins.one(),
            Refusal::ScrapeToken => self.0.refused_scrapers.one(),
        }
    }

    /// Callers turned away, by reason, for `bailey_auth_failures_total`.
    pub(crate) fn refusals(&self) -> [(&'static str, u64); 2] {
        [("signin", self.0.refused_signins.get()), ("scrape_token", self.0.refused_scrapers.get())]
    }

    /// A new sign-in link, valid for [`session::CODE_LIFE`] and for one use.
    #[must_use]
    pub fn signin_link(&self) -> SigninLink {
        let now = self.site().now();
        let code = self.sessions().new_code(now, &mut rand::rng());
        SigninLink {
            url: format!("{}/signin?code={code}", self.page_url()),
            expires_at: now + session::CODE_LIFE,
        }
    }
}

/// A link that signs one browser in.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SigninLink {
    /// The address with the code.
    pub url: String,
    /// When it stops working.
    pub expires_at: bailey_rules::time::Timestamp,
}

/// Binds both listeners and serves until the token of `parts` is cancelled.
///
/// # Errors
/// When an address is taken, the socket cannot be made or the scrape token cannot be read.
pub async fn start(parts: WebParts) -> Result<WebHandle, WebError> {
    let scrape_token = ScrapeToken::open(&parts.scrape_token)?;
    let https = listeners::bind_https(parts.listen).await?;
    let address =
        https.local_addr().map_err(|source| WebError::Listen { address: parts.listen, source })?;
    let socket = listeners::bind_socket(&parts.socket).await?;
    let web = Web(Arc::new(Shared {
        site: parts.site,
        enrolment: parts.enrolment,
        pushes: parts.pushes,
        devices: parts.devices,
        ports: parts.ports,
        sessions: Sessions::default(),
        scrape_token,
        streams: live::Streams::default(),
        refused_signins: Counter::default(),
        refused_scrapers: Counter::default(),
        names: parts.names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        address,
        page_url: parts.page_url,
        offset: parts.offset,
        shutdown: parts.shutdown,
    }));
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(listeners::serve_https(https, parts.tls, web.clone(), tasks.clone()));
    tasks.spawn(listeners::serve_socket(socket, web.clone(), tasks.clone()));
    tasks.close();
    Ok(WebHandle { address, web, tasks })
}

/// Every route. `listeners` adds who the peer is to each request; [`access`] decides.
pub(crate) fn router(web: Web) -> Router {
    let mut pages = Router::new().route("/", get(page::root));
    for page in page::PAGES {
        pages = (page.routes)(pages);
    }
    let pages = pages.route_layer(middleware::from_fn_with_state(web.clone(), access::signed_in));
    let scraped = Router::new()
        .route("/metrics", get(crate::metrics::site_page))
        .route("/metrics/host/{name}", get(crate::metrics::host_page))
        .route("/metrics/device/{name}", get(crate::metrics::device_page))
        .route("/sd", get(sd::targets))
        .route_layer(middleware::from_fn_with_state(web.clone(), access::scraper));
    pages
        .merge(page::signin::routes(&web))
        .merge(scraped)
        .merge(api::routes(&web))
        .merge(assets::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(web.clone(), access::host_named))
        .layer(middleware::from_fn(access::harden))
        .with_state(web)
}

async fn in_time(request: axum::extract::Request, next: middleware::Next) -> Response {
    let asks_device = request.method() == axum::http::Method::POST
        && request.uri().path().starts_with(api::devices::PATH);
    let limit = if asks_device { DEVICE_LIMIT } else { ANSWER_LIMIT };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem::Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            format!("the request took longer than {} s", limit.as_secs()),
        )
        .into_response(),
    }
}

async fn not_found(request: axum::extract::Request) -> Response {
    problem::refuse(
        &request,
        StatusCode::NOT_FOUND,
        "not-found",
        "there is nothing under this address; the pages begin at /hosts, the API at /api/v1/status",
    )
}

async fn method_not_allowed(request: axum::extract::Request) -> Response {
    problem::refuse(
        &request,
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "this address does not take this method; the header Allow names those it takes",
    )
}

/// `Cache-Control` for everything that shows the site: kept nowhere.
pub(crate) fn never_stored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
