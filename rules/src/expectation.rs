//! Expectations: what the site's rule files demand of a host.
//!
//! A rule file is a list of entries; an entry may say for which hosts or zones it is meant, and sets
//! any keys. The shipped files set every key for every host; the site's own files come after them,
//! and a later entry wins key by key.

mod layer;
mod line;
mod wire;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::check::Status;
use crate::device::line::MAX_LINES;
use crate::name::{HostName, ZoneName};
use crate::topology::wish::{Wishes, WrittenLink};
use crate::unit::{Celsius, Hundredths, PerMillion, Percent, Period, Size};
use crate::yaml::{self, Problem, Problems, Source, Spanned};

pub use layer::{Ceiling, Demand, Floor, Network, Pattern};
use layer::{Layered, section};
pub use line::{Ask, By, Far, LineWanted, Lines};
pub use wire::{Approved, MacPrefix, Makers, Vlans, ZoneVlans};

/// The shipped rule files, in their order.
pub const SHIPPED: [(&str, &str); 7] = [
    ("shipped/host.yaml", include_str!("../shipped/host.yaml")),
    ("shipped/agent.yaml", include_str!("../shipped/agent.yaml")),
    ("shipped/firewall.yaml", include_str!("../shipped/firewall.yaml")),
    ("shipped/backup.yaml", include_str!("../shipped/backup.yaml")),
    ("shipped/isolation.yaml", include_str!("../shipped/isolation.yaml")),
    ("shipped/device.yaml", include_str!("../shipped/device.yaml")),
    ("shipped/wire.yaml", include_str!("../shipped/wire.yaml")),
];

/// The most entries that all rule files together may have.
pub const MAX_ENTRIES: usize = 10_000;

section! {
    /// Demands on the machine itself.
    HostWanted / HostPart {
        /// Part of processor time in use, while the five-minute load shows that it is no short burst.
        cpu_busy: Ceiling<Percent>,
        /// Part of main memory that new programs can still get.
        memory_available: Floor<Percent>,
        /// Part of the swap space in use.
        swap_used: Ceiling<Percent>,
        /// Load average over five minutes for each core.
        load_per_core: Ceiling<Hundredths>,
        /// Part of the last minute in which some task waited for a processor.
        pressure_cpu: Ceiling<Percent>,
        /// Part of the last minute in which every task waited for memory.
        pressure_memory: Ceiling<Percent>,
        /// Part of the last minute in which every task waited for storage.
        pressure_io: Ceiling<Percent>,
        /// Part of a file system that is in use.
        filesystem_space: Ceiling<Percent>,
        /// A file system with at least this much free is never too full.
        filesystem_plenty: Size,
        /// Part of a file system's inodes that is in use.
        filesystem_inodes: Ceiling<Percent>,
        /// What a writable sort of file system that is mounted read-only is.
        filesystem_read_only: Demand,
        /// Mount points that are not judged.
        filesystem_ignore: Vec<Pattern>,
        /// Temperature of a sensor that states no critical value of its own.
        temperature: Ceiling<Celsius>,
        /// Sensors that are not judged, as the pages name them.
        temperature_ignore: Vec<Pattern>,
        /// What a clock is that nothing keeps.
        clock_synchronised: Demand,
        /// What failed units of the service manager are.
        failed_units: Demand,
        /// Units that may fail.
        failed_units_ignore: Vec<Pattern>,
        /// What a wanted reboot is.
        reboot_needed: Demand,
    }
}

section! {
    /// Demands on the agent and its connection.
    AgentWanted / AgentPart {
        /// A host with no report for this many of its intervals is stale.
        silent_intervals: NonZeroU32,
        /// A host with no report for this long is down, if that is longer than the above.
        silent_down: Period,
        /// What a probe is that failed or cannot read what is demanded.
        probe_failed: Demand,
        /// How far the host's clock may be from the collector's, either way.
        clock_ahead: Ceiling<Period>,
        /// Part of the life of the host's certificate that is left.
        certificate_left: Floor<Percent>,
        /// How long lost reports stay a finding after the last loss.
        gaps_kept: Period,
        /// How long two machines with one identity stay a finding after they were last seen.
        twin_kept: Period,
    }
}

