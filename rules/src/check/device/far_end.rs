//! The far ends of lines, and why nothing may be said of one.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Given;
use super::watched::{interface_of, line_called};
use crate::check::{Evidence, Status, Verdict, line};
use crate::device::interface::{Interface, Link};
use crate::device::line::MAX_LINES;
use crate::device::quality::Quality;
use crate::expectation::Ask;
use crate::text::Text;

/// A far end that was not asked for this long, or for so many intervals, is not known any more.
const STALE: Duration = Duration::from_secs(30);
/// See [`STALE`].
const STALE_INTERVALS: u32 = 3;

/// A line whose far end is asked.
pub(super) struct FarEnd<'a> {
    key: &'a str,
    name: Option<&'a str>,
    pub(super) ask: Ask,
    /// Whether it is one more than are asked of one device.
    beyond: bool,
    interface: Option<&'a Interface>,
    quality: Option<&'a Quality>,
}

/// The verdict of each far end of which something was seen, and of the others why nothing can be said.
pub(super) fn of_each(
    given: &Given<'_>,
    verdict: impl Fn(&FarEnd<'_>, &Quality) -> Verdict,
) -> Vec<Verdict> {
    let one = |far: &FarEnd<'_>| match far.seen(given) {
        Ok(quality) => verdict(far, quality),
        Err(unknown) => unknown,
    };
    far_ends(given).iter().map(one).collect()
}

/// The lines of the device whose far ends are asked, in the order of their keys.
fn far_ends<'a>(given: &Given<'a>) -> Vec<FarEnd<'a>> {
    let asked: BTreeSet<&String> = given.wanted.far_ends().map(|(key, _)| key).collect();
    let far_ends = given.wanted.lines.iter().filter_map(|(key, wanted)| {
        Some(FarEnd {
            key,
            name: wanted.name.as_deref(),
            ask: wanted.ask?,
            beyond: !asked.contains(key),
            interface: interface_of(given.device, key),
            quality: given.device.quality.get(key).map(AsRef::as_ref),
        })
    });
    far_ends.collect()
}

impl FarEnd<'_> {
    /// The interface where it is known, else what the rule files call it.
    pub(super) fn subject(&self) -> &str {
        self.interface.map_or(self.key, |interface| &interface.name)
    }

    pub(super) fn called(&self) -> String {
        let alias = self.interface.map(|interface| interface.alias.as_str());
        line_called(self.subject(), self.name.or(alias))
    }

    /// What was seen of it, or the verdict that nothing can be said, and why.
    fn seen(&self, given: &Given<'_>) -> Result<&Quality, Verdict> {
        let name = self.called();
        let why = match self.quality {
            _ if self.beyond => Text::new(
                format!(
                    "{}, the far end of {name}, is not asked: the rule files name more than \
                     {MAX_LINES} lines of {}; give each device an entry of its own",
                    self.ask, given.device.name
                ),
                format!(
                    "未探测 {name} 的对端 {}：规则文件为 {} 列出的专线超过 {MAX_LINES} 条，请为每台设备\
                     单独列出",
                    self.ask, given.device.name
                ),
            ),
            Some(Quality { failed: Some(failed), .. }) => Text::new(
                format!("{} cannot be asked, the far end of {name}: {}", self.ask, failed.en),
                format!("无法探测 {name} 的对端 {}：{}", self.ask, failed.zh),
            ),
            Some(quality) if quality.asked_at().is_some() => return Ok(quality),
            Some(_) | None => line::not_asked(&name, self.ask),
        };
        Err(Verdict::new(self.subject(), Status::Unknown, why))
    }

    /// Another cause, which has a finding of its own, for an end that does not answer.
    pub(super) fn other_cause(&self, given: &Given<'_>) -> Option<Text> {
        if given.device.polling.failed.is_some() {
            let device = &given.device.name;
            return Some(Text::new(
                format!("{device} itself does not answer"),
                format!("{device} 本身没有应答"),
            ));
        }
        let interface = self.interface?;
        let is_down = match interface.link {
            Link::Down | Link::NotPresent | Link::LowerLayerDown => true,
            Link::Up | Link::Testing | Link::Dormant | Link::Unknown => false,
        };
        is_down.then(|| {
            let name = &interface.name;
            Text::new(format!("{name} is down"), format!("{name} 已断开"))
        })
    }

    /// The verdict that too few packets came back to say more.
    pub(super) fn too_few(&self, given: &Given<'_>, quality: &Quality) -> Verdict {
        let why = line::too_few(&self.called());
        let verdict = Verdict::new(self.subject(), Status::Unknown, why);
        self.rests_on(given, quality, verdict, "too few".to_owned())
    }

    /// Makes a verdict rest on what was seen.
    pub(super) fn rests_on(
        &self,
        given: &Given<'_>,
        quality: &Quality,
        mut verdict: Verdict,
        value: String,
    ) -> Verdict {
        let longest = (given.wanted.line_interval.0 * STALE_INTERVALS).max(STALE);
        verdict.stale = quality.asked_at().is_none_or(|at| at.age(given.now) > longest);
        verdict.evidence.push(Evidence {
            fact: format!("far_end {}", self.ask),
            value,
            read_at: quality.asked_at(),
        });
        verdict
    }
}
