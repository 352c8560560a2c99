//! How the site is wired: links between devices, where everything else is plugged in, and why who is
//! silent is.

use axum::Json;
use axum::extract::State;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::cause::Cause;
use bailey_rules::topology::{
    Asset, Attachment, Confidence, Conflict, Evidence, Link, PortNumber, Stranger,
};
use serde::{Deserialize, Serialize};

use super::{Asked, SCHEMA, limit_of, page_of};
use crate::site::Site;
use crate::web::Web;
use crate::web::problem::Problem;

/// Where it is.
pub(super) const PATH: &str = "/api/v1/topology";

/// The most conflicts and strangers of one answer.
const MAX_NAMED: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The place after which the page begins.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Answer {
    schema: u32,
    /// When it was inferred.
    at: Option<Timestamp>,
    /// What the collector itself is at.
    collector_at: Vec<Asset>,
    links: Vec<LinkRow>,
    /// By asset; the next page begins after `next`.
    places: Vec<PlaceRow>,
    next: Option<String>,
    /// Why each silent asset is.
    silent: Vec<SilentRow>,
    strangers: Vec<Stranger>,
    conflicts: Vec<ConflictRow>,
}

/// A port of a device.
#[derive(Serialize)]
struct EndRow {
    device: String,
    port: Option<PortNumber>,
    port_name: Option<String>,
}

#[derive(Serialize)]
struct LinkRow {
    ends: [EndRow; 2],
    confidence: Confidence,
    shared: bool,
    evidence: Vec<Text>,
}

#[derive(Serialize)]
struct PlaceRow {
    asset: Asset,
    mac: String,
    at: EndRow,
    vlan: Option<u32>,
    confidence: Confidence,
    others: usize,
    evidence: Vec<Text>,
}

#[derive(Serialize)]
struct SilentRow {
    asset: Asset,
    /// `root`, `behind` or `waiting`.
    cause: &'static str,
    by: Vec<Asset>,
}

#[derive(Serialize)]
struct ConflictRow {
    #[serde(flatten)]
    conflict: Conflict,
    text: Text,
}

fn end(site: &Site, device: &bailey_rules::name::HostName, port: Option<PortNumber>) -> EndRow {
    let port_name = port.and_then(|port| site.port_name(device, port));
    EndRow { device: device.to_string(), port, port_name }
}

fn texts(evidence: &[Evidence]) -> Vec<Text> {
    evidence.iter().map(Evidence::text).collect()
}

fn link(site: &Site, link: &Link) -> LinkRow {
    LinkRow {
        ends: link.ends.each_ref().map(|at| end(site, &at.device, at.port)),
        confidence: link.confidence,
        shared: link.shared,
        evidence: texts(&link.evidence),
    }
}

fn place(site: &Site, place: &Attachment) -> PlaceRow {
    PlaceRow {
        asset: place.asset.clone(),
        mac: place.mac.to_string(),
        at: end(site, &place.device, Some(place.port)),
        vlan: place.vlan,
        confidence: place.confidence,
        others: place.others,
        evidence: texts(&place.evidence),
    }
}

/// What a cursor says of a place.
fn cursor(place: &PlaceRow) -> String {
    let kind = match place.asset {
        Asset::Device(_) => "device",
        Asset::Host(_) => "host",
    };
    format!("{kind}:{}:{}", place.asset.name(), place.mac)
}

pub(super) async fn all(
    State(web): State<Web>,
    Asked(query): Asked<Query>,
) -> Result<Json<Answer>, Problem> {
    let limit = limit_of(query.limit)?;
    let site = web.site();
    let wiring = site.wiring();
    let topology = &wiring.topology;
    let mut rows: Vec<PlaceRow> =
        topology.attachments.iter().map(|found| place(site, found)).collect();
    rows.sort_by_cached_key(cursor);
    let after = query.after;
    let rest =
        rows.into_iter().filter(|row| after.as_ref().is_none_or(|after| cursor(row) > *after));
    let (places, next) = page_of(rest, limit, cursor);
    let silent = wiring.causes.iter().map(|(asset, cause)| {
        let (cause, by) = match cause {
            Cause::Root => ("root", Vec::new()),
            Cause::Behind(by) => ("behind", by.clone()),
            Cause::Waiting(by) => ("waiting", by.clone()),
        };
        SilentRow { asset: asset.clone(), cause, by }
    });
    let conflicts = topology.conflicts.iter().take(MAX_NAMED);
    Ok(Json(Answer {
        schema: SCHEMA,
        at: wiring.at,
        collector_at: wiring.collector_at.iter().cloned().collect(),
        links: topology.links.iter().map(|found| link(site, found)).collect(),
        places,
        next,
        silent: silent.collect(),
        strangers: topology.strangers.iter().take(MAX_NAMED).cloned().collect(),
        conflicts: conflicts
            .map(|conflict| ConflictRow { text: conflict.text(), conflict: conflict.clone() })
            .collect(),
    }))
}
