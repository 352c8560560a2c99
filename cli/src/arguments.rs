//! The command line. The English words of the help stand here; the Chinese ones in
//! [`crate::help`].

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bailey_collector::poll::snmp;
use bailey_collector::settings::{DialAddress, Endpoint};
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::text::Lang;
use bailey_rules::time::Timestamp;
use bailey_rules::unit::Period;
use clap::builder::PossibleValue;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use crate::command::demo::DemoName;

/// The heading of the options that every command takes.
pub const GLOBAL: &str = "Global options";

/// What `--help` says at the end.
const AFTER: &str = "\
Exit codes:
  0 done   1 error   2 wrong command line   3 not found   4 denied
  5 a person must confirm   6 critical findings are open, or something would change (with --exit-code
  or --dry-run), or a device has a fault   7 no collector answers, or the host is not connected
  `bailey check` ends with the codes of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN";

/// Bailey watches the hosts of a site and the isolation of its networks.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "bailey",
    version,
    after_help = AFTER,
    arg_required_else_help = true,
    disable_help_flag = true,
    disable_version_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = GLOBAL)]
pub struct Global {
    /// Print a table, or an answer as JSON, spread out or one a line: table, json, ndjson [default: table]
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub output: Format,
    /// Speak English or Chinese: en, zh [default: as the locale says]
    #[arg(long, global = true, value_name = "LANGUAGE", hide_possible_values = true)]
    pub lang: Option<Tongue>,
    /// The collector's state folder [default: bailey in the user's data folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Ask a collector on another machine, at its web address; needs --ca-file and --token-file
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// The CA certificate of that collector: ca.pem of its state folder
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// File with the secret for reading: scrape.token of its state folder
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Never ask; end with 5 where a person must confirm
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Print this help
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: the answer, with its `schema`.
    Json,
    /// For programs: each answer on a line of its own.
    Ndjson,
}

/// A language as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tongue(pub Lang);

impl ValueEnum for Tongue {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Lang::En), Self(Lang::Zh)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self.0 {
            Lang::En => "en",
            Lang::Zh => "zh",
        }))
    }
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Start the collector and watch this machine, until Ctrl-C
    Up(Up),
    /// Run the reference site on this machine, with breaches to cause and undo, until Ctrl-C
    Demo(Demo),
    /// Show how the site is
    Status(Status),
    /// List the hosts and their states
    Hosts(Hosts),
    /// List what is wrong, worst first
    Alerts(Alerts),
    /// List what devices sent of themselves by SNMP, newest first
    Traps(Traps),
    /// Report one host to a monitoring system, as its plugins do
    Check(OneHost),
    /// Let hosts in, and throw them out
    Enroll(Enroll),
    /// Check a policy, compile it, see what it changes, and bring it to the hosts
    Policy(PolicyVerb),
    /// Cut a host off but for its management, or let it back; or switch a port off
    Quarantine(QuarantineVerb),
    /// Ask what packet filters do, from what kernels printed
    Ruleset(RulesetVerb),
    /// Prove that no packet breaks an invariant, or show one that does
    Prove(Prove),
    /// Have the collector poll devices by SNMP: switches, UPS, minicomputers, firewall appliances
    Device(DeviceVerb),
    /// List the lines: their use, loss, round trip and availability
    Lines(Lines),
    /// Ask a device by SNMP
    Snmp(SnmpVerb),
    /// Print a link that signs one browser in, once
    Signin,
}

/// Arguments of `up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Where the page is served; port 0 takes a free one [default: 127.0.0.1:7711]
    #[arg(long, value_name = "ADDR")]
    pub web: Option<SocketAddr>,
    /// Where agents connect; port 0 takes a free one [default: 127.0.0.1:7710]
    #[arg(long, value_name = "ADDR")]
    pub agents: Option<SocketAddr>,
    /// Where other hosts reach --agents, as they know this machine
    #[arg(long, value_name = "HOST:PORT")]
    pub public_address: Option<DialAddress>,
    /// An Alertmanager that findings are pushed to; may be given more than once
    #[arg(long, value_name = "URL")]
    pub alertmanager: Vec<Endpoint>,
    /// The zone this machine is in [default: the zone of its addresses, at first start inner]
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<ZoneName>,
    /// Log more to standard error; twice: everything
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// What to do with a demo that runs.
    #[command(subcommand)]
    pub command: Option<DemoCommand>,
    /// Which demo, where more than one runs on this machine [default: demo]
    #[arg(
        long,
        global = true,
        value_name = "DEMO",
        default_value = "demo",
        hide_default_value = true
    )]
    pub name: DemoName,
    /// Where the page is served; port 0 takes a free one [default: 127.0.0.1:7711]
    #[arg(long, value_name = "ADDR")]
    pub web: Option<SocketAddr>,
}

