//! How well a line carries packets, and what the checks say of it.

use std::sync::Arc;
use std::time::Duration;

use bailey_rules::check::device::{Given, judge};
use bailey_rules::check::{Status, Verdict};
use bailey_rules::device::DeviceView;
use bailey_rules::device::interface::{Counters, Interface, Link};
use bailey_rules::device::line::MAX_LINES;
use bailey_rules::device::quality::{OUTAGE, Quality};
use bailey_rules::expectation::{Ask, By, Expectations, RuleFiles};
use bailey_rules::name::HostKey;
use bailey_rules::policy::Policy;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Percent;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_415_520_000);
const EVERY: Duration = Duration::from_secs(3);
const TOOK: Duration = Duration::from_millis(18);

const LINES: &str = "expectations: [{hosts: [exit-1], device: {lines: {GE1: {name: province, rated: \
                     2 Mbit/s, far: 10.254.0.1}}}}]\n";

fn ask() -> Ask {
    Ask { far: "10.254.0.1".parse().unwrap(), by: By::Icmp }
}

/// A line in the making, asked each [`EVERY`].
struct Lab {
    quality: Quality,
    view: DeviceView,
    wanted: Expectations,
    now: Timestamp,
}

impl Lab {
    fn new(rules: &str) -> Self {
        let name: bailey_rules::name::HostName = "exit-1".parse().unwrap();
        let zone: bailey_rules::name::ZoneName = "outer".parse().unwrap();
        let files = RuleFiles::parse(&[("site.yaml".to_owned(), rules.to_owned())]).unwrap();
        let wanted = files.for_host(&name, &zone);
        let address = "172.20.0.1:161".parse().unwrap();
        let key = HostKey::from_bytes([7; 32]);
        let mut view = DeviceView::new(key, name, zone, address, NOW, NOW);
        let port = Interface {
            index: 1,
            name: "GE1".to_owned(),
            alias: String::new(),
            kind: Some(6),
            mac: None,
            wanted: Link::Up,
            link: Link::Up,
            speed: Some(1_000_000_000),
            counters: Counters::default(),
        };
        view.interfaces.take(Ok(vec![port]), NOW, Duration::from_mins(1));
        view.polling.answered_at = Some(NOW);
        Self { quality: Quality::new(ask(), []), view, wanted, now: NOW }
    }

    fn asks(&mut self, times: u32, answer: Option<Duration>) -> &mut Self {
        for _ in 0..times {
            self.now = self.now + EVERY;
            self.quality.note(self.now, answer);
        }
        self
    }

    fn verdict(&mut self, check: &str) -> Option<Verdict> {
        self.view.quality = [("GE1".to_owned(), Arc::new(self.quality.clone()))].into();
        self.verdicts(check).into_iter().next()
    }

    fn verdicts(&self, check: &str) -> Vec<Verdict> {
        let Expectations { device: wanted, isolation, .. } = &self.wanted;
        let policy = "site: jiaxing\nzones: {outer: {networks: [172.20.0.0/16]}}\n";
        let policy = &Policy::parse("policy.yaml", policy).unwrap();
        let given = Given { device: &self.view, wanted, isolation, policy, now: self.now };
        let judged = judge(&given).into_iter().find(|judged| judged.check.name == check).unwrap();
        judged.verdicts
    }

    fn said(&mut self, check: &str) -> (Status, String) {
        let verdict = self.verdict(check).unwrap();
        (verdict.status, verdict.why.en)
    }
}

#[test]
fn what_is_said_of_a_line_turns_when_it_answers_first_when_it_was_asked_enough_and_when_it_is_silent()
 {
    let mut quality = Quality::new(ask(), []);
    let answers = (0..12).map(|nth| (nth < 11).then_some(TOOK));
    let turns: Vec<u32> = (1..)
        .zip(answers)
        .filter(|(nth, answer)| {
            let before = quality.standing(1);
            quality.note(NOW + EVERY * *nth, *answer);
            quality.standing(1) != before
        })
        .map(|(nth, _)| nth)
        .collect();
    assert_eq!(turns, [1, 10, 12]);
}

