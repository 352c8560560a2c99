//! The Unix socket of the enforcer: who may speak to it, what they say, and what they hear.
//!
//! One connection, one request: a line of JSON, behind it the octets of a signed order where the
//! request is one, and a line of JSON in answer. The kernel says who is at the other end
//! (`SO_PEERCRED`, unix(7)): root, or the user whom the agent runs as.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::fact::enforcement::{OtherChange, WayRound};
use bailey_rules::name::HostKey;
use bailey_rules::policy::Mode;
use bailey_wire::order::MAX_SIGNED;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::drift::Drift;
use super::state::{Happened, OrderRef, Pending, Quarantined};

/// The longest request, in octets, without the order behind it.
const MAX_REQUEST: u64 = 8 * 1024;
/// The longest answer, in octets: a status with a difference of as many lines as there may be.
const MAX_ANSWER: u64 = 256 * 1024;
/// The most connections of root at a time, and of the agent; one more is closed at once.
const MAX_CONNECTIONS: usize = 8;
/// The most requests that wait; a connection beyond waits with its own.
pub(super) const MAX_WAITING: usize = 4;
/// How long the other side may take to say what it wants.
const SAY_LIMIT: Duration = Duration::from_secs(10);
/// The longest that a watch waits for a change; it is then answered with how things stand.
const WATCH_LIMIT: Duration = Duration::from_mins(1);
/// How long a client waits for an answer: checking and loading a ruleset takes its time.
const ANSWER_LIMIT: Duration = Duration::from_mins(3);
/// How long nothing is taken after the system refused a connection.
const REST: Duration = Duration::from_millis(100);

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// To follow the signed order that comes behind this line.
    Apply {
        /// How many octets it has.
        octets: usize,
    },
    /// To keep what waits to be confirmed.
    Confirm(OrderRef),
    /// What is in force.
    Status,
    /// What is in force, as soon as that is no longer what was `seen`, and within a minute.
    Watch {
        /// The [`Status::mark`] of what is known already.
        seen: u64,
    },
    /// To follow the orders of this key, and which host this is. Only root, and only once.
    Pin {
        /// The public key in PEM form.
        key: String,
        /// The host.
        host: HostKey,
    },
}

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done; this is how things stand now.
    Done(Box<Status>),
    /// It was not done, and nothing has changed.
    Refused {
        /// Which error.
        error: Refusal,
        /// Why, in words.
        why: String,
    },
}

/// The errors by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The other side may not ask this.
    NotAllowed,
    /// The request is not understood.
    BadRequest,
    /// No key is pinned.
    NotPinned,
    /// A key is pinned already.
    AlreadyPinned,
    /// The order is damaged, forged, out of bounds or of a newer kind.
    BadOrder,
    /// Another key signed the order.
    WrongKey,
    /// The order is for another host.
    WrongHost,
    /// The order is not newer than all that were seen.
    Older,
    /// The order came too late.
    Expired,
    /// The text reaches beyond our table.
    BadText,
    /// The host is in quarantine.
    InQuarantine,
    /// The end of a quarantine is not in its bounds.
    QuarantineLength,
    /// That order does not wait to be confirmed.
    NotPending,
    /// The kernel refused the ruleset.
    KernelRefused,
    /// There is no room on the disk.
    FullDisk,
    /// Something else is wrong with the state folder.
    Disk,
    /// nft did not answer; the ruleset before was put back.
    Unsure,
}

impl Refusal {
    /// The name of the error on the wire, in the API and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::BadRequest => "bad_request",
            Self::NotPinned => "not_pinned",
            Self::AlreadyPinned => "already_pinned",
            Self::BadOrder => "bad_order",
            Self::WrongKey => "wrong_key",
            Self::WrongHost => "wrong_host",
            Self::Older => "older",
            Self::Expired => "expired",
            Self::BadText => "bad_text",
            Self::InQuarantine => "in_quarantine",
            Self::QuarantineLength => "quarantine_length",
            Self::NotPending => "not_pending",
            Self::KernelRefused => "kernel_refused",
            Self::FullDisk => "full_disk",
            Self::Disk => "disk",
            Self::Unsure => "unsure",
        }
    }
}

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Which key is followed; `None`: none is pinned.
    pub key: Option<String>,
    /// Which host this is.
    pub host: Option<HostKey>,
    /// The highest number seen.
    pub highest: u64,
    /// What the kernel should hold now; `None`: nothing of ours.
    pub in_force: Option<OrderRef>,
    /// Whether that drops or only counts; `None`: its counters do not say.
    pub mode: Option<Mode>,
    /// The confirmed ruleset.
    pub confirmed: Option<OrderRef>,
    /// The ruleset that waits to be confirmed.
    pub pending: Option<Pending>,
    /// How long it still waits, in milliseconds.
    pub reverts_in_millis: Option<u64>,
    /// The quarantine.
    pub quarantine: Option<Quarantined>,
    /// What happened last.
    pub last: Option<Happened>,
    /// The last time that somebody else changed our table.
    pub drift: Option<Drift>,
    /// How often our table was put back since the enforcer started.
    pub restored: u64,
    /// The last time that somebody changed another table.
    pub other: Option<OtherChange>,
    /// What other tables do so that packets get round ours.
    pub round: Vec<WayRound>,
    /// What the enforcer cannot do at the moment.
    pub problem: Option<String>,
}

