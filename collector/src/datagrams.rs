//! Sockets to which anybody can send: read by a thread of their own, everybody kept to his share, and
//! every datagram that is lost counted.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::linux::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::quota::{Bucket, Rate};

/// The most octets of one datagram (RFC 768).
const MAX_DATAGRAM: usize = 65_535;

/// Room for datagrams in the kernel, in octets: a third of a second of a flood.
const SOCKET_ROOM: usize = 8 * 1024 * 1024;

/// The most senders whose share is remembered; beyond it those are forgotten that have it whole.
const MAX_SHARES: usize = 8_192;

/// How long a thread waits for a datagram before it looks whether it is to end.
const WAIT: Duration = Duration::from_millis(200);

/// For how long a loss is told after it was seen last.
const LOSS_TOLD: Duration = Duration::from_mins(10);

/// A socket that a thread of its own will read.
pub(crate) struct Reader {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Reader {
    /// Listens at `address`.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(WAIT))?;
        // Without CAP_NET_ADMIN no more than `net.core.rmem_max` is given.
        let room = setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &SOCKET_ROOM)
            .or_else(|_| setsockopt(&socket.as_fd(), sockopt::RcvBuf, &SOCKET_ROOM));
        if let Err(error) = room {
            warn!(%error, %address, "the socket has the room that the system gives it");
        }
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same socket, for answers and for asking what the kernel dropped.
    pub(crate) fn socket(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    /// Starts the thread `name`: it gives every datagram with its sender to `take`, until the collector
    /// stops.
    pub(crate) fn start(
        self,
        name: &str,
        stop: CancellationToken,
        take: impl FnMut(&[u8], SocketAddr) + Send + 'static,
    ) -> io::Result<()> {
        let read = move || read_until(&self.socket, &stop, take);
        std::thread::Builder::new().name(name.to_owned()).spawn(read).map(drop)
    }
}

fn read_until(
    socket: &UdpSocket,
    stop: &CancellationToken,
    mut take: impl FnMut(&[u8], SocketAddr),
) {
    let mut datagram = vec![0; MAX_DATAGRAM];
    while !stop.is_cancelled() {
        match socket.recv_from(&mut datagram) {
            Ok((length, source)) => take(&datagram[..length], source),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted
                // An answer to somebody reached a closed port.
                | io::ErrorKind::ConnectionRefused => {}
                _ => {
                    warn!(%error, "a socket cannot be read now");
                    std::thread::sleep(WAIT);
                }
            },
        }
    }
}

/// How many datagrams the kernel has dropped because `socket` was not read in time (proc(5), the
/// last column of `/proc/net/udp`). `None` where the kernel does not say.
fn dropped_by_kernel(socket: &UdpSocket) -> Option<u64> {
    let place = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let inode = std::fs::metadata(place).ok()?.st_ino().to_string();
    let table = match socket.local_addr().ok()? {
        SocketAddr::V4(_) => "/proc/self/net/udp",
        SocketAddr::V6(_) => "/proc/self/net/udp6",
    };
    let text = std::fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let ours = columns.nth(9)? == inode;
        if ours { columns.last()?.parse().ok() } else { None }
    })
}

/// What is to be told of losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// More was lost: so much since that began, which was just now or before.
    More { lost: u64, begins: bool },
    /// Nothing was lost for [`LOSS_TOLD`].
    Over,
}

/// What was lost, and since when that is told.
#[derive(Debug)]
pub(crate) struct Losses {
    socket: Option<UdpSocket>,
    by_kernel: u64,
    /// What was ever lost when it was last looked.
    counted: u64,
    /// Lost since it is told.
    lost: u64,
    seen_at: Option<Instant>,
}

impl Losses {
    /// Nothing was lost yet. The kernel is asked about `socket`.
    pub(crate) const fn new(socket: Option<UdpSocket>) -> Self {
        Self { socket, by_kernel: 0, counted: 0, lost: 0, seen_at: None }
    }

    /// How many datagrams the kernel has dropped since it was last asked.
    pub(crate) fn by_kernel(&mut self) -> u64 {
        let Some(dropped) = self.socket.as_ref().and_then(dropped_by_kernel) else { return 0 };
        dropped.saturating_sub(std::mem::replace(&mut self.by_kernel, dropped))
    }

    /// Looks at the number of all that was ever lost; gives what is to be told now, if anything.
    pub(crate) fn look(&mut self, counted: u64, now: Instant) -> Option<Loss> {
        let more = counted.saturating_sub(std::mem::replace(&mut self.counted, counted));
        if more > 0 {
            let begins = self.seen_at.replace(now).is_none();
            self.lost = if begins { more } else { self.lost + more };
            return Some(Loss::More { lost: self.lost, begins });
        }
        let quiet = |at: &mut Instant| now.saturating_duration_since(*at) >= LOSS_TOLD;
        self.seen_at.take_if(quiet).map(|_| Loss::Over)
    }
}

