//! Asking a collector: over the Unix socket of its state folder, or over HTTPS from elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::text::Text;
use bailey_wire::tls::{web_client_config, why_refused};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::arguments::Global;
use crate::exit::{Exit, Failure};

/// The version of the answers that this program understands.
pub const SCHEMA: u64 = 1;

/// The longest answer that is read, in octets: a host with all the facts it may have.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The longest secret file that is read, in octets.
const MAX_SECRET: u64 = 1024;

/// The longest time until a connection stands.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The longest time for one question and its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The most characters of a refusal that are repeated.
const SHOWN: usize = 1000;

/// The file of the collector's socket in its state folder.
const SOCKET: &str = "bailey.sock";

/// Where a collector is asked.
#[derive(Clone)]
pub enum Door {
    /// On this machine, by the socket of a state folder.
    Socket(PathBuf),
    /// Anywhere, by its web address.
    Https(Box<Https>),
}

/// What it takes to ask over HTTPS.
#[derive(Clone)]
pub struct Https {
    authority: String,
    host: String,
    port: u16,
    bearer: HeaderValue,
    tls: Arc<ClientConfig>,
}

/// The state folder of a user: `bailey` in the data folder (XDG Base Directory Specification 0.8).
///
/// # Errors
/// When the environment names no home.
pub fn state_folder(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Result<PathBuf, Failure> {
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    given
        .map(Path::to_owned)
        .or_else(|| Some(folder("XDG_DATA_HOME")?.join("bailey")))
        .or_else(|| Some(folder("HOME")?.join(".local/share/bailey")))
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "there is no state folder: neither XDG_DATA_HOME nor HOME is set; name one with \
                 --state DIR",
                "无法确定状态目录：XDG_DATA_HOME 与 HOME 均未设置；请用 --state 目录 指定",
            )
        })
}

impl Door {
    /// The door that the command line names.
    ///
    /// # Errors
    /// When options contradict each other or one of the files cannot be read.
    pub fn of(global: &Global) -> Result<Self, Failure> {
        let Some(url) = &global.url else {
            if global.ca_file.is_some() || global.token_file.is_some() {
                return Err(usage(
                    "--ca-file and --token-file belong to --url",
                    "--ca-file 与 --token-file 须与 --url 一起使用",
                ));
            }
            let state = state_folder(global.state.as_deref(), |name| std::env::var_os(name))?;
            return Ok(Self::Socket(state.join(SOCKET)));
        };
        if global.state.is_some() {
            return Err(usage(
                "--state and --url exclude each other: one names a collector on this machine, the \
                 other one elsewhere",
                "--state 与 --url 不能同时使用：前者指本机采集器，后者指其他机器上的采集器",
            ));
        }
        let (Some(ca), Some(token)) = (&global.ca_file, &global.token_file) else {
            return Err(usage(
                "--url needs --ca-file and --token-file; both files lie in the collector's state \
                 folder: ca.pem and scrape.token",
                "--url 须同时给出 --ca-file 和 --token-file；两个文件位于采集器的状态目录：\
                 ca.pem 与 scrape.token",
            ));
        };
        let (authority, host, port) = read_url(url)?;
        let tls = trusting(ca)?;
        Ok(Self::Https(Box::new(Https { authority, host, port, bearer: bearer(token)?, tls })))
    }

    /// The door of the collector whose state lies in `state`.
    #[must_use]
    pub fn in_state(state: &Path) -> Self {
        Self::Socket(state.join(SOCKET))
    }

    /// Whether anybody listens behind it.
    pub async fn answers(&self) -> bool {
        match self {
            Self::Socket(path) => UnixStream::connect(path).await.is_ok(),
            Self::Https(https) => {
                TcpStream::connect((https.host.as_str(), https.port)).await.is_ok()
            }
        }
    }

    /// Asks once. `body` makes it a POST.
    ///
    /// # Errors
    /// When nobody answers, the collector refuses, or the answer is not one.
    pub async fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.ask_within(ANSWER_LIMIT, path, body).await
    }

    /// Asks once for something that takes the collector longer: at most `limit`.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn ask_within(
        &self,
        limit: Duration,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let asked = tokio::time::timeout(limit, async {
            match self {
                Self::Socket(socket) => {
                    let stream = connected(UnixStream::connect(socket)).await;
                    let stream = stream.map_err(|why| no_socket(socket, &why))?;
                    exchange(stream, request("localhost", None, path, body)?).await
                }
                Self::Https(https) => {
                    let unreachable = |why: &io::Error| no_web(&https.authority, why);
                    let target = (https.host.as_str(), https.port);
                    let tcp =
                        connected(TcpStream::connect(target)).await.map_err(|e| unreachable(&e))?;
                    let name = ServerName::try_from(https.host.clone())
                        .map_err(|e| unreachable(&io::Error::other(e)))?;
                    let handshake = TlsConnector::from(https.tls.clone()).connect(name, tcp);
                    let stream = connected(handshake).await.map_err(|e| unreachable(&e))?;
                    let request =
                        request(&https.authority, Some(https.bearer.clone()), path, body)?;
                    exchange(stream, request).await
                }
            }
        });
        let (status, bytes) = asked.await.unwrap_or_else(|_| {
            Err(Failure::new(
                Exit::Unreachable,
                format!("the collector took longer than {} s to answer", limit.as_secs()),
                format!("采集器在 {} 秒内没有应答", limit.as_secs()),
            ))
        })?;
        understood(status, &bytes)
    }
}

