//! The walk of all packets at once against the walk of one: for rulesets made by chance over the whole
//! language of the model, what the tracer says of a packet must be what the sets say of it. The judge
//! of the tracer is the kernel.

use std::net::IpAddr;

use bailey_rules::model::field::{self, Field, Key, kind, state};
use bailey_rules::model::interval::{Interval, Intervals};
use bailey_rules::model::network::Network;
use bailey_rules::model::packet::{
    Device, IcmpKind, IcmpType, Mac, Packet, Protocol, State, TcpFlags,
};
use bailey_rules::model::ruleset::{
    Base, Chain, ChainId, ChainKind, Data, Effects, Element, Family, Hook, Maker, Match, Nat,
    NatAddress, NatKind, NatPorts, Origin, Place, Rule, Ruleset, Set as Elements, SetId, Statement,
    Table, Value, Verdict,
};
use bailey_rules::model::trace::{self, Certainty, Direction, Tracer};
use bailey_rules::prove::matrix::on_way;
use bailey_rules::prove::{Set, Space, Walk};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::TestCaseError;

const V4: [&str; 6] = ["10.1.0.1", "10.1.7.20", "10.2.0.9", "172.20.0.1", "127.0.0.1", "224.0.0.1"];
const V6: [&str; 3] = ["fd00:1::7", "fd00:2::1", "::1"];
const PORTS: [u16; 6] = [22, 53, 80, 443, 1024, 40_000];
const DEVICES: [&str; 3] = ["eth0", "eth1", "lo"];

fn number(address: &str) -> u128 {
    field::address(address.parse().unwrap())
}

fn name(device: &str) -> u128 {
    field::device(device).unwrap()
}

fn among(key: Key, values: Vec<Interval>) -> impl Strategy<Value = Match> {
    any::<bool>().prop_map(move |not| Match::In {
        key,
        values: values.iter().copied().collect(),
        not,
    })
}

fn whole(field: Field, values: Vec<Interval>) -> BoxedStrategy<Match> {
    among(Key::whole(field), values).boxed()
}

/// Values of a field, near each other, so that packets meet them.
fn values(field: Field) -> Vec<Interval> {
    let ones = |values: &[u128]| values.iter().copied().map(Interval::one).collect::<Vec<_>>();
    match field {
        Field::Source4 | Field::Destination4 | Field::OriginalDestination4 => {
            let mut values = ones(&V4.map(number));
            values.push(Interval::prefix(number("10.1.0.0"), 16, 32).unwrap());
            values.push(Interval::prefix(number("10.0.0.0"), 8, 32).unwrap());
            values
        }
        Field::Source6 | Field::Destination6 => ones(&V6.map(number)),
        Field::SourcePort | Field::DestinationPort | Field::OriginalDestinationPort => {
            let mut values = ones(&PORTS.map(u128::from));
            values.push(Interval { first: 1, last: 1023 });
            values.push(Interval { first: 1024, last: 65_535 });
            values
        }
        Field::InputDevice | Field::OutputDevice => {
            let mut values = ones(&DEVICES.map(name));
            values.push(Interval::prefix(name("eth"), 24, 128).unwrap());
            values.push(Interval::one(0));
            values
        }
        Field::Protocol => ones(&[1, 6, 17, 58]),
        Field::State => ones(&[
            state::NEW,
            state::ESTABLISHED,
            state::RELATED,
            state::INVALID,
            state::UNTRACKED,
        ]),
        Field::Version => ones(&[2, 10]),
        Field::EtherType => ones(&[0x0800, 0x86dd, 0x0806]),
        Field::EtherSource => ones(&[0x0200_0000_0001, 0x0200_0000_0002]),
        Field::Mark | Field::ConnectionMark => ones(&[0, 1, 2, 0x10]),
        Field::SourceKind | Field::DestinationKind => {
            ones(&[kind::UNICAST, kind::LOCAL, kind::BROADCAST, kind::MULTICAST])
        }
        Field::TcpFlags => ones(&[0, 2, 16, 18]),
        Field::IcmpType => ones(&[0, 3, 8]),
        Field::Icmp6Type => ones(&[128, 129]),
        Field::Status => ones(&[0, 16, 32]),
        _ => ones(&[0, 1]),
    }
}