#[test]
fn a_line_that_answers_is_well_and_its_round_trip_is_the_median() {
    let mut lab = Lab::new(LINES);
    assert_eq!(
        lab.said("line_silent"),
        (Status::Unknown, "10.254.0.1, the far end of GE1 (province), was not asked yet".into())
    );
    lab.asks(9, Some(TOOK));
    assert_eq!(lab.said("line_loss").0, Status::Unknown, "too few");
    lab.asks(80, Some(TOOK)).asks(11, Some(TOOK * 40));
    assert_eq!(
        lab.said("line_silent"),
        (Status::Ok, "10.254.0.1, the far end of GE1 (province), answers".into())
    );
    assert_eq!(lab.said("line_loss").0, Status::Ok);
    assert_eq!(
        lab.said("line_round_trip"),
        (Status::Ok, "a packet takes 18.0 ms over GE1 (province) and back (limit 200 ms)".into())
    );
    lab.asks(100, Some(TOOK * 12));
    assert_eq!(lab.said("line_round_trip").0, Status::Warning);
    let verdict = lab.verdict("line_round_trip").unwrap();
    assert_eq!(verdict.why.zh, "GE1 (province) 往返时延 216.0 ms（阈值 200 ms）");
    assert_eq!((verdict.subject.as_str(), verdict.stale), ("GE1", false));
    // A collector that asks no more knows nothing.
    lab.now = lab.now + Duration::from_mins(1);
    assert!(lab.verdict("line_silent").unwrap().stale);
}

#[test]
fn what_is_lost_among_others_is_loss_and_what_is_lost_in_a_row_is_an_outage() {
    let mut lab = Lab::new(LINES);
    for _ in 0..10 {
        lab.asks(9, Some(TOOK)).asks(1, None);
    }
    lab.asks(1, Some(TOOK));
    assert_eq!(
        lab.said("line_loss"),
        (
            Status::Warning,
            "GE1 (province) loses 9.9 % of the packets there and back (limit 5 %)".into()
        )
    );
    assert_eq!(lab.said("line_silent").0, Status::Ok);

    let mut lab = Lab::new(LINES);
    lab.asks(50, Some(TOOK)).asks(OUTAGE, None);
    assert_eq!(lab.said("line_loss").0, Status::Ok, "that is the business of line_silent");
    assert_eq!(lab.said("line_silent").0, Status::Ok, "for 30 s");
    lab.asks(30, None);
    assert_eq!(
        lab.said("line_silent"),
        (
            Status::Critical,
            "10.254.0.1, the far end of GE1 (province), has not answered for 2 min (limit 2 min)"
                .into()
        )
    );
    lab.asks(60, Some(TOOK));
    assert_eq!(lab.said("line_silent").0, Status::Ok);
    assert!(lab.quality.availability().unwrap() < 800_000, "at once, and not in five minutes");
    // Also where the outage began before the window of five minutes.
    assert_eq!(lab.said("line_loss").0, Status::Ok);
    let available = lab.quality.availability().unwrap();
    assert!((600_000..800_000).contains(&available), "{available}");
}

#[test]
fn a_far_end_that_is_not_there_for_another_cause_is_unknown() {
    let mut lab = Lab::new(LINES);
    lab.asks(20, Some(TOOK)).asks(60, None);
    assert_eq!(lab.said("line_silent").0, Status::Critical);
    lab.view.polling.failed = Some(Text::quoted("no answer"));
    let (status, why) = lab.said("line_silent");
    assert_eq!(status, Status::Unknown);
    assert!(why.starts_with("exit-1 itself does not answer (10.254.0.1"), "{why}");

    let mut lab = Lab::new(LINES);
    let mut ports = lab.view.interfaces.value().unwrap().clone();
    ports[0].link = Link::Down;
    lab.view.interfaces.take(Ok(ports), NOW, Duration::from_mins(1));
    lab.asks(60, None);
    let (status, why) = lab.said("line_silent");
    assert_eq!(status, Status::Unknown);
    assert!(why.starts_with("GE1 is down (10.254.0.1"), "{why}");

    // What cannot be asked at all says nothing of the line, and why.
    lab.quality.fail(Text::quoted("ICMP is not allowed"));
    let (status, why) = lab.said("line_loss");
    assert_eq!(status, Status::Unknown);
    assert!(why.ends_with("the far end of GE1 (province): ICMP is not allowed"), "{why}");
}

#[test]
fn the_month_of_a_line_goes_on_after_a_restart() {
    let mut lab = Lab::new(LINES);
    lab.asks(300, Some(TOOK)).asks(100, None).asks(1, Some(TOOK));
    let (samples, available) = (lab.quality.month().len(), lab.quality.availability());
    assert_eq!(samples, 4);
    let after = Quality::new(ask(), lab.quality.month().since(None));
    assert_eq!((after.month().len(), after.availability()), (samples, available));
    assert_eq!(after.lately(), None, "of now it knows nothing yet");
    let first = lab.quality.month().since(None).next().unwrap();
    assert_eq!((first.asked, first.round_trip), (101, Some(TOOK)));
    assert_eq!(lab.quality.month().since(Some(first.at)).count(), samples - 1);
}

