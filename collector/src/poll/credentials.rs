//! How a device wants to be asked: a file with a community, or with a user of SNMPv3.
//!
//! ```yaml
//! community: public            # SNMPv2c; `version: v1` for very old devices
//! ```
//! ```yaml
//! user: monitor                # SNMPv3
//! auth: {protocol: SHA-256, passphrase: at-least-8-octets}
//! priv: {protocol: AES-128, passphrase: at-least-8-octets}
//! ```

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bailey_rules::text::Text;
use bailey_rules::yaml::{self, Problem, Problems, Source, Spanned};
use serde::Deserialize;

/// The longest file taken, in octets.
pub const MAX_FILE: u64 = 16 * 1024;
/// The longest community, in octets. RFC 3584 sets no end; agents take far less.
pub const MAX_COMMUNITY: usize = 255;
/// The longest user name, in octets (RFC 3414 2.4).
pub const MAX_USER: usize = 32;
/// The longest name of a context, in octets (RFC 3411 3.3.1).
pub const MAX_CONTEXT: usize = 32;
/// The shortest passphrase, in octets (RFC 3414 11.2).
pub const MIN_PASSPHRASE: usize = 8;
/// The longest passphrase taken, in octets.
pub const MAX_PASSPHRASE: usize = 255;
/// The shortest and the longest engine id, in octets (RFC 3411 5).
pub const ENGINE_ID: std::ops::RangeInclusive<usize> = 5..=32;

/// A text that must not be shown: a community or a passphrase.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret `text`.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the wire.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    /// Says nothing, not even the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The version that a community is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// SNMPv1 (RFC 1157): no GETBULK, no 64-bit counters.
    V1,
    /// SNMPv2c (RFC 1901).
    V2c,
}

impl Version {
    /// The word in files and on screens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2c => "v2c",
        }
    }
}

macro_rules! protocol {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$variant_doc:meta])* $variant:ident = $word:literal $(| $also:literal)*,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in files and on screens.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownProtocol;
            /// As vendors write it: in any case, and with or without the hyphens.
            fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
                let plain: String = text
                    .chars()
                    .take(SHOWN)
                    .filter(|c| !matches!(c, '-' | '_' | ' '))
                    .map(|c| c.to_ascii_uppercase())
                    .collect();
                $(
                    let words: &[&str] = &[$word $(, $also)*];
                    if words.iter().any(|word| word.replace('-', "") == plain) {
                        return Ok(Self::$variant);
                    }
                )+
                Err(UnknownProtocol {
                    text: text.chars().take(SHOWN).collect(),
                    what: $what,
                    known: &[$($word),+],
                })
            }
        }
    };
}

/// The longest part of a refused word that the error repeats, in characters.
const SHOWN: usize = 64;

/// A word that names no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {what} (known: {})", known.join(", "))]
pub struct UnknownProtocol {
    text: String,
    what: &'static str,
    known: &'static [&'static str],
}

protocol! {
    /// How messages are authenticated (RFC 3414, RFC 7860).
    AuthProtocol, "an authentication protocol", {
        /// HMAC-MD5-96: broken hash, only for devices that know no other.
        Md5 = "MD5" | "HMAC-MD5" | "HMAC-MD5-96",
        /// HMAC-SHA-96, with SHA-1.
        Sha1 = "SHA" | "SHA-1" | "HMAC-SHA" | "HMAC-SHA-96",
        /// HMAC-128-SHA-224.
        Sha224 = "SHA-224" | "SHA2-224",
        /// HMAC-192-SHA-256.
        Sha256 = "SHA-256" | "SHA2-256" | "SHA2",
        /// HMAC-256-SHA-384.
        Sha384 = "SHA-384" | "SHA2-384",
        /// HMAC-384-SHA-512.
        Sha512 = "SHA-512" | "SHA2-512",
    }
}

