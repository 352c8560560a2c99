//! What is true of one device after everything that it has sent: raise and clear paired, repetitions
//! counted, flapping damped, forgeries bounded.
//!
//! A ledger is built again after a restart by noting the stored traps once more: the same traps
//! give the same ledger.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Proof;
use super::catalogue::{About, Act, Meaning};
use crate::check::{Evidence, Status, Verdict};
use crate::finding::Severity;
use crate::text::Text;
use crate::time::{Timestamp, spoken};

/// The most conditions of one device at a time. A storm of a thousand interfaces is one more
/// condition that says how many there are. What a key proves takes the place of what nothing vouches for.
const MAX_CONDITIONS: usize = 64;

/// A cause that was raised this often within [`FLAP_WINDOW`] flaps: it is over only when it has been
/// quiet for [`FLAP_SETTLES`].
const FLAPS: usize = 3;
/// See [`FLAPS`].
const FLAP_WINDOW: Duration = Duration::from_mins(10);
/// See [`FLAPS`].
const FLAP_SETTLES: Duration = Duration::from_mins(5);

/// For how long it is told that there were more traps than are taken.
const STORM_LASTS: Duration = Duration::from_mins(15);

/// The subject of the verdict that stands for the traps that were left out.
const THE_REST: &str = "(more)";

/// What is wrong, and of what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    about: About,
    name: String,
    subject: String,
}

/// Something that is wrong, as far as traps tell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    trap: String,
    text: Text,
    severity: Severity,
    /// The strongest proof with which it was raised.
    proof: Proof,
    raised_at: Timestamp,
    heard_at: Timestamp,
    times: u64,
    lasts: Option<Duration>,
    /// Since when it is over, as far as traps tell.
    cleared_at: Option<Timestamp>,
    /// When it was raised lately, [`FLAPS`] at most.
    raises: VecDeque<Timestamp>,
    /// Whether a poll has seen it too.
    confirmed: bool,
}

impl Condition {
    fn flaps(&self) -> bool {
        match (self.raises.front(), self.raises.back()) {
            (Some(first), Some(last)) if self.raises.len() >= FLAPS => {
                first.age(*last) <= FLAP_WINDOW
            }
            _ => false,
        }
    }

    /// Whether nothing is wrong any more at `now`.
    fn is_over(&self, now: Timestamp) -> bool {
        let settles = if self.flaps() { FLAP_SETTLES } else { Duration::ZERO };
        let cleared = self.cleared_at.is_some_and(|at| at <= now && at.age(now) >= settles);
        cleared || self.lasts.is_some_and(|lasts| self.heard_at.age(now) >= lasts)
    }

    /// Whether it is over for so long that its coming again would be something new.
    fn is_past(&self, now: Timestamp) -> bool {
        self.is_over(now) && self.moved_at().age(now) >= FLAP_WINDOW
    }

    /// When a trap, or a poll that ended it, last said something of it.
    fn moved_at(&self) -> Timestamp {
        self.cleared_at.unwrap_or(self.heard_at).max(self.heard_at)
    }

    fn status(&self) -> Status {
        match (self.severity, self.proof) {
            (Severity::Critical, Proof::Key) => Status::Critical,
            (Severity::Critical, Proof::None) if self.confirmed => Status::Critical,
            (Severity::Critical, Proof::None) | (Severity::Warning, _) => Status::Warning,
        }
    }
}

/// What noting a trap did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Something is wrong that was not before.
    Raised,
    /// It was known.
    Again,
    /// It is over.
    Cleared,
    /// Nothing was to be cleared.
    Nothing,
    /// It would end what was raised with proof, and has none: it is not believed.
    Unproven,
    /// There are too many conditions already; it is counted.
    LeftOut,
}

/// What traps tell of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    conditions: BTreeMap<Cause, Condition>,
    /// How many traps were dropped or found no room since that began, and when the last one came.
    left_out: Option<(u64, Timestamp)>,
}

impl Ledger {
    /// Notes what a trap means, that came at `now`.
    pub fn note(&mut self, meaning: &Meaning<'_>, proof: Proof, now: Timestamp) -> Noted {
        self.forget(now);
        let cause = Cause {
            about: meaning.about,
            name: meaning.cause.to_owned(),
            subject: meaning.subject.clone(),
        };
        match meaning.act {
            Act::Note => Noted::Nothing,
            Act::Raise { severity, lasts } => {
                self.raise(cause, meaning, severity, lasts, proof, now)
            }
            Act::Clear => match self.conditions.get_mut(&cause) {
                None => Noted::Nothing,
                Some(condition) if condition.proof > proof => Noted::Unproven,
                Some(condition) => {
                    condition.cleared_at = condition.cleared_at.or(Some(now));
                    Noted::Cleared
                }
            },
        }
    }

