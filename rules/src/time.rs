//! Points in time. The domain never asks for the time: it is handed in.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
///
/// Shown as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The point `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The point `seconds` seconds after the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Seconds since the epoch with their fraction, as Prometheus writes time.
    #[must_use]
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// How long before `now` this was; zero for a point after `now`.
    #[must_use]
    pub fn age(self, now: Self) -> Duration {
        Duration::from_millis(u64::try_from(now.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// This point moved by `millis` milliseconds, forwards or backwards.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// A length of time in the words of a sentence, to one figure that matters: `40 s`, `31 h`, `3 d`.
#[must_use]
pub fn spoken(length: Duration) -> Text {
    let seconds = length.as_secs();
    let (count, en, zh) = match seconds {
        0..120 => (seconds, "s", "秒"),
        120..7200 => (seconds / 60, "min", "分钟"),
        7200..259_200 => (seconds / 3600, "h", "小时"),
        _ => (seconds / 86_400, "d", "天"),
    };
    Text::new(format!("{count} {en}"), format!("{count} {zh}"))
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use time::format_description::well_known::Rfc3339;
        let text = time::OffsetDateTime::from_unix_timestamp(self.as_seconds())
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// Reads RFC 3339, with any offset. Fails with the text when it is something else.
impl std::str::FromStr for Timestamp {
    type Err = NotATime;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use time::format_description::well_known::Rfc3339;
        let at = time::OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_| NotATime(text.chars().take(64).collect()))?;
        Ok(Self(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a time; write it as 2026-11-23T14:30:00+08:00 (RFC 3339)")]
pub struct NotATime(String);
