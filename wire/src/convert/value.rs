//! The value of every kind of fact, to its message and back.

use std::net::IpAddr;
use std::num::NonZeroU16;

use bailey_rules::expectation::{Ask, By};
use bailey_rules::fact::backup::{self, MAX_SNAPSHOTS};
use bailey_rules::fact::enforcement::{
    self, MAX_DRIFT_LINES, MAX_OTHER_TABLES, MAX_WAYS_ROUND, OrderRef,
};
use bailey_rules::fact::flows;
use bailey_rules::fact::links::Mac;
use bailey_rules::fact::{FactKind, FactValue, firewall, host, lines, links};
use bailey_rules::policy::Mode;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Bytes;
use ipnet::IpNet;

use super::bounds::{
    ConvertError, Problem, Within as _, fits, list, octets, permille, present, said, said_all,
    size, text, texts, time,
};
use super::order::{order_ref_from_wire, order_ref_to_wire};
use crate::v1;
use crate::v1::reading::Value;

/// The most packages or files that ask for a reboot.
pub const MAX_REBOOT_REASONS: usize = 32;
/// The most names of failed units.
pub const MAX_FAILED_UNITS: usize = 64;
/// The most addresses of one interface. An interface with more cannot be read: leaving some out
/// could leave out the one that matters.
pub const MAX_ADDRESSES: usize = 4096;
/// The most interfaces that forward by themselves.
pub const MAX_FORWARDING_INTERFACES: usize = 64;
/// The most tables of one packet filter.
pub const MAX_TABLES: usize = 256;

/// A domain type with a message of its own.
trait Message: Sized {
    type Wire;
    /// Fails only where a list is longer than may be sent.
    fn to_wire(&self) -> Result<Self::Wire, ConvertError>;
    fn from_wire(wire: Self::Wire) -> Result<Self, ConvertError>;
}

/// A value that lies elsewhere travels like any other.
impl<T: Message> Message for Box<T> {
    type Wire = T::Wire;

    fn to_wire(&self) -> Result<T::Wire, ConvertError> {
        T::to_wire(self)
    }

    fn from_wire(wire: T::Wire) -> Result<Self, ConvertError> {
        T::from_wire(wire).map(Self::new)
    }
}

macro_rules! values {
    ($($kind:ident($field:literal)),* $(,)?) => {
        /// The number of a kind on the wire.
        #[must_use]
        pub const fn kind_to_wire(kind: FactKind) -> v1::FactKind {
            match kind { $(FactKind::$kind => v1::FactKind::$kind,)* }
        }

        /// The kind behind a number; `None` for one that this version does not know.
        #[must_use]
        pub fn kind_from_wire(number: i32) -> Option<FactKind> {
            match v1::FactKind::try_from(number).ok()? {
                v1::FactKind::Unspecified => None,
                $(v1::FactKind::$kind => Some(FactKind::$kind),)*
            }
        }

        pub(super) fn value_to_wire(value: &FactValue) -> Result<Value, ConvertError> {
            Ok(match value { $(FactValue::$kind(value) => Value::$kind(value.to_wire()?),)* })
        }

        /// The value, or its words when it was unreadable.
        pub(super) fn value_from_wire(wire: Value) -> Result<Result<FactValue, String>, ConvertError> {
            Ok(Ok(match wire {
                Value::Unreadable(why) => return Ok(Err(text("unreadable", why)?)),
                $(Value::$kind(wire) => FactValue::$kind(Message::from_wire(wire).within($field)?),)*
            }))
        }
    };
}

values! {
    Identity("identity"),
    FileSystem("file_system"),
    Reboot("reboot"),
    Units("units"),
    Cpu("cpu"),
    Memory("memory"),
    Load("load"),
    Pressure("pressure"),
    Disk("disk"),
    Temperature("temperature"),
    Clock("clock"),
    Agent("agent"),
    Interface("interface"),
    Traffic("traffic"),
    Route("route"),
    Rule("rule"),
    Neighbour("neighbour"),
    Forwarding("forwarding"),
    Ruleset("ruleset"),
    Hook("hook"),
    Manager("manager"),
    BackupJob("backup_job"),
    BackupRepository("backup_repository"),
    Enforcement("enforcement"),
    RuleCounter("rule_counter"),
    SeenFlow("seen_flow"),
    FlowWatch("flow_watch"),
    LineQuality("line_quality"),
}

/// An enumeration, both ways. Zero is "nobody said", a number beyond is a newer version's.
macro_rules! words {
    ($to:ident, $from:ident, $domain:ty, $wire:ty, $($name:ident),*) => {
        const fn $to(value: $domain) -> $wire {
            match value { $(<$domain>::$name => <$wire>::$name,)* }
        }

        fn $from(field: &str, number: i32) -> Result<Option<$domain>, ConvertError> {
            match <$wire>::try_from(number) {
                Ok(<$wire>::Unspecified) => Ok(None),
                $(Ok(<$wire>::$name) => Ok(Some(<$domain>::$name)),)*
                Err(_) => Err(ConvertError::new(field, Problem::Newer(number))),
            }
        }
    };
}

