//! What becomes of a packet that no condition of any rule applies to, from chain to chain.

use std::collections::BTreeMap;

use bailey_rules::fact::bounded;
use bailey_rules::fact::firewall::{DefaultPolicy, Hook};

/// The deepest chain of jumps that is followed. The kernel takes 16 (`NFT_JUMP_STACK_SIZE`); what
/// is deeper is not known.
const MAX_JUMPS: usize = 32;

/// A family of packets that hosts are reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::Ip, Self::Ip6];

    /// The name that nft(8) gives it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// The hooks that decide about packets to, through and from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Packets for the host itself.
    Input,
    /// Packets that pass through.
    Forward,
    /// Packets that the host sends.
    Output,
}

impl At {
    pub(super) const ALL: [Self; 3] = [Self::Input, Self::Forward, Self::Output];

    /// The name that nft(8) gives it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }

    /// The hook of that name; `None` for the hooks that are not looked at.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|at| at.as_str().eq_ignore_ascii_case(name))
    }
}

/// What a rule without conditions does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Accept,
    Drop,
    Reject,
    Return,
    Jump(Box<str>),
    Goto(Box<str>),
    /// Something that cannot be read, or that another program decides (a queue).
    Unknown,
}

/// A rule that applies to every packet of the named families. Rules with other conditions decide
/// nothing by default and are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub ip: bool,
    pub ip6: bool,
    pub act: Act,
}

impl Step {
    /// A rule for packets of both families.
    pub(super) const fn always(act: Act) -> Self {
        Self { ip: true, ip6: true, act }
    }

    const fn applies_to(&self, family: Family) -> bool {
        match family {
            Family::Ip => self.ip,
            Family::Ip6 => self.ip6,
        }
    }
}

/// Where the kernel enters a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub at: At,
    /// Chains of one hook are passed in the order of their priority.
    pub priority: i64,
    /// What follows when no rule decides.
    pub policy: Act,
}

/// A chain, as far as it matters to packets that no condition applies to.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    pub base: Option<Base>,
    pub steps: Vec<Step>,
}

/// The chains of one table.
#[derive(Debug, Clone)]
pub(super) struct Chains {
    /// What people call the table: `inet filter`, `iptables-legacy filter`.
    pub table: String,
    pub ip: bool,
    pub ip6: bool,
    pub by_name: BTreeMap<Box<str>, Chain>,
}

/// How a chain ends for a packet that no condition applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Accept,
    Drop,
    Reject,
    Unknown,
    /// It goes back to the chain that it was called from; a base chain to its policy.
    Back,
}

impl Chains {
    fn sees(&self, family: Family) -> bool {
        match family {
            Family::Ip => self.ip,
            Family::Ip6 => self.ip6,
        }
    }

    fn end<'a>(
        &'a self,
        name: &'a str,
        family: Family,
        depth: usize,
        known: &mut BTreeMap<&'a str, End>,
    ) -> End {
        if let Some(&end) = known.get(name) {
            return end;
        }
        let Some(chain) = self.by_name.get(name).filter(|_| depth < MAX_JUMPS) else {
            return End::Unknown;
        };
        let mut end = End::Back;
        for step in chain.steps.iter().filter(|step| step.applies_to(family)) {
            end = match &step.act {
                Act::Accept => End::Accept,
                Act::Drop => End::Drop,
                Act::Reject => End::Reject,
                Act::Unknown => End::Unknown,
                Act::Return => break,
                // A chain that was gone to goes back to where this one was called from.
                Act::Goto(other) => {
                    end = self.end(other, family, depth + 1, known);
                    break;
                }
                Act::Jump(other) => self.end(other, family, depth + 1, known),
            };
            if end != End::Back {
                break;
            }
        }
        known.insert(name, end);
        end
    }

    fn default_of(&self, name: &str, base: &Base, family: Family) -> End {
        match self.end(name, family, 0, &mut BTreeMap::new()) {
            End::Back => match base.policy {
                Act::Accept => End::Accept,
                Act::Drop => End::Drop,
                Act::Reject => End::Reject,
                Act::Return | Act::Jump(_) | Act::Goto(_) | Act::Unknown => End::Unknown,
            },
            end => end,
        }
    }
}

/// What the chains of all tables together do by default with packets of `family` at a hook. One
/// chain that drops is enough, whatever the others say; among those that drop or refuse, the one
/// that is passed first is named.
pub(super) fn effective<'a>(
    tables: impl IntoIterator<Item = &'a Chains>,
    family: Family,
    at: At,
) -> Hook {
    let mut passed: Vec<(i64, String, End)> = Vec::new();
    for table in tables.into_iter().filter(|table| table.sees(family)) {
        for (name, chain) in &table.by_name {
            if let Some(base) = chain.base.as_ref().filter(|base| base.at == at) {
                let end = table.default_of(name, base, family);
                passed.push((base.priority, format!("{} {name}", table.table), end));
            }
        }
    }
    passed.sort_by_key(|(priority, _, _)| *priority);
    let refuses = |(_, _, end): &&(i64, String, End)| matches!(end, End::Drop | End::Reject);
    let unknown = |(_, _, end): &&(i64, String, End)| matches!(end, End::Unknown);
    let decides = passed.iter().find(refuses).or(passed.iter().find(unknown)).or(passed.last());
    let default = match decides.map(|(_, _, end)| end) {
        None => DefaultPolicy::NoChain,
        Some(End::Accept) => DefaultPolicy::Accept,
        Some(End::Drop) => DefaultPolicy::Drop,
        Some(End::Reject) => DefaultPolicy::Reject,
        Some(End::Unknown | End::Back) => DefaultPolicy::Unknown,
    };
    Hook {
        default,
        by: decides.map(|(_, by, _)| bounded(by)).unwrap_or_default(),
        chains: u32::try_from(passed.len()).unwrap_or(u32::MAX),
    }
}
