//! The enrolment token: one line that lets one host in, once.
//!
//! `bailey1.` and unpadded base64url (RFC 4648 section 5) of: the key pin (32 octets), the secret
//! (32 octets), and host, zone and address, each with its length in one octet before it. Nothing
//! may follow. There is exactly one way to write a token; anything else is refused.
//!
//! A token that also says whose orders the host is to follow begins with `bailey2.`, and has the
//! security role's public key (32 octets) behind the secret.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use bailey_rules::name::{HostName, ZoneName};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::order::VerifyingKey;
use crate::tls::KeyPin;

/// How a token begins: the version of the grammar.
const PREFIX: &str = "bailey1.";
/// How one begins that carries the security role's key.
const PREFIX_WITH_KEY: &str = "bailey2.";

/// The longest address, in octets: a host name of 253, a colon and a port of 5 digits do not fit
/// the length octet together, so names are cut short here.
pub const MAX_ADDRESS: usize = 255;

/// The longest token, in octets of text.
pub const MAX_TOKEN: usize = PREFIX.len() + (32 + 32 + 32 + 3 * 256) * 4 / 3 + 4;

/// What an agent needs to be let in. Whoever holds it can enrol one machine under that name.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Where the collector listens for agents: `host:port`, IPv6 in brackets.
    pub address: String,
    /// The key of the collector's CA.
    pub pin: KeyPin,
    /// What proves that the collector made it; random.
    pub secret: [u8; 32],
    /// Whose orders the host is to follow, where the token says so.
    pub security_key: Option<VerifyingKey>,
    /// The name that the host will have.
    pub host: HostName,
    /// The zone that the host will be in.
    pub zone: ZoneName,
}

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as one.
    #[error(
        "this is no enrolment token: it must begin with \"bailey1.\" or \"bailey2.\"; copy the whole line"
    )]
    NotAToken,
    /// It is longer than any token.
    #[error("this is no enrolment token: it is longer than {MAX_TOKEN} characters")]
    TooLong,
    /// It was cut, changed or has something after it.
    #[error("the enrolment token is damaged ({0}); copy the whole line again")]
    Damaged(&'static str),
    /// The address in it cannot be one.
    #[error("\"{0}\" is not an address; write host:port, with an IPv6 address in brackets")]
    Address(String),
}

impl Token {
    /// A token for one host.
    ///
    /// # Errors
    /// [`TokenError::Address`] when `address` is not `host:port`.
    pub fn new(
        address: &str,
        pin: KeyPin,
        secret: [u8; 32],
        host: HostName,
        zone: ZoneName,
    ) -> Result<Self, TokenError> {
        if !is_address(address) {
            return Err(TokenError::Address(address.chars().take(64).collect()));
        }
        Ok(Self { address: address.into(), pin, secret, security_key: None, host, zone })
    }

    /// The same token, which also says that the host is to follow the orders of `key`.
    #[must_use]
    pub fn with_security_key(self, key: VerifyingKey) -> Self {
        Self { security_key: Some(key), ..self }
    }

    /// What the collector stores of the secret and looks it up by.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        secret_hash(&self.secret)
    }
}

/// What the collector stores of a token's secret and looks it up by: a SHA-256, so that neither the
/// store nor the time that a comparison takes gives a secret away.
#[must_use]
pub fn secret_hash(secret: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(b"bailey enrolment secret").chain_update(secret).finalize().into()
}

/// Whether a text is `name:port`, `a.b.c.d:port` or `[v6]:port` with a port that can be dialled.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let dialled = !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok();
    let named = match host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
        }
    };
    text.len() <= MAX_ADDRESS && dialled && named
}

impl fmt::Display for Token {
    /// The token itself, secret and all: for the one line that is pasted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = Vec::with_capacity(MAX_TOKEN);
        octets.extend(self.pin.0);
        octets.extend(self.secret);
        octets.extend(self.security_key.iter().flat_map(VerifyingKey::as_bytes));
        for part in [self.host.as_str(), self.zone.as_str(), &self.address] {
            let length = u8::try_from(part.len()).map_err(|_| fmt::Error)?;
            octets.push(length);
            octets.extend(part.as_bytes());
        }
        let prefix = if self.security_key.is_some() { PREFIX_WITH_KEY } else { PREFIX };
        write!(f, "{prefix}{}", URL_SAFE_NO_PAD.encode(octets))
    }
}

