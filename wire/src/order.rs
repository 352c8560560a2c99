//! Orders of the security role to one host: a ruleset, a quarantine, or its end. They are signed
//! with Ed25519 (RFC 8032), numbered, and bound to one host; who carries them does not matter.
//!
//! An order is encoded once. The signature covers exactly those octets, and what is decoded is
//! exactly what was verified: there is no second form of the same order.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use bailey_rules::name::HostKey;
use bailey_rules::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::v1;
pub use bailey_rules::fact::enforcement::OrderRef;
pub use bailey_rules::name::OrderDigest;

/// The longest ruleset, in octets.
pub const MAX_RULESET: usize = 4 * 1024 * 1024;
/// The longest reason of a quarantine, in octets.
pub const MAX_REASON: usize = 256;
/// The largest signed order, in octets: a ruleset and its envelope.
pub const MAX_SIGNED: usize = MAX_RULESET + 4096;
/// The shortest time in which a ruleset may have to be confirmed.
pub const MIN_CONFIRM: Duration = Duration::from_secs(1);
/// The longest time in which a ruleset may have to be confirmed: so long can a bad one cut off a
/// host.
pub const MAX_CONFIRM: Duration = Duration::from_hours(1);
/// The largest key file that is looked at, in octets. One of ours has some 120.
pub const MAX_KEY_FILE: usize = 4096;

/// What stands before the order when it is signed, so that no other signature of the same key can
/// be taken for one.
const DOMAIN: &[u8] = b"bailey order 1\0";
/// What a file with a signed order begins with.
const MAGIC: &[u8] = b"bailey signed order 1\n";
/// The SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410, 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Octets of an Ed25519 public key.
const KEY: usize = 32;
/// Octets of an Ed25519 signature.
const SIGNATURE: usize = 64;
/// Lines of a PEM file are so long (RFC 7468, 2).
const PEM_LINE: usize = 64;

/// Why an order or a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The file does not begin as one with a signed order does.
    #[error("not a file with a signed order; make one with `bailey policy push --to DIR`")]
    NotAnOrderFile,
    /// It is more than [`MAX_SIGNED`].
    #[error("a signed order of {0} octets; {MAX_SIGNED} are the most")]
    TooLarge(usize),
    /// The octets are no signed order, or no order.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// Another key signed it.
    #[error("signed by key {signed}, but this host follows key {pinned} only")]
    WrongKey {
        /// Which key it names.
        signed: KeyId,
        /// Which one it must be.
        pinned: KeyId,
    },
    /// The signature does not fit the order.
    #[error("the signature does not fit: the order was changed, or not signed by key {0}")]
    BadSignature(KeyId),
    /// It has parts that this version does not know, which could mean anything.
    #[error("the order has parts that this version does not know; update this host first")]
    Unknown,
    /// A part is out of its bounds.
    #[error("the order's {field} is out of bounds: {bounds}")]
    OutOfBounds {
        /// Which part.
        field: &'static str,
        /// What it may be.
        bounds: String,
    },
    /// It is no Ed25519 key in the form of RFC 8410.
    #[error("not {0} in PEM form (RFC 8410); make one with `bailey policy key`")]
    NotAKey(&'static str),
    /// The cryptographic library failed.
    #[error("cannot make a key or signature")]
    Cryptography,
}

/// Which key signed: the first 8 octets of the SHA-256 of its SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// What a host is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// To enforce a ruleset, once it is confirmed.
    Ruleset {
        /// One `table inet bailey { ... }` as nft(8) reads it.
        text: String,
        /// The ruleset before it returns unless this one is confirmed so soon after it was applied;
        /// [`MIN_CONFIRM`] to [`MAX_CONFIRM`].
        confirm_within: Duration,
        /// Whether the host puts the ruleset back when somebody else changes it.
        restore: bool,
    },
    /// To keep off the network but for what the text lets through, at once and without confirmation.
    Quarantine {
        /// One `table inet bailey { ... }` as nft(8) reads it, with the management path in it.
        text: String,
        /// When it ends by itself.
        until: Timestamp,
        /// Why, for people; at most [`MAX_REASON`] octets.
        reason: String,
    },
    /// To end a quarantine.
    Release,
}

