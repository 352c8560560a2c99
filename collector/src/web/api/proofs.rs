//! What is known of the invariants, now and at any time before.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bailey_rules::name::SiteName;
use bailey_rules::prove::site::told::{Proof, Standing};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Asked, SCHEMA, limit_of};
use crate::proving::record::{Row, read_at, read_history};
use crate::proving::{FRESH_FOR, Stands};
use crate::store::StoreError;
use crate::web::Web;
use crate::web::problem::Problem;
use crate::web::shown::Shown;

/// `GET /api/v1/proofs`.
#[derive(Debug, Serialize)]
pub(super) struct ProofsAnswer {
    schema: u32,
    site: SiteName,
    /// Of which time this is the answer.
    at: Timestamp,
    invariants: Vec<ProofRow>,
}

/// One invariant.
#[derive(Debug, Serialize)]
pub(super) struct ProofRow {
    /// What it amounted to.
    standing: Standing,
    /// Since when the answer is what it is.
    since: Option<Timestamp>,
    /// When it was last seen to hold.
    seen_at: Option<Timestamp>,
    /// Why it says nothing of what was there then.
    old: Option<Text>,
    #[serde(flatten)]
    said: Said,
}

/// What a proof says, or that there is none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Said {
    Proof(Box<Proof>),
    Nothing { invariant: String, line: Option<u64> },
}

impl ProofRow {
    fn now(stands: &Stands<'_>) -> Self {
        Self {
            standing: stands.standing,
            since: stands.held.map(|held| held.since),
            seen_at: stands.held.and_then(|held| held.seen_at),
            old: stands.old.clone(),
            said: match stands.held {
                Some(held) => Said::Proof(Box::new(Proof::clone(&held.proof))),
                None => {
                    Said::Nothing { invariant: stands.name.to_owned(), line: Some(stands.line) }
                }
            },
        }
    }

    fn then(row: Row, at: Timestamp) -> Self {
        let standing = row.standing_at(at);
        let seen_at = (row.to >= row.from).then_some(row.to.min(at));
        let is_old = seen_at.is_none_or(|seen_at| seen_at.age(at) > FRESH_FOR);
        let told = seen_at.unwrap_or(row.from);
        Self {
            standing,
            since: Some(row.from),
            seen_at,
            old: is_old.then(|| {
                Text::new(
                    format!("nobody looked between {told} and then"),
                    format!("自 {told} 起至该时刻未再证明"),
                )
            }),
            said: Said::Proof(Box::new(row.proof)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofsQuery {
    at: Option<Timestamp>,
}

fn unreadable(error: &StoreError) -> Problem {
    let why = error.text();
    let why = Text::new(
        format!("the history of proofs cannot be read: {}", why.en),
        format!("无法读取证明的历史：{}", why.zh),
    );
    Problem::said(StatusCode::SERVICE_UNAVAILABLE, "proofs", why)
}

/// Every invariant, now or at a time before.
pub(super) async fn list(
    State(web): State<Web>,
    Asked(query): Asked<ProofsQuery>,
) -> Result<Json<ProofsAnswer>, Problem> {
    let shown = Shown::of(&web);
    let Some(at) = query.at else {
        return Ok(Json(ProofsAnswer {
            schema: SCHEMA,
            site: shown.policy.site.clone(),
            at: shown.now,
            invariants: shown.standings().iter().map(ProofRow::now).collect(),
        }));
    };
    if at > shown.now {
        return Err(Problem::bad_request("at lies in the future; what will be is not known"));
    }
    let read = move |store: &rusqlite::Connection| read_at(store, at);
    let rows = web.site().store().read("read the history of proofs", read).await;
    let rows = rows.map_err(|error| unreadable(&error))?;
    Ok(Json(ProofsAnswer {
        schema: SCHEMA,
        site: shown.policy.site.clone(),
        at,
        invariants: rows.into_iter().map(|row| ProofRow::then(row, at)).collect(),
    }))
}

/// `GET /api/v1/proofs/{invariant}`.
#[derive(Debug, Serialize)]
pub(super) struct ProofAnswer {
    schema: u32,
    /// What it is now; nothing where the policy has none of the name any more.
    now: Option<ProofRow>,
    /// What it was, newest first.
    history: Vec<HistoryRow>,
    /// The cursor of the next page, in milliseconds since 1970.
    next: Option<i64>,
}

#[derive(Debug, Serialize)]
struct HistoryRow {
    from: Timestamp,
    to: Timestamp,
    #[serde(flatten)]
    proof: Proof,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    before: Option<i64>,
    limit: Option<usize>,
}

/// One invariant with its history.
pub(super) async fn one(
    State(web): State<Web>,
    Path(name): Path<String>,
    Asked(query): Asked<HistoryQuery>,
) -> Result<Json<ProofAnswer>, Problem> {
    let limit = limit_of(query.limit)?;
    let shown = Shown::of(&web);
    let before = Timestamp::from_millis(query.before.unwrap_or(i64::MAX));
    let invariant = name.clone();
    let read = move |store: &rusqlite::Connection| read_history(store, &invariant, before, limit);
    let rows = web.site().store().read("read the history of proofs", read).await;
    let rows = rows.map_err(|error| unreadable(&error))?;
    let standings = shown.standings();
    let now = standings.iter().find(|stands| stands.name == name).map(ProofRow::now);
    if now.is_none() && rows.is_empty() {
        return Err(Problem::not_found("the policy has no invariant of this name"));
    }
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.from.as_millis());
    let history =
        rows.into_iter().map(|row| HistoryRow { from: row.from, to: row.to, proof: row.proof });
    Ok(Json(ProofAnswer { schema: SCHEMA, now, history: history.collect(), next }))
}
