//! Devices: reading them, and the admin verbs, which are answered on the Unix socket only. No answer
//! holds a credential.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use bailey_rules::check::State as AssetState;
use bailey_rules::check::device::{line, used};
use bailey_rules::device::addresses::Resolved;
use bailey_rules::device::bridge::Learned;
use bailey_rules::device::ethernet::Port;
use bailey_rules::device::hardware::Hardware;
use bailey_rules::device::interface::{Faults, Interface, Rate};
use bailey_rules::device::neighbour::Neighbour;
use bailey_rules::device::poe::Poe;
use bailey_rules::device::power::Power;
use bailey_rules::device::processes::Processes;
use bailey_rules::device::resources::Resources;
use bailey_rules::device::routes::Routes;
use bailey_rules::device::vendor::VendorValue;
use bailey_rules::device::{DeviceView, Identity, Part, Polling};
use bailey_rules::expectation::DeviceWanted;
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::answer::{CheckRow, FindingRow, Severities, check_rows, worst};
use super::enroll::actor_of;
use super::lines::LineRow;
use super::{Asked, Nothing, SCHEMA, Told, limit_of, page_of};
use crate::device::{Answer, DeviceError, DeviceStatus, Wish};
use crate::enrolment::Actor;
use crate::poll::doctor::Diagnosis;
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::problem::Problem;
use crate::web::shown::{Shown, in_zone};

/// Where devices are.
pub const PATH: &str = "/api/v1/devices";

