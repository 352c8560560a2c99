//! Checks of isolation from facts alone.

use bailey_rules::fact::links::{Forwarding, Interface, LinkKind};
use bailey_rules::fact::{FactKind, MAX_TEXT};

use crate::site::{POLICY, Site, found, interface, neighbour, route, why};

fn down(interface: Interface) -> Interface {
    Interface { admin_up: false, ..interface }
}

fn member_of(master: &str, kind: LinkKind, driver: &str) -> Interface {
    Interface { master: Some(master.to_owned()), ..interface(kind, driver, &[]) }
}

#[test]
fn an_address_of_another_zone_means_that_the_host_touches_both() {
    let check = |address: &'static str| {
        found("foreign_address", |site| {
            site.set("eth1", interface(LinkKind::Ethernet, "e1000", &[address]));
        })
    };
    assert_eq!(check("172.20.3.4/16"), "172.20.3.4: critical");
    assert_eq!(check("10.250.0.7/24"), "10.250.0.7: critical");
    assert_eq!(check("10.1.9.9/16"), "ok");
    assert_eq!(check("192.0.2.7/24"), "192.0.2.7: warning", "in no zone at all");
    assert_eq!(check("2001:db8::7/64"), "2001:db8::7: warning");
    assert_eq!(check("fd00:1::8/64"), "ok");
    assert_eq!(check("169.254.3.4/16"), "ok");
    assert_eq!(check("fe80::8/64"), "ok");
    assert_eq!(check("::ffff:172.20.3.4/120"), "::ffff:172.20.3.4: critical", "v4 in disguise");
}

#[test]
fn an_address_hides_neither_on_loopback_nor_behind_a_second_interface() {
    let on_loopback = found("foreign_address", |site| {
        site.set("lo", interface(LinkKind::Loopback, "", &["127.0.0.1/8", "172.20.3.4/32"]));
    });
    assert_eq!(on_loopback, "172.20.3.4: critical");
    let twice = found("foreign_address", |site| {
        site.set("eth1", down(interface(LinkKind::Ethernet, "e1000", &["172.20.3.4/16"])));
        site.set("eth2", interface(LinkKind::Ethernet, "e1000", &["172.20.3.4/16"]));
    });
    assert_eq!(twice, "172.20.3.4: critical");
    let idle = found("foreign_address", |site| {
        site.set("eth1", down(interface(LinkKind::Ethernet, "e1000", &["172.20.3.4/16"])));
    });
    assert_eq!(idle, "172.20.3.4: warning");
}

#[test]
fn a_bridge_of_containers_is_inside_the_host_until_it_gets_a_wire() {
    let docker = || interface(LinkKind::Bridge, "bridge", &["172.17.0.1/16"]);
    let inside = |site: &mut Site| {
        site.set("docker0", docker());
        site.set("veth1", member_of("docker0", LinkKind::Virtual, "veth"));
        site.set("172.17.0.2 dev docker0", neighbour("172.17.0.2", "docker0"));
        site.set("172.17.0.0/16 dev docker0", route("172.17.0.0/16", None, "docker0"));
    };
    let isolation =
        ["foreign_address", "foreign_route", "foreign_neighbour", "unexpected_interface"];
    for check in isolation {
        assert_eq!(found(check, inside), "ok", "{check}");
    }
    let wired = |site: &mut Site| {
        inside(site);
        site.set("eth1", member_of("docker0", LinkKind::Ethernet, "e1000"));
    };
    assert_eq!(found("foreign_address", wired), "172.17.0.1: warning");
    assert_eq!(found("foreign_neighbour", wired), "172.17.0.2 dev docker0: warning");
    let macvlan = found("foreign_address", |site| {
        site.set("macvlan0", interface(LinkKind::Virtual, "macvlan", &["172.17.0.9/16"]));
    });
    assert_eq!(macvlan, "172.17.0.9: warning", "a macvlan sits on a wire");
}

