//! `bailey ruleset matrix`: who may open what to whom.

use bailey_rules::model::interval::Intervals;
use bailey_rules::prove::matrix::{Row, Translated, matrix};
use bailey_rules::prove::{Space, networks};
use serde_json::{Value, json};

use super::super::json as json_text;
use super::files::{Loaded, load};
use super::{SCHEMA, direction, listed, too_complex};
use crate::arguments::{Format, Matrix};
use crate::exit::{Done, Failure};
use crate::screen::{Cell, Screen, Table};

/// Shows the matrix of the files.
pub(super) fn run(wanted: &Matrix, format: Format, screen: Screen) -> Result<Done, Failure> {
    let Loaded { ruleset, network } = load(&wanted.listings)?;
    let way = direction(wanted.hook);
    let mut space = Space::default();
    let rows = matrix(&mut space, &ruleset, &network, way).map_err(too_complex)?;
    Ok(Done::said(match format {
        Format::Json | Format::Ndjson => json_text(
            &json!({
                "schema": SCHEMA,
                "hook": way.hook().name(),
                "rows": rows.iter().map(row).collect::<Vec<_>>(),
            }),
            format,
        ),
        Format::Table => table(&rows, screen),
    }))
}

fn row(row: &Row) -> Value {
    let mut told = json!(row.packets.told());
    told["certain"] = json!(row.certain);
    if let Some(to) = &row.translated {
        told["translated"] = json!({ "to": translated_addresses(to), "ports": ports(to) });
    }
    told
}

fn translated_addresses(to: &Translated) -> Vec<String> {
    to.address.as_ref().map(|all| networks(all, to.v6)).unwrap_or_default()
}

fn ports(to: &Translated) -> Vec<String> {
    let runs = to.port.as_ref().map(Intervals::as_slice).unwrap_or_default();
    runs.iter()
        .map(|run| match run.single() {
            Some(one) => one.to_string(),
            None => format!("{}-{}", run.first, run.last),
        })
        .collect()
}

fn table(rows: &[Row], screen: Screen) -> String {
    if rows.is_empty() {
        let none = screen.word("Nobody may open anything.", "不允许建立任何连接。");
        return format!("{none}\n");
    }
    let interfaces = rows.iter().any(|row| {
        let told = row.packets.told();
        !told.iif.is_empty() || !told.oif.is_empty()
    });
    let becomes = rows.iter().any(|row| row.translated.is_some());
    let unsure = rows.iter().any(|row| !row.certain);
    let mut headings = vec![("from", "来源"), ("to", "目的"), ("service", "服务")];
    if interfaces {
        headings.extend([("in", "入接口"), ("out", "出接口")]);
    }
    if becomes {
        headings.push(("becomes", "转换为"));
    }
    if unsure {
        headings.push(("certainty", "确定性"));
    }
    let mut table = Table::default();
    table.row_of(headings.iter().map(|(en, zh)| Cell::from(screen.word(en, zh))));
    for row in rows {
        let told = row.packets.told();
        let any = screen.word("any", "任意");
        let mut cells =
            vec![listed(&told.from, screen), listed(&told.to, screen), told.service(any)];
        if interfaces {
            cells.extend([listed(&told.iif, screen), listed(&told.oif, screen)]);
        }
        if becomes {
            cells.push(row.translated.as_ref().map_or_else(
                || "-".to_owned(),
                |to| {
                    let kept = screen.word("the same", "不变");
                    let address = translated_addresses(to);
                    let address =
                        if address.is_empty() { kept.to_owned() } else { listed(&address, screen) };
                    let port = ports(to);
                    if port.is_empty() { address } else { format!("{address} {}", port.join(",")) }
                },
            ));
        }
        if unsure {
            let word = if row.certain {
                screen.word("certain", "确定")
            } else {
                screen.word("perhaps", "可能")
            };
            cells.push(word.to_owned());
        }
        table.row_of(cells.iter().map(|cell| Cell::from(cell.as_str())));
    }
    table.render()
}
