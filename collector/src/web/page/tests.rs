//! What the pages show, built from the reference site and from a hostile host.

use std::collections::BTreeSet;

use askama::Template as _;
use axum::http::HeaderMap;
use bailey_rules::snmp::value::{Value, VarBind};
use bailey_rules::text::{Lang, Text};
use bailey_rules::trap::Proof;
use bailey_rules::trap::catalogue::Catalogue;

use super::alerts::AlertsPage;
use super::device::DevicePage;
use super::host::HostPage;
use super::hosts::HostsPage;
use super::isolation::IsolationPage;
use super::messages::{MessagesPage, Said};
use super::network::NetworkPage;
use super::{MAX_ROWS, host};
use crate::enrolment::Actor;
use crate::site::{Event, EventKind};
use crate::trap::kept::{Body, Kept};
use crate::web::fixture::{self, HOSTILE, Machine, ago};
use crate::web::frame::{Choice, without_overrides};
use crate::web::shown::Shown;

const BOTH: [Lang; 2] = [Lang::En, Lang::Zh];

fn choice(uri: &str, lang: Lang) -> Choice {
    Choice { lang, ..Choice::of(&HeaderMap::new(), &uri.parse().unwrap()) }
}

fn event(id: i64, age: u64, kind: EventKind, text: Text, actor: Option<Actor>) -> Event {
    Event { id, at: ago(age), host: Some("oa-17".parse().unwrap()), kind, text, actor }
}

fn events() -> Vec<Event> {
    vec![
        event(9, 370, EventKind::FindingOpened, fixture::event_text(), None),
        event(
            7,
            40_000,
            EventKind::Approved,
            Text::new("The re-imaged machine may use the name", "重装后的机器可使用该名称"),
            Some(Actor::uid(0)),
        ),
        event(2, 90_000, EventKind::Connected, Text::new("Too long ago", "太久以前"), None),
    ]
}

/// A trap that means something, one of a stranger that means nothing here, and what syslog said.
fn messages(shown: &Shown, uri: &str, lang: Lang, hostile: &str) -> String {
    let text = |text: &str| Value::Octets(text.into());
    let body = |asset: bool, oid: &str, name: &str, value: Value| Body {
        sender: [10, 1, 0, 2].into(),
        version: "v2c".to_owned(),
        inform: false,
        user: None,
        proof: if asset { Proof::Key } else { Proof::None },
        oid: oid.parse().unwrap(),
        values: vec![VarBind::new(name.parse().unwrap(), value)],
        left_out: 0,
    };
    let kept = |id, asset: Option<&str>, body| Kept {
        id,
        first_at: ago(600),
        last_at: ago(300),
        times: 3,
        asset: asset.map(|name| name.parse().unwrap()),
        body,
    };
    let down = ("1.3.6.1.6.3.1.1.5.3", "1.3.6.1.2.1.2.2.1.2.7");
    let traps = vec![
        kept(2, Some("core-1"), body(true, down.0, down.1, text(hostile))),
        kept(1, None, body(false, "1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2", text(hostile))),
    ];
    let mut event = event(4, 60, EventKind::Syslog, Text::new(hostile, hostile), None);
    event.host = Some("core-1".parse().unwrap());
    let catalogue = Catalogue::shipped();
    let said =
        Said { traps: Ok(traps), events: Ok(vec![event]), catalogue: &catalogue, received: true };
    MessagesPage::build(shown, said, &choice(uri, lang), None).render().unwrap()
}

fn hosts(shown: &Shown, uri: &str, lang: Lang) -> String {
    HostsPage::build(shown, &choice(uri, lang), None).render().unwrap()
}

fn alerts(shown: &Shown, uri: &str, lang: Lang) -> String {
    AlertsPage::build(shown, &choice(uri, lang), None).render().unwrap()
}

fn isolation(shown: &Shown, uri: &str, lang: Lang) -> String {
    IsolationPage::build(shown, &choice(uri, lang), None).render().unwrap()
}

