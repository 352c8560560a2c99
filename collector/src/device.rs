//! Devices that are polled: who they are, what is held of each, and how they come and go.

pub(crate) mod record;
pub mod vault;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bailey_rules::check::{Judged, State, Verdict};
use bailey_rules::device::line::Month;
use bailey_rules::device::quality::Quality;
use bailey_rules::device::{DeviceView, MAX_DEVICES};
use bailey_rules::expectation::{Ask, DeviceWanted};
use bailey_rules::name::{HostKey, HostName, ZoneName};
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::yaml::Problems;
use rand::RngCore as _;
use rusqlite::Transaction;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::enrolment::Actor;
use crate::host::Dirty;
use crate::journal::{EVENT_BURST, EVENT_REFILL, NewEvent};
use crate::judging::{verdicts_on, write_finding};
use crate::lines::kept::Lines;
use crate::poll::credentials::Credentials;
use crate::poll::doctor::{self, Diagnosis};
use crate::poll::round::{Polled, round};
use crate::poll::snmp::udp::{Dialler, Patience, Session, Sockets};
use crate::poll::snmp::{Dial as _, SnmpError};
use crate::poll::table::Learned;
use crate::port::{PortError, Ports};
use crate::quota::{Bucket, Rate};
use crate::site::{EventKind, Site};
use crate::store::StoreError;
use crate::zone::{self, UnknownZone};
use record::Record;
use vault::{Vault, VaultError};

/// How many devices may be examined at the same time on their way in.
const EXAMINED_AT_ONCE: usize = 8;

/// What stands for the version of a device whose credentials cannot be opened.
const NO_VERSION: &str = "?";

/// How long a name may take to become an address.
const RESOLVING: Duration = Duration::from_secs(5);

/// How long the first look at a new device may take before it is shown without the rest, which the next
/// poll brings.
const FIRST_LOOK: Duration = Duration::from_secs(8);

/// One device and what the checks say of it, at one moment.
#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// What is known of the device.
    pub view: Arc<DeviceView>,
    /// What the checks say.
    pub judged: Vec<Judged>,
    /// The worst of it.
    pub state: State,
    /// When it was judged.
    pub judged_at: Timestamp,
    /// Who added it.
    pub added_by: Actor,
    /// The version of the protocol that it is asked with.
    pub version: &'static str,
}

impl DeviceStatus {
    /// What the checks of the network say of a subject, such as an interface.
    pub(crate) fn network_verdicts<'a>(
        &'a self,
        subject: &'a str,
    ) -> impl Iterator<Item = &'a Verdict> {
        verdicts_on(&self.judged, |check| check.component == "network", subject)
    }
}

/// One device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) key: HostKey,
    pub(crate) name: HostName,
    pub(crate) zone: ZoneName,
    pub(crate) address: SocketAddr,
    pub(crate) added_by: Actor,
    /// Cancelled when it is taken away.
    pub(crate) removed: CancellationToken,
    /// Told when it must be asked at once, with other credentials.
    pub(crate) changed: Notify,
    /// None when they cannot be opened.
    credentials: ArcSwapOption<Credentials>,
    view: Mutex<Arc<DeviceView>>,
    /// How the far ends of its lines answer. Beside the view, which only polls replace.
    quality: Mutex<BTreeMap<String, Arc<Quality>>>,
    status: ArcSwap<DeviceStatus>,
    dirty: AtomicBool,
    queue: Arc<Dirty>,
    events: Mutex<Events>,
}