protocol! {
    /// How messages are kept private (RFC 3414, RFC 3826). AES with longer keys was never made a
    /// standard; where the authentication protocol gives fewer octets than the key needs, vendors
    /// lengthen it in one of two ways.
    PrivProtocol, "a privacy protocol", {
        /// CBC-DES: 56 bits, only for devices that know no other.
        Des = "DES" | "DES-56" | "CBC-DES",
        /// CFB128-AES-128.
        Aes128 = "AES-128" | "AES" | "CFB-AES-128",
        /// AES-192 with keys lengthened as in draft-blumenthal-aes-usm-04: net-snmp, Huawei, H3C.
        Aes192 = "AES-192" | "AES-192-BLUMENTHAL",
        /// AES-192 with keys lengthened as in draft-reeder-snmpv3-usm-3desede-00: Cisco.
        Aes192Reeder = "AES-192-REEDER" | "AES-192-C" | "AES-192-CISCO",
        /// AES-256 with keys lengthened as in draft-blumenthal-aes-usm-04: net-snmp, Huawei, H3C.
        Aes256 = "AES-256" | "AES-256-BLUMENTHAL",
        /// AES-256 with keys lengthened as in draft-reeder-snmpv3-usm-3desede-00: Cisco.
        Aes256Reeder = "AES-256-REEDER" | "AES-256-C" | "AES-256-CISCO",
    }
}

/// A protocol with its passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<P> {
    /// The protocol.
    pub protocol: P,
    /// The passphrase, [`MIN_PASSPHRASE`] to [`MAX_PASSPHRASE`] octets.
    pub passphrase: Secret,
}

/// The security level of a user (RFC 3411 3.4.3): what the keys allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// Neither authentication nor privacy.
    NoAuthNoPriv,
    /// Authentication alone.
    AuthNoPriv(Key<AuthProtocol>),
    /// Both.
    AuthPriv(Key<AuthProtocol>, Key<PrivProtocol>),
}

impl Level {
    /// The level as RFC 3411 writes it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoAuthNoPriv => "noAuthNoPriv",
            Self::AuthNoPriv(_) => "authNoPriv",
            Self::AuthPriv(..) => "authPriv",
        }
    }

    /// The key that authenticates.
    #[must_use]
    pub const fn auth(&self) -> Option<&Key<AuthProtocol>> {
        match self {
            Self::NoAuthNoPriv => None,
            Self::AuthNoPriv(auth) | Self::AuthPriv(auth, _) => Some(auth),
        }
    }
}

/// A user of SNMPv3 with the user-based security model (RFC 3414).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, 1 to [`MAX_USER`] octets.
    pub name: String,
    /// What protects the messages.
    pub level: Level,
    /// The context (RFC 3411 3.3.1); empty for the device's default one.
    pub context: String,
    /// The engine id that the device must have, where the file says one: then no other device can
    /// stand in for it.
    pub engine_id: Option<Vec<u8>>,
}

/// How a device wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// By a community. Anybody on the way can read it.
    Community {
        /// The version it is spoken with.
        version: Version,
        /// The community, 1 to [`MAX_COMMUNITY`] octets.
        community: Secret,
    },
    /// By a user of SNMPv3.
    User(User),
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: Option<Spanned<String>>,
    community: Option<Spanned<String>>,
    user: Option<Spanned<String>>,
    auth: Option<Spanned<WrittenKey>>,
    #[serde(rename = "priv")]
    privacy: Option<Spanned<WrittenKey>>,
    context: Option<Spanned<String>>,
    engine_id: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    protocol: Spanned<String>,
    passphrase: Spanned<String>,
}

impl Credentials {
    /// Reads credentials. `file` is only the name used in problems; no problem repeats a secret.
    ///
    /// # Errors
    /// What is wrong in the file, and where.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let written: Written =
            yaml::parse(file, text).map_err(|Problems(problems)| without_lines(problems))?;
        let source = Source { file, text };
        let read = match (&written.community, &written.user) {
            (Some(community), None) => by_community(&source, &written, community),
            (None, Some(user)) => by_user(&source, &written, user),
            (Some(_), Some(user)) => Err(source
                .at(user, "a file has either a community or a user")
                .help("remove \"community:\" for SNMPv3, or \"user:\" for SNMPv2c")),
            (None, None) => Err(source
                .whole("neither a community nor a user is given")
                .help("add \"community:\" for SNMPv2c, or \"user:\" for SNMPv3")),
        };
        read.map_err(|problem| without_lines(vec![problem]))
    }

    /// The version of the protocol, as files and screens write it.
    #[must_use]
    pub const fn version(&self) -> &'static str {
        match self {
            Self::Community { version, .. } => version.name(),
            Self::User(_) => "v3",
        }
    }
}