section! {
    /// Demands on the packet filter.
    FirewallWanted / FirewallPart {
        /// What a host without any filter on incoming packets is.
        active: Demand,
        /// What a host is that lets in what no rule decides.
        default_deny: Demand,
        /// What rules are that Bailey cannot read.
        readable: Demand,
        /// What two programs are that both manage the filter.
        managers: Demand,
        /// What a change of the enforced table by somebody else is; where the table only observes,
        /// a warning at most.
        drift: Demand,
        /// What another table is with which packets get round the enforced one.
        bypassed: Demand,
        /// What a ruleset is that had to give way because nobody confirmed it.
        reverted: Demand,
        /// What a host is that does not hold the ruleset pushed to it last.
        current: Demand,
        /// What an enforcer is that cannot do what it must.
        enforcer: Demand,
        /// What a host in quarantine is.
        quarantine: Demand,
        /// What traffic is that the policy would drop once it is enforced.
        would_drop: Demand,
    }
}

section! {
    /// Demands on backups.
    BackupWanted / BackupPart {
        /// What a host without any backup job is.
        present: Demand,
        /// How old the newest copy may be. Twice as old is missing.
        max_age: Period,
        /// What a last run that failed is, while the newest copy is still young enough.
        failed_run: Demand,
        /// A copy smaller than this part of the median of the ones before is odd.
        smaller_than: Percent,
        /// A copy larger than this part of the median of the ones before is odd.
        larger_than: Percent,
        /// Jobs and repositories that must exist, with what is demanded of each.
        jobs: Jobs,
        /// Jobs and repositories that are retired, by name: not judged, and their findings resolve.
        ignore: Vec<String>,
    }
}

section! {
    /// What is allowed to a host beyond its zone. A violation cannot be switched off, only declared.
    IsolationWanted / IsolationPart {
        /// Further zones in which the host may have addresses, gateways and neighbours.
        other_zones: Vec<ZoneName>,
        /// Networks that live inside a host only: container and virtual machine bridges. They count
        /// as inside only on a bridge or virtual interface without a wire, and never when a
        /// zone of the policy holds them.
        internal_networks: Vec<Network>,
        /// Tunnels, modems, radio and USB interfaces that may exist, and bridges that may join wires.
        interfaces: Vec<Pattern>,
    }
}

section! {
    /// What the site demands of its wires.
    WireWanted / WirePart {
        /// The VLANs of each zone.
        vlans: ZoneVlans,
        /// What an address is that was never seen before and that nobody approved.
        new_address: Demand,
        /// For so long after a zone was first seen its addresses are taken as known.
        learning: Period,
        /// How long an address counts as present after it was last seen.
        kept: Period,
        /// Addresses that may be there.
        approved: Approved,
        /// What software makes addresses with which beginnings.
        virtual_makers: Makers,
        /// Addresses that software gives to many machines alike.
        repeated: Approved,
        /// Machines that report from several zones on purpose, by the SHA-256 of their machine-id(5).
        shared_machines: Vec<String>,
        /// The devices that the collector is at; none where it finds them by itself.
        collector_at: Vec<HostName>,
    }
}

section! {
    /// Demands on a device that is asked by SNMP.
    DeviceWanted / DevicePart {
        /// How often it is asked.
        interval: Period,
        /// A device that has not answered for this many of its intervals is a warning.
        silent_intervals: NonZeroU32,
        /// A device that has not answered for this long is down, if that is longer than the above.
        silent_down: Period,
        /// What a core switch is that does not answer; `off` for what is none.
        core: Demand,
        /// A core switch that has not answered for this long is that.
        core_down: Period,
        /// What a watched interface is that does not pass packets.
        link_down: Demand,
        /// Interfaces that must pass packets, by name or alias. Lines must too.
        links: Vec<Pattern>,
        /// For how long an aggregate has lacked members.
        aggregate_degraded: Ceiling<Period>,
        /// Part of the speed of an interface in use, on average over a quarter of an hour.
        link_use: Ceiling<Percent>,
        /// Packets in error, of all.
        link_errors: Ceiling<PerMillion>,
        /// What a port is whose ends disagree about duplex.
        duplex: Demand,
        /// Interfaces that are not judged, by name or alias.
        links_ignore: Vec<Pattern>,
        /// Lines with a speed of their own, by the name or alias of the interface.
        lines: Lines,
        /// How often the far end of a line is asked.
        line_interval: Period,
        /// For how long the far end of a line has not answered.
        line_silent: Ceiling<Period>,
        /// Part of the packets that are lost on the way to the far end of a line and back.
        line_loss: Ceiling<Percent>,
        /// How long a packet takes to the far end of a line and back.
        line_round_trip: Ceiling<Period>,
        /// What a UPS is that runs on its battery.
        ups_on_battery: Demand,
        /// How long its battery will still last.
        ups_runtime: Floor<Period>,
        /// What a UPS is that has an alarm or does not protect its load.
        ups_fault: Demand,
        /// What a switch is that cannot feed what hangs at a port.
        poe_fault: Demand,
        /// Part of the power of a supply in use.
        poe_use: Ceiling<Percent>,
        /// Temperature of a sensor.
        temperature: Ceiling<Celsius>,
        /// Sensors that are not judged, as the pages name them.
        temperature_ignore: Vec<Pattern>,
        /// Part of processor time in use.
        processor: Ceiling<Percent>,
        /// Part of the memory in use.
        memory: Ceiling<Percent>,
        /// Part of a file system in use.
        storage: Ceiling<Percent>,
        /// File systems that are not judged.
        storage_ignore: Vec<Pattern>,
        /// Processes that must run, by name or path.
        processes: Vec<Pattern>,
        /// What a computer is on which one of them does not.
        process_missing: Demand,
    }
}

