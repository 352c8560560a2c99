//! Network: which device is silent, which link is full, wrong or slow?

use std::cmp::Reverse;
use std::rc::Rc;

use askama::Template;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bailey_rules::check::device::{interface_of, line, used};
use bailey_rules::check::{self, Verdict};
use bailey_rules::device::ethernet::Duplex;
use bailey_rules::device::interface::{Interface, Link, Window};
use bailey_rules::device::line::Month;
use bailey_rules::expectation::DeviceWanted;
use bailey_rules::text::Lang;
use bailey_rules::topology::{End, Link as Wire};
use bailey_rules::unit::{BitRate, PerMillion};

use super::{MAX_ROWS, Page};
use crate::device::DeviceStatus;
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::frame::{self, Choice, Filter, Frame};
use crate::web::session::SignedIn;
use crate::web::shown::{Age, Mark, Shown, in_zone, range};
use crate::web::words::{Words, filled};

/// This page.
pub const PAGE: Page = Page {
    path: "/network",
    word: Some(|w| w.network),
    routes: |router: Router<Web>| router.route("/network", get(show)),
};

/// The most links that are shown, the busiest first.
const MAX_LINKS: usize = 100;

async fn show(
    State(web): State<Web>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
) -> Response {
    let page = NetworkPage::build(&Shown::of(&web), &choice, caller.session());
    frame::page(&choice, StatusCode::OK, &page)
}

/// The page.
#[derive(Template)]
#[template(path = "network.html")]
pub struct NetworkPage {
    w: &'static Words,
    frame: Frame,
    first_run: bool,
    add_command: &'static str,
    nothing_matches: bool,
    counts: Vec<(Mark, usize)>,
    rows: Vec<Row>,
    range: String,
    first_href: Option<String>,
    more_href: Option<String>,
    lines: Vec<LineRow>,
    more_lines: usize,
    links: Vec<LinkRow>,
    more_links: usize,
    wires: Vec<WireRow>,
    more_wires: usize,
    disagreements: Vec<String>,
}

/// A link between two devices.
struct WireRow {
    /// Device and port.
    ends: Vec<(String, String)>,
    confidence: String,
    evidence: String,
    shared: bool,
}

/// A line of the table of lines.
struct LineRow {
    mark: Mark,
    device: String,
    interface: String,
    /// The device has no such interface.
    missing: bool,
    also: String,
    exit: bool,
    rated: String,
    used: String,
    /// For the bar, in whole percent up to 100.
    bar: u32,
    month: String,
    far: String,
    round_trip: String,
    loss: String,
    available: String,
}

struct Row {
    name: String,
    zone: String,
    mark: Mark,
    why: String,
    address: String,
    model: String,
    answered: Option<Age>,
    ports: String,
    findings: usize,
}

/// A link of the table of links, or an interface of a device.
pub(super) struct LinkRow {
    pub(super) device: String,
    pub(super) name: String,
    pub(super) also: String,
    /// The aggregate that it is a part of.
    pub(super) aggregate: String,
    pub(super) mark: Mark,
    pub(super) link: &'static str,
    pub(super) speed: String,
    pub(super) is_line: bool,
    pub(super) receives: String,
    pub(super) sends: String,
    /// In tenths of a percent, to sort by.
    pub(super) permille: u32,
    pub(super) used: String,
    /// For the bar, in whole percent up to 100.
    pub(super) bar: u32,
    pub(super) errors: String,
    pub(super) duplex: &'static str,
}

