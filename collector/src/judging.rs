//! From what is held to what is wrong: every host and device that changed is judged at once, each at
//! least every [`JUDGED_EVERY`], and what follows becomes findings, events and alerts.
//!
//! This is off the way of the reports: it looks at what is held and may fall behind it, and it never
//! takes more than a quarter of the time of one core.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bailey_rules::check::{self, Check, Given, Judged, Status, Verdict, judge, worst};
use bailey_rules::device::Part;
use bailey_rules::expectation::Expectations;
use bailey_rules::fact::FactKind;
use bailey_rules::finding::{Change, Finding, Severity, advance, identity};
use bailey_rules::host::HostView;
use bailey_rules::name::{FindingId, HostKey, HostName, ZoneName};
use bailey_rules::policy::Policy;
use bailey_rules::prove::site::told::About;
use bailey_rules::text::Text;
use bailey_rules::time::{Timestamp, spoken};
use bailey_rules::topology::Asset;
use rusqlite::{Connection, Transaction, params};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::device::{Device, DeviceStatus};
use crate::host::{Host, Snapshot};
use crate::journal::NewEvent;
use crate::proving::{Known, Olds};
use crate::site::{Config, EventKind, HostStatus, Site};
use crate::store::{Store, StoreError, write_snapshot};
use crate::trap::intake::Traps;
use crate::wiring::Wiring;

/// No verdict that is shown is older than this: silence grows old without a report.
pub const JUDGED_EVERY: Duration = Duration::from_secs(5);

/// How often the judge looks for hosts whose turn it is.
const TICK: Duration = Duration::from_millis(100);

/// How often the judge looks for devices whose turn it is: there are thousands, and each of their polls has
/// them judged besides.
const DEVICES_LOOKED_AT: Duration = Duration::from_secs(1);

/// The shortest pause between two passes: what arrives together is judged together.
const PAUSE: Duration = Duration::from_millis(20);

/// How much longer than a pass the pause after it is.
const REST: u32 = 3;

/// The pages are told of a change at most this often.
const REVISION: Duration = Duration::from_millis(100);

/// Hosts that are judged without letting anybody else have the core.
const IN_ONE_GO: usize = 16;

/// After the collector was started, a host that has not reported yet opens no new finding for this
/// long, or for three of its intervals, whichever is longer: it was the collector that was away.
const RESTART_GRACE: Duration = Duration::from_mins(1);

/// Checks that rest on no probe and still on whether reports come. The others without probes rest on
/// what the collector itself knows.
const REST_ON_REPORTS: [&str; 2] = ["host_silent", "probe_failed"];

/// A finding that is only seen again is written at most this often.
const TOUCHED_WRITTEN: Duration = Duration::from_mins(5);

/// The most changes of findings that wait to be written; the oldest are left out beyond that.
const MAX_UNWRITTEN: usize = 10_000;

/// The most changes of findings in one write.
const MAX_WRITTEN: usize = 500;

/// How long to wait after a write that failed.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// How old answers about invariants are is looked at this often: silence makes them stale, too.
const PROOFS_AGED: Duration = Duration::from_secs(1);

/// The component of the checks that guard the zones.
const ISOLATION: &str = "isolation";

/// Judges the site.
pub(crate) struct Judge {
    site: Site,
    saver: Saver,
    proofs: Proofs,
    wanted: HashMap<HostKey, (u64, Arc<Expectations>)>,
    touched: HashMap<FindingId, Timestamp>,
    /// Since when each asset that does not answer is judged so.
    silent: HashMap<HostKey, Timestamp>,
    unshown: bool,
    shown_at: Option<Instant>,
    devices_looked_at: Option<Instant>,
    problems: usize,
}

/// What proofs say, and which of them are old, looked up once for many hosts.
#[derive(Debug, Default)]
struct Proofs {
    known: Arc<Known>,
    olds: Olds,
    looked_at: Option<Timestamp>,
}

impl Proofs {
    /// What is told of a host.
    fn about(&mut self, site: &Site, host: &Host, now: Timestamp) -> Vec<About> {
        let known = site.proofs();
        let is_due = self.looked_at.is_none_or(|at| at > now || at.age(now) >= PROOFS_AGED);
        if is_due || !Arc::ptr_eq(&known, &self.known) {
            self.olds = site.old_proofs(&known, now);
            self.known = known;
            self.looked_at = Some(now);
        }
        self.known.about(&host.name, &self.olds)
    }
}

