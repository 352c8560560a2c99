//! What an example should look like: as ordinary as it can be.

use super::arena::{Set, TooComplex};
use super::space::Space;
use crate::model::field::{Field, ICMP, ICMPV6, TCP, UDP, state};
use crate::model::interval::{Interval, Intervals};

/// The port that examples come from.
const SOURCE_PORT: u128 = 40_000;
/// Services that everybody knows, the best known first.
const SERVICES: [u128; 6] = [443, 80, 22, 53, 25, 3389];

/// The wishes of a counterexample, the dearest first: the first packet of a TCP connection to a service
/// that everybody knows, from an ordinary address and port.
pub fn wishes(space: &mut Space) -> Result<Vec<Set>, TooComplex> {
    let mut wishes = vec![space.value(Field::State, state::NEW)?];
    for protocol in [TCP, UDP, ICMP, ICMPV6] {
        wishes.push(space.value(Field::Protocol, u128::from(protocol))?);
    }
    // SYN alone.
    wishes.push(space.value(Field::TcpFlags, 2)?);
    // Echo requests (RFC 792, RFC 4443).
    wishes.push(space.value(Field::IcmpType, 8)?);
    wishes.push(space.value(Field::Icmp6Type, 128)?);
    wishes.push(space.version(false)?);
    for end in [[Field::Source4, Field::Source6], [Field::Destination4, Field::Destination6]] {
        // No loopback, multicast or broadcast, nor "no address"; if it can be, neither the address of a
        // network nor its last one.
        let [v4, v6] = end;
        let hosts = [(0x0100_0000, 0x7eff_ffff), (0x8000_0000, 0xdfff_ffff)];
        let hosts = hosts.map(|(first, last)| Interval { first, last }).into_iter().collect();
        let hosts4 = space.among(v4, &hosts)?;
        let hosts6 =
            space.among(v6, &Intervals::from(Interval { first: 2, last: 0xfe7f << 112 }))?;
        let (of4, of6) = (space.version(false)?, space.version(true)?);
        let (hosts4, hosts6) = (space.and(of4, hosts4)?, space.and(of6, hosts6)?);
        wishes.push(space.or(hosts4, hosts6)?);
        let last = |space: &mut Space, field| {
            let key = crate::model::field::Key { field, mask: 0xff };
            space.key(key, &Intervals::from(Interval { first: 10, last: 250 }))
        };
        let (tail4, tail6) = (last(space, v4)?, last(space, v6)?);
        let (tail4, tail6) = (space.and(of4, tail4)?, space.and(of6, tail6)?);
        wishes.push(space.or(tail4, tail6)?);
    }
    for service in SERVICES {
        wishes.push(space.value(Field::DestinationPort, service)?);
    }
    wishes.push(
        space
            .among(Field::DestinationPort, &Intervals::from(Interval { first: 1, last: 65_535 }))?,
    );
    wishes.push(space.value(Field::SourcePort, SOURCE_PORT)?);
    wishes.push(
        space.among(Field::SourcePort, &Intervals::from(Interval { first: 1024, last: 65_535 }))?,
    );
    Ok(wishes)
}