words!(
    link_kind_to,
    link_kind_from,
    links::LinkKind,
    v1::LinkKind,
    Loopback,
    Ethernet,
    Bridge,
    Bond,
    Vlan,
    Virtual,
    Tunnel,
    Wireless,
    Usb,
    Modem,
    Other
);
words!(
    route_kind_to,
    route_kind_from,
    links::RouteKind,
    v1::RouteKind,
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
    Local
);
words!(reverse_path_to, reverse_path_from, links::ReversePath, v1::ReversePath, Off, Strict, Loose);
words!(duplex_to, duplex_from, links::Duplex, v1::Duplex, Half, Full);
words!(
    default_to,
    default_from,
    firewall::DefaultPolicy,
    v1::DefaultPolicy,
    NoChain,
    Accept,
    Drop,
    Reject,
    Unknown
);

words!(mode_to, mode_from, Mode, v1::RuleMode, Observe, Enforce);
words!(
    ended_to,
    ended_from,
    enforcement::Ended,
    v1::OrderEnded,
    Confirmed,
    NotConfirmed,
    Rebooted,
    RefusedByKernel,
    Superseded,
    Quarantined,
    QuarantineOver,
    Released
);
words!(
    drift_ended_to,
    drift_ended_from,
    enforcement::DriftEnded,
    v1::DriftEnded,
    Restored,
    Undone,
    Replaced
);
words!(
    round_by_to,
    round_by_from,
    enforcement::RoundBy,
    v1::RoundBy,
    Flowtable,
    Forwarded,
    Copied,
    Untracked,
    Rewritten
);

