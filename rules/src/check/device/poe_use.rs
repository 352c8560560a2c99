//! Is there power left for what will be plugged in?

use super::super::sentence::{tight, with_limit};
use super::super::{Alerts, Verdict};
use super::{DeviceCheck, Given, named};
use crate::device::Part;
use crate::device::poe::Supply;
use crate::text::Text;
use crate::unit::{Percent, Permille};

/// One subject for each supply that says what it can give and what it gives. One that is used up gives
/// nothing to the next telephone, and takes it from the least important port at a peak.
pub(super) const CHECK: DeviceCheck = DeviceCheck {
    check: named(
        "poe_use",
        || Text::new("Power over Ethernet in use", "以太网供电负载"),
        "power",
        Alerts::both("BaileyPoeFault"),
    ),
    parts: &[Part::Poe],
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    if given.wanted.poe_use.is_off() {
        return Vec::new();
    }
    match given.ask(&given.device.poe, Part::Poe) {
        Ok(poe) => poe.supplies.iter().filter_map(|supply| verdict(given, supply)).collect(),
        Err(unknown) => vec![unknown],
    }
}

fn verdict(given: &Given<'_>, supply: &Supply) -> Option<Verdict> {
    let wanted = &given.wanted.poe_use;
    let (used, watts) = supply.used.zip(supply.watts)?;
    let part = Permille::of(used, watts).map(Percent::from)?;
    let status = wanted.judge(part);
    let subject = format!("supply {}", supply.group);
    let said = Text::new(
        format!("{subject} gives {used} W of {watts} W, {part}"),
        format!("供电单元 {} 输出 {used} W / {watts} W，{}", supply.group, tight(&part)),
    );
    let verdict = Verdict::new(&*subject, status, with_limit(said, wanted.limit(status)));
    Some(given.rests_on(verdict, Part::Poe, &subject, format!("{used} W of {watts} W")))
}