/// An order to one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which host: no other follows it.
    pub host: HostKey,
    /// Its number, from 1. A host follows no order whose number is not higher than all it has seen.
    pub version: u64,
    /// When it was made.
    pub issued_at: Timestamp,
    /// From then on no host begins to follow it. What was confirmed stays in force all the same.
    pub expires_at: Timestamp,
    /// What to do.
    pub what: What,
}

impl Order {
    fn check(&self) -> Result<(), OrderError> {
        let out = |field, bounds: String| Err(OrderError::OutOfBounds { field, bounds });
        if self.version == 0 {
            return out("version", "1 or more".into());
        }
        let text = match &self.what {
            What::Ruleset { text, confirm_within, restore: _ } => {
                if !(MIN_CONFIRM..=MAX_CONFIRM).contains(confirm_within) {
                    let (least, most) = (MIN_CONFIRM.as_secs(), MAX_CONFIRM.as_secs());
                    return out("time to confirm", format!("{least} s to {most} s"));
                }
                Some(text)
            }
            What::Quarantine { text, until: _, reason } => {
                if reason.len() > MAX_REASON || bailey_rules::fact::bounded(reason) != *reason {
                    return out("reason", format!("at most {MAX_REASON} octets of plain text"));
                }
                Some(text)
            }
            What::Release => None,
        };
        match text {
            Some(text) if text.is_empty() || text.len() > MAX_RULESET => {
                out("ruleset", format!("1 to {MAX_RULESET} octets"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn encode(&self) -> Result<Vec<u8>, OrderError> {
        use v1::firewall_order::What as Wire;
        self.check()?;
        let what = match &self.what {
            What::Ruleset { text, confirm_within, restore } => Wire::Ruleset(v1::OrderedRuleset {
                text: text.clone(),
                confirm_within_millis: u64::try_from(confirm_within.as_millis())
                    .expect("checked: at most an hour"),
                restore: *restore,
            }),
            What::Quarantine { text, until, reason } => Wire::Quarantine(v1::OrderedQuarantine {
                text: text.clone(),
                until_millis: until.as_millis(),
                reason: reason.clone(),
            }),
            What::Release => Wire::Release(v1::OrderedRelease {}),
        };
        let message = v1::FirewallOrder {
            host: self.host.as_bytes().to_vec(),
            version: self.version,
            issued_at_millis: self.issued_at.as_millis(),
            expires_at_millis: self.expires_at.as_millis(),
            what: Some(what),
        };
        Ok(message.encode_to_vec())
    }

    fn decode(octets: &[u8]) -> Result<Self, OrderError> {
        use v1::firewall_order::What as Wire;
        let message = v1::FirewallOrder::decode(octets)
            .map_err(|_| OrderError::Damaged("the order is no message"))?;
        // Whatever is left out on the way to a message and back is something unknown.
        if message.encode_to_vec() != octets {
            return Err(OrderError::Unknown);
        }
        let what = match message.what.ok_or(OrderError::Unknown)? {
            Wire::Ruleset(ruleset) => What::Ruleset {
                text: ruleset.text,
                confirm_within: Duration::from_millis(ruleset.confirm_within_millis),
                restore: ruleset.restore,
            },
            Wire::Quarantine(quarantine) => What::Quarantine {
                text: quarantine.text,
                until: Timestamp::from_millis(quarantine.until_millis),
                reason: quarantine.reason,
            },
            Wire::Release(_) => What::Release,
        };
        let order = Self {
            host: HostKey::try_from(message.host.as_slice())
                .map_err(|_| OrderError::Damaged("a host's key has 32 octets"))?,
            version: message.version,
            issued_at: Timestamp::from_millis(message.issued_at_millis),
            expires_at: Timestamp::from_millis(message.expires_at_millis),
            what,
        };
        order.check()?;
        Ok(order)
    }
}

/// An order that nobody has verified yet, with the signature over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOrder {
    /// The order's octets, as they were signed.
    pub order: Bytes,
    /// The signature, 64 octets.
    pub signature: [u8; SIGNATURE],
    /// Which key signed, as the order itself says.
    pub key: KeyId,
}

impl SignedOrder {
    /// What this order is called, whether it is genuine or not.
    #[must_use]
    pub fn digest(&self) -> OrderDigest {
        OrderDigest::from_bytes(Sha256::digest(&self.order).into())
    }

    /// Verifies that `key` signed exactly these octets, and only then reads them.
    ///
    /// # Errors
    /// When another key signed, something was changed, or the order is out of its bounds.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Order, OrderError> {
        let pinned = key.id();
        if self.key != pinned {
            return Err(OrderError::WrongKey { signed: self.key, pinned });
        }
        if !key.verifies(&signed_octets(&self.order), &self.signature) {
            return Err(OrderError::BadSignature(pinned));
        }
        Order::decode(&self.order)
    }

    /// What the order says of itself, verified by nobody: good for showing it and for finding the
    /// host that it is for, never for following it.
    ///
    /// # Errors
    /// When it is damaged, of a newer kind, or out of its bounds.
    pub fn unverified(&self) -> Result<Order, OrderError> {
        Order::decode(&self.order)
    }

    /// As it travels: a protobuf `SignedOrder`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.message().encode_to_vec()
    }

    /// What [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// When it is something else, or too large.
    pub fn from_bytes(octets: &[u8]) -> Result<Self, OrderError> {
        if octets.len() > MAX_SIGNED {
            return Err(OrderError::TooLarge(octets.len()));
        }
        let message = v1::SignedOrder::decode(octets)
            .map_err(|_| OrderError::Damaged("it is no message with a signed order"))?;
        let signature = message.signature.as_slice().try_into();
        let key = message.key.as_slice().try_into();
        Ok(Self {
            signature: signature.map_err(|_| OrderError::Damaged("a signature has 64 octets"))?,
            key: KeyId(key.map_err(|_| OrderError::Damaged("the name of a key has 8 octets"))?),
            order: message.order.into(),
        })
    }

    /// As it lies in a file, such as on removable media.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let message = self.message();
        let mut file = Vec::with_capacity(MAGIC.len() + message.encoded_len());
        file.extend(MAGIC);
        message.encode(&mut file).expect("a vector grows");
        file
    }

    /// What [`Self::to_file`] gave.
    ///
    /// # Errors
    /// When it is something else, or too large.
    pub fn from_file(octets: &[u8]) -> Result<Self, OrderError> {
        Self::from_bytes(octets.strip_prefix(MAGIC).ok_or(OrderError::NotAnOrderFile)?)
    }

    fn message(&self) -> v1::SignedOrder {
        v1::SignedOrder {
            order: self.order.to_vec(),
            signature: self.signature.to_vec(),
            key: self.key.0.to_vec(),
        }
    }
}

fn signed_octets(order: &[u8]) -> Vec<u8> {
    [DOMAIN, order].concat()
}

/// Signs `order`, which is encoded here and never again.
///
/// # Errors
/// When the order is out of its bounds.
pub fn sign(order: &Order, key: &SigningKey) -> Result<SignedOrder, OrderError> {
    let octets = order.encode()?;
    Ok(SignedOrder {
        signature: key.sign_octets(&signed_octets(&octets)),
        order: octets.into(),
        key: key.verifying_key().id(),
    })
}

/// The key of the security role. It stays with the people who hold it.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key, from the operating system's randomness.
    ///
    /// # Errors
    /// [`OrderError::Cryptography`] when the system gives none.
    pub fn generate() -> Result<Self, OrderError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| OrderError::Cryptography)
    }

    /// Reads a private key: PKCS#8 in PEM form (RFC 8410, 7). Whoever keeps it in a file keeps that
    /// file readable for its owner alone.
    ///
    /// # Errors
    /// [`OrderError::NotAKey`] when it is none.
    pub fn from_pem(pem: &str) -> Result<Self, OrderError> {
        let not = || OrderError::NotAKey("an Ed25519 private key");
        let der = from_pem("PRIVATE KEY", pem).ok_or_else(not)?;
        Ed25519KeyPair::from_pkcs8(&der).map(Self).map_err(|_| not())
    }

    /// The key as [`Self::from_pem`] reads it.
    ///
    /// # Errors
    /// [`OrderError::Cryptography`] when the library fails.
    pub fn to_pem(&self) -> Result<String, OrderError> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| OrderError::Cryptography)?;
        Ok(to_pem("PRIVATE KEY", der.as_ref()))
    }

    /// Signs octets that begin with what they are for, so that no signature is taken for another.
    pub(crate) fn sign_octets(&self, octets: &[u8]) -> [u8; SIGNATURE] {
        let signature = self.0.sign(octets);
        signature.as_ref().try_into().expect("an Ed25519 signature has 64 octets")
    }

    /// What hosts pin.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        let key = self.0.public_key().as_ref();
        VerifyingKey(key.try_into().expect("an Ed25519 public key has 32 octets"))
    }
}

