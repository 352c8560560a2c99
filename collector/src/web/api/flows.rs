//! Which connections hosts have seen, and over which their agents report: what a new policy is held
//! against.

use axum::Json;
use axum::extract::State;
use bailey_rules::fact::flows::{FlowWatch, SeenFlow};
use bailey_rules::fact::{FactKind, Reading};
use bailey_rules::host::Connection;
use bailey_rules::name::{HostKey, HostName, ZoneName};
use serde::{Deserialize, Serialize};

use super::{Asked, SCHEMA, page_of};
use crate::site::HostStatus;
use crate::web::Web;
use crate::web::problem::Problem;
use crate::web::shown::Shown;

/// The most hosts of one answer: each may have hundreds of flows.
const MAX_HOSTS: usize = 50;

/// One host of `GET /api/v1/flows`.
#[derive(Debug, Serialize)]
struct HostRow {
    host: HostName,
    key: HostKey,
    zone: ZoneName,
    connection: Option<Connection>,
    watch: Option<FlowWatch>,
    unreadable: Option<String>,
    flows: Vec<SeenFlow>,
}

impl HostRow {
    fn of(host: &HostStatus) -> Self {
        let view = &host.view;
        let held = view.facts.get(FactKind::FlowWatch, "");
        let unreadable = match held.map(|held| &*held.reading) {
            Some(Reading::Unreadable { why }) => Some(why.clone()),
            Some(Reading::Known(_)) | None => None,
        };
        Self {
            host: view.name.clone(),
            key: view.key,
            zone: view.zone.clone(),
            connection: view.session.connection,
            watch: view.facts.value::<FlowWatch>("").copied(),
            unreadable,
            flows: view.facts.values::<SeenFlow>().map(|(_, flow)| *flow).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowsQuery {
    host: Option<HostName>,
    after: Option<String>,
}

#[derive(Serialize)]
pub(super) struct FlowsAnswer {
    schema: u32,
    hosts: Vec<HostRow>,
    next: Option<String>,
}

pub(super) async fn list(
    State(web): State<Web>,
    Asked(query): Asked<FlowsQuery>,
) -> Result<Json<FlowsAnswer>, Problem> {
    if let Some(name) = &query.host {
        let host = web.site().host(name);
        let host = host.ok_or_else(|| Problem::not_found("no host of this name is enrolled"))?;
        let hosts = vec![HostRow::of(&host)];
        return Ok(Json(FlowsAnswer { schema: SCHEMA, hosts, next: None }));
    }
    let shown = Shown::of(&web);
    let after = query.after.as_deref();
    let matching =
        shown.hosts.iter().filter(|host| after.is_none_or(|after| host.view.name.as_str() > after));
    let (rows, next) = page_of(matching, MAX_HOSTS, |host| host.view.name.to_string());
    let hosts = rows.into_iter().map(|host| HostRow::of(host)).collect();
    Ok(Json(FlowsAnswer { schema: SCHEMA, hosts, next }))
}

#[cfg(test)]
mod tests {
    use bailey_rules::fact::Fact;
    use serde_json::json;

    use super::*;
    use crate::web::fixture::{Machine, NOW, policy};

    #[test]
    fn a_host_is_told_with_its_connection_its_flows_and_how_they_are_watched() {
        let flow = SeenFlow {
            from: [10, 1, 7, 20].into(),
            to: [10, 1, 3, 10].into(),
            protocol: 6,
            port: 443,
            count: 64,
            first: NOW,
            last: NOW,
        };
        let mut machine = Machine::new("oa-17", "inner", "10.1.7.20");
        machine.session.connection = Some(Connection {
            from: "10.1.7.20:40000".parse().unwrap(),
            to: "10.1.0.5:7710".parse().unwrap(),
        });
        machine.set(Fact::known(&flow.to_string(), flow));
        machine.set(Fact::known("", FlowWatch { since: NOW, forgotten: 2, overrun: 0 }));
        let row = serde_json::to_value(HostRow::of(&machine.judged(&policy()))).unwrap();
        assert_eq!(row["connection"], json!({"from": "10.1.7.20:40000", "to": "10.1.0.5:7710"}));
        assert_eq!(row["flows"], json!([flow]));
        assert_eq!((&row["watch"]["forgotten"], &row["unreadable"]), (&json!(2), &json!(null)));

        let mut blind = Machine::new("oa-18", "inner", "10.1.7.21");
        blind.set(Fact::unreadable(FactKind::FlowWatch, "", "needs CAP_NET_ADMIN"));
        let row = serde_json::to_value(HostRow::of(&blind.judged(&policy()))).unwrap();
        assert_eq!((&row["watch"], &row["flows"]), (&json!(null), &json!([])));
        assert_eq!(row["unreadable"], json!("needs CAP_NET_ADMIN"));
    }
}
