//! What the spool remembers besides the reports: which numbering is in use, how far the collector
//! has acknowledged, and which numbers will never come.
//!
//! The ledger is one file with room for two copies. A copy is overwritten in place, so that a full
//! disk does not stop it; the other copy, which was flushed before, is left alone until then. A
//! torn write costs the last changes, never the ledger.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bailey_rules::name::BootId;
use bailey_rules::report::{Gap, LossReason, Place};
use serde::{Deserialize, Serialize};

/// The name of the file in the spool's folder.
pub(super) const FILE: &str = "ledger";

/// Room for one copy, in octets.
const SLOT: usize = 64 * 1024;

/// The most gaps that wait to be told; the oldest is forgotten beyond, with an error in the log.
/// A gap takes at most [`GAP_SIZE`] octets of the copy.
pub(super) const MAX_GAPS: usize = 300;

/// The most octets of one gap in the file: names, a numbering, four numbers and a reason.
const GAP_SIZE: usize = 200;

const _: () = assert!(MAX_GAPS * GAP_SIZE + 2048 < SLOT, "every ledger fits its slot");

/// A point in the order of the spool: a segment and an offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Point {
    pub segment: u64,
    pub offset: u64,
}

/// Numbers that will never come, and the point in the order at which to say so. A gap that ends
/// before it begins marks the end of a numbering: everything up to there was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub point: Point,
    pub gap: Gap,
}

impl Note {
    /// Whether this marks the end of a numbering.
    pub(super) const fn is_end(&self) -> bool {
        self.gap.to < self.gap.from
    }
}

/// Everything that the ledger holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ledger {
    /// The kernel's boot in which the numbering began.
    pub kernel: String,
    /// The numbering.
    pub boot: BootId,
    /// The last number given, 0 for none.
    pub last: u64,
    /// Set while numbers are given to reports that are in memory only.
    pub volatile: bool,
    /// The last place that was acknowledged.
    pub acknowledged: Option<Place>,
    /// The point behind it.
    pub point: Point,
    /// Spool time when this was written, milliseconds.
    pub at: u64,
    /// Gaps that were not acknowledged yet, in the order of their points.
    pub notes: Vec<Note>,
}

/// The ledger as it is written: one line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    generation: u64,
    kernel: String,
    boot: BootId,
    last: u64,
    volatile: bool,
    acknowledged: Option<WrittenPlace>,
    point: Point,
    at: u64,
    gaps: Vec<WrittenNote>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPlace {
    boot: BootId,
    seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenNote {
    segment: u64,
    offset: u64,
    boot: BootId,
    from: u64,
    to: u64,
    reason: WrittenReason,
}

/// [`LossReason`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenReason {
    SpoolFull,
    SpoolExpired,
    SpoolDamaged,
    SpoolLost,
    Undeclared,
}

impl From<LossReason> for WrittenReason {
    fn from(reason: LossReason) -> Self {
        match reason {
            LossReason::SpoolFull => Self::SpoolFull,
            LossReason::SpoolExpired => Self::SpoolExpired,
            LossReason::SpoolDamaged => Self::SpoolDamaged,
            LossReason::SpoolLost => Self::SpoolLost,
            LossReason::Undeclared => Self::Undeclared,
        }
    }
}

impl From<WrittenReason> for LossReason {
    fn from(reason: WrittenReason) -> Self {
        match reason {
            WrittenReason::SpoolFull => Self::SpoolFull,
            WrittenReason::SpoolExpired => Self::SpoolExpired,
            WrittenReason::SpoolDamaged => Self::SpoolDamaged,
            WrittenReason::SpoolLost => Self::SpoolLost,
            WrittenReason::Undeclared => Self::Undeclared,
        }
    }
}

impl Ledger {
    fn written(&self, generation: u64) -> Written {
        Written {
            generation,
            kernel: self.kernel.clone(),
            boot: self.boot,
            last: self.last,
            volatile: self.volatile,
            acknowledged: self
                .acknowledged
                .map(|place| WrittenPlace { boot: place.boot, seq: place.seq }),
            point: self.point,
            at: self.at,
            gaps: self
                .notes
                .iter()
                .map(|note| WrittenNote {
                    segment: note.point.segment,
                    offset: note.point.offset,
                    boot: note.gap.boot,
                    from: note.gap.from,
                    to: note.gap.to,
                    reason: note.gap.reason.into(),
                })
                .collect(),
        }
    }

