//! Sets of addresses, IPv4 and IPv6, in their one shortest form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};

/// Networks that no zone and not the Internet holds: this host, link-local, multicast, reserved
/// (RFC 1122, RFC 3927, RFC 5771, RFC 1112).
const NOWHERE_V4: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Multicast (224.0.0.0/4) and reserved with broadcast (240.0.0.0/4).
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// The same for IPv6: unspecified, loopback and the IPv4 forms in their neighbourhood, link-local,
/// multicast (RFC 4291).
const NOWHERE_V6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::UNSPECIFIED, 8),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// A set of addresses as the fewest networks that hold exactly them, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addresses {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl FromIterator<IpNet> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut all = Self::default();
        for network in networks {
            match network {
                IpNet::V4(network) => all.v4.push(network),
                IpNet::V6(network) => all.v6.push(network),
            }
        }
        all.shortest()
    }
}

impl<'a> FromIterator<&'a Self> for Addresses {
    fn from_iter<I: IntoIterator<Item = &'a Self>>(sets: I) -> Self {
        let mut all = Self::default();
        for set in sets {
            all.v4.extend_from_slice(&set.v4);
            all.v6.extend_from_slice(&set.v6);
        }
        all.shortest()
    }
}

impl Addresses {
    fn shortest(self) -> Self {
        let mut v4 = Ipv4Net::aggregate(&self.v4);
        let mut v6 = Ipv6Net::aggregate(&self.v6);
        v4.sort_unstable();
        v6.sort_unstable();
        Self { v4, v6 }
    }

    /// The IPv4 networks, in order; no two touch so that one could stand for both.
    #[must_use]
    pub fn v4(&self) -> &[Ipv4Net] {
        &self.v4
    }

    /// The IPv6 networks, in order.
    #[must_use]
    pub fn v6(&self) -> &[Ipv6Net] {
        &self.v6
    }

    /// The IPv4 addresses as the fewest ranges, in order.
    #[must_use]
    pub fn v4_ranges(&self) -> Vec<AddressRange> {
        let address = |bits: u128| {
            IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).expect("a range of IPv4 addresses")))
        };
        joined(&self.ranges().0)
            .map(|(first, last)| AddressRange(address(first), address(last)))
            .collect()
    }

    /// The IPv6 addresses as the fewest ranges, in order.
    #[must_use]
    pub fn v6_ranges(&self) -> Vec<AddressRange> {
        let address = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits));
        joined(&self.ranges().1)
            .map(|(first, last)| AddressRange(address(first), address(last)))
            .collect()
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => holds(&self.v4, &Ipv4Net::from(address), |a, b| a.contains(b)),
            IpAddr::V6(address) => holds(&self.v6, &Ipv6Net::from(address), |a, b| a.contains(b)),
        }
    }

    /// Whether every address of `other` is in this set too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        // In the shortest form a network lies in one network of the set or is not covered.
        other.v4.iter().all(|network| holds(&self.v4, network, |a, b| a.contains(b)))
            && other.v6.iter().all(|network| holds(&self.v6, network, |a, b| a.contains(b)))
    }

    /// Whether an address is in both sets.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        !self.is_apart(other)
            && (touch(&self.v4, &other.v4, |a, b| a.contains(b))
                || touch(&self.v6, &other.v6, |a, b| a.contains(b)))
    }

    /// Whether the one set ends before the other begins, which four comparisons tell.
    pub(super) fn is_apart(&self, other: &Self) -> bool {
        fn apart<A: Ord>(one: Option<(A, A)>, other: Option<(A, A)>) -> bool {
            match (one, other) {
                (Some(one), Some(other)) => one.1 < other.0 || other.1 < one.0,
                (None, _) | (_, None) => true,
            }
        }
        apart(self.v4_span(), other.v4_span()) && apart(self.v6_span(), other.v6_span())
    }

    /// The first and the last IPv4 address.
    fn v4_span(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        Some((self.v4.first()?.network(), self.v4.last()?.broadcast()))
    }

    /// The first and the last IPv6 address.
    fn v6_span(&self) -> Option<(Ipv6Addr, Ipv6Addr)> {
        Some((self.v6.first()?.network(), self.v6.last()?.broadcast()))
    }

    /// The addresses of both sets.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        self.v4.extend_from_slice(&other.v4);
        self.v6.extend_from_slice(&other.v6);
        self.shortest()
    }

    /// Every address that is not in the set and can be one of a host elsewhere: not loopback,
    /// link-local, multicast or reserved.
    #[must_use]
    pub fn rest_of_the_world(&self) -> Self {
        let nowhere_v4 = NOWHERE_V4.iter().map(|&(address, length)| {
            IpNet::V4(Ipv4Net::new(address, length).expect("the lengths above are below 32"))
        });
        let nowhere_v6 = NOWHERE_V6.iter().map(|&(address, length)| {
            IpNet::V6(Ipv6Net::new(address, length).expect("the lengths above are below 128"))
        });
        let nowhere: Self = nowhere_v4.chain(nowhere_v6).collect();
        let whole = Self { v4: vec![Ipv4Net::default()], v6: vec![Ipv6Net::default()] };
        whole.without(self).without(&nowhere)
    }

    /// The addresses of this set that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let (mine, other) = (self.ranges(), other.ranges());
        Self::from_ranges(&minus(&mine.0, &other.0), &minus(&mine.1, &other.1))
    }

    /// The addresses that are in both sets.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }

    /// First and last address of each network, IPv4 and IPv6, in order.
    fn ranges(&self) -> (Vec<Range>, Vec<Range>) {
        let v4 = self.v4.iter().map(|network| {
            (network.network().to_bits().into(), network.broadcast().to_bits().into())
        });
        let v6 = self
            .v6
            .iter()
            .map(|network| (network.network().to_bits(), network.broadcast().to_bits()));
        (v4.collect(), v6.collect())
    }

    fn from_ranges(v4: &[Range], v6: &[Range]) -> Self {
        let address = |bits: u128| {
            Ipv4Addr::from_bits(u32::try_from(bits).expect("a range of IPv4 addresses"))
        };
        let v4 =
            v4.iter().flat_map(|&(first, last)| Ipv4Subnets::new(address(first), address(last), 0));
        let v6 = v6.iter().flat_map(|&(first, last)| {
            Ipv6Subnets::new(Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last), 0)
        });
        Self { v4: v4.collect(), v6: v6.collect() }.shortest()
    }

    /// An example from the set, IPv4 where there is one.
    #[must_use]
    pub fn example(&self) -> Option<IpAddr> {
        let v4 = self.v4.first().map(|network| IpAddr::V4(network.addr()));
        v4.or_else(|| self.v6.first().map(|network| IpAddr::V6(network.addr())))
    }
}

