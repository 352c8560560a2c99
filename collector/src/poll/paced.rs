//! Gentle asking: after each answer a device is left alone for as long as the answer took, so that old
//! switches spend at most half of their time on us; and for longer while answers are lost.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::poll::oid::Oid;
use crate::poll::snmp::{Snmp, SnmpError, VarBinds};
use crate::poll::value::{Value, VarBind};

/// The longest pause between an answer and the next question.
pub const LONGEST_GAP: Duration = Duration::from_millis(500);

/// The pause after the first lost answer; it doubles with each further one.
const FIRST_GAP: Duration = Duration::from_millis(20);

/// A shorter pause is none: timers are not finer.
const NO_GAP: Duration = Duration::from_millis(2);

/// What was learnt of a device's speed. It is kept from one poll to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// How long its last answer took.
    answer: Duration,
    /// How long it is left alone besides, after losses.
    lost: Duration,
}

impl Pace {
    /// How long the device is left alone before the next question.
    #[must_use]
    pub fn gap(&self) -> Duration {
        let gap = self.answer.max(self.lost).min(LONGEST_GAP);
        if gap < NO_GAP { Duration::ZERO } else { gap }
    }

    /// It answered within `took`.
    pub fn answered(&mut self, took: Duration) {
        self.answer = took;
        self.lost = self.lost * 3 / 4;
    }

    /// It did not answer, and may have been asked too fast.
    pub fn silent(&mut self) {
        self.lost = (self.lost * 2).clamp(FIRST_GAP, LONGEST_GAP);
    }
}

/// A session that asks at the pace of its device.
pub struct Paced<S> {
    session: S,
    pace: Mutex<Pace>,
}

impl<S: Snmp> Paced<S> {
    /// `session`, asked at this pace.
    #[must_use]
    pub fn new(session: S, pace: Pace) -> Self {
        Self { session, pace: Mutex::new(pace) }
    }

    /// The session itself again.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.session
    }

    /// What was learnt meanwhile.
    #[must_use]
    pub fn pace(&self) -> Pace {
        *self.held()
    }

    fn held(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, SnmpError>>,
    ) -> Result<T, SnmpError> {
        let gap = self.pace().gap();
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
        let began = Instant::now();
        let answer = question.await;
        match &answer {
            Err(SnmpError::Silent { .. }) => self.held().silent(),
            // An error is an answer too.
            Ok(_) | Err(_) => self.held().answered(began.elapsed()),
        }
        answer
    }
}

impl<S: Snmp> Snmp for Paced<S> {
    fn knows_bulk(&self) -> bool {
        self.session.knows_bulk()
    }

    async fn get(&self, names: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        self.ask(self.session.get(names)).await
    }

    async fn get_next(&self, names: &[Oid]) -> Result<Vec<VarBind>, SnmpError> {
        self.ask(self.session.get_next(names)).await
    }

    async fn get_bulk(&self, names: &[Oid], repetitions: u16) -> Result<VarBinds, SnmpError> {
        self.ask(self.session.get_bulk(names, repetitions)).await
    }

    async fn set(&self, name: &Oid, value: &Value) -> Result<(), SnmpError> {
        self.ask(self.session.set(name, value)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_device_is_left_alone_as_long_as_it_took() {
        let mut pace = Pace::default();
        assert_eq!(pace.gap(), Duration::ZERO);
        pace.answered(Duration::from_millis(60));
        assert_eq!(pace.gap(), Duration::from_millis(60));
        pace.answered(Duration::from_secs(9));
        assert_eq!(pace.gap(), LONGEST_GAP);
        pace.answered(Duration::from_micros(300));
        assert_eq!(pace.gap(), Duration::ZERO);
    }

    #[test]
    fn losses_slow_down_and_answers_speed_up_again() {
        let mut pace = Pace::default();
        for _ in 0..20 {
            pace.silent();
        }
        assert_eq!(pace.gap(), LONGEST_GAP);
        for _ in 0..40 {
            pace.answered(Duration::ZERO);
        }
        assert_eq!(pace.gap(), Duration::ZERO);
    }
}
