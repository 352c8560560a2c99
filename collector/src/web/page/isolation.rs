//! Isolation: do the invariants hold, do the rules run that were ordered, who changed them, and what
//! is on its way?

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bailey_rules::check;
use bailey_rules::fact::enforcement::{DriftSeen, Enforcement, OrderRef, RuleCounter};
use bailey_rules::fact::{FactKind, ProbeName, Reading};
use bailey_rules::name::ZoneName;
use bailey_rules::policy::{Mode, Party};
use bailey_rules::text::Lang;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;

use super::invariants::{Invariants, Packets, worst_first};
use super::{MAX_ROWS, Page};
use crate::push::machine::{HostState, Push, PushId, PushKind, PushState, Target};
use crate::site::HostStatus;
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::frame::{self, Choice, Frame};
use crate::web::session::SignedIn;
use crate::web::shown::{Age, Mark, Shown, in_zone};
use crate::web::words::{Words, filled};

/// This page.
pub const PAGE: Page = Page {
    path: "/isolation",
    word: Some(|w| w.isolation),
    routes: |router: Router<Web>| router.route("/isolation", get(show)),
};

/// The most hosts of one push that are shown, those that need attention first.
const MAX_PUSH_ROWS: usize = 40;

/// The most drifts that are shown with their lines.
const MAX_DRIFTS: usize = 20;

async fn show(
    State(web): State<Web>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
) -> Response {
    let page = IsolationPage::build(&Shown::of(&web), &choice, caller.session());
    frame::page(&choice, StatusCode::OK, &page)
}

/// The page.
#[derive(Template)]
#[template(path = "isolation.html")]
pub struct IsolationPage {
    w: &'static Words,
    frame: Frame,
    packets: Packets,
    invariants: Invariants,
    pushes: Vec<PushBlock>,
    drifts: Vec<DriftBlock>,
    more_drifts: usize,
    zones: Vec<ZoneBlock>,
    exchange_points: Vec<ExchangeRow>,
}

struct PushBlock {
    id: PushId,
    mark: Mark,
    what: &'static str,
    stage: String,
    why: String,
    countdown: Option<Countdown>,
    confirm_command: String,
    cancel_command: Option<String>,
    counts: Vec<(Mark, usize)>,
    rows: Vec<PushRow>,
    more: usize,
}

/// A time that comes nearer; the browser counts on.
struct Countdown {
    at: i64,
    iso: String,
    absolute: String,
    text: String,
}

struct PushRow {
    host: String,
    stage: u32,
    mark: Mark,
    version: u64,
    why: String,
}

struct DriftBlock {
    host: String,
    zone: String,
    by: String,
    since: Age,
    added: Vec<String>,
    removed: Vec<String>,
    more: u64,
}

struct ZoneBlock {
    name: String,
    title: String,
    mode: &'static str,
    counts: Vec<(Mark, usize)>,
    rows: Vec<HostRow>,
    more: usize,
}

struct HostRow {
    name: String,
    mark: Mark,
    why: String,
    wanted_mode: &'static str,
    in_force: String,
    digest: String,
    pushed: String,
    is_current: bool,
    would_drop: Option<u64>,
    dropped: Option<u64>,
    key: String,
    read: Option<Age>,
}

struct ExchangeRow {
    name: String,
    from: String,
    to: String,
    service: String,
    owner: String,
    hosts: Vec<String>,
    there: Option<Bytes>,
    back: Option<Bytes>,
}

impl IsolationPage {
    /// Builds the page: first the packets that break an invariant, what is on its way and what was changed
    /// by hand, then every invariant and every zone.
    #[must_use]
    pub fn build(shown: &Shown, choice: &Choice, session: Option<&SignedIn>) -> Self {
        let w = choice.words();
        let zone = choice.filter.zone.as_deref();
        let standings = worst_first(shown);
        let pushes = shown.pushes.shown().map(|(id, push)| push_block(shown, choice, id, push));
        let drifting: Vec<(&HostStatus, &DriftSeen)> = shown
            .hosts
            .iter()
            .filter(|host| in_zone(host.view.zone.as_str(), zone))
            .filter_map(|host| {
                let facts = host.view.facts.value::<Enforcement>("")?;
                let drift = facts.drift.as_ref().filter(|drift| drift.ended.is_none())?;
                Some((&**host, drift))
            })
            .collect();
        Self {
            w,
            frame: Frame::new(shown, choice, session, w.isolation),
            packets: Packets::of(&standings, choice),
            invariants: Invariants::of(shown, &standings, choice),
            pushes: pushes.collect(),
            more_drifts: drifting.len().saturating_sub(MAX_DRIFTS),
            drifts: drifting
                .iter()
                .take(MAX_DRIFTS)
                .map(|(host, drift)| drift_block(shown, choice, host, drift))
                .collect(),
            zones: shown
                .zones()
                .iter()
                .filter(|name| in_zone(name.as_str(), zone))
                .map(|name| zone_block(shown, choice, name))
                .collect(),
            exchange_points: exchange_points(shown),
        }
    }
}

