//! Reports on disk until the collector has them.
//!
//! The spool is a folder of segments, a ledger and a lock. Reports are appended to the newest
//! segment and flushed before they count as spooled. What the collector has acknowledged is
//! noted in the ledger, and a segment is removed only after a ledger that acknowledges all of it is
//! on disk (I1). Every number that was given and will never come is told as a [`Gap`] in its place
//! (I3): the spool keeps notes of what it drops itself, and sees as holes what was damaged or taken
//! away behind its back.
//!
//! Nothing that is found in the folder stops the start. A torn end of the last segment is cut off;
//! a damaged segment is kept in `quarantine/` and its good records are sent; files that are not the
//! spool's are left alone. A disk that cannot be written puts the spool into memory mode: it holds
//! [`MAX_HELD`] reports, says so as [`Spool::problem`], and goes back to the disk by itself.
//!
//! Ages are measured in *spool time*: the time the agent has run since the spool was made. Steps of
//! the system clock do not move it, and a machine that is off does not age its reports.

mod ledger;
mod segment;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bailey_rules::name::BootId;
use bailey_rules::report::{Gap, LossReason, MAX_REPORT, Place};
use bytes::Bytes;
use rand::RngCore;
use sha2::{Digest as _, Sha256};
use tracing::{error, info, warn};

use crate::settings::SpoolBounds;
use ledger::{Ledger, LedgerFile, Note, Point};
use segment::{At, Record};

/// A segment of this size is closed and another one begun.
pub const MAX_SEGMENT: u64 = 1024 * 1024;

/// A spool has room for at least this many segments: small spools have small segments, so that
/// dropping the oldest never drops most of them.
const LEAST_SEGMENTS: u64 = 8;

/// The most segments, whatever their size. Beyond, the oldest is dropped as a gap.
pub const MAX_SEGMENTS: usize = 4096;

/// The most items that are handed out and not acknowledged: the window of the uplink.
pub const MAX_HANDED: usize = 32;

/// The most reports that are kept in memory while the disk cannot be written; more than
/// [`MAX_HANDED`], so that there is always one that is not on its way. Beyond, the oldest of those
/// is dropped as a gap.
pub const MAX_HELD: usize = 64;

/// The most octets of reports that are kept in memory.
pub const MAX_HELD_OCTETS: usize = 4 * 1024 * 1024;

/// The most damaged segments that are kept aside; the oldest goes beyond.
pub const MAX_QUARANTINED: usize = 8;

/// How long after a failed attempt the disk is tried again.
pub const RETRY_DISK: Duration = Duration::from_secs(5);

/// The longest name of the kernel's boot that is kept; Linux gives 36 characters.
const MAX_KERNEL: usize = 64;

const LOCK: &str = "lock";
const QUARANTINE: &str = "quarantine";
const SUFFIX: &str = ".seg";

/// What goes to the collector, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A report.
    Report {
        /// Its place.
        place: Place,
        /// Its encoding, as it was handed to [`Spool::put`].
        payload: Bytes,
    },
    /// Reports that will never come.
    Loss(Gap),
}

impl Item {
    /// The first place that this item stands for.
    #[must_use]
    pub const fn first_place(&self) -> Place {
        match self {
            Self::Report { place, .. } => *place,
            Self::Loss(gap) => Place { boot: gap.boot, seq: gap.from },
        }
    }

    /// The last place that this item stands for; an acknowledgement names it.
    #[must_use]
    pub const fn last_place(&self) -> Place {
        match self {
            Self::Report { place, .. } => *place,
            Self::Loss(gap) => Place { boot: gap.boot, seq: gap.to },
        }
    }
}

/// Where a report went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is on disk and survives the end of the machine.
    OnDisk,
    /// It is in memory only: the disk cannot be written.
    InMemory,
}

/// What came of comparing the spool with what the collector has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// The numbering goes on.
    Continues,
    /// The collector knows numbers that this spool has not given yet: the spool was put back to an
    /// older state. A new numbering has begun, and what was not sent yet is lost.
    Renumbered,
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has it.
    #[error("another agent uses the spool {}: stop it first, or give this one another --state", .0.display())]
    InUse(PathBuf),
}

/// An item that was handed out, and what its acknowledgement therefore moves.
#[derive(Debug, Clone, Copy)]
struct Handed {
    last: Place,
    /// The point up to which the disk is then done with.
    point: Option<Point>,
    /// The number of notes, from the oldest on, that are then done with.
    notes: usize,
    /// Whether the oldest item in memory is then done with.
    memory: bool,
}

impl Handed {
    /// Whether the item is a note.
    const fn is_note(&self) -> bool {
        self.point.is_none() && !self.memory
    }
}

/// How far the items have been handed out.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    point: Point,
    /// The last place handed out or acknowledged.
    place: Option<Place>,
    /// Notes handed out, from the oldest on.
    notes: usize,
    /// Items in memory handed out, from the oldest on.
    memory: usize,
    /// Whether damage was met since the last good record.
    damage: bool,
}

impl Cursor {
    /// What was handed out by moving here.
    fn handed(&self, point: Option<Point>, memory: bool) -> Handed {
        let last = self.place.expect("an item has a place");
        Handed { last, point, notes: self.notes, memory }
    }
}

/// A segment as it is known without reading it.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// Octets that hold records.
    size: u64,
    /// Spool time of its first record, milliseconds.
    first_at: u64,
}

/// The folder while it can be written.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    ledger: LedgerFile,
    segments: BTreeMap<u64, Segment>,
    /// The segment that is appended to.
    active: Option<(u64, File)>,
    /// The segment that was read last.
    reading: Option<(u64, File)>,
    /// The number of the next segment.
    next_segment: u64,
    /// Held for as long as the spool is open.
    _lock: File,
}

