//! The HTTP API: JSON with `schema` 1, errors as problem+json, pages by cursor. Reading takes a
//! session, the bearer secret or the Unix socket; the admin verbs answer on the Unix socket only.

pub mod answer;
pub mod devices;
mod enforcement;
pub mod enroll;
mod flows;
mod lines;
mod listings;
mod ports;
mod proofs;
mod pushes;
mod topology;
mod trace;
pub(super) mod traps;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{
    DefaultBodyLimit, Extension, FromRequest, FromRequestParts, Path, Query, Request, State,
};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use bailey_rules::finding::Severity;
use bailey_rules::name::HostName;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::access::{self, Caller};
use super::page::alerts;
use super::problem::Problem;
use super::shown::{Shown, in_zone};
use super::{SigninLink, Web, live};
use crate::site::EventQuery;
use answer::{EventRow, FindingRow, HostAnswer, HostRow, StatusAnswer};

/// The version of the answers. A field may be added under the same version; nothing else changes.
pub const SCHEMA: u32 = 1;

/// The most rows of one answer.
pub const MAX_LIMIT: usize = 200;

pub(crate) fn routes(web: &Web) -> Router<Web> {
    let reading = Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/hosts", get(hosts))
        .route("/api/v1/hosts/{name}", get(host))
        .route("/api/v1/hosts/{name}/listings", get(listings::list))
        .route("/api/v1/hosts/{name}/listings/{source}", get(listings::one))
        .route("/api/v1/devices", get(devices::list))
        .route("/api/v1/devices/{name}", get(devices::one))
        .route("/api/v1/lines", get(lines::list))
        .route(topology::PATH, get(topology::all))
        .route(ports::PATH, get(ports::list))
        .route("/api/v1/findings", get(findings))
        .route("/api/v1/events", get(events))
        .route("/api/v1/pushes", get(pushes::list))
        .route("/api/v1/pushes/{id}", get(pushes::one))
        .route("/api/v1/pushes/{id}/policy", get(pushes::policy))
        .route("/api/v1/enforcement", get(enforcement::all))
        .route("/api/v1/flows", get(flows::list))
        .route("/api/v1/proofs", get(proofs::list))
        .route("/api/v1/proofs/{invariant}", get(proofs::one))
        .route("/api/v1/trace", get(trace::one))
        .route("/api/v1/traps", get(traps::list))
        .route(live::PATH, get(live::events))
        .route_layer(middleware::from_fn_with_state(web.clone(), access::reader));
    let make_push = post(pushes::make).layer(DefaultBodyLimit::max(pushes::MAX_WISH));
    let add_orders = post(pushes::add).layer(DefaultBodyLimit::max(pushes::MAX_ORDERS));
    let admin = Router::new()
        .route("/api/v1/enroll", get(enroll::list))
        .route("/api/v1/enroll/tokens", post(enroll::make_token))
        .route("/api/v1/enroll/approve", post(enroll::approve))
        .route("/api/v1/enroll/refuse", post(enroll::refuse))
        .route("/api/v1/enroll/revoke", post(enroll::revoke))
        .route("/api/v1/pushes", make_push)
        .route("/api/v1/pushes/{id}/orders", add_orders)
        .route("/api/v1/pushes/{id}/start", post(pushes::start))
        .route("/api/v1/pushes/{id}/confirm", post(pushes::confirm))
        .route("/api/v1/pushes/{id}/cancel", post(pushes::cancel))
        .route(ports::PATH, post(ports::ask))
        .route("/api/v1/ports/{name}/approve", post(ports::approve))
        .route("/api/v1/ports/{name}/release", post(ports::release))
        .route("/api/v1/devices", post(devices::add))
        .route("/api/v1/devices/{name}/credentials", post(devices::credentials))
        .route("/api/v1/devices/{name}/remove", post(devices::remove))
        .route("/api/v1/signin", post(signin))
        .route_layer(middleware::from_fn(access::admin));
    reading.merge(admin)
}

/// The query of a request. A key that is not known, twice or malformed is refused.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::<T>::try_from_uri(&parts.uri).map(|Query(query)| Self(query)).map_err(
            |refused: QueryRejection| {
                Problem::bad_request(format!(
                    "the query is not understood: {}",
                    refused.body_text()
                ))
            },
        )
    }
}

/// The JSON body of a request. A key that is not known, twice or malformed is refused.
pub(crate) struct Told<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync + Send> FromRequest<S> for Told<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Json::<T>::from_request(request, state).await.map(|Json(body)| Self(body)).map_err(
            |refused: JsonRejection| {
                Problem::new(refused.status(), "bad-request", refused.body_text())
            },
        )
    }
}

