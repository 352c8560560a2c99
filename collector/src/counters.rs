//! What the collector counts of itself: plain atomics, read by the metrics page. All of them begin
//! at zero when the process starts and only ever grow, but for those that say that they are a level.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub fn one(&self) {
        self.many(1);
    }

    /// Counts `count`.
    pub fn many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes one from a level.
    pub fn less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets a level.
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$each])* $word,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),*];

            /// The word in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }
        }

        impl Word for $name {
            const ALL: &'static [Self] = Self::ALL;
            fn as_str(self) -> &'static str { self.as_str() }
            fn index(self) -> usize { self as usize }
        }
    };
}

/// One of a closed list of words that something is counted by.
pub trait Word: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];
    /// The word in metrics.
    fn as_str(self) -> &'static str;
    /// Its place in the list.
    fn index(self) -> usize;
}

words! {
    /// What became of a report.
    ReportResult {
        /// Stored, and its facts are held.
        Accepted = "accepted",
        /// Stored before: acknowledged again.
        Duplicate = "duplicate",
        /// No report that this collector understands: the session was closed.
        Malformed = "malformed",
        /// Could not be stored: not acknowledged.
        NotStored = "not_stored",
    }
}

words! {
    /// Why a peer was turned away.
    AuthFailure {
        /// No TLS 1.3, or a handshake that failed in another way than those below.
        Handshake = "handshake",
        /// The certificate has ended, or has not begun.
        ExpiredCertificate = "expired_certificate",
        /// The certificate is not of our CA.
        ForeignCertificate = "foreign_certificate",
        /// The certificate is for another use.
        WrongPurpose = "wrong_purpose",
        /// The handshake took too long.
        Timeout = "timeout",
        /// A good certificate of a key that is not enrolled here.
        UnknownKey = "unknown_key",
        /// The key was revoked.
        Revoked = "revoked",
        /// Too many handshakes, connections or sessions from one source.
        TooMany = "too_many",
        /// Asked for enrolment more often than is allowed from one address.
        EnrolmentRate = "enrolment_rate",
        /// No such enrolment token.
        UnknownToken = "unknown_token",
        /// The token's time is over.
        ExpiredToken = "expired_token",
        /// The token was used by another key.
        SpentToken = "spent_token",
        /// The request for a certificate is malformed or its key is of another kind.
        BadRequest = "bad_request",
        /// A person refused the enrolment.
        Refused = "refused",
        /// Without a certificate, and asked for more than enrolment; or the reverse.
        WrongService = "wrong_service",
        /// A signature of a goodbye does not fit the certificate.
        BadSignature = "bad_signature",
    }
}

words! {
    /// How a push of orders ended.
    PushResult {
        /// Every stage passed.
        Done = "done",
        /// A host could not follow.
        Failed = "failed",
        /// A person stopped it.
        Cancelled = "cancelled",
    }
}

words! {
    /// Why reports are missing, as [`bailey_rules::report::LossReason`] says it.
    GapReason {
        /// The spool was full.
        SpoolFull = "spool_full",
        /// They grew too old in the spool.
        SpoolExpired = "spool_expired",
        /// The spool was damaged.
        SpoolDamaged = "spool_damaged",
        /// The spool was gone.
        SpoolLost = "spool_lost",
        /// Nobody said.
        Undeclared = "undeclared",
    }
}

words! {
    /// What became of a listing.
    ListingResult {
        /// It is stored and held.
        Held = "held",
        /// It is not what it says, or too much: the host has none now.
        Refused = "refused",
        /// There was no room for it on its way: the host is asked again.
        NoRoom = "no_room",
        /// It could not be stored: the host is asked again.
        NotStored = "not_stored",
        /// One of its parts was malformed.
        Malformed = "malformed",
    }
}

/// The most words of one list.
const MAX_WORDS: usize = 16;

/// One number for each word of a list.
#[derive(Debug)]
pub struct By<W> {
    counts: [Counter; MAX_WORDS],
    words: std::marker::PhantomData<fn(W)>,
}

impl<W: Word> Default for By<W> {
    fn default() -> Self {
        const { assert!(W::ALL.len() <= MAX_WORDS) };
        Self { counts: Default::default(), words: std::marker::PhantomData }
    }
}

impl<W: Word> By<W> {
    /// The number of one word.
    #[must_use]
    pub fn of(&self, word: W) -> &Counter {
        &self.counts[word.index()]
    }