/// The commands under `demo`.
#[derive(Debug, Clone, Subcommand)]
pub enum DemoCommand {
    /// Cause a breach, and wait until its alert comes
    Break(OneBreach),
    /// Undo a breach, or all of them, and wait until the alert goes
    Fix(OneBreach),
    /// List the breaches, and which of them are open
    Status,
    /// End the demo, and take away whatever a killed one left
    Down,
    /// Run one of the demo's own programs
    #[command(hide = true)]
    Part(DemoPart),
}

/// Arguments of `demo break` and `demo fix`.
#[derive(Debug, Clone, Args)]
pub struct OneBreach {
    /// The breach, as `bailey demo status` lists it; `fix` takes all too
    #[arg(value_name = "BREACH")]
    pub breach: String,
    /// Do not wait for the alert
    #[arg(long)]
    pub no_wait: bool,
}

/// Arguments of `demo part`.
#[derive(Debug, Clone, Args)]
pub struct DemoPart {
    /// Where it keeps which process it is
    #[arg(long, value_name = "FILE")]
    pub record: PathBuf,
    /// The program and its own command line
    #[arg(
        value_name = "LINE",
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub line: Vec<OsString>,
}

/// Arguments of `status`.
#[derive(Debug, Clone, Args)]
pub struct Status {
    /// End with 6 when a critical finding is open
    #[arg(long)]
    pub exit_code: bool,
}

/// Arguments of `hosts`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Hosts {
    /// More than the list.
    #[command(subcommand)]
    pub command: Option<HostsCommand>,
    /// Only the hosts of this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<ZoneName>,
}

/// The commands under `hosts`.
#[derive(Debug, Clone, Subcommand)]
pub enum HostsCommand {
    /// Show one host: its checks and why they say so
    Show(OneHost),
}

/// One host by name.
#[derive(Debug, Clone, Args)]
pub struct OneHost {
    /// The host's name
    #[arg(value_name = "HOST")]
    pub host: HostName,
}

/// Arguments of `traps`.
#[derive(Debug, Clone, Args)]
pub struct Traps {
    /// Only those of this host or device
    #[arg(long, value_name = "NAME")]
    pub host: Option<HostName>,
    /// Only those of addresses that belong to nobody the site knows
    #[arg(long, conflicts_with = "host")]
    pub strangers: bool,
    /// How many: 1 to 200 [default: 50]
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 50,
        hide_default_value = true,
        value_parser = clap::value_parser!(u8).range(1..=200)
    )]
    pub limit: u8,
}

/// Arguments of `lines`.
#[derive(Debug, Clone, Args)]
pub struct Lines {
    /// Only the lines of this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<ZoneName>,
    /// Only the lines of this device
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<HostName>,
}

/// Arguments of `alerts`.
#[derive(Debug, Clone, Args)]
pub struct Alerts {
    /// Only the findings of this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<ZoneName>,
    /// End with 6 when a critical finding is open
    #[arg(long)]
    pub exit_code: bool,
}

/// Arguments of `enroll`.
#[derive(Debug, Clone, Args)]
pub struct Enroll {
    /// What to do.
    #[command(subcommand)]
    pub command: EnrollCommand,
}

/// The commands under `enroll`.
#[derive(Debug, Clone, Subcommand)]
pub enum EnrollCommand {
    /// Make a token and print the one line to paste on the host
    Token(Token),
    /// List the hosts that are in and those that wait
    Ls,
    /// Let a waiting machine take its host's name; the machine before it is out
    Approve(OneHost),
    /// Refuse a waiting machine
    Refuse(OneHost),
    /// Throw a host out at once; its open session is cut
    Revoke(Revoke),
}