/// The spool. Its methods wait for the disk: call them where that holds up nobody.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    bounds: SpoolBounds,
    disk: Option<Disk>,
    state: Ledger,
    memory: VecDeque<Item>,
    handed: VecDeque<Handed>,
    cursor: Cursor,
    problem: Option<String>,
    retry_at: Option<Instant>,
    opened: Instant,
    opened_at: u64,
    lost: u64,
}

impl Spool {
    /// Opens the spool in `folder`, which is made when it is not there. `kernel` names the kernel's
    /// boot (`/proc/sys/kernel/random/boot_id`): in the same boot the numbering goes on.
    ///
    /// # Errors
    /// Only when another process uses it. A folder that cannot be used is a [`Spool::problem`].
    pub fn open(
        folder: &Path,
        bounds: SpoolBounds,
        kernel: &str,
        rng: &mut impl RngCore,
        now: Instant,
    ) -> Result<Self, SpoolError> {
        let kernel: String = kernel.trim().chars().take(MAX_KERNEL).collect();
        let mut spool = Self {
            folder: folder.to_owned(),
            bounds,
            disk: None,
            state: Ledger {
                boot: new_numbering(&kernel, rng),
                kernel,
                last: 0,
                volatile: false,
                acknowledged: None,
                point: Point::default(),
                at: 0,
                notes: Vec::new(),
            },
            memory: VecDeque::new(),
            handed: VecDeque::new(),
            cursor: Cursor::default(),
            problem: None,
            retry_at: None,
            opened: now,
            opened_at: 0,
            lost: 0,
        };
        spool.attach(now)?;
        Ok(spool)
    }

    /// The place of the next report.
    #[must_use]
    pub fn next_place(&self) -> Place {
        Place { boot: self.state.boot, seq: self.state.last + 1 }
    }

    /// Keeps a report under [`Spool::next_place`]. Once this returns [`Kept::OnDisk`] it is safe.
    pub fn put(&mut self, payload: Bytes, now: Instant) -> Kept {
        debug_assert!(payload.len() <= MAX_REPORT, "the assembler splits what is larger");
        let place = self.next_place();
        self.state.last = place.seq;
        self.memory.push_back(Item::Report { place, payload });
        self.tend(now);
        if self.memory.is_empty() {
            return Kept::OnDisk;
        }
        self.bound_memory();
        Kept::InMemory
    }

    /// Does what waits for the disk: writes what is in memory, removes what is acknowledged and
    /// what is beyond the bounds. [`Spool::put`] does this too.
    pub fn tend(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        if self.disk.is_none() {
            if let Err(error) = self.attach(now) {
                self.problem = Some(error.to_string());
            }
            if self.disk.is_none() {
                self.retry_at = Some(now + RETRY_DISK);
                return;
            }
        }
        self.state.at = self.time(now);
        match self.store() {
            Ok(()) => {
                if self.problem.take().is_some() {
                    info!(folder = %self.folder.display(), "the spool is on disk again");
                }
            }
            Err(cause) => {
                self.retry_at = Some(now + RETRY_DISK);
                self.fail(&cause);
            }
        }
    }

    /// The next item for the collector, or `None` when all are handed out or [`MAX_HANDED`] are not
    /// acknowledged yet.
    #[allow(clippy::should_implement_trait, reason = "the spool goes on after None")]
    pub fn next(&mut self) -> Option<Item> {
        if self.handed.len() >= MAX_HANDED {
            return None;
        }
        let mut cursor = self.cursor;
        let step = self.step(&mut cursor);
        self.cursor = cursor;
        let (item, handed) = step?;
        self.handed.push_back(handed);
        Some(item)
    }

    /// Whether [`Spool::next`] would find its window full.
    #[must_use]
    pub fn is_window_full(&self) -> bool {
        self.handed.len() >= MAX_HANDED
    }