fn usage(en: &str, zh: &str) -> Failure {
    Failure::new(Exit::Usage, en, zh)
}

async fn connected<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT_LIMIT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

fn read_url(url: &str) -> Result<(String, String, u16), Failure> {
    let wrong = || {
        usage(
            &format!("--url \"{url}\" is not an address such as https://10.1.0.1:7711"),
            &format!("--url \"{url}\" 不是有效地址；例如 https://10.1.0.1:7711"),
        )
    };
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let plain = uri.scheme_str() == Some("https")
        && matches!(
            uri.path_and_query().map(hyper::http::uri::PathAndQuery::as_str),
            None | Some("/")
        )
        && !authority.as_str().contains('@');
    if !plain {
        return Err(wrong());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    // RFC 9110 4.2.2: 443 where the address names no port.
    Ok((authority.to_string(), host.to_owned(), authority.port_u16().unwrap_or(443)))
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::error(
        format!("cannot read {}: {why}", path.display()),
        format!("无法读取 {}：{why}", path.display()),
    )
}

fn trusting(ca: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let certificate = CertificateDer::from_pem_file(ca).map_err(|e| unreadable(ca, e))?;
    web_client_config(&certificate).map_err(|e| unreadable(ca, e))
}

fn bearer(file: &Path) -> Result<HeaderValue, Failure> {
    use io::Read as _;
    let mut secret = String::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(MAX_SECRET).read_to_string(&mut secret))
        .map_err(|e| unreadable(file, e))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.trim()))
        .map_err(|_| unreadable(file, "it does not hold one line of text"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn request(
    host: &str,
    bearer: Option<HeaderValue>,
    path: &str,
    body: Option<&Value>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(ACCEPT, "application/json");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some(bearer) = bearer {
        request = request.header(AUTHORIZATION, bearer);
    }
    let body = body.map(ToString::to_string).unwrap_or_default();
    request.body(Full::from(body)).map_err(|e| broken(&e))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Failure> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(&e))?;
    let driving = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok((status, body.map_err(|e| broken(e.as_ref()))?.to_bytes()))
    }
    .await;
    driving.abort();
    answer
}

fn broken(why: &(dyn std::error::Error + 'static)) -> Failure {
    let why = chain(why);
    Failure::new(
        Exit::Unreachable,
        format!("the collector broke off: {why}"),
        format!("与采集器的通信中断：{why}"),
    )
}

/// An error and its causes in one line, each said once.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !line.contains(&words) {
            line = format!("{line}: {words}");
        }
        cause = error.source();
    }
    line
}

fn no_socket(path: &Path, why: &io::Error) -> Failure {
    let socket = path.display();
    if why.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(
            Exit::Denied,
            format!(
                "you may not open {socket}; run this as the user of the collector, or use --url"
            ),
            format!("无权打开 {socket}；请以采集器的用户身份运行，或使用 --url"),
        );
    }
    Failure::new(
        Exit::Unreachable,
        format!(
            "no collector answers on {socket}: {why}; start one with `bailey up`, or name its state \
             folder with --state"
        ),
        format!(
            "{socket} 上没有采集器应答：{why}；请用 `bailey up` 启动，或用 --state 指定其状态目录"
        ),
    )
}

fn no_web(authority: &str, why: &io::Error) -> Failure {
    let why = why_refused(why);
    Failure::new(
        Exit::Unreachable,
        format!("no collector answers on https://{authority}: {why}"),
        format!("https://{authority} 上没有采集器应答：{why}"),
    )
}

fn understood(status: StatusCode, bytes: &[u8]) -> Result<Value, Failure> {
    let answer: Option<Value> = serde_json::from_slice(bytes).ok();
    if !status.is_success() {
        return Err(refused(status, answer.as_ref()));
    }
    let answer = answer.ok_or_else(|| {
        Failure::error("the collector's answer is not JSON", "采集器的应答不是 JSON")
    })?;
    match answer["schema"].as_u64() {
        Some(SCHEMA) => Ok(answer),
        other => {
            let other = other.map_or_else(|| "?".to_owned(), |schema| schema.to_string());
            Err(Failure::error(
                format!(
                    "the collector answers in schema {other}, this program reads schema {SCHEMA}; use \
                     a `bailey` of the collector's version"
                ),
                format!(
                    "采集器使用数据格式 {other}，本程序只支持 {SCHEMA}；请使用与采集器同版本的 bailey"
                ),
            ))
        }
    }
}