    fn raise(
        &mut self,
        cause: Cause,
        meaning: &Meaning<'_>,
        severity: Severity,
        lasts: Option<Duration>,
        proof: Proof,
        now: Timestamp,
    ) -> Noted {
        if let Some(known) = self.conditions.get_mut(&cause) {
            let was_over = known.cleared_at.take().is_some() || known.is_over(now);
            known.times = if was_over { 1 } else { known.times + 1 };
            known.proof = if was_over { proof } else { known.proof.max(proof) };
            known.severity = if was_over { severity } else { known.severity.max(severity) };
            known.heard_at = now.max(known.heard_at);
            known.text = meaning.text.clone();
            meaning.trap.clone_into(&mut known.trap);
            if !was_over {
                return Noted::Again;
            }
            known.raised_at = now;
            known.confirmed = false;
            if known.raises.len() >= FLAPS {
                known.raises.pop_front();
            }
            known.raises.push_back(now);
            return Noted::Raised;
        }
        if self.conditions.len() >= MAX_CONDITIONS {
            self.conditions.retain(|_, condition| !condition.is_over(now));
        }
        if self.conditions.len() >= MAX_CONDITIONS {
            // Whichever has no room is counted.
            self.leave_out(1, now);
            // What anybody can send must not keep out what a key proves.
            let weakest = if proof == Proof::Key { self.weakest() } else { None };
            let Some(weakest) = weakest else { return Noted::LeftOut };
            self.conditions.remove(&weakest);
        }
        let condition = Condition {
            trap: meaning.trap.to_owned(),
            text: meaning.text.clone(),
            severity,
            proof,
            raised_at: now,
            heard_at: now,
            times: 1,
            lasts,
            cleared_at: None,
            raises: VecDeque::from([now]),
            confirmed: false,
        };
        self.conditions.insert(cause, condition);
        Noted::Raised
    }

    /// The condition that rests on least: neither a key nor a poll vouches for it, and it was heard of
    /// longest ago.
    fn weakest(&self) -> Option<Cause> {
        let uncertain = self
            .conditions
            .iter()
            .filter(|(_, condition)| condition.proof == Proof::None && !condition.confirmed);
        let oldest = uncertain.min_by_key(|(cause, condition)| (condition.heard_at, *cause));
        oldest.map(|(cause, _)| cause.clone())
    }

    /// Notes that `count` traps of the device were dropped unread, the last one at `now`.
    pub fn leave_out(&mut self, count: u64, now: Timestamp) {
        let before = self.left_out.map_or(0, |(count, _)| count);
        self.left_out = Some((before.saturating_add(count), now));
    }

    /// Takes in what a poll at `read_at` says of a cause: that it is so, or that it is not. A poll that
    /// is older than the last trap about it says nothing.
    pub fn polled(&mut self, cause: &str, subject: &str, wrong: bool, read_at: Timestamp) {
        let named = |known: &Cause| known.name == cause && known.subject == subject;
        let found = self.conditions.iter_mut().find(|(known, _)| named(known));
        let Some((_, condition)) = found else { return };
        if read_at <= condition.moved_at() {
            return;
        }
        condition.confirmed = wrong;
        if wrong {
            condition.cleared_at = None;
        } else {
            condition.cleared_at = condition.cleared_at.or(Some(read_at));
        }
    }

    /// What a poll could say something about: causes with their subjects.
    pub fn open(&self) -> impl Iterator<Item = (&str, &str)> {
        self.conditions.keys().map(|cause| (cause.name.as_str(), cause.subject.as_str()))
    }

    /// Forgets what is long over at `now`.
    pub fn forget(&mut self, now: Timestamp) {
        self.conditions.retain(|_, condition| !condition.is_past(now));
        if self.left_out.is_some_and(|(_, at)| at.age(now) >= STORM_LASTS) {
            self.left_out = None;
        }
    }

    /// Whether nothing is wrong, nor was lately.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.left_out.is_none()
    }

    /// What is wrong at `now` about one part of the device: a verdict for each cause. What is over is
    /// not among them.
    #[must_use]
    pub fn verdicts(&self, about: About, now: Timestamp) -> Vec<Verdict> {
        let open = self
            .conditions
            .iter()
            .filter(|(cause, condition)| cause.about == about && !condition.is_over(now));
        let mut verdicts: Vec<Verdict> =
            open.map(|(cause, condition)| verdict(cause, condition, now)).collect();
        if let (About::Device, Some((count, at))) = (about, self.left_out) {
            let ago = spoken(at.age(now));
            let why = Text::new(
                format!("{count} traps more than are taken, the last {} ago", ago.en),
                format!("有 {count} 个陷阱超出接收限度，最近一个在 {}前", ago.zh),
            );
            verdicts.push(Verdict::new(THE_REST, Status::Warning, why));
        }
        verdicts
    }
}