/// Arguments of `policy`.
#[derive(Debug, Clone, Args)]
pub struct PolicyVerb {
    /// What to do with it.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// The commands under `policy`.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Read a policy and say everything that is wrong with it
    Check(OnePolicy),
    /// Print the ruleset that a policy means for one host
    Compile(Compile),
    /// Show which connections a new policy opens and closes
    Diff(TwoPolicies),
    /// Make the key whose orders hosts follow
    Key(Key),
    /// List what each host enforces
    Hosts,
    /// Sign a policy's rulesets and bring them to the hosts, a few hosts first
    Push(Push),
    /// Let the hosts that wait for it keep their new rulesets
    Confirm(OnePush),
    /// Stop a push; hosts whose ruleset is not confirmed return to the one before
    Cancel(OnePush),
    /// List the pushes, or show one
    Pushes(OnePush),
    /// Stop the push that runs, or else push the policy that was in force before
    Rollback(Rollback),
    /// Show what pushing a policy would change, what it would cut, and whom it would lock out
    Plan(Plan),
    /// Follow one connection through the site, hop by hop, there and back
    Trace(Follow),
    /// Print the JSON Schema of the policy file, for editors
    Schema,
}

/// Arguments of `policy trace`.
#[derive(Debug, Clone, Args)]
pub struct Follow {
    /// Who opens it: an address, or a host of the policy
    #[arg(value_name = "SRC")]
    pub src: String,
    /// To whom and by what: 10.1.2.10:443/tcp, mail-1:25/tcp, 10.1.2.10/icmp
    #[arg(value_name = "DST")]
    pub dst: String,
    /// The file that names the policy, the hosts and what each of them printed [default: what the collector knows]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

/// One policy file.
#[derive(Debug, Clone, Args)]
pub struct OnePolicy {
    /// The policy file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `policy compile`.
#[derive(Debug, Clone, Args)]
pub struct Compile {
    /// The policy file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The host
    #[arg(long, value_name = "HOST")]
    pub host: HostName,
    /// Its zone, for a host that the policy does not name
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<ZoneName>,
    /// The ruleset of a quarantine instead
    #[arg(long)]
    pub quarantine: bool,
}

/// Arguments of `policy diff`.
#[derive(Debug, Clone, Args)]
pub struct TwoPolicies {
    /// The policy as it is
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The policy that takes its place
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Only what begins or ends at this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<HostName>,
    /// End with 6 when something changes
    #[arg(long)]
    pub exit_code: bool,
}

/// Arguments of `policy key`.
#[derive(Debug, Clone, Args)]
pub struct Key {
    /// Where the private key goes; the public one goes beside it, to FILE.pub
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// How rulesets come to the hosts.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Pace {
    /// A host returns to its ruleset before unless the new one is confirmed so soon [default: 120s]
    #[arg(
        long,
        value_name = "TIME",
        default_value = "120s",
        hide_default_value = true,
        value_parser = period
    )]
    pub confirm_within: Duration,
    /// Hosts that connect later than this do not follow it any more [default: 24h]
    #[arg(
        long,
        value_name = "TIME",
        default_value = "24h",
        hide_default_value = true,
        value_parser = period
    )]
    pub expires: Duration,
    /// All hosts at the same time instead of one, then a tenth, then all
    #[arg(long)]
    pub at_once: bool,
    /// A person confirms each stage, with `bailey policy confirm`
    #[arg(long)]
    pub hold: bool,
    /// Print the number of the push and do not wait for its end
    #[arg(long)]
    pub no_wait: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `policy push`.
