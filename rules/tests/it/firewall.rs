//! Checks of the packet filter.

use bailey_rules::fact::FactKind;
use bailey_rules::fact::firewall::{DefaultPolicy, Manager};
use bailey_rules::fact::links::{Forwarding, LinkKind};

use crate::site::{Site, found, hook, interface, ruleset};

fn hooks(site: &mut Site, default: DefaultPolicy) {
    site.set("ip input", hook(default));
    site.set("ip6 input", hook(default));
}

#[test]
fn a_host_without_any_chain_on_incoming_packets_has_no_firewall() {
    let check = |default| found("firewall_active", |site| hooks(site, default));
    assert_eq!(check(DefaultPolicy::NoChain), ": critical");
    assert_eq!(check(DefaultPolicy::Drop), "ok");
    assert_eq!(check(DefaultPolicy::Accept), "ok", "rules decide; the default is another check");
    let one_family = found("firewall_active", |site| {
        site.set("ip6 input", hook(DefaultPolicy::NoChain));
    });
    assert_eq!(one_family, "ok");
}

#[test]
fn an_empty_chain_that_lets_everything_pass_is_no_firewall() {
    let said = found("firewall_active", |site| {
        hooks(site, DefaultPolicy::Accept);
        site.set("nftables", ruleset(0));
    });
    assert_eq!(said, ": critical");
    let unread = found("firewall_active", |site| {
        hooks(site, DefaultPolicy::Accept);
        site.unreadable(FactKind::Ruleset, "nftables", "needs CAP_NET_ADMIN");
    });
    assert_eq!(unread, "ok", "there may be rules");
}

#[test]
fn a_filter_that_cannot_be_read_is_unknown_not_off() {
    let unread = |site: &mut Site| {
        site.unreadable(FactKind::Hook, "ip input", "needs CAP_NET_ADMIN");
    };
    assert_eq!(found("firewall_active", unread), ": unknown");
    assert_eq!(found("firewall_default_deny", unread), "ip input: unknown");
}

#[test]
fn what_no_rule_decides_must_be_refused() {
    let check =
        |default| found("firewall_default_deny", |site| site.set("ip input", hook(default)));
    assert_eq!(check(DefaultPolicy::Drop), "ok");
    assert_eq!(check(DefaultPolicy::Reject), "ok");
    assert_eq!(check(DefaultPolicy::Accept), "ip input: warning");
    assert_eq!(check(DefaultPolicy::NoChain), "ip input: warning");
    assert_eq!(check(DefaultPolicy::Unknown), "ip input: unknown");
}

#[test]
fn a_host_that_forwards_must_refuse_there_too() {
    let check = |ipv4, ipv6, interfaces: &[&str]| {
        let interfaces = interfaces.iter().map(ToString::to_string).collect();
        found("firewall_default_deny", |site| {
            site.set("", Forwarding { ipv4, ipv6, interfaces, bridged: Some(false) });
        })
    };
    assert_eq!(check(true, false, &[]), "ip forward: warning");
    assert_eq!(check(false, true, &[]), "ip6 forward: warning");
    assert_eq!(check(false, false, &["eth1"]), "ip forward: warning, ip6 forward: warning");
    let unread = found("firewall_default_deny", |site| {
        site.unreadable(FactKind::Forwarding, "", "no /proc");
    });
    assert_eq!(unread, ": unknown");
}

#[test]
fn a_host_without_ipv6_needs_no_filter_for_it() {
    let without = |address: &'static str| {
        found("firewall_default_deny", |site| {
            site.set("ip6 input", hook(DefaultPolicy::NoChain));
            site.set("eth0", interface(LinkKind::Ethernet, "e1000", &[address]));
        })
    };
    assert_eq!(without("10.1.7.20/16"), "ok");
    assert_eq!(without("fe80::1/64"), "ip6 input: warning", "the same wire can reach it");
}

#[test]
fn rules_that_cannot_be_read_are_a_warning() {
    let said = found("firewall_readable", |site| {
        let mut set = ruleset(12);
        set.opaque_rules = 2;
        site.set("nftables", set);
    });
    assert_eq!(said, "nftables: warning");
    let unread = found("firewall_readable", |site| {
        site.unreadable(FactKind::Ruleset, "iptables-legacy", "needs CAP_NET_ADMIN");
    });
    assert_eq!(unread, "iptables-legacy: unknown");
    assert_eq!(found("firewall_readable", |site| site.remove_all(FactKind::Ruleset)), ": unknown");
}

#[test]
fn two_managers_or_two_rulesets_are_a_conflict() {
    let active = Manager { installed: true, active: true };
    let managers = found("firewall_managers", |site| {
        site.set("firewalld", active.clone());
        site.set("ufw", active.clone());
    });
    assert_eq!(managers, ": warning");
    assert_eq!(found("firewall_managers", |site| site.set("ufw", active.clone())), "ok");
    let loaded = found("firewall_managers", |site| site.set("iptables-legacy", ruleset(3)));
    assert_eq!(loaded, ": warning");
    let unread = found("firewall_managers", |site| {
        site.unreadable(FactKind::Ruleset, "iptables-legacy", "needs CAP_NET_ADMIN");
    });
    assert_eq!(unread, ": unknown");
}
