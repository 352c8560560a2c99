//! Which host name a request is for, who asks, and whether that may be answered.
//!
//! There are four kinds of callers: a process on the Unix socket (the file's mode is the guard), a
//! signed-in browser, a scraper with the bearer secret, and anybody else.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use super::session::{self, SignedIn};
use super::{Refusal, Web, WebError, page, problem};

/// The longest scrape token file that is read, in octets.
const MAX_TOKEN_FILE: u64 = 1024;

/// The shortest secret that a hand-written token file may hold, in characters.
const MIN_TOKEN: usize = 32;

/// Only this origin's own files, no inline script or style, no framing, no plugins
/// (Content Security Policy Level 3).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
     base-uri 'none'";

/// The other end of a connection. The listeners put it on every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over HTTPS.
    Net(SocketAddr),
    /// Over the Unix socket, with what the kernel says of the process (`SO_PEERCRED`, unix(7)).
    Socket {
        /// Its user.
        uid: u32,
        /// Its process, where the kernel tells.
        pid: Option<i32>,
    },
}

impl Peer {
    /// Whether the peer is on this machine itself and speaks for itself. A proxy on this machine
    /// speaks for others, and says so in its headers.
    fn is_loopback(&self, headers: &HeaderMap) -> bool {
        const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];
        match self {
            Self::Net(address) => {
                address.ip().to_canonical().is_loopback()
                    && !FORWARDED.iter().any(|name| headers.contains_key(*name))
            }
            Self::Socket { .. } => true,
        }
    }
}

/// Who asks, as far as a handler may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process on the Unix socket.
    Socket {
        /// Its user.
        uid: u32,
    },
    /// A signed-in browser.
    Browser(SignedIn),
    /// A program with the bearer secret.
    Bearer,
}

impl Caller {
    /// The browser's session, if it is one.
    #[must_use]
    pub fn session(&self) -> Option<&SignedIn> {
        match self {
            Self::Browser(session) => Some(session),
            Self::Socket { .. } | Self::Bearer => None,
        }
    }
}

/// The authority under which the request was made, after [`host_named`] has accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFor(pub String);

/// The bearer secret of scrapers; kept as its SHA-256, so that comparing tells nothing by its time.
pub struct ScrapeToken([u8; 32]);

impl ScrapeToken {
    /// Reads the token file, or makes one with 256 random bits and mode 0600.
    ///
    /// # Errors
    /// When the file cannot be read or made, others may read it, or it holds less than
    /// 32 characters.
    pub fn open(path: &Path) -> Result<Self, WebError> {
        let fail = |why: String| WebError::ScrapeToken { path: path.to_owned(), why };
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match opened {
            Ok(mut file) => {
                let mut bytes = [0; 32];
                rand::rng().fill_bytes(&mut bytes);
                let secret = URL_SAFE_NO_PAD.encode(bytes);
                file.write_all(secret.as_bytes())
                    .and_then(|()| file.write_all(b"\n"))
                    .and_then(|()| file.sync_all())
                    .map_err(|e| fail(e.to_string()))?;
                Ok(Self(Sha256::digest(secret.as_bytes()).into()))
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
                let mode = file.metadata().map_err(|e| fail(e.to_string()))?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(fail(format!(
                        "its mode is {:03o}; others must not read it: chmod 600",
                        mode & 0o777
                    )));
                }
                let mut text = String::new();
                file.take(MAX_TOKEN_FILE)
                    .read_to_string(&mut text)
                    .map_err(|e| fail(e.to_string()))?;
                let secret = text.trim();
                if secret.len() < MIN_TOKEN {
                    return Err(fail(format!(
                        "it holds less than {MIN_TOKEN} characters; delete it and a good one is made"
                    )));
                }
                Ok(Self(Sha256::digest(secret.as_bytes()).into()))
            }
            Err(e) => Err(fail(e.to_string())),
        }
    }

    fn is_borne_by(&self, headers: &HeaderMap) -> Bearing {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Bearing::None };
        let secret = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim());
        match secret {
            Some(secret) if <[u8; 32]>::from(Sha256::digest(secret.as_bytes())) == self.0 => {
                Bearing::Right
            }
            Some(_) | None => Bearing::Wrong,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bearing {
    None,
    Right,
    Wrong,
}

/// Headers that every answer carries.
pub(crate) async fn harden(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 7] = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not no-referrer: that would make browsers send "Origin: null" with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=(), usb=(), payment=()",
        ),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        response = super::never_stored(response);
    }
    response
}

