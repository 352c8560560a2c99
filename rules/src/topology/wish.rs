//! What persons say of links, in the site's rule files: that there is one, or that there is none.
//!
//! ```yaml
//! links:
//!   - pin: [sw-b-2:Gi1/0/48, core-1:Gi1/0/2]
//!   - deny: [sw-b-2:Gi1/0/7, core-2]
//!     because: a telephone repeats what it hears
//! ```

use serde::Deserialize;

use crate::name::HostName;
use crate::yaml::{Problem, Source, Spanned};

/// The most links that persons may pin and deny in all rule files.
pub const MAX_WISHES: usize = 10_000;

/// The longest name of a port, in octets.
const MAX_PORT: usize = 256;

/// One end as it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WishedEnd {
    /// The device.
    pub device: HostName,
    /// Its port by name or number; absent: whichever.
    pub port: Option<String>,
}

/// A link of which a person speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its ends, in order.
    pub ends: [WishedEnd; 2],
    /// File and line.
    pub at: String,
}

/// What persons say of links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Links that there are.
    pub pinned: Vec<Wish>,
    /// Links that there are not.
    pub denied: Vec<Wish>,
}

/// Both ends as they are written.
type WrittenEnds = Spanned<Vec<Spanned<String>>>;

/// An entry of `links` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenLink {
    #[serde(default)]
    pin: Option<WrittenEnds>,
    #[serde(default)]
    deny: Option<WrittenEnds>,
    /// Why, for whoever reads the file after.
    #[serde(default, rename = "because")]
    _because: Option<String>,
}

impl Wishes {
    /// Takes what a file says, noting what is wrong with it.
    pub(crate) fn take(
        &mut self,
        source: &Source<'_>,
        written: &[Spanned<WrittenLink>],
        problems: &mut Vec<Problem>,
    ) {
        for entry in written {
            let (ends, pins) = match (&entry.value.pin, &entry.value.deny) {
                (Some(ends), None) => (ends, true),
                (None, Some(ends)) => (ends, false),
                (Some(_), Some(_)) => {
                    let problem = source.at(entry, "a link is pinned or denied, not both");
                    problems.push(problem.help("write two entries"));
                    continue;
                }
                (None, None) => {
                    let problem = source.at(entry, "this entry says nothing of a link");
                    problems.push(problem.help("add pin or deny: [DEVICE:PORT, DEVICE:PORT]"));
                    continue;
                }
            };
            let [first, second] = ends.value.as_slice() else {
                let problem = source.at(ends, format!("{} ends stand here", ends.value.len()));
                problems.push(problem.help("a link has two: [DEVICE:PORT, DEVICE:PORT]"));
                continue;
            };
            let mut read = |end| match end_of(source, end) {
                Ok(end) => Some(end),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            };
            let (Some(one), Some(other)) = (read(first), read(second)) else { continue };
            if one.device == other.device {
                let problem = source.at(second, "both ends are of one device");
                problems.push(problem.help("a link joins two devices"));
                continue;
            }
            let mut ends = [one, other];
            ends.sort_unstable();
            let before = self.pinned.iter().chain(&self.denied).find(|wish| wish.ends == ends);
            if let Some(before) = before {
                let message = format!("this link stands in {} already", before.at);
                problems.push(source.at(entry, message).help("keep one of the two"));
                continue;
            }
            let at = format!("{}:{}", source.file, entry.referenced.line());
            let all = if pins { &mut self.pinned } else { &mut self.denied };
            all.push(Wish { ends, at });
        }
        if self.pinned.len() + self.denied.len() > MAX_WISHES {
            problems.push(source.whole(format!("more than {MAX_WISHES} links in all")));
        }
    }
}

/// Reads `DEVICE` or `DEVICE:PORT`.
fn end_of(source: &Source<'_>, written: &Spanned<String>) -> Result<WishedEnd, Problem> {
    let text = written.value.as_str();
    let (device, port) = match text.split_once(':') {
        Some((device, port)) => (device, Some(port)),
        None => (text, None),
    };
    let device = device.parse().map_err(|error: crate::name::BadName| {
        source.at(written, error.to_string()).help("write DEVICE:PORT, such as sw-b-2:Gi1/0/48")
    })?;
    if port.is_some_and(|port| port.trim().is_empty() || port.len() > MAX_PORT) {
        let message = format!("a port is 1 to {MAX_PORT} octets long");
        return Err(source.at(written, message).help("write its name or number, or leave : away"));
    }
    Ok(WishedEnd { device, port: port.map(str::to_owned) })
}
