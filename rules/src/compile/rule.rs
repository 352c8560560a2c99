//! What a rule of a permit matches besides its addresses, and the comment that says where it comes from.

use serde::{Deserialize, Serialize};

use super::Service;
use super::set::Family;
use crate::policy::{Origin, Permit, Ports};

/// The longest comment of a rule that nft(8) takes, in octets.
const MAX_COMMENT: usize = 128;

/// Which packets of a permitted connection a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The first one.
    Opening,
    /// All in the direction of the first one.
    There,
    /// The replies.
    Back,
}

impl Way {
    /// What connection tracking says of them.
    pub(super) const fn state(self) -> &'static str {
        match self {
            Self::Opening => "ct state new",
            Self::There => "ct state new,established ct direction original",
            Self::Back => "ct state established ct direction reply",
        }
    }
}

/// The matches for a service, one for each rule that it takes.
pub(super) fn carried(service: &Service, family: Family, way: Way) -> Vec<String> {
    let port = match way {
        Way::Opening | Way::There => "dport",
        Way::Back => "sport",
    };
    let mut matches = Vec::new();
    match (service.tcp.as_slice(), service.udp.as_slice()) {
        ([], []) => {}
        (tcp, []) => matches.push(format!("tcp {port} {}", one_of(&ports(tcp)))),
        ([], udp) => matches.push(format!("udp {port} {}", one_of(&ports(udp)))),
        (tcp, udp) => {
            let tcp = ports(tcp).into_iter().map(|ports| format!("tcp . {ports}"));
            let udp = ports(udp).into_iter().map(|ports| format!("udp . {ports}"));
            let both: Vec<String> = tcp.chain(udp).collect();
            matches.push(format!("meta l4proto . th {port} {{ {} }}", both.join(", ")));
        }
    }
    let (protocol, types): (_, Vec<u8>) = match family {
        Family::V4 => ("icmp", service.icmp.iter().map(|kind| kind.0).collect()),
        Family::V6 => ("icmpv6", service.icmpv6.iter().map(|kind| kind.0).collect()),
    };
    if !types.is_empty() {
        matches.push(match way {
            Way::Opening | Way::There => {
                let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                format!("{protocol} type {}", one_of(&types))
            }
            // Tracking pairs a reply with its request by type and identifier.
            Way::Back => {
                let number = match family {
                    Family::V4 => "icmp",
                    Family::V6 => "ipv6-icmp",
                };
                format!("meta l4proto {number}")
            }
        });
    }
    matches
}

/// Ports in order, each once: nft(8) refuses ranges that overlap.
fn ports(ports: &[Ports]) -> Vec<String> {
    let all = Service { tcp: ports.to_vec(), ..Service::default() };
    all.without(&Service::default()).tcp.iter().map(ToString::to_string).collect()
}

fn one_of(values: &[String]) -> String {
    match values {
        [one] => one.clone(),
        many => format!("{{ {} }}", many.join(", ")),
    }
}

/// Where a rule comes from: `policy.yaml:14 flow 3`.
pub(super) fn comment(file: &str, permit: &Permit) -> String {
    let what = match &permit.origin {
        Origin::Flow(nth) => format!("flow {nth}"),
        Origin::Exchange(name) => format!("exchange point {name}"),
        Origin::Management(zone) => format!("management {zone}"),
        Origin::Collector(zone) => format!("collector {zone}"),
    };
    let rest = format!(":{} {what}", permit.line);
    // The name of a file is free text, and must end neither the comment nor the rule.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let file: String = file
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .take(MAX_COMMENT.saturating_sub(rest.len() + 1))
        .collect();
    let mut comment = format!("{file}{rest}");
    comment.truncate(MAX_COMMENT - 1);
    comment
}

/// The line of the policy that a rule was compiled from, as the rule's comment tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyLine {
    /// What the comment calls the policy's file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What stands there: `flow 3`, `exchange point EX-1`, `management inner`, `collector inner`.
    pub what: String,
}

impl PolicyLine {
    /// Reads a comment that a compiled rule has; nothing for any other.
    #[must_use]
    pub fn read(comment: &str) -> Option<Self> {
        // No name of a file has a colon in a comment.
        let (file, rest) = comment.split_once(':')?;
        let (line, what) = rest.split_once(' ')?;
        let line = line.parse().ok().filter(|line| *line > 0)?;
        Some(Self { file: file.to_owned(), line, what: what.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::Addresses;

    #[test]
    fn the_comment_of_a_rule_leads_back_to_its_line() {
        let nowhere = Arc::new(Addresses::default());
        let permit = |origin| Permit {
            origin,
            line: 118,
            from: Arc::clone(&nowhere),
            to: Arc::clone(&nowhere),
            service: Service::default(),
        };
        let cases = [
            (Origin::Flow(3), "flow 3"),
            (Origin::Exchange("EX-1".to_owned()), "exchange point EX-1"),
            (Origin::Management("inner".parse().unwrap()), "management inner"),
        ];
        for (origin, what) in cases {
            let read = PolicyLine::read(&comment("my: policy.yaml", &permit(origin)));
            let line =
                PolicyLine { file: "my__policy.yaml".to_owned(), line: 118, what: what.to_owned() };
            assert_eq!(read, Some(line));
        }
        for other in ["", "allow update", "policy.yaml:0 flow 3", "policy.yaml:x flow 3"] {
            assert_eq!(PolicyLine::read(other), None, "{other}");
        }
    }
}
