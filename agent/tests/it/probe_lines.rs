//! The probe `lines` against far ends of the real kernel, each test in a network namespace of its own:
//! one that answers, one of whose packets nftables drops some, one that is dead. Needs root, and nft.

use std::time::{Duration, Instant};

use crate::namespace::{again_without, in_namespace, is_without, nft};
use bailey_agent::clock::{Clock as _, SystemClock};
use bailey_agent::probe::lines::LinesProbe;
use bailey_agent::probe::{Probe as _, Wake};
use bailey_agent::settings::{FarEnd, Lines};
use bailey_rules::expectation::{Ask, By};
use bailey_rules::fact::lines::LineQuality;
use bailey_rules::fact::{Fact, FactKind, Named as _, Reading};

/// Waiting ends as failed after this.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often each far end is asked here.
const EVERY: Duration = Duration::from_millis(200);

/// Puts these rules in force on what comes in over the loopback, in place of any before.
fn filter(rules: &str) {
    let text = format!(
        "table inet far {{}}\ndelete table inet far\ntable inet far {{\n chain in {{\n  type filter \
         hook input priority 0;\n  {rules}\n }}\n}}\n"
    );
    nft(&text);
}

fn end(name: &str, far: &str, by: By) -> FarEnd {
    FarEnd { name: name.to_owned(), ask: Ask { far: far.parse().unwrap(), by } }
}

fn probe(far_ends: Vec<FarEnd>) -> LinesProbe {
    LinesProbe::new(&Lines { interval: EVERY, far_ends }, SystemClock.now())
}

async fn read(probe: &mut LinesProbe) -> Vec<Fact> {
    probe.read(Wake::Interval).await.unwrap()
}

fn line(facts: &[Fact], name: &str) -> LineQuality {
    let fact = facts.iter().find(|fact| &*fact.key.subject == name).unwrap();
    match &fact.reading {
        Reading::Known(value) => *LineQuality::of(value).unwrap(),
        Reading::Unreadable { why } => panic!("{name}: {why}"),
    }
}

/// Reads until something is so.
async fn until(probe: &mut LinesProbe, what: &str, is_so: impl Fn(&[Fact]) -> bool) -> Vec<Fact> {
    let begin = Instant::now();
    loop {
        let facts = read(probe).await;
        if is_so(&facts) {
            return facts;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: {facts:#?}");
        tokio::time::sleep(EVERY).await;
    }
}

/// Reads when the probe is told of news, and only then, until something is so.
async fn told(probe: &mut LinesProbe, what: &str, is_so: impl Fn(&[Fact]) -> bool) -> Vec<Fact> {
    loop {
        let news = tokio::time::timeout(PATIENCE, probe.told()).await;
        assert!(news.is_ok(), "the probe was not told: {what}");
        let facts = read(probe).await;
        if is_so(&facts) {
            return facts;
        }
    }
}

#[test]
fn what_is_lost_late_or_dead_is_told_of_each_far_end() {
    in_namespace(|| async {
        filter(
            "ip daddr 127.0.0.3 icmp type echo-request numgen inc mod 4 == 0 drop; \
             ip daddr 127.0.0.4 drop",
        );
        let port = By::Udp(9.try_into().unwrap());
        let mut probe = probe(vec![
            end("good", "127.0.0.2", By::Icmp),
            end("lossy", "127.0.0.3", By::Icmp),
            end("dead", "127.0.0.4", By::Icmp),
            end("nobody listens", "127.0.0.9", port),
            end("six", "::1", By::Icmp),
        ]);
        let first = read(&mut probe).await;
        assert_eq!(first.len(), 5);
        for fact in &first {
            let line = line(&first, &fact.key.subject);
            assert_eq!((line.since, line.answered, line.lately), (None, false, None));
        }
        let asked = |facts: &[Fact]| {
            let counted = |name| line(facts, name).lately.is_some_and(|lately| lately.asked >= 20);
            ["good", "lossy", "nobody listens", "six"].into_iter().all(counted)
        };
        let facts = until(&mut probe, "enough packets", asked).await;
        for name in ["good", "nobody listens", "six"] {
            let line = line(&facts, name);
            let lately = line.lately.unwrap();
            assert!(line.answers() && line.since.is_some(), "{name}: {line:?}");
            assert_eq!((lately.lost.0, line.available_millionths), (0, Some(1_000_000)), "{name}");
            assert!(lately.round_trip().unwrap() < Duration::from_secs(2), "{name}: {line:?}");
        }
        let lossy = line(&facts, "lossy");
        let lost = lossy.lately.unwrap().lost.0;
        assert!(lossy.answered && (150..=350).contains(&lost), "each fourth: {lossy:?}");
        let dead = line(&facts, "dead");
        assert_eq!((dead.answered, dead.lately), (false, None));
        assert!(dead.since.is_some() && dead.silence() > Duration::from_secs(2), "{dead:?}");
    });
}

#[test]
fn a_far_end_that_turns_is_told_at_once() {
    in_namespace(|| async {
        let mut probe = probe(vec![end("county", "127.0.0.2", By::Icmp)]);
        read(&mut probe).await;
        let answers = |facts: &[Fact]| line(facts, "county").answers();
        told(&mut probe, "the first answer", answers).await;
        filter("ip daddr 127.0.0.2 drop");
        let silent = told(&mut probe, "three lost in a row", |facts| !answers(facts)).await;
        let silent = line(&silent, "county");
        assert!(silent.answered && silent.silence() > EVERY * 2, "{silent:?}");
        filter("accept");
        told(&mut probe, "it answers again", answers).await;
    });
}

#[test]
fn without_the_right_to_send_icmp_the_sysctl_is_named_and_udp_goes_on() {
    if !is_without() {
        // Once more, as a program that lacks the right.
        in_namespace(|| async {
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", "1 0").unwrap();
            again_without(
                "net_raw",
                "probe_lines::without_the_right_to_send_icmp_the_sysctl_is_named_and_udp_goes_on",
            );
        });
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let port = By::Udp(9.try_into().unwrap());
        let far_ends = vec![end("echo", "127.0.0.2", By::Icmp), end("udp", "127.0.0.9", port)];
        let mut probe = probe(far_ends);
        read(&mut probe).await;
        let failed = |facts: &[Fact]| facts[0].reading.known().is_none();
        let facts = told(&mut probe, "that it cannot ask", failed).await;
        assert_eq!(facts[0].key.kind, FactKind::LineQuality);
        let Reading::Unreadable { why } = &facts[0].reading else { panic!("{facts:#?}") };
        assert!(why.contains("net.ipv4.ping_group_range") && why.contains("by: udp"), "{why}");
        until(&mut probe, "UDP", |facts| line(facts, "udp").answers()).await;
    });
}