    /// The number of items that are handed out and not acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.handed.len()
    }

    /// Goes back to the oldest item that is not acknowledged.
    pub fn rewind(&mut self) {
        self.handed.clear();
        self.cursor =
            Cursor { point: self.state.point, place: self.state.acknowledged, ..Cursor::default() };
    }

    /// The place of the oldest item that is not acknowledged. To be called after
    /// [`Spool::rewind`].
    pub fn oldest(&mut self) -> Option<Place> {
        let mut cursor = self.cursor;
        self.step(&mut cursor).map(|(item, _)| item.first_place())
    }

    /// Takes up a new session: goes back to the oldest item that the collector does not have.
    /// `acknowledged` is the last place that it has.
    pub fn resume(&mut self, acknowledged: Option<Place>, rng: &mut impl RngCore) -> Resumed {
        self.rewind();
        let Some(theirs) = acknowledged else { return Resumed::Continues };
        if theirs.boot == self.state.boot && theirs.seq > self.state.last {
            self.renumber(rng);
            return Resumed::Renumbered;
        }
        let ours = self.state.acknowledged;
        if ours.is_some_and(|ours| ours.boot == theirs.boot && ours.seq >= theirs.seq) {
            return Resumed::Continues;
        }
        // The last acknowledgement may have been lost on its way: find that place ahead. Whatever
        // comes before it was handled, for the collector takes nothing out of order.
        let mut cursor = self.cursor;
        let mut found = theirs.boot == self.state.boot;
        let passed = loop {
            let before = cursor;
            let Some((_, handed)) = self.step(&mut cursor) else { break found.then_some(cursor) };
            let here = handed.last.boot == theirs.boot;
            if here && handed.last.seq <= theirs.seq {
                found = true;
            } else if here || before.place.is_some_and(|at| at.boot == theirs.boot) {
                // Past the notes before this item, but not past the item.
                let notes = cursor.notes - usize::from(handed.is_note());
                break Some(Cursor { notes, ..before });
            }
        };
        match passed {
            Some(passed) => self.pass(passed, Some(theirs)),
            // A ledger begun afresh does not know what came before the oldest segment.
            None if ours.is_none_or(|ours| ours.boot == theirs.boot) => {
                self.state.acknowledged = Some(theirs);
            }
            None => {}
        }
        self.rewind();
        Resumed::Continues
    }

    /// Takes everything before `cursor` as acknowledged.
    fn pass(&mut self, cursor: Cursor, last: Option<Place>) {
        self.state.acknowledged = last;
        self.state.point = cursor.point;
        self.memory.drain(..cursor.memory);
        self.forget_notes(cursor.notes);
    }

    /// Notes that the collector has everything up to `place`. What that frees is removed by the
    /// next [`Spool::tend`]. Gives `false` for a place that was not handed out in this session.
    pub fn acknowledge(&mut self, place: Place) -> bool {
        let covered =
            |handed: &Handed| handed.last.boot == place.boot && handed.last.seq <= place.seq;
        let Some(last) = self.handed.iter().rposition(covered) else {
            return self
                .state
                .acknowledged
                .is_some_and(|ours| ours.boot == place.boot && place.seq <= ours.seq);
        };
        self.settle_first(last + 1);
        true
    }

    /// Octets that the collector has not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        let on_disk: u64 = self.disk.as_ref().map_or(0, |disk| {
            disk.segments
                .range(self.state.point.segment..)
                .map(|(&index, segment)| {
                    let begun =
                        if index == self.state.point.segment { self.state.point.offset } else { 0 };
                    segment.size.saturating_sub(begun)
                })
                .sum()
        });
        on_disk + u64::try_from(self.held_octets()).expect("a usize fits")
    }

    /// Why reports are in memory only, if they are.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Moves whenever reports were dropped or found missing. The collector then misses changes, and
    /// the next report should be complete.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes other bounds from now on.
    pub fn set_bounds(&mut self, bounds: SpoolBounds) {
        self.bounds = bounds;
    }

    /// Flushes everything. What could not be written is said in the log and lost.
    pub fn close(mut self, now: Instant) {
        self.retry_at = None;
        self.tend(now);
        let held = self.memory.len();
        if held > 0 {
            error!(held, "reports were in memory only and are lost with the end of the agent");
        }
        if let Some(disk) = &mut self.disk
            && let Err(cause) = disk.ledger.write_through(&self.state)
        {
            warn!(%cause, "the spool's ledger could not be flushed; some reports may be sent again");
        }
    }

    fn time(&self, now: Instant) -> u64 {
        let run = now.saturating_duration_since(self.opened).as_millis();
        self.opened_at.saturating_add(u64::try_from(run).unwrap_or(u64::MAX))
    }

    fn held_octets(&self) -> usize {
        self.memory
            .iter()
            .map(|item| match item {
                Item::Report { payload, .. } => payload.len(),
                Item::Loss(_) => 0,
            })
            .sum()
    }

    fn fail(&mut self, cause: &io::Error) {
        let why = format!("cannot write the spool {}: {cause}", self.folder.display());
        if self.problem.as_ref() != Some(&why) {
            error!(%cause, folder = %self.folder.display(), "the spool cannot be written; reports are kept in memory");
        }
        self.problem = Some(why);
        self.state.volatile = !self.memory.is_empty();
        if let Some(disk) = &mut self.disk {
            // In place, so that it mostly works on a full disk; where it does not, a restart is
            // told by the collector that numbers were used.
            let _ = disk.ledger.write_through(&self.state);
        }
    }

    /// Moves the acknowledged state past the first items that were handed out.
    fn settle_first(&mut self, count: usize) {
        for _ in 0..count {
            let Some(handed) = self.handed.pop_front() else { return };
            self.state.acknowledged = Some(handed.last);
            if let Some(point) = handed.point {
                self.state.point = self.state.point.max(point);
            }
            if handed.memory {
                self.memory.pop_front();
                self.cursor.memory = self.cursor.memory.saturating_sub(1);
            }
            // Besides those that were told: what was dropped on its way, and then arrived after all.
            let point = self.state.point;
            let arrived = |note: &Note| {
                note.point < point
                    || note.gap.boot == handed.last.boot && note.gap.to <= handed.last.seq
            };
            let notes = &self.state.notes;
            let done = (handed.notes..notes.len()).find(|&at| !arrived(&notes[at]));
            self.forget_notes(done.unwrap_or(notes.len()).max(handed.notes).min(notes.len()));
        }
    }

    /// Takes the oldest notes away.
    fn forget_notes(&mut self, count: usize) {
        self.state.notes.drain(..count);
        self.cursor.notes = self.cursor.notes.saturating_sub(count);
        for handed in &mut self.handed {
            handed.notes = handed.notes.saturating_sub(count);
        }
    }

    /// The next item after `cursor`, which is moved past it.
    fn step(&mut self, cursor: &mut Cursor) -> Option<(Item, Handed)> {
        loop {
            let record = self.disk.as_mut().and_then(|disk| disk.read(cursor));
            let note = self.state.notes.get(cursor.notes);
            if let Some(note) = note.filter(|note| record.is_none() || note.point <= cursor.point) {
                let Note { point, gap } = note.clone();
                if let Some(hole) = hole_before(cursor, Place { boot: gap.boot, seq: gap.from }) {
                    return Some(self.told_hole(cursor, hole, point));
                }
                cursor.notes += 1;
                let from = match cursor.place {
                    Some(place) if place.boot == gap.boot => gap.from.max(place.seq + 1),
                    Some(_) | None => gap.from,
                };
                if from > gap.to {
                    continue;
                }
                cursor.place = Some(Place { boot: gap.boot, seq: gap.to });
                return Some((Item::Loss(Gap { from, ..gap }), cursor.handed(None, false)));
            }
            if let Some(record) = record {
                let place = record.place;
                if cursor.place.is_some_and(|at| at.boot == place.boot && place.seq <= at.seq) {
                    // Written twice, because the first time it was not known to have succeeded.
                    cursor.point.offset += record.size();
                    continue;
                }
                if let Some(hole) = hole_before(cursor, place) {
                    return Some(self.told_hole(cursor, hole, cursor.point));
                }
                cursor.point.offset += record.size();
                cursor.place = Some(place);
                cursor.damage = false;
                let item = Item::Report { place, payload: record.payload };
                return Some((item, cursor.handed(Some(cursor.point), false)));
            }
            let item = self.memory.get(cursor.memory).cloned();
            let begins = item.as_ref().map_or_else(|| self.next_place(), Item::first_place);
            if let Some(hole) = hole_before(cursor, begins) {
                return Some(self.told_hole(cursor, hole, cursor.point));
            }
            let item = item?;
            cursor.memory += 1;
            cursor.place = Some(item.last_place());
            return Some((item, cursor.handed(None, true)));
        }
    }

    /// A hole that nobody noted, before `point`.
    fn told_hole(
        &mut self,
        cursor: &mut Cursor,
        (boot, from, to): (BootId, u64, u64),
        point: Point,
    ) -> (Item, Handed) {
        let reason = if cursor.damage { LossReason::SpoolDamaged } else { LossReason::SpoolLost };
        warn!(%boot, from, to, reason = reason.as_str(), "reports are missing in the spool");
        self.lost += to - from + 1;
        cursor.place = Some(Place { boot, seq: to });
        (Item::Loss(Gap { boot, from, to, reason }), cursor.handed(Some(point), false))
    }

    /// Begins a new numbering because the collector knows numbers that this one has not given.
    fn renumber(&mut self, rng: &mut impl RngCore) {
        let mut unsent = 0;
        let mut cursor = self.cursor;
        let old = self.state.boot;
        while let Some((_, handed)) = self.step(&mut cursor) {
            if handed.last.boot == old {
                unsent += 1;
            }
        }
        self.pass(cursor, None);
        self.forget_notes(self.state.notes.len());
        self.state.boot = new_numbering(&self.state.kernel, rng);
        self.state.last = unsent;
        error!(
            old = %old, new = %self.state.boot, unsent,
            "the collector has reports of this host that its spool does not know: \
             the spool was put back to an older state; a new numbering begins"
        );
        if unsent > 0 {
            self.lost += unsent;
            let gap =
                Gap { boot: self.state.boot, from: 1, to: unsent, reason: LossReason::SpoolLost };
            self.note(Note { point: self.state.point, gap });
        }
        if let Some(disk) = &mut self.disk
            && let Err(cause) = disk.ledger.write_through(&self.state)
        {
            self.fail(&cause);
        }
        self.rewind();
    }

    /// Takes a note, in the order of the points.
    fn note(&mut self, note: Note) {
        self.insert_note(note, false);
    }

    /// Takes a note; `behind` tells that all of it has been handed out already, so that it is only
    /// told should the session break.
    fn insert_note(&mut self, note: Note, behind: bool) {
        let notes = &mut self.state.notes;
        let mut at = notes.partition_point(|other| other.point <= note.point);
        let ends_it = |other: &Note| {
            other.point == note.point && other.gap.boot == note.gap.boot && other.is_end()
        };
        at = notes[..at].iter().position(ends_it).unwrap_or(at);
        if behind {
            at = at.min(self.cursor.notes);
        }
        if let Some(before) = at.checked_sub(1).map(|before| &mut notes[before])
            && before.gap.boot == note.gap.boot
            && before.gap.reason == note.gap.reason
            && before.gap.to + 1 == note.gap.from
            && behind == (at <= self.cursor.notes)
            && !note.is_end()
        {
            before.gap.to = note.gap.to;
            before.point = note.point;
            return;
        }
        notes.insert(at, note);
        if behind || at < self.cursor.notes {
            self.cursor.notes += 1;
        }
        for handed in self.handed.iter_mut().filter(|handed| at < handed.notes) {
            handed.notes += 1;
        }
        if notes.len() > ledger::MAX_GAPS {
            let gap = notes[0].gap.clone();
            self.forget_notes(1);
            error!(boot = %gap.boot, from = gap.from, to = gap.to, "too many gaps wait; this one is forgotten");
        }
    }

    /// Keeps the reports in memory within their bounds.
    fn bound_memory(&mut self) {
        while self.memory_reports() > MAX_HELD || self.held_octets() > MAX_HELD_OCTETS {
            let free = self.cursor.memory.min(self.memory.len());
            let oldest = (free..self.memory.len())
                .find(|&at| matches!(self.memory[at], Item::Report { .. }));
            let Some(at) = oldest else { return };
            let Place { boot, seq } = self.memory[at].last_place();
            self.lost += 1;
            let before = at.checked_sub(1).filter(|&before| before >= free);
            if let Some(Item::Loss(gap)) = before.map(|before| &mut self.memory[before])
                && gap.boot == boot
                && gap.to + 1 == seq
            {
                gap.to = seq;
                self.memory.remove(at);
            } else {
                self.memory[at] =
                    Item::Loss(Gap { boot, from: seq, to: seq, reason: LossReason::SpoolLost });
            }
        }
    }

    fn memory_reports(&self) -> usize {
        self.memory.iter().filter(|item| matches!(item, Item::Report { .. })).count()
    }

    /// Brings the disk up to date with the memory.
    fn store(&mut self) -> io::Result<()> {
        self.drop_beyond_bounds()?;
        let wrote = self.write_memory()?;
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let was_volatile = std::mem::replace(&mut self.state.volatile, false);
        let freed = disk.freed(self.state.point);
        if was_volatile || !freed.is_empty() {
            disk.ledger.write_through(&self.state)?;
            disk.remove(&freed)?;
        } else if wrote {
            disk.ledger.write(&self.state)?;
        }
        Ok(())
    }

    /// Writes every item in memory and flushes once.
    fn write_memory(&mut self) -> io::Result<bool> {
        let Some(disk) = &mut self.disk else { return Ok(false) };
        if self.memory.is_empty() {
            return Ok(false);
        }
        let (most, longest) = segment_bounds(self.bounds);
        let mut written: Vec<(Item, Point)> = Vec::new();
        let mut buffer = Vec::new();
        // One flush for all that fit the same segment.
        let mut left = self.memory.len();
        while left > 0 {
            let (start, file) = disk.appendable(most, longest, self.state.at)?;
            buffer.clear();
            let mut points = Vec::new();
            for item in self.memory.iter().skip(self.memory.len() - left) {
                let begun = u64::try_from(buffer.len()).expect("a usize fits");
                if begun > 0 && start.offset + begun >= most {
                    break;
                }
                if let Item::Report { place, payload } = item {
                    Record { place: *place, at: self.state.at, payload: payload.clone() }
                        .encode(&mut buffer);
                }
                let end = start.offset + u64::try_from(buffer.len()).expect("a usize fits");
                points.push((item.clone(), Point { segment: start.segment, offset: end }));
            }
            if !buffer.is_empty() {
                let result =
                    file.write_all_at(&buffer, start.offset).and_then(|()| file.sync_data());
                if let Err(cause) = result {
                    disk.abandon(start);
                    return Err(cause);
                }
            }
            let end = start.offset + u64::try_from(buffer.len()).expect("a usize fits");
            if let Some(segment) = disk.segments.get_mut(&start.segment) {
                segment.size = end;
            }
            left -= points.len();
            written.append(&mut points);
        }
        self.moved_to_disk(written);
        Ok(true)
    }

    /// The items in memory are on disk now: what was handed out of memory came from there.
    fn moved_to_disk(&mut self, written: Vec<(Item, Point)>) {
        let handed_out = self.cursor.memory;
        self.memory.clear();
        self.cursor.memory = 0;
        let mut on_its_way: Vec<&mut Handed> =
            self.handed.iter_mut().filter(|handed| handed.memory).collect();
        for (at, (item, point)) in written.into_iter().enumerate() {
            let told = at < handed_out;
            if told {
                self.cursor.point = point;
            }
            let is_loss = matches!(item, Item::Loss(_));
            if let Item::Loss(gap) = item {
                // Behind all others: nothing on disk is newer.
                self.state.notes.push(Note { point, gap });
                if told {
                    self.cursor.notes = self.state.notes.len();
                }
            }
            if let Some(handed) = on_its_way.get_mut(at) {
                handed.memory = false;
                handed.point = (!is_loss).then_some(point);
                handed.notes = self.cursor.notes;
            }
        }
    }

    /// Drops the oldest segments while there are too many, too large or too old ones.
    fn drop_beyond_bounds(&mut self) -> io::Result<()> {
        let coming = u64::try_from(self.held_octets()).expect("a usize fits");
        let oldest_kept = self
            .state
            .at
            .saturating_sub(u64::try_from(self.bounds.age.as_millis()).unwrap_or(u64::MAX));
        loop {
            let Some(disk) = &mut self.disk else { return Ok(()) };
            let freed = disk.freed(self.state.point);
            if !freed.is_empty() {
                disk.ledger.write_through(&self.state)?;
                disk.remove(&freed)?;
            }
            let total: u64 = disk.segments.values().map(|segment| segment.size).sum();
            // Everything in a segment is older than the first record of the next one; a segment is
            // closed in time for this to hold the spool to its age.
            let second = disk.segments.values().nth(1);
            let expired = second.is_some_and(|next| next.first_at < oldest_kept);
            let reason = if expired {
                LossReason::SpoolExpired
            } else if total + coming > self.bounds.size.0 && total > 0
                || disk.segments.len() > MAX_SEGMENTS
            {
                LossReason::SpoolFull
            } else {
                return Ok(());
            };
            self.drop_oldest(reason)?;
        }
    }

    /// Drops the oldest segment, whose unacknowledged reports become gaps.
    fn drop_oldest(&mut self, reason: LossReason) -> io::Result<()> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let Some((&index, &segment)) = disk.segments.first_key_value() else { return Ok(()) };
        let scan = match File::open(disk.path(index)) {
            Ok(file) => segment::scan(&file, segment.size).unwrap_or_default(),
            Err(_) => segment::Scan::default(),
        };
        let begun = if index == self.state.point.segment { self.state.point.offset } else { 0 };
        let mut notes: Vec<Note> = Vec::new();
        for (Place { boot, seq }, end) in scan.records.into_iter().filter(|&(_, end)| end > begun) {
            let point = Point { segment: index, offset: end };
            match notes.last_mut() {
                Some(note) if note.gap.boot == boot => {
                    note.gap.to = note.gap.to.max(seq);
                    note.point = point;
                }
                Some(_) | None => {
                    notes.push(Note { point, gap: Gap { boot, from: seq, to: seq, reason } });
                }
            }
        }
        if disk.active.as_ref().is_some_and(|(active, _)| *active == index) {
            disk.active = None;
        }
        for note in notes {
            let gap = &note.gap;
            warn!(boot = %gap.boot, from = gap.from, to = gap.to, reason = reason.as_str(), "the spool drops its oldest reports");
            self.lost += gap.to - gap.from + 1;
            let behind = note.point <= self.cursor.point;
            self.insert_note(note, behind);
        }
        let Some(disk) = &mut self.disk else { return Ok(()) };
        disk.ledger.write_through(&self.state)?;
        disk.remove(&[index])
    }

    /// Takes the folder into use. On failure the problem is said and the spool stays in memory.
    fn attach(&mut self, now: Instant) -> Result<(), SpoolError> {
        let (mut disk, held) = match Disk::open(&self.folder) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(SpoolError::InUse(self.folder.clone())),
            Err(cause) => {
                self.fail(&cause);
                return Ok(());
            }
        };
        let newest = disk.find_end(held.as_ref());
        let end = disk.end();
        self.opened_at = self
            .time(now)
            .max(newest.map_or(0, |(_, at)| at))
            .max(held.as_ref().map_or(0, |held| held.at));
        self.opened = now;
        let used = self.state.last > 0;
        let sent = self.cursor.memory > 0 || self.state.acknowledged.is_some();
        if used && sent {
            self.overtake(&mut disk);
        } else {
            if let Some(held) = held {
                self.take_over(held, newest.map(|(place, _)| place), end, used);
            }
            self.rewind();
        }
        self.state.at = self.opened_at;
        let result = disk.ledger.write_through(&self.state);
        self.disk = Some(disk);
        match result {
            Ok(()) => self.problem = None,
            Err(cause) => self.fail(&cause),
        }
        Ok(())
    }

    /// Goes on where an earlier process stopped. `newest` is the last good place on disk, `end` the
    /// point behind everything there; `used` tells that numbers were already given without the
    /// ledger.
    #[allow(clippy::needless_pass_by_value, reason = "what was held is used up here")]
    fn take_over(&mut self, held: Ledger, newest: Option<Place>, end: Point, used: bool) {
        let own = std::mem::replace(&mut self.state, held.clone());
        let found = newest.filter(|place| place.boot == held.boot).map_or(0, |place| place.seq);
        let acknowledged =
            held.acknowledged.filter(|place| place.boot == held.boot).map_or(0, |place| place.seq);
        let noted = held
            .notes
            .iter()
            .filter(|note| note.gap.boot == held.boot)
            .map(|note| note.gap.to)
            .max()
            .unwrap_or(0);
        let known = found.max(acknowledged).max(noted);
        if held.last > known {
            // Reports that were on disk are not there any more.
            let gap = Gap {
                boot: held.boot,
                from: known + 1,
                to: held.last,
                reason: LossReason::SpoolDamaged,
            };
            self.lost += gap.to - gap.from + 1;
            warn!(boot = %gap.boot, from = gap.from, to = gap.to, "reports are missing at the end of the spool");
            self.note(Note { point: end, gap });
        }
        let last = held.last.max(found).max(acknowledged);
        self.state.last = last;
        if used || held.kernel != own.kernel || held.volatile {
            self.state.kernel = own.kernel;
            self.state.boot = own.boot;
            self.state.last = own.last;
            self.state.volatile = false;
        }
        if self.state.boot != held.boot && last > acknowledged {
            // Should the last of them be damaged or taken away, this tells that they were there.
            let gap =
                Gap { boot: held.boot, from: last + 1, to: last, reason: LossReason::Undeclared };
            self.note(Note { point: end, gap });
        }
        for note in own.notes {
            self.note(Note { point: end, ..note });
        }
        if held.volatile && !used {
            // Numbers were given to reports that are gone; how many, nobody knows.
            let gap = Gap { boot: own.boot, from: 1, to: 1, reason: LossReason::SpoolLost };
            self.state.last = 1;
            self.lost += 1;
            self.note(Note { point: end, gap });
        }
    }

    /// Gives up what lies on the disk, as a gap in the numbering that has overtaken it: what was
    /// sent from memory meanwhile cannot be followed by what is older.
    fn overtake(&mut self, disk: &mut Disk) {
        let indices: Vec<u64> = disk.segments.keys().copied().collect();
        let mut count = 0;
        for &index in &indices {
            let size = disk.segments.get(&index).map_or(0, |segment| segment.size);
            if let Ok(file) = File::open(disk.path(index)) {
                let scan = segment::scan(&file, size).unwrap_or_default();
                count += u64::try_from(scan.records.len()).expect("a usize fits");
            }
            disk.quarantine(index);
        }
        if let Err(cause) = disk.remove(&indices) {
            warn!(%cause, "an older segment of the spool could not be removed");
        }
        self.state.point = disk.end();
        self.cursor.point = self.state.point;
        if count > 0 {
            error!(
                count,
                "reports of an earlier run lay on a disk that could not be used; they are kept aside"
            );
            self.lost += count;
            let from = self.state.last + 1;
            self.state.last += count;
            let (boot, to) = (self.state.boot, self.state.last);
            self.memory.push_back(Item::Loss(Gap {
                boot,
                from,
                to,
                reason: LossReason::SpoolLost,
            }));
        }
    }
}

