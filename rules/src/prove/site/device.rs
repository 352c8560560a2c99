//! Devices that have no agent and print no listing: a switch or firewall appliance, as its administrator
//! declares it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;

use super::Host;
use crate::model::field::{Field, ICMP, ICMPV6, IPV4, IPV6, Key, TCP, UDP, address, device, kind};
use crate::model::interval::{Interval, Intervals};
use crate::model::network::{
    Address, Hop, Interface, MAIN, Network, NotIp, Route, Table as Routes,
};
use crate::model::ruleset::{
    Base, Chain, ChainKind, Family, Hook, Maker, Match, Origin, Place, Rule, Ruleset, Statement,
    Table, Verdict,
};
use crate::name::ZoneName;

/// Lines of a filter, at most.
pub const MAX_LINES: usize = 10_000;

/// A device as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The zone it is in, where it is in one.
    pub zone: Option<ZoneName>,
    /// Its interfaces, each with its addresses and the length of their networks: `10.1.0.254/16`.
    pub interfaces: BTreeMap<String, Vec<IpNet>>,
    /// Its routes as `ip route` prints them; those of its own networks go without saying.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Whether it passes packets on.
    #[serde(default)]
    pub forwards: bool,
    /// What it lets through: the first line that fits decides, and what fits none is dropped. Without one
    /// it lets everything through. A line is `permit` or `deny`, what (`ip`, `tcp`, `udp`, `icmp`), and
    /// optionally `from NETWORK`, `to NETWORK`, `port N` or `port N-M`, `in INTERFACE`, `out INTERFACE`.
    pub filter: Option<Vec<String>>,
}

/// A declaration that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongDevice {
    /// A line of its filter.
    #[error(
        "line {line} of its filter, \"{text}\": {what}; write such as: permit tcp from 10.1.0.0/16 to \
         172.20.0.0/16 port 443"
    )]
    Line {
        /// The line, from 1.
        line: usize,
        /// What it says.
        text: String,
        /// What is wrong with it.
        what: String,
    },
    /// A route.
    #[error("its routes: {0}")]
    Route(#[from] NotIp),
    /// A name of an interface.
    #[error("\"{0}\" is no name of an interface: 1 to 15 octets")]
    Interface(String),
    /// Its filter is too long.
    #[error("its filter has more than {MAX_LINES} lines: sum them up")]
    TooLong,
}

impl Device {
    /// The device as a proof takes it.
    ///
    /// # Errors
    /// When a line of its filter, a route or a name is not understood.
    pub fn host(&self) -> Result<Host, WrongDevice> {
        let mut network = Network { interfaces: Some(Vec::new()), routes: None, rules: None };
        network.add_routes(&self.routes.join("\n"))?;
        let tables = network.routes.get_or_insert_default();
        let main: &mut Routes = tables.entry(MAIN).or_default();
        let mut interfaces = Vec::new();
        for (name, own) in &self.interfaces {
            let wrong = || WrongDevice::Interface(name.clone());
            let number = device(name).filter(|number| *number != 0).ok_or_else(wrong)?;
            for one in own {
                let hops = vec![Hop { device: Some(number), via: None }];
                main.add(Route::plain(one.trunc(), kind::UNICAST, hops));
            }
            let addresses = own.iter().map(|one| Address::within(*one, one.addr()));
            interfaces.push(Interface::named(number, addresses.collect()));
        }
        network.interfaces = Some(interfaces);
        Ok(Host {
            zone: self.zone.clone(),
            ruleset: Arc::new(self.ruleset()?),
            network,
            forwards_v4: self.forwards,
            forwards_v6: self.forwards,
            ..Host::default()
        })
    }

