//! The command line. The English words of the help stand here; the Chinese ones in
//! [`crate::help`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bailey_collector::settings::{DialAddress, Endpoint};
use bailey_rules::name::{HostName, ZoneName};
use bailey_rules::text::Lang;
use bailey_rules::unit::Period;
use clap::builder::PossibleValue;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// The heading of the options that every command takes.
pub const GLOBAL: &str = "Global options";

/// What `--help` says at the end.
const AFTER: &str = "\
Exit codes:
  0 done   1 error   2 wrong command line   3 not found   4 denied
  5 a person must confirm   6 critical findings are open (with --exit-code)   7 no collector answers
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
    /// Show how the site is
    Status(Status),
    /// List the hosts and their states
    Hosts(Hosts),
    /// List what is wrong, worst first
    Alerts(Alerts),
    /// Report one host to a monitoring system, as its plugins do
    Check(OneHost),
    /// Let hosts in, and throw them out
    Enroll(Enroll),
    /// Check a policy, compile it, and see what it changes
    Policy(PolicyVerb),
    /// Ask what packet filters do, from what kernels printed
    Ruleset(RulesetVerb),
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

#[cfg(test)]
mod tests {
    use super::*;

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

/// Arguments of `ruleset`.
#[derive(Debug, Clone, Args)]
pub struct RulesetVerb {
    /// What to ask.
    #[command(subcommand)]
    pub command: RulesetCommand,
}

/// The commands under `ruleset`.
#[derive(Debug, Clone, Subcommand)]
pub enum RulesetCommand {
    /// Follow packets through the filters and say what becomes of them
    Trace(Trace),
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