impl Judge {
    pub(crate) fn new(site: Site, saver: Saver) -> Self {
        Self {
            site,
            saver,
            proofs: Proofs::default(),
            wanted: HashMap::new(),
            touched: HashMap::new(),
            silent: HashMap::new(),
            unshown: true,
            shown_at: None,
            devices_looked_at: None,
            problems: 0,
        }
    }

    /// Judges until the collector stops.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let site = self.site.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = site.dirty().wake.notified() => self.unshown = true,
                () = tokio::time::sleep(TICK) => {}
            }
            let began = Instant::now();
            self.pass().await;
            let took = began.elapsed();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep((took * REST).max(PAUSE)) => {}
            }
        }
    }

    /// Judges every host and device that changed or whose turn it is.
    pub(crate) async fn pass(&mut self) {
        let began = Instant::now();
        let devices = self.devices_in_turn();
        for devices in devices.chunks(IN_ONE_GO) {
            for (device, polled) in devices {
                self.judge_device(device, *polled);
            }
            tokio::task::yield_now().await;
        }
        let mut turn = self.site.dirty().take();
        // Whatever wakes the judge besides hosts is shown too: an event, a problem.
        let problems = self.site.problems().len();
        self.unshown |= std::mem::replace(&mut self.problems, problems) != problems;
        let changed: HashSet<HostKey> = turn.iter().map(|host| host.key).collect();
        let all = self.site.held();
        let now = self.site.now();
        let old = |host: &&Arc<Host>| {
            let judged_at = host.status().judged_at;
            judged_at.age(now) + TICK >= JUDGED_EVERY || judged_at > now
        };
        // The turns of an idle site spread over the whole time by themselves, once they are bounded.
        let share = all.len().div_ceil(25).max(1);
        turn.extend(
            all.iter().filter(|host| !changed.contains(&host.key)).filter(old).take(share).cloned(),
        );
        self.forget(&all);
        for hosts in turn.chunks(IN_ONE_GO) {
            for host in hosts {
                self.judge(host, changed.contains(&host.key));
            }
            tokio::task::yield_now().await;
        }
        if !turn.is_empty() || !devices.is_empty() {
            self.site.counters().judge_duration.note(began.elapsed(), 1);
        }
        self.show();
    }

    /// Judges every host and device once, before anybody can see the site.
    pub(crate) fn judge_all(&mut self) {
        for host in self.site.held() {
            self.judge(&host, true);
        }
        for device in self.site.held_devices() {
            self.judge_device(&device, true);
        }
    }

    /// The devices that were polled since, and those whose turn it is.
    fn devices_in_turn(&mut self) -> Vec<(Arc<Device>, bool)> {
        let polled = self.site.dirty().take_devices();
        let looked_at = self.devices_looked_at;
        if looked_at.is_some_and(|at| at.elapsed() < DEVICES_LOOKED_AT) {
            return polled.into_iter().map(|device| (device, true)).collect();
        }
        self.devices_looked_at = Some(Instant::now());
        let seen: HashSet<HostKey> = polled.iter().map(|device| device.key).collect();
        let all = self.site.held_devices();
        let now = self.site.now();
        let old = |device: &&Arc<Device>| {
            let status = device.status();
            let every = JUDGED_EVERY.max(judged_without_a_poll(device, now));
            status.judged_at.age(now) + TICK >= every || status.judged_at > now
        };
        let share = all.len().div_ceil(3).max(1);
        let others = all.iter().filter(|device| !seen.contains(&device.key)).filter(old);
        let others = others.take(share).cloned().map(|device| (device, false));
        polled.into_iter().map(|device| (device, true)).chain(others).collect()
    }

    fn show(&mut self) {
        if self.unshown && self.shown_at.is_none_or(|at| at.elapsed() >= REVISION) {
            self.unshown = false;
            self.shown_at = Some(Instant::now());
            self.site.moved();
        }
    }

    fn forget(&mut self, hosts: &[Arc<Host>]) {
        if self.wanted.len() > hosts.len() + self.site.count_devices() {
            let devices = self.site.held_devices();
            let keys = hosts.iter().map(|host| host.key);
            let keys: HashSet<HostKey> =
                keys.chain(devices.iter().map(|device| device.key)).collect();
            self.wanted.retain(|key, _| keys.contains(key));
            self.silent.retain(|key, _| keys.contains(key));
            self.unshown = true;
        }
    }

    fn judge(&mut self, host: &Arc<Host>, reported: bool) {
        if let Some(snapshot) = host.settle() {
            save_snapshot(self.site.store(), host, snapshot);
        }
        if host.revoked.is_cancelled() {
            return;
        }
        let now = self.site.now();
        let config = self.site.config();
        let wanted = self.wanted(&host.key, &host.name, &host.zone, &config);
        let view = host.view();
        let proofs = self.proofs.about(&self.site, host, now);
        let policy = &config.policy;
        let given = Given { host: &view, wanted: &wanted, policy, proofs: &proofs, now };
        let mut judged = judge(&given);
        judged.extend(self.site.traps().judged(&host.name, now));
        let mut open = self.site.findings_of(&host.key);
        if !host.heard_since_start() {
            quiet_after_restart(&mut judged, &open, &view, self.site.started_at(), now);
        }
        let fresh = given.fresh(&[FactKind::Identity.probe()]);
        let asset = Asset::Host(host.name.clone());
        let mut silent = self.silent.remove(&host.key);
        self.site.wiring().judge(&asset, fresh, &mut judged, &mut silent, now);
        self.silent.extend(silent.map(|since| (host.key, since)));
        let changes = advance(&open, &*view, &judged, now);
        let event = |kind, said| host.event(now, kind, said);
        let (moved, resolved) = self.take(&mut open, changes, event, now);
        self.site.set_findings(&host.key, open);
        let before = host.status();
        let status = HostStatus { state: worst(&judged), view, judged, judged_at: now };
        self.unshown |= reported || moved || says_other(&before.judged, &status.judged);
        host.set_status(Arc::new(status));
        self.tell(moved, resolved);
    }

    fn judge_device(&mut self, device: &Arc<Device>, polled: bool) {
        if device.removed.is_cancelled() {
            return;
        }
        let now = self.site.now();
        let config = self.site.config();
        let wanted = self.wanted(&device.key, &device.name, &device.zone, &config);
        let (traps, wiring) = (self.site.traps(), self.site.wiring());
        let mut silent = self.silent.remove(&device.key);
        let demands = (&*wanted, &*config.policy);
        let status = judged(device, demands, traps, &wiring, &mut silent, now);
        self.silent.extend(silent.map(|since| (device.key, since)));
        let mut open = self.site.findings_of(&device.key);
        let changes = advance(&open, &*status.view, &status.judged, now);
        let site = self.site.clone();
        let event = |kind, said| device.event(now, kind, said, &site);
        let (moved, resolved) = self.take(&mut open, changes, event, now);
        self.site.set_findings(&device.key, open);
        let before = device.status();
        self.unshown |= polled || moved || says_other(&before.judged, &status.judged);
        device.set_status(status);
        self.tell(moved, resolved);
    }

    /// Takes changes into the open findings and has them written down. Gives whether anything but times
    /// moved, and what was resolved.
    fn take(
        &mut self,
        open: &mut BTreeMap<FindingId, Finding>,
        changes: Vec<Change>,
        event: impl Fn(EventKind, Text) -> Option<NewEvent>,
        now: Timestamp,
    ) -> (bool, Vec<Finding>) {
        let mut moved = false;
        let mut resolved = Vec::new();
        for change in changes {
            moved |= !matches!(change, Change::Touched(_));
            self.note(&event, &change, now);
            match change {
                Change::Opened(finding) | Change::Changed(finding) | Change::Touched(finding) => {
                    open.insert(finding.id, finding);
                }
                Change::Resolved(finding) => {
                    open.remove(&finding.id);
                    resolved.push(finding);
                }
            }
        }
        (moved, resolved)
    }

    /// Wakes whoever tells others of findings.
    fn tell(&self, moved: bool, resolved: Vec<Finding>) {
        self.site.counters().judgements.one();
        if !resolved.is_empty() {
            self.site.note_resolved(resolved);
        } else if moved {
            self.site.findings_changed();
        }
    }

    fn wanted(
        &mut self,
        key: &HostKey,
        name: &HostName,
        zone: &ZoneName,
        config: &Config,
    ) -> Arc<Expectations> {
        match self.wanted.get(key) {
            Some((generation, wanted)) if *generation == config.generation => Arc::clone(wanted),
            Some(_) | None => {
                let wanted = Arc::new(config.rule_files.for_host(name, zone));
                self.wanted.insert(*key, (config.generation, Arc::clone(&wanted)));
                wanted
            }
        }
    }

    /// Has a change written down, with an event where people should know.
    fn note(
        &mut self,
        event: impl Fn(EventKind, Text) -> Option<NewEvent>,
        change: &Change,
        now: Timestamp,
    ) {
        let finding = change.finding();
        let (kind, said) = match change {
            Change::Opened(_) => (EventKind::FindingOpened, opened(finding)),
            Change::Changed(_) => (EventKind::FindingChanged, changed(finding)),
            Change::Resolved(_) => (EventKind::FindingResolved, resolved(finding)),
            Change::Touched(_) => {
                let written = self.touched.get(&finding.id).copied();
                let due = written.is_none_or(|at| at.age(now) >= TOUCHED_WRITTEN);
                if due {
                    self.touched.insert(finding.id, now);
                    self.saver.save(finding.clone(), None, &self.site);
                }
                return;
            }
        };
        info!(
            host = %finding.host_name, check = finding.check, subject = finding.subject,
            severity = finding.severity.as_str(), held = finding.held, change = kind.as_str(),
            "{}", finding.why.en
        );
        if matches!(change, Change::Opened(_)) && finding.component == ISOLATION {
            self.count_violation(&finding.check);
        }
        if matches!(change, Change::Resolved(_)) {
            self.touched.remove(&finding.id);
        } else {
            self.touched.insert(finding.id, now);
        }
        let event = event(kind, said);
        self.saver.save(finding.clone(), event, &self.site);
    }

    fn count_violation(&self, check: &str) {
        if let Some(check) = check::every().find(|known| known.name == check) {
            self.site.counters().isolation_violations.one(check.name);
        }
    }
}