section! {
    /// Everything that is demanded of one host or device.
    Expectations / Part {
        /// The machine itself.
        host: HostWanted,
        /// The agent and its connection.
        agent: AgentWanted,
        /// The packet filter.
        firewall: FirewallWanted,
        /// Backups.
        backup: BackupWanted,
        /// Isolation.
        isolation: IsolationWanted,
        /// A device.
        device: DeviceWanted,
    }
}

/// What is demanded of one backup job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobWanted {
    /// How old its newest copy may be; the host's `max_age` when absent.
    #[serde(default)]
    pub max_age: Option<Period>,
}

/// Demanded jobs by name. A later layer adds jobs and replaces those it names.
pub type Jobs = BTreeMap<String, JobWanted>;

/// One entry of a rule file as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    /// Only for hosts and devices whose name fits one of these.
    hosts: Option<Vec<Pattern>>,
    /// Only for hosts and devices of these zones.
    zones: Option<Vec<ZoneName>>,
    host: Option<HostPart>,
    agent: Option<AgentPart>,
    firewall: Option<FirewallPart>,
    backup: Option<BackupPart>,
    isolation: Option<IsolationPart>,
    device: Option<DevicePart>,
}

/// A rule file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    expectations: Option<Vec<Spanned<Entry>>>,
    #[serde(default)]
    links: Option<Vec<Spanned<WrittenLink>>>,
    #[serde(default)]
    wire: Option<WirePart>,
}

impl Entry {
    fn is_for(&self, host: &HostName, zone: &ZoneName) -> bool {
        let host_fits =
            self.hosts.as_ref().is_none_or(|names| names.iter().any(|n| n.fits(host.as_str())));
        host_fits && self.zones.as_ref().is_none_or(|zones| zones.contains(zone))
    }

    fn part(&self) -> Part {
        Part {
            host: self.host.clone(),
            agent: self.agent.clone(),
            firewall: self.firewall.clone(),
            backup: self.backup.clone(),
            isolation: self.isolation.clone(),
            device: self.device.clone(),
        }
    }
}

/// All rule files in their order: the shipped ones, then the site's own.
#[derive(Debug, Clone)]
pub struct RuleFiles {
    entries: Vec<Entry>,
    wishes: Wishes,
    wire: WirePart,
}

impl RuleFiles {
    /// Only what is shipped.
    ///
    /// # Panics
    /// Never: a test reads the shipped files.
    #[must_use]
    pub fn shipped() -> Self {
        Self::parse(&[]).expect("the shipped rule files are well formed")
    }

    /// The shipped files and over them the site's own, each as (name, text), in this order; a
    /// later file wins key by key.
    ///
    /// # Errors
    /// Everything that is wrong in the files.
    pub fn parse(files: &[(String, String)]) -> Result<Self, Problems> {
        let own = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let mut all =
            Self { entries: Vec::new(), wishes: Wishes::default(), wire: WirePart::default() };
        let mut problems = Vec::new();
        for (file, text) in SHIPPED.into_iter().chain(own) {
            if let Err(Problems(more)) = all.read(file, text) {
                problems.extend(more);
            }
            if all.entries.len() > MAX_ENTRIES {
                problems.push(
                    Source { file, text }.whole(format!("more than {MAX_ENTRIES} entries in all")),
                );
                break;
            }
        }
        if problems.is_empty() {
            Ok(all)
        } else {
            problems.truncate(yaml::MAX_PROBLEMS);
            Err(Problems(problems))
        }
    }

