//! The invariants on the page Isolation: does each hold for the rules that run now, and if not, which
//! packet shows it?

use askama::Template;
use askama::filters::HtmlSafe;
use bailey_rules::policy::{Demand, Party};
use bailey_rules::prove::site::told::{self, Answer, Standing};
use bailey_rules::text::Lang;

use super::MAX_ROWS;
use super::isolation::party;
use crate::proving::Stands;
use crate::web::frame::Choice;
use crate::web::shown::{Age, Mark, Shown};
use crate::web::words::{Words, filled};

/// The most packets that are shown with their way, the worst answers first.
const MAX_PACKETS: usize = 12;

/// The most hosts of one way, and changes that would stop it.
const MAX_HOPS: usize = 16;
/// See [`MAX_HOPS`].
const MAX_CUTS: usize = 8;

/// Every invariant, the worst first.
#[derive(Template)]
#[template(path = "parts/invariants.html")]
pub(super) struct Invariants {
    w: &'static Words,
    counts: Vec<(Mark, usize)>,
    rows: Vec<Row>,
    more: usize,
}

/// A packet for each invariant that is broken, or perhaps is.
#[derive(Template)]
#[template(path = "parts/packets.html")]
pub(super) struct Packets {
    w: &'static Words,
    packets: Vec<Packet>,
}

/// Their templates escape what they show.
impl HtmlSafe for Invariants {}
impl HtmlSafe for Packets {}

struct Row {
    name: String,
    line: u64,
    mark: Mark,
    demand: String,
    since: Option<Age>,
    proved: Option<Age>,
    took: String,
    old: String,
    doubt: String,
    hosts: String,
    assumptions: Vec<String>,
}

struct Packet {
    name: String,
    mark: Mark,
    perhaps: bool,
    begins: String,
    end: String,
    hops: Vec<Hop>,
    cuts: Vec<(String, String)>,
}

struct Hop {
    host: String,
    is_host: bool,
    way: String,
    packet: String,
    by: Vec<By>,
}

struct By {
    words: String,
    policy: String,
}

impl Packets {
    pub(super) fn of(standings: &[Stands<'_>], choice: &Choice) -> Self {
        let packets = standings.iter().filter_map(|stands| packet(choice, stands));
        Self { w: choice.words(), packets: packets.take(MAX_PACKETS).collect() }
    }
}

/// How every invariant stands, the worst first; those that stand alike are in the order of their names.
pub(super) fn worst_first(shown: &Shown) -> Vec<Stands<'_>> {
    let mut standings = shown.standings();
    standings.sort_by_key(|stands| std::cmp::Reverse(stands.standing));
    standings
}

