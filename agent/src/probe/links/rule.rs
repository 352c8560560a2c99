//! Policy rules (ip-rule(8)): which routing table the kernel asks when.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bailey_rules::fact::Fact;
use bailey_rules::fact::links::{Mark, Rule, RuleAction};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction as Action, RuleAttribute, RuleFlags, RuleMessage};

/// `FRA_SUPPRESS_PREFIXLEN` of a rule that suppresses nothing (`linux/fib_rules.h`).
const SUPPRESSES_NOTHING: u32 = u32::MAX;
/// `FRA_FWMASK` of a rule that looks at the whole mark.
const WHOLE: u32 = u32::MAX;

/// A fact for each rule of IPv4 and IPv6, those that are asked first at the beginning.
pub(super) fn facts(messages: &[RuleMessage]) -> Vec<Fact> {
    let mut rules: Vec<Rule> = messages.iter().filter_map(rule).collect();
    // The kernel gives each family in the order in which it asks, which rules of one priority keep.
    rules.sort_by_key(|rule| (rule.priority, rule.ipv6));
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    rules
        .into_iter()
        .map(|rule| {
            let mut subject = words(&rule);
            let nth = seen.entry(subject.clone()).or_default();
            *nth += 1;
            // They differ in what the words do not say.
            if *nth > 1 {
                subject = format!("{subject} #{nth}");
            }
            Fact::known(&subject, rule)
        })
        .collect()
}

fn rule(message: &RuleMessage) -> Option<Rule> {
    let ipv6 = match message.header.family {
        AddressFamily::Inet => false,
        AddressFamily::Inet6 => true,
        // The crate's enum is open; other families route no ordinary packets.
        _ => return None,
    };
    let mut table = u32::from(message.header.table);
    let mut rule = Rule {
        priority: 0,
        ipv6,
        not: message.header.flags.contains(RuleFlags::Invert),
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        action: RuleAction::Other,
        unsure: message.header.tos != 0,
    };
    let (mut value, mut mask) = (None, None);
    let network = |address: &IpAddr, length| IpNet::new(*address, length).ok();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(number) => rule.priority = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Source(address) => {
                rule.from = network(address, message.header.src_len);
            }
            RuleAttribute::Destination(address) => {
                rule.to = network(address, message.header.dst_len);
            }
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::FwMark(mark) => value = Some(*mark),
            RuleAttribute::FwMask(bits) => mask = Some(*bits),
            // Who made it, and what its packets are counted under, decides nothing.
            RuleAttribute::Protocol(_)
            | RuleAttribute::Realm(_)
            | RuleAttribute::SuppressPrefixLen(SUPPRESSES_NOTHING) => {}
            // The crate's enum is open: anything else may be a condition.
            _ => rule.unsure = true,
        }
    }
    rule.mark = match value {
        Some(value) => Some(Mark { value, mask: mask.unwrap_or(WHOLE) }),
        // The kernel tells of a mask alone where the mark is zero.
        None => mask.filter(|mask| *mask != 0).map(|mask| Mark { value: 0, mask }),
    };
    rule.action = match message.header.action {
        Action::ToTable => RuleAction::Table(table),
        Action::Blackhole => RuleAction::Blackhole,
        Action::Unreachable => RuleAction::Unreachable,
        Action::Prohibit => RuleAction::Prohibit,
        // The crate's enum is open.
        _ => RuleAction::Other,
    };
    Some(rule)
}

/// A rule in the words of `ip rule`: its subject.
fn words(rule: &Rule) -> String {
    use std::fmt::Write as _;
    let Rule { priority, ipv6, not, from, to, iif, oif, mark, action, unsure } = rule;
    let mut words = format!("{priority}:");
    // Writing to a String cannot fail.
    let mut say = |what: &dyn std::fmt::Display| {
        let _ = write!(words, " {what}");
    };
    if *not {
        say(&"not");
    }
    match from {
        Some(from) => say(&format_args!("from {from}")),
        None => say(&"from all"),
    }
    if let Some(to) = to {
        say(&format_args!("to {to}"));
    }
    if let Some(mark) = mark {
        say(&format_args!("fwmark {:#x}", mark.value));
        if mark.mask != WHOLE {
            say(&format_args!("mask {:#x}", mark.mask));
        }
    }
    if let Some(iif) = iif {
        say(&format_args!("iif {iif}"));
    }
    if let Some(oif) = oif {
        say(&format_args!("oif {oif}"));
    }
    if *unsure {
        say(&"(and more)");
    }
    match action {
        RuleAction::Table(255) => say(&"lookup local"),
        RuleAction::Table(254) => say(&"lookup main"),
        RuleAction::Table(253) => say(&"lookup default"),
        RuleAction::Table(table) => say(&format_args!("lookup {table}")),
        RuleAction::Blackhole => say(&"blackhole"),
        RuleAction::Unreachable => say(&"unreachable"),
        RuleAction::Prohibit => say(&"prohibit"),
        RuleAction::Other => say(&"other"),
    }
    if *ipv6 {
        say(&"(IPv6)");
    }
    words
}
