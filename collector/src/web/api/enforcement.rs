//! What every host enforces, and the number that the next order has to have.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bailey_rules::fact::enforcement::{
    DriftSeen, Enforcement, LastChange, OrderRef, PendingOrder, QuarantineOrder,
};
use bailey_rules::fact::{FactKind, Reading};
use bailey_rules::name::{HostKey, HostName, ZoneName};
use bailey_rules::policy::Mode;
use serde::Serialize;

use super::{Asked, Nothing, SCHEMA};
use crate::site::HostStatus;
use crate::web::Web;
use crate::web::problem::Problem;

/// One host of `GET /api/v1/enforcement`.
#[derive(Debug, Serialize)]
struct HostRow {
    host: HostName,
    key: HostKey,
    zone: ZoneName,
    connected: bool,
    key_id: Option<String>,
    mode: Option<Mode>,
    highest: u64,
    in_force: Option<OrderRef>,
    confirmed: Option<OrderRef>,
    pending: Option<PendingOrder>,
    quarantine: Option<QuarantineOrder>,
    last: Option<LastChange>,
    drift: Option<DriftSeen>,
    restored: u64,
    problem: Option<String>,
    pushed: Option<OrderRef>,
    unreadable: Option<String>,
}

impl HostRow {
    fn of(host: &HostStatus) -> Self {
        let view = &host.view;
        let held = view.facts.get(FactKind::Enforcement, "");
        let unreadable = match held.map(|held| &*held.reading) {
            Some(Reading::Unreadable { why }) => Some(why.clone()),
            Some(Reading::Known(_)) | None => None,
        };
        let facts = view.facts.value::<Enforcement>("").cloned().unwrap_or_default();
        Self {
            host: view.name.clone(),
            key: view.key,
            zone: view.zone.clone(),
            connected: view.session.connected,
            key_id: facts.key,
            mode: facts.mode,
            highest: facts.highest,
            in_force: facts.in_force,
            confirmed: facts.confirmed,
            pending: facts.pending,
            quarantine: facts.quarantine,
            last: facts.last,
            drift: facts.drift,
            restored: facts.restored,
            problem: facts.problem,
            pushed: view.pushed.map(|pushed| pushed.order),
            unreadable,
        }
    }
}

#[derive(Serialize)]
pub(super) struct EnforcementAnswer {
    schema: u32,
    key_id: Option<String>,
    next_version: u64,
    hosts: Vec<HostRow>,
}

/// Every host at once: whoever signs orders needs them all.
pub(super) async fn all(
    State(web): State<Web>,
    _: Asked<Nothing>,
) -> Result<Json<EnforcementAnswer>, Problem> {
    let next_version =
        web.pushes().next_version().await.map_err(|error| {
            Problem::said(StatusCode::SERVICE_UNAVAILABLE, "store", error.text())
        })?;
    let hosts = web.site().hosts().iter().map(|host| HostRow::of(host)).collect();
    let key_id = web.pushes().key_id().map(|key| key.to_string());
    Ok(Json(EnforcementAnswer { schema: SCHEMA, key_id, next_version, hosts }))
}