/// The numbers between the cursor's place and `next` that nobody told of.
fn hole_before(cursor: &Cursor, next: Place) -> Option<(BootId, u64, u64)> {
    let from = match cursor.place {
        Some(place) if place.boot == next.boot => place.seq + 1,
        Some(_) | None => 1,
    };
    (from < next.seq).then(|| (next.boot, from, next.seq - 1))
}

/// A numbering that was never used before.
fn new_numbering(kernel: &str, rng: &mut impl RngCore) -> BootId {
    let mut nonce = [0; 16];
    rng.fill_bytes(&mut nonce);
    let mut hash = Sha256::new();
    hash.update(b"bailey numbering\0");
    hash.update(kernel.as_bytes());
    hash.update(nonce);
    let full = hash.finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    BootId::from_bytes(short)
}

/// The size at which a segment is closed, and the age in milliseconds.
fn segment_bounds(bounds: SpoolBounds) -> (u64, u64) {
    let longest = u64::try_from(bounds.age.as_millis()).unwrap_or(u64::MAX) / LEAST_SEGMENTS;
    (MAX_SEGMENT.min(bounds.size.0 / LEAST_SEGMENTS), longest)
}

/// The number in the name of a segment.
fn index_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
    // from_str_radix would take a sign.
    digits.bytes().all(|c| c.is_ascii_hexdigit()).then_some(())?;
    u64::from_str_radix(digits, 16).ok()
}

