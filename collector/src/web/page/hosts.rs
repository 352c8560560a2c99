//! Hosts: is anything broken, where, since when, and do I see every zone?

use std::cmp::Reverse;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bailey_rules::check;
use bailey_rules::fact::host::Identity;
use bailey_rules::fact::links::Interface;
use bailey_rules::name::ZoneName;
use bailey_rules::text::Lang;

use super::{MAX_ROWS, Page};
use crate::site::HostStatus;
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::frame::{self, Choice, Filter, Frame};
use crate::web::session::SignedIn;
use crate::web::shown::{
    Age, COMPONENTS, Mark, Shown, component_state, count_states, in_zone, range, state_word,
};
use crate::web::words::{Words, filled};

/// This page.
pub const PAGE: Page = Page {
    path: "/hosts",
    word: Some(|w| w.hosts),
    routes: |router: Router<Web>| router.route("/hosts", get(show)),
};

async fn show(
    State(web): State<Web>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
) -> Response {
    let page = HostsPage::build(&Shown::of(&web), &choice, caller.session());
    frame::page(&choice, StatusCode::OK, &page)
}

/// The page.
#[derive(Template)]
#[template(path = "hosts.html")]
pub struct HostsPage {
    w: &'static Words,
    frame: Frame,
    first_run: bool,
    filtered: bool,
    clear_href: String,
    nothing_matches: bool,
    state_word: String,
    token_command: String,
    paste_command: &'static str,
    zones: Vec<ZoneBlock>,
}

struct ZoneBlock {
    name: String,
    title: String,
    networks: Vec<String>,
    counts: Vec<(Mark, usize)>,
    rows: Vec<Row>,
    range: String,
    first_href: Option<String>,
    more_href: Option<String>,
    more_word: &'static str,
}

struct Row {
    name: String,
    mark: Mark,
    why: String,
    components: Vec<(&'static str, Mark)>,
    last_report: Option<Age>,
    quiet: bool,
    agent_version: String,
    system: String,
}

impl HostsPage {
    /// Builds the page. Hosts are in order of their state, worst first, then of their name.
    #[must_use]
    pub fn build(shown: &Shown, choice: &Choice, session: Option<&SignedIn>) -> Self {
        let w = choice.words();
        let filter = &choice.filter;
        let zones: Vec<ZoneName> = shown
            .zones()
            .into_iter()
            .filter(|zone| in_zone(zone.as_str(), filter.zone.as_deref()))
            .collect();
        let mut matching: Vec<Vec<&Arc<HostStatus>>> = zones
            .iter()
            .map(|zone| {
                let mut hosts: Vec<_> = shown
                    .hosts
                    .iter()
                    .filter(|host| host.view.zone == *zone && matches(host, filter))
                    .collect();
                hosts.sort_by_key(|host| (Reverse(host.state), host.view.name.clone()));
                hosts
            })
            .collect();
        let narrowed = filter.state.is_some() || filter.q.is_some();
        let room = shares(&matching.iter().map(Vec::len).collect::<Vec<_>>());
        let found = matching.iter().map(Vec::len).sum::<usize>();
        let blocks = zones
            .iter()
            .zip(matching.drain(..))
            .zip(room)
            .filter(|((_, hosts), _)| !narrowed || !hosts.is_empty())
            .map(|((zone, hosts), room)| block(shown, choice, zone, &hosts, room))
            .collect();
        Self {
            w,
            frame: Frame::new(shown, choice, session, w.hosts),
            first_run: shown.hosts.is_empty(),
            filtered: narrowed,
            clear_href: Filter { zone: filter.zone.clone(), ..Filter::default() }.href("/hosts"),
            nothing_matches: !shown.hosts.is_empty() && narrowed && found == 0,
            state_word: state_word(filter, choice.lang),
            token_command: token_command(shown),
            paste_command: PASTE_COMMAND,
            zones: blocks,
        }
    }
}

/// What to run on a host with the line that the token command prints.
const PASTE_COMMAND: &str = "printf %s 'bailey1.…' | sudo bailey-agent enroll";

/// What to run on the collector to let a first host in.
fn token_command(shown: &Shown) -> String {
    let zones = shown.zones();
    let zone = zones.first().map_or("inner", ZoneName::as_str);
    format!("bailey enroll token --host NAME --zone {zone} --ttl 10m")
}

/// How many of the [`MAX_ROWS`] rows each zone gets: small zones all they need, large ones an even
/// part of the rest.
fn shares(wanted: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&at| wanted[at]);
    let mut shares = vec![0; wanted.len()];
    let mut rows = MAX_ROWS;
    for (done, &at) in order.iter().enumerate() {
        shares[at] = wanted[at].min(rows / (wanted.len() - done));
        rows -= shares[at];
    }
    shares
}