/// The problems without the lines of the file: a passphrase may stand in them.
fn without_lines(problems: Vec<Problem>) -> Problems {
    let bare = |problem| Problem { source_line: String::new(), ..problem };
    Problems(problems.into_iter().map(bare).collect())
}

fn by_community(
    source: &Source<'_>,
    written: &Written,
    community: &Spanned<String>,
) -> Result<Credentials, Problem> {
    let keys = [("auth", &written.auth), ("priv", &written.privacy)];
    for (name, key) in keys {
        if let Some(key) = key {
            return Err(source
                .at(key, format!("\"{name}:\" belongs to a user, and here is a community"))
                .help("write \"user:\" in place of \"community:\""));
        }
    }
    let texts = [("context", &written.context), ("engine_id", &written.engine_id)];
    for (name, text) in texts {
        if let Some(text) = text {
            return Err(source
                .at(text, format!("\"{name}:\" belongs to a user, and here is a community"))
                .help("remove it"));
        }
    }
    let version = match &written.version {
        None => Version::V2c,
        Some(version) => match version.value.to_ascii_lowercase().as_str() {
            "v1" | "1" => Version::V1,
            "v2c" | "2c" | "v2" | "2" => Version::V2c,
            "v3" | "3" => {
                return Err(source
                    .at(version, "SNMPv3 knows users, not communities")
                    .help("write \"user:\", or \"version: v2c\""));
            }
            _ => return Err(unknown_version(source, version)),
        },
    };
    let length = community.value.len();
    if length == 0 || length > MAX_COMMUNITY {
        let rule = format!("a community has 1 to {MAX_COMMUNITY} octets; this one has {length}");
        return Err(source.at(community, rule));
    }
    Ok(Credentials::Community { version, community: Secret::new(community.value.clone()) })
}

fn by_user(
    source: &Source<'_>,
    written: &Written,
    user: &Spanned<String>,
) -> Result<Credentials, Problem> {
    if let Some(version) = &written.version {
        match version.value.to_ascii_lowercase().as_str() {
            "v3" | "3" => {}
            "v1" | "1" | "v2c" | "2c" | "v2" | "2" => {
                return Err(source
                    .at(version, "a user is of SNMPv3 only")
                    .help("write \"version: v3\", or \"community:\" in place of \"user:\""));
            }
            _ => return Err(unknown_version(source, version)),
        }
    }
    let length = user.value.len();
    if length == 0 || length > MAX_USER {
        let rule = format!("a user name has 1 to {MAX_USER} octets; this one has {length}");
        return Err(source.at(user, rule));
    }
    let level = match (&written.auth, &written.privacy) {
        (None, None) => Level::NoAuthNoPriv,
        (None, Some(privacy)) => {
            return Err(source
                .at(privacy, "there is no privacy without authentication")
                .help("add \"auth: {protocol: ..., passphrase: ...}\""));
        }
        (Some(auth), None) => Level::AuthNoPriv(key(source, &auth.value)?),
        (Some(auth), Some(privacy)) => {
            Level::AuthPriv(key(source, &auth.value)?, key(source, &privacy.value)?)
        }
    };
    let context = written.context.as_ref().map_or("", |context| context.value.as_str());
    if let Some(at) = written.context.as_ref().filter(|at| at.value.len() > MAX_CONTEXT) {
        return Err(source.at(at, format!("a context has at most {MAX_CONTEXT} octets")));
    }
    let engine_id = match &written.engine_id {
        None => None,
        Some(at) => Some(engine_id(&at.value).ok_or_else(|| {
            let (least, most) = (ENGINE_ID.start(), ENGINE_ID.end());
            source.at(at, format!("an engine id has {least} to {most} octets in hexadecimal")).help(
                "write it as \"80001f8880aabbccdd\", in quotes; or leave it out to take the device's",
            )
        })?),
    };
    Ok(Credentials::User(User {
        name: user.value.clone(),
        level,
        context: context.to_owned(),
        engine_id,
    }))
}

