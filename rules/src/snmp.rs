//! The words of SNMP: names of values and the values themselves, as devices answer and notify with
//! them.

pub mod oid;
pub mod value;
