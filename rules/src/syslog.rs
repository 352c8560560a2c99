//! Messages of syslog (RFC 5424, RFC 3164 and what vendors make of it), as devices send them.
//!
//! Nothing in a message is believed but that its sender sent it: the host name and the time in it are
//! the device's own words. Every part is bounded and cleaned ([`crate::fact::bounded`]). [`frame`] cuts
//! a stream into messages, [`refused`] finds what a firewall says that it refused.

pub mod frame;
pub mod refused;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fact::bounded;
use crate::time::Timestamp;

/// The longest message that is taken, in octets (RFC 5424 6.1 asks for 2,048); the rest is cut off.
pub const MAX_MESSAGE: usize = 8 * 1024;

/// The most elements of structured data that are read.
const MAX_PARAMETERS: usize = 64;

/// The longest word in front of the text: of a host, a program, a kind, in octets.
const MAX_WORD: usize = 64;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$each:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$each])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in files and on screens.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().find(|known| known.as_str() == text).copied().ok_or_else(|| {
                    UnknownWord {
                        text: text.chars().take(MAX_WORD).collect(),
                        what: $what,
                        known: &[$($word),+],
                    }
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A word that is none of a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {what} of syslog (known: {})", known.join(", "))]
pub struct UnknownWord {
    text: String,
    what: &'static str,
    known: &'static [&'static str],
}

words! {
    /// How bad it is by the sender's word (RFC 5424 6.2.1), worst first.
    Severity, "a severity" {
        /// The system is unusable.
        Emergency = "emerg",
        /// Somebody must act at once.
        Alert = "alert",
        /// Critical.
        Critical = "crit",
        /// An error.
        Error = "err",
        /// A warning.
        Warning = "warning",
        /// Normal, but significant.
        Notice = "notice",
        /// For information.
        Informational = "info",
        /// For finding faults.
        Debug = "debug",
    }
}

words! {
    /// What part of the sender it comes from (RFC 5424 6.2.1).
    Facility, "a facility" {
        /// The kernel.
        Kernel = "kern",
        /// Programs of users.
        User = "user",
        /// Mail.
        Mail = "mail",
        /// Daemons.
        Daemon = "daemon",
        /// Who signs in.
        Auth = "auth",
        /// Syslog itself.
        Syslog = "syslog",
        /// Printers.
        Printer = "lpr",
        /// News.
        News = "news",
        /// UUCP.
        Uucp = "uucp",
        /// Jobs by the clock.
        Cron = "cron",
        /// Who signs in, in detail.
        AuthPrivate = "authpriv",
        /// File transfer.
        Ftp = "ftp",
        /// Time.
        Ntp = "ntp",
        /// An audit.
        Audit = "audit",
        /// An alert.
        Alert = "alert",
        /// Jobs by the clock, of some systems.
        Clock = "clock",
        /// For the site's use.
        Local0 = "local0",
        /// For the site's use.
        Local1 = "local1",
        /// For the site's use.
        Local2 = "local2",
        /// For the site's use.
        Local3 = "local3",
        /// For the site's use.
        Local4 = "local4",
        /// For the site's use.
        Local5 = "local5",
        /// For the site's use.
        Local6 = "local6",
        /// For the site's use; what most switches send with.
        Local7 = "local7",
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// What part of the sender it comes from.
    pub facility: Facility,
    /// How bad it is by the sender's word.
    pub severity: Severity,
    /// When it was made by the sender's clock, where he says it with his offset from UTC.
    pub at: Option<Timestamp>,
    /// What the sender calls himself.
    pub host: Option<String>,
    /// The program, with its process as the sender writes it.
    pub program: Option<String>,
    /// The kind of message, where the vendor names it: `IFNET/4/IF_STATE`, `SYS-5-CONFIG_I`.
    pub kind: Option<String>,
    /// Structured data (RFC 5424 6.3), names with their values.
    pub data: Vec<(String, String)>,
    /// What it says.
    pub text: String,
}

/// Why octets are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSyslog {
    /// Nothing is in it.
    #[error("the message is empty")]
    Empty,
    /// The number in front is no priority (RFC 5424 6.2.1).
    #[error("the priority is not a number from 0 to 191 in angle brackets")]
    Priority,
    /// It says that it is of RFC 5424, and is not.
    #[error("the message does not keep to RFC 5424")]
    Structure,
}

/// Reads a message.
///
/// # Errors
/// When it is none. What has no priority at all is a message of a user (RFC 3164 4.3.3).
pub fn parse(message: &str) -> Result<Message, NotSyslog> {
    let message = cut(message).trim_end_matches(['\n', '\r', '\0']);
    let Some(rest) = message.strip_prefix('<') else {
        let text = message.trim();
        if text.is_empty() {
            return Err(NotSyslog::Empty);
        }
        return Ok(free(Facility::User, Severity::Notice, text));
    };
    let (digits, rest) = rest.split_once('>').ok_or(NotSyslog::Priority)?;
    let (facility, severity) = priority(digits).ok_or(NotSyslog::Priority)?;
    if rest.trim().is_empty() {
        return Err(NotSyslog::Empty);
    }
    match rest.strip_prefix("1 ") {
        Some(rest) => structured(facility, severity, rest).ok_or(NotSyslog::Structure),
        None => Ok(free(facility, severity, rest)),
    }
}

/// The first [`MAX_MESSAGE`] octets at a character's edge.
fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

fn priority(digits: &str) -> Option<(Facility, Severity)> {
    if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number: usize = digits.parse().ok()?;
    Some((*Facility::ALL.get(number / 8)?, *Severity::ALL.get(number % 8)?))
}

fn word(text: &str) -> Option<String> {
    let mut end = text.len().min(MAX_WORD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (!text.is_empty() && text != "-").then(|| bounded(&text[..end]))
}

/// What follows `<n>1 `: RFC 5424.
fn structured(facility: Facility, severity: Severity, rest: &str) -> Option<Message> {
    let (time, rest) = rest.split_once(' ')?;
    let (host, rest) = rest.split_once(' ')?;
    let (program, rest) = rest.split_once(' ')?;
    let (process, rest) = rest.split_once(' ')?;
    let (kind, rest) = rest.split_once(' ').unwrap_or((rest, "-"));
    let (data, text) = elements(rest)?;
    let text = text.trim().trim_start_matches('\u{feff}').trim();
    // Some vendors say all they say in the structure.
    let said = if text.is_empty() {
        data.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    } else {
        text.to_owned()
    };
    let program = word(program).map(|program| match word(process) {
        Some(process) => bounded(&format!("{program}[{process}]")),
        None => program,
    });
    Some(Message {
        facility,
        severity,
        at: time.parse().ok(),
        host: word(host),
        program,
        kind: word(kind),
        data,
        text: bounded(&said),
    })
}

/// Structured data and what follows it. `None` when its brackets and quotes do not fit.
fn elements(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut all = Vec::new();
    if let Some(text) = rest.strip_prefix('-') {
        return (text.is_empty() || text.starts_with(' ')).then_some((all, text));
    }
    if !rest.starts_with('[') {
        return None;
    }
    while let Some(element) = rest.strip_prefix('[') {
        let id_end = element.find([' ', ']'])?;
        let mut inside = &element[id_end..];
        loop {
            if let Some(after) = inside.strip_prefix(']') {
                rest = after;
                break;
            }
            let (name, after) = inside.strip_prefix(' ')?.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if all.len() < MAX_PARAMETERS {
                all.push((word(name).unwrap_or_default(), bounded(&value)));
            }
            inside = after;
        }
    }
    (rest.is_empty() || rest.starts_with(' ')).then_some((all, rest))
}

/// A value up to its closing quote, and what follows that (RFC 5424 6.3.3).
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                escaped @ ('"' | '\\' | ']') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

/// What follows the priority where it is not RFC 5424: a time, a host, a program and a text, each of
/// which vendors leave out, move or write in their own way.
fn free(facility: Facility, severity: Severity, rest: &str) -> Message {
    let rest = rest.trim();
    let (mut host, mut rest) = before_time(rest);
    let mut at = None;
    if let Some((time, after)) = time(rest) {
        at = time;
        rest = after.trim_start();
        if host.is_none() && !rest.starts_with('%') {
            (host, rest) = named_host(rest);
        }
    }
    // Cisco ASA puts a colon of its own before the kind.
    let (program, kind, text) = tagged(rest.trim_start_matches([':', ' ']));
    Message {
        facility,
        severity,
        at,
        host: host.and_then(word),
        program: program.and_then(word),
        kind: kind.and_then(word),
        data: Vec::new(),
        text: bounded(text.trim()),
    }
}

/// What Cisco puts in front of the time: a number that counts messages, and its name.
fn before_time(rest: &str) -> (Option<&str>, &str) {
    let mut host = None;
    let mut left = rest;
    for _ in 0..2 {
        let Some((front, after)) = left.split_once(": ") else { break };
        let after = after.trim_start();
        if !is_name(front) || time(left).is_some() || !(time(after).is_some() || numbered(after)) {
            break;
        }
        if !front.bytes().all(|c| c.is_ascii_digit()) {
            host = Some(front);
        }
        left = after;
    }
    (host, left)
}

/// Whether a counted message with a name and a time follows.
fn numbered(rest: &str) -> bool {
    rest.split_once(": ")
        .is_some_and(|(front, after)| is_name(front) && time(after.trim_start()).is_some())
}

/// Whether a text could be a host's name or address, or a number.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_WORD
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b':'))
}

