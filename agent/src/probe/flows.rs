//! The connections that this host has seen in the last days, from the kernel's connection tracking;
//! needs `CAP_NET_ADMIN`.
//!
//! The kernel tells of each connection when its first packet has passed ([`conntrack`]); what was open
//! before is read at the start, and again after the kernel had more to tell than was read. Everything
//! is summed up at once ([`book`]): there is no list of single connections anywhere.
//!
//! Cannot know: connections of other network namespaces, those that a filter of this host dropped,
//! and all of them where nothing asks the kernel to track: a ruleset of Bailey does, one that only
//! observes too. Of a connection that was open before tracking began, who opened it is guessed from
//! the ports.

mod book;
mod conntrack;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::fact::{Fact, FactKind, ProbeName};
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use self::book::Book;
use self::conntrack::{Listener, Told};
use super::{Probe, ProbeError, Roots, Wake};
use crate::clock::Clock;

/// The file in the agent's state folder.
const FILE: &str = "flows.json";
/// The longest file that is read back, in octets.
const MAX_FILE: u64 = 1024 * 1024;
/// The most news taken up in one [`TURN`]. Beyond it the kernel keeps what fits into its buffer and
/// then says that there was more.
const MAX_NEWS: u32 = 2_000;
/// How long the kernel may tell of [`MAX_NEWS`] connections.
const TURN: Duration = Duration::from_secs(1);

/// The probe `flows`.
pub struct FlowsProbe {
    roots: Roots,
    clock: Arc<dyn Clock>,
    file: Option<PathBuf>,
    book: Book,
    /// What of the book is on the disk, as facts.
    kept: Vec<Fact>,
    listener: Option<Listener>,
    /// What was open before, or was missed, is still to be read.
    behind: bool,
    turn: Turn,
}

/// News counted within one length of time.
struct Turn {
    began: Instant,
    taken: u32,
}

impl std::fmt::Debug for FlowsProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowsProbe").field("book", &self.book).finish_non_exhaustive()
    }
}

impl FlowsProbe {
    /// Watches the network namespace that the calling thread is in. What it has seen is lost at the
    /// end of the process unless [`FlowsProbe::remembering_in`] names a folder.
    #[must_use]
    pub fn new(roots: &Roots, clock: Arc<dyn Clock>) -> Self {
        Self {
            roots: roots.clone(),
            book: Book::new(clock.now()),
            clock,
            file: None,
            kept: Vec::new(),
            listener: None,
            behind: true,
            turn: Turn { began: Instant::now(), taken: 0 },
        }
    }

    /// Keeps what it has seen in `state`, the agent's own folder.
    #[must_use]
    pub fn remembering_in(mut self, state: &Path) -> Self {
        let path = state.join(FILE);
        match read_back(&path) {
            Ok(book) => self.book = book,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                warn!(path = %path.display(), %error, "the connections seen before are lost");
            }
        }
        self.file = Some(path);
        self
    }

    async fn facts(&mut self) -> Vec<Fact> {
        let silent = self.look().await.err();
        let now = self.clock.now();
        self.book.forget_old(now);
        let mut facts = self.book.facts();
        self.keep(&facts);
        facts.push(match silent {
            Some(why) => Fact::unreadable(FactKind::FlowWatch, "", why),
            None => Fact::known("", self.book.watch()),
        });
        facts
    }

    /// Listens if that is not done yet, and reads what is open where something may have been missed.
    async fn look(&mut self) -> Result<(), String> {
        let tracked = self.tracked()?;
        // Listening begins before reading: what is opened in between is told, not missed.
        if self.listener.is_none() {
            self.listener = Some(Listener::new().map_err(|error| conntrack::said(&error))?);
            self.behind = true;
        }
        if self.behind {
            let now = self.clock.now();
            let open = conntrack::open_now().await.map_err(|error| conntrack::said(&error))?;
            for flow in open {
                self.book.note_open(flow, now);
            }
            self.behind = false;
        }
        if tracked == 0 {
            return Err("the kernel tracks no connection: nothing here asks it to".to_owned());
        }
        Ok(())
    }

    /// How many connections the kernel tracks in this namespace (nf_conntrack-sysctl.rst).
    fn tracked(&self) -> Result<u64, String> {
        let path = self.roots.proc.join("sys/net/netfilter/nf_conntrack_count");
        let text = fs::read_to_string(path)
            .map_err(|_| "the kernel does not track connections (no nf_conntrack)".to_owned())?;
        text.trim().parse().map_err(|_| "nf_conntrack_count is no number".to_owned())
    }

    /// Writes what changed. Since facts are coarse, a quiet host writes once an hour.
    fn keep(&mut self, facts: &[Fact]) {
        let Some(path) = self.file.as_ref().filter(|_| facts != self.kept) else { return };
        match write(path, &self.book) {
            Ok(()) => facts.clone_into(&mut self.kept),
            // It is tried again at the next reading.
            Err(error) => warn!(path = %path.display(), %error, "connections cannot be kept"),
        }
    }

    /// Takes up news for as long as it comes. Cancel-safe: what was not taken up waits in the kernel.
    async fn listen(&mut self) {
        loop {
            let Some(listener) = &mut self.listener else { return std::future::pending().await };
            if self.turn.began.elapsed() >= TURN {
                self.turn = Turn { began: Instant::now(), taken: 0 };
            }
            if self.turn.taken >= MAX_NEWS {
                sleep_until(self.turn.began + TURN).await;
                continue;
            }
            match listener.told().await {
                Ok(Told::Opened(flows)) => {
                    let now = self.clock.now();
                    self.turn.taken = self
                        .turn
                        .taken
                        .saturating_add(u32::try_from(flows.len()).unwrap_or(u32::MAX));
                    for flow in flows {
                        self.book.note(flow, now);
                    }
                }
                Ok(Told::Overrun) => {
                    self.book.note_overrun();
                    self.behind = true;
                }
                Err(error) => {
                    warn!(%error, "no news of connections until the next reading");
                    self.listener = None;
                }
            }
        }
    }
}

fn read_back(path: &Path) -> io::Result<Book> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Book::from_text(&text)
}

/// Writes the file whole or not at all.
fn write(path: &Path, book: &Book) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(book.to_text().as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

impl Probe for FlowsProbe {
    fn name(&self) -> ProbeName {
        ProbeName::Flows
    }

    fn read(&mut self, _: Wake) -> BoxFuture<'_, Result<Vec<Fact>, ProbeError>> {
        Box::pin(async { Ok(self.facts().await) })
    }

    fn told(&mut self) -> BoxFuture<'_, ()> {
        // A new flow is no alarm: it is taken up now and reported at the interval.
        Box::pin(self.listen())
    }
}
