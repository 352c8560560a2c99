//! One host: is this machine healthy, protected and where it should be?

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bailey_rules::check::{Check, Verdict};
use bailey_rules::fact::host::{Clock, Identity};
use bailey_rules::fact::lines::{LatelyAsked, LineQuality};
use bailey_rules::fact::links::{Interface, LinkKind};
use bailey_rules::fact::{FactKey, FactKind, Named, ProbeName, Reading};
use bailey_rules::host::{HeldFact, HeldProbe};
use bailey_rules::name::HostName;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::Asset;

use super::alerts::ShownFinding;
use super::{MAX_ROWS, Page};
use crate::judging::verdicts_on;
use crate::site::{Event, EventQuery, HostStatus};
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::frame::{self, Choice, Filter, Frame};
use crate::web::reading;
use crate::web::session::SignedIn;
use crate::web::shown::{Age, Mark, Shown, component_state, components_of, short_span};
use crate::web::words::{Words, filled};

/// This page.
pub const PAGE: Page = Page {
    path: "/hosts/{name}",
    word: None,
    routes: |router: Router<Web>| router.route("/hosts/{name}", get(show)),
};

/// The most facts of one kind that are shown before the reader asks for all of them.
const MAX_OF_A_KIND: usize = 24;

/// The most facts that are shown when the reader has asked for one kind.
pub(crate) const MAX_FACT_ROWS: usize = MAX_ROWS;

/// The most verdicts of one check that are shown.
const MAX_VERDICTS: usize = 100;

/// The most addresses in the head of the page.
const MAX_ADDRESSES: usize = 8;

/// How many digits of the host key are shown; the rest is in its title.
const SHOWN_KEY: usize = 16;

/// How far the timeline looks back.
const TIMELINE: Duration = Duration::from_hours(24);

async fn show(
    State(web): State<Web>,
    Path(name): Path<String>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
) -> Response {
    let host = name.parse::<HostName>().ok().and_then(|name| web.site().host(&name));
    let Some(host) = host else {
        return frame::plain_error(&choice, StatusCode::NOT_FOUND, choice.words().error_host);
    };
    let query = EventQuery { host: Some(host.view.name.clone()), before: None, limit: MAX_ROWS };
    let events =
        web.site().events(query).await.map_err(|e| e.text().in_lang(choice.lang).to_owned());
    let page = HostPage::build(&Shown::of(&web), &host, events, &choice, caller.session());
    frame::page(&choice, StatusCode::OK, &page)
}

/// The page.
#[derive(Template)]
#[template(path = "host.html")]
pub struct HostPage {
    w: &'static Words,
    frame: Frame,
    name: String,
    key: String,
    short_key: String,
    zone: String,
    zone_title: String,
    mark: Mark,
    components: Vec<(&'static str, Mark)>,
    head: Vec<Line>,
    findings: Vec<ShownFinding>,
    lines: Vec<LineRow>,
    more_lines: usize,
    checks: Vec<CheckGroup>,
    probes: Vec<ProbeBlock>,
    one_kind: bool,
    all_facts_href: String,
    more_href: Option<String>,
    events: Result<Vec<ShownEvent>, String>,
    more_events: bool,
}

/// One line of the head: a word, a value, and how old the value is.
struct Line {
    word: &'static str,
    value: String,
    age: Option<Age>,
    warn: bool,
}

/// A line whose far end the host asks.
struct LineRow {
    mark: Mark,
    name: String,
    far: String,
    by: String,
    loss: String,
    round_trip: String,
    available: String,
    answered: Answered,
}

/// When a far end answered last.
enum Answered {
    At(Age),
    /// It was not asked yet.
    NotAsked,
    /// It was asked.
    Never,
    /// Nothing is known, and why.
    Unknown(String),
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
    read: Age,
}

struct ProbeBlock {
    name: &'static str,
    title: String,
    read: Option<Age>,
    interval: String,
    stale: bool,
    failed: String,
    kinds: Vec<KindBlock>,
}

struct KindBlock {
    title: String,
    kind: &'static str,
    rows: Vec<FactRow>,
    more: usize,
    href: String,
}

impl KindBlock {
    /// How many rows of the table its name stands beside.
    fn span(&self) -> usize {
        self.rows.len() + usize::from(self.more > 0)
    }
}

struct FactRow {
    subject: String,
    value: String,
    why_not: Option<String>,
    since: Age,
    read: Option<Age>,
    stale: bool,
}

pub(super) struct ShownEvent {
    pub(super) at: Age,
    pub(super) clock: String,
    pub(super) kind: String,
    pub(super) text: String,
    pub(super) actor: String,
}

impl HostPage {
    /// Builds the page. `events` are the newest of the host, or why the journal cannot be read.
    #[must_use]
    pub fn build(
        shown: &Shown,
        host: &HostStatus,
        events: Result<Vec<Event>, String>,
        choice: &Choice,
        session: Option<&SignedIn>,
    ) -> Self {
        let (w, lang) = (choice.words(), choice.lang);
        let view = &host.view;
        let path = format!("/hosts/{}", view.name);
        let mut findings: Vec<_> =
            shown.findings.iter().filter(|finding| finding.host == view.key).collect();
        findings.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.first_at, f.id));
        let kind = choice.filter.kind.as_deref().and_then(kind_of);
        let (probes, more) = match kind {
            None => (every_kind(shown, host, choice, &path), None),
            Some(kind) => one_kind(shown, host, choice, kind),
        };
        let all_lines = view.facts.of_kind(FactKind::LineQuality).count();
        let asked = events.as_ref().map_or(0, Vec::len);
        let events = events.map(|events| shown_events(events, shown, choice));
        Self {
            w,
            frame: Frame::new(shown, choice, session, view.name.as_str()),
            name: view.name.to_string(),
            key: view.key.to_string(),
            short_key: format!("{}…", &view.key.to_string()[..SHOWN_KEY]),
            zone: view.zone.to_string(),
            zone_title: shown.zone_title(&view.zone).to_owned(),
            mark: Mark::of(host.state, lang),
            components: components_of(host)
                .map(|component| {
                    let mark = component_state(host, component)
                        .map_or_else(|| Mark::none(w.not_judged), |state| Mark::of(state, lang));
                    (w.component(component), mark)
                })
                .collect(),
            head: head(shown, host, choice),
            findings: findings.iter().map(|f| ShownFinding::of(f, shown, lang)).collect(),
            lines: lines(shown, host, choice),
            more_lines: all_lines.saturating_sub(MAX_OF_A_KIND),
            checks: checks(shown, host, choice),
            probes,
            one_kind: kind.is_some(),
            all_facts_href: path.clone(),
            more_href: more.map(|after| choice.filter.after(Some(after)).href(&path)),
            more_events: asked >= MAX_ROWS,
            events,
        }
    }
}

