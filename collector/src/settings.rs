//! What can be set: in `collector.yaml`, by arguments over it, and by default.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bailey_rules::name::HostName;
use bailey_rules::syslog::{Facility, Severity};
use bailey_rules::yaml::{self, Problems};
use bailey_wire::tls::KeyPin;
use bailey_wire::token::Token;
use serde::{Deserialize, Deserializer, de};
use time::UtcOffset;

/// Where the page is served when nobody says otherwise.
pub const DEFAULT_WEB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7711);

/// Where agents are awaited when nobody says otherwise.
pub const DEFAULT_AGENTS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7710);

/// The most Alertmanagers.
pub const MAX_ALERTMANAGERS: usize = 16;

/// The most files of credentials for traps.
pub const MAX_TRAP_CREDENTIALS: usize = 256;

/// The most addresses of senders besides those that the policy names.
pub const MAX_SENDERS: usize = 4_096;

/// The most further names of the page.
pub const MAX_NAMES: usize = 64;

/// Where everything is kept when nobody says otherwise: `bailey` in the user's data folder (XDG Base
/// Directory). `None` when the environment names no home.
#[must_use]
pub fn default_state() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
    Some(data.join("bailey"))
}

/// This machine's offset from UTC now. Asked before threads are started, for the C library reads the
/// environment for it.
#[must_use]
pub fn local_offset() -> Option<UtcOffset> {
    UtcOffset::current_local_offset().ok()
}

/// Everything that can be set, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The state folder.
    pub state: PathBuf,
    /// Where the page, the API and the metrics are served.
    pub web: SocketAddr,
    /// Where agents are awaited.
    pub agents: SocketAddr,
    /// Where agents dial, as tokens carry it: `host:port`.
    pub public_address: Option<String>,
    /// Every Alertmanager that is told of findings.
    pub alertmanagers: Vec<Endpoint>,
    /// Authorities that verify Alertmanagers over https; the system's own when absent.
    pub alertmanager_ca: Option<PathBuf>,
    /// The policy file.
    pub policy: PathBuf,
    /// The folder of the site's rule files.
    pub rules: PathBuf,
    /// The public key of the security role, in PEM: orders that another key signed are not taken. Any
    /// order is passed on when absent, and the hosts alone verify.
    pub security_key: Option<PathBuf>,
    /// Names under which browsers ask for the page, besides `localhost` and addresses.
    pub names: Vec<String>,
    /// A certificate for the page from elsewhere, in place of our own.
    pub web_certificate: Option<WebCertificate>,
    /// The address of the page as alerts carry it.
    pub page_url: Option<Endpoint>,
    /// Where it is written what to do about an alert.
    pub runbook_url: Option<String>,
    /// Offset of the site's local time from UTC.
    pub utc_offset: UtcOffset,
    /// How traps are received; they are not when absent.
    pub traps: Option<TrapSettings>,
    /// How messages of syslog are received; they are not when absent.
    pub syslog: Option<SyslogSettings>,
    /// Addresses from which assets send traps and syslog, besides those that the policy names.
    pub senders: BTreeMap<IpAddr, HostName>,
}

/// How traps are received.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrapSettings {
    /// Where they are awaited; agents send to port 162 (RFC 3417 3.1).
    pub listen: SocketAddr,
    /// Files of credentials (`docs/snmp.md`): the communities and users whose traps are taken.
    pub credentials: Vec<PathBuf>,
}

/// How messages of syslog are received.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// Where they are awaited over UDP (RFC 5426, port 514).
    pub udp: Option<SocketAddr>,
    /// Where they are awaited over TCP (RFC 6587, often port 601 or 514).
    pub tcp: Option<SocketAddr>,
    /// Where they are awaited over TLS (RFC 5425, port 6514), with the certificate of the page.
    pub tls: Option<SocketAddr>,
    /// What is at least as bad as this becomes an event.
    #[serde(default = "warning")]
    pub severity: Severity,
    /// Only of these facilities; of all when absent.
    pub facilities: Option<Vec<Facility>>,
}

const fn warning() -> Severity {
    Severity::Warning
}

/// A certificate for the page from elsewhere, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebCertificate {
    /// The certificate and what leads to its authority.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The address of a server: `http` or `https`, a host, perhaps a port and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(reqwest::Url);

