//! What is said of the lines that a host measures.

use std::time::Duration;

use bailey_rules::check::{State, Status};
use bailey_rules::device::quality::Quality;
use bailey_rules::expectation::{Ask, By};
use bailey_rules::fact::lines::LineQuality;
use bailey_rules::fact::{FactKind, ProbeName};
use bailey_rules::time::Timestamp;

use crate::site::{MINUTE, NOW, Site, found, why};

const EVERY: Duration = Duration::from_secs(3);
const TOOK: Duration = Duration::from_millis(18);
const CHECKS: [&str; 3] = ["host_line_silent", "host_line_loss", "host_line_round_trip"];

/// What comes of a far end that answers like this, one packet each [`EVERY`].
fn line(answers: impl IntoIterator<Item = Option<Duration>>) -> LineQuality {
    let mut quality = Quality::new(Ask { far: "10.254.0.1".parse().unwrap(), by: By::Icmp }, []);
    let began: Timestamp = NOW - MINUTE * 30;
    for (nth, answer) in (0_u32..).zip(answers) {
        quality.note(began + EVERY * nth, answer);
    }
    LineQuality::from(&quality)
}

fn times(times: usize, answer: Option<Duration>) -> impl Iterator<Item = Option<Duration>> + Clone {
    std::iter::repeat_n(answer, times)
}

fn said(check: &str, line: LineQuality) -> String {
    found(check, |site| site.set("county", line))
}

#[test]
fn a_line_that_was_not_asked_often_enough_is_unknown_and_never_ok() {
    let few = [line([]), line(times(1, None)), line(times(9, None))];
    for check in CHECKS {
        for few in few {
            assert_eq!(said(check, few), "county: unknown", "{check} {few:?}");
        }
    }
    // One answer shows that it answers; of loss that says nothing.
    let once = line(times(1, Some(TOOK)));
    assert_eq!(said("host_line_silent", once), "ok");
    assert_eq!(said("host_line_loss", once), "county: unknown");
    assert_eq!(said("host_line_round_trip", once), "county: unknown");
    let enough = line(times(10, Some(TOOK)));
    for check in CHECKS {
        assert_eq!(said(check, enough), "ok", "{check}");
    }
}

#[test]
fn a_far_end_is_silent_after_two_minutes_and_a_few_packets_are_loss() {
    let answered = times(60, Some(TOOK));
    let cut = |lost: usize| line(answered.clone().chain(times(lost, None)));
    assert_eq!(said("host_line_silent", cut(39)), "ok");
    assert_eq!(said("host_line_silent", cut(40)), "county: critical");
    assert_eq!(
        why("host_line_silent", |site| site.set("county", cut(60))),
        "10.254.0.1, the far end of county, has not answered for 3 min (limit 2 min)"
    );
    assert_eq!(said("host_line_loss", cut(40)), "ok", "what is lost in an outage is no loss");
    // One that never answered is silent too.
    assert_eq!(said("host_line_silent", line(times(41, None))), "county: critical");

    let lossy = |lost: usize| {
        let row = times(lost, None).chain(times(20 - lost, Some(TOOK)));
        line(std::iter::repeat_n(row, 5).flatten())
    };
    assert_eq!(said("host_line_loss", lossy(0)), "ok");
    assert_eq!(said("host_line_loss", lossy(2)), "county: warning");
    assert_eq!(said("host_line_loss", lossy(5)), "county: critical");
    assert_eq!(
        why("host_line_loss", |site| site.set("county", lossy(5))),
        "county loses 25 % of the packets there and back (limit 20 %)"
    );
    let slow = line(times(60, Some(TOOK * 12)));
    assert_eq!(said("host_line_round_trip", slow), "county: warning");
    assert_eq!(
        why("host_line_round_trip", |site| site.set("county", slow)),
        "a packet takes 216.0 ms over county and back (limit 200 ms)"
    );
}

#[test]
fn the_limits_are_those_of_the_rule_files_for_this_host() {
    let slow = line(times(60, Some(TOOK)));
    let check = |rules: &str| {
        found("host_line_round_trip", |site| {
            site.set("county", slow);
            rules.clone_into(&mut site.rules);
        })
    };
    let rule = |limits: &str| {
        format!("expectations: [{{hosts: [oa-17], device: {{line_round_trip: {limits}}}}}]\n")
    };
    assert_eq!(check(""), "ok");
    assert_eq!(check(&rule("{warning: 10 ms, critical: off}")), "county: warning");
    assert_eq!(check(&rule("{warning: off, critical: off}")), "not judged");
}

#[test]
fn what_a_host_cannot_ask_is_unknown_and_told_of_the_probe() {
    let unreadable = |site: &mut Site| {
        site.unreadable(FactKind::LineQuality, "county", "this program may not send ICMP");
    };
    for check in CHECKS {
        assert_eq!(found(check, unreadable), "county: unknown");
        assert!(why(check, unreadable).ends_with("this program may not send ICMP"));
    }
    assert_eq!(found("probe_failed", unreadable), "lines: warning");
}

#[test]
fn an_old_report_makes_a_line_stale_and_never_silent_or_ok() {
    let old = |answers: Vec<Option<Duration>>| {
        let mut site = Site::new();
        site.set("county", line(answers));
        site.probe(ProbeName::Lines).read_at = NOW - MINUTE * 10;
        let verdicts = site.verdicts("host_line_silent");
        (verdicts[0].status, verdicts[0].state())
    };
    assert_eq!(old(times(60, Some(TOOK)).collect()), (Status::Ok, State::Stale));
    // The host was cut off just after it had lost a packet: that says nothing of the ten minutes since.
    let one_lost = times(60, Some(TOOK)).chain(times(1, None)).collect();
    assert_eq!(old(one_lost), (Status::Ok, State::Stale));
    let cut = times(60, Some(TOOK)).chain(times(60, None)).collect();
    assert_eq!(old(cut), (Status::Critical, State::Critical));
}

#[test]
fn a_host_that_measures_no_lines_or_cannot_yet_is_not_judged() {
    let nothing = |site: &mut Site| site.remove_all(FactKind::LineQuality);
    let older = |site: &mut Site| {
        nothing(site);
        site.probes.remove(&ProbeName::Lines);
    };
    let failed = |site: &mut Site| {
        nothing(site);
        site.probe(ProbeName::Lines).failed = Some("no answer within 10 s".to_owned());
    };
    for check in CHECKS {
        assert_eq!(found(check, nothing), "not judged");
        assert_eq!(found(check, older), "not judged");
        assert_eq!(found(check, failed), ": unknown");
    }
    assert_eq!(found("probe_failed", older), "ok", "agents before this one have no such probe");
}