fn kind_of(word: &str) -> Option<FactKind> {
    FactKind::ALL.iter().copied().find(|kind| kind.as_str() == word)
}

fn head(shown: &Shown, host: &HostStatus, choice: &Choice) -> Vec<Line> {
    let (w, lang) = (choice.words(), choice.lang);
    let view = &host.view;
    let session = &view.session;
    let age = |at: Timestamp| Age::of(at, shown.now, shown.local, lang);
    let probe_age = |probe| view.facts.probe(probe).map(|held| age(held.read_at));
    let identity = view.facts.value::<Identity>("");
    let mut lines = Vec::new();
    let mut line = |word, value: String, age, warn| lines.push(Line { word, value, age, warn });

    let state = match (session.connected, session.goodbye_at) {
        (true, _) => w.connected,
        (false, Some(_)) => w.said_goodbye,
        (false, None) => w.not_connected,
    };
    line(w.session, state.to_owned(), None, !session.connected);
    let reported = session.last_report_at.map(age);
    let silent = reported.is_none();
    line(w.last_report, if silent { w.never.to_owned() } else { String::new() }, reported, silent);
    let system = identity.map(|known| format!("{}, {}", known.os, known.kernel));
    line(
        w.system,
        system.unwrap_or_else(|| w.unknown.to_owned()),
        probe_age(ProbeName::System),
        identity.is_none(),
    );
    let version = identity.map(|known| known.agent_version.clone());
    line(w.agent_version, version.unwrap_or_else(|| w.unknown.to_owned()), None, false);
    line(w.addresses, addresses(host, w), probe_age(ProbeName::Links), false);
    if let Some(place) = shown.place(&Asset::Host(view.name.clone()), lang) {
        line(w.place, place, None, false);
    }
    let ends = session.certificate_ends;
    let (left, over) = if ends > shown.now {
        (filled(w.left, short_span(shown.now.age(ends), lang)), false)
    } else {
        (filled(w.over, short_span(ends.age(shown.now), lang)), true)
    };
    line(w.certificate, format!("{left} ({})", shown.local.minute(ends)), None, over);
    line(w.clock_offset, clock_offset(host, w), probe_age(ProbeName::Host), false);
    if session.lost_reports > 0 {
        let at = session.last_gap_at.map(age);
        line(w.lost_reports, session.lost_reports.to_string(), at, true);
    }
    line(w.enrolled, shown.local.minute(session.enrolled_at), None, false);
    lines
}

fn addresses(host: &HostStatus, w: &'static Words) -> String {
    let mut list = Vec::new();
    for (_, interface) in host.view.facts.values::<Interface>() {
        for network in &interface.addresses {
            let address = network.addr();
            if interface.kind != LinkKind::Loopback && !is_link_local(address) {
                list.push(address.to_string());
            }
        }
    }
    match list.len() {
        0 => w.unknown.to_owned(),
        1..=MAX_ADDRESSES => list.join(", "),
        all => format!("{}, +{}", list[..MAX_ADDRESSES].join(", "), all - MAX_ADDRESSES),
    }
}