fn limit_of(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(MAX_LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
        Some(_) => Err(Problem::bad_request(format!("limit is 1 to {MAX_LIMIT}"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn status(State(web): State<Web>, _: Asked<Nothing>) -> Json<StatusAnswer> {
    let revision = *web.site().revision().borrow();
    Json(StatusAnswer::of(&Shown::of(&web), web.site().started_at(), revision))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostsQuery {
    zone: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct HostsAnswer {
    schema: u32,
    hosts: Vec<HostRow>,
    next: Option<String>,
}

async fn hosts(
    State(web): State<Web>,
    Asked(query): Asked<HostsQuery>,
) -> Result<Json<HostsAnswer>, Problem> {
    let limit = limit_of(query.limit)?;
    let shown = Shown::of(&web);
    let matching = shown
        .hosts
        .iter()
        .filter(|host| in_zone(host.view.zone.as_str(), query.zone.as_deref()))
        .filter(|host| query.after.as_deref().is_none_or(|after| host.view.name.as_str() > after));
    let (rows, next) = page_of(matching, limit, |host| host.view.name.to_string());
    let hosts = rows.into_iter().map(|host| HostRow::of(host, &shown)).collect();
    Ok(Json(HostsAnswer { schema: SCHEMA, hosts, next }))
}

/// The first `limit` rows, and the cursor of the last where more follow.
fn page_of<T>(
    rows: impl Iterator<Item = T>,
    limit: usize,
    cursor: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let mut page: Vec<T> = rows.take(limit + 1).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(cursor);
    (page, next)
}

async fn host(
    State(web): State<Web>,
    Path(name): Path<String>,
    _: Asked<Nothing>,
) -> Result<Json<HostAnswer>, Problem> {
    let host = name.parse::<HostName>().ok().and_then(|name| web.site().host(&name));
    let host = host.ok_or_else(|| Problem::not_found("no host of this name is enrolled"))?;
    Ok(Json(HostAnswer::of(&host, &Shown::of(&web))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingsQuery {
    zone: Option<String>,
    host: Option<String>,
    severity: Option<Severity>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct FindingsAnswer {
    schema: u32,
    findings: Vec<FindingRow>,
    next: Option<String>,
}

async fn findings(
    State(web): State<Web>,
    Asked(query): Asked<FindingsQuery>,
) -> Result<Json<FindingsAnswer>, Problem> {
    let limit = limit_of(query.limit)?;
    let after = match query.after.as_deref() {
        None => None,
        Some(text) => Some(alerts::place(text).ok_or_else(|| {
            Problem::bad_request("after is not a cursor; take it from `next` of the page before")
        })?),
    };
    let now = web.site().now();
    let mut findings = web.site().findings();
    findings.sort_by_cached_key(alerts::order);
    let matching = findings
        .into_iter()
        .filter(|finding| in_zone(finding.zone.as_str(), query.zone.as_deref()))
        .filter(|finding| query.host.as_deref().is_none_or(|h| h == finding.host_name.as_str()))
        .filter(|finding| query.severity.is_none_or(|severity| severity == finding.severity))
        .filter(|finding| after.as_ref().is_none_or(|after| alerts::order(finding) > *after));
    let (rows, next) = page_of(matching, limit, alerts::cursor);
    let findings = rows.into_iter().map(|finding| FindingRow::of(finding, now)).collect();
    Ok(Json(FindingsAnswer { schema: SCHEMA, findings, next }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    host: Option<HostName>,
    before: Option<i64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct EventsAnswer {
    schema: u32,
    events: Vec<EventRow>,
    next: Option<i64>,
}

async fn events(
    State(web): State<Web>,
    Asked(query): Asked<EventsQuery>,
) -> Result<Json<EventsAnswer>, Problem> {
    let limit = limit_of(query.limit)?;
    let query = EventQuery { host: query.host, before: query.before, limit };
    let events = web.site().events(query).await.map_err(|e| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "journal",
            format!("the journal cannot be read: {e}"),
        )
    })?;
    let next = events.last().filter(|_| events.len() == limit).map(|event| event.id);
    let events = events.into_iter().map(EventRow::of).collect();
    Ok(Json(EventsAnswer { schema: SCHEMA, events, next }))
}

#[derive(Serialize)]
struct SigninAnswer {
    schema: u32,
    #[serde(flatten)]
    link: SigninLink,
}

async fn signin(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
) -> Json<SigninAnswer> {
    info!(actor = %enroll::actor_of(&caller), "sign-in link made");
    Json(SigninAnswer { schema: SCHEMA, link: web.signin_link() })
}