/// How many events a device may write, and how many it could not.
#[derive(Debug)]
struct Events {
    bucket: Bucket,
    left_out: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    fn new(
        record: &Record,
        credentials: Option<Credentials>,
        since: Timestamp,
        queue: Arc<Dirty>,
    ) -> Self {
        let view = Arc::new(DeviceView::new(
            record.key,
            record.name.clone(),
            record.zone.clone(),
            record.address,
            record.added_at,
            since.max(record.added_at),
        ));
        let status = DeviceStatus {
            view: Arc::clone(&view),
            judged: Vec::new(),
            state: State::Unknown,
            judged_at: record.added_at,
            added_by: record.added_by.clone(),
            version: credentials.as_ref().map_or(NO_VERSION, Credentials::version),
        };
        let rate =
            Rate { a_second: 1.0 / EVENT_REFILL.as_secs_f64(), burst: f64::from(EVENT_BURST) };
        Self {
            key: record.key,
            name: record.name.clone(),
            zone: record.zone.clone(),
            address: record.address,
            added_by: record.added_by.clone(),
            removed: CancellationToken::new(),
            changed: Notify::new(),
            credentials: ArcSwapOption::from_pointee(credentials),
            view: Mutex::new(view),
            quality: Mutex::default(),
            status: ArcSwap::from_pointee(status),
            dirty: AtomicBool::new(false),
            queue,
            events: Mutex::new(Events { bucket: Bucket::full(rate, Instant::now()), left_out: 0 }),
        }
    }

    /// What is held now.
    pub(crate) fn view(&self) -> Arc<DeviceView> {
        Arc::clone(&locked(&self.view))
    }

    /// Puts what a poll brought in place of what was held.
    pub(crate) fn set_view(self: &Arc<Self>, view: DeviceView) {
        *locked(&self.view) = Arc::new(view);
        self.touch();
    }

    /// What is known of the far ends of its lines, by the key of the line in the rule files.
    pub(crate) fn quality(&self) -> BTreeMap<String, Arc<Quality>> {
        locked(&self.quality).clone()
    }

    /// Puts what is known of a far end in place of what was.
    pub(crate) fn set_quality(&self, line: String, quality: Quality) {
        locked(&self.quality).insert(line, Arc::new(quality));
    }

    /// Notes what came of asking a far end; nothing where it is not asked so any more.
    pub(crate) fn note_quality(&self, line: &str, ask: Ask, note: impl FnOnce(&mut Quality)) {
        if let Some(held) = locked(&self.quality).get_mut(line).filter(|held| held.ask == ask) {
            note(Arc::make_mut(held));
        }
    }

    /// Whether the far end of one of its lines is asked and does not answer.
    pub(crate) fn has_silent_line(&self) -> bool {
        let is_silent = |quality: &Arc<Quality>| quality.failed.is_none() && !quality.answers();
        locked(&self.quality).values().any(is_silent)
    }

    /// Forgets the far ends of lines that are not asked any more.
    pub(crate) fn keep_quality(&self, is_asked: impl Fn(&str) -> bool) {
        locked(&self.quality).retain(|line, _| is_asked(line));
    }

    /// Takes over what was kept of its lines, before it is polled.
    fn take_lines(&self, lines: Lines, wanted: &DeviceWanted) {
        let months = lines.carried.into_iter().map(|(name, kept)| (name, Month::of(kept)));
        Arc::make_mut(&mut locked(&self.view)).lines = months.collect();
        for (line, kept) in lines.asked {
            if let Some(ask) = wanted.lines.get(&line).and_then(|line| line.ask) {
                self.set_quality(line, Quality::new(ask, kept));
            }
        }
    }

    /// How it is asked; `None` when that cannot be opened.
    pub(crate) fn credentials(&self) -> Option<Arc<Credentials>> {
        self.credentials.load_full()
    }