#[test]
fn a_network_that_is_inside_hosts_is_foreign_where_a_zone_holds_it() {
    let said = found("foreign_address", |site| {
        site.policy = POLICY.replace("172.20.0.0/16", "172.16.0.0/12");
        site.set("docker0", interface(LinkKind::Bridge, "bridge", &["172.17.0.1/16"]));
    });
    assert_eq!(said, "172.17.0.1: critical");
}

#[test]
fn zones_that_the_rules_grant_are_home() {
    let granted = |site: &mut Site| {
        site.rules = "
expectations:
  - hosts: ['oa-*']
    isolation: {other_zones: [exchange]}
"
        .to_owned();
        site.set("eth1", interface(LinkKind::Ethernet, "e1000", &["10.250.0.7/24"]));
        site.set("10.250.0.9 dev eth1", neighbour("10.250.0.9", "eth1"));
        site.set("r", route("172.20.0.0/16", Some("10.250.0.1"), "eth1"));
    };
    for check in ["foreign_address", "foreign_route", "foreign_neighbour"] {
        assert_eq!(found(check, granted), "ok", "{check}");
    }
}

#[test]
fn a_gateway_is_at_home_where_the_policy_gives_it_addresses() {
    let gateway = |more: &'static str| {
        move |site: &mut Site| {
            let declared = format!("addresses: [10.1.7.20{more}], forwards: true");
            site.policy = POLICY.replace("addresses: [10.1.7.20]", &declared);
            site.set("eth1", interface(LinkKind::Ethernet, "e1000", &["10.250.0.1/24"]));
            site.set("10.250.0.9 dev eth1", neighbour("10.250.0.9", "eth1"));
        }
    };
    for check in ["foreign_address", "foreign_neighbour"] {
        assert_eq!(found(check, gateway(", 10.250.0.1")), "ok", "{check}");
        assert!(found(check, gateway("")).ends_with("critical"), "{check}");
    }
}

#[test]
fn a_zone_that_the_policy_does_not_know_proves_nothing() {
    let unknown = |site: &mut Site| {
        site.policy = "site: jiaxing\nzones: {outer: {networks: [172.20.0.0/16]}}".to_owned();
    };
    for check in ["foreign_address", "foreign_route", "foreign_neighbour", "unexpected_interface"] {
        assert_eq!(found(check, unknown), ": unknown", "{check}");
    }
    assert_eq!(found("zone_declared", unknown), ": warning");
    let other = |site: &mut Site| {
        site.policy = POLICY.replace("{zone: inner, addresses: [10.1.7.20]}", "{zone: outer}");
    };
    assert_eq!(found("zone_declared", other), ": critical");
}

#[test]
fn only_hosts_that_the_policy_lets_may_forward() {
    let check = |ipv4, ipv6, interfaces: &[&str]| {
        let interfaces = interfaces.iter().map(ToString::to_string).collect();
        found("forwarding", |site| {
            site.set("", Forwarding { ipv4, ipv6, interfaces, bridged: Some(false) });
        })
    };
    assert_eq!(check(false, false, &[]), "ok");
    assert_eq!(check(true, false, &[]), ": critical");
    assert_eq!(check(false, true, &[]), ": critical");
    assert_eq!(check(false, false, &["eth1"]), ": critical");
    let allowed = found("forwarding", |site| {
        site.policy = POLICY.replace("10.1.7.20]", "10.1.7.20], forwards: true");
        site.set(
            "",
            Forwarding { ipv4: true, ipv6: true, interfaces: Vec::new(), bridged: Some(false) },
        );
    });
    assert_eq!(allowed, "ok");
}

