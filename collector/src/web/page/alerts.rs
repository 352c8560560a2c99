//! Alerts: what must I act on first, and what proves it?

use std::cmp::Reverse;

use askama::Template;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bailey_rules::check::{self, Evidence};
use bailey_rules::finding::{Finding, Severity};
use bailey_rules::text::Lang;
use bailey_rules::time::Timestamp;
use bailey_rules::trap;

use super::{MAX_ROWS, Page};
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::frame::{self, Choice, Filter, Frame};
use crate::web::session::SignedIn;
use crate::web::shown::{Age, Mark, Shown, in_zone, pages_of, range, state_word};
use crate::web::words::{Words, filled};

/// This page.
pub const PAGE: Page = Page {
    path: "/alerts",
    word: Some(|w| w.alerts),
    routes: |router: Router<Web>| router.route("/alerts", get(show)),
};

async fn show(
    State(web): State<Web>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
) -> Response {
    let page = AlertsPage::build(&Shown::of(&web), &choice, caller.session());
    frame::page(&choice, StatusCode::OK, &page)
}

/// The page.
#[derive(Template)]
#[template(path = "alerts.html")]
pub struct AlertsPage {
    w: &'static Words,
    frame: Frame,
    severities: Vec<SeverityLink>,
    filtered: bool,
    clear_href: String,
    groups: Vec<Group>,
    range: String,
    state_word: String,
    first_href: Option<String>,
    more_href: Option<String>,
}

struct SeverityLink {
    mark: Mark,
    count: usize,
    href: String,
    current: bool,
}

struct Group {
    host: String,
    /// Where its page is.
    pages: &'static str,
    zone: String,
    zone_title: String,
    counts: Vec<(Mark, usize)>,
    findings: Vec<ShownFinding>,
}

impl Group {
    /// Findings come worst first, so their counts do too.
    fn add(&mut self, finding: ShownFinding) {
        match self.counts.last_mut() {
            Some((mark, count)) if *mark == finding.mark => *count += 1,
            Some(_) | None => self.counts.push((finding.mark.clone(), 1)),
        }
        self.findings.push(finding);
    }
}

/// A finding in the reader's language.
#[derive(Debug, Clone)]
pub struct ShownFinding {
    /// Its identity; also the anchor on the page.
    pub id: String,
    /// Its severity.
    pub mark: Mark,
    /// The title of its check.
    pub title: String,
    /// What it is about within the host.
    pub subject: String,
    /// The part of the site.
    pub component: String,
    /// The alert's name.
    pub alert: String,
    /// Why.
    pub why: String,
    /// The facts it rests on.
    pub evidence: Vec<ShownEvidence>,
    /// When it began.
    pub first: Age,
    /// When fresh facts last confirmed it.
    pub last: Age,
    /// Whether it is open only for want of fresh data.
    pub held: bool,
}

/// One fact that a finding or verdict rests on.
#[derive(Debug, Clone)]
pub struct ShownEvidence {
    /// Which fact.
    pub fact: String,
    /// Its value.
    pub value: String,
    /// When it was read.
    pub read: Option<Age>,
}

impl ShownEvidence {
    /// Evidence in the reader's language.
    #[must_use]
    pub fn of(evidence: &Evidence, shown: &Shown, lang: Lang) -> Self {
        Self {
            fact: evidence.fact.clone(),
            value: evidence.value.clone(),
            read: evidence.read_at.map(|at| Age::of(at, shown.now, shown.local, lang)),
        }
    }
}

impl ShownFinding {
    /// A finding in the reader's language.
    #[must_use]
    pub fn of(finding: &Finding, shown: &Shown, lang: Lang) -> Self {
        let age = |at: Timestamp| Age::of(at, shown.now, shown.local, lang);
        Self {
            id: finding.id.to_string(),
            mark: Mark::of_severity(finding.severity, lang),
            title: check_title(&finding.check, lang),
            subject: finding.subject.clone(),
            component: Words::of(lang).component(&finding.component).to_owned(),
            alert: finding.alert.clone(),
            why: finding.why.in_lang(lang).to_owned(),
            evidence: finding.evidence.iter().map(|e| ShownEvidence::of(e, shown, lang)).collect(),
            first: age(finding.first_at),
            last: age(finding.last_at),
            held: finding.held,
        }
    }
}

/// What a check is called; a check that a newer version had keeps its own name.
#[must_use]
pub fn check_title(name: &str, lang: Lang) -> String {
    let of_traps = trap::checks::CHECKS.iter().map(|(_, check)| check);
    check::every()
        .chain(of_traps)
        .find(|check| check.name == name)
        .map_or_else(|| name.to_owned(), |check| (check.title)().in_lang(lang).to_owned())
}

