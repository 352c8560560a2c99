//! The probe `enforcement` beside the real enforcer and kernel, each test in a network namespace of
//! its own. Needs root.

use std::net::UdpSocket;
use std::time::Duration;

use bailey_agent::probe::enforcement::EnforcementProbe;
use bailey_agent::probe::{Probe as _, Wake};
use bailey_rules::fact::enforcement::{DriftEnded, Ended, Enforcement, RoundBy, RuleCounter};
use bailey_rules::fact::{Fact, FactKind, Named as _, Reading};
use bailey_rules::policy::Mode;
use nix::sys::signal::Signal;
use tokio::time::timeout;

use crate::enforcer::{LONG, Lab, ordered};
use crate::namespace::{in_namespace, nft, run};

/// Drift must be at the collector so soon; the probe is told long before.
const SOON: Duration = Duration::from_secs(5);

const TABLE: &str = "table inet bailey {
    counter dropped {
    }
    counter flow-1 {
    }
    chain input {
        type filter hook input priority filter; policy drop;
        udp dport 9 counter name flow-1 accept
        iif lo accept
        counter name dropped drop
    }
}
";

async fn read(probe: &mut EnforcementProbe) -> Vec<Fact> {
    probe.read(Wake::Interval).await.unwrap()
}

async fn told(probe: &mut EnforcementProbe, what: &str) {
    timeout(SOON, probe.told()).await.unwrap_or_else(|_| panic!("not told of {what}"));
}

fn state(facts: &[Fact]) -> Enforcement {
    let fact = facts.iter().find(|fact| fact.key.kind == FactKind::Enforcement).unwrap();
    Enforcement::of(fact.reading.known().unwrap_or_else(|| panic!("{fact:?}"))).unwrap().clone()
}

fn counter(facts: &[Fact], name: &str) -> RuleCounter {
    let mut all = facts.iter().filter(|fact| fact.key.kind == FactKind::RuleCounter);
    let fact = all.find(|fact| &*fact.key.subject == name).unwrap();
    *RuleCounter::of(fact.reading.known().unwrap()).unwrap()
}

