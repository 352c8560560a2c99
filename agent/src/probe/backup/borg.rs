//! What borg says of a repository (borg(1), "Internals: frontends": `list --json`, `info --json`).

use std::ffi::OsString;
use std::path::Path;

use bailey_rules::fact::backup;
use bailey_rules::time::Timestamp;
use serde::Deserialize;

use super::repository::{Listed, Reader, WEIGHED, Weight, Weights, fact, newest_first};
use crate::probe::program::Ended;
use crate::settings::Tool;

#[derive(Debug, Deserialize)]
struct Archives<T> {
    archives: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct Archive {
    id: String,
    /// When it was begun.
    start: String,
}

#[derive(Debug, Deserialize)]
struct Weighed {
    id: String,
    stats: Stats,
}

#[derive(Debug, Deserialize)]
struct Stats {
    original_size: Option<u64>,
    nfiles: Option<u64>,
}

/// A line of `--log-json`.
#[derive(Debug, Deserialize)]
struct Message {
    msgid: Option<String>,
    levelname: Option<String>,
    #[serde(rename = "message")]
    text: Option<String>,
}

/// Reads a repository. borg takes a lock for this; a backup that runs makes it "locked".
pub(super) async fn read(
    reader: &Reader,
    weights: &mut Weights,
) -> Result<backup::Repository, String> {
    let output = run(reader, &["list", "--json"]).await?;
    let archives: Archives<Archive> = understood(&output)?;
    let mut listed = Vec::new();
    for archive in archives.archives {
        let taken_at = in_utc(&archive.start)?;
        listed.push(Listed { id: archive.id, taken_at });
    }
    newest_first(&mut listed);
    // A look into archives is dear, so it is taken only when there is a new one.
    if listed.first().is_some_and(|newest| !weights.contains_key(&newest.id)) {
        let last = WEIGHED.to_string();
        let output = run(reader, &["info", "--json", "--last", &last]).await?;
        let weighed: Archives<Weighed> = understood(&output)?;
        *weights = weighed
            .archives
            .into_iter()
            .map(|archive| {
                let Stats { original_size, nfiles } = archive.stats;
                (archive.id, Weight { size: original_size, files: nfiles })
            })
            .collect();
    }
    Ok(fact(Tool::Borg, listed, weights))
}

fn understood<T: for<'de> Deserialize<'de>>(output: &[u8]) -> Result<T, String> {
    serde_json::from_slice(output)
        .map_err(|error| format!("what borg printed is not understood: {error}"))
}

/// borg 1 prints local times without their offset; it was told that local is UTC.
fn in_utc(text: &str) -> Result<Timestamp, String> {
    let read = text.parse().or_else(|_| format!("{text}Z").parse());
    read.map_err(|error: bailey_rules::time::NotATime| error.to_string())
}

async fn run(reader: &Reader, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut environment: Vec<(OsString, OsString)> = vec![
        ("BORG_REPO".into(), reader.path().into()),
        ("TZ".into(), "UTC0".into()),
        // Only reading: a repository without encryption shows nothing that its files do not.
        ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK".into(), "yes".into()),
    ];
    if let Some(file) = reader.password_file() {
        environment.push(("BORG_PASSCOMMAND".into(), print_file(file)));
    }
    if let Some(cache) = reader.cache() {
        environment.push(("BORG_BASE_DIR".into(), cache.into()));
    }
    let mut all = vec!["--log-json", "--lock-wait", "5"];
    all.extend(arguments);
    // Without any password borg would ask for one at the terminal that the agent was started from.
    let ask_nobody = [("BORG_PASSCOMMAND".into(), "false".into())];
    let ended = reader.run(&all, &ask_nobody, environment).await?;
    if ended.success { Ok(ended.output) } else { Err(why(reader, &ended)) }
}

/// A command that prints a file. borg splits it into words as a shell does, but runs no shell.
fn print_file(file: &Path) -> OsString {
    let mut command = OsString::from("cat -- '");
    // What a quoted quote looks like to a shell.
    command.push(file.to_string_lossy().replace('\'', r"'\''"));
    command.push("'");
    command
}

/// What a failure means, in words for an administrator.
fn why(reader: &Reader, ended: &Ended) -> String {
    let place = reader.place();
    let messages: Vec<Message> = ended.complaint.lines().filter_map(message).collect();
    for id in messages.iter().filter_map(|message| message.msgid.as_deref()) {
        return match id {
            "PassphraseWrong" => format!("the password for {place} is wrong"),
            "Repository.DoesNotExist"
            | "Repository.InvalidRepository"
            | "Repository.ParentPathDoesNotExist" => {
                format!("there is no borg repository at {place}")
            }
            "LockTimeout" => {
                format!("{place} is locked by another borg")
            }
            "NoPassphraseFailure" | "PasscommandFailure" => {
                format!("there is no password for {place}; name a password_file that can be read")
            }
            _ => continue,
        };
    }
    let mut errors =
        messages.iter().filter(|message| message.levelname.as_deref() == Some("ERROR"));
    let said = errors.next_back().and_then(|message| message.text.as_deref());
    let said = said.unwrap_or_else(|| ended.first_complaint());
    format!("borg cannot read {place}: {}", reader.shown(said))
}

/// The message in a line of standard error. A question may stand before it.
fn message(line: &str) -> Option<Message> {
    serde_json::from_str(&line[line.find('{')?..]).ok()
}
