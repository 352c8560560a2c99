//! Facts of the lines that a host measures, read by the probe `lines`: the far end of each is asked
//! again and again, and what came is counted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::device::quality::Quality;
use crate::expectation::Ask;
use crate::time::Timestamp;
use crate::unit::Permille;

/// The most far ends that one host asks.
pub const MAX_FAR_ENDS: usize = 16;

/// How well a line carries packets, as the host saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineQuality {
    /// What is asked, and how.
    pub ask: Ask,
    /// When it was asked first since the agent started, by the host's clock; absent before that.
    pub since: Option<Timestamp>,
    /// Whether it has answered since.
    pub answered: bool,
    /// For how long nothing was answered that was asked, milliseconds; 0 when the newest packet was.
    pub silence_millis: u64,
    /// What the packets of the last 5 min say; absent while there were too few.
    pub lately: Option<LatelyAsked>,
    /// The part of the packets since `since`, of 30 days at most, that fell into no outage, in
    /// millionths; absent without a packet.
    pub available_millionths: Option<u32>,
}

/// What the packets of the last 5 min say, those of outages left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatelyAsked {
    /// How many packets that is.
    pub asked: u32,
    /// The part of them that was lost.
    pub lost: Permille,
    /// The median of the round trips, microseconds; absent without an answer.
    pub round_trip_micros: Option<u64>,
}

/// What was noted of a line so far.
impl From<&Quality> for LineQuality {
    fn from(quality: &Quality) -> Self {
        let lately = quality.lately().map(|lately| LatelyAsked {
            asked: u32::try_from(lately.asked).unwrap_or(u32::MAX),
            lost: Permille(u16::try_from(lately.lost.0).unwrap_or(1000).min(1000)),
            round_trip_micros: lately
                .round_trip
                .map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        });
        Self {
            ask: quality.ask,
            since: quality.asked_since(),
            answered: quality.answered_at().is_some(),
            silence_millis: u64::try_from(quality.silence().as_millis()).unwrap_or(u64::MAX),
            lately,
            available_millionths: quality.availability(),
        }
    }
}

impl LineQuality {
    /// For how long nothing was answered that was asked; zero when the newest packet was.
    #[must_use]
    pub const fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_millis)
    }

    /// Whether the newest packet was answered.
    #[must_use]
    pub const fn answers(&self) -> bool {
        self.answered && self.silence_millis == 0
    }
}

impl LatelyAsked {
    /// The median of the round trips.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip_micros.map(Duration::from_micros)
    }
}
