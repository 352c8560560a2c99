//! How well a line carries packets: whether its far end answers, how many packets are lost on the way
//! there and back, and how long they take.
//!
//! Somebody asks the far end again and again and notes what came ([`Quality::note`]). A packet that is
//! lost among others is loss; where [`OUTAGE`] or more in a row are lost, the line is not there, and they
//! count against its availability instead (as ITU-T G.826 draws the line for seconds).

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::samples::{SAMPLE, Samples, Timed};
use crate::expectation::Ask;
use crate::text::Text;
use crate::time::Timestamp;
use crate::unit::Percent;

/// So many packets in a row without an answer are an outage.
pub const OUTAGE: u32 = 10;

/// How far back loss and round trip are counted.
pub const WINDOW: Duration = Duration::from_mins(5);

/// The most packets of a window; beyond that the oldest go.
const MAX_WINDOW: usize = 1500;

/// Of fewer packets nothing is said.
const ENOUGH: usize = 10;

/// What became of the packets within one [`SAMPLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When the sample ended.
    pub at: Timestamp,
    /// How often the far end was asked.
    pub asked: u32,
    /// How many packets were lost among others.
    pub lost: u32,
    /// How many were lost in outages.
    pub out: u32,
    /// How long an answer took on average; absent without one.
    pub round_trip: Option<Duration>,
}

impl Timed for Asked {
    fn at(&self) -> Timestamp {
        self.at
    }
}

/// What the packets of the last [`WINDOW`] say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lately {
    /// How many packets that is, those of outages left out.
    pub asked: usize,
    /// The part of them that was lost.
    #[serde(rename = "lost_permille", serialize_with = "permille")]
    pub lost: Percent,
    /// The median of the round trips; absent without an answer.
    #[serde(rename = "round_trip_micros", serialize_with = "micros")]
    pub round_trip: Option<Duration>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The shape that serde asks for.
fn permille<S: serde::Serializer>(part: &Percent, out: S) -> Result<S::Ok, S::Error> {
    part.0.serialize(out)
}

#[allow(clippy::ref_option)] // The shape that serde asks for.
fn micros<S: serde::Serializer>(length: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    length.map(|length| u64::try_from(length.as_micros()).unwrap_or(u64::MAX)).serialize(out)
}

/// The quality of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quality {
    /// What is asked, and how.
    pub ask: Ask,
    /// Why it cannot be asked at all, when it cannot.
    pub failed: Option<Text>,
    /// When it was asked first since the collector started.
    since: Option<Timestamp>,
    asked_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    /// The last [`WINDOW`] by time.
    newest: VecDeque<(Timestamp, Packet)>,
    month: Samples<Asked>,
    /// When the sample that is being counted began.
    began: Option<Timestamp>,
    counting: Counting,
}

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packet {
    /// It was answered after so long.
    Answered(Duration),
    /// It was lost, as the one of this number in a row: the row may have begun before the window.
    Lost(u32),
}

/// What is counted of the sample that is not over yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counting {
    asked: u32,
    lost: u32,
    out: u32,
    answers: u32,
    took: Duration,
    /// Packets lost in a row up to now, of which it is not decided yet what they are.
    row: u32,
}

impl Quality {
    /// Of a line that is asked from now on; `month` is what was kept of it, by time.
    #[must_use]
    pub fn new(ask: Ask, month: impl IntoIterator<Item = Asked>) -> Self {
        Self {
            ask,
            failed: None,
            since: None,
            asked_at: None,
            answered_at: None,
            newest: VecDeque::new(),
            month: month.into_iter().collect(),
            began: None,
            counting: Counting::default(),
        }
    }

    /// Notes that the far end was asked at `at`, and how long its answer took; `None`: none came.
    pub fn note(&mut self, at: Timestamp, answer: Option<Duration>) {
        self.failed = None;
        self.since.get_or_insert(at);
        self.asked_at = Some(at);
        let counting = &mut self.counting;
        counting.asked += 1;
        let packet = match answer {
            Some(took) => {
                self.answered_at = Some(at);
                counting.answers += 1;
                counting.took += took;
                if counting.row < OUTAGE {
                    counting.lost += counting.row;
                }
                counting.row = 0;
                Packet::Answered(took)
            }
            None => {
                counting.row = counting.row.saturating_add(1);
                match counting.row {
                    row if row == OUTAGE => counting.out += OUTAGE,
                    row if row > OUTAGE => counting.out += 1,
                    _ => {}
                }
                Packet::Lost(counting.row)
            }
        };
        self.newest.push_back((at, packet));
        while self.newest.len() > MAX_WINDOW
            || self.newest.front().is_some_and(|(first, _)| first.age(at) > WINDOW)
        {
            self.newest.pop_front();
        }
        self.end_sample(at);
    }

