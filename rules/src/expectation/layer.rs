//! Values that are set in layers: what a rule file leaves out stays as it was.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Jobs, Lines, Makers, ZoneVlans, worse_of};
use crate::check::Status;
use crate::name::{HostName, ZoneName};
use crate::unit::{Percent, Period, Size};

/// A value that may be given in parts, one over the other.
pub(super) trait Layered: Sized {
    /// What one layer says.
    type Part: Clone + DeserializeOwned;
    /// Puts a later layer over an earlier one.
    fn merge(under: &mut Self::Part, over: &Self::Part);
    /// The value, if the layers together say all of it.
    fn build(part: &Self::Part) -> Option<Self>;
}

/// Declares a section of a rule file: the complete values, and beside them what one layer says, in
/// which every key may be left out and no other key is taken.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident / $part:ident {
        $($(#[$key_doc:meta])* $key:ident: $value:ty,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        pub struct $name {
            $($(#[$key_doc])* pub $key: $value,)*
        }

        #[doc = concat!("What one layer says of [`", stringify!($name), "`].")]
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct $part {
            $($key: Option<<$value as Layered>::Part>,)*
        }

        impl Layered for $name {
            type Part = $part;

            fn merge(under: &mut $part, over: &$part) {
                $(match (&mut under.$key, &over.$key) {
                    (Some(under), Some(over)) => <$value as Layered>::merge(under, over),
                    (under @ None, Some(over)) => *under = Some(over.clone()),
                    (_, None) => {}
                })*
            }

            fn build(part: &$part) -> Option<Self> {
                Some(Self {
                    $($key: <$value as Layered>::build(part.$key.as_ref()?)?,)*
                })
            }
        }
    };
}
pub(super) use section;

/// Values of which a later layer replaces the whole.
macro_rules! replaced {
    ($($value:ty),*) => {
        $(impl Layered for $value {
            type Part = Self;
            fn merge(under: &mut Self, over: &Self) {
                under.clone_from(over);
            }
            fn build(part: &Self) -> Option<Self> {
                Some(part.clone())
            }
        })*
    };
}
replaced!(
    NonZeroU32,
    Period,
    Percent,
    Size,
    Demand,
    Vec<Pattern>,
    Vec<String>,
    Vec<ZoneName>,
    Vec<HostName>,
    Vec<Network>
);

/// Values by name of which a later layer adds some and replaces those it names.
macro_rules! named {
    ($($value:ty),*) => {
        $(impl Layered for $value {
            type Part = Self;
            fn merge(under: &mut Self, over: &Self) {
                under.extend(over.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            fn build(part: &Self) -> Option<Self> {
                Some(part.clone())
            }
        })*
    };
}
named!(Jobs, Lines, ZoneVlans, Makers);

/// What it is when something is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// It is not judged.
    Off,
    /// A warning.
    Warning,
    /// Critical.
    Critical,
}

impl Demand {
    /// The status of something that is not as demanded; `None` when it is not judged.
    #[must_use]
    pub const fn broken(self) -> Option<Status> {
        match self {
            Self::Off => None,
            Self::Warning => Some(Status::Warning),
            Self::Critical => Some(Status::Critical),
        }
    }
}

/// One limit as it is written: a value, or `off`.
#[derive(Debug, Clone, Copy)]
enum Limit<T> {
    Off,
    At(T),
}

impl<'de, T> Deserialize<'de> for Limit<T>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(serde::de::Error::custom)
    }
}

impl<T: Copy> Limit<T> {
    const fn value(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::At(value) => Some(value),
        }
    }
}

/// Both limits of a value as one layer says them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, bound = "T: std::str::FromStr<Err: fmt::Display>")]
struct Written<T> {
    warning: Option<Limit<T>>,
    critical: Option<Limit<T>>,
}

/// A warning limit that lies beyond the critical one.
const CROSSED: &str = "critical would come before warning; exchange the two limits";

macro_rules! limits {
    ($(#[$doc:meta])* $name:ident / $part:ident, $reached:tt, $crossed:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub struct $name<T> {
            /// From here on it is a warning; `None`: never.
            pub warning: Option<T>,
            /// From here on it is critical; `None`: never.
            pub critical: Option<T>,
        }

        impl<T: Ord + Copy> $name<T> {
            /// The status of a value.
            #[must_use]
            pub fn judge(&self, value: T) -> Status {
                worse_of(
                    self.warning.is_some_and(|limit| value $reached limit),
                    self.critical.is_some_and(|limit| value $reached limit),
                )
            }

            /// The limit that a value of this status has reached, or the first it would reach.
            #[must_use]
            pub fn limit(&self, status: Status) -> Option<T> {
                match status {
                    Status::Critical => self.critical,
                    Status::Ok | Status::Unknown | Status::Warning => {
                        self.warning.or(self.critical)
                    }
                }
            }

            /// Whether neither limit is set.
            #[must_use]
            pub fn is_off(&self) -> bool {
                self.warning.is_none() && self.critical.is_none()
            }
        }

        #[doc = concat!("What one layer says of a [`", stringify!($name), "`].")]
        #[derive(Debug, Clone, Deserialize)]
        #[serde(
            try_from = "Written<T>",
            bound = "T: Ord + Copy + std::str::FromStr<Err: fmt::Display>"
        )]
        pub(super) struct $part<T: Ord + Copy>(Written<T>);

        impl<T: Ord + Copy> TryFrom<Written<T>> for $part<T> {
            type Error = &'static str;
            fn try_from(written: Written<T>) -> Result<Self, &'static str> {
                match (&written.warning, &written.critical) {
                    (Some(Limit::At(warning)), Some(Limit::At(critical)))
                        if warning $crossed critical => Err(CROSSED),
                    (_, _) => Ok(Self(written)),
                }
            }
        }

        impl<T> Layered for $name<T>
        where
            T: Ord + Copy + std::str::FromStr<Err: fmt::Display>,
        {
            type Part = $part<T>;
            fn merge(under: &mut Self::Part, over: &Self::Part) {
                under.0.warning = over.0.warning.or(under.0.warning);
                under.0.critical = over.0.critical.or(under.0.critical);
            }
            fn build(part: &Self::Part) -> Option<Self> {
                Some(Self { warning: part.0.warning?.value(), critical: part.0.critical?.value() })
            }
        }
    };
}

limits! {
    /// Limits of a value that is bad when it is large.
    Ceiling / CeilingPart, >=, >
}
limits! {
    /// Limits of a value that is bad when it is small.
    Floor / FloorPart, <=, <
}

/// A name in which `*` stands for any characters, also for none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Pattern(Box<str>);

/// The longest pattern, in octets.
const MAX_PATTERN: usize = 256;

impl Pattern {
    /// Whether `name` is of this pattern.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let Some((head, tail)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let Some(mut rest) = name.strip_prefix(head) else {
            return false;
        };
        let mut parts = tail.split('*');
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            // The leftmost place for each part leaves the most room for the next.
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(serde::de::Error::custom(format!(
                "a name is 1 to {MAX_PATTERN} octets long; * stands for any characters"
            )));
        }
        Ok(Self(text.into()))
    }
}

/// A network, written as `172.17.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Network(pub IpNet);

impl Network {
    /// Whether it holds an address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        let shown: String = text.chars().take(MAX_PATTERN).collect();
        text.parse().map(|network: IpNet| Self(network.trunc())).map_err(|_| {
            serde::de::Error::custom(format!(
                "\"{shown}\" is not a network; write it as 172.17.0.0/16 or \"fd00::/48\""
            ))
        })
    }
}