impl fmt::Debug for Token {
    /// Without the secret: this may end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("address", &self.address)
            .field("pin", &self.pin)
            .field("security_key", &self.security_key)
            .field("host", &self.host)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    /// Blanks and line ends around the token are taken off: it comes from a pipe or a file.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let (body, has_key) = match text.strip_prefix(PREFIX) {
            Some(body) => (body, false),
            None => (text.strip_prefix(PREFIX_WITH_KEY).ok_or(TokenError::NotAToken)?, true),
        };
        let octets =
            URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Damaged("not base64url"))?;
        let short = TokenError::Damaged("it ends too early");
        let mut rest = octets.as_slice();
        let mut chunk = || {
            let (chunk, after) = rest.split_first_chunk::<32>().ok_or(short.clone())?;
            rest = after;
            Ok(*chunk)
        };
        let (pin, secret) = (chunk()?, chunk()?);
        let security_key = if has_key { Some(VerifyingKey::from_bytes(chunk()?)) } else { None };
        let mut part = || {
            let (&length, after) = rest.split_first().ok_or(short.clone())?;
            let (part, after) = after.split_at_checked(length.into()).ok_or(short.clone())?;
            rest = after;
            str::from_utf8(part).map_err(|_| TokenError::Damaged("not UTF-8"))
        };
        let (host, zone, address) = (part()?, part()?, part()?);
        if !rest.is_empty() {
            return Err(TokenError::Damaged("something follows it"));
        }
        let host = host.parse().map_err(|_| TokenError::Damaged("bad host name"))?;
        let zone = zone.parse().map_err(|_| TokenError::Damaged("bad zone name"))?;
        Ok(Self { security_key, ..Self::new(address, KeyPin(pin), secret, host, zone)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::new(
            "10.1.0.5:7710",
            KeyPin([0xab; 32]),
            [0xcd; 32],
            "oa-17".parse().unwrap(),
            "inner".parse().unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn a_token_survives_being_pasted() {
        for address in ["10.1.0.5:7710", "[fd00:1::5]:7710", "collector.jiaxing.gov.cn:1"] {
            let token = Token { address: address.into(), ..token() };
            assert_eq!(token.to_string().parse(), Ok(token.clone()));
            assert_eq!(format!(" {token}\r\n").parse(), Ok(token));
        }
    }

    #[test]
    fn a_token_may_say_whose_orders_the_host_is_to_follow() {
        let key = VerifyingKey::from_bytes([0xef; 32]);
        let with_key = token().with_security_key(key.clone());
        let text = with_key.to_string();
        assert!(text.starts_with("bailey2."), "{text}");
        assert_eq!(text.parse(), Ok(with_key.clone()));
        assert_eq!(with_key.security_key, Some(key));
        assert_eq!(with_key.secret_hash(), token().secret_hash());
        // What carries no key is written as ever, so that older agents read it.
        assert!(token().to_string().starts_with("bailey1."));
        // The one is never taken for the other.
        for (from, to) in [("bailey2.", "bailey1."), ("bailey1.", "bailey2.")] {
            let text = if from == "bailey2." { text.clone() } else { token().to_string() };
            assert!(text.replace(from, to).parse::<Token>().is_err(), "{from} as {to}");
        }
    }

    #[test]
    fn a_damaged_token_is_refused_wherever_it_is_damaged() {
        let with_key = token().with_security_key(VerifyingKey::from_bytes([0xef; 32]));
        for text in [token().to_string(), with_key.to_string()] {
            for end in 0..text.len() {
                assert!(text[..end].parse::<Token>().is_err(), "cut at {end}");
            }
            for more in ["A", "AA", "=", ".", " x"] {
                assert!(format!("{text}{more}").parse::<Token>().is_err(), "with {more}");
            }
        }
        assert_eq!("".parse::<Token>(), Err(TokenError::NotAToken));
        assert_eq!("bailey3.AAAA".parse::<Token>(), Err(TokenError::NotAToken));
        let long = format!("bailey1.{}", "A".repeat(MAX_TOKEN));
        assert_eq!(long.parse::<Token>(), Err(TokenError::TooLong));
    }

    #[test]
    fn the_longest_names_still_make_a_token_that_is_read() {
        let host = format!("{}a", "a.".repeat(126));
        let zone = "z".repeat(63);
        let address = format!("{}:65535", "c".repeat(MAX_ADDRESS - 6));
        let token = Token::new(
            &address,
            KeyPin([1; 32]),
            [2; 32],
            host.parse().unwrap(),
            zone.parse().unwrap(),
        )
        .unwrap()
        .with_security_key(VerifyingKey::from_bytes([3; 32]));
        assert!(token.to_string().len() <= MAX_TOKEN);
        assert_eq!(token.to_string().parse(), Ok(token));
    }

    #[test]
    fn what_cannot_be_dialled_is_no_address() {
        for bad in [
            "",
            ":",
            "host",
            "host:",
            ":7710",
            "host:0",
            "host:65536",
            "host:+1",
            "host:07710",
            "fd00::1:7710",
            "[fd00::1]",
            "[fd00::1:7710",
            "[x]:1",
            "ho st:1",
            "host/x:1",
            "https://host:1",
            "user@host:1",
            "内网:1",
        ] {
            let made = Token::new(
                bad,
                KeyPin([0; 32]),
                [0; 32],
                "oa-17".parse().unwrap(),
                "inner".parse().unwrap(),
            );
            assert_eq!(made, Err(TokenError::Address(bad.into())), "{bad}");
        }
        let long = format!("{}:65535", "c".repeat(MAX_ADDRESS - 5));
        assert!(!is_address(&long));
    }

    #[test]
    fn a_log_line_never_shows_the_secret() {
        let shown = format!("{:?}", token());
        assert!(shown.contains("oa-17"));
        assert!(!shown.contains("205") && !shown.contains("cdcd"), "{shown}");
    }

    #[test]
    fn the_stored_hash_is_not_the_plain_hash_of_the_secret() {
        let plain: [u8; 32] = Sha256::digest([0xcd; 32]).into();
        assert_ne!(token().secret_hash(), plain);
        assert_eq!(token().secret_hash(), secret_hash(&[0xcd; 32]));
    }
}
