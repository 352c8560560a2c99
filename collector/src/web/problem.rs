//! Errors as `application/problem+json` (RFC 9457) for programs and as a small page for people.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bailey_rules::text::Text;
use serde::Serialize;

use super::access::Peer;
use super::frame;
use super::words::Words;

/// The media type of RFC 9457.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// One refusal, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What sort, as a URN that never changes; it is not meant to be fetched.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sort in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// The same in Chinese, where it is known in both languages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail_zh: Option<String>,
}

impl Problem {
    /// A refusal of sort `kind`, such as `not-found`.
    #[must_use]
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:bailey:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            detail_zh: None,
        }
    }

    /// A refusal of sort `kind` whose reason people read in their own language.
    #[must_use]
    pub fn said(status: StatusCode, kind: &'static str, why: Text) -> Self {
        Self { detail_zh: Some(why.zh), ..Self::new(status, kind, why.en) }
    }

    /// 400: the request itself is wrong.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Refuses `request`: with a page where a browser asks for one, with a problem where a program does.
pub fn refuse(
    request: &Request,
    status: StatusCode,
    kind: &'static str,
    detail: &'static str,
) -> Response {
    let path = request.uri().path();
    let for_programs = path.starts_with("/api/")
        || path.starts_with("/metrics")
        || path == "/sd"
        || matches!(request.extensions().get::<Peer>(), Some(Peer::Socket { .. }));
    if for_programs {
        return Problem::new(status, kind, detail).into_response();
    }
    let choice = frame::Choice::of(request.headers(), request.uri());
    frame::plain_error(&choice, status, Words::of(choice.lang).error_of(status))
}
