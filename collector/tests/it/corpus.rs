//! The inputs with which the fuzzer begins run through the same functions as under the fuzzer.

#[path = "../../../fuzz/src/targets.rs"]
#[allow(unreachable_pub, reason = "a part of the fuzzer, where they are reached")]
mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A target of the fuzzer, by its name.
type Target = (&'static str, fn(&[u8]));

/// Every one.
const TARGETS: [Target; 6] = [
    ("ber", targets::ber),
    ("frames", targets::frames),
    ("pdu", targets::pdu),
    ("syslog", targets::syslog),
    ("trap", targets::trap),
    ("usm", targets::usm),
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn everything_that_is_kept_of_the_fuzzer_passes_its_target() {
    for (name, target) in TARGETS {
        let kept = files(&fuzz().join("seeds").join(name));
        assert!(kept.len() >= 5, "{name} has {} inputs", kept.len());
        for path in kept {
            let octets = std::fs::read(&path).unwrap();
            let failed = std::panic::catch_unwind(|| target(&octets));
            assert!(failed.is_ok(), "{} fails in {name}", path.display());
        }
    }
}

#[test]
fn every_target_of_the_fuzzer_is_run_here_too() {
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let built: BTreeSet<String> = files(&fuzz().join("fuzz_targets")).iter().map(stem).collect();
    let seeded: BTreeSet<String> = files(&fuzz().join("seeds")).iter().map(stem).collect();
    assert_eq!((&built, &seeded), (&known, &known));
}
