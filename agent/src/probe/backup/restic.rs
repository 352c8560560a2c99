//! What restic says of a repository (restic(1), "Scripting": `snapshots --json`, `stats --json`).

use std::ffi::OsString;

use bailey_rules::fact::backup;
use bailey_rules::time::Timestamp;
use serde::Deserialize;

use super::repository::{Listed, Reader, WEIGHED, Weight, Weights, fact, newest_first};
use crate::probe::program::Ended;
use crate::settings::Tool;

/// The most snapshots that are weighed in one reading; each costs a look at the whole index.
const WEIGHED_AT_ONCE: usize = 4;

#[derive(Debug, Deserialize)]
struct Snapshot {
    id: String,
    time: String,
    /// Since restic 0.17.
    summary: Option<Summary>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    total_files_processed: Option<u64>,
    total_bytes_processed: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Stats {
    total_size: Option<u64>,
    /// Before restic 0.17 folders are counted too.
    total_file_count: Option<u64>,
}

/// Reads a repository without locking it, so that no backup is held up and none holds this up.
pub(super) async fn read(
    reader: &Reader,
    weights: &mut Weights,
) -> Result<backup::Repository, String> {
    let output = run(reader, &["snapshots", "--json"]).await?;
    // A repository without snapshots is `null` in old versions.
    let snapshots: Option<Vec<Snapshot>> = serde_json::from_slice(&output)
        .map_err(|error| format!("what restic printed is not understood: {error}"))?;
    let mut listed = Vec::new();
    let mut told = Weights::new();
    for snapshot in snapshots.unwrap_or_default() {
        let taken_at: Timestamp = snapshot.time.parse().map_err(|error| format!("{error}"))?;
        if let Some(summary) = snapshot.summary {
            let weight = Weight {
                size: summary.total_bytes_processed,
                files: summary.total_files_processed,
            };
            told.insert(snapshot.id.clone(), weight);
        }
        listed.push(Listed { id: snapshot.id, taken_at });
    }
    newest_first(&mut listed);
    weights.retain(|id, _| listed.iter().take(WEIGHED).any(|snapshot| snapshot.id == *id));
    let newest = listed.iter().take(WEIGHED);
    let missing = newest
        .filter(|snapshot| !told.contains_key(&snapshot.id) && !weights.contains_key(&snapshot.id));
    let missing: Vec<&Listed> = missing.take(WEIGHED_AT_ONCE).collect();
    for snapshot in missing {
        let output =
            run(reader, &["stats", "--json", "--mode", "restore-size", &snapshot.id]).await?;
        let stats: Stats = serde_json::from_slice(&output)
            .map_err(|error| format!("what restic printed is not understood: {error}"))?;
        let weight = Weight { size: stats.total_size, files: stats.total_file_count };
        weights.insert(snapshot.id.clone(), weight);
    }
    told.extend(weights.iter().map(|(id, weight)| (id.clone(), *weight)));
    Ok(fact(Tool::Restic, listed, &told))
}

async fn run(reader: &Reader, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut environment: Vec<(OsString, OsString)> =
        vec![("RESTIC_REPOSITORY".into(), reader.path().into())];
    if let Some(file) = reader.password_file() {
        environment.push(("RESTIC_PASSWORD_FILE".into(), file.into()));
    }
    // Without a cache folder of its own restic complains at every run.
    let mut all = vec!["--no-lock", "--no-cache"];
    all.extend(arguments);
    let ended = reader.run(&all, &[], environment).await?;
    if ended.success { Ok(ended.output) } else { Err(why(reader, &ended)) }
}

/// What a failure means, in words for an administrator.
fn why(reader: &Reader, ended: &Ended) -> String {
    let said = |words: &str| ended.complaint.contains(words);
    let place = reader.place();
    if said("wrong password or no key found") {
        format!("the password for {place} is wrong")
    } else if said("Is there a repository at the following location") {
        format!("there is no restic repository at {place}")
    } else if said("Resolving password failed") || said("an empty password is not a password") {
        format!("there is no password for {place}; name a password_file that can be read")
    } else if said("repository is already locked") {
        format!("{place} is locked by another restic")
    } else {
        format!("restic cannot read {place}: {}", reader.shown(ended.first_complaint()))
    }
}