fn severity(finding: &Finding) -> Text {
    match finding.severity {
        Severity::Warning => Text::new("warning", "警告"),
        Severity::Critical => Text::new("critical", "严重"),
    }
}

fn of_subject(finding: &Finding) -> String {
    match finding.subject.as_str() {
        "" => finding.check.clone(),
        subject => format!("{} {subject}", finding.check),
    }
}

fn opened(finding: &Finding) -> Text {
    let (what, how) = (of_subject(finding), severity(finding));
    Text::new(
        format!("{} ({what}): {}", how.en, finding.why.en),
        format!("{}（{what}）：{}", how.zh, finding.why.zh),
    )
}

fn changed(finding: &Finding) -> Text {
    let said = opened(finding);
    if !finding.held {
        return said;
    }
    Text::new(
        format!("{}; nothing fresh says whether that is still so", said.en),
        format!("{}；没有新数据说明是否仍然如此", said.zh),
    )
}

fn resolved(finding: &Finding) -> Text {
    let (what, length) = (
        of_subject(finding),
        spoken(finding.first_at.age(finding.resolved_at.unwrap_or(finding.last_at))),
    );
    Text::new(
        format!("resolved ({what}) after {}", length.en),
        format!("已解决（{what}），历时 {}", length.zh),
    )
}

