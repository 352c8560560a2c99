//! What an address tells by itself (IEEE 802-2014, 8.2).

use crate::fact::links::Mac;

/// Whether it was made up by software instead of being burnt in by a maker: virtual machines,
/// containers, and telephones that change it to stay unknown.
#[must_use]
pub const fn is_local(mac: Mac) -> bool {
    mac.0[0] & 0b10 != 0
}

/// Whether it is of a group of stations, or of none at all: nobody can be behind it.
#[must_use]
pub const fn is_nobody(mac: Mac) -> bool {
    mac.0[0] & 1 != 0 || matches!(mac.0, [0, 0, 0, 0, 0, 0])
}

/// Whether it moves between routers that stand in for each other: VRRP (RFC 9568 7.3), HSRP (RFC 2281
/// and its version 2, IPv4 and IPv6), GLBP. Several networks use the same ones.
#[must_use]
pub const fn is_redundant(mac: Mac) -> bool {
    matches!(
        mac.0,
        [0x00, 0x00, 0x5e, 0x00, 0x01 | 0x02, _]
            | [0x00, 0x00, 0x0c, 0x07, 0xac, _]
            | [0x00, 0x00, 0x0c, 0x9f, 0xf0..=0xff, _]
            | [0x00, 0x05, 0x73, 0xa0, 0x00..=0x0f, _]
            | [0x00, 0x07, 0xb4, _, _, _]
    )
}
