//! The listings of a host's packet filters, as they were sent: what its proof rests on.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bailey_rules::listing::{ListingSource, Listings};
use bailey_rules::name::HostName;
use bailey_rules::time::Timestamp;
use serde::Serialize;

use super::{Asked, Nothing, SCHEMA};
use crate::host::Host;
use crate::web::Web;
use crate::web::problem::Problem;

/// One listing of `GET /api/v1/hosts/{name}/listings`.
#[derive(Debug, Serialize)]
struct ListingRow {
    source: ListingSource,
    digest: String,
    ruleset: String,
    received_at: Timestamp,
    octets: usize,
    /// Whether it is of the ruleset that the host's facts tell of now.
    current: bool,
}

/// A source that cannot be listed though there is something to list.
#[derive(Debug, Serialize)]
struct UnlistedRow {
    source: ListingSource,
    why: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ListingsAnswer {
    schema: u32,
    host: HostName,
    listings: Vec<ListingRow>,
    unlisted: Vec<UnlistedRow>,
}

fn host_of(web: &Web, name: &str) -> Result<Arc<Host>, Problem> {
    let host = name.parse().ok().and_then(|name: HostName| web.site().by_name(&name));
    host.ok_or_else(|| Problem::not_found("no host of this name is enrolled"))
}

pub(super) async fn list(
    State(web): State<Web>,
    Path(name): Path<String>,
    _: Asked<Nothing>,
) -> Result<Json<ListingsAnswer>, Problem> {
    let host = host_of(&web, &name)?;
    let (held, view): (Arc<Listings>, _) = (host.listings(), host.view());
    let listings = held.0.iter().map(|(source, listing)| ListingRow {
        source: *source,
        digest: listing.digest.to_string(),
        ruleset: listing.ruleset.clone(),
        received_at: listing.received_at,
        octets: listing.text.len(),
        current: held.current(*source, &view.facts).is_some(),
    });
    let unlisted = host.unlisted();
    let unlisted =
        unlisted.iter().map(|(source, why)| UnlistedRow { source: *source, why: why.clone() });
    Ok(Json(ListingsAnswer {
        schema: SCHEMA,
        host: host.name.clone(),
        listings: listings.collect(),
        unlisted: unlisted.collect(),
    }))
}

pub(super) async fn one(
    State(web): State<Web>,
    Path((name, source)): Path<(String, String)>,
    _: Asked<Nothing>,
) -> Result<Response, Problem> {
    let host = host_of(&web, &name)?;
    let source = ListingSource::named(&source).ok_or_else(|| {
        let known = ListingSource::ALL.map(ListingSource::as_str).join(", ");
        Problem::not_found(format!("no such source; there are {known}"))
    })?;
    let held = host.listings();
    let listing = held.0.get(&source).ok_or_else(|| match host.unlisted().get(&source) {
        Some(why) => Problem::not_found(format!("the host cannot list {source}: {why}")),
        None => Problem::not_found(format!("the host has sent no listing of {source}")),
    })?;
    let kind = match source {
        ListingSource::Nftables => "application/json",
        ListingSource::IptablesNft
        | ListingSource::Ip6tablesNft
        | ListingSource::IptablesLegacy
        | ListingSource::Ip6tablesLegacy => "text/plain; charset=utf-8",
    };
    Ok(([(header::CONTENT_TYPE, kind)], listing.text.to_string()).into_response())
}
