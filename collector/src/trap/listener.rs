//! The thread that reads the socket.
//!
//! It only ever reads, looks who sent, and hands on: it never waits for the store, and when more
//! comes than is taken, the surplus costs one `recvfrom(2)` and one look at a bucket each.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use bailey_rules::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::decode::{Notification, Receiver, Taken};
use crate::clock::SharedClock;
use crate::counters::{Counters, TrapResult};
use crate::datagrams::{Dropped, Limits, Over, Shares, read_until};
use crate::quota::Rate;
use crate::senders::Senders;

/// What one sender that the site knows may send: a switch of 48 ports that starts, and then some.
/// What strangers together, and everybody: every switch of a large site that loses its mains.
const LIMITS: Limits = Limits {
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
    pub(super) queue: mpsc::Sender<Received>,
    pub(super) dropped: Dropped,
}

impl Listener {
    /// Reads until the collector stops.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        let mut shares = Shares::new(LIMITS, Instant::now());
        let Ok(socket) = self.socket.try_clone() else { return };
        read_until(&socket, stop, |datagram, source| self.take(datagram, source, &mut shares));
    }

    fn take(&mut self, datagram: &[u8], source: SocketAddr, shares: &mut Shares) {
        let now = Instant::now();
        let address = source.ip().to_canonical();
        if let Err(over) = shares.take(address, self.senders.knows(address), now) {
            self.dropped.one(address);
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
        if self.queue.try_send(received).is_err() {
            self.dropped.one(address);
            self.counters.traps.of(TrapResult::QueueFull).one();
        }
    }
}