impl NetworkPage {
    /// Builds the page. Devices are in order of their state, worst first, then of their name.
    #[must_use]
    pub fn build(shown: &Shown, choice: &Choice, session: Option<&SignedIn>) -> Self {
        let (w, lang, filter) = (choice.words(), choice.lang, &choice.filter);
        let mut devices: Vec<_> =
            shown.devices.iter().filter(|device| matches(device, filter)).collect();
        devices.sort_by_key(|device| (Reverse(device.state), device.view.name.clone()));
        let skipped = filter
            .after
            .as_deref()
            .map_or(0, |cursor| devices.partition_point(|device| !is_after(device, cursor)));
        let rest = &devices[skipped..];
        let here = &rest[..rest.len().min(MAX_ROWS)];
        let more_href = (rest.len() > here.len())
            .then(|| filter.after(here.last().map(|device| cursor(device))).href("/network"));
        let mut links: Vec<LinkRow> = Vec::new();
        let mut lines: Vec<Line> = Vec::new();
        for device in &devices {
            let view = &device.view;
            let wanted = Rc::new(shown.rule_files.for_host(&view.name, &view.zone).device);
            links.extend(links_of(device, &wanted, w, lang));
            lines.extend(wanted.lines.keys().map(|key| Line::of(device, &wanted, key)));
        }
        links.sort_by_key(|link| (Reverse(link.permille), link.device.clone(), link.name.clone()));
        let more_links = links.len().saturating_sub(MAX_LINKS);
        links.truncate(MAX_LINKS);
        // What was used of a line, and how its far end answers, is worked out only of those shown.
        lines.sort_by(|a, b| a.order().cmp(&b.order()));
        let more_lines = lines.len().saturating_sub(MAX_LINKS);
        lines.truncate(MAX_LINKS);
        let mut wires: Vec<WireRow> = shown
            .wiring
            .topology
            .links
            .iter()
            .filter_map(|link| wire(shown, link, choice))
            .collect();
        let more_wires = wires.len().saturating_sub(MAX_LINKS);
        wires.truncate(MAX_LINKS);
        Self {
            w,
            frame: Frame::new(shown, choice, session, w.network),
            first_run: shown.devices.is_empty(),
            add_command: "bailey device add 10.1.0.2 --zone inner --credentials core-1.yaml",
            nothing_matches: !shown.devices.is_empty() && devices.is_empty(),
            counts: check::State::ALL
                .into_iter()
                .zip(shown.device_counts(filter.zone.as_deref()))
                .rev()
                .filter(|(_, count)| *count > 0)
                .map(|(state, count)| (Mark::of(state, lang), count))
                .collect(),
            rows: here.iter().map(|device| row(shown, device, lang)).collect(),
            range: filled(w.shown_of, range(skipped, here.len())) + &devices.len().to_string(),
            first_href: (skipped > 0).then(|| filter.after(None).href("/network")),
            more_href,
            lines: lines.iter().filter_map(|line| line.row(w, lang)).collect(),
            more_lines,
            links,
            more_links,
            wires,
            more_wires,
            disagreements: shown
                .wiring
                .topology
                .conflicts
                .iter()
                .take(MAX_LINKS)
                .map(|conflict| conflict.text().in_lang(lang).to_owned())
                .collect(),
        }
    }
}

/// A link between two devices, one of which is in the zone that is shown.
fn wire(shown: &Shown, link: &Wire, choice: &Choice) -> Option<WireRow> {
    let zone = choice.filter.zone.as_deref();
    let in_it = link.ends.iter().any(|end| {
        let device = shown.devices.iter().find(|device| device.view.name == end.device);
        device.is_some_and(|device| in_zone(device.view.zone.as_str(), zone))
    });
    let end = |end: &End| {
        let port =
            end.port.map_or_else(|| "?".to_owned(), |port| shown.port_name(&end.device, port));
        (end.device.to_string(), port)
    };
    let lang = choice.lang;
    let evidence = link.evidence.iter().map(|evidence| evidence.text().in_lang(lang).to_owned());
    in_it.then(|| WireRow {
        ends: link.ends.iter().map(end).collect(),
        confidence: link.confidence.word().in_lang(lang).to_owned(),
        evidence: evidence.collect::<Vec<_>>().join(match lang {
            Lang::En => "; ",
            Lang::Zh => "；",
        }),
        shared: link.shared,
    })
}

/// Where a device stands in the order of the page.
fn cursor(device: &DeviceStatus) -> String {
    format!("{}:{}", device.state.as_str(), device.view.name)
}

/// Whether `device` comes after the cursor. A cursor that is none of ours hides nothing.
fn is_after(device: &DeviceStatus, cursor: &str) -> bool {
    let Some((state, name)) = cursor.split_once(':') else { return true };
    let Some(state) = check::State::ALL.into_iter().find(|known| known.as_str() == state) else {
        return true;
    };
    (Reverse(device.state), device.view.name.as_str()) > (Reverse(state), name)
}