fn push_block(shown: &Shown, choice: &Choice, id: PushId, push: &Push) -> PushBlock {
    let (w, lang) = (choice.words(), choice.lang);
    let mut counts: BTreeMap<HostState, usize> = BTreeMap::new();
    for target in push.targets.values() {
        *counts.entry(target.state).or_default() += 1;
    }
    // Those that a person has to look at first, then those that something still happens to.
    let order = |target: &&Target| {
        let rank = match target.state {
            state if state.is_failure() => 0,
            state if state.is_under_way(push.kind) => 1,
            HostState::Expired | HostState::Superseded => 2,
            HostState::Waiting => 3,
            _ => 4,
        };
        (rank, target.stage, target.host.clone())
    };
    // The others are only counted: nothing has to be done about them.
    let told = |target: &&Target| {
        !target.state.is_success(push.kind) && target.state != HostState::Cancelled
    };
    let mut targets: Vec<&Target> = push.targets.values().filter(told).collect();
    targets.sort_by_cached_key(order);
    let more = targets.len().saturating_sub(MAX_PUSH_ROWS);
    let rows = targets.into_iter().take(MAX_PUSH_ROWS).map(|target| PushRow {
        host: target.host.to_string(),
        stage: target.stage,
        mark: host_mark(target.state, push.kind, w),
        version: target.order.version,
        why: said(target, lang),
    });
    let may_cancel = push.state.is_running()
        || push.targets.values().any(|target| target.state == HostState::Waiting);
    PushBlock {
        id,
        mark: push_mark(push.state, w),
        what: match push.kind {
            PushKind::Ruleset => w.rulesets,
            PushKind::Quarantine => w.quarantine,
            PushKind::Release => w.release,
        },
        stage: filled(&filled(w.stage_of, push.stage), push.stages),
        why: push.why.as_ref().map(|why| why.in_lang(lang).to_owned()).unwrap_or_default(),
        countdown: push.deadline().map(|at| Countdown::until(at, shown)),
        confirm_command: format!("bailey policy confirm {id}"),
        cancel_command: may_cancel.then(|| format!("bailey policy cancel {id}")),
        counts: counts
            .into_iter()
            .map(|(state, count)| (host_mark(state, push.kind, w), count))
            .collect(),
        rows: rows.collect(),
        more,
    }
}

fn said(target: &Target, lang: Lang) -> String {
    let why = target.why.as_ref().map_or("", |why| why.in_lang(lang));
    match (target.error.as_str(), why) {
        ("", why) => why.to_owned(),
        (error, "") => error.to_owned(),
        (error, why) => format!("{error}: {why}"),
    }
}

impl Countdown {
    fn until(at: Timestamp, shown: &Shown) -> Self {
        Self {
            at: at.as_millis(),
            iso: shown.local.rfc3339(at),
            absolute: shown.local.full(at),
            text: clock_span(shown.now.age(at)),
        }
    }
}

/// `1:47`, as `assets/bailey.js` counts it on.
fn clock_span(left: Duration) -> String {
    format!("{}:{:02}", left.as_secs() / 60, left.as_secs() % 60)
}

fn push_mark(state: PushState, w: &Words) -> Mark {
    match state {
        PushState::Draft => Mark::none(w.draft),
        PushState::Running => marked("maintenance", '≡', w.running),
        PushState::AwaitingConfirmation => marked("warning", '▲', w.awaits_confirmation),
        PushState::Done => marked("ok", '●', w.done),
        PushState::Failed => marked("critical", '■', w.failed),
        PushState::Cancelled => Mark::none(w.cancelled),
    }
}