fn host_page(shown: &Shown, uri: &str, lang: Lang, events: Vec<Event>) -> String {
    let name = uri.split(['/', '?']).nth(2).unwrap();
    let host = shown.hosts.iter().find(|host| host.view.name.as_str() == name).unwrap();
    HostPage::build(shown, host, Ok(events), &choice(uri, lang), None).render().unwrap()
}

fn network(shown: &Shown, uri: &str, lang: Lang) -> String {
    NetworkPage::build(shown, &choice(uri, lang), None).render().unwrap()
}

fn device_page(shown: &Shown, uri: &str, lang: Lang, events: Vec<Event>) -> String {
    let name = uri.split(['/', '?']).nth(2).unwrap();
    let device = shown.devices.iter().find(|d| d.view.name.as_str() == name).unwrap();
    DevicePage::build(shown, device, Ok(events), &choice(uri, lang), None).render().unwrap()
}

/// The site with devices, one of which says `said` of itself.
fn polled(said: &str) -> Shown {
    let machines = vec![Machine::new("oa-1", "inner", "10.1.0.7")];
    fixture::with_devices(machines, fixture::devices(said))
}

/// What a person reads: the text between the tags, one line a block.
fn read(html: &str) -> String {
    const BLOCKS: [&str; 14] = [
        "tr", "p", "li", "h1", "h2", "h3", "div", "section", "header", "dt", "summary", "pre",
        "title", "form",
    ];
    let mut out = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find('>').unwrap() + at;
        let tag = rest[at + 1..end].trim_start_matches('/');
        let name = tag.split_whitespace().next().unwrap_or_default();
        out.push_str(if BLOCKS.contains(&name) { "\n" } else { " " });
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    let lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn morning() -> Shown {
    Shown { problems: vec![fixture::config_problem()], ..fixture::shown(fixture::machines()) }
}

#[test]
fn the_pages_read_well_in_both_languages() {
    let shown = morning();
    let nobody = fixture::shown(Vec::new());
    let enforcing = fixture::isolation("nft (pid 4711)");
    let polled = polled("S5720-52X-LI-AC");
    let lines = fixture::with_lines("AR2220E");
    let measuring = fixture::shown(vec![fixture::measuring("may not send ICMP")]);
    for (lang, tag) in [(Lang::En, "en"), (Lang::Zh, "zh")] {
        let pages = [
            ("network", network(&polled, "/network", lang)),
            ("network_lines", network(&lines, "/network", lang)),
            ("network_first_run", network(&nobody, "/network", lang)),
            ("device", device_page(&polled, "/network/floor-3", lang, events())),
            ("hosts", hosts(&shown, "/hosts", lang)),
            ("hosts_first_run", hosts(&nobody, "/hosts", lang)),
            ("alerts", alerts(&shown, "/alerts", lang)),
            ("alerts_none", alerts(&nobody, "/alerts", lang)),
            ("host", host_page(&shown, "/hosts/oa-17", lang, events())),
            ("host_lines", host_page(&measuring, "/hosts/gis-1", lang, Vec::new())),
            ("isolation", isolation(&enforcing, "/isolation", lang)),
            ("messages", messages(&shown, "/messages", lang, "GE0/0/7 电源")),
        ];
        for (name, html) in pages {
            insta::assert_snapshot!(format!("{name}_{tag}"), read(&html));
        }
    }
}

#[test]
fn nothing_a_host_says_becomes_markup() {
    let mut shown =
        fixture::shown(vec![fixture::hostile(), Machine::new("oa-1", "inner", "10.1.0.7")]);
    let mut problem = fixture::config_problem();
    problem.message = HOSTILE.to_owned();
    shown.problems.push(problem);
    for finding in &mut shown.findings {
        finding.alert = HOSTILE.to_owned();
    }
    let told = Text::new(HOSTILE, HOSTILE);
    let mut told = event(1, 60, EventKind::Gap, told, Some(Actor::named(HOSTILE)));
    told.host = Some("oa-66".parse().unwrap());
    let enforcing = fixture::isolation(HOSTILE);
    let hostile = polled(HOSTILE);
    let measuring = fixture::shown(vec![fixture::measuring(HOSTILE)]);
    let query = HOSTILE.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    for lang in BOTH {
        let all = format!("q={query}&zone={query}&state={query}&after={query}&kind={query}");
        for (page, least) in [
            (hosts(&shown, "/hosts", lang), 3),
            (hosts(&shown, &format!("/hosts?{all}"), lang), 3),
            (alerts(&shown, "/alerts", lang), 15),
            (alerts(&shown, &format!("/alerts?{all}"), lang), 3),
            (host_page(&shown, "/hosts/oa-66", lang, vec![told.clone()]), 60),
            (isolation(&enforcing, "/isolation", lang), 6),
            (messages(&shown, "/messages", lang, HOSTILE), 3),
            (messages(&shown, &format!("/messages?{all}"), lang, HOSTILE), 3),
            (network(&hostile, "/network", lang), 3),
            (network(&hostile, &format!("/network?{all}"), lang), 1),
            (network(&fixture::with_lines(HOSTILE), "/network", lang), 2),
            (host_page(&measuring, "/hosts/gis-1", lang, Vec::new()), 9),
            (device_page(&hostile, "/network/floor-3", lang, vec![told.clone()]), 4),
            (isolation(&enforcing, &format!("/isolation?{all}"), lang), 1),
            (host_page(&shown, &format!("/hosts/oa-66?{all}"), lang, vec![told.clone()]), 3),
        ] {
            for markup in ["<script>alert", "<img src=x", "\"'>", "\"'&#62;", "'><"] {
                assert!(!page.contains(markup), "{markup} in {page}");
            }
            let escaped = page.matches("&#60;script&#62;alert(1)").count();
            assert!(escaped >= least, "hostile text is shown only {escaped} times");
            assert!(!without_overrides(page).contains('\u{202e}'), "the text may not be reversed");
        }
    }
}

#[test]
fn templates_hold_no_words_of_their_own() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
    let parts = format!("{folder}/parts");
    for entry in [folder, &parts].iter().flat_map(|f| std::fs::read_dir(f).unwrap()) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let template = without_code(&std::fs::read_to_string(&path).unwrap());
        let (text, tags) = parted(&template);
        let word = text.chars().find(|c| c.is_alphabetic());
        assert_eq!(word, None, "{}: write it in words.rs: {text}", path.display());
        for tag in tags {
            for name in ["title", "aria-label", "placeholder", "alt"] {
                let value = tag.split_once(&format!(" {name}=\"")).map(|(_, rest)| rest);
                let value = value.and_then(|rest| rest.split('"').next()).unwrap_or_default();
                let word = value.chars().any(char::is_alphabetic);
                assert!(!word, "{}: {name} of <{tag}>", path.display());
            }
        }
    }
}

