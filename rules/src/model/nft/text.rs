//! The words of a rule, as nft(8) would print them, from its JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::model::MAX_TEXT;

/// How deep an expression is printed; the rest is `...`.
const MAX_NESTED: usize = 16;

/// The words of a rule.
pub(super) fn rule(statements: &[Value]) -> String {
    let mut out = String::new();
    for one in statements {
        if !out.is_empty() {
            out.push(' ');
        }
        statement(&mut out, one);
        if out.len() > MAX_TEXT {
            break;
        }
    }
    cut(out)
}

/// At most [`MAX_TEXT`] octets, with `...` where something is missing.
pub(in crate::model) fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let mut end = MAX_TEXT - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// The words of one statement.
pub(super) fn one(value: &Value) -> String {
    let mut out = String::new();
    statement(&mut out, value);
    cut(out)
}

fn statement(out: &mut String, value: &Value) {
    let Some((name, what)) = value.as_object().and_then(|object| object.iter().next()) else {
        return expression(out, value, 0);
    };
    match name.as_str() {
        "match" => {
            expression(out, &what["left"], 0);
            match what["op"].as_str() {
                None | Some("==" | "in") => out.push(' '),
                Some(op) => {
                    let _ = write!(out, " {op} ");
                }
            }
            expression(out, &what["right"], 0);
        }
        "vmap" => {
            expression(out, &what["key"], 0);
            out.push_str(" vmap ");
            expression(out, &what["data"], 0);
        }
        "mangle" => {
            expression(out, &what["key"], 0);
            out.push_str(" set ");
            expression(out, &what["value"], 0);
        }
        "jump" | "goto" => {
            let _ = write!(out, "{name} {}", what["target"].as_str().unwrap_or("?"));
        }
        // What a counter says changes with every packet.
        "counter" => match what.as_str() {
            Some(of) => {
                let _ = write!(out, "counter name {of}");
            }
            None => out.push_str(name),
        },
        "set" => {
            let (op, set) = (what["op"].as_str(), what["set"].as_str());
            let _ = write!(out, "{} {} {{ ", op.unwrap_or("add"), set.unwrap_or("?"));
            expression(out, super::value::element(&what["elem"]), 0);
            out.push_str(" }");
        }
        "snat" | "dnat" | "masquerade" | "redirect" => nat(out, name, what),
        "reject" => {
            out.push_str(name);
            if let Some(with) = what["type"].as_str() {
                let _ = write!(out, " with {with}");
                if let Some(code) = what["expr"].as_str() {
                    let _ = write!(out, " {code}");
                }
            }
        }
        _ => {
            out.push_str(name);
            object_or(out, what, 0);
        }
    }
}

fn nat(out: &mut String, name: &str, what: &Value) {
    out.push_str(name);
    let (address, port) = (what.get("addr"), what.get("port"));
    if address.is_some() || port.is_some() {
        out.push_str(" to ");
    }
    if let Some(address) = address {
        expression(out, address, 0);
    }
    if let Some(port) = port {
        out.push(':');
        expression(out, port, 0);
    }
}

/// What a statement says besides its name.
fn object_or(out: &mut String, what: &Value, depth: usize) {
    match what {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let _ = write!(out, " {name} ");
                expression(out, value, depth + 1);
            }
        }
        other => {
            out.push(' ');
            expression(out, other, depth + 1);
        }
    }
}

fn expression(out: &mut String, value: &Value, depth: usize) {
    if depth > MAX_NESTED || out.len() > MAX_TEXT {
        out.push_str("...");
        return;
    }
    match value {
        Value::Null => {}
        Value::Bool(true) => out.push_str("exists"),
        Value::Bool(false) => out.push_str("missing"),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        // Where a line would end, or a sentence is written, the words stay on theirs.
        Value::String(text) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            out.push_str(&words.join(" "));
        }
        Value::Array(list) => joined(out, list, ",", depth),
        Value::Object(object) => named(out, object, depth),
    }
}

fn joined(out: &mut String, list: &[Value], between: &str, depth: usize) {
    for (place, one) in list.iter().enumerate() {
        if place > 0 {
            out.push_str(between);
        }
        if out.len() > MAX_TEXT {
            return;
        }
        expression(out, one, depth + 1);
    }
}

fn named(out: &mut String, object: &Map<String, Value>, depth: usize) {
    let Some((name, what)) = object.iter().next() else { return };
    let list = what.as_array().map(Vec::as_slice).unwrap_or_default();
    match name.as_str() {
        "payload" => match (what["protocol"].as_str(), what["field"].as_str()) {
            (Some(protocol), Some(field)) => {
                let _ = write!(out, "{protocol} {field}");
            }
            _ => {
                let base = what["base"].as_str().unwrap_or("?");
                let _ = write!(out, "@{base},{},{}", what["offset"], what["len"]);
            }
        },
        "meta" => {
            let key = what["key"].as_str().unwrap_or("?");
            // As nft prints them: some stand without their family of words.
            if !matches!(key, "iif" | "oif" | "iifname" | "oifname" | "iifgroup" | "oifgroup") {
                out.push_str("meta ");
            }
            out.push_str(key);
        }
        "ct" => {
            out.push_str("ct ");
            if let Some(direction) = what["dir"].as_str() {
                let _ = write!(out, "{direction} ");
            }
            if let Some(family) = what["family"].as_str() {
                let _ = write!(out, "{family} ");
            }
            out.push_str(what["key"].as_str().unwrap_or("?"));
        }
        "fib" => {
            out.push_str("fib ");
            match what["flags"].as_array() {
                Some(flags) => joined(out, flags, " . ", depth),
                None => expression(out, &what["flags"], depth + 1),
            }
            let _ = write!(out, " {}", what["result"].as_str().unwrap_or("?"));
        }
        "prefix" => {
            expression(out, &what["addr"], depth + 1);
            let _ = write!(out, "/{}", what["len"]);
        }
        "range" => joined(out, list, "-", depth),
        "concat" => joined(out, list, " . ", depth),
        "&" | "|" | "^" | "<<" | ">>" => joined(out, list, &format!(" {name} "), depth),
        "set" => {
            out.push_str("{ ");
            for (place, one) in list.iter().enumerate() {
                if out.len() > MAX_TEXT {
                    break;
                }
                if place > 0 {
                    out.push_str(", ");
                }
                match one.as_array().map(Vec::as_slice) {
                    Some([key, data]) => {
                        expression(out, super::value::element(key), depth + 1);
                        out.push_str(" : ");
                        expression(out, data, depth + 1);
                    }
                    _ => expression(out, super::value::element(one), depth + 1),
                }
            }
            out.push_str(" }");
        }
        "map" => {
            expression(out, &what["key"], depth + 1);
            out.push_str(" map ");
            expression(out, &what["data"], depth + 1);
        }
        "jump" | "goto" => {
            let _ = write!(out, "{name} {}", what["target"].as_str().unwrap_or("?"));
        }
        _ => {
            out.push_str(name);
            object_or(out, what, depth);
        }
    }
}
