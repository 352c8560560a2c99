//! Many packets, one a line, answered in order while they are read.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::thread;

use bailey_rules::model::packet::Packet;
use bailey_rules::model::trace::{By, Direction, Tracer};

use super::super::files;
use super::{decided, in_words};
use crate::arguments::Format;
use crate::exit::{Done, Failure};
use crate::screen::{Screen, clean};

/// The longest line of a packet, in octets: many times what all names with long values take.
const MAX_LINE: usize = 64 << 10;
/// Octets of lines that are read before they are answered, by each thread.
const BATCH: usize = 512 << 10;
/// Threads at most.
const MAX_THREADS: usize = 16;

/// Answers every packet of a file on standard output.
pub(super) fn run(
    tracer: &Tracer<'_>,
    direction: Direction,
    path: &Path,
    format: Format,
    screen: Screen,
) -> Result<Done, Failure> {
    let mut lines = Lines { from: BufReader::new(files::open(path)?), path, next: 1 };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    let answers = |batch: &Batch| -> Answered {
        let mut known = BTreeMap::new();
        answer(tracer, direction, batch, format, screen, &mut known)
    };
    let mut out = io::stdout().lock();
    loop {
        let mut batches = Vec::new();
        let mut failed = None;
        while batches.len() < threads {
            match lines.batch() {
                Ok(batch) if batch.octets.is_empty() => break,
                Ok(batch) => batches.push(batch),
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
        }
        if batches.is_empty() && failed.is_none() {
            return Ok(Done::said(""));
        }
        let answered: Vec<Answered> = match batches.as_slice() {
            [one] => vec![answers(one)],
            many => thread::scope(|scope| {
                let each: Vec<_> =
                    many.iter().map(|batch| scope.spawn(|| answers(batch))).collect();
                each.into_iter()
                    .map(|one| one.join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
                    .collect()
            }),
        };
        for one in answered {
            match out.write_all(&one.text) {
                Ok(()) => {}
                // Whoever reads may stop reading.
                Err(why) if why.kind() == io::ErrorKind::BrokenPipe => return Ok(Done::said("")),
                Err(why) => {
                    return Err(Failure::error(
                        format!("cannot write the answers: {why}"),
                        format!("无法写出结果：{why}"),
                    ));
                }
            }
            if let Some((line, what)) = one.wrong {
                let _ = out.flush();
                return Err(wrong(path, line, &what));
            }
        }
        if let Some(failure) = failed {
            let _ = out.flush();
            return Err(failure);
        }
    }
}

fn wrong(path: &Path, line: u64, what: &str) -> Failure {
    let path = path.display();
    Failure::error(
        format!("{path}:{line}: {what}; the packets before it are answered"),
        format!("{path}:{line}：报文有误（{what}）；之前的报文已给出结果"),
    )
}

/// Lines of a file, many at a time.
struct Lines<'p> {
    from: BufReader<Box<dyn io::Read + Send>>,
    path: &'p Path,
    /// The number of the next line, from 1.
    next: u64,
}

/// Some lines.
struct Batch {
    octets: Vec<u8>,
    /// The number of the first.
    first: u64,
}

impl Lines<'_> {
    /// The next lines, at least one where there is one.
    fn batch(&mut self) -> Result<Batch, Failure> {
        let mut batch = Batch { octets: Vec::with_capacity(BATCH + MAX_LINE), first: self.next };
        while batch.octets.len() < BATCH {
            let before = batch.octets.len();
            let most = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
            let mut bounded = io::Read::take(&mut self.from, most);
            let read = bounded.read_until(b'\n', &mut batch.octets);
            match read.map_err(|why| files::unreadable(self.path, &why))? {
                0 => break,
                count if count == MAX_LINE && batch.octets.last() != Some(&b'\n') => {
                    // What was read of good lines before is answered first.
                    batch.octets.truncate(before);
                    if before > 0 {
                        batch.octets.extend_from_slice(TOO_LONG);
                        return Ok(batch);
                    }
                    let what = format!("a line of more than {MAX_LINE} octets");
                    return Err(wrong(self.path, self.next, &what));
                }
                _ => self.next += 1,
            }
        }
        Ok(batch)
    }
}

/// Stands in for a line that is too long, and is no packet.
const TOO_LONG: &[u8] = b"a line that is too long\n";

/// Answers, and what is wrong with the line behind the last.
struct Answered {
    text: Vec<u8>,
    wrong: Option<(u64, String)>,
}

fn answer(
    tracer: &Tracer<'_>,
    direction: Direction,
    batch: &Batch,
    format: Format,
    screen: Screen,
    known: &mut BTreeMap<By, String>,
) -> Answered {
    let mut text = Vec::with_capacity(batch.octets.len());
    for (number, line) in (batch.first..).zip(batch.octets.split(|octet| *octet == b'\n')) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let read = serde_json::from_slice::<Packet>(line)
            .map_err(|why| without_place(&why))
            .and_then(|packet| tracer.trace(&packet, direction).map_err(|why| why.to_string()));
        let answer = match read {
            Ok(answer) => answer,
            Err(what) => return Answered { text, wrong: Some((number, what)) },
        };
        let by = known.entry(answer.by).or_insert_with(|| match format {
            Format::Table => clean(&in_words(tracer, answer.by, screen)),
            Format::Json | Format::Ndjson => decided(tracer, answer.by).to_string(),
        });
        let (verdict, certainty) = (answer.verdict.name(), answer.certainty.name());
        let parts: [&str; 7] = match format {
            Format::Table => [verdict, " ", certainty, "  ", by, "\n", ""],
            Format::Json | Format::Ndjson => [
                "{\"verdict\":\"",
                verdict,
                "\",\"rule\":",
                by,
                ",\"certainty\":\"",
                certainty,
                "\"}\n",
            ],
        };
        for part in parts {
            text.extend_from_slice(part.as_bytes());
        }
    }
    Answered { text, wrong: None }
}

/// What serde says, without the line that it counts: each packet is a text of its own.
fn without_place(why: &serde_json::Error) -> String {
    let text = why.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} (column {})", why.column()),
        None => text,
    }
}
