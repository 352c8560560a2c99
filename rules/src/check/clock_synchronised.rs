//! Does something keep the clock?

use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::fact::host::Clock;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;

pub(super) const CHECK: Check = Check {
    name: "clock_synchronised",
    title: || Text::new("Clock kept", "时钟同步"),
    component: "host",
    alert: Alerts::both("BaileyClockUnsynchronised"),
    probes: &[ProbeName::Host],
    absence: Absence::Resolves,
    judge,
};

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let Some(broken) = given.wanted.host.clock_synchronised.broken() else { return Vec::new() };
    let clock: &Clock = match given.ask("") {
        Ok(clock) => clock,
        Err(unknown) => return vec![unknown],
    };
    let (status, why, value) = if clock.synchronised {
        let millis = clock.offset_micros / 1000;
        let why = Text::new(
            format!("the clock is kept, {millis} ms are being corrected"),
            format!("时钟已同步，正在校正 {millis} 毫秒"),
        );
        (Status::Ok, why, "synchronised")
    } else {
        let why = Text::new(
            "nothing keeps the clock: no time server is in use or none answers",
            "时钟未同步：未配置时间服务器，或时间服务器无响应",
        );
        (broken, why, "not synchronised")
    };
    let key = FactKey::new(FactKind::Clock, "");
    vec![given.rests_on(Verdict::new("", status, why), &key, value.to_owned())]
}
