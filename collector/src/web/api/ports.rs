//! Ports in quarantine: reading them, and the admin verbs, which are answered on the Unix socket only.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use bailey_rules::name::HostName;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::Asset;
use serde::{Deserialize, Serialize};

use super::enroll::actor_of;
use super::{Asked, Nothing, SCHEMA, Told};
use crate::port::{PortError, PortWish, Quarantine};
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::problem::Problem;

/// Where they are.
pub(super) const PATH: &str = "/api/v1/ports";

/// The most addresses behind a port that are named.
const MAX_NAMED: usize = 16;

fn refused(error: &PortError) -> Problem {
    let (status, kind) = match error {
        PortError::UnknownDevice(_) | PortError::UnknownPort { .. } | PortError::None { .. } => {
            (StatusCode::NOT_FOUND, "not-found")
        }
        PortError::Guarded { .. } | PortError::Until | PortError::Reason => {
            (StatusCode::UNPROCESSABLE_ENTITY, "port")
        }
        PortError::SamePerson(_) => (StatusCode::FORBIDDEN, "denied"),
        PortError::AlreadyOff { .. }
        | PortError::Already { .. }
        | PortError::Moved { .. }
        | PortError::Held { .. }
        | PortError::Ending { .. }
        | PortError::TooMany => (StatusCode::CONFLICT, "port"),
        PortError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "port"),
    };
    Problem::said(status, kind, error.text())
}

#[derive(Serialize)]
pub(super) struct ListAnswer {
    schema: u32,
    ports: Vec<Quarantine>,
}

pub(super) async fn list(State(web): State<Web>, _: Asked<Nothing>) -> Json<ListAnswer> {
    Json(ListAnswer { schema: SCHEMA, ports: web.ports().all() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    device: HostName,
    port: String,
    until: Timestamp,
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

/// What came of an order about a port.
#[derive(Serialize)]
pub(super) struct Answer {
    schema: u32,
    /// Whether it was only asked what would be.
    dry_run: bool,
    port: Quarantine,
    /// Who is behind it.
    assets: Vec<Asset>,
    /// How many addresses are behind it, and some of them.
    addresses: usize,
    macs: Vec<String>,
}

impl Answer {
    fn of(port: Quarantine) -> Json<Self> {
        let none = Vec::new();
        Json(Self {
            schema: SCHEMA,
            dry_run: false,
            port,
            assets: none,
            addresses: 0,
            macs: vec![],
        })
    }
}

pub(super) async fn ask(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Told(wish): Told<Wish>,
) -> Result<Json<Answer>, Problem> {
    let Wish { device, port, until, reason, dry_run } = wish;
    let wish = PortWish { device, port, until, reason, dry_run };
    let asked = web.ports().ask(wish, &actor_of(&caller)).await;
    let (port, behind) = asked.map_err(|error| refused(&error))?;
    Ok(Json(Answer {
        schema: SCHEMA,
        dry_run,
        port,
        assets: behind.assets.into_iter().collect(),
        addresses: behind.macs.len(),
        macs: behind.macs.iter().take(MAX_NAMED).map(ToString::to_string).collect(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct One {
    port: String,
}

pub(super) async fn approve(
    State(web): State<Web>,
    Path(device): Path<HostName>,
    Extension(caller): Extension<Caller>,
    Told(one): Told<One>,
) -> Result<Json<Answer>, Problem> {
    let done = web.ports().approve(&device, &one.port, &actor_of(&caller)).await;
    done.map(Answer::of).map_err(|error| refused(&error))
}

pub(super) async fn release(
    State(web): State<Web>,
    Path(device): Path<HostName>,
    Extension(caller): Extension<Caller>,
    Told(one): Told<One>,
) -> Result<Json<Answer>, Problem> {
    let done = web.ports().release(&device, &one.port, &actor_of(&caller)).await;
    done.map(Answer::of).map_err(|error| refused(&error))
}
