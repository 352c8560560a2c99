//! Proofs as they are told: to programs, to pages, and to whoever asks a year later.
//!
//! The same shape is printed by `bailey prove`, kept in the collector's store and served by its API, so
//! it is read as well as written.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::words::Example;
use super::explain;
pub use super::explain::Cut;
use crate::compile::PolicyLine;
use crate::fact::ProbeName;
use crate::listing::ListingSource;
use crate::name::HostName;
use crate::text::Text;
use crate::time::Timestamp;

/// An invariant, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The invariant's name.
    pub invariant: String,
    /// The line of the policy it stands on.
    pub line: u64,
    /// What is known.
    #[serde(flatten)]
    pub answer: Answer,
    /// The hosts whose rules were looked at.
    pub hosts: BTreeSet<HostName>,
    /// When it was proved and from what; nothing where files that somebody named say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
}

/// What is known about an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// No packet breaks it, if the assumptions hold.
    Proved {
        /// What it rests on.
        assumptions: Vec<Assumed>,
    },
    /// A packet breaks it.
    Broken {
        /// The packet and its way.
        breach: Breach,
    },
    /// Nobody knows, because of something that is not understood.
    OutOfModel {
        /// What is not understood.
        statement: String,
        /// Where, as host and rule; nothing where it is about the whole proof.
        at: Option<String>,
        /// What it would take to know.
        wanted: Text,
        /// A packet that may break the invariant, with its way.
        perhaps: Option<Breach>,
    },
}

/// What an answer that is shown amounts to, its age included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No packet breaks it, and that is said of what is there now.
    Proved,
    /// It was said of what was there once; what is there now has not been proved.
    Stale,
    /// Something that is not understood decides, however long ago that was said.
    OutOfModel,
    /// A packet breaks it, likewise: what was wrong is not well because nobody looks.
    Broken,
}

impl Standing {
    /// Every one, worst last.
    pub const ALL: [Self; 4] = [Self::Proved, Self::Stale, Self::OutOfModel, Self::Broken];

    /// The word in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Stale => "stale",
            Self::OutOfModel => "out_of_model",
            Self::Broken => "broken",
        }
    }

    /// The word on screen.
    #[must_use]
    pub fn word(self) -> Text {
        match self {
            Self::Proved => Text::new("proved", "已证明"),
            Self::Stale => Text::new("stale", "已过期"),
            Self::OutOfModel => Text::new("out of model", "超出模型"),
            Self::Broken => Text::new("BROKEN", "被违反"),
        }
    }
}

/// Something that a proof takes for granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumed {
    /// Its name ([`super::Assumption::name`]).
    pub assumption: String,
    /// The assumption in words.
    pub text: Text,
}

/// A packet that breaks an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// The packet as it begins.
    pub packet: Example,
    /// Its way.
    pub path: Vec<Hop>,
    /// Where it ends, in words.
    pub end: Text,
    /// Changes of one rule, each of which would stop this packet.
    pub cuts: Vec<Cut>,
}

/// A host on the way of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The host; nothing where the packet is put on the wire by whoever is on it.
    pub host: Option<HostName>,
    /// The interface by which it comes.
    pub iif: Option<String>,
    /// The interface by which it leaves.
    pub oif: Option<String>,
    /// The packet as it comes.
    pub packet: Example,
    /// What lets it through, in the order in which the kernel asks.
    pub by: Vec<By>,
}

/// What lets a packet through a base chain: a rule, or the policy of the chain where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The hook.
    pub hook: String,
    /// Family of the table.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain that decides.
    pub chain: String,
    /// The rule in words.
    pub rule: Option<String>,
    /// The rule's comment.
    pub comment: Option<String>,
    /// The rule's handle, where nft(8) lists it.
    pub handle: Option<u64>,
    /// The rule's line, where iptables-save(8) lists it.
    pub line: Option<u32>,
    /// The line of the policy that it was compiled from, where Bailey made the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyLine>,
}

impl By {
    /// What decides, in one line.
    #[must_use]
    pub fn words(&self) -> Text {
        let Self { hook, family, table, chain, .. } = self;
        let (en, zh) = match (&self.rule, self.handle, self.line) {
            (None, _, _) => ("policy accept".to_owned(), "默认策略 accept".to_owned()),
            (Some(rule), Some(handle), _) => {
                (format!("handle {handle}: {rule}"), format!("句柄 {handle}: {rule}"))
            }
            (Some(rule), None, Some(line)) => {
                (format!("line {line}: {rule}"), format!("行 {line}: {rule}"))
            }
            (Some(rule), None, None) => (rule.clone(), rule.clone()),
        };
        let at = format!("{hook}  {family} {table} {chain}");
        Text::new(format!("{at}  {en}"), format!("{at}  {zh}"))
    }
}