#[test]
fn a_gateway_outside_the_zone_is_critical() {
    let check = |to: &'static str, via: Option<&'static str>, dev: &'static str| {
        found("foreign_route", |site| {
            site.set("wg0", interface(LinkKind::Tunnel, "wireguard", &["10.9.0.2/24"]));
            site.set("ppp0", interface(LinkKind::Modem, "ppp", &[]));
            site.set("eth1", interface(LinkKind::Ethernet, "e1000", &[]));
            site.set("it", route(to, via, dev));
        })
    };
    assert_eq!(check("0.0.0.0/0", Some("10.1.0.1"), "eth0"), "ok");
    assert_eq!(check("0.0.0.0/0", Some("172.20.0.1"), "eth1"), "it: critical");
    assert_eq!(check("0.0.0.0/0", Some("192.0.2.9"), "eth1"), "it: critical");
    assert_eq!(check("192.168.5.0/24", Some("172.20.0.1"), "eth1"), "it: critical");
    assert_eq!(check("::/0", Some("2001:db8::1"), "eth1"), "it: critical");
    assert_eq!(check("::/0", Some("fe80::1"), "eth0"), "ok");
    assert_eq!(check("::/0", Some("fe80::1"), "eth1"), "it: warning");
    assert_eq!(check("0.0.0.0/0", None, "ppp0"), "it: critical");
    assert_eq!(check("0.0.0.0/1", None, "wg0"), "it: critical", "half of a default route");
    assert_eq!(check("2000::/3", None, "wg0"), "it: critical");
    assert_eq!(check("0.0.0.0/0", None, "eth1"), "it: warning");
    assert_eq!(check("172.20.0.0/16", None, "eth1"), "it: critical", "straight into the other");
    assert_eq!(check("172.20.0.0/16", Some("10.1.0.1"), "eth0"), "ok", "the gateway decides");
    assert_eq!(check("fe80::/64", None, "eth1"), "ok");
    assert_eq!(check("ff00::/8", None, "eth1"), "ok");
    assert_eq!(check("224.0.0.0/4", None, "eth1"), "ok");
}

#[test]
fn a_route_that_drops_leads_nowhere() {
    let said = found("foreign_route", |site| {
        let mut drop = route("0.0.0.0/0", None, "eth0");
        (drop.interface, drop.carries) = (None, false);
        site.set("blackhole default", drop);
    });
    assert_eq!(said, "ok");
    assert_eq!(found("foreign_route", |site| site.remove_all(FactKind::Route)), "ok");
}

#[test]
fn a_neighbour_of_another_zone_is_critical_and_of_none_a_warning() {
    let check = |address: &'static str| {
        found("foreign_neighbour", |site| site.set("it", neighbour(address, "eth0")))
    };
    assert_eq!(check("172.20.9.9"), "it: critical");
    assert_eq!(check("192.0.2.9"), "it: warning");
    assert_eq!(check("10.1.2.3"), "ok");
    assert_eq!(check("fe80::2"), "ok");
    assert_eq!(check("169.254.9.9"), "ok");
    assert_eq!(check("ff02::1"), "ok");
    assert_eq!(check("224.0.0.22"), "ok");
    let said = why("foreign_neighbour", |site| site.set("it", neighbour("172.20.9.9", "eth0")));
    assert_eq!(said, "172.20.9.9 (52:54:00:12:34:56) of zone \"outer\" is a neighbour on eth0");
}

#[test]
fn an_interface_by_which_the_host_could_leave_must_be_allowed() {
    let kinds = [
        (LinkKind::Tunnel, "tun0", "tun"),
        (LinkKind::Wireless, "wlan0", "iwlwifi"),
        (LinkKind::Usb, "enx0050b6", "cdc_ether"),
        (LinkKind::Modem, "wwan0", "qmi_wwan"),
    ];
    for (kind, name, driver) in kinds {
        let up = found("unexpected_interface", |site| {
            site.set(name, interface(kind, driver, &[]));
        });
        assert_eq!(up, format!("{name}: critical"));
        let idle = found("unexpected_interface", |site| {
            site.set(name, down(interface(kind, driver, &[])));
        });
        assert_eq!(idle, format!("{name}: warning"));
        let allowed = found("unexpected_interface", |site| {
            site.set(name, interface(kind, driver, &[]));
            let pattern = format!("{}*", &name[..3]);
            site.rules = format!("expectations: [{{isolation: {{interfaces: ['{pattern}']}}}}]");
        });
        assert_eq!(allowed, "ok");
    }
}