fn why_silent(facts: &[Fact]) -> String {
    match facts {
        [Fact { reading: Reading::Unreadable { why }, .. }] => why.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_step_of_an_order_is_told_at_once_and_counters_are_read() {
    in_namespace(|| async {
        let lab = Lab::started().await;
        let mut probe = EnforcementProbe::new(&lab.socket());
        let facts = read(&mut probe).await;
        let key = lab.key.verifying_key().id().to_string();
        let idle = Enforcement { key: Some(key), ..Enforcement::default() };
        assert_eq!(state(&facts), idle);
        assert_eq!(facts.len(), 1, "nothing of ours counts");

        let order = lab.sign(3, ordered(TABLE.to_owned(), LONG, false));
        lab.applied(&order).await;
        told(&mut probe, "an order").await;
        let now = state(&read(&mut probe).await);
        let pending = now.pending.unwrap();
        assert_eq!((now.highest, now.in_force), (3, Some(pending.order)));
        assert_eq!(now.mode, Some(Mode::Enforce));
        // The deadline stands still: it is no news that time passes.
        assert_eq!(state(&read(&mut probe).await), now);

        lab.confirmed(&order).await;
        told(&mut probe, "a confirmation").await;
        let now = state(&read(&mut probe).await);
        assert_eq!((now.confirmed, now.pending), (Some(pending.order), None));
        assert_eq!(now.last.unwrap().what, Ended::Confirmed);

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2 {
            // Nobody listens there, which the second hears of the first.
            let _ = socket.send_to(&[0; 56], "127.0.0.1:9");
        }
        let facts = read(&mut probe).await;
        assert_eq!(counter(&facts, "flow-1").packets, 2);
        assert_eq!(counter(&facts, "flow-1").octets.0, 168);
        assert_eq!(counter(&facts, "dropped").packets, 0);
        let quiet = timeout(Duration::from_millis(300), probe.told()).await;
        assert!(quiet.is_err(), "told although nothing happened");
    });
}

#[test]
fn a_drift_is_told_with_who_and_what_and_so_is_its_end() {
    in_namespace(|| async {
        let lab = Lab::started().await;
        let order = lab.sign(1, ordered(TABLE.to_owned(), LONG, false));
        lab.applied(&order).await;
        lab.confirmed(&order).await;
        let mut probe = EnforcementProbe::new(&lab.socket());
        assert_eq!(state(&read(&mut probe).await).drift, None);

        nft("insert rule inet bailey input tcp dport 23 accept");
        told(&mut probe, "a drift").await;
        let drift = state(&read(&mut probe).await).drift.unwrap();
        assert_eq!(drift.added, ["chain input: tcp dport 23 accept"]);
        assert!(drift.removed.is_empty() && drift.ended.is_none(), "{drift:?}");
        assert!(drift.by.as_deref().is_some_and(|by| by.starts_with("nft (pid ")), "{drift:?}");

        // Its mode is what was ordered, whatever is left of the table.
        nft("delete table inet bailey");
        told(&mut probe, "a worse drift").await;
        let now = state(&read(&mut probe).await);
        assert_eq!(now.mode, Some(Mode::Enforce));
        assert!(!now.drift.unwrap().removed.is_empty());

        let newer = lab.sign(2, ordered(TABLE.to_owned(), LONG, false));
        lab.applied(&newer).await;
        told(&mut probe, "its end").await;
        let drift = state(&read(&mut probe).await).drift.unwrap();
        assert_eq!(drift.ended.unwrap().how, DriftEnded::Replaced);
    });
}

#[test]
fn who_changes_another_table_is_told_and_so_is_every_way_round_ours() {
    in_namespace(|| async {
        run("ip link add bl0 type veth peer name bl1");
        // There before ours: seen at the first look.
        nft("table ip old { chain p { type nat hook postrouting priority 100; masquerade; }\n}");
        let lab = Lab::started().await;
        let order = lab.sign(1, ordered(TABLE.to_owned(), LONG, false));
        lab.applied(&order).await;
        lab.confirmed(&order).await;
        lab.until("it is seen", |status| !status.round.is_empty()).await;
        let mut probe = EnforcementProbe::new(&lab.socket());
        let ways = |state: &Enforcement| -> Vec<(RoundBy, String)> {
            state.round.iter().map(|way| (way.how, way.line.clone())).collect()
        };
        let old = (RoundBy::Rewritten, "table ip old, chain p: masquerade".to_owned());
        assert_eq!(ways(&state(&read(&mut probe).await)), std::slice::from_ref(&old));

        // What another table drops or accepts, and where it sends to, is no way round ours.
        nft("table inet own { chain i { type filter hook input priority -5; accept; }
            chain d { type nat hook prerouting priority -100; tcp dport 81 dnat ip to 10.0.0.1; }
            }");
        told(&mut probe, "another table").await;
        let now = state(&read(&mut probe).await);
        let other = now.other.clone().unwrap();
        assert_eq!(other.tables, ["inet own"]);
        assert!(other.by.as_deref().is_some_and(|by| by.starts_with("nft (pid ")), "{other:?}");
        assert_eq!((ways(&now), now.drift), (vec![old.clone()], None));

        nft("delete table ip old
            table netdev side { chain in { type filter hook ingress device bl0 priority 0;
                ip protocol udp fwd to bl1; dup to bl1; }
            }
            table ip raw { chain p { type filter hook prerouting priority -300; notrack; }
            }
            table ip6 out { chain p { type nat hook postrouting priority 100; snat to fd00::1; }
            }");
        told(&mut probe, "ways round").await;
        let now = state(&read(&mut probe).await);
        let line = |how, line: &str| (how, line.to_owned());
        assert_eq!(
            ways(&now),
            [
                line(RoundBy::Untracked, "table ip raw, chain p: notrack"),
                line(RoundBy::Rewritten, "table ip6 out, chain p: snat"),
                line(RoundBy::Copied, "table netdev side, chain in: dup"),
                line(RoundBy::Forwarded, "table netdev side, chain in: fwd"),
            ]
        );
        let tables = ["ip old", "ip raw", "ip6 out", "netdev side"];
        assert_eq!(now.other.unwrap().tables, tables);
        assert_eq!(now.drift, None);
    });
}

#[test]
fn a_host_without_an_enforcer_says_nothing_and_one_whose_enforcer_went_says_so() {
    in_namespace(|| async {
        let mut lab = Lab::new();
        let mut probe = EnforcementProbe::new(&lab.socket());
        assert_eq!(read(&mut probe).await, []);

        lab.start().await;
        assert!(state(&read(&mut probe).await).key.is_none());
        lab.end(Signal::SIGKILL);
        told(&mut probe, "its death").await;
        let why = why_silent(&read(&mut probe).await);
        assert!(why.contains("bailey-enforce.service"), "{why}");

        lab.start().await;
        told(&mut probe, "its return").await;
        assert!(state(&read(&mut probe).await).key.is_none());
        lab.end(Signal::SIGTERM);
        told(&mut probe, "its end").await;
        why_silent(&read(&mut probe).await);
    });
}
