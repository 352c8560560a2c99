//! The list of pages. One page is one file: it says its path, its word in the navigation and how
//! it is built from one look at the site.

pub mod alerts;
pub mod device;
pub mod host;
pub mod hosts;
pub mod isolation;
pub mod network;
pub mod runbook;
pub mod signin;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Redirect;

use super::Web;
use super::frame::Choice;
use super::words::Words;

/// The most rows that a page shows; then a link leads on.
pub const MAX_ROWS: usize = 200;

/// One page.
pub struct Page {
    /// Its path; for navigation, or a pattern of the router.
    pub path: &'static str,
    /// Its word in the navigation; none for pages that others lead to.
    pub word: Option<fn(&'static Words) -> &'static str>,
    /// Adds its routes.
    pub routes: fn(Router<Web>) -> Router<Web>,
}

/// Every page for signed-in people, in the order of the navigation.
pub const PAGES: &[Page] = &[
    hosts::PAGE,
    host::PAGE,
    alerts::PAGE,
    isolation::PAGE,
    network::PAGE,
    device::PAGE,
    runbook::PAGE,
];

/// The start of the site leads to the hosts.
pub async fn root() -> Redirect {
    Redirect::to("/hosts")
}

impl<S: Sync> FromRequestParts<S> for Choice {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.headers, &parts.uri))
    }
}
