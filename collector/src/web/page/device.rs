//! One device: does it answer, is it well, and what passes through its ports?

use askama::Template;
use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bailey_rules::check::{self, Verdict};
use bailey_rules::device::Part;
use bailey_rules::device::poe::{Feeding, Supply};
use bailey_rules::device::processes::Process;
use bailey_rules::name::HostName;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::Asset;

use super::alerts::ShownFinding;
use super::host::{ShownEvent, shown_events};
use super::network::{LinkRow, link_row};
use super::{MAX_ROWS, Page};
use crate::device::DeviceStatus;
use crate::site::{Event, EventQuery};
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::frame::{self, Choice, Frame};
use crate::web::session::SignedIn;
use crate::web::shown::{Age, DEVICE_COMPONENTS, Mark, Shown, short_span};
use crate::web::words::Words;

/// This page.
pub const PAGE: Page = Page {
    path: "/network/{name}",
    word: None,
    routes: |router: Router<Web>| router.route("/network/{name}", get(show)),
};

/// The most verdicts of one component that are shown, the worst first.
const MAX_VERDICTS: usize = 60;

/// The most neighbours that are shown.
const MAX_NEIGHBOURS: usize = 100;

/// The most kinds of processes that are shown, those with the most memory first.
const MAX_PROCESSES: usize = 20;

/// The most routes that are shown.
const MAX_ROUTES: usize = 50;

async fn show(
    State(web): State<Web>,
    Path(name): Path<String>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
) -> Response {
    let device = name.parse::<HostName>().ok().and_then(|name| web.site().device(&name));
    let Some(device) = device else {
        return frame::plain_error(&choice, StatusCode::NOT_FOUND, choice.words().error_device);
    };
    let query = EventQuery { host: Some(device.view.name.clone()), before: None, limit: MAX_ROWS };
    let events =
        web.site().events(query).await.map_err(|e| e.text().in_lang(choice.lang).to_owned());
    let page = DevicePage::build(&Shown::of(&web), &device, events, &choice, caller.session());
    frame::page(&choice, StatusCode::OK, &page)
}

/// The page.
#[derive(Template)]
#[template(path = "device.html")]
pub struct DevicePage {
    w: &'static Words,
    frame: Frame,
    name: String,
    zone: String,
    zone_title: String,
    mark: Mark,
    head: Vec<Line>,
    findings: Vec<ShownFinding>,
    checks: Vec<CheckGroup>,
    parts: Vec<PartRow>,
    links: Vec<LinkRow>,
    more_links: usize,
    neighbours: Vec<NeighbourRow>,
    supplies: Vec<SupplyRow>,
    processes: Vec<ProcessRow>,
    more_processes: usize,
    routes: Vec<RouteRow>,
    more_routes: u64,
    events: Result<Vec<ShownEvent>, String>,
}

struct Line {
    word: &'static str,
    value: String,
    age: Option<Age>,
    warn: bool,
}

struct CheckGroup {
    component: &'static str,
    mark: Mark,
    rows: Vec<CheckRow>,
    left_out: usize,
}

struct CheckRow {
    title: String,
    subject: String,
    mark: Mark,
    why: String,
    stale: bool,
}

struct PartRow {
    part: String,
    read: Option<Age>,
    interval: String,
    stale: bool,
    failed: String,
}

struct NeighbourRow {
    port: String,
    name: String,
    far_port: String,
    chassis: String,
}

struct SupplyRow {
    name: u32,
    watts: String,
    delivering: usize,
}

struct ProcessRow {
    name: String,
    count: u32,
    memory: String,
}

struct RouteRow {
    destination: String,
    gateway: String,
    interface: String,
}