/// Whether the verdicts differ in more than wording and times.
fn says_other(before: &[Judged], after: &[Judged]) -> bool {
    fn said(judged: &[Judged]) -> impl Iterator<Item = (&str, &str, Status, bool)> {
        judged.iter().flat_map(|result| {
            result.verdicts.iter().map(|verdict| {
                (result.check.name, verdict.subject.as_str(), verdict.status, verdict.stale)
            })
        })
    }
    !said(before).eq(said(after))
}

/// How often a device is judged besides at each of its polls: only of one that is late, does not answer, or
/// has a line whose far end does not, anything can grow old before the next.
fn judged_without_a_poll(device: &Device, now: Timestamp) -> Duration {
    let polling = &device.view().polling;
    let interval = polling.interval;
    let late = polling.asked_at.is_none_or(|at| at > now || at.age(now) > interval * 5 / 4);
    let waits = late || polling.failed.is_some() || device.has_silent_line();
    if waits { interval / 4 } else { interval * 5 / 4 }
}

/// What the checks say of a device now. `silent` is where it is kept since when it is judged as one that
/// does not answer.
pub(crate) fn judged(
    device: &Device,
    (wanted, policy): (&Expectations, &Policy),
    traps: &Traps,
    wiring: &Wiring,
    silent: &mut Option<Timestamp>,
    now: Timestamp,
) -> DeviceStatus {
    let mut view = device.view();
    let quality = device.quality();
    if !quality.is_empty() {
        Arc::make_mut(&mut view).quality = quality;
    }
    let Expectations { device: of_device, isolation, .. } = wanted;
    let given = check::device::Given { device: &view, wanted: of_device, isolation, policy, now };
    let mut judged = check::device::judge(&given);
    judged.extend(traps.judged_of_device(&view, now));
    let fresh = given.fresh(&[Part::Neighbours, Part::Bridge]);
    let asset = Asset::Device(device.name.clone());
    wiring.judge(&asset, fresh, &mut judged, silent, now);
    DeviceStatus {
        state: worst(&judged),
        view,
        judged,
        judged_at: now,
        added_by: device.added_by.clone(),
        version: device.version(),
    }
}