fn host_mark(state: HostState, kind: PushKind, w: &Words) -> Mark {
    match state {
        HostState::Waiting => Mark::none(w.target_waiting),
        HostState::Sent => marked("maintenance", '≡', w.target_sent),
        HostState::Applied if state.is_success(kind) => marked("ok", '●', w.target_applied),
        HostState::Applied => marked("maintenance", '≡', w.target_applied),
        HostState::Reachable => marked("maintenance", '≡', w.target_reachable),
        HostState::Confirmed => marked("ok", '●', w.target_confirmed),
        HostState::Refused => marked("critical", '■', w.target_refused),
        HostState::NoEnforcer => marked("critical", '■', w.target_no_enforcer),
        HostState::Reverted => marked("critical", '■', w.target_reverted),
        HostState::Superseded => Mark::none(w.target_superseded),
        HostState::Expired => marked("warning", '▲', w.target_expired),
        HostState::Cancelled => Mark::none(w.cancelled),
    }
}

fn marked(class: &'static str, shape: char, word: &str) -> Mark {
    Mark { class, shape, word: word.to_owned() }
}

fn drift_block(shown: &Shown, choice: &Choice, host: &HostStatus, drift: &DriftSeen) -> DriftBlock {
    let unknown = || choice.words().somebody.to_owned();
    DriftBlock {
        host: host.view.name.to_string(),
        zone: host.view.zone.to_string(),
        by: drift.by.clone().unwrap_or_else(unknown),
        since: Age::of(drift.since, shown.now, shown.local, choice.lang),
        added: drift.added.clone(),
        removed: drift.removed.clone(),
        more: drift.more,
    }
}

