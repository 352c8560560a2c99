//! What surrounds every page: language, top bar, navigation, filter of the address line.

use askama::Template;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use bailey_rules::check::State;
use bailey_rules::text::Lang;

use super::assets;
use super::page::PAGES;
use super::session::{SignedIn, cookie};
use super::shown::{Age, Mark, Shown};
use super::words::Words;

/// The header with which a page asks for its changing part only.
pub const FRAGMENT: &str = "x-fragment";

/// The cookie that keeps the chosen language.
pub const LANG_COOKIE: &str = "bailey-lang";

/// The longest search text, in characters.
pub const MAX_SEARCH: usize = 100;

/// The longest problem text that the frame shows, in characters.
const MAX_PROBLEM: usize = 4000;

/// The language and the form that a request wants.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The language: from the address line, the cookie or the browser, in this order.
    pub lang: Lang,
    /// Whether the address line chose it, so that the cookie must be set.
    pub chosen: bool,
    /// Whether only the changing part is wanted.
    pub fragment: bool,
    /// Path asked for.
    pub path: String,
    /// Filter of the address line.
    pub filter: Filter,
}

impl Choice {
    /// Reads the choice from a request.
    #[must_use]
    pub fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        let pairs = pairs_of(uri);
        let asked = pairs.iter().rev().find(|(key, _)| key == "lang").map(|(_, value)| &**value);
        let asked = asked.and_then(lang_of);
        let lang = asked
            .or_else(|| cookie(headers, LANG_COOKIE).and_then(lang_of))
            .or_else(|| preferred(headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?))
            .unwrap_or_default();
        Self {
            lang,
            chosen: asked.is_some(),
            fragment: headers.contains_key(FRAGMENT),
            path: uri.path().to_owned(),
            filter: Filter::of(&pairs),
        }
    }

    /// The words of the language.
    #[must_use]
    pub fn words(&self) -> &'static Words {
        Words::of(self.lang)
    }
}

fn lang_of(tag: &str) -> Option<Lang> {
    let primary = tag.split(['-', '_']).next().unwrap_or_default();
    match primary.to_ascii_lowercase().as_str() {
        "zh" => Some(Lang::Zh),
        "en" => Some(Lang::En),
        _ => None,
    }
}

/// The better liked of our languages in an `Accept-Language` (RFC 9110 12.5.4).
fn preferred(accept: &str) -> Option<Lang> {
    let mut best: Option<(f32, Lang)> = None;
    for range in accept.split(',').take(32) {
        let (tag, weight) = range.split_once(";q=").unwrap_or((range, "1"));
        let weight: f32 = weight.trim().parse().unwrap_or(0.0);
        let Some(lang) = lang_of(tag.trim()) else { continue };
        if weight > 0.0 && best.is_none_or(|(liked, _)| weight > liked) {
            best = Some((weight, lang));
        }
    }
    best.map(|(_, lang)| lang)
}

fn pairs_of(uri: &Uri) -> Vec<(String, String)> {
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|query| query.0)
        .unwrap_or_default()
}

/// What the address line narrows a page to. It holds the whole state of a page, so that an
/// address can be sent to a colleague.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// One zone.
    pub zone: Option<String>,
    /// One state, by its word.
    pub state: Option<String>,
    /// A search text, in lower case.
    pub q: Option<String>,
    /// Rows after this one.
    pub after: Option<String>,
    /// Facts of one kind.
    pub kind: Option<String>,
}