const ASKED: [Field; 22] = [
    Field::Source4,
    Field::Destination4,
    Field::Source6,
    Field::Destination6,
    Field::SourcePort,
    Field::DestinationPort,
    Field::InputDevice,
    Field::OutputDevice,
    Field::Protocol,
    Field::State,
    Field::Version,
    Field::EtherType,
    Field::EtherSource,
    Field::Mark,
    Field::ConnectionMark,
    Field::SourceKind,
    Field::DestinationKind,
    Field::TcpFlags,
    Field::IcmpType,
    Field::Icmp6Type,
    Field::Direction,
    Field::OriginalDestination4,
];

/// What a rule takes for granted stands before it, as the readers of listings put it.
fn with_ground(field: Field, one: Match) -> Vec<Statement> {
    let is = |field: Field, values: &[u128]| {
        let values = values.iter().copied().map(Interval::one).collect();
        Statement::Match(Match::In { key: Key::whole(field), values, not: false })
    };
    let ground = match field {
        Field::Source4 | Field::Destination4 | Field::OriginalDestination4 => {
            Some(is(Field::Version, &[2]))
        }
        Field::Source6 | Field::Destination6 => Some(is(Field::Version, &[10])),
        Field::TcpFlags => Some(is(Field::Protocol, &[6])),
        Field::IcmpType => Some(is(Field::Protocol, &[1])),
        Field::Icmp6Type => Some(is(Field::Protocol, &[58])),
        Field::SourcePort | Field::DestinationPort => Some(is(Field::Protocol, &[6, 17])),
        _ => None,
    };
    ground.into_iter().chain([Statement::Match(one)]).collect()
}

fn condition() -> impl Strategy<Value = Vec<Statement>> {
    let plain = select(ASKED.to_vec()).prop_flat_map(|field| {
        let some = prop::collection::vec(select(values(field)), 1..3);
        some.prop_flat_map(move |values| whole(field, values))
            .prop_map(move |one| with_ground(field, one))
    });
    let masked = (select(vec![1_u128, 0x10, 0x11]), select(vec![0_u128, 1, 0x10])).prop_flat_map(
        |(mask, value)| {
            among(Key { field: Field::Mark, mask }, vec![Interval::one(value & mask)])
                .prop_map(|one| vec![Statement::Match(one)])
        },
    );
    let unknown =
        Just(vec![Statement::Match(Match::Unknown { text: "limit rate 1/second".into() })]);
    let either =
        prop::collection::vec(select(vec![Field::DestinationPort, Field::SourcePort]), 1..3)
            .prop_map(|fields| {
                let each = fields.into_iter().map(|field| Match::In {
                    key: Key::whole(field),
                    values: Intervals::one(80),
                    not: false,
                });
                let tcp = Match::In {
                    key: Key::whole(Field::Protocol),
                    values: Intervals::one(6),
                    not: false,
                };
                vec![Statement::Match(tcp), Statement::Match(Match::Any(each.collect()))]
            });
    let lookup = (0_u32..2, any::<bool>()).prop_map(|(set, not)| {
        let keys = match set {
            0 => vec![Key::whole(Field::Source4)],
            _ => vec![Key::whole(Field::Destination4), Key::whole(Field::DestinationPort)],
        };
        let is = |field, value| {
            let values = Intervals::one(value);
            Statement::Match(Match::In { key: Key::whole(field), values, not: false })
        };
        vec![
            is(Field::Version, 2),
            is(Field::Protocol, 6),
            Statement::Match(Match::Lookup { keys, set: SetId(set), not }),
        ]
    });
    prop_oneof![24 => plain, 2 => masked, 1 => unknown, 2 => either, 4 => lookup]
}