impl fmt::Debug for SigningKey {
    /// Without the key: this may end in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.verifying_key().id())
    }
}

/// The key that a host pins: orders that another one signed are refused.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey([u8; KEY]);

impl VerifyingKey {
    /// Takes the raw octets (RFC 8032, 5.1.5).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }

    /// The raw octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Which key this is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        id.copy_from_slice(&Sha256::digest(self.spki())[..8]);
        KeyId(id)
    }

    /// Whether this key signed exactly these octets.
    pub(crate) fn verifies(&self, octets: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(octets, signature).is_ok()
    }

    /// Reads a public key: SubjectPublicKeyInfo in PEM form (RFC 8410, 4).
    ///
    /// # Errors
    /// [`OrderError::NotAKey`] when it is none.
    pub fn from_pem(pem: &str) -> Result<Self, OrderError> {
        let der = from_pem("PUBLIC KEY", pem);
        der.as_deref()
            .and_then(|der| der.strip_prefix(&SPKI))
            .and_then(|key| key.try_into().ok())
            .map(Self)
            .ok_or(OrderError::NotAKey("an Ed25519 public key"))
    }

    /// The key as [`Self::from_pem`] reads it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &self.spki())
    }

    fn spki(&self) -> Vec<u8> {
        [&SPKI[..], &self.0].concat()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.id())
    }
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + &format!("-----END {label}-----\n")
}

