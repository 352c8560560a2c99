//! Uninterruptible power supplies: UPS-MIB (RFC 1628).

use std::time::Duration;

use super::{Profile, mib_2};
use crate::poll::oid::Oid;
use crate::poll::table::Rows;
use crate::poll::value::Value;

pub use bailey_rules::device::power::{Battery, Power, Source};

/// The profile.
pub struct Ups;

/// Columns below `upsObjects`, in the order in which [`Ups::read`] takes them.
const COLUMNS: [&[u32]; 12] = [
    &[1, 1],
    &[1, 2],
    &[2, 1],
    &[2, 2],
    &[2, 3],
    &[2, 4],
    &[2, 7],
    &[4, 1],
    &[3, 3, 1, 3],
    &[4, 4, 1, 5],
    &[6, 1],
    &[6, 2, 1, 2],
];

/// The alarms that the RFC knows (`upsWellKnownAlarms`), from 1 on.
const ALARMS: [&str; 24] = [
    "battery bad",
    "on battery",
    "low battery",
    "depleted battery",
    "temperature bad",
    "input bad",
    "output bad",
    "output overload",
    "on bypass",
    "bypass bad",
    "output off as requested",
    "UPS off as requested",
    "charger failed",
    "output off",
    "UPS system off",
    "fan failure",
    "fuse failure",
    "general fault",
    "diagnostic test failed",
    "communications lost",
    "awaiting power",
    "shutdown pending",
    "shutdown imminent",
    "test in progress",
];

/// The most alarms of one UPS that are kept.
const MAX_ALARMS: usize = 64;

impl Profile for Ups {
    /// Absent when the device is no UPS.
    type Facts = Option<Power>;

    fn root() -> Oid {
        mib_2(&[33, 1])
    }

    fn columns() -> Vec<Oid> {
        COLUMNS.iter().map(|below| Self::root().then(below)).collect()
    }

    fn read(rows: &Rows) -> Option<Power> {
        if rows.is_empty() {
            return None;
        }
        let none = crate::poll::table::Cells::default();
        let scalars = rows.get([0].as_slice()).unwrap_or(&none);
        let listed = |column: usize| -> Vec<u64> {
            rows.values().filter_map(|row| row.number(column)).collect()
        };
        let alarms = rows.values().filter_map(|row| row.get(11).and_then(Value::oid));
        let model = [scalars.text(0), scalars.text(1)].into_iter().flatten();
        let model: Vec<String> = model.filter(|part| !part.is_empty()).collect();
        Some(Power {
            model: (!model.is_empty()).then(|| model.join(" ")),
            battery: match scalars.number(2) {
                Some(2) => Some(Battery::Normal),
                Some(3) => Some(Battery::Low),
                Some(4) => Some(Battery::Depleted),
                Some(_) | None => None,
            },
            on_battery: scalars.number(3).map(Duration::from_secs),
            lasts: scalars.number(4).map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
            charge: scalars.number(5),
            celsius: scalars.integer(6),
            source: scalars.number(7).map(|source| match source {
                2 => Source::None,
                3 => Source::Normal,
                4 => Source::Bypass,
                5 => Source::Battery,
                6 => Source::Booster,
                7 => Source::Reducer,
                _ => Source::Other,
            }),
            input_volts: listed(8),
            load: listed(9),
            alarms: alarms.take(MAX_ALARMS).map(alarm).collect(),
        })
    }
}

/// An alarm in words; one of a vendor by its number.
fn alarm(oid: &Oid) -> String {
    let known = oid.below(&mib_2(&[33, 1, 6, 3])).and_then(|below| match below {
        [number, ..] => ALARMS.get(usize::try_from(*number).ok()?.checked_sub(1)?),
        [] => None,
    });
    known.map_or_else(|| oid.to_string(), |known| (*known).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::table::Cells;

    #[test]
    fn a_ups_on_battery_tells_how_long_it_lasts() {
        let mut scalars = Cells::default();
        for (column, value) in [
            (0, Value::Octets(b"APC".to_vec())),
            (1, Value::Octets(b"Smart-UPS 3000".to_vec())),
            (2, Value::Integer(3)),
            (3, Value::Integer(1260)),
            (4, Value::Integer(38)),
            (5, Value::Integer(61)),
            (6, Value::Integer(29)),
            (7, Value::Integer(5)),
        ] {
            scalars.set(column, value);
        }
        let mut first = Cells::default();
        first.set(8, Value::Integer(0));
        first.set(9, Value::Integer(42));
        first.set(11, Value::Oid(mib_2(&[33, 1, 6, 3, 2])));
        let mut second = Cells::default();
        second.set(11, Value::Oid(mib_2(&[99])));
        let rows = Rows::from([(vec![0], scalars), (vec![1], first), (vec![2], second)]);
        let power = Ups::read(&rows).unwrap();
        assert_eq!(power.model.as_deref(), Some("APC Smart-UPS 3000"));
        assert_eq!((power.battery, power.source), (Some(Battery::Low), Some(Source::Battery)));
        assert_eq!(power.on_battery, Some(Duration::from_mins(21)));
        assert_eq!(power.lasts, Some(Duration::from_mins(38)));
        assert_eq!((power.input_volts, power.load), (vec![0], vec![42]));
        assert_eq!(power.alarms, ["on battery", "1.3.6.1.2.1.99"]);
    }

    #[test]
    fn a_device_without_the_module_is_no_ups() {
        assert_eq!(Ups::read(&Rows::new()), None);
    }
}