fn verdict(cause: &Cause, condition: &Condition, now: Timestamp) -> Verdict {
    let subject = match cause.subject.as_str() {
        "" => cause.name.clone(),
        subject => format!("{} {subject}", cause.name),
    };
    let said = &condition.text;
    let why = if condition.flaps() {
        Text::new(format!("{}; it comes and goes", said.en), format!("{}，且反复出现", said.zh))
    } else {
        said.clone()
    };
    let mut verdict = Verdict::new(subject, condition.status(), why);
    let proof = match condition.proof {
        Proof::None => "without proof of its sender",
        Proof::Key => "proven by the sender's key",
    };
    let times = condition.times;
    let value = match spoken(condition.raised_at.age(now)).en {
        since if times > 1 => format!("{times} times, the first {since} ago; {proof}"),
        _ => proof.to_owned(),
    };
    verdict.evidence.push(Evidence {
        fact: format!("trap {}", condition.trap),
        value,
        read_at: Some(condition.heard_at),
    });
    verdict
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn raise(subject: &str, lasts: Option<Duration>) -> Meaning<'static> {
        Meaning {
            trap: "linkDown",
            cause: "link_down",
            subject: subject.to_owned(),
            about: About::Link,
            act: Act::Raise { severity: Severity::Critical, lasts },
            text: Text::new("down", "断开"),
        }
    }

    fn clear(subject: &str) -> Meaning<'static> {
        Meaning { trap: "linkUp", act: Act::Clear, ..raise(subject, None) }
    }

    fn after(seconds: u64) -> Timestamp {
        NOW + Duration::from_secs(seconds)
    }

    fn links(ledger: &Ledger, now: Timestamp) -> Vec<(String, Status)> {
        let verdicts = ledger.verdicts(About::Link, now);
        verdicts.into_iter().map(|verdict| (verdict.subject, verdict.status)).collect()
    }

    #[test]
    fn a_raise_is_open_until_its_clear_and_repetition_opens_nothing_new() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.note(&raise("7", None), Proof::Key, NOW), Noted::Raised);
        assert_eq!(ledger.note(&raise("7", None), Proof::Key, after(1)), Noted::Again);
        assert_eq!(ledger.note(&clear("8"), Proof::Key, after(2)), Noted::Nothing);
        assert_eq!(
            links(&ledger, after(1_000_000)),
            [("link_down 7".to_owned(), Status::Critical)]
        );
        assert_eq!(ledger.note(&clear("7"), Proof::Key, after(3)), Noted::Cleared);
        assert_eq!(links(&ledger, after(3)), []);
        ledger.forget(after(3) + FLAP_WINDOW);
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_anybody_can_forge_is_a_warning_at_most_until_a_poll_has_seen_it() {
        let mut ledger = Ledger::default();
        ledger.note(&raise("7", None), Proof::None, NOW);
        assert_eq!(links(&ledger, NOW)[0].1, Status::Warning);
        // Read before the trap came: it says nothing of it.
        ledger.polled("link_down", "7", false, NOW);
        assert_eq!(links(&ledger, NOW)[0].1, Status::Warning);
        ledger.polled("link_down", "7", true, after(30));
        assert_eq!(links(&ledger, after(30))[0].1, Status::Critical);
        ledger.polled("link_down", "7", false, after(60));
        assert_eq!(links(&ledger, after(60)), []);
    }

    #[test]
    fn a_poll_from_before_a_clear_does_not_open_what_is_over() {
        let mut ledger = Ledger::default();
        ledger.note(&raise("7", None), Proof::Key, NOW);
        ledger.polled("link_down", "7", true, after(30));
        ledger.note(&clear("7"), Proof::Key, after(40));
        ledger.polled("link_down", "7", true, after(30));
        assert_eq!(links(&ledger, after(41)), []);
        ledger.polled("link_down", "7", true, after(90));
        assert_eq!(links(&ledger, after(90)).len(), 1, "the next poll finds it down again");
    }

    #[test]
    fn a_clear_without_proof_does_not_end_what_was_raised_with_it() {
        let mut ledger = Ledger::default();
        ledger.note(&raise("7", None), Proof::None, NOW);
        ledger.note(&raise("7", None), Proof::Key, after(1));
        assert_eq!(ledger.note(&clear("7"), Proof::None, after(2)), Noted::Unproven);
        assert_eq!(links(&ledger, after(2)).len(), 1);
        assert_eq!(ledger.note(&clear("7"), Proof::Key, after(3)), Noted::Cleared);
    }

    #[test]
    fn what_comes_and_goes_stays_open_until_it_has_been_quiet() {
        let mut ledger = Ledger::default();
        for nth in 0..u64::try_from(FLAPS).unwrap() {
            assert_eq!(ledger.note(&raise("7", None), Proof::Key, after(nth * 2)), Noted::Raised);
            ledger.note(&clear("7"), Proof::Key, after(nth * 2 + 1));
            if nth < 2 {
                // Kept, or it could not be seen that it comes again.
                assert_eq!(links(&ledger, after(nth * 2 + 1)), []);
            }
        }
        assert_eq!(links(&ledger, after(6)).len(), 1);
        assert!(ledger.verdicts(About::Link, after(6))[0].why.en.contains("comes and goes"));
        assert_eq!(links(&ledger, after(5) + FLAP_SETTLES), []);
    }

    #[test]
    fn what_no_trap_ends_is_over_when_it_was_not_heard_for_its_length() {
        let mut ledger = Ledger::default();
        let hour = Duration::from_hours(1);
        ledger.note(&raise("", Some(hour)), Proof::None, NOW);
        ledger.note(&raise("", Some(hour)), Proof::None, after(1800));
        assert_eq!(links(&ledger, after(3600)).len(), 1);
        assert_eq!(links(&ledger, after(1800) + hour), []);
    }

    #[test]
    fn a_storm_is_bounded_and_says_how_much_it_was() {
        let mut ledger = Ledger::default();
        for nth in 0..MAX_CONDITIONS + 10 {
            ledger.note(&raise(&nth.to_string(), None), Proof::None, NOW);
        }
        assert_eq!(links(&ledger, NOW).len(), MAX_CONDITIONS);
        let rest = ledger.verdicts(About::Device, NOW);
        assert!(rest[0].why.en.starts_with("10 traps more"), "{:?}", rest[0].why);
        ledger.forget(NOW + STORM_LASTS);
        assert!(ledger.verdicts(About::Device, NOW + STORM_LASTS).is_empty());
    }

    #[test]
    fn a_ledger_full_of_forgeries_has_room_for_what_a_key_proves() {
        let mut ledger = Ledger::default();
        for nth in 0..MAX_CONDITIONS {
            let at = after(u64::try_from(nth).unwrap());
            ledger.note(&raise(&format!("forged {nth:02}"), None), Proof::None, at);
        }
        // The oldest of them, but that a poll has seen it too.
        ledger.polled("link_down", "forged 00", true, after(100));
        assert_eq!(ledger.note(&raise("7", None), Proof::None, after(101)), Noted::LeftOut);
        assert_eq!(ledger.note(&raise("7", None), Proof::Key, after(102)), Noted::Raised);
        let open: Vec<String> = links(&ledger, after(102)).into_iter().map(|(s, _)| s).collect();
        assert_eq!(open.len(), MAX_CONDITIONS);
        assert!(open.contains(&"link_down 7".to_owned()));
        assert!(open.contains(&"link_down forged 00".to_owned()));
        assert!(!open.contains(&"link_down forged 01".to_owned()), "the oldest without a witness");
        let rest = ledger.verdicts(About::Device, after(102));
        assert!(rest[0].why.en.starts_with("2 traps more"), "{:?}", rest[0].why);
        // One proven cause does not take the place of another.
        for nth in 0..MAX_CONDITIONS {
            ledger.note(&raise(&format!("proven {nth:02}"), None), Proof::Key, after(103));
        }
        assert_eq!(ledger.note(&raise("8", None), Proof::Key, after(104)), Noted::LeftOut);
        assert!(links(&ledger, after(104)).iter().any(|(subject, _)| subject == "link_down 7"));
    }

    proptest! {
        #[test]
        fn a_ledger_is_bounded_and_the_same_traps_give_the_same_one(
            steps in prop::collection::vec((0..100_u8, any::<bool>(), any::<bool>(), 0..400_u64), 0..300)
        ) {
            let run = || {
                let (mut ledger, mut now) = (Ledger::default(), NOW);
                for (subject, raises, key, wait) in &steps {
                    now = now + Duration::from_secs(*wait);
                    let subject = subject.to_string();
                    let meaning = if *raises { raise(&subject, None) } else { clear(&subject) };
                    let proof = if *key { Proof::Key } else { Proof::None };
                    ledger.note(&meaning, proof, now);
                    assert!(ledger.conditions.len() <= MAX_CONDITIONS);
                }
                (ledger, now)
            };
            let (ledger, now) = run();
            prop_assert_eq!(&ledger, &run().0);
            // The last trap about a subject decides, unless it had no proof, it flaps or found no room.
            for (subject, raises, key, _) in steps.iter().rev().take(1) {
                let open = links(&ledger, now).iter().any(|(s, _)| *s == format!("link_down {subject}"));
                if *raises {
                    prop_assert!(open || ledger.left_out.is_some());
                } else if *key {
                    let condition = ledger.conditions.iter().find(|(c, _)| c.subject == subject.to_string());
                    prop_assert!(!open || condition.is_some_and(|(_, c)| c.flaps()));
                }
            }
        }
    }
}
