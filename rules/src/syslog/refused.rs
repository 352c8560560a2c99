//! What a firewall appliance says that it refused: one line for each connection, of which there may be
//! thousands a minute. They are counted and told together, never one by one.

use std::net::IpAddr;

use super::Message;

/// A connection that a firewall refused, as far as the line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Who wanted it.
    pub from: Option<IpAddr>,
}

/// The names under which vendors write who wanted it, in the order in which they are looked for:
/// Juniper, Huawei, H3C, netfilter.
const FROM: [&str; 4] = ["source-address=", "source-ip=", "SrcIPAddr(1003)=", "SRC="];

/// What was refused, if the message says that something was.
#[must_use]
pub fn refused(message: &Message) -> Option<Refused> {
    let kind = message.kind.as_deref().unwrap_or_default();
    let text = &message.text;
    // Cisco ASA: `Deny tcp src inside:10.1.7.20/51234 dst outside:203.0.113.5/443 by ...`.
    if kind.starts_with("ASA-")
        && text.starts_with("Deny ")
        && let Some((_, after)) = text.split_once(" src ")
    {
        return Some(Refused { from: at_interface(after) });
    }
    let says_so = kind.contains("SESSION_DENY")
        || kind.contains("POLICYDENY")
        || text.contains("Event(1048)=Deny")
        || (is_netfilter(text) && has_verdict(text));
    if !says_so {
        return None;
    }
    // The structure is whole where the text of it was cut.
    let named = |(name, _): &&(String, String)| {
        FROM.iter().any(|known| known.trim_end_matches('=') == name)
    };
    let in_data = message.data.iter().find(named).map(|(_, value)| value.as_str());
    let from = in_data.or_else(|| FROM.iter().find_map(|name| value(text, name)));
    Some(Refused { from: from.and_then(|text| text.parse().ok()) })
}

/// `SRC=... DST=... PROTO=...`, as nft(8) `log` writes it.
fn is_netfilter(text: &str) -> bool {
    ["SRC=", "DST=", "PROTO="].iter().all(|part| text.contains(part))
}

/// netfilter logs what its rules say, refused or not; the prefix tells.
fn has_verdict(text: &str) -> bool {
    let prefix = text.split("IN=").next().unwrap_or_default().to_ascii_lowercase();
    ["drop", "deny", "denied", "reject", "refuse", "block"].iter().any(|word| prefix.contains(word))
}

/// What stands behind `name`, up to a separator.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(name)?;
    let end = after.find([' ', ',', ';', ')', '"']).unwrap_or(after.len());
    Some(&after[..end])
}

/// The address in `interface:address/port`.
fn at_interface(text: &str) -> Option<IpAddr> {
    let (_, end) = text.split(' ').next()?.split_once(':')?;
    let address = end.split_once('/').map_or(end, |(address, _)| address);
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syslog::parse;

    #[test]
    fn refusals_of_every_vendor_are_found_with_who_was_refused() {
        let whole = Some(Refused { from: Some([10, 1, 7, 20].into()) });
        for line in [
            "<164>Nov 26 2026 09:12:33 fw-out : %ASA-4-106023: Deny tcp src inside:10.1.7.20/51234 dst outside:203.0.113.5/443 by access-group \"in\"",
            "<14>1 2026-11-26T09:12:33.123+08:00 fw-in RT_FLOW - RT_FLOW_SESSION_DENY [junos@2636.1.1.1.2.41 source-address=\"10.1.7.20\" destination-address=\"203.0.113.5\" destination-port=\"443\"]",
            "<190>Nov 26 2026 09:12:33+08:00 fw-1 %%01POLICY/6/POLICYDENY(l)[0]:vsys=public, protocol=6, source-ip=10.1.7.20, source-port=51234, destination-ip=203.0.113.5, destination-port=443, action=deny.",
            "<190>Nov 26 09:12:33:123 2026 fw-2 %%10FILTER/6/FILTER_ZONE_IPV4_EXECUTION: SrcZoneName(1025)=in;SrcIPAddr(1003)=10.1.7.20;DstIPAddr(1007)=203.0.113.5;DstPort(1008)=443;Event(1048)=Deny;",
            "<4>Nov 26 09:12:33 fw-1 kernel: [1.5] BAILEY-DROP IN=eth0 OUT= SRC=10.1.7.20 DST=203.0.113.5 LEN=60 PROTO=TCP SPT=51234 DPT=443 SYN",
        ] {
            assert_eq!(refused(&parse(line).unwrap()), whole, "{line}");
        }
    }

    #[test]
    fn what_was_let_through_or_says_nothing_of_it_is_no_refusal() {
        for line in [
            "<4>Nov 26 09:12:33 fw-1 kernel: accepted IN=eth0 OUT= SRC=10.1.7.20 DST=203.0.113.5 PROTO=TCP DPT=443",
            "<164>Nov 26 2026 09:12:33 fw-out : %ASA-6-302013: Built outbound TCP connection",
            "<86>Nov 26 09:12:33 oa-17 sshd[1]: Deny me nothing",
        ] {
            assert_eq!(refused(&parse(line).unwrap()), None, "{line}");
        }
    }
}