/// The host's name after the time, if there is one.
fn named_host(rest: &str) -> (Option<&str>, &str) {
    match rest.split_once(' ') {
        Some((name, after)) if is_name(name) && !name.ends_with(':') => {
            (Some(name), after.trim_start())
        }
        Some(_) | None => (None, rest),
    }
}

/// The program or the kind in front of the text.
fn tagged(rest: &str) -> (Option<&str>, Option<&str>, &str) {
    if let Some(vendor) = rest.strip_prefix('%') {
        // `%SYS-5-CONFIG_I: text`, `%%01IFNET/4/IF_STATE(l)[12]:text`, `%%10IFNET/3/LINK_UPDOWN: text`
        let vendor = match vendor.strip_prefix('%') {
            Some(counted) => counted.trim_start_matches(|c: char| c.is_ascii_digit()),
            None => vendor,
        };
        let end = vendor.find([':', ' ', '(', '[']);
        return match end {
            Some(end) if end > 0 => {
                let after = &vendor[end..];
                let text = after.split_once(':').map_or(after, |(_, text)| text);
                (None, Some(&vendor[..end]), text)
            }
            Some(_) | None => (None, None, rest),
        };
    }
    let end = rest.find([':', ' ', '[']).unwrap_or(rest.len());
    let (tag, after) = rest.split_at(end);
    let is_tag = is_name(tag) || (!tag.is_empty() && tag.len() <= MAX_WORD && tag.contains('/'));
    if !is_tag {
        return (None, None, rest);
    }
    if let Some(text) = after.strip_prefix(':') {
        return (Some(tag), None, text);
    }
    if after.starts_with('[')
        && let Some((process, text)) = after.split_once(']')
        && process.len() <= MAX_WORD
    {
        let with_process = &rest[..=tag.len() + process.len()];
        return (Some(with_process), None, text.strip_prefix(':').unwrap_or(text));
    }
    (None, None, rest)
}

