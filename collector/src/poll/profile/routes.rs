//! IP routes: `inetCidrRouteTable` (RFC 4292), of older devices `ipCidrRouteTable` (RFC 2096), and of
//! very old ones `ipRouteTable` (RFC 1213). Only the newest that a device has is walked, and only when
//! it is not the table of the whole Internet.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Profile, columns_of, mib_2, octets, take};
use crate::poll::oid::Oid;
use crate::poll::snmp::{Snmp, SnmpError, Status};
use crate::poll::table::{Cells, Learned, Rows};
use crate::poll::value::Value;

pub use bailey_rules::device::routes::{MAX_ROUTES, Route, Routes};

/// Asks a device for its routes.
///
/// # Errors
/// As [`take`]. A device that has none is no error: then there are none.
pub async fn routes(session: &impl Snmp, learned: &mut Learned) -> Result<Routes, SnmpError> {
    let [newer, older] = counted(session).await?;
    let count = newer.or(older).filter(|count| *count > 0);
    if count.is_some_and(|count| count > MAX_ROUTES as u64) {
        return Ok(Routes { count, left_out: true, ..Routes::default() });
    }
    // A device that counts no routes in a table may still have some there, and older ones count none.
    let mut list = take::<Newer>(session, learned).await?;
    if list.is_empty() {
        list = take::<Older>(session, learned).await?;
    }
    if list.is_empty() {
        list = take::<Oldest>(session, learned).await?;
    }
    let left_out = list.len() > MAX_ROUTES;
    let count = count.or_else(|| u64::try_from(list.len()).ok()).filter(|count| *count > 0);
    if left_out {
        list.clear();
    }
    Ok(Routes { count, list, left_out })
}

/// How many routes the two newer tables have (`inetCidrRouteNumber`, `ipCidrRouteNumber`).
async fn counted(session: &impl Snmp) -> Result<[Option<u64>; 2], SnmpError> {
    let mut counts = [None; 2];
    for (count, column) in counts.iter_mut().zip([6, 3]) {
        // One by one: SNMPv1 refuses a question of which it has only a part.
        *count = match session.get(&[mib_2(&[4, 24, column, 0])]).await {
            Ok(answer) => answer.first().and_then(|binding| binding.value.number()),
            Err(SnmpError::Status { status: Status::NoSuchName, .. }) => None,
            Err(error) => return Err(error),
        };
    }
    Ok(counts)
}

/// `inetCidrRouteTable`.
struct Newer;
/// `ipCidrRouteTable`.
struct Older;
/// `ipRouteTable`.
struct Oldest;

/// Of the type of a route: `local` and `remote` of the newer tables, and `direct` and `indirect` of the
/// oldest, have the same numbers. The others drop packets, or are not valid.
const CARRIES: std::ops::RangeInclusive<u64> = 3..=4;

impl Profile for Newer {
    type Facts = BTreeSet<Route>;

    fn root() -> Oid {
        mib_2(&[4, 24, 7])
    }

    /// `inetCidrRouteIfIndex` and `inetCidrRouteType`.
    fn columns() -> Vec<Oid> {
        columns_of(&Self::root().then(&[1]), &[7, 8])
    }

    fn read(rows: &Rows) -> Self::Facts {
        let route = |(index, row): (&Vec<u32>, &Cells)| {
            let (destination, rest) = address(index)?;
            let (prefix, rest) = rest.split_first()?;
            let (policy, rest) = rest.split_first()?;
            let rest = rest.get(usize::try_from(*policy).ok()?..)?;
            let (gateway, _) = address(rest)?;
            route(destination?, u8::try_from(*prefix).ok()?, gateway, row.number(0), row.number(1))
        };
        rows.iter().filter_map(route).collect()
    }
}

impl Profile for Older {
    type Facts = BTreeSet<Route>;

    fn root() -> Oid {
        mib_2(&[4, 24, 4])
    }

    /// `ipCidrRouteIfIndex` and `ipCidrRouteType`.
    fn columns() -> Vec<Oid> {
        columns_of(&Self::root().then(&[1]), &[5, 6])
    }

    fn read(rows: &Rows) -> Self::Facts {
        let route = |(index, row): (&Vec<u32>, &Cells)| {
            // Destination, mask, type of service, gateway.
            let (destination, rest) = v4(index)?;
            let (mask, rest) = v4(rest)?;
            let (gateway, _) = v4(rest.get(1..)?)?;
            route(
                destination.into(),
                ipnet::ipv4_mask_to_prefix(mask).ok()?,
                Some(gateway.into()),
                row.number(0),
                row.number(1),
            )
        };
        rows.iter().filter_map(route).collect()
    }
}

impl Profile for Oldest {
    type Facts = BTreeSet<Route>;

    fn root() -> Oid {
        mib_2(&[4, 21])
    }

    /// `ipRouteIfIndex`, `ipRouteNextHop`, `ipRouteType` and `ipRouteMask`.
    fn columns() -> Vec<Oid> {
        columns_of(&Self::root().then(&[1]), &[2, 7, 8, 11])
    }

    fn read(rows: &Rows) -> Self::Facts {
        let route = |(index, row): (&Vec<u32>, &Cells)| {
            let address = |column: usize| match row.get(column) {
                Some(Value::Address(address)) => Some(*address),
                _ => None,
            };
            let (destination, _) = v4(index)?;
            let prefix = ipnet::ipv4_mask_to_prefix(address(3)?).ok()?;
            // The next hop of a network that the device is in is the device's own address.
            let gateway = address(1).filter(|_| row.number(2) == Some(4)).map(IpAddr::from);
            route(destination.into(), prefix, gateway, row.number(0), row.number(2))
        };
        rows.iter().filter_map(route).collect()
    }
}

