//! The spool against everything that happens to files: restarts, bounds, damage, full disks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bailey_agent::settings::SpoolBounds;
use bailey_agent::spool::{Item, Kept, MAX_HELD, Resumed, Spool, SpoolError, inspect};
use bailey_rules::name::BootId;
use bailey_rules::report::{Gap, LossReason, Place};
use bailey_rules::unit::Bytes as Octets;
use bytes::Bytes;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const KERNEL: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const NEXT_KERNEL: &str = "11111111-2222-3333-4444-555555555555";

fn bounds(size: u64) -> SpoolBounds {
    SpoolBounds { size: Octets(size), age: Duration::from_hours(24 * 7) }
}

fn open_in(folder: &Path, kernel: &str, size: u64, seed: u64) -> Spool {
    let mut rng = StdRng::seed_from_u64(seed);
    // A child that another test forks holds the lock until it has become another program.
    for _ in 0..1000 {
        match Spool::open(folder, bounds(size), kernel, &mut rng, Instant::now()) {
            Ok(spool) => return spool,
            Err(SpoolError::InUse(_)) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    panic!("the spool stays in use");
}

fn open(folder: &Path) -> Spool {
    open_in(folder, KERNEL, 64 << 20, rand::rng().random())
}

/// A payload that tells its place and has a length of its own.
fn payload(seq: u64) -> Bytes {
    let length = usize::try_from(seq * 37 % 60).unwrap();
    let mut text = format!("report {seq} ");
    text.extend(std::iter::repeat_n('.', length));
    text.into()
}

/// Puts reports up to the number `last`.
fn fill(spool: &mut Spool, last: u64) {
    while spool.next_place().seq <= last {
        let seq = spool.next_place().seq;
        assert_eq!(spool.put(payload(seq), Instant::now()), Kept::OnDisk);
    }
}

/// Everything that is not acknowledged, acknowledging as it goes.
fn drain(spool: &mut Spool) -> Vec<Item> {
    let mut all = Vec::new();
    while let Some(item) = spool.next() {
        assert!(spool.acknowledge(item.last_place()));
        all.push(item);
    }
    all
}

fn numbers(items: &[Item]) -> Vec<u64> {
    items
        .iter()
        .map(|item| match item {
            Item::Report { place, .. } => place.seq,
            Item::Loss(gap) => panic!("{gap:?} was not expected"),
        })
        .collect()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect();
    found.sort();
    found
}

/// The collector as the spool sees it: every place once, every hole declared.
#[derive(Debug, Default)]
struct Collector {
    reports: BTreeMap<(BootId, u64), Bytes>,
    lost: BTreeMap<(BootId, u64), LossReason>,
    last: Option<Place>,
    seen: Vec<BootId>,
}

impl Collector {
    fn take(&mut self, item: &Item) {
        let (boot, from, to) = match item {
            Item::Report { place, .. } => (place.boot, place.seq, place.seq),
            Item::Loss(gap) => (gap.boot, gap.from, gap.to),
        };
        let expected = match self.last {
            Some(last) if last.boot == boot => {
                if to <= last.seq {
                    // Sent again after an acknowledgement was lost: it must be the same.
                    if let Item::Report { place, payload } = item {
                        assert_eq!(self.reports.get(&(place.boot, place.seq)), Some(payload));
                    }
                    return;
                }
                last.seq + 1
            }
            _ => {
                assert!(!self.seen.contains(&boot), "a superseded numbering came back");
                self.seen.push(boot);
                1
            }
        };
        assert_eq!(from, expected, "a hole that nobody declared before {item:?}");
        match item {
            Item::Report { place, payload } => {
                self.reports.insert((place.boot, place.seq), payload.clone());
            }
            Item::Loss(gap) => {
                for seq in gap.from..=gap.to {
                    self.lost.insert((gap.boot, seq), gap.reason);
                }
            }
        }
        self.last = Some(Place { boot, seq: to });
    }
}

#[test]
fn reports_come_out_in_order_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    fill(&mut spool, 100);
    assert!(spool.waiting() > 0);
    assert_eq!(numbers(&drain(&mut spool)), (1..=100).collect::<Vec<_>>());
    assert_eq!(spool.waiting(), 0);
    assert_eq!(spool.next(), None);
}

#[test]
fn the_numbering_goes_on_after_a_restart_and_begins_anew_after_a_boot() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    fill(&mut spool, 3);
    let boot = spool.next_place().boot;
    drop(spool);
    let spool = open(folder.path());
    assert_eq!(spool.next_place(), Place { boot, seq: 4 });
    drop(spool);
    let mut spool = open_in(folder.path(), NEXT_KERNEL, 64 << 20, 1);
    assert_ne!(spool.next_place().boot, boot);
    assert_eq!(spool.next_place().seq, 1);
    fill(&mut spool, 2);
    assert_eq!(numbers(&drain(&mut spool)), [1, 2, 3, 1, 2]);
}