    fn end_sample(&mut self, at: Timestamp) {
        let began = *self.began.get_or_insert(at);
        if began.age(at) < SAMPLE && began <= at {
            return;
        }
        self.began = Some(at);
        let Counting { asked, lost, out, answers, took, row } = self.counting;
        let average = (answers > 0).then(|| took / answers.max(1));
        self.counting = Counting { row, ..Counting::default() };
        self.month.add(Asked { at, asked, lost, out, round_trip: average });
    }

    /// Notes that the far end could not even be asked: that says nothing of the line.
    pub fn fail(&mut self, why: Text) {
        self.failed = Some(why);
    }

    /// When it was asked first, of all that is known here.
    #[must_use]
    pub const fn asked_since(&self) -> Option<Timestamp> {
        self.since
    }

    /// When it was asked last.
    #[must_use]
    pub const fn asked_at(&self) -> Option<Timestamp> {
        self.asked_at
    }

    /// When it answered last.
    #[must_use]
    pub const fn answered_at(&self) -> Option<Timestamp> {
        self.answered_at
    }

    /// For how long nothing was answered that was asked; zero when the newest packet was.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let Some(asked) = self.asked_at else { return Duration::ZERO };
        self.answered_at.or(self.since).map_or(Duration::ZERO, |at| at.age(asked))
    }

    /// Whether the newest packet was answered, or none was asked yet, and none could not be asked.
    #[must_use]
    pub const fn answers(&self) -> bool {
        self.counting.row == 0 && self.failed.is_none()
    }

    /// What is news when it turns: whether it can be asked, whether it has ever answered, whether so many
    /// packets in a row are lost, and whether it was asked often enough to say more.
    #[must_use]
    pub fn standing(&self, silent: u32) -> [bool; 4] {
        [
            self.failed.is_none(),
            self.answered_at.is_some(),
            self.counting.row >= silent,
            self.newest.len() >= ENOUGH,
        ]
    }

    /// What the last [`WINDOW`] says; `None` while there were too few packets.
    #[must_use]
    pub fn lately(&self) -> Option<Lately> {
        let mut lost = 0;
        // Of the packets lost in a row up to here: how many, and the number of the last of them.
        let (mut row, mut last) = (0, 0);
        let mut took = Vec::with_capacity(self.newest.len());
        for (_, packet) in &self.newest {
            match packet {
                Packet::Answered(round_trip) => {
                    lost += if last < OUTAGE { row } else { 0 };
                    (row, last) = (0, 0);
                    took.push(*round_trip);
                }
                Packet::Lost(number) => (row, last) = (row + 1, *number),
            }
        }
        let asked = took.len() + lost;
        if asked < ENOUGH {
            return None;
        }
        took.sort_unstable();
        Some(Lately {
            asked,
            lost: Percent(u32::try_from(lost * 1000 / asked).unwrap_or(u32::MAX)),
            round_trip: took.get(took.len() / 2).copied(),
        })
    }

    /// The part of the packets of the last month that fell into no outage, in millionths, those since
    /// the last sample too; `None` without a packet.
    #[must_use]
    pub fn availability(&self) -> Option<u32> {
        let sum = |one: fn(Asked) -> u32| -> u64 {
            self.month.since(None).map(|sample| u64::from(one(sample))).sum()
        };
        let asked = sum(|sample| sample.asked) + u64::from(self.counting.asked);
        let out = (sum(|sample| sample.out) + u64::from(self.counting.out)).min(asked);
        let part = ((asked - out) * 1_000_000).checked_div(asked)?;
        u32::try_from(part).ok()
    }

    /// What is kept of the last month.
    #[must_use]
    pub const fn month(&self) -> &Samples<Asked> {
        &self.month
    }
}