/// A route, if it carries packets.
fn route(
    destination: IpAddr,
    prefix: u8,
    gateway: Option<IpAddr>,
    interface: Option<u64>,
    kind: Option<u64>,
) -> Option<Route> {
    kind.filter(|kind| CARRIES.contains(kind))?;
    Some(Route {
        destination: IpNet::new(destination, prefix).ok()?.trunc(),
        gateway: gateway.filter(|gateway| !gateway.is_unspecified()),
        interface: interface.and_then(|index| u32::try_from(index).ok()).filter(|index| *index > 0),
    })
}

/// An address at the beginning of an index: its type, its length, its octets (RFC 4001), and what follows.
/// Of the type `unknown` there is none: that is how a route without a gateway is written.
#[allow(clippy::option_option)] // An index that cannot be read, and an address that is not there.
fn address(index: &[u32]) -> Option<(Option<IpAddr>, &[u32])> {
    let (kind, length, rest) = match index {
        [kind, length, rest @ ..] => (*kind, usize::try_from(*length).ok()?, rest),
        _ => return None,
    };
    let (numbers, rest) = rest.split_at_checked(length)?;
    // Those with a zone index (types 3 and 4) are link-local; the zone is the interface.
    let address = match (kind, length) {
        (0, 0) => None,
        (1, 4) | (3, 8) => Some(octets::<4>(&numbers[..4])?.into()),
        (2, 16) | (4, 20) => Some(octets::<16>(&numbers[..16])?.into()),
        _ => return None,
    };
    Some((address, rest))
}

/// Four numbers at the beginning of an index as an address, and what follows.
fn v4(index: &[u32]) -> Option<(Ipv4Addr, &[u32])> {
    let (numbers, rest) = index.split_at_checked(4)?;
    Some((octets::<4>(numbers)?.into(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[(usize, Value)]) -> Cells {
        cells.iter().cloned().collect()
    }

    fn carried(interface: i32, kind: i32) -> Cells {
        row(&[(0, Value::Integer(interface)), (1, Value::Integer(kind))])
    }

    fn said(routes: &BTreeSet<Route>) -> Vec<String> {
        let said = |route: &Route| {
            let gateway = route.gateway.map_or_else(|| "-".to_owned(), |to| to.to_string());
            format!("{} {gateway} {:?}", route.destination, route.interface)
        };
        routes.iter().map(said).collect()
    }

    #[test]
    fn the_newest_table_holds_both_families_and_what_drops_packets_is_no_route() {
        let v4 = |net: [u32; 4], prefix, gateway: &[u32]| {
            let mut index = vec![1, 4];
            index.extend(net);
            index.extend([prefix, 2, 0, 0]);
            index.extend(gateway);
            index
        };
        let mut six = vec![2, 16, 0xfd, 0];
        six.extend([0; 14]);
        six.extend([8, 2, 0, 0, 2, 16, 0xfd, 0]);
        six.extend([0; 13]);
        six.push(1);
        let rows = Rows::from([
            (v4([0, 0, 0, 0], 0, &[1, 4, 10, 1, 0, 254]), carried(7, 4)),
            (v4([10, 1, 0, 0], 16, &[0, 0]), carried(7, 3)),
            // Blackhole, and reject.
            (v4([10, 9, 0, 0], 16, &[0, 0]), carried(0, 5)),
            (v4([10, 8, 0, 0], 16, &[0, 0]), carried(0, 2)),
            (six, carried(9, 4)),
            // A prefix that cannot be, a length that lies, an octet that is none.
            (v4([10, 7, 0, 0], 33, &[0, 0]), carried(7, 3)),
            (vec![1, 4, 10, 7], carried(7, 3)),
            (v4([10, 7, 0, 300], 24, &[0, 0]), carried(7, 3)),
        ]);
        assert_eq!(
            said(&Newer::read(&rows)),
            ["0.0.0.0/0 10.1.0.254 Some(7)", "10.1.0.0/16 - Some(7)", "fd00::/8 fd00::1 Some(9)"]
        );
    }

    #[test]
    fn older_tables_are_read_by_mask_and_a_connected_network_has_no_gateway() {
        let rows = Rows::from([
            (vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 1, 0, 254], carried(7, 4)),
            (vec![10, 1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0], carried(7, 3)),
            // A mask with a hole.
            (vec![10, 2, 0, 0, 255, 0, 255, 0, 0, 0, 0, 0, 0], carried(7, 3)),
        ]);
        let expect = ["0.0.0.0/0 10.1.0.254 Some(7)", "10.1.0.0/16 - Some(7)"];
        assert_eq!(said(&Older::read(&rows)), expect);
        let oldest = |gateway: [u8; 4], kind, mask: [u8; 4]| {
            row(&[
                (0, Value::Integer(7)),
                (1, Value::Address(gateway.into())),
                (2, Value::Integer(kind)),
                (3, Value::Address(mask.into())),
            ])
        };
        let rows = Rows::from([
            (vec![0, 0, 0, 0], oldest([10, 1, 0, 254], 4, [0, 0, 0, 0])),
            (vec![10, 1, 0, 0], oldest([10, 1, 0, 2], 3, [255, 255, 0, 0])),
            (vec![10, 3, 0, 0], oldest([10, 1, 0, 2], 2, [255, 255, 0, 0])),
        ]);
        assert_eq!(said(&Oldest::read(&rows)), expect);
    }
}