#[test]
fn the_numbering_goes_on_when_everything_was_acknowledged_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open_in(folder.path(), KERNEL, 256 << 10, 1);
    fill(&mut spool, 500);
    let boot = spool.next_place().boot;
    assert_eq!(drain(&mut spool).len(), 500);
    fill(&mut spool, 501);
    drain(&mut spool);
    spool.close(Instant::now());
    assert_eq!(segments(folder.path()).len(), 1);
    for segment in segments(folder.path()) {
        fs::remove_file(segment).unwrap();
    }
    let mut spool = open(folder.path());
    assert_eq!(spool.next_place(), Place { boot, seq: 502 });
    fill(&mut spool, 502);
    assert_eq!(numbers(&drain(&mut spool)), [502]);
}

#[test]
fn nothing_unacknowledged_is_removed_and_what_is_acknowledged_does_not_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    fill(&mut spool, 20);
    for _ in 0..10 {
        spool.next().unwrap();
    }
    let boot = spool.next_place().boot;
    assert!(spool.acknowledge(Place { boot, seq: 7 }));
    spool.rewind();
    assert_eq!(spool.oldest(), Some(Place { boot, seq: 8 }));
    spool.close(Instant::now());
    let mut spool = open(folder.path());
    assert_eq!(numbers(&drain(&mut spool)), (8..=20).collect::<Vec<_>>());
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    fill(&mut spool, 3);
    let boot = spool.next_place().boot;
    assert!(!spool.acknowledge(Place { boot, seq: 3 }));
    assert!(!spool.acknowledge(Place { boot: BootId::from_bytes([9; 16]), seq: 3 }));
    assert_eq!(numbers(&drain(&mut spool)), [1, 2, 3]);
}

#[test]
fn a_lost_acknowledgement_is_made_up_for_at_the_next_session() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let mut spool = open(folder.path());
    fill(&mut spool, 9);
    let first = spool.next_place().boot;
    drop(spool);
    let mut spool = open_in(folder.path(), NEXT_KERNEL, 64 << 20, 2);
    fill(&mut spool, 5);
    let boot = spool.next_place().boot;
    assert_ne!(first, boot);
    assert_eq!(spool.resume(Some(Place { boot, seq: 2 }), &mut rng), Resumed::Continues);
    assert_eq!(numbers(&drain(&mut spool)), [3, 4, 5]);
}

#[test]
fn a_collector_that_forgot_gets_what_is_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let mut spool = open(folder.path());
    fill(&mut spool, 5);
    drain(&mut spool);
    fill(&mut spool, 7);
    assert_eq!(spool.resume(None, &mut rng), Resumed::Continues);
    assert_eq!(numbers(&drain(&mut spool)), [6, 7]);
}