/// A template without its expressions, statements and comments.
fn without_code(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        let close = match &rest[at..at + 2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        out.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find(close).unwrap() + 2..];
    }
    out + rest
}

/// The text of a page and its tags.
fn parted(html: &str) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut tags = Vec::new();
    for (at, part) in html.split('<').enumerate() {
        match part.split_once('>') {
            Some((tag, rest)) if at > 0 => {
                tags.push(tag.to_owned());
                text.push_str(rest);
            }
            Some(_) | None => text.push_str(part),
        }
    }
    (text, tags)
}

#[test]
fn a_fragment_is_the_part_that_changes() {
    let shown = morning();
    let mut wanted = choice("/hosts", Lang::En);
    let whole = HostsPage::build(&shown, &wanted, None).render().unwrap();
    wanted.fragment = true;
    let part = HostsPage::build(&shown, &wanted, None).render().unwrap();
    assert!(part.starts_with("<header id=\"bar\""), "{}", &part[..40]);
    assert!(part.trim_end().ends_with("</main>"));
    assert!(whole.contains(&part[..part.len() - 20]), "the same markup in both");
}

#[test]
fn pages_name_their_language_and_head_their_tables() {
    let shown = morning();
    for (lang, tag) in [(Lang::En, "<html lang=\"en\">"), (Lang::Zh, "<html lang=\"zh-CN\">")] {
        for page in [
            hosts(&shown, "/hosts", lang),
            alerts(&shown, "/alerts", lang),
            host_page(&shown, "/hosts/oa-17", lang, events()),
            isolation(&fixture::isolation("nft (pid 4711)"), "/isolation", lang),
            network(&polled("S5720"), "/network", lang),
            device_page(&polled("S5720"), "/network/floor-3", lang, events()),
        ] {
            assert!(page.contains(tag));
            assert_eq!(page.matches("<h1").count(), 1);
            let (_, tags) = parted(&page);
            let heads = tags.iter().filter(|tag| tag.starts_with("th ") || *tag == "th");
            assert!(heads.clone().count() > 3);
            assert!(heads.clone().all(|tag| tag.contains("scope=")), "a th without scope");
            let (inline, handlers): (Vec<_>, Vec<_>) = (
                tags.iter().filter(|tag| tag.contains(" style=")).collect(),
                tags.iter().filter(|tag| tag.contains(" on")).collect(),
            );
            assert!(inline.is_empty() && handlers.is_empty(), "{inline:?} {handlers:?}");
            let ids: Vec<_> = tags.iter().filter_map(|tag| tag.split_once(" id=\"")).collect();
            let once: BTreeSet<_> = ids.iter().map(|(_, rest)| rest.split('"').next()).collect();
            assert_eq!(ids.len(), once.len(), "an id twice");
        }
    }
}