impl Filter {
    fn of(pairs: &[(String, String)]) -> Self {
        let get = |wanted: &str| {
            pairs
                .iter()
                .rev()
                .find(|(key, _)| key == wanted)
                .map(|(_, value)| value.trim().chars().take(MAX_SEARCH).collect::<String>())
                .filter(|value| !value.is_empty())
        };
        Self {
            zone: get("zone"),
            state: get("state"),
            q: get("q").map(|text| text.to_lowercase()),
            after: pairs
                .iter()
                .rev()
                .find(|(key, _)| key == "after")
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty()),
            kind: get("kind"),
        }
    }

    /// The address of `path` under this filter.
    #[must_use]
    pub fn href(&self, path: &str) -> String {
        let pairs = [
            ("zone", &self.zone),
            ("state", &self.state),
            ("q", &self.q),
            ("kind", &self.kind),
            ("after", &self.after),
        ];
        let mut out = path.to_owned();
        let mut joint = '?';
        for (key, value) in pairs {
            if let Some(value) = value {
                out.push(joint);
                out.push_str(key);
                out.push('=');
                escape_into(&mut out, value);
                joint = '&';
            }
        }
        out
    }

    /// This filter with other rows or none skipped.
    #[must_use]
    pub fn after(&self, after: Option<String>) -> Self {
        Self { after, ..self.clone() }
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986 2.3).
fn escape_into(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// A link of the frame.
#[derive(Debug, Clone)]
pub struct Link {
    /// Where to.
    pub href: String,
    /// Its words.
    pub word: String,
    /// A second, quieter word.
    pub quiet: String,
    /// Whether it is where the reader is.
    pub current: bool,
}

/// How many hosts are in one state.
#[derive(Debug, Clone)]
pub struct Count {
    /// The state.
    pub mark: Mark,
    /// How many.
    pub count: usize,
    /// The hosts page narrowed to them.
    pub href: String,
    /// Whether the page is narrowed to them now.
    pub current: bool,
}

/// A refused reload, as the frame shows it.
#[derive(Debug, Clone)]
pub struct ShownProblem {
    /// Its first line.
    pub headline: String,
    /// All of it.
    pub text: String,
    /// When it was refused.
    pub at: Age,
    /// How many other files are refused.
    pub more: usize,
}

/// Everything the frame needs.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The words.
    pub w: &'static Words,
    /// Title of the page.
    pub title: String,
    /// The site's name.
    pub site: String,
    /// Whether only the changing part is wanted.
    pub fragment: bool,
    /// The pages.
    pub nav: Vec<Link>,
    /// The zones to choose from; the first is all of them.
    pub zones: Vec<Link>,
    /// Hosts by state, worst first.
    pub counts: Vec<Count>,
    /// The newest refused reload.
    pub problem: Option<ShownProblem>,
    /// The filter in force.
    pub filter: Filter,
    /// Where the search field leads.
    pub search_path: String,
    /// This page in the other language.
    pub other_lang_href: String,
    /// When it was rendered, milliseconds since 1970.
    pub now: i64,
    /// When it was rendered, local.
    pub clock: String,
    /// The site's offset from UTC.
    pub offset: String,
    /// The same in minutes.
    pub offset_minutes: i32,
    /// The token for forms; none for callers without a session.
    pub form_token: Option<String>,
    /// Address of the style sheet.
    pub style: String,
    /// Address of the script.
    pub script: String,
}

impl Frame {
    /// The frame of a page at `choice.path`.
    #[must_use]
    pub fn new(shown: &Shown, choice: &Choice, session: Option<&SignedIn>, title: &str) -> Self {
        let filter = &choice.filter;
        let w = choice.words();
        let nav = PAGES
            .iter()
            .filter_map(|page| {
                let word = page.word?(w);
                let href =
                    Filter { zone: filter.zone.clone(), ..Filter::default() }.href(page.path);
                Some(Link {
                    href,
                    word: word.to_owned(),
                    quiet: String::new(),
                    current: choice.path == page.path,
                })
            })
            .collect();
        let search_path = match choice.path.as_str() {
            path @ ("/alerts" | "/network") => path.to_owned(),
            _ => "/hosts".to_owned(),
        };
        let zone_path =
            if choice.path == "/isolation" { "/isolation" } else { search_path.as_str() };
        Self {
            w,
            title: titled(shown, title, w),
            site: shown.policy.site.to_string(),
            fragment: choice.fragment,
            nav,
            zones: zones(shown, filter, zone_path, w),
            counts: counts(shown, filter, &choice.path, choice.lang),
            problem: problem(shown, choice.lang),
            filter: filter.clone(),
            search_path,
            other_lang_href: other_lang(choice),
            now: shown.now.as_millis(),
            clock: shown.local.clock(shown.now),
            offset: shown.local.offset(),
            offset_minutes: shown.local.minutes(),
            form_token: session.map(|session| session.form_token.clone()),
            style: assets::address("bailey.css"),
            script: assets::address("bailey.js"),
        }
    }
}

/// The title of the window: the critical hosts first, for a tab in the background.
fn titled(shown: &Shown, title: &str, w: &'static Words) -> String {
    let [.., critical] = shown.counts(None);
    let alarm = match critical {
        0 => String::new(),
        count => format!("{} {count} · ", State::Critical.shape()),
    };
    format!("{alarm}{title} · {} · {}", shown.policy.site, w.product)
}

fn zones(shown: &Shown, filter: &Filter, path: &str, w: &'static Words) -> Vec<Link> {
    let to = |zone: Option<String>| {
        Filter { zone, after: None, kind: None, ..filter.clone() }.href(path)
    };
    let all = Link {
        href: to(None),
        word: w.all_zones.to_owned(),
        quiet: String::new(),
        current: filter.zone.is_none(),
    };
    let each = shown.zones().into_iter().map(|zone| Link {
        href: to(Some(zone.to_string())),
        word: zone.to_string(),
        quiet: shown.zone_title(&zone).to_owned(),
        current: filter.zone.as_deref() == Some(zone.as_str()),
    });
    std::iter::once(all).chain(each).collect()
}