#[test]
fn a_line_names_who_is_asked_and_how_and_what_is_wrong_is_said() {
    let parsed = |line: &str| {
        let text = format!("expectations: [{{device: {{lines: {{GE1: {line}}}}}}}]\n");
        RuleFiles::parse(&[("site.yaml".to_owned(), text)])
    };
    let of = |line: &str| {
        let files = parsed(line).unwrap();
        let wanted = files.for_host(&"exit-1".parse().unwrap(), &"outer".parse().unwrap());
        wanted.device.lines["GE1"].clone()
    };
    let line = of("{rated: 2M, far: 10.254.0.1, by: udp 33434, exit: true}");
    assert_eq!(line.ask.unwrap().to_string(), "10.254.0.1 (udp 33434)");
    assert!(line.exit);
    assert_eq!(of("{rated: 2M, far: \"fd00::1\"}").ask.unwrap().by, By::Icmp);
    assert_eq!(of("{rated: 2M}").ask, None);
    for (wrong, said) in [
        ("{rated: 2M, by: icmp}", "add the far end's address"),
        ("{rated: 2M, far: province}", "is no address"),
        ("{rated: 2M, far: 224.0.0.1}", "of nobody or of many"),
        ("{rated: 2M, far: 0.0.0.0}", "of nobody or of many"),
        ("{rated: 2M, far: 10.0.0.1, by: udp 0}", "write icmp, or udp and a port"),
        ("{rated: 2M, far: 10.0.0.1, by: tcp 80}", "write icmp, or udp and a port"),
    ] {
        let problems = parsed(wrong).unwrap_err().to_string();
        assert!(problems.contains(said), "{wrong}: {problems}");
    }
}

/// So many lines of one device, in entries of at most `each`.
fn many(lines: usize, each: usize) -> String {
    let mut text = "expectations:\n".to_owned();
    for nth in 0..lines {
        if nth % each == 0 {
            text.push_str("  - hosts: [exit-1]\n    device:\n      lines:\n");
        }
        let far = format!("10.254.1.{nth}");
        text.push_str(&format!("        L{nth:03}: {{rated: 2 Mbit/s, far: {far}}}\n"));
    }
    text
}

#[test]
fn more_lines_than_one_device_may_have_are_refused_with_the_place_and_what_to_do() {
    let parse = |text: String| RuleFiles::parse(&[("site.yaml".to_owned(), text)]);
    assert!(parse(many(MAX_LINES, MAX_LINES)).is_ok());
    let refused = parse(many(MAX_LINES + 1, MAX_LINES + 1)).unwrap_err().to_string();
    for part in ["site.yaml:2:", "65 lines of one device; it may have 64", "an entry of its own"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn of_several_entries_that_name_too_many_lines_those_beyond_say_that_they_are_not_asked() {
    let lab = Lab::new(&many(MAX_LINES + 2, MAX_LINES));
    assert_eq!(lab.wanted.device.far_ends().count(), MAX_LINES);
    let verdicts = lab.verdicts("line_silent");
    let beyond: Vec<_> =
        verdicts.iter().filter(|verdict| verdict.why.en.contains("is not asked")).collect();
    let subjects: Vec<_> = beyond.iter().map(|verdict| verdict.subject.as_str()).collect();
    assert_eq!(subjects, ["L064", "L065"]);
    assert_eq!(beyond[0].status, Status::Unknown);
    assert!(beyond[0].why.zh.contains("超过 64 条"), "{}", beyond[0].why.zh);
    assert_eq!(verdicts.len(), MAX_LINES + 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn loss_and_outages_never_count_a_packet_twice(
        rows in prop::collection::vec((1_u32..30, 0_u32..25), 1..25),
    ) {
        let mut quality = Quality::new(ask(), []);
        let (mut now, mut lost, mut out, mut answered) = (NOW, 0_u32, 0_u32, 0_u32);
        let step = Duration::from_millis(100);
        for (answers, missing) in &rows {
            for packet in 0..answers + missing {
                now = now + step;
                quality.note(now, (packet < *answers).then_some(TOOK));
            }
            answered += answers;
            if *missing < OUTAGE { lost += missing } else { out += missing }
        }
        // An answer decides about the last row; five minutes later all of it is in samples.
        quality.note(now + step, Some(TOOK));
        let asked = answered + lost + out + 1;
        if let Some(lately) = quality.lately() {
            let counted = usize::try_from(answered + lost + 1).unwrap();
            prop_assert_eq!(lately.asked, counted);
            let part = lost * 1000 / (answered + lost + 1);
            prop_assert_eq!(lately.lost, Percent(part));
        }
        quality.note(now + Duration::from_mins(6), Some(TOOK));
        let part = (u64::from(asked + 1 - out) * 1_000_000) / u64::from(asked + 1);
        prop_assert_eq!(quality.availability().map(u64::from), Some(part));
    }
}