#[test]
fn a_silent_device_is_shown_as_that_and_its_findings_lead_to_its_page() {
    let shown = polled("S5720");
    let page = network(&shown, "/network", Lang::En);
    let row = page.split("id=\"device-core-1\"").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("mark critical") && !row.contains("mark ok"), "{row}");
    let alerts = alerts(&shown, "/alerts", Lang::En);
    assert!(alerts.contains("href=\"/network/core-1\""), "{alerts}");
}

#[test]
fn a_silent_host_is_nowhere_shown_as_fine() {
    let shown = fixture::shown(vec![Machine::new("gis-1", "inner", "10.1.5.8").silent(5400)]);
    let page = hosts(&shown, "/hosts", Lang::En);
    let row = page.split("id=\"host-gis-1\"").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("mark stale") && !row.contains("mark ok"), "{row}");
}

#[test]
fn a_host_whose_enforcer_was_not_heard_for_long_is_not_shown_as_enforcing() {
    let page = isolation(&fixture::isolation("nft (pid 4711)"), "/isolation", Lang::En);
    let row = page.split("id=\"host-gis-1\"").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("mark stale") && !row.contains("mark ok"), "{row}");
}

#[test]
fn an_invariant_is_shown_as_proved_only_while_the_hosts_it_rests_on_are_heard() {
    let page = isolation(&fixture::isolation("nft (pid 4711)"), "/isolation", Lang::En);
    let row = |name: &str| {
        let rest = page.split(&format!("id=\"invariant-{name}\"")).nth(1).unwrap();
        rest.split("</tr>").next().unwrap().to_owned()
    };
    for (name, mark) in [
        ("INV-01", "mark ok"),
        ("INV-02", "mark critical"),
        ("INV-03", "mark warning"),
        ("INV-04", "mark stale"),
        ("INV-05", "mark stale"),
    ] {
        assert!(row(name).contains(mark), "{name}: {}", row(name));
        assert_eq!(row(name).contains("mark ok"), mark == "mark ok", "{name}");
    }
    assert!(row("INV-04").contains("the probe links of gis-1 last read"), "{}", row("INV-04"));
    let packet = page.split("id=\"packet-INV-02\"").nth(1).unwrap();
    let packet = packet.split("</section>").next().unwrap();
    for told in ["policy.yaml:9 exchange point EX-1", "tcp dport 3389 accept", "would stop it:"] {
        assert!(packet.contains(told), "{told}: {packet}");
    }
}

#[test]
fn a_fact_that_cannot_be_read_says_why() {
    let shown = morning();
    let page = host_page(&shown, "/hosts/web-2", Lang::En, Vec::new());
    assert!(page.contains("<b>not available</b> needs CAP_NET_ADMIN"), "{page}");
}

