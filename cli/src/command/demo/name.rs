//! What a demo is called, so that more than one can run on a machine and each finds only its own.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest name: with a machine's behind it, it is still the name of a file and of a socket.
const MAX_NAME: usize = 16;

/// A demo's name: a letter, then letters and digits. No dash, so that the names of one demo's
/// namespaces never begin as those of another do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoName(String);

impl DemoName {
    /// What the names of its network namespaces begin with.
    pub(super) fn prefix(&self) -> String {
        format!("bailey-{}-", self.0)
    }

    /// Where everything of it lies. The machine forgets this folder when it is switched off, as it
    /// does the namespaces.
    pub(super) fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/run/bailey-{}", self.0))
    }

    /// Its option on a command line; nothing for the usual one.
    pub(super) fn option(&self) -> String {
        if self.0 == "demo" { String::new() } else { format!(" --name {}", self.0) }
    }
}

impl fmt::Display for DemoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DemoName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let well_formed = text.len() <= MAX_NAME
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(plain);
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("a demo's name is a letter, then letters and digits; at most {MAX_NAME}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_no_path_and_no_beginning_of_anothers_namespaces() {
        for good in ["demo", "d2"] {
            assert_eq!(good.parse::<DemoName>().unwrap().to_string(), good);
        }
        for bad in ["", "2d", "a-b", "../etc", "A", "a/b", "abcdefghijklmnopq"] {
            assert!(bad.parse::<DemoName>().is_err(), "{bad}");
        }
    }
}