fn is_link_local(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(address) => address.is_link_local(),
        std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// What the session measured, or else what the host's kernel says of its own clock.
fn clock_offset(host: &HostStatus, w: &'static Words) -> String {
    if let Some(ahead) = host.view.session.clock_ahead_millis {
        return format!("{ahead:+} ms");
    }
    host.view.facts.value::<Clock>("").map_or_else(
        || w.unknown.to_owned(),
        |clock| format!("{:+} ms", clock.offset_micros / 1000),
    )
}

/// When the oldest fact that a verdict rests on was read. A verdict without facts rests on what the
/// collector itself knew when it judged.
fn oldest(verdict: &Verdict, host: &HostStatus) -> Timestamp {
    verdict.evidence.iter().filter_map(|evidence| evidence.read_at).min().unwrap_or(host.judged_at)
}

/// The first [`MAX_OF_A_KIND`] of the lines whose far ends the host asks.
fn lines(shown: &Shown, host: &HostStatus, choice: &Choice) -> Vec<LineRow> {
    let (w, lang) = (choice.words(), choice.lang);
    let none = || "–".to_owned();
    let read_at = host.view.facts.probe(ProbeName::Lines).map(|probe| probe.read_at);
    let row = |(name, held): (&str, &HeldFact)| {
        let of_lines = |check: &Check| check.probes == [ProbeName::Lines];
        let worst = verdicts_on(&host.judged, of_lines, name).map(Verdict::state).max();
        let known = held.reading.known().and_then(LineQuality::of);
        let lately = known.and_then(|line| line.lately.as_ref());
        let answered = match (&*held.reading, known, read_at) {
            (Reading::Unreadable { why }, _, _) => Answered::Unknown(why.clone()),
            (Reading::Known(_), Some(line), _) if line.since.is_none() => Answered::NotAsked,
            (Reading::Known(_), Some(line), Some(at)) if line.answered => {
                Answered::At(Age::of(at - line.silence(), shown.now, shown.local, lang))
            }
            (Reading::Known(_), _, _) => Answered::Never,
        };
        LineRow {
            mark: worst.map_or_else(|| Mark::none(w.not_judged), |state| Mark::of(state, lang)),
            name: name.to_owned(),
            far: known.map_or_else(none, |line| line.ask.far.to_string()),
            by: known.map_or_else(none, |line| line.ask.by.to_string()),
            loss: lately.map_or_else(none, |lately| lately.lost.to_string()),
            round_trip: lately
                .and_then(LatelyAsked::round_trip)
                .map_or_else(none, |took| format!("{:.1} ms", took.as_secs_f64() * 1000.0)),
            available: known
                .and_then(|line| line.available_millionths)
                .map_or_else(none, |part| format!("{}.{:03} %", part / 10_000, part % 10_000 / 10)),
            answered,
        }
    };
    host.view.facts.of_kind(FactKind::LineQuality).take(MAX_OF_A_KIND).map(row).collect()
}

/// The checks by component, the worst component first.
fn checks(shown: &Shown, host: &HostStatus, choice: &Choice) -> Vec<CheckGroup> {
    let lang = choice.lang;
    let mut states: Vec<_> = components_of(host)
        .filter_map(|component| Some((component, component_state(host, component)?)))
        .collect();
    states.sort_by_key(|(_, state)| std::cmp::Reverse(*state));
    states
        .into_iter()
        .map(|(component, state)| {
            let mut rows: Vec<_> = host
                .judged
                .iter()
                .filter(|judged| judged.check.component == component)
                .flat_map(|judged| {
                    let mut verdicts: Vec<_> = judged.verdicts.iter().collect();
                    verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.state()));
                    verdicts.into_iter().map(move |verdict| (judged.check, verdict))
                })
                .collect();
            let left_out = rows.len().saturating_sub(MAX_VERDICTS);
            rows.sort_by_key(|(_, verdict)| std::cmp::Reverse(verdict.state()));
            rows.truncate(MAX_VERDICTS);
            let rows = rows
                .into_iter()
                .map(|(check, verdict)| CheckRow {
                    title: (check.title)().in_lang(lang).to_owned(),
                    subject: verdict.subject.clone(),
                    mark: Mark::of(verdict.state(), lang),
                    why: verdict.why.in_lang(lang).to_owned(),
                    stale: verdict.stale,
                    read: Age::of(oldest(verdict, host), shown.now, shown.local, lang),
                })
                .collect();
            CheckGroup {
                component: choice.words().component(component),
                mark: Mark::of(state, lang),
                rows,
                left_out,
            }
        })
        .collect()
}