    /// What is demanded of one host or device.
    ///
    /// # Panics
    /// Never: the shipped files set every key for every host; a test holds that.
    #[must_use]
    pub fn for_host(&self, host: &HostName, zone: &ZoneName) -> Expectations {
        let mut all = Part::default();
        for entry in self.entries.iter().filter(|entry| entry.is_for(host, zone)) {
            Expectations::merge(&mut all, &entry.part());
        }
        Expectations::build(&all).expect("the shipped rule files set every key")
    }

    /// What is demanded of the wires.
    ///
    /// # Panics
    /// Never: the shipped files set every key; a test holds that.
    #[must_use]
    pub fn wire(&self) -> WireWanted {
        WireWanted::build(&self.wire).expect("the shipped rule files set every key")
    }

    /// What persons say of links.
    #[must_use]
    pub const fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// Takes one rule file. A file of comments alone demands nothing.
    fn read(&mut self, file: &str, text: &str) -> Result<(), Problems> {
        let is_comment = |line: &str| {
            let line = line.trim_start_matches('\u{feff}').trim();
            line.is_empty() || line.starts_with('#')
        };
        if text.len() <= yaml::MAX_FILE && text.lines().all(is_comment) {
            return Ok(());
        }
        let File { expectations, links, wire } = yaml::parse(file, text)?;
        let source = Source { file, text };
        if expectations.is_none() && links.is_none() && wire.is_none() {
            let problem = source.whole("the file demands nothing");
            return Err(Problems(vec![problem.help("add a key: expectations, links or wire")]));
        }
        let entries = expectations.unwrap_or_default();
        let mut problems: Vec<Problem> =
            entries.iter().filter_map(|entry| mistaken(&source, entry)).collect();
        self.wishes.take(&source, &links.unwrap_or_default(), &mut problems);
        if let Some(wire) = wire {
            WireWanted::merge(&mut self.wire, &wire);
        }
        problems.truncate(yaml::MAX_PROBLEMS);
        if problems.is_empty() {
            self.entries.extend(entries.into_iter().map(|entry| entry.value));
            Ok(())
        } else {
            Err(Problems(problems))
        }
    }
}

/// An entry that can never change anything is a mistake; so are more lines than one device may have.
fn mistaken(source: &Source<'_>, entry: &Spanned<Entry>) -> Option<Problem> {
    let Entry { hosts, zones, host, agent, firewall, backup, isolation, device } = &entry.value;
    let chooses_none =
        hosts.as_ref().is_some_and(Vec::is_empty) || zones.as_ref().is_some_and(Vec::is_empty);
    let demands_nothing = host.is_none()
        && agent.is_none()
        && firewall.is_none()
        && backup.is_none()
        && isolation.is_none()
        && device.is_none();
    if chooses_none {
        Some(
            source
                .at(entry, "this entry is for no host at all")
                .help("name hosts or zones, or remove the empty list"),
        )
    } else if demands_nothing {
        Some(
            source
                .at(entry, "this entry demands nothing")
                .help("add a section: host, agent, firewall, backup, isolation or device"),
        )
    } else {
        let lines = device.as_ref().and_then(|device| device.lines.as_ref()).map_or(0, Lines::len);
        (lines > MAX_LINES).then(|| {
            source
                .at(entry, format!("{lines} lines of one device; it may have {MAX_LINES}"))
                .help("give each device an entry of its own, with `hosts:`")
        })
    }
}

impl DeviceWanted {
    /// The lines whose far ends are to be asked, by their keys. Several entries together may name more than
    /// [`MAX_LINES`] for one device; of those the first ones are asked.
    pub fn far_ends(&self) -> impl Iterator<Item = (&String, Ask)> {
        self.lines.iter().filter_map(|(key, line)| Some((key, line.ask?))).take(MAX_LINES)
    }
}

/// What a value is against its limits.
fn worse_of(warning: bool, critical: bool) -> Status {
    match (warning, critical) {
        (_, true) => Status::Critical,
        (true, false) => Status::Warning,
        (false, false) => Status::Ok,
    }
}
