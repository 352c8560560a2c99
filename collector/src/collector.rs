//! The collector as a whole: its parts put together, and taken apart in order.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailey_rules::name::{FindingId, HostKey};
use bailey_rules::text::Text;
use bailey_wire::order::{MAX_KEY_FILE, VerifyingKey};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rusqlite::Transaction;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::alerts::{self, AlertsError, Links, Teller};
use crate::ca::{Ca, CaError, Names, state_folder};
use crate::clock::{SharedClock, SystemClock};
use crate::counters::Counters;
use crate::device::vault::{Vault, VaultError};
use crate::device::{Devices, record};
use crate::enrolment::{self, Enrolment, enrolled, waited_for};
use crate::intake::{self, Intake};
use crate::journal::{self, NewEvent};
use crate::judging::{Judge, Saver, open_findings, write_down};
use crate::lines::kept::Keeper;
use crate::lines::{self, Measurer};
use crate::listings;
use crate::poll::poller::Poller;
use crate::poll::snmp::SnmpError;
use crate::poll::snmp::udp::Sockets;
use crate::port::Ports;
use crate::proving::{self, Proving};
use crate::push::Pushes;
use crate::senders::Senders;
use crate::settings::{Endpoint, Settings};
use crate::site::{EventKind, Site};
use crate::store::{self, Kept, OpenError, Store, StoreError};
use crate::syslog::{self, SyslogAddresses, SyslogError};
use crate::trap::{self, TrapsError};
use crate::upkeep::{self, Certificates, CertificatesError};
use crate::watch::{Files, FilesError, Watch};
use crate::web::{self, WebError, WebHandle, WebParts};
use crate::wiring::Wirer;

/// Descriptors that are asked for: one for each agent, and some for everything else.
const DESCRIPTORS: u64 = 65_536;

