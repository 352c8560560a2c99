//! Ports in quarantine: switched off at their switch until a time, asked for by one person and approved
//! by another.
//!
//! A reconciler: each round it looks at what is wanted and at what the switches tell, and sets what
//! differs. What is wanted is on disk before anything is set, so that a restart goes on where it was,
//! a switch that was started again is set again, and a port whose time is over is switched on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailey_rules::device::Part;
use bailey_rules::device::interface::{Interface, Link};
use bailey_rules::fact;
use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use bailey_rules::time::Timestamp;
use bailey_rules::topology::PortNumber;
use bailey_rules::topology::guard::{self, Behind, Refusal};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::device::Device;
use crate::enrolment::Actor;
use crate::journal::NewEvent;
use crate::poll::oid::{Oid, known};
use crate::poll::snmp::udp::{Patience, Sockets};
use crate::poll::snmp::{Snmp as _, SnmpError};
use crate::poll::value::Value;
use crate::site::{EventKind, Site};
use crate::store::{self, OpenError, StoreError};

/// The most ports that are in quarantine or wait for it.
pub const MAX_PORTS: usize = 256;
/// The longest that a port may be in quarantine.
pub const LONGEST: Duration = Duration::from_hours(24 * 30);
/// How long a wish waits for the second person.
pub const WAITS: Duration = Duration::from_hours(1);
/// The longest reason, in octets.
pub const MAX_REASON: usize = 256;

/// How often it is looked whether everything is as it should be.
const TICK: Duration = Duration::from_secs(1);
/// How long after a switch was asked it is asked again: one that refused or was silent, and one that
/// has done it and has not been polled since.
const AGAIN: Duration = Duration::from_secs(5);
/// How a switch is asked.
const PATIENCE: Patience = Patience { timeout: Duration::from_millis(1500), retries: 2 };

/// Under which name they are kept.
const META: &str = "port_quarantines";

/// `ifAdminStatus` (RFC 2863) and its values.
const ADMIN_STATUS: [u32; 10] = [1, 3, 6, 1, 2, 1, 2, 2, 1, 7];
const UP: i32 = 1;
const DOWN: i32 = 2;

/// How far a quarantine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A second person has not approved it yet.
    Waiting,
    /// The port is to be off.
    Wanted,
    /// It is off.
    InForce,
    /// It is to be on again.
    Ending,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The switch.
    pub device: HostName,
    /// `ifIndex`.
    pub port: PortNumber,
    /// What the switch calls it.
    pub name: String,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub asked_by: String,
    /// When.
    pub asked_at: Timestamp,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// How far it is.
    pub stage: Stage,
    /// Why the switch has not done it yet.
    pub failed: Option<String>,
}

