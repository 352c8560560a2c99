//! The rounds of the probes: each its own task with its own interval and time limit, all on one
//! beat, so that probes of the same interval share one report.

use std::sync::Arc;
use std::time::Duration;

use bailey_rules::fact::ProbeName;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use crate::assemble::Round;
use crate::clock::Clock;
use crate::probe::{Probe, Wake};
use crate::settings::Schedules;

/// The most rounds that wait to be taken up; a probe with another waits.
pub const MAX_ROUNDS: usize = 64;

/// News is read so long after the kernel told: what belongs together comes together.
const SETTLE: Duration = Duration::from_millis(50);

/// News in a row is read no more often than this; the first is read at once.
const BETWEEN_NEWS: Duration = Duration::from_millis(500);

/// Runs one probe until the receiver of its rounds is gone. `beat` is the common beginning of all
/// intervals; `schedules` may change at any time.
pub async fn run(
    mut probe: Box<dyn Probe>,
    beat: Instant,
    mut schedules: watch::Receiver<Schedules>,
    clock: Arc<dyn Clock>,
    rounds: mpsc::Sender<Round>,
) {
    let name = probe.name();
    let mut wake = Wake::Interval;
    let mut last_news: Option<Instant> = None;
    loop {
        let schedule = schedules.borrow_and_update().of(name);
        if read(&mut *probe, wake, schedule, &*clock, &rounds).await.is_err() {
            return;
        }
        if wake == Wake::Told {
            last_news = Some(Instant::now());
        }
        wake = tokio::select! {
            () = next_beat(beat, schedule.interval) => Wake::Interval,
            () = news(&mut *probe, last_news) => Wake::Told,
            changed = schedules.changed() => match changed {
                Ok(()) => Wake::Interval,
                Err(_) => return,
            },
            () = rounds.closed() => return,
        };
    }
}

async fn next_beat(beat: Instant, interval: Duration) {
    let passed = beat.elapsed().as_millis() / interval.as_millis().max(1) + 1;
    let beats = u32::try_from(passed).unwrap_or(u32::MAX);
    sleep_until(beat + interval.saturating_mul(beats)).await;
}

async fn news(probe: &mut dyn Probe, last: Option<Instant>) {
    probe.told().await;
    match last {
        Some(last) if last.elapsed() < BETWEEN_NEWS => sleep_until(last + BETWEEN_NEWS).await,
        Some(_) | None => sleep(SETTLE).await,
    }
}

/// Nobody takes up rounds any more.
struct Over;

/// One reading. After its time limit it counts as failed, but it is waited for: a probe that hangs
/// is not started a second time.
async fn read(
    probe: &mut dyn Probe,
    wake: Wake,
    schedule: crate::probe::Schedule,
    clock: &dyn Clock,
    rounds: &mpsc::Sender<Round>,
) -> Result<(), Over> {
    let name: ProbeName = probe.name();
    let read_at = clock.now();
    let began = Instant::now();
    let round = |facts| Round { probe: name, read_at, interval: schedule.interval, facts };
    let mut reading = probe.read(wake);
    let facts = tokio::select! {
        facts = &mut reading => facts,
        () = sleep(schedule.limit) => {
            let why = format!("no answer within {} s", schedule.limit.as_secs());
            warn!(probe = %name, "{why}");
            rounds.send(round(Err(why))).await.map_err(|_| Over)?;
            tokio::select! {
                late = reading => late,
                () = rounds.closed() => return Err(Over),
            }
        }
    };
    debug!(probe = %name, took = ?began.elapsed(), ?wake, "probe read");
    let facts = facts.map_err(|error| {
        warn!(probe = %name, %error, "the probe failed");
        error.0
    });
    rounds.send(round(facts)).await.map_err(|_| Over)
}

#[cfg(test)]
mod tests {
    use bailey_rules::fact::Fact;
    use bailey_rules::fact::host::Load;
    use futures::future::BoxFuture;

    use super::*;
    use crate::clock::SystemClock;
    use crate::probe::ProbeError;

    /// A probe whose readings take as long as they are told to.
    struct Slow {
        takes: Vec<Duration>,
        read: usize,
    }

    impl Probe for Slow {
        fn name(&self) -> ProbeName {
            ProbeName::Host
        }

        fn read(&mut self, _: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
            let takes = self.takes.get(self.read).copied().unwrap_or_default();
            self.read += 1;
            let one = u32::try_from(self.read).expect("few");
            Box::pin(async move {
                sleep(takes).await;
                Ok(vec![Fact::known("", Load { one, five: 0, fifteen: 0 })])
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_said_to_have_failed_and_is_not_started_twice() {
        let (send, mut rounds) = mpsc::channel(MAX_ROUNDS);
        let (_keep, schedules) = watch::channel(Schedules::default());
        let takes = vec![Duration::ZERO, Duration::from_mins(10)];
        let probe = Box::new(Slow { takes, read: 0 });
        tokio::spawn(run(probe, Instant::now(), schedules, Arc::new(SystemClock), send));
        let first = rounds.recv().await.expect("a round");
        assert!(first.facts.is_ok());
        let hung = rounds.recv().await.expect("a round");
        assert_eq!(hung.facts, Err("no answer within 10 s".into()));
        let late = rounds.recv().await.expect("a round");
        let second = Load { one: 2, five: 0, fifteen: 0 };
        assert_eq!(late.facts, Ok(vec![Fact::known("", second)]), "the same reading, late");
    }

    #[tokio::test(start_paused = true)]
    async fn readings_keep_the_common_beat() {
        let beat = Instant::now();
        sleep(Duration::from_secs(4)).await;
        let (send, mut rounds) = mpsc::channel(MAX_ROUNDS);
        let (_keep, schedules) = watch::channel(Schedules::default());
        let probe = Box::new(Slow { takes: Vec::new(), read: 0 });
        tokio::spawn(run(probe, beat, schedules, Arc::new(SystemClock), send));
        rounds.recv().await.expect("the first comes at once");
        assert_eq!(beat.elapsed().as_secs(), 4);
        rounds.recv().await.expect("a round");
        assert_eq!(beat.elapsed().as_secs(), 15);
        rounds.recv().await.expect("a round");
        assert_eq!(beat.elapsed().as_secs(), 30);
    }
}
