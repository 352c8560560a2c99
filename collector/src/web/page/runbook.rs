//! The runbook: what an alert means and what to do first. The text is that of `docs/`, in the
//! reader's language, so that it is there when the network is not.

use askama::Template;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bailey_rules::text::Lang;

use super::Page;
use crate::web::Web;
use crate::web::access::Caller;
use crate::web::frame::{self, Choice, Frame};
use crate::web::session::SignedIn;
use crate::web::shown::Shown;
use crate::web::words::Words;

/// This page. Alerts lead to it: `/runbook#ALERTNAME`.
pub const PAGE: Page = Page {
    path: "/runbook",
    word: Some(|w| w.runbook),
    routes: |router: Router<Web>| router.route("/runbook", get(show)),
};

const EN: &str = include_str!("../../../../docs/runbook.md");
const ZH: &str = include_str!("../../../../docs/runbook.zh-CN.md");

async fn show(
    State(web): State<Web>,
    choice: Choice,
    Extension(caller): Extension<Caller>,
) -> Response {
    let page = RunbookPage::build(&Shown::of(&web), &choice, caller.session());
    frame::page(&choice, StatusCode::OK, &page)
}

/// The page.
#[derive(Template)]
#[template(path = "runbook.html")]
pub struct RunbookPage {
    w: &'static Words,
    frame: Frame,
    sections: Vec<Section>,
}

/// What stands under one alert's name.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    /// The alert; empty for the text before the first.
    alert: String,
    paragraphs: Vec<Vec<Span>>,
    steps: Vec<Vec<Span>>,
}

/// A piece of a line. Empty parts are not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Span {
    text: String,
    code: String,
    /// Where the text leads, within the page.
    anchor: String,
}

impl RunbookPage {
    /// The page in the reader's language.
    #[must_use]
    pub fn build(shown: &Shown, choice: &Choice, session: Option<&SignedIn>) -> Self {
        let w = choice.words();
        let text = match choice.lang {
            Lang::En => EN,
            Lang::Zh => ZH,
        };
        Self { w, frame: Frame::new(shown, choice, session, w.runbook), sections: sections(text) }
    }
}

/// Reads what the runbook is written in: `##` headings, paragraphs, numbered steps, inline code and
/// links within the page. A link to another file is shown as its words.
fn sections(text: &str) -> Vec<Section> {
    let alerts: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut sections = vec![empty("")];
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        if let Some(alert) = line.strip_prefix("## ") {
            sections.push(empty(alert.trim()));
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        if line.trim().is_empty() {
            if section.paragraphs.last().is_some_and(|last| !last.is_empty()) {
                section.paragraphs.push(Vec::new());
            }
        } else if let Some(step) = numbered(line) {
            section.steps.push(spans(step, &alerts));
        } else {
            let open = section.paragraphs.last_mut();
            let pieces = spans(line, &alerts);
            match open {
                Some(paragraph) => {
                    if !paragraph.is_empty() {
                        paragraph.push(Span { text: " ".into(), ..Span::default() });
                    }
                    paragraph.extend(pieces);
                }
                None => section.paragraphs.push(pieces),
            }
        }
    }
    for section in &mut sections {
        section.paragraphs.retain(|paragraph| !paragraph.is_empty());
    }
    sections
}

fn empty(alert: &str) -> Section {
    Section { alert: alert.to_owned(), paragraphs: Vec::new(), steps: Vec::new() }
}

fn numbered(line: &str) -> Option<&str> {
    let (number, step) = line.split_once(". ")?;
    number.parse::<u8>().is_ok().then_some(step)
}

fn spans(line: &str, alerts: &[&str]) -> Vec<Span> {
    let mut spans = Vec::new();
    for (at, part) in line.split('`').enumerate() {
        if at % 2 == 1 {
            spans.push(Span { code: part.to_owned(), ..Span::default() });
        } else {
            linked(part, alerts, &mut spans);
        }
    }
    spans
}

fn linked(mut text: &str, alerts: &[&str], spans: &mut Vec<Span>) {
    let plain = |text: &str| Span { text: text.to_owned(), ..Span::default() };
    while let Some((before, rest)) = text.split_once('[') {
        let Some((word, rest)) = rest.split_once("](") else { break };
        let Some((target, rest)) = rest.split_once(')') else { break };
        if !before.is_empty() {
            spans.push(plain(before));
        }
        let wanted = target.strip_prefix('#').unwrap_or_default();
        let anchor = alerts.iter().find(|alert| alert.eq_ignore_ascii_case(wanted));
        spans.push(Span {
            anchor: anchor.map(ToString::to_string).unwrap_or_default(),
            ..plain(word)
        });
        text = rest;
    }
    if !text.is_empty() {
        spans.push(plain(text));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bailey_rules::check::CHECKS;

    use super::*;

    #[test]
    fn every_alert_of_every_check_has_a_section_with_steps_in_both_languages() {
        for text in [EN, ZH] {
            let sections = sections(text);
            let told: BTreeSet<&str> = sections
                .iter()
                .filter(|section| !section.paragraphs.is_empty() && !section.steps.is_empty())
                .map(|section| section.alert.as_str())
                .collect();
            for check in CHECKS {
                assert!(told.contains(check.alert.critical), "{}", check.alert.critical);
                assert!(told.contains(check.alert.warning), "{}", check.alert.warning);
            }
        }
    }

    #[test]
    fn a_line_becomes_words_code_and_links_within_the_page() {
        let read =
            spans("run `df -h`, see [Full](#baileyfull) or [more](more.md)", &["BaileyFull"]);
        let plain = |text: &str| Span { text: text.into(), ..Span::default() };
        let expect = [
            plain("run "),
            Span { code: "df -h".into(), ..Span::default() },
            plain(", see "),
            Span { anchor: "BaileyFull".into(), ..plain("Full") },
            plain(" or "),
            plain("more"),
        ];
        assert_eq!(read, expect);
    }
}