fn matches(device: &DeviceStatus, filter: &Filter) -> bool {
    in_zone(device.view.zone.as_str(), filter.zone.as_deref())
        && filter.state.as_deref().is_none_or(|state| state == device.state.as_str())
        && filter.q.as_deref().is_none_or(|text| is_found(device, text))
}

/// Whether the search text, in lower case, is part of the device's name, address, ports or what it says
/// of itself.
fn is_found(device: &DeviceStatus, text: &str) -> bool {
    let view = &device.view;
    let identity = view.identity.value();
    let said = identity.into_iter().flat_map(|identity| {
        [&identity.name, &identity.description, &identity.location, &identity.vendor]
    });
    let ports = view.interfaces.value().into_iter().flatten();
    view.name.as_str().contains(text)
        || view.address.to_string().contains(text)
        || said.flatten().any(|said| said.to_lowercase().contains(text))
        || ports.into_iter().any(|port| {
            port.alias.to_lowercase().contains(text)
                || port.mac.is_some_and(|mac| mac.to_string() == text)
        })
}

fn row(shown: &Shown, device: &DeviceStatus, lang: Lang) -> Row {
    let view = &device.view;
    let identity = view.identity.value();
    let ports = view.interfaces.value().map(|interfaces| {
        let up = interfaces.iter().filter(|interface| interface.link == Link::Up).count();
        format!("{up}/{}", interfaces.len())
    });
    Row {
        name: view.name.to_string(),
        zone: view.zone.to_string(),
        mark: Mark::of(device.state, lang),
        why: worst_why(device, lang),
        address: view.address.to_string(),
        model: identity
            .and_then(|identity| identity.description.clone().or(identity.vendor.clone()))
            .unwrap_or_default(),
        answered: view.polling.answered_at.map(|at| Age::of(at, shown.now, shown.local, lang)),
        ports: ports.unwrap_or_else(|| "–".to_owned()),
        findings: shown.findings.iter().filter(|finding| finding.host == view.key).count(),
    }
}

/// The reason of the worst verdict; empty for a device that is as the site demands.
fn worst_why(device: &DeviceStatus, lang: Lang) -> String {
    device
        .judged
        .iter()
        .flat_map(|judged| &judged.verdicts)
        .filter(|verdict| verdict.state() != check::State::Ok)
        .max_by_key(|verdict| verdict.state())
        .map(|verdict| verdict.why.in_lang(lang).to_owned())
        .unwrap_or_default()
}

/// A line of a device, and how bad it is.
struct Line<'a> {
    device: &'a DeviceStatus,
    wanted: Rc<DeviceWanted>,
    /// What the rule files know it by.
    key: String,
    /// The worst that a check says of it.
    worst: Option<check::State>,
}

impl<'a> Line<'a> {
    fn of(device: &'a DeviceStatus, wanted: &Rc<DeviceWanted>, key: &str) -> Self {
        let interface = interface_of(&device.view, key).map_or(key, |known| &known.name);
        let worst = device.network_verdicts(interface).map(Verdict::state).max();
        Self { device, wanted: Rc::clone(wanted), key: key.to_owned(), worst }
    }

    /// The worst first, then by device and key.
    fn order(&self) -> (Reverse<check::State>, &str, &str) {
        let state = self.worst.unwrap_or(check::State::Ok);
        (Reverse(state), self.device.view.name.as_str(), &self.key)
    }

    /// What is known of it.
    fn row(&self, w: &'static Words, lang: Lang) -> Option<LineRow> {
        let Self { device, wanted, key, worst } = self;
        let line = wanted.lines.get(key)?;
        let view = &device.view;
        let none = || "–".to_owned();
        let known = interface_of(view, key);
        let interface = known.map_or(key, |known| &known.name);
        let part = known.and_then(|known| used(view, wanted, known)).and_then(|used| used.part);
        let month = view.lines.get(interface).and_then(Month::percentile_95);
        let quality = view.quality.get(key);
        let lately = quality.and_then(|quality| quality.lately());
        let far = quality.map(|quality| quality.ask).or(line.ask);
        Some(LineRow {
            mark: worst.map_or_else(|| Mark::none(w.not_judged), |state| Mark::of(state, lang)),
            device: view.name.to_string(),
            interface: interface.to_owned(),
            missing: known.is_none() && view.interfaces.value().is_some(),
            also: line.name.clone().unwrap_or_default(),
            exit: line.exit,
            rated: line.rated.to_string(),
            used: part.map_or_else(none, |part| part.to_string()),
            bar: part.map_or(0, |part| (part.0 / 10).min(100)),
            month: month.map_or_else(none, |octets| BitRate::of_octets(octets).to_string()),
            far: far.map_or_else(none, |ask| ask.to_string()),
            round_trip: lately
                .and_then(|lately| lately.round_trip)
                .map_or_else(none, |took| format!("{:.1} ms", took.as_secs_f64() * 1000.0)),
            loss: lately.map_or_else(none, |lately| lately.lost.to_string()),
            available: quality
                .and_then(|quality| quality.availability())
                .map_or_else(none, |part| format!("{}.{:03} %", part / 10_000, part % 10_000 / 10)),
        })
    }
}

