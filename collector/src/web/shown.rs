//! One look at the site: everything a page shows, read at one moment, and the small pieces that
//! every page is made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;
use bailey_rules::check::State;
use bailey_rules::expectation::RuleFiles;
use bailey_rules::finding::{AssetKind, Finding, Severity};
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::policy::Policy;
use bailey_rules::text::Lang;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::Asset;
use time::{OffsetDateTime, UtcOffset};

use super::Web;
use super::frame::Filter;
use super::words::{Words, filled};
use crate::device::DeviceStatus;
use crate::proving::{Known, Stands};
use crate::push::Overview;
use crate::site::{ConfigProblem, HostStatus};
use crate::wiring::Wiring;

/// The parts of the site that every host is judged in, in the order of the screens. They are the
/// `component` of a check.
pub const COMPONENTS: [&str; 5] = ["host", "firewall", "backup", "isolation", "agent"];

/// The part that a host is judged in besides, where it measures lines.
const LINES: &str = "network";

/// The parts of the site that a host is judged in.
pub fn components_of(host: &HostStatus) -> impl Iterator<Item = &'static str> {
    let lines = component_state(host, LINES).map(|_| LINES);
    COMPONENTS.into_iter().chain(lines)
}

/// The parts of the site that a device is judged in, in the order of the screens.
pub const DEVICE_COMPONENTS: [&str; 4] = ["network", "isolation", "power", "host"];

/// Every part of the site that anything is judged in.
pub const ALL_COMPONENTS: [&str; 7] =
    ["host", "firewall", "backup", "isolation", "agent", "network", "power"];

/// The site at one moment.
#[derive(Clone)]
pub struct Shown {
    /// Every host, by name.
    pub hosts: Vec<Arc<HostStatus>>,
    /// Every device, by name.
    pub devices: Vec<Arc<DeviceStatus>>,
    /// How the site is wired.
    pub wiring: Arc<Wiring>,
    /// What the rule files demand.
    pub rule_files: Arc<RuleFiles>,
    /// Open findings, worst first.
    pub findings: Vec<Finding>,
    /// Reloads that were refused, newest first.
    pub problems: Vec<ConfigProblem>,
    /// Zones and their names.
    pub policy: Arc<Policy>,
    /// Pushes of orders that are under way.
    pub pushes: Arc<Overview>,
    /// What is known of the invariants.
    pub proofs: Arc<Known>,
    /// The moment, by the collector's clock.
    pub now: Timestamp,
    /// The site's local time.
    pub local: LocalTime,
}

impl Shown {
    /// Looks at the site now.
    #[must_use]
    pub fn of(web: &Web) -> Self {
        let site = web.site();
        Self {
            hosts: site.hosts(),
            devices: site.devices(),
            wiring: site.wiring(),
            rule_files: site.rule_files(),
            findings: site.findings(),
            problems: site.problems(),
            policy: site.policy(),
            pushes: web.pushes().overview(),
            proofs: site.proofs(),
            now: site.now(),
            local: LocalTime(web.offset()),
        }
    }