/// What a proof of the running site was made from. Times are by the collector's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// When it was proved.
    pub proved_at: Timestamp,
    /// How long that took, in microseconds.
    pub took_micros: u64,
    /// SHA-256 of everything that it was worked out from, hexadecimal.
    pub inputs: String,
    /// What is known of each of the hosts that were looked at, and since when.
    pub facts: Vec<FactsOf>,
}

/// How old what is known of a host was when it was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsOf {
    /// The host.
    pub host: HostName,
    /// When each probe last read.
    pub probes: Vec<ReadAt>,
    /// When each listing came.
    pub listings: Vec<ListedAt>,
    /// What of it could not be used, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// When a probe last read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAt {
    /// The probe.
    pub probe: ProbeName,
    /// When it was last known to hold.
    pub read_at: Timestamp,
}

/// When a listing came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedAt {
    /// The program that printed it.
    pub source: ListingSource,
    /// The digest of the ruleset that it lists.
    pub ruleset: String,
    /// When it came.
    pub received_at: Timestamp,
}

/// What a proof says that concerns one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The invariant.
    pub invariant: String,
    /// What is known of it; nothing where it was never proved.
    pub proof: Option<Arc<Proof>>,
    /// Why that says nothing of what is there now; nothing while it does.
    pub old: Option<Text>,
    /// Whether its breach is told of this host, or was until it is proved that there is none.
    pub breach_here: bool,
    /// Whether what of it is not understood is told of this host, or was until it is.
    pub doubt_here: bool,
}

impl Proof {
    /// The same without an account of what it was made from.
    #[must_use]
    pub fn of(result: &super::Result) -> Self {
        Self {
            invariant: result.invariant.clone(),
            line: result.line,
            answer: Answer::of(&result.answer),
            hosts: result.hosts.clone(),
            basis: None,
        }
    }

    /// What it amounts to while it is `fresh`: said not long ago, of what is there now.
    #[must_use]
    pub const fn standing(&self, fresh: bool) -> Standing {
        match (&self.answer, fresh) {
            (Answer::Proved { .. }, true) => Standing::Proved,
            (Answer::Proved { .. }, false) => Standing::Stale,
            (Answer::Broken { .. }, _) => Standing::Broken,
            (Answer::OutOfModel { .. }, _) => Standing::OutOfModel,
        }
    }
}

impl Answer {
    fn of(answer: &super::Answer) -> Self {
        match answer {
            super::Answer::Proved { assumptions } => Self::Proved {
                assumptions: assumptions
                    .iter()
                    .map(|one| Assumed { assumption: one.name().to_owned(), text: one.text() })
                    .collect(),
            },
            super::Answer::Broken(breach) => Self::Broken { breach: Breach::of(breach) },
            super::Answer::OutOfModel(doubt) => Self::OutOfModel {
                statement: doubt.statement.clone(),
                at: doubt.at.clone(),
                wanted: doubt.wanted.clone(),
                perhaps: doubt.perhaps.as_ref().map(Breach::of),
            },
        }
    }
}

impl Breach {
    /// The breach as a proof gave it.
    #[must_use]
    pub fn of(breach: &super::Breach) -> Self {
        Self {
            packet: breach.packet.clone(),
            path: breach.path.iter().map(Hop::of).collect(),
            end: breach.end.clone(),
            cuts: breach.cuts.clone(),
        }
    }

    /// The host where it is to be stopped: the one whose rule the first change is of, or else the last
    /// that passes the packet on, or else the first on its way. Nothing where no host is on it.
    #[must_use]
    pub fn at(&self) -> Option<&HostName> {
        let on_the_way = || self.path.iter().filter(|hop| hop.host.is_some());
        let forwards = |hop: &&Hop| hop.iif.is_some() && hop.oif.is_some();
        let hop = || on_the_way().rfind(forwards).or_else(|| on_the_way().next());
        let cut = self.cuts.first().map(|cut| &cut.host);
        cut.or_else(|| hop().and_then(|hop| hop.host.as_ref()))
    }
}

impl Hop {
    fn of(hop: &explain::Hop) -> Self {
        Self {
            host: hop.host.clone(),
            iif: hop.input.clone(),
            oif: hop.output.clone(),
            packet: hop.packet.clone(),
            by: hop.deciding.iter().map(By::of).collect(),
        }
    }
}

impl By {
    fn of(by: &explain::Deciding) -> Self {
        let rule = by.rule.as_ref();
        let comment = rule.and_then(|rule| rule.comment.clone());
        let (handle, line) = rule.map(|rule| rule.place.parts()).unwrap_or_default();
        let ours = by.family == "inet" && by.table == "bailey";
        Self {
            hook: by.hook.to_owned(),
            family: by.family.to_owned(),
            table: by.table.clone(),
            chain: by.chain.clone(),
            rule: rule.map(|rule| rule.text.clone()),
            policy: comment.as_deref().filter(|_| ours).and_then(PolicyLine::read),
            comment,
            handle,
            line,
        }
    }
}
