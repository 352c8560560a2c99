//! Interfaces of a device and what passes through them (IF-MIB, RFC 2863).

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::seconds;
use crate::fact::links::Mac;
use crate::time::Timestamp;

/// The state of an interface, as wanted or as it is (`ifAdminStatus`, `ifOperStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// It passes packets.
    Up,
    /// It does not.
    Down,
    /// It is in some mode of testing.
    Testing,
    /// It waits for something, such as an incoming call.
    Dormant,
    /// A part is missing.
    NotPresent,
    /// The interface below it is down.
    LowerLayerDown,
    /// The device does not say, or says what the RFC does not know.
    Unknown,
}

impl Link {
    /// The state by the RFC's number.
    #[must_use]
    pub const fn from_number(number: Option<u64>) -> Self {
        match number {
            Some(1) => Self::Up,
            Some(2) => Self::Down,
            Some(3) => Self::Testing,
            Some(5) => Self::Dormant,
            Some(6) => Self::NotPresent,
            Some(7) => Self::LowerLayerDown,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// A counter with its width: the narrow one wraps within half a minute at 1 Gbit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// It wraps at 2³².
    Narrow(u32),
    /// It wraps at 2⁶⁴.
    Wide(u64),
}

impl Counter {
    /// The number it shows.
    #[must_use]
    pub const fn value(self) -> u64 {
        match self {
            Self::Narrow(value) => value as u64,
            Self::Wide(value) => value,
        }
    }

    /// How much it grew. `None` when that cannot be known: its width changed, or it may have
    /// wrapped more than once at `most` per second within `elapsed`.
    #[must_use]
    pub fn grown_since(self, before: Self, elapsed: Duration, most: Option<u64>) -> Option<u64> {
        let (grown, width) = match (before, self) {
            (Self::Narrow(before), Self::Narrow(now)) => {
                (u64::from(now.wrapping_sub(before)), f64::from(u32::MAX))
            }
            (Self::Wide(before), Self::Wide(now)) => (now.wrapping_sub(before), u64::MAX as f64),
            (Self::Narrow(_), Self::Wide(_)) | (Self::Wide(_), Self::Narrow(_)) => return None,
        };
        let possible = most.map(|most| most as f64 * elapsed.as_secs_f64());
        match possible {
            Some(possible) if possible >= width => None,
            // More than the line can carry: it was set back, whatever the device says.
            Some(possible) if grown as f64 > possible * TOLERANCE + SLACK => None,
            // Without a speed, a narrow counter that went back may have wrapped once or many times.
            None if matches!((before, self), (Self::Narrow(b), Self::Narrow(n)) if n < b) => None,
            // No line carries 2⁶³ octets between two polls.
            None if grown > u64::MAX / 2 => None,
            Some(_) | None => Some(grown),
        }
    }
}

/// How much faster than its speed a line may seem, for polls are not timed exactly.
const TOLERANCE: f64 = 1.25;
/// Octets that may come at once besides, from buffers.
const SLACK: f64 = 16_777_216.0;

/// What passed through an interface since its discontinuity; what the device does not count is
/// absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Octets received.
    pub in_octets: Option<Counter>,
    /// Octets sent.
    pub out_octets: Option<Counter>,
    /// Packets to one receiver that were received.
    pub in_packets: Option<Counter>,
    /// Packets to one receiver that were sent.
    pub out_packets: Option<Counter>,
    /// Packets received and thrown away although they were good.
    pub in_discards: Option<Counter>,
    /// Packets received with errors.
    pub in_errors: Option<Counter>,
    /// Packets thrown away instead of being sent.
    pub out_discards: Option<Counter>,
    /// Packets that could not be sent for errors.
    pub out_errors: Option<Counter>,
    /// `sysUpTime` when the counters last began anew.
    #[serde(serialize_with = "seconds")]
    pub discontinuity: Option<Duration>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// `ifIndex`.
    pub index: u32,
    /// `ifName`, or `ifDescr` of devices without `ifXTable`.
    pub name: String,
    /// `ifAlias`: what an administrator wrote.
    pub alias: String,
    /// `ifType` (IANA ifType-MIB): 6 is Ethernet.
    pub kind: Option<u64>,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// As it is wanted.
    pub wanted: Link,
    /// As it is.
    pub link: Link,
    /// Bits per second; absent when the device does not know.
    pub speed: Option<u64>,
    /// What passed.
    pub counters: Counters,
}

/// What passed through an interface between two polls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Growth {
    /// Octets received.
    pub in_octets: Option<u64>,
    /// Octets sent.
    pub out_octets: Option<u64>,
    /// Packets both ways, those in error not among them.
    pub packets: Option<u64>,
    /// Packets in error both ways.
    pub errors: Option<u64>,
    /// Good packets thrown away both ways.
    pub discards: Option<u64>,
}

