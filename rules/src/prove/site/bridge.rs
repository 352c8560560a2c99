//! Bridges: which of them filter, and the way of frames through them.
//!
//! A bridge that filters nothing makes one wire of those of its ports. One that filters is passed like a
//! router: by the hooks of frames, port by port. The host itself is then behind the bridge.

use std::collections::BTreeSet;

use super::super::pass::{Layer, Stage};
use super::Host;
use crate::model::field::device;
use crate::model::ruleset::{Base, Family, Hook, Ruleset, Statement, Table, Verdict};

/// A bridge of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bridge {
    /// The interface by which the host itself is on it.
    pub device: String,
    /// The interfaces that it joins.
    pub ports: BTreeSet<String>,
}

impl Bridge {
    /// All its interfaces.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.device).chain(&self.ports)
    }
}

/// What a frame passes from a port of a bridge on, until it is known where it goes.
pub(super) const ENTERS: [Stage; 2] = [packet(Hook::Ingress), frame(Hook::Prerouting)];

const fn packet(hook: Hook) -> Stage {
    Stage::At(Layer::Packet, hook)
}

const fn frame(hook: Hook) -> Stage {
    Stage::At(Layer::Frame, hook)
}

/// What a frame passes after [`ENTERS`] that is for the host itself.
pub(super) fn up(bridge: &Bridge) -> [Stage; 3] {
    let itself = device(&bridge.device).unwrap_or_default();
    [frame(Hook::Input), Stage::Input(itself), packet(Hook::Ingress)]
}

/// What a frame passes after [`ENTERS`] that goes out by another port.
pub(super) fn across(port: &str) -> [Stage; 4] {
    let port = device(port).unwrap_or_default();
    let out = Stage::Output(port);
    [out, frame(Hook::Forward), frame(Hook::Postrouting), packet(Hook::Egress)]
}

/// What a packet passes that the host sends by a port of a bridge, after all hooks of packets.
pub(super) fn down(port: &str) -> [Stage; 4] {
    let port = device(port).unwrap_or_default();
    let out = Stage::Output(port);
    [out, frame(Hook::Output), frame(Hook::Postrouting), packet(Hook::Egress)]
}

impl Host {
    /// Its bridges that something may filter: a rule or policy for frames, or at an interface of theirs.
    /// Of a host that could not be read whole nobody knows.
    pub(super) fn filtering(&self) -> impl Iterator<Item = &Bridge> {
        self.bridges.iter().filter(|one| self.may_filter(one))
    }

    fn may_filter(&self, bridge: &Bridge) -> bool {
        !self.unread.is_empty() || filters(&self.ruleset, bridge)
    }

    /// What is not understood of its rules for frames, in words.
    pub(super) fn unknown_of_frames(&self) -> Option<&str> {
        let of_frames = |table: &&Table| table.family == Family::Bridge && !table.dormant;
        let tables = self.ruleset.tables.iter().filter(of_frames);
        let rules = tables.flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
        rules.flat_map(|rule| &rule.statements).find_map(|statement| {
            let Statement::Unknown { text, .. } = statement else { return None };
            Some(text.as_str())
        })
    }

    /// The bridge of which an interface is a port, where it filters.
    pub(super) fn bridge_of(&self, port: &str) -> Option<&Bridge> {
        let mut all = self.bridges.iter();
        all.find(|one| one.ports.contains(port) && self.may_filter(one))
    }

    /// The bridge by which the host itself is on an interface, where it filters.
    pub(super) fn bridge_by(&self, device: &str) -> Option<&Bridge> {
        self.bridges.iter().find(|one| one.device == device && self.may_filter(one))
    }

    /// The way of a packet from one interface to another, either of which may be a port of a bridge that
    /// filters; `bridged` where it is that which carries it from one to the other. Without an input it
    /// begins in the host, without an output it ends there.
    #[must_use]
    pub fn stages(&self, input: Option<&str>, output: Option<&str>, bridged: bool) -> Vec<Stage> {
        let mut all = Vec::new();
        let from = input.and_then(|input| self.bridge_of(input));
        let to = output.and_then(|output| self.bridge_of(output).map(|bridge| (bridge, output)));
        match (input, from) {
            (None, _) => {}
            (Some(_), None) => all.push(packet(Hook::Ingress)),
            (Some(_), Some(bridge)) => {
                all.extend(ENTERS);
                if let (true, Some(output)) = (bridged, output) {
                    all.extend(across(output));
                    return all;
                }
                all.extend(up(bridge));
            }
        }
        if input.is_some() {
            all.push(packet(Hook::Prerouting));
        }
        let leaves = to.map(|(bridge, _)| bridge.device.as_str()).or(output);
        all.extend(leaves.and_then(device).map(Stage::Output));
        all.extend(match (input, output) {
            (Some(_), None) => vec![packet(Hook::Input)],
            (Some(_), Some(_)) => vec![packet(Hook::Forward), packet(Hook::Postrouting)],
            (None, _) => vec![packet(Hook::Output), packet(Hook::Postrouting)],
        });
        if input.is_none() || output.is_some() {
            all.push(packet(Hook::Egress));
        }
        if let Some((_, port)) = to {
            all.extend(down(port));
        }
        all
    }
}

/// Whether the rules of IP may stop or change what a bridge carries, where they see it.
pub(super) fn may_stop_bridged(ruleset: &Ruleset) -> bool {
    may_stop(ruleset, |table, base| match base.hook {
        Hook::Prerouting | Hook::Forward | Hook::Postrouting => {
            matches!(table.family, Family::Ip | Family::Ip6 | Family::Inet)
        }
        Hook::Ingress | Hook::Input | Hook::Output | Hook::Egress => false,
    })
}

/// Whether something may stop or change what a bridge carries.
fn filters(ruleset: &Ruleset, bridge: &Bridge) -> bool {
    may_stop(ruleset, |table, base| match base.hook {
        Hook::Ingress | Hook::Egress => {
            base.devices.is_empty()
                || base.devices.iter().any(|device| bridge.ports.contains(device))
        }
        Hook::Prerouting | Hook::Input | Hook::Forward | Hook::Output | Hook::Postrouting => {
            table.family == Family::Bridge
        }
    })
}

/// Whether a table with a chain that sees it may stop or change what passes.
fn may_stop(ruleset: &Ruleset, sees: impl Fn(&Table, &Base) -> bool) -> bool {
    ruleset.tables.iter().filter(|table| !table.dormant).any(|table| {
        let bases = table.chains.iter().filter_map(|chain| chain.base.as_ref());
        let mut seeing = bases.filter(|base| sees(table, base)).peekable();
        let rules = table.chains.iter().flat_map(|chain| &chain.rules);
        let mut statements = rules.flat_map(|rule| &rule.statements);
        seeing.peek().is_some() && (seeing.any(|base| !base.accepts) || statements.any(interferes))
    })
}

/// Whether a statement does more than ask and accept.
const fn interferes(statement: &Statement) -> bool {
    match statement {
        Statement::Match(_) => false,
        Statement::Verdict(verdict) => match verdict {
            Verdict::Drop | Verdict::Reject | Verdict::Queue => true,
            Verdict::Accept
            | Verdict::Jump(_)
            | Verdict::Goto(_)
            | Verdict::Return
            | Verdict::Continue => false,
        },
        Statement::VerdictMap { .. }
        | Statement::Set { .. }
        | Statement::Nat(_)
        | Statement::Notrack
        | Statement::Offload
        | Statement::Unknown { .. } => true,
    }
}
