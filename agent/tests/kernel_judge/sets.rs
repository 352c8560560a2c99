//! The sets of the proof before the same judge: what they say of one packet.

use bailey_rules::model::field::{self, Field};
use bailey_rules::model::network::Network;
use bailey_rules::model::packet::{Packet, State};
use bailey_rules::model::ruleset::{Hook, Nat, Ruleset, Statement};
use bailey_rules::prove::{End, Flows, Layer, Set, Space, Stage, Walk};
use ipnet::IpNet;

/// What the sets say of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It passes.
    Passes,
    /// It does not.
    Stopped,
    /// Nobody knows.
    Perhaps,
}

impl Said {
    /// Whether that is wrong where the kernel let the packet pass, or did not.
    pub(crate) fn is_wrong(self, passed: bool) -> bool {
        self == if passed { Self::Stopped } else { Self::Passes }
    }
}

/// What becomes of all packets of one way.
pub(crate) struct Judged {
    space: Space,
    accepted: Set,
    stopped: Set,
}

impl Judged {
    /// Of the packets that come by one interface, or with `None` begin in the host.
    pub(crate) fn of(
        ruleset: &Ruleset,
        network: &Network,
        input: Option<&str>,
        stages: &[Stage],
    ) -> Self {
        let mut space = Space::default();
        let input = input.and_then(field::device).unwrap_or_default();
        let begin = space.value(Field::InputDevice, input).unwrap();
        let mut walk = Walk::new(&mut space, ruleset).knowing(network);
        let flows = walk.begin(begin).unwrap();
        let (flows, stopped) = walk.staged(stages, flows).unwrap();
        let accepted = flows.packets(&mut space).unwrap();
        Self { space, accepted, stopped }
    }

    /// Of the packets that come by `near`: what is for the host itself by then is delivered, and all
    /// else leaves by `out`.
    pub(crate) fn arriving(ruleset: &Ruleset, network: &Network) -> Self {
        let mut space = Space::default();
        let near = space.value(Field::InputDevice, field::device("near").unwrap()).unwrap();
        let own: Vec<IpNet> = network.answers_for().collect();
        let own = space.networks(End::Destination, &own).unwrap();
        let mut walk = Walk::new(&mut space, ruleset).knowing(network);
        let flows = walk.begin(near).unwrap();
        let (flows, mut stopped) =
            walk.staged(&at(&[Hook::Ingress, Hook::Prerouting]), flows).unwrap();
        let (mut here, mut through) = (Flows::default(), Flows::default());
        for flow in flows.as_slice() {
            let space = walk.space();
            let local = flow.change.before(space, own).unwrap();
            let is_local = space.and(flow.packets, local.maybe).unwrap();
            here.join(space, &Flows::changed(is_local, flow.change.clone())).unwrap();
            let others = space.without(flow.packets, local.surely).unwrap();
            through.join(space, &Flows::changed(others, flow.change.clone())).unwrap();
        }
        let out = Stage::Output(field::device("out").unwrap());
        let leaves = at(&[Hook::Forward, Hook::Postrouting, Hook::Egress]);
        let leaves: Vec<Stage> = std::iter::once(out).chain(leaves).collect();
        let mut accepted = Set::EMPTY;
        for (flows, stages) in [(here, at(&[Hook::Input])), (through, leaves)] {
            let (flows, dropped) = walk.staged(&stages, flows).unwrap();
            let space = walk.space();
            let passed = flows.packets(space).unwrap();
            accepted = space.or(accepted, passed).unwrap();
            stopped = space.or(stopped, dropped).unwrap();
        }
        Self { space, accepted, stopped }
    }

    /// Of the packets that the host itself sends, where rules do not send them elsewhere.
    pub(crate) fn leaving(ruleset: &Ruleset, network: &Network) -> Self {
        let out = Stage::Output(field::device("out").unwrap());
        let hooks = at(&[Hook::Output, Hook::Postrouting, Hook::Egress]);
        let stages: Vec<Stage> = std::iter::once(out).chain(hooks).collect();
        Self::of(ruleset, network, None, &stages)
    }

    /// Of one packet of them.
    pub(crate) fn says(&mut self, packet: &Packet, v6: bool) -> Said {
        let space = &mut self.space;
        let mut one = Set::ALL;
        for (field, value) in told(packet, v6) {
            let these = space.value(field, value).unwrap();
            one = space.and(one, these).unwrap();
        }
        let passes = space.and(one, self.accepted).unwrap();
        let is_stopped = space.and(one, self.stopped).unwrap();
        match (passes.is_empty(), is_stopped.is_empty()) {
            (true, _) => Said::Stopped,
            (false, true) => Said::Passes,
            (false, false) => Said::Perhaps,
        }
    }
}

fn at(hooks: &[Hook]) -> Vec<Stage> {
    hooks.iter().map(|hook| Stage::At(Layer::Packet, *hook)).collect()
}

/// What is known of a packet.
fn told(packet: &Packet, v6: bool) -> Vec<(Field, u128)> {
    let (source, destination, kind, code) = if v6 {
        (Field::Source6, Field::Destination6, Field::Icmp6Type, Field::Icmp6Code)
    } else {
        (Field::Source4, Field::Destination4, Field::IcmpType, Field::IcmpCode)
    };
    let icmp = packet.icmp_type;
    let protocol = packet.proto.map(|proto| u128::from(proto.number(v6)));
    [
        (Field::Version, Some(if v6 { field::IPV6 } else { field::IPV4 })),
        (source, packet.src.map(field::address)),
        (destination, packet.dst.map(field::address)),
        (Field::Protocol, protocol),
        (Field::SourcePort, packet.sport.map(u128::from)),
        (Field::DestinationPort, packet.dport.map(u128::from)),
        (kind, icmp.and_then(|icmp| icmp.kind.number(v6)).map(u128::from)),
        (code, icmp.and_then(|icmp| icmp.code).map(u128::from)),
        (Field::TcpFlags, packet.tcp_flags.map(|flags| u128::from(flags.0))),
        (Field::State, packet.state.map(State::bit)),
        (Field::EtherSource, packet.mac.map(|mac| mac.0)),
        // `ARPHRD_ETHER`.
        (Field::InputType, packet.mac.map(|_| 1)),
    ]
    .into_iter()
    .filter_map(|(field, value)| Some((field, value?)))
    .collect()
}

/// Whether rules may send packets elsewhere than where they were sent.
pub(crate) fn diverts(ruleset: &Ruleset) -> bool {
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    let mut statements = chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    statements.any(|one| matches!(one, Statement::Nat(Nat { kind, .. }) if !kind.is_source()))
}
