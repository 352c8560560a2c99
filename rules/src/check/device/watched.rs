//! Which interfaces of a device are judged, and by which speed.

use super::super::Verdict;
use super::Given;
use crate::device::interface::{Interface, Rate};
use crate::device::{DeviceView, Part};
use crate::expectation::{DeviceWanted, LineWanted, Pattern};
use crate::unit::{BitRate, Percent};

/// Whether a pattern of the list fits the name or the alias.
fn fits(patterns: &[Pattern], interface: &Interface) -> bool {
    patterns.iter().any(|pattern| pattern.fits(&interface.name) || pattern.fits(&interface.alias))
}

/// Whether nobody wants to hear of an interface.
pub(super) fn is_ignored(given: &Given<'_>, interface: &Interface) -> bool {
    fits(&given.wanted.links_ignore, interface)
}

/// What `verdict` says of every interface that somebody wants to hear of.
pub(super) fn of_each(
    given: &Given<'_>,
    verdict: impl Fn(&Given<'_>, &Interface) -> Option<Verdict>,
) -> Vec<Verdict> {
    let interfaces = match given.ask(&given.device.interfaces, Part::Interfaces) {
        Ok(interfaces) => interfaces,
        Err(unknown) => return vec![unknown],
    };
    let judged = interfaces.iter().filter(|interface| !is_ignored(given, interface));
    judged.filter_map(|interface| verdict(given, interface)).collect()
}

/// The line that an interface is, if the rule files name it.
#[must_use]
pub fn line<'a>(wanted: &'a DeviceWanted, interface: &Interface) -> Option<&'a LineWanted> {
    wanted.lines.get(&interface.name).or_else(|| wanted.lines.get(&interface.alias))
}

/// Whether an interface must pass packets.
pub(super) fn must_be_up(given: &Given<'_>, interface: &Interface) -> bool {
    !is_ignored(given, interface)
        && (line(given.wanted, interface).is_some() || fits(&given.wanted.links, interface))
}

/// How much of an interface is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The speed that it is judged by: the one that is paid for, else its own.
    pub speed: BitRate,
    /// The busier direction, on average over the window.
    pub rate: Option<BitRate>,
    /// That as a part of the speed.
    pub part: Option<Percent>,
    /// Both directions between the last two polls.
    pub newest: Rate,
}

/// How much of an interface is used. `None` where its speed is not known.
#[must_use]
pub fn used(device: &DeviceView, wanted: &DeviceWanted, interface: &Interface) -> Option<Used> {
    let own = interface.speed.filter(|bits| *bits > 0).map(BitRate);
    let speed = line(wanted, interface).map(|line| line.rated).or(own)?;
    let window = device.traffic.get(&interface.index);
    let rate = window.and_then(|window| window.average().busier()).map(BitRate::of_octets);
    let part = rate.map(|rate| {
        let tenths = u128::from(rate.0) * 1000 / u128::from(speed.0.max(1));
        Percent(u32::try_from(tenths).unwrap_or(u32::MAX))
    });
    let newest = window.and_then(crate::device::interface::Window::newest).unwrap_or_default();
    Some(Used { speed, rate, part, newest })
}

/// What an interface is called: by its name, and by its line or alias where it has one.
pub(super) fn called(given: &Given<'_>, interface: &Interface) -> String {
    let line = line(given.wanted, interface).and_then(|line| line.name.as_deref());
    line_called(&interface.name, line.or(Some(&interface.alias)))
}

/// What an interface is called of which this is known.
pub(super) fn line_called(name: &str, also: Option<&str>) -> String {
    match also.filter(|also| !also.is_empty() && *also != name) {
        Some(also) => format!("{name} ({also})"),
        None => name.to_owned(),
    }
}

/// The interface that a key of the lines is for: the one of this name, else one of this alias; `None` where
/// the device has neither.
#[must_use]
pub fn interface_of<'a>(device: &'a DeviceView, key: &str) -> Option<&'a Interface> {
    let interfaces = device.interfaces.value().map(Vec::as_slice).unwrap_or_default();
    let named = interfaces.iter().find(|interface| interface.name == key);
    named.or_else(|| interfaces.iter().find(|interface| interface.alias == key))
}
