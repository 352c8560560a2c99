//! A policy file with the mark of the key under which it was pushed.
//!
//! The collector keeps the text of what was pushed, and a rollback or a quarantine signs orders that
//! are made from that text. The mark lets whoever holds the key see that it is a text he pushed
//! before: without it, a collector could have anything signed.
//!
//! The mark is a comment in the last line, so that the file is read and shown as ever:
//! `# bailey seal 1 TIME KEY SIGNATURE`, an Ed25519 signature (RFC 8032) over the time and
//! everything before that line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use bailey_rules::time::Timestamp;

use crate::order::{KeyId, SigningKey, VerifyingKey};

/// How the last line of a sealed file begins.
const MARK: &str = "# bailey seal 1 ";
/// What stands before the text when it is signed, so that no other signature of the same key can be
/// taken for one.
const DOMAIN: &[u8] = b"bailey policy 1\0";

/// Why a text is not taken for one that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The last line is no mark.
    #[error("it has no seal, so that nobody can tell who pushed it")]
    NotSealed,
    /// Another key made the mark.
    #[error("it was sealed with key {sealed}, not with {wanted}")]
    WrongKey {
        /// The name of the key, as the mark says.
        sealed: String,
        /// Which one it must be.
        wanted: KeyId,
    },
    /// The text or the mark was changed.
    #[error("its seal does not fit: the text was changed after key {0} sealed it")]
    Changed(KeyId),
}

/// A text that was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The text, without the mark.
    pub text: String,
    /// When it was sealed.
    pub at: Timestamp,
}

/// `text` with the mark of `key`. A mark that it has is replaced.
#[must_use]
pub fn seal(text: &str, at: Timestamp, key: &SigningKey) -> String {
    let (text, _) = apart(text);
    let mut sealed = text.to_owned();
    if !sealed.is_empty() && !sealed.ends_with('\n') {
        sealed.push('\n');
    }
    // Seconds are all that the mark shows of the time.
    let at = Timestamp::from_seconds(at.as_seconds());
    let signature = STANDARD.encode(key.sign_octets(&signed_octets(&sealed, at)));
    let id = key.verifying_key().id();
    sealed + &format!("{MARK}{at} {id} {signature}\n")
}

/// The text that [`seal`] was given, if `key` made the mark over exactly this one.
///
/// # Errors
/// When it has no mark, another key's, or was changed since.
pub fn unseal(sealed: &str, key: &VerifyingKey) -> Result<Sealed, SealError> {
    let (text, mark) = apart(sealed);
    let mut words = mark.ok_or(SealError::NotSealed)?.split(' ');
    let (Some(at), Some(id), Some(signature), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(SealError::NotSealed);
    };
    let wanted = key.id();
    if id != wanted.to_string() {
        let sealed = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        return Err(SealError::WrongKey { sealed, wanted });
    }
    let changed = || SealError::Changed(wanted);
    // There is one way to write a mark: parsers of RFC 3339 are lenient.
    let read: Option<Timestamp> = at.parse().ok();
    let at = read.filter(|read| read.to_string() == at).ok_or_else(changed)?;
    let signature = STANDARD.decode(signature).map_err(|_| changed())?;
    if !key.verifies(&signed_octets(text, at), &signature) {
        return Err(changed());
    }
    Ok(Sealed { text: text.to_owned(), at })
}

/// The text and what stands behind the mark, where the last line is one.
fn apart(text: &str) -> (&str, Option<&str>) {
    let end = text.strip_suffix('\n').unwrap_or(text);
    let begin = end.rfind('\n').map_or(0, |at| at + 1);
    match end[begin..].strip_prefix(MARK) {
        Some(mark) => (&text[..begin], Some(mark)),
        None => (text, None),
    }
}

fn signed_octets(text: &str, at: Timestamp) -> Vec<u8> {
    [DOMAIN, &at.as_seconds().to_be_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "site: jiaxing\n# 内网\nzones: {}\n";
    const AT: Timestamp = Timestamp::from_seconds(1_795_415_400);

    #[test]
    fn what_was_sealed_is_what_is_read_and_the_mark_is_a_comment() {
        let key = SigningKey::generate().unwrap();
        for text in [POLICY, POLICY.trim_end(), "", "\n", "# only a comment"] {
            let sealed = seal(text, AT, &key);
            let mark = sealed.strip_prefix(text).unwrap().trim_start();
            assert!(mark.starts_with("# ") && mark.lines().count() == 1, "{sealed}");
            let read = unseal(&sealed, &key.verifying_key()).unwrap();
            assert_eq!((read.text.trim_end(), read.at), (text.trim_end(), AT));
            // Sealing again leaves no second mark.
            let later = AT + std::time::Duration::from_mins(1);
            let again = seal(&sealed, later, &key);
            assert_eq!(again.matches(MARK).count(), 1);
            assert_eq!(unseal(&again, &key.verifying_key()).unwrap().at, later);
        }
    }

    #[test]
    fn no_octet_of_a_sealed_text_can_be_changed() {
        let key = SigningKey::generate().unwrap();
        let sealed = seal("site: jiaxing\n", AT, &key);
        let last = sealed.len() - 1;
        for at in 0..last {
            let mut octets = sealed.clone().into_bytes();
            octets[at] ^= 1;
            let changed = String::from_utf8(octets).unwrap();
            assert!(unseal(&changed, &key.verifying_key()).is_err(), "octet {at}: {changed}");
        }
    }

    #[test]
    fn a_text_of_somebody_else_is_refused_by_name() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let wanted = key.verifying_key();
        assert_eq!(unseal(POLICY, &wanted), Err(SealError::NotSealed));
        assert_eq!(unseal(&format!("{POLICY}{MARK}\n"), &wanted), Err(SealError::NotSealed));
        let strange = unseal(&seal(POLICY, AT, &other), &wanted);
        let sealed = other.verifying_key().id().to_string();
        assert_eq!(strange, Err(SealError::WrongKey { sealed, wanted: wanted.id() }));
        // The mark of one text under another.
        let mark = seal("", AT, &key);
        let moved = unseal(&format!("{POLICY}{mark}"), &wanted);
        assert_eq!(moved, Err(SealError::Changed(wanted.id())));
    }
}
