//! What the policy lets through, said once: every flow, exchange point and way of management as who
//! may open which connections to whom. The compiler, the judgement of a policy against its own
//! invariants and the reference answer to "may this pass?" all read this list.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use super::addresses::Addresses;
use super::service::{Carried, Ports, Service};
use super::{ExchangePoint, Party, Policy};
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
    pub from: Arc<Addresses>,
    /// To whom.
    pub to: Arc<Addresses>,
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
        let mut ends = Ends::new(self);
        let mut permits = Vec::new();
        for (zone, management) in &self.management {
            let hosts = ends.of(&Party::Zone(zone.clone()));
            permits.push(Permit {
                origin: Origin::Management(zone.clone()),
                line: management.line,
                from: ends.of(&management.from),
                to: Arc::clone(&hosts),
                service: self.service(&management.service),
            });
            for collector in &management.collectors {
                let port = Ports { first: collector.port(), last: collector.port() };
                permits.push(Permit {
                    origin: Origin::Collector(zone.clone()),
                    line: management.line,
                    from: Arc::clone(&hosts),
                    to: Arc::new([IpNet::from(collector.ip())].into_iter().collect()),
                    service: Service { tcp: vec![port], ..Service::default() },
                });
            }
        }
        for (name, point) in &self.exchange_points {
            let permit = |from: Arc<Addresses>, to: Arc<Addresses>| Permit {
                origin: Origin::Exchange(name.clone()),
                line: point.line,
                from,
                to,
                service: self.service(&point.service),
            };
            let arriving = ends.hosts_at(point, &point.to);
            if !arriving.is_empty() {
                permits.push(permit(ends.of(&point.from), arriving));
            }
            let leaving = ends.hosts_at(point, &point.from);
            if !leaving.is_empty() {
                permits.push(permit(leaving, ends.of(&point.to)));
            }
        }
        permits.extend(self.flows.iter().enumerate().map(|(nth, flow)| Permit {
            origin: Origin::Flow(nth + 1),
            line: flow.line,
            from: ends.of(&flow.from),
            to: ends.of(&flow.to),
            service: self.service(&flow.service),
        }));
        permits
    }

    /// A service by its name, which the reader has seen to be defined.
    fn service(&self, name: &str) -> Service {
        self.services.get(name).cloned().unwrap_or_default()
    }

    /// Whether the policy lets a connection be opened, and what in it says so. Packets of a host to
    /// itself are not the policy's. For many questions ask [`Policy::permits`] once.
    #[must_use]
    pub fn allows(&self, opening: &Opening) -> Option<Permit> {
        self.permits().into_iter().find(|permit| permit.allows(opening))
    }
}

/// Addresses of parties, each worked out once.
pub(super) struct Ends<'a> {
    policy: &'a Policy,
    known: BTreeMap<Party, Arc<Addresses>>,
}

impl<'a> Ends<'a> {
    /// Of the parties of a policy.
    pub(super) const fn new(policy: &'a Policy) -> Self {
        Self { policy, known: BTreeMap::new() }
    }

    /// The addresses of one.
    pub(super) fn of(&mut self, party: &Party) -> Arc<Addresses> {
        if let Some(known) = self.known.get(party) {
            return Arc::clone(known);
        }
        let addresses = Arc::new(self.policy.addresses(party));
        self.known.insert(party.clone(), Arc::clone(&addresses));
        addresses
    }

    /// The addresses that the hosts of an exchange point have in the zones of one of its ends. A host
    /// that forwards has others too, and they are not meant.
    fn hosts_at(&mut self, point: &ExchangePoint, end: &Party) -> Arc<Addresses> {
        let zones: Vec<Party> =
            self.policy.zones_of(end).into_iter().flatten().cloned().map(Party::Zone).collect();
        let zones: Vec<Arc<Addresses>> = zones.iter().map(|zone| self.of(zone)).collect();
        let entries = point.hosts.iter().filter_map(|host| self.policy.hosts.get(host));
        let addresses = entries.flat_map(|entry| entry.addresses.iter().copied());
        let here = addresses.filter(|address| zones.iter().any(|zone| zone.contains(*address)));
        Arc::new(here.map(IpNet::from).collect())
    }
}
