//! Facts: what a probe read, typed, with the time it was read.

pub mod backup;
pub mod enforcement;
pub mod firewall;
pub mod flows;
pub mod host;
pub mod lines;
pub mod links;

use std::sync::Arc;

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most facts one host may hold. The agent stops there and says so; the collector refuses more.
pub const MAX_FACTS: usize = 10_000;

/// The longest text that a device or host may put into a fact, in octets of UTF-8.
pub const MAX_TEXT: usize = 256;

/// The probes an agent runs. One probe is one file of the agent, with its own interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeName {
    /// What moves from cycle to cycle: CPU, memory, load, pressure, disks, temperatures, clock.
    Host,
    /// What stands still for minutes: identity, file systems, units, reboot needed.
    System,
    /// Interfaces, addresses, routes, neighbours, forwarding switches.
    Links,
    /// Packet filters in the kernel and the managers that load them.
    Firewall,
    /// Backup jobs and repositories.
    Backup,
    /// What the host enforces by order of the security role.
    Enforcement,
    /// Connections that were opened, as connection tracking saw them.
    Flows,
    /// How well lines carry packets whose far ends the host asks.
    Lines,
}

impl ProbeName {
    /// Every probe, in the order of the screens.
    pub const ALL: [Self; 8] = [
        Self::Host,
        Self::System,
        Self::Links,
        Self::Firewall,
        Self::Backup,
        Self::Enforcement,
        Self::Flows,
        Self::Lines,
    ];

    /// The name in settings, metrics and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::System => "system",
            Self::Links => "links",
            Self::Firewall => "firewall",
            Self::Backup => "backup",
            Self::Enforcement => "enforcement",
            Self::Flows => "flows",
            Self::Lines => "lines",
        }
    }
}