/// The time in front, if there is one, and what follows it. Only one with its offset from UTC is a
/// time that can be told.
fn time(rest: &str) -> Option<(Option<Timestamp>, &str)> {
    let rest = rest.trim_start_matches(['*', '.']);
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if first.as_bytes().first().is_some_and(u8::is_ascii_digit) && first.contains('T') {
        let at: Timestamp = first.trim_end_matches(':').parse().ok()?;
        return Some((Some(at), after));
    }
    month(first)?;
    let (day, after) = next(after)?;
    number(day, 1..=31)?;
    let (mut clock, mut after) = next(after)?;
    if number(clock, 1970..=9999).is_some() {
        (clock, after) = next(after)?;
    }
    let colon = clock.ends_with(':');
    clock_time(clock.trim_end_matches(':'))?;
    if colon {
        return Some((None, after));
    }
    // Behind the clock: a year (H3C), a zone (Cisco: `CST:`), or nothing.
    if let Some((year, later)) = next(after)
        && number(year.trim_end_matches(':'), 1970..=9999).is_some()
    {
        return Some((None, later));
    }
    if let Some((zone, later)) = next(after)
        && let Some(letters) = zone.strip_suffix(':')
        && (2..=5).contains(&letters.len())
        && letters.bytes().all(|c| c.is_ascii_uppercase())
        && later.trim_start().starts_with('%')
    {
        return Some((None, later));
    }
    Some((None, after))
}