/// How long everything that is left may take to be written when the collector stops.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Why the collector could not start. Nothing was changed but what it says.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another collector has the state folder.
    #[error(
        "another collector runs on {}; stop it, or choose another --state", .0.display()
    )]
    InUse(PathBuf),
    /// The lock of the state folder cannot be taken.
    #[error("cannot lock {}: {why}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// State folder or CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Certificates of the listeners.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What is stored of one host cannot be read.
    #[error(
        "the stored state of the host {host} cannot be read: {why}. Nothing was changed; start the \
         version that wrote it, or put a copy of the store back"
    )]
    Host {
        /// The host's name.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// Policy and rule files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The public key of the security role.
    #[error("security_key: {}: {why}", path.display())]
    SecurityKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The address for agents.
    #[error("cannot listen on {address} for agents: {source}; choose another with --agents")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that proves.
    #[error("no thread for proofs: {0}; give the collector more threads (TasksMax, ulimit -u)")]
    Prover(io::Error),
    /// The page.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Alertmanagers.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// The key that credentials of devices are sealed with.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Sockets to ask devices.
    #[error("cannot open a socket to ask devices: {0}")]
    Poll(#[from] SnmpError),
    /// Traps.
    #[error(transparent)]
    Traps(#[from] TrapsError),
    /// Syslog.
    #[error(transparent)]
    Syslog(#[from] SyslogError),
}

/// Where a collector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The page, the API and the metrics, over HTTPS.
    pub web: SocketAddr,
    /// The same for the command line on this machine.
    pub socket: PathBuf,
    /// Agents.
    pub agents: SocketAddr,
    /// Traps, where they are received.
    pub traps: Option<SocketAddr>,
    /// Messages of syslog, where they are received.
    pub syslog: SyslogAddresses,
}

/// Starts collectors.
#[derive(Debug, Clone, Copy)]
pub struct Collector;

/// A running collector. It goes on when this is dropped; [`Self::shutdown`] stops it.
pub struct CollectorHandle {
    site: Site,
    enrolment: Enrolment,
    devices: Devices,
    ports: Ports,
    addresses: Addresses,
    web: WebHandle,
    saver: Saver,
    stop: CancellationToken,
    tasks: TaskTracker,
    _lock: Flock<std::fs::File>,
}

impl Collector {
    /// Starts a collector.
    ///
    /// # Errors
    /// [`StartError`] says what and what next.
    pub async fn start(settings: Settings) -> Result<CollectorHandle, StartError> {
        Self::start_at(settings, Arc::new(SystemClock)).await
    }

    /// Starts a collector by another clock.
    ///
    /// # Errors
    /// [`StartError`] says what and what next.
    pub async fn start_at(
        settings: Settings,
        clock: SharedClock,
    ) -> Result<CollectorHandle, StartError> {
        more_descriptors();
        state_folder(&settings.state)?;
        let lock = lock(&settings.state)?;
        let files = Files { policy: settings.policy.clone(), rules: settings.rules.clone() };
        let (config, texts) = files.at_start()?;
        let security_key = settings.security_key.as_deref().map(read_security_key).transpose()?;
        let client = alerts::client(
            settings.alertmanager_ca.as_deref(),
            settings.alertmanagers.iter().any(Endpoint::is_https),
        )?;
        let ca = Arc::new(Ca::open(&settings.state, clock.now())?);
        let vault = Vault::open(&settings.state)?;
        let counters = Arc::new(Counters::default());
        // In a folder of its own: what is written there all the time must not wake the watch of the
        // files beside it.
        let folder = settings.state.join("store");
        state_folder(&folder)?;
        let store =
            Store::open(&folder.join("collector.db"), Arc::clone(&clock), Arc::clone(&counters))?;
        let senders = Senders::new(settings.senders.clone());
        let told = settings.alertmanagers.len();
        let site = Site::new(clock, counters, store, config, told, senders);
        clear_leftovers(&site).await;
        let sockets = Sockets::open().await?;
        let ports = Ports::open(site.clone(), sockets.clone())?;
        let devices = Devices::new(site.clone(), vault, sockets.clone(), ports.clone());
        let lines = site.store().read_at_start(lines::kept::all)?;
        devices.restore(&site.store().read_at_start(record::all)?, lines);
        let lines_kept = Keeper::new(site.clone());
        restore(&site)?;
        let pushes = Pushes::open(site.clone(), security_key)?;
        let saver = Saver::new();
        proving::restore(&site, site.store().read_at_start(proving::record::read_newest)?);
        if settings.traps.is_some() {
            site.traps().restore(&site)?;
        }
        let mut judge = Judge::new(site.clone(), saver.clone());
        judge.judge_all();

        let fail = |source| StartError::Listen { address: settings.agents, source };
        let listener = intake::bind(settings.agents).map_err(fail)?;
        let agents = listener.local_addr().map_err(fail)?;
        let names = names(&settings, agents);
        let certificates = Certificates::new(
            &site,
            Arc::clone(&ca),
            names.clone(),
            settings.state.clone(),
            settings.web_certificate.clone(),
        )?;
        let dialled = dialled(&settings, agents);
        let enrolment = Enrolment::new(site.clone(), ca, dialled);
        let stop = CancellationToken::new();
        let proving = Proving::new(site.clone(), stop.clone()).map_err(StartError::Prover)?;
        // What runs already ends with a start that fails.
        let unless_started = stop.clone().drop_guard();
        let tasks = TaskTracker::new();
        let traps = match &settings.traps {
            None => None,
            Some(set) => Some(trap::intake::start(&site, &settings.state, set, &tasks, &stop)?),
        };
        let syslog = match &settings.syslog {
            None => SyslogAddresses::default(),
            Some(set) => {
                let tls = Arc::clone(&certificates.web);
                syslog::start(&site, set, tls, &tasks, &stop).await?
            }
        };
        let socket = settings.state.join("bailey.sock");
        let parts = WebParts {
            site: site.clone(),
            enrolment: enrolment.clone(),
            pushes: pushes.clone(),
            devices: devices.clone(),
            ports: ports.clone(),
            listen: settings.web,
            socket: socket.clone(),
            tls: Arc::clone(&certificates.web),
            scrape_token: settings.state.join("scrape.token"),
            names: names.hosts.clone(),
            page_url: settings
                .page_url
                .as_ref()
                .map(|url| url.url().as_str().trim_end_matches('/').to_owned()),
            offset: settings.utc_offset,
            shutdown: stop.clone(),
        };
        let web = web::start(parts).await?;
        let addresses = Addresses { web: web.address, socket, agents, traps, syslog };

        note_start(&site).await;
        let links =
            Arc::new(Links { page: web.web.page_url(), runbook: settings.runbook_url.clone() });
        tasks.spawn(judge.run(stop.clone()));
        tasks.spawn(saver.clone().run(site.clone(), stop.clone()));
        for (number, at) in settings.alertmanagers.iter().enumerate() {
            let (site, client, links) = (site.clone(), client.clone(), Arc::clone(&links));
            let teller = Teller::new(site, number, at.url(), client, links);
            tasks.spawn(teller.run(stop.clone()));
        }
        tasks.spawn(Watch::new(files, site.clone(), texts).run(stop.clone()));
        tasks.spawn(upkeep::measure(site.clone(), stop.clone()));
        tasks.spawn(upkeep::tidy(site.clone(), stop.clone()));
        let tls = Arc::clone(&certificates.agents);
        tasks.spawn(certificates.run(site.clone(), stop.clone()));
        let intake = Intake::new(site.clone(), enrolment.clone(), tls, listener, stop.clone());
        tasks.spawn(intake.run());
        tasks.spawn(pushes.run(stop.clone()));
        tasks.spawn(proving.run(stop.clone()));
        tasks.spawn(Poller::new(site.clone(), sockets).run(stop.clone()));
        tasks.spawn(Wirer::new(site.clone()).run(stop.clone()));
        tasks.spawn(Measurer::new(site.clone()).run(stop.clone()));
        tasks.spawn(lines_kept.run(stop.clone()));
        tasks.spawn(ports.clone().run(stop.clone()));
        tasks.close();
        unless_started.disarm();
        info!(web = %addresses.web, agents = %addresses.agents, "the collector runs");
        Ok(CollectorHandle {
            site,
            enrolment,
            devices,
            ports,
            addresses,
            web,
            saver,
            stop,
            tasks,
            _lock: lock,
        })
    }
}

impl CollectorHandle {
    /// The site.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Tokens, identities, approval.
    #[must_use]
    pub fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// Devices as they come and go.
    #[must_use]
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Ports in quarantine.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The web side, for sign-in links.
    #[must_use]
    pub fn web(&self) -> &web::Web {
        &self.web.web
    }

    /// Stops: no more is taken in, what is on its way is written and acknowledged, and the store is
    /// closed.
    pub async fn shutdown(self) {
        info!("the collector stops");
        self.stop.cancel();
        self.tasks.wait().await;
        self.web.finished().await;
        let flush = async {
            // A store that cannot be written now has its findings found again at the next start.
            if !self.saver.flush(self.site.store()).await {
                warn!("not every change of a finding is stored");
            }
            for host in self.site.held() {
                if let Some(snapshot) = host.last_snapshot()
                    && let Err(error) = write_down(self.site.store(), &host, snapshot).await
                {
                    warn!(%error, "the next start reads the log instead");
                    break;
                }
            }
            let stopped = Text::new("the collector stopped", "采集器已停止");
            if let Err(error) = write_event(&self.site, EventKind::Stopped, stopped).await {
                warn!(%error, "the end is not in the journal");
            }
        };
        if tokio::time::timeout(FLUSH_LIMIT, flush).await.is_err() {
            warn!("not everything was put in order in time; the next start does it");
        }
        self.site.store().close().await;
        info!("the collector stopped");
    }
}

/// A full disk must not keep a collector from starting: what cannot be written here can wait.
async fn note_start(site: &Site) {
    let text = Text::new("the collector started", "采集器已启动");
    let noted = match upkeep::note_running(site).await {
        Ok(()) => write_event(site, EventKind::Started, text).await,
        Err(error) => Err(error),
    };
    if let Err(error) = noted {
        warn!(%error, "the start is not in the journal");
    }
}

async fn clear_leftovers(site: &Site) {
    let now = site.now();
    let job = move |store: &Transaction<'_>| {
        enrolment::clear_leftovers(store, now).map_err(StoreError::failed("clear leftovers away"))
    };
    if let Err(error) = site.store().write("clear leftovers away", job).await {
        warn!(%error, "leftovers of revoked hosts stay for now");
    }
}

async fn write_event(site: &Site, kind: EventKind, text: Text) -> Result<(), StoreError> {
    let event = NewEvent { at: site.now(), host: None, kind, text, actor: None };
    journal::write(site, "write an event", vec![event]).await
}

/// Every agent holds a descriptor; the usual soft limit of 1,024 is for programs that use select(2).
fn more_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = DESCRIPTORS.min(hard);
        if soft < wanted { setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        warn!(%error, "the limit of open files stays as it is");
    }
}