fn mode_word(mode: Mode, w: &'static Words) -> &'static str {
    match mode {
        Mode::Enforce => w.mode_enforce,
        Mode::Observe => w.mode_observe,
    }
}

fn mode_mark(mode: Mode, w: &'static Words) -> Mark {
    match mode {
        Mode::Enforce => marked("ok", '●', w.mode_enforce),
        Mode::Observe => marked("maintenance", '≡', w.mode_observe),
    }
}

fn zone_block(shown: &Shown, choice: &Choice, zone: &ZoneName) -> ZoneBlock {
    let w = choice.words();
    let wanted = shown.policy.zones.get(zone).map(|zone| zone.mode);
    let mut rows: Vec<HostRow> = shown
        .hosts
        .iter()
        .filter(|host| host.view.zone == *zone)
        .map(|host| host_row(shown, choice, host))
        .collect();
    let mut counts: Vec<(Mark, usize)> = Vec::new();
    for row in &rows {
        match counts.iter_mut().find(|(mark, _)| *mark == row.mark) {
            Some((_, count)) => *count += 1,
            None => counts.push((row.mark.clone(), 1)),
        }
    }
    counts.sort_by_key(|(mark, _)| rank(mark));
    rows.sort_by_key(|row| rank(&row.mark));
    let more = rows.len().saturating_sub(MAX_ROWS);
    rows.truncate(MAX_ROWS);
    ZoneBlock {
        name: zone.to_string(),
        title: shown.zone_title(zone).to_owned(),
        mode: wanted.map_or(w.not_in_policy, |mode| mode_word(mode, w)),
        counts,
        rows,
        more,
    }
}

/// The worst first.
fn rank(mark: &Mark) -> std::cmp::Reverse<Option<check::State>> {
    let state = check::State::ALL.into_iter().find(|state| state.as_str() == mark.class);
    std::cmp::Reverse(state)
}

fn host_row(shown: &Shown, choice: &Choice, host: &HostStatus) -> HostRow {
    let (w, lang) = (choice.words(), choice.lang);
    let view = &host.view;
    let facts = view.facts.value::<Enforcement>("");
    let probe = view.facts.probe(ProbeName::Enforcement);
    let stale = probe.is_none_or(|probe| probe.is_stale(shown.now));
    let counter = |name: &str| view.facts.value::<RuleCounter>(name).map(|count| count.packets);
    let (mark, why) = match facts {
        Some(_) if stale => (Mark::of(check::State::Stale, lang), String::new()),
        Some(facts) => standing(facts, shown, w),
        None => match view.facts.get(FactKind::Enforcement, "").map(|held| &*held.reading) {
            Some(Reading::Unreadable { why }) => {
                (Mark::of(check::State::Unknown, lang), why.clone())
            }
            Some(Reading::Known(_)) | None => (Mark::none(w.no_enforcer), String::new()),
        },
    };
    let in_force = facts.and_then(|facts| facts.in_force);
    let confirmed = facts.and_then(|facts| facts.confirmed);
    let pending = facts.and_then(|facts| facts.pending).map(|pending| pending.order);
    let pushed = view.pushed.map(|pushed| pushed.order);
    let is_on_its_way = view.pushed.is_some_and(|pushed| pushed.running);
    let number =
        |order: Option<OrderRef>| order.map_or_else(String::new, |o| o.version.to_string());
    HostRow {
        name: view.name.to_string(),
        mark,
        why,
        wanted_mode: mode_word(shown.policy.mode_of(&view.name, &view.zone), w),
        in_force: number(in_force),
        digest: in_force.map(|order| order.digest.to_string()).unwrap_or_default(),
        pushed: number(pushed),
        is_current: is_on_its_way || [None, confirmed, pending].contains(&pushed),
        would_drop: counter("would-drop"),
        dropped: counter("dropped"),
        key: facts.and_then(|facts| facts.key.clone()).unwrap_or_default(),
        read: probe.map(|probe| Age::of(probe.read_at, shown.now, shown.local, lang)),
    }
}

/// How a host stands that says fresh what it enforces: the worst of it, and why.
fn standing(facts: &Enforcement, shown: &Shown, w: &'static Words) -> (Mark, String) {
    if facts.drift.as_ref().is_some_and(|drift| drift.ended.is_none()) {
        return (marked("critical", '■', w.changed_by_hand), String::new());
    }
    if let Some(problem) = &facts.problem {
        return (marked("warning", '▲', w.enforcer_problem), problem.clone());
    }
    if let Some(quarantine) = &facts.quarantine {
        let until = shown.local.minute(quarantine.until);
        let why = format!("{}: {}", filled(w.until, until), quarantine.reason);
        return (marked("warning", '▲', w.in_quarantine), why);
    }
    if let Some(pending) = &facts.pending {
        let until = shown.local.clock(pending.until);
        return (marked("maintenance", '≡', w.awaits_confirmation), filled(w.until, until));
    }
    match (facts.in_force, facts.mode, &facts.key) {
        (_, _, None) => (Mark::none(w.no_key), String::new()),
        (None, ..) => (Mark::none(w.nothing_in_force), String::new()),
        (Some(_), Some(mode), _) => (mode_mark(mode, w), String::new()),
        (Some(_), None, _) => (marked("unknown", '?', w.mode_untold), String::new()),
    }
}

/// Every declared way between zones, with what was counted there. A count that no host gives is not
/// zero.
fn exchange_points(shown: &Shown) -> Vec<ExchangeRow> {
    let counted = |name: &str, way: &str| {
        let counter = format!("exchange-{name}-{way}");
        let octets: Vec<u64> = shown
            .hosts
            .iter()
            .filter_map(|host| host.view.facts.value::<RuleCounter>(&counter))
            .map(|count| count.octets.0)
            .collect();
        let all = octets.iter().fold(0_u64, |all, octets| all.saturating_add(*octets));
        (!octets.is_empty()).then_some(Bytes(all))
    };
    let rows = shown.policy.exchange_points.iter().map(|(name, point)| ExchangeRow {
        name: name.clone(),
        from: party(&point.from),
        to: party(&point.to),
        service: point.service.clone(),
        owner: point.owner.clone().unwrap_or_default(),
        hosts: point.hosts.iter().map(ToString::to_string).collect(),
        there: counted(name, "to"),
        back: counted(name, "back"),
    });
    rows.collect()
}

pub(super) fn party(party: &Party) -> String {
    match party {
        Party::Zone(zone) => zone.to_string(),
        Party::Group(group) => group.clone(),
        Party::Host(host) => host.to_string(),
        Party::Network(network) => network.to_string(),
        Party::Internet => "internet".to_owned(),
    }
}
