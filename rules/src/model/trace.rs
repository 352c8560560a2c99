//! One packet through the tables, as the kernel would take it.
//!
//! What is not known of the packet, or not understood of the rules, is tried both ways, but only
//! where it is asked: the verdict is [`Certainty::Exact`] when every way ends the same. A field
//! that was once said to have some value keeps it on that way.
//!
//! The order is that of `nf_hook_slow`: at each hook the base chains by priority, each until it
//! accepts or drops; connection tracking at -200 in `prerouting` and `output`; translation at -100
//! and 100, once for each end of the connection and only for its first packet.

mod choice;
mod connection;
mod live;
mod run;
mod sets;
mod walk;

pub use self::connection::{After, Connection, Ends};

use self::choice::Choices;
use self::run::{Ended, Run};
use self::sets::SetIndex;
use self::walk::{ChainIndex, OrderDecides};
use super::field::Field;
use super::network::Network;
use super::packet::{Packet, State, WrongPacket};
use super::ruleset::{At, Hook, Rule, Ruleset, SetId, Statement, Step};
use super::tracking::Tracking;

/// Ways at most that are tried for one packet. What is not decided then is uncertain.
pub const MAX_WAYS: usize = 4_096;
/// Rules at most that are asked for one packet, over all ways.
pub const MAX_ASKED: usize = 20_000_000;
/// Steps at most that an explanation has.
pub const MAX_EVENTS: usize = 512;
/// Reasons at most why a verdict is uncertain.
pub const MAX_REASONS: usize = 8;

/// Which way a packet takes through the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the host: `prerouting`, `input`.
    Input,
    /// From the host: `output`, `postrouting`.
    Output,
    /// Through the host: `prerouting`, `forward`, `postrouting`.
    Forward,
}

impl Direction {
    /// Its hooks in order.
    #[must_use]
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Input => &[Hook::Ingress, Hook::Prerouting, Hook::Input],
            Self::Output => &[Hook::Output, Hook::Postrouting, Hook::Egress],
            Self::Forward => {
                &[Hook::Ingress, Hook::Prerouting, Hook::Forward, Hook::Postrouting, Hook::Egress]
            }
        }
    }

    /// The hook that it is called after.
    #[must_use]
    pub const fn hook(self) -> Hook {
        match self {
            Self::Input => Hook::Input,
            Self::Output => Hook::Output,
            Self::Forward => Hook::Forward,
        }
    }
}

/// What becomes of a packet in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It ends, silently.
    Drop,
    /// It ends, and the sender is told.
    Reject,
}

impl Verdict {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }
}

/// How sure a verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// The kernel does this.
    Exact,
    /// The kernel may do this: something that is not known decides.
    May,
}

impl Certainty {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::May => "may",
        }
    }
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// A rule of a chain, by its place.
    Rule(At, u32),
    /// The policy of a base chain.
    Policy(At),
    /// No chain: the packet met none.
    Nothing,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The verdict. Of several that may be, the one that lets most through: accept before reject
    /// before drop.
    pub verdict: Verdict,
    /// How sure it is.
    pub certainty: Certainty,
    /// What decided. Of what was accepted, the last rule that did at the hook asked for, or else
    /// at another, or else the last policy.
    pub by: By,
    /// What was not known and was asked, where the verdict is uncertain.
    pub reasons: Vec<String>,
}

/// One step of a packet's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// At which hook.
    pub hook: Hook,
    /// In which chain.
    pub at: At,
    /// What happened there.
    pub what: Happened,
}

/// What happened to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A rule matched that did something: by its place in the chain.
    Rule(u32),
    /// A base chain came to its end: its policy.
    Policy {
        /// Whether it accepts.
        accepts: bool,
    },
    /// A field has another value now; `None` is one that is not known.
    Changed {
        /// Which.
        field: Field,
        /// To what.
        to: Option<u128>,
    },
}

/// A packet's way with everything that happened on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What became of it.
    pub answer: Answer,
    /// How, on one way that ends so: at most [`MAX_EVENTS`] steps.
    pub events: Vec<Event>,
    /// What is known of it afterwards, on that way.
    pub after: After,
}

/// A ruleset made ready for many packets.
#[derive(Debug)]
pub struct Tracer<'a> {
    ruleset: &'a Ruleset,
    network: &'a Network,
    /// Base chains of each hook and version, see [`Self::stages`].
    paths: Vec<Vec<Stage>>,
    chains: Vec<Vec<ChainIndex>>,
    sets: Vec<Vec<SetIndex>>,
    /// Whether connections are tracked, of IPv4 and of IPv6.
    tracking: [Tracking; 2],
    /// Whether anything translates.
    translates: bool,
    /// Whether connections may skip `forward`.
    offloads: bool,
}

/// Base chains of one priority.
#[derive(Debug)]
struct Stage {
    step: Step,
    /// What it decides which of them runs first.
    order: OrderDecides,
}

