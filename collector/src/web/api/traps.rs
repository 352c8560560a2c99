//! Traps and informs as they came, with what they mean where that is known.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bailey_rules::name::HostName;
use bailey_rules::snmp::oid::Oid;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::trap::catalogue::Catalogue;
use bailey_rules::trap::{Proof, shown};
use serde::{Deserialize, Serialize};

use super::{Asked, SCHEMA, limit_of};
use crate::trap::kept::{Kept, TrapQuery};
use crate::web::Web;
use crate::web::problem::Problem;

/// One trap of `GET /api/v1/traps`.
#[derive(Debug, Serialize)]
pub(in crate::web) struct TrapRow {
    id: i64,
    first_at: Timestamp,
    last_at: Timestamp,
    times: u64,
    sender: IpAddr,
    asset: Option<HostName>,
    version: String,
    inform: bool,
    user: Option<String>,
    proof: Proof,
    oid: Oid,
    name: Option<String>,
    says: Vec<Text>,
    values: Vec<ValueRow>,
    values_left_out: usize,
}

/// One value of a trap.
#[derive(Debug, Serialize)]
struct ValueRow {
    oid: Oid,
    value: Option<String>,
}

impl TrapRow {
    pub(in crate::web) fn of(kept: Kept, catalogue: &Catalogue) -> Self {
        let trap = kept.body.trap();
        let says = catalogue.meanings(&trap).into_iter().map(|meaning| meaning.text).collect();
        let value = |bound: bailey_rules::snmp::value::VarBind| ValueRow {
            value: shown(&bound.value),
            oid: bound.oid,
        };
        Self {
            id: kept.id,
            first_at: kept.first_at,
            last_at: kept.last_at,
            times: kept.times,
            sender: kept.body.sender,
            asset: kept.asset,
            version: kept.body.version,
            inform: kept.body.inform,
            user: kept.body.user,
            proof: kept.body.proof,
            name: catalogue.name(&kept.body.oid).map(str::to_owned),
            oid: kept.body.oid,
            says,
            values: kept.body.values.into_iter().map(value).collect(),
            values_left_out: kept.body.left_out,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrapsQuery {
    host: Option<HostName>,
    #[serde(default)]
    strangers: bool,
    before: Option<i64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct TrapsAnswer {
    schema: u32,
    /// Whether the collector receives traps at all.
    received: bool,
    traps: Vec<TrapRow>,
    next: Option<i64>,
}

pub(super) async fn list(
    State(web): State<Web>,
    Asked(query): Asked<TrapsQuery>,
) -> Result<Json<TrapsAnswer>, Problem> {
    let limit = limit_of(query.limit)?;
    if query.host.is_some() && query.strangers {
        return Err(Problem::bad_request("a host is no stranger: ask for one or the other"));
    }
    let TrapsQuery { host, strangers, before, .. } = query;
    let query = TrapQuery { asset: host, strangers, before, limit };
    let site = web.site();
    let kept = site.kept_traps(query).await.map_err(|e| {
        let said = format!("the stored traps cannot be read: {e}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "traps", said)
    })?;
    let next = kept.last().filter(|_| kept.len() == limit).map(|kept| kept.id);
    let catalogue = site.traps().catalogue();
    let traps = kept.into_iter().map(|kept| TrapRow::of(kept, catalogue)).collect();
    let received = site.traps().are_received();
    Ok(Json(TrapsAnswer { schema: SCHEMA, received, traps, next }))
}