impl DevicePage {
    /// Builds the page. `events` are the newest of the device, or why the journal cannot be read.
    #[must_use]
    pub fn build(
        shown: &Shown,
        device: &DeviceStatus,
        events: Result<Vec<Event>, String>,
        choice: &Choice,
        session: Option<&SignedIn>,
    ) -> Self {
        let (w, lang) = (choice.words(), choice.lang);
        let view = &device.view;
        let wanted = shown.rule_files.for_host(&view.name, &view.zone).device;
        let mut findings: Vec<_> =
            shown.findings.iter().filter(|finding| finding.host == view.key).collect();
        findings.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.first_at, f.id));
        let interfaces = view.interfaces.value().map(Vec::as_slice).unwrap_or_default();
        let links = interfaces.iter().take(MAX_ROWS);
        let (largest, more_processes) = view
            .processes
            .value()
            .map_or_else(Default::default, |processes| processes.largest(MAX_PROCESSES));
        Self {
            w,
            frame: Frame::new(shown, choice, session, view.name.as_str()),
            name: view.name.to_string(),
            zone: view.zone.to_string(),
            zone_title: shown.zone_title(&view.zone).to_owned(),
            mark: Mark::of(device.state, lang),
            head: head(shown, device, choice),
            findings: findings.iter().map(|f| ShownFinding::of(f, shown, lang)).collect(),
            checks: checks(device, choice),
            parts: parts(shown, device, choice),
            links: links.map(|i| link_row(device, &wanted, i, w, lang)).collect(),
            more_links: interfaces.len().saturating_sub(MAX_ROWS),
            neighbours: neighbours(device),
            supplies: supplies(device),
            processes: largest.into_iter().map(process).collect(),
            more_processes,
            routes: routes(device).take(MAX_ROUTES).collect(),
            more_routes: more_routes(device),
            events: events.map(|events| shown_events(events, shown, choice)),
        }
    }
}

fn head(shown: &Shown, device: &DeviceStatus, choice: &Choice) -> Vec<Line> {
    let (w, lang) = (choice.words(), choice.lang);
    let view = &device.view;
    let age = |at: Timestamp| Age::of(at, shown.now, shown.local, lang);
    let mut lines = Vec::new();
    let mut line = |word, value: String, age, warn| lines.push(Line { word, value, age, warn });
    let polling = &view.polling;
    let never = if polling.answered_at.is_none() { w.never.to_owned() } else { String::new() };
    line(w.last_answer, never, polling.answered_at.map(age), polling.failed.is_some());
    if let Some(failed) = &polling.failed {
        line(w.no_answer_why, failed.in_lang(lang).to_owned(), None, true);
    }
    line(w.address, format!("{} SNMP{}", view.address, device.version), None, false);
    if let Some(place) = shown.place(&Asset::Device(view.name.clone()), lang) {
        line(w.place, place, None, false);
    }
    if let Some(identity) = view.identity.value() {
        let read = view.identity.read_at().map(age);
        let about = [(w.system, &identity.description), (w.own_name, &identity.name)];
        let about = about.into_iter().chain([(w.location, &identity.location)]);
        for (word, value) in about {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                line(word, value.clone(), read.clone(), false);
            }
        }
        if let Some(up) = identity.up {
            line(w.runs_since, short_span(up, lang), None, false);
        }
    }
    line(w.interval, short_span(polling.interval, lang), None, false);
    line(w.added, device.added_by.to_string(), Some(age(view.added_at)), false);
    lines
}

fn checks(device: &DeviceStatus, choice: &Choice) -> Vec<CheckGroup> {
    let lang = choice.lang;
    let of_component = |component: &str| -> Vec<(&'static check::Check, &Verdict)> {
        let judged = device.judged.iter().filter(|judged| judged.check.component == component);
        judged.flat_map(|judged| judged.verdicts.iter().map(|v| (judged.check, v))).collect()
    };
    DEVICE_COMPONENTS
        .iter()
        .filter_map(|component| {
            let mut verdicts = of_component(component);
            let state = verdicts.iter().map(|(_, verdict)| verdict.state()).max()?;
            // Stable: of equal ones the order of the checks stays.
            verdicts.sort_by_key(|(_, verdict)| std::cmp::Reverse(verdict.state()));
            let left_out = verdicts.len().saturating_sub(MAX_VERDICTS);
            verdicts.truncate(MAX_VERDICTS);
            let rows = verdicts.into_iter().map(|(check, verdict)| CheckRow {
                title: (check.title)().in_lang(lang).to_owned(),
                subject: verdict.subject.clone(),
                mark: Mark::of(verdict.state(), lang),
                why: verdict.why.in_lang(lang).to_owned(),
                stale: verdict.stale,
            });
            Some(CheckGroup {
                component: choice.words().component(component),
                mark: Mark::of(state, lang),
                rows: rows.collect(),
                left_out,
            })
        })
        .collect()
}