#[test]
fn a_spool_put_back_to_an_older_state_begins_a_new_numbering_and_says_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let mut spool = open(folder.path());
    fill(&mut spool, 5);
    let old = spool.next_place().boot;
    assert_eq!(spool.resume(Some(Place { boot: old, seq: 8 }), &mut rng), Resumed::Renumbered);
    let boot = spool.next_place().boot;
    assert_ne!(boot, old);
    spool.put(payload(6), Instant::now());
    let items = drain(&mut spool);
    let gap = Gap { boot, from: 1, to: 5, reason: LossReason::SpoolLost };
    assert_eq!(items[0], Item::Loss(gap));
    assert_eq!(items[1], Item::Report { place: Place { boot, seq: 6 }, payload: payload(6) });
    drop(spool);
    assert_eq!(open(folder.path()).next_place(), Place { boot, seq: 7 });
}

#[test]
fn two_processes_never_share_a_spool() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let mut rng = StdRng::seed_from_u64(1);
    let second = Spool::open(folder.path(), bounds(64 << 20), KERNEL, &mut rng, Instant::now());
    assert!(matches!(second, Err(SpoolError::InUse(_))));
    drop(spool);
    drop(open(folder.path()));
}

#[test]
fn a_full_spool_drops_its_oldest_as_a_gap_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open_in(folder.path(), KERNEL, 64 << 10, 1);
    fill(&mut spool, 2000);
    let on_disk: u64 = segments(folder.path()).iter().map(|s| s.metadata().unwrap().len()).sum();
    assert!(on_disk <= 64 << 10, "{on_disk}");
    drop(spool);
    // The gap survives a restart too.
    let mut spool = open_in(folder.path(), KERNEL, 64 << 10, 1);
    let mut collector = Collector::default();
    for item in drain(&mut spool) {
        collector.take(&item);
    }
    assert_eq!(collector.reports.len() + collector.lost.len(), 2000);
    assert!(collector.reports.len() > 200);
    assert!(collector.lost.values().all(|&reason| reason == LossReason::SpoolFull));
}

#[test]
fn what_is_dropped_while_it_is_on_its_way_may_still_be_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open_in(folder.path(), KERNEL, 64 << 10, 1);
    fill(&mut spool, 10);
    let boot = spool.next_place().boot;
    for _ in 0..6 {
        spool.next().unwrap();
    }
    fill(&mut spool, 2000);
    assert!(spool.acknowledge(Place { boot, seq: 4 }));
    let Some(Item::Loss(gap)) = spool.next() else { panic!("a loss follows what was sent") };
    assert_eq!((gap.from, gap.reason), (7, LossReason::SpoolFull));
    // The session breaks: what was on its way and dropped is now lost too.
    spool.rewind();
    let Some(Item::Loss(gap)) = spool.next() else { panic!("a loss is in its place") };
    assert_eq!((gap.from, gap.reason), (5, LossReason::SpoolFull));
    let to = gap.to;
    let next = spool.next().unwrap();
    assert_eq!(next.last_place().seq, to + 1);
    assert!(spool.acknowledge(next.last_place()));
    assert!(!drain(&mut spool).iter().any(|item| matches!(item, Item::Loss(_))));
}

#[test]
fn what_is_too_old_is_dropped_by_the_agents_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let start = Instant::now();
    let day = SpoolBounds { size: Octets(64 << 20), age: Duration::from_hours(24) };
    let mut spool = Spool::open(folder.path(), day, KERNEL, &mut rng, start).unwrap();
    for hour in 0..72 {
        spool.put(payload(hour + 1), start + Duration::from_hours(hour));
    }
    let items = drain(&mut spool);
    let Item::Loss(gap) = &items[0] else { panic!("{items:?}") };
    assert_eq!(gap.reason, LossReason::SpoolExpired);
    assert!((40..=48).contains(&gap.to), "{gap:?}");
    assert_eq!(items.len(), 73 - usize::try_from(gap.to).unwrap());
}