impl Invariants {
    pub(super) fn of(shown: &Shown, standings: &[Stands<'_>], choice: &Choice) -> Self {
        let mut counts: Vec<(Mark, usize)> = Vec::new();
        for stands in standings {
            let mark = mark(stands.standing, choice.lang);
            match counts.iter_mut().find(|(known, _)| *known == mark) {
                Some((_, count)) => *count += 1,
                None => counts.push((mark, 1)),
            }
        }
        let rows = standings.iter().take(MAX_ROWS).map(|stands| row(shown, choice, stands));
        Self {
            w: choice.words(),
            counts,
            more: standings.len().saturating_sub(MAX_ROWS),
            rows: rows.collect(),
        }
    }

    /// Whether there is anything to show.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

fn mark(standing: Standing, lang: Lang) -> Mark {
    let (class, shape) = match standing {
        Standing::Proved => ("ok", '●'),
        Standing::Stale => ("stale", '◌'),
        Standing::OutOfModel => ("warning", '▲'),
        Standing::Broken => ("critical", '■'),
    };
    Mark { class, shape, word: standing.word().in_lang(lang).to_owned() }
}

fn row(shown: &Shown, choice: &Choice, stands: &Stands<'_>) -> Row {
    let (w, lang) = (choice.words(), choice.lang);
    let age = |at| Age::of(at, shown.now, shown.local, lang);
    let proof = stands.held.map(|held| &held.proof);
    let basis = proof.and_then(|proof| proof.basis.as_ref());
    let (doubt, assumptions) = match proof.map(|proof| &proof.answer) {
        Some(Answer::Proved { assumptions }) => {
            let texts = assumptions.iter().map(|one| one.text.in_lang(lang).to_owned());
            (String::new(), texts.collect())
        }
        Some(Answer::OutOfModel { statement, at, wanted, .. }) => {
            let at = at.as_ref().map_or_else(String::new, |at| format!(" ({at})"));
            let wanted = wanted.in_lang(lang);
            (format!("{statement}{at}; {} {wanted}", w.it_would_take), Vec::new())
        }
        Some(Answer::Broken { .. }) | None => (String::new(), Vec::new()),
    };
    Row {
        name: stands.name.to_owned(),
        line: stands.line,
        mark: mark(stands.standing, lang),
        demand: demand(stands.demand, w),
        since: stands.held.map(|held| age(held.since)),
        proved: basis.map(|basis| age(basis.proved_at)),
        took: basis.map(|basis| took(basis.took_micros)).unwrap_or_default(),
        old: stands.old.as_ref().map(|old| old.in_lang(lang).to_owned()).unwrap_or_default(),
        doubt,
        hosts: proof.map(|proof| filled(w.hosts_looked_at, proof.hosts.len())).unwrap_or_default(),
        assumptions,
    }
}

/// `2.1 s`, `41 ms`.
fn took(micros: u64) -> String {
    match micros {
        0..1_000_000 => format!("{} ms", micros.div_ceil(1_000)),
        1_000_000.. => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

fn demand(demand: &Demand, w: &Words) -> String {
    let way = |from: &Party, to: &Party| format!("{} → {}", party(from), party(to));
    match demand {
        Demand::Never { from, to } => format!("{} {}", way(from, to), w.demand_never),
        Demand::Only { from, to, through } => {
            format!("{} {} {}", way(from, to), w.demand_only, through.join(", "))
        }
        Demand::Always { from, to, service } => format!("{} {service}", way(from, to)),
    }
}

/// The packet that breaks an invariant, or perhaps does.
fn packet(choice: &Choice, stands: &Stands<'_>) -> Option<Packet> {
    let lang = choice.lang;
    let (breach, perhaps) = match &stands.held?.proof.answer {
        Answer::Proved { .. } => return None,
        Answer::Broken { breach } => (breach, false),
        Answer::OutOfModel { perhaps, .. } => (perhaps.as_ref()?, true),
    };
    let cuts = breach.cuts.iter().take(MAX_CUTS);
    Some(Packet {
        name: stands.name.to_owned(),
        mark: mark(stands.standing, lang),
        perhaps,
        begins: breach.packet.to_string(),
        end: breach.end.in_lang(lang).to_owned(),
        hops: breach.path.iter().take(MAX_HOPS).map(|hop| one_hop(choice, hop)).collect(),
        cuts: cuts.map(|cut| (cut.host.to_string(), cut.what.in_lang(lang).to_owned())).collect(),
    })
}

fn one_hop(choice: &Choice, hop: &told::Hop) -> Hop {
    let w = choice.words();
    let name = hop.host.as_ref().map(ToString::to_string);
    let end = |interface: &Option<String>| interface.clone().unwrap_or_else(|| "–".to_owned());
    let by = hop.by.iter().map(|by| By {
        words: by.words().in_lang(choice.lang).to_owned(),
        policy: by.policy.as_ref().map_or_else(String::new, |of| {
            format!("{} {}:{} {}", w.compiled_from, of.file, of.line, of.what)
        }),
    });
    Hop {
        is_host: name.is_some(),
        host: name.unwrap_or_else(|| w.on_the_wire.to_owned()),
        way: format!("{} → {}", end(&hop.iif), end(&hop.oif)),
        packet: hop.packet.to_string(),
        by: by.collect(),
    }
}
