//! What the policy lets through, said once: every flow, exchange point and way of management as who
//! may open which connections to whom. The compiler, the judgement of a policy against its own
//! invariants and the reference answer to "may this pass?" all read this list.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::addresses::Addresses;
use super::service::{Carried, Ports, Service};
use super::{Party, Policy};
use crate::name::ZoneName;

/// Where a permit comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The nth flow of the file, from 1.
    Flow(usize),
    /// The exchange point of this name.
    Exchange(String),
    /// The way on which hosts of the zone are administered.
    Management(ZoneName),
    /// The way on which hosts of the zone report.
    Collector(ZoneName),
}

/// Who may open connections to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// Where it comes from.
    pub origin: Origin,
    /// The line of the file it stands on.
    pub line: u64,
    /// Who opens.
    pub from: Addresses,
    /// To whom.
    pub to: Addresses,
    /// What.
    pub service: Service,
}

/// The first packet of a connection, as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// Who opens it.
    pub from: IpAddr,
    /// To whom.
    pub to: IpAddr,
    /// What it carries.
    pub carried: Carried,
}

impl Permit {
    /// Whether it lets a connection be opened.
    #[must_use]
    pub fn allows(&self, opening: &Opening) -> bool {
        let family = match opening.carried {
            Carried::Icmp(_) => opening.from.is_ipv4() && opening.to.is_ipv4(),
            Carried::Icmpv6(_) => opening.from.is_ipv6() && opening.to.is_ipv6(),
            Carried::Tcp(_) | Carried::Udp(_) => opening.from.is_ipv4() == opening.to.is_ipv4(),
        };
        family
            && self.from.contains(opening.from)
            && self.to.contains(opening.to)
            && self.service.holds(opening.carried)
    }
}

impl Policy {
    /// The addresses that a party stands for.
    #[must_use]
    pub fn addresses(&self, party: &Party) -> Addresses {
        let networks_of_zones = || self.zones.values().flat_map(|zone| zone.networks.clone());
        match party {
            Party::Zone(zone) => {
                self.zones.get(zone).into_iter().flat_map(|zone| zone.networks.clone()).collect()
            }
            Party::Group(group) => {
                let members = self.groups.get(group).into_iter().flat_map(|group| &group.members);
                members.flat_map(|member| self.networks_of_member(member)).collect()
            }
            Party::Host(_) | Party::Network(_) => {
                self.networks_of_member(party).into_iter().collect()
            }
            Party::Internet => networks_of_zones().collect::<Addresses>().rest_of_the_world(),
        }
    }

    /// The networks of a host or network, which are what a group can hold.
    fn networks_of_member(&self, member: &Party) -> Vec<IpNet> {
        match member {
            Party::Host(host) => self
                .hosts
                .get(host)
                .into_iter()
                .flat_map(|host| host.addresses.iter().copied().map(IpNet::from))
                .collect(),
            Party::Network(network) => vec![*network],
            Party::Zone(_) | Party::Group(_) | Party::Internet => Vec::new(),
        }
    }

    /// Everything that may pass: management first, then exchange points by name, then flows in the
    /// order of the file.
    #[must_use]
    pub fn permits(&self) -> Vec<Permit> {
        let mut permits = Vec::new();
        for (zone, management) in &self.management {
            let hosts = self.addresses(&Party::Zone(zone.clone()));
            permits.push(Permit {
                origin: Origin::Management(zone.clone()),
                line: management.line,
                from: self.addresses(&management.from),
                to: hosts.clone(),
                service: self.services.get(&management.service).cloned().unwrap_or_default(),
            });
            for collector in &management.collectors {
                let port = Ports { first: collector.port(), last: collector.port() };
                permits.push(Permit {
                    origin: Origin::Collector(zone.clone()),
                    line: management.line,
                    from: hosts.clone(),
                    to: [collector.ip().into()].into_iter().collect(),
                    service: Service { tcp: vec![port], ..Service::default() },
                });
            }
        }
        for (name, point) in &self.exchange_points {
            let service = self.services.get(&point.service).cloned().unwrap_or_default();
            let (from, to) = (self.addresses(&point.from), self.addresses(&point.to));
            let at_end = |end: &Party| -> Addresses {
                let zones = self.zones_of(end);
                let here = |host: &&crate::name::HostName| {
                    self.hosts.get(*host).is_some_and(|entry| zones.contains(&Some(&entry.zone)))
                };
                let hosts = point.hosts.iter().filter(here);
                hosts.flat_map(|host| self.networks_of_member(&Party::Host(host.clone()))).collect()
            };
            let permit = |from: Addresses, to: Addresses| Permit {
                origin: Origin::Exchange(name.clone()),
                line: point.line,
                from,
                to,
                service: service.clone(),
            };
            let (leaving, arriving) = (at_end(&point.from), at_end(&point.to));
            if !arriving.is_empty() {
                permits.push(permit(from, arriving));
            }
            if !leaving.is_empty() {
                permits.push(permit(leaving, to));
            }
        }
        permits.extend(self.flows.iter().enumerate().map(|(nth, flow)| Permit {
            origin: Origin::Flow(nth + 1),
            line: flow.line,
            from: self.addresses(&flow.from),
            to: self.addresses(&flow.to),
            service: self.services.get(&flow.service).cloned().unwrap_or_default(),
        }));
        permits
    }

    /// Whether the policy lets a connection be opened, and what in it says so. Packets of a host to
    /// itself are not the policy's. For many questions ask [`Policy::permits`] once.
    #[must_use]
    pub fn allows(&self, opening: &Opening) -> Option<Permit> {
        self.permits().into_iter().find(|permit| permit.allows(opening))
    }
}
