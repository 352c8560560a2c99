//! Checks of what a host enforces.

use std::time::Duration;

use bailey_rules::fact::FactKind;
use bailey_rules::fact::enforcement::{
    DriftEnd, DriftEnded, DriftSeen, Ended, Enforcement, LastChange, OrderRef, OtherChange,
    PendingOrder, QuarantineOrder, RoundBy, RuleCounter, WayRound,
};
use bailey_rules::host::Pushed;
use bailey_rules::name::OrderDigest;
use bailey_rules::policy::Mode;
use bailey_rules::unit::Bytes;

use crate::site::{HOUR, MINUTE, NOW, Site, found, why};

const CHECKS: [&str; 7] = [
    "ruleset_drift",
    "ruleset_bypassed",
    "ruleset_reverted",
    "ruleset_current",
    "enforcer_problem",
    "host_quarantined",
    "would_drop",
];

fn order(version: u64) -> OrderRef {
    OrderRef { version, digest: OrderDigest::from_bytes([7; 32]) }
}

/// A host on which order 4 is confirmed and enforced.
fn enforced() -> Enforcement {
    Enforcement {
        key: Some("0011223344556677".to_owned()),
        highest: 4,
        mode: Some(Mode::Enforce),
        in_force: Some(order(4)),
        confirmed: Some(order(4)),
        last: Some(LastChange { at: NOW - HOUR, version: 4, what: Ended::Confirmed }),
        ..Enforcement::default()
    }
}

