//! What becomes of one connection on its way through the site and back, by what is known of it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bailey_rules::prove::site::follow::{Asked as Connection, Followed};
use serde::{Deserialize, Serialize};

use super::{Asked, SCHEMA};
use crate::web::Web;
use crate::web::problem::Problem;

/// The longest name of an end, in octets: that of a host, with its port and protocol.
const MAX_END: usize = 280;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceQuery {
    /// Who opens it: an address, or a host of the policy.
    src: String,
    /// To whom and by what: `10.1.2.10:443/tcp`.
    dst: String,
}

/// `GET /api/v1/trace?src=&dst=`.
#[derive(Debug, Serialize)]
pub(super) struct TraceAnswer {
    schema: u32,
    #[serde(flatten)]
    followed: Followed,
}

pub(super) async fn one(
    State(web): State<Web>,
    Asked(query): Asked<TraceQuery>,
) -> Result<Json<TraceAnswer>, Problem> {
    let TraceQuery { src, dst } = query;
    if src.len().max(dst.len()) > MAX_END {
        return Err(Problem::bad_request(format!("src and dst have at most {MAX_END} octets")));
    }
    let policy = web.site().config().policy.clone();
    let asked = Connection::parse(&policy, &src, &dst)
        .map_err(|why| Problem::bad_request(why.to_string()))?;
    let followed = web.site().follow(asked).await.map_err(|why| {
        Problem::said(StatusCode::SERVICE_UNAVAILABLE, "not-followed", why.text())
    })?;
    Ok(Json(TraceAnswer { schema: SCHEMA, followed }))
}
