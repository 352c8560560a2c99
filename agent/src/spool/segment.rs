//! One file of the spool: records one after the other, each with a checksum of its own.
//!
//! A record, all numbers little-endian:
//!
//! | octets | content |
//! |---|---|
//! | 4 | [`MAGIC`], by which the next record is found after a damaged one |
//! | 4 | CRC-32C (RFC 3720, appendix B.4) of everything that follows in the record |
//! | 4 | length of the payload |
//! | 16 | numbering |
//! | 8 | number |
//! | 8 | spool time in milliseconds |
//! | n | payload |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bailey_rules::name::BootId;
use bailey_rules::report::{MAX_REPORT, Place};
use bytes::Bytes;

/// The first octets of a record; the digit is the version of the format.
pub(super) const MAGIC: [u8; 4] = *b"BLR1";

/// The length of a record without its payload.
pub(super) const HEADER: usize = 44;

/// How many octets, in multiples of what is searched, are checked while the next good record is
/// looked for. What then has not been found counts as damaged.
const MAX_SEARCH: usize = 64;

/// One good record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Its place.
    pub place: Place,
    /// When it was written, in spool time (see [`super::Spool`]), milliseconds.
    pub at: u64,
    /// The report as encoded.
    pub payload: Bytes,
}

impl Record {
    /// Its length on disk.
    pub(super) fn size(&self) -> u64 {
        size_of(self.payload.len())
    }

    /// Appends its octets to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).expect("reports are at most 1 MiB");
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.place.boot.as_bytes());
        out.extend_from_slice(&self.place.seq.to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.payload);
        let sum = crc32c::crc32c(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

/// The length on disk of a record whose payload has `payload` octets.
pub(super) fn size_of(payload: usize) -> u64 {
    u64::try_from(HEADER + payload).expect("a usize fits")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four octets"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight octets"))
}

/// The length of the payload that a header promises; `None` when it is no header.
fn promised(header: &[u8]) -> Option<usize> {
    if header.len() < HEADER || header[..4] != MAGIC {
        return None;
    }
    let length = usize::try_from(u32_at(header, 8)).ok()?;
    (length <= MAX_REPORT).then_some(length)
}

/// The record at the beginning of `bytes`; `None` when there is no good one.
fn parse(bytes: &[u8]) -> Option<Record> {
    let end = HEADER + promised(bytes)?;
    let whole = bytes.get(..end)?;
    if crc32c::crc32c(&whole[8..]) != u32_at(whole, 4) {
        return None;
    }
    let boot: [u8; 16] = whole[12..28].try_into().expect("sixteen octets");
    let seq = u64_at(whole, 28);
    // No record of ours has the number 0.
    (seq > 0).then(|| Record {
        place: Place { boot: BootId::from_bytes(boot), seq },
        at: u64_at(whole, 36),
        payload: Bytes::copy_from_slice(&whole[HEADER..]),
    })
}

/// The spool time in the header at the beginning of a file, unchecked.
pub(super) fn first_time(file: &File) -> Option<u64> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    promised(&header)?;
    Some(u64_at(&header, 36))
}

/// What stands at an offset of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum At {
    /// A good record.
    Record(Record),
    /// Damage; the next good record, if any, begins at `next`.
    Damage {
        /// Where to go on; the end of the segment when nothing good follows.
        next: u64,
    },
}

/// Reads what stands at `offset` of a segment of which `end` octets are valid.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read_at(file: &File, offset: u64, end: u64) -> io::Result<At> {
    debug_assert!(offset < end);
    let left = usize::try_from(end - offset).map_err(io::Error::other)?;
    let mut header = [0; HEADER];
    if left >= HEADER {
        read_all(file, &mut header, offset)?;
        if let Some(length) = promised(&header).filter(|length| HEADER + length <= left) {
            let mut whole = vec![0; HEADER + length];
            read_all(file, &mut whole, offset)?;
            if let Some(record) = parse(&whole) {
                return Ok(At::Record(record));
            }
        }
    }
    let mut rest = vec![0; left];
    read_all(file, &mut rest, offset)?;
    let next = find(&rest[1..]).map_or(end, |at| offset + 1 + at);
    Ok(At::Damage { next })
}

/// Reads exactly; a file that became shorter reads as zeros, which are damage.
fn read_all(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let at = offset + u64::try_from(filled).expect("a usize fits");
        match file.read_at(&mut buffer[filled..], at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Where the first good record in `bytes` begins.
fn find(bytes: &[u8]) -> Option<u64> {
    let mut work = bytes.len().saturating_mul(MAX_SEARCH);
    for at in 0..bytes.len().saturating_sub(HEADER - 1) {
        let Some(length) = promised(&bytes[at..]) else { continue };
        work = work.checked_sub(length)?;
        if parse(&bytes[at..]).is_some() {
            return u64::try_from(at).ok();
        }
    }
    None
}

/// What a whole segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Place and end of every good record.
    pub records: Vec<(Place, u64)>,
    /// Spool time of the last good record.
    pub last_at: u64,
    /// Damaged parts, from and to.
    pub damage: Vec<(u64, u64)>,
}

impl Scan {
    /// The end of the last good record.
    pub(super) fn good_end(&self) -> u64 {
        self.records.last().map_or(0, |&(_, end)| end)
    }
}

/// Reads a segment of `end` octets from its beginning.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn scan(file: &File, end: u64) -> io::Result<Scan> {
    let mut scan = Scan::default();
    let mut offset = 0;
    while offset < end {
        match read_at(file, offset, end)? {
            At::Record(record) => {
                offset += record.size();
                scan.last_at = record.at;
                scan.records.push((record.place, offset));
            }
            At::Damage { next } => {
                scan.damage.push((offset, next));
                offset = next;
            }
        }
    }
    Ok(scan)
}