/// The segments of a folder with their sizes.
fn list(folder: &Path) -> io::Result<BTreeMap<u64, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(index) = name.to_str().and_then(index_of) else { continue };
        match entry.metadata() {
            Ok(meta) if meta.is_file() => {
                found.insert(index, meta.len());
            }
            Ok(_) => {
                warn!(name = %name.display(), "this is in the spool's folder and no file; left alone");
            }
            Err(cause) => {
                warn!(name = %name.display(), %cause, "this is in the spool's folder and cannot be read; left alone");
            }
        }
    }
    Ok(found)
}

impl Disk {
    /// Takes the folder into use; `None` when another process has it.
    fn open(folder: &Path) -> io::Result<Option<(Self, Option<Ledger>)>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(cause)) => return Err(cause),
        }
        let (ledger, held) = LedgerFile::open(folder)?;
        let mut segments = BTreeMap::new();
        let found = list(folder)?;
        let next_segment = found.keys().next_back().map_or(0, |last| last.saturating_add(1));
        let mut first_at = 0;
        for (index, size) in found {
            let path = folder.join(name_of(index));
            if size == 0 {
                let _ = fs::remove_file(&path);
                continue;
            }
            // An unreadable header takes the time of the segment before: ages never run backwards.
            first_at = File::open(&path)
                .ok()
                .and_then(|file| segment::first_time(&file))
                .map_or(first_at, |at| at.max(first_at));
            segments.insert(index, Segment { size, first_at });
        }
        let after = held.as_ref().map_or(0, |held| {
            let noted = held.notes.iter().map(|note| note.point.segment).max().unwrap_or(0);
            held.point.segment.max(noted).saturating_add(1)
        });
        let disk = Self {
            folder: folder.to_owned(),
            ledger,
            segments,
            active: None,
            reading: None,
            // Points in the ledger must stay behind everything that is written from now on.
            next_segment: next_segment.max(after),
            _lock: lock,
        };
        Ok(Some((disk, held)))
    }

    /// Finds the last good record, cuts off a torn end and makes ready to append behind it. Gives
    /// its place and spool time.
    fn find_end(&mut self, held: Option<&Ledger>) -> Option<(Place, u64)> {
        let mut newest = true;
        for (index, segment) in self.segments.clone().into_iter().rev() {
            let scan = OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.path(index))
                .and_then(|file| Ok((segment::scan(&file, segment.size)?, file)));
            let (scan, file) = match scan {
                Ok(scanned) => scanned,
                Err(cause) => {
                    warn!(index, %cause, "a segment of the spool cannot be read");
                    newest = false;
                    continue;
                }
            };
            let end = scan.good_end();
            let Some(&(place, _)) = scan.records.last() else {
                warn!(index, "a segment of the spool holds nothing good");
                self.quarantine(index);
                let _ = self.remove(&[index]);
                newest = false;
                continue;
            };
            let torn = matches!(scan.damage[..], [(from, to)] if from == end && to == segment.size);
            // The ledger is written after the record: what it knows of was whole once, and nothing
            // new may be written before a point that it names.
            let behind = Point { segment: index, offset: end };
            let expected = held.is_some_and(|held| {
                held.boot == place.boot && held.last > place.seq
                    || held.point > behind
                    || held.notes.iter().any(|note| note.point > behind)
            });
            if newest && (scan.damage.is_empty() || torn) && !expected {
                if torn {
                    info!(index, octets = segment.size - end, "a torn end of the spool is cut off");
                }
                if !torn || file.set_len(end).and_then(|()| file.sync_all()).is_ok() {
                    self.segments.insert(index, Segment { size: end, ..segment });
                    self.active = Some((index, file));
                }
            }
            return Some((place, scan.last_at));
        }
        None
    }

    /// The point behind everything.
    fn end(&self) -> Point {
        match self.segments.last_key_value() {
            Some((&segment, &Segment { size, .. })) => Point { segment, offset: size },
            None => Point { segment: self.next_segment, offset: 0 },
        }
    }

    fn path(&self, index: u64) -> PathBuf {
        self.folder.join(name_of(index))
    }

    /// The segment to append to and where; a new one when there is none with room.
    fn appendable(&mut self, most: u64, longest: u64, at: u64) -> io::Result<(Point, &File)> {
        let full = |index: &u64| {
            self.segments.get(index).is_none_or(|segment| {
                segment.size >= most || at.saturating_sub(segment.first_at) > longest
            })
        };
        if self.active.as_ref().is_some_and(|(index, _)| full(index)) {
            self.active = None;
        }
        if self.active.is_none() {
            let index = self.next_segment;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(self.path(index))?;
            // Used up even when the rest fails: a name is never used twice.
            self.next_segment += 1;
            File::open(&self.folder)?.sync_all()?;
            self.segments.insert(index, Segment { size: 0, first_at: at });
            self.active = Some((index, file));
        }
        let (index, file) = self.active.as_ref().expect("just made sure of");
        let offset = self.segments.get(index).map_or(0, |segment| segment.size);
        Ok((Point { segment: *index, offset }, file))
    }

    /// Gives up appending to a segment after a write that failed.
    fn abandon(&mut self, start: Point) {
        if let Some((index, file)) = self.active.take() {
            let _ = file.set_len(start.offset);
            if start.offset == 0 {
                self.segments.remove(&index);
                let _ = fs::remove_file(self.path(index));
            }
        }
    }

    /// The segments of which everything is acknowledged.
    fn freed(&self, point: Point) -> Vec<u64> {
        let active = self.active.as_ref().map(|(index, _)| *index);
        self.segments
            .iter()
            .take_while(|&(&index, segment)| {
                index < point.segment
                    || index == point.segment
                        && point.offset >= segment.size
                        && active != Some(index)
            })
            .map(|(&index, _)| index)
            .collect()
    }

    /// Removes segments for good.
    fn remove(&mut self, indices: &[u64]) -> io::Result<()> {
        for &index in indices {
            self.segments.remove(&index);
            if self.reading.as_ref().is_some_and(|(reading, _)| *reading == index) {
                self.reading = None;
            }
            if self.active.as_ref().is_some_and(|(active, _)| *active == index) {
                self.active = None;
            }
            match fs::remove_file(self.path(index)) {
                Ok(()) => {}
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(cause),
            }
        }
        if indices.is_empty() { Ok(()) } else { File::open(&self.folder)?.sync_all() }
    }

    /// The record at the cursor, which is moved over ends and damage but not over the record.
    fn read(&mut self, cursor: &mut Cursor) -> Option<Record> {
        loop {
            let (&index, &segment) = self.segments.range(cursor.point.segment..).next()?;
            if index > cursor.point.segment {
                cursor.point = Point { segment: index, offset: 0 };
            }
            if cursor.point.offset >= segment.size {
                let next = self.segments.range(index + 1..).next().map(|(&next, _)| next)?;
                cursor.point = Point { segment: next, offset: 0 };
                continue;
            }
            match self.read_in(index, cursor.point.offset, segment.size) {
                Ok(At::Record(record)) => return Some(record),
                Ok(At::Damage { next }) => {
                    warn!(
                        index,
                        offset = cursor.point.offset,
                        next,
                        "a segment of the spool is damaged"
                    );
                    cursor.damage = true;
                    self.quarantine(index);
                    cursor.point.offset = next;
                }
                Err(cause) => {
                    let missing = cause.kind() == io::ErrorKind::NotFound;
                    error!(index, %cause, "a segment of the spool cannot be read; it is passed over");
                    cursor.damage |= !missing;
                    if !missing {
                        self.quarantine(index);
                    }
                    cursor.point.offset = segment.size;
                }
            }
        }
    }

    fn read_in(&mut self, index: u64, offset: u64, end: u64) -> io::Result<At> {
        if self.reading.as_ref().is_none_or(|(reading, _)| *reading != index) {
            self.reading = Some((index, File::open(self.path(index))?));
        }
        let (_, file) = self.reading.as_ref().expect("just opened");
        segment::read_at(file, offset, end)
    }

    /// Keeps a damaged segment aside by a second name, which costs no space: its good records are
    /// still sent from the first. Best effort.
    fn quarantine(&mut self, index: u64) {
        let folder = self.folder.join(QUARANTINE);
        let linked = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .and_then(|()| fs::hard_link(self.path(index), folder.join(name_of(index))));
        match linked {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return,
            Err(cause) => warn!(index, %cause, "the damaged segment could not be kept aside"),
            Ok(()) => warn!(index, folder = %folder.display(), "the damaged segment is kept aside"),
        }
        // Nothing more may be appended to it.
        if self.active.as_ref().is_some_and(|(active, _)| *active == index) {
            self.active = None;
        }
        if let Ok(kept) = list(&folder) {
            let beyond = kept.len().saturating_sub(MAX_QUARANTINED);
            for oldest in kept.keys().take(beyond) {
                let _ = fs::remove_file(folder.join(name_of(*oldest)));
            }
        }
    }
}