fn next(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    Some(text.split_once(' ').unwrap_or((text, "")))
}

fn month(text: &str) -> Option<()> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    MONTHS.contains(&text).then_some(())
}

fn number(text: &str, within: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|number| plain && within.contains(number))
}

/// `09:12:33`, with a fraction (`.123`), thousandths (`:123`) or an offset (`+08:00`) behind.
fn clock_time(text: &str) -> Option<()> {
    let (hours, rest) = text.split_once(':')?;
    let (minutes, rest) = rest.split_once(':')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    number(hours, 0..=24)?;
    number(minutes, 0..=59)?;
    number(&rest[..end], 0..=60)?;
    let tail = &rest[end..];
    let plain =
        tail.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'.' | b':' | b'+' | b'-' | b'Z'));
    plain.then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fact::MAX_TEXT;

    fn line(message: &str) -> String {
        let read = match parse(message) {
            Ok(read) => read,
            Err(error) => return format!("{message}\n    refused: {error}"),
        };
        let shown = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
        let (host, program, kind) = (shown(&read.host), shown(&read.program), shown(&read.kind));
        let at = read.at.map_or("-".to_owned(), |at| at.to_string());
        format!(
            "{message}\n    {}.{} at {at} host {host} program {program} kind {kind}\n    {}",
            read.facility, read.severity, read.text
        )
    }

    #[test]
    fn lines_as_vendors_write_them_are_read() {
        let lines = [
            // RFC 5424 6.5
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8",
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"Appli\\\"cation\" eventID=\"1011\"][examplePriority@32473 class=\"high\"]",
            "<13>1 - - - - - -",
            "<14>1 2026-11-26T09:12:33.123+08:00 fw-in RT_FLOW - RT_FLOW_SESSION_DENY [junos@2636.1.1.1.2.41 source-address=\"10.1.7.20\" destination-address=\"203.0.113.5\" destination-port=\"443\"]",
            // RFC 3164 5.4
            "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
            "Use the BFG!",
            // Linux
            "<86>Nov  6 09:12:33 oa-17 sshd[1234]: Failed password for root from 10.1.7.21 port 40000 ssh2",
            "<30>2026-11-26T09:12:33+08:00 oa-17 systemd[1]: Started Session 4 of user root.",
            "<13>Nov 26 09:12:33 root: hello from logger",
            "<4>Nov 26 09:12:33 fw-1 kernel: [12345.678] BAILEY-DROP IN=eth0 OUT= SRC=10.1.7.20 DST=203.0.113.5 PROTO=TCP DPT=443",
            // Cisco IOS
            "<189>29: *Mar  1 18:48:50.483: %SYS-5-CONFIG_I: Configured from console by vty2 (10.1.0.9)",
            "<187>2975: core-1: Nov 26 2026 09:12:33.123 CST: %LINK-3-UPDOWN: Interface GigabitEthernet0/7, changed state to down",
            "<189>core-1: 31: Nov 26 09:12:33: %LINEPROTO-5-UPDOWN: Line protocol on Interface Gi0/7, changed state to up",
            // Cisco ASA
            "<164>Nov 26 2026 09:12:33 fw-out : %ASA-4-106023: Deny tcp src inside:10.1.7.20/51234 dst outside:203.0.113.5/443 by access-group \"in\"",
            // Huawei
            "<190>Nov 26 2026 09:12:33+08:00 SW-A-1 %%01IFNET/4/IF_STATE(l)[12]:Interface GigabitEthernet0/0/1 has turned into DOWN state.",
            "<189>Nov 26 2026 09:12:33 SW-A-1 %%01SHELL/5/CMDRECORD(s)[7]:Recorded command information. (Task=VT0, Ip=10.1.0.9)",
            // H3C
            "<187>Nov 26 09:12:33:123 2026 SW-B-1 %%10IFNET/3/LINK_UPDOWN: GigabitEthernet1/0/1 link status is DOWN.",
            // Juniper
            "<28>Nov 26 09:12:33  fw-in mib2d[1234]: SNMP_TRAP_LINK_DOWN: ifIndex 531, ifAdminStatus up(1)",
            // broken
            "<192>Nov 26 09:12:33 a b: c",
            "<>x",
            "<12",
            "<13>",
            "<13>1 2026",
            "<13>1 - - - - - [a b=\"c\" d",
            "",
        ];
        insta::assert_snapshot!(lines.map(line).join("\n"));
    }

    #[test]
    fn hostile_text_is_bounded_and_cannot_speak_to_a_terminal() {
        let long = format!("<13>Nov 26 09:12:33 {0} {0}[{0}]: \u{1b}[2J{0}", "x".repeat(60));
        let read = parse(&long).unwrap();
        assert!(!read.text.contains('\u{1b}') && read.text.contains("[2J"));
        let endless = format!("<13>1 - {0} {0} {0} {0} - {0}", "端".repeat(500));
        let read = parse(&endless).unwrap();
        assert!(read.text.len() <= MAX_TEXT && read.host.unwrap().len() <= MAX_TEXT);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics_or_grows(message in "(?s)(<[0-9]{1,3}>)?(1 )?.{0,400}") {
            if let Ok(read) = parse(&message) {
                let words = [&read.host, &read.program, &read.kind];
                for word in words.into_iter().flatten().chain([&read.text]) {
                    prop_assert!(word.len() <= MAX_TEXT);
                    prop_assert!(!word.chars().any(char::is_control));
                }
                prop_assert!(read.data.len() <= MAX_PARAMETERS);
            }
        }

        #[test]
        fn what_looks_like_a_vendors_line_never_panics(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "<189>", "1 ", "Nov", " ", "  ", "26", "2026", "09:12:33", ":123", "+08:00", "CST:",
                    "core-1", ": ", ":", "%", "%%01", "IFNET/4/X", "(l)", "[12]", "[", "]", "\"", "=\"",
                    "\\", "-", "2026-11-26T09:12:33Z", "端口", "\0", "*", "29",
                ]), 0..40)
        ) {
            let _ = parse(&parts.concat());
        }

        #[test]
        fn a_message_of_rfc_5424_is_read_as_it_was_written(
            pri in 0..192_usize, text in "[a-z][a-z ]{0,60}[a-z]", value in "[ -~]{0,40}"
        ) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
            let line = format!("<{pri}>1 - sw-1 app 7 ID [x@1 k=\"{escaped}\"] {text}");
            let read = parse(&line).unwrap();
            prop_assert_eq!(read.facility, Facility::ALL[pri / 8]);
            prop_assert_eq!(read.severity, Severity::ALL[pri % 8]);
            prop_assert_eq!(&read.text, &text);
            prop_assert_eq!(read.program.as_deref(), Some("app[7]"));
            prop_assert_eq!(read.data, vec![("k".to_owned(), value)]);
        }
    }
}