/// The parts that the device has or should have; what it does not have is not listed.
fn parts(shown: &Shown, device: &DeviceStatus, choice: &Choice) -> Vec<PartRow> {
    let view = &device.view;
    let had = Part::ALL.into_iter().filter(|part| !view.is_empty(*part));
    had.map(|part| {
        let freshness = view.freshness(part);
        PartRow {
            part: part.title().in_lang(choice.lang).to_owned(),
            read: freshness.read_at.map(|at| Age::of(at, shown.now, shown.local, choice.lang)),
            interval: short_span(view.interval_of(part), choice.lang),
            stale: freshness.is_stale(shown.now),
            failed: freshness
                .failed
                .map_or_else(String::new, |failed| failed.in_lang(choice.lang).to_owned()),
        }
    })
    .collect()
}

fn neighbours(device: &DeviceStatus) -> Vec<NeighbourRow> {
    let neighbours = device.view.neighbours.value().into_iter().flatten();
    neighbours
        .take(MAX_NEIGHBOURS)
        .map(|neighbour| NeighbourRow {
            port: neighbour.local_name.clone().unwrap_or_else(|| neighbour.local_port.to_string()),
            name: neighbour.name.clone().unwrap_or_default(),
            far_port: neighbour.port_description.clone().unwrap_or_else(|| neighbour.port.clone()),
            chassis: neighbour.chassis.clone(),
        })
        .collect()
}

fn supplies(device: &DeviceStatus) -> Vec<SupplyRow> {
    let Some(poe) = device.view.poe.value() else { return Vec::new() };
    let watts =
        |watts: Option<u64>| watts.map_or_else(|| "?".to_owned(), |watts| watts.to_string());
    let row = |supply: &Supply| {
        let of_it = poe.ports.iter().filter(|port| port.group == supply.group);
        SupplyRow {
            name: supply.group,
            watts: format!("{} / {} W", watts(supply.used), watts(supply.watts)),
            delivering: of_it.filter(|port| port.feeding == Feeding::Delivering).count(),
        }
    };
    poe.supplies.iter().take(MAX_ROWS).map(row).collect()
}

/// The processes of one program.
fn process(process: &Process) -> ProcessRow {
    ProcessRow {
        name: match (process.name.as_str(), process.path.as_str()) {
            (name, "") => name.to_owned(),
            (name, path) if path.ends_with(name) => path.to_owned(),
            (name, path) => format!("{name} ({path})"),
        },
        count: process.count,
        memory: process.memory.map(|memory| memory.to_string()).unwrap_or_default(),
    }
}

fn routes(device: &DeviceStatus) -> impl Iterator<Item = RouteRow> {
    let view = &device.view;
    let interfaces = view.interfaces.value().map(Vec::as_slice).unwrap_or_default();
    let named = |index: u32| {
        let known = interfaces.iter().find(|interface| interface.index == index);
        known.map_or_else(|| index.to_string(), |interface| interface.name.clone())
    };
    let routes = view.routes.value().into_iter().flat_map(|routes| &routes.list);
    routes.map(move |route| RouteRow {
        destination: route.destination.to_string(),
        gateway: route.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        interface: route.interface.map(named).unwrap_or_default(),
    })
}

/// How many routes the page does not show.
fn more_routes(device: &DeviceStatus) -> u64 {
    let Some(routes) = device.view.routes.value() else { return 0 };
    let shown = routes.list.len().min(MAX_ROUTES) as u64;
    routes.count.unwrap_or_default().max(routes.list.len() as u64) - shown
}
