//! The machines of the demo and the wires between them: the reference site in small.
//!
//! A machine is a network namespace with an agent and an enforcer in it; a segment is a switch, a
//! bridge in a namespace of its own. The namespaces of the machine that all this runs on stay as they
//! are.

use std::fmt::Write as _;

use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::policy::Policy;

use super::name::DemoName;
use crate::netns::Netns;

/// What may pass on the demo's site.
pub(super) const POLICY: &str = include_str!("policy.yaml");
/// What the demo's site does not demand of its machines.
pub(super) const EXPECTATIONS: &str = include_str!("expectations.yaml");
/// The machine of the collector.
pub(super) const COLLECTOR: &str = "collector";
/// Where agents reach the collector.
pub(super) const AGENTS: &str = "10.2.0.5:7710";

/// The switches, each of one network.
pub(super) const SEGMENTS: [&str; 7] =
    ["sw-inner", "sw-outer", "sw-exchange", "sw-rooms", "sw-county", "sw-tax", "sw-exit"];

/// A network card: its name, the switch that it is plugged into, its addresses.
pub(super) struct Card(&'static str, &'static str, &'static [&'static str]);

/// A machine.
pub(super) struct Machine {
    /// Its name, in the policy too where Bailey watches it.
    pub(super) name: &'static str,
    cards: &'static [Card],
    routes: &'static [&'static str],
    watched: bool,
    forwards: bool,
}

const fn machine(
    name: &'static str,
    cards: &'static [Card],
    routes: &'static [&'static str],
) -> Machine {
    Machine { name, cards, routes, watched: true, forwards: false }
}

const BY_FW_IN: &[&str] = &["default via 10.1.0.1", "default via fd00:1::1"];
const BY_FW_OUT: &[&str] = &["default via 172.20.0.1", "default via fd00:2::1"];

