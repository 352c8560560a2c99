//! `bailey ruleset trace`: what becomes of packets.

mod one;
mod stream;

use bailey_rules::model::ruleset::{At, Place};
use bailey_rules::model::trace::{By, Direction, Tracer};
use serde_json::{Value, json};

use super::files;
use crate::arguments::{Format, Trace, Way};
use crate::exit::{Done, Failure};
use crate::screen::Screen;

/// Follows one packet, or many.
pub(super) fn run(wanted: &Trace, format: Format, screen: Screen) -> Result<Done, Failure> {
    let loaded = files::load(&wanted.listings)?;
    let tracer = Tracer::new(&loaded.ruleset, &loaded.network);
    let direction = match wanted.hook {
        Way::Input => Direction::Input,
        Way::Output => Direction::Output,
        Way::Forward => Direction::Forward,
    };
    match &wanted.packets {
        Some(path) => stream::run(&tracer, direction, path, format, screen),
        None => one::run(&tracer, direction, wanted, format, screen),
    }
}

/// What decided, for programs: the table and chain with the rule, or with the policy.
fn decided(tracer: &Tracer<'_>, by: By) -> Value {
    let of = |at: At| {
        let table = tracer.ruleset().table(at);
        let chain = &tracer.ruleset().chain(at).name;
        json!({"family": table.family.name(), "table": table.name, "chain": chain})
    };
    match by {
        By::Nothing => Value::Null,
        By::Policy(at) => {
            let mut value = of(at);
            let accepts = tracer.ruleset().chain(at).base.as_ref().is_some_and(|base| base.accepts);
            value["policy"] = if accepts { "accept" } else { "drop" }.into();
            value
        }
        By::Rule(at, place) => {
            let mut value = of(at);
            let origin = &tracer.rule(at, place).origin;
            match origin.place {
                Place::Handle(handle) => value["handle"] = handle.into(),
                Place::Line(line) => value["line"] = line.into(),
            }
            value["text"] = origin.text.as_str().into();
            if let Some(comment) = &origin.comment {
                value["comment"] = comment.as_str().into();
            }
            value
        }
    }
}

/// What decided, in words.
fn in_words(tracer: &Tracer<'_>, by: By, screen: Screen) -> String {
    let of = |at: At| {
        let table = files::named(tracer.ruleset().table(at));
        format!("{table} {}", tracer.ruleset().chain(at).name)
    };
    match by {
        By::Nothing => screen.word("no chain", "没有经过任何链").to_owned(),
        By::Policy(at) => {
            let accepts = tracer.ruleset().chain(at).base.as_ref().is_some_and(|base| base.accepts);
            let policy = if accepts { "accept" } else { "drop" };
            format!("{}: {} {policy}", of(at), screen.word("policy", "默认策略"))
        }
        By::Rule(at, place) => format!("{} {}", of(at), rule(tracer, at, place)),
    }
}

/// A rule with its place.
fn rule(tracer: &Tracer<'_>, at: At, place: u32) -> String {
    let origin = &tracer.rule(at, place).origin;
    let place = match origin.place {
        Place::Handle(handle) => format!("#{handle}"),
        Place::Line(line) => format!(":{line}"),
    };
    match &origin.comment {
        Some(comment) => format!("{place}: {} \"{comment}\"", origin.text),
        None => format!("{place}: {}", origin.text),
    }
}