#[test]
fn every_truncation_of_a_segment_loses_only_what_was_cut_and_says_so() {
    let master = tempfile::tempdir().unwrap();
    let mut spool = open(master.path());
    fill(&mut spool, 8);
    let boot = spool.next_place().boot;
    drop(spool);
    let name = segments(master.path())[0].file_name().unwrap().to_owned();
    let whole = fs::read(master.path().join(&name)).unwrap();
    let ledger = fs::read(master.path().join("ledger")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for length in 0..=whole.len() {
        fs::write(folder.path().join(&name), &whole[..length]).unwrap();
        fs::write(folder.path().join("ledger"), &ledger).unwrap();
        let mut spool = open(folder.path());
        assert_eq!(spool.next_place(), Place { boot, seq: 9 }, "cut to {length}");
        spool.put(payload(9), Instant::now());
        let mut collector = Collector::default();
        for item in drain(&mut spool) {
            collector.take(&item);
        }
        let mut end = 0;
        for seq in 1..=8 {
            end += 44 + payload(seq).len();
            let kept = collector.reports.contains_key(&(boot, seq));
            assert_eq!(kept, end <= length, "report {seq} of a segment cut to {length}");
            let lost = collector.lost.get(&(boot, seq));
            assert_eq!(lost.is_none(), kept);
            assert!(matches!(lost, None | Some(LossReason::SpoolDamaged)));
        }
        assert!(collector.reports.contains_key(&(boot, 9)));
        drop(spool);
        fs::remove_dir_all(folder.path()).unwrap();
        fs::create_dir(folder.path()).unwrap();
    }
}

#[test]
fn every_flipped_bit_loses_one_report_and_says_so() {
    let master = tempfile::tempdir().unwrap();
    let mut spool = open(master.path());
    fill(&mut spool, 3);
    let boot = spool.next_place().boot;
    drop(spool);
    let name = segments(master.path())[0].file_name().unwrap().to_owned();
    let whole = fs::read(master.path().join(&name)).unwrap();
    let ledger = fs::read(master.path().join("ledger")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(folder.path().join(&name), &bytes).unwrap();
        fs::write(folder.path().join("ledger"), &ledger).unwrap();
        let mut end = 0;
        let hit = (1..=3)
            .find(|&seq| {
                end += 44 + payload(seq).len();
                bit / 8 < end
            })
            .unwrap();
        let mut spool = open(folder.path());
        assert_eq!(spool.next_place().seq, 4);
        let mut collector = Collector::default();
        for item in drain(&mut spool) {
            collector.take(&item);
        }
        let lost: Vec<_> = collector.lost.into_iter().collect();
        assert_eq!(lost, [((boot, hit), LossReason::SpoolDamaged)], "bit {bit}");
        assert_eq!(collector.reports.len(), 2);
        drop(spool);
        assert_eq!(inspect(folder.path()).unwrap().quarantined, 1, "bit {bit}");
        fs::remove_dir_all(folder.path()).unwrap();
        fs::create_dir(folder.path()).unwrap();
    }
}

#[test]
fn every_flipped_bit_of_the_ledger_costs_at_most_its_last_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    fill(&mut spool, 6);
    drain(&mut spool);
    let boot = spool.next_place().boot;
    spool.close(Instant::now());
    let ledger = folder.path().join("ledger");
    let whole = fs::read(&ledger).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] != 0).collect();
    for at in used {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            fs::write(&ledger, &bytes).unwrap();
            let mut spool = open(folder.path());
            assert_eq!(spool.next_place(), Place { boot, seq: 7 }, "octet {at} bit {bit}");
            for item in drain(&mut spool) {
                assert!(matches!(item, Item::Report { .. }), "octet {at} bit {bit}: {item:?}");
            }
        }
    }
}

#[test]
fn a_lost_ledger_costs_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    fill(&mut spool, 6);
    let boot = spool.next_place().boot;
    drop(spool);
    fs::remove_file(folder.path().join("ledger")).unwrap();
    let mut spool = open(folder.path());
    assert_ne!(spool.next_place().boot, boot);
    let mut rng = StdRng::seed_from_u64(1);
    spool.resume(Some(Place { boot, seq: 2 }), &mut rng);
    fill(&mut spool, 1);
    assert_eq!(numbers(&drain(&mut spool)), [3, 4, 5, 6, 1]);
}