fn block(
    shown: &Shown,
    choice: &Choice,
    zone: &ZoneName,
    hosts: &[&Arc<HostStatus>],
    room: usize,
) -> ZoneBlock {
    let w = choice.words();
    let filter = &choice.filter;
    let alone = filter.zone.is_some();
    let after = filter.after.as_deref().filter(|_| alone);
    let skipped = after.map_or(0, |cursor| hosts.partition_point(|host| !is_after(host, cursor)));
    let rest = &hosts[skipped..];
    let rows = &rest[..rest.len().min(room)];
    let here = Filter { zone: Some(zone.to_string()), ..filter.after(None) };
    let more_href = (rest.len() > rows.len()).then(|| {
        if alone {
            here.after(rows.last().map(|host| cursor(host))).href("/hosts")
        } else {
            here.href("/hosts")
        }
    });
    let counts = count_states(shown.hosts.iter().filter(|host| host.view.zone == *zone));
    ZoneBlock {
        name: zone.to_string(),
        title: shown.zone_title(zone).to_owned(),
        networks: shown
            .policy
            .zones
            .get(zone)
            .map(|zone| zone.networks.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        counts: check::State::ALL
            .into_iter()
            .zip(counts)
            .rev()
            .filter(|(_, count)| *count > 0)
            .map(|(state, count)| (Mark::of(state, choice.lang), count))
            .collect(),
        rows: rows.iter().map(|host| row(shown, host, choice.lang)).collect(),
        range: filled(w.shown_of, range(skipped, rows.len())) + &hosts.len().to_string(),
        first_href: (skipped > 0).then(|| here.href("/hosts")),
        more_href,
        more_word: if alone { w.next_rows } else { w.show_zone },
    }
}

/// Where a host stands in the order of the page.
fn cursor(host: &HostStatus) -> String {
    format!("{}:{}", host.state.as_str(), host.view.name)
}

/// Whether `host` comes after the cursor. A cursor that is none of ours hides nothing.
fn is_after(host: &HostStatus, cursor: &str) -> bool {
    let Some((state, name)) = cursor.split_once(':') else { return true };
    let Some(state) = check::State::ALL.into_iter().find(|known| known.as_str() == state) else {
        return true;
    };
    (Reverse(host.state), host.view.name.as_str()) > (Reverse(state), name)
}

fn row(shown: &Shown, host: &HostStatus, lang: Lang) -> Row {
    let w = Words::of(lang);
    let identity = host.view.facts.value::<Identity>("");
    Row {
        name: host.view.name.to_string(),
        mark: Mark::of(host.state, lang),
        why: worst_why(host, lang),
        components: COMPONENTS
            .iter()
            .map(|component| {
                let mark = component_state(host, component)
                    .map_or_else(|| Mark::none(w.not_judged), |state| Mark::of(state, lang));
                (w.component(component), mark)
            })
            .collect(),
        last_report: host
            .view
            .session
            .last_report_at
            .map(|at| Age::of(at, shown.now, shown.local, lang)),
        quiet: !host.view.session.connected,
        agent_version: identity.map(|known| known.agent_version.clone()).unwrap_or_default(),
        system: identity.map(|known| known.os.clone()).unwrap_or_default(),
    }
}

/// The reason of the worst verdict; empty for a host that is as the site demands.
fn worst_why(host: &HostStatus, lang: Lang) -> String {
    host.judged
        .iter()
        .flat_map(|judged| &judged.verdicts)
        .filter(|verdict| verdict.state() != check::State::Ok)
        .max_by_key(|verdict| verdict.state())
        .map(|verdict| verdict.why.in_lang(lang).to_owned())
        .unwrap_or_default()
}

fn matches(host: &HostStatus, filter: &Filter) -> bool {
    filter.state.as_deref().is_none_or(|state| state == host.state.as_str())
        && filter.q.as_deref().is_none_or(|text| is_found(host, text))
}

/// Whether the search text, in lower case, is part of the host's name, key, addresses or hardware
/// addresses.
pub(crate) fn is_found(host: &HostStatus, text: &str) -> bool {
    host.view.name.as_str().contains(text)
        || (text.len() >= 8 && host.view.key.to_string().starts_with(text))
        || host.view.facts.values::<Interface>().any(|(_, interface)| {
            interface.addresses.iter().any(|net| net.addr().to_string().contains(text))
                || interface.mac.is_some_and(|mac| mac.to_string().contains(text))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_zone_is_shown_whole_beside_a_large_one() {
        assert_eq!(shares(&[1000, 12]), [188, 12]);
        assert_eq!(shares(&[1000, 1000]), [100, 100]);
        assert_eq!(shares(&[5, 7]), [5, 7]);
        assert!(shares(&[]).is_empty());
        assert!(shares(&[9; 500]).iter().sum::<usize>() <= MAX_ROWS);
    }
}
