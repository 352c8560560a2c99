//! `bailey ruleset lint`: what is odd about rules.

use bailey_rules::model::ruleset::{At, Place, Ruleset};
use bailey_rules::prove::Space;
use bailey_rules::prove::lint::{Odd, lint};
use bailey_rules::prove::matrix::WAYS;
use serde_json::{Value, json};

use super::super::json as json_text;
use super::files::{Loaded, load};
use super::{SCHEMA, direction, too_complex};
use crate::arguments::{Format, Lint};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, clean};

/// Shows what is odd in the files.
pub(super) fn run(wanted: &Lint, format: Format, screen: Screen) -> Result<Done, Failure> {
    let Loaded { ruleset, network } = load(&wanted.listings)?;
    let ways = wanted.hook.map_or_else(|| WAYS.to_vec(), |way| vec![direction(way)]);
    let mut space = Space::default();
    let found = lint(&mut space, &ruleset, &network, &ways).map_err(too_complex)?;
    let done = Done::said(match format {
        Format::Json | Format::Ndjson => json_text(
            &json!({
                "schema": SCHEMA,
                "findings": found.iter().map(|odd| finding(&ruleset, odd)).collect::<Vec<_>>(),
            }),
            format,
        ),
        Format::Table if found.is_empty() => {
            format!("{}\n", screen.word("Nothing is odd.", "未发现问题。"))
        }
        Format::Table => found.iter().map(|odd| lines(&ruleset, odd, screen)).collect(),
    });
    if wanted.exit_code && !found.is_empty() {
        return Ok(done.ending(Exit::Findings.code()));
    }
    Ok(done)
}

fn place(ruleset: &Ruleset, chain: At, rule: Option<u32>) -> Value {
    let table = ruleset.table(chain);
    let mut place = json!({
        "family": table.family.name(), "table": table.name, "chain": table.chain(chain.chain).name,
    });
    if let Some(rule) = rule.and_then(|rule| ruleset.chain(chain).rules.get(rule as usize)) {
        match rule.origin.place {
            Place::Handle(handle) => place["handle"] = json!(handle),
            Place::Line(line) => place["line"] = json!(line),
        }
        place["rule"] = json!(rule.origin.text);
        if let Some(comment) = &rule.origin.comment {
            place["comment"] = json!(comment);
        }
    }
    place
}

fn finding(ruleset: &Ruleset, odd: &Odd) -> Value {
    let by = odd.what.causes();
    let mut finding = place(ruleset, odd.chain, odd.rule);
    finding["finding"] = json!(odd.what.name());
    if !by.is_empty() {
        let by = by.iter().map(|by| place(ruleset, by.chain, Some(by.rule)));
        finding["by"] = json!(by.collect::<Vec<_>>());
    }
    let text = odd.what.text();
    finding["text"] = json!(text.in_lang(bailey_rules::text::Lang::En));
    finding["text_zh"] = json!(text.in_lang(bailey_rules::text::Lang::Zh));
    finding
}

/// A place in one line: family, table, chain, and how to find the rule again.
fn shown(ruleset: &Ruleset, chain: At, rule: Option<u32>, screen: Screen) -> String {
    let table = ruleset.table(chain);
    let chain_name = &table.chain(chain.chain).name;
    let at = format!("{} {} {chain_name}", table.family.name(), table.name);
    let Some(rule) = rule.and_then(|rule| ruleset.chain(chain).rules.get(rule as usize)) else {
        return clean(&at);
    };
    let number = match rule.origin.place {
        Place::Handle(handle) => format!("{} {handle}", screen.word("handle", "句柄")),
        Place::Line(line) => format!("{} {line}", screen.word("line", "行")),
    };
    clean(&format!("{at} {number}: {}", rule.origin.text))
}

fn lines(ruleset: &Ruleset, odd: &Odd, screen: Screen) -> String {
    let mut lines = format!(
        "{}\n    {}\n",
        shown(ruleset, odd.chain, odd.rule, screen),
        screen.say(&odd.what.text())
    );
    for by in odd.what.causes() {
        let word = screen.word("before it", "在前");
        let rule = shown(ruleset, by.chain, Some(by.rule), screen);
        lines.push_str(&format!("    {word}: {rule}\n"));
    }
    lines
}
