//! What a device is made of and what its sensors measure: ENTITY-MIB (RFC 6933) and
//! ENTITY-SENSOR-MIB (RFC 3433).

use super::{Profile, mib_2, single};
use crate::poll::oid::Oid;
use crate::poll::table::{Cells, Rows};

pub use bailey_rules::device::hardware::{Hardware, Measured, Part, Quantity, Sensor};

/// The profile.
pub struct Sensors;

/// Columns of `entPhysicalTable`: description, name, serial number, model; of `entPhySensorTable`:
/// type, scale, precision, value, status.
const COLUMNS: [&[u32]; 9] = [
    &[47, 1, 1, 1, 1, 2],
    &[47, 1, 1, 1, 1, 7],
    &[47, 1, 1, 1, 1, 11],
    &[47, 1, 1, 1, 1, 13],
    &[99, 1, 1, 1, 1],
    &[99, 1, 1, 1, 2],
    &[99, 1, 1, 1, 3],
    &[99, 1, 1, 1, 4],
    &[99, 1, 1, 1, 5],
];

impl Profile for Sensors {
    type Facts = Hardware;

    fn root() -> Oid {
        mib_2(&[47, 1, 1, 1])
    }

    fn columns() -> Vec<Oid> {
        COLUMNS.iter().map(|below| mib_2(below)).collect()
    }

    fn read(rows: &Rows) -> Hardware {
        let of = || rows.iter().filter_map(|(index, row)| Some((single(index)?, row)));
        Hardware {
            parts: of().filter_map(|(index, row)| part(index, row)).collect(),
            sensors: of().filter_map(|(index, row)| sensor(index, row)).collect(),
        }
    }
}

fn name(index: u32, row: &Cells) -> String {
    let said = |column| row.text(column).filter(|text| !text.is_empty());
    said(1).or_else(|| said(0)).unwrap_or_else(|| index.to_string())
}

fn part(index: u32, row: &Cells) -> Option<Part> {
    let serial = row.text(2).filter(|serial| !serial.is_empty())?;
    let model = row.text(3).filter(|model| !model.is_empty());
    Some(Part { index, name: name(index, row), serial, model })
}

fn sensor(index: u32, row: &Cells) -> Option<Sensor> {
    let quantity = match row.number(4)? {
        3 => Quantity::VoltsAc,
        4 => Quantity::VoltsDc,
        5 => Quantity::Amperes,
        6 => Quantity::Watts,
        7 => Quantity::Hertz,
        8 => Quantity::Celsius,
        9 => Quantity::RelativeHumidity,
        10 => Quantity::Rpm,
        11 => Quantity::CubicMetres,
        12 => Quantity::Truth,
        _ => return None,
    };
    let measured = match row.number(8)? {
        1 => Measured::Value(scaled(row.integer(7)?, row.number(5)?, row.integer(6)?)?),
        2 => Measured::Unavailable,
        3 => Measured::Broken,
        _ => return None,
    };
    Some(Sensor { index, name: name(index, row), quantity, measured })
}

/// The value of a scale from yocto (1) over units (9) to yotta (17), with `precision` decimals, both
/// as RFC 3433 allows them.
fn scaled(value: i64, scale: u64, precision: i64) -> Option<f64> {
    let thousands = i32::try_from(scale).ok().filter(|scale| (1..=17).contains(scale))? - 9;
    let decimals = i32::try_from(precision).ok().filter(|decimals| (-8..=9).contains(decimals))?;
    // A negative precision says how many digits are exact, not where the point is.
    Some(value as f64 * 10_f64.powi(thousands * 3 - decimals.max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::value::Value;

    fn read(kind: i32, scale: i32, precision: i32, value: i32, status: i32) -> Option<Measured> {
        let mut row = Cells::default();
        row.set(0, Value::Octets(b"inlet".to_vec()));
        for (column, value) in [(4, kind), (5, scale), (6, precision), (7, value), (8, status)] {
            row.set(column, Value::Integer(value));
        }
        let hardware = Sensors::read(&Rows::from([(vec![7], row)]));
        hardware.sensors.first().map(|sensor| sensor.measured)
    }

    #[test]
    fn a_value_has_its_scale_and_its_point() {
        for (scale, precision, value, expect) in
            [(9, 0, 31, 31.0), (9, 1, 315, 31.5), (8, 0, -4500, -4.5), (10, 2, 150, 1500.0)]
        {
            let Some(Measured::Value(read)) = read(8, scale, precision, value, 1) else {
                panic!("{scale} {precision} {value}")
            };
            assert!((read - expect).abs() < 1e-9, "{read} {expect}");
        }
    }

    #[test]
    fn a_sensor_that_cannot_be_read_has_no_value_and_one_out_of_range_is_none() {
        assert_eq!(read(8, 9, 0, 0, 2), Some(Measured::Unavailable));
        assert_eq!(read(8, 9, 0, 0, 3), Some(Measured::Broken));
        assert_eq!(read(8, 99, 0, 31, 1), None);
        assert_eq!(read(8, 9, 400, 31, 1), None);
        assert_eq!(read(99, 9, 0, 31, 1), None);
    }
}