#[derive(Debug, Clone, Args)]
pub struct Push {
    /// The policy file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The private key whose orders the hosts follow
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    pub key: Option<PathBuf>,
    /// Only to this host; may be given more than once
    #[arg(long, value_name = "HOST")]
    pub host: Vec<HostName>,
    /// Only to the hosts of this zone; may be given more than once
    #[arg(long, value_name = "ZONE")]
    pub zone: Vec<ZoneName>,
    /// How they come there.
    #[command(flatten)]
    pub pace: Pace,
    /// Write one signed order a host into this folder and send nothing
    #[arg(long, value_name = "DIR", conflicts_with_all = ["at_once", "hold", "no_wait", "yes"])]
    pub to: Option<PathBuf>,
    /// The hosts as `bailey -o json policy hosts` printed them, where no collector can be asked
    #[arg(long, value_name = "FILE", requires = "to")]
    pub inventory: Option<PathBuf>,
    /// Number the orders so; a host follows none that is not higher than all it has seen
    #[arg(long, value_name = "N", requires = "to")]
    pub number: Option<NonZeroU64>,
    /// Show which hosts would get what, and send nothing; end with 6 when a ruleset changes
    #[arg(long)]
    pub dry_run: bool,
}

/// One push by its number.
#[derive(Debug, Clone, Args)]
pub struct OnePush {
    /// The number of the push
    #[arg(value_name = "ID")]
    pub id: Option<u64>,
}

/// Arguments of `policy rollback`.
#[derive(Debug, Clone, Args)]
pub struct Rollback {
    /// The private key whose orders the hosts follow
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// How the policy comes to the hosts.
    #[command(flatten)]
    pub pace: Pace,
}

/// `quarantine` with a host, or with what else.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct QuarantineVerb {
    /// Something else than a host
    #[command(subcommand)]
    pub what: Option<QuarantineWhat>,
    /// A host
    #[command(flatten)]
    pub host: Option<Quarantine>,
}

/// What else than a host can be in quarantine.
#[derive(Debug, Clone, Subcommand)]
pub enum QuarantineWhat {
    /// Switch a port of a device off until a time, when a second person approves, and on again
    Port(QuarantinePort),
}

/// Arguments of `quarantine port`.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct QuarantinePort {
    /// The device's name
    #[arg(value_name = "DEVICE")]
    pub device: HostName,
    /// The port, by its name or number
    #[arg(value_name = "PORT")]
    pub port: String,
    /// When it ends by itself: a time, or how long from now
    #[arg(
        long,
        value_name = "WHEN",
        value_parser = until,
        required_unless_present_any = ["approve", "release"],
        conflicts_with_all = ["approve", "release"]
    )]
    pub until: Option<Until>,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present_any = ["approve", "release"],
        conflicts_with_all = ["approve", "release"]
    )]
    pub reason: Option<String>,
    /// Approve what another person asked for
    #[arg(long, conflicts_with = "release")]
    pub approve: bool,
    /// End it, or take the wish back
    #[arg(long)]
    pub release: bool,
    /// Only say what would be cut off
    #[arg(long, conflicts_with_all = ["approve", "release"])]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `quarantine`.
#[derive(Debug, Clone, Args)]
pub struct Quarantine {
    /// The host's name
    #[arg(value_name = "HOST")]
    pub host: HostName,
    /// When it ends by itself: a time, or how long from now
    #[arg(
        long,
        value_name = "WHEN",
        value_parser = until,
        required_unless_present = "release",
        conflicts_with = "release"
    )]
    pub until: Option<Until>,
    /// Why, for whoever works on the host
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "release",
        conflicts_with = "release"
    )]
    pub reason: Option<String>,
    /// End the quarantine
    #[arg(long)]
    pub release: bool,
    /// The private key whose orders the host follows
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The policy that says what a host in quarantine keeps [default: the one pushed last]
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    pub policy: Option<PathBuf>,
    /// Print the number of the push and do not wait for its end
    #[arg(long)]
    pub no_wait: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// The end of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At a point in time.
    At(Timestamp),
    /// So long from now.
    For(Duration),
}

/// Arguments of `policy plan`.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// The policy file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only this host; may be given more than once
    #[arg(long, value_name = "HOST")]
    pub host: Vec<HostName>,
    /// Compare with this file, and ask no collector [default: the policy pushed last]
    #[arg(long, value_name = "OLD")]
    pub against: Option<PathBuf>,
    /// End with 6 when something changes
    #[arg(long)]
    pub exit_code: bool,
}

/// Arguments of `ruleset`.
#[derive(Debug, Clone, Args)]
pub struct RulesetVerb {
    /// What to ask.
    #[command(subcommand)]
    pub command: RulesetCommand,
}