/// Verdicts of a chain that may call the ones from `called` to `chains`.
fn verdict(called: u32, chains: u32) -> BoxedStrategy<Verdict> {
    let plain = prop_oneof![
        4 => Just(Verdict::Accept),
        3 => Just(Verdict::Drop),
        1 => Just(Verdict::Reject),
        2 => Just(Verdict::Return),
        1 => Just(Verdict::Continue),
    ];
    if called >= chains {
        return plain.boxed();
    }
    let to = called..chains;
    prop_oneof![
        6 => plain,
        2 => to.clone().prop_map(|to| Verdict::Jump(ChainId(to))),
        2 => to.prop_map(|to| Verdict::Goto(ChainId(to))),
    ]
    .boxed()
}

fn unknown_statement() -> impl Strategy<Value = Statement> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(accepts, drops, changes)| {
        Statement::Unknown {
            text: "xt something".into(),
            effects: Effects { accepts, drops, changes },
        }
    })
}

fn action(called: u32, chains: u32, nat: bool) -> BoxedStrategy<Statement> {
    let set = prop_oneof![
        (select(vec![Field::Mark, Field::ConnectionMark]), select(vec![0_u128, 1, 0x10]))
            .prop_map(|(field, value)| Statement::Set { field, value: Value::Constant(value) }),
        (any::<bool>(), select(vec![(0xffff_ffff_u128, 0_u128), (0xff, 1), (0xffff_fffe, 1)]))
            .prop_map(|(back, (and, xor))| {
                let (field, of) = if back {
                    (Field::Mark, Field::ConnectionMark)
                } else {
                    (Field::ConnectionMark, Field::Mark)
                };
                Statement::Set { field, value: Value::Bits { of, and, xor } }
            }),
    ];
    let map = Just(Statement::VerdictMap {
        keys: vec![Key::whole(Field::DestinationPort)],
        map: SetId(2),
    });
    let plain = prop_oneof![
        12 => verdict(called, chains).prop_map(Statement::Verdict),
        3 => set,
        1 => Just(Statement::Notrack),
        1 => map,
        1 => unknown_statement(),
    ];
    if !nat {
        return plain.boxed();
    }
    // Not to this host itself: such a packet is not forwarded, whatever the rules say.
    let address = prop_oneof![
        Just(NatAddress::Kept),
        select(V4[..4].to_vec()).prop_map(|one| NatAddress::V4(Interval::one(number(one)))),
        Just(NatAddress::V4(Interval { first: number("10.1.0.1"), last: number("10.1.0.3") })),
        select(V6[..2].to_vec()).prop_map(|one| NatAddress::V6(Interval::one(number(one)))),
    ];
    let ports = prop_oneof![
        Just(NatPorts::Kept),
        select(PORTS.to_vec()).prop_map(|port| NatPorts::Range(Interval::one(u128::from(port)))),
    ];
    let translation = (address, ports).prop_map(|(address, ports)| Nat {
        kind: NatKind::Destination,
        address,
        ports,
    });
    prop_oneof![4 => plain, 3 => translation.prop_map(Statement::Nat)].boxed()
}

fn rules(called: u32, chains: u32, nat: bool) -> impl Strategy<Value = Vec<Rule>> {
    let conditions = prop::collection::vec(condition(), 0..3);
    let rule = (conditions, prop::option::weighted(0.95, action(called, chains, nat)));
    prop::collection::vec(rule, 0..6).prop_map(|rules| {
        (1_u32..)
            .zip(rules)
            .map(|(line, (conditions, action))| Rule {
                statements: conditions.into_iter().flatten().chain(action).collect(),
                origin: Origin {
                    place: Place::Line(line),
                    text: format!("rule {line}"),
                    comment: None,
                    counted: None,
                },
            })
            .collect()
    })
}

