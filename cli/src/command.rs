//! The commands. One command is one file; this file lists them and holds what they share.

mod alerts;
pub mod check;
mod delivery;
pub mod demo;
mod device;
mod enroll;
mod hosts;
mod lines;
mod policy;
mod proofs;
mod prove;
mod quarantine;
mod ruleset;
mod signin;
mod snmp;
mod status;
mod traps;
mod up;

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::arguments::{Arguments, Command, Format, Global, HostsCommand};
use crate::client::{Client, Door};
use crate::exit::{Done, Failure};
use crate::screen::Screen;

/// The most pages of a list that are asked for; with 200 rows on each, far more hosts than a
/// collector takes. A list that goes on keeps its cursor in `next`.
const MAX_PAGES: usize = 500;

/// The longest answer to a question that is read, in octets.
const MAX_REPLY: u64 = 1024;

/// Does what the command line says.
///
/// # Errors
/// When it could not be done, with the reason in both languages.
pub fn run(arguments: Arguments, screen: Screen) -> Result<Done, Failure> {
    let Arguments { command, global } = arguments;
    match command {
        Command::Up(up) => up::run(&up, &global, screen),
        Command::Demo(demo) => demo::run(&demo, &global, screen),
        Command::Status(status) => status::run(&status, &Asking::new(&global, screen)?),
        Command::Hosts(hosts) => match hosts.command {
            None => hosts::list::run(hosts.zone.as_ref(), &Asking::new(&global, screen)?),
            Some(HostsCommand::Show(one)) => {
                hosts::show::run(&one.host, &Asking::new(&global, screen)?)
            }
        },
        Command::Traps(wanted) => traps::run(&wanted, &Asking::new(&global, screen)?),
        Command::Alerts(alerts) => alerts::run(&alerts, &Asking::new(&global, screen)?),
        Command::Check(one) => Ok(check::run(&one.host, Asking::new(&global, screen), screen)),
        Command::Enroll(enroll) => enroll::run(&enroll.command, &Asking::new(&global, screen)?),
        Command::Policy(policy) => policy::run(&policy.command, &global, screen),
        Command::Quarantine(quarantine) => {
            quarantine::run(&quarantine, &Asking::new(&global, screen)?)
        }
        Command::Ruleset(ruleset) => ruleset::run(&ruleset.command, global.output, screen),
        Command::Prove(wanted) => match &wanted.model {
            Some(model) => prove::run(&wanted, model, global.output, screen),
            None => proofs::run(&wanted, &Asking::new(&global, screen)?),
        },
        Command::Device(device) => device::run(&device.command, &Asking::new(&global, screen)?),
        Command::Lines(wanted) => lines::run(&wanted, &Asking::new(&global, screen)?),
        Command::Snmp(snmp) => snmp::run(&snmp.command, global.output, screen),
        Command::Signin => signin::run(&Asking::new(&global, screen)?),
    }
}

/// What a command needs that asks a running collector.
pub struct Asking {
    client: Client,
    format: Format,
    screen: Screen,
    may_ask: bool,
}

impl Asking {
    fn new(global: &Global, screen: Screen) -> Result<Self, Failure> {
        Ok(Self {
            client: Client::new(Door::of(global)?)?,
            format: global.output,
            screen,
            may_ask: !global.no_input,
        })
    }

    /// Asks for every page of a list and joins them: `rows` names the list in the answer. `path`
    /// has a query already.
    fn all_pages(&self, path: &str, rows: &str) -> Result<Value, Failure> {
        let mut answer = self.client.get(path)?;
        for _ in 1..MAX_PAGES {
            let Some(after) = answer["next"].as_str() else { break };
            let mut page = self.client.get(&format!("{path}&after={}", escaped(after)))?;
            answer["next"] = page["next"].take();
            if let (Some(all), Some(more)) =
                (answer[rows].as_array_mut(), page[rows].as_array_mut())
            {
                all.append(more);
            }
        }
        Ok(answer)
    }

    /// Whether a person may be asked anything.
    fn may_ask(&self) -> bool {
        self.may_ask
    }

    /// Says something to a person without it becoming part of the output.
    fn talk(&self, text: &Text) {
        let words: Vec<String> =
            text.in_lang(self.screen.lang).lines().map(crate::screen::clean).collect();
        // Nobody may listen; nothing depends on it.
        let _ = writeln!(io::stderr(), "{}", words.join("\n"));
    }

    /// Whether whoever sits at the terminal writes `word` when asked to.
    fn confirmed(&self, question: &Text, word: &str) -> bool {
        if !self.may_ask || !io::stdin().is_terminal() {
            return false;
        }
        self.talk(question);
        let mut reply = String::new();
        let read = io::BufReader::new(io::stdin().take(MAX_REPLY)).read_line(&mut reply);
        read.is_ok() && reply.trim() == word
    }

    /// The answer as it is asked for: itself, or what `table` makes of it.
    fn answer<T: DeserializeOwned>(
        &self,
        answer: &Value,
        table: impl FnOnce(&T, Screen) -> String,
    ) -> Result<Done, Failure> {
        match self.format {
            Format::Json | Format::Ndjson => Ok(Done::said(json(answer, self.format))),
            Format::Table => Ok(Done::said(table(&read(answer)?, self.screen))),
        }
    }
}

/// An answer, typed as far as a table needs it.
fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|e| {
        Failure::error(
            format!("the collector's answer is not as expected: {e}; is it of another version?"),
            format!("采集器的应答不符合预期：{e}；版本是否不一致？"),
        )
    })
}

/// An answer for programs: spread out, or on one line.
fn json(answer: &Value, format: Format) -> String {
    match format {
        Format::Ndjson => format!("{answer}\n"),
        Format::Json | Format::Table => format!("{answer:#}\n"),
    }
}

/// The address of a host's answer.
fn host_path(host: &HostName) -> String {
    // Host names hold nothing that an address would have to escape.
    format!("/api/v1/hosts/{host}")
}

/// As much of a host key as tells two machines apart.
fn short_key(key: &str) -> String {
    let shown: String = key.chars().take(16).collect();
    format!("{shown}…")
}

/// A cursor in a query (RFC 3986 2.3).
fn escaped(cursor: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~:".contains(&c);
    cursor
        .bytes()
        .map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") })
        .collect()
}

/// How many findings are open.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Severities {
    critical: u64,
    warning: u64,
}

impl Severities {
    /// The numbers that are not zero.
    fn in_words(self, screen: Screen) -> String {
        let parts = [(self.critical, "critical", "严重"), (self.warning, "warning", "警告")];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, en, zh)| format!("{count} {}", screen.word(en, zh)))
            .collect();
        if parts.is_empty() { "-".to_owned() } else { parts.join(screen.word(", ", "，")) }
    }
}
