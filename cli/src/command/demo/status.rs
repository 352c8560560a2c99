//! What the demo says of its breaches, and of what became of them.

use std::time::Duration;

use bailey_rules::check::State;
use bailey_rules::text::Text;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::breach::Breach;
use super::folder::Running;
use super::name::DemoName;
use crate::client::SCHEMA;
use crate::screen::{Screen, Table};

/// A breach, and how it stands.
pub(super) struct Row {
    pub(super) breach: &'static Breach,
    /// Whether somebody caused it.
    pub(super) open: bool,
    /// Whether its finding is on the list.
    pub(super) seen: bool,
}

/// The finding that came of a breach, in words.
pub(super) fn raised(finding: &Value, took: Duration, screen: Screen) -> String {
    let state = if finding["severity"] == "critical" { State::Critical } else { State::Warning };
    let why = Text::deserialize(&finding["why"]).unwrap_or_else(|_| Text::new("", ""));
    let field = |name: &str| finding[name].as_str().unwrap_or_default();
    let alert = crate::screen::clean(field("alert"));
    format!(
        "{}  {}  {}  {alert}\n   {}\n",
        screen.state(state).shown(),
        seconds(took),
        crate::screen::clean(field("host_name")),
        screen.say(&why),
    )
}

/// What was undone, in words.
pub(super) fn undone(rows: &[(&str, Duration)], no_wait: bool, screen: Screen) -> String {
    if rows.is_empty() {
        return format!("{}\n", screen.word("No breach is open.", "没有触发中的违规场景。"));
    }
    let gone = screen.word("its alert is gone", "告警已消除");
    let undone = screen.word("undone", "已恢复");
    let mut table = Table::indented(0);
    for (name, took) in rows {
        let what = if no_wait { undone.to_owned() } else { format!("{gone}  {}", seconds(*took)) };
        table.row([(*name).into(), what.into()]);
    }
    table.render()
}

fn seconds(length: Duration) -> String {
    format!("{:.1} s", length.as_secs_f64())
}

const HEADINGS: [(&str, &str); 4] =
    [("breach", "场景"), ("state", "状态"), ("alert", "告警"), ("what happens", "内容")];

/// The menu of breaches.
pub(super) fn menu(rows: &[Row], screen: Screen) -> String {
    let mut table = Table::headed(screen.words_of(HEADINGS));
    for row in rows {
        let state = match (row.open, row.seen) {
            (true, true) => screen.word("open, seen", "已触发，已发现"),
            (true, false) => screen.word("open, not seen yet", "已触发，尚未发现"),
            (false, true) => screen.word("undone, not seen yet", "已恢复，尚未确认"),
            (false, false) => "-",
        };
        table.row([
            row.breach.name.into(),
            state.into(),
            row.breach.raises.alert.into(),
            screen.say(&(row.breach.what)()).as_str().into(),
        ]);
    }
    table.render()
}

/// The demo in words.
pub(super) fn in_words(
    running: &Running,
    site: &Value,
    rows: &[Row],
    name: &DemoName,
    screen: Screen,
) -> String {
    let count = |what: &Value| what.as_u64().unwrap_or_default();
    let hosts: u64 = State::ALL.iter().map(|state| count(&site["hosts"][state.as_str()])).sum();
    let ok = count(&site["hosts"][State::Ok.as_str()]);
    let option = name.option();
    let mut head = Table::indented(0);
    let page = format!("https://{}/", running.web);
    let link = format!("bailey --state {} signin", name.folder().join("collector").display());
    head.row([screen.word("Page", "页面").into(), page.as_str().into()]);
    head.row([screen.word("Sign in", "登录").into(), link.as_str().into()]);
    let all = match screen.lang {
        bailey_rules::text::Lang::En => format!("{ok} of {hosts} OK"),
        bailey_rules::text::Lang::Zh => format!("{hosts} 台，其中 {ok} 台正常"),
    };
    head.row([screen.word("Hosts", "主机").into(), all.as_str().into()]);
    format!(
        "{}\n{}\n{}: bailey demo{option} break NAME    {}: bailey demo{option} fix NAME|all\n",
        head.render(),
        menu(rows, screen),
        screen.word("Cause one", "触发"),
        screen.word("undo", "恢复"),
    )
}

/// The demo for programs.
pub(super) fn in_json(running: &Running, site: &Value, rows: &[Row]) -> Value {
    let breaches: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.breach.name,
                "what": (row.breach.what)(),
                "open": row.open,
                "seen": row.seen,
                "check": row.breach.raises.check,
                "host": row.breach.raises.host,
                "subject": row.breach.raises.subject,
                "alert": row.breach.raises.alert,
            })
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "web": format!("https://{}/", running.web),
        "hosts": site["hosts"],
        "breaches": breaches,
    })
}