fn name_of(index: u64) -> String {
    format!("{index:016x}{SUFFIX}")
}

/// One segment as `bailey-agent spool` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentView {
    /// The file's name.
    pub name: String,
    /// Its size in octets.
    pub size: u64,
    /// Good records.
    pub records: usize,
    /// The first and the last place.
    pub places: Option<(Place, Place)>,
    /// Damaged octets.
    pub damaged: u64,
}

/// A spool as `bailey-agent spool` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolView {
    /// The segments, oldest first.
    pub segments: Vec<SegmentView>,
    /// The last place that is noted as acknowledged.
    pub acknowledged: Option<Place>,
    /// Gaps that the collector does not know of yet.
    pub gaps: Vec<Gap>,
    /// Damaged segments that are kept aside.
    pub quarantined: usize,
}

/// Looks at the spool in `folder` without changing or locking it.
///
/// # Errors
/// When the folder cannot be read.
pub fn inspect(folder: &Path) -> io::Result<SpoolView> {
    let mut segments = Vec::new();
    for (index, size) in list(folder)? {
        let file = File::open(folder.join(name_of(index)))?;
        let scan = segment::scan(&file, size)?;
        let ends = scan.records.first().zip(scan.records.last());
        segments.push(SegmentView {
            name: name_of(index),
            size,
            records: scan.records.len(),
            places: ends.map(|(first, last)| (first.0, last.0)),
            damaged: scan.damage.iter().map(|(from, to)| to - from).sum(),
        });
    }
    let held = ledger::peek(folder)?;
    Ok(SpoolView {
        segments,
        acknowledged: held.as_ref().and_then(|held| held.acknowledged),
        gaps: held
            .map(|held| {
                held.notes
                    .into_iter()
                    .map(|note| note.gap)
                    .filter(|gap| gap.from <= gap.to)
                    .collect()
            })
            .unwrap_or_default(),
        quarantined: list(&folder.join(QUARANTINE)).map_or(0, |kept| kept.len()),
    })
}
