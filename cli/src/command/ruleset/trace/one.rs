//! One packet, with everything that happens on its way.

use std::fmt::Write as _;

use bailey_rules::model::field::{self, Field};
use bailey_rules::model::packet::{Packet, Protocol, State};
use bailey_rules::model::trace::{Certainty, Direction, Event, Explained, Happened, Tracer};
use serde_json::{Map, Value, json};

use super::super::super::json as written;
use super::super::files;
use super::{decided, in_words, rule};
use crate::arguments::{Format, Trace};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, Table, clean};

/// The version of the answer for programs.
const SCHEMA: u32 = 1;

/// Follows the packet that the command line tells of.
pub(super) fn run(
    tracer: &Tracer<'_>,
    direction: Direction,
    wanted: &Trace,
    format: Format,
    screen: Screen,
) -> Result<Done, Failure> {
    let packet = packet(wanted)?;
    let explained = tracer.explain(&packet, direction).map_err(|why| wrong(&why.to_string()))?;
    Ok(Done::said(match format {
        Format::Table => in_lines(tracer, &explained, screen),
        Format::Json | Format::Ndjson => {
            let path: Vec<Value> =
                explained.events.iter().map(|event| step(tracer, event)).collect();
            let value = json!({
                "schema": SCHEMA,
                "verdict": explained.answer.verdict.name(),
                "certainty": explained.answer.certainty.name(),
                "rule": decided(tracer, explained.answer.by),
                "unknown": explained.answer.reasons,
                "path": path,
            });
            written(&value, format)
        }
    }))
}

fn wrong(what: &str) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("this is no packet: {what}"),
        format!("这不是有效的报文：{what}"),
    )
}

/// The packet that the command line tells of.
fn packet(wanted: &Trace) -> Result<Packet, Failure> {
    let mut fields = Map::new();
    let source = wanted.src.as_deref().unwrap_or_default();
    let (source, sport) = end(source);
    fields.insert("src".to_owned(), source.into());
    let destination = wanted.dst.as_deref().unwrap_or_default();
    let (destination, protocol) = match destination.rsplit_once('/') {
        Some((end, protocol)) => (end, Some(protocol)),
        None => (destination, None),
    };
    let (destination, dport) = end(destination);
    fields.insert("dst".to_owned(), destination.into());
    let given = [
        ("proto", protocol),
        ("iif", wanted.iif.as_deref()),
        ("oif", wanted.oif.as_deref()),
        ("tcp_flags", wanted.tcp_flags.as_deref()),
        ("icmp_type", wanted.icmp_type.as_deref()),
        ("state", Some(wanted.ct_state.as_deref().unwrap_or(State::New.name()))),
        ("mac", wanted.mac.as_deref()),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.into());
        }
    }
    for (name, port) in [("sport", sport), ("dport", dport)] {
        let Some(text) = port else { continue };
        let port: u16 = text.parse().map_err(|_| wrong(&format!("{text} is not a port")))?;
        fields.insert(name.to_owned(), port.into());
    }
    let mut packet: Packet =
        serde_json::from_value(fields.into()).map_err(|why| wrong(&why.to_string()))?;
    let opens =
        packet.state == Some(State::New) && packet.proto == Some(Protocol::Number(field::TCP));
    if opens && packet.tcp_flags.is_none() {
        // What opens a connection.
        packet.tcp_flags = Some(bailey_rules::model::packet::TcpFlags(2));
    }
    Ok(packet)
}

/// `10.1.2.10`, `10.1.2.10:443`, `fd00::1` or `[fd00::1]:443`.
fn end(text: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return (address, rest.strip_prefix(':'));
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => (address, Some(port)),
        _ => (text, None),
    }
}

fn in_lines(tracer: &Tracer<'_>, explained: &Explained, screen: Screen) -> String {
    let answer = &explained.answer;
    let mut out = String::new();
    let verdict = match answer.certainty {
        Certainty::Exact => answer.verdict.name().to_owned(),
        Certainty::May => screen
            .word(
                &format!("may {}", answer.verdict.name()),
                &format!("可能 {}", answer.verdict.name()),
            )
            .to_owned(),
    };
    let by = clean(&in_words(tracer, answer.by, screen));
    let _ = writeln!(out, "{verdict}  {by}");
    if !answer.reasons.is_empty() {
        let reasons: Vec<String> = answer.reasons.iter().map(|reason| clean(reason)).collect();
        let unknown = screen.word("not known", "未知");
        let _ = writeln!(out, "  {unknown}: {}", reasons.join("; "));
    }
    let mut table = Table::indented(2);
    for event in &explained.events {
        let chain = files::named(tracer.ruleset().table(event.at));
        let chain = format!("{chain} {}", tracer.ruleset().chain(event.at).name);
        let what = match &event.what {
            Happened::Rule(place) => rule(tracer, event.at, *place),
            Happened::Policy { accepts } => {
                let policy = if *accepts { "accept" } else { "drop" };
                format!("{} {policy}", screen.word("policy", "默认策略"))
            }
            Happened::Changed { field, to } => {
                let to = to.map_or_else(
                    || screen.word("something not known", "未知的值").to_owned(),
                    |to| value(*field, to),
                );
                format!("{} -> {to}", field.name())
            }
        };
        table.row([event.hook.name().into(), chain.into(), what.into()]);
    }
    out.push_str(&table.render());
    out
}

/// A value as people write it.
fn value(field: Field, value: u128) -> String {
    match field {
        Field::Source4 | Field::Destination4 => {
            let bits = u32::try_from(value).unwrap_or_default();
            std::net::Ipv4Addr::from_bits(bits).to_string()
        }
        Field::Source6 | Field::Destination6 => std::net::Ipv6Addr::from_bits(value).to_string(),
        Field::Mark | Field::ConnectionMark => format!("{value:#x}"),
        _ => value.to_string(),
    }
}

fn step(tracer: &Tracer<'_>, event: &Event) -> Value {
    let table = tracer.ruleset().table(event.at);
    let mut step = json!({
        "hook": event.hook.name(),
        "family": table.family.name(),
        "table": table.name,
        "chain": tracer.ruleset().chain(event.at).name,
    });
    match &event.what {
        Happened::Rule(place) => {
            step["rule"] = decided(tracer, bailey_rules::model::trace::By::Rule(event.at, *place));
        }
        Happened::Policy { accepts } => {
            step["policy"] = if *accepts { "accept" } else { "drop" }.into();
        }
        Happened::Changed { field, to } => {
            step["changed"] = field.name().into();
            step["to"] = to.map_or(Value::Null, |to| value(*field, to).into());
        }
    }
    step
}
