//! Facts and reports of every shape that may be sent.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bailey_rules::digest::FactDigest;
use bailey_rules::expectation::{Ask, By};
use bailey_rules::fact::backup::{self, MAX_SNAPSHOTS};
use bailey_rules::fact::enforcement::{
    self, DriftEnded, Ended, MAX_DRIFT_LINES, MAX_OTHER_TABLES, OrderRef, RoundBy,
};
use bailey_rules::fact::flows;
use bailey_rules::fact::lines;
use bailey_rules::fact::links::Mac;
use bailey_rules::fact::{
    Fact, FactKey, FactKind, FactValue, ProbeName, Reading, bounded, firewall, host, links,
};
use bailey_rules::name::{BootId, OrderDigest};
use bailey_rules::policy::Mode;
use bailey_rules::report::{Place, ProbeRun, Report};
use bailey_rules::time::Timestamp;
use bailey_rules::unit::{Bytes, Permille};
use bailey_wire::convert::{
    MAX_FAILED_UNITS, MAX_FORWARDING_INTERFACES, MAX_REBOOT_REASONS, MAX_SEQ,
};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| bounded(&text))
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    any::<u64>().prop_map(Bytes)
}

fn permille() -> impl Strategy<Value = Permille> {
    (0..=1000_u16).prop_map(Permille)
}

fn network() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), 0..=128_u8).prop_map(|(address, prefix)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, prefix.min(most)).expect("the prefix is no longer than the address")
    })
}

fn mac() -> impl Strategy<Value = Option<Mac>> {
    option::of(any::<[u8; 6]>().prop_map(Mac))
}

