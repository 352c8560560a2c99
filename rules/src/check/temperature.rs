//! Is anything too hot?

use super::sentence::with_limit;
use super::{Absence, Alerts, Check, Given, Status, Verdict};
use crate::expectation::Ceiling;
use crate::fact::host::Temperature;
use crate::fact::{FactKey, FactKind, ProbeName};
use crate::text::Text;
use crate::unit::Celsius;

/// A machine without sensors reports none, and nothing is judged then.
pub(super) const CHECK: Check = Check {
    name: "temperature",
    title: || Text::new("Temperature", "温度"),
    component: "host",
    alert: Alerts::both("BaileyTemperatureHigh"),
    probes: &[ProbeName::Host],
    absence: Absence::Resolves,
    judge,
};

/// A sensor's own critical value is believed between these; boards without one state 0 or 127 °C.
const BELIEVED_LIMITS: std::ops::RangeInclusive<i32> = 40_000..=120_000;
/// A reading is believed between these; an input that is not connected gives -128 or 127 °C.
const BELIEVED: std::ops::RangeInclusive<i32> = -40_000..=126_000;
/// So far below a sensor's own critical value a warning begins.
const MARGIN: i32 = 5_000;

fn judge(given: &Given<'_>) -> Vec<Verdict> {
    let host = &given.wanted.host;
    if host.temperature.is_off() {
        return Vec::new();
    }
    let all = match given.each::<Temperature>() {
        Ok(all) => all,
        Err(unknown) => return vec![unknown],
    };
    let mut verdicts = Vec::new();
    for (sensor, told) in all {
        if host.temperature_ignore.iter().any(|pattern| pattern.fits(sensor)) {
            continue;
        }
        let read = match told {
            Ok(read) => read,
            Err(unknown) => {
                verdicts.push(unknown);
                continue;
            }
        };
        let now = Celsius(read.millicelsius);
        let limits = match read.critical.filter(|limit| BELIEVED_LIMITS.contains(limit)) {
            None => host.temperature,
            Some(own) => {
                Ceiling { warning: Some(Celsius(own - MARGIN)), critical: Some(Celsius(own)) }
            }
        };
        let (status, why) = if BELIEVED.contains(&read.millicelsius) {
            let status = limits.judge(now);
            let said = Text::new(format!("{sensor} {now}"), format!("{sensor} 温度 {now}"));
            (status, with_limit(said, limits.limit(status)))
        } else {
            let why = Text::new(
                format!(
                    "{sensor} reads {now}, which cannot be; \
                     list it in host.temperature_ignore if nothing is connected"
                ),
                format!(
                    "{sensor} 读数为 {now}，明显异常；\
                     若该传感器未接线，请将其加入 host.temperature_ignore"
                ),
            );
            (Status::Unknown, why)
        };
        let key = FactKey::new(FactKind::Temperature, sensor);
        let verdict = Verdict::new(sensor, status, why);
        verdicts.push(given.rests_on(verdict, &key, now.to_string()));
    }
    verdicts
}
