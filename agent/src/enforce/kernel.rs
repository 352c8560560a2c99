//! The kernel's packet filter, as far as our table goes, through nft(8).

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use bailey_rules::fact::bounded;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::ruleset::{RulesetText, TABLE};
use crate::probe::firewall::watch;
use crate::probe::program::{self, Ended, Run, RunError, SYSTEM_FOLDERS};

/// The longest that nft may take. 10,000 rules take a third of a second.
const LIMIT: Duration = Duration::from_secs(30);
/// The most that nft may print, in octets.
const MAX_LISTING: usize = 32 * 1024 * 1024;
/// How often a table is put into the kernel so that nobody else's change comes between that and
/// reading it back.
const MAX_LOADS: usize = 3;

/// Why the kernel does not hold what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// There is no nft.
    #[error("nft is not installed: no nft in {}", SYSTEM_FOLDERS.join(", "))]
    NoProgram,
    /// The kernel, or nft before it, refused; nothing was changed.
    #[error("refused by the kernel: {0}")]
    Refused(String),
    /// Nobody knows what nft did before it was ended.
    #[error("{0}")]
    Unsure(String),
}

impl From<RunError> for KernelError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::NotRun { .. } | RunError::TooLong { .. } | RunError::TooMuch { .. } => {
                Self::Unsure(error.to_string())
            }
        }
    }
}

/// Runs nft. Who makes it may do that: `CAP_NET_ADMIN` in the network namespace it means.
#[derive(Debug, Clone)]
pub struct Kernel {
    program: PathBuf,
}

impl Kernel {
    /// Finds nft in the folders of the system.
    ///
    /// # Errors
    /// When there is none.
    pub fn find() -> Result<Self, KernelError> {
        let program = program::find("nft", &SYSTEM_FOLDERS.map(PathBuf::from));
        program.map(|program| Self { program }).ok_or(KernelError::NoProgram)
    }

    async fn nft(&self, arguments: &[&str], input: Option<&str>) -> Result<Ended, KernelError> {
        let run = Run {
            program: &self.program,
            arguments,
            environment: &[],
            input: input.map(whole_file).transpose()?,
            limit: LIMIT,
            most: MAX_LISTING,
        };
        Ok(run.until_end().await?)
    }

    async fn fed(&self, arguments: &[&str], text: &str) -> Result<(), KernelError> {
        let ended = self.nft(arguments, Some(text)).await?;
        if ended.success { Ok(()) } else { Err(KernelError::Refused(first_words(&ended))) }
    }

    /// Asks the kernel whether it would take the table, without giving it.
    ///
    /// # Errors
    /// In nft's own words when it would not.
    pub async fn check(&self, text: &RulesetText) -> Result<(), KernelError> {
        self.fed(&["-c", "-f", "-"], &text.transaction()).await
    }

    /// Replaces our table in one transaction and gives how the kernel then shows it.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub async fn load(&self, text: &RulesetText) -> Result<String, KernelError> {
        let mut listing = String::new();
        for _ in 0..MAX_LOADS {
            let before = watch::generation().ok();
            self.fed(&["-f", "-"], &text.transaction()).await?;
            let loaded = watch::generation().ok();
            listing = self.listing().await?;
            // One step further, and none while it was read: nobody else changed anything between.
            let alone = before.map(|generation| generation.wrapping_add(1)) == loaded;
            if alone && loaded.is_some() && watch::generation().ok() == loaded {
                return Ok(listing);
            }
        }
        tracing::warn!(
            "other programs change rules all the time; what was read back may be theirs"
        );
        Ok(listing)
    }

    /// Takes our table out of the kernel.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn unload(&self) -> Result<(), KernelError> {
        self.fed(&["-f", "-"], &RulesetText::removal()).await
    }

    /// How the kernel shows our table, without what counts; empty when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn listing(&self) -> Result<String, KernelError> {
        let arguments: Vec<&str> =
            ["-s", "list", "table"].into_iter().chain(TABLE.split(' ')).collect();
        let ended = self.nft(&arguments, None).await?;
        if ended.success {
            return String::from_utf8(ended.output)
                .map_err(|_| KernelError::Unsure("nft printed what is not UTF-8".into()));
        }
        let (family, name) = TABLE.split_once(' ').expect("a family and a name");
        match watch::tables() {
            Ok(tables) if !tables.contains_key(&(family.to_owned(), name.to_owned())) => {
                Ok(String::new())
            }
            Ok(_) | Err(_) => Err(KernelError::Refused(first_words(&ended))),
        }
    }
}

/// A file in memory with `text` in it, from its beginning.
fn whole_file(text: &str) -> Result<File, KernelError> {
    let made = || {
        let name = c"bailey-ruleset";
        // Hardened hosts give only files that can never be executed (vm.memfd_noexec), kernels
        // before 6.3 do not know them.
        let sealed = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL) | MFdFlags::MFD_CLOEXEC;
        let file =
            memfd_create(name, sealed).or_else(|_| memfd_create(name, MFdFlags::MFD_CLOEXEC));
        let mut file = File::from(file?);
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(file)
    };
    made().map_err(|error: std::io::Error| {
        KernelError::Refused(format!("cannot hand the ruleset to nft: {error}"))
    })
}

/// What nft said, bounded, without the path that it calls its input.
fn first_words(ended: &Ended) -> String {
    bounded(&ended.complaint.trim().replace("/dev/stdin:", "line ").replace('\n', " | "))
}
