//! The command line tool `bailey`: starts a collector that watches this machine, and asks a
//! running one.
//!
//! A command line meets the modules in this order: [`language`] (in which to speak) →
//! [`arguments`] and [`help`] (what is wanted) → a file of [`command`] → [`client`] (asking the
//! collector) → [`screen`] (what the reader sees) → [`exit`]. What goes to hosts is made by [`orders`] and
//! signed with a key of [`key_file`].

pub mod arguments;
pub mod client;
pub mod command;
pub mod exit;
pub mod help;
pub mod key_file;
pub mod language;
pub mod netns;
pub mod orders;
pub mod screen;
pub mod this_host;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use bailey_rules::text::Lang;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::arguments::Arguments;
use crate::exit::{Done, Exit, Failure};
use crate::screen::Screen;

/// Does what the words of a command line say, the program's name first among them.
#[must_use]
pub fn run(line: &[OsString]) -> ExitCode {
    let screen = Screen {
        lang: language::spoken(line, |name| std::env::var_os(name)),
        colour: wants_colour(),
    };
    let understood = help::spoken(Arguments::command(), screen.lang)
        .try_get_matches_from(line)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    match understood {
        Err(error) => not_understood(&error, line, screen.lang),
        Ok(arguments) => match command::run(arguments, screen) {
            Ok(done) => say(&done),
            Err(failure) => complain(&failure, screen),
        },
    }
}

/// Colour is for terminals whose reader has not refused it (<https://no-color.org>).
fn wants_colour() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// Help and version are answers; everything else is a wrong command line.
fn not_understood(error: &clap::Error, line: &[OsString], lang: Lang) -> ExitCode {
    if !error.use_stderr() {
        return say(&Done::said(help::shown(error, lang)));
    }
    let words = help::wrong(error, lang);
    if asks_as_plugin(line) {
        let first: Vec<&str> =
            words.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        return say(&command::check::unknown(first.join(" ")));
    }
    let _ = io::stderr().write_all(words.as_bytes());
    Exit::Usage.into()
}

/// Whether the line was meant to be `check`, whose codes are others: 2 would mean critical there.
fn asks_as_plugin(line: &[OsString]) -> bool {
    let lenient = Arguments::command().ignore_errors(true).try_get_matches_from(line);
    lenient.is_ok_and(|matches| matches.subcommand_name() == Some("check"))
}

/// Says what was done. Whoever reads it may stop reading.
fn say(done: &Done) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(done.text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Error.into(),
        Ok(()) | Err(_) => ExitCode::from(done.code),
    }
}

fn complain(failure: &Failure, screen: Screen) -> ExitCode {
    let words: Vec<String> =
        failure.words.in_lang(screen.lang).lines().map(screen::clean).collect();
    // Standard error may be closed; the exit code says the rest.
    let _ = writeln!(io::stderr(), "bailey: {}", words.join("\n"));
    failure.exit.into()
}