impl Endpoint {
    /// The address.
    #[must_use]
    pub fn url(&self) -> &reqwest::Url {
        &self.0
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

/// A text that is not what it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {what}; write it as {example}")]
pub struct NotUsable {
    text: String,
    what: &'static str,
    example: &'static str,
}

fn not_usable(text: &str, what: &'static str, example: &'static str) -> NotUsable {
    NotUsable { text: text.chars().take(64).collect(), what, example }
}

impl FromStr for Endpoint {
    type Err = NotUsable;
    fn from_str(text: &str) -> Result<Self, NotUsable> {
        let fail = || not_usable(text, "the address of a server", "http://127.0.0.1:9093");
        let url = reqwest::Url::parse(text).map_err(|_| fail())?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if plain { Ok(Self(url)) } else { Err(fail()) }
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

/// Where agents dial: `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialAddress(pub String);

impl FromStr for DialAddress {
    type Err = NotUsable;
    fn from_str(text: &str) -> Result<Self, NotUsable> {
        // What a token can carry is what counts, so a token is asked.
        let any = || "any".parse().ok();
        let fits = any().zip("any".parse().ok()).is_some_and(|(host, zone)| {
            Token::new(text, KeyPin([0; 32]), [0; 32], host, zone).is_ok()
        });
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(not_usable(text, "an address that agents can dial", "10.1.0.1:7710"))
        }
    }
}

impl<'de> Deserialize<'de> for DialAddress {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

fn offset<'de, D: Deserializer<'de>>(input: D) -> Result<Option<UtcOffset>, D::Error> {
    let text = String::deserialize(input)?;
    read_offset(&text).map(Some).map_err(de::Error::custom)
}

fn read_offset(text: &str) -> Result<UtcOffset, NotUsable> {
    let fail = || not_usable(text, "an offset from UTC", "\"+08:00\"");
    let ahead = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) | None => return Err(fail()),
    };
    let (hours, minutes) = text[1..].split_once(':').ok_or_else(fail)?;
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.bytes().all(|c| c.is_ascii_digit());
        digits.parse::<i8>().ok().filter(|_| two)
    };
    let (hours, minutes) = number(hours).zip(number(minutes)).ok_or_else(fail)?;
    // No clock on Earth is further from UTC (tz database).
    if hours > 14 {
        return Err(fail());
    }
    UtcOffset::from_hms(ahead * hours, ahead * minutes, 0).map_err(|_| fail())
}

/// What somebody set, in a file or by arguments; the rest is as below it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// See [`Settings::state`].
    pub state: Option<PathBuf>,
    /// See [`Settings::web`].
    pub web: Option<SocketAddr>,
    /// See [`Settings::agents`].
    pub agents: Option<SocketAddr>,
    /// See [`Settings::public_address`].
    pub public_address: Option<DialAddress>,
    /// See [`Settings::alertmanagers`].
    pub alertmanagers: Option<Vec<Endpoint>>,
    /// See [`Settings::alertmanager_ca`].
    pub alertmanager_ca: Option<PathBuf>,
    /// See [`Settings::policy`].
    pub policy: Option<PathBuf>,
    /// See [`Settings::rules`].
    pub rules: Option<PathBuf>,
    /// See [`Settings::security_key`].
    pub security_key: Option<PathBuf>,
    /// See [`Settings::names`].
    pub names: Option<Vec<String>>,
    /// See [`Settings::web_certificate`].
    pub web_certificate: Option<WebCertificate>,
    /// See [`Settings::page_url`].
    pub page_url: Option<Endpoint>,
    /// See [`Settings::runbook_url`].
    pub runbook_url: Option<String>,
    /// See [`Settings::utc_offset`].
    #[serde(deserialize_with = "offset")]
    pub utc_offset: Option<UtcOffset>,
    /// See [`Settings::traps`].
    pub traps: Option<TrapSettings>,
    /// See [`Settings::syslog`].
    pub syslog: Option<SyslogSettings>,
    /// See [`Settings::senders`].
    pub senders: Option<BTreeMap<IpAddr, HostName>>,
}