    /// What every invariant that can be proved amounts to, in the order of names.
    pub(crate) fn standings(&self) -> Vec<Stands<'_>> {
        let view = |name: &HostName| {
            let at = self.hosts.binary_search_by(|host| host.view.name.cmp(name)).ok()?;
            Some(Arc::clone(&self.hosts[at].view))
        };
        self.proofs.standings(&self.policy, self.now, view)
    }

    /// What a port of a device is called.
    #[must_use]
    pub fn port_name(&self, device: &HostName, port: u32) -> String {
        let device = self.devices.iter().find(|known| known.view.name == *device);
        let interfaces = device.and_then(|device| device.view.interfaces.value());
        let found = interfaces.and_then(|all| all.iter().find(|i| i.index == port));
        found.map_or_else(|| port.to_string(), |interface| interface.name.clone())
    }

    /// Where an asset is plugged in, in words; `None` where that is not known.
    #[must_use]
    pub fn place(&self, asset: &Asset, lang: Lang) -> Option<String> {
        let place = self.wiring.place_of(asset)?;
        let (device, worth) = (&place.device, place.confidence.word());
        let port = self.port_name(device, place.port);
        Some(match lang {
            Lang::En => format!("{device} {port} ({})", worth.en),
            Lang::Zh => format!("{device} {port}（{}）", worth.zh),
        })
    }

    /// Zones that the policy names or a host or device is in, those with most hosts first.
    #[must_use]
    pub fn zones(&self) -> Vec<ZoneName> {
        let mut hosts: BTreeMap<&ZoneName, usize> =
            self.policy.zones.keys().map(|zone| (zone, 0)).collect();
        for host in &self.hosts {
            *hosts.entry(&host.view.zone).or_default() += 1;
        }
        for device in &self.devices {
            hosts.entry(&device.view.zone).or_default();
        }
        let mut zones: Vec<_> = hosts.into_iter().collect();
        zones.sort_by_key(|(_, hosts)| std::cmp::Reverse(*hosts));
        zones.into_iter().map(|(zone, _)| zone.clone()).collect()
    }

    /// What people call a zone; empty where it has no other name than its own.
    #[must_use]
    pub fn zone_title(&self, zone: &ZoneName) -> &str {
        self.policy
            .zones
            .get(zone)
            .and_then(|zone| zone.name.as_deref())
            .filter(|title| *title != zone.as_str())
            .unwrap_or_default()
    }

    /// How many hosts are in each state, in the order of [`State::ALL`].
    #[must_use]
    pub fn counts(&self, zone: Option<&str>) -> [usize; State::ALL.len()] {
        count_states(self.hosts.iter().filter(|host| in_zone(host.view.zone.as_str(), zone)))
    }

    /// How many devices are in each state, in the order of [`State::ALL`].
    #[must_use]
    pub fn device_counts(&self, zone: Option<&str>) -> [usize; State::ALL.len()] {
        let of_zone = self.devices.iter().filter(|d| in_zone(d.view.zone.as_str(), zone));
        tally(of_zone.map(|device| device.state))
    }
}

/// How many of `states` are each, in the order of [`State::ALL`].
fn tally(states: impl Iterator<Item = State>) -> [usize; State::ALL.len()] {
    let mut counts = [0; State::ALL.len()];
    for one in states {
        for (count, state) in counts.iter_mut().zip(State::ALL) {
            *count += usize::from(one == state);
        }
    }
    counts
}

/// How many of `hosts` are in each state, in the order of [`State::ALL`].
pub fn count_states<'a>(
    hosts: impl Iterator<Item = &'a Arc<HostStatus>>,
) -> [usize; State::ALL.len()] {
    tally(hosts.map(|host| host.state))
}

/// Where the pages of a sort of asset are.
#[must_use]
pub const fn pages_of(kind: AssetKind) -> &'static str {
    match kind {
        AssetKind::Host => "hosts",
        AssetKind::Device => "network",
    }
}

/// Whether a zone passes the filter of the address line.
#[must_use]
pub fn in_zone(zone: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| wanted == zone)
}

/// The rows of one page in a longer list, such as `201–400`.
#[must_use]
pub fn range(skipped: usize, rows: usize) -> String {
    format!("{}–{}", skipped + 1, skipped + rows)
}

/// The state that the filter names, in the reader's language.
#[must_use]
pub fn state_word(filter: &Filter, lang: Lang) -> String {
    let word = filter.state.as_deref().unwrap_or_default();
    State::ALL.into_iter().find(|state| state.as_str() == word).map_or_else(
        || word.to_owned(),
        |state| format!("{} {}", state.shape(), state.word().in_lang(lang)),
    )
}

/// The worst state of one component of a host; `None` where nothing of it was judged.
#[must_use]
pub fn component_state(host: &HostStatus, component: &str) -> Option<State> {
    host.judged
        .iter()
        .filter(|judged| judged.check.component == component)
        .flat_map(|judged| &judged.verdicts)
        .map(bailey_rules::check::Verdict::state)
        .max()
}

/// The site's local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime(pub UtcOffset);

impl LocalTime {
    fn at(self, at: Timestamp) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(at.as_seconds())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .to_offset(self.0)
    }

    /// `2026-11-23 14:32`.
    #[must_use]
    pub fn minute(self, at: Timestamp) -> String {
        let at = self.at(at);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", at.hour(), at.minute())
    }

    /// `2026-11-23 14:32:07 +08:00`.
    #[must_use]
    pub fn full(self, at: Timestamp) -> String {
        format!("{}:{:02} {}", self.minute(at), self.at(at).second(), self.offset())
    }

    /// `14:32:07`.
    #[must_use]
    pub fn clock(self, at: Timestamp) -> String {
        let at = self.at(at);
        format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second())
    }

    /// `11-23 14:32:07`.
    #[must_use]
    pub fn day_and_clock(self, at: Timestamp) -> String {
        let day = self.at(at);
        format!("{:02}-{:02} {}", u8::from(day.month()), day.day(), self.clock(at))
    }

    /// `+08:00`.
    #[must_use]
    pub fn offset(self) -> String {
        let (hours, minutes, _) = self.0.as_hms();
        let sign = if self.0.is_negative() { '-' } else { '+' };
        format!("{sign}{:02}:{:02}", hours.abs(), minutes.abs())
    }

    /// Minutes east of UTC, for the clock in the browser.
    #[must_use]
    pub fn minutes(self) -> i32 {
        self.0.whole_seconds() / 60
    }

    /// RFC 3339 with the site's offset.
    #[must_use]
    pub fn rfc3339(self, at: Timestamp) -> String {
        let minute = self.minute(at).replace(' ', "T");
        format!("{minute}:{:02}{}", self.at(at).second(), self.offset())
    }
}