impl Interface {
    /// What passed since `before`, which was read `elapsed` ago when the agent ran since
    /// `up_before`. `None` when the counters began anew in between: a restart of the agent or a
    /// discontinuity of this interface (RFC 2863 3.1.5).
    #[must_use]
    pub fn since(
        &self,
        before: &Self,
        elapsed: Duration,
        up_before: Duration,
        up: Duration,
    ) -> Option<Growth> {
        let restarted = up < up_before;
        if restarted || self.counters.discontinuity != before.counters.discontinuity {
            return None;
        }
        let octets_per_second = self.speed.map(|bits| bits / 8);
        let grown = |of: fn(&Counters) -> Option<Counter>, most| {
            of(&self.counters)?.grown_since(of(&before.counters)?, elapsed, most)
        };
        // Where a device counts one direction only, that one counts.
        let both = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        // The smallest frame takes 84 octets of the wire (IEEE 802.3).
        let packets_per_second = octets_per_second.map(|octets| octets / 84 + 1);
        Some(Growth {
            in_octets: grown(|c| c.in_octets, octets_per_second),
            out_octets: grown(|c| c.out_octets, octets_per_second),
            packets: both(
                grown(|c| c.in_packets, packets_per_second),
                grown(|c| c.out_packets, packets_per_second),
            ),
            errors: both(grown(|c| c.in_errors, None), grown(|c| c.out_errors, None)),
            discards: both(grown(|c| c.in_discards, None), grown(|c| c.out_discards, None)),
        })
    }
}

/// What a [`Window`] looks back over.
pub const LOOKS_BACK: Duration = Duration::from_mins(15);

/// The length of one part of a [`Window`].
const STEP: Duration = Duration::from_mins(3);

/// The most parts of a window: those within [`LOOKS_BACK`], and the one that is being filled.
const MAX_STEPS: usize = 6;

/// What passed through an interface within the last [`LOOKS_BACK`], so that a burst of one minute is
/// not taken for a full line. It takes the same room however often is polled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    steps: VecDeque<Step>,
    newest: Option<Rate>,
}

/// Sums over one part of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    began: Timestamp,
    received: Sum,
    sent: Sum,
    packets: u64,
    errors: u64,
    discards: u64,
}

/// Octets, and the time in which they were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    octets: u64,
    millis: u64,
}

impl Sum {
    fn add(&mut self, octets: Option<u64>, elapsed: Duration) {
        let Some(octets) = octets else { return };
        self.octets = self.octets.saturating_add(octets);
        self.millis = self.millis.saturating_add(millis(elapsed));
    }

    fn with(self, other: Self) -> Self {
        Self {
            octets: self.octets.saturating_add(other.octets),
            millis: self.millis.saturating_add(other.millis),
        }
    }

    /// Octets a second.
    fn rate(self) -> Option<u64> {
        let rate = (u128::from(self.octets) * 1000).checked_div(u128::from(self.millis))?;
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

/// How fast a line is used, in octets a second; absent where it was not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Received.
    pub received: Option<u64>,
    /// Sent.
    pub sent: Option<u64>,
}

impl Rate {
    /// The busier direction.
    #[must_use]
    pub fn busier(self) -> Option<u64> {
        self.received.max(self.sent)
    }
}

/// Packets that went wrong, of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Packets that arrived, with and without errors.
    pub packets: u64,
    /// Those in error.
    pub errors: u64,
    /// Good ones that were thrown away.
    pub discards: u64,
}