    fn ruleset(&self) -> Result<Ruleset, WrongDevice> {
        let Some(filter) = &self.filter else { return Ok(Ruleset::default()) };
        if filter.len() > MAX_LINES {
            return Err(WrongDevice::TooLong);
        }
        let mut rules = Vec::new();
        for (line, text) in (1..).zip(filter) {
            let wrong = |what: String| WrongDevice::Line { line, text: text.clone(), what };
            for statements in statements(text).map_err(wrong)? {
                rules.push(Rule {
                    statements,
                    origin: Origin {
                        place: Place::Line(u32::try_from(line).unwrap_or(u32::MAX)),
                        text: text.clone(),
                        comment: None,
                        counted: None,
                    },
                });
            }
        }
        let base = Base {
            kind: ChainKind::Filter,
            hook: Hook::Forward,
            priority: 0,
            accepts: false,
            devices: Vec::new(),
        };
        let chain = Chain { name: "filter".to_owned(), base: Some(base), rules };
        Ok(Ruleset {
            tables: vec![Table {
                family: Family::Inet,
                name: "declared".to_owned(),
                maker: Maker::Nft,
                dormant: false,
                chains: vec![chain],
                sets: Vec::new(),
            }],
        })
    }
}

/// What a line does: one rule, or one for each version where it is about ICMP.
fn statements(line: &str) -> Result<Vec<Vec<Statement>>, String> {
    let mut words = line.split_whitespace();
    let verdict = match words.next() {
        Some("permit") => Verdict::Accept,
        Some("deny") => Verdict::Drop,
        _ => return Err("it begins with permit or deny".to_owned()),
    };
    let is = |field: Field, values: Intervals| {
        Statement::Match(Match::In { key: Key::whole(field), values, not: false })
    };
    let protocols: &[&[u8]] = match words.next() {
        Some("ip") => &[&[]],
        Some("tcp") => &[&[TCP]],
        Some("udp") => &[&[UDP]],
        Some("icmp") => &[&[ICMP], &[ICMPV6]],
        _ => return Err("what it is about is ip, tcp, udp or icmp".to_owned()),
    };
    let has_ports = matches!(protocols, [[TCP | UDP]]);
    let mut conditions = Vec::new();
    let mut version: Option<bool> = None;
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("nothing stands behind {word}"))?;
        match word {
            "from" | "to" => {
                if value == "any" {
                    continue;
                }
                let network = network(value)
                    .ok_or_else(|| format!("{value} is neither a network nor any"))?;
                let v6 = network.addr().is_ipv6();
                if version.is_some_and(|version| version != v6) {
                    return Err("its ends are of two versions of IP".to_owned());
                }
                version = Some(v6);
                let field = match (word, v6) {
                    ("from", false) => Field::Source4,
                    ("from", true) => Field::Source6,
                    (_, false) => Field::Destination4,
                    (_, true) => Field::Destination6,
                };
                let first = address(network.network());
                let length = u32::from(network.prefix_len());
                let values = Interval::prefix(first, length, field.bits());
                conditions.push(is(field, values.into_iter().collect()));
            }
            "port" if has_ports => {
                let (first, last) = value.split_once('-').unwrap_or((value, value));
                let read = |text: &str| text.parse::<u16>().ok().map(u128::from);
                let ports = read(first).zip(read(last)).and_then(|(a, b)| Interval::new(a, b));
                let ports = ports.ok_or_else(|| format!("{value} is no port and no range"))?;
                conditions.push(is(Field::DestinationPort, ports.into()));
            }
            "in" | "out" => {
                let number = device(value).ok_or_else(|| format!("{value} is no interface"))?;
                let field = if word == "in" { Field::InputDevice } else { Field::OutputDevice };
                conditions.push(is(field, Intervals::one(number)));
            }
            other => return Err(format!("{other} is not understood here")),
        }
    }
    let rule = |protocol: &&[u8]| {
        let mut all = Vec::new();
        let of = match protocol {
            [ICMP] => Some(false),
            [ICMPV6] => Some(true),
            _ => version,
        };
        if let Some(v6) = of {
            let number = if v6 { IPV6 } else { IPV4 };
            all.push(is(Field::Version, Intervals::one(number)));
        }
        all.extend(protocol.iter().map(|one| is(Field::Protocol, Intervals::one((*one).into()))));
        all.extend(conditions.iter().cloned());
        all.push(Statement::Verdict(verdict));
        all
    };
    // ICMP of a version that the ends are not of fits nothing.
    let fits = |protocol: &&&[u8]| match protocol {
        [ICMP] => version != Some(true),
        [ICMPV6] => version != Some(false),
        _ => true,
    };
    Ok(protocols.iter().filter(fits).map(rule).collect())
}

fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}
