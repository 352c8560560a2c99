//! Numbers that carry their unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A count of octets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    /// Binary prefixes (IEC 80000-13), one decimal from KiB on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// A part of a whole in thousandths: 1000 is all of it. Fine enough for people, coarse enough
/// that an idle host's value stands still.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Permille(pub u16);

impl Permille {
    /// `part` of `whole`, rounded down, at most 1000; `None` when there is no whole.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        let scaled = u128::from(part) * 1000;
        let ratio = scaled.checked_div(u128::from(whole))?;
        Some(Self(u16::try_from(ratio.min(1000)).unwrap_or(1000)))
    }

    /// The value as a ratio between 0 and 1, as Prometheus writes it.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} %", self.0 / 10, self.0 % 10)
    }
}

/// A text that is not the quantity it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {what}; write {example}")]
pub struct BadQuantity {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// The longest part of a refused text that the error repeats, in characters.
const SHOWN: usize = 64;

/// A number as people write it: digits and at most one point, to three decimals. In thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part)
}

/// The number and the unit of a text such as `26 h`; the blank between is optional.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((thousandths(&text[..end])?, text[end..].trim()))
}

macro_rules! written {
    ($name:ident, $what:literal, $example:literal, $read:expr) => {
        impl FromStr for $name {
            type Err = BadQuantity;
            fn from_str(text: &str) -> Result<Self, BadQuantity> {
                let read: fn(&str) -> Option<$name> = $read;
                read(text).ok_or_else(|| BadQuantity {
                    text: text.chars().take(SHOWN).collect(),
                    what: $what,
                    example: $example,
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A length of time as people write it in files: `26 h`, `5 min`, `1 d 12 h`. To the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(pub Duration);

/// The longest period that is taken, in milliseconds: a hundred years.
const MAX_PERIOD_MILLIS: u64 = 100 * 366 * 86_400_000;

/// Units of time, longest first, with their milliseconds.
const PERIOD_UNITS: [(&str, u64); 6] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("s", 1000),
    ("ms", 1),
];

fn read_period(text: &str) -> Option<Period> {
    let mut rest = text.trim();
    let mut millis = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let after = rest[number..].trim_start();
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let each = PERIOD_UNITS.iter().find(|(unit, _)| *unit == &after[..unit_end])?.1;
        let part = thousandths(&rest[..number])?.checked_mul(each)? / 1000;
        millis = millis.checked_add(part).filter(|&sum| sum <= MAX_PERIOD_MILLIS)?;
        rest = after[unit_end..].trim_start();
    }
    Some(Period(Duration::from_millis(millis)))
}

written!(Period, "a length of time", "it as 26 h, 5 min, 30 s or 1 d 12 h", read_period);

impl fmt::Display for Period {
    /// The longest unit that gives a whole number: `26 h`, `90 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        // Weeks are read but days are what people count in.
        let units = &PERIOD_UNITS[1..];
        let fits = |&&(unit, each): &&(&str, u64)| {
            let each = u128::from(each);
            // 26 h and 36 h are said in hours; 3 d in days.
            millis >= each && millis.is_multiple_of(each) && (unit != "d" || millis >= 3 * each)
        };
        match units.iter().find(fits) {
            Some((unit, each)) => write!(f, "{} {unit}", millis / u128::from(*each)),
            None => write!(f, "{millis} ms"),
        }
    }
}

/// A part of a whole as people write it in files: `85 %`, `0.5 %`, `300 %`. In tenths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(pub u32);

/// The largest percentage that is taken, in tenths.
const MAX_PERCENT: u64 = 1_000_000;

written!(Percent, "a percentage", "it as 85 %", |text| {
    let (number, unit) = number_and_unit(text)?;
    let tenths = (unit == "%").then_some(number / 100)?;
    u32::try_from(tenths).ok().filter(|&tenths| u64::from(tenths) <= MAX_PERCENT).map(Percent)
});

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{} %", self.0 / 10),
            tenths => write!(f, "{}.{tenths} %", self.0 / 10),
        }
    }
}