/// A state or severity as the screens show it: shape, word and colour together.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "parts/mark.html")]
pub struct Mark {
    /// The CSS class that carries the colour: the word of [`State::as_str`], or `none`.
    pub class: &'static str,
    /// The shape.
    pub shape: char,
    /// The word in the reader's language.
    pub word: String,
}

/// Its template escapes what it shows.
impl HtmlSafe for Mark {}

impl Mark {
    /// The mark of a state.
    #[must_use]
    pub fn of(state: State, lang: Lang) -> Self {
        Self {
            class: state.as_str(),
            shape: state.shape(),
            word: state.word().in_lang(lang).to_owned(),
        }
    }

    /// The mark of a severity.
    #[must_use]
    pub fn of_severity(severity: Severity, lang: Lang) -> Self {
        match severity {
            Severity::Warning => Self::of(State::Warning, lang),
            Severity::Critical => Self::of(State::Critical, lang),
        }
    }

    /// The mark of what was not judged.
    #[must_use]
    pub fn none(word: &str) -> Self {
        Self { class: "none", shape: '–', word: word.to_owned() }
    }
}

/// A point in time as a page shows it: relative for recency, absolute in the title.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "parts/age.html")]
pub struct Age {
    /// Milliseconds since 1970, for the browser to count on.
    pub at: i64,
    /// RFC 3339.
    pub iso: String,
    /// Local date and time with the offset.
    pub absolute: String,
    /// The age in words.
    pub text: String,
}

/// Its template escapes what it shows.
impl HtmlSafe for Age {}

impl Age {
    /// The age of `at` as seen at `now`.
    #[must_use]
    pub fn of(at: Timestamp, now: Timestamp, local: LocalTime, lang: Lang) -> Self {
        Self {
            at: at.as_millis(),
            iso: local.rfc3339(at),
            absolute: local.full(at),
            text: short_span(at.age(now), lang),
        }
    }
}

/// A span as one number with one unit: what the ages of a page are shown in. `assets/bailey.js`
/// counts on with the same units and the same bounds.
#[must_use]
pub fn short_span(span: Duration, lang: Lang) -> String {
    let words = Words::of(lang);
    let seconds = span.as_secs();
    match seconds {
        0..60 => filled(words.age_seconds, seconds),
        60..3600 => filled(words.age_minutes, seconds / 60),
        3600..172_800 => filled(words.age_hours, seconds / 3600),
        172_800.. => filled(words.age_days, seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_carries_its_offset() {
        let local = LocalTime(UtcOffset::from_hms(8, 0, 0).unwrap());
        let at: Timestamp = "2026-11-23T06:32:07Z".parse().unwrap();
        assert_eq!(local.full(at), "2026-11-23 14:32:07 +08:00");
        assert_eq!(local.rfc3339(at), "2026-11-23T14:32:07+08:00");
        assert_eq!(local.day_and_clock(at), "11-23 14:32:07");
        let west = LocalTime(UtcOffset::from_hms(-3, -30, 0).unwrap());
        assert_eq!(west.full(at), "2026-11-23 03:02:07 -03:30");
        assert_eq!(west.minutes(), -210);
    }

    #[test]
    fn an_age_is_one_number_with_one_unit() {
        for (seconds, en, zh) in [
            (0, "0 s", "0 秒"),
            (61, "1 min", "1 分钟"),
            (3_600, "1 h", "1 小时"),
            (172_799, "47 h", "47 小时"),
            (172_800, "2 d", "2 天"),
        ] {
            assert_eq!(short_span(Duration::from_secs(seconds), Lang::En), en);
            assert_eq!(short_span(Duration::from_secs(seconds), Lang::Zh), zh);
        }
    }
}