fn machine_value() -> impl Strategy<Value = FactValue> {
    prop_oneof![
        (text(), text(), text(), text(), time(), text(), text()).prop_map(
            |(hostname, os, kernel, machine, booted_at, machine_id_hash, agent_version)| {
                host::Identity {
                    hostname,
                    os,
                    kernel,
                    machine,
                    booted_at,
                    machine_id_hash,
                    agent_version,
                }
                .into()
            }
        ),
        (text(), text(), bytes(), bytes(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
            |(device, kind, total, available, inodes, inodes_available, read_only)| {
                host::FileSystem {
                    device,
                    kind,
                    total,
                    available,
                    inodes,
                    inodes_available,
                    read_only,
                }
                .into()
            }
        ),
        (any::<bool>(), vec(text(), 0..=MAX_REBOOT_REASONS))
            .prop_map(|(needed, because)| host::Reboot { needed, because }.into()),
        (vec(text(), 0..=MAX_FAILED_UNITS), any::<u32>())
            .prop_map(|(failed, failed_count)| { host::Units { failed, failed_count }.into() }),
        (any::<u32>(), permille(), permille(), permille()).prop_map(
            |(cores, busy, io_wait, steal)| host::Cpu { cores, busy, io_wait, steal }.into()
        ),
        (bytes(), bytes(), bytes(), bytes()).prop_map(
            |(total, available, swap_total, swap_free)| {
                host::Memory { total, available, swap_total, swap_free }.into()
            }
        ),
        any::<[u32; 3]>().prop_map(|[one, five, fifteen]| host::Load { one, five, fifteen }.into()),
        (permille(), option::of(permille()))
            .prop_map(|(some, full)| host::Pressure { some, full }.into()),
        (bytes(), bytes(), any::<u64>()).prop_map(|(read, written, busy_millis)| {
            host::Disk { read, written, busy_millis }.into()
        }),
        (any::<i32>(), any::<Option<i32>>()).prop_map(|(millicelsius, critical)| {
            host::Temperature { millicelsius, critical }.into()
        }),
        (any::<bool>(), any::<i64>(), any::<i64>()).prop_map(
            |(synchronised, offset_micros, max_error_micros)| {
                host::Clock { synchronised, offset_micros, max_error_micros }.into()
            }
        ),
        (bytes(), any::<u64>(), bytes(), vec(text(), 0..=host::MAX_PROBLEMS)).prop_map(
            |(resident, cpu_millis, spool, problems)| {
                host::Agent { resident, cpu_millis, spool, problems }.into()
            }
        ),
    ]
}

fn link_kind() -> impl Strategy<Value = links::LinkKind> {
    use links::LinkKind::{
        Bond, Bridge, Ethernet, Loopback, Modem, Other, Tunnel, Usb, Virtual, Vlan, Wireless,
    };
    select(vec![
        Loopback, Ethernet, Bridge, Bond, Vlan, Virtual, Tunnel, Wireless, Usb, Modem, Other,
    ])
}

fn route_kind() -> impl Strategy<Value = links::RouteKind> {
    use links::RouteKind::{Blackhole, Local, Prohibit, Throw, Unicast, Unreachable};
    select(vec![Unicast, Blackhole, Unreachable, Prohibit, Throw, Local])
}

fn rule() -> impl Strategy<Value = links::Rule> {
    let action = prop_oneof![
        any::<u32>().prop_map(links::RuleAction::Table),
        Just(links::RuleAction::Blackhole),
        Just(links::RuleAction::Unreachable),
        Just(links::RuleAction::Prohibit),
        Just(links::RuleAction::Other),
    ];
    let mark = any::<(u32, u32)>().prop_map(|(value, mask)| links::Mark { value, mask });
    let ends = (option::of(network()), option::of(network()));
    let interfaces = (option::of(text()), option::of(text()));
    (any::<(u32, bool, bool, bool)>(), ends, interfaces, option::of(mark), action).prop_map(
        |((priority, ipv6, not, unsure), (from, to), (iif, oif), mark, action)| links::Rule {
            priority,
            ipv6,
            not,
            from,
            to,
            iif,
            oif,
            mark,
            action,
            unsure,
        },
    )
}

fn links_value() -> impl Strategy<Value = FactValue> {
    let duplex = option::of(select(vec![links::Duplex::Half, links::Duplex::Full]));
    let reverse_path = select(vec![
        links::ReversePath::Off,
        links::ReversePath::Strict,
        links::ReversePath::Loose,
    ]);
    prop_oneof![
        (
            (any::<u32>(), link_kind(), text(), mac(), any::<bool>(), any::<bool>()),
            (any::<Option<u32>>(), duplex, any::<u32>(), option::of(text()), vec(network(), 0..9)),
            (
                vec(network(), 0..3),
                vec(network(), 0..3),
                any::<Option<u32>>(),
                any::<Option<u16>>()
            ),
            option::of(reverse_path),
        )
            .prop_map(
                |(
                    (index, kind, driver, mac, admin_up, carrier),
                    (speed_mbits, duplex, mtu, master, addresses),
                    (secondary, link_only, group, hardware),
                    reverse_path,
                )| {
                    links::Interface {
                        index,
                        kind,
                        driver,
                        mac,
                        admin_up,
                        carrier,
                        speed_mbits,
                        duplex,
                        mtu,
                        master,
                        addresses,
                        secondary,
                        link_only,
                        group,
                        hardware,
                        reverse_path,
                    }
                    .into()
                }
            )
            .boxed(),
        (bytes(), bytes(), any::<[u64; 4]>()).prop_map(|(received, transmitted, counts)| {
            let [receive_errors, transmit_errors, receive_drops, transmit_drops] = counts;
            links::Traffic {
                received,
                transmitted,
                receive_errors,
                transmit_errors,
                receive_drops,
                transmit_drops,
            }
            .into()
        }),
        (
            network(),
            any::<Option<IpAddr>>(),
            option::of(text()),
            any::<u32>(),
            any::<u32>(),
            route_kind(),
            any::<Option<IpAddr>>(),
        )
            .prop_map(|(destination, gateway, interface, metric, table, kind, source)| {
                links::Route {
                    destination,
                    gateway,
                    interface,
                    metric,
                    table,
                    carries: kind == links::RouteKind::Unicast,
                    kind,
                    source,
                }
                .into()
            })
            .boxed(),
        rule().prop_map(FactValue::from).boxed(),
        (any::<IpAddr>(), text(), mac(), any::<[bool; 2]>()).prop_map(
            |(address, interface, mac, [router, silent])| {
                links::Neighbour { address, interface, mac, router, silent }.into()
            }
        ),
        (any::<[bool; 2]>(), vec(text(), 0..=MAX_FORWARDING_INTERFACES), any::<Option<bool>>())
            .prop_map(|([ipv4, ipv6], interfaces, bridged)| {
                links::Forwarding { ipv4, ipv6, interfaces, bridged }.into()
            }),
    ]
}

fn table() -> impl Strategy<Value = firewall::Table> {
    (text(), text(), any::<[u32; 3]>()).prop_map(|(family, name, [chains, rules, sets])| {
        firewall::Table { family, name, chains, rules, sets }
    })
}

fn firewall_value() -> impl Strategy<Value = FactValue> {
    use firewall::DefaultPolicy::{Accept, Drop, NoChain, Reject, Unknown};
    prop_oneof![
        (vec(table(), 0..9), any::<[u32; 2]>(), text(), any::<u64>(), bytes(), option::of(text()))
            .prop_map(|(tables, [rules, opaque_rules], digest, packets, octets, changed_by)| {
                firewall::Ruleset {
                    tables,
                    rules,
                    opaque_rules,
                    digest,
                    packets,
                    octets,
                    changed_by,
                }
                .into()
            }),
        (select(vec![NoChain, Accept, Drop, Reject, Unknown]), text(), any::<u32>())
            .prop_map(|(default, by, chains)| firewall::Hook { default, by, chains }.into()),
        (any::<bool>(), any::<bool>()).prop_map(|(installed, active)| firewall::Manager {
            installed,
            active
        }
        .into()),
    ]
}

fn snapshot() -> impl Strategy<Value = backup::Snapshot> {
    (time(), option::of(bytes()), any::<Option<u64>>())
        .prop_map(|(taken_at, size, files)| backup::Snapshot { taken_at, size, files })
}

fn backup_value() -> impl Strategy<Value = FactValue> {
    prop_oneof![
        (
            (text(), time(), time(), any::<bool>(), option::of(bytes())),
            (any::<Option<u64>>(), text(), text(), option::of(time())),
            vec(bytes(), 0..=MAX_SNAPSHOTS),
        )
            .prop_map(
                |(
                    (tool, started_at, finished_at, success, size),
                    (files, destination, message, last_success_at),
                    sizes,
                )| {
                    backup::Job {
                        tool,
                        started_at,
                        finished_at,
                        success,
                        size,
                        files,
                        destination,
                        message,
                        last_success_at,
                        sizes,
                    }
                    .into()
                }
            ),
        (text(), any::<u32>(), vec(snapshot(), 0..=MAX_SNAPSHOTS)).prop_map(
            |(tool, snapshots, newest)| backup::Repository { tool, snapshots, newest }.into()
        ),
    ]
}

/// Any name of an order.
pub(crate) fn order_ref() -> impl Strategy<Value = OrderRef> {
    (1..=u64::MAX, any::<[u8; 32]>())
        .prop_map(|(version, digest)| OrderRef { version, digest: OrderDigest::from_bytes(digest) })
}

fn ended() -> impl Strategy<Value = Ended> {
    use Ended::{
        Confirmed, NotConfirmed, QuarantineOver, Quarantined, Rebooted, RefusedByKernel, Released,
        Superseded,
    };
    select(vec![
        Confirmed,
        NotConfirmed,
        Rebooted,
        RefusedByKernel,
        Superseded,
        Quarantined,
        QuarantineOver,
        Released,
    ])
}

fn drift() -> impl Strategy<Value = enforcement::DriftSeen> {
    let how = select(vec![DriftEnded::Restored, DriftEnded::Undone, DriftEnded::Replaced]);
    let end = (time(), how).prop_map(|(at, how)| enforcement::DriftEnd { at, how });
    let lines = || vec(text(), 0..=MAX_DRIFT_LINES);
    (time(), option::of(end), option::of(text()), lines(), lines(), any::<u64>()).prop_map(
        |(since, ended, by, added, removed, more)| enforcement::DriftSeen {
            since,
            ended,
            by,
            added,
            removed,
            more,
        },
    )
}

fn enforcement_value() -> impl Strategy<Value = FactValue> {
    use RoundBy::{Copied, Flowtable, Forwarded, Rewritten, Untracked};
    let pending =
        (order_ref(), time()).prop_map(|(order, until)| enforcement::PendingOrder { order, until });
    let quarantine = (order_ref(), time(), text())
        .prop_map(|(order, until, reason)| enforcement::QuarantineOrder { order, until, reason });
    let last = (time(), any::<u64>(), ended())
        .prop_map(|(at, version, what)| enforcement::LastChange { at, version, what });
    let other = (time(), option::of(text()), vec(text(), 0..=MAX_OTHER_TABLES))
        .prop_map(|(at, by, tables)| enforcement::OtherChange { at, by, tables });
    let how = select(vec![Flowtable, Forwarded, Copied, Untracked, Rewritten]);
    let round = (how, text()).prop_map(|(how, line)| enforcement::WayRound { how, line });
    let mode = option::of(select(vec![Mode::Observe, Mode::Enforce]));
    prop_oneof![
        (
            (option::of(text()), any::<u64>(), mode),
            (option::of(order_ref()), option::of(order_ref()), option::of(pending)),
            (option::of(quarantine), option::of(last), option::of(drift()), any::<u64>()),
            (option::of(other), vec(round, 0..4), option::of(text())),
        )
            .prop_map(
                |(
                    (key, highest, mode),
                    (in_force, confirmed, pending),
                    (quarantine, last, drift, restored),
                    (other, round, problem),
                )| {
                    enforcement::Enforcement {
                        key,
                        highest,
                        mode,
                        in_force,
                        confirmed,
                        pending,
                        quarantine,
                        last,
                        drift,
                        restored,
                        other,
                        round,
                        problem,
                    }
                    .into()
                }
            ),
        (any::<u64>(), bytes()).prop_map(|(packets, octets)| enforcement::RuleCounter {
            packets,
            octets
        }
        .into()),
    ]
}

fn flows_value() -> impl Strategy<Value = FactValue> {
    prop_oneof![
        (
            (any::<IpAddr>(), any::<IpAddr>(), any::<u8>(), any::<u16>()),
            (any::<u64>(), time(), time()),
        )
            .prop_map(|((from, to, protocol, port), (count, first, last))| {
                flows::SeenFlow { from, to, protocol, port, count, first, last }.into()
            }),
        (time(), any::<u64>(), any::<u64>()).prop_map(|(since, forgotten, overrun)| {
            flows::FlowWatch { since, forgotten, overrun }.into()
        }),
    ]
}

fn line_value() -> impl Strategy<Value = FactValue> {
    let by = prop_oneof![Just(By::Icmp), any::<NonZeroU16>().prop_map(By::Udp)];
    let ask = (any::<IpAddr>(), by).prop_map(|(far, by)| Ask { far, by });
    let lately = (any::<u32>(), permille(), option::of(any::<u64>())).prop_map(
        |(asked, lost, round_trip_micros)| lines::LatelyAsked { asked, lost, round_trip_micros },
    );
    let stood = (option::of(time()), any::<bool>(), any::<u64>());
    (ask, stood, option::of(lately), option::of(0..=1_000_000_u32)).prop_map(
        |(ask, (since, answered, silence_millis), lately, available_millionths)| {
            lines::LineQuality {
                ask,
                since,
                answered,
                silence_millis,
                lately,
                available_millionths,
            }
            .into()
        },
    )
}

/// Boxed, since one shape of everything that it may be would not fit on a test's stack.
fn value() -> impl Strategy<Value = FactValue> {
    prop_oneof![
        12 => machine_value().boxed(),
        5 => links_value().boxed(),
        3 => firewall_value().boxed(),
        2 => backup_value().boxed(),
        2 => enforcement_value().boxed(),
        2 => flows_value().boxed(),
        1 => line_value().boxed(),
    ]
}

fn kind() -> impl Strategy<Value = FactKind> {
    select(FactKind::ALL)
}

fn key() -> impl Strategy<Value = FactKey> {
    (kind(), text()).prop_map(|(kind, subject)| FactKey::new(kind, &subject))
}

/// Any fact, readable or not.
pub(crate) fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => (text(), value()).prop_map(|(subject, value)| Fact::known(&subject, value)),
        1 => (key(), text()).prop_map(|(key, why)| Fact {
            key,
            reading: Reading::Unreadable { why },
        }),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    (any::<[u8; 16]>(), 1..=MAX_SEQ)
        .prop_map(|(boot, seq)| Place { boot: BootId::from_bytes(boot), seq })
}