/// The commands under `ruleset`.
#[derive(Debug, Clone, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, made from the command line")]
pub enum RulesetCommand {
    /// Follow packets through the filters and say what becomes of them
    Trace(Trace),
    /// Show which addresses may open which service to which
    Matrix(Matrix),
    /// Find rules that do nothing, contradict others, or open everything
    Lint(Lint),
    /// Show which packets one ruleset lets through and another does not
    Diff(RulesetDiff),
}

/// What a kernel printed. All files are of one kernel.
#[derive(Debug, Clone, Args)]
pub struct Listings {
    /// What `nft -j list ruleset` printed; - is standard input
    #[arg(long, value_name = "FILE")]
    pub nft_json: Vec<PathBuf>,
    /// What iptables-save or ip6tables-save printed; may be given several times
    #[arg(long, value_name = "FILE")]
    pub iptables_save: Vec<PathBuf>,
    /// What `ip address` printed, as text or as JSON
    #[arg(long, value_name = "FILE")]
    pub addresses: Vec<PathBuf>,
    /// What `ip route`, `ip -6 route` or `ip rule` printed; may be given several times
    #[arg(long, value_name = "FILE")]
    pub routes: Vec<PathBuf>,
}

/// Which way packets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// To the host.
    Input,
    /// From the host.
    Output,
    /// Through the host.
    Forward,
}

/// Arguments of `ruleset trace`.
#[derive(Debug, Clone, Args)]
#[allow(clippy::doc_markdown, reason = "these words are the help, as it is shown")]
pub struct Trace {
    /// Where one packet comes from: 10.1.7.20 or 10.1.7.20:40000
    #[arg(value_name = "SRC", requires = "dst", conflicts_with = "packets")]
    pub src: Option<String>,
    /// Where it goes: 10.1.2.10:443/tcp, 10.1.2.10/icmp or an IPv6 address in brackets
    #[arg(value_name = "DST")]
    pub dst: Option<String>,
    /// What the kernel printed.
    #[command(flatten)]
    pub listings: Listings,
    /// The way of the packets: input, output, forward
    #[arg(long, value_name = "HOOK", hide_possible_values = true)]
    pub hook: Way,
    /// Many packets, one JSON object a line; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "src")]
    pub packets: Option<PathBuf>,
    /// The interface that one packet comes in by
    #[arg(long, value_name = "NAME", conflicts_with = "packets")]
    pub iif: Option<String>,
    /// The interface that it goes out by
    #[arg(long, value_name = "NAME", conflicts_with = "packets")]
    pub oif: Option<String>,
    /// What connection tracking says of it: new, established, related, invalid, untracked [default: new]
    #[arg(long, value_name = "STATE", conflicts_with = "packets")]
    pub ct_state: Option<String>,
    /// Its TCP flags, such as syn,ack [default: syn where it is new]
    #[arg(long, value_name = "FLAGS", conflicts_with = "packets")]
    pub tcp_flags: Option<String>,
    /// Its ICMP type, such as echo-request or 3/1
    #[arg(long, value_name = "TYPE", conflicts_with = "packets")]
    pub icmp_type: Option<String>,
    /// Its sender on the wire
    #[arg(long, value_name = "MAC", conflicts_with = "packets")]
    pub mac: Option<String>,
}

/// Arguments of `prove`.
#[derive(Debug, Clone, Args)]
pub struct Prove {
    /// Only this invariant [default: all of the policy]
    #[arg(value_name = "INV")]
    pub invariant: Option<String>,
    /// Ask no collector but this file, which names the policy, the hosts and what each of them printed
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// What was known at this time (RFC 3339) [default: now]
    #[arg(long, value_name = "AT", conflicts_with = "model")]
    pub at: Option<Timestamp>,
}

/// Arguments of `ruleset matrix`.
#[derive(Debug, Clone, Args)]
pub struct Matrix {
    /// What the kernel printed.
    #[command(flatten)]
    pub listings: Listings,
    /// The packets' way: input, output, forward
    #[arg(long, value_name = "HOOK", hide_possible_values = true)]
    pub hook: Way,
}