fn counts(shown: &Shown, filter: &Filter, path: &str, lang: Lang) -> Vec<Count> {
    let counts = shown.counts(filter.zone.as_deref());
    State::ALL
        .into_iter()
        .zip(counts)
        .rev()
        .map(|(state, count)| {
            let current = path == "/hosts" && filter.state.as_deref() == Some(state.as_str());
            let narrowed = (!current).then(|| state.as_str().to_owned());
            let href = Filter { zone: filter.zone.clone(), state: narrowed, ..Filter::default() };
            Count { mark: Mark::of(state, lang), count, href: href.href("/hosts"), current }
        })
        .collect()
}

fn problem(shown: &Shown, lang: Lang) -> Option<ShownProblem> {
    let newest = shown.problems.first()?;
    let text: String = newest.message.chars().take(MAX_PROBLEM).collect();
    Some(ShownProblem {
        headline: text.lines().next().unwrap_or_default().to_owned(),
        at: Age::of(newest.at, shown.now, shown.local, lang),
        more: shown.problems.len() - 1,
        text,
    })
}

fn other_lang(choice: &Choice) -> String {
    let here = choice.filter.href(&choice.path);
    let joint = if here.contains('?') { '&' } else { '?' };
    let tag = match choice.lang {
        Lang::En => "zh",
        Lang::Zh => "en",
    };
    format!("{here}{joint}lang={tag}")
}

/// A rendered page as a response; never stored by the browser.
pub fn page(choice: &Choice, status: StatusCode, template: &impl Template) -> Response {
    let body = match template.render() {
        Ok(body) => without_overrides(body),
        Err(e) => {
            tracing::error!(path = %choice.path, error = %e, "page cannot be rendered");
            let mut response = Response::new(Body::from(choice.words().error_other));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(choice.words().lang_tag));
    if choice.chosen {
        let tag = match choice.lang {
            Lang::En => "bailey-lang=en; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=31536000",
            Lang::Zh => "bailey-lang=zh; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=31536000",
        };
        headers.insert(header::SET_COOKIE, HeaderValue::from_static(tag));
    }
    headers.insert(
        HeaderName::from_static("x-robots-tag"),
        HeaderValue::from_static("noindex, nofollow"),
    );
    super::never_stored(response)
}

/// Replaces the characters that reorder or hide the text around them (Unicode UAX #9 2.1-2.6).
/// Our words have none; a device could make a sentence read the other way round.
pub(crate) fn without_overrides(body: String) -> String {
    const REORDER: [char; 12] = [
        '\u{200e}', '\u{200f}', '\u{061c}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}',
        '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    ];
    if body.contains(REORDER) { body.replace(REORDER, "\u{fffd}") } else { body }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    w: &'static Words,
    message: &'static str,
    other_lang_href: String,
    style: String,
}

/// A page without the frame that says why nothing is shown; gives nothing away to strangers.
#[must_use]
pub fn plain_error(choice: &Choice, status: StatusCode, message: &'static str) -> Response {
    let template = ErrorPage {
        w: choice.words(),
        message,
        other_lang_href: other_lang(choice),
        style: assets::address("bailey.css"),
    };
    page(choice, status, &template)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(uri: &str, headers: &[(&'static str, &str)]) -> Choice {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Choice::of(&map, &uri.parse().unwrap())
    }

    #[test]
    fn the_address_line_wins_over_the_cookie_over_the_browser() {
        let zh = ("accept-language", "zh-CN,zh;q=0.9,en;q=0.8");
        assert_eq!(choice("/hosts", &[]).lang, Lang::En);
        assert_eq!(choice("/hosts", &[zh]).lang, Lang::Zh);
        assert_eq!(choice("/hosts", &[zh, ("cookie", "bailey-lang=en")]).lang, Lang::En);
        let asked = choice("/hosts?lang=zh", &[("cookie", "bailey-lang=en")]);
        assert_eq!(asked.lang, Lang::Zh);
        assert!(asked.chosen);
    }

    #[test]
    fn weights_of_languages_are_obeyed() {
        assert_eq!(preferred("fr, en;q=0.2, zh;q=0.7"), Some(Lang::Zh));
        assert_eq!(preferred("zh;q=0, en"), Some(Lang::En));
        assert_eq!(preferred("fr"), None);
    }

    #[test]
    fn a_filter_survives_the_address_line() {
        let filter = Filter {
            zone: Some("inner".into()),
            q: Some("a&b=\"<内>".into()),
            ..Filter::default()
        };
        let href = filter.href("/hosts");
        assert!(href.is_ascii(), "{href}");
        assert_eq!(choice(&href, &[]).filter, filter);
    }

    #[test]
    fn an_empty_filter_is_no_filter() {
        assert_eq!(choice("/hosts?zone=&q=%20&state=", &[]).filter, Filter::default());
    }
}
