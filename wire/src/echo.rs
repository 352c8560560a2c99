//! Asks the far end of a line, and waits for what comes back.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bailey_rules::echo::{Echo, Family, TOKEN, without_header};
use bailey_rules::expectation::{Ask, By};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use rand::RngCore as _;
use tokio::net::UdpSocket;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

/// How long an answer of a line may take: one over satellites takes a second.
pub const LONGEST: Duration = Duration::from_secs(2);

/// How often a far end may be asked.
pub const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_mins(1);

/// The longest answer that is read: one with a header of IP before it, and some room.
const MAX_ANSWER: usize = 512;

/// Why a far end could not be asked. That says nothing of the line.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// The system lets this program send no echo requests.
    #[error(
        "this program may not send ICMP; set the sysctl net.ipv4.ping_group_range to its group, or \
         ask by UDP: `by: udp 33434`"
    )]
    NotAllowed,
    /// Something else of this machine is in the way.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Asks one far end, one question after the other.
#[derive(Debug)]
pub struct Asker {
    ask: Ask,
    longest: Duration,
    ping: Option<Ping>,
}

impl Asker {
    /// Asks nothing yet. An answer that takes longer than `longest` will be none.
    #[must_use]
    pub const fn new(ask: Ask, longest: Duration) -> Self {
        Self { ask, longest, ping: None }
    }

    /// Asks once. Gives how long the answer took; `None`: none came in time, or somebody on
    /// the way said that there is no way.
    ///
    /// # Errors
    /// When it could not be asked at all.
    pub async fn ask(&mut self) -> Result<Option<Duration>, EchoError> {
        let mut token = [0; TOKEN];
        rand::rng().fill_bytes(&mut token);
        let asked = match self.ask.by {
            By::Udp(port) => {
                let far = SocketAddr::new(self.ask.far, port.get());
                by_datagram(far, &token, self.longest).await
            }
            By::Icmp => {
                let ping = match self.ping.take() {
                    Some(ping) => ping,
                    None => match Ping::open(self.ask.far).await {
                        Ok(ping) => ping,
                        // Without a route there is no answer; the next question tries again.
                        Err(EchoError::System(error)) if is_of_the_way(&error) => return Ok(None),
                        Err(error) => return Err(error),
                    },
                };
                self.ping.insert(ping).ask(token, self.longest).await
            }
        };
        match asked {
            Err(error) if is_of_the_way(&error) => Ok(None),
            Err(error) => {
                // What is wrong with a socket may be over with the next one.
                self.ping = None;
                Err(error.into())
            }
            Ok(took) => Ok(took),
        }
    }
}

/// When a far end is to be asked: each `every`, from a random moment within the first on, so that not all
/// are asked in the same one. A turn that was missed is not made up for.
#[must_use]
pub fn turns(every: Duration) -> Interval {
    let first = rand::random_range(Duration::ZERO..every);
    let mut turns = interval_at(tokio::time::Instant::now() + first, every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// Whether an error says that packets do not get there: no route, a router's word, a filter here.
fn is_of_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
    )
}

/// Asks a port. A socket of its own each time: what comes late of an earlier question is not taken for
/// an answer to this one.
async fn by_datagram(
    far: SocketAddr,
    token: &[u8],
    longest: Duration,
) -> io::Result<Option<Duration>> {
    let any: IpAddr = match far {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(far).await?;
    let began = Instant::now();
    socket.send(token).await?;
    let mut answer = [0; MAX_ANSWER];
    match tokio::time::timeout(longest, socket.recv(&mut answer)).await {
        Ok(Ok(_)) => Ok(Some(began.elapsed())),
        // Nobody listens there: somebody is there who says so (RFC 1122 4.1.3.1).
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Ok(Some(began.elapsed())),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// A socket for echo requests (icmp(7)).
#[derive(Debug)]
struct Ping {
    socket: UdpSocket,
    family: Family,
    /// Whether it gets every packet of the protocol, with its header.
    is_raw: bool,
    identifier: u16,
    sequence: u16,
}

impl Ping {
    async fn open(far: IpAddr) -> Result<Self, EchoError> {
        let (family, domain, protocol) = match far {
            IpAddr::V4(_) => (Family::V4, AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (Family::V6, AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let open = |kind| socket(domain, kind, flags, protocol);
        let refused = |error: &Errno| matches!(error, Errno::EACCES | Errno::EPERM);
        // The kind that needs no privilege first: it hears answers to itself only.
        let (opened, is_raw): (OwnedFd, bool) = match open(SockType::Datagram) {
            Ok(opened) => (opened, false),
            Err(error) if refused(&error) => match open(SockType::Raw) {
                Ok(opened) => (opened, true),
                Err(error) if refused(&error) => return Err(EchoError::NotAllowed),
                Err(error) => return Err(EchoError::System(error.into())),
            },
            Err(error) => return Err(EchoError::System(error.into())),
        };
        let socket = UdpSocket::from_std(std::net::UdpSocket::from(opened))?;
        socket.connect((far, 0)).await?;
        let identifier = rand::random();
        Ok(Self { socket, family, is_raw, identifier, sequence: 0 })
    }

    async fn ask(&mut self, token: [u8; TOKEN], longest: Duration) -> io::Result<Option<Duration>> {
        self.sequence = self.sequence.wrapping_add(1);
        let asked = Echo { identifier: self.identifier, sequence: self.sequence, token };
        let began = Instant::now();
        self.socket.send(&asked.request(self.family)).await?;
        let answered = tokio::time::timeout(longest, self.answer(&asked)).await;
        answered.map_or(Ok(None), |answered| answered.map(|()| Some(began.elapsed())))
    }

    /// Waits for the answer to a question. What else comes is not looked at.
    async fn answer(&self, asked: &Echo) -> io::Result<()> {
        let mut octets = [0; MAX_ANSWER];
        loop {
            let length = self.socket.recv(&mut octets).await?;
            let octets = &octets[..length];
            let has_header = self.is_raw && self.family == Family::V4;
            let octets = if has_header { without_header(octets) } else { Some(octets) };
            let reply = octets.and_then(|octets| Echo::reply(octets, self.family));
            let is_it = reply.is_some_and(|reply| {
                // The kernel has put its own number there, and looks at it itself.
                let is_mine = !self.is_raw || reply.identifier == asked.identifier;
                is_mine && (reply.sequence, reply.token) == (asked.sequence, asked.token)
            });
            if is_it {
                return Ok(());
            }
        }
    }
}