#[test]
fn nothing_in_the_folder_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open_in(folder.path(), KERNEL, 64 << 10, 1);
    fill(&mut spool, 600);
    let boot = spool.next_place().boot;
    drop(spool);
    let found = segments(folder.path());
    assert!(found.len() >= 4, "{found:?}");
    fs::remove_file(&found[0]).unwrap();
    fs::write(&found[1], b"").unwrap();
    fs::write(&found[2], vec![0xa5; 5000]).unwrap();
    fs::write(folder.path().join("README"), "mine").unwrap();
    fs::write(folder.path().join("+00000000000000f.seg"), "not mine").unwrap();
    fs::write(folder.path().join("ffffffffffffff00.seg"), "neither").unwrap();
    fs::create_dir(folder.path().join("00000000000000aa.seg")).unwrap();
    let mut spool = open_in(folder.path(), KERNEL, 64 << 10, 2);
    let place = spool.next_place();
    assert_eq!(place, Place { boot, seq: 601 });
    fill(&mut spool, 610);
    let mut collector = Collector::default();
    for item in drain(&mut spool) {
        collector.take(&item);
    }
    assert_eq!(collector.reports.len() + collector.lost.len(), 610);
    assert!(collector.reports.len() > 100 && collector.lost.len() > 50);
    assert!(folder.path().join("README").exists());
}

#[test]
fn a_segment_taken_away_under_a_running_spool_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open_in(folder.path(), KERNEL, 64 << 10, 1);
    fill(&mut spool, 300);
    fs::remove_file(&segments(folder.path())[1]).unwrap();
    let mut collector = Collector::default();
    for item in drain(&mut spool) {
        collector.take(&item);
    }
    assert_eq!(collector.reports.len() + collector.lost.len(), 300);
    assert!(!collector.lost.is_empty());
    assert!(collector.lost.values().all(|&reason| reason == LossReason::SpoolLost));
}

#[test]
fn a_folder_that_cannot_be_made_leaves_the_agent_running_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file").join("spool");
    let mut rng = StdRng::seed_from_u64(1);
    let start = Instant::now();
    let mut spool = Spool::open(&path, bounds(64 << 20), KERNEL, &mut rng, start).unwrap();
    assert!(spool.problem().unwrap().contains("cannot write the spool"));
    for seq in 1..=3 {
        assert_eq!(spool.put(payload(seq), start), Kept::InMemory);
    }
    assert_eq!(spool.next().unwrap().last_place().seq, 1);
    // The way is free again.
    fs::remove_file(folder.path().join("file")).unwrap();
    let later = start + Duration::from_secs(6);
    assert_eq!(spool.put(payload(4), later), Kept::OnDisk);
    assert_eq!(spool.problem(), None);
    let boot = spool.next_place().boot;
    assert!(spool.acknowledge(Place { boot, seq: 1 }));
    assert_eq!(numbers(&drain(&mut spool)), [2, 3, 4]);
}

#[test]
fn what_was_sent_from_memory_is_never_followed_by_what_is_older() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let mut spool = open(&path);
    fill(&mut spool, 5);
    drop(spool);
    let aside = folder.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    fs::write(&path, "in the way").unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let start = Instant::now();
    let mut spool = Spool::open(&path, bounds(64 << 20), KERNEL, &mut rng, start).unwrap();
    let boot = spool.next_place().boot;
    spool.put(payload(1), start);
    let mut collector = Collector::default();
    collector.take(&spool.next().unwrap());
    fs::remove_file(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    spool.put(payload(2), start + Duration::from_secs(6));
    assert_eq!(spool.problem(), None);
    spool.acknowledge(Place { boot, seq: 1 });
    for item in drain(&mut spool) {
        collector.take(&item);
    }
    // Five of before, lost as numbers of the numbering that overtook them.
    assert_eq!(collector.lost.len(), 5);
    assert_eq!(collector.reports.len(), 2);
}

