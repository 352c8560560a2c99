//! Echo requests and replies (RFC 792, RFC 4443 section 4): what the far end of a line is asked.

/// The octets after the header of a request: a token that only who saw the request can know.
pub const TOKEN: usize = 40;

/// The octets of a request or reply: type, code, checksum, identifier, sequence number, token.
const LENGTH: usize = 8 + TOKEN;

/// The protocol of which a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// ICMP.
    V4,
    /// `ICMPv6`, whose checksum the kernel makes: it covers addresses that are not known here.
    V6,
}

impl Family {
    const fn request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    const fn reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }
}

/// What a request and its reply have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Who asks. A kernel that keeps apart who asks puts a number of its own here.
    pub identifier: u16,
    /// Which request it is.
    pub sequence: u16,
    /// Comes back unchanged.
    pub token: [u8; TOKEN],
}

impl Echo {
    /// The octets of the request.
    #[must_use]
    pub fn request(&self, family: Family) -> [u8; LENGTH] {
        let mut octets = [0; LENGTH];
        octets[0] = family.request();
        octets[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        octets[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        octets[8..].copy_from_slice(&self.token);
        if family == Family::V4 {
            let sum = checksum(&octets);
            octets[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        octets
    }

    /// The reply that these octets are, without any header of IP before them. `None` for anything else,
    /// a request too, and for what is damaged.
    #[must_use]
    pub fn reply(octets: &[u8], family: Family) -> Option<Self> {
        let octets: &[u8; LENGTH] = octets.try_into().ok()?;
        let is_whole = family == Family::V6 || checksum(octets) == 0;
        if octets[0] != family.reply() || octets[1] != 0 || !is_whole {
            return None;
        }
        let [_, _, _, _, i1, i2, s1, s2, token @ ..] = *octets;
        Some(Self {
            identifier: u16::from_be_bytes([i1, i2]),
            sequence: u16::from_be_bytes([s1, s2]),
            token,
        })
    }
}

/// What is in a packet of IPv4, as raw sockets give it. `None` where the header is none.
#[must_use]
pub fn without_header(packet: &[u8]) -> Option<&[u8]> {
    let first = packet.first()?;
    let length = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && length >= 20).then(|| packet.get(length..)).flatten()
}

/// The checksum of the Internet (RFC 1071); of octets that hold theirs, zero.
#[must_use]
fn checksum(octets: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        let high = u32::from(pair[0]) << 8;
        sum += high | pair.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Echo {
        Echo {
            identifier: 0x1234,
            sequence: 7,
            token: std::array::from_fn(|at| at.to_le_bytes()[0]),
        }
    }

    /// What a far end makes of a request.
    fn answered(family: Family) -> Vec<u8> {
        let mut octets = echo().request(family).to_vec();
        octets[0] = family.reply();
        octets[2..4].fill(0);
        let sum = checksum(&octets);
        octets[2..4].copy_from_slice(&sum.to_be_bytes());
        octets
    }

    #[test]
    fn a_reply_has_what_the_request_had_and_nothing_else_is_one() {
        for family in [Family::V4, Family::V6] {
            let reply = answered(family);
            assert_eq!(Echo::reply(&reply, family), Some(echo()));
            assert_eq!(Echo::reply(&echo().request(family), family), None, "a request");
            assert_eq!(Echo::reply(&reply[..LENGTH - 1], family), None, "cut off");
            let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
            assert_eq!(Echo::reply(&reply, other), None);
        }
        for octet in 0..LENGTH {
            let mut damaged = answered(Family::V4);
            damaged[octet] ^= 0x40;
            assert_eq!(Echo::reply(&damaged, Family::V4), None, "octet {octet}");
        }
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), 0x00ff);
        assert_eq!(checksum(&echo().request(Family::V4)), 0);
    }

    #[test]
    fn a_header_of_ip_is_as_long_as_it_says() {
        let mut packet = vec![0x46; 24];
        packet.extend([1, 2, 3]);
        assert_eq!(without_header(&packet), Some(&[1, 2, 3][..]));
        assert_eq!(without_header(&[0x4f; 24]), None, "longer than the packet");
        assert_eq!(without_header(&[0x41; 24]), None, "shorter than a header");
        assert_eq!(without_header(&[0x65; 24]), None, "not IPv4");
        assert_eq!(without_header(&[]), None);
    }
}
