//! The command line. The English words of the help stand here; the Chinese ones in
//! [`crate::help`].

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bailey_collector::poll::snmp;
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
  5 a person must confirm   6 critical findings are open (with --exit-code), or a device has a fault
  7 no collector answers
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
    /// Print a table, or the collector's answer as JSON: table, json [default: table]
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
    /// For programs: the collector's answer, with its `schema`.
    Json,
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