/// Why something about a port was not done.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// There is no such device.
    #[error("there is no device \"{0}\"; bailey device list names those there are")]
    UnknownDevice(HostName),
    /// The device has no such port.
    #[error("{device} has no port \"{port}\"; bailey device show {device} names them")]
    UnknownPort {
        /// The device.
        device: HostName,
        /// What was asked for.
        port: String,
    },
    /// It may not be switched off.
    #[error("{device} {port} is not switched off: {}", why.text().en)]
    Guarded {
        /// The device.
        device: HostName,
        /// The port.
        port: String,
        /// Why.
        why: Refusal,
    },
    /// The end is not in the time to come, or too far away.
    #[error("a quarantine ends in the time to come, at most {} days from now", LONGEST.as_secs() / 86_400)]
    Until,
    /// The reason is not one line of plain text.
    #[error("the reason is one line of plain text, 1 to {MAX_REASON} octets")]
    Reason,
    /// The port is off already, and not by Bailey.
    #[error("{device} {port} is switched off already, by somebody else")]
    AlreadyOff {
        /// The device.
        device: HostName,
        /// The port.
        port: String,
    },
    /// It is in quarantine already.
    #[error("{device} {port} is in quarantine or waits for it already")]
    Already {
        /// The device.
        device: HostName,
        /// The port.
        port: String,
    },
    /// Somebody else was faster.
    #[error("the quarantine of {device} {port} has changed meanwhile; look at it and ask again")]
    Moved {
        /// The device.
        device: HostName,
        /// The port.
        port: String,
    },
    /// There is nothing to approve or to end.
    #[error("{device} {port} is not in quarantine and does not wait for it")]
    None {
        /// The device.
        device: HostName,
        /// The port.
        port: String,
    },
    /// Who asked cannot approve.
    #[error("{0} asked for it; another person must approve it")]
    SamePerson(String),
    /// A device cannot be taken away while its port is off: nobody would switch it on again.
    #[error(
        "{device} {port} is in quarantine or waits for it; end that first with \
         bailey quarantine port {device} {port} --release"
    )]
    Held {
        /// The device.
        device: HostName,
        /// The port.
        port: String,
    },
    /// A device cannot be taken away while its port is being switched on.
    #[error("{device} {port} is being switched on again; try again in a few seconds")]
    Ending {
        /// The device.
        device: HostName,
        /// The port.
        port: String,
    },
    /// There are as many as are kept.
    #[error("{MAX_PORTS} ports are in quarantine; end one first")]
    TooMany,
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PortError {
    /// Why, in both languages.
    #[must_use]
    pub fn text(&self) -> Text {
        let zh = match self {
            Self::UnknownDevice(name) => {
                format!("没有设备 \"{name}\"；bailey device list 列出现有设备")
            }
            Self::UnknownPort { device, port } => {
                format!("{device} 没有端口 \"{port}\"；bailey device show {device} 列出其端口")
            }
            Self::Guarded { device, port, why } => {
                format!("不关闭 {device} {port}：{}", why.text().zh)
            }
            Self::Until => {
                let days = LONGEST.as_secs() / 86_400;
                format!("隔离的结束时间须在将来，且最多为 {days} 天之后")
            }
            Self::Reason => format!("原因须为一行纯文本，1 到 {MAX_REASON} 个字节"),
            Self::AlreadyOff { device, port } => format!("{device} {port} 已被他人关闭"),
            Self::Already { device, port } => format!("{device} {port} 已处于隔离或等待隔离"),
            Self::Moved { device, port } => {
                format!("{device} {port} 的隔离状态刚刚发生变化；请查看后重试")
            }
            Self::None { device, port } => format!("{device} {port} 未处于隔离，也未等待隔离"),
            Self::SamePerson(who) => format!("由 {who} 申请；须由另一人批准"),
            Self::Held { device, port } => format!(
                "{device} {port} 处于隔离或等待隔离；请先用 bailey quarantine port {device} {port} \
                 --release 解除"
            ),
            Self::Ending { device, port } => {
                format!("正在重新打开 {device} {port}；请几秒后重试")
            }
            Self::TooMany => format!("已有 {MAX_PORTS} 个端口处于隔离；请先解除一个"),
            Self::Store(error) => error.text().zh,
        };
        Text::new(self.to_string(), zh)
    }
}

type Key = (HostName, PortNumber);

/// Ports in quarantine. Cheap to clone.
#[derive(Clone)]
pub struct Ports(Arc<Shared>);

struct Shared {
    site: Site,
    sockets: Sockets,
    all: Mutex<BTreeMap<Key, Quarantine>>,
    wake: Notify,
    /// One change at a time: each is written with all the others.
    changing: tokio::sync::Mutex<()>,
}

/// What a person wants of a port.
#[derive(Debug, Clone)]
pub struct PortWish {
    /// The switch.
    pub device: HostName,
    /// The port, by name or number.
    pub port: String,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether only to say what would be.
    pub dry_run: bool,
}

impl Ports {
    /// Takes over what the store holds.
    ///
    /// # Errors
    /// When that cannot be read: a port that is off would never be switched on again.
    pub(crate) fn open(site: Site, sockets: Sockets) -> Result<Self, OpenError> {
        let list: Vec<Quarantine> = site.store().read_at_start(|store| {
            let text = store::read_meta(store, META)?;
            text.map_or_else(|| Ok(Vec::new()), |text| serde_json::from_str(&text)).map_err(
                |error| {
                    rusqlite::Error::FromSqlConversionFailure(
                        0,
                        rusqlite::types::Type::Text,
                        error.into(),
                    )
                },
            )
        })?;
        let all = list.into_iter().map(|one| ((one.device.clone(), one.port), one)).collect();
        Ok(Self(Arc::new(Shared {
            site,
            sockets,
            all: Mutex::new(all),
            wake: Notify::new(),
            changing: tokio::sync::Mutex::default(),
        })))
    }