/// The lines of a device, and its other interfaces that pass anything.
fn links_of(
    device: &DeviceStatus,
    wanted: &DeviceWanted,
    w: &'static Words,
    lang: Lang,
) -> Vec<LinkRow> {
    let view = &device.view;
    let interfaces = view.interfaces.value().into_iter().flatten();
    let shown = interfaces.filter(|interface| {
        line(wanted, interface).is_some()
            || mark(device, interface, lang).is_some_and(|m| m.1)
            || used(view, wanted, interface).and_then(|used| used.part).is_some_and(|p| p.0 >= 10)
    });
    shown.map(|interface| link_row(device, wanted, interface, w, lang)).collect()
}

/// The worst state that checks give an interface, and whether it is worse than well.
fn mark(device: &DeviceStatus, interface: &Interface, lang: Lang) -> Option<(Mark, bool)> {
    let state = device.network_verdicts(&interface.name).map(Verdict::state).max()?;
    Some((Mark::of(state, lang), state > check::State::Unknown))
}

pub(super) fn link_row(
    device: &DeviceStatus,
    wanted: &DeviceWanted,
    interface: &Interface,
    w: &'static Words,
    lang: Lang,
) -> LinkRow {
    let view = &device.view;
    let line = line(wanted, interface);
    let used = used(view, wanted, interface);
    let rate = |octets: Option<u64>| {
        octets.map_or_else(|| "–".to_owned(), |o| BitRate::of_octets(o).to_string())
    };
    let newest = used.map(|used| used.newest).unwrap_or_default();
    let part = used.and_then(|used| used.part);
    let faults = view.traffic.get(&interface.index).map(Window::faults);
    let errors = faults.and_then(|faults| PerMillion::of(faults.errors, faults.packets));
    let port = view.ethernet.value().and_then(|ports| ports.get(&interface.index));
    let also = line.and_then(|line| line.name.clone()).unwrap_or_else(|| interface.alias.clone());
    let aggregate = port.and_then(|port| port.aggregate).and_then(|number| {
        let mut interfaces = view.interfaces.value()?.iter();
        interfaces.find(|other| other.index == number).map(|other| other.name.clone())
    });
    LinkRow {
        device: view.name.to_string(),
        name: interface.name.clone(),
        also,
        aggregate: aggregate.unwrap_or_default(),
        mark: mark(device, interface, lang)
            .map_or_else(|| Mark::none(w.not_judged), |(mark, _)| mark),
        link: match (interface.wanted, interface.link) {
            (Link::Down, _) => w.link_off,
            (_, Link::Up) => w.link_up,
            (_, Link::Unknown) => w.unknown,
            (_, Link::Down | Link::NotPresent | Link::LowerLayerDown) => w.link_down,
            (_, Link::Testing | Link::Dormant) => w.link_waits,
        },
        speed: used.map_or_else(|| "–".to_owned(), |used| used.speed.to_string()),
        is_line: line.is_some(),
        receives: rate(newest.received),
        sends: rate(newest.sent),
        permille: part.map_or(0, |part| part.0),
        used: part.map_or_else(|| "–".to_owned(), |part| part.to_string()),
        bar: part.map_or(0, |part| (part.0 / 10).min(100)),
        errors: errors.map_or_else(|| "–".to_owned(), |errors| errors.to_string()),
        duplex: match port.and_then(|port| port.duplex) {
            Some(Duplex::Full) => w.full_duplex,
            Some(Duplex::Half) => w.half_duplex,
            None => "–",
        },
    }
}
