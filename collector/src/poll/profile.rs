//! What devices tell, in the words of the MIB modules that everybody implements. One profile is one
//! file; adding one touches that file and this list. What only one vendor has is a data file
//! ([`vendor`]).
//!
//! A profile names columns and reads what came for them. It does no I/O, and gives nothing for what
//! did not come: never a zero.

pub mod addresses;
pub mod bridge;
pub mod cdp;
pub mod ethernet;
pub mod host_resources;
pub mod interfaces;
pub mod lldp;
pub mod poe;
pub mod processes;
pub mod routes;
pub mod sensors;
pub mod system;
pub mod ups;
pub mod vendor;

use crate::poll::oid::{Oid, known};
use crate::poll::snmp::{Snmp, SnmpError};
use crate::poll::table::{self, Learned, Rows};

pub use bailey_rules::fact::links::Mac;

/// One subject of which devices tell.
pub trait Profile {
    /// What is known of it.
    type Facts;

    /// The part of the tree that the columns are in, for errors.
    fn root() -> Oid;

    /// The columns that are asked for; a scalar is a column with the one row 0.
    fn columns() -> Vec<Oid>;

    /// What came for them means.
    fn read(rows: &Rows) -> Self::Facts;
}

/// Asks a device for a profile.
///
/// # Errors
/// As [`table::rows`]. A device that has nothing of it is no error: then the facts are empty.
pub async fn take<P: Profile>(
    session: &impl Snmp,
    learned: &mut Learned,
) -> Result<P::Facts, SnmpError> {
    let rows = table::rows(session, &P::root(), &P::columns(), learned).await?;
    Ok(P::read(&rows))
}

/// `mib-2` (RFC 1213).
const MIB_2: [u32; 6] = [1, 3, 6, 1, 2, 1];

/// A name below `mib-2`.
fn mib_2(below: &[u32]) -> Oid {
    known(&MIB_2).then(below)
}

/// The columns with these numbers.
fn columns_of(entry: &Oid, numbers: &[u32]) -> Vec<Oid> {
    numbers.iter().map(|number| entry.then(&[*number])).collect()
}

/// The index of a table that counts its rows.
fn single(index: &[u32]) -> Option<u32> {
    match index {
        [one] => Some(*one),
        _ => None,
    }
}

/// So many octets, each of them a number of an index.
fn octets<const COUNT: usize>(index: &[u32]) -> Option<[u8; COUNT]> {
    let numbers: &[u32; COUNT] = index.try_into().ok()?;
    let mut octets = [0; COUNT];
    for (octet, number) in octets.iter_mut().zip(numbers) {
        *octet = u8::try_from(*number).ok()?;
    }
    Some(octets)
}

/// Six octets of an index as a MAC address.
fn mac_of(index: &[u32]) -> Option<Mac> {
    octets(index).map(Mac)
}