/// Refuses requests made under a name that is not ours: a foreign page whose name was pointed at
/// this address (DNS rebinding). IP literals, `localhost` and the configured names are ours.
pub(crate) async fn host_named(
    State(web): State<Web>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no-peer", "unknown connection")
            .into_response();
    };
    match peer {
        Peer::Socket { .. } => {}
        Peer::Net(_) => match asked_for(&request, web.names()) {
            Ok(authority) => {
                request.extensions_mut().insert(AskedFor(authority));
            }
            Err(refused) => return refused.into_response(),
        },
    }
    next.run(request).await
}

fn asked_for(request: &Request, names: &[String]) -> Result<String, Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let authority = match (request.uri().authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, None) => authority.clone(),
        (None, Some(host), None) => Authority::try_from(host.as_bytes())
            .map_err(|_| Problem::bad_request("the Host header is not host[:port]"))?,
        (_, _, Some(_)) | (None, None, None) => {
            return Err(Problem::bad_request("exactly one Host header is needed"));
        }
    };
    if authority.as_str().contains('@') {
        return Err(Problem::bad_request("the Host header is not host[:port]"));
    }
    let host = authority.host().to_ascii_lowercase();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let ours = literal
        || host == "localhost"
        || host.ends_with(".localhost")
        || names.iter().any(|name| *name == host.trim_end_matches('.'));
    if ours {
        Ok(authority.as_str().to_ascii_lowercase())
    } else {
        Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown-host",
            "this collector is not known under that name; ask by its IP address, or add the name \
             to --public-address",
        ))
    }
}

/// Whether the request is a screen refreshing itself: that is no sign of a person.
fn by_itself(request: &Request) -> bool {
    request.headers().contains_key(super::frame::FRAGMENT)
        || request.uri().path() == super::live::PATH
}

fn browser(web: &Web, request: &Request) -> Option<SignedIn> {
    let secret = session::cookie(request.headers(), session::COOKIE)?;
    web.sessions().find(secret, web.site().now(), !by_itself(request))
}

/// Pages: a session, or the Unix socket. Others get the sign-in page.
pub(crate) async fn signed_in(
    State(web): State<Web>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match request.extensions().get::<Peer>() {
        Some(Peer::Socket { uid, .. }) => Some(Caller::Socket { uid: *uid }),
        Some(Peer::Net(_)) => browser(&web, &request).map(Caller::Browser),
        None => None,
    };
    match caller {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => page::signin::needed(&request),
    }
}

/// Metrics and discovery: this machine freely, others with the bearer secret.
pub(crate) async fn scraper(State(web): State<Web>, request: Request, next: Next) -> Response {
    let free =
        request.extensions().get::<Peer>().is_some_and(|peer| peer.is_loopback(request.headers()));
    match web.scrape_token().is_borne_by(request.headers()) {
        Bearing::Right => next.run(request).await,
        Bearing::None if free => next.run(request).await,
        Bearing::None => unauthorized(
            "metrics are for this machine itself or for `Authorization: Bearer` with the secret \
             in scrape.token of the state folder",
        ),
        Bearing::Wrong => {
            web.count_refusal(Refusal::ScrapeToken);
            unauthorized(
                "the bearer secret is wrong; it stands in scrape.token of the state folder",
            )
        }
    }
}

/// Reading the API: a session, the bearer secret or the Unix socket.
pub(crate) async fn reader(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let caller = match request.extensions().get::<Peer>() {
        Some(Peer::Socket { uid, .. }) => Some(Caller::Socket { uid: *uid }),
        Some(Peer::Net(_)) => match web.scrape_token().is_borne_by(request.headers()) {
            Bearing::Right => Some(Caller::Bearer),
            Bearing::Wrong => {
                web.count_refusal(Refusal::ScrapeToken);
                None
            }
            Bearing::None => browser(&web, &request).map(Caller::Browser),
        },
        None => None,
    };
    match caller {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => unauthorized(
            "sign in with a link from `bailey signin`, or send `Authorization: Bearer` with the \
             secret in scrape.token of the state folder",
        ),
    }
}