#[test]
fn numberings_that_were_taken_away_whole_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut boots = Vec::new();
    for (kernel, last) in [("first", 70), ("second", 3), ("third", 4), ("fourth", 90)] {
        let mut spool = open_in(folder.path(), kernel, 64 << 10, boots.len() as u64);
        boots.push(spool.next_place().boot);
        fill(&mut spool, last);
    }
    let found = segments(folder.path());
    let shared = found.len() / 2 - 1;
    let views = inspect(folder.path()).unwrap().segments;
    let (from, to) = views[shared].places.unwrap();
    assert_eq!((from.boot, to.boot), (boots[0], boots[3]), "both in one segment");
    fs::remove_file(&found[shared]).unwrap();
    let mut spool = open_in(folder.path(), "fifth", 64 << 10, 9);
    let mut collector = Collector::default();
    for item in drain(&mut spool) {
        collector.take(&item);
    }
    for (boot, last) in boots.iter().zip([70, 3, 4, 90]) {
        for seq in 1..=last {
            let place = (*boot, seq);
            assert!(collector.reports.contains_key(&place) || collector.lost.contains_key(&place));
        }
    }
}

/// The name that makes the test binary do a child's work instead of testing.
const CHILD: &str = "BAILEY_SPOOL_CHILD";

/// Writes, sends and acknowledges until it is killed, and tells each step on stdout.
#[test]
#[ignore = "the child of the kill tests"]
fn child_writes_until_it_is_killed() {
    use std::io::Write as _;
    let folder = PathBuf::from(std::env::var_os(CHILD).unwrap());
    let mut rng = StdRng::from_os_rng();
    let mut spool = open_in(&folder, KERNEL, 256 << 10, rng.random());
    let mut out = std::io::stdout().lock();
    loop {
        let place = spool.next_place();
        assert_eq!(spool.put(payload(place.seq), Instant::now()), Kept::OnDisk);
        writeln!(out, "spooled {} {}", place.boot, place.seq).unwrap();
        if rng.random_ratio(1, 3) {
            for _ in 0..rng.random_range(1..20) {
                let Some(item) = spool.next() else { break };
                let last = item.last_place();
                // As the collector has it before the spool knows.
                writeln!(out, "acknowledged {} {}", last.boot, last.seq).unwrap();
                assert!(spool.acknowledge(last));
            }
        }
    }
}

#[test]
fn kill_at_any_moment_loses_nothing_and_repeats_no_number() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(0x00ba_11e7);
    let mut spooled: Vec<(String, u64)> = Vec::new();
    let mut acknowledged: Option<(String, u64)> = None;
    for _ in 0..60 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "spool::child_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let wait = Duration::from_micros(rng.random_range(500..25_000));
        let mut first = true;
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            if first && line.starts_with("spooled") {
                // Only now does it write: count from here.
                std::thread::sleep(wait);
                child.kill().unwrap();
                first = false;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ([what, boot, seq], true) = (&words[..], line.ends_with('\n'))
                && let Ok(seq) = seq.parse()
            {
                match *what {
                    "spooled" => spooled.push(((*boot).to_owned(), seq)),
                    "acknowledged" => acknowledged = Some(((*boot).to_owned(), seq)),
                    _ => {}
                }
            }
            line.clear();
        }
        child.wait().unwrap();
    }
    assert!(spooled.len() > 200, "only {} reports were written", spooled.len());
    // One kernel boot, one numbering; no number twice; each in its order.
    assert!(spooled.iter().all(|(boot, _)| *boot == spooled[0].0));
    assert!(spooled.windows(2).all(|pair| pair[0].1 < pair[1].1));
    let last = spooled.last().unwrap().1;
    let mut spool = open_in(folder.path(), KERNEL, 256 << 10, 1);
    // The last one may have been written without the child having had the time to say so.
    assert!((last + 1..=last + 2).contains(&spool.next_place().seq));
    let boot = spool.next_place().boot;
    let theirs = acknowledged.map(|(_, seq)| Place { boot, seq });
    let already = theirs.map_or(0, |place| place.seq);
    spool.resume(theirs, &mut rng);
    let rest = numbers(&drain(&mut spool));
    let expected: Vec<u64> = (already + 1..spool.next_place().seq).collect();
    assert_eq!(rest, expected);
}