fn runs() -> impl Strategy<Value = Vec<(ProbeName, u32, u32, Option<String>)>> {
    let failed = || option::of(text().prop_filter("says why", |why| !why.is_empty()));
    subsequence(ProbeName::ALL.to_vec(), 0..=ProbeName::ALL.len()).prop_flat_map(move |names| {
        names
            .into_iter()
            .map(|name| (Just(name), any::<u32>(), any::<u32>(), failed()))
            .collect::<Vec<_>>()
    })
}

/// Any report with some facts.
pub(crate) fn report() -> impl Strategy<Value = Report> {
    (
        place(),
        // Far from both ends of time, so that every probe ran before the report was taken.
        -(1_i64 << 60)..(1_i64 << 60),
        any::<bool>(),
        runs(),
        vec(fact(), 0..12),
        vec(key(), 0..12),
        any::<[u8; 16]>(),
    )
        .prop_map(|(place, taken_at, complete, runs, changed, removed, digest)| {
            let taken_at = Timestamp::from_millis(taken_at);
            Report {
                place,
                taken_at,
                complete,
                probes: runs
                    .into_iter()
                    .map(|(probe, before, interval, failed)| ProbeRun {
                        probe,
                        read_at: taken_at - Duration::from_millis(before.into()),
                        interval: Duration::from_millis(interval.into()),
                        failed,
                    })
                    .collect(),
                changed,
                removed,
                digest: FactDigest::from_bytes(digest),
            }
        })
}