/// Takes the state folder for this process; the kernel gives it back when the process ends in
/// whatever way.
fn lock(state: &Path) -> Result<Flock<std::fs::File>, StartError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = state.join("collector.lock");
    let fail = |why: String| StartError::Lock { path: path.clone(), why };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| fail(error.to_string()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => StartError::InUse(state.to_owned()),
        other => fail(other.to_string()),
    })
}

/// Reads the key whose orders are taken.
fn read_security_key(path: &Path) -> Result<VerifyingKey, StartError> {
    let fail = |why: String| StartError::SecurityKey { path: path.to_owned(), why };
    let mut pem = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_KEY_FILE as u64).read_to_string(&mut pem))
        .map_err(|error| fail(error.to_string()))?;
    VerifyingKey::from_pem(&pem).map_err(|error| fail(error.to_string()))
}

/// Builds everything again that was known when the collector was last there.
fn restore(site: &Site) -> Result<(), StartError> {
    let store = site.store();
    let version = store.read_at_start(|store| store::read_meta(store, store::VERSION))?;
    let everything = version.is_some_and(|version| version != env!("CARGO_PKG_VERSION"));
    let mut hosts = HashMap::new();
    for (no, identity) in store.read_at_start(enrolled)? {
        let host = site.new_host(no, &identity);
        if let Some((upto, body)) = store.read_at_start(|c| store::read_snapshot(c, no))? {
            host.restore(upto, &body, everything)
                .map_err(|why| StartError::Host { host: identity.host.to_string(), why })?;
        }
        listings::restore(site, no, &host)?;
        hosts.insert(no, Arc::new(host));
    }
    let mut kept = Vec::new();
    store.read_at_start(|connection| {
        store::read_log(connection, |id, no, logged| {
            if let Some(host) = hosts.get(&no) {
                kept.push(Kept { id, host: Arc::clone(host), n: logged.n });
                host.replay(logged);
            }
        })
    })?;
    store.kept(kept);
    for host in hosts.into_values() {
        host.restored();
        site.add(host);
    }
    for (name, since) in store.read_at_start(waited_for)? {
        if let Some(host) = site.by_name(&name) {
            host.change_session(|session| session.approval_waiting_since = Some(since));
        }
    }
    let mut open: BTreeMap<HostKey, BTreeMap<FindingId, _>> = BTreeMap::new();
    for finding in store.read_at_start(open_findings)? {
        open.entry(finding.host).or_default().insert(finding.id, finding);
    }
    for (key, findings) in open {
        site.set_findings(&key, findings);
    }
    Ok(())
}

