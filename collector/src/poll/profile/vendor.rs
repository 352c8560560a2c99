//! What only one vendor's devices tell: processor, memory, temperature. A vendor is a data file in
//! `vendor/`; adding one is adding a file, and no code.

use std::sync::OnceLock;

use bailey_rules::yaml::{self, Problem, Problems, Source, Spanned};
use serde::Deserialize;

use crate::poll::oid::Oid;
use crate::poll::table::Rows;

pub use bailey_rules::device::vendor::{VendorValue, What};

/// The files of vendors, by name.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/vendors.rs"));

/// The most values of one vendor.
pub const MAX_VALUES: usize = 24;

/// How the device counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Percent,
    PercentIdle,
    Octets,
    Kib,
    Celsius,
    Decicelsius,
    Millicelsius,
}

/// A column of a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    what: What,
    name: Oid,
    unit: Unit,
    none: Option<i64>,
}

/// A vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor {
    name: String,
    products: Oid,
    columns: Vec<Column>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    vendor: String,
    products: Spanned<String>,
    values: Vec<WrittenColumn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenColumn {
    what: Spanned<What>,
    column: Spanned<String>,
    unit: Unit,
    none: Option<i64>,
}

impl Vendor {
    /// Reads a vendor's file. `file` is only the name used in problems.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let written: Written = yaml::parse(file, text)?;
        let source = Source { file, text };
        let wrong = |problem: Problem| Problems(vec![problem]);
        let named = |name: &Spanned<String>| {
            name.value.parse::<Oid>().map_err(|e| wrong(source.at(name, e.to_string())))
        };
        if written.values.len() > MAX_VALUES {
            return Err(wrong(source.whole(format!("more than {MAX_VALUES} values"))));
        }
        let columns: Result<Vec<Column>, Problems> = written
            .values
            .iter()
            .map(|column| {
                if !column.unit.fits(column.what.value) {
                    let at = &column.what;
                    return Err(wrong(source.at(at, "the unit does not belong to this value")));
                }
                let (what, unit, none) = (column.what.value, column.unit, column.none);
                Ok(Column { what, name: named(&column.column)?, unit, none })
            })
            .collect();
        Ok(Self { name: written.vendor, products: named(&written.products)?, columns: columns? })
    }

    /// The vendor of a product (`sysObjectID`), if there is a file for it: the one that names most
    /// of it.
    #[must_use]
    pub fn of(product: &Oid) -> Option<&'static Self> {
        let of = known().iter().filter(|vendor| product.is_under(&vendor.products));
        of.max_by_key(|vendor| vendor.products.arcs().len())
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part of the tree its products are in.
    #[must_use]
    pub const fn products(&self) -> &Oid {
        &self.products
    }

    /// The columns to ask for.
    #[must_use]
    pub fn columns(&self) -> Vec<Oid> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// What came for them means.
    #[must_use]
    pub fn read(&self, rows: &Rows) -> Vec<VendorValue> {
        let mut values = Vec::new();
        for (nth, column) in self.columns.iter().enumerate() {
            for (index, row) in rows {
                let Some(raw) = row.integer(nth).filter(|raw| column.none != Some(*raw)) else {
                    continue;
                };
                let row: Vec<String> = index.iter().map(ToString::to_string).collect();
                let (what, value) = (column.what, column.unit.value(raw));
                values.push(VendorValue { what, row: row.join("."), value });
            }
        }
        values
    }
}

/// Every vendor that there is a file for.
pub fn known() -> &'static [Vendor] {
    static KNOWN: OnceLock<Vec<Vendor>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let parse = |(file, text): &(&str, &str)| Vendor::parse(file, text);
        FILES.iter().map(parse).collect::<Result<_, _>>().expect("a test reads every vendor's file")
    })
}

impl Unit {
    const fn fits(self, what: What) -> bool {
        match self {
            Self::Percent => matches!(what, What::Processor | What::Memory),
            Self::PercentIdle => matches!(what, What::Processor),
            Self::Octets | Self::Kib => {
                matches!(what, What::MemoryUsed | What::MemoryFree | What::MemoryTotal)
            }
            Self::Celsius | Self::Decicelsius | Self::Millicelsius => {
                matches!(what, What::Temperature)
            }
        }
    }

    fn value(self, raw: i64) -> f64 {
        let raw = raw as f64;
        match self {
            Self::Percent | Self::Octets | Self::Celsius => raw,
            Self::PercentIdle => 100.0 - raw,
            Self::Kib => raw * 1024.0,
            Self::Decicelsius => raw / 10.0,
            Self::Millicelsius => raw / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll::table::Cells;
    use crate::poll::value::Value;

    #[test]
    fn every_vendors_file_is_read_and_none_is_left_out() {
        let names: Vec<&str> = known().iter().map(Vendor::name).collect();
        for name in ["Aruba", "Cisco", "H3C", "HP", "Huawei", "Juniper", "net-snmp"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert_eq!(names.len(), FILES.len());
    }

    #[test]
    fn a_product_belongs_to_its_vendor() {
        for (product, name) in [
            ("1.3.6.1.4.1.9.1.1208", Some("Cisco")),
            ("1.3.6.1.4.1.2011.2.23.95", Some("Huawei")),
            ("1.3.6.1.4.1.11.2.3.7.11.160", Some("HP")),
            ("1.3.6.1.4.1.47196.4.1.1.1.103", Some("Aruba")),
            ("1.3.6.1.4.1.8072.3.2.10", Some("net-snmp")),
            ("1.3.6.1.4.1.90.1", None),
        ] {
            let vendor = Vendor::of(&product.parse().unwrap());
            assert_eq!(vendor.map(Vendor::name), name, "{product}");
        }
    }

    #[test]
    fn a_value_has_its_unit_and_a_part_without_a_sensor_has_none() {
        let vendor = Vendor::parse(
            "f.yaml",
            "vendor: V\nproducts: 1.3.6.1.4.1.99999\nvalues:\n\
             - {what: processor, column: 1.3.6.1.4.1.99999.1, unit: percent_idle}\n\
             - {what: temperature, column: 1.3.6.1.4.1.99999.2, unit: decicelsius, none: 65535}\n",
        )
        .unwrap();
        let mut first = Cells::default();
        first.set(0, Value::Integer(81));
        first.set(1, Value::Gauge(65_535));
        let mut second = Cells::default();
        second.set(1, Value::Integer(-25));
        let values = vendor.read(&Rows::from([(vec![1], first), (vec![2, 1], second)]));
        let read: Vec<_> = values.iter().map(|v| (v.what, v.row.as_str(), v.value)).collect();
        assert_eq!(read, [(What::Processor, "1", 19.0), (What::Temperature, "2.1", -2.5)]);
    }

    #[test]
    fn a_vendors_file_that_is_wrong_says_where() {
        for (text, words) in [
            ("vendor: V\nproducts: 1.3.x\nvalues: []\n", "f.yaml:2:11: \"1.3.x\" is not"),
            (
                "vendor: V\nproducts: 1.3.6\nvalues:\n  - {what: processor, column: 1.3.6, unit: kib}\n",
                "f.yaml:4:12: the unit does not belong",
            ),
            ("vendor: V\nproducts: 1.3.6\nvalue: []\n", "did you mean \"values\"?"),
        ] {
            let said = Vendor::parse("f.yaml", text).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}