impl Status {
    /// Differs when anything but the time that passes does.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let still = Self { reverts_in_millis: None, ..self.clone() };
        let octets = serde_json::to_vec(&still).expect("text and numbers");
        let hash: [u8; 32] = Sha256::digest(octets).into();
        u64::from_be_bytes(*hash.first_chunk().expect("it has 32 octets"))
    }
}

/// A request with the order that came behind it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) body: Vec<u8>,
    /// The user at the other end.
    pub(super) uid: u32,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Listens at `path`, in place of a socket that a process before left there.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(about) if about.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // The kernel says who connects; the mode only lets the agent's user get so far.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Takes connections for ever.
pub(super) async fn serve(listener: UnixListener, agent: Option<PathBuf>, to: mpsc::Sender<Asked>) {
    // An agent that goes wild does not keep root out.
    let [of_root, of_agent] = [(); 2].map(|()| Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot take a connection");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { continue };
        if !may_speak(uid, agent.as_deref()) {
            // At this level, since who is turned away could fill the log.
            debug!(uid, "a user who may not speak to the enforcer was turned away");
            continue;
        }
        let places = Arc::clone(if uid == 0 { &of_root } else { &of_agent });
        let Ok(place) = places.try_acquire_owned() else { continue };
        let to = to.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, uid, to).await {
                debug!(%error, "a connection ended early");
            }
        });
    }
}

/// Root, the user this process runs as, and whoever owns the agent's state folder, which is the
/// agent. A user that systemd makes for it (`DynamicUser=`) has no name that could be looked up.
fn may_speak(uid: u32, agent: Option<&Path>) -> bool {
    let owner = || std::fs::metadata(agent?).ok().map(|about| about.uid());
    uid == 0 || uid == nix::unistd::geteuid().as_raw() || owner() == Some(uid)
}

async fn converse(stream: UnixStream, uid: u32, to: mpsc::Sender<Asked>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let said = timeout(SAY_LIMIT, hear(&mut stream)).await??;
    let answer = match said {
        Ok((request, body)) => {
            let ask = async |request, body| {
                let (answer, answered) = oneshot::channel();
                let gone = || io::Error::other("the enforcer is stopping");
                to.send(Asked { request, body, uid, answer }).await.map_err(|_| gone())?;
                answered.await.map_err(|_| gone())
            };
            if matches!(request, Request::Watch { .. }) {
                let hung_up = || Err(io::Error::other("the other side hung up"));
                tokio::select! {
                    answer = timeout(WATCH_LIMIT, ask(request, body)) => match answer {
                        Ok(answer) => answer?,
                        Err(_) => ask(Request::Status, Vec::new()).await?,
                    },
                    // Nobody has anything to say while he waits.
                    _ = stream.read_u8() => return hung_up(),
                }
            } else {
                ask(request, body).await?
            }
        }
        Err(why) => Answer::Refused { error: Refusal::BadRequest, why },
    };
    let mut line = serde_json::to_vec(&answer).expect("text and numbers");
    line.push(b'\n');
    timeout(SAY_LIMIT, stream.get_mut().write_all(&line)).await?
}

/// The request and what comes behind it, or what is wrong with it.
async fn hear(
    stream: &mut BufReader<UnixStream>,
) -> io::Result<Result<(Request, Vec<u8>), String>> {
    let mut line = Vec::new();
    stream.take(MAX_REQUEST).read_until(b'\n', &mut line).await?;
    let request: Request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => return Ok(Err(format!("the request is not understood: {error}"))),
    };
    let octets = match &request {
        Request::Apply { octets } if *octets > MAX_SIGNED => {
            return Ok(Err(format!("an order of {octets} octets; {MAX_SIGNED} are the most")));
        }
        Request::Apply { octets } => *octets,
        Request::Confirm(_) | Request::Status | Request::Watch { .. } | Request::Pin { .. } => 0,
    };
    let mut body = vec![0; octets];
    stream.read_exact(&mut body).await?;
    Ok(Ok((request, body)))
}

/// Why the enforcer did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It is not there.
    #[error("no enforcer answers at {}: {source}; is bailey-enforce.service running?", path.display())]
    Away {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It answered something else.
    #[error("the enforcer's answer is not understood: {0}")]
    NotUnderstood(String),
}

/// Asks the enforcer at `socket`.
///
/// # Errors
/// When there is no answer. That something was refused is an answer.
pub async fn ask(socket: &Path, request: &Request, body: &[u8]) -> Result<Answer, AskError> {
    let asked = async {
        let mut stream = UnixStream::connect(socket).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        stream.write_all(body).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let away = |source| AskError::Away { path: socket.to_owned(), source };
    let answer = match timeout(ANSWER_LIMIT, asked).await {
        Ok(answer) => answer.map_err(away)?,
        Err(late) => return Err(away(late.into())),
    };
    if answer.is_empty() {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, "it hung up");
        return Err(away(source));
    }
    serde_json::from_slice(&answer).map_err(|error| AskError::NotUnderstood(error.to_string()))
}

/// Asks the enforcer to follow a signed order, as it travels.
///
/// # Errors
/// When there is no answer.
pub async fn apply(socket: &Path, order: &[u8]) -> Result<Answer, AskError> {
    ask(socket, &Request::Apply { octets: order.len() }, order).await
}