impl Window {
    /// Adds what passed within `elapsed` before `at`.
    pub fn add(&mut self, at: Timestamp, elapsed: Duration, growth: &Growth) {
        self.newest = Some(Rate {
            received: one(growth.in_octets, elapsed),
            sent: one(growth.out_octets, elapsed),
        });
        while self.steps.front().is_some_and(|step| step.began.age(at) > LOOKS_BACK) {
            self.steps.pop_front();
        }
        // A clock that was set back begins anew: ages would mean nothing.
        self.steps.retain(|step| step.began <= at);
        if self.steps.back().is_none_or(|step| step.began.age(at) >= STEP) {
            self.steps.push_back(Step {
                began: at,
                received: Sum::default(),
                sent: Sum::default(),
                packets: 0,
                errors: 0,
                discards: 0,
            });
        }
        if self.steps.len() > MAX_STEPS {
            self.steps.pop_front();
        }
        let Some(step) = self.steps.back_mut() else { return };
        step.received.add(growth.in_octets, elapsed);
        step.sent.add(growth.out_octets, elapsed);
        let errors = growth.errors.unwrap_or(0);
        step.packets =
            step.packets.saturating_add(growth.packets.unwrap_or(0)).saturating_add(errors);
        step.errors = step.errors.saturating_add(errors);
        step.discards = step.discards.saturating_add(growth.discards.unwrap_or(0));
    }

    /// Forgets the newest rate: the counters began anew, and nothing is known of the time between.
    pub fn broke(&mut self) {
        self.newest = None;
    }

    /// Between the last two polls.
    #[must_use]
    pub fn newest(&self) -> Option<Rate> {
        self.newest
    }

    /// Over the whole window.
    #[must_use]
    pub fn average(&self) -> Rate {
        let sum = |of: fn(&Step) -> Sum| self.steps.iter().map(of).fold(Sum::default(), Sum::with);
        Rate { received: sum(|s| s.received).rate(), sent: sum(|s| s.sent).rate() }
    }

    /// For how long octets were counted within the window.
    #[must_use]
    pub fn covers(&self) -> Duration {
        let counted = self.steps.iter().map(|step| step.received.millis.max(step.sent.millis));
        Duration::from_millis(counted.fold(0, u64::saturating_add))
    }

    /// Packets over the whole window.
    #[must_use]
    pub fn faults(&self) -> Faults {
        let sum = |of: fn(&Step) -> u64| self.steps.iter().map(of).fold(0, u64::saturating_add);
        Faults {
            packets: sum(|s| s.packets),
            errors: sum(|s| s.errors),
            discards: sum(|s| s.discards),
        }
    }
}

fn one(octets: Option<u64>, elapsed: Duration) -> Option<u64> {
    Sum { octets: octets?, millis: millis(elapsed) }.rate()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_wrapped_grew_and_one_that_was_set_back_did_not() {
        let gigabit = Some(125_000_000);
        for (before, now, elapsed, most, grown) in [
            (Counter::Narrow(u32::MAX - 9), Counter::Narrow(10), 10, Some(12_500_000), Some(20)),
            (Counter::Narrow(5), Counter::Narrow(9), 10, gigabit, Some(4)),
            // At this speed it may have wrapped twice in a minute.
            (Counter::Narrow(5), Counter::Narrow(9), 60, gigabit, None),
            (Counter::Narrow(9), Counter::Narrow(5), 10, None, None),
            (Counter::Narrow(5), Counter::Narrow(9), 10, None, Some(4)),
            (Counter::Wide(u64::MAX), Counter::Wide(1), 60, gigabit, Some(2)),
            // Set back without a word.
            (Counter::Wide(1 << 50), Counter::Wide(7), 60, gigabit, None),
            (Counter::Wide(1 << 50), Counter::Wide(7), 60, None, None),
            (Counter::Narrow(5), Counter::Wide(9), 60, gigabit, None),
        ] {
            let elapsed = Duration::from_secs(elapsed);
            assert_eq!(
                now.grown_since(before, elapsed, most),
                grown,
                "{before:?} {now:?} {most:?}"
            );
        }
    }
}