fn sets() -> Vec<Elements> {
    let set = |elements: Vec<(Vec<Interval>, Data)>| Elements {
        name: "s".into(),
        elements: elements
            .into_iter()
            .map(|(key, data)| Element { key, data, unsure: false })
            .collect(),
        otherwise: None,
        changing: false,
    };
    let port = |port: u16| Interval::one(u128::from(port));
    vec![
        set(vec![
            (vec![Interval::prefix(number("10.1.0.0"), 16, 32).unwrap()], Data::Present),
            (vec![Interval::one(number("172.20.0.1"))], Data::Present),
        ]),
        set(vec![
            (vec![Interval::one(number("10.1.0.1")), port(80)], Data::Present),
            (vec![Interval::prefix(number("10.2.0.0"), 16, 32).unwrap(), port(22)], Data::Present),
        ]),
        set(vec![
            (vec![port(22)], Data::Verdict(Verdict::Drop)),
            (vec![port(80)], Data::Verdict(Verdict::Accept)),
            (vec![port(443)], Data::Verdict(Verdict::Continue)),
            (vec![port(53)], Data::Verdict(Verdict::Return)),
        ]),
    ]
}

/// The hooks of chains that are for interfaces.
const AT_INTERFACES: [(ChainKind, Hook, i32); 3] = [
    (ChainKind::Filter, Hook::Ingress, 0),
    (ChainKind::Filter, Hook::Egress, -300),
    (ChainKind::Filter, Hook::Egress, 0),
];

fn table() -> impl Strategy<Value = Table> {
    let hooks = vec![
        (ChainKind::Filter, Hook::Prerouting, -300),
        (ChainKind::Filter, Hook::Prerouting, -150),
        (ChainKind::Nat, Hook::Prerouting, -100),
        (ChainKind::Filter, Hook::Input, 0),
        (ChainKind::Filter, Hook::Forward, -150),
        (ChainKind::Filter, Hook::Forward, 0),
        (ChainKind::Filter, Hook::Output, 0),
        (ChainKind::Filter, Hook::Output, -300),
        (ChainKind::Nat, Hook::Output, -100),
        (ChainKind::Filter, Hook::Postrouting, 0),
    ];
    table_of(vec![Family::Inet, Family::Ip, Family::Ip6], hooks)
}

fn table_of(
    families: Vec<Family>,
    hooks: Vec<(ChainKind, Hook, i32)>,
) -> impl Strategy<Value = Table> {
    let bases = prop::collection::vec((select(hooks), any::<bool>()), 1..4);
    let family = select(families);
    (family, bases, 0_u32..3).prop_flat_map(|(family, bases, regular)| {
        let first = u32::try_from(bases.len()).unwrap();
        let chains = first + regular;
        let of_bases = bases
            .iter()
            .map(|(kind, ..)| rules(first, chains, kind.0 == ChainKind::Nat))
            .collect::<Vec<_>>();
        let of_regular = (first..chains).map(|id| rules(id + 1, chains, false)).collect::<Vec<_>>();
        (of_bases, of_regular).prop_map(move |(of_bases, of_regular)| {
            let base = |((kind, hook, priority), accepts): ((ChainKind, Hook, i32), bool)| Base {
                kind,
                hook,
                priority,
                accepts,
                devices: Vec::new(),
            };
            let mut chains: Vec<Chain> = bases
                .iter()
                .zip(of_bases)
                .map(|(of, rules)| Chain { name: "b".into(), base: Some(base(*of)), rules })
                .collect();
            chains.extend(of_regular.into_iter().map(|rules| Chain {
                name: "r".into(),
                base: None,
                rules,
            }));
            Table {
                family,
                name: "t".into(),
                maker: Maker::Nft,
                dormant: false,
                chains,
                sets: sets(),
            }
        })
    })
}

fn ruleset() -> impl Strategy<Value = Ruleset> {
    prop::collection::vec(table(), 1..3).prop_map(|tables| Ruleset { tables })
}