/// Arguments of `ruleset lint`.
#[derive(Debug, Clone, Args)]
pub struct Lint {
    /// What the kernel printed.
    #[command(flatten)]
    pub listings: Listings,
    /// Only rules on this way: input, output, forward [default: all]
    #[arg(long, value_name = "HOOK", hide_possible_values = true)]
    pub hook: Option<Way>,
    /// End with 6 when something is odd
    #[arg(long)]
    pub exit_code: bool,
}

/// Arguments of `ruleset diff`.
#[derive(Debug, Clone, Args)]
pub struct RulesetDiff {
    /// The ruleset as it was: output of `nft -j list ruleset` or of `iptables-save`
    #[arg(value_name = "A")]
    pub old: PathBuf,
    /// The ruleset to compare it with
    #[arg(value_name = "B")]
    pub new: PathBuf,
    /// What `ip addr` printed, or `ip -j addr`, on both
    #[arg(long, value_name = "FILE")]
    pub addresses: Vec<PathBuf>,
    /// What `ip route` or `ip rule` printed, or `ip -j route`, on both
    #[arg(long, value_name = "FILE")]
    pub routes: Vec<PathBuf>,
    /// Only this way: input, output, forward [default: all]
    #[arg(long, value_name = "HOOK", hide_possible_values = true)]
    pub hook: Option<Way>,
}

/// Arguments of `device`.
#[derive(Debug, Clone, Args)]
pub struct DeviceVerb {
    /// What to do with it.
    #[command(subcommand)]
    pub command: DeviceCommand,
}

/// The commands under `device`.
#[derive(Debug, Clone, Subcommand)]
pub enum DeviceCommand {
    /// Examine a device and poll it from now on; ends with 6 when it has a fault
    Add(AddDevice),
    /// List the devices and their states
    List(ListDevices),
    /// Show one device: its checks, and its interfaces with their use
    Show(NamedDevice),
    /// Ask a device with other credentials from now on; ends with 6 when they are wrong
    Credentials(OtherCredentials),
    /// Poll a device no more
    Remove(RemoveDevice),
}

/// Arguments of `device add`.
#[derive(Debug, Clone, Args)]
pub struct AddDevice {
    /// The device's address, and its port if it is not 161
    #[arg(value_name = "ADDRESS[:PORT]")]
    pub device: DeviceAddress,
    /// The zone that it is in
    #[arg(long, value_name = "ZONE")]
    pub zone: ZoneName,
    /// What it is called [default: its own name, or its address]
    #[arg(long, value_name = "DEVICE")]
    pub name: Option<HostName>,
    /// The credentials: YAML with a community or a user of SNMPv3, - for standard input [default: ask]
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
}

/// Arguments of `device list`.
#[derive(Debug, Clone, Args)]
pub struct ListDevices {
    /// Only devices of this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<ZoneName>,
}

/// One device, by its name.
#[derive(Debug, Clone, Args)]
pub struct NamedDevice {
    /// The device's name
    #[arg(value_name = "DEVICE")]
    pub device: HostName,
}

/// Arguments of `device credentials`.
#[derive(Debug, Clone, Args)]
pub struct OtherCredentials {
    /// The device's name
    #[arg(value_name = "DEVICE")]
    pub device: HostName,
    /// The credentials: YAML with a community or a user of SNMPv3, - for standard input [default: ask]
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
}

/// Arguments of `device remove`.
#[derive(Debug, Clone, Args)]
pub struct RemoveDevice {
    /// The device's name
    #[arg(value_name = "DEVICE")]
    pub device: HostName,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `snmp`.
#[derive(Debug, Clone, Args)]
pub struct SnmpVerb {
    /// What to do with it.
    #[command(subcommand)]
    pub command: SnmpCommand,
}

/// The commands under `snmp`.
#[derive(Debug, Clone, Subcommand)]
pub enum SnmpCommand {
    /// Say what is wrong with a device that does not answer; ends with 6 when something is
    Doctor(OneDevice),
    /// Show everything that a device tells: interfaces, power, storage, neighbours
    Show(OneDevice),
}

/// One device, and how it wants to be asked.
#[derive(Debug, Clone, Args)]
pub struct OneDevice {
    /// The device's address, and its port if it is not 161
    #[arg(value_name = "ADDRESS[:PORT]")]
    pub device: DeviceAddress,
    /// The credentials: YAML with a community, or with a user of SNMPv3
    #[arg(long, value_name = "FILE")]
    pub credentials: PathBuf,
}

/// Where a device is asked: an IP address or a host name, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAddress {
    /// The address or name, without brackets.
    pub host: String,
    /// The UDP port.
    pub port: u16,
}

