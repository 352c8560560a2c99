//! Who is signed in: one-time codes and the sessions they become. Both live in memory only and end
//! with the process; the browser keeps a random secret, this side keeps its SHA-256.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailey_rules::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;
use sha2::{Digest as _, Sha256};

/// How long a sign-in code may wait to be used.
pub const CODE_LIFE: Duration = Duration::from_mins(15);

/// How long a session lives with nobody using it. Screens that refresh themselves are no use.
pub const IDLE_LIFE: Duration = Duration::from_hours(8);

/// How long a session lives at most, used or not.
pub const SESSION_LIFE: Duration = Duration::from_hours(24);

/// The most codes that wait; the oldest gives way.
pub const MAX_CODES: usize = 16;

/// The most sessions; the one unused for longest gives way.
pub const MAX_SESSIONS: usize = 64;

/// The cookie of a session. The prefix makes browsers insist on Secure, Path=/ and no Domain
/// (RFC 6265bis 4.1.3.2).
pub const COOKIE: &str = "__Host-bailey";

/// Octets of a secret.
const SECRET: usize = 32;

type Hash = [u8; 32];

fn hash_of(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

fn new_secret(rng: &mut impl CryptoRng) -> String {
    let mut bytes = [0; SECRET];
    rng.fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Codes and sessions.
#[derive(Default)]
pub struct Sessions(Mutex<Held>);

#[derive(Default)]
struct Held {
    codes: BTreeMap<Hash, Timestamp>,
    sessions: BTreeMap<Hash, Session>,
}

struct Session {
    began_at: Timestamp,
    used_at: Timestamp,
}

impl Session {
    fn is_live(&self, now: Timestamp) -> bool {
        self.used_at.age(now) < IDLE_LIFE && self.began_at.age(now) < SESSION_LIFE
    }
}

/// A signed-in browser, as one request shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedIn {
    hash: Hash,
    /// The token every form of this session must carry.
    pub form_token: String,
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedIn")
    }
}

/// Why a code was refused. The same for never made, used and expired: nothing to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sign-in link is used up, expired or was never made; make a new one with `bailey signin`"
)]
pub struct CodeRefused;

impl Sessions {
    /// A new one-time code of 256 random bits.
    pub fn new_code(&self, now: Timestamp, rng: &mut impl CryptoRng) -> String {
        let code = new_secret(rng);
        let mut held = self.held(now);
        while held.codes.len() >= MAX_CODES {
            let oldest = held.codes.iter().min_by_key(|(_, expires)| **expires).map(|(h, _)| *h);
            oldest.map(|hash| held.codes.remove(&hash));
        }
        held.codes.insert(hash_of(&code), now + CODE_LIFE);
        code
    }

    /// Whether `code` could be spent now. Spends nothing.
    pub fn is_good(&self, code: &str, now: Timestamp) -> bool {
        self.held(now).codes.contains_key(&hash_of(code))
    }

    /// Spends `code` and gives the secret for the cookie.
    ///
    /// # Errors
    /// When the code is unknown, used or expired. Of many that try the same code one succeeds.
    pub fn spend(
        &self,
        code: &str,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<String, CodeRefused> {
        let mut held = self.held(now);
        held.codes.remove(&hash_of(code)).ok_or(CodeRefused)?;
        while held.sessions.len() >= MAX_SESSIONS {
            let idle = held.sessions.iter().min_by_key(|(_, s)| s.used_at).map(|(h, _)| *h);
            idle.map(|hash| held.sessions.remove(&hash));
        }
        let secret = new_secret(rng);
        held.sessions.insert(hash_of(&secret), Session { began_at: now, used_at: now });
        Ok(secret)
    }

    /// The session of a cookie. `used` says whether a person acts: that keeps it alive.
    pub fn find(&self, secret: &str, now: Timestamp, used: bool) -> Option<SignedIn> {
        let hash = hash_of(secret);
        let mut held = self.held(now);
        let session = held.sessions.get_mut(&hash)?;
        if used {
            session.used_at = session.used_at.max(now);
        }
        let mut token = Sha256::new();
        token.update(b"bailey form token\0");
        token.update(secret.as_bytes());
        Some(SignedIn { hash, form_token: URL_SAFE_NO_PAD.encode(token.finalize()) })
    }

    /// Whether the session is still there; asked by streams that outlive their request.
    pub fn is_live(&self, session: &SignedIn, now: Timestamp) -> bool {
        self.held(now).sessions.contains_key(&session.hash)
    }

    /// Ends a session.
    pub fn end(&self, session: &SignedIn) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sessions.remove(&session.hash);
    }

