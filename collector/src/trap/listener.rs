//! The thread that reads the socket.
//!
//! It only ever reads, looks who sent, and hands on: it never waits for the store, and when more
//! comes than is taken, the surplus costs one `recvfrom(2)` and one look at a bucket each.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use bailey_rules::time::Timestamp;

use super::decode::{Notification, Receiver, Taken};
use crate::clock::SharedClock;
use crate::counters::{Counters, TrapResult};
use crate::datagrams::{Dropped, Limits, Over, Shares};
use crate::queue::Queue;
use crate::quota::Rate;
use crate::senders::Senders;

/// What one sender that the site knows may send: a switch of 48 ports that starts, and then some.
/// What strangers together, and everybody: every switch of a large site that loses its mains.
pub(super) const LIMITS: Limits = Limits {
    sender: Rate { a_second: 50.0, burst: 500.0 },
    strangers: Rate { a_second: 20.0, burst: 200.0 },
    all: Rate { a_second: 2_000.0, burst: 10_000.0 },
};

/// A trap on its way to the store.
pub(super) struct Received {
    pub(super) at: Timestamp,
    pub(super) source: SocketAddr,
    pub(super) notification: Box<Notification>,
}

/// What the thread needs.
pub(super) struct Listener {
    pub(super) socket: UdpSocket,
    pub(super) receiver: Receiver,
    pub(super) senders: Senders,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: SharedClock,
    pub(super) queue: Queue<Received>,
    pub(super) dropped: Dropped,
    pub(super) shares: Shares,
}

impl Listener {
    /// Takes one datagram.
    pub(super) fn take(&mut self, datagram: &[u8], source: SocketAddr) {
        let now = Instant::now();
        let address = source.ip().to_canonical();
        let known = self.senders.knows(address);
        if let Err(over) = self.shares.take(address, known, now) {
            if known {
                self.dropped.one(address);
            }
            let why = match over {
                Over::Sender => TrapResult::RateSender,
                Over::Strangers => TrapResult::RateStrangers,
                Over::All => TrapResult::RateAll,
            };
            return self.counters.traps.of(why).one();
        }
        let notification = match self.receiver.take(datagram, now) {
            Taken::Notification(notification) => notification,
            Taken::Dropped(why, answer) => {
                self.counters.traps.of(why).one();
                if let Some(answer) = answer {
                    // A sender that is gone needs no answer; another will ask again.
                    let _ = self.socket.send_to(&answer, source);
                }
                return;
            }
        };
        let received = Received { at: self.clock.now(), source, notification };
        if !self.queue.try_send(received, datagram.len()) {
            if known {
                self.dropped.one(address);
            }
            self.counters.traps.of(TrapResult::QueueFull).one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use bailey_rules::policy::Policy;

    use super::*;
    use crate::clock::SystemClock;
    use crate::queue::{Bounds, queue};

    #[test]
    fn what_strangers_lose_is_never_told_in_the_place_of_what_a_device_loses() {
        const POLICY: &str = "
site: jiaxing
zones:
  inner: {name: 内网, networks: [10.1.0.0/16]}
hosts:
  core-1: {zone: inner, addresses: [10.1.0.2]}
";
        let state = tempfile::tempdir().unwrap();
        let senders = Senders::new(BTreeMap::new());
        senders.set(&Policy::parse("policy.yaml", POLICY).unwrap(), std::iter::empty());
        let dropped = Dropped::default();
        let counters = Arc::new(Counters::default());
        let mut listener = Listener {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            receiver: Receiver::new(state.path(), &[]).unwrap(),
            senders,
            counters: Arc::clone(&counters),
            clock: Arc::new(SystemClock),
            queue: queue(Bounds { messages: 1, octets: 1 }).0,
            dropped: dropped.clone(),
            shares: Shares::new(LIMITS, Instant::now()),
        };
        let core = IpAddr::from([10, 1, 0, 2]);
        // As many addresses as somebody makes up.
        for nth in 0..20_000_u32 {
            listener
                .take(b"x", SocketAddr::new(IpAddr::from((0x0b00_0000 + nth).to_be_bytes()), 9));
        }
        for _ in 0..1_000 {
            listener.take(b"x", SocketAddr::new(core, 9));
        }
        let (strangers, sender) = (TrapResult::RateStrangers, TrapResult::RateSender);
        assert!(counters.traps.of(strangers).get() > 19_000);
        let lost = counters.traps.of(sender).get();
        assert!(lost > 0);
        assert_eq!(dropped.take().into_iter().collect::<Vec<_>>(), [(core, lost)]);
    }
}