/// Fills a file system of 512 KiB and frees it again, in a mount namespace of its own.
#[test]
#[ignore = "the child of the full disk test"]
fn child_on_a_small_disk() {
    let disk = PathBuf::from(std::env::var_os(CHILD).unwrap());
    let mut rng = StdRng::seed_from_u64(1);
    let mut now = Instant::now();
    let path = disk.join("spool");
    let mut spool = Spool::open(&path, bounds(64 << 20), KERNEL, &mut rng, now).unwrap();
    fill(&mut spool, 50);
    // Somebody else takes the rest.
    let mut ballast = fs::File::create(disk.join("ballast")).unwrap();
    while std::io::Write::write_all(&mut ballast, &[7; 512]).is_ok() {}
    let full_from = loop {
        let seq = spool.next_place().seq;
        if spool.put(payload(seq), now) == Kept::InMemory {
            break seq;
        }
    };
    assert!(spool.problem().unwrap().contains("No space left"), "{:?}", spool.problem());
    let over = full_from + u64::try_from(MAX_HELD).unwrap() + 9;
    while spool.next_place().seq <= over {
        let seq = spool.next_place().seq;
        spool.put(payload(seq), now);
    }
    // Live reports still go out while the disk is full.
    let mut collector = Collector::default();
    for _ in 0..20 {
        let item = spool.next().unwrap();
        assert!(spool.acknowledge(item.last_place()));
        collector.take(&item);
    }
    drop(ballast);
    fs::remove_file(disk.join("ballast")).unwrap();
    now += Duration::from_secs(6);
    assert_eq!(spool.put(payload(over + 1), now), Kept::OnDisk);
    assert_eq!(spool.problem(), None);
    drop(spool);
    let mut spool = Spool::open(&path, bounds(64 << 20), KERNEL, &mut rng, now).unwrap();
    spool.resume(collector.last, &mut rng);
    for item in drain(&mut spool) {
        collector.take(&item);
    }
    let all = u64::try_from(collector.reports.len() + collector.lost.len()).unwrap();
    assert_eq!(all, over + 1);
    assert_eq!(collector.lost.len(), 10);
    assert!(collector.lost.values().all(|&reason| reason == LossReason::SpoolLost));
    // Killed while numbers were in memory only: a new numbering that tells of a loss.
    let mut ballast = fs::File::create(disk.join("ballast")).unwrap();
    while std::io::Write::write_all(&mut ballast, &[7; 512]).is_ok() {}
    loop {
        let seq = spool.next_place().seq;
        if spool.put(payload(seq), now) == Kept::InMemory {
            break;
        }
    }
    let old = spool.next_place().boot;
    drop((spool, ballast));
    fs::remove_file(disk.join("ballast")).unwrap();
    let mut spool = Spool::open(&path, bounds(64 << 20), KERNEL, &mut rng, now).unwrap();
    let boot = spool.next_place().boot;
    assert_ne!(boot, old);
    let items = drain(&mut spool);
    let lost = Gap { boot, from: 1, to: 1, reason: LossReason::SpoolLost };
    assert_eq!(items.last(), Some(&Item::Loss(lost)));
}

