//! The doors as the world meets them: a real listener with TLS, a real Unix socket, real requests.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, Method, StatusCode};
use bailey_wire::order::SigningKey;
use bailey_wire::token::Token;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use time::UtcOffset;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::fixture;
use crate::site::Site;

use super::{WebHandle, WebParts, live, start};

struct Door {
    handle: WebHandle,
    client: TlsConnector,
    folder: tempfile::TempDir,
    shutdown: CancellationToken,
    site: Site,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Who knocks, in the columns of the deny table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Knocker {
    /// From another machine, with nothing to show.
    Stranger,
    /// From this machine, with nothing to show.
    Neighbour,
    /// From another machine, signed in.
    Browser(String),
    /// From another machine, with the bearer secret.
    Scraper,
    /// On the Unix socket.
    Socket,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn open() -> Door {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let tls = bailey_wire::tls::web_server_config(vec![certificate.clone()], secret).unwrap();
    let client = bailey_wire::tls::web_client_config(&certificate).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let (site, enrolment) = fixture::site(fixture::machines(), folder.path());
    let sockets = crate::poll::snmp::udp::Sockets::open().await.unwrap();
    let ports = crate::port::Ports::open(site.clone(), sockets.clone()).unwrap();
    let handle = start(WebParts {
        site: site.clone(),
        enrolment,
        pushes: crate::push::Pushes::open(site.clone(), None).unwrap(),
        ports: ports.clone(),
        devices: crate::device::Devices::new(
            site.clone(),
            crate::device::vault::Vault::open(folder.path()).unwrap(),
            sockets,
            ports,
        ),
        listen: "127.0.0.1:0".parse().unwrap(),
        socket: folder.path().join("bailey.sock"),
        tls: Arc::new(ArcSwap::new(tls)),
        scrape_token: folder.path().join("scrape.token"),
        names: vec!["bailey.example.org".to_owned()],
        page_url: None,
        offset: UtcOffset::from_hms(8, 0, 0).unwrap(),
        shutdown: shutdown.clone(),
    })
    .await
    .unwrap();
    Door { handle, client: TlsConnector::from(client), folder, shutdown, site }
}

impl Door {
    fn address(&self) -> SocketAddr {
        self.handle.address
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("bailey.sock")
    }

    fn origin(&self) -> String {
        format!("https://{}", self.address())
    }

    async fn tls(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.client.connect(name, stream).await.unwrap()
    }

    async fn ask(
        &self,
        who: &Knocker,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = hyper::Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address().to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if matches!(who, Knocker::Stranger | Knocker::Browser(_) | Knocker::Scraper) {
            request = request.header("x-forwarded-for", "203.0.113.9");
        }
        if let Knocker::Browser(secret) = who {
            request = request.header("cookie", format!("__Host-bailey={secret}"));
        }
        if *who == Knocker::Scraper {
            let token = std::fs::read_to_string(self.folder.path().join("scrape.token")).unwrap();
            request = request.header("authorization", format!("Bearer {}", token.trim()));
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        if *who == Knocker::Socket {
            send(UnixStream::connect(self.socket()).await.unwrap(), request).await
        } else {
            send(self.tls().await, request).await
        }
    }

    async fn get(&self, who: &Knocker, path: &str) -> Answer {
        self.ask(who, Method::GET, path, &[], "").await
    }

    async fn post_form(&self, who: &Knocker, path: &str, origin: &str, body: &str) -> Answer {
        let headers = [("origin", origin), ("content-type", "application/x-www-form-urlencoded")];
        self.ask(who, Method::POST, path, &headers, body).await
    }

    async fn link(&self) -> String {
        let answer = self.ask(&Knocker::Socket, Method::POST, "/api/v1/signin", &[], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let link: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let url = link["url"].as_str().unwrap();
        url.strip_prefix(&self.origin()).unwrap().to_owned()
    }

    /// Signs a browser in, as a person does.
    async fn browser(&self) -> Knocker {
        let link = self.link().await;
        let code = link.strip_prefix("/signin?").unwrap();
        let answer = self.post_form(&Knocker::Stranger, "/signin", &self.origin(), code).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        let cookie = answer.header("set-cookie");
        let secret = cookie.strip_prefix("__Host-bailey=").unwrap().split(';').next().unwrap();
        Knocker::Browser(secret.to_owned())
    }
}

async fn connect<S>(stream: S) -> http1::SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn send<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let response = connect(stream).await.send_request(request).await.unwrap();
    let (parts, mut body) = response.into_parts();
    let live = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let body = if live {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    } else {
        body.collect().await.unwrap().to_bytes()
    };
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Method, path, and what a stranger, a neighbour, a browser, a scraper and the socket get.
const DENY_TABLE: &[(&str, &str, [u16; 5])] = &[
    ("GET", "/", [401, 401, 303, 401, 303]),
    ("GET", "/hosts", [401, 401, 200, 401, 200]),
    ("GET", "/hosts/{name}", [401, 401, 200, 401, 200]),
    ("GET", "/alerts", [401, 401, 200, 401, 200]),
    ("GET", "/isolation", [401, 401, 200, 401, 200]),
    ("GET", "/network", [401, 401, 200, 401, 200]),
    ("GET", "/messages", [401, 401, 200, 401, 200]),
    ("GET", "/network/{name}", [401, 401, 404, 401, 404]),
    ("GET", "/runbook", [401, 401, 200, 401, 200]),
    ("GET", "/signin", [200, 200, 200, 200, 200]),
    ("POST", "/signin", [403, 403, 403, 403, 403]),
    ("POST", "/signout", [401, 401, 403, 401, 403]),
    ("GET", "/assets/{name}", [404, 404, 404, 404, 404]),
    ("GET", "/metrics", [401, 200, 401, 200, 200]),
    ("GET", "/metrics/host/{name}", [401, 200, 401, 200, 200]),
    ("GET", "/metrics/device/{name}", [401, 404, 401, 404, 404]),
    ("GET", "/sd", [401, 200, 401, 200, 200]),
    ("GET", "/api/v1/status", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/hosts", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/hosts/{name}", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/hosts/{name}/listings", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/hosts/{name}/listings/{source}", [401, 401, 404, 404, 404]),
    ("GET", "/api/v1/devices", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/lines", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/topology", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/ports", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/devices/{name}", [401, 401, 404, 404, 404]),
    ("GET", "/api/v1/findings", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/flows", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/trace", [401, 401, 400, 400, 400]),
    ("GET", "/api/v1/proofs", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/proofs/{invariant}", [401, 401, 404, 404, 404]),
    ("GET", "/api/v1/traps", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/events", [401, 401, 200, 200, 200]),
    ("GET", live::PATH, [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/pushes", [401, 401, 200, 200, 200]),
    ("GET", "/api/v1/pushes/{id}", [401, 401, 404, 404, 404]),
    ("GET", "/api/v1/pushes/{id}/policy", [401, 401, 404, 404, 404]),
    ("GET", "/api/v1/enforcement", [401, 401, 200, 200, 200]),
    ("POST", "/api/v1/pushes", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/pushes/{id}/orders", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/pushes/{id}/start", [403, 403, 403, 403, 404]),
    ("POST", "/api/v1/pushes/{id}/confirm", [403, 403, 403, 403, 404]),
    ("POST", "/api/v1/pushes/{id}/cancel", [403, 403, 403, 403, 404]),
    ("GET", "/api/v1/enroll", [403, 403, 403, 403, 200]),
    ("POST", "/api/v1/enroll/tokens", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/enroll/approve", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/enroll/refuse", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/enroll/revoke", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/devices", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/ports", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/ports/{name}/approve", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/ports/{name}/release", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/devices/{name}/credentials", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/devices/{name}/remove", [403, 403, 403, 403, 415]),
    ("POST", "/api/v1/signin", [403, 403, 403, 403, 200]),
    ("GET", "/nothing", [404, 404, 404, 404, 404]),
    ("GET", "/api/v1/nothing", [404, 404, 404, 404, 404]),
    ("DELETE", "/api/v1/status", [405, 405, 405, 405, 405]),
];

#[tokio::test]
async fn every_route_answers_only_whom_it_may() {
    let door = open().await;
    let knockers = [
        Knocker::Stranger,
        Knocker::Neighbour,
        door.browser().await,
        Knocker::Scraper,
        Knocker::Socket,
    ];
    for (method, path, expected) in DENY_TABLE {
        for (who, expected) in knockers.iter().zip(expected) {
            let path = path.replace("{name}", "oa-17").replace("{id}", "1");
            let path = path.replace("{source}", "nftables").replace("{invariant}", "INV-01");
            let answer = door.ask(who, method.parse().unwrap(), &path, &[], "").await;
            assert_eq!(answer.status.as_u16(), *expected, "{method} {path} by {who:?}");
            if *who == Knocker::Stranger && !path.starts_with("/assets/") {
                assert!(!answer.body.contains("oa-17"), "{path} tells a stranger of a host");
            }
        }
    }
}

#[test]
fn the_deny_table_names_every_route() {
    let listed: BTreeSet<&str> = DENY_TABLE.iter().map(|(_, path, _)| *path).collect();
    let mut found = 0;
    for file in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let text = std::fs::read_to_string(&file).unwrap();
        for part in text.split(".route(\"").skip(1) {
            let path = part.split('"').next().unwrap();
            assert!(listed.contains(path), "{path} of {} is not in the table", file.display());
            found += 1;
        }
    }
    assert!(found > 15, "the routes are found in the source: {found}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.extension() {
            None if path.is_dir() => sources(&path),
            Some(kind) if kind == "rs" && !path.ends_with("tests.rs") => vec![path],
            Some(_) | None => Vec::new(),
        })
        .collect()
}

#[tokio::test]
async fn looking_at_a_link_does_not_spend_it() {
    let door = open().await;
    let link = door.link().await;
    for _ in 0..3 {
        let answer = door.get(&Knocker::Stranger, &link).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.body.contains("<button"), "{}", answer.body);
        assert_eq!(answer.header("set-cookie"), "");
    }
    let code = link.strip_prefix("/signin?").unwrap();
    let origin = door.origin();
    let answer = door.post_form(&Knocker::Stranger, "/signin", "https://evil.example", code).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "another origin spends nothing");
    let answer = door.post_form(&Knocker::Stranger, "/signin", &origin, code).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let cookie = answer.header("set-cookie");
    for part in ["__Host-bailey=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let answer = door.post_form(&Knocker::Stranger, "/signin", &origin, code).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "a code works once");
    let answer = door.get(&Knocker::Stranger, &link).await;
    assert!(!answer.body.contains("<button"), "a spent link offers nothing");
}

#[tokio::test]
async fn of_many_that_spend_one_link_one_is_signed_in() {
    let door = Arc::new(open().await);
    let link = door.link().await;
    let tries = (0..20).map(|_| {
        let (door, link) = (door.clone(), link.clone());
        tokio::spawn(async move {
            let code = link.strip_prefix("/signin?").unwrap();
            door.post_form(&Knocker::Stranger, "/signin", &door.origin(), code).await.status
        })
    });
    let answers = futures::future::join_all(tries).await;
    let won = answers.into_iter().filter(|a| *a.as_ref().unwrap() == StatusCode::SEE_OTHER);
    assert_eq!(won.count(), 1);
}

#[tokio::test]
async fn a_form_without_its_token_or_from_elsewhere_is_refused() {
    let door = open().await;
    let browser = door.browser().await;
    let page = door.get(&browser, "/hosts").await.body;
    let token = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let right = format!("token={token}");
    let origin = door.origin();
    for (origin, body) in [
        (origin.as_str(), ""),
        (origin.as_str(), "token="),
        (origin.as_str(), "token=wrong"),
        ("https://evil.example", right.as_str()),
        ("null", right.as_str()),
    ] {
        let answer = door.post_form(&browser, "/signout", origin, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin} {body}");
    }
    assert_eq!(door.get(&browser, "/hosts").await.status, StatusCode::OK, "still signed in");
    let answer = door.post_form(&browser, "/signout", &origin, &right).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(door.get(&browser, "/hosts").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_of_one_session_is_no_token_of_another() {
    let door = open().await;
    let (one, other) = (door.browser().await, door.browser().await);
    let page = door.get(&one, "/hosts").await.body;
    let token = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let body = format!("token={token}");
    let answer = door.post_form(&other, "/signout", &door.origin(), &body).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn every_answer_is_hardened_and_no_page_is_kept() {
    let door = open().await;
    let browser = door.browser().await;
    for path in ["/hosts", "/alerts", "/signin", "/nothing", "/api/v1/status", "/assets/bailey.js"]
    {
        let answer = door.get(&browser, path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{path}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        if !path.starts_with("/assets/") {
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused() {
    let door = open().await;
    let browser = door.browser().await;
    for (host, expected) in [
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("bailey.example.org", StatusCode::OK),
        ("localhost:1", StatusCode::OK),
    ] {
        let answer = door.ask(&browser, Method::GET, "/hosts", &[("host", host)], "").await;
        assert_eq!(answer.status, expected, "{host}");
    }
}

#[tokio::test]
async fn discovery_names_the_address_that_was_asked() {
    let door = open().await;
    let host = [("host", "bailey.example.org:7711")];
    let answer = door.ask(&Knocker::Neighbour, Method::GET, "/sd", &host, "").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let groups: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let groups = groups.as_array().unwrap();
    assert_eq!(groups.len(), 1 + fixture::machines().len());
    assert!(groups.iter().all(|group| group["targets"][0] == "bailey.example.org:7711"));
    for group in groups {
        let path = group["labels"]["__metrics_path__"].as_str().unwrap();
        let answer = door.get(&Knocker::Neighbour, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    }
}

#[tokio::test]
async fn the_api_refuses_what_it_does_not_understand() {
    let door = open().await;
    for (path, expected) in [
        ("/api/v1/hosts?zone=inner&limit=2", StatusCode::OK),
        ("/api/v1/hosts?limit=0", StatusCode::BAD_REQUEST),
        ("/api/v1/hosts?limit=201", StatusCode::BAD_REQUEST),
        ("/api/v1/hosts?zones=inner", StatusCode::BAD_REQUEST),
        ("/api/v1/hosts?zone=inner&zone=outer", StatusCode::BAD_REQUEST),
        ("/api/v1/status?x=1", StatusCode::BAD_REQUEST),
        ("/api/v1/findings?after=nonsense", StatusCode::BAD_REQUEST),
        ("/api/v1/findings?severity=bad", StatusCode::BAD_REQUEST),
        ("/api/v1/hosts/no-such-host", StatusCode::NOT_FOUND),
        ("/api/v1/flows?after=oa-1", StatusCode::OK),
        ("/api/v1/flows?limit=1", StatusCode::BAD_REQUEST),
        ("/api/v1/lines?zone=outer&device=exit-1&after=exit-1/GE0/0/1", StatusCode::OK),
        ("/api/v1/lines?after=exit-1", StatusCode::BAD_REQUEST),
        ("/api/v1/lines?limit=201", StatusCode::BAD_REQUEST),
        ("/api/v1/proofs?at=2026-11-23T14:30:00%2B08:00", StatusCode::OK),
        ("/api/v1/proofs?at=yesterday", StatusCode::BAD_REQUEST),
        ("/api/v1/proofs/INV-01?limit=0", StatusCode::BAD_REQUEST),
        ("/api/v1/flows?host=no-such-host", StatusCode::NOT_FOUND),
        ("/api/v1/traps?host=core-1&before=7&limit=1", StatusCode::OK),
        ("/api/v1/traps?strangers=true", StatusCode::OK),
        ("/api/v1/traps?host=core-1&strangers=true", StatusCode::BAD_REQUEST),
        ("/api/v1/traps?limit=201", StatusCode::BAD_REQUEST),
        ("/api/v1/trace?src=10.1.7.20", StatusCode::BAD_REQUEST),
        ("/api/v1/trace?src=10.1.7.20&dst=10.1.7.21", StatusCode::BAD_REQUEST),
        ("/api/v1/trace?src=10.1.7.20&dst=10.1.7.21:1/tcp", StatusCode::SERVICE_UNAVAILABLE),
        ("/api/v1/hosts/%22%3E%3Cscript%3E", StatusCode::NOT_FOUND),
    ] {
        let answer = door.get(&Knocker::Socket, path).await;
        assert_eq!(answer.status, expected, "{path}: {}", answer.body);
        if expected != StatusCode::OK {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
            let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(problem["status"], expected.as_u16());
            assert!(!problem["detail"].as_str().unwrap().is_empty());
        }
    }
    let delete = door.ask(&Knocker::Socket, Method::DELETE, "/api/v1/status", &[], "").await;
    assert_eq!(delete.header("allow"), "GET,HEAD");
    let json = [("content-type", "application/json")];
    for body in [
        "",
        "{",
        "[]",
        "{\"host\":\"oa-1\"}",
        "{\"host\":\"oa-1\",\"zone\":\"inner\",\"ttl_seconds\":60,\"x\":1}",
        "{\"host\":\"\",\"zone\":\"inner\",\"ttl_seconds\":60}",
    ] {
        let answer =
            door.ask(&Knocker::Socket, Method::POST, "/api/v1/enroll/tokens", &json, body).await;
        assert!(answer.status.is_client_error(), "{body}: {}", answer.status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{body}");
    }
    let large = "x".repeat(super::MAX_BODY + 1);
    let answer =
        door.ask(&Knocker::Socket, Method::POST, "/api/v1/enroll/tokens", &json, &large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_refused_order_says_why_in_both_languages() {
    let door = open().await;
    let json = [("content-type", "application/json")];
    let port = "{\"device\":\"core-9\",\"port\":\"GE1\",\"until\":\"2026-11-26T09:00:00Z\",\
                \"reason\":\"a stray laptop\"}";
    let token = "{\"host\":\"oa-19\",\"zone\":\"iner\",\"ttl_seconds\":600}";
    for (path, body, en, zh) in [
        ("/api/v1/devices/core-9/remove", "{}", "there is no device", "没有设备 \"core-9\""),
        ("/api/v1/ports", port, "there is no device", "没有设备 \"core-9\""),
        ("/api/v1/pushes/7/start", "", "there is no push 7", "没有下发 7"),
        ("/api/v1/enroll/tokens", token, "did you mean \"inner\"?", "没有安全域 \"iner\""),
    ] {
        let answer = door.ask(&Knocker::Socket, Method::POST, path, &json, body).await;
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(en), "{path}: {problem}");
        assert!(problem["detail_zh"].as_str().unwrap().contains(zh), "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_token_carries_the_security_roles_key_and_nothing_that_is_none() {
    let door = open().await;
    let json = [("content-type", "application/json")];
    let key = SigningKey::generate().unwrap();
    let public = key.verifying_key();
    let private = key.to_pem().unwrap();
    for (pem, expected) in [
        (public.to_pem(), StatusCode::OK),
        (String::new(), StatusCode::BAD_REQUEST),
        (private, StatusCode::BAD_REQUEST),
    ] {
        let wish = serde_json::json!({
            "host": "oa-19", "zone": "inner", "ttl_seconds": 600, "security_key": pem,
        });
        let path = "/api/v1/enroll/tokens";
        let answer = door.ask(&Knocker::Socket, Method::POST, path, &json, &wish.to_string()).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
        if expected == StatusCode::OK {
            let made: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            let token = made["token"].as_str().unwrap();
            assert!(made["line"].as_str().unwrap().contains(token), "{made}");
            let token: Token = token.parse().unwrap();
            assert_eq!(token.security_key, Some(public.clone()));
        } else {
            assert!(!answer.body.contains("PRIVATE"), "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_token_made_on_the_socket_is_in_the_journal_with_who_made_it() {
    let door = open().await;
    let json = [("content-type", "application/json")];
    for (zone, expected) in [("iner", StatusCode::UNPROCESSABLE_ENTITY), ("inner", StatusCode::OK)]
    {
        let wish = format!("{{\"host\":\"oa-19\",\"zone\":\"{zone}\",\"ttl_seconds\":600}}");
        let path = "/api/v1/enroll/tokens";
        let answer = door.ask(&Knocker::Socket, Method::POST, path, &json, &wish).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
        if expected == StatusCode::OK {
            let made: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert!(made["line"].as_str().unwrap().starts_with("printf %s 'bailey1."), "{made}");
            assert!(made["token"].as_str().unwrap().starts_with("bailey1."), "{made}");
        } else {
            assert!(answer.body.contains("did you mean"), "{}", answer.body);
        }
    }
    let answer = door.get(&Knocker::Socket, "/api/v1/events?host=oa-19").await;
    let events: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(events["events"][0]["kind"], "token_made");
    let own = format!("uid {}", nix::unistd::geteuid());
    assert_eq!(events["events"][0]["actor"], own.as_str());
    let revoke = "{\"host\":\"oa-99\",\"reason\":\"scrapped\"}";
    let path = "/api/v1/enroll/revoke";
    let answer = door.ask(&Knocker::Socket, Method::POST, path, &json, revoke).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
}

#[tokio::test]
async fn hosts_and_findings_come_in_pages_that_join() {
    let door = open().await;
    for (path, list, name) in
        [("/api/v1/hosts?limit=5", "hosts", "host"), ("/api/v1/findings?limit=3", "findings", "id")]
    {
        let mut seen = Vec::new();
        let mut next = String::new();
        for _ in 0..20 {
            let answer = door.get(&Knocker::Socket, &format!("{path}{next}")).await;
            let page: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(page["schema"], 1);
            let rows = page[list].as_array().unwrap();
            seen.extend(rows.iter().map(|row| row[name].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(after) => next = format!("&after={after}"),
                None => break,
            }
        }
        let all = door.get(&Knocker::Socket, path.split('?').next().unwrap()).await;
        let all: serde_json::Value = serde_json::from_str(&all.body).unwrap();
        let all = all[list].as_array().unwrap();
        assert_eq!(seen.len(), all.len());
        assert!(seen.iter().zip(all).all(|(seen, row)| row[name] == **seen));
        assert!(seen.len() > 5, "{seen:?}");
    }
}

#[tokio::test]
async fn a_host_answer_carries_the_age_of_everything() {
    let door = open().await;
    let answer = door.get(&Knocker::Socket, "/api/v1/hosts/web-2").await;
    let host: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(host["schema"], 1);
    for fact in host["facts"].as_array().unwrap() {
        assert!(fact["age_seconds"].is_number() && fact["stale"].is_boolean(), "{fact}");
    }
    let facts = host["facts"].as_array().unwrap();
    let ruleset = facts.iter().find(|fact| fact["fact"] == "firewall.ruleset").unwrap();
    assert_eq!(ruleset["reading"]["unreadable"]["why"], "needs CAP_NET_ADMIN");
}

#[tokio::test]
async fn head_gives_the_headers_alone() {
    let door = open().await;
    let browser = door.browser().await;
    for (who, path) in
        [(&browser, "/hosts"), (&Knocker::Socket, "/api/v1/hosts"), (&Knocker::Neighbour, "/sd")]
    {
        let answer = door.ask(who, Method::HEAD, path, &[], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""), "{path}");
    }
}

#[tokio::test]
async fn assets_are_kept_by_their_version_and_confirmed_by_their_tag() {
    let door = open().await;
    let versioned = super::assets::address("bailey.css");
    let answer = door.get(&Knocker::Stranger, &versioned).await;
    assert!(answer.header("cache-control").contains("immutable"));
    assert_eq!(answer.header("content-type"), "text/css; charset=utf-8");
    let tag = answer.header("etag").to_owned();
    let plain = door.get(&Knocker::Stranger, "/assets/bailey.css").await;
    assert_eq!(plain.header("cache-control"), "no-cache");
    let known = [("if-none-match", tag.as_str())];
    let answer = door.ask(&Knocker::Stranger, Method::GET, "/assets/bailey.css", &known, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    for path in ["/assets/", "/assets/../Cargo.toml", "/assets/%2e%2e%2fCargo.toml"] {
        assert_eq!(
            door.get(&Knocker::Stranger, path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_language_is_chosen_once() {
    let door = open().await;
    let browser = door.browser().await;
    let answer = door.get(&browser, "/hosts?lang=zh").await;
    assert!(answer.body.contains("<html lang=\"zh-CN\">"));
    assert!(answer.header("set-cookie").starts_with("bailey-lang=zh;"));
    assert_eq!(answer.header("content-language"), "zh-CN");
}

struct Stream {
    body: hyper::body::Incoming,
    _connection: http1::SendRequest<Full<Bytes>>,
}

impl Stream {
    async fn open(door: &Door, cookie: &str) -> Self {
        let mut connection = connect(door.tls().await).await;
        let request = hyper::Request::get(live::PATH)
            .header("host", door.address().to_string())
            .header("cookie", format!("__Host-bailey={cookie}"))
            .body(Full::new(Bytes::new()))
            .unwrap();
        let response = connection.send_request(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), _connection: connection }
    }

    async fn next(&mut self) -> Option<String> {
        let wait = tokio::time::timeout(Duration::from_secs(8), self.body.frame());
        let frame = wait.await.expect("the stream is never silent for long")?;
        Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
    }
}

#[tokio::test]
async fn the_stream_tells_of_changes_and_ends_with_the_session() {
    let door = open().await;
    let browser = door.browser().await;
    let Knocker::Browser(cookie) = &browser else { panic!("a browser") };
    let mut stream = Stream::open(&door, cookie).await;
    let first = stream.next().await.unwrap();
    assert!(first.contains("event: revision"), "{first}");
    door.site.moved();
    let second = stream.next().await.unwrap();
    assert!(second.contains("event: revision") && second != first, "{second}");
    let page = door.get(&browser, "/hosts").await.body;
    let token = page.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    door.post_form(&browser, "/signout", &door.origin(), &format!("token={token}")).await;
    door.site.moved();
    assert_eq!(stream.next().await, None, "signed out: the stream ends");
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_alive() {
    let door = open().await;
    let Knocker::Browser(cookie) = door.browser().await else { panic!("a browser") };
    let mut stream = Stream::open(&door, &cookie).await;
    stream.next().await.unwrap();
    let alive = stream.next().await.unwrap();
    assert!(alive.contains("event: alive"), "{alive}");
}

#[tokio::test]
async fn a_stopping_collector_closes_its_streams_and_its_socket() {
    let door = open().await;
    let Knocker::Browser(cookie) = door.browser().await else { panic!("a browser") };
    let mut stream = Stream::open(&door, &cookie).await;
    stream.next().await.unwrap();
    door.shutdown.cancel();
    assert_eq!(stream.next().await, None);
    tokio::time::timeout(Duration::from_secs(5), door.handle.finished()).await.unwrap();
    assert!(!door.socket().exists());
}

#[tokio::test]
async fn a_refused_sign_in_is_counted() {
    let door = open().await;
    door.post_form(&Knocker::Stranger, "/signin", &door.origin(), "code=wrong").await;
    let page = door.get(&Knocker::Neighbour, "/metrics").await.body;
    assert!(page.contains("bailey_auth_failures_total{reason=\"signin\"} 1"), "{page}");
}