/// How many datagrams of each sender that the site knows were dropped since that was last asked. Of
/// strangers there are as many as somebody makes up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dropped(Arc<Mutex<HashMap<IpAddr, u64>>>);

impl Dropped {
    pub(crate) fn one(&self, source: IpAddr) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() < MAX_SHARES || counts.contains_key(&source) {
            *counts.entry(source).or_default() += 1;
        }
    }

    /// The counts, and begins anew.
    pub(crate) fn take(&self) -> HashMap<IpAddr, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How much may be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// By each sender that the site knows.
    pub(crate) sender: Rate,
    /// By all together whom it does not know.
    pub(crate) strangers: Rate,
    /// By everybody.
    pub(crate) all: Rate,
}

/// Whose share is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The sender's own.
    Sender,
    /// That of all strangers.
    Strangers,
    /// Everybody's.
    All,
}

/// Everybody's share.
pub(crate) struct Shares {
    limits: Limits,
    senders: HashMap<IpAddr, Bucket>,
    strangers: Bucket,
    all: Bucket,
}

impl Shares {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            senders: HashMap::new(),
            strangers: Bucket::full(limits.strangers, now),
            all: Bucket::full(limits.all, now),
        }
    }

    /// Takes one from the share of `source`, or says whose share is used up. Who sends too much uses up
    /// nobody's share but his own.
    pub(crate) fn take(&mut self, source: IpAddr, known: bool, now: Instant) -> Result<(), Over> {
        let (own, over) = if known {
            if self.senders.len() >= MAX_SHARES && !self.senders.contains_key(&source) {
                self.senders.retain(|_, bucket| !bucket.is_full(now));
            }
            let full = || Bucket::full(self.limits.sender, now);
            (self.senders.entry(source).or_insert_with(full), Over::Sender)
        } else {
            (&mut self.strangers, Over::Strangers)
        };
        if !own.take(now) {
            return Err(over);
        }
        if self.all.take(now) { Ok(()) } else { Err(Over::All) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        sender: Rate { a_second: 50.0, burst: 500.0 },
        strangers: Rate { a_second: 20.0, burst: 200.0 },
        all: Rate { a_second: 2_000.0, burst: 10_000.0 },
    };

    #[test]
    fn who_floods_uses_up_his_own_share_and_nobody_elses() {
        let now = Instant::now();
        let mut shares = Shares::new(LIMITS, now);
        let (loud, quiet) = (IpAddr::from([10, 1, 0, 2]), IpAddr::from([10, 1, 0, 3]));
        let taken = (0..50_000).filter(|_| shares.take(loud, true, now).is_ok()).count();
        assert_eq!(taken, 500);
        assert_eq!(shares.take(loud, true, now), Err(Over::Sender));
        assert_eq!(shares.take(quiet, true, now), Ok(()));
        assert_eq!(shares.take(loud, true, now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn strangers_share_one_share_whatever_addresses_they_take() {
        let now = Instant::now();
        let mut shares = Shares::new(LIMITS, now);
        let strange = |nth: u32| IpAddr::from(nth.to_be_bytes());
        let taken =
            (0..50_000).filter(|nth| shares.take(strange(*nth), false, now).is_ok()).count();
        assert_eq!(taken, 200);
        assert_eq!(shares.take(strange(1), false, now), Err(Over::Strangers));
        assert_eq!(shares.take(IpAddr::from([10, 1, 0, 3]), true, now), Ok(()));
    }

    #[test]
    fn a_loss_is_told_while_it_goes_on_and_for_a_while_after_it() {
        let now = Instant::now();
        let mut losses = Losses::new(None);
        assert_eq!(losses.look(0, now), None);
        assert_eq!(losses.look(3, now), Some(Loss::More { lost: 3, begins: true }));
        assert_eq!(losses.look(5, now), Some(Loss::More { lost: 5, begins: false }));
        assert_eq!(losses.look(5, now + LOSS_TOLD / 2), None);
        assert_eq!(losses.look(5, now + LOSS_TOLD), Some(Loss::Over));
        assert_eq!(losses.look(5, now + LOSS_TOLD), None);
        let again = losses.look(6, now + LOSS_TOLD);
        assert_eq!(again, Some(Loss::More { lost: 1, begins: true }));
    }

    #[test]
    fn the_kernel_tells_exactly_what_it_dropped() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(dropped_by_kernel(&socket), Some(0));
        setsockopt(&socket.as_fd(), sockopt::RcvBuf, &0).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        for _ in 0..500 {
            sender.send(&[0; 1_000]).unwrap();
        }
        let mut read = 0;
        socket.set_nonblocking(true).unwrap();
        while socket.recv(&mut [0; 2_000]).is_ok() {
            read += 1;
        }
        assert!(read < 500);
        assert_eq!(dropped_by_kernel(&socket), Some(500 - read));
        let mut losses = Losses::new(Some(socket));
        assert_eq!((losses.by_kernel(), losses.by_kernel()), (500 - read, 0));
    }
}