/// The collector's refusal (RFC 9457), in both languages; where it knows the reason in English only, that
/// stands in both.
fn refused(status: StatusCode, problem: Option<&Value>) -> Failure {
    let told = |name: &str| -> Option<String> {
        let told = problem.and_then(|problem| problem[name].as_str());
        Some(told?.chars().take(SHOWN).collect())
    };
    let detail = told("detail").unwrap_or_default();
    let detail_zh = told("detail_zh").unwrap_or_else(|| detail.clone());
    let (exit, words) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (Exit::Denied, Text::new("not allowed", "无权限"))
        }
        StatusCode::NOT_FOUND => (Exit::NotFound, Text::new("not found", "不存在")),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => {
            (Exit::Unreachable, Text::new("the collector is busy", "采集器繁忙"))
        }
        _ => (Exit::Error, Text::new("the collector refuses", "采集器拒绝了请求")),
    };
    if detail.is_empty() {
        let code = status.as_u16();
        return Failure::new(
            exit,
            format!("{} (HTTP {code})", words.en),
            format!("{}（HTTP {code}）", words.zh),
        );
    }
    Failure::new(exit, format!("{}: {detail}", words.en), format!("{}：{detail_zh}", words.zh))
}

/// Asks a collector without the caller waiting on anything but the answer.
pub struct Client {
    door: Door,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// A client of the collector behind `door`.
    ///
    /// # Errors
    /// When the system gives no event queue.
    pub fn new(door: Door) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|e| Failure::error(format!("cannot start: {e}"), format!("无法启动：{e}")))?;
        Ok(Self { door, runtime })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// As [`Door::ask`].
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.runtime.block_on(self.door.ask(path, None))
    }

    /// Has something done.
    ///
    /// # Errors
    /// As [`Door::ask`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.runtime.block_on(self.door.ask(path, Some(body)))
    }

    /// Has something done that may take as long as `limit`.
    ///
    /// # Errors
    /// As [`Door::ask`].
    pub fn post_within(&self, limit: Duration, path: &str, body: &Value) -> Result<Value, Failure> {
        self.runtime.block_on(self.door.ask_within(limit, path, Some(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_is_the_one_named_or_in_the_data_folder() {
        let variable = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            }
        };
        let home: &[_] = &[("HOME", "/home/li"), ("XDG_DATA_HOME", "")];
        let xdg: &[_] = &[("HOME", "/home/li"), ("XDG_DATA_HOME", "/data")];
        let check = |given: Option<&str>, set, expect: &str| {
            let found = state_folder(given.map(Path::new), variable(set)).unwrap();
            assert_eq!(found, Path::new(expect));
        };
        check(None, home, "/home/li/.local/share/bailey");
        check(None, xdg, "/data/bailey");
        check(Some("here"), xdg, "here");
        assert_eq!(state_folder(None, variable(&[])).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn an_address_is_https_a_host_and_perhaps_a_port() {
        let check = |url: &str, host: &str, port: u16| {
            let (_, found, at) = read_url(url).unwrap();
            assert_eq!((found.as_str(), at), (host, port), "{url}");
        };
        check("https://10.1.0.1:7711", "10.1.0.1", 7711);
        check("https://[fd00:1::1]:7711/", "fd00:1::1", 7711);
        check("https://bailey.example.org", "bailey.example.org", 443);
        for url in ["http://10.1.0.1", "10.1.0.1:7711", "https://me@host", "https://host/hosts", ""]
        {
            assert_eq!(read_url(url).unwrap_err().exit, Exit::Usage, "{url}");
        }
    }

    #[test]
    fn a_refusal_ends_with_its_own_code() {
        let problem = serde_json::json!({"detail": "no host is called \"oa-18\""});
        let check = |status: u16, exit| {
            let status = StatusCode::from_u16(status).unwrap();
            let failure = refused(status, Some(&problem));
            assert_eq!(failure.exit, exit);
            assert!(failure.words.en.contains("oa-18") && failure.words.zh.contains("oa-18"));
        };
        check(401, Exit::Denied);
        check(403, Exit::Denied);
        check(404, Exit::NotFound);
        check(409, Exit::Error);
        check(503, Exit::Unreachable);
    }

    #[test]
    fn a_refusal_is_read_in_the_language_of_the_reader() {
        let problem = serde_json::json!({
            "detail": "there is no device \"core-9\"", "detail_zh": "没有设备 \"core-9\"",
        });
        let words = refused(StatusCode::NOT_FOUND, Some(&problem)).words;
        assert_eq!(words.en, "not found: there is no device \"core-9\"");
        assert_eq!(words.zh, "不存在：没有设备 \"core-9\"");
    }

    #[test]
    fn an_answer_of_another_schema_is_refused() {
        assert!(understood(StatusCode::OK, br#"{"schema": 1}"#).is_ok());
        for body in [&br#"{"schema": 2}"#[..], b"{}", b"[]", b"<html>", b""] {
            assert!(understood(StatusCode::OK, body).is_err());
        }
    }
}