/// Every machine.
pub(super) const MACHINES: [Machine; 16] = [
    // The collector first: the others report to it.
    machine(
        COLLECTOR,
        &[Card("eth0", "sw-rooms", &["10.2.0.5/24", "fd00:2:1::5/64"])],
        &[
            "10.1.0.0/16 via 10.2.0.1",
            "10.32.0.0/13 via 10.2.0.1",
            "10.200.0.0/16 via 10.2.0.1",
            "10.250.0.0/24 via 10.2.0.1",
            "172.20.0.0/16 via 10.2.0.2",
            "fd00:1::/48 via fd00:2:1::1",
            "fd00:32::/32 via fd00:2:1::1",
            "fd00:250::/64 via fd00:2:1::1",
            "fd00:2::/48 via fd00:2:1::2",
        ],
    ),
    Machine {
        forwards: true,
        // That a packet between the networks ends here is the work of rules: there is a way.
        ..machine(
            "fw-in",
            &[
                Card("rooms", "sw-rooms", &["10.2.0.1/24", "fd00:2:1::1/64"]),
                Card("inner", "sw-inner", &["10.1.0.1/16", "fd00:1::1/48"]),
                Card("exchange", "sw-exchange", &["10.250.0.1/24", "fd00:250::1/64"]),
                Card("county", "sw-county", &["10.32.0.1/13", "fd00:32::1/32"]),
                Card("tax", "sw-tax", &["10.200.0.1/16"]),
            ],
            &["default via 10.250.0.2", "default via fd00:250::2"],
        )
    },
    Machine {
        forwards: true,
        ..machine(
            "fw-out",
            &[
                Card("rooms", "sw-rooms", &["10.2.0.2/24", "fd00:2:1::2/64"]),
                Card("outer", "sw-outer", &["172.20.0.1/16", "fd00:2::1/48"]),
                Card("exchange", "sw-exchange", &["10.250.0.2/24", "fd00:250::2/64"]),
                Card("exit", "sw-exit", &["203.0.113.2/24"]),
            ],
            &[
                "default via 203.0.113.1",
                "10.1.0.0/16 via 10.250.0.1",
                "10.32.0.0/13 via 10.250.0.1",
                "10.200.0.0/16 via 10.250.0.1",
                "fd00:1::/48 via fd00:250::1",
                "fd00:32::/32 via fd00:250::1",
            ],
        )
    },
    machine(
        "admin-in-1",
        &[Card("eth0", "sw-inner", &["10.1.9.11/16", "fd00:1:0:9::11/48"])],
        BY_FW_IN,
    ),
    machine("dns-in", &[Card("eth0", "sw-inner", &["10.1.0.53/16", "fd00:1::53/48"])], BY_FW_IN),
    machine(
        "mail-in-1",
        &[Card("eth0", "sw-inner", &["10.1.2.10/16", "fd00:1::2:10/48"])],
        BY_FW_IN,
    ),
    machine("oa-web", &[Card("eth0", "sw-inner", &["10.1.3.10/16", "fd00:1::3:10/48"])], BY_FW_IN),
    machine(
        "oracle-fin",
        &[Card("eth0", "sw-inner", &["10.1.4.10/16"])],
        &["default via 10.1.0.1"],
    ),
    machine(
        "dns-out",
        &[Card("eth0", "sw-outer", &["172.20.0.53/16", "fd00:2::53/48"])],
        BY_FW_OUT,
    ),
    machine(
        "www-1",
        &[Card("eth0", "sw-outer", &["172.20.1.10/16", "fd00:2::1:10/48"])],
        BY_FW_OUT,
    ),
    machine("proxy", &[Card("eth0", "sw-outer", &["172.20.0.8/16", "fd00:2::8/48"])], BY_FW_OUT),
    machine(
        "ex-front",
        &[Card("eth0", "sw-exchange", &["10.250.0.10/24", "fd00:250::10/64"])],
        // What it says to the collector goes the way that the collector's answers come.
        &["default via 10.250.0.2", "default via fd00:250::2", "10.2.0.0/24 via 10.250.0.1"],
    ),
    machine(
        "ex-back",
        &[Card("eth0", "sw-exchange", &["10.250.0.11/24", "fd00:250::11/64"])],
        &["default via 10.250.0.1", "default via fd00:250::1"],
    ),
    machine(
        "county-1",
        &[Card("eth0", "sw-county", &["10.32.1.10/13", "fd00:32::1:10/32"])],
        &["default via 10.32.0.1", "default via fd00:32::1"],
    ),
    machine("tax-1", &[Card("eth0", "sw-tax", &["10.200.1.10/16"])], &["default via 10.200.0.1"]),
    // Somebody on the Internet (TEST-NET-2, RFC 5737), behind the provider's router.
    Machine {
        watched: false,
        ..machine(
            "internet",
            &[Card("eth0", "sw-exit", &["203.0.113.1/24"]), Card("lo", "", &["198.51.100.10/32"])],
            &["172.20.0.0/16 via 203.0.113.2", "10.0.0.0/8 via 203.0.113.2"],
        )
    },
];

/// One demo's site: its namespaces and its policy.
#[derive(Clone)]
pub(super) struct Site {
    demo: DemoName,
    /// What may pass on it.
    pub(super) policy: Policy,
}

/// A machine that Bailey watches.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) host: HostName,
    pub(super) zone: ZoneName,
    pub(super) netns: Netns,
}

impl Site {
    /// The site of a demo, whether it is built or not.
    pub(super) fn of(demo: &DemoName) -> Self {
        let policy = Policy::parse("policy.yaml", POLICY).expect("a test reads the demo's policy");
        Self { demo: demo.clone(), policy }
    }

    /// The namespace of a machine or a switch.
    pub(super) fn netns(&self, name: &str) -> Netns {
        Netns::called(format!("{}{name}", self.demo.prefix()))
    }