fn names_on(page: &str) -> Vec<String> {
    let rows = page.split("<tr id=\"host-").skip(1);
    rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn every_host_of_a_large_zone_is_on_exactly_one_page() {
    let mut machines = fixture::machines();
    for n in 0..450 {
        machines.push(Machine::new(&format!("pc-{n:03}"), "inner", "10.1.20.7"));
    }
    let inner = machines.iter().filter(|machine| machine.zone == "inner").count();
    let shown = fixture::shown(machines);
    let all_zones = hosts(&shown, "/hosts", Lang::En);
    assert!(names_on(&all_zones).len() <= MAX_ROWS);
    assert!(names_on(&all_zones).contains(&"ex-front".to_owned()), "no zone is left out");
    let mut seen = Vec::new();
    let mut uri = "/hosts?zone=inner".to_owned();
    for _ in 0..10 {
        let page = hosts(&shown, &uri, Lang::En);
        let names = names_on(&page);
        assert!(names.len() <= MAX_ROWS);
        seen.extend(names);
        let next = page.split("href=\"").find(|part| part.contains("Next page"));
        match next {
            Some(link) => uri = link.split('"').next().unwrap().replace("&#38;", "&"),
            None => break,
        }
    }
    assert_eq!(seen.len(), inner);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), inner);
    assert_eq!(seen[0], "oa-17", "the worst come first");
}

#[test]
fn a_host_is_found_by_name_address_and_hardware_address() {
    let shown = morning();
    for (text, wanted) in [
        ("oracle", &["oracle-fin"][..]),
        ("172.20.4.9", &["oa-17"]),
        ("52:54:00:12:34:63", &["oa-17"]),
        ("OA-1", &["oa-17", "oa-18"]),
        ("nothing of the kind", &[]),
    ] {
        let query = text.replace(' ', "%20");
        let page = hosts(&shown, &format!("/hosts?q={query}"), Lang::En);
        assert_eq!(names_on(&page), wanted, "{text}");
    }
}

#[test]
fn a_filter_narrows_alerts_by_zone_and_severity() {
    let shown = morning();
    let count = |uri: &str| alerts(&shown, uri, Lang::En).matches("<article").count();
    let all = count("/alerts");
    assert_eq!(all, shown.findings.len());
    let outer = shown.findings.iter().filter(|f| f.zone.as_str() == "outer").count();
    assert_eq!(count("/alerts?zone=outer"), outer);
    assert_eq!(count("/alerts?state=critical") + count("/alerts?state=warning"), all);
    assert_eq!(count("/alerts?q=172.20.4.9"), 1);
    assert_eq!(count("/alerts?after=nonsense"), all);
}

#[test]
fn a_finding_that_nothing_fresh_confirms_says_so() {
    let mut shown = morning();
    shown.findings[0].held = true;
    assert!(alerts(&shown, "/alerts", Lang::En).contains("held: no fresh data"));
    assert!(alerts(&shown, "/alerts", Lang::Zh).contains("保持：无新数据"));
}

#[test]
fn the_timeline_shows_a_day_and_who_acted() {
    let page = host_page(&morning(), "/hosts/oa-17", Lang::En, events());
    assert!(page.contains("by uid 0"));
    assert!(!page.contains("Too long ago"));
}

#[test]
fn a_host_with_thousands_of_facts_is_shown_in_pages() {
    let mut machine = Machine::new("core-1", "inner", "10.1.0.1");
    for n in 0..450 {
        machine.set(fixture::neighbour(n));
    }
    let shown = fixture::shown(vec![machine]);
    let page = host_page(&shown, "/hosts/core-1", Lang::En, Vec::new());
    assert!(page.contains("/hosts/core-1?kind=links.neighbour"));
    let mut rows = 0;
    let mut uri = "/hosts/core-1?kind=links.neighbour".to_owned();
    for _ in 0..10 {
        let page = host_page(&shown, &uri, Lang::En, Vec::new());
        let here = page.matches("<th scope=\"row\">").count();
        assert!(here <= host::MAX_FACT_ROWS);
        rows += here;
        let next = page.split("href=\"").find(|part| part.contains("Next page"));
        match next {
            Some(link) => uri = link.split('"').next().unwrap().replace("&#38;", "&"),
            None => break,
        }
    }
    assert_eq!(rows, 450, "the gateway is one of them");
}