/// Whatever looks wrong because the collector was away is unknown for a while: not a finding, and not
/// as it should be either.
fn quiet_after_restart(
    judged: &mut [Judged],
    open: &BTreeMap<FindingId, Finding>,
    view: &HostView,
    started_at: Timestamp,
    now: Timestamp,
) {
    let grace = RESTART_GRACE.max(view.session.interval.saturating_mul(3));
    let running = started_at.age(now);
    if running >= grace {
        return;
    }
    let ago = spoken(running);
    for result in judged {
        let check = result.check;
        if check.probes.is_empty() && !REST_ON_REPORTS.contains(&check.name) {
            continue;
        }
        for verdict in &mut result.verdicts {
            let id = identity(&view.key, check.name, &verdict.subject);
            if Severity::of(verdict.status).is_some() && !open.contains_key(&id) {
                verdict.status = Status::Unknown;
                verdict.why = Text::new(
                    format!("the collector was started {} ago and waits for a report", ago.en),
                    format!("采集器于 {}前启动，正在等待上报", ago.zh),
                );
            }
        }
    }
}

/// What the checks that `picked` holds for say of a subject, such as an interface or a line.
pub(crate) fn verdicts_on<'a>(
    judged: &'a [Judged],
    picked: impl Fn(&Check) -> bool + 'a,
    subject: &'a str,
) -> impl Iterator<Item = &'a Verdict> {
    let judged = judged.iter().filter(move |judged| picked(judged.check));
    let verdicts = judged.flat_map(|judged| &judged.verdicts);
    verdicts.filter(move |verdict| verdict.subject == subject)
}

/// Writes a snapshot while everything else goes on.
pub(crate) fn save_snapshot(store: &Store, host: &Arc<Host>, snapshot: Snapshot) {
    let (store, host) = (store.clone(), Arc::clone(host));
    tokio::spawn(async move {
        if let Err(error) = write_down(&store, &host, snapshot).await {
            warn!(host = %host.name, %error, "the host's state will be written again");
            host.snapshot_failed();
        }
    });
}

/// Writes a snapshot and waits for it.
pub(crate) async fn write_down(
    store: &Store,
    host: &Host,
    snapshot: Snapshot,
) -> Result<(), StoreError> {
    let (no, upto, revoked) = (host.no, snapshot.upto, host.revoked.clone());
    let job = move |store: &Transaction<'_>| {
        if revoked.is_cancelled() {
            return Ok(());
        }
        write_snapshot(store, no, upto, &snapshot.body)
            .map_err(StoreError::failed("write a snapshot"))
    };
    store.write("write a snapshot", job).await?;
    host.snapshot_written(upto);
    Ok(())
}

/// Puts a finding as it is now into the store. An open one of a host or device that was taken away
/// meanwhile is left out: nothing would ever resolve it.
pub(crate) fn write_finding(store: &Transaction<'_>, finding: &Finding) -> rusqlite::Result<()> {
    let body = serde_json::to_string(finding)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    store
        .prepare_cached(
            "INSERT INTO finding (id, first_at, host, resolved_at, body) SELECT ?1, ?2, ?3, ?4, ?5
             WHERE ?4 IS NOT NULL
                OR EXISTS (SELECT 1 FROM identity WHERE key = ?3 AND revoked_at IS NULL)
                OR EXISTS (SELECT 1 FROM device WHERE key = ?3)
             ON CONFLICT (id, first_at) DO UPDATE
             SET resolved_at = excluded.resolved_at, body = excluded.body",
        )?
        .execute(params![
            finding.id.as_bytes(),
            finding.first_at.as_millis(),
            finding.host.as_bytes(),
            finding.resolved_at.map(Timestamp::as_millis),
            body,
        ])
        .map(drop)
}

/// The open findings of the store. One that cannot be read any more is left out; if its cause lasts
/// it is found again.
pub(crate) fn open_findings(store: &Connection) -> rusqlite::Result<Vec<Finding>> {
    let mut statement =
        store.prepare("SELECT first_at, body FROM finding WHERE resolved_at IS NULL")?;
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let mut findings = Vec::new();
    for row in rows {
        let (first_at, body) = row?;
        match serde_json::from_str::<Finding>(&body) {
            // The text of a time ends at the second, and this one is part of the row's key.
            Ok(finding) => {
                findings.push(Finding { first_at: Timestamp::from_millis(first_at), ..finding });
            }
            Err(error) => warn!(%error, "a stored finding cannot be read any more"),
        }
    }
    Ok(findings)
}

