//! The sum of all connections seen: bounded, and coarse where it is told to others.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bailey_rules::fact::Fact;
use bailey_rules::fact::flows::{FlowWatch, MAX_FLOWS, SeenFlow};
use bailey_rules::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A flow that was not opened for so long is forgotten.
const KEPT: Duration = Duration::from_hours(14 * 24);
/// Times are told to the hour.
const HOUR_MILLIS: i64 = 3_600_000;

/// Who opened what to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Opened {
    pub from: IpAddr,
    pub to: IpAddr,
    /// The protocol's number (IANA, Assigned Internet Protocol Numbers).
    pub protocol: u8,
    /// The port of `to`, or the type of an ICMP message; 0 where there is neither.
    pub port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    opened: Opened,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

/// Everything seen.
#[derive(Debug)]
pub(super) struct Book {
    since: Timestamp,
    forgotten: u64,
    overrun: u64,
    flows: BTreeMap<Opened, Entry>,
}

/// The book as it is kept in a file.
#[derive(Serialize, Deserialize)]
struct Written {
    since: Timestamp,
    forgotten: u64,
    overrun: u64,
    flows: Vec<Entry>,
}

impl Book {
    /// An empty one that begins now.
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { since: now, forgotten: 0, overrun: 0, flows: BTreeMap::new() }
    }

    /// The book of a file.
    pub(super) fn from_text(text: &str) -> io::Result<Self> {
        let written: Written = serde_json::from_str(text)?;
        let Written { since, forgotten, overrun, flows } = written;
        let flows = flows.into_iter().take(MAX_FLOWS).map(|entry| (entry.opened, entry)).collect();
        Ok(Self { since, forgotten, overrun, flows })
    }

    /// The book for a file.
    pub(super) fn to_text(&self) -> String {
        let written = Written {
            since: self.since,
            forgotten: self.forgotten,
            overrun: self.overrun,
            flows: self.flows.values().copied().collect(),
        };
        serde_json::to_string(&written).expect("addresses, numbers and times are JSON")
    }

    /// Notes a connection that was opened now.
    pub(super) fn note(&mut self, opened: Opened, now: Timestamp) {
        if let Some(entry) = self.flows.get_mut(&opened) {
            entry.count = entry.count.saturating_add(1);
            entry.last = entry.last.max(now);
            return;
        }
        if self.flows.len() >= MAX_FLOWS {
            self.forget_one();
        }
        self.flows.insert(opened, Entry { opened, count: 1, first: now, last: now });
    }

    /// Notes a connection that is open now, and may have been noted when it was opened.
    pub(super) fn note_open(&mut self, opened: Opened, now: Timestamp) {
        match self.flows.get_mut(&opened) {
            Some(entry) => entry.last = entry.last.max(now),
            None => self.note(opened, now),
        }
    }

    /// Notes that connections may have been missed.
    pub(super) const fn note_overrun(&mut self) {
        self.overrun = self.overrun.saturating_add(1);
    }

    /// Makes room: of those opened once, the one opened least recently goes; only where there is none,
    /// of all. A scan of many ports so pushes out itself and no habit.
    fn forget_one(&mut self) {
        let last = self.flows.values().min_by_key(|entry| (entry.count > 1, entry.last));
        if let Some(opened) = last.map(|entry| entry.opened) {
            self.flows.remove(&opened);
            self.forgotten = self.forgotten.saturating_add(1);
        }
    }

    /// Forgets what nobody has opened for [`KEPT`].
    pub(super) fn forget_old(&mut self, now: Timestamp) {
        self.flows.retain(|_, entry| entry.last.age(now) <= KEPT);
    }

    /// Every flow as a fact.
    pub(super) fn facts(&self) -> Vec<Fact> {
        self.flows
            .values()
            .map(|entry| {
                let Opened { from, to, protocol, port } = entry.opened;
                let flow = SeenFlow {
                    from,
                    to,
                    protocol,
                    port,
                    count: coarse(entry.count),
                    first: hour(entry.first),
                    last: hour(entry.last),
                };
                Fact::known(&flow.to_string(), flow)
            })
            .collect()
    }

    /// What the absence of a flow is worth.
    pub(super) fn watch(&self) -> FlowWatch {
        FlowWatch {
            since: hour(self.since),
            forgotten: coarse(self.forgotten),
            overrun: coarse(self.overrun),
        }
    }
}

