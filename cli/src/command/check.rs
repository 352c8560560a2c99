//! `bailey check HOST`: one host for a monitoring system, by the plugin rules (Monitoring Plugins
//! Development Guidelines: one line, performance data after `|`, codes 0 to 3).

use std::cmp::Reverse;
use std::fmt::Write as _;

use bailey_rules::check::State;
use bailey_rules::name::HostName;
use bailey_rules::text::Text;
use serde::Deserialize;
use serde_json::Value;

use super::{Asking, host_path, json, read};
use crate::arguments::Format;
use crate::exit::{Done, Failure};
use crate::screen::Screen;

/// The code for everything that keeps the plugin from telling the host's state.
pub const UNKNOWN: u8 = 3;

/// The most lines after the first: monitoring systems cut long output.
const MAX_LINES: usize = 20;

/// What the plugin needs of the answer.
#[derive(Debug, Deserialize)]
struct Answer {
    host: String,
    state: State,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    title: Text,
    subject: String,
    state: State,
    why: Text,
}

/// Reports one host. Whatever goes wrong is an answer too.
pub(super) fn run(host: &HostName, asking: Result<Asking, Failure>, screen: Screen) -> Done {
    let reported = asking.and_then(|asking| {
        let answer = asking.client.get(&host_path(host))?;
        Ok((read(&answer)?, answer, asking.format))
    });
    match reported {
        Ok((typed, answer, format)) => report(&typed, &answer, format, screen),
        Err(failure) => unknown(screen.say(&failure.words)),
    }
}

/// The plugin's line for what it cannot tell.
pub fn unknown(why: impl std::fmt::Display) -> Done {
    let why = why.to_string().replace('|', "/");
    Done::said(format!("BAILEY UNKNOWN - {why}\n")).ending(UNKNOWN)
}

fn report(answer: &Answer, whole: &Value, format: Format, screen: Screen) -> Done {
    let (_, code) = plugin_status(answer.state);
    match format {
        Format::Json | Format::Ndjson => Done::said(json(whole, format)).ending(code),
        Format::Table => Done::said(lines(answer, screen)).ending(code),
    }
}

/// The word and the code that monitoring systems know.
const fn plugin_status(state: State) -> (&'static str, u8) {
    match state {
        State::Ok | State::Maintenance => ("OK", 0),
        State::Warning => ("WARNING", 1),
        State::Critical => ("CRITICAL", 2),
        State::Unknown | State::Stale => ("UNKNOWN", UNKNOWN),
    }
}

fn lines(answer: &Answer, screen: Screen) -> String {
    let mut bad: Vec<&Check> =
        answer.checks.iter().filter(|check| plugin_status(check.state).1 != 0).collect();
    bad.sort_by_key(|check| Reverse(check.state));
    // The bar begins performance data, so no text of a device may hold one.
    let why = |check: &Check| {
        let subject = if check.subject.is_empty() {
            String::new()
        } else {
            format!(" [{}]", crate::screen::clean(&check.subject))
        };
        let line = format!("{}{subject}: {}", screen.say(&check.title), screen.say(&check.why));
        line.replace('|', "/")
    };
    let (word, _) = plugin_status(answer.state);
    let host = crate::screen::clean(&answer.host);
    let first = match (bad.first(), bad.len()) {
        (None, _) => screen.word("everything is as it should be", "各项检查正常").to_owned(),
        (Some(check), 1) => why(check),
        (Some(check), many) => match screen.lang {
            bailey_rules::text::Lang::En => format!("{} and {} more", why(check), many - 1),
            bailey_rules::text::Lang::Zh => format!("{}，另有 {} 项", why(check), many - 1),
        },
    };
    let mut out = format!("BAILEY {word} - {host}: {first} |");
    for state in State::ALL {
        let count = answer.checks.iter().filter(|check| check.state == state).count();
        // Writing to a String cannot fail.
        let _ = write!(out, " {}={count}", state.as_str());
    }
    out.push('\n');
    for check in bad.iter().skip(1).take(MAX_LINES) {
        let (word, _) = plugin_status(check.state);
        let _ = writeln!(out, "{word} - {}", why(check));
    }
    out
}

#[cfg(test)]
mod tests {
    use bailey_rules::text::Lang;
    use serde_json::json;

    use super::*;

    fn check(state: &str, checks: &Value, expect: &str, code: u8) {
        let answer = json!({"schema": 1, "host": "oa-17", "state": state, "checks": checks});
        let screen = Screen { lang: Lang::En, colour: false };
        let done = report(&read(&answer).unwrap(), &answer, Format::Table, screen);
        assert_eq!(done, Done { text: expect.to_owned(), code });
    }

    fn verdict(state: &str, subject: &str, why: &str) -> Value {
        json!({
            "check": "backup_age", "title": {"en": "Backup age", "zh": "备份时间"},
            "component": "backup", "subject": subject, "state": state, "status": "ok",
            "why": {"en": why, "zh": why}, "evidence": [],
        })
    }

    #[test]
    fn a_good_host_is_one_line_with_performance_data() {
        check(
            "ok",
            &json!([verdict("ok", "home", "4 h old")]),
            "BAILEY OK - oa-17: everything is as it should be | ok=1 maintenance=0 stale=0 \
             unknown=0 warning=0 critical=0\n",
            0,
        );
    }

    #[test]
    fn the_worst_comes_first_and_the_rest_follows() {
        check(
            "critical",
            &json!([
                verdict("ok", "home", "4 h old"),
                verdict("warning", "etc", "31 h old"),
                verdict("critical", "oracle-fin", "80 h old"),
            ]),
            "BAILEY CRITICAL - oa-17: Backup age [oracle-fin]: 80 h old and 1 more | ok=1 \
             maintenance=0 stale=0 unknown=0 warning=1 critical=1\n\
             WARNING - Backup age [etc]: 31 h old\n",
            2,
        );
    }

    #[test]
    fn silence_is_unknown_and_never_ok() {
        check(
            "stale",
            &json!([verdict("stale", "", "nothing was heard")]),
            "BAILEY UNKNOWN - oa-17: Backup age: nothing was heard | ok=0 maintenance=0 stale=1 \
             unknown=0 warning=0 critical=0\n",
            3,
        );
    }

    #[test]
    fn no_text_of_a_device_can_forge_performance_data() {
        check(
            "warning",
            &json!([verdict("warning", "a|b", "x | critical=9\nOK - fine")]),
            "BAILEY WARNING - oa-17: Backup age [a/b]: x / critical=9\u{fffd}OK - fine | ok=0 \
             maintenance=0 stale=0 unknown=0 warning=1 critical=0\n",
            1,
        );
        assert_eq!(unknown("a|b").text, "BAILEY UNKNOWN - a/b\n");
    }
}