/// Writes findings and their events down, and again when that fails.
#[derive(Clone)]
pub(crate) struct Saver(Arc<Unwritten>);

#[derive(Default)]
struct Unwritten {
    waiting: Mutex<VecDeque<(Finding, Option<NewEvent>)>>,
    wake: Notify,
}

impl Saver {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Finding, Option<NewEvent>)>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, finding: Finding, event: Option<NewEvent>, site: &Site) {
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_UNWRITTEN {
            waiting.pop_front();
            site.counters().findings_not_stored.one();
        }
        waiting.push_back((finding, event));
        drop(waiting);
        self.0.wake.notify_one();
    }

    /// Writes until the collector stops.
    pub(crate) async fn run(self, site: Site, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.wake.notified() => {}
            }
            while !self.flush(site.store()).await {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(WRITE_AGAIN) => {}
                }
            }
            site.dirty().wake.notify_one();
        }
    }

    /// Writes what waits; false when that failed and it still waits.
    pub(crate) async fn flush(&self, store: &Store) -> bool {
        loop {
            let some: Vec<_> = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(MAX_WRITTEN);
                waiting.drain(..count).collect()
            };
            if some.is_empty() {
                return true;
            }
            let some = Arc::new(some);
            let written = Arc::clone(&some);
            let job = move |store: &Transaction<'_>| {
                written
                    .iter()
                    .try_for_each(|(finding, event)| {
                        write_finding(store, finding)?;
                        event.iter().try_for_each(|event| event.insert(store))
                    })
                    .map_err(StoreError::failed("write findings"))
            };
            if store.write("write findings", job).await.is_err() {
                let mut waiting = self.waiting();
                for change in some.iter().rev() {
                    waiting.push_front(change.clone());
                }
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bailey_rules::check::{CHECKS, State, Verdict};

    use super::*;
    use crate::enrolment::Identity;

    fn view(started: Timestamp) -> HostView {
        let identity = Identity {
            host: "oa-17".parse().unwrap(),
            zone: "inner".parse().unwrap(),
            key: HostKey::from_bytes([7; 32]),
            enrolled_at: started - Duration::from_hours(100),
            certificate_began: started,
            certificate_ends: started,
            revoked_at: None,
            revoked_reason: None,
        };
        let host = Host::new(1, &identity, Arc::default(), Arc::default());
        HostView::clone(&host.view())
    }

    fn silent() -> Vec<Judged> {
        let check = CHECKS.iter().find(|check| check.name == "host_silent").unwrap();
        let verdict = Verdict::new("", Status::Critical, Text::new("silent", "沉默"));
        vec![Judged { check, fresh: true, verdicts: vec![verdict] }]
    }

    #[test]
    fn after_a_restart_silence_is_unknown_and_never_ok() {
        let started = Timestamp::from_seconds(1_790_000_000);
        let view = view(started);
        let mut judged = silent();
        quiet_after_restart(&mut judged, &BTreeMap::new(), &view, started, started);
        assert_eq!(worst(&judged), State::Unknown);
        assert!(advance(&BTreeMap::new(), &view, &judged, started).is_empty());
    }

    #[test]
    fn when_the_grace_is_over_silence_is_what_it_is() {
        let started = Timestamp::from_seconds(1_790_000_000);
        let mut judged = silent();
        let late = started + RESTART_GRACE;
        quiet_after_restart(&mut judged, &BTreeMap::new(), &view(started), started, late);
        assert_eq!(worst(&judged), State::Critical);
    }

    #[test]
    fn a_finding_that_was_open_before_the_restart_stays_what_it_was() {
        let started = Timestamp::from_seconds(1_790_000_000);
        let view = view(started);
        let mut judged = silent();
        let changes = advance(&BTreeMap::new(), &view, &judged, started);
        let open = changes.iter().map(|c| (c.finding().id, c.finding().clone())).collect();
        quiet_after_restart(&mut judged, &open, &view, started, started);
        assert_eq!(worst(&judged), State::Critical);
        let again = advance(&open, &view, &judged, started);
        assert!(matches!(again[..], [Change::Touched(_)]), "{again:?}");
    }
}