    /// The version of the protocol that it is asked with.
    pub(crate) fn version(&self) -> &'static str {
        self.credentials.load().as_ref().map_or(NO_VERSION, |credentials| credentials.version())
    }

    /// A way to ask it.
    pub(crate) async fn dialled(
        &self,
        sockets: &Sockets,
        patience: Patience,
    ) -> Result<Session, SnmpError> {
        let credentials = self.credentials().ok_or_else(|| SnmpError::Unaskable {
            why: "its credentials cannot be opened; give them again with bailey device credentials"
                .to_owned(),
        })?;
        Dialler::over(sockets, self.address, patience)?.dial(&credentials).await
    }

    /// The newest judgement.
    pub(crate) fn status(&self) -> Arc<DeviceStatus> {
        self.status.load_full()
    }

    pub(crate) fn set_status(&self, status: DeviceStatus) {
        self.status.store(Arc::new(status));
    }

    /// Has the device judged soon.
    pub(crate) fn touch(self: &Arc<Self>) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.queue.add_device(Arc::clone(self));
        }
    }

    /// It is being judged.
    pub(crate) fn taken(&self) {
        self.dirty.store(false, Ordering::Release);
    }

    /// An event of this device, unless it has had too many.
    pub(crate) fn event(
        &self,
        at: Timestamp,
        kind: EventKind,
        mut text: Text,
        site: &Site,
    ) -> Option<NewEvent> {
        let mut events = locked(&self.events);
        if !events.bucket.take(Instant::now()) {
            events.left_out += 1;
            site.counters().events_left_out.one();
            return None;
        }
        let left_out = std::mem::take(&mut events.left_out);
        if left_out > 0 {
            text = Text::new(
                format!("{} ({left_out} events before this one were left out)", text.en),
                format!("{}（此前省略 {left_out} 条事件）", text.zh),
            );
        }
        Some(NewEvent { at, host: Some(self.name.clone()), kind, text, actor: None })
    }
}

/// A device that somebody wants to add.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Its address, or a name that has one.
    pub address: String,
    /// The UDP port.
    pub port: u16,
    /// The zone it is in.
    pub zone: ZoneName,
    /// What it is to be called; by its own name when absent, or else by its address.
    pub name: Option<HostName>,
    /// How it wants to be asked: the text of a credentials file.
    pub credentials: String,
}

/// What came of adding a device or of giving it other credentials.
#[derive(Debug)]
pub enum Answer {
    /// It is polled from now on. What it told first is shown already.
    Taken(Arc<DeviceStatus>),
    /// It has a fault, and nothing was changed.
    Faulty(Box<Diagnosis>),
}

