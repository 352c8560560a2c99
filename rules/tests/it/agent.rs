//! Checks of the agent and its connection.

use std::time::Duration;

use bailey_rules::fact::{FactKind, ProbeName};

use crate::site::{HOUR, MINUTE, NOW, Site, found, why};

fn silent_for(length: Duration) -> impl FnOnce(&mut Site) {
    move |site| site.session.last_report_at = Some(NOW - length)
}

#[test]
fn a_host_is_stale_after_three_intervals_and_down_after_five_minutes() {
    let check = |seconds| found("host_silent", silent_for(Duration::from_secs(seconds)));
    assert_eq!(check(45), "ok");
    assert_eq!(check(46), ": warning");
    assert_eq!(check(300), ": warning");
    assert_eq!(check(301), ": critical");
}

#[test]
fn a_host_that_reports_seldom_is_not_down_between_its_reports() {
    let check = |interval, silence| {
        found("host_silent", |site| {
            site.session.interval = interval;
            site.session.last_report_at = Some(NOW - silence);
        })
    };
    assert_eq!(check(MINUTE * 10, MINUTE * 30), "ok");
    assert_eq!(check(MINUTE * 10, MINUTE * 31), ": critical");
    assert_eq!(check(Duration::MAX, MINUTE * 61), ": critical", "no interval excuses for ever");
}

#[test]
fn a_host_that_never_reported_is_unknown_then_down() {
    let check = |age| {
        found("host_silent", |site| {
            site.session.last_report_at = None;
            site.session.enrolled_at = NOW - age;
        })
    };
    assert_eq!(check(MINUTE / 2), ": unknown");
    assert_eq!(check(MINUTE * 6), ": critical");
}

#[test]
fn a_signed_goodbye_is_said_and_is_still_a_finding() {
    let stopped = |site: &mut Site| {
        site.session.last_report_at = Some(NOW - MINUTE * 2);
        site.session.goodbye_at = Some(NOW - MINUTE * 2);
    };
    assert_eq!(found("host_silent", stopped), ": warning");
    assert!(why("host_silent", stopped).contains("the agent was stopped"));
}

#[test]
fn a_probe_that_failed_stopped_never_ran_or_is_blind_is_a_finding() {
    let links = |change: fn(&mut Site)| found("probe_failed", change);
    assert_eq!(
        links(|site| site.probe(ProbeName::Links).failed = Some("no netlink".to_owned())),
        "links: warning"
    );
    assert_eq!(
        links(|site| site.probe(ProbeName::Links).read_at = NOW - MINUTE * 3),
        "links: warning"
    );
    assert_eq!(
        links(|site| {
            site.probes.remove(&ProbeName::Links);
        }),
        "links: warning"
    );
    assert_eq!(
        links(|site| site.unreadable(FactKind::Hook, "ip input", "needs CAP_NET_ADMIN")),
        "firewall: warning"
    );
    assert_eq!(
        links(|site| site.unreadable(FactKind::Units, "", "no service manager")),
        "ok",
        "not every machine has one"
    );
}

#[test]
fn a_probe_has_some_minutes_after_enrolment_to_report_first() {
    let said = found("probe_failed", |site| {
        site.session.enrolled_at = NOW - MINUTE;
        site.probes.remove(&ProbeName::Backup);
    });
    assert_eq!(said, "backup: unknown");
}

#[test]
fn what_the_probes_of_a_silent_host_do_now_is_not_known() {
    let said = found("probe_failed", silent_for(HOUR));
    assert_eq!(said.matches(": stale").count(), ProbeName::ALL.len(), "{said}");
}

#[test]
fn a_host_that_falls_silent_has_one_finding_and_none_for_each_probe() {
    // Its last report came with everything; since then all of it has grown old.
    let silent = |site: &mut Site| {
        silent_for(MINUTE * 3)(site);
        for probe in ProbeName::ALL {
            site.probe(probe).read_at = NOW - MINUTE * 3;
        }
    };
    let said = found("probe_failed", silent);
    assert_eq!(said.matches(": stale").count(), ProbeName::ALL.len(), "{said}");
    assert_ne!(found("host_silent", silent), "ok");
    // One that was missing in that report is missed still.
    let said = found("probe_failed", |site| {
        silent(site);
        site.probe(ProbeName::Links).failed = Some("no netlink".to_owned());
    });
    assert!(said.contains("links: warning"), "{said}");
}

#[test]
fn a_clock_more_than_five_seconds_off_either_way_is_a_warning() {
    let check = |ahead| found("clock_ahead", |site| site.session.clock_ahead_millis = ahead);
    assert_eq!(check(Some(4999)), "ok");
    assert_eq!(check(Some(5000)), ": warning");
    assert_eq!(check(Some(-5000)), ": warning");
    assert_eq!(check(Some(i64::MIN)), ": warning");
    assert_eq!(check(None), ": unknown");
}

#[test]
fn a_certificate_warns_below_a_quarter_of_its_life() {
    let check = |left| {
        found("certificate_ending", |site| {
            site.session.certificate_ends = NOW + left;
            site.session.certificate_began = NOW + left - HOUR * 24;
        })
    };
    assert_eq!(check(HOUR * 7), "ok");
    assert_eq!(check(HOUR * 6), ": warning");
    assert_eq!(check(Duration::ZERO), ": critical");
    let backwards = found("certificate_ending", |site| {
        site.session.certificate_ends = NOW - HOUR;
        site.session.certificate_began = NOW;
    });
    assert_eq!(backwards, ": critical");
}

#[test]
fn lost_reports_are_a_finding_for_a_day_after_the_last_loss() {
    let check = |lost, age: Option<Duration>| {
        found("report_gaps", |site| {
            site.session.lost_reports = lost;
            site.session.last_gap_at = age.map(|age| NOW - age);
        })
    };
    assert_eq!(check(0, None), "ok");
    assert_eq!(check(3, Some(HOUR)), ": warning");
    assert_eq!(check(3, Some(HOUR * 24)), ": warning");
    assert_eq!(check(3, Some(HOUR * 25)), "ok");
    assert_eq!(check(3, None), ": warning");
}

#[test]
fn two_machines_with_one_identity_are_critical_for_a_day() {
    let check = |age| found("twin_identity", |site| site.session.twin_seen_at = Some(NOW - age));
    assert_eq!(check(MINUTE), ": critical");
    assert_eq!(check(HOUR * 25), "ok");
}

#[test]
fn a_machine_that_waits_for_approval_is_a_warning_that_says_what_to_type() {
    let waits = |site: &mut Site| site.session.approval_waiting_since = Some(NOW - MINUTE);
    assert_eq!(found("approval_waiting", waits), ": warning");
    assert!(why("approval_waiting", waits).contains("bailey enroll approve oa-17"));
}