impl fmt::Display for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for DeviceAddress {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "write it as 10.1.0.2, 10.1.0.2:161, core-1:161 or [fd00::2]:161";
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(WRONG)?;
                host.parse::<Ipv6Addr>().map_err(|_| WRONG)?;
                match port {
                    "" => (host, None),
                    port => (host, Some(port.strip_prefix(':').ok_or(WRONG)?)),
                }
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_address = host.parse::<IpAddr>().is_ok();
        if !is_address && host.to_ascii_lowercase().parse::<HostName>().is_err() {
            return Err(WRONG);
        }
        let port = match port {
            None => snmp::udp::PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(WRONG)?,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Arguments of `enroll token`.
#[derive(Debug, Clone, Args)]
pub struct Token {
    /// The name that the host will have
    #[arg(long, value_name = "HOST")]
    pub host: HostName,
    /// The zone that it is in
    #[arg(long, value_name = "ZONE")]
    pub zone: ZoneName,
    /// How long the token can be used, such as 10m or 2 h [default: 10m]
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10m",
        hide_default_value = true,
        value_parser = period
    )]
    pub ttl: Duration,
    /// The public key whose orders the host is to follow: FILE.pub of `bailey policy key`
    #[arg(long, value_name = "FILE")]
    pub security_key: Option<PathBuf>,
}

/// Arguments of `enroll revoke`.
#[derive(Debug, Clone, Args)]
pub struct Revoke {
    /// The host's name
    #[arg(value_name = "HOST")]
    pub host: HostName,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// A length of time as in files (`10 min`), or with `m` for minutes as other tools write it.
fn period(text: &str) -> Result<Duration, String> {
    let minutes = text.strip_suffix('m').and_then(|number| number.trim().parse::<u64>().ok());
    match minutes {
        Some(minutes) => Ok(Duration::from_secs(minutes.saturating_mul(60))),
        None => text.parse().map(|Period(length)| length).map_err(|e| format!("{e}")),
    }
}

/// A point in time (RFC 3339), or a length of time from now on.
fn until(text: &str) -> Result<Until, String> {
    match text.parse::<Timestamp>() {
        Ok(at) => Ok(Until::At(at)),
        Err(not) => period(text).map(Until::For).map_err(|_| format!("{not}, or as 4 h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_length() {
        let eight = "2026-11-26T08:00:00+08:00";
        assert_eq!(until(eight), Ok(Until::At(Timestamp::from_seconds(1_795_651_200))));
        assert_eq!(until("4 h"), Ok(Until::For(Duration::from_hours(4))));
        for text in ["", "tomorrow", "2026-11-26", "08:00"] {
            assert!(until(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_is_named_by_address_or_name_with_or_without_its_port() {
        for (text, host, port) in [
            ("10.1.0.2", "10.1.0.2", 161),
            ("10.1.0.2:1161", "10.1.0.2", 1161),
            ("fd00::2", "fd00::2", 161),
            ("[fd00::2]:1161", "fd00::2", 1161),
            ("[fd00::2]", "fd00::2", 161),
            ("core-1.inner:162", "core-1.inner", 162),
        ] {
            let read = text.parse::<DeviceAddress>();
            assert_eq!(read, Ok(DeviceAddress { host: host.to_owned(), port }), "{text}");
        }
        for text in
            ["", ":161", "10.1.0.2:", "10.1.0.2:0", "10.1.0.2:65536", "[core-1]:161", "[::1"]
        {
            assert!(text.parse::<DeviceAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_to_live_is_read_as_files_and_as_other_tools_write_it() {
        for (text, seconds) in [("10m", 600), ("10 min", 600), ("2h", 7200), ("90s", 90)] {
            assert_eq!(period(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "10", "-1m", "10 fortnights"] {
            assert!(period(text).is_err(), "{text}");
        }
    }
}