/// Why an order about devices could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The policy has no such zone.
    #[error(transparent)]
    UnknownZone(#[from] UnknownZone),
    /// The credentials are wrong.
    #[error("the credentials are wrong:\n{0}")]
    Credentials(Problems),
    /// The name has no address.
    #[error("\"{name}\" has no address: {why}; give the device's IP address")]
    NoAddress {
        /// The name.
        name: String,
        /// What the system said.
        why: String,
    },
    /// The name belongs to another device or host.
    #[error("\"{0}\" is the name of another device or host; choose another with --name")]
    NameTaken(HostName),
    /// The address belongs to another device.
    #[error("{address} is asked already, as the device \"{name}\"")]
    AddressTaken {
        /// The address.
        address: SocketAddr,
        /// The device that has it.
        name: HostName,
    },
    /// There are as many devices as a collector takes.
    #[error("a collector takes {MAX_DEVICES} devices; remove one first, or add it to another one")]
    TooMany,
    /// There is no device of this name.
    #[error("there is no device \"{0}\"; bailey device list names those there are")]
    Unknown(HostName),
    /// Too many devices are being examined.
    #[error("{EXAMINED_AT_ONCE} devices are being examined now; try again in a few seconds")]
    Busy,
    /// The device cannot be asked from here.
    #[error("the device cannot be asked: {0}")]
    Ask(#[from] SnmpError),
    /// One of its ports is in quarantine.
    #[error(transparent)]
    Port(#[from] PortError),
    /// Credentials cannot be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DeviceError {
    /// Why, in both languages. What a device or the system said stays as it was said.
    #[must_use]
    pub fn text(&self) -> Text {
        let zh = match self {
            Self::UnknownZone(error) => return error.text(),
            Self::Credentials(problems) => format!("凭据有误：\n{problems}"),
            Self::NoAddress { name, why } => {
                format!("\"{name}\" 没有地址：{why}；请给出设备的 IP 地址")
            }
            Self::NameTaken(name) => {
                format!("\"{name}\" 是另一设备或主机的名称；请用 --name 另选")
            }
            Self::AddressTaken { address, name } => format!("{address} 已作为设备 \"{name}\" 轮询"),
            Self::TooMany => {
                format!("一个采集器最多 {MAX_DEVICES} 台设备；请先移除一台，或添加到另一采集器")
            }
            Self::Unknown(name) => format!("没有设备 \"{name}\"；bailey device list 列出现有设备"),
            Self::Busy => format!("正在诊断 {EXAMINED_AT_ONCE} 台设备；请几秒后重试"),
            Self::Ask(error) => format!("无法查询该设备：{}", error.text().zh),
            Self::Port(error) => return error.text(),
            Self::Vault(error) => format!("无法加密保存凭据：{error}"),
            Self::Store(error) => return error.text(),
        };
        Text::new(self.to_string(), zh)
    }
}

/// Devices as they come and go. Cheap to clone.
#[derive(Clone)]
pub struct Devices(Arc<Shared>);

struct Shared {
    site: Site,
    vault: Vault,
    sockets: Sockets,
    ports: Ports,
    examined: Semaphore,
}

impl Devices {
    pub(crate) fn new(site: Site, vault: Vault, sockets: Sockets, ports: Ports) -> Self {
        let examined = Semaphore::new(EXAMINED_AT_ONCE);
        Self(Arc::new(Shared { site, vault, sockets, ports, examined }))
    }

    fn site(&self) -> &Site {
        &self.0.site
    }

    /// Takes the devices of the store over. One whose credentials cannot be opened is there, and says so
    /// by not being asked.
    /// `lines` is what was kept of their lines.
    pub(crate) fn restore(&self, records: &[Record], mut lines: HashMap<HostKey, Lines>) {
        let since = self.site().started_at();
        for record in records {
            let opened = self.0.vault.unseal(&record.key, &record.credentials);
            let read = opened.map_err(|error| error.to_string()).and_then(|text| {
                Credentials::parse("stored credentials", &text).map_err(|error| error.to_string())
            });
            if let Err(why) = &read {
                warn!(device = %record.name, why, "a device is not polled");
                let message = format!("the device {} is not polled: {why}", record.name);
                self.site().set_device_problem(&record.name, Some(message));
            }
            let queue = Arc::clone(self.site().dirty());
            let device = Device::new(record, read.ok(), since, queue);
            device.take_lines(
                lines.remove(&device.key).unwrap_or_default(),
                &self.site().wanted_of(&device),
            );
            self.site().add_device(device);
        }
    }

    /// Examines a device, and takes it over when it is healthy.
    ///
    /// # Errors
    /// When it cannot be taken over; that it has a fault is an answer.
    pub async fn add(&self, wish: Wish, by: Actor) -> Result<Answer, DeviceError> {
        zone::check(&self.site().policy(), &wish.zone)?;
        let credentials = Credentials::parse("credentials", &wish.credentials)
            .map_err(DeviceError::Credentials)?;
        let address = resolved(&wish.address, wish.port).await?;
        self.check_room(wish.name.as_ref(), address)?;
        let _turn = self.0.examined.try_acquire().map_err(|_| DeviceError::Busy)?;
        let diagnosis = self.examined(address, &credentials).await?;
        if diagnosis.fault.is_some() {
            return Ok(Answer::Faulty(Box::new(diagnosis)));
        }
        let name = match wish.name {
            Some(name) => name,
            None => self.free_name(diagnosis.about.name.as_deref(), address),
        };
        let mut random = [0; 32];
        rand::rng().fill_bytes(&mut random);
        let key = HostKey::from_bytes(random);
        let record = Record {
            key,
            name,
            zone: wish.zone,
            address,
            credentials: self.0.vault.seal(&key, &wish.credentials)?,
            added_at: self.site().now(),
            added_by: by,
        };
        let queue = Arc::clone(self.site().dirty());
        let device = Arc::new(Device::new(&record, Some(credentials), record.added_at, queue));
        self.look(&device).await?;
        self.keep(record, &device).await?;
        info!(device = %device.name, %address, "a device is polled from now on");
        Ok(Answer::Taken(self.site().judged_at_once(&device)))
    }

    /// Examines a device with other credentials, and uses those when they are right.
    ///
    /// # Errors
    /// When there is no such device, or the credentials cannot be kept.
    pub async fn set_credentials(
        &self,
        name: &HostName,
        text: &str,
        by: Actor,
    ) -> Result<Answer, DeviceError> {
        let device =
            self.site().held_device(name).ok_or_else(|| DeviceError::Unknown(name.clone()))?;
        let credentials =
            Credentials::parse("credentials", text).map_err(DeviceError::Credentials)?;
        let _turn = self.0.examined.try_acquire().map_err(|_| DeviceError::Busy)?;
        let diagnosis = self.examined(device.address, &credentials).await?;
        if diagnosis.fault.is_some() {
            return Ok(Answer::Faulty(Box::new(diagnosis)));
        }
        let sealed = self.0.vault.seal(&device.key, text)?;
        let version = credentials.version();
        let event = self.event(
            name,
            EventKind::DeviceChanged,
            Text::new(
                format!("it is asked with other credentials (SNMP{version})"),
                format!("已更换查询凭据（SNMP{version}）"),
            ),
            by,
        );
        let key = device.key;
        let job = move |store: &Transaction<'_>| -> rusqlite::Result<bool> {
            let changed = record::set_credentials(store, &key, &sealed)?;
            if changed {
                event.insert(store)?;
            }
            Ok(changed)
        };
        let job = move |store: &Transaction<'_>| {
            job(store).map_err(StoreError::failed("keep credentials"))
        };
        let kept: bool = self.site().store().write("keep credentials", job).await?;
        if !kept {
            return Err(DeviceError::Unknown(name.clone()));
        }
        device.credentials.store(Some(Arc::new(credentials)));
        self.site().set_device_problem(name, None);
        device.changed.notify_one();
        Ok(Answer::Taken(device.status()))
    }

    /// Takes a device away: it is asked no more, and its findings are resolved.
    ///
    /// # Errors
    /// When there is no such device, one of its ports is in quarantine, or the store cannot be written.
    pub async fn remove(&self, name: &HostName, by: Actor) -> Result<(), DeviceError> {
        let device =
            self.site().held_device(name).ok_or_else(|| DeviceError::Unknown(name.clone()))?;
        let leaving = self.0.ports.leave(name).await?;
        let text = Text::new("the device is not polled any more", "已停止轮询该设备");
        let event = self.event(name, EventKind::DeviceRemoved, text, by.clone());
        let key = device.key;
        let job = move |store: &Transaction<'_>| -> rusqlite::Result<bool> {
            let gone = record::remove(store, &key)?;
            if gone {
                event.insert(store)?;
            }
            Ok(gone)
        };
        let job = move |store: &Transaction<'_>| {
            job(store).map_err(StoreError::failed("remove a device"))
        };
        let site = self.site().clone();
        let then = move |gone: &bool| if *gone { site.remove_device(&key) } else { Vec::new() };
        let (gone, resolved) = self.site().store().write_then("remove a device", job, then).await?;
        if !gone {
            return Err(DeviceError::Unknown(name.clone()));
        }
        if let Err(error) = leaving.gone(&by).await {
            warn!(%error, "quarantines of a removed device are kept");
        }
        let job = move |store: &Transaction<'_>| {
            resolved
                .iter()
                .try_for_each(|finding| write_finding(store, finding))
                .map_err(StoreError::failed("resolve findings of a device"))
        };
        if let Err(error) = self.site().store().write("resolve findings of a device", job).await {
            warn!(%error, "findings of a removed device are resolved at the next start");
        }
        Ok(())
    }

    /// Writes a device down, and makes it one of the site.
    async fn keep(&self, record: Record, device: &Arc<Device>) -> Result<(), DeviceError> {
        let (address, zone) = (record.address, &record.zone);
        let event = self.event(
            &record.name,
            EventKind::DeviceAdded,
            Text::new(
                format!("the device at {address} in zone {zone} is polled from now on"),
                format!("开始轮询设备 {address}（安全域 {zone}）"),
            ),
            record.added_by.clone(),
        );
        // Another may have come in meanwhile under the same name or address.
        self.check_room(Some(&record.name), address)?;
        let job = move |store: &Transaction<'_>| {
            record
                .insert(store)
                .and_then(|()| event.insert(store))
                .map_err(StoreError::failed("add a device"))
        };
        let (site, device) = (self.site().clone(), Arc::clone(device));
        let then = move |(): &()| site.add_device(device);
        self.site().store().write_then("add a device", job, then).await.map(drop)?;
        Ok(())
    }

    fn event(&self, name: &HostName, kind: EventKind, text: Text, by: Actor) -> NewEvent {
        NewEvent { at: self.site().now(), host: Some(name.clone()), kind, text, actor: Some(by) }
    }

    async fn examined(
        &self,
        address: SocketAddr,
        credentials: &Credentials,
    ) -> Result<Diagnosis, DeviceError> {
        // Sockets of its own: what is heard without proof must not reach those of the poller.
        let dialler = Dialler::new(address, doctor::PATIENCE).await?.hearing_refusals();
        Ok(doctor::examine(&dialler, credentials).await)
    }

    /// The first poll, whose results are shown at once.
    async fn look(&self, device: &Arc<Device>) -> Result<(), DeviceError> {
        let session = device.dialled(&self.0.sockets, Patience::default()).await?;
        let mut view = DeviceView::clone(&device.view());
        let wanted = self.site().wanted_of(device);
        let clock = self.site().clock();
        let mut learned = Learned::default();
        let polled = round(&session, &mut view, &wanted, &mut learned, clock.as_ref());
        let polled = tokio::time::timeout(FIRST_LOOK, polled).await.unwrap_or(Polled::Partial);
        self.site().counters().polls.of(polled.into()).one();
        device.set_view(view);
        Ok(())
    }

    fn check_room(&self, name: Option<&HostName>, address: SocketAddr) -> Result<(), DeviceError> {
        let devices = self.site().held_devices();
        if devices.len() >= MAX_DEVICES {
            return Err(DeviceError::TooMany);
        }
        if let Some(taken) = devices.iter().find(|device| device.address == address) {
            return Err(DeviceError::AddressTaken { address, name: taken.name.clone() });
        }
        match name {
            Some(name) if self.is_taken(name) => Err(DeviceError::NameTaken(name.clone())),
            Some(_) | None => Ok(()),
        }
    }

    fn is_taken(&self, name: &HostName) -> bool {
        self.site().held_device(name).is_some() || self.site().by_name(name).is_some()
    }

    /// The device's own name where it can be one and is free, else its address.
    fn free_name(&self, own: Option<&str>, address: SocketAddr) -> HostName {
        let own = own.and_then(|own| own.to_ascii_lowercase().parse::<HostName>().ok());
        let by_address = || {
            let ip = address.ip().to_string().replace("::", "-0-").replace(':', "-");
            [ip.clone(), format!("{ip}-{}", address.port())]
        };
        let names = own.into_iter().chain(by_address().into_iter().filter_map(|n| n.parse().ok()));
        let names: Vec<HostName> = names.collect();
        let free = names.iter().find(|name| !self.is_taken(name));
        free.or(names.last())
            .cloned()
            .unwrap_or_else(|| "device".parse().expect("it is made of letters"))
    }
}

/// The address of a device.
async fn resolved(name: &str, port: u16) -> Result<SocketAddr, DeviceError> {
    let fail =
        |why: String| DeviceError::NoAddress { name: bailey_rules::fact::bounded(name), why };
    match tokio::time::timeout(RESOLVING, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(mut addresses)) => addresses.next().ok_or_else(|| fail("no address".to_owned())),
        Ok(Err(why)) => Err(fail(why.to_string())),
        Err(_) => Err(fail(format!("nothing within {} s", RESOLVING.as_secs()))),
    }
}