    /// The machines that Bailey watches, the collector's first.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let watched = MACHINES.iter().filter(|machine| machine.watched);
        watched
            .map(|machine| {
                let host: HostName = machine.name.parse().expect("a test reads the names");
                let zone = self.policy.hosts[&host].zone.clone();
                Watched { host, zone, netns: self.netns(machine.name) }
            })
            .collect()
    }

    /// Makes every namespace and wire. Nothing filters yet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn build(&self) -> anyhow::Result<()> {
        for name in SEGMENTS.iter().copied().chain(MACHINES.iter().map(|machine| machine.name)) {
            Netns::add(self.netns(name).name())?;
        }
        for machine in &MACHINES {
            self.netns(machine.name).batch(&self.wiring(machine))?;
        }
        for switch in SEGMENTS {
            let mut lines =
                "link set lo up\nlink add bridge type bridge\nlink set bridge up\n".to_owned();
            for machine in &MACHINES {
                if machine.cards.iter().any(|Card(_, plugged, _)| *plugged == switch) {
                    plug(&mut lines, machine.name);
                }
            }
            self.netns(switch).batch(&lines)?;
        }
        for machine in MACHINES.iter().filter(|machine| machine.forwards) {
            self.netns(machine.name).inside(|| {
                std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
                Ok(std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?)
            })?;
        }
        // As the router of a provider does, it asks for neighbours with its address on the wire, and
        // not with the one behind it (ip-sysctl, arp_announce).
        self.netns("internet")
            .inside(|| Ok(std::fs::write("/proc/sys/net/ipv4/conf/all/arp_announce", "2")?))?;
        Ok(())
    }

    /// The lines of `ip` that make a machine's cards, addresses and routes.
    fn wiring(&self, machine: &Machine) -> String {
        let mut lines = "link set lo up\n".to_owned();
        // Writing to a String cannot fail.
        for Card(card, switch, addresses) in machine.cards {
            if !switch.is_empty() {
                let (port, switch) = (machine.name, self.netns(switch));
                let switch = switch.name();
                let _ =
                    writeln!(lines, "link add {card} type veth peer name {port} netns {switch}");
                let _ = writeln!(lines, "link set {card} up");
            }
            for address in *addresses {
                // Nobody else has it: without the wait for that it works at once (RFC 4862, 5.4).
                let sure = if address.contains(':') { " nodad" } else { "" };
                let _ = writeln!(lines, "addr add {address} dev {card}{sure}");
            }
        }
        for route in machine.routes {
            let _ = writeln!(lines, "route add {route}");
        }
        lines
    }

    /// Plugs a new card of a machine into a switch. The other end is called as the card and the
    /// machine are.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn plug(&self, machine: &str, card: &str, switch: &str) -> anyhow::Result<()> {
        let (machine, switch) = (self.netns(machine), self.netns(switch));
        machine.wire(card, &switch, card)?;
        let mut lines = String::new();
        plug(&mut lines, card);
        switch.batch(&lines)
    }
}

/// The lines that make an interface of a switch one of its ports.
fn plug(lines: &mut String, port: &str) {
    let _ = writeln!(lines, "link set {port} master bridge\nlink set {port} up");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use super::*;

    fn site() -> Site {
        Site::of(&"demo".parse().unwrap())
    }

    #[test]
    fn the_machines_have_the_addresses_that_the_policy_says() {
        let site = site();
        let machines: BTreeSet<HostName> =
            site.watched().into_iter().map(|machine| machine.host).collect();
        let named: BTreeSet<HostName> = site.policy.hosts.keys().cloned().collect();
        assert_eq!(machines, named);
        for machine in MACHINES.iter().filter(|machine| machine.watched) {
            let wired: BTreeSet<IpAddr> = machine
                .cards
                .iter()
                .flat_map(|Card(_, _, addresses)| *addresses)
                .map(|address| address.split('/').next().unwrap().parse().unwrap())
                .collect();
            let host: HostName = machine.name.parse().unwrap();
            let entry = &site.policy.hosts[&host];
            assert_eq!(wired, entry.addresses.iter().copied().collect(), "{}", machine.name);
            assert_eq!(machine.forwards, entry.forwards, "{}", machine.name);
        }
    }

    #[test]
    fn every_card_is_plugged_into_a_switch_that_exists_and_has_a_name_the_kernel_takes() {
        for machine in &MACHINES {
            assert!(machine.name.len() <= 15, "{} names a port of a switch", machine.name);
            for Card(card, switch, _) in machine.cards {
                assert!(SEGMENTS.contains(switch) || *card == "lo", "{}", machine.name);
            }
        }
    }

    #[test]
    fn every_host_reports_to_where_the_collector_listens() {
        for (zone, management) in &site().policy.management {
            let collectors: Vec<String> =
                management.collectors.iter().map(ToString::to_string).collect();
            assert_eq!(collectors, [AGENTS], "{zone}");
        }
    }

    #[test]
    fn the_expectations_are_well_formed() {
        let file = ("expectations.yaml".to_owned(), EXPECTATIONS.to_owned());
        bailey_rules::expectation::RuleFiles::parse(&[file]).unwrap();
    }
}
