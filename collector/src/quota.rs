//! How much of something one peer may have: a bucket that refills, with room for a burst.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bucket that refills steadily.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate: Rate,
    /// What is left. Below zero: what was lent.
    level: f64,
    at: Instant,
}

/// How fast a bucket refills and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) a_second: f64,
    pub(crate) burst: f64,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, level: rate.burst, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * self.rate.a_second).min(self.rate.burst);
        self.at = now;
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let enough = self.level >= 1.0;
        if enough {
            self.level -= 1.0;
        }
        enough
    }

    /// Takes `amount`, lent if need be; gives how long to wait until nothing is owed.
    pub(crate) fn spend(&mut self, amount: f64, now: Instant) -> Duration {
        self.refill(now);
        self.level -= amount;
        if self.level >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.level / self.rate.a_second).unwrap_or(Duration::MAX)
    }

    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level >= self.rate.burst
    }
}

/// The most addresses that are remembered. When it is full of addresses that asked lately, further
/// ones are refused: that many askers at once are no site.
const MAX_SOURCES: usize = 8_192;

/// A bucket for each address. This machine's own addresses are not bounded.
#[derive(Debug)]
pub(crate) struct BySource {
    rate: Rate,
    buckets: HashMap<IpAddr, Bucket>,
}

impl BySource {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Takes one from the bucket of `source`, if there is one.
    pub(crate) fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let source = network_of(source);
        if source.is_loopback() {
            return true;
        }
        if self.buckets.len() >= MAX_SOURCES && !self.buckets.contains_key(&source) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= MAX_SOURCES {
                return false;
            }
        }
        let rate = self.rate;
        self.buckets.entry(source).or_insert_with(|| Bucket::full(rate, now)).take(now)
    }
}

/// Whom an address counts as: an IPv6 host can take any address of its /64 (RFC 4291 2.5.4).
pub(crate) fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let network = u128::from(v6) & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
        other => other,
    }
}

/// How many places each source holds now. This machine's own addresses are not bounded.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<PlacesHeld>);

#[derive(Debug)]
struct PlacesHeld {
    most: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Places {
    /// At most `most` places for one source.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(PlacesHeld { most, taken: Mutex::default() }))
    }

    /// One more place for `source`; `None` when it has enough.
    pub(crate) fn take(&self, source: IpAddr) -> Option<Place> {
        let source = network_of(source);
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(source).or_default();
        if *count >= self.0.most && !source.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place { of: self.clone(), source })
    }
}

/// One place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Places,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_A_MINUTE: Rate = Rate { a_second: 10.0 / 60.0, burst: 10.0 };

    #[test]
    fn ten_a_minute_are_ten_at_once_and_then_one_in_six_seconds() {
        let now = Instant::now();
        let mut bucket = Bucket::full(TEN_A_MINUTE, now);
        assert_eq!((0..20).filter(|_| bucket.take(now)).count(), 10);
        assert!(!bucket.take(now + Duration::from_secs(5)));
        assert!(bucket.take(now + Duration::from_secs(7)));
    }

    #[test]
    fn what_is_lent_is_waited_for() {
        let now = Instant::now();
        let mut bucket = Bucket::full(Rate { a_second: 100.0, burst: 10.0 }, now);
        assert_eq!(bucket.spend(10.0, now), Duration::ZERO);
        assert_eq!(bucket.spend(50.0, now), Duration::from_millis(500));
        assert_eq!(bucket.spend(0.0, now + Duration::from_millis(500)), Duration::ZERO);
    }

    #[test]
    fn one_source_does_not_use_up_what_is_anothers() {
        let now = Instant::now();
        let mut sources = BySource::new(TEN_A_MINUTE);
        let greedy = "10.1.0.9".parse().unwrap();
        assert_eq!((0..50).filter(|_| sources.take(greedy, now)).count(), 10);
        assert!(sources.take("10.1.0.10".parse().unwrap(), now));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let now = Instant::now();
        let mut sources = BySource::new(TEN_A_MINUTE);
        let taken = (0..50_u16)
            .filter(|host| sources.take(format!("fd00:1::{host:x}").parse().unwrap(), now))
            .count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn addresses_that_ask_no_more_are_forgotten() {
        let now = Instant::now();
        let mut sources = BySource::new(TEN_A_MINUTE);
        for host in 0..u32::try_from(MAX_SOURCES).unwrap() {
            assert!(sources.take(IpAddr::V4((0x0a00_0000 + host).into()), now));
        }
        let late = "10.200.0.1".parse().unwrap();
        assert!(!sources.take(late, now));
        assert!(sources.take(late, now + Duration::from_mins(1)));
    }

    #[test]
    fn one_source_cannot_take_every_place() {
        let places = Places::new(3);
        let greedy: IpAddr = "10.1.0.9".parse().unwrap();
        let mut held: Vec<_> = (0..3).map(|_| places.take(greedy).unwrap()).collect();
        assert!(places.take(greedy).is_none());
        assert!(places.take("10.1.0.10".parse().unwrap()).is_some());
        held.pop();
        assert!(places.take(greedy).is_some());
    }

    #[test]
    fn the_count_of_a_source_goes_when_its_places_go() {
        let places = Places::new(3);
        drop(places.take("10.1.0.9".parse().unwrap()));
        assert!(places.0.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn this_machine_itself_is_not_bounded() {
        let places = Places::new(1);
        let held: Vec<_> = (0..10).map(|_| places.take("127.0.0.1".parse().unwrap())).collect();
        assert!(held.iter().all(Option::is_some));
    }
}
