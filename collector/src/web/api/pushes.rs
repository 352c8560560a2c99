//! Pushes of orders: reading them as everything else, making and stopping them on the Unix socket
//! only.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, FromRequest, Path, Request, State};
use axum::http::StatusCode;
use bailey_rules::name::{HostName, OrderDigest, ZoneName};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::enroll::actor_of;
use super::{Asked, Nothing, SCHEMA, Told, limit_of};
use crate::enrolment::Actor;
use crate::push::machine::{ConfirmBy, HostState, Push, PushId, PushKind, PushState, Staging};
use crate::push::{About, BadOrder, Listed, PushError, Wish};
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::problem::Problem;

/// The longest body with orders, in octets: three of the largest, or thousands of ordinary ones.
pub(super) const MAX_ORDERS: usize = 16 * 1024 * 1024;

/// The longest body that makes a push, in octets: the largest policy, every second octet escaped.
pub(super) const MAX_WISH: usize = 9 * 1024 * 1024;

/// The most orders of one request.
const MAX_AT_ONCE: usize = crate::push::MAX_HOSTS;

fn refused(error: &PushError) -> Problem {
    let (status, kind) = match error {
        PushError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found"),
        PushError::NotDraft(_)
        | PushError::AlreadyRuns(_)
        | PushError::NothingAwaits { .. }
        | PushError::Ended { .. }
        | PushError::TooMany { .. } => (StatusCode::CONFLICT, "push"),
        PushError::Empty(_) | PushError::Policy => (StatusCode::UNPROCESSABLE_ENTITY, "push"),
        PushError::Order { why, .. } => match why {
            BadOrder::UnknownHost => (StatusCode::UNPROCESSABLE_ENTITY, "unknown-host"),
            BadOrder::Twice
            | BadOrder::OtherKey { .. }
            | BadOrder::OtherKind(_)
            | BadOrder::Expired(_)
            | BadOrder::Older { .. }
            | BadOrder::Unusable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "order"),
        },
        PushError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
    };
    Problem::said(status, kind, error.text())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyWish {
    name: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PushWish {
    kind: PushKind,
    policy: Option<PolicyWish>,
    #[serde(default = "by_itself")]
    confirm: ConfirmBy,
    #[serde(default = "staged")]
    stages: Staging,
}

fn by_itself() -> ConfirmBy {
    ConfirmBy::Auto
}

fn staged() -> Staging {
    Staging::Staged
}

#[derive(Serialize)]
pub(super) struct MadeAnswer {
    schema: u32,
    id: PushId,
}

pub(super) async fn make(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Told(wish): Told<PushWish>,
) -> Result<(StatusCode, Json<MadeAnswer>), Problem> {
    let wish = Wish {
        kind: wish.kind,
        policy: wish.policy.map(|policy| (policy.name, policy.text)),
        confirm: wish.confirm,
        staging: wish.stages,
    };
    let id = web.pushes().create(wish, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    Ok((StatusCode::CREATED, Json(MadeAnswer { schema: SCHEMA, id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderWish {
    host: HostName,
    order: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrdersWish {
    orders: Vec<OrderWish>,
}

#[derive(Serialize)]
pub(super) struct AddedAnswer {
    schema: u32,
    id: PushId,
    added: usize,
    hosts: usize,
}

pub(super) async fn add(
    State(web): State<Web>,
    Path(id): Path<String>,
    Told(wish): Told<OrdersWish>,
) -> Result<Json<AddedAnswer>, Problem> {
    let id = id_of(&id)?;
    let added = wish.orders.len();
    if added > MAX_AT_ONCE {
        return Err(Problem::bad_request(format!("at most {MAX_AT_ONCE} orders at once")));
    }
    let mut orders = Vec::with_capacity(added);
    for OrderWish { host, order } in wish.orders {
        let octets = STANDARD.decode(order).map_err(|_| {
            Problem::bad_request(format!("the order for {host} is not base64 (RFC 4648, 4)"))
        })?;
        orders.push((host, octets));
    }
    let hosts = web.pushes().add(id, orders).await.map_err(|e| refused(&e))?;
    Ok(Json(AddedAnswer { schema: SCHEMA, id, added, hosts }))
}

/// A request without a body, or with an empty object.
pub(super) struct NothingTold;

impl<S: Sync + Send> FromRequest<S> for NothingTold {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = bytes::Bytes::from_request(request, state)
            .await
            .map_err(|refused| Problem::bad_request(refused.body_text()))?;
        if body.is_empty() {
            return Ok(Self);
        }
        Json::<Nothing>::from_bytes(&body)
            .map(|_| Self)
            .map_err(|refused: JsonRejection| Problem::bad_request(refused.body_text()))
    }
}

pub(super) async fn start(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: NothingTold,
) -> Result<Json<PushAnswer>, Problem> {
    let id = id_of(&id)?;
    web.pushes().start(id, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    answer(&web, id).await
}

pub(super) async fn confirm(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: NothingTold,
) -> Result<Json<PushAnswer>, Problem> {
    let id = id_of(&id)?;
    web.pushes().confirm(id, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    answer(&web, id).await
}

pub(super) async fn cancel(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    _: NothingTold,
) -> Result<Json<PushAnswer>, Problem> {
    let id = id_of(&id)?;
    web.pushes().cancel(id, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    answer(&web, id).await
}

/// One host of a push.
#[derive(Debug, Serialize)]
struct TargetRow {
    host: HostName,
    zone: ZoneName,
    version: u64,
    digest: OrderDigest,
    state: HostState,
    error: Option<String>,
    why: Option<Text>,
    stage: u32,
    sent_at: Option<Timestamp>,
    expires_at: Timestamp,
}

/// `GET /api/v1/pushes/{id}`.
#[derive(Debug, Serialize)]
pub(super) struct PushAnswer {
    schema: u32,
    id: PushId,
    kind: PushKind,
    actor: Actor,
    created_at: Timestamp,
    policy: Option<String>,
    state: PushState,
    why: Option<Text>,
    stage: u32,
    stages: u32,
    confirm: ConfirmBy,
    deadline: Option<Timestamp>,
    hosts: Vec<TargetRow>,
}

impl PushAnswer {
    fn of(about: About, push: Push) -> Self {
        let deadline = push.deadline();
        let mut hosts: Vec<TargetRow> = push
            .targets
            .into_values()
            .map(|target| TargetRow {
                host: target.host,
                zone: target.zone,
                version: target.order.version,
                digest: target.order.digest,
                state: target.state,
                error: Some(target.error).filter(|error| !error.is_empty()),
                why: target.why,
                stage: target.stage,
                sent_at: target.sent_at,
                expires_at: target.expires_at,
            })
            .collect();
        hosts.sort_by(|a, b| a.stage.cmp(&b.stage).then_with(|| a.host.cmp(&b.host)));
        Self {
            schema: SCHEMA,
            id: about.id,
            kind: push.kind,
            actor: about.actor,
            created_at: about.created_at,
            policy: about.policy,
            state: push.state,
            why: push.why,
            stage: push.stage,
            stages: push.stages,
            confirm: push.confirm,
            deadline,
            hosts,
        }
    }
}

fn id_of(text: &str) -> Result<PushId, Problem> {
    let id = text.parse().ok().filter(|id| *id > 0).map(PushId);
    id.ok_or_else(|| Problem::not_found("pushes have numbers, such as /api/v1/pushes/7"))
}

async fn answer(web: &Web, id: PushId) -> Result<Json<PushAnswer>, Problem> {
    let (about, push) = web.pushes().get(id).await.map_err(|e| refused(&e))?;
    Ok(Json(PushAnswer::of(about, push)))
}

pub(super) async fn one(
    State(web): State<Web>,
    Path(id): Path<String>,
    _: Asked<Nothing>,
) -> Result<Json<PushAnswer>, Problem> {
    answer(&web, id_of(&id)?).await
}

#[derive(Serialize)]
pub(super) struct PolicyAnswer {
    schema: u32,
    name: String,
    text: String,
}

pub(super) async fn policy(
    State(web): State<Web>,
    Path(id): Path<String>,
    _: Asked<Nothing>,
) -> Result<Json<PolicyAnswer>, Problem> {
    let id = id_of(&id)?;
    let policy = web.pushes().policy(id).await.map_err(|e| refused(&e))?;
    let none = || Problem::not_found(format!("push {id} was not made from a policy"));
    let (name, text) = policy.ok_or_else(none)?;
    Ok(Json(PolicyAnswer { schema: SCHEMA, name, text }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PushesQuery {
    before: Option<i64>,
    limit: Option<usize>,
}

/// A push in a list.
#[derive(Debug, Serialize)]
struct ListedRow {
    id: PushId,
    kind: PushKind,
    actor: Actor,
    created_at: Timestamp,
    policy: Option<String>,
    state: PushState,
    why: Option<Text>,
    stage: u32,
    stages: u32,
    confirm: ConfirmBy,
    deadline: Option<Timestamp>,
    hosts: u64,
    states: BTreeMap<HostState, u64>,
}

impl ListedRow {
    fn of(listed: Listed) -> Self {
        let Listed { about, push, states, deadline } = listed;
        Self {
            id: about.id,
            kind: push.kind,
            actor: about.actor,
            created_at: about.created_at,
            policy: about.policy,
            state: push.state,
            why: push.why,
            stage: push.stage,
            stages: push.stages,
            confirm: push.confirm,
            deadline,
            hosts: states.values().sum(),
            states,
        }
    }
}

#[derive(Serialize)]
pub(super) struct PushesAnswer {
    schema: u32,
    pushes: Vec<ListedRow>,
    next: Option<PushId>,
}

pub(super) async fn list(
    State(web): State<Web>,
    Asked(query): Asked<PushesQuery>,
) -> Result<Json<PushesAnswer>, Problem> {
    let limit = limit_of(query.limit)?;
    let listed = web.pushes().list(query.before, limit).await.map_err(|e| refused(&e))?;
    let next = listed.last().filter(|_| listed.len() == limit).map(|last| last.about.id);
    let pushes = listed.into_iter().map(ListedRow::of).collect();
    Ok(Json(PushesAnswer { schema: SCHEMA, pushes, next }))
}