    /// Every port that is in quarantine or waits for it, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Quarantine> {
        self.held().values().cloned().collect()
    }

    /// Asks for a quarantine: what would be cut off with the port. It waits for a second person.
    ///
    /// # Errors
    /// [`PortError`] says why it is refused.
    pub async fn ask(&self, wish: PortWish, by: &Actor) -> Result<(Quarantine, Behind), PortError> {
        let now = self.0.site.now();
        if wish.until <= now || wish.until > now + LONGEST {
            return Err(PortError::Until);
        }
        let plain = !wish.reason.trim().is_empty()
            && wish.reason.len() <= MAX_REASON
            && fact::bounded(&wish.reason) == wish.reason;
        if !plain {
            return Err(PortError::Reason);
        }
        let (device, port) = self.find(&wish.device, &wish.port)?;
        let behind = self.guarded(&device, &port)?;
        let (device, name) = (wish.device, port.name.clone());
        if self.held().contains_key(&(device.clone(), port.index)) {
            return Err(PortError::Already { device, port: name });
        }
        if port.wanted == Link::Down {
            return Err(PortError::AlreadyOff { device, port: name });
        }
        let quarantine = Quarantine {
            device,
            port: port.index,
            name,
            until: wish.until,
            reason: wish.reason,
            asked_by: by.as_str().to_owned(),
            asked_at: now,
            approved_by: None,
            stage: Stage::Waiting,
            failed: None,
        };
        if wish.dry_run {
            return Ok((quarantine, behind));
        }
        if self.held().len() >= MAX_PORTS {
            return Err(PortError::TooMany);
        }
        let said = Text::new(
            format!(
                "quarantine of {} until {} waits for a second person: {}",
                quarantine.name, quarantine.until, quarantine.reason
            ),
            format!(
                "端口 {} 的隔离（至 {}）等待第二人批准：{}",
                quarantine.name, quarantine.until, quarantine.reason
            ),
        );
        let event = (EventKind::PortAsked, said, Some(by.clone()));
        if !self.change(None, &quarantine, Some(quarantine.clone()), event).await? {
            let Quarantine { device, name: port, .. } = quarantine;
            return Err(match self.0.site.held_device(&device) {
                Some(_) => PortError::Already { device, port },
                None => PortError::UnknownDevice(device),
            });
        }
        Ok((quarantine, behind))
    }

    /// Approves what another person asked for.
    ///
    /// # Errors
    /// [`PortError`] says why it is refused. What is behind the port is looked at again.
    pub async fn approve(
        &self,
        device: &HostName,
        port: &str,
        by: &Actor,
    ) -> Result<Quarantine, PortError> {
        let (held, interface) = self.find(device, port)?;
        let mut quarantine = self.one(device, &interface)?;
        if quarantine.stage != Stage::Waiting {
            return Err(PortError::Already { device: device.clone(), port: quarantine.name });
        }
        if quarantine.asked_by == by.as_str() {
            return Err(PortError::SamePerson(quarantine.asked_by));
        }
        self.guarded(&held, &interface)?;
        quarantine.approved_by = Some(by.as_str().to_owned());
        quarantine.stage = Stage::Wanted;
        let said = Text::new(
            format!(
                "quarantine of {}, asked for by {}, is approved",
                quarantine.name, quarantine.asked_by
            ),
            format!("端口 {} 的隔离（由 {} 申请）已获批准", quarantine.name, quarantine.asked_by),
        );
        let event = (EventKind::PortApproved, said, Some(by.clone()));
        let to = Some(quarantine.clone());
        if !self.change(Some(Stage::Waiting), &quarantine, to, event).await? {
            return Err(PortError::Moved { device: device.clone(), port: quarantine.name });
        }
        self.0.wake.notify_one();
        Ok(quarantine)
    }

    /// Ends a quarantine, or takes a wish back. One person is enough to undo, and the device need not have
    /// been heard of since the collector was started.
    ///
    /// # Errors
    /// When there is none, or the store cannot be written.
    pub async fn release(
        &self,
        device: &HostName,
        port: &str,
        by: &Actor,
    ) -> Result<Quarantine, PortError> {
        let mut quarantine = self.recorded(device, port)?;
        let said = Text::new(
            format!("quarantine of {} is to end", quarantine.name),
            format!("解除端口 {} 的隔离", quarantine.name),
        );
        let from = quarantine.stage;
        let to = (from != Stage::Waiting).then(|| {
            quarantine.stage = Stage::Ending;
            quarantine.clone()
        });
        let event = (EventKind::PortReleased, said, Some(by.clone()));
        if !self.change(Some(from), &quarantine, to, event).await? {
            return Err(PortError::Moved { device: device.clone(), port: quarantine.name });
        }
        self.0.wake.notify_one();
        Ok(quarantine)
    }

    /// Whether a device may be taken away: not while one of its ports is off, or is to be. One that is to be
    /// on again and cannot be reached may go; somebody has replaced it. Nothing changes while the answer is
    /// held.
    ///
    /// # Errors
    /// [`PortError::Held`] or [`PortError::Ending`].
    pub(crate) async fn leave(&self, device: &HostName) -> Result<Leaving<'_>, PortError> {
        let turn = self.0.changing.lock().await;
        let of_it: Vec<Quarantine> =
            self.held().values().filter(|one| one.device == *device).cloned().collect();
        for Quarantine { device, name: port, stage, failed, .. } in of_it.iter().cloned() {
            match stage {
                Stage::Waiting | Stage::Wanted | Stage::InForce => {
                    return Err(PortError::Held { device, port });
                }
                Stage::Ending if failed.is_none() => {
                    return Err(PortError::Ending { device, port });
                }
                Stage::Ending => {}
            }
        }
        Ok(Leaving { ports: self, of_it, _turn: turn })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Key, Quarantine>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn one(&self, device: &HostName, port: &Interface) -> Result<Quarantine, PortError> {
        self.held()
            .get(&(device.clone(), port.index))
            .cloned()
            .ok_or_else(|| PortError::None { device: device.clone(), port: port.name.clone() })
    }

    /// A quarantine by the name or number of its port as it was when it was asked for.
    fn recorded(&self, device: &HostName, port: &str) -> Result<Quarantine, PortError> {
        let number = port.parse().ok();
        let held = self.held();
        let mut of_it = held.values().filter(|one| one.device == *device);
        let fits = |one: &&Quarantine| one.name == port || Some(one.port) == number;
        of_it
            .find(fits)
            .cloned()
            .ok_or_else(|| PortError::None { device: device.clone(), port: fact::bounded(port) })
    }

    /// A port by name or number.
    fn find(&self, name: &HostName, port: &str) -> Result<(Arc<Device>, Interface), PortError> {
        let device = self.0.site.held_device(name);
        let device = device.ok_or_else(|| PortError::UnknownDevice(name.clone()))?;
        let view = device.view();
        let interfaces = view.interfaces.value().map_or(&[][..], Vec::as_slice);
        let number = port.parse().ok();
        let found = interfaces
            .iter()
            .find(|interface| interface.name == port)
            .or_else(|| interfaces.iter().find(|interface| Some(interface.index) == number));
        let unknown = || PortError::UnknownPort { device: name.clone(), port: fact::bounded(port) };
        let found = found.ok_or_else(unknown)?.clone();
        Ok((device, found))
    }

    /// What is behind a port that may be switched off.
    fn guarded(&self, device: &Device, port: &Interface) -> Result<Behind, PortError> {
        let wiring = self.0.site.wiring();
        let stale = device.view().freshness(Part::Bridge).is_stale(self.0.site.now());
        let looked = if stale || !wiring.complete {
            Err(Refusal::NotKnown)
        } else {
            let (at, own) = (&wiring.collector_at, &wiring.own);
            guard::behind(&wiring.topology, at, own, &device.name, port.index)
        };
        looked.map_err(|why| PortError::Guarded {
            device: device.name.clone(),
            port: port.name.clone(),
            why,
        })
    }

    /// Makes of a quarantine what `to` says (nothing: it is no more), with an event, and only then believes
    /// it. Gives false, and does nothing, where it is not at the stage `from` any more: somebody was
    /// faster.
    async fn change(
        &self,
        from: Option<Stage>,
        quarantine: &Quarantine,
        to: Option<Quarantine>,
        (kind, said, by): (EventKind, Text, Option<Actor>),
    ) -> Result<bool, StoreError> {
        let _turn = self.0.changing.lock().await;
        let mut all = self.held().clone();
        let key = (quarantine.device.clone(), quarantine.port);
        if all.get(&key).map(|held| held.stage) != from {
            return Ok(false);
        }
        // It may have been taken away since it was looked up.
        if from.is_none() && self.0.site.held_device(&quarantine.device).is_none() {
            return Ok(false);
        }
        match &to {
            Some(to) => all.insert(key.clone(), to.clone()),
            None => all.remove(&key),
        };
        self.keep(&all, quarantine, kind, said, by).await?;
        // Of others it may have been noted meanwhile that they failed.
        match to {
            Some(to) => self.held().insert(key, to),
            None => self.held().remove(&key),
        };
        self.0.site.moved();
        Ok(true)
    }

    async fn keep(
        &self,
        all: &BTreeMap<Key, Quarantine>,
        about: &Quarantine,
        kind: EventKind,
        said: Text,
        actor: Option<Actor>,
    ) -> Result<(), StoreError> {
        let list: Vec<&Quarantine> = all.values().collect();
        let text = serde_json::to_string(&list);
        let host = Some(about.device.clone());
        let event = NewEvent { at: self.0.site.now(), host, kind, text: said, actor };
        let job = move |store: &Transaction<'_>| -> rusqlite::Result<()> {
            let text =
                text.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            store::write_meta(store, META, &text)?;
            event.insert(store)
        };
        let job = move |store: &Transaction<'_>| {
            job(store).map_err(StoreError::failed("keep the quarantine of a port"))
        };
        self.0.site.store().write("keep the quarantine of a port", job).await
    }

    /// Sees that ports are as they are wanted until the collector stops.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut not_before: BTreeMap<Key, tokio::time::Instant> = BTreeMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.wake.notified() => not_before.clear(),
                () = tokio::time::sleep(TICK) => {}
            }
            for quarantine in self.all() {
                let key = (quarantine.device.clone(), quarantine.port);
                if not_before.get(&key).is_some_and(|at| *at > tokio::time::Instant::now()) {
                    continue;
                }
                match self.look_at(quarantine.clone()).await {
                    Ok(false) => {}
                    Ok(true) => {
                        not_before.insert(key, tokio::time::Instant::now() + AGAIN);
                    }
                    Err(why) => {
                        let (device, port) = (&quarantine.device, &quarantine.name);
                        warn!(%device, port, why, "a port is not as it should be");
                        not_before.insert(key.clone(), tokio::time::Instant::now() + AGAIN);
                        self.note_failed(&quarantine, Some(why));
                    }
                }
            }
        }
    }

    /// Does for one port what is to be done now; whether the switch was asked.
    async fn look_at(&self, mut quarantine: Quarantine) -> Result<bool, String> {
        let now = self.0.site.now();
        let name = quarantine.name.clone();
        let stored = |error: StoreError| error.to_string();
        match quarantine.stage {
            Stage::Waiting if quarantine.asked_at.age(now) > WAITS || quarantine.until <= now => {
                let said = Text::new(
                    format!("nobody approved the quarantine of {name} in time"),
                    format!("端口 {name} 的隔离未在时限内获得批准"),
                );
                let event = (EventKind::PortReleased, said, None);
                let dropped = self.change(Some(Stage::Waiting), &quarantine, None, event).await;
                dropped.map(|_| false).map_err(stored)
            }
            Stage::Waiting => Ok(false),
            Stage::Wanted | Stage::InForce if quarantine.until <= now => {
                let from = Some(quarantine.stage);
                quarantine.stage = Stage::Ending;
                let said = Text::new(
                    format!("the time of the quarantine of {name} is over"),
                    format!("端口 {name} 的隔离到期"),
                );
                let event = (EventKind::PortReleased, said, None);
                let to = Some(quarantine.clone());
                self.change(from, &quarantine, to, event).await.map_err(stored)?;
                self.0.wake.notify_one();
                Ok(false)
            }
            Stage::Wanted => {
                self.set(&quarantine, DOWN).await?;
                quarantine.stage = Stage::InForce;
                quarantine.failed = None;
                let said = Text::new(
                    format!(
                        "{name} is switched off until {}: {}",
                        quarantine.until, quarantine.reason
                    ),
                    format!("端口 {name} 已关闭至 {}：{}", quarantine.until, quarantine.reason),
                );
                // Where it was released meanwhile it stays so, and its end switches the port on again.
                let event = (EventKind::PortOff, said, None);
                let to = Some(quarantine.clone());
                let put = self.change(Some(Stage::Wanted), &quarantine, to, event).await;
                put.map(|_| true).map_err(stored)
            }
            Stage::InForce => {
                // Of a switch that is silent nothing is known, and why it could not be set still counts.
                let Some(port) = self.now(&quarantine) else { return Ok(false) };
                // A switch that was started again knows nothing of it.
                let on = port.wanted == Link::Up;
                if on {
                    self.set(&quarantine, DOWN).await?;
                }
                self.note_failed(&quarantine, None);
                Ok(on)
            }
            Stage::Ending => {
                self.set(&quarantine, UP).await?;
                let said = Text::new(
                    format!("{name} is switched on again"),
                    format!("端口 {name} 已重新开启"),
                );
                let event = (EventKind::PortOn, said, None);
                let dropped = self.change(Some(Stage::Ending), &quarantine, None, event).await;
                dropped.map(|_| true).map_err(stored)
            }
        }
    }

    /// Notes why a port is not as it should be, or that it is.
    fn note_failed(&self, quarantine: &Quarantine, why: Option<String>) {
        let key = (quarantine.device.clone(), quarantine.port);
        if let Some(held) = self.held().get_mut(&key) {
            held.failed = why;
        }
    }

    /// The port as the device tells of it now: a device that was started again may number its interfaces
    /// otherwise (RFC 2863, 3.1.5).
    fn now(&self, quarantine: &Quarantine) -> Option<Interface> {
        let view = self.0.site.held_device(&quarantine.device)?.view();
        let all = view.interfaces.value()?;
        all.iter().find(|interface| interface.name == quarantine.name).cloned()
    }

    /// Has the switch set the port, and reads it back.
    async fn set(&self, quarantine: &Quarantine, wanted: i32) -> Result<(), String> {
        let device = self.0.site.held_device(&quarantine.device);
        let device = device.ok_or("the device is not polled any more")?;
        let port = self.now(quarantine);
        let port = port.ok_or("the device does not tell of a port of this name now")?;
        let name: Oid = known(&ADMIN_STATUS).then(&[port.index]);
        let asked = async {
            let session = device.dialled(&self.0.sockets, PATIENCE).await?;
            session.set(&name, &Value::Integer(wanted)).await?;
            session.get(std::slice::from_ref(&name)).await
        };
        let read = asked.await.map_err(|error: SnmpError| error.to_string())?;
        match read.first().map(|binding| &binding.value) {
            Some(Value::Integer(found)) if *found == wanted => {
                info!(device = %quarantine.device, port = quarantine.name, wanted, "a port was set");
                device.changed.notify_one();
                Ok(())
            }
            other => Err(format!("the switch took the order and says {other:?} of the port")),
        }
    }
}

/// A device that may be taken away. While this is held, no port goes into quarantine.
pub(crate) struct Leaving<'a> {
    ports: &'a Ports,
    of_it: Vec<Quarantine>,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl Leaving<'_> {
    /// The device is gone: what is left of its quarantines ends with it, and the journal says that their
    /// ports may still be off.
    ///
    /// # Errors
    /// When the store cannot be written. The next start then finds them, and nothing comes of them.
    pub(crate) async fn gone(self, by: &Actor) -> Result<(), StoreError> {
        for quarantine in &self.of_it {
            let mut all = self.ports.held().clone();
            let key = (quarantine.device.clone(), quarantine.port);
            all.remove(&key);
            let name = &quarantine.name;
            let said = Text::new(
                format!("{name} could not be switched on again; the device is polled no more"),
                format!("端口 {name} 未能重新开启；已停止轮询该设备"),
            );
            let (kind, by) = (EventKind::PortReleased, Some(by.clone()));
            self.ports.keep(&all, quarantine, kind, said, by).await?;
            self.ports.held().remove(&key);
        }
        self.ports.0.site.moved();
        Ok(())
    }
}
