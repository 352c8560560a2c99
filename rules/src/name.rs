//! Names that mean something. Constructing one is the check that it is well formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that cannot be the name it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a {kind}: {rule}")]
pub struct BadName {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

/// Shows at most this many characters of a refused name.
const SHOWN: usize = 64;

/// What a message shows of a character: control characters never reach a terminal.
fn shown(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

fn bad(kind: &'static str, text: &str, rule: &'static str) -> BadName {
    BadName { kind, text: text.chars().take(SHOWN).map(shown).collect(), rule }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $most:literal, $rule:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                let fits = !text.is_empty() && text.len() <= $most;
                let well_formed: fn(&str) -> bool = $ok;
                if fits && well_formed(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(bad($kind, text, $rule))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fn label(text: &str) -> bool {
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.iter().all(|&c| edge(c) || c == b'-' || c == b'_')
        && bytes.first().is_some_and(|&c| edge(c))
        && bytes.last().is_some_and(|&c| edge(c))
}

text_name! {
    /// The name of a zone, such as `inner`.
    ZoneName, "zone name", 63,
    "1 to 63 of a-z, 0-9, - and _, beginning and ending with a letter or digit", label
}
text_name! {
    /// The name of a host, as the site's administrators call it: a host name or its FQDN (RFC 1123),
    /// in lower case. It is a label for people; identity is the [`HostKey`].
    HostName, "host name", 253,
    "1 to 253 of a-z, 0-9, -, _ and ., each part beginning and ending with a letter or digit",
    |text| text.split('.').all(label)
}
text_name! {
    /// The name of a site, such as `jiaxing`.
    SiteName, "site name", 63,
    "1 to 63 of a-z, 0-9, - and _, beginning and ending with a letter or digit", label
}

macro_rules! hex_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $size:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Takes the raw octets.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// The raw octets.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = BadName;
            fn try_from(bytes: &[u8]) -> Result<Self, BadName> {
                bytes.try_into().map(Self).map_err(|_| bad($kind, "(octets)", $rule))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                let refuse = || bad($kind, text, $rule);
                if text.len() != 2 * $size || !text.is_ascii() {
                    return Err(refuse());
                }
                let mut bytes = [0; $size];
                for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
                    *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| refuse())?;
                }
                Ok(Self(bytes))
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

hex_name! {
    /// Who a host is: the SHA-256 of its certificate's SubjectPublicKeyInfo (RFC 5280 4.1.2.7).
    /// Never a host name, an address or a serial number. A device has no key; its identity is drawn by
    /// chance when it is added.
    HostKey, "host key", 32, "64 hexadecimal digits (SHA-256 of a public key)"
}
hex_name! {
    /// One unbroken numbering of reports. An agent starts a new one at each boot of the kernel and
    /// whenever its spool begins afresh.
    BootId, "boot id", 16, "32 hexadecimal digits"
}
hex_name! {
    /// The name of one signed order: the SHA-256 of its octets. Who confirms names it, so that nobody
    /// confirms what he has not seen.
    OrderDigest, "order digest", 32, "64 hexadecimal digits (SHA-256 of a signed order)"
}
hex_name! {
    /// The identity of a finding: the same cause gives the same finding.
    FindingId, "finding id", 8, "16 hexadecimal digits"
}
