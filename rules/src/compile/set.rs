//! The named sets of a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{Addresses, Party, Policy};

/// Networks and ranges on a line of a set.
const A_LINE: usize = 4;

/// The longest name that a set gets from the policy, in octets. The kernel takes 255
/// (`NFT_SET_MAXNAMELEN`), and a host's name alone may have as many.
const MAX_NAME: usize = 200;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order of the text.
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// How nft(8) calls it in a match.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    const fn end(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    const fn set_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }
}

/// Sets by their content, and those that the table uses.
#[derive(Debug, Clone)]
pub(super) struct Sets {
    /// What the policy calls them, which is the same for every host.
    known: Arc<BTreeMap<Addresses, String>>,
    names: BTreeMap<Addresses, String>,
    used: BTreeMap<(String, Family), Vec<String>>,
    unnamed: usize,
}

impl Sets {
    /// Knows what the policy calls its zones, groups and the Internet.
    pub(super) fn of(policy: &Policy) -> Self {
        let mut sets = Self {
            known: Arc::default(),
            names: BTreeMap::new(),
            used: BTreeMap::new(),
            unnamed: 0,
        };
        for zone in policy.zones.keys() {
            let all = policy.addresses(&Party::Zone(zone.clone()));
            sets.call(&all, &format!("zone-{zone}"));
        }
        for group in policy.groups.keys() {
            let all = policy.addresses(&Party::Group(group.clone()));
            sets.call(&all, &format!("group-{group}"));
        }
        for host in policy.hosts.keys() {
            let all = policy.addresses(&Party::Host(host.clone()));
            sets.call(&all, &format!("host-{host}"));
        }
        sets.call(&policy.addresses(&Party::Internet), "internet");
        sets.known = Arc::new(std::mem::take(&mut sets.names));
        sets
    }

    /// Gives a set of addresses a name, unless it has one or the name is too long.
    pub(super) fn call(&mut self, all: &Addresses, name: &str) {
        if name.len() <= MAX_NAME && !self.known.contains_key(all) {
            self.names.entry(all.clone()).or_insert_with(|| name.to_owned());
        }
    }

    /// How a rule names the addresses of one family: as a network or range when it is only one, else
    /// as a set. `None` when there are none.
    pub(super) fn term(&mut self, all: &Addresses, family: Family) -> Option<String> {
        let networks: Vec<String> = match family {
            Family::V4 => all.v4_ranges().iter().map(ToString::to_string).collect(),
            Family::V6 => all.v6_ranges().iter().map(ToString::to_string).collect(),
        };
        match networks.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            _ => {
                let name = match self.known.get(all).or_else(|| self.names.get(all)) {
                    Some(name) => name.clone(),
                    None => {
                        self.unnamed += 1;
                        let name = format!("networks-{}", self.unnamed);
                        self.names.insert(all.clone(), name.clone());
                        name
                    }
                };
                let term = format!("@{name}-{}", family.end());
                self.used.entry((name, family)).or_insert(networks);
                Some(term)
            }
        }
    }

    /// Writes the sets that are used.
    pub(super) fn write(&self, out: &mut String) {
        for ((name, family), networks) in &self.used {
            let called = format!("{name}-{}", family.end());
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "\tset {called} {{\n\t\ttype {}\n\t\tflags interval\n\t\telements = {{ ",
                family.set_type()
            );
            for (nth, line) in networks.chunks(A_LINE).enumerate() {
                if nth > 0 {
                    out.push_str(",\n\t\t\t     ");
                }
                out.push_str(&line.join(", "));
            }
            out.push_str(" }\n\t}\n\n");
        }
    }
}
