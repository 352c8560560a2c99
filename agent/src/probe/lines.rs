//! The probe `lines`: how well lines carry packets whose far ends the settings name.
//!
//! | what | from where | told of changes |
//! |---|---|---|
//! | loss, round trip, silence | the far ends, asked by ICMP or UDP | yes: one falls silent, or answers |
//!
//! Each far end has a task that asks one packet at a time; reading is looking at what was noted. It
//! cannot know on which way there a packet was lost, nor whether it was on the way back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailey_rules::device::quality::Quality;
use bailey_rules::fact::lines::LineQuality;
use bailey_rules::fact::{Fact, FactKind, ProbeName};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_wire::echo::{Asker, LONGEST, turns};
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::error;

use super::{Probe, ProbeError, Wake};
use crate::settings::{FarEnd, Lines};

/// So many packets in a row without an answer are news; fewer are loss.
const SILENT: u32 = 3;

/// A far end that was not asked for this long, or for so many intervals, is not known any more.
const OVERDUE: Duration = Duration::from_secs(30);
/// See [`OVERDUE`].
const OVERDUE_INTERVALS: u32 = 3;

/// Asks far ends, and reads what came of it.
#[derive(Debug)]
pub struct LinesProbe {
    lines: Vec<Line>,
    every: Duration,
    clock: Steady,
    turned: Arc<Notify>,
    tasks: JoinSet<()>,
}

/// One line: its far end, what was noted of it, and who asks.
#[derive(Debug)]
struct Line {
    end: FarEnd,
    noted: Noted,
    task: Option<AbortHandle>,
}

/// What was noted of a far end. One task writes, the probe reads.
#[derive(Debug, Clone)]
struct Noted(Arc<Mutex<Quality>>);

impl Noted {
    fn lock(&self) -> MutexGuard<'_, Quality> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host's clock at the start, and from there on the time that has passed: no step of the clock
/// makes a line silent.
#[derive(Debug, Clone, Copy)]
struct Steady {
    at: Timestamp,
    began: Instant,
}

impl Steady {
    fn now(self) -> Timestamp {
        self.at + self.began.elapsed()
    }
}

impl LinesProbe {
    /// A probe of these lines; `now` is the time of the host's clock. It begins to ask when it is first
    /// read.
    #[must_use]
    pub fn new(settings: &Lines, now: Timestamp) -> Self {
        let line = |end: &FarEnd| Line {
            end: end.clone(),
            noted: Noted(Arc::new(Mutex::new(Quality::new(end.ask, [])))),
            task: None,
        };
        Self {
            lines: settings.far_ends.iter().map(line).collect(),
            every: settings.interval,
            clock: Steady { at: now, began: Instant::now() },
            turned: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Has every far end asked.
    fn begin(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(failed) = ended {
                error!(%failed, "a far end was not asked any more, by a fault of ours");
            }
        }
        for line in &mut self.lines {
            if line.task.as_ref().is_none_or(AbortHandle::is_finished) {
                let (noted, turned) = (line.noted.clone(), Arc::clone(&self.turned));
                let asking = ask(line.end.clone(), self.every, self.clock, noted, turned);
                line.task = Some(self.tasks.spawn(asking));
            }
        }
    }
}

impl Probe for LinesProbe {
    fn name(&self) -> ProbeName {
        ProbeName::Lines
    }

    fn read(&mut self, _wake: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
        Box::pin(async {
            self.begin();
            let now = self.clock.now();
            let fact = |line: &Line| fact(&line.end.name, &line.noted.lock(), self.every, now);
            Ok(self.lines.iter().map(fact).collect())
        })
    }

    fn told(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.turned.notified())
    }
}

/// Asks one far end until the probe is gone.
async fn ask(end: FarEnd, every: Duration, clock: Steady, noted: Noted, turned: Arc<Notify>) {
    let mut asker = Asker::new(end.ask, LONGEST);
    let mut turns = turns(every);
    loop {
        turns.tick().await;
        let answer = asker.ask().await;
        let mut quality = noted.lock();
        let before = quality.standing(SILENT);
        match answer {
            Ok(took) => quality.note(clock.now(), took),
            Err(error) => quality.fail(Text::quoted(error.to_string())),
        }
        if quality.standing(SILENT) != before {
            turned.notify_one();
        }
    }
}

fn fact(line: &str, quality: &Quality, every: Duration, now: Timestamp) -> Fact {
    if let Some(why) = &quality.failed {
        return Fact::unreadable(FactKind::LineQuality, line, &why.en);
    }
    let age = quality.asked_at().map(|at| at.age(now)).unwrap_or_default();
    if age > OVERDUE.max(every * OVERDUE_INTERVALS) {
        let why = format!("{} was not asked for {} s", quality.ask, age.as_secs());
        return Fact::unreadable(FactKind::LineQuality, line, why);
    }
    Fact::known(line, LineQuality::from(quality))
}

#[cfg(test)]
mod tests {
    use bailey_rules::expectation::{Ask, By};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_415_520_000);
    const EVERY: Duration = Duration::from_secs(3);

    fn quality() -> Quality {
        Quality::new(Ask { far: "10.254.0.1".parse().unwrap(), by: By::Icmp }, [])
    }

    #[test]
    fn a_packet_that_is_lost_is_no_news_and_three_in_a_row_are() {
        let mut quality = quality();
        let mut turns = Vec::new();
        let took = Some(Duration::from_millis(18));
        let answers = [took, took, None, None, took, None, None, None, None, took];
        for (nth, answer) in (0_u32..).zip(answers) {
            let before = quality.standing(SILENT);
            quality.note(NOW + EVERY * nth, answer);
            if quality.standing(SILENT) != before {
                turns.push(nth);
            }
        }
        assert_eq!(turns, [0, 7, 9], "it answers, is silent, answers again");
    }

    #[test]
    fn a_far_end_that_is_not_asked_any_more_is_not_known() {
        let mut quality = quality();
        let read = |quality: &Quality, seconds| {
            let now = NOW + Duration::from_secs(seconds);
            fact("county", quality, EVERY, now).reading.known().is_some()
        };
        assert!(read(&quality, 600), "that it was not asked yet is known");
        quality.note(NOW, None);
        assert!(read(&quality, 30) && !read(&quality, 31));
        quality.fail(Text::quoted("this program may not send ICMP"));
        assert!(!read(&quality, 0));
    }
}
