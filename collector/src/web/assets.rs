//! The files a browser needs besides pages: one style sheet, one script, one icon. They are part of
//! the binary; nothing is fetched from elsewhere.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use super::{Web, problem};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static [u8],
    /// First octets of the SHA-256 of the content, hexadecimal.
    version: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        asset("bailey.css", "text/css; charset=utf-8", include_bytes!("../../assets/bailey.css")),
        asset(
            "bailey.js",
            "text/javascript; charset=utf-8",
            include_bytes!("../../assets/bailey.js"),
        ),
        asset("icon.svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
    ]
});

fn asset(name: &'static str, media_type: &'static str, content: &'static [u8]) -> Asset {
    let version = Sha256::digest(content)[..8]
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    Asset { name, media_type, content, version }
}

/// The address of an asset with the version of its content, so that it may be kept for ever.
#[must_use]
pub fn address(name: &'static str) -> String {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => format!("/assets/{name}?v={}", asset.version),
        None => format!("/assets/{name}"),
    }
}

pub(crate) fn routes() -> Router<Web> {
    Router::new().route("/assets/{name}", get(serve))
}

async fn serve(
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return problem::refuse(
            &request,
            StatusCode::NOT_FOUND,
            "not-found",
            "there is no such file",
        );
    };
    let tag = format!("\"{}\"", asset.version);
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|known| known.trim() == tag));
    let mut response = Response::new(if known { Body::empty() } else { Body::from(asset.content) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let by_version = query.is_some_and(|query| query == format!("v={}", asset.version));
    let keep = if by_version { "public, max-age=31536000, immutable" } else { "no-cache" };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    out.insert(
        header::ETAG,
        HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes are a header value"),
    );
    response
}
