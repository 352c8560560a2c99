//! Messages: what have devices said of themselves, by trap and by syslog?

use askama::Template;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bailey_rules::name::HostName;
use bailey_rules::text::Lang;
use bailey_rules::trap::catalogue::Catalogue;
use bailey_rules::trap::{Proof, shown as shown_value};

use super::Page;
use crate::site::Event;
use crate::trap::kept::{Kept, TrapQuery};
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::frame::{self, Choice, Filter, Frame};
use crate::web::reading;
use crate::web::session::SignedIn;
use crate::web::shown::{Age, Shown};
use crate::web::words::Words;

/// This page.
pub const PAGE: Page = Page {
    path: "/messages",
    word: Some(|w| w.messages),
    routes: |router: Router<Web>| router.route("/messages", get(show)),
};

/// The most messages of one sort that are shown; then a link leads on.
const MAX_MESSAGES: usize = 50;

/// The word in the address for traps alone, and for syslog alone.
const TRAPS: &str = "traps";
const SYSLOG: &str = "syslog";

async fn show(
    State(web): State<Web>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
) -> Response {
    let wanted = Wanted::of(&choice.filter);
    let site = web.site();
    let query = TrapQuery {
        asset: wanted.asset.clone(),
        strangers: false,
        before: wanted.before_of(TRAPS),
        limit: MAX_MESSAGES + 1,
    };
    let traps = site.kept_traps(query).await.map_err(|e| e.text().in_lang(choice.lang).to_owned());
    let before = wanted.before_of(SYSLOG);
    let events = site.messages(wanted.asset.clone(), before, MAX_MESSAGES + 1).await;
    let events = events.map_err(|e| e.text().in_lang(choice.lang).to_owned());
    let catalogue = site.traps().catalogue();
    let said = Said { traps, events, catalogue, received: site.traps().are_received() };
    let page = MessagesPage::build(&Shown::of(&web), said, &choice, caller.session());
    frame::page(&choice, StatusCode::OK, &page)
}

/// What the address asks for.
struct Wanted {
    asset: Option<HostName>,
    only: Option<&'static str>,
    before: Option<i64>,
}

impl Wanted {
    fn of(filter: &Filter) -> Self {
        let only = match filter.kind.as_deref() {
            Some(TRAPS) => Some(TRAPS),
            Some(SYSLOG) => Some(SYSLOG),
            Some(_) | None => None,
        };
        Self {
            asset: filter.q.as_deref().and_then(|q| q.parse().ok()),
            only,
            before: filter.after.as_deref().and_then(|after| after.parse().ok()),
        }
    }

    fn before_of(&self, sort: &str) -> Option<i64> {
        self.before.filter(|_| self.only == Some(sort))
    }

    fn shows(&self, sort: &str) -> bool {
        self.only.is_none_or(|only| only == sort)
    }
}

/// What there is to show, or why it cannot be read.
pub struct Said<'a> {
    /// Traps, newest first.
    pub traps: Result<Vec<Kept>, String>,
    /// Events of syslog, newest first.
    pub events: Result<Vec<Event>, String>,
    /// What traps mean.
    pub catalogue: &'a Catalogue,
    /// Whether traps are received at all.
    pub received: bool,
}

/// The page.
#[derive(Template)]
#[template(path = "messages.html")]
pub struct MessagesPage {
    w: &'static Words,
    frame: Frame,
    filtered: bool,
    clear_href: String,
    received: bool,
    traps: Option<Result<Vec<TrapRow>, String>>,
    more_traps: Option<String>,
    syslog: Option<Result<Vec<SyslogRow>, String>>,
    more_syslog: Option<String>,
}

struct TrapRow {
    at: Age,
    clock: String,
    times: u64,
    sender: String,
    is_asset: bool,
    version: String,
    proven: bool,
    name: String,
    says: String,
}

struct SyslogRow {
    at: Age,
    clock: String,
    sender: String,
    kind: String,
    text: String,
}

impl MessagesPage {
    /// Builds the page.
    #[must_use]
    pub fn build(
        shown: &Shown,
        said: Said<'_>,
        choice: &Choice,
        session: Option<&SignedIn>,
    ) -> Self {
        let (w, lang, filter) = (choice.words(), choice.lang, &choice.filter);
        let wanted = Wanted::of(filter);
        let Said { traps, events, catalogue, received } = said;
        let leads_on = |sort: &str, last: Option<i64>| {
            let after = last.map(|id| id.to_string());
            Filter { kind: Some(sort.to_owned()), after, ..filter.clone() }.href(PAGE.path)
        };
        let mut more_traps = None;
        let traps = wanted.shows(TRAPS).then(|| {
            traps.map(|mut kept| {
                if kept.len() > MAX_MESSAGES {
                    kept.truncate(MAX_MESSAGES);
                    more_traps = Some(leads_on(TRAPS, kept.last().map(|kept| kept.id)));
                }
                kept.iter().map(|kept| trap_row(kept, catalogue, shown, lang)).collect()
            })
        });
        let mut more_syslog = None;
        let syslog = wanted.shows(SYSLOG).then(|| {
            events.map(|mut events| {
                if events.len() > MAX_MESSAGES {
                    events.truncate(MAX_MESSAGES);
                    more_syslog = Some(leads_on(SYSLOG, events.last().map(|event| event.id)));
                }
                events.into_iter().map(|event| syslog_row(event, shown, lang)).collect()
            })
        });
        Self {
            w,
            frame: Frame::new(shown, choice, session, w.messages),
            filtered: wanted.asset.is_some() || wanted.only.is_some(),
            clear_href: PAGE.path.to_owned(),
            received,
            traps,
            more_traps,
            syslog,
            more_syslog,
        }
    }
}

fn trap_row(kept: &Kept, catalogue: &Catalogue, shown: &Shown, lang: Lang) -> TrapRow {
    let trap = kept.body.trap();
    let says: Vec<String> = catalogue
        .meanings(&trap)
        .into_iter()
        .map(|meaning| meaning.text.in_lang(lang).to_owned())
        .collect();
    let says = if says.is_empty() {
        let value = |bound: &bailey_rules::snmp::value::VarBind| {
            format!("{}={}", bound.oid, shown_value(&bound.value).unwrap_or_else(|| "-".to_owned()))
        };
        kept.body.values.iter().map(value).collect::<Vec<_>>().join(" ")
    } else {
        says.join("; ")
    };
    let name = catalogue.name(&kept.body.oid);
    TrapRow {
        at: Age::of(kept.last_at, shown.now, shown.local, lang),
        clock: shown.local.day_and_clock(kept.last_at),
        times: kept.times,
        sender: match &kept.asset {
            Some(asset) => asset.to_string(),
            None => kept.body.sender.to_string(),
        },
        is_asset: kept.asset.is_some(),
        version: kept.body.version.clone(),
        proven: kept.body.proof == Proof::Key,
        name: name.map_or_else(|| kept.body.oid.to_string(), str::to_owned),
        says,
    }
}

fn syslog_row(event: Event, shown: &Shown, lang: Lang) -> SyslogRow {
    SyslogRow {
        at: Age::of(event.at, shown.now, shown.local, lang),
        clock: shown.local.day_and_clock(event.at),
        sender: event.host.map(|host| host.to_string()).unwrap_or_default(),
        kind: reading::event_title(event.kind).in_lang(lang).to_owned(),
        text: event.text.in_lang(lang).to_owned(),
    }
}