impl<'a> Tracer<'a> {
    /// Makes a ruleset ready. This takes longer than many a packet.
    #[must_use]
    pub fn new(ruleset: &'a Ruleset, network: &'a Network) -> Self {
        let sets: Vec<Vec<SetIndex>> = ruleset
            .tables
            .iter()
            .map(|table| table.sets.iter().map(SetIndex::new).collect())
            .collect();
        let chains: Vec<Vec<ChainIndex>> = ruleset
            .tables
            .iter()
            .zip(&sets)
            .map(|(table, sets)| walk::index(table, sets))
            .collect();
        let mut paths = Vec::new();
        let hooks = [
            Hook::Ingress,
            Hook::Prerouting,
            Hook::Input,
            Hook::Forward,
            Hook::Output,
            Hook::Postrouting,
            Hook::Egress,
        ];
        for hook in hooks {
            for v6 in [false, true] {
                let stage = |step: Step| {
                    let order = walk::order_decides(&step, &chains);
                    Stage { step, order }
                };
                paths.push(ruleset.path(hook, v6).into_iter().map(stage).collect());
            }
        }
        let all = || {
            let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
            chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements)
        };
        Self {
            ruleset,
            network,
            paths,
            chains,
            sets,
            tracking: [false, true].map(|v6| Tracking::of(ruleset, v6)),
            translates: all().any(|one| matches!(one, Statement::Nat(_))),
            offloads: all().any(|one| matches!(one, Statement::Offload)),
        }
    }

    /// The ruleset.
    #[must_use]
    pub const fn ruleset(&self) -> &'a Ruleset {
        self.ruleset
    }

    /// A rule by its place.
    #[must_use]
    pub fn rule(&self, at: At, place: u32) -> &'a Rule {
        &self.ruleset.chain(at).rules[place as usize]
    }

    /// What becomes of a packet.
    ///
    /// # Errors
    /// When its addresses do not tell whether it is IPv4 or IPv6.
    pub fn trace(&self, packet: &Packet, direction: Direction) -> Result<Answer, WrongPacket> {
        self.decided(packet, direction, None)
    }

    /// What becomes of a packet, and how.
    ///
    /// # Errors
    /// As [`Self::trace`].
    pub fn explain(&self, packet: &Packet, direction: Direction) -> Result<Explained, WrongPacket> {
        self.explained(packet, direction, None)
    }

    /// What becomes of an answer to a connection that this host has seen begin, and how.
    ///
    /// # Errors
    /// As [`Self::trace`].
    pub fn explain_answer(
        &self,
        packet: &Packet,
        direction: Direction,
        connection: &Connection,
    ) -> Result<Explained, WrongPacket> {
        self.explained(packet, direction, Some(connection))
    }

    fn decided(
        &self,
        packet: &Packet,
        direction: Direction,
        connection: Option<&Connection>,
    ) -> Result<Answer, WrongPacket> {
        let v6 = packet.is_v6()?;
        let mut choices = Choices::default();
        let once = |choices: &mut Choices| {
            let run = Run::new(self, packet, v6, direction, choices, None);
            let Ended { verdict, by, .. } = run.with(connection).through();
            (verdict, by)
        };
        let (verdict, by) = once(&mut choices);
        if choices.is_decided() {
            let certainty = Certainty::Exact;
            return Ok(Answer { verdict, certainty, by, reasons: Vec::new() });
        }
        let mut best = (verdict, by);
        let mut several = false;
        loop {
            if !choices.advance() {
                break;
            }
            if choices.is_exhausted() {
                several = true;
                break;
            }
            let (verdict, by) = once(&mut choices);
            several |= verdict != best.0;
            if rank(verdict) < rank(best.0) {
                best = (verdict, by);
            }
            // Nothing lets more through than this.
            if several && best.0 == Verdict::Accept {
                break;
            }
        }
        let (certainty, reasons) = if several {
            (Certainty::May, choices.into_reasons())
        } else {
            (Certainty::Exact, Vec::new())
        };
        Ok(Answer { verdict: best.0, certainty, by: best.1, reasons })
    }

    fn explained(
        &self,
        packet: &Packet,
        direction: Direction,
        connection: Option<&Connection>,
    ) -> Result<Explained, WrongPacket> {
        let v6 = packet.is_v6()?;
        let answer = self.decided(packet, direction, connection)?;
        let mut choices = Choices::default();
        loop {
            let mut events = Vec::new();
            let run = Run::new(self, packet, v6, direction, &mut choices, Some(&mut events));
            let Ended { verdict, by, after } = run.with(connection).through();
            let found = (verdict, by) == (answer.verdict, answer.by);
            if found || !choices.advance() || choices.is_exhausted() {
                return Ok(Explained { answer, events, after });
            }
        }
    }

    /// The base chains of a hook.
    fn stages(&self, hook: Hook, v6: bool) -> &[Stage] {
        // As they were pushed: hooks in their order, each for both versions.
        self.paths.get(hook as usize * 2 + usize::from(v6)).map(Vec::as_slice).unwrap_or_default()
    }

    fn chain_index(&self, at: At) -> &ChainIndex {
        &self.chains[at.table as usize][at.chain.0 as usize]
    }

    fn set_index(&self, table: u32, set: SetId) -> &SetIndex {
        &self.sets[table as usize][set.0 as usize]
    }

    /// Whether connections of one version may be tracked.
    #[must_use]
    pub fn may_track(&self, v6: bool) -> bool {
        self.tracking(v6) != Tracking::Never
    }

    const fn tracking(&self, v6: bool) -> Tracking {
        let [v4, of_v6] = self.tracking;
        if v6 { of_v6 } else { v4 }
    }

    /// What connection tracking may say, where the packet does not.
    fn states(&self, packet: &Packet, v6: bool) -> &'static [State] {
        let all: &'static [State; 5] = &State::ALL;
        match packet.state.and_then(|state| all.iter().position(|one| *one == state)) {
            Some(place) => &all[place..=place],
            // Only rules excuse a packet from tracking.
            None => match self.tracking(v6) {
                Tracking::Always | Tracking::Perhaps => &all[..4],
                Tracking::Never => &all[..1],
            },
        }
    }
}

/// What lets most through comes first.
const fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Accept => 0,
        Verdict::Reject => 1,
        Verdict::Drop => 2,
    }
}