fn address_to(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address_from(field: &str, wire: &[u8]) -> Result<IpAddr, ConvertError> {
    if wire.len() == 4 {
        octets::<4>(field, wire, "4").map(IpAddr::from)
    } else {
        octets::<16>(field, wire, "4 or 16").map(IpAddr::from)
    }
}

fn network_to(network: IpNet) -> v1::Network {
    v1::Network { address: address_to(network.addr()), prefix: network.prefix_len().into() }
}

fn network_from(wire: &v1::Network) -> Result<IpNet, ConvertError> {
    let address = address_from("address", &wire.address)?;
    u8::try_from(wire.prefix).ok().and_then(|prefix| IpNet::new(address, prefix).ok()).ok_or_else(
        || {
            ConvertError::new(
                "prefix",
                Problem::OutOfRange { value: wire.prefix.into(), rule: "longer than the address" },
            )
        },
    )
}

fn mac_to(mac: Option<Mac>) -> Vec<u8> {
    mac.map(|mac| mac.0.to_vec()).unwrap_or_default()
}

fn mac_from(field: &str, wire: &[u8]) -> Result<Option<Mac>, ConvertError> {
    if wire.is_empty() {
        return Ok(None);
    }
    octets(field, wire, "0 or 6").map(|octets| Some(Mac(octets)))
}

impl Message for host::Identity {
    type Wire = v1::Identity;

    fn to_wire(&self) -> Result<v1::Identity, ConvertError> {
        Ok(v1::Identity {
            hostname: said(&self.hostname),
            os: said(&self.os),
            kernel: said(&self.kernel),
            machine: said(&self.machine),
            booted_at_millis: self.booted_at.as_millis(),
            machine_id_hash: said(&self.machine_id_hash),
            agent_version: said(&self.agent_version),
        })
    }

    fn from_wire(wire: v1::Identity) -> Result<Self, ConvertError> {
        Ok(Self {
            hostname: text("hostname", wire.hostname)?,
            os: text("os", wire.os)?,
            kernel: text("kernel", wire.kernel)?,
            machine: text("machine", wire.machine)?,
            booted_at: Timestamp::from_millis(wire.booted_at_millis),
            machine_id_hash: text("machine_id_hash", wire.machine_id_hash)?,
            agent_version: text("agent_version", wire.agent_version)?,
        })
    }
}

impl Message for host::FileSystem {
    type Wire = v1::FileSystem;

    fn to_wire(&self) -> Result<v1::FileSystem, ConvertError> {
        Ok(v1::FileSystem {
            device: said(&self.device),
            kind: said(&self.kind),
            total: self.total.0,
            available: self.available.0,
            inodes: self.inodes,
            inodes_available: self.inodes_available,
            read_only: self.read_only,
        })
    }

    fn from_wire(wire: v1::FileSystem) -> Result<Self, ConvertError> {
        Ok(Self {
            device: text("device", wire.device)?,
            kind: text("kind", wire.kind)?,
            total: Bytes(wire.total),
            available: Bytes(wire.available),
            inodes: wire.inodes,
            inodes_available: wire.inodes_available,
            read_only: wire.read_only,
        })
    }
}

impl Message for host::Reboot {
    type Wire = v1::Reboot;

    fn to_wire(&self) -> Result<v1::Reboot, ConvertError> {
        Ok(v1::Reboot {
            needed: self.needed,
            because: said_all("because", &self.because, MAX_REBOOT_REASONS)?,
        })
    }

    fn from_wire(wire: v1::Reboot) -> Result<Self, ConvertError> {
        Ok(Self {
            needed: wire.needed,
            because: texts("because", wire.because, MAX_REBOOT_REASONS)?,
        })
    }
}

impl Message for host::Units {
    type Wire = v1::Units;

    fn to_wire(&self) -> Result<v1::Units, ConvertError> {
        Ok(v1::Units {
            failed: said_all("failed", &self.failed, MAX_FAILED_UNITS)?,
            failed_count: self.failed_count,
        })
    }

    fn from_wire(wire: v1::Units) -> Result<Self, ConvertError> {
        Ok(Self {
            failed: texts("failed", wire.failed, MAX_FAILED_UNITS)?,
            failed_count: wire.failed_count,
        })
    }
}

impl Message for host::Cpu {
    type Wire = v1::Cpu;

    fn to_wire(&self) -> Result<v1::Cpu, ConvertError> {
        Ok(v1::Cpu {
            cores: self.cores,
            busy: self.busy.0.into(),
            io_wait: self.io_wait.0.into(),
            steal: self.steal.0.into(),
        })
    }

    fn from_wire(wire: v1::Cpu) -> Result<Self, ConvertError> {
        Ok(Self {
            cores: wire.cores,
            busy: permille("busy", wire.busy)?,
            io_wait: permille("io_wait", wire.io_wait)?,
            steal: permille("steal", wire.steal)?,
        })
    }
}

impl Message for host::Memory {
    type Wire = v1::Memory;

    fn to_wire(&self) -> Result<v1::Memory, ConvertError> {
        Ok(v1::Memory {
            total: self.total.0,
            available: self.available.0,
            swap_total: self.swap_total.0,
            swap_free: self.swap_free.0,
        })
    }

    fn from_wire(wire: v1::Memory) -> Result<Self, ConvertError> {
        Ok(Self {
            total: Bytes(wire.total),
            available: Bytes(wire.available),
            swap_total: Bytes(wire.swap_total),
            swap_free: Bytes(wire.swap_free),
        })
    }
}

impl Message for host::Load {
    type Wire = v1::Load;

    fn to_wire(&self) -> Result<v1::Load, ConvertError> {
        Ok(v1::Load { one: self.one, five: self.five, fifteen: self.fifteen })
    }

    fn from_wire(wire: v1::Load) -> Result<Self, ConvertError> {
        Ok(Self { one: wire.one, five: wire.five, fifteen: wire.fifteen })
    }
}

impl Message for host::Pressure {
    type Wire = v1::Pressure;

    fn to_wire(&self) -> Result<v1::Pressure, ConvertError> {
        Ok(v1::Pressure { some: self.some.0.into(), full: self.full.map(|part| part.0.into()) })
    }

    fn from_wire(wire: v1::Pressure) -> Result<Self, ConvertError> {
        Ok(Self {
            some: permille("some", wire.some)?,
            full: wire.full.map(|part| permille("full", part)).transpose()?,
        })
    }
}

impl Message for host::Disk {
    type Wire = v1::Disk;

    fn to_wire(&self) -> Result<v1::Disk, ConvertError> {
        Ok(v1::Disk { read: self.read.0, written: self.written.0, busy_millis: self.busy_millis })
    }

    fn from_wire(wire: v1::Disk) -> Result<Self, ConvertError> {
        Ok(Self {
            read: Bytes(wire.read),
            written: Bytes(wire.written),
            busy_millis: wire.busy_millis,
        })
    }
}

impl Message for host::Temperature {
    type Wire = v1::Temperature;

    fn to_wire(&self) -> Result<v1::Temperature, ConvertError> {
        Ok(v1::Temperature { millicelsius: self.millicelsius, critical: self.critical })
    }

    fn from_wire(wire: v1::Temperature) -> Result<Self, ConvertError> {
        Ok(Self { millicelsius: wire.millicelsius, critical: wire.critical })
    }
}

impl Message for host::Clock {
    type Wire = v1::Clock;

    fn to_wire(&self) -> Result<v1::Clock, ConvertError> {
        Ok(v1::Clock {
            synchronised: self.synchronised,
            offset_micros: self.offset_micros,
            max_error_micros: self.max_error_micros,
        })
    }

    fn from_wire(wire: v1::Clock) -> Result<Self, ConvertError> {
        Ok(Self {
            synchronised: wire.synchronised,
            offset_micros: wire.offset_micros,
            max_error_micros: wire.max_error_micros,
        })
    }
}

impl Message for host::Agent {
    type Wire = v1::Agent;

    fn to_wire(&self) -> Result<v1::Agent, ConvertError> {
        Ok(v1::Agent {
            resident: self.resident.0,
            cpu_millis: self.cpu_millis,
            spool: self.spool.0,
            problems: said_all("problems", &self.problems, host::MAX_PROBLEMS)?,
        })
    }

    fn from_wire(wire: v1::Agent) -> Result<Self, ConvertError> {
        Ok(Self {
            resident: Bytes(wire.resident),
            cpu_millis: wire.cpu_millis,
            spool: Bytes(wire.spool),
            problems: texts("problems", wire.problems, host::MAX_PROBLEMS)?,
        })
    }
}

impl Message for links::Interface {
    type Wire = v1::Interface;

    fn to_wire(&self) -> Result<v1::Interface, ConvertError> {
        fits("addresses", self.addresses.len(), MAX_ADDRESSES)?;
        fits("secondary", self.secondary.len(), MAX_ADDRESSES)?;
        fits("link_only", self.link_only.len(), MAX_ADDRESSES)?;
        let networks = |networks: &[IpNet]| networks.iter().copied().map(network_to).collect();
        Ok(v1::Interface {
            index: self.index,
            kind: link_kind_to(self.kind).into(),
            driver: said(&self.driver),
            mac: mac_to(self.mac),
            admin_up: self.admin_up,
            carrier: self.carrier,
            speed_mbits: self.speed_mbits,
            duplex: self.duplex.map_or(v1::Duplex::Unspecified, duplex_to).into(),
            mtu: self.mtu,
            master: self.master.as_deref().map(said),
            addresses: networks(&self.addresses),
            secondary: networks(&self.secondary),
            link_only: networks(&self.link_only),
            group: self.group,
            hardware: self.hardware.map(u32::from),
            reverse_path: self
                .reverse_path
                .map_or(v1::ReversePath::Unspecified, reverse_path_to)
                .into(),
        })
    }

    fn from_wire(wire: v1::Interface) -> Result<Self, ConvertError> {
        let networks =
            |field, wire| list(field, wire, MAX_ADDRESSES, |network| network_from(&network));
        Ok(Self {
            index: wire.index,
            kind: present("kind", link_kind_from("kind", wire.kind)?)?,
            driver: text("driver", wire.driver)?,
            mac: mac_from("mac", &wire.mac)?,
            admin_up: wire.admin_up,
            carrier: wire.carrier,
            speed_mbits: wire.speed_mbits,
            duplex: duplex_from("duplex", wire.duplex)?,
            mtu: wire.mtu,
            master: wire.master.map(|name| text("master", name)).transpose()?,
            addresses: networks("addresses", wire.addresses)?,
            secondary: networks("secondary", wire.secondary)?,
            link_only: networks("link_only", wire.link_only)?,
            group: wire.group,
            hardware: wire.hardware.map(|number| hardware_from("hardware", number)).transpose()?,
            reverse_path: reverse_path_from("reverse_path", wire.reverse_path)?,
        })
    }
}

fn hardware_from(field: &str, value: u32) -> Result<u16, ConvertError> {
    u16::try_from(value).map_err(|_| {
        let rule = "hardware types have 16 bits";
        ConvertError::new(field, Problem::OutOfRange { value: value.into(), rule })
    })
}

impl Message for links::Traffic {
    type Wire = v1::Traffic;

    fn to_wire(&self) -> Result<v1::Traffic, ConvertError> {
        Ok(v1::Traffic {
            received: self.received.0,
            transmitted: self.transmitted.0,
            receive_errors: self.receive_errors,
            transmit_errors: self.transmit_errors,
            receive_drops: self.receive_drops,
            transmit_drops: self.transmit_drops,
        })
    }

    fn from_wire(wire: v1::Traffic) -> Result<Self, ConvertError> {
        Ok(Self {
            received: Bytes(wire.received),
            transmitted: Bytes(wire.transmitted),
            receive_errors: wire.receive_errors,
            transmit_errors: wire.transmit_errors,
            receive_drops: wire.receive_drops,
            transmit_drops: wire.transmit_drops,
        })
    }
}

impl Message for links::Route {
    type Wire = v1::Route;

    fn to_wire(&self) -> Result<v1::Route, ConvertError> {
        Ok(v1::Route {
            destination: Some(network_to(self.destination)),
            gateway: self.gateway.map(address_to).unwrap_or_default(),
            interface: self.interface.as_deref().map(said),
            metric: self.metric,
            table: self.table,
            carries: self.carries,
            kind: route_kind_to(self.kind).into(),
            source: self.source.map(address_to).unwrap_or_default(),
        })
    }

    fn from_wire(wire: v1::Route) -> Result<Self, ConvertError> {
        let address =
            |field, wire: &[u8]| (!wire.is_empty()).then(|| address_from(field, wire)).transpose();
        let (gateway, source) =
            (address("gateway", &wire.gateway)?, address("source", &wire.source)?);
        // Older agents tell of no kind, and only of routes that carry or refuse.
        let untold =
            if wire.carries { links::RouteKind::Unicast } else { links::RouteKind::Blackhole };
        Ok(Self {
            destination: network_from(&present("destination", wire.destination)?)
                .within("destination")?,
            gateway,
            interface: wire.interface.map(|name| text("interface", name)).transpose()?,
            metric: wire.metric,
            table: wire.table,
            carries: wire.carries,
            kind: route_kind_from("kind", wire.kind)?.unwrap_or(untold),
            source,
        })
    }
}

impl Message for links::Rule {
    type Wire = v1::Rule;

    fn to_wire(&self) -> Result<v1::Rule, ConvertError> {
        use links::RuleAction::{Blackhole, Other, Prohibit, Table, Unreachable};
        let (action, table) = match self.action {
            Table(table) => (v1::RuleAction::Table, table),
            Blackhole => (v1::RuleAction::Blackhole, 0),
            Unreachable => (v1::RuleAction::Unreachable, 0),
            Prohibit => (v1::RuleAction::Prohibit, 0),
            Other => (v1::RuleAction::Other, 0),
        };
        Ok(v1::Rule {
            priority: self.priority,
            ipv6: self.ipv6,
            not: self.not,
            from: self.from.map(network_to),
            to: self.to.map(network_to),
            iif: self.iif.as_deref().map(said),
            oif: self.oif.as_deref().map(said),
            mark: self.mark.map(|mark| v1::Mark { value: mark.value, mask: mark.mask }),
            action: action.into(),
            table,
            unsure: self.unsure,
        })
    }

    fn from_wire(wire: v1::Rule) -> Result<Self, ConvertError> {
        let network = |field, wire: Option<v1::Network>| {
            wire.map(|network| network_from(&network)).transpose().within(field)
        };
        Ok(Self {
            priority: wire.priority,
            ipv6: wire.ipv6,
            not: wire.not,
            from: network("from", wire.from)?,
            to: network("to", wire.to)?,
            iif: wire.iif.map(|name| text("iif", name)).transpose()?,
            oif: wire.oif.map(|name| text("oif", name)).transpose()?,
            mark: wire.mark.map(|mark| links::Mark { value: mark.value, mask: mark.mask }),
            action: match v1::RuleAction::try_from(wire.action) {
                Ok(v1::RuleAction::Table) => links::RuleAction::Table(wire.table),
                Ok(v1::RuleAction::Blackhole) => links::RuleAction::Blackhole,
                Ok(v1::RuleAction::Unreachable) => links::RuleAction::Unreachable,
                Ok(v1::RuleAction::Prohibit) => links::RuleAction::Prohibit,
                Ok(v1::RuleAction::Other) => links::RuleAction::Other,
                Ok(v1::RuleAction::Unspecified) => {
                    return Err(ConvertError::new("action", Problem::Missing));
                }
                Err(_) => return Err(ConvertError::new("action", Problem::Newer(wire.action))),
            },
            unsure: wire.unsure,
        })
    }
}

impl Message for links::Neighbour {
    type Wire = v1::Neighbour;

    fn to_wire(&self) -> Result<v1::Neighbour, ConvertError> {
        Ok(v1::Neighbour {
            address: address_to(self.address),
            interface: said(&self.interface),
            mac: mac_to(self.mac),
            router: self.router,
            silent: self.silent,
        })
    }

    fn from_wire(wire: v1::Neighbour) -> Result<Self, ConvertError> {
        Ok(Self {
            address: address_from("address", &wire.address)?,
            interface: text("interface", wire.interface)?,
            mac: mac_from("mac", &wire.mac)?,
            router: wire.router,
            silent: wire.silent,
        })
    }
}

impl Message for links::Forwarding {
    type Wire = v1::Forwarding;

    fn to_wire(&self) -> Result<v1::Forwarding, ConvertError> {
        Ok(v1::Forwarding {
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            interfaces: said_all("interfaces", &self.interfaces, MAX_FORWARDING_INTERFACES)?,
            bridged: self.bridged,
        })
    }

    fn from_wire(wire: v1::Forwarding) -> Result<Self, ConvertError> {
        Ok(Self {
            ipv4: wire.ipv4,
            ipv6: wire.ipv6,
            interfaces: texts("interfaces", wire.interfaces, MAX_FORWARDING_INTERFACES)?,
            bridged: wire.bridged,
        })
    }
}

impl Message for firewall::Table {
    type Wire = v1::FilterTable;

    fn to_wire(&self) -> Result<v1::FilterTable, ConvertError> {
        Ok(v1::FilterTable {
            family: said(&self.family),
            name: said(&self.name),
            chains: self.chains,
            rules: self.rules,
            sets: self.sets,
        })
    }

    fn from_wire(wire: v1::FilterTable) -> Result<Self, ConvertError> {
        Ok(Self {
            family: text("family", wire.family)?,
            name: text("name", wire.name)?,
            chains: wire.chains,
            rules: wire.rules,
            sets: wire.sets,
        })
    }
}

impl Message for firewall::Ruleset {
    type Wire = v1::Ruleset;

    fn to_wire(&self) -> Result<v1::Ruleset, ConvertError> {
        fits("tables", self.tables.len(), MAX_TABLES)?;
        Ok(v1::Ruleset {
            tables: self.tables.iter().map(Message::to_wire).collect::<Result<_, _>>()?,
            rules: self.rules,
            opaque_rules: self.opaque_rules,
            digest: said(&self.digest),
            packets: self.packets,
            octets: self.octets.0,
            changed_by: self.changed_by.as_deref().map(said),
        })
    }

    fn from_wire(wire: v1::Ruleset) -> Result<Self, ConvertError> {
        Ok(Self {
            tables: list("tables", wire.tables, MAX_TABLES, Message::from_wire)?,
            rules: wire.rules,
            opaque_rules: wire.opaque_rules,
            digest: text("digest", wire.digest)?,
            packets: wire.packets,
            octets: Bytes(wire.octets),
            changed_by: wire.changed_by.map(|name| text("changed_by", name)).transpose()?,
        })
    }
}

impl Message for firewall::Hook {
    type Wire = v1::Hook;

    fn to_wire(&self) -> Result<v1::Hook, ConvertError> {
        Ok(v1::Hook {
            default: default_to(self.default).into(),
            by: said(&self.by),
            chains: self.chains,
        })
    }

    fn from_wire(wire: v1::Hook) -> Result<Self, ConvertError> {
        Ok(Self {
            default: present("default", default_from("default", wire.default)?)?,
            by: text("by", wire.by)?,
            chains: wire.chains,
        })
    }
}

impl Message for firewall::Manager {
    type Wire = v1::Manager;

    fn to_wire(&self) -> Result<v1::Manager, ConvertError> {
        Ok(v1::Manager { installed: self.installed, active: self.active })
    }

    fn from_wire(wire: v1::Manager) -> Result<Self, ConvertError> {
        Ok(Self { installed: wire.installed, active: wire.active })
    }
}

impl Message for backup::Job {
    type Wire = v1::BackupJob;

    fn to_wire(&self) -> Result<v1::BackupJob, ConvertError> {
        fits("sizes", self.sizes.len(), MAX_SNAPSHOTS)?;
        Ok(v1::BackupJob {
            tool: said(&self.tool),
            started_at_millis: self.started_at.as_millis(),
            finished_at_millis: self.finished_at.as_millis(),
            success: self.success,
            size: self.size.map(|size| size.0),
            files: self.files,
            destination: said(&self.destination),
            message: said(&self.message),
            last_success_at_millis: self.last_success_at.map(Timestamp::as_millis),
            sizes: self.sizes.iter().map(|size| size.0).collect(),
        })
    }

    fn from_wire(wire: v1::BackupJob) -> Result<Self, ConvertError> {
        Ok(Self {
            tool: text("tool", wire.tool)?,
            started_at: Timestamp::from_millis(wire.started_at_millis),
            finished_at: Timestamp::from_millis(wire.finished_at_millis),
            success: wire.success,
            size: size(wire.size),
            files: wire.files,
            destination: text("destination", wire.destination)?,
            message: text("message", wire.message)?,
            last_success_at: time(wire.last_success_at_millis),
            sizes: list("sizes", wire.sizes, MAX_SNAPSHOTS, |size| Ok(Bytes(size)))?,
        })
    }
}

impl Message for backup::Snapshot {
    type Wire = v1::BackupSnapshot;

    fn to_wire(&self) -> Result<v1::BackupSnapshot, ConvertError> {
        Ok(v1::BackupSnapshot {
            taken_at_millis: self.taken_at.as_millis(),
            size: self.size.map(|size| size.0),
            files: self.files,
        })
    }

    fn from_wire(wire: v1::BackupSnapshot) -> Result<Self, ConvertError> {
        Ok(Self {
            taken_at: Timestamp::from_millis(wire.taken_at_millis),
            size: size(wire.size),
            files: wire.files,
        })
    }
}

impl Message for backup::Repository {
    type Wire = v1::BackupRepository;

    fn to_wire(&self) -> Result<v1::BackupRepository, ConvertError> {
        fits("newest", self.newest.len(), MAX_SNAPSHOTS)?;
        Ok(v1::BackupRepository {
            tool: said(&self.tool),
            snapshots: self.snapshots,
            newest: self.newest.iter().map(Message::to_wire).collect::<Result<_, _>>()?,
        })
    }

    fn from_wire(wire: v1::BackupRepository) -> Result<Self, ConvertError> {
        Ok(Self {
            tool: text("tool", wire.tool)?,
            snapshots: wire.snapshots,
            newest: list("newest", wire.newest, MAX_SNAPSHOTS, Message::from_wire)?,
        })
    }
}

/// A message that may be left out.
fn maybe<T: Message>(field: &str, wire: Option<T::Wire>) -> Result<Option<T>, ConvertError> {
    wire.map(|wire| T::from_wire(wire).within(field)).transpose()
}

impl Message for OrderRef {
    type Wire = v1::OrderRef;

    fn to_wire(&self) -> Result<v1::OrderRef, ConvertError> {
        Ok(order_ref_to_wire(*self))
    }

    fn from_wire(wire: v1::OrderRef) -> Result<Self, ConvertError> {
        order_ref_from_wire(&wire)
    }
}

impl Message for enforcement::PendingOrder {
    type Wire = v1::PendingOrder;

    fn to_wire(&self) -> Result<v1::PendingOrder, ConvertError> {
        let order = Some(order_ref_to_wire(self.order));
        Ok(v1::PendingOrder { order, until_millis: self.until.as_millis() })
    }

    fn from_wire(wire: v1::PendingOrder) -> Result<Self, ConvertError> {
        Ok(Self {
            order: present("order", maybe("order", wire.order)?)?,
            until: Timestamp::from_millis(wire.until_millis),
        })
    }
}

impl Message for enforcement::QuarantineOrder {
    type Wire = v1::QuarantineOrder;

    fn to_wire(&self) -> Result<v1::QuarantineOrder, ConvertError> {
        Ok(v1::QuarantineOrder {
            order: Some(order_ref_to_wire(self.order)),
            until_millis: self.until.as_millis(),
            reason: said(&self.reason),
        })
    }

    fn from_wire(wire: v1::QuarantineOrder) -> Result<Self, ConvertError> {
        Ok(Self {
            order: present("order", maybe("order", wire.order)?)?,
            until: Timestamp::from_millis(wire.until_millis),
            reason: text("reason", wire.reason)?,
        })
    }
}

impl Message for enforcement::LastChange {
    type Wire = v1::LastChange;

    fn to_wire(&self) -> Result<v1::LastChange, ConvertError> {
        Ok(v1::LastChange {
            at_millis: self.at.as_millis(),
            version: self.version,
            what: ended_to(self.what).into(),
        })
    }

    fn from_wire(wire: v1::LastChange) -> Result<Self, ConvertError> {
        Ok(Self {
            at: Timestamp::from_millis(wire.at_millis),
            version: wire.version,
            what: present("what", ended_from("what", wire.what)?)?,
        })
    }
}

impl Message for enforcement::DriftEnd {
    type Wire = v1::DriftEnd;

    fn to_wire(&self) -> Result<v1::DriftEnd, ConvertError> {
        let how = drift_ended_to(self.how).into();
        Ok(v1::DriftEnd { at_millis: self.at.as_millis(), how })
    }

    fn from_wire(wire: v1::DriftEnd) -> Result<Self, ConvertError> {
        Ok(Self {
            at: Timestamp::from_millis(wire.at_millis),
            how: present("how", drift_ended_from("how", wire.how)?)?,
        })
    }
}

impl Message for enforcement::DriftSeen {
    type Wire = v1::DriftSeen;

    fn to_wire(&self) -> Result<v1::DriftSeen, ConvertError> {
        Ok(v1::DriftSeen {
            since_millis: self.since.as_millis(),
            ended: self.ended.map(|ended| ended.to_wire()).transpose()?,
            by: self.by.as_deref().map(said),
            added: said_all("added", &self.added, MAX_DRIFT_LINES)?,
            removed: said_all("removed", &self.removed, MAX_DRIFT_LINES)?,
            more: self.more,
        })
    }

    fn from_wire(wire: v1::DriftSeen) -> Result<Self, ConvertError> {
        Ok(Self {
            since: Timestamp::from_millis(wire.since_millis),
            ended: maybe("ended", wire.ended)?,
            by: wire.by.map(|by| text("by", by)).transpose()?,
            added: texts("added", wire.added, MAX_DRIFT_LINES)?,
            removed: texts("removed", wire.removed, MAX_DRIFT_LINES)?,
            more: wire.more,
        })
    }
}

impl Message for enforcement::OtherChange {
    type Wire = v1::OtherChange;

    fn to_wire(&self) -> Result<v1::OtherChange, ConvertError> {
        Ok(v1::OtherChange {
            at_millis: self.at.as_millis(),
            by: self.by.as_deref().map(said),
            tables: said_all("tables", &self.tables, MAX_OTHER_TABLES)?,
        })
    }

    fn from_wire(wire: v1::OtherChange) -> Result<Self, ConvertError> {
        Ok(Self {
            at: Timestamp::from_millis(wire.at_millis),
            by: wire.by.map(|by| text("by", by)).transpose()?,
            tables: texts("tables", wire.tables, MAX_OTHER_TABLES)?,
        })
    }
}

impl Message for enforcement::WayRound {
    type Wire = v1::WayRound;

    fn to_wire(&self) -> Result<v1::WayRound, ConvertError> {
        Ok(v1::WayRound { how: round_by_to(self.how).into(), line: said(&self.line) })
    }

    fn from_wire(wire: v1::WayRound) -> Result<Self, ConvertError> {
        Ok(Self {
            how: present("how", round_by_from("how", wire.how)?)?,
            line: text("line", wire.line)?,
        })
    }
}

impl Message for enforcement::Enforcement {
    type Wire = v1::Enforcement;

    fn to_wire(&self) -> Result<v1::Enforcement, ConvertError> {
        fits("round", self.round.len(), MAX_WAYS_ROUND)?;
        Ok(v1::Enforcement {
            key: self.key.as_deref().map(said),
            highest: self.highest,
            mode: self.mode.map_or(v1::RuleMode::Unspecified, mode_to).into(),
            in_force: self.in_force.map(order_ref_to_wire),
            confirmed: self.confirmed.map(order_ref_to_wire),
            pending: self.pending.map(|pending| pending.to_wire()).transpose()?,
            quarantine: self.quarantine.as_ref().map(Message::to_wire).transpose()?,
            last: self.last.map(|last| last.to_wire()).transpose()?,
            drift: self.drift.as_ref().map(Message::to_wire).transpose()?,
            restored: self.restored,
            other: self.other.as_ref().map(Message::to_wire).transpose()?,
            round: self.round.iter().map(Message::to_wire).collect::<Result<_, _>>()?,
            problem: self.problem.as_deref().map(said),
        })
    }

    fn from_wire(wire: v1::Enforcement) -> Result<Self, ConvertError> {
        Ok(Self {
            key: wire.key.map(|key| text("key", key)).transpose()?,
            highest: wire.highest,
            mode: mode_from("mode", wire.mode)?,
            in_force: maybe("in_force", wire.in_force)?,
            confirmed: maybe("confirmed", wire.confirmed)?,
            pending: maybe("pending", wire.pending)?,
            quarantine: maybe("quarantine", wire.quarantine)?,
            last: maybe("last", wire.last)?,
            drift: maybe("drift", wire.drift)?,
            restored: wire.restored,
            other: maybe("other", wire.other)?,
            round: list("round", wire.round, MAX_WAYS_ROUND, Message::from_wire)?,
            problem: wire.problem.map(|problem| text("problem", problem)).transpose()?,
        })
    }
}

impl Message for enforcement::RuleCounter {
    type Wire = v1::RuleCounter;

    fn to_wire(&self) -> Result<v1::RuleCounter, ConvertError> {
        Ok(v1::RuleCounter { packets: self.packets, octets: self.octets.0 })
    }

    fn from_wire(wire: v1::RuleCounter) -> Result<Self, ConvertError> {
        Ok(Self { packets: wire.packets, octets: Bytes(wire.octets) })
    }
}

impl Message for flows::SeenFlow {
    type Wire = v1::SeenFlow;

    fn to_wire(&self) -> Result<v1::SeenFlow, ConvertError> {
        Ok(v1::SeenFlow {
            from: address_to(self.from),
            to: address_to(self.to),
            protocol: self.protocol.into(),
            port: self.port.into(),
            count: self.count,
            first_millis: self.first.as_millis(),
            last_millis: self.last.as_millis(),
        })
    }

    fn from_wire(wire: v1::SeenFlow) -> Result<Self, ConvertError> {
        let out = |field, value: u32, rule| {
            ConvertError::new(field, Problem::OutOfRange { value: value.into(), rule })
        };
        Ok(Self {
            from: address_from("from", &wire.from)?,
            to: address_from("to", &wire.to)?,
            protocol: u8::try_from(wire.protocol)
                .map_err(|_| out("protocol", wire.protocol, "protocols end at 255"))?,
            port: u16::try_from(wire.port)
                .map_err(|_| out("port", wire.port, "ports end at 65535"))?,
            count: wire.count,
            first: Timestamp::from_millis(wire.first_millis),
            last: Timestamp::from_millis(wire.last_millis),
        })
    }
}

impl Message for flows::FlowWatch {
    type Wire = v1::FlowWatch;

    fn to_wire(&self) -> Result<v1::FlowWatch, ConvertError> {
        let since_millis = self.since.as_millis();
        Ok(v1::FlowWatch { since_millis, forgotten: self.forgotten, overrun: self.overrun })
    }

    fn from_wire(wire: v1::FlowWatch) -> Result<Self, ConvertError> {
        Ok(Self {
            since: Timestamp::from_millis(wire.since_millis),
            forgotten: wire.forgotten,
            overrun: wire.overrun,
        })
    }
}

impl Message for lines::LineQuality {
    type Wire = v1::LineQuality;

    fn to_wire(&self) -> Result<v1::LineQuality, ConvertError> {
        Ok(v1::LineQuality {
            far: address_to(self.ask.far),
            udp_port: match self.ask.by {
                By::Icmp => 0,
                By::Udp(port) => port.get().into(),
            },
            since_millis: self.since.map(Timestamp::as_millis),
            answered: self.answered,
            silence_millis: self.silence_millis,
            lately: self.lately.as_ref().map(Message::to_wire).transpose()?,
            available_millionths: self.available_millionths,
        })
    }

    fn from_wire(wire: v1::LineQuality) -> Result<Self, ConvertError> {
        let out = |field, value: u32, rule| {
            ConvertError::new(field, Problem::OutOfRange { value: value.into(), rule })
        };
        let port = u16::try_from(wire.udp_port)
            .map_err(|_| out("udp_port", wire.udp_port, "ports end at 65535"))?;
        if let Some(part) = wire.available_millionths.filter(|part| *part > 1_000_000) {
            return Err(out("available_millionths", part, "more than the whole (1000000)"));
        }
        Ok(Self {
            ask: Ask {
                far: address_from("far", &wire.far)?,
                by: NonZeroU16::new(port).map_or(By::Icmp, By::Udp),
            },
            since: time(wire.since_millis),
            answered: wire.answered,
            silence_millis: wire.silence_millis,
            lately: maybe("lately", wire.lately)?,
            available_millionths: wire.available_millionths,
        })
    }
}

impl Message for lines::LatelyAsked {
    type Wire = v1::LatelyAsked;

    fn to_wire(&self) -> Result<v1::LatelyAsked, ConvertError> {
        Ok(v1::LatelyAsked {
            asked: self.asked,
            lost: self.lost.0.into(),
            round_trip_micros: self.round_trip_micros,
        })
    }

    fn from_wire(wire: v1::LatelyAsked) -> Result<Self, ConvertError> {
        Ok(Self {
            asked: wire.asked,
            lost: permille("lost", wire.lost)?,
            round_trip_micros: wire.round_trip_micros,
        })
    }
}
