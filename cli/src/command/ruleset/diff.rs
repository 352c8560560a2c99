//! `bailey ruleset diff`: what one ruleset lets through and another does not.

use bailey_rules::model::trace::Direction;
use bailey_rules::prove::diff::{Difference, Piece, diff};
use bailey_rules::prove::matrix::WAYS;
use bailey_rules::prove::{Space, example};
use serde_json::{Value, json};

use super::super::json as json_text;
use super::files::{either, network};
use super::{SCHEMA, direction, listed, too_complex};
use crate::arguments::{Format, RulesetDiff};
use crate::exit::{Done, Exit, Failure};
use crate::screen::{Screen, clean};

/// Compares two files.
pub(super) fn run(wanted: &RulesetDiff, format: Format, screen: Screen) -> Result<Done, Failure> {
    let (old, new) = (either(&wanted.old)?, either(&wanted.new)?);
    let network = network(&wanted.addresses, &wanted.routes)?;
    let ways = wanted.hook.map_or_else(|| WAYS.to_vec(), |way| vec![direction(way)]);
    let mut found = Vec::new();
    for way in ways {
        let mut space = Space::default();
        let one = diff(&mut space, (&old, &network), (&new, &network), way);
        found.push((way, one.map_err(too_complex)?));
    }
    let same = found.iter().all(|(_, difference)| difference.is_empty());
    let done = Done::said(match format {
        Format::Json | Format::Ndjson => json_text(
            &json!({
                "schema": SCHEMA,
                "same": same,
                "hooks": found.iter().map(|(way, one)| (way.hook().name(), difference(one)))
                    .collect::<std::collections::BTreeMap<_, _>>(),
            }),
            format,
        ),
        Format::Table if same => {
            let same =
                screen.word("Both let the same packets through.", "两份规则集放行的报文完全相同。");
            format!("{same}\n")
        }
        Format::Table => found.iter().map(|(way, one)| lines(*way, one, screen)).collect(),
    });
    Ok(if same { done } else { done.ending(Exit::Findings.code()) })
}

fn difference(one: &Difference) -> Value {
    let list = |pieces: &[Piece]| pieces.iter().map(piece).collect::<Vec<_>>();
    json!({
        "closed": list(&one.closed),
        "opened": list(&one.opened),
        "translated": list(&one.translated),
        "unsure": list(&one.unsure),
    })
}

fn piece(piece: &Piece) -> Value {
    let mut told = json!(piece.packets.told());
    told["example"] = json!(example(&piece.example));
    told
}

fn lines(way: Direction, one: &Difference, screen: Screen) -> String {
    if one.is_empty() {
        return String::new();
    }
    let mut out = format!("{}:\n", way.hook().name());
    let lists = [
        ('-', "no longer passes", "不再放行", &one.closed),
        ('+', "passes now", "新增放行", &one.opened),
        ('~', "passes, translated otherwise", "放行，但地址转换不同", &one.translated),
        ('?', "passes, but it is not certain with both", "放行，但其中一份不能确定", &one.unsure),
    ];
    for (sign, en, zh, pieces) in lists {
        if pieces.is_empty() {
            continue;
        }
        out.push_str(&format!("  {}\n", screen.word(en, zh)));
        for piece in pieces {
            let told = piece.packets.told();
            let any = screen.word("any", "任意");
            let mut line = format!(
                "  {sign} {} > {}  {}",
                listed(&told.from, screen),
                listed(&told.to, screen),
                told.service(any)
            );
            let more = [
                ("sport", &told.source_ports),
                ("iif", &told.iif),
                ("oif", &told.oif),
                ("state", &told.state),
            ];
            for (name, list) in more.into_iter().filter(|(_, list)| !list.is_empty()) {
                line.push_str(&format!("  {name} {}", listed(list, screen)));
            }
            let word = screen.word("such as", "例如");
            out.push_str(&clean(&line));
            out.push_str(&format!(
                "\n      {word} {}\n",
                clean(&example(&piece.example).to_string())
            ));
        }
    }
    out
}