fn host_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?.to_ascii_lowercase();
    name.parse::<bailey_rules::name::HostName>().ok()?;
    Some(name)
}

/// What certificates of the listeners name: everything that somebody may ask for.
fn names(settings: &Settings, agents: SocketAddr) -> Names {
    let mut hosts: Vec<String> = host_name().into_iter().chain(settings.names.clone()).collect();
    let mut addresses = vec![settings.web.ip(), agents.ip()];
    let public = settings.public_address.as_deref().and_then(|at| at.rsplit_once(':'));
    if let Some((host, _)) = public {
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => addresses.push(address),
            Err(_) => hosts.push(host.to_ascii_lowercase()),
        }
    }
    if let Some(host) = settings.page_url.as_ref().and_then(|url| url.url().host_str()) {
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => addresses.push(address),
            Err(_) => hosts.push(host.to_ascii_lowercase()),
        }
    }
    Names { hosts, addresses }
}

/// The address that tokens carry.
fn dialled(settings: &Settings, agents: SocketAddr) -> String {
    match &settings.public_address {
        Some(address) => address.clone(),
        None if agents.ip().is_unspecified() => {
            let name = host_name().unwrap_or_else(|| "localhost".to_owned());
            format!("{name}:{}", agents.port())
        }
        None => agents.to_string(),
    }
}
