//! This receiver's own SNMP engine: informs are sent to its name and in its time (RFC 3414 2.2).

use std::path::{Path, PathBuf};
use std::time::Instant;

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::ca::{CaError, read_secret, write_file};
use crate::poll::snmp::hexadecimal;

/// The file in the state folder.
const FILE: &str = "snmp-engine.json";

/// Where a count of starts stays for ever, and no message is in time any more (RFC 3414 2.2.2).
const LAST_BOOTS: u32 = 2_147_483_647;

/// Octets of a name that are drawn.
const DRAWN: usize = 12;

/// Why this receiver has no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Its file cannot be read or written.
    #[error(transparent)]
    File(#[from] CaError),
    /// Its file is not as it was written.
    #[error(
        "{} is damaged: {why}; remove it, and let the senders of informs discover the new engine",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Its name, how often it has been started, and since when it runs.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    id: Vec<u8>,
    boots: u32,
    started: Instant,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    id: String,
    boots: u32,
}

impl Engine {
    /// The engine of this state folder, started once more. The count is on disk when this returns, so
    /// that no message of an earlier life is in time again.
    pub(super) fn start(folder: &Path) -> Result<Self, EngineError> {
        let path = folder.join(FILE);
        let before = read_secret(&path)?.map(|text| read(&path, &text)).transpose()?;
        let (id, boots) = match before {
            // A count that has reached its end says nothing any more: another engine begins.
            Some((id, boots)) if boots < LAST_BOOTS - 1 => (id, boots + 1),
            Some(_) | None => (drawn(), 1),
        };
        let kept = Kept { id: hexadecimal(&id), boots };
        let text = serde_json::to_string(&kept)
            .map_err(|error| EngineError::Damaged { path: path.clone(), why: error.to_string() })?;
        write_file(&path, &text, 0o600, true)?;
        Ok(Self { id, boots, started: Instant::now() })
    }

    /// `snmpEngineID`.
    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    /// `snmpEngineBoots`.
    pub(super) const fn boots(&self) -> u32 {
        self.boots
    }

    /// `snmpEngineTime`: seconds since the start. It stays at its end, after 68 years.
    pub(super) fn time(&self, now: Instant) -> u32 {
        let up = now.saturating_duration_since(self.started).as_secs();
        u32::try_from(up).unwrap_or(LAST_BOOTS).min(LAST_BOOTS)
    }
}

fn read(path: &Path, text: &str) -> Result<(Vec<u8>, u32), EngineError> {
    let damaged = |why: String| EngineError::Damaged { path: path.to_owned(), why };
    let kept: Kept = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    let id = octets(&kept.id).ok_or_else(|| damaged("the engine id is none".to_owned()))?;
    async_snmp::v3::validate_engine_id(&id).map_err(|error| damaged(error.to_string()))?;
    Ok((id, kept.boots))
}

fn octets(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}

/// A name that nobody else has: format 5, octets that the administrator chose (RFC 3411 5), with the
/// number that is kept for documentation (RFC 5612), since Bailey has no number of its own.
fn drawn() -> Vec<u8> {
    let mut id = vec![0x80, 0, 0x7e, 0xd9, 5];
    id.extend(rand::rng().random::<[u8; DRAWN]>());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_keeps_its_name_and_counts_every_start() {
        let folder = tempfile::tempdir().unwrap();
        let first = Engine::start(folder.path()).unwrap();
        let second = Engine::start(folder.path()).unwrap();
        assert_eq!(first.id(), second.id());
        assert_eq!((first.boots(), second.boots()), (1, 2));
        async_snmp::v3::validate_engine_id(first.id()).unwrap();
    }

    #[test]
    fn a_count_at_its_end_begins_another_engine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let last = format!("{{\"id\":\"80007ed905aabbccdd\",\"boots\":{}}}", LAST_BOOTS - 1);
        write_file(&path, &last, 0o600, true).unwrap();
        let engine = Engine::start(folder.path()).unwrap();
        assert_eq!(engine.boots(), 1);
        assert_ne!(hexadecimal(engine.id()), "80007ed905aabbccdd");
    }

    #[test]
    fn a_damaged_file_is_said_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for text in ["", "{}", "{\"id\":\"80\",\"boots\":1}", "{\"id\":\"zz\",\"boots\":1}"] {
            write_file(&path, text, 0o600, true).unwrap();
            let error = Engine::start(folder.path()).unwrap_err().to_string();
            assert!(error.contains("snmp-engine.json is damaged"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