fn refused(error: &DeviceError) -> Problem {
    let (status, kind) = match error {
        DeviceError::UnknownZone(_)
        | DeviceError::Credentials(_)
        | DeviceError::NoAddress { .. }
        | DeviceError::Ask(_) => (StatusCode::UNPROCESSABLE_ENTITY, "device"),
        DeviceError::NameTaken(_)
        | DeviceError::AddressTaken { .. }
        | DeviceError::Port(_)
        | DeviceError::TooMany => (StatusCode::CONFLICT, "device"),
        DeviceError::Unknown(_) => (StatusCode::NOT_FOUND, "not-found"),
        DeviceError::Busy | DeviceError::Store(_) | DeviceError::Vault(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "device")
        }
    };
    Problem::said(status, kind, error.text())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DevicesQuery {
    zone: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct DevicesAnswer {
    schema: u32,
    devices: Vec<DeviceRow>,
    next: Option<String>,
}

/// One device in a list.
#[derive(Debug, Serialize)]
pub struct DeviceRow {
    device: HostName,
    zone: ZoneName,
    address: SocketAddr,
    version: &'static str,
    state: AssetState,
    why: Option<Text>,
    vendor: Option<String>,
    description: Option<String>,
    answered_at: Option<Timestamp>,
    age_seconds: Option<f64>,
    interfaces: Option<usize>,
    findings: Severities,
    added_at: Timestamp,
    added_by: Actor,
}

impl DeviceRow {
    fn of(device: &DeviceStatus, shown: &Shown) -> Self {
        let view = &device.view;
        let identity = view.identity.value();
        let answered_at = view.polling.answered_at;
        Self {
            device: view.name.clone(),
            zone: view.zone.clone(),
            address: view.address,
            version: device.version,
            state: device.state,
            why: worst(&device.judged).map(|verdict| verdict.why.clone()),
            vendor: identity.and_then(|identity| identity.vendor.clone()),
            description: identity.and_then(|identity| identity.description.clone()),
            answered_at,
            age_seconds: answered_at.map(|at| at.age(shown.now).as_secs_f64()),
            interfaces: view.interfaces.value().map(Vec::len),
            findings: Severities::of(shown.findings.iter().filter(|f| f.host == view.key)),
            added_at: view.added_at,
            added_by: device.added_by.clone(),
        }
    }
}

pub(super) async fn list(
    State(web): State<Web>,
    Asked(query): Asked<DevicesQuery>,
) -> Result<Json<DevicesAnswer>, Problem> {
    let limit = limit_of(query.limit)?;
    let shown = Shown::of(&web);
    let matching = shown
        .devices
        .iter()
        .filter(|device| in_zone(device.view.zone.as_str(), query.zone.as_deref()))
        .filter(|device| query.after.as_deref().is_none_or(|a| device.view.name.as_str() > a));
    let (rows, next) = page_of(matching, limit, |device| device.view.name.to_string());
    let devices = rows.into_iter().map(|device| DeviceRow::of(device, &shown)).collect();
    Ok(Json(DevicesAnswer { schema: SCHEMA, devices, next }))
}

/// Everything that is known of a device.
#[derive(Serialize)]
pub struct DeviceAnswer {
    schema: u32,
    #[serde(flatten)]
    row: DeviceRow,
    polling: Polling,
    parts: Vec<PartRow>,
    identity: Option<Identity>,
    interfaces_seen: Vec<InterfaceRow>,
    lines: Vec<LineRow>,
    power: Option<Power>,
    poe: Option<Poe>,
    resources: Option<Resources>,
    processes: Option<Processes>,
    hardware: Option<Hardware>,
    vendor_values: Option<Vec<VendorValue>>,
    neighbours: Option<Vec<Neighbour>>,
    bridge: Option<Learned>,
    addresses: Option<BTreeSet<Resolved>>,
    routes: Option<Routes>,
    checks: Vec<CheckRow>,
    open: Vec<FindingRow>,
}

#[derive(Serialize)]
struct PartRow {
    part: Part,
    title: Text,
    read_at: Option<Timestamp>,
    interval_seconds: f64,
    stale: bool,
    failed: Option<Text>,
}

#[derive(Serialize)]
struct InterfaceRow {
    #[serde(flatten)]
    interface: Interface,
    ethernet: Option<Port>,
    /// The line that it is by the rule files.
    line: Option<String>,
    rated_bits: Option<u64>,
    /// Octets a second between the last two polls.
    rate: Rate,
    /// Use on average over a quarter of an hour, in tenths of a percent.
    used_permille: Option<u32>,
    faults: Option<Faults>,
}

impl InterfaceRow {
    fn of(view: &DeviceView, wanted: &DeviceWanted, interface: &Interface) -> Self {
        let line = line(wanted, interface);
        let used = used(view, wanted, interface);
        let window = view.traffic.get(&interface.index);
        Self {
            ethernet: view.ethernet.value().and_then(|ports| ports.get(&interface.index).copied()),
            line: line.map(|line| line.name.clone().unwrap_or_else(|| interface.name.clone())),
            rated_bits: line.map(|line| line.rated.0),
            rate: used.map(|used| used.newest).unwrap_or_default(),
            used_permille: used.and_then(|used| used.part).map(|part| part.0),
            faults: window.map(bailey_rules::device::interface::Window::faults),
            interface: interface.clone(),
        }
    }
}

impl DeviceAnswer {
    fn of(device: &DeviceStatus, shown: &Shown) -> Self {
        let view = &device.view;
        let wanted = shown.rule_files.for_host(&view.name, &view.zone).device;
        let parts = Part::ALL.into_iter().map(|part| {
            let freshness = view.freshness(part);
            PartRow {
                part,
                title: part.title(),
                read_at: freshness.read_at,
                interval_seconds: freshness.interval.as_secs_f64(),
                stale: freshness.is_stale(shown.now),
                failed: freshness.failed.cloned(),
            }
        });
        let interfaces = view.interfaces.value().into_iter().flatten();
        let lines = wanted.lines.iter();
        let lines = lines.map(|(key, line)| LineRow::of(device, &wanted, key, line));
        let open = shown.findings.iter().filter(|finding| finding.host == view.key);
        Self {
            schema: SCHEMA,
            row: DeviceRow::of(device, shown),
            polling: view.polling.clone(),
            parts: parts.collect(),
            identity: view.identity.value().cloned(),
            interfaces_seen: interfaces.map(|i| InterfaceRow::of(view, &wanted, i)).collect(),
            lines: lines.collect(),
            power: view.power.value().cloned().flatten(),
            poe: view.poe.value().cloned(),
            resources: view.resources.value().cloned(),
            processes: view.processes.value().cloned(),
            hardware: view.hardware.value().cloned(),
            vendor_values: view.vendor_values.value().cloned(),
            neighbours: view.neighbours.value().cloned(),
            bridge: view.bridge.value().cloned(),
            addresses: view.addresses.value().cloned(),
            routes: view.routes.value().cloned(),
            checks: check_rows(&device.judged),
            open: open.cloned().map(|finding| FindingRow::of(finding, shown.now)).collect(),
        }
    }
}

pub(super) async fn one(
    State(web): State<Web>,
    Path(name): Path<String>,
    _: Asked<Nothing>,
) -> Result<Json<DeviceAnswer>, Problem> {
    let device = name.parse::<HostName>().ok().and_then(|name| web.site().device(&name));
    let device = device.ok_or_else(|| Problem::not_found("there is no device of this name"))?;
    Ok(Json(DeviceAnswer::of(&device, &Shown::of(&web))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddWish {
    address: String,
    port: u16,
    zone: ZoneName,
    #[serde(default)]
    name: Option<HostName>,
    credentials: String,
}

/// What came of adding a device, or of other credentials.
#[derive(Serialize)]
pub(super) struct TakenAnswer {
    schema: u32,
    taken: bool,
    device: Option<DeviceRow>,
    fault: Option<FaultRow>,
}

#[derive(Serialize)]
struct FaultRow {
    /// The stable name.
    fault: &'static str,
    said: Text,
    next: Vec<Text>,
    steps: Vec<Text>,
}

impl TakenAnswer {
    fn of(answer: Answer, shown: &Shown) -> Self {
        let (device, fault) = match answer {
            Answer::Taken(device) => (Some(DeviceRow::of(&device, shown)), None),
            Answer::Faulty(diagnosis) => {
                let Diagnosis { fault, steps, .. } = *diagnosis;
                let row = fault.map(|fault| FaultRow {
                    fault: fault.name(),
                    said: fault.said(),
                    next: fault.next(),
                    steps,
                });
                (None, row)
            }
        };
        Self { schema: SCHEMA, taken: device.is_some(), device, fault }
    }
}

pub(super) async fn add(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Told(wish): Told<AddWish>,
) -> Result<Json<TakenAnswer>, Problem> {
    let AddWish { address, port, zone, name, credentials } = wish;
    let wish = Wish { address, port, zone, name, credentials };
    let answer = web.devices().add(wish, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    Ok(Json(TakenAnswer::of(answer, &Shown::of(&web))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialsWish {
    credentials: String,
}

pub(super) async fn credentials(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<HostName>,
    Told(wish): Told<CredentialsWish>,
) -> Result<Json<TakenAnswer>, Problem> {
    let changed = web.devices().set_credentials(&name, &wish.credentials, actor_of(&caller));
    let answer = changed.await.map_err(|e| refused(&e))?;
    Ok(Json(TakenAnswer::of(answer, &Shown::of(&web))))
}

#[derive(Serialize)]
pub(super) struct RemovedAnswer {
    schema: u32,
    device: HostName,
}

pub(super) async fn remove(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<HostName>,
    Told(Nothing {}): Told<Nothing>,
) -> Result<Json<RemovedAnswer>, Problem> {
    web.devices().remove(&name, actor_of(&caller)).await.map_err(|e| refused(&e))?;
    Ok(Json(RemovedAnswer { schema: SCHEMA, device: name }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::fixture;

    #[test]
    fn a_line_is_told_once_beside_the_interface_that_it_is() {
        let shown = fixture::with_lines("x");
        let answer = DeviceAnswer::of(&shown.devices[0], &shown);
        let answer = serde_json::to_value(answer).unwrap();
        let interface = &answer["interfaces_seen"][0];
        assert_eq!(
            (&interface["name"], &interface["line"]),
            (&json!("GE0/0/1"), &json!("province"))
        );
        assert_eq!(answer["lines"][0]["far_end"]["far"], "10.254.0.1");
        for told in ["exit", "far_end", "month_95_bits", "month_samples"] {
            assert!(answer["lines"][0].get(told).is_some(), "{told}: {answer}");
            assert!(interface.get(told).is_none(), "{told}: {interface}");
        }
    }
}