fn unknown_version(source: &Source<'_>, version: &Spanned<String>) -> Problem {
    source.at(version, "there are the versions v1, v2c and v3").help("write one of them")
}

fn key<P: FromStr<Err = UnknownProtocol>>(
    source: &Source<'_>,
    written: &WrittenKey,
) -> Result<Key<P>, Problem> {
    let protocol = written.protocol.value.parse().map_err(|error: UnknownProtocol| {
        let problem = source.at(&written.protocol, error.to_string());
        problem.or_meant(&written.protocol.value.to_ascii_uppercase(), error.known.iter().copied())
    })?;
    let length = written.passphrase.value.len();
    if !(MIN_PASSPHRASE..=MAX_PASSPHRASE).contains(&length) {
        let rule = format!(
            "a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} octets (RFC 3414 11.2); this \
             one has {length}"
        );
        return Err(source.at(&written.passphrase, rule));
    }
    Ok(Key { protocol, passphrase: Secret::new(written.passphrase.value.clone()) })
}

/// Octets from hexadecimal digits, `0x` or colons allowed.
fn engine_id(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text).replace(':', "");
    if !digits.is_ascii()
        || !digits.len().is_multiple_of(2)
        || !ENGINE_ID.contains(&(digits.len() / 2))
    {
        return None;
    }
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| {
            let digit = |c: u8| char::from(c).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        })
        .collect()
}

/// Why a file of credentials gives none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
        /// Whether there is no such file.
        missing: bool,
    },
    /// It is wrong.
    #[error("{0}")]
    Wrong(#[from] Problems),
}

/// Credentials from a file, and what is to be said about the file itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromFile {
    /// The credentials.
    pub credentials: Credentials,
    /// The whole text of the file.
    pub text: Secret,
    /// A warning: others on this machine can read the file.
    pub warning: Option<Text>,
}

/// Reading by the group and by everybody, in the mode of a file.
const READ_BY_OTHERS: u32 = 0o044;