impl fmt::Display for ProbeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! facts {
    ($($(#[$doc:meta])* $kind:ident($value:ty) = $name:literal by $probe:ident;)*) => {
        /// What a fact is about. Closed: an unknown kind from a newer agent is counted, never guessed.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum FactKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
        }

        impl FactKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The name on screen and in JSON, such as `host.memory`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The probe that reads it.
            #[must_use]
            pub const fn probe(self) -> ProbeName {
                match self { $(Self::$kind => ProbeName::$probe,)* }
            }
        }

        /// The value of a fact, typed by its kind.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(untagged)]
        pub enum FactValue {
            $($(#[$doc])* $kind($value),)*
        }

        impl FactValue {
            /// The kind this is a value of.
            #[must_use]
            pub const fn kind(&self) -> FactKind {
                match self { $(Self::$kind(_) => FactKind::$kind,)* }
            }
        }

        $(
            impl From<$value> for FactValue {
                fn from(value: $value) -> Self {
                    Self::$kind(value)
                }
            }

            impl Named for $value {
                const KIND: FactKind = FactKind::$kind;
                fn of(value: &FactValue) -> Option<&Self> {
                    match value {
                        FactValue::$kind(value) => Some(value),
                        #[allow(unreachable_patterns)]
                        _ => None,
                    }
                }
            }
        )*
    };
}

/// A type that is the value of exactly one [`FactKind`].
pub trait Named: Sized {
    /// That kind.
    const KIND: FactKind;
    /// The value seen as this type; `None` when it is of another kind.
    fn of(value: &FactValue) -> Option<&Self>;
}

facts! {
    /// Who the machine says it is. Subject: empty.
    Identity(host::Identity) = "system.identity" by System;
    /// Mounted file systems. Subject: the mount point.
    FileSystem(host::FileSystem) = "system.filesystem" by System;
    /// Whether a reboot is wanted. Subject: empty.
    Reboot(host::Reboot) = "system.reboot" by System;
    /// Units of the service manager that failed. Subject: empty.
    Units(host::Units) = "system.units" by System;
    /// Processor time. Subject: empty.
    Cpu(host::Cpu) = "host.cpu" by Host;
    /// Main memory and swap. Subject: empty.
    Memory(host::Memory) = "host.memory" by Host;
    /// Load averages. Subject: empty.
    Load(host::Load) = "host.load" by Host;
    /// Pressure stall information. Subject: `cpu`, `memory` or `io`.
    Pressure(host::Pressure) = "host.pressure" by Host;
    /// Block devices. Subject: the device name, such as `vda`.
    Disk(host::Disk) = "host.disk" by Host;
    /// Temperatures. Subject: sensor chip and label.
    Temperature(host::Temperature) = "host.temperature" by Host;
    /// The system clock. Subject: empty.
    Clock(host::Clock) = "host.clock" by Host;
    /// What the agent itself costs. Subject: empty.
    Agent(host::Agent) = "host.agent" by Host;
    /// Network interfaces with their addresses. Subject: the interface name.
    Interface(links::Interface) = "links.interface" by Links;
    /// Traffic and error counters. Subject: the interface name.
    Traffic(links::Traffic) = "links.traffic" by Links;
    /// Routes. Subject: the route in the words of `ip route`.
    Route(links::Route) = "links.route" by Links;
    /// Policy rules. Subject: the rule in the words of `ip rule`.
    Rule(links::Rule) = "links.rule" by Links;
    /// Neighbours on a link (ARP, ND). Subject: address and interface.
    Neighbour(links::Neighbour) = "links.neighbour" by Links;
    /// Forwarding switches of the kernel. Subject: empty.
    Forwarding(links::Forwarding) = "links.forwarding" by Links;
    /// One packet filter in the kernel. Subject: `nftables`, `iptables-legacy` or `ip6tables-legacy`.
    Ruleset(firewall::Ruleset) = "firewall.ruleset" by Firewall;
    /// What happens by default to a packet at a hook. Subject: family and hook, such as `ip input`.
    Hook(firewall::Hook) = "firewall.hook" by Firewall;
    /// Programs that manage the filter. Subject: `firewalld` or `ufw`.
    Manager(firewall::Manager) = "firewall.manager" by Firewall;
    /// What a backup job said of its last run. Subject: the job.
    BackupJob(backup::Job) = "backup.job" by Backup;
    /// What a backup repository really holds. Subject: the repository's name in the settings.
    BackupRepository(backup::Repository) = "backup.repository" by Backup;
    /// What the host enforces. Subject: empty.
    Enforcement(Box<enforcement::Enforcement>) = "enforcement.state" by Enforcement;
    /// One counter of the enforced table. Subject: its name, such as `would-drop`.
    RuleCounter(enforcement::RuleCounter) = "enforcement.counter" by Enforcement;
    /// Connections that were opened. Subject: who, to whom and what, such as
    /// `10.1.7.20 > 10.1.3.10 tcp 443`.
    SeenFlow(flows::SeenFlow) = "flows.seen" by Flows;
    /// How they are watched. Subject: empty.
    FlowWatch(flows::FlowWatch) = "flows.watch" by Flows;
    /// How well a line carries packets. Subject: what the settings of the agent call it.
    LineQuality(lines::LineQuality) = "lines.quality" by Lines;
}

// It is so much larger than every other value that it lies elsewhere, which its readers need not know.
impl From<enforcement::Enforcement> for FactValue {
    fn from(value: enforcement::Enforcement) -> Self {
        Self::Enforcement(Box::new(value))
    }
}

impl Named for enforcement::Enforcement {
    const KIND: FactKind = FactKind::Enforcement;
    fn of(value: &FactValue) -> Option<&Self> {
        <Box<Self> as Named>::of(value).map(Box::as_ref)
    }
}

impl fmt::Display for FactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Names one fact of a host: its kind and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactKey {
    /// The kind.
    pub kind: FactKind,
    /// What it is about, as the kind defines it; at most [`MAX_TEXT`] octets.
    pub subject: Arc<str>,
}

impl FactKey {
    /// The key of `kind` about `subject`, which is cut to [`MAX_TEXT`] octets.
    #[must_use]
    pub fn new(kind: FactKind, subject: &str) -> Self {
        Self { kind, subject: bounded(subject).into() }
    }
}

impl fmt::Display for FactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subject.is_empty() {
            write!(f, "{}", self.kind)
        } else {
            write!(f, "{}[{}]", self.kind, self.subject)
        }
    }
}

impl Serialize for FactKey {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// Whether a character changes what is shown around it: a control character, or one that turns the
/// direction of writing (UAX #9), with which a name can be made to read as another.
#[must_use]
pub fn disturbs(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` cut to [`MAX_TEXT`] octets at a character's edge, with U+FFFD for every character that
/// would disturb what is shown beside it.
#[must_use]
pub fn bounded(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for c in text.chars() {
        let c = if disturbs(c) { '\u{fffd}' } else { c };
        if out.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        out.push(c);
    }
    out
}

/// What came of reading: the value, or why there is none. Never a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// The value as it was read.
    Known(T),
    /// Nothing could be read, and why, in words for an administrator ("needs `CAP_NET_ADMIN`").
    Unreadable {
        /// The reason.
        why: String,
    },
}

impl<T> Reading<T> {
    /// A reading that failed because of `why`.
    pub fn unreadable(why: impl fmt::Display) -> Self {
        Self::Unreadable { why: bounded(&why.to_string()) }
    }

    /// The value, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unreadable { .. } => None,
        }
    }
}

/// One fact: what it is about and what was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about.
    pub key: FactKey,
    /// What was read.
    pub reading: Reading<FactValue>,
}

impl Fact {
    /// A known fact about `subject`.
    pub fn known(subject: &str, value: impl Into<FactValue>) -> Self {
        let value = value.into();
        Self { key: FactKey::new(value.kind(), subject), reading: Reading::Known(value) }
    }

    /// A fact that could not be read, and why.
    pub fn unreadable(kind: FactKind, subject: &str, why: impl fmt::Display) -> Self {
        Self { key: FactKey::new(kind, subject), reading: Reading::unreadable(why) }
    }
}