    /// Every word with its number.
    pub fn each(&self) -> impl Iterator<Item = (W, u64)> {
        W::ALL.iter().map(|word| (*word, self.of(*word).get()))
    }
}

/// One number for each check that ever counted; there are as many as checks.
#[derive(Debug, Default)]
pub struct ByCheck(Mutex<BTreeMap<&'static str, u64>>);

impl ByCheck {
    /// Counts one for `check`.
    pub fn one(&self, check: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(check).or_default() += 1;
    }

    /// The number of `check`.
    #[must_use]
    pub fn of(&self, check: &str) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(check).copied().unwrap_or(0)
    }
}

/// Upper bounds of the buckets of a [`Histogram`], in microseconds.
pub const BUCKETS_MICROS: [u64; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// How long something took, in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS_MICROS.len()],
    count: Counter,
    sum_micros: Counter,
}

impl Histogram {
    /// Notes that something took `length`, `count` times.
    pub fn note(&self, length: Duration, count: u64) {
        let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        if let Some(at) = BUCKETS_MICROS.iter().position(|bound| micros <= *bound) {
            self.buckets[at].many(count);
        }
        self.count.many(count);
        self.sum_micros.many(micros.saturating_mul(count));
    }

    /// For each bucket its upper bound in seconds and how many took no longer than that.
    #[must_use]
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut sum = 0;
        BUCKETS_MICROS
            .iter()
            .zip(&self.buckets)
            .map(|(bound, bucket)| {
                sum += bucket.get();
                (*bound as f64 / 1e6, sum)
            })
            .collect()
    }

    /// How many were noted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// How long they took together, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros.get() as f64 / 1e6
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Open connections of agents with a certificate. A level.
    pub agents_connected: Counter,
    /// Open connections on the agents' address, enrolling ones too. A level.
    pub connections: Counter,
    /// Reports by what became of them.
    pub reports: By<ReportResult>,
    /// Octets of accepted reports.
    pub report_bytes: Counter,
    /// From the arrival of a report to its being on disk.
    pub report_duration: Histogram,
    /// Recorded gaps by reason.
    pub gaps: By<GapReason>,
    /// Reports lost in recorded gaps, by reason.
    pub lost_reports: By<GapReason>,
    /// Findings opened against the isolation of the zones, by check.
    pub isolation_violations: ByCheck,
    /// Facts of kinds that this version does not know.
    pub unknown_facts: Counter,
    /// How often a host was asked to send everything, because the digests differed.
    pub send_everything: Counter,
    /// How often a host was made to wait, because it sent more than its quota.
    pub quota_waits: Counter,
    /// Listings by what became of them.
    pub listings: By<ListingResult>,
    /// Peers turned away, by reason.
    pub auth_failures: By<AuthFailure>,
    /// Certificates issued, first ones and renewals.
    pub certificates_issued: Counter,
    /// Connections that ended in a panic of our own code.
    pub panics: Counter,
    /// Commits of the store.
    pub store_commits: Counter,
    /// Commits of the store that failed.
    pub store_failures: Counter,
    /// How long a commit took.
    pub store_commit_duration: Histogram,
    /// Octets of the store on disk. A level.
    pub store_bytes: Counter,
    /// Free octets of the file system that the store is on. A level.
    pub store_free_bytes: Counter,
    /// Snapshots written: a host's whole state in place of its log.
    pub snapshots: Counter,
    /// Judgements of hosts.
    pub judgements: Counter,
    /// How long one pass of judging took.
    pub judge_duration: Histogram,
    /// How long a look at the whole site took until every invariant was proved.
    pub proof_duration: Histogram,
    /// Events of the journal that a host's bound kept out.
    pub events_left_out: Counter,
    /// Changes of findings that could not be written in time and were left out of the store.
    pub findings_not_stored: Counter,
    /// Alerts taken by an Alertmanager.
    pub notifications: Counter,
    /// Attempts to reach an Alertmanager that failed.
    pub notifications_failed: Counter,
    /// Resolved alerts that were dropped, because an Alertmanager was away for too long.
    pub notifications_dropped: Counter,
    /// Pushes that ended, by how.
    pub pushes: By<PushResult>,
    /// Reloads of the policy and rule files that took effect.
    pub reloads: Counter,
    /// Reloads that were refused.
    pub reloads_refused: Counter,
}