fn every_kind(shown: &Shown, host: &HostStatus, choice: &Choice, path: &str) -> Vec<ProbeBlock> {
    ProbeName::ALL
        .into_iter()
        .filter_map(|probe| {
            let held = host.view.facts.probe(probe);
            let kinds: Vec<_> = FactKind::ALL
                .iter()
                .filter(|kind| kind.probe() == probe)
                .filter_map(|&kind| {
                    let facts: Vec<_> = host.view.facts.of_kind(kind).collect();
                    let rows = &facts[..facts.len().min(MAX_OF_A_KIND)];
                    let narrowed =
                        Filter { kind: Some(kind.as_str().to_owned()), ..Filter::default() };
                    (!facts.is_empty()).then(|| KindBlock {
                        title: reading::kind_title(kind).in_lang(choice.lang).to_owned(),
                        kind: kind.as_str(),
                        rows: fact_rows(rows, held, shown, choice),
                        more: facts.len() - rows.len(),
                        href: narrowed.href(path),
                    })
                })
                .collect();
            (held.is_some() || !kinds.is_empty())
                .then(|| probe_block(probe, held, kinds, shown, choice))
        })
        .collect()
}

/// The facts of one kind after the cursor, and the cursor of the next page.
fn one_kind(
    shown: &Shown,
    host: &HostStatus,
    choice: &Choice,
    kind: FactKind,
) -> (Vec<ProbeBlock>, Option<String>) {
    let after = choice.filter.after.as_deref().map(|subject| FactKey::new(kind, subject).subject);
    let mut facts: Vec<_> = host
        .view
        .facts
        .of_kind(kind)
        .filter(|(subject, _)| after.as_deref().is_none_or(|after| *subject > after))
        .take(MAX_FACT_ROWS + 1)
        .collect();
    let more = facts.len() > MAX_FACT_ROWS;
    facts.truncate(MAX_FACT_ROWS);
    let next = facts.last().filter(|_| more).map(|(subject, _)| (*subject).to_owned());
    let held = host.view.facts.probe(kind.probe());
    let block = KindBlock {
        title: reading::kind_title(kind).in_lang(choice.lang).to_owned(),
        kind: kind.as_str(),
        rows: fact_rows(&facts, held, shown, choice),
        more: 0,
        href: String::new(),
    };
    (vec![probe_block(kind.probe(), held, vec![block], shown, choice)], next)
}

fn probe_block(
    probe: ProbeName,
    held: Option<&HeldProbe>,
    kinds: Vec<KindBlock>,
    shown: &Shown,
    choice: &Choice,
) -> ProbeBlock {
    ProbeBlock {
        name: probe.as_str(),
        title: reading::probe_title(probe).in_lang(choice.lang).to_owned(),
        read: held.map(|held| Age::of(held.read_at, shown.now, shown.local, choice.lang)),
        interval: held.map(|held| short_span(held.interval, choice.lang)).unwrap_or_default(),
        stale: held.is_none_or(|held| held.is_stale(shown.now)),
        failed: held.and_then(|held| held.failed.clone()).unwrap_or_default(),
        kinds,
    }
}

fn fact_rows(
    facts: &[(&str, &HeldFact)],
    probe: Option<&HeldProbe>,
    shown: &Shown,
    choice: &Choice,
) -> Vec<FactRow> {
    let age = |at: Timestamp| Age::of(at, shown.now, shown.local, choice.lang);
    facts
        .iter()
        .map(|(subject, held)| {
            let (value, why_not) = match &*held.reading {
                Reading::Known(value) => {
                    let words = reading::in_words(value, shown.now, shown.local);
                    (words.in_lang(choice.lang).to_owned(), None)
                }
                Reading::Unreadable { why } => (String::new(), Some(why.clone())),
            };
            FactRow {
                subject: (*subject).to_owned(),
                value,
                why_not,
                since: age(held.since),
                read: probe.map(|probe| age(probe.read_at)),
                stale: probe.is_none_or(|probe| probe.is_stale(shown.now)),
            }
        })
        .collect()
}

/// The events of the last day.
pub(super) fn shown_events(events: Vec<Event>, shown: &Shown, choice: &Choice) -> Vec<ShownEvent> {
    let from = shown.now - TIMELINE;
    events
        .into_iter()
        .filter(|event| event.at >= from)
        .map(|event| ShownEvent {
            at: Age::of(event.at, shown.now, shown.local, choice.lang),
            clock: shown.local.day_and_clock(event.at),
            kind: reading::event_title(event.kind).in_lang(choice.lang).to_owned(),
            text: event.text.in_lang(choice.lang).to_owned(),
            actor: event.actor.map(|actor| actor.to_string()).unwrap_or_default(),
        })
        .collect()
}