/// Changing anything: only over the Unix socket.
pub(crate) async fn admin(mut request: Request, next: Next) -> Response {
    match request.extensions().get::<Peer>().copied() {
        Some(Peer::Socket { uid, .. }) => {
            request.extensions_mut().insert(Caller::Socket { uid });
            next.run(request).await
        }
        Some(Peer::Net(_)) | None => problem::Problem::new(
            StatusCode::FORBIDDEN,
            "socket-only",
            "this is answered only on the collector's Unix socket; run `bailey` on the collector \
             with --state",
        )
        .into_response(),
    }
}

fn unauthorized(detail: &'static str) -> Response {
    let mut response =
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bailey\""));
    response
}

/// Whether a form comes from our own page: browsers name the origin with every POST
/// (Fetch standard, "append a request `Origin` header").
pub(crate) fn from_our_page(headers: &HeaderMap, asked_for: &AskedFor) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.to_str().unwrap_or_default(),
        (None, _) | (Some(_), Some(_)) => return false,
    };
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    origin.eq_ignore_ascii_case(&format!("https://{}", asked_for.0))
        && site.is_none_or(|site| site == "same-origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str) -> Request {
        Request::builder()
            .uri("/hosts")
            .header("host", host)
            .body(axum::body::Body::empty())
            .unwrap()
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let names = vec!["bailey.example.org".to_owned()];
        for host in [
            "127.0.0.1:7711",
            "10.1.0.5",
            "[::1]:7711",
            "localhost:7711",
            "bailey.example.org",
            "BAILEY.example.org:443",
        ] {
            assert!(asked_for(&request(host), &names).is_ok(), "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example", "user@127.0.0.1", "", "a b", "xlocalhost"]
        {
            assert!(asked_for(&request(host), &names).is_err(), "{host}");
        }
    }

    #[test]
    fn two_host_headers_are_refused() {
        let mut twice = request("127.0.0.1");
        twice.headers_mut().append("host", "evil.example".parse().unwrap());
        assert!(asked_for(&twice, &[]).is_err());
    }

    #[test]
    fn a_form_of_another_origin_is_not_ours() {
        let ours = AskedFor("127.0.0.1:7711".into());
        let with = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            from_our_page(&headers, &ours)
        };
        assert!(with(&[("origin", "https://127.0.0.1:7711")]));
        assert!(with(&[("origin", "https://127.0.0.1:7711"), ("sec-fetch-site", "same-origin")]));
        assert!(!with(&[]), "no origin");
        assert!(!with(&[("origin", "null")]));
        assert!(!with(&[("origin", "http://127.0.0.1:7711")]), "plain HTTP");
        assert!(!with(&[("origin", "https://127.0.0.1:7712")]), "other port");
        assert!(!with(&[("origin", "https://127.0.0.1:7711"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn a_proxy_on_this_machine_is_not_this_machine() {
        let here = Peer::Net("127.0.0.1:40000".parse().unwrap());
        let mut headers = HeaderMap::new();
        assert!(here.is_loopback(&headers));
        headers.insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
        assert!(!here.is_loopback(&headers));
        let mapped = Peer::Net("[::ffff:127.0.0.1]:40000".parse().unwrap());
        assert!(mapped.is_loopback(&HeaderMap::new()));
        let other = Peer::Net("10.1.0.9:40000".parse().unwrap());
        assert!(!other.is_loopback(&HeaderMap::new()));
    }

    #[test]
    fn the_scrape_token_is_made_once_and_kept_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scrape.token");
        let made = ScrapeToken::open(&path).unwrap();
        let secret = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ScrapeToken::open(&path).unwrap().0, made.0);
        let mut headers = HeaderMap::new();
        assert_eq!(made.is_borne_by(&headers), Bearing::None);
        headers.insert("authorization", format!("Bearer {}", secret.trim()).parse().unwrap());
        assert_eq!(made.is_borne_by(&headers), Bearing::Right);
        for wrong in ["Bearer ", "Bearer x", "Basic Zm9v", "Bearer"] {
            headers.insert("authorization", wrong.parse().unwrap());
            assert_eq!(made.is_borne_by(&headers), Bearing::Wrong, "{wrong}");
        }
    }

    #[test]
    fn a_token_that_others_may_read_or_that_is_empty_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scrape.token");
        std::fs::write(&path, "0123456789012345678901234567890123456789").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(ScrapeToken::open(&path).is_err());
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(ScrapeToken::open(&path).is_err());
    }
}