/// Reads the file `path`.
///
/// # Errors
/// When it cannot be read, or is wrong.
pub fn read(path: &Path) -> Result<FromFile, CredentialsError> {
    let unreadable = |why: std::io::Error| CredentialsError::Unreadable {
        path: path.to_owned(),
        missing: why.kind() == std::io::ErrorKind::NotFound,
        why: why.to_string(),
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    let shown = path.display().to_string();
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE {
        let source = Source { file: &shown, text: "" };
        let problem = source.whole(format!("a file of credentials has at most {MAX_FILE} octets"));
        return Err(Problems(vec![problem]).into());
    }
    let credentials = Credentials::parse(&shown, &text)?;
    let warning = (mode & READ_BY_OTHERS != 0).then(|| {
        Text::new(
            format!("others on this machine can read {shown}: chmod 600 {shown}"),
            format!("本机其他用户可以读取 {shown}：请执行 chmod 600 {shown}"),
        )
    });
    Ok(FromFile { credentials, text: Secret::new(text), warning })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        match Credentials::parse("core-1.yaml", text) {
            Ok(read) => panic!("taken: {read:?}"),
            Err(problems) => problems.to_string(),
        }
    }

    #[test]
    fn a_community_is_of_v2c_unless_the_file_says_v1() {
        for (text, version) in [
            ("community: public\n", Version::V2c),
            ("community: public\nversion: v1\n", Version::V1),
            ("{version: 2c, community: \"12345\"}", Version::V2c),
        ] {
            let read = Credentials::parse("f", text);
            assert!(
                matches!(&read, Ok(Credentials::Community { version: is, .. }) if *is == version),
                "{text}: {read:?}"
            );
        }
    }

    #[test]
    fn a_user_has_the_level_that_its_keys_allow() {
        for (text, level) in [
            ("user: m\n", "noAuthNoPriv"),
            ("user: m\nauth: {protocol: sha256, passphrase: 12345678}\n", "authNoPriv"),
            (
                "user: m\nversion: v3\nauth: {protocol: SHA-256, passphrase: \"a b c d e\"}\n\
                 priv: {protocol: aes, passphrase: 'p:#!pass'}\ncontext: bridge1\n\
                 engine_id: \"80:00:1f:88:80:aa:bb\"\n",
                "authPriv",
            ),
        ] {
            match Credentials::parse("f", text) {
                Ok(Credentials::User(user)) => assert_eq!(user.level.name(), level, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_protocol_is_read_as_it_is_printed_and_as_vendors_write_it() {
        for protocol in AuthProtocol::ALL {
            assert_eq!(protocol.name().parse(), Ok(*protocol));
        }
        for protocol in PrivProtocol::ALL {
            assert_eq!(protocol.name().parse(), Ok(*protocol));
        }
        for (text, protocol) in [
            ("aes", PrivProtocol::Aes128),
            ("AES256", PrivProtocol::Aes256),
            ("aes256c", PrivProtocol::Aes256Reeder),
            ("AES-192-Cisco", PrivProtocol::Aes192Reeder),
        ] {
            assert_eq!(text.parse(), Ok(protocol), "{text}");
        }
        assert!("AES-512".parse::<PrivProtocol>().is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_what_to_write_instead() {
        insta::assert_snapshot!(
            [
                "",
                "auth: {protocol: SHA, passphrase: 12345678}",
                "community: a\nuser: b\n",
                "community: a\nversion: v3\n",
                "user: a\nversion: v2c\n",
                "user: a\npriv: {protocol: AES, passphrase: 12345678}\n",
                "user: a\nauth:\n  protocol: SHA-257\n  passphrase: 12345678\n",
                "user: a\nauth: {protocol: SHA, passphrase: short}\n",
                "user: a\nauth: {protocol: SHA, pasphrase: 12345678}\n",
                "user: a\nengine_id: 80\n",
                "user: this-name-is-longer-than-32-octets-are\n",
                "comunity: public\n",
                "community: a\ncommunity: b\n",
            ]
            .map(wrong)
            .join("\n")
        );
    }

    #[test]
    fn a_secret_is_never_printed_not_even_by_an_error() {
        let text = "user: a\nauth: {protocol: SHA, passphrase: tell-nobody}\n\
                    priv: {protocol: AES, passphrase: tell-nobody}\n";
        let read = Credentials::parse("f", text).unwrap();
        assert!(!format!("{read:?}").contains("tell-nobody"));
        for mistake in [
            "user: a\nauth: {protocol: SHAX, passphrase: tell-nobody}\n",
            "user: a\nauth: {protocol: SHA, passphrase: tell-nobody, extra: 1}\n",
            "community: tell-nobody\ncommunity: tell-nobody\n",
            "community: tell-nobody\nversion: 9\n",
            "community: [tell-nobody]\n",
            "user: a\nauth: tell-nobody\n",
            "community: &x tell-nobody\n",
        ] {
            let said = wrong(mistake);
            assert!(!said.contains("tell-nobody"), "{said}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("core-1.yaml");
        std::fs::write(&path, "community: public\n").unwrap();
        for (mode, warned) in [(0o600, false), (0o640, true), (0o644, true), (0o400, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).unwrap().warning.is_some(), warned, "{mode:o}");
        }
        let missing = read(&folder.path().join("none.yaml"));
        assert!(
            matches!(missing, Err(CredentialsError::Unreadable { missing: true, .. })),
            "{missing:?}"
        );
        std::fs::write(&path, "# ".repeat(20_000)).unwrap();
        assert!(matches!(read(&path), Err(CredentialsError::Wrong(_))));
    }
}