impl From<Permille> for Percent {
    fn from(part: Permille) -> Self {
        Self(u32::from(part.0))
    }
}

/// A size as people write it in files: `512 MiB`, `20 GB`, `4096 B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub Bytes);

/// Units of size with their octets: binary (IEC 80000-13) and decimal (SI).
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

written!(Size, "a size", "it as 512 MiB or 20 GB", |text| {
    let (number, unit) = number_and_unit(text)?;
    let each = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let octets = u128::from(number) * u128::from(each) / 1000;
    u64::try_from(octets).ok().map(|octets| Size(Bytes(octets)))
});

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A temperature as people write it in files: `85 °C`. In thousandths of a degree Celsius.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Celsius(pub i32);

written!(Celsius, "a temperature", "it as 85 °C", |text| {
    let (number, unit) = number_and_unit(text)?;
    let number = matches!(unit, "°C" | "C" | "℃").then_some(number)?;
    i32::try_from(number).ok().map(Celsius)
});

impl fmt::Display for Celsius {
    /// To the tenth of a degree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let tenths = self.0.unsigned_abs() / 100;
        match tenths % 10 {
            0 => write!(f, "{sign}{} °C", tenths / 10),
            part => write!(f, "{sign}{}.{part} °C", tenths / 10),
        }
    }
}

/// A plain number with up to two decimals, such as a load. In hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hundredths(pub u32);

written!(Hundredths, "a number", "it as 4 or 1.5", |text| {
    u32::try_from(thousandths(text.trim())? / 10).ok().map(Hundredths)
});

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 100 {
            0 => write!(f, "{}", self.0 / 100),
            part => write!(f, "{}.{part:02}", self.0 / 100),
        }
    }
}

/// How fast a line is as people write it in files: `10 Mbit/s`, `2M`, `1 Gbit/s`. In bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BitRate(pub u64);

/// Units of speed with their bits a second, largest first. Operators write the short ones.
const BIT_RATE_UNITS: [(&str, u64); 7] = [
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1000),
    ("bit/s", 1),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
];

written!(BitRate, "the speed of a line", "it as 10 Mbit/s", |text| {
    let (number, unit) = number_and_unit(text)?;
    let each = BIT_RATE_UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let bits = u64::try_from(u128::from(number) * u128::from(each) / 1000).ok()?;
    (bits > 0).then_some(BitRate(bits))
});

impl BitRate {
    /// The speed at which so many octets pass in a second.
    #[must_use]
    pub const fn of_octets(octets: u64) -> Self {
        Self(octets.saturating_mul(8))
    }
}

impl fmt::Display for BitRate {
    /// The largest unit that leaves a whole part, with at most one decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = &BIT_RATE_UNITS[..4];
        let fits = |&&(_, each): &&(&str, u64)| self.0 >= each;
        let (unit, each) = units.iter().find(fits).unwrap_or(&units[3]);
        // In tenths, rounded down: a line is never shown fuller than it is.
        let tenths = u128::from(self.0) * 10 / u128::from(*each);
        match tenths % 10 {
            0 => write!(f, "{} {unit}", tenths / 10),
            part => write!(f, "{}.{part} {unit}", tenths / 10),
        }
    }
}

/// A small part of a whole as people write it in files: `100 ppm`, parts of a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PerMillion(pub u32);

written!(PerMillion, "a part of a million", "it as 100 ppm", |text| {
    let (number, unit) = number_and_unit(text)?;
    let number = (unit == "ppm").then_some(number / 1000)?;
    u32::try_from(number).ok().map(PerMillion)
});

impl PerMillion {
    /// `part` of `whole`, rounded down; `None` when there is no whole.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Option<Self> {
        let scaled = u128::from(part) * 1_000_000;
        let ratio = scaled.checked_div(u128::from(whole))?;
        Some(Self(u32::try_from(ratio).unwrap_or(u32::MAX)))
    }
}

impl fmt::Display for PerMillion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ppm", self.0)
    }
}