fn drift(ended: Option<DriftEnd>) -> DriftSeen {
    DriftSeen {
        since: NOW - MINUTE,
        ended,
        by: Some("nft (pid 4711)".to_owned()),
        added: vec!["chain input: tcp dport 23 accept".to_owned()],
        removed: vec!["chain input: iif lo accept".to_owned(), "set a: element 9".to_owned()],
        more: 5,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as a site holds it")]
fn pushed(version: u64, running: bool) -> Option<Pushed> {
    Some(Pushed { order: order(version), at: NOW - HOUR, running })
}

#[test]
fn a_host_without_an_enforcer_is_not_judged_unless_something_was_pushed_to_it() {
    for check in CHECKS {
        assert_eq!(found(check, |_| {}), "not judged", "{check}");
    }
    let pushed_to = |site: &mut Site| site.pushed = pushed(4, false);
    assert_eq!(found("ruleset_current", pushed_to), ": warning");
    assert!(why("ruleset_current", pushed_to).contains("no enforcer"));
}

#[test]
fn a_host_that_enforces_what_was_pushed_is_well() {
    for check in CHECKS {
        let said = found(check, |site| {
            site.set("", enforced());
            site.set("dropped", RuleCounter { packets: 9, octets: Bytes(900) });
            site.pushed = pushed(4, false);
        });
        let wanted = if check == "would_drop" { "not judged" } else { "ok" };
        assert_eq!(said, wanted, "{check}");
    }
}

#[test]
fn an_enforcer_that_does_not_answer_is_unknown_and_a_failed_probe() {
    let silent = |site: &mut Site| {
        site.unreadable(FactKind::Enforcement, "", "no enforcer answers");
        site.pushed = pushed(4, false);
    };
    for check in CHECKS.into_iter().filter(|check| *check != "would_drop") {
        assert_eq!(found(check, silent), ": unknown", "{check}");
    }
    assert_eq!(found("probe_failed", silent), "enforcement: warning");
}

#[test]
fn an_agent_of_before_there_were_enforcers_is_not_blamed() {
    let said = found("probe_failed", |site| {
        site.probes.remove(&bailey_rules::fact::ProbeName::Enforcement);
    });
    assert_eq!(said, "ok");
}

#[test]
fn drift_is_critical_where_packets_are_dropped_and_a_warning_where_they_are_counted() {
    let check = |mode, ended| {
        found("ruleset_drift", |site| {
            site.set("", Enforcement { mode, drift: Some(drift(ended)), ..enforced() });
        })
    };
    assert_eq!(check(Some(Mode::Enforce), None), ": critical");
    assert_eq!(check(None, None), ": critical", "it may enforce");
    assert_eq!(check(Some(Mode::Observe), None), ": warning");
    for how in [DriftEnded::Restored, DriftEnded::Undone, DriftEnded::Replaced] {
        let ended = Some(DriftEnd { at: NOW - MINUTE / 2, how });
        assert_eq!(check(Some(Mode::Enforce), ended), "ok");
    }
}

#[test]
fn a_drift_says_who_changed_what_and_how_much_more() {
    let mut site = Site::new();
    site.set("", Enforcement { drift: Some(drift(None)), ..enforced() });
    let verdict = site.verdicts("ruleset_drift").remove(0);
    assert_eq!(
        verdict.why.en,
        "nft (pid 4711) changed our table 60 s ago: + chain input: tcp dport 23 accept; \
         - chain input: iif lo accept; … 6"
    );
    assert_eq!(
        verdict.evidence[0].value,
        "+ chain input: tcp dport 23 accept\n- chain input: iif lo accept\n- set a: element 9\n… 5"
    );
}

#[test]
fn a_revert_is_a_finding_for_a_day_or_until_something_newer_is_confirmed() {
    let check = |what, age, version| {
        found("ruleset_reverted", |site| {
            let last = Some(LastChange { at: NOW - age, version, what });
            site.set("", Enforcement { last, ..enforced() });
        })
    };
    for what in [Ended::NotConfirmed, Ended::Rebooted, Ended::RefusedByKernel] {
        assert_eq!(check(what, HOUR, 5), ": critical", "{what:?}");
        assert_eq!(check(what, HOUR * 25, 5), "ok", "{what:?}");
        assert_eq!(check(what, HOUR, 3), "ok", "{what:?}: order 4 was confirmed since");
    }
    let meant = [
        Ended::Confirmed,
        Ended::Superseded,
        Ended::Quarantined,
        Ended::QuarantineOver,
        Ended::Released,
    ];
    for what in meant {
        assert_eq!(check(what, MINUTE, 5), "ok", "{what:?}");
    }
}

#[test]
fn a_host_that_holds_another_ruleset_than_was_pushed_is_told_apart() {
    let check = |wanted, confirmed: Option<u64>, running| {
        why("ruleset_current", |site| {
            site.set("", Enforcement { confirmed: confirmed.map(order), ..enforced() });
            site.pushed = pushed(wanted, running);
        })
    };
    assert_eq!(check(4, Some(4), false), "holds order 4");
    assert_eq!(check(5, Some(4), true), "order 5 is on its way");
    assert_eq!(check(5, Some(4), false), "still holds order 4; order 5 was pushed");
    assert_eq!(check(5, None, false), "holds no confirmed ruleset; order 5 was pushed");
    assert_eq!(check(3, Some(4), false), "holds order 4, which was not pushed from here");
    let forged = found("ruleset_current", |site| {
        let digest = OrderDigest::from_bytes([8; 32]);
        site.set(
            "",
            Enforcement { confirmed: Some(OrderRef { version: 4, digest }), ..enforced() },
        );
        site.pushed = pushed(4, false);
    });
    assert_eq!(forged, ": warning", "the number alone proves nothing");
}

#[test]
fn a_quarantine_says_how_long_and_why() {
    let quarantined = |site: &mut Site| {
        let quarantine = QuarantineOrder {
            order: order(5),
            until: NOW + HOUR * 5,
            reason: "scans inner".to_owned(),
        };
        site.set("", Enforcement { quarantine: Some(quarantine), ..enforced() });
    };
    assert_eq!(found("host_quarantined", quarantined), ": warning");
    assert_eq!(why("host_quarantined", quarantined), "in quarantine for another 5 h: scans inner");
}

#[test]
fn a_problem_of_the_enforcer_is_critical() {
    let said = found("enforcer_problem", |site| {
        let problem = Some("/var/lib/bailey-enforce: no space left".to_owned());
        site.set("", Enforcement { problem, ..enforced() });
    });
    assert_eq!(said, ": critical");
}

#[test]
fn only_a_counter_that_still_grows_would_drop() {
    let check = |packets, since: Duration, mode| {
        found("would_drop", |site| {
            site.set("", Enforcement { mode: Some(mode), ..enforced() });
            site.set("would-drop", RuleCounter { packets, octets: Bytes(packets * 60) });
            // Facts of the site were first read an hour before `NOW`.
            site.now = NOW - HOUR + since;
        })
    };
    assert_eq!(check(3, MINUTE, Mode::Observe), ": warning");
    assert_eq!(check(3, HOUR, Mode::Observe), "ok");
    assert_eq!(check(0, MINUTE, Mode::Observe), "ok");
    assert_eq!(check(3, MINUTE, Mode::Enforce), "not judged");
    let unread = found("would_drop", |site| {
        site.set("", Enforcement { mode: Some(Mode::Observe), ..enforced() });
        site.unreadable(FactKind::RuleCounter, "would-drop", "needs CAP_NET_ADMIN");
    });
    assert_eq!(unread, ": unknown");
}

#[test]
fn every_way_round_our_table_is_a_finding_of_its_own() {
    let said = found("ruleset_bypassed", |site| {
        let way = |how, line: &str| WayRound { how, line: line.to_owned() };
        let round = vec![
            way(RoundBy::Flowtable, "table inet other: flowtable fast"),
            way(RoundBy::Untracked, "table ip raw, chain prerouting: notrack"),
        ];
        let other = OtherChange { at: NOW, by: None, tables: vec!["ip raw".to_owned()] };
        site.set("", Enforcement { round, other: Some(other), ..enforced() });
    });
    assert_eq!(
        said,
        "table inet other: flowtable fast: warning, table ip raw, chain prerouting: notrack: warning"
    );
}

#[test]
fn a_ruleset_that_waits_to_be_confirmed_is_nothing_wrong() {
    for check in CHECKS.into_iter().filter(|check| *check != "would_drop") {
        let said = found(check, |site| {
            let pending = Some(PendingOrder { order: order(5), until: NOW + MINUTE });
            let state = Enforcement { pending, in_force: Some(order(5)), highest: 5, ..enforced() };
            site.set("", state);
            site.pushed = pushed(5, true);
        });
        assert_eq!(said, "ok", "{check}");
    }
}