#[test]
fn a_full_disk_is_said_and_heals_and_live_reports_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new("unshare")
        .arg("--mount")
        .arg("sh")
        .arg("-c")
        .arg("mount -t tmpfs -o size=512k none \"$1\" && exec \"$2\" --exact spool::child_on_a_small_disk --ignored")
        .arg("sh")
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8),
    Send(u8),
    Acknowledge(u8),
    Disconnect,
    Tend,
    Restart,
    Kill,
    Boot,
    Damage(u16),
    RemoveSegment(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..40_u8).prop_map(Step::Put),
        6 => (1..40_u8).prop_map(Step::Send),
        5 => any::<u8>().prop_map(Step::Acknowledge),
        2 => Just(Step::Disconnect),
        1 => Just(Step::Tend),
        2 => Just(Step::Restart),
        2 => Just(Step::Kill),
        1 => Just(Step::Boot),
        1 => any::<u16>().prop_map(Step::Damage),
        1 => any::<u8>().prop_map(Step::RemoveSegment),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// I1, I2 and I3 over any history: what was put arrives once and unchanged, or in a gap.
    #[test]
    fn every_report_arrives_once_or_in_a_gap(steps in prop::collection::vec(step(), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(42);
        let mut kernel = 0_u32;
        let again = |kernel: u32, rng: &mut StdRng| {
            open_in(folder.path(), &format!("kernel {kernel}"), 24 << 10, rng.random())
        };
        let mut spool = again(kernel, &mut rng);
        let mut collector = Collector::default();
        let mut put: BTreeMap<(BootId, u64), Bytes> = BTreeMap::new();
        let mut unacknowledged: Vec<Place> = Vec::new();
        for step in steps {
            match step {
                Step::Put(count) => for _ in 0..count {
                    let place = spool.next_place();
                    let text = Bytes::from(format!("{}-{}-{}", place.boot, place.seq, put.len()));
                    prop_assert_eq!(spool.put(text.clone(), Instant::now()), Kept::OnDisk);
                    prop_assert!(put.insert((place.boot, place.seq), text).is_none());
                },
                Step::Send(count) => for _ in 0..count {
                    let Some(item) = spool.next() else { break };
                    collector.take(&item);
                    unacknowledged.push(item.last_place());
                },
                Step::Acknowledge(which) => if !unacknowledged.is_empty() {
                    let at = usize::from(which) % unacknowledged.len();
                    prop_assert!(spool.acknowledge(unacknowledged[at]));
                    unacknowledged.drain(..=at);
                },
                Step::Disconnect => {
                    unacknowledged.clear();
                    prop_assert_eq!(spool.resume(collector.last, &mut rng), Resumed::Continues);
                }
                Step::Tend => spool.tend(Instant::now()),
                Step::Restart | Step::Kill | Step::Boot => {
                    unacknowledged.clear();
                    if matches!(step, Step::Restart) { spool.close(Instant::now()) } else { drop(spool) }
                    if matches!(step, Step::Boot) { kernel += 1 }
                    spool = again(kernel, &mut rng);
                    prop_assert_eq!(spool.resume(collector.last, &mut rng), Resumed::Continues);
                }
                Step::Damage(at) => {
                    let found = segments(folder.path());
                    if let Some(path) = found.get(usize::from(at) % found.len().max(1)) {
                        let mut bytes = fs::read(path).unwrap();
                        if !bytes.is_empty() {
                            let at = usize::from(at) * 7919 % bytes.len();
                            bytes[at] ^= 0x10;
                            fs::write(path, bytes).unwrap();
                        }
                    }
                }
                Step::RemoveSegment(at) => {
                    let found = segments(folder.path());
                    if found.len() > 1 {
                        fs::remove_file(&found[usize::from(at) % (found.len() - 1)]).unwrap();
                    }
                }
            }
        }
        spool.resume(collector.last, &mut rng);
        for item in drain(&mut spool) {
            collector.take(&item);
        }
        for ((boot, seq), text) in &put {
            match collector.reports.get(&(*boot, *seq)) {
                Some(came) => prop_assert_eq!(came, text),
                None => {
                    let heard_of = collector.lost.contains_key(&(*boot, *seq));
                    prop_assert!(heard_of, "report {} {} is nowhere", boot, seq);
                }
            }
        }
        prop_assert!(collector.reports.keys().all(|place| put.contains_key(place)));
    }
}