fn packet() -> impl Strategy<Value = Packet> {
    let v4 = (select(V4.to_vec()), select(V4.to_vec()));
    let v6 = (select(V6.to_vec()), select(V6.to_vec()));
    let ends = prop_oneof![3 => v4, 1 => v6];
    (
        ends,
        select(vec![6_u8, 17, 1, 58]),
        (select(PORTS.to_vec()), select(PORTS.to_vec())),
        select(vec![State::New, State::New, State::Established, State::Related, State::Invalid]),
        (select(DEVICES.to_vec()), select(DEVICES.to_vec())),
        (select(vec![0_u8, 2, 16, 18]), select(vec![0_u8, 3, 8, 128, 129]), 1_u128..3),
    )
        .prop_map(
            |((src, dst), proto, (sport, dport), state, (iif, oif), (flags, icmp, mac))| {
                // Each version has its own ICMP.
                let proto = match (proto, src.contains(':')) {
                    (1, true) => 58,
                    (58, false) => 1,
                    (other, _) => other,
                };
                let ports = matches!(proto, 6 | 17);
                Packet {
                    iif: Some(Device(name(iif))),
                    oif: Some(Device(name(oif))),
                    src: Some(src.parse::<IpAddr>().unwrap()),
                    dst: Some(dst.parse().unwrap()),
                    proto: Some(Protocol::Number(proto)),
                    sport: ports.then_some(sport),
                    dport: ports.then_some(dport),
                    icmp_type: (!ports)
                        .then_some(IcmpType { kind: IcmpKind::Number(icmp), code: Some(0) }),
                    tcp_flags: (proto == 6).then_some(TcpFlags(flags)),
                    state: Some(state),
                    mac: Some(Mac(0x0200_0000_0000 + mac)),
                }
            },
        )
}

/// A packet as the way takes it, and as a set.
fn on(space: &mut Space, packet: &Packet, direction: Direction) -> (Packet, Set) {
    let mut packet = packet.clone();
    match direction {
        Direction::Input => packet.oif = None,
        Direction::Output => {
            packet.iif = None;
            packet.mac = None;
        }
        Direction::Forward => {}
    }
    let (src, dst) = (packet.src.unwrap(), packet.dst.unwrap());
    let v6 = src.is_ipv6();
    let ends = if v6 {
        (Field::Source6, Field::Destination6)
    } else {
        (Field::Source4, Field::Destination4)
    };
    let icmp = packet.icmp_type.and_then(|icmp| icmp.kind.number(v6)).map(u128::from);
    let Some(Protocol::Number(proto)) = packet.proto else { panic!() };
    let known = [
        (Field::Version, Some(if v6 { 10 } else { 2 })),
        (ends.0, Some(field::address(src))),
        (ends.1, Some(field::address(dst))),
        (Field::Protocol, Some(u128::from(proto))),
        (Field::SourcePort, packet.sport.map(u128::from)),
        (Field::DestinationPort, packet.dport.map(u128::from)),
        (Field::IcmpType, icmp.filter(|_| proto == 1)),
        (Field::IcmpCode, icmp.filter(|_| proto == 1).map(|_| 0)),
        (Field::Icmp6Type, icmp.filter(|_| proto == 58)),
        (Field::Icmp6Code, icmp.filter(|_| proto == 58).map(|_| 0)),
        (Field::TcpFlags, packet.tcp_flags.map(|flags| u128::from(flags.0))),
        (Field::State, packet.state.map(State::bit)),
        (Field::InputDevice, packet.iif.map(|device| device.0)),
        (Field::OutputDevice, packet.oif.map(|device| device.0)),
        (Field::EtherSource, packet.mac.map(|mac| mac.0)),
    ];
    let mut set = on_way(space, direction).unwrap();
    for (field, value) in known {
        if let Some(value) = value {
            let these = space.value(field, value).unwrap();
            set = space.and(set, these).unwrap();
        }
    }
    (packet, set)
}