/// Whether an address is in both. Of each network of the shorter list two places of the longer one
/// are looked at.
fn touch<N: Ord>(one: &[N], other: &[N], contains: impl Fn(&N, &N) -> bool) -> bool {
    let (few, many) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    few.iter().any(|network| {
        // A network of the longer list that lies inside this one is the next one in order.
        let next = many.partition_point(|candidate| candidate < network);
        holds(many, network, &contains)
            || many.get(next).is_some_and(|candidate| contains(network, candidate))
    })
}

/// Addresses from the first to the last, both of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange(pub IpAddr, pub IpAddr);

impl fmt::Display for AddressRange {
    /// As a network where it is one (`10.1.0.0/16`), as one address (`10.1.0.5`), else from to
    /// (`10.2.0.0-10.249.255.255`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, last) = self;
        if first == last {
            return write!(f, "{first}");
        }
        let network = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let host_bits = (first.to_bits() ^ last.to_bits()).trailing_ones();
                u8::try_from(32 - host_bits)
                    .ok()
                    .and_then(|length| IpNet::new((*first).into(), length).ok())
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let host_bits = (first.to_bits() ^ last.to_bits()).trailing_ones();
                u8::try_from(128 - host_bits)
                    .ok()
                    .and_then(|length| IpNet::new((*first).into(), length).ok())
            }
            (_, _) => None,
        };
        match network.filter(|network| network.network() == *first && network.broadcast() == *last)
        {
            Some(network) => write!(f, "{network}"),
            None => write!(f, "{first}-{last}"),
        }
    }
}

/// Ranges that touch, as one.
fn joined(ranges: &[Range]) -> impl Iterator<Item = Range> {
    let mut joined: Vec<Range> = Vec::new();
    for &(first, last) in ranges {
        match joined.last_mut() {
            Some(before) if before.1.checked_add(1) == Some(first) => before.1 = last,
            Some(_) | None => joined.push((first, last)),
        }
    }
    joined.into_iter()
}

/// First and last address as numbers.
type Range = (u128, u128);

/// The numbers of `ranges` that are not in `cuts`; both in order, without overlap.
fn minus(ranges: &[Range], cuts: &[Range]) -> Vec<Range> {
    let mut left = Vec::new();
    let mut cuts = cuts.iter().peekable();
    for &(first, last) in ranges {
        let mut next = Some(first);
        while let (Some(from), Some(&&(cut_first, cut_last))) = (next, cuts.peek()) {
            if cut_first > last {
                break;
            }
            if cut_first > from {
                left.push((from, cut_first - 1));
            }
            if cut_last >= from {
                next = cut_last.checked_add(1).filter(|&next| next <= last);
            }
            if cut_last > last {
                // It may cut the next range too.
                break;
            }
            cuts.next();
        }
        if let Some(from) = next {
            left.push((from, last));
        }
    }
    left
}

/// Whether one of `networks`, which are in order and do not overlap, holds all of `network`.
fn holds<N: Ord>(networks: &[N], network: &N, contains: impl Fn(&N, &N) -> bool) -> bool {
    // The order is that of the first address, then the wider network; so the only one that can
    // hold it is the last that is not after it, or the very same.
    let after = networks.partition_point(|candidate| candidate <= network);
    after > 0 && contains(&networks[after - 1], network)
}