#[test]
fn the_kernels_own_tunnel_devices_are_no_finding_until_they_carry_something() {
    let sit = || down(interface(LinkKind::Tunnel, "sit", &[]));
    let check = |sit0: Interface| found("unexpected_interface", |site| site.set("sit0", sit0));
    assert_eq!(check(sit()), "ok");
    assert_eq!(check(Interface { admin_up: true, ..sit() }), "sit0: critical");
    assert_eq!(
        check(Interface { addresses: vec!["10.1.1.1/24".parse().unwrap()], ..sit() }),
        "sit0: warning"
    );
}

#[test]
fn a_bridge_that_joins_wires_is_a_warning() {
    let check = |kinds: &[LinkKind]| {
        found("unexpected_interface", |site| {
            site.set("br0", interface(LinkKind::Bridge, "bridge", &["10.1.7.21/16"]));
            for (kind, nth) in kinds.iter().zip(1..) {
                site.set(&format!("if{nth}"), member_of("br0", *kind, "any"));
            }
        })
    };
    assert_eq!(check(&[LinkKind::Ethernet, LinkKind::Virtual, LinkKind::Virtual]), "ok");
    assert_eq!(check(&[LinkKind::Ethernet, LinkKind::Ethernet]), "br0: warning");
    assert_eq!(check(&[LinkKind::Ethernet, LinkKind::Vlan]), "br0: warning");
}

#[test]
fn a_host_that_hides_its_interfaces_is_unknown() {
    let hidden = |site: &mut Site| site.remove_all(FactKind::Interface);
    assert_eq!(found("foreign_address", hidden), ": unknown");
    assert_eq!(found("unexpected_interface", hidden), ": unknown");
    let unread = |site: &mut Site| site.unreadable(FactKind::Interface, "eth1", "gone");
    assert_eq!(found("foreign_address", unread), "eth1: unknown");
    assert_eq!(found("forwarding", |site| site.remove(FactKind::Forwarding, "")), ": unknown");
}

#[test]
fn a_host_that_names_thousands_of_neighbours_floods_nothing() {
    use bailey_rules::check::{MAX_VERDICTS, Status};
    let mut site = Site::new();
    for nth in 0..9000_u32 {
        let address = std::net::Ipv4Addr::from(0xac14_0000 + nth).to_string();
        site.set(&format!("{address} dev eth0"), neighbour(&address, "eth0"));
    }
    let verdicts = site.verdicts("foreign_neighbour");
    assert_eq!(verdicts.len(), MAX_VERDICTS + 1);
    let (rest, listed) = verdicts.split_last().unwrap();
    assert!(listed.iter().all(|verdict| verdict.status == Status::Critical));
    assert_eq!((rest.subject.as_str(), rest.status), ("(more)", Status::Unknown));
    let bridge = why("unexpected_interface", |site| {
        site.set("br0", interface(LinkKind::Bridge, "bridge", &[]));
        for nth in 0..1000 {
            site.set(&format!("eth{nth}"), member_of("br0", LinkKind::Ethernet, "e1000"));
        }
    });
    assert!(bridge.len() < 200, "{bridge}");
}

#[test]
fn a_name_as_long_as_it_may_be_does_no_harm() {
    let name = "x".repeat(MAX_TEXT);
    let said = found("unexpected_interface", |site| {
        site.set(&name, interface(LinkKind::Tunnel, "tun", &[]));
    });
    assert_eq!(said, format!("{name}: critical"));
}