pub(crate) type Order = (Reverse<Severity>, Timestamp, String);

pub(crate) fn order(finding: &Finding) -> Order {
    (Reverse(finding.severity), finding.first_at, finding.id.to_string())
}

pub(crate) fn cursor(finding: &Finding) -> String {
    let (Reverse(severity), first, id) = order(finding);
    format!("{}:{}:{id}", severity.as_str(), first.as_millis())
}

/// The place in the order that a cursor names; `None` for a text that is no cursor.
pub(crate) fn place(cursor: &str) -> Option<Order> {
    let mut parts = cursor.splitn(3, ':');
    let severity = severity_of(parts.next()?)?;
    let first = Timestamp::from_millis(parts.next()?.parse().ok()?);
    Some((Reverse(severity), first, parts.next()?.to_owned()))
}

fn severity_of(word: &str) -> Option<Severity> {
    [Severity::Warning, Severity::Critical].into_iter().find(|known| known.as_str() == word)
}

impl AlertsPage {
    /// Builds the page: findings worst first, then oldest first, those of one host together.
    #[must_use]
    pub fn build(shown: &Shown, choice: &Choice, session: Option<&SignedIn>) -> Self {
        let (w, filter, lang) = (choice.words(), &choice.filter, choice.lang);
        let in_sight = |finding: &&Finding| {
            in_zone(finding.zone.as_str(), filter.zone.as_deref())
                && filter.q.as_deref().is_none_or(|text| is_found(finding, text))
        };
        let of_severity = |finding: &&Finding| {
            filter.state.as_deref().is_none_or(|state| state == finding.severity.as_str())
        };
        let mut findings: Vec<&Finding> =
            shown.findings.iter().filter(in_sight).filter(of_severity).collect();
        findings.sort_by_cached_key(|finding| order(finding));
        let total = findings.len();
        let after = filter.after.as_deref().and_then(place);
        let skipped =
            after.map_or(0, |place| findings.partition_point(|finding| order(finding) <= place));
        let rest = &findings[skipped..];
        let rows = &rest[..rest.len().min(MAX_ROWS)];
        let more = (rest.len() > rows.len())
            .then(|| filter.after(rows.last().map(|finding| cursor(finding))).href("/alerts"));
        Self {
            w,
            frame: Frame::new(shown, choice, session, w.alerts),
            severities: severities(shown, filter, lang),
            filtered: filter.state.is_some() || filter.q.is_some() || filter.zone.is_some(),
            clear_href: "/alerts".to_owned(),
            groups: groups(rows, shown, lang),
            range: filled(w.shown_of, range(skipped, rows.len())) + &total.to_string(),
            state_word: state_word(filter, lang),
            first_href: (skipped > 0).then(|| filter.after(None).href("/alerts")),
            more_href: more,
        }
    }
}

fn severities(shown: &Shown, filter: &Filter, lang: Lang) -> Vec<SeverityLink> {
    [Severity::Critical, Severity::Warning]
        .into_iter()
        .map(|severity| {
            let current = filter.state.as_deref() == Some(severity.as_str());
            let state = (!current).then(|| severity.as_str().to_owned());
            SeverityLink {
                mark: Mark::of_severity(severity, lang),
                count: shown
                    .findings
                    .iter()
                    .filter(|f| f.severity == severity)
                    .filter(|f| in_zone(f.zone.as_str(), filter.zone.as_deref()))
                    .count(),
                href: Filter { state, ..filter.after(None) }.href("/alerts"),
                current,
            }
        })
        .collect()
}

fn groups(findings: &[&Finding], shown: &Shown, lang: Lang) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for finding in findings {
        let at = groups.iter().position(|group| group.host == finding.host_name.as_str());
        let at = at.unwrap_or_else(|| {
            groups.push(Group {
                host: finding.host_name.to_string(),
                pages: pages_of(finding.asset),
                zone: finding.zone.to_string(),
                zone_title: shown.zone_title(&finding.zone).to_owned(),
                counts: Vec::new(),
                findings: Vec::new(),
            });
            groups.len() - 1
        });
        groups[at].add(ShownFinding::of(finding, shown, lang));
    }
    groups
}

fn is_found(finding: &Finding, text: &str) -> bool {
    [finding.host_name.as_str(), &finding.subject, &finding.why.en, &finding.why.zh, &finding.alert]
        .iter()
        .any(|part| part.to_lowercase().contains(text))
        || [Lang::En, Lang::Zh]
            .iter()
            .any(|lang| check_title(&finding.check, *lang).to_lowercase().contains(text))
        || finding.id.to_string().starts_with(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_is_none_of_ours_hides_nothing() {
        for text in ["", "x", "critical", "critical:x:y", "ok:1:y"] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