/// Rounded down to a power of two; 0 stays.
const fn coarse(count: u64) -> u64 {
    match count.checked_ilog2() {
        Some(power) => 1 << power,
        None => 0,
    }
}

const fn hour(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().div_euclid(HOUR_MILLIS) * HOUR_MILLIS)
}

#[cfg(test)]
mod tests {
    use bailey_rules::fact::flows::SeenFlow;
    use bailey_rules::fact::{FactValue, Named as _};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn to_port(port: u16) -> Opened {
        Opened { from: [10, 1, 7, 20].into(), to: [10, 1, 3, 10].into(), protocol: 6, port }
    }

    fn flows(book: &Book) -> Vec<SeenFlow> {
        let value = |fact: &Fact| -> Option<FactValue> { fact.reading.known().cloned() };
        let values: Vec<FactValue> = book.facts().iter().filter_map(value).collect();
        values.iter().filter_map(SeenFlow::of).copied().collect()
    }

    #[test]
    fn habits_change_no_fact() {
        let mut book = Book::new(NOW);
        for _ in 0..40 {
            book.note(to_port(443), NOW);
        }
        let before = book.facts();
        for second in 0..20 {
            book.note(to_port(443), NOW.shifted(second * 1000));
        }
        assert_eq!(book.facts(), before, "20 more within the hour");
        assert_eq!(before[0].key.subject.as_ref(), "10.1.7.20 > 10.1.3.10 tcp 443");
        let seen = flows(&book)[0];
        assert_eq!((seen.count, seen.first.as_millis() % HOUR_MILLIS), (32, 0));
        book.note(to_port(443), NOW.shifted(2 * HOUR_MILLIS));
        assert_ne!(book.facts(), before, "it is used two hours later too");
    }

    #[test]
    fn a_scan_of_all_ports_pushes_out_itself_and_is_counted() {
        let mut book = Book::new(NOW);
        book.note(to_port(22), NOW);
        book.note(to_port(22), NOW);
        for port in 1000..3000 {
            book.note(to_port(port), NOW.shifted(i64::from(port)));
        }
        let left = flows(&book);
        assert_eq!(left.len(), MAX_FLOWS);
        assert!(left.iter().any(|flow| flow.port == 22), "a habit stays");
        assert!(left.iter().any(|flow| flow.port == 2999), "the newest stays");
        // 2,001 flows came, 512 are left; told as a power of two.
        assert_eq!(book.watch().forgotten, 1024);
    }

    #[test]
    fn what_nobody_opens_any_more_is_forgotten_after_two_weeks() {
        let mut book = Book::new(NOW);
        book.note(to_port(443), NOW);
        book.note_open(to_port(443), NOW + Duration::from_hours(24));
        book.forget_old(NOW + Duration::from_hours(15 * 24));
        assert_eq!(flows(&book).len(), 1, "it was still open a day later");
        book.forget_old(NOW + Duration::from_hours(16 * 24));
        assert_eq!(flows(&book).len(), 0);
    }

    #[test]
    fn a_book_outlives_the_process_and_a_damaged_file_is_none() {
        let mut book = Book::new(NOW);
        book.note(to_port(443), NOW);
        book.note_overrun();
        let again = Book::from_text(&book.to_text()).expect("its own text");
        assert_eq!(again.facts(), book.facts());
        assert_eq!(again.watch(), book.watch());
        for text in ["", "{}", "[]", &book.to_text()[1..]] {
            assert!(Book::from_text(text).is_err(), "{text}");
        }
    }
}