    /// What is held, after all that has expired is gone.
    fn held(&self, now: Timestamp) -> MutexGuard<'_, Held> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.codes.retain(|_, expires| *expires > now);
        held.sessions.retain(|_, session| session.is_live(now));
        held
    }
}

/// The `Set-Cookie` that hands the secret to the browser.
#[must_use]
pub fn set_cookie(secret: &str) -> String {
    format!(
        "{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={}",
        SESSION_LIFE.as_secs()
    )
}

/// The `Set-Cookie` that takes it away.
#[must_use]
pub fn clear_cookie() -> String {
    format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// The value of one cookie in the `Cookie` headers of a request.
pub fn cookie<'a>(headers: &'a axum::http::HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(axum::http::header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_795_000_000);

    fn later(wait: Duration) -> Timestamp {
        NOON + wait
    }

    #[test]
    fn a_code_is_spent_once() {
        let sessions = Sessions::default();
        let code = sessions.new_code(NOON, &mut rand::rng());
        assert!(sessions.is_good(&code, NOON));
        assert!(sessions.spend(&code, NOON, &mut rand::rng()).is_ok());
        assert_eq!(sessions.spend(&code, NOON, &mut rand::rng()), Err(CodeRefused));
        assert!(!sessions.is_good(&code, NOON));
    }

    #[test]
    fn a_code_expires() {
        let sessions = Sessions::default();
        let code = sessions.new_code(NOON, &mut rand::rng());
        assert_eq!(sessions.spend(&code, later(CODE_LIFE), &mut rand::rng()), Err(CodeRefused));
    }

    #[test]
    fn an_empty_code_is_no_code() {
        let sessions = Sessions::default();
        sessions.new_code(NOON, &mut rand::rng());
        assert_eq!(sessions.spend("", NOON, &mut rand::rng()), Err(CodeRefused));
        assert_eq!(sessions.find("", NOON, true), None);
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it() {
        let sessions = Sessions::default();
        let code = sessions.new_code(NOON, &mut rand::rng());
        let secret = sessions.spend(&code, NOON, &mut rand::rng()).unwrap();
        let almost = later(IDLE_LIFE) - Duration::from_secs(1);
        assert!(sessions.find(&secret, almost, false).is_some(), "a refresh is no use");
        assert!(sessions.find(&secret, later(IDLE_LIFE), false).is_none());
    }

    #[test]
    fn use_keeps_a_session_but_not_for_ever() {
        let sessions = Sessions::default();
        let code = sessions.new_code(NOON, &mut rand::rng());
        let secret = sessions.spend(&code, NOON, &mut rand::rng()).unwrap();
        let mut now = NOON;
        while now < later(SESSION_LIFE) - Duration::from_hours(1) {
            now = now + Duration::from_hours(1);
            assert!(sessions.find(&secret, now, true).is_some(), "{now}");
        }
        assert!(sessions.find(&secret, later(SESSION_LIFE), true).is_none());
    }

    #[test]
    fn signing_out_ends_the_session_at_once() {
        let sessions = Sessions::default();
        let code = sessions.new_code(NOON, &mut rand::rng());
        let secret = sessions.spend(&code, NOON, &mut rand::rng()).unwrap();
        let session = sessions.find(&secret, NOON, true).unwrap();
        sessions.end(&session);
        assert!(!sessions.is_live(&session, NOON));
        assert!(sessions.find(&secret, NOON, true).is_none());
    }

    #[test]
    fn codes_and_sessions_are_bounded() {
        let sessions = Sessions::default();
        let first = sessions.new_code(NOON, &mut rand::rng());
        for second in 1..=MAX_CODES as u64 {
            sessions.new_code(later(Duration::from_secs(second)), &mut rand::rng());
        }
        assert!(!sessions.is_good(&first, later(Duration::from_mins(1))), "the oldest gave way");
        let mut secrets = Vec::new();
        for second in 0..=MAX_SESSIONS as u64 {
            let now = later(Duration::from_secs(second));
            let code = sessions.new_code(now, &mut rand::rng());
            secrets.push(sessions.spend(&code, now, &mut rand::rng()).unwrap());
        }
        let now = later(Duration::from_mins(2));
        assert!(sessions.find(&secrets[0], now, true).is_none());
        assert!(sessions.find(&secrets[MAX_SESSIONS], now, true).is_some());
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = axum::http::HeaderMap::new();
        headers.append("cookie", "a=1; __Host-bailey=secret; b=2".parse().unwrap());
        assert_eq!(cookie(&headers, COOKIE), Some("secret"));
        assert_eq!(cookie(&headers, "bailey"), None);
    }
}