    fn from_written(written: Written) -> Self {
        Self {
            kernel: written.kernel,
            boot: written.boot,
            last: written.last,
            volatile: written.volatile,
            acknowledged: written
                .acknowledged
                .map(|place| Place { boot: place.boot, seq: place.seq }),
            point: written.point,
            at: written.at,
            notes: written
                .gaps
                .into_iter()
                .take(MAX_GAPS)
                .map(|note| Note {
                    point: Point { segment: note.segment, offset: note.offset },
                    gap: Gap {
                        boot: note.boot,
                        from: note.from,
                        to: note.to,
                        reason: note.reason.into(),
                    },
                })
                .collect(),
        }
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct LedgerFile {
    file: File,
    /// The slot that may be overwritten now: 0 or 1.
    slot: u64,
    generation: u64,
}

impl LedgerFile {
    /// Opens the ledger in `folder`, or makes one, and gives what it holds.
    ///
    /// # Errors
    /// When it cannot be opened for writing, or there is no room for it.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Option<Ledger>)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(FILE))?;
        let room = u64::try_from(2 * SLOT).expect("128 KiB fit");
        if file.metadata()?.len() < room {
            // Written, not only made longer: the room must be there when the disk is full.
            let zeros = vec![0; 2 * SLOT];
            let have = usize::try_from(file.metadata()?.len()).unwrap_or(0);
            file.write_all_at(&zeros[have..], u64::try_from(have).expect("a usize fits"))?;
            file.sync_all()?;
        }
        let (slot, held) = newest(&file)?;
        let (generation, ledger) = match held {
            Some(written) => (written.generation, Some(Ledger::from_written(written))),
            None => (0, None),
        };
        Ok((Self { file, slot: 1 - slot, generation }, ledger))
    }

    /// Writes the ledger without waiting for the disk: it survives the end of the process.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, ledger: &Ledger) -> io::Result<()> {
        let text = serde_json::to_string(&ledger.written(self.generation + 1))
            .map_err(io::Error::other)?;
        let mut line = format!("{:08x} {text}\n", crc32c::crc32c(text.as_bytes())).into_bytes();
        if line.len() > SLOT {
            return Err(io::Error::other("the ledger does not fit its slot"));
        }
        // The rest of an older, longer line must not be taken for a part of this one.
        line.push(b'\n');
        line.truncate(SLOT);
        self.file.write_all_at(&line, self.slot * u64::try_from(SLOT).expect("64 KiB fit"))?;
        self.generation += 1;
        Ok(())
    }

    /// Writes the ledger and returns when it is on disk: it survives the end of the machine.
    ///
    /// # Errors
    /// When it cannot be written or flushed.
    pub(super) fn write_through(&mut self, ledger: &Ledger) -> io::Result<()> {
        self.write(ledger)?;
        self.file.sync_data()?;
        self.slot = 1 - self.slot;
        Ok(())
    }
}

/// What a ledger that is only looked at holds.
///
/// # Errors
/// When there is none or it cannot be read.
pub(super) fn peek(folder: &Path) -> io::Result<Option<Ledger>> {
    let file = File::open(folder.join(FILE))?;
    Ok(newest(&file)?.1.map(Ledger::from_written))
}

/// The slot with the newer good copy, and that copy.
fn newest(file: &File) -> io::Result<(u64, Option<Written>)> {
    let copies = [read_slot(file, 0)?, read_slot(file, 1)?];
    let generation = |copy: &Option<Written>| copy.as_ref().map(|written| written.generation);
    let newer = usize::from(generation(&copies[1]) > generation(&copies[0]));
    let slot = u64::try_from(newer).expect("0 or 1");
    Ok((slot, copies.into_iter().nth(newer).flatten()))
}

fn read_slot(file: &File, slot: u64) -> io::Result<Option<Written>> {
    let mut room = vec![0; SLOT];
    let mut filled = 0;
    let start = slot * u64::try_from(SLOT).expect("64 KiB fit");
    while filled < SLOT {
        let at = start + u64::try_from(filled).expect("a usize fits");
        match file.read_at(&mut room[filled..], at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let end = room.iter().position(|&octet| octet == b'\n').unwrap_or(0);
    let line = std::str::from_utf8(&room[..end]).ok();
    Ok(line
        .and_then(|line| {
            let (sum, text) = line.split_once(' ')?;
            let sum = u32::from_str_radix(sum, 16).ok()?;
            (crc32c::crc32c(text.as_bytes()) == sum).then_some(text)
        })
        .and_then(|text| serde_json::from_str(text).ok()))
}