/// Why nothing can be started with what was set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The file is wrong.
    #[error("{0}")]
    File(#[from] Problems),
    /// The file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Nobody said where the state is kept, and there is no home.
    #[error("where is the state to be kept? Give --state FOLDER, or set HOME")]
    NoState,
    /// A list is too long.
    #[error("{0} lists more than {1} entries")]
    TooMany(&'static str, usize),
    /// A name cannot be one.
    #[error("names: \"{0}\" is not a host name")]
    Name(String),
}

impl Given {
    /// Reads `collector.yaml`. `file` is only the name used in problems. A file of comments alone
    /// sets nothing.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let is_comment = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
        if text.lines().all(is_comment) {
            return Ok(Self::default());
        }
        yaml::parse(file, text)
    }

    /// Reads the file `path`.
    ///
    /// # Errors
    /// When it cannot be read, or something is wrong in it.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let fail = |why: String| SettingsError::Unreadable { path: path.to_owned(), why };
        let about = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
        if about.len() > yaml::MAX_FILE as u64 {
            return Err(fail(format!("it is longer than {} octets", yaml::MAX_FILE)));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        Ok(Self::parse(&path.display().to_string(), &text)?)
    }

    /// What is set here, and where nothing is, what `below` sets.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            state: self.state.or(below.state),
            web: self.web.or(below.web),
            agents: self.agents.or(below.agents),
            public_address: self.public_address.or(below.public_address),
            alertmanagers: self.alertmanagers.or(below.alertmanagers),
            alertmanager_ca: self.alertmanager_ca.or(below.alertmanager_ca),
            policy: self.policy.or(below.policy),
            rules: self.rules.or(below.rules),
            security_key: self.security_key.or(below.security_key),
            names: self.names.or(below.names),
            web_certificate: self.web_certificate.or(below.web_certificate),
            page_url: self.page_url.or(below.page_url),
            runbook_url: self.runbook_url.or(below.runbook_url),
            utc_offset: self.utc_offset.or(below.utc_offset),
            traps: self.traps.or(below.traps),
            syslog: self.syslog.or(below.syslog),
            senders: self.senders.or(below.senders),
        }
    }

    /// Everything, with defaults where nothing is set. `local` is the offset of this machine's time
    /// from UTC.
    ///
    /// # Errors
    /// When there is no place for the state, or a list is too long.
    pub fn settle(self, local: Option<UtcOffset>) -> Result<Settings, SettingsError> {
        let state = self.state.or_else(default_state).ok_or(SettingsError::NoState)?;
        let alertmanagers = self.alertmanagers.unwrap_or_default();
        if alertmanagers.len() > MAX_ALERTMANAGERS {
            return Err(SettingsError::TooMany("alertmanagers", MAX_ALERTMANAGERS));
        }
        let names = self.names.unwrap_or_default();
        if names.len() > MAX_NAMES {
            return Err(SettingsError::TooMany("names", MAX_NAMES));
        }
        let is_name = |name: &&String| name.parse::<HostName>().is_err();
        if let Some(name) = names.iter().find(is_name) {
            return Err(SettingsError::Name(name.chars().take(64).collect()));
        }
        if self.traps.as_ref().is_some_and(|set| set.credentials.len() > MAX_TRAP_CREDENTIALS) {
            return Err(SettingsError::TooMany("traps.credentials", MAX_TRAP_CREDENTIALS));
        }
        let senders = self.senders.unwrap_or_default();
        if senders.len() > MAX_SENDERS {
            return Err(SettingsError::TooMany("senders", MAX_SENDERS));
        }
        Ok(Settings {
            web: self.web.unwrap_or(DEFAULT_WEB),
            agents: self.agents.unwrap_or(DEFAULT_AGENTS),
            public_address: self.public_address.map(|DialAddress(text)| text),
            alertmanagers,
            alertmanager_ca: self.alertmanager_ca,
            policy: self.policy.unwrap_or_else(|| state.join("policy.yaml")),
            rules: self.rules.unwrap_or_else(|| state.join("rules")),
            security_key: self.security_key,
            names,
            web_certificate: self.web_certificate,
            page_url: self.page_url,
            runbook_url: self.runbook_url,
            utc_offset: self.utc_offset.or(local).unwrap_or(UtcOffset::UTC),
            traps: self.traps,
            syslog: self.syslog,
            senders,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../deploy/collector.yaml");

    /// Every key, with a value that can be told from the default.
    const FULL: &str = "
state: /var/lib/bailey
web: 0.0.0.0:443
agents: '[::]:7710'
public_address: 10.1.0.1:7710
alertmanagers: [http://127.0.0.1:9093, https://am.example/prefix]
alertmanager_ca: /etc/bailey/am.pem
policy: /etc/bailey/policy.yaml
rules: /etc/bailey/rules
security_key: /etc/bailey/security.pub
names: [bailey.example]
web_certificate: {chain: /etc/bailey/web.pem, key: /etc/bailey/web.key}
page_url: https://bailey.example
runbook_url: https://wiki.example/{alert}
utc_offset: '+08:00'
traps: {listen: '0.0.0.0:162', credentials: [/etc/bailey/traps.yaml]}
syslog: {udp: '0.0.0.0:514', tcp: '0.0.0.0:601', tls: '0.0.0.0:6514', severity: notice, facilities: [local7, auth]}
senders: {10.1.255.2: core-1}
";

    #[test]
    fn every_key_is_read() {
        let given = Given::parse("collector.yaml", FULL).unwrap();
        let settings = given.settle(None).unwrap();
        assert_eq!(settings.web.port(), 443);
        assert_eq!(settings.alertmanagers.len(), 2);
        assert!(settings.alertmanagers[1].is_https());
        assert_eq!(settings.utc_offset, UtcOffset::from_hms(8, 0, 0).unwrap());
        assert_eq!(settings.public_address.as_deref(), Some("10.1.0.1:7710"));
        let syslog = settings.syslog.unwrap();
        assert_eq!((syslog.severity, syslog.udp.unwrap().port()), (Severity::Notice, 514));
        assert_eq!(settings.senders.len(), 1);
    }

    #[test]
    fn the_sample_documents_every_key_and_sets_only_what_is_written_out() {
        let given = Given::parse("deploy/collector.yaml", SAMPLE).unwrap();
        assert_eq!(given.state, Some("/var/lib/bailey".into()));
        for line in FULL.lines().filter(|line| !line.is_empty()) {
            let key = line.split(':').next().unwrap();
            let documented = SAMPLE
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{key}:")));
            assert!(documented, "deploy/collector.yaml does not name {key}");
        }
    }

    #[test]
    fn the_samples_examples_are_well_formed() {
        let out_commented: Vec<&str> = SAMPLE
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.split_once(':').is_some_and(|(key, _)| !key.contains(' ')))
            .collect();
        Given::parse("examples", &out_commented.join("\n")).unwrap();
    }

    #[test]
    fn an_argument_wins_over_the_file_and_both_over_the_default() {
        let file = Given::parse("collector.yaml", FULL).unwrap();
        let arguments = Given { web: Some("127.0.0.1:1".parse().unwrap()), ..Given::default() };
        let settings = arguments.over(file).settle(None).unwrap();
        assert_eq!(settings.web.port(), 1);
        assert_eq!(settings.agents.port(), 7710);
        assert_eq!(settings.policy, Path::new("/etc/bailey/policy.yaml"));
    }

    #[test]
    fn a_wrong_key_is_named_with_its_place() {
        let wrong = Given::parse("collector.yaml", "wep: 0.0.0.0:443\n").unwrap_err().to_string();
        assert!(wrong.starts_with("collector.yaml:1:1: \"wep\" is not a key here"), "{wrong}");
        assert!(wrong.contains("did you mean \"web\"?"), "{wrong}");
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        for text in ["ftp://a", "http://", "http://user:word@a/", "http://a/?q", "a:9093"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
        for text in ["10.1.0.1", ":7710", "a b:7710", "10.1.0.1:0"] {
            assert!(text.parse::<DialAddress>().is_err(), "{text}");
        }
        for text in ["08:00", "+8", "+25:00", "", "+0800", "+aa:bb"] {
            assert!(read_offset(text).is_err(), "{text}");
        }
        assert_eq!(read_offset("-05:30").unwrap(), UtcOffset::from_hms(-5, -30, 0).unwrap());
    }

    #[test]
    fn a_file_of_comments_sets_nothing() {
        assert_eq!(Given::parse("collector.yaml", "# nothing\n\n").unwrap(), Given::default());
    }
}