/// The one block of a PEM file (RFC 7468), which has nothing but blanks around it.
fn from_pem(label: &str, pem: &str) -> Option<Vec<u8>> {
    if pem.len() > MAX_KEY_FILE {
        return None;
    }
    let body = pem.trim().strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let body = body.strip_suffix(&format!("-----END {label}-----"))?;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset(version: u64) -> Order {
        Order {
            host: HostKey::from_bytes([7; 32]),
            version,
            issued_at: Timestamp::from_seconds(1_795_415_400),
            expires_at: Timestamp::from_seconds(1_795_501_800),
            what: What::Ruleset {
                text: "table inet bailey {\n}\n".into(),
                confirm_within: Duration::from_mins(2),
                restore: true,
            },
        }
    }

    fn quarantine() -> Order {
        let what = What::Quarantine {
            text: "table inet bailey {\n}\n".into(),
            until: Timestamp::from_seconds(1_795_501_800),
            reason: "勒索软件: oa-17 scans inner".into(),
        };
        Order { what, ..ruleset(9) }
    }

    #[test]
    fn an_order_is_read_as_it_was_signed_also_from_removable_media() {
        let key = SigningKey::generate().unwrap();
        for order in [ruleset(1), quarantine(), Order { what: What::Release, ..ruleset(3) }] {
            let signed = sign(&order, &key).unwrap();
            let travelled = SignedOrder::from_bytes(&signed.to_bytes()).unwrap();
            let carried = SignedOrder::from_file(&signed.to_file()).unwrap();
            assert_eq!((&travelled, &carried), (&signed, &signed));
            assert_eq!(carried.verify(&key.verifying_key()), Ok(order));
        }
        let octets = sign(&ruleset(1), &key).unwrap().to_bytes();
        assert_eq!(SignedOrder::from_file(&octets), Err(OrderError::NotAnOrderFile));
    }

    #[test]
    fn keys_survive_their_files_and_openssl_reads_their_form() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.verifying_key(), key.verifying_key());
        let public = key.verifying_key();
        assert_eq!(VerifyingKey::from_pem(&public.to_pem()), Ok(public));

        // RFC 8410, 10.1 and 10.3.
        let private = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
            -----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
            -----END PUBLIC KEY-----\n";
        let read = SigningKey::from_pem(private).unwrap();
        assert_eq!(read.verifying_key().to_pem(), public);
        assert_eq!(read.to_pem().unwrap(), private);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = SigningKey::generate().unwrap();
        let (private, public) = (key.to_pem().unwrap(), key.verifying_key().to_pem());
        assert!(SigningKey::from_pem(&public).is_err());
        assert!(VerifyingKey::from_pem(&private).is_err());
        for text in [String::new(), public.replace('M', "N"), format!("{public}{public}")] {
            assert!(VerifyingKey::from_pem(&text).is_err(), "{text}");
        }
        assert!(VerifyingKey::from_pem(&" ".repeat(MAX_KEY_FILE + 1)).is_err());
    }

    #[test]
    fn no_octet_of_a_signed_order_can_be_changed() {
        let key = SigningKey::generate().unwrap();
        let signed = sign(&ruleset(1), &key).unwrap();
        let octets = signed.to_bytes();
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            let read = SignedOrder::from_bytes(&changed);
            let verified = read.and_then(|order| order.verify(&key.verifying_key()));
            assert!(verified.is_err(), "octet {at}");
        }
        let stranger = SigningKey::generate().unwrap().verifying_key();
        let (is, wanted) = (signed.key, stranger.id());
        let refused = OrderError::WrongKey { signed: is, pinned: wanted };
        assert_eq!(signed.verify(&stranger), Err(refused));
        let forged = SignedOrder { key: wanted, ..signed };
        assert_eq!(forged.verify(&stranger), Err(OrderError::BadSignature(wanted)));
    }

    #[test]
    fn a_signature_over_something_else_is_no_order() {
        let key = SigningKey::generate().unwrap();
        let signed = sign(&ruleset(1), &key).unwrap();
        let bare = key.0.sign(&signed.order).as_ref().try_into().unwrap();
        let bare = SignedOrder { signature: bare, ..signed };
        let refused = OrderError::BadSignature(bare.key);
        assert_eq!(bare.verify(&key.verifying_key()), Err(refused));
    }

    #[test]
    fn a_signed_order_with_unknown_parts_is_refused() {
        let key = SigningKey::generate().unwrap();
        let mut octets = ruleset(1).encode().unwrap();
        // Field 15, a number: 1.
        octets.extend([0x78, 1]);
        let signature = key.0.sign(&signed_octets(&octets)).as_ref().try_into().unwrap();
        let signed = SignedOrder { order: octets.into(), signature, key: key.verifying_key().id() };
        assert_eq!(signed.verify(&key.verifying_key()), Err(OrderError::Unknown));
    }

    #[test]
    fn what_is_out_of_bounds_is_not_even_signed() {
        let key = SigningKey::generate().unwrap();
        let with = |text: &str, confirm_within| {
            let what = What::Ruleset { text: text.into(), confirm_within, restore: false };
            sign(&Order { what, ..ruleset(1) }, &key).map(|_| ())
        };
        let minute = Duration::from_mins(1);
        assert_eq!(with("x", minute), Ok(()));
        for refused in [
            with("", minute),
            with(&"x".repeat(MAX_RULESET + 1), minute),
            with("x", Duration::ZERO),
            with("x", MAX_CONFIRM + minute),
            sign(&ruleset(0), &key).map(|_| ()),
        ] {
            assert!(matches!(refused, Err(OrderError::OutOfBounds { .. })), "{refused:?}");
        }
        let largest = with(&"x".repeat(MAX_RULESET), minute);
        assert_eq!(largest, Ok(()));
        let huge = vec![0; MAX_SIGNED + 1];
        assert_eq!(SignedOrder::from_bytes(&huge), Err(OrderError::TooLarge(huge.len())));
    }
}
