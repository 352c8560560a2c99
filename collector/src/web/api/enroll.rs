//! The admin verbs of enrolment, answered on the Unix socket only.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::time::Timestamp;
use bailey_wire::order::VerifyingKey;
use serde::{Deserialize, Serialize};

use super::{Asked, Nothing, SCHEMA, Told};
use crate::enrolment::{Actor, EnrolmentError, Identity, WaitingHost};
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::problem::Problem;

/// Who acts, for the journal. Only callers on the Unix socket get as far as a handler of this file.
pub(crate) fn actor_of(caller: &Caller) -> Actor {
    match caller {
        Caller::Socket { uid } => Actor::uid(*uid),
        Caller::Browser(_) => Actor::named("browser"),
        Caller::Bearer => Actor::named("bearer"),
    }
}

fn refused(error: &EnrolmentError) -> Problem {
    let (status, kind) = match error {
        EnrolmentError::UnknownZone(_)
        | EnrolmentError::OtherZone { .. }
        | EnrolmentError::IsDevice(_)
        | EnrolmentError::Life(_)
        | EnrolmentError::Address(_) => (StatusCode::UNPROCESSABLE_ENTITY, "enrolment"),
        EnrolmentError::TooManyTokens => (StatusCode::CONFLICT, "enrolment"),
        EnrolmentError::NothingWaits(_) | EnrolmentError::NotEnrolled(_) => {
            (StatusCode::NOT_FOUND, "not-found")
        }
        EnrolmentError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
    };
    Problem::said(status, kind, error.text())
}

#[derive(Serialize)]
pub(super) struct EnrollAnswer {
    schema: u32,
    identities: Vec<Identity>,
    waiting: Vec<WaitingHost>,
}

pub(super) async fn list(
    State(web): State<Web>,
    _: Asked<Nothing>,
) -> Result<Json<EnrollAnswer>, Problem> {
    let identities = web.enrolment().identities().await.map_err(|e| refused(&e))?;
    let waiting = web.enrolment().waiting().await.map_err(|e| refused(&e))?;
    Ok(Json(EnrollAnswer { schema: SCHEMA, identities, waiting }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenWish {
    host: HostName,
    zone: ZoneName,
    ttl_seconds: u64,
    /// The security role's public key in PEM form, which the host is to pin.
    #[serde(default)]
    security_key: Option<String>,
}

#[derive(Serialize)]
pub(super) struct TokenAnswer {
    schema: u32,
    line: String,
    token: String,
    expires_at: Timestamp,
}

pub(super) async fn make_token(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Told(wish): Told<TokenWish>,
) -> Result<Json<TokenAnswer>, Problem> {
    let life = Duration::from_secs(wish.ttl_seconds);
    let security_key = wish
        .security_key
        .map(|pem| VerifyingKey::from_pem(&pem))
        .transpose()
        .map_err(|error| Problem::bad_request(format!("security_key: {error}")))?;
    let made = web
        .enrolment()
        .make_token(wish.host, wish.zone, life, actor_of(&caller))
        .await
        .map_err(|e| refused(&e))?;
    let made = match security_key {
        Some(key) => made.with_security_key(key),
        None => made,
    };
    Ok(Json(TokenAnswer {
        schema: SCHEMA,
        line: made.line,
        token: made.token.to_string(),
        expires_at: made.expires_at,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostWish {
    host: HostName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeWish {
    host: HostName,
    #[serde(default)]
    reason: String,
}

#[derive(Serialize)]
pub(super) struct DoneAnswer {
    schema: u32,
    host: HostName,
}

pub(super) async fn approve(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Told(HostWish { host }): Told<HostWish>,
) -> Result<Json<DoneAnswer>, Problem> {
    web.enrolment().approve(&host, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    Ok(Json(DoneAnswer { schema: SCHEMA, host }))
}

pub(super) async fn refuse(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Told(HostWish { host }): Told<HostWish>,
) -> Result<Json<DoneAnswer>, Problem> {
    web.enrolment().refuse(&host, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    Ok(Json(DoneAnswer { schema: SCHEMA, host }))
}

pub(super) async fn revoke(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Told(RevokeWish { host, reason }): Told<RevokeWish>,
) -> Result<Json<DoneAnswer>, Problem> {
    web.enrolment().revoke(&host, &reason, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    Ok(Json(DoneAnswer { schema: SCHEMA, host }))
}