/// What the tracer says of packets is what the sets say.
fn agree(ruleset: &Ruleset, packets: &[Packet]) -> Result<(), TestCaseError> {
    let network = Network::default();
    let tracer = Tracer::new(ruleset, &network);
    let chains = ruleset.tables.iter().flat_map(|table| &table.chains);
    let mut statements = chains.flat_map(|chain| &chain.rules).flat_map(|rule| &rule.statements);
    let copies_marks =
        statements.any(|one| matches!(one, Statement::Set { value: Value::Bits { .. }, .. }));
    for direction in [Direction::Input, Direction::Output, Direction::Forward] {
        let mut space = Space::default();
        let begin = on_way(&mut space, direction).unwrap();
        let passed = Walk::new(&mut space, ruleset)
            .knowing(&network)
            .through(direction.hooks(), begin)
            .unwrap();
        let accepted = passed.accepted.packets(&mut space).unwrap();
        let surely = passed.surely_accepted(&mut space).unwrap();
        let stopped = passed.surely_stopped(&mut space).unwrap();
        for packet in packets {
            let (packet, set) = on(&mut space, packet, direction);
            let said = tracer.trace(&packet, direction).unwrap();
            let may = match said.verdict {
                trace::Verdict::Accept => accepted,
                trace::Verdict::Drop => passed.dropped,
                trace::Verdict::Reject => passed.rejected,
            };
            // Where a mark is made of another unknown one, the tracer takes both for any, and the sets
            // know what they have to do with each other.
            let knows_more = said.certainty == Certainty::May && copies_marks;
            let meets = knows_more || !space.and(set, may).unwrap().is_empty();
            prop_assert!(meets, "{direction:?} {packet:?}: {said:?}, and no set has it");
            if space.is_within(set, surely).unwrap() {
                prop_assert_eq!(
                    said.verdict,
                    trace::Verdict::Accept,
                    "{:?} {:?}",
                    direction,
                    packet
                );
            }
            let sure = said.certainty == Certainty::Exact;
            if space.is_within(set, stopped).unwrap() && sure {
                prop_assert_ne!(
                    said.verdict,
                    trace::Verdict::Accept,
                    "{:?} {:?}",
                    direction,
                    packet
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_the_tracer_says_of_a_packet_is_what_the_sets_say(
        ruleset in ruleset(), packets in prop::collection::vec(packet(), 8),
    ) {
        agree(&ruleset, &packets)?;
    }

    #[test]
    fn they_say_the_same_of_the_first_and_last_hooks_of_interfaces(
        ruleset in ruleset(),
        own in table_of(vec![Family::Netdev], AT_INTERFACES.to_vec()),
        devices in prop::collection::vec(subsequence(vec!["eth0", "eth1"], 0..=2), 3),
        packets in prop::collection::vec(packet(), 8),
    ) {
        let mut own = own;
        let bases = own.chains.iter_mut().filter_map(|chain| chain.base.as_mut());
        for (base, devices) in bases.zip(devices) {
            base.devices = devices.into_iter().map(str::to_owned).collect();
        }
        let mut ruleset = ruleset;
        ruleset.tables.push(own);
        agree(&ruleset, &packets)?;
    }
}

#[test]
fn of_two_chains_that_stop_a_packet_either_may_be_the_first() {
    // Chains of one priority run newest first, and no listing tells which of them is.
    let base = |verdict| Chain {
        name: "b".into(),
        base: Some(Base {
            kind: ChainKind::Filter,
            hook: Hook::Output,
            priority: -300,
            accepts: true,
            devices: Vec::new(),
        }),
        rules: vec![Rule {
            statements: vec![Statement::Verdict(verdict)],
            origin: Origin {
                place: Place::Line(1),
                text: "rule 1".into(),
                comment: None,
                counted: None,
            },
        }],
    };
    let tables = vec![Table {
        family: Family::Ip6,
        name: "t".into(),
        maker: Maker::Nft,
        dormant: false,
        chains: vec![base(Verdict::Drop), base(Verdict::Reject)],
        sets: Vec::new(),
    }];
    let ruleset = Ruleset { tables };
    let mut space = Space::default();
    let begin = space.version(true).unwrap();
    let passed = Walk::new(&mut space, &ruleset).through(&[Hook::Output], begin).unwrap();
    assert_eq!((passed.dropped, passed.rejected), (begin, begin));
    assert!(passed.accepted.is_empty());
}
